//! Sessions, the registry of running statements, the registry of workers, and the doors.
//!
//! **Invariant: every statement of every door goes through [`Statements`]**, so that it is seen in
//! `system.queries`, can be cancelled, and ends when the server stops. A door knows its protocol;
//! the engine knows none.

mod admission;
mod flight;
mod history;
mod http;
mod identities;
mod postgres;
mod service;
mod sessions;
mod socket;
mod statements;
mod system;
mod tls;
mod workers;

pub use admission::AdmissionLimits;
#[doc(hidden)]
pub use flight::decode_untrusted_flight;
pub use flight::{FlightDoor, FlightOptions};
#[doc(hidden)]
pub use http::decode_untrusted_http;
pub use http::{Exact, HttpDoor, ResultsConfig, WorkersDoor};
pub use identities::ControlIdentities;
#[doc(hidden)]
pub use postgres::decode_untrusted;
pub use postgres::{Authentication, PostgresDoor, PostgresOptions};
pub use service::Service;
pub use sessions::{SessionEnd, SessionGuard, SessionLimits, Sessions};
pub use socket::{Patience, Peer, Socket, incoming};
pub use statements::{Door, Running, StatementRequest, Statements};
pub use system::System;
pub use tls::{HANDSHAKE_TIMEOUT, Tls, TlsError, TlsProtocol};
pub use workers::{HEARTBEAT_INTERVAL, WorkerInfo, WorkerState, Workers};
