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

/// Where the row groups of a file begin, in bytes, as its table's metadata says. Travels as an extension of its
/// `PartitionedFile`, and not to workers. Offsets that are wrong cost balance only: ranges cover the file all the same.
#[derive(Debug, Clone)]
pub(crate) struct SplitOffsets(Arc<[u64]>);

impl SplitOffsets {
    /// The offsets of a file of `size` bytes. `None` if they are unknown or cannot be true.
    ///
    /// Source: Iceberg spec, `split_offsets`: ascending, each within the file.
    pub(crate) fn new(offsets: &[i64], size: u64) -> Option<Self> {
        let offsets: Option<Vec<u64>> = offsets.iter().map(|o| u64::try_from(*o).ok()).collect();
        let offsets = offsets.filter(|offsets| offsets.is_sorted())?;
        let last = offsets.last().copied()?;
        (last < size).then(|| Self(offsets.into()))
    }

    /// Ends of pieces of `start..end` of whole row groups, each at most `range` bytes if its row groups allow.
    fn ends(&self, start: u64, end: u64, range: u64) -> Vec<u64> {
        let inside: Vec<u64> = self
            .0
            .iter()
            // The bytes in front of the first row group are its own.
            .skip(1)
            .copied()
            .filter(|offset| (start + 1..end).contains(offset))
            .chain([end])
            .collect();
        let mut from = start;
        let mut ends = Vec::new();
        for pair in inside.windows(2) {
            if pair[1] - from > range {
                ends.push(pair[0]);
                from = pair[0];
            }
        }
        ends.push(end);
        ends
    }
}

/// Bytes that the scan will fetch from storage, by file sizes and the columns it reads.
pub fn bytes(scan: &IcebergScan) -> u64 {
    scan.bytes_to_read()
}

/// Cuts a scan into `task_count` disjoint scans that together read every row once.
///
/// Task `i` is meant for worker `i` of the sorted `workers` (modulo their number); route it there for caches to hit.
/// All variants have one schema and one partition count, at most `target_partitions`.
///
/// A file is cut into ranges only if it is larger than half a task's fair share (all bytes ÷ tasks), and between row
/// groups where it is known where they begin: who has the first byte of a row group reads all of it. A task is given
/// units until it holds 1.25 fair shares; a unit that finds its best tasks full goes on in its ranking, and last to the
/// emptiest task. So no task reads more than max(1.25 × fair share, fair share + the largest unit), where a unit is at
/// most max(half a fair share, 1 MiB), or one row group.
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
    let ends = match file.extension::<SplitOffsets>() {
        Some(offsets) => offsets.ends(start, end, range),
        None => even_ends(start, end, range),
    };
    if ends.len() <= 1 {
        return vec![file.clone()];
    }
    let begins = std::iter::once(start).chain(ends.clone());
    let ranges = begins.zip(ends);
    ranges
        .map(|(from, to)| {
            let mut file = file.clone();
            file.range = Some(FileRange {
                start: i64::try_from(from).unwrap_or(i64::MAX),
                end: i64::try_from(to).unwrap_or(i64::MAX),
            });
            file
        })
        .collect()
}

/// Ends of pieces of about equal size, each at most `range` bytes.
fn even_ends(start: u64, end: u64, range: u64) -> Vec<u64> {
    let pieces = end.saturating_sub(start).div_ceil(range).max(1);
    let size = end.saturating_sub(start).div_ceil(pieces);
    (1..=pieces)
        .map(|piece| (start + piece * size).min(end))
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
    fn a_file_is_cut_between_row_groups() {
        let of = |offsets: &[i64]| {
            let mut file = files([100 * MIB]).remove(0);
            if let Some(offsets) = SplitOffsets::new(offsets, 100 * MIB) {
                file = file.with_extension(offsets);
            }
            let ranges = cut(&file, 30 * MIB).into_iter();
            ranges.map(|piece| piece.range()).collect::<Vec<_>>()
        };
        let mib = |n: u64| i64::try_from(n * MIB).unwrap();
        assert_eq!(
            of(&[4, mib(10), mib(20), mib(40), mib(90)]),
            [
                (0, 20 * MIB),
                (20 * MIB, 40 * MIB),
                (40 * MIB, 90 * MIB),
                (90 * MIB, 100 * MIB)
            ]
        );
        // One row group is read by one task, whatever its size.
        assert_eq!(of(&[4]), [(0, 100 * MIB)]);
        // What cannot be true is as if it were unknown.
        for untrue in [&[][..], &[-4], &[4, mib(200)], &[mib(50), 4]] {
            assert_eq!(of(untrue).len(), 4, "{untrue:?}");
        }
    }

    #[test]
    fn row_groups_of_a_large_file_are_dealt_evenly() {
        let offsets: Vec<i64> = (0..8).map(|n| 4 + n * 32 * (1 << 20)).collect();
        let file = files([256 * MIB]).remove(0);
        let file = file.with_extension(SplitOffsets::new(&offsets, 256 * MIB).unwrap());
        let tasks = assign(vec![file], &slots(4), 2);
        for task in tasks {
            let load: u64 = task.iter().map(PartitionedFile::effective_size).sum();
            assert!((60 * MIB..=68 * MIB).contains(&load), "{load}");
        }
    }

    #[test]
    fn a_single_large_file_reaches_every_task() {
        let tasks = assign(files([300 * MIB]), &slots(3), 2);
        assert!(tasks.iter().all(|task| !task.is_empty()));
    }
}
