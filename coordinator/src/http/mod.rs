//! The HTTP door: `POST /api/v1/sql`, health, metrics, and the workers' gRPC service beside them.
//!
//! Knows HTTP, JSON and content types; what a statement means it leaves to [`Statements`].

mod auth;
mod csv;
mod json;
mod problem;
mod sql;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::service::Service;
pub use json::Floats;
use problem::Problem;

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The door, ready to serve.
#[derive(Debug)]
pub struct HttpDoor {
    router: Router,
    ready: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) state: Service,
    ready: Arc<AtomicBool>,
    metrics: PrometheusHandle,
}

impl HttpDoor {
    /// Builds the routes. One per process: it installs the process's metrics recorder.
    ///
    /// # Errors
    /// If a metrics recorder is installed already.
    pub fn new(state: Service) -> io::Result<Self> {
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(io::Error::other)?;
        describe();
        let ready = Arc::new(AtomicBool::new(true));
        let workers = state.statements.workers().service();
        let door = Door {
            state,
            ready: Arc::clone(&ready),
            metrics,
        };
        let router = Router::new()
            .route("/api/v1/sql", post(sql::run))
            .route("/health/live", get(async || "live\n"))
            .route("/health/ready", get(readiness))
            .route("/metrics", get(exposition))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(door);
        let grpc = tonic::service::Routes::new(workers).into_axum_router();
        Ok(Self {
            router: router.merge(strip_fallback(grpc)),
            ready,
        })
    }

    /// Serves until `stop` resolves, then finishes the requests under way.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let ready = self.ready;
        let listener = listener.tap_io(|socket| {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY cannot be set");
            }
        });
        let service = self
            .router
            .into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(async move {
                stop.await;
                ready.store(false, Ordering::SeqCst);
            })
            .await
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
    describe_gauge!("tarn_workers", "Workers that belong to the cluster.");
    describe_gauge!("tarn_manifest_cache_bytes", "Bytes of manifests in memory.");
    describe_gauge!(
        "tarn_manifest_cache_entries",
        "Manifests, lists and table metadata in memory."
    );
}

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

#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
async fn exposition(State(door): State<Door>) -> Response {
    gauge!("tarn_workers").set(door.state.statements.workers().list().len() as f64);
    let cache = door.state.cache.stats();
    gauge!("tarn_manifest_cache_bytes").set(cache.bytes as f64);
    gauge!("tarn_manifest_cache_entries").set(cache.entries as f64);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, door.metrics.render()).into_response()
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::plain(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}", uri.path()),
        "POST /api/v1/sql runs statements",
    )
}

async fn wrong_method(uri: Uri) -> Problem {
    Problem::plain(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take this method", uri.path()),
        "POST /api/v1/sql runs statements",
    )
}
