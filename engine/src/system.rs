//! The `system.*` views: what the engine asks of whoever runs it.
//!
//! The coordinator answers for queries, sessions, users, tokens, workers and settings.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;

use crate::backends::Backends;
use crate::error::EngineError;

/// Who looks at the views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The session's user.
    pub user: String,
    /// Whether rows about others may be seen, and others' queries and sessions ended.
    pub is_admin: bool,
}

/// Rows of the `system.*` views at this moment.
#[async_trait]
pub trait SystemTables: Backends {
    /// The same views as `viewer` may see them: rows about others are for administrators only.
    fn seen_by(&self, viewer: &Viewer) -> Arc<dyn SystemTables>;

    /// The views that exist, sorted.
    fn names(&self) -> &[&'static str];

    /// The rows of `name`, as far as they are in memory; `None` if there is no such view. The
    /// schema is the one of [`SystemTables::load`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] if the rows do not fit their own schema.
    fn read(&self, name: &str) -> Result<Option<RecordBatch>, EngineError>;

    /// The rows of `name`, also those from the metadata database; `None` if there is no such view.
    ///
    /// # Errors
    /// As [`SystemTables::read`]; [`crate::ErrorKind::StorageUnavailable`] if the database fails.
    async fn load(&self, name: &str) -> Result<Option<RecordBatch>, EngineError>;

    /// Cancels a running query that the viewer may see; `false` if there is none of that id.
    fn kill_query(&self, query_id: &str) -> bool;

    /// Ends a session that the viewer may see; `false` if there is none of that id.
    fn kill_session(&self, session_id: &str) -> bool;
}
