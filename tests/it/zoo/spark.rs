//! Spark reads what Tarn wrote, through Tarn's own catalog, and answers as Tarn does.

use serde_json::json;

use super::{canonical, compare};
use crate::harness::{Server, ServerOptions, spark};
use crate::witness::{CONDITIONS, EVOLVED, NESTED, PARTITIONED, TRANSFORMS};

/// Each type that Spark has, and rows at the edges.
const TYPES: &[&str] = &[
    "CREATE SCHEMA w",
    "CREATE TABLE w.types (
        b boolean, i integer, l bigint, f real, d double precision, small decimal(9, 2), big decimal(38, 10),
        day date, at timestamp, at_utc timestamptz, s varchar, bin bytea, items bigint[], u uuid)",
    "INSERT INTO w.types VALUES
        (true, 2147483647, 9223372036854775807, 1.5, 1e300, 1234567.89,
         1234567890123456789012345678.0123456789, DATE '2024-02-29', TIMESTAMP '2024-02-29 23:59:59.999999',
         TIMESTAMPTZ '2024-02-29 23:59:59.999999+00', 'naïve ☃', X'ff00', ARRAY[1, NULL, 3],
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
        (false, -2147483648, -9223372036854775808, 'NaN'::real, '-Infinity'::double precision, -0.01,
         -0.0000000001, DATE '1582-10-15', TIMESTAMP '1969-12-31 23:59:59.000001',
         TIMESTAMPTZ '1969-12-31 23:59:59.000001+00', '', X'', ARRAY[]::bigint[], NULL)",
    "INSERT INTO w.types (i) VALUES (NULL)",
    "CREATE TABLE w.empty (id bigint)",
];

/// What makes tables that live through an upgrade to version 3.
const UPGRADED: &[&str] = &[
    "CREATE TABLE w.upgraded (id bigint, s varchar) PARTITIONED BY (bucket(2, id))",
    "INSERT INTO w.upgraded SELECT i, 's' || i FROM generate_series(1, 20) AS g(i)",
    "ALTER TABLE w.upgraded SET ('format-version' = '3')",
    "INSERT INTO w.upgraded SELECT i, 's' || i FROM generate_series(21, 30) AS g(i)",
];

/// Creates and fills a table for each type and transform that Spark reads, and gives their names.
async fn every_transform(server: &Server, version: u8) -> Vec<String> {
    let mut tables = Vec::new();
    for (kind, value, transforms) in TRANSFORMS {
        if *kind == "time" {
            continue; // Spark's tables have no such type.
        }
        for transform in *transforms {
            let table = format!("lake.main.v{version}_t{}", tables.len());
            let create = format!(
                "CREATE TABLE {table} (id bigint, v {kind}) PARTITIONED BY ({transform})
                 WITH ('format-version' = '{version}')"
            );
            server.sql(&create).await;
            let insert = format!(
                "INSERT INTO {table} SELECT i, CASE WHEN i % 11 > 0 THEN {value} END
                 FROM generate_series(0, 99) AS g(i)"
            );
            server.sql(&insert).await;
            tables.push(table);
        }
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zoo_lets_spark_read_what_tarn_wrote() {
    let server = ServerOptions::default().start().await;
    for statement in [TYPES, PARTITIONED, NESTED, EVOLVED, UPGRADED].concat() {
        server.sql(statement).await;
    }
    let mut tables = every_transform(&server, 2).await;
    let lineage = every_transform(&server, 3).await;
    tables.extend(lineage.iter().cloned());
    let written = [
        "w.types",
        "w.empty",
        "w.partitioned",
        "w.upgraded",
        "w.nested",
        "e.t",
        "e.emptied",
        "e.keyed",
    ];
    tables.extend(written.iter().map(|table| format!("lake.{table}")));
    let mut queries: Vec<String> = tables
        .iter()
        .map(|table| format!("SELECT * FROM {table}"))
        .collect();
    let rows_with_ids = lineage
        .iter()
        .map(String::as_str)
        .chain(["lake.w.upgraded"]);
    queries
        .extend(rows_with_ids.map(|table| {
            format!("SELECT id, _row_id, _last_updated_sequence_number FROM {table}")
        }));
    queries.extend(CONDITIONS.iter().map(|condition| {
        let condition = condition.replace("TIMESTAMPTZ", "TIMESTAMP");
        format!("SELECT * FROM lake.w.partitioned WHERE {condition}")
    }));

    let task = json!({"catalog": server.catalog_for_python(), "queries": queries});
    let answered = spark("read.py", &task).await;
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (query, answer) in queries.iter().zip(answered["answers"].as_array().unwrap()) {
        let ours = server.sql(query).await;
        let Some(theirs) = answer["rows"].as_array() else {
            wrong.push(format!("{query}\n    Spark fails: {}", answer["error"]));
            continue;
        };
        compared += theirs.len();
        let theirs = canonical::sorted(theirs.clone());
        let ours = canonical::sorted(canonical::rows(&ours.batches));
        if ours != theirs {
            wrong.push(format!("{query}\n{}", compare(&theirs, &ours)));
        }
    }
    assert!(
        compared > 300 * TRANSFORMS.len(),
        "Spark read {compared} rows"
    );
    assert!(
        wrong.is_empty(),
        "Spark and Tarn differ:\n{}",
        wrong.join("\n")
    );
}
