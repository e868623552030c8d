//! Integers that do not wrap around: `+`, `-` and `*` of integers fail where the result does not fit.
//!
//! DataFusion has checked operators but plans, and ships to workers, those that wrap. Integer operators
//! are therefore planned as functions of the same name in results. Knows logical plans only; decimals
//! and floats have no such trouble.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Datum};
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Plans integer operators as checked ones. Runs after types are settled.
#[derive(Debug)]
pub(crate) struct CheckOverflow;

impl AnalyzerRule for CheckOverflow {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| Ok(checked(expr, schema)))
    }

    fn name(&self) -> &'static str {
        "check_overflow"
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
        (Ok(l), Ok(r)) if l == r && l.is_integer() => Transformed::yes(
            ScalarUDF::from(Checked::new(operation))
                .call(vec![left.as_ref().clone(), right.as_ref().clone()]),
        ),
        _ => Transformed::no(expr),
    }
}

/// The functions of [`CheckOverflow`], which workers meet in plans.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 3] {
    [Operation::Add, Operation::Subtract, Operation::Multiply]
        .map(|operation| Arc::new(ScalarUDF::from(Checked::new(operation))))
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

    fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
        }
    }

    fn apply(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef> {
        Ok(match self {
            Self::Add => add(left, right)?,
            Self::Subtract => sub(left, right)?,
            Self::Multiply => mul(left, right)?,
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
