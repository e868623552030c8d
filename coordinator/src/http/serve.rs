//! Serves HTTP/1.1 and HTTP/2 on the connections of a door, with bounds on what a client may send in
//! front of a request and how long it may take for it.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::StreamExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::socket::{Patience, Socket, incoming};
use crate::tls::Tls;

/// A request's headers come within this time; a connection without requests ends after it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's line and headers at most.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request at most.
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How often an HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until `stop` resolves, then finishes the requests under way.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let protocol = protocol();
    let stopping = CancellationToken::new();
    let connections = TaskTracker::new();
    let mut sockets = incoming(listener, tls, Patience::default());
    let mut stop = std::pin::pin!(stop);
    loop {
        let socket = tokio::select! {
            () = &mut stop => break,
            socket = sockets.next() => match socket {
                Some(socket) => socket?,
                None => break,
            },
        };
        connections.spawn(connection(
            protocol.clone(),
            router.clone(),
            socket,
            stopping.clone(),
        ));
    }
    drop(sockets);
    stopping.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

async fn connection(
    protocol: Builder<TokioExecutor>,
    router: Router,
    socket: Socket,
    stopping: CancellationToken,
) {
    let peer = socket.peer();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let serving = protocol.serve_connection(TokioIo::new(socket), service);
    let mut serving = std::pin::pin!(serving);
    let mut stopped = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(address = %peer.address, %error, "connection ended");
                }
                return;
            }
            () = stopping.cancelled(), if !stopped => {
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
