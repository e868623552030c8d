//! The plan of a write: align columns, bring rows of one partition together, sort them, write.
//!
//! Knows plan nodes. Refuses to know statements and commits.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use tarn_catalog::{Table, Transform};

use super::error::WriteError;
use super::exec::{IcebergWriteExec, InputNeeds};
use super::functions::{partition_key_function, route_arguments, transform_function};
use super::options::DistributionMode;
use super::target::{Route, WriteTarget, type_at};

/// Name of the hidden column that holds a row's partition key.
const PARTITION_KEY_COLUMN: &str = "__tarn_partition_key";
/// Prefix of the names of hidden columns that rows are sorted by.
const SORT_COLUMN: &str = "__tarn_sort_";

/// Plans the write of `input` into `table`, under an id that the names of its files carry.
///
/// The columns of `input` are the table's by position. How rows come to the at most `target_partitions` tasks is the
/// table's `write.distribution-mode`; rows of a table with a sort order are sorted in each task, by partition and then by
/// that order. The output is that of [`IcebergWriteExec`], in as many partitions as there are tasks.
///
/// # Errors
/// [`WriteError::ColumnCount`] for another number of columns, and as [`WriteTarget::of`].
pub fn write_plan(
    input: Arc<dyn ExecutionPlan>,
    table: &Table,
    write_id: &str,
    target_partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut target = WriteTarget::of(table, write_id)?;
    let mut columns = Columns::aligned(&target, input.as_ref())?;
    let partition: Vec<Route> = target
        .routes()?
        .into_iter()
        .filter(|route| route.transform != Transform::Void)
        .collect();
    let mode = target.options.distribution(!partition.is_empty());
    let hashed = mode == DistributionMode::Hash
        && target_partitions > 1
        && !partition.is_empty()
        && columns.reach(&partition);
    let ordering = ordering(&mut target, &mut columns, &partition, mode)?;
    let key = if hashed {
        Some(columns.key(&partition)?)
    } else {
        None
    };
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(columns.done, input)?);
    if let Some(key) = &key {
        let by = Partitioning::Hash(vec![Arc::clone(key)], target_partitions);
        plan = Arc::new(RepartitionExec::try_new(plan, by)?);
    }
    let single = mode == DistributionMode::Range && ordering.is_some();
    if let Some(ordering) = &ordering {
        let sort = SortExec::new(ordering.clone(), plan).with_preserve_partitioning(true);
        plan = Arc::new(sort);
        if single && plan.output_partitioning().partition_count() > 1 {
            plan = Arc::new(SortPreservingMergeExec::new(ordering.clone(), plan));
        }
    }
    let needs = InputNeeds {
        clustered: ordering.is_some(),
        key,
        ordering,
        single,
    };
    Ok(Arc::new(IcebergWriteExec::new(
        plan,
        Arc::new(target),
        needs,
    )))
}

/// By what rows are sorted: partition, then the table's order. `None` if they are not.
///
/// An order that the input's columns cannot be sorted by is taken from `target`: its files are in none then.
fn ordering(
    target: &mut WriteTarget,
    columns: &mut Columns,
    partition: &[Route],
    mode: DistributionMode,
) -> Result<Option<LexOrdering>> {
    if let Some(order) = &target.order
        && !(columns.reach(partition)
            && columns.reach(order.fields.iter().map(|field| &field.route)))
    {
        target.order = None;
    }
    if target.order.is_none() && !(mode == DistributionMode::Range && columns.reach(partition)) {
        return Ok(None);
    }
    let mut sort = Vec::new();
    for route in partition {
        sort.push(PhysicalSortExpr::new(
            columns.sort_column(route)?,
            SortOptions::default(),
        ));
    }
    for field in target.order.iter().flat_map(|order| &order.fields) {
        let options = SortOptions {
            descending: field.descending,
            nulls_first: field.nulls_first,
        };
        sort.push(PhysicalSortExpr::new(
            columns.sort_column(&field.route)?,
            options,
        ));
    }
    Ok(LexOrdering::new(sort))
}

/// The columns of the plan below a write: the table's, then hidden ones.
struct Columns<'a> {
    input: &'a dyn ExecutionPlan,
    target_types: Vec<arrow::datatypes::FieldRef>,
    done: Vec<ProjectionExpr>,
}

impl<'a> Columns<'a> {
    /// The input's columns as the table has them. Nested ones are left to the writer.
    fn aligned(target: &WriteTarget, input: &'a dyn ExecutionPlan) -> Result<Self> {
        let given = input.schema();
        let wanted = target.schema.fields();
        if given.fields().len() != wanted.len() {
            let (table, wanted) = (target.table.clone(), wanted.len());
            return Err(WriteError::ColumnCount {
                table,
                wanted,
                given: given.fields().len(),
            }
            .into());
        }
        let mut done: Vec<ProjectionExpr> = Vec::with_capacity(wanted.len() + 1);
        for (position, (given, wanted)) in given.fields().iter().zip(wanted).enumerate() {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(given.name(), position));
            let to = wanted.data_type();
            let expr = if given.data_type() == to || to.is_nested() {
                column
            } else {
                Arc::new(CastExpr::new(column, to.clone(), None))
            };
            done.push(ProjectionExpr::new(expr, wanted.name().clone()));
        }
        Ok(Self {
            input,
            target_types: wanted.iter().cloned().collect(),
            done,
        })
    }

    /// Whether the fields that the routes lead to have the types here that they have in the table.
    fn reach<'r>(&self, routes: impl IntoIterator<Item = &'r Route>) -> bool {
        let wanted = self.target_types.iter().cloned().collect();
        let given = self.input.schema();
        routes.into_iter().all(|route| match &route.path[..] {
            [] => false,
            [_] => true,
            path => type_at(&wanted, path) == type_at(given.fields(), path),
        })
    }

    fn arguments(&self, route: &Route) -> Vec<Arc<dyn PhysicalExpr>> {
        let mut out: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(3);
        for value in route_arguments(route) {
            out.push(Arc::new(Literal::new(value)));
        }
        if let Some(column) = route.path.first().and_then(|at| self.done.get(*at)) {
            out.push(Arc::clone(&column.expr));
        }
        out
    }

    fn call(
        &self,
        function: Arc<ScalarUDF>,
        args: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let config = Arc::new(ConfigOptions::default());
        Ok(Arc::new(ScalarFunctionExpr::try_new(
            function,
            args,
            self.input.schema().as_ref(),
            config,
        )?))
    }

    /// A column that is hidden from the writer.
    fn hidden(&mut self, name: &str, expr: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        let column = Arc::new(Column::new(name, self.done.len()));
        self.done.push(ProjectionExpr::new(expr, name.to_owned()));
        column
    }

    /// The column that rows are sorted by for `route`.
    fn sort_column(&mut self, route: &Route) -> Result<Arc<dyn PhysicalExpr>> {
        if let (Transform::Identity, [position]) = (route.transform, &route.path[..]) {
            return Ok(Arc::new(Column::new(
                &self.done[*position].alias,
                *position,
            )));
        }
        let expr = self.call(transform_function(), self.arguments(route))?;
        let name = format!("{SORT_COLUMN}{}", self.done.len());
        Ok(self.hidden(&name, expr))
    }

    /// The column that says to which task a row goes.
    fn key(&mut self, partition: &[Route]) -> Result<Arc<dyn PhysicalExpr>> {
        let args = partition
            .iter()
            .flat_map(|route| self.arguments(route))
            .collect();
        let expr = self.call(partition_key_function(), args)?;
        Ok(self.hidden(PARTITION_KEY_COLUMN, expr))
    }
}
