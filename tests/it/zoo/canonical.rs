//! The text forms in which the zoo's answers are kept, made from Arrow.
//!
//! `tests/zoo/canonical.py` makes the same forms from what other engines return, and lists them.

use arrow::array::{Array, ArrayRef, AsArray as _, MapArray, RecordBatch, StructArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, time64us_to_time};
use serde_json::{Value, json};

/// The rows of some batches, each in canonical form.
pub(super) fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let rows_of = |batch: &RecordBatch| -> Vec<Value> {
        let schema = batch.schema();
        (0..batch.num_rows())
            .map(|row| {
                let columns = schema.fields().iter().zip(batch.columns());
                columns
                    .map(|(field, array)| value(array, field, row))
                    .collect()
            })
            .collect()
    };
    batches.iter().flat_map(rows_of).collect()
}

/// Two lists of rows with the same rows become the same list.
pub(super) fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_cached_key(Value::to_string);
    rows
}

/// One value.
fn value(array: &ArrayRef, field: &Field, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let array = match array.data_type() {
        DataType::Dictionary(_, kind) => &arrow::compute::cast(array, kind).unwrap(),
        _ => array,
    };
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => floating(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => floating(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            json!(array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => json!(array.as_string::<i64>().value(row)),
        DataType::Utf8View => json!(array.as_string_view().value(row)),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => bytes(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => {
            let value = array.as_fixed_size_binary().value(row);
            let is_uuid = field.metadata().get("ARROW:extension:name");
            if is_uuid.is_some_and(|name| name == "arrow.uuid") {
                json!(uuid::Uuid::from_slice(value).unwrap().to_string())
            } else {
                bytes(value)
            }
        }
        DataType::List(item) => list(&array.as_list::<i32>().value(row), item),
        DataType::LargeList(item) => list(&array.as_list::<i64>().value(row), item),
        DataType::Struct(_) => structure(array.as_struct(), row),
        DataType::Map(..) => map(array.as_map(), row),
        _ => temporal(array, row),
    }
}

fn temporal(array: &ArrayRef, row: usize) -> Value {
    let text = match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            date32_to_datetime(days)
                .unwrap()
                .format("%Y-%m-%d")
                .to_string()
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            time64us_to_time(micros)
                .unwrap()
                .format("%H:%M:%S%.6f")
                .to_string()
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            moment::<TimestampMicrosecondType>(array, row, "%.6f", zone.is_some())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            moment::<TimestampNanosecondType>(array, row, "%.9f", zone.is_some())
        }
        other => panic!("no canonical form for {other}"),
    };
    Value::String(text)
}

fn moment<T: ArrowTimestampType>(
    array: &ArrayRef,
    row: usize,
    fraction: &str,
    zoned: bool,
) -> String {
    let moment = array.as_primitive::<T>().value_as_datetime(row).unwrap();
    let pattern = format!(
        "%Y-%m-%dT%H:%M:%S{fraction}{}",
        if zoned { "Z" } else { "" }
    );
    moment.format(&pattern).to_string()
}

fn floating(value: f64) -> Value {
    Value::String(format!("{value:e}"))
}

fn bytes(value: &[u8]) -> Value {
    use std::fmt::Write as _;
    let mut text = "0x".to_owned();
    for byte in value {
        write!(text, "{byte:02x}").unwrap();
    }
    Value::String(text)
}

fn list(items: &ArrayRef, field: &Field) -> Value {
    (0..items.len())
        .map(|row| value(items, field, row))
        .collect()
}

fn structure(array: &StructArray, row: usize) -> Value {
    let fields = array.fields().iter().zip(array.columns());
    let pairs = fields.map(|(field, column)| (field.name().clone(), value(column, field, row)));
    Value::Object(pairs.collect())
}

fn map(array: &MapArray, row: usize) -> Value {
    let entries = array.value(row);
    let fields = entries.fields().clone();
    let mut pairs: Vec<Value> = (0..entries.len())
        .map(|row| {
            json!([
                value(entries.column(0), &fields[0], row),
                value(entries.column(1), &fields[1], row)
            ])
        })
        .collect();
    pairs.sort_by_cached_key(|pair| pair[0].to_string());
    Value::Array(pairs)
}
