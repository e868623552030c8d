//! Parts of a query that occur in it twice, such as a WITH that is read twice, computed once.
//!
//! Equal parts of an optimized logical plan become [`SharedNode`]s of one number; the physical plan keeps the rows of
//! such a part in memory for whoever asks after the first. Only parts that make few rows of many, and only within one
//! process: a plan that is cut into stages computes each part where it stands.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::Session as PlanSession;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DFSchemaRef, Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, TableScan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::{TryStreamExt, stream};

use crate::optimizer;
use crate::scan::IcebergTableProvider;

/// Most bytes that a shared part is estimated to give.
const SHARED_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;

/// A part of a query that occurs several times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SharedNode {
    /// The same for all that are equal.
    number: usize,
    /// How often it occurs.
    uses: usize,
    input: LogicalPlan,
}

impl PartialOrd for SharedNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.number.partial_cmp(&other.number)
    }
}

impl UserDefinedLogicalNodeCore for SharedNode {
    fn name(&self) -> &'static str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared: part={}, uses={}", self.number, self.uses)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs
            .pop()
            .ok_or_else(|| exec_datafusion_err!("a shared part needs one input"))?;
        Ok(Self {
            input,
            ..self.clone()
        })
    }
}

/// A part that may be shared, as a key: equal parts have equal keys, and each is hashed once.
struct Part<'a> {
    hash: u64,
    plan: &'a LogicalPlan,
    /// What its scans read: names alone do not tell.
    versions: Vec<TableVersion>,
}

/// Where the metadata of a table is, and the snapshot that is read.
type TableVersion = (String, Option<i64>);

impl<'a> Part<'a> {
    /// `None` if `plan` does not make few rows of many, or not the same ones each time.
    fn of(plan: &'a LogicalPlan) -> Option<Self> {
        if !gathers(plan) {
            return None;
        }
        let mut versions = Vec::new();
        let mut differs = false;
        plan.apply(|node| {
            match node {
                LogicalPlan::TableScan(scan) => match version(scan) {
                    Some(version) => versions.push(version),
                    None => differs = true,
                },
                LogicalPlan::Extension(_) => differs = true,
                _ => {}
            }
            node.apply_expressions(|expr| {
                differs |= expr.is_volatile() || expr.contains_outer();
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(if differs {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
        .ok()?;
        if differs {
            return None;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        plan.hash(&mut hasher);
        Some(Self {
            hash: hasher.finish(),
            plan,
            versions,
        })
    }
}

fn version(scan: &TableScan) -> Option<TableVersion> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<IcebergTableProvider>()?;
    Some(table.version())
}

impl PartialEq for Part<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.versions == other.versions && self.plan == other.plan
    }
}

impl Eq for Part<'_> {}

impl Hash for Part<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// An optimized plan with marks on the parts that occur several times; none if there are none.
///
/// # Errors
/// None of its own.
pub(crate) fn marked(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let mut gathering = 0;
    plan.apply(|node| {
        gathering += usize::from(gathers(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if gathering < 2 {
        return Ok(None);
    }
    let plan = plan.clone();
    let plan = plan.transform_up(|node| Ok(without_true(node)))?.data;
    let found = occurrences(&plan)?;
    if found.is_empty() {
        return Ok(None);
    }
    let marked = plan.clone().transform_down(|node| {
        let found = Part::of(&node).and_then(|part| found.get(&part).copied());
        let Some((number, uses)) = found else {
            return Ok(Transformed::no(node));
        };
        let shared = SharedNode {
            number,
            uses,
            input: node,
        };
        let node = LogicalPlan::Extension(Extension {
            node: Arc::new(shared),
        });
        Ok(Transformed::new(node, true, TreeNodeRecursion::Jump))
    })?;
    Ok(Some(marked.data))
}

/// Whether a node makes few rows of many.
fn gathers(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_))
}

/// A scan without filters that let all rows through, which one use may have and another not.
fn without_true(node: LogicalPlan) -> Transformed<LogicalPlan> {
    let is_true =
        |filter: &Expr| matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    match node {
        LogicalPlan::TableScan(mut scan) if scan.filters.iter().any(is_true) => {
            scan.filters.retain(|filter| !is_true(filter));
            Transformed::yes(LogicalPlan::TableScan(scan))
        }
        other => Transformed::no(other),
    }
}

/// The parts that occur several times, each with its number and how often; not what is within them.
fn occurrences(plan: &LogicalPlan) -> Result<HashMap<Part<'_>, (usize, usize)>> {
    let mut counts: HashMap<Part, usize> = HashMap::new();
    let mut recursive = false;
    plan.apply(|node| {
        recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
        if let Some(part) = Part::of(node) {
            *counts.entry(part).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // Its term is run again and again, on other rows each time.
    if recursive || counts.values().all(|count| *count < 2) {
        return Ok(HashMap::new());
    }
    let mut found: HashMap<Part, (usize, usize)> = HashMap::new();
    plan.apply(|node| {
        let several = |part: &Part| counts.get(part).is_some_and(|count| *count > 1);
        let Some(part) = Part::of(node).filter(several) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let number = found.len() + 1;
        found.entry(part).or_insert((number, 0)).1 += 1;
        Ok(TreeNodeRecursion::Jump)
    })?;
    found.retain(|_, (_, uses)| *uses > 1);
    Ok(found)
}

/// Plans shared parts: all of one number have the same rows.
#[derive(Debug, Default)]
pub(crate) struct SharedPlanner {
    rows: Mutex<HashMap<usize, Arc<SharedRows>>>,
}

#[async_trait]
impl ExtensionPlanner for SharedPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn PlanSession,
        _planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<SharedNode>(), physical_inputs)
        else {
            return Ok(None);
        };
        if optimizer::estimated_bytes(input)? > SHARED_BYTES_MAX {
            return Ok(Some(Arc::clone(input)));
        }
        let rows = {
            let mut all = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = all.entry(node.number);
            Arc::clone(rows.or_insert_with(|| Arc::new(SharedRows::new(node.uses))))
        };
        Ok(Some(Arc::new(SharedExec {
            number: node.number,
            rows,
            input: Arc::clone(input),
        })))
    }
}

/// `plan` with each part computed where it stands.
///
/// # Errors
/// None of its own.
pub(crate) fn apart(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_down(|node| {
        Ok(match node.downcast_ref::<SharedExec>() {
            Some(shared) => Transformed::yes(Arc::clone(&shared.input)),
            None => Transformed::no(node),
        })
    })
    .map(|done| done.data)
}

/// Gives the rows of its input, which it shares with others of its number.
#[derive(Debug)]
struct SharedExec {
    number: usize,
    rows: Arc<SharedRows>,
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedExec: part={}", self.number)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &'static str {
        "SharedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), None) = (children.pop(), children.pop()) else {
            return internal_err!("a shared part has one input");
        };
        Ok(Arc::new(Self {
            number: self.number,
            rows: Arc::clone(&self.rows),
            input,
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        let run = || self.input.execute(partition, Arc::clone(&context));
        let Some(rows) = self.rows.of(partition, partitions, &context, run)? else {
            return run();
        };
        let batches = rows.map(|gathered| {
            let gathered = gathered.map_err(DataFusionError::Shared);
            stream::iter(match gathered {
                Ok(gathered) => {
                    let batches = gathered.batches.iter().cloned().map(Ok);
                    batches.collect::<Vec<_>>()
                }
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches.flatten_stream(),
        )))
    }
}

/// The rows of one partition, and their memory.
struct Gathered {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

type Gathering = Shared<BoxFuture<'static, Result<Arc<Gathered>, Arc<DataFusionError>>>>;

/// The rows of a shared part.
struct SharedRows {
    uses: usize,
    partitions: Mutex<Vec<SharedPartition>>,
}

/// The rows of one partition of a shared part.
#[derive(Clone)]
struct SharedPartition {
    gathering: Option<Gathering>,
    /// Uses that have not begun.
    left: usize,
}

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRows")
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

impl SharedRows {
    fn new(uses: usize) -> Self {
        Self {
            uses,
            partitions: Mutex::default(),
        }
    }

    fn partitions(&self) -> MutexGuard<'_, Vec<SharedPartition>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of `partition`, of `count`, which `run` makes for the first that asks. `None` if all uses that were
    /// planned have begun, or another use has other partitions.
    fn of(
        &self,
        partition: usize,
        count: usize,
        context: &TaskContext,
        run: impl Fn() -> Result<SendableRecordBatchStream>,
    ) -> Result<Option<Gathering>> {
        let mut all = self.partitions();
        if all.is_empty() {
            let fresh = SharedPartition {
                gathering: None,
                left: self.uses,
            };
            all.resize(count, fresh);
        }
        if all.len() != count {
            return Ok(None);
        }
        let Some(own) = all.get_mut(partition).filter(|own| own.left > 0) else {
            return Ok(None);
        };
        let gathering = if let Some(gathering) = &own.gathering {
            gathering.clone()
        } else {
            let memory = MemoryConsumer::new(format!("SharedExec[{partition}]"))
                .register(context.memory_pool());
            gathered(run()?, memory)
                .map(|done| done.map(Arc::new).map_err(Arc::new))
                .boxed()
                .shared()
        };
        own.left -= 1;
        // Who has begun holds the rows; nobody else will ask for them.
        own.gathering = (own.left > 0).then(|| gathering.clone());
        Ok(Some(gathering))
    }
}

async fn gathered(
    mut rows: SendableRecordBatchStream,
    memory: MemoryReservation,
) -> Result<Gathered> {
    let mut batches = Vec::new();
    // Batches may be parts of one that was larger.
    let mut counter = RecordBatchMemoryCounter::new();
    while let Some(batch) = rows.try_next().await? {
        memory.try_grow(counter.count_batch(&batch))?;
        batches.push(batch);
    }
    Ok(Gathered {
        batches,
        _memory: memory,
    })
}
