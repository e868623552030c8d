//! The PostgreSQL door of a coordinator: from its configuration to its end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tarn_coordinator::{PostgresDoor, Service, Tls};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, address};

/// The door, serving.
pub(super) struct Serving {
    /// Where it listens.
    pub(super) bound: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

/// Opens the door and serves.
///
/// # Errors
/// If its address cannot be listened on.
pub(super) async fn open(
    config: &Config,
    service: Service,
    tls: Option<&Tls>,
) -> anyhow::Result<Serving> {
    let mut options = config.postgres.options()?;
    options.tls_required = tls.is_some_and(Tls::required);
    let at = address("listen.postgres", &config.listen.postgres)?;
    let listener = TcpListener::bind(at).await.with_context(|| {
        format!(
            "cannot listen on {at} (PostgreSQL); is another server running? [listen] postgres sets the address"
        )
    })?;
    let bound = listener.local_addr()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let door = PostgresDoor::new(service, options, tls.map(Tls::postgres_acceptor));
    let task = tokio::spawn(door.serve(listener, stopped.cancelled_owned()));
    Ok(Serving { bound, stop, task })
}

impl Serving {
    /// Takes no new connections and tells idle sessions that the server stops.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits up to `patience` for the sessions to end.
    pub(super) async fn ended(self, patience: Duration) {
        if tokio::time::timeout(patience, self.task).await.is_err() {
            tracing::debug!("PostgreSQL connections were still open");
        }
    }
}
