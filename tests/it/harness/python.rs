//! Runs the Python witnesses of `tests/clients`.

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
    let path = repository().join("tests/clients").join(script);
    let mut child = tokio::process::Command::new(tool("python"))
        .arg("-B")
        .arg(&path)
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
