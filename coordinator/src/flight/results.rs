//! Rows on their way to a client: plain Arrow types, messages below gRPC's limits, no dictionaries.
//!
//! Knows Arrow and its IPC form, nothing of statements or tickets.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tonic::Status;

use super::columns;
use super::status::unconvertible;

/// Bytes of one message's rows, as far as rows can be split. Source: gRPC clients take 4 MiB by default.
const MESSAGE_BYTES_TARGET: usize = 2 * 1024 * 1024;

/// What types a client understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Those that every client has had for years.
    #[default]
    Plain,
    /// Views as the engine makes them, too.
    Views,
}

impl Shape {
    /// `schema` as a client of this shape gets it, with what Flight SQL says of each column.
    pub(crate) fn schema(self, schema: &Schema) -> SchemaRef {
        let describe = |field: &FieldRef| {
            let field = self.field(field);
            let mut metadata = field.metadata().clone();
            columns::describe(&mut metadata, &field);
            field.as_ref().clone().with_metadata(metadata)
        };
        let fields: Vec<Field> = schema.fields().iter().map(describe).collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// `schema` with the types of this shape, and nothing said of its columns.
    pub(crate) fn types(self, schema: &Schema) -> SchemaRef {
        let fields: Vec<FieldRef> = schema.fields().iter().map(|f| self.field(f)).collect();
        Arc::new(Schema::new(fields))
    }

    fn field(self, field: &FieldRef) -> FieldRef {
        let ty = self.data_type(field.data_type());
        if ty == *field.data_type() {
            Arc::clone(field)
        } else {
            Arc::new(
                Field::new(field.name(), ty, field.is_nullable())
                    .with_metadata(field.metadata().clone()),
            )
        }
    }

    /// The type that a client of this shape gets for `ty`.
    pub(crate) fn data_type(self, ty: &DataType) -> DataType {
        match ty {
            DataType::Utf8View | DataType::BinaryView if self == Self::Views => ty.clone(),
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            DataType::Dictionary(_, values) => self.data_type(values),
            DataType::RunEndEncoded(_, values) => self.data_type(values.data_type()),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => DataType::List(self.field(item)),
            DataType::FixedSizeList(item, n) => DataType::FixedSizeList(self.field(item), *n),
            DataType::Struct(fields) => {
                DataType::Struct(fields.iter().map(|f| self.field(f)).collect())
            }
            DataType::Map(entries, sorted) => DataType::Map(self.field(entries), *sorted),
            other => other.clone(),
        }
    }

    /// `batch` with the columns of `schema`, which is its own in this shape.
    pub(crate) fn batch(
        batch: &RecordBatch,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, ArrowError> {
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
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
    }
}

/// A schema as `FlightInfo`, `dataset_schema` and `table_schema` carry it.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|e: ArrowError| unconvertible(&e))?;
    Ok(bytes)
}

/// The messages of a result: its schema, then its rows, one batch held at a time.
pub(crate) fn encode<S>(
    shape: Shape,
    schema: &Schema,
    batches: S,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let schema = shape.schema(schema);
    async_stream::stream! {
        let options = IpcWriteOptions::default();
        yield Ok(SchemaAsIpc::new(&schema, &options).into());
        let mut encoder = Encoder::new(options);
        let mut batches = std::pin::pin!(batches);
        while let Some(batch) = batches.next().await {
            let parts = match batch {
                Ok(batch) => Shape::batch(&batch, &schema)
                    .and_then(|batch| encoder.encode(&batch))
                    .map_err(|e| unconvertible(&e)),
                Err(status) => Err(status),
            };
            match parts {
                Ok(parts) => for part in parts {
                    yield Ok(part);
                },
                Err(status) => {
                    yield Err(status);
                    return;
                }
            }
        }
    }
}

struct Encoder {
    options: IpcWriteOptions,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
}

impl Encoder {
    fn new(options: IpcWriteOptions) -> Self {
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        Self {
            options,
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            context,
        }
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        split(batch)
            .into_iter()
            .map(|part| {
                let (_, data) = self.generator.encode(
                    &part,
                    &mut self.dictionaries,
                    &self.options,
                    &mut self.context,
                )?;
                Ok(data.into())
            })
            .collect()
    }
}

/// Bytes of the rows themselves, however large the buffers are that they are slices of.
fn row_bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns.map(|column| data_bytes(&column.to_data())).sum()
}

fn data_bytes(data: &ArrayData) -> usize {
    let (offset, len) = (data.offset(), data.len());
    let nulls = len / 8;
    match (data.data_type(), data.child_data()) {
        (DataType::List(_) | DataType::Map(..), [items]) if len > 0 => {
            let offsets = &data.buffers()[0].typed_data::<i32>()[offset..=offset + len];
            let range = |at: usize| usize::try_from(offsets[at]).unwrap_or_default();
            let items = items.slice(range(0), range(len) - range(0));
            nulls + len * size_of::<i32>() + data_bytes(&items)
        }
        (DataType::FixedSizeList(_, n), [items]) => {
            let n = usize::try_from(*n).unwrap_or_default();
            nulls + data_bytes(&items.slice(offset * n, len * n))
        }
        (DataType::Struct(_), fields) => {
            let field = |field: &ArrayData| data_bytes(&field.slice(offset, len));
            nulls + fields.iter().map(field).sum::<usize>()
        }
        _ => data.get_slice_memory_size().unwrap_or_default(),
    }
}

/// `batch` in pieces of about [`MESSAGE_BYTES_TARGET`]; a single row is never split.
fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows == 0 {
        return vec![];
    }
    let bytes = row_bytes(batch);
    if bytes <= MESSAGE_BYTES_TARGET || rows == 1 {
        return vec![batch.clone()];
    }
    // Halved, because rows differ in size.
    let middle = rows / 2;
    let mut pieces = split(&batch.slice(0, middle));
    pieces.extend(split(&batch.slice(middle, rows - middle)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryViewArray, DictionaryArray, Int32Array, ListBuilder, StringArray, StringViewArray,
        StringViewBuilder,
    };
    use arrow::datatypes::Int32Type;
    use arrow_flight::decode::FlightRecordBatchStream;
    use futures::TryStreamExt;

    fn sample() -> RecordBatch {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists
            .values()
            .append_value("a string that does not fit a view");
        lists.append(true);
        lists.append_null();
        RecordBatch::try_from_iter_with_nullable([
            (
                "text",
                Arc::new(StringViewArray::from(vec![Some("x"), None])) as _,
                true,
            ),
            (
                "bytes",
                Arc::new(BinaryViewArray::from(vec![&b"a"[..], &b"b"[..]])) as _,
                true,
            ),
            (
                "words",
                Arc::new(
                    ["p", "q"]
                        .into_iter()
                        .collect::<DictionaryArray<Int32Type>>(),
                ) as _,
                true,
            ),
            ("lists", Arc::new(lists.finish()) as _, true),
        ])
        .unwrap()
    }

    async fn round_trip(shape: Shape, batches: Vec<RecordBatch>) -> (usize, Vec<RecordBatch>) {
        let schema = batches[0].schema();
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        let messages: Vec<FlightData> = encode(shape, &schema, stream).try_collect().await.unwrap();
        let count = messages.len();
        let stream = futures::stream::iter(messages.into_iter().map(Ok));
        let batches = FlightRecordBatchStream::new_from_flight_data(stream)
            .try_collect()
            .await
            .unwrap();
        (count, batches)
    }

    #[tokio::test]
    async fn a_client_gets_plain_types_also_inside_lists() {
        let (_, got) = round_trip(Shape::Plain, vec![sample()]).await;
        let types: Vec<_> = got[0]
            .schema()
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        assert_eq!(types[0], DataType::Utf8);
        assert_eq!(types[1], DataType::Binary);
        assert_eq!(types[2], DataType::Utf8);
        let DataType::List(item) = &types[3] else {
            panic!("not a list")
        };
        assert_eq!(*item.data_type(), DataType::Utf8);
        let words = got[0].column(2).as_any().downcast_ref::<StringArray>();
        assert_eq!(words.unwrap().value(1), "q");
    }

    #[tokio::test]
    async fn views_are_sent_to_who_asks_for_them() {
        let (_, got) = round_trip(Shape::Views, vec![sample()]).await;
        assert_eq!(*got[0].schema().field(0).data_type(), DataType::Utf8View);
    }

    #[tokio::test]
    async fn a_large_batch_goes_in_messages_below_the_limit() {
        let numbers = Int32Array::from_iter_values(0..3_000_000);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
        let schema = batch.schema();
        let stream = futures::stream::iter([Ok(batch)]);
        let messages: Vec<FlightData> = encode(Shape::Plain, &schema, stream)
            .try_collect()
            .await
            .unwrap();
        assert!(messages.len() > 5);
        assert!(
            messages
                .iter()
                .all(|m| m.data_body.len() <= MESSAGE_BYTES_TARGET + 1024)
        );
    }

    #[tokio::test]
    async fn a_slice_of_a_large_buffer_is_one_message() {
        let numbers = Int32Array::from_iter_values(0..3_000_000);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
        let (messages, got) = round_trip(Shape::Plain, vec![batch.slice(1_000_000, 10)]).await;
        assert_eq!((messages, got[0].num_rows()), (2, 10));
    }

    #[tokio::test]
    async fn an_empty_result_still_tells_its_schema() {
        let schema = sample().schema();
        let none = futures::stream::iter(Vec::<Result<RecordBatch, Status>>::new());
        let messages: Vec<FlightData> = encode(Shape::Plain, &schema, none)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(messages.len(), 1);
    }
}
