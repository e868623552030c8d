//! Runs statements from `-c`, from files and from standard input.
//!
//! Stops at the first error unless told otherwise. Input is cut into
//! statements as it is read, so that a long script starts at once.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::format::{Expanded, Format};
use super::meta::{self, Action};
use super::report::Origin;
use super::session::{Outcome, Session, Worst, note};
use super::{EXIT_INTERRUPTED, ShellError};
use tarn_engine::{Piece, Splitter};

/// Scripts that include scripts, at most this deep.
const INCLUDE_DEPTH_MAX: usize = 16;

/// What to do after a statement or a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    Continue,
    /// Something failed; its error has been shown.
    Failed,
    /// The user pressed Ctrl-C.
    Cancelled,
    /// `\q`.
    Quit,
}

impl From<Outcome> for Flow {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Continue,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// Runs the statements and commands of a text in order, to the first failure.
///
/// # Errors
/// [`ShellError::Output`] if the output is closed.
pub(crate) async fn run_text(
    session: &mut Session,
    text: &str,
    origin: &Origin,
    depth: usize,
) -> Result<Flow, ShellError> {
    let mut reader = Reader::new(origin.clone(), depth);
    for line in text.split_inclusive('\n') {
        let flow = reader.take(session, line).await?;
        if flow != Flow::Continue {
            return Ok(flow);
        }
    }
    reader.finish(session).await
}

/// Runs a script file; `-` is standard input.
///
/// # Errors
/// [`ShellError::ReadScript`] if it cannot be read, [`ShellError::Output`] if
/// the output is closed.
pub(crate) async fn run_file(
    session: &mut Session,
    path: &Path,
    depth: usize,
) -> Result<Flow, ShellError> {
    if path == Path::new("-") {
        return run_stdin(session, depth).await;
    }
    let bytes = tokio::fs::read(path)
        .await
        .map_err(|source| ShellError::ReadScript {
            path: path.to_owned(),
            source,
        })?;
    let text = decode(&bytes, path, 1)?;
    let origin = Origin::Script(path.display().to_string());
    Box::pin(run_text(session, text, &origin, depth)).await
}

async fn run_stdin(session: &mut Session, depth: usize) -> Result<Flow, ShellError> {
    let mut reader = Reader::new(Origin::Script("stdin".to_owned()), depth);
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = tokio::select! {
            read = input.read_until(b'\n', &mut line) => read,
            _ = tokio::signal::ctrl_c() => {
                // The read cannot be called off and would hold up the exit.
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
        };
        let count = read.map_err(|source| ShellError::ReadScript {
            path: "-".into(),
            source,
        })?;
        if count == 0 {
            break;
        }
        let text = decode(&line, Path::new("-"), number)?;
        let flow = reader.take(session, text).await?;
        if flow != Flow::Continue {
            return Ok(flow);
        }
    }
    reader.finish(session).await
}

/// The text of a script, or of its line `first_line` on, without the byte order mark before it.
fn decode<'a>(bytes: &'a [u8], path: &Path, first_line: usize) -> Result<&'a str, ShellError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let lines = good.split(|byte| *byte == b'\n').count();
        ShellError::NotUtf8 {
            path: path.to_owned(),
            line: first_line + lines - 1,
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) if first_line == 1 => rest,
        _ => text,
    })
}

/// Takes a script line by line.
struct Reader {
    splitter: Splitter,
    origin: Origin,
    depth: usize,
}

impl Reader {
    fn new(origin: Origin, depth: usize) -> Self {
        Self {
            splitter: Splitter::new(),
            origin,
            depth,
        }
    }

    async fn take(&mut self, session: &mut Session, line: &str) -> Result<Flow, ShellError> {
        if line.trim_start().starts_with('\\') && !self.splitter.is_pending() {
            self.splitter.push("\n");
            return Box::pin(run_command(session, line, self.depth)).await;
        }
        let statements = self.splitter.push(line);
        self.execute(session, statements).await
    }

    async fn finish(&mut self, session: &mut Session) -> Result<Flow, ShellError> {
        let statements = self.splitter.finish();
        self.execute(session, statements).await
    }

    async fn execute(
        &self,
        session: &mut Session,
        statements: impl IntoIterator<Item = Piece>,
    ) -> Result<Flow, ShellError> {
        for statement in statements {
            let flow = Flow::from(session.execute(&statement, &self.origin).await?);
            let go_on = flow == Flow::Continue
                || (flow == Flow::Failed && session.keep_going && session.worst < Worst::Unusable);
            if !go_on {
                return Ok(flow);
            }
        }
        Ok(Flow::Continue)
    }
}

/// Runs one backslash command.
///
/// # Errors
/// [`ShellError::Output`] if the output is closed.
pub(crate) async fn run_command(
    session: &mut Session,
    line: &str,
    depth: usize,
) -> Result<Flow, ShellError> {
    let action = match meta::parse(line, &session.schema) {
        Ok(action) => action,
        Err(why) => {
            session.show_error(&format!("ERROR 42601: {why}\n"));
            return Ok(Flow::Failed);
        }
    };
    match action {
        Action::Query(text) => {
            let format = std::mem::replace(&mut session.settings.format, Format::Table);
            let outcome = session
                .execute(
                    &Piece {
                        sql: text,
                        line: 1,
                        offset: 0,
                    },
                    &Origin::Direct,
                )
                .await;
            session.settings.format = format;
            return Ok(outcome?.into());
        }
        Action::Change(text) => {
            return Ok(session
                .execute(
                    &Piece {
                        sql: text,
                        line: 1,
                        offset: 0,
                    },
                    &Origin::Direct,
                )
                .await?
                .into());
        }
        Action::Timing(value) => {
            session.settings.timing = value.unwrap_or(!session.settings.timing);
            note(if session.settings.timing {
                "Timing is on."
            } else {
                "Timing is off."
            });
        }
        Action::Expanded(value) => {
            let toggled = if session.settings.expanded == Expanded::Always {
                Expanded::Auto
            } else {
                Expanded::Always
            };
            session.settings.expanded = value.unwrap_or(toggled);
            note(match session.settings.expanded {
                Expanded::Always => "Rows are shown one value a line.",
                Expanded::Auto => "Rows are shown one value a line if they do not fit.",
                Expanded::Never => "Rows are always shown as a table.",
            });
        }
        Action::Format(format) => session.settings.format = format,
        Action::Limit(rows) => session.settings.limit = rows,
        Action::Include(path) => return include(session, Path::new(&path), depth + 1).await,
        Action::Help => session.show(&meta::help())?,
        Action::Quit => return Ok(Flow::Quit),
    }
    Ok(Flow::Continue)
}

async fn include(session: &mut Session, path: &Path, depth: usize) -> Result<Flow, ShellError> {
    if depth > INCLUDE_DEPTH_MAX {
        session.show_error(&format!(
            "ERROR 54001: scripts include each other more than {INCLUDE_DEPTH_MAX} deep\n"
        ));
        return Ok(Flow::Failed);
    }
    match Box::pin(run_file(session, path, depth)).await {
        Err(error @ (ShellError::ReadScript { .. } | ShellError::NotUtf8 { .. })) => {
            session.show_error(&format!("ERROR 58030: {}\n", super::report::chain(&error)));
            Ok(Flow::Failed)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_before_a_script_is_skipped() {
        let text = decode(b"\xef\xbb\xbfSELECT 1;\n", Path::new("a.sql"), 1).unwrap();
        assert_eq!(text, "SELECT 1;\n");
    }

    #[test]
    fn a_script_that_is_not_utf8_says_where() {
        let error = decode(b"SELECT 1;\nSELECT '\xff';\n", Path::new("a.sql"), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"a.sql\" is not valid UTF-8 (line 2); save it as UTF-8"
        );
    }
}
