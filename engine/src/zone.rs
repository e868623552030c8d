//! Shows timestamps with time zone in the session's zone. The instants stay as they are.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// The rows of `stream`, their zoned timestamps in `time_zone`.
pub(crate) fn in_zone(
    stream: SendableRecordBatchStream,
    time_zone: &str,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let shown = zoned(&schema, time_zone);
    if shown == schema {
        return stream;
    }
    let into = Arc::clone(&shown);
    let rows = stream.map(move |batch| Ok(recast(&batch?, &into)?));
    Box::pin(RecordBatchStreamAdapter::new(shown, rows))
}

/// `schema` with its zoned timestamps in `time_zone`.
pub(crate) fn zoned(schema: &SchemaRef, time_zone: &str) -> SchemaRef {
    let other_zone = |ty: &DataType| matches!(ty, DataType::Timestamp(_, Some(zone)) if zone.as_ref() != time_zone);
    if !schema.fields().iter().any(|f| other_zone(f.data_type())) {
        return Arc::clone(schema);
    }
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Timestamp(unit, Some(_)) => Arc::new(
                Field::new(
                    field.name(),
                    DataType::Timestamp(*unit, Some(time_zone.into())),
                    field.is_nullable(),
                )
                .with_metadata(field.metadata().clone()),
            ),
            _ => Arc::clone(field),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The rows of `batch` as columns of `schema`, by position; columns that fit stay as they are.
///
/// # Errors
/// If a column cannot be cast, or has NULLs where `schema` allows none.
pub fn recast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::TimestampMicrosecondArray;
    use datafusion::arrow::util::display::array_value_to_string;

    #[tokio::test]
    async fn the_instant_stays_and_the_zone_shown_changes() {
        let column = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter(vec![("t", Arc::new(column) as ArrayRef)]).unwrap();
        let stream: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(
            batch.schema(),
            futures::stream::iter([Ok(batch)]),
        ));
        let mut shown = in_zone(stream, "+02:00");
        let batch = shown.next().await.unwrap().unwrap();
        assert_eq!(
            array_value_to_string(batch.column(0), 0).unwrap(),
            "1970-01-01T02:00:00+02:00"
        );
    }
}
