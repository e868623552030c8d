//! Number literals: one with an exponent is a double, as the SQL standard has it.
//!
//! Without this `1e300` would be a decimal of 301 digits, which no type holds. Knows syntax only.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, ExactNumberInfo, Expr, Value, VisitMut, VisitorMut,
};

/// Makes every number literal with an exponent in `statement` a `double precision`.
pub(crate) fn approximate(statement: &mut ast::Statement) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Exponents);
}

struct Exponents;

impl VisitorMut for Exponents {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Value(literal) = expr else {
            return ControlFlow::Continue(());
        };
        let Value::Number(text, _) = &literal.value else {
            return ControlFlow::Continue(());
        };
        if text.contains(['e', 'E']) {
            let text = Value::SingleQuotedString(text.to_string()).with_span(literal.span);
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
        approximate(&mut statement);
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
}
