//! Partition transforms on Arrow arrays, as the Iceberg spec defines them.
//!
//! Pure functions of one column. Which column, and what becomes of the result, is not known here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, Int32Array, LargeBinaryArray,
    LargeStringArray, PrimitiveArray, StringArray, StringViewArray, new_null_array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{Datelike, NaiveDate};
use iceberg::spec as ice;
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};
use crate::literal::{Literal, literal_at, literals_to_array, minimal_big_endian};

const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_HOUR: i64 = 3_600_000_000;
const NANOS_PER_MICRO: i64 = 1000;
const EPOCH_YEAR: i32 = 1970;

/// How a partition value is made from a column's value. NULL stays NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// A hash of the value, modulo the number of buckets.
    Bucket(u32),
    /// The value cut to a width: a prefix of text, a multiple of the width for numbers.
    Truncate(u32),
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01; the result is a `date`.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
    /// Always NULL: what a dropped partition field becomes in format version 1.
    Void,
    /// A transform of a later version of the spec: readable, but neither pruned by nor written.
    Unknown,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Bucket(n) => write!(f, "bucket[{n}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Void => f.write_str("void"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Transform {
    type Err = CatalogError;

    fn from_str(text: &str) -> Result<Self> {
        let sized = |prefix: &str| -> Option<u32> {
            let n = text
                .strip_prefix(prefix)?
                .strip_prefix('[')?
                .strip_suffix(']')?;
            n.trim().parse().ok().filter(|n| *n > 0)
        };
        Ok(match text {
            "identity" => Self::Identity,
            "year" => Self::Year,
            "month" => Self::Month,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "void" => Self::Void,
            _ => match (sized("bucket"), sized("truncate")) {
                (Some(n), _) => Self::Bucket(n),
                (_, Some(width)) => Self::Truncate(width),
                _ => {
                    return Err(CatalogError::invalid(format!(
                        "\"{text}\" is not a partition transform; known: identity, bucket[N], \
                         truncate[W], year, month, day, hour, void"
                    )));
                }
            },
        })
    }
}

/// One entry of `PARTITIONED BY` in a CREATE TABLE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFieldDef {
    /// Source column; a field of a struct is written `parent.child`.
    pub column: String,
    /// How its value becomes the partition value.
    pub transform: Transform,
    /// Name of the partition field; `column_transform` (or `column` for identity) when `None`.
    pub name: Option<String>,
}

impl PartitionFieldDef {
    /// The name that this field gets, as Java and `PyIceberg` choose it.
    pub(crate) fn field_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let column = &self.column;
        match self.transform {
            Transform::Identity => column.clone(),
            Transform::Bucket(_) => format!("{column}_bucket"),
            Transform::Truncate(_) => format!("{column}_trunc"),
            Transform::Year => format!("{column}_year"),
            Transform::Month => format!("{column}_month"),
            Transform::Day => format!("{column}_day"),
            Transform::Hour => format!("{column}_hour"),
            Transform::Void => format!("{column}_null"),
            Transform::Unknown => format!("{column}_unknown"),
        }
    }
}

impl Transform {
    /// The Arrow type of the result for a column of type `source`.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] if the transform does not apply to the type.
    pub fn result_type(&self, source: &DataType) -> Result<DataType> {
        let refuse = || {
            Err(CatalogError::invalid(format!(
                "partition transform {self} does not apply to type {source}"
            )))
        };
        let is_date = matches!(source, DataType::Date32);
        let is_timestamp = matches!(
            source,
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        );
        let is_text = is_string(source) || is_binary(source);
        let is_number = matches!(
            source,
            DataType::Int32 | DataType::Int64 | DataType::Decimal128(..)
        );
        let is_bucketable = is_number
            || is_text
            || is_date
            || is_timestamp
            || matches!(
                source,
                DataType::Time64(TimeUnit::Microsecond) | DataType::FixedSizeBinary(_)
            );
        match self {
            Self::Identity if source.is_nested() => refuse(),
            Self::Identity | Self::Void => Ok(source.clone()),
            Self::Bucket(n) if *n > 0 && is_bucketable => Ok(DataType::Int32),
            Self::Truncate(width) if *width > 0 && (is_number || is_text) => Ok(source.clone()),
            Self::Year | Self::Month if is_date || is_timestamp => Ok(DataType::Int32),
            Self::Day if is_date || is_timestamp => Ok(DataType::Date32),
            Self::Hour if is_timestamp => Ok(DataType::Int32),
            Self::Unknown => Ok(DataType::Utf8View),
            Self::Bucket(_)
            | Self::Truncate(_)
            | Self::Year
            | Self::Month
            | Self::Day
            | Self::Hour => refuse(),
        }
    }

    /// The partition value of each row of `source`, an array of the same length.
    ///
    /// # Errors
    /// As [`Self::result_type`]; [`CatalogError::Unsupported`] for [`Transform::Unknown`].
    pub fn apply(&self, source: &ArrayRef) -> Result<ArrayRef> {
        let result = self.result_type(source.data_type())?;
        match self {
            Self::Identity => Ok(Arc::clone(source)),
            Self::Void => Ok(new_null_array(&result, source.len())),
            Self::Bucket(n) => bucket(source, *n),
            Self::Truncate(width) => truncate(source, *width),
            Self::Year | Self::Month | Self::Day | Self::Hour => self.temporal(source),
            Self::Unknown => Err(CatalogError::unsupported(
                "the table is partitioned by a transform of a later Iceberg version and cannot be \
                 written; use a newer release",
            )),
        }
    }

    /// The partition value of one value of a column of type `source`.
    ///
    /// # Errors
    /// As [`Self::apply`]; [`CatalogError::Invalid`] if the value is not of that type.
    pub fn apply_literal(&self, source: &DataType, value: &Literal) -> Result<Option<Literal>> {
        let array = literals_to_array(source, [Some(value)])?;
        literal_at(&self.apply(&array)?, 0)
    }

    /// A partition value as it is written in paths, such as `2024-05` for a month.
    pub fn human(&self, value: Option<&Literal>) -> String {
        match (self, value) {
            (_, None) | (Self::Void, _) => "null".to_owned(),
            (Self::Year, Some(Literal::Int(years))) => {
                format!("{:04}", i64::from(EPOCH_YEAR) + i64::from(*years))
            }
            (Self::Month, Some(Literal::Int(months))) => format!(
                "{:04}-{:02}",
                i64::from(EPOCH_YEAR) + i64::from(months.div_euclid(12)),
                months.rem_euclid(12) + 1
            ),
            (Self::Hour, Some(Literal::Int(hours))) => {
                let day = Literal::Date(hours.div_euclid(24));
                format!("{day}-{:02}", hours.rem_euclid(24))
            }
            (Self::Day, Some(Literal::Int(days))) => Literal::Date(*days).to_string(),
            (_, Some(value)) => value.to_string(),
        }
    }

    pub(crate) fn from_ice(transform: ice::Transform) -> Self {
        match transform {
            ice::Transform::Identity => Self::Identity,
            ice::Transform::Bucket(n) => Self::Bucket(n),
            ice::Transform::Truncate(width) => Self::Truncate(width),
            ice::Transform::Year => Self::Year,
            ice::Transform::Month => Self::Month,
            ice::Transform::Day => Self::Day,
            ice::Transform::Hour => Self::Hour,
            ice::Transform::Void => Self::Void,
            ice::Transform::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn to_ice(self) -> ice::Transform {
        match self {
            Self::Identity => ice::Transform::Identity,
            Self::Bucket(n) => ice::Transform::Bucket(n),
            Self::Truncate(width) => ice::Transform::Truncate(width),
            Self::Year => ice::Transform::Year,
            Self::Month => ice::Transform::Month,
            Self::Day => ice::Transform::Day,
            Self::Hour => ice::Transform::Hour,
            Self::Void => ice::Transform::Void,
            Self::Unknown => ice::Transform::Unknown,
        }
    }

    fn temporal(self, source: &ArrayRef) -> Result<ArrayRef> {
        let units: Int32Array = match source.data_type() {
            DataType::Date32 => each::<Date32Type>(source, |days| self.of_days(i64::from(days))),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                each::<TimestampMicrosecondType>(source, |micros| self.of_micros(micros))
            }
            _ => each::<TimestampNanosecondType>(source, |nanos| {
                self.of_micros(nanos.div_euclid(NANOS_PER_MICRO))
            }),
        }?;
        if self == Self::Day {
            return Ok(Arc::new(units.reinterpret_cast::<Date32Type>()) as ArrayRef);
        }
        Ok(Arc::new(units))
    }

    fn of_micros(self, micros: i64) -> Result<i32> {
        if self == Self::Hour {
            return to_i32(micros.div_euclid(MICROS_PER_HOUR));
        }
        self.of_days(micros.div_euclid(MICROS_PER_DAY))
    }

    fn of_days(self, days: i64) -> Result<i32> {
        let days = to_i32(days)?;
        if self == Self::Day {
            return Ok(days);
        }
        let date = NaiveDate::from_ymd_opt(EPOCH_YEAR, 1, 1)
            .and_then(|epoch| {
                epoch.checked_add_signed(chrono::TimeDelta::try_days(i64::from(days))?)
            })
            .ok_or_else(|| {
                CatalogError::invalid(format!(
                    "a date {days} days from 1970 is out of range for partition transform {self}"
                ))
            })?;
        let years = date.year() - EPOCH_YEAR;
        if self == Self::Year {
            return Ok(years);
        }
        to_i32(i64::from(years) * 12 + i64::from(date.month0()))
    }
}

fn to_i32(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| {
        CatalogError::invalid(format!("partition value {value} does not fit into an int"))
    })
}

fn is_string(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

fn each<T: ArrowPrimitiveType>(
    source: &ArrayRef,
    f: impl Fn(T::Native) -> Result<i32>,
) -> Result<Int32Array> {
    source
        .as_primitive::<T>()
        .try_unary::<_, Int32Type, CatalogError>(f)
}

fn bucket(source: &ArrayRef, buckets: u32) -> Result<ArrayRef> {
    let modulus = i32::try_from(buckets)
        .map_err(|_| CatalogError::invalid(format!("bucket[{buckets}] has too many buckets")))?;
    let index = |hash: i32| (hash & i32::MAX) % modulus;
    let of_long = |v: i64| index(hash_long(v));
    let of_bytes = |v: Option<&[u8]>| v.map(|v| index(hash_bytes(v)));
    let of_text = |v: Option<&str>| v.map(|v| index(hash_bytes(v.as_bytes())));
    let array: Int32Array = match source.data_type() {
        DataType::Int32 => source
            .as_primitive::<Int32Type>()
            .unary(|v| of_long(i64::from(v))),
        DataType::Date32 => source
            .as_primitive::<Date32Type>()
            .unary(|v| of_long(i64::from(v))),
        DataType::Int64 => source.as_primitive::<Int64Type>().unary(of_long),
        DataType::Time64(_) => source
            .as_primitive::<Time64MicrosecondType>()
            .unary(of_long),
        DataType::Timestamp(TimeUnit::Microsecond, _) => source
            .as_primitive::<TimestampMicrosecondType>()
            .unary(of_long),
        // The spec hashes nanoseconds as microseconds, so that a widened column keeps its buckets.
        DataType::Timestamp(_, _) => source
            .as_primitive::<TimestampNanosecondType>()
            .unary(|v| of_long(v.div_euclid(NANOS_PER_MICRO))),
        DataType::Decimal128(..) => source
            .as_primitive::<Decimal128Type>()
            .unary(|v| index(hash_bytes(&minimal_big_endian(v)))),
        DataType::Utf8 => source.as_string::<i32>().iter().map(of_text).collect(),
        DataType::LargeUtf8 => source.as_string::<i64>().iter().map(of_text).collect(),
        DataType::Utf8View => source.as_string_view().iter().map(of_text).collect(),
        DataType::Binary => source.as_binary::<i32>().iter().map(of_bytes).collect(),
        DataType::LargeBinary => source.as_binary::<i64>().iter().map(of_bytes).collect(),
        DataType::BinaryView => source.as_binary_view().iter().map(of_bytes).collect(),
        DataType::FixedSizeBinary(_) => {
            source.as_fixed_size_binary().iter().map(of_bytes).collect()
        }
        other => {
            return Err(CatalogError::internal(format!(
                "bucket was asked for type {other}"
            )));
        }
    };
    Ok(Arc::new(array))
}

fn truncate(source: &ArrayRef, width: u32) -> Result<ArrayRef> {
    let chars = usize::try_from(width)
        .map_err(|_| CatalogError::invalid(format!("truncate[{width}] is too wide")))?;
    let text = |v: Option<&str>| v.map(|v| prefix(v, chars).to_owned());
    let bytes = |v: Option<&[u8]>| v.map(|v| v[..v.len().min(chars)].to_vec());
    Ok(match source.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width)
                .map_err(|_| CatalogError::invalid(format!("truncate[{width}] is too wide")))?;
            let floor = |v: i32| v.wrapping_sub(v.rem_euclid(width));
            Arc::new(
                source
                    .as_primitive::<Int32Type>()
                    .unary::<_, Int32Type>(floor),
            )
        }
        DataType::Int64 => {
            let width = i64::from(width);
            let floor = |v: i64| v.wrapping_sub(v.rem_euclid(width));
            Arc::new(
                source
                    .as_primitive::<Int64Type>()
                    .unary::<_, Int64Type>(floor),
            )
        }
        ty @ DataType::Decimal128(..) => {
            let width = i128::from(width);
            let floor = |v: i128| v.wrapping_sub(v.rem_euclid(width));
            let cut: PrimitiveArray<Decimal128Type> =
                source.as_primitive::<Decimal128Type>().unary(floor);
            Arc::new(cut.with_data_type(ty.clone()))
        }
        DataType::Utf8 => Arc::new(
            source
                .as_string::<i32>()
                .iter()
                .map(text)
                .collect::<StringArray>(),
        ),
        DataType::LargeUtf8 => Arc::new(
            source
                .as_string::<i64>()
                .iter()
                .map(text)
                .collect::<LargeStringArray>(),
        ),
        DataType::Utf8View => Arc::new(
            source
                .as_string_view()
                .iter()
                .map(text)
                .collect::<StringViewArray>(),
        ),
        DataType::Binary => Arc::new(
            source
                .as_binary::<i32>()
                .iter()
                .map(bytes)
                .collect::<BinaryArray>(),
        ),
        DataType::LargeBinary => Arc::new(
            source
                .as_binary::<i64>()
                .iter()
                .map(bytes)
                .collect::<LargeBinaryArray>(),
        ),
        DataType::BinaryView => Arc::new(
            source
                .as_binary_view()
                .iter()
                .map(bytes)
                .collect::<BinaryViewArray>(),
        ),
        other => {
            return Err(CatalogError::internal(format!(
                "truncate was asked for type {other}"
            )));
        }
    })
}

/// The first `chars` Unicode characters of `text`.
fn prefix(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn hash_long(value: i64) -> i32 {
    hash_bytes(&value.to_le_bytes())
}

/// Murmur3, 32-bit, x86 variant, seed 0: the hash of the Iceberg spec, appendix B.
pub(crate) fn hash_bytes(bytes: &[u8]) -> i32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash: u32 = 0;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        hash ^= mix(u32::from_le_bytes(*block));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let last = tail
            .iter()
            .rev()
            .fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        hash ^= mix(last);
    }
    // The length counts modulo 2^32, as in the reference implementation.
    #[allow(clippy::cast_possible_truncation)]
    let length = bytes.len() as u32;
    hash ^= length;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use std::borrow::Borrow;

    use super::*;
    use arrow::array::{
        Date32Array, Decimal128Array, FixedSizeBinaryArray, Int64Array, Time64MicrosecondArray,
        TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use proptest::prelude::*;

    fn micros(text: &str) -> i64 {
        text.parse::<chrono::NaiveDateTime>()
            .unwrap()
            .and_utc()
            .timestamp_micros()
    }

    fn days(text: &str) -> i32 {
        let date = text.parse::<NaiveDate>().unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        i32::try_from((date - epoch).num_days()).unwrap()
    }

    fn check_hash(array: impl Array + 'static, expected: i32) {
        let array: ArrayRef = Arc::new(array);
        // With 2^31 - 1 buckets the index is the hash without its sign, modulo that.
        let buckets = u32::try_from(i32::MAX).unwrap();
        let got = Transform::Bucket(buckets).apply(&array).unwrap();
        let expected = (expected & i32::MAX) % i32::MAX;
        assert_eq!(got.as_primitive::<Int32Type>().value(0), expected);
    }

    #[test]
    fn hashes_are_those_of_appendix_b() {
        check_hash(Int32Array::from(vec![34]), 2_017_239_379);
        check_hash(Int64Array::from(vec![34]), 2_017_239_379);
        let decimal = Decimal128Array::from(vec![1420])
            .with_precision_and_scale(9, 2)
            .unwrap();
        check_hash(decimal, -500_754_589);
        check_hash(Date32Array::from(vec![days("2017-11-16")]), -653_330_422);
        check_hash(
            Time64MicrosecondArray::from(vec![81_068_000_000]),
            -662_762_989,
        );
        check_hash(
            TimestampMicrosecondArray::from(vec![micros("2017-11-16T22:31:08")]),
            -2_047_944_441,
        );
        check_hash(
            TimestampMicrosecondArray::from(vec![micros("2017-11-16T22:31:08.000001")]),
            -1_207_196_810,
        );
        check_hash(
            TimestampNanosecondArray::from(vec![micros("2017-11-16T22:31:08.000001") * 1000 + 1]),
            -1_207_196_810,
        );
        check_hash(StringViewArray::from(vec!["iceberg"]), 1_210_000_089);
        let uuid = uuid::uuid!("f79c3e09-677c-4bbd-a479-3f349cb785e7").into_bytes();
        let uuids = FixedSizeBinaryArray::try_from_iter([uuid].iter()).unwrap();
        check_hash(uuids, 1_488_055_340);
        let bytes: &[u8] = &[0, 1, 2, 3];
        check_hash(BinaryViewArray::from(vec![bytes]), -188_683_207);
        let fixed = FixedSizeBinaryArray::try_from_iter([bytes].iter()).unwrap();
        check_hash(fixed, -188_683_207);
    }

    fn check_literal(
        transform: Transform,
        ty: &DataType,
        value: impl Borrow<Literal>,
        expected: impl Borrow<Literal>,
    ) {
        let (value, expected) = (value.borrow(), expected.borrow());
        let got = transform.apply_literal(ty, value).unwrap();
        assert_eq!(got.as_ref(), Some(expected), "{transform} of {value}");
    }

    #[test]
    fn times_before_1970_round_down() {
        let ty = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let just_before = Literal::TimestampTz(-1);
        check_literal(Transform::Year, &ty, just_before.clone(), Literal::Int(-1));
        check_literal(Transform::Month, &ty, just_before.clone(), Literal::Int(-1));
        check_literal(Transform::Day, &ty, just_before.clone(), Literal::Date(-1));
        check_literal(Transform::Hour, &ty, just_before, Literal::Int(-1));
        let date = Literal::Date(days("1969-01-01"));
        check_literal(
            Transform::Year,
            &DataType::Date32,
            date.clone(),
            Literal::Int(-1),
        );
        check_literal(Transform::Month, &DataType::Date32, date, Literal::Int(-12));
        let ns = DataType::Timestamp(TimeUnit::Nanosecond, None);
        check_literal(
            Transform::Hour,
            &ns,
            Literal::TimestampNs(-1),
            Literal::Int(-1),
        );
    }

    #[test]
    fn times_after_1970_count_whole_units() {
        let ty = DataType::Timestamp(TimeUnit::Microsecond, None);
        let value = Literal::Timestamp(micros("2017-12-01T10:12:55.038194"));
        check_literal(Transform::Year, &ty, value.clone(), Literal::Int(47));
        check_literal(Transform::Month, &ty, value.clone(), Literal::Int(575));
        check_literal(Transform::Day, &ty, value.clone(), Literal::Date(17501));
        check_literal(Transform::Hour, &ty, value, Literal::Int(420_034));
    }

    #[test]
    fn truncation_rounds_toward_minus_infinity() {
        let t = Transform::Truncate(10);
        check_literal(t, &DataType::Int32, Literal::Int(1), Literal::Int(0));
        check_literal(t, &DataType::Int32, Literal::Int(-1), Literal::Int(-10));
        check_literal(t, &DataType::Int64, Literal::Long(-11), Literal::Long(-20));
        let ty = DataType::Decimal128(4, 2);
        let decimal = |unscaled| Literal::Decimal {
            unscaled,
            precision: 4,
            scale: 2,
        };
        check_literal(Transform::Truncate(50), &ty, decimal(1065), decimal(1050));
        check_literal(Transform::Truncate(50), &ty, decimal(-5), decimal(-50));
    }

    #[test]
    fn text_is_cut_by_characters_and_binary_by_bytes() {
        let t = Transform::Truncate(3);
        let text = |v: &str| Literal::String(v.to_owned());
        check_literal(t, &DataType::Utf8View, text("iceberg"), text("ice"));
        check_literal(t, &DataType::Utf8View, text("äöüß"), text("äöü"));
        check_literal(t, &DataType::Utf8View, text("a"), text("a"));
        check_literal(
            t,
            &DataType::BinaryView,
            Literal::Binary(vec![1, 2, 3, 4]),
            Literal::Binary(vec![1, 2, 3]),
        );
    }

    #[test]
    fn null_stays_null_and_void_is_always_null() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
        for transform in [
            Transform::Bucket(4),
            Transform::Truncate(4),
            Transform::Identity,
        ] {
            let got = transform.apply(&array).unwrap();
            assert!(got.is_null(0) && got.is_valid(1), "{transform}");
        }
        assert_eq!(Transform::Void.apply(&array).unwrap().null_count(), 2);
    }

    #[test]
    fn names_of_the_spec_parse_and_display() {
        for name in [
            "identity",
            "bucket[16]",
            "truncate[4]",
            "year",
            "month",
            "day",
            "hour",
            "void",
        ] {
            assert_eq!(name.parse::<Transform>().unwrap().to_string(), name);
        }
        for wrong in ["bucket", "bucket[0]", "bucket[-1]", "truncate[x]", "minute"] {
            assert!(wrong.parse::<Transform>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn transforms_refuse_types_they_do_not_apply_to() {
        assert!(
            Transform::Bucket(4)
                .result_type(&DataType::Float64)
                .is_err()
        );
        assert!(Transform::Hour.result_type(&DataType::Date32).is_err());
        assert!(
            Transform::Truncate(4)
                .result_type(&DataType::Date32)
                .is_err()
        );
        assert!(Transform::Year.result_type(&DataType::Utf8View).is_err());
    }

    #[test]
    fn partition_values_read_as_people_write_them() {
        assert_eq!(Transform::Month.human(Some(&Literal::Int(-1))), "1969-12");
        assert_eq!(Transform::Year.human(Some(&Literal::Int(54))), "2024");
        assert_eq!(
            Transform::Hour.human(Some(&Literal::Int(25))),
            "1970-01-02-01"
        );
        assert_eq!(Transform::Day.human(Some(&Literal::Date(0))), "1970-01-01");
        assert_eq!(Transform::Identity.human(None), "null");
    }

    /// Types that transforms apply to, with a value; nanoseconds are left to the next test.
    fn any_source() -> impl Strategy<Value = (ice::PrimitiveType, Literal)> {
        use ice::PrimitiveType as P;
        let day = 86_400_000_000_i64;
        let micros = -100_000 * day..100_000 * day;
        prop_oneof![
            any::<i32>().prop_map(|v| (P::Int, Literal::Int(v))),
            any::<i64>().prop_map(|v| (P::Long, Literal::Long(v))),
            (-100_000..100_000_i32).prop_map(|v| (P::Date, Literal::Date(v))),
            (0..day).prop_map(|v| (P::Time, Literal::Time(v))),
            micros
                .clone()
                .prop_map(|v| (P::Timestamp, Literal::Timestamp(v))),
            micros.prop_map(|v| (P::Timestamptz, Literal::TimestampTz(v))),
            any::<i64>().prop_map(|v| {
                let ty = P::Decimal {
                    precision: 20,
                    scale: 2,
                };
                let value = Literal::Decimal {
                    unscaled: i128::from(v),
                    precision: 20,
                    scale: 2,
                };
                (ty, value)
            }),
            ".{0,12}".prop_map(|v| (P::String, Literal::String(v))),
            any::<Vec<u8>>().prop_map(|v| (P::Binary, Literal::Binary(v))),
            any::<[u8; 7]>().prop_map(|v| (P::Fixed(7), Literal::Fixed(v.to_vec()))),
            any::<[u8; 16]>().prop_map(|v| (P::Uuid, Literal::Uuid(v))),
        ]
    }

    fn any_transform() -> impl Strategy<Value = Transform> {
        prop_oneof![
            Just(Transform::Identity),
            (1..1000_u32).prop_map(Transform::Bucket),
            (1..50_u32).prop_map(Transform::Truncate),
            Just(Transform::Year),
            Just(Transform::Month),
            Just(Transform::Day),
            Just(Transform::Hour),
            Just(Transform::Void),
        ]
    }

    proptest! {
        /// The iceberg crate has transforms of its own, written by others.
        #[test]
        fn partition_values_are_those_of_another_implementation(
            (ty, value) in any_source(),
            transform in any_transform(),
        ) {
            let arrow = crate::schema::primitive_to_arrow(&ty);
            let wrapped = match (&transform, &value) {
                // Below the least number the crate panics where Java wraps.
                (Transform::Truncate(w), Literal::Int(v)) => *v < i32::MIN + i32::try_from(*w).unwrap(),
                (Transform::Truncate(w), Literal::Long(v)) => *v < i64::MIN + i64::from(*w),
                _ => false,
            };
            prop_assume!(!wrapped);
            // The crate cannot cut binary values.
            let binary = matches!(ty, ice::PrimitiveType::Binary);
            prop_assume!(!(binary && matches!(transform, Transform::Truncate(_))));
            let theirs = transform.to_ice().result_type(&ice::Type::Primitive(ty.clone()));
            let ours = transform.result_type(&arrow);
            // A uuid and a fixed of its width are one type here.
            if theirs.is_err() {
                prop_assert!(ours.is_err(), "{} of {}", transform, ty);
                return Ok(());
            }
            let function = iceberg::transform::create_transform_function(&transform.to_ice()).unwrap();
            let datum = value.to_datum(&ty).unwrap();
            let theirs = function.transform_literal(&datum).unwrap();
            let ours = transform.apply_literal(&arrow, &value).unwrap();
            let theirs = theirs.map(|datum| {
                Literal::from_primitive(datum.data_type(), datum.literal()).unwrap().to_bytes()
            });
            prop_assert_eq!(ours.map(|value| value.to_bytes()), theirs, "{} of {}", transform, value);
        }

        /// The spec has nanoseconds partitioned as the microseconds that they are in.
        #[test]
        fn nanoseconds_are_partitioned_as_their_microseconds(
            nanos in any::<i64>(),
            transform in any_transform(),
        ) {
            prop_assume!(!matches!(transform, Transform::Identity | Transform::Truncate(_)));
            let micros = nanos.div_euclid(1000);
            for (zone, nano, micro) in [
                (None, Literal::TimestampNs(nanos), Literal::Timestamp(micros)),
                (Some("UTC"), Literal::TimestampTzNs(nanos), Literal::TimestampTz(micros)),
            ] {
                let ty = |unit| DataType::Timestamp(unit, zone.map(Into::into));
                let a = transform.apply_literal(&ty(TimeUnit::Nanosecond), &nano).unwrap();
                let b = transform.apply_literal(&ty(TimeUnit::Microsecond), &micro).unwrap();
                prop_assert_eq!(a, b, "{}", transform);
            }
        }
    }
}
