//! `"t$snapshots"` and its like: what a table's metadata says, as tables.
//!
//! Columns and their names are those of Iceberg's own metadata tables, as Spark and Trino show them. Rows are read when
//! the query runs, and only the columns that it wants are made.

mod columns;
mod files;
mod history;
mod manifests;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use tarn_catalog::{ManifestCache, Snapshot, Table};

use crate::error::{EngineError, ErrorKind};
use crate::names;
use columns::AnyColumns;

/// Stands between the name of a table and that of its metadata table.
pub(crate) const SEPARATOR: char = '$';

/// A kind of metadata table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Snapshots,
    History,
    Refs,
    MetadataLogEntries,
    Properties,
    Files,
    DataFiles,
    DeleteFiles,
    Entries,
    Manifests,
    Partitions,
}

/// Every kind with its name.
const KINDS: [(&str, Kind); 11] = [
    ("snapshots", Kind::Snapshots),
    ("history", Kind::History),
    ("refs", Kind::Refs),
    ("metadata_log_entries", Kind::MetadataLogEntries),
    ("properties", Kind::Properties),
    ("files", Kind::Files),
    ("data_files", Kind::DataFiles),
    ("delete_files", Kind::DeleteFiles),
    ("entries", Kind::Entries),
    ("manifests", Kind::Manifests),
    ("partitions", Kind::Partitions),
];

impl Kind {
    /// The kind called `name`, whatever its case.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedTable`], offering the nearest.
    pub(crate) fn named(name: &str, table: &str) -> Result<Self, EngineError> {
        let folded = name.to_lowercase();
        if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == folded) {
            return Ok(*kind);
        }
        let all = KINDS.iter().map(|(known, _)| *known);
        let error = EngineError::new(
            ErrorKind::UndefinedTable,
            format!("table \"{table}\" has no metadata table \"{name}\""),
        );
        Err(if let Some(near) = names::nearest(&folded, all.clone()) {
            error.with_hint(format!("did you mean \"{table}${near}\"?"))
        } else {
            let all: Vec<&str> = all.collect();
            error.with_hint(format!("metadata tables: {}", all.join(", ")))
        })
    }
}

/// Names of all metadata tables, for the reference.
pub fn kind_names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

/// What every metadata table is made from.
#[derive(Clone, Debug)]
struct About {
    table: Table,
    /// The snapshot that is looked at, for what belongs to one.
    snapshot: Option<Snapshot>,
    cache: ManifestCache,
    /// The session's, in which moments are shown.
    time_zone: Arc<str>,
}

/// A metadata table of one table.
#[derive(Debug)]
pub(crate) struct MetadataTable {
    about: About,
    kind: Kind,
    schema: SchemaRef,
}

impl MetadataTable {
    pub(crate) fn new(
        kind: Kind,
        table: Table,
        snapshot: Option<Snapshot>,
        cache: ManifestCache,
        time_zone: &str,
    ) -> Self {
        let about = About {
            table,
            snapshot,
            cache,
            time_zone: time_zone.into(),
        };
        let schema = columns_of(kind, &about).schema();
        Self {
            about,
            kind,
            schema,
        }
    }
}

fn columns_of(kind: Kind, about: &About) -> Box<dyn AnyColumns> {
    match kind {
        Kind::Snapshots => Box::new(history::snapshots(about)),
        Kind::History => Box::new(history::history(about)),
        Kind::Refs => Box::new(history::refs(about)),
        Kind::MetadataLogEntries => Box::new(history::metadata_log(about)),
        Kind::Properties => Box::new(history::properties(about)),
        Kind::Files => Box::new(files::files(about, |_| true)),
        Kind::DataFiles => Box::new(files::files(about, |content| content == 0)),
        Kind::DeleteFiles => Box::new(files::files(about, |content| content != 0)),
        Kind::Entries => Box::new(files::entries(about)),
        Kind::Manifests => Box::new(manifests::manifests(about)),
        Kind::Partitions => Box::new(manifests::partitions(about)),
    }
}

#[async_trait]
impl TableProvider for MetadataTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let columns = columns_of(self.kind, &self.about);
        let batches = columns.batches(wanted).await?;
        let schema = Arc::new(self.schema.project(wanted)?);
        Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?)
    }
}

/// The type of moments.
fn moment(about: &About) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(&about.time_zone)))
}
