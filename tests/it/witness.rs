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
pub(crate) const PARTITIONED: &[&str] = &[
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

/// Every type and transform by which a table can be partitioned, with an expression over `i` for its values.
pub(crate) const TRANSFORMS: &[(&str, &str, &[&str])] = &[
    (
        "integer",
        "CAST(i * 7 - 300 AS integer)",
        &["v", "bucket(4, v)", "truncate(10, v)"],
    ),
    (
        "bigint",
        "i * 7919 - 300000",
        &["v", "bucket(4, v)", "truncate(1000, v)"],
    ),
    (
        "decimal(12, 2)",
        "CAST((i - 50) / 4.0 AS decimal(12, 2))",
        &["v", "bucket(4, v)", "truncate(10, v)"],
    ),
    (
        "varchar",
        "'ü☃ x/' || (i % 5)",
        &["v", "bucket(4, v)", "truncate(2, v)"],
    ),
    (
        "bytea",
        "arrow_cast('ab' || (i % 5), 'Binary')",
        &["v", "bucket(4, v)", "truncate(3, v)"],
    ),
    (
        "uuid",
        "arrow_cast('0123456789abcde' || (i % 5), 'Binary')",
        &["bucket(4, v)"],
    ),
    (
        "date",
        "DATE '1969-12-01' + CAST(i * 9 AS integer)",
        &["v", "bucket(4, v)", "year(v)", "month(v)", "day(v)"],
    ),
    (
        "timestamp",
        "TIMESTAMP '1969-12-31 20:00:00.123456' + CAST(i || ' hours' AS interval)",
        &[
            "v",
            "bucket(4, v)",
            "year(v)",
            "month(v)",
            "day(v)",
            "hour(v)",
        ],
    ),
    (
        "timestamptz",
        "TIMESTAMPTZ '1969-12-31 20:00:00.123456+00' + CAST(i || ' hours' AS interval)",
        &[
            "v",
            "bucket(4, v)",
            "year(v)",
            "month(v)",
            "day(v)",
            "hour(v)",
        ],
    ),
    (
        "time",
        "CAST('10:00:0' || (i % 5) AS time)",
        &["v", "bucket(4, v)"],
    ),
    ("boolean", "i % 2 = 0", &["v"]),
    (
        "double precision",
        "CAST(i % 5 - 2 AS double precision)",
        &["v"],
    ),
];

/// Nested types at every depth, and nested values written as literals.
pub(crate) const NESTED: &[&str] = &[
    "CREATE TABLE w.nested AS
     SELECT i, CASE WHEN i % 3 > 0 THEN named_struct('x', i, 'y', ARRAY['a', NULL]) END AS s,
            CASE WHEN i % 4 > 0 THEN map(ARRAY['a', 'b'], ARRAY[i, NULL]) END AS m,
            CASE WHEN i % 5 > 0 THEN ARRAY[ARRAY[i], NULL, ARRAY[]] END AS lists
     FROM generate_series(0, 50) AS g(i)",
    "INSERT INTO w.nested VALUES (60, named_struct('x', 5, 'y', ARRAY['b']), map(ARRAY['a'], ARRAY[6]), ARRAY[ARRAY[7]])",
    "INSERT INTO w.nested SELECT * FROM w.nested",
];

/// Conditions that prune [`PARTITIONED`]'s files in different ways.
pub(crate) const CONDITIONS: &[&str] = &[
    "id = 5433",
    "id IN (5433, 13352, -42081)",
    "id IS NULL",
    "region = 'r 1/ü'",
    "NOT (region = 'r 1/ü')",
    "region LIKE 'r 2%'",
    "id < 0 OR region IS NULL",
    "code >= 'code-2'",
    "\"at\" < TIMESTAMP '1970-01-01 00:00:00'",
    "\"at\" >= TIMESTAMP '1970-01-05 03:00:00'",
    "at_utc <= TIMESTAMPTZ '1970-01-01 00:00:00+00'",
    "day = DATE '1970-01-14'",
    "day < DATE '1970-01-01'",
    "amount <= -4.75",
];

/// Compares all of `table` as Tarn reads it with what the witnesses read, and counts its rows.
async fn check_witnesses(server: &Server, table: &str) -> u64 {
    check_all(server, &[(table, None)]).await[0]
}

/// As [`check_witnesses`], of the rows of each table that a condition keeps.
async fn check_all(server: &Server, parts: &[(&str, Option<&str>)]) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let mut checks = Vec::new();
    for (number, (table, condition)) in parts.iter().enumerate() {
        let condition_or_all = condition.unwrap_or("true");
        let query = format!("SELECT * FROM {table} WHERE {condition_or_all}");
        let answer = server.sql(&query).await;
        let path = folder.path().join(format!("{number}.arrow"));
        let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &answer.schema).unwrap();
        for batch in &answer.batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap();
        checks.push(json!({"table": table, "answer": path, "filter": condition}));
    }
    let task = json!({"catalog": server.catalog_for_python(), "checks": checks});
    let counts = python("compare.py", &task).await;
    serde_json::from_value(counts["rows"].clone()).unwrap()
}

async fn check_tarn_writes(options: ServerOptions) {
    let server = options.start().await;
    for statement in EVERY_TYPE.iter().chain(PARTITIONED).chain(NESTED) {
        server.sql(statement).await;
    }
    assert_eq!(check_witnesses(&server, "w.every_type").await, 3);
    assert_eq!(check_witnesses(&server, "w.empty").await, 0);
    assert_eq!(check_witnesses(&server, "w.partitioned").await, 102);
    assert_eq!(check_witnesses(&server, "w.nested").await, 104);
    assert_eq!(
        server
            .rows("SELECT s['y'][1], m['a'], lists[1][1] FROM w.nested WHERE i = 60 LIMIT 1")
            .await,
        [["b", "6", "7"]]
    );
    let parts: Vec<_> = CONDITIONS
        .iter()
        .map(|condition| ("w.partitioned", Some(*condition)))
        .collect();
    let counts = check_all(&server, &parts).await;
    assert!(
        counts.iter().all(|count| (1..102).contains(count)),
        "{counts:?}"
    );
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
async fn witnesses_read_every_partition_transform() {
    let server = ServerOptions::default().start().await;
    let mut tables = Vec::new();
    for (kind, value, transforms) in TRANSFORMS {
        for (transform, version) in transforms
            .iter()
            .flat_map(|transform| [(transform, 2), (transform, 3)])
        {
            let table = format!("main.t{}", tables.len());
            server
                .sql(&format!(
                    "CREATE TABLE {table} (id bigint, v {kind}) PARTITIONED BY ({transform})
                     WITH ('format-version' = '{version}')"
                ))
                .await;
            server
                .sql(&format!(
                    "INSERT INTO {table} SELECT i, CASE WHEN i % 11 > 0 THEN {value} END
                     FROM generate_series(0, 99) AS g(i)"
                ))
                .await;
            tables.push(table);
        }
    }
    let refused = server
        .refuses("CREATE TABLE main.u (v uuid) PARTITIONED BY (v)")
        .await;
    assert_eq!(refused.code, "0A000");
    assert!(refused.message.contains("bucket(16, v)"), "{refused:?}");
    let parts: Vec<_> = tables.iter().map(|table| (table.as_str(), None)).collect();
    let counts = check_all(&server, &parts).await;
    assert!(counts.iter().all(|count| *count == 100), "{counts:?}");
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

/// A table that went through every change of columns, one that was emptied and filled again, and a view.
pub(crate) const EVOLVED: &[&str] = &[
    "CREATE SCHEMA e",
    "CREATE TABLE e.t (id integer, amount numeric(6, 2), f real, gone text, area text) PARTITIONED BY (area)",
    "INSERT INTO e.t VALUES (1, 1.25, 0.5, 'x', 'a'), (2, NULL, NULL, NULL, 'b')",
    "ALTER TABLE e.t RENAME COLUMN amount TO price",
    "ALTER TABLE e.t DROP COLUMN gone",
    "ALTER TABLE e.t ALTER COLUMN id TYPE bigint, ALTER f TYPE double precision, ALTER price TYPE numeric(12, 2)",
    "ALTER TABLE e.t ADD COLUMN gone integer, ADD COLUMN items bigint[]",
    "INSERT INTO e.t VALUES (5000000000, 123456789.25, 1e300, 'c', 7, ARRAY[1, 2])",
    "ALTER TABLE e.t ALTER COLUMN id SET NOT NULL",
    "COMMENT ON COLUMN e.t.price IS 'what it costs'",
    "COMMENT ON TABLE e.t IS 'evolved'",
    "CREATE TABLE e.emptied AS SELECT i AS id FROM generate_series(1, 100) AS s(i)",
    "TRUNCATE e.emptied",
    "INSERT INTO e.emptied VALUES (7)",
    "CREATE TABLE e.keyed (id bigint PRIMARY KEY, u uuid)",
    "INSERT INTO e.keyed VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')",
    "CREATE VIEW e.v AS SELECT id, price FROM e.t",
];

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_read_evolved_tables_and_take_no_view_for_a_table() {
    let server = ServerOptions::default().start().await;
    for statement in EVOLVED {
        server.sql(statement).await;
    }
    assert_eq!(check_witnesses(&server, "e.t").await, 3);
    assert_eq!(check_witnesses(&server, "e.emptied").await, 1);
    assert_eq!(check_witnesses(&server, "e.keyed").await, 1);
    let task = json!({"catalog": server.catalog_for_python(), "schema": "e"});
    let found = python("tables.py", &task).await;
    assert_eq!(found["tables"], json!(["emptied", "keyed", "t"]));
    assert_eq!(
        found["columns"]["t"],
        json!([
            ["id", 1, true, null],
            ["price", 2, false, "what it costs"],
            ["f", 3, false, null],
            ["area", 5, false, null],
            ["gone", 6, false, null],
            ["items", 7, false, null],
        ])
    );
    assert_eq!(found["keys"]["keyed"], json!(["id"]));
    assert_eq!(found["comments"]["t"], "evolved");
    let rows = server.rows("SELECT count(*), max(id) FROM e.v").await;
    assert_eq!(rows, [["3", "5000000000"]]);
}
