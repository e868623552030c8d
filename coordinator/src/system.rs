//! The rows of the `system.*` views, and what administrators end through them.
//!
//! Views about users and tokens come from the metadata database, the others from memory.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tarn_engine::{
    Backend, Backends, EngineError, Identities, ListedCursor, ListedStatement, SETTINGS, Signal,
    SystemTables, Viewer, tokens_view, users_view,
};
use uuid::Uuid;

use crate::history::{Entry, State};
use crate::sessions::{Listed, Sessions};
use crate::statements::Statements;
use crate::workers::{WorkerState, Workers};

const NAMES: &[&str] = &[
    "queries", "sessions", "settings", "tokens", "users", "workers",
];

/// Answers the engine's questions about this server.
#[derive(Clone, Debug)]
pub struct System {
    workers: Workers,
    sessions: Sessions,
    identities: Arc<dyn Identities>,
    statements: Arc<OnceLock<Statements>>,
    /// Who looks; `None` sees what concerns nobody.
    viewer: Option<Viewer>,
}

impl System {
    /// Views over these; [`Self::attach`] adds the statements.
    pub fn new(workers: Workers, sessions: Sessions, identities: Arc<dyn Identities>) -> Self {
        Self {
            workers,
            sessions,
            identities,
            statements: Arc::default(),
            viewer: None,
        }
    }

    /// Whether the viewer may see a row about `user`.
    fn shows(&self, user: &str) -> bool {
        let viewer = self.viewer.as_ref();
        viewer.is_some_and(|viewer| viewer.is_admin || viewer.user == user)
    }

    /// The user whose queries and sessions the viewer may end; `None` is everybody's.
    fn reach(&self) -> Option<&str> {
        match &self.viewer {
            Some(viewer) if viewer.is_admin => None,
            Some(viewer) => Some(&viewer.user),
            None => Some(""),
        }
    }

    fn session_rows(&self) -> Result<RecordBatch, EngineError> {
        let mut all = self.sessions.list();
        all.retain(|session| self.shows(&session.user));
        let text = |f: &dyn Fn(&Listed) -> Option<String>| -> ArrayRef {
            Arc::new(all.iter().map(f).collect::<StringArray>())
        };
        let idle: Int64Array = all
            .iter()
            .map(|session| i64::try_from(session.idle.as_millis()).ok())
            .collect();
        Ok(RecordBatch::try_from_iter_with_nullable(vec![
            ("session_id", text(&|s| Some(s.id.to_string())), false),
            ("user_name", text(&|s| Some(s.user.clone())), false),
            ("door", text(&|s| Some(s.door.to_owned())), false),
            ("address", text(&|s| s.address.map(|a| a.to_string())), true),
            ("started_at", times(all.iter().map(|s| s.started_at)), false),
            ("idle_ms", Arc::new(idle) as ArrayRef, true),
        ])?)
    }

    /// Adds the statements, which are made after the engine that asks.
    pub fn attach(&self, statements: Statements) {
        // A second call changes nothing: there is one registry in a server.
        let _ = self.statements.set(statements);
    }

    fn queries(&self) -> Result<RecordBatch, EngineError> {
        let statements = self.statements.get();
        let entries = statements.map(Statements::entries).unwrap_or_default();
        let shown: Vec<Shown> = entries
            .iter()
            .filter(|entry| self.shows(&entry.user))
            .filter_map(|entry| Some(Shown::new(entry, statements?)))
            .collect();
        let text = |f: &dyn Fn(&Shown) -> Option<String>| -> ArrayRef {
            Arc::new(shown.iter().map(f).collect::<StringArray>())
        };
        let number = |f: &dyn Fn(&Shown) -> u64| -> ArrayRef {
            Arc::new(
                shown
                    .iter()
                    .map(|s| i64::try_from(f(s)).ok())
                    .collect::<Int64Array>(),
            )
        };
        let small = |f: &dyn Fn(&Shown) -> u32| -> ArrayRef {
            Arc::new(
                shown
                    .iter()
                    .map(|s| i32::try_from(f(s)).ok())
                    .collect::<Int32Array>(),
            )
        };
        let positions: Int32Array = shown
            .iter()
            .map(|s| s.queue_position.and_then(|at| i32::try_from(at).ok()))
            .collect();
        let distributed: BooleanArray = shown.iter().map(|s| Some(s.distributed)).collect();
        Ok(RecordBatch::try_from_iter_with_nullable(vec![
            ("query_id", text(&|s| Some(s.entry.query_id.clone())), false),
            ("state", text(&|s| Some(s.state.name().to_owned())), false),
            ("user_name", text(&|s| Some(s.entry.user.clone())), false),
            (
                "session_id",
                text(&|s| Some(s.entry.session_id.to_string())),
                false,
            ),
            (
                "statement",
                text(&|s| Some(s.entry.statement.clone())),
                false,
            ),
            ("catalog", text(&|s| Some(s.entry.catalog.clone())), false),
            ("schema", text(&|s| Some(s.entry.schema.clone())), false),
            ("door", text(&|s| Some(s.entry.door.to_owned())), false),
            (
                "started_at",
                times(shown.iter().map(|s| s.entry.started_at)),
                false,
            ),
            ("elapsed_ms", number(&|s| s.elapsed_ms), false),
            ("rows_out", number(&|s| s.rows_out), false),
            ("rows_scanned", number(&|s| s.rows_scanned), false),
            ("bytes_scanned", number(&|s| s.bytes_scanned), false),
            ("tasks_total", small(&|s| s.tasks_total), false),
            ("tasks_done", small(&|s| s.tasks_done), false),
            ("distributed", Arc::new(distributed) as ArrayRef, false),
            (
                "error_code",
                text(&|s| s.error_code.map(str::to_owned)),
                true,
            ),
            ("error", text(&|s| s.error.clone()), true),
            ("queue_position", Arc::new(positions) as ArrayRef, true),
        ])?)
    }

    fn worker_rows(&self) -> Result<RecordBatch, EngineError> {
        let all = self.workers.list();
        let text = |f: &dyn Fn(&crate::workers::WorkerInfo) -> String| -> ArrayRef {
            Arc::new(all.iter().map(|w| Some(f(w))).collect::<StringArray>())
        };
        let cores: Int32Array = all.iter().map(|w| i32::try_from(w.cores).ok()).collect();
        let memory: Int64Array = all
            .iter()
            .map(|w| Some(i64::try_from(w.memory_reserved_bytes).unwrap_or(i64::MAX)))
            .collect();
        Ok(RecordBatch::try_from_iter_with_nullable(vec![
            ("worker_id", text(&|w| w.worker_id.clone()), false),
            ("url", text(&|w| w.url.to_string()), false),
            ("cluster", text(&|w| w.cluster.clone()), false),
            ("version", text(&|w| w.version.clone()), false),
            (
                "state",
                text(&|w| match w.state {
                    WorkerState::Active => "ACTIVE".to_owned(),
                    WorkerState::Draining => "DRAINING".to_owned(),
                }),
                false,
            ),
            ("cores", Arc::new(cores) as ArrayRef, true),
            ("started_at", times(all.iter().map(|w| w.started_at)), false),
            (
                "last_heartbeat_at",
                times(all.iter().map(|w| w.last_heartbeat_at)),
                false,
            ),
            ("memory_reserved_bytes", Arc::new(memory) as ArrayRef, false),
        ])?)
    }
}

impl Backends for System {
    fn backends(&self) -> Vec<Backend> {
        self.sessions.backends()
    }

    fn pid_of(&self, session: Uuid) -> Option<i32> {
        self.sessions.pid_of(session)
    }

    fn prepared_statements(&self, session: Uuid) -> Vec<ListedStatement> {
        let holdings = self.sessions.holdings(session);
        holdings.map_or_else(Vec::new, |holdings| holdings.prepared_statements())
    }

    fn cursors(&self, session: Uuid) -> Vec<ListedCursor> {
        let holdings = self.sessions.holdings(session);
        holdings.map_or_else(Vec::new, |holdings| holdings.cursors())
    }

    fn signal(&self, session: Uuid, signal: Signal) -> bool {
        self.sessions.signal(session, signal)
    }

    fn warn(&self, session: Uuid, message: String) {
        self.sessions.warn(session, message);
    }
}

#[async_trait]
impl SystemTables for System {
    fn seen_by(&self, viewer: &Viewer) -> Arc<dyn SystemTables> {
        Arc::new(Self {
            viewer: Some(viewer.clone()),
            ..self.clone()
        })
    }

    fn names(&self) -> &[&'static str] {
        NAMES
    }

    fn read(&self, name: &str) -> Result<Option<RecordBatch>, EngineError> {
        match name.to_lowercase().as_str() {
            "queries" => self.queries().map(Some),
            "workers" => self.worker_rows().map(Some),
            "settings" => settings().map(Some),
            "sessions" => self.session_rows().map(Some),
            "users" => users_view(&[]).map(Some),
            "tokens" => tokens_view(&[]).map(Some),
            _ => Ok(None),
        }
    }

    async fn load(&self, name: &str) -> Result<Option<RecordBatch>, EngineError> {
        let by = self.viewer.as_ref().map_or("", |viewer| &viewer.user);
        match name.to_lowercase().as_str() {
            "users" => users_view(&self.identities.visible_roles(by).await?).map(Some),
            "tokens" => tokens_view(&self.identities.tokens(by, None).await?).map(Some),
            _ => self.read(name),
        }
    }

    fn kill_query(&self, query_id: &str) -> bool {
        let statements = self.statements.get();
        statements.is_some_and(|statements| statements.cancel_of(query_id, self.reach()))
    }

    fn kill_session(&self, session_id: &str) -> bool {
        let id = Uuid::parse_str(session_id.trim());
        id.is_ok_and(|id| self.sessions.kill(id, self.reach()))
    }
}

/// One row of `system.queries`.
pub(crate) struct Shown<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) state: State,
    pub(crate) elapsed_ms: u64,
    pub(crate) rows_out: u64,
    pub(crate) rows_scanned: u64,
    pub(crate) bytes_scanned: u64,
    pub(crate) tasks_total: u32,
    pub(crate) tasks_done: u32,
    pub(crate) distributed: bool,
    pub(crate) error_code: Option<&'static str>,
    pub(crate) error: Option<String>,
    pub(crate) queue_position: Option<usize>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(entry: &'a Entry, statements: &Statements) -> Self {
        let elapsed = entry.elapsed();
        let live = entry.live().clone();
        let mut out = Self {
            entry,
            state: live.state,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            rows_out: live.rows_out,
            rows_scanned: live.rows_scanned,
            bytes_scanned: live.bytes_scanned,
            tasks_total: live.tasks_total,
            tasks_done: live.tasks_done,
            distributed: live.distributed,
            error_code: live.error_code,
            error: live.error,
            queue_position: statements.queue_position(entry),
        };
        if !live.state.ended() {
            if live.distributed {
                let progress = statements.workers().progress(&entry.query_id);
                out.rows_scanned = progress.rows;
                out.bytes_scanned = progress.bytes;
                out.tasks_done = progress.tasks_done.min(out.tasks_total);
            } else if let Some(plan) = live.plan {
                let totals = plan.totals();
                out.rows_scanned = totals.rows;
                out.bytes_scanned = totals.bytes;
            }
        }
        out
    }
}

fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let array: TimestampMicrosecondArray = values.map(|t| Some(t.timestamp_micros())).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn settings() -> Result<RecordBatch, EngineError> {
    let column = |f: fn(&tarn_engine::Setting) -> &str| -> ArrayRef {
        Arc::new(SETTINGS.iter().map(|s| Some(f(s))).collect::<StringArray>())
    };
    Ok(RecordBatch::try_from_iter(vec![
        ("name", column(|s| s.name)),
        ("default_value", column(|s| s.default)),
        ("description", column(|s| s.description)),
    ])?)
}
