//! `tarn sql` as scripts use it: exit codes, formats, and what goes where.

use std::process::{Output, Stdio};

use crate::harness::server::{PASSWORD, tarn};
use crate::harness::{Server, ServerOptions};

/// Runs `tarn sql` with `arguments` against `server`.
async fn shell(server: &Server, arguments: &[&str]) -> Output {
    shell_with(&server.url(), PASSWORD, arguments).await
}

async fn shell_with(url: &str, password: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(tarn());
    command
        .args(["sql", "--url", url, "--user", "admin"])
        .args(arguments)
        .env("TARN_PASSWORD", password);
    command.stdin(Stdio::null()).output().await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_is_what_its_readers_expect() {
    let server = ServerOptions::default().start().await;
    let statement = "SELECT * FROM (VALUES (1, 'a,\"b\"'), (2, NULL)) AS t(id, name) ORDER BY id";
    let csv = shell(&server, &["--format", "csv", "-c", statement]).await;
    assert!(csv.status.success(), "{}", err(&csv));
    assert_eq!(out(&csv), "id,name\n1,\"a,\"\"b\"\"\"\n2,\n");

    let json = shell(&server, &["--format", "json", "-c", statement]).await;
    let text = out(&json);
    assert!(
        text.contains("\"a,\\\"b\\\"\"") && text.contains("null"),
        "{text}"
    );

    let table = shell(&server, &["--format", "table", "-c", statement]).await;
    let text = out(&table);
    assert!(text.contains("id") && text.contains("a,\"b\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_columns_are_named_as_postgresql_names_them() {
    let server = ServerOptions::default().start().await;
    let statement = "SELECT 1.5 * 2, count(*), 7::bigint, CASE WHEN true THEN 1 END, 0, 0, t.* \
                     FROM (VALUES (1)) AS t(id) GROUP BY id";
    let csv = shell(&server, &["--format", "csv", "-c", statement]).await;
    assert!(csv.status.success(), "{}", err(&csv));
    assert_eq!(
        out(&csv),
        "?column?,count,int8,case,?column?,?column?,id\n3.0,1,7,1,0,0,1\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_stops_at_its_first_error_with_exit_code_1() {
    let server = ServerOptions::default().start().await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.sql");
    std::fs::write(
        &script,
        "SELECT 1 AS before;\n\nSELECT * FROM main.missing; SELECT 2 AS after;\n",
    )
    .unwrap();
    let output = shell(
        &server,
        &["--format", "csv", "-f", script.to_str().unwrap()],
    )
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "before\n1\n");
    let said = err(&output);
    assert!(
        said.contains("script.sql:3") && said.contains("42P01") && said.contains("missing"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_one_script_share_a_session() {
    let server = ServerOptions::default().start().await;
    let script = "CREATE SCHEMA s1; USE s1; CREATE TABLE t (id bigint); INSERT INTO t VALUES (7); SELECT id FROM s1.t";
    let output = shell(&server, &["--format", "csv", "-c", script]).await;
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).ends_with("id\n7\n"), "{}", out(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_gives_exit_code_2() {
    let server = ServerOptions::default().start().await;
    let denied = shell_with(&server.url(), "wrong", &["-c", "SELECT 1"]).await;
    let unreachable = shell_with("http://127.0.0.1:1", PASSWORD, &["-c", "SELECT 1"]).await;
    for output in [denied, unreachable] {
        assert_ne!(output.status.code(), Some(0));
        assert_eq!(out(&output), "");
        assert!(!err(&output).is_empty());
        assert!(!err(&output).contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_is_printed_on_stdout() {
    let mut command = tokio::process::Command::from(tarn());
    let output = command.arg("version").output().await.unwrap();
    assert!(output.status.success());
    assert!(
        out(&output).contains(env!("CARGO_PKG_VERSION")),
        "{}",
        out(&output)
    );
}
