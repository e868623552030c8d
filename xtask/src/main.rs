//! `cargo xtask`: the checks of the house that cargo itself does not make.
//!
//! Knows the workspace's files and nothing of the product: it links no other
//! crate of the workspace, so that it builds in seconds.
#![allow(clippy::print_stdout, reason = "a command line tool speaks on stdout")]

mod code;
mod docs;
mod model;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

  tidy [--root DIR]                     fail on a forbidden dependency and other breaches of the house style
  docs --check|--write [--binary FILE]  compare, or rewrite, the generated pages of docs/ with what `tarn docs` prints";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: Vec<String>) -> Result<ExitCode> {
    if arguments.is_empty() {
        bail!("no command given\n{USAGE}");
    }
    let command = arguments.remove(0);
    match command.as_str() {
        "tidy" => {
            let root = take_option(&mut arguments, "--root")?.map_or_else(workspace_root, Ok)?;
            refuse_rest(&arguments)?;
            tidy(&root)
        }
        "docs" => {
            let binary = take_option(&mut arguments, "--binary")?;
            let mode = match arguments.as_slice() {
                [mode] if mode == "--check" => docs::Mode::Check,
                [mode] if mode == "--write" => docs::Mode::Write,
                _ => bail!("docs wants exactly one of --check and --write\n{USAGE}"),
            };
            docs::run(&workspace_root()?, binary, mode)
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("unknown command {other:?}\n{USAGE}"),
    }
}

fn tidy(root: &std::path::Path) -> Result<ExitCode> {
    let workspace = model::load(root)?;
    let violations = rules::check(&workspace);
    for violation in &violations {
        println!("{violation}");
    }
    let (crates, files) = (workspace.crates.len(), workspace.files.len());
    if violations.is_empty() {
        println!("tidy: {crates} crates and {files} source files keep the rules");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "tidy: {} breaches in {crates} crates and {files} source files",
        violations.len()
    );
    Ok(ExitCode::FAILURE)
}

/// The folder of the workspace this binary was built from.
fn workspace_root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().context("xtask lies in no workspace")?;
    Ok(root.to_path_buf())
}

fn take_option(arguments: &mut Vec<String>, name: &str) -> Result<Option<PathBuf>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else {
        return Ok(None);
    };
    if at + 1 >= arguments.len() {
        bail!("{name} wants a value\n{USAGE}");
    }
    let value = arguments.remove(at + 1);
    arguments.remove(at);
    Ok(Some(PathBuf::from(value)))
}

fn refuse_rest(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        Some(argument) => bail!("unexpected argument {argument:?}\n{USAGE}"),
        None => Ok(()),
    }
}
