//! One task of a write from its first row to its last file, however many partitions its rows have.
//!
//! Rows of the first partitions go into open files. Rows of partitions that there is no more room for are sorted by
//! partition, spilling as any sort does, and written afterwards with one file open at a time: memory is bounded, and
//! every partition has one file. Refuses to know plans.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, TryStreamExt};
use tarn_catalog::NewDataFile;

use super::task::WriteTask;
use crate::once::once;

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
    let waiting = RecordBatchStreamAdapter::new(schema, waiting);
    let rows = once(Box::pin(waiting))?;
    // Nothing comes out of the sort before all of the input went in.
    let mut sorted = SortExec::new(order, rows).execute(0, context)?;
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
