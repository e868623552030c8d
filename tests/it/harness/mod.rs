//! What the tests stand on: processes that end with the test, and waiting with a bound.
//!
//! Knows how to start things, not what is true about them.

pub(crate) mod child;
pub(crate) mod disks;
pub(crate) mod namespaces;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod s3;
pub(crate) mod server;

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) use postgres::Postgres;
pub(crate) use python::python;
#[cfg(feature = "zoo")]
pub(crate) use python::spark;
pub(crate) use s3::S3;
pub(crate) use server::{Server, ServerOptions};

/// How long anything that is started may take on a busy machine of two cores.
pub(crate) const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The folder of the checkout.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the virtual environment that `make test-tools` installs.
pub(crate) fn tool(name: &str) -> PathBuf {
    installed(&format!("venv/bin/{name}"))
}

/// Something that `make test-tools` installs, by its path in the cache.
///
/// # Panics
/// If it is not there: a test that needs it cannot be true without it.
pub(crate) fn installed(path: &str) -> PathBuf {
    let cache = std::env::var_os("TARN_CACHE_DIR").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is not set")).join(".cache/tarn"),
        PathBuf::from,
    );
    let path = cache.join(path);
    assert!(
        path.exists(),
        "{} is missing; run `make test-tools`",
        path.display()
    );
    path
}

/// Ports of the loopback interface that nobody listens on; none is given twice.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_with(HashSet::new);
    // All are held open until all are found, so that they differ.
    let mut held = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            held.push(listener);
            if given.insert(port) {
                return port;
            }
        }
    })
}

/// Waits until `condition` gives a value.
///
/// # Panics
/// After `timeout`, saying `what` was waited for.
pub(crate) async fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            started.elapsed() < timeout,
            "waited {timeout:?} in vain for: {what}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Says that a test was not done, past the test runner, which shows nothing of tests that pass. With
/// `TARN_TEST_PRIVILEGED` set nothing is left out.
///
/// # Panics
/// If `TARN_TEST_PRIVILEGED` is set.
pub(crate) fn skip(test: &str, why: &str) {
    let message = format!("\nSKIPPED {test}: this process may not: {why}\n");
    assert!(
        std::env::var_os("TARN_TEST_PRIVILEGED").is_none(),
        "{message}"
    );
    std::io::stderr().write_all(message.as_bytes()).unwrap();
}
