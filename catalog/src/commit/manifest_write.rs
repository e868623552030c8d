//! Writing manifests and manifest lists.
//!
//! The iceberg crate encodes them into memory; the bytes go out through our own stores.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec as ice;

use super::{NewDataFile, Session};
use crate::error::{CatalogError, Result};
use crate::literal::Literal;
use crate::table::Table;

/// Most files in one manifest: about 8 MiB, the target size of Java's.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// A new file takes the sequence number of its snapshot.
const INHERIT_SEQUENCE_NUMBER: i64 = -1;
/// Name of the one object in the memory store of a manifest writer.
const MEMORY_NAME: &str = "memory:///manifest.avro";

/// Refuses a partition spec whose manifests cannot be written.
///
/// # Errors
/// [`CatalogError::Unsupported`] names a field whose name Avro does not allow, [`CatalogError::Conflict`] a spec that was
/// removed, or whose column was.
pub(super) fn check(head: &Table, spec_id: i32) -> Result<()> {
    Target::new(head, spec_id).map(|_| ())
}

/// Writes one manifest of new data files. All of them have partition spec `spec_id`.
pub(super) async fn write_data(
    head: &Table,
    spec_id: i32,
    files: &[NewDataFile],
    session: &mut Session,
) -> Result<ice::ManifestFile> {
    let target = Target::new(head, spec_id)?;
    let memory = FileIO::new_with_memory();
    let mut writer = target.writer(&memory, ice::ManifestContentType::Data, session)?;
    let (schema, spec) = (&target.schema, &target.spec);
    let partition = spec.partition_type(schema).map_err(encode_error)?;
    for file in files {
        let entry = data_file(file, schema, &partition)?;
        writer
            .add_file(entry, INHERIT_SEQUENCE_NUMBER)
            .map_err(encode_error)?;
    }
    finish(head, &memory, writer, session).await
}

/// Writes one manifest that says that `entries`, all live files that `manifest` lists, are deleted.
pub(super) async fn write_deleted(
    head: &Table,
    manifest: &ice::ManifestFile,
    entries: &[&ice::ManifestEntryRef],
    session: &mut Session,
) -> Result<ice::ManifestFile> {
    let target = Target::new(head, manifest.partition_spec_id)?;
    let memory = FileIO::new_with_memory();
    let mut writer = target.writer(&memory, manifest.content, session)?;
    let mut row_ids = RowIds::of(manifest);
    for entry in entries {
        // Numbers that an entry leaves out are those of its manifest.
        let number = |own: Option<i64>| own.unwrap_or(manifest.sequence_number);
        let file = match manifest.content {
            ice::ManifestContentType::Data => {
                let row_id = row_ids.next(entry.data_file());
                with_row_id(entry.data_file(), row_id, manifest.partition_spec_id)?
            }
            ice::ManifestContentType::Deletes => entry.data_file().clone(),
        };
        writer
            .add_delete_file(
                file,
                number(entry.sequence_number),
                Some(number(entry.file_sequence_number)),
            )
            .map_err(encode_error)?;
    }
    finish(head, &memory, writer, session).await
}

/// Writes one manifest with the live files of `sources`, which are data manifests of one partition spec.
///
/// Files that this commit adds stay added; all others keep the snapshot, the sequence numbers and in format version 3
/// the row ids that they have.
pub(super) async fn write_merged(
    head: &Table,
    sources: &[(&ice::ManifestFile, ice::Manifest)],
    session: &mut Session,
) -> Result<ice::ManifestFile> {
    let Some((first, _)) = sources.first() else {
        return Err(CatalogError::internal("no manifests to merge"));
    };
    let target = Target::new(head, first.partition_spec_id)?;
    let memory = FileIO::new_with_memory();
    let mut writer = target.writer(&memory, ice::ManifestContentType::Data, session)?;
    for (manifest, content) in sources {
        let mut row_ids = RowIds::of(manifest);
        for entry in content.entries().iter().filter(|entry| entry.is_alive()) {
            let snapshot_id = entry.snapshot_id.unwrap_or(manifest.added_snapshot_id);
            let file = entry.data_file();
            if snapshot_id == session.snapshot_id {
                writer
                    .add_file(file.clone(), INHERIT_SEQUENCE_NUMBER)
                    .map_err(encode_error)?;
                continue;
            }
            let row_id = row_ids.next(file);
            let file = with_row_id(file, row_id, manifest.partition_spec_id)?;
            let number = |own: Option<i64>| own.unwrap_or(manifest.sequence_number);
            writer
                .add_existing_file(
                    file,
                    snapshot_id,
                    number(entry.sequence_number),
                    Some(number(entry.file_sequence_number)),
                )
                .map_err(encode_error)?;
        }
    }
    finish(head, &memory, writer, session).await
}

/// Row ids of the files of one manifest, in its order.
///
/// Source: Iceberg spec, "First Row ID Inheritance".
struct RowIds {
    next: Option<i64>,
}

impl RowIds {
    fn of(manifest: &ice::ManifestFile) -> Self {
        let first = manifest.first_row_id;
        Self {
            next: first.and_then(|first| i64::try_from(first).ok()),
        }
    }

    /// The row id of the first row of the next live data file; `None` before format version 3.
    fn next(&mut self, file: &ice::DataFile) -> Option<i64> {
        if let Some(own) = file.first_row_id() {
            return Some(own);
        }
        let id = self.next?;
        let rows = i64::try_from(file.record_count()).unwrap_or(0);
        self.next = Some(id.saturating_add(rows));
        Some(id)
    }
}

/// The same file with its row id written out: it would inherit another one from another manifest.
fn with_row_id(file: &ice::DataFile, row_id: Option<i64>, spec_id: i32) -> Result<ice::DataFile> {
    if row_id == file.first_row_id() {
        return Ok(file.clone());
    }
    let mut builder = ice::DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .partition_spec_id(spec_id)
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(row_id)
        .referenced_data_file(file.referenced_data_file())
        .content_offset(file.content_offset())
        .content_size_in_bytes(file.content_size_in_bytes());
    if let Some(id) = file.sort_order_id() {
        builder.sort_order_id(id);
    }
    builder.build().map_err(|error| {
        CatalogError::internal(format!(
            "data file \"{}\" is incomplete: {error}",
            file.file_path()
        ))
    })
}

/// Spec and schema of a manifest that is to be written.
struct Target<'a> {
    head: &'a Table,
    spec: ice::PartitionSpecRef,
    schema: ice::SchemaRef,
}

impl<'a> Target<'a> {
    fn new(head: &'a Table, spec_id: i32) -> Result<Self> {
        head.check_partition_names(spec_id)?;
        let spec = head
            .metadata()
            .partition_spec_by_id(spec_id)
            .ok_or_else(|| CatalogError::Conflict {
                table: head.ident().to_string(),
                reason: format!("partition spec {spec_id} was removed"),
            })?;
        let schema = schema_for_spec(head, spec).ok_or_else(|| CatalogError::Conflict {
            table: head.ident().to_string(),
            reason: format!("a source column of partition spec {spec_id} was removed"),
        })?;
        Ok(Self {
            head,
            spec: Arc::clone(spec),
            schema,
        })
    }

    fn writer(
        &self,
        memory: &FileIO,
        content: ice::ManifestContentType,
        session: &Session,
    ) -> Result<ice::ManifestWriter> {
        let output = memory.new_output(MEMORY_NAME).map_err(encode_error)?;
        let builder = ice::ManifestWriterBuilder::new(
            output,
            Some(session.snapshot_id),
            Arc::clone(&self.schema),
            self.spec.as_ref().clone(),
        );
        let deletes = content == ice::ManifestContentType::Deletes;
        Ok(match self.head.metadata().format_version() {
            ice::FormatVersion::V1 => builder.build_v1(),
            ice::FormatVersion::V2 if deletes => builder.build_v2_deletes(),
            ice::FormatVersion::V2 => builder.build_v2_data(),
            ice::FormatVersion::V3 if deletes => builder.build_v3_deletes(),
            ice::FormatVersion::V3 => builder.build_v3_data(),
        })
    }
}

/// Writes what a manifest writer holds to the table's metadata.
async fn finish(
    head: &Table,
    memory: &FileIO,
    writer: ice::ManifestWriter,
    session: &mut Session,
) -> Result<ice::ManifestFile> {
    let mut manifest = writer.write_manifest_file().await.map_err(encode_error)?;
    let input = memory.new_input(MEMORY_NAME).map_err(encode_error)?;
    let bytes = input.read().await.map_err(encode_error)?;
    let id = uuid::Uuid::new_v4();
    manifest.manifest_path = format!("{}/{id}-m0.avro", head.metadata_directory());
    session.record_written(manifest.manifest_path.clone());
    head.stores().write(&manifest.manifest_path, bytes).await?;
    Ok(manifest)
}

/// The current schema if it has all source columns of `spec`, else the newest that does.
fn schema_for_spec(head: &Table, spec: &ice::PartitionSpec) -> Option<ice::SchemaRef> {
    let fits = |schema: &&ice::SchemaRef| spec.partition_type(schema).is_ok();
    let current = head.metadata().current_schema();
    if fits(&current) {
        return Some(Arc::clone(current));
    }
    head.metadata()
        .schemas_iter()
        .filter(fits)
        .max_by_key(|schema| schema.schema_id())
        .map(Arc::clone)
}

fn data_file(
    file: &NewDataFile,
    schema: &ice::Schema,
    partition: &ice::StructType,
) -> Result<ice::DataFile> {
    let values = file
        .partition
        .iter()
        .zip(partition.fields())
        .map(|(value, field)| partition_value(value.as_ref(), field))
        .collect::<Result<ice::Struct>>()?;
    let bounds = |bounds: &std::collections::HashMap<i32, Literal>| {
        bounds
            .iter()
            .filter(|(_, value)| !value.is_nan())
            .filter_map(|(id, value)| {
                let ty = schema.field_by_id(*id)?.field_type.as_primitive_type()?;
                Some(value.to_datum(ty).map(|datum| (*id, datum)))
            })
            .collect::<Result<_>>()
    };
    let mut builder = ice::DataFileBuilder::default();
    builder
        .content(ice::DataContentType::Data)
        .file_path(file.path.clone())
        .file_format(ice::DataFileFormat::Parquet)
        .partition(values)
        .partition_spec_id(file.spec_id)
        .record_count(file.record_count)
        .file_size_in_bytes(file.size_bytes)
        .column_sizes(file.column_sizes.clone())
        .value_counts(file.value_counts.clone())
        .null_value_counts(file.null_counts.clone())
        .nan_value_counts(file.nan_counts.clone())
        .lower_bounds(bounds(&file.lower_bounds)?)
        .upper_bounds(bounds(&file.upper_bounds)?)
        .split_offsets(Some(file.split_offsets.clone()).filter(|offsets| !offsets.is_empty()));
    if let Some(id) = file.sort_order_id {
        builder.sort_order_id(id);
    }
    builder.build().map_err(|error| {
        CatalogError::internal(format!(
            "data file \"{}\" is incomplete: {error}",
            file.path
        ))
    })
}

fn partition_value(
    value: Option<&Literal>,
    field: &ice::NestedField,
) -> Result<Option<ice::Literal>> {
    let Some(value) = value else {
        return Ok(None);
    };
    let ty = field.field_type.as_primitive_type().ok_or_else(|| {
        CatalogError::internal(format!("partition field \"{}\" is nested", field.name))
    })?;
    Ok(Some(ice::Literal::from(value.to_datum(ty)?)))
}

/// What goes into one manifest list.
pub(super) struct ManifestListInput {
    pub(super) location: String,
    pub(super) snapshot_id: i64,
    pub(super) parent_id: Option<i64>,
    pub(super) manifests: Vec<ice::ManifestFile>,
}

/// Writes a manifest list on top of `head`. In format version 3 returns the row ids it assigned:
/// the first one and how many.
pub(super) async fn write_list(
    head: &Table,
    list: ManifestListInput,
) -> Result<Option<(u64, u64)>> {
    let buffer = Buffer::default();
    let output = Box::new(buffer.clone());
    let metadata = head.metadata();
    let sequence_number = metadata.next_sequence_number();
    let (id, parent) = (list.snapshot_id, list.parent_id);
    let first_row_id = metadata.next_row_id();
    let lineage = metadata.format_version() >= ice::MIN_FORMAT_VERSION_ROW_LINEAGE;
    let mut writer = match metadata.format_version() {
        ice::FormatVersion::V1 => ice::ManifestListWriter::v1(output, id, parent),
        ice::FormatVersion::V2 => ice::ManifestListWriter::v2(output, id, parent, sequence_number),
        ice::FormatVersion::V3 => {
            let first = Some(first_row_id);
            ice::ManifestListWriter::v3(output, id, parent, sequence_number, first)
        }
    };
    writer
        .add_manifests(list.manifests.into_iter())
        .map_err(encode_error)?;
    let next_row_id = writer.next_row_id();
    writer.close().await.map_err(encode_error)?;
    head.stores().write(&list.location, buffer.take()).await?;
    Ok(next_row_id
        .filter(|_| lineage)
        .map(|next| (first_row_id, next.saturating_sub(first_row_id))))
}

#[allow(clippy::needless_pass_by_value)] // the shape `map_err` wants
fn encode_error(error: iceberg::Error) -> CatalogError {
    CatalogError::internal(format!("a manifest could not be encoded: {error}"))
}

/// A file in memory, shared with the writer that fills it.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<BytesMut>>);

impl Buffer {
    fn take(&self) -> Bytes {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *bytes).freeze()
    }
}

#[async_trait]
impl FileWrite for Buffer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}
