//! What the fragments here are doing: the numbers that heartbeats carry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tarn_engine::MemoryBudget;
use tarn_engine::distribute::FragmentPlan;

/// A statement whose fragments have all ended is reported this much longer.
const REPORT_AFTER_END: Duration = Duration::from_secs(5);

/// What one statement has done here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatementProgress {
    /// Rows that left the scans.
    pub rows: u64,
    /// Bytes read from storage.
    pub bytes: u64,
    /// Fragments taken.
    pub tasks_started: u32,
    /// Fragments that have ended.
    pub tasks_done: u32,
}

#[derive(Debug, Default)]
struct Statement {
    running: Vec<Weak<FragmentPlan>>,
    ended: StatementProgress,
    last: HashMap<usize, (u64, u64)>,
    quiet_since: Option<Instant>,
}

/// The statements with fragments here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProgressBoard {
    statements: Arc<Mutex<HashMap<String, Statement>>>,
    memory: MemoryBudget,
}

impl ProgressBoard {
    /// A board without statements, in a process that has `memory` for them.
    pub fn new(memory: MemoryBudget) -> Self {
        Self {
            statements: Arc::default(),
            memory,
        }
    }

    /// Bytes that statements hold here.
    pub fn memory_reserved(&self) -> u64 {
        self.memory.reserved() as u64
    }

    /// Begins to watch a fragment; it counts as ended when its plan is dropped.
    pub fn watch(&self, query_id: &str, plan: &Arc<FragmentPlan>) {
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let statement = statements.entry(query_id.to_owned()).or_default();
        statement.running.push(Arc::downgrade(plan));
        statement.ended.tasks_started += 1;
        statement.quiet_since = None;
    }

    /// The numbers of every statement at this moment; forgets those that ended a while ago.
    pub fn report(&self) -> Vec<(String, StatementProgress)> {
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut out = vec![];
        statements.retain(|query_id, statement| {
            out.push((query_id.clone(), statement.read()));
            let quiet = statement.quiet_since;
            quiet.is_none_or(|since| since.elapsed() < REPORT_AFTER_END)
        });
        out
    }
}

impl Statement {
    fn read(&mut self) -> StatementProgress {
        let mut running = vec![];
        for weak in std::mem::take(&mut self.running) {
            let key = weak.as_ptr() as usize;
            if let Some(plan) = weak.upgrade() {
                let totals = plan.totals();
                self.last.insert(key, (totals.rows, totals.bytes));
                running.push(weak);
            } else {
                let (rows, bytes) = self.last.remove(&key).unwrap_or_default();
                self.ended.rows += rows;
                self.ended.bytes += bytes;
                self.ended.tasks_done += 1;
            }
        }
        if running.is_empty() && self.quiet_since.is_none() {
            self.quiet_since = Some(Instant::now());
        }
        self.running = running;
        let mut out = self.ended;
        for (rows, bytes) in self.last.values() {
            out.rows += rows;
            out.bytes += bytes;
        }
        out
    }
}
