//! The Flight SQL door of a coordinator: from its configuration to its end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tarn_coordinator::{FlightDoor, Service, Tls};
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
    let options = config.flight.options()?;
    let at = address("listen.flight", &config.listen.flight)?;
    let listener = TcpListener::bind(at).await.with_context(|| {
        format!(
            "cannot listen on {at} (Flight SQL); is another server running? [listen] flight sets the address"
        )
    })?;
    let bound = listener.local_addr()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let door = FlightDoor::new(service, options);
    let task = tokio::spawn(door.serve(listener, tls.cloned(), stopped.cancelled_owned()));
    Ok(Serving { bound, stop, task })
}

impl Serving {
    /// Takes no new connections.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits up to `patience` for the calls under way to end.
    pub(super) async fn ended(self, patience: Duration) {
        if tokio::time::timeout(patience, self.task).await.is_err() {
            tracing::debug!("Flight connections were still open");
        }
    }
}
