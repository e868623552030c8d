//! Temporary tables: seen by their session only, gone with it, also when the server dies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::server::{ALWAYS_DISTRIBUTE, sql, text};
use crate::harness::{ServerOptions, wait_for};

/// Leftovers are removed at most this long after a start.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Files below `folder` that belong to temporary tables.
fn temporary_files(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += temporary_files(&path);
        } else if path.to_string_lossy().contains("pg_temp_") {
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_belong_to_their_session_and_do_not_outlive_the_server() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut server = ServerOptions::default()
        .workers(2)
        .start_in(Arc::clone(&folder))
        .await;
    let (mine, other) = (
        server.client().with_session(),
        server.client().with_session(),
    );
    sql(&mine, ALWAYS_DISTRIBUTE).await;
    sql(&mine, "CREATE TEMP TABLE t AS SELECT 1 AS id").await;
    sql(&mine, "INSERT INTO t SELECT * FROM generate_series(2, 100)").await;
    let counted = sql(&mine, "SELECT count(*) FROM t").await;
    assert_eq!(counted.scalar().as_deref(), Some("100"));

    let error = other.query("SELECT count(*) FROM t").await.unwrap_err();
    assert_eq!(error.code(), "42P01");
    sql(&other, "CREATE TEMP TABLE t AS SELECT 'another' AS kind").await;
    let found = sql(&other, "SELECT kind FROM t").await;
    assert_eq!(found.scalar().as_deref(), Some("another"));
    for listing in [
        "SHOW SCHEMAS",
        "SELECT schema_name FROM information_schema.schemata",
        "SELECT table_schema FROM information_schema.tables",
    ] {
        let rows = text(sql(&other, listing).await.rows());
        let own = rows
            .iter()
            .flatten()
            .filter(|name| name.starts_with("pg_temp_"));
        assert!(own.count() <= 1, "{listing}: {rows:?}");
    }

    let warehouse = server.data_dir().join("warehouse");
    assert!(temporary_files(&warehouse) > 0);
    server.process().kill();
    drop(server);
    let server = ServerOptions::default().start_in(folder).await;
    wait_for("the leftovers are removed", REMOVAL_TIMEOUT, async || {
        (temporary_files(&warehouse) == 0).then_some(())
    })
    .await;
    let rows = server.rows("SELECT 1").await;
    assert_eq!(rows, [["1"]]);
}
