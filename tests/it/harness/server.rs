//! A Tarn server: the real binary, in a folder of its own, on free ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tarn::client::{Client, ClientError, Collected, Login, ServerError, ServerTrust};

use super::child::Process;
use super::{S3, START_TIMEOUT, wait_for};

/// The password of `admin` on every server of the tests.
pub(crate) const PASSWORD: &str = "test-password";

/// Makes every statement of a session run on workers, however small it is.
pub(crate) const ALWAYS_DISTRIBUTE: &str = "SET distribution = 'always'";

/// The configuration variable of the secret that workers and coordinators share.
pub(crate) const CLUSTER_SECRET: &str = "TARN__CLUSTER__SECRET";

/// How to start a server. The default is one process on the local file system.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    workers: usize,
    environment: BTreeMap<String, String>,
    s3: Option<Arc<S3>>,
}

impl ServerOptions {
    /// With this many worker processes.
    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With one more configuration variable.
    pub(crate) fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    /// With files below `folders` that `read_parquet` and its like may read.
    pub(crate) fn allow(self, folders: &[&Path]) -> Self {
        let folders: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        self.set(
            "TARN__STORAGE__ALLOWED_ROOTS",
            serde_json::json!(folders).to_string(),
        )
    }

    /// With a warehouse of its own on `s3`, which lives as long as the server.
    pub(crate) fn s3(mut self, s3: &Arc<S3>) -> Self {
        self.environment.extend(s3.environment());
        self.environment
            .insert("TARN__CATALOG__LAKE__WAREHOUSE".to_owned(), S3::location());
        self.s3 = Some(Arc::clone(s3));
        self
    }

    /// With its metadata in the database at `url`.
    pub(crate) fn metadata(self, url: &str) -> Self {
        self.set("TARN__METADATA__URL", url)
    }

    /// A client of `admin`, over TLS if the server has it.
    fn client(&self, http: &str, folder: &Path) -> Client {
        let authority = if self.environment.contains_key("TARN__TLS__SELF_SIGNED") {
            data_dir(folder).join("tls/ca.pem")
        } else if let Some(cert) = self.environment.get("TARN__TLS__CERT") {
            // The tests' chains hold their authority.
            PathBuf::from(cert)
        } else {
            return Client::new(http, "admin", PASSWORD.into()).unwrap();
        };
        let login = Login::Password {
            user: "admin".to_owned(),
            password: PASSWORD.into(),
        };
        let url = format!("https://{http}");
        Client::with_trust(&url, login, &ServerTrust::File(authority)).unwrap()
    }

    /// Where the warehouse is, if it is not in the data folder.
    pub(crate) fn warehouse(&self) -> Option<&str> {
        self.environment
            .get("TARN__CATALOG__LAKE__WAREHOUSE")
            .map(String::as_str)
    }

    /// Starts a server on a new data folder.
    pub(crate) async fn start(self) -> Server {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        self.start_in(folder).await
    }

    /// Starts a server on `folder`, as it was left there.
    pub(crate) async fn start_in(self, folder: Arc<tempfile::TempDir>) -> Server {
        let process = self.spawn(folder.path());
        Server::ready(process, folder, self).await
    }

    /// Starts the process and does not wait for it.
    pub(crate) fn spawn(&self, folder: &Path) -> Process {
        let mut command = tarn();
        command
            .arg("server")
            .arg("--data-dir")
            .arg(data_dir(folder));
        command.arg("--workers").arg(self.workers.to_string());
        for door in ["HTTP", "FLIGHT", "POSTGRES", "WORKER"] {
            command.env(format!("TARN__LISTEN__{door}"), "127.0.0.1:0");
        }
        command
            .env("TARN__ADMIN_PASSWORD", PASSWORD)
            .envs(&self.environment);
        Process::start("server", command, folder)
    }
}

/// The binary under test, without this process's Tarn and S3 configuration.
pub(crate) fn tarn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarn"));
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("TARN__") || name == "TARN_PASSWORD" || name.starts_with("AWS_") {
            command.env_remove(&key);
        }
    }
    command
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    ready: Value,
    client: Client,
    options: ServerOptions,
    folder: Arc<tempfile::TempDir>,
}

impl Server {
    async fn ready(
        mut process: Process,
        folder: Arc<tempfile::TempDir>,
        options: ServerOptions,
    ) -> Self {
        let ready = wait_for("the server is ready", START_TIMEOUT, async || {
            let line = ready_line(&process.stdout());
            let ended = line.is_none() && process.ended().is_some();
            assert!(
                !ended,
                "the server ended: {}{}",
                process.stdout(),
                process.stderr()
            );
            line
        })
        .await;
        let http = ready["http"]
            .as_str()
            .expect("the ready line names the HTTP door");
        let client = options.client(http, folder.path());
        let server = Self {
            process,
            ready,
            client,
            options,
            folder,
        };
        server.wait_for_workers(server.options.workers).await;
        server
    }

    /// Waits until exactly `count` workers are active.
    pub(crate) async fn wait_for_workers(&self, count: usize) {
        wait_for(
            &format!("{count} workers are active"),
            START_TIMEOUT,
            async || (self.active_workers().await == count).then_some(()),
        )
        .await;
    }

    /// How many workers the server knows to be active.
    pub(crate) async fn active_workers(&self) -> usize {
        let counted = self
            .sql("SELECT count(*) FROM system.workers WHERE state = 'ACTIVE'")
            .await;
        counted.scalar().unwrap().parse().unwrap()
    }

    /// Runs one statement that must succeed.
    pub(crate) async fn sql(&self, statement: &str) -> Collected {
        sql(&self.client, statement).await
    }

    /// Runs one statement and gives its rows as text, `NULL` for NULL.
    pub(crate) async fn rows(&self, statement: &str) -> Vec<Vec<String>> {
        text(self.sql(statement).await.rows())
    }

    /// Runs one statement that the server must refuse, and gives its answer.
    pub(crate) async fn refuses(&self, statement: &str) -> ServerError {
        match self.client.query(statement).await {
            Err(ClientError::Server(error)) => *error,
            Err(error) => panic!("{statement}\nfailed, but not as the server's answer: {error:?}"),
            Ok(answer) => panic!("{statement}\nsucceeded: {:?}", answer.rows()),
        }
    }

    /// A client of `admin` without a session.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// URL of the HTTP door, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        self.client.url().as_str().trim_end_matches('/').to_owned()
    }

    /// Where one of its doors listens: `http`, `flight` or `postgres`.
    pub(crate) fn door(&self, name: &str) -> SocketAddr {
        let door = self.ready[name].as_str();
        let door =
            door.unwrap_or_else(|| panic!("the ready line names no {name} door: {}", self.ready));
        let address = door.rsplit("//").next().unwrap_or(door);
        address
            .parse()
            .unwrap_or_else(|error| panic!("{door}: {error}"))
    }

    /// The folder given as `--data-dir`.
    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    /// A folder that the server may read and the test may fill.
    pub(crate) fn folder(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }

    /// Where tables are: a folder, or `s3://…`.
    pub(crate) fn warehouse(&self) -> String {
        let local = || self.data_dir().join("warehouse").display().to_string();
        self.options.warehouse().map_or_else(local, str::to_owned)
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ids of the worker processes.
    pub(crate) fn worker_processes(&self) -> Vec<u32> {
        self.process.descendants()
    }

    /// Stops it as an operator would.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.process
            .terminate(Duration::from_secs(30))
            .expect("the server did not end within 30 s of SIGTERM")
    }

    /// What the Python witnesses need to open the same catalog.
    pub(crate) fn catalog_for_python(&self) -> Value {
        let metadata = self.options.environment.get("TARN__METADATA__URL");
        let sqlite = || format!("sqlite:///{}", self.data_dir().join("control.db").display());
        let uri = metadata.map_or_else(sqlite, |url| {
            url.replacen("postgres://", "postgresql+psycopg2://", 1)
        });
        let s3 = self.options.s3.as_ref().map(|s3| {
            serde_json::json!({
                "endpoint": s3.endpoint(),
                "region": super::s3::REGION,
                "access_key": super::s3::ACCESS_KEY,
                "secret_key": super::s3::SECRET_KEY,
            })
        });
        serde_json::json!({"uri": uri, "warehouse": self.warehouse(), "s3": s3})
    }
}

/// Runs one statement that must succeed.
pub(crate) async fn sql(client: &Client, statement: &str) -> Collected {
    match client.query(statement).await {
        Ok(collected) => collected,
        Err(error) => panic!("{statement}\nfailed: {}", chain(&error)),
    }
}

/// Rows as text, `NULL` for NULL.
pub(crate) fn text(rows: Vec<Vec<Option<String>>>) -> Vec<Vec<String>> {
    let value = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
    rows.into_iter()
        .map(|row| row.into_iter().map(value).collect())
        .collect()
}

fn ready_line(stdout: &str) -> Option<Value> {
    stdout.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line.get("ready").cloned()
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
