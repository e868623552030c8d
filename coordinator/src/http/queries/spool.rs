//! Results on disk: Arrow IPC files with a bound for each and for all, removed when nobody needs them.
//!
//! Knows rows and files; whose they are it does not know.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use futures::Stream;
use tarn_engine::{EngineError, ErrorKind, recast};

use crate::http::answer::plain_schema;

/// Small batches are put together until they have so many rows, or so many bytes.
const BLOCK_ROWS: usize = 8192;
const BLOCK_BYTES: usize = 4 << 20;

/// Where results are kept, and how much of them.
#[derive(Debug)]
pub(super) struct Budget {
    dir: PathBuf,
    bytes_max: u64,
    query_bytes_max: u64,
    used: AtomicU64,
}

impl Budget {
    /// An empty folder with these bounds.
    ///
    /// # Errors
    /// If the folder cannot be emptied or made.
    pub(super) fn open(dir: PathBuf, bytes_max: u64, query_bytes_max: u64) -> io::Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            bytes_max,
            query_bytes_max,
            used: AtomicU64::new(0),
        })
    }

    fn take(&self, bytes: u64) -> Result<(), Full> {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
            })
            .map(|_| ())
            .map_err(|_| Full::All(self.bytes_max))
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
    }

    #[cfg(test)]
    fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }
}

/// A bound that is reached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Full {
    #[error(
        "the result is larger than {0} bytes, which is the bound for kept results of one query"
    )]
    Query(u64),
    #[error("kept results of all queries have reached their bound of {0} bytes")]
    All(u64),
}

/// A file that counts its bytes and is removed with its last user.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    bytes: AtomicU64,
    budget: Arc<Budget>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "results cannot be removed");
        }
        self.budget.give_back(self.bytes.load(Ordering::SeqCst));
    }
}

struct Metered {
    file: File,
    kept: Arc<Kept>,
}

impl Write for Metered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (kept, more) = (&self.kept, bytes.len() as u64);
        let limit = kept.budget.query_bytes_max;
        if kept.bytes.load(Ordering::SeqCst) + more > limit {
            return Err(io::Error::other(Full::Query(limit)));
        }
        kept.budget.take(more).map_err(io::Error::other)?;
        kept.bytes.fetch_add(more, Ordering::SeqCst);
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Results that are being written.
pub(super) struct Spool {
    writer: FileWriter<BufWriter<Metered>>,
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    /// Rows up to the end of each block.
    ends: Vec<u64>,
    kept: Arc<Kept>,
}

impl Spool {
    /// A new file for the results of a query.
    pub(super) fn create(
        budget: &Arc<Budget>,
        name: &str,
        schema: &SchemaRef,
    ) -> Result<Self, EngineError> {
        let path = budget.dir.join(format!("{name}.arrow"));
        let file = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(|error| no_file(&path, &error))?;
        let kept = Arc::new(Kept {
            path,
            bytes: AtomicU64::new(0),
            budget: Arc::clone(budget),
        });
        let schema = plain_schema(schema);
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let metered = Metered {
            file,
            kept: Arc::clone(&kept),
        };
        let writer = FileWriter::try_new_with_options(BufWriter::new(metered), &schema, options)
            .map_err(failed)?;
        Ok(Self {
            writer,
            schema,
            pending: vec![],
            pending_rows: 0,
            pending_bytes: 0,
            ends: vec![],
            kept,
        })
    }

    /// Adds rows, on a thread that may block.
    ///
    /// # Errors
    /// [`ErrorKind::ResourcesExhausted`] if a bound is reached; what the disk says.
    pub(super) async fn write(mut self, batch: RecordBatch) -> Result<Self, EngineError> {
        blocking(move || {
            let batch = recast(&batch, &self.schema)?;
            self.pending_rows += batch.num_rows();
            self.pending_bytes += batch
                .columns()
                .iter()
                .filter_map(|column| column.to_data().get_slice_memory_size().ok())
                .sum::<usize>();
            self.pending.push(batch);
            if self.pending_rows >= BLOCK_ROWS || self.pending_bytes >= BLOCK_BYTES {
                self.flush()?;
            }
            Ok(self)
        })
        .await
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let block = match &self.pending[..] {
            [] => return Ok(()),
            [one] => one.clone(),
            many => concat_batches(&self.schema, many)?,
        };
        self.pending.clear();
        (self.pending_rows, self.pending_bytes) = (0, 0);
        if block.num_rows() > 0 {
            self.writer.write(&block).map_err(failed)?;
            let before = self.ends.last().copied().unwrap_or(0);
            self.ends.push(before + block.num_rows() as u64);
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) async fn finish(mut self) -> Result<Results, EngineError> {
        blocking(move || {
            self.flush()?;
            self.writer.finish().map_err(failed)?;
            self.writer.flush().map_err(failed)?;
            Ok(Results {
                schema: self.schema,
                ends: self.ends.into(),
                kept: self.kept,
            })
        })
        .await
    }
}

/// Results that are complete. Cheap to clone; the file goes with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Results {
    schema: SchemaRef,
    ends: Arc<[u64]>,
    kept: Arc<Kept>,
}

impl Results {
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(super) fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept.bytes.load(Ordering::SeqCst)
    }

    /// `limit` rows from `offset` on, block by block. The file stays until the stream is dropped.
    pub(super) fn read(
        &self,
        offset: u64,
        limit: u64,
    ) -> impl Stream<Item = Result<RecordBatch, EngineError>> + Send + Unpin + 'static {
        let to = offset.saturating_add(limit).min(self.rows());
        let state = Reading {
            results: self.clone(),
            reader: None,
            at: offset,
            to,
        };
        Box::pin(futures::stream::try_unfold(state, |state| async move {
            if state.at >= state.to {
                return Ok(None);
            }
            blocking(move || state.next()).await.map(Some)
        }))
    }
}

struct Reading {
    results: Results,
    reader: Option<FileReader<BufReader<File>>>,
    at: u64,
    to: u64,
}

impl Reading {
    fn next(mut self) -> Result<(RecordBatch, Self), EngineError> {
        let path = &self.results.kept.path;
        let ends = &self.results.ends;
        let block = ends.partition_point(|end| *end <= self.at);
        let start = block
            .checked_sub(1)
            .and_then(|before| ends.get(before))
            .copied()
            .unwrap_or(0);
        let mut reader = if let Some(reader) = self.reader.take() {
            reader
        } else {
            let file = File::open(path).map_err(|error| no_file(path, &error))?;
            FileReader::try_new(BufReader::new(file), None)?
        };
        reader.set_index(block)?;
        let rows = reader
            .next()
            .ok_or_else(|| EngineError::internal("a block of kept results is missing"))??;
        let skipped = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let wanted = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
        let length = wanted.min(rows.num_rows().saturating_sub(skipped));
        let slice = rows.slice(skipped.min(rows.num_rows()), length);
        self.at += length as u64;
        if length == 0 {
            return Err(EngineError::internal("a block of kept results is short"));
        }
        self.reader = Some(reader);
        Ok((slice, self))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(EngineError::internal(error.to_string())))
}

/// The class of an error of the disk.
fn disk_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        _ => ErrorKind::ResourcesExhausted,
    }
}

fn no_file(path: &Path, error: &io::Error) -> EngineError {
    EngineError::new(
        disk_kind(error),
        format!("results cannot be kept in {}: {error}", path.display()),
    )
}

/// Tells a bound that is reached from a disk that fails.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: ArrowError) -> EngineError {
    let full = match &error {
        ArrowError::IoError(_, io) => io.get_ref().and_then(|e| e.downcast_ref::<Full>()).copied(),
        ArrowError::ExternalError(inner) => inner.downcast_ref::<Full>().copied(),
        _ => None,
    };
    let hint = match full {
        Some(Full::Query(_)) => {
            "POST /api/v1/sql streams results of any size; [http] results_query_bytes_max sets the bound"
        }
        Some(Full::All(_)) => {
            "DELETE queries whose results are not needed; [http] results_bytes_max sets the bound"
        }
        None => {
            let kind = match &error {
                ArrowError::IoError(_, io) => disk_kind(io),
                _ => ErrorKind::ResourcesExhausted,
            };
            return EngineError::new(kind, format!("results cannot be kept: {error}"));
        }
    };
    let text = full.map(|full| full.to_string()).unwrap_or_default();
    EngineError::new(ErrorKind::ResourcesExhausted, text).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use futures::TryStreamExt;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
    }

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let column = Int64Array::from_iter_values(from..from + rows);
        RecordBatch::try_new(schema(), vec![Arc::new(column)]).unwrap()
    }

    async fn numbers(results: &Results, offset: u64, limit: u64) -> Vec<i64> {
        let batches: Vec<RecordBatch> = results.read(offset, limit).try_collect().await.unwrap();
        batches
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect()
    }

    #[tokio::test]
    async fn any_page_is_read_back_and_the_file_goes_with_its_last_reader() {
        let dir = tempfile::tempdir().unwrap();
        let budget = Arc::new(Budget::open(dir.path().join("r"), 1 << 30, 1 << 30).unwrap());
        let mut spool = Spool::create(&budget, "q", &schema()).unwrap();
        for part in 0..50 {
            spool = spool.write(batch(part * 1000, 1000)).await.unwrap();
        }
        let results = spool.finish().await.unwrap();
        assert_eq!(results.rows(), 50_000);
        // Small batches have been put together.
        assert!(results.ends.len() < 10, "{:?}", results.ends);
        for (offset, limit) in [
            (0, 50_000),
            (0, 1),
            (8_999, 3),
            (49_999, 10),
            (12_345, 20_000),
        ] {
            let to = (offset + limit).min(50_000);
            let wanted: Vec<i64> = (offset..to).map(|n| i64::try_from(n).unwrap()).collect();
            assert_eq!(numbers(&results, offset, limit).await, wanted);
        }
        assert!(numbers(&results, 50_000, 5).await.is_empty());
        assert!(numbers(&results, u64::MAX, u64::MAX).await.is_empty());
        let mut reading = results.read(0, u64::MAX);
        reading.try_next().await.unwrap().unwrap();
        assert!(budget.used() > 0);
        drop(results);
        let rest: Vec<RecordBatch> = reading.try_collect().await.unwrap();
        assert!(!rest.is_empty());
        assert_eq!(std::fs::read_dir(dir.path().join("r")).unwrap().count(), 0);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn both_bounds_stop_a_result_and_say_so() {
        let dir = tempfile::tempdir().unwrap();
        for (all, one, wanted) in [
            (1 << 30, 20_000, "of one query"),
            (20_000, 1 << 30, "of all queries"),
        ] {
            let budget = Arc::new(Budget::open(dir.path().join("r"), all, one).unwrap());
            let mut spool = Spool::create(&budget, "q", &schema()).unwrap();
            let mut from = 1;
            let error = loop {
                match spool.write(batch(from, 10_000)).await {
                    Ok(next) => spool = next,
                    Err(error) => break error,
                }
                from *= 7;
            };
            assert!(error.message.contains(wanted), "{error}");
            assert_eq!(budget.used(), 0, "the file is gone");
        }
    }
}
