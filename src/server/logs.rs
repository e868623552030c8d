//! Logs on stderr: readable on a terminal, JSON elsewhere or by configuration.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Starts logging for the process.
///
/// # Errors
/// If the level cannot be read.
pub fn start(log: &Log) -> anyhow::Result<()> {
    // The engines below warn about what is normal here; their errors still show.
    let quiet = "datafusion=error,datafusion_distributed=error,sqlx=warn,h2=warn,hyper=warn";
    let filter = EnvFilter::try_new(format!("{quiet},{}", log.level))
        .with_context(|| format!("configuration: log.level: \"{}\"", log.level))?;
    let json = match log.format.as_str() {
        "json" => true,
        "text" => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
    Ok(())
}
