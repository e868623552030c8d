//! `[cache]`: how much of what was read is kept, where.
//!
//! Knows values, not what is in the caches.

use serde::Deserialize;

/// `[cache]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Bytes of manifests in memory.
    pub manifest_bytes: u64,
    /// Bytes of footers in memory.
    pub footer_bytes: Option<usize>,
    /// Bytes of parts of data files in memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of parts of data files on disk.
    pub disk_bytes: Option<u64>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            manifest_bytes: 256 << 20,
            footer_bytes: None,
            memory_bytes: None,
            disk_bytes: None,
        }
    }
}
