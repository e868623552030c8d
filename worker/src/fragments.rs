//! The service that takes fragments: only with the cluster's credential, until told to stop.
//!
//! The only module here that names `datafusion_distributed`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use datafusion_distributed::{ExecuteTaskRequest, ProducerHead, TaskKey, Worker};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyStream, StreamBody};
use tarn_engine::cluster::{ClusterSecret, TOKEN_HEADER};
use tarn_engine::distribute::{ClusterChannels, FragmentWatch, WorkerSession};
use tarn_engine::{EngineRuntime, MemoryBudget, Processors, RangeCache, Wanted};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;

use crate::progress::ProgressBoard;

/// HTTP/2 window for one stream and for a connection, in bytes: shuffles are wide.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How often a coordinator or worker that fetches results is probed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// One that does not answer for this long is gone, and what it fetched ends.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often ended fragments are let go of.
const FORGET_INTERVAL: Duration = Duration::from_millis(400);
const FORGET_PATIENCE: Duration = Duration::from_millis(10);

/// What all fragments of a process share.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Memory, spill space, object stores.
    pub runtime: EngineRuntime,
    /// What was read of data files.
    pub ranges: RangeCache,
}

/// Serves fragments.
#[derive(Clone)]
pub struct FragmentServer {
    worker: Worker,
    secret: ClusterSecret,
    processors: Processors,
    memory: MemoryBudget,
}

impl std::fmt::Debug for FragmentServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FragmentServer").finish_non_exhaustive()
    }
}

impl FragmentServer {
    /// A server of exactly `version`, whose fragments share `reading` and are seen on `board`.
    pub fn new(
        version: &str,
        secret: ClusterSecret,
        reading: Reading,
        board: ProgressBoard,
    ) -> Self {
        let watch: FragmentWatch = Arc::new(move |query_id, plan| board.watch(query_id, plan));
        let Reading { runtime, ranges } = reading;
        let channels = ClusterChannels::new(secret.clone());
        let session = WorkerSession::new(channels, runtime.clone(), watch, ranges);
        let worker = Worker::from_session_builder(session)
            .with_runtime_env(Arc::clone(runtime.env()))
            .with_version(version.to_owned());
        Self {
            worker,
            secret,
            processors: runtime.processors().clone(),
            memory: runtime.budget().clone(),
        }
    }

    /// Serves on `listener` until `stop`, then finishes the fragments under way.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let _forgetting = self
            .processors
            .spawn(forget_ended(self.worker.clone(), self.memory));
        let guarded = Guarded {
            inner: self.worker.into_worker_server(),
            secret: self.secret,
            processors: self.processors,
        };
        // The server's own setting does not reach sockets accepted elsewhere.
        let incoming = TcpListenerStream::new(listener).map(|socket| {
            let socket = socket?;
            socket.set_nodelay(true)?;
            Ok::<_, std::io::Error>(socket)
        });
        Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(guarded)
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .map_err(std::io::Error::other)
    }
}

/// Lets go of what ended fragments hold.
///
/// `datafusion_distributed` keeps fragments in a cache that drops what was removed only when it is used again: the built
/// side of a cancelled join would stay until the next statement. Asking for a fragment that never was uses it.
#[allow(
    clippy::default_trait_access,
    reason = "the crate of the id's type is not one of ours"
)]
async fn forget_ended(worker: Worker, memory: MemoryBudget) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        if memory.reserved() == 0 {
            continue;
        }
        let nobody = ExecuteTaskRequest {
            task_key: TaskKey {
                query_id: Default::default(),
                stage_id: 0,
                task_number: 0,
            },
            target_partition_start: 0,
            target_partition_end: 0,
            producer_head: ProducerHead::None,
        };
        // It would wait for the plan of that fragment.
        let _ = tokio::time::timeout(FORGET_PATIENCE, worker.execute_task(nobody)).await;
    }
}

/// A body that ends the wish for what its call began if the caller leaves before its end.
///
/// The call that brings a fragment is answered for as long as its statement runs.
fn until_left(body: Body, wanted: Wanted) -> Body {
    let mut caller = Caller {
        wanted: Some(wanted),
    };
    let frames = BodyStream::new(body).inspect(move |frame| {
        if let Ok(frame) = frame
            && frame.is_trailers()
        {
            caller.has_all();
        }
    });
    Body::new(StreamBody::new(frames))
}

/// Who waits for the end of a body.
struct Caller {
    wanted: Option<Wanted>,
}

impl Caller {
    /// Waits no more.
    fn has_all(&mut self) {
        self.wanted = None;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(wanted) = &self.wanted {
            wanted.end();
        }
    }
}

/// Lets a call through if it carries a valid token, to the threads for queries: what it starts there stays there, and
/// sockets and heartbeats do not wait for it.
#[derive(Clone, Debug)]
struct Guarded<S> {
    inner: S,
    secret: ClusterSecret,
    processors: Processors,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> tower::Service<Request<Body>> for Guarded<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let token = request
            .headers()
            .get(TOKEN_HEADER)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        match self.secret.verify(token) {
            Ok(()) => {
                let wanted = Wanted::default();
                let call = wanted.clone().within(self.inner.call(request));
                let call = self.processors.spawn(call);
                Box::pin(async move {
                    match call.await {
                        Ok(response) => Ok(response?.map(|body| until_left(body, wanted))),
                        Err(error) => {
                            tracing::error!(%error, "fragment failed");
                            Ok(Status::internal("a part of Tarn failed on a worker").into_http())
                        }
                    }
                })
            }
            Err(error) => {
                tracing::warn!(%error, "fragment refused");
                let refused = Status::unauthenticated(error.to_string()).into_http();
                Box::pin(std::future::ready(Ok(refused)))
            }
        }
    }
}
