//! Values as PostgreSQL computes them, where DataFusion computes otherwise: sums, quotients, ranks, multisets, patterns.
//!
//! Each module says what it mends. Functions are registered by name in every process of the cluster; rules and planners
//! run in the coordinator.

mod arrays;
mod division;
mod floats;
mod multisets;
mod overrides;
mod patterns;
mod ranks;
mod sums;

use std::sync::Arc;

use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::AnalyzerRule;

/// The functions of single values.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = overrides::functions();
    all.extend(division::functions());
    all.extend(patterns::functions());
    all.extend([arrays::function(), floats::function()]);
    all
}

/// The aggregates.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![sums::function()]
}

/// The window functions.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    ranks::functions()
}

/// What plans operators.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![Arc::new(division::DecimalOperators)]
}

/// Rules that run before types are settled.
pub(crate) fn early_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(multisets::CountCopies),
        Arc::new(division::LateDecimalOperators),
    ]
}

/// Rules that run after types are settled.
pub(crate) fn late_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(floats::CheckDivisors)]
}
