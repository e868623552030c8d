//! One file being written: rows in, bytes of one format out.
//!
//! Knows formats. Where the file goes and when it is finished is decided elsewhere.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use flate2::write::GzEncoder;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as ParquetCompression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::nested;
use super::options::{Compression, CopyOptions, Format};
use crate::error::EngineError;
use crate::instants::Instants;
use crate::write::Upload;

/// Bytes of one part of an upload. S3 takes 10 000 parts, so a file may reach 80 GB.
const PART_BYTES: usize = 8 << 20;
/// Rows of a Parquet row group. Source: DuckDB, `ROW_GROUP_SIZE`.
const ROW_GROUP_ROWS: usize = 122_880;

/// A file being written. Dropped before it is finished, it never appears.
pub(super) struct OpenFile {
    pub(super) path: Path,
    /// As users name it.
    name: String,
    encoder: Encoder,
    bytes: u64,
}

enum Encoder {
    Parquet(Box<AsyncArrowWriter<Upload>>),
    Arrow(Box<FileWriter<Vec<u8>>>, Upload),
    Text(Box<Text>, Upload),
}

struct Text {
    format: Format,
    squeeze: Squeeze,
    options: Arc<CopyOptions>,
    forced: Vec<bool>,
    begun: bool,
}

enum Squeeze {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Squeeze {
    fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(GzEncoder::new(vec![], flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(vec![], 0)?),
            _ => Self::Plain(vec![]),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
        }
    }

    /// What has been squeezed so far.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Plain(out) => out,
            Self::Gzip(out) => out.get_mut(),
            Self::Zstd(out) => out.get_mut(),
        })
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(out) => out.finish(),
            Self::Zstd(out) => out.finish(),
        }
    }
}

fn parquet_properties(options: &CopyOptions) -> WriterProperties {
    let compression = match options.compression {
        Compression::None => ParquetCompression::UNCOMPRESSED,
        Compression::Gzip => ParquetCompression::GZIP(GzipLevel::default()),
        Compression::Zstd => ParquetCompression::ZSTD(ZstdLevel::default()),
        Compression::Snappy => ParquetCompression::SNAPPY,
        Compression::Lz4 => ParquetCompression::LZ4_RAW,
    };
    WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(options.row_group_rows.unwrap_or(ROW_GROUP_ROWS)))
        .build()
}

impl OpenFile {
    /// Starts a file. Nothing is stored yet.
    pub(super) fn create(
        store: &Arc<dyn ObjectStore>,
        path: Path,
        name: String,
        schema: &SchemaRef,
        options: &Arc<CopyOptions>,
    ) -> Result<Self, EngineError> {
        let buffer = BufWriter::with_capacity(Arc::clone(store), path.clone(), PART_BYTES);
        let upload = Upload::new(buffer);
        let encoder = match options.format {
            Format::Parquet => {
                // Without the Arrow schema in the footer the file is what any reader expects.
                let how = ArrowWriterOptions::new()
                    .with_properties(parquet_properties(options))
                    .with_skip_arrow_metadata(true);
                let writer =
                    AsyncArrowWriter::try_new_with_options(upload, Arc::clone(schema), how)
                        .map_err(|error| failed(&name, error.into()))?;
                Encoder::Parquet(Box::new(writer))
            }
            Format::Arrow => {
                let compression = match options.compression {
                    Compression::Zstd => Some(CompressionType::ZSTD),
                    Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
                    _ => None,
                };
                let how = IpcWriteOptions::default().try_with_compression(compression)?;
                let writer = FileWriter::try_new_with_options(vec![], schema, how)?;
                Encoder::Arrow(Box::new(writer), upload)
            }
            Format::Csv | Format::Json => {
                let forced = schema
                    .fields()
                    .iter()
                    .map(|field| {
                        let force = &options.force_quote;
                        force.iter().any(|name| name == "*" || name == field.name())
                    })
                    .collect();
                let mut text = Text {
                    format: options.format,
                    squeeze: Squeeze::new(options.compression)
                        .map_err(|e| failed(&name, e.into()))?,
                    options: Arc::clone(options),
                    forced,
                    begun: false,
                };
                text.begin(schema).map_err(|e| failed(&name, e.into()))?;
                Encoder::Text(Box::new(text), upload)
            }
        };
        Ok(Self {
            path,
            name,
            encoder,
            bytes: 0,
        })
    }

    /// Adds rows.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        let name = &self.name;
        match &mut self.encoder {
            Encoder::Parquet(writer) => {
                writer
                    .write(batch)
                    .await
                    .map_err(|error| failed(name, of_parquet(error)))?;
                self.bytes = (writer.bytes_written() + writer.in_progress_size()) as u64;
            }
            Encoder::Arrow(writer, upload) => {
                writer.write(batch)?;
                let bytes = std::mem::take(writer.get_mut());
                self.bytes += bytes.len() as u64;
                put(upload, bytes, name).await?;
            }
            Encoder::Text(text, upload) => {
                text.write(batch)?;
                let bytes = text.squeeze.take();
                self.bytes += bytes.len() as u64;
                put(upload, bytes, name).await?;
            }
        }
        Ok(())
    }

    /// Bytes that the file has so far, or nearly so.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory that rows take which are not written yet.
    pub(super) fn memory(&self) -> usize {
        match &self.encoder {
            Encoder::Parquet(writer) => writer.memory_size(),
            Encoder::Arrow(..) | Encoder::Text(..) => 0,
        }
    }

    /// Writes out what is in memory.
    pub(super) async fn flush(&mut self) -> Result<(), EngineError> {
        match &mut self.encoder {
            Encoder::Parquet(writer) => writer
                .flush()
                .await
                .map_err(|error| failed(&self.name, of_parquet(error))),
            Encoder::Arrow(..) | Encoder::Text(..) => Ok(()),
        }
    }

    /// Finishes the file: it appears, whole.
    pub(super) async fn finish(self) -> Result<Path, EngineError> {
        let name = self.name;
        match self.encoder {
            Encoder::Parquet(mut writer) => {
                writer
                    .finish()
                    .await
                    .map_err(|error| failed(&name, of_parquet(error)))?;
            }
            Encoder::Arrow(mut writer, mut upload) => {
                writer.finish()?;
                let bytes = std::mem::take(writer.get_mut());
                put(&mut upload, bytes, &name).await?;
                complete(upload, &name).await?;
            }
            Encoder::Text(text, mut upload) => {
                let bytes = text.finish().map_err(|e| failed(&name, e.into()))?;
                put(&mut upload, bytes, &name).await?;
                complete(upload, &name).await?;
            }
        }
        Ok(self.path)
    }

    /// Gives the file up.
    pub(super) async fn abort(self) {
        let upload = match self.encoder {
            Encoder::Parquet(writer) => writer.into_inner(),
            Encoder::Arrow(_, upload) | Encoder::Text(_, upload) => upload,
        };
        if let Err(error) = upload.abort().await {
            tracing::debug!(file = self.name, %error, "upload of a failed COPY not aborted");
        }
    }
}

async fn put(upload: &mut Upload, bytes: Vec<u8>, name: &str) -> Result<(), EngineError> {
    if bytes.is_empty() {
        return Ok(());
    }
    upload
        .put(Bytes::from(bytes))
        .await
        .map_err(|error| failed(name, error.into()))
}

async fn complete(mut upload: Upload, name: &str) -> Result<(), EngineError> {
    use parquet::arrow::async_writer::AsyncFileWriter;
    upload
        .complete()
        .await
        .map_err(|error| failed(name, of_parquet(error)))
}

fn of_parquet(error: ParquetError) -> DataFusionError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(store) => DataFusionError::from(*store),
            Err(inner) => DataFusionError::External(inner),
        },
        other => DataFusionError::from(other),
    }
}

fn failed(name: &str, error: DataFusionError) -> EngineError {
    let error = EngineError::from(error);
    EngineError {
        message: format!("cannot write \"{name}\": {}", error.message),
        ..error
    }
}

impl Text {
    fn begin(&mut self, schema: &SchemaRef) -> std::io::Result<()> {
        if self.format == Format::Csv && self.options.header {
            let mut line = vec![];
            for (at, field) in schema.fields().iter().enumerate() {
                if at > 0 {
                    line.push(self.options.delimiter);
                }
                put_csv(&mut line, field.name(), &self.options, false);
            }
            line.push(b'\n');
            self.squeeze.write(&line)?;
        }
        if self.format == Format::Json && self.options.array {
            self.squeeze.write(b"[")?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        let lines = if self.format == Format::Csv {
            csv_lines(batch, &self.options, &self.forced)?
        } else {
            let mut writer = WriterBuilder::new()
                .with_explicit_nulls(true)
                .with_encoder_factory(Arc::new(Instants))
                .build::<_, LineDelimited>(vec![]);
            writer.write(batch)?;
            writer.finish()?;
            self.in_array(writer.into_inner())
        };
        self.squeeze
            .write(&lines)
            .map_err(|error| EngineError::from(DataFusionError::from(error)))
    }

    /// Lines of objects as items of an array, if it is to be one.
    fn in_array(&mut self, lines: Vec<u8>) -> Vec<u8> {
        if !self.options.array {
            return lines;
        }
        let mut out = Vec::with_capacity(lines.len() + 2);
        // Line ends in texts are escaped, so each one here ends an object.
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            out.extend_from_slice(if self.begun { b",\n" } else { b"\n" });
            out.extend_from_slice(line);
            self.begun = true;
        }
        out
    }

    fn finish(mut self: Box<Self>) -> std::io::Result<Vec<u8>> {
        if self.format == Format::Json && self.options.array {
            self.squeeze.write(b"\n]\n")?;
        }
        self.squeeze.finish()
    }
}

/// Rows of texts, arrays and rows as lines of CSV.
///
/// # Errors
/// If a column is none of these.
fn csv_lines(
    batch: &RecordBatch,
    options: &CopyOptions,
    forced: &[bool],
) -> Result<Vec<u8>, EngineError> {
    let nested: Vec<Option<StringArray>> = batch
        .columns()
        .iter()
        .map(|column| {
            let nested = column.data_type().is_nested();
            nested.then(|| nested::texts(column)).transpose()
        })
        .collect::<Result<_, _>>()?;
    let columns: Vec<&StringArray> = batch
        .columns()
        .iter()
        .zip(&nested)
        .map(|(column, nested)| {
            let text = nested.as_ref().or_else(|| column.as_string_opt::<i32>());
            text.ok_or_else(|| EngineError::internal("a column of CSV is no text"))
        })
        .collect::<Result<_, _>>()?;
    let mut out = vec![];
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(options.delimiter);
            }
            if column.is_valid(row) {
                let force = forced.get(at).copied().unwrap_or(false);
                put_csv(&mut out, column.value(row), options, force);
            } else {
                out.extend_from_slice(options.null.as_bytes());
            }
        }
        // A line of nothing would be none.
        if let [column] = columns[..]
            && options.null.is_empty()
            && column.is_null(row)
        {
            out.push(options.quote);
            out.push(options.quote);
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// Appends a value, quoted if it must be. Source: PostgreSQL, "COPY", CSV Format.
fn put_csv(out: &mut Vec<u8>, text: &str, options: &CopyOptions, force: bool) {
    let special = |byte: u8| {
        byte == options.delimiter || byte == options.quote || matches!(byte, b'\n' | b'\r')
    };
    if !force && text != options.null && !text.bytes().any(special) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(options.quote);
    for byte in text.bytes() {
        if byte == options.quote {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(options.quote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::ArrayRef;

    fn options(given: &[(&str, &str)]) -> CopyOptions {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
            .collect();
        CopyOptions::of("/d/x.csv", &given).unwrap()
    }

    fn check(given: &[(&str, &str)], texts: &[Option<&str>], wanted: &str) {
        let column: StringArray = texts.iter().copied().collect();
        let other: StringArray = texts.iter().map(|_| Some("x")).collect();
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(column) as ArrayRef),
            ("b", Arc::new(other) as ArrayRef),
        ])
        .unwrap();
        let lines = csv_lines(&batch, &options(given), &[false, false]).unwrap();
        assert_eq!(String::from_utf8(lines).unwrap(), wanted);
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        check(
            &[],
            &[
                Some("a"),
                Some(""),
                None,
                Some("a,b"),
                Some("\"q\""),
                Some("l\nm"),
            ],
            "a,x\n\"\",x\n,x\n\"a,b\",x\n\"\"\"q\"\"\",x\n\"l\nm\",x\n",
        );
        check(
            &[("null", "NA"), ("delimiter", ";")],
            &[None, Some("NA"), Some(""), Some("a,b")],
            "NA;x\n\"NA\";x\n;x\na,b;x\n",
        );
    }
}
