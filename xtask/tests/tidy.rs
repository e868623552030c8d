//! Runs the real `xtask tidy` over workspaces made for the purpose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A workspace of `tarn-engine` and `tarn-control`, where control has `control_dependencies`.
fn workspace(root: &Path, control_dependencies: &str, engine_source: &str) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"engine\", \"control\"]\nresolver = \"3\"\n\n[workspace.lints]\n",
    );
    let package = |name: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n"
        )
    };
    write("engine/Cargo.toml", &package("tarn-engine"));
    write("engine/src/lib.rs", engine_source);
    write(
        "control/Cargo.toml",
        &format!("{}{control_dependencies}", package("tarn-control")),
    );
    write("control/src/lib.rs", "//! Identities.\n");
}

fn tidy(root: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("tidy")
        .arg("--root")
        .arg(root)
        .output()
        .unwrap()
}

fn check_tidy(control_dependencies: &str, engine_source: &str, passes: bool, said: &str) {
    let root = tempfile::tempdir().unwrap();
    workspace(root.path(), control_dependencies, engine_source);
    let output = tidy(root.path());
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.success(), passes, "{text}");
    assert!(text.contains(said), "{said:?} is not in\n{text}");
}

#[test]
fn a_workspace_that_keeps_the_rules_passes() {
    check_tidy(
        "serde = \"1\"\n",
        "//! Plans.\n",
        true,
        "2 crates and 2 source files keep the rules",
    );
}

#[test]
fn a_forbidden_member_fails_with_file_and_line() {
    check_tidy(
        "serde = \"1\"\ntarn-engine = { path = \"../engine\" }\n",
        "//! Plans.\n",
        false,
        "control/Cargo.toml:11: crate \"tarn-control\" must not depend on \"tarn-engine\"",
    );
}

#[test]
fn a_forbidden_published_crate_fails_even_when_renamed() {
    check_tidy(
        "columns = { package = \"arrow\", version = \"59\" }\n",
        "//! Plans.\n",
        false,
        "control/Cargo.toml:10: crate \"tarn-control\" must not depend on \"arrow\"",
    );
}

#[test]
fn a_forbidden_name_in_source_fails() {
    check_tidy(
        "",
        "//! Plans.\n\nuse iceberg::spec::Schema;\n",
        false,
        "engine/src/lib.rs:3: the crate `iceberg` is named outside catalog",
    );
}
