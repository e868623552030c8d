//! Which numerics of a result have digits that somebody declared, for a column or in a cast.
//!
//! The digits of any other are DataFusion's estimate; PostgreSQL tells none for those. Knows logical plans only.

use std::collections::HashSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::expr::{Alias, Cast, TryCast};
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, JoinType, LogicalPlan};

use crate::types::NUMERIC_DEFAULT;

/// For each column of `plan`, whether it is a numeric whose digits nobody declared.
pub(crate) fn estimated(plan: &LogicalPlan) -> Vec<bool> {
    let fields = plan.schema().fields().iter().enumerate();
    fields
        .map(|(at, field)| match field.data_type() {
            DataType::Decimal128(..) | DataType::Decimal256(..) => !declared(plan, at),
            DataType::List(_) => is_loose_list(plan, at),
            _ => false,
        })
        .collect()
}

/// Whether column `at` is written as an array whose numerics have digits of their own.
fn is_loose_list(plan: &LogicalPlan, at: usize) -> bool {
    let LogicalPlan::Projection(projection) = plan else {
        return false;
    };
    let mut scales = HashSet::new();
    projection
        .expr
        .get(at)
        .is_some_and(|expr| collect_scales(expr, &projection.input, &mut scales))
        || scales.len() > 1
}

/// Collects the scales of the items of an array; true if a cast to plain `numeric[]` made it.
fn collect_scales(expr: &Expr, input: &LogicalPlan, scales: &mut HashSet<i8>) -> bool {
    match expr {
        Expr::Alias(Alias { expr, .. }) => collect_scales(expr, input, scales),
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. })
            if matches!(field.data_type(), DataType::List(_)) =>
        {
            let mut ty = field.data_type();
            while let DataType::List(item) = ty {
                ty = item.data_type();
            }
            matches!(ty, DataType::Decimal128(digits, _) if *digits == NUMERIC_DEFAULT.0)
        }
        Expr::ScalarFunction(call) if call.name() == "make_array" => call
            .args
            .iter()
            .any(|item| collect_scales(item, input, scales)),
        item => {
            match item.get_type(input.schema()) {
                Ok(DataType::Decimal128(_, scale)) => scales.insert(scale),
                Ok(ty) if ty.is_integer() => scales.insert(0),
                _ => false,
            };
            false
        }
    }
}

/// Whether somebody declared the digits of column `at`.
fn declared(plan: &LogicalPlan, at: usize) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(projection) => {
            let expr = projection.expr.get(at);
            expr.is_some_and(|expr| said(expr, &projection.input))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let expr = aggregate.group_expr.get(at);
            expr.is_some_and(|expr| said(expr, &aggregate.input))
        }
        LogicalPlan::Filter(filter) => declared(&filter.input, at),
        LogicalPlan::Sort(sort) => declared(&sort.input, at),
        LogicalPlan::Limit(limit) => declared(&limit.input, at),
        LogicalPlan::SubqueryAlias(alias) => declared(&alias.input, at),
        LogicalPlan::Subquery(subquery) => declared(&subquery.subquery, at),
        LogicalPlan::Distinct(Distinct::All(input)) => declared(input, at),
        LogicalPlan::RecursiveQuery(query) => declared(&query.static_term, at),
        LogicalPlan::Window(window) => {
            at < window.input.schema().fields().len() && declared(&window.input, at)
        }
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| declared(input, at)),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => declared(&join.right, at),
                _ if at < left => declared(&join.left, at),
                _ => declared(&join.right, at - left),
            }
        }
        _ => false,
    }
}

/// Whether somebody declared the digits of the value of `expr`.
fn said(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Alias(Alias { expr, .. }) => said(expr, input),
        Expr::Column(column) => {
            let at = input.schema().maybe_index_of_column(column);
            at.is_some_and(|at| declared(input, at))
        }
        // A cast to plain numeric takes all digits, with the scale of what is cast.
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => {
            !matches!(field.data_type(), DataType::Decimal128(digits, _) if *digits == NUMERIC_DEFAULT.0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{LogicalPlanBuilder, cast, col, lit, table_scan};

    use super::*;

    #[test]
    fn columns_and_casts_declare_digits_and_sums_do_not() {
        let price = Field::new("price", DataType::Decimal128(12, 2), true);
        let table = table_scan(Some("t"), &Schema::new(vec![price]), None).unwrap();
        let plan = table
            .project(vec![
                col("price").alias("p"),
                col("price") + col("price"),
                cast(lit(1_i64), DataType::Decimal128(5, 2)),
                cast(lit(1_i64), DataType::Decimal128(38, 10)).alias("plain"),
                lit(1_i64).alias("one"),
            ])
            .and_then(|plan| plan.alias("s"))
            .and_then(LogicalPlanBuilder::build)
            .unwrap();
        assert_eq!(estimated(&plan), [false, true, false, true, false]);
    }
}
