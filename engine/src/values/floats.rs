//! Of a float and a decimal that CASE or coalesce chooses from, both are floats, as in PostgreSQL.
//!
//! Knows logical plans only.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Makes decimals floats where they are an alternative to a float. Runs before types are settled.
#[derive(Debug)]
pub(super) struct FloatChoices;

impl AnalyzerRule for FloatChoices {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite_types(plan, |expr, schema| Ok(chosen(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "float_choices"
    }
}

fn chosen(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let mut choices: Vec<&mut Expr> = match &mut expr {
        Expr::Case(case) => case
            .when_then_expr
            .iter_mut()
            .map(|(_, then)| then.as_mut())
            .chain(case.else_expr.iter_mut().map(AsMut::as_mut))
            .collect(),
        Expr::ScalarFunction(call) if call.name() == "coalesce" => call.args.iter_mut().collect(),
        _ => return Transformed::no(expr),
    };
    let types: Vec<_> = choices.iter().map(|expr| expr.get_type(schema)).collect();
    let any = |wanted: fn(&DataType) -> bool| types.iter().flatten().any(wanted);
    if !(any(DataType::is_floating) && any(DataType::is_decimal)) {
        return Transformed::no(expr);
    }
    for (choice, ty) in choices.iter_mut().zip(&types) {
        if ty.as_ref().is_ok_and(DataType::is_decimal) {
            **choice = cast((**choice).clone(), DataType::Float64);
        }
    }
    Transformed::yes(expr)
}
