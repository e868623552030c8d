//! Comparisons of a date's midnight with a moment as comparisons of dates, by which files can be skipped.
//!
//! `d < date '2024-01-01' + interval '1 month'` compares a date with a timestamp: what holds for the midnights of days
//! holds for the days. Runs when constants have been computed. Knows logical plans only.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::civil::DAY;
use super::function::TIMESTAMP;
use crate::expressions;

/// Compares days instead of their midnights.
#[derive(Debug)]
pub(crate) struct CompareDays;

impl OptimizerRule for CompareDays {
    fn name(&self) -> &'static str {
        "compare_days"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        expressions::of_node(plan, &|expr, schema| Ok(by_days(expr, schema)))
    }
}

fn by_days(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let found = match (left.as_ref(), right.as_ref()) {
        (Expr::Cast(cast), Expr::Literal(value, _)) => days(cast, *op, value, schema),
        (Expr::Literal(value, _), Expr::Cast(cast)) => op
            .swap()
            .and_then(|swapped| days(cast, swapped, value, schema)),
        _ => None,
    };
    match found {
        Some(days) => Transformed::yes(days),
        None => Transformed::no(expr),
    }
}

fn days(cast: &Cast, op: Operator, value: &ScalarValue, schema: &DFSchema) -> Option<Expr> {
    let ScalarValue::TimestampMicrosecond(Some(micros), None) = value else {
        return None;
    };
    let of_date = cast.expr.get_type(schema).ok()? == DataType::Date32;
    if !of_date || *cast.field.data_type() != TIMESTAMP {
        return None;
    }
    let midnight = micros.rem_euclid(DAY) == 0;
    let op = match op {
        Operator::Lt if !midnight => Operator::LtEq,
        Operator::GtEq if !midnight => Operator::Gt,
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::GtEq if midnight => op,
        Operator::LtEq | Operator::Gt => op,
        _ => return None,
    };
    let day = i32::try_from(micros.div_euclid(DAY)).ok()?;
    Some(binary_expr(
        cast.expr.as_ref().clone(),
        op,
        lit(ScalarValue::Date32(Some(day))),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col};

    fn check(op: Operator, micros: i64, wanted: &str) {
        let schema = Schema::new(vec![Field::new("d", DataType::Date32, true)]);
        let schema = DFSchema::try_from(schema).unwrap();
        let moment = lit(ScalarValue::TimestampMicrosecond(Some(micros), None));
        let expr = binary_expr(cast(col("d"), TIMESTAMP), op, moment);
        assert_eq!(by_days(expr, &schema).data.to_string(), wanted);
    }

    #[test]
    fn midnights_compare_as_their_days() {
        check(Operator::Lt, DAY, "d < Date32(\"1970-01-02\")");
        check(Operator::Lt, DAY + 1, "d <= Date32(\"1970-01-02\")");
        check(Operator::GtEq, DAY + 1, "d > Date32(\"1970-01-02\")");
        check(Operator::LtEq, DAY + 1, "d <= Date32(\"1970-01-02\")");
        check(Operator::Eq, DAY, "d = Date32(\"1970-01-02\")");
    }
}
