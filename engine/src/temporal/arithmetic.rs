//! `+` and `-` of dates, times and intervals, and `AT TIME ZONE`, as PostgreSQL has them.
//!
//! A date with an interval is a timestamp; the difference of two timestamps is days and a time. Planned in front of
//! DataFusion's own operators, which mean something else.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::civil::{DAY, SECOND};
use super::errors;
use super::function::{Call, DATE, Function, INTERVAL, TEXT, TIME, TIMESTAMP, common, zoned_type};
use super::trunc::cast_zone;
use super::zones::Zone;

/// Plans the operators.
#[derive(Debug)]
pub(crate) struct TemporalArithmetic;

impl ExprPlanner for TemporalArithmetic {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        // A text beside nanoseconds is read with all its digits by `order.rs`.
        let is_fine = |ty: &DataType| matches!(ty, DataType::Timestamp(TimeUnit::Nanosecond, _));
        let fine = is_fine(&left) || is_fine(&right);
        let (mut left, mut right) = (common(&left), common(&right));
        let mut expr = expr;
        let plus = match expr.op {
            BinaryOperator::Plus => true,
            BinaryOperator::Minus => false,
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => {
                // A literal is of the type of what it is compared with.
                if fine {
                    return Ok(PlannerResult::Original(expr));
                }
                if is_temporal(&left) && is_literal(&expr.right, &right) {
                    expr.right = cast(expr.right, left);
                } else if is_temporal(&right) && is_literal(&expr.left, &left) {
                    expr.left = cast(expr.left, right);
                }
                return Ok(PlannerResult::Original(expr));
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        if is_temporal(&left) && left != DATE && is_literal(&expr.right, &right) {
            right = if plus { INTERVAL } else { left.clone() };
            expr.right = cast(expr.right, right.clone());
        } else if plus && is_temporal(&right) && right != DATE && is_literal(&expr.left, &left) {
            left = INTERVAL;
            expr.left = cast(expr.left, INTERVAL);
        }
        Ok(match planned(&expr, plus, &left, &right) {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(match super::named("extract") {
            Some(extract) => PlannerResult::Planned(extract.call(args)),
            None => PlannerResult::Original(args),
        })
    }
}

fn is_literal(expr: &Expr, ty: &DataType) -> bool {
    *ty == TEXT && matches!(expr, Expr::Literal(..))
}

fn is_temporal(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Interval(_)
    )
}

fn planned(expr: &RawBinaryExpr, plus: bool, left: &DataType, right: &DataType) -> Option<Expr> {
    use DataType::{Date32, Interval, Time64, Timestamp};
    let call = |name: &str| {
        let function = super::named(name)?;
        Some(function.call(vec![expr.left.clone(), expr.right.clone()]))
    };
    let swapped = |name: &str| {
        let function = super::named(name)?;
        Some(function.call(vec![expr.right.clone(), expr.left.clone()]))
    };
    let at_midnight = |day: &Expr, interval: &Expr| {
        let operator = if plus {
            Operator::Plus
        } else {
            Operator::Minus
        };
        Some(binary_expr(
            cast(day.clone(), TIMESTAMP),
            operator,
            interval.clone(),
        ))
    };
    match (left, right) {
        (Date32, Interval(_)) => at_midnight(&expr.left, &expr.right),
        (Interval(_), Date32) if plus => at_midnight(&expr.right, &expr.left),
        (Date32, Time64(_)) if plus => call("tarn_moment"),
        (Time64(_), Date32) if plus => swapped("tarn_moment"),
        (Time64(_), Interval(_)) => call(if plus {
            "tarn_time_plus"
        } else {
            "tarn_time_minus"
        }),
        (Interval(_), Time64(_)) if plus => swapped("tarn_time_plus"),
        (Time64(_), Time64(_)) if !plus => call("tarn_time_difference"),
        (Timestamp(..), Timestamp(..) | Date32) | (Date32, Timestamp(..)) if !plus => {
            call("tarn_difference")
        }
        _ => None,
    }
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new(
            "tarn_difference",
            coerce_difference,
            |_| Ok(INTERVAL),
            |call| two_moments(call, difference),
        )
        .operator("-"),
        Function::new(
            "tarn_time_difference",
            |types, _| (types.len() == 2).then(|| vec![TIME, TIME]),
            |_| Ok(INTERVAL),
            time_difference,
        )
        .operator("-"),
        Function::new(
            "tarn_time_plus",
            coerce_time,
            |_| Ok(TIME),
            |call| time_plus(call, 1),
        )
        .operator("+"),
        Function::new(
            "tarn_time_minus",
            coerce_time,
            |_| Ok(TIME),
            |call| time_plus(call, -1),
        )
        .operator("-"),
        Function::new(
            "tarn_moment",
            |types, _| (types.len() == 2).then(|| vec![DataType::Date32, TIME]),
            |_| Ok(TIMESTAMP),
            moment,
        )
        .operator("+"),
        Function::new(
            "tarn_local",
            |types, _| match types {
                [of @ DataType::Timestamp(..)] => Some(vec![of.clone()]),
                _ => None,
            },
            |_| Ok(TIMESTAMP),
            |call| {
                let zone = call.zone_of(0)?;
                let values = call.arg(0)?.as_primitive::<TimestampMicrosecondType>();
                let out: TimestampMicrosecondArray = values
                    .iter()
                    .map(|value| value.and_then(|value| zone.local(value)))
                    .collect();
                Ok(Arc::new(out))
            },
        ),
        Function::new("timezone", coerce_zone, in_zone_type, in_zone).stable(),
        Function::new(
            "tarn_interval_key",
            |types, _| (types.len() == 1).then(|| vec![INTERVAL]),
            |_| Ok(KEY),
            keys,
        ),
        Function::new(
            "tarn_round_time",
            coerce_round,
            |types| {
                types
                    .args
                    .first()
                    .map_or_else(|| exec_err!("an argument is missing"), |ty| Ok(ty.clone()))
            },
            round,
        ),
    ]
}

/// Both sides as timestamps with or without time zone.
pub(super) fn coerce_difference(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    let [left, right] = types else { return None };
    let known = |ty: &DataType| {
        matches!(
            ty,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8View | DataType::Null
        )
    };
    let zoned = [left, right]
        .iter()
        .any(|ty| matches!(ty, DataType::Timestamp(_, Some(_))));
    let both = if zoned { zoned_type(zone) } else { TIMESTAMP };
    (known(left) && known(right)).then(|| vec![both.clone(), both])
}

fn coerce_time(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    (types.len() == 2).then(|| vec![TIME, INTERVAL])
}

/// An interval for each pair of timestamps.
pub(super) fn two_moments(
    call: &Call<'_>,
    make: fn(i64, i64) -> Option<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let left = call.arg(0)?.as_primitive::<TimestampMicrosecondType>();
    let right = call.arg(1)?.as_primitive::<TimestampMicrosecondType>();
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        out.push(if call.is_null(row) {
            None
        } else {
            let interval = make(left.value(row), right.value(row));
            Some(interval.ok_or_else(|| errors::range("interval"))?)
        });
    }
    Ok(Arc::new(IntervalMonthDayNanoArray::from(out)))
}

/// Days and a time of one sign.
fn difference(left: i64, right: i64) -> Option<IntervalMonthDayNano> {
    let micros = left.checked_sub(right)?;
    Some(IntervalMonthDayNano::new(
        0,
        i32::try_from(micros / DAY).ok()?,
        micros % DAY * 1000,
    ))
}

fn time_difference(call: &Call<'_>) -> Result<ArrayRef> {
    let left = call.arg(0)?.as_primitive::<Time64MicrosecondType>();
    let right = call.arg(1)?.as_primitive::<Time64MicrosecondType>();
    let out: IntervalMonthDayNanoArray = left
        .iter()
        .zip(right)
        .map(|pair| match pair {
            (Some(left), Some(right)) => {
                Some(IntervalMonthDayNano::new(0, 0, (left - right) * 1000))
            }
            _ => None,
        })
        .collect();
    Ok(Arc::new(out))
}

/// Goes round the clock.
fn time_plus(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let times = call.arg(0)?.as_primitive::<Time64MicrosecondType>();
    let intervals = call.arg(1)?.as_primitive::<IntervalMonthDayNanoType>();
    let out: Time64MicrosecondArray = times
        .iter()
        .zip(intervals)
        .map(|pair| match pair {
            (Some(time), Some(interval)) => {
                let micros = interval.nanoseconds / 1000 % DAY;
                Some((time + sign * micros).rem_euclid(DAY))
            }
            _ => None,
        })
        .collect();
    Ok(Arc::new(out))
}

fn moment(call: &Call<'_>) -> Result<ArrayRef> {
    let days = call.arg(0)?.as_primitive::<Date32Type>();
    let times = call.arg(1)?.as_primitive::<Time64MicrosecondType>();
    let out: TimestampMicrosecondArray = days
        .iter()
        .zip(times)
        .map(|(day, time)| Some(i64::from(day?) * DAY + time?))
        .collect();
    Ok(Arc::new(out))
}

fn coerce_zone(types: &[DataType], zone: &str) -> Option<Vec<DataType>> {
    let [name, of] = types else { return None };
    let name = match name {
        DataType::Interval(_) => INTERVAL,
        DataType::Utf8View | DataType::Null => TEXT,
        _ => return None,
    };
    let of = match of {
        DataType::Timestamp(..) => of.clone(),
        DataType::Date32 | DataType::Utf8View | DataType::Null => zoned_type(zone),
        _ => return None,
    };
    Some(vec![name, of])
}

fn in_zone_type(types: &super::function::Types<'_>) -> Result<DataType> {
    match types.args.get(1) {
        Some(DataType::Timestamp(_, None)) => Ok(zoned_type(types.zone)),
        _ => Ok(TIMESTAMP),
    }
}

/// What clocks of a zone show at an instant, or when they show it.
fn in_zone(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.arg(1)?;
    let to_local = matches!(values.data_type(), DataType::Timestamp(_, Some(_)));
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let same = call.text(0).map(Zone::of_sql).transpose()?;
    let by_name = *call.arg(0)?.data_type() != INTERVAL;
    let names = if by_name { Some(call.texts(0)?) } else { None };
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.is_null(row) {
            out.push(None);
            continue;
        }
        let zone = match (same, &names) {
            (Some(zone), _) => zone,
            (None, Some(names)) => Zone::of_sql(names.value(row))?,
            (None, None) => {
                let interval = call
                    .arg(0)?
                    .as_primitive::<IntervalMonthDayNanoType>()
                    .value(row);
                if interval.months != 0 || interval.days != 0 {
                    return Err(errors::argument(
                        "interval time zone must not include months or days",
                    ));
                }
                Zone::Fixed(interval.nanoseconds / 1000 / SECOND)
            }
        };
        let value = values.value(row);
        let moved = if to_local {
            zone.local(value)
        } else {
            zone.utc(value)
        };
        out.push(Some(moved.ok_or_else(|| errors::range("timestamp"))?));
    }
    let out: ArrayRef = Arc::new(TimestampMicrosecondArray::from(out));
    cast_zone(&out, call.result)
}

/// Numbers by which intervals compare: microseconds, a month being thirty days.
pub(super) const KEY: DataType = DataType::Decimal128(38, 0);

/// Source: PostgreSQL 15, `interval_cmp_value`.
pub(super) fn key(value: IntervalMonthDayNano) -> i128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    days * i128::from(DAY) + i128::from(value.nanoseconds / 1000)
}

fn keys(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.arg(0)?.as_primitive::<IntervalMonthDayNanoType>();
    let out: Decimal128Array = values.iter().map(|value| value.map(key)).collect();
    Ok(Arc::new(out.with_precision_and_scale(38, 0)?))
}

fn coerce_round(types: &[DataType], _: &str) -> Option<Vec<DataType>> {
    let [of, _] = types else { return None };
    matches!(
        of,
        DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_)
    )
    .then(|| vec![of.clone(), DataType::Int64])
}

/// `x::timestamp(2)`: that many digits of a second, halves away from zero.
fn round(call: &Call<'_>) -> Result<ArrayRef> {
    let digits = call.arg(1)?.as_primitive::<Int64Type>();
    let rounded = |micros: i64, row: usize| {
        let lost = u32::try_from(6 - digits.value(row).clamp(0, 6)).unwrap_or(0);
        let unit = 10_i64.pow(lost);
        let half = unit / 2;
        let up = if micros < 0 {
            micros - half
        } else {
            micros + half
        };
        up / unit * unit
    };
    let of = call.arg(0)?;
    Ok(match of.data_type() {
        DataType::Timestamp(..) => {
            let values = of.as_primitive::<TimestampMicrosecondType>();
            let out: TimestampMicrosecondArray = values
                .iter()
                .enumerate()
                .map(|(row, value)| value.map(|value| rounded(value, row)))
                .collect();
            let out: ArrayRef = Arc::new(out);
            cast_zone(&out, call.result)?
        }
        DataType::Time64(_) => {
            let values = of.as_primitive::<Time64MicrosecondType>();
            let out: Time64MicrosecondArray = values
                .iter()
                .enumerate()
                .map(|(row, value)| value.map(|value| rounded(value, row)))
                .collect();
            Arc::new(out)
        }
        _ => {
            let values = of.as_primitive::<IntervalMonthDayNanoType>();
            let out: IntervalMonthDayNanoArray = values
                .iter()
                .enumerate()
                .map(|(row, value)| {
                    let value = value?;
                    let nanos = rounded(value.nanoseconds / 1000, row) * 1000;
                    Some(IntervalMonthDayNano::new(value.months, value.days, nanos))
                })
                .collect();
            Arc::new(out)
        }
    })
}
