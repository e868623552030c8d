//! Runs statements one at a time and shows what comes back.
//!
//! Owns the session at the server, the output and the display settings.
//! Does not read input.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::ShellError;
use super::complete::{Names, quote};
use super::format::{Expanded, Format, FormatError, Sink, TableOptions};
use super::progress::{self, Line, Watch};
use super::report::{Origin, describe};
use super::table::Style;
use crate::client::{Answer, Client, ClientError, Place, Properties};
use tarn_engine::Piece;

/// Rows that an interactive table shows unless told otherwise.
const DISPLAY_ROWS_MAX: u64 = 1000;

/// What the user can switch.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) expanded: Expanded,
    /// Show how long each statement took.
    pub(crate) timing: bool,
    /// Say nothing beside results and errors.
    pub(crate) quiet: bool,
    /// Show the progress of long statements.
    pub(crate) progress: bool,
    /// Rows that a table shows; 0 is all.
    pub(crate) limit: u64,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Its error has been shown.
    Failed,
    /// The user stopped it.
    Cancelled,
}

/// The worst that happened in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worst {
    Fine,
    /// A statement failed.
    Failed,
    /// The server cannot be used: the rest of a script is pointless.
    Unusable,
}

/// A session at a server and its display.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) catalog: String,
    pub(crate) schema: String,
    /// Catalog and schema as the server told them; before that they are a guess.
    told: Option<Place>,
    pub(crate) names: Names,
    /// A person types: limits, notes and colours make sense.
    pub(crate) interactive: bool,
    /// A failed statement does not end a script.
    pub(crate) keep_going: bool,
    /// The worst that happened so far.
    pub(crate) worst: Worst,
    out: Box<dyn Write + Send>,
    pub(crate) color: bool,
}

impl Session {
    /// A session that writes results to `out`; `client` should carry one.
    pub(crate) fn new(
        client: Client,
        format: Format,
        interactive: bool,
        out: Box<dyn Write + Send>,
    ) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some()
            || std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self {
            client,
            settings: Settings {
                format,
                expanded: Expanded::Auto,
                timing: false,
                quiet: false,
                progress: std::io::stderr().is_terminal(),
                limit: if interactive { DISPLAY_ROWS_MAX } else { 0 },
            },
            catalog: "lake".to_owned(),
            schema: "main".to_owned(),
            told: None,
            names: Names::default(),
            interactive,
            keep_going: false,
            worst: Worst::Fine,
            out,
            color: terminal && !plain,
        }
    }

    /// Connects, and learns where unqualified names are looked up.
    ///
    /// # Errors
    /// The [`ClientError`] of a server that cannot be used.
    pub(crate) async fn locate(&mut self) -> Result<(), ClientError> {
        let place = self
            .client
            .query("SELECT current_database(), current_schema()")
            .await?;
        if let Some([Some(catalog), Some(schema)]) = place.rows().first().map(Vec::as_slice) {
            self.believe(Place {
                catalog: catalog.clone(),
                schema: schema.clone(),
            });
        }
        Ok(())
    }

    /// Moves the session to `catalog`.`schema`.
    ///
    /// # Errors
    /// The [`ClientError`] if there is no such place, or no server.
    pub(crate) async fn go_to(&mut self, catalog: &str, schema: &str) -> Result<(), ClientError> {
        let place = format!("USE {}.{}", quote(catalog), quote(schema));
        self.client.query(&place).await?;
        if let Some(told) = self.client.place() {
            self.believe(told);
        }
        Ok(())
    }

    /// Learns anew, in the background, which names can be completed.
    pub(crate) fn refresh_names(&self) {
        if self.interactive {
            let properties = Properties {
                catalog: Some(self.catalog.clone()),
                schema: Some(self.schema.clone()),
                ..Properties::default()
            };
            self.names
                .refresh(self.client.without_session().with_properties(properties));
        }
    }

    /// Runs a statement and shows its rows, or its error on standard error.
    ///
    /// # Errors
    /// [`ShellError::Output`] if the output is closed or full.
    pub(crate) async fn execute(
        &mut self,
        statement: &Piece,
        origin: &Origin,
    ) -> Result<Outcome, ShellError> {
        let started = Instant::now();
        let ended = self.run(statement).await;
        let elapsed = started.elapsed();
        if !matches!(ended, Ok(End::Cancelled)) {
            let moved = matches!(&ended, Ok(End::Finished { command }) if moves(command));
            self.notice_place(moved);
        }
        let outcome = match ended {
            Ok(End::Finished { command }) => {
                self.follow(&command).await;
                Outcome::Done
            }
            Ok(End::Cancelled) => {
                note("Cancelled.");
                Outcome::Cancelled
            }
            Err(Failure::Client(error)) => {
                if error.is_unusable() {
                    self.worst = Worst::Unusable;
                }
                self.show_error(&describe(&error, statement, origin));
                Outcome::Failed
            }
            Err(Failure::Format(FormatError::Output(error))) => {
                return Err(ShellError::Output(error));
            }
            Err(Failure::Format(error @ FormatError::Value(_))) => {
                self.show_error(&format!("ERROR 0A000: {}\n", super::report::chain(&error)));
                Outcome::Failed
            }
        };
        if outcome == Outcome::Failed {
            self.worst = self.worst.max(Worst::Failed);
        }
        if self.settings.timing {
            note(&format!("Time: {:.3} ms", elapsed.as_secs_f64() * 1000.0));
        }
        Ok(outcome)
    }

    /// Writes an error on standard error, its first word in red there.
    pub(crate) fn show_error(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let red = self.interactive && self.color && std::io::stderr().is_terminal();
        // Nothing is left to do when even the error cannot be written.
        let _ = match text.strip_prefix("ERROR") {
            Some(rest) if red => write!(stderr, "\x1b[1;31mERROR\x1b[0m{rest}"),
            _ => write!(stderr, "{text}"),
        };
    }

    /// Writes text that belongs to the results, such as help.
    ///
    /// # Errors
    /// [`ShellError::Output`] if the output is closed or full.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), ShellError> {
        self.out
            .write_all(text.as_bytes())
            .map_err(ShellError::Output)?;
        self.out.flush().map_err(ShellError::Output)
    }

    async fn run(&mut self, statement: &Piece) -> Result<End, Failure> {
        let query_id = Uuid::now_v7();
        let watch = self
            .settings
            .progress
            .then(|| Watch::start(self.client.without_session(), query_id));
        let mut waiting = Waiting::new(Line::new(watch));
        let client = self.client.clone();
        let Some(answer) = waiting
            .on(client.execute_as(&statement.sql, query_id), 0)
            .await
        else {
            return Ok(End::Cancelled);
        };
        let mut answer = answer?;
        let Some(first) = waiting.on(answer.next_batch(), 0).await else {
            return Ok(End::Cancelled);
        };
        let first = first?;
        let schema = answer.schema().filter(|schema| !schema.fields().is_empty());
        if let (Some(schema), None) = (schema, answer.affected()) {
            let options = self.table_options();
            let limit = match self.settings.format {
                Format::Table => self.settings.limit,
                Format::Csv | Format::Json | Format::Ndjson => 0,
            };
            waiting.line.clear();
            let sink = Sink::start(self.out.as_mut(), self.settings.format, &schema, options)?;
            let shown = show_rows(&mut waiting, &mut answer, first, sink, limit).await?;
            if shown == Shown::Cancelled {
                return Ok(End::Cancelled);
            }
            if shown == Shown::Limited {
                note(&format!(
                    "The first {limit} rows are shown. \\limit 0 shows all; \\format csv streams them."
                ));
            }
        } else {
            let mut rest = first;
            while rest.is_some() {
                let Some(batch) = waiting.on(answer.next_batch(), 0).await else {
                    return Ok(End::Cancelled);
                };
                rest = batch?;
            }
            waiting.line.clear();
            if !self.settings.quiet {
                note(&tag(&answer));
            }
        }
        Ok(End::Finished {
            command: answer.command().to_owned(),
        })
    }

    /// Compares where the server says that the session is with what the prompt shows; says so if
    /// the session was lost. `moved`: the statement may have changed the place itself.
    fn notice_place(&mut self, moved: bool) {
        let Some(told) = self.client.place() else {
            return;
        };
        let warning = lost(self.told.as_ref(), &told).filter(|_| !moved);
        self.believe(told);
        if let Some(warning) = warning {
            note(&warning);
            self.refresh_names();
        }
    }

    fn believe(&mut self, place: Place) {
        self.catalog.clone_from(&place.catalog);
        self.schema.clone_from(&place.schema);
        self.told = Some(place);
    }

    /// Keeps prompt and completion true after what a statement changed.
    async fn follow(&mut self, command: &str) {
        let first = command.split_whitespace().next().unwrap_or_default();
        if moves(command) && self.client.place().is_none() && self.interactive {
            // The old place is shown until the server can tell the new one.
            let _ = self.locate().await;
        }
        if matches!(first, "USE" | "CREATE" | "DROP" | "ALTER") {
            self.refresh_names();
        }
    }

    fn table_options(&self) -> TableOptions {
        let width = terminal_size::terminal_size_of(std::io::stdout())
            .map(|(width, _)| usize::from(width.0));
        TableOptions {
            style: Style {
                width,
                color: self.color,
            },
            expanded: match self.settings.expanded {
                // Without a terminal there is nothing to fit into.
                Expanded::Auto if width.is_none() => Expanded::Never,
                other => other,
            },
            footer: !self.settings.quiet,
        }
    }
}

/// Whether a statement with this command tag may change where names are looked up.
fn moves(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    matches!(first, "USE" | "SET" | "RESET")
}

/// What to say if the session is not where it was left.
fn lost(believed: Option<&Place>, told: &Place) -> Option<String> {
    believed.filter(|place| *place != told).map(|_| {
        format!(
            "the server has forgotten this session (restarted?); back in {}.{}",
            told.catalog, told.schema
        )
    })
}

/// How [`Session::run`] ended without an error.
enum End {
    Finished { command: String },
    Cancelled,
}

/// Why [`Session::run`] failed.
enum Failure {
    Client(ClientError),
    Format(FormatError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// How the rows of a result ended.
#[derive(PartialEq)]
enum Shown {
    All,
    Limited,
    Cancelled,
}

async fn show_rows(
    waiting: &mut Waiting,
    answer: &mut Answer,
    first: Option<RecordBatch>,
    mut sink: Sink<'_>,
    limit: u64,
) -> Result<Shown, Failure> {
    let mut next = first;
    let mut shown = Shown::All;
    while let Some(batch) = next {
        waiting.line.clear();
        let room = limit.saturating_sub(sink.rows());
        if limit > 0 && batch.num_rows() as u64 > room {
            let rows = usize::try_from(room).unwrap_or(usize::MAX);
            sink.write(&batch.slice(0, rows))?;
            shown = Shown::Limited;
            break;
        }
        sink.write(&batch)?;
        let received = sink.rows();
        let Some(batch) = waiting.on(answer.next_batch(), received).await else {
            shown = Shown::Cancelled;
            break;
        };
        next = batch?;
    }
    waiting.line.clear();
    sink.finish()?;
    Ok(shown)
}

/// Waits for the server while it draws progress and listens for Ctrl-C.
struct Waiting {
    line: Line,
    draw: tokio::time::Interval,
    /// Ctrl-C, also if pressed while rows were written. `None` where
    /// signals cannot be had.
    interrupt: Option<Signal>,
}

impl Waiting {
    fn new(line: Line) -> Self {
        let mut draw = tokio::time::interval(progress::DRAW);
        draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let interrupt = signal(SignalKind::interrupt()).ok();
        Self {
            line,
            draw,
            interrupt,
        }
    }

    /// The future's output, or `None` when the user pressed Ctrl-C first.
    async fn on<T>(&mut self, future: impl Future<Output = T>, rows_received: u64) -> Option<T> {
        let mut future = pin!(future);
        let interrupt = self.interrupt.as_mut();
        let mut interrupted = pin!(async {
            match interrupt {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                output = &mut future => return Some(output),
                _ = &mut interrupted => {
                    self.line.clear();
                    return None;
                }
                _ = self.draw.tick() => self.line.draw(rows_received),
            }
        }
    }
}

/// What a statement without a result set did.
fn tag(answer: &Answer) -> String {
    let command = match answer.command() {
        "" => "OK",
        command => command,
    };
    match answer.affected() {
        Some(rows) => format!("{command} {rows}"),
        None => command.to_owned(),
    }
}

/// Says something on standard error.
pub(crate) fn note(text: &str) {
    // A note that cannot be shown is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_elsewhere_than_it_was_left_is_lost() {
        let place = |schema: &str| Place {
            catalog: "lake".to_owned(),
            schema: schema.to_owned(),
        };
        assert_eq!(lost(None, &place("main")), None);
        assert_eq!(lost(Some(&place("main")), &place("main")), None);
        let warning = lost(Some(&place("sales")), &place("main")).unwrap();
        assert!(warning.ends_with("back in lake.main"), "{warning}");
    }
}
