//! What table properties say about how data files are written.
//!
//! Knows Iceberg's write properties and their defaults. Refuses to know rows.

use std::collections::HashMap;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::error::WriteError;

const MIB: u64 = 1 << 20;
/// Default of `write.target-file-size-bytes`. Source: Iceberg, "Write properties".
const TARGET_FILE_BYTES: u64 = 512 * MIB;
/// Default of `write.parquet.row-group-size-bytes`.
const ROW_GROUP_BYTES: u64 = 128 * MIB;
/// Rows after which a row group ends, whatever its bytes.
const ROW_GROUP_ROWS: u64 = 1 << 20;
/// Default of `write.parquet.page-size-bytes`.
const PAGE_BYTES: u64 = MIB;
/// Default of `write.parquet.page-row-limit`.
const PAGE_ROWS: u64 = 20_000;
/// Default of `write.parquet.dict-size-bytes`.
const DICTIONARY_BYTES: u64 = 2 * MIB;
/// Default width of text and binary bounds, in characters and bytes.
const BOUND_WIDTH: usize = 16;
/// Default false-positive rate of a bloom filter.
const BLOOM_FPP: f64 = 0.01;

const BLOOM_ENABLED: &str = "write.parquet.bloom-filter-enabled.column.";
const BLOOM_RATE: &str = "write.parquet.bloom-filter-fpp.column.";
const METRICS_COLUMN: &str = "write.metadata.metrics.column.";
const METRICS_DEFAULT: &str = "write.metadata.metrics.default";
const METRICS_INFERRED_MAX: &str = "write.metadata.metrics.max-inferred-column-defaults";
/// Default of [`METRICS_INFERRED_MAX`].
const INFERRED_MAX: u64 = 100;
const DISTRIBUTION: &str = "write.distribution-mode";
const FORMAT: &str = "write.format.default";

/// Which metrics of a column go into the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricsMode {
    /// None.
    None,
    /// Counts of values, NULLs and NaNs.
    Counts,
    /// Counts, and bounds of at most so many characters or bytes.
    Truncate(usize),
    /// Counts and whole bounds.
    Full,
}

impl MetricsMode {
    fn parse(name: &str, text: &str) -> Result<Self, WriteError> {
        let lower = text.trim().to_ascii_lowercase();
        let width = lower
            .strip_prefix("truncate(")
            .and_then(|rest| rest.strip_suffix(')'));
        match (
            lower.as_str(),
            width.map(|width| width.trim().parse::<usize>()),
        ) {
            ("none", _) => Ok(Self::None),
            ("counts", _) => Ok(Self::Counts),
            ("full", _) => Ok(Self::Full),
            (_, Some(Ok(width))) if width > 0 => Ok(Self::Truncate(width)),
            _ => Err(property(
                name,
                text,
                "use none, counts, truncate(N) or full",
            )),
        }
    }
}

/// Which rows come to which task. Source: Iceberg, "Write properties".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DistributionMode {
    /// Rows stay where they are: a file of each partition from each task.
    None,
    /// Rows of one partition come to one task.
    Hash,
    /// Rows are sorted as a whole, by one task.
    Range,
}

impl DistributionMode {
    fn of(properties: &HashMap<String, String>) -> Result<Option<Self>, WriteError> {
        let Some(text) = properties.get(DISTRIBUTION) else {
            return Ok(None);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "none" => Ok(Some(Self::None)),
            "hash" => Ok(Some(Self::Hash)),
            "range" => Ok(Some(Self::Range)),
            _ => Err(property(DISTRIBUTION, text, "use none, hash or range")),
        }
    }
}

/// How data files are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteOptions {
    codec: String,
    level: Option<i32>,
    row_group_bytes: u64,
    row_group_rows: u64,
    page_bytes: u64,
    page_rows: u64,
    dictionary_bytes: u64,
    /// A file is closed once it has this many bytes.
    pub target_file_bytes: u64,
    /// Columns with a bloom filter, and its false-positive rate.
    bloom: Vec<(String, f64)>,
    metrics_default: MetricsMode,
    /// Columns that have the default mode, if nobody chose it; the others of a wide table have none.
    metrics_inferred_max: Option<u64>,
    metrics: HashMap<String, MetricsMode>,
    distribution: Option<DistributionMode>,
}

impl WriteOptions {
    /// Reads the properties of a table.
    ///
    /// # Errors
    /// [`WriteError::Property`] for a value without a meaning.
    pub fn of(properties: &HashMap<String, String>) -> Result<Self, WriteError> {
        let number = |name: &str, default: u64| match properties.get(name) {
            None => Ok(default),
            Some(text) => match text.trim().parse::<u64>() {
                Ok(value) if value > 0 => Ok(value),
                _ => Err(property(name, text, "use a whole number above 0")),
            },
        };
        let level = match properties.get("write.parquet.compression-level") {
            Some(text) if text != "null" => {
                let name = "write.parquet.compression-level";
                Some(
                    text.trim()
                        .parse()
                        .map_err(|_| property(name, text, "use a whole number"))?,
                )
            }
            _ => None,
        };
        let mut metrics = HashMap::new();
        let mut bloom = Vec::new();
        for (name, text) in properties {
            if let Some(column) = name.strip_prefix(BLOOM_ENABLED)
                && !["true", "false"].contains(&text.trim().to_ascii_lowercase().as_str())
            {
                let column = format!("{BLOOM_ENABLED}{column}");
                return Err(property(&column, text, "use true or false"));
            }
            if let Some(column) = name.strip_prefix(METRICS_COLUMN) {
                metrics.insert(column.to_owned(), MetricsMode::parse(name, text)?);
            } else if let Some(column) = name
                .strip_prefix(BLOOM_ENABLED)
                .filter(|_| text.trim().eq_ignore_ascii_case("true"))
            {
                let name = format!("{BLOOM_RATE}{column}");
                let rate = match properties.get(&name) {
                    None => BLOOM_FPP,
                    Some(text) => match text.parse::<f64>() {
                        Ok(rate) if rate > 0.0 && rate < 1.0 => rate,
                        _ => return Err(property(&name, text, "use a number between 0 and 1")),
                    },
                };
                bloom.push((column.to_owned(), rate));
            }
        }
        bloom.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(format) = properties.get(FORMAT)
            && !format.trim().eq_ignore_ascii_case("parquet")
        {
            return Err(property(FORMAT, format, "only parquet is written"));
        }
        let inferred_max = match properties.get(METRICS_INFERRED_MAX) {
            None => INFERRED_MAX,
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| property(METRICS_INFERRED_MAX, text, "use a whole number"))?,
        };
        let options = Self {
            codec: properties
                .get("write.parquet.compression-codec")
                .map_or("zstd", String::as_str)
                .to_ascii_lowercase(),
            level,
            row_group_bytes: number("write.parquet.row-group-size-bytes", ROW_GROUP_BYTES)?,
            row_group_rows: number("write.parquet.row-group-limit", ROW_GROUP_ROWS)?,
            page_bytes: number("write.parquet.page-size-bytes", PAGE_BYTES)?,
            page_rows: number("write.parquet.page-row-limit", PAGE_ROWS)?,
            dictionary_bytes: number("write.parquet.dict-size-bytes", DICTIONARY_BYTES)?,
            target_file_bytes: number("write.target-file-size-bytes", TARGET_FILE_BYTES)?,
            bloom,
            metrics_default: match properties.get(METRICS_DEFAULT) {
                None => MetricsMode::Truncate(BOUND_WIDTH),
                Some(text) => MetricsMode::parse(METRICS_DEFAULT, text)?,
            },
            metrics_inferred_max: (!properties.contains_key(METRICS_DEFAULT))
                .then_some(inferred_max),
            metrics,
            distribution: DistributionMode::of(properties)?,
        };
        options.compression()?;
        Ok(options)
    }

    /// Which rows come to which task: as the table says, else those of a partition to one.
    pub fn distribution(&self, partitioned: bool) -> DistributionMode {
        self.distribution.unwrap_or(if partitioned {
            DistributionMode::Hash
        } else {
            DistributionMode::None
        })
    }

    /// Settles the metrics of each of `columns`, the dotted paths of all leaves in the order of the schema.
    ///
    /// Columns in `sorted`, by which rows are sorted, have bounds unless somebody chose otherwise.
    pub(crate) fn settle_metrics(&mut self, columns: &[String], sorted: &[String]) {
        let bounds = match self.metrics_default {
            MetricsMode::None | MetricsMode::Counts => MetricsMode::Truncate(BOUND_WIDTH),
            mode @ (MetricsMode::Truncate(_) | MetricsMode::Full) => mode,
        };
        for column in sorted {
            self.metrics.entry(column.clone()).or_insert(bounds);
        }
        let Some(max) = self.metrics_inferred_max else {
            return;
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        for column in columns.iter().skip(max) {
            self.metrics
                .entry(column.clone())
                .or_insert(MetricsMode::None);
        }
    }

    /// Which metrics of the column at the dotted path are kept.
    pub fn metrics_mode(&self, column: &str) -> MetricsMode {
        self.metrics
            .get(column)
            .copied()
            .unwrap_or(self.metrics_default)
    }

    fn compression(&self) -> Result<Compression, WriteError> {
        let refuse = |error: parquet::errors::ParquetError| {
            property(
                "write.parquet.compression-level",
                &self.level.unwrap_or_default().to_string(),
                &error.to_string(),
            )
        };
        let unsigned = |level: i32| u32::try_from(level).unwrap_or(u32::MAX);
        Ok(match self.codec.as_str() {
            "zstd" => Compression::ZSTD(match self.level {
                Some(level) => ZstdLevel::try_new(level).map_err(refuse)?,
                None => ZstdLevel::try_new(3).map_err(refuse)?,
            }),
            "gzip" => Compression::GZIP(match self.level {
                Some(level) => GzipLevel::try_new(unsigned(level)).map_err(refuse)?,
                None => GzipLevel::default(),
            }),
            "brotli" => Compression::BROTLI(match self.level {
                Some(level) => BrotliLevel::try_new(unsigned(level)).map_err(refuse)?,
                None => BrotliLevel::default(),
            }),
            "snappy" => Compression::SNAPPY,
            "lz4" | "lz4_raw" => Compression::LZ4_RAW,
            "uncompressed" | "none" => Compression::UNCOMPRESSED,
            codec => {
                let expected = "use zstd, snappy, gzip, lz4, brotli or uncompressed";
                return Err(property("write.parquet.compression-codec", codec, expected));
            }
        })
    }

    /// As the Parquet writer wants it.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn parquet(&self) -> Result<WriterProperties, WriteError> {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut builder = WriterProperties::builder()
            .set_compression(self.compression()?)
            .set_created_by(format!("tarn {}", env!("CARGO_PKG_VERSION")))
            .set_coerce_types(true)
            .set_max_row_group_row_count(Some(size(self.row_group_rows)))
            .set_max_row_group_bytes(Some(size(self.row_group_bytes)))
            .set_data_page_size_limit(size(self.page_bytes))
            .set_data_page_row_count_limit(size(self.page_rows))
            .set_dictionary_page_size_limit(size(self.dictionary_bytes))
            .set_statistics_enabled(EnabledStatistics::Page);
        for (column, rate) in &self.bloom {
            let path = ColumnPath::new(column.split('.').map(str::to_owned).collect());
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path, *rate);
        }
        Ok(builder.build())
    }
}

fn property(name: &str, value: &str, expected: &str) -> WriteError {
    WriteError::Property {
        name: name.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<WriteOptions, WriteError> {
        WriteOptions::of(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn files_are_zstd_unless_the_table_says_otherwise() {
        let column = ColumnPath::from("a");
        let of = |pairs: &[(&str, &str)]| {
            options(pairs)
                .and_then(|options| options.parquet())
                .map(|properties| properties.compression(&column))
        };
        assert!(matches!(of(&[]), Ok(Compression::ZSTD(level)) if level.compression_level() == 3));
        assert!(matches!(
            of(&[("write.parquet.compression-codec", "SNAPPY")]),
            Ok(Compression::SNAPPY)
        ));
        assert!(matches!(
            of(&[("write.parquet.compression-codec", "rar")]),
            Err(WriteError::Property { .. })
        ));
    }

    #[test]
    fn a_column_has_its_own_metrics_mode() {
        let options = options(&[
            (METRICS_DEFAULT, "counts"),
            ("write.metadata.metrics.column.a.b", "Truncate(4)"),
        ])
        .expect("these are valid properties");
        assert_eq!(options.metrics_mode("x"), MetricsMode::Counts);
        assert_eq!(options.metrics_mode("a.b"), MetricsMode::Truncate(4));
    }

    #[test]
    fn wide_tables_have_metrics_of_their_first_columns_and_of_those_they_are_sorted_by() {
        let columns: Vec<String> = (0..5).map(|n| format!("c{n}")).collect();
        let mut inferred = options(&[
            (METRICS_INFERRED_MAX, "2"),
            ("write.metadata.metrics.column.c4", "counts"),
        ])
        .expect("these are valid properties");
        inferred.settle_metrics(&columns, &["c3".to_owned()]);
        let modes = columns.iter().map(|column| inferred.metrics_mode(column));
        let truncated = MetricsMode::Truncate(BOUND_WIDTH);
        assert_eq!(
            modes.collect::<Vec<_>>(),
            [
                truncated,
                truncated,
                MetricsMode::None,
                truncated,
                MetricsMode::Counts
            ]
        );
        let mut chosen = options(&[(METRICS_INFERRED_MAX, "2"), (METRICS_DEFAULT, "full")])
            .expect("these are valid properties");
        chosen.settle_metrics(&columns, &[]);
        assert_eq!(chosen.metrics_mode("c3"), MetricsMode::Full);
    }

    #[test]
    fn other_formats_and_modes_are_refused_by_name() {
        for (name, value) in [(FORMAT, "orc"), (DISTRIBUTION, "random")] {
            let error = options(&[(name, value)]).expect_err("not possible");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_property_that_is_no_number_is_refused_by_name() {
        let error = options(&[("write.target-file-size-bytes", "1GB")]).expect_err("not a number");
        assert!(error.to_string().contains("write.target-file-size-bytes"));
    }
}
