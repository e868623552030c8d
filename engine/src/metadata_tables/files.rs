//! The files of a snapshot, and the lines of its manifests.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use futures::FutureExt;
use serde_json::{Map, Value, json};
use tarn_catalog::{
    ByField, ContentFile, DeleteKind, EntryStatus, FileFormat, Literal, ManifestEntry, Table,
    field_id, manifest_entries, snapshot_files,
};

use super::About;
use super::columns::{AnyColumns, Columns};
use crate::error::EngineError;

/// Iceberg's number of what a file holds: rows, position deletes, equality deletes.
fn content(file: &ContentFile) -> i32 {
    match file {
        ContentFile::Data(_) => 0,
        ContentFile::Delete(file) => match file.kind {
            DeleteKind::Position | DeleteKind::DeletionVector => 1,
            DeleteKind::Equality => 2,
        },
    }
}

/// A property that data and delete files have alike.
macro_rules! either {
    ($file:expr, $name:ident) => {
        match $file {
            ContentFile::Data(file) => &file.$name,
            ContentFile::Delete(file) => &file.$name,
        }
    };
}

/// A property that only data files have.
macro_rules! of_data {
    ($file:expr, $name:ident) => {
        match $file {
            ContentFile::Data(file) => Some(&file.$name),
            ContentFile::Delete(_) => None,
        }
    };
}

/// A property that only delete files have.
macro_rules! of_deletes {
    ($file:expr, $name:ident) => {
        match $file {
            ContentFile::Data(_) => None,
            ContentFile::Delete(file) => Some(&file.$name),
        }
    };
}

fn format(file: &ContentFile) -> String {
    match either!(file, format) {
        FileFormat::Parquet => "PARQUET",
        FileFormat::Orc => "ORC",
        FileFormat::Avro => "AVRO",
        FileFormat::Puffin => "PUFFIN",
    }
    .to_owned()
}

fn signed(count: u64) -> Option<i64> {
    i64::try_from(count).ok()
}

/// Columns that tell of a file. `R` is a row that has one.
fn of_file<R: 'static>(
    columns: Columns<R>,
    about: &About,
    file: fn(&R) -> &ContentFile,
) -> Columns<R> {
    columns
        .int("content", move |r| Some(content(file(r))))
        .text("file_path", move |r| Some(either!(file(r), path).clone()))
        .text("file_format", move |r| Some(format(file(r))))
        .int("spec_id", move |r| Some(*either!(file(r), spec_id)))
        .partition(about, move |r| {
            let file = file(r);
            Some((*either!(file, spec_id), either!(file, partition).as_slice()))
        })
        .long("record_count", move |r| {
            signed(*either!(file(r), record_count))
        })
        .long("file_size_in_bytes", move |r| {
            signed(*either!(file(r), size_bytes))
        })
        .counts("column_sizes", move |r| of_data!(file(r), column_sizes))
        .counts("value_counts", move |r| of_data!(file(r), value_counts))
        .counts("null_value_counts", move |r| of_data!(file(r), null_counts))
        .counts("nan_value_counts", move |r| of_data!(file(r), nan_counts))
        .bounds("lower_bounds", move |r| {
            Some(either!(file(r), lower_bounds))
        })
        .bounds("upper_bounds", move |r| {
            Some(either!(file(r), upper_bounds))
        })
        .longs("split_offsets", move |r| {
            let offsets = of_data!(file(r), split_offsets)?;
            (!offsets.is_empty()).then_some(offsets.as_slice())
        })
        .ints("equality_ids", move |r| {
            let ids = of_deletes!(file(r), equality_ids)?;
            (!ids.is_empty()).then_some(ids.as_slice())
        })
        .int("sort_order_id", move |r| *of_data!(file(r), sort_order_id)?)
        .long("first_row_id", move |r| *of_data!(file(r), first_row_id)?)
        .text("referenced_data_file", move |r| {
            of_deletes!(file(r), referenced_data_file)?.clone()
        })
        .long("content_offset", move |r| {
            *of_deletes!(file(r), content_offset)?
        })
        .long("content_size_in_bytes", move |r| {
            *of_deletes!(file(r), content_size)?
        })
}

/// Metrics by the names of columns, as JSON.
fn readable<R: 'static>(
    columns: Columns<R>,
    about: &About,
    file: fn(&R) -> &ContentFile,
) -> Columns<R> {
    let names = names(&about.table);
    columns.text("readable_metrics", move |r| {
        Some(readable_metrics(file(r), &names).to_string())
    })
}

fn readable_metrics(file: &ContentFile, names: &[(i32, String)]) -> Value {
    let count = |counts: Option<&ByField<u64>>, id: &i32| {
        counts.and_then(|counts| counts.get(*id)).copied()
    };
    let bound = |bounds: &ByField<Literal>, id: &i32| bounds.get(*id).map(Literal::to_string);
    let each = names.iter().filter_map(|(id, name)| {
        let metrics = json!({
            "column_size": count(of_data!(file, column_sizes), id),
            "value_count": count(of_data!(file, value_counts), id),
            "null_value_count": count(of_data!(file, null_counts), id),
            "nan_value_count": count(of_data!(file, nan_counts), id),
            "lower_bound": bound(either!(file, lower_bounds), id),
            "upper_bound": bound(either!(file, upper_bounds), id),
        });
        let known = metrics
            .as_object()
            .is_some_and(|metrics| metrics.values().any(|value| !value.is_null()));
        known.then(|| (name.clone(), metrics))
    });
    Value::Object(each.collect::<Map<_, _>>())
}

/// Names of all columns, nested ones with dots, by field id.
fn names(table: &Table) -> Vec<(i32, String)> {
    let mut names = Vec::new();
    for field in table.arrow_schema().fields() {
        gather(field, field.name(), &mut names);
    }
    names
}

fn gather(field: &Field, name: &str, names: &mut Vec<(i32, String)>) {
    if let Some(id) = field_id(field) {
        names.push((id, name.to_owned()));
    }
    let mut below = |child: &Field| gather(child, &format!("{name}.{}", child.name()), names);
    match field.data_type() {
        DataType::Struct(children) => children.iter().for_each(|child| below(child)),
        DataType::List(element) => below(element),
        DataType::Map(entries, _) => {
            if let DataType::Struct(children) = entries.data_type() {
                children.iter().for_each(|child| below(child));
            }
        }
        _ => {}
    }
}

/// The live files of the snapshot whose content `keep` wants.
pub(super) fn files(about: &About, keep: fn(i32) -> bool) -> Columns<ContentFile> {
    let here = about.clone();
    let columns = Columns::new(move || {
        let about = here.clone();
        async move {
            let Some(snapshot) = &about.snapshot else {
                return Ok(vec![]);
            };
            let live = snapshot_files(&about.table, snapshot, &about.cache, &|_| true).await?;
            let data = live.data.into_iter().map(ContentFile::Data);
            let deletes = live.deletes.into_iter().map(ContentFile::Delete);
            let all = data.chain(deletes);
            Ok(all.filter(|file| keep(content(file))).collect())
        }
        .boxed()
    });
    readable(of_file(columns, about, |file| file), about, |file| file)
}

/// Every line of the snapshot's manifests.
pub(super) fn entries(about: &About) -> Columns<ManifestEntry> {
    let here = about.clone();
    let columns = Columns::new(move || {
        let about = here.clone();
        async move {
            match &about.snapshot {
                Some(snapshot) => Ok(manifest_entries(&about.table, snapshot, &about.cache).await?),
                None => Ok(vec![]),
            }
        }
        .boxed()
    });
    let columns = columns
        .int("status", |entry| {
            Some(match entry.status {
                EntryStatus::Existing => 0,
                EntryStatus::Added => 1,
                EntryStatus::Deleted => 2,
            })
        })
        .long("snapshot_id", |entry| {
            Some(*either!(&entry.file, snapshot_id))
        })
        .long("sequence_number", |entry| {
            Some(*either!(&entry.file, sequence_number))
        })
        .long("file_sequence_number", |entry| entry.file_sequence_number);
    let file = of_file(
        Columns::<ContentFile>::new(|| async { Ok(vec![]) }.boxed()),
        about,
        |file| file,
    );
    let fields: Fields = file.schema().fields().clone();
    let made = fields.clone();
    let columns = columns.column("data_file", DataType::Struct(fields), move |rows| {
        let files: Vec<ContentFile> = rows.iter().map(|entry| entry.file.clone()).collect();
        let columns: Result<Vec<ArrayRef>, EngineError> = file.arrays(&files);
        Ok(Arc::new(StructArray::try_new(
            made.clone(),
            columns?,
            None,
        )?))
    });
    readable(columns, about, |entry| &entry.file)
}
