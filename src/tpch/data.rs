//! Writes the TPC-H tables as Parquet files, a few threads at a time.
//!
//! Streams: memory holds one row group a thread, whatever the scale factor.
//! Knows nothing of servers and SQL.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrow::record_batch::RecordBatchReader;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use super::TABLES;

/// Rows that one file holds, about: enough files for every thread and worker.
const FILE_ROWS: f64 = 750_000.0;

/// Rows of one row group, which a thread holds in memory.
const ROW_GROUP_ROWS_MAX: usize = 250_000;

/// Why the data could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A folder or file cannot be made.
    #[error("cannot create \"{}\"", path.display())]
    Create {
        /// What was to be made.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written: most often the disk is full.
    #[error("cannot write \"{}\"", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the Parquet writer said.
        source: ParquetError,
    },
    /// Generation was told to stop.
    #[error("stopped")]
    Stopped,
}

/// What to generate, and what the caller watches meanwhile.
#[derive(Debug)]
pub struct Generation<'a> {
    /// Folder for one folder a table; created if missing.
    pub folder: &'a Path,
    /// TPC-H scale factor: 1 is about a gigabyte of raw text.
    pub scale_factor: f64,
    /// Threads that generate, at least one.
    pub threads: usize,
    /// Counts the rows written so far.
    pub rows_done: &'a AtomicU64,
    /// Set to true to stop early with [`DataError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// How many rows all tables have together at a scale factor, within 1 %.
pub fn rows_estimate(scale_factor: f64) -> u64 {
    TABLES
        .iter()
        .map(|table| table_rows_estimate(table, scale_factor))
        .sum()
}

/// Writes `folder/TABLE/part-NNN.parquet` for the eight tables.
///
/// Returns the exact number of rows of each table, in the order of [`TABLES`].
/// Blocks; the files are complete when it returns. After an error some files
/// may be left in the folder.
///
/// # Errors
/// The first [`DataError`] of any thread; the others stop soon after.
pub fn generate(generation: &Generation<'_>) -> Result<[u64; TABLES.len()], DataError> {
    let mut files = Vec::new();
    for (table, name) in TABLES.iter().enumerate() {
        let folder = generation.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(|source| DataError::Create {
            path: folder.clone(),
            source,
        })?;
        let count = file_count(name, generation.scale_factor);
        files.extend((1..=count).map(|part| DataFile {
            table,
            part,
            count,
            path: folder.join(format!("part-{part:03}.parquet")),
        }));
    }
    // The largest tables come last in TABLES and should start first.
    files.reverse();

    let next = AtomicUsize::new(0);
    let rows = [const { AtomicU64::new(0) }; TABLES.len()];
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..generation.threads.max(1) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match file.write(generation, &failed) {
                        Ok(count) => {
                            rows[file.table].fetch_add(count, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let mut failure = match failure.lock() {
                                Ok(guard) => guard,
                                Err(poisoned) => poisoned.into_inner(),
                            };
                            if !failed.swap(true, Ordering::Relaxed) {
                                *failure = Some(error);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        Ok(None) | Err(_) => Ok(rows.map(AtomicU64::into_inner)),
    }
}

/// One file to write: part `part` of `count` of a table.
struct DataFile {
    table: usize,
    part: i32,
    count: i32,
    path: PathBuf,
}

impl DataFile {
    fn write(&self, generation: &Generation<'_>, failed: &AtomicBool) -> Result<u64, DataError> {
        let write_error = |source| DataError::Write {
            path: self.path.clone(),
            source,
        };
        let reader = reader(
            TABLES[self.table],
            generation.scale_factor,
            self.part,
            self.count,
        );
        let file = File::create(&self.path).map_err(|source| DataError::Create {
            path: self.path.clone(),
            source,
        })?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .build();
        let mut writer =
            ArrowWriter::try_new(file, reader.schema(), Some(properties)).map_err(write_error)?;
        let mut rows = 0;
        for batch in reader {
            if generation.stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                return Err(DataError::Stopped);
            }
            let batch = batch.map_err(ParquetError::from).map_err(write_error)?;
            writer.write(&batch).map_err(write_error)?;
            let count = batch.num_rows() as u64;
            rows += count;
            generation.rows_done.fetch_add(count, Ordering::Relaxed);
        }
        writer.close().map_err(write_error)?;
        Ok(rows)
    }
}

fn reader(table: &str, scale_factor: f64, part: i32, count: i32) -> Box<dyn RecordBatchReader> {
    match table {
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(
            scale_factor,
            part,
            count,
        ))),
        _ => Box::new(LineItemArrow::new(LineItemGenerator::new(
            scale_factor,
            part,
            count,
        ))),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "row counts are positive and far below 2^63"
)]
fn table_rows_estimate(table: &str, scale_factor: f64) -> u64 {
    let per_scale = match table {
        "region" => return 5,
        "nation" => return 25,
        "supplier" => 10_000.0,
        "customer" => 150_000.0,
        "part" => 200_000.0,
        "partsupp" => 800_000.0,
        "orders" => 1_500_000.0,
        _ => 6_001_215.0,
    };
    (per_scale * scale_factor) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a count of files is small"
)]
fn file_count(table: &str, scale_factor: f64) -> i32 {
    ((table_rows_estimate(table, scale_factor) as f64 / FILE_ROWS).ceil() as i32).max(1)
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn generated_files_hold_the_specified_rows() {
        let folder = tempfile::tempdir().unwrap();
        let rows_done = AtomicU64::new(0);
        let rows = generate(&Generation {
            folder: folder.path(),
            scale_factor: 0.01,
            threads: 2,
            rows_done: &rows_done,
            stop: &AtomicBool::new(false),
        })
        .unwrap();
        assert_eq!(rows, [5, 25, 100, 1500, 2000, 8000, 15_000, 60_175]);
        assert_eq!(rows_done.into_inner(), rows.iter().sum::<u64>());
        let file = File::open(folder.path().join("lineitem/part-001.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 60_175);
    }

    #[test]
    fn a_stopped_generation_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let result = generate(&Generation {
            folder: folder.path(),
            scale_factor: 1.0,
            threads: 2,
            rows_done: &AtomicU64::new(0),
            stop: &AtomicBool::new(true),
        });
        assert!(matches!(result, Err(DataError::Stopped)));
    }

    #[test]
    fn large_tables_are_cut_into_files() {
        assert_eq!(file_count("nation", 100.0), 1);
        assert_eq!(file_count("lineitem", 0.01), 1);
        assert_eq!(file_count("lineitem", 1.0), 9);
    }
}
