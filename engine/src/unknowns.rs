//! A text literal compared with a truth value or an array is one: `b = 'f'`, `roles = '{0}'`.
//!
//! PostgreSQL calls such a literal of unknown type and gives it the type of the other side. Knows expressions only.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
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
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if !matches!(expr.op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return Ok(PlannerResult::Original(expr));
        }
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

/// `literal` as what `other` is.
fn typed(literal: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    match other.get_type(schema) {
        Ok(ty @ (DataType::Boolean | DataType::List(_))) => Expr::Cast(Cast::new_from_field(
            Box::new(literal),
            Arc::new(Field::new("", ty, true)),
        )),
        _ => literal,
    }
}
