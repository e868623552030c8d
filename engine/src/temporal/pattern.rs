//! `to_char`, `to_date`, `to_timestamp` and `to_number`, with PostgreSQL's template patterns.
//!
//! Source: PostgreSQL 15, "Data Type Formatting Functions". Text that is no pattern stands for itself.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, StringViewBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::civil::{DAY, Moment, SECOND};
use super::errors;
use super::function::{Call, DATE, Function, TEXT, TIME, TIMESTAMP, Types, zoned_type};
use super::trunc::cast_zone;
use super::zones::Zone;
use super::{number_pattern, reading, template};

/// Digits after the point of a number that a pattern may read.
const DIGITS_MAX: i8 = 20;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("to_char", coerce_char, |_| Ok(TEXT), to_char)
            .stable()
            .alias("date_format"),
        Function::new("to_date", two_texts, |_| Ok(DATE), to_date).stable(),
        Function::new("to_timestamp", coerce_timestamp, zoned_result, to_timestamp).stable(),
        Function::new("to_number", two_texts, number_type, to_number),
    ]
}

fn two_texts(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    let text = |ty: &DataType| matches!(ty, DataType::Utf8View | DataType::Null);
    (types.len() == 2 && types.iter().all(text)).then(|| vec![TEXT, TEXT])
}

fn coerce_timestamp(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    match types {
        [ty] if ty.is_numeric() => Some(vec![DataType::Float64]),
        _ => two_texts(types, ""),
    }
}

fn zoned_result(types: &Types<'_>) -> Result<DataType> {
    Ok(zoned_type(types.zone))
}

fn coerce_char(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    let [of, pattern] = types else { return None };
    if !matches!(pattern, DataType::Utf8View | DataType::Null) {
        return None;
    }
    let of = match of {
        DataType::Date32 => TIMESTAMP,
        DataType::Timestamp(..)
        | DataType::Interval(_)
        | DataType::Time64(_)
        | DataType::Decimal128(..) => of.clone(),
        ty if ty.is_integer() => DataType::Decimal128(20, 0),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Null => TIMESTAMP,
        _ => return None,
    };
    Some(vec![of, TEXT])
}

/// The template of a pattern; rows mostly share one.
#[derive(Default)]
struct Templates {
    pattern: Option<String>,
    nodes: Vec<template::Node>,
}

impl Templates {
    fn of(&mut self, pattern: &str) -> &[template::Node] {
        if self.pattern.as_deref() != Some(pattern) {
            self.nodes = template::parse(pattern);
            self.pattern = Some(pattern.to_owned());
        }
        &self.nodes
    }
}

fn to_char(call: &Call<'_>) -> Result<ArrayRef> {
    let of = call.arg(0)?;
    let patterns = call.texts(1)?;
    let zone = match of.data_type() {
        DataType::Timestamp(_, Some(zone)) => Some(Zone::of_type(zone)?),
        _ => None,
    };
    let is_number = matches!(of.data_type(), DataType::Decimal128(..) | DataType::Float64);
    let mut templates = Templates::default();
    let mut out = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.is_null(row) {
            out.append_null();
            continue;
        }
        if is_number {
            out.append_value(number_pattern::print(
                &number_text(of, row)?,
                patterns.value(row),
            )?);
            continue;
        }
        let nodes = templates.of(patterns.value(row));
        let value = template::Value::of(&moment(of, row, zone)?);
        out.append_value(template::print(nodes, &value)?);
    }
    Ok(Arc::new(out.finish()))
}

/// A value to be printed by a template.
pub(super) enum Given {
    /// Shown by clocks; seconds ahead of UTC if that is known.
    Moment(i64, Option<i64>),
    /// Months, days, microseconds.
    Span(i64, i64, i64),
}

fn moment(of: &ArrayRef, row: usize, zone: Option<Zone>) -> Result<Given> {
    Ok(match of.data_type() {
        DataType::Timestamp(..) => {
            let micros = of.as_primitive::<TimestampMicrosecondType>().value(row);
            match zone {
                None => Given::Moment(micros, None),
                Some(zone) => {
                    let offset = zone.offset_at(micros);
                    Given::Moment(micros + offset * SECOND, Some(offset))
                }
            }
        }
        DataType::Interval(_) => {
            let value = of.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Given::Span(
                value.months.into(),
                value.days.into(),
                value.nanoseconds / 1000,
            )
        }
        ty if *ty == TIME => {
            Given::Span(0, 0, of.as_primitive::<Time64MicrosecondType>().value(row))
        }
        other => return exec_err!("to_char does not take {other}"),
    })
}

/// The plain digits of a number.
fn number_text(of: &ArrayRef, row: usize) -> Result<String> {
    if let Some(doubles) = of.as_primitive_opt::<Float64Type>() {
        return Ok(doubles.value(row).to_string());
    }
    let values = of.as_primitive::<Decimal128Type>();
    Ok(values.value_as_string(row))
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    let mut templates = Templates::default();
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        out.push(if call.is_null(row) {
            None
        } else {
            let nodes = templates.of(patterns.value(row));
            let read = reading::read(nodes, texts.value(row))?;
            let days = read.local.div_euclid(DAY);
            Some(i32::try_from(days).map_err(|_| errors::range("date"))?)
        });
    }
    Ok(Arc::new(Date32Array::from(out)))
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let zone = Zone::of_type(call.zone)?;
    let range = || errors::range("timestamp");
    let mut out = Vec::with_capacity(call.rows);
    if call.args.len() == 1 {
        let seconds = call.arg(0)?.as_primitive::<Float64Type>();
        for value in seconds {
            out.push(match value {
                None => None,
                #[allow(clippy::cast_possible_truncation, reason = "the bound was checked")]
                Some(value) if value.abs() < 9e12 => Some((value * 1e6).round() as i64),
                Some(_) => return Err(range()),
            });
        }
    } else {
        let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
        let mut templates = Templates::default();
        for row in 0..call.rows {
            out.push(if call.is_null(row) {
                None
            } else {
                let nodes = templates.of(patterns.value(row));
                let read = reading::read(nodes, texts.value(row))?;
                let micros = match read.offset {
                    Some(offset) => Zone::Fixed(offset).utc(read.local),
                    None => zone.utc(read.local),
                };
                Some(micros.ok_or_else(range)?)
            });
        }
    }
    let out: ArrayRef = Arc::new(TimestampMicrosecondArray::from(out));
    cast_zone(&out, call.result)
}

/// A number with the digits after the point that its pattern has.
fn number_type(types: &Types<'_>) -> Result<DataType> {
    let digits = types.text(1).map(number_pattern::digits_after);
    let scale = digits
        .and_then(|digits| i8::try_from(digits).ok())
        .unwrap_or(DIGITS_MAX)
        .min(DIGITS_MAX);
    Ok(DataType::Decimal128(38, scale))
}

fn to_number(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    let mut out = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.is_null(row) {
            out.append_null();
        } else {
            out.append_value(number_pattern::read(texts.value(row), patterns.value(row))?);
        }
    }
    let texts: ArrayRef = Arc::new(out.finish());
    let values = cast(&texts, call.result)?;
    let values: &Decimal128Array = values.as_primitive::<Decimal128Type>();
    Ok(Arc::new(values.clone()))
}

impl template::Value {
    fn of(given: &Given) -> Self {
        match *given {
            Given::Moment(micros, offset) => Self {
                at: Moment::of(micros),
                offset,
                hours: Moment::of(micros).hour(),
                span: false,
            },
            Given::Span(months, days, micros) => Self {
                at: Moment {
                    year: months / 12,
                    month: months % 12,
                    day: days,
                    days: 0,
                    time: micros,
                },
                offset: None,
                hours: micros / super::civil::HOUR,
                span: true,
            },
        }
    }
}
