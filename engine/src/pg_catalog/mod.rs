//! `pg_catalog`: PostgreSQL's system catalog, as the truth about this server.
//!
//! Knows the directory of what there is; loads nothing and serves no door.

mod types;

pub use types::{ARRAYS, PG_TYPE_KEY, PgType, SCALARS, pg_type_by_oid, pg_type_named, pg_type_of};
