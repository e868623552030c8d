//! Reads statements from a person at a terminal.
//!
//! Line editing and history; every statement goes to [`Session`].

use std::path::PathBuf;

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::complete::EditorHelper;
use super::report::Origin;
use super::script::{self, Flow};
use super::session::{Session, note};
use super::{ShellError, meta};

/// Statements that the history file keeps.
const HISTORY_MAX: usize = 10_000;

type LineEditor = Editor<EditorHelper, FileHistory>;

/// Reads and runs statements until the user leaves.
///
/// # Errors
/// [`ShellError::Terminal`] if the terminal cannot be read,
/// [`ShellError::Output`] if the output is closed.
pub(crate) async fn run(session: &mut Session) -> Result<(), ShellError> {
    let history = history_file();
    let mut editor = open_editor(session, history.as_ref()).map_err(ShellError::Terminal)?;
    note(&format!(
        "tarn {} · {} · \\? for help, \\q to leave",
        env!("CARGO_PKG_VERSION"),
        session.client.address()
    ));
    session.refresh_names();
    loop {
        let prompt = format!("{}.{}> ", session.catalog, session.schema);
        let (back, line) = read_line(editor, prompt).await?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(ShellError::Terminal(error)),
        };
        if line.trim().is_empty() {
            continue;
        }
        if !holds_secret(&line) {
            remember(&mut editor, &line, history.as_ref());
        }
        if run_input(session, &line).await? == Flow::Quit {
            break;
        }
    }
    Ok(())
}

async fn run_input(session: &mut Session, input: &str) -> Result<Flow, ShellError> {
    let trimmed = input.trim();
    if trimmed.starts_with('\\') || meta::is_word_command(trimmed) {
        return script::run_command(session, trimmed, 0).await;
    }
    script::run_text(session, input, &Origin::Direct, 0).await
}

/// Reads on a thread of its own: the editor blocks until Enter.
async fn read_line(
    mut editor: LineEditor,
    prompt: String,
) -> Result<(LineEditor, Result<String, ReadlineError>), ShellError> {
    tokio::task::spawn_blocking(move || {
        let line = editor.readline(&prompt);
        (editor, line)
    })
    .await
    .map_err(|error| ShellError::Terminal(ReadlineError::Io(std::io::Error::other(error))))
}

fn open_editor(session: &Session, history: Option<&PathBuf>) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .completion_prompt_limit(100)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_auto_add_history(false);
    editor.set_helper(Some(EditorHelper::new(
        session.names.clone(),
        session.color,
    )));
    if let Some(path) = history {
        // A first start has no history; a damaged one should not keep anyone out.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

/// Adds to the history and its file, which only its owner may read.
fn remember(editor: &mut LineEditor, line: &str, history: Option<&PathBuf>) {
    let added = editor.add_history_entry(line.trim_end()).unwrap_or(false);
    if let (true, Some(path)) = (added, history) {
        // The editor creates it with mode 0600. Losing history is no error.
        let _ = editor.append_history(path);
    }
}

/// Whether a statement has a password or key in it, which no file should keep.
fn holds_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["password", "secret", "token"]
        .iter()
        .any(|word| lower.contains(word))
        && lower.contains('\'')
}

/// `$XDG_STATE_HOME/tarn/history`, its folder made.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("tarn");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_with_secrets_stay_out_of_the_history() {
        assert!(holds_secret("CREATE USER a PASSWORD 'hunter2';"));
        assert!(!holds_secret("SELECT password_age FROM users;"));
    }
}
