//! The resources that all statements of a process share: memory, spill space, object stores.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tarn_catalog::{StorageConfig, Stores};

use crate::error::EngineError;
use crate::stores::StoreRegistry;

/// Memory consumers named in a "resources exhausted" error.
const CONSUMERS_NAMED: usize = 5;

/// The shared resources of a process.
pub type EngineRuntime = Arc<RuntimeEnv>;

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
    /// Memory for the operators of all statements, in bytes.
    pub memory_bytes: usize,
    /// Where operators spill; emptied when the process starts.
    pub spill_dir: PathBuf,
    /// Spill space for all statements, in bytes.
    pub spill_bytes: u64,
    /// Memory for parsed footers of Parquet files, in bytes.
    pub footer_bytes: usize,
}

/// Builds the runtime of a process over `stores`.
///
/// # Errors
/// If the spill directory cannot be emptied or made.
pub fn runtime_env(limits: &ResourceLimits, stores: &Stores) -> Result<EngineRuntime, EngineError> {
    let failed = |e: std::io::Error| {
        EngineError::internal(format!(
            "spill directory {} cannot be used: {e}",
            limits.spill_dir.display()
        ))
    };
    if limits.spill_dir.exists() {
        std::fs::remove_dir_all(&limits.spill_dir).map_err(failed)?;
    }
    std::fs::create_dir_all(&limits.spill_dir).map_err(failed)?;
    let named = NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), named);
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![limits.spill_dir.clone()]))
        .with_max_temp_directory_size(limits.spill_bytes);
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(limits.footer_bytes)
        .with_object_store_registry(Arc::new(StoreRegistry::new(stores.clone())))
        .build_arc()?)
}
