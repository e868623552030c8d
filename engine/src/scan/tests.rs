//! Scans of tables written by our own writer, and of Parquet files written by hand.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionContext;
use datafusion_datasource::PartitionedFile;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tarn_catalog::{Literal, Table, Transform};

use super::deletes::{DeleteCache, DeleteSource, FileDeletes};
use super::lake::{Lake, field, lines};
use super::leaf::{ScanFacts, as_scan};
use super::source::IcebergSource;
use super::{Evolution, IcebergScan};
use crate::distribute::TarnCodec;
use crate::error::{EngineError, ErrorKind};

pub(super) fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).expect("a new file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("rows are written");
    writer.close().expect("the file is closed");
}

/// A scan of one hand-written file as a table of `schema`.
fn file_scan(
    path: &Path,
    schema: impl Into<TableSchema>,
    evolution: Evolution,
    deletes: Option<FileDeletes>,
) -> IcebergScan {
    let size = std::fs::metadata(path).expect("the file exists").len();
    let mut file = PartitionedFile::new(path.display().to_string(), size);
    if let Some(deletes) = deletes {
        file = file.with_extension(deletes);
    }
    let evolution = Arc::new(evolution);
    let parquet = Arc::new(ParquetSource::new(schema));
    let deletes = DeleteCache::for_files([&file].into_iter(), super::reads::Reads::default());
    let source = IcebergSource::new(parquet, Vec::new(), Arc::clone(&evolution), deletes);
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
        .with_file_groups(vec![FileGroup::new(vec![file])])
        .build();
    IcebergScan::new(config, Arc::new(ScanFacts::default()), evolution)
}

async fn read(scan: IcebergScan) -> Result<Vec<String>> {
    let batches = collect(scan.into_plan(), SessionContext::new().task_ctx()).await?;
    Ok(batches.iter().flat_map(lines).collect())
}

/// What a file of `columns` reads as in a table of `schema`.
async fn check_evolution(
    columns: Vec<(Field, ArrayRef)>,
    schema: Vec<Field>,
    evolution: Evolution,
    expected: &[&str],
) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("f.parquet");
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns fit");
    write_parquet(&path, &batch);
    let schema = Arc::new(Schema::new(schema));
    let rows = read(file_scan(&path, &schema, evolution, None))
        .await
        .expect("the file is read");
    assert_eq!(rows, expected);
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

#[tokio::test]
async fn columns_follow_their_ids_through_rename_reorder_drop_and_add() {
    let file = vec![
        (field("a", DataType::Int32, true, 1), ints(&[1, 2])),
        (
            field("b", DataType::Utf8, true, 2),
            Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef,
        ),
        (field("gone", DataType::Int32, true, 3), ints(&[7, 8])),
    ];
    // "b" is a new column under an old name; the old one is called "text".
    let table = vec![
        field("text", DataType::Utf8View, true, 2),
        field("b", DataType::Int64, true, 9),
        field("a", DataType::Int32, true, 1),
    ];
    check_evolution(file, table, Evolution::default(), &["x|NULL|1", "y|NULL|2"]).await;
}

#[tokio::test]
async fn types_widen_as_iceberg_allows() {
    let decimal = Decimal128Array::from(vec![125])
        .with_precision_and_scale(5, 2)
        .expect("a valid decimal");
    let file = vec![
        (field("i", DataType::Int32, true, 1), ints(&[-5])),
        (
            field("f", DataType::Float32, true, 2),
            Arc::new(Float32Array::from(vec![0.5])) as ArrayRef,
        ),
        (
            field("d", DataType::Decimal128(5, 2), true, 3),
            Arc::new(decimal),
        ),
    ];
    let table = vec![
        field("i", DataType::Int64, true, 1),
        field("f", DataType::Float64, true, 2),
        field("d", DataType::Decimal128(20, 2), true, 3),
    ];
    check_evolution(file, table, Evolution::default(), &["-5|0.5|1.25"]).await;
}

#[tokio::test]
async fn timestamps_without_zone_are_utc_in_a_column_with_one() {
    let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+02:00".into()));
    let values: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
    let file = vec![(field("t", plain, true, 1), values)];
    let table = vec![field("t", zoned, true, 1)];
    let expected = ["1970-01-01T02:00:00+02:00"];
    check_evolution(file, table, Evolution::default(), &expected).await;
}

#[tokio::test]
async fn a_new_required_column_reads_as_its_initial_default() {
    let file = vec![(field("a", DataType::Int32, true, 1), ints(&[1]))];
    let table = vec![
        field("a", DataType::Int32, true, 1),
        field("n", DataType::Int64, false, 2),
    ];
    let evolution = Evolution {
        defaults: vec![(2, Literal::Long(42))],
        ..Evolution::default()
    };
    check_evolution(file, table, evolution, &["1|42"]).await;
}

#[tokio::test]
async fn nested_fields_follow_their_ids() {
    let children = vec![
        field("x", DataType::Int32, true, 3),
        field("y", DataType::Int32, true, 4),
    ];
    let point = StructArray::new(
        children.clone().into(),
        vec![ints(&[1, 2]), ints(&[10, 20])],
        None,
    );
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
    ]);
    let element = field("element", DataType::Int32, true, 6);
    let (_, offsets, values, nulls) = list.into_parts();
    let list = ListArray::new(Arc::new(element.clone()), offsets, values, nulls);
    let file = vec![
        (
            field("p", DataType::Struct(children.into()), true, 1),
            Arc::new(point) as ArrayRef,
        ),
        (
            field("l", DataType::List(Arc::new(element)), true, 5),
            Arc::new(list),
        ),
    ];
    let wanted = vec![
        field("z", DataType::Int32, true, 9),
        field("why", DataType::Int64, true, 4),
        field("x", DataType::Int32, true, 3),
    ];
    let element = field("element", DataType::Int64, true, 6);
    let table = vec![
        field("p", DataType::Struct(wanted.into()), true, 1),
        field("l", DataType::List(Arc::new(element)), true, 5),
    ];
    let expected = [
        "{z: NULL, why: 10, x: 1}|[1, NULL]",
        "{z: NULL, why: 20, x: 2}|NULL",
    ];
    check_evolution(file, table, Evolution::default(), &expected).await;
}

#[tokio::test]
async fn a_file_without_ids_is_read_by_mapping_else_by_place() {
    let file = || {
        vec![
            (Field::new("old", DataType::Int32, true), ints(&[1])),
            (Field::new("b", DataType::Int32, true), ints(&[2])),
        ]
    };
    let table = || {
        vec![
            field("a", DataType::Int32, true, 1),
            field("b", DataType::Int32, true, 2),
        ]
    };
    check_evolution(file(), table(), Evolution::default(), &["1|2"]).await;
    let names = Some(vec![
        (vec!["old".to_owned()], 1),
        (vec!["a".to_owned()], 1),
        (vec!["c".to_owned()], 2),
    ]);
    check_evolution(
        file(),
        table(),
        Evolution {
            names,
            ..Evolution::default()
        },
        &["1|NULL"],
    )
    .await;
}

#[tokio::test]
async fn a_missing_required_column_and_a_narrowed_type_are_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("f.parquet");
    let schema = Arc::new(Schema::new(vec![field("a", DataType::Int64, true, 1)]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    write_parquet(
        &path,
        &RecordBatch::try_new(schema, vec![values]).expect("columns fit"),
    );
    for (wanted, words) in [
        (
            field("n", DataType::Int32, false, 2),
            "required column \"n\"",
        ),
        (
            field("a", DataType::Int32, true, 1),
            "column \"a\" is Int64",
        ),
    ] {
        let schema = Arc::new(Schema::new(vec![wanted]));
        let error = read(file_scan(&path, &schema, Evolution::default(), None))
            .await
            .expect_err("no such rows");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("f.parquet"), "{text}");
    }
}

#[tokio::test]
async fn deleted_positions_are_not_read_in_any_byte_range() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("f.parquet");
    let schema = Arc::new(Schema::new(vec![field("a", DataType::Int64, true, 1)]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![Arc::new(Int64Array::from_iter_values(0..10_000)) as ArrayRef],
    )
    .expect("columns fit");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(1_000))
        .build();
    let file = File::create(&data).expect("a new file");
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows are written");
    writer.close().expect("the file is closed");

    let deleted = directory.path().join("d.parquet");
    let name = "s3://somewhere/f.parquet";
    let rows: Vec<(&str, i64)> = (0..10_000)
        .filter(|n| n % 3 == 0)
        .map(|n| (name, n))
        .chain([("other", 1)])
        .collect();
    let positions = Schema::new(vec![
        field("file_path", DataType::Utf8, false, 2_147_483_546),
        field("pos", DataType::Int64, false, 2_147_483_545),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    write_parquet(
        &deleted,
        &RecordBatch::try_new(Arc::new(positions), columns).expect("columns fit"),
    );

    let found = FileDeletes {
        data_file: name.to_owned(),
        record_count: 10_000,
        files: vec![DeleteSource::Positions {
            key: deleted
                .display()
                .to_string()
                .trim_start_matches('/')
                .to_owned(),
            size: std::fs::metadata(&deleted).expect("the file exists").len(),
            added_by: 1,
        }],
    };
    let number =
        Field::new("number", DataType::Int64, false).with_extension_type(parquet::arrow::RowNumber);
    let numbered = TableSchema::builder(Arc::clone(&schema))
        .with_virtual_columns(vec![Arc::new(number)])
        .build();
    let expected: Vec<i64> = (0..10_000).filter(|n| n % 3 != 0).collect();
    for partitions in [1, 4] {
        let scan = file_scan(
            &data,
            numbered.clone(),
            Evolution::default(),
            Some(found.clone()),
        );
        let plan = scan.into_plan();
        let config = SessionContext::new().copied_config();
        let mut options = config.options().as_ref().clone();
        options.optimizer.repartition_file_min_size = 1;
        let plan = plan
            .repartitioned(partitions, &options)
            .expect("a scan repartitions")
            .unwrap_or(plan);
        let batches = collect(over_wire(&plan), SessionContext::new().task_ctx())
            .await
            .expect("the scan runs");
        let values = batches.iter().flat_map(|batch| {
            use arrow::array::AsArray;
            let values = |at: usize| {
                batch
                    .column(at)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            };
            // A row's number is its place in the file, whatever else is read of it.
            assert_eq!(values(0), values(1));
            values(0)
        });
        let mut values: Vec<i64> = values.collect();
        values.sort_unstable();
        assert_eq!(values, expected);
    }
}

/// The plan as a worker gets it.
pub(super) fn over_wire(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let converter = DeduplicatingProtoConverter {};
    let bytes =
        physical_plan_to_bytes_with_proto_converter(Arc::clone(plan), &TarnCodec, &converter)
            .expect("the plan is encoded");
    let context = SessionContext::new();
    physical_plan_from_bytes_with_proto_converter(
        &bytes,
        context.task_ctx().as_ref(),
        &TarnCodec,
        &converter,
    )
    .expect("the plan is decoded")
}

pub(super) fn events() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("s", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("x", DataType::Float64, true),
    ])
}

pub(super) type Row = (i64, Option<String>, Option<i64>, Option<f64>);

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(
            rows.iter()
                .map(|row| row.1.clone())
                .collect::<StringArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|row| row.2)
                .collect::<TimestampMicrosecondArray>(),
        ),
        Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(Arc::new(events()), columns).expect("rows fit the schema")
}

async fn events_table(lake: &Lake, partition: &[(&str, Transform)], inserts: &[Vec<Row>]) -> Table {
    let mut table = lake.create("events", &events(), partition, &[]).await;
    for rows in inserts.iter().filter(|rows| !rows.is_empty()) {
        table = lake.insert(&table, vec![batch(rows)]).await.0;
    }
    lake.register("events", &table);
    table
}

fn row(id: i64) -> Row {
    (
        id,
        Some(format!("s{}", id % 3)),
        Some(id * 3_600_000_000),
        Some(1.5),
    )
}

#[tokio::test]
async fn an_empty_table_has_one_partition_and_no_rows() {
    let lake = Lake::open().await;
    let table = events_table(&lake, &[], &[]).await;
    assert!(lake.text("SELECT * FROM events").await.is_empty());
    assert_eq!(lake.text("SELECT count(*) FROM events").await, ["0"]);
    let plan = lake
        .context
        .sql("SELECT id FROM events")
        .await
        .expect("a query");
    let plan = plan.create_physical_plan().await.expect("a plan");
    let decoded = over_wire(&leaf(&plan));
    assert_eq!(
        decoded.properties().output_partitioning().partition_count(),
        1
    );
    assert!(
        collect(decoded, lake.context.task_ctx())
            .await
            .expect("it runs")
            .iter()
            .all(|b| b.num_rows() == 0)
    );
    assert!(table.current_snapshot().is_none());
}

pub(super) fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let mut plan = Arc::clone(plan);
    while as_scan(&plan).is_none() {
        plan = Arc::clone(plan.children().first().expect("a scan at the bottom"));
    }
    plan
}

#[tokio::test]
async fn files_of_other_partitions_are_pruned_and_shown() {
    let lake = Lake::open().await;
    let rows: Vec<Row> = (0..72).map(row).collect();
    events_table(&lake, &[("ts", Transform::Day)], &[rows]).await;
    let sql = "SELECT id FROM events WHERE ts = TIMESTAMP '1970-01-02 01:00:00'";
    assert_eq!(lake.text(sql).await, ["25"]);
    let plan = lake
        .context
        .sql(sql)
        .await
        .expect("a query")
        .create_physical_plan()
        .await
        .expect("a plan");
    let text = displayable(leaf(&plan).as_ref()).one_line().to_string();
    assert!(
        text.contains("table=main.events") && text.contains("files=1") && text.contains("pruned=2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_query_over_the_wire_answers_the_same() {
    let lake = Lake::open().await;
    let inserts: Vec<Vec<Row>> = (0..4)
        .map(|n| (n * 50..n * 50 + 50).map(row).collect())
        .collect();
    events_table(&lake, &[("id", Transform::Bucket(3))], &inserts).await;
    for sql in [
        "SELECT id, s FROM events WHERE id > 20 ORDER BY id DESC LIMIT 7",
        "SELECT s, count(*) FROM events GROUP BY s ORDER BY s",
        "SELECT a.id FROM events a JOIN (SELECT id FROM events WHERE s = 's1' AND id < 30) b ON a.id = b.id ORDER BY 1",
    ] {
        let plan = lake
            .context
            .sql(sql)
            .await
            .expect("a query")
            .create_physical_plan()
            .await
            .expect("a plan");
        let batches = collect(over_wire(&plan), lake.context.task_ctx())
            .await
            .expect("the decoded plan runs");
        let remote: Vec<String> = batches.iter().flat_map(lines).collect();
        assert_eq!(remote, lake.text(sql).await, "{sql}");
    }
}

#[tokio::test]
async fn variants_of_a_scan_read_every_row_once() {
    let lake = Lake::open().await;
    let inserts: Vec<Vec<Row>> = (0..5)
        .map(|n| (n * 10..n * 10 + 10).map(row).collect())
        .collect();
    events_table(&lake, &[], &inserts).await;
    let plan = lake
        .context
        .sql("SELECT id FROM events")
        .await
        .expect("a query");
    let leaf = leaf(&plan.create_physical_plan().await.expect("a plan"));
    let scan = as_scan(&leaf).expect("a scan");
    assert!(super::bytes(scan) > 0);
    let variants = super::scale_up(scan, 3, &[], 2).expect("variants");
    let partitions =
        |plan: &Arc<dyn ExecutionPlan>| plan.properties().output_partitioning().partition_count();
    assert!(
        variants
            .iter()
            .all(|variant| partitions(variant) == partitions(&variants[0]))
    );
    let mut ids = Vec::new();
    for variant in &variants {
        for batch in collect(over_wire(variant), lake.context.task_ctx())
            .await
            .expect("a variant runs")
        {
            ids.extend(lines(&batch));
        }
    }
    ids.sort_by_key(|id| id.parse::<i64>().expect("an id"));
    assert_eq!(ids, (0..50).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_nan_is_found_above_every_number() {
    let lake = Lake::open().await;
    let rows: Vec<Row> = vec![
        (1, None, None, Some(f64::NAN)),
        (2, None, None, Some(1.0)),
        (3, None, None, None),
    ];
    events_table(&lake, &[], &[rows]).await;
    assert_eq!(lake.text("SELECT id FROM events WHERE x > 5").await, ["1"]);
    assert_eq!(
        lake.text("SELECT id FROM events ORDER BY x DESC NULLS LAST LIMIT 1")
            .await,
        ["1"]
    );
}

#[tokio::test]
async fn a_damaged_or_missing_data_file_is_named_with_its_table_and_what_to_do() {
    let lake = Lake::open().await;
    let table = lake.create("events", &events(), &[], &[]).await;
    let (table, files) = lake.insert(&table, vec![batch(&[row(1)])]).await;
    lake.register("events", &table);
    let path = files[0].path.trim_start_matches("file://").to_owned();
    let check = async |kind: ErrorKind| {
        let frame = lake.context.sql("SELECT s FROM events").await;
        let error = frame
            .expect("a query")
            .collect()
            .await
            .expect_err("an error");
        let error = EngineError::from(error);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains("\"main.events\""), "{error}");
        assert!(error.message.contains(".parquet\""), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("restore")));
    };
    let size = std::fs::metadata(&path).expect("a file").len();
    std::fs::write(&path, vec![7u8; usize::try_from(size).expect("small")]).expect("damaged");
    check(ErrorKind::Corrupt).await;
    std::fs::remove_file(&path).expect("removed");
    check(ErrorKind::FileNotFound).await;
}

#[tokio::test]
async fn a_pinned_snapshot_shows_its_own_rows() {
    let lake = Lake::open().await;
    let table = events_table(&lake, &[], &[vec![row(1)], vec![row(2)]]).await;
    let first = table
        .snapshots()
        .into_iter()
        .find(|s| s.parent_id.is_none())
        .expect("a first snapshot");
    let provider = super::IcebergTableProvider::at(table, first, true, lake.cache.clone());
    lake.context
        .register_table("past", Arc::new(provider))
        .expect("a table is registered");
    assert_eq!(lake.text("SELECT id FROM past").await, ["1"]);
}

#[tokio::test]
async fn a_column_with_time_zone_is_read_filtered_and_shipped_in_the_zone_of_the_session() {
    const HOUR: i64 = 3_600_000_000;
    let lake = Lake::open().await;
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = DataType::new_list(zoned.clone(), true);
    let schema = Schema::new(vec![
        Field::new("ts", zoned, true),
        Field::new("all_ts", list.clone(), true),
    ]);
    let partition = [("ts", Transform::Day)];
    let mut table = lake.create("z", &schema, &partition, &[]).await;
    for hour in [12, 23] {
        let ts: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![hour * HOUR]).with_timezone("UTC"));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
        let DataType::List(element) = &list else {
            unreachable!("a list")
        };
        let lists = ListArray::new(Arc::clone(element), offsets, Arc::clone(&ts), None);
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![ts, Arc::new(lists)]);
        (table, _) = lake.insert(&table, vec![batch.expect("columns fit")]).await;
    }
    let provider = lake.provider(&table).with_time_zone("+02:00");
    lake.context
        .register_table("z", Arc::new(provider))
        .expect("a table is registered");
    let by_date =
        "SELECT ts::date, extract(hour FROM ts), all_ts[1] FROM z WHERE ts::date > '1970-01-01'";
    let expected = ["1970-01-02|1|1970-01-02T01:00:00+02:00"];
    assert_eq!(lake.text(by_date).await, expected);
    let sql = "SELECT ts FROM z WHERE ts >= '1970-01-02 00:30:00'";
    let expected = ["1970-01-02T01:00:00+02:00"];
    assert_eq!(lake.text(sql).await, expected);
    let frame = lake.context.sql(sql).await.expect("a query");
    let plan = frame.create_physical_plan().await.expect("a plan");
    let bottom = leaf(&plan);
    assert_eq!(as_scan(&bottom).expect("a scan").files().count(), 1);
    let batches = collect(over_wire(&plan), lake.context.task_ctx())
        .await
        .expect("the decoded plan runs");
    assert_eq!(batches.iter().flat_map(lines).collect::<Vec<_>>(), expected);
}

pub(super) fn partitions() -> impl Strategy<Value = Vec<(&'static str, Transform)>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![("s", Transform::Identity)]),
        Just(vec![("id", Transform::Bucket(4))]),
        Just(vec![("s", Transform::Bucket(3)), ("ts", Transform::Month)]),
        Just(vec![("id", Transform::Truncate(7))]),
        Just(vec![("s", Transform::Truncate(1))]),
        Just(vec![("ts", Transform::Year)]),
        Just(vec![("ts", Transform::Day)]),
        Just(vec![("ts", Transform::Hour)]),
        Just(vec![("x", Transform::Identity)]),
    ]
}

pub(super) fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof![Just(None), "[ab]{0,3}".prop_map(Some)];
    let time = prop_oneof![
        Just(None),
        (-40i64..40).prop_map(|hours| Some(hours * 1_800_000_000 - 1))
    ];
    let number = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(-0.0)),
        (-3i32..3).prop_map(|n| Some(f64::from(n)))
    ];
    prop::collection::vec((-20i64..20, text, time, number), 0..12)
}

pub(super) fn predicate() -> impl Strategy<Value = String> {
    let operator = prop_oneof![
        Just("="),
        Just("<>"),
        Just("<"),
        Just("<="),
        Just(">"),
        Just(">=")
    ];
    let time = |hours: i64| format!("to_timestamp_micros({})", hours * 1_800_000_000);
    let simple = prop_oneof![
        (operator.clone(), -20i64..20).prop_map(|(op, n)| format!("id {op} {n}")),
        prop::collection::vec(-20i64..20, 1..4).prop_map(|ns| format!(
            "id IN ({})",
            ns.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        )),
        (operator.clone(), "[ab]{0,2}").prop_map(|(op, s)| format!("s {op} '{s}'")),
        "[ab]{0,2}".prop_map(|s| format!("s LIKE '{s}%'")),
        "[ab]{0,2}".prop_map(|s| format!("s NOT IN ('{s}', 'a')")),
        (operator.clone(), -40i64..40).prop_map(move |(op, n)| format!("ts {op} {}", time(n))),
        (operator, -3i32..3).prop_map(|(op, n)| format!("x {op} {n}")),
        prop_oneof![Just("id"), Just("s"), Just("ts"), Just("x")]
            .prop_map(|c| format!("{c} IS NULL")),
        prop_oneof![Just("s"), Just("ts"), Just("x")].prop_map(|c| format!("{c} IS NOT NULL")),
    ];
    simple.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

/// The same query over the same rows, in memory and in the lake.
async fn check_pruned(
    partition: &[(&str, Transform)],
    inserts: &[Vec<Row>],
    predicates: &[String],
) {
    let lake = Lake::with_partitions(2).await;
    events_table(&lake, partition, inserts).await;
    let all: Vec<Row> = inserts.concat();
    let memory = MemTable::try_new(Arc::new(events()), vec![vec![batch(&all)]]).expect("rows");
    lake.context
        .register_table("memory", Arc::new(memory))
        .expect("a table is registered");
    for predicate in predicates {
        let of = |table: &str| format!("SELECT id, s, ts, x FROM {table} WHERE {predicate}");
        let (mut pruned, mut unpruned) = (
            lake.text(&of("events")).await,
            lake.text(&of("memory")).await,
        );
        pruned.sort();
        unpruned.sort();
        assert_eq!(pruned, unpruned, "{predicate}");
    }
}

/// How many tables the property is tried on: few in CI, more by `TARN_PROPERTY_CASES`.
pub(super) fn cases() -> u32 {
    let wanted = std::env::var("TARN_PROPERTY_CASES").ok();
    wanted.and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn pruned_is_unpruned(
        partition in partitions(),
        inserts in prop::collection::vec(rows(), 1..4),
        predicates in prop::collection::vec(predicate(), 8),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(check_pruned(&partition, &inserts, &predicates));
    }
}

#[test]
fn a_name_mapping_reaches_nested_fields() {
    let names = vec![(vec!["p".to_owned(), "lat".to_owned()], 7)];
    let evolution = Evolution {
        names: Some(names),
        ..Evolution::default()
    };
    let child = Field::new("lat", DataType::Int32, true);
    let file = Schema::new(vec![Field::new(
        "p",
        DataType::Struct(vec![child.clone()].into()),
        true,
    )]);
    let matching = super::conform::Matching::of(file.fields(), &evolution);
    let wanted = field("latitude", DataType::Int32, true, 7);
    assert_eq!(
        matching.find(&wanted, &vec![child].into(), &["p".to_owned()]),
        Some(0)
    );
    assert_eq!(matching.find(&wanted, file.fields(), &[]), None);
}
