//! Sessions of all doors, and the prepared statements and cursors of the own one.

use datafusion::common::Result;

use super::Filling;
use super::server::database_oid;
use crate::backends::{Backend, BackendState};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::functions::type_text;
use crate::pg_catalog::rows::Val::{self, Bool, Int, Null, Oid, Owned, Text, Texts};

/// Whether the session's user may see what `backend` does. Source: PostgreSQL 15, `HAS_PGSTAT_PERMISSIONS`.
fn may_see(context: &CatalogContext, backend: &Backend) -> bool {
    context.session.is_admin || backend.user == context.session.user
}

fn moment(at: Option<chrono::DateTime<chrono::Utc>>) -> Val<'static> {
    at.map_or(Null, |at| Val::Time(at.timestamp_micros()))
}

/// Every session; what those of others do is for administrators only.
pub(super) fn pg_stat_activity(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for backend in context.system.backends() {
        let catalog = backend.catalog.as_deref();
        let role = context.role(&backend.user);
        let mut row = vec![
            (
                "datid",
                catalog.map_or(Null, |catalog| database_oid(context, catalog)),
            ),
            ("datname", Val::from(catalog)),
            ("pid", Int(i64::from(backend.pid))),
            ("usesysid", role.map_or(Null, |role| Oid(role.oid))),
            // Who may not see a role may not learn its name here.
            ("usename", role.map_or(Null, |role| Text(&role.name))),
            ("application_name", Text(&backend.application_name)),
        ];
        if may_see(context, &backend) {
            let wait = if backend.is_queued {
                Some(("Extension", "AdmissionQueue"))
            } else if backend.is_wire && backend.state != BackendState::Active {
                Some(("Client", "ClientRead"))
            } else {
                None
            };
            row.extend([
                ("client_addr", Val::from(&backend.address)),
                (
                    "client_port",
                    backend.port.map_or(Null, |port| Int(port.into())),
                ),
                ("backend_start", moment(Some(backend.started_at))),
                ("xact_start", moment(backend.transaction_at)),
                ("query_start", moment(backend.query_at)),
                ("state_change", moment(backend.changed_at)),
                ("wait_event_type", wait.map_or(Null, |wait| Text(wait.0))),
                ("wait_event", wait.map_or(Null, |wait| Text(wait.1))),
                ("state", Text(backend.state.name())),
                ("query", Text(&backend.query)),
                ("backend_type", Text("client backend")),
            ]);
        } else {
            row.push(("query", Text("<insufficient privilege>")));
        }
        to.rows.push(row)?;
    }
    Ok(())
}

/// The sessions of the PostgreSQL door. Those of others have no port to who may not see them, and without one
/// PostgreSQL does not list them.
pub(super) fn pg_stat_ssl(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for backend in context.system.backends() {
        if !backend.is_wire || !may_see(context, &backend) {
            continue;
        }
        let tls = backend.tls.as_ref();
        to.rows.push([
            ("pid", Int(i64::from(backend.pid))),
            ("ssl", Bool(tls.is_some())),
            ("version", Val::from(tls.map(|tls| tls.version))),
            ("cipher", Val::from(tls.map(|tls| tls.cipher.as_str()))),
            ("bits", tls.map_or(Null, |tls| Int(tls.bits.into()))),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_prepared_statements(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for listed in context.system.prepared_statements(context.session.id) {
        to.rows.push([
            ("name", Owned(listed.name)),
            ("statement", Owned(listed.statement)),
            ("prepare_time", moment(Some(listed.prepared_at))),
            (
                "parameter_types",
                Texts(
                    listed
                        .parameter_types
                        .iter()
                        .map(|oid| type_text(*oid, None))
                        .collect(),
                ),
            ),
            ("from_sql", Bool(listed.from_sql)),
            ("generic_plans", Int(listed.reused)),
            ("custom_plans", Int(listed.runs - listed.reused)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_cursors(to: &mut Filling<'_>) -> Result<()> {
    let context = to.context;
    for cursor in context.system.cursors(context.session.id) {
        to.rows.push([
            ("name", Owned(cursor.name)),
            ("statement", Owned(cursor.statement)),
            ("is_holdable", Bool(cursor.is_holdable)),
            ("is_binary", Bool(cursor.is_binary)),
            ("is_scrollable", Bool(cursor.is_scrollable)),
            ("creation_time", moment(Some(cursor.created_at))),
        ])?;
    }
    Ok(())
}
