//! The SQL files of `tests/slt`, on one process and on three workers.
//!
//! Each file runs in a session and a schema of its own. Values are written as
//! PostgreSQL writes them, NULL as `NULL` and an empty string as `(empty)`.

use std::path::{Path, PathBuf};

use arrow::array::Array as _;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Runner};
use tarn::client::{Client, ClientError, Collected};

use crate::harness::server::{ALWAYS_DISTRIBUTE, sql};
use crate::harness::{Server, ServerOptions, repository};
use crate::tpch;

/// The kinds of column that a `query` line names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    /// Floating point and decimal.
    Real,
    Date,
    /// Timestamps with and without time zone.
    Point,
    Text,
    Other,
}

impl ColumnType for Kind {
    fn from_char(value: char) -> Option<Self> {
        match value {
            'B' => Some(Self::Boolean),
            'I' => Some(Self::Integer),
            'R' => Some(Self::Real),
            'D' => Some(Self::Date),
            'P' => Some(Self::Point),
            'T' => Some(Self::Text),
            '?' => Some(Self::Other),
            _ => None,
        }
    }

    fn to_char(&self) -> char {
        match self {
            Self::Boolean => 'B',
            Self::Integer => 'I',
            Self::Real => 'R',
            Self::Date => 'D',
            Self::Point => 'P',
            Self::Text => 'T',
            Self::Other => '?',
        }
    }
}

impl From<&DataType> for Kind {
    fn from(ty: &DataType) -> Self {
        match ty {
            DataType::Boolean => Self::Boolean,
            ty if ty.is_integer() => Self::Integer,
            ty if ty.is_floating() => Self::Real,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Real,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(..) => Self::Point,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            _ => Self::Other,
        }
    }
}

/// One session at the HTTP door.
struct Session {
    client: Client,
}

/// An error as files expect it: `SQLSTATE: message; hint`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SessionError(String);

impl From<ClientError> for SessionError {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Server(error) => error.hint.as_ref().map(|hint| format!("; {hint}")),
            _ => None,
        };
        Self(format!(
            "{}: {error}{}",
            error.code(),
            hint.unwrap_or_default()
        ))
    }
}

#[async_trait]
impl AsyncDB for Session {
    type Error = SessionError;
    type ColumnType = Kind;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, SessionError> {
        let answer = self.client.query(sql).await?;
        if answer.affected.is_some() || answer.schema.fields().is_empty() {
            return Ok(DBOutput::StatementComplete(answer.affected.unwrap_or(0)));
        }
        let types = answer
            .schema
            .fields()
            .iter()
            .map(|field| Kind::from(field.data_type()))
            .collect();
        Ok(DBOutput::Rows {
            types,
            rows: rows(&answer),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "tarn"
    }

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn rows(answer: &Collected) -> Vec<Vec<String>> {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|array| (array, ArrayFormatter::try_new(array, &options).unwrap()))
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let value = |(array, format): &(&arrow::array::ArrayRef, ArrayFormatter<'_>)| {
                if array.is_null(row) {
                    return "NULL".to_owned();
                }
                let text = format.value(row).to_string();
                if text.is_empty() {
                    "(empty)".to_owned()
                } else {
                    text
                }
            };
            columns.iter().map(value).collect()
        }));
    }
    rows
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
    found.sort();
}

/// Options of a server that may read the files that `tests/slt/files` names, and write into `out`.
fn options(out: &Path) -> ServerOptions {
    ServerOptions::default().allow(&[&repository().join("tests/slt/data"), tpch::data(), out])
}

/// Runs every file against `server`, which may write into `out`, those with `label` included.
async fn run_files(server: &Server, out: &Path, label: &'static str, setup: &[&str]) {
    let root = repository().join("tests/slt");
    let wanted = std::env::var("TARN_SLT").unwrap_or_default();
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.retain(|path| path.to_string_lossy().contains(&wanted));
    assert!(
        !paths.is_empty(),
        "no file under {} matches TARN_SLT={wanted:?}",
        root.display()
    );

    let mut failures = Vec::new();
    for path in &paths {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .with_extension("")
            .to_string_lossy()
            .replace('/', "_");
        let client = server.client().with_session();
        let schema = format!("slt_{name}");
        sql(&client, &format!("CREATE SCHEMA {schema}")).await;
        sql(&client, &format!("USE lake.{schema}")).await;
        for statement in setup {
            sql(&client, statement).await;
        }
        let mut runner = Runner::new(async || {
            Ok(Session {
                client: client.clone(),
            })
        });
        runner.add_label(label);
        runner.with_column_validator(sqllogictest::strict_column_validator);
        runner.set_var("DATA".to_owned(), root.join("data").display().to_string());
        runner.set_var("TPCH".to_owned(), tpch::data().display().to_string());
        runner.set_var("OUT".to_owned(), out.display().to_string());
        if let Err(error) = runner.run_file_async(path).await {
            failures.push(error.to_string());
        }
    }
    println!(
        "{} of {} files passed on {label}",
        paths.len() - failures.len(),
        paths.len()
    );
    assert!(
        failures.is_empty(),
        "{} files failed on {label}:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_passes_on_one_process() {
    let out = tempfile::tempdir().unwrap();
    let server = options(out.path()).start().await;
    run_files(&server, out.path(), "local", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_passes_on_three_workers() {
    let out = tempfile::tempdir().unwrap();
    let server = options(out.path()).workers(3).start().await;
    run_files(&server, out.path(), "workers", &[ALWAYS_DISTRIBUTE]).await;
}
