//! The line on the terminal that shows how far a long statement is.
//!
//! Asks `system.queries` beside the statement and draws on standard error;
//! never touches the results.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::table::truncate;
use crate::client::Client;

/// A statement shorter than this shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// How often the server is asked.
const POLL: Duration = Duration::from_millis(500);

/// How often the line is drawn anew.
pub(crate) const DRAW: Duration = Duration::from_millis(100);

const CLEAR: &str = "\r\x1b[2K";
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// What the server says of a running statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: String,
    pub(crate) rows_scanned: u64,
    pub(crate) bytes_scanned: u64,
    pub(crate) tasks_done: u64,
    pub(crate) tasks_total: u64,
}

/// Asks for the status of a statement once. `None` while it is unknown.
pub(crate) async fn status(client: &Client, query_id: Uuid) -> Option<Status> {
    let statement = format!(
        "SELECT state, rows_scanned, bytes_scanned, tasks_done, tasks_total \
         FROM system.queries WHERE query_id = '{query_id}'"
    );
    let row = client
        .query(&statement)
        .await
        .ok()?
        .rows()
        .into_iter()
        .next()?;
    let number = |index: usize| row.get(index)?.as_deref()?.parse().ok();
    Some(Status {
        state: row.first()?.clone()?,
        rows_scanned: number(1).unwrap_or(0),
        bytes_scanned: number(2).unwrap_or(0),
        tasks_done: number(3).unwrap_or(0),
        tasks_total: number(4).unwrap_or(0),
    })
}

/// Watches a statement until dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    latest: watch::Receiver<Option<Status>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts to ask about a statement, first after half a second. `client`
    /// must not use the statement's session, which may be busy with it.
    pub(crate) fn start(client: Client, query_id: Uuid) -> Self {
        let (sender, latest) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                if let Some(status) = status(&client, query_id).await
                    && sender.send(Some(status)).is_err()
                {
                    return;
                }
            }
        });
        Self { latest, task }
    }

    /// The newest status, if any came.
    pub(crate) fn latest(&self) -> Option<Status> {
        self.latest.borrow().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The progress line of one statement; cleared when dropped.
#[derive(Debug)]
pub(crate) struct Line {
    watch: Option<Watch>,
    started: Instant,
    drawn: bool,
}

impl Line {
    /// A line for a statement that starts now; draws nothing without `watch`.
    pub(crate) fn new(watch: Option<Watch>) -> Self {
        Self {
            watch,
            started: Instant::now(),
            drawn: false,
        }
    }

    /// Draws the line, once the statement has taken long enough.
    pub(crate) fn draw(&mut self, rows_received: u64) {
        let elapsed = self.started.elapsed();
        let Some(watch) = &self.watch else { return };
        if elapsed < QUIET {
            return;
        }
        let width =
            terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| width.0);
        let text = text(elapsed, watch.latest().as_ref(), rows_received);
        let text = truncate(&text, usize::from(width).saturating_sub(1)).into_owned();
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to fail the statement.
        let _ = write!(stderr, "{CLEAR}{text}");
        let _ = stderr.flush();
        self.drawn = true;
    }

    /// Takes the line off the terminal, before something else is written.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "{CLEAR}");
            let _ = stderr.flush();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

fn text(elapsed: Duration, status: Option<&Status>, rows_received: u64) -> String {
    let frame =
        usize::try_from(elapsed.as_millis() / DRAW.as_millis()).unwrap_or(0) % SPINNER.len();
    let mut parts = vec![format!("{} {:.1} s", SPINNER[frame], elapsed.as_secs_f64())];
    if let Some(status) = status {
        if status.state != "RUNNING" {
            parts.push(status.state.to_lowercase());
        }
        if status.tasks_total > 0 {
            parts.push(format!(
                "{} of {} tasks",
                status.tasks_done, status.tasks_total
            ));
        }
        if status.rows_scanned > 0 {
            parts.push(format!("{} rows scanned", count(status.rows_scanned)));
        }
        if status.bytes_scanned > 0 {
            parts.push(bytes(status.bytes_scanned));
        }
    }
    if rows_received > 0 {
        parts.push(format!("{} rows received", count(rows_received)));
    }
    parts.push("Ctrl-C cancels".to_owned());
    parts.join(" · ")
}

/// A count with three digits or so: `1.2M`.
pub(crate) fn count(count: u64) -> String {
    scaled(count, 1000, &["", "k", "M", "G", "T"], "")
}

/// Bytes with three digits or so: `1.2 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes, 1000, &["B", "kB", "MB", "GB", "TB", "PB"], " ")
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn scaled(value: u64, step: u64, units: &[&str], space: &str) -> String {
    let mut scale = 1;
    let mut unit = 0;
    while unit + 1 < units.len() && value / scale >= step {
        scale *= step;
        unit += 1;
    }
    if unit == 0 {
        return format!("{value}{space}{}", units[0]).trim_end().to_owned();
    }
    let value = value as f64 / scale as f64;
    let digits = usize::from(value < 100.0);
    format!("{value:.digits$}{space}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes_are_short() {
        assert_eq!(count(999), "999");
        assert_eq!(count(1_250_000), "1.2M");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(734_000_000), "734 MB");
    }

    #[test]
    fn the_line_says_what_is_known() {
        let elapsed = Duration::from_millis(3200);
        assert_eq!(text(elapsed, None, 0), "⠹ 3.2 s · Ctrl-C cancels");
        let status = Status {
            state: "RUNNING".to_owned(),
            rows_scanned: 6_000_000,
            bytes_scanned: 120_000_000,
            tasks_done: 3,
            tasks_total: 8,
        };
        assert_eq!(
            text(elapsed, Some(&status), 10),
            "⠹ 3.2 s · 3 of 8 tasks · 6.0M rows scanned · 120 MB · 10 rows received · Ctrl-C cancels"
        );
        let queued = Status {
            state: "QUEUED".to_owned(),
            ..Status::default()
        };
        assert_eq!(
            text(elapsed, Some(&queued), 0),
            "⠹ 3.2 s · queued · Ctrl-C cancels"
        );
    }
}
