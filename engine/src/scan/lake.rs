//! A lake in a temporary directory, for tests of scans and writes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use tarn_catalog::{
    Catalog, ManifestCache, Namespace, NewDataFile, PartitionFieldDef, SqlCatalog,
    SqlCatalogConfig, StorageConfig, Stores, Table, TableCreation, TableIdent, Transform, append,
};
use tempfile::TempDir;

use super::IcebergTableProvider;
use crate::write;

/// Bytes of the manifest cache of a test.
const CACHE_BYTES_MAX: u64 = 1 << 24;

pub(crate) struct Lake {
    pub(crate) directory: TempDir,
    pub(crate) catalog: SqlCatalog,
    pub(crate) cache: ManifestCache,
    pub(crate) context: SessionContext,
}

impl Lake {
    pub(crate) async fn open() -> Self {
        Self::with_partitions(3).await
    }

    pub(crate) async fn with_partitions(partitions: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let cache = ManifestCache::new(CACHE_BYTES_MAX);
        let config = SqlCatalogConfig {
            name: "lake".to_owned(),
            metadata_url: format!("sqlite://{}", directory.path().join("control.db").display()),
            warehouse: directory.path().join("warehouse").display().to_string(),
        };
        let stores = Stores::new(StorageConfig::default());
        let catalog = SqlCatalog::open(config, stores, cache.clone())
            .await
            .expect("a new catalog opens");
        let main = Namespace::new("main");
        catalog
            .create_namespace(&main, HashMap::new())
            .await
            .expect("a new namespace");
        let config = SessionConfig::new().with_target_partitions(partitions);
        let context = SessionContext::new_with_config(config);
        for function in write::functions() {
            context.register_udf(function.as_ref().clone());
        }
        Self {
            directory,
            catalog,
            cache,
            context,
        }
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        schema: &Schema,
        partition: &[(&str, Transform)],
        properties: &[(&str, &str)],
    ) -> Table {
        let creation = TableCreation {
            ident: TableIdent::new(Namespace::new("main"), name),
            schema: Arc::new(schema.clone()),
            partition: partition
                .iter()
                .map(|(column, transform)| PartitionFieldDef {
                    column: (*column).to_owned(),
                    transform: *transform,
                    name: None,
                })
                .collect(),
            sort: vec![],
            location: None,
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            primary_key: vec![],
        };
        self.catalog
            .create_table(creation)
            .await
            .expect("a new table")
    }

    /// The plan that writes `batches`, one input partition for each.
    pub(crate) async fn plan_write(
        &self,
        table: &Table,
        batches: Vec<RecordBatch>,
    ) -> Arc<dyn ExecutionPlan> {
        let schema = batches[0].schema();
        let rows = MemTable::try_new(
            schema,
            batches.into_iter().map(|batch| vec![batch]).collect(),
        )
        .expect("rows");
        let input = self
            .context
            .read_table(Arc::new(rows))
            .expect("rows are a table");
        let input = input.create_physical_plan().await.expect("a plan");
        write::write_plan(input, table, "test-write", 2).expect("a plan of a write")
    }

    /// Writes `batches` and commits them.
    pub(crate) async fn insert(
        &self,
        table: &Table,
        batches: Vec<RecordBatch>,
    ) -> (Table, Vec<NewDataFile>) {
        let plan = self.plan_write(table, batches).await;
        let reports = collect(plan, self.context.task_ctx())
            .await
            .expect("rows are written");
        let files = files(&reports);
        let table = append(&self.catalog, table, files.clone(), HashMap::new())
            .await
            .expect("files are committed");
        (table, files)
    }

    pub(crate) fn provider(&self, table: &Table) -> IcebergTableProvider {
        IcebergTableProvider::new(table.clone(), self.cache.clone())
    }

    pub(crate) fn register(&self, name: &str, table: &Table) {
        let _ = self.context.deregister_table(name);
        self.context
            .register_table(name, Arc::new(self.provider(table)))
            .expect("a table is registered");
    }

    /// The rows of a query as one batch.
    pub(crate) async fn rows(&self, sql: &str) -> RecordBatch {
        let frame = self
            .context
            .sql(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame
            .collect()
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        concat_batches(&schema, &batches).expect("batches of one query have one schema")
    }

    /// The rows of a query as text, one line a row.
    pub(crate) async fn text(&self, sql: &str) -> Vec<String> {
        lines(&self.rows(sql).await)
    }
}

pub(crate) fn files(reports: &[RecordBatch]) -> Vec<NewDataFile> {
    use arrow::array::AsArray;
    let texts = reports
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
    texts
        .map(|text| write::parse_report(text).expect("a report"))
        .collect()
}

pub(crate) fn lines(batch: &RecordBatch) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a printable column"))
        .collect();
    let row = |row| {
        columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect::<Vec<_>>()
            .join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A field with an Iceberg id.
pub(crate) fn field(name: &str, ty: DataType, nullable: bool, id: i32) -> Field {
    let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, ty, nullable).with_metadata(metadata)
}
