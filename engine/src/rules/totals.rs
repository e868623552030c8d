//! Filters stay above aggregates that make a row of no rows.
//!
//! Without GROUP BY, and for an empty grouping set, an aggregate has a row whatever comes in. DataFusion moves what reads
//! no column but those that rows are grouped by below the aggregate, from where it cannot take that row away.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Filters as far below as they can be.
#[derive(Debug, Default)]
pub(super) struct Filters {
    inner: PushDownFilter,
}

/// Whether a filter stands on an aggregate that has a row of no rows.
fn filters_total(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else {
        return false;
    };
    match filter.input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => {
            let sets = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
            aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(sets)
        }
        below => filters_total(below),
    }
}

impl OptimizerRule for Filters {
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
        if filters_total(&plan) {
            return Ok(Transformed::no(plan));
        }
        self.inner.rewrite(plan, config)
    }
}
