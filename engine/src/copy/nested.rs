//! Arrays and rows as text, as PostgreSQL prints them: `{1,NULL,"a b"}`, `(1,,x)`.
//!
//! Source: PostgreSQL, "Array Input and Output Syntax" and "Composite Type Input and Output Syntax".

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::EngineError;
use crate::printing;

/// The text of each value; NULL where the value is.
///
/// # Errors
/// If a value cannot be shown.
pub(super) fn texts(array: &ArrayRef) -> Result<StringArray, EngineError> {
    let mut out: Vec<Option<String>> = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        out.push(if array.is_null(row) {
            None
        } else {
            let mut text = vec![];
            put(&mut text, array, row)?;
            Some(String::from_utf8_lossy(&text).into_owned())
        });
    }
    Ok(StringArray::from(out))
}

/// Appends a value that is not NULL.
fn put(out: &mut Vec<u8>, array: &ArrayRef, row: usize) -> Result<(), EngineError> {
    match array.data_type() {
        DataType::List(_) => put_list(out, &array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => put_list(out, &array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => put_list(out, &array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            out.push(b'(');
            for (at, column) in array.as_struct().columns().iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if column.is_null(row) {
                    continue;
                }
                let start = out.len();
                put(out, column, row)?;
                quote(out, start, is_special_in_row, b'"');
            }
            out.push(b')');
            Ok(())
        }
        _ => put_plain(out, array, row),
    }
}

fn put_list(out: &mut Vec<u8>, items: &ArrayRef) -> Result<(), EngineError> {
    out.push(b'{');
    for at in 0..items.len() {
        if at > 0 {
            out.push(b',');
        }
        if items.is_null(at) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        let start = out.len();
        put(out, items, at)?;
        let is_array = matches!(
            items.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        if is_array {
            continue;
        }
        if out[start..].eq_ignore_ascii_case(b"null") {
            quote(out, start, |_| true, b'\\');
        } else {
            quote(out, start, is_special_in_array, b'\\');
        }
    }
    out.push(b'}');
    Ok(())
}

fn is_special_in_array(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || byte.is_ascii_whitespace() || byte == 0x0b
}

fn is_special_in_row(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || byte.is_ascii_whitespace() || byte == 0x0b
}

/// Puts what begins at `start` in quotes if it must be; `escape` stands before quotes and backslashes.
fn quote(out: &mut Vec<u8>, start: usize, special: impl Fn(u8) -> bool, escape: u8) {
    if out.len() > start && !out[start..].iter().copied().any(special) {
        return;
    }
    let item = out.split_off(start);
    out.push(b'"');
    for byte in item {
        match byte {
            b'"' => out.extend_from_slice(&[escape, byte]),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn put_plain(out: &mut Vec<u8>, array: &ArrayRef, row: usize) -> Result<(), EngineError> {
    match array.data_type() {
        DataType::Boolean => out.push(if array.as_boolean().value(row) {
            b't'
        } else {
            b'f'
        }),
        ty if ty.is_integer() && *ty != DataType::UInt64 => {
            let one = cast(&array.slice(row, 1), &DataType::Int64)?;
            printing::put_i64(out, one.as_primitive::<Int64Type>().value(0));
        }
        DataType::Float32 => {
            printing::put_f32(out, array.as_primitive::<Float32Type>().value(row));
        }
        DataType::Float64 => {
            printing::put_f64(out, array.as_primitive::<Float64Type>().value(row));
        }
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            printing::put_decimal(out, value, *scale);
        }
        DataType::Date32 => {
            printing::put_date(out, array.as_primitive::<Date32Type>().value(row));
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let value = array.as_primitive::<Time64MicrosecondType>().value(row);
            printing::put_time(out, value);
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            printing::put_timestamp(out, value, zone.as_ref().map(|_| 0), b' ');
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            let micros = value.div_euclid(1000);
            printing::put_timestamp(out, micros, zone.as_ref().map(|_| 0), b' ');
        }
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => printing::put_bytea(out, array.as_binary::<i32>().value(row)),
        DataType::BinaryView => printing::put_bytea(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(16) => {
            printing::put_uuid(out, array.as_fixed_size_binary().value(row));
        }
        DataType::FixedSizeBinary(_) => {
            printing::put_bytea(out, array.as_fixed_size_binary().value(row));
        }
        _ => {
            let options = FormatOptions::new();
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
            out.extend_from_slice(formatter.value(row).to_string().as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int32Array, ListArray, StructArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::Field;
    use std::sync::Arc;

    fn list(items: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([items.len()]);
        Arc::new(ListArray::new(field, offsets, items, None))
    }

    fn check(array: &ArrayRef, wanted: &str) {
        assert_eq!(texts(array).unwrap().value(0), wanted);
    }

    #[test]
    fn arrays_and_rows_look_as_in_postgresql() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(-3)]));
        check(&list(Arc::clone(&numbers)), "{1,NULL,-3}");
        check(&list(list(numbers)), "{{1,NULL,-3}}");
        let words = ["a", "", "b c", "null", "\"\\", "{x}"];
        let words: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
        check(&list(words), r#"{a,"","b c","null","\"\\","{x}"}"#);
        let row = StructArray::from(vec![
            (
                Arc::new(Field::new("a", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![None])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("b", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["x \"y\""])) as ArrayRef,
            ),
        ]);
        let row: ArrayRef = Arc::new(row);
        check(&row, r#"(,"x ""y""")"#);
    }
}
