//! The workers of this coordinator: who is in, and since when.
//!
//! A worker is in as long as its `Join` call is open. A killed worker's connection breaks at once;
//! one that hangs or is cut off misses its heartbeats and is put out after [`SILENCE_MAX`].

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use tarn_catalog::Stores;
use tarn_engine::cluster::{ClusterSecret, SEAL_STORAGE, TOKEN_HEADER};
use tarn_engine::distribute::ClusterChannels;
use tarn_engine::{ClusterView, WorkerRef};
use tarn_proto::cluster::cluster_server::{Cluster, ClusterServer};
use tarn_proto::cluster::{
    CacheReads, CoordinatorMessage, Heartbeat, Hello, Welcome, WorkerMessage, coordinator_message,
    worker_message,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use url::Url;

/// How often a worker reports.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A worker silent for longer is put out.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a worker's first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Lost workers that are remembered, for the statements that ran on them.
const LOST_MAX: usize = 1024;
/// Messages waiting for one worker; there is one in the protocol today.
const OUTBOX_MAX: usize = 4;

/// Whether a worker takes fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Takes fragments.
    Active,
    /// Finishes what it has and will leave.
    Draining,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Its id, new at each start.
    pub worker_id: String,
    /// Tells this time that it joined from any other.
    pub joined: u64,
    /// Where it takes fragments.
    pub url: Url,
    /// The cluster that it named.
    pub cluster: String,
    /// Its version, equal to ours.
    pub version: String,
    /// Whether it takes fragments.
    pub state: WorkerState,
    /// Its processors.
    pub cores: u32,
    /// Memory that statements hold on it, as its last heartbeat said, in bytes.
    pub memory_reserved_bytes: u64,
    /// When it joined.
    pub started_at: DateTime<Utc>,
    /// When it was last heard.
    pub last_heartbeat_at: DateTime<Utc>,
}

/// What a statement has done on one worker, as its last heartbeat said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RemoteProgress {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) tasks_done: u32,
}

fn add_reads(sum: &mut CacheReads, more: &CacheReads) {
    sum.memory_blocks += more.memory_blocks;
    sum.memory_bytes += more.memory_bytes;
    sum.disk_blocks += more.disk_blocks;
    sum.disk_bytes += more.disk_bytes;
    sum.store_blocks += more.store_blocks;
    sum.store_bytes += more.store_bytes;
    sum.store_requests += more.store_requests;
}

#[derive(Debug, Default)]
struct Roster {
    workers: HashMap<String, WorkerInfo>,
    /// By query id, then by worker id.
    progress: HashMap<String, HashMap<String, RemoteProgress>>,
    /// What all workers read of data files since this process started.
    reads: CacheReads,
    /// Times that a worker joined.
    joins: u64,
    /// Those that ended with the loss of the worker, the last one last.
    lost: VecDeque<u64>,
}

impl Roster {
    /// Remembers that `worker` is gone, unless it said so before.
    fn note_lost(&mut self, worker: &WorkerInfo) {
        if worker.state == WorkerState::Draining {
            return;
        }
        if self.lost.len() == LOST_MAX {
            self.lost.pop_front();
        }
        self.lost.push_back(worker.joined);
    }
}

/// The registry of workers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers {
    roster: Arc<Mutex<Roster>>,
    /// Is told when a worker is gone.
    gone: Arc<watch::Sender<()>>,
    version: String,
    cluster: String,
    secret: ClusterSecret,
    stores: Stores,
    channels: ClusterChannels,
}

impl Workers {
    /// A registry that admits workers of exactly `version` that name `cluster` and hold `secret`.
    pub fn new(
        version: &str,
        cluster: &str,
        secret: ClusterSecret,
        stores: Stores,
        channels: ClusterChannels,
    ) -> Self {
        Self {
            roster: Arc::default(),
            gone: Arc::new(watch::Sender::new(())),
            version: version.to_owned(),
            cluster: cluster.to_owned(),
            secret,
            stores,
            channels,
        }
    }

    /// The gRPC service that workers call.
    pub fn service(&self) -> ClusterServer<Self> {
        ClusterServer::new(self.clone())
    }

    /// Every worker, by URL.
    pub fn list(&self) -> Vec<WorkerInfo> {
        let mut all: Vec<_> = self.lock().workers.values().cloned().collect();
        all.sort_by(|a, b| a.url.cmp(&b.url));
        all
    }

    /// What the workers said last of a statement, summed.
    pub(crate) fn progress(&self, query_id: &str) -> RemoteProgress {
        let roster = self.lock();
        let mut sum = RemoteProgress::default();
        for one in roster
            .progress
            .get(query_id)
            .into_iter()
            .flat_map(HashMap::values)
        {
            sum.rows += one.rows;
            sum.bytes += one.bytes;
            sum.tasks_done += one.tasks_done;
        }
        sum
    }

    /// What the workers read of data files since this process started, those that left included.
    pub(crate) fn reads(&self, see: impl FnOnce(&CacheReads)) {
        see(&self.lock().reads);
    }

    /// Forgets a statement that has ended.
    pub(crate) fn forget(&self, query_id: &str) {
        self.lock().progress.remove(query_id);
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, hello: Hello) -> Result<WorkerInfo, Status> {
        if hello.version != self.version {
            return Err(Status::failed_precondition(format!(
                "worker has version {}, the coordinator {}; start the same build everywhere",
                hello.version, self.version
            )));
        }
        if hello.cluster != self.cluster {
            return Err(Status::failed_precondition(format!(
                "worker belongs to cluster \"{}\", this coordinator to \"{}\"; check --cluster",
                hello.cluster, self.cluster
            )));
        }
        let url = Url::parse(&hello.url)
            .map_err(|e| Status::invalid_argument(format!("worker URL \"{}\": {e}", hello.url)))?;
        let now = Utc::now();
        let mut roster = self.lock();
        roster.joins += 1;
        let worker = WorkerInfo {
            worker_id: hello.worker_id,
            joined: roster.joins,
            url,
            cluster: hello.cluster,
            version: hello.version,
            state: WorkerState::Active,
            cores: hello.cores,
            memory_reserved_bytes: 0,
            started_at: now,
            last_heartbeat_at: now,
        };
        // A worker that comes back at the same address takes the place of its former self.
        let former: Vec<_> = roster
            .workers
            .extract_if(|_, other| other.url == worker.url)
            .collect();
        for (_, former) in &former {
            roster.note_lost(former);
        }
        roster
            .workers
            .insert(worker.worker_id.clone(), worker.clone());
        drop(roster);
        self.channels.forget(&worker.url);
        if !former.is_empty() {
            self.gone.send_replace(());
        }
        tracing::info!(worker_id = %worker.worker_id, url = %worker.url, "worker joined");
        Ok(worker)
    }

    fn heard(&self, worker_id: &str, beat: Heartbeat) {
        let mut roster = self.lock();
        let Some(worker) = roster.workers.get_mut(worker_id) else {
            return;
        };
        worker.last_heartbeat_at = Utc::now();
        worker.memory_reserved_bytes = beat.memory_reserved_bytes;
        if let Some(reads) = &beat.reads {
            add_reads(&mut roster.reads, reads);
        }
        for one in beat.progress {
            // Only statements that this coordinator still runs are kept; see `expect`.
            if let Some(by_worker) = roster.progress.get_mut(&one.query_id) {
                by_worker.insert(
                    worker_id.to_owned(),
                    RemoteProgress {
                        rows: one.rows,
                        bytes: one.bytes,
                        tasks_done: one.tasks_done,
                    },
                );
            }
        }
    }

    /// Begins to keep progress of a statement that runs on workers.
    pub(crate) fn expect(&self, query_id: &str) {
        self.lock().progress.entry(query_id.to_owned()).or_default();
    }

    fn drains(&self, worker_id: &str) {
        if let Some(worker) = self.lock().workers.get_mut(worker_id) {
            worker.state = WorkerState::Draining;
            tracing::info!(worker_id, "worker drains");
        }
    }

    fn left(&self, worker: &WorkerInfo) {
        let mut roster = self.lock();
        let current = roster.workers.get(&worker.worker_id);
        // It may have joined again before its former connection was found to be broken.
        if current.is_none_or(|current| current.joined != worker.joined) {
            return;
        }
        if let Some(removed) = roster.workers.remove(&worker.worker_id) {
            roster.note_lost(&removed);
        }
        drop(roster);
        self.channels.forget(&worker.url);
        self.gone.send_replace(());
        tracing::info!(worker_id = %worker.worker_id, url = %worker.url, "worker left");
    }

    /// Follows one worker until it is gone.
    async fn follow(self, worker: WorkerInfo, mut messages: Streaming<WorkerMessage>) {
        loop {
            match tokio::time::timeout(SILENCE_MAX, messages.next()).await {
                Ok(Some(Ok(message))) => match message.message {
                    Some(worker_message::Message::Heartbeat(beat)) => {
                        self.heard(&worker.worker_id, beat);
                    }
                    Some(worker_message::Message::Draining(_)) => self.drains(&worker.worker_id),
                    Some(worker_message::Message::Hello(_)) | None => {}
                },
                Ok(Some(Err(_)) | None) => break,
                Err(_) => {
                    tracing::warn!(worker_id = %worker.worker_id, "worker is silent");
                    break;
                }
            }
        }
        self.left(&worker);
    }
}

#[tonic::async_trait]
impl ClusterView for Workers {
    fn workers(&self) -> Vec<WorkerRef> {
        self.list()
            .into_iter()
            .filter(|w| w.state == WorkerState::Active)
            .map(|w| WorkerRef {
                url: w.url,
                joined: w.joined,
            })
            .collect()
    }

    async fn lost(&self, workers: &[WorkerRef]) -> Url {
        let mut gone = self.gone.subscribe();
        loop {
            // What comes after this look is told.
            gone.mark_unchanged();
            let found = {
                let roster = self.lock();
                let lost = |worker: &&WorkerRef| roster.lost.contains(&worker.joined);
                workers.iter().find(lost).map(|worker| worker.url.clone())
            };
            if let Some(url) = found {
                return url;
            }
            if gone.changed().await.is_err() {
                // The registry is gone, and with it whoever could tell.
                std::future::pending::<()>().await;
            }
        }
    }
}

type Outbox = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for Workers {
    type JoinStream = Outbox;

    async fn join(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Outbox>, Status> {
        let token = request
            .metadata()
            .get(TOKEN_HEADER)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        if let Err(error) = self.secret.verify(token) {
            tracing::warn!(%error, "worker refused");
            return Err(Status::unauthenticated(error.to_string()));
        }
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(worker_message::Message::Hello(hello)) = first.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let storage = self.stores.config().to_sealed_json();
        let sealed = self
            .secret
            .seal(SEAL_STORAGE, storage.as_bytes())
            .map_err(|e| Status::internal(e.to_string()))?;
        let worker = self.admit(hello)?;
        let (outbox, receiver) = mpsc::channel(OUTBOX_MAX);
        let welcome = CoordinatorMessage {
            message: Some(coordinator_message::Message::Welcome(Welcome {
                sealed_storage: sealed,
            })),
        };
        let registry = self.clone();
        tokio::spawn(async move {
            // The outbox lives as long as the worker is in: its end tells the worker.
            if outbox.send(Ok(welcome)).await.is_ok() {
                registry.follow(worker, messages).await;
            } else {
                registry.left(&worker);
            }
            drop(outbox);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarn_catalog::StorageConfig;

    fn workers() -> Workers {
        let secret = ClusterSecret::new("0123456789abcdef").unwrap();
        Workers::new(
            "1.0.0",
            "default",
            secret.clone(),
            Stores::new(StorageConfig::default()),
            ClusterChannels::new(secret),
        )
    }

    fn hello(version: &str, cluster: &str, port: u16) -> Hello {
        Hello {
            worker_id: format!("w{port}"),
            url: format!("http://127.0.0.1:{port}"),
            cluster: cluster.to_owned(),
            version: version.to_owned(),
            cores: 2,
            memory_bytes: 0,
        }
    }

    #[test]
    fn another_version_or_cluster_is_refused_by_name() {
        let workers = workers();
        let error = workers.admit(hello("0.9.0", "default", 1)).unwrap_err();
        assert_eq!(error.code(), tonic::Code::FailedPrecondition);
        assert!(error.message().contains("0.9.0") && error.message().contains("1.0.0"));
        let error = workers.admit(hello("1.0.0", "other", 1)).unwrap_err();
        assert!(error.message().contains("other"));
        assert!(workers.list().is_empty());
    }

    #[test]
    fn a_draining_worker_gets_no_fragments_and_one_that_left_is_gone() {
        let workers = workers();
        let first = workers.admit(hello("1.0.0", "default", 1)).unwrap();
        workers.admit(hello("1.0.0", "default", 2)).unwrap();
        assert_eq!(workers.workers().len(), 2);
        workers.drains(&first.worker_id);
        assert_eq!(workers.workers().len(), 1);
        assert_eq!(workers.list().len(), 2);
        workers.left(&first);
        assert_eq!(workers.list().len(), 1);
    }

    #[tokio::test]
    async fn a_statement_is_told_of_a_lost_worker_and_of_no_other() {
        let workers = workers();
        let infos = [1, 2, 3].map(|port| workers.admit(hello("1.0.0", "default", port)).unwrap());
        let all = workers.workers();
        let told = |refs: Vec<WorkerRef>| {
            let workers = workers.clone();
            tokio::spawn(async move { workers.lost(&refs).await })
        };
        let (first, all) = (told(all[..1].to_vec()), told(all));
        // One that says that it leaves has ended what it did.
        workers.drains(&infos[1].worker_id);
        workers.left(&infos[1]);
        tokio::task::yield_now().await;
        assert!(!all.is_finished());
        workers.left(&infos[2]);
        assert_eq!(all.await.unwrap(), infos[2].url);
        assert!(!first.is_finished());
        // Another process at the same address is another worker.
        let mut again = hello("1.0.0", "default", 1);
        again.worker_id = "new".to_owned();
        workers.admit(again).unwrap();
        assert_eq!(first.await.unwrap(), infos[0].url);
        // It may be lost before somebody asks.
        let refs = [WorkerRef {
            url: infos[2].url.clone(),
            joined: infos[2].joined,
        }];
        assert_eq!(workers.lost(&refs).await, infos[2].url);
    }

    #[test]
    fn what_workers_read_is_summed_and_stays_when_they_leave() {
        let workers = workers();
        for port in [1, 2] {
            let worker = workers.admit(hello("1.0.0", "default", port)).unwrap();
            for _ in 0..2 {
                let reads = CacheReads {
                    store_bytes: 10,
                    ..CacheReads::default()
                };
                let beat = Heartbeat {
                    progress: Vec::new(),
                    reads: Some(reads),
                    memory_reserved_bytes: 0,
                };
                workers.heard(&worker.worker_id, beat);
            }
            workers.left(&worker);
        }
        workers.reads(|sum| assert_eq!((sum.store_bytes, sum.disk_blocks), (40, 0)));
    }

    #[test]
    fn a_worker_that_comes_back_takes_its_own_place() {
        let workers = workers();
        let old = workers.admit(hello("1.0.0", "default", 1)).unwrap();
        let mut again = hello("1.0.0", "default", 1);
        again.worker_id = "new".to_owned();
        workers.admit(again).unwrap();
        assert_eq!(workers.list().len(), 1);
        // The end of the old connection does not put the new worker out.
        workers.left(&old);
        assert_eq!(workers.list().len(), 1);
        // Nor the same one, which was cut off for a moment.
        let mut same = hello("1.0.0", "default", 1);
        same.worker_id = "new".to_owned();
        let before = workers.list().remove(0);
        workers.admit(same).unwrap();
        workers.left(&before);
        assert_eq!(workers.list().len(), 1);
    }
}
