//! Which share of its rows a condition keeps.
//!
//! Estimates from bounds and counts, else the shares that the field's planners take. Knows expressions and what is known of
//! columns; refuses to know plans.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};

use super::estimate::{ColumnEstimate, Estimate, column_of, number};

/// A range of which the bounds say nothing.
const RANGE_UNKNOWN: f64 = 0.33;
/// Two columns of a row, one less than the other.
const LESS_UNKNOWN: f64 = 0.5;
/// A text that contains another.
const CONTAINS: f64 = 0.1;
/// A text that begins with another.
const BEGINS: f64 = 0.05;
/// Anything else.
const UNKNOWN: f64 = 0.25;
/// Nothing is taken to keep less.
const LEAST: f64 = 1e-7;

/// The part of its column's range that conditions leave.
#[derive(Clone, Copy)]
struct Span {
    low: f64,
    high: f64,
}

/// The share of the rows of `input` for which `predicate` holds.
pub(super) fn selectivity(predicate: &Arc<dyn PhysicalExpr>, input: &Estimate) -> f64 {
    let mut kept = 1.0;
    let mut spans: HashMap<usize, Span> = HashMap::new();
    for part in split_conjunction(predicate) {
        if !narrow(part, input, &mut spans) {
            kept *= one(part, input);
        }
    }
    for (column, span) in spans {
        kept *= input
            .columns
            .get(column)
            .map_or(1.0, |column| within(column, span));
    }
    kept.clamp(LEAST, 1.0)
}

/// Narrows the span of a column that `part` compares with a constant. False if it does nothing of the kind.
fn narrow(
    part: &Arc<dyn PhysicalExpr>,
    input: &Estimate,
    spans: &mut HashMap<usize, Span>,
) -> bool {
    let Some((column, operator, value)) = compared(part) else {
        return false;
    };
    let range = input.columns.get(column).and_then(|known| known.range);
    let (Some((low, high)), Some(value)) = (range, number(value)) else {
        return false;
    };
    let span = spans.entry(column).or_insert(Span { low, high });
    match operator {
        Operator::Lt | Operator::LtEq => span.high = span.high.min(value),
        Operator::Gt | Operator::GtEq => span.low = span.low.max(value),
        _ => return false,
    }
    true
}

fn within(column: &ColumnEstimate, span: Span) -> f64 {
    let Some((low, high)) = column.range else {
        return RANGE_UNKNOWN;
    };
    if high <= low {
        return if span.low <= span.high { 1.0 } else { LEAST };
    }
    let share = (span.high - span.low) / (high - low);
    let least = 1.0 / column.distinct.unwrap_or(1e4).max(1.0);
    share.clamp(least.min(1.0), 1.0) * (1.0 - column.nulls)
}

fn one(part: &Arc<dyn PhysicalExpr>, input: &Estimate) -> f64 {
    let rows = input.base_rows;
    let known =
        |expr: &Arc<dyn PhysicalExpr>| column_of(expr).and_then(|column| input.columns.get(column));
    let equal = |expr: &Arc<dyn PhysicalExpr>| {
        known(expr).map_or(UNKNOWN, |column| 1.0 / column.distinct_or_guess(rows))
    };
    if let Some(binary) = part.downcast_ref::<BinaryExpr>() {
        return of_binary(binary, input, &equal);
    }
    if let Some(not) = part.downcast_ref::<NotExpr>() {
        return 1.0 - selectivity(not.arg(), input);
    }
    if let Some(list) = part.downcast_ref::<InListExpr>() {
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let kept = (equal(list.expr()) * list.list().len() as f64).min(1.0);
        return if list.negated() { 1.0 - kept } else { kept };
    }
    if let Some(like) = part.downcast_ref::<LikeExpr>() {
        let pattern = like.pattern().downcast_ref::<Literal>();
        let begins = pattern.is_some_and(|pattern| {
            matches!(pattern.value().try_as_str(), Some(Some(text)) if !text.starts_with(['%', '_']))
        });
        let kept = if begins { BEGINS } else { CONTAINS };
        return if like.negated() { 1.0 - kept } else { kept };
    }
    if let Some(null) = part.downcast_ref::<IsNullExpr>() {
        return known(null.arg()).map_or(UNKNOWN, |column| column.nulls);
    }
    if let Some(null) = part.downcast_ref::<IsNotNullExpr>() {
        return known(null.arg()).map_or(1.0, |column| 1.0 - column.nulls);
    }
    if let Some(literal) = part.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Boolean(Some(true)) => 1.0,
            _ => LEAST,
        };
    }
    if part.downcast_ref::<Column>().is_some() {
        return 0.5;
    }
    UNKNOWN
}

fn of_binary(
    binary: &BinaryExpr,
    input: &Estimate,
    equal: &dyn Fn(&Arc<dyn PhysicalExpr>) -> f64,
) -> f64 {
    let (left, right) = (binary.left(), binary.right());
    let columns = column_of(left).is_some() && column_of(right).is_some();
    match binary.op() {
        Operator::And => selectivity(left, input) * selectivity(right, input),
        Operator::Or => {
            let (a, b) = (selectivity(left, input), selectivity(right, input));
            a + b - a * b
        }
        Operator::Eq | Operator::IsNotDistinctFrom => equal(left).min(equal(right)),
        Operator::NotEq | Operator::IsDistinctFrom => 1.0 - equal(left).min(equal(right)),
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if columns => LESS_UNKNOWN,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => RANGE_UNKNOWN,
        _ => UNKNOWN,
    }
}

/// A column beside a constant: `column operator constant`.
fn compared(part: &Arc<dyn PhysicalExpr>) -> Option<(usize, Operator, &ScalarValue)> {
    let binary = part.downcast_ref::<BinaryExpr>()?;
    let constant = |expr: &'_ Arc<dyn PhysicalExpr>| expr.downcast_ref::<Literal>().is_some();
    let (column, operator, literal) = if constant(binary.right()) {
        (column_of(binary.left())?, *binary.op(), binary.right())
    } else if constant(binary.left()) {
        (
            column_of(binary.right())?,
            binary.op().swap()?,
            binary.left(),
        )
    } else {
        return None;
    };
    Some((column, operator, literal.downcast_ref::<Literal>()?.value()))
}
