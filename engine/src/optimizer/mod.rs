//! Rules of our own for physical plans.
//!
//! `joins` puts joins in order, after `nulls` made those of `NOT IN` ordinary ones where it can; `late` says which scans
//! filter rows while they decode; `groups` changes plans that go to workers. They choose by what `estimate` and
//! `selectivity` make of the statistics; none changes which rows come out.

mod estimate;
mod graph;
mod groups;
mod joins;
mod late;
mod nulls;
mod order;
mod selectivity;
mod sides;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

use joins::JoinOrder;
use late::LateMaterialization;

use crate::partitioned::PartitionJoins;

/// DataFusion's rule in whose place ours run: before anything is shuffled, and before filters reach the scans.
const REPLACED: &str = "join_selection";

/// Bytes of memory that the rows of `plan` are estimated to take.
///
/// # Errors
/// If DataFusion cannot make statistics of the plan.
pub(crate) fn estimated_bytes(plan: &Arc<dyn ExecutionPlan>) -> Result<f64> {
    estimate::estimate(plan).map(|estimate| estimate.rows * estimate.row_bytes)
}

/// A plan that goes to workers, where what joins know of their keys does not reach each scan.
///
/// # Errors
/// If DataFusion cannot make statistics of a part.
pub(crate) fn for_workers(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    groups::spared(plan)
}

/// DataFusion's rules with ours among them.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        if rule.name() == REPLACED {
            rules.push(Arc::new(JoinOrder));
            rules.push(Arc::new(LateMaterialization));
            rules.push(Arc::new(PartitionJoins));
        } else {
            rules.push(rule);
        }
    }
    rules
}
