//! Values in text. Source: PostgreSQL 15, input functions of the types (`boolin`, `int4in`,
//! `numeric_in`, `byteain`, `array_in`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryViewBuilder, BooleanArray, FixedSizeBinaryBuilder,
    PrimitiveArray, StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt32Type,
};
use tarn_engine::{Moments, ScalarValue, sql_type_name};

use super::{Bad, array};

/// Reads texts as values of `ty`; moments without a zone of their own are in `zone`.
///
/// # Errors
/// The first [`Bad`] value, with its row.
pub(crate) fn from_text(
    values: &[Option<&str>],
    ty: &DataType,
    zone: &str,
) -> Result<ArrayRef, Bad> {
    Ok(match ty {
        DataType::Utf8View | DataType::Null => Arc::new(values.iter().collect::<StringViewArray>()),
        DataType::Utf8 => Arc::new(values.iter().collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(values.iter().collect::<arrow::array::LargeStringArray>()),
        DataType::Boolean => {
            let flags = values.iter().enumerate().map(|(row, value)| {
                value
                    .map(|text| boolean(text).map_err(|bad| bad.at(row)))
                    .transpose()
            });
            Arc::new(flags.collect::<Result<BooleanArray, Bad>>()?)
        }
        DataType::Int16 => primitive::<Int16Type>(values, |t| whole(t, "smallint"))?,
        DataType::Int32 => primitive::<Int32Type>(values, |t| whole(t, "integer"))?,
        DataType::Int64 => primitive::<Int64Type>(values, |t| whole(t, "bigint"))?,
        DataType::UInt32 => primitive::<UInt32Type>(values, |t| whole(t, "oid"))?,
        DataType::Float32 => primitive::<Float32Type>(values, real)?,
        DataType::Float64 => primitive::<Float64Type>(values, double)?,
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            let array = values_of::<Decimal128Type>(values, |t| decimal(t, precision, scale))?;
            let typed = array.with_precision_and_scale(precision, scale);
            Arc::new(typed.map_err(|error| Bad::new("22003", error.to_string()))?)
        }
        DataType::Date32 => {
            let moments = Moments::new(zone)?;
            primitive::<Date32Type>(values, |text| Ok(moments.date(text)?))?
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let moments = Moments::new(zone)?;
            primitive::<Time64MicrosecondType>(values, |text| Ok(moments.time(text)?))?
        }
        DataType::Timestamp(unit, own) => timestamps(values, *unit, own.as_ref(), zone)?,
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            primitive::<IntervalMonthDayNanoType>(values, |text| Ok(Moments::interval(text)?))?
        }
        DataType::BinaryView => bytes(values)?,
        DataType::Binary | DataType::LargeBinary => cast_all(&bytes(values)?, ty)?,
        DataType::FixedSizeBinary(16) => uuids(values)?,
        DataType::List(item) => array::from_text(values, item, zone)?,
        DataType::Struct(_) | DataType::Map(..) => json(values, ty)?,
        DataType::Dictionary(_, value) => cast_all(&from_text(values, value, zone)?, ty)?,
        other => by_arrow(values, other)?,
    })
}

fn cast_all(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef, Bad> {
    cast(array, ty).map_err(|error| Bad::new("22P02", error.to_string()))
}

fn values_of<T: ArrowPrimitiveType>(
    values: &[Option<&str>],
    read: impl Fn(&str) -> Result<T::Native, Bad>,
) -> Result<PrimitiveArray<T>, Bad> {
    values
        .iter()
        .enumerate()
        .map(|(row, value)| {
            value
                .map(|text| read(text).map_err(|bad| bad.at(row)))
                .transpose()
        })
        .collect()
}

fn primitive<T: ArrowPrimitiveType>(
    values: &[Option<&str>],
    read: impl Fn(&str) -> Result<T::Native, Bad>,
) -> Result<ArrayRef, Bad> {
    Ok(Arc::new(values_of::<T>(values, read)?))
}

fn boolean(text: &str) -> Result<bool, Bad> {
    let word = text.trim().to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(Bad::syntax("boolean", text))
    }
}

fn whole<T: std::str::FromStr>(text: &str, ty: &str) -> Result<T, Bad> {
    let digits = text.trim();
    digits.parse().map_err(|_| {
        let bare = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
            Bad::range(ty, text)
        } else {
            Bad::syntax(ty, text)
        }
    })
}

fn double(text: &str) -> Result<f64, Bad> {
    let value: f64 = text
        .trim()
        .parse()
        .map_err(|_| Bad::syntax("double precision", text))?;
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(Bad::range("double precision", text));
    }
    Ok(value)
}

fn real(text: &str) -> Result<f32, Bad> {
    let value: f32 = text.trim().parse().map_err(|_| Bad::syntax("real", text))?;
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(Bad::range("real", text));
    }
    Ok(value)
}

/// A decimal taken apart: sign, digits, and how many of them stand after the point.
struct Digits {
    negative: bool,
    all: Vec<u8>,
    after: i64,
}

/// Digits that a numeric may have, after its exponent is worked in.
const DIGITS_MAX: i64 = 1000;

fn digits(text: &str) -> Result<Digits, Bad> {
    let bad = || Bad::syntax("numeric", text);
    let trimmed = text.trim();
    let (negative, rest) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    if ["nan", "inf", "infinity"].contains(&rest.to_ascii_lowercase().as_str()) {
        return Err(Bad::range("numeric", text));
    }
    let (number, exponent) = match rest.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (rest, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let after = i64::try_from(fraction.len()).unwrap_or(i64::MAX) - i64::from(exponent);
    if !(-DIGITS_MAX..=DIGITS_MAX).contains(&after) {
        return Err(Bad::range("numeric", text));
    }
    Ok(Digits {
        negative,
        all,
        after,
    })
}

/// The number by ten to the power of `scale`, rounded half away from zero.
fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Bad> {
    let range = || {
        Bad::new(
            "22003",
            format!(
                "numeric field overflow: \"{}\" does not fit numeric({precision},{scale})",
                super::short(text)
            ),
        )
    };
    let parts = digits(text)?;
    let drop = parts.after - i64::from(scale);
    let kept = i64::try_from(parts.all.len()).unwrap_or(i64::MAX) - drop.max(0);
    let kept = usize::try_from(kept.max(0)).unwrap_or(0);
    let mut value = 0_i128;
    for digit in &parts.all[..kept.min(parts.all.len())] {
        let next = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit - b'0')));
        value = next.ok_or_else(range)?;
    }
    // The first digit dropped decides, unless there are zeros before it that are not written.
    let written = i64::try_from(parts.all.len()).unwrap_or(i64::MAX) >= drop;
    if drop > 0 && written && parts.all.get(kept).is_some_and(|digit| *digit >= b'5') {
        value += 1;
    }
    for _ in 0..(-drop).max(0) {
        value = value.checked_mul(10).ok_or_else(range)?;
    }
    if value
        >= 10_i128
            .checked_pow(u32::from(precision))
            .unwrap_or(i128::MAX)
    {
        return Err(range());
    }
    Ok(if parts.negative { -value } else { value })
}

/// For a decimal type, one that holds `text` with all its digits.
pub(super) fn exact_decimal(ty: &DataType, text: &str) -> DataType {
    if !matches!(ty, DataType::Decimal128(..) | DataType::Decimal256(..)) {
        return ty.clone();
    }
    exact_decimals(ty, std::iter::once(text))
}

/// For a decimal type, one that holds each of `texts` with all its digits.
pub(super) fn exact_decimals<'a>(ty: &DataType, texts: impl Iterator<Item = &'a str>) -> DataType {
    if !matches!(ty, DataType::Decimal128(..) | DataType::Decimal256(..)) {
        return ty.clone();
    }
    let (mut whole, mut scale) = (0, 0);
    for text in texts {
        let Ok(parts) = digits(text) else {
            return ty.clone();
        };
        let leading = parts.all.iter().take_while(|d| **d == b'0').count();
        let significant = i64::try_from(parts.all.len() - leading).unwrap_or(i64::MAX);
        whole = whole.max(significant - parts.after);
        scale = scale.max(parts.after);
    }
    let size = whole.max(0) + scale;
    match i8::try_from(scale) {
        Ok(scale) if size <= 38 => DataType::Decimal128(38, scale),
        Ok(scale) if size <= 76 => DataType::Decimal256(76, scale),
        _ => DataType::Decimal256(76, 38),
    }
}

fn timestamps(
    values: &[Option<&str>],
    unit: TimeUnit,
    own: Option<&Arc<str>>,
    zone: &str,
) -> Result<ArrayRef, Bad> {
    let moments = Moments::new(zone)?;
    let read = |text: &str| {
        Ok(match own {
            Some(_) => moments.timestamptz(text),
            None => moments.timestamp(text),
        }?)
    };
    let array = values_of::<TimestampMicrosecondType>(values, read)?;
    let array: ArrayRef = Arc::new(array.with_timezone_opt(own.cloned()));
    if unit == TimeUnit::Microsecond {
        return Ok(array);
    }
    let ty = DataType::Timestamp(unit, own.cloned());
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&array, &ty, &strict).map_err(|error| Bad::new("22008", error.to_string()))
}

fn bytes(values: &[Option<&str>]) -> Result<ArrayRef, Bad> {
    let mut out = BinaryViewBuilder::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        match value {
            None => out.append_null(),
            Some(text) => out.append_value(bytea(text).map_err(|bad| bad.at(row))?),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// `\x…`, or the older format with octal escapes.
fn bytea(text: &str) -> Result<Vec<u8>, Bad> {
    let bad = || Bad::syntax("bytea", text);
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        return hex_bytes(&digits).ok_or_else(bad);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                after
            }
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                after
            }
            (b'\\', _) => return Err(bad()),
            (byte, after) => {
                out.push(*byte);
                after
            }
        };
    }
    Ok(out)
}

fn hex_bytes(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

fn uuids(values: &[Option<&str>]) -> Result<ArrayRef, Bad> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for (row, value) in values.iter().enumerate() {
        match value {
            None => out.append_null(),
            Some(text) => {
                let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
                let uuid =
                    uuid::Uuid::try_parse(inner).map_err(|_| Bad::syntax("uuid", text).at(row))?;
                out.append_value(uuid.as_bytes())
                    .map_err(|_| Bad::syntax("uuid", text).at(row))?;
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

/// JSON texts as structs or maps.
fn json(values: &[Option<&str>], ty: &DataType) -> Result<ArrayRef, Bad> {
    let field: FieldRef = Arc::new(Field::new("value", ty.clone(), true));
    let mut rows: Vec<ArrayRef> = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let bad = |why: String| {
            Bad::new(
                "22P02",
                format!("invalid input for type {}: {why}", sql_type_name(ty)),
            )
            .at(row)
        };
        let Some(text) = value else {
            let null = ScalarValue::try_from(ty).and_then(|null| null.to_array());
            rows.push(null.map_err(|error| bad(error.to_string()))?);
            continue;
        };
        let reader = arrow::json::ReaderBuilder::new_with_field(Arc::clone(&field));
        let mut decoder = reader
            .build_decoder()
            .map_err(|error| bad(error.to_string()))?;
        let read = decoder
            .decode(text.as_bytes())
            .and_then(|_| decoder.flush());
        match read.map_err(|error| bad(error.to_string()))? {
            Some(batch) if batch.num_rows() == 1 => rows.push(Arc::clone(batch.column(0))),
            _ => return Err(bad("one JSON value is wanted".to_owned())),
        }
    }
    if rows.is_empty() {
        return Ok(arrow::array::new_empty_array(ty));
    }
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&rows).map_err(|error| Bad::new("22P02", error.to_string()))
}

/// Types without a reader of their own: Arrow casts them.
fn by_arrow(values: &[Option<&str>], ty: &DataType) -> Result<ArrayRef, Bad> {
    let strings: ArrayRef = Arc::new(values.iter().collect::<StringArray>());
    let read = cast(&strings, ty).map_err(|_| {
        Bad::new(
            "0A000",
            format!("input of type {} is not supported", sql_type_name(ty)),
        )
    })?;
    for (row, value) in values.iter().enumerate() {
        if let Some(text) = value
            && read.is_null(row)
        {
            return Err(Bad::syntax(&sql_type_name(ty), text).at(row));
        }
    }
    Ok(read)
}
