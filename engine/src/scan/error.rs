//! What can go wrong while a snapshot scan is planned or read.
//!
//! Knows the facts of each failure. Refuses to know how a door shows them.

use datafusion::error::DataFusionError;
use tarn_catalog::{CatalogError, ErrorCode};
use thiserror::Error;

use crate::error::{EngineError, ErrorKind, with_class};

/// An error of the scan: names the table, file or column, and the next step.
#[derive(Debug, Error)]
pub enum ScanError {
    /// Metadata could not be read.
    #[error("cannot plan the scan of table \"{table}\"")]
    Metadata {
        /// `namespace.table`.
        table: String,
        /// The catalog's own words.
        #[source]
        source: CatalogError,
    },
    /// A data file is not Parquet.
    #[error(
        "table \"{table}\": data file \"{path}\" is {format}, and only Parquet data files can be read; rewrite the table as Parquet"
    )]
    NotParquet {
        /// `namespace.table`.
        table: String,
        /// Location of the file.
        path: String,
        /// Format the manifest states.
        format: String,
    },
    /// Deleted rows cannot be found, so no row may be returned.
    #[error(
        "table \"{table}\": data file \"{path}\" has {what}, which this version cannot apply; compact the table with the engine that wrote them"
    )]
    Deletes {
        /// `namespace.table`.
        table: String,
        /// Location of the data file.
        path: String,
        /// The kind of delete.
        what: String,
    },
    /// A delete file does not hold what the format promises.
    #[error("delete file \"{path}\" is corrupt: {reason}")]
    CorruptDeletes {
        /// Location of the delete file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Deletes compare a column that is not one of the table's.
    #[error(
        "table \"{table}\": equality deletes compare the column with field id {id}, which is no column of the table or inside of a list or map; compact the table with the engine that wrote them"
    )]
    EqualityColumn {
        /// `namespace.table`.
        table: String,
        /// Its field id.
        id: i32,
    },
    /// A required column is not in the file.
    #[error(
        "required column \"{column}\" (field id {id}) is missing in the data file and has no initial default; make the column optional or rewrite the file"
    )]
    RequiredMissing {
        /// Column of the table.
        column: String,
        /// Its field id, or -1.
        id: i32,
    },
    /// A type change that Iceberg does not allow.
    #[error("column \"{column}\" is {found} in the data file, which cannot be read as {wanted}")]
    Promotion {
        /// Column of the table.
        column: String,
        /// Type in the file.
        found: String,
        /// Type of the table.
        wanted: String,
    },
    /// A column of a type that is not read.
    #[error(
        "column \"{column}\" has type {ty}, which is {found} in the data file and not read; leave the column out of the query"
    )]
    Foreign {
        /// Column of the table.
        column: String,
        /// Its Iceberg type.
        ty: String,
        /// Type in the file.
        found: String,
    },
    /// A value in metadata does not fit its column.
    #[error("value of column \"{column}\" in metadata does not fit type {wanted}")]
    Value {
        /// Column of the table.
        column: String,
        /// Type of the table.
        wanted: String,
    },
    /// The bytes of a shipped scan are not what this version writes.
    #[error(
        "cannot decode a scan from the wire: {reason}; coordinator and worker must run the same version"
    )]
    Decode {
        /// What is wrong.
        reason: String,
    },
}

impl ScanError {
    /// The class of the error, which decides status codes and retries.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Metadata { source, .. } => source.code(),
            Self::NotParquet { .. }
            | Self::Deletes { .. }
            | Self::EqualityColumn { .. }
            | Self::Foreign { .. } => ErrorCode::Unsupported,
            Self::CorruptDeletes { .. }
            | Self::RequiredMissing { .. }
            | Self::Promotion { .. }
            | Self::Value { .. } => ErrorCode::Corrupt,
            Self::Decode { .. } => ErrorCode::Internal,
        }
    }
}

impl ScanError {
    /// The class as statements report it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Metadata { source, .. } => EngineError::kind_of(source),
            Self::NotParquet { .. }
            | Self::Deletes { .. }
            | Self::EqualityColumn { .. }
            | Self::Foreign { .. }
            | Self::CorruptDeletes { .. }
            | Self::RequiredMissing { .. }
            | Self::Promotion { .. }
            | Self::Value { .. }
            | Self::Decode { .. } => EngineError::catalog_kind(self.code()),
        }
    }
}

impl From<ScanError> for DataFusionError {
    fn from(error: ScanError) -> Self {
        let kind = error.kind();
        with_class(Self::External(Box::new(error)), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_that_cannot_be_applied_are_unsupported_and_name_the_file() {
        let error = ScanError::Deletes {
            table: "main.t".to_owned(),
            path: "s3://b/f.parquet".to_owned(),
            what: "equality deletes".to_owned(),
        };
        assert_eq!(error.code(), ErrorCode::Unsupported);
        assert!(error.to_string().contains("s3://b/f.parquet"));
    }
}
