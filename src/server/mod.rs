//! `tarn server` and `tarn worker`: wires the crates together and ends everything cleanly.

mod caches;
mod children;
mod coordinator;
mod door;
mod flight;
mod http;
mod logs;
mod machine;
mod postgres;
mod signals;
mod spill;
mod tls;
mod worker;

pub use coordinator::run as run_server;
pub use logs::start as start_logs;
pub use worker::{WorkerArgs, run as run_worker};

use std::io::Write;

/// What coordinator and workers must have alike.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the one line that scripts wait for.
fn print_ready(ready: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "ready": ready }))?;
    out.flush()
}
