//! Grouping before a shuffle, in tables that stay small.
//!
//! DataFusion's partial aggregate keeps all groups that it has seen. Where rows of a group stand near each other, as in
//! tables written in the order of a key, most of them never come back, and a table of millions of groups misses the
//! processor's caches at each row. Here the table is given out and begun anew when it has grown to [`TABLE_BYTES`], for
//! as long as that makes few rows of many; DataFusion does the rest, for which such a table is one that does not fit into
//! memory. Never changes what the final aggregate makes of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};

/// A table of groups is given out when it has grown beyond this many bytes: about what the caches of a processor hold.
const TABLE_BYTES: usize = 4 << 20;
/// Tables stay small while they make at most this share of the rows that went in: three of five.
const MADE_MAX: (usize, usize) = (3, 5);

/// Puts small tables under `node`, if it is a partial aggregate.
///
/// # Errors
/// None of its own.
pub(crate) fn with_small_tables(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) if gives_out_early(aggregate) => {
            PartialGroups::over(&node, Arc::clone(aggregate.input()))
        }
        _ => Ok(node),
    }
}

/// Whether DataFusion gives the groups of `aggregate` out when memory is scarce, and goes on.
fn gives_out_early(aggregate: &AggregateExec) -> bool {
    *aggregate.mode() == AggregateMode::Partial
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.group_expr().is_single()
        && !aggregate.group_expr().is_true_no_grouping()
        && aggregate.limit_options().is_none()
}

/// A partial aggregate whose tables stay small.
#[derive(Debug)]
struct PartialGroups {
    /// The aggregate, over an input that takes no part in its bound.
    inner: Arc<dyn ExecutionPlan>,
    input: Arc<dyn ExecutionPlan>,
}

impl PartialGroups {
    fn over(
        aggregate: &Arc<dyn ExecutionPlan>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let unbounded = Arc::new(Unbounded {
            inner: Arc::clone(&input),
        });
        let inner = Arc::clone(aggregate).replace_children(
            vec![unbounded],
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )?;
        Ok(Arc::new(Self { inner, input }))
    }
}

impl DisplayAs for PartialGroups {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for PartialGroups {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
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
            return internal_err!("an aggregate has one input");
        };
        Self::over(&self.inner, input)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let table = Arc::new(Table::default());
        let runtime = context.runtime_env();
        let pool = Bounded {
            inner: Arc::clone(&runtime.memory_pool),
            outside: Arc::clone(&context),
            table: Arc::clone(&table),
        };
        let runtime = RuntimeEnvBuilder::from_runtime_env(&runtime)
            .with_memory_pool(Arc::new(pool))
            .build_arc()?;
        // An aggregate that runs looks no function up.
        let bounded = TaskContext::default()
            .with_session_config(context.session_config().clone())
            .with_runtime(runtime);
        Ok(Box::pin(Counted {
            inner: self.inner.execute(partition, Arc::new(bounded))?,
            table,
            count: |table| &table.made,
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }
}

/// The input of a partial aggregate, which has the memory of its statement.
#[derive(Debug)]
struct Unbounded {
    inner: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Unbounded {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for Unbounded {
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
        let Some(bounded) = context.memory_pool().downcast_ref::<Bounded>() else {
            return self.inner.execute(partition, context);
        };
        Ok(Box::pin(Counted {
            inner: self
                .inner
                .execute(partition, Arc::clone(&bounded.outside))?,
            table: Arc::clone(&bounded.table),
            count: |table| &table.taken,
        }))
    }
}

/// The rows of one partition's tables.
#[derive(Debug, Default)]
struct Table {
    /// Rows that went in.
    taken: AtomicUsize,
    /// Rows that came out.
    made: AtomicUsize,
    /// Rows that had gone in when a table was given out the last time.
    taken_before: AtomicUsize,
    /// Small tables make too many rows.
    grows: AtomicBool,
}

impl Table {
    /// Whether a table that has grown to the bound may grow on. If not, it is given out.
    fn may_grow(&self) -> bool {
        if self.grows.load(Ordering::Relaxed) {
            return true;
        }
        let before = self
            .taken_before
            .swap(self.taken.load(Ordering::Relaxed), Ordering::Relaxed);
        let made = self.made.load(Ordering::Relaxed);
        let grows = made.saturating_mul(MADE_MAX.1) > before.saturating_mul(MADE_MAX.0);
        self.grows.store(grows, Ordering::Relaxed);
        grows
    }
}

/// Rows that pass are counted.
struct Counted {
    inner: SendableRecordBatchStream,
    table: Arc<Table>,
    count: fn(&Table) -> &AtomicUsize,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(batch))) = &polled {
            (self.count)(&self.table).fetch_add(batch.num_rows(), Ordering::Relaxed);
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

/// The memory of a statement for one table of groups.
struct Bounded {
    inner: Arc<dyn MemoryPool>,
    /// The task without this bound.
    outside: Arc<TaskContext>,
    table: Arc<Table>,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").finish_non_exhaustive()
    }
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "small tables of {}", self.inner)
    }
}

impl MemoryPool for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let bytes = reservation.size().saturating_add(additional);
        if reservation.size() > 0 && bytes > TABLE_BYTES && !self.table.may_grow() {
            return Err(DataFusionError::ResourcesExhausted(
                "the table is given out".to_owned(),
            ));
        }
        self.inner.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::common::tree_node::TreeNode;
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::{collect, displayable};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    const ROWS: i64 = 2_000_000;

    /// Groups `ROWS` rows by the key that `key` makes of their number; gives back the rows that the partial aggregate
    /// made, and checks the sums.
    async fn made(key: impl Fn(i64) -> i64, groups: i64) -> usize {
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config(config);
        let batches = (0..ROWS / 8000).map(|batch| {
            let numbers = (batch * 8000)..((batch + 1) * 8000);
            let keys: Int64Array = numbers.clone().map(&key).collect();
            let values: Int64Array = numbers.map(|_| 1).collect();
            RecordBatch::try_from_iter([("k", Arc::new(keys) as _), ("v", Arc::new(values) as _)])
                .unwrap()
        });
        let mut first: Vec<_> = batches.collect();
        let second = first.split_off(first.len() / 2);
        let table = MemTable::try_new(first[0].schema(), vec![first, second]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let frame = context
            .sql("SELECT k, sum(v) FROM t GROUP BY k")
            .await
            .unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let before = displayable(plan.as_ref()).indent(false).to_string();
        let plan = crate::planner::fit(plan).unwrap();
        assert_eq!(displayable(plan.as_ref()).indent(false).to_string(), before);
        let rows = collect(Arc::clone(&plan), context.task_ctx())
            .await
            .unwrap();
        let sums = rows.iter().map(|batch| {
            let sums = batch.column(1).as_primitive::<Int64Type>();
            sums.values().iter().sum::<i64>()
        });
        assert_eq!(sums.sum::<i64>(), ROWS);
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(i64::try_from(count).unwrap(), groups);
        let mut made = None;
        plan.apply(|node| {
            if node.is::<PartialGroups>() {
                made = node.metrics().and_then(|metrics| metrics.output_rows());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        made.unwrap()
    }

    #[tokio::test]
    async fn groups_near_each_other_are_given_out_and_others_are_kept() {
        // Four rows of a group stand together, and four more half a stream on.
        let groups = ROWS / 16;
        let near = made(|row| row / 4 % groups, groups).await;
        assert!(near > 400_000, "tables were given out: {near}");
        // Small tables would make two rows of three, again and again.
        let groups = 160_000;
        let apart = made(|row| row * 2 / 3 % groups, groups).await;
        assert!(apart < 700_000, "a table grew: {apart}");
        let few = made(|row| row % 10, 10).await;
        assert!(few <= 20, "{few}");
    }
}
