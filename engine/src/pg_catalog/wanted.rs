//! What of a catalog relation a statement asks for: oids and names that its filters fix.
//!
//! Only narrows: the filters themselves are applied to the rows again. Knows expressions, not relations.

use std::collections::{HashMap, HashSet};

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

/// A value that a column must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    Text(String),
}

/// For some columns, the only values that can pass.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    columns: HashMap<String, HashSet<Key>>,
}

impl Wanted {
    /// What filters that all must hold leave.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        let mut wanted = Self::default();
        for filter in filters {
            if let Some((column, keys)) = keys(filter) {
                match wanted.columns.get_mut(&column) {
                    Some(known) => known.retain(|key| keys.contains(key)),
                    None => {
                        wanted.columns.insert(column, keys);
                    }
                }
            }
        }
        wanted
    }

    /// Whether a row with this oid in `column` can pass.
    pub(crate) fn oid(&self, column: &str, value: u32) -> bool {
        self.number(column, u64::from(value))
    }

    fn number(&self, column: &str, value: u64) -> bool {
        match self.columns.get(column) {
            Some(keys) => keys.contains(&Key::Number(value)),
            None => true,
        }
    }

    /// Whether a row with this text in `column` can pass.
    pub(crate) fn text(&self, column: &str, value: &str) -> bool {
        match self.columns.get(column) {
            Some(keys) => keys.contains(&Key::Text(value.to_owned())),
            None => true,
        }
    }

    /// The oids that `column` must be one of, if that is known.
    pub(crate) fn oids(&self, column: &str) -> Option<Vec<u32>> {
        let number = |key: &Key| match key {
            Key::Number(number) => u32::try_from(*number).ok(),
            Key::Text(_) => None,
        };
        let keys = self.columns.get(column)?;
        Some(keys.iter().filter_map(number).collect())
    }
}

/// `column = value`, `column IN (values)` and ORs of these for one column.
fn keys(filter: &Expr) -> Option<(String, HashSet<Key>)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Eq => match (column(left), key(right), column(right), key(left)) {
                (Some(column), Some(key), ..) | (.., Some(column), Some(key)) => {
                    Some((column, [key].into()))
                }
                _ => None,
            },
            Operator::Or => {
                let (column, mut some) = keys(left)?;
                let (other, more) = keys(right)?;
                some.extend(more);
                (column == other).then_some((column, some))
            }
            _ => None,
        },
        Expr::InList(list) if !list.negated => {
            let values: Option<HashSet<Key>> = list.list.iter().map(key).collect();
            Some((column(&list.expr)?, values?))
        }
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        // A cast of an oid or a text keeps what is equal.
        Expr::Cast(cast) => column(&cast.expr),
        _ => None,
    }
}

fn key(expr: &Expr) -> Option<Key> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    if let Some(Some(text)) = value.try_as_str() {
        return Some(Key::Text(text.to_owned()));
    }
    Some(Key::Number(match value {
        ScalarValue::UInt32(Some(v)) => u64::from(*v),
        ScalarValue::UInt64(Some(v)) => *v,
        ScalarValue::Int64(Some(v)) => u64::try_from(*v).ok()?,
        ScalarValue::Int32(Some(v)) => u64::try_from(*v).ok()?,
        ScalarValue::Int16(Some(v)) => u64::try_from(*v).ok()?,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn filters_fix_values_only_where_they_surely_do() {
        let filters = [
            col("oid").eq(lit(7_u32)).or(lit(9_i64).eq(col("oid"))),
            col("relname").in_list(vec![lit("t"), lit("u")], false),
            col("relname").not_eq(lit("u")),
            col("relkind").eq(lit("r")).or(col("oid").eq(lit(1_u32))),
        ];
        let wanted = Wanted::of(&filters);
        assert!(wanted.oid("oid", 9) && !wanted.oid("oid", 8));
        assert!(wanted.text("relname", "u") && !wanted.text("relname", "v"));
        assert!(wanted.text("relkind", "v"));
        assert_eq!(wanted.oids("relnamespace"), None);
    }
}
