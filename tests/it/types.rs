//! The table of `docs/types.md`: a column of each of its rows, written and read through every door.

use serde_json::{Value, json};

use crate::harness::server::PASSWORD;
use crate::harness::{ServerOptions, python, repository};

/// One row of the table.
#[derive(Debug)]
struct Row {
    iceberg: String,
    sql: String,
    arrow: String,
    postgres: String,
    value: String,
    text: String,
    json: String,
}

/// The rows between the head of the table and the first line that is none.
fn documented() -> Vec<Row> {
    let text = std::fs::read_to_string(repository().join("docs/types.md")).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| Iceberg"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells = line.trim_matches(['|', ' ']).split(" | ");
        let cells: Vec<String> = cells
            .map(|cell| cell.trim_matches('`').to_owned())
            .collect();
        let [iceberg, sql, arrow, postgres, value, text, json] =
            <[String; 7]>::try_from(cells).unwrap_or_else(|cells| panic!("{cells:?}"));
        Row {
            iceberg,
            sql,
            arrow,
            postgres,
            value,
            text,
            json,
        }
    })
    .collect()
}

/// The list at `key` of an answer, as texts.
fn list(answer: &Value, key: &str) -> Vec<String> {
    let Some(found) = answer.pointer(key).and_then(Value::as_array) else {
        panic!("no {key} in {answer}")
    };
    found
        .iter()
        .map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
        .collect()
}

/// A type as `PyIceberg` names it, without ids and nullability of fields.
fn plain(ty: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in ty.split(' ') {
        let id = word.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '<');
        let is_id = id.ends_with(':') && id[..id.len() - 1].parse::<u32>().is_ok();
        if is_id {
            words.push(&word[..word.len() - id.len()]);
        } else if word != "optional" && word != "required" {
            words.push(word);
            words.push(" ");
        }
    }
    words.concat().trim().to_owned()
}

#[tokio::test]
async fn the_table_of_types_says_what_happens() {
    let rows = documented();
    assert!(rows.len() > 20, "{rows:?}");
    let server = ServerOptions::default().start().await;
    let columns = |of: &dyn Fn(usize, &Row) -> String| {
        let each = rows.iter().enumerate().map(|(at, row)| of(at, row));
        each.collect::<Vec<_>>().join(", ")
    };
    server.sql("CREATE SCHEMA types").await;
    for (name, version) in [("source", 3), ("every", 3)] {
        let list = columns(&|at, row| format!("c{at} {}", row.sql));
        server
            .sql(&format!(
                "CREATE TABLE types.{name} (id integer, {list}) WITH ('format-version' = '{version}')"
            ))
            .await;
    }
    let values = columns(&|_, row| row.value.clone());
    server
        .sql(&format!("INSERT INTO types.source VALUES (1, {values})"))
        .await;
    server.sql("INSERT INTO types.source (id) VALUES (2)").await;
    // What was read is written once more.
    server
        .sql("INSERT INTO types.every SELECT * FROM types.source")
        .await;
    let input = json!({
        "table": "types.every",
        "json": rows.iter().map(|row| &row.json).collect::<Vec<_>>(),
        "http": server.url(),
        "password": PASSWORD,
        "postgres": server.door("postgres").port(),
        "flight": server.door("flight").port(),
        "catalog": server.catalog_for_python(),
    });
    let answer = python("every_type.py", &input).await;
    let wanted = |of: &dyn Fn(&Row) -> String| rows.iter().map(of).collect::<Vec<_>>();
    let iceberg: Vec<_> = list(&answer, "/iceberg")
        .iter()
        .map(|ty| plain(ty))
        .collect();
    assert_eq!(iceberg, wanted(&|row| row.iceberg.clone()));
    for door in ["/arrow", "/flight"] {
        let types = list(&answer, &format!("{door}/types"));
        assert_eq!(types, wanted(&|row| row.arrow.clone()), "{door}");
    }
    let oids = list(&answer, "/oids")
        .into_iter()
        .zip(list(&answer, "/names"));
    let postgres: Vec<_> = oids
        .map(|(oid, name)| match name.strip_prefix('_') {
            Some(item) => format!("{item}[] ({oid})"),
            None => format!("{name} ({oid})"),
        })
        .collect();
    assert_eq!(postgres, wanted(&|row| row.postgres.clone()));
    assert_eq!(list(&answer, "/text"), wanted(&|row| row.text.clone()));
    assert_eq!(list(&answer, "/binary"), list(&answer, "/from_text"));
    let json = list(&answer, "/wanted");
    assert_eq!(list(&answer, "/json"), json);
    assert_eq!(list(&answer, "/ndjson"), json);
    assert!(
        list(&answer, "/json_null")
            .iter()
            .all(|value| value == "null")
    );
    assert_eq!(list(&answer, "/csv"), list(&answer, "/csv_wanted"));
    // The doors and another reader of the files have the same values.
    let values = answer.pointer("/arrow/values").unwrap();
    assert_eq!(Some(values), answer.pointer("/flight/values"));
    assert_eq!(Some(values), answer.pointer("/pyiceberg/values"));
}
