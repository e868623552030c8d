//! Joins for whose keys NULL equals NULL, kept apart from those for whose keys it does not.
//!
//! A join has one answer for all of its keys. DataFusion's rules that collect keys from several joins and filters do not
//! look at it: `a.x IS NOT DISTINCT FROM b.x` beside `a.y = b.y` comes out as two keys of one kind.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Whether NULL equals NULL in the keys of an inner join.
fn has_null_keys(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Join(Join {
            join_type: JoinType::Inner,
            null_equality: NullEquality::NullEqualsNull,
            on,
            ..
        }) if !on.is_empty()
    )
}

fn is_inner(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.join_type == JoinType::Inner)
}

/// Inner joins in another order, where each has its keys.
#[derive(Debug, Default)]
pub(super) struct CrossJoins {
    inner: EliminateCrossJoin,
}

impl OptimizerRule for CrossJoins {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let apart = plan.transform_down_with_subqueries(apart)?;
        let done = self.inner.rewrite(apart.data, config)?;
        Ok(Transformed::new_transformed(
            done.data,
            apart.transformed || done.transformed,
        ))
    }
}

/// Keys for which NULL equals NULL become conditions where they meet others.
fn apart(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let meets = match &plan {
        LogicalPlan::Filter(filter) => has_null_keys(&filter.input),
        join if is_inner(join) => {
            let mut inputs = join.inputs().into_iter();
            if has_null_keys(join) {
                inputs.any(is_inner)
            } else {
                inputs.any(has_null_keys)
            }
        }
        _ => false,
    };
    if !meets {
        return Ok(Transformed::no(plan));
    }
    let plan = with_conditions(plan);
    plan.map_children(|input| Ok(Transformed::yes(with_conditions(input))))
        .map(|done| Transformed::yes(done.data))
}

/// An inner join whose keys for which NULL equals NULL are conditions. Anything else as it is.
fn with_conditions(plan: LogicalPlan) -> LogicalPlan {
    if !has_null_keys(&plan) {
        return plan;
    }
    let LogicalPlan::Join(mut join) = plan else {
        return plan;
    };
    let same = |(left, right): (Expr, Expr)| binary_expr(left, Operator::IsNotDistinctFrom, right);
    let keys = std::mem::take(&mut join.on).into_iter().map(same);
    join.filter = conjunction(keys.chain(join.filter.take()));
    join.null_equality = NullEquality::NullEqualsNothing;
    LogicalPlan::Join(join)
}

/// Conditions of joins that are keys, unless the join has keys of the other kind.
#[derive(Debug, Default)]
pub(super) struct JoinKeys {
    inner: ExtractEquijoinPredicate,
}

impl OptimizerRule for JoinKeys {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Join(join)
                if !join.on.is_empty() && join.null_equality == NullEquality::NullEqualsNull =>
            {
                Ok(Transformed::no(plan))
            }
            _ => self.inner.rewrite(plan, config),
        }
    }
}
