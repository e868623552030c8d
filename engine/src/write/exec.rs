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
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use tarn_catalog::{NewDataFile, Transform};

use super::overflow::write_all;
use super::target::{Order, WriteTarget};
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

/// What the input of a write has to be like. The optimizer sees to it.
#[derive(Debug, Clone, Default)]
pub struct InputNeeds {
    /// Rows of one partition stand together, so that one file is open at a time.
    pub(crate) clustered: bool,
    /// Rows of one value of this come to one task.
    pub(crate) key: Option<Arc<dyn PhysicalExpr>>,
    /// The order of the rows in each task.
    pub(crate) ordering: Option<LexOrdering>,
    /// One task writes all.
    pub(crate) single: bool,
}

/// Writes rows to a table's data files.
#[derive(Debug, Clone)]
pub struct IcebergWriteExec {
    input: Arc<dyn ExecutionPlan>,
    target: Arc<WriteTarget>,
    needs: InputNeeds,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl IcebergWriteExec {
    /// Writes the rows of `input`, whose first columns are the table's by position.
    pub fn new(input: Arc<dyn ExecutionPlan>, target: Arc<WriteTarget>, needs: InputNeeds) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&OUTPUT)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            target,
            needs,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Whether rows of one partition stand together in the input.
    pub(crate) fn clustered(&self) -> bool {
        self.needs.clustered
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

fn order_text(order: &Order) -> String {
    let fields = order.fields.iter().map(|field| {
        let column = match field.route.transform {
            Transform::Identity => field.column.clone(),
            transform => format!("{transform}({})", field.column),
        };
        let direction = if field.descending { " DESC" } else { "" };
        let nulls = if field.nulls_first { "FIRST" } else { "LAST" };
        format!("{column}{direction} NULLS {nulls}")
    });
    fields.collect::<Vec<_>>().join(", ")
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
                if let Some(order) = &self.target.order {
                    write!(f, ", order=[{}]", order_text(order))?;
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

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let wanted = match &self.needs {
            InputNeeds { single: true, .. } => Distribution::SinglePartition,
            InputNeeds { key: Some(key), .. } => {
                Distribution::KeyPartitioned(vec![Arc::clone(key)])
            }
            InputNeeds { key: None, .. } => Distribution::UnspecifiedDistribution,
        };
        InputDistributionRequirements::new(vec![wanted])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.needs.ordering.clone().map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Where rows are not routed, more tasks would only make more and smaller files.
        vec![self.needs.key.is_some()]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // What is needed of the input is not computed here.
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("IcebergWriteExec has one child".to_owned()))?;
        Ok(Arc::new(Self::new(
            input,
            Arc::clone(&self.target),
            self.needs.clone(),
        )))
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
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let store = context
            .runtime_env()
            .object_store(ObjectStoreUrl::parse(&self.target.root)?)?;
        // Storing what is buffered is to a file what spilling is to a sort.
        let reservation = MemoryConsumer::new(format!("IcebergWriteExec[{partition}]"))
            .with_can_spill(true)
            .register(context.memory_pool());
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let counts = TaskCounts {
            rows: counter("rows_written"),
            bytes: counter("bytes_written"),
            files: counter("files_written"),
            sorted: counter("rows_sorted"),
        };
        let output_rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        let elapsed = MetricBuilder::new(&self.metrics).elapsed_compute(partition);
        let target = Arc::clone(&self.target);
        let clustered = self.needs.clustered;
        let write = async move {
            let task = WriteTask::new(target, store, partition, reservation, counts, clustered)?;
            let files = write_all(task, input, &elapsed, context).await?;
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
