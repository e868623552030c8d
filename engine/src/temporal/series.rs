//! `generate_series` of moments, which DataFusion counts in nanoseconds, and of whole numbers. A list: the statement
//! unnests it.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::arithmetic::{coerce_difference, key};
use super::civil::{DAY, date_of, days_of, days_of_month};
use super::errors;
use super::function::{Call, Function, INTERVAL, Types, common};
use super::trunc::cast_zone;
use super::zones::Zone;
use crate::error::{EngineError, ErrorKind, with_class};

/// Items of one series at most.
const ITEMS_MAX: usize = 50_000_000;

pub(super) fn functions() -> Vec<Function> {
    vec![Function::new("generate_series", coerce, typed, series).stable()]
}

fn coerce(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    let whole = |ty: &DataType| ty.is_integer() || ty.is_null();
    if (1..=3).contains(&types.len()) && types.iter().all(whole) {
        return Some(vec![DataType::Int64; types.len()]);
    }
    let [start, last, step] = types else {
        return None;
    };
    if !matches!(common(step), INTERVAL | DataType::Utf8View | DataType::Null) {
        return None;
    }
    // A series of dates is one of instants.
    let as_instant = |ty: &DataType| match ty {
        DataType::Date32 => super::function::zoned_type(zone),
        other => other.clone(),
    };
    let mut both = coerce_difference(&[as_instant(start), as_instant(last)], zone)?;
    both.push(INTERVAL);
    Some(both)
}

fn typed(types: &Types<'_>) -> Result<DataType> {
    if let Some(ty) = types.args.first() {
        let item = Field::new_list_field(ty.clone(), true);
        return Ok(DataType::List(Arc::new(item)));
    }
    exec_err!("generate_series takes two or three arguments")
}

fn series(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lengths = Vec::with_capacity(call.rows);
    let valid: Vec<bool> = (0..call.rows).map(|row| !call.is_null(row)).collect();
    let mut items: Vec<i64> = vec![];
    let is_whole = *call.arg(0)?.data_type() == DataType::Int64;
    let zone = match call.arg(0)?.data_type() {
        DataType::Timestamp(_, Some(_)) => Some(call.zone_of(0)?),
        _ => None,
    };
    for (row, valid) in valid.iter().enumerate() {
        let before = items.len();
        if *valid && is_whole {
            numbers(call, row, &mut items)?;
        } else if *valid {
            moments(call, row, zone, &mut items)?;
        }
        lengths.push(items.len() - before);
    }
    let DataType::List(item) = call.result else {
        return exec_err!("generate_series gives a list");
    };
    let values: ArrayRef = if is_whole {
        Arc::new(Int64Array::from(items))
    } else {
        let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(items));
        cast_zone(&moments, item.data_type())?
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from(valid);
    let list = ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls))?;
    Ok(Arc::new(list))
}

fn numbers(call: &Call<'_>, row: usize, items: &mut Vec<i64>) -> Result<()> {
    let number = |at: usize| {
        let array = call.arg(at)?;
        Ok::<_, datafusion::error::DataFusionError>(array.as_primitive::<Int64Type>().value(row))
    };
    let (start, last) = match call.args.len() {
        1 => (0, number(0)?),
        _ => (number(0)?, number(1)?),
    };
    let step = if call.args.len() == 3 { number(2)? } else { 1 };
    if step == 0 {
        return Err(errors::argument("step size cannot equal zero"));
    }
    let mut at = Some(start);
    while let Some(now) = at.filter(|now| if step > 0 { *now <= last } else { *now >= last }) {
        push(items, now)?;
        at = now.checked_add(step);
    }
    Ok(())
}

fn moments(call: &Call<'_>, row: usize, zone: Option<Zone>, items: &mut Vec<i64>) -> Result<()> {
    let moment = |at: usize| {
        let array = call.arg(at)?;
        Ok::<_, datafusion::error::DataFusionError>(
            array.as_primitive::<TimestampMicrosecondType>().value(row),
        )
    };
    let (start, last) = (moment(0)?, moment(1)?);
    let step = call
        .arg(2)?
        .as_primitive::<IntervalMonthDayNanoType>()
        .value(row);
    let sign = key(step).signum();
    if sign == 0 {
        return Err(errors::argument("step size cannot equal zero"));
    }
    let mut now = start;
    while if sign > 0 { now <= last } else { now >= last } {
        push(items, now)?;
        now = after(now, step, zone).ok_or_else(|| errors::range("timestamp"))?;
    }
    Ok(())
}

fn push(items: &mut Vec<i64>, item: i64) -> Result<()> {
    if items.len() >= ITEMS_MAX {
        let kind = ErrorKind::LimitReached;
        let message = format!("generate_series gives more than {ITEMS_MAX} rows here");
        return Err(with_class(EngineError::new(kind, message).into(), kind));
    }
    items.push(item);
    Ok(())
}

/// A moment and an interval: months and days on the calendar of the zone, then the time.
fn after(micros: i64, step: IntervalMonthDayNano, zone: Option<Zone>) -> Option<i64> {
    let mut now = micros;
    if step.months != 0 || step.days != 0 {
        let local = zone.map_or(Some(now), |zone| zone.local(now))?;
        let (mut days, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        if step.months != 0 {
            let (year, month, day) = date_of(days);
            let months = year * 12 + (month - 1) + i64::from(step.months);
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
            days = days_of(year, month, day.min(days_of_month(year, month)));
        }
        let local = (days + i64::from(step.days))
            .checked_mul(DAY)?
            .checked_add(time)?;
        now = zone.map_or(Some(local), |zone| zone.utc(local))?;
    }
    now.checked_add(step.nanoseconds / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_they_end() {
        let month = IntervalMonthDayNano::new(1, 0, 0);
        let day = |year, month, day| days_of(year, month, day) * DAY;
        assert_eq!(after(day(2024, 1, 31), month, None), Some(day(2024, 2, 29)));
        let back = IntervalMonthDayNano::new(-13, 1, 1_000_000);
        assert_eq!(
            after(day(2024, 2, 29), back, None),
            Some(day(2023, 1, 30) + 1000)
        );
    }
}
