//! Rows as JSON: one document, or a line for each row.
//!
//! Numbers keep all their digits (decimals too); NaN and infinities are strings, because JSON has
//! no number for them. Binary values are hexadecimal, times are ISO 8601.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use serde_json::json;
use tarn_engine::{Instants, sql_type_name};

use super::readable::{readable, readable_column};

/// What stands behind the rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// Rows changed, of a statement without a result set.
    pub(crate) affected: Option<u64>,
    /// Where the next page is, if this is a page.
    pub(crate) next: Option<String>,
}

/// Writes the rows of one result.
pub(crate) struct JsonEncoder {
    schema: SchemaRef,
    tail: Tail,
    options: EncoderOptions,
    first: bool,
}

impl JsonEncoder {
    pub(crate) fn new(schema: SchemaRef, tail: Tail) -> Self {
        let options = EncoderOptions::default()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(Exact));
        Self {
            schema,
            tail,
            options,
            first: true,
        }
    }

    /// `{"columns": […], "rows": [`
    pub(crate) fn document_head(&self) -> Result<Vec<u8>, ArrowError> {
        let columns: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|f| json!({"name": f.name(), "type": sql_type_name(f.data_type())}))
            .collect();
        let columns =
            serde_json::to_string(&columns).map_err(|e| ArrowError::JsonError(e.to_string()))?;
        Ok(format!("{{\"columns\":{columns},\"rows\":[").into_bytes())
    }

    /// `[1,"a"],[2,"b"]`, with a comma before all but the first.
    pub(crate) fn document_rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut out = vec![];
        let batch = readable(batch)?;
        let schema = batch.schema();
        let mut encoders = encoders(&batch, &schema, &self.options)?;
        for row in 0..batch.num_rows() {
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            out.push(b'[');
            for (i, encoder) in encoders.iter_mut().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                value(encoder, row, &mut out);
            }
            out.push(b']');
        }
        Ok(out)
    }

    /// `], "affected": n}`, with the link to the next page if there is one.
    pub(crate) fn document_tail(&self) -> Vec<u8> {
        let affected = self
            .tail
            .affected
            .map_or_else(|| "null".to_owned(), |n| n.to_string());
        let next = self
            .tail
            .next
            .as_ref()
            .map_or_else(String::new, |next| format!(",\"next\":{}", json!(next)));
        format!("],\"affected\":{affected}{next}}}\n").into_bytes()
    }

    /// `{"a":1,"b":"x"}` and a newline for each row.
    pub(crate) fn lines(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let names: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|f| json!(f.name()).to_string())
            .collect();
        let mut out = vec![];
        let batch = readable(batch)?;
        let schema = batch.schema();
        let mut encoders = encoders(&batch, &schema, &self.options)?;
        for row in 0..batch.num_rows() {
            out.push(b'{');
            for (i, (encoder, name)) in encoders.iter_mut().zip(&names).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                value(encoder, row, &mut out);
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(out)
    }
}

/// One value of a column as JSON text, for formats that hold nested values as text.
pub(crate) fn column_text(
    field: &FieldRef,
    array: &ArrayRef,
) -> Result<Vec<Option<String>>, ArrowError> {
    let (field, array) = readable_column(field, array)?;
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Exact));
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    Ok((0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return None;
            }
            let mut out = vec![];
            encoder.encode(row, &mut out);
            Some(String::from_utf8_lossy(&out).into_owned())
        })
        .collect())
}

fn encoders<'a>(
    batch: &'a RecordBatch,
    schema: &'a SchemaRef,
    options: &'a EncoderOptions,
) -> Result<Vec<NullableEncoder<'a>>, ArrowError> {
    schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| make_encoder(field, column, options))
        .collect()
}

fn value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(row, out);
    }
}

/// Writes floats and instants so that they read back exactly, NaN and infinities as strings.
#[derive(Debug)]
pub struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let nulls = array.nulls().cloned();
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 => {
                let array = array.as_primitive::<Float64Type>();
                Box::new(Float(move |row: usize| {
                    let v = array.value(row);
                    (v, serde_json::to_string(&v).ok())
                }))
            }
            DataType::Float32 => {
                let array = array.as_primitive::<Float32Type>();
                Box::new(Float(move |row: usize| {
                    let v = array.value(row);
                    (f64::from(v), serde_json::to_string(&v).ok())
                }))
            }
            DataType::Float16 => {
                let array = array.as_primitive::<Float16Type>();
                Box::new(Float(move |row: usize| {
                    let v = array.value(row).to_f32();
                    (f64::from(v), serde_json::to_string(&v).ok())
                }))
            }
            _ => return Instants.make_default_encoder(field, array, options),
        };
        Ok(Some(NullableEncoder::new(encoder, nulls)))
    }
}

struct Float<F>(F);

impl<F: Fn(usize) -> (f64, Option<String>)> Encoder for Float<F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (value, text) = (self.0)(row);
        if value.is_finite() {
            out.extend_from_slice(text.unwrap_or_default().as_bytes());
        } else if value.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            out.extend_from_slice(b"\"Infinity\"");
        } else {
            out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};

    #[test]
    fn a_document_keeps_digits_and_shows_what_is_not_a_number() {
        let decimals = Decimal128Array::from(vec![Some(12_345_678_901_234_567_890_i128), None])
            .with_precision_and_scale(38, 2)
            .unwrap();
        let batch = RecordBatch::try_from_iter(vec![
            (
                "i",
                Arc::new(Int64Array::from(vec![i64::MAX, -1])) as ArrayRef,
            ),
            ("d", Arc::new(decimals) as ArrayRef),
            (
                "f",
                Arc::new(Float64Array::from(vec![f64::NAN, 0.1])) as ArrayRef,
            ),
            (
                "s",
                Arc::new(StringArray::from(vec!["a\"b", "é"])) as ArrayRef,
            ),
        ])
        .unwrap();
        let mut encoder = JsonEncoder::new(batch.schema(), Tail::default());
        let mut out = encoder.document_head().unwrap();
        out.extend(encoder.document_rows(&batch).unwrap());
        out.extend(encoder.document_tail());
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains(
                "[9223372036854775807,123456789012345678.90,\"NaN\",\"a\\\"b\"],[-1,null,0.1,\"é\"]"
            ),
            "{text}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
