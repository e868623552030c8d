//! Making, measuring and straightening dates, times and intervals: `age`, `make_…`, `justify_…`, `OVERLAPS`.
//!
//! Source: PostgreSQL 15, "Date/Time Functions and Operators".

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, IntervalMonthDayNanoArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::arithmetic::{coerce_difference, two_moments};
use super::civil::{DAY, HOUR, MINUTE, Moment, days_of, days_of_month};
use super::errors;
use super::function::{Call, DATE, Function, INTERVAL, TEXT, TIME, TIMESTAMP, Types, zoned_type};
use super::trunc::cast_zone;
use super::zones::Zone;

/// Days that `justify_days` makes a month of.
const MONTH_DAYS: i64 = 30;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("age", coerce_age, age_type, age).stable(),
        Function::new(
            "make_date",
            |types, _| numbers(types, 3, false),
            |_| Ok(DATE),
            make_date,
        ),
        Function::new(
            "make_time",
            |types, _| numbers(types, 3, true),
            |_| Ok(TIME),
            make_time,
        ),
        Function::new(
            "make_timestamp",
            |types, _| numbers(types, 6, true),
            |_| Ok(TIMESTAMP),
            make_timestamp,
        ),
        Function::new(
            "make_timestamptz",
            coerce_timestamptz,
            zoned_result,
            make_timestamp,
        )
        .stable(),
        Function::new(
            "make_interval",
            coerce_interval,
            |_| Ok(INTERVAL),
            make_interval,
        ),
        Function::new(
            "justify_days",
            one_interval,
            |_| Ok(INTERVAL),
            |call| justified(call, justify_days),
        ),
        Function::new(
            "justify_hours",
            one_interval,
            |_| Ok(INTERVAL),
            |call| justified(call, justify_hours),
        ),
        Function::new(
            "justify_interval",
            one_interval,
            |_| Ok(INTERVAL),
            |call| justified(call, justify_interval),
        ),
        Function::new(
            "isfinite",
            coerce_finite,
            |_| Ok(DataType::Boolean),
            |call| {
                let of = call.arg(0)?;
                // Arrow's types hold no infinity.
                let all = BooleanArray::from(vec![true; call.rows]);
                Ok(Arc::new(BooleanArray::new(
                    all.values().clone(),
                    of.logical_nulls(),
                )))
            },
        ),
        Function::new(
            "overlaps",
            coerce_overlaps,
            |_| Ok(DataType::Boolean),
            overlaps,
        )
        .nullable(),
    ]
}

fn one_interval(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    match types {
        [DataType::Interval(_) | DataType::Utf8View | DataType::Null] => Some(vec![INTERVAL]),
        _ => None,
    }
}

fn coerce_finite(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    match types {
        [DataType::Utf8View] => Some(vec![TIMESTAMP]),
        [ty @ (DataType::Date32 | DataType::Timestamp(..) | DataType::Interval(_))] => {
            Some(vec![ty.clone()])
        }
        _ => None,
    }
}

fn zoned_result(types: &Types<'_>) -> Result<DataType> {
    Ok(zoned_type(types.zone))
}

/// `age` of a transaction number is what `pg_catalog` answers: those of this server are as old as can be.
fn coerce_age(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    match types {
        [of] if of.is_integer() => Some(vec![of.clone()]),
        [DataType::Timestamp(_, Some(_))] => Some(vec![zoned_type(zone)]),
        [DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8View | DataType::Null] => {
            Some(vec![TIMESTAMP])
        }
        [_, _] => coerce_difference(types, zone),
        _ => None,
    }
}

fn age_type(types: &Types<'_>) -> Result<DataType> {
    Ok(match types.args {
        [of] if of.is_integer() => DataType::Int32,
        _ => INTERVAL,
    })
}

fn age(call: &Call<'_>) -> Result<ArrayRef> {
    let of = call.arg(0)?;
    if of.data_type().is_integer() {
        let oldest = Int32Array::from(vec![i32::MAX; call.rows]);
        return Ok(Arc::new(Int32Array::new(
            oldest.values().clone(),
            of.logical_nulls(),
        )));
    }
    let zone = match of.data_type() {
        DataType::Timestamp(_, Some(zone)) => Some(Zone::of_type(zone)?),
        _ => None,
    };
    let local = |array: &ArrayRef| -> Result<ArrayRef> {
        let values = array.as_primitive::<TimestampMicrosecondType>();
        let out: TimestampMicrosecondArray = values
            .iter()
            .map(|value| match zone {
                Some(zone) => value.and_then(|value| zone.local(value)),
                None => value,
            })
            .collect();
        Ok(Arc::new(out))
    };
    let first = local(of)?;
    let (ends, starts) = if call.args.len() == 2 {
        (first, local(call.arg(1)?)?)
    } else {
        let session = zone.map_or_else(|| Zone::of_type(call.zone), Ok)?;
        let now = chrono::Utc::now().timestamp_micros();
        let today = session.local(now).unwrap_or(now).div_euclid(DAY) * DAY;
        let ends = TimestampMicrosecondArray::from(vec![today; call.rows]);
        (Arc::new(ends) as ArrayRef, first)
    };
    two_moments(&call.with(vec![ends, starts]), between)
}

/// Years, months and days from `start` to `end`, by the calendar. Source: PostgreSQL, `timestamp_age`.
fn between(end: i64, start: i64) -> Option<IntervalMonthDayNano> {
    let (end_at, start_at) = (Moment::of(end), Moment::of(start));
    let sign = if end < start { -1 } else { 1 };
    let mut months = sign * ((end_at.year - start_at.year) * 12 + end_at.month - start_at.month);
    let mut days = sign * (end_at.day - start_at.day);
    let mut time = sign * (end_at.time - start_at.time);
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    while days < 0 {
        // The month that is not full is the earlier moment's.
        let earlier = if sign < 0 { end_at } else { start_at };
        days += days_of_month(earlier.year, earlier.month);
        months -= 1;
    }
    let sign = i32::try_from(sign).ok()?;
    Some(IntervalMonthDayNano::new(
        sign * i32::try_from(months).ok()?,
        sign * i32::try_from(days).ok()?,
        i64::from(sign) * time * 1000,
    ))
}

/// Whole numbers, the last perhaps with a fraction.
fn numbers(types: &[DataType], count: usize, fraction: bool) -> Option<Vec<DataType>> {
    let fits = types.len() == count
        && types
            .iter()
            .all(|ty| ty.is_numeric() || matches!(ty, DataType::Null | DataType::Utf8View));
    let mut out = vec![DataType::Int64; count];
    if fraction && let Some(last) = out.last_mut() {
        *last = DataType::Float64;
    }
    fits.then_some(out)
}

fn coerce_timestamptz(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    match types {
        [first @ .., DataType::Utf8View] if types.len() == 7 => {
            let mut out = numbers(first, 6, true)?;
            out.push(TEXT);
            Some(out)
        }
        _ => numbers(types, 6, true),
    }
}

fn coerce_interval(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    if types.len() > 7 {
        return None;
    }
    numbers(types, types.len(), types.len() == 7)
}

fn whole(call: &Call<'_>, at: usize, row: usize) -> Result<i64> {
    Ok(call.arg(at)?.as_primitive::<Int64Type>().value(row))
}

fn double(call: &Call<'_>, at: usize, row: usize) -> Result<f64> {
    Ok(call.arg(at)?.as_primitive::<Float64Type>().value(row))
}

/// One value a row, NULL where an argument is.
fn each<T>(call: &Call<'_>, make: impl Fn(usize) -> Result<T>) -> Result<Vec<Option<T>>> {
    (0..call.rows)
        .map(|row| {
            if call.is_null(row) {
                Ok(None)
            } else {
                make(row).map(Some)
            }
        })
        .collect()
}

fn day(call: &Call<'_>, row: usize) -> Result<i64> {
    let (year, month, day) = (
        whole(call, 0, row)?,
        whole(call, 1, row)?,
        whole(call, 2, row)?,
    );
    let shown = || errors::field(&format!("{year}-{month:02}-{day:02}"));
    // A negative year is before Christ.
    let calendar = if year < 0 { year + 1 } else { year };
    let fits = year != 0
        && year.abs() < 300_000
        && (1..=12).contains(&month)
        && (1..=days_of_month(calendar, month)).contains(&day);
    if !fits {
        return Err(shown());
    }
    Ok(days_of(calendar, month, day))
}

fn clock(call: &Call<'_>, from: usize, row: usize) -> Result<i64> {
    let (hour, minute) = (whole(call, from, row)?, whole(call, from + 1, row)?);
    let second = double(call, from + 2, row)?;
    let fits = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=60.0).contains(&second)
        && (hour < 24 || (minute == 0 && second == 0.0));
    if !fits {
        return Err(errors::field(&format!("{hour:02}:{minute:02}:{second}")));
    }
    #[allow(clippy::cast_possible_truncation, reason = "sixty seconds at most")]
    let micros = (second * 1e6).round() as i64;
    Ok(hour * HOUR + minute * MINUTE + micros)
}

fn make_date(call: &Call<'_>) -> Result<ArrayRef> {
    let days = each(call, |row| {
        i32::try_from(day(call, row)?).map_err(|_| errors::range("date"))
    })?;
    Ok(Arc::new(Date32Array::from(days)))
}

fn make_time(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(Arc::new(Time64MicrosecondArray::from(each(call, |row| {
        let micros = clock(call, 0, row)?;
        if micros >= DAY {
            return Err(errors::midnight("24:00:00"));
        }
        Ok(micros)
    })?)))
}

fn make_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let zoned = matches!(call.result, DataType::Timestamp(_, Some(_)));
    let names = if call.args.len() == 7 {
        Some(call.texts(6)?)
    } else {
        None
    };
    let session = Zone::of_type(call.zone)?;
    let out = each(call, |row| {
        let local = day(call, row)? * DAY + clock(call, 3, row)?;
        let zone = match &names {
            Some(names) => Zone::of_sql(names.value(row))?,
            None => session,
        };
        if zoned {
            zone.utc(local).ok_or_else(|| errors::range("timestamp"))
        } else {
            Ok(local)
        }
    })?;
    let out: ArrayRef = Arc::new(TimestampMicrosecondArray::from(out));
    cast_zone(&out, call.result)
}

/// Years, months, weeks, days, hours, minutes, seconds; what is not given is 0.
fn make_interval(call: &Call<'_>) -> Result<ArrayRef> {
    let count = call.args.len();
    let out = each(call, |row| {
        let part = |at: usize| {
            if at < count.min(6) {
                whole(call, at, row)
            } else {
                Ok(0)
            }
        };
        let seconds = if count == 7 {
            double(call, 6, row)?
        } else {
            0.0
        };
        let range = || errors::range("interval");
        let sum = |a: i64, times: i64, b: i64| {
            a.checked_mul(times)
                .and_then(|a| a.checked_add(b))
                .ok_or_else(range)
        };
        let months = sum(part(0)?, 12, part(1)?)?;
        let days = sum(part(2)?, 7, part(3)?)?;
        if seconds.is_nan() || seconds.abs() >= 9e12 {
            return Err(range());
        }
        #[allow(clippy::cast_possible_truncation, reason = "the bound was checked")]
        let micros = (seconds * 1e6).round() as i64;
        let nanos = sum(part(4)?, HOUR, 0)?
            .checked_add(sum(part(5)?, MINUTE, micros)?)
            .and_then(|micros| micros.checked_mul(1000))
            .ok_or_else(range)?;
        Ok(IntervalMonthDayNano::new(
            i32::try_from(months).map_err(|_| range())?,
            i32::try_from(days).map_err(|_| range())?,
            nanos,
        ))
    })?;
    let out: Vec<Option<IntervalMonthDayNano>> = if count == 0 {
        vec![Some(IntervalMonthDayNano::new(0, 0, 0)); call.rows]
    } else {
        out
    };
    Ok(Arc::new(IntervalMonthDayNanoArray::from(out)))
}

fn justified(call: &Call<'_>, justify: fn(i64, i64, i64) -> (i64, i64, i64)) -> Result<ArrayRef> {
    let values = call.arg(0)?.as_primitive::<IntervalMonthDayNanoType>();
    let out = values
        .iter()
        .map(|value| {
            let Some(value) = value else { return Ok(None) };
            let (months, days, micros) = justify(
                value.months.into(),
                value.days.into(),
                value.nanoseconds / 1000,
            );
            match (i32::try_from(months), i32::try_from(days)) {
                (Ok(months), Ok(days)) => {
                    Ok(Some(IntervalMonthDayNano::new(months, days, micros * 1000)))
                }
                _ => Err(errors::range("interval")),
            }
        })
        .collect::<Result<IntervalMonthDayNanoArray>>()?;
    Ok(Arc::new(out))
}

/// Makes `small` and `large` of one sign; `large` is worth `by` of `small`.
fn one_sign(large: &mut i64, small: &mut i64, by: i64) {
    if *large > 0 && *small < 0 {
        *small += by;
        *large -= 1;
    } else if *large < 0 && *small > 0 {
        *small -= by;
        *large += 1;
    }
}

fn justify_days(mut months: i64, mut days: i64, micros: i64) -> (i64, i64, i64) {
    months += days / MONTH_DAYS;
    days %= MONTH_DAYS;
    one_sign(&mut months, &mut days, MONTH_DAYS);
    (months, days, micros)
}

fn justify_hours(months: i64, mut days: i64, mut micros: i64) -> (i64, i64, i64) {
    days += micros / DAY;
    micros %= DAY;
    one_sign(&mut days, &mut micros, DAY);
    (months, days, micros)
}

fn justify_interval(mut months: i64, mut days: i64, mut micros: i64) -> (i64, i64, i64) {
    days += micros / DAY;
    micros %= DAY;
    months += days / MONTH_DAYS;
    days %= MONTH_DAYS;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        days += MONTH_DAYS;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        days -= MONTH_DAYS;
        months += 1;
    }
    one_sign(&mut days, &mut micros, DAY);
    (months, days, micros)
}

/// Two spans of time, each by start and end; dates are midnights.
fn coerce_overlaps(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    let [a, b, c, d] = types else { return None };
    if types.iter().any(|ty| matches!(ty, DataType::Interval(_))) {
        return None;
    }
    if [a, b, c, d].iter().all(|ty| **ty == TIME) {
        return Some(vec![TIME; 4]);
    }
    let first = coerce_difference(&[a.clone(), b.clone()], zone)?;
    let second = coerce_difference(&[c.clone(), d.clone()], zone)?;
    let both = coerce_difference(&[first[0].clone(), second[0].clone()], zone)?;
    Some(vec![both[0].clone(); 4])
}

fn overlaps(call: &Call<'_>) -> Result<ArrayRef> {
    let columns = call
        .args
        .iter()
        .map(|array| cast(array, &DataType::Int64))
        .collect::<Result<Vec<_>, _>>()?;
    let [a, b, c, d] = &columns[..] else {
        return exec_err!("OVERLAPS takes two pairs");
    };
    let at = |array: &ArrayRef, row: usize| {
        let values = array.as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let out: BooleanArray = (0..call.rows)
        .map(|row| overlap(at(a, row), at(b, row), at(c, row), at(d, row)))
        .collect();
    Ok(Arc::new(out))
}

/// Source: PostgreSQL 15, `overlaps_timestamp`; a missing end leaves open what the other span does not tell.
fn overlap(a: Option<i64>, b: Option<i64>, c: Option<i64>, d: Option<i64>) -> Option<bool> {
    let span = |from: Option<i64>, to: Option<i64>| match (from, to) {
        (Some(from), Some(to)) => Some((from.min(to), Some(from.max(to)))),
        (Some(one), None) | (None, Some(one)) => Some((one, None)),
        (None, None) => None,
    };
    let (first, second) = (span(a, b)?, span(c, d)?);
    let (earlier, later) = if first.0 > second.0 {
        (second, first)
    } else {
        (first, second)
    };
    if earlier.0 == later.0 {
        return match (earlier.1, later.1) {
            (Some(_), Some(_)) => Some(true),
            _ => None,
        };
    }
    match earlier.1 {
        None => None,
        Some(end) if later.0 < end => Some(true),
        Some(_) => later.1.map(|_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_age(end: (i64, i64, i64), start: (i64, i64, i64), wanted: (i32, i32)) {
        let at = |(y, m, d)| days_of(y, m, d) * DAY;
        let age = between(at(end), at(start)).unwrap();
        assert_eq!((age.months, age.days), wanted);
    }

    #[test]
    fn an_age_is_counted_by_the_calendar() {
        check_age((2001, 4, 10), (1957, 6, 13), (43 * 12 + 9, 27));
        check_age((2024, 3, 1), (2024, 1, 31), (1, 1));
        check_age((2024, 1, 31), (2024, 3, 1), (-1, -1));
    }

    #[test]
    fn intervals_are_straightened() {
        assert_eq!(justify_interval(1, 0, -HOUR), (0, 29, 23 * HOUR));
        assert_eq!(justify_days(0, 35, 0), (1, 5, 0));
        assert_eq!(justify_hours(0, 0, 27 * HOUR), (0, 1, 3 * HOUR));
    }

    #[test]
    fn spans_overlap_if_they_share_a_moment() {
        let check = |a, b, c, d, wanted| {
            assert_eq!(overlap(Some(a), Some(b), Some(c), Some(d)), wanted);
        };
        check(1, 5, 4, 8, Some(true));
        check(1, 5, 5, 8, Some(false));
        check(5, 1, 2, 3, Some(true));
        check(1, 1, 1, 1, Some(true));
        assert_eq!(overlap(Some(1), None, Some(2), Some(3)), None);
    }
}
