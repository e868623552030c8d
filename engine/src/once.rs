//! A stream as the input of a plan.
//!
//! For operators that run a plan of DataFusion's over rows that they hold or read. Knows nothing of the rows.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

/// A plan of one partition that gives the rows of `stream`, once: it fails if it is run again.
///
/// # Errors
/// Never, as things are: DataFusion checks the schema of the stream against itself.
pub(crate) fn once(stream: SendableRecordBatchStream) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = stream.schema();
    let rows = Arc::new(Once {
        schema: Arc::clone(&schema),
        stream: Mutex::new(Some(stream)),
    });
    let plan = StreamingTableExec::try_new(schema, vec![rows], None, [], false, None)?;
    Ok(Arc::new(plan))
}

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
                    "rows of a stream were asked for twice".to_owned(),
                ))
            });
            let schema = Arc::clone(&self.schema);
            Box::pin(RecordBatchStreamAdapter::new(schema, again))
        })
    }
}
