//! Which side of a join its hash table is made of, and whether the other side is shuffled for it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::{JoinType, Result};
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::estimate::{Estimate, count, estimate};
use crate::distribute::StatementOptions;

/// A hash table of at most this many rows and bytes is shared by all streams, however few rows are looked up in it.
const SMALL_ROWS: f64 = 131_072.0;
const SMALL_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// Workers each make a table of their own from rows sent to all of them. It has at most this many bytes,
const SENT_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// and all of them together take at most this part of the bytes of the other side, which then need not be shuffled.
const SENT_PART: f64 = 0.25;

/// Where a statement runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// Streams of one process.
    partitions: usize,
    /// Workers that may take a part; 0 if it stays in this process.
    workers: usize,
}

impl Streams {
    pub(super) fn of(config: &ConfigOptions) -> Self {
        let options = config.extensions.get::<StatementOptions>();
        Self {
            partitions: config.execution.target_partitions,
            workers: options.map_or(0, |options| options.workers),
        }
    }
}

fn bytes(estimate: &Estimate) -> f64 {
    estimate.rows * estimate.row_bytes
}

/// How a hash table of `build` is shared by the streams that look up the rows of `probe`.
///
/// One table is filled by one stream, and no row of the other side has to move; a table for each stream is filled by all of
/// them, after both sides were shuffled. A row is moved in about the time in which one is put into a table.
pub(super) fn partition_mode(
    build: &Arc<dyn ExecutionPlan>,
    probe: &Arc<dyn ExecutionPlan>,
    streams: Streams,
) -> Result<PartitionMode> {
    if streams.partitions <= 1 && streams.workers == 0 {
        return Ok(PartitionMode::CollectLeft);
    }
    let build = estimate(build)?;
    let small = build.rows <= SMALL_ROWS && bytes(&build) <= SMALL_BYTES;
    let shared = small || {
        let probe = estimate(probe)?;
        if streams.workers == 0 {
            let others = count(streams.partitions.saturating_sub(1));
            build.rows * others <= build.rows + probe.rows
        } else {
            bytes(&build) <= SENT_BYTES_MAX
                && bytes(&build) * count(streams.workers) <= bytes(&probe) * SENT_PART
        }
    };
    Ok(if shared {
        PartitionMode::CollectLeft
    } else {
        PartitionMode::Partitioned
    })
}

/// The join with its smaller side built, where its kind allows it. `None` if the node is not a join.
pub(super) fn placed(
    plan: &Arc<dyn ExecutionPlan>,
    streams: Streams,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let right_is_smaller =
        |left, right| -> Result<bool> { Ok(bytes(&estimate(right)?) < bytes(&estimate(left)?)) };
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        if join.null_aware {
            // It must see all rows of both sides in one place.
            let shared = join
                .builder()
                .with_partition_mode(PartitionMode::CollectLeft);
            return Ok(Some(Arc::new(shared.build()?)));
        }
        if join.join_type().supports_swap() && right_is_smaller(join.left(), join.right())? {
            let mode = partition_mode(join.right(), join.left(), streams)?;
            return join.swap_inputs(mode).map(Some);
        }
        let mode = partition_mode(join.left(), join.right(), streams)?;
        let placed = join.builder().with_partition_mode(mode).build()?;
        return Ok(Some(Arc::new(placed)));
    }
    if let Some(join) = plan.downcast_ref::<CrossJoinExec>()
        && right_is_smaller(join.left(), join.right())?
    {
        return join.swap_inputs().map(Some);
    }
    if let Some(asked_once) = asking_for_one_row(plan)? {
        return Ok(Some(asked_once));
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && join.join_type().supports_swap()
        && right_is_smaller(join.left(), join.right())?
    {
        return join.swap_inputs().map(Some);
    }
    Ok(None)
}

/// The join with one row at most of the side of which it only asks whether there is any: EXISTS without a condition.
fn asking_for_one_row(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    use JoinType as J;
    let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
        return Ok(None);
    };
    if join.filter().is_some() {
        return Ok(None);
    }
    let one = |side: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
        Arc::new(GlobalLimitExec::new(Arc::clone(side), 0, Some(1)))
    };
    let children = match join.join_type() {
        J::LeftSemi | J::LeftAnti | J::LeftMark => {
            vec![Arc::clone(join.left()), one(join.right())]
        }
        J::RightSemi | J::RightAnti | J::RightMark => {
            vec![one(join.left()), Arc::clone(join.right())]
        }
        _ => return Ok(None),
    };
    replace_children_if_necessary(Arc::clone(plan), children).map(Some)
}
