//! One Parquet data file being written.
//!
//! Knows bytes, rows and metrics of that file. Refuses to know partitions' routing and commits.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use tarn_catalog::{Literal, NewDataFile};

use super::metrics::{FileMetrics, stored};
use super::target::WriteTarget;

/// Bytes of one part of an upload. S3 takes 10 000 parts, so a file may reach 80 GB.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file in flight.
const PARTS_IN_FLIGHT_MAX: usize = 4;

/// An open data file.
pub(crate) struct OpenFile {
    location: String,
    path: Path,
    partition: Vec<Option<Literal>>,
    writer: AsyncArrowWriter<Upload>,
    metrics: FileMetrics,
    rows: u64,
}

impl OpenFile {
    /// Starts a file at `below` the table's data directory. Nothing is stored yet.
    pub(crate) fn create(
        target: &WriteTarget,
        store: &Arc<dyn ObjectStore>,
        below: &str,
        partition: Vec<Option<Literal>>,
    ) -> Result<Self> {
        let (location, path) = target.place(below)?;
        let buffer = BufWriter::with_capacity(Arc::clone(store), path.clone(), PART_BYTES)
            .with_max_concurrency(PARTS_IN_FLIGHT_MAX);
        // Without the Arrow schema in the footer the file is what any Iceberg reader expects.
        let options = ArrowWriterOptions::new()
            .with_properties(target.options.parquet()?)
            .with_skip_arrow_metadata(true);
        let writer = AsyncArrowWriter::try_new_with_options(
            Upload::new(buffer),
            Arc::clone(&target.schema),
            options,
        )?;
        let metrics = FileMetrics::new(&target.schema, &target.options)?;
        Ok(Self {
            location,
            path,
            partition,
            writer,
            metrics,
            rows: 0,
        })
    }

    /// Adds rows, which have the table's schema.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.metrics.update(batch)?;
        self.rows += batch.num_rows() as u64;
        self.writer
            .write(batch)
            .await
            .map_err(|error| self.failed(error))
    }

    /// Writes out the row group in memory.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.writer
            .flush()
            .await
            .map_err(|error| self.failed(error))
    }

    /// Bytes the file has, with those still in memory as they would be stored.
    pub(crate) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Bytes of memory that buffered rows take.
    pub(crate) fn memory(&self) -> usize {
        self.writer.memory_size()
    }

    /// The key of the file in its store.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes the file, whose rows are in the order `sort_order_id`.
    pub(crate) async fn close(
        mut self,
        spec_id: i32,
        sort_order_id: Option<i32>,
    ) -> Result<NewDataFile> {
        let footer = match self.writer.finish().await {
            Ok(footer) => footer,
            Err(error) => {
                let error = self.failed(error);
                self.abort().await;
                return Err(error);
            }
        };
        let collected = self.metrics.collect()?;
        let (column_sizes, split_offsets) = stored(&footer);
        Ok(NewDataFile {
            path: self.location,
            size_bytes: self.writer.bytes_written() as u64,
            record_count: self.rows,
            spec_id,
            partition: self.partition,
            column_sizes,
            value_counts: collected.value_counts,
            null_counts: collected.null_counts,
            nan_counts: collected.nan_counts,
            lower_bounds: collected.lower_bounds,
            upper_bounds: collected.upper_bounds,
            split_offsets,
            sort_order_id,
        })
    }

    /// Gives the upload up. What cannot be given up is left to orphan removal.
    pub(crate) async fn abort(self) {
        if let Err(error) = self.writer.into_inner().abort().await {
            tracing::debug!(location = self.location, %error, "upload not aborted");
        }
    }

    fn failed(&self, error: ParquetError) -> DataFusionError {
        let error = match error {
            ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
                Ok(store) => DataFusionError::ObjectStore(store),
                Err(inner) => DataFusionError::External(inner),
            },
            other => DataFusionError::from(other),
        };
        error.context(format!("cannot write data file \"{}\"", self.location))
    }
}

/// A [`BufWriter`] that may be given up at any time: that one panics once its last part is on its way.
pub(crate) struct Upload {
    buffer: BufWriter,
    completing: bool,
}

impl Upload {
    pub(crate) fn new(buffer: BufWriter) -> Self {
        Self {
            buffer,
            completing: false,
        }
    }

    /// Adds bytes.
    pub(crate) async fn put(&mut self, bytes: Bytes) -> object_store::Result<()> {
        self.buffer.put(bytes).await
    }

    /// Gives the upload up. One that failed to complete has already done so itself.
    pub(crate) async fn abort(mut self) -> object_store::Result<()> {
        if self.completing {
            return Ok(());
        }
        self.buffer.abort().await
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        let put = self.buffer.put(bytes);
        put.map(|done| done.map_err(|error| ParquetError::External(Box::new(error))))
            .boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        self.completing = true;
        async {
            let done = tokio::io::AsyncWriteExt::shutdown(&mut self.buffer).await;
            done.map_err(|error| match error.downcast::<object_store::Error>() {
                Ok(store) => ParquetError::External(Box::new(store)),
                Err(error) => ParquetError::External(Box::new(error)),
            })
        }
        .boxed()
    }
}
