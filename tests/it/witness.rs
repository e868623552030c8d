//! Independent witnesses: PyIceberg and DuckDB read what Tarn wrote, and Tarn reads
//! what PyIceberg wrote, row for row.

use std::fs::File;

use arrow::ipc::writer::FileWriter;
use serde_json::json;

use crate::harness::server::ALWAYS_DISTRIBUTE;
use crate::harness::{Postgres, S3, Server, ServerOptions, python};
use crate::tpch;

/// A table with a column of each type that can be created, and rows at the edges.
const EVERY_TYPE: &[&str] = &[
    "CREATE SCHEMA w",
    "CREATE TABLE w.every_type (
        b boolean, i integer, l bigint, f real, d double precision, small decimal(9, 2), big decimal(38, 10),
        day date, clock time, at timestamp, at_utc timestamptz, s varchar, bin bytea, items bigint[])",
    "INSERT INTO w.every_type VALUES
        (true, 2147483647, 9223372036854775807, 1.5, 1e300, 1234567.89,
         1234567890123456789012345678.0123456789, DATE '2024-02-29', TIME '23:59:59.999999',
         TIMESTAMP '2024-02-29 23:59:59.999999', TIMESTAMPTZ '2024-02-29 23:59:59.999999+00', 'naïve ☃',
         X'ff00', ARRAY[1, NULL, 3]),
        (false, -2147483648, -9223372036854775808, 'NaN'::real, '-Infinity'::double precision, -0.01,
         -0.0000000001, DATE '1582-10-15', TIME '00:00:00', TIMESTAMP '1969-12-31 23:59:59.000001',
         TIMESTAMPTZ '1969-12-31 23:59:59.000001+00', '', X'', ARRAY[]::bigint[])",
    "INSERT INTO w.every_type (i) VALUES (NULL)",
    "CREATE TABLE w.empty (id bigint)",
];

/// A table partitioned by each transform, written by several statements.
const PARTITIONED: &[&str] = &[
    "CREATE TABLE w.partitioned (
        id bigint, region varchar, code varchar, at timestamp, at_utc timestamptz, day date, amount decimal(12, 2))
     PARTITIONED BY (bucket(4, id), region, truncate(3, code), month(at), day(at_utc), year(day))",
    "INSERT INTO w.partitioned
     SELECT CASE WHEN i % 11 = 0 THEN NULL ELSE i * 7919 - 50000 END,
            CASE WHEN i % 7 = 0 THEN NULL ELSE 'r ' || (i % 3) || '/ü' END,
            'code-' || (i % 5),
            TIMESTAMP '1969-12-31 20:00:00' + CAST(i * 9 || ' hours' AS interval),
            CASE WHEN i % 13 = 0 THEN NULL ELSE TIMESTAMPTZ '1969-12-31 20:00:00+00' + CAST(i || ' hours' AS interval) END,
            DATE '1969-11-15' + CAST(i * 10 AS integer),
            CAST((i - 20) / 4.0 AS decimal(12, 2))
     FROM generate_series(0, 99) AS s(i)",
    "INSERT INTO w.partitioned (id, region) VALUES (1, 'late'), (2, NULL)",
];

/// Compares all of `table` as Tarn reads it with what the witnesses read.
async fn check_witnesses(server: &Server, table: &str) -> u64 {
    let answer = server.sql(&format!("SELECT * FROM {table}")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answer.arrow");
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &answer.schema).unwrap();
    for batch in &answer.batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let task = json!({
        "catalog": server.catalog_for_python(),
        "table": table,
        "answer": path,
        "readers": ["pyiceberg", "duckdb"],
    });
    python("compare.py", &task).await["rows"].as_u64().unwrap()
}

async fn check_tarn_writes(options: ServerOptions) {
    let server = options.start().await;
    for statement in EVERY_TYPE.iter().chain(PARTITIONED) {
        server.sql(statement).await;
    }
    assert_eq!(check_witnesses(&server, "w.every_type").await, 3);
    assert_eq!(check_witnesses(&server, "w.empty").await, 0);
    assert_eq!(check_witnesses(&server, "w.partitioned").await, 102);
    server
        .sql("ALTER TABLE w.every_type RENAME TO renamed")
        .await;
    assert_eq!(check_witnesses(&server, "w.renamed").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_read_what_tarn_wrote_on_the_file_system() {
    check_tarn_writes(ServerOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_read_what_tarn_wrote_on_s3_with_postgres() {
    let (s3, postgres) = (S3::shared().await, Postgres::start().await);
    check_tarn_writes(ServerOptions::default().s3(&s3).metadata(&postgres.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_read_what_workers_wrote() {
    let server = tpch::options().workers(3).start().await;
    let client = server.client().with_session();
    client.query(ALWAYS_DISTRIBUTE).await.unwrap();
    let files = tpch::data().join("orders/*.parquet");
    let statement = format!(
        "CREATE TABLE main.orders PARTITIONED BY (year(o_orderdate), bucket(3, o_custkey)) AS
         SELECT * FROM read_parquet('{}')",
        files.display()
    );
    let created = client.query(&statement).await.unwrap();
    assert_eq!(created.affected, Some(150_000));
    assert_eq!(check_witnesses(&server, "main.orders").await, 150_000);
    let appended = client
        .query("INSERT INTO main.orders SELECT * FROM main.orders WHERE o_orderkey % 10 = 0")
        .await;
    let appended = appended.unwrap().affected.unwrap();
    assert_eq!(
        check_witnesses(&server, "main.orders").await,
        150_000 + appended
    );
}

async fn check_tarn_reads(options: ServerOptions) {
    let server = options.start().await;
    let task = json!({"catalog": server.catalog_for_python(), "namespace": "py"});
    let written = python("write.py", &task).await;
    for table in written["tables"].as_array().unwrap() {
        check_witnesses(&server, &format!("py.{}", table.as_str().unwrap())).await;
    }
    assert_eq!(
        server
            .rows("SELECT count(*) FROM py.position_deletes")
            .await,
        [["1200"]]
    );
    assert_eq!(
        server
            .rows("SELECT sum(gone), count(city) FROM py.evolved")
            .await,
        [["7", "1"]]
    );
    assert_eq!(
        server
            .rows("SELECT id FROM py.evolved WHERE full_name = 'two'")
            .await,
        [["2"]]
    );
    assert_eq!(
        server.rows("SELECT count(*) FROM py.partitioned WHERE day >= DATE '1971-01-01' AND region IS NULL").await,
        [["5"]]
    );
    // And what Tarn adds to their tables, they read.
    server
        .sql("INSERT INTO py.evolved (id, full_name, gone) VALUES (9000000000, 'late', 1)")
        .await;
    assert_eq!(check_witnesses(&server, "py.evolved").await, 6);
    server
        .sql("INSERT INTO py.partitioned SELECT * FROM py.partitioned")
        .await;
    assert_eq!(check_witnesses(&server, "py.partitioned").await, 160);
    server
        .sql("INSERT INTO py.position_deletes SELECT id + 10000, name FROM py.position_deletes")
        .await;
    assert_eq!(check_witnesses(&server, "py.position_deletes").await, 2400);
}

#[tokio::test(flavor = "multi_thread")]
async fn tarn_reads_what_pyiceberg_wrote_on_the_file_system() {
    check_tarn_reads(ServerOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tarn_reads_what_pyiceberg_wrote_on_s3() {
    let s3 = S3::shared().await;
    check_tarn_reads(ServerOptions::default().s3(&s3).workers(2)).await;
}
