//! Reading an Iceberg snapshot: which files, read how, by which task.
//!
//! Planning reads manifests through `tarn-catalog` and never opens a data file. Reading is DataFusion's Parquet source
//! with columns found by field id and deleted rows taken out. Refuses to know SQL, sessions and sockets.

mod adapter;
mod codec;
mod conform;
mod deletes;
mod error;
mod leaf;
mod placement;
mod projection;
mod provider;
mod pruning;
mod source;
mod stats;
mod value;
mod whole;

#[cfg(test)]
pub(crate) mod lake;
#[cfg(test)]
mod tests;

pub use codec::{try_decode, try_encode};
pub use conform::Evolution;
pub use deletes::{DeleteSource, FileDeletes};
pub use error::ScanError;
pub use leaf::{IcebergScan, ScanFacts, as_scan};
pub use placement::{bytes, scale_up};
pub use provider::IcebergTableProvider;

pub(crate) use conform::{Matching, field_id, missing, shape};
pub(crate) use projection::{bytes_above, text_above};
