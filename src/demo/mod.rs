//! `tarn demo`: a server with workers, TPC-H loaded, its 22 queries checked.
//!
//! A client like any other: it starts the binary `tarn server`, then talks to
//! it over HTTP only. Says at once what is missing.

mod load;
mod queries;
mod server;
mod state;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::client::{Client, ClientError};
use crate::shell::progress;
use crate::shell::report::chain;
use crate::tpch::data::DataError;
use server::Server;
use state::State;

/// Where the demo listens when nobody else does.
const PORT: u16 = 7070;

/// Disk space that scale factor 1 needs: staged files, tables, spilled sorts.
const BYTES_PER_SCALE: f64 = 2.5e9;

/// How long the workers may take to register.
const WORKERS_WAIT: Duration = Duration::from_secs(30);

/// How long a server that failed a statement may take to be found dead.
const DEATH_WAIT: Duration = Duration::from_millis(500);

/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The scale factor makes no sense.
    #[error("scale factor {0} is not a number above 0; 0.01, 0.1 and 1 have known answers")]
    ScaleFactor(f64),
    /// The data folder cannot be made or written to.
    #[error("cannot write to the data folder \"{}\"; give another with --data-dir", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is too full.
    #[error(
        "the disk of \"{}\" has {} free and scale factor {scale_factor} needs {}; \
         free some, or give --data-dir or a smaller --scale-factor",
        path.display(), progress::bytes(*available), progress::bytes(*needed)
    )]
    DiskSpace {
        /// The data folder.
        path: PathBuf,
        /// Bytes available to this user.
        available: u64,
        /// Bytes that the demo needs.
        needed: u64,
        /// The scale factor asked for.
        scale_factor: f64,
    },
    /// The state of an earlier demo cannot be read or written.
    #[error("cannot use \"{}\"; remove the folder around it to start afresh", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The server process cannot be started.
    #[error("cannot start the server process")]
    Spawn(#[source] io::Error),
    /// The server process ended.
    #[error("the server ended ({status}){}", tail(log))]
    ServerEnded {
        /// How it ended.
        status: String,
        /// The last lines of its log, if it was kept.
        log: String,
    },
    /// The server does not get ready.
    #[error("the server did not get ready within {} seconds{}", waited.as_secs(), tail(log))]
    NotReady {
        /// How long the demo waited.
        waited: Duration,
        /// The last lines of its log, if it was kept.
        log: String,
    },
    /// Some workers do not register.
    #[error("only {active} of {wanted} workers registered within {} seconds", WORKERS_WAIT.as_secs())]
    Workers {
        /// Workers that did.
        active: usize,
        /// Workers that were started.
        wanted: usize,
    },
    /// The data cannot be generated.
    #[error("cannot generate the TPC-H data")]
    Generate(#[from] DataError),
    /// A statement of the demo failed.
    #[error("{what}")]
    Statement {
        /// What it was for.
        what: String,
        /// How it failed.
        source: Box<ClientError>,
    },
    /// A table has not the rows that were generated.
    #[error("table \"lake.tpch.{table}\" has {got} rows after loading, {expected} were generated")]
    RowCount {
        /// The table.
        table: String,
        /// Rows it has.
        got: u64,
        /// Rows it should have.
        expected: u64,
    },
    /// Standard output is closed or full.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

fn tail(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; its last words:\n{log}")
    }
}

/// Command line of `tarn demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Stop after the queries instead of staying up
    #[arg(long)]
    pub exit: bool,
    /// Size of the data: 1 is about a gigabyte of raw text; 0.01, 0.1 and 1 have known answers
    #[arg(long, default_value_t = 1.0)]
    pub scale_factor: f64,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Folder for everything; kept, and reused next time [default: ./tarn-data/demo-sfN]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Show the server's log
    #[arg(long)]
    pub verbose: bool,
}

/// Runs `tarn demo`. Errors are written to standard error, once.
///
/// Exit codes: 0 all answers are right, 1 something failed or an answer is
/// wrong, 130 interrupted before the queries were done.
///
/// # Errors
/// None so far; the caller's `main` returns a `Result`.
pub async fn run(args: DemoArgs) -> Result<ExitCode, DemoError> {
    match Box::pin(run_to_end(&args)).await {
        Ok(code) => Ok(code),
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "ERROR: {}", chain(&error));
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run_to_end(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let plan = Plan::prepare(args)?;
    let mut signals = server::Signals::listen().map_err(DemoError::Spawn)?;
    let mut server = tokio::select! {
        server = Server::start(&plan) => server?,
        () = signals.stop() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
    };
    let client = server.client(&plan.state.password)?;
    let worked = tokio::select! {
        worked = Box::pin(work(&plan, &client)) => worked,
        error = server.ended() => Err(error),
        () = signals.stop() => {
            say("\nStopping …")?;
            server.stop().await;
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    let summary = match worked {
        Ok(summary) => summary,
        Err(error) => {
            // A server that died is the reason, whatever failed for it.
            let died = tokio::time::timeout(DEATH_WAIT, server.ended()).await;
            server.stop().await;
            return Err(died.unwrap_or(error));
        }
    };
    let code = if summary.wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if args.exit {
        server.stop().await;
        return Ok(code);
    }
    say(&connection_lines(&plan, server.url()))?;
    let ended = tokio::select! {
        error = server.ended() => Err(error),
        () = signals.stop() => Ok(()),
    };
    ended?;
    say("\nStopping …")?;
    server.stop().await;
    Ok(code)
}

/// Loads what is not loaded, runs the queries.
async fn work(plan: &Plan, client: &Client) -> Result<queries::Summary, DemoError> {
    wait_for_workers(client, plan.workers).await?;
    say(&format!(
        "Server at {} with {} workers.",
        client.address(),
        plan.workers
    ))?;
    load::ensure_loaded(plan, client).await?;
    queries::run_all(plan, client).await
}

/// Everything that is decided before the server starts.
struct Plan {
    data_dir: PathBuf,
    /// Files wait here between generation and loading; the server may read them.
    staging: PathBuf,
    scale_factor: f64,
    workers: usize,
    verbose: bool,
    listen: String,
    state: State,
}

impl Plan {
    /// Checks that the demo can work here.
    fn prepare(args: &DemoArgs) -> Result<Self, DemoError> {
        if !(args.scale_factor.is_finite() && args.scale_factor > 0.0) {
            return Err(DemoError::ScaleFactor(args.scale_factor));
        }
        let data_dir = args.data_dir.clone().unwrap_or_else(|| {
            Path::new("tarn-data").join(format!("demo-sf{}", args.scale_factor))
        });
        let data_dir = writable(&data_dir).map_err(|source| DemoError::DataDir {
            path: data_dir,
            source,
        })?;
        let state = State::open(&data_dir)?;
        if !state.is_loaded(args.scale_factor) {
            check_disk_space(&data_dir, args.scale_factor)?;
        }
        let free = std::net::TcpListener::bind(("127.0.0.1", PORT)).is_ok();
        if !free {
            say(&format!("Port {PORT} is in use; another one is picked."))?;
        }
        let port = if free { PORT } else { 0 };
        Ok(Self {
            staging: data_dir.join("staging"),
            data_dir,
            scale_factor: args.scale_factor,
            workers: args.workers,
            verbose: args.verbose,
            listen: format!("127.0.0.1:{port}"),
            state,
        })
    }
}

/// Makes a folder, tries to write into it, and returns its absolute path.
fn writable(folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder.join("staging"))?;
    let probe = folder.join("staging/probe");
    std::fs::write(&probe, b"tarn")?;
    std::fs::remove_file(&probe)?;
    folder.canonicalize()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of bytes"
)]
fn check_disk_space(folder: &Path, scale_factor: f64) -> Result<(), DemoError> {
    let needed = (BYTES_PER_SCALE * scale_factor) as u64;
    match fs4::available_space(folder) {
        Ok(available) if available < needed => Err(DemoError::DiskSpace {
            path: folder.to_owned(),
            available,
            needed,
            scale_factor,
        }),
        // A file system that cannot tell is tried.
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn wait_for_workers(client: &Client, wanted: usize) -> Result<(), DemoError> {
    let deadline = tokio::time::Instant::now() + WORKERS_WAIT;
    loop {
        let statement = "SELECT count(*) FROM system.workers WHERE state = 'ACTIVE'";
        let counted = client
            .query(statement)
            .await
            .map_err(|source| DemoError::Statement {
                what: "cannot ask which workers there are".to_owned(),
                source: Box::new(source),
            })?;
        let active = counted
            .scalar()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        if active >= wanted {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(DemoError::Workers { active, wanted });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn connection_lines(plan: &Plan, url: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "tarn".to_owned());
    let folder = plan.data_dir.display();
    format!(
        r#"
Tarn stays up; Ctrl-C stops it. To connect from another terminal:

  export TARN_PASSWORD={password}

  {program} sql --url {url} --schema tpch

  curl -u "admin:$TARN_PASSWORD" {url}/api/v1/sql -H 'Content-Type: application/json' \
    -d '{{"statement": "SELECT count(*) FROM lake.tpch.lineitem"}}'

The data lies in {folder}; a second demo there reuses it. Other engines read the same Iceberg tables:

  pip install 'pyiceberg[sql-sqlite,pyarrow]'
  python3 -c '
from pyiceberg.catalog.sql import SqlCatalog
lake = SqlCatalog("lake", uri="sqlite:///{folder}/control.db", warehouse="file://{folder}/warehouse")
print(lake.load_table("tpch.nation").scan().to_arrow())'
"#,
        password = plan.state.password,
    )
}

/// Writes a line to standard output.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> DemoArgs {
        DemoArgs {
            exit: true,
            scale_factor: 0.01,
            workers: 2,
            data_dir: Some(folder.to_owned()),
            verbose: false,
        }
    }

    #[test]
    fn a_full_disk_is_told_with_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let error = Plan::prepare(&DemoArgs {
            scale_factor: 1e9,
            ..args(folder.path())
        })
        .err()
        .unwrap();
        let text = error.to_string();
        assert!(
            text.contains("needs 2500 PB") && text.contains("--scale-factor"),
            "{text}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = Plan::prepare(&args(&folder.path().join("file")))
            .err()
            .unwrap();
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }

    #[test]
    fn scale_factors_are_positive_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for scale_factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Plan::prepare(&DemoArgs {
                scale_factor,
                ..args(folder.path())
            })
            .err()
            .unwrap();
            assert!(matches!(error, DemoError::ScaleFactor(_)));
        }
    }

    #[test]
    fn the_password_and_paths_are_ready_to_paste() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::prepare(&args(folder.path())).unwrap();
        let lines = connection_lines(&plan, "http://127.0.0.1:7070");
        assert!(lines.contains(&format!("export TARN_PASSWORD={}", plan.state.password)));
        assert!(
            lines.contains("uri=\"sqlite:////")
                && lines.contains("sql --url http://127.0.0.1:7070"),
            "{lines}"
        );
    }
}
