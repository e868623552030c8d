//! `information_schema`: the SQL standard's views of one catalog.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::Result;

use super::fixed::type_row;
use super::{Filling, functions};
use crate::directory::{Relation, RelationKind, SchemaDirectory};
use crate::pg_catalog::PG_CATALOG;
use crate::pg_catalog::context::relkind;
use crate::pg_catalog::functions::type_text;
use crate::pg_catalog::rows::Val::{self, Int, Null, Owned, Text};
use crate::pg_catalog::types::{PgType, pg_type_of};

/// What text may be long at most. Source: PostgreSQL, 1 GiB.
const TEXT_BYTES_MAX: i64 = 1 << 30;

pub(super) fn fill(name: &str, to: &mut Filling<'_>) -> Result<()> {
    match name {
        "information_schema_catalog_name" => {
            let catalog = &to.context.directory.catalog;
            to.rows.push([("catalog_name", Text(catalog))])
        }
        "schemata" => schemata(to),
        "tables" => tables(to),
        "views" => views(to),
        "columns" => columns(to),
        "element_types" => element_types(to),
        "view_table_usage" => Ok(()),
        "table_privileges" | "role_table_grants" => table_privileges(to),
        "column_privileges" | "role_column_grants" => column_privileges(to),
        "enabled_roles" => enabled_roles(to),
        "character_sets" => character_sets(to),
        "collations" | "collation_character_set_applicability" => collations(name, to),
        "routines" => routines(to),
        "parameters" => parameters(to),
        "sql_features" => features(to),
        // There are no keys, checks, triggers, sequences, domains, grants of roles and foreign servers.
        _ => Ok(()),
    }
}

/// Visits the relations whose names may be wanted.
fn each<'a>(
    to: &mut Filling<'a>,
    mut row: impl FnMut(&mut Filling<'a>, &'a SchemaDirectory, &'a Relation) -> Result<()>,
) -> Result<()> {
    for schema in &to.context.directory.schemas {
        if !to.wanted.text("table_schema", &schema.name) {
            continue;
        }
        for relation in &schema.relations {
            if to.wanted.text("table_name", &relation.name) {
                row(to, schema, relation)?;
            }
        }
    }
    Ok(())
}

fn yes(value: bool) -> Val<'static> {
    Text(if value { "YES" } else { "NO" })
}

fn is_table(schema: &SchemaDirectory, relation: &Relation) -> bool {
    relkind(&schema.name, relation) == "r"
}

fn schemata(to: &mut Filling<'_>) -> Result<()> {
    for schema in &to.context.directory.schemas {
        to.rows.push([
            ("catalog_name", Text(&to.context.directory.catalog)),
            ("schema_name", Text(&schema.name)),
            ("schema_owner", Text(to.context.owner())),
        ])?;
    }
    Ok(())
}

fn tables(to: &mut Filling<'_>) -> Result<()> {
    each(to, |to, schema, relation| {
        let table = is_table(schema, relation);
        to.rows.push([
            ("table_catalog", Text(&to.context.directory.catalog)),
            ("table_schema", Text(&schema.name)),
            ("table_name", Text(&relation.name)),
            (
                "table_type",
                Text(if table { "BASE TABLE" } else { "VIEW" }),
            ),
            (
                "is_insertable_into",
                yes(relation.kind == RelationKind::Table),
            ),
            ("is_typed", yes(false)),
        ])
    })
}

fn views(to: &mut Filling<'_>) -> Result<()> {
    each(to, |to, schema, relation| {
        if is_table(schema, relation) {
            return Ok(());
        }
        to.rows.push([
            ("table_catalog", Text(&to.context.directory.catalog)),
            ("table_schema", Text(&schema.name)),
            ("table_name", Text(&relation.name)),
            ("view_definition", Val::from(&relation.definition)),
            ("check_option", Text("NONE")),
            ("is_updatable", yes(false)),
            ("is_insertable_into", yes(false)),
            ("is_trigger_updatable", yes(false)),
            ("is_trigger_deletable", yes(false)),
            ("is_trigger_insertable_into", yes(false)),
        ])
    })
}

fn columns(to: &mut Filling<'_>) -> Result<()> {
    each(to, |to, schema, relation| {
        for (field, position) in relation.columns.fields().iter().zip(1..) {
            if to.wanted.text("column_name", field.name()) {
                column(to, schema, relation, field, position)?;
            }
        }
        Ok(())
    })
}

fn column(
    to: &mut Filling<'_>,
    schema: &SchemaDirectory,
    relation: &Relation,
    field: &Field,
    position: i64,
) -> Result<()> {
    let catalog = &to.context.directory.catalog;
    let ty = pg_type_of(field);
    let digits = Digits::of(field.data_type());
    let octets = if ty.name == "text" {
        Int(TEXT_BYTES_MAX)
    } else {
        Null
    };
    to.rows.push([
        ("table_catalog", Text(catalog)),
        ("table_schema", Text(&schema.name)),
        ("table_name", Text(&relation.name)),
        ("column_name", Text(field.name())),
        ("ordinal_position", Int(position)),
        ("is_nullable", yes(field.is_nullable())),
        ("data_type", Owned(spoken_type(ty))),
        ("character_octet_length", octets),
        ("numeric_precision", Val::from(digits.precision)),
        ("numeric_precision_radix", Val::from(digits.radix)),
        ("numeric_scale", Val::from(digits.scale)),
        ("datetime_precision", Val::from(digits.datetime)),
        ("udt_catalog", Text(catalog)),
        ("udt_schema", Text(PG_CATALOG)),
        ("udt_name", Text(ty.name)),
        ("dtd_identifier", Owned(position.to_string())),
        ("is_self_referencing", yes(false)),
        ("is_identity", yes(false)),
        ("identity_cycle", yes(false)),
        ("is_generated", Text("NEVER")),
        ("is_updatable", yes(relation.kind == RelationKind::Table)),
    ])
}

/// The type as the standard says it: without digits, arrays as `ARRAY`.
pub(in crate::pg_catalog) fn spoken_type(ty: PgType) -> String {
    match type_row(ty.oid) {
        Some(row) if row.category == "A" && row.element != 0 && row.len == -1 => "ARRAY".to_owned(),
        _ => type_text(ty.oid, None),
    }
}

fn element_types(to: &mut Filling<'_>) -> Result<()> {
    for schema in &to.context.directory.schemas {
        for relation in &schema.relations {
            for (field, position) in relation.columns.fields().iter().zip(1..) {
                let DataType::List(item) = field.data_type() else {
                    continue;
                };
                let array = pg_type_of(field);
                if spoken_type(array) != "ARRAY" {
                    continue;
                }
                let catalog = &to.context.directory.catalog;
                let item = pg_type_of(item);
                let kind = if is_table(schema, relation) {
                    "TABLE"
                } else {
                    "VIEW"
                };
                to.rows.push([
                    ("object_catalog", Text(catalog)),
                    ("object_schema", Text(&schema.name)),
                    ("object_name", Text(&relation.name)),
                    ("object_type", Text(kind)),
                    ("collection_type_identifier", Owned(position.to_string())),
                    ("data_type", Owned(spoken_type(item))),
                    ("udt_catalog", Text(catalog)),
                    ("udt_schema", Text(PG_CATALOG)),
                    ("udt_name", Text(item.name)),
                    ("dtd_identifier", Owned(format!("a{position}"))),
                ])?;
            }
        }
    }
    Ok(())
}

/// What everybody may do with a relation, until there are grants.
fn privileges(relation: &Relation) -> &'static [&'static str] {
    match relation.kind {
        RelationKind::Table => &["INSERT", "SELECT"],
        RelationKind::View | RelationKind::SystemView => &["SELECT"],
    }
}

fn table_privileges(to: &mut Filling<'_>) -> Result<()> {
    each(to, |to, schema, relation| {
        for privilege in privileges(relation) {
            to.rows.push([
                ("grantor", Text(to.context.owner())),
                ("grantee", Text(&to.context.session.user)),
                ("table_catalog", Text(&to.context.directory.catalog)),
                ("table_schema", Text(&schema.name)),
                ("table_name", Text(&relation.name)),
                ("privilege_type", Text(privilege)),
                ("is_grantable", yes(false)),
                ("with_hierarchy", yes(*privilege == "SELECT")),
            ])?;
        }
        Ok(())
    })
}

fn column_privileges(to: &mut Filling<'_>) -> Result<()> {
    each(to, |to, schema, relation| {
        for field in relation.columns.fields() {
            for privilege in privileges(relation) {
                to.rows.push([
                    ("grantor", Text(to.context.owner())),
                    ("grantee", Text(&to.context.session.user)),
                    ("table_catalog", Text(&to.context.directory.catalog)),
                    ("table_schema", Text(&schema.name)),
                    ("table_name", Text(&relation.name)),
                    ("column_name", Text(field.name())),
                    ("privilege_type", Text(privilege)),
                    ("is_grantable", yes(false)),
                ])?;
            }
        }
        Ok(())
    })
}

fn enabled_roles(to: &mut Filling<'_>) -> Result<()> {
    to.rows
        .push([("role_name", Text(&to.context.session.user))])
}

fn character_sets(to: &mut Filling<'_>) -> Result<()> {
    to.rows.push([
        ("character_set_name", Text("UTF8")),
        ("character_repertoire", Text("UCS")),
        ("form_of_use", Text("UTF8")),
        (
            "default_collate_catalog",
            Text(&to.context.directory.catalog),
        ),
        ("default_collate_schema", Text(PG_CATALOG)),
        ("default_collate_name", Text("C")),
    ])
}

fn collations(name: &str, to: &mut Filling<'_>) -> Result<()> {
    for collation in ["default", "C", "POSIX"] {
        let catalog = &to.context.directory.catalog;
        let mut row = vec![
            ("collation_catalog", Text(catalog)),
            ("collation_schema", Text(PG_CATALOG)),
            ("collation_name", Text(collation)),
        ];
        row.push(match name {
            "collations" => ("pad_attribute", Text("NO PAD")),
            _ => ("character_set_name", Text("UTF8")),
        });
        to.rows.push(row)?;
    }
    Ok(())
}

fn routines(to: &mut Filling<'_>) -> Result<()> {
    for function in functions::all(to.context) {
        let catalog = &to.context.directory.catalog;
        let specific = format!("{}_{}", function.name, function.oid);
        let returns = type_row(function.returns).map_or("", |row| row.name);
        to.rows.push([
            ("specific_catalog", Text(catalog)),
            ("specific_schema", Text(PG_CATALOG)),
            ("specific_name", Owned(specific)),
            ("routine_catalog", Text(catalog)),
            ("routine_schema", Text(PG_CATALOG)),
            ("routine_name", Text(&function.name)),
            ("routine_type", Text("FUNCTION")),
            ("data_type", Owned(type_text(function.returns, None))),
            ("type_udt_catalog", Text(catalog)),
            ("type_udt_schema", Text(PG_CATALOG)),
            ("type_udt_name", Text(returns)),
            ("dtd_identifier", Text("0")),
            ("routine_body", Text("EXTERNAL")),
            ("external_name", Text(&function.name)),
            ("external_language", Text("INTERNAL")),
            ("parameter_style", Text("GENERAL")),
            ("is_deterministic", yes(function.volatility == "i")),
            ("is_null_call", yes(function.strict)),
            ("security_type", Text("INVOKER")),
        ])?;
    }
    Ok(())
}

fn parameters(to: &mut Filling<'_>) -> Result<()> {
    for function in functions::all(to.context) {
        for (argument, position) in function.arguments.iter().zip(1..) {
            let catalog = &to.context.directory.catalog;
            to.rows.push([
                ("specific_catalog", Text(catalog)),
                ("specific_schema", Text(PG_CATALOG)),
                (
                    "specific_name",
                    Owned(format!("{}_{}", function.name, function.oid)),
                ),
                ("ordinal_position", Int(position)),
                ("parameter_mode", Text("IN")),
                ("is_result", yes(false)),
                ("as_locator", yes(false)),
                ("data_type", Owned(type_text(*argument, None))),
                ("udt_catalog", Text(catalog)),
                ("udt_schema", Text(PG_CATALOG)),
                (
                    "udt_name",
                    Text(type_row(*argument).map_or("", |row| row.name)),
                ),
                ("dtd_identifier", Owned(position.to_string())),
            ])?;
        }
    }
    Ok(())
}

/// Features of the SQL standard that Tarn has as a whole.
const FEATURES: &[(&str, &str)] = &[
    ("E011", "Numeric data types"),
    ("E051", "Basic query specification"),
    ("E061", "Basic predicates and search conditions"),
    ("E071", "Basic query expressions"),
    ("E091", "Set functions"),
    ("E131", "Null value support (nulls in lieu of values)"),
    ("E161", "SQL comments using leading double minus"),
    ("F041", "Basic joined table"),
    ("F051", "Basic date and time"),
    ("F201", "CAST function"),
    ("F261", "CASE expression"),
    ("F304", "EXCEPT ALL table operator"),
    ("F401", "Extended joined table"),
    ("F591", "Derived tables"),
    ("F641", "Row and table constructors"),
    ("T031", "BOOLEAN data type"),
    ("T121", "WITH (excluding RECURSIVE) in query expression"),
    ("T431", "Extended grouping capabilities"),
    ("T611", "Elementary OLAP operations"),
];

fn features(to: &mut Filling<'_>) -> Result<()> {
    for (id, name) in FEATURES {
        to.rows.push([
            ("feature_id", Text(id)),
            ("feature_name", Text(name)),
            ("sub_feature_id", Text("")),
            ("sub_feature_name", Text("")),
            ("is_supported", yes(true)),
        ])?;
    }
    Ok(())
}

/// How many digits the values of a type have. Source: PostgreSQL, "columns" of the information
/// schema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digits {
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
    datetime: Option<i64>,
}

impl Digits {
    fn of(ty: &DataType) -> Self {
        let number = |precision: i64, radix: i64, scale: Option<i64>| Self {
            precision: Some(precision),
            radix: Some(radix),
            scale,
            datetime: None,
        };
        let moment = |digits: i64| Self {
            datetime: Some(digits),
            ..Self::default()
        };
        match ty {
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => number(16, 2, Some(0)),
            DataType::Int32 | DataType::UInt16 => number(32, 2, Some(0)),
            DataType::Int64 => number(64, 2, Some(0)),
            DataType::UInt64 => number(20, 10, Some(0)),
            DataType::Float16 | DataType::Float32 => number(24, 2, None),
            DataType::Float64 => number(53, 2, None),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => number(i64::from(*p), 10, Some(i64::from(*s))),
            DataType::Date32 | DataType::Date64 => moment(0),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => moment(9),
            DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_) => moment(6),
            DataType::Dictionary(_, value) => Self::of(value),
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_digits(ty: &DataType, wanted: [Option<i64>; 4]) {
        let digits = Digits::of(ty);
        let found = [
            digits.precision,
            digits.radix,
            digits.scale,
            digits.datetime,
        ];
        assert_eq!(found, wanted, "{ty}");
    }

    #[test]
    fn digits_are_as_in_postgresql() {
        check_digits(&DataType::Int16, [Some(16), Some(2), Some(0), None]);
        check_digits(&DataType::Int32, [Some(32), Some(2), Some(0), None]);
        check_digits(&DataType::Int64, [Some(64), Some(2), Some(0), None]);
        check_digits(&DataType::Float32, [Some(24), Some(2), None, None]);
        check_digits(&DataType::Float64, [Some(53), Some(2), None, None]);
        let decimal = DataType::Decimal128(15, 2);
        check_digits(&decimal, [Some(15), Some(10), Some(2), None]);
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        check_digits(&timestamp, [None, None, None, Some(6)]);
        check_digits(&DataType::Utf8View, [None; 4]);
    }

    #[test]
    fn types_are_said_as_the_standard_says_them() {
        let said = |ty: DataType| spoken_type(pg_type_of(&Field::new("c", ty, true)));
        assert_eq!(said(DataType::Decimal128(12, 2)), "numeric");
        assert_eq!(said(DataType::Utf8View), "text");
        let list = DataType::new_list(DataType::Int32, true);
        assert_eq!(said(list), "ARRAY");
    }
}
