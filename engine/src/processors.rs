//! The threads that run queries, apart from those that talk to clients, workers and storage.
//!
//! A query that keeps every processor busy must not keep a client, a heartbeat or a small statement waiting. Knows
//! no statement and no door.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::error::EngineError;

/// Batches that are ready before they are asked for.
const BATCHES_AHEAD: usize = 2;
/// Deep plans recurse deeply, in debug builds most of all.
const THREAD_STACK_BYTES: usize = 64 * 1024 * 1024;

/// The threads. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Processors {
    runtime: Arc<Owned>,
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processors").finish_non_exhaustive()
    }
}

/// A runtime that may be dropped anywhere.
struct Owned {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Processors {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(threads: usize) -> Result<Self, EngineError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("tarn-query")
            .thread_stack_size(THREAD_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| {
                EngineError::internal(format!("no threads for queries can be started: {error}"))
            })?;
        Ok(Self {
            runtime: Arc::new(Owned {
                handle: runtime.handle().clone(),
                runtime: Some(runtime),
            }),
        })
    }

    /// Runs `work` on these threads. Dropping the handle ends it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.runtime.handle.spawn(work))
    }

    /// Runs a plan on these threads. Dropping the stream ends it.
    pub(crate) fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        task: Arc<TaskContext>,
    ) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(plan.schema(), BATCHES_AHEAD);
        let batches = builder.tx();
        let work = async move {
            let mut rows = execute_stream(plan, task)?;
            while let Some(batch) = rows.next().await {
                let failed = batch.is_err();
                if batches.send(batch).await.is_err() || failed {
                    break;
                }
            }
            Ok::<_, DataFusionError>(())
        };
        builder.spawn_on(work, &self.runtime.handle);
        builder.build()
    }
}
