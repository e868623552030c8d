//! Keeps the generated pages of `docs/` equal to what the binary says of itself.
//!
//! The text comes from `tarn docs PAGE`; this module only compares and writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

/// Each generated page: what `tarn docs` calls it, and its file.
const PAGES: &[(&str, &str)] = &[("sql", "docs/sql.md"), ("config", "docs/configuration.md")];

/// What to do with a page that differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Say so and fail.
    Check,
    /// Write the new text.
    Write,
}

/// Compares every generated page with its file, and rewrites it in [`Mode::Write`].
///
/// # Errors
/// If the binary is not there or fails, or a page cannot be written.
pub(crate) fn run(root: &Path, binary: Option<PathBuf>, mode: Mode) -> Result<ExitCode> {
    let binary = binary.map_or_else(built_binary, Ok)?;
    let mut drifted = false;
    for (page, file) in PAGES {
        let wanted = printed_page(&binary, page)?;
        let path = root.join(file);
        let found = fs::read_to_string(&path).unwrap_or_default();
        let Some(line) = first_difference(&found, &wanted) else {
            continue;
        };
        match mode {
            Mode::Check => {
                println!(
                    "{file}:{line}: differs from what `tarn docs {page}` prints\n    run: cargo xtask docs --write"
                );
                drifted = true;
            }
            Mode::Write => {
                fs::write(&path, &wanted)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                println!("docs: wrote {file}");
            }
        }
    }
    if drifted {
        return Ok(ExitCode::FAILURE);
    }
    println!("docs: {} generated pages are up to date", PAGES.len());
    Ok(ExitCode::SUCCESS)
}

/// The `tarn` beside this binary: both are built into one folder.
fn built_binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this binary")?;
    let binary = own.with_file_name(format!("tarn{}", std::env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        bail!(
            "{} is not built; run `cargo build` first, or give --binary",
            binary.display()
        );
    }
    Ok(binary)
}

fn printed_page(binary: &Path, page: &str) -> Result<String> {
    let output = Command::new(binary)
        .args(["docs", page])
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    if !output.status.success() {
        bail!(
            "`tarn docs {page}` failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`tarn docs {page}` printed no text"))
}

/// The 1-based line where the two texts part, if they do.
fn first_difference(found: &str, wanted: &str) -> Option<usize> {
    if found == wanted {
        return None;
    }
    let same = found
        .split('\n')
        .zip(wanted.split('\n'))
        .take_while(|(left, right)| left == right)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pages_do_not_drift() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn drift_is_reported_on_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
        assert_eq!(first_difference("a\nb", "a\nb\n"), Some(3));
    }
}
