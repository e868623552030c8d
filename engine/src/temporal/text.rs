//! Casts between text and dates, times, intervals and floats, as PostgreSQL writes and reads them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Expr;

use super::function::{Call, Function, TEXT, common};
use super::input::{self, Clock};
use super::output;
use super::trunc::cast_zone;
use super::zones::Zone;

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
            | DataType::Timestamp(TimeUnit::Microsecond, _)
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
        cast(given, &ty)?
    };
    Ok(match &ty {
        DataType::Date32 => texts::<Date32Type>(&array, |out, days| output::date(out, days.into())),
        DataType::Time64(_) => texts::<Time64MicrosecondType>(&array, output::time),
        DataType::Timestamp(_, None) => {
            texts::<TimestampMicrosecondType>(&array, output::timestamp)
        }
        DataType::Timestamp(_, Some(zone)) => {
            let zone = Zone::of_type(zone)?;
            texts::<TimestampMicrosecondType>(&array, |out, micros| {
                output::zoned(out, micros, zone);
            })
        }
        DataType::Interval(_) => texts::<IntervalMonthDayNanoType>(&array, output::interval),
        DataType::Float32 => texts::<Float32Type>(&array, output::real),
        DataType::Float64 => texts::<Float64Type>(&array, output::double),
        other => return exec_err!("{other} is not printed here"),
    })
}

fn texts<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    put: impl Fn(&mut String, T::Native),
) -> ArrayRef {
    let values = array.as_primitive::<T>();
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut text = String::new();
    for value in values {
        match value {
            None => out.append_null(),
            Some(value) => {
                text.clear();
                put(&mut text, value);
                out.append_value(&text);
            }
        }
    }
    Arc::new(out.finish())
}
