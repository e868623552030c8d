//! How rules rewrite the expressions of a plan: each with the columns that it sees, results keep their names.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, LogicalPlan};

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
    retyped(plan, |node| of_node(node, &change))
}

/// Rewrites every node of `plan` and of its subqueries from the leaves up: what is above the first that changed is typed
/// anew.
pub(crate) fn retyped(
    plan: LogicalPlan,
    change: impl Fn(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let mut changed = false;
    plan.transform_up_with_subqueries(|node| {
        let done = change(node)?;
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

/// `expr` with every operand of its comparison changed, or every value that it may be.
pub(crate) fn operands(expr: Expr, change: impl Fn(Expr) -> Expr) -> Expr {
    let boxed = |expr: Box<Expr>| Box::new(change(*expr));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            Expr::BinaryExpr(BinaryExpr::new(boxed(left), op, boxed(right)))
        }
        Expr::Between(b) => Expr::Between(Between::new(
            boxed(b.expr),
            b.negated,
            boxed(b.low),
            boxed(b.high),
        )),
        Expr::InList(l) => Expr::InList(InList::new(
            boxed(l.expr),
            l.list.into_iter().map(change).collect(),
            l.negated,
        )),
        Expr::Case(mut case) => {
            let branches = case.when_then_expr.into_iter();
            case.when_then_expr = branches.map(|(when, then)| (when, boxed(then))).collect();
            case.else_expr = case.else_expr.map(boxed);
            Expr::Case(case)
        }
        Expr::ScalarFunction(mut call) => {
            call.args = call.args.into_iter().map(change).collect();
            Expr::ScalarFunction(call)
        }
        other => other,
    }
}
