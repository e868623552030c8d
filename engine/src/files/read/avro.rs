//! Avro's object container files: columns are found by name, one block of rows is held at a time.
//!
//! Source: Avro specification 1.12, "Object Container Files".

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_avro::errors::AvroError;
use arrow_avro::reader::{AsyncAvroFileReader, AsyncFileReader};
use bytes::Bytes;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr_adapter::BatchAdapterFactory;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::ObjectStoreExt;

use super::{Batches, OneFile, Wanted, failed};

/// A file in its store.
#[derive(Clone)]
struct Ranges {
    file: OneFile,
}

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, AvroError>> {
        async move {
            self.file
                .store
                .get_range(&self.file.meta.location, range)
                .await
                .map_err(|error| AvroError::External(Box::new(error)))
        }
        .boxed()
    }
}

/// What the reader says of a file.
fn explained(file: &OneFile, error: AvroError) -> datafusion::error::DataFusionError {
    match error {
        AvroError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(error) => file.unread(*error),
            Err(other) => file.corrupt(&other),
        },
        AvroError::EOF(text) | AvroError::ParseError(text) | AvroError::General(text) => {
            file.corrupt(&format!("it is not a whole Avro file: {text}"))
        }
        other => file.corrupt(&format!("it is not a whole Avro file: {other}")),
    }
}

async fn reader(
    file: &OneFile,
    batch_rows: usize,
    projection: Option<Vec<usize>>,
) -> Result<AsyncAvroFileReader<Ranges>> {
    let ranges = Ranges { file: file.clone() };
    let mut builder = AsyncAvroFileReader::builder(ranges, file.meta.size, batch_rows);
    if let Some(projection) = projection {
        builder = builder.with_projection(projection);
    }
    // Libraries that read what anybody wrote may panic on it.
    match AssertUnwindSafe(builder.try_build()).catch_unwind().await {
        Ok(Ok(reader)) => Ok(reader),
        Ok(Err(error)) => Err(explained(file, error)),
        Err(_) => Err(file.corrupt(&"it is not a whole Avro file")),
    }
}

pub(super) async fn schema(file: &OneFile) -> Result<SchemaRef> {
    Ok(reader(file, 1, None).await?.schema())
}

/// The columns of a file that are asked for.
pub(super) async fn open(file: OneFile, wanted: Wanted) -> Result<Batches> {
    let whole = schema(&file).await?;
    wanted
        .rules
        .check(&file.name, &wanted.table, &whole)
        .map_err(failed)?;
    // Something must be read for rows to be counted.
    let places: Vec<usize> = wanted
        .projected
        .fields()
        .iter()
        .filter_map(|field| whole.index_of(field.name()).ok())
        .collect();
    let projection = if places.is_empty() && !whole.fields().is_empty() {
        vec![0]
    } else {
        places
    };
    let batches = reader(&file, wanted.batch_rows, Some(projection)).await?;
    let source = batches.schema();
    adapted(file, &wanted.projected, &source, batches)
}

/// Batches of a file in the types of the table; what the file lacks is NULL.
pub(super) fn adapted<E>(
    file: OneFile,
    projected: &SchemaRef,
    source: &SchemaRef,
    batches: impl futures::Stream<Item = Result<RecordBatch, E>> + Send + 'static,
) -> Result<Batches>
where
    E: std::fmt::Display + Send + 'static,
{
    let source = Arc::new(Schema::new(source.fields().clone()));
    let adapter = BatchAdapterFactory::new(Arc::clone(projected)).make_adapter(&source)?;
    let batches = AssertUnwindSafe(batches).catch_unwind();
    Ok(batches
        .map(move |batch| match batch {
            Ok(Ok(batch)) => {
                let batch = batch.with_schema(Arc::clone(&source))?;
                adapter
                    .adapt_batch(&batch)
                    .map_err(|error| error.context(format!("reading \"{}\"", file.name)))
            }
            Ok(Err(error)) => Err(file.corrupt(&error)),
            Err(_) => Err(file.corrupt(&"its rows cannot be read; was it cut short?")),
        })
        .boxed())
}
