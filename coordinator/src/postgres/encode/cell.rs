//! One column of a batch, ready to write the value of any row in one format.
//!
//! Types that say the same are first made one: dictionaries become their values, every timestamp
//! counts microseconds. Knows Arrow's arrays and the PostgreSQL type of a field.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericBinaryArray, GenericStringArray,
    OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampNanosecondType, UInt32Type,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Offset, TimeZone, Utc};
use tarn_engine::{Address, pg_type_of, printing};

use super::binary;
use super::{Format, JSONB_VERSION, Style};
use super::{json, list};
use crate::postgres::fault::Fault;

/// Writes the value of a row, which is not NULL, without a length.
pub(crate) type Put = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), Fault> + Send + Sync>;

/// A column of a batch, ready to be written.
pub(crate) struct Cell {
    nulls: Option<NullBuffer>,
    put: Put,
}

const NULL_LENGTH: [u8; 4] = (-1_i32).to_be_bytes();

impl Cell {
    /// Prepares `array`, whose PostgreSQL type `field` tells.
    pub(crate) fn of(
        array: &ArrayRef,
        field: &Field,
        format: Format,
        style: Style,
    ) -> Result<Self, Fault> {
        let array = canonical(array).map_err(|error| Fault::error("XX000", error.to_string()))?;
        let name = pg_type_of(field).name;
        let put = match (format, name) {
            (Format::Text, "json" | "jsonb") | (Format::Binary, "json")
                if array.data_type().is_nested() =>
            {
                json::value(&array, style)?
            }
            (Format::Binary, "jsonb") => jsonb(&array, field, style)?,
            (Format::Binary, "inet" | "cidr") => {
                address(binary_cell(&array, field, style)?, name == "cidr")
            }
            (Format::Text, _) => text_cell(&array, field, style)?,
            (Format::Binary, _) => binary_cell(&array, field, style)?,
        };
        Ok(Self {
            nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
            put,
        })
    }

    /// Numbers without the zeros at the end of their digits.
    pub(super) fn of_bare_numbers(array: &ArrayRef, format: Format) -> Result<Self, Fault> {
        let number = number_text(array).ok_or_else(|| unknown(array))?;
        let text = move |row: usize, out: &mut Vec<u8>| -> Result<(), Fault> {
            let start = out.len();
            number(row, out)?;
            if out[start..].contains(&b'.') {
                while out.last() == Some(&b'0') {
                    out.pop();
                }
                if out.last() == Some(&b'.') {
                    out.pop();
                }
            }
            Ok(())
        };
        let put: Put = match format {
            Format::Text => Box::new(text),
            Format::Binary => Box::new(move |row, out| {
                let start = out.len();
                text(row, out)?;
                let digits = out.split_off(start);
                binary::put_numeric_text(out, &String::from_utf8_lossy(&digits));
                Ok(())
            }),
        };
        Ok(Self {
            nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
            put,
        })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value without a length; the row must not be NULL.
    pub(crate) fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        (self.put)(row, out)
    }

    /// Appends length and value; -1 for NULL.
    pub(crate) fn put_sized(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.is_null(row) {
            out.extend_from_slice(&NULL_LENGTH);
            return Ok(());
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        (self.put)(row, out)?;
        let length = i32::try_from(out.len() - at - 4)
            .map_err(|_| Fault::error("54000", "a value is longer than the protocol can say"))?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// The array with one of the types that the writers know.
pub(super) fn canonical(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Dictionary(_, value) => {
            let values = cast(array, value)?;
            return canonical(&values);
        }
        DataType::RunEndEncoded(_, values) => {
            let values = cast(array, values.data_type())?;
            return canonical(&values);
        }
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale) => {
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime)
        | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(Arc::clone(item)),
        _ => return Ok(Arc::clone(array)),
    };
    cast(array, &to)
}

fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    put: impl Fn(&mut Vec<u8>, T::Native) + Send + Sync + 'static,
) -> Put {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    Box::new(move |row, out| {
        put(out, array.value(row));
        Ok(())
    })
}

fn strings<O: OffsetSizeTrait>(array: &ArrayRef) -> Put {
    let array: GenericStringArray<O> = array.as_string::<O>().clone();
    Box::new(move |row, out| {
        out.extend_from_slice(array.value(row).as_bytes());
        Ok(())
    })
}

type PutBytes = fn(&mut Vec<u8>, &[u8]);

fn bytes<O: OffsetSizeTrait>(array: &ArrayRef, put: PutBytes) -> Put {
    let array: GenericBinaryArray<O> = array.as_binary::<O>().clone();
    Box::new(move |row, out| {
        put(out, array.value(row));
        Ok(())
    })
}

/// Arrays of bytes and texts of any layout.
fn bytes_like(array: &ArrayRef, put: PutBytes) -> Option<Put> {
    Some(match array.data_type() {
        DataType::Utf8 => strings::<i32>(array),
        DataType::LargeUtf8 => strings::<i64>(array),
        DataType::Utf8View => {
            let array = array.as_string_view().clone();
            Box::new(move |row, out| {
                out.extend_from_slice(array.value(row).as_bytes());
                Ok(())
            })
        }
        DataType::Binary => bytes::<i32>(array, put),
        DataType::LargeBinary => bytes::<i64>(array, put),
        DataType::BinaryView => {
            let array = array.as_binary_view().clone();
            Box::new(move |row, out| {
                put(out, array.value(row));
                Ok(())
            })
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary().clone();
            Box::new(move |row, out| {
                put(out, array.value(row));
                Ok(())
            })
        }
        _ => return None,
    })
}

fn put_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn nothing() -> Put {
    Box::new(|_, _| Ok(()))
}

fn unknown(array: &ArrayRef) -> Fault {
    Fault::unsupported(format!("a result of type {}", array.data_type()))
}

/// Seconds that a zone is ahead of UTC at a moment.
pub(super) fn offset_at(zone: Tz, micros: i64) -> i32 {
    DateTime::<Utc>::from_timestamp_micros(micros).map_or(0, |moment| {
        zone.offset_from_utc_datetime(&moment.naive_utc())
            .fix()
            .local_minus_utc()
    })
}

/// A zone; `None` stands for UTC, which needs no look-up.
pub(super) fn zone_of(name: &str) -> Option<Tz> {
    match name {
        "UTC" | "Etc/UTC" | "GMT" | "+00:00" | "Z" => None,
        other => Tz::from_str(other).ok(),
    }
}

fn timestamp_text(array: &ArrayRef, middle: u8) -> Put {
    let zone = match array.data_type() {
        DataType::Timestamp(_, Some(zone)) => Some(zone_of(zone)),
        _ => None,
    };
    let put = move |out: &mut Vec<u8>, micros: i64| {
        let offset = zone.map(|zone| zone.map_or(0, |zone| offset_at(zone, micros)));
        printing::put_timestamp(out, micros, offset, middle);
    };
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive::<TimestampNanosecondType>(array, move |out, nanos| {
                put(out, nanos.div_euclid(1000));
            })
        }
        _ => primitive::<TimestampMicrosecondType>(array, put),
    }
}

/// Values in text. `field` tells what PostgreSQL calls them.
pub(super) fn text_cell(array: &ArrayRef, field: &Field, style: Style) -> Result<Put, Fault> {
    let put_bytes: PutBytes = match array.data_type() {
        DataType::FixedSizeBinary(16) => printing::put_uuid,
        _ if style.bytea_escape => printing::put_bytea_escaped,
        _ => printing::put_bytea,
    };
    if let Some(put) = bytes_like(array, put_bytes) {
        return Ok(put);
    }
    Ok(match array.data_type() {
        DataType::Null => nothing(),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| {
                out.push(if array.value(row) { b't' } else { b'f' });
                Ok(())
            })
        }
        DataType::Timestamp(..) => timestamp_text(array, b' '),
        DataType::Date32 => primitive::<Date32Type>(array, printing::put_date),
        DataType::Time64(_) => primitive::<Time64MicrosecondType>(array, printing::put_time),
        DataType::Interval(_) => primitive::<IntervalMonthDayNanoType>(array, move |out, value| {
            if style.interval_iso {
                printing::put_interval_iso(out, value.into());
            } else {
                printing::put_interval(out, value.into());
            }
        }),
        DataType::List(item) => list::text(array.as_list(), item, field, style)?,
        DataType::Struct(_) | DataType::Map(..) => json::value(array, style)?,
        _ => number_text(array).ok_or_else(|| unknown(array))?,
    })
}

pub(super) fn number_text(array: &ArrayRef) -> Option<Put> {
    Some(match array.data_type() {
        DataType::Int16 => primitive::<Int16Type>(array, |out, v| printing::put_i64(out, v.into())),
        DataType::Int32 => primitive::<Int32Type>(array, |out, v| printing::put_i64(out, v.into())),
        DataType::Int64 => primitive::<Int64Type>(array, printing::put_i64),
        DataType::UInt32 => {
            primitive::<UInt32Type>(array, |out, v| printing::put_u64(out, v.into()))
        }
        DataType::Float32 => primitive::<Float32Type>(array, printing::put_f32),
        DataType::Float64 => primitive::<Float64Type>(array, printing::put_f64),
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            primitive::<Decimal128Type>(array, move |out, v| printing::put_decimal(out, v, scale))
        }
        DataType::Decimal256(..) => {
            let array = array.as_primitive::<Decimal256Type>().clone();
            Box::new(move |row, out| {
                out.extend_from_slice(array.value_as_string(row).as_bytes());
                Ok(())
            })
        }
        _ => return None,
    })
}

/// Values in binary.
fn binary_cell(array: &ArrayRef, field: &Field, style: Style) -> Result<Put, Fault> {
    if let Some(put) = bytes_like(array, put_raw) {
        return Ok(put);
    }
    Ok(match array.data_type() {
        DataType::Null => nothing(),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| {
                out.push(u8::from(array.value(row)));
                Ok(())
            })
        }
        DataType::Int16 => primitive::<Int16Type>(array, |out, v| out.extend(v.to_be_bytes())),
        DataType::Int32 => primitive::<Int32Type>(array, |out, v| out.extend(v.to_be_bytes())),
        DataType::Int64 => primitive::<Int64Type>(array, |out, v| out.extend(v.to_be_bytes())),
        DataType::UInt32 if pg_type_of(field).len == 4 => {
            primitive::<UInt32Type>(array, |out, v| out.extend(v.to_be_bytes()))
        }
        DataType::UInt32 => {
            primitive::<UInt32Type>(array, |out, v| out.extend(i64::from(v).to_be_bytes()))
        }
        DataType::Float32 => primitive::<Float32Type>(array, |out, v| out.extend(v.to_be_bytes())),
        DataType::Float64 => primitive::<Float64Type>(array, |out, v| out.extend(v.to_be_bytes())),
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            primitive::<Decimal128Type>(array, move |out, v| binary::put_numeric(out, v, scale))
        }
        DataType::Decimal256(..) => {
            let array = array.as_primitive::<Decimal256Type>().clone();
            Box::new(move |row, out| {
                binary::put_numeric_text(out, &array.value_as_string(row));
                Ok(())
            })
        }
        DataType::Date32 => primitive::<Date32Type>(array, binary::put_date),
        DataType::Time64(_) => {
            primitive::<Time64MicrosecondType>(array, |out, v| out.extend(v.to_be_bytes()))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive::<TimestampNanosecondType>(array, |out, nanos| {
                binary::put_timestamp(out, nanos.div_euclid(1000));
            })
        }
        DataType::Timestamp(..) => {
            primitive::<TimestampMicrosecondType>(array, binary::put_timestamp)
        }
        DataType::Interval(_) => primitive::<IntervalMonthDayNanoType>(array, |out, value| {
            binary::put_interval(out, value.into());
        }),
        DataType::List(item) => list::binary(array.as_list(), item, field, style)?,
        DataType::Struct(_) | DataType::Map(..) => json::value(array, style)?,
        _ => return Err(unknown(array)),
    })
}

/// A version, then the text. Source: PostgreSQL, `jsonb_send`.
fn jsonb(array: &ArrayRef, field: &Field, style: Style) -> Result<Put, Fault> {
    let put = if array.data_type().is_nested() {
        json::value(array, style)?
    } else {
        binary_cell(array, field, style)?
    };
    Ok(Box::new(move |row, out| {
        out.push(JSONB_VERSION);
        put(row, out)
    }))
}

/// Texts of addresses as PostgreSQL's bytes of them.
fn address(put: Put, is_network: bool) -> Put {
    Box::new(move |row, out| {
        let start = out.len();
        put(row, out)?;
        let text = out.split_off(start);
        let address = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Address::read(text, is_network))
            .ok_or_else(|| Fault::error("22P02", "a value is no network address"))?;
        out.extend(address.to_binary());
        Ok(())
    })
}

pub(super) fn json_timestamp(array: &ArrayRef) -> Put {
    timestamp_text(array, b'T')
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;
    use arrow::array::{
        BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
        FixedSizeBinaryArray, Float64Array, Int32Array, IntervalMonthDayNanoArray,
        LargeStringArray, ListArray, ListBuilder, StringArray, StringBuilder, StringViewArray,
        Time64NanosecondArray, TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
    };

    fn field(array: &ArrayRef) -> Field {
        Field::new("c", array.data_type().clone(), true)
    }

    fn check(array: impl Array + 'static, text: &str, binary: &[u8]) {
        let array: ArrayRef = Arc::new(array);
        let mut out = vec![];
        let cell = Cell::of(&array, &field(&array), Format::Text, Style::default()).unwrap();
        cell.put(0, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), text);
        let mut out = vec![];
        let cell = Cell::of(&array, &field(&array), Format::Binary, Style::default()).unwrap();
        cell.put(0, &mut out).unwrap();
        assert_eq!(out, binary, "{text}");
    }

    #[test]
    fn each_type_has_postgresqls_text_and_bytes() {
        check(BooleanArray::from(vec![true]), "t", &[1]);
        check(Int32Array::from(vec![-2]), "-2", &[255, 255, 255, 254]);
        check(
            UInt64Array::from(vec![u64::MAX]),
            "18446744073709551615",
            &numeric_of("18446744073709551615"),
        );
        check(Float64Array::from(vec![1.5]), "1.5", &1.5_f64.to_be_bytes());
        check(
            Decimal128Array::from(vec![12345])
                .with_precision_and_scale(10, 2)
                .unwrap(),
            "123.45",
            &[0, 2, 0, 0, 0, 0, 0, 2, 0, 123, 0x11, 0x94],
        );
        check(StringViewArray::from(vec!["hé"]), "hé", "hé".as_bytes());
        check(LargeStringArray::from(vec!["x"]), "x", b"x");
        check(BinaryViewArray::from(vec![&b"\0a"[..]]), "\\x0061", b"\0a");
        check(Date32Array::from(vec![10_958]), "2000-01-02", &[0, 0, 0, 1]);
        check(
            Time64NanosecondArray::from(vec![1_500_000_000]),
            "00:00:01.5",
            &1_500_000_i64.to_be_bytes(),
        );
        check(
            TimestampSecondArray::from(vec![946_684_800]),
            "2000-01-01 00:00:00",
            &[0; 8],
        );
        check(
            IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3_000_000_000)]),
            "1 mon 2 days 00:00:03",
            &[0, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0, 0, 0, 0, 2, 0, 0, 0, 1],
        );
        let uuid = 1_u128.to_be_bytes();
        check(
            FixedSizeBinaryArray::try_from_iter([uuid].iter()).unwrap(),
            "00000000-0000-0000-0000-000000000001",
            &uuid,
        );
        let words: DictionaryArray<Int32Type> = vec!["ab", "cd"].into_iter().collect();
        check(words, "ab", b"ab");
    }

    fn numeric_of(text: &str) -> Vec<u8> {
        let mut out = vec![];
        binary::put_numeric_text(&mut out, text);
        out
    }

    #[test]
    fn a_moment_is_shown_in_its_zone_and_sent_in_utc() {
        let summer = 1_720_000_000_000_000; // 2024-07-03 09:46:40 UTC
        check(
            TimestampMicrosecondArray::from(vec![summer]).with_timezone("Europe/Berlin"),
            "2024-07-03 11:46:40+02",
            &(summer - binary::EPOCH_MICROS).to_be_bytes(),
        );
        check(
            TimestampMicrosecondArray::from(vec![summer]).with_timezone("UTC"),
            "2024-07-03 09:46:40+00",
            &(summer - binary::EPOCH_MICROS).to_be_bytes(),
        );
    }

    #[test]
    fn arrays_quote_what_would_be_misread() {
        let mut list = ListBuilder::new(StringBuilder::new());
        for item in [Some("a"), None, Some("null"), Some(""), Some("b,\"\\ {}")] {
            list.values().append_option(item);
        }
        list.append(true);
        let mut binary = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 5, 0, 0, 0, 1];
        for item in [Some("a"), None, Some("null"), Some(""), Some("b,\"\\ {}")] {
            let length = item.map_or(-1, |i| i32::try_from(i.len()).unwrap());
            binary.extend(length.to_be_bytes());
            binary.extend(item.unwrap_or("").as_bytes());
        }
        check(list.finish(), r#"{a,NULL,"null","","b,\"\\ {}"}"#, &binary);
        let empty =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(Vec::<Option<i64>>::new())]);
        check(empty, "{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20]);
    }

    #[test]
    fn a_null_has_the_length_minus_one() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
        let cell = Cell::of(&array, &field(&array), Format::Text, Style::default()).unwrap();
        let mut out = vec![];
        cell.put_sized(0, &mut out).unwrap();
        cell.put_sized(1, &mut out).unwrap();
        assert_eq!(out, b"\xff\xff\xff\xff\0\0\0\x01x");
        let all: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
        let cell = Cell::of(&all, &field(&all), Format::Binary, Style::default()).unwrap();
        assert!(cell.is_null(0));
    }
}
