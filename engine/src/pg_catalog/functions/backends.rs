//! The own session's process id, and what ends the sessions and statements of others.

use datafusion::common::{DataFusionError, Result};

use super::Take::Int;
use super::{Arg, Definition, acting, strict};
use crate::backends::{Backend, Signal};
use crate::error::{EngineError, ErrorKind};
use crate::pg_catalog::backend_pid;
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::rows::Val;
use crate::session::Session;

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("pg_backend_pid", &[&[]], "int4", own),
    acting("pg_cancel_backend", &[&[Int]], "bool", |context, args| {
        signal(context, args, Signal::Cancel)
    }),
    acting(
        "pg_terminate_backend",
        &[&[Int], &[Int, Int]],
        "bool",
        |context, args| signal(context, args, Signal::Terminate),
    ),
];

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn own(context: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    let session = context.session.id;
    let told = context.system.pid_of(session);
    let pid = told.unwrap_or_else(|| backend_pid(&session.to_string()));
    Ok(Val::Int(pid.into()))
}

fn signal(context: &CatalogContext, args: &[Arg<'_>], signal: Signal) -> Result<Val<'static>> {
    if args.get(1).and_then(Arg::int).unwrap_or(0) != 0 {
        let error = EngineError::new(
            ErrorKind::Unsupported,
            "pg_terminate_backend with a timeout is not supported",
        )
        .with_hint("leave the timeout away, and look at pg_stat_activity");
        return Err(DataFusionError::External(Box::new(error)));
    }
    let pid = args[0].int().unwrap_or_default();
    let backends = context.system.backends();
    let found = backends.iter().find(|found| i64::from(found.pid) == pid);
    if let Some(found) = found {
        check(&context.session, found, signal)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        if context.system.signal(found.session, signal) {
            return Ok(Val::Bool(true));
        }
    }
    // Gone meanwhile is as good as never there. Source: PostgreSQL 15, `pg_signal_backend`.
    let text = format!("PID {pid} is not a PostgreSQL backend process");
    context.system.warn(context.session.id, text);
    Ok(Val::Bool(false))
}

/// Own sessions may be ended, and those of others by administrators. Source: PostgreSQL 15, `signalfuncs.c`.
fn check(
    session: &Session,
    backend: &Backend,
    signal: Signal,
) -> std::result::Result<(), EngineError> {
    if session.is_admin || backend.user == session.user {
        return Ok(());
    }
    let text = match (signal, backend.is_admin) {
        (Signal::Cancel, true) => "must be a superuser to cancel superuser query",
        (Signal::Terminate, true) => "must be a superuser to terminate superuser process",
        (Signal::Cancel, false) => {
            "must be a member of the role whose query is being canceled or member of pg_signal_backend"
        }
        (Signal::Terminate, false) => {
            "must be a member of the role whose process is being terminated or member of pg_signal_backend"
        }
    };
    Err(EngineError::new(ErrorKind::Denied, text))
}
