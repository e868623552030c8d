//! `extract` and `date_part`: one field of a date, time or interval.
//!
//! Source: PostgreSQL 15, "EXTRACT, `date_part`"; `extract` gives numeric, `date_part` double precision.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;

use super::civil::{DAY, HOUR, JULIAN_1970, MINUTE, Moment, SECOND, days_of};
use super::errors;
use super::function::{Call, DATE, Function, TEXT, TIMESTAMP, Types, type_name};
use super::zones::Zone;

/// Digits of a field without a fraction: those that an integer beside it makes of it.
const WHOLE_DIGITS: u8 = 20;
/// Digits of a field with a fraction.
const DIGITS: u8 = 26;
/// Seconds of a year and a month, as `extract(epoch)` counts those of an interval.
const YEAR_SECONDS: i64 = 31_557_600;
const MONTH_SECONDS: i64 = 30 * 86_400;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("extract", coerce, numeric, |call| {
            let values = values(call)?;
            let (DataType::Decimal128(precision, scale), scaled) = (call.result, values.scale)
            else {
                return plan_err!("extract makes a numeric");
            };
            let more = 10_i128.pow(u32::from((*scale - scaled).unsigned_abs()));
            let out: Decimal128Array = values
                .numbers
                .into_iter()
                .map(|value| value.map(|value| i128::from(value) * more))
                .collect();
            Ok(Arc::new(out.with_precision_and_scale(*precision, *scale)?))
        }),
        Function::new("date_part", coerce, |_| Ok(DataType::Float64), part).alias("datepart"),
    ]
}

fn coerce(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    let [_, of] = types else { return None };
    let of = match of {
        DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Time64(_)
        | DataType::Interval(_) => of.clone(),
        DataType::Utf8View | DataType::Null => TIMESTAMP,
        _ => return None,
    };
    Some(vec![TEXT, of])
}

fn numeric(types: &Types<'_>) -> Result<DataType> {
    let scale = types
        .text(0)
        .and_then(Unit::of)
        .map_or(6, |unit| unit.scale(types.args.get(1) == Some(&DATE)));
    Ok(DataType::Decimal128(
        if scale == 0 { WHOLE_DIGITS } else { DIGITS },
        scale,
    ))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "PostgreSQL computes date_part in double too"
)]
fn part(call: &Call<'_>) -> Result<ArrayRef> {
    let values = values(call)?;
    let by = 10_f64.powi(i32::from(values.scale));
    let out: Float64Array = values
        .numbers
        .into_iter()
        .map(|value| value.map(|value| value as f64 / by))
        .collect();
    Ok(Arc::new(out))
}

/// Numbers with `scale` digits after the point.
struct Values {
    numbers: Vec<Option<i64>>,
    scale: i8,
}

fn values(call: &Call<'_>) -> Result<Values> {
    let of = call.arg(1)?;
    let name = type_name(of.data_type());
    let is_date = *of.data_type() == DATE;
    let unit = |text: &str| Unit::of(text).ok_or_else(|| errors::unit(text, &name, false));
    if let Some(text) = call.text(0) {
        let unit = unit(text)?;
        let source = Source::of(call, of)?;
        let numbers = (0..call.rows)
            .map(|row| source.field(row, unit, text, &name))
            .collect::<Result<_>>()?;
        return Ok(Values {
            numbers,
            scale: unit.scale(is_date),
        });
    }
    // Another unit in each row: all have six digits.
    let texts = call.texts(0)?;
    let source = Source::of(call, of)?;
    let mut numbers = Vec::with_capacity(call.rows);
    for (row, text) in texts.iter().enumerate() {
        numbers.push(match text {
            None => None,
            Some(text) => {
                let unit = unit(text)?;
                let more = 10_i64.pow(u32::from((6 - unit.scale(is_date)).unsigned_abs()));
                source
                    .field(row, unit, text, &name)?
                    .map(|value| value * more)
            }
        });
    }
    Ok(Values { numbers, scale: 6 })
}

/// What fields are taken of.
enum Source<'a> {
    Date(&'a ArrayRef),
    Time(&'a ArrayRef),
    Timestamp(&'a ArrayRef, Option<Zone>),
    Interval(&'a ArrayRef),
}

impl<'a> Source<'a> {
    fn of(call: &Call<'_>, array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Date32 => Self::Date(array),
            DataType::Time64(_) => Self::Time(array),
            DataType::Timestamp(_, None) => Self::Timestamp(array, None),
            DataType::Timestamp(_, Some(_)) => Self::Timestamp(array, Some(call.zone_of(1)?)),
            DataType::Interval(_) => Self::Interval(array),
            other => return plan_err!("no field can be extracted from {}", type_name(other)),
        })
    }

    fn field(&self, row: usize, unit: Unit, text: &str, name: &str) -> Result<Option<i64>> {
        let no = || errors::unit(text, name, true);
        let array = match self {
            Self::Date(array)
            | Self::Time(array)
            | Self::Timestamp(array, _)
            | Self::Interval(array) => array,
        };
        if array.is_null(row) {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Date(array) => {
                let days = i64::from(array.as_primitive::<Date32Type>().value(row));
                if unit.is_clock() {
                    return Err(no());
                }
                if unit == Unit::Epoch {
                    return Ok(Some(days * (DAY / SECOND)));
                }
                of_moment(Moment::of(days * DAY), unit).ok_or_else(no)?
            }
            Self::Time(array) => {
                let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
                if unit == Unit::Epoch {
                    micros
                } else {
                    of_clock(micros, unit).ok_or_else(no)?
                }
            }
            Self::Timestamp(array, zone) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                match (unit, zone) {
                    (Unit::Epoch, _) => micros,
                    (Unit::Timezone, Some(zone)) => zone.offset_at(micros),
                    (Unit::TimezoneHour, Some(zone)) => zone.offset_at(micros) / 3600,
                    (Unit::TimezoneMinute, Some(zone)) => zone.offset_at(micros) / 60 % 60,
                    (_, Some(zone)) => {
                        let local = zone
                            .local(micros)
                            .ok_or_else(|| errors::range("timestamp"))?;
                        of_moment(Moment::of(local), unit).ok_or_else(no)?
                    }
                    (_, None) => of_moment(Moment::of(micros), unit).ok_or_else(no)?,
                }
            }
            Self::Interval(array) => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                of_interval(value, unit).ok_or_else(no)?
            }
        }))
    }
}

/// A field, by one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    IsoYear,
    Dow,
    IsoDow,
    Doy,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Unit {
    pub(super) fn of(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "microseconds" | "microsecond" | "us" | "usec" | "usecs" | "usecond" | "useconds" => {
                Self::Microseconds
            }
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => {
                Self::Milliseconds
            }
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "day" | "days" | "d" => Self::Day,
            "week" | "weeks" | "w" => Self::Week,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "century" | "centuries" | "c" | "cent" => Self::Century,
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            "isoyear" => Self::IsoYear,
            "dow" => Self::Dow,
            "isodow" => Self::IsoDow,
            "doy" => Self::Doy,
            "julian" | "jd" => Self::Julian,
            "epoch" => Self::Epoch,
            "timezone" => Self::Timezone,
            "timezone_hour" | "timezone_h" => Self::TimezoneHour,
            "timezone_minute" | "timezone_m" => Self::TimezoneMinute,
            _ => return None,
        })
    }

    /// Digits after the point.
    fn scale(self, of_date: bool) -> i8 {
        match self {
            Self::Epoch if of_date => 0,
            Self::Second | Self::Epoch => 6,
            Self::Milliseconds => 3,
            _ => 0,
        }
    }

    fn is_clock(self) -> bool {
        matches!(
            self,
            Self::Microseconds | Self::Milliseconds | Self::Second | Self::Minute | Self::Hour
        )
    }
}

/// A field of a time of day, in units of its scale.
fn of_clock(micros: i64, unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Microseconds | Unit::Milliseconds | Unit::Second => micros % MINUTE,
        Unit::Minute => micros / MINUTE % 60,
        Unit::Hour => micros / HOUR,
        _ => return None,
    })
}

fn of_moment(at: Moment, unit: Unit) -> Option<i64> {
    // There is no year 0: what the calendar counts as 0 is 1 BC, -1 here.
    let year = if at.year > 0 { at.year } else { at.year - 1 };
    let group = |years: i64| {
        if at.year > 0 {
            (at.year + years - 1) / years
        } else {
            -((years - at.year) / years)
        }
    };
    Some(match unit {
        Unit::Microseconds | Unit::Milliseconds | Unit::Second | Unit::Minute | Unit::Hour => {
            return of_clock(at.time, unit);
        }
        Unit::Day => at.day,
        Unit::Week => at.iso_week().1,
        Unit::Month => at.month,
        Unit::Quarter => (at.month - 1) / 3 + 1,
        Unit::Year => year,
        Unit::Decade => at.year.div_euclid(10),
        Unit::Century => group(100),
        Unit::Millennium => group(1000),
        Unit::IsoYear => match at.iso_week().0 {
            year if year > 0 => year,
            year => year - 1,
        },
        Unit::Dow => at.weekday(),
        Unit::IsoDow => (at.weekday() + 6) % 7 + 1,
        Unit::Doy => at.day_of_year(),
        Unit::Julian => at.days + JULIAN_1970,
        Unit::Epoch => at.days.checked_mul(DAY)? + at.time,
        Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute => return None,
    })
}

fn of_interval(value: IntervalMonthDayNano, unit: Unit) -> Option<i64> {
    let micros = value.nanoseconds / 1000;
    let (years, months) = (i64::from(value.months / 12), i64::from(value.months % 12));
    Some(match unit {
        Unit::Microseconds | Unit::Milliseconds | Unit::Second | Unit::Minute | Unit::Hour => {
            return of_clock(micros, unit);
        }
        Unit::Day => i64::from(value.days),
        Unit::Month => months,
        Unit::Quarter => months / 3 + 1,
        Unit::Year => years,
        Unit::Decade => years / 10,
        Unit::Century => years / 100,
        Unit::Millennium => years / 1000,
        Unit::Epoch => {
            (years * YEAR_SECONDS + months * MONTH_SECONDS + i64::from(value.days) * 86_400)
                .checked_mul(SECOND)?
                .checked_add(micros)?
        }
        _ => return None,
    })
}

/// The days or moments of which a year is the year, so that files can be skipped by it.
pub(super) fn preimage(
    args: &[Expr],
    literal: &Expr,
    info: &SimplifyContext,
) -> Result<PreimageResult> {
    let [unit, of] = args else {
        return Ok(PreimageResult::None);
    };
    let text = unit
        .as_literal()
        .and_then(|unit| unit.try_as_str().flatten());
    let year = match literal.as_literal() {
        Some(ScalarValue::Decimal128(Some(year), _, 0)) => i64::try_from(*year).ok(),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "checked to be a whole number of four digits"
        )]
        Some(ScalarValue::Float64(Some(year))) if year.fract() == 0.0 && year.abs() < 1e5 => {
            Some(*year as i64)
        }
        _ => None,
    };
    let (Some(Unit::Year), Some(year)) = (text.and_then(Unit::of), year) else {
        return Ok(PreimageResult::None);
    };
    if !(1..=9999).contains(&year) {
        return Ok(PreimageResult::None);
    }
    let (first, next) = (days_of(year, 1, 1), days_of(year + 1, 1, 1));
    let bound = |days: i64| match info.get_data_type(of) {
        Ok(ty) if ty == DATE => Some(ScalarValue::Date32(i32::try_from(days).ok())),
        Ok(ty) if ty == TIMESTAMP => {
            Some(ScalarValue::TimestampMicrosecond(Some(days * DAY), None))
        }
        _ => None,
    };
    let (Some(first), Some(next)) = (bound(first), bound(next)) else {
        return Ok(PreimageResult::None);
    };
    Ok(PreimageResult::Range {
        expr: of.clone(),
        interval: Box::new(Interval::try_new(first, next)?),
    })
}
