//! The clients of the PostgreSQL door, unmodified: psql, drivers, dbt, pandas, DuckDB and Superset.
//!
//! What is true about each is in its program in `tests/clients`. The same programs run
//! against PostgreSQL itself, so that their expectations are PostgreSQL's and not ours.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::harness::child::Process;
use crate::harness::server::PASSWORD;
use crate::harness::{
    Postgres, Server, ServerOptions, free_ports, installed, postgres, repository, tool, wait_for,
};

/// How long one program may take on a busy machine; each takes seconds on an idle one.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(5);

/// The catalog of Tarn, and the database of PostgreSQL.
const DATABASE: &str = "lake";

/// A server that speaks PostgreSQL's protocol.
#[derive(Clone, Copy, Debug)]
struct Address {
    kind: &'static str,
    port: u16,
    user: &'static str,
}

/// The Tarn server that all tests of clients running at this moment share.
async fn tarn() -> Arc<Server> {
    static SHARED: tokio::sync::Mutex<Weak<Server>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(ServerOptions::default().start().await);
    *shared = Arc::downgrade(&started);
    started
}

async fn passes_on_tarn(name: &'static str, command: Command) {
    let server = tarn().await;
    let address = Address {
        kind: "tarn",
        port: server.door("postgres").port(),
        user: "admin",
    };
    passes(name, command, address).await;
}

/// Runs a program; it ends with 0 if all that it checks is true.
async fn passes(name: &'static str, mut command: Command, address: Address) {
    let folder = tempfile::tempdir().unwrap();
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", address.port.to_string())
        .env("PGUSER", address.user)
        .env("PGPASSWORD", PASSWORD)
        .env("PGDATABASE", DATABASE)
        .env("TARN_TEST_SERVER", address.kind)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("PYTHONPATH");
    let mut process = Process::start(name, command, folder.path());
    let status = wait_for(name, PROGRAM_TIMEOUT, async || process.ended()).await;
    assert!(
        status.success(),
        "{name} on {address:?}:\n{}",
        process.stdout()
    );
}

fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(repository().join("tests/clients/pg").join(name));
    command
}

fn python(name: &str) -> Command {
    script(&tool("python"), name)
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(repository().join("tests/clients/pg/node_pg.mjs"));
    command.env("NODE_MODULES", installed("node/node_modules"));
    command
}

fn pgjdbc(address: &str) -> Command {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pgjdbc-{address}"));
    let mut command = Command::new("mvn");
    command
        .args(["--offline", "--quiet", "--batch-mode", "--file"])
        .arg(repository().join("tests/clients/pgjdbc/pom.xml"))
        .arg(format!("-Dtarn.build={}", build.display()))
        .args(["compile", "exec:java"]);
    command
}

fn superset() -> Command {
    let [port] = free_ports();
    let mut command = script(&installed("venv-superset/bin/python"), "superset_client.py");
    command
        .env("SUPERSET_TEMPLATE", installed("venv-superset/template"))
        .env("SUPERSET_PORT", port.to_string());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_works() {
    passes_on_tarn("psql", python("psql.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg3_works() {
    passes_on_tarn("psycopg3", python("psycopg3.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg2_works() {
    passes_on_tarn("psycopg2", python("psycopg2_client.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_works() {
    passes_on_tarn("asyncpg", python("asyncpg_client.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_works() {
    passes_on_tarn("sqlalchemy", python("sqlalchemy_client.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_works() {
    passes_on_tarn("odbc", python("odbc.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pandas_works() {
    passes_on_tarn("pandas", python("pandas_client.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_attaches() {
    passes_on_tarn("duckdb", python("duckdb_client.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_works() {
    passes_on_tarn("node-postgres", node()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgjdbc_works() {
    passes_on_tarn("pgjdbc", pgjdbc("tarn")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dbt_builds_its_project() {
    let python = installed("venv-dbt/bin/python");
    passes_on_tarn("dbt", script(&python, "dbt_client.py")).await;
}

/// Power BI, Tableau, Metabase, `DBeaver`, `DataGrip`, Grafana and others, which cannot be run here.
#[tokio::test(flavor = "multi_thread")]
async fn what_bi_tools_ask_is_answered() {
    passes_on_tarn("bi-queries", python("bi_queries.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn superset_draws_charts() {
    passes_on_tarn("superset", superset()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_speak_tls_and_take_tokens() {
    let options = ServerOptions::default().set("TARN__TLS__SELF_SIGNED", "true");
    let server = options.start().await;
    let address = Address {
        kind: "tarn",
        port: server.door("postgres").port(),
        user: "admin",
    };
    let mut command = python("tls_and_tokens.py");
    command
        .env("TLS_CA", server.data_dir().join("tls/ca.pem"))
        .env("NODE_MODULES", installed("node/node_modules"));
    passes("tls-and-tokens", command, address).await;
}

/// Dbt and Superset are left out: they take longest, and say nothing about types and errors
/// that the drivers do not.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_itself_passes() {
    let server = Postgres::start().await;
    let address = Address {
        kind: "postgres",
        port: server.port(),
        user: postgres::USER,
    };
    for statement in [
        "CREATE DATABASE lake",
        "ALTER DATABASE lake SET timezone = 'UTC'",
    ] {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-c", statement, &server.url()]);
        assert!(psql.status().unwrap().success(), "{statement}");
    }
    let scripts = [
        ("psql", "psql.py"),
        ("psycopg3", "psycopg3.py"),
        ("psycopg2", "psycopg2_client.py"),
        ("asyncpg", "asyncpg_client.py"),
        ("sqlalchemy", "sqlalchemy_client.py"),
        ("odbc", "odbc.py"),
        ("pandas", "pandas_client.py"),
        ("duckdb", "duckdb_client.py"),
        ("bi-queries", "bi_queries.py"),
    ];
    for (name, script) in scripts {
        passes(name, python(script), address).await;
    }
    passes("node-postgres", node(), address).await;
    passes("pgjdbc", pgjdbc("postgres"), address).await;
}
