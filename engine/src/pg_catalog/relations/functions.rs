//! `pg_proc`: the functions that a statement may call, and those that `pg_type` names.

use std::collections::HashSet;

use datafusion::common::Result;

use super::Filling;
use super::fixed::{FUNCTIONS, TYPES};
use crate::directory::Oids;
use crate::pg_catalog::context::{CatalogContext, OWNER_OID};
use crate::pg_catalog::rows::Val::{Bool, Float, Int, Null, Oid, Oids as OidList, Text, Texts};
use crate::pg_catalog::{LANGUAGE_OID, PG_CATALOG_OID};

/// `"any"`: what a function takes whose arguments PostgreSQL does not know.
const ANY_OID: u32 = 2276;
/// `anyelement`.
const ANYELEMENT_OID: u32 = 2283;

/// One function.
#[derive(Clone, Debug)]
pub(in crate::pg_catalog) struct Function {
    pub(in crate::pg_catalog) oid: u32,
    pub(in crate::pg_catalog) name: String,
    pub(in crate::pg_catalog) kind: &'static str,
    pub(in crate::pg_catalog) returns_set: bool,
    pub(in crate::pg_catalog) strict: bool,
    pub(in crate::pg_catalog) volatility: &'static str,
    pub(in crate::pg_catalog) variadic: u32,
    pub(in crate::pg_catalog) returns: u32,
    pub(in crate::pg_catalog) arguments: Vec<u32>,
}

/// Every function: those of PostgreSQL's that Tarn has, and its own.
pub(in crate::pg_catalog) fn all(context: &CatalogContext) -> &[Function] {
    context.function_rows.get_or_init(|| collect(context))
}

fn collect(context: &CatalogContext) -> Vec<Function> {
    let callable: HashSet<&str> = context.functions.iter().map(String::as_str).collect();
    let of_types: HashSet<u32> = TYPES
        .iter()
        .flat_map(|row| row.functions.into_iter().chain([row.subscript]))
        .collect();
    let mut known: HashSet<&str> = HashSet::new();
    let mut out = Vec::new();
    for row in FUNCTIONS.iter() {
        if callable.contains(row.name) {
            known.insert(row.name);
        } else if !of_types.contains(&row.oid) {
            continue;
        }
        out.push(Function {
            oid: row.oid,
            name: row.name.to_owned(),
            kind: row.kind,
            returns_set: row.returns_set,
            strict: row.strict,
            volatility: row.volatility,
            variadic: row.variadic,
            returns: row.returns,
            arguments: row.arguments.clone(),
        });
    }
    let mut oids = Oids::default();
    for name in context.functions.iter() {
        if !known.contains(name.as_str()) {
            out.push(Function {
                oid: oids.take(&["function", name]),
                name: name.clone(),
                kind: "f",
                returns_set: false,
                strict: false,
                volatility: "s",
                variadic: ANY_OID,
                returns: ANYELEMENT_OID,
                arguments: vec![ANY_OID],
            });
        }
    }
    out
}

pub(super) fn pg_proc(to: &mut Filling<'_>) -> Result<()> {
    for function in all(to.context) {
        if !to.wanted.oid("oid", function.oid) || !to.wanted.text("proname", &function.name) {
            continue;
        }
        let variadic = function.variadic != 0;
        let count = i64::try_from(function.arguments.len()).unwrap_or(0);
        to.rows.push([
            ("oid", Oid(function.oid)),
            ("proname", Text(&function.name)),
            ("pronamespace", Oid(PG_CATALOG_OID)),
            ("proowner", Oid(OWNER_OID)),
            ("prolang", Oid(LANGUAGE_OID)),
            ("procost", Float(1.0)),
            (
                "prorows",
                Float(if function.returns_set { 1000.0 } else { 0.0 }),
            ),
            ("provariadic", Oid(function.variadic)),
            ("prokind", Text(function.kind)),
            ("prosecdef", Bool(false)),
            ("proleakproof", Bool(false)),
            ("proisstrict", Bool(function.strict)),
            ("proretset", Bool(function.returns_set)),
            ("provolatile", Text(function.volatility)),
            ("proparallel", Text("s")),
            ("pronargs", Int(count)),
            ("pronargdefaults", Int(0)),
            ("prorettype", Oid(function.returns)),
            ("proargtypes", OidList(function.arguments.clone())),
            (
                "proargmodes",
                if variadic {
                    let mut modes = vec!["i".to_owned(); function.arguments.len()];
                    if let Some(last) = modes.last_mut() {
                        "v".clone_into(last);
                    }
                    Texts(modes)
                } else {
                    Null
                },
            ),
            ("prosrc", Text(&function.name)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_aggregate(to: &mut Filling<'_>) -> Result<()> {
    for function in all(to.context)
        .iter()
        .filter(|function| function.kind == "a")
    {
        to.rows
            .push([("aggfnoid", Oid(function.oid)), ("aggkind", Text("n"))])?;
    }
    Ok(())
}
