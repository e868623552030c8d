//! What PostgreSQL makes of the values of an INSERT: fewer than there are columns leave the last ones NULL; text
//! that stands for a uuid is cast, as literals of no type are.
//!
//! DataFusion refuses to plan such statements, so columns and casts are written out in the syntax tree. Knows syntax
//! and the target's columns only.

use std::collections::HashSet;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType as SqlType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    SelectItem, SetExpr, Value,
};

use crate::casts::uuid_type;
use crate::error::{EngineError, ErrorKind};
use crate::parser::fold_name;
use crate::postgres::expression;

/// Names the columns that the values are for, if they are fewer than there are.
///
/// # Errors
/// [`ErrorKind::Syntax`] if there are more values than columns, or fewer than columns are named;
/// [`ErrorKind::DuplicateColumn`] if one is named twice.
pub(crate) fn fit(insert: &mut ast::Insert, schema: &Schema) -> Result<(), EngineError> {
    let mut seen = HashSet::new();
    for name in insert.columns.iter().map(fold_name) {
        if let Some(twice) = seen.replace(name) {
            return Err(EngineError::new(
                ErrorKind::DuplicateColumn,
                format!("column \"{}\" specified more than once", twice.join(".")),
            ));
        }
    }
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref())
    else {
        return Ok(());
    };
    let Some(given) = values.rows.first().map(|row| row.content.len()) else {
        return Ok(());
    };
    let named = insert.columns.len();
    let wanted = if named == 0 {
        schema.fields().len()
    } else {
        named
    };
    let uneven = if given > wanted {
        "INSERT has more expressions than target columns"
    } else if named > given {
        "INSERT has more target columns than expressions"
    } else {
        if given < wanted {
            let fields = schema.fields().iter().take(given);
            insert.columns = fields
                .map(|field| ast::Ident::with_quote('"', field.name()).into())
                .collect();
        }
        return Ok(());
    };
    Err(EngineError::new(ErrorKind::Syntax, uneven))
}

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

/// Gives NULLs in rows the types of the fields of the struct columns that they go into: a NULL of no type makes a struct
/// that DataFusion does not cast.
pub(crate) fn type_nulls(insert: &mut ast::Insert, schema: &Schema) {
    let columns: Vec<Option<DataType>> = if insert.columns.is_empty() {
        let fields = schema.fields().iter();
        fields
            .map(|field| Some(field.data_type().clone()))
            .collect()
    } else {
        let named = insert.columns.iter().map(|name| {
            let field = schema.field_with_name(fold_name(name).last()?).ok()?;
            Some(field.data_type().clone())
        });
        named.collect()
    };
    let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|source| source.body.as_mut())
    else {
        return;
    };
    for row in &mut values.rows {
        for (expr, ty) in row.content.iter_mut().zip(&columns) {
            if let Some(ty @ DataType::Struct(_)) = ty
                && !is_null(expr)
            {
                type_nulls_in(expr, ty);
            }
        }
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

fn type_nulls_in(expr: &mut Expr, ty: &DataType) {
    if is_null(expr) {
        if let Some(typed) = expression(&format!("arrow_cast(NULL, '{ty}')")) {
            *expr = typed;
        }
        return;
    }
    let DataType::Struct(fields) = ty else { return };
    let types = fields.iter().map(|field| field.data_type());
    match expr {
        Expr::Nested(inner) => type_nulls_in(inner, ty),
        Expr::Tuple(items) if items.len() == fields.len() => {
            for (item, ty) in items.iter_mut().zip(types) {
                type_nulls_in(item, ty);
            }
        }
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &mut function.args else {
                return;
            };
            if list.args.len() != fields.len() {
                return;
            }
            for (arg, ty) in list.args.iter_mut().zip(types) {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(item)) = arg {
                    type_nulls_in(item, ty);
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
    use datafusion::arrow::datatypes::Field;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check_change<T>(
        sql: &str,
        change: impl FnOnce(&mut ast::Insert, &Schema) -> T,
    ) -> (String, T) {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("u", uuid_type(), true),
        ]);
        let mut parsed = Parser::parse_sql(&PostgreSqlDialect::default(), sql).unwrap();
        let ast::Statement::Insert(insert) = &mut parsed[0] else {
            panic!("not INSERT")
        };
        let done = change(insert, &schema);
        (parsed[0].to_string(), done)
    }

    fn check_cast(sql: &str, expected: &str) {
        assert_eq!(check_change(sql, cast_uuids).0, expected);
    }

    fn check_fit(sql: &str, expected: Option<&str>) {
        let (text, done) = check_change(sql, fit);
        match expected {
            Some(expected) => assert_eq!(text, expected),
            None => assert_eq!(done.unwrap_err().kind, ErrorKind::Syntax, "{sql}"),
        }
    }

    #[test]
    fn values_fill_the_columns_from_the_first() {
        check_fit(
            "INSERT INTO t VALUES (1), (2)",
            Some("INSERT INTO t (\"id\") VALUES (1), (2)"),
        );
        check_fit(
            "INSERT INTO t VALUES (1, 'a')",
            Some("INSERT INTO t VALUES (1, 'a')"),
        );
        check_fit("INSERT INTO t VALUES (1, 'a', 2)", None);
        check_fit("INSERT INTO t (id) VALUES (1, 'a')", None);
        check_fit("INSERT INTO t (id, u) VALUES (1)", None);
    }

    #[test]
    fn nulls_in_rows_have_the_types_of_fields() {
        let inner = DataType::Struct(vec![Field::new("z", DataType::Utf8, true)].into());
        let fields = vec![
            Field::new("x", DataType::Int32, true),
            Field::new("y", inner, true),
        ];
        let schema = Schema::new(vec![Field::new("s", DataType::Struct(fields.into()), true)]);
        let sql = "INSERT INTO t VALUES (ROW(NULL, ROW(NULL))), (NULL), ((1, NULL))";
        let mut parsed = Parser::parse_sql(&PostgreSqlDialect::default(), sql).unwrap();
        let ast::Statement::Insert(insert) = &mut parsed[0] else {
            panic!("not INSERT")
        };
        type_nulls(insert, &schema);
        let text = parsed[0].to_string();
        assert!(
            text.contains("ROW(arrow_cast(NULL, 'Int32'), ROW(arrow_cast(NULL, 'Utf8')))"),
            "{text}"
        );
        assert!(
            text.contains("(NULL), ((1, arrow_cast(NULL, 'Struct("),
            "{text}"
        );
    }

    #[test]
    fn a_column_is_named_once() {
        let (_, done) = check_change("INSERT INTO t (id, ID) SELECT 1, 2", fit);
        assert_eq!(done.unwrap_err().kind, ErrorKind::DuplicateColumn);
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
