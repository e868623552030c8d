//! A door of a coordinator while it serves: where it listens, and how it is closed. Knows no protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::config::address;

/// A door that is bound and does not serve yet.
pub(super) struct Bound {
    /// Its protocol, for people.
    name: &'static str,
    /// Where it listens.
    pub(super) at: SocketAddr,
    pub(super) listener: TcpListener,
}

impl Bound {
    /// Listens on the address that `[listen] key` gives.
    ///
    /// # Errors
    /// If the address is none, or cannot be listened on.
    pub(super) async fn listen(
        name: &'static str,
        key: &str,
        configured: &str,
    ) -> anyhow::Result<Self> {
        let at = address(&format!("listen.{key}"), configured)?;
        let listener = TcpListener::bind(at).await.with_context(|| {
            format!(
                "cannot listen on {at} ({name}); is another server running? [listen] {key} sets the address"
            )
        })?;
        let at = listener.local_addr()?;
        Ok(Self { name, at, listener })
    }

    /// Serves with what `serve` makes of the listener and of a future that resolves when it shall end.
    pub(super) fn serve<F>(
        self,
        serve: impl FnOnce(TcpListener, WaitForCancellationFutureOwned) -> F,
    ) -> Serving
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(self.listener, stop.clone().cancelled_owned()));
        Serving {
            name: self.name,
            bound: self.at,
            stop,
            task,
        }
    }
}

/// A door, serving.
pub(super) struct Serving {
    name: &'static str,
    /// Where it listens.
    pub(super) bound: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Serving {
    /// Takes no new connections; idle sessions are told that the server stops.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops, and waits up to `patience` for what is under way.
    pub(super) async fn ended(self, patience: Duration) {
        self.stop();
        if tokio::time::timeout(patience, self.task).await.is_err() {
            tracing::debug!("{} connections were still open", self.name);
        }
    }
}
