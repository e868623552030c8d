//! A real S3 server: SeaweedFS from its Python wheel, on free ports of this machine.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Weak};

use super::child::Process;
use super::{START_TIMEOUT, free_ports, tool, wait_for};

/// Key that the server knows.
pub(crate) const ACCESS_KEY: &str = "tarn-test-key";

/// Secret of [`ACCESS_KEY`].
pub(crate) const SECRET_KEY: &str = "tarn-test-secret";

/// The bucket that exists.
pub(crate) const BUCKET: &str = "lake";

/// The region that clients must name; the server does not care which.
pub(crate) const REGION: &str = "us-east-1";

/// A running S3 server with one bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    // Dropped before its folder.
    _process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl S3 {
    /// The server that all tests running at this moment share.
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<S3>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: [u16; 11] = free_ports();
        let port = ports[0];
        let mut command = Command::new(tool("weed"));
        command
            .arg("mini")
            .current_dir(folder.path())
            .args(arguments(&folder, &ports));
        let mut process = Process::start("seaweedfs", command, folder.path());
        wait_for("SeaweedFS is ready", START_TIMEOUT, async || {
            assert!(
                process.ended().is_none(),
                "SeaweedFS ended: {}{}",
                process.stdout(),
                process.stderr()
            );
            let said = process.stdout() + &process.stderr();
            said.contains("components are running and ready")
                .then_some(())
        })
        .await;
        Self {
            _process: process,
            port,
            _folder: folder,
        }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A place in the bucket that no other test uses: `s3://lake/…`.
    pub(crate) fn location() -> String {
        format!("s3://{BUCKET}/{}", uuid::Uuid::new_v4())
    }

    /// Configuration of a Tarn process that uses this server.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("ENDPOINT", self.endpoint()),
            ("REGION", REGION.to_owned()),
            ("ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ];
        pairs
            .into_iter()
            .map(|(key, value)| (format!("TARN__STORAGE__S3__{key}"), value))
            .collect()
    }
}

fn arguments(folder: &tempfile::TempDir, ports: &[u16; 11]) -> Vec<String> {
    let identities = serde_json::json!({"identities": [{
        "name": "tarn",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("identities.json"), identities.to_string()).unwrap();
    let mut arguments: Vec<String> = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-volume.max=50",
    ]
    .map(str::to_owned)
    .to_vec();
    let named_ports = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "admin.port",
        "admin.port.grpc",
        "webdav.port",
    ];
    arguments.extend(
        named_ports
            .iter()
            .zip(ports)
            .map(|(name, port)| format!("-{name}={port}")),
    );
    arguments.extend([
        format!("-dir={}", folder.path().display()),
        format!("-bucket={BUCKET}"),
        format!("-s3.config={}", path("identities.json")),
        format!("-s3.localSocket={}", path("s3.sock")),
        format!("-filer.localSocket={}", path("filer.sock")),
    ]);
    arguments
}
