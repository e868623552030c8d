//! PostgreSQL's syntax that DataFusion's planner does not take, as syntax that it takes.
//!
//! General for every statement: qualified names of built-in things, arrays from queries and texts, functions that give
//! several rows, two columns of one name. Knows syntax only; what the plan must mend is in [`crate::decorrelate`].

mod arrays;
mod builtins;
mod columns;
mod patterns;
mod placeholders;
mod positions;
mod regexes;
mod rows;
mod sets;
mod standard;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Query, Statement, visit_expressions_mut,
};
use datafusion::sql::sqlparser::parser::Parser;

use crate::dialect::PostgreSqlDialect;

/// A call of the function `name`.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
        .collect();
    Expr::Function(Function {
        name: Ident::new(name).into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Rewrites `statement`.
pub(crate) fn rewrite(statement: &mut Statement) {
    placeholders::rewrite(statement);
    builtins::rewrite(statement);
    positions::rewrite(statement);
    standard::rewrite(statement);
    rows::rewrite(statement);
    arrays::rewrite(statement);
    patterns::rewrite(statement);
    regexes::rewrite(statement);
    sets::rewrite(statement);
    columns::rewrite(statement);
}

/// Puts what `new` makes of an expression in its place, from the leaves up.
fn replace_expressions(statement: &mut Statement, mut new: impl FnMut(&mut Expr) -> Option<Expr>) {
    let _ = visit_expressions_mut(statement, |expr| {
        if let Some(new) = new(expr) {
            *expr = new;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// A query that is put together as text; none if the text is not SQL.
fn query(sql: &str) -> Option<Box<Query>> {
    Parser::new(&PostgreSqlDialect::default())
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_query())
        .ok()
}

/// An expression that is put together as text; none if the text is not SQL.
pub(crate) fn expression(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect::default())
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what `sql` becomes.
    pub(super) fn check(sql: &str, expected: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect::default(), sql)
            .unwrap()
            .remove(0);
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected, "{sql}");
    }
}
