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
    Volatility, binary_expr, cast, lit,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Days of a month, where a part of one is asked for. Source: PostgreSQL, "Interval Input".
const MONTH_DAYS: f64 = 30.0;
/// Nanoseconds of a day.
const DAY_NANOS: f64 = 86_400e9;

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
        let factor = if divide {
            binary_expr(lit(1.0), datafusion::logical_expr::Operator::Divide, number)
        } else {
            number
        };
        let times = ScalarUDF::from(Times::new()).call(vec![cast(interval, INTERVAL), factor]);
        Ok(PlannerResult::Planned(times))
    }
}

fn is_interval(ty: &DataType) -> bool {
    matches!(ty, DataType::Interval(_))
}

/// The function behind the operators, which workers meet in plans.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Times::new()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Times {
    signature: Signature,
}

impl Times {
    fn new() -> Self {
        Self {
            signature: Signature::exact(vec![INTERVAL, DataType::Float64], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Times {
    fn name(&self) -> &'static str {
        "tarn_interval_times"
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
                return exec_err!("tarn_interval_times takes two arguments");
            };
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            let factors = factors.as_primitive::<Float64Type>();
            let product = intervals
                .iter()
                .zip(factors)
                .map(|pair| match pair {
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

/// What is left of a month becomes days, what is left of a day becomes time.
fn times(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor + months.fract() * MONTH_DAYS;
    #[allow(
        clippy::cast_precision_loss,
        reason = "exact up to 104 days of nanoseconds; PostgreSQL computes in double too"
    )]
    let nanos = interval.nanoseconds as f64 * factor + days.fract() * DAY_NANOS;
    let fits = |value: f64, bound: f64| value.is_finite() && value.abs() < bound;
    if !fits(months, 2f64.powi(31)) || !fits(days, 2f64.powi(31)) || !fits(nanos, 2f64.powi(63)) {
        return exec_err!("interval overflow");
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the bounds were checked, and the fractions were passed on"
    )]
    Ok(IntervalMonthDayNano::new(
        months.trunc() as i32,
        days.trunc() as i32,
        (nanos / 1000.0).round() as i64 * 1000,
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
        assert!(times(IntervalMonthDayNano::new(i32::MAX, 0, 0), 2.0).is_err());
    }
}
