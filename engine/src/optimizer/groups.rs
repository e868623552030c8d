//! Groups of which a join above has no use are not made on workers.
//!
//! In one process a join tells the scans below an aggregate which keys it has (dynamic filters). Between the stages of a plan
//! on workers that is not told. There the rows that are grouped are joined first with the smallest part of the plan that has
//! every key which the join above can find: a table behind its filter. Never changes what the join gives.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, NullEquality, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use super::estimate::estimate;
use crate::scan;

/// Fewer rows are grouped as they are.
const GROUPED_MIN: f64 = 200_000.0;
/// Keys that each worker may be given.
const KEYS_MAX: f64 = 500_000.0;
/// The groups that are there are at least this many times the keys.
const SPARED_MIN: f64 = 8.0;

type Plan = Arc<dyn ExecutionPlan>;

/// `plan` with fewer groups below its joins.
///
/// # Errors
/// If DataFusion cannot make statistics of a part.
pub(super) fn spared(plan: Plan) -> Result<Plan> {
    plan.transform_up(|node| match node.downcast_ref::<HashJoinExec>() {
        Some(join) => Ok(match with_fewer_groups(join)? {
            Some(children) => Transformed::yes(replace_children_if_necessary(node, children)?),
            None => Transformed::no(node),
        }),
        None => Ok(Transformed::no(node)),
    })
    .map(|done| done.data)
}

/// Whether every row that the join gives has found an equal key on both sides.
fn finds_equal(join: &HashJoinExec) -> bool {
    let both = matches!(
        join.join_type(),
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi
    );
    both && join.null_equality() == NullEquality::NullEqualsNothing
}

/// The keys that are columns, by position.
fn column_keys(join: &HashJoinExec) -> impl Iterator<Item = (usize, usize)> {
    join.on().iter().filter_map(|(left, right)| {
        let left = left.downcast_ref::<Column>()?;
        let right = right.downcast_ref::<Column>()?;
        Some((left.index(), right.index()))
    })
}

/// The inputs of `join`, if one of them groups rows for keys of which the other has few.
fn with_fewer_groups(join: &HashJoinExec) -> Result<Option<Vec<Plan>>> {
    if !finds_equal(join) {
        return Ok(None);
    }
    for (left, right) in column_keys(join) {
        if let Some(new) = grouped_for(join.right(), right, join.left(), left)? {
            return Ok(Some(vec![Arc::clone(join.left()), new]));
        }
        if let Some(new) = grouped_for(join.left(), left, join.right(), right)? {
            return Ok(Some(vec![new, Arc::clone(join.right())]));
        }
    }
    Ok(None)
}

/// `groups`, which groups by the column `at`, for the keys that `other` has in `key`. `None` if that spares little.
fn grouped_for(groups: &Plan, at: usize, other: &Plan, key: usize) -> Result<Option<Plan>> {
    below_aggregate(groups, at, &|rows, at| {
        let grouped = estimate(rows)?;
        if grouped.rows < GROUPED_MIN {
            return Ok(None);
        }
        let mut found = Vec::new();
        sources(other, key, &mut found);
        let mut best: Option<(f64, Plan, usize)> = None;
        for (source, key) in found {
            let count = estimate(&source)?.rows;
            if best.as_ref().is_none_or(|(least, ..)| count < *least) {
                best = Some((count, source, key));
            }
        }
        let Some((count, source, key)) = best else {
            return Ok(None);
        };
        if count > KEYS_MAX || count * SPARED_MIN > grouped.domain(at).distinct {
            return Ok(None);
        }
        matching(rows, at, &source, key).map(Some)
    })
}

/// The rows whose column `at` is among those of `keys`.
fn matching(rows: &Plan, at: usize, keys: &Plan, key: usize) -> Result<Plan> {
    let column = |plan: &Plan, at: usize| -> (Arc<dyn PhysicalExpr>, String) {
        let name = plan.schema().field(at).name().clone();
        (Arc::new(Column::new(&name, at)), name)
    };
    let (expr, name) = column(keys, key);
    let mut keys: Plan = Arc::new(ProjectionExec::try_new(
        vec![(expr, name)],
        Arc::clone(keys),
    )?);
    if keys.output_partitioning().partition_count() > 1 {
        keys = Arc::new(CoalescePartitionsExec::new(keys));
    }
    let on = vec![(column(&keys, 0).0, column(rows, at).0)];
    let join = HashJoinExec::try_new(
        keys,
        Arc::clone(rows),
        on,
        None,
        &JoinType::RightSemi,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(Arc::new(join))
}

/// Operators that give the rows of their input, in whatever order and from whatever stream.
fn passes(plan: &Plan) -> bool {
    let moves = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<SortExec>();
    moves && plan.fetch().is_none()
}

/// The only input of `plan` and the column of it that is the column `at` of `plan`, if each row is one of its input.
fn input(plan: &Plan, at: usize) -> Option<(&Plan, usize)> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let column = projection.expr().get(at)?.expr.downcast_ref::<Column>()?;
        return Some((projection.input(), column.index()));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let at = match filter.projection() {
            Some(positions) => *positions.get(at)?,
            None => at,
        };
        return plan.fetch().is_none().then(|| (filter.input(), at));
    }
    if !passes(plan) {
        return None;
    }
    let child = plan.children().pop()?;
    Some((child, at))
}

/// `plan` with what `make` makes of the rows that it groups by the column `at`.
fn below_aggregate(
    plan: &Plan,
    at: usize,
    make: &dyn Fn(&Plan, usize) -> Result<Option<Plan>>,
) -> Result<Option<Plan>> {
    let new = if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let groups = aggregate.group_expr();
        let column = groups.expr().get(at);
        let column = column.and_then(|(expr, _)| expr.downcast_ref::<Column>());
        let (Some(column), true, None) = (column, groups.is_single(), aggregate.limit_options())
        else {
            return Ok(None);
        };
        match aggregate.mode().input_mode() {
            AggregateInputMode::Raw => make(aggregate.input(), column.index())?,
            AggregateInputMode::Partial => {
                below_aggregate(aggregate.input(), column.index(), make)?
            }
        }
    } else {
        match input(plan, at) {
            Some((input, at)) => below_aggregate(input, at, make)?,
            None => None,
        }
    };
    new.map(|new| replace_children_if_necessary(Arc::clone(plan), vec![new]))
        .transpose()
}

/// Whether `plan` is one table behind filters.
fn is_simple(plan: &Plan) -> bool {
    if scan::as_scan(plan).is_some() {
        return true;
    }
    let one = plan.is::<ProjectionExec>() || plan.is::<FilterExec>() || passes(plan);
    one && plan.fetch().is_none() && plan.children().into_iter().all(is_simple)
}

/// Tables that have all the values which the column `at` of `plan` has, and where.
fn sources(plan: &Plan, at: usize, found: &mut Vec<(Plan, usize)>) {
    if is_simple(plan) {
        found.push((Arc::clone(plan), at));
        return;
    }
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
        if let Some((input, at)) = input(plan, at) {
            sources(input, at, found);
        }
        return;
    };
    let Some((side, at)) = joined_column(join, at) else {
        return;
    };
    let (own, other) = match side {
        JoinSide::Left => (join.left(), join.right()),
        JoinSide::Right | JoinSide::None => (join.right(), join.left()),
    };
    sources(own, at, found);
    if !finds_equal(join) {
        return;
    }
    for (left, right) in column_keys(join) {
        let (mine, theirs) = match side {
            JoinSide::Left => (left, right),
            JoinSide::Right | JoinSide::None => (right, left),
        };
        if mine == at {
            sources(other, theirs, found);
        }
    }
}

/// The side and the column of it that the column `at` of `join` is, where no NULLs take its place.
fn joined_column(join: &HashJoinExec, at: usize) -> Option<(JoinSide, usize)> {
    let at = match &join.projection {
        Some(positions) => *positions.get(at)?,
        None => at,
    };
    let left = join.left().schema().fields().len();
    match join.join_type() {
        JoinType::Inner if at < left => Some((JoinSide::Left, at)),
        JoinType::Inner => Some((JoinSide::Right, at - left)),
        JoinType::LeftSemi | JoinType::LeftAnti => Some((JoinSide::Left, at)),
        JoinType::RightSemi | JoinType::RightAnti => Some((JoinSide::Right, at)),
        _ => None,
    }
}
