//! The worker processes that a server starts on its own machine.
//!
//! A child holds a pipe from its parent: when the parent is gone, however it went, the pipe ends and
//! the child leaves. A child that dies is started again, more slowly each time.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tarn_engine::MemoryLimits;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caches::CacheBounds;

/// First pause before a dead child is started again; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A child that lived longer starts again without delay.
const HEALTHY: Duration = Duration::from_secs(30);
/// How long a child may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What the children are started with.
#[derive(Clone, Debug)]
pub(crate) struct ChildPlan {
    pub(crate) coordinator: String,
    pub(crate) cluster: String,
    pub(crate) secret: SecretString,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) memory: MemoryLimits,
    pub(crate) data_dir: PathBuf,
    pub(crate) spill_bytes: u64,
    pub(crate) caches: CacheBounds,
    pub(crate) log_level: String,
}

/// A running child and the pipe that it holds. Waiting for a child closes its own pipe, so the
/// pipe is kept apart.
#[derive(Debug)]
struct Held {
    child: Child,
    pipe: Option<ChildStdin>,
}

/// Running children.
#[derive(Debug)]
pub(crate) struct Children {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Children {
    /// Starts `count` children and keeps them running.
    pub(crate) fn start(count: usize, plan: &ChildPlan) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        for number in 1..=count {
            let child = spawn(plan, number)?;
            tasks.spawn(keep(child, plan.clone(), number, stop.clone()));
        }
        tasks.close();
        Ok(Self { stop, tasks })
    }

    /// Ends the children and waits for them.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn keep(mut held: Held, plan: ChildPlan, number: usize, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = std::time::Instant::now();
        tokio::select! {
            () = stop.cancelled() => {
                end(&mut held, number).await;
                return;
            }
            status = held.child.wait() => {
                tracing::warn!(worker = number, status = ?status.ok(), "worker process ended; starting another");
            }
        }
        if started.elapsed() > HEALTHY {
            pause = RESTART_PAUSE;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            match spawn(&plan, number) {
                Ok(next) => {
                    held = next;
                    break;
                }
                Err(error) => {
                    tracing::error!(worker = number, %error, "worker process cannot be started");
                }
            }
        }
    }
}

async fn end(held: &mut Held, number: usize) {
    // Closing the pipe asks the child to leave.
    drop(held.pipe.take());
    let child = &mut held.child;
    if tokio::time::timeout(END_PATIENCE, child.wait())
        .await
        .is_err()
    {
        tracing::warn!(worker = number, "worker process does not end; killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(worker = number, %error, "worker process cannot be killed");
        }
    }
}

fn spawn(plan: &ChildPlan, number: usize) -> anyhow::Result<Held> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let log = log_file(&plan.data_dir, number)?;
    let mut command = Command::new(program);
    command
        .arg("worker")
        .args(["--coordinator", &plan.coordinator])
        .args(["--cluster", &plan.cluster])
        .arg("--parent-pipe");
    // The child's configuration is what is given here, not what happens to be in the environment.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TARN__") {
            command.env_remove(&name);
        }
    }
    command
        .env("TARN__CLUSTER__SECRET", plan.secret.expose_secret())
        .env(
            "TARN__MEMORY__LIMIT_BYTES",
            plan.memory.process_bytes.to_string(),
        )
        .env(
            "TARN__MEMORY__QUERY_LIMIT_BYTES",
            plan.memory.query_bytes.to_string(),
        )
        .env("TARN__SPILL__LIMIT_BYTES", plan.spill_bytes.to_string())
        .env(
            "TARN__CACHE__FOOTER_BYTES",
            plan.caches.footer_bytes.to_string(),
        )
        .env(
            "TARN__CACHE__MEMORY_BYTES",
            plan.caches.memory_bytes.to_string(),
        )
        .env(
            "TARN__CACHE__DISK_BYTES",
            plan.caches.disk_bytes.to_string(),
        )
        .env(
            "TARN__DATA_DIR",
            plan.data_dir.join("local-workers").join(number.to_string()),
        )
        .env("TARN__LOG__LEVEL", &plan.log_level)
        .env("TARN__LOG__FORMAT", "json");
    if let Some(listen) = plan.listen {
        command.env(
            "TARN__LISTEN__WORKER",
            own_address(listen, number).to_string(),
        );
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()
        .context("a worker process cannot be started")?;
    let pipe = child.stdin.take();
    Ok(Held { child, pipe })
}

/// A configured port is the first child's; the others take those after it. Port 0 picks for each.
fn own_address(first: SocketAddr, number: usize) -> SocketAddr {
    let step = u16::try_from(number - 1).unwrap_or(u16::MAX);
    let port = match first.port() {
        0 => 0,
        port => port.saturating_add(step),
    };
    SocketAddr::new(first.ip(), port)
}

fn log_file(data_dir: &Path, number: usize) -> anyhow::Result<File> {
    let path = data_dir.join("logs").join(format!("worker-{number}.log"));
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("log file {}", path.display()))
}
