//! The bytes of a file from its start, decompressed.

use std::io::Read;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::DataFusionError;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::{GetResultPayload, ObjectStoreExt};

use super::OneFile;

/// Bytes read from a local file at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The file's bytes in order.
///
/// # Errors
/// What the store says, or that the file is not compressed as it should be, naming the file.
pub(super) async fn contents(file: &OneFile) -> Result<BoxStream<'static, Result<Bytes>>> {
    let got = file
        .store
        .get(&file.meta.location)
        .await
        .map_err(|error| file.unread(error))?;
    let raw: BoxStream<'static, Result<Bytes>> = match got.payload {
        GetResultPayload::File(local, _) => local_chunks(local).boxed(),
        GetResultPayload::Stream(chunks) => {
            let file = file.clone();
            chunks.map_err(move |error| file.unread(error)).boxed()
        }
    };
    let compression = FileCompressionType::from(file.compression);
    if !compression.is_compressed() {
        return Ok(raw);
    }
    let file = file.clone();
    let decompressed = compression.convert_stream(raw)?;
    Ok(decompressed
        .map_err(move |error| match error {
            // What the store says comes wrapped in an error of I/O.
            DataFusionError::IoError(io)
                if io.get_ref().is_none_or(|e| !e.is::<DataFusionError>()) =>
            {
                file.corrupt(&format!("it is not all {}: {io}", file.compression))
            }
            other => other,
        })
        .boxed())
}

fn local_chunks(file: std::fs::File) -> impl futures::Stream<Item = Result<Bytes>> + Send {
    stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = file.read(&mut chunk)?;
            chunk.truncate(count);
            Ok::<_, std::io::Error>((chunk, file))
        });
        let (chunk, file) = read
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))??;
        Ok((!chunk.is_empty()).then_some((Bytes::from(chunk), file)))
    })
}
