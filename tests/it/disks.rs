//! Full disks: a statement that finds one is done elsewhere or says so, and nothing else suffers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tarn::client::{Client, ClientError, ServerError};

use crate::harness::child::Process;
use crate::harness::disks::SmallDisk;
use crate::harness::server::{ALWAYS_DISTRIBUTE, CLUSTER_SECRET, sql, tarn};
use crate::harness::{S3, Server, ServerOptions, skip, wait_for};

const SECRET: &str = "a shared secret of some length";

/// With this much memory, 100 MB do not fit.
const MEMORY: &str = "67108864";

/// Nor do they on this disk.
const DISK_BYTES: u64 = 16 << 20;

/// What is in use of a disk on which nothing is spilled, at most: folders and locks.
const QUIET_BYTES: u64 = 64 << 10;

/// Nothing here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Sorts 100 MB.
const SORT: &str = "SELECT max(n), count(*) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY s) AS n FROM wide) AS o";

/// A small disk, or a loud word.
fn disk(test: &str, folder: &Path, bytes: u64) -> Option<SmallDisk> {
    SmallDisk::on(folder, bytes)
        .map_err(|why| skip(test, &why))
        .ok()
}

/// A table of 100 MB of which nothing compresses in memory.
async fn load_wide(server: &Server) {
    server
        .sql("CREATE TABLE wide AS SELECT i, i % 10 AS k, repeat(md5(i::text), 16) AS s FROM generate_series(1, 200000) AS g(i)")
        .await;
}

/// The error of a statement, which must end in time.
async fn fails(client: &Client, statement: &str) -> ServerError {
    let ended = tokio::time::timeout(PATIENCE, client.query(statement)).await;
    match ended.unwrap_or_else(|_| panic!("{statement}\nhangs")) {
        Err(ClientError::Server(error)) => *error,
        other => panic!("{statement}\n{other:?}"),
    }
}

fn check_disk_full(error: &ServerError) {
    assert_eq!(error.code, "53100", "{error:?}");
    assert!(error.message.contains("disk full"), "{error:?}");
    assert!(error.message.contains("No space left"), "{error:?}");
}

async fn is_given_back(disk: &SmallDisk) {
    wait_for("the disk is given back", PATIENCE, async || {
        (disk.used() < QUIET_BYTES).then_some(())
    })
    .await;
}

fn worker(server: &Server, folder: &Path, spill: &Path) -> Process {
    let mut command = tarn();
    command
        .args(["worker", "--coordinator", &server.url()])
        .env("TARN__LISTEN__WORKER", "127.0.0.1:0")
        .env("TARN__MEMORY__LIMIT_BYTES", MEMORY)
        .env(CLUSTER_SECRET, SECRET)
        .env("TMPDIR", spill)
        .current_dir(folder);
    Process::start("worker", command, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_disk_is_full_costs_no_answer() {
    let name = "a_worker_whose_disk_is_full_costs_no_answer";
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = disk(name, &folder.path().join("small"), DISK_BYTES) else {
        return;
    };
    let mut server = ServerOptions::default()
        .set(CLUSTER_SECRET, SECRET)
        .set("TARN__MEMORY__LIMIT_BYTES", "268435456")
        .start()
        .await;
    let places = ["one", "other"].map(|name| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        place
    });
    let mut workers = [
        worker(&server, &places[0], small.folder()),
        worker(&server, &places[1], &places[1]),
    ];
    server.wait_for_workers(2).await;
    load_wide(&server).await;
    let client = server.client().with_session();
    sql(&client, ALWAYS_DISTRIBUTE).await;
    let answer = tokio::time::timeout(PATIENCE, client.query(SORT)).await;
    let answer = answer.unwrap_or_else(|_| panic!("the query hangs"));
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(
        answer.rows(),
        [["20000", "200000"].map(|v| Some(v.to_owned())).to_vec()]
    );
    // Else this shows nothing.
    let log = server.process().stderr();
    assert!(
        log.contains("statement planned again") && log.contains("disk full"),
        "{log}"
    );
    is_given_back(&small).await;
    assert!(workers.iter_mut().all(|one| one.ended().is_none()));
    assert_eq!(server.active_workers().await, 2);
    let next = sql(
        &client,
        "SELECT count(DISTINCT s), sum(i) FROM wide WHERE i <= 1000",
    )
    .await;
    assert_eq!(
        next.rows(),
        [["1000", "500500"].map(|v| Some(v.to_owned())).to_vec()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_disk_is_full_says_so_and_goes_on() {
    let name = "a_coordinator_whose_disk_is_full_says_so_and_goes_on";
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // A disk of its own for what is spilled, as an operator would mount it.
    let Some(small) = disk(name, &folder.path().join("data/spill"), DISK_BYTES) else {
        return;
    };
    std::fs::write(small.folder().join("left-over"), "x").unwrap();
    let server = ServerOptions::default()
        .set("TARN__MEMORY__LIMIT_BYTES", MEMORY)
        .start_in(Arc::clone(&folder))
        .await;
    assert!(!small.folder().join("left-over").exists());
    load_wide(&server).await;
    check_disk_full(&fails(server.client(), SORT).await);
    is_given_back(&small).await;
    let copy = format!("CREATE TABLE copy AS {SORT}");
    check_disk_full(&fails(server.client(), &copy).await);
    is_given_back(&small).await;
    let count = server.rows("SELECT count(*) FROM wide").await;
    assert_eq!(count, [["200000"]]);
    let error = server.refuses("SELECT * FROM copy").await;
    assert_eq!(error.code, "42P01", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_whose_disk_is_full_is_no_cache_and_no_error() {
    let name = "a_cache_whose_disk_is_full_is_no_cache_and_no_error";
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let Some(small) = disk(name, &folder.path().join("data/cache"), 6 << 20) else {
        return;
    };
    let s3 = S3::shared().await;
    let server = ServerOptions::default()
        .s3(&s3)
        .set("TARN__CACHE__DISK_BYTES", "1073741824")
        .set("TARN__CACHE__MEMORY_BYTES", "4194304")
        .start_in(Arc::clone(&folder))
        .await;
    let disk_is_on = async || {
        let text = reqwest::get(server.url() + "/metrics").await.unwrap();
        let text = text.text().await.unwrap();
        text.contains("\ntarn_range_cache_disk_on 1")
    };
    assert!(disk_is_on().await);
    server
        .sql("CREATE TABLE texts AS SELECT i, md5(i::text) || md5((i + 1)::text) AS s FROM generate_series(1, 300000) AS g(i)")
        .await;
    for _ in 0..3 {
        let answer = server
            .rows("SELECT count(DISTINCT s), sum(i) FROM texts")
            .await;
        assert_eq!(answer, [["300000", "45000150000"]]);
    }
    wait_for("the disk cache is off", PATIENCE, async || {
        (!disk_is_on().await).then_some(())
    })
    .await;
    assert!(small.used() > 1 << 20, "{}", small.used());
    let answer = server.rows("SELECT max(s) IS NOT NULL FROM texts").await;
    assert_eq!(answer, [["true"]]);
}
