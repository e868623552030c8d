//! The catalog as its users see it: on SQLite and the file system.

mod evolution;
mod metadata;
mod revision;
mod views;
mod writing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    ErrorCode, Literal, ManifestContent, NewDataFile, PartitionFieldDef, SchemaChange,
    SnapshotFiles, StorageConfig, Transform, ViewDefinition, append, change_schema,
    create_with_files, snapshot_files, truncate, update_properties,
};

struct Lake {
    directory: TempDir,
    catalog: Arc<SqlCatalog>,
    cache: ManifestCache,
}

impl Lake {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = ManifestCache::new(64 << 20);
        let catalog = open(&directory, &cache).await.unwrap();
        let lake = Self {
            directory,
            catalog: Arc::new(catalog),
            cache,
        };
        let main = Namespace::new("main");
        lake.catalog
            .create_namespace(&main, HashMap::new())
            .await
            .unwrap();
        lake
    }

    fn ident(name: &str) -> TableIdent {
        TableIdent::new(Namespace::new("main"), name)
    }

    async fn table(&self, name: &str, properties: &[(&str, &str)]) -> Table {
        let creation = creation(name, properties);
        self.catalog.create_table(creation).await.unwrap()
    }

    async fn files(&self, table: &Table) -> SnapshotFiles {
        let snapshot = table.current_snapshot().unwrap();
        snapshot_files(table, &snapshot, &self.cache, &|_| true)
            .await
            .unwrap()
    }

    async fn append(&self, table: &Table, name: &str) -> Result<Table> {
        let files = vec![file(table, name, 1)];
        append(&*self.catalog, table, files, HashMap::new()).await
    }

    /// All files under the lake's warehouse.
    fn on_disk(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.directory.path().join("warehouse")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        found
    }
}

/// Opens the lake's catalog: on SQLite, or in the database that `TARN_TEST_METADATA_URL` names, where
/// each lake is a catalog of its own.
async fn open(directory: &TempDir, cache: &ManifestCache) -> Result<SqlCatalog> {
    let root = directory.path().to_str().unwrap();
    let url = std::env::var("TARN_TEST_METADATA_URL");
    let config = SqlCatalogConfig {
        name: root.to_owned(),
        metadata_url: url.unwrap_or_else(|_| format!("sqlite://{root}/control.db")),
        warehouse: format!("file://{root}/warehouse/"),
    };
    SqlCatalog::open(config, Stores::new(StorageConfig::default()), cache.clone()).await
}

fn creation(name: &str, properties: &[(&str, &str)]) -> TableCreation {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let properties = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    TableCreation {
        ident: Lake::ident(name),
        schema: Arc::new(schema),
        partition: vec![],
        sort: vec![],
        location: None,
        properties,
        primary_key: vec![],
    }
}

fn file(table: &Table, name: &str, records: u64) -> NewDataFile {
    NewDataFile {
        path: format!("{}/{name}.parquet", table.data_location()),
        size_bytes: 100,
        record_count: records,
        value_counts: HashMap::from([(1, records)]),
        null_counts: HashMap::from([(1, 0)]),
        lower_bounds: HashMap::from([(1, Literal::Long(-5)), (2, Literal::String("a".into()))]),
        upper_bounds: HashMap::from([(1, Literal::Long(9)), (2, Literal::String("zß".into()))]),
        split_offsets: vec![4],
        ..NewDataFile::default()
    }
}

fn names(files: &SnapshotFiles) -> HashSet<String> {
    let name = |path: &str| path.rsplit('/').next().unwrap().replace(".parquet", "");
    files.data.iter().map(|file| name(&file.path)).collect()
}

#[tokio::test]
async fn what_was_appended_is_read_back_in_every_format_version() {
    let lake = Lake::new().await;
    for version in ["1", "2", "3"] {
        let name = format!("t{version}");
        let table = lake.table(&name, &[("format-version", version)]).await;
        assert!(table.current_snapshot().is_none());
        let table = lake.append(&table, "a").await.unwrap();
        let files = vec![file(&table, "b", 2), file(&table, "c", 3)];
        let note = HashMap::from([("tarn.query-id".to_owned(), "q1".to_owned())]);
        append(&*lake.catalog, &table, files, note).await.unwrap();

        let table = lake.catalog.load_table(&Lake::ident(&name)).await.unwrap();
        let snapshot = table.current_snapshot().unwrap();
        assert_eq!(snapshot.operation, "append");
        assert_eq!(snapshot.summary["total-records"], "6");
        assert_eq!(snapshot.summary["added-data-files"], "2");
        assert_eq!(snapshot.summary["tarn.query-id"], "q1");
        assert_eq!(table.snapshots().len(), 2);
        assert_eq!(table.refs().len(), 1);

        let files = lake.files(&table).await;
        assert_eq!(names(&files), ["a", "b", "c"].map(str::to_owned).into());
        assert_eq!(files.manifests_total, 2);
        let first = files
            .data
            .iter()
            .find(|file| file.path.ends_with("/a.parquet"));
        let first = first.unwrap();
        assert_eq!(first.lower_bounds.get(1), Some(&Literal::Long(-5)));
        assert_eq!(
            first.upper_bounds.get(2),
            Some(&Literal::String("zß".into()))
        );
        assert_eq!(first.split_offsets, [4]);
        let sequence = i64::from(version != "1");
        assert_eq!(first.sequence_number, sequence);
        assert_eq!(first.snapshot_id, table.snapshots()[0].id);
        let mut row_ids: Vec<_> = files.data.iter().filter_map(|f| f.first_row_id).collect();
        row_ids.sort_unstable();
        let expected: &[i64] = if version == "3" { &[0, 1, 3] } else { &[] };
        assert_eq!(row_ids, expected);
    }
}

#[tokio::test]
async fn partition_values_and_summaries_come_back_typed() {
    let lake = Lake::new().await;
    let mut creation = creation("p", &[]);
    let def = |column: &str, transform| PartitionFieldDef {
        column: column.to_owned(),
        transform,
        name: None,
    };
    creation.partition = vec![
        def("ts", Transform::Day),
        def("name", Transform::Identity),
        def("id", Transform::Bucket(8)),
    ];
    let table = lake.catalog.create_table(creation).await.unwrap();
    let partition = |day: i32, name: Option<&str>| {
        vec![
            Some(Literal::Date(day)),
            name.map(|name| Literal::String(name.to_owned())),
            Some(Literal::Int(3)),
        ]
    };
    let mut files = vec![file(&table, "a", 1), file(&table, "b", 1)];
    files[0].partition = partition(-1, Some("x"));
    files[1].partition = partition(7, None);
    let table = append(&*lake.catalog, &table, files, HashMap::new())
        .await
        .unwrap();
    let snapshot = table.current_snapshot().unwrap();
    assert_eq!(snapshot.summary["changed-partition-count"], "2");

    let seen = Mutex::new(Vec::new());
    let keep = |manifest: &crate::ManifestInfo| {
        seen.lock().unwrap().push(manifest.clone());
        true
    };
    let files = snapshot_files(&table, &snapshot, &lake.cache, &keep)
        .await
        .unwrap();
    assert_eq!(files.data[0].partition, partition(-1, Some("x")));
    assert_eq!(files.data[1].partition, partition(7, None));
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen[0].content, ManifestContent::Data);
    assert_eq!(seen[0].added_files, Some(2));
    let [day, name, bucket] = &seen[0].partitions[..] else {
        panic!("three summaries expected");
    };
    assert_eq!(day.lower, Some(Literal::Date(-1)));
    assert_eq!(day.upper, Some(Literal::Date(7)));
    assert!(name.contains_null && !day.contains_null);
    assert_eq!(bucket.upper, Some(Literal::Int(3)));

    let pruned = snapshot_files(&table, &snapshot, &lake.cache, &|_| false)
        .await
        .unwrap();
    assert_eq!((pruned.data.len(), pruned.manifests_pruned), (0, 1));
}

#[tokio::test]
async fn a_table_partitioned_by_a_column_that_is_no_avro_name_is_read_back() {
    let lake = Lake::new().await;
    let mut creation = creation("t", &[]);
    creation.schema = Arc::new(Schema::new(vec![Field::new("é 1.x", DataType::Utf8, true)]));
    creation.partition = vec![PartitionFieldDef {
        column: "é 1.x".to_owned(),
        transform: Transform::Identity,
        name: None,
    }];
    let table = lake.catalog.create_table(creation).await.unwrap();
    let file = NewDataFile {
        partition: vec![Some(Literal::String("v".into()))],
        lower_bounds: HashMap::new(),
        upper_bounds: HashMap::new(),
        ..file(&table, "a", 1)
    };
    let table = append(&*lake.catalog, &table, vec![file], HashMap::new()).await;
    let files = lake.files(&table.unwrap()).await;
    let value = Some(Literal::String("v".into()));
    assert_eq!(files.data[0].partition, [value]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_concurrent_appenders_lose_and_double_nothing() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    // Half of the writers come through a second catalog, as from another coordinator.
    let other = Arc::new(
        open(&lake.directory, &ManifestCache::new(1 << 20))
            .await
            .unwrap(),
    );
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..10 {
        let catalog = if writer % 2 == 0 {
            Arc::clone(&lake.catalog)
        } else {
            Arc::clone(&other)
        };
        let table = table.clone();
        writers.spawn(async move {
            for round in 0..3 {
                let files = vec![file(&table, &format!("w{writer}-{round}"), 1)];
                append(&*catalog, &table, files, HashMap::new())
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let table = lake.catalog.load_table(table.ident()).await.unwrap();
    let files = lake.files(&table).await;
    assert_eq!(files.data.len(), 30);
    assert_eq!(names(&files).len(), 30);
    check_linear(&table);
    assert_eq!(
        table.current_snapshot().unwrap().summary["total-records"],
        "30"
    );
    // Every metadata object on disk is one that some version of the table refers to.
    let lists = lake
        .on_disk()
        .iter()
        .filter(|p| p.contains("/snap-"))
        .count();
    assert_eq!(lists, 30);
}

/// Each snapshot's parent is the one before it, and sequence numbers have no gap.
fn check_linear(table: &Table) {
    let mut parent = None;
    for (index, snapshot) in table.snapshots().into_iter().enumerate() {
        assert_eq!(snapshot.parent_id, parent);
        assert_eq!(snapshot.sequence_number, i64::try_from(index).unwrap() + 1);
        parent = Some(snapshot.id);
    }
}

/// What happens to a commit.
#[derive(Debug)]
enum Fault {
    /// The reply gets lost after it happened.
    LosesReply,
    /// The connection breaks before.
    LosesCommit,
    /// Somebody else changes the columns just before the first one.
    ChangedFirst(Mutex<Option<SchemaChange>>),
}

/// A catalog with a fault.
#[derive(Debug)]
struct Faulty<'a> {
    inner: &'a SqlCatalog,
    fault: Fault,
}

#[async_trait]
impl Catalog for Faulty<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn kind(&self) -> &'static str {
        "sql"
    }
    fn warehouse(&self) -> &str {
        self.inner.warehouse()
    }
    async fn list_namespaces(&self) -> Result<Vec<Namespace>> {
        self.inner.list_namespaces().await
    }
    async fn namespace_exists(&self, namespace: &Namespace) -> Result<bool> {
        self.inner.namespace_exists(namespace).await
    }
    async fn namespace_properties(&self, namespace: &Namespace) -> Result<HashMap<String, String>> {
        self.inner.namespace_properties(namespace).await
    }
    async fn create_namespace(
        &self,
        namespace: &Namespace,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.inner.create_namespace(namespace, properties).await
    }
    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        self.inner.drop_namespace(namespace).await
    }
    async fn update_namespace(
        &self,
        namespace: &Namespace,
        set: HashMap<String, String>,
        remove: Vec<String>,
    ) -> Result<()> {
        self.inner.update_namespace(namespace, set, remove).await
    }
    async fn find(&self, ident: &TableIdent) -> Result<Option<EntryKind>> {
        self.inner.find(ident).await
    }
    async fn list_entries(&self) -> Result<Vec<CatalogEntry>> {
        self.inner.list_entries().await
    }
    async fn list_views(&self, namespace: &Namespace) -> Result<Vec<String>> {
        self.inner.list_views(namespace).await
    }
    async fn load_view(&self, ident: &TableIdent) -> Result<View> {
        self.inner.load_view(ident).await
    }
    async fn load_view_at(&self, ident: &TableIdent, location: &str) -> Result<View> {
        self.inner.load_view_at(ident, location).await
    }
    async fn create_view(&self, creation: ViewCreation) -> Result<View> {
        self.inner.create_view(creation).await
    }
    async fn change_view(&self, ident: &TableIdent, change: ViewChange) -> Result<View> {
        self.inner.change_view(ident, change).await
    }
    async fn drop_view(&self, ident: &TableIdent) -> Result<()> {
        self.inner.drop_view(ident).await
    }
    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename_view(from, to).await
    }
    async fn list_tables(&self, namespace: &Namespace) -> Result<Vec<String>> {
        self.inner.list_tables(namespace).await
    }
    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load_table(ident).await
    }
    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        self.inner.table_exists(ident).await
    }
    async fn stage_table(&self, creation: TableCreation) -> Result<StagedTable> {
        self.inner.stage_table(creation).await
    }
    async fn create_staged(&self, staged: StagedTable) -> Result<Table> {
        self.inner.create_staged(staged).await
    }
    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        self.inner.drop_table(ident, purge).await
    }
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.inner.rename_table(from, to).await
    }
    async fn register_table(&self, ident: &TableIdent, location: &str) -> Result<Table> {
        self.inner.register_table(ident, location).await
    }
    async fn commit(&self, ident: &TableIdent, commit: TableCommit) -> Result<Table> {
        match &self.fault {
            Fault::LosesCommit => {}
            Fault::LosesReply => {
                self.inner.commit(ident, commit).await?;
            }
            Fault::ChangedFirst(change) => {
                let change = change.lock().unwrap().take();
                if let Some(change) = change {
                    let table = self.inner.load_table(ident).await?;
                    change_schema(self.inner, &table, &[change], false).await?;
                }
                return self.inner.commit(ident, commit).await;
            }
        }
        Err(CatalogError::CommitStateUnknown {
            table: ident.to_string(),
            snapshot_id: None,
            source: "connection reset".into(),
        })
    }
}

#[tokio::test]
async fn a_lost_reply_is_found_in_the_table_and_nothing_is_deleted() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let lossy = |fault| Faulty {
        inner: &lake.catalog,
        fault,
    };
    let files = vec![file(&table, "a", 1)];
    let table = append(&lossy(Fault::LosesReply), &table, files, HashMap::new())
        .await
        .unwrap();
    assert_eq!(lake.files(&table).await.data.len(), 1);

    let before = lake.on_disk().len();
    let files = vec![file(&table, "b", 1)];
    let error = append(&lossy(Fault::LosesCommit), &table, files, HashMap::new())
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::CommitStateUnknown);
    // One manifest and one list stay: the commit might still happen.
    assert_eq!(lake.on_disk().len(), before + 2);
}

#[tokio::test]
async fn rows_do_not_slip_past_a_column_that_becomes_required() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let required = SchemaChange::Required {
        column: vec!["name".to_owned()],
        required: true,
    };
    let catalog = Faulty {
        inner: &lake.catalog,
        fault: Fault::ChangedFirst(Mutex::new(Some(required))),
    };
    let files = vec![file(&table, "a", 1)];
    let error = append(&catalog, &table, files, HashMap::new()).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert!(
        error.to_string().contains("\"name\" is now required"),
        "{error}"
    );
    let table = lake.catalog.load_table(table.ident()).await.unwrap();
    assert!(table.current_snapshot().is_none());
}

#[tokio::test]
async fn a_failed_append_leaves_no_metadata_behind() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    lake.catalog.drop_table(table.ident(), false).await.unwrap();
    let before = lake.on_disk();
    let error = lake.append(&table, "a").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    lake.table("t", &[]).await;
    let error = lake.append(&table, "a").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert_eq!(lake.on_disk().len(), before.len() + 1);
}

#[tokio::test]
async fn an_append_that_does_not_fit_the_table_is_refused() {
    let lake = Lake::new().await;
    let table = lake.table("t", &[]).await;
    let mut wrong_spec = file(&table, "a", 1);
    wrong_spec.spec_id = 7;
    let mut wrong_partition = file(&table, "a", 1);
    wrong_partition.partition = vec![None];
    let twice = vec![file(&table, "a", 1), file(&table, "a", 1)];
    for files in [vec![wrong_spec], vec![wrong_partition], twice] {
        let error = append(&*lake.catalog, &table, files, HashMap::new())
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Invalid, "{error}");
    }
    let same = append(&*lake.catalog, &table, vec![], HashMap::new())
        .await
        .unwrap();
    assert!(same.current_snapshot().is_none());
}

#[tokio::test]
async fn a_table_made_with_files_appears_with_its_first_snapshot_or_not_at_all() {
    let lake = Lake::new().await;
    let stage = || async { lake.catalog.stage_table(creation("ctas", &[])).await };
    let (first, second) = (stage().await.unwrap(), stage().await.unwrap());
    assert!(lake.on_disk().is_empty());
    let files = |staged: &StagedTable| vec![file(staged.table(), "a", 5)];
    let first_files = files(&first);
    let table = create_with_files(&*lake.catalog, first, first_files)
        .await
        .unwrap();
    assert_eq!(table.snapshots().len(), 1);
    let loaded = lake.catalog.load_table(table.ident()).await.unwrap();
    assert_eq!(loaded.metadata_location(), table.metadata_location());
    assert_eq!(lake.files(&loaded).await.data[0].record_count, 5);

    let before = lake.on_disk();
    let second_files = files(&second);
    let error = create_with_files(&*lake.catalog, second, second_files)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    assert_eq!(lake.on_disk(), before);
    let error = stage().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
}

#[tokio::test]
async fn namespaces_are_made_listed_and_dropped() {
    let lake = Lake::new().await;
    let catalog = &lake.catalog;
    let deep: Namespace = "a_b.c".parse().unwrap();
    let properties = HashMap::from([("owner".to_owned(), "x'y\"z".to_owned())]);
    catalog
        .create_namespace(&deep, properties.clone())
        .await
        .unwrap();
    assert_eq!(
        catalog.namespace_properties(&deep).await.unwrap(),
        properties
    );
    let listed: Vec<_> = catalog.list_namespaces().await.unwrap();
    let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["a_b", "a_b.c", "main"]);
    let exists = |name: &str| {
        let namespace: Namespace = name.parse().unwrap();
        async move { catalog.namespace_exists(&namespace).await.unwrap() }
    };
    assert!(exists("a_b").await && exists("a_b.c").await);
    // `_` is no wildcard and names keep their case.
    assert!(!exists("axb").await && !exists("A_B").await && !exists("a").await);

    let error = catalog
        .create_namespace(&deep, HashMap::new())
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    lake.table("t", &[]).await;
    let main = Namespace::new("main");
    let error = catalog.drop_namespace(&main).await.unwrap_err();
    assert!(error.to_string().contains("it holds: t"), "{error}");
    catalog.drop_table(&Lake::ident("t"), true).await.unwrap();
    catalog.drop_namespace(&main).await.unwrap();
    let error = catalog.drop_namespace(&main).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.to_string().contains("a_b"), "{error}");
    let error = catalog.list_tables(&main).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_renamed_table_keeps_its_rows_and_collides_with_nobody() {
    let lake = Lake::new().await;
    let table = lake.table("old", &[]).await;
    lake.append(&table, "a").await.unwrap();
    lake.table("taken", &[]).await;
    let rename = |from: &str, to: &str| {
        let (from, to) = (Lake::ident(from), Lake::ident(to));
        let catalog = Arc::clone(&lake.catalog);
        async move { catalog.rename_table(&from, &to).await }
    };
    let error = rename("old", "taken").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    let error = rename("nope", "other").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    rename("old", "new").await.unwrap();
    let names = lake.catalog.list_tables(&Namespace::new("main")).await;
    assert_eq!(names.unwrap(), ["new", "taken"]);
    let table = lake.catalog.load_table(&Lake::ident("new")).await.unwrap();
    assert_eq!(lake.files(&table).await.data.len(), 1);
    let elsewhere = TableIdent::new(Namespace::new("nowhere"), "t");
    let error = lake.catalog.rename_table(table.ident(), &elsewhere).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn purge_removes_every_file_and_a_plain_drop_none() {
    let lake = Lake::new().await;
    let stores = Stores::new(StorageConfig::default());
    let table = lake.table("t", &[]).await;
    let mut table = table;
    for name in ["a", "b"] {
        let path = file(&table, name, 1).path;
        stores.write(&path, Bytes::from_static(b"x")).await.unwrap();
        table = lake.append(&table, name).await.unwrap();
    }
    let location = table.metadata_location().to_owned();
    let before = lake.on_disk().len();
    lake.catalog.drop_table(table.ident(), false).await.unwrap();
    assert_eq!(lake.on_disk().len(), before);
    let again = Lake::ident("again");
    lake.catalog
        .register_table(&again, &location)
        .await
        .unwrap();
    lake.catalog.drop_table(&again, true).await.unwrap();
    assert_eq!(lake.on_disk(), Vec::<String>::new());
    let error = lake.catalog.drop_table(&again, true).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);

    let shared = lake.table("shared", &[("gc.enabled", "false")]).await;
    let error = lake.catalog.drop_table(shared.ident(), true).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::Invalid);
}

#[tokio::test]
async fn names_are_bound_and_never_become_sql() {
    let lake = Lake::new().await;
    let name = "t'; DROP TABLE iceberg_tables; --";
    lake.table(name, &[]).await;
    let tables = lake.catalog.list_tables(&Namespace::new("main")).await;
    assert_eq!(tables.unwrap(), [name]);
    lake.catalog
        .drop_table(&Lake::ident(name), false)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_catalog_of_an_older_tool_gains_the_type_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query(
        "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL,
         table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
         metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000),
         PRIMARY KEY (catalog_name, table_namespace, table_name))",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO iceberg_tables VALUES ('lake', 'old', 't', '/x/v1.metadata.json', NULL)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let config = SqlCatalogConfig {
        name: "lake".to_owned(),
        metadata_url: url,
        warehouse: "/tmp/w".to_owned(),
    };
    let stores = Stores::new(StorageConfig::default());
    let catalog = SqlCatalog::open(config, stores, ManifestCache::new(1))
        .await
        .unwrap();
    let old = Namespace::new("old");
    assert!(catalog.namespace_exists(&old).await.unwrap());
    assert_eq!(catalog.list_tables(&old).await.unwrap(), ["t"]);
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_reported() {
    let open = |url: &str| {
        let config = SqlCatalogConfig {
            name: "lake".to_owned(),
            metadata_url: url.to_owned(),
            warehouse: "/tmp/w".to_owned(),
        };
        let stores = Stores::new(StorageConfig::default());
        SqlCatalog::open(config, stores, ManifestCache::new(1))
    };
    let error = open("mysql://x/y").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    let error = open("sqlite:///nonexistent/folder/control.db").await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::StorageUnavailable);
}

#[tokio::test]
async fn properties_of_a_namespace_are_replaced_and_removed() {
    let lake = Lake::new().await;
    let main = Namespace::new("main");
    let one = |value: &str| HashMap::from([("comment".to_owned(), value.to_owned())]);
    let catalog = &lake.catalog;
    for value in ["one", "two"] {
        catalog
            .update_namespace(&main, one(value), vec![])
            .await
            .unwrap();
        let found = catalog.namespace_properties(&main).await.unwrap();
        assert_eq!(found, one(value));
    }
    let gone = vec!["comment".to_owned(), "exists".to_owned()];
    catalog
        .update_namespace(&main, HashMap::new(), gone)
        .await
        .unwrap();
    assert!(
        catalog
            .namespace_properties(&main)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(catalog.namespace_exists(&main).await.unwrap());
    let nowhere = Namespace::new("nowhere");
    let error = catalog.update_namespace(&nowhere, one("x"), vec![]).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::NotFound);
}
