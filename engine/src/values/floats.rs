//! Of a float and a decimal that CASE, coalesce or UNION puts into one place, both are floats, as in PostgreSQL.
//!
//! Knows logical plans only.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::expressions;

/// Makes decimals floats where they are an alternative to a float. Runs before types are settled.
#[derive(Debug)]
pub(super) struct FloatChoices;

impl AnalyzerRule for FloatChoices {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::retyped(plan, |node| {
            let chosen = |expr: Expr, schema: &DFSchema| Ok(chosen(expr, schema));
            expressions::of_node(node, &chosen)?.transform_data(united)
        })
    }

    fn name(&self) -> &'static str {
        "float_choices"
    }
}

/// A union in whose columns no decimal is beside a float.
fn united(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let columns = union.schema.fields().len();
    let as_wide = |input: &Arc<LogicalPlan>| input.schema().fields().len() == columns;
    if !union.inputs.iter().all(as_wide) {
        return Ok(Transformed::no(plan));
    }
    let any = |at: usize, wanted: fn(&DataType) -> bool| {
        let mut fields = union.inputs.iter().map(|input| input.schema().field(at));
        fields.any(|field| wanted(field.data_type()))
    };
    let mixed: Vec<bool> = (0..columns)
        .map(|at| any(at, DataType::is_floating) && any(at, DataType::is_decimal))
        .collect();
    if !mixed.contains(&true) {
        return Ok(Transformed::no(plan));
    }
    let with_floats = |input: &Arc<LogicalPlan>| {
        let columns = input.schema().iter().zip(&mixed);
        let columns = columns.map(|((qualifier, field), mixed)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            if *mixed && field.data_type().is_decimal() {
                cast(column, DataType::Float64).alias(field.name())
            } else {
                column
            }
        });
        let input = LogicalPlanBuilder::from(Arc::clone(input)).project(columns)?;
        Ok(Arc::new(input.build()?))
    };
    let inputs = union.inputs.iter().map(with_floats);
    let union = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
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
