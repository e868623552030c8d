//! Joins that compare each row with each: they end when nobody waits for them, and do not spill where that is wrong.
//!
//! DataFusion's nested loop compares a batch with the whole other side before it looks up. What it does when that side
//! does not fit into memory (55.2) gives rows of the other side once for each stream in which they find nobody: such joins
//! fail here instead, and their statement is planned again with one stream.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result, exec_err, internal_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};

use crate::wanted::Wanted;

/// Puts what is said above around `node`, if it is a nested loop.
///
/// # Errors
/// None of its own.
pub(crate) fn watched(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    match node.downcast_ref::<NestedLoopJoinExec>() {
        Some(join) => Pairs::over(join, join.left(), join.right()),
        None => Ok(node),
    }
}

/// A nested loop that is watched.
#[derive(Debug)]
struct Pairs {
    /// The join, over inputs that run as if it were not watched.
    join: NestedLoopJoinExec,
    inputs: [Arc<dyn ExecutionPlan>; 2],
    /// The join that runs, and for whom.
    running: Mutex<Option<Running>>,
}

#[derive(Clone, Debug)]
struct Running {
    wanted: Option<Arc<Wanted>>,
    join: Arc<NestedLoopJoinExec>,
}

impl Pairs {
    fn over(
        join: &NestedLoopJoinExec,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inside = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            Arc::new(Undisturbed {
                inner: Arc::clone(input),
            })
        };
        let inner = rebuilt(join, inside(left), inside(right), join.filter().cloned())?;
        Ok(Arc::new(Self {
            join: inner,
            inputs: [Arc::clone(left), Arc::clone(right)],
            running: Mutex::default(),
        }))
    }

    /// Whether several streams would each give the rows of the left that found nobody in that stream.
    fn spills_wrongly(&self) -> bool {
        let streams = self.join.right().output_partitioning().partition_count();
        let once = matches!(
            self.join.join_type(),
            JoinType::Inner
                | JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark
        );
        streams > 1 && !once
    }

    /// The join whose filter asks whether its rows are `wanted`, one for all streams. Where nobody tells, they are.
    fn asking(&self, wanted: Option<Arc<Wanted>>) -> Result<Arc<NestedLoopJoinExec>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_ref()
            && running.wanted.as_ref().map(Arc::as_ptr) == wanted.as_ref().map(Arc::as_ptr)
        {
            return Ok(Arc::clone(&running.join));
        }
        let filter = self.join.filter().map(|filter| {
            let asks = Asks {
                inner: Arc::clone(filter.expression()),
                wanted: wanted.clone().unwrap_or_default(),
            };
            JoinFilter::new(
                Arc::new(asks),
                filter.column_indices().to_vec(),
                Arc::clone(filter.schema()),
            )
        });
        let (left, right) = (Arc::clone(self.join.left()), Arc::clone(self.join.right()));
        let join = Arc::new(rebuilt(&self.join, left, right, filter)?);
        *running = Some(Running {
            wanted,
            join: Arc::clone(&join),
        });
        Ok(join)
    }
}

fn rebuilt(
    join: &NestedLoopJoinExec,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    filter: Option<JoinFilter>,
) -> Result<NestedLoopJoinExec> {
    NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
        .with_filter(filter)
        .with_projection_ref(join.projection().clone())
        .build()
}

impl DisplayAs for Pairs {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.join.fmt_as(t, f)
    }
}

impl ExecutionPlan for Pairs {
    fn name(&self) -> &str {
        self.join.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
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
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = &children[..] else {
            return internal_err!("a join has two inputs");
        };
        Self::over(&self.join, left, right)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut runtime = context.runtime_env();
        if self.spills_wrongly() {
            let nowhere = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
            runtime = RuntimeEnvBuilder::from_runtime_env(&runtime)
                .with_disk_manager_builder(nowhere)
                .build_arc()?;
        }
        let mut config = context.session_config().clone();
        let wanted = config.get_extension::<Wanted>();
        config.set_extension(Arc::new(Outside(context)));
        // A join that runs looks no function up.
        let watched = TaskContext::default()
            .with_session_config(config)
            .with_runtime(runtime);
        self.asking(wanted)?.execute(partition, Arc::new(watched))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref()?.join.metrics()
    }
}

/// The task in which a join runs that is watched.
struct Outside(Arc<TaskContext>);

/// An input of a join, which runs with all that its statement has.
#[derive(Debug)]
struct Undisturbed {
    inner: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Undisturbed {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for Undisturbed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.inner]
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
        let (Some(inner), None) = (children.pop(), children.pop()) else {
            return internal_err!("one input is expected");
        };
        Ok(Arc::new(Self { inner }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let outside = context.session_config().get_extension::<Outside>();
        let context = outside.map_or(context, |outside| Arc::clone(&outside.0));
        self.inner.execute(partition, context)
    }
}

/// A condition that fails when nobody waits for its answer.
#[derive(Debug)]
struct Asks {
    inner: Arc<dyn PhysicalExpr>,
    wanted: Arc<Wanted>,
}

impl PartialEq for Asks {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.wanted, &other.wanted)
    }
}

impl Eq for Asks {}

impl Hash for Asks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.inner, f)
    }
}

impl PhysicalExpr for Asks {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.inner.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.wanted.is_over() {
            return exec_err!("nobody waits for the rows of this join");
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let (Some(inner), None) = (children.pop(), children.pop()) else {
            return internal_err!("one condition is expected");
        };
        Ok(Arc::new(Self {
            inner,
            wanted: Arc::clone(&self.wanted),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::assert_batches_sorted_eq;
    use datafusion::common::tree_node::TreeNode;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    async fn pairs(sql: &str, config: SessionConfig, memory: usize) -> Result<Vec<RecordBatch>> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let plan = context.sql(sql).await?.create_physical_plan().await?;
        let plan = crate::planner::fit(plan)?;
        let watched = plan.exists(|node| Ok(node.is::<Pairs>()))?;
        assert!(watched, "{sql} has no nested loop");
        collect(plan, context.task_ctx()).await
    }

    const LEFT: &str = "SELECT count(*), count(b.v) FROM generate_series(1, 400) AS a(v) LEFT JOIN \
        generate_series(1, 30000) AS b(v) ON a.v * b.v % 1000003 = 999 AND a.v > 200";

    #[tokio::test]
    async fn rows_are_those_of_the_loop() {
        let rows = pairs(
            LEFT,
            SessionConfig::new().with_target_partitions(3),
            1 << 30,
        )
        .await;
        assert_batches_sorted_eq!(
            [
                "+----------+------------+",
                "| count(*) | count(b.v) |",
                "+----------+------------+",
                "| 400      | 9          |",
                "+----------+------------+",
            ],
            &rows.unwrap()
        );
    }

    #[tokio::test]
    async fn a_loop_in_several_streams_fails_where_it_would_spill() {
        let config = SessionConfig::new().with_target_partitions(3);
        let error = pairs(LEFT, config, 1 << 10).await.unwrap_err();
        assert!(error.to_string().contains("NestedLoopJoinLoad"), "{error}");
    }

    #[tokio::test]
    async fn a_loop_ends_when_nobody_waits() {
        let wanted = Wanted::default();
        let mut config = SessionConfig::new().with_target_partitions(2);
        wanted.tell(&mut config);
        wanted.end();
        let error = pairs(LEFT, config, 1 << 30).await.unwrap_err();
        assert!(error.to_string().contains("nobody waits"), "{error}");
    }
}
