//! A real PostgreSQL server in a folder of its own.

use std::path::PathBuf;
use std::process::Command;

use super::child::Process;
use super::{START_TIMEOUT, free_ports, wait_for};

/// The account that PostgreSQL runs under when the tests run as root, which it refuses.
const ACCOUNT: &str = "postgres";

/// The database user, who needs no password.
pub(crate) const USER: &str = "tarn";

/// A running PostgreSQL server with one empty database.
#[derive(Debug)]
pub(crate) struct Postgres {
    // Dropped before its folder.
    _process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Makes a database cluster and starts it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let [port] = free_ports();
        if is_root() {
            run(Command::new("chown").arg(ACCOUNT).arg(folder.path()));
        }
        run(as_account("initdb").arg("-D").arg(&data).args([
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ]));
        let mut command = as_account("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(folder.path());
        command
            .args(["-h", "127.0.0.1", "-F", "-p"])
            .arg(port.to_string());
        let mut process = Process::start("postgres", command, folder.path());
        wait_for("PostgreSQL is ready", START_TIMEOUT, async || {
            assert!(
                process.ended().is_none(),
                "PostgreSQL ended: {}",
                process.stderr()
            );
            process
                .stderr()
                .contains("ready to accept connections")
                .then_some(())
        })
        .await;
        Self {
            _process: process,
            port,
            _folder: folder,
        }
    }

    /// Its port on the loopback interface.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, for `[metadata] url`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// A PostgreSQL program, run under an account that it accepts.
fn as_account(program: &str) -> Command {
    let program = find_program(program);
    if !is_root() {
        return Command::new(program);
    }
    // setpriv becomes the program, so that signals reach it; runuser would stay between.
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            ACCOUNT,
            "--regid",
            ACCOUNT,
            "--init-groups",
            "--",
        ])
        .arg(program);
    command.env("HOME", "/nonexistent").current_dir("/");
    command
}

fn find_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found
        .pop()
        .or_else(|| {
            std::env::split_paths(&on_path)
                .map(|folder| folder.join(name))
                .find(|path| path.exists())
        })
        .unwrap_or_else(|| {
            panic!("the PostgreSQL server is missing (no {name}); run `make test-tools`")
        })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
}
