//! What options of file functions mean.
//!
//! Names are DuckDB's; where Spark has another word for the same thing, it is taken too. Opens no file.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::call::{Argument, FileCall};
use super::read::{CsvOptions, Reader};
use crate::dialect::PostgreSqlDialect;
use crate::error::{EngineError, ErrorKind};
use crate::types::SqlTypes;

/// Rows by which types of columns are found unless the call says otherwise. Source: DuckDB, "CSV Auto Detection".
const SAMPLE_ROWS: usize = 20_480;

/// File functions and the names that mean them.
const FUNCTIONS: [(&str, &str); 13] = [
    ("read_parquet", "read_parquet"),
    ("read_csv", "read_csv"),
    ("read_csv_auto", "read_csv"),
    ("read_json", "read_json"),
    ("read_json_auto", "read_json"),
    ("read_ndjson", "read_json"),
    ("read_ndjson_auto", "read_json"),
    ("read_avro", "read_avro"),
    ("read_orc", "read_orc"),
    ("read_text", "read_text"),
    ("read_binary_file", "read_binary_file"),
    ("read_blob", "read_binary_file"),
    ("read_binary", "read_binary_file"),
];

/// The file function that `name`, folded, calls.
pub(crate) fn function_named(name: &str) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, function)| *function)
}

/// The file functions, each once.
pub(crate) fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS
        .iter()
        .filter(|(name, function)| name == function)
        .map(|(name, _)| *name)
}

/// How files are read, whatever they are.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    /// What reads them.
    pub(crate) reader: Reader,
    /// Whether files may have different columns.
    pub(crate) union_by_name: bool,
    /// Name of the column that holds the file's name, if one is wanted.
    pub(crate) filename: Option<String>,
    /// Whether folders `key=value` are columns; `None` = if all files have the same keys.
    pub(crate) hive: Option<bool>,
    /// Types of such columns that are not left to be found.
    pub(crate) hive_types: Vec<(String, DataType)>,
    /// Whether types of such columns are found; else they are text.
    pub(crate) hive_autocast: bool,
    /// The compression of all files; `None` = what each file's name says.
    pub(crate) compression: Option<CompressionTypeVariant>,
    /// Rows read to find types; `None` = all.
    pub(crate) sample_rows: Option<usize>,
    /// The columns, if the call says them.
    pub(crate) columns: Option<Vec<FieldRef>>,
    /// Types of columns that are not left to be found.
    pub(crate) types: Vec<(String, DataType)>,
}

impl ReadOptions {
    /// Parquet files, read as they are found.
    pub(crate) fn of_parquet() -> Self {
        Self {
            reader: Reader::Parquet,
            union_by_name: false,
            filename: None,
            hive: None,
            hive_types: vec![],
            hive_autocast: true,
            compression: None,
            sample_rows: Some(SAMPLE_ROWS),
            columns: None,
            types: vec![],
        }
    }

    /// Reads the options of a call.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that the function does not have or a value that it does not take.
    pub(crate) fn of(call: &FileCall, time_zone: &str) -> Result<Self, EngineError> {
        let mut out = Self {
            reader: match call.function {
                "read_csv" => Reader::Csv(csv_defaults(&call.paths)),
                "read_json" => Reader::Json,
                "read_avro" => Reader::Avro,
                "read_orc" => Reader::Orc,
                "read_text" => Reader::Text,
                "read_binary_file" => Reader::Binary,
                _ => Reader::Parquet,
            },
            ..Self::of_parquet()
        };
        for (name, value) in &call.options {
            let option = Given {
                function: call.function,
                name,
                value,
                time_zone,
            };
            let taken = out.common(&option)?
                || out.textual(&option)?
                || match &mut out.reader {
                    Reader::Csv(csv) => csv_option(csv, &option)?,
                    Reader::Json => json_option(&option)?,
                    _ => false,
                };
            if !taken {
                return Err(option.unknown(&out.reader));
            }
        }
        if let Reader::Csv(csv) = &out.reader {
            check_csv(call.function, csv)?;
        }
        Ok(out)
    }

    /// Options of every function.
    fn common(&mut self, option: &Given<'_>) -> Result<bool, EngineError> {
        match option.name {
            "hive_partitioning" => {
                self.hive = match option.value {
                    Argument::Text(text) if text.eq_ignore_ascii_case("auto") => None,
                    _ => Some(option.switch()?),
                };
            }
            "hive_types" => self.hive_types = option.types()?,
            "hive_types_autocast" => self.hive_autocast = option.switch()?,
            "filename" => {
                self.filename = match option.value {
                    Argument::Switch(true) => Some("filename".to_owned()),
                    Argument::Switch(false) => None,
                    Argument::Text(name) if !name.is_empty() => Some(name.clone()),
                    _ => return Err(option.wants("true, false or the name of the column")),
                };
            }
            "union_by_name" | "mergeschema" | "merge_schema" if !self.reader.is_whole() => {
                self.union_by_name = option.switch()?;
            }
            "compression" if self.reader.is_text() || self.reader.is_whole() => {
                self.compression = compression(option)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options of formats whose files do not say their types.
    fn textual(&mut self, option: &Given<'_>) -> Result<bool, EngineError> {
        match option.name {
            "columns" | "schema" if !self.reader.is_whole() => {
                let fields: Vec<FieldRef> = option
                    .types()?
                    .into_iter()
                    .map(|(name, ty)| std::sync::Arc::new(Field::new(name, ty, true)))
                    .collect();
                if fields.is_empty() {
                    return Err(option.wants("at least one column, as in {'id': 'bigint'}"));
                }
                self.columns = Some(fields);
            }
            "types" | "dtypes" | "column_types" if self.reader.is_text() => {
                self.types = option.types()?;
            }
            "sample_size" if self.reader.is_text() => {
                self.sample_rows = match option.text()? {
                    "-1" => None,
                    text => match text.parse() {
                        Ok(rows) if rows > 0 => Some(rows),
                        _ => return Err(option.wants("a number of rows, or -1 for all of them")),
                    },
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// One option of a call.
struct Given<'a> {
    function: &'static str,
    name: &'a str,
    value: &'a Argument,
    time_zone: &'a str,
}

impl Given<'_> {
    fn wants(&self, what: &str) -> EngineError {
        EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{}: option {} takes {what}", self.function, self.name),
        )
    }

    fn unknown(&self, reader: &Reader) -> EngineError {
        let error = EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{} has no option \"{}\"", self.function, self.name),
        );
        if matches!(
            self.name,
            "ignore_errors" | "store_rejects" | "mode" | "strict_mode"
        ) {
            return error.with_hint(
                "rows that cannot be read are never left out; read the column as text with types => {'column': 'text'}, or all of them with all_varchar => true, and cast what can be cast",
            );
        }
        error.with_hint(format!("options: {}", reader.options()))
    }

    fn text(&self) -> Result<&str, EngineError> {
        match self.value {
            Argument::Text(text) => Ok(text),
            _ => Err(self.wants("a text")),
        }
    }

    fn switch(&self) -> Result<bool, EngineError> {
        match self.value {
            Argument::Switch(on) => Ok(*on),
            Argument::Text(text) => match text.to_lowercase().as_str() {
                "true" | "on" | "1" => Ok(true),
                "false" | "off" | "0" => Ok(false),
                _ => Err(self.wants("true or false")),
            },
            _ => Err(self.wants("true or false")),
        }
    }

    fn byte(&self) -> Result<u8, EngineError> {
        match self.text()?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            b"\\t" => Ok(b'\t'),
            _ => Err(self.wants("one ASCII character")),
        }
    }

    /// None for an empty text.
    fn byte_or_none(&self) -> Result<Option<u8>, EngineError> {
        if self.text()?.is_empty() {
            return Ok(None);
        }
        self.byte().map(Some)
    }

    fn number(&self) -> Result<usize, EngineError> {
        self.text()?
            .parse()
            .map_err(|_| self.wants("a number, 0 or more"))
    }

    /// `{'a': 'int', …}` or `'a int, …'`.
    fn types(&self) -> Result<Vec<(String, DataType)>, EngineError> {
        let pairs = match self.value {
            Argument::Map(pairs) => pairs.clone(),
            Argument::Text(text) => declared(text).ok_or_else(|| {
                self.wants("columns with types, as in {'id': 'bigint'} or 'id bigint, name text'")
            })?,
            _ => return Err(self.wants("columns with types, as in {'id': 'bigint'}")),
        };
        let mut out: Vec<(String, DataType)> = vec![];
        for (name, ty) in pairs {
            if out.iter().any(|(known, _)| *known == name) {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "{}: option {} names column \"{name}\" twice",
                        self.function, self.name
                    ),
                ));
            }
            let found = sql_type(&ty, self.time_zone).ok_or_else(|| {
                EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "{}: option {}: \"{ty}\" of column \"{name}\" is no type for files",
                        self.function, self.name
                    ),
                )
                .with_hint(
                    "types: boolean, int, bigint, real, double precision, numeric(p, s), text, bytea, date, time, timestamp, timestamptz, type[]",
                )
            })?;
            out.push((name, found));
        }
        Ok(out)
    }
}

/// `a int, "B c" numeric(5, 2)` as pairs of name and type.
fn declared(text: &str) -> Option<Vec<(String, String)>> {
    let dialect = PostgreSqlDialect::default();
    let mut parser = Parser::new(&dialect).try_with_sql(text).ok()?;
    let mut out = vec![];
    loop {
        let name = parser.parse_identifier().ok()?;
        let ty = parser.parse_data_type().ok()?;
        out.push((crate::parser::fold(&name), ty.to_string()));
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    (parser.peek_token().token == Token::EOF).then_some(out)
}

/// The Arrow type of a type's SQL name; none if there is no such type in files.
fn sql_type(text: &str, time_zone: &str) -> Option<DataType> {
    let dialect = PostgreSqlDialect::default();
    let mut parser = Parser::new(&dialect).try_with_sql(text).ok()?;
    let ty = parser.parse_data_type().ok()?;
    if parser.peek_token().token != Token::EOF {
        return None;
    }
    match SqlTypes::new(time_zone).arrow_type(&ty).ok()?? {
        DataType::Interval(_) | DataType::FixedSizeBinary(_) => None,
        // One kind of text and bytes in all that files give.
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Time64(_) => Some(DataType::Time64(TimeUnit::Microsecond)),
        ty => Some(ty),
    }
}

fn csv_defaults(paths: &[String]) -> CsvOptions {
    let tabs = paths.iter().all(|path| {
        let path = path.to_lowercase();
        let bare = without_compression(&path);
        matches!(bare.rsplit('.').next(), Some("tsv" | "tab"))
    });
    CsvOptions {
        delimiter: if tabs { b'\t' } else { b',' },
        ..CsvOptions::default()
    }
}

fn csv_option(csv: &mut CsvOptions, option: &Given<'_>) -> Result<bool, EngineError> {
    match option.name {
        "delim" | "delimiter" | "sep" => csv.delimiter = option.byte()?,
        "header" => csv.header = option.switch()?,
        "quote" => csv.quote = option.byte_or_none()?,
        "escape" => csv.escape = option.byte_or_none()?,
        "comment" => csv.comment = option.byte_or_none()?,
        "skip" => csv.skip = option.number()?,
        "nullstr" | "null" | "nullvalue" => {
            csv.nulls = match option.value {
                Argument::List(texts) => texts.clone(),
                _ => vec![option.text()?.to_owned()],
            };
        }
        "dateformat" | "date_format" => csv.date_format = Some(time_pattern(option)?),
        "timestampformat" | "timestamp_format" => {
            csv.timestamp_format = Some(time_pattern(option)?);
        }
        "all_varchar" => csv.all_text = option.switch()?,
        "null_padding" => csv.short_rows = option.switch()?,
        // Values may always hold line ends.
        "newlines_in_values" => {
            option.switch()?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A pattern of `strptime`.
fn time_pattern(option: &Given<'_>) -> Result<String, EngineError> {
    let text = option.text()?;
    let broken = chrono::format::StrftimeItems::new(text)
        .any(|item| matches!(item, chrono::format::Item::Error));
    if broken || !text.contains('%') {
        return Err(option.wants("a pattern such as '%d.%m.%Y' or '%Y-%m-%d %H:%M:%S'"));
    }
    Ok(text.to_owned())
}

fn check_csv(function: &str, csv: &CsvOptions) -> Result<(), EngineError> {
    let clash = |a: &str, b: &str| {
        Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{function}: {a} and {b} must differ"),
        ))
    };
    if csv.quote == Some(csv.delimiter) {
        return clash("delim", "quote");
    }
    if csv.comment == Some(csv.delimiter) || (csv.comment.is_some() && csv.comment == csv.quote) {
        return clash("comment", "delim and quote");
    }
    Ok(())
}

fn json_option(option: &Given<'_>) -> Result<bool, EngineError> {
    match option.name {
        "format" => match option.text()? {
            // Which of them it is shows in the first byte.
            "auto" | "array" | "newline_delimited" | "nd" | "ndjson" | "unstructured" => Ok(true),
            _ => Err(option.wants("'auto', 'newline_delimited', 'array' or 'unstructured'")),
        },
        _ => Ok(false),
    }
}

fn compression(option: &Given<'_>) -> Result<Option<CompressionTypeVariant>, EngineError> {
    Ok(match option.text()?.to_lowercase().as_str() {
        "auto" | "auto_detect" => None,
        "none" | "uncompressed" => Some(CompressionTypeVariant::UNCOMPRESSED),
        "gz" | "gzip" => Some(CompressionTypeVariant::GZIP),
        "zst" | "zstd" => Some(CompressionTypeVariant::ZSTD),
        "bz2" | "bzip2" => Some(CompressionTypeVariant::BZIP2),
        "xz" => Some(CompressionTypeVariant::XZ),
        _ => return Err(option.wants("gzip, zstd, bzip2, xz, none or auto")),
    })
}

/// What the end of a file's name says of its compression.
pub(crate) fn compression_of_name(name: &str) -> CompressionTypeVariant {
    let name = name.to_lowercase();
    match name.rsplit('.').next() {
        Some("gz" | "gzip") => CompressionTypeVariant::GZIP,
        Some("zst" | "zstd") => CompressionTypeVariant::ZSTD,
        Some("bz2" | "bzip2") => CompressionTypeVariant::BZIP2,
        Some("xz") => CompressionTypeVariant::XZ,
        _ => CompressionTypeVariant::UNCOMPRESSED,
    }
}

/// A file's name without the ending that tells its compression.
pub(crate) fn without_compression(name: &str) -> &str {
    match compression_of_name(name) {
        CompressionTypeVariant::UNCOMPRESSED => name,
        _ => name.rsplit_once('.').map_or(name, |(rest, _)| rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: &'static str, options: &[(&str, Argument)]) -> FileCall {
        FileCall {
            table: "t".to_owned(),
            function,
            paths: vec!["/data/a.csv".to_owned()],
            options: options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        }
    }

    fn text(value: &str) -> Argument {
        Argument::Text(value.to_owned())
    }

    fn check_refused(function: &'static str, name: &str, value: &str, needle: &str) {
        let error = ReadOptions::of(&call(function, &[(name, text(value))]), "UTC").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        let said = format!("{} {}", error.message, error.hint.unwrap_or_default());
        assert!(said.contains(needle), "{said}");
    }

    #[test]
    fn types_are_read_from_maps_and_from_declarations() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let map = Argument::Map(vec![pair("Id", "bigint"), pair("at", "timestamptz")]);
        let options = ReadOptions::of(&call("read_csv", &[("columns", map)]), "UTC").unwrap();
        let columns = options.columns.unwrap();
        assert_eq!(columns[0].name(), "Id");
        assert_eq!(
            columns[1].data_type(),
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
        let given = [("types", text("id INT, \"B c\" numeric(5, 2)"))];
        let options = ReadOptions::of(&call("read_csv", &given), "UTC").unwrap();
        assert_eq!(
            options.types,
            [
                ("id".to_owned(), DataType::Int32),
                ("B c".to_owned(), DataType::Decimal128(5, 2))
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_way_on() {
        check_refused("read_csv", "delim", "ab", "one ASCII character");
        check_refused("read_csv", "ignore_errors", "true", "all_varchar");
        check_refused("read_parquet", "delim", ",", "hive_partitioning");
        check_refused("read_csv", "types", "a nonsense_type", "no type for files");
        check_refused("read_csv", "dateformat", "%Q", "pattern");
        check_refused("read_text", "sample_size", "5", "no option");
        check_refused("read_json", "sample_size", "0", "-1 for all");
    }

    #[test]
    fn compression_is_told_by_the_name() {
        assert_eq!(
            compression_of_name("/a/b.csv.GZ"),
            CompressionTypeVariant::GZIP
        );
        assert_eq!(without_compression("/a/b.json.zst"), "/a/b.json");
        assert_eq!(without_compression("/a/b.json"), "/a/b.json");
    }
}
