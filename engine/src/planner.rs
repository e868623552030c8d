//! From an optimized logical plan to a physical one: writes, and where the plan runs.
//!
//! [`WriteNode`] is what INSERT and CREATE TABLE AS add on top of a query. Distribution itself
//! happens after this planner, in [`crate::distribute`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session as PlanSession;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, exec_datafusion_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use tarn_catalog::Table;

use crate::conditions;
use crate::distribute::{self, PlacementSlot};
use crate::optimizer;
use crate::pairs;
use crate::partial::with_small_tables;
use crate::partitioned::PartitionedJoinExec;
use crate::shared::{self, SharedPlanner};
use crate::write;

/// Writes its input to a table's data files; yields one row for each file written.
#[derive(Clone, Debug)]
pub(crate) struct WriteNode {
    input: LogicalPlan,
    table: Table,
    write_id: String,
    schema: DFSchemaRef,
}

impl WriteNode {
    /// A plan that writes `input`, whose columns are the table's in order, under `write_id`.
    pub(crate) fn plan(input: LogicalPlan, table: Table, write_id: String) -> Result<LogicalPlan> {
        let schema = DFSchema::try_from(write::output_schema().as_ref().clone())?;
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(Self {
                input,
                table,
                write_id,
                schema: Arc::new(schema),
            }),
        }))
    }
}

impl PartialEq for WriteNode {
    fn eq(&self, other: &Self) -> bool {
        self.write_id == other.write_id && self.input == other.input
    }
}

impl Eq for WriteNode {}

impl Hash for WriteNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.write_id.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for WriteNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.write_id.partial_cmp(&other.write_id)
    }
}

impl UserDefinedLogicalNodeCore for WriteNode {
    fn name(&self) -> &'static str {
        "IcebergWrite"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IcebergWrite: table={}", self.table.ident())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs
            .pop()
            .ok_or_else(|| exec_datafusion_err!("IcebergWrite needs one input"))?;
        Ok(Self {
            input,
            ..self.clone()
        })
    }
}

#[derive(Debug)]
struct WritePlanner;

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn PlanSession,
        _planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<WriteNode>(), physical_inputs)
        else {
            return Ok(None);
        };
        write::write_plan(
            Arc::clone(input),
            &node.table,
            &node.write_id,
            session.config().target_partitions(),
        )
        .map(Some)
    }
}

/// Plans for one process and settles where the plan will run.
#[derive(Debug)]
pub(crate) struct StatementPlanner;

#[async_trait]
impl QueryPlanner for StatementPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn PlanSession,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
            Arc::new(WritePlanner),
            Arc::new(SharedPlanner::default()),
        ]);
        let marked = shared::marked(logical_plan)?;
        let plan = planner
            .create_physical_plan(marked.as_ref().unwrap_or(logical_plan), session)
            .await?;
        let plan = yielding(plan)?;
        let slot = session.config().get_extension::<PlacementSlot>();
        if slot.is_some_and(|slot| slot.decide(&plan).distributed) {
            return optimizer::for_workers(shared::apart(plan)?);
        }
        Ok(plan)
    }
}

/// Plans for this process or, where the statement's workers are to have a part, as `distributed` does. Fits what stays in
/// this process to how it runs; workers fit their fragments themselves.
#[derive(Debug)]
pub(crate) struct PlacingPlanner {
    distributed: Arc<dyn QueryPlanner + Send + Sync>,
}

impl PlacingPlanner {
    /// A planner that asks `distributed` for plans with stages.
    pub(crate) fn new(distributed: Arc<dyn QueryPlanner + Send + Sync>) -> Self {
        Self { distributed }
    }
}

#[async_trait]
impl QueryPlanner for PlacingPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn PlanSession,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = StatementPlanner
            .create_physical_plan(logical_plan, session)
            .await?;
        let slot = session.config().get_extension::<PlacementSlot>();
        // `datafusion-distributed` sends some plans away, such as unions, of which each stage has one task.
        if !slot.is_some_and(|slot| slot.decide(&plan).distributed) {
            return fit(plan);
        }
        let plan = self
            .distributed
            .create_physical_plan(logical_plan, session)
            .await?;
        if distribute::is_distributed(&plan) {
            Ok(plan)
        } else {
            fit(plan)
        }
    }
}

/// Fits a plan, or a fragment of one, to how this process runs it. What each operator gives stays what it is.
pub(crate) fn fit(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children();
    let fitted = children.iter().map(|child| fit(Arc::clone(child)));
    let fitted = fitted.collect::<Result<Vec<_>>>()?;
    let mut pairs = fitted.iter().zip(&children);
    let plan = if pairs.all(|(new, old)| Arc::ptr_eq(new, old)) {
        plan
    } else {
        let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        Arc::clone(&plan).replace_children(fitted, keep)?
    };
    conditions::ordered(pairs::watched(with_small_tables(plan)?)?)
}

/// Makes operators that give many batches for one of their input yield to the scheduler.
///
/// DataFusion makes its leaves yield; a join can go on for hours without asking a leaf, and a
/// statement that never yields cannot be cancelled.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let multiplies = node.is::<NestedLoopJoinExec>()
            || node.is::<CrossJoinExec>()
            || node.is::<HashJoinExec>()
            || node.is::<SortMergeJoinExec>()
            || node.is::<PartitionedJoinExec>()
            || node.is::<UnnestExec>();
        Ok(if multiplies {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    })
    .map(|done| done.data)
}
