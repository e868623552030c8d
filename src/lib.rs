//! Tarn as a library: what the binary `tarn` and the integration tests share.

pub mod client;
pub mod demo;
pub mod shell;
pub mod tpch;
