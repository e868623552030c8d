//! Arrays as PostgreSQL writes them: `ARRAY(SELECT …)`, `x = ANY ('{a,b}')`, `x LIKE ANY (ARRAY[…])`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, Expr, Function, FunctionArguments, GroupByExpr, Query, SelectItem,
    SetExpr, Statement, Value, visit_expressions,
};

use super::{expression, replace_expressions};

/// Rewrites every such array.
pub(super) fn rewrite(statement: &mut Statement) {
    replace_expressions(statement, replacement);
}

fn replacement(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => of_query(function),
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => {
            if let Some(elem) = text(right).and_then(elements) {
                **right = array(elem);
            }
            each(left, compare_op, right, &BinaryOperator::Or)
                .or_else(|| unless_null(left, compare_op, right))
        }
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => {
            if let Some(elem) = text(right).and_then(elements) {
                **right = array(elem);
            }
            each(left, compare_op, right, &BinaryOperator::And)
        }
        Expr::Like {
            negated,
            any: true,
            expr,
            pattern,
            ..
        } => like_any(expr, pattern, *negated, false),
        Expr::ILike {
            negated,
            any: true,
            expr,
            pattern,
            ..
        } => like_any(expr, pattern, *negated, true),
        _ => None,
    }
}

/// The text of a literal.
fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => text(inner),
        _ => None,
    }
}

fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

/// The items of an array literal such as `{a,"b c",NULL}`. None if it is not one of one dimension.
fn elements(text: &str) -> Option<Vec<Expr>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut item = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        if quoted {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                match c {
                    '{' | '}' | '"' => return None,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
        }
        let value = match item.trim_end() {
            "NULL" | "null" if !quoted => Value::Null,
            plain if !quoted => Value::SingleQuotedString(plain.to_owned()),
            _ => Value::SingleQuotedString(item),
        };
        items.push(Expr::value(value));
        match chars.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// `ARRAY(query)` as an aggregate of its rows.
fn of_query(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else {
        return None;
    };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let aggregate = simple(query).unwrap_or_else(|| {
        format!("SELECT array_agg(tarn_items.tarn_item) FROM ({query}) AS tarn_items (tarn_item)")
    });
    expression(&format!("tarn_or_empty(({aggregate}))"))
}

/// The aggregate over a query that only selects: its order goes into the aggregate.
fn simple(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(by, more) => !by.is_empty() || !more.is_empty(),
    };
    let plain = query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && !grouped;
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    if !plain || calls_unnest(item) {
        return None;
    }
    let order = match &query.order_by {
        None => String::new(),
        Some(order) => {
            let order = order.to_string();
            // A number in ORDER BY means a column, which an aggregate does not know.
            if order.chars().any(|c| c.is_ascii_digit()) && !order.contains(['.', '(']) {
                return None;
            }
            format!(" {order}")
        }
    };
    let mut select = select.as_ref().clone();
    select.projection = vec![SelectItem::UnnamedExpr(expression(&format!(
        "array_agg({item}{order})"
    ))?)];
    Some(select.to_string())
}

/// Whether an item makes several rows of one, or one of several.
fn calls_unnest(expr: &Expr) -> bool {
    use datafusion::sql::sqlparser::ast::{Visit, Visitor};
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else {
                return ControlFlow::Continue(());
            };
            let name = function.name.to_string().to_lowercase();
            let sets = [
                "unnest",
                "generate_series",
                "generate_subscripts",
                "count",
                "max",
                "min",
            ];
            if sets.contains(&name.as_str()) || name.ends_with("_agg") {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    Visit::visit(expr, &mut Finder).is_break()
}

/// A comparison that DataFusion does not have for arrays, item by item.
fn each(left: &Expr, op: &BinaryOperator, right: &Expr, join: &BinaryOperator) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if matches!(op, Eq | NotEq | Gt | GtEq | Lt | LtEq) {
        return None;
    }
    let compare = |item: &Expr| Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: op.clone(),
        right: Box::new(item.clone()),
    };
    joined(items(right)?, compare, join)
}

/// `x = ANY (a)` is NULL where only a NULL in the array may be equal; DataFusion says false.
fn unless_null(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    if matches!(right, Expr::Subquery(_)) || has_query(right) {
        return None;
    }
    if items(right).is_some_and(|items| items.iter().all(is_known)) {
        return None;
    }
    let any = Expr::AnyOp {
        left: Box::new(left.clone()),
        compare_op: op.clone(),
        right: Box::new(right.clone()),
        is_some: false,
    };
    expression(&format!("({any} OR tarn_null_in({right}))"))
}

/// Whether an item is a value that is not NULL.
fn is_known(item: &Expr) -> bool {
    match item {
        Expr::Value(value) => !matches!(value.value, Value::Null | Value::Placeholder(_)),
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. } => is_known(inner),
        Expr::TypedString(_) => true,
        _ => false,
    }
}

/// Whether a query is in it, which is not to run twice.
fn has_query(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The items of a written-out array.
fn items(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Array(array) => Some(&array.elem),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => items(inner),
        _ => None,
    }
}

fn joined(items: &[Expr], compare: impl Fn(&Expr) -> Expr, op: &BinaryOperator) -> Option<Expr> {
    let all = items
        .iter()
        .map(compare)
        .reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: op.clone(),
            right: Box::new(right),
        });
    all.map(|all| Expr::Nested(Box::new(all)))
}

fn like_any(expr: &Expr, pattern: &Expr, negated: bool, ignore_case: bool) -> Option<Expr> {
    let like = |item: &Expr| {
        let (expr, pattern) = (Box::new(expr.clone()), Box::new(item.clone()));
        if ignore_case {
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            }
        } else {
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            }
        }
    };
    joined(items(pattern)?, like, &BinaryOperator::Or)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn an_array_of_a_query_is_an_aggregate() {
        check(
            "SELECT ARRAY(SELECT a FROM t WHERE t.b = u.b ORDER BY c) FROM u",
            "SELECT tarn_or_empty((SELECT array_agg(a ORDER BY c) FROM t WHERE t.b = u.b)) FROM u",
        );
        check(
            "SELECT ARRAY(SELECT DISTINCT a FROM t)",
            "SELECT tarn_or_empty((SELECT array_agg(tarn_items.tarn_item) FROM (SELECT DISTINCT a FROM t) AS tarn_items (tarn_item)))",
        );
    }

    #[test]
    fn texts_are_arrays_where_arrays_are_wanted() {
        check(
            "SELECT x = ANY ('{r,\"b c\",NULL}')",
            "SELECT (x = ANY(ARRAY['r', 'b c', NULL]) OR tarn_null_in(ARRAY['r', 'b c', NULL]))",
        );
    }

    #[test]
    fn an_unknown_item_may_be_equal() {
        check(
            "SELECT x = ANY (a), x = ANY (ARRAY[1, 2])",
            "SELECT (x = ANY(a) OR tarn_null_in(a)), x = ANY(ARRAY[1, 2])",
        );
    }

    #[test]
    fn patterns_are_compared_one_by_one() {
        check(
            "SELECT x ~ ANY (ARRAY['a', 'b'])",
            "SELECT (x ~ 'a' OR x ~ 'b')",
        );
    }
}
