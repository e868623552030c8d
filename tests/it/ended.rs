//! What is ended before it has ended gives processors, memory, spill files and unfinished files back within a second.
//!
//! Ended by KILL, by a time limit or because its client has gone, through each door, while it scans, joins, shuffles, sorts,
//! spills or writes, in the coordinator and on workers. Statements here would run for hours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tarn::client::Client;
use uuid::Uuid;

use super::postgres::Raw;
use super::survival::{PATIENCE, load_wide, metric, wait_for_state};
use crate::harness::child::Process;
use crate::harness::server::{PASSWORD, sql};
use crate::harness::{Server, ServerOptions, tool, wait_for};

/// Everything is back after this time. Who is late may try once more: other tests run beside this one.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// How long a statement runs that its session limits.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long processors are looked at.
const WINDOW: Duration = Duration::from_millis(200);

/// What a statement must have begun before it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// To use processors.
    Working,
    /// To spill.
    Spilling,
    /// To write data files.
    Writing,
}

/// A name, what is waited for, and the statement.
type Long = (&'static str, Begun, String);

fn statements() -> [Long; 6] {
    [
        ("scan", Begun::Working, scan()),
        ("join", Begun::Working, JOIN.to_owned()),
        ("shuffle", Begun::Working, SHUFFLE.to_owned()),
        ("sort", Begun::Working, SORT.to_owned()),
        ("spill", Begun::Spilling, SORT.to_owned()),
        ("write", Begun::Writing, WRITE.to_owned()),
    ]
}

/// Reads a table many times, and has much to do for each row of it.
fn scan() -> String {
    let branches: Vec<_> = (0..60)
        .map(|n| {
            format!("SELECT regexp_replace(s, '([a-f]+)([0-9]+)', '\\2{n}\\1', 'g') AS t FROM wide")
        })
        .collect();
    let all = branches.join(" UNION ALL ");
    format!("SELECT count(*) FROM ({all}) AS a WHERE length(t) = 1")
}

const JOIN: &str =
    "SELECT count(*) FROM wide AS x JOIN wide AS y ON x.k = y.k WHERE (x.i * y.i) % 7 = 3";

const SHUFFLE: &str = "SELECT count(*) FROM (SELECT x.i + y.i AS n, count(*) FROM wide AS x JOIN wide AS y ON x.k = y.k GROUP BY 1) AS g";

const SORT: &str = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY x.s || y.k) AS n FROM wide AS x JOIN wide AS y ON x.k = y.k) AS o";

const WRITE: &str =
    "CREATE TABLE unfinished AS SELECT x.i, y.s FROM wide AS x JOIN wide AS y ON x.k = y.k";

/// Processor time that a process has used.
fn cpu_time(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|t| t.parse::<u64>().ok())
            .unwrap_or(0)
    };
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second on Linux.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// How busy the processes are, in processors.
async fn busy(ids: &[u32]) -> f64 {
    let used = || ids.iter().map(|id| cpu_time(*id)).sum::<Duration>();
    let (before, begun) = (used(), Instant::now());
    tokio::time::sleep(WINDOW).await;
    used().saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

/// Memory that statements hold, here and on the workers.
async fn held(server: &Server) -> f64 {
    let workers = "SELECT coalesce(sum(memory_reserved_bytes), 0) FROM system.workers";
    let workers = server.sql(workers).await.scalar().unwrap();
    metric(server, "tarn_memory_reserved_bytes").await + workers.parse::<f64>().unwrap()
}

/// Files below `folder` with a part of their path that `wanted` likes.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool, within: bool) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let within = within || wanted(&entry.file_name().to_string_lossy());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => files(&entry.path(), wanted, within),
                _ => usize::from(within),
            }
        })
        .sum()
}

/// Spill files of the server and its workers.
fn spilled(server: &Server) -> usize {
    files(&server.data_dir(), &|name| name == "spill", false)
}

/// Files of the table that is never finished.
fn unfinished(server: &Server) -> usize {
    files(
        Path::new(&server.warehouse()),
        &|name| name.starts_with("unfinished"),
        false,
    )
}

fn processes(server: &mut Server) -> Vec<u32> {
    let mut processes = server.worker_processes();
    processes.push(server.process().id());
    processes
}

async fn wait_until(server: &Server, processes: &[u32], begun: Begun, what: &str) {
    wait_for(&format!("{what}: {begun:?}"), PATIENCE, async || {
        let has_begun = match begun {
            Begun::Working => busy(processes).await > 0.5,
            Begun::Spilling => spilled(server) > 0,
            Begun::Writing => unfinished(server) > 0,
        };
        has_begun.then_some(())
    })
    .await;
}

/// How long it takes from `ended` until everything is back.
async fn back(server: &Server, processes: &[u32], ended: Instant, what: &str) -> Duration {
    wait_for(what, PATIENCE, async || {
        (busy(processes).await < 0.2).then_some(())
    })
    .await;
    // The time of the measurement itself does not count.
    let quiet = ended.elapsed().saturating_sub(WINDOW);
    wait_for(&format!("{what}: files are gone"), PATIENCE, async || {
        (spilled(server) == 0 && unfinished(server) == 0).then_some(())
    })
    .await;
    let gone = ended.elapsed().saturating_sub(WINDOW);
    // Workers tell what they hold with their heartbeats.
    wait_for(&format!("{what}: memory is back"), PATIENCE, async || {
        (held(server).await == 0.0).then_some(())
    })
    .await;
    println!("{what}: processors after {quiet:?}, files after {gone:?}");
    gone
}

/// Ways in which a statement ends before it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    ClientGone,
    Timeout,
}

/// Runs a statement until it has begun, ends it, and says when everything was back.
async fn given_back(
    server: &mut Server,
    client: &Client,
    (name, begun, statement): &Long,
    end: End,
) -> Duration {
    let processes = processes(server);
    let what = format!("{end:?} of {name}");
    let (runs, id, text) = (client.clone(), Uuid::now_v7(), statement.clone());
    if end == End::Timeout {
        let set = format!("SET statement_timeout = '{}ms'", TIMEOUT.as_millis());
        sql(&runs, &set).await;
    }
    let mut ended = Instant::now() + TIMEOUT;
    let running = tokio::spawn(async move { runs.execute_as(&text, id).await?.collect().await });
    if end != End::Timeout {
        wait_for_state(server, id, "RUNNING").await;
        wait_until(server, &processes, *begun, &what).await;
        ended = Instant::now();
    }
    match end {
        End::Kill => {
            server.sql(&format!("KILL '{id}'")).await;
            let error = running.await.unwrap().unwrap_err();
            assert_eq!(error.code(), "57014", "{what}: {error:?}");
        }
        End::ClientGone => running.abort(),
        End::Timeout => {
            let error = running.await.unwrap().unwrap_err();
            assert_eq!(error.code(), "57014", "{what}: {error:?}");
            sql(client, "SET statement_timeout = 0").await;
        }
    }
    back(server, &processes, ended, &what).await
}

async fn server(workers: usize) -> Server {
    let server = ServerOptions::default()
        .workers(workers)
        .set("TARN__MEMORY__LIMIT_BYTES", "268435456")
        .set("TARN__POSTGRES__AUTHENTICATION", "password")
        .start()
        .await;
    load_wide(&server).await;
    server
}

async fn all_ways(distribution: &str) {
    let workers = if distribution == "always" { 2 } else { 0 };
    let mut server = server(workers).await;
    let client = server.client().with_session();
    sql(&client, &format!("SET distribution = '{distribution}'")).await;
    let mut late = vec![];
    for statement in statements() {
        for end in [End::Kill, End::ClientGone, End::Timeout] {
            let mut took = given_back(&mut server, &client, &statement, end).await;
            if took > BACK_WITHIN {
                took = given_back(&mut server, &client, &statement, end).await;
            }
            if took > BACK_WITHIN {
                late.push(format!("{}, {end:?}: {took:?}", statement.0));
            }
        }
    }
    assert!(late.is_empty(), "distribution {distribution}: {late:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_back_in_one_process() {
    all_ways("never").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_back_on_workers() {
    all_ways("always").await;
}

/// A client that can leave.
enum Leaver {
    Postgres(Raw),
    Flight(Process),
}

impl Leaver {
    /// Sends a statement through `door` and does not wait for the answer.
    async fn send(server: &Server, door: &str, statement: &str, folder: &Path) -> Self {
        if door == "postgres" {
            let mut raw = Raw::admin(server).await;
            raw.send_query(statement).await;
            return Self::Postgres(raw);
        }
        let program = "import os, adbc_driver_flightsql.dbapi as f\n\
            e = os.environ\n\
            c = f.connect(e['DOOR'], db_kwargs={'username': 'admin', 'password': e['TARN_PASSWORD']}, autocommit=True).cursor()\n\
            c.execute(e['STATEMENT'])\n\
            c.fetchall()\n";
        let mut command = Command::new(tool("python"));
        command
            .args(["-B", "-c", program])
            .env("DOOR", format!("grpc://{}", server.door("flight")))
            .env("TARN_PASSWORD", PASSWORD)
            .env("STATEMENT", statement)
            .env_remove("PYTHONPATH");
        Self::Flight(Process::start("leaver", command, folder))
    }

    fn leave(self) {
        match self {
            Self::Postgres(raw) => drop(raw),
            Self::Flight(mut process) => process.kill(),
        }
    }
}

async fn leaves(server: &mut Server, door: &str, (name, begun, text): &Long) -> Duration {
    let processes = processes(server);
    let what = format!("client of {door} gone in {name}");
    let folder = tempfile::tempdir().unwrap();
    let leaver = Leaver::send(server, door, text, folder.path()).await;
    let state =
        format!("SELECT count(*) FROM system.queries WHERE state = 'RUNNING' AND door = '{door}'");
    wait_for(&format!("{what}: it runs"), PATIENCE, async || {
        (server.sql(&state).await.scalar().as_deref() == Some("1")).then_some(())
    })
    .await;
    wait_until(server, &processes, *begun, &what).await;
    let ended = Instant::now();
    leaver.leave();
    back(server, &processes, ended, &what).await
}

async fn who_leaves_any_door(workers: usize) {
    let mut server = server(workers).await;
    let [scan, join, _, _, spill, write] = statements();
    let mut late = vec![];
    for door in ["postgres", "flight"] {
        for statement in [&scan, &join, &spill, &write] {
            let mut took = leaves(&mut server, door, statement).await;
            if took > BACK_WITHIN {
                took = leaves(&mut server, door, statement).await;
            }
            if took > BACK_WITHIN {
                late.push(format!("{door}, {}: {took:?}", statement.0));
            }
        }
    }
    assert!(late.is_empty(), "{workers} workers: {late:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_any_door_gives_back_in_one_process() {
    who_leaves_any_door(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_any_door_gives_back_on_workers() {
    who_leaves_any_door(2).await;
}
