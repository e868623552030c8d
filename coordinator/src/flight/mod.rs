//! The Flight SQL door: JDBC, ADBC and every other Flight SQL client.
//!
//! Knows gRPC, Flight and Arrow's IPC form. What a statement means it leaves to the engine, through
//! [`Statements`](crate::Statements); who a caller is, to `control`.

mod access;
mod actions;
mod bulk;
mod columns;
mod command;
mod info;
mod listing;
mod metadata;
mod options;
mod parallel;
mod placeholders;
mod prepared;
mod put;
mod query;
mod results;
mod service;
mod session;
mod status;
mod tickets;
mod types;
mod untrusted;
mod wire;

use std::future::Future;
use std::io;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::service::Service;
use crate::tls::Tls;
use access::{Access, Gate};
use actions::Actions;
use metadata::Metadata;
use put::Puts;
use query::Queries;
use service::FlightSql;
use session::{FlightSessions, SWEEP_INTERVAL};

#[doc(hidden)]
pub use untrusted::decode_untrusted_flight;

/// Bytes of a message of a handshake, whose sender is not known yet.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of HTTP/2 flow control for what clients send, per call and per connection.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Calls under way on one connection at most.
const CALLS_MAX: u32 = 1024;
/// How often a silent connection is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct FlightOptions {
    /// Where clients are told to fetch results; nowhere means on the connection that they have.
    pub advertise_url: Option<String>,
    /// How long a ticket is good that nobody fetches.
    pub ticket_life: Duration,
    /// How long a session outlives its last connection.
    pub session_linger: Duration,
    /// Endpoints of a result whose order does not matter.
    pub endpoints: usize,
    /// Bytes of one message that a client sends.
    pub message_bytes_max: usize,
}

/// The door, ready to serve.
#[derive(Debug)]
pub struct FlightDoor {
    gate: Gate,
    sessions: FlightSessions,
    linger: Duration,
}

impl FlightDoor {
    /// Puts the door together.
    pub fn new(service: Service, options: FlightOptions) -> Self {
        let sessions = FlightSessions::default();
        let linger = options.session_linger;
        let bytes_max = options.message_bytes_max;
        let access = Access::new(service.clone(), sessions.clone());
        let metadata = Metadata::new(service.clone());
        let queries = Queries {
            service,
            options,
            sessions: sessions.clone(),
        };
        let flight = FlightSql {
            access: access.clone(),
            metadata,
            puts: Puts::new(queries.clone()),
            actions: Actions::new(queries.clone()),
            queries,
        };
        let server = |bytes| {
            FlightServiceServer::new(flight.clone())
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(usize::MAX)
        };
        Self {
            gate: Gate::new(access, server(HANDSHAKE_BYTES_MAX), server(bytes_max)),
            sessions,
            linger,
        }
    }

    /// Serves until `stop` resolves, then finishes the calls under way.
    ///
    /// # Errors
    /// If the server cannot be set up.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Tls>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (sessions, linger) = (self.sessions, self.linger);
        let sweeper = tokio::spawn(async move {
            let mut every = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                every.tick().await;
                sessions.sweep(linger);
            }
        });
        let served = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(CALLS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(self.gate)
            .serve_with_incoming_shutdown(wire::incoming(listener, tls), stop)
            .await;
        sweeper.abort();
        served.map_err(io::Error::other)
    }
}
