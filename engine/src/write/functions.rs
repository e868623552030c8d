//! Functions that plans of writes use: a transform of a column, and a hash of several.
//!
//! Both take a column and the way to a field in it: `('bucket[16]', '0.2', s)` is a bucket of the third field of the
//! first field of `s`; an empty way is the column itself. The same on every machine.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use tarn_catalog::Transform;
use twox_hash::XxHash64;

use super::metrics::at;
use super::target::{Route, type_at};

/// Name of the function that computes a row's partition key.
const PARTITION_KEY_FUNCTION: &str = "tarn_partition_key";
/// Name of the function that applies a transform.
const TRANSFORM_FUNCTION: &str = "tarn_transform";
/// Arguments for each column.
const STRIDE: usize = 3;

/// The functions that plans of writes use.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![partition_key_function(), transform_function()]
}

pub(super) fn partition_key_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(PartitionKey {
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

pub(super) fn transform_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(ApplyTransform {
        signature: Signature::any(STRIDE, Volatility::Immutable),
    }))
}

/// What both functions are told of a route besides its column.
pub(super) fn route_arguments(route: &Route) -> [ScalarValue; 2] {
    let way: Vec<String> = route.path.iter().skip(1).map(usize::to_string).collect();
    [
        ScalarValue::from(route.transform.to_string()),
        ScalarValue::from(way.join(".")),
    ]
}

/// Reads what [`route_arguments`] made; the path begins at a lone column.
fn route_of(transform: Option<&ScalarValue>, way: Option<&ScalarValue>) -> Result<Route> {
    let text = |value: Option<&ScalarValue>| {
        value
            .and_then(|value| value.try_as_str().flatten().map(str::to_owned))
            .ok_or_else(|| {
                DataFusionError::Plan("a transform and its way must be constants".to_owned())
            })
    };
    let transform = text(transform)?
        .parse::<Transform>()
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let mut path = vec![0];
    for step in text(way)?.split('.').filter(|step| !step.is_empty()) {
        let step = step
            .parse()
            .map_err(|_| DataFusionError::Plan(format!("\"{step}\" is no field number")))?;
        path.push(step);
    }
    Ok(Route { transform, path })
}

/// The transform of what a route leads to in `column`.
fn apply(route: &Route, column: ArrayRef) -> Result<ArrayRef> {
    let lone = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(lone), vec![column])?;
    let source = at(&batch, &route.path);
    route
        .transform
        .apply(&source)
        .map_err(|error| DataFusionError::External(Box::new(error)))
}

fn scalar(value: &ColumnarValue) -> Option<&ScalarValue> {
    match value {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(_) => None,
    }
}

/// One column's arguments, applied.
fn applied(args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let [transform, way, column] = args else {
        return Err(DataFusionError::Plan(
            "a transform takes its name, a way and a column".to_owned(),
        ));
    };
    let route = route_of(scalar(transform), scalar(way))?;
    apply(&route, column.to_array(rows)?)
}

/// The value that rows are sorted by: `tarn_transform('day', '', ts)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ApplyTransform {
    signature: Signature,
}

impl ScalarUDFImpl for ApplyTransform {
    fn name(&self) -> &str {
        TRANSFORM_FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Internal(
            "the type depends on the transform".to_owned(),
        ))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let argument = |at: usize| args.scalar_arguments.get(at).copied().flatten();
        let route = route_of(argument(0), argument(1))?;
        let column = args.arg_fields.get(2).cloned();
        let fields = column.into_iter().collect();
        let ty = type_at(&fields, &route.path).ok_or_else(|| {
            DataFusionError::Plan("a transform's way leads to no field".to_owned())
        })?;
        let ty = route
            .transform
            .result_type(ty)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(Field::new(TRANSFORM_FUNCTION, ty, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        applied(&args.args, args.number_rows).map(ColumnarValue::Array)
    }
}

/// A hash of partition values: `tarn_partition_key('day', '', ts, 'bucket[16]', '', id)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PartitionKey {
    signature: Signature,
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
        let each = args.args.chunks(STRIDE);
        let values = each
            .map(|column| applied(column, args.number_rows))
            .collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            let same = UInt64Array::from(vec![0; args.number_rows]);
            return Ok(ColumnarValue::Array(Arc::new(same)));
        }
        let fields = values
            .iter()
            .map(|array| SortField::new(array.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(&values)?;
        let hashes = rows.iter().map(|row| XxHash64::oneshot(0, row.as_ref()));
        let hashes = UInt64Array::from_iter_values(hashes);
        Ok(ColumnarValue::Array(Arc::new(hashes)))
    }
}
