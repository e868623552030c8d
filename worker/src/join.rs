//! A worker's membership in a cluster: joining, heartbeats, leaving.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tarn_engine::cluster::{ClusterSecret, CredentialError, SEAL_STORAGE, TOKEN_HEADER};
use tarn_engine::storage_from_sealed;
use tarn_engine::{RangeCache, StorageConfig};
use tarn_proto::cluster::cluster_client::ClusterClient;
use tarn_proto::cluster::{
    CacheReads, CoordinatorMessage, Draining, Heartbeat, Hello, Progress, WorkerMessage,
    coordinator_message, worker_message,
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tower::service_fn;
use url::Url;

use crate::progress::ProgressBoard;
use crate::trust::Trust;

/// Longest wait for the coordinator to accept a connection and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a worker reports.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Messages waiting for the coordinator.
const OUTBOX_MAX: usize = 16;

/// Why a worker is not in.
#[derive(Debug, Error)]
pub enum JoinError {
    /// No coordinator answers.
    #[error("no coordinator answers at {url}: {reason}; is `tarn server` running there?")]
    Unreachable {
        /// The coordinator's URL.
        url: Url,
        /// What the connection said.
        reason: String,
    },
    /// The coordinator does not want this worker; trying again is useless.
    #[error("the coordinator at {url} refused this worker: {reason}")]
    Refused {
        /// The coordinator's URL.
        url: Url,
        /// Its words.
        reason: String,
    },
    /// The coordinator's configuration cannot be used.
    #[error("the coordinator's storage configuration cannot be used: {0}")]
    Configuration(String),
}

impl JoinError {
    /// Whether the same call may work later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { .. } | Self::Configuration(_) => false,
        }
    }
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    /// New at each start.
    pub worker_id: String,
    /// Where it takes fragments, as others reach it.
    pub url: Url,
    /// Its cluster.
    pub cluster: String,
    /// Its version.
    pub version: String,
    /// Its processors.
    pub cores: u32,
    /// Memory it may use, in bytes.
    pub memory_bytes: u64,
}

/// What a worker gets when it is in.
#[derive(Debug)]
pub struct Joined {
    /// How to reach storage.
    pub storage: StorageConfig,
    /// The open membership.
    pub membership: Membership,
}

/// An open membership. Dropping it leaves the cluster.
#[derive(Debug)]
pub struct Membership {
    outbox: mpsc::Sender<WorkerMessage>,
    inbox: Streaming<CoordinatorMessage>,
}

/// Joins the cluster of the coordinator at `url`.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    url: &Url,
    identity: &WorkerIdentity,
    secret: &ClusterSecret,
    trust: &Trust,
) -> Result<Joined, JoinError> {
    let unreachable = |reason: String| JoinError::Unreachable {
        url: url.clone(),
        reason,
    };
    let channel = connect(url, trust).await.map_err(unreachable)?;
    let (outbox, receiver) = mpsc::channel(OUTBOX_MAX);
    let mut request = Request::new(ReceiverStream::new(receiver));
    if let Ok(token) = secret.token().parse() {
        request.metadata_mut().insert(TOKEN_HEADER, token);
    }
    let hello = WorkerMessage {
        message: Some(worker_message::Message::Hello(hello(identity))),
    };
    // The queue is empty and open: this does not wait.
    let _ = outbox.send(hello).await;
    let mut client = ClusterClient::new(channel);
    let mut inbox = tokio::time::timeout(CONNECT_TIMEOUT, client.join(request))
        .await
        .map_err(|_| unreachable("no answer in time".to_owned()))?
        .map_err(|status| refused(url, &status))?
        .into_inner();
    let first = tokio::time::timeout(CONNECT_TIMEOUT, inbox.message())
        .await
        .map_err(|_| unreachable("no welcome in time".to_owned()))?
        .map_err(|status| refused(url, &status))?;
    let Some(coordinator_message::Message::Welcome(welcome)) = first.and_then(|m| m.message) else {
        return Err(unreachable("the first message was no welcome".to_owned()));
    };
    let clear = secret
        .open(SEAL_STORAGE, &welcome.sealed_storage)
        .map_err(|e: CredentialError| JoinError::Configuration(e.to_string()))?;
    let storage =
        storage_from_sealed(&clear).map_err(|e| JoinError::Configuration(e.to_string()))?;
    Ok(Joined {
        storage,
        membership: Membership { outbox, inbox },
    })
}

/// A connection to the coordinator, encrypted if its URL says so.
async fn connect(url: &Url, trust: &Trust) -> Result<Channel, String> {
    let encrypted = url.scheme() == "https";
    let mut address = url.clone();
    if encrypted {
        // Encryption is the connector's; to tonic the connection looks plain.
        let port = url.port_or_known_default();
        address
            .set_scheme("http")
            .and_then(|()| address.set_port(port))
            .map_err(|()| "the URL is not usable".to_owned())?;
    }
    let endpoint = Endpoint::from_shared(address.to_string())
        .map_err(|e| e.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(HEARTBEAT_INTERVAL)
        .keep_alive_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let channel = if encrypted {
        let (url, trust) = (url.clone(), trust.clone());
        let connector = service_fn(move |_: http::Uri| {
            let (url, trust) = (url.clone(), trust.clone());
            async move { trust.connect(&url, CONNECT_TIMEOUT).await }
        });
        endpoint.connect_with_connector(connector).await
    } else {
        endpoint.connect().await
    };
    channel.map_err(|e| chain(&e))
}

fn hello(identity: &WorkerIdentity) -> Hello {
    Hello {
        worker_id: identity.worker_id.clone(),
        url: identity.url.to_string(),
        cluster: identity.cluster.clone(),
        version: identity.version.clone(),
        cores: identity.cores,
        memory_bytes: identity.memory_bytes,
    }
}

fn refused(url: &Url, status: &Status) -> JoinError {
    let url = url.clone();
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::Unimplemented => JoinError::Refused { url, reason },
        _ => JoinError::Unreachable { url, reason },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

impl Membership {
    /// Reports every second what is on `board` and what was read, until the coordinator is gone.
    pub async fn hold(&mut self, board: &ProgressBoard, reads: &CacheReport) {
        let mut tick = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if self.outbox.send(beat(board, reads.since_last())).await.is_err() {
                        return;
                    }
                }
                message = self.inbox.next() => {
                    if !matches!(message, Some(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }

    /// Asks for no more fragments.
    pub async fn drain(&self) {
        let message = WorkerMessage {
            message: Some(worker_message::Message::Draining(Draining {})),
        };
        // If the coordinator is gone, there is nobody to ask.
        let _ = self.outbox.send(message).await;
    }
}

/// What was read of data files, told bit by bit.
#[derive(Debug)]
pub struct CacheReport {
    ranges: RangeCache,
    told: Mutex<CacheReads>,
}

impl CacheReport {
    /// A report of what goes through `ranges`, of which nothing has been told.
    pub fn new(ranges: RangeCache) -> Self {
        Self {
            ranges,
            told: Mutex::default(),
        }
    }

    fn since_last(&self) -> CacheReads {
        let now = reads_of(&self.ranges);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = since(&told, &now);
        *told = now;
        since
    }
}

fn reads_of(ranges: &RangeCache) -> CacheReads {
    let stats = ranges.stats();
    CacheReads {
        memory_blocks: stats.memory_hits,
        memory_bytes: stats.memory_read_bytes,
        disk_blocks: stats.disk_hits,
        disk_bytes: stats.disk_read_bytes,
        store_blocks: stats.misses,
        store_bytes: stats.store_read_bytes,
        store_requests: stats.store_requests,
    }
}

/// What came between. These numbers only grow.
fn since(told: &CacheReads, now: &CacheReads) -> CacheReads {
    CacheReads {
        memory_blocks: now.memory_blocks - told.memory_blocks,
        memory_bytes: now.memory_bytes - told.memory_bytes,
        disk_blocks: now.disk_blocks - told.disk_blocks,
        disk_bytes: now.disk_bytes - told.disk_bytes,
        store_blocks: now.store_blocks - told.store_blocks,
        store_bytes: now.store_bytes - told.store_bytes,
        store_requests: now.store_requests - told.store_requests,
    }
}

fn beat(board: &ProgressBoard, reads: CacheReads) -> WorkerMessage {
    let progress = board
        .report()
        .into_iter()
        .map(|(query_id, p)| Progress {
            query_id,
            rows: p.rows,
            bytes: p.bytes,
            tasks_started: p.tasks_started,
            tasks_done: p.tasks_done,
        })
        .collect();
    WorkerMessage {
        message: Some(worker_message::Message::Heartbeat(Heartbeat {
            progress,
            reads: Some(reads),
            memory_reserved_bytes: board.memory_reserved(),
        })),
    }
}
