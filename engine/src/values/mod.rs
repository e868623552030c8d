//! Values as PostgreSQL computes them, where DataFusion computes otherwise: sums, quotients, ranks, multisets, patterns.
//!
//! Each module says what it mends. Functions are registered by name in every process of the cluster; rules and planners
//! run in the coordinator.

mod arrays;
mod averages;
mod decimals;
mod division;
mod floats;
mod gathered;
pub(crate) mod json;
pub(crate) mod jsonb;
mod multisets;
mod narrow;
mod overrides;
mod patterns;
mod plain;
mod ranks;
mod regexes;
mod sums;

use std::sync::Arc;

use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ScalarUDF, WindowFunctionDefinition, WindowUDF,
};
use datafusion::optimizer::AnalyzerRule;

pub(crate) use narrow::NarrowDecimals;

/// The functions of single values.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = overrides::functions();
    all.extend(division::functions());
    all.extend(narrow::functions());
    all.extend(patterns::functions());
    all.extend(json::functions());
    all.extend(plain::functions());
    all.extend(regexes::functions());
    all.push(arrays::function());
    all
}

/// Names that a statement may call besides DataFusion's.
pub(crate) fn names() -> Vec<String> {
    let functions = functions().into_iter().map(|f| f.name().to_owned());
    let spelled = ["every", "json_agg", "jsonb_agg", "variance"].map(str::to_owned);
    functions
        .filter(|name| !name.starts_with("tarn_"))
        .chain(spelled)
        .collect()
}

/// The aggregates.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![sums::function(), averages::function(), gathered::function()]
}

/// The window functions.
pub(crate) fn windows() -> Vec<Arc<WindowUDF>> {
    ranks::functions()
}

/// A call of `row_number()`.
pub(crate) fn row_number() -> Expr {
    let function = WindowFunctionDefinition::WindowUDF(ranks::row_number());
    Expr::from(WindowFunction::new(function, vec![]))
}

/// What plans operators.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(division::DecimalOperators),
        Arc::new(json::JsonOperators),
    ]
}

/// Rules that run before types are settled.
pub(crate) fn early_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(multisets::CountCopies),
        Arc::new(division::LateDecimalOperators),
        Arc::new(floats::FloatChoices),
    ]
}
