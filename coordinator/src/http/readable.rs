//! Columns as text formats show them, where Arrow's own writers do not: UUIDs with dashes, and maps whose keys are no
//! texts.
//!
//! Knows arrays. Refuses to know formats.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use uuid::Uuid;

/// Bytes of a UUID.
const UUID_BYTES: i32 = 16;

/// The batch with what cannot be shown as it is made readable; the same batch if all of it can.
pub(crate) fn readable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|f| is_unreadable(f.data_type())) {
        return Ok(batch.clone());
    }
    let (fields, columns) = all(schema.fields(), batch.columns())?;
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns)
}

/// One column, made readable.
pub(crate) fn readable_column(
    field: &FieldRef,
    array: &ArrayRef,
) -> Result<(FieldRef, ArrayRef), ArrowError> {
    let array = convert(array)?;
    let ty = array.data_type().clone();
    let field = Field::new(field.name(), ty, field.is_nullable());
    Ok((Arc::new(field), array))
}

fn all(fields: &Fields, columns: &[ArrayRef]) -> Result<(Fields, Vec<ArrayRef>), ArrowError> {
    let done = fields
        .iter()
        .zip(columns)
        .map(|(field, column)| readable_column(field, column))
        .collect::<Result<Vec<_>, _>>()?;
    let (fields, columns): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    Ok((fields.into(), columns))
}

fn is_unreadable(ty: &DataType) -> bool {
    match ty {
        DataType::FixedSizeBinary(UUID_BYTES) => true,
        DataType::Struct(fields) => fields.iter().any(|f| is_unreadable(f.data_type())),
        DataType::List(item) => is_unreadable(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                !is_text(fields[0].data_type()) || is_unreadable(fields[1].data_type())
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_text(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8)
}

fn convert(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !is_unreadable(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::FixedSizeBinary(UUID_BYTES) => {
            let uuids = array.as_fixed_size_binary().iter();
            let texts = uuids.map(|bytes| {
                let uuid = Uuid::from_slice(bytes?).ok()?;
                Some(uuid.to_string())
            });
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let (fields, columns) = all(fields, parts.columns())?;
            let nulls = parts.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(
                fields,
                columns,
                nulls,
                array.len(),
            )?)
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let (item, values) = readable_column(item, list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(item, offsets, values, nulls)?)
        }
        DataType::Map(entries, ordered) => {
            let map = array.as_map();
            let keys: ArrayRef = Arc::new(texts(&convert(map.keys())?)?);
            let values = convert(map.values())?;
            let fields = Fields::from(vec![
                Field::new("key", DataType::Utf8, false),
                Field::new("value", values.data_type().clone(), true),
            ]);
            let rows = keys.len();
            let pairs =
                StructArray::try_new_with_length(fields.clone(), vec![keys, values], None, rows)?;
            let entries = Field::new(entries.name(), DataType::Struct(fields), false);
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(
                Arc::new(entries),
                offsets,
                pairs,
                nulls,
                *ordered,
            )?)
        }
        _ => Arc::clone(array),
    })
}

/// Values as Arrow displays them. Keys of maps are never NULL.
fn texts(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    const FORMAT: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FORMAT)?;
    let texts = (0..array.len()).map(|row| formatter.value(row).try_to_string());
    Ok(StringArray::from(texts.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{FixedSizeBinaryArray, Int32Array};
    use arrow::buffer::OffsetBuffer;

    #[test]
    fn keys_are_texts_and_uuids_have_dashes_at_every_depth() {
        let uuid = uuid::uuid!("f79c3e09-677c-4bbd-a479-3f349cb785e7");
        let uuids = vec![Some(uuid.into_bytes()), None];
        let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16);
        let fields = Fields::from(vec![
            Field::new("key", DataType::Int32, false),
            Field::new("value", DataType::FixedSizeBinary(16), true),
        ]);
        let pairs = StructArray::new(
            fields.clone(),
            vec![
                Arc::new(Int32Array::from(vec![7, -1])),
                Arc::new(uuids.unwrap()),
            ],
            None,
        );
        let entries = Field::new("key_value", DataType::Struct(fields), false);
        let map = MapArray::new(
            Arc::new(entries),
            OffsetBuffer::from_lengths([2]),
            pairs,
            None,
            false,
        );
        let batch = RecordBatch::try_from_iter(vec![("m", Arc::new(map) as ArrayRef)]).unwrap();
        let shown = readable(&batch).unwrap();
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(&shown).unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        assert_eq!(
            text.trim(),
            r#"{"m":{"7":"f79c3e09-677c-4bbd-a479-3f349cb785e7"}}"#
        );
    }
}
