//! One task of a write from its first row to its last file, however many partitions its rows have.
//!
//! Rows of the first partitions go into open files. Rows of partitions that there is no more room for are sorted by
//! partition, spilling as any sort does, and written afterwards with one file open at a time: memory is bounded, and
//! every partition has one file. Refuses to know plans.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{Stream, TryStreamExt};
use tarn_catalog::NewDataFile;

use super::task::WriteTask;

type Shared = Arc<tokio::sync::Mutex<WriteTask>>;

/// Writes all rows of `input`; returns the files, which are the caller's from here on.
pub(super) async fn write_all(
    task: WriteTask,
    mut input: SendableRecordBatchStream,
    elapsed: &Time,
    context: Arc<TaskContext>,
) -> Result<Vec<NewDataFile>> {
    let Some(order) = task.waiting_order() else {
        let mut task = task;
        while let Some(batch) = input.try_next().await? {
            let timer = elapsed.timer();
            task.write(&batch).await?;
            timer.done();
        }
        return task.finish().await;
    };
    let schema = task.waiting_schema();
    let task: Shared = Arc::new(tokio::sync::Mutex::new(task));
    let waiting = waiting(Arc::clone(&task), input, elapsed.clone());
    let waiting = RecordBatchStreamAdapter::new(Arc::clone(&schema), waiting);
    let once = Arc::new(Once {
        schema: Arc::clone(&schema),
        stream: Mutex::new(Some(Box::pin(waiting))),
    });
    let rows = StreamingTableExec::try_new(schema, vec![once], None, [], false, None)?;
    // Nothing comes out of the sort before all of the input went in.
    let mut sorted = SortExec::new(order, Arc::new(rows)).execute(0, context)?;
    while let Some(batch) = sorted.try_next().await? {
        let timer = elapsed.timer();
        task.lock().await.write_waiting(&batch).await?;
        timer.done();
    }
    task.lock().await.finish().await
}

/// Writes the rows that there is room for, and gives the others.
fn waiting(
    task: Shared,
    input: SendableRecordBatchStream,
    elapsed: Time,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    futures::stream::try_unfold(
        (task, input, elapsed),
        |(task, mut input, elapsed)| async move {
            while let Some(batch) = input.try_next().await? {
                let timer = elapsed.timer();
                let waiting = task.lock().await.write(&batch).await?;
                timer.done();
                if let Some(waiting) = waiting {
                    return Ok(Some((waiting, (task, input, elapsed))));
                }
            }
            Ok(None)
        },
    )
}

/// A stream as the input of a plan that runs once.
struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.take().unwrap_or_else(|| {
            let again = futures::stream::once(async {
                Err(DataFusionError::Internal(
                    "rows of a write were asked for twice".to_owned(),
                ))
            });
            let schema = Arc::clone(&self.schema);
            Box::pin(RecordBatchStreamAdapter::new(schema, again))
        })
    }
}
