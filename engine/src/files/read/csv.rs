//! CSV: columns are found by the names in each file's header, types by the first rows.
//!
//! Source: RFC 4180, and what DuckDB's and Spark's readers take. A file is read from its start by one task, because a
//! quoted value may hold line ends.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::csv::reader::Decoder;
use datafusion::arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::bytes::contents;
use super::{Batches, OneFile, Wanted, failed};
use crate::error::{EngineError, ErrorKind};
use crate::files::guess::{Guess, Patterns};
use crate::files::schema::Rules;

/// Bytes in which the first row of a file must end.
const FIRST_ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files whose first rows are looked at if all files must have the same columns.
const FILES_SAMPLED_MAX: usize = 32;
const SAMPLE_BATCH_ROWS: usize = 2048;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How CSV looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CsvOptions {
    pub(crate) delimiter: u8,
    /// Whether the first row is names.
    pub(crate) header: bool,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    /// Lines that begin with it are left out.
    pub(crate) comment: Option<u8>,
    /// Texts that are NULL.
    pub(crate) nulls: Vec<String>,
    /// Lines before the first row.
    pub(crate) skip: usize,
    pub(crate) date_format: Option<String>,
    pub(crate) timestamp_format: Option<String>,
    /// Whether every column is text.
    pub(crate) all_text: bool,
    /// Whether rows may have too few values, the last columns then being NULL.
    pub(crate) short_rows: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            header: true,
            quote: Some(b'"'),
            escape: None,
            comment: None,
            nulls: vec![String::new()],
            skip: 0,
            date_format: None,
            timestamp_format: None,
            all_text: false,
            short_rows: false,
        }
    }
}

impl CsvOptions {
    fn patterns(&self) -> Patterns<'_> {
        Patterns {
            date: self.date_format.as_deref(),
            timestamp: self.timestamp_format.as_deref(),
        }
    }

    /// The type in which the parser reads a column that becomes `ty`.
    fn parsed_as(&self, ty: &DataType) -> DataType {
        match ty {
            DataType::Date32 if self.date_format.is_some() => DataType::Utf8,
            DataType::Timestamp(..) if self.timestamp_format.is_some() => DataType::Utf8,
            other => other.clone(),
        }
    }

    fn decoder(
        &self,
        schema: SchemaRef,
        projection: Vec<usize>,
        batch_rows: usize,
    ) -> Result<Decoder> {
        let nulls: Vec<String> = self.nulls.iter().map(|text| regex::escape(text)).collect();
        let nulls = Regex::new(&format!("^(?:{})$", nulls.join("|")))
            .map_err(|error| failed(EngineError::internal(error.to_string())))?;
        let mut builder = ReaderBuilder::new(schema)
            .with_delimiter(self.delimiter)
            .with_header(self.header)
            // A byte that no text has.
            .with_quote(self.quote.unwrap_or(0xff))
            .with_null_regex(nulls)
            .with_truncated_rows(self.short_rows)
            .with_batch_size(batch_rows)
            .with_projection(projection);
        if let Some(escape) = self.escape.filter(|escape| self.quote != Some(*escape)) {
            builder = builder.with_escape(escape);
        }
        if let Some(comment) = self.comment {
            builder = builder.with_comment(comment);
        }
        Ok(builder.build_decoder())
    }

    /// The values of the first row in `bytes`; none if it may not end there. Of no row, none.
    fn first_row(&self, bytes: &[u8], is_all: bool) -> Option<Vec<String>> {
        let mut start = 0;
        // Blank lines and comments are no rows.
        loop {
            let rest = &bytes[start..];
            match rest.first() {
                Some(b'\n' | b'\r') => start += 1,
                Some(byte) if self.comment == Some(*byte) => {
                    match rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
                        Some(end) => start += end,
                        None if is_all => return Some(vec![]),
                        None => return None,
                    }
                }
                Some(_) => break,
                None if is_all => return Some(vec![]),
                None => return None,
            }
        }
        let mut row = Row::default();
        let mut quoted = false;
        let mut iter = bytes[start..].iter().copied().peekable();
        while let Some(byte) = iter.next() {
            if quoted {
                if self.escape == Some(byte) && self.escape != self.quote {
                    if let Some(next) = iter.next() {
                        row.value.push(next);
                    }
                } else if self.quote == Some(byte) {
                    if iter.peek() == Some(&byte) {
                        iter.next();
                        row.value.push(byte);
                    } else if iter.peek().is_none() && !is_all {
                        return None;
                    } else {
                        quoted = false;
                    }
                } else {
                    row.value.push(byte);
                }
            } else if self.quote == Some(byte) && row.value.is_empty() {
                quoted = true;
            } else if byte == self.delimiter {
                row.end_value();
            } else if matches!(byte, b'\n' | b'\r') {
                row.end_value();
                return Some(row.values);
            } else {
                row.value.push(byte);
            }
        }
        if is_all {
            row.end_value();
            Some(row.values)
        } else {
            None
        }
    }

    /// Names of columns by a file's first row.
    fn names(&self, row: &[String]) -> Vec<String> {
        let mut known = HashSet::new();
        let mut names = vec![];
        for (at, text) in row.iter().enumerate() {
            let plain = if self.header && !text.is_empty() {
                text.clone()
            } else {
                format!("column_{}", at + 1)
            };
            let mut name = plain.clone();
            let mut more = 0;
            while !known.insert(name.clone()) {
                more += 1;
                name = format!("{plain}_{more}");
            }
            names.push(name);
        }
        names
    }
}

#[derive(Default)]
struct Row {
    values: Vec<String>,
    value: Vec<u8>,
}

impl Row {
    fn end_value(&mut self) {
        let value = std::mem::take(&mut self.value);
        self.values
            .push(String::from_utf8_lossy(&value).into_owned());
    }
}

/// A file whose first row has been looked at; its bytes begin with it.
struct Begun {
    names: Vec<String>,
    bytes: BoxStream<'static, Result<Bytes>>,
}

async fn begin(options: &CsvOptions, file: &OneFile) -> Result<Begun> {
    let mut bytes = contents(file).await?;
    let mut held: Vec<u8> = vec![];
    let mut left = options.skip;
    let mut marked = false;
    let (mut is_all, mut row) = (false, None);
    while row.is_none() {
        if is_all || held.len() > FIRST_ROW_BYTES_MAX {
            return Err(file.corrupt(&format!(
                "its first row does not end within {} MiB; is \"{}\" the right quote?",
                FIRST_ROW_BYTES_MAX >> 20,
                char::from(options.quote.unwrap_or(b' '))
            )));
        }
        match bytes.next().await.transpose()? {
            Some(chunk) => held.extend_from_slice(&chunk),
            None => is_all = true,
        }
        if !marked && (held.len() >= BYTE_ORDER_MARK.len() || is_all) {
            marked = true;
            if held.starts_with(BYTE_ORDER_MARK) {
                held.drain(..BYTE_ORDER_MARK.len());
            }
        }
        if !marked {
            continue;
        }
        while left > 0
            && let Some(end) = held.iter().position(|b| *b == b'\n')
        {
            held.drain(..=end);
            left -= 1;
        }
        if left > 0 {
            if is_all {
                held.clear();
            } else {
                continue;
            }
        }
        row = options.first_row(&held, is_all);
    }
    let names = options.names(&row.unwrap_or_default());
    let first = stream::once(async move { Ok(Bytes::from(held)) });
    Ok(Begun {
        names,
        bytes: first.chain(bytes).boxed(),
    })
}

/// Batches as the parser gives them.
fn decoded(
    file: OneFile,
    decoder: Decoder,
    bytes: BoxStream<'static, Result<Bytes>>,
    hint: bool,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    struct State {
        file: OneFile,
        decoder: Decoder,
        bytes: BoxStream<'static, Result<Bytes>>,
        chunk: Bytes,
        ended: bool,
        hint: bool,
    }
    let state = State {
        file,
        decoder,
        bytes,
        chunk: Bytes::new(),
        ended: false,
        hint,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if state.chunk.is_empty() && !state.ended {
                match state.bytes.next().await.transpose()? {
                    Some(chunk) if chunk.is_empty() => continue,
                    Some(chunk) => state.chunk = chunk,
                    None => state.ended = true,
                }
            }
            let explain = |error| broken(&state.file, &error, state.hint);
            // No bytes tell the parser that the last row has ended.
            let taken = state.decoder.decode(&state.chunk).map_err(explain)?;
            let _ = state.chunk.split_to(taken);
            if state.decoder.capacity() == 0 || (state.ended && taken == 0) {
                let explain = |error| broken(&state.file, &error, state.hint);
                let batch = state.decoder.flush().map_err(explain)?;
                return Ok(batch.map(|batch| (batch, state)));
            }
        }
    })
}

/// What the parser says of a row, naming the file.
fn broken(file: &OneFile, error: &ArrowError, hint: bool) -> datafusion::error::DataFusionError {
    let text = match error {
        ArrowError::ParseError(text) | ArrowError::CsvError(text) => text.clone(),
        other => other.to_string(),
    };
    let error = EngineError::new(ErrorKind::Corrupt, format!("\"{}\": {text}", file.name));
    failed(if hint && text.contains("parsing") {
        error.with_hint("types were found in the first rows; sample_size => -1 looks at all of them, types => {'column': 'text'} says what a column is, nullstr what NULL looks like")
    } else {
        error
    })
}

/// The columns of a file that are asked for.
pub(super) async fn open(options: &CsvOptions, file: OneFile, wanted: Wanted) -> Result<Batches> {
    let begun = begin(options, &file).await?;
    if begun.names.is_empty() {
        // An empty file has no header and no rows.
        return Ok(stream::empty().boxed());
    }
    let names: Vec<&str> = begun.names.iter().map(String::as_str).collect();
    let by_place = !options.header && wanted.rules.given;
    if by_place {
        check_width(&file, &wanted, names.len(), options.short_rows)?;
    } else {
        wanted
            .rules
            .check_names(&file.name, &wanted.table, &names)
            .map_err(failed)?;
    }
    // Where in the file each column is that is asked for.
    let places: Vec<Option<usize>> = wanted
        .projected
        .fields()
        .iter()
        .map(|field| {
            if by_place {
                wanted.table.index_of(field.name()).ok()
            } else {
                names.iter().position(|name| name == field.name())
            }
        })
        .collect();
    let width = if by_place {
        names.len().max(wanted.table.fields().len())
    } else {
        names.len()
    };
    let mut fields: Vec<Field> = (0..width)
        .map(|at| Field::new(format!("c{at}"), DataType::Utf8, true))
        .collect();
    for (field, place) in wanted.projected.fields().iter().zip(&places) {
        if let Some(place) = place {
            let ty = options.parsed_as(field.data_type());
            fields[*place] =
                Field::new(names.get(*place).copied().unwrap_or(field.name()), ty, true);
        }
    }
    // The parser gives columns in the order in which they are asked for.
    let projection: Vec<usize> = places.iter().copied().flatten().collect();
    let decoder = options.decoder(Arc::new(Schema::new(fields)), projection, wanted.batch_rows)?;
    let options = options.clone();
    let hint = !wanted.rules.given;
    Ok(decoded(file.clone(), decoder, begun.bytes, hint)
        .map(move |batch| fitted(&options, &file, &wanted.projected, &places, &batch?))
        .boxed())
}

fn check_width(file: &OneFile, wanted: &Wanted, found: usize, short_rows: bool) -> Result<()> {
    let given = wanted.table.fields().len();
    if found == given || (short_rows && found < given) {
        return Ok(());
    }
    Err(file.corrupt(&format!(
        "its first row has {found} values, and {given} columns are given"
    )))
}

/// Columns as the table has them: those that the file lacks are NULL.
fn fitted(
    options: &CsvOptions,
    file: &OneFile,
    projected: &SchemaRef,
    places: &[Option<usize>],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut parsed = batch.columns().iter();
    let mut columns: Vec<ArrayRef> = vec![];
    for (field, place) in projected.fields().iter().zip(places) {
        let column = match place.and_then(|_| parsed.next()) {
            None => new_null_array(field.data_type(), rows),
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) => moments(options, file, field, column)?,
        };
        columns.push(column);
    }
    let size = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(projected),
        columns,
        &size,
    )?)
}

/// Dates and timestamps that look as the call says.
fn moments(
    options: &CsvOptions,
    file: &OneFile,
    field: &Field,
    column: &ArrayRef,
) -> Result<ArrayRef> {
    let texts: &StringArray = column.as_string();
    let wrong = |text: &str, pattern: &str| {
        file.corrupt(&format!(
            "column \"{}\": \"{text}\" does not look like {pattern}",
            field.name()
        ))
    };
    match (
        field.data_type(),
        &options.date_format,
        &options.timestamp_format,
    ) {
        (DataType::Date32, Some(pattern), _) => {
            let read = |text: &str| match NaiveDate::parse_from_str(text, pattern) {
                Ok(date) => Ok(Date32Type::from_naive_date(date)),
                Err(_) => Err(wrong(text, pattern)),
            };
            let days: Date32Array = texts
                .iter()
                .map(|text| text.map(read).transpose())
                .collect::<Result<_>>()?;
            Ok(Arc::new(days))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, zone), _, Some(pattern)) => {
            let read = |text: &str| match NaiveDateTime::parse_from_str(text, pattern) {
                Ok(at) => Ok(at.and_utc().timestamp_micros()),
                Err(_) => Err(wrong(text, pattern)),
            };
            let micros: TimestampMicrosecondArray = texts
                .iter()
                .map(|text| text.map(read).transpose())
                .collect::<Result<_>>()?;
            Ok(Arc::new(micros.with_timezone_opt(zone.clone())))
        }
        (ty, ..) => Ok(cast(column, ty)?),
    }
}

/// Columns of files: names by their first rows, types by the first `rows` rows.
pub(super) async fn sampled(
    options: &CsvOptions,
    rows: Option<usize>,
    files: &[OneFile],
    rules: &Rules,
) -> Result<SchemaRef> {
    let mut columns: Vec<(String, Guess)> = vec![];
    let mut left = rows;
    let files_max = if rules.union_by_name || rows.is_none() {
        files.len()
    } else {
        FILES_SAMPLED_MAX
    };
    for file in files.iter().take(files_max) {
        if left == Some(0) && !rules.union_by_name {
            break;
        }
        // Every file has a say if each may have columns of its own.
        let limit = if rules.union_by_name { rows } else { left };
        let (names, guesses, seen) = sample(options, file, limit).await?;
        if names.is_empty() {
            continue;
        }
        if !columns.is_empty() && !rules.union_by_name {
            let table = Schema::new(
                columns
                    .iter()
                    .map(|(name, _)| Field::new(name, DataType::Utf8, true))
                    .collect::<Vec<_>>(),
            );
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            rules
                .check_names(&file.name, &table, &names)
                .map_err(failed)?;
        }
        for (name, guess) in names.into_iter().zip(guesses) {
            match columns.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = known.with(guess),
                None => columns.push((name, guess)),
            }
        }
        left = left.map(|left| left.saturating_sub(seen));
    }
    let fields: Vec<Field> = columns
        .into_iter()
        .map(|(name, guess)| {
            let ty = if options.all_text {
                DataType::Utf8
            } else {
                guess.data_type()
            };
            Field::new(name, ty, true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// Names, what each column may be, and the rows looked at.
async fn sample(
    options: &CsvOptions,
    file: &OneFile,
    rows: Option<usize>,
) -> Result<(Vec<String>, Vec<Guess>, usize)> {
    let begun = begin(options, file).await?;
    let mut guesses = vec![Guess::new(); begun.names.len()];
    if options.all_text || begun.names.is_empty() {
        return Ok((begun.names, guesses, 0));
    }
    let fields: Vec<Field> = begun
        .names
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true))
        .collect();
    let all = (0..fields.len()).collect();
    let batch_rows = rows.unwrap_or(SAMPLE_BATCH_ROWS).min(SAMPLE_BATCH_ROWS);
    let decoder = options.decoder(Arc::new(Schema::new(fields)), all, batch_rows)?;
    let batches = decoded(file.clone(), decoder, begun.bytes, false);
    let mut batches = std::pin::pin!(batches);
    let mut seen = 0;
    while rows.is_none_or(|rows| seen < rows)
        && let Some(batch) = batches.next().await.transpose()?
    {
        seen += batch.num_rows();
        for (column, guess) in batch.columns().iter().zip(&mut guesses) {
            for text in column.as_string::<i32>().iter().flatten() {
                guess.see_with(text, options.patterns());
            }
        }
    }
    Ok((begun.names, guesses, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &CsvOptions, text: &str, wanted: &[&str]) {
        let row = options.first_row(text.as_bytes(), true).unwrap();
        assert_eq!(row, wanted, "{text:?}");
        // In every split, either the same or more is needed.
        for end in 0..text.len() {
            if let Some(row) = options.first_row(&text.as_bytes()[..end], false) {
                assert_eq!(row, wanted, "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn the_first_row_ends_where_it_ends() {
        let plain = CsvOptions::default();
        check(&plain, "a,b\n1,2\n", &["a", "b"]);
        check(&plain, "a,b", &["a", "b"]);
        check(&plain, "\r\n\na,\"b\r\nc\"\r\n", &["a", "b\r\nc"]);
        check(&plain, "\"a \"\"x\"\"\",,\n", &["a \"x\"", "", ""]);
        check(&plain, "", &[]);
        let other = CsvOptions {
            delimiter: b';',
            quote: Some(b'\''),
            escape: Some(b'\\'),
            comment: Some(b'#'),
            ..plain
        };
        check(&other, "# a;b\n\n'x\\'y';z\n", &["x'y", "z"]);
    }

    #[test]
    fn names_are_made_where_there_are_none() {
        let options = CsvOptions::default();
        let row = |row: &[&str]| {
            row.iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            options.names(&row(&["a", "", "a", "a_1"])),
            ["a", "column_2", "a_1", "a_1_1"]
        );
        let bare = CsvOptions {
            header: false,
            ..options
        };
        assert_eq!(bare.names(&row(&["1", "2"])), ["column_1", "column_2"]);
    }
}
