//! The Flight SQL door with unmodified clients: the Arrow JDBC driver and ADBC, plain and over TLS.
//!
//! What is true about each is in its program in `tests/clients`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::child::Process;
use crate::harness::server::PASSWORD;
use crate::harness::{Server, ServerOptions, repository, tool, wait_for};

/// How long one program may take on a busy machine; each takes seconds on an idle one.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(8);

/// Runs a program; it ends with 0 if all that it checks is true.
async fn passes(name: &'static str, mut command: Command, server: &Server, tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let door = server.door("flight");
    command
        .env("FLIGHT_HOST", if tls { "localhost" } else { "127.0.0.1" })
        .env("FLIGHT_PORT", door.port().to_string())
        .env("TARN_PASSWORD", PASSWORD)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("PYTHONPATH");
    if tls {
        command
            .env("FLIGHT_SCHEME", "grpc+tls")
            .env("FLIGHT_CA", server.data_dir().join("tls/ca.pem"));
    }
    let mut process = Process::start(name, command, folder.path());
    let status = wait_for(name, PROGRAM_TIMEOUT, async || process.ended()).await;
    assert!(
        status.success(),
        "{name} (TLS: {tls}):\n{}\n{}",
        process.stdout(),
        process.stderr()
    );
}

fn adbc() -> Command {
    let mut command = Command::new(tool("python"));
    command
        .arg("-B")
        .arg(repository().join("tests/clients/adbc_flight.py"));
    command
}

fn jdbc(kind: &str) -> Command {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("flight-jdbc-{kind}"));
    let mut command = Command::new("mvn");
    command
        .args(["--offline", "--quiet", "--batch-mode", "--file"])
        .arg(repository().join("tests/clients/flight-jdbc/pom.xml"))
        .arg(format!("-Dtarn.build={}", build.display()))
        .args(["compile", "exec:exec"]);
    command
}

fn with_tls() -> ServerOptions {
    ServerOptions::default().set("TARN__TLS__SELF_SIGNED", "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arrow_jdbc_driver_works() {
    let server = ServerOptions::default().start().await;
    passes("flight-jdbc", jdbc("plain"), &server, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_works() {
    let server = ServerOptions::default().start().await;
    passes("adbc", adbc(), &server, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_work_over_tls() {
    let server = with_tls().start().await;
    let mut python = adbc();
    python.args(["statements", "errors"]);
    passes("adbc", python, &server, true).await;
    let mut java = jdbc("tls");
    java.arg("-Dflight.step=connect");
    passes("flight-jdbc", java, &server, true).await;
}
