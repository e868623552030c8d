//! Text in an INSERT that stands for a uuid: cast, as PostgreSQL does with literals of no type.
//!
//! DataFusion refuses to plan text where sixteen bytes are wanted, so the cast is written out in the syntax
//! tree. Knows syntax and the target's columns only.

use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType as SqlType, Expr, SelectItem, SetExpr, Value,
};

use crate::casts::uuid_type;
use crate::parser::fold_name;

/// Casts the values of `insert` that go into uuid columns of `schema`.
pub(crate) fn cast_uuids(insert: &mut ast::Insert, schema: &Schema) {
    let named: Vec<Option<usize>> = if insert.columns.is_empty() {
        (0..schema.fields().len()).map(Some).collect()
    } else {
        insert
            .columns
            .iter()
            .map(|name| schema.index_of(fold_name(name).last()?).ok())
            .collect()
    };
    let wanted: Vec<bool> = named
        .into_iter()
        .map(|at| at.is_some_and(|at| *schema.field(at).data_type() == uuid_type()))
        .collect();
    if !wanted.contains(&true) {
        return;
    }
    let Some(source) = &mut insert.source else {
        return;
    };
    match source.body.as_mut() {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                for (expr, _) in row.content.iter_mut().zip(&wanted).filter(|(_, w)| **w) {
                    cast(expr);
                }
            }
        }
        SetExpr::Select(select) => {
            let untyped = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
                )
            };
            if !select.projection.iter().all(untyped) {
                return;
            }
            for (item, _) in select
                .projection
                .iter_mut()
                .zip(&wanted)
                .filter(|(_, w)| **w)
            {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                    && let Expr::Value(value) = expr
                    && matches!(
                        value.value,
                        Value::SingleQuotedString(_) | Value::Placeholder(_)
                    )
                {
                    cast(expr);
                }
            }
        }
        _ => {}
    }
}

fn cast(expr: &mut Expr) {
    let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(inner),
        data_type: SqlType::Uuid,
        array: false,
        format: None,
    };
}

#[cfg(test)]
mod tests {
    use crate::dialect::PostgreSqlDialect;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check_cast(sql: &str, expected: &str) {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("u", uuid_type(), true),
        ]);
        let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        let ast::Statement::Insert(insert) = &mut parsed[0] else {
            panic!("not INSERT")
        };
        cast_uuids(insert, &schema);
        assert_eq!(parsed[0].to_string(), expected);
    }

    #[test]
    fn only_what_goes_into_a_uuid_column_is_cast() {
        check_cast(
            "INSERT INTO t VALUES (1, 'a'), (2, $1)",
            "INSERT INTO t VALUES (1, CAST('a' AS UUID)), (2, CAST($1 AS UUID))",
        );
        check_cast(
            "INSERT INTO t (u, id) SELECT 'a', 'b'",
            "INSERT INTO t (u, id) SELECT CAST('a' AS UUID), 'b'",
        );
        check_cast(
            "INSERT INTO t (u) SELECT v FROM s",
            "INSERT INTO t (u) SELECT v FROM s",
        );
    }
}
