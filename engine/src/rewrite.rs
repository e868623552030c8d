//! SQL that DataFusion's planner refuses, as SQL that it takes. Knows syntax only.
//!
//! A number literal with an exponent is a double, as the SQL standard has it: `1e300` would otherwise be a decimal of
//! 301 digits, which no type holds. `mod(a, b)` is `a % b`. Two columns of one text (`SELECT 0, 0`) may not have one name: the later gets
//! another.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Value, VisitMut,
    VisitorMut, visit_expressions,
};

use datafusion::scalar::ScalarValue;

use crate::dimensions;
use crate::temporal;

/// Rewrites every number and every list of columns in `statement`, which runs with `parameters`.
pub(crate) fn rewrite(statement: &mut ast::Statement, parameters: &[ScalarValue]) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Rewriter { parameters });
}

/// `mod(a, b)`, which DataFusion has as `a % b` only.
fn remainder(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
    ] = &list.args[..]
    else {
        return None;
    };
    if !function.name.to_string().eq_ignore_ascii_case("mod") {
        return None;
    }
    let nested = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
    Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: nested(left),
        op: BinaryOperator::Modulo,
        right: nested(right),
    })))
}

/// `'1.50'::numeric` keeps its two digits: a numeric without precision has the scale of its literal or
/// parameter.
fn keep_digits(expr: &mut Expr, parameters: &[ScalarValue]) {
    let Expr::Cast {
        expr: inner,
        data_type:
            DataType::Numeric(info @ ExactNumberInfo::None)
            | DataType::Decimal(info @ ExactNumberInfo::None)
            | DataType::Dec(info @ ExactNumberInfo::None),
        ..
    } = expr
    else {
        return;
    };
    let Expr::Value(literal) = inner.as_mut() else {
        return;
    };
    if let Value::SingleQuotedString(text) = &mut literal.value
        && let Some(plain) = without_exponent(text)
    {
        *text = plain;
    }
    let scale = match &literal.value {
        Value::SingleQuotedString(text) | Value::Number(text, _) => text_scale(text),
        Value::Placeholder(name) => name
            .trim_start_matches('$')
            .parse::<usize>()
            .ok()
            .and_then(|number| parameters.get(number.checked_sub(1)?))
            .and_then(value_scale),
        _ => None,
    };
    if let Some(scale) = scale {
        *info = ExactNumberInfo::PrecisionAndScale(DIGITS_MAX as u64, scale);
    }
}

fn value_scale(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Decimal128(_, _, scale) | ScalarValue::Decimal256(_, _, scale) => {
            Some(i64::from(*scale)).filter(|scale| (0..=38).contains(scale))
        }
        other => text_scale(other.try_as_str().flatten()?),
    }
}

/// Digits after the point of a plain number that fits a decimal.
pub(crate) fn text_scale(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches(['-', '+']);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let count = whole.trim_start_matches('0').len() + fraction.len();
    let fits = digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && count <= DIGITS_MAX;
    i64::try_from(fraction.len()).ok().filter(|_| fits)
}

/// `1.5e3` as `1500`; none if it has no exponent or more digits than a decimal.
fn without_exponent(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (plain, exponent) = number.split_once(['e', 'E'])?;
    let exponent: i8 = exponent.parse().ok()?;
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = format!("{whole}{fraction}");
    let known = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let most = i64::try_from(DIGITS_MAX).ok()?;
    if !known || !(-most..=most).contains(&point) {
        return None;
    }
    let before = usize::try_from(point.max(0)).ok()?;
    let zeros = "0".repeat(usize::try_from((-point).max(0)).ok()?);
    let digits = format!("{digits:0<before$}");
    let (whole, fraction) = digits.split_at(before);
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() && zeros.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{zeros}{fraction}")
    })
}

/// Most digits of a decimal. Source: Iceberg spec, "Primitive Types".
pub(crate) const DIGITS_MAX: usize = 38;

/// An interval literal in words that DataFusion reads: it knows neither clocks nor ISO 8601.
fn plain_interval(expr: &mut Expr) {
    let Expr::Interval(interval) = expr else {
        return;
    };
    if interval.leading_field.is_some() {
        return;
    }
    let Expr::Value(literal) = interval.value.as_mut() else {
        return;
    };
    let Value::SingleQuotedString(text) = &mut literal.value else {
        return;
    };
    if let Ok(value) = temporal::interval(text) {
        let nanos = value.nanoseconds.unsigned_abs();
        let sign = if value.nanoseconds < 0 { "-" } else { "" };
        *text = format!(
            "{} months {} days {sign}{}.{:09} seconds",
            value.months,
            value.days,
            nanos / 1_000_000_000,
            nanos % 1_000_000_000
        );
    }
}

struct Rewriter<'a> {
    parameters: &'a [ScalarValue],
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("sign")
        {
            // DataFusion knows it by its other name.
            function.name = Ident::new("signum").into();
        }
        if let Some(remainder) = remainder(expr) {
            *expr = remainder;
            return ControlFlow::Continue(());
        }
        keep_digits(expr, self.parameters);
        dimensions::mend(expr, self.parameters);
        plain_interval(expr);
        let Expr::Value(literal) = expr else {
            return ControlFlow::Continue(());
        };
        let Value::Number(text, _) = &literal.value else {
            return ControlFlow::Continue(());
        };
        if text.contains(['e', 'E']) {
            let text = Value::SingleQuotedString(text.clone()).with_span(literal.span);
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Value(text)),
                data_type: DataType::Double(ExactNumberInfo::None),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_sorted_casts(query);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let wildcard = select.projection.iter().any(|item| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        });
        let plain = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => column(expr),
            _ => None,
        };
        let columns: HashSet<String> = select.projection.iter().filter_map(plain).collect();
        let mut taken: HashSet<String> = HashSet::new();
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expr) = item else {
                continue;
            };
            // The planner does not see a cast in a name: `id::text` is called `id`.
            let bare = without_casts(expr);
            let text = bare.to_string();
            let is_cast = bare != *expr;
            let hidden = column(&bare)
                .filter(|_| is_cast)
                .is_some_and(|name| wildcard || columns.contains(&name));
            if taken.insert(text.clone()) && !hidden {
                continue;
            }
            let mut number = 1;
            while !taken.insert(format!("{text}_{number}")) {
                number += 1;
            }
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', format!("{text}_{number}")),
            };
        }
        ControlFlow::Continue(())
    }
}

/// Gives casts in the select list of `query` a name of their own where ORDER BY would not find, or would confuse,
/// theirs: `SELECT t::date … ORDER BY t` sorts by the date.
fn name_sorted_casts(query: &mut Query) {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind)
    else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let plain: HashSet<String> = keys
        .iter()
        .filter_map(|key| match &key.expr {
            Expr::Identifier(name) => Some(crate::parser::fold(name)),
            _ => None,
        })
        .collect();
    let mut mentioned = HashSet::new();
    for key in keys {
        let _ = visit_expressions(&key.expr, |expr| {
            mentioned.extend(column(expr));
            ControlFlow::<()>::Continue(())
        });
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr @ Expr::Cast { .. }) = item else {
            continue;
        };
        let Some(name) = column(&without_casts(expr)).filter(|name| mentioned.contains(name))
        else {
            continue;
        };
        let alias = if plain.contains(&name) {
            name
        } else {
            format!("{name}_1")
        };
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: Ident::with_quote('"', alias),
        };
    }
}

/// The last part of the name, if `expr` is a column.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(crate::parser::fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(crate::parser::fold),
        _ => None,
    }
}

/// `expr` as the planner names it: without its casts and parentheses, at every depth, and with all subqueries alike.
fn without_casts(expr: &Expr) -> Expr {
    struct Strip;
    impl VisitorMut for Strip {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let named = |name: &str| Expr::Identifier(Ident::with_quote('"', name));
            *expr = match expr {
                Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => {
                    std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()))
                }
                Expr::TypedString(typed) => Expr::Value(typed.value.clone()),
                Expr::Exists { negated, .. } => {
                    named(if *negated { "(not exists)" } else { "(exists)" })
                }
                Expr::Subquery(_) => named("(subquery)"),
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Continue(())
        }
    }
    let mut bare = expr.clone();
    let _ = VisitMut::visit(&mut bare, &mut Strip);
    bare
}

#[cfg(test)]
mod tests {
    use crate::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check_rewritten(sql: &str, expected: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect::default(), sql)
            .unwrap()
            .remove(0);
        rewrite(&mut statement, &[]);
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn an_exponent_makes_a_double() {
        check_rewritten(
            "SELECT 1e300, -1.5E-7, 1.5, 1e3::integer",
            "SELECT CAST('1e300' AS DOUBLE), -CAST('1.5E-7' AS DOUBLE), 1.5, CAST('1e3' AS DOUBLE)::INTEGER",
        );
        check_rewritten(
            "INSERT INTO t VALUES (1e5, '1e5')",
            "INSERT INTO t VALUES (CAST('1e5' AS DOUBLE), '1e5')",
        );
    }

    #[test]
    fn a_numeric_without_precision_keeps_the_digits_of_its_literal() {
        check_rewritten(
            "SELECT '1.50'::numeric, -1.5::numeric, 'x'::numeric, '1e3'::numeric, '1.5e-2'::numeric",
            "SELECT '1.50'::NUMERIC(38,2), -1.5::NUMERIC(38,1), 'x'::NUMERIC, '1000'::NUMERIC(38,0), '0.015'::NUMERIC(38,3)",
        );
    }

    #[test]
    fn an_interval_is_written_in_units() {
        check_rewritten(
            "SELECT INTERVAL '1 day 02:03:04.5', INTERVAL 'P1Y', INTERVAL '1' DAY",
            "SELECT INTERVAL '0 months 1 days 7384.500000000 seconds', INTERVAL '12 months 0 days 0.000000000 seconds', INTERVAL '1' DAY",
        );
    }

    #[test]
    fn mod_is_the_remainder() {
        check_rewritten("SELECT mod(a + 1, 3)", "SELECT ((a + 1) % (3))");
    }

    #[test]
    fn a_column_that_is_there_twice_gets_a_second_name() {
        check_rewritten(
            "SELECT 0, 0, i, 0 FROM t",
            "SELECT 0, 0 AS \"0_1\", i, 0 AS \"0_2\" FROM t",
        );
        check_rewritten("SELECT a.id, b.id FROM a, b", "SELECT a.id, b.id FROM a, b");
        check_rewritten(
            "SELECT id::TEXT, id::INT FROM t",
            "SELECT id::TEXT, id::INT AS \"id_1\" FROM t",
        );
        check_rewritten(
            "SELECT t.id, id::TEXT FROM t",
            "SELECT t.id, id::TEXT AS \"id_1\" FROM t",
        );
        check_rewritten(
            "SELECT *, id::TEXT FROM t",
            "SELECT *, id::TEXT AS \"id_1\" FROM t",
        );
        check_rewritten("SELECT id::TEXT FROM t", "SELECT id::TEXT FROM t");
        check_rewritten(
            "SELECT mod(n, 2), n % 2, EXISTS (SELECT 1), EXISTS (SELECT 2)",
            "SELECT ((n) % (2)), n % 2 AS \"n % 2_1\", EXISTS (SELECT 1), EXISTS (SELECT 2) AS \"\"\"(exists)\"\"_1\"",
        );
        check_rewritten(
            "SELECT a::DATE, b::DATE, c::DATE FROM t ORDER BY a, t.b",
            "SELECT a::DATE AS \"a\", b::DATE AS \"b_1\", c::DATE FROM t ORDER BY a, t.b",
        );
    }
}
