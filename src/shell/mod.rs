//! `tarn sql`: the interactive shell, and statements from scripts.
//!
//! Talks to a server over HTTP only, through [`crate::client`]. Results go to
//! standard output and nothing else does; messages go to standard error.
//!
//! Exit codes: 0 all went well, 1 a statement failed, 2 the server cannot be
//! used or the command line is wrong, 130 interrupted.

mod complete;
mod format;
mod interactive;
mod meta;
pub(crate) mod progress;
pub(crate) mod report;
mod script;
mod session;
pub(crate) mod table;

use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use rustyline::error::ReadlineError;
use secrecy::SecretString;

pub use format::Format;
use report::Origin;
use script::Flow;
use session::{Session, Worst};

use crate::client::{Client, ClientError, Login, ServerTrust};

/// Exit code when a statement failed.
const EXIT_FAILED: u8 = 1;
/// Exit code when the server cannot be used.
const EXIT_UNUSABLE: u8 = 2;
/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Why the shell cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The server cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No password was given and nobody can be asked.
    #[error(
        "no password for user \"{user}\": set the environment variable TARN_PASSWORD, or TARN_TOKEN"
    )]
    NoPassword {
        /// The user.
        user: String,
    },
    /// The password cannot be read from the terminal.
    #[error("cannot read the password")]
    ReadPassword(#[source] std::io::Error),
    /// A script cannot be read.
    #[error("cannot read \"{}\"", path.display())]
    ReadScript {
        /// The script.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A script is not UTF-8.
    #[error("\"{}\" is not valid UTF-8 (line {line}); save it as UTF-8", path.display())]
    NotUtf8 {
        /// The script.
        path: PathBuf,
        /// The first bad line, from 1.
        line: usize,
    },
    /// Standard output is closed or full.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    /// The terminal cannot be used.
    #[error("cannot read from the terminal")]
    Terminal(#[source] ReadlineError),
}

impl ShellError {
    /// The process's exit code.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(_) | Self::NoPassword { .. } | Self::ReadPassword(_) => EXIT_UNUSABLE,
            Self::ReadScript { .. }
            | Self::NotUtf8 { .. }
            | Self::Output(_)
            | Self::Terminal(_) => EXIT_FAILED,
        }
    }
}

/// Command line of `tarn sql`.
#[derive(Debug, Clone, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "flags of a command line are independent"
)]
pub struct ShellArgs {
    /// Server to talk to
    #[arg(long, env = "TARN_URL", default_value = "http://127.0.0.1:7070")]
    pub url: String,
    /// User to log in as; the password comes from `TARN_PASSWORD` or is asked for. A personal access
    /// token in `TARN_TOKEN` stands for both
    #[arg(long, env = "TARN_USER", default_value = "admin")]
    pub user: String,
    /// Authority (PEM) of the certificate of a server with an https URL
    #[arg(long, value_name = "FILE", env = "TARN_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Take any certificate: encrypted, but nobody knows with whom
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// Statements to run, separated by semicolons; may be repeated
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        conflicts_with = "file"
    )]
    pub command: Vec<String>,
    /// Script to run; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Catalog of unqualified names
    #[arg(long)]
    pub catalog: Option<String>,
    /// Schema of unqualified names
    #[arg(long)]
    pub schema: Option<String>,
    /// Go on with a script after a statement failed
    #[arg(long = "continue")]
    pub keep_going: bool,
    /// Do not show the progress of long statements
    #[arg(long)]
    pub no_progress: bool,
    /// Write nothing but results and errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// Runs `tarn sql`. Errors are written to standard error, once.
///
/// A closed standard output ends it quietly, with the exit code of success.
///
/// # Errors
/// None so far; the caller's `main` returns a `Result`.
pub async fn run(args: ShellArgs) -> Result<ExitCode, ShellError> {
    match Box::pin(run_session(args)).await {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(ShellError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let code = match &error {
                ShellError::Client(error) => format!(" {}", error.code()),
                _ => String::new(),
            };
            session::note(&format!("ERROR{code}: {}", report::chain(&error)));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

async fn run_session(args: ShellArgs) -> Result<u8, ShellError> {
    let scripted =
        !args.command.is_empty() || args.file.is_some() || !std::io::stdin().is_terminal();
    let trust = match &args.ca_file {
        _ if args.insecure => ServerTrust::Anyone,
        Some(path) => ServerTrust::File(path.clone()),
        None => ServerTrust::System,
    };
    let client = Client::with_trust(&args.url, login(&args.user)?, &trust)?.with_session();
    let out = Box::new(BufWriter::new(std::io::stdout()));
    let mut session = Session::new(client, args.format, !scripted, out);
    session.settings.quiet = args.quiet;
    session.settings.progress &= !args.no_progress;
    session.keep_going = args.keep_going;
    if args.catalog.is_some() || args.schema.is_some() {
        let catalog = args.catalog.unwrap_or_else(|| session.catalog.clone());
        let schema = args.schema.unwrap_or_else(|| session.schema.clone());
        session.go_to(&catalog, &schema).await?;
    }
    if !scripted {
        session.locate().await?;
        interactive::run(&mut session).await?;
        return Ok(0);
    }
    let flow = if args.command.is_empty() {
        let path = args.file.unwrap_or_else(|| PathBuf::from("-"));
        script::run_file(&mut session, &path, 0).await?
    } else {
        let mut flow = Flow::Continue;
        for text in &args.command {
            flow = script::run_text(&mut session, text, &Origin::Direct, 0).await?;
            if flow != Flow::Continue {
                break;
            }
        }
        flow
    };
    Ok(match (flow, session.worst) {
        (_, Worst::Unusable) => EXIT_UNUSABLE,
        (Flow::Cancelled, _) => EXIT_INTERRUPTED,
        (Flow::Failed, _) | (_, Worst::Failed) => EXIT_FAILED,
        (Flow::Continue | Flow::Quit, Worst::Fine) => 0,
    })
}

/// The token or the password from the environment, or from the person at the terminal.
fn login(user: &str) -> Result<Login, ShellError> {
    match std::env::var("TARN_TOKEN") {
        Ok(token) if !token.is_empty() => Ok(Login::Token(token.into())),
        _ => Ok(Login::Password {
            user: user.to_owned(),
            password: password(user)?,
        }),
    }
}

/// The password from the environment, or from the person at the terminal.
fn password(user: &str) -> Result<SecretString, ShellError> {
    if let Ok(password) = std::env::var("TARN_PASSWORD") {
        return Ok(password.into());
    }
    let terminal = console::Term::stderr();
    if !terminal.is_term() || !std::io::stdin().is_terminal() {
        return Err(ShellError::NoPassword {
            user: user.to_owned(),
        });
    }
    let ask = || {
        terminal.write_str(&format!("Password for {user}: "))?;
        terminal.read_secure_line()
    };
    ask()
        .map(SecretString::from)
        .map_err(ShellError::ReadPassword)
}
