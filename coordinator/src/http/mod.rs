//! The HTTP door: statements and queries under `/api/v1`, their description, health, metrics, and the
//! workers' gRPC service beside them.
//!
//! Knows HTTP, JSON and content types; what a statement means it leaves to [`Statements`].

mod answer;
mod auth;
mod caches;
mod csv;
mod document;
mod json;
mod problem;
mod queries;
mod readable;
mod request;
mod routes;
mod serve;
mod sql;
mod untrusted;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::service::Service;
use crate::tls::Tls;
pub use json::Exact;
use queries::Queries;
pub use queries::ResultsConfig;
pub use untrusted::decode_untrusted_http;

/// The door, ready to serve.
#[derive(Debug)]
pub struct HttpDoor {
    router: Router,
    grpc: Router,
    ready: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) state: Service,
    queries: Queries,
    ready: Arc<AtomicBool>,
    metrics: PrometheusHandle,
}

impl HttpDoor {
    /// Builds the routes. One per process: it installs the process's metrics recorder.
    ///
    /// # Errors
    /// If a metrics recorder is installed already, or results cannot be kept where they should.
    pub fn new(state: Service, results: ResultsConfig) -> io::Result<Self> {
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(io::Error::other)?;
        describe();
        let ready = Arc::new(AtomicBool::new(true));
        let workers = state.statements.workers().service();
        let door = Door {
            state,
            queries: Queries::open(results)?,
            ready: Arc::clone(&ready),
            metrics,
        };
        let router = routes::router(door);
        let grpc = strip_fallback(tonic::service::Routes::new(workers).into_axum_router());
        Ok(Self {
            router: router.merge(grpc.clone()),
            grpc,
            ready,
        })
    }

    /// A door for the workers of this machine only: without TLS, and with nothing but their
    /// registration behind it.
    pub fn workers(&self) -> WorkersDoor {
        WorkersDoor {
            router: self.grpc.clone(),
        }
    }

    /// Serves until `stop` resolves, then finishes the requests under way.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Tls>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let ready = self.ready;
        serve::serve(self.router, listener, tls, async move {
            stop.await;
            ready.store(false, Ordering::SeqCst);
        })
        .await
    }
}

/// Where workers of this machine register when the HTTP door speaks TLS: its certificate need not be
/// one for a loopback address.
#[derive(Debug)]
pub struct WorkersDoor {
    router: Router,
}

impl WorkersDoor {
    /// Serves until `stop` resolves.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        serve::serve(self.router, listener, None, stop).await
    }
}

/// The gRPC routes without tonic's own "unimplemented" fallback: unknown paths are HTTP's.
fn strip_fallback(grpc: Router) -> Router {
    grpc.reset_fallback()
}

fn describe() {
    describe_gauge!("tarn_statements_running", "Statements that run now.");
    describe_counter!("tarn_statements_total", "Statements that ended, by state.");
    describe_counter!("tarn_rows_out_total", "Rows sent to clients.");
    describe_histogram!("tarn_statement_seconds", "How long statements took.");
    describe_gauge!(
        "tarn_statements_queued",
        "Statements that wait for their turn."
    );
    describe_gauge!(
        "tarn_memory_reserved_bytes",
        "Bytes that operators of statements hold in this process."
    );
    describe_gauge!(
        "tarn_memory_limit_bytes",
        "Bytes that they may hold together."
    );
    describe_gauge!("tarn_spill_bytes", "Bytes in spill files of this process.");
    describe_gauge!("tarn_workers", "Workers that belong to the cluster.");
    caches::describe();
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "server",
    security(()),
    responses((status = 200, description = "It lives", body = String, content_type = "text/plain")),
)]
async fn liveness() -> &'static str {
    "live\n"
}

/// Whether the server takes statements.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It stops, or its metadata database does not answer", body = String, content_type = "text/plain"),
    ),
)]
async fn readiness(State(door): State<Door>) -> Response {
    if door.state.statements.is_closed() || !door.ready.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match door.state.control.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "metadata database does not answer");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "metadata database does not answer\n",
            )
                .into_response()
        }
    }
}

/// Metrics as Prometheus reads them.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    security(()),
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
async fn exposition(State(door): State<Door>) -> Response {
    gauge!("tarn_workers").set(door.state.statements.workers().list().len() as f64);
    caches::expose(&door.state);
    let runtime = door.state.engine.runtime();
    gauge!("tarn_memory_reserved_bytes").set(runtime.budget().reserved() as f64);
    gauge!("tarn_memory_limit_bytes").set(runtime.budget().limits().process_bytes as f64);
    gauge!("tarn_spill_bytes").set(runtime.spilled_bytes() as f64);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, door.metrics.render()).into_response()
}
