//! How much one process keeps of what it reads, unless the configuration says.

use std::path::Path;

use tarn_catalog::{RangeCache, RangeCacheConfig};

use super::machine;
use crate::config::Cache;

/// Part of the memory that parts of data files may take in all processes together, in percent. Operators have 70.
const RANGES_PERCENT: u64 = 15;
/// Part of the memory for footers, in percent, and its bounds in bytes.
const FOOTERS_PERCENT: u64 = 2;
const FOOTER_BYTES_MIN: u64 = 50 << 20;
const FOOTER_BYTES_MAX: u64 = 1 << 30;
/// Part of the free disk that all processes together may take, in percent, and its bound in bytes.
const DISK_PERCENT: u64 = 10;
const DISK_BYTES_MAX: u64 = 10 << 30;

/// The bounds of the caches of one process.
#[allow(clippy::struct_field_names, reason = "each says its unit")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheBounds {
    pub(crate) footer_bytes: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl CacheBounds {
    /// For each of `processes` equal processes of this machine, whose folders are in `data_dir`.
    pub(crate) fn new(config: &Cache, data_dir: &Path, processes: usize) -> Self {
        let processes = processes.max(1) as u64;
        let percent = |of: u64, part: u64| of / 100 * part / processes;
        let memory = machine::memory_bytes();
        let footers = percent(memory, FOOTERS_PERCENT).clamp(FOOTER_BYTES_MIN, FOOTER_BYTES_MAX);
        let disk = || {
            let free = free_bytes(data_dir);
            percent(free, DISK_PERCENT).min(DISK_BYTES_MAX / processes)
        };
        Self {
            footer_bytes: config
                .footer_bytes
                .unwrap_or_else(|| usize::try_from(footers).unwrap_or(usize::MAX)),
            memory_bytes: config
                .memory_bytes
                .unwrap_or_else(|| percent(memory, RANGES_PERCENT)),
            disk_bytes: config.disk_bytes.unwrap_or_else(disk),
        }
    }

    /// Memory that these caches take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory_bytes + self.footer_bytes as u64
    }

    /// The range cache of this process, with what an earlier one left in `data_dir`.
    pub(crate) fn ranges(&self, data_dir: &Path) -> RangeCache {
        RangeCache::new(&RangeCacheConfig {
            memory_bytes: self.memory_bytes,
            disk_folder: data_dir.join("cache"),
            disk_bytes: self.disk_bytes,
        })
    }
}

/// Free bytes of the disk that `folder`, or the first folder above it that is there, is on.
fn free_bytes(folder: &Path) -> u64 {
    let there = folder.ancestors().find(|folder| folder.exists());
    // A relative path ends in nothing: this folder.
    let there = there.filter(|folder| !folder.as_os_str().is_empty());
    match fs4::available_space(there.unwrap_or(Path::new("."))) {
        Ok(free) => free,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "free disk space is unknown; nothing is cached on disk");
            0
        }
    }
}
