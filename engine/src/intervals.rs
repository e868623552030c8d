//! `interval * number` and `interval / number`, which PostgreSQL has and DataFusion has not.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Days of a month, where a part of one is asked for. Source: PostgreSQL, "Interval Input".
const MONTH_DAYS: f64 = 30.0;
/// Seconds of a day.
const DAY_SECONDS: f64 = 86_400.0;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Plans the two operators.
#[derive(Debug)]
pub(crate) struct IntervalArithmetic;

impl ExprPlanner for IntervalArithmetic {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if !matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide) {
            return Ok(PlannerResult::Original(expr));
        }
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        let divide = expr.op == BinaryOperator::Divide;
        let (interval, number) = if is_interval(&left) && right.is_numeric() {
            (expr.left, expr.right)
        } else if is_interval(&right) && left.is_numeric() && !divide {
            (expr.right, expr.left)
        } else {
            return Ok(PlannerResult::Original(expr));
        };
        let number = cast(number, DataType::Float64);
        let times = ScalarUDF::from(Times::new(divide));
        Ok(PlannerResult::Planned(
            times.call(vec![cast(interval, INTERVAL), number]),
        ))
    }
}

fn is_interval(ty: &DataType) -> bool {
    matches!(ty, DataType::Interval(_))
}

/// The functions behind the operators, which workers meet in plans.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|divide| Arc::new(ScalarUDF::from(Times::new(divide))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Times {
    divide: bool,
    signature: Signature,
}

impl Times {
    fn new(divide: bool) -> Self {
        Self {
            divide,
            signature: Signature::exact(vec![INTERVAL, DataType::Float64], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Times {
    fn name(&self) -> &'static str {
        if self.divide {
            "tarn_interval_divided"
        } else {
            "tarn_interval_times"
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let each = |arrays: &[ArrayRef]| {
            let [intervals, factors] = arrays else {
                return exec_err!("{} takes two arguments", self.name());
            };
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            let factors = factors.as_primitive::<Float64Type>();
            let product = intervals
                .iter()
                .zip(factors)
                .map(|pair| match pair {
                    (Some(interval), Some(by)) if self.divide => divided(interval, by).map(Some),
                    (Some(interval), Some(factor)) => times(interval, factor).map(Some),
                    _ => Ok(None),
                })
                .collect::<Result<IntervalMonthDayNanoArray>>()?;
            let product: ArrayRef = Arc::new(product);
            Ok(product)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

/// `interval * factor`.
fn times(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    scaled(interval, |part| part * factor)
}

/// `interval / by`.
pub(crate) fn divided(interval: IntervalMonthDayNano, by: f64) -> Result<IntervalMonthDayNano> {
    if by == 0.0 {
        return exec_err!("divide by zero");
    }
    scaled(interval, |part| part / by)
}

/// What is left of a month becomes days, what is left of a day becomes time.
/// Source: PostgreSQL 15, `interval_mul` and `interval_div`.
fn scaled(
    interval: IntervalMonthDayNano,
    change: impl Fn(f64) -> f64,
) -> Result<IntervalMonthDayNano> {
    // Microseconds of a second are the most that is meant.
    let to_micros = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
    let months = change(f64::from(interval.months));
    let days = change(f64::from(interval.days));
    let month_days = to_micros(months.fract() * MONTH_DAYS);
    let seconds = to_micros((days.fract() + month_days.fract()) * DAY_SECONDS);
    let more_days = (seconds / DAY_SECONDS).trunc();
    let seconds = seconds - more_days * DAY_SECONDS;
    let days = days.trunc() + month_days.trunc() + more_days;
    #[allow(
        clippy::cast_precision_loss,
        reason = "PostgreSQL computes in double too"
    )]
    let micros = (change((interval.nanoseconds / 1000) as f64) + seconds * 1e6).round_ties_even();
    let fits = |value: f64, bound: f64| value.is_finite() && value.abs() < bound;
    if !fits(months, 2f64.powi(31)) || !fits(days, 2f64.powi(31)) || !fits(micros, 9.2e15) {
        return exec_err!("interval overflow");
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the bounds were checked, and the fractions were passed on"
    )]
    Ok(IntervalMonthDayNano::new(
        months.trunc() as i32,
        days as i32,
        micros as i64 * 1000,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_times(interval: (i32, i32, i64), factor: f64, wanted: (i32, i32, i64)) {
        let product = times(
            IntervalMonthDayNano::new(interval.0, interval.1, interval.2),
            factor,
        )
        .unwrap();
        assert_eq!((product.months, product.days, product.nanoseconds), wanted);
    }

    #[test]
    fn fractions_of_months_are_days_and_of_days_are_time() {
        check_times((0, 0, 60_000_000_000), 20.0, (0, 0, 1_200_000_000_000));
        check_times((1, 0, 0), 1.5, (1, 15, 0));
        check_times((0, 1, 0), 0.5, (0, 0, 43_200_000_000_000));
        check_times((2, 4, 0), -0.5, (-1, -2, 0));
        let third = divided(IntervalMonthDayNano::new(1, 0, 0), 3.0).unwrap();
        assert_eq!((third.months, third.days, third.nanoseconds), (0, 10, 0));
        assert!(divided(third, 0.0).is_err());
        assert!(times(IntervalMonthDayNano::new(i32::MAX, 0, 0), 2.0).is_err());
    }
}
