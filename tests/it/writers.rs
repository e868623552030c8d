//! Ten writers append to one table at once through two coordinators on one
//! PostgreSQL: every acknowledged row once, and a linear history.

use std::collections::BTreeSet;

use serde_json::json;
use tarn::client::{Client, ClientError};

use crate::harness::{Postgres, S3, ServerOptions, python};

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
