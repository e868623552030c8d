//! Rules of our own for physical plans.
//!
//! `joins` puts joins in order, `late` says which scans filter rows while they decode. Both choose by what `estimate` and
//! `selectivity` make of the statistics; neither changes which rows come out.

mod estimate;
mod graph;
mod joins;
mod late;
mod order;
mod selectivity;
mod sides;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use joins::JoinOrder;
use late::LateMaterialization;

/// DataFusion's rule in whose place ours run: before anything is shuffled, and before filters reach the scans.
const REPLACED: &str = "join_selection";

/// DataFusion's rules with ours among them.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        if rule.name() == REPLACED {
            rules.push(Arc::new(JoinOrder));
            rules.push(Arc::new(LateMaterialization));
        } else {
            rules.push(rule);
        }
    }
    rules
}
