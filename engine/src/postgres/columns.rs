//! Two result columns of one name, which PostgreSQL allows: the planner sees different names.
//!
//! What the client sees is in [`crate::headings`], which reads the statement before this.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, Statement, VisitMut,
    VisitorMut,
};

use crate::parser::{fold, fold_name};

/// Gives every later column of a name another one, where the planner would refuse it.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

/// The table of `t.*`.
fn wildcard(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::Wildcard(_) => Some(String::new()),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            fold_name(name).pop()
        }
        _ => None,
    }
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let stars: HashSet<String> = select.projection.iter().filter_map(wildcard).collect();
        let mut aliases: HashSet<String> = HashSet::new();
        let mut casts: HashSet<String> = HashSet::new();
        let several = select.projection.len() > 1;
        for (at, item) in select.projection.iter_mut().enumerate() {
            match item {
                // The column comes once more with the star.
                SelectItem::UnnamedExpr(expr) => {
                    let table = match &expr {
                        Expr::Identifier(_) => Some(String::new()),
                        Expr::CompoundIdentifier(parts) => parts.iter().rev().nth(1).map(fold),
                        _ => None,
                    };
                    let twice = table.is_some_and(|table| {
                        stars.contains("")
                            || stars.contains(&table)
                            || (table.is_empty() && !stars.is_empty())
                    });
                    // The planner calls a cast what it calls the value, and a subquery what it calls its column.
                    let value = uncast(expr);
                    let inner = several && matches!(value, Expr::Subquery(_));
                    if twice || inner || !casts.insert(value.to_string()) {
                        *item = SelectItem::ExprWithAlias {
                            expr: expr.clone(),
                            alias: hidden(at),
                        };
                    }
                }
                SelectItem::ExprWithAlias { alias, .. } if !aliases.insert(fold(alias)) => {
                    *alias = hidden(at);
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// An expression without the casts around it.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => uncast(expr),
        other => other,
    }
}

fn hidden(at: usize) -> Ident {
    Ident::with_quote('"', format!("tarn column {}", at + 1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn a_column_beside_its_star_has_another_name() {
        check(
            "SELECT n.oid, n.*, d.x FROM n, d",
            "SELECT n.oid AS \"tarn column 1\", n.*, d.x FROM n, d",
        );
        check(
            "SELECT a AS x, b AS x FROM t",
            "SELECT a AS x, b AS \"tarn column 2\" FROM t",
        );
        check(
            "SELECT a, a::text FROM t",
            "SELECT a, a::TEXT AS \"tarn column 2\" FROM t",
        );
        check("SELECT a AS x, b FROM t", "SELECT a AS x, b FROM t");
        check(
            "SELECT max(a), (SELECT max(b) FROM u) FROM t",
            "SELECT max(a), (SELECT max(b) FROM u) AS \"tarn column 2\" FROM t",
        );
    }
}
