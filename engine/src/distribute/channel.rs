//! Connections to workers: kept open, with time limits, each call carrying the cluster's credential. What is shipped is
//! counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, MaybeEncoded, SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderValue};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;
use url::Url;

use crate::cluster::{ClusterSecret, TOKEN_HEADER};
use crate::error::{EngineError, ErrorKind};

/// Longest wait for a worker to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often an idle or busy connection is probed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A worker that does not answer a probe for this long is lost.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 window for one stream and for a connection, in bytes: shuffles are wide.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The metric of the coordinator that counts bytes of plans as they go to workers.
pub(super) const PLAN_BYTES: &str = "plan_bytes_shipped";
/// The label of that metric with the number of the stage.
pub(super) const STAGE_LABEL: &str = "stage";

/// The channels of one process to the workers of its cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClusterChannels {
    secret: ClusterSecret,
    open: Arc<DashMap<Url, Channel>>,
    /// Where connections live: queries that keep their threads busy must not keep a probe waiting.
    sockets: Option<Handle>,
}

impl ClusterChannels {
    /// No connection yet; each is made when it is first needed, and lives in the runtime that this is called in.
    pub fn new(secret: ClusterSecret) -> Self {
        Self {
            secret,
            open: Arc::default(),
            sockets: Handle::try_current().ok(),
        }
    }

    /// Forgets the connection to a worker that left.
    pub fn forget(&self, url: &Url) {
        self.open.remove(url);
    }

    async fn channel(&self, url: &Url) -> Result<Channel, EngineError> {
        if let Some(channel) = self.open.get(url) {
            return Ok(channel.clone());
        }
        let lost = |e: &dyn std::error::Error| {
            EngineError::new(
                ErrorKind::WorkerLost,
                format!("worker {url} cannot be reached: {e}"),
            )
            .with_hint("run the statement again; system.workers lists the workers that are left")
        };
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|e| EngineError::internal(format!("worker URL {url}: {e}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .tcp_nodelay(true);
        let connect = async move { endpoint.connect().await };
        let connected = match &self.sockets {
            Some(sockets) => AbortOnDropHandle::new(sockets.spawn(connect))
                .await
                .map_err(|e| lost(&e))?,
            None => connect.await,
        };
        let channel = connected.map_err(|e| lost(&e))?;
        self.open.insert(url.clone(), channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl ChannelResolver for ClusterChannels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.channel(url).await?;
        let secret = self.secret.clone();
        let signed = channel.map_request(move |mut request: http::Request<tonic::body::Body>| {
            if let Ok(token) = HeaderValue::from_str(&secret.token()) {
                request.headers_mut().insert(TOKEN_HEADER, token);
            }
            request
        });
        Ok(Box::new(CountedChannel {
            inner: create_worker_client(BoxCloneSyncChannel::new(signed)),
        }))
    }
}

/// A channel that counts the bytes of plans that go to the worker, for each stage, and takes it as no failure of a statement
/// if what a task counted does not come.
struct CountedChannel {
    inner: Box<dyn WorkerChannel>,
}

#[async_trait]
impl WorkerChannel for CountedChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        mut request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let plan = request.plan.encode(task)?;
        MetricBuilder::new(&metrics)
            .with_new_label(STAGE_LABEL, request.task_key.stage_id.to_string())
            .global_counter(PLAN_BYTES)
            .add(plan.len());
        request.plan = MaybeEncoded::Encoded(plan);
        let reports = self
            .inner
            .coordinator_channel(headers, request, messages, metrics, task)
            .await?;
        // A worker that is lost with all its rows sent has no counts to tell. If rows are missing, their stream fails.
        let told = reports.take_while(|report| {
            if let Err(error) = report {
                tracing::debug!(%error, "a worker was lost with the counts of its task");
            }
            std::future::ready(report.is_ok())
        });
        Ok(told.boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        self.inner
            .execute_task(headers, request, metrics, task)
            .await
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await
    }
}
