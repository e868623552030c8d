//! Schemas, relations, their columns and comments: `pg_namespace`, `pg_class`, `pg_attribute` and the views over them.

use datafusion::arrow::datatypes::{DataType, Field};
use std::ops::ControlFlow;

use crate::dialect::PostgreSqlDialect;
use datafusion::common::Result;
use datafusion::sql::sqlparser::ast::visit_relations;
use datafusion::sql::sqlparser::parser::Parser;
use tarn_catalog::DOC_META_KEY;

use super::Filling;
use super::fixed::type_row;
use crate::directory::{Relation, RelationKind, SchemaDirectory};
use crate::lookup::is_temporary;
use crate::parser::fold_name;
use crate::pg_catalog::context::{OWNER_OID, relkind};
use crate::pg_catalog::rows::Val::{self, Bool, Float, Int, Oid, Text};
use crate::pg_catalog::types::pg_type_of;
use crate::pg_catalog::{
    CLASS_OID, ICEBERG_AM_OID, NAMESPACE_OID, PG_CATALOG, REWRITE_OID, REWRITE_OID_BIT,
};
use crate::resolve::{INFORMATION_SCHEMA, SYSTEM_SCHEMA};

/// Whether the schema is the server's own.
fn is_server(schema: &str) -> bool {
    [PG_CATALOG, INFORMATION_SCHEMA, SYSTEM_SCHEMA].contains(&schema)
}

/// Visits the relations of which the class oid in `oid_column` may be wanted.
fn each<'a>(
    to: &mut Filling<'a>,
    oid_column: &str,
    mut row: impl FnMut(&mut Filling<'a>, &'a SchemaDirectory, &'a Relation) -> Result<()>,
) -> Result<()> {
    let directory = &to.context.directory;
    if let Some(oids) = to.wanted.oids(oid_column) {
        for oid in oids {
            if let Some((schema, relation)) = directory.by_oid(oid) {
                row(to, schema, relation)?;
            }
        }
        return Ok(());
    }
    for schema in &directory.schemas {
        for relation in &schema.relations {
            row(to, schema, relation)?;
        }
    }
    Ok(())
}

pub(super) fn pg_namespace(to: &mut Filling<'_>) -> Result<()> {
    for schema in &to.context.directory.schemas {
        to.rows.push([
            ("oid", Oid(schema.oid)),
            ("nspname", Text(&schema.name)),
            ("nspowner", Oid(OWNER_OID)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_class(to: &mut Filling<'_>) -> Result<()> {
    each(to, "oid", |to, schema, relation| {
        if !to.wanted.text("relname", &relation.name) || !to.wanted.oid("relnamespace", schema.oid)
        {
            return Ok(());
        }
        let kind = relkind(&schema.name, relation);
        let is_table = relation.kind == RelationKind::Table;
        to.rows.push([
            ("oid", Oid(relation.oid)),
            ("relname", Text(&relation.name)),
            ("relnamespace", Oid(schema.oid)),
            ("relowner", Oid(OWNER_OID)),
            ("relam", Oid(if is_table { ICEBERG_AM_OID } else { 0 })),
            // Tables have no pages, so that nobody may read them page by page.
            ("relpages", Int(0)),
            ("reltuples", Float(row_estimate(relation))),
            (
                "relpersistence",
                Text(if is_temporary(&schema.name) { "t" } else { "p" }),
            ),
            ("relkind", Text(kind)),
            (
                "relnatts",
                Int(i64::try_from(relation.columns.fields().len()).unwrap_or(0)),
            ),
            ("relhasrules", Bool(relation.kind == RelationKind::View)),
            ("relispopulated", Bool(true)),
            ("relreplident", Text(if is_table { "d" } else { "n" })),
        ])
    })
}

/// `reltuples`: -1 if nobody counted.
#[allow(clippy::cast_precision_loss, reason = "an estimate by definition")]
fn row_estimate(relation: &Relation) -> f64 {
    match (relation.kind, relation.rows) {
        (RelationKind::Table, Some(rows)) => rows as f64,
        (RelationKind::Table, None) => -1.0,
        _ => 0.0,
    }
}

pub(super) fn pg_attribute(to: &mut Filling<'_>) -> Result<()> {
    each(to, "attrelid", |to, _, relation| {
        for (field, number) in relation.columns.fields().iter().zip(1..) {
            if to.wanted.text("attname", field.name()) {
                attribute(to, relation.oid, field, number)?;
            }
        }
        Ok(())
    })
}

fn attribute(to: &mut Filling<'_>, relation: u32, field: &Field, number: i64) -> Result<()> {
    let ty = pg_type_of(field);
    let row = type_row(ty.oid);
    let dimensions = i64::from(matches!(field.data_type(), DataType::List(_)));
    to.rows.push([
        ("attrelid", Oid(relation)),
        ("attname", Text(field.name())),
        ("atttypid", Oid(ty.oid)),
        ("attstattarget", Int(-1)),
        ("attlen", Int(i64::from(ty.len))),
        ("attnum", Int(number)),
        ("attndims", Int(dimensions)),
        ("attcacheoff", Int(-1)),
        ("atttypmod", Int(i64::from(ty.typmod))),
        ("attbyval", Bool(row.is_some_and(|row| row.by_value))),
        ("attalign", Text(row.map_or("i", |row| row.align))),
        ("attstorage", Text(row.map_or("x", |row| row.storage))),
        ("attnotnull", Bool(!field.is_nullable())),
        ("attislocal", Bool(true)),
        ("attcollation", Oid(row.map_or(0, |row| row.collation))),
    ])
}

pub(super) fn pg_description(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for schema in &context.directory.schemas {
        if let Some(comment) = &schema.comment {
            description(to, schema.oid, NAMESPACE_OID, 0, comment)?;
        }
    }
    each(to, "objoid", |to, _, relation| {
        if let Some(comment) = &relation.comment {
            description(to, relation.oid, CLASS_OID, 0, comment)?;
        }
        for (field, number) in relation.columns.fields().iter().zip(1..) {
            if let Some(comment) = field.metadata().get(DOC_META_KEY) {
                description(to, relation.oid, CLASS_OID, number, comment)?;
            }
        }
        Ok(())
    })
}

fn description(to: &mut Filling<'_>, object: u32, class: u32, part: i64, text: &str) -> Result<()> {
    to.rows.push([
        ("objoid", Oid(object)),
        ("classoid", Oid(class)),
        ("objsubid", Int(part)),
        ("description", Text(text)),
    ])
}

pub(super) fn pg_tables(to: &mut Filling<'_>) -> Result<()> {
    each(to, "", |to, schema, relation| {
        if relkind(&schema.name, relation) != "r"
            || !to.wanted.text("schemaname", &schema.name)
            || !to.wanted.text("tablename", &relation.name)
        {
            return Ok(());
        }
        to.rows.push([
            ("schemaname", Text(&schema.name)),
            ("tablename", Text(&relation.name)),
            ("tableowner", Text(to.context.owner())),
            ("hasindexes", Bool(false)),
            ("hasrules", Bool(false)),
            ("hastriggers", Bool(false)),
            ("rowsecurity", Bool(false)),
        ])
    })
}

pub(super) fn pg_views(to: &mut Filling<'_>) -> Result<()> {
    each(to, "", |to, schema, relation| {
        if relkind(&schema.name, relation) != "v"
            || !to.wanted.text("schemaname", &schema.name)
            || !to.wanted.text("viewname", &relation.name)
        {
            return Ok(());
        }
        to.rows.push([
            ("schemaname", Text(&schema.name)),
            ("viewname", Text(&relation.name)),
            ("viewowner", Text(to.context.owner())),
            ("definition", Val::from(&relation.definition)),
        ])
    })
}

/// The rule that makes a view one.
pub(super) fn pg_rewrite(to: &mut Filling<'_>) -> Result<()> {
    each(to, "ev_class", |to, _, relation| {
        if relation.kind != RelationKind::View {
            return Ok(());
        }
        to.rows.push([
            ("oid", Oid(rule_oid(relation))),
            ("rulename", Text("_RETURN")),
            ("ev_class", Oid(relation.oid)),
            ("ev_type", Text("1")),
            ("ev_enabled", Text("O")),
            ("is_instead", Bool(true)),
        ])
    })
}

/// Oid of a view's rule.
pub(super) fn rule_oid(relation: &Relation) -> u32 {
    relation.oid | REWRITE_OID_BIT
}

pub(super) fn pg_stat_tables(name: &str, to: &mut Filling<'_>) -> Result<()> {
    each(to, "relid", |to, schema, relation| {
        let server = is_server(&schema.name);
        let shown = match name {
            "pg_stat_user_tables" => !server,
            "pg_stat_sys_tables" => server,
            _ => true,
        };
        if !shown || relkind(&schema.name, relation) != "r" {
            return Ok(());
        }
        let rows = relation.rows.and_then(|rows| i64::try_from(rows).ok());
        to.rows.push([
            ("relid", Oid(relation.oid)),
            ("schemaname", Text(&schema.name)),
            ("relname", Text(&relation.name)),
            ("n_live_tup", Val::from(rows)),
        ])
    })
}

/// What each view reads, as far as it can be told from its text.
pub(super) fn pg_depend(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for schema in &context.directory.schemas {
        let views = schema
            .relations
            .iter()
            .filter(|r| r.kind == RelationKind::View);
        for view in views {
            let Some(definition) = &view.definition else {
                continue;
            };
            for read in relations_of(definition) {
                let parts: Vec<String> = match read.as_slice() {
                    [name] => vec![schema.name.clone(), name.clone()],
                    _ => read.clone(),
                };
                let found = context.resolve(&parts).or_else(|| context.resolve(&read));
                let Some((_, relation)) = found else {
                    continue;
                };
                to.rows.push([
                    ("classid", Oid(REWRITE_OID)),
                    ("objid", Oid(rule_oid(view))),
                    ("refclassid", Oid(CLASS_OID)),
                    ("refobjid", Oid(relation.oid)),
                    ("deptype", Text("n")),
                ])?;
            }
        }
    }
    Ok(())
}

/// The relations that a query names.
fn relations_of(query: &str) -> Vec<Vec<String>> {
    let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect::default(), query) else {
        return vec![];
    };
    let mut found = Vec::new();
    let _ = visit_relations(&statements, |name| {
        let name = fold_name(name);
        if !found.contains(&name) {
            found.push(name);
        }
        ControlFlow::<()>::Continue(())
    });
    found
}
