//! How large things are, as far as snapshots say so. What nobody counted is NULL, not zero.

use datafusion::common::Result;

use super::Take::{Int, Named, Oid, Text};
use super::{Arg, Definition, names, strict};
use crate::directory::{Relation, RelationKind};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::rows::Val::{self, Null, Owned};

pub(super) const DEFINITIONS: &[Definition] = &[
    strict(
        "pg_relation_size",
        &[&[Named], &[Named, Text]],
        "int8",
        relation_size,
    ),
    strict("pg_table_size", &[&[Named]], "int8", relation_size),
    strict("pg_total_relation_size", &[&[Named]], "int8", relation_size),
    strict("pg_indexes_size", &[&[Named]], "int8", no_bytes),
    strict("pg_database_size", &[&[Named]], "int8", database_size),
    strict("pg_tablespace_size", &[&[Named]], "int8", tablespace_size),
    strict("pg_size_pretty", &[&[Int]], "text", pretty),
    strict("pg_relation_filenode", &[&[Named]], "oid", none),
    strict("pg_relation_filepath", &[&[Named]], "text", place),
    strict("pg_tablespace_location", &[&[Oid]], "text", no_place),
];

fn bytes(relation: &Relation) -> Option<u64> {
    match relation.kind {
        RelationKind::Table => relation.bytes,
        RelationKind::View | RelationKind::SystemView => Some(0),
    }
}

fn number(bytes: Option<u64>) -> Val<'static> {
    Val::from(bytes.and_then(|bytes| i64::try_from(bytes).ok()))
}

fn relation_size(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let found = names::relation(context, &args[0])?;
    Ok(found.map_or(Null, |(_, relation)| number(bytes(relation))))
}

fn no_bytes(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let found = names::relation(context, &args[0])?;
    Ok(found.map_or(Null, |_| Val::Int(0)))
}

fn total(context: &CatalogContext) -> Val<'static> {
    let relations = context
        .directory
        .schemas
        .iter()
        .flat_map(|schema| &schema.relations);
    number(relations.map(|relation| bytes(relation)).sum())
}

/// Only the session's own catalog has been read.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn database_size(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let own = &context.directory.catalog;
    let asked = match &args[0] {
        Arg::Text(name) => Some(*name),
        Arg::Oid(oid) => {
            let found = context.catalogs.iter().find(|(known, _)| known == oid);
            found.map(|(_, name)| name.as_str())
        }
        _ => None,
    };
    Ok(if asked == Some(own) {
        total(context)
    } else {
        Null
    })
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn tablespace_size(context: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(total(context))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn none(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Null)
}

fn place(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let found = names::relation(context, &args[0])?;
    let place = found.and_then(|(_, relation)| relation.location.clone());
    Ok(place.map_or(Null, Owned))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn no_place(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Val::Text(""))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn pretty(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(args[0].int().map_or(Null, |bytes| Owned(in_units(bytes))))
}

/// Bytes with a unit, as PostgreSQL rounds them.
fn in_units(bytes: i64) -> String {
    let mut size = i128::from(bytes);
    if size.abs() < 10 * 1024 {
        return format!("{size} bytes");
    }
    // One bit more than the unit is kept for rounding.
    size >>= 9;
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
        let rounded = (size + size.signum()) / 2;
        if rounded.abs() < 20 * 512 || unit == "PB" {
            return format!("{rounded} {unit}");
        }
        size >>= 10;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_in_postgresql() {
        assert_eq!(in_units(10_239), "10239 bytes");
        assert_eq!(in_units(10_240), "10 kB");
        assert_eq!(in_units(1_500_000), "1465 kB");
        assert_eq!(in_units(123_456_789), "118 MB");
        assert_eq!(in_units(1 << 40), "1024 GB");
    }
}
