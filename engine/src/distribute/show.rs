//! A plan in words, boxes or JSON, with or without what happened when it ran.
//!
//! Looks through network boundaries into the stages behind them; changes nothing.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::Result;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion_distributed::{
    DistributedExec, DistributedLeafExec, DistributedMetricsFormat, NetworkBoundaryExt,
    display_plan_ascii, rewrite_distributed_plan_with_metrics,
};
use serde_json::{Map, Value, json};

use crate::parser::ExplainFormat;

/// Longest wait for the last worker's metrics after a statement has ended.
const METRICS_WAIT: Duration = Duration::from_secs(5);

/// How big a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanShape {
    /// Stages on workers.
    pub stages: usize,
    /// Tasks of those stages.
    pub tasks: usize,
}

/// Totals over the leaves of a plan that ran, or runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// Rows that left the scans.
    pub rows: u64,
    /// Bytes read from storage.
    pub bytes: u64,
}

/// Counts the stages and tasks of a plan.
pub(crate) fn shape_of(plan: &Arc<dyn ExecutionPlan>) -> PlanShape {
    let mut shape = PlanShape::default();
    visit(plan, &mut |node| {
        if let Some(boundary) = node.as_network_boundary() {
            shape.stages += 1;
            shape.tasks += boundary.input_stage().task_count();
        }
    });
    shape
}

/// Number and tasks of each stage of a plan, last one first.
pub(crate) fn stages_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<(u32, u32)> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut stages = vec![];
    visit(plan, &mut |node| {
        if let Some(boundary) = node.as_network_boundary() {
            let stage = boundary.input_stage();
            stages.push((number(stage.num()), number(stage.task_count())));
        }
    });
    stages
}

/// Sums what the scans of `plan` have read so far in this process, or, once the workers have
/// reported (after [`with_metrics`]), everywhere.
pub(crate) fn metrics_of(plan: &Arc<dyn ExecutionPlan>) -> ScanTotals {
    let mut totals = ScanTotals::default();
    visit(plan, &mut |node| {
        if node.children().is_empty()
            && let Some(metrics) = node.metrics()
        {
            totals.rows += sum(&metrics, "output_rows");
            totals.bytes += sum(&metrics, "bytes_scanned");
        }
    });
    totals
}

fn sum(metrics: &MetricsSet, name: &str) -> u64 {
    metrics
        .iter()
        .filter(|m| m.value().name() == name)
        .map(|m| m.value().as_usize() as u64)
        .sum()
}

/// The plan with the metrics of all its tasks in place, if it ran on workers and they report in time.
///
/// # Errors
/// If the plan was not run.
pub(crate) async fn with_metrics(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let rewritten = rewrite_distributed_plan_with_metrics(
        Arc::clone(&plan),
        DistributedMetricsFormat::Aggregated,
    );
    if let Ok(rewritten) = tokio::time::timeout(METRICS_WAIT, rewritten).await {
        return rewritten;
    }
    tracing::warn!("metrics of some tasks did not arrive in time");
    Ok(plan)
}

/// Renders a plan; `metrics` after it has run.
pub(crate) fn render(
    plan: &Arc<dyn ExecutionPlan>,
    format: ExplainFormat,
    metrics: bool,
) -> String {
    match format {
        ExplainFormat::Tree => display_plan_ascii(plan.as_ref(), metrics),
        ExplainFormat::Text => {
            let mut out = String::new();
            text(plan, 0, metrics, &mut out);
            out
        }
        ExplainFormat::Json => serde_json::to_string_pretty(&node_json(plan, metrics))
            .unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}")),
    }
}

fn visit(plan: &Arc<dyn ExecutionPlan>, f: &mut dyn FnMut(&Arc<dyn ExecutionPlan>)) {
    f(plan);
    for input in inputs(plan) {
        visit(&input, f);
    }
}

/// Children, or the plan of the stage behind a boundary.
fn inputs(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    match plan.as_network_boundary() {
        Some(boundary) => boundary
            .input_stage()
            .local_plan()
            .cloned()
            .into_iter()
            .collect(),
        None => plan.children().into_iter().cloned().collect(),
    }
}

fn one_line(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref())
        .one_line()
        .to_string()
        .trim_end()
        .to_owned()
}

fn text(plan: &Arc<dyn ExecutionPlan>, depth: usize, metrics: bool, out: &mut String) {
    use std::fmt::Write as _;
    let pad = "  ".repeat(depth);
    let _ = write!(out, "{pad}{}", one_line(plan));
    if metrics && let Some(found) = plan.metrics() {
        let found = found
            .aggregate_by_name()
            .sorted_for_display()
            .timestamps_removed();
        let _ = write!(out, ", metrics=[{found}]");
    }
    out.push('\n');
    if let Some(boundary) = plan.as_network_boundary() {
        let stage = boundary.input_stage();
        let _ = writeln!(
            out,
            "{pad}  Stage {}: tasks={}",
            stage.num(),
            stage.task_count()
        );
    }
    for input in inputs(plan) {
        text(&input, depth + 2, metrics, out);
    }
}

/// A node as PostgreSQL names its parts, as far as it has them.
fn node_json(plan: &Arc<dyn ExecutionPlan>, metrics: bool) -> Value {
    let mut node = Map::new();
    let (name, details) = match one_line(plan).split_once(": ") {
        Some((name, details)) => (name.to_owned(), details.to_owned()),
        None => (one_line(plan), String::new()),
    };
    node.insert("Node Type".into(), json!(name));
    if !details.is_empty() {
        node.insert("Details".into(), json!(details));
    }
    let estimate = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    if let Some(rows) = estimate.ok().and_then(|s| s.num_rows.get_value().copied()) {
        node.insert("Plan Rows".into(), json!(rows));
    }
    if let Some(boundary) = plan.as_network_boundary() {
        let stage = boundary.input_stage();
        node.insert(
            "Stage".into(),
            json!({"Number": stage.num(), "Tasks": stage.task_count()}),
        );
    }
    if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
        let tasks: Vec<String> = leaf.variants().iter().map(one_line).collect();
        node.insert("Tasks".into(), json!(tasks));
    }
    if plan.is::<DistributedExec>() {
        node.insert("Distributed".into(), json!(true));
    }
    if metrics && let Some(found) = plan.metrics() {
        let values: Map<String, Value> = found
            .aggregate_by_name()
            .iter()
            .filter(|m| {
                !matches!(
                    m.value(),
                    MetricValue::StartTimestamp(_) | MetricValue::EndTimestamp(_)
                )
            })
            .map(|m| (m.value().name().to_owned(), json!(m.value().as_usize())))
            .collect();
        // PostgreSQL's names of what it has, too; rows are those of all tasks.
        if let Some(rows) = values.get("output_rows") {
            node.insert("Actual Rows".into(), rows.clone());
            node.insert("Actual Loops".into(), json!(1));
        }
        node.insert("Metrics".into(), Value::Object(values));
    }
    let children: Vec<Value> = inputs(plan)
        .iter()
        .map(|input| node_json(input, metrics))
        .collect();
    if !children.is_empty() {
        node.insert("Plans".into(), Value::Array(children));
    }
    Value::Object(node)
}
