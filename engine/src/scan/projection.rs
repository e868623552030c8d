//! What a range of partition values says about the values of the source column.
//!
//! The inverse of a partition transform, always inclusive: every row whose partition value lies in the range has its
//! source value in the answer. Pure functions. Refuses to know files, manifests and predicates.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::NaiveDate;
use datafusion::common::ScalarValue;
use tarn_catalog::{Literal, Transform};

use super::value::scalar;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_HOUR: i64 = 3_600_000_000;
const NANOS_PER_MICRO: i64 = 1_000;
const MONTHS_PER_YEAR: i64 = 12;
const EPOCH_YEAR: i64 = 1970;

/// A closed range of values of a column. An open side is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Range {
    /// No value is below.
    pub(crate) lower: Option<ScalarValue>,
    /// No value is above.
    pub(crate) upper: Option<ScalarValue>,
}

/// The range of source values, of type `source`, whose partition value lies between `lower` and `upper`.
///
/// A side that cannot be said is open: that keeps files. Time transforms of the epoch and before reach one period
/// further back, because old writers rounded such values towards zero.
///
/// Source: Iceberg spec, "Partition Transforms"; Java's `ProjectionUtil.fixInclusiveTimeProjection`.
pub(crate) fn source_range(
    transform: Transform,
    lower: Option<&Literal>,
    upper: Option<&Literal>,
    source: &DataType,
) -> Range {
    let range = match transform {
        Transform::Identity => Range {
            lower: lower.and_then(|value| scalar(value, source)),
            upper: upper.and_then(|value| scalar(value, source)),
        },
        // Some writers wrap around at the smallest number: what is no multiple of the width says nothing.
        Transform::Truncate(width)
            if [lower, upper]
                .iter()
                .flatten()
                .any(|value| is_wrapped(value, width)) =>
        {
            Range::default()
        }
        Transform::Truncate(width) => Range {
            lower: lower.and_then(|value| scalar(value, source)),
            upper: upper.and_then(|value| truncate_end(value, width, source)),
        },
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => Range {
            lower: lower.and_then(ordinal).and_then(|period| {
                let period = if period <= 0 { period - 1 } else { period };
                start(transform, period, source)
            }),
            upper: upper
                .and_then(ordinal)
                .and_then(|period| end(transform, period, source)),
        },
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => Range::default(),
    };
    Range {
        lower: range.lower.and_then(lowest),
        upper: range.upper.and_then(highest),
    }
}

/// A lower bound with the zero that sorts first; NaN bounds nothing.
pub(crate) fn lowest(value: ScalarValue) -> Option<ScalarValue> {
    match value {
        ScalarValue::Float32(Some(v)) => {
            (!v.is_nan()).then(|| ScalarValue::from(if v == 0.0 { -0.0 } else { v }))
        }
        ScalarValue::Float64(Some(v)) => {
            (!v.is_nan()).then(|| ScalarValue::from(if v == 0.0 { -0.0 } else { v }))
        }
        value => Some(value),
    }
}

/// An upper bound with the zero that sorts last; NaN bounds nothing.
pub(crate) fn highest(value: ScalarValue) -> Option<ScalarValue> {
    match value {
        ScalarValue::Float32(Some(v)) => {
            (!v.is_nan()).then(|| ScalarValue::from(if v == 0.0 { 0.0 } else { v }))
        }
        ScalarValue::Float64(Some(v)) => {
            (!v.is_nan()).then(|| ScalarValue::from(if v == 0.0 { 0.0 } else { v }))
        }
        value => Some(value),
    }
}

/// Whether a whole number is not what truncating to `width` gives.
fn is_wrapped(value: &Literal, width: u32) -> bool {
    match value {
        Literal::Int(v) => i64::from(*v).rem_euclid(i64::from(width.max(1))) != 0,
        Literal::Long(v) => v.rem_euclid(i64::from(width.max(1))) != 0,
        _ => false,
    }
}

fn ordinal(value: &Literal) -> Option<i64> {
    match value {
        Literal::Int(v) | Literal::Date(v) => Some(i64::from(*v)),
        Literal::Long(v) => Some(*v),
        _ => None,
    }
}

fn start(transform: Transform, period: i64, source: &DataType) -> Option<ScalarValue> {
    match source {
        DataType::Date32 => Some(ScalarValue::Date32(Some(
            i32::try_from(first_day(transform, period)?).ok()?,
        ))),
        DataType::Timestamp(unit, zone) => {
            let micros = match transform {
                Transform::Hour => period.checked_mul(MICROS_PER_HOUR)?,
                _ => first_day(transform, period)?.checked_mul(MICROS_PER_DAY)?,
            };
            at(micros, *unit, zone.clone())
        }
        _ => None,
    }
}

fn end(transform: Transform, period: i64, source: &DataType) -> Option<ScalarValue> {
    match start(transform, period.checked_add(1)?, source)? {
        ScalarValue::Date32(Some(days)) => Some(ScalarValue::Date32(Some(days.checked_sub(1)?))),
        ScalarValue::TimestampMicrosecond(Some(v), zone) => Some(
            ScalarValue::TimestampMicrosecond(Some(v.checked_sub(1)?), zone),
        ),
        ScalarValue::TimestampNanosecond(Some(v), zone) => Some(ScalarValue::TimestampNanosecond(
            Some(v.checked_sub(1)?),
            zone,
        )),
        _ => None,
    }
}

fn at(micros: i64, unit: TimeUnit, zone: Option<std::sync::Arc<str>>) -> Option<ScalarValue> {
    match unit {
        TimeUnit::Microsecond => Some(ScalarValue::TimestampMicrosecond(Some(micros), zone)),
        TimeUnit::Nanosecond => Some(ScalarValue::TimestampNanosecond(
            Some(micros.checked_mul(NANOS_PER_MICRO)?),
            zone,
        )),
        TimeUnit::Second | TimeUnit::Millisecond => None,
    }
}

/// First day of a period, in days since 1970-01-01.
fn first_day(transform: Transform, period: i64) -> Option<i64> {
    let (year, month) = match transform {
        Transform::Day => return Some(period),
        Transform::Year => (EPOCH_YEAR.checked_add(period)?, 1),
        Transform::Month => (
            EPOCH_YEAR.checked_add(period.div_euclid(MONTHS_PER_YEAR))?,
            period.rem_euclid(MONTHS_PER_YEAR) + 1,
        ),
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, 1)?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days())
}

fn truncate_end(value: &Literal, width: u32, source: &DataType) -> Option<ScalarValue> {
    let last = width.checked_sub(1)?;
    match value {
        Literal::Int(v) => scalar(
            &Literal::Int(v.saturating_add(i32::try_from(last).ok()?)),
            source,
        ),
        Literal::Long(v) => scalar(&Literal::Long(v.saturating_add(i64::from(last))), source),
        Literal::Decimal {
            unscaled,
            precision,
            scale,
        } => scalar(
            &Literal::Decimal {
                unscaled: unscaled.checked_add(i128::from(last))?,
                precision: *precision,
                scale: *scale,
            },
            source,
        ),
        Literal::String(v) if v.chars().count() < width as usize => scalar(value, source),
        Literal::String(v) => scalar(&Literal::String(text_above(v)?), source),
        Literal::Binary(v) if v.len() < width as usize => scalar(value, source),
        Literal::Binary(v) => scalar(&Literal::Binary(bytes_above(v)?), source),
        _ => None,
    }
}

/// A text above every text that starts with `prefix`. `None` if there is none.
pub(crate) fn text_above(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Bytes above all that start with `prefix`. `None` if there are none.
pub(crate) fn bytes_above(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut above = prefix[..=keep].to_vec();
    above[keep] += 1;
    Some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

    fn check_range(
        transform: Transform,
        value: &Literal,
        source: &DataType,
        lower: ScalarValue,
        upper: ScalarValue,
    ) {
        let range = source_range(transform, Some(value), Some(value), source);
        assert_eq!(
            range,
            Range {
                lower: Some(lower),
                upper: Some(upper)
            }
        );
    }

    #[test]
    fn a_day_is_all_its_microseconds() {
        let day = ScalarValue::TimestampMicrosecond(Some(10 * MICROS_PER_DAY), None);
        let last = ScalarValue::TimestampMicrosecond(Some(11 * MICROS_PER_DAY - 1), None);
        check_range(Transform::Day, &Literal::Date(10), &MICROS, day, last);
    }

    #[test]
    fn a_month_of_dates_ends_with_its_last_day() {
        // February 2000 is month 361 after 1970-01: days 10988 to 11016.
        let (first, last) = (
            ScalarValue::Date32(Some(10_988)),
            ScalarValue::Date32(Some(11_016)),
        );
        check_range(
            Transform::Month,
            &Literal::Int(361),
            &DataType::Date32,
            first,
            last,
        );
    }

    #[test]
    fn periods_up_to_the_epoch_reach_one_period_back() {
        let range = source_range(
            Transform::Day,
            Some(&Literal::Date(0)),
            Some(&Literal::Date(0)),
            &DataType::Date32,
        );
        assert_eq!(range.lower, Some(ScalarValue::Date32(Some(-1))));
        assert_eq!(range.upper, Some(ScalarValue::Date32(Some(0))));
    }

    #[test]
    fn a_full_prefix_is_open_above_and_a_short_one_is_the_value() {
        let text = |s: &str| ScalarValue::Utf8View(Some(s.to_owned()));
        let value = Literal::String("abc".to_owned());
        check_range(
            Transform::Truncate(3),
            &value,
            &DataType::Utf8View,
            text("abc"),
            text("abd"),
        );
        check_range(
            Transform::Truncate(9),
            &value,
            &DataType::Utf8View,
            text("abc"),
            text("abc"),
        );
    }

    #[test]
    fn nothing_is_above_the_last_character() {
        assert_eq!(text_above("\u{10FFFF}"), None);
        assert_eq!(text_above("a\u{10FFFF}"), Some("b".to_owned()));
        assert_eq!(text_above("\u{D7FF}"), Some("\u{E000}".to_owned()));
        assert_eq!(bytes_above(&[255, 255]), None);
        assert_eq!(bytes_above(&[1, 255]), Some(vec![2]));
    }

    #[test]
    fn buckets_and_nan_bound_nothing() {
        let bucket = Literal::Int(3);
        assert_eq!(
            source_range(
                Transform::Bucket(8),
                Some(&bucket),
                Some(&bucket),
                &DataType::Int64
            ),
            Range::default()
        );
        let nan = Literal::Double(f64::NAN);
        assert_eq!(
            source_range(
                Transform::Identity,
                Some(&nan),
                Some(&nan),
                &DataType::Float64
            ),
            Range::default()
        );
    }
}
