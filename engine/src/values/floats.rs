//! A float divided by zero is an error, as in PostgreSQL, not an infinity; of a float and a decimal that CASE or coalesce
//! chooses from, both are floats.
//!
//! Knows logical plans only.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::kernels::numeric::div;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Makes decimals floats where they are an alternative to a float. Runs before types are settled.
#[derive(Debug)]
pub(super) struct FloatChoices;

impl AnalyzerRule for FloatChoices {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite_types(plan, |expr, schema| Ok(chosen(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "float_choices"
    }
}

fn chosen(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let mut choices: Vec<&mut Expr> = match &mut expr {
        Expr::Case(case) => case
            .when_then_expr
            .iter_mut()
            .map(|(_, then)| then.as_mut())
            .chain(case.else_expr.iter_mut().map(AsMut::as_mut))
            .collect(),
        Expr::ScalarFunction(call) if call.name() == "coalesce" => call.args.iter_mut().collect(),
        _ => return Transformed::no(expr),
    };
    let types: Vec<_> = choices.iter().map(|expr| expr.get_type(schema)).collect();
    let any = |wanted: fn(&DataType) -> bool| types.iter().flatten().any(wanted);
    if !(any(DataType::is_floating) && any(DataType::is_decimal)) {
        return Transformed::no(expr);
    }
    for (choice, ty) in choices.iter_mut().zip(&types) {
        if ty.as_ref().is_ok_and(DataType::is_decimal) {
            **choice = cast((**choice).clone(), DataType::Float64);
        }
    }
    Transformed::yes(expr)
}

/// Plans divisions of floats as ones that look at the divisor. Runs after types are settled.
#[derive(Debug)]
pub(super) struct CheckDivisors;

impl AnalyzerRule for CheckDivisors {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| Ok(checked(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "check_divisors"
    }
}

fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Divide,
        right,
    }) = &expr
    else {
        return Transformed::no(expr);
    };
    match (left.get_type(schema), right.get_type(schema)) {
        (Ok(l), Ok(r)) if l == r && matches!(l, DataType::Float32 | DataType::Float64) => {
            Transformed::yes(
                ScalarUDF::from(Quotient::new())
                    .call(vec![left.as_ref().clone(), right.as_ref().clone()]),
            )
        }
        _ => Transformed::no(expr),
    }
}

/// The function, which workers meet in plans.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Quotient::new()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient {
    signature: Signature,
}

impl Quotient {
    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &'static str {
        "tarn_divide_floats"
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
        let ty = left.data_type().clone();
        Ok(Arc::new(Field::new(self.name(), ty, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let each = |arrays: &[ArrayRef]| {
            let [left, right] = arrays else {
                return exec_err!("{} takes two arguments", self.name());
            };
            refuse_zero(left, right)?;
            let values = div(left, right)?;
            Ok(values)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

/// NaN divided by zero is NaN, NULL is NULL; everything else is an error.
fn refuse_zero(left: &ArrayRef, right: &ArrayRef) -> Result<()> {
    let wrong = |row: usize, zero: bool, nan: bool| {
        zero && !nan && left.is_valid(row) && right.is_valid(row)
    };
    let found = if let Some(divisors) = right.as_primitive_opt::<Float64Type>() {
        let dividends = left.as_primitive::<Float64Type>().values();
        let pairs = divisors.values().iter().zip(dividends).enumerate();
        pairs
            .into_iter()
            .any(|(row, (r, l))| wrong(row, *r == 0.0, l.is_nan()))
    } else if let Some(divisors) = right.as_primitive_opt::<Float32Type>() {
        let dividends = left.as_primitive::<Float32Type>().values();
        let pairs = divisors.values().iter().zip(dividends).enumerate();
        pairs
            .into_iter()
            .any(|(row, (r, l))| wrong(row, *r == 0.0, l.is_nan()))
    } else {
        false
    };
    if found {
        return Err(ArrowError::DivideByZero.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Array;

    #[test]
    fn only_numbers_divided_by_zero_are_refused() {
        let check = |left: Option<f64>, right: Option<f64>| {
            let array = |value| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
            refuse_zero(&array(left), &array(right)).is_err()
        };
        assert!(check(Some(1.0), Some(0.0)) && check(Some(0.0), Some(-0.0)));
        assert!(!check(Some(f64::NAN), Some(0.0)) && !check(None, Some(0.0)));
        assert!(!check(Some(1.0), None) && !check(Some(1.0), Some(2.0)));
    }
}
