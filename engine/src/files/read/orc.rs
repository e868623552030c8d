//! ORC: columns are found by name, one stripe is held at a time.
//!
//! Source: ORC specification v1.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStoreExt;
use orc_rust::ArrowReaderBuilder;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::AsyncChunkReader;
use orc_rust::schema::TimestampPrecision;

use super::avro::adapted;
use super::{Batches, OneFile, Wanted, failed};

/// A file in its store.
struct Ranges {
    file: OneFile,
}

impl AsyncChunkReader for Ranges {
    fn len(&mut self) -> BoxFuture<'_, std::io::Result<u64>> {
        std::future::ready(Ok(self.file.meta.size)).boxed()
    }

    fn get_bytes(&mut self, offset: u64, length: u64) -> BoxFuture<'_, std::io::Result<Bytes>> {
        async move {
            if length == 0 {
                return Ok(Bytes::new());
            }
            let end = offset.saturating_add(length);
            if end > self.file.meta.size {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    "it ends before its data",
                ));
            }
            self.file
                .store
                .get_range(&self.file.meta.location, offset..end)
                .await
                .map_err(std::io::Error::other)
        }
        .boxed()
    }
}

async fn builder(file: &OneFile) -> Result<ArrowReaderBuilder<Ranges>> {
    let ranges = Ranges { file: file.clone() };
    let tried = AssertUnwindSafe(ArrowReaderBuilder::try_new_async(ranges))
        .catch_unwind()
        .await;
    match tried {
        Ok(Ok(builder)) => Ok(builder.with_timestamp_precision(TimestampPrecision::Microsecond)),
        Ok(Err(error)) => Err(file.corrupt(&format!("it is not a whole ORC file: {error}"))),
        Err(_) => Err(file.corrupt(&"it is not a whole ORC file")),
    }
}

pub(super) async fn schema(file: &OneFile) -> Result<SchemaRef> {
    Ok(builder(file).await?.schema())
}

/// The columns of a file that are asked for.
pub(super) async fn open(file: OneFile, wanted: Wanted) -> Result<Batches> {
    let builder = builder(&file).await?;
    let whole = builder.schema();
    wanted
        .rules
        .check(&file.name, &wanted.table, &whole)
        .map_err(failed)?;
    let mut names: Vec<&str> = wanted
        .projected
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .filter(|name| whole.field_with_name(name).is_ok())
        .collect();
    // Something must be read for rows to be counted.
    if names.is_empty() {
        names.extend(whole.fields().first().map(|field| field.name().as_str()));
    }
    let mask = ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names);
    let batches = builder
        .with_batch_size(wanted.batch_rows)
        .with_projection(mask)
        .build_async();
    let source = batches.schema();
    adapted(file, &wanted.projected, &source, batches)
}
