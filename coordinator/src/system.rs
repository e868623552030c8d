//! The rows of `system.queries`, `system.workers` and `system.settings`.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use tarn_engine::{EngineError, SETTINGS, SystemTables};

use crate::history::{Entry, State};
use crate::statements::Statements;
use crate::workers::{WorkerState, Workers};

const NAMES: &[&str] = &["queries", "settings", "workers"];

/// Answers the engine's questions about this server.
#[derive(Clone, Debug)]
pub struct System {
    workers: Workers,
    statements: Arc<OnceLock<Statements>>,
}

impl System {
    /// Views over these workers; [`Self::attach`] adds the statements.
    pub fn new(workers: Workers) -> Self {
        Self {
            workers,
            statements: Arc::default(),
        }
    }

    /// Adds the statements, which are made after the engine that asks.
    pub fn attach(&self, statements: Statements) {
        // A second call changes nothing: there is one registry in a server.
        let _ = self.statements.set(statements);
    }

    fn queries(&self) -> Result<RecordBatch, EngineError> {
        let entries = self
            .statements
            .get()
            .map(Statements::entries)
            .unwrap_or_default();
        let shown: Vec<Shown> = entries
            .iter()
            .map(|entry| Shown::new(entry, &self.workers))
            .collect();
        let text = |f: &dyn Fn(&Shown) -> Option<String>| -> ArrayRef {
            Arc::new(shown.iter().map(f).collect::<StringArray>())
        };
        let number = |f: &dyn Fn(&Shown) -> u64| -> ArrayRef {
            Arc::new(
                shown
                    .iter()
                    .map(|s| i64::try_from(f(s)).ok())
                    .collect::<Int64Array>(),
            )
        };
        let small = |f: &dyn Fn(&Shown) -> u32| -> ArrayRef {
            Arc::new(
                shown
                    .iter()
                    .map(|s| i32::try_from(f(s)).ok())
                    .collect::<Int32Array>(),
            )
        };
        let distributed: BooleanArray = shown.iter().map(|s| Some(s.distributed)).collect();
        Ok(RecordBatch::try_from_iter_with_nullable(vec![
            ("query_id", text(&|s| Some(s.entry.query_id.clone())), false),
            ("state", text(&|s| Some(s.state.name().to_owned())), false),
            ("user_name", text(&|s| Some(s.entry.user.clone())), false),
            (
                "statement",
                text(&|s| Some(s.entry.statement.clone())),
                false,
            ),
            ("catalog", text(&|s| Some(s.entry.catalog.clone())), false),
            ("schema", text(&|s| Some(s.entry.schema.clone())), false),
            ("door", text(&|s| Some(s.entry.door.to_owned())), false),
            (
                "started_at",
                times(shown.iter().map(|s| s.entry.started_at)),
                false,
            ),
            ("elapsed_ms", number(&|s| s.elapsed_ms), false),
            ("rows_out", number(&|s| s.rows_out), false),
            ("rows_scanned", number(&|s| s.rows_scanned), false),
            ("bytes_scanned", number(&|s| s.bytes_scanned), false),
            ("tasks_total", small(&|s| s.tasks_total), false),
            ("tasks_done", small(&|s| s.tasks_done), false),
            ("distributed", Arc::new(distributed) as ArrayRef, false),
            (
                "error_code",
                text(&|s| s.error_code.map(str::to_owned)),
                true,
            ),
            ("error", text(&|s| s.error.clone()), true),
        ])?)
    }

    fn worker_rows(&self) -> Result<RecordBatch, EngineError> {
        let all = self.workers.list();
        let text = |f: &dyn Fn(&crate::workers::WorkerInfo) -> String| -> ArrayRef {
            Arc::new(all.iter().map(|w| Some(f(w))).collect::<StringArray>())
        };
        let cores: Int32Array = all.iter().map(|w| i32::try_from(w.cores).ok()).collect();
        Ok(RecordBatch::try_from_iter_with_nullable(vec![
            ("worker_id", text(&|w| w.worker_id.clone()), false),
            ("url", text(&|w| w.url.to_string()), false),
            ("cluster", text(&|w| w.cluster.clone()), false),
            ("version", text(&|w| w.version.clone()), false),
            (
                "state",
                text(&|w| match w.state {
                    WorkerState::Active => "ACTIVE".to_owned(),
                    WorkerState::Draining => "DRAINING".to_owned(),
                }),
                false,
            ),
            ("cores", Arc::new(cores) as ArrayRef, true),
            ("started_at", times(all.iter().map(|w| w.started_at)), false),
            (
                "last_heartbeat_at",
                times(all.iter().map(|w| w.last_heartbeat_at)),
                false,
            ),
        ])?)
    }
}

impl SystemTables for System {
    fn names(&self) -> &[&'static str] {
        NAMES
    }

    fn read(&self, name: &str) -> Result<Option<RecordBatch>, EngineError> {
        match name.to_lowercase().as_str() {
            "queries" => self.queries().map(Some),
            "workers" => self.worker_rows().map(Some),
            "settings" => settings().map(Some),
            _ => Ok(None),
        }
    }
}

/// One row of `system.queries`.
struct Shown<'a> {
    entry: &'a Entry,
    state: State,
    elapsed_ms: u64,
    rows_out: u64,
    rows_scanned: u64,
    bytes_scanned: u64,
    tasks_total: u32,
    tasks_done: u32,
    distributed: bool,
    error_code: Option<&'static str>,
    error: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(entry: &'a Entry, workers: &Workers) -> Self {
        let elapsed = entry.elapsed();
        let live = entry.live().clone();
        let mut out = Self {
            entry,
            state: live.state,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            rows_out: live.rows_out,
            rows_scanned: live.rows_scanned,
            bytes_scanned: live.bytes_scanned,
            tasks_total: live.tasks_total,
            tasks_done: live.tasks_done,
            distributed: live.distributed,
            error_code: live.error_code,
            error: live.error,
        };
        if !live.state.ended() {
            if live.distributed {
                let progress = workers.progress(&entry.query_id);
                out.rows_scanned = progress.rows;
                out.bytes_scanned = progress.bytes;
                out.tasks_done = progress.tasks_done.min(out.tasks_total);
            } else if let Some(plan) = live.plan {
                let totals = plan.totals();
                out.rows_scanned = totals.rows;
                out.bytes_scanned = totals.bytes;
            }
        }
        out
    }
}

fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let array: TimestampMicrosecondArray = values.map(|t| Some(t.timestamp_micros())).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn settings() -> Result<RecordBatch, EngineError> {
    let column = |f: fn(&tarn_engine::Setting) -> &str| -> ArrayRef {
        Arc::new(SETTINGS.iter().map(|s| Some(f(s))).collect::<StringArray>())
    };
    Ok(RecordBatch::try_from_iter(vec![
        ("name", column(|s| s.name)),
        ("default_value", column(|s| s.default)),
        ("description", column(|s| s.description)),
    ])?)
}
