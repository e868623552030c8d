//! Which side of a join its hash table is made of, and whether the other side is shuffled for it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};

use super::estimate::{Estimate, estimate};

/// Most rows of a hash table that all partitions share. A larger one is built by all of them, which costs a shuffle of both
/// sides.
const SHARED_ROWS_MAX: f64 = 131_072.0;
/// The same in bytes.
const SHARED_BYTES_MAX: f64 = 8.0 * 1024.0 * 1024.0;

fn bytes(estimate: &Estimate) -> f64 {
    estimate.rows * estimate.row_bytes
}

/// How a hash table of `build` is shared.
pub(super) fn partition_mode(
    build: &Arc<dyn ExecutionPlan>,
    target_partitions: usize,
) -> Result<PartitionMode> {
    if target_partitions <= 1 {
        return Ok(PartitionMode::CollectLeft);
    }
    let build = estimate(build)?;
    Ok(
        if build.rows <= SHARED_ROWS_MAX && bytes(&build) <= SHARED_BYTES_MAX {
            PartitionMode::CollectLeft
        } else {
            PartitionMode::Partitioned
        },
    )
}

/// The join with its smaller side built, where its kind allows it. `None` if the node is not a join.
pub(super) fn placed(
    plan: &Arc<dyn ExecutionPlan>,
    target_partitions: usize,
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
            let mode = partition_mode(join.right(), target_partitions)?;
            return join.swap_inputs(mode).map(Some);
        }
        let mode = partition_mode(join.left(), target_partitions)?;
        let placed = join.builder().with_partition_mode(mode).build()?;
        return Ok(Some(Arc::new(placed)));
    }
    if let Some(join) = plan.downcast_ref::<CrossJoinExec>()
        && right_is_smaller(join.left(), join.right())?
    {
        return join.swap_inputs().map(Some);
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && join.join_type().supports_swap()
        && right_is_smaller(join.left(), join.right())?
    {
        return join.swap_inputs().map(Some);
    }
    Ok(None)
}
