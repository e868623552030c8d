//! How unevenly the tasks of a stage were loaded, and why, as far as what they counted can tell.
//!
//! Pure arithmetic over numbers of tasks: knows no plan and no metric.

use std::collections::BTreeMap;

use super::human_bytes;

/// A stage whose busiest task had more than this times the mean is skewed.
pub(crate) const SKEW_MAX: f64 = 1.5;
/// Fewer rows a task than these, a batch, are not worth spreading.
const ROWS_FEW: u64 = 8192;
/// With fewer groups a partition than these, chance alone spreads them unevenly.
const GROUPS_FEW: u64 = 16;

/// What is known of the tasks of a stage that ran.
#[derive(Clone, Debug, Default)]
pub(super) struct StageFacts {
    /// Rows that came into each task, from its scans and from other stages.
    pub(super) rows: Vec<u64>,
    /// Bytes of data files that each task has read.
    pub(super) read: Vec<u64>,
    /// Bytes of data files that each task was given to read.
    pub(super) given: Vec<u64>,
    /// Files and ranges of files that all tasks were given.
    pub(super) pieces: usize,
    /// The largest of these has this share of their bytes.
    pub(super) piece_share_max: f64,
    /// Rows that each task's scans gave.
    pub(super) scanned: Vec<u64>,
    /// Rows that were sent to each task by the hash of a key.
    pub(super) shuffled: Vec<u64>,
    /// The same rows by hash partition.
    pub(super) partitions: BTreeMap<usize, u64>,
    /// Hash partitions that there are, over all tasks.
    pub(super) partition_count: usize,
    /// Groups that an aggregate over these partitions has made.
    pub(super) groups: Option<u64>,
    /// Rows that each task has gathered from whole tasks of other stages.
    pub(super) gathered: Vec<u64>,
    /// Those tasks.
    pub(super) gathered_tasks: usize,
    /// The inputs of a UNION run in tasks of their own.
    pub(super) union: bool,
}

/// What the load of a task is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Rows that came in.
    Rows,
    /// Bytes that were read of data files.
    Bytes,
}

impl Measure {
    /// Its name in EXPLAIN.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows in",
            Self::Bytes => "bytes read",
        }
    }
}

/// How uneven a stage was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Skew {
    /// Load of the busiest task over the mean; 1 is even.
    pub(crate) ratio: f64,
    /// The measure by which it was most uneven.
    pub(crate) measure: Measure,
    /// The busiest task, from 0.
    pub(crate) task: usize,
    /// Its part of the load, from 0 to 1.
    pub(crate) share: f64,
    /// Why, if the ratio is above [`SKEW_MAX`].
    pub(crate) reason: Option<String>,
}

/// How uneven a stage was by the worse of its measures. `None` for a stage of one task, or without load.
pub(super) fn skew_of(facts: &StageFacts) -> Option<Skew> {
    let by = |measure, loads: &[u64]| {
        let (ratio, task, share) = uneven(loads)?;
        Some(Skew {
            ratio,
            measure,
            task,
            share,
            reason: None,
        })
    };
    let measured = [
        by(Measure::Rows, &facts.rows),
        by(Measure::Bytes, &facts.read),
    ];
    let mut worst = measured
        .into_iter()
        .flatten()
        .max_by(|a, b| a.ratio.total_cmp(&b.ratio))?;
    if worst.ratio > SKEW_MAX {
        worst.reason = Some(match worst.measure {
            Measure::Rows => why_rows(facts),
            Measure::Bytes => why_bytes(facts),
        });
    }
    Some(worst)
}

/// The largest over the mean, which one is the largest, and its part of the sum.
fn uneven(loads: &[u64]) -> Option<(f64, usize, f64)> {
    let sum: u64 = loads.iter().sum();
    let (task, largest) = loads.iter().enumerate().max_by_key(|(_, load)| **load)?;
    if loads.len() < 2 || sum == 0 {
        return None;
    }
    let share = part(*largest, sum);
    Some((part(largest * loads.len() as u64, sum), task, share))
}

/// A quotient, to be shown.
#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn part(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn is_skewed(loads: &[u64]) -> bool {
    uneven(loads).is_some_and(|(ratio, ..)| ratio > SKEW_MAX)
}

fn why_bytes(facts: &StageFacts) -> String {
    let tasks = facts.read.len();
    if facts.union {
        return "the inputs of a UNION are read in tasks of their own".to_owned();
    }
    if facts.pieces < tasks {
        return format!(
            "{} for {tasks} tasks",
            counted(facts.pieces, "file or row group", "files or row groups")
        );
    }
    let given = || human_bytes(facts.given.iter().sum());
    if is_skewed(&facts.given) {
        return format!(
            "the {} to read are {}, the largest of which has {}",
            given(),
            counted(facts.pieces, "file or row group", "files or row groups"),
            percent(facts.piece_share_max)
        );
    }
    let read: u64 = facts.read.iter().sum();
    if read < facts.given.iter().sum() {
        return format!(
            "statistics or filters left {} of {} to read, most in the files of one task",
            human_bytes(read),
            given()
        );
    }
    format!(
        "tasks were given {} evenly, but row groups begin in the ranges of some only",
        given()
    )
}

fn why_rows(facts: &StageFacts) -> String {
    let (tasks, rows) = (facts.rows.len(), facts.rows.iter().sum::<u64>());
    if facts.union {
        return "the inputs of a UNION run in tasks of their own".to_owned();
    }
    if rows < ROWS_FEW * tasks as u64 {
        let rows = counted(usize::try_from(rows).unwrap_or(usize::MAX), "row", "rows");
        return format!("only {rows} in all, less than a batch ({ROWS_FEW}) for each task");
    }
    if is_skewed(&facts.shuffled) {
        if let Some(groups) = facts.groups
            && groups < GROUPS_FEW * facts.partition_count as u64
        {
            return format!("only {groups} groups for {tasks} tasks");
        }
        let shuffled: u64 = facts.partitions.values().sum();
        let used = facts.partitions.values().filter(|rows| **rows > 0).count();
        let largest = facts.partitions.values().max().copied().unwrap_or(0);
        let all = facts.partition_count.max(used);
        let empty = match all - used {
            0 => String::new(),
            empty => format!(" and {empty} of them none"),
        };
        return format!(
            "one of {all} hash partitions has {} of the shuffled rows{empty}: few keys, or a frequent one",
            percent(part(largest, shuffled)),
        );
    }
    if is_skewed(&facts.gathered) {
        return format!(
            "each of {tasks} tasks gathers the rows of whole tasks, {} in all",
            facts.gathered_tasks
        );
    }
    if is_skewed(&facts.read) {
        return why_bytes(facts);
    }
    if is_skewed(&facts.scanned) {
        "the rows that pass the filters lie mostly in the files of one task".to_owned()
    } else {
        "what the tasks counted does not tell".to_owned()
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(read: &[u64], given: &[u64], rows: &[u64], pieces: usize) -> StageFacts {
        StageFacts {
            rows: rows.to_vec(),
            scanned: rows.to_vec(),
            read: read.to_vec(),
            given: given.to_vec(),
            pieces,
            piece_share_max: 0.5,
            ..StageFacts::default()
        }
    }

    fn shuffled(rows: &[u64], partitions: &[u64]) -> StageFacts {
        StageFacts {
            rows: rows.to_vec(),
            shuffled: rows.to_vec(),
            partitions: partitions.iter().copied().enumerate().collect(),
            partition_count: partitions.len(),
            ..StageFacts::default()
        }
    }

    fn check(facts: &StageFacts, ratio: f64, measure: Measure, reason: Option<&str>) {
        let skew = skew_of(facts).unwrap();
        assert!((skew.ratio - ratio).abs() < 0.005, "{skew:?}");
        assert_eq!(skew.measure, measure, "{skew:?}");
        assert_eq!(skew.reason.as_deref(), reason);
    }

    #[test]
    fn one_task_or_no_load_is_never_uneven() {
        assert_eq!(skew_of(&shuffled(&[7], &[7])), None);
        assert_eq!(skew_of(&shuffled(&[0, 0], &[0, 0])), None);
        assert_eq!(skew_of(&StageFacts::default()), None);
    }

    #[test]
    fn an_even_stage_needs_no_reason() {
        check(
            &shuffled(&[100, 90, 110, 100], &[100, 90, 110, 100]),
            1.1,
            Measure::Rows,
            None,
        );
    }

    #[test]
    fn the_worse_measure_counts() {
        let facts = scanned(&[10, 10], &[10, 10], &[90_000, 10_000], 8);
        check(
            &facts,
            1.8,
            Measure::Rows,
            Some("the rows that pass the filters lie mostly in the files of one task"),
        );
        let facts = scanned(&[90, 10], &[100, 100], &[50_000, 50_000], 8);
        check(
            &facts,
            1.8,
            Measure::Bytes,
            Some(
                "statistics or filters left 100 B of 200 B to read, most in the files of one task",
            ),
        );
    }

    #[test]
    fn files_that_cannot_be_dealt_evenly_are_counted() {
        let facts = scanned(&[50, 30, 20, 0], &[50, 30, 20, 0], &[1, 1, 1, 0], 3);
        check(
            &facts,
            2.0,
            Measure::Bytes,
            Some("3 files or row groups for 4 tasks"),
        );
        let facts = scanned(&[80, 20], &[80, 20], &[1, 1], 4);
        check(
            &facts,
            1.6,
            Measure::Bytes,
            Some("the 100 B to read are 4 files or row groups, the largest of which has 50 %"),
        );
    }

    #[test]
    fn rows_are_uneven_because_there_are_few_of_them_or_of_their_keys() {
        check(
            &shuffled(&[3, 0], &[3, 0]),
            2.0,
            Measure::Rows,
            Some("only 3 rows in all, less than a batch (8192) for each task"),
        );
        let mut keys = shuffled(&[90_000, 10_000], &[60_000, 30_000, 10_000, 0]);
        check(
            &keys,
            1.8,
            Measure::Rows,
            Some(
                "one of 4 hash partitions has 60 % of the shuffled rows and 1 of them none: few keys, or a frequent one",
            ),
        );
        keys.groups = Some(5);
        check(&keys, 1.8, Measure::Rows, Some("only 5 groups for 2 tasks"));
    }
}
