//! Files beside tables, over S3 and through every door: file functions, COPY, and files that become a table's.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::harness::server::{ALWAYS_DISTRIBUTE, sql};
use crate::harness::{S3, Server, ServerOptions, python, wait_for};

/// Files below a folder.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_and_read_on_s3() {
    let s3 = S3::shared().await;
    let root = S3::location();
    let server = ServerOptions::default()
        .s3(&s3)
        .set("TARN__STORAGE__ALLOWED_ROOTS", json!([root]).to_string())
        .workers(2)
        .start()
        .await;
    server.sql(ALWAYS_DISTRIBUTE).await;
    let rows = "SELECT v AS id, v % 3 AS p, 'text ' || v AS s FROM generate_series(1, 1000) g(v)";
    server
        .sql(&format!(
            "COPY ({rows}) TO '{root}/parts' (FORMAT parquet, PARTITION_BY (p))"
        ))
        .await;
    let sums = format!(
        "SELECT p, count(*), sum(id) FROM read_parquet('{root}/parts/**/*.parquet') GROUP BY p ORDER BY p"
    );
    assert_eq!(
        server.rows(&sums).await,
        [
            ["0", "333", "166833"],
            ["1", "334", "167167"],
            ["2", "333", "166500"]
        ]
    );
    let one = format!("SELECT sum(id) FROM read_parquet('{root}/parts') WHERE p = 1 AND id < 10");
    assert_eq!(server.rows(&one).await, [["12"]]);
    for (name, function) in [
        ("a.csv.gz", "read_csv"),
        ("b.csv.zst", "read_csv"),
        ("c.json", "read_json"),
    ] {
        server
            .sql(&format!("COPY ({rows}) TO '{root}/text/{name}'"))
            .await;
        let read =
            format!("SELECT count(*), sum(id), max(s) FROM {function}('{root}/text/{name}')");
        assert_eq!(
            server.rows(&read).await,
            [["1000", "500500", "text 999"]],
            "{name}"
        );
    }
    let listed = format!(
        "SELECT regexp_replace(filename, '.*/', '') FROM read_text('{root}/text/{{a,c}}.*') ORDER BY 1"
    );
    assert_eq!(server.rows(&listed).await, [["a.csv.gz"], ["c.json"]]);

    // What is there stays unless it is said otherwise, and a COPY that fails leaves nothing.
    let again = format!("COPY ({rows}) TO '{root}/text/c.json'");
    assert_eq!(server.refuses(&again).await.code, "42710");
    let fails = format!(
        "COPY (SELECT 1 / (v - 900) AS x, v % 2 AS p FROM generate_series(1, 1000) g(v)) TO '{root}/failed' (FORMAT csv, PARTITION_BY (p))"
    );
    assert_eq!(server.refuses(&fails).await.code, "22012");
    let left = format!("SELECT * FROM read_text('{root}/failed')");
    assert_eq!(server.refuses(&left).await.code, "58P01");
    server
        .sql(&format!(
            "COPY (SELECT 7 AS id, 1 AS p) TO '{root}/parts' (FORMAT parquet, PARTITION_BY (p), OVERWRITE true)"
        ))
        .await;
    let all = format!("SELECT id, p FROM read_parquet('{root}/parts')");
    assert_eq!(server.rows(&all).await, [["7", "1"]]);

    // Outside of the roots nothing is read, listed or written, and the warehouse is nobody's folder.
    let warehouse = server.warehouse();
    for path in [
        &format!("{root}x/a.csv"),
        &format!("{root}/../a.csv"),
        &warehouse,
    ] {
        let error = server
            .refuses(&format!("SELECT * FROM read_csv('{path}')"))
            .await;
        assert_eq!(error.code, "42501", "{path}: {error:?}");
        let error = server
            .refuses(&format!("COPY (SELECT 1 AS a) TO '{path}' (FORMAT csv)"))
            .await;
        assert_eq!(error.code, "42501", "{path}: {error:?}");
    }

    // Files that lie there become a table's, without a copy.
    server
        .sql(&format!("COPY ({rows}) TO '{root}/attach/a.parquet'"))
        .await;
    assert_eq!(
        server
            .rows(&format!(
                "CALL system.attach_parquet('main.attached', '{root}/attach')"
            ))
            .await,
        [["1", "1000"]]
    );
    assert_eq!(
        server
            .rows("SELECT count(*), sum(id) FROM main.attached WHERE p < 2")
            .await,
        [["667", "334000"]]
    );
    server.sql("DROP TABLE main.attached").await;
    let still = format!("SELECT count(*) FROM read_parquet('{root}/attach/a.parquet')");
    assert_eq!(server.rows(&still).await, [["1000"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_what_copy_wrote() {
    let out = tempfile::tempdir().unwrap();
    let server = ServerOptions::default().allow(&[out.path()]).start().await;
    let root = out.path().display();
    let rows = "SELECT v AS id, v % 3 AS p, CASE WHEN v % 5 = 0 THEN NULL ELSE 'a,\"' || v END AS s,
                (v / 4.0)::numeric(9, 2) AS n, TIMESTAMP '2024-01-31 10:00:00' + v * INTERVAL '1 hour' AS moment
                FROM generate_series(1, 1000) g(v)";
    for name in ["t.csv", "t.csv.gz", "t.json", "t.parquet", "t.arrow"] {
        server
            .sql(&format!("COPY ({rows}) TO '{root}/{name}'"))
            .await;
    }
    server
        .sql(&format!(
            "COPY ({rows}) TO '{root}/parts' (FORMAT parquet, PARTITION_BY (p))"
        ))
        .await;
    let answer = python(
        "files.py",
        &json!({"folder": out.path().display().to_string()}),
    )
    .await;
    let all = json!([
        1000,
        500_500,
        800,
        "125125.00",
        "2024-01-31 11:00:00",
        "2024-03-13 02:00:00"
    ]);
    for name in ["t.csv", "t.csv.gz", "t.json", "t.parquet", "t.arrow"] {
        assert_eq!(answer[name], all, "{name}");
    }
    assert_eq!(answer["parts"], json!([[0, 333], [1, 334], [2, 333]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn file_functions_answer_as_duckdb_does() {
    let data = crate::harness::repository().join("tests/slt/data");
    let server = ServerOptions::default().allow(&[&data]).start().await;
    let answer = python("files.py", &json!({"compare": data.display().to_string()})).await;
    let cases = answer.as_array().unwrap();
    assert!(cases.len() >= 8, "{answer}");
    for case in cases {
        let ours = server.rows(case["tarn"].as_str().unwrap()).await;
        let theirs: Vec<Vec<String>> = serde_json::from_value(case["rows"].clone()).unwrap();
        assert_eq!(ours, theirs, "{}", case["tarn"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_to_files_is_for_administrators() {
    let out = tempfile::tempdir().unwrap();
    let server = ServerOptions::default().allow(&[out.path()]).start().await;
    server.sql("CREATE USER ann PASSWORD 'secret of ann'").await;
    let ann = tarn::client::Client::new(&server.url(), "ann", "secret of ann".into()).unwrap();
    let target = out.path().join("a.csv");
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", target.display());
    match ann.query(&copy).await {
        Err(tarn::client::ClientError::Server(error)) => assert_eq!(error.code, "42501"),
        other => panic!("{other:?}"),
    }
    assert!(!target.exists());
    assert_eq!(sql(server.client(), &copy).await.affected, Some(1));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "a\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_never_writes_into_tables() {
    let out = tempfile::tempdir().unwrap();
    let server = ServerOptions::default().allow(&[out.path()]).start().await;
    let place = out.path().join("t");
    server
        .sql(&format!(
            "CREATE TABLE main.t (a int) LOCATION '{}'",
            place.display()
        ))
        .await;
    server.sql("INSERT INTO main.t VALUES (1)").await;
    let before = files_below(out.path());
    for (path, options) in [
        (place.clone(), "FORMAT csv, OVERWRITE true"),
        (place.join("data"), "FORMAT csv, OVERWRITE true"),
        (place.join("data/x.csv"), "FORMAT csv"),
        (out.path().to_owned(), "FORMAT csv, OVERWRITE true"),
        (Path::new(&server.warehouse()).join("x.csv"), "FORMAT csv"),
    ] {
        let statement = format!("COPY (SELECT 1 AS a) TO '{}' ({options})", path.display());
        let error = server.refuses(&statement).await;
        assert_eq!(error.code, "42501", "{statement}: {error:?}");
    }
    assert_eq!(files_below(out.path()), before);
    assert_eq!(server.rows("SELECT a FROM main.t").await, [["1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_copy_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let server = ServerOptions::default().allow(&[out.path()]).start().await;
    check_cancelled(&server, out.path(), "one.csv", "").await;
    check_cancelled(&server, out.path(), "one.parquet", "").await;
    check_cancelled(
        &server,
        out.path(),
        "many",
        "(FORMAT csv, PARTITION_BY (p), FILE_SIZE_BYTES '10kB')",
    )
    .await;
}

async fn check_cancelled(server: &Server, out: &Path, name: &str, options: &str) {
    let client = server.client().with_session();
    sql(&client, "SET statement_timeout = '1500ms'").await;
    let copy = format!(
        "COPY (SELECT a.v, a.v % 3 AS p FROM generate_series(1, 1000000) a(v), generate_series(1, 1000000) b(v)) TO '{}/{name}' {options}",
        out.display()
    );
    match client.query(&copy).await {
        Err(tarn::client::ClientError::Server(error)) => {
            assert_eq!(error.code, "57014", "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    wait_for("no file is left", Duration::from_secs(20), async || {
        std::fs::read_dir(out)
            .unwrap()
            .next()
            .is_none()
            .then_some(())
    })
    .await;
}
