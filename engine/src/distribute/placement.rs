//! Where a statement runs: in the coordinator or on the workers, and the reason in words.
//!
//! Pure: looks at a finished single-process plan and at how many workers there are.

use std::sync::{Arc, OnceLock};

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::ExecutionPlan;

use crate::scan;

/// What the session asked for (`distribution`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlacementWish {
    /// Decide by the bytes to read.
    #[default]
    Auto,
    /// On the workers if there are any.
    Always,
    /// In the coordinator.
    Never,
}

impl PlacementWish {
    /// Reads the setting's text.
    pub fn from_setting(text: &str) -> Self {
        match text {
            "always" => Self::Always,
            "never" => Self::Never,
            _ => Self::Auto,
        }
    }
}

/// The decision for one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whether stages go to workers.
    pub distributed: bool,
    /// Bytes of data files that the plan reads, after pruning.
    pub bytes: u64,
    /// Why, for EXPLAIN.
    pub reason: String,
}

/// Bytes that a leaf reads, if it reads an Iceberg table or files.
pub(crate) fn leaf_bytes(leaf: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    if let Some(scan) = scan::as_scan(leaf) {
        return Some(scan::bytes(scan));
    }
    let source = leaf.downcast_ref::<DataSourceExec>()?;
    let files = source.data_source().downcast_ref::<FileScanConfig>()?;
    Some(
        files
            .file_groups
            .iter()
            .flat_map(datafusion::datasource::physical_plan::FileGroup::files)
            .map(PartitionedFile::effective_size)
            .sum(),
    )
}

/// Decides for `plan`, whose leaves read tables and files.
pub(crate) fn decide(
    plan: &Arc<dyn ExecutionPlan>,
    wish: PlacementWish,
    bytes_min: u64,
    workers: usize,
) -> Placement {
    let mut bytes = 0u64;
    let mut scans = 0usize;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        if let Some(read) = leaf_bytes(node) {
            bytes = bytes.saturating_add(read);
            scans += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let size = human_bytes(bytes);
    let (distributed, reason) = if workers == 0 {
        (false, format!("reads {size}; no worker is active"))
    } else if scans == 0 {
        (false, "reads no table and no file".to_owned())
    } else {
        match wish {
            PlacementWish::Never => (false, format!("reads {size}; distribution = never")),
            PlacementWish::Always => (true, format!("reads {size}; distribution = always")),
            PlacementWish::Auto if bytes < bytes_min => (
                false,
                format!(
                    "reads {size}, less than distribution_bytes_min ({})",
                    human_bytes(bytes_min)
                ),
            ),
            PlacementWish::Auto => (
                true,
                format!(
                    "reads {size}, at least distribution_bytes_min ({})",
                    human_bytes(bytes_min)
                ),
            ),
        }
    };
    Placement {
        distributed,
        bytes,
        reason,
    }
}

/// Bytes in binary units, one decimal.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Carries wish and decision of one statement through planning.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlacementSlot {
    wish: PlacementWish,
    bytes_min: u64,
    workers: usize,
    decided: Arc<OnceLock<Placement>>,
}

impl PlacementSlot {
    pub(crate) fn new(wish: PlacementWish, bytes_min: u64, workers: usize) -> Self {
        Self {
            wish,
            bytes_min,
            workers,
            decided: Arc::default(),
        }
    }

    pub(crate) fn wish(&self) -> PlacementWish {
        self.wish
    }

    pub(crate) fn get(&self) -> Option<&Placement> {
        self.decided.get()
    }

    /// Decides once, by the first plan shown.
    pub(crate) fn decide(&self, plan: &Arc<dyn ExecutionPlan>) -> &Placement {
        self.decided
            .get_or_init(|| decide(plan, self.wish, self.bytes_min, self.workers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::empty::EmptyExec;

    #[test]
    fn a_plan_without_tables_stays_in_the_coordinator() {
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let placement = decide(&plan, PlacementWish::Always, 0, 3);
        assert!(!placement.distributed);
        assert_eq!(placement.reason, "reads no table and no file");
    }

    #[test]
    fn bytes_are_shown_in_binary_units() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(32 << 20), "32.0 MiB");
    }
}
