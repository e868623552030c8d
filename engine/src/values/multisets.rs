//! `EXCEPT ALL` and `INTERSECT ALL` count: of a row that is there twice, one taken away leaves one.
//!
//! DataFusion plans a semi or anti join of the rows, to which copies are all the same. Here the copies of a row are
//! numbered on both sides and joined with their numbers. Runs before types are settled. Knows logical plans only.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::AnalyzerRule;

use crate::grouping::opaque;

/// Names of the numbers of the copies on the two sides.
const COPIES: [&str; 2] = ["tarn copy", "tarn other copy"];

/// Numbers the copies of rows.
#[derive(Debug)]
pub(super) struct CountCopies;

impl AnalyzerRule for CountCopies {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if is_multiset(&join) => counted(&join).map(Transformed::yes),
            other => Ok(Transformed::no(other)),
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "count_copies"
    }
}

/// Whether a join is one of whole rows, as only set operations are. Rows that are all different need no number.
fn is_multiset(join: &Join) -> bool {
    let schema = join.left.schema();
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == schema.fields().len()
        && !schema.fields().is_empty()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
        && !schema
            .fields()
            .iter()
            .any(|field| field.name() == COPIES[0])
}

fn counted(join: &Join) -> Result<LogicalPlan> {
    let (mut left_keys, mut right_keys) = (vec![], vec![]);
    for (left, right) in &join.on {
        let (Expr::Column(left), Expr::Column(right)) = (left, right) else {
            return Ok(LogicalPlan::Join(join.clone()));
        };
        left_keys.push(left.clone());
        right_keys.push(right.clone());
    }
    let left = numbered(&join.left, &left_keys, COPIES[0])?;
    let right = numbered(&join.right, &right_keys, COPIES[1])?;
    left_keys.push(Column::new_unqualified(COPIES[0]));
    right_keys.push(Column::new_unqualified(COPIES[1]));
    let rows = join.left.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(left)
        .join_detailed(
            right,
            join.join_type,
            (left_keys, right_keys),
            None,
            NullEquality::NullEqualsNull,
        )?
        .project(rows.collect::<Vec<_>>())?
        .build()
}

fn numbered(input: &Arc<LogicalPlan>, keys: &[Column], name: &str) -> Result<LogicalPlan> {
    let number = super::row_number()
        .partition_by(keys.iter().cloned().map(Expr::Column).collect())
        .build()?
        .alias(name);
    // A worker does not know what is constant here, and would miss it among the sort keys.
    LogicalPlanBuilder::from(opaque(input.as_ref().clone())?)
        .window(vec![number])?
        .build()
}
