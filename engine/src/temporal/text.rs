//! Casts between text and dates, times, intervals and floats, as PostgreSQL writes and reads them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use datafusion::arrow::compute::CastOptions;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Expr;

use super::function::{Call, Function, TEXT, common};
use super::input::{self, Clock};
use super::trunc::cast_zone;
use super::units::cast_down;
use super::zones::Zone;
use crate::error::EngineError;
use crate::printing;

/// Whether a value of `ty` is printed here.
pub(crate) fn prints(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Float32
            | DataType::Float64
    )
}

/// Whether text becomes `ty` here.
pub(crate) fn reads(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
    )
}

/// `value` as text.
pub(crate) fn printed(value: Expr) -> Option<Expr> {
    Some(super::named("tarn_text")?.call(vec![value]))
}

/// What clocks show at the instant `value`: `timestamptz` as `timestamp`.
pub(crate) fn local(value: Expr) -> Option<Expr> {
    Some(super::named("tarn_local")?.call(vec![value]))
}

/// `texts` as values of `ty`, one of those of [`reads`]; leniently, NULL for what is none.
pub(crate) fn read(
    texts: &StringViewArray,
    ty: &DataType,
    zone: &str,
    lenient: bool,
) -> Result<ArrayRef> {
    let zone = match ty {
        DataType::Timestamp(_, Some(zone)) => Zone::of_type(zone)?,
        _ => Zone::of_type(zone)?,
    };
    let clock = input::clock(zone);
    Ok(match ty {
        DataType::Date32 => Arc::new(values::<Date32Type>(texts, clock, lenient, input::date)?),
        DataType::Time64(_) => Arc::new(values::<Time64MicrosecondType>(
            texts,
            clock,
            lenient,
            input::time,
        )?),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let parse = if zone.is_some() {
                input::zoned_nanos
            } else {
                input::timestamp_nanos
            };
            let out: TimestampNanosecondArray = values(texts, clock, lenient, parse)?;
            Arc::new(out.with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(_, None) => Arc::new(values::<TimestampMicrosecondType>(
            texts,
            clock,
            lenient,
            input::timestamp,
        )?),
        DataType::Timestamp(..) => {
            let out: TimestampMicrosecondArray = values(texts, clock, lenient, input::zoned)?;
            let out: ArrayRef = Arc::new(out);
            cast_zone(&out, ty)?
        }
        other => return exec_err!("text is not read as {other}"),
    })
}

fn values<T: ArrowPrimitiveType>(
    texts: &StringViewArray,
    clock: Clock,
    lenient: bool,
    parse: fn(&str, Clock) -> Result<T::Native>,
) -> Result<PrimitiveArray<T>> {
    texts
        .iter()
        .map(|text| match text.map(|text| parse(text, clock)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) if lenient => Ok(None),
            Some(Err(error)) => Err(error),
        })
        .collect()
}

/// Reads texts as moments and spans, one at a time, for a session in one time zone.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    clock: Clock,
}

impl Moments {
    /// For a session whose zone is `zone`.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn new(zone: &str) -> Result<Self, EngineError> {
        let clock = input::clock(Zone::of_type(zone)?);
        Ok(Self { clock })
    }

    /// Days since 1970; a time behind the day is dropped.
    ///
    /// # Errors
    /// `text` is no date.
    pub fn date(&self, text: &str) -> Result<i32, EngineError> {
        Ok(input::date(text, self.clock)?)
    }

    /// Microseconds since midnight; a zone is dropped.
    ///
    /// # Errors
    /// `text` is no time.
    pub fn time(&self, text: &str) -> Result<i64, EngineError> {
        Ok(input::time(text, self.clock)?)
    }

    /// Microseconds since 1970 as clocks show them; a zone in the text means nothing.
    ///
    /// # Errors
    /// `text` is no timestamp.
    pub fn timestamp(&self, text: &str) -> Result<i64, EngineError> {
        Ok(input::timestamp(text, self.clock)?)
    }

    /// Microseconds since 1970, UTC; without a zone of its own the text is in the session's.
    ///
    /// # Errors
    /// `text` is no instant.
    pub fn timestamptz(&self, text: &str) -> Result<i64, EngineError> {
        Ok(input::zoned(text, self.clock)?)
    }

    /// An interval.
    ///
    /// # Errors
    /// `text` is none.
    pub fn interval(text: &str) -> Result<IntervalMonthDayNano, EngineError> {
        Ok(super::interval(text)?)
    }
}

/// The value of a literal.
pub(crate) fn literal(text: &str, ty: &DataType, zone: &str, lenient: bool) -> Result<ScalarValue> {
    let texts = StringViewArray::from_iter_values([text]);
    ScalarValue::try_from_array(&read(&texts, ty, zone, lenient)?, 0)
}

pub(super) fn functions() -> Vec<Function> {
    vec![Function::new("tarn_text", coerce, |_| Ok(TEXT), print).stable()]
}

fn coerce(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    match types {
        [ty] if prints(ty) => Some(vec![ty.clone()]),
        _ => None,
    }
}

fn print(call: &Call<'_>) -> Result<ArrayRef> {
    let given = call.arg(0)?;
    let ty = common(given.data_type());
    let array = if ty == *given.data_type() {
        Arc::clone(given)
    } else {
        cast_down(given, &ty, &CastOptions::default())?
    };
    Ok(match &ty {
        DataType::Date32 => texts::<Date32Type>(&array, printing::put_date),
        DataType::Time64(_) => texts::<Time64MicrosecondType>(&array, printing::put_time),
        DataType::Timestamp(_, None) => texts::<TimestampMicrosecondType>(&array, |out, micros| {
            printing::put_timestamp(out, micros, None, b' ');
        }),
        DataType::Timestamp(_, Some(zone)) => {
            let zone = Zone::of_type(zone)?;
            texts::<TimestampMicrosecondType>(&array, |out, micros| {
                let offset = i32::try_from(zone.offset_at(micros)).unwrap_or(0);
                printing::put_timestamp(out, micros, Some(offset), b' ');
            })
        }
        DataType::Interval(_) => texts::<IntervalMonthDayNanoType>(&array, |out, value| {
            printing::put_interval(out, value.into());
        }),
        DataType::Float32 => texts::<Float32Type>(&array, printing::put_f32),
        DataType::Float64 => texts::<Float64Type>(&array, printing::put_f64),
        other => return exec_err!("{other} is not printed here"),
    })
}

fn texts<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    put: impl Fn(&mut Vec<u8>, T::Native),
) -> ArrayRef {
    let values = array.as_primitive::<T>();
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut text = vec![];
    for value in values {
        match value {
            None => out.append_null(),
            Some(value) => {
                text.clear();
                put(&mut text, value);
                out.append_value(String::from_utf8_lossy(&text));
            }
        }
    }
    Arc::new(out.finish())
}

/// `micros` as a timestamp.
#[cfg(test)]
pub(super) fn timestamp_text(micros: i64) -> String {
    let mut out = vec![];
    printing::put_timestamp(&mut out, micros, None, b' ');
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_without_a_zone_is_in_that_of_the_session() {
        let berlin = Moments::new("Europe/Berlin").unwrap();
        let noon = berlin.timestamp("2024-07-01 12:00:00").unwrap();
        let hour = 3_600_000_000;
        for (text, ahead) in [
            ("2024-07-01 12:00:00", 2),
            ("2024-07-01T12:00:00Z", 0),
            ("2024-07-01 12:00:00+05", 5),
            ("2024-07-01 12:00:00 -0300", -3),
            ("2024-07-01 12:00:00 America/New_York", -4),
            ("2024-07-01 12:00 PM UTC", 0),
        ] {
            let got = berlin.timestamptz(text).unwrap();
            assert_eq!(got, noon - ahead * hour, "{text}");
        }
        assert!(berlin.timestamptz("2024-07-01 12:00 Mars/Olympus").is_err());
        // The hour that does not exist in spring.
        assert_eq!(
            berlin.timestamptz("2024-03-31 02:30").unwrap(),
            berlin.timestamp("2024-03-31 01:30").unwrap()
        );
    }

    #[test]
    fn days_know_the_calendar() {
        let utc = Moments::new("UTC").unwrap();
        let date = |text| utc.date(text).ok();
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("20240229"), Some(19_782));
        assert_eq!(date("0001-12-31 BC"), Some(-719_163));
        assert_eq!(date("2024-02-29 23:00:00+02"), Some(19_782));
        assert_eq!(date("2023-02-29"), None);
        assert_eq!(date("infinity"), None);
        let end = utc.time("24:00:00").unwrap_err();
        assert!(end.message.contains("the end of a day"), "{end}");
        assert!(utc.time("23:59:59.9999999").is_err());
        assert_eq!(utc.time("01:02:03.4567891+02").ok(), Some(3_723_456_789));
    }
}
