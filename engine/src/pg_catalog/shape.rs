//! The columns of every catalog relation, as PostgreSQL 15 has them.
//!
//! Read from a table that `scripts/pg-catalog.sh` makes of a PostgreSQL. Knows no rows.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};

use super::types::PG_TYPE_KEY;

const RELATIONS: &str = include_str!("data/relations.tsv");

/// One relation of `pg_catalog` or `information_schema`.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) schema: &'static str,
    pub(super) name: &'static str,
    pub(super) oid: u32,
    /// Whether it is a view in PostgreSQL.
    pub(super) is_view: bool,
    pub(super) columns: SchemaRef,
}

/// Every relation, by schema and name.
pub(super) static SHAPES: LazyLock<Vec<Shape>> =
    LazyLock::new(|| RELATIONS.lines().filter_map(shape).collect());

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    let named = |(at, shape): (usize, &Shape)| ((shape.schema, shape.name), at);
    SHAPES.iter().enumerate().map(named).collect()
});

/// The relation `schema`.`name`.
pub(super) fn find(schema: &str, name: &str) -> Option<&'static Shape> {
    SHAPES.get(*BY_NAME.get(&(schema, name))?)
}

fn shape(line: &'static str) -> Option<Shape> {
    let mut parts = line.split('\t');
    let (schema, name) = (parts.next()?, parts.next()?);
    let (oid, kind, columns) = (parts.next()?, parts.next()?, parts.next()?);
    let fields: Vec<Field> = columns.split(' ').filter_map(field).collect();
    Some(Shape {
        schema,
        name,
        oid: oid.parse().ok()?,
        is_view: kind == "v",
        columns: Arc::new(Schema::new(fields)),
    })
}

/// `name:type` or, if it is never NULL, `name:type!`.
fn field(text: &str) -> Option<Field> {
    let (name, ty) = text.split_once(':')?;
    let required = ty.ends_with('!');
    Some(column(name, ty.trim_end_matches('!'), !required))
}

/// A column of the PostgreSQL type `ty`.
pub(crate) fn column(name: &str, ty: &str, nullable: bool) -> Field {
    let list = |item: &str| DataType::List(Arc::new(column("item", item, true)));
    let (arrow, noted) = match ty {
        "bool" => (DataType::Boolean, false),
        "int2" => (DataType::Int16, false),
        "int4" => (DataType::Int32, false),
        "int8" => (DataType::Int64, false),
        "float4" => (DataType::Float32, false),
        "float8" => (DataType::Float64, false),
        "numeric" => (DataType::Decimal128(38, 10), false),
        "bytea" => (DataType::Binary, false),
        "timestamptz" => (
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        "interval" => (DataType::Interval(IntervalUnit::MonthDayNano), false),
        "oid" | "xid" | "regproc" | "regprocedure" | "regoper" | "regoperator" | "regclass"
        | "regtype" | "regnamespace" | "regrole" => (DataType::UInt32, true),
        "int2vector" => (list("int2"), true),
        "oidvector" => (list("oid"), true),
        "name" | "char" | "varchar" | "inet" | "cidr" | "pg_node_tree" | "aclitem" => {
            (DataType::Utf8, true)
        }
        // Types in an array are given by their names, as PostgreSQL writes them.
        "_regtype" => (list("text"), false),
        _ => match ty.strip_prefix('_') {
            Some(item) => (list(item), false),
            // Types of PostgreSQL's inside, whose values are never shown.
            None => (DataType::Utf8, false),
        },
    };
    let field = Field::new(name, arrow, nullable);
    if noted {
        field.with_metadata([(PG_TYPE_KEY.to_owned(), ty.to_owned())].into())
    } else {
        field
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::pg_type_of;
    use super::*;

    #[test]
    fn columns_have_the_types_of_postgresql() {
        let class = find("pg_catalog", "pg_class").unwrap();
        assert_eq!(class.oid, 1259);
        let types = [
            "oid",
            "relname",
            "relkind",
            "relpages",
            "reltuples",
            "relacl",
        ]
        .map(|name| pg_type_of(class.columns.field_with_name(name).unwrap()).name);
        assert_eq!(types, ["oid", "name", "char", "int4", "float4", "_aclitem"]);
        let index = find("pg_catalog", "pg_index").unwrap();
        let keys = index.columns.field_with_name("indkey").unwrap();
        assert_eq!(pg_type_of(keys).name, "int2vector");
        let columns = find("information_schema", "columns").unwrap();
        assert_eq!(columns.columns.fields().len(), 44);
    }
}
