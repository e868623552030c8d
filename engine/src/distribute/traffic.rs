//! What a plan that ran has moved: bytes planned, read, shipped to workers and shuffled, in all and for each stage, and
//! how evenly its tasks were loaded.
//!
//! Everything but the planned bytes was counted while the plan ran; nothing here is estimated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion_distributed::{
    DISTRIBUTED_DATAFUSION_TASK_ID_LABEL, DistributedExec, DistributedLeafExec,
    DistributedMetricsFormat, NetworkBoundaryExt, NetworkCoalesceExec, NetworkShuffleExec, Stage,
    rewrite_distributed_plan_with_metrics,
};
use serde_json::{Value, json};

use super::channel::{PLAN_BYTES, STAGE_LABEL};
use super::skew::{Skew, StageFacts, part, skew_of};
use super::{human_bytes, leaf_bytes};
use crate::scan;

/// The workers' reports are here already, or they do not come.
const REPORTS_WAIT: Duration = Duration::from_millis(100);

/// The name of the node that runs the inputs of a UNION in tasks of their own; its type is not public.
const ISOLATED_UNION: &str = "ChildrenIsolatorUnionExec";

/// What was sent from one stage to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Rows that arrived.
    pub(crate) rows: u64,
    /// Their bytes in memory.
    pub(crate) bytes: u64,
    /// Bytes that came over the network, compressed; what stays within a worker does not.
    pub(crate) wire_bytes: u64,
}

/// One stage on workers.
#[derive(Clone, Debug)]
pub(crate) struct StageTraffic {
    /// Its number in the plan.
    pub(crate) number: usize,
    /// Its tasks.
    pub(crate) tasks: usize,
    /// Bytes of data files that its scans were given to read.
    pub(crate) planned_bytes: u64,
    /// Bytes of data files that they have read.
    pub(crate) read_bytes: u64,
    /// Bytes of the plans that were shipped for its tasks.
    pub(crate) shipped_bytes: u64,
    /// What it sent to the next stage, or to the coordinator.
    pub(crate) sent: Sent,
    /// How unevenly its tasks were loaded.
    pub(crate) skew: Option<Skew>,
}

/// A whole plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes of data files that are to be read, after pruning.
    pub(crate) planned_bytes: u64,
    /// Bytes of data files that were read, from caches or storage.
    pub(crate) read_bytes: u64,
    /// Bytes of the plans that were shipped to workers.
    pub(crate) shipped_bytes: u64,
    /// What was sent between stages.
    pub(crate) sent: Sent,
    /// The first stage first.
    pub(crate) stages: Vec<StageTraffic>,
    /// Every task has told what it did.
    pub(crate) complete: bool,
}

/// What `plan`, which ran to its end, has moved.
///
/// # Errors
/// If the plan was not run.
pub(crate) async fn traffic_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Traffic> {
    let by_task =
        rewrite_distributed_plan_with_metrics(Arc::clone(plan), DistributedMetricsFormat::PerTask);
    let Ok(by_task) = tokio::time::timeout(REPORTS_WAIT, by_task).await else {
        return Ok(Traffic::default());
    };
    let by_task = by_task?;
    let shipped = shipped_by_stage(&by_task);
    let mut traffic = Traffic {
        complete: true,
        ..Traffic::default()
    };
    let own = facts_of(&by_task, 1);
    traffic.planned_bytes = own.given.iter().sum();
    traffic.read_bytes = own.read.iter().sum();
    add_stages(&by_task, &shipped, &mut traffic);
    traffic.stages.sort_by_key(|stage| stage.number);
    for stage in &traffic.stages {
        traffic.planned_bytes += stage.planned_bytes;
        traffic.read_bytes += stage.read_bytes;
        traffic.shipped_bytes += stage.shipped_bytes;
        traffic.sent.rows += stage.sent.rows;
        traffic.sent.bytes += stage.sent.bytes;
        traffic.sent.wire_bytes += stage.sent.wire_bytes;
    }
    Ok(traffic)
}

fn shipped_by_stage(plan: &Arc<dyn ExecutionPlan>) -> BTreeMap<usize, u64> {
    let mut shipped = BTreeMap::new();
    if let Some(metrics) = plan
        .downcast_ref::<DistributedExec>()
        .and_then(ExecutionPlan::metrics)
    {
        for (stage, bytes) in labelled(&metrics, PLAN_BYTES, STAGE_LABEL) {
            *shipped.entry(stage).or_default() += bytes;
        }
    }
    shipped
}

/// Adds the stages behind the boundaries of `plan`, and those behind theirs.
fn add_stages(
    plan: &Arc<dyn ExecutionPlan>,
    shipped: &BTreeMap<usize, u64>,
    traffic: &mut Traffic,
) {
    within_stage(plan, &mut |node| {
        let Some(boundary) = node.as_network_boundary() else {
            return;
        };
        let Stage::Local(stage) = boundary.input_stage() else {
            return;
        };
        let facts = facts_of(&stage.plan, stage.tasks);
        let metrics = node.metrics().unwrap_or_default();
        traffic.stages.push(StageTraffic {
            number: stage.num,
            tasks: stage.tasks,
            planned_bytes: facts.given.iter().sum(),
            read_bytes: facts.read.iter().sum(),
            shipped_bytes: shipped.get(&stage.num).copied().unwrap_or(0),
            sent: Sent {
                rows: sum(&metrics, "output_rows"),
                bytes: sum(&metrics, "output_bytes"),
                wire_bytes: sum(&metrics, "bytes_transferred"),
            },
            skew: skew_of(&facts),
        });
        add_stages(&stage.plan, shipped, traffic);
    });
}

/// Visits the nodes of one stage, its boundaries to other stages last.
fn within_stage(plan: &Arc<dyn ExecutionPlan>, see: &mut dyn FnMut(&Arc<dyn ExecutionPlan>)) {
    see(plan);
    if plan.as_network_boundary().is_none() {
        for child in plan.children() {
            within_stage(child, see);
        }
    }
}

fn facts_of(plan: &Arc<dyn ExecutionPlan>, tasks: usize) -> StageFacts {
    let mut facts = StageFacts {
        rows: vec![0; tasks],
        read: vec![0; tasks],
        given: vec![0; tasks],
        scanned: vec![0; tasks],
        shuffled: vec![0; tasks],
        gathered: vec![0; tasks],
        ..StageFacts::default()
    };
    let mut pieces = Vec::new();
    within_stage(plan, &mut |node| {
        facts.union |= node.name() == ISOLATED_UNION;
        let metrics = node.metrics().unwrap_or_default();
        if node.as_network_boundary().is_some() {
            add_input(node, &metrics, tasks, &mut facts);
        } else if node.children().is_empty() {
            let rows = by_task(&metrics, "output_rows", tasks);
            add(&mut facts.rows, &rows);
            add(&mut facts.scanned, &rows);
            add(&mut facts.read, &by_task(&metrics, "bytes_scanned", tasks));
            add(&mut facts.given, &given(node, tasks, &mut pieces));
        } else if let Some(groups) = groups_of(node) {
            facts.groups = facts.groups.or(Some(groups));
        }
    });
    facts.pieces = pieces.len();
    let largest = pieces.iter().max().copied().unwrap_or(0);
    facts.piece_share_max = part(largest, pieces.iter().sum());
    facts
}

/// What came from another stage.
fn add_input(
    node: &Arc<dyn ExecutionPlan>,
    metrics: &MetricsSet,
    tasks: usize,
    facts: &mut StageFacts,
) {
    let rows = by_task(metrics, "output_rows", tasks);
    add(&mut facts.rows, &rows);
    if node.is::<NetworkShuffleExec>() {
        add(&mut facts.shuffled, &rows);
        let each = node.properties().partitioning.partition_count();
        facts.partition_count = facts.partition_count.max(each * tasks);
        for metric in metrics.iter().filter(|m| m.value().name() == "output_rows") {
            let partition = metric.partition().unwrap_or(0);
            *facts.partitions.entry(partition).or_default() += metric.value().as_usize() as u64;
        }
    } else if node.is::<NetworkCoalesceExec>() {
        add(&mut facts.gathered, &rows);
        let inputs = node
            .as_network_boundary()
            .map(datafusion_distributed::NetworkBoundary::input_stage);
        facts.gathered_tasks += inputs.map_or(0, Stage::task_count);
    }
    // Else it is broadcast: every task has the same.
}

/// Groups that an aggregate over hash partitions has made.
fn groups_of(node: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let aggregate = node.downcast_ref::<AggregateExec>()?;
    let last = matches!(
        aggregate.mode(),
        AggregateMode::FinalPartitioned | AggregateMode::SinglePartitioned
    );
    last.then(|| sum(&node.metrics().unwrap_or_default(), "output_rows"))
}

/// Bytes of data files that a leaf gives to each task; their sizes go to `pieces`.
fn given(leaf: &Arc<dyn ExecutionPlan>, tasks: usize, pieces: &mut Vec<u64>) -> Vec<u64> {
    let mut out = vec![0; tasks];
    let Some(dealt) = leaf.downcast_ref::<DistributedLeafExec>() else {
        pieces.extend(sizes(leaf));
        out[0] = leaf_bytes(leaf).unwrap_or(0);
        return out;
    };
    for (task, variant) in dealt.variants().iter().enumerate() {
        pieces.extend(sizes(variant));
        // Below a UNION whose inputs have tasks of their own there are fewer.
        out[task.min(tasks - 1)] += leaf_bytes(variant).unwrap_or(0);
    }
    out
}

/// Bytes of the files, or ranges of files, of a leaf. Of scans that are cut for streams within a task, each is one.
fn sizes(leaf: &Arc<dyn ExecutionPlan>) -> Vec<u64> {
    if let Some(scan) = scan::as_scan(leaf) {
        return scan.files().map(PartitionedFile::effective_size).collect();
    }
    let files = leaf
        .downcast_ref::<DataSourceExec>()
        .and_then(|source| source.data_source().downcast_ref::<FileScanConfig>());
    let groups = files.into_iter().flat_map(|files| &files.file_groups);
    groups
        .flat_map(FileGroup::files)
        .map(PartitionedFile::effective_size)
        .collect()
}

fn add(to: &mut [u64], more: &[u64]) {
    for (sum, more) in to.iter_mut().zip(more) {
        *sum += more;
    }
}

fn sum(metrics: &MetricsSet, name: &str) -> u64 {
    metrics
        .iter()
        .filter(|m| m.value().name() == name)
        .map(|m| m.value().as_usize() as u64)
        .sum()
}

/// The values of `name` with the number that their label says, or 0.
fn labelled<'a>(
    metrics: &'a MetricsSet,
    name: &'a str,
    label: &'a str,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    let of_name = metrics.iter().filter(move |m| m.value().name() == name);
    of_name.map(move |metric| {
        let number = metric.labels().iter().find(|l| l.name() == label);
        let number = number.and_then(|l| l.value().parse().ok());
        (number.unwrap_or(0), metric.value().as_usize() as u64)
    })
}

fn by_task(metrics: &MetricsSet, name: &str, tasks: usize) -> Vec<u64> {
    let mut out = vec![0; tasks];
    for (task, value) in labelled(metrics, name, DISTRIBUTED_DATAFUSION_TASK_ID_LABEL) {
        if let Some(sum) = out.get_mut(task) {
            *sum += value;
        }
    }
    out
}

impl Sent {
    fn text(&self) -> String {
        format!(
            "{} rows, {} ({} over the network)",
            self.rows,
            human_bytes(self.bytes),
            human_bytes(self.wire_bytes)
        )
    }

    fn json(&self) -> Value {
        json!({"Rows": self.rows, "Bytes": self.bytes, "Network Bytes": self.wire_bytes})
    }
}

impl Traffic {
    /// Lines of EXPLAIN ANALYZE.
    pub(crate) fn text(&self) -> String {
        if !self.complete {
            return "Bytes are not known: some tasks did not report in time\n".to_owned();
        }
        let mut out = format!(
            "Bytes of data files: planned {}, read {}",
            human_bytes(self.planned_bytes),
            human_bytes(self.read_bytes)
        );
        if !self.stages.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(
                out,
                "; plans shipped to workers: {}; sent between stages: {}",
                human_bytes(self.shipped_bytes),
                self.sent.text()
            );
        }
        out.push('\n');
        for stage in &self.stages {
            out.push_str(&stage.text());
            out.push('\n');
        }
        out
    }

    /// The same for EXPLAIN (ANALYZE, FORMAT JSON): names and values to add to the document.
    pub(crate) fn json(&self) -> Vec<(&'static str, Value)> {
        if !self.complete {
            return vec![];
        }
        vec![
            ("Bytes Planned", json!(self.planned_bytes)),
            ("Bytes Read", json!(self.read_bytes)),
            ("Plan Bytes Shipped", json!(self.shipped_bytes)),
            ("Sent Between Stages", self.sent.json()),
            (
                "Stage Statistics",
                self.stages.iter().map(StageTraffic::json).collect(),
            ),
        ]
    }
}

impl StageTraffic {
    fn text(&self) -> String {
        let mut out = format!(
            "  Stage {}: {} task{}; ",
            self.number,
            self.tasks,
            if self.tasks == 1 { "" } else { "s" }
        );
        if self.planned_bytes > 0 || self.read_bytes > 0 {
            let _ = write!(
                out,
                "planned {}, read {}; ",
                human_bytes(self.planned_bytes),
                human_bytes(self.read_bytes)
            );
        }
        let _ = write!(
            out,
            "plans shipped: {}; sent: {}",
            human_bytes(self.shipped_bytes),
            self.sent.text()
        );
        if let Some(skew) = &self.skew {
            let _ = write!(out, "; skew {:.2} ({})", skew.ratio, skew.measure.name());
            if let Some(reason) = &skew.reason {
                let _ = write!(
                    out,
                    ": task {} has {:.0} %, because {reason}",
                    skew.task,
                    skew.share * 100.0
                );
            }
        }
        out
    }

    fn json(&self) -> Value {
        let mut out = json!({
            "Number": self.number,
            "Tasks": self.tasks,
            "Bytes Planned": self.planned_bytes,
            "Bytes Read": self.read_bytes,
            "Plan Bytes Shipped": self.shipped_bytes,
            "Sent": self.sent.json(),
        });
        if let (Some(skew), Some(map)) = (&self.skew, out.as_object_mut()) {
            map.insert("Skew".to_owned(), json!(skew.ratio));
            map.insert("Skew Measure".to_owned(), json!(skew.measure.name()));
            map.insert("Skew Task".to_owned(), json!(skew.task));
            if let Some(reason) = &skew.reason {
                map.insert("Skew Reason".to_owned(), json!(reason));
            }
        }
        out
    }
}
