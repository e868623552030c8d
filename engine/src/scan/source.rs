//! DataFusion's Parquet source with Iceberg's row-level deletes, and errors that name the data file.
//!
//! Everything but opening a file is `ParquetSource`'s own work: projections, filters (dynamic ones too), row-group
//! order, metrics. Knows files and their deletes. Refuses to know tables and snapshots.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelection;
use tarn_catalog::TYPE_META_KEY;

use super::adapter::FieldIdAdapterFactory;
use super::conform::{Evolution, FileConstants};
use super::deletes::{DeleteCache, FileDeletes};
use super::reads::Counted;

/// A Parquet source that takes deleted rows out.
#[derive(Clone)]
pub(crate) struct IcebergSource {
    parquet: Arc<dyn FileSource>,
    deletes: DeleteCache,
    /// The order that was pushed down last: `ParquetSource` does not give it back, and it must travel.
    order: Option<Vec<PhysicalSortExpr>>,
    /// Floating-point columns that may hold NaN. Parquet statistics leave NaN out, while Arrow sorts it above every
    /// number, so a filter over such a column must not prune.
    nan_columns: Arc<Vec<String>>,
    evolution: Arc<Evolution>,
}

impl IcebergSource {
    /// `deletes` reads the deletes of the files of this scan.
    pub(crate) fn new(
        parquet: Arc<dyn FileSource>,
        nan_columns: Vec<String>,
        evolution: Arc<Evolution>,
        deletes: DeleteCache,
    ) -> Self {
        Self {
            parquet,
            deletes,
            order: None,
            nan_columns: Arc::new(nan_columns),
            evolution,
        }
    }

    /// Floating-point columns that may hold NaN.
    pub(crate) fn nan_columns(&self) -> &[String] {
        &self.nan_columns
    }

    /// The same source with its filters evaluated while it decodes.
    pub(crate) fn with_row_filters(&self) -> Option<Self> {
        let parquet = self.parquet.downcast_ref::<ParquetSource>()?.clone();
        Some(Self {
            parquet: Arc::new(parquet.with_pushdown_filters(true)),
            ..self.clone()
        })
    }

    /// The plain Parquet source below.
    pub(crate) fn parquet(&self) -> &Arc<dyn FileSource> {
        &self.parquet
    }

    /// The order of rows that was asked for, if row groups are read approximately in it.
    pub(crate) fn order(&self) -> Option<&[PhysicalSortExpr]> {
        self.order.as_deref()
    }

    fn may_see_nan(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        !self.nan_columns.is_empty()
            && collect_columns(filter)
                .iter()
                .any(|column| self.nan_columns.iter().any(|name| name == column.name()))
    }

    fn with(&self, parquet: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            parquet,
            ..self.clone()
        })
    }
}

impl FileSource for IcebergSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.parquet.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = Arc::from(self.parquet.create_morselizer(
            Arc::clone(&store),
            config,
            partition,
        )?);
        Ok(Box::new(DeletingMorselizer {
            inner,
            store,
            counted: self
                .deletes
                .reads()
                .counted(self.parquet.metrics(), partition),
            deletes: self.deletes.clone(),
            own: OwnMorselizers {
                parquet: Arc::clone(&self.parquet),
                evolution: Arc::clone(&self.evolution),
                url: config.object_store_url.clone(),
                limit: config.limit,
                preserve_order: config.preserve_order,
                partition,
            },
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.with(self.parquet.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.parquet.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.parquet.supports_repartitioning()
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut answers = vec![PushedDown::No; filters.len()];
        let (mut places, mut safe) = (Vec::new(), Vec::new());
        for (place, filter) in filters.into_iter().enumerate() {
            if !self.may_see_nan(&filter) {
                places.push((place, reads_nested(&filter, self.table_schema())));
                safe.push(filter);
            }
        }
        if safe.is_empty() {
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(
                answers,
            ));
        }
        let pushed = self.parquet.try_pushdown_filters(safe, config)?;
        // A filter over a nested column may turn out, file by file, to be no row filter (its column is rebuilt by
        // field id), and the reader then drops it. Such rows are filtered above the scan.
        for (answer, (place, nested)) in pushed.filters.into_iter().zip(places) {
            if !nested {
                answers[place] = answer;
            }
        }
        Ok(FilterPushdownPropagation {
            filters: answers,
            updated_node: pushed.updated_node.map(|parquet| self.with(parquet)),
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let pushed = self.parquet.try_pushdown_sort(order, properties)?;
        Ok(pushed.map(|parquet| {
            let order = Some(order.to_vec());
            Arc::new(Self {
                parquet,
                order,
                ..self.clone()
            }) as Arc<dyn FileSource>
        }))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.parquet.try_pushdown_projection(projection)?;
        Ok(pushed.map(|parquet| self.with(parquet)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}

fn reads_nested(filter: &Arc<dyn PhysicalExpr>, schema: &TableSchema) -> bool {
    let schema = schema.table_schema();
    filter
        .exists(|expr| {
            Ok(expr.downcast_ref::<Column>().is_some_and(|column| {
                // A variant is nested in the file.
                schema.field_with_name(column.name()).is_ok_and(|field| {
                    field.data_type().is_nested() || field.metadata().contains_key(TYPE_META_KEY)
                })
            }))
        })
        .unwrap_or(true)
}

struct DeletingMorselizer {
    inner: Arc<dyn Morselizer>,
    store: Arc<dyn ObjectStore>,
    deletes: DeleteCache,
    counted: Option<Counted>,
    own: OwnMorselizers,
}

impl Debug for DeletingMorselizer {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeletingMorselizer").finish_non_exhaustive()
    }
}

/// Makes a morselizer for one file that has [`FileConstants`]: the adapter of expressions does not know which file it
/// adapts to, so such a file gets its own.
struct OwnMorselizers {
    parquet: Arc<dyn FileSource>,
    evolution: Arc<Evolution>,
    url: ObjectStoreUrl,
    limit: Option<usize>,
    preserve_order: bool,
    partition: usize,
}

impl OwnMorselizers {
    fn of(
        &self,
        constants: &FileConstants,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<Arc<dyn Morselizer>> {
        let evolution = Evolution {
            constants: constants.clone(),
            ..Evolution::clone(&self.evolution)
        };
        let adapter = Arc::new(FieldIdAdapterFactory::new(Arc::new(evolution)));
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::clone(&self.parquet))
            .with_limit(self.limit)
            .with_preserve_order(self.preserve_order)
            .with_expr_adapter(Some(adapter))
            .build();
        let morselizer =
            self.parquet
                .create_morselizer(Arc::clone(store), &config, self.partition)?;
        Ok(Arc::from(morselizer))
    }
}

impl Morselizer for DeletingMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name: Arc<str> = Arc::from(file.object_meta.location.as_ref());
        let inner = match file.extension::<FileConstants>() {
            Some(constants) => self
                .own
                .of(constants, &self.store)
                .map_err(|error| in_file(&name, error))?,
            None => Arc::clone(&self.inner),
        };
        if file.extension::<FileDeletes>().is_none() {
            let inner = inner
                .plan_file(file)
                .map_err(|error| in_file(&name, error))?;
            return Ok(Box::new(NamedPlanner { inner, name }));
        }
        Ok(Box::new(DeletesPlanner {
            inner,
            store: Arc::clone(&self.store),
            deletes: self.deletes.clone(),
            counted: self.counted.clone(),
            file,
            name,
        }))
    }
}

/// First step of a file with deletes: reads them, then hands the file with its row selection to Parquet.
///
/// The selection spans the whole file. Parquet cuts it by row group before it applies a byte range, so files with
/// deletes may be split like any other.
#[derive(Debug)]
struct DeletesPlanner {
    inner: Arc<dyn Morselizer>,
    store: Arc<dyn ObjectStore>,
    deletes: DeleteCache,
    counted: Option<Counted>,
    file: PartitionedFile,
    name: Arc<str>,
}

impl MorselPlanner for DeletesPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self {
            inner,
            store,
            deletes,
            counted,
            file,
            name,
        } = *self;
        let next = async move {
            let selection = match file.extension::<FileDeletes>() {
                Some(found) => deletes
                    .selection(&store, found, counted.as_ref())
                    .await
                    .map_err(|error| in_file(&name, error))?,
                None => Vec::new(),
            };
            let file = file.with_extension(ParquetRowSelection::new(RowSelection::from(selection)));
            let inner = inner
                .plan_file(file)
                .map_err(|error| in_file(&name, error))?;
            Ok(Box::new(NamedPlanner { inner, name }) as Box<dyn MorselPlanner>)
        };
        Ok(Some(MorselPlan::new().with_pending_planner(next)))
    }
}

/// Plans files as another does; errors name the file.
pub(crate) struct NamedMorselizer {
    inner: Box<dyn Morselizer>,
    /// What stands before a key, with a slash between, in the name that users know.
    root: String,
}

impl NamedMorselizer {
    pub(crate) fn new(inner: Box<dyn Morselizer>, root: String) -> Self {
        Self { inner, root }
    }
}

impl Debug for NamedMorselizer {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedMorselizer").finish_non_exhaustive()
    }
}

impl Morselizer for NamedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name: Arc<str> = format!("{}/{}", self.root, file.object_meta.location).into();
        let inner = self
            .inner
            .plan_file(file)
            .map_err(|error| in_file(&name, error))?;
        Ok(Box::new(NamedPlanner { inner, name }))
    }
}

/// A planner whose errors, and whose morsels' errors, name the data file.
#[derive(Debug)]
struct NamedPlanner {
    inner: Box<dyn MorselPlanner>,
    name: Arc<str>,
}

impl MorselPlanner for NamedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, name } = *self;
        let Some(mut plan) = inner.plan().map_err(|error| in_file(&name, error))? else {
            return Ok(None);
        };
        let morsels = plan.take_morsels().into_iter();
        let planners = plan.take_ready_planners().into_iter();
        let mut named = MorselPlan::new()
            .with_morsels(
                morsels
                    .map(|inner| {
                        Box::new(NamedMorsel {
                            inner,
                            name: Arc::clone(&name),
                        }) as Box<dyn Morsel>
                    })
                    .collect(),
            )
            .with_planners(
                planners
                    .map(|inner| {
                        Box::new(Self {
                            inner,
                            name: Arc::clone(&name),
                        }) as Box<dyn MorselPlanner>
                    })
                    .collect(),
            );
        if let Some(pending) = plan.take_pending_planner() {
            named.set_pending_planner(async move {
                let inner = pending.await.map_err(|error| in_file(&name, error))?;
                Ok(Box::new(Self { inner, name }) as Box<dyn MorselPlanner>)
            });
        }
        Ok(Some(named))
    }
}

#[derive(Debug)]
struct NamedMorsel {
    inner: Box<dyn Morsel>,
    name: Arc<str>,
}

impl Morsel for NamedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, name } = *self;
        inner
            .into_stream()
            .map(move |batch| batch.map_err(|error| in_file(&name, error)))
            .boxed()
    }
}

fn in_file(name: &str, error: DataFusionError) -> DataFusionError {
    error.context(format!("cannot read data file \"{name}\""))
}
