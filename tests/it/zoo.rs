//! The zoo: tables that Spark, Iceberg's Java API and PyIceberg wrote, each read and compared with its writer's own
//! answers, in the coordinator and on workers.
//!
//! `tests/zoo/README.md` tells what a table of the zoo is and how they are made.

mod canonical;
#[cfg(feature = "zoo")]
mod spark;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};
use tarn::client::{Client, ClientError};

use crate::harness::server::ALWAYS_DISTRIBUTE;
use crate::harness::{S3, Server, ServerOptions, python, repository};

/// Differing rows of one query that a failure prints.
const ROWS_SHOWN: usize = 6;

/// Tables that Tarn refuses to read, and what the refusal must name.
const REFUSED: &[(&str, &str)] = &[];

/// A table of the zoo.
struct Animal {
    name: String,
    answer: Value,
}

fn animals() -> Vec<Animal> {
    let folder = repository().join("tests/zoo/fixtures");
    let mut animals: Vec<Animal> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path().join("answer.json")).unwrap();
            Animal {
                name: entry.file_name().into_string().unwrap(),
                answer: serde_json::from_str(&text).unwrap(),
            }
        })
        .collect();
    animals.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(!animals.is_empty(), "{} is empty", folder.display());
    animals
}

/// The query as Tarn is asked: `{t}` is the table, `{t$files}` one of its metadata tables.
fn in_tarn(sql: &str, table: &str) -> String {
    let mut parts = sql.split("{t$");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (metadata_table, rest) = part.split_once('}').unwrap();
        write!(text, "main.\"{table}${metadata_table}\"{rest}").unwrap();
    }
    text.replace("{t}", &format!("main.{table}"))
}

fn message(error: &ClientError) -> String {
    match error {
        ClientError::Server(error) => format!("{} {}", error.code, error.message),
        other => format!("{other:?}"),
    }
}

/// What is wrong with the answer to one query, if anything is.
async fn difference(client: &Client, table: &str, query: &Value) -> Option<String> {
    let sql = in_tarn(query["sql"].as_str().unwrap(), table);
    let answer = match client.query(&sql).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{sql}\n    fails: {}", message(&error))),
    };
    let columns: Vec<&str> = answer
        .schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    if json!(columns) != query["columns"] {
        return Some(format!(
            "{sql}\n    columns {columns:?}, expected {}",
            query["columns"]
        ));
    }
    let expected = canonical::sorted(query["rows"].as_array().unwrap().clone());
    let found = canonical::sorted(canonical::rows(&answer.batches));
    (expected != found).then(|| format!("{sql}\n{}", compare(&expected, &found)))
}

/// The rows of two sorted lists that only one has.
fn compare(expected: &[Value], found: &[Value]) -> String {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in expected {
        *counts.entry(row.to_string()).or_default() += 1;
    }
    for row in found {
        *counts.entry(row.to_string()).or_default() -= 1;
    }
    let mut text = format!("    {} rows, expected {}", found.len(), expected.len());
    let (missing, extra): (Vec<_>, Vec<_>) = counts
        .iter()
        .filter(|(_, count)| **count != 0)
        .partition(|(_, count)| **count > 0);
    for (what, rows) in [("missing", missing), ("unexpected", extra)] {
        for (row, _) in rows.iter().take(ROWS_SHOWN) {
            write!(text, "\n    {what}: {row}").unwrap();
        }
    }
    text
}

/// Starts a server that has the zoo's tables in its schema `main`.
async fn open() -> Server {
    let s3 = S3::shared().await;
    let server = ServerOptions::default()
        .s3(&s3)
        .set("TARN__STORAGE__ALLOWED_ROOTS", r#"["s3://zoo/"]"#)
        .workers(2)
        .start()
        .await;
    let fixtures = repository().join("tests/zoo/fixtures");
    let task = json!({"s3": server.catalog_for_python()["s3"], "fixtures": fixtures});
    let uploaded = python("zoo.py", &task).await;
    assert!(uploaded["objects"].as_u64().unwrap() > 0);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn tarn_answers_as_the_writers_of_the_zoo_do() {
    let server = open().await;
    let only = std::env::var("TARN_ZOO_ONLY").ok();
    let mut wrong = Vec::new();
    let mut asked = 0;
    for animal in animals() {
        let name = &animal.name;
        if only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let metadata = animal.answer["metadata"].as_str().unwrap();
        let register = format!("CALL system.register_table('main.{name}', '{metadata}')");
        if let Err(error) = server.client().query(&register).await {
            wrong.push(format!(
                "{name}: {register}\n    fails: {}",
                message(&error)
            ));
            continue;
        }
        if let Some((_, needle)) = REFUSED.iter().find(|(refused, _)| refused == name) {
            let error = server.refuses(&format!("SELECT * FROM main.{name}")).await;
            assert!(error.message.contains(needle), "{name}: {error:?}");
            continue;
        }
        let client = server.client().with_session();
        for place in ["SET distribution = 'never'", ALWAYS_DISTRIBUTE] {
            client.query(place).await.unwrap();
            for query in animal.answer["queries"].as_array().unwrap() {
                asked += 1;
                if let Some(difference) = difference(&client, name, query).await {
                    wrong.push(format!("{name} ({place}): {difference}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} answers differ from the writers':\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
