//! SQL that DataFusion's planner refuses, as SQL that it takes. Knows syntax only.
//!
//! A number literal with an exponent is a double, as the SQL standard has it: `1e300` would otherwise be a decimal of
//! 301 digits, which no type holds. `mod(a, b)` is `a % b`. Two columns of one text (`SELECT 0, 0`) may not have one name: the later gets
//! another.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Select, SelectItem, Value, VisitMut, VisitorMut,
};

/// Rewrites every number and every list of columns in `statement`.
pub(crate) fn rewrite(statement: &mut ast::Statement) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Rewriter);
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

struct Rewriter;

impl VisitorMut for Rewriter {
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

/// The last part of the name, if `expr` is a column.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(crate::parser::fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(crate::parser::fold),
        _ => None,
    }
}

/// `expr` without its casts, at every depth.
fn without_casts(expr: &Expr) -> Expr {
    struct Strip;
    impl VisitorMut for Strip {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, .. } = expr {
                let inner = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()));
                *expr = inner;
            }
            ControlFlow::Continue(())
        }
    }
    let mut bare = expr.clone();
    let _ = VisitMut::visit(&mut bare, &mut Strip);
    bare
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check_rewritten(sql: &str, expected: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql)
            .unwrap()
            .remove(0);
        rewrite(&mut statement);
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
    }
}
