//! The plan node that writes its input into data files and tells which.
//!
//! One task per input partition. Each yields one batch with a row per file: column `data_file`, the JSON of a
//! [`NewDataFile`]. Nothing is committed here. Refuses to know catalogs.

use std::fmt::Formatter;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use tarn_catalog::NewDataFile;

use super::target::WriteTarget;
use super::task::{TaskCounts, WriteTask};

/// Name of the output column.
pub const DATA_FILE_COLUMN: &str = "data_file";

static OUTPUT: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![Field::new(
        DATA_FILE_COLUMN,
        DataType::Utf8,
        false,
    )]))
});

/// Writes rows to a table's data files.
#[derive(Debug, Clone)]
pub struct IcebergWriteExec {
    input: Arc<dyn ExecutionPlan>,
    target: Arc<WriteTarget>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl IcebergWriteExec {
    /// Writes the rows of `input`, whose first columns are the table's by position.
    pub fn new(input: Arc<dyn ExecutionPlan>, target: Arc<WriteTarget>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&OUTPUT)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            target,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// What is written to.
    pub fn target(&self) -> &Arc<WriteTarget> {
        &self.target
    }
}

/// The schema of what a write reports: one row per file.
pub fn output_schema() -> SchemaRef {
    Arc::clone(&OUTPUT)
}

/// The data file that a row of a write's report tells of.
///
/// # Errors
/// If the text is not of a write of this version.
pub fn parse_report(json: &str) -> Result<NewDataFile> {
    serde_json::from_str(json).map_err(|error| not_ours(&error.to_string()))
}

fn not_ours(reason: &str) -> DataFusionError {
    DataFusionError::Internal(format!("not the output of a write: {reason}"))
}

fn to_batch(files: &[NewDataFile]) -> Result<RecordBatch> {
    let json = files
        .iter()
        .map(|file| serde_json::to_string(file).map_err(|error| not_ours(&error.to_string())));
    let column: ArrayRef = Arc::new(StringArray::from(json.collect::<Result<Vec<_>>>()?));
    Ok(RecordBatch::try_new(Arc::clone(&OUTPUT), vec![column])?)
}

impl DisplayAs for IcebergWriteExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let partition = self
            .target
            .spec
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "IcebergWriteExec: table={}", self.target.table)?;
                if !partition.is_empty() {
                    write!(f, ", partition=[{partition}]")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => writeln!(f, "table={}", self.target.table),
        }
    }
}

impl ExecutionPlan for IcebergWriteExec {
    fn name(&self) -> &'static str {
        "IcebergWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // More partitions would only make more and smaller files.
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("IcebergWriteExec has one child".to_owned()))?;
        Ok(Arc::new(Self::new(input, Arc::clone(&self.target))))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let store = context
            .runtime_env()
            .object_store(ObjectStoreUrl::parse(&self.target.root)?)?;
        let reservation = MemoryConsumer::new(format!("IcebergWriteExec[{partition}]"))
            .register(context.memory_pool());
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let counts = TaskCounts {
            rows: counter("rows_written"),
            bytes: counter("bytes_written"),
            files: counter("files_written"),
        };
        let output_rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        let elapsed = MetricBuilder::new(&self.metrics).elapsed_compute(partition);
        let target = Arc::clone(&self.target);
        let write = async move {
            let mut task = WriteTask::new(target, store, partition, reservation, counts)?;
            while let Some(batch) = input.try_next().await? {
                let timer = elapsed.timer();
                task.write(&batch).await?;
                timer.done();
            }
            let files = task.finish().await?;
            output_rows.add(files.len());
            to_batch(&files)
        };
        let stream = futures::stream::once(write);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&OUTPUT),
            stream,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
