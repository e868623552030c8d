//! The summary of a snapshot: what it changed and what the table holds now, in Java's words.

use std::collections::{HashMap, HashSet};

use crate::commit::NewDataFile;
use crate::literal::Literal;

/// Counts of one commit. Written only where they are not zero, as Java does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    added_data_files: u64,
    added_records: u64,
    added_bytes: u64,
    partitions: HashSet<(i32, Vec<Option<Literal>>)>,
}

impl Changes {
    pub(crate) fn add_data_file(&mut self, file: &NewDataFile) {
        self.added_data_files += 1;
        self.added_records += file.record_count;
        self.added_bytes += file.size_bytes;
        self.partitions
            .insert((file.spec_id, file.partition.clone()));
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
        ] {
            if value > 0 {
                set(key, value);
            }
        }
        set("changed-partition-count", self.partitions.len() as u64);
        for (key, added) in [
            ("total-data-files", self.added_data_files),
            ("total-delete-files", 0),
            ("total-records", self.added_records),
            ("total-files-size", self.added_bytes),
            ("total-position-deletes", 0),
            ("total-equality-deletes", 0),
        ] {
            let before = match parent {
                None => Some(0),
                Some(parent) => parent.get(key).and_then(|total| total.parse::<u64>().ok()),
            };
            if let Some(total) = before.and_then(|before| before.checked_add(added)) {
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
