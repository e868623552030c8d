//! Sessions as the engine asks for them: what each does, and what the PostgreSQL door tells of its own.
//!
//! A door that tells nothing of its sessions is known by their statements. Decides nothing about who may see
//! or end what.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tarn_engine::{
    Backend, BackendState, BackendTls, ListedCursor, ListedStatement, Signal, backend_pid,
};
use uuid::Uuid;

use super::{Connection, SessionEnd, SessionGuard, Sessions, lock};
use crate::history::{Entry, State};
use crate::statements::{Door, Statements};

/// Warnings that wait for a session's client at most.
const WARNINGS_MAX: usize = 100;

/// What a session holds, as its door tells it.
pub(crate) trait Holdings: fmt::Debug + Send + Sync {
    fn prepared_statements(&self) -> Vec<ListedStatement>;
    fn cursors(&self) -> Vec<ListedCursor>;
}

/// What the PostgreSQL door says of a connection when it has let it in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) port: Option<u16>,
    pub(crate) tls: Option<BackendTls>,
    pub(crate) holdings: Arc<dyn Holdings>,
}

/// What a session of the PostgreSQL door does.
#[derive(Debug)]
pub(super) struct Activity {
    state: BackendState,
    query: Arc<str>,
    query_at: Option<DateTime<Utc>>,
    transaction_at: Option<DateTime<Utc>>,
    changed_at: DateTime<Utc>,
    /// Id of the statement that ran last, or runs.
    query_id: Option<String>,
    catalog: String,
    application_name: String,
    warnings: Vec<String>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            state: BackendState::Idle,
            query: "".into(),
            query_at: None,
            transaction_at: None,
            changed_at: Utc::now(),
            query_id: None,
            catalog: String::new(),
            application_name: String::new(),
            warnings: vec![],
        }
    }
}

impl SessionGuard {
    /// The process id that the client is told: no other connection has it.
    pub(crate) fn pid(&self) -> i32 {
        self.connection.pid
    }

    /// From now on the door tells what the session does.
    pub(crate) fn admit(&self, admitted: Admitted) {
        // A connection is let in once.
        let _ = self.connection.admitted.set(admitted);
    }

    /// The client has asked for this, which holds no secrets.
    pub(crate) fn begins(&self, query: &Arc<str>) {
        let now = Utc::now();
        let mut activity = lock(&self.connection.activity);
        if activity.state != BackendState::Active {
            activity.state = BackendState::Active;
            activity.changed_at = now;
            activity.query_id = None;
        }
        activity.query = Arc::clone(query);
        activity.query_at = Some(now);
        activity.transaction_at.get_or_insert(now);
    }

    /// The statement that a cancellation ends from now on.
    pub(crate) fn runs(&self, query_id: &str) {
        lock(&self.connection.activity).query_id = Some(query_id.to_owned());
    }

    /// The session waits for its client.
    pub(crate) fn rests(&self, state: BackendState, catalog: &str, application_name: &str) {
        let mut activity = lock(&self.connection.activity);
        if activity.state != state {
            activity.state = state;
            activity.changed_at = Utc::now();
        }
        if state == BackendState::Idle {
            activity.transaction_at = None;
        }
        let keep = |kept: &mut String, value: &str| {
            if kept != value {
                value.clone_into(kept);
            }
        };
        keep(&mut activity.catalog, catalog);
        keep(&mut activity.application_name, application_name);
    }

    /// What the client is to be warned of; each warning once.
    pub(crate) fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.connection.activity).warnings)
    }
}

/// A session that only its statements tell of.
struct Quiet<'a> {
    pid: i32,
    session: Uuid,
    user: &'a str,
    is_admin: bool,
    door: &'a str,
    address: Option<String>,
    started_at: DateTime<Utc>,
}

impl Quiet<'_> {
    fn backend(self, last: Option<&Entry>) -> Backend {
        let runs = last.filter(|entry| !entry.live().state.ended());
        let ended_at = |entry: &Entry| {
            let elapsed = chrono::TimeDelta::from_std(entry.elapsed()).unwrap_or_default();
            entry.started_at + elapsed
        };
        let started_at = last.map(|entry| entry.started_at);
        Backend {
            pid: self.pid,
            session: self.session,
            user: self.user.to_owned(),
            is_admin: self.is_admin,
            catalog: last.map(|entry| entry.catalog.clone()),
            application_name: self.door.to_owned(),
            address: self.address,
            port: None,
            started_at: self.started_at,
            transaction_at: runs.map(|entry| entry.started_at),
            query_at: started_at,
            changed_at: if runs.is_some() {
                started_at
            } else {
                last.map(ended_at)
            },
            state: if runs.is_some() {
                BackendState::Active
            } else {
                BackendState::Idle
            },
            is_queued: runs.is_some_and(is_queued),
            query: last.map_or_else(String::new, |entry| entry.statement.clone()),
            is_wire: false,
            tls: None,
        }
    }
}

fn is_queued(entry: &Entry) -> bool {
    entry.live().state == State::Queued
}

impl Connection {
    fn backend(&self, last: Option<&Entry>) -> Backend {
        let Some(admitted) = self.admitted.get() else {
            let quiet = Quiet {
                pid: self.pid,
                session: self.id,
                user: &self.principal.name,
                is_admin: self.principal.is_admin,
                door: self.door,
                address: Some(self.address.to_string()),
                started_at: self.started_at,
            };
            return quiet.backend(last);
        };
        let activity = lock(&self.activity);
        Backend {
            pid: self.pid,
            session: self.id,
            user: self.principal.name.clone(),
            is_admin: self.principal.is_admin,
            catalog: Some(activity.catalog.clone()),
            application_name: activity.application_name.clone(),
            address: Some(self.address.to_string()),
            port: admitted.port,
            started_at: self.started_at,
            transaction_at: activity.transaction_at,
            query_at: activity.query_at,
            changed_at: Some(activity.changed_at),
            state: activity.state,
            is_queued: last.is_some_and(is_queued),
            query: activity.query.to_string(),
            is_wire: true,
            tls: admitted.tls.clone(),
        }
    }
}

impl Sessions {
    fn connection(&self, session: Uuid) -> Option<Arc<Connection>> {
        self.lock().connections.get(&session).map(Arc::clone)
    }

    /// All sessions, and the statements that run without one; those that began first first.
    pub(crate) fn backends(&self) -> Vec<Backend> {
        let entries = self.inner.statements.get();
        let entries = entries.map(Statements::entries).unwrap_or_default();
        // Those that run come first, then the newest.
        let mut last: HashMap<Uuid, &Entry> = HashMap::new();
        for entry in &entries {
            last.entry(entry.session_id).or_insert(entry);
        }
        let registry = self.lock();
        let limit = self.kept_idle_max();
        let connections: Vec<_> = registry.connections.values().map(Arc::clone).collect();
        let kept = registry.kept.values();
        let mut all: Vec<Backend> = kept
            .filter(|kept| kept.used.elapsed() < limit)
            .map(|kept| {
                let quiet = Quiet {
                    pid: backend_pid(&kept.session.id.to_string()),
                    session: kept.session.id,
                    user: &kept.session.user,
                    is_admin: kept.session.is_admin,
                    door: Door::Http.name(),
                    address: None,
                    started_at: kept.started_at,
                };
                quiet.backend(last.remove(&kept.session.id))
            })
            .collect();
        drop(registry);
        for connection in connections {
            all.push(connection.backend(last.remove(&connection.id)));
        }
        let alone = last.into_values();
        all.extend(alone.filter(|e| !e.live().state.ended()).map(|entry| {
            let quiet = Quiet {
                pid: backend_pid(&entry.session_id.to_string()),
                session: entry.session_id,
                user: &entry.user,
                is_admin: entry.is_admin,
                door: entry.door,
                address: None,
                started_at: entry.started_at,
            };
            quiet.backend(Some(entry))
        }));
        all.sort_by_key(|backend| (backend.started_at, backend.session));
        all
    }

    /// The process id of a connection.
    pub(crate) fn pid_of(&self, session: Uuid) -> Option<i32> {
        self.connection(session).map(|connection| connection.pid)
    }

    /// What a session holds, if its door tells.
    pub(crate) fn holdings(&self, session: Uuid) -> Option<Arc<dyn Holdings>> {
        let connection = self.connection(session)?;
        let admitted = connection.admitted.get()?;
        Some(Arc::clone(&admitted.holdings))
    }

    /// Warns the client of a session, if its door tells what it does.
    pub(crate) fn warn(&self, session: Uuid, message: String) {
        let connection = self.connection(session);
        if let Some(connection) = connection.filter(|c| c.admitted.get().is_some()) {
            let mut activity = lock(&connection.activity);
            if activity.warnings.len() < WARNINGS_MAX {
                activity.warnings.push(message);
            }
        }
    }

    /// Ends a session or what it runs; `false` if there is no such session.
    pub(crate) fn signal(&self, session: Uuid, signal: Signal) -> bool {
        let connection = self.connection(session);
        match (signal, connection) {
            (Signal::Terminate, Some(connection)) => {
                self.end(&connection, SessionEnd::Terminated);
                true
            }
            (Signal::Cancel, Some(connection)) if connection.admitted.get().is_some() => {
                // A cursor that waits for its client does not run.
                let activity = lock(&connection.activity);
                let runs = activity.state == BackendState::Active;
                let query_id = activity.query_id.clone().filter(|_| runs);
                drop(activity);
                if let (Some(id), Some(all)) = (query_id, self.inner.statements.get()) {
                    all.cancel(&id);
                }
                true
            }
            (Signal::Cancel, Some(_)) => {
                self.cancel_statements(session);
                true
            }
            (signal, None) => self.signal_quiet(session, signal),
        }
    }

    /// The same of a kept session, or of statements without one.
    fn signal_quiet(&self, session: Uuid, signal: Signal) -> bool {
        let mut registry = self.lock();
        let is_kept = registry.kept.values().any(|k| k.session.id == session);
        if signal == Signal::Terminate {
            registry.kept.retain(|_, kept| kept.session.id != session);
        }
        drop(registry);
        let statements = self.inner.statements.get();
        let runs = statements.is_some_and(|all| all.busy_sessions().contains(&session));
        self.cancel_statements(session);
        is_kept || runs
    }
}

#[cfg(test)]
mod tests {
    use tarn_engine::Session;

    use super::*;

    #[test]
    fn a_kept_session_is_a_backend_until_it_is_ended() {
        let sessions = Sessions::default();
        let session = Session::new("ann", "lake", "main");
        let id = session.id;
        sessions.put(Uuid::from_u128(7), session);
        let backends = sessions.backends();
        let [backend] = &backends[..] else {
            panic!("{backends:?}");
        };
        assert_eq!((backend.session, backend.user.as_str()), (id, "ann"));
        assert_eq!(backend.state, BackendState::Idle);
        assert_eq!(backend.application_name, "http");
        assert_eq!(backend.pid, backend_pid(&id.to_string()));
        assert!(sessions.signal(id, Signal::Cancel));
        assert_eq!(sessions.backends().len(), 1);
        assert!(sessions.signal(id, Signal::Terminate));
        assert!(sessions.backends().is_empty());
        assert!(!sessions.signal(id, Signal::Terminate));
        assert!(sessions.get("ann", Uuid::from_u128(7)).is_none());
    }
}
