//! A float beside a decimal: both are doubles, as in PostgreSQL.
//!
//! DataFusion would make the float a decimal of fifteen places, which loses small values, does not
//! hold large ones and fails on NaN. Runs before types are settled. Knows logical plans only.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_nested::expr_fn::{array_has_any, make_array};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Makes the decimals that meet a float doubles.
#[derive(Debug)]
pub(crate) struct DecimalsBesideFloats;

impl AnalyzerRule for DecimalsBesideFloats {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| Ok(settle(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "decimals_beside_floats"
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Decimal,
    Other,
}

fn kind(expr: &Expr, schema: &DFSchema) -> Kind {
    // What has no type here, such as a column of an outer query, is left to DataFusion.
    match expr.get_type(schema) {
        Ok(ty) if ty.is_floating() => Kind::Float,
        Ok(ty) if ty.is_decimal() => Kind::Decimal,
        _ => Kind::Other,
    }
}

/// `x IN (0, …)` with both zeros: they are equal, but a long list is looked up by its bits.
fn both_zeros(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::InList(list) = &expr else {
        return Transformed::no(expr);
    };
    let zeros = match list.expr.get_type(schema) {
        Ok(DataType::Float32) => [ScalarValue::from(0.0_f32), ScalarValue::from(-0.0_f32)],
        Ok(DataType::Float64) => [ScalarValue::from(0.0_f64), ScalarValue::from(-0.0_f64)],
        _ => return Transformed::no(expr),
    };
    let has = |zero: &ScalarValue| {
        list.list
            .iter()
            .any(|item| matches!(item, Expr::Literal(value, _) if value == zero))
    };
    let is_zero = |item: &Expr| match item {
        Expr::Literal(value, _) => {
            let number = value.cast_to(&DataType::Float64);
            number.is_ok_and(|number| matches!(number, ScalarValue::Float64(Some(v)) if v == 0.0))
        }
        _ => false,
    };
    if !list.list.iter().any(is_zero) || zeros.iter().all(has) {
        return Transformed::no(expr);
    }
    let mut list = list.clone();
    list.list.extend(zeros.map(lit));
    Transformed::yes(Expr::InList(list))
}

/// `x = ANY (array)` where zero is in the array with the other sign: items are compared by their bits.
fn zero_in_array(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else {
        return None;
    };
    let ("array_has", [array, item]) = (call.name(), &call.args[..]) else {
        return None;
    };
    let DataType::List(of) = array.get_type(schema).ok()? else {
        return None;
    };
    let by_bits = |zeros: [Expr; 2]| array_has_any(array.clone(), make_array(zeros.to_vec()));
    let has_zero = match of.data_type() {
        DataType::Float32 => by_bits([lit(0.0_f32), lit(-0.0_f32)]),
        DataType::Float64 => by_bits([lit(0.0_f64), lit(-0.0_f64)]),
        _ => return None,
    };
    let is_zero = item.clone().eq(lit(0.0_f64));
    Some(expr.clone().or(is_zero.and(has_zero)))
}

fn settle(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Some(either) = zero_in_array(&expr, schema) {
        return Transformed::yes(either);
    }
    let kinds: Vec<Kind> = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            vec![kind(left, schema), kind(right, schema)]
        }
        Expr::Between(between) => [&between.expr, &between.low, &between.high]
            .map(|e| kind(e, schema))
            .to_vec(),
        Expr::InList(list) => std::iter::once(list.expr.as_ref())
            .chain(&list.list)
            .map(|e| kind(e, schema))
            .collect(),
        _ => return Transformed::no(expr),
    };
    if !(kinds.contains(&Kind::Float) && kinds.contains(&Kind::Decimal)) {
        return both_zeros(expr, schema);
    }
    let double = |e: Expr| match kind(&e, schema) {
        Kind::Decimal => cast(e, DataType::Float64),
        Kind::Float | Kind::Other => e,
    };
    let settled = expressions::operands(expr, double);
    Transformed::yes(both_zeros(settled, schema).data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::AsArray;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::optimizer::Analyzer;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use std::sync::Arc;

    async fn check_true(sql: &str) {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> =
            vec![Arc::new(DecimalsBesideFloats)];
        rules.extend(Analyzer::new().rules);
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_analyzer_rules(rules)
            .build();
        let context = SessionContext::new_with_state(state);
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert!(rows[0].column(0).as_boolean().value(0), "{sql}");
    }

    #[tokio::test]
    async fn small_large_and_undefined_floats_compare_as_doubles() {
        check_true("SELECT arrow_cast('1e-17', 'Float64') > 0.0").await;
        check_true("SELECT arrow_cast('0.30000000000000004', 'Float64') <> 0.3").await;
        check_true("SELECT arrow_cast('1e20', 'Float64') > 5.5").await;
        check_true("SELECT arrow_cast('NaN', 'Float64') NOT BETWEEN -10 AND 10.5").await;
        check_true("SELECT arrow_cast('0.5', 'Float64') IN (0.5, 1.25)").await;
    }
}
