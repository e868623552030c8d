//! The resources that all statements of a process share: memory, spill space, object stores, processors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::config::ConfigNonZeroUsize;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use tarn_catalog::{StorageConfig, Stores};

use crate::distribute;
use crate::error::EngineError;
use crate::memory::{MemoryBudget, MemoryLimits};
use crate::processors::Processors;
use crate::stores::StoreRegistry;

/// The shared resources of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineRuntime {
    env: Arc<RuntimeEnv>,
    budget: MemoryBudget,
    processors: Processors,
}

/// Reads the storage configuration that a coordinator sent, once it is unsealed.
///
/// # Errors
/// If it is not what a coordinator of this version sends.
pub fn storage_from_sealed(clear: &[u8]) -> Result<StorageConfig, EngineError> {
    let text = std::str::from_utf8(clear)
        .map_err(|_| EngineError::internal("storage configuration is not text"))?;
    Ok(StorageConfig::from_json(text)?)
}

/// Bounds of one process.
#[derive(Clone, Debug)]
pub struct ResourceLimits {
    /// Memory for the operators of all statements, and of one.
    pub memory: MemoryLimits,
    /// Where operators spill; emptied when the process starts.
    pub spill_dir: PathBuf,
    /// Spill space for all statements, in bytes.
    pub spill_bytes: u64,
    /// Memory for parsed footers of Parquet files, in bytes.
    pub footer_bytes: usize,
    /// Threads that run queries.
    pub threads: usize,
}

impl EngineRuntime {
    /// The resources of a process over `stores`.
    ///
    /// # Errors
    /// If the spill directory cannot be emptied or made, or no thread can be started.
    pub fn start(limits: &ResourceLimits, stores: &Stores) -> Result<Self, EngineError> {
        empty(&limits.spill_dir)?;
        let budget = MemoryBudget::new(limits.memory);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![limits.spill_dir.clone()]))
            .with_max_temp_directory_size(limits.spill_bytes);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(budget.pool_of(NO_QUERY))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(limits.footer_bytes)
            .with_object_store_registry(Arc::new(StoreRegistry::new(stores.clone())))
            .build_arc()?;
        Ok(Self {
            env,
            budget,
            processors: Processors::start(limits.threads)?,
        })
    }

    /// The resources of the statement `query_id`: its own memory, everything else is shared.
    pub(crate) fn of_query(&self, query_id: &str) -> Result<Arc<RuntimeEnv>, EngineError> {
        if query_id.is_empty() {
            return Ok(Arc::clone(&self.env));
        }
        Ok(RuntimeEnvBuilder::from_runtime_env(&self.env)
            .with_memory_pool(self.budget.pool_of(query_id))
            .build_arc()?)
    }

    /// Sets the options that depend on how much memory there is.
    pub(crate) fn fit(&self, config: &mut SessionConfig) {
        let share = self.budget.limits().query_bytes / SORT_RESERVED_PART;
        let reserved = share.clamp(SORT_RESERVED_MIN, SORT_RESERVED_MAX);
        config.options_mut().execution.sort_spill_reservation_bytes = reserved;
        if self.budget.limits().query_bytes < SMALL_BYTES {
            distribute::spare_copies(config.options_mut());
        }
        // Whoever merges what it spilled holds some batches of each of its files.
        let rows = (self.budget.limits().query_bytes / BATCH_ROW_BYTES).max(BATCH_ROWS_MIN);
        if let Ok(rows) = ConfigNonZeroUsize::try_new(rows.min(config.batch_size())) {
            config.options_mut().execution.batch_size = rows;
        }
    }

    /// What belongs to no statement.
    pub fn env(&self) -> &Arc<RuntimeEnv> {
        &self.env
    }

    /// Its memory.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// The threads that run queries.
    pub fn processors(&self) -> &Processors {
        &self.processors
    }

    /// Bytes in spill files at this moment.
    pub fn spilled_bytes(&self) -> u64 {
        self.env.disk_manager.used_disk_space()
    }
}

/// What a sort keeps for merging what it spilled: this part of what its statement may hold, as a divisor, in bounds.
const SORT_RESERVED_PART: usize = 64;
const SORT_RESERVED_MIN: usize = 512 << 10;
/// DataFusion's default.
const SORT_RESERVED_MAX: usize = 10 << 20;
/// Statements that may hold less than this sort with care.
const SMALL_BYTES: usize = 256 << 20;
/// A batch has at most one row for each of these bytes that its statement may hold: 8192 rows from 256 MiB on.
const BATCH_ROW_BYTES: usize = 32 << 10;
/// Batches of fewer rows cost more than they spare.
const BATCH_ROWS_MIN: usize = 512;

/// Holds what the server asks itself.
const NO_QUERY: &str = "";

/// Makes `folder`, without what a process that was killed left in it. The folder itself may be where a disk is mounted.
fn empty(folder: &Path) -> Result<(), EngineError> {
    let failed = |e: std::io::Error| {
        EngineError::internal(format!(
            "spill directory {} cannot be used: {e}",
            folder.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        let removed = if is_folder {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        removed.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_share_everything_but_memory() {
        let folder = tempfile::tempdir().unwrap();
        let spill_dir = folder.path().join("spill");
        std::fs::create_dir_all(spill_dir.join("left-over")).unwrap();
        std::fs::write(spill_dir.join("left-over.arrow"), "").unwrap();
        let limits = ResourceLimits {
            memory: MemoryLimits {
                process_bytes: 1 << 20,
                query_bytes: 1 << 19,
            },
            spill_dir: spill_dir.clone(),
            spill_bytes: 1 << 20,
            footer_bytes: 1 << 20,
            threads: 1,
        };
        let runtime =
            EngineRuntime::start(&limits, &Stores::new(StorageConfig::default())).unwrap();
        assert!(!spill_dir.join("left-over").exists());
        assert!(!spill_dir.join("left-over.arrow").exists());
        let (a, b) = (
            runtime.of_query("a").unwrap(),
            runtime.of_query("b").unwrap(),
        );
        assert!(!Arc::ptr_eq(&a.memory_pool, &b.memory_pool));
        let again = runtime.of_query("a").unwrap();
        assert!(Arc::ptr_eq(&a.memory_pool, &again.memory_pool));
        assert!(Arc::ptr_eq(&a.disk_manager, &b.disk_manager));
        let footers = |env: &RuntimeEnv| env.cache_manager.get_file_metadata_cache();
        assert!(Arc::ptr_eq(&footers(&a), &footers(&b)));
    }
}
