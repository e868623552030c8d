//! Decimal division and multiplication with the digits that PostgreSQL gives, rounded, not cut.
//!
//! DataFusion's quotient has four digits more than the dividend and is cut off. Here a quotient has twenty digits after
//! the point, or sixteen if the dividend is so wide that twenty leave no room. A product of two such numbers is rounded,
//! because no decimal has forty digits. Types are settled where the operator is planned.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, i256};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::decimals::DIGITS_MAX;
use crate::expressions;

/// Digits after the point of a quotient, where there is room. PostgreSQL gives at least sixteen significant ones.
const SCALE_WIDE: i8 = 20;
/// Digits after the point of a quotient of wide numbers.
const SCALE_NARROW: i8 = 16;
/// Products with more digits after the point are rounded.
const SCALE_EXACT_MAX: i8 = 24;

/// Plans the operators.
#[derive(Debug)]
pub(super) struct DecimalOperators;

impl ExprPlanner for DecimalOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let operation = match expr.op {
            BinaryOperator::Divide => Operation::Divide,
            BinaryOperator::Multiply => Operation::Multiply,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(match planned(operation, &expr.left, &expr.right, schema) {
            Some(call) => PlannerResult::Planned(call),
            None => PlannerResult::Original(expr),
        })
    }
}

/// Plans operators whose types were not known before, such as those of parameters. Runs before types are settled.
#[derive(Debug)]
pub(super) struct LateDecimalOperators;

impl AnalyzerRule for LateDecimalOperators {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite_types(plan, |expr, schema| Ok(late(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "late_decimal_operators"
    }
}

fn late(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let operation = match op {
        Operator::Divide => Operation::Divide,
        Operator::Multiply => Operation::Multiply,
        _ => return Transformed::no(expr),
    };
    match planned(operation, left, right, schema) {
        Some(call) => Transformed::yes(call),
        None => Transformed::no(expr),
    }
}

/// The call that an operator is; none if DataFusion's own does.
fn planned(operation: Operation, left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let types = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    let decimal = |ty: &DataType| matches!(ty, DataType::Decimal128(..));
    if !(decimal(&types.0) || decimal(&types.1)) {
        return None;
    }
    let (left, right) = (operand(left, &types.0)?, operand(right, &types.1)?);
    if operation == Operation::Multiply && left.1.1 + right.1.1 <= SCALE_EXACT_MAX {
        return None;
    }
    Some(ScalarUDF::from(Decimals::new(operation)).call(vec![left.0, right.0]))
}

/// `expr` as a decimal, with its precision and scale. A literal is as narrow as it is written.
fn operand(expr: &Expr, ty: &DataType) -> Option<(Expr, (u8, i8))> {
    let written = written(expr);
    let shape = match (ty, written) {
        (DataType::Decimal128(_, scale), Some(whole)) => {
            let scale = (*scale).max(0);
            (
                whole.saturating_add(scale.unsigned_abs()).clamp(1, 38),
                scale,
            )
        }
        (DataType::Decimal128(precision, scale), None) if *scale >= 0 => (*precision, *scale),
        (ty, Some(whole)) if ty.is_integer() => (whole.max(1), 0),
        (DataType::Int8, _) => (3, 0),
        (DataType::Int16 | DataType::UInt8, _) => (5, 0),
        (DataType::Int32 | DataType::UInt16, _) => (10, 0),
        (DataType::Int64 | DataType::UInt32 | DataType::UInt64, _) => (20, 0),
        _ => return None,
    };
    let wanted = DataType::Decimal128(shape.0, shape.1);
    let expr = if *ty == wanted {
        expr.clone()
    } else {
        Expr::Cast(Cast::new(Box::new(expr.clone()), wanted))
    };
    Some((expr, shape))
}

/// Digits before the point of a literal.
fn written(expr: &Expr) -> Option<u8> {
    match expr {
        Expr::Literal(value, _) => {
            let text = match value {
                ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => text.clone(),
                other if other.is_null() => return None,
                other => other.to_string(),
            };
            let text = text.trim().trim_start_matches(['-', '+']);
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(fraction) {
                return None;
            }
            u8::try_from(whole.trim_start_matches('0').len()).ok()
        }
        Expr::Cast(Cast { expr, .. }) | Expr::Negative(expr) => match expr.as_ref() {
            // A rounded literal may carry into one more digit.
            Expr::Literal(..) => written(expr).map(|digits| digits.saturating_add(1)),
            _ => None,
        },
        _ => None,
    }
}

/// The functions, which workers meet in plans.
pub(super) fn functions() -> [Arc<ScalarUDF>; 3] {
    [Operation::Divide, Operation::Multiply, Operation::Whole]
        .map(|operation| Arc::new(ScalarUDF::from(Decimals::new(operation))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Divide,
    Multiply,
    /// `div(a, b)`: the whole part of the quotient.
    Whole,
}

impl Operation {
    fn result(self, left: (u8, i8), right: (u8, i8)) -> (u8, i8) {
        let most = left.1.max(right.1);
        let digits = |shape: (u8, i8)| i16::from(shape.0) - i16::from(shape.1);
        let room = |whole: i16, scale: i8| {
            u8::try_from((whole + i16::from(scale)).clamp(1, i16::from(DIGITS_MAX)))
                .unwrap_or(DIGITS_MAX)
        };
        match self {
            Self::Divide => {
                let whole = digits(left) + i16::from(right.1);
                let wide = whole + i16::from(SCALE_WIDE) <= i16::from(DIGITS_MAX);
                let scale = most.max(if wide { SCALE_WIDE } else { SCALE_NARROW });
                // Rounding may carry into one more digit.
                (room(whole + 1, scale), scale)
            }
            Self::Multiply => {
                let scale = most.max(SCALE_WIDE).min(left.1 + right.1);
                (room(digits(left) + digits(right) + 1, scale), scale)
            }
            Self::Whole => (room(digits(left) + i16::from(right.1), 0), 0),
        }
    }

    /// The result of one row, in digits of `scale`.
    fn apply(self, left: (i128, i8), right: (i128, i8), scale: i8) -> Result<i128> {
        let value = match self {
            Self::Divide | Self::Whole => {
                if right.0 == 0 {
                    return Err(ArrowError::DivideByZero.into());
                }
                quotient(
                    left.0,
                    right.0,
                    scale + right.1 - left.1,
                    self == Self::Divide,
                )
            }
            Self::Multiply => product(left.0, right.0, left.1 + right.1 - scale),
        };
        let limit = 10u128.pow(u32::from(DIGITS_MAX));
        match value {
            Some(value) if value.unsigned_abs() < limit => Ok(value),
            _ => exec_err!("numeric out of range: overflow beyond {DIGITS_MAX} digits"),
        }
    }
}

fn power(exponent: i8) -> Option<i256> {
    (0..exponent).try_fold(i256::ONE, |power, _| power.checked_mul(i256::from_i128(10)))
}

/// `left * 10^shift / right`; halves go away from zero.
pub(super) fn quotient(left: i128, right: i128, shift: i8, round: bool) -> Option<i128> {
    let small = u32::try_from(shift)
        .ok()
        .and_then(|shift| 10i128.checked_pow(shift))
        .and_then(|power| left.checked_mul(power));
    if let Some(left) = small {
        let value = left.checked_div(right)?;
        let rest = left.checked_rem(right)?.unsigned_abs();
        let up = round && rest >= right.unsigned_abs() - rest;
        return value.checked_add(step(up, (left < 0) != (right < 0)));
    }
    let (left, divisor) = if shift >= 0 {
        (
            i256::from_i128(left).checked_mul(power(shift)?)?,
            i256::from_i128(right),
        )
    } else {
        (
            i256::from_i128(left),
            i256::from_i128(right).checked_mul(power(-shift)?)?,
        )
    };
    rounded(left, divisor, round)
}

/// `left * right / 10^shift`; halves go away from zero.
fn product(left: i128, right: i128, shift: i8) -> Option<i128> {
    let value = i256::from_i128(left).checked_mul(i256::from_i128(right))?;
    rounded(value, power(shift)?, true)
}

fn rounded(value: i256, divisor: i256, round: bool) -> Option<i128> {
    let rest = value.checked_rem(divisor)?.wrapping_abs();
    let up = round && rest >= divisor.wrapping_abs().checked_sub(rest)?;
    let negative = value.is_negative() != divisor.is_negative();
    value
        .checked_div(divisor)?
        .checked_add(i256::from_i128(step(up, negative)))?
        .to_i128()
}

fn step(up: bool, negative: bool) -> i128 {
    match (up, negative) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => -1,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Decimals {
    operation: Operation,
    signature: Signature,
}

impl Decimals {
    fn new(operation: Operation) -> Self {
        let signature = match operation {
            Operation::Whole => Signature::user_defined(Volatility::Immutable),
            _ => Signature::any(2, Volatility::Immutable),
        };
        Self {
            operation,
            signature,
        }
    }
}

fn shape(ty: &DataType) -> Result<(u8, i8)> {
    match ty {
        DataType::Decimal128(precision, scale) => Ok((*precision, *scale)),
        DataType::Null => Ok((DIGITS_MAX, 0)),
        other => exec_err!("a numeric is expected, not {other}"),
    }
}

impl ScalarUDFImpl for Decimals {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Divide => "tarn_divide",
            Operation::Multiply => "tarn_times",
            Operation::Whole => "div",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = types else {
            return exec_err!("{} takes two arguments", self.name());
        };
        let numeric = |ty: &DataType| match ty {
            DataType::Decimal128(..) => ty.clone(),
            ty if ty.is_integer() => DataType::Decimal128(20, 0),
            _ => DataType::Decimal128(DIGITS_MAX, 10),
        };
        Ok(vec![numeric(left), numeric(right)])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, right] = types else {
            return exec_err!("{} takes two arguments", self.name());
        };
        let (precision, scale) = self.operation.result(shape(left)?, shape(right)?);
        Ok(DataType::Decimal128(precision, scale))
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
        let each = |arrays: &[ArrayRef]| {
            let [left, right] = arrays else {
                return exec_err!("{} takes two arguments", self.name());
            };
            let ty = args.return_field.data_type();
            let (_, scale) = shape(ty)?;
            let (left_shape, right_shape) = (shape(left.data_type())?, shape(right.data_type())?);
            let values = match (
                left.as_primitive_opt::<Decimal128Type>(),
                right.as_primitive_opt::<Decimal128Type>(),
            ) {
                (Some(left), Some(right)) => left
                    .iter()
                    .zip(right)
                    .map(|pair| match pair {
                        (Some(left), Some(right)) => self
                            .operation
                            .apply((left, left_shape.1), (right, right_shape.1), scale)
                            .map(Some),
                        _ => Ok(None),
                    })
                    .collect::<Result<Decimal128Array>>()?,
                _ => Decimal128Array::new_null(left.len()),
            };
            let values: ArrayRef = Arc::new(values.with_data_type(ty.clone()));
            Ok(values)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_quotient(left: (i128, i8), right: (i128, i8), scale: i8, wanted: i128) {
        let value = Operation::Divide.apply(left, right, scale).unwrap();
        assert_eq!(value, wanted, "{left:?} / {right:?}");
    }

    #[test]
    fn a_quotient_is_rounded_away_from_zero() {
        check_quotient((2, 0), (3, 0), 20, 66_666_666_666_666_666_667);
        check_quotient((-2, 0), (3, 0), 20, -66_666_666_666_666_666_667);
        check_quotient((10, 1), (3, 0), 4, 3333);
        check_quotient((100, 2), (8, 0), 2, 13);
        check_quotient((-100, 2), (8, 0), 2, -13);
        let wide = 10i128.pow(37);
        check_quotient(
            (wide, 16),
            (30, 1),
            16,
            3_333_333_333_333_333_333_333_333_333_333_333_333,
        );
        assert!(Operation::Divide.apply((1, 0), (0, 0), 16).is_err());
        assert!(Operation::Divide.apply((wide, 0), (1, 2), 16).is_err());
    }

    #[test]
    fn a_product_of_quotients_has_room() {
        assert_eq!(Operation::Multiply.result((29, 20), (29, 20)), (38, 20));
        let third = 33_333_333_333_333_333_333;
        let product = Operation::Multiply.apply((third, 20), (third, 20), 20);
        assert_eq!(product.unwrap(), 11_111_111_111_111_111_111);
    }

    #[test]
    fn wide_numbers_keep_their_digits_before_the_point() {
        assert_eq!(Operation::Divide.result((1, 0), (1, 0)), (22, 20));
        assert_eq!(Operation::Divide.result((38, 0), (10, 0)), (38, 16));
        assert_eq!(Operation::Divide.result((38, 30), (10, 0)), (38, 30));
        assert_eq!(Operation::Whole.apply((-75, 1), (2, 0), 0).unwrap(), -3);
    }
}
