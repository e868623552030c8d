//! Wire types between coordinator and workers, generated from `proto/*.proto`.
//!
//! **Invariant: `proto` knows nobody.** Its types are converted by hand where they enter a crate.

/// How a worker belongs to a cluster.
pub mod cluster {
    tonic::include_proto!("tarn.cluster.v1");
}
