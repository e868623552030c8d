//! What the writer stores, read back by a plain Parquet reader and by our own scan.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::execution::FunctionRegistry;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tarn_catalog::{Literal, SortFieldDef, Transform};

use crate::distribute::TarnCodec;
use crate::scan::lake::{Lake, files, lines};
use crate::write::functions;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ])
}

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(
            ids.clone()
                .map(|id| (id % 5 != 0).then(|| format!("n{}", id % 4)))
                .collect::<StringArray>(),
        ),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            ids.map(|id| id * 3_600_000_000),
        )),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("columns fit")
}

fn parquet_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_file_has_field_ids_zstd_and_exact_metrics() {
    let lake = Lake::open().await;
    let table = lake.create("t", &schema(), &[], &[]).await;
    let (table, files) = lake.insert(&table, vec![batch(0..100)]).await;
    let [file] = &files[..] else {
        panic!("one input partition, one file: {files:?}")
    };
    assert_eq!(file.record_count, 100);
    assert_eq!(file.null_counts[&2], 20);
    assert_eq!(file.lower_bounds[&1], Literal::Long(0));
    assert_eq!(file.upper_bounds[&1], Literal::Long(99));
    assert_eq!(file.upper_bounds[&2], Literal::String("n3".to_owned()));
    assert!(file.column_sizes[&1] > 0 && file.split_offsets == [4]);
    let path = file.path.trim_start_matches("file://");
    assert_eq!(
        file.size_bytes,
        std::fs::metadata(path).expect("the file is there").len()
    );
    let reader = SerializedFileReader::new(File::open(path).expect("the file opens"))
        .expect("a Parquet file");
    let footer = reader.metadata();
    let columns = footer.row_group(0).columns();
    assert!(
        columns
            .iter()
            .all(|column| matches!(column.compression(), Compression::ZSTD(_)))
    );
    let ids: Vec<i32> = columns
        .iter()
        .map(|column| column.column_descr().self_type().get_basic_info().id())
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    lake.register("t", &table);
    assert_eq!(
        lake.text("SELECT count(*), count(name), max(at) FROM t")
            .await,
        ["100|80|1970-01-05T03:00:00"]
    );
}

#[tokio::test]
async fn rows_of_one_partition_are_in_one_file_of_one_task() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("name", Transform::Identity)], &[])
        .await;
    let (table, files) = lake
        .insert(&table, vec![batch(0..50), batch(50..100), batch(100..150)])
        .await;
    // n0 to n3 and NULL, however many inputs there were.
    assert_eq!(files.len(), 5, "{files:?}");
    assert!(
        files
            .iter()
            .any(|file| file.partition == [None] && file.path.contains("name=null/"))
    );
    lake.register("t", &table);
    assert_eq!(
        lake.text("SELECT count(*) FROM t WHERE name IS NULL").await,
        ["30"]
    );
    let mut names = lake
        .text("SELECT name, count(*) FROM t GROUP BY name")
        .await;
    names.sort();
    assert_eq!(names, ["NULL|30", "n0|30", "n1|30", "n2|30", "n3|30"]);
}

#[tokio::test]
async fn more_partitions_than_open_files_are_all_written() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("id", Transform::Identity)], &[])
        .await;
    // Every partition comes in each of the batches.
    let (table, files) = lake
        .insert(&table, vec![batch(0..200), batch(0..200), batch(0..200)])
        .await;
    assert_eq!(files.len(), 200);
    assert!(files.iter().all(|file| file.record_count == 3));
    lake.register("t", &table);
    assert_eq!(
        lake.text("SELECT count(*), sum(id) FROM t").await,
        ["600|59700"]
    );
}

#[tokio::test]
async fn a_file_that_reached_its_target_size_is_followed_by_another() {
    let lake = Lake::open().await;
    let properties = [("write.target-file-size-bytes", "1")];
    let table = lake.create("t", &schema(), &[], &properties).await;
    let plan = lake.plan_write(&table, vec![batch(0..10)]).await;
    let reports = collect(plan, lake.context.task_ctx())
        .await
        .expect("rows are written");
    assert_eq!(files(&reports).len(), 1);
    let (_, more) = lake.insert(&table, vec![batch(0..20_000)]).await;
    assert!(more.len() > 1, "{} files", more.len());
    assert_eq!(
        more.iter().map(|file| file.record_count).sum::<u64>(),
        20_000
    );
}

#[tokio::test]
async fn null_in_a_required_column_is_refused_by_name_and_leaves_no_file() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("name", Transform::Identity)], &[])
        .await;
    let nullable = Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let columns = |id: Option<i32>| -> Vec<ArrayRef> {
        vec![
            Arc::new(Int32Array::from(vec![id])),
            Arc::new(StringArray::from(vec!["a"])),
            Arc::new(TimestampMicrosecondArray::from(vec![1])),
        ]
    };
    let of =
        |id| RecordBatch::try_new(Arc::new(nullable.clone()), columns(id)).expect("columns fit");
    let plan = lake.plan_write(&table, vec![of(Some(1)), of(None)]).await;
    let error = collect(plan, lake.context.task_ctx())
        .await
        .expect_err("a required column");
    assert!(
        error
            .to_string()
            .contains("NULL in column \"id\" of table \"main.t\""),
        "{error}"
    );
    check_no_files(&lake).await;
}

/// Waits, within a bound, until no data file is left.
async fn check_no_files(lake: &Lake) {
    for _ in 0..200 {
        if parquet_files(lake.directory.path()).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("files are left: {:?}", parquet_files(lake.directory.path()));
}

#[tokio::test]
async fn a_write_dropped_midway_leaves_no_file() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("id", Transform::Identity)], &[])
        .await;
    let target = Arc::new(super::WriteTarget::of(&table, "w").expect("a target"));
    let store = Arc::new(object_store::local::LocalFileSystem::new());
    let context = lake.context.task_ctx();
    let reservation = datafusion::execution::memory_pool::MemoryConsumer::new("test")
        .register(context.memory_pool());
    let count = datafusion::physical_plan::metrics::Count::new;
    let counts = super::task::TaskCounts {
        rows: count(),
        bytes: count(),
        files: count(),
        sorted: count(),
    };
    let mut task =
        super::task::WriteTask::new(target, store, 0, reservation, counts, true).expect("a task");
    // One partition after the other: all files but the last are complete.
    task.write(&batch(0..100)).await.expect("rows are written");
    assert!(!parquet_files(lake.directory.path()).is_empty());
    drop(task);
    check_no_files(&lake).await;
}

#[tokio::test]
async fn a_write_over_the_wire_writes_the_same() {
    let lake = Lake::open().await;
    let partition = [("at", Transform::Day), ("name", Transform::Truncate(2))];
    let table = lake.create("t", &schema(), &partition, &[]).await;
    let plan = lake.plan_write(&table, vec![batch(0..40)]).await;
    let reports = collect(over_wire(&lake.context, &plan), lake.context.task_ctx())
        .await
        .expect("it runs");
    let files = files(&reports);
    assert_eq!(files.iter().map(|file| file.record_count).sum::<u64>(), 40);
    let table = tarn_catalog::append(&lake.catalog, &table, files, HashMap::new())
        .await
        .expect("a commit");
    lake.register("t", &table);
    assert_eq!(lake.text("SELECT sum(id) FROM t").await, ["780"]);
}

/// The write as a worker gets it, over rows that stay here.
fn over_wire(context: &SessionContext, plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let converter = DeduplicatingProtoConverter {};
    let bytes =
        physical_plan_to_bytes_with_proto_converter(Arc::clone(plan), &TarnCodec, &converter)
            .expect("the plan is encoded");
    assert!(
        functions()
            .iter()
            .all(|function| context.udf(function.name()).is_ok())
    );
    physical_plan_from_bytes_with_proto_converter(
        &bytes,
        context.task_ctx().as_ref(),
        &TarnCodec,
        &converter,
    )
    .expect("the plan is decoded")
}

#[tokio::test]
async fn files_of_a_failed_write_are_found_by_its_id() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("at", Transform::Day)], &[])
        .await;
    let plan = lake.plan_write(&table, vec![batch(0..40)]).await;
    collect(plan, lake.context.task_ctx())
        .await
        .expect("rows are written");
    let before = parquet_files(lake.directory.path()).len();
    assert!(before > 0);
    let location = super::data_location(&table);
    super::remove_files(table.stores(), &location, "another-write").await;
    assert_eq!(parquet_files(lake.directory.path()).len(), before);
    super::remove_files(table.stores(), &location, "test-write").await;
    assert!(parquet_files(lake.directory.path()).is_empty());
}

/// The rows of each file of a table, one text a row, in the order in which they are stored.
fn stored(files: &[tarn_catalog::NewDataFile], columns: &[&str]) -> Vec<Vec<String>> {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let read = |file: &tarn_catalog::NewDataFile| {
        let file = File::open(file.path.trim_start_matches("file://")).expect("a data file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
        let reader = reader.build().expect("rows");
        let rows = reader.flat_map(|batch| {
            let batch = batch.expect("a batch");
            let places = columns.iter().map(|name| batch.schema().index_of(name));
            let places: Vec<_> = places.map(|place| place.expect("a column")).collect();
            lines(&batch.project(&places).expect("columns"))
        });
        rows.collect()
    };
    files.iter().map(read).collect()
}

fn by(column: &str, transform: Transform, descending: bool, nulls_first: bool) -> SortFieldDef {
    SortFieldDef {
        column: column.to_owned(),
        transform,
        descending,
        nulls_first,
    }
}

#[tokio::test]
async fn rows_of_a_file_are_in_the_order_of_the_table() {
    let lake = Lake::open().await;
    let table = lake
        .create("t", &schema(), &[("at", Transform::Day)], &[])
        .await;
    let order = [
        by("name", Transform::Identity, true, false),
        by("id", Transform::Truncate(7), false, true),
        by("id", Transform::Identity, true, true),
    ];
    let table = tarn_catalog::replace_sort_order(&lake.catalog, &table, &order)
        .await
        .expect("an order");
    let input = vec![batch(0..60), batch(60..100), batch(0..10)];
    let plan = lake.plan_write(&table, input.clone()).await;
    let text = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(false)
        .to_string();
    assert!(
        text.contains(
            "order=[name DESC NULLS LAST, truncate[7](id) NULLS FIRST, id DESC NULLS FIRST]"
        ),
        "{text}"
    );
    let (table, files) = lake.insert(&table, input).await;
    assert_eq!(files.len(), 5, "a file for each day: {files:?}");
    assert!(files.iter().all(|file| file.sort_order_id == Some(1)));
    for rows in stored(&files, &["name", "id"]) {
        let key = |row: &String| {
            let (name, id) = row.split_once('|').expect("two columns");
            let id: i64 = id.parse().expect("a number");
            // Texts descend, NULL last.
            let name: Vec<i32> = name.bytes().map(|byte| -i32::from(byte)).collect();
            (
                row.starts_with('|') || row.starts_with("NULL"),
                name,
                id.div_euclid(7),
                -id,
            )
        };
        assert!(rows.is_sorted_by_key(key), "{rows:?}");
    }
    lake.register("t", &table);
    assert_eq!(
        lake.text("SELECT count(*), sum(id) FROM t").await,
        ["110|4995"]
    );
    // Over the wire it is the same.
    let plan = lake.plan_write(&table, vec![batch(0..40)]).await;
    let reports = collect(over_wire(&lake.context, &plan), lake.context.task_ctx())
        .await
        .expect("it runs");
    assert!(
        crate::scan::lake::files(&reports)
            .iter()
            .all(|file| file.sort_order_id == Some(1))
    );
}

#[tokio::test]
async fn a_sort_that_does_not_fit_into_memory_spills() {
    use datafusion::execution::memory_pool::FairSpillPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionConfig;
    let lake = Lake::open().await;
    // Two times more partitions than may be open at once wait; then sorted as a whole.
    for (name, order) in [("waiting", false), ("ordered", true)] {
        let partition = [("id", Transform::Truncate(1000))];
        let mut table = lake.create(name, &schema(), &partition, &[]).await;
        if order {
            let order = [by("name", Transform::Identity, false, false)];
            table = tarn_catalog::replace_sort_order(&lake.catalog, &table, &order)
                .await
                .expect("an order");
        }
        let batches = (0..40).map(|n| batch(n * 5000..(n + 1) * 5000)).collect();
        let plan = lake.plan_write(&table, batches).await;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(24 << 20)))
            .build_arc()
            .expect("a runtime");
        let config = SessionConfig::new()
            .with_sort_spill_reservation_bytes(1 << 20)
            .with_batch_size(256);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let reports = collect(Arc::clone(&plan), context.task_ctx())
            .await
            .expect("it runs");
        if order {
            let sort = plan.children()[0].metrics().expect("the sort ran");
            assert!(sort.spill_count().is_some_and(|count| count > 0));
        }
        let files = files(&reports);
        assert_eq!(files.len(), 200);
        assert!(files.iter().all(|file| file.record_count == 1000));
        for rows in stored(&files, &["name"]) {
            assert!(
                !order
                    || rows.is_sorted_by_key(|row| (row == "NULL" || row.is_empty(), row.clone()))
            );
        }
    }
}

#[tokio::test]
async fn the_distribution_mode_decides_who_writes_what() {
    let lake = Lake::open().await;
    let input = || vec![batch(0..40), batch(40..80), batch(80..120)];
    for (mode, count) in [("none", 15), ("hash", 5), ("range", 5)] {
        let properties = [("write.distribution-mode", mode)];
        let partition = [("name", Transform::Identity)];
        let table = lake.create(mode, &schema(), &partition, &properties).await;
        let plan = lake.plan_write(&table, input()).await;
        let tasks = plan.output_partitioning().partition_count();
        assert_eq!(
            tasks,
            if mode == "none" {
                3
            } else if mode == "hash" {
                2
            } else {
                1
            }
        );
        let (_, files) = lake.insert(&table, input()).await;
        assert_eq!(files.len(), count, "{mode}");
    }
    let table = lake
        .create(
            "whole",
            &schema(),
            &[],
            &[
                ("write.distribution-mode", "range"),
                ("write.target-file-size-bytes", "1"),
            ],
        )
        .await;
    let order = [by("id", Transform::Identity, true, false)];
    let table = tarn_catalog::replace_sort_order(&lake.catalog, &table, &order)
        .await
        .expect("an order");
    let (_, files) = lake
        .insert(&table, vec![batch(0..9000), batch(9000..18000)])
        .await;
    assert!(files.len() > 1, "{} files", files.len());
    let ranges =
        files.windows(2).all(
            |pair| match (&pair[0].lower_bounds[&1], &pair[1].upper_bounds[&1]) {
                (Literal::Long(above), Literal::Long(below)) => above > below,
                _ => false,
            },
        );
    assert!(ranges, "{files:?}");
}

#[tokio::test]
async fn a_partition_of_a_field_in_a_struct_is_written_once_and_sorted_by() {
    use arrow::array::StructArray;
    let lake = Lake::open().await;
    let kind = Field::new("kind", DataType::Utf8View, true);
    let nested = Schema::new(vec![Field::new(
        "s",
        DataType::Struct(vec![Field::new("n", DataType::Int64, true), kind].into()),
        true,
    )]);
    let partition = [("s.kind", Transform::Identity)];
    let table = lake.create("t", &nested, &partition, &[]).await;
    let order = [by("s.n", Transform::Identity, true, false)];
    let table = tarn_catalog::replace_sort_order(&lake.catalog, &table, &order)
        .await
        .expect("an order");
    let rows = |from: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 50));
        let kinds: ArrayRef = Arc::new(
            (from..from + 50)
                .map(|n| Some(format!("k{}", n % 3)))
                .collect::<arrow::array::StringViewArray>(),
        );
        let DataType::Struct(fields) = nested.field(0).data_type().clone() else {
            panic!("a struct")
        };
        let nulls: Vec<bool> = (0..50).map(|n| n % 10 != 0).collect();
        let structs = StructArray::new(fields, vec![numbers, kinds], Some(nulls.into()));
        RecordBatch::try_new(Arc::new(nested.clone()), vec![Arc::new(structs)])
            .expect("rows of structs")
    };
    let (table, files) = lake.insert(&table, vec![rows(0), rows(50)]).await;
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(
        files
            .iter()
            .any(|file| file.partition == [None] && file.record_count == 10)
    );
    lake.register("t", &table);
    assert_eq!(
        lake.text("SELECT count(s), count(*) FROM t").await,
        ["90|100"]
    );
    for rows in stored(&files, &["s"]) {
        let number = |row: &String| {
            let digits: String = row
                .chars()
                .take_while(|c| *c != ',')
                .filter(char::is_ascii_digit)
                .collect();
            -digits.parse::<i64>().unwrap_or(i64::MIN + 1)
        };
        assert!(rows.is_sorted_by_key(number), "{rows:?}");
    }
}

#[tokio::test]
async fn files_are_spread_over_prefixes_when_the_table_wants_it() {
    let lake = Lake::open().await;
    let properties = [("write.object-storage.enabled", "true")];
    let table = lake
        .create(
            "t",
            &schema(),
            &[("name", Transform::Identity)],
            &properties,
        )
        .await;
    let (table, files) = lake.insert(&table, vec![batch(0..20)]).await;
    for file in &files {
        let below = file
            .path
            .strip_prefix(&format!("{}/", table.data_location()));
        let below = below.expect("below the data location");
        let parts: Vec<_> = below.split('/').collect();
        assert_eq!(parts.len(), 6, "{below}");
        assert_eq!(parts[..4].concat().len(), 20);
        assert!(parts[4].starts_with("name="));
    }
    lake.register("t", &table);
    assert_eq!(lake.text("SELECT count(*) FROM t").await, ["20"]);
    super::remove_files(table.stores(), &table.data_location(), "test-write").await;
    assert!(parquet_files(lake.directory.path()).is_empty());
}
