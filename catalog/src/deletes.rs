//! Which delete files apply to which data file.
//!
//! Source: Iceberg spec, "Scan Planning" and "Deletion Vectors".

use std::collections::HashMap;
use std::sync::Arc;

use crate::literal::Literal;
use crate::manifest::{DataFile, DeleteFile, DeleteKind};

type Partition = (i32, Vec<Option<Literal>>);
type Deletes = Vec<Arc<DeleteFile>>;

/// Answers "which deletes apply to this data file" for all files of a snapshot.
///
/// * A position delete or deletion vector applies if the data is not newer (`data <= delete` by
///   sequence number); an equality delete applies only if the data is older (`data < delete`).
/// * A delete that names its data file applies to that file. Others apply to files of the same
///   partition, spec included; an equality delete without partition applies everywhere.
/// * If a deletion vector applies, position deletes of that file do not: the vector holds them.
#[derive(Debug, Default)]
pub struct DeleteIndex {
    vectors: HashMap<String, Deletes>,
    positions_by_path: HashMap<String, Deletes>,
    positions_by_partition: HashMap<Partition, Deletes>,
    equality_everywhere: Deletes,
    equality_by_partition: HashMap<Partition, Deletes>,
}

impl DeleteIndex {
    /// Indexes the delete files of a snapshot.
    pub fn new<'a>(deletes: impl IntoIterator<Item = &'a Arc<DeleteFile>>) -> Self {
        let mut index = Self::default();
        for delete in deletes {
            index.insert(Arc::clone(delete));
        }
        index
    }

    /// Whether the snapshot has no deletes at all.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
            && self.positions_by_path.is_empty()
            && self.positions_by_partition.is_empty()
            && self.equality_everywhere.is_empty()
            && self.equality_by_partition.is_empty()
    }

    fn insert(&mut self, delete: Arc<DeleteFile>) {
        let partition = || (delete.spec_id, delete.partition.clone());
        let list = match delete.kind {
            DeleteKind::Equality if delete.partition.is_empty() => &mut self.equality_everywhere,
            DeleteKind::Equality => self.equality_by_partition.entry(partition()).or_default(),
            DeleteKind::DeletionVector => match only_path(&delete) {
                Some(path) => self.vectors.entry(path).or_default(),
                // Not allowed by the spec; kept so that nothing deleted reappears.
                None => self.positions_by_partition.entry(partition()).or_default(),
            },
            DeleteKind::Position => match only_path(&delete) {
                Some(path) => self.positions_by_path.entry(path).or_default(),
                None => self.positions_by_partition.entry(partition()).or_default(),
            },
        };
        list.push(delete);
    }

    /// The deletes that apply to `file`.
    pub fn for_file(&self, file: &DataFile) -> Vec<Arc<DeleteFile>> {
        if self.is_empty() {
            return Vec::new();
        }
        let partition = (file.spec_id, file.partition.clone());
        let mut applying = Vec::new();
        let not_older = |delete: &&Arc<DeleteFile>| file.sequence_number <= delete.sequence_number;
        let newer = |delete: &&Arc<DeleteFile>| file.sequence_number < delete.sequence_number;
        if let Some(vectors) = self.vectors.get(&file.path) {
            applying.extend(vectors.iter().filter(not_older).cloned());
        }
        if applying.is_empty() {
            if let Some(positions) = self.positions_by_path.get(&file.path) {
                applying.extend(positions.iter().filter(not_older).cloned());
            }
            if let Some(positions) = self.positions_by_partition.get(&partition) {
                let in_bounds = |delete: &&Arc<DeleteFile>| {
                    delete.path_bounds().is_none_or(|(lower, upper)| {
                        lower <= file.path.as_str() && file.path.as_str() <= upper
                    })
                };
                let matching = positions.iter().filter(not_older).filter(in_bounds);
                applying.extend(matching.cloned());
            }
        }
        applying.extend(self.equality_everywhere.iter().filter(newer).cloned());
        if let Some(equality) = self.equality_by_partition.get(&partition) {
            applying.extend(equality.iter().filter(newer).cloned());
        }
        applying
    }
}

/// The deletes among `deletes` that apply to `file`. For many files make a [`DeleteIndex`] once.
pub fn deletes_for(file: &DataFile, deletes: &[Arc<DeleteFile>]) -> Vec<Arc<DeleteFile>> {
    DeleteIndex::new(deletes).for_file(file)
}

/// The one data file that a position delete is about, if it says so.
fn only_path(delete: &DeleteFile) -> Option<String> {
    if let Some(path) = &delete.referenced_data_file {
        return Some(path.clone());
    }
    match delete.path_bounds() {
        Some((lower, upper)) if lower == upper => Some(lower.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_field::ByField;
    use crate::manifest::FileFormat;

    const PATH_ID: i32 = 2_147_483_546;

    fn data(path: &str, partition: Vec<Option<Literal>>, sequence_number: i64) -> DataFile {
        DataFile {
            path: path.to_owned(),
            size_bytes: 1,
            record_count: 1,
            format: FileFormat::Parquet,
            spec_id: i32::from(!partition.is_empty()),
            partition,
            sequence_number,
            file_sequence_number: sequence_number,
            lower_bounds: ByField::default(),
            upper_bounds: ByField::default(),
            null_counts: ByField::default(),
            nan_counts: ByField::default(),
            value_counts: ByField::default(),
            column_sizes: ByField::default(),
            split_offsets: vec![],
            sort_order_id: None,
            first_row_id: None,
            snapshot_id: 1,
        }
    }

    fn delete(kind: DeleteKind, partition: Vec<Option<Literal>>, sequence: i64) -> DeleteFile {
        DeleteFile {
            kind,
            path: format!("delete-{sequence}"),
            size_bytes: 1,
            record_count: 1,
            format: FileFormat::Parquet,
            spec_id: i32::from(!partition.is_empty()),
            partition,
            sequence_number: sequence,
            equality_ids: vec![],
            lower_bounds: ByField::default(),
            upper_bounds: ByField::default(),
            referenced_data_file: None,
            content_offset: None,
            content_size: None,
            snapshot_id: 1,
        }
    }

    fn check(delete: DeleteFile, file: &DataFile, applies: bool) {
        let found = deletes_for(file, &[Arc::new(delete)]);
        assert_eq!(!found.is_empty(), applies);
    }

    fn one() -> Vec<Option<Literal>> {
        vec![Some(Literal::Int(1))]
    }

    #[test]
    fn position_deletes_reach_data_of_their_own_commit_and_equality_deletes_do_not() {
        let file = data("a", vec![], 5);
        for (sequence, position, equality) in [(4, false, false), (5, true, false), (6, true, true)]
        {
            check(
                delete(DeleteKind::Position, vec![], sequence),
                &file,
                position,
            );
            check(
                delete(DeleteKind::Equality, vec![], sequence),
                &file,
                equality,
            );
        }
    }

    #[test]
    fn deletes_stay_in_their_partition_but_unpartitioned_equality_reaches_all() {
        let file = data("a", one(), 1);
        check(delete(DeleteKind::Position, one(), 2), &file, true);
        check(delete(DeleteKind::Position, vec![None], 2), &file, false);
        check(delete(DeleteKind::Position, vec![], 2), &file, false);
        check(delete(DeleteKind::Equality, vec![None], 2), &file, false);
        check(delete(DeleteKind::Equality, vec![], 2), &file, true);
    }

    #[test]
    fn a_delete_that_names_its_file_applies_to_no_other() {
        let mut named = delete(DeleteKind::Position, vec![], 2);
        named.referenced_data_file = Some("a".to_owned());
        check(named.clone(), &data("a", one(), 1), true);
        check(named, &data("b", vec![], 1), false);
        let mut bounded = delete(DeleteKind::Position, vec![], 2);
        let path = |p: &str| ByField::from_iter([(PATH_ID, Literal::String(p.to_owned()))]);
        bounded.lower_bounds = path("b");
        bounded.upper_bounds = path("d");
        check(bounded.clone(), &data("c", vec![], 1), true);
        check(bounded, &data("e", vec![], 1), false);
    }

    #[test]
    fn a_deletion_vector_replaces_position_deletes_but_not_equality_deletes() {
        let mut vector = delete(DeleteKind::DeletionVector, vec![], 4);
        vector.referenced_data_file = Some("a".to_owned());
        let deletes = [
            Arc::new(vector),
            Arc::new(delete(DeleteKind::Position, vec![], 3)),
            Arc::new(delete(DeleteKind::Equality, vec![], 2)),
        ];
        let kinds = |file: &DataFile| -> Vec<_> {
            let found = deletes_for(file, &deletes);
            found.iter().map(|delete| delete.kind).collect()
        };
        assert_eq!(
            kinds(&data("a", vec![], 1)),
            [DeleteKind::DeletionVector, DeleteKind::Equality]
        );
        assert_eq!(
            kinds(&data("b", vec![], 1)),
            [DeleteKind::Position, DeleteKind::Equality]
        );
    }
}
