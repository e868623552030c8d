//! Moments that are counted in different units.
//!
//! A moment in nanoseconds is cut down to the microsecond that holds it, before 1970 too, where Arrow's cast goes up;
//! and it compares with a moment that nanoseconds do not reach. Both as functions that plans call; filters by them skip
//! files.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};

use super::errors;
use super::zones::Zone;

/// Nanoseconds as numbers that no moment exceeds.
const NANOS: DataType = DataType::Decimal128(38, 0);

/// Units of `unit` in a second.
fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Whether Arrow's cast of `from` to `to` gives another moment than it should: a finer unit becomes a coarser one, or
/// clocks are asked for what they show.
pub(crate) fn moves(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(fine, zone), DataType::Timestamp(coarse, None)) => {
            per_second(*fine) > per_second(*coarse) || zone.is_some()
        }
        (DataType::Timestamp(fine, _), DataType::Timestamp(coarse, _)) => {
            per_second(*fine) > per_second(*coarse)
        }
        _ => false,
    }
}

/// `value` as `ty`, for types of which [`moves`] holds.
pub(crate) fn moved(value: Expr, ty: &DataType) -> Result<Expr> {
    let target = lit(ScalarValue::try_from(ty)?);
    Ok(ScalarUDF::from(Counted::new(Count::Coarser)).call(vec![value, target]))
}

/// A moment in nanoseconds since 1970, as a number that holds moments of every unit.
pub(super) fn nanoseconds(value: Expr) -> Expr {
    ScalarUDF::from(Counted::new(Count::Nanoseconds)).call(vec![value])
}

/// Arrow's cast, but moments go down to a coarser unit.
///
/// # Errors
/// As Arrow's.
pub(crate) fn cast_down(
    array: &ArrayRef,
    ty: &DataType,
    options: &CastOptions<'_>,
) -> Result<ArrayRef, ArrowError> {
    let (DataType::Timestamp(fine, zone), DataType::Timestamp(coarse, _)) = (array.data_type(), ty)
    else {
        return cast_with_options(array, ty, options);
    };
    let parts = per_second(*fine) / per_second(*coarse);
    if parts <= 1 {
        return cast_with_options(array, ty, options);
    }
    let numbers = cast(array, &DataType::Int64)?;
    let down: Int64Array = numbers
        .as_primitive::<Int64Type>()
        .unary(|number| number.div_euclid(parts));
    let down = cast(&down, &DataType::Timestamp(*coarse, zone.clone()))?;
    cast_with_options(&down, ty, options)
}

/// The functions, for the processes that may meet them in a plan.
pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [Count::Coarser, Count::Nanoseconds].map(|count| Arc::new(ScalarUDF::from(Counted::new(count))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Count {
    /// A moment in the unit of a typed NULL.
    Coarser,
    /// The number of nanoseconds.
    Nanoseconds,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted {
    count: Count,
    signature: Signature,
}

impl Counted {
    fn new(count: Count) -> Self {
        let arguments = match count {
            Count::Coarser => 2,
            Count::Nanoseconds => 1,
        };
        Self {
            count,
            signature: Signature::any(arguments, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Counted {
    fn name(&self) -> &'static str {
        match self.count {
            Count::Coarser => "tarn_coarser",
            Count::Nanoseconds => "tarn_nanoseconds",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.count, types) {
            (Count::Coarser, [_, ty]) => Ok(ty.clone()),
            (Count::Nanoseconds, [_]) => Ok(NANOS),
            _ => exec_err!("{} takes a moment", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let nullable = args.arg_fields.first().is_none_or(|f| f.is_nullable());
        let ty = self.return_type(&types)?;
        Ok(Arc::new(Field::new(self.name(), ty, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.first() else {
            return exec_err!("{} takes a moment", self.name());
        };
        let ty = args.return_field.data_type();
        let run = |array: &ArrayRef| match self.count {
            Count::Coarser => coarser(array, ty),
            Count::Nanoseconds => numbers(array),
        };
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(run(array)?),
            ColumnarValue::Scalar(value) => {
                let array = run(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let (Some(of), Some(value)) = (args.first(), literal.as_literal()) else {
            return Ok(PreimageResult::None);
        };
        let found = info
            .get_data_type(of)
            .ok()
            .and_then(|ty| bounds(&ty, value));
        Ok(match found {
            Some((first, next)) => PreimageResult::Range {
                expr: of.clone(),
                interval: Box::new(Interval::try_new(first, next)?),
            },
            None => PreimageResult::None,
        })
    }
}

/// The first moment of type `ty` that is `value` in another unit, and the first one after it.
fn bounds(ty: &DataType, value: &ScalarValue) -> Option<(ScalarValue, ScalarValue)> {
    let DataType::Timestamp(unit, zone) = ty else {
        return None;
    };
    let per_second = per_second(*unit);
    let (first, parts) = match value {
        // Nanoseconds themselves.
        ScalarValue::Decimal128(Some(nanos), _, 0) => {
            let parts = 1_000_000_000 / i128::from(per_second);
            if nanos.rem_euclid(parts) != 0 {
                return None;
            }
            (nanos.div_euclid(parts), 1)
        }
        ScalarValue::TimestampSecond(Some(v), other) if other.is_some() == zone.is_some() => {
            let parts = i128::from(per_second);
            (i128::from(*v) * parts, parts)
        }
        ScalarValue::TimestampMillisecond(Some(v), other) if other.is_some() == zone.is_some() => {
            let parts = i128::from(per_second) / 1_000;
            (i128::from(*v) * parts, parts)
        }
        ScalarValue::TimestampMicrosecond(Some(v), other) if other.is_some() == zone.is_some() => {
            let parts = i128::from(per_second) / 1_000_000;
            (i128::from(*v) * parts, parts)
        }
        _ => return None,
    };
    let moment = |number: i128| {
        let (number, zone) = (Some(i64::try_from(number).ok()?), zone.clone());
        Some(match unit {
            TimeUnit::Second => ScalarValue::TimestampSecond(number, zone),
            TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(number, zone),
            TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(number, zone),
            TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(number, zone),
        })
    };
    (parts > 0).then_some(())?;
    Some((moment(first)?, moment(first + parts)?))
}

fn coarser(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let (DataType::Timestamp(fine, Some(zone)), DataType::Timestamp(_, None)) =
        (array.data_type(), ty)
    else {
        return Ok(cast_down(array, ty, &options)?);
    };
    // What the clocks of the zone show.
    let zone = Zone::of_type(zone)?;
    let per_second = per_second(*fine);
    let numbers = cast(array, &DataType::Int64)?;
    let local: Int64Array = numbers.as_primitive::<Int64Type>().try_unary(|number| {
        let second = number.div_euclid(per_second);
        let ahead = zone.offset_at(second.saturating_mul(1_000_000));
        ahead
            .checked_mul(per_second)
            .and_then(|ahead| number.checked_add(ahead))
            .ok_or_else(|| errors::range("timestamp"))
    })?;
    let local = cast(&local, &DataType::Timestamp(*fine, None))?;
    Ok(cast_down(&local, ty, &options)?)
}

fn numbers(array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return exec_err!("{} is no moment", array.data_type());
    };
    let parts = i128::from(1_000_000_000 / per_second(*unit));
    let numbers = cast(array, &DataType::Int64)?;
    let out: Decimal128Array = numbers
        .as_primitive::<Int64Type>()
        .iter()
        .map(|number| number.map(|number| i128::from(number) * parts))
        .collect();
    Ok(Arc::new(out.with_precision_and_scale(38, 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::TimestampNanosecondArray;
    use datafusion::arrow::datatypes::TimestampMicrosecondType;

    fn nanos(values: &[i64]) -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from(values.to_vec()))
    }

    #[test]
    fn a_moment_goes_down_to_the_microsecond_that_holds_it() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let given = nanos(&[-1, -1000, -1001, 0, 999, 1000, i64::MIN, i64::MAX]);
        let down = coarser(&given, &micros).unwrap();
        let down = down.as_primitive::<TimestampMicrosecondType>().values();
        let wanted = [
            -1,
            -1,
            -2,
            0,
            0,
            1,
            -9_223_372_036_854_776,
            9_223_372_036_854_775,
        ];
        assert_eq!(down.as_ref(), wanted);
    }

    #[test]
    fn clocks_show_all_digits_of_a_moment() {
        let zoned = TimestampNanosecondArray::from(vec![-1]).with_timezone("+01:00");
        let zoned: ArrayRef = Arc::new(zoned);
        let local = coarser(&zoned, &DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap();
        assert_eq!(
            ScalarValue::try_from_array(&local, 0).unwrap(),
            ScalarValue::TimestampNanosecond(Some(3_599_999_999_999), None)
        );
    }

    #[test]
    fn a_filter_by_a_coarser_moment_is_one_by_a_range() {
        let ty = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let ns = |v| ScalarValue::TimestampNanosecond(Some(v), None);
        let us = |v| ScalarValue::TimestampMicrosecond(Some(v), None);
        assert_eq!(bounds(&ty, &us(-1)), Some((ns(-1000), ns(0))));
        // The year 2500.
        assert_eq!(bounds(&ty, &us(16_725_225_600_000_000)), None);
        let number = ScalarValue::Decimal128(Some(-7), 38, 0);
        assert_eq!(bounds(&ty, &number), Some((ns(-7), ns(-6))));
        let wide = ScalarValue::Decimal128(Some(i128::from(i64::MAX)), 38, 0);
        assert_eq!(bounds(&ty, &wide), None);
    }
}
