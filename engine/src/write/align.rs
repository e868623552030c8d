//! Rows as the table's schema has them: same types at every depth, no NULL where none may be.
//!
//! Columns are matched by position. Knows arrays. Refuses to know files.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use datafusion::common::Result;

use super::error::WriteError;
use crate::temporal;

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// The first columns of `batch` as a batch of `schema`. Further columns are left out.
///
/// # Errors
/// [`WriteError::ColumnCount`] for too few columns, [`WriteError::Type`] for a value that does not fit,
/// [`WriteError::Required`] for a NULL in a required column.
pub(crate) fn align(batch: &RecordBatch, schema: &SchemaRef, table: &str) -> Result<RecordBatch> {
    let wanted = schema.fields().len();
    if batch.num_columns() < wanted {
        let (table, given) = (table.to_owned(), batch.num_columns());
        return Err(WriteError::ColumnCount {
            table,
            wanted,
            given,
        }
        .into());
    }
    let mut columns = Vec::with_capacity(wanted);
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let array = conform(array, field, field.name())?;
        check_required(field, &array, None, field.name(), table)?;
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

fn conform(array: &ArrayRef, to: &Field, path: &str) -> Result<ArrayRef> {
    if array.data_type() == to.data_type() {
        return Ok(Arc::clone(array));
    }
    let refused = || WriteError::Type {
        column: path.to_owned(),
        found: array.data_type().to_string(),
        wanted: to.data_type().to_string(),
    };
    match (array.data_type(), to.data_type()) {
        (DataType::Null, to_type) => {
            let nulls = arrow::array::new_null_array(&nullable(to_type), array.len());
            conform(&nulls, to, path)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let source = array.as_struct();
            if source.num_columns() != fields.len() {
                return Err(refused().into());
            }
            let children =
                source.columns().iter().zip(fields).map(|(child, field)| {
                    conform(child, field, &format!("{path}.{}", field.name()))
                });
            build_struct(
                fields,
                children.collect::<Result<_>>()?,
                source.len(),
                source.nulls(),
            )
        }
        (
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..),
            DataType::List(element),
        ) => {
            let field = match array.data_type() {
                DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field,
                _ => element,
            };
            let list = match array.data_type() {
                DataType::List(_) => Arc::clone(array),
                _ => cast_with_options(array, &DataType::List(Arc::clone(field)), &STRICT)?,
            };
            let list = list.as_list::<i32>();
            let values = conform(list.values(), element, &format!("{path}.element"))?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(ListArray::new(
                Arc::clone(element),
                list.offsets().clone(),
                values,
                nulls,
            )))
        }
        (DataType::Map(..), DataType::Map(entries, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(refused().into());
            };
            let [key, value] = fields.as_ref() else {
                return Err(refused().into());
            };
            let keys = conform(map.keys(), key, &format!("{path}.key"))?;
            let values = conform(map.values(), value, &format!("{path}.value"))?;
            let pairs = StructArray::try_new_with_length(
                fields.clone(),
                vec![keys, values],
                None,
                map.entries().len(),
            )?;
            let nulls = map.nulls().cloned();
            Ok(Arc::new(MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                pairs,
                nulls,
                *ordered,
            )?))
        }
        (from, to) if from.is_nested() || to.is_nested() => Err(refused().into()),
        (_, to) => temporal::cast_down(array, to, &STRICT).map_err(|error| {
            datafusion::error::DataFusionError::from(error).context(refused().to_string())
        }),
    }
}

/// `ty` with every child nullable: a type of which an array of NULLs can be made.
fn nullable(ty: &DataType) -> DataType {
    match ty {
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| {
                    field
                        .as_ref()
                        .clone()
                        .with_data_type(nullable(field.data_type()))
                        .with_nullable(true)
                })
                .collect::<Vec<_>>()
                .into(),
        ),
        ty => ty.clone(),
    }
}

/// A struct whose required children may hold NULLs where the struct itself is NULL.
fn build_struct(
    fields: &Fields,
    children: Vec<ArrayRef>,
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Result<ArrayRef> {
    Ok(Arc::new(StructArray::try_new_with_length(
        fields.clone(),
        children,
        nulls.cloned(),
        rows,
    )?))
}

fn check_required(
    field: &Field,
    array: &ArrayRef,
    parent: Option<&NullBuffer>,
    path: &str,
    table: &str,
) -> Result<(), WriteError> {
    let here = NullBuffer::union(parent, array.nulls());
    let parent_nulls = parent.map_or(0, NullBuffer::null_count);
    let nulls = here.as_ref().map_or(0, NullBuffer::null_count);
    if !field.is_nullable() && nulls > parent_nulls {
        return Err(WriteError::Required {
            table: table.to_owned(),
            column: path.to_owned(),
        });
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            for (field, child) in fields.iter().zip(array.as_struct().columns()) {
                check_required(
                    field,
                    child,
                    here.as_ref(),
                    &format!("{path}.{}", field.name()),
                    table,
                )?;
            }
            Ok(())
        }
        DataType::List(element) => check_required(
            element,
            array.as_list::<i32>().values(),
            None,
            &format!("{path}.element"),
            table,
        ),
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Ok(());
            };
            for (field, child) in fields.iter().zip(array.as_map().entries().columns()) {
                check_required(
                    field,
                    child,
                    None,
                    &format!("{path}.{}", field.name()),
                    table,
                )?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
