//! `NOT IN` where nothing is NULL: an anti-join like others.
//!
//! A join for `NOT IN` must look for NULLs on both sides, which ties it to one way of running. Where the schema or exact
//! counts of the files say that neither side has one, it is made an ordinary anti-join, which may be moved, and built of
//! its smaller side. Never by an estimate.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::late::output_columns;
use crate::scan;

/// The plan with joins that look for NULLs only where there may be some.
pub(super) fn without_needless_looks(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(join) = node.downcast_ref::<HashJoinExec>() else {
            return Ok(Transformed::no(node));
        };
        if !join.null_aware {
            return Ok(Transformed::no(node));
        }
        for (left, right) in join.on() {
            if !(expr_is_never_null(join.left(), left)? && expr_is_never_null(join.right(), right)?)
            {
                return Ok(Transformed::no(node));
            }
        }
        let ordinary = join.builder().with_null_aware(false).build()?;
        Ok(Transformed::yes(
            Arc::new(ordinary) as Arc<dyn ExecutionPlan>
        ))
    })
    .map(|done| done.data)
}

fn expr_is_never_null(
    input: &Arc<dyn ExecutionPlan>,
    expr: &Arc<dyn PhysicalExpr>,
) -> Result<bool> {
    match expr.downcast_ref::<Column>() {
        Some(column) => is_never_null(input, column.index()),
        None => Ok(false),
    }
}

/// Whether no row of `plan` has NULL in its column at `position`.
fn is_never_null(plan: &Arc<dyn ExecutionPlan>, position: usize) -> Result<bool> {
    use JoinType as J;
    if !plan.schema().field(position).is_nullable() {
        return Ok(true);
    }
    if scan::as_scan(plan).is_some() {
        let known = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
        let column = known.column_statistics.get(position);
        return Ok(column.is_some_and(|column| column.null_count == Precision::Exact(0)));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let source = match filter.projection().as_deref() {
            Some(columns) => columns.get(position).copied(),
            None => Some(position),
        };
        return source.map_or(Ok(false), |source| is_never_null(filter.input(), source));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let projected = projection.expr().get(position);
        return projected.map_or(Ok(false), |projected| {
            expr_is_never_null(projection.input(), &projected.expr)
        });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let keys = aggregate.group_expr();
        let key = keys.expr().get(position);
        let key = key.filter(|_| !keys.has_grouping_set());
        return key.map_or(Ok(false), |(key, _)| {
            expr_is_never_null(aggregate.input(), key)
        });
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let Some(source) = output_columns(join).get(position).cloned() else {
            return Ok(false);
        };
        return match (source.side, join.join_type()) {
            (JoinSide::Left, J::Inner | J::Left | J::LeftSemi | J::LeftAnti) => {
                is_never_null(join.left(), source.index)
            }
            (JoinSide::Right, J::Inner | J::Right | J::RightSemi | J::RightAnti) => {
                is_never_null(join.right(), source.index)
            }
            _ => Ok(false),
        };
    }
    match plan.children().as_slice() {
        [input] if input.schema().fields() == plan.schema().fields() => {
            is_never_null(input, position)
        }
        _ => Ok(false),
    }
}
