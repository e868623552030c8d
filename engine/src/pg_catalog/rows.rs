//! Rows of catalog relations, put together value by value under the columns' names.
//!
//! Only the columns that a statement reads are kept. A value that nobody gives is NULL, or empty where the column
//! is never NULL. Knows Arrow, not what the rows mean.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListBuilder, RecordBatch,
    RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder, new_null_array,
};
use datafusion::arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, IntervalUnit, SchemaRef,
};
use datafusion::common::{Result, exec_err};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val<'a> {
    /// NULL.
    Null,
    /// `bool`.
    Bool(bool),
    /// Any integer type.
    Int(i64),
    /// `oid`, `regclass` and the like.
    Oid(u32),
    /// `float4`, `float8`.
    Float(f64),
    /// Any text type.
    Text(&'a str),
    /// Any text type, made for this row.
    Owned(String),
    /// Microseconds since 1970.
    Time(i64),
    /// A span of seconds.
    Span(i64),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of oids.
    Oids(Vec<u32>),
}

impl<'a> From<Option<&'a str>> for Val<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

impl<'a> From<&'a Option<String>> for Val<'a> {
    fn from(value: &'a Option<String>) -> Self {
        value.as_deref().into()
    }
}

impl From<Option<i64>> for Val<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

/// Builds the values of one column.
#[derive(Debug)]
pub(crate) enum Column {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(UInt32Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Time(TimestampMicrosecondBuilder),
    Span(IntervalMonthDayNanoBuilder),
    Texts(ListBuilder<StringBuilder>),
    Int16s(ListBuilder<Int16Builder>),
    Oids(ListBuilder<UInt32Builder>),
    /// A type whose values are always NULL here.
    Nulls(DataType, usize),
}

impl Column {
    /// An empty column of the field's type.
    pub(crate) fn new(field: &Field) -> Self {
        match field.data_type() {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::UInt32 => Self::Oid(UInt32Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Timestamp(_, zone) => {
                Self::Time(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::Span(IntervalMonthDayNanoBuilder::new())
            }
            DataType::List(item) => match item.data_type() {
                DataType::Utf8 => {
                    Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item)))
                }
                DataType::Int16 => {
                    Self::Int16s(ListBuilder::new(Int16Builder::new()).with_field(Arc::clone(item)))
                }
                DataType::UInt32 => {
                    Self::Oids(ListBuilder::new(UInt32Builder::new()).with_field(Arc::clone(item)))
                }
                _ => Self::Nulls(field.data_type().clone(), 0),
            },
            other => Self::Nulls(other.clone(), 0),
        }
    }

    /// Appends a value; one of a wrong type is an error in the program.
    pub(crate) fn push(&mut self, value: Val<'_>) -> Result<()> {
        match (self, value) {
            (column, Val::Null) => column.push_null(),
            (Self::Bool(b), Val::Bool(v)) => b.append_value(v),
            (Self::Int16(b), Val::Int(v)) => b.append_option(i16::try_from(v).ok()),
            (Self::Int32(b), Val::Int(v)) => b.append_option(i32::try_from(v).ok()),
            (Self::Int64(b), Val::Int(v)) => b.append_value(v),
            (Self::Int64(b), Val::Oid(v)) => b.append_value(i64::from(v)),
            (Self::Oid(b), Val::Oid(v)) => b.append_value(v),
            #[allow(clippy::cast_possible_truncation, reason = "the column is a float4")]
            (Self::Float32(b), Val::Float(v)) => b.append_value(v as f32),
            (Self::Float64(b), Val::Float(v)) => b.append_value(v),
            (Self::Text(b), Val::Text(v)) => b.append_value(v),
            (Self::Text(b), Val::Owned(v)) => b.append_value(v),
            (Self::Time(b), Val::Time(v)) => b.append_value(v),
            (Self::Span(b), Val::Span(v)) => {
                b.append_value(IntervalMonthDayNano::new(
                    0,
                    0,
                    v.saturating_mul(1_000_000_000),
                ));
            }
            (Self::Texts(b), Val::Texts(v)) => b.append_value(v.into_iter().map(Some)),
            (Self::Oids(b), Val::Oids(v)) => b.append_value(v.into_iter().map(Some)),
            (Self::Nulls(_, count), _) => *count += 1,
            (column, value) => return exec_err!("{value:?} does not fit into {column:?}"),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Self::Bool(b) => b.append_null(),
            Self::Int16(b) => b.append_null(),
            Self::Int32(b) => b.append_null(),
            Self::Int64(b) => b.append_null(),
            Self::Oid(b) => b.append_null(),
            Self::Float32(b) => b.append_null(),
            Self::Float64(b) => b.append_null(),
            Self::Text(b) => b.append_null(),
            Self::Bytes(b) => b.append_null(),
            Self::Time(b) => b.append_null(),
            Self::Span(b) => b.append_null(),
            Self::Texts(b) => b.append_null(),
            Self::Int16s(b) => b.append_null(),
            Self::Oids(b) => b.append_null(),
            Self::Nulls(_, count) => *count += 1,
        }
    }

    /// What a column that is never NULL holds if nobody says anything.
    fn push_empty(&mut self) {
        match self {
            Self::Bool(b) => b.append_value(false),
            Self::Int16(b) => b.append_value(0),
            Self::Int32(b) => b.append_value(0),
            Self::Int64(b) => b.append_value(0),
            Self::Oid(b) => b.append_value(0),
            Self::Float32(b) => b.append_value(0.0),
            Self::Float64(b) => b.append_value(0.0),
            Self::Text(b) => b.append_value(""),
            Self::Bytes(b) => b.append_value([]),
            Self::Time(b) => b.append_value(0),
            Self::Span(b) => b.append_value(IntervalMonthDayNano::ZERO),
            Self::Texts(b) => b.append(true),
            Self::Int16s(b) => b.append(true),
            Self::Oids(b) => b.append(true),
            Self::Nulls(_, count) => *count += 1,
        }
    }

    /// The values so far.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int16(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Oid(b) => Arc::new(b.finish()),
            Self::Float32(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Bytes(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Span(b) => Arc::new(b.finish()),
            Self::Texts(b) => Arc::new(b.finish()),
            Self::Int16s(b) => Arc::new(b.finish()),
            Self::Oids(b) => Arc::new(b.finish()),
            Self::Nulls(ty, count) => new_null_array(ty, *count),
        }
    }
}

/// The rows of one relation, as far as a statement reads them.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Option<Column>>,
    projected: SchemaRef,
    projection: Vec<usize>,
    count: usize,
}

impl Rows {
    /// No rows of a relation, of whose columns `projection` are read.
    pub(crate) fn new(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<Self> {
        let all = || (0..schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let mut columns: Vec<Option<Column>> = schema.fields().iter().map(|_| None).collect();
        for at in &projection {
            if let Some(slot) = columns.get_mut(*at) {
                *slot = Some(Column::new(schema.field(*at)));
            }
        }
        Ok(Self {
            projected: Arc::new(schema.project(&projection)?),
            schema: Arc::clone(schema),
            columns,
            projection,
            count: 0,
        })
    }

    /// Appends a row of named values, best in the order of the columns.
    pub(crate) fn push<'a>(
        &mut self,
        values: impl IntoIterator<Item = (&'static str, Val<'a>)>,
    ) -> Result<()> {
        let fields = self.schema.fields();
        let count = fields.len();
        let mut given = vec![false; count];
        let mut at = 0;
        for (name, value) in values {
            let found = (0..count)
                .map(|step| (at + step) % count)
                .find(|i| fields[*i].name() == name);
            let Some(found) = found else {
                return exec_err!("a catalog relation has no column {name}");
            };
            at = (found + 1) % count;
            given[found] = true;
            if let Some(column) = &mut self.columns[found] {
                match value {
                    Val::Null if !fields[found].is_nullable() => column.push_empty(),
                    value => column.push(value)?,
                }
            }
        }
        for ((column, given), field) in self.columns.iter_mut().zip(given).zip(fields) {
            let Some(column) = column.as_mut().filter(|_| !given) else {
                continue;
            };
            if field.is_nullable() {
                column.push_null();
            } else {
                column.push_empty();
            }
        }
        self.count += 1;
        Ok(())
    }

    /// The rows as Arrow has them.
    pub(crate) fn finish(mut self) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.projection.len());
        for at in &self.projection {
            match self.columns.get_mut(*at) {
                Some(Some(column)) => arrays.push(column.finish()),
                _ => return exec_err!("a column is read twice"),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        Ok(RecordBatch::try_new_with_options(
            self.projected,
            arrays,
            &options,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Schema, UInt32Type};

    use super::super::shape::column;
    use super::*;

    #[test]
    fn what_nobody_says_is_null_or_empty() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            column("oid", "oid", false),
            column("relname", "name", false),
            column("relacl", "_aclitem", true),
        ]));
        let mut rows = Rows::new(&schema, Some(&vec![2, 0])).unwrap();
        rows.push([("relname", Val::Text("t"))]).unwrap();
        rows.push([("oid", Val::Oid(7))]).unwrap();
        let batch = rows.finish().unwrap();
        assert_eq!(batch.column(0).null_count(), 2);
        let oids = batch.column(1).as_primitive::<UInt32Type>();
        assert_eq!(oids.values(), &[0, 7]);
    }
}
