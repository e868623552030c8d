//! Positions in `ROLLUP (1, 2)`, `CUBE`, `GROUPING SETS` and `DISTINCT ON (1)`, which the planner takes for constants.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Select, SelectItem, Statement, Value, VisitMut, VisitorMut,
};

/// Puts the columns in their places.
pub(super) fn rewrite(statement: &mut Statement) {
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut Positions);
}

struct Positions;

impl VisitorMut for Positions {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let list = &select.projection;
        if let GroupByExpr::Expressions(items, _) = &mut select.group_by {
            for item in items {
                if let Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) = item {
                    sets.iter_mut().flatten().for_each(|expr| place(expr, list));
                }
            }
        }
        if let Some(Distinct::On(items)) = &mut select.distinct {
            for item in items {
                place(item, list);
            }
        }
        ControlFlow::Continue(())
    }
}

fn place(expr: &mut Expr, list: &[SelectItem]) {
    let Expr::Value(literal) = &*expr else {
        return;
    };
    let Value::Number(digits, _) = &literal.value else {
        return;
    };
    let position = digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    if let Some(SelectItem::UnnamedExpr(found) | SelectItem::ExprWithAlias { expr: found, .. }) =
        position.and_then(|position| list.get(position))
    {
        *expr = found.clone();
    }
}
