//! Workers and storage that fail while statements run: the right answer or an error that says so, never a hang, and
//! nothing lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tarn::client::{Client, ClientError, Collected};
use uuid::Uuid;

use crate::harness::child::signal;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::server::ALWAYS_DISTRIBUTE;
use crate::harness::{S3, Server, ServerOptions, wait_for};

/// No statement takes longer, whatever fails.
const NEVER_LONGER: Duration = Duration::from_mins(1);

/// Runs a statement that must end in time, whatever it says.
async fn ends(client: &Client, statement: &str) -> Result<Collected, ClientError> {
    tokio::time::timeout(NEVER_LONGER, client.query(statement))
        .await
        .unwrap_or_else(|_| panic!("{statement}\nhangs"))
}

/// A server with tables of which a query on workers takes some seconds.
async fn cluster() -> (Server, Client) {
    let server = ServerOptions::default().workers(2).start().await;
    let client = server.client().with_session();
    client.query(ALWAYS_DISTRIBUTE).await.unwrap();
    client
        .query("CREATE TABLE numbers AS SELECT i, i % 1000 AS k, md5(i::text) AS s FROM generate_series(1, 250000) AS g(i)")
        .await
        .unwrap();
    (server, client)
}

/// Shuffles, joins and sorts on workers.
const LONG: &str = "SELECT count(*), sum(x.i) FROM numbers AS x JOIN numbers AS y ON x.k = y.k WHERE (x.i * y.i) % 7 = 3";

async fn is_running(server: &Server, id: Uuid) {
    let state = format!("SELECT state FROM system.queries WHERE query_id = '{id}'");
    wait_for("the query runs", NEVER_LONGER, async || {
        (server.sql(&state).await.scalar().as_deref() == Some("RUNNING")).then_some(())
    })
    .await;
}

/// Runs [`LONG`] and does `harm` when it runs: the right answer comes, or an error that says that a retry helps.
async fn survives(
    server: &Server,
    client: &Client,
    right: &Collected,
    harm: impl FnOnce(),
) -> Duration {
    let (runs, id) = (client.clone(), Uuid::now_v7());
    let started = Instant::now();
    let running = tokio::spawn(async move {
        let run = async { runs.execute_as(LONG, id).await?.collect().await };
        tokio::time::timeout(NEVER_LONGER, run).await
    });
    is_running(server, id).await;
    harm();
    let ended = running.await.unwrap();
    match ended.unwrap_or_else(|_| panic!("the query hangs")) {
        Ok(answer) => assert_eq!(answer.rows(), right.rows()),
        Err(error) => assert_eq!(error.code(), "57P02", "{error:?}"),
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_survives_the_loss_of_a_worker() {
    let (server, client) = cluster().await;
    let right = client.query(LONG).await.unwrap();
    let workers = server.worker_processes();
    let killed = survives(&server, &client, &right, || signal(workers[0], "KILL")).await;
    server.wait_for_workers(2).await;
    let workers = server.worker_processes();
    let stopped = survives(&server, &client, &right, || signal(workers[0], "STOP")).await;
    // What stands still is out of the cluster; nothing waits for it.
    let begun = Instant::now();
    let answer = ends(&client, LONG).await.unwrap();
    assert_eq!(answer.rows(), right.rows());
    let after = begun.elapsed();
    signal(workers[0], "CONT");
    server.wait_for_workers(2).await;
    println!("killed: {killed:?}, stopped: {stopped:?}, after it: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_survives_the_loss_of_a_worker() {
    let (server, client) = cluster().await;
    client
        .query("CREATE TABLE copy (i bigint, s text)")
        .await
        .unwrap();
    let insert = "INSERT INTO copy SELECT x.i, x.s FROM numbers AS x JOIN numbers AS y ON x.k = y.k WHERE (x.i + y.i) % 400 = 3";
    let rows = "SELECT count(*) FROM numbers AS x JOIN numbers AS y ON x.k = y.k WHERE (x.i + y.i) % 400 = 3";
    let rows = client.query(rows).await.unwrap().scalar().unwrap();
    let (runs, id) = (client.clone(), Uuid::now_v7());
    let running = tokio::spawn(async move {
        let run = async { runs.execute_as(insert, id).await?.collect().await };
        tokio::time::timeout(NEVER_LONGER, run).await
    });
    is_running(&server, id).await;
    signal(server.worker_processes()[0], "KILL");
    let ended = running.await.unwrap().expect("the write hangs");
    let count = client.query("SELECT count(*) FROM copy").await.unwrap();
    match ended {
        Ok(_) => assert_eq!(count.scalar().unwrap(), rows),
        Err(error) => {
            assert_eq!(error.code(), "57P02", "{error:?}");
            assert_eq!(count.scalar().as_deref(), Some("0"));
        }
    }
}

/// A server whose storage is behind `proxy`.
fn behind(proxy: &Proxy, s3: &std::sync::Arc<S3>) -> ServerOptions {
    ServerOptions::default()
        .s3(s3)
        .set("TARN__STORAGE__S3__ENDPOINT", proxy.endpoint())
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_now_and_then_is_not_noticed() {
    let s3 = S3::shared().await;
    let proxy = Proxy::start(&s3.endpoint()).await;
    let server = behind(&proxy, &s3).start().await;
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Reset,
        Fault::ShortBody,
        Fault::Slow(Duration::from_millis(300)),
    ];
    let next = AtomicUsize::new(0);
    proxy.set(move |seen| {
        // Never twice in a row: a client that tries again finds a server that works.
        if seen.number.is_multiple_of(3) {
            faults[next.fetch_add(1, Ordering::SeqCst) % faults.len()]
        } else {
            Fault::None
        }
    });
    let client = server.client().clone();
    ends(&client, "CREATE TABLE t (i bigint, s text)")
        .await
        .unwrap();
    for _ in 0..5 {
        ends(
            &client,
            "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 10000) AS g(i)",
        )
        .await
        .unwrap();
    }
    let answer = ends(&client, "SELECT count(*), sum(i), count(DISTINCT s) FROM t")
        .await
        .unwrap();
    let wanted = ["50000", "250025000", "10000"].map(|v| Some(v.to_owned()));
    assert_eq!(answer.rows(), [wanted.to_vec()]);
    assert!(proxy.faults() > 10, "{}", proxy.faults());
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_down_is_named_soon_and_nothing_is_lost() {
    let s3 = S3::shared().await;
    let proxy = Proxy::start(&s3.endpoint()).await;
    let server = behind(&proxy, &s3).start().await;
    let client = server.client().clone();
    ends(&client, "CREATE TABLE t AS SELECT 1 AS i")
        .await
        .unwrap();
    proxy.set(|_| Fault::Status(503));
    for statement in ["INSERT INTO t VALUES (2)", "SELECT sum(i) FROM t"] {
        let begun = Instant::now();
        match ends(&client, statement).await {
            Err(error) => {
                assert!(["58030", "40003"].contains(&error.code()), "{error:?}");
                assert!(error.to_string().contains("503"), "{error}");
            }
            Ok(answer) => assert!(statement.starts_with("SELECT"), "{:?}", answer.rows()),
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{statement}");
    }
    proxy.set(|_| Fault::None);
    assert_eq!(server.rows("SELECT sum(i) FROM t").await, [["1"]]);
    ends(&client, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(server.rows("SELECT sum(i) FROM t").await, [["3"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_lies_loses_and_doubles_nothing() {
    let s3 = S3::shared().await;
    let proxy = Proxy::start(&s3.endpoint()).await;
    let server = behind(&proxy, &s3).start().await;
    let client = server.client().clone();
    ends(&client, "CREATE TABLE t (i bigint, s text)")
        .await
        .unwrap();
    let mut rows = 0;
    for method in ["PUT", "POST", "DELETE"] {
        let told = AtomicUsize::new(0);
        // Each request of this kind is carried out, and every second one seems to have failed.
        proxy.set(move |seen| {
            if seen.method == method && told.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                Fault::Lie
            } else {
                Fault::None
            }
        });
        // More than one part of an upload.
        let insert = "INSERT INTO t SELECT i, md5(i::text) || md5((i + 1)::text) FROM generate_series(1, 300000) AS g(i)";
        match ends(&client, insert).await {
            Ok(_) => rows += 300_000,
            Err(error) => {
                println!("{method}: {error}");
                assert!(
                    ["58030", "40003"].contains(&error.code()),
                    "{method}: {error:?}"
                );
            }
        }
        proxy.set(|_| Fault::None);
        let count = ends(&client, "SELECT count(*) FROM t").await.unwrap();
        assert_eq!(count.scalar(), Some(rows.to_string()), "{method}");
    }
    assert!(rows >= 600_000, "{rows}");
    assert!(proxy.faults() > 3, "{}", proxy.faults());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_its_commit_leaves_the_table_as_it_was() {
    let s3 = S3::shared().await;
    let proxy = Proxy::start(&s3.endpoint()).await;
    let options = behind(&proxy, &s3);
    let mut server = options.clone().start().await;
    let folder = server.folder();
    server.sql("CREATE TABLE t AS SELECT 1 AS i").await;
    // Data files are written; the table's new metadata never is.
    proxy.set(|seen| {
        if seen.method == "PUT" && seen.target.contains(".metadata.json") {
            Fault::Silence
        } else {
            Fault::None
        }
    });
    let client = server.client().clone();
    let insert = tokio::spawn(async move { client.query("INSERT INTO t VALUES (2)").await });
    wait_for("the commit begins", NEVER_LONGER, async || {
        (proxy.faults() > 0).then_some(())
    })
    .await;
    server.process().kill();
    assert!(insert.await.unwrap().is_err());
    proxy.set(|_| Fault::None);
    drop(server);
    let server = options.start_in(folder).await;
    assert_eq!(server.rows("SELECT * FROM t").await, [["1"]]);
    server.sql("INSERT INTO t VALUES (3)").await;
    assert_eq!(
        server.rows("SELECT i FROM t ORDER BY i").await,
        [["1"], ["3"]]
    );
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_is_found_later_and_nothing_else() {
    // The coordinator writes itself: workers that lose it would remove what they wrote.
    let options = ServerOptions::default();
    let mut server = options.clone().start().await;
    let folder = server.folder();
    server
        .sql("CREATE TABLE t AS SELECT i, repeat(md5(i::text), 16) AS s FROM generate_series(1, 20000) AS g(i)")
        .await;
    // A snapshot whose files no newer one names, and one that has a neighbour.
    server.sql("INSERT INTO t VALUES (0, 'x')").await;
    server.sql("TRUNCATE t").await;
    server.sql("INSERT INTO t VALUES (1, 'y'), (2, 'z')").await;
    let warehouse = PathBuf::from(server.warehouse());
    let before = files(&warehouse);
    let client = server.client().clone();
    let insert = tokio::spawn(async move {
        let endless = "INSERT INTO t SELECT a.i, md5((a.i + b.i)::text) FROM generate_series(1, 1000000) AS a(i), generate_series(1, 1000000) AS b(i)";
        client.query(endless).await
    });
    wait_for("files are written", NEVER_LONGER, async || {
        (files(&warehouse).len() > before.len()).then_some(())
    })
    .await;
    server.process().kill();
    assert!(insert.await.unwrap().is_err());
    drop(server);
    let server = options.start_in(folder).await;
    let rows = "SELECT * FROM t ORDER BY i";
    let wanted = [["1", "y"], ["2", "z"]];
    assert_eq!(server.rows(rows).await, wanted);
    let left: Vec<PathBuf> = files(&warehouse);
    let left: Vec<PathBuf> = left.into_iter().filter(|f| !before.contains(f)).collect();
    assert!(!left.is_empty(), "the server left nothing");
    // What a server leaves that is killed later, when files are finished and manifests written.
    let data = before.iter().find(|f| has_end(f, "parquet")).unwrap();
    let metadata = before.iter().find(|f| has_end(f, "avro")).unwrap();
    let mut left = left;
    for (file, name) in [(data, "left.parquet"), (metadata, "left.avro")] {
        let copy = file.with_file_name(name);
        fs::copy(file, &copy).unwrap();
        left.push(copy);
    }
    let call = "CALL system.remove_orphan_files('t', older_than => '2h')";
    assert_eq!(server.rows(call).await, [["0", "0"]], "all are young");
    let old = SystemTime::now() - Duration::from_hours(3);
    for file in before.iter().chain(&left) {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(old).unwrap();
    }
    let young = data.with_file_name("young.parquet");
    fs::copy(data, &young).unwrap();
    let bytes: u64 = left.iter().map(|f| fs::metadata(f).unwrap().len()).sum();
    let wanted_counts = [[left.len().to_string(), bytes.to_string()]];
    assert_eq!(server.rows(call).await, wanted_counts);
    let mut stay = before.clone();
    stay.push(young);
    stay.sort();
    assert_eq!(files(&warehouse), stay);
    assert_eq!(server.rows(rows).await, wanted);
    let history = "SELECT count(*), sum(length(s)) FROM t FOR VERSION AS OF ";
    let first = server
        .rows("SELECT snapshot_id FROM \"t$snapshots\" ORDER BY committed_at LIMIT 1")
        .await;
    let first = format!("{history}{}", first[0][0]);
    assert_eq!(server.rows(&first).await, [["20000", "10240000"]]);
    let error = server
        .refuses("CALL system.remove_orphan_files('t', older_than => '5min')")
        .await;
    assert_eq!(error.code, "22023", "{error:?}");
}

fn has_end(file: &Path, end: &str) -> bool {
    file.extension().is_some_and(|found| found == end)
}
