//! Functions of PostgreSQL that DataFusion does not have: `gen_random_uuid`, `width_bucket`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, FixedSizeBinaryBuilder, Int32Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int32Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use uuid::Uuid;

use crate::casts::{uuid_type, with_uuid};

/// The functions, for every process of the cluster.
pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [
        Arc::new(ScalarUDF::from(RandomUuid {
            signature: Signature::nullary(Volatility::Volatile),
        })),
        Arc::new(ScalarUDF::from(WidthBucket {
            signature: Signature::user_defined(Volatility::Immutable),
        })),
    ]
}

/// A random uuid for each row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    signature: Signature,
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &'static str {
        "gen_random_uuid"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(uuid_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), uuid_type(), false);
        Ok(Arc::new(with_uuid(field)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut out = FixedSizeBinaryBuilder::with_capacity(args.number_rows, 16);
        for _ in 0..args.number_rows {
            out.append_value(Uuid::new_v4().as_bytes())?;
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

/// `width_bucket(value, low, high, count)`. Source: PostgreSQL, "Mathematical Functions".
#[derive(Debug, PartialEq, Eq, Hash)]
struct WidthBucket {
    signature: Signature,
}

impl ScalarUDFImpl for WidthBucket {
    fn name(&self) -> &'static str {
        "width_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() != 4 || !types.iter().all(|ty| ty.is_numeric() || ty.is_null()) {
            return plan_err!("width_bucket takes three numbers and a count");
        }
        Ok(vec![
            DataType::Float64,
            DataType::Float64,
            DataType::Float64,
            DataType::Int32,
        ])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let each = |arrays: &[ArrayRef]| {
            let [values, lows, highs, counts] = arrays else {
                return exec_err!("width_bucket takes four arguments");
            };
            let values = values.as_primitive::<Float64Type>();
            let lows = lows.as_primitive::<Float64Type>();
            let highs = highs.as_primitive::<Float64Type>();
            let counts = counts.as_primitive::<Int32Type>();
            let rows = values.iter().zip(lows).zip(highs).zip(counts);
            let buckets = rows
                .map(|row| match row {
                    (((Some(value), Some(low)), Some(high)), Some(count)) => {
                        bucket(value, low, high, count).map(Some)
                    }
                    _ => Ok(None),
                })
                .collect::<Result<Int32Array>>()?;
            let buckets: ArrayRef = Arc::new(buckets);
            Ok(buckets)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

fn bucket(value: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    if count <= 0 {
        return exec_err!("count must be greater than zero");
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return exec_err!("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return exec_err!("lower and upper bounds must be finite");
    }
    #[allow(
        clippy::float_cmp,
        reason = "PostgreSQL refuses bounds that are the same"
    )]
    if low == high {
        return exec_err!("lower bound cannot equal upper bound");
    }
    let (before, after) = if low < high {
        (value < low, value >= high)
    } else {
        (value > low, value <= high)
    };
    if before {
        return Ok(0);
    }
    if after {
        let Some(last) = count.checked_add(1) else {
            return exec_err!("integer out of range: overflow of width_bucket()");
        };
        return Ok(last);
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the quotient is between 0 and the count"
    )]
    let whole = (f64::from(count) * ((value - low) / (high - low))).floor() as i32;
    Ok(whole.min(count - 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_numbered_from_one() {
        let check = |value, low, high, wanted| {
            assert_eq!(bucket(value, low, high, 5).unwrap(), wanted, "{value}");
        };
        check(5.35, 0.024, 10.06, 3);
        check(-1.0, 0.0, 10.0, 0);
        check(10.0, 0.0, 10.0, 6);
        check(9.0, 10.0, 0.0, 1);
        check(0.0, 10.0, 0.0, 6);
        assert!(bucket(1.0, 2.0, 2.0, 5).is_err() && bucket(1.0, 0.0, 2.0, 0).is_err());
    }
}
