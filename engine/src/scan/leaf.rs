//! The physical leaf of a scan: DataFusion's file scan, wearing the table's name and numbers.
//!
//! Every capability (repartitioning, projection, filters, order, fetch, metrics) is the inner
//! [`FileScanConfig`]'s and is re-wrapped here. Refuses to know how files were chosen.

use std::any::Any;
use std::fmt::Formatter;
use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::{DataSource, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, SortOrderPushdownResult};
use datafusion_datasource::PartitionedFile;
use futures::StreamExt;

use super::adapter::FieldIdAdapterFactory;
use super::conform::Evolution;
use super::deletes::FileDeletes;
use super::source::IcebergSource;
use crate::wanted::while_wanted;

/// How many bytes of memory one stored (compressed) byte of a column of variable width is taken to be.
const EXPANSION: usize = 3;

/// Facts about a scan that EXPLAIN and metrics show. They travel with the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScanFacts {
    /// `namespace.table`.
    pub table: String,
    /// The pinned snapshot. `None` for a table without one.
    pub snapshot_id: Option<i64>,
    /// Live data files of the manifests that were read, before pruning.
    pub files_total: u64,
    /// Of those, files that no row of the answer can be in.
    pub files_pruned: u64,
    /// Manifests of the snapshot.
    pub manifests_total: u64,
    /// Of those, manifests that were not read.
    pub manifests_pruned: u64,
    /// Stored bytes of each column over the files of the scan. Missing where manifests do not say.
    pub column_bytes: Vec<(String, u64)>,
}

/// A scan of one snapshot's files in one object store.
#[derive(Debug, Clone)]
pub struct IcebergScan {
    inner: FileScanConfig,
    facts: Arc<ScanFacts>,
    evolution: Arc<Evolution>,
}

impl IcebergScan {
    /// Wraps a file scan whose source is an [`IcebergSource`], and lets it find columns by field id.
    pub(crate) fn new(
        inner: FileScanConfig,
        facts: Arc<ScanFacts>,
        evolution: Arc<Evolution>,
    ) -> Self {
        let adapter = Arc::new(FieldIdAdapterFactory::new(Arc::clone(&evolution)));
        let inner = FileScanConfigBuilder::from(inner)
            .with_expr_adapter(Some(adapter))
            .build();
        Self {
            inner,
            facts,
            evolution,
        }
    }

    /// As a plan node.
    pub fn into_plan(self) -> Arc<dyn ExecutionPlan> {
        DataSourceExec::from_data_source(self)
    }

    /// The file scan below: file groups, projection, limit, store.
    pub fn config(&self) -> &FileScanConfig {
        &self.inner
    }

    /// What EXPLAIN shows.
    pub fn facts(&self) -> &ScanFacts {
        &self.facts
    }

    pub(crate) fn evolution(&self) -> &Arc<Evolution> {
        &self.evolution
    }

    pub(crate) fn source(&self) -> Option<&IcebergSource> {
        self.inner.file_source().downcast_ref::<IcebergSource>()
    }

    /// The files, or byte ranges of files, of all partitions.
    pub fn files(&self) -> impl Iterator<Item = &PartitionedFile> {
        self.inner.file_groups.iter().flat_map(FileGroup::iter)
    }

    /// The same scan over other file groups; `facts` if they change with them.
    pub(crate) fn with_groups(&self, groups: Vec<FileGroup>, facts: Arc<ScanFacts>) -> Self {
        let mut inner = self.inner.clone();
        inner.file_groups = groups;
        Self {
            inner,
            facts,
            evolution: Arc::clone(&self.evolution),
        }
    }

    /// The same scan with its filters evaluated while it decodes. `None` if it reads no Parquet.
    pub(crate) fn with_row_filters(mut self) -> Option<Self> {
        let source = self.source()?.with_row_filters()?;
        self.inner.file_source = Arc::new(source);
        Some(self)
    }

    /// Names of the table's columns that the scan reads: for its output and for its filter.
    pub(crate) fn columns_read(&self) -> Vec<String> {
        let source = self.inner.file_source();
        let mut names: Vec<String> = Vec::new();
        let mut add = |expr: &Arc<dyn PhysicalExpr>| {
            for column in collect_columns(expr) {
                if !names.iter().any(|name| name == column.name()) {
                    names.push(column.name().to_owned());
                }
            }
        };
        let Some(projection) = source.projection() else {
            let fields = source.table_schema().table_schema().fields();
            return fields.iter().map(|field| field.name().clone()).collect();
        };
        for projected in projection {
            add(&projected.expr);
        }
        if let Some(filter) = source.filter() {
            add(&filter);
        }
        names
    }

    fn stored_bytes(&self, column: &str) -> Option<u64> {
        self.facts
            .column_bytes
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, bytes)| *bytes)
    }

    /// Bytes the scan will fetch: its files' bytes, times the share of the columns it reads.
    pub(crate) fn bytes_to_read(&self) -> u64 {
        let files: u64 = self.files().map(PartitionedFile::effective_size).sum();
        let all: u64 = self.facts.column_bytes.iter().map(|(_, bytes)| bytes).sum();
        if all == 0 {
            return files;
        }
        let read: u64 = self
            .columns_read()
            .iter()
            .filter_map(|column| self.stored_bytes(column))
            .sum();
        let share = u128::from(files) * u128::from(read.min(all)) / u128::from(all);
        u64::try_from(share).unwrap_or(files)
    }

    /// Bytes of memory the scan's output will take, where a column's width is not fixed.
    fn output_bytes(
        &self,
        rows: Precision<usize>,
        schema: &arrow::datatypes::Schema,
    ) -> Option<usize> {
        let rows = *rows.get_value()?;
        let projection = self.inner.file_source().projection()?;
        let mut total = 0usize;
        for (projected, field) in projection.iter().zip(schema.fields()) {
            let bytes = if let Some(width) = field.data_type().primitive_width() {
                rows.saturating_mul(width)
            } else {
                let column = projected.expr.downcast_ref::<Column>()?;
                let stored = self.stored_bytes(column.name())?;
                usize::try_from(stored)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(EXPANSION)
            };
            total = total.saturating_add(bytes);
        }
        Some(total)
    }

    fn rewrap(&self, inner: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        match inner.downcast_ref::<FileScanConfig>() {
            Some(config) => Arc::new(Self {
                inner: config.clone(),
                ..self.clone()
            }),
            None => inner,
        }
    }

    /// The stream with errors that name the table, for as long as somebody waits for its rows. The source below names
    /// the file.
    fn named(
        &self,
        opened: Result<SendableRecordBatchStream>,
        context: &TaskContext,
    ) -> Result<SendableRecordBatchStream> {
        let facts = Arc::clone(&self.facts);
        let name = move |error: DataFusionError| {
            error.context(format!("cannot read table \"{}\"", facts.table))
        };
        let stream = opened.map_err(&name)?;
        let schema = stream.schema();
        let batches = stream.map(move |batch| batch.map_err(&name));
        let named = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        Ok(while_wanted(context, named))
    }

    fn fmt_line(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let facts = &self.facts;
        let files = self.files().count();
        let deletes = self
            .files()
            .filter(|file| file.extension::<FileDeletes>().is_some())
            .count();
        write!(f, "table={}", facts.table)?;
        if let Some(snapshot) = facts.snapshot_id {
            write!(f, ", snapshot={snapshot}")?;
        }
        let groups = self.inner.file_groups.len();
        write!(
            f,
            ", files={files}, groups={groups}, pruned={}",
            facts.files_pruned
        )?;
        if facts.manifests_pruned > 0 {
            write!(f, ", manifests_pruned={}", facts.manifests_pruned)?;
        }
        if deletes > 0 {
            write!(f, ", deletes={deletes}")?;
        }
        if let Some(projection) = self.inner.file_source().projection() {
            let columns =
                projection
                    .iter()
                    .map(|projected| match projected.expr.downcast_ref::<Column>() {
                        Some(column) if column.name() == projected.alias => {
                            column.name().to_owned()
                        }
                        _ => format!("{} as {}", projected.expr, projected.alias),
                    });
            write!(
                f,
                ", projection=[{}]",
                columns.collect::<Vec<_>>().join(", ")
            )?;
        }
        if let Some(limit) = self.inner.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

/// The scan inside a plan node, if the node is one.
pub fn as_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&IcebergScan> {
    plan.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref::<IcebergScan>()
}

impl DataSource for IcebergScan {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let opened = self.inner.open(partition, Arc::clone(&context));
        self.named(opened, &context)
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let context = Arc::clone(&args.context);
        let opened = self.inner.open_with_args(args);
        self.named(opened, &context)
    }

    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                self.fmt_line(f)?;
                self.inner.file_source().fmt_extra(t, f)
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "table={}", self.facts.table)?;
                writeln!(f, "files={}", self.files().count())?;
                writeln!(f, "pruned={}", self.facts.files_pruned)?;
                self.inner.file_source().fmt_extra(t, f)
            }
        }
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        min_size: usize,
        order: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let changed = self
            .inner
            .repartitioned(target_partitions, min_size, order)?;
        Ok(changed.map(|inner| self.rewrap(inner)))
    }

    fn output_partitioning(&self) -> Partitioning {
        self.inner.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.inner.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.inner.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let statistics = self.inner.partition_statistics(partition)?;
        if partition.is_some() {
            return Ok(statistics);
        }
        let schema = self.inner.projected_schema()?;
        match self.output_bytes(statistics.num_rows, &schema) {
            Some(bytes) => {
                let mut statistics = Arc::unwrap_or_clone(statistics);
                statistics.total_byte_size = Precision::Inexact(bytes);
                Ok(Arc::new(statistics))
            }
            None => Ok(statistics),
        }
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        self.inner.with_fetch(limit).map(|inner| self.rewrap(inner))
    }

    fn fetch(&self) -> Option<usize> {
        self.inner.fetch()
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        let all = ExecutionPlanMetricsSet::new();
        for metric in self.inner.metrics().clone_inner().iter() {
            all.register(Arc::clone(metric));
        }
        let facts = &self.facts;
        for (name, value) in [
            ("files_total", facts.files_total),
            ("files_pruned", facts.files_pruned),
            ("manifests_pruned", facts.manifests_pruned),
        ] {
            let count = MetricBuilder::new(&all).global_counter(name);
            count.add(usize::try_from(value).unwrap_or(usize::MAX));
        }
        all
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let swapped = self.inner.try_swapping_with_projection(projection)?;
        Ok(swapped.map(|inner| self.rewrap(inner)))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let pushed = self.inner.try_pushdown_filters(filters, config)?;
        Ok(FilterPushdownPropagation {
            filters: pushed.filters,
            updated_node: pushed.updated_node.map(|inner| self.rewrap(inner)),
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        Ok(self
            .inner
            .try_pushdown_sort(order)?
            .map(|inner| self.rewrap(inner)))
    }

    fn with_preserve_order(&self, preserve_order: bool) -> Option<Arc<dyn DataSource>> {
        self.inner
            .with_preserve_order(preserve_order)
            .map(|inner| self.rewrap(inner))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn DataSource>> {
        self.inner
            .with_new_state(state)
            .map(|inner| self.rewrap(inner))
    }

    fn create_sibling_state(&self, config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        self.inner.create_sibling_state(config)
    }
}
