//! One statement's entry in `system.queries`, while it runs and after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tarn_engine::{EngineError, ErrorKind, RunningPlan, Session};
use uuid::Uuid;

use crate::admission::Permit;

/// Where a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Planning,
    /// Waits for its turn.
    Queued,
    Running,
    Finished,
    Failed,
    Canceled,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Planning => "PLANNING",
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    pub(crate) fn ended(self) -> bool {
        match self {
            Self::Planning | Self::Queued | Self::Running => false,
            Self::Finished | Self::Failed | Self::Canceled => true,
        }
    }
}

/// What changes while a statement runs.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) ended: Option<Duration>,
    pub(crate) rows_out: u64,
    pub(crate) rows_scanned: u64,
    pub(crate) bytes_scanned: u64,
    /// Number and tasks of each stage on workers.
    pub(crate) stages: Vec<(u32, u32)>,
    pub(crate) tasks_total: u32,
    pub(crate) tasks_done: u32,
    pub(crate) distributed: bool,
    pub(crate) error_kind: Option<ErrorKind>,
    pub(crate) error_code: Option<&'static str>,
    pub(crate) error: Option<String>,
    pub(crate) plan: Option<RunningPlan>,
    /// Its place in the queue, while it waits.
    pub(crate) ticket: Option<u64>,
}

/// One statement.
pub(crate) struct Entry {
    pub(crate) query_id: String,
    pub(crate) user: String,
    pub(crate) is_admin: bool,
    pub(crate) session_id: Uuid,
    pub(crate) statement: String,
    pub(crate) catalog: String,
    pub(crate) schema: String,
    pub(crate) door: &'static str,
    pub(crate) started_at: DateTime<Utc>,
    started: Instant,
    live: Mutex<Live>,
    /// Its leave to run, from its turn to its end.
    permit: Mutex<Option<Permit>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("query_id", &self.query_id)
            .finish_non_exhaustive()
    }
}

impl Entry {
    pub(crate) fn new(
        query_id: String,
        session: &Session,
        statement: String,
        door: &'static str,
    ) -> Arc<Self> {
        Arc::new(Self {
            query_id,
            user: session.user.clone(),
            is_admin: session.is_admin,
            session_id: session.id,
            statement,
            catalog: session.catalog.clone(),
            schema: session.schema.clone(),
            door,
            started_at: Utc::now(),
            started: Instant::now(),
            live: Mutex::new(Live {
                state: State::Planning,
                ended: None,
                rows_out: 0,
                rows_scanned: 0,
                bytes_scanned: 0,
                stages: vec![],
                tasks_total: 0,
                tasks_done: 0,
                distributed: false,
                error_kind: None,
                error_code: None,
                error: None,
                plan: None,
                ticket: None,
            }),
            permit: Mutex::default(),
        })
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.live().ended.unwrap_or_else(|| self.started.elapsed())
    }

    /// Ends the statement once; later calls change nothing.
    pub(crate) fn end(&self, state: State, error: Option<&EngineError>) -> bool {
        let elapsed = self.started.elapsed();
        let mut live = self.live();
        if live.state.ended() {
            return false;
        }
        live.state = state;
        live.ticket = None;
        live.ended = Some(elapsed);
        if let Some(error) = error {
            live.error_kind = Some(error.kind);
            live.error_code = Some(error.kind.sqlstate());
            live.error = Some(error.message.clone());
        }
        if let Some(plan) = live.plan.take()
            && !live.distributed
        {
            let totals = plan.totals();
            live.rows_scanned = totals.rows;
            live.bytes_scanned = totals.bytes;
        }
        if state == State::Finished {
            live.tasks_done = live.tasks_total;
        }
        drop(live);
        drop(self.permit().take());
        true
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has had its turn.
    pub(crate) fn is_admitted(&self) -> bool {
        self.permit().is_some()
    }

    /// It waits for its turn at this place.
    pub(crate) fn queued(&self, ticket: u64) {
        let mut live = self.live();
        live.state = State::Queued;
        live.ticket = Some(ticket);
    }

    /// Keeps its leave to run until it ends.
    pub(crate) fn keep(&self, permit: Permit) {
        // Who ends it takes the leave after the state is set: it sees this, or this sees the state.
        let mut kept = self.permit();
        if !self.live().state.ended() {
            *kept = Some(permit);
        }
    }
}
