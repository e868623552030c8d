//! Whole files as rows: name, content, size, time of the last change.
//!
//! Content is read only if it is asked for, and held in memory; a file past a bound is refused by name.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use futures::{StreamExt, stream};

use super::bytes::contents;
use super::{Batches, OneFile, Wanted, failed};
use crate::error::{EngineError, ErrorKind};

/// Bytes of one file's content, after decompression.
const CONTENT_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The columns of `read_text` and `read_binary_file`. Source: DuckDB, "Directly Reading Files".
pub(super) fn schema(is_text: bool) -> SchemaRef {
    let content = if is_text {
        DataType::Utf8
    } else {
        DataType::Binary
    };
    Arc::new(Schema::new(vec![
        Field::new("filename", DataType::Utf8, false),
        Field::new("content", content, false),
        Field::new("size", DataType::Int64, false),
        Field::new(
            "last_modified",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
    ]))
}

/// The one row of a file.
pub(super) async fn open(file: OneFile, wanted: Wanted) -> Result<Batches> {
    let mut columns: Vec<ArrayRef> = vec![];
    for field in wanted.projected.fields() {
        let column: ArrayRef = match (field.name().as_str(), field.data_type()) {
            ("filename", _) => Arc::new(StringArray::from(vec![file.name.as_str()])),
            ("size", _) => Arc::new(Int64Array::from(vec![
                i64::try_from(file.meta.size).unwrap_or(i64::MAX),
            ])),
            ("last_modified", _) => {
                let micros = file.meta.last_modified.timestamp_micros();
                Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
            }
            (_, DataType::Binary) => {
                Arc::new(BinaryArray::from(vec![content(&file).await?.as_slice()]))
            }
            _ => {
                let bytes = content(&file).await?;
                let text = String::from_utf8(bytes).map_err(|error| not_text(&file, &error))?;
                Arc::new(StringArray::from(vec![text]))
            }
        };
        columns.push(column);
    }
    let size = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(wanted.projected, columns, &size)?;
    Ok(stream::iter([Ok(batch)]).boxed())
}

async fn content(file: &OneFile) -> Result<Vec<u8>> {
    if file.meta.size > CONTENT_BYTES_MAX {
        return Err(too_large(file));
    }
    let mut chunks = contents(file).await?;
    let mut all = vec![];
    while let Some(chunk) = chunks.next().await.transpose()? {
        if (all.len() + chunk.len()) as u64 > CONTENT_BYTES_MAX {
            return Err(too_large(file));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

fn too_large(file: &OneFile) -> datafusion::error::DataFusionError {
    failed(
        EngineError::new(
            ErrorKind::Unsupported,
            format!(
                "\"{}\" has more than {} MiB, which one value cannot hold",
                file.name,
                CONTENT_BYTES_MAX >> 20
            ),
        )
        .with_hint("leave content out of the SELECT, or exclude the file with WHERE filename <> …"),
    )
}

fn not_text(
    file: &OneFile,
    error: &std::string::FromUtf8Error,
) -> datafusion::error::DataFusionError {
    failed(
        EngineError::new(
            ErrorKind::Corrupt,
            format!("\"{}\" is not UTF-8: {}", file.name, error.utf8_error()),
        )
        .with_hint("read_binary_file gives its bytes"),
    )
}
