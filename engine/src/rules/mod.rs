//! DataFusion's rules for logical plans, in its order. Those that change what a statement means are held back where they
//! would.

mod null_keys;
mod totals;

use std::sync::Arc;

use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimizer::Optimizer;

use null_keys::{CrossJoins, JoinKeys};
use totals::Filters;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// What plans are optimized with.
pub(crate) fn optimizer_rules() -> Vec<Rule> {
    let rules = Optimizer::new().rules.into_iter();
    let mut rules: Vec<Rule> = rules
        .map(|rule| -> Rule {
            match rule.name() {
                "eliminate_cross_join" => Arc::new(CrossJoins::default()),
                "extract_equijoin_predicate" => Arc::new(JoinKeys::default()),
                "push_down_filter" => Arc::new(Filters::default()),
                _ => rule,
            }
        })
        .collect();
    // What was a condition while keys were collected becomes a key again.
    rules.push(Arc::new(JoinKeys::default()));
    rules
}
