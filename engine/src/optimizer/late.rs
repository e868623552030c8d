//! Which scans filter rows while they decode.
//!
//! A row filter decodes the columns that it asks first and the others only where rows are left. That pays where next to no
//! rows are left, so that pages are skipped, and costs where many runs of few rows are; so it is settled for each scan by
//! what its filters are estimated to keep: the query's own, and those that joins and `TopK` find out while they run. A
//! filter from above an aggregate pays earlier: without it, groups are made that nobody wants. Refuses to know how filters
//! reach a scan.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::ColumnIndex;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::estimate::{estimate, join_domain};
use super::selectivity::selectivity;
use crate::distribute::StatementOptions;
use crate::scan;

/// Largest share of rows that the row filters of a scan may keep: a page of 20,000 rows then often has none.
const KEPT_MAX: f64 = 0.000_05;
/// The same if one of them spares an aggregate its groups.
const KEPT_OF_GROUPS_MAX: f64 = 0.25;
/// Share of rows that the filter of a `TopK` is taken to keep.
const TOP_KEPT: f64 = 0.05;

/// Says which scans filter rows while they decode.
#[derive(Debug)]
pub(super) struct LateMaterialization;

impl PhysicalOptimizerRule for LateMaterialization {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wished = config.extensions.get::<StatementOptions>();
        if wished.is_some_and(|options| options.row_filters_auto) {
            settled(plan, &[])
        } else {
            Ok(plan)
        }
    }

    fn name(&self) -> &'static str {
        "LateMaterialization"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A filter on its way down: the columns that it asks, of the operator's output, and the share of rows that it keeps.
#[derive(Clone, Debug)]
struct Reach {
    columns: BTreeSet<usize>,
    kept: f64,
    /// Whether it can be asked of any row: an error that Parquet's reader passes on has lost its class.
    never_fails: bool,
    /// It comes from above an aggregate.
    spares_groups: bool,
}

impl Reach {
    fn of(exprs: &[Arc<dyn PhysicalExpr>], kept: f64) -> Self {
        let columns = exprs.iter().flat_map(collect_columns);
        Self {
            columns: columns.map(|column| column.index()).collect(),
            kept,
            never_fails: exprs.iter().all(never_fails),
            spares_groups: false,
        }
    }

    /// The same filter below an operator that makes column `i` of `source(i)`. `None` if it cannot be asked there.
    fn below(&self, source: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let columns = self.columns.iter().map(|column| source(*column));
        Some(Self {
            columns: columns.collect::<Option<_>>()?,
            ..*self
        })
    }
}

fn settled(plan: Arc<dyn ExecutionPlan>, filters: &[Reach]) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(scan) = scan::as_scan(&plan) {
        let kept: f64 = filters.iter().map(|filter| filter.kept).product();
        let asked: BTreeSet<_> = filters.iter().flat_map(|filter| &filter.columns).collect();
        let safe = filters.iter().all(|filter| filter.never_fails);
        let spares_groups = filters.iter().any(|filter| filter.spares_groups);
        let most = if spares_groups {
            KEPT_OF_GROUPS_MAX
        } else {
            KEPT_MAX
        };
        let pays = safe && kept <= most && asked.len() < plan.schema().fields().len();
        return Ok(match scan.clone().with_row_filters() {
            Some(filtering) if pays => filtering.into_plan(),
            _ => plan,
        });
    }
    let below = below(&plan, filters)?;
    let children = plan.children().into_iter().zip(below);
    let children = children.map(|(child, filters)| settled(Arc::clone(child), &filters));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

/// The filters that reach each child of `plan`: those that reach it, and its own.
fn below(plan: &Arc<dyn ExecutionPlan>, filters: &[Reach]) -> Result<Vec<Vec<Reach>>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let projection = filter.projection().as_deref();
        let source = |column: usize| match projection {
            Some(columns) => columns.get(column).copied(),
            None => Some(column),
        };
        let mut below = mapped(filters, source);
        let kept = selectivity(filter.predicate(), &estimate(filter.input())?);
        below.push(Reach::of(&[Arc::clone(filter.predicate())], kept));
        return Ok(vec![below]);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let source = |column: usize| column_at(&projection.expr().get(column)?.expr);
        return Ok(vec![mapped(filters, source)]);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let keys = aggregate.group_expr();
        let source = |column: usize| column_at(&keys.expr().get(column)?.0);
        let passes = !keys.has_grouping_set() && !keys.expr().is_empty();
        if !passes {
            return Ok(vec![vec![]]);
        }
        let mut below = mapped(filters, source);
        for filter in &mut below {
            filter.spares_groups = true;
        }
        return Ok(vec![below]);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return below_join(join, filters);
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let Some(_) = sort.fetch() else {
            return Ok(vec![filters.to_vec()]);
        };
        let keys: Vec<_> = sort
            .expr()
            .iter()
            .map(|key| Arc::clone(&key.expr))
            .collect();
        return Ok(vec![vec![Reach::of(&keys, TOP_KEPT)]]);
    }
    let children = plan.children();
    let through = plan.fetch().is_none()
        && (plan.is::<UnionExec>()
            || children.len() == 1 && children[0].schema().fields() == plan.schema().fields());
    let each = if through { filters.to_vec() } else { vec![] };
    Ok(vec![each; children.len()])
}

fn below_join(join: &HashJoinExec, filters: &[Reach]) -> Result<Vec<Vec<Reach>>> {
    use JoinType as J;
    let (left, right) = (estimate(join.left())?, estimate(join.right())?);
    let indices = output_columns(join);
    let on_side = |side: JoinSide, passes: bool| {
        if !passes {
            return vec![];
        }
        mapped(filters, |column| {
            let index = indices.get(column)?;
            (index.side == side).then_some(index.index)
        })
    };
    let ty = *join.join_type();
    let passes_left = matches!(
        ty,
        J::Inner | J::Left | J::LeftSemi | J::LeftAnti | J::LeftMark
    );
    let passes_right = matches!(
        ty,
        J::Inner | J::Right | J::RightSemi | J::RightAnti | J::RightMark
    );
    let build = on_side(JoinSide::Left, passes_left);
    let mut probe = on_side(JoinSide::Right, passes_right);
    let (_, finds_out) = ty.on_lr_is_preserved();
    if finds_out && !join.null_aware {
        // Keys of the build side that are there, of all that the probe side may have.
        let kept = (left.rows / join_domain(join, &left, &right)).min(1.0);
        let keys: Vec<_> = join.on().iter().map(|(_, key)| Arc::clone(key)).collect();
        probe.push(Reach::of(&keys, kept));
    }
    Ok(vec![build, probe])
}

/// Where the columns of a join's output come from.
pub(super) fn output_columns(join: &HashJoinExec) -> Vec<ColumnIndex> {
    let of = |side: JoinSide, plan: &Arc<dyn ExecutionPlan>| {
        let columns = 0..plan.schema().fields().len();
        columns.map(move |index| ColumnIndex { index, side })
    };
    let (left, right) = (
        of(JoinSide::Left, join.left()),
        of(JoinSide::Right, join.right()),
    );
    let all: Vec<ColumnIndex> = match join.join_type() {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.collect(),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.collect(),
        _ => left.chain(right).collect(),
    };
    match join.projection.as_deref() {
        Some(columns) => columns
            .iter()
            .filter_map(|column| all.get(*column).cloned())
            .collect(),
        None => all,
    }
}

/// Whether an expression has a value for every row: it compares columns and constants, and combines what comes of it.
fn never_fails(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let fails = expr.exists(|part| {
        let compares = part.downcast_ref::<BinaryExpr>().is_some_and(|binary| {
            use Operator as O;
            matches!(
                binary.op(),
                O::And
                    | O::Or
                    | O::Eq
                    | O::NotEq
                    | O::Lt
                    | O::LtEq
                    | O::Gt
                    | O::GtEq
                    | O::IsDistinctFrom
                    | O::IsNotDistinctFrom
            )
        });
        let known = compares
            || part.is::<Column>()
            || part.is::<Literal>()
            || part.is::<InListExpr>()
            || part.is::<LikeExpr>()
            || part.is::<NotExpr>()
            || part.is::<IsNullExpr>()
            || part.is::<IsNotNullExpr>();
        Ok(!known)
    });
    !fails.unwrap_or(true)
}

fn mapped(filters: &[Reach], source: impl Fn(usize) -> Option<usize>) -> Vec<Reach> {
    let filters = filters.iter();
    filters.filter_map(|filter| filter.below(&source)).collect()
}

fn column_at(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}
