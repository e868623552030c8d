//! TPC-H at scale factor 0.1 against known answers: in process and on three
//! workers, on the file system and on S3.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tarn::tpch::data::{Generation, generate};
use tarn::tpch::{QUERY_COUNT, TABLES, check, query};

use crate::harness::server::{ALWAYS_DISTRIBUTE, sql};
use crate::harness::{S3, Server, ServerOptions};

pub(crate) const SCALE_FACTOR: &str = "0.1";

/// The eight tables as Parquet, generated once and kept beside the build.
pub(crate) fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tpch-{SCALE_FACTOR}"));
        let complete = folder.join("complete");
        if !complete.exists() {
            generate(&Generation {
                folder: &folder,
                scale_factor: SCALE_FACTOR.parse().unwrap(),
                threads: 2,
                rows_done: &AtomicU64::new(0),
                stop: &AtomicBool::new(false),
            })
            .unwrap();
            fs::write(complete, "").unwrap();
        }
        folder
    })
}

/// Options of a server that may read [`data`].
pub(crate) fn options() -> ServerOptions {
    ServerOptions::default().allow(&[data()])
}

/// Loads one table as a user would.
pub(crate) async fn load(server: &Server, table: &str) {
    let files = data().join(table).join("*.parquet");
    server
        .sql(&format!(
            "CREATE TABLE {table} AS SELECT * FROM read_parquet('{}')",
            files.display()
        ))
        .await;
}

async fn check_all(server: &Server, distributed: bool) {
    let client = server.client().with_session();
    if distributed {
        sql(&client, ALWAYS_DISTRIBUTE).await;
    }
    let mut failures = Vec::new();
    for number in 1..=QUERY_COUNT {
        let answer = match client.query(query(number).unwrap()).await {
            Ok(answer) => answer,
            Err(error) => {
                failures.push(format!("query {number}: {error}"));
                continue;
            }
        };
        if let Err(difference) = check(number, SCALE_FACTOR, &answer.batches) {
            failures.push(format!("query {number}: {difference}"));
        }
        let how = format!(
            "SELECT distributed FROM system.queries WHERE query_id = '{}'",
            answer.query_id
        );
        let ran_distributed = server.sql(&how).await.scalar().unwrap();
        if ran_distributed != distributed.to_string() {
            failures.push(format!("query {number}: distributed is {ran_distributed}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Loads on three workers and asks there; then asks one process that starts on what
/// the first has left.
async fn check_answers(options: ServerOptions) {
    let server = options.clone().workers(3).start().await;
    for table in TABLES {
        load(&server, table).await;
    }
    check_all(&server, true).await;
    let folder = server.folder();
    assert!(server.stop().success());

    let server = options.workers(0).start_in(folder).await;
    check_all(&server, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_right_on_the_file_system() {
    check_answers(options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_right_on_s3() {
    let s3 = S3::shared().await;
    check_answers(options().s3(&s3)).await;
}
