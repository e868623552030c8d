//! Writing rows into an Iceberg table's data files.
//!
//! A write is a plan that can run on workers: rows are brought together by partition, each task writes Parquet with
//! field ids and exact metrics, and tells which files it wrote. Committing them is the caller's. Refuses to know SQL,
//! catalogs and sessions.

mod align;
mod cleanup;
mod codec;
mod error;
mod exec;
mod file;
mod functions;
mod metrics;
mod options;
mod overflow;
mod plan;
mod target;
mod task;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use cleanup::{data_location, remove_files};
pub use codec::{try_decode, try_encode};
pub use error::WriteError;
pub use exec::{DATA_FILE_COLUMN, IcebergWriteExec, output_schema, parse_report};
pub(crate) use file::Upload;
pub use functions::functions;
pub use options::{DistributionMode, MetricsMode, WriteOptions};
pub use plan::write_plan;
pub use target::WriteTarget;
