//! What was read of data files on S3 is kept in memory and on disk, seen in EXPLAIN ANALYZE and /metrics, and never
//! stale.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use crate::harness::server::ALWAYS_DISTRIBUTE;
use crate::harness::{S3, START_TIMEOUT, Server, ServerOptions, wait_for};

const QUERY: &str = "SELECT sum(id), count(DISTINCT name) FROM t";

async fn fill(server: &Server) {
    server
        .sql("CREATE TABLE t AS SELECT v AS id, 'name ' || v % 977 AS name FROM generate_series(1, 300000) g(v)")
        .await;
}

/// Runs the query; gives bytes from memory, from disk and from the store, as EXPLAIN ANALYZE tells them.
async fn bytes_read(server: &Server) -> [f64; 3] {
    let rows = server.rows(&format!("EXPLAIN ANALYZE {QUERY}")).await;
    let plan: String = rows.into_iter().flatten().collect::<Vec<_>>().join("\n");
    [
        "cache_bytes_memory=",
        "cache_bytes_disk=",
        "bytes_from_store=",
    ]
    .map(|name| {
        let found = plan.split(name).skip(1).map(|rest| {
            let number = rest.split([' ', ',', ']']).next().unwrap_or_default();
            number
                .parse::<f64>()
                .unwrap_or_else(|_| panic!("{name}{number}: {plan}"))
        });
        let found: Vec<f64> = found.collect();
        assert!(!found.is_empty(), "{name} is not in {plan}");
        found.iter().sum()
    })
}

async fn metric(server: &Server, line: &str) -> f64 {
    let text = reqwest::get(format!("{}/metrics", server.url()))
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    let value = value.unwrap_or_else(|| panic!("{line} is not in {text}"));
    value.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_kept_over_a_restart() {
    let s3 = S3::shared().await;
    let options = ServerOptions::default().s3(&s3);
    let server = options.clone().start().await;
    fill(&server).await;
    let [_, disk, store] = bytes_read(&server).await;
    assert!(store > 0.0 && disk == 0.0);
    let [memory, disk, store] = bytes_read(&server).await;
    assert!(memory > 0.0 && disk == 0.0 && store == 0.0);
    let answer = server.rows(QUERY).await;
    assert_eq!(answer, [["45000150000", "977"]]);
    let of = |from: &str| format!("tarn_range_cache_blocks_total{{from=\"{from}\"}}");
    assert!(metric(&server, &of("memory")).await > 0.0);
    assert!(metric(&server, &of("store")).await > 0.0);
    assert!(metric(&server, "tarn_footer_cache_entries").await > 0.0);
    assert!(metric(&server, "tarn_range_cache_bytes{tier=\"memory\"}").await > 0.0);
    let folder = server.folder();
    assert!(server.stop().success());

    let server = options.start_in(folder).await;
    let [_, disk, store] = bytes_read(&server).await;
    assert!(disk > 0.0 && store == 0.0);
    assert_eq!(server.rows(QUERY).await, answer);
    assert!(metric(&server, &of("disk")).await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_have_caches_and_tell_what_they_did() {
    let s3 = S3::shared().await;
    let server = ServerOptions::default().s3(&s3).workers(2).start().await;
    server.sql(ALWAYS_DISTRIBUTE).await;
    fill(&server).await;
    let [_, _, store] = bytes_read(&server).await;
    assert!(store > 0.0);
    let [memory, disk, store] = bytes_read(&server).await;
    assert!(memory > 0.0 && disk == 0.0 && store == 0.0);
    // The next heartbeat tells.
    for from in ["memory", "store"] {
        let line = format!("tarn_range_cache_blocks_total{{from=\"{from}\"}}");
        let what = format!("blocks from {from} in /metrics");
        wait_for(&what, START_TIMEOUT, async || {
            (metric(&server, &line).await > 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_can_be_turned_off() {
    let s3 = S3::shared().await;
    let server = ServerOptions::default()
        .s3(&s3)
        .set("TARN__CACHE__MEMORY_BYTES", "0")
        .set("TARN__CACHE__DISK_BYTES", "0")
        .start()
        .await;
    fill(&server).await;
    assert_eq!(server.rows(QUERY).await, [["45000150000", "977"]]);
    let kept = std::fs::read_dir(server.data_dir().join("cache")).unwrap();
    assert_eq!(kept.count(), 0);
    assert!(metric(&server, "tarn_range_cache_disk_on").await == 0.0);
}

fn write(path: &Path, numbers: [i64; 3]) {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
    let column = Arc::new(Int64Array::from(numbers.to_vec()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_made_again_under_another_table_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerOptions::default()
        .allow(&[folder.path()])
        .start()
        .await;
    let file = folder.path().join("a.parquet");
    let mut sizes = Vec::new();
    for numbers in [[1, 2, 3], [7, 8, 9]] {
        write(&file, numbers);
        sizes.push(file.metadata().unwrap().len());
        let attach = format!(
            "CALL system.attach_parquet('main.again', '{}')",
            folder.path().display()
        );
        server.sql(&attach).await;
        // Bounds in the footer decide what is read.
        let query = format!("SELECT x FROM again WHERE x > {} ORDER BY x", numbers[0]);
        let rows = server.rows(&query).await;
        let wanted = numbers[1..].iter().map(|number| vec![number.to_string()]);
        assert_eq!(rows, wanted.collect::<Vec<_>>());
        server.sql("DROP TABLE again").await;
    }
    // Else this shows nothing.
    assert_eq!(sizes[0], sizes[1]);
}
