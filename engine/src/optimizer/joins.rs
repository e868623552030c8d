//! The order of joins, and what their hash tables are made of.
//!
//! A physical optimizer rule in the place of DataFusion's `JoinSelection`, which never reorders. It runs where tables are
//! scans with the statistics of the files that are left after pruning, and before anything is shuffled. Every order gives
//! the same rows; `order` finds the cheapest by the estimates of `estimate` and `selectivity`. Refuses to know tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::estimate::{Domain, Estimate, estimate, key_domain};
use super::graph::{Condition, JoinGraph, Place, Semi};
use super::nulls;
use super::order::{self, Problem, Tree};
use super::selectivity::selectivity;
use super::sides::{self, Streams};

/// A semi- or anti-join is not believed to keep less than this.
const SEMI_LEAST: f64 = 0.05;
/// Share of the partners that a condition of a semi-join leaves.
const SEMI_CONDITION: f64 = 0.7;

/// Puts joins in the order that costs least.
#[derive(Debug)]
pub(super) struct JoinOrder;

impl PhysicalOptimizerRule for JoinOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = nulls::without_needless_looks(plan)?;
        ordered(plan, config, &|problem| order::cheapest(problem))
    }

    fn name(&self) -> &'static str {
        "JoinOrder"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with all its joins in the order that `choose` says.
pub(super) fn ordered(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
    choose: &dyn Fn(&Problem) -> Option<Tree>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let streams = Streams::of(config);
    if config.optimizer.join_reordering
        && let Some(mut graph) = JoinGraph::of(&plan)?
    {
        for input in &mut graph.inputs {
            input.plan = ordered(Arc::clone(&input.plan), config, choose)?;
        }
        if graph.inputs.len() <= order::INPUTS_MAX
            && let Some(tree) = choose(&problem(&graph)?)
        {
            return graph.build(&tree, streams);
        }
    }
    let children = plan.children().into_iter();
    let children = children.map(|child| ordered(Arc::clone(child), config, choose));
    let children = children.collect::<Result<Vec<_>>>()?;
    let plan = replace_children_if_necessary(plan, children)?;
    Ok(sides::placed(&plan, streams)?.unwrap_or(plan))
}

/// The numbers of a graph.
fn problem(graph: &JoinGraph) -> Result<Problem> {
    let mut estimates = Vec::with_capacity(graph.inputs.len());
    for (position, input) in graph.inputs.iter().enumerate() {
        let mut known = estimate(&input.plan)?;
        for condition in graph.conditions_of(position) {
            known.rows = (known.rows * kept(condition, &[&known])).max(1.0);
        }
        estimates.push(known);
    }
    let inputs = graph.inputs.iter().zip(&estimates);
    let inputs = inputs.map(|(input, known)| order::Input {
        rows: known.rows,
        row_bytes: known.row_bytes,
        semi: input.semi.as_ref().map(|semi| of_semi(semi, &estimates)),
    });
    let conditions = graph.conditions.iter();
    let conditions = conditions.filter(|condition| condition.needs().count_ones() > 1);
    let all: Vec<&Estimate> = estimates.iter().collect();
    let mut problem = Problem {
        inputs: inputs.collect(),
        edges: edges(graph, &estimates),
        conditions: conditions
            .map(|condition| order::Condition {
                needs: condition.needs(),
                kept: kept(condition, &all),
            })
            .collect(),
    };
    problem.sort();
    Ok(problem)
}

/// One edge for each pair of inputs. Columns that are equal together are one key: it has no more values than its table rows.
fn edges(graph: &JoinGraph, estimates: &[Estimate]) -> Vec<order::Edge> {
    let mut pairs: BTreeMap<(usize, usize), Vec<(Domain, Domain)>> = BTreeMap::new();
    for (a, b) in &graph.edges {
        let (a, b) = if a.input <= b.input { (a, b) } else { (b, a) };
        let domain = |place: &Place| estimates[place.input].domain(place.column);
        pairs
            .entry((a.input, b.input))
            .or_default()
            .push((domain(a), domain(b)));
    }
    let pairs = pairs.into_iter();
    pairs
        .map(|(inputs, domains)| order::Edge {
            inputs,
            domain: key_domain(
                &domains,
                (estimates[inputs.0].base_rows, estimates[inputs.1].base_rows),
            ),
        })
        .collect()
}

/// What a semi- or anti-join needs and keeps.
fn of_semi(semi: &Semi, estimates: &[Estimate]) -> order::Semi {
    let mut needs = 0;
    let mut matched: f64 = 1.0;
    for (other, own) in &semi.on {
        needs |= 1 << other.input;
        let inner = &estimates[own.input];
        let values = inner.domain(own.column).distinct.min(inner.rows);
        let outer = estimates[other.input].domain(other.column).distinct;
        matched = matched.min(values / outer.max(1.0));
    }
    if let Some(condition) = &semi.condition {
        matched *= SEMI_CONDITION;
        for place in &condition.places {
            if semi.on.iter().all(|(_, own)| own.input != place.input) {
                needs |= 1 << place.input;
            }
        }
    }
    let matched = matched.clamp(0.0, 1.0);
    let kept = if semi.is_anti { 1.0 - matched } else { matched };
    order::Semi {
        needs,
        kept: kept.max(if semi.is_anti { SEMI_LEAST } else { 1e-6 }),
    }
}

/// The share of the rows of its inputs that a condition keeps.
fn kept(condition: &Condition, estimates: &[&Estimate]) -> f64 {
    let of = |place: &Place| match estimates {
        [only] => Some(*only),
        all => all.get(place.input).copied(),
    };
    let columns = condition.places.iter();
    let columns = columns.map(|place| of(place).and_then(|known| known.columns.get(place.column)));
    let rows = condition.places.iter().filter_map(of);
    let rows = rows.map(|known| known.base_rows).fold(1.0, f64::max);
    let joined = Estimate {
        rows,
        base_rows: rows,
        columns: columns
            .map(|column| column.cloned().unwrap_or_default())
            .collect(),
        row_bytes: 1.0,
    };
    selectivity(&condition.expr, &joined)
}
