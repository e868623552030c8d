//! How rules rewrite the expressions of a plan: each with the columns that it sees, results keep their names.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Rewrites every expression of `plan` and of its subqueries from the leaves up; their types stay.
pub(crate) fn rewrite(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| of_node(node, &change))
        .map(|done| done.data)
}

/// As [`rewrite`], where expressions may get other types: what is above the first that changed is typed anew.
pub(crate) fn rewrite_types(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let mut changed = false;
    plan.transform_up_with_subqueries(|node| {
        let done = of_node(node, &change)?;
        changed |= done.transformed;
        if changed {
            done.map_data(LogicalPlan::recompute_schema)
        } else {
            Ok(done)
        }
    })
    .map(|done| done.data)
}

/// Rewrites the expressions of this node alone.
pub(crate) fn of_node(
    node: LogicalPlan,
    change: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = &node {
        // Filters may name columns that the scan does not give back.
        let all = scan.source.schema();
        let all = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &all)?;
        schema.merge(&all);
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let done = expr.transform_up(|expr| change(expr, &schema))?;
        Ok(done.update_data(|expr| name.restore(expr)))
    })
}
