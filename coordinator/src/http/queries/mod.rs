//! Queries that clients submit and come back for: who may see them, where their results are, and until
//! when.
//!
//! A query runs through the one registry of statements, like those of every door; here stands only
//! what the registry does not keep: the queue in front of it, idempotency keys and results. All of it
//! is bounded, and gone after a restart.

mod handlers;
mod run;
mod spool;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, TimeDelta, Utc};
use tarn_control::Principal;
use tarn_engine::{EngineError, ErrorKind, Session};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::document::QueryState;
use super::problem::{Problem, RequestError};
use crate::history::Entry;
pub(super) use handlers::{
    __path_cancel, __path_list, __path_results, __path_status, __path_submit, cancel, list,
    read_cursor, results, status, submit, try_read,
};
use spool::{Budget, Results};

/// Queries that are remembered; with as many that have not ended, more are refused.
const QUERIES_MAX: usize = 2000;
/// Queries of one user that have not ended.
const OPEN_PER_USER_MAX: usize = 200;
/// Submitted queries that run at once; others wait.
const RUNNING_MAX: usize = 32;
/// How often expired queries are looked for, at most and at least.
const SWEEP_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];
/// A query is remembered for so many times as long as its results.
const REMEMBERED_TIMES: i32 = 2;
/// Characters of a statement that are remembered.
const TEXT_MAX: usize = 10_000;

/// Bounds of kept results.
#[derive(Clone, Debug)]
pub struct ResultsConfig {
    /// The folder; emptied at the start.
    pub dir: PathBuf,
    /// How long results are kept after their query has ended.
    pub ttl: Duration,
    /// Bytes of all results.
    pub bytes_max: u64,
    /// Bytes of one result.
    pub query_bytes_max: u64,
}

/// The submitted queries. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queries {
    known: Arc<Mutex<Known>>,
    budget: Arc<Budget>,
    slots: Arc<Semaphore>,
    ttl: TimeDelta,
}

#[derive(Debug, Default)]
struct Known {
    queries: HashMap<Uuid, Arc<Submitted>>,
    /// By user id and key.
    keys: HashMap<(String, String), ([u8; 32], Uuid)>,
}

/// What tells a repeated request from a new one.
#[derive(Debug)]
pub(super) struct Idempotency {
    pub(super) key: String,
    /// Hash of the request.
    pub(super) request: [u8; 32],
}

/// One submitted query.
#[derive(Debug)]
pub(super) struct Submitted {
    id: Uuid,
    user_id: String,
    user: String,
    statement: String,
    catalog: String,
    schema: String,
    came_at: DateTime<Utc>,
    key: Option<String>,
    cancel: CancellationToken,
    life: Mutex<Life>,
    ended: watch::Sender<bool>,
}

/// What changes of a submitted query.
#[derive(Debug, Default)]
struct Life {
    /// Has left the queue.
    begun: bool,
    command: Option<&'static str>,
    affected: Option<u64>,
    columns: Option<SchemaRef>,
    outcome: Option<Outcome>,
}

/// How a submitted query ended.
#[derive(Debug)]
struct Outcome {
    at: DateTime<Utc>,
    state: QueryState,
    error: Option<Problem>,
    results: Option<Results>,
    /// Its entry in the registry, if it got that far.
    entry: Option<Arc<Entry>>,
}

impl Submitted {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    fn end(&self, done: Result<Option<Results>, EngineError>, entry: Option<Arc<Entry>>) {
        let (state, error, results) = match done {
            Ok(results) => (QueryState::Finished, None, results),
            Err(error) => {
                let state = match error.kind {
                    ErrorKind::Canceled => QueryState::Canceled,
                    _ => QueryState::Failed,
                };
                (
                    state,
                    Some(Problem::of(error, Some(self.id.to_string()))),
                    None,
                )
            }
        };
        self.life().outcome = Some(Outcome {
            at: Utc::now(),
            state,
            error,
            results,
            entry,
        });
        self.ended.send_replace(true);
    }

    /// Waits until it has ended, up to `limit`.
    async fn wait(&self, limit: Duration) {
        let mut ended = self.ended.subscribe();
        // Not in time is an answer too.
        let _ = tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await;
    }
}

impl Queries {
    /// Opens the folder of results and begins to look for expired ones.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(super) fn open(config: ResultsConfig) -> io::Result<Self> {
        let budget = Budget::open(config.dir, config.bytes_max, config.query_bytes_max)?;
        let queries = Self {
            known: Arc::default(),
            budget: Arc::new(budget),
            slots: Arc::new(Semaphore::new(RUNNING_MAX)),
            ttl: TimeDelta::from_std(config.ttl).unwrap_or(TimeDelta::MAX),
        };
        let known = Arc::downgrade(&queries.known);
        let ttl = queries.ttl;
        let [often, seldom] = SWEEP_INTERVALS;
        let interval = (config.ttl / 4).clamp(often, seldom);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(known) = known.upgrade() else { return };
                sweep(
                    &mut known.lock().unwrap_or_else(PoisonError::into_inner),
                    Utc::now(),
                    ttl,
                );
            }
        });
        Ok(queries)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: Uuid) -> Option<Arc<Submitted>> {
        self.known().queries.get(&id).cloned()
    }

    fn of_user(&self, user_id: Option<&str>) -> Vec<Arc<Submitted>> {
        self.known()
            .queries
            .values()
            .filter(|q| user_id.is_none_or(|id| q.user_id == id))
            .cloned()
            .collect()
    }

    /// Enters a query, or finds the one that the same request has entered before; `true` with a
    /// new one.
    ///
    /// # Errors
    /// [`RequestError::KeyReused`], [`RequestError::TooManyQueries`].
    fn enter(
        &self,
        principal: &Principal,
        session: &Session,
        statement: &str,
        idempotency: Option<Idempotency>,
    ) -> Result<(Arc<Submitted>, bool), RequestError> {
        let user_id = principal.id.to_string();
        let mut known = self.known();
        if let Some(idempotency) = &idempotency {
            let key = (user_id.clone(), idempotency.key.clone());
            if let Some((request, id)) = known.keys.get(&key)
                && let Some(query) = known.queries.get(id)
            {
                if *request != idempotency.request {
                    return Err(RequestError::KeyReused);
                }
                return Ok((Arc::clone(query), false));
            }
        }
        make_room(&mut known, &user_id)?;
        let query = Arc::new(Submitted {
            id: Uuid::now_v7(),
            user_id: user_id.clone(),
            user: principal.name.clone(),
            statement: statement.chars().take(TEXT_MAX).collect(),
            catalog: session.catalog.clone(),
            schema: session.schema.clone(),
            came_at: Utc::now(),
            key: idempotency.as_ref().map(|i| i.key.clone()),
            cancel: CancellationToken::new(),
            life: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        if let Some(Idempotency { key, request }) = idempotency {
            known.keys.insert((user_id, key), (request, query.id));
        }
        known.queries.insert(query.id, Arc::clone(&query));
        Ok((query, true))
    }

    /// Drops the results of a query that has ended.
    fn drop_results(query: &Submitted) {
        if let Some(outcome) = &mut query.life().outcome {
            outcome.results = None;
        }
    }
}

/// Makes room for one more query.
fn make_room(known: &mut Known, user_id: &str) -> Result<(), RequestError> {
    let open = known
        .queries
        .values()
        .filter(|q| q.user_id == user_id && !q.has_ended())
        .count();
    if open >= OPEN_PER_USER_MAX {
        return Err(RequestError::TooManyQueries {
            what: format!("{open} of your queries have not ended"),
        });
    }
    if known.queries.len() < QUERIES_MAX {
        return Ok(());
    }
    let oldest = known
        .queries
        .values()
        .filter(|q| q.has_ended())
        .min_by_key(|q| q.came_at)
        .map(|q| q.id);
    let Some(oldest) = oldest else {
        return Err(RequestError::TooManyQueries {
            what: format!("{QUERIES_MAX} queries have not ended"),
        });
    };
    forget(known, oldest);
    Ok(())
}

fn forget(known: &mut Known, id: Uuid) {
    if let Some(query) = known.queries.remove(&id)
        && let Some(key) = &query.key
    {
        known.keys.remove(&(query.user_id.clone(), key.clone()));
    }
}

/// Drops results whose time is over, and later their queries.
fn sweep(known: &mut Known, now: DateTime<Utc>, ttl: TimeDelta) {
    let mut gone = vec![];
    for query in known.queries.values() {
        if let Some(outcome) = &mut query.life().outcome {
            let age = now - outcome.at;
            if age >= ttl {
                outcome.results = None;
            }
            if ttl
                .checked_mul(REMEMBERED_TIMES)
                .is_some_and(|end| age >= end)
            {
                gone.push(query.id);
            }
        }
    }
    for id in gone {
        forget(known, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted(known: &mut Known, n: u128, user: &str, key: Option<&str>) -> Arc<Submitted> {
        let query = Arc::new(Submitted {
            id: Uuid::from_u128(n),
            user_id: user.to_owned(),
            user: user.to_owned(),
            statement: "SELECT 1".to_owned(),
            catalog: "lake".to_owned(),
            schema: "main".to_owned(),
            came_at: Utc::now(),
            key: key.map(str::to_owned),
            cancel: CancellationToken::new(),
            life: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        known.queries.insert(query.id, Arc::clone(&query));
        if let Some(key) = key {
            known
                .keys
                .insert((user.to_owned(), key.to_owned()), ([0; 32], query.id));
        }
        query
    }

    #[test]
    fn results_go_first_then_the_query_and_its_key() {
        let mut known = Known::default();
        let query = submitted(&mut known, 1, "ann", Some("k"));
        let open = submitted(&mut known, 2, "ann", None);
        query.end(Ok(None), None);
        let ttl = TimeDelta::minutes(10);
        sweep(&mut known, Utc::now() + TimeDelta::minutes(11), ttl);
        assert_eq!(known.queries.len(), 2);
        sweep(&mut known, Utc::now() + TimeDelta::minutes(21), ttl);
        assert!(known.queries.contains_key(&open.id) && known.queries.len() == 1);
        assert!(known.keys.is_empty());
        sweep(
            &mut known,
            Utc::now() + TimeDelta::days(400),
            TimeDelta::MAX,
        );
    }

    #[test]
    fn a_user_with_too_many_open_queries_waits_and_others_do_not() {
        let mut known = Known::default();
        let queries: Vec<_> = (0..OPEN_PER_USER_MAX)
            .map(|n| submitted(&mut known, n as u128, "ann", None))
            .collect();
        assert!(matches!(
            make_room(&mut known, "ann"),
            Err(RequestError::TooManyQueries { .. })
        ));
        assert!(make_room(&mut known, "bob").is_ok());
        queries[0].end(Ok(None), None);
        assert!(make_room(&mut known, "ann").is_ok());
    }

    #[test]
    fn the_oldest_ended_query_makes_room() {
        let mut known = Known::default();
        for n in 0..QUERIES_MAX {
            submitted(&mut known, n as u128, &format!("user {n}"), None);
        }
        assert!(make_room(&mut known, "ann").is_err());
        let ended = Arc::clone(&known.queries[&Uuid::from_u128(7)]);
        ended.end(Ok(None), None);
        make_room(&mut known, "ann").unwrap();
        assert!(!known.queries.contains_key(&ended.id));
        assert_eq!(known.queries.len(), QUERIES_MAX - 1);
    }
}
