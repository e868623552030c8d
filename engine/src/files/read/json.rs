//! JSON: values one after another, on lines or not, or one array of them.
//!
//! Which of the two a file is shows in its first byte. Fields are found by name; one that a value lacks is NULL.

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::{Decoder, infer_json_schema_from_iterator};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use std::sync::Arc;

use super::bytes::contents;
use super::{Batches, OneFile, Wanted, failed};
use crate::error::{EngineError, ErrorKind};

/// Bytes that one value may have while types are found.
const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Digits that a decimal holds.
const DIGITS_MAX: usize = 38;
/// What stands in place of a wide number while types are found.
const WIDE: &str = "\"tarn: a number past bigint\"";

/// Turns an array into its values: brackets and commas around them become spaces.
#[derive(Clone, Copy, Debug, Default)]
struct Unwrapping {
    is_array: Option<bool>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl Unwrapping {
    /// # Errors
    /// If something comes after the array.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), &'static str> {
        for byte in bytes {
            if self.is_array.is_none() {
                match *byte {
                    b' ' | b'\t' | b'\n' | b'\r' => continue,
                    b'[' => {
                        self.is_array = Some(true);
                        *byte = b' ';
                        continue;
                    }
                    _ => self.is_array = Some(false),
                }
            }
            if self.is_array == Some(false) {
                return Ok(());
            }
            if self.ended {
                if !byte.is_ascii_whitespace() {
                    return Err("there is more after the end of its array");
                }
            } else if self.in_string {
                match *byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match *byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b']' if self.depth == 0 => {
                        self.ended = true;
                        *byte = b' ';
                    }
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    b',' if self.depth == 0 => *byte = b'\n',
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// If the array has not ended.
    fn finish(self) -> Result<(), &'static str> {
        if self.is_array == Some(true) && !self.ended {
            return Err("its array does not end; was it cut short?");
        }
        Ok(())
    }
}

/// The values of a file, one after another.
async fn values(file: &OneFile) -> Result<BoxStream<'static, Result<Bytes>>> {
    let bytes = contents(file).await?;
    let state = (bytes, Unwrapping::default(), file.clone(), true);
    Ok(stream::try_unfold(
        state,
        |(mut bytes, mut unwrapping, file, first)| async move {
            let Some(chunk) = bytes.next().await.transpose()? else {
                unwrapping.finish().map_err(|why| file.corrupt(&why))?;
                return Ok(None);
            };
            let mut chunk = chunk.to_vec();
            if first && chunk.starts_with(b"\xef\xbb\xbf") {
                chunk.drain(..3);
            }
            unwrapping
                .take(&mut chunk)
                .map_err(|why| file.corrupt(&why))?;
            Ok(Some((Bytes::from(chunk), (bytes, unwrapping, file, false))))
        },
    )
    .boxed())
}

/// The columns of a file that are asked for.
pub(super) async fn open(file: OneFile, wanted: Wanted) -> Result<Batches> {
    // A reader of no columns would take no notice of rows.
    let counts_only = wanted.projected.fields().is_empty();
    let schema = if counts_only {
        Arc::clone(&wanted.table)
    } else {
        Arc::clone(&wanted.projected)
    };
    let decoder = ReaderBuilder::new(schema)
        .with_batch_size(wanted.batch_rows)
        .with_coerce_primitive(true)
        .build_decoder()?;
    let bytes = values(&file).await?;
    let batches = decoded(file, decoder, bytes);
    Ok(if counts_only {
        batches.map(|batch| Ok(batch?.project(&[])?)).boxed()
    } else {
        batches.boxed()
    })
}

fn decoded(
    file: OneFile,
    decoder: Decoder,
    bytes: BoxStream<'static, Result<Bytes>>,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    let state = (file, decoder, bytes, Bytes::new(), false);
    stream::try_unfold(
        state,
        |(file, mut decoder, mut bytes, mut chunk, mut ended)| async move {
            loop {
                if chunk.is_empty() && !ended {
                    match bytes.next().await.transpose()? {
                        Some(next) => chunk = next,
                        None => ended = true,
                    }
                }
                let taken = decoder.decode(&chunk).map_err(|e| broken(&file, &e))?;
                let is_full = taken < chunk.len();
                let _ = chunk.split_to(taken);
                if is_full || ended {
                    let batch = decoder.flush().map_err(|e| broken(&file, &e))?;
                    return Ok(batch.map(|batch| (batch, (file, decoder, bytes, chunk, ended))));
                }
            }
        },
    )
}

fn broken(file: &OneFile, error: &ArrowError) -> datafusion::error::DataFusionError {
    let text = match error {
        ArrowError::JsonError(text) => text.clone(),
        other => other.to_string(),
    };
    failed(
        EngineError::new(ErrorKind::Corrupt, format!("\"{}\": {text}", file.name)).with_hint(
            "types were found in the first values; sample_size => -1 looks at all of them, types => {'field': 'text'} says what a field is",
        ),
    )
}

/// Columns of files: the fields of the first `rows` values.
pub(super) async fn sampled(rows: Option<usize>, files: &[OneFile]) -> Result<SchemaRef> {
    let mut left = rows;
    let mut schemas: Vec<(String, SchemaRef)> = vec![];
    for file in files {
        if left == Some(0) {
            break;
        }
        let mut seen = 0;
        let found = sample(file, left, &mut seen).await?;
        left = left.map(|left| left.saturating_sub(seen));
        schemas.push((file.name.clone(), found));
    }
    let known = schemas
        .iter()
        .map(|(name, schema)| (name.as_str(), Arc::clone(schema)));
    let united = crate::files::schema::united(known, true).map_err(failed)?;
    let fields: Vec<FieldRef> = united.fields().iter().map(settled).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The fields of the first values of one file.
async fn sample(file: &OneFile, rows: Option<usize>, seen: &mut usize) -> Result<SchemaRef> {
    let mut bytes = values(file).await?;
    let mut held: Vec<u8> = vec![];
    let mut schema = Arc::new(Schema::empty());
    let mut ended = false;
    while !ended && rows.is_none_or(|rows| *seen < rows) {
        match bytes.next().await.transpose()? {
            Some(chunk) => held.extend_from_slice(&chunk),
            None => ended = true,
        }
        let mut found: Vec<Value> = vec![];
        let mut wide: Vec<Value> = vec![];
        let mut read = serde_json::Deserializer::from_slice(&held).into_iter::<Value>();
        let mut taken = 0;
        while rows.is_none_or(|rows| *seen < rows) {
            match read.next() {
                // A number at the end may go on.
                Some(Ok(value)) if ended || value.is_object() || value.is_array() => {
                    let text = &held[taken..read.byte_offset()];
                    taken = read.byte_offset();
                    *seen += 1;
                    match (replaced(text, "0"), replaced(text, WIDE)) {
                        (Some(narrow), Some(marked)) => {
                            found.push(narrow);
                            wide.push(marked);
                        }
                        _ => found.push(value),
                    }
                }
                None | Some(Ok(_)) => break,
                Some(Err(error)) if error.is_eof() && !ended => break,
                Some(Err(error)) => {
                    return Err(file.corrupt(&format!("value {}: {error}", *seen + 1)));
                }
            }
        }
        held.drain(..taken);
        if held.len() > VALUE_BYTES_MAX {
            return Err(file.corrupt(&format!(
                "value {} has more than {} MiB",
                *seen + 1,
                VALUE_BYTES_MAX >> 20
            )));
        }
        if found.is_empty() {
            continue;
        }
        if let Some(odd) = found.iter().find(|value| !value.is_object()) {
            let kind = match odd {
                Value::Array(_) => "an array",
                Value::String(_) => "a string",
                Value::Number(_) => "a number",
                _ => "no object",
            };
            return Err(file.corrupt(&format!("a value is {kind}, and rows are objects")));
        }
        let more = infer_json_schema_from_iterator(found.into_iter().map(Ok))
            .map_err(|error| broken(file, &error))?;
        let more = wide.iter().fold(more, |schema, value| {
            Schema::new(widened_fields(schema.fields(), value))
        });
        let parts = [schema, Arc::new(more)];
        schema = crate::files::schema::united(
            parts.into_iter().map(|part| (file.name.as_str(), part)),
            true,
        )
        .map_err(failed)?;
    }
    Ok(schema)
}

/// `text` with `by` in place of whole numbers that are no bigint and have no more than [`DIGITS_MAX`] digits; nothing if it
/// has none.
fn replaced(text: &[u8], by: &str) -> Option<Value> {
    let mut out: Vec<u8> = vec![];
    let (mut copied, mut at) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    while let Some(byte) = text.get(at) {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            at += 1;
            continue;
        }
        in_string = *byte == b'"';
        if !(byte.is_ascii_digit() || *byte == b'-') {
            at += 1;
            continue;
        }
        let is_number =
            |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = text[at..].iter().position(|b| !is_number(b));
        let end = length.map_or(text.len(), |length| at + length);
        let number = std::str::from_utf8(&text[at..end]).unwrap_or_default();
        let digits = number.strip_prefix('-').unwrap_or(number);
        if digits.bytes().all(|b| b.is_ascii_digit())
            && digits.len() <= DIGITS_MAX
            && number.parse::<i64>().is_err()
        {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(by.as_bytes());
            copied = end;
        }
        at = end;
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&text[copied..]);
    serde_json::from_slice(&out).ok()
}

/// Columns whose whole numbers `value` shows to be wide.
fn widened_fields(fields: &Fields, value: &Value) -> Fields {
    fields
        .iter()
        .map(|field| match value.get(field.name()) {
            Some(value) => widened(field, value),
            None => Arc::clone(field),
        })
        .collect()
}

fn widened(field: &FieldRef, value: &Value) -> FieldRef {
    let ty = match (field.data_type(), value) {
        (DataType::Int64, Value::String(text)) if text == WIDE.trim_matches('"') => {
            DataType::Decimal128(38, 0)
        }
        (DataType::List(item), Value::Array(values)) => DataType::List(
            values
                .iter()
                .fold(Arc::clone(item), |item, v| widened(&item, v)),
        ),
        (DataType::List(item), value) => DataType::List(widened(item, value)),
        (DataType::Struct(fields), value) => DataType::Struct(widened_fields(fields, value)),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(ty))
}

/// What is NULL everywhere is text.
fn settled(field: &FieldRef) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => DataType::List(settled(item)),
        DataType::Struct(fields) if fields.is_empty() => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(settled).collect()),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), ty, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &str) {
        for cut in 0..text.len() {
            let mut unwrapping = Unwrapping::default();
            let mut bytes = text.as_bytes().to_vec();
            let (a, b) = bytes.split_at_mut(cut);
            unwrapping.take(a).unwrap();
            unwrapping.take(b).unwrap();
            unwrapping.finish().unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
        }
    }

    #[test]
    fn an_array_is_its_values() {
        check(
            r#" [{"a":[1,2],"b":"],[\"{"},{"a":null}] "#,
            "  {\"a\":[1,2],\"b\":\"],[\\\"{\"}\n{\"a\":null}  ",
        );
        check("{\"a\":[1,2]}\n{}", "{\"a\":[1,2]}\n{}");
    }

    #[test]
    fn whole_numbers_past_bigint_are_found_outside_of_texts() {
        let check = |text: &str, wanted: Option<&str>| {
            let wanted = wanted.map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(replaced(text.as_bytes(), "0"), wanted, "{text}");
        };
        check(
            r#"{"a":9223372036854775808,"b":[-9223372036854775809, 1]}"#,
            Some(r#"{"a":0,"b":[0,1]}"#),
        );
        check(
            r#"{"a":9223372036854775807,"b":-9223372036854775808}"#,
            None,
        );
        check(
            r#"{"a":"9223372036854775808","b":1e30,"c":9223372036854775808.5}"#,
            None,
        );
        check(&format!("{{\"a\":{}}}", "9".repeat(39)), None);
    }

    #[test]
    fn an_array_that_is_cut_or_goes_on_is_refused() {
        let mut unwrapping = Unwrapping::default();
        unwrapping.take(&mut b"[{}".to_vec()).unwrap();
        assert!(unwrapping.finish().is_err());
        assert!(
            Unwrapping::default()
                .take(&mut b"[{}] {}".to_vec())
                .is_err()
        );
    }
}
