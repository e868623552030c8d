//! A subquery used as an expression has one row at most, as the SQL standard demands.
//!
//! DataFusion joins an uncorrelated one without a look at its rows and would answer with too many.
//! Here it passes through an aggregate that refuses a second row. A correlated one must be an
//! aggregate anyway. Knows logical plans only.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, LogicalPlanBuilder, Signature,
    Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// What the error says; the class of the error is known by it.
pub(crate) const TOO_MANY_ROWS: &str =
    "more than one row returned by a subquery used as an expression";

/// Puts the check into every subquery that may have several rows.
#[derive(Debug)]
pub(crate) struct CheckSingleRow;

impl AnalyzerRule for CheckSingleRow {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(subquery) => checked(subquery),
                    other => Ok(Transformed::no(other)),
                })
            })
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "check_single_row"
    }
}

fn checked(subquery: Subquery) -> Result<Transformed<Expr>> {
    // DataFusion counts no row for a SELECT without FROM, so a union of two looks like none.
    let union = subquery
        .subquery
        .exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))?;
    let single = !union && subquery.subquery.max_rows().is_some_and(|rows| rows <= 1);
    if single || !subquery.outer_ref_columns.is_empty() {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let value = AggregateUDF::from(Single::new()).call(vec![column]);
    let output = Expr::Column(Column::new_unqualified(value.schema_name().to_string()))
        .alias_qualified(qualifier.cloned(), field.name());
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), vec![value])?
        .project(vec![output])?
        .build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        ..subquery
    })))
}

/// The aggregate of [`CheckSingleRow`], which workers meet in plans.
pub(crate) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Single::new()))
}

/// The value of the only row, NULL without rows, an error for several.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Single {
    signature: Signature,
}

impl Single {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Single {
    fn name(&self) -> &'static str {
        "tarn_single"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [only] = types else {
            return exec_err!("tarn_single takes one argument");
        };
        Ok(only.clone())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SingleRow {
            value: ScalarValue::try_from(args.return_field.data_type())?,
            rows: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.return_field.data_type().clone();
        Ok(vec![
            Arc::new(Field::new(format!("{}[value]", args.name), value, true)),
            Arc::new(Field::new(
                format!("{}[rows]", args.name),
                DataType::UInt64,
                false,
            )),
        ])
    }
}

#[derive(Debug)]
struct SingleRow {
    value: ScalarValue,
    rows: u64,
}

impl SingleRow {
    fn take(&mut self, values: &ArrayRef, row: usize, rows: u64) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.rows += rows;
        if self.rows > 1 {
            return exec_err!("{TOO_MANY_ROWS}");
        }
        self.value = ScalarValue::try_from_array(values, row)?;
        Ok(())
    }
}

impl Accumulator for SingleRow {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else {
            return exec_err!("tarn_single takes one argument");
        };
        self.take(values, 0, values.len() as u64)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size() - size_of::<ScalarValue>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            self.value.clone(),
            ScalarValue::UInt64(Some(self.rows)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, rows] = states else {
            return exec_err!("tarn_single has two states");
        };
        let rows = rows.as_primitive::<UInt64Type>();
        (0..rows.len()).try_for_each(|row| self.take(values, row, rows.value(row)))
    }
}
