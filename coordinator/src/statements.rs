//! The registry of statements: every statement of every door runs through here.
//!
//! It gives each an entry in `system.queries`, a deadline and a way to be cancelled, and knows when
//! all have ended. What a statement means is the engine's business.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::{FutureExt, Stream, StreamExt};
use metrics::{counter, gauge, histogram};
use tarn_engine::{
    Engine, EngineError, ErrorKind, Ingest, Notice, Observer, Outcome, PlanSlot, Prepared, Rows,
    RunningPlan, ScalarValue, Session, StatementContext, redacted,
};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use uuid::Uuid;

use crate::admission::{Admission, AdmissionLimits, Entrance};
use crate::history::{Entry, State};
use crate::workers::Workers;

/// Ended statements that `system.queries` still shows.
const HISTORY_MAX: usize = 1000;
/// Characters of a statement's text that are kept.
const TEXT_MAX: usize = 10_000;

/// The door that a statement came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// HTTP.
    Http,
    /// Flight SQL.
    Flight,
    /// PostgreSQL wire.
    Postgres,
}

impl Door {
    /// As `system.queries` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Flight => "flight",
            Self::Postgres => "postgres",
        }
    }
}

/// What a door asks for.
#[derive(Debug)]
pub struct StatementRequest {
    /// Id, chosen by the door or its client.
    pub query_id: String,
    /// One statement.
    pub sql: String,
    /// Values of `$1`, `$2`, …
    pub parameters: Vec<ScalarValue>,
    /// Where it came from.
    pub door: Door,
    /// Where a prepared statement keeps its plan.
    pub plan: Option<Arc<PlanSlot>>,
}

#[derive(Debug, Default)]
struct Registry {
    running: HashMap<String, (Arc<Entry>, CancellationToken)>,
    ended: VecDeque<Arc<Entry>>,
}

/// The registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statements {
    registry: Arc<Mutex<Registry>>,
    workers: Workers,
    admission: Admission,
    closed: Arc<AtomicBool>,
}

impl Statements {
    /// An empty registry that lets statements run within `limits`; progress of distributed statements comes from
    /// `workers`.
    pub fn new(workers: Workers, limits: AdmissionLimits) -> Self {
        Self {
            registry: Arc::default(),
            workers,
            admission: Admission::new(limits),
            closed: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of running statements, then of ended ones, newest first.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let registry = self.lock();
        let mut running: Vec<_> = registry
            .running
            .values()
            .map(|(entry, _)| Arc::clone(entry))
            .collect();
        running.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
        running.extend(registry.ended.iter().rev().cloned());
        running
    }

    /// The entry of a statement that runs or has ended lately.
    pub(crate) fn find(&self, query_id: &str) -> Option<Arc<Entry>> {
        let registry = self.lock();
        if let Some((entry, _)) = registry.running.get(query_id) {
            return Some(Arc::clone(entry));
        }
        let mut ended = registry.ended.iter().rev();
        ended.find(|entry| entry.query_id == query_id).cloned()
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How many statements begin before this one, it included, if it waits for its turn.
    pub(crate) fn queue_position(&self, entry: &Entry) -> Option<usize> {
        let ticket = entry.live().ticket;
        self.admission.position(ticket?)
    }

    /// Waits for the turn of a statement.
    async fn turn(&self, entry: &Entry) -> Result<(), EngineError> {
        if entry.is_admitted() || self.goes_with(entry) {
            return Ok(());
        }
        let permit = match self.admission.enter(&entry.user)? {
            Entrance::Open(permit) => permit,
            Entrance::Queued(place) => {
                entry.queued(place.ticket());
                let permit = place.turn().await?;
                entry.live().ticket = None;
                permit
            }
        };
        entry.keep(permit);
        Ok(())
    }

    /// Whether another statement of the same PostgreSQL session has had its turn: a session that reads several cursors
    /// by turns must not wait for itself.
    fn goes_with(&self, entry: &Entry) -> bool {
        entry.door == Door::Postgres.name()
            && self
                .lock()
                .running
                .values()
                .any(|(other, _)| other.session_id == entry.session_id && other.is_admitted())
    }

    /// Whether new statements are refused because the server stops.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Statements that run now.
    pub fn running_count(&self) -> usize {
        self.lock().running.len()
    }

    /// Refuses new statements, waits for the running ones up to `patience`, cancels the rest.
    pub async fn drain(&self, patience: Duration) {
        self.closed.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + patience;
        while self.running_count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let left: Vec<_> = self
            .lock()
            .running
            .values()
            .map(|(_, token)| token.clone())
            .collect();
        for token in left {
            token.cancel();
        }
    }

    /// Runs a statement; `session` is what `USE` and `SET` made of it afterwards.
    ///
    /// Dropping the future, or the rows that it returns, cancels the statement.
    ///
    /// # Errors
    /// What the engine says; [`ErrorKind::Timeout`], [`ErrorKind::Canceled`],
    /// [`ErrorKind::ShuttingDown`].
    pub async fn run(
        &self,
        engine: &Engine,
        session: &mut Session,
        request: StatementRequest,
    ) -> Result<Running, EngineError> {
        let (entered, sql) = self.enter(session, request)?;
        let context = entered.context.clone();
        let run = engine.run(session, &sql, &context);
        entered.outcome_of(Box::pin(run)).await
    }

    /// Appends rows that a client sends to a table; `request.sql` says so in the registry.
    ///
    /// # Errors
    /// As for [`Statements::run`]; and whatever error the rows bring.
    pub async fn ingest(
        &self,
        engine: &Engine,
        session: &Session,
        request: StatementRequest,
        ingest: Ingest,
    ) -> Result<Running, EngineError> {
        let (entered, _) = self.enter(session, request)?;
        let context = entered.context.clone();
        let run = engine.ingest(session, ingest, &context);
        entered.outcome_of(Box::pin(run)).await
    }

    /// Enters a statement in the registry.
    fn enter(
        &self,
        session: &Session,
        request: StatementRequest,
    ) -> Result<(Entered, String), EngineError> {
        let timeout = session.settings.statement_timeout();
        let guard = self.begin(&request, session)?;
        let context = StatementContext {
            query_id: request.query_id,
            parameters: request.parameters,
            plan: request.plan,
            observer: Arc::new(EntryObserver {
                entry: Arc::clone(&guard.entry),
                statements: self.clone(),
            }),
        };
        let deadline = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        let limits = Limits {
            deadline,
            cancelled: Box::pin(guard.token.clone().cancelled_owned()),
            timeout,
        };
        let entered = Entered {
            context,
            limits,
            guard,
        };
        Ok((entered, request.sql))
    }

    /// What a statement takes and gives, without running it or entering it in the registry.
    ///
    /// # Errors
    /// What the engine says of the text; [`ErrorKind::ShuttingDown`].
    pub async fn prepare(
        &self,
        engine: &Engine,
        session: &Session,
        sql: &str,
        parameter_types: &[Option<DataType>],
    ) -> Result<Prepared, EngineError> {
        self.check_open()?;
        let prepare = Box::pin(engine.prepare(session, sql, parameter_types));
        let limit = session.settings.statement_timeout();
        let guarded = AssertUnwindSafe(prepare).catch_unwind();
        let done = match limit {
            Some(limit) => tokio::time::timeout(limit, guarded)
                .await
                .map_err(|_| timed_out(limit))?,
            None => guarded.await,
        };
        done.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    /// Cancels a running statement; `false` if none of that id runs.
    pub fn cancel(&self, query_id: &str) -> bool {
        let token = self
            .lock()
            .running
            .get(query_id)
            .map(|(_, token)| token.clone());
        token.inspect(CancellationToken::cancel).is_some()
    }

    /// Cancels a running statement for `user`, or for anybody; `false` if there is none of that id
    /// that the user may see.
    pub(crate) fn cancel_of(&self, query_id: &str, user: Option<&str>) -> bool {
        let registry = self.lock();
        let found = registry.running.get(query_id);
        let found = found.filter(|(entry, _)| user.is_none_or(|user| user == entry.user));
        let token = found.map(|(_, token)| token.clone());
        drop(registry);
        token.inspect(CancellationToken::cancel).is_some()
    }

    /// Cancels the running statements of a session.
    pub(crate) fn cancel_session(&self, session: Uuid) {
        let registry = self.lock();
        let running = registry.running.values();
        let tokens: Vec<_> = running
            .filter(|(entry, _)| entry.session_id == session)
            .map(|(_, token)| token.clone())
            .collect();
        drop(registry);
        for token in tokens {
            token.cancel();
        }
    }

    /// Sessions that run a statement now.
    pub(crate) fn busy_sessions(&self) -> HashSet<Uuid> {
        let registry = self.lock();
        let running = registry.running.values();
        running.map(|(entry, _)| entry.session_id).collect()
    }

    fn check_open(&self) -> Result<(), EngineError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(EngineError::new(
                ErrorKind::ShuttingDown,
                "the server is stopping and takes no new statements",
            ));
        }
        Ok(())
    }

    fn begin(&self, request: &StatementRequest, session: &Session) -> Result<Guard, EngineError> {
        self.check_open()?;
        let text: String = redacted(&request.sql).chars().take(TEXT_MAX).collect();
        let entry = Entry::new(request.query_id.clone(), session, text, request.door.name());
        let token = CancellationToken::new();
        let mut registry = self.lock();
        if registry.running.contains_key(&request.query_id) {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("a statement with query id {} is running", request.query_id),
            ));
        }
        registry.running.insert(
            request.query_id.clone(),
            (Arc::clone(&entry), token.clone()),
        );
        drop(registry);
        gauge!("tarn_statements_running").increment(1.0);
        Ok(Guard {
            statements: self.clone(),
            entry,
            token,
        })
    }

    fn ended(&self, entry: &Arc<Entry>) {
        let mut registry = self.lock();
        if registry.running.remove(&entry.query_id).is_none() {
            return;
        }
        registry.ended.push_back(Arc::clone(entry));
        while registry.ended.len() > HISTORY_MAX {
            registry.ended.pop_front();
        }
        drop(registry);
        self.workers.forget(&entry.query_id);
        gauge!("tarn_statements_running").decrement(1.0);
        let live = entry.live();
        let state = live.state.name();
        let rows = live.rows_out;
        drop(live);
        counter!("tarn_statements_total", "state" => state).increment(1);
        counter!("tarn_rows_out_total").increment(rows);
        histogram!("tarn_statement_seconds").record(entry.elapsed().as_secs_f64());
    }
}

/// A statement in the registry that has not begun yet.
struct Entered {
    context: StatementContext,
    limits: Limits,
    guard: Guard,
}

impl Entered {
    /// Waits for what comes first: the statement's outcome, its deadline or its cancellation.
    async fn outcome_of(
        mut self,
        run: impl Future<Output = Result<Outcome, EngineError>>,
    ) -> Result<Running, EngineError> {
        let run = AssertUnwindSafe(run).catch_unwind();
        let result = tokio::select! {
            biased;
            error = std::future::poll_fn(|cx| self.limits.poll(cx)) => Err(error),
            done = run => done.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
        };
        match result {
            Ok(outcome) => Ok(Running {
                query_id: self.context.query_id,
                command: outcome.command,
                affected: outcome.affected,
                rows: Some(outcome.rows),
                notices: outcome.notices,
                limits: self.limits,
                guard: self.guard,
            }),
            Err(error) => {
                self.guard.fail(&error);
                Err(error)
            }
        }
    }
}

/// The error for a defect that would otherwise end the connection without a word.
fn panicked(panic: &(dyn Any + Send)) -> EngineError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    EngineError::internal(format!("a part of Tarn failed: {text}"))
        .with_hint("this is a defect; please report it with the statement")
}

fn timed_out(limit: Duration) -> EngineError {
    let limit = limit.as_millis();
    EngineError::new(
        ErrorKind::Timeout,
        format!("the statement was cancelled by statement_timeout ({limit} ms)"),
    )
    .with_hint("SET statement_timeout = 0 lifts the limit for the session")
}

/// How often [`Statements::drain`] looks whether all have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

struct EntryObserver {
    entry: Arc<Entry>,
    statements: Statements,
}

#[async_trait]
impl Observer for EntryObserver {
    fn running(&self, plan: RunningPlan) {
        let shape = plan.shape();
        let distributed = plan.is_distributed();
        if distributed {
            self.statements.workers.expect(&self.entry.query_id);
        }
        let mut live = self.entry.live();
        live.state = State::Running;
        live.distributed = distributed;
        live.tasks_total = u32::try_from(shape.tasks).unwrap_or(u32::MAX);
        live.stages = plan.stages();
        live.plan = Some(plan);
    }

    async fn turn(&self) -> Result<(), EngineError> {
        self.statements.turn(&self.entry).await
    }
}

/// Ends an entry exactly once, as cancelled if nothing else was said.
#[derive(Debug)]
struct Guard {
    statements: Statements,
    entry: Arc<Entry>,
    token: CancellationToken,
}

impl Guard {
    fn fail(&self, error: &EngineError) {
        let state = match error.kind {
            ErrorKind::Canceled => State::Canceled,
            _ => State::Failed,
        };
        if self.entry.end(state, Some(error)) {
            if error.kind == ErrorKind::Internal || error.kind == ErrorKind::Corrupt {
                tracing::error!(query_id = %self.entry.query_id, %error, "statement failed");
            }
            self.statements.ended(&self.entry);
        }
    }

    fn finish(&self) {
        let plan = self.entry.live().plan.clone();
        if self.entry.end(State::Finished, None) {
            self.statements.ended(&self.entry);
            if let Some(plan) = plan.filter(RunningPlan::is_distributed) {
                let entry = Arc::clone(&self.entry);
                tokio::spawn(async move {
                    let totals = plan.final_totals().await;
                    let mut live = entry.live();
                    live.rows_scanned = totals.rows;
                    live.bytes_scanned = totals.bytes;
                });
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.entry.end(State::Canceled, None) {
            self.statements.ended(&self.entry);
        }
    }
}

/// Deadline and cancellation of one statement.
struct Limits {
    deadline: Option<Pin<Box<Sleep>>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    timeout: Option<Duration>,
}

impl Limits {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EngineError> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(EngineError::new(
                ErrorKind::Canceled,
                "the statement was cancelled",
            ));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(timed_out(self.timeout.unwrap_or_default()));
        }
        Poll::Pending
    }
}

/// A statement under way; its rows are a stream. Dropping it cancels the statement.
pub struct Running {
    /// Its id.
    pub query_id: String,
    /// Its command tag.
    pub command: &'static str,
    /// Rows changed, for statements without a result set.
    pub affected: Option<u64>,
    /// What it has to say besides.
    pub notices: Vec<Notice>,
    rows: Option<Rows>,
    limits: Limits,
    guard: Guard,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("query_id", &self.query_id)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Ends the statement with an error of the door's.
    pub(crate) fn fail(self, error: &EngineError) {
        self.guard.fail(error);
    }

    /// Columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.rows
            .as_ref()
            .map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), Rows::schema)
    }
}

impl Stream for Running {
    type Item = Result<RecordBatch, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(rows) = &mut this.rows else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(error) = this.limits.poll(cx) {
            this.rows = None;
            this.guard.fail(&error);
            return Poll::Ready(Some(Err(error)));
        }
        let next = catch_unwind(AssertUnwindSafe(|| rows.poll_next_unpin(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked(panic.as_ref())))));
        match next {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => {
                this.guard.entry.live().rows_out += batch.num_rows() as u64;
                Poll::Ready(Some(Ok(batch)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.rows = None;
                this.guard.fail(&error);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.rows = None;
                this.guard.finish();
                Poll::Ready(None)
            }
        }
    }
}
