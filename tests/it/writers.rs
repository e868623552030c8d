//! Ten writers append to one table at once through two coordinators on one
//! PostgreSQL: every acknowledged row once, and a linear history. A write that
//! fails or is cancelled leaves nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tarn::client::{Client, ClientError};

use crate::harness::server::ALWAYS_DISTRIBUTE;
use crate::harness::{Postgres, S3, Server, ServerOptions, python, wait_for};

const WRITERS: usize = 10;
const APPENDS: usize = 4;
const ROWS: usize = 25;

/// Conflicts that one append may meet before its writer gives up on it.
const TRIES_MAX: usize = 20;

/// Appends batches `0..APPENDS` and returns those that were acknowledged.
async fn write(client: Client, writer: usize) -> BTreeSet<(usize, usize)> {
    let mut acknowledged = BTreeSet::new();
    for batch in 0..APPENDS {
        let statement = format!(
            "INSERT INTO main.shared SELECT {writer}, {batch}, i FROM generate_series(1, {ROWS}) AS s(i)"
        );
        for _ in 0..TRIES_MAX {
            match client.query(&statement).await {
                Ok(answer) => {
                    assert_eq!(answer.affected, Some(ROWS as u64));
                    acknowledged.insert((writer, batch));
                    break;
                }
                Err(ClientError::Server(error)) if error.code == "40001" => {}
                Err(error) => panic!("writer {writer}: {error:?}"),
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_row_is_there_once() {
    let (s3, postgres) = (S3::shared().await, Postgres::start().await);
    let options = ServerOptions::default().s3(&s3).metadata(&postgres.url());
    let (first, second) = tokio::join!(options.clone().start(), options.start());
    first
        .sql("CREATE TABLE main.shared (writer integer, batch integer, i bigint)")
        .await;

    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let server = if writer % 2 == 0 { &first } else { &second };
            tokio::spawn(write(server.client().clone(), writer))
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for writer in writing {
        acknowledged.extend(writer.await.unwrap());
    }
    assert_eq!(
        acknowledged.len(),
        WRITERS * APPENDS,
        "the commits kept colliding"
    );

    for server in [&first, &second] {
        let found = server
            .rows("SELECT writer, batch, count(*), count(DISTINCT i) FROM main.shared GROUP BY 1, 2 ORDER BY 1, 2")
            .await;
        let expected: Vec<Vec<String>> = acknowledged
            .iter()
            .map(|(writer, batch)| {
                [*writer, *batch, ROWS, ROWS]
                    .map(|number| number.to_string())
                    .to_vec()
            })
            .collect();
        assert_eq!(found, expected);
    }

    let task = json!({"catalog": first.catalog_for_python(), "table": "main.shared"});
    let history = python("history.py", &task).await;
    let snapshots = history["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), acknowledged.len());
    let mut parent = serde_json::Value::Null;
    for (index, snapshot) in snapshots.iter().enumerate() {
        assert_eq!(snapshot["parent"], parent, "snapshot {index} of {history}");
        assert_eq!(snapshot["sequence"], index + 1);
        assert_eq!(snapshot["operation"], "append");
        assert_eq!(snapshot["added"], ROWS);
        assert_eq!(snapshot["total"], (index + 1) * ROWS);
        parent = snapshot["id"].clone();
    }
    assert_eq!(history["current"], parent);
}

/// All files below `folder`, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// Writes for longer than any test waits.
const LONG_WRITE: &str = "INSERT INTO main.kept
    SELECT i % 100000, repeat(md5(CAST(i AS text)), 8) FROM generate_series(1, 100000000) AS g(i)";
/// Fails at its last row.
const FAILING_SELECT: &str =
    "SELECT CAST(CASE WHEN i = 500000 THEN 'x' ELSE CAST(i AS text) END AS integer) AS x, 'y' AS s
    FROM generate_series(1, 500000) AS g(i)";

async fn check_nothing_is_left(server: &Server, partitioning: &str) {
    let client = server.client().with_session();
    client.query(ALWAYS_DISTRIBUTE).await.unwrap();
    for statement in [
        &format!("CREATE TABLE main.kept (x integer, s varchar) {partitioning}"),
        "INSERT INTO main.kept SELECT i, 'a' FROM generate_series(1, 10) AS g(i)",
    ] {
        client.query(statement).await.unwrap();
    }
    let warehouse = PathBuf::from(server.warehouse());
    let before = files_below(&warehouse);
    let unchanged = async |what: &str| {
        let what = format!("{what} {partitioning} leaves no file");
        wait_for(&what, Duration::from_secs(20), async || {
            (files_below(&warehouse) == before).then_some(())
        })
        .await;
        let counted = server.rows("SELECT count(*) FROM main.kept").await;
        assert_eq!(counted, [["10"]]);
    };

    for statement in [
        format!("INSERT INTO main.kept {FAILING_SELECT}"),
        format!("CREATE TABLE main.never {partitioning} AS {FAILING_SELECT}"),
    ] {
        match client.query(&statement).await {
            Err(ClientError::Server(error)) => assert_eq!(error.code, "22P02", "{error:?}"),
            other => panic!("{other:?}"),
        }
        unchanged("a failed write").await;
    }

    let writing = client.clone();
    let writing = tokio::spawn(async move { writing.query(LONG_WRITE).await });
    wait_for("the write has begun", Duration::from_mins(1), async || {
        (files_below(&warehouse) != before).then_some(())
    })
    .await;
    writing.abort();
    unchanged("a cancelled write").await;
    client.query("DROP TABLE main.kept").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_or_is_cancelled_leaves_nothing() {
    let server = ServerOptions::default().workers(2).start().await;
    check_nothing_is_left(&server, "").await;
    check_nothing_is_left(&server, "PARTITIONED BY (bucket(4, x))").await;
}
