//! Hash joins whose hash tables need not fit into memory.
//!
//! A join that was refused memory is planned again with [`PartitionJoins`], which puts a [`PartitionedJoinExec`] in the
//! place of each hash join. It keeps its build side in memory while that is small; else it writes both sides to spill
//! files, in parts by the hash of the keys, and joins part by part (a Grace hash join). A part that is still too large is
//! parted again; one that will not be, because its rows have one key, is joined by sort and merge. NOT IN, whose NULLs
//! speak for all rows, runs in one stream.

mod codec;
mod exec;
mod run;
mod side;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

pub(crate) use codec::{try_decode, try_encode};
pub(crate) use exec::PartitionedJoinExec;

use crate::distribute::StatementOptions;

/// Puts partitioned joins in the place of hash joins, if the statement is to have them.
///
/// Runs where joins have their order and sides, and before anything is shuffled: other than a hash join, a partitioned
/// one keeps no order.
#[derive(Debug)]
pub(crate) struct PartitionJoins;

impl PhysicalOptimizerRule for PartitionJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<StatementOptions>();
        if !options.is_some_and(|options| options.spilling_joins) {
            return Ok(plan);
        }
        let done = plan.transform_up(|node| {
            Ok(match PartitionedJoinExec::of(&node)? {
                Some(join) => Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        });
        done.map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "PartitionJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
