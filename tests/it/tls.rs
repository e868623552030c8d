//! TLS: one certificate for the doors, workers that join over it, renewal while clients are connected,
//! and clients that do not behave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tarn::client::{Client, Login, ServerTrust};
use tarn_coordinator::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::child::{Process, signal};
use crate::harness::server::{CLUSTER_SECRET, PASSWORD, tarn};
use crate::harness::{START_TIMEOUT, Server, ServerOptions, wait_for};

const SELF_SIGNED: &str = "TARN__TLS__SELF_SIGNED";
const SECRET: &str = "a secret of the tests of TLS";

fn address(server: &Server) -> String {
    let url = server.client().url();
    format!("127.0.0.1:{}", url.port().unwrap())
}

/// A pair in `folder`, of an authority of its own. Gives the files of certificate and key.
fn pair(folder: &Path) -> (PathBuf, PathBuf) {
    Tls::self_signed(folder, &[], true).unwrap();
    (folder.join("cert.pem"), folder.join("key.pem"))
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--user"])
        .arg(format!("admin:{PASSWORD}"))
        .args(arguments)
        .output()
        .expect("curl is not installed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_server_serves_who_trusts_it_and_its_own_workers() {
    let server = ServerOptions::default()
        .workers(1)
        .set(SELF_SIGNED, "true")
        .start()
        .await;
    assert_eq!(server.rows("SELECT 1 + 1").await, [["2"]]);
    let authority = server.data_dir().join("tls/ca.pem");
    let authority = authority.to_str().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let port = server.client().url().port().unwrap();
        let url = format!("https://{host}:{port}/api/v1/sql");
        let body = ["--json", r#"{"statement": "SELECT 42 AS answer"}"#];
        let trusted = curl(&["--cacert", authority, body[0], body[1], &url]);
        assert!(text(&trusted.stdout).contains("[42]"), "{trusted:?}");
        let untrusted = curl(&[body[0], body[1], &url]);
        assert_eq!(untrusted.status.code(), Some(60), "{untrusted:?}");
    }
    // Who forgets the s is told so, and nothing of what it asked is done.
    let plain = curl(&[&format!("http://{}/health/live", address(&server))]);
    assert!(text(&plain.stdout).contains("use https://"), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_takes_an_authority_or_anybody_if_it_must() {
    let server = ServerOptions::default()
        .set(SELF_SIGNED, "true")
        .start()
        .await;
    let url = format!("https://{}", address(&server));
    let run = |more: &[&str]| {
        let mut command = tarn();
        command
            .args([
                "sql",
                "--url",
                &url,
                "--format",
                "csv",
                "-c",
                "SELECT 7 AS n",
            ])
            .args(more)
            .env("TARN_PASSWORD", PASSWORD)
            .env_remove("TARN_CA_FILE");
        command.output().unwrap()
    };
    let authority = server.data_dir().join("tls/ca.pem");
    for arguments in [
        &["--ca-file", authority.to_str().unwrap()][..],
        &["--insecure"],
    ] {
        let output = run(arguments);
        assert_eq!(text(&output.stdout), "n\n7\n", "{output:?}");
    }
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("--ca-file"), "{output:?}");
    let output = run(&["--ca-file", "/nowhere/ca.pem"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        text(&output.stderr).contains("/nowhere/ca.pem"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_over_tls_if_it_trusts_the_coordinator() {
    let server = ServerOptions::default()
        .set(SELF_SIGNED, "true")
        .set(CLUSTER_SECRET, SECRET)
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let start = |name, ca_file: Option<PathBuf>| {
        let mut command = tarn();
        command
            .args(["worker", "--coordinator"])
            .arg(format!("https://{}", address(&server)))
            .env(CLUSTER_SECRET, SECRET)
            .env("TARN__LISTEN__WORKER", "127.0.0.1:0");
        if let Some(path) = ca_file {
            command.arg("--ca-file").arg(path);
        }
        Process::start(name, command, folder.path())
    };
    let stranger = start("stranger", None);
    let _worker = start("worker", Some(server.data_dir().join("tls/ca.pem")));
    server.wait_for_workers(1).await;
    wait_for("the other worker says why not", START_TIMEOUT, async || {
        stranger.stderr().contains("certificate").then_some(())
    })
    .await;
    assert_eq!(server.active_workers().await, 1);
    server
        .sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 100000) AS s(n)")
        .await;
    let client = server.client().with_session();
    client.query("SET distribution = 'always'").await.unwrap();
    let sum = client.query("SELECT sum(n) FROM t").await.unwrap();
    assert_eq!(sum.scalar().unwrap(), "5000050000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_restart_and_open_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let install = |(from_cert, from_key): (PathBuf, PathBuf)| {
        fs::copy(from_cert, &cert).unwrap();
        fs::copy(from_key, &key).unwrap();
    };
    install(pair(&one));
    let mut server = ServerOptions::default()
        .set("TARN__TLS__CERT", cert.to_str().unwrap())
        .set("TARN__TLS__KEY", key.to_str().unwrap())
        .start()
        .await;
    let mut open = server
        .client()
        .execute("SELECT n FROM generate_series(1, 20000000) AS s(n)")
        .await
        .unwrap();
    open.next_batch().await.unwrap().unwrap();
    install(pair(&two));
    signal(server.process().id(), "HUP");
    let client = |authority: PathBuf| {
        let login = Login::Password {
            user: "admin".to_owned(),
            password: PASSWORD.into(),
        };
        let url = format!("https://{}", address(&server));
        Client::with_trust(&url, login, &ServerTrust::File(authority)).unwrap()
    };
    let renewed = client(two.join("ca.pem"));
    wait_for("the new certificate is served", START_TIMEOUT, async || {
        renewed.query("SELECT 1").await.ok()
    })
    .await;
    let stale = client(one.join("ca.pem"));
    assert!(stale.query("SELECT 1").await.is_err());
    let mut rows = 0;
    while let Some(batch) = open.next_batch().await.unwrap() {
        rows += batch.num_rows();
    }
    assert!(rows > 19_000_000, "{rows}");
    // The files alone are enough, and a broken pair changes nothing.
    fs::write(&key, "nonsense").unwrap();
    wait_for("the broken key is noticed", START_TIMEOUT, async || {
        server
            .process()
            .stderr()
            .contains("not reloaded")
            .then_some(())
    })
    .await;
    renewed.query("SELECT 2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_served_stops_the_start_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, _) = pair(&folder.path().join("one"));
    let (_, other_key) = pair(&folder.path().join("two"));
    let cert = cert.to_str().unwrap().to_owned();
    let other_key = other_key.to_str().unwrap().to_owned();
    for (cert, key, wanted) in [
        ("/nowhere/cert.pem", other_key.as_str(), "/nowhere/cert.pem"),
        (&cert, "/nowhere/key.pem", "/nowhere/key.pem"),
        (&cert, &other_key, "does not belong to"),
        (&other_key, &other_key, "holds no certificate"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut process = ServerOptions::default()
            .set("TARN__TLS__CERT", cert)
            .set("TARN__TLS__KEY", key)
            .spawn(data.path());
        let status = wait_for("the server gives up", START_TIMEOUT, async || {
            process.ended()
        })
        .await;
        assert!(!status.success());
        let error = process.stderr();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(!process.stdout().contains("ready"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_not_required_both_are_served() {
    let server = ServerOptions::default()
        .set(SELF_SIGNED, "true")
        .set("TARN__TLS__REQUIRED", "false")
        .start()
        .await;
    server.sql("SELECT 1").await;
    let plain = Client::new(&address(&server), "admin", PASSWORD.into()).unwrap();
    plain.query("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_is_served_over_tls_alone_and_checks_the_name_of_the_server() {
    let server = ServerOptions::default()
        .set(SELF_SIGNED, "true")
        .start()
        .await;
    let authority = server.data_dir().join("tls/ca.pem");
    let port = server.door("postgres").port();
    let psql = |mode: &str, host: &str| {
        Command::new("psql")
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "-c",
                "SELECT 40 + 2",
            ])
            .arg(format!(
                "host={host} port={port} user=admin dbname=lake sslmode={mode} sslrootcert={}",
                authority.display()
            ))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql is not installed")
    };
    for (mode, host) in [
        ("require", "127.0.0.1"),
        ("verify-ca", "127.0.0.1"),
        ("verify-full", "localhost"),
        ("verify-full", "127.0.0.1"),
        ("prefer", "127.0.0.1"),
    ] {
        let output = psql(mode, host);
        assert_eq!(
            text(&output.stdout).trim(),
            "42",
            "{mode} {host}: {output:?}"
        );
    }
    let output = psql("disable", "127.0.0.1");
    assert!(!output.status.success(), "{output:?}");
}

/// Sends `bytes`, then nothing; gives how long the server bore with it.
async fn silence(address: &str, bytes: &[u8]) -> Duration {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let started = Instant::now();
    let mut rest = vec![];
    let read = tokio::time::timeout(Duration::from_mins(2), socket.read_to_end(&mut rest));
    // A reset ends it as well as an end.
    let _ = read.await.expect("the server never ended the connection");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_in_the_middle_are_cut_off_and_others_do_not_wait_for_them() {
    let plain = ServerOptions::default().start().await;
    let tls = ServerOptions::default()
        .set(SELF_SIGNED, "true")
        .start()
        .await;
    let (plain_address, tls_address) = (address(&plain), address(&tls));
    let cases: [(&str, &[u8]); 5] = [
        (&plain_address, b""),
        (&plain_address, b"P"),
        (
            &plain_address,
            b"POST /api/v1/sql HTTP/1.1\r\nhost: x\r\ncontent-",
        ),
        (&tls_address, b""),
        // The head of a handshake record that never comes.
        (&tls_address, &[22, 3, 1, 2, 0, 1]),
    ];
    let silent = cases.map(|(address, bytes)| {
        let address = address.to_owned();
        tokio::spawn(async move { silence(&address, bytes).await })
    });
    tls.sql("SELECT 1").await;
    plain.sql("SELECT 1").await;
    for one in silent {
        let lasted = one.await.unwrap();
        assert!(lasted < Duration::from_secs(45), "{lasted:?}");
    }
}
