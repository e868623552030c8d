//! `pg_catalog` and `information_schema`: PostgreSQL's system catalogs, as the truth about this server.
//!
//! Relations are tables whose rows come from the directory of what there is; functions answer from the same. Loads
//! nothing, and knows no door and no client: whatever query comes is planned like any other.

mod context;
mod functions;
mod mentions;
mod presets;
mod provider;
mod relations;
mod rows;
mod seed;
mod set_config;
mod shape;
mod types;
mod wanted;

use std::sync::Arc;

use datafusion::catalog::TableProvider;

use crate::directory::Relation;
use crate::error::{EngineError, ErrorKind};
use crate::names;
use crate::resolve::INFORMATION_SCHEMA;

pub(crate) use context::CatalogContext;
pub(crate) use functions::{
    RegCasts, is_ours, names as function_names, note_start, of_context, plain, sets, setting_value,
};
pub(crate) use mentions::mentions;
pub(crate) use seed::CatalogSeed;
pub(crate) use set_config::changes;
pub(crate) use shape::column;
pub use types::{
    ARRAYS, PG_TYPE_KEY, PgType, SCALARS, pg_type_by_oid, pg_type_named, pg_type_of,
    pg_type_of_parameter,
};

/// Name of the schema that is searched first.
pub const PG_CATALOG: &str = "pg_catalog";
/// Its oid. Source: PostgreSQL, `pg_namespace.dat`.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// Oid of `information_schema`, below those of users.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13_000;
/// `'pg_class'::regclass`.
const CLASS_OID: u32 = 1259;
/// `'pg_namespace'::regclass`.
const NAMESPACE_OID: u32 = 2615;
/// `'pg_rewrite'::regclass`.
const REWRITE_OID: u32 = 2618;
/// Set in the oid of a view's rule, which is else the view's.
const REWRITE_OID_BIT: u32 = 1 << 31;
/// Oid of the one way in which tables are stored.
const ICEBERG_AM_OID: u32 = 2;
/// `pg_default`.
const TABLESPACE_OID: u32 = 1663;
/// The language of functions that are part of the server.
const LANGUAGE_OID: u32 = 12;

/// The relations of one of the two schemas, as the directory lists them.
pub(crate) fn relations(schema: &str) -> Vec<Arc<Relation>> {
    let of_schema = shape::SHAPES.iter().filter(|shape| shape.schema == schema);
    of_schema
        .map(|shape| {
            let columns = Arc::clone(&shape.columns);
            Arc::new(Relation::of_server(shape.oid, shape.name, columns))
        })
        .collect()
}

/// Whether `name` alone means a relation of `pg_catalog`.
pub(crate) fn is_relation(name: &str) -> bool {
    shape::find(PG_CATALOG, name).is_some()
}

/// The relation `schema`.`name` as a table.
///
/// # Errors
/// [`ErrorKind::UndefinedTable`], offering the nearest name.
pub(crate) fn table(
    schema: &str,
    name: &str,
    context: &Arc<CatalogContext>,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let folded = name.to_lowercase();
    match shape::find(schema, &folded) {
        Some(shape) => Ok(Arc::new(provider::CatalogRelation::new(
            shape,
            Arc::clone(context),
        ))),
        None => Err(unknown(schema, name)),
    }
}

fn unknown(schema: &str, name: &str) -> EngineError {
    let error = EngineError::new(
        ErrorKind::UndefinedTable,
        format!("table \"{name}\" not found in schema \"{schema}\""),
    );
    let known = shape::SHAPES.iter().filter(|shape| shape.schema == schema);
    match names::nearest(name, known.map(|shape| shape.name)) {
        Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
        None => error,
    }
}

/// A schema of this module, as it is called.
pub(crate) fn schema_named(name: &str) -> Option<&'static str> {
    [PG_CATALOG, INFORMATION_SCHEMA]
        .into_iter()
        .find(|schema| schema.eq_ignore_ascii_case(name))
}

/// The process id that clients see for a session or statement with this id: positive, and always the same.
pub fn backend_pid(id: &str) -> i32 {
    let hash = twox_hash::XxHash64::oneshot(0, id.as_bytes());
    i32::try_from(hash & 0x7fff_ffff).unwrap_or(1).max(1)
}
