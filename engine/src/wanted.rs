//! Whether anybody still waits for the rows of a plan.
//!
//! Dropping a stream aborts the tasks that feed it, but threads that are busy with those tasks end them only when it is
//! the turn of each. Leaves ask here before every batch instead: what nobody waits for stands still until it is gone.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::prelude::SessionConfig;
use futures::{Stream, StreamExt};

tokio::task_local! {
    static HERE: Wanted;
}

/// Shared by who waits for a plan's rows and the leaves of the plan. Cheap to clone.
#[derive(Clone, Default)]
pub struct Wanted {
    over: Arc<AtomicBool>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted")
            .field("over", &self.is_over())
            .finish()
    }
}

impl Wanted {
    /// Nobody waits any more.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Runs `work`, in which [`Wanted::here`] is this.
    pub async fn within<T>(self, work: impl Future<Output = T>) -> T {
        HERE.scope(self, work).await
    }

    /// What [`Wanted::within`] said of the work that asks.
    pub(crate) fn here() -> Option<Self> {
        HERE.try_with(Self::clone).ok()
    }

    /// Tells the leaves of plans that run with `config`.
    pub(crate) fn tell(&self, config: &mut SessionConfig) {
        config.set_extension(Arc::new(self.clone()));
    }

    /// `rows`, whose end or drop ends the wish for them.
    pub(crate) fn until_dropped(
        self,
        rows: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        Box::pin(Reader {
            _wish: Wish(self),
            rows,
        })
    }
}

/// `rows`, for as long as somebody waits for what the plan that runs in `context` makes of them.
pub(crate) fn while_wanted(
    context: &TaskContext,
    rows: SendableRecordBatchStream,
) -> SendableRecordBatchStream {
    match context.session_config().get_extension::<Wanted>() {
        Some(wanted) => Box::pin(Source { wanted, rows }),
        None => rows,
    }
}

/// Ends with its drop.
struct Wish(Wanted);

impl Drop for Wish {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What is read of a plan. The wish goes before the rows: it must be known when they are given up.
struct Reader {
    _wish: Wish,
    rows: SendableRecordBatchStream,
}

impl Stream for Reader {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.poll_next_unpin(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl RecordBatchStream for Reader {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

/// What a leaf gives.
struct Source {
    wanted: Arc<Wanted>,
    rows: SendableRecordBatchStream,
}

impl Stream for Source {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.wanted.is_over() {
            // Who polls is about to be dropped, and nobody wakes it.
            return Poll::Pending;
        }
        self.rows.poll_next_unpin(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl RecordBatchStream for Source {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{FutureExt, stream};

    use super::*;

    fn rows() -> SendableRecordBatchStream {
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::new_empty(Arc::clone(&schema));
        let batches = stream::repeat_with(move || Ok(batch.clone()));
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    #[tokio::test]
    async fn leaves_stand_still_when_their_reader_is_gone() {
        let wanted = Wanted::default();
        let mut config = SessionConfig::new();
        wanted.tell(&mut config);
        let context = TaskContext::default().with_session_config(config);
        let mut leaf = while_wanted(&context, rows());
        let mut reader = wanted.until_dropped(rows());
        assert!(reader.next().await.is_some());
        assert!(leaf.next().await.is_some());
        drop(reader);
        assert!(leaf.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn where_nobody_tells_leaves_go_on() {
        let mut leaf = while_wanted(&TaskContext::default(), rows());
        assert!(leaf.next().await.is_some());
    }
}
