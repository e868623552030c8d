//! Brings TPC-H into the lake: generated files, then one CTAS a table.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use uuid::Uuid;

use super::state::Loaded;
use super::{DemoError, Plan, say};
use crate::client::Client;
use crate::shell::progress::{Watch, count};
use crate::tpch::TABLES;
use crate::tpch::data::{Generation, generate, rows_estimate};

/// How often a progress bar is drawn anew.
const DRAW: Duration = Duration::from_millis(200);

/// Loads the eight tables unless an earlier demo has.
pub(super) async fn ensure_loaded(plan: &Plan, client: &Client) -> Result<(), DemoError> {
    if let Some(loaded) = plan.state.loaded(plan.scale_factor)
        && is_still_there(client, loaded).await
    {
        say(&format!(
            "TPC-H at scale factor {} is already loaded in {}.",
            plan.scale_factor,
            plan.data_dir.display()
        ))?;
        return Ok(());
    }
    plan.state.remember(None)?;
    // Files of an interrupted demo, perhaps of another scale factor.
    remove_staging(plan);
    let rows = generate_files(plan).await?;
    run(client, "CREATE SCHEMA IF NOT EXISTS lake.tpch").await?;
    say("Loading the tables into Iceberg:")?;
    let mut loaded = BTreeMap::new();
    for (table, rows) in TABLES.iter().zip(rows) {
        load_table(plan, client, table, rows).await?;
        loaded.insert((*table).to_owned(), rows);
    }
    remove_staging(plan);
    plan.state.remember(Some(Loaded {
        scale_factor: plan.scale_factor,
        rows: loaded,
    }))
}

/// Whether the tables of an earlier demo have all their rows.
async fn is_still_there(client: &Client, loaded: &Loaded) -> bool {
    for table in TABLES {
        let counted = row_count(client, table).await.ok();
        if counted.is_none() || counted != loaded.rows.get(table).copied() {
            return false;
        }
    }
    true
}

async fn generate_files(plan: &Plan) -> Result<[u64; TABLES.len()], DemoError> {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let bar = progress_bar(rows_estimate(plan.scale_factor), "generating");
    let rows_done = Arc::new(AtomicU64::new(0));
    // Generation runs on threads of its own; dropping this future stops them.
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let folder = plan.staging.clone();
    let scale_factor = plan.scale_factor;
    let (thread_rows_done, thread_stop) = (rows_done.clone(), stop.0.clone());
    let mut generated = tokio::task::spawn_blocking(move || {
        generate(&Generation {
            folder: &folder,
            scale_factor,
            threads,
            rows_done: &thread_rows_done,
            stop: &thread_stop,
        })
    });
    let rows = loop {
        tokio::select! {
            done = &mut generated => break done.map_err(|error| DemoError::Spawn(error.into()))??,
            () = tokio::time::sleep(DRAW) => bar.set_position(rows_done.load(Ordering::Relaxed)),
        }
    };
    bar.finish_and_clear();
    say(&format!(
        "Generated TPC-H at scale factor {scale_factor}: {} rows in {:.1} s.",
        count(rows.iter().sum()),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(rows)
}

async fn load_table(plan: &Plan, client: &Client, table: &str, rows: u64) -> Result<(), DemoError> {
    let started = Instant::now();
    // What an earlier demo left half done.
    run(client, &format!("DROP TABLE IF EXISTS lake.tpch.{table}")).await?;
    let files = plan.staging.join(table).join("*.parquet");
    let files = files.to_string_lossy().replace('\'', "''");
    let statement =
        format!("CREATE TABLE lake.tpch.{table} AS SELECT * FROM read_parquet('{files}')");
    let query_id = Uuid::now_v7();
    let bar = progress_bar(rows, table);
    let watch = Watch::start(client.clone(), query_id);
    {
        let mut loading = std::pin::pin!(async {
            client
                .execute_as(&statement, query_id)
                .await?
                .collect()
                .await
        });
        loop {
            tokio::select! {
                loaded = &mut loading => {
                    loaded.map_err(|source| failed(&statement, source))?;
                    break;
                }
                () = tokio::time::sleep(DRAW) => {
                    bar.set_position(watch.latest().map_or(0, |status| status.rows_scanned).min(rows));
                }
            }
        }
    }
    bar.finish_and_clear();
    let got = row_count(client, table).await?;
    if got != rows {
        return Err(DemoError::RowCount {
            table: table.to_owned(),
            got,
            expected: rows,
        });
    }
    say(&format!(
        "  {table:<9} {rows:>11} rows  {:>6.1} s",
        started.elapsed().as_secs_f64()
    ))?;
    Ok(())
}

async fn row_count(client: &Client, table: &str) -> Result<u64, DemoError> {
    let statement = format!("SELECT count(*) FROM lake.tpch.{table}");
    let counted = client
        .query(&statement)
        .await
        .map_err(|source| failed(&statement, source))?;
    Ok(counted
        .scalar()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0))
}

async fn run(client: &Client, statement: &str) -> Result<(), DemoError> {
    client
        .query(statement)
        .await
        .map_err(|source| failed(statement, source))?;
    Ok(())
}

fn failed(statement: &str, source: crate::client::ClientError) -> DemoError {
    DemoError::Statement {
        what: format!("`{statement}` failed"),
        source: Box::new(source),
    }
}

fn remove_staging(plan: &Plan) {
    for table in TABLES {
        // Files left behind cost space and nothing else; the next load
        // writes the same names.
        let _ = std::fs::remove_dir_all(plan.staging.join(table));
    }
}

/// A bar on the terminal; invisible where there is none.
fn progress_bar(rows: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows);
    let template = "  {msg:<10} {bar:30} {percent:>3} % · {human_pos} rows · {rate}/s · {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("rate", write_rate).progress_chars("█▌░"));
    }
    bar.set_message(what.to_owned());
    bar
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shown with three digits"
)]
fn write_rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A rate that cannot be shown is left out.
    let _ = out.write_str(&count(state.per_sec() as u64));
}

/// Tells the generating threads to stop when the demo no longer waits.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
