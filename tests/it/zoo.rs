//! The zoo: tables that Spark, Iceberg's Java API, PyIceberg and DuckDB wrote, each read and compared with its writer's
//! own answers, in the coordinator and on workers; and damaged ones, whose refusal names file and reason.
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
const REFUSED: &[(&str, &str)] = &[
    ("avro_data", ".avro"),
    ("mixed_formats", "s3://zoo/mixed_formats/data/"),
    ("orc_data", ".orc"),
    ("position_deletes_avro_orc", "-deletes."),
];

/// In the coordinator, and on workers.
const PLACES: [&str; 2] = ["SET distribution = 'never'", ALWAYS_DISTRIBUTE];

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

/// Puts a table into the catalog, and says what is wrong if that fails.
async fn register(server: &Server, animal: &Animal) -> Result<(), String> {
    let metadata = animal.answer["metadata"].as_str().unwrap();
    let call = format!(
        "CALL system.register_table('main.{}', '{metadata}')",
        animal.name
    );
    match server.client().query(&call).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{call}\n    fails: {}", message(&error))),
    }
}

/// What is wrong with how Tarn reads a table.
async fn look_at(server: &Server, animal: &Animal) -> Vec<String> {
    let name = &animal.name;
    let known = REFUSED.iter().find(|(refused, _)| refused == name);
    let damaged = animal.answer["refusal"].as_array();
    let words = known.map(|(_, word)| vec![*word]);
    let words =
        words.or_else(|| damaged.map(|words| words.iter().filter_map(Value::as_str).collect()));

    let registered = register(server, animal).await;
    let Some(words) = words else {
        return match registered {
            Ok(()) => compare_answers(server, animal).await,
            Err(failure) => vec![failure],
        };
    };
    let mut wrong = Vec::new();
    let mut check = |said: &str| {
        for word in words.iter().filter(|word| !said.contains(**word)) {
            wrong.push(format!("{name}: the refusal does not say {word:?}: {said}"));
        }
    };
    if let Err(said) = registered {
        check(said.split_once("fails: ").map_or("", |(_, said)| said));
        return wrong;
    }
    let client = server.client().with_session();
    for place in PLACES {
        client.query(place).await.unwrap();
        match client.query(&format!("SELECT * FROM main.{name}")).await {
            Ok(answer) => check(&format!("it gave {} rows", answer.row_count())),
            Err(error) => check(&message(&error)),
        }
    }
    wrong
}

/// The answers to a table's questions that differ from its writer's.
async fn compare_answers(server: &Server, animal: &Animal) -> Vec<String> {
    let client = server.client().with_session();
    let queries = animal.answer["queries"].as_array().unwrap();
    assert!(!queries.is_empty(), "{} is asked nothing", animal.name);
    let mut wrong = Vec::new();
    for place in PLACES {
        client.query(place).await.unwrap();
        for query in queries {
            if let Some(difference) = difference(&client, &animal.name, query).await {
                wrong.push(format!("{} ({place}): {difference}", animal.name));
            }
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn tarn_answers_as_the_writers_of_the_zoo_do() {
    let server = open().await;
    let only = std::env::var("TARN_ZOO_ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    for animal in animals()
        .iter()
        .filter(|animal| animal.name.contains(&only))
    {
        wrong.extend(look_at(&server, animal).await);
    }
    assert!(
        wrong.is_empty(),
        "{} answers differ from the writers':\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
