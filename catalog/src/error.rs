//! What can go wrong with metadata and storage, said so that a user knows what to do next.
//!
//! Every variant names the object it is about. Messages carry only their own
//! part: the cause is in [`std::error::Error::source`], printed once by
//! whoever handles the error.

use std::error::Error as StdError;
use std::sync::Arc;

use thiserror::Error;

/// The boxed cause of a [`CatalogError`].
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// Shorthand for results of this crate.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// The kind of a [`CatalogError`]: decides SQLSTATE, HTTP status and whether a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A namespace, table, snapshot or file does not exist.
    NotFound,
    /// A namespace or table of that name exists already.
    AlreadyExists,
    /// Another writer won; the statement may be retried.
    Conflict,
    /// Nobody knows whether the commit happened; files must be kept.
    CommitStateUnknown,
    /// The request contradicts itself or the table.
    Invalid,
    /// The request is meaningful but not something we do.
    Unsupported,
    /// Storage or the metadata database did not answer; may be retried.
    StorageUnavailable,
    /// Storage refused our credentials.
    StorageDenied,
    /// A metadata file is damaged or of an unknown version.
    Corrupt,
    /// A broken promise inside Tarn.
    Internal,
}

impl ErrorCode {
    /// Whether the whole statement may be tried again without harm.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Conflict | Self::StorageUnavailable => true,
            Self::NotFound
            | Self::AlreadyExists
            | Self::CommitStateUnknown
            | Self::Invalid
            | Self::Unsupported
            | Self::StorageDenied
            | Self::Corrupt
            | Self::Internal => false,
        }
    }
}

/// An error of the catalog: names the object and, where there is one, the next step.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The namespace is not in the catalog.
    #[error(
        "schema \"{namespace}\" not found in catalog \"{catalog}\"{}",
        listed("; schemas: ", existing)
    )]
    NamespaceNotFound {
        /// Catalog that was asked.
        catalog: String,
        /// Namespace that is missing.
        namespace: String,
        /// Some namespaces that exist, to help find a typing error.
        existing: Vec<String>,
    },
    /// The table is not in the catalog.
    #[error("table \"{table}\" not found in catalog \"{catalog}\"")]
    TableNotFound {
        /// Catalog that was asked.
        catalog: String,
        /// `namespace.table`.
        table: String,
    },
    /// The view is not in the catalog.
    #[error("view \"{view}\" not found in catalog \"{catalog}\"")]
    ViewNotFound {
        /// Catalog that was asked.
        catalog: String,
        /// `namespace.view`.
        view: String,
    },
    /// The snapshot is not (or no longer) in the table.
    #[error("snapshot {snapshot_id} not found in table \"{table}\"; it may have expired")]
    SnapshotNotFound {
        /// `namespace.table`.
        table: String,
        /// The id that was asked for.
        snapshot_id: i64,
    },
    /// A file that metadata refers to is gone.
    #[error("file \"{location}\" not found; {next}")]
    FileNotFound {
        /// Location of the file.
        location: String,
        /// What the user can do.
        next: String,
        /// The store's own words.
        #[source]
        source: Cause,
    },
    /// The bucket does not exist.
    #[error(
        "bucket \"{bucket}\" not found at {endpoint}; create it, or correct the warehouse or path"
    )]
    BucketNotFound {
        /// Bucket name.
        bucket: String,
        /// Endpoint that was asked.
        endpoint: String,
        /// The store's own words.
        #[source]
        source: Cause,
    },
    /// A namespace of that name exists.
    #[error("schema \"{namespace}\" already exists in catalog \"{catalog}\"")]
    NamespaceExists {
        /// Catalog that was asked.
        catalog: String,
        /// Namespace that exists.
        namespace: String,
    },
    /// A table of that name exists.
    #[error("table \"{table}\" already exists in catalog \"{catalog}\"")]
    TableExists {
        /// Catalog that was asked.
        catalog: String,
        /// `namespace.table`.
        table: String,
    },
    /// A view of that name exists.
    #[error("view \"{view}\" already exists in catalog \"{catalog}\"")]
    ViewExists {
        /// Catalog that was asked.
        catalog: String,
        /// `namespace.view`.
        view: String,
    },
    /// A column of that name exists.
    #[error("column \"{column}\" of table \"{table}\" already exists")]
    ColumnExists {
        /// `namespace.table`.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// Only empty namespaces can be dropped.
    #[error(
        "schema \"{namespace}\" is not empty{}",
        listed("; it holds: ", contents)
    )]
    NamespaceNotEmpty {
        /// Namespace that was to be dropped.
        namespace: String,
        /// Some tables, views and schemas inside it.
        contents: Vec<String>,
    },
    /// Another writer changed the table.
    #[error("table \"{table}\" was changed by another writer: {reason}; retry the statement")]
    Conflict {
        /// `namespace.table`.
        table: String,
        /// What changed.
        reason: String,
    },
    /// A commit was sent and no answer came.
    #[error(
        "the commit to table \"{table}\" was sent but its outcome is unknown; \
         read the table (snapshot {snapshot_id:?}) before you retry; no file was removed"
    )]
    CommitStateUnknown {
        /// `namespace.table`.
        table: String,
        /// Snapshot that the commit would have added.
        snapshot_id: Option<i64>,
        /// What interrupted the commit.
        #[source]
        source: Cause,
    },
    /// The request cannot be right.
    #[error("{reason}")]
    Invalid {
        /// What is wrong, naming the object.
        reason: String,
    },
    /// The request is right but not supported.
    #[error("{reason}")]
    Unsupported {
        /// What is not supported, naming the object.
        reason: String,
    },
    /// The store did not answer.
    #[error("storage did not answer for \"{location}\"; {next}")]
    StorageUnavailable {
        /// Location that was read or written.
        location: String,
        /// Endpoint, bucket and what to check.
        next: String,
        /// The store's own words.
        #[source]
        source: Cause,
    },
    /// The store refused us.
    #[error("storage denied access to \"{location}\"; {next}")]
    StorageDenied {
        /// Location that was read or written.
        location: String,
        /// Endpoint, bucket and what to check.
        next: String,
        /// The store's own words.
        #[source]
        source: Cause,
    },
    /// The metadata database failed.
    #[error(
        "the metadata database of catalog \"{catalog}\" failed to {action}; check that it is reachable"
    )]
    Database {
        /// Catalog whose database it is.
        catalog: String,
        /// What was being done.
        action: &'static str,
        /// The database's own words.
        #[source]
        source: Cause,
    },
    /// A metadata file cannot be understood.
    #[error("{what} \"{location}\" cannot be read: {reason}; {next}")]
    Corrupt {
        /// Kind of file, such as `manifest`.
        what: &'static str,
        /// Location of the file.
        location: String,
        /// What is wrong with it.
        reason: String,
        /// What the user can do.
        next: String,
    },
    /// A promise inside Tarn was broken.
    #[error("internal catalog error: {reason}")]
    Internal {
        /// What was expected and not found.
        reason: String,
    },
    /// One failure seen by several readers of the shared cache.
    #[error(transparent)]
    Shared(Arc<CatalogError>),
}

impl CatalogError {
    /// The kind of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NamespaceNotFound { .. }
            | Self::TableNotFound { .. }
            | Self::ViewNotFound { .. }
            | Self::SnapshotNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::BucketNotFound { .. } => ErrorCode::NotFound,
            Self::NamespaceExists { .. } | Self::TableExists { .. } | Self::ViewExists { .. } => {
                ErrorCode::AlreadyExists
            }
            Self::ColumnExists { .. } => ErrorCode::AlreadyExists,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::CommitStateUnknown { .. } => ErrorCode::CommitStateUnknown,
            Self::Invalid { .. } | Self::NamespaceNotEmpty { .. } => ErrorCode::Invalid,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::StorageUnavailable { .. } | Self::Database { .. } => {
                ErrorCode::StorageUnavailable
            }
            Self::StorageDenied { .. } => ErrorCode::StorageDenied,
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::Internal { .. } => ErrorCode::Internal,
            Self::Shared(inner) => inner.code(),
        }
    }

    /// The message followed by its causes, each once, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            let part = cause.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            source = cause.source();
        }
        text
    }

    /// An [`CatalogError::Invalid`] with this reason.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }

    /// An [`CatalogError::Unsupported`] with this reason.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported {
            reason: reason.into(),
        }
    }

    pub(crate) fn internal(reason: impl Into<String>) -> Self {
        Self::Internal {
            reason: reason.into(),
        }
    }

    pub(crate) fn from_shared(shared: Arc<Self>) -> Self {
        Arc::try_unwrap(shared).unwrap_or_else(Self::Shared)
    }
}

/// `"; tables: a, b, c"`, or nothing when there is nothing to list.
fn listed(prefix: &str, names: &[String]) -> String {
    const NAMES_MAX: usize = 10;
    if names.is_empty() {
        return String::new();
    }
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    format!("{prefix}{shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_schema_lists_the_ones_that_exist() {
        let error = CatalogError::NamespaceNotFound {
            catalog: "lake".into(),
            namespace: "sales".into(),
            existing: vec!["main".into(), "crm".into()],
        };
        assert_eq!(
            error.to_string(),
            "schema \"sales\" not found in catalog \"lake\"; schemas: main, crm"
        );
        assert_eq!(error.code(), ErrorCode::NotFound);
    }

    #[test]
    fn only_conflicts_and_silence_are_retryable() {
        assert!(ErrorCode::Conflict.is_retryable());
        assert!(ErrorCode::StorageUnavailable.is_retryable());
        assert!(!ErrorCode::CommitStateUnknown.is_retryable());
        assert!(!ErrorCode::StorageDenied.is_retryable());
    }
}
