//! The live files of a manifest, decoded straight from its bytes.
//!
//! Partition fields are found by their ids and columns by theirs, so neither names that Avro does not allow nor
//! columns that were dropped since are in the way. Source: Iceberg spec, "Manifests".

use std::sync::Arc;

use iceberg::spec as ice;

use crate::avro::{Container, Cursor, Field, Fixed, Result, Scalar, Schema};
use crate::by_field::ByField;
use crate::literal::{Literal, big_endian};
use crate::manifest::{
    ContentFile, DataFile, DeleteFile, DeleteKind, EntryStatus, FileFormat, ManifestEntry,
    ManifestFiles,
};
use crate::metadata_file::corrupt;
use crate::table::{Table, avro_name};

/// Entry status: there before.
const EXISTING: i64 = 0;
/// Entry status: added by the manifest's snapshot.
const ADDED: i64 = 1;
/// Entry status: deleted by the manifest's snapshot.
const DELETED: i64 = 2;

/// Decodes a manifest; what its entries leave out is inherited from `info`.
///
/// # Errors
/// [`CatalogError::Corrupt`](crate::CatalogError::Corrupt) names the manifest.
pub(crate) fn decode(
    bytes: &[u8],
    info: &ice::ManifestFile,
    table: &Table,
) -> crate::error::Result<ManifestFiles> {
    let read = |fixed| {
        let mut files = ManifestFiles {
            data: Vec::new(),
            deletes: Vec::new(),
        };
        let reader = Reader { info, table, fixed };
        reader.read(bytes, &mut |entry| match entry.file {
            _ if entry.status == EntryStatus::Deleted => {}
            ContentFile::Data(file) => files.data.push(file),
            ContentFile::Delete(file) => files.deletes.push(file),
        })?;
        if let (Some(added), Some(existing)) = (info.added_files_count, info.existing_files_count) {
            let expected = u64::from(added) + u64::from(existing);
            let found = (files.data.len() + files.deletes.len()) as u64;
            if found < expected {
                return Err(format!("it lists {found} of its {expected} files"));
            }
        }
        Ok(files)
    };
    either_way(read).map_err(|reason| corrupt("manifest", &info.manifest_path, reason))
}

/// Reads as the Avro schema says, and if that fails as Java writes: it gives partition values of type fixed a length, which
/// their schema does not have. The error is that of the first way.
fn either_way<T>(read: impl Fn(Fixed) -> Result<T>) -> Result<T> {
    read(Fixed::AsDeclared).or_else(|error| read(Fixed::WithLength).map_err(|_| error))
}

/// Decodes every line of a manifest, removed files also.
///
/// # Errors
/// [`CatalogError::Corrupt`](crate::CatalogError::Corrupt) names the manifest.
pub(crate) fn decode_entries(
    bytes: &[u8],
    info: &ice::ManifestFile,
    table: &Table,
) -> crate::error::Result<Vec<ManifestEntry>> {
    let read = |fixed| {
        let mut entries = Vec::new();
        let reader = Reader { info, table, fixed };
        reader.read(bytes, &mut |entry| entries.push(entry))?;
        Ok(entries)
    };
    either_way(read).map_err(|reason| corrupt("manifest", &info.manifest_path, reason))
}

struct Reader<'a> {
    info: &'a ice::ManifestFile,
    table: &'a Table,
    fixed: Fixed,
}

/// An entry as it is written.
#[derive(Default)]
struct Entry {
    status: i64,
    snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    file_sequence_number: Option<i64>,
    content: i64,
    path: String,
    format: Option<FileFormat>,
    partition: Vec<Option<Literal>>,
    record_count: Option<u64>,
    size_bytes: Option<u64>,
    column_sizes: ByField<u64>,
    value_counts: ByField<u64>,
    null_counts: ByField<u64>,
    nan_counts: ByField<u64>,
    lower_bounds: ByField<Literal>,
    upper_bounds: ByField<Literal>,
    split_offsets: Vec<i64>,
    equality_ids: Vec<i32>,
    sort_order_id: Option<i32>,
    first_row_id: Option<i64>,
    referenced_data_file: Option<String>,
    content_offset: Option<i64>,
    content_size: Option<i64>,
}

impl Reader<'_> {
    fn read(&self, bytes: &[u8], each: &mut dyn FnMut(ManifestEntry)) -> Result<()> {
        let container = Container::open(bytes, self.fixed)?;
        let schema = container.schema.clone();
        let first = self.info.first_row_id;
        let mut next_row_id = first.and_then(|first| i64::try_from(first).ok());
        container.for_each(|cursor| {
            let entry = self.entry(cursor, &schema)?;
            let status = match entry.status {
                EXISTING => EntryStatus::Existing,
                ADDED => EntryStatus::Added,
                DELETED => EntryStatus::Deleted,
                other => return Err(format!("an entry has the unknown status {other}")),
            };
            let file_sequence_number = self.inherited(entry.file_sequence_number, &entry).ok();
            let file = if entry.content == 0 {
                let mut first_row_id = entry.first_row_id;
                if first_row_id.is_none() && status != EntryStatus::Deleted {
                    let rows = entry.record_count.and_then(|rows| i64::try_from(rows).ok());
                    first_row_id = next_row_id;
                    next_row_id = next_row_id.map(|id| id.saturating_add(rows.unwrap_or(0)));
                }
                ContentFile::Data(Arc::new(self.data_file(entry, first_row_id)?))
            } else {
                ContentFile::Delete(Arc::new(self.delete_file(entry)?))
            };
            each(ManifestEntry {
                status,
                file_sequence_number,
                file,
            });
            Ok(())
        })
    }

    fn entry(&self, cursor: &mut Cursor<'_>, schema: &Schema) -> Result<Entry> {
        let mut entry = Entry::default();
        for field in cursor.record(schema)? {
            match id(field) {
                0 => entry.status = needed(integer(cursor, field)?, field)?,
                1 => entry.snapshot_id = integer(cursor, field)?,
                3 => entry.sequence_number = integer(cursor, field)?,
                4 => entry.file_sequence_number = integer(cursor, field)?,
                2 => {
                    for field in cursor.record(&field.schema)? {
                        self.file_field(cursor, field, &mut entry)?;
                    }
                }
                _ => cursor.skip(&field.schema)?,
            }
        }
        Ok(entry)
    }

    fn file_field(&self, cursor: &mut Cursor<'_>, field: &Field, entry: &mut Entry) -> Result<()> {
        match id(field) {
            134 => entry.content = integer(cursor, field)?.unwrap_or(0),
            100 => entry.path = needed(text(cursor, field)?, field)?,
            101 => entry.format = Some(format(&needed(text(cursor, field)?, field)?)?),
            102 => entry.partition = self.partition(cursor, &field.schema)?,
            103 => {
                entry.record_count = Some(count(needed(integer(cursor, field)?, field)?, field)?);
            }
            104 => entry.size_bytes = Some(count(needed(integer(cursor, field)?, field)?, field)?),
            108 => entry.column_sizes = counts(cursor, field)?,
            109 => entry.value_counts = counts(cursor, field)?,
            110 => entry.null_counts = counts(cursor, field)?,
            137 => entry.nan_counts = counts(cursor, field)?,
            125 => entry.lower_bounds = self.bounds(cursor, field)?,
            128 => entry.upper_bounds = self.bounds(cursor, field)?,
            132 => entry.split_offsets = integers(cursor, field)?,
            135 => {
                let ids = integers(cursor, field)?;
                let ids = ids
                    .into_iter()
                    .map(|id| i32::try_from(id).map_err(|_| wrong(field)));
                entry.equality_ids = ids.collect::<Result<_>>()?;
            }
            140 => {
                let order = integer(cursor, field)?;
                entry.sort_order_id = order.and_then(|order| i32::try_from(order).ok());
            }
            142 => entry.first_row_id = integer(cursor, field)?,
            143 => entry.referenced_data_file = text(cursor, field)?,
            144 => entry.content_offset = integer(cursor, field)?,
            145 => entry.content_size = integer(cursor, field)?,
            _ => cursor.skip(&field.schema)?,
        }
        Ok(())
    }

    /// Values in the order of the spec's fields, whatever the order in the file.
    fn partition(&self, cursor: &mut Cursor<'_>, schema: &Schema) -> Result<Vec<Option<Literal>>> {
        let bound = self.table.bound_spec(self.info.partition_spec_id);
        let fields = bound.map_or(&[][..], |bound| &bound.spec.fields[..]);
        let mut values = vec![None; fields.len()];
        for written in cursor.record(schema)? {
            let place = fields.iter().position(|field| match written.id {
                Some(id) => id == field.field_id,
                None => written.name == field.name || written.name == avro_name(&field.name),
            });
            let Some((place, bound)) = place.zip(bound) else {
                cursor.skip(&written.schema)?;
                continue;
            };
            let value = cursor.scalar(&written.schema)?;
            if value != Scalar::Null {
                let literal = literal(bound.types[place].as_ref(), value)
                    .ok_or_else(|| format!("partition field \"{}\" is malformed", written.name))?;
                values[place] = Some(literal);
            }
        }
        Ok(values)
    }

    /// Bounds of columns whose types are known, but those that are NaN: they bound nothing.
    fn bounds(&self, cursor: &mut Cursor<'_>, field: &Field) -> Result<ByField<Literal>> {
        let mut bounds = Vec::new();
        pairs(cursor, field, |key, value| {
            let (Some(id), Scalar::Bytes(bytes)) = (key, value) else {
                return Err(wrong(field));
            };
            let ty = match id {
                // The path of a data file, in a file of position deletes.
                2_147_483_546 => Some(&ice::PrimitiveType::String),
                2_147_483_545 => Some(&ice::PrimitiveType::Long),
                id => self.table.primitive_type(id),
            };
            let value = ty.and_then(|ty| Literal::from_bytes(ty, bytes));
            bounds.extend(
                value
                    .filter(|value| !value.is_nan())
                    .map(|value| (id, value)),
            );
            Ok(())
        })?;
        Ok(bounds.into_iter().collect())
    }

    /// Sequence numbers are inherited by added files, and by all files of format version 1.
    fn inherited(&self, own: Option<i64>, entry: &Entry) -> Result<i64> {
        let whole = self.info.sequence_number;
        match own {
            Some(number) => Ok(number),
            // Of a removed file nothing hangs on it.
            None if entry.status != EXISTING || whole == 0 => Ok(whole),
            None => Err(format!("file {} has no sequence number", entry.path)),
        }
    }

    fn data_file(&self, entry: Entry, first_row_id: Option<i64>) -> Result<DataFile> {
        Ok(DataFile {
            size_bytes: entry
                .size_bytes
                .ok_or_else(|| lacks("file_size_in_bytes"))?,
            record_count: entry.record_count.ok_or_else(|| lacks("record_count"))?,
            format: entry.format.ok_or_else(|| lacks("file_format"))?,
            spec_id: self.info.partition_spec_id,
            sequence_number: self.inherited(entry.sequence_number, &entry)?,
            file_sequence_number: self.inherited(entry.file_sequence_number, &entry)?,
            snapshot_id: entry.snapshot_id.unwrap_or(self.info.added_snapshot_id),
            path: entry.path,
            partition: entry.partition,
            lower_bounds: entry.lower_bounds,
            upper_bounds: entry.upper_bounds,
            null_counts: entry.null_counts,
            nan_counts: entry.nan_counts,
            value_counts: entry.value_counts,
            column_sizes: entry.column_sizes,
            split_offsets: entry.split_offsets,
            sort_order_id: entry.sort_order_id,
            first_row_id,
        })
    }

    fn delete_file(&self, entry: Entry) -> Result<DeleteFile> {
        let format = entry.format.ok_or_else(|| lacks("file_format"))?;
        let kind = match (entry.content, format) {
            (2, _) => DeleteKind::Equality,
            (1, FileFormat::Puffin) => DeleteKind::DeletionVector,
            (1, _) => DeleteKind::Position,
            (other, _) => return Err(format!("file {} has unknown content {other}", entry.path)),
        };
        let spec = self.table.spec_by_id(self.info.partition_spec_id);
        // Fields that are always NULL make no partition: such deletes are for all.
        let everywhere = spec.is_some_and(crate::table::PartitionSpec::is_unpartitioned);
        Ok(DeleteFile {
            kind,
            size_bytes: entry
                .size_bytes
                .ok_or_else(|| lacks("file_size_in_bytes"))?,
            record_count: entry.record_count.ok_or_else(|| lacks("record_count"))?,
            format,
            spec_id: self.info.partition_spec_id,
            sequence_number: self.inherited(entry.sequence_number, &entry)?,
            snapshot_id: entry.snapshot_id.unwrap_or(self.info.added_snapshot_id),
            partition: if kind == DeleteKind::Equality && everywhere {
                Vec::new()
            } else {
                entry.partition
            },
            path: entry.path,
            equality_ids: entry.equality_ids,
            lower_bounds: entry.lower_bounds,
            upper_bounds: entry.upper_bounds,
            referenced_data_file: entry.referenced_data_file,
            content_offset: entry.content_offset,
            content_size: entry.content_size,
        })
    }
}

/// The Iceberg id of a field of a manifest; -1 for one that the format does not know.
fn id(field: &Field) -> i32 {
    let by_name = || {
        Some(match field.name.as_str() {
            "status" => 0,
            "snapshot_id" => 1,
            "data_file" => 2,
            "sequence_number" => 3,
            "file_sequence_number" => 4,
            "content" => 134,
            "file_path" => 100,
            "file_format" => 101,
            "partition" => 102,
            "record_count" => 103,
            "file_size_in_bytes" => 104,
            _ => return None,
        })
    };
    field.id.or_else(by_name).unwrap_or(-1)
}

fn lacks(name: &str) -> String {
    format!("an entry has no {name}")
}

fn wrong(field: &Field) -> String {
    format!("field \"{}\" is malformed", field.name)
}

fn needed<T>(value: Option<T>, field: &Field) -> Result<T> {
    value.ok_or_else(|| lacks(&field.name))
}

fn count(value: i64, field: &Field) -> Result<u64> {
    u64::try_from(value).map_err(|_| wrong(field))
}

/// A whole number; `None` if the value is none, NULL included.
fn whole(value: Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Int(value) => Some(i64::from(value)),
        Scalar::Long(value) => Some(value),
        _ => None,
    }
}

fn integer(cursor: &mut Cursor<'_>, field: &Field) -> Result<Option<i64>> {
    match cursor.scalar(&field.schema)? {
        Scalar::Null => Ok(None),
        value => whole(value).map(Some).ok_or_else(|| wrong(field)),
    }
}

fn text(cursor: &mut Cursor<'_>, field: &Field) -> Result<Option<String>> {
    match cursor.scalar(&field.schema)? {
        Scalar::Null => Ok(None),
        Scalar::Text(text) => Ok(Some(text.to_owned())),
        _ => Err(wrong(field)),
    }
}

fn integers(cursor: &mut Cursor<'_>, field: &Field) -> Result<Vec<i64>> {
    let mut values = Vec::new();
    cursor.items(&field.schema, |cursor, item| {
        let value = whole(cursor.scalar(item)?);
        values.push(value.ok_or_else(|| wrong(field))?);
        Ok(())
    })?;
    Ok(values)
}

/// A map by integers, which Avro has as an array of records of key and value.
fn pairs<'a>(
    cursor: &mut Cursor<'a>,
    field: &Field,
    mut each: impl FnMut(Option<i32>, Scalar<'a>) -> Result<()>,
) -> Result<()> {
    cursor.items(&field.schema, |cursor, item| {
        let [key, value] = cursor.record(item)? else {
            return Err(wrong(field));
        };
        let key = whole(cursor.scalar(&key.schema)?);
        let value = cursor.scalar(&value.schema)?;
        each(key.and_then(|key| i32::try_from(key).ok()), value)
    })
}

fn counts(cursor: &mut Cursor<'_>, field: &Field) -> Result<ByField<u64>> {
    let mut counts = Vec::new();
    pairs(cursor, field, |key, value| {
        let (Some(key), Some(value)) = (key, whole(value)) else {
            return Err(wrong(field));
        };
        // A count below zero is no count.
        counts.extend(u64::try_from(value).ok().map(|value| (key, value)));
        Ok(())
    })?;
    Ok(counts.into_iter().collect())
}

fn format(name: &str) -> Result<FileFormat> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "parquet" => FileFormat::Parquet,
        "orc" => FileFormat::Orc,
        "avro" => FileFormat::Avro,
        "puffin" => FileFormat::Puffin,
        _ => return Err(format!("a file has the unknown format \"{name}\"")),
    })
}

/// A partition value that is not NULL. Its type may have been widened since, and is not known if its transform is not.
fn literal(ty: Option<&ice::PrimitiveType>, value: Scalar<'_>) -> Option<Literal> {
    use Literal as L;
    use ice::PrimitiveType as T;
    Some(match (ty, value) {
        (Some(T::Boolean) | None, Scalar::Boolean(v)) => L::Boolean(v),
        (Some(T::Int | T::Long) | None, Scalar::Int(v)) => L::Int(v),
        (Some(T::Date | T::Timestamp | T::TimestampNs), Scalar::Int(v)) => L::Date(v),
        (Some(T::Long) | None, Scalar::Long(v)) => L::Long(v),
        (Some(T::Int), Scalar::Long(v)) => L::Int(i32::try_from(v).ok()?),
        (Some(T::Time), Scalar::Long(v)) => L::Time(v),
        (Some(T::Timestamp), Scalar::Long(v)) => L::Timestamp(v),
        (Some(T::Timestamptz), Scalar::Long(v)) => L::TimestampTz(v),
        (Some(T::TimestampNs), Scalar::Long(v)) => L::TimestampNs(v),
        (Some(T::TimestamptzNs), Scalar::Long(v)) => L::TimestampTzNs(v),
        (Some(T::Float | T::Double) | None, Scalar::Float(v)) => L::Float(v),
        (Some(T::Double) | None, Scalar::Double(v)) => L::Double(v),
        (Some(T::Decimal { precision, scale }), Scalar::Bytes(v)) => L::Decimal {
            unscaled: big_endian(v)?,
            precision: u8::try_from(*precision).ok()?,
            scale: i8::try_from(*scale).ok()?,
        },
        (Some(T::String) | None, Scalar::Text(v)) => L::String(v.to_owned()),
        (Some(T::Uuid), Scalar::Bytes(v)) => L::Uuid(v.try_into().ok()?),
        (Some(T::Uuid), Scalar::Text(v)) => L::Uuid(uuid::Uuid::parse_str(v).ok()?.into_bytes()),
        (Some(T::Fixed(_)), Scalar::Bytes(v)) => L::Fixed(v.to_vec()),
        (Some(T::Binary) | None, Scalar::Bytes(v)) => L::Binary(v.to_vec()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::LoadedMetadata;
    use crate::{Namespace, StorageConfig, Stores, TableIdent};
    use iceberg::io::FileIO;
    use serde_json::{Value, json};
    use std::collections::HashMap;

    /// A table whose second schema lacks column 2, which the specs 1 and 2 are over.
    fn metadata() -> Value {
        let column = |id: i32, name: &str, ty: &str| json!({"id": id, "name": name, "required": false, "type": ty});
        let all = [
            column(1, "a-b", "long"),
            column(2, "gone", "string"),
            column(3, "n", "decimal(9, 2)"),
            column(4, "ts", "timestamp"),
        ];
        json!({
            "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": "/tmp/t", "last-sequence-number": 1, "last-updated-ms": 1, "last-column-id": 4,
            "schemas": [
                {"type": "struct", "schema-id": 0, "fields": all},
                {"type": "struct", "schema-id": 1, "fields": [all[0], all[2], all[3]]}
            ],
            "current-schema-id": 1, "default-spec-id": 0, "last-partition-id": 1003,
            "partition-specs": [
                {"spec-id": 0, "fields": []},
                {"spec-id": 1, "fields": [
                    {"source-id": 1, "field-id": 1000, "name": "a-b", "transform": "identity"},
                    {"source-id": 2, "field-id": 1001, "name": "gone", "transform": "identity"},
                    {"source-id": 4, "field-id": 1002, "name": "ts_day", "transform": "day"},
                ]},
                {"spec-id": 2, "fields": [
                    {"source-id": 1, "field-id": 1003, "name": "z", "transform": "zorder[4]"}
                ]}
            ],
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {}, "snapshots": [], "snapshot-log": [], "metadata-log": []
        })
    }

    fn table() -> Table {
        let mut json = metadata();
        let foreign = crate::foreign::Foreign::take_out(&mut json);
        let metadata = serde_json::from_value(json).unwrap();
        Table::new(
            TableIdent::new(Namespace::new("main"), "t"),
            String::new(),
            Arc::new(LoadedMetadata::with_foreign(metadata, foreign)),
            Stores::new(StorageConfig::default()),
        )
    }

    fn data_file(partition: ice::Struct, rows: u64) -> ice::DataFile {
        let bounds = HashMap::from([
            (1, ice::Datum::long(-7)),
            (4, ice::Datum::timestamp_micros(99)),
        ]);
        ice::DataFileBuilder::default()
            .content(ice::DataContentType::Data)
            .file_path(format!("/tmp/t/{rows}.parquet"))
            .file_format(ice::DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(1)
            .record_count(rows)
            .file_size_in_bytes(100 + rows)
            .column_sizes(HashMap::from([(1, 10), (4, 20)]))
            .value_counts(HashMap::from([(1, rows)]))
            .null_value_counts(HashMap::from([(1, 0)]))
            .nan_value_counts(HashMap::new())
            .lower_bounds(bounds.clone())
            .upper_bounds(bounds)
            .split_offsets(Some(vec![4, 50]))
            .sort_order_id(0)
            .build()
            .unwrap()
    }

    /// A manifest of `files`, made by the iceberg crate under `schema` and `spec`.
    async fn manifest(
        schema: &ice::Schema,
        spec: ice::PartitionSpec,
        files: Vec<ice::DataFile>,
    ) -> (ice::ManifestFile, Vec<u8>) {
        let memory = FileIO::new_with_memory();
        let output = memory.new_output("memory:///m.avro").unwrap();
        let schema = Arc::new(schema.clone());
        let mut writer =
            ice::ManifestWriterBuilder::new(output, Some(5), schema, spec).build_v2_data();
        for file in files {
            writer.add_file(file, -1).unwrap();
        }
        let mut info = writer.write_manifest_file().await.unwrap();
        info.sequence_number = 3;
        let input = memory.new_input("memory:///m.avro").unwrap();
        (info, input.read().await.unwrap().to_vec())
    }

    fn partition_of(spec: &Value) -> ice::PartitionSpec {
        serde_json::from_value(spec.clone()).unwrap()
    }

    #[tokio::test]
    async fn mangled_names_and_dropped_columns_are_found_by_their_ids() {
        let table = table();
        let mut spec = metadata()["partition-specs"][1].clone();
        // What Java makes of the name in the manifest's schema.
        spec["fields"][0]["name"] = "a_x2Db".into();
        let schema = table.metadata().schema_by_id(0).unwrap();
        let partition = ice::Struct::from_iter([
            Some(ice::Literal::long(9)),
            Some(ice::Literal::string("x")),
            Some(ice::Literal::date(20)),
        ]);
        let nulls = ice::Struct::from_iter([None, None, None]);
        let files = vec![data_file(partition, 5), data_file(nulls, 6)];
        let (info, bytes) = manifest(schema, partition_of(&spec), files).await;
        let found = decode(&bytes, &info, &table).unwrap().data;
        assert_eq!(found.len(), 2);
        let file = &found[0];
        let expected = [
            Literal::Long(9),
            Literal::String("x".into()),
            Literal::Date(20),
        ];
        assert_eq!(file.partition, expected.map(Some));
        assert_eq!(found[1].partition, [None, None, None]);
        assert_eq!(
            (file.path.as_str(), file.record_count, file.size_bytes),
            ("/tmp/t/5.parquet", 5, 105)
        );
        assert_eq!((file.sequence_number, file.snapshot_id), (3, 5));
        assert_eq!(file.lower_bounds.get(4), Some(&Literal::Timestamp(99)));
        assert_eq!(file.upper_bounds.get(1), Some(&Literal::Long(-7)));
        assert_eq!(file.split_offsets, [4, 50]);
        assert_eq!(file.column_sizes.get(4), Some(&20));
        assert_eq!(
            (file.value_counts.get(1), file.null_counts.get(1)),
            (Some(&5), Some(&0))
        );
    }

    #[tokio::test]
    async fn the_values_of_an_unknown_transform_are_read_as_they_are_written() {
        let table = table();
        let mut spec = metadata()["partition-specs"][2].clone();
        spec["fields"][0]["transform"] = "bucket[4]".into();
        let partition = ice::Struct::from_iter([Some(ice::Literal::int(2))]);
        let schema = table.metadata().schema_by_id(0).unwrap();
        let (mut info, bytes) =
            manifest(schema, partition_of(&spec), vec![data_file(partition, 1)]).await;
        info.partition_spec_id = 2;
        // The crate takes such a transform to give text.
        assert!(table.bound_spec(2).unwrap().types[0].is_none());
        let found = decode(&bytes, &info, &table).unwrap().data;
        assert_eq!(found[0].partition, [Some(Literal::Int(2))]);
        assert!(
            table
                .check_writable()
                .unwrap_err()
                .to_string()
                .contains("zorder[4]")
        );
    }

    #[tokio::test]
    async fn a_damaged_manifest_is_an_error_that_names_it_or_reads_as_something_and_never_panics() {
        let table = table();
        let schema = table.metadata().schema_by_id(0).unwrap();
        let mut spec = metadata()["partition-specs"][1].clone();
        spec["fields"][0]["name"] = "a_x2Db".into();
        let nulls = ice::Struct::from_iter([None, None, None]);
        let (info, bytes) = manifest(schema, partition_of(&spec), vec![data_file(nulls, 6)]).await;
        for end in 0..bytes.len() {
            let error = decode(&bytes[..end], &info, &table).err().unwrap();
            assert!(error.to_string().contains(&info.manifest_path), "{error}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = decode(&damaged, &info, &table);
        }
    }
}
