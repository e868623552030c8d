//! `date_trunc` and `date_bin`.
//!
//! Source: PostgreSQL 15, `timestamp_trunc`, `timestamptz_trunc`, `interval_trunc`, `timestamp_bin`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::civil::{DAY, HOUR, MINUTE, Moment, SECOND, days_of};
use super::errors;
use super::fields::Unit;
use super::function::{Call, Function, INTERVAL, TEXT, TIMESTAMP, Types, type_name, zoned_type};
use super::zones::Zone;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("date_trunc", coerce_trunc, second, trunc)
            .stable()
            .alias("datetrunc"),
        Function::new("date_bin", coerce_bin, second, bin),
    ]
}

fn coerce_trunc(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    match types {
        [_, of] => Some(vec![TEXT, of_type(of, zone)?]),
        [_, of, _] => match of_type(of, zone)? {
            DataType::Interval(_) => None,
            DataType::Timestamp(_, None) => Some(vec![TEXT, zoned_type(zone), TEXT]),
            zoned => Some(vec![TEXT, zoned, TEXT]),
        },
        _ => None,
    }
}

/// A date is midnight in the session's zone, as in PostgreSQL.
fn of_type(ty: &DataType, zone: &str) -> Option<DataType> {
    match ty {
        DataType::Timestamp(..) | DataType::Interval(_) => Some(ty.clone()),
        DataType::Date32 | DataType::Utf8View | DataType::Null => Some(zoned_type(zone)),
        _ => None,
    }
}

fn coerce_bin(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    let side = |ty: &DataType| match of_type(ty, zone)? {
        DataType::Interval(_) => None,
        ty => Some(ty),
    };
    match types {
        [_, of] => Some(vec![INTERVAL, side(of)?]),
        [_, of, origin] => {
            let (of, origin) = (side(of)?, side(origin)?);
            let both = if of == TIMESTAMP && origin == TIMESTAMP {
                TIMESTAMP
            } else if matches!(types[1], DataType::Timestamp(..)) {
                of
            } else {
                origin
            };
            Some(vec![INTERVAL, both.clone(), both])
        }
        _ => None,
    }
}

fn second(types: &Types<'_>) -> Result<DataType> {
    if let Some(ty) = types.args.get(1) {
        Ok(ty.clone())
    } else {
        exec_err!("an argument is missing")
    }
}

fn trunc(call: &Call<'_>) -> Result<ArrayRef> {
    let of = call.arg(1)?;
    let name = type_name(of.data_type());
    let unit_of = |text: &str| {
        let unit = Unit::of(text).ok_or_else(|| errors::unit(text, &name, false))?;
        if matches!(
            unit,
            Unit::Dow
                | Unit::IsoDow
                | Unit::Doy
                | Unit::Julian
                | Unit::Epoch
                | Unit::Timezone
                | Unit::TimezoneHour
                | Unit::TimezoneMinute
                | Unit::IsoYear
        ) && !(unit == Unit::IsoYear && *of.data_type() != INTERVAL)
        {
            return Err(errors::unit(text, &name, true));
        }
        Ok(unit)
    };
    let same = call.text(0).map(unit_of).transpose()?;
    let texts = call.texts(0)?;
    let unit_at = |row: usize| match same {
        Some(unit) => Ok(unit),
        None => unit_of(texts.value(row)),
    };
    if *of.data_type() == INTERVAL {
        let values = of.as_primitive::<IntervalMonthDayNanoType>();
        let mut out = Vec::with_capacity(call.rows);
        for row in 0..call.rows {
            out.push(if call.is_null(row) {
                None
            } else {
                let unit = unit_at(row)?;
                let cut = trunc_interval(values.value(row), unit);
                Some(cut.ok_or_else(|| errors::unit(texts.value(row), &name, true))?)
            });
        }
        return Ok(Arc::new(IntervalMonthDayNanoArray::from(out)));
    }
    let zoned = matches!(of.data_type(), DataType::Timestamp(_, Some(_)));
    let session = if zoned { Some(call.zone_of(1)?) } else { None };
    let places = if call.args.len() > 2 {
        Some(call.texts(2)?)
    } else {
        None
    };
    let same_zone = call.text(2).map(Zone::of_sql).transpose()?;
    let values = of.as_primitive::<TimestampMicrosecondType>();
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.is_null(row) {
            out.push(None);
            continue;
        }
        let zone = match (&places, same_zone) {
            (Some(_), Some(zone)) => Some(zone),
            (Some(names), None) => Some(Zone::of_sql(names.value(row))?),
            (None, _) => session,
        };
        let range = || errors::range("timestamp");
        let value = values.value(row);
        let unit = unit_at(row)?;
        out.push(Some(match zone {
            None => trunc_local(value, unit),
            // Below a day, what is cut off is less than what clocks are ever changed by.
            Some(zone) if is_clock(unit) => {
                let offset = zone.offset_at(value) * SECOND;
                trunc_local(value + offset, unit) - offset
            }
            Some(zone) => zone
                .local(value)
                .and_then(|local| zone.utc(trunc_local(local, unit)))
                .ok_or_else(range)?,
        }));
    }
    let out: ArrayRef = Arc::new(TimestampMicrosecondArray::from(out));
    cast_zone(&out, call.result)
}

/// The same microseconds with the zone of `ty`.
pub(super) fn cast_zone(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    let plain = array.as_primitive::<TimestampMicrosecondType>().clone();
    Ok(match ty {
        DataType::Timestamp(_, Some(zone)) => Arc::new(plain.with_timezone(Arc::clone(zone))),
        DataType::Timestamp(_, None) => Arc::new(plain),
        other => cast(array, other)?,
    })
}

fn is_clock(unit: Unit) -> bool {
    matches!(
        unit,
        Unit::Microseconds | Unit::Milliseconds | Unit::Second | Unit::Minute | Unit::Hour
    )
}

fn trunc_local(micros: i64, unit: Unit) -> i64 {
    let down = |by: i64| micros - micros.rem_euclid(by);
    let at = || Moment::of(micros);
    let year = |year: i64| days_of(year, 1, 1) * DAY;
    match unit {
        Unit::Microseconds => micros,
        Unit::Milliseconds => down(1000),
        Unit::Second => down(SECOND),
        Unit::Minute => down(MINUTE),
        Unit::Hour => down(HOUR),
        Unit::Day => down(DAY),
        Unit::Week => {
            let at = at();
            (at.days - (at.weekday() + 6) % 7) * DAY
        }
        Unit::Month => {
            let at = at();
            (at.days - at.day + 1) * DAY
        }
        Unit::Quarter => {
            let at = at();
            days_of(at.year, (at.month - 1) / 3 * 3 + 1, 1) * DAY
        }
        Unit::Decade => year(at().year.div_euclid(10) * 10),
        Unit::Century => year((at().year - 1).div_euclid(100) * 100 + 1),
        Unit::Millennium => year((at().year - 1).div_euclid(1000) * 1000 + 1),
        Unit::IsoYear => {
            let (iso, _) = at().iso_week();
            // The fourth of January is in the first week.
            let fourth = Moment::of(days_of(iso, 1, 4) * DAY);
            (fourth.days - (fourth.weekday() + 6) % 7) * DAY
        }
        _ => year(at().year),
    }
}

fn trunc_interval(value: IntervalMonthDayNano, unit: Unit) -> Option<IntervalMonthDayNano> {
    let months = |by: i32| Some(IntervalMonthDayNano::new(value.months / by * by, 0, 0));
    let time = |by: i64| {
        let nanos = value.nanoseconds - value.nanoseconds % (by * 1000);
        Some(IntervalMonthDayNano::new(value.months, value.days, nanos))
    };
    match unit {
        Unit::Microseconds => time(1),
        Unit::Milliseconds => time(1000),
        Unit::Second => time(SECOND),
        Unit::Minute => time(MINUTE),
        Unit::Hour => time(HOUR),
        Unit::Day => Some(IntervalMonthDayNano::new(value.months, value.days, 0)),
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
        Unit::Decade => months(120),
        Unit::Century => months(1200),
        Unit::Millennium => months(12_000),
        _ => None,
    }
}

fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    let strides = call.arg(0)?.as_primitive::<IntervalMonthDayNanoType>();
    let values = call.arg(1)?.as_primitive::<TimestampMicrosecondType>();
    let origins = call
        .args
        .get(2)
        .map(AsArray::as_primitive::<TimestampMicrosecondType>);
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.is_null(row) {
            out.push(None);
            continue;
        }
        let stride = strides.value(row);
        if stride.months != 0 {
            return Err(errors::argument(
                "timestamps cannot be binned into intervals containing months or years",
            ));
        }
        let size = i64::from(stride.days)
            .checked_mul(DAY)
            .and_then(|days| days.checked_add(stride.nanoseconds / 1000))
            .filter(|size| *size > 0)
            .ok_or_else(|| errors::argument("stride must be greater than zero"))?;
        let origin = origins.map_or(0, |origins| origins.value(row));
        let past = values
            .value(row)
            .checked_sub(origin)
            .ok_or_else(|| errors::range("interval"))?;
        out.push(Some(origin + past - past.rem_euclid(size)));
    }
    let out: ArrayRef = Arc::new(TimestampMicrosecondArray::from(out));
    cast_zone(&out, call.result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal::text::timestamp_text;

    fn check(unit: Unit, wanted: &str) {
        // 2024-08-31 10:11:12.123456
        assert_eq!(
            timestamp_text(trunc_local(1_725_099_072_123_456, unit)),
            wanted
        );
    }

    #[test]
    fn a_moment_is_cut_to_what_holds_it() {
        check(Unit::Milliseconds, "2024-08-31 10:11:12.123");
        check(Unit::Week, "2024-08-26 00:00:00");
        check(Unit::Quarter, "2024-07-01 00:00:00");
        check(Unit::Year, "2024-01-01 00:00:00");
        check(Unit::Decade, "2020-01-01 00:00:00");
        check(Unit::Century, "2001-01-01 00:00:00");
        check(Unit::Millennium, "2001-01-01 00:00:00");
    }
}
