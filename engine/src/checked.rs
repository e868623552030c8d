//! Operators that check: `+`, `-` and `*` of integers fail where the result does not fit, `/` of floats where
//! the divisor is zero.
//!
//! DataFusion has checked operators but plans, and ships to workers, those that wrap; a float divided by zero
//! it calls infinite. Such operators are therefore planned as functions of the same name in results. Knows
//! logical plans only; decimals are [`crate::values`]'.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum};
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, sub};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Plans operators as checked ones. Runs after types are settled.
#[derive(Debug)]
pub(crate) struct CheckOperators;

impl AnalyzerRule for CheckOperators {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| Ok(checked(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "check_operators"
    }
}

fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let Some(operation) = Operation::of(*op) else {
        return Transformed::no(expr);
    };
    // What has no type here, such as a column of an outer query, keeps its operator.
    match (left.get_type(schema), right.get_type(schema)) {
        (Ok(l), Ok(r)) if l == r && operation.takes(&l) => Transformed::yes(
            ScalarUDF::from(Checked::new(operation))
                .call(vec![left.as_ref().clone(), right.as_ref().clone()]),
        ),
        _ => Transformed::no(expr),
    }
}

/// The functions of [`CheckOperators`], which workers meet in plans.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 4] {
    use Operation::{Add, Divide, Multiply, Subtract};
    [Add, Subtract, Multiply, Divide]
        .map(|operation| Arc::new(ScalarUDF::from(Checked::new(operation))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    /// Of floats; integers fail by themselves.
    Divide,
}

impl Operation {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            Operator::Divide => Some(Self::Divide),
            _ => None,
        }
    }

    fn takes(self, ty: &DataType) -> bool {
        match self {
            Self::Divide => matches!(ty, DataType::Float32 | DataType::Float64),
            Self::Add | Self::Subtract | Self::Multiply => ty.is_integer(),
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
        }
    }

    fn apply(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef> {
        Ok(match self {
            Self::Add => add(left, right)?,
            Self::Subtract => sub(left, right)?,
            Self::Multiply => mul(left, right)?,
            Self::Divide => {
                refuse_zero(left, right)?;
                div(left, right)?
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Add => "tarn_add",
            Operation::Subtract => "tarn_subtract",
            Operation::Multiply => "tarn_multiply",
            Operation::Divide => "tarn_divide_floats",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let [left, right] = args else {
            return exec_err!("{} takes two arguments", self.name());
        };
        Ok(format!("{left} {} {right}", self.operation.sign()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, _] = types else {
            return exec_err!("{} takes two arguments", self.name());
        };
        Ok(left.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let [left, _] = args.arg_fields else {
            return exec_err!("{} takes two arguments", self.name());
        };
        Ok(Arc::new(Field::new(
            self.name(),
            left.data_type().clone(),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        use ColumnarValue::{Array, Scalar};
        let [left, right] = &args.args[..] else {
            return exec_err!("{} takes two arguments", self.name());
        };
        Ok(match (left, right) {
            (Array(l), Array(r)) => Array(self.operation.apply(l, r)?),
            (Array(l), Scalar(r)) => Array(self.operation.apply(l, &r.to_scalar()?)?),
            (Scalar(l), Array(r)) => Array(self.operation.apply(&l.to_scalar()?, r)?),
            (Scalar(l), Scalar(r)) => {
                let value = self.operation.apply(&l.to_scalar()?, &r.to_scalar()?)?;
                Scalar(ScalarValue::try_from_array(&value, 0)?)
            }
        })
    }
}

/// NaN divided by zero is NaN, NULL is NULL; everything else is an error.
fn refuse_zero(left: &dyn Datum, right: &dyn Datum) -> Result<(), ArrowError> {
    let found = match right.get().0.data_type() {
        DataType::Float32 => divides_by_zero::<Float32Type>(left, right, f64::from),
        _ => divides_by_zero::<Float64Type>(left, right, |value| value),
    };
    if found {
        return Err(ArrowError::DivideByZero);
    }
    Ok(())
}

fn divides_by_zero<T: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    float: impl Fn(T::Native) -> f64,
) -> bool {
    let ((left, single), (right, constant)) = (left.get(), right.get());
    let (dividends, divisors) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let zero = |at: usize| divisors.is_valid(at) && float(divisors.value(at)) == 0.0;
    if constant && !zero(0) {
        return false;
    }
    let number = |at: usize| dividends.is_valid(at) && !float(dividends.value(at)).is_nan();
    let rows = if single {
        divisors.len()
    } else {
        dividends.len()
    };
    (0..rows).any(|row| {
        let (dividend, divisor) = (if single { 0 } else { row }, if constant { 0 } else { row });
        zero(divisor) && number(dividend)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Scalar};

    #[test]
    fn only_numbers_divided_by_zero_are_refused() {
        let check = |left: Option<f64>, right: Option<f64>| {
            let array = |value| Float64Array::from(vec![value]);
            let (l, r) = (array(left), array(right));
            let refused = refuse_zero(&l, &r).is_err();
            assert_eq!(refuse_zero(&l, &Scalar::new(&r)).is_err(), refused);
            assert_eq!(refuse_zero(&Scalar::new(&l), &r).is_err(), refused);
            refused
        };
        assert!(check(Some(1.0), Some(0.0)) && check(Some(0.0), Some(-0.0)));
        assert!(!check(Some(f64::NAN), Some(0.0)) && !check(None, Some(0.0)));
        assert!(!check(Some(1.0), None) && !check(Some(1.0), Some(2.0)));
    }
}
