//! Rows as CSV (RFC 4180): a header line, NULL as an empty field, an empty text quoted.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tarn_engine::odd_offsets;

use super::json::column_text;
use super::readable::readable;

/// Writes the rows of one result.
pub(crate) struct CsvEncoder {
    schema: SchemaRef,
}

impl CsvEncoder {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }

    /// The header line; nothing for a statement without a result set.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut out = vec![];
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            text(field.name(), &mut out);
        }
        if !out.is_empty() {
            out.push(b'\n');
        }
        out
    }

    pub(crate) fn rows(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let batch = readable(batch)?;
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| Column::new(field, array))
            .collect::<Result<Vec<_>, _>>()?;
        let mut out = vec![];
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                column.value(row, &mut out)?;
            }
            out.push(b'\n');
        }
        Ok(out)
    }
}

enum Column<'a> {
    Strings(&'a dyn Array),
    Json(Vec<Option<String>>),
    /// With the texts of instants that Arrow does not show exactly.
    Plain(&'a dyn Array, ArrayFormatter<'a>, HashMap<usize, String>),
}

const FORMAT: FormatOptions<'static> = FormatOptions::new();

impl<'a> Column<'a> {
    fn new(field: &arrow::datatypes::FieldRef, array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Strings(array),
            ty if ty.is_nested() => Self::Json(column_text(field, array)?),
            _ => Self::Plain(
                array,
                ArrayFormatter::try_new(array, &FORMAT)?,
                odd_offsets(array)?,
            ),
        })
    }

    fn value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self {
            Self::Strings(array) => {
                if array.is_valid(row) {
                    text(
                        match array.data_type() {
                            DataType::Utf8 => array.as_string::<i32>().value(row),
                            DataType::LargeUtf8 => array.as_string::<i64>().value(row),
                            _ => array.as_string_view().value(row),
                        },
                        out,
                    );
                }
            }
            Self::Json(values) => {
                if let Some(value) = values.get(row).and_then(Option::as_ref) {
                    text(value, out);
                }
            }
            Self::Plain(array, formatter, odd) => {
                if let Some(value) = odd.get(&row) {
                    text(value, out);
                } else if array.is_valid(row) {
                    let value = formatter.value(row).try_to_string()?;
                    text(&value, out);
                }
            }
        }
        Ok(())
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    let quote = value.is_empty() || value.contains([',', '"', '\n', '\r']);
    if !quote {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in value.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn null_and_empty_text_differ_and_quotes_double() {
        let batch = RecordBatch::try_from_iter(vec![
            (
                "n",
                Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
            ),
            (
                "s",
                Arc::new(StringArray::from(vec![Some("a,\"b\""), Some("")])) as ArrayRef,
            ),
        ])
        .unwrap();
        let encoder = CsvEncoder::new(batch.schema());
        let mut out = encoder.head();
        out.extend(CsvEncoder::rows(&batch).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "n,s\n1,\"a,\"\"b\"\"\"\n,\"\"\n"
        );
    }
}
