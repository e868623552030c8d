//! Readers of files that DataFusion does not read, or not as users mean them: CSV, JSON, Avro, ORC, whole files.
//!
//! One [`FileSource`](datafusion::datasource::physical_plan::FileSource) for all of them ([`ReaderSource`]): DataFusion deals
//! out files, puts in partition values and projects; a reader gives the columns of one file that are asked for.

mod avro;
mod bytes;
mod csv;
mod json;
mod named;
mod orc;
mod source;
mod whole;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::error::DataFusionError;
use futures::stream::BoxStream;
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Serialize};

use super::options::{ReadOptions, compression_of_name};
use super::schema::Rules;
use crate::error::{EngineError, ErrorKind, with_class};

pub(crate) use csv::CsvOptions;
pub(crate) use named::NamedParquet;
pub(crate) use source::{ReaderSource, Reading, try_decode, try_encode};

/// What reads files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reader {
    /// DataFusion's reader of Parquet.
    Parquet,
    Csv(CsvOptions),
    /// Values one after another, or in one array.
    Json,
    Avro,
    Orc,
    /// One row for each file, its content as text.
    Text,
    /// One row for each file, its content as bytes.
    Binary,
}

impl Reader {
    /// Whether the files are text that does not say its types.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Csv(_) | Self::Json)
    }

    /// Whether each file is one row.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }

    /// Endings of names by which files of a folder are chosen.
    pub(crate) fn endings(&self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &[".parquet", ".parq", ".pq"],
            Self::Csv(_) => &[".csv", ".tsv", ".tab"],
            Self::Json => &[".json", ".ndjson", ".jsonl"],
            Self::Avro => &[".avro"],
            Self::Orc => &[".orc"],
            Self::Text | Self::Binary => &[],
        }
    }

    /// The options of its function.
    pub(crate) fn options(&self) -> &'static str {
        match self {
            Self::Parquet | Self::Avro | Self::Orc => {
                "columns, union_by_name, filename, hive_partitioning, hive_types, hive_types_autocast"
            }
            Self::Csv(_) => {
                "header, delim, quote, escape, comment, nullstr, skip, dateformat, timestampformat, all_varchar, null_padding, columns, types, sample_size, compression, union_by_name, filename, hive_partitioning, hive_types, hive_types_autocast"
            }
            Self::Json => {
                "format, columns, types, sample_size, compression, union_by_name, filename, hive_partitioning, hive_types, hive_types_autocast"
            }
            Self::Text | Self::Binary => {
                "compression, filename, hive_partitioning, hive_types, hive_types_autocast"
            }
        }
    }
}

/// One file as a reader gets it.
#[derive(Clone, Debug)]
pub(crate) struct OneFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) meta: ObjectMeta,
    /// As users name it.
    pub(crate) name: String,
    pub(crate) compression: CompressionTypeVariant,
}

impl OneFile {
    /// A file with the compression that options or its name say.
    pub(crate) fn new(
        store: &Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
        name: &str,
        compression: Option<CompressionTypeVariant>,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            meta: meta.clone(),
            name: name.to_owned(),
            compression: compression.unwrap_or_else(|| compression_of_name(name)),
        }
    }

    /// An error that this file is the reason of.
    pub(crate) fn corrupt(&self, why: &dyn std::fmt::Display) -> DataFusionError {
        failed(EngineError::new(
            ErrorKind::Corrupt,
            format!("\"{}\": {why}", self.name),
        ))
    }

    /// What an error of the store means.
    pub(crate) fn unread(&self, error: object_store::Error) -> DataFusionError {
        DataFusionError::from(error).context(format!("reading \"{}\"", self.name))
    }
}

/// An error whose class survives the way from a worker.
pub(crate) fn failed(error: EngineError) -> DataFusionError {
    let kind = error.kind;
    with_class(error.into(), kind)
}

/// How the columns of a file are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Columns of the table that files have.
    pub(crate) table: SchemaRef,
    /// Those that are asked for.
    pub(crate) projected: SchemaRef,
    pub(crate) rules: Arc<Rules>,
    pub(crate) batch_rows: usize,
}

/// Batches of one file.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// The columns of `file` that are asked for, batch by batch.
pub(crate) async fn open(reader: &Reader, file: OneFile, wanted: Wanted) -> Result<Batches> {
    match reader {
        Reader::Csv(options) => csv::open(options, file, wanted).await,
        Reader::Json => json::open(file, wanted).await,
        Reader::Avro => avro::open(file, wanted).await,
        Reader::Orc => orc::open(file, wanted).await,
        Reader::Text | Reader::Binary => whole::open(file, wanted).await,
        Reader::Parquet => Err(DataFusionError::Internal(
            "Parquet is read by DataFusion".to_owned(),
        )),
    }
}

/// The columns of one file that says them itself.
pub(crate) async fn schema_of(reader: &Reader, file: &OneFile) -> Result<SchemaRef> {
    match reader {
        Reader::Avro => avro::schema(file).await,
        Reader::Orc => orc::schema(file).await,
        Reader::Text | Reader::Binary => Ok(whole::schema(matches!(reader, Reader::Text))),
        Reader::Parquet | Reader::Csv(_) | Reader::Json => Err(DataFusionError::Internal(
            "these columns are found elsewhere".to_owned(),
        )),
    }
}

/// The columns of files that do not say their types, found in their first rows.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the file.
pub(crate) async fn sampled(
    options: &ReadOptions,
    files: &[OneFile],
    rules: &Rules,
) -> Result<SchemaRef> {
    match &options.reader {
        Reader::Csv(csv) => csv::sampled(csv, options.sample_rows, files, rules).await,
        _ => json::sampled(options.sample_rows, files).await,
    }
}
