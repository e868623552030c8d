//! Files as a table: which of them a query must read, and the scan that reads them.
//!
//! Knows predicates on what is constant in a file (partition values, its name); what files hold is the readers' matter.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::catalog::{Session as PlanSession, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{
    Column, ColumnStatistics, DFSchema, Result, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_datasource::compute_all_files_statistics;
use futures::{StreamExt, TryStreamExt, stream};

use super::listing::{Found, Listing};
use super::parquet;
use super::read::{NamedParquet, Reader, ReaderSource, Reading};
use crate::error::EngineError;

/// Footers read at once.
pub(crate) const FOOTERS_AT_ONCE: usize = 32;

/// The table of one call of a file function.
#[derive(Debug)]
pub(crate) struct FilesTable {
    listing: Listing,
    /// Columns that files have.
    files: SchemaRef,
    /// Columns that are constant in a file.
    constants: Vec<FieldRef>,
    /// For each file, the values of these columns.
    values: Vec<Vec<ScalarValue>>,
    reading: Arc<Reading>,
    schema: SchemaRef,
}

impl FilesTable {
    pub(crate) fn new(
        listing: Listing,
        files: SchemaRef,
        constants: Vec<FieldRef>,
        values: Vec<Vec<ScalarValue>>,
        reading: Reading,
    ) -> Self {
        let all = files.fields().iter().chain(&constants).cloned();
        Self {
            schema: Arc::new(Schema::new(all.collect::<Vec<_>>())),
            listing,
            files,
            constants,
            values,
            reading: Arc::new(reading),
        }
    }

    fn table_schema(&self) -> TableSchema {
        TableSchema::builder(Arc::clone(&self.files))
            .with_table_partition_cols(self.constants.clone())
            .build()
    }

    /// The files of which `filters` do not say that no row of theirs passes.
    fn kept(&self, state: &dyn PlanSession, filters: &[Expr]) -> Result<Vec<usize>> {
        let all = || (0..self.listing.files.len()).collect();
        let usable: Vec<Expr> = filters
            .iter()
            .filter(|filter| self.is_about_constants(filter))
            .map(|filter| bare(filter.clone()))
            .collect::<Result<_>>()?;
        if usable.is_empty() {
            return Ok(all());
        }
        let columns = (0..self.constants.len()).map(|at| {
            ScalarValue::iter_to_array(self.values.iter().map(|values| values[at].clone()))
        });
        let schema = Arc::new(Schema::new(self.constants.clone()));
        let size = RecordBatchOptions::new().with_row_count(Some(self.values.len()));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&schema),
            columns.collect::<Result<_>>()?,
            &size,
        )?;
        let names = DFSchema::try_from(schema)?;
        let mut kept: Vec<usize> = all();
        for filter in usable {
            // What cannot be computed here is computed on rows, and fails there if it must.
            let Ok(passes) = state
                .create_physical_expr(filter, &names)
                .and_then(|expr| expr.evaluate(&batch))
                .and_then(|passes| passes.into_array(batch.num_rows()))
            else {
                continue;
            };
            if let Some(passes) = passes.as_boolean_opt() {
                kept.retain(|at| passes.is_valid(*at) && passes.value(*at));
            }
        }
        Ok(kept)
    }

    fn is_about_constants(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty()
            && !filter.is_volatile()
            && columns.iter().all(|column| {
                self.constants
                    .iter()
                    .any(|field| *field.name() == column.name)
            })
    }

    fn file(&self, at: usize) -> PartitionedFile {
        PartitionedFile::new_from_meta(self.listing.files[at].meta.clone())
            .with_partition_values(self.values[at].clone())
    }

    /// Parquet files with what their footers say; no more of them than `limit` rows need.
    async fn with_footers(
        &self,
        state: &dyn PlanSession,
        kept: &[usize],
        limit: Option<usize>,
    ) -> Result<Vec<PartitionedFile>> {
        let mut out = vec![];
        let mut rows = 0usize;
        for some in kept.chunks(FOOTERS_AT_ONCE) {
            if limit.is_some_and(|limit| rows >= limit) {
                break;
            }
            let reads: Vec<_> = some
                .iter()
                .map(|at| Box::pin(self.with_footer(state, *at)))
                .collect();
            let reads = stream::iter(reads).buffered(FOOTERS_AT_ONCE);
            let read: Vec<PartitionedFile> = reads.try_collect().await?;
            for file in read {
                let count = file.statistics.as_ref().map(|s| s.num_rows);
                if let Some(Precision::Exact(count)) = count {
                    rows = rows.saturating_add(count);
                }
                out.push(file);
            }
        }
        Ok(out)
    }

    async fn with_footer(&self, state: &dyn PlanSession, at: usize) -> Result<PartitionedFile> {
        let found: &Found = &self.listing.files[at];
        let store = &self.listing.store;
        let columns = parquet::schema(found, store, state).await?;
        self.reading
            .rules
            .check(&found.name, &self.files, &columns)?;
        let mut statistics =
            parquet::statistics(found, &columns, &self.files, store, state).await?;
        for value in &self.values[at] {
            statistics
                .column_statistics
                .push(constant(value, statistics.num_rows));
        }
        let mut file = self.file(at);
        file.statistics = Some(Arc::new(statistics));
        Ok(file)
    }
}

/// What is known of a column that has one value in a file.
fn constant(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    let mut out = ColumnStatistics::new_unknown();
    if value.is_null() {
        out.null_count = rows;
    } else {
        out.null_count = Precision::Exact(0);
        out.min_value = Precision::Exact(value.clone());
        out.max_value = Precision::Exact(value.clone());
    }
    out
}

/// An expression whose columns have no table.
fn bare(expr: Expr) -> Result<Expr> {
    expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn PlanSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let kept = self.kept(state, filters)?;
        if kept.is_empty() {
            let schema = project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let is_parquet = self.reading.reader == Reader::Parquet;
        let limit = limit.filter(|_| filters.is_empty());
        let files = if is_parquet {
            self.with_footers(state, &kept, limit).await?
        } else {
            kept.iter().map(|at| self.file(*at)).collect()
        };
        let complete = files.len() == kept.len();
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let (groups, statistics) = if is_parquet {
            compute_all_files_statistics(groups, Arc::clone(&self.schema), true, !complete)?
        } else {
            (groups, Statistics::new_unknown(&self.schema))
        };
        let table = self.table_schema();
        let source: Arc<dyn FileSource> = if is_parquet {
            parquet::format(state).file_source(table)
        } else {
            Arc::new(ReaderSource::new(Arc::clone(&self.reading), table))
        };
        let url = ObjectStoreUrl::parse(self.listing.root.as_str())?;
        let config = FileScanConfigBuilder::new(url, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        if is_parquet {
            let plan = parquet::format(state)
                .create_physical_plan(state, config)
                .await?;
            return Ok(named(plan));
        }
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// A scan of Parquet whose errors name the file.
fn named(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let config = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>());
    match config.cloned() {
        Some(mut config) => {
            config.file_source = Arc::new(NamedParquet::new(config.file_source));
            DataSourceExec::from_data_source(config)
        }
        None => plan,
    }
}

/// Names of columns, each once.
///
/// # Errors
/// [`crate::error::ErrorKind::InvalidParameter`] if two columns have one name.
pub(crate) fn check_distinct(fields: &[FieldRef], function: &str) -> Result<(), EngineError> {
    let mut known = HashSet::new();
    for field in fields {
        if !known.insert(field.name()) {
            return Err(EngineError::new(
                crate::error::ErrorKind::InvalidParameter,
                format!("{function}: two columns are called \"{}\"", field.name()),
            )
            .with_hint("filename => 'other_name' calls the column of files' names otherwise; hive_partitioning => false leaves out those of folders"));
        }
    }
    Ok(())
}
