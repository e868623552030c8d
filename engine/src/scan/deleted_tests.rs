//! Deletes of every kind, on files that our own writer made, against a model in memory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::collect;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use roaring::RoaringTreemap;
use tarn_catalog::{
    ByField, Catalog, DataFile, DeleteFile, DeleteKind, FileFormat, Literal, NewDataFile, Table,
    Transform, append, snapshot_files,
};

use super::lake::{Lake, field, lines};
use super::tests::{
    Row, batch, cases, events, over_wire, partitions, predicate, rows, write_parquet,
};

const COLUMNS: [&str; 4] = ["id", "s", "ts", "x"];

/// Something that happens to the table. Deletes get the sequence number after the last insert's.
#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<Row>),
    /// Rows equal to one of `keys` in `columns`; in the partition of one file, or everywhere.
    Equality {
        columns: Vec<usize>,
        keys: Vec<Row>,
        scope: Option<usize>,
    },
    /// Positions of files of one partition, or of one file that is named.
    Positions {
        file: usize,
        rows: Vec<(usize, u64)>,
        named: bool,
    },
    Vector {
        file: usize,
        rows: Vec<u64>,
    },
}

/// A data file with its rows in order.
struct Model {
    file: Arc<DataFile>,
    rows: RecordBatch,
    gone: HashSet<u64>,
    /// Deleted by a vector, which replaces position deletes.
    vector: Option<HashSet<u64>>,
    equal: HashSet<u64>,
}

/// The rows of a data file, by name.
fn stored(path: &str) -> RecordBatch {
    let file = File::open(path.trim_start_matches("file://")).expect("a data file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let reader = reader.build().expect("a reader");
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("rows")).collect();
    let schema = batches.first().expect("a file has rows").schema();
    arrow::compute::concat_batches(&schema, &batches).expect("one schema")
}

/// What deletes compare: text of the values in which NaNs are equal, and zeros of two signs are not.
fn key(batch: &RecordBatch, columns: &[usize], row: usize) -> String {
    let columns = columns.iter().map(|at| {
        let column = batch.column_by_name(COLUMNS[*at]).expect("a column");
        let one = column.slice(row, 1);
        format!("{:?}", arrow::util::display::array_value_to_string(&one, 0))
            + if one.is_null(0) { "NULL" } else { "" }
    });
    columns.collect::<Vec<_>>().join("|")
}

struct Deleted {
    lake: Lake,
    table: Table,
    models: Vec<Model>,
    deletes: Vec<Arc<DeleteFile>>,
}

impl Deleted {
    async fn open(partition: &[(&str, Transform)]) -> Self {
        let lake = Lake::with_partitions(2).await;
        let table = lake.create("events", &events(), partition, &[]).await;
        Self {
            lake,
            table,
            models: Vec::new(),
            deletes: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lake.directory.path().join(name)
    }

    fn sequence(&self) -> i64 {
        let current = self.table.current_snapshot();
        current.map_or(1, |snapshot| snapshot.sequence_number + 1)
    }

    fn delete(&self, kind: DeleteKind, path: &Path) -> DeleteFile {
        let size = std::fs::metadata(path).expect("a delete file").len();
        DeleteFile {
            kind,
            path: format!("file://{}", path.display()),
            size_bytes: size,
            record_count: 1,
            format: FileFormat::Parquet,
            spec_id: self.table.partition_spec().id,
            partition: vec![],
            sequence_number: self.sequence(),
            equality_ids: vec![],
            lower_bounds: ByField::default(),
            upper_bounds: ByField::default(),
            referenced_data_file: None,
            content_offset: None,
            content_size: None,
            snapshot_id: 1,
        }
    }

    async fn insert(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        (self.table, _) = self.lake.insert(&self.table, vec![batch(rows)]).await;
        let snapshot = self.table.current_snapshot().expect("a snapshot");
        let files = snapshot_files(&self.table, &snapshot, &self.lake.cache, &|_| true).await;
        for file in files.expect("files").data {
            if !self.models.iter().any(|model| model.file.path == file.path) {
                let rows = stored(&file.path);
                self.models.push(Model {
                    file,
                    rows,
                    gone: HashSet::new(),
                    vector: None,
                    equal: HashSet::new(),
                });
            }
        }
    }

    fn equality(&mut self, columns: &[usize], keys: &[Row], scope: Option<usize>) {
        let partition = scope.map(|at| self.models[at].file.partition.clone());
        let partition = partition.unwrap_or_default();
        let all = batch(keys);
        let fields: Vec<Field> = columns
            .iter()
            .map(|at| {
                let ty = all.schema().field(*at).data_type().clone();
                let id = i32::try_from(at + 1).expect("a small id");
                // Names do not matter, ids do.
                field(&format!("key_{at}"), ty, true, id)
            })
            .collect();
        let arrays = columns
            .iter()
            .map(|at| Arc::clone(all.column(*at)))
            .collect();
        let path = self.path(&format!("equality-{}.parquet", self.deletes.len()));
        let rows =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns fit");
        write_parquet(&path, &rows);
        let ids = columns
            .iter()
            .map(|at| i32::try_from(at + 1).expect("a small id"));
        let delete = DeleteFile {
            equality_ids: ids.collect(),
            partition: partition.clone(),
            ..self.delete(DeleteKind::Equality, &path)
        };
        let wanted: HashSet<String> = (0..all.num_rows())
            .map(|row| key(&all, columns, row))
            .collect();
        for model in &mut self.models {
            let applies = partition.is_empty() || model.file.partition == partition;
            if applies && model.file.sequence_number < delete.sequence_number {
                let equal = (0..model.rows.num_rows())
                    .filter(|row| wanted.contains(&key(&model.rows, columns, *row)));
                model.equal.extend(equal.map(|row| row as u64));
            }
        }
        self.deletes.push(Arc::new(delete));
    }

    fn positions(&mut self, file: usize, rows: &[(usize, u64)], named: bool) {
        let own = self.models[file].file.clone();
        let rows: Vec<(usize, u64)> = rows
            .iter()
            .map(|(at, row)| {
                if named {
                    (file, *row)
                } else {
                    (at % self.models.len(), *row)
                }
            })
            .collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(
                rows.iter()
                    .map(|(at, _)| self.models[*at].file.path.as_str()),
            )),
            Arc::new(Int64Array::from_iter_values(
                rows.iter()
                    .map(|(_, row)| i64::try_from(*row).expect("small")),
            )),
        ];
        let schema = Schema::new(vec![
            field("file_path", DataType::Utf8, false, 2_147_483_546),
            field("pos", DataType::Int64, false, 2_147_483_545),
        ]);
        let path = self.path(&format!("positions-{}.parquet", self.deletes.len()));
        write_parquet(
            &path,
            &RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit"),
        );
        let delete = DeleteFile {
            partition: own.partition.clone(),
            referenced_data_file: named.then(|| own.path.clone()),
            ..self.delete(DeleteKind::Position, &path)
        };
        self.deletes.push(Arc::new(delete));
        for (at, row) in rows {
            let model = &mut self.models[at];
            if model.file.partition == own.partition {
                model.gone.insert(row);
            }
        }
    }

    fn vector(&mut self, file: usize, rows: &[u64]) {
        let mut body = vec![0xD1, 0xD3, 0x39, 0x64];
        let rows: RoaringTreemap = rows.iter().copied().collect();
        rows.serialize_into(&mut body)
            .expect("vectors serialize into memory");
        let length = u32::try_from(body.len()).expect("a small vector");
        let mut puffin = b"PFA1".to_vec();
        puffin.extend(length.to_be_bytes());
        puffin.extend(&body);
        puffin.extend(crc32fast::hash(&body).to_be_bytes());
        let path = self.path(&format!("vector-{}.puffin", self.deletes.len()));
        std::fs::write(&path, &puffin).expect("a vector is written");
        let delete = DeleteFile {
            format: FileFormat::Puffin,
            referenced_data_file: Some(self.models[file].file.path.clone()),
            content_offset: Some(4),
            content_size: Some(i64::try_from(puffin.len() - 4).expect("small")),
            ..self.delete(DeleteKind::DeletionVector, &path)
        };
        self.deletes.push(Arc::new(delete));
        let vector = &mut self.models[file].vector;
        vector.get_or_insert_with(HashSet::new).extend(rows);
    }

    async fn step(&mut self, step: &Step) {
        let files = self.models.len();
        match step {
            Step::Insert(rows) => self.insert(rows).await,
            _ if files == 0 => {}
            Step::Equality {
                columns,
                keys,
                scope,
            } => self.equality(columns, keys, scope.map(|at| at % files)),
            Step::Positions { file, rows, named } => self.positions(file % files, rows, *named),
            Step::Vector { file, rows } => self.vector(file % files, rows),
        }
    }

    /// The rows that are left, file by file.
    fn left(&self) -> RecordBatch {
        let schema = Arc::new(events());
        let mut parts = vec![RecordBatch::new_empty(Arc::clone(&schema))];
        for model in &self.models {
            let gone = model.vector.as_ref().unwrap_or(&model.gone);
            let stays = (0..model.rows.num_rows() as u64)
                .map(|row| Some(!gone.contains(&row) && !model.equal.contains(&row)));
            let columns = COLUMNS.iter().zip(schema.fields()).map(|(name, field)| {
                let column = model.rows.column_by_name(name).expect("a column");
                arrow::compute::cast(column, field.data_type()).expect("a type of the table")
            });
            let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("rows");
            let stays = stays.collect();
            parts.push(arrow::compute::filter_record_batch(&rows, &stays).expect("filtered"));
        }
        arrow::compute::concat_batches(&schema, &parts).expect("one schema")
    }

    fn register(&self) {
        let mut provider = self.lake.provider(&self.table);
        provider.more_deletes = self.deletes.clone();
        let context = &self.lake.context;
        for name in ["t", "memory"] {
            let _ = context.deregister_table(name);
        }
        let provider = provider.with_hidden_columns();
        context
            .register_table("t", Arc::new(provider))
            .expect("a table");
        context.register_batch("memory", self.left()).expect("rows");
    }

    /// The sorted rows of a query, here and as a worker would run it.
    async fn both(&self, sql: &str) -> (Vec<String>, Vec<String>) {
        let frame = self.lake.context.sql(sql).await.expect("a query");
        let plan = frame.create_physical_plan().await.expect("a plan");
        let context = self.lake.context.task_ctx();
        let run = async |plan| {
            let batches = collect(plan, Arc::clone(&context))
                .await
                .expect("the plan runs");
            let mut rows: Vec<String> = batches.iter().flat_map(lines).collect();
            rows.sort();
            rows
        };
        let remote = over_wire(&plan);
        (run(plan).await, run(remote).await)
    }

    async fn check(&self, select: &str, rest: &str) {
        let sql = |table: &str| format!("SELECT {select} FROM {table} {rest}");
        let (expected, _) = self.both(&sql("memory")).await;
        let (local, remote) = self.both(&sql("t")).await;
        assert_eq!(local, expected, "{}", sql("t"));
        assert_eq!(remote, expected, "over the wire: {}", sql("t"));
    }
}

async fn check_deleted(partition: &[(&str, Transform)], steps: &[Step], predicates: &[String]) {
    let mut deleted = Deleted::open(partition).await;
    for step in steps {
        deleted.step(step).await;
    }
    deleted.register();
    deleted.check("id, s, ts, x", "").await;
    deleted
        .check("count(*), min(id), max(id), count(s)", "")
        .await;
    for predicate in predicates {
        deleted.check("x, id", &format!("WHERE {predicate}")).await;
        deleted.check("s", &format!("WHERE {predicate}")).await;
    }
    let left = deleted.left().num_rows();
    let (some, _) = deleted.both("SELECT id FROM t LIMIT 3").await;
    assert_eq!(some.len(), left.min(3));
    deleted.check("id", "ORDER BY id DESC LIMIT 2").await;
}

fn step() -> impl Strategy<Value = Step> {
    let columns = prop::collection::vec(0usize..4, 1..3);
    prop_oneof![
        3 => rows().prop_map(Step::Insert),
        2 => (columns, rows(), prop::option::of(0usize..8)).prop_map(|(mut columns, keys, scope)| {
            columns.sort_unstable();
            columns.dedup();
            Step::Equality { columns, keys, scope }
        }),
        2 => (0usize..8, prop::collection::vec((0usize..8, 0u64..12), 0..8), any::<bool>())
            .prop_map(|(file, rows, named)| Step::Positions { file, rows, named }),
        1 => (0usize..8, prop::collection::vec(0u64..12, 0..8))
            .prop_map(|(file, rows)| Step::Vector { file, rows }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn deleted_rows_are_gone_and_no_others(
        partition in partitions(),
        first in rows(),
        steps in prop::collection::vec(step(), 1..8),
        predicates in prop::collection::vec(predicate(), 3),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let steps: Vec<Step> = std::iter::once(Step::Insert(first)).chain(steps).collect();
        runtime.block_on(check_deleted(&partition, &steps, &predicates));
    }
}

fn row(id: i64, s: Option<&str>, x: Option<f64>) -> Row {
    (id, s.map(str::to_owned), None, x)
}

#[tokio::test]
async fn equality_compares_null_with_null_and_nan_with_nan_but_no_two_zeros() {
    let mut deleted = Deleted::open(&[]).await;
    let rows = [
        row(1, None, Some(f64::NAN)),
        row(2, Some("a"), Some(0.0)),
        row(3, Some("b"), Some(-0.0)),
        row(4, Some("c"), None),
    ];
    deleted.insert(&rows).await;
    let other_nan = f64::from_bits(f64::NAN.to_bits() ^ (1 << 63) | 1);
    deleted.equality(
        &[3],
        &[row(0, None, Some(other_nan)), row(0, None, Some(0.0))],
        None,
    );
    deleted.register();
    let left = deleted.lake.text("SELECT id FROM t ORDER BY id").await;
    assert_eq!(left, ["3", "4"]);
    deleted.equality(&[1, 3], &[row(0, Some("c"), None)], None);
    deleted.register();
    assert_eq!(deleted.lake.text("SELECT id FROM t").await, ["3"]);
}

#[tokio::test]
async fn rows_as_new_as_the_delete_stay_and_clean_files_have_no_node() {
    let mut deleted = Deleted::open(&[]).await;
    deleted.insert(&[row(1, Some("a"), None)]).await;
    deleted.equality(&[1], &[row(0, Some("a"), None)], None);
    deleted.insert(&[row(2, Some("a"), None)]).await;
    deleted.register();
    let frame = deleted
        .lake
        .context
        .sql("SELECT id FROM t")
        .await
        .expect("a query");
    let plan = frame.create_physical_plan().await.expect("a plan");
    let text = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(false)
        .to_string();
    assert_eq!(text.matches("EqualityDeleteExec").count(), 1, "{text}");
    assert_eq!(
        text.matches("table=main.events, snapshot").count(),
        2,
        "{text}"
    );
    assert_eq!(deleted.lake.text("SELECT id FROM t").await, ["2"]);
    assert_eq!(deleted.lake.text("SELECT count(*) FROM t").await, ["1"]);
}

#[tokio::test]
async fn hidden_columns_say_where_each_row_is_and_stay_right_with_deletes_and_ranges() {
    let mut deleted = Deleted::open(&[("id", Transform::Truncate(100))]).await;
    let rows: Vec<Row> = (0..200).map(|id| row(id, Some("a"), None)).collect();
    deleted.insert(&rows).await;
    deleted.positions(0, &[(0, 0), (0, 5), (0, 6)], true);
    deleted.equality(&[0], &[row(7, None, None), row(100, None, None)], None);
    deleted.register();
    let files: HashMap<String, &Model> = deleted
        .models
        .iter()
        .map(|model| (model.file.path.clone(), model))
        .collect();
    let sql = "SELECT id, _file, _pos, _spec_id, _partition FROM t WHERE id % 3 = 1 OR _pos < 4";
    let (local, remote) = deleted.both(sql).await;
    assert_eq!(local, remote);
    assert!(local.len() > 60, "{}", local.len());
    for line in local {
        let parts: Vec<&str> = line.split('|').collect();
        let model = files[parts[1]];
        let position: usize = parts[2].parse().expect("a position");
        let id = key(&model.rows, &[0], position);
        assert_eq!(id, format!("{:?}", Ok::<_, ()>(parts[0])));
        assert_eq!(parts[3], deleted.table.partition_spec().id.to_string());
        let Some(Literal::Long(start)) = &model.file.partition[0] else {
            panic!("a truncated id");
        };
        assert_eq!(parts[4], format!("{{id_trunc: {start}}}"));
    }
}

#[tokio::test]
async fn a_row_keeps_the_id_that_its_file_stores_and_else_has_its_place_in_the_table() {
    let lake = Lake::open().await;
    let properties = [(tarn_catalog::FORMAT_VERSION_PROPERTY, "3")];
    let mut table = lake.create("v3", &events(), &[], &properties).await;
    for ids in [0..3, 3..5] {
        let rows: Vec<Row> = ids.map(|id| row(id, None, None)).collect();
        table = lake.insert(&table, vec![batch(&rows)]).await.0;
    }
    let provider = Arc::new(lake.provider(&table).with_hidden_columns());
    lake.context.register_table("t", provider).expect("a table");
    let sql =
        "SELECT id, _row_id, _last_updated_sequence_number FROM t WHERE _row_id > 0 ORDER BY id";
    assert_eq!(lake.text(sql).await, ["1|1|1", "2|2|1", "3|3|2", "4|4|2"]);
    // A file with the lineage of its rows, as another engine writes it that moves rows.
    let (_, reports) = lake
        .insert(
            &table,
            vec![batch(&[row(8, None, None), row(9, None, None)])],
        )
        .await;
    let rows = stored(&reports[0].path);
    let mut fields: Vec<Field> = rows
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut columns = rows.columns().to_vec();
    for (name, id, value) in [("_row_id", 2_147_483_540, 1), ("_seq", 2_147_483_539, 1)] {
        fields.push(field(name, DataType::Int64, true, id));
        columns.push(Arc::new(Int64Array::from(vec![Some(value), None])));
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit");
    let path = lake.directory.path().join("moved.parquet");
    write_parquet(&path, &rows);
    let moved = NewDataFile {
        path: format!("file://{}", path.display()),
        size_bytes: std::fs::metadata(&path).expect("a file").len(),
        ..reports[0].clone()
    };
    let table = lake
        .catalog
        .load_table(table.ident())
        .await
        .expect("the table");
    let table = append(&lake.catalog, &table, vec![moved], HashMap::new())
        .await
        .expect("a commit");
    let provider = Arc::new(lake.provider(&table).with_hidden_columns());
    lake.context
        .register_table("moved", provider)
        .expect("a table");
    let sql = "SELECT id, _row_id, _last_updated_sequence_number FROM moved WHERE _file LIKE '%moved.parquet' ORDER BY id";
    assert_eq!(lake.text(sql).await, ["8|1|1", "9|8|4"]);
}

/// The error of reading all rows, with all of its causes.
async fn refusal(deleted: &Deleted) -> String {
    deleted.register();
    let frame = deleted
        .lake
        .context
        .sql("SELECT * FROM t")
        .await
        .expect("a query");
    let error = match frame.create_physical_plan().await {
        Ok(plan) => {
            let read = collect(plan, deleted.lake.context.task_ctx()).await;
            read.expect_err("deletes that are not known")
        }
        Err(error) => error,
    };
    crate::error::EngineError::from(error).to_string()
}

#[tokio::test]
async fn deletes_that_are_missing_or_damaged_are_named_and_no_row_comes_back() {
    let rows: Vec<Row> = (0..9).map(|id| row(id, Some("a"), None)).collect();
    for kind in ["positions", "equality", "vector"] {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 3] = [
            ("missing", |path| {
                std::fs::remove_file(path).expect("removed");
            }),
            ("cut", |path| {
                let bytes = std::fs::read(path).expect("a file");
                std::fs::write(path, &bytes[..bytes.len() - 6]).expect("cut");
            }),
            ("flipped", |path| {
                let mut bytes = std::fs::read(path).expect("a file");
                let at = bytes.len() - 9;
                bytes[at] ^= 0xff;
                std::fs::write(path, &bytes).expect("flipped");
            }),
        ];
        for (name, damage) in damages {
            let mut deleted = Deleted::open(&[]).await;
            deleted.insert(&rows).await;
            match kind {
                "positions" => deleted.positions(0, &[(0, 3)], true),
                "equality" => deleted.equality(&[0], &rows[..2], None),
                _ => deleted.vector(0, &[1, 5]),
            }
            let path = deleted.deletes[0].path.clone();
            let file = path.rsplit('/').next().expect("a name");
            damage(Path::new(path.trim_start_matches("file://")));
            let error = refusal(&deleted).await;
            assert!(
                error.contains(file) && error.contains("main.events"),
                "{name}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn deletes_in_a_format_that_is_not_read_are_refused_by_name() {
    for kind in [DeleteKind::Position, DeleteKind::Equality] {
        let mut deleted = Deleted::open(&[]).await;
        deleted.insert(&[row(1, None, None)]).await;
        let path = deleted.path("deletes.avro");
        std::fs::write(&path, b"Obj").expect("a file");
        let delete = DeleteFile {
            format: FileFormat::Avro,
            equality_ids: vec![1],
            ..deleted.delete(kind, &path)
        };
        deleted.deletes.push(Arc::new(delete));
        let error = refusal(&deleted).await;
        assert!(
            error.contains("deletes.avro") && error.contains("Avro"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn bounds_that_contradict_the_data_make_no_value_up() {
    let lake = Lake::open().await;
    let table = lake.create("wrong", &events(), &[], &[]).await;
    let rows = [
        row(1, Some("a"), None),
        row(5, Some("b"), None),
        row(9, None, None),
    ];
    let (_, reports) = lake.insert(&table, vec![batch(&rows)]).await;
    let (bound, count) = (Literal::Long(5), reports[0].record_count);
    let mut wrong = reports[0].clone();
    for bounds in [&mut wrong.lower_bounds, &mut wrong.upper_bounds] {
        bounds.insert(1, bound.clone());
        bounds.insert(2, Literal::String("z".to_owned()));
    }
    wrong.null_counts.insert(3, 0);
    wrong.null_counts.insert(4, count);
    let other = lake.create("other", &events(), &[], &[]).await;
    let other = append(&lake.catalog, &other, vec![wrong], HashMap::new())
        .await
        .expect("a commit");
    lake.register("other", &other);
    let sql = "SELECT min(id), max(id), count(id), min(s), max(s), count(s), count(ts), count(*) FROM other";
    assert_eq!(lake.text(sql).await, ["1|9|3|a|b|2|0|3"]);
    assert_eq!(
        lake.text("SELECT id FROM other ORDER BY id").await,
        ["1", "5", "9"]
    );
}

#[tokio::test]
async fn partition_values_that_files_leave_out_are_read_from_the_metadata() {
    let lake = Lake::open().await;
    let partition = [("s", Transform::Identity), ("x", Transform::Identity)];
    let mut table = lake.create("hive", &events(), &partition, &[]).await;
    for (at, (s, x)) in [
        (Some("a"), Some(f64::NAN)),
        (None, None),
        (Some("b"), Some(1.5)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = i64::try_from(at).expect("small");
        let other = lake
            .create(&format!("source{at}"), &events(), &partition, &[])
            .await;
        let (_, reports) = lake.insert(&other, vec![batch(&[row(id, s, x)])]).await;
        let rows = stored(&reports[0].path);
        // As Hive writes files: without the columns of the partition.
        let bare = rows.project(&[0, 2]).expect("columns");
        let path = lake.directory.path().join(format!("hive-{at}.parquet"));
        write_parquet(&path, &bare);
        let mut file = NewDataFile {
            path: format!("file://{}", path.display()),
            size_bytes: std::fs::metadata(&path).expect("a file").len(),
            ..reports[0].clone()
        };
        for id in [2, 4] {
            file.column_sizes.remove(&id);
            file.value_counts.remove(&id);
            file.null_counts.remove(&id);
            file.nan_counts.remove(&id);
            file.lower_bounds.remove(&id);
            file.upper_bounds.remove(&id);
        }
        table = append(&lake.catalog, &table, vec![file], HashMap::new())
            .await
            .expect("a commit");
    }
    lake.register("hive", &table);
    let all = ["0|a|NaN", "1|NULL|NULL", "2|b|1.5"];
    assert_eq!(
        lake.text("SELECT id, s, x FROM hive ORDER BY id").await,
        all
    );
    assert_eq!(lake.text("SELECT id FROM hive WHERE s = 'b'").await, ["2"]);
    assert_eq!(
        lake.text("SELECT id FROM hive WHERE s IS NULL").await,
        ["1"]
    );
    assert_eq!(lake.text("SELECT id FROM hive WHERE x > 2").await, ["0"]);
    assert_eq!(
        lake.text("SELECT s, count(*) FROM hive GROUP BY s ORDER BY s")
            .await,
        ["a|1", "b|1", "NULL|1"]
    );
    let frame = lake
        .context
        .sql("SELECT id, s, x FROM hive ORDER BY id")
        .await
        .expect("a query");
    let plan = over_wire(&frame.create_physical_plan().await.expect("a plan"));
    let batches = collect(plan, lake.context.task_ctx())
        .await
        .expect("it runs");
    assert_eq!(batches.iter().flat_map(lines).collect::<Vec<_>>(), all);
}
