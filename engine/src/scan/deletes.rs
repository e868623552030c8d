//! Rows that position deletes and deletion vectors take out of a data file.
//!
//! Read where the scan runs, once per delete file and plan. Knows the two delete formats. Refuses to know plans.

use std::collections::{BTreeSet, HashMap};
use std::io::Cursor;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use chrono::DateTime;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::parquet::{
    DefaultParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::PartitionedFile;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelector,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use roaring::RoaringTreemap;
use tokio::sync::OnceCell;

use super::conform::field_id;
use super::error::ScanError;
use super::reads::{Counted, Reads, ScanFile};

/// Field id of `file_path` in a position delete file. Source: Iceberg spec, "Reserved Field IDs".
const FILE_PATH_ID: i32 = 2_147_483_546;
/// Field id of `pos` in a position delete file.
const POS_ID: i32 = 2_147_483_545;
/// First bytes of a `deletion-vector-v1` blob after its length. Source: Puffin spec.
const VECTOR_MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];

/// The deletes of one data file. Travels as an extension of its `PartitionedFile`, and beside the plan on the wire.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileDeletes {
    /// Location of the data file, as position delete files name it.
    pub data_file: String,
    /// Rows of the data file before deletes.
    pub record_count: u64,
    /// Where its deletes are.
    pub files: Vec<DeleteSource>,
}

/// One object that holds deletes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum DeleteSource {
    /// A Parquet position delete file, possibly for many data files.
    Positions {
        /// Key in the data files' store.
        key: String,
        /// Bytes of the file.
        size: u64,
        /// Snapshot that added the file.
        added_by: i64,
    },
    /// A deletion vector inside a Puffin file.
    Vector {
        /// Key in the data files' store.
        key: String,
        /// First byte of the blob.
        offset: u64,
        /// Bytes of the blob.
        size: u64,
        /// Snapshot that added the file.
        added_by: i64,
    },
}

impl DeleteSource {
    fn key(&self) -> &str {
        match self {
            Self::Positions { key, .. } | Self::Vector { key, .. } => key,
        }
    }

    /// The file as it is read. Of the file of a vector, nothing after the vector is known.
    fn file<'a>(&self, path: &'a Path) -> ScanFile<'a> {
        let (size, added_by) = match self {
            Self::Positions { size, added_by, .. } => (*size, *added_by),
            Self::Vector {
                offset,
                size,
                added_by,
                ..
            } => (offset.saturating_add(*size), *added_by),
        };
        ScanFile {
            path,
            size,
            added_by,
        }
    }
}

/// A delete file up to this size is fetched at once; a larger one by the row groups and columns that are needed.
const FETCHED_WHOLE_BYTES_MAX: u64 = 4 << 20;
/// Delete files of one data file that are read at the same time.
const DELETE_FILES_IN_FLIGHT_MAX: usize = 8;

type Positions = HashMap<Arc<str>, RoaringTreemap>;
type Slot = Arc<OnceCell<Arc<Positions>>>;

/// Delete files already read by this plan. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteCache {
    by_source: Arc<Mutex<HashMap<DeleteSource, Slot>>>,
    /// Data files whose deletes are kept; a delete file may have those of many more.
    data_files: Arc<BTreeSet<Arc<str>>>,
    reads: Reads,
}

impl DeleteCache {
    /// For the deletes of `files`, which must be all that the plan will ever ask for.
    pub(crate) fn for_files<'a>(
        files: impl Iterator<Item = &'a PartitionedFile>,
        reads: Reads,
    ) -> Self {
        let with_deletes = files.filter_map(|file| file.extension::<FileDeletes>());
        let paths = with_deletes.map(|deletes| Arc::from(deletes.data_file.as_str()));
        Self {
            by_source: Arc::default(),
            data_files: Arc::new(paths.collect()),
            reads,
        }
    }

    /// How the files of the scan are read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Which rows of the file to read and skip, over the whole file.
    ///
    /// # Errors
    /// If a delete file cannot be read or is corrupt: a deleted row is never returned.
    pub(crate) async fn selection(
        &self,
        store: &Arc<dyn ObjectStore>,
        deletes: &FileDeletes,
        counted: Option<&Counted>,
    ) -> Result<Vec<RowSelector>> {
        let reads: Vec<_> = deletes
            .files
            .iter()
            .map(|source| Box::pin(self.positions(store, source, &deletes.data_file, counted)))
            .collect();
        let mut gone = RoaringTreemap::new();
        let mut found = futures::stream::iter(reads).buffered(DELETE_FILES_IN_FLIGHT_MAX);
        while let Some(positions) = found.try_next().await? {
            if let Some(rows) = positions.get(deletes.data_file.as_str()) {
                gone |= rows;
            }
        }
        Ok(selectors(&gone, deletes.record_count))
    }

    /// What one source deletes, read once.
    async fn positions(
        &self,
        store: &Arc<dyn ObjectStore>,
        source: &DeleteSource,
        data_file: &str,
        counted: Option<&Counted>,
    ) -> Result<Arc<Positions>> {
        let slot = {
            let mut by_source = self
                .by_source
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(by_source.entry(source.clone()).or_default())
        };
        let load = || async {
            let path = parse(source.key())?;
            let file = source.file(&path);
            let store = self.reads.over(store, file, counted);
            load(&store, source, data_file, &self.data_files).await
        };
        slot.get_or_try_init(load).await.cloned()
    }
}

async fn load(
    store: &Arc<dyn ObjectStore>,
    source: &DeleteSource,
    data_file: &str,
    data_files: &BTreeSet<Arc<str>>,
) -> Result<Arc<Positions>> {
    Ok(Arc::new(match source {
        DeleteSource::Positions { key, size, .. } => {
            positions(store, key, *size, data_files).await?
        }
        DeleteSource::Vector {
            key, offset, size, ..
        } => {
            let end = offset
                .checked_add(*size)
                .ok_or_else(|| corrupt(key, "the deletion vector ends nowhere"))?;
            let blob = store
                .get_range(&parse(key)?, *offset..end)
                .await
                .map_err(|error| unread(key, error))?;
            let rows = vector(&blob).map_err(|reason| corrupt(key, &reason))?;
            HashMap::from([(Arc::from(data_file), rows)])
        }
    }))
}

pub(crate) fn parse(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| corrupt(key, &error.to_string()))
}

pub(crate) fn corrupt(path: &str, reason: &str) -> DataFusionError {
    ScanError::CorruptDeletes {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

/// The storage's error, with the delete file that it is about.
pub(crate) fn unread(key: &str, error: object_store::Error) -> DataFusionError {
    DataFusionError::from(error).context(format!("cannot read delete file \"{key}\""))
}

/// The batches of some columns of a delete file. `choose` says which columns and row groups.
///
/// # Errors
/// Name the file.
pub(crate) async fn delete_batches(
    store: &Arc<dyn ObjectStore>,
    key: &str,
    size: u64,
    choose: impl Fn(&ArrowReaderMetadata) -> Result<Chosen>,
) -> Result<(Vec<usize>, BoxStream<'static, Result<RecordBatch>>)> {
    let name = key.to_owned();
    let broken = move |error: ParquetError| match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(error) => unread(&name, *error),
            Err(source) => corrupt(&name, &source.to_string()),
        },
        error => corrupt(&name, &error.to_string()),
    };
    let path = parse(key)?;
    if size <= FETCHED_WHOLE_BYTES_MAX {
        let bytes = match store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| unread(key, error))?;
        let metadata =
            ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).map_err(&broken)?;
        let chosen = choose(&metadata)?;
        let mask = chosen.mask(&metadata);
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
            .with_projection(mask)
            .with_row_groups(chosen.row_groups)
            .build()
            .map_err(&broken)?;
        let name = key.to_owned();
        let batches =
            batches.map(move |batch| batch.map_err(|error| corrupt(&name, &error.to_string())));
        return Ok((chosen.columns, futures::stream::iter(batches).boxed()));
    }
    let file = PartitionedFile::new_from_meta(ObjectMeta {
        location: path,
        last_modified: DateTime::UNIX_EPOCH,
        size,
        e_tag: None,
        version: None,
    });
    let factory = DefaultParquetFileReaderFactory::new(Arc::clone(store));
    let metrics = ExecutionPlanMetricsSet::new();
    let mut reader: Box<dyn AsyncFileReader> = factory.create_reader(0, file, None, &metrics)?;
    let metadata = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new())
        .await
        .map_err(&broken)?;
    let chosen = choose(&metadata)?;
    let mask = chosen.mask(&metadata);
    let batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
        .with_projection(mask)
        .with_row_groups(chosen.row_groups)
        .build()
        .map_err(&broken)?;
    let batches = batches.map(move |batch| batch.map_err(&broken));
    Ok((chosen.columns, batches.boxed()))
}

/// What is read of a delete file.
pub(crate) struct Chosen {
    /// Positions of the wanted columns in the file, in the order in which they are wanted.
    pub(crate) columns: Vec<usize>,
    /// Row groups that may hold something wanted.
    pub(crate) row_groups: Vec<usize>,
}

impl Chosen {
    fn mask(&self, metadata: &ArrowReaderMetadata) -> ProjectionMask {
        ProjectionMask::roots(metadata.parquet_schema(), self.columns.iter().copied())
    }

    /// Where the wanted columns are in the batches that are read: in the order of the file.
    pub(crate) fn places(columns: &[usize]) -> Vec<usize> {
        let before = |at: &usize| columns.iter().filter(|other| *other < at).count();
        columns.iter().map(before).collect()
    }
}

async fn positions(
    store: &Arc<dyn ObjectStore>,
    key: &str,
    size: u64,
    data_files: &BTreeSet<Arc<str>>,
) -> Result<Positions> {
    let choose = |metadata: &ArrowReaderMetadata| {
        let fields = metadata.schema().fields();
        let column = |id: i32, name: &str| {
            let by_id = fields.iter().position(|field| field_id(field) == Some(id));
            by_id
                .or_else(|| fields.iter().position(|field| field.name() == name))
                .ok_or_else(|| corrupt(key, &format!("it has no column {name}")))
        };
        let path_at = column(FILE_PATH_ID, "file_path")?;
        let columns = vec![path_at, column(POS_ID, "pos")?];
        let groups = metadata.metadata().row_groups().iter().enumerate();
        let leaf = metadata
            .parquet_schema()
            .columns()
            .iter()
            .position(|leaf| leaf.path().parts().first() == Some(fields[path_at].name()));
        let needed = groups
            .filter(|(_, group)| leaf.is_none_or(|leaf| may_name(group.column(leaf), data_files)));
        Ok(Chosen {
            columns,
            row_groups: needed.map(|(group, _)| group).collect(),
        })
    };
    let (columns, mut batches) = delete_batches(store, key, size, choose).await?;
    let places = Chosen::places(&columns);
    let mut found = Positions::new();
    while let Some(batch) = batches.try_next().await? {
        add_positions(&mut found, &batch, &places, data_files)
            .map_err(|reason| corrupt(key, &reason))?;
    }
    Ok(found)
}

/// Whether a row group may have a delete of one of `data_files`, by the bounds of its paths.
fn may_name(paths: &ColumnChunkMetaData, data_files: &BTreeSet<Arc<str>>) -> bool {
    let Some(bounds) = paths.statistics().filter(|s| !s.is_min_max_deprecated()) else {
        return true;
    };
    let (Some(min), Some(max)) = (bounds.min_bytes_opt(), bounds.max_bytes_opt()) else {
        return true;
    };
    let (Ok(min), Ok(max)) = (std::str::from_utf8(min), std::str::from_utf8(max)) else {
        return true;
    };
    min <= max
        && data_files
            .range::<str, _>((Bound::Included(min), Bound::Included(max)))
            .next()
            .is_some()
}

/// Adds what a batch of (path, position) deletes from `data_files`. Rows of one path mostly stand together.
fn add_positions(
    found: &mut Positions,
    batch: &RecordBatch,
    places: &[usize],
    data_files: &BTreeSet<Arc<str>>,
) -> Result<(), String> {
    let cast = |at: usize, ty: &DataType| {
        arrow::compute::cast(batch.column(at), ty).map_err(|error| error.to_string())
    };
    let [path_at, pos_at] = places else {
        return Err("it has no columns".to_owned());
    };
    let (paths, rows) = (
        cast(*path_at, &DataType::Utf8View)?,
        cast(*pos_at, &DataType::Int64)?,
    );
    if paths.null_count() > 0 || rows.null_count() > 0 {
        return Err("file_path or pos is NULL".to_owned());
    }
    let (paths, rows) = (
        paths.as_string_view(),
        rows.as_primitive::<Int64Type>().values(),
    );
    if rows.iter().any(|row| *row < 0) {
        return Err("a position is negative".to_owned());
    }
    let mut start = 0;
    while start < rows.len() {
        let path = paths.value(start);
        let same = (start..rows.len()).take_while(|row| paths.value(*row) == path);
        let end = start + same.count();
        if let Some(path) = data_files.get(path) {
            let of_file = found.entry(Arc::clone(path)).or_default();
            of_file.extend(rows[start..end].iter().map(|row| row.unsigned_abs()));
        }
        start = end;
    }
    Ok(())
}

/// Decodes a `deletion-vector-v1` blob: big-endian length, magic, portable 64-bit Roaring bitmap, big-endian CRC-32.
fn vector(blob: &[u8]) -> Result<RoaringTreemap, String> {
    let (length, rest) = blob
        .split_first_chunk::<4>()
        .ok_or("the deletion vector is cut short")?;
    let length = u32::from_be_bytes(*length) as usize;
    let body = rest
        .get(..length)
        .ok_or("the deletion vector is cut short")?;
    let crc = rest
        .get(length..length + 4)
        .ok_or("the deletion vector has no checksum")?;
    if crc32fast::hash(body).to_be_bytes() != crc {
        return Err("the checksum of the deletion vector does not match".to_owned());
    }
    let bitmap = body
        .strip_prefix(&VECTOR_MAGIC)
        .ok_or("the deletion vector has another format")?;
    RoaringTreemap::deserialize_from(Cursor::new(bitmap)).map_err(|error| error.to_string())
}

fn selectors(deleted: &RoaringTreemap, record_count: u64) -> Vec<RowSelector> {
    let rows = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0u64;
    for row in deleted.iter().take_while(|row| *row < record_count) {
        if row > next {
            selectors.push(RowSelector::select(rows(row - next)));
        }
        match selectors.last_mut() {
            Some(last) if last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::skip(1)),
        }
        next = row + 1;
    }
    if next < record_count {
        selectors.push(RowSelector::select(rows(record_count - next)));
    }
    selectors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_deleted_rows_are_one_skip() {
        let deleted = RoaringTreemap::from_iter([0u64, 1, 4, 9, 50]);
        assert_eq!(
            selectors(&deleted, 10),
            vec![
                RowSelector::skip(2),
                RowSelector::select(2),
                RowSelector::skip(1),
                RowSelector::select(4),
                RowSelector::skip(1),
            ]
        );
    }

    #[test]
    fn a_deletion_vector_survives_and_a_flipped_bit_does_not() {
        let rows = RoaringTreemap::from_iter([3u64, 5, 1 << 33]);
        let mut body = VECTOR_MAGIC.to_vec();
        rows.serialize_into(&mut body)
            .expect("vectors serialize into memory");
        let length = u32::try_from(body.len()).expect("a small vector");
        let mut blob = length.to_be_bytes().to_vec();
        blob.extend(&body);
        blob.extend(crc32fast::hash(&body).to_be_bytes());
        assert_eq!(vector(&blob), Ok(rows));
        blob[9] ^= 1;
        assert!(vector(&blob).is_err());
    }
}
