//! The manifests of a snapshot, and what its partitions come to.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, ListBuilder, StringBuilder, StructBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use futures::FutureExt;
use tarn_catalog::{
    DeleteKind, Literal, ManifestContent, ManifestInfo, Table, manifests as manifests_of,
    snapshot_files,
};

use super::About;
use super::columns::Columns;
use crate::error::EngineError;

fn summary_fields() -> Fields {
    Fields::from(vec![
        Field::new("contains_null", DataType::Boolean, true),
        Field::new("contains_nan", DataType::Boolean, true),
        Field::new("lower_bound", DataType::Utf8, true),
        Field::new("upper_bound", DataType::Utf8, true),
    ])
}

fn counted(
    content: ManifestContent,
    count: fn(&ManifestInfo) -> Option<u32>,
) -> impl Fn(&ManifestInfo) -> Option<i32> {
    move |manifest| {
        if manifest.content == content {
            count(manifest).and_then(|count| i32::try_from(count).ok())
        } else {
            Some(0)
        }
    }
}

pub(super) fn manifests(about: &About) -> Columns<ManifestInfo> {
    use ManifestContent::{Data, Deletes};
    let (here, table) = (about.clone(), about.table.clone());
    let columns = Columns::new(move || {
        let about = here.clone();
        async move {
            match &about.snapshot {
                Some(snapshot) => Ok(manifests_of(&about.table, snapshot, &about.cache).await?),
                None => Ok(vec![]),
            }
        }
        .boxed()
    });
    let element = Field::new_list_field(DataType::Struct(summary_fields()), true);
    columns
        .int("content", |m: &ManifestInfo| {
            Some(i32::from(m.content == Deletes))
        })
        .text("path", |m| Some(m.path.clone()))
        .long("length", |m| i64::try_from(m.size_bytes).ok())
        .int("partition_spec_id", |m| Some(m.partition_spec_id))
        .long("added_snapshot_id", |m| Some(m.added_snapshot_id))
        .int("added_data_files_count", counted(Data, |m| m.added_files))
        .int(
            "existing_data_files_count",
            counted(Data, |m| m.existing_files),
        )
        .int(
            "deleted_data_files_count",
            counted(Data, |m| m.deleted_files),
        )
        .int(
            "added_delete_files_count",
            counted(Deletes, |m| m.added_files),
        )
        .int(
            "existing_delete_files_count",
            counted(Deletes, |m| m.existing_files),
        )
        .int(
            "deleted_delete_files_count",
            counted(Deletes, |m| m.deleted_files),
        )
        .column(
            "partition_summaries",
            DataType::List(Arc::new(element)),
            move |rows| Ok(summaries(&table, rows)),
        )
}

fn summaries(table: &Table, rows: &[ManifestInfo]) -> ArrayRef {
    let mut list = ListBuilder::new(StructBuilder::from_fields(summary_fields(), 0));
    for manifest in rows {
        let spec = table.spec_by_id(manifest.partition_spec_id);
        for (at, summary) in manifest.partitions.iter().enumerate() {
            let transform = spec.and_then(|s| s.fields.get(at)).map(|f| f.transform);
            let shown = |bound: &Option<Literal>| {
                let bound = bound.as_ref()?;
                Some(transform.map_or_else(|| bound.to_string(), |t| t.human(Some(bound))))
            };
            let parts = list.values();
            if let Some(column) = parts.field_builder::<BooleanBuilder>(0) {
                column.append_value(summary.contains_null);
            }
            if let Some(column) = parts.field_builder::<BooleanBuilder>(1) {
                column.append_option(summary.contains_nan);
            }
            for (at, bound) in [(2, &summary.lower), (3, &summary.upper)] {
                if let Some(column) = parts.field_builder::<StringBuilder>(at) {
                    column.append_option(shown(bound));
                }
            }
            parts.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

/// What is in one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    spec_id: i32,
    values: Vec<Option<Literal>>,
    files: i32,
    rows: u64,
    bytes: u64,
    position_files: i32,
    position_rows: u64,
    equality_files: i32,
    equality_rows: u64,
    /// When the newest snapshot that added to it was made, and its id.
    updated: Option<(i64, i64)>,
}

pub(super) fn partitions(about: &About) -> Columns<Partition> {
    let here = about.clone();
    let columns = Columns::new(move || {
        let about = here.clone();
        async move { gathered(&about).await }.boxed()
    });
    columns
        .partition(about, |p: &Partition| {
            Some((p.spec_id, p.values.as_slice()))
        })
        .int("spec_id", |p| Some(p.spec_id))
        .long("record_count", |p| i64::try_from(p.rows).ok())
        .int("file_count", |p| Some(p.files))
        .long("total_data_file_size_in_bytes", |p| {
            i64::try_from(p.bytes).ok()
        })
        .long("position_delete_record_count", |p| {
            i64::try_from(p.position_rows).ok()
        })
        .int("position_delete_file_count", |p| Some(p.position_files))
        .long("equality_delete_record_count", |p| {
            i64::try_from(p.equality_rows).ok()
        })
        .int("equality_delete_file_count", |p| Some(p.equality_files))
        .moment(about, "last_updated_at", |p| p.updated.map(|(at, _)| at))
        .long("last_updated_snapshot_id", |p| p.updated.map(|(_, id)| id))
}

async fn gathered(about: &About) -> Result<Vec<Partition>, EngineError> {
    let Some(snapshot) = &about.snapshot else {
        return Ok(vec![]);
    };
    let live = snapshot_files(&about.table, snapshot, &about.cache, &|_| true).await?;
    let mut all = Gathered::default();
    for file in &live.data {
        let partition = all.of(about, file.spec_id, &file.partition, file.snapshot_id);
        partition.files += 1;
        partition.rows += file.record_count;
        partition.bytes += file.size_bytes;
    }
    for file in &live.deletes {
        let partition = all.of(about, file.spec_id, &file.partition, file.snapshot_id);
        if file.kind == DeleteKind::Equality {
            partition.equality_files += 1;
            partition.equality_rows += file.record_count;
        } else {
            partition.position_files += 1;
            partition.position_rows += file.record_count;
        }
    }
    Ok(all.partitions)
}

/// Partitions in the order in which they were met.
#[derive(Default)]
struct Gathered {
    partitions: Vec<Partition>,
    places: HashMap<(i32, Vec<Option<Literal>>), usize>,
}

impl Gathered {
    /// The partition of a file, which that snapshot added.
    fn of(
        &mut self,
        about: &About,
        spec_id: i32,
        values: &[Option<Literal>],
        snapshot_id: i64,
    ) -> &mut Partition {
        let next = self.partitions.len();
        let place = *self
            .places
            .entry((spec_id, values.to_vec()))
            .or_insert(next);
        if place == next {
            self.partitions.push(Partition {
                spec_id,
                values: values.to_vec(),
                ..Partition::default()
            });
        }
        let partition = &mut self.partitions[place];
        let snapshot = about.table.snapshot_by_id(snapshot_id);
        let made = snapshot.map(|snapshot| (snapshot.timestamp_ms, snapshot.id));
        partition.updated = partition.updated.max(made);
        partition
    }
}
