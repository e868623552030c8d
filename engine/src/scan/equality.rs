//! Rows that equality deletes take out: a node above the scan of files that such deletes apply to.
//!
//! The scan below yields, after its own columns, the columns that deletes compare, the data sequence number and the
//! partition of each row's file. A row goes if a delete with its values has a larger sequence number and is of its
//! partition or of none. Delete files are read once per plan and process. Refuses to know manifests.

use std::fmt::Formatter;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    make_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef,
};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, DataFusionError, HashMap, Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use tokio::sync::OnceCell;

use super::conform::{self, Evolution, Matching, field_id};
use super::deletes::{Chosen, corrupt, delete_batches, parse};
use super::reads::{Counted, Reads, ScanFile};

/// Delete files that are read at the same time.
const FILES_IN_FLIGHT_MAX: usize = 8;
/// Memory of one key besides its bytes: the map's slot and the allocation.
const KEY_OVERHEAD_BYTES: usize = 48;

/// The scope of deletes that apply to every partition.
pub(crate) const EVERYWHERE: i32 = 0;

/// One file of equality deletes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EqualityFile {
    /// Key in the data files' store.
    pub key: String,
    /// Bytes of the file.
    pub size: u64,
    /// Snapshot that added the file.
    pub added_by: i64,
    /// Data sequence number: rows of older files go.
    pub sequence: i64,
    /// Number of the partition it applies to, or 0 for all.
    pub scope: i32,
}

/// A column that deletes compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ComparedColumn {
    /// Where it, or the struct that it is inside of, is in the input.
    pub at: usize,
    /// Positions of the fields of structs that lead to it.
    pub path: Vec<usize>,
}

/// The delete files that compare one set of columns.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EqualitySet {
    /// The compared columns.
    pub columns: Vec<ComparedColumn>,
    /// The files.
    pub files: Vec<EqualityFile>,
}

/// What the node does. Travels with the plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EqualityDeletes {
    /// `namespace.table`.
    pub table: String,
    /// Root of the store that the delete files are in.
    pub root: String,
    /// Columns of the input that are the output; the compared ones, the sequence number and the scope come after.
    pub kept: usize,
    /// Where the input has the data sequence number.
    pub sequence: usize,
    /// Where the input has the number of the partition.
    pub scope: usize,
    /// One for each set of compared columns.
    pub sets: Vec<EqualitySet>,
    /// How columns of delete files are found.
    pub evolution: Evolution,
}

/// Takes out the rows that equality deletes delete.
#[derive(Debug, Clone)]
pub struct EqualityDeleteExec {
    input: Arc<dyn ExecutionPlan>,
    deletes: Arc<EqualityDeletes>,
    keys: Arc<OnceCell<Arc<Keys>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl EqualityDeleteExec {
    /// Deletes from the rows of `input`.
    ///
    /// # Errors
    /// If the input does not have the columns that `deletes` names.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, deletes: Arc<EqualityDeletes>) -> Result<Self> {
        Self::with_keys(input, deletes, Arc::default())
    }

    fn with_keys(
        input: Arc<dyn ExecutionPlan>,
        deletes: Arc<EqualityDeletes>,
        keys: Arc<OnceCell<Arc<Keys>>>,
    ) -> Result<Self> {
        let schema = input.schema();
        let columns = schema.fields().len();
        let compared = deletes.sets.iter().flat_map(|set| &set.columns);
        let known = |column: &ComparedColumn| {
            let field = schema.fields().get(column.at);
            field.is_some_and(|field| inside(field, &column.path).is_some())
        };
        if deletes
            .kept
            .max(deletes.sequence + 1)
            .max(deletes.scope + 1)
            > columns
            || !compared.clone().all(known)
        {
            return Err(DataFusionError::Internal(
                "equality deletes name columns that the scan does not have".to_owned(),
            ));
        }
        // The output has the order and the partitioning of the input, without the columns at its end.
        let kept = (0..deletes.kept).map(|at| {
            let field = schema.field(at);
            let column = datafusion::physical_expr::expressions::Column::new(field.name(), at);
            (
                Arc::new(column) as Arc<dyn PhysicalExpr>,
                field.name().clone(),
            )
        });
        let projected = ProjectionExec::try_new(kept.collect::<Vec<_>>(), Arc::clone(&input))?;
        Ok(Self {
            input,
            deletes,
            keys,
            properties: Arc::clone(projected.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What is deleted.
    pub fn deletes(&self) -> &Arc<EqualityDeletes> {
        &self.deletes
    }
}

impl DisplayAs for EqualityDeleteExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let schema = self.input.schema();
        let sets = self.deletes.sets.iter().map(|set| {
            let names = set.columns.iter().map(|column| {
                let mut name = schema.field(column.at).name().clone();
                for depth in 1..=column.path.len() {
                    let field = inside(schema.field(column.at), &column.path[..depth]);
                    name = name + "." + field.map_or("?", |field| field.name());
                }
                name
            });
            format!("({})", names.collect::<Vec<_>>().join(", "))
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let files: usize = self.deletes.sets.iter().map(|set| set.files.len()).sum();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(
                f,
                "EqualityDeleteExec: table={}, delete_files={files}, by=[{sets}]",
                self.deletes.table
            ),
            DisplayFormatType::TreeRender => {
                writeln!(f, "table={}", self.deletes.table)?;
                writeln!(f, "delete_files={files}")
            }
        }
    }
}

impl ExecutionPlan for EqualityDeleteExec {
    fn name(&self) -> &'static str {
        "EqualityDeleteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        let [input] = <[_; 1]>::try_from(children).map_err(|_| {
            DataFusionError::Internal("EqualityDeleteExec has one child".to_owned())
        })?;
        let (deletes, keys) = (Arc::clone(&self.deletes), Arc::clone(&self.keys));
        Ok(Arc::new(Self::with_keys(input, deletes, keys)?))
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
        let (deletes, cell) = (Arc::clone(&self.deletes), Arc::clone(&self.keys));
        let (schema, input_schema) = (self.schema(), self.input.schema());
        let output = Arc::clone(&schema);
        let rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        let elapsed = MetricBuilder::new(&self.metrics).elapsed_compute(partition);
        let metrics = self.metrics.clone();
        let ready = async move {
            let load = || async {
                let from = DeleteStore::new(&deletes, &context, &metrics, partition)?;
                Keys::load(&deletes, &input_schema, &context, &from).await
            };
            let keys = cell.get_or_try_init(load).await.map_err(|error| {
                error.context(format!("cannot read table \"{}\"", deletes.table))
            })?;
            let keys = Arc::clone(keys);
            let kept = input.map(move |batch| {
                let timer = elapsed.timer();
                let batch = keys.apply(&deletes, &batch?, &output)?;
                timer.done();
                rows.add(batch.num_rows());
                Ok(batch)
            });
            Ok::<_, DataFusionError>(kept)
        };
        let stream = futures::stream::once(Box::pin(ready)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// The input's, as estimates: nobody knows how many rows go.
    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        let Some(input) = input_stats.first() else {
            return Ok(unknown());
        };
        let columns = (0..self.deletes.kept).map(|at| {
            let column = input.column_statistics.get(at).cloned();
            column.map_or_else(ColumnStatistics::new_unknown, ColumnStatistics::to_inexact)
        });
        Ok(Arc::new(Statistics {
            num_rows: input.num_rows.to_inexact(),
            total_byte_size: Precision::Absent,
            column_statistics: columns.collect(),
        }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }

    /// Filters go below: which rows a filter keeps does not change which ones are deleted.
    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }
}

/// A key as bytes, and the largest sequence number of the deletes that have it.
type Sequences = HashMap<Box<[u8]>, i64>;

/// The deleted keys of all sets.
#[derive(Debug)]
struct Keys {
    sets: Vec<KeySet>,
    /// Given back when the plan is dropped.
    _memory: MemoryReservation,
}

#[derive(Debug)]
struct KeySet {
    converter: RowConverter,
    by_scope: HashMap<i32, Sequences>,
    /// The largest sequence number of all.
    newest: i64,
}

/// The store of the delete files, as this process reads it.
struct DeleteStore {
    store: Arc<dyn ObjectStore>,
    reads: Reads,
    counted: Option<Counted>,
}

impl DeleteStore {
    fn new(
        deletes: &EqualityDeletes,
        context: &TaskContext,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Result<Self> {
        let url = ObjectStoreUrl::parse(&deletes.root)?;
        let reads = Reads::new(context.session_config(), &url);
        Ok(Self {
            store: context.runtime_env().object_store(&url)?,
            counted: reads.counted(metrics, partition),
            reads,
        })
    }

    fn file(&self, file: &ScanFile<'_>) -> Arc<dyn ObjectStore> {
        self.reads.over(&self.store, *file, self.counted.as_ref())
    }
}

impl Keys {
    async fn load(
        deletes: &EqualityDeletes,
        schema: &SchemaRef,
        context: &TaskContext,
        from: &DeleteStore,
    ) -> Result<Arc<Self>> {
        let memory = MemoryConsumer::new("EqualityDeleteExec").register(context.memory_pool());
        let mut sets = Vec::with_capacity(deletes.sets.len());
        for set in &deletes.sets {
            let compared = set.columns.iter().map(|column| {
                let field = conform::with_nested_ids(schema.field(column.at), &deletes.evolution);
                Compared {
                    field: only(&field, &column.path),
                    depth: column.path.len(),
                }
            });
            let compared: Vec<Compared> = compared.collect();
            sets.push(KeySet::load(set, &compared, &deletes.evolution, from, &memory).await?);
        }
        Ok(Arc::new(Self {
            sets,
            _memory: memory,
        }))
    }

    fn apply(
        &self,
        deletes: &EqualityDeletes,
        batch: &RecordBatch,
        output: &SchemaRef,
    ) -> Result<RecordBatch> {
        let sequences = batch.column(deletes.sequence).as_primitive::<Int64Type>();
        let scopes = batch.column(deletes.scope).as_primitive::<Int32Type>();
        let oldest = arrow::compute::min(sequences).unwrap_or(i64::MAX);
        let mut gone: Option<Vec<bool>> = None;
        for (set, keys) in deletes.sets.iter().zip(&self.sets) {
            // Rows as new as every delete have nothing to look up.
            if oldest >= keys.newest {
                continue;
            }
            let gone = gone.get_or_insert_with(|| vec![false; batch.num_rows()]);
            let columns = set.columns.iter();
            let columns = columns.map(|column| value(batch.column(column.at), &column.path));
            let rows = rows(&keys.converter, &columns.collect::<Result<Vec<_>>>()?)?;
            keys.mark(&rows, sequences, scopes, gone);
        }
        let kept = batch.columns()[..deletes.kept].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let kept = RecordBatch::try_new_with_options(Arc::clone(output), kept, &options)?;
        match gone {
            Some(gone) if gone.contains(&true) => {
                let stay: BooleanArray = gone.into_iter().map(|gone| Some(!gone)).collect();
                Ok(arrow::compute::filter_record_batch(&kept, &stay)?)
            }
            _ => Ok(kept),
        }
    }
}

impl KeySet {
    async fn load(
        set: &EqualitySet,
        compared: &[Compared],
        evolution: &Evolution,
        from: &DeleteStore,
        memory: &MemoryReservation,
    ) -> Result<Self> {
        let fields = compared.iter().map(|column| {
            let inner = inside(&column.field, &vec![0; column.depth]).unwrap_or(&column.field);
            SortField::new(inner.data_type().clone())
        });
        let converter = RowConverter::new(fields.collect())?;
        let mut by_scope: HashMap<i32, Sequences> = HashMap::new();
        let reads: Vec<_> = set
            .files
            .iter()
            .map(|file| Box::pin(read(file, compared, evolution, from, &converter, memory)))
            .collect();
        let mut reads = futures::stream::iter(reads).buffered(FILES_IN_FLIGHT_MAX);
        let mut files = set.files.iter();
        while let (Some(keys), Some(file)) = (reads.try_next().await?, files.next()) {
            let of_scope = by_scope.entry(file.scope).or_default();
            for key in keys {
                let newest = of_scope.entry(key).or_insert(file.sequence);
                *newest = (*newest).max(file.sequence);
            }
        }
        drop(reads);
        Ok(Self {
            converter,
            by_scope,
            newest: set
                .files
                .iter()
                .map(|file| file.sequence)
                .max()
                .unwrap_or(i64::MIN),
        })
    }

    fn mark(
        &self,
        rows: &Rows,
        sequences: &PrimitiveArray<Int64Type>,
        scopes: &PrimitiveArray<Int32Type>,
        gone: &mut [bool],
    ) {
        let everywhere = self.by_scope.get(&EVERYWHERE);
        // A batch is of one file, nearly always, so this is looked up once.
        let mut own: (i32, Option<&Sequences>) = (EVERYWHERE, None);
        for (row, gone) in gone.iter_mut().enumerate().filter(|(_, gone)| !**gone) {
            let scope = scopes.value(row);
            if scope != own.0 {
                own = (scope, self.by_scope.get(&scope));
            }
            let key = rows.row(row);
            let key: &[u8] = key.as_ref();
            let maps = [everywhere, own.1].into_iter().flatten();
            let newest = maps.filter_map(|keys| keys.get(key)).max();
            *gone = newest.is_some_and(|newest| *newest > sequences.value(row));
        }
    }
}

/// The keys of one delete file.
async fn read(
    file: &EqualityFile,
    compared: &[Compared],
    evolution: &Evolution,
    from: &DeleteStore,
    converter: &RowConverter,
    memory: &MemoryReservation,
) -> Result<Vec<Box<[u8]>>> {
    let find = |metadata: &ArrowReaderMetadata| {
        let found = metadata.schema().fields();
        let matching = Matching::of(found, evolution);
        let columns = compared.iter().map(|Compared { field: wanted, .. }| {
            matching.find(wanted, found, &[]).ok_or_else(|| {
                let id = field_id(wanted).unwrap_or(-1);
                corrupt(&file.key, &format!("it has no column with field id {id}"))
            })
        });
        Ok(Chosen {
            columns: columns.collect::<Result<_>>()?,
            row_groups: (0..metadata.metadata().num_row_groups()).collect(),
        })
    };
    let path = parse(&file.key)?;
    let store = from.file(&ScanFile {
        path: &path,
        size: file.size,
        added_by: file.added_by,
    });
    let (columns, mut batches) = delete_batches(&store, &file.key, file.size, find).await?;
    let places = Chosen::places(&columns);
    let mut keys = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let matching = Matching::of(batch.schema().fields(), evolution);
        let arrays = compared.iter().zip(&places).map(|(column, at)| {
            let wanted = &column.field;
            let schema = batch.schema();
            let found = schema.field(*at);
            let path = [found.name().clone()];
            let shape = conform::shape(wanted, found, &matching, evolution, &path)?;
            let found = conform::apply(&shape, batch.column(*at), wanted.data_type())?;
            value(&found, &vec![0; column.depth])
        });
        let rows = rows(converter, &arrays.collect::<Result<Vec<_>>>()?)?;
        memory.try_grow(rows.size() + rows.num_rows() * KEY_OVERHEAD_BYTES)?;
        keys.extend(rows.iter().map(|row| Box::<[u8]>::from(row.as_ref())));
    }
    Ok(keys)
}

/// A compared column as delete files have it.
struct Compared {
    /// With ids; of the structs around it only what leads to it.
    field: Field,
    /// Structs around it.
    depth: usize,
}

/// The field at the end of a path through structs.
fn inside<'a>(field: &'a Field, path: &[usize]) -> Option<&'a Field> {
    path.iter()
        .try_fold(field, |field, at| match field.data_type() {
            DataType::Struct(fields) => fields.get(*at).map(AsRef::as_ref),
            _ => None,
        })
}

/// `field` with structs that hold only what leads along `path`.
fn only(field: &Field, path: &[usize]) -> Field {
    match (field.data_type(), path) {
        (DataType::Struct(fields), [at, rest @ ..]) if *at < fields.len() => {
            let child = only(&fields[*at], rest);
            field
                .clone()
                .with_data_type(DataType::Struct(vec![child].into()))
        }
        _ => field.clone(),
    }
}

/// The values at the end of a path through structs: NULL where a struct on the way is.
fn value(column: &ArrayRef, path: &[usize]) -> Result<ArrayRef> {
    let mut column = Arc::clone(column);
    for at in path {
        let outer = column.as_struct();
        let inner = outer.column(*at);
        let nulls = NullBuffer::union(outer.nulls(), inner.nulls());
        let data = inner.to_data().into_builder().nulls(nulls).build()?;
        column = make_array(data);
    }
    Ok(column)
}

/// Values as keys. Equal are NULLs, NaNs of every kind, and what has the same bits: -0.0 is not 0.0, as in Java's
/// comparators of the reference implementation.
fn rows(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.iter().map(one_nan).collect();
    Ok(converter.convert_columns(&columns)?)
}

fn one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v };
            Arc::new(
                column
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(one),
            )
        }
        DataType::Float64 => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v };
            Arc::new(
                column
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(one),
            )
        }
        _ => Arc::clone(column),
    }
}
