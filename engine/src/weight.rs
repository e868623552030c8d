//! What a physical plan asks of the process: nothing to speak of, or processors and memory.
//!
//! Looks at the plan only. Decides who waits for a turn and whose work runs on the threads for queries; makes
//! nobody wait.

use std::sync::Arc;

use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::unnest::UnnestExec;

use crate::distribute::leaf_bytes;
use crate::partitioned::PartitionedJoinExec;
use crate::write::IcebergWriteExec;

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Some rows that are in memory already, each once: `SELECT 1`, a system view.
    Light,
    /// Rows of the catalogs, however combined.
    Catalogs,
    /// Tables, files, rows made by functions, or a write.
    Heavy,
}

/// Weighs `plan`, of a statement that asks of catalogs if `about_catalogs`.
pub(crate) fn weigh(plan: &Arc<dyn ExecutionPlan>, about_catalogs: bool) -> Weight {
    let mut reads = false;
    let mut multiplies = false;
    let mut made = false;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        reads |= node.is::<IcebergWriteExec>() || leaf_bytes(node).is_some();
        multiplies |= node.is::<CrossJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<HashJoinExec>()
            || node.is::<SortMergeJoinExec>()
            || node.is::<PartitionedJoinExec>()
            || node.is::<UnnestExec>()
            || node.is::<RecursiveQueryExec>();
        made |= node.children().is_empty() && !in_memory(node);
        Ok(if reads {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    if reads {
        Weight::Heavy
    } else if !made && !multiplies {
        Weight::Light
    } else if about_catalogs {
        Weight::Catalogs
    } else {
        Weight::Heavy
    }
}

fn in_memory(leaf: &Arc<dyn ExecutionPlan>) -> bool {
    let rows = leaf
        .downcast_ref::<DataSourceExec>()
        .is_some_and(|leaf| leaf.data_source().is::<MemorySourceConfig>());
    rows || leaf.is::<PlaceholderRowExec>() || leaf.is::<EmptyExec>()
}
