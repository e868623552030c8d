//! PostgreSQL's syntax that DataFusion's planner does not take, as syntax that it takes.
//!
//! General for every statement: qualified names of built-in things, arrays from queries and texts, functions that give
//! several rows, two columns of one name. Knows syntax only; what the plan must mend is in [`crate::decorrelate`].

mod arrays;
mod builtins;
mod columns;
mod patterns;
mod sets;

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::ast::{Expr, Query, Statement};
use datafusion::sql::sqlparser::parser::Parser;

/// Rewrites `statement`.
pub(crate) fn rewrite(statement: &mut Statement) {
    builtins::rewrite(statement);
    arrays::rewrite(statement);
    patterns::rewrite(statement);
    sets::rewrite(statement);
    columns::rewrite(statement);
}

/// A query that is put together as text; none if the text is not SQL.
fn query(sql: &str) -> Option<Box<Query>> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_query())
        .ok()
}

/// An expression that is put together as text; none if the text is not SQL.
fn expression(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what `sql` becomes.
    pub(super) fn check(sql: &str, expected: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql)
            .unwrap()
            .remove(0);
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected, "{sql}");
    }
}
