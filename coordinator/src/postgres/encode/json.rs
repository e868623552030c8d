//! Structs, maps and lists of lists as JSON, the type that clients of PostgreSQL read them as.
//!
//! Numbers stay numbers with all their digits; what JSON has no type for is a text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNanoType};

use tarn_engine::printing;

use super::Style;
use super::cell::{Put, canonical, json_timestamp, number_text, text_cell};
use crate::postgres::fault::Fault;

/// Writes the JSON of a row, NULL included.
pub(super) fn value(array: &ArrayRef, style: Style) -> Result<Put, Fault> {
    let array = canonical(array).map_err(|error| Fault::error("XX000", error.to_string()))?;
    let put = not_null(&array, style)?;
    let nulls = array.logical_nulls();
    Ok(Box::new(move |row, out| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        put(row, out)
    }))
}

fn not_null(array: &ArrayRef, style: Style) -> Result<Put, Fault> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, _| Ok(())),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| {
                let text: &[u8] = if array.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
                Ok(())
            })
        }
        DataType::Struct(fields) => {
            let values = array.as_struct();
            let parts = fields
                .iter()
                .zip(values.columns())
                .map(|(field, column)| Ok((key(field.name()), value(column, style)?)))
                .collect::<Result<Vec<_>, Fault>>()?;
            Box::new(move |row, out| {
                out.push(b'{');
                for (at, (key, put)) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    put(row, out)?;
                }
                out.push(b'}');
                Ok(())
            })
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let items = value(list.values(), style)?;
            let offsets = list.offsets().clone();
            Box::new(move |row, out| {
                out.push(b'[');
                for (n, at) in span(&offsets, row).enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    items(at, out)?;
                }
                out.push(b']');
                Ok(())
            })
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let keys = text_of(map.keys(), style)?;
            let values = value(map.values(), style)?;
            let offsets = map.offsets().clone();
            Box::new(move |row, out| {
                out.push(b'{');
                for (n, at) in span(&offsets, row).enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    quoted(&keys, at, out)?;
                    out.push(b':');
                    values(at, out)?;
                }
                out.push(b'}');
                Ok(())
            })
        }
        DataType::Float32 | DataType::Float64 => {
            let put = text_of(array, style)?;
            Box::new(move |row, out| {
                let start = out.len();
                put(row, out)?;
                // NaN and Infinity are no numbers in JSON.
                if out[start..].iter().any(|b| *b == b'N' || *b == b'I') {
                    out.insert(start, b'"');
                    out.push(b'"');
                }
                Ok(())
            })
        }
        _ => {
            if let Some(put) = number_text(array) {
                put
            } else {
                let put = text_of(array, style)?;
                Box::new(move |row, out| quoted(&put, row, out))
            }
        }
    })
}

fn span(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |index: usize| {
        offsets
            .get(index)
            .and_then(|offset| usize::try_from(*offset).ok())
            .unwrap_or(0)
    };
    at(row)..at(row + 1)
}

fn key(name: &str) -> Vec<u8> {
    let mut out = vec![];
    printing::put_json_text(&mut out, name);
    out.push(b':');
    out
}

fn text_of(array: &ArrayRef, style: Style) -> Result<Put, Fault> {
    let array = canonical(array).map_err(|error| Fault::error("XX000", error.to_string()))?;
    if matches!(array.data_type(), DataType::Timestamp(..)) {
        return Ok(json_timestamp(&array));
    }
    if matches!(array.data_type(), DataType::Interval(_)) {
        let array = array.as_primitive::<IntervalMonthDayNanoType>().clone();
        return Ok(Box::new(move |row, out| {
            printing::put_interval(out, array.value(row).into());
            Ok(())
        }));
    }
    let field = Field::new("", array.data_type().clone(), true);
    text_cell(&array, &field, style)
}

fn quoted(put: &Put, row: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    put(row, out)?;
    let text = out.split_off(start);
    printing::put_json_text(out, &String::from_utf8_lossy(&text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::encode::{Cell, Format};
    use arrow::array::builder::Int32Builder;
    use arrow::array::{
        Date32Array, Decimal128Array, Float64Array, Int32Array, ListArray, MapBuilder, StringArray,
        StringBuilder, StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn check(array: impl Array + 'static, wanted: &str) {
        let array: ArrayRef = Arc::new(array);
        let field = Field::new("c", array.data_type().clone(), true);
        for format in [Format::Text, Format::Binary] {
            let mut out = vec![];
            let cell = Cell::of(&array, &field, format, Style::default()).unwrap();
            cell.put(0, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out, wanted);
            serde_json::from_str::<serde_json::Value>(&out).unwrap();
        }
    }

    #[test]
    fn a_struct_keeps_its_names_and_digits() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        let parts: Vec<(&str, ArrayRef)> = vec![
            ("a\"b", Arc::new(StringArray::from(vec!["x\n\u{1}é"]))),
            (
                "d",
                Arc::new(
                    Decimal128Array::from(vec![1230])
                        .with_precision_and_scale(10, 2)
                        .unwrap(),
                ),
            ),
            ("n", Arc::new(Int32Array::from(vec![None]))),
            ("f", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("day", Arc::new(Date32Array::from(vec![0]))),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")),
            ),
            ("l", Arc::new(list)),
        ];
        let fields: Vec<Field> = parts
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let columns = parts.into_iter().map(|(_, array)| array).collect();
        check(
            StructArray::new(fields.into(), columns, None),
            r#"{"a\"b":"x\n\u0001é","d":12.30,"n":null,"f":"NaN","day":"1970-01-01","t":"1970-01-01T00:00:00+00:00","l":[1,null]}"#,
        );
    }

    #[test]
    fn a_map_is_an_object() {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(1);
        map.append(true).unwrap();
        check(map.finish(), r#"{"k":1}"#);
    }

    #[test]
    fn lists_of_lists_may_differ_in_length() {
        let inner = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(3)]),
        ]);
        let item = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2]);
        let outer = ListArray::new(item, offsets, Arc::new(inner), None);
        let field = Field::new("l", outer.data_type().clone(), true);
        check(
            StructArray::new(vec![field].into(), vec![Arc::new(outer)], None),
            r#"{"l":[[1,2],[3]]}"#,
        );
    }
}
