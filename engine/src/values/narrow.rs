//! Sums, differences and products of decimals whose digits have room in 64 bits, which is what columns mostly hold.
//!
//! Arrow checks each row's 128-bit operation for overflow, and a checked product of that width is a call. Here a batch is
//! looked at once: where both sides are narrow no operation can overflow, and a product is one instruction. Wider batches
//! go to Arrow's kernels, so results and errors are theirs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr_common::datum::apply;

use crate::expressions;

/// Most digits by which a narrow number is moved before it is added: two such numbers together have room in 128 bits.
const SHIFT_MAX: u32 = 18;

/// Puts the functions of this module in the place of operators. Runs when plans are optimized, after everything that
/// knows operators.
#[derive(Debug)]
pub(crate) struct NarrowDecimals;

impl OptimizerRule for NarrowDecimals {
    fn name(&self) -> &'static str {
        "narrow_decimals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        expressions::of_node(plan, &|expr, schema| Ok(planned(expr, schema)))
    }
}

fn planned(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let Some(operation) = Operation::of(*op) else {
        return Transformed::no(expr);
    };
    let decimal = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Decimal128(..)));
    if !(decimal(left) && decimal(right)) {
        return Transformed::no(expr);
    }
    let sides = vec![left.as_ref().clone(), right.as_ref().clone()];
    Transformed::yes(ScalarUDF::from(Narrow::new(operation)).call(sides))
}

/// The functions, which workers meet in plans.
pub(super) fn functions() -> [Arc<ScalarUDF>; 3] {
    [Operation::Add, Operation::Subtract, Operation::Multiply]
        .map(|operation| Arc::new(ScalarUDF::from(Narrow::new(operation))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
        }
    }

    /// Arrow's own.
    fn wide(self, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
        apply(left, right, |left, right| match self {
            Self::Add => numeric::add(left, right),
            Self::Subtract => numeric::sub(left, right),
            Self::Multiply => numeric::mul(left, right),
        })
    }
}

/// A side of an operator whose numbers are all narrow.
enum Side<'a> {
    Column(&'a Decimal128Array),
    Value(i64),
}

impl<'a> Side<'a> {
    /// `None` if a number has no room in 64 bits, or there is none.
    fn of(side: &'a ColumnarValue) -> Option<Self> {
        match side {
            ColumnarValue::Array(values) => {
                let values = values.as_primitive_opt::<Decimal128Type>()?;
                is_narrow(values.values()).then_some(Self::Column(values))
            }
            ColumnarValue::Scalar(ScalarValue::Decimal128(Some(value), ..)) => {
                i64::try_from(*value).ok().map(Self::Value)
            }
            ColumnarValue::Scalar(_) => None,
        }
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Column(values) => values.nulls(),
            Self::Value(_) => None,
        }
    }
}

/// The last 64 bits: the number itself if it is narrow.
#[allow(
    clippy::cast_possible_truncation,
    reason = "callers look whether bits are lost"
)]
#[inline]
fn cut(value: i128) -> i64 {
    value as i64
}

/// Whether all `values` have room in 64 bits, those of NULLs too.
fn is_narrow(values: &[i128]) -> bool {
    let beyond = |value: i128| (value >> 64) ^ i128::from(cut(value) >> 63);
    values.iter().fold(0, |all, value| all | beyond(*value)) == 0
}

/// `function` of each row of two narrow sides.
#[inline]
fn rows(left: &Side, right: &Side, function: impl Fn(i64, i64) -> i128) -> Option<Vec<i128>> {
    let narrow = |value: &i128| cut(*value);
    match (left, right) {
        (Side::Column(left), Side::Column(right)) => {
            let pairs = left.values().iter().zip(right.values());
            Some(pairs.map(|(l, r)| function(narrow(l), narrow(r))).collect())
        }
        (Side::Column(left), Side::Value(right)) => {
            let left = left.values().iter();
            Some(left.map(|l| function(narrow(l), *right)).collect())
        }
        (Side::Value(left), Side::Column(right)) => {
            let right = right.values().iter();
            Some(right.map(|r| function(*left, narrow(r))).collect())
        }
        (Side::Value(_), Side::Value(_)) => None,
    }
}

/// Ten to the power of the digits by which a number of `scale` is moved to have `wanted` digits after the point.
fn power(scale: i8, wanted: i8) -> Option<i64> {
    let shift = u32::try_from(wanted.checked_sub(scale)?).ok()?;
    (shift <= SHIFT_MAX).then(|| 10i64.pow(shift))
}

fn scale(ty: &DataType) -> Option<i8> {
    match ty {
        DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    }
}

/// The result if both sides are narrow.
fn narrow(
    operation: Operation,
    left: &ColumnarValue,
    right: &ColumnarValue,
    ty: &DataType,
) -> Option<ArrayRef> {
    let scales = (scale(&left.data_type())?, scale(&right.data_type())?);
    let wanted = scale(ty)?;
    let (left, right) = (Side::of(left)?, Side::of(right)?);
    let values = match operation {
        Operation::Multiply if scales.0.checked_add(scales.1) == Some(wanted) => {
            rows(&left, &right, |l, r| i128::from(l) * i128::from(r))
        }
        Operation::Multiply => None,
        Operation::Add | Operation::Subtract => {
            let powers = (power(scales.0, wanted)?, power(scales.1, wanted)?);
            let moved = move |l: i64, r: i64| {
                (
                    i128::from(l) * i128::from(powers.0),
                    i128::from(r) * i128::from(powers.1),
                )
            };
            match (operation, powers) {
                (Operation::Add, (1, 1)) => {
                    rows(&left, &right, |l, r| i128::from(l) + i128::from(r))
                }
                (Operation::Add, _) => rows(&left, &right, |l, r| {
                    let (l, r) = moved(l, r);
                    l + r
                }),
                (_, (1, 1)) => rows(&left, &right, |l, r| i128::from(l) - i128::from(r)),
                _ => rows(&left, &right, |l, r| {
                    let (l, r) = moved(l, r);
                    l - r
                }),
            }
        }
    }?;
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let values = Decimal128Array::new(values.into(), nulls);
    Some(Arc::new(values.with_data_type(ty.clone())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Narrow {
    operation: Operation,
    signature: Signature,
}

impl Narrow {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Narrow {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Add => "tarn_decimal_plus",
            Operation::Subtract => "tarn_decimal_minus",
            Operation::Multiply => "tarn_decimal_times",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, right] = types else {
            return exec_err!("{} takes two arguments", self.name());
        };
        // A side that became a literal NULL has lost its type.
        match (left, right) {
            (DataType::Null, ty) | (ty, DataType::Null) => Ok(ty.clone()),
            _ => BinaryTypeCoercer::new(left, &self.operation.operator(), right).get_result_type(),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let ty = self.return_type(&types)?;
        Ok(Arc::new(Field::new(self.name(), ty, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("{} takes two arguments", self.name());
        };
        let ty = args.return_field.data_type();
        match narrow(self.operation, left, right, ty) {
            Some(values) => Ok(ColumnarValue::Array(values)),
            None => self.operation.wide(left, right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 3] = [Operation::Add, Operation::Subtract, Operation::Multiply];

    fn column(values: &[Option<i128>], precision: u8, scale: i8) -> ColumnarValue {
        let values = Decimal128Array::from(values.to_vec());
        let values = values.with_precision_and_scale(precision, scale).unwrap();
        ColumnarValue::Array(Arc::new(values))
    }

    fn value(value: i128, precision: u8, scale: i8) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Decimal128(Some(value), precision, scale))
    }

    fn result_type(operation: Operation, left: &ColumnarValue, right: &ColumnarValue) -> DataType {
        let types = [left.data_type(), right.data_type()];
        Narrow::new(operation).return_type(&types).unwrap()
    }

    fn check_same(left: &ColumnarValue, right: &ColumnarValue) {
        for operation in OPERATIONS {
            let ty = result_type(operation, left, right);
            let ours = narrow(operation, left, right, &ty).unwrap();
            let theirs = operation.wide(left, right).unwrap().to_array(3).unwrap();
            assert_eq!(&ours, &theirs, "{operation:?} {left:?} {right:?}");
        }
    }

    #[test]
    fn narrow_numbers_give_what_arrow_gives() {
        let ends = [Some(i128::from(i64::MAX)), None, Some(i128::from(i64::MIN))];
        let some = [Some(5), Some(-7), Some(0)];
        for (precision, scale) in [(38, 2), (38, 0), (38, 18)] {
            let (ends, some) = (column(&ends, 38, 2), column(&some, precision, scale));
            check_same(&ends, &some);
            check_same(&some, &ends);
            check_same(&some, &value(100, 3, 2));
            check_same(&value(1, 1, 0), &some);
        }
    }

    #[test]
    fn wide_numbers_and_nulls_are_left_to_arrow() {
        let narrow_side = column(&[Some(1)], 38, 0);
        let beyond = i128::from(i64::MAX) + 1;
        for wide in [
            column(&[Some(beyond)], 38, 0),
            column(&[Some(-beyond - 1)], 38, 0),
            value(beyond, 38, 0),
            ColumnarValue::Scalar(ScalarValue::Decimal128(None, 38, 0)),
        ] {
            for operation in OPERATIONS {
                let ty = result_type(operation, &narrow_side, &wide);
                assert!(narrow(operation, &narrow_side, &wide, &ty).is_none());
            }
        }
        let apart = value(1, 20, 19);
        let ty = result_type(Operation::Add, &narrow_side, &apart);
        assert!(narrow(Operation::Add, &narrow_side, &apart, &ty).is_none());
    }
}
