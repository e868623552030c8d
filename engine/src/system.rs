//! The `system.*` views: what the engine asks of whoever runs it.
//!
//! The coordinator answers for queries and workers; the engine answers for settings.

use std::fmt::Debug;

use datafusion::arrow::record_batch::RecordBatch;

use crate::error::EngineError;

/// Rows of the `system.*` views at this moment.
pub trait SystemTables: Debug + Send + Sync {
    /// The views that exist, sorted.
    fn names(&self) -> &[&'static str];

    /// The rows of `name`; `None` if there is no such view.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] if the rows do not fit their own schema.
    fn read(&self, name: &str) -> Result<Option<RecordBatch>, EngineError>;
}
