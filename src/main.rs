//! The one binary: `tarn server`, `worker`, `sql`, `demo`, `version`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tarn::config::{self, Flags};
use tarn::{demo, reference, server, shell};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A native lakehouse: SQL over Apache Iceberg on S3, in one binary.
#[derive(Debug, Parser)]
#[command(name = "tarn", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server: everything on this machine
    Server(ServerArgs),
    /// Run a stateless worker for a coordinator
    Worker(server::WorkerArgs),
    /// Run SQL, interactively or in scripts
    Sql(shell::ShellArgs),
    /// Load TPC-H and run its 22 queries on two workers
    Demo(demo::DemoArgs),
    /// Print the version
    Version,
    /// Print a reference that is made from the code
    #[command(hide = true)]
    Docs {
        /// `sql` or `config`
        #[arg(value_enum)]
        which: reference::Which,
    },
}

#[derive(clap::Args, Debug)]
struct ServerArgs {
    /// TOML file
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of everything that the server keeps [default: ./tarn-data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Worker processes on this machine [default: 0, everything in this process]
    #[arg(long)]
    workers: Option<usize>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Queries have threads of their own; these plan, commit and talk, and the system shares the processors out.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(THREADS_MIN))
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error)),
    };
    let outcome = runtime.block_on(run(cli.command));
    // A blocking read of standard input must not keep a process that is done.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Threads that plan and talk: one that plans a big statement must not keep the others' clients waiting.
const THREADS_MIN: usize = 4;

/// Deep plans recurse deeply, in debug builds most of all.
const THREAD_STACK_BYTES: usize = 64 * 1024 * 1024;

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Server(args) => {
            let flags = Flags {
                data_dir: args.data_dir,
                workers: args.workers,
            };
            let config = config::load(args.config.as_deref(), std::env::vars(), &flags)?;
            server::start_logs(&config.log)?;
            Box::pin(server::run_server(config)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Worker(args) => {
            let config = config::load(args.config.as_deref(), std::env::vars(), &Flags::default())?;
            server::start_logs(&config.log)?;
            Box::pin(server::run_worker(args, config)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sql(args) => Ok(Box::pin(shell::run(args)).await?),
        Command::Demo(args) => Ok(Box::pin(demo::run(args)).await?),
        Command::Version => {
            writeln!(std::io::stdout(), "tarn {}", server::VERSION)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Docs { which } => {
            std::io::stdout().write_all(reference::text(which).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints an error with its causes, once, and gives the exit code.
fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = String::new();
    for (i, part) in error.chain().enumerate() {
        let part = part.to_string();
        if i == 0 {
            text = part;
        } else if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
    }
    // Nothing can be done if stderr is closed.
    let _ = writeln!(std::io::stderr(), "tarn: {text}");
    ExitCode::FAILURE
}
