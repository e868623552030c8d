//! The summary of a snapshot: what it changed and what the table holds now, in Java's words.

use std::collections::{HashMap, HashSet};

use iceberg::spec as ice;

use crate::commit::NewDataFile;
use crate::literal::Literal;
use crate::table::Table;

/// Counts of one commit. Written only where they are not zero, as Java does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    added_data_files: u64,
    added_records: u64,
    added_bytes: u64,
    removed: Removed,
    partitions: HashMap<(i32, Vec<Option<Literal>>), Added>,
    removed_partitions: HashSet<(i32, String)>,
}

/// What a commit adds to one partition.
#[derive(Debug, Default)]
struct Added {
    data_files: u64,
    records: u64,
    bytes: u64,
}

/// What a commit takes away.
#[derive(Debug, Default)]
struct Removed {
    data_files: u64,
    records: u64,
    delete_files: u64,
    position_deletes: u64,
    equality_deletes: u64,
    bytes: u64,
}

impl Changes {
    /// Counts a data or delete file of partition spec `spec_id` that the commit removes.
    pub(crate) fn remove_file(&mut self, file: &ice::DataFile, spec_id: i32) {
        let removed = &mut self.removed;
        match file.content_type() {
            ice::DataContentType::Data => {
                removed.data_files += 1;
                removed.records += file.record_count();
            }
            ice::DataContentType::PositionDeletes => {
                removed.delete_files += 1;
                removed.position_deletes += file.record_count();
            }
            ice::DataContentType::EqualityDeletes => {
                removed.delete_files += 1;
                removed.equality_deletes += file.record_count();
            }
        }
        removed.bytes += file.file_size_in_bytes();
        self.removed_partitions
            .insert((spec_id, format!("{:?}", file.partition())));
    }

    pub(crate) fn add_data_file(&mut self, file: &NewDataFile) {
        self.added_data_files += 1;
        self.added_records += file.record_count;
        self.added_bytes += file.size_bytes;
        let partition = self
            .partitions
            .entry((file.spec_id, file.partition.clone()))
            .or_default();
        partition.data_files += 1;
        partition.records += file.record_count;
        partition.bytes += file.size_bytes;
    }

    /// What was added to each partition, as entries of the summary, if there are at most `limit` partitions.
    pub(crate) fn partition_summaries(&self, head: &Table, limit: u64) -> HashMap<String, String> {
        let mut summaries = HashMap::new();
        let changed = (self.partitions.len() + self.removed_partitions.len()) as u64;
        if changed > limit || self.partitions.is_empty() {
            return summaries;
        }
        for ((spec_id, values), added) in &self.partitions {
            let path = head.spec_by_id(*spec_id).map(|spec| spec.path(values));
            let Some(path) = path.filter(|path| !path.is_empty()) else {
                continue;
            };
            let text = format!(
                "added-data-files={},added-records={},added-files-size={}",
                added.data_files, added.records, added.bytes
            );
            summaries.insert(format!("partitions.{path}"), text);
        }
        summaries.insert("partition-summaries-included".to_owned(), "true".to_owned());
        summaries
    }

    /// The summary of a snapshot whose parent has the summary `parent` (`None` for the first).
    ///
    /// A total that the parent does not know stays unknown: other engines trust these numbers.
    pub(crate) fn summary(
        &self,
        parent: Option<&HashMap<String, String>>,
        extra: &HashMap<String, String>,
    ) -> HashMap<String, String> {
        let mut summary = extra.clone();
        let mut set = |key: &str, value: u64| {
            summary.insert(key.to_owned(), value.to_string());
        };
        for (key, value) in [
            ("added-data-files", self.added_data_files),
            ("added-records", self.added_records),
            ("added-files-size", self.added_bytes),
            ("deleted-data-files", self.removed.data_files),
            ("deleted-records", self.removed.records),
            ("removed-delete-files", self.removed.delete_files),
            ("removed-position-deletes", self.removed.position_deletes),
            ("removed-equality-deletes", self.removed.equality_deletes),
            ("removed-files-size", self.removed.bytes),
        ] {
            if value > 0 {
                set(key, value);
            }
        }
        let partitions = self.partitions.len() + self.removed_partitions.len();
        set("changed-partition-count", partitions as u64);
        let removed = &self.removed;
        for (key, added, removed) in [
            (
                "total-data-files",
                self.added_data_files,
                removed.data_files,
            ),
            ("total-delete-files", 0, removed.delete_files),
            ("total-records", self.added_records, removed.records),
            ("total-files-size", self.added_bytes, removed.bytes),
            ("total-position-deletes", 0, removed.position_deletes),
            ("total-equality-deletes", 0, removed.equality_deletes),
        ] {
            let before = match parent {
                None => Some(0),
                Some(parent) => parent.get(key).and_then(|total| total.parse::<u64>().ok()),
            };
            let total = before
                .and_then(|before| before.checked_add(added))
                .and_then(|total| total.checked_sub(removed));
            if let Some(total) = total {
                set(key, total);
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: u64, partition: Vec<Option<Literal>>) -> NewDataFile {
        NewDataFile {
            path: "f".into(),
            size_bytes: 10,
            record_count: records,
            partition,
            ..NewDataFile::default()
        }
    }

    #[test]
    fn totals_roll_up_from_the_parent() {
        let mut changes = Changes::default();
        changes.add_data_file(&file(3, vec![Some(Literal::Int(1))]));
        changes.add_data_file(&file(4, vec![Some(Literal::Int(1))]));
        let first = changes.summary(None, &HashMap::new());
        assert_eq!(first["added-records"], "7");
        assert_eq!(first["total-records"], "7");
        assert_eq!(first["total-data-files"], "2");
        assert_eq!(first["total-delete-files"], "0");
        assert_eq!(first["changed-partition-count"], "1");
        let second = changes.summary(Some(&first), &HashMap::new());
        assert_eq!(second["total-records"], "14");
        assert_eq!(second["total-files-size"], "40");
    }

    #[test]
    fn a_total_that_the_parent_does_not_know_stays_unknown() {
        let parent = HashMap::from([("total-records".to_owned(), "5".to_owned())]);
        let mut changes = Changes::default();
        changes.add_data_file(&file(1, vec![]));
        let summary = changes.summary(Some(&parent), &HashMap::new());
        assert_eq!(summary["total-records"], "6");
        assert!(!summary.contains_key("total-data-files"));
    }
}
