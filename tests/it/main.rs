//! The integration tests: the real binary, real storage, real clients.
//!
//! One binary, because linking is what costs here. Talks to Tarn only through
//! its doors; what it needs beside Tarn is installed by `make test-tools`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails loudly"
)]

mod bad_input;
mod caches;
mod clients;
mod disks;
mod ended;
mod faults;
mod files;
mod flight;
mod harness;
mod http_api;
mod identity;
mod lifecycle;
mod namespaces;
mod postgres;
mod shell;
mod slt;
mod survival;
mod temporary;
mod tls;
mod tpch;
mod types;
mod witness;
mod writers;
mod zoo;
