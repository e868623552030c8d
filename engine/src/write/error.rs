//! What can go wrong while rows are written to a table.
//!
//! Knows the facts of each failure. Refuses to know how a door shows them.

use datafusion::error::DataFusionError;
use tarn_catalog::{CatalogError, ErrorCode};
use thiserror::Error;

use crate::error::{EngineError, ErrorKind, with_class};

/// An error of the write: names the table or column, and the next step.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The input does not have the table's columns.
    #[error("table \"{table}\" has {wanted} columns, and {given} were given")]
    ColumnCount {
        /// `namespace.table`.
        table: String,
        /// Columns of the table.
        wanted: usize,
        /// Columns of the input.
        given: usize,
    },
    /// NULL in a required column.
    #[error(
        "NULL in column \"{column}\" of table \"{table}\", which is required (NOT NULL); give it a value"
    )]
    Required {
        /// `namespace.table`.
        table: String,
        /// Column, with the path to it if nested.
        column: String,
    },
    /// A value does not fit the column.
    #[error("cannot store {found} in column \"{column}\" of type {wanted}")]
    Type {
        /// Column of the table.
        column: String,
        /// Type of the input.
        found: String,
        /// Type of the table.
        wanted: String,
    },
    /// A table property has no meaning.
    #[error("table property \"{name}\" is \"{value}\"; {expected}")]
    Property {
        /// Property.
        name: String,
        /// Its value.
        value: String,
        /// What it could be.
        expected: String,
    },
    /// The source column of a partition field is gone.
    #[error(
        "table \"{table}\" is partitioned by \"{field}\", whose source column is not in the table; replace the partition field"
    )]
    PartitionSource {
        /// `namespace.table`.
        table: String,
        /// Partition field.
        field: String,
    },
    /// Metadata could not be read or a value not be made.
    #[error("cannot write to table \"{table}\"")]
    Catalog {
        /// `namespace.table`.
        table: String,
        /// The catalog's own words.
        #[source]
        source: CatalogError,
    },
    /// The bytes of a shipped write are not what this version writes.
    #[error(
        "cannot decode a write from the wire: {reason}; coordinator and worker must run the same version"
    )]
    Decode {
        /// What is wrong.
        reason: String,
    },
}

impl WriteError {
    /// The class of the error, which decides status codes and retries.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Catalog { source, .. } => source.code(),
            Self::ColumnCount { .. }
            | Self::Required { .. }
            | Self::Type { .. }
            | Self::Property { .. } => ErrorCode::Invalid,
            Self::PartitionSource { .. } => ErrorCode::Unsupported,
            Self::Decode { .. } => ErrorCode::Internal,
        }
    }
}

impl WriteError {
    /// The class as statements report it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Required { .. } => ErrorKind::NotNull,
            Self::Type { .. } | Self::ColumnCount { .. } => ErrorKind::TypeMismatch,
            Self::Catalog { source, .. } => EngineError::kind_of(source),
            Self::Property { .. } | Self::PartitionSource { .. } | Self::Decode { .. } => {
                EngineError::catalog_kind(self.code())
            }
        }
    }
}

impl From<WriteError> for DataFusionError {
    fn from(error: WriteError) -> Self {
        let kind = error.kind();
        with_class(Self::External(Box::new(error)), kind)
    }
}
