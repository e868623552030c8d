//! Bad input: an error that names the object and the next step, quickly, and a server
//! that lives on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::server::PASSWORD;
use crate::harness::{S3, Server, ServerOptions, free_ports, wait_for};

/// Retries included, an error takes no longer.
const ERROR_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks that `statement` is refused with `code`, and that the message or hint holds `named`.
async fn check_refused(server: &Server, statement: &str, code: &str, named: &[&str]) {
    let started = Instant::now();
    let error = server.refuses(statement).await;
    let took = started.elapsed();
    assert!(took < ERROR_TIMEOUT, "{statement} took {took:?}");
    assert_eq!(error.code, code, "{statement}: {error:?}");
    let said = format!(
        "{} {}",
        error.message,
        error.hint.as_deref().unwrap_or_default()
    );
    for name in named {
        assert!(
            said.contains(name),
            "{statement}: {name:?} is not in: {said}"
        );
    }
    assert_eq!(
        server.sql("SELECT 1").await.scalar().as_deref(),
        Some("1"),
        "the server lives on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_named_with_the_nearest() {
    let server = ServerOptions::default().start().await;
    server.sql("CREATE SCHEMA sales").await;
    server
        .sql("CREATE TABLE sales.customers (id bigint, country varchar)")
        .await;
    check_refused(
        &server,
        "SELECT * FROM sales.custmers",
        "42P01",
        &["custmers", "customers"],
    )
    .await;
    check_refused(
        &server,
        "SELECT * FROM sale.customers",
        "42P01",
        &["sale", "sales"],
    )
    .await;
    check_refused(
        &server,
        "SELECT * FROM lakes.sales.customers",
        "3D000",
        &["lakes", "lake"],
    )
    .await;
    check_refused(
        &server,
        "SELECT contry FROM sales.customers",
        "42703",
        &["contry", "country"],
    )
    .await;
    check_refused(
        &server,
        "SELECT uper(country) FROM sales.customers",
        "42883",
        &["uper", "upper"],
    )
    .await;
    check_refused(
        &server,
        "SET distributio = 'always'",
        "42704",
        &["distributio", "distribution"],
    )
    .await;
    check_refused(
        &server,
        "INSERT INTO sales.custmers VALUES (1)",
        "42P01",
        &["custmers", "customers"],
    )
    .await;
    check_refused(&server, "DROP TABLE sales.custmers", "42P01", &["custmers"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_sql_says_where_and_what_was_expected() {
    let server = ServerOptions::default().start().await;
    for (statement, position) in [
        ("SELEC 1", 1),
        ("SELECT 1 +\n  FROM WHERE", 14),
        ("SELECT (1", 10),
        ("CREATE TABLE t (id bigint,,)", 27),
        ("SELECT 'open", 8),
    ] {
        let error = server.refuses(statement).await;
        assert_eq!(
            (error.code.as_str(), error.status),
            ("42601", 400),
            "{statement}: {error:?}"
        );
        let found = error
            .position
            .unwrap_or_else(|| panic!("{statement}: no position in {error:?}"));
        assert!(
            found.abs_diff(position) <= 6,
            "{statement}: position {found}, not about {position}"
        );
        assert!(!error.message.is_empty());
    }
    let error = server.refuses("SELECT 1; SELECT 2").await;
    assert_eq!(error.code, "42601");
    assert_eq!(server.refuses("").await.code, "42601");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_door_is_strict() {
    let server = ServerOptions::default().start().await;
    let http = reqwest::Client::new();
    let url = server.url() + "/api/v1/sql";
    let post = |body: &str| {
        http.post(&url)
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let good = json!({"statement": "SELECT 1 AS one"}).to_string();

    let answer = post(&good)
        .basic_auth("admin", Some(PASSWORD))
        .header("accept", "application/json");
    let answer: Value = answer.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["columns"][0]["name"], "one");
    assert_eq!(answer["rows"], json!([[1]]));

    for (body, status) in [
        ("{", 400),
        ("{\"statement\": 1}", 400),
        ("{\"statement\": \"SELECT 1\", \"x\": 1}", 400),
        ("{}", 400),
    ] {
        let response = post(body)
            .basic_auth("admin", Some(PASSWORD))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{body}");
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            kind.starts_with("application/problem+json"),
            "{body}: {kind}"
        );
    }
    let mut refusals = Vec::new();
    for (user, password) in [("admin", "wrong"), ("nobody", PASSWORD), ("", "")] {
        let response = post(&good)
            .basic_auth(user, Some(password))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 401, "{user}");
        assert!(response.headers().contains_key("www-authenticate"));
        refusals.push(response.text().await.unwrap());
    }
    assert_eq!(
        refusals[0], refusals[1],
        "an unknown user answers like a wrong password"
    );
    assert_eq!(post(&good).send().await.unwrap().status(), 401);
    assert_eq!(
        http.get(&url)
            .basic_auth("admin", Some(PASSWORD))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
    let huge = json!({"statement": format!("SELECT '{}'", "x".repeat(64 << 20))}).to_string();
    let refused = post(&huge).basic_auth("admin", Some(PASSWORD)).send().await;
    assert!(
        refused.is_err() || refused.unwrap().status() == 413,
        "a body of 64 MiB was accepted"
    );
    server.sql("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_s3_endpoint_is_named() {
    let [port] = free_ports();
    let endpoint = format!("http://127.0.0.1:{port}");
    let server = s3_options(&endpoint, "any", "any", "s3://lake/x")
        .start()
        .await;
    let address = format!("127.0.0.1:{port}");
    check_refused(
        &server,
        "CREATE TABLE main.t (id bigint)",
        "58030",
        &[&address],
    )
    .await;
    check_refused(
        &server,
        "CREATE TABLE main.t AS SELECT 1 AS id",
        "58030",
        &[&address],
    )
    .await;
    check_refused(
        &server,
        "SELECT * FROM read_parquet('s3://lake/f.parquet')",
        "58030",
        &[&address],
    )
    .await;
    assert_eq!(server.rows("SHOW TABLES FROM main").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_from_a_missing_bucket() {
    let s3 = S3::shared().await;
    let key = crate::harness::s3::ACCESS_KEY;
    let location = S3::location();
    let server = s3_options(&s3.endpoint(), key, "wrong", &location)
        .start()
        .await;
    check_refused(
        &server,
        "CREATE TABLE main.t AS SELECT 1 AS id",
        "58000",
        &["lake", "storage.s3"],
    )
    .await;

    let secret = crate::harness::s3::SECRET_KEY;
    let server = s3_options(&s3.endpoint(), key, secret, "s3://no-such-bucket/x")
        .start()
        .await;
    check_refused(
        &server,
        "CREATE TABLE main.t AS SELECT 1 AS id",
        "58P01",
        &["no-such-bucket"],
    )
    .await;
}

fn s3_options(endpoint: &str, key: &str, secret: &str, warehouse: &str) -> ServerOptions {
    ServerOptions::default()
        .set("TARN__STORAGE__S3__ENDPOINT", endpoint)
        .set("TARN__STORAGE__S3__REGION", crate::harness::s3::REGION)
        .set("TARN__STORAGE__S3__ACCESS_KEY_ID", key)
        .set("TARN__STORAGE__S3__SECRET_ACCESS_KEY", secret)
        .set("TARN__CATALOG__LAKE__WAREHOUSE", warehouse)
        .set("TARN__STORAGE__ALLOWED_ROOTS", r#"["s3://lake"]"#)
}

/// A stopped server whose table `main.t` has 1000 rows, and another `main.healthy`.
async fn stopped_server() -> (Arc<tempfile::TempDir>, PathBuf) {
    let server = ServerOptions::default().start().await;
    server.sql("CREATE TABLE main.t AS SELECT n, 'row ' || n AS name FROM generate_series(1, 1000) AS s(n)").await;
    server
        .sql("CREATE TABLE main.healthy AS SELECT 1 AS id")
        .await;
    let (folder, warehouse) = (server.folder(), PathBuf::from(server.warehouse()));
    assert!(server.stop().success());
    // A table's folder is its name and a UUID.
    let table = fs::read_dir(warehouse.join("main"))
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("t-"))
        .unwrap()
        .path();
    (folder, table)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Damages the one file of `main.t` that `is_meant` picks, and expects to read of it.
async fn check_damage(is_meant: impl Fn(&str) -> bool, damage: impl Fn(&Path), code: &str) {
    let (folder, table) = stopped_server().await;
    let files = files_below(&table);
    let meant: Vec<&PathBuf> = files
        .iter()
        .filter(|path| is_meant(file_name(path)))
        .collect();
    assert!(!meant.is_empty(), "{files:?}");
    let last = meant[meant.len() - 1];
    damage(last);
    let server = ServerOptions::default().start_in(folder).await;
    check_refused(
        &server,
        "SELECT sum(n), max(name) FROM main.t",
        code,
        &[file_name(last)],
    )
    .await;
    assert_eq!(server.rows("SELECT * FROM main.healthy").await, [["1"]]);
}

fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn is_manifest_list(name: &str) -> bool {
    name.starts_with("snap-")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_data_file_is_named() {
    check_damage(|name| name.ends_with(".parquet"), cut_in_half, "XX001").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_of_garbage_is_named() {
    let damage = |path: &Path| {
        let length = fs::read(path).unwrap().len();
        fs::write(path, vec![0x5a; length]).unwrap();
    };
    check_damage(|name| name.ends_with(".parquet"), damage, "XX001").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_data_file_is_named() {
    check_damage(
        |name| name.ends_with(".parquet"),
        |path| fs::remove_file(path).unwrap(),
        "58P01",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_manifest_is_named() {
    let is_meant = |name: &str| name.contains(".avro") && !is_manifest_list(name);
    check_damage(is_meant, |path| fs::remove_file(path).unwrap(), "58P01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_manifest_list_is_named() {
    check_damage(is_manifest_list, cut_in_half, "XX001").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_an_unknown_version_is_named() {
    let damage = |path: &Path| {
        let mut metadata: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        metadata["format-version"] = json!(99);
        fs::write(path, metadata.to_string()).unwrap();
    };
    let (folder, table) = stopped_server().await;
    let files = files_below(&table);
    let path = files
        .iter()
        .rfind(|path| file_name(path).contains(".metadata."))
        .unwrap();
    damage(path);
    let server = ServerOptions::default().start_in(folder).await;
    check_refused(
        &server,
        "SELECT * FROM main.t",
        "0A000",
        &["99", file_name(path)],
    )
    .await;
    assert_eq!(server.rows("SELECT * FROM main.healthy").await, [["1"]]);
    assert_eq!(server.rows("SHOW TABLES FROM main").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_leaves_nothing_behind() {
    let server = ServerOptions::default().start().await;
    server
        .sql("CREATE TABLE main.t AS SELECT n FROM generate_series(1, 10) AS s(n)")
        .await;
    let before = files_below(Path::new(&server.warehouse()));
    let failing = "SELECT n / (n - 900000) AS n FROM generate_series(1, 1000000) AS s(n)";
    check_refused(
        &server,
        &format!("INSERT INTO main.t {failing}"),
        "22012",
        &[],
    )
    .await;
    check_refused(
        &server,
        &format!("CREATE TABLE main.u AS {failing}"),
        "22012",
        &[],
    )
    .await;
    // Tasks that were stopped remove their files while the error is on its way already.
    wait_for("the files are gone", Duration::from_secs(15), async || {
        (files_below(Path::new(&server.warehouse())) == before).then_some(())
    })
    .await;
    assert_eq!(
        server.rows("SELECT count(*), sum(n) FROM main.t").await,
        [["10", "55"]]
    );
    assert_eq!(server.rows("SHOW TABLES FROM main").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_the_allowed_roots_are_not_read() {
    let server = ServerOptions::default().start().await;
    for path in [
        "/etc/passwd",
        "/etc/*",
        "file:///etc/passwd",
        "../../etc/passwd",
    ] {
        let error = server
            .refuses(&format!("SELECT * FROM read_csv('{path}')"))
            .await;
        assert_eq!(error.code, "42501", "{path}: {error:?}");
        assert!(!error.message.contains("root:"), "{error:?}");
    }
    let own = server.data_dir().join("control.db");
    let error = server
        .refuses(&format!("SELECT * FROM read_csv('{}')", own.display()))
        .await;
    assert_eq!(error.code, "42501", "{error:?}");
}
