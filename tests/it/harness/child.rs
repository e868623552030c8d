//! A process that writes to a log and does not outlive its test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines of each log that a failed test prints.
const LOG_LINES_SHOWN: usize = 120;

/// How long a process may take to end by itself when it is told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Marks every process that a [`Process`] started, and theirs.
const MARK: &str = "TARN_TEST_PROCESS";

/// A running process and everything it started.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    mark: String,
    logs: Vec<PathBuf>,
}

impl Process {
    /// Starts `command`, with stdout and stderr going to files in `folder`.
    pub(crate) fn start(name: &'static str, mut command: Command, folder: &Path) -> Self {
        let mark = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4());
        let logs = vec![
            folder.join(format!("{name}-{mark}.out")),
            folder.join(format!("{name}-{mark}.err")),
        ];
        let child = command
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(File::create(&logs[0]).unwrap())
            .stderr(File::create(&logs[1]).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self {
            name,
            child,
            mark,
            logs,
        }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.logs[0]).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.logs[1]).unwrap_or_default()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ids of the processes that it started, directly or not, and that still run.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| *id != self.id())
            .filter(|id| {
                let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted.as_bytes())
            })
            .collect()
    }

    /// Asks it to end and waits until it has, or `timeout` has passed.
    pub(crate) fn terminate(&mut self, timeout: Duration) -> Option<ExitStatus> {
        signal(self.id(), "TERM");
        let started = Instant::now();
        while started.elapsed() < timeout {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn print_logs(&self) {
        for path in &self.logs {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!(
                "---- {} ({}), last {} of {} lines",
                self.name,
                path.display(),
                shown.len(),
                lines.len()
            );
            println!("{}", shown.join("\n"));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        let descendants = self.descendants();
        if self.ended().is_none() && self.terminate(STOP_TIMEOUT).is_none() {
            self.kill();
        }
        for id in descendants {
            signal(id, "KILL");
        }
    }
}

/// Sends a signal; a process that has ended by now is no error.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), id.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok(), "cannot run kill");
}

/// Whether a process of this id runs, and is no zombie.
pub(crate) fn is_running(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = status
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
