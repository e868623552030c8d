//! The server process of the demo: started, waited for, stopped cleanly.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{DemoError, Plan};
use crate::client::{Client, ClientError};

/// How long the server may take to print its ready line.
const READY_WAIT: Duration = Duration::from_mins(1);

/// How long it may take to stop: its statements get ten seconds.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Lines of the log that an error quotes.
const LOG_LINES: usize = 12;

#[derive(Deserialize)]
struct ReadyLine {
    ready: Ready,
}

#[derive(Deserialize)]
struct Ready {
    http: String,
}

/// A running `tarn server`. Killed if dropped without [`Server::stop`].
pub(super) struct Server {
    child: Child,
    url: String,
    /// Where its log goes, unless the terminal shows it.
    log: Option<PathBuf>,
}

/// Doors beside HTTP with their usual ports; another port is picked for one that is taken.
const OTHER_DOORS: [(&str, u16); 2] = [("FLIGHT", 7071), ("POSTGRES", 7072)];

impl Server {
    /// Starts the server and waits until it is ready.
    pub(super) async fn start(plan: &Plan) -> Result<Self, DemoError> {
        let log = plan.data_dir.join("demo-server.log");
        let program = std::env::current_exe().map_err(DemoError::Spawn)?;
        let mut command = Command::new(program);
        command
            .arg("server")
            .arg("--data-dir")
            .arg(&plan.data_dir)
            .arg("--workers")
            .arg(plan.workers.to_string())
            .env("TARN__LISTEN__HTTP", &plan.listen)
            .env("TARN__ADMIN_PASSWORD", &plan.state.password)
            .env(
                "TARN__STORAGE__ALLOWED_ROOTS",
                toml_array(&plan.staging.to_string_lossy()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C reaches the demo alone, which then stops the server once.
            .process_group(0)
            .kill_on_drop(true);
        for (door, port) in OTHER_DOORS {
            let key = format!("TARN__LISTEN__{door}");
            let is_taken = std::net::TcpListener::bind(("127.0.0.1", port)).is_err();
            if std::env::var_os(&key).is_none() && is_taken {
                command.env(key, "127.0.0.1:0");
            }
        }
        if !plan.verbose {
            command.stderr(File::create(&log).map_err(DemoError::Spawn)?);
        }
        let mut child = command.spawn().map_err(DemoError::Spawn)?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| DemoError::Spawn(io::ErrorKind::BrokenPipe.into()))?;
        let mut server = Self {
            child,
            url: String::new(),
            log: (!plan.verbose).then_some(log),
        };
        let mut lines = BufReader::new(output).lines();
        match tokio::time::timeout(READY_WAIT, ready_line(&mut lines)).await {
            Ok(Some(ready)) => server.url = format!("http://{}", ready.http),
            // Its output has ended, and so has the process.
            Ok(None) => return Err(server.ended().await),
            Err(_) => {
                let log = server.log_tail();
                server.stop().await;
                return Err(DemoError::NotReady {
                    waited: READY_WAIT,
                    log,
                });
            }
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(server)
    }

    /// Where it listens, as a URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The admin's client.
    pub(super) fn client(&self, password: &str) -> Result<Client, DemoError> {
        Client::new(&self.url, "admin", password.to_owned().into()).map_err(
            |source: ClientError| DemoError::Statement {
                what: "the server told an address that cannot be used".to_owned(),
                source: Box::new(source),
            },
        )
    }

    /// Waits until the process ends by itself, and says how it did.
    pub(super) async fn ended(&mut self) -> DemoError {
        match self.child.wait().await {
            Ok(status) => DemoError::ServerEnded {
                status: status.to_string(),
                log: self.log_tail(),
            },
            Err(error) => DemoError::Spawn(error),
        }
    }

    /// Stops it as SIGTERM does, or the hard way if that takes too long.
    pub(super) async fn stop(mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id
            && kill(Pid::from_raw(id), Signal::SIGTERM).is_ok()
            && tokio::time::timeout(STOP_WAIT, self.child.wait())
                .await
                .is_ok()
        {
            return;
        }
        // It may have ended meanwhile, which is all that is wanted.
        let _ = self.child.kill().await;
    }

    fn log_tail(&self) -> String {
        let text = self
            .log
            .as_ref()
            .and_then(|path| std::fs::read(path).ok())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

async fn ready_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Ready> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(line) = serde_json::from_str::<ReadyLine>(&line) {
            return Some(line.ready);
        }
    }
    None
}

/// One string as an array in configuration.
fn toml_array(text: &str) -> String {
    toml::Value::Array(vec![text.into()]).to_string()
}

/// The signals that ask the demo to stop.
pub(super) struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for one of them.
    pub(super) async fn stop(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_root_is_valid_toml() {
        for path in ["/a b/c", "/a\"b\\c"] {
            let text = format!("roots = {}", toml_array(path));
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["roots"][0].as_str(), Some(path));
        }
    }
}
