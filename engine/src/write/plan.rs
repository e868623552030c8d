//! The plan of a write: align columns, bring rows of one partition together, write.
//!
//! Knows plan nodes. Refuses to know statements and commits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use tarn_catalog::{Table, Transform};
use twox_hash::XxHash64;

use super::error::WriteError;
use super::exec::IcebergWriteExec;
use super::target::WriteTarget;

/// Name of the function that computes a row's partition key.
const PARTITION_KEY_FUNCTION: &str = "tarn_partition_key";
/// Name of the hidden column that holds it.
const PARTITION_KEY_COLUMN: &str = "__tarn_partition_key";

/// Plans the write of `input` into `table`, under an id that the names of its files carry.
///
/// The columns of `input` are the table's by position. Rows of one partition come to the same one of
/// `target_partitions` tasks. The output is that of [`IcebergWriteExec`], in as many partitions as there are tasks.
///
/// # Errors
/// [`WriteError::ColumnCount`] for another number of columns, and as [`WriteTarget::of`].
pub fn write_plan(
    input: Arc<dyn ExecutionPlan>,
    table: &Table,
    write_id: &str,
    target_partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let target = WriteTarget::of(table, write_id)?;
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
    let mut columns: Vec<ProjectionExpr> = Vec::with_capacity(wanted.len() + 1);
    for (position, (given, wanted)) in given.fields().iter().zip(wanted).enumerate() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(given.name(), position));
        let to = wanted.data_type();
        // The writer itself aligns nested columns.
        let expr = if given.data_type() == to || to.is_nested() {
            column
        } else {
            Arc::new(CastExpr::new(column, to.clone(), None))
        };
        columns.push(ProjectionExpr::new(expr, wanted.name().clone()));
    }
    let key = partition_key(&target, &columns, input.as_ref())?;
    let partitioned = key.is_some() && target_partitions > 1;
    if let Some(key) = key.filter(|_| partitioned) {
        columns.push(ProjectionExpr::new(key, PARTITION_KEY_COLUMN.to_owned()));
    }
    let position = target.schema.fields().len();
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(columns, input)?);
    if partitioned {
        let key = Arc::new(Column::new(PARTITION_KEY_COLUMN, position));
        plan = Arc::new(RepartitionExec::try_new(
            plan,
            Partitioning::Hash(vec![key], target_partitions),
        )?);
    }
    Ok(Arc::new(IcebergWriteExec::new(plan, Arc::new(target))))
}

/// The partition key over the input's columns. `None` if the table is not partitioned by top-level columns: its rows
/// are then routed where they are.
fn partition_key(
    target: &WriteTarget,
    columns: &[ProjectionExpr],
    input: &dyn ExecutionPlan,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    if target.spec.is_unpartitioned() {
        return Ok(None);
    }
    let mut args: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for route in target
        .routes()?
        .iter()
        .filter(|route| route.transform != Transform::Void)
    {
        let [position] = route.path[..] else {
            return Ok(None);
        };
        args.push(Arc::new(Literal::new(ScalarValue::from(
            route.transform.to_string(),
        ))));
        args.push(Arc::clone(&columns[position].expr));
    }
    let function = partition_key_function();
    let config = Arc::new(ConfigOptions::default());
    Ok(Some(Arc::new(ScalarFunctionExpr::try_new(
        function,
        args,
        input.schema().as_ref(),
        config,
    )?)))
}

fn partition_key_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(PartitionKey {
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

/// The functions that plans of writes use.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![partition_key_function()]
}

/// A hash of partition values: `tarn_partition_key('day', ts, 'bucket[16]', id)`. The same on every machine.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PartitionKey {
    signature: Signature,
}

impl PartitionKey {
    fn hashes(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(args.args.len() / 2);
        for pair in args.args.chunks_exact(2) {
            let ColumnarValue::Scalar(name) = &pair[0] else {
                return Err(DataFusionError::Plan(
                    "a partition transform must be a constant".to_owned(),
                ));
            };
            let transform = name
                .try_as_str()
                .flatten()
                .unwrap_or_default()
                .parse::<Transform>();
            let array = pair[1].to_array(args.number_rows)?;
            let result = transform.and_then(|transform| transform.apply(&array));
            values.push(result.map_err(|error| DataFusionError::External(Box::new(error)))?);
        }
        if values.is_empty() {
            return Ok(Arc::new(UInt64Array::from(vec![0; args.number_rows])));
        }
        let fields = values
            .iter()
            .map(|array| SortField::new(array.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(&values)?;
        let hashes = rows.iter().map(|row| XxHash64::oneshot(0, row.as_ref()));
        Ok(Arc::new(UInt64Array::from_iter_values(hashes)))
    }
}

impl ScalarUDFImpl for PartitionKey {
    fn name(&self) -> &str {
        PARTITION_KEY_FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Self::hashes(&args).map(ColumnarValue::Array)
    }
}
