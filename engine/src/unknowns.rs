//! A text literal compared with a truth value or an array is one, beside a number a number: `b = 'f'`, `roles = '{0}'`,
//! `price * '2'`.
//!
//! PostgreSQL calls such a literal of unknown type and gives it the type of the other side. Knows expressions only.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Gives literals the type of what they are compared with.
#[derive(Debug)]
pub(crate) struct UnknownLiterals;

impl ExprPlanner for UnknownLiterals {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{
            Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Plus,
        };
        let typed = match expr.op {
            Eq | NotEq | Lt | LtEq | Gt | GtEq => compared,
            Plus | Minus | Multiply | Divide | Modulo => number,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = match (is_text(&left), is_text(&right)) {
            (false, true) => {
                let typed = typed(right, &left, schema);
                (left, typed)
            }
            (true, false) => {
                let typed = typed(left, &right, schema);
                (typed, right)
            }
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.try_as_str().flatten().is_some())
}

/// `literal` as what `other` is, with which it is compared.
fn compared(literal: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    match other.get_type(schema) {
        Ok(ty @ (DataType::Boolean | DataType::List(_))) => cast(literal, ty),
        _ => literal,
    }
}

/// `literal` as what `other` is, if that is a number.
fn number(literal: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    match other.get_type(schema) {
        Ok(ty) if ty.is_decimal() => {
            let own = match &literal {
                Expr::Literal(value, _) => value.try_as_str().flatten().and_then(decimal),
                _ => None,
            };
            cast(literal, own.unwrap_or(ty))
        }
        Ok(ty) if ty.is_numeric() => cast(literal, ty),
        _ => literal,
    }
}

/// The type of a decimal with all the digits of `text`. `None` if it is written otherwise, or too long.
fn decimal(text: &str) -> Option<DataType> {
    let digits = text.trim().trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = whole.len() + fraction.len();
    let is_plain = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit());
    if !is_plain || all == 0 || all > usize::from(DECIMAL128_MAX_PRECISION) {
        return None;
    }
    let (precision, scale) = (u8::try_from(all).ok()?, i8::try_from(fraction.len()).ok()?);
    Some(DataType::Decimal128(precision, scale))
}

fn cast(literal: Expr, ty: DataType) -> Expr {
    let field = Arc::new(Field::new("", ty, true));
    Expr::Cast(Cast::new_from_field(Box::new(literal), field))
}
