//! Columns of a scan that data files do not have as such: where a row is from, which partition it is in, its lineage.
//!
//! What is the same in every row of a file is a constant of the file; a row's position comes from the Parquet reader.
//! Knows columns and files. Refuses to know plans above the scan.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal as LiteralExpr, case,
};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use tarn_catalog::{DataFile, PartitionSpec, Table};

use super::value::scalar;

/// Field id of `_row_id` where a file has it. Source: Iceberg spec, "Reserved Field IDs".
const ROW_ID_ID: i32 = 2_147_483_540;
/// Field id of `_last_updated_sequence_number` where a file has it.
const LAST_UPDATED_ID: i32 = 2_147_483_539;
/// First format version whose rows have ids.
const LINEAGE_VERSION_MIN: u8 = 3;

/// Names inside of a scan. Nobody outside sees them.
const ROW_NUMBER: &str = "$tarn.row_number";
const STORED_ROW_ID: &str = "$tarn.row_id";
const STORED_LAST_UPDATED: &str = "$tarn.last_updated";

/// A column that every table has and `SELECT *` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Location of the data file.
    File,
    /// Position of the row in its data file.
    Position,
    /// Partition values of the data file.
    Partition,
    /// Partition spec of the data file.
    SpecId,
    /// The row's id, which it keeps when it is rewritten.
    RowId,
    /// Sequence number of the commit that last changed the row.
    LastUpdated,
}

impl Hidden {
    const ALL: [Self; 6] = [
        Self::File,
        Self::Position,
        Self::Partition,
        Self::SpecId,
        Self::RowId,
        Self::LastUpdated,
    ];

    /// The column's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "_file",
            Self::Position => "_pos",
            Self::Partition => "_partition",
            Self::SpecId => "_spec_id",
            Self::RowId => "_row_id",
            Self::LastUpdated => "_last_updated_sequence_number",
        }
    }

    /// Whether rows of a table may have no value.
    fn nullable(self) -> bool {
        matches!(self, Self::Partition | Self::RowId | Self::LastUpdated)
    }
}

/// Names of the columns that every table has and `SELECT *` leaves out.
pub(crate) fn hidden_names() -> impl Iterator<Item = &'static str> {
    Hidden::ALL.into_iter().map(Hidden::name)
}

/// The hidden columns of a table; a column of its own by the name of one takes its place.
pub(crate) fn hidden_columns(table: &Table, schema: &Schema) -> Vec<(Hidden, FieldRef)> {
    let lineage = table.format_version() >= LINEAGE_VERSION_MIN;
    let there = Hidden::ALL.into_iter().filter(|hidden| {
        (lineage || !matches!(hidden, Hidden::RowId | Hidden::LastUpdated))
            && schema.field_with_name(hidden.name()).is_err()
    });
    there
        .map(|hidden| {
            let ty = match hidden {
                Hidden::File => DataType::Utf8View,
                Hidden::Position | Hidden::RowId | Hidden::LastUpdated => DataType::Int64,
                Hidden::SpecId => DataType::Int32,
                Hidden::Partition => partition_type(table),
            };
            let field = Field::new(hidden.name(), ty, hidden.nullable());
            (hidden, Arc::new(field))
        })
        .collect()
}

/// What the partition of any file of a table is told in. NULL as text if no spec has a field.
fn partition_type(table: &Table) -> DataType {
    let fields = table.partition_fields().into_iter();
    let fields: Fields = fields
        .map(|field| Field::new(&field.name, field.result_type.clone(), true))
        .collect();
    if fields.is_empty() {
        return DataType::Utf8View;
    }
    DataType::Struct(fields)
}

/// What is the same in every row of one data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constant {
    /// Its location.
    File,
    /// Its partition values.
    Partition,
    /// Its partition spec.
    SpecId,
    /// Row id of its first row.
    FirstRowId,
    /// Its data sequence number.
    Sequence,
    /// Which partition's deletes apply to it, as the plan numbers them.
    Scope,
}

impl Constant {
    fn name(self) -> &'static str {
        match self {
            Self::File => "$tarn.file",
            Self::Partition => "$tarn.partition",
            Self::SpecId => "$tarn.spec_id",
            Self::FirstRowId => "$tarn.first_row_id",
            Self::Sequence => "$tarn.sequence",
            Self::Scope => "$tarn.scope",
        }
    }
}

/// One column of a scan's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A column of the schema that files are read by.
    Column(usize),
    /// A hidden column.
    Hidden(Hidden),
    /// A constant that a node above the scan needs.
    Constant(Constant),
}

/// How a scan gets its columns: from the files, from constants of the files, from the reader.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    file_schema: SchemaRef,
    constants: Vec<(Constant, FieldRef)>,
    row_number: bool,
    wanted: Vec<Wanted>,
}

impl Layout {
    /// The layout of a scan of files with `file_schema` that yields `wanted`.
    pub(crate) fn new(file_schema: &SchemaRef, table: &Table, wanted: Vec<Wanted>) -> Self {
        let has = |hidden| wanted.contains(&Wanted::Hidden(hidden));
        let asked = |constant| wanted.contains(&Wanted::Constant(constant));
        let lineage = has(Hidden::RowId) || has(Hidden::LastUpdated);
        let mut fields = file_schema.fields().to_vec();
        for (there, name, id) in [
            (has(Hidden::RowId), STORED_ROW_ID, ROW_ID_ID),
            (
                has(Hidden::LastUpdated),
                STORED_LAST_UPDATED,
                LAST_UPDATED_ID,
            ),
        ] {
            if there {
                fields.push(Arc::new(with_id(name, DataType::Int64, id)));
            }
        }
        let mut constants = Vec::new();
        for (there, constant, ty) in [
            (has(Hidden::File), Constant::File, DataType::Utf8View),
            (
                has(Hidden::Partition),
                Constant::Partition,
                partition_type(table),
            ),
            (has(Hidden::SpecId), Constant::SpecId, DataType::Int32),
            (lineage, Constant::FirstRowId, DataType::Int64),
            (
                has(Hidden::LastUpdated) || asked(Constant::Sequence),
                Constant::Sequence,
                DataType::Int64,
            ),
            (asked(Constant::Scope), Constant::Scope, DataType::Int32),
        ] {
            if there {
                constants.push((constant, Arc::new(Field::new(constant.name(), ty, true))));
            }
        }
        Self {
            file_schema: Arc::new(Schema::new_with_metadata(
                fields,
                file_schema.metadata().clone(),
            )),
            constants,
            row_number: has(Hidden::Position) || has(Hidden::RowId),
            wanted,
        }
    }

    /// The schema of the scan below its projection.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub(crate) fn table_schema(&self) -> Result<TableSchema> {
        let constants: Fields = self
            .constants
            .iter()
            .map(|(_, field)| Arc::clone(field))
            .collect();
        let mut builder = TableSchema::builder(Arc::clone(&self.file_schema))
            .with_table_partition_cols(constants);
        if self.row_number {
            let number = Field::new(ROW_NUMBER, DataType::Int64, false)
                .with_extension_type(parquet::arrow::RowNumber);
            let number = vec![Arc::new(number)];
            // Refused here, by name, rather than when a file is opened.
            ArrowReaderOptions::new().with_virtual_columns(number.clone())?;
            builder = builder.with_virtual_columns(number);
        }
        Ok(builder.build())
    }

    /// The values of a file's constants, in the order of the schema.
    pub(crate) fn constants_of(
        &self,
        file: &DataFile,
        spec: Option<&PartitionSpec>,
        scope: i32,
        table: &Table,
    ) -> Result<Vec<ScalarValue>> {
        let value = |(constant, field): &(Constant, FieldRef)| match constant {
            Constant::File => Ok(ScalarValue::Utf8View(Some(file.path.clone()))),
            Constant::Partition => partition_value(file, spec, table, field.data_type()),
            Constant::SpecId => Ok(ScalarValue::Int32(Some(file.spec_id))),
            Constant::FirstRowId => Ok(ScalarValue::Int64(file.first_row_id)),
            Constant::Sequence => Ok(ScalarValue::Int64(Some(file.sequence_number))),
            Constant::Scope => Ok(ScalarValue::Int32(Some(scope))),
        };
        self.constants.iter().map(value).collect()
    }

    /// What the scan yields, as expressions over [`Layout::table_schema`].
    ///
    /// # Errors
    /// None that a caller can cause.
    pub(crate) fn projection(&self) -> Result<ProjectionExprs> {
        let schema = self.table_schema()?;
        let schema = schema.table_schema();
        let projected = self.wanted.iter().map(|wanted| {
            Ok(match wanted {
                Wanted::Column(at) => {
                    let name = self.file_schema.field(*at).name();
                    ProjectionExpr::new(Arc::new(Column::new(name, *at)), name.clone())
                }
                Wanted::Constant(constant) => {
                    let name = constant.name();
                    ProjectionExpr::new(
                        Arc::new(Column::new_with_schema(name, schema)?),
                        name.to_owned(),
                    )
                }
                Wanted::Hidden(hidden) => {
                    ProjectionExpr::new(hidden_value(*hidden, schema)?, hidden.name().to_owned())
                }
            })
        });
        Ok(ProjectionExprs::new(projected.collect::<Result<Vec<_>>>()?))
    }
}

/// An optional column of data files that the table's schema does not have.
pub(crate) fn with_id(name: &str, ty: DataType, id: i32) -> Field {
    let id = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
    Field::new(name, ty, true).with_metadata(id.into())
}

/// A row's lineage is what its file stores, else what the file's metadata says; nothing if the file has no row ids.
///
/// Source: Iceberg spec, "Row Lineage".
fn hidden_value(hidden: Hidden, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let column = |name: &str| -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Column::new_with_schema(name, schema)?))
    };
    let inherited = |stored: &str, else_value: Arc<dyn PhysicalExpr>| {
        let first = column(Constant::FirstRowId.name())?;
        let null: Arc<dyn PhysicalExpr> = Arc::new(LiteralExpr::new(ScalarValue::Int64(None)));
        let stored = column(stored)?;
        let is_stored: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::clone(&stored)));
        let without_ids: Arc<dyn PhysicalExpr> = Arc::new(IsNullExpr::new(first));
        case(
            None,
            vec![(without_ids, null), (is_stored, stored)],
            Some(else_value),
        )
    };
    match hidden {
        Hidden::File => column(Constant::File.name()),
        Hidden::Partition => column(Constant::Partition.name()),
        Hidden::SpecId => column(Constant::SpecId.name()),
        Hidden::Position => column(ROW_NUMBER),
        Hidden::RowId => {
            let (first, number) = (column(Constant::FirstRowId.name())?, column(ROW_NUMBER)?);
            let own = BinaryExpr::new(first, Operator::Plus, number);
            inherited(STORED_ROW_ID, Arc::new(own))
        }
        Hidden::LastUpdated => inherited(STORED_LAST_UPDATED, column(Constant::Sequence.name())?),
    }
}

fn partition_value(
    file: &DataFile,
    spec: Option<&PartitionSpec>,
    table: &Table,
    ty: &DataType,
) -> Result<ScalarValue> {
    let DataType::Struct(fields) = ty else {
        return ScalarValue::try_new_null(ty);
    };
    let known = table.partition_fields().into_iter().zip(fields);
    let values = known.map(|(field, shown)| {
        let value = spec.and_then(|spec| spec.value_of(field, &file.partition));
        match value.and_then(|value| scalar(value, shown.data_type())) {
            Some(value) => value.to_array(),
            None => ScalarValue::try_new_null(shown.data_type())?.to_array(),
        }
    });
    let values = values.collect::<Result<Vec<ArrayRef>>>()?;
    let row = StructArray::try_new(fields.clone(), values, None)?;
    ScalarValue::try_from_array(&row as &dyn Array, 0)
}

/// `parquet` over another schema whose columns are at the same places.
///
/// # Errors
/// If the source is not a Parquet source.
pub(crate) fn with_table_schema(
    parquet: &Arc<dyn FileSource>,
    schema: TableSchema,
) -> Result<Arc<dyn FileSource>> {
    let old = parquet
        .downcast_ref::<ParquetSource>()
        .ok_or_else(|| DataFusionError::Internal("the scan is not of Parquet files".to_owned()))?;
    let options = old.table_parquet_options().clone();
    let hint = options.global.metadata_size_hint;
    let mut new = ParquetSource::new(schema).with_table_parquet_options(options);
    if let Some(hint) = hint {
        new = new.with_metadata_size_hint(hint);
    }
    if let Some(factory) = old.parquet_file_reader_factory() {
        new = new.with_parquet_file_reader_factory(Arc::clone(factory));
    }
    if let Some(predicate) = old.filter() {
        new = new.with_predicate(predicate);
    }
    let new: Arc<dyn FileSource> = Arc::new(new);
    match old.projection() {
        Some(projection) => Ok(new.try_pushdown_projection(projection)?.unwrap_or(new)),
        None => Ok(new),
    }
}
