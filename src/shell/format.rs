//! Writes result rows as a table, CSV or JSON while they arrive.
//!
//! Holds at most the rows that decide a table's column widths. Knows Arrow
//! and a writer; nothing of servers.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonFormat, LineDelimited, Writer, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tarn_coordinator::Exact;

use super::table::{Column, Layout, Row, Style, clean, write_expanded};

/// Rows that decide a table's column widths.
const LAYOUT_ROWS: usize = 1000;

/// `PostgreSQL`'s way to write points in time.
const OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
    .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"));

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A framed table that fits the terminal.
    Table,
    /// A heading line and one line a row (RFC 4180); NULL is an empty field,
    /// an empty string is `""`.
    Csv,
    /// One array of objects a result.
    Json,
    /// One object a line.
    Ndjson,
}

/// When rows are shown as blocks of one value a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expanded {
    /// If the columns do not fit side by side.
    Auto,
    Always,
    Never,
}

/// How a table is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableOptions {
    pub(crate) style: Style,
    pub(crate) expanded: Expanded,
    /// Write `(5 rows)` under it.
    pub(crate) footer: bool,
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// The output is closed or full.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// A value has no such form.
    #[error("a column cannot be written in this format; cast it to varchar")]
    Value(#[source] ArrowError),
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ArrowError> for FormatError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, source) => Self::Output(source),
            other => Self::Value(other),
        }
    }
}

/// Takes the batches of one result.
pub(crate) struct Sink<'a> {
    out: &'a mut (dyn Write + Send),
    form: Form,
    rows: u64,
}

enum Form {
    Table(TableForm),
    /// One text column of several lines, as plans have: written as it is.
    Text,
    Csv,
    Json {
        started: bool,
    },
    Ndjson,
}

struct TableForm {
    options: TableOptions,
    columns: Vec<Column>,
    waiting: Vec<Row>,
    shape: Option<Shape>,
}

enum Shape {
    Framed(Layout),
    Expanded,
}

impl<'a> Sink<'a> {
    /// Starts a result with these columns.
    ///
    /// # Errors
    /// [`FormatError::Output`].
    pub(crate) fn start(
        out: &'a mut (dyn Write + Send),
        format: Format,
        schema: &Schema,
        options: TableOptions,
    ) -> Result<Self, FormatError> {
        let form = match format {
            Format::Table if is_plan(schema) => Form::Text,
            Format::Table => Form::Table(TableForm {
                options,
                columns: table_columns(schema),
                waiting: Vec::new(),
                shape: None,
            }),
            Format::Csv => {
                let names: Vec<String> = schema
                    .fields()
                    .iter()
                    .map(|field| csv_field(field.name()))
                    .collect();
                writeln!(out, "{}", names.join(","))?;
                Form::Csv
            }
            Format::Json => Form::Json { started: false },
            Format::Ndjson => Form::Ndjson,
        };
        Ok(Self { out, form, rows: 0 })
    }

    /// Rows taken so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), FormatError> {
        match &mut self.form {
            Form::Table(table) => {
                let mut number = self.rows;
                for row in text_rows(batch)? {
                    number += 1;
                    table.take(self.out, row, number)?;
                }
            }
            Form::Text => {
                for row in text_rows(batch)? {
                    let text = clean(row[0].as_deref().unwrap_or_default());
                    writeln!(self.out, "{}", text.trim_end())?;
                }
            }
            Form::Csv => {
                for row in text_rows(batch)? {
                    let fields: Vec<String> = row
                        .iter()
                        .map(|value| value.as_deref().map_or_else(String::new, csv_value))
                        .collect();
                    writeln!(self.out, "{}", fields.join(","))?;
                }
            }
            Form::Json { started } => {
                self.out.write_all(if *started { b",\n" } else { b"[" })?;
                json_writer::<Objects>(&mut *self.out).write(batch)?;
                *started = true;
            }
            Form::Ndjson => json_writer::<LineDelimited>(&mut *self.out).write(batch)?,
        }
        self.rows += batch.num_rows() as u64;
        // Whole lines only may stand on a terminal when progress is drawn.
        self.out.flush()?;
        Ok(())
    }

    /// Ends the result.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub(crate) fn finish(self) -> Result<u64, FormatError> {
        match self.form {
            Form::Table(mut table) => table.finish(self.out, self.rows)?,
            Form::Json { started } => {
                self.out.write_all(if started { b"]\n" } else { b"[]\n" })?;
            }
            Form::Text | Form::Csv | Form::Ndjson => {}
        }
        self.out.flush()?;
        Ok(self.rows)
    }
}

impl TableForm {
    fn take(&mut self, out: &mut (dyn Write + Send), row: Row, number: u64) -> io::Result<()> {
        match &self.shape {
            None => {
                self.waiting.push(row);
                if self.waiting.len() >= LAYOUT_ROWS {
                    self.settle(out)?;
                }
                Ok(())
            }
            Some(Shape::Framed(layout)) => layout.write_row(out, &row),
            Some(Shape::Expanded) => {
                write_expanded(out, &self.columns, &row, number, self.options.style)
            }
        }
    }

    /// Decides the shape and writes the rows that waited for it.
    fn settle(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let style = self.options.style;
        let layout = match self.options.expanded {
            Expanded::Always => None,
            Expanded::Auto => Layout::fit(&self.columns, &self.waiting, style),
            Expanded::Never => Layout::fit(&self.columns, &self.waiting, style).or_else(|| {
                Layout::fit(
                    &self.columns,
                    &self.waiting,
                    Style {
                        width: None,
                        ..style
                    },
                )
            }),
        };
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(layout) = layout {
            layout.write_head(out)?;
            for row in &waiting {
                layout.write_row(out, row)?;
            }
            self.shape = Some(Shape::Framed(layout));
        } else {
            for (row, number) in waiting.iter().zip(1..) {
                write_expanded(out, &self.columns, row, number, style)?;
            }
            self.shape = Some(Shape::Expanded);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut (dyn Write + Send), rows: u64) -> io::Result<()> {
        if self.shape.is_none() {
            self.settle(out)?;
        }
        if let Some(Shape::Framed(layout)) = &self.shape {
            layout.write_end(out)?;
        }
        if self.options.footer {
            writeln!(out, "({rows} {})", if rows == 1 { "row" } else { "rows" })?;
        }
        Ok(())
    }
}

/// Whether the result is text to read, such as a plan, rather than a table.
fn is_plan(schema: &Schema) -> bool {
    let [field] = schema.fields().as_ref() else {
        return false;
    };
    let text = matches!(
        field.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    text && matches!(
        field.name().to_ascii_lowercase().as_str(),
        "query plan" | "plan" | "create table" | "create_table" | "create statement"
    )
}

fn table_columns(schema: &Schema) -> Vec<Column> {
    schema
        .fields()
        .iter()
        .map(|field| Column {
            name: field.name().clone(),
            numeric: field.data_type().is_numeric(),
        })
        .collect()
}

/// The rows of a batch as text; NULL is `None`.
pub(crate) fn text_rows(batch: &RecordBatch) -> Result<impl Iterator<Item = Row>, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(|array| {
            Ok((
                array.logical_nulls(),
                ArrayFormatter::try_new(array, &OPTIONS)?,
            ))
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    Ok((0..batch.num_rows()).map(move |row| {
        columns
            .iter()
            .map(|(nulls, format)| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| format.value(row).to_string())
            })
            .collect()
    }))
}

/// Objects between brackets that [`Sink`] writes: an array over many batches.
#[derive(Debug, Default)]
struct Objects;

impl JsonFormat for Objects {
    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        if !is_first_row {
            writer.write_all(b",\n")?;
        }
        Ok(())
    }
}

fn json_writer<F: JsonFormat>(out: impl Write) -> Writer<impl Write, F> {
    WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Exact))
        .build(out)
}

/// A value in CSV; an empty string is quoted to differ from NULL.
fn csv_value(value: &str) -> String {
    if value.is_empty() {
        "\"\"".to_owned()
    } else {
        csv_field(value)
    }
}

fn csv_field(value: &str) -> String {
    let quote =
        value.contains([',', '"', '\n', '\r']) || value.starts_with(' ') || value.ends_with(' ');
    if quote {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Decimal128Array, Float64Array, Int64Array, StringViewArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    const OPTIONS: TableOptions = TableOptions {
        style: Style {
            width: Some(60),
            color: false,
        },
        expanded: Expanded::Auto,
        footer: true,
    };

    fn batch() -> RecordBatch {
        let amounts = Decimal128Array::from_iter([Some(150), None])
            .with_precision_and_scale(15, 2)
            .unwrap();
        let moments =
            TimestampMicrosecondArray::from(vec![Some(1_500_000), None]).with_timezone("+00:00");
        RecordBatch::try_from_iter_with_nullable([
            (
                "name",
                Arc::new(StringViewArray::from(vec!["a,\"b\"", ""])) as ArrayRef,
                true,
            ),
            ("amount", Arc::new(amounts), true),
            ("at", Arc::new(moments), true),
        ])
        .unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let schema = batches[0].schema();
        let mut sink = Sink::start(&mut out, format, &schema, OPTIONS).unwrap();
        for batch in batches {
            sink.write(batch).unwrap();
        }
        sink.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_tells_null_from_the_empty_string() {
        assert_eq!(
            written(Format::Csv, &[batch()]),
            "name,amount,at\n\"a,\"\"b\"\"\",1.50,1970-01-01 00:00:01.500+00:00\n\"\",,\n"
        );
    }

    #[test]
    fn json_is_one_array_over_all_batches() {
        let text = written(
            Format::Json,
            &[batch().slice(0, 1), batch().slice(1, 1), batch()],
        );
        let rows: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0]["amount"].as_f64(), Some(1.5));
        assert!(rows[1]["amount"].is_null());
        assert_eq!(written(Format::Json, &[batch().slice(0, 0)]), "[]\n");
    }

    #[test]
    fn ndjson_is_one_object_a_line() {
        let text = written(Format::Ndjson, &[batch(), batch()]);
        assert_eq!(text.lines().count(), 4);
        assert!(
            text.lines()
                .all(|line| line.starts_with('{') && line.ends_with('}'))
        );
    }

    #[test]
    fn json_tells_what_is_not_a_number_from_null() {
        let floats = Float64Array::from(vec![
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            Some(0.5),
            None,
        ]);
        let batch = RecordBatch::try_from_iter([("f", Arc::new(floats) as ArrayRef)]).unwrap();
        assert_eq!(
            written(Format::Ndjson, &[batch]),
            "{\"f\":\"NaN\"}\n{\"f\":\"Infinity\"}\n{\"f\":\"-Infinity\"}\n{\"f\":0.5}\n{\"f\":null}\n"
        );
    }

    #[test]
    fn tables_count_their_rows() {
        let text = written(Format::Table, &[batch()]);
        assert!(
            text.contains("│ a,\"b\" │") && text.ends_with("(2 rows)\n"),
            "{text}"
        );
        let text = written(Format::Table, &[batch().slice(0, 1)]);
        assert!(text.ends_with("(1 row)\n"), "{text}");
    }

    #[test]
    fn rows_after_the_layout_keep_its_width() {
        let numbers = Arc::new(Int64Array::from_iter_values(0..2500)) as ArrayRef;
        let text = written(
            Format::Table,
            &[RecordBatch::try_from_iter([("n", numbers)]).unwrap()],
        );
        assert_eq!(text.lines().count(), 2500 + 5);
        assert!(text.ends_with("(2500 rows)\n"));
    }

    #[test]
    fn a_table_too_wide_is_expanded() {
        let value = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let names: Vec<String> = (0..12).map(|n| format!("column_{n}")).collect();
        let wide =
            RecordBatch::try_from_iter(names.iter().map(|name| (name, value.clone()))).unwrap();
        let text = written(Format::Table, &[wide]);
        assert!(text.starts_with("──[ row 1 ]"), "{text}");
    }

    #[test]
    fn plans_are_written_as_text() {
        let plan = Arc::new(StringViewArray::from(vec!["Sort\n  Scan"])) as ArrayRef;
        let text = written(
            Format::Table,
            &[RecordBatch::try_from_iter([("plan", plan)]).unwrap()],
        );
        assert_eq!(text, "Sort\n  Scan\n");
    }
}
