//! Rows that position deletes and deletion vectors take out of a data file.
//!
//! Read where the scan runs, once per delete file and plan. Knows the two delete formats. Refuses to know plans.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelector};
use roaring::RoaringTreemap;
use tokio::sync::OnceCell;

use super::conform::field_id;
use super::error::ScanError;

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
    },
    /// A deletion vector inside a Puffin file.
    Vector {
        /// Key in the data files' store.
        key: String,
        /// First byte of the blob.
        offset: u64,
        /// Bytes of the blob.
        size: u64,
    },
}

type Positions = HashMap<String, RoaringTreemap>;
type Slot = Arc<OnceCell<Arc<Positions>>>;

/// Delete files already read by this plan. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteCache {
    by_source: Arc<Mutex<HashMap<DeleteSource, Slot>>>,
}

impl DeleteCache {
    /// Which rows of the file to read and skip, over the whole file.
    ///
    /// # Errors
    /// If a delete file cannot be read or is corrupt: a deleted row is never returned.
    pub(crate) async fn selection(
        &self,
        store: &Arc<dyn ObjectStore>,
        deletes: &FileDeletes,
    ) -> Result<Vec<RowSelector>> {
        let mut gone = RoaringTreemap::new();
        for source in &deletes.files {
            let slot = {
                let mut by_source = self
                    .by_source
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                Arc::clone(by_source.entry(source.clone()).or_default())
            };
            let positions = slot
                .get_or_try_init(|| load(store, source, &deletes.data_file))
                .await?;
            if let Some(found) = positions.get(&deletes.data_file) {
                gone |= found;
            }
        }
        Ok(selectors(&gone, deletes.record_count))
    }
}

async fn load(
    store: &Arc<dyn ObjectStore>,
    source: &DeleteSource,
    data_file: &str,
) -> Result<Arc<Positions>> {
    Ok(Arc::new(match source {
        DeleteSource::Positions { key } => {
            let bytes = store.get(&parse(key)?).await?.bytes().await?;
            positions(key, bytes)?
        }
        DeleteSource::Vector { key, offset, size } => {
            let blob = store
                .get_range(&parse(key)?, *offset..*offset + *size)
                .await?;
            let rows = vector(&blob).map_err(|reason| corrupt(key, &reason))?;
            HashMap::from([(data_file.to_owned(), rows)])
        }
    }))
}

fn parse(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| corrupt(key, &error.to_string()))
}

fn corrupt(path: &str, reason: &str) -> DataFusionError {
    ScanError::CorruptDeletes {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

fn positions(key: &str, bytes: Bytes) -> Result<Positions> {
    let broken = |error: parquet::errors::ParquetError| corrupt(key, &error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(broken)?;
    let fields = builder.schema().fields().clone();
    let column = |id: i32, name: &str| {
        let by_id = fields.iter().position(|field| field_id(field) == Some(id));
        by_id
            .or_else(|| fields.iter().position(|field| field.name() == name))
            .ok_or_else(|| corrupt(key, &format!("it has no column {name}")))
    };
    let (path_at, pos_at) = (column(FILE_PATH_ID, "file_path")?, column(POS_ID, "pos")?);
    let mut found = Positions::new();
    for batch in builder.build().map_err(broken)? {
        let batch = batch?;
        let paths = arrow::compute::cast(batch.column(path_at), &DataType::Utf8View)?;
        let rows = arrow::compute::cast(batch.column(pos_at), &DataType::Int64)?;
        let (paths, rows) = (paths.as_string_view(), rows.as_primitive::<Int64Type>());
        if paths.null_count() > 0 || rows.null_count() > 0 {
            return Err(corrupt(key, "file_path or pos is NULL"));
        }
        for (path, row) in paths.iter().flatten().zip(rows.values()) {
            let row = u64::try_from(*row).map_err(|_| corrupt(key, "a position is negative"))?;
            if let Some(rows) = found.get_mut(path) {
                rows.insert(row);
            } else {
                found.insert(path.to_owned(), RoaringTreemap::from_iter([row]));
            }
        }
    }
    Ok(found)
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
    if crc32(body).to_be_bytes() != crc {
        return Err("the checksum of the deletion vector does not match".to_owned());
    }
    let bitmap = body
        .strip_prefix(&VECTOR_MAGIC)
        .ok_or("the deletion vector has another format")?;
    RoaringTreemap::deserialize_from(Cursor::new(bitmap)).map_err(|error| error.to_string())
}

/// CRC-32 as in gzip (polynomial 0xEDB88320). Deletion vectors are small, so bit by bit is fast enough.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
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
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
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
        blob.extend(crc32(&body).to_be_bytes());
        assert_eq!(vector(&blob), Ok(rows));
        blob[9] ^= 1;
        assert!(vector(&blob).is_err());
    }
}
