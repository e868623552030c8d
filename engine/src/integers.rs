//! Integer literals with the type that PostgreSQL gives them: integer where the number fits, bigint where it does not.
//!
//! DataFusion's planner makes a bigint of every whole number and asks nobody. So a literal is handed to it as the one
//! kind of syntax that no SQL of ours has and that it asks its [`ExprPlanner`]s about: a dictionary. Numbers that are
//! no values stay: positions in ORDER BY and GROUP BY, LIMIT, subscripts, what is cast at once.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, DictionaryField, FunctionArg, FunctionArgExpr, GroupByExpr, Ident,
    LimitClause, NamedWindowDefinition, NamedWindowExpr, OrderByKind, Query, Select, SetExpr,
    Statement, Subscript, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
    WindowFrameBound, WindowSpec, WindowType,
};

/// The key of the dictionary that stands for an integer.
const KEY: &str = "tarn integer";

/// Marks every integer literal of `statement`, which is planned next and not printed any more.
pub(crate) fn mark(statement: &mut Statement) {
    if let Statement::Insert(insert) = statement
        && let Some(source) = &mut insert.source
        && let SetExpr::Values(values) = source.body.as_mut()
    {
        // These become what the columns are.
        values.rows.iter_mut().for_each(|row| keep_all(row));
    }
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Marker);
}

/// Plans what [`mark`] made.
#[derive(Debug)]
pub(crate) struct IntegerLiterals;

impl ExprPlanner for IntegerLiterals {
    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        let ours = expr.keys == [lit(KEY)];
        let integer = match &expr.values[..] {
            [Expr::Literal(value, None)] if ours => value.cast_to(&DataType::Int32).ok(),
            _ => None,
        };
        Ok(match integer {
            Some(integer) => PlannerResult::Planned(Expr::Literal(integer, None)),
            None => PlannerResult::Original(expr),
        })
    }
}

/// Goes from the outside in: what is to stay gets the flag of a "long" number, which the planner does not look at.
struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(items) = &mut order.kind
        {
            for item in items {
                keep(&mut item.expr);
            }
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(keep);
                if let Some(offset) = offset {
                    keep(&mut offset.value);
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                keep(offset);
                keep(limit);
            }
            None => {}
        }
        if let Some(fetch) = &mut query.fetch {
            fetch.quantity.iter_mut().for_each(keep);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(items, _) = &mut select.group_by {
            items.iter_mut().for_each(keep);
        }
        for NamedWindowDefinition(_, window) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = window {
                set_frame(spec, true);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let args = match table {
            TableFactor::Table {
                args: Some(table), ..
            } => &mut table.args,
            TableFactor::Function { args, .. } => args,
            _ => return ControlFlow::Continue(()),
        };
        for arg in args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                keep(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Cast { expr, .. } => keep(expr),
            ast::Expr::Function(call) => {
                if let Some(WindowType::WindowSpec(spec)) = &mut call.over {
                    set_frame(spec, true);
                }
            }
            ast::Expr::Interval(interval) => keep(&mut interval.value),
            ast::Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    match access {
                        AccessExpr::Subscript(Subscript::Index { index }) => keep(index),
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            stride,
                        }) => [lower_bound, upper_bound, stride]
                            .into_iter()
                            .flatten()
                            .for_each(keep),
                        AccessExpr::Dot(_) => {}
                    }
                }
            }
            ast::Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: operand,
            } if is_integer(operand) => {
                keep(operand);
                marked(expr);
            }
            _ if is_integer(expr) => marked(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for NamedWindowDefinition(_, window) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = window {
                set_frame(spec, false);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(call) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut call.over
        {
            set_frame(spec, false);
        }
        ControlFlow::Continue(())
    }
}

/// Whether `expr` is a number that an integer holds, and not to be kept.
fn is_integer(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Value(literal)
        if matches!(&literal.value, Value::Number(digits, false) if digits.parse::<i32>().is_ok()))
}

fn marked(expr: &mut ast::Expr) {
    let mut value = std::mem::replace(expr, ast::Expr::value(Value::Null));
    keep(&mut value);
    *expr = ast::Expr::Dictionary(vec![DictionaryField {
        key: Ident::new(KEY),
        value: Box::new(value),
    }]);
}

/// Keeps `expr` as it is if it is a number, with its sign.
fn keep(expr: &mut ast::Expr) {
    match expr {
        ast::Expr::Value(literal) => {
            if let Value::Number(_, long) = &mut literal.value {
                *long = true;
            }
        }
        ast::Expr::UnaryOp { expr, .. } | ast::Expr::Nested(expr) => keep(expr),
        _ => {}
    }
}

fn keep_all(exprs: &mut [ast::Expr]) {
    exprs.iter_mut().for_each(keep);
}

/// Keeps the bounds of the frame of a window, or gives them back, because the planner looks at their flag.
fn set_frame(spec: &mut WindowSpec, kept: bool) {
    let Some(frame) = &mut spec.window_frame else {
        return;
    };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(rows)) | WindowFrameBound::Following(Some(rows)) =
            bound
            && let ast::Expr::Value(literal) = rows.as_mut()
            && let Value::Number(_, long) = &mut literal.value
        {
            *long = kept;
        }
    }
}
