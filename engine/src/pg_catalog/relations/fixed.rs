//! What is the same in every PostgreSQL: types, operators, casts, languages, collations.
//!
//! Read from tables that `scripts/pg-catalog.sh` makes of a PostgreSQL, for the types that Tarn has.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::common::Result;

use super::Filling;
use crate::pg_catalog::context::OWNER_OID;
use crate::pg_catalog::rows::Val::{Bool, Int, Null, Oid, Text};
use crate::pg_catalog::{ICEBERG_AM_OID, PG_CATALOG_OID, TABLESPACE_OID};

/// One row of `pg_type`.
#[derive(Debug)]
pub(in crate::pg_catalog) struct TypeRow {
    pub(in crate::pg_catalog) oid: u32,
    pub(in crate::pg_catalog) name: &'static str,
    pub(in crate::pg_catalog) len: i64,
    pub(in crate::pg_catalog) by_value: bool,
    pub(in crate::pg_catalog) kind: &'static str,
    pub(in crate::pg_catalog) category: &'static str,
    pub(in crate::pg_catalog) preferred: bool,
    pub(in crate::pg_catalog) delimiter: &'static str,
    pub(in crate::pg_catalog) subscript: u32,
    pub(in crate::pg_catalog) element: u32,
    pub(in crate::pg_catalog) array: u32,
    pub(in crate::pg_catalog) functions: [u32; 6],
    pub(in crate::pg_catalog) align: &'static str,
    pub(in crate::pg_catalog) storage: &'static str,
    pub(in crate::pg_catalog) collation: u32,
}

/// One row of `pg_proc` that is as in PostgreSQL.
#[derive(Debug)]
pub(in crate::pg_catalog) struct FunctionRow {
    pub(in crate::pg_catalog) oid: u32,
    pub(in crate::pg_catalog) name: &'static str,
    pub(in crate::pg_catalog) kind: &'static str,
    pub(in crate::pg_catalog) returns_set: bool,
    pub(in crate::pg_catalog) strict: bool,
    pub(in crate::pg_catalog) volatility: &'static str,
    pub(in crate::pg_catalog) variadic: u32,
    pub(in crate::pg_catalog) returns: u32,
    pub(in crate::pg_catalog) arguments: Vec<u32>,
}

/// The rows of `pg_type`, by oid.
pub(in crate::pg_catalog) static TYPES: LazyLock<Vec<TypeRow>> = LazyLock::new(|| {
    include_str!("../data/types.tsv")
        .lines()
        .filter_map(a_type)
        .collect()
});

static TYPE_BY_OID: LazyLock<HashMap<u32, usize>> = LazyLock::new(|| {
    let rows = TYPES.iter().enumerate();
    rows.map(|(at, row)| (row.oid, at)).collect()
});

/// The functions that are as in PostgreSQL, by oid.
pub(in crate::pg_catalog) static FUNCTIONS: LazyLock<Vec<FunctionRow>> = LazyLock::new(|| {
    include_str!("../data/functions.tsv")
        .lines()
        .filter_map(function)
        .collect()
});

/// The SQL key words: word, class, whether it may be a label, and both in words.
pub(in crate::pg_catalog) static KEYWORDS: LazyLock<Vec<[&'static str; 5]>> = LazyLock::new(|| {
    include_str!("../data/keywords.tsv")
        .lines()
        .filter_map(cells)
        .collect()
});

/// The row of `pg_type` with this oid.
pub(in crate::pg_catalog) fn type_row(oid: u32) -> Option<&'static TypeRow> {
    TYPES.get(*TYPE_BY_OID.get(&oid)?)
}

/// The cells of a line of exactly `N`.
fn cells<const N: usize>(line: &'static str) -> Option<[&'static str; N]> {
    line.split('\t').collect::<Vec<_>>().try_into().ok()
}

fn a_type(line: &'static str) -> Option<TypeRow> {
    let c: [&str; 20] = cells(line)?;
    let number = |at: usize| c[at].parse::<u32>().ok();
    Some(TypeRow {
        oid: number(0)?,
        name: c[1],
        len: c[2].parse().ok()?,
        by_value: c[3] == "t",
        kind: c[4],
        category: c[5],
        preferred: c[6] == "t",
        delimiter: c[7],
        subscript: number(8)?,
        element: number(9)?,
        array: number(10)?,
        functions: [
            number(11)?,
            number(12)?,
            number(13)?,
            number(14)?,
            number(15)?,
            number(16)?,
        ],
        align: c[17],
        storage: c[18],
        collation: number(19)?,
    })
}

fn function(line: &'static str) -> Option<FunctionRow> {
    let c: [&str; 9] = cells(line)?;
    let number = |at: usize| c[at].parse::<u32>().ok();
    Some(FunctionRow {
        oid: number(0)?,
        name: c[1],
        kind: c[2],
        returns_set: c[3] == "t",
        strict: c[4] == "t",
        volatility: c[5],
        variadic: number(6)?,
        returns: number(7)?,
        arguments: c[8].split(' ').filter_map(|oid| oid.parse().ok()).collect(),
    })
}

pub(super) fn pg_type(to: &mut Filling<'_>) -> Result<()> {
    for row in TYPES.iter() {
        if !to.wanted.oid("oid", row.oid) || !to.wanted.text("typname", row.name) {
            continue;
        }
        let [input, output, receive, send, modin, modout] = row.functions;
        to.rows.push([
            ("oid", Oid(row.oid)),
            ("typname", Text(row.name)),
            ("typnamespace", Oid(PG_CATALOG_OID)),
            ("typowner", Oid(OWNER_OID)),
            ("typlen", Int(row.len)),
            ("typbyval", Bool(row.by_value)),
            ("typtype", Text(row.kind)),
            ("typcategory", Text(row.category)),
            ("typispreferred", Bool(row.preferred)),
            ("typisdefined", Bool(true)),
            ("typdelim", Text(row.delimiter)),
            ("typrelid", Oid(0)),
            ("typsubscript", Oid(row.subscript)),
            ("typelem", Oid(row.element)),
            ("typarray", Oid(row.array)),
            ("typinput", Oid(input)),
            ("typoutput", Oid(output)),
            ("typreceive", Oid(receive)),
            ("typsend", Oid(send)),
            ("typmodin", Oid(modin)),
            ("typmodout", Oid(modout)),
            ("typalign", Text(row.align)),
            ("typstorage", Text(row.storage)),
            ("typnotnull", Bool(false)),
            ("typbasetype", Oid(0)),
            ("typtypmod", Int(-1)),
            ("typcollation", Oid(row.collation)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_operator(to: &mut Filling<'_>) -> Result<()> {
    for line in include_str!("../data/operators.tsv").lines() {
        let Some(c) = cells::<10>(line) else { continue };
        let oid = |at: usize| Oid(c[at].parse().unwrap_or(0));
        to.rows.push([
            ("oid", oid(0)),
            ("oprname", Text(c[1])),
            ("oprnamespace", Oid(PG_CATALOG_OID)),
            ("oprowner", Oid(OWNER_OID)),
            ("oprkind", Text(c[2])),
            ("oprcanmerge", Bool(c[3] == "t")),
            ("oprcanhash", Bool(c[4] == "t")),
            ("oprleft", oid(5)),
            ("oprright", oid(6)),
            ("oprresult", oid(7)),
            ("oprcom", oid(8)),
            ("oprnegate", oid(9)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_cast(to: &mut Filling<'_>) -> Result<()> {
    for line in include_str!("../data/casts.tsv").lines() {
        let Some(c) = cells::<5>(line) else { continue };
        let oid = |at: usize| Oid(c[at].parse().unwrap_or(0));
        to.rows.push([
            ("oid", oid(0)),
            ("castsource", oid(1)),
            ("casttarget", oid(2)),
            ("castcontext", Text(c[3])),
            ("castmethod", Text(c[4])),
        ])?;
    }
    Ok(())
}

/// How tables are stored: there is one way.
pub(super) fn pg_am(to: &mut Filling<'_>) -> Result<()> {
    to.rows.push([
        ("oid", Oid(ICEBERG_AM_OID)),
        ("amname", Text("iceberg")),
        ("amtype", Text("t")),
    ])
}

pub(super) fn pg_language(to: &mut Filling<'_>) -> Result<()> {
    for (oid, name, trusted) in [(12, "internal", false), (14, "sql", true)] {
        to.rows.push([
            ("oid", Oid(oid)),
            ("lanname", Text(name)),
            ("lanowner", Oid(OWNER_OID)),
            ("lanpltrusted", Bool(trusted)),
        ])?;
    }
    Ok(())
}

/// Text is compared by its bytes, under each of its names.
pub(super) fn pg_collation(to: &mut Filling<'_>) -> Result<()> {
    for (oid, name, provider) in [(100, "default", "d"), (950, "C", "c"), (951, "POSIX", "c")] {
        let locale = if provider == "d" { Null } else { Text(name) };
        to.rows.push([
            ("oid", Oid(oid)),
            ("collname", Text(name)),
            ("collnamespace", Oid(PG_CATALOG_OID)),
            ("collowner", Oid(OWNER_OID)),
            ("collprovider", Text(provider)),
            ("collisdeterministic", Bool(true)),
            ("collencoding", Int(-1)),
            ("collcollate", locale.clone()),
            ("collctype", locale),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_tablespace(to: &mut Filling<'_>) -> Result<()> {
    to.rows.push([
        ("oid", Oid(TABLESPACE_OID)),
        ("spcname", Text("pg_default")),
        ("spcowner", Oid(OWNER_OID)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg_catalog::types::{ARRAYS, SCALARS};

    #[test]
    fn every_type_of_a_result_is_in_pg_type_as_postgresql_has_it() {
        for ty in SCALARS.iter().chain(ARRAYS) {
            let row = type_row(ty.oid).unwrap();
            assert_eq!((row.name, row.array), (ty.name, ty.array_oid));
            assert_eq!(row.len, i64::from(ty.len), "{}", ty.name);
        }
    }

    #[test]
    fn the_functions_of_types_are_in_pg_proc() {
        for row in TYPES.iter() {
            for oid in row.functions.into_iter().filter(|oid| *oid != 0) {
                assert!(
                    FUNCTIONS.iter().any(|function| function.oid == oid),
                    "{} has {oid}",
                    row.name
                );
            }
        }
    }
}
