//! The PostgreSQL door: clients of PostgreSQL speak to Tarn as if it were one.
//!
//! Knows the wire protocol, transactions' state and cursors; what a statement means it leaves to
//! [`crate::Statements`]. A connection is one task: [`startup`] lets it in, [`connection`] serves it.

mod cancel;
mod command;
mod connection;
mod copy;
mod decode;
mod encode;
mod extended;
mod fault;
mod message;
mod named;
mod portal;
mod simple;
mod startup;
mod transaction;
mod untrusted;
mod wire;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::Service;
use cancel::Cancels;

#[doc(hidden)]
pub use untrusted::decode_untrusted;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// SCRAM without TLS; over TLS the password itself, so that any access token can be given as one.
    Auto,
    /// SCRAM-SHA-256 always, without channel binding. Access tokens that are older than the user's
    /// last password may be refused.
    Scram,
    /// The password or access token itself, always; without TLS only from this machine.
    Password,
}

/// Bounds and ways of the door.
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions {
    /// How a client proves who it is.
    pub authentication: Authentication,
    /// A connection that has not authenticated by then is closed.
    pub authentication_timeout: Duration,
    /// Connections that may be without authentication at once; more are refused.
    pub unauthenticated_max: usize,
    /// Bytes of one message at most, once authenticated.
    pub message_bytes_max: usize,
    /// Whether clients without TLS are refused.
    pub tls_required: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            authentication: Authentication::Auto,
            authentication_timeout: Duration::from_secs(10),
            unauthenticated_max: 1000,
            message_bytes_max: 64 << 20,
            tls_required: false,
        }
    }
}

/// What the connections of the door share.
pub(crate) struct Shared {
    pub(crate) service: Service,
    pub(crate) options: PostgresOptions,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) cancels: Cancels,
    /// Places for connections that have not authenticated.
    pub(crate) waiting: Arc<Semaphore>,
    /// Set when the server stops.
    pub(crate) stop: CancellationToken,
}

/// The door, ready to serve.
pub struct PostgresDoor {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for PostgresDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresDoor").finish_non_exhaustive()
    }
}

/// How long connections may take to say goodbye when the server stops.
const GOODBYE: Duration = Duration::from_secs(2);
/// Pause after a failed accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl PostgresDoor {
    /// A door to `service`; with `tls`, clients may ask for encryption.
    pub fn new(service: Service, options: PostgresOptions, tls: Option<TlsAcceptor>) -> Self {
        Self {
            shared: Arc::new(Shared {
                service,
                options,
                tls,
                cancels: Cancels::default(),
                waiting: Arc::new(Semaphore::new(options.unauthenticated_max)),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Serves until `stop` resolves; then idle sessions are told so, running statements may finish.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        describe_gauge!("tarn_postgres_connections", "Open PostgreSQL connections.");
        describe_counter!(
            "tarn_postgres_connections_total",
            "PostgreSQL connections that were accepted."
        );
        let tracker = TaskTracker::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    counter!("tarn_postgres_connections_total").increment(1);
                    prepare_socket(&socket);
                    let shared = Arc::clone(&self.shared);
                    tracker.spawn(async move {
                        gauge!("tarn_postgres_connections").increment(1.0);
                        startup::serve(socket, peer.ip(), shared).await;
                        gauge!("tarn_postgres_connections").decrement(1.0);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a PostgreSQL connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.shared.stop.cancel();
        tracker.close();
        if tokio::time::timeout(GOODBYE + DRAIN, tracker.wait())
            .await
            .is_err()
        {
            tracing::debug!("PostgreSQL connections were still open");
        }
        Ok(())
    }
}

/// Running statements are ended by the registry within this time; see `Statements::drain`.
const DRAIN: Duration = Duration::from_secs(10);

fn prepare_socket(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}
