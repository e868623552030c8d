//! The server and the session: versions, settings, process, network.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::Utc;
use datafusion::common::{Result, plan_err};

use super::Take::{Bool, Int, Oid, Text};
use super::{Arg, Definition, lenient, strict};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::presets::{preset_value, version};
use crate::pg_catalog::rows::Val::{self, Null, Owned};
use crate::settings;

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("version", &[&[]], "text", |_, _| Ok(Owned(version()))),
    strict("current_schemas", &[&[Bool]], "_name", current_schemas),
    strict(
        "current_setting",
        &[&[Text], &[Text, Bool]],
        "text",
        current_setting,
    ),
    strict("set_config", &[&[Text, Text, Bool]], "text", set_config),
    strict("pg_is_in_recovery", &[&[]], "bool", |_, _| {
        Ok(Val::Bool(false))
    }),
    strict("pg_is_wal_replay_paused", &[&[]], "bool", |_, _| {
        Ok(Val::Bool(false))
    }),
    strict("pg_postmaster_start_time", &[&[]], "timestamptz", started),
    strict("pg_conf_load_time", &[&[]], "timestamptz", started),
    strict("pg_client_encoding", &[&[]], "name", |_, _| {
        Ok(Val::Text("UTF8"))
    }),
    strict("getdatabaseencoding", &[&[]], "name", |_, _| {
        Ok(Val::Text("UTF8"))
    }),
    strict("pg_encoding_to_char", &[&[Int]], "name", encoding_to_char),
    strict("pg_char_to_encoding", &[&[Text]], "int4", char_to_encoding),
    strict("txid_current", &[&[]], "int8", transaction),
    // Nobody can take an advisory lock, so there is none to give back.
    strict("pg_advisory_unlock_all", &[&[]], "text", |_, _| {
        Ok(Val::Text(""))
    }),
    strict("pg_my_temp_schema", &[&[]], "oid", |_, _| Ok(Val::Oid(0))),
    strict("pg_is_other_temp_schema", &[&[Oid]], "bool", |_, _| {
        Ok(Val::Bool(false))
    }),
    strict("inet_server_addr", &[&[]], "inet", |_, _| Ok(Null)),
    strict("inet_server_port", &[&[]], "int4", |_, _| Ok(Null)),
    strict("inet_client_addr", &[&[]], "inet", |_, _| Ok(Null)),
    strict("inet_client_port", &[&[]], "int4", |_, _| Ok(Null)),
    strict(
        "pg_last_xact_replay_timestamp",
        &[&[]],
        "timestamptz",
        |_, _| Ok(Null),
    ),
    lenient("tarn_xmin", &[&[]], "xid", |_, _| Ok(Val::Oid(FROZEN_XID))),
];

/// The transaction that made rows which everybody sees. Source: PostgreSQL, `FrozenTransactionId`.
const FROZEN_XID: u32 = 2;

/// When this process began to answer.
static STARTED_US: LazyLock<i64> = LazyLock::new(|| Utc::now().timestamp_micros());

/// Notes the start of the server, of which `pg_postmaster_start_time()` tells.
pub(crate) fn note_start() {
    LazyLock::force(&STARTED_US);
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn started(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Val::Time(*STARTED_US))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn current_schemas(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let own = context.session.search_path();
    let implicit = args[0] == Arg::Bool(true);
    let path = if implicit { context.search_path() } else { own };
    let there = |schema: &String| context.directory.schema(schema).is_some();
    Ok(Val::Texts(path.into_iter().filter(there).collect()))
}

/// The value of a setting or a fact.
pub(crate) fn setting_value(session: &crate::session::Session, name: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("search_path") {
        let path = session.search_path();
        let quoted = path.iter().map(|schema| super::names::quoted(schema));
        return Some(quoted.collect::<Vec<_>>().join(", "));
    }
    match name.to_lowercase().as_str() {
        "is_superuser" => return Some(if session.is_admin { "on" } else { "off" }.to_owned()),
        "session_authorization" | "role" => return Some(session.user.clone()),
        _ => {}
    }
    match settings::find(name) {
        Ok(setting) => Some(session.settings.get(setting.name).to_owned()),
        Err(_) => preset_value(name).map(str::to_owned),
    }
}

fn current_setting(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let name = args[0].text().unwrap_or_default();
    match setting_value(&context.session, name) {
        Some(value) => Ok(Owned(value)),
        None if args.get(1) == Some(&Arg::Bool(true)) => Ok(Null),
        None => plan_err!("unrecognized configuration parameter \"{name}\""),
    }
}

/// The session was changed before the statement was planned; see [`crate::pg_catalog::set_config`].
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn set_config(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Owned(args[1].text().unwrap_or_default().to_owned()))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn encoding_to_char(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Val::Text(match args[0].int() {
        Some(0) => "SQL_ASCII",
        Some(6) => "UTF8",
        Some(8) => "LATIN1",
        _ => "",
    }))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn char_to_encoding(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let name = args[0].text().unwrap_or_default().to_lowercase();
    Ok(Val::Int(match name.replace('-', "").as_str() {
        "sql_ascii" => 0,
        "utf8" | "unicode" => 6,
        "latin1" | "iso88591" => 8,
        _ => -1,
    }))
}

/// Every statement is a transaction of its own.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn transaction(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    static NEXT: AtomicI64 = AtomicI64::new(1000);
    Ok(Val::Int(NEXT.fetch_add(1, Ordering::Relaxed)))
}
