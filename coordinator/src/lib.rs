//! Sessions, the registry of running statements, the registry of workers, and the doors.
//!
//! **Invariant: every statement of every door goes through [`Statements`]**, so that it is seen in
//! `system.queries`, can be cancelled, and ends when the server stops. A door knows its protocol;
//! the engine knows none.

mod history;
mod http;
mod service;
mod sessions;
mod statements;
mod system;
mod workers;

pub use http::{Floats, HttpDoor};
pub use service::Service;
pub use sessions::Sessions;
pub use statements::{Door, Running, StatementRequest, Statements};
pub use system::System;
pub use workers::{HEARTBEAT_INTERVAL, WorkerInfo, WorkerState, Workers};
