//! The rows of every catalog relation.
//!
//! A relation that is not named here has no rows, because Tarn has nothing that it lists: no indexes, triggers,
//! sequences, row types, large objects, replication, extensions or foreign servers.

mod backends;
mod classes;
mod fixed;
mod functions;
mod server;
mod standard;

use datafusion::common::Result;

use super::context::CatalogContext;
use super::rows::Rows;
use super::shape::Shape;
use super::wanted::Wanted;

pub(super) use fixed::{KEYWORDS, TYPES, type_row};
pub(super) use functions::{Function, all as all_functions};

/// Where the rows of one relation come from and go to.
pub(super) struct Filling<'a> {
    pub(super) context: &'a CatalogContext,
    pub(super) wanted: &'a Wanted,
    pub(super) rows: &'a mut Rows,
}

/// Adds the rows of the relation of this shape.
pub(super) fn fill(
    shape: &Shape,
    context: &CatalogContext,
    wanted: &Wanted,
    rows: &mut Rows,
) -> Result<()> {
    let mut filling = Filling {
        context,
        wanted,
        rows,
    };
    let to = &mut filling;
    match (shape.schema, shape.name) {
        ("information_schema", name) => standard::fill(name, to),
        (_, "pg_class") => classes::pg_class(to),
        (_, "pg_attribute") => classes::pg_attribute(to),
        (_, "pg_namespace") => classes::pg_namespace(to),
        (_, "pg_description") => classes::pg_description(to),
        (_, "pg_tables") => classes::pg_tables(to),
        (_, "pg_views") => classes::pg_views(to),
        (_, "pg_rewrite") => classes::pg_rewrite(to),
        (_, "pg_depend") => classes::pg_depend(to),
        (_, "pg_stat_all_tables" | "pg_stat_user_tables" | "pg_stat_sys_tables") => {
            classes::pg_stat_tables(shape.name, to)
        }
        (_, "pg_type") => fixed::pg_type(to),
        (_, "pg_operator") => fixed::pg_operator(to),
        (_, "pg_cast") => fixed::pg_cast(to),
        (_, "pg_am") => fixed::pg_am(to),
        (_, "pg_language") => fixed::pg_language(to),
        (_, "pg_collation") => fixed::pg_collation(to),
        (_, "pg_tablespace") => fixed::pg_tablespace(to),
        (_, "pg_proc") => functions::pg_proc(to),
        (_, "pg_aggregate") => functions::pg_aggregate(to),
        (_, "pg_database") => server::pg_database(to),
        (_, "pg_roles") => server::pg_roles(to),
        (_, "pg_authid") => server::pg_authid(to),
        (_, "pg_user") => server::pg_user(to),
        (_, "pg_shadow") => server::pg_shadow(to),
        (_, "pg_settings") => server::pg_settings(to),
        (_, "pg_stat_activity") => backends::pg_stat_activity(to),
        (_, "pg_stat_ssl") => backends::pg_stat_ssl(to),
        (_, "pg_prepared_statements") => backends::pg_prepared_statements(to),
        (_, "pg_cursors") => backends::pg_cursors(to),
        (_, "pg_stat_database") => server::pg_stat_database(to),
        (_, "pg_timezone_abbrevs") => server::pg_timezone_abbrevs(to),
        (_, "pg_timezone_names") => server::pg_timezone_names(to),
        _ => Ok(()),
    }
}
