//! Rows compared as the SQL standard compares them: item by item, with NULL for what is not known.
//!
//! `(a, b) = (c, d)`, `(a, b) < (c, d)`, `(a, b) IN (…)`, also of a query, and `ROW(a, b) IS NULL`. DataFusion would compare
//! structs, to which NULL is a value.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SetExpr, Statement,
    UnaryOperator,
};

use super::{expression, replace_expressions};

/// Rewrites every such comparison.
pub(super) fn rewrite(statement: &mut Statement) {
    replace_expressions(statement, replacement);
}

fn replacement(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => match (row(left), row(right)) {
            (Some(left), Some(right)) => compared(&left, op, &right),
            _ => None,
        },
        Expr::InList {
            expr,
            list,
            negated,
        } => row(expr).and_then(|left| in_list(&left, list, *negated)),
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => row(expr)
            .filter(|left| width(&subquery.body) == Some(left.len()))
            .and_then(|left| in_query(&left, &subquery.to_string(), *negated)),
        Expr::IsNull(inner) => row(inner).and_then(|items| {
            let all = items.into_iter().map(|item| Expr::IsNull(Box::new(item)));
            joined(all, &BinaryOperator::And)
        }),
        Expr::IsNotNull(inner) => row(inner).and_then(|items| {
            let all = items
                .into_iter()
                .map(|item| Expr::IsNotNull(Box::new(item)));
            joined(all, &BinaryOperator::And)
        }),
        _ => None,
    }
}

/// The items of `(a, b)` or `ROW(a, b)`.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(items) => Some(items.clone()),
        Expr::Nested(inner) => match inner.as_ref() {
            Expr::Tuple(_) | Expr::Function(_) => row(inner),
            _ => None,
        },
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            list.args
                .iter()
                .map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(item)) => Some(item.clone()),
                    _ => None,
                })
                .collect()
        }
        _ => None,
    }
    .filter(|items: &Vec<Expr>| !items.is_empty())
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: op.clone(),
        right: Box::new(right.clone()),
    }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn joined(all: impl Iterator<Item = Expr>, op: &BinaryOperator) -> Option<Expr> {
    all.reduce(|left, right| binary(&left, op, &right))
        .map(nested)
}

fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    if left.len() != right.len() {
        return None;
    }
    let pairs = || left.iter().zip(right);
    match op {
        Eq => joined(pairs().map(|(l, r)| binary(l, &Eq, r)), &And),
        NotEq => joined(pairs().map(|(l, r)| binary(l, &NotEq, r)), &Or),
        Lt | LtEq | Gt | GtEq => {
            let strict = match op {
                Lt | LtEq => Lt,
                _ => Gt,
            };
            // The first pair that differs decides; the last one by the operator itself.
            let mut all = pairs().rev();
            let (l, r) = all.next()?;
            let last = binary(l, op, r);
            Some(nested(all.fold(last, |rest, (l, r)| {
                let same = nested(binary(&binary(l, &Eq, r), &And, &nested(rest)));
                binary(&binary(l, &strict, r), &Or, &same)
            })))
        }
        _ => None,
    }
}

fn in_list(left: &[Expr], list: &[Expr], negated: bool) -> Option<Expr> {
    let all = list
        .iter()
        .map(|item| compared(left, &BinaryOperator::Eq, &row(item)?))
        .collect::<Option<Vec<_>>>()?;
    let any = joined(all.into_iter(), &BinaryOperator::Or)?;
    Some(if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(any),
        }
    } else {
        any
    })
}

/// Columns of a query, if its text tells.
fn width(body: &SetExpr) -> Option<usize> {
    use datafusion::sql::sqlparser::ast::SelectItem::{ExprWithAlias, UnnamedExpr};
    match body {
        SetExpr::Select(select) => select
            .projection
            .iter()
            .all(|item| matches!(item, UnnamedExpr(_) | ExprWithAlias { .. }))
            .then_some(select.projection.len()),
        SetExpr::Query(query) => width(&query.body),
        SetExpr::SetOperation { left, .. } => width(left),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

/// A row that is not known to be there is not there: the difference between NULL and false is lost, which WHERE does not
/// ask. For NOT IN, a row that is not known to differ counts as equal.
fn in_query(left: &[Expr], query: &str, negated: bool) -> Option<Expr> {
    let names: Vec<String> = (1..=left.len())
        .map(|at| format!("tarn_item_{at}"))
        .collect();
    let equal: Vec<String> = left
        .iter()
        .zip(&names)
        .map(|(item, name)| format!("tarn_in.{name} = ({item})"))
        .collect();
    let (equal, names) = (equal.join(" AND "), names.join(", "));
    expression(&if negated {
        format!(
            "NOT EXISTS (SELECT 1 FROM ({query}) AS tarn_in ({names}) WHERE ({equal}) IS NOT FALSE)"
        )
    } else {
        format!("EXISTS (SELECT 1 FROM ({query}) AS tarn_in ({names}) WHERE {equal})")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn rows_are_compared_item_by_item() {
        check("SELECT (1, a) = (1, 2)", "SELECT (1 = 1 AND a = 2)");
        check("SELECT (1, a) <> ROW(1, 2)", "SELECT (1 <> 1 OR a <> 2)");
        check(
            "SELECT (a, b) <= (1, 2)",
            "SELECT (a < 1 OR (a = 1 AND (b <= 2)))",
        );
        check(
            "SELECT ROW(a, b) IS NOT NULL, (a, b) IS NULL",
            "SELECT (a IS NOT NULL AND b IS NOT NULL), (a IS NULL AND b IS NULL)",
        );
    }

    #[test]
    fn a_row_may_be_in_a_list_or_a_query() {
        check(
            "SELECT (a, b) IN ((1, 2), (3, 4))",
            "SELECT ((a = 1 AND b = 2) OR (a = 3 AND b = 4))",
        );
        check(
            "SELECT 1 FROM t WHERE (a, b) IN (SELECT x, y FROM u)",
            "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM (SELECT x, y FROM u) AS tarn_in (tarn_item_1, tarn_item_2) WHERE tarn_in.tarn_item_1 = (a) AND tarn_in.tarn_item_2 = (b))",
        );
    }
}
