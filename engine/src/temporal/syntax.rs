//! SQL about time that DataFusion's planner means otherwise, as calls of functions. Knows syntax only.
//!
//! `AT TIME ZONE`, `OVERLAPS`, `timestamp(0)`, `- interval '…'`, `make_interval(days => 1)`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, DataType as SqlType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, TimezoneInfo, UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::postgres::call;

/// Digits of a second that a timestamp keeps.
const DIGITS_MAX: u64 = 6;

/// The arguments of `make_interval`, in their order.
const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// Rewrites what `statement` says about time.
pub(crate) fn rewrite(statement: &mut ast::Statement) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(new) = rewritten(expr) {
            *expr = new;
        }
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => Some(call(
            "timezone",
            vec![time_zone.as_ref().clone(), timestamp.as_ref().clone()],
        )),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Overlaps,
            right,
        } => {
            let (Expr::Tuple(left), Expr::Tuple(right)) = (left.as_ref(), right.as_ref()) else {
                return None;
            };
            let [first, second] = [span(left)?, span(right)?];
            Some(call("overlaps", first.into_iter().chain(second).collect()))
        }
        // A literal's sign would be put before its first unit only.
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } if matches!(inner.as_ref(), Expr::Interval(_)) => Some(Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(Expr::Nested(inner.clone())),
        }),
        Expr::Cast { data_type, .. } => {
            let digits = digits(data_type)?;
            Some(call(
                "tarn_round_time",
                vec![expr.clone(), number(&digits.to_string())],
            ))
        }
        Expr::TypedString(typed) => {
            let digits = digits(&mut typed.data_type)?;
            Some(call(
                "tarn_round_time",
                vec![expr.clone(), number(&digits.to_string())],
            ))
        }
        Expr::Function(function) => named_parts(function),
        _ => None,
    }
}

/// The digits of a second that `ty` keeps; takes them away.
fn digits(ty: &mut SqlType) -> Option<u64> {
    let (SqlType::Timestamp(digits, _)
    | SqlType::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
    | SqlType::Datetime(digits)
    | SqlType::TimestampNtz(digits)) = ty
    else {
        return None;
    };
    let few = digits.filter(|digits| *digits < DIGITS_MAX)?;
    *digits = None;
    Some(few)
}

/// Start and end of a span; the end may be said as an interval.
fn span(pair: &[Expr]) -> Option<[Expr; 2]> {
    let [start, end] = pair else { return None };
    let end = if matches!(end, Expr::Interval(_)) {
        Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(start.clone()),
            op: BinaryOperator::Plus,
            right: Box::new(end.clone()),
        }))
    } else {
        end.clone()
    };
    Some([start.clone(), end])
}

/// `make_interval` with its parts by position.
fn named_parts(function: &Function) -> Option<Expr> {
    if !function
        .name
        .to_string()
        .eq_ignore_ascii_case("make_interval")
    {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let mut parts: Vec<Option<Expr>> = vec![];
    let mut any_named = false;
    for (at, arg) in list.args.iter().enumerate() {
        let (at, value) = match arg {
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                any_named = true;
                let name = crate::parser::fold(name);
                (PARTS.iter().position(|part| *part == name)?, value)
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                any_named = true;
                let name = crate::parser::fold(name);
                (PARTS.iter().position(|part| *part == name)?, value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (at, value),
            _ => return None,
        };
        if parts.len() <= at {
            parts.resize(at + 1, None);
        }
        parts[at] = Some(value.clone());
    }
    any_named.then(|| {
        let parts = parts
            .into_iter()
            .map(|part| part.unwrap_or_else(|| number("0")));
        call("make_interval", parts.collect())
    })
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check(sql: &str, wanted: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect::default(), sql)
            .unwrap()
            .remove(0);
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), wanted);
    }

    #[test]
    fn syntax_of_time_is_calls() {
        check(
            "SELECT t AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Paris'",
            "SELECT timezone('Europe/Paris', timezone('UTC', t))",
        );
        check(
            "SELECT t::timestamp(0), t::timestamp",
            "SELECT tarn_round_time(t::TIMESTAMP, 0), t::TIMESTAMP",
        );
        check("SELECT - INTERVAL '1 day'", "SELECT -(INTERVAL '1 day')");
        check(
            "SELECT make_interval(days => 10, mins => 5)",
            "SELECT make_interval(0, 0, 0, 10, 0, 5)",
        );
        check(
            "SELECT (a, b) OVERLAPS (c, INTERVAL '1 day')",
            "SELECT overlaps(a, b, c, (c + INTERVAL '1 day'))",
        );
    }
}
