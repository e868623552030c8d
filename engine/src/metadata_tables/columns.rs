//! Columns made from rows, one function for each: only those that a query wants are made.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int32Builder, Int64Array, Int64Builder, ListBuilder,
    MapBuilder, MapFieldNames, RecordBatchOptions, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use tarn_catalog::{ByField, Literal, Table, literals_to_array};

use super::{About, moment};
use crate::error::EngineError;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;
const MICROS_PER_MILLI: i64 = 1_000;

/// The id of a partition spec and values in the order of its fields.
type OfSpec<'a> = (i32, &'a [Option<Literal>]);
type Make<R> = Box<dyn Fn(&[R]) -> Result<ArrayRef, EngineError> + Send + Sync>;
type Load<R> = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<R>, EngineError>> + Send + Sync>;

/// A table's columns and where its rows come from.
pub(super) struct Columns<R> {
    columns: Vec<(Field, Make<R>)>,
    load: Load<R>,
}

/// [`Columns`] whatever the rows are.
#[async_trait]
pub(super) trait AnyColumns: Send + Sync {
    fn schema(&self) -> SchemaRef;
    /// All rows, of the columns at `wanted`.
    async fn batches(&self, wanted: &[usize]) -> Result<Vec<RecordBatch>, EngineError>;
}

#[async_trait]
impl<R: Send + Sync + 'static> AnyColumns for Columns<R> {
    fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|(field, _)| field.clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    async fn batches(&self, wanted: &[usize]) -> Result<Vec<RecordBatch>, EngineError> {
        let rows = (self.load)().await?;
        let schema = Arc::new(self.schema().project(wanted)?);
        let mut batches = Vec::new();
        for chunk in rows.chunks(BATCH_ROWS) {
            let arrays = wanted.iter().map(|at| (self.columns[*at].1)(chunk));
            let options = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
            batches.push(RecordBatch::try_new_with_options(
                Arc::clone(&schema),
                arrays.collect::<Result<_, _>>()?,
                &options,
            )?);
        }
        Ok(batches)
    }
}

impl<R: 'static> Columns<R> {
    pub(super) fn new(
        load: impl Fn() -> BoxFuture<'static, Result<Vec<R>, EngineError>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            columns: Vec::new(),
            load: Box::new(load),
        }
    }

    /// Every column of `rows`.
    pub(super) fn arrays(&self, rows: &[R]) -> Result<Vec<ArrayRef>, EngineError> {
        self.columns.iter().map(|(_, make)| make(rows)).collect()
    }

    pub(super) fn column(
        mut self,
        name: &str,
        ty: DataType,
        make: impl Fn(&[R]) -> Result<ArrayRef, EngineError> + Send + Sync + 'static,
    ) -> Self {
        self.columns
            .push((Field::new(name, ty, true), Box::new(make)));
        self
    }

    pub(super) fn long(
        self,
        name: &str,
        value: impl Fn(&R) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        self.column(name, DataType::Int64, move |rows| {
            Ok(Arc::new(rows.iter().map(&value).collect::<Int64Array>()))
        })
    }

    pub(super) fn int(
        self,
        name: &str,
        value: impl Fn(&R) -> Option<i32> + Send + Sync + 'static,
    ) -> Self {
        self.column(name, DataType::Int32, move |rows| {
            Ok(Arc::new(rows.iter().map(&value).collect::<Int32Array>()))
        })
    }

    pub(super) fn boolean(
        self,
        name: &str,
        value: impl Fn(&R) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        self.column(name, DataType::Boolean, move |rows| {
            Ok(Arc::new(rows.iter().map(&value).collect::<BooleanArray>()))
        })
    }

    pub(super) fn text(
        self,
        name: &str,
        value: impl Fn(&R) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.column(name, DataType::Utf8, move |rows| {
            Ok(Arc::new(rows.iter().map(&value).collect::<StringArray>()))
        })
    }

    /// A moment, given in milliseconds since 1970.
    pub(super) fn moment(
        self,
        about: &About,
        name: &str,
        millis: impl Fn(&R) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        let zone = Arc::clone(&about.time_zone);
        self.column(name, moment(about), move |rows| {
            let micros = rows
                .iter()
                .map(|row| millis(row).and_then(|millis| millis.checked_mul(MICROS_PER_MILLI)));
            let array: TimestampMicrosecondArray = micros.collect();
            Ok(Arc::new(array.with_timezone(Arc::clone(&zone))))
        })
    }

    pub(super) fn longs(
        self,
        name: &str,
        values: impl Fn(&R) -> Option<&[i64]> + Send + Sync + 'static,
    ) -> Self {
        let element = Arc::new(Field::new_list_field(DataType::Int64, true));
        self.column(name, DataType::List(element), move |rows| {
            let mut builder = ListBuilder::new(Int64Builder::new());
            for row in rows {
                match values(row) {
                    Some(values) => builder.append_value(values.iter().map(|v| Some(*v))),
                    None => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        })
    }

    pub(super) fn ints(
        self,
        name: &str,
        values: impl Fn(&R) -> Option<&[i32]> + Send + Sync + 'static,
    ) -> Self {
        let element = Arc::new(Field::new_list_field(DataType::Int32, true));
        self.column(name, DataType::List(element), move |rows| {
            let mut builder = ListBuilder::new(Int32Builder::new());
            for row in rows {
                match values(row) {
                    Some(values) => builder.append_value(values.iter().map(|v| Some(*v))),
                    None => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        })
    }

    /// Counts by field id.
    pub(super) fn counts(
        self,
        name: &str,
        values: impl Fn(&R) -> Option<&ByField<u64>> + Send + Sync + 'static,
    ) -> Self {
        self.column(
            name,
            map_type(DataType::Int32, DataType::Int64),
            move |rows| {
                let mut builder = MapBuilder::new(
                    Some(entry_names()),
                    Int32Builder::new(),
                    Int64Builder::new(),
                );
                for row in rows {
                    let values = values(row);
                    for (id, value) in values.into_iter().flatten() {
                        builder.keys().append_value(*id);
                        builder
                            .values()
                            .append_value(i64::try_from(*value).unwrap_or(i64::MAX));
                    }
                    builder.append(values.is_some())?;
                }
                Ok(Arc::new(builder.finish()))
            },
        )
    }

    /// Bounds by field id, as text.
    pub(super) fn bounds(
        self,
        name: &str,
        values: impl Fn(&R) -> Option<&ByField<Literal>> + Send + Sync + 'static,
    ) -> Self {
        self.column(
            name,
            map_type(DataType::Int32, DataType::Utf8),
            move |rows| {
                let mut builder = MapBuilder::new(
                    Some(entry_names()),
                    Int32Builder::new(),
                    StringBuilder::new(),
                );
                for row in rows {
                    let values = values(row);
                    for (id, value) in values.into_iter().flatten() {
                        builder.keys().append_value(*id);
                        builder.values().append_value(value.to_string());
                    }
                    builder.append(values.is_some())?;
                }
                Ok(Arc::new(builder.finish()))
            },
        )
    }

    /// Texts by name.
    pub(super) fn texts(
        self,
        name: &str,
        values: impl Fn(&R) -> Option<&HashMap<String, String>> + Send + Sync + 'static,
    ) -> Self {
        self.column(
            name,
            map_type(DataType::Utf8, DataType::Utf8),
            move |rows| {
                let mut builder = MapBuilder::new(
                    Some(entry_names()),
                    StringBuilder::new(),
                    StringBuilder::new(),
                );
                for row in rows {
                    let values = values(row);
                    for (key, value) in sorted(values) {
                        builder.keys().append_value(key);
                        builder.values().append_value(value);
                    }
                    builder.append(values.is_some())?;
                }
                Ok(Arc::new(builder.finish()))
            },
        )
    }

    /// The partition: a struct of the fields of all specs. Absent if no spec has a field.
    pub(super) fn partition(
        self,
        about: &About,
        of: impl Fn(&R) -> Option<OfSpec<'_>> + Send + Sync + 'static,
    ) -> Self {
        let table = about.table.clone();
        let fields = partition_struct(&table);
        if fields.is_empty() {
            return self;
        }
        let made = fields.clone();
        self.column("partition", DataType::Struct(fields), move |rows| {
            let of: Vec<_> = rows.iter().map(&of).collect();
            partitions(&table, &made, &of)
        })
    }
}

fn sorted<K: Ord, V, S: BuildHasher>(values: Option<&HashMap<K, V, S>>) -> Vec<(&K, &V)> {
    let mut entries: Vec<_> = values.into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn entry_names() -> MapFieldNames {
    MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

fn map_type(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", key, false),
        Field::new("value", value, true),
    ]);
    let entries: FieldRef = Arc::new(Field::new("key_value", DataType::Struct(entries), false));
    DataType::Map(entries, false)
}

/// What the partition of any file of `table` is told in.
pub(super) fn partition_struct(table: &Table) -> Fields {
    let fields = table.partition_fields().into_iter();
    fields
        .map(|field| Field::new(&field.name, field.result_type.clone(), true))
        .collect()
}

/// Partitions, each told by the id of its spec and its values, as the struct of [`partition_struct`].
fn partitions(
    table: &Table,
    fields: &Fields,
    of: &[Option<OfSpec<'_>>],
) -> Result<ArrayRef, EngineError> {
    let all = table.partition_fields();
    let mut columns = Vec::with_capacity(all.len());
    for (field, shown) in all.iter().zip(fields) {
        let values = of.iter().map(|of| {
            let (spec, values) = (*of)?;
            table.spec_by_id(spec)?.value_of(field, values)
        });
        columns.push(literals_to_array(shown.data_type(), values)?);
    }
    Ok(Arc::new(StructArray::try_new(
        fields.clone(),
        columns,
        None,
    )?))
}
