//! Tarn as a library: what the binary `tarn` and the integration tests share.

pub mod client;
pub mod config;
pub mod demo;
pub mod reference;
pub mod server;
pub mod shell;
pub mod tpch;
