//! Runs the Python witnesses of `tests/clients` and `tests/zoo`.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::{repository, tool};

/// Runs `tests/clients/SCRIPT` with `input` as JSON on its stdin and returns the JSON
/// of its stdout.
///
/// # Panics
/// If the script fails, with all that it said.
pub(crate) async fn python(script: &str, input: &Value) -> Value {
    let path = format!("tests/clients/{script}");
    run(&tool("python"), &path, input).await
}

/// As [`python`], of `tests/zoo/SCRIPT` in the environment of Spark.
#[cfg(feature = "zoo")]
pub(crate) async fn spark(script: &str, input: &Value) -> Value {
    let interpreter = super::installed("venv-spark/bin/python");
    run(&interpreter, &format!("tests/zoo/{script}"), input).await
}

async fn run(interpreter: &Path, script: &str, input: &Value) -> Value {
    let mut child = tokio::process::Command::new(interpreter)
        .arg("-B")
        .arg(repository().join(script))
        .env_remove("PYTHONPATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A script that ends before it has read its input says why on stderr.
    let _ = stdin.write_all(input.to_string().as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{script} failed on {input}\n{out}\n{said}"
    );
    serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("{script} printed no JSON ({error}): {out}\n{said}"))
}
