//! Names of the columns of subqueries in FROM and of WITH, so that what is around them finds them.
//!
//! `SELECT max FROM (SELECT max(n) FROM t) x`: the planner would call the column `max(t.n)`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, Statement, TableFactor, VisitMut, VisitorMut,
    visit_expressions,
};

use super::{UNNAMED, figure};
use crate::parser::fold;

/// Names every column that has no name in every such subquery of `statement`.
pub(crate) fn name(statement: &mut Statement) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Namer);
}

struct Namer;

impl VisitorMut for Namer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &mut query.with {
            with.cte_tables
                .iter_mut()
                .for_each(|cte| name_columns(&mut cte.query));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, .. } = table {
            name_columns(subquery);
        }
        ControlFlow::Continue(())
    }
}

/// Names that the query says anywhere are left out: they may mean a column of its tables.
fn name_columns(query: &mut Query) {
    let mut taken = said(query);
    let sorted = query.order_by.is_some();
    let mut body = query.body.as_mut();
    let select = loop {
        body = match body {
            SetExpr::SetOperation { left, .. } => left.as_mut(),
            SetExpr::Query(query) => query.body.as_mut(),
            SetExpr::Select(select) => break select,
            _ => return,
        };
    };
    let wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    // What is sorted after DISTINCT is found in the select list by its text.
    if select.projection.iter().any(wildcard) || (sorted && select.distinct.is_some()) {
        return;
    }
    taken.extend(select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        _ => None,
    }));
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        let name = figure(expr).map_or_else(|| UNNAMED.to_owned(), |found| found.name);
        if taken.insert(name.clone()) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', name),
            };
        }
    }
}

/// The names of columns that stand in `query`.
fn said(query: &Query) -> HashSet<String> {
    let mut names = HashSet::new();
    // Nothing breaks off the visit.
    let _ = visit_expressions(query, |expr| {
        match expr {
            Expr::Identifier(name) => names.extend([fold(name)]),
            Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(fold)),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    names
}
