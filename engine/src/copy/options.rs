//! What the options of `COPY … TO` mean. Knows names and values, no file.

use crate::error::{EngineError, ErrorKind};

/// Bytes after which a folder's next file is begun.
const FILE_BYTES: u64 = 512 << 20;

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Csv,
    Json,
    /// Arrow's file format, with its index at the end.
    Arrow,
}

impl Format {
    /// The ending of files.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "parquet" | "parq" | "pq" => Self::Parquet,
            "csv" | "tsv" | "tab" => Self::Csv,
            "json" | "ndjson" | "jsonl" => Self::Json,
            "arrow" | "ipc" | "feather" => Self::Arrow,
            _ => return None,
        })
    }
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Snappy,
    Lz4,
}

/// What happens to what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is an error.
    Refuse,
    /// It is replaced once the new files are complete.
    Replace,
    /// It stays; new files come beside it. A file of the same name is replaced.
    Keep,
}

/// How rows become files.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyOptions {
    pub(super) format: Format,
    pub(super) compression: Compression,
    /// Columns whose values are folders.
    pub(super) partition_by: Vec<String>,
    /// Whether files have these columns too.
    pub(super) keep_partition_columns: bool,
    pub(super) existing: Existing,
    pub(super) header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) null: String,
    /// Columns of CSV that are always quoted; `*` is all.
    pub(super) force_quote: Vec<String>,
    /// Whether JSON is one array.
    pub(super) array: bool,
    pub(super) row_group_rows: Option<usize>,
    pub(super) file_bytes: u64,
    /// Whether the target is one file.
    pub(super) one_file: bool,
}

/// The formats and the compression that the end of a target's name tells.
fn told_by(target: &str) -> (Option<Format>, Option<Compression>) {
    let name = target.rsplit('/').next().unwrap_or("").to_lowercase();
    let mut parts: Vec<&str> = name.split('.').skip(1).collect();
    let compression = match parts.last() {
        Some(&("gz" | "gzip")) => Some(Compression::Gzip),
        Some(&("zst" | "zstd")) => Some(Compression::Zstd),
        _ => None,
    };
    if compression.is_some() {
        parts.pop();
    }
    (
        parts.last().and_then(|name| Format::named(name)),
        compression,
    )
}

/// Whether the last part of a path has an ending.
fn names_a_file(target: &str) -> bool {
    let last = target.rsplit('/').next().unwrap_or("");
    last.trim_start_matches('.').contains('.') && !last.contains('=')
}

fn wants(option: &str, what: &str) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("COPY option {option} takes {what}"),
    )
}

fn one<'a>(option: &str, values: &'a [String], what: &str) -> Result<&'a str, EngineError> {
    match values {
        [value] => Ok(value),
        _ => Err(wants(option, what)),
    }
}

fn switch(option: &str, values: &[String]) -> Result<bool, EngineError> {
    match values {
        [] => Ok(true),
        [value] => match value.to_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(wants(option, "true or false")),
        },
        _ => Err(wants(option, "true or false")),
    }
}

fn byte(option: &str, values: &[String]) -> Result<u8, EngineError> {
    match one(option, values, "one ASCII character")?.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(wants(option, "one ASCII character")),
    }
}

fn compression_named(option: &str, values: &[String]) -> Result<Compression, EngineError> {
    const WHAT: &str = "none, gzip, zstd, snappy or lz4";
    Ok(match one(option, values, WHAT)?.to_lowercase().as_str() {
        "none" | "uncompressed" => Compression::None,
        "gz" | "gzip" => Compression::Gzip,
        "zst" | "zstd" => Compression::Zstd,
        "snappy" => Compression::Snappy,
        "lz4" | "lz4_raw" => Compression::Lz4,
        _ => return Err(wants(option, WHAT)),
    })
}

/// `1000`, `'256MB'`, `'1GiB'`
fn bytes(option: &str, values: &[String]) -> Result<u64, EngineError> {
    const WHAT: &str = "a size such as 268435456 or '256MB'";
    let text = one(option, values, WHAT)?.to_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text[digits.len()..].trim() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(wants(option, WHAT)),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| wants(option, WHAT))
}

impl CopyOptions {
    /// Reads options for files at `target`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for one that there is not, or that the format does not have.
    pub(super) fn of(target: &str, options: &[(String, Vec<String>)]) -> Result<Self, EngineError> {
        let (told, told_compression) = told_by(target);
        let mut out = Self {
            format: Format::Parquet,
            compression: Compression::None,
            partition_by: vec![],
            keep_partition_columns: false,
            existing: Existing::Refuse,
            header: true,
            delimiter: if target.to_lowercase().contains(".tsv") {
                b'\t'
            } else {
                b','
            },
            quote: b'"',
            null: String::new(),
            force_quote: vec![],
            array: false,
            row_group_rows: None,
            file_bytes: FILE_BYTES,
            one_file: false,
        };
        let (mut format, mut compression) = (None, None);
        // Options that only one format has.
        let mut bound = vec![];
        for (at, (name, values)) in options.iter().enumerate() {
            if options[..at].iter().any(|(known, _)| known == name) {
                return Err(EngineError::new(
                    ErrorKind::Syntax,
                    format!("COPY option {name} is given twice"),
                ));
            }
            match name.as_str() {
                "format" => {
                    const WHAT: &str = "parquet, csv, json or arrow";
                    let text = one(name, values, WHAT)?.to_lowercase();
                    format = Some(Format::named(&text).ok_or_else(|| wants(name, WHAT))?);
                }
                "compression" | "codec" => compression = Some(compression_named(name, values)?),
                _ => match out.take_of_format(name, values)? {
                    Some(of) => bound.push((name, of)),
                    None => out.take(name, values)?,
                },
            }
        }
        out.format = format.or(told).ok_or_else(|| {
            EngineError::new(
                ErrorKind::InvalidParameter,
                format!("the name of \"{target}\" does not tell its format"),
            )
            .with_hint("write (FORMAT parquet), csv, json or arrow")
        })?;
        if let Some((option, of)) = bound.iter().find(|(_, of)| *of != out.format) {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!(
                    "COPY option {option} is for the format {}, not {}",
                    of.ending(),
                    out.format.ending()
                ),
            ));
        }
        out.one_file = out.partition_by.is_empty() && names_a_file(target);
        out.settle_compression(compression, told_compression.filter(|_| out.one_file))?;
        if out.format == Format::Csv && out.delimiter == out.quote {
            return Err(wants("delimiter", "another character than quote"));
        }
        let breaks = |b: u8| b == out.delimiter || b == out.quote || matches!(b, b'\n' | b'\r');
        if out.null.bytes().any(breaks) {
            return Err(wants(
                "null",
                "a text without delimiter, quote and line end",
            ));
        }
        Ok(out)
    }

    /// Takes an option of all formats.
    fn take(&mut self, name: &str, values: &[String]) -> Result<(), EngineError> {
        match name {
            "partition_by" if !values.is_empty() => self.partition_by = values.to_vec(),
            "partition_by" => return Err(wants(name, "columns, as in (year, month)")),
            "write_partition_columns" => self.keep_partition_columns = switch(name, values)?,
            "overwrite" => {
                if switch(name, values)? {
                    self.existing = Existing::Replace;
                }
            }
            "overwrite_or_ignore" | "append" => {
                if switch(name, values)? {
                    self.existing = Existing::Keep;
                }
            }
            "file_size_bytes" => self.file_bytes = bytes(name, values)?,
            _ => {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!("COPY to a file has no option \"{name}\""),
                )
                .with_hint("options: FORMAT, PARTITION_BY, WRITE_PARTITION_COLUMNS, COMPRESSION, OVERWRITE, OVERWRITE_OR_IGNORE, FILE_SIZE_BYTES; of csv HEADER, DELIMITER, QUOTE, NULL, FORCE_QUOTE; of json ARRAY; of parquet ROW_GROUP_SIZE"));
            }
        }
        Ok(())
    }

    /// Takes an option that only one format has, and gives the format; none if it is no such option.
    fn take_of_format(
        &mut self,
        name: &str,
        values: &[String],
    ) -> Result<Option<Format>, EngineError> {
        match name {
            "header" => self.header = switch(name, values)?,
            "delimiter" | "delim" | "sep" => self.delimiter = byte(name, values)?,
            "quote" => self.quote = byte(name, values)?,
            "null" | "nullstr" => one(name, values, "a text")?.clone_into(&mut self.null),
            "force_quote" => self.force_quote = values.to_vec(),
            "array" => {
                self.array = switch(name, values)?;
                return Ok(Some(Format::Json));
            }
            "row_group_size" => {
                const WHAT: &str = "a number of rows";
                let rows = one(name, values, WHAT)?.parse::<usize>().ok();
                let rows = rows.filter(|rows| *rows > 0);
                self.row_group_rows = Some(rows.ok_or_else(|| wants(name, WHAT))?);
                return Ok(Some(Format::Parquet));
            }
            _ => return Ok(None),
        }
        Ok(Some(Format::Csv))
    }

    fn settle_compression(
        &mut self,
        given: Option<Compression>,
        told: Option<Compression>,
    ) -> Result<(), EngineError> {
        use Compression::{Gzip, Lz4, None, Snappy, Zstd};
        let is_text = matches!(self.format, Format::Csv | Format::Json);
        // Only the names of text files tell their compression to readers.
        let told = told.filter(|_| is_text);
        self.compression = match (given, told) {
            (Some(given), Some(told)) if given != told => {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    "COMPRESSION is not what the ending of the file's name says",
                ));
            }
            (Some(given), _) => given,
            (Option::None, Some(told)) => told,
            (Option::None, Option::None) if self.format == Format::Parquet => Zstd,
            (Option::None, Option::None) => None,
        };
        let fits = match self.format {
            Format::Parquet => true,
            Format::Csv | Format::Json => matches!(self.compression, None | Gzip | Zstd),
            Format::Arrow => matches!(self.compression, None | Zstd | Lz4),
        };
        if fits {
            return Ok(());
        }
        debug_assert!(matches!(self.compression, Gzip | Snappy | Lz4));
        Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{} files are not compressed so", self.format.ending()),
        )
        .with_hint(if self.format == Format::Arrow {
            "COMPRESSION zstd, lz4 or none"
        } else {
            "COMPRESSION gzip, zstd or none"
        }))
    }

    /// The ending of a file in a folder.
    pub(super) fn ending(&self) -> String {
        let text = matches!(self.format, Format::Csv | Format::Json);
        let more = match self.compression {
            Compression::Gzip if text => ".gz",
            Compression::Zstd if text => ".zst",
            _ => "",
        };
        format!("{}{more}", self.format.ending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str, options: &[(&str, &[&str])]) -> Result<CopyOptions, EngineError> {
        let options: Vec<_> = options
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|v| (*v).to_owned()).collect();
                ((*name).to_owned(), values)
            })
            .collect();
        CopyOptions::of(target, &options)
    }

    #[test]
    fn names_tell_format_compression_and_file_or_folder() {
        let options = read("/d/x.csv.gz", &[]).unwrap();
        assert_eq!(
            (options.format, options.compression, options.one_file),
            (Format::Csv, Compression::Gzip, true)
        );
        let options = read("/d/x.parquet", &[]).unwrap();
        assert_eq!(options.compression, Compression::Zstd);
        let folder = read("s3://b/x", &[("format", &["JSON"])]).unwrap();
        assert!(!folder.one_file);
        assert_eq!(folder.ending(), "json");
        let parts = read("/d/x.parquet", &[("partition_by", &["a"])]).unwrap();
        assert!(!parts.one_file);
        assert!(
            !read("/d/day=1.5", &[("format", &["csv"])])
                .unwrap()
                .one_file
        );
        assert_eq!(
            read(
                "/d/x",
                &[("format", &["csv"]), ("file_size_bytes", &["2MB"])]
            )
            .unwrap()
            .file_bytes,
            2_000_000
        );
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let check = |target: &str, options: &[(&str, &[&str])], needle: &str| {
            let error = read(target, options).unwrap_err();
            assert!(error.message.contains(needle), "{error}");
        };
        check("/d/x", &[], "does not tell its format");
        check("/d/x.json", &[("header", &[])], "is for the format csv");
        check(
            "/d/x.csv",
            &[("compression", &["lz4"])],
            "not compressed so",
        );
        check("/d/x.csv.gz", &[("compression", &["zstd"])], "ending");
        check("/d/x.csv", &[("colour", &["red"])], "no option \"colour\"");
        check("/d/x.csv", &[("delimiter", &["ab"])], "one ASCII");
        check("/d/x.csv", &[("null", &[","])], "without delimiter");
        check("/d/x.csv", &[("header", &[]), ("header", &[])], "twice");
        check(
            "/d/x",
            &[("format", &["csv"]), ("file_size_bytes", &["0"])],
            "a size",
        );
    }
}
