//! Starting, stopping and losing processes.

use std::sync::Arc;
use std::time::Duration;

use tarn::client::ClientError;
use uuid::Uuid;

use crate::harness::child::{Process, is_running, signal};
use crate::harness::server::{ALWAYS_DISTRIBUTE, CLUSTER_SECRET, tarn};
use crate::harness::{Server, ServerOptions, wait_for};

/// A statement that runs until somebody stops it.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b
                       WHERE a.a * b.b % 7 = 3";

/// Something that ends takes at most this long to do so.
const END_TIMEOUT: Duration = Duration::from_secs(15);

async fn state(server: &Server, query_id: Uuid) -> Option<String> {
    server
        .sql(&format!(
            "SELECT state FROM system.queries WHERE query_id = '{query_id}'"
        ))
        .await
        .scalar()
}

async fn wait_for_state(server: &Server, query_id: Uuid, wanted: &str) {
    wait_for(&format!("the query is {wanted}"), END_TIMEOUT, async || {
        (state(server, query_id).await.as_deref() == Some(wanted)).then_some(())
    })
    .await;
}

async fn wait_for_end(ids: &[u32]) {
    wait_for("every process has ended", END_TIMEOUT, async || {
        ids.iter().all(|id| !is_running(*id)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_server_and_its_workers() {
    let server = ServerOptions::default().workers(2).start().await;
    let workers = server.worker_processes();
    assert_eq!(workers.len(), 2, "two workers are processes of their own");
    server.sql("SELECT 1").await;
    assert!(server.stop().success());
    wait_for_end(&workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_workers_behind() {
    let mut server = ServerOptions::default().workers(2).start().await;
    let workers = server.worker_processes();
    server.process().kill();
    wait_for_end(&workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_may_finish_after_sigterm() {
    let mut server = ServerOptions::default().start().await;
    let (client, query_id) = (server.client().clone(), Uuid::now_v7());
    let statement = "SELECT count(*) FROM generate_series(1, 200000000)";
    let running = tokio::spawn(async move {
        client
            .execute_as(statement, query_id)
            .await?
            .collect()
            .await
    });
    wait_for_state(&server, query_id, "RUNNING").await;
    signal(server.process().id(), "TERM");
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.scalar().as_deref(), Some("200000000"));
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_statement_does_not_keep_the_server_alive() {
    let server = ServerOptions::default().start().await;
    let (client, query_id) = (server.client().clone(), Uuid::now_v7());
    let running =
        tokio::spawn(async move { client.execute_as(ENDLESS, query_id).await?.collect().await });
    wait_for_state(&server, query_id, "RUNNING").await;
    assert!(server.stop().success());
    assert!(running.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_its_statement() {
    let server = ServerOptions::default().workers(2).start().await;
    for setting in ["SET distribution = 'never'", ALWAYS_DISTRIBUTE] {
        let client = server.client().with_session();
        client.query(setting).await.unwrap();
        let query_id = Uuid::now_v7();
        let running =
            tokio::spawn(
                async move { client.execute_as(ENDLESS, query_id).await?.collect().await },
            );
        wait_for_state(&server, query_id, "RUNNING").await;
        running.abort();
        wait_for_state(&server, query_id, "CANCELED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_timeout_ends_the_statement() {
    let server = ServerOptions::default().start().await;
    let client = server.client().with_session();
    client
        .query("SET statement_timeout = '300ms'")
        .await
        .unwrap();
    let error = client.query(ENDLESS).await.unwrap_err();
    assert_eq!(error.code(), "57014", "{error:?}");
    client.query("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_the_same_data_folder_is_refused() {
    let server = ServerOptions::default().start().await;
    let mut second = ServerOptions::default().spawn(server.folder().path());
    let status = wait_for("the second server has ended", END_TIMEOUT, async || {
        second.ended()
    })
    .await;
    assert!(!status.success());
    let said = second.stderr();
    assert!(
        said.contains(&server.data_dir().display().to_string()),
        "the folder is named: {said}"
    );
    server.sql("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_users_outlive_a_restart() {
    let server = ServerOptions::default().start().await;
    server
        .sql("CREATE TABLE main.kept AS SELECT 42 AS answer")
        .await;
    let folder = server.folder();
    assert!(server.stop().success());
    let server = ServerOptions::default().start_in(folder).await;
    assert_eq!(server.rows("SELECT * FROM main.kept").await, [["42"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_the_cluster_and_queries_go_on() {
    let server = ServerOptions::default().workers(2).start().await;
    let ids = "SELECT worker_id FROM system.workers WHERE state = 'ACTIVE' ORDER BY 1";
    let before = server.rows(ids).await;
    signal(server.worker_processes()[0], "KILL");
    wait_for("a worker has left", Duration::from_secs(5), async || {
        let now = server.rows(ids).await;
        before.iter().any(|id| !now.contains(id)).then_some(())
    })
    .await;
    let client = server.client().with_session();
    client.query(ALWAYS_DISTRIBUTE).await.unwrap();
    client
        .query("CREATE TABLE main.numbers AS SELECT * FROM generate_series(1, 10000) AS s(n)")
        .await
        .unwrap();
    let sum = client
        .query("SELECT sum(n) FROM main.numbers")
        .await
        .unwrap();
    assert_eq!(sum.scalar().as_deref(), Some("50005000"));
}

fn join(server: &Server, folder: &tempfile::TempDir, secret: &str) -> Process {
    let mut command = tarn();
    command.args(["worker", "--coordinator", &server.url()]);
    command
        .env("TARN__LISTEN__WORKER", "127.0.0.1:0")
        .env(CLUSTER_SECRET, secret)
        .current_dir(folder.path());
    Process::start("worker", command, folder.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_from_elsewhere_joins_and_drains() {
    let server = ServerOptions::default()
        .set(CLUSTER_SECRET, "a shared secret of some length")
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = join(&server, &folder, "a shared secret of some length");
    server.wait_for_workers(1).await;
    let client = server.client().with_session();
    client.query(ALWAYS_DISTRIBUTE).await.unwrap();
    client
        .query("CREATE TABLE main.numbers AS SELECT * FROM generate_series(1, 1000) AS s(n)")
        .await
        .unwrap();
    let sum = client
        .query("SELECT sum(n) FROM main.numbers")
        .await
        .unwrap();
    assert_eq!(sum.scalar().as_deref(), Some("500500"));
    assert!(
        worker
            .terminate(END_TIMEOUT)
            .expect("the worker drains and ends")
            .success()
    );
    server.wait_for_workers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_the_secret_is_refused() {
    let server = ServerOptions::default()
        .set(CLUSTER_SECRET, "a shared secret of some length")
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = join(&server, &folder, "another secret of the same size");
    let said = wait_for(
        "the worker says that it is refused",
        END_TIMEOUT,
        async || {
            let said = worker.stdout() + &worker.stderr();
            let refused = ["secret", "credential"]
                .iter()
                .any(|word| said.contains(word));
            (refused || worker.ended().is_some()).then_some(said)
        },
    )
    .await;
    assert!(
        ["secret", "credential"]
            .iter()
            .any(|word| said.contains(word)),
        "{said}"
    );
    assert!(
        !said.contains("another secret of the same size"),
        "the secret is in the log"
    );
    assert_eq!(server.active_workers().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_need_no_password() {
    let server = ServerOptions::default().start().await;
    let http = reqwest::Client::new();
    for (path, said) in [
        ("/health/live", ""),
        ("/health/ready", ""),
        ("/metrics", "# TYPE tarn_"),
    ] {
        let response = http.get(server.url() + path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let body = response.text().await.unwrap();
        assert!(body.contains(said), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generated_password_is_printed_once() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let start = |name| {
        let mut command = tarn();
        command
            .arg("server")
            .arg("--data-dir")
            .arg(folder.path().join("data"));
        for door in ["HTTP", "FLIGHT", "POSTGRES", "WORKER"] {
            command.env(format!("TARN__LISTEN__{door}"), "127.0.0.1:0");
        }
        Process::start(name, command, folder.path())
    };
    let password_line = |process: &Process| {
        let said = process.stdout() + &process.stderr();
        said.lines()
            .find(|line| line.to_lowercase().contains("password"))
            .map(str::to_owned)
    };
    let ready = |process: &Process| process.stdout().contains("\"ready\"").then_some(());

    let mut first = start("first");
    wait_for("the first server is ready", END_TIMEOUT, async || {
        ready(&first)
    })
    .await;
    assert!(
        password_line(&first).is_some(),
        "no password in {}{}",
        first.stdout(),
        first.stderr()
    );
    first.terminate(END_TIMEOUT).unwrap();
    let second = start("second");
    wait_for("the second server is ready", END_TIMEOUT, async || {
        ready(&second)
    })
    .await;
    assert_eq!(password_line(&second), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value, named) in [
        ("TARN__LISTEN__HTPP", "127.0.0.1:0", "htpp"),
        ("TARN__LISTEN__HTTP", "nonsense", "nonsense"),
        (
            "TARN__STORAGE__S3__ENDPONT",
            "http://127.0.0.1:1",
            "endpont",
        ),
    ] {
        let mut process = ServerOptions::default()
            .set(key, value)
            .spawn(folder.path());
        let status = wait_for("the server has ended", END_TIMEOUT, async || {
            process.ended()
        })
        .await;
        assert!(!status.success(), "{key}={value} was accepted");
        let said = process.stderr();
        assert!(
            said.to_lowercase().contains(named),
            "{named} is not named in {said}"
        );
    }
}

/// Fails in its second batch, at once after the first.
const FAILS_MIDWAY: &str = "SELECT 1 / (8200 - i) FROM generate_series(1, 100000) AS g(i)";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fails_midway_tells_why() {
    let server = ServerOptions::default().start().await;
    for attempt in 0..30 {
        match server.client().query(FAILS_MIDWAY).await {
            Err(ClientError::Server(error)) => assert_eq!(error.code, "22012", "{error:?}"),
            other => panic!("attempt {attempt}: {other:?}"),
        }
    }
}
