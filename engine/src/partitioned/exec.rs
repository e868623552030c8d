//! The plan node: a hash join in all but how it runs.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    ExecutionPlanProperties, InputDistributionRequirements, Partitioning, PlanProperties,
    ReplaceChildrenOptions, StatisticsArgs,
};

use super::run::Run;

/// A hash join that spills both of its sides if it must.
#[derive(Debug)]
pub(crate) struct PartitionedJoinExec {
    join: Arc<HashJoinExec>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PartitionedJoinExec {
    /// `node` as a partitioned join; none if it is no hash join, or one that can only run as it is.
    ///
    /// # Errors
    /// If the properties of the join cannot be computed.
    pub(crate) fn of(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let Some(join) = node.downcast_ref::<HashJoinExec>() else {
            return Ok(None);
        };
        // Nothing has given a join a limit where the rule runs.
        if join.fetch().is_some() || (join.null_aware && join.filter().is_some()) {
            return Ok(None);
        }
        Self::build(join.builder()).map(Some)
    }

    fn build(builder: HashJoinExecBuilder) -> Result<Self> {
        let join = builder
            .reset_state()
            .with_partition_mode(PartitionMode::Partitioned)
            .build()?;
        let known = join.properties();
        let mut equivalence = known.equivalence_properties().clone();
        equivalence.clear_orderings();
        let partitioning = if join.null_aware {
            Partitioning::UnknownPartitioning(join.right().output_partitioning().partition_count())
        } else {
            known.output_partitioning().clone()
        };
        let properties = PlanProperties::new(
            equivalence,
            partitioning,
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            join: Arc::new(join),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What is joined, and how.
    pub(super) fn join(&self) -> &HashJoinExec {
        &self.join
    }
}

impl DisplayAs for PartitionedJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(t, DisplayFormatType::TreeRender) {
            write!(f, "PartitionedJoinExec: ")?;
        }
        self.join.fmt_as(t, f)
    }
}

impl ExecutionPlan for PartitionedJoinExec {
    fn name(&self) -> &'static str {
        "PartitionedJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.join.left(), self.join.right()]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.join.null_aware {
            // Whether there is a NULL, or no row at all, must be known of all rows.
            return InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2]);
        }
        self.join.input_distribution_requirements()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let builder = self.join.builder().with_new_children(children)?;
        Ok(Arc::new(Self::build(builder)?))
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

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let build = self.join.left().execute(partition, Arc::clone(&context))?;
        let probe = self.join.right().execute(partition, Arc::clone(&context))?;
        let run = Run::new(&self.join, partition, context, &self.metrics);
        Ok(run.rows(build, probe))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.join.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.join.statistics_from_inputs(input_stats, args)
    }
}
