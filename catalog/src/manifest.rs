//! Reading a snapshot's manifests: which data and delete files are alive in it.
//!
//! Metadata objects are immutable, so they are kept in one cache per process, bounded in bytes.
//! Which files a query needs is decided by the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec as ice;
use serde::{Deserialize, Serialize};

use crate::by_field::ByField;
use crate::cache::ManifestCache;
use crate::error::{CatalogError, Result};
use crate::literal::Literal;
use crate::manifest_read::{decode, decode_entries};
use crate::metadata_file::{corrupt, off_thread};
use crate::storage::Stores;
use crate::table::{BoundSpec, Snapshot, Table};

/// Manifests of one statement that are read at the same time.
const MANIFESTS_IN_FLIGHT_MAX: usize = 16;
/// Field id of the column that holds the data file's path in position delete files.
const DELETE_FILE_PATH_ID: i32 = 2_147_483_546;

/// The live files of one manifest.
pub(crate) struct ManifestFiles {
    pub(crate) data: Vec<Arc<DataFile>>,
    pub(crate) deletes: Vec<Arc<DeleteFile>>,
}

/// What a data or delete file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Apache ORC.
    Orc,
    /// Apache Avro.
    Avro,
    /// Puffin: deletion vectors.
    Puffin,
}

/// A live data file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Location.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Rows, deleted ones included.
    pub record_count: u64,
    /// Format.
    pub format: FileFormat,
    /// Partition spec it was written with.
    pub spec_id: i32,
    /// Partition values in the order of the spec's fields.
    pub partition: Vec<Option<Literal>>,
    /// Data sequence number: decides which deletes apply.
    pub sequence_number: i64,
    /// Sequence number of the snapshot that added the file.
    pub file_sequence_number: i64,
    /// Lower bounds by field id: at most every value that is neither NULL nor NaN.
    pub lower_bounds: ByField<Literal>,
    /// Upper bounds by field id: at least every value that is neither NULL nor NaN.
    pub upper_bounds: ByField<Literal>,
    /// NULLs by field id.
    pub null_counts: ByField<u64>,
    /// NaNs by field id.
    pub nan_counts: ByField<u64>,
    /// Values by field id, NULL and NaN included.
    pub value_counts: ByField<u64>,
    /// Bytes on disk by field id.
    pub column_sizes: ByField<u64>,
    /// Offsets at which the file is best split; empty if not known.
    pub split_offsets: Vec<i64>,
    /// Sort order the file was written in.
    pub sort_order_id: Option<i32>,
    /// Row id of the first row (format version 3).
    pub first_row_id: Option<i64>,
    /// Snapshot that added the file.
    pub snapshot_id: i64,
}

/// How a delete file says what it deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeleteKind {
    /// Parquet rows of (file path, position).
    Position,
    /// Rows whose values delete their equals.
    Equality,
    /// A bitmap of positions of one data file, in a Puffin file.
    DeletionVector,
}

/// A live delete file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFile {
    /// How it deletes.
    pub kind: DeleteKind,
    /// Location.
    pub path: String,
    /// Size in bytes, of the whole file.
    pub size_bytes: u64,
    /// Deleted rows, or rows of values for equality deletes.
    pub record_count: u64,
    /// Format.
    pub format: FileFormat,
    /// Partition spec it was written with.
    pub spec_id: i32,
    /// Partition values in the order of the spec's fields.
    pub partition: Vec<Option<Literal>>,
    /// Data sequence number: decides which data files it applies to.
    pub sequence_number: i64,
    /// Columns that equality deletes compare, by field id.
    pub equality_ids: Vec<i32>,
    /// Lower bounds by field id.
    pub lower_bounds: ByField<Literal>,
    /// Upper bounds by field id.
    pub upper_bounds: ByField<Literal>,
    /// The one data file it deletes from, if there is only one and it is known.
    pub referenced_data_file: Option<String>,
    /// Where a deletion vector starts in its file.
    pub content_offset: Option<i64>,
    /// Length of a deletion vector in its file.
    pub content_size: Option<i64>,
    /// Snapshot that added the file.
    pub snapshot_id: i64,
}

impl DeleteFile {
    /// Bounds of the data file paths it deletes from, if known.
    pub(crate) fn path_bounds(&self) -> Option<(&str, &str)> {
        match (
            self.lower_bounds.get(DELETE_FILE_PATH_ID)?,
            self.upper_bounds.get(DELETE_FILE_PATH_ID)?,
        ) {
            (Literal::String(lower), Literal::String(upper)) => Some((lower, upper)),
            _ => None,
        }
    }
}

/// What a manifest lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestContent {
    /// Data files.
    Data,
    /// Delete files.
    Deletes,
}

/// A manifest as the manifest list describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestInfo {
    /// Location.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What it lists.
    pub content: ManifestContent,
    /// Partition spec of all its files.
    pub partition_spec_id: i32,
    /// Sequence number of the snapshot that added it.
    pub sequence_number: i64,
    /// Smallest data sequence number of its live files.
    pub min_sequence_number: i64,
    /// Snapshot that added it.
    pub added_snapshot_id: i64,
    /// Files added by that snapshot, if counted.
    pub added_files: Option<u32>,
    /// Live files that were there before, if counted.
    pub existing_files: Option<u32>,
    /// Files removed by that snapshot, if counted.
    pub deleted_files: Option<u32>,
    /// Rows in added files, if counted.
    pub added_rows: Option<u64>,
    /// Rows in existing files, if counted.
    pub existing_rows: Option<u64>,
    /// Summary of each partition field, in the order of the spec; empty if not written.
    pub partitions: Vec<PartitionSummary>,
}

/// What one manifest holds of one partition field.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PartitionSummary {
    /// Whether some file has NULL.
    pub contains_null: bool,
    /// Whether some file has NaN, if known.
    pub contains_nan: Option<bool>,
    /// At most every value; `None` if all are NULL or NaN, or if it is not known.
    pub lower: Option<Literal>,
    /// At least every value; `None` if all are NULL or NaN, or if it is not known.
    pub upper: Option<Literal>,
}

/// The live files of a snapshot, in the order of its manifests.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFiles {
    /// Data files.
    pub data: Vec<Arc<DataFile>>,
    /// Delete files; [`DeleteIndex`](crate::DeleteIndex) says which apply to which data file.
    pub deletes: Vec<Arc<DeleteFile>>,
    /// Manifests in the snapshot.
    pub manifests_total: usize,
    /// Manifests that `keep` or their counts ruled out.
    pub manifests_pruned: usize,
}

/// The live files of `snapshot` in the manifests that `keep` wants.
///
/// Manifests are read in parallel through `cache`. A manifest is dropped only when `keep` says no or
/// when its counts say that no live file is in it.
///
/// Source: Iceberg spec, "Scan Planning".
///
/// # Errors
/// [`CatalogError::FileNotFound`] and [`CatalogError::Corrupt`] name the list or manifest;
/// [`CatalogError::StorageUnavailable`] is retryable.
pub async fn snapshot_files(
    table: &Table,
    snapshot: &Snapshot,
    cache: &ManifestCache,
    keep: &(dyn Fn(&ManifestInfo) -> bool + Sync),
) -> Result<SnapshotFiles> {
    let list = manifest_list(table, snapshot, cache).await?;
    let wanted: Vec<&ice::ManifestFile> = list
        .iter()
        .filter(|manifest| may_hold_live_files(manifest))
        .filter(|manifest| keep(&info(table, manifest)))
        .collect();
    let mut files = SnapshotFiles {
        manifests_total: list.len(),
        manifests_pruned: list.len() - wanted.len(),
        ..SnapshotFiles::default()
    };
    let reads: Vec<_> = wanted
        .into_iter()
        .map(|manifest| Box::pin(manifest_files(table, manifest, cache)))
        .collect();
    let mut contents = futures::stream::iter(reads).buffered(MANIFESTS_IN_FLIGHT_MAX);
    while let Some(content) = contents.try_next().await? {
        files.data.extend(content.data.iter().cloned());
        files.deletes.extend(content.deletes.iter().cloned());
    }
    Ok(files)
}

/// The manifests of a snapshot.
///
/// # Errors
/// As [`snapshot_files`], for the list.
pub async fn manifests(
    table: &Table,
    snapshot: &Snapshot,
    cache: &ManifestCache,
) -> Result<Vec<ManifestInfo>> {
    let list = manifest_list(table, snapshot, cache).await?;
    Ok(list.iter().map(|manifest| info(table, manifest)).collect())
}

/// What a manifest says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryStatus {
    /// It was there before.
    Existing,
    /// The manifest's snapshot added it.
    Added,
    /// The manifest's snapshot removed it.
    Deleted,
}

/// A file that a manifest lists.
#[derive(Clone, Debug)]
pub enum ContentFile {
    /// Rows.
    Data(Arc<DataFile>),
    /// Deletes.
    Delete(Arc<DeleteFile>),
}

/// One line of a manifest, with what it inherits.
#[derive(Clone, Debug)]
pub struct ManifestEntry {
    /// What happened to the file.
    pub status: EntryStatus,
    /// Its data sequence number counts for deletes, this one for who added it.
    pub file_sequence_number: Option<i64>,
    /// The file.
    pub file: ContentFile,
}

/// Every line of a snapshot's manifests, removed files also. Not cached.
///
/// # Errors
/// As [`snapshot_files`].
pub async fn manifest_entries(
    table: &Table,
    snapshot: &Snapshot,
    cache: &ManifestCache,
) -> Result<Vec<ManifestEntry>> {
    let list = manifest_list(table, snapshot, cache).await?;
    let reads: Vec<_> = list
        .iter()
        .map(|manifest| Box::pin(entries_of(table, manifest)))
        .collect();
    let each: Vec<Vec<ManifestEntry>> = futures::stream::iter(reads)
        .buffered(MANIFESTS_IN_FLIGHT_MAX)
        .try_collect()
        .await?;
    Ok(each.into_iter().flatten().collect())
}

/// Every line of one manifest.
pub(crate) async fn entries_of(
    table: &Table,
    manifest: &ice::ManifestFile,
) -> Result<Vec<ManifestEntry>> {
    let bytes = read_manifest_bytes(table.stores(), manifest).await?;
    let (table, info) = (table.clone(), manifest.clone());
    let location = manifest.manifest_path.clone();
    let decode = move || decode_entries(&bytes, &info, &table);
    off_thread("manifest", location, decode).await
}

fn may_hold_live_files(manifest: &ice::ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

fn info(table: &Table, manifest: &ice::ManifestFile) -> ManifestInfo {
    let bound = table.bound_spec(manifest.partition_spec_id);
    ManifestInfo {
        path: manifest.manifest_path.clone(),
        size_bytes: u64::try_from(manifest.manifest_length).unwrap_or(0),
        content: match manifest.content {
            ice::ManifestContentType::Data => ManifestContent::Data,
            ice::ManifestContentType::Deletes => ManifestContent::Deletes,
        },
        partition_spec_id: manifest.partition_spec_id,
        sequence_number: manifest.sequence_number,
        min_sequence_number: manifest.min_sequence_number,
        added_snapshot_id: manifest.added_snapshot_id,
        added_files: manifest.added_files_count,
        existing_files: manifest.existing_files_count,
        deleted_files: manifest.deleted_files_count,
        added_rows: manifest.added_rows_count,
        existing_rows: manifest.existing_rows_count,
        partitions: match (&manifest.partitions, bound) {
            (Some(summaries), Some(bound)) => partition_summaries(summaries, bound),
            _ => Vec::new(),
        },
    }
}

fn partition_summaries(
    summaries: &[ice::FieldSummary],
    bound: &BoundSpec,
) -> Vec<PartitionSummary> {
    summaries
        .iter()
        .zip(&bound.types)
        .map(|(summary, ty)| {
            let value =
                |bytes: &Option<ice::ByteBuf>| Literal::from_bytes(ty.as_ref()?, bytes.as_ref()?);
            PartitionSummary {
                contains_null: summary.contains_null,
                contains_nan: summary.contains_nan,
                lower: value(&summary.lower_bound),
                upper: value(&summary.upper_bound),
            }
        })
        .collect()
}

/// The manifests of a snapshot, through the cache.
pub(crate) async fn manifest_list(
    table: &Table,
    snapshot: &Snapshot,
    cache: &ManifestCache,
) -> Result<Arc<Vec<ice::ManifestFile>>> {
    let read = read_manifest_list(table, snapshot);
    cache.list(&snapshot.manifest_list, read).await
}

/// The manifests of a snapshot.
pub(crate) async fn read_manifest_list(
    table: &Table,
    snapshot: &Snapshot,
) -> Result<Vec<ice::ManifestFile>> {
    let location = snapshot.manifest_list.clone();
    if location.is_empty() {
        return Err(CatalogError::unsupported(format!(
            "snapshot {} of table \"{}\" lists its manifests inside the metadata (early format \
             version 1); rewrite the table with another engine",
            snapshot.id,
            table.ident()
        )));
    }
    let bytes = read_needed(table.stores(), &location, "manifest list").await?;
    let version = table.metadata().format_version();
    let expects_files = snapshot
        .summary
        .get("total-data-files")
        .and_then(|total| total.parse::<u64>().ok())
        .is_some_and(|total| total > 0);
    off_thread("manifest list", location.clone(), move || {
        let entries = parse_manifest_list(&location, &bytes, version)?;
        if entries.is_empty() && expects_files {
            return Err(corrupt(
                "manifest list",
                &location,
                "it is empty although the snapshot has files",
            ));
        }
        Ok(entries)
    })
    .await
}

/// A list may be of an earlier version than its table, which was upgraded since.
fn parse_manifest_list(
    location: &str,
    bytes: &Bytes,
    version: ice::FormatVersion,
) -> Result<Vec<ice::ManifestFile>> {
    let mut first_error = None;
    for candidate in [
        ice::FormatVersion::V3,
        ice::FormatVersion::V2,
        ice::FormatVersion::V1,
    ] {
        if candidate > version {
            continue;
        }
        match ice::ManifestList::parse_with_version(bytes, candidate) {
            Ok(list) => return Ok(list.consume_entries().into_iter().collect()),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let reason = first_error.map_or_else(String::new, |error| error.to_string());
    Err(corrupt("manifest list", location, reason))
}

async fn read_needed(stores: &Stores, location: &str, what: &str) -> Result<Bytes> {
    stores.read(location).await.map_err(|error| match error {
        CatalogError::FileNotFound {
            location, source, ..
        } => CatalogError::FileNotFound {
            location,
            next: format!(
                "it is a {what} that the snapshot needs; restore it, or return the table to an \
                 earlier snapshot"
            ),
            source,
        },
        other => other,
    })
}

async fn manifest_files(
    table: &Table,
    manifest: &ice::ManifestFile,
    cache: &ManifestCache,
) -> Result<Arc<ManifestFiles>> {
    // The first row id is inherited: after an upgrade the same manifest is read with another one.
    let key = match manifest.first_row_id {
        Some(id) => format!("{}#{id}", manifest.manifest_path),
        None => manifest.manifest_path.clone(),
    };
    let read = read_manifest_files(table, manifest);
    cache.manifest(&key, read).await
}

async fn read_manifest_files(table: &Table, manifest: &ice::ManifestFile) -> Result<ManifestFiles> {
    let bytes = read_manifest_bytes(table.stores(), manifest).await?;
    let (table, info) = (table.clone(), manifest.clone());
    let location = manifest.manifest_path.clone();
    off_thread("manifest", location, move || decode(&bytes, &info, &table)).await
}

/// A manifest as the crate writes it again; nothing if the crate does not read in it what we do: names that Avro does not
/// allow, columns that were dropped, and lengths that Java writes in front of fixed values are beyond it.
///
/// # Errors
/// If the manifest cannot be read at all.
pub(crate) async fn read_rewritable(
    table: &Table,
    manifest: &ice::ManifestFile,
) -> Result<Option<ice::Manifest>> {
    let bytes = read_manifest_bytes(table.stores(), manifest).await?;
    let (table, info) = (table.clone(), manifest.clone());
    off_thread("manifest", manifest.manifest_path.clone(), move || {
        let ours = decode_entries(&bytes, &info, &table)?;
        let theirs = catch_unwind(AssertUnwindSafe(|| ice::Manifest::parse_avro(&bytes)));
        let Ok(Ok(theirs)) = theirs else {
            return Ok(None);
        };
        let types = table.bound_spec(info.partition_spec_id);
        let types = types.map_or(&[][..], |bound| &bound.types[..]);
        let same = ours.len() == theirs.entries().len()
            && ours.iter().zip(theirs.entries()).all(|(our, their)| {
                let their = their.data_file();
                let (path, rows, partition) = match &our.file {
                    ContentFile::Data(file) => (&file.path, file.record_count, &file.partition),
                    ContentFile::Delete(file) => (&file.path, file.record_count, &file.partition),
                };
                path == their.file_path()
                    && rows == their.record_count()
                    && is_partition(partition, types, their.partition())
            });
        Ok(same.then_some(theirs))
    })
    .await
}

/// Whether the values of a partition are those that the crate read.
fn is_partition(
    ours: &[Option<Literal>],
    types: &[Option<ice::PrimitiveType>],
    theirs: &ice::Struct,
) -> bool {
    // Equality deletes of everywhere have none.
    if ours.is_empty() {
        return true;
    }
    ours.len() == theirs.fields().len()
        && ours.len() == types.len()
        && ours
            .iter()
            .zip(types)
            .zip(theirs.iter())
            .all(|((our, ty), their)| match (our, ty, their) {
                (None, _, None) => true,
                (Some(our), Some(ty), Some(their)) => our
                    .to_datum(ty)
                    .is_ok_and(|our| ice::Literal::from(our) == *their),
                _ => false,
            })
}

async fn read_manifest_bytes(stores: &Stores, manifest: &ice::ManifestFile) -> Result<Bytes> {
    let location = &manifest.manifest_path;
    let bytes = read_needed(stores, location, "manifest").await?;
    let expected = u64::try_from(manifest.manifest_length).unwrap_or(0);
    if (bytes.len() as u64) < expected {
        let reason = format!("it has {} of its {expected} bytes", bytes.len());
        return Err(corrupt("manifest", location, reason));
    }
    Ok(bytes)
}
