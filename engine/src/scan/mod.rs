//! Reading an Iceberg snapshot: which files, read how, by which task.
//!
//! Planning reads manifests through `tarn-catalog` and never opens a data file. Reading is DataFusion's Parquet source
//! with columns found by field id and deleted rows taken out. Refuses to know SQL, sessions and sockets.

mod adapter;
mod codec;
mod conform;
mod deletes;
mod equality;
mod equality_codec;
mod equality_plan;
mod error;
mod layout;
mod leaf;
mod placement;
mod projection;
mod provider;
mod pruning;
mod reads;
mod source;
mod stats;
mod value;
mod whole;

#[cfg(test)]
mod deleted_tests;
#[cfg(test)]
pub(crate) mod lake;
#[cfg(test)]
mod tests;

pub use codec::{try_decode, try_encode};
pub use conform::{Evolution, FileConstants};
pub use deletes::{DeleteSource, FileDeletes};
pub use equality::{
    ComparedColumn, EqualityDeleteExec, EqualityDeletes, EqualityFile, EqualitySet,
};
pub use equality_codec::{try_decode as try_decode_equality, try_encode as try_encode_equality};
pub use error::ScanError;
pub use leaf::{IcebergScan, ScanFacts, as_scan};
pub use placement::{bytes, scale_up};
pub use provider::IcebergTableProvider;

pub(crate) use conform::{Matching, field_id, missing, shape};
pub(crate) use layout::hidden_names;
pub(crate) use placement::balance;
pub(crate) use projection::{bytes_above, text_above};
pub(crate) use source::NamedMorselizer;
