//! Which task reads which file.
//!
//! Files go to the same worker again and again, so that its caches hit: each file (or range of a big file) has a
//! ranking of workers by rendezvous hash, and goes to the first that is not full. Pure functions over a scan. Refuses
//! to know the distribution engine.

use std::hash::Hasher;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_datasource::{FileRange, PartitionedFile};
use twox_hash::XxHash64;
use url::Url;

use super::leaf::{IcebergScan, ScanFacts};

/// A range of a file is not cut below this many bytes: a row group is seldom smaller.
const RANGE_BYTES_MIN: u64 = 1 << 20;
/// A task takes files that rank it first up to its fair share times this many quarters.
const FULL_QUARTERS: u64 = 5;

/// Bytes that the scan will fetch from storage, by file sizes and the columns it reads.
pub fn bytes(scan: &IcebergScan) -> u64 {
    scan.bytes_to_read()
}

/// Cuts a scan into `task_count` disjoint scans that together read every row once.
///
/// Task `i` is meant for worker `i` of the sorted `workers` (modulo their number); route it there for caches to hit.
/// All variants have one schema and one partition count, at most `target_partitions`.
///
/// A file is cut into ranges only if it is larger than half a task's fair share (all bytes ÷ tasks). A task is given
/// units until it holds 1.25 fair shares; a unit that finds its best tasks full goes on in its ranking, and last to the
/// emptiest task. So no task reads more than max(1.25 × fair share, fair share + the largest unit), where a unit is at
/// most max(half a fair share, 1 MiB).
///
/// # Errors
/// None today: the planner's hook may fail, so this may.
pub fn scale_up(
    scan: &IcebergScan,
    task_count: usize,
    workers: &[Url],
    target_partitions: usize,
) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    let task_count = task_count.max(1);
    let target_partitions = target_partitions.max(1);
    let names = slot_names(task_count, workers);
    let tasks = assign(scan.files().cloned().collect(), &names, target_partitions);
    let grouped: Vec<Vec<Vec<PartitionedFile>>> = tasks
        .into_iter()
        .map(|files| spread(&files, target_partitions))
        .collect();
    let partitions = grouped.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let variants = grouped.into_iter().enumerate().map(|(task, mut groups)| {
        groups.resize_with(partitions, Vec::new);
        let facts = facts_of_task(scan.facts(), task, &groups);
        let groups = groups.into_iter().map(FileGroup::new).collect();
        scan.with_groups(groups, Arc::new(facts)).into_plan()
    });
    Ok(variants.collect())
}

/// Pruned files and manifests are told by the first task alone, so that sums over tasks are right.
fn facts_of_task(facts: &ScanFacts, task: usize, groups: &[Vec<PartitionedFile>]) -> ScanFacts {
    let files = groups.iter().map(Vec::len).sum::<usize>() as u64;
    let first = |count: u64| if task == 0 { count } else { 0 };
    ScanFacts {
        files_total: files + first(facts.files_pruned),
        files_pruned: first(facts.files_pruned),
        manifests_total: first(facts.manifests_total),
        manifests_pruned: first(facts.manifests_pruned),
        ..facts.clone()
    }
}

fn slot_names(task_count: usize, workers: &[Url]) -> Vec<String> {
    let mut urls: Vec<&str> = workers.iter().map(Url::as_str).collect();
    urls.sort_unstable();
    (0..task_count)
        .map(|task| match urls.len() {
            0 => format!("task {task}"),
            n if task < n => urls[task].to_owned(),
            n => format!("{} {}", urls[task % n], task / n),
        })
        .collect()
}

fn assign(
    files: Vec<PartitionedFile>,
    slots: &[String],
    target_partitions: usize,
) -> Vec<Vec<PartitionedFile>> {
    let total: u64 = files.iter().map(PartitionedFile::effective_size).sum();
    let fair = total.div_ceil(slots.len() as u64).max(1);
    let range = fair.div_ceil(target_partitions as u64).max(RANGE_BYTES_MIN);
    let mut units: Vec<PartitionedFile> = Vec::with_capacity(files.len());
    for file in files {
        if slots.len() > 1 && file.effective_size() > (fair / 2).max(RANGE_BYTES_MIN) {
            units.extend(cut(&file, range));
        } else {
            units.push(file);
        }
    }
    units.sort_by(|a, b| {
        b.effective_size()
            .cmp(&a.effective_size())
            .then_with(|| key(a).cmp(&key(b)))
    });
    let full = fair.saturating_mul(FULL_QUARTERS) / 4;
    let mut loads = vec![0u64; slots.len()];
    let mut tasks = vec![Vec::new(); slots.len()];
    for unit in units {
        let size = unit.effective_size();
        let fits = (0..slots.len()).filter(|slot| loads[*slot] + size <= full);
        let best = fits
            .max_by_key(|slot| score(&unit, &slots[*slot]))
            .or_else(|| (0..slots.len()).min_by_key(|slot| loads[*slot]))
            .unwrap_or(0);
        loads[best] += size;
        tasks[best].push(unit);
    }
    tasks
}

/// Spreads the files of one task over at most `partitions` groups of about equal bytes, cutting big files.
fn spread(files: &[PartitionedFile], partitions: usize) -> Vec<Vec<PartitionedFile>> {
    let total: u64 = files.iter().map(PartitionedFile::effective_size).sum();
    let range = total.div_ceil(partitions as u64).max(RANGE_BYTES_MIN);
    let mut units: Vec<PartitionedFile> = files.iter().flat_map(|file| cut(file, range)).collect();
    units.sort_by(|a, b| {
        b.effective_size()
            .cmp(&a.effective_size())
            .then_with(|| key(a).cmp(&key(b)))
    });
    balance(units, partitions)
}

/// Puts units, biggest first, into the emptiest of at most `partitions` groups. Ranges stay in the order given.
pub(crate) fn balance(units: Vec<PartitionedFile>, partitions: usize) -> Vec<Vec<PartitionedFile>> {
    let mut groups = vec![Vec::new(); partitions.min(units.len()).max(1)];
    let mut loads = vec![0u64; groups.len()];
    for unit in units {
        let emptiest = (0..loads.len())
            .min_by_key(|group| loads[*group])
            .unwrap_or(0);
        loads[emptiest] += unit.effective_size().max(1);
        groups[emptiest].push(unit);
    }
    groups
}

fn cut(file: &PartitionedFile, range: u64) -> Vec<PartitionedFile> {
    let (start, end) = file.range();
    let pieces = (end.saturating_sub(start)).div_ceil(range);
    if pieces <= 1 {
        return vec![file.clone()];
    }
    let size = (end - start).div_ceil(pieces);
    (0..pieces)
        .map(|piece| {
            let mut file = file.clone();
            let from = start + piece * size;
            let to = (from + size).min(end);
            file.range = Some(FileRange {
                start: i64::try_from(from).unwrap_or(i64::MAX),
                end: i64::try_from(to).unwrap_or(i64::MAX),
            });
            file
        })
        .collect()
}

fn key(file: &PartitionedFile) -> (&str, u64) {
    (file.object_meta.location.as_ref(), file.range().0)
}

fn score(file: &PartitionedFile, slot: &str) -> u64 {
    let (path, offset) = key(file);
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(slot.as_bytes());
    hasher.write_u8(0);
    hasher.write(path.as_bytes());
    hasher.write_u64(offset);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MIB: u64 = 1 << 20;

    fn files(sizes: impl IntoIterator<Item = u64>) -> Vec<PartitionedFile> {
        let named = sizes.into_iter().enumerate();
        named
            .map(|(n, size)| PartitionedFile::new(format!("t/data/{n}.parquet"), size))
            .collect()
    }

    fn slots(n: usize) -> Vec<String> {
        (0..n)
            .map(|slot| format!("http://worker-{slot}:7073/"))
            .collect()
    }

    /// Every byte once, and no task above the documented bound.
    fn check_assignment(sizes: &[u64], task_count: usize) {
        let tasks = assign(files(sizes.iter().copied()), &slots(task_count), 4);
        let mut ranges: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for file in tasks.iter().flatten() {
            ranges
                .entry(file.path().to_string())
                .or_default()
                .push(file.range());
        }
        for (n, size) in sizes.iter().enumerate() {
            let mut covered = ranges
                .remove(&format!("t/data/{n}.parquet"))
                .expect("every file has a task");
            covered.sort_unstable();
            let end = covered.iter().fold(0, |at, (from, to)| {
                assert_eq!(at, *from, "ranges touch and do not overlap");
                *to
            });
            assert_eq!(end, *size);
        }
        let total: u64 = sizes.iter().sum();
        let fair = total.div_ceil(task_count as u64);
        let unit = tasks
            .iter()
            .flatten()
            .map(PartitionedFile::effective_size)
            .max()
            .unwrap_or(0);
        for task in &tasks {
            let load: u64 = task.iter().map(PartitionedFile::effective_size).sum();
            assert!(
                load <= (fair * 5 / 4).max(fair + unit),
                "load {load} of fair share {fair}"
            );
        }
    }

    #[test]
    fn every_byte_goes_to_one_task_within_the_bound() {
        check_assignment(&[0; 0], 3);
        check_assignment(&[10], 3);
        check_assignment(&[900 * MIB], 3);
        check_assignment(&[512 * MIB, 3, 3, 3, 40 * MIB], 4);
        check_assignment(&vec![64 * MIB; 100], 7);
    }

    #[test]
    fn a_file_stays_with_its_worker_when_another_file_is_added() {
        let before = assign(files(vec![MIB; 60]), &slots(3), 4);
        let after = assign(files(vec![MIB; 61]), &slots(3), 4);
        let of = |tasks: &[Vec<PartitionedFile>]| -> BTreeMap<String, usize> {
            let placed = tasks.iter().enumerate();
            placed
                .flat_map(|(task, files)| files.iter().map(move |f| (f.path().to_string(), task)))
                .collect()
        };
        let (before, after) = (of(&before), of(&after));
        let moved = before
            .iter()
            .filter(|(path, task)| after.get(*path) != Some(task))
            .count();
        assert!(moved <= 6, "{moved} of 60 files moved");
    }

    #[test]
    fn a_single_large_file_reaches_every_task() {
        let tasks = assign(files([300 * MIB]), &slots(3), 2);
        assert!(tasks.iter().all(|task| !task.is_empty()));
    }
}
