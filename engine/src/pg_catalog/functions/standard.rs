//! The functions that `information_schema` of PostgreSQL is made of and that clients call, too.
//!
//! Each takes the oid and the typmod of a type. Source: PostgreSQL, `information_schema.sql`.

use datafusion::common::Result;

use super::Take::{Int, Oid};
use super::{Arg, Definition, strict};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::relations::type_row;
use crate::pg_catalog::rows::Val::{self, Null};

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("_pg_char_max_length", &[&[Oid, Int]], "int4", char_length),
    strict(
        "_pg_char_octet_length",
        &[&[Oid, Int]],
        "int4",
        octet_length,
    ),
    strict("_pg_numeric_precision", &[&[Oid, Int]], "int4", precision),
    strict("_pg_numeric_precision_radix", &[&[Oid, Int]], "int4", radix),
    strict("_pg_numeric_scale", &[&[Oid, Int]], "int4", scale),
    strict("_pg_datetime_precision", &[&[Oid, Int]], "int4", datetime),
];

fn name(args: &[Arg<'_>]) -> &'static str {
    type_row(args[0].oid()).map_or("", |row| row.name)
}

/// The digits that a numeric's typmod packs.
fn packed(args: &[Arg<'_>]) -> Option<i64> {
    args[1]
        .int()
        .filter(|typmod| *typmod >= 4)
        .map(|typmod| typmod - 4)
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the answer of functions in the table"
)]
fn number(value: Option<i64>) -> Result<Val<'static>> {
    Ok(value.map_or(Null, Val::Int))
}

fn char_length(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(
        matches!(name(args), "varchar" | "bpchar")
            .then(|| packed(args))
            .flatten(),
    )
}

fn octet_length(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(match name(args) {
        "text" | "varchar" | "bpchar" => Some(packed(args).map_or(1 << 30, |length| length * 4)),
        _ => None,
    })
}

fn precision(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(match name(args) {
        "int2" => Some(16),
        "int4" => Some(32),
        "int8" => Some(64),
        "float4" => Some(24),
        "float8" => Some(53),
        "numeric" => packed(args).map(|packed| (packed >> 16) & 0xffff),
        _ => None,
    })
}

fn radix(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(match name(args) {
        "int2" | "int4" | "int8" | "float4" | "float8" => Some(2),
        "numeric" => Some(10),
        _ => None,
    })
}

fn scale(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(match name(args) {
        "int2" | "int4" | "int8" => Some(0),
        "numeric" => packed(args).map(|packed| packed & 0x7ff),
        _ => None,
    })
}

fn datetime(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    number(match name(args) {
        "date" => Some(0),
        "time" | "timestamp" | "timestamptz" | "interval" => Some(6),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_numerics_are_unpacked() {
        let args = [Arg::Oid(1700), Arg::Int(786_438)];
        assert_eq!(
            packed(&args).map(|packed| (packed >> 16, packed & 0x7ff)),
            Some((12, 2))
        );
        assert_eq!(packed(&[Arg::Oid(1700), Arg::Int(-1)]), None);
    }
}
