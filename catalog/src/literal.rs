//! One Iceberg single value, and its way to and from Arrow arrays and Iceberg's binary form.
//!
//! Knows values, not columns: which field a value belongs to is the caller's business.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array,
    Decimal128Array, FixedSizeBinaryBuilder, Float32Array, Float64Array, Int32Array, Int64Array,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use iceberg::spec as ice;
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};

/// A single value of an Iceberg primitive type.
///
/// Equality and hashing are by bits, so that NaN equals itself and values can be grouped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Literal {
    /// `boolean`
    Boolean(bool),
    /// `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `float`
    Float(#[serde(with = "float_bits")] f32),
    /// `double`
    Double(#[serde(with = "double_bits")] f64),
    /// `date`: days since 1970-01-01
    Date(i32),
    /// `time`: microseconds since midnight
    Time(i64),
    /// `timestamp`: microseconds since 1970-01-01T00:00
    Timestamp(i64),
    /// `timestamptz`: microseconds since 1970-01-01T00:00Z
    TimestampTz(i64),
    /// `timestamp_ns`: nanoseconds since 1970-01-01T00:00
    TimestampNs(i64),
    /// `timestamptz_ns`: nanoseconds since 1970-01-01T00:00Z
    TimestampTzNs(i64),
    /// `decimal(precision, scale)`: `unscaled` times 10 to the power of −`scale`
    Decimal {
        /// The number without its decimal point.
        #[serde(with = "i128_text")]
        unscaled: i128,
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// `string`
    String(String),
    /// `uuid`, big-endian
    Uuid([u8; 16]),
    /// `fixed(n)`
    Fixed(Vec<u8>),
    /// `binary`
    Binary(Vec<u8>),
}

/// JSON has no NaN and no infinity: floats travel as their bits.
mod float_bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's `with` passes references
    pub(super) fn serialize<S: Serializer>(value: &f32, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f32, D::Error> {
        u32::deserialize(d).map(f32::from_bits)
    }
}

mod double_bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's `with` passes references
    pub(super) fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        u64::deserialize(d).map(f64::from_bits)
    }
}

/// Not every format holds 128 bits: the unscaled value travels as text.
mod i128_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's `with` passes references
    pub(super) fn serialize<S: Serializer>(value: &i128, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i128, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl Literal {
    /// The binary single-value serialization of the Iceberg spec, appendix D.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Boolean(v) => vec![u8::from(*v)],
            Self::Int(v) | Self::Date(v) => v.to_le_bytes().to_vec(),
            Self::Long(v)
            | Self::Time(v)
            | Self::Timestamp(v)
            | Self::TimestampTz(v)
            | Self::TimestampNs(v)
            | Self::TimestampTzNs(v) => v.to_le_bytes().to_vec(),
            Self::Float(v) => v.to_le_bytes().to_vec(),
            Self::Double(v) => v.to_le_bytes().to_vec(),
            Self::Decimal { unscaled, .. } => minimal_big_endian(*unscaled),
            Self::String(v) => v.as_bytes().to_vec(),
            Self::Uuid(v) => v.to_vec(),
            Self::Fixed(v) | Self::Binary(v) => v.clone(),
        }
    }

    /// Reads the binary single-value serialization of a value of type `ty`.
    ///
    /// Metadata may be older than the type: an `int` is read for a `long`, a `float` for a `double`, a `date` for a
    /// timestamp. `None` if the bytes are no such value.
    pub(crate) fn from_bytes(ty: &ice::PrimitiveType, bytes: &[u8]) -> Option<Self> {
        use ice::PrimitiveType as T;
        let four = || bytes.try_into().ok();
        let eight = || bytes.try_into().ok();
        let int = || four().map(i32::from_le_bytes);
        let long = || eight().map(i64::from_le_bytes);
        let short = bytes.len() == size_of::<i32>();
        Some(match ty {
            T::Boolean => Self::Boolean(*bytes.first()? != 0),
            T::Int => Self::Int(int()?),
            T::Long if short => Self::Int(int()?),
            T::Long => Self::Long(long()?),
            T::Double if short => Self::Float(four().map(f32::from_le_bytes)?),
            T::Float => Self::Float(four().map(f32::from_le_bytes)?),
            T::Double => Self::Double(eight().map(f64::from_le_bytes)?),
            T::Date => Self::Date(int()?),
            T::Timestamp | T::TimestampNs if short => Self::Date(int()?),
            T::Time => Self::Time(long()?),
            T::Timestamp => Self::Timestamp(long()?),
            T::Timestamptz => Self::TimestampTz(long()?),
            T::TimestampNs => Self::TimestampNs(long()?),
            T::TimestamptzNs => Self::TimestampTzNs(long()?),
            T::Decimal { precision, scale } => Self::Decimal {
                unscaled: big_endian(bytes)?,
                precision: u8::try_from(*precision).ok()?,
                scale: i8::try_from(*scale).ok()?,
            },
            T::String => Self::String(std::str::from_utf8(bytes).ok()?.to_owned()),
            T::Uuid => Self::Uuid(bytes.try_into().ok()?),
            T::Fixed(_) => Self::Fixed(bytes.to_vec()),
            T::Binary => Self::Binary(bytes.to_vec()),
        })
    }

    /// This value as one of the Arrow type `ty`, if Iceberg's type promotion allows the step.
    ///
    /// Allowed: `int` to `long`, `float` to `double`, a decimal to more digits, `date` to a
    /// timestamp, and values that differ in name only (`uuid` and `fixed(16)`).
    pub fn promote(&self, ty: &DataType) -> Option<Self> {
        let promoted = match (self, ty) {
            (Self::Boolean(_), DataType::Boolean)
            | (Self::Int(_), DataType::Int32)
            | (Self::Long(_), DataType::Int64)
            | (Self::Float(_), DataType::Float32)
            | (Self::Double(_), DataType::Float64)
            | (Self::Date(_), DataType::Date32)
            | (Self::Time(_), DataType::Time64(TimeUnit::Microsecond))
            | (Self::Timestamp(_), DataType::Timestamp(TimeUnit::Microsecond, None))
            | (Self::TimestampTz(_), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
            | (Self::TimestampNs(_), DataType::Timestamp(TimeUnit::Nanosecond, None))
            | (Self::TimestampTzNs(_), DataType::Timestamp(TimeUnit::Nanosecond, Some(_)))
            | (Self::String(_), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            | (Self::Uuid(_), DataType::FixedSizeBinary(16))
            | (Self::Binary(_), DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => {
                self.clone()
            }
            (Self::Fixed(v) | Self::Binary(v), DataType::FixedSizeBinary(n))
                if usize::try_from(*n) == Ok(v.len()) =>
            {
                Self::Fixed(v.clone())
            }
            (Self::Int(v), DataType::Int64) => Self::Long(i64::from(*v)),
            (Self::Float(v), DataType::Float64) => Self::Double(f64::from(*v)),
            // Java before 1.0 wrote the result of `day` as an int.
            (Self::Int(v), DataType::Date32) => Self::Date(*v),
            (Self::Date(v), DataType::Int32) => Self::Int(*v),
            (Self::Date(v), DataType::Timestamp(TimeUnit::Microsecond, None)) => {
                Self::Timestamp(i64::from(*v).checked_mul(86_400_000_000)?)
            }
            (Self::Date(v), DataType::Timestamp(TimeUnit::Nanosecond, None)) => {
                Self::TimestampNs(i64::from(*v).checked_mul(86_400_000_000_000)?)
            }
            (
                Self::Decimal {
                    unscaled, scale, ..
                },
                DataType::Decimal128(p, s),
            ) if scale == s => Self::Decimal {
                unscaled: *unscaled,
                precision: *p,
                scale: *s,
            },
            _ => return None,
        };
        Some(promoted)
    }

    /// Whether this is a float or double NaN.
    pub fn is_nan(&self) -> bool {
        match self {
            Self::Float(v) => v.is_nan(),
            Self::Double(v) => v.is_nan(),
            _ => false,
        }
    }

    /// Bytes this value takes on the heap, for cache accounting.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::String(v) => v.len(),
            Self::Fixed(v) | Self::Binary(v) => v.len(),
            _ => 0,
        }
    }

    /// This value as the iceberg crate's datum of type `ty`, which must fit.
    pub(crate) fn to_datum(&self, ty: &ice::PrimitiveType) -> Result<ice::Datum> {
        let promoted = self.promote(&crate::schema::primitive_to_arrow(ty));
        let Some(value) = promoted else {
            return Err(CatalogError::internal(format!(
                "value {self:?} does not have the Iceberg type {ty}"
            )));
        };
        ice::Datum::try_from_bytes(&value.to_bytes(), ty.clone()).map_err(|error| {
            CatalogError::internal(format!("value {self:?} is not a valid {ty}: {error}"))
        })
    }

    /// Reads the iceberg crate's value. `None` for its above-max and below-min marks.
    pub(crate) fn from_primitive(
        ty: &ice::PrimitiveType,
        value: &ice::PrimitiveLiteral,
    ) -> Option<Self> {
        use ice::{PrimitiveLiteral as V, PrimitiveType as T};
        let literal = match (ty, value) {
            (T::Boolean, V::Boolean(v)) => Self::Boolean(*v),
            (T::Int, V::Int(v)) => Self::Int(*v),
            (T::Long, V::Long(v)) => Self::Long(*v),
            (T::Float, V::Float(v)) => Self::Float(v.0),
            (T::Double, V::Double(v)) => Self::Double(v.0),
            (T::Date, V::Int(v)) => Self::Date(*v),
            (T::Time, V::Long(v)) => Self::Time(*v),
            (T::Timestamp, V::Long(v)) => Self::Timestamp(*v),
            (T::Timestamptz, V::Long(v)) => Self::TimestampTz(*v),
            (T::TimestampNs, V::Long(v)) => Self::TimestampNs(*v),
            (T::TimestamptzNs, V::Long(v)) => Self::TimestampTzNs(*v),
            (T::Decimal { precision, scale }, V::Int128(v)) => Self::Decimal {
                unscaled: *v,
                precision: u8::try_from(*precision).ok()?,
                scale: i8::try_from(*scale).ok()?,
            },
            (T::String, V::String(v)) => Self::String(v.clone()),
            (T::Uuid, V::UInt128(v)) => Self::Uuid(v.to_be_bytes()),
            (T::Fixed(_), V::Binary(v)) => Self::Fixed(v.clone()),
            (T::Binary, V::Binary(v)) => Self::Binary(v.clone()),
            _ => return None,
        };
        Some(literal)
    }
}

/// Reads two's complement, big-endian, of at most 16 bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// Two's complement, big-endian, in the fewest bytes: the spec's form of a decimal.
pub(crate) fn minimal_big_endian(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign: u8 = if value < 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
        start += 1;
    }
    bytes[start..].to_vec()
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        use Literal as L;
        match (self, other) {
            (L::Boolean(a), L::Boolean(b)) => a == b,
            (L::Int(a), L::Int(b)) | (L::Date(a), L::Date(b)) => a == b,
            (L::Long(a), L::Long(b))
            | (L::Time(a), L::Time(b))
            | (L::Timestamp(a), L::Timestamp(b))
            | (L::TimestampTz(a), L::TimestampTz(b))
            | (L::TimestampNs(a), L::TimestampNs(b))
            | (L::TimestampTzNs(a), L::TimestampTzNs(b)) => a == b,
            (L::Float(a), L::Float(b)) => a.to_bits() == b.to_bits(),
            (L::Double(a), L::Double(b)) => a.to_bits() == b.to_bits(),
            (
                L::Decimal {
                    unscaled: a,
                    scale: s,
                    ..
                },
                L::Decimal {
                    unscaled: b,
                    scale: t,
                    ..
                },
            ) => a == b && s == t,
            (L::String(a), L::String(b)) => a == b,
            (L::Uuid(a), L::Uuid(b)) => a == b,
            (L::Fixed(a), L::Fixed(b)) | (L::Binary(a), L::Binary(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Boolean(v) => v.hash(state),
            Self::Int(v) | Self::Date(v) => v.hash(state),
            Self::Long(v)
            | Self::Time(v)
            | Self::Timestamp(v)
            | Self::TimestampTz(v)
            | Self::TimestampNs(v)
            | Self::TimestampTzNs(v) => v.hash(state),
            Self::Float(v) => v.to_bits().hash(state),
            Self::Double(v) => v.to_bits().hash(state),
            Self::Decimal {
                unscaled, scale, ..
            } => (unscaled, scale).hash(state),
            Self::String(v) => v.hash(state),
            Self::Uuid(v) => v.hash(state),
            Self::Fixed(v) | Self::Binary(v) => v.hash(state),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(v) => write!(f, "{v}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Long(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
            Self::Double(v) => write!(f, "{v}"),
            Self::Date(v) => match epoch_date(*v) {
                Some(date) => write!(f, "{date}"),
                None => write!(f, "{v}"),
            },
            Self::Time(v) => match micros_time(*v) {
                Some(time) => write!(f, "{}", time.format("%H:%M:%S%.f")),
                None => write!(f, "{v}"),
            },
            Self::Timestamp(v) => write_timestamp(f, DateTime::from_timestamp_micros(*v), *v, ""),
            Self::TimestampTz(v) => {
                write_timestamp(f, DateTime::from_timestamp_micros(*v), *v, "+00:00")
            }
            Self::TimestampNs(v) => {
                write_timestamp(f, Some(DateTime::from_timestamp_nanos(*v)), *v, "")
            }
            Self::TimestampTzNs(v) => {
                write_timestamp(f, Some(DateTime::from_timestamp_nanos(*v)), *v, "+00:00")
            }
            Self::Decimal {
                unscaled, scale, ..
            } => f.write_str(&decimal_text(*unscaled, *scale)),
            Self::String(v) => f.write_str(v),
            Self::Uuid(v) => write!(f, "{}", uuid::Uuid::from_bytes(*v)),
            Self::Fixed(v) | Self::Binary(v) => v.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

fn epoch_date(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(TimeDelta::try_days(i64::from(days))?)
}

fn micros_time(micros: i64) -> Option<NaiveTime> {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).ok()?;
    let nanos = u32::try_from(micros.rem_euclid(1_000_000)).ok()? * 1000;
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)
}

fn write_timestamp(
    f: &mut fmt::Formatter<'_>,
    instant: Option<DateTime<chrono::Utc>>,
    raw: i64,
    zone: &str,
) -> fmt::Result {
    match instant {
        Some(instant) => write!(f, "{}{zone}", instant.format("%Y-%m-%dT%H:%M:%S%.f")),
        None => write!(f, "{raw}"),
    }
}

fn decimal_text(unscaled: i128, scale: i8) -> String {
    let Ok(scale @ 1..) = usize::try_from(scale) else {
        return unscaled.to_string();
    };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

/// An Arrow array of type `ty` holding `values`, promoted where needed.
///
/// # Errors
/// [`CatalogError::Unsupported`] if `ty` is not the Arrow form of an Iceberg primitive type,
/// [`CatalogError::Invalid`] if a value has another type.
pub fn literals_to_array<L: Borrow<Literal>>(
    ty: &DataType,
    values: impl IntoIterator<Item = Option<L>>,
) -> Result<ArrayRef> {
    let mut typed = Vec::new();
    for value in values {
        typed.push(match value {
            None => None,
            Some(value) => Some(value.borrow().promote(ty).ok_or_else(|| {
                CatalogError::invalid(format!("value {:?} is not of type {ty}", value.borrow()))
            })?),
        });
    }
    build_array(ty, &typed)
}

/// Collects one variant of [`Literal`]; [`Literal::promote`] made sure that there is no other.
macro_rules! collect {
    ($array:ty, $values:expr, $pattern:pat => $value:expr) => {
        Arc::new(
            $values
                .iter()
                .map(|literal| match literal {
                    Some($pattern) => Some($value),
                    _ => None,
                })
                .collect::<$array>(),
        )
    };
}

fn build_array(ty: &DataType, values: &[Option<Literal>]) -> Result<ArrayRef> {
    use Literal as L;
    let array: ArrayRef = match ty {
        DataType::Boolean => collect!(BooleanArray, values, L::Boolean(v) => *v),
        DataType::Int32 => collect!(Int32Array, values, L::Int(v) => *v),
        DataType::Int64 => collect!(Int64Array, values, L::Long(v) => *v),
        DataType::Float32 => collect!(Float32Array, values, L::Float(v) => *v),
        DataType::Float64 => collect!(Float64Array, values, L::Double(v) => *v),
        DataType::Date32 => collect!(Date32Array, values, L::Date(v) => *v),
        DataType::Time64(TimeUnit::Microsecond) => {
            collect!(Time64MicrosecondArray, values, L::Time(v) => *v)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array: TimestampMicrosecondArray = values
                .iter()
                .map(|literal| match literal {
                    Some(L::Timestamp(v) | L::TimestampTz(v)) => Some(*v),
                    _ => None,
                })
                .collect();
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let array: TimestampNanosecondArray = values
                .iter()
                .map(|literal| match literal {
                    Some(L::TimestampNs(v) | L::TimestampTzNs(v)) => Some(*v),
                    _ => None,
                })
                .collect();
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let array: Decimal128Array = values
                .iter()
                .map(|literal| match literal {
                    Some(L::Decimal { unscaled, .. }) => Some(*unscaled),
                    _ => None,
                })
                .collect();
            let array = array
                .with_precision_and_scale(*precision, *scale)
                .map_err(|error| CatalogError::invalid(format!("{ty}: {error}")))?;
            Arc::new(array)
        }
        DataType::Utf8 => collect!(StringArray, values, L::String(v) => v.as_str()),
        DataType::LargeUtf8 => collect!(LargeStringArray, values, L::String(v) => v.as_str()),
        DataType::Utf8View => collect!(StringViewArray, values, L::String(v) => v.as_str()),
        DataType::Binary => collect!(BinaryArray, values, L::Binary(v) => v.as_slice()),
        DataType::LargeBinary => collect!(LargeBinaryArray, values, L::Binary(v) => v.as_slice()),
        DataType::BinaryView => collect!(BinaryViewArray, values, L::Binary(v) => v.as_slice()),
        DataType::FixedSizeBinary(width) => fixed_array(*width, values)?,
        other => {
            return Err(CatalogError::unsupported(format!(
                "type {other} does not hold Iceberg single values"
            )));
        }
    };
    Ok(array)
}

fn fixed_array(width: i32, values: &[Option<Literal>]) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), width);
    for value in values {
        match value {
            Some(Literal::Uuid(v)) => builder.append_value(v),
            Some(Literal::Fixed(v)) => builder.append_value(v),
            _ => {
                builder.append_null();
                Ok(())
            }
        }
        .map_err(|error| CatalogError::invalid(format!("fixed({width}): {error}")))?;
    }
    Ok(Arc::new(builder.finish()))
}

/// The value at `row` of `array`; `None` if it is NULL.
///
/// A fixed-size binary value comes as [`Literal::Fixed`], also when the column is a `uuid`: an
/// Arrow type does not tell the two apart.
///
/// # Errors
/// [`CatalogError::Unsupported`] if the array's type is not the Arrow form of an Iceberg primitive
/// type; [`CatalogError::Internal`] if `row` is out of bounds.
pub fn literal_at(array: &dyn Array, row: usize) -> Result<Option<Literal>> {
    if row >= array.len() {
        return Err(CatalogError::internal(format!(
            "row {row} of an array of {}",
            array.len()
        )));
    }
    if array.is_null(row) {
        return Ok(None);
    }
    let literal = match array.data_type() {
        DataType::Boolean => Literal::Boolean(array.as_boolean().value(row)),
        DataType::Int32 => Literal::Int(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Literal::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Literal::Float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Literal::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => Literal::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Literal::Time(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            match zone {
                Some(_) => Literal::TimestampTz(value),
                None => Literal::Timestamp(value),
            }
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let value = array.as_primitive::<TimestampNanosecondType>().value(row);
            match zone {
                Some(_) => Literal::TimestampTzNs(value),
                None => Literal::TimestampNs(value),
            }
        }
        DataType::Decimal128(precision, scale) => Literal::Decimal {
            unscaled: array.as_primitive::<Decimal128Type>().value(row),
            precision: *precision,
            scale: *scale,
        },
        DataType::Utf8 => Literal::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Literal::String(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Literal::String(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Literal::Binary(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Literal::Binary(array.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Literal::Binary(array.as_binary_view().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => {
            Literal::Fixed(array.as_fixed_size_binary().value(row).to_vec())
        }
        other => {
            return Err(CatalogError::unsupported(format!(
                "type {other} does not hold Iceberg single values"
            )));
        }
    };
    Ok(Some(literal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(unscaled: i128) -> Literal {
        Literal::Decimal {
            unscaled,
            precision: 38,
            scale: 2,
        }
    }

    fn any_literal() -> impl Strategy<Value = (DataType, Literal)> {
        let us = TimeUnit::Microsecond;
        prop_oneof![
            any::<bool>().prop_map(|v| (DataType::Boolean, Literal::Boolean(v))),
            any::<i32>().prop_map(|v| (DataType::Int32, Literal::Int(v))),
            any::<i64>().prop_map(|v| (DataType::Int64, Literal::Long(v))),
            any::<f32>().prop_map(|v| (DataType::Float32, Literal::Float(v))),
            any::<f64>().prop_map(|v| (DataType::Float64, Literal::Double(v))),
            any::<i32>().prop_map(|v| (DataType::Date32, Literal::Date(v))),
            any::<i64>().prop_map(move |v| (DataType::Timestamp(us, None), Literal::Timestamp(v))),
            any::<i64>().prop_map(move |v| (
                DataType::Timestamp(us, Some("UTC".into())),
                Literal::TimestampTz(v)
            )),
            any::<i64>().prop_map(|v| (DataType::Decimal128(38, 2), decimal(i128::from(v)))),
            ".*".prop_map(|v| (DataType::Utf8View, Literal::String(v))),
            any::<Vec<u8>>().prop_map(|v| (DataType::BinaryView, Literal::Binary(v))),
            any::<[u8; 5]>()
                .prop_map(|v| (DataType::FixedSizeBinary(5), Literal::Fixed(v.to_vec()))),
        ]
    }

    proptest! {
        #[test]
        fn a_literal_survives_arrow_and_json((ty, literal) in any_literal()) {
            let array = literals_to_array(&ty, [None, Some(&literal)]).unwrap();
            prop_assert_eq!(array.data_type(), &ty);
            prop_assert_eq!(literal_at(&array, 0).unwrap(), None);
            let back = literal_at(&array, 1).unwrap();
            prop_assert_eq!(back.as_ref(), Some(&literal));
            let json = serde_json::to_string(&literal).unwrap();
            prop_assert_eq!(serde_json::from_str::<Literal>(&json).unwrap(), literal);
        }

        #[test]
        fn a_decimal_takes_the_fewest_bytes_that_keep_its_sign(value in any::<i128>()) {
            let bytes = minimal_big_endian(value);
            let fill = if value < 0 { 0xff } else { 0 };
            let mut full = [fill; 16];
            full[16 - bytes.len()..].copy_from_slice(&bytes);
            prop_assert_eq!(i128::from_be_bytes(full), value);
            if bytes.len() > 1 {
                let redundant = bytes[0] == fill && (bytes[1] ^ fill) & 0x80 == 0;
                prop_assert!(!redundant);
            }
        }
    }

    #[test]
    fn values_read_as_people_write_them() {
        assert_eq!(Literal::Date(-1).to_string(), "1969-12-31");
        assert_eq!(decimal(-5).to_string(), "-0.05");
        assert_eq!(decimal(12345).to_string(), "123.45");
        assert_eq!(
            Literal::Timestamp(-1).to_string(),
            "1969-12-31T23:59:59.999999"
        );
    }

    #[test]
    fn only_iceberg_promotions_are_made() {
        assert_eq!(
            Literal::Int(7).promote(&DataType::Int64),
            Some(Literal::Long(7))
        );
        assert_eq!(Literal::Long(7).promote(&DataType::Int32), None);
        assert_eq!(Literal::String("1".into()).promote(&DataType::Int32), None);
        let wider = decimal(5).promote(&DataType::Decimal128(38, 2));
        assert_eq!(wider, Some(decimal(5)));
        assert_eq!(decimal(5).promote(&DataType::Decimal128(38, 3)), None);
    }

    #[test]
    fn nan_equals_itself_so_that_partitions_group() {
        assert_eq!(Literal::Double(f64::NAN), Literal::Double(f64::NAN));
        assert_ne!(Literal::Double(0.0), Literal::Double(-0.0));
    }
}
