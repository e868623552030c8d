//! The columns of files: what each format holds of a query's, and in which form.
//!
//! Knows plans; writes nothing. Text in CSV is what a cast to text gives, so it is PostgreSQL's.

use std::collections::HashMap;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Column;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

use super::options::{CopyOptions, Format};
use crate::error::{EngineError, ErrorKind};
use crate::types::sql_type_name;

/// Metadata that other readers know. Source: Arrow, "Canonical Extension Types".
const EXTENSION_PREFIX: &str = "ARROW:extension:";

/// A plan of a file's columns, followed by the values of partition columns as text.
pub(super) struct Shaped {
    pub(super) plan: LogicalPlan,
    /// Number of columns that go into files.
    pub(super) columns: usize,
}

/// Puts the forms of `options`' format on top of `plan`, whose columns are called as in `names`.
///
/// # Errors
/// [`ErrorKind::UndefinedColumn`] for a partition column that is not there, [`ErrorKind::Unsupported`] for a type
/// that the format does not hold, [`ErrorKind::InvalidParameter`] if two columns have one name or none is left.
pub(super) fn shaped(
    plan: LogicalPlan,
    names: &Schema,
    options: &CopyOptions,
) -> Result<Shaped, EngineError> {
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (at, field) in names.fields().iter().enumerate() {
        if known.insert(field.name(), at).is_some() {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("two columns are called \"{}\"", field.name()),
            )
            .with_hint("give each column of the query a name of its own with AS"));
        }
    }
    let mut folders = vec![];
    for name in &options.partition_by {
        let at = known.get(name.as_str()).copied().ok_or_else(|| {
            let all: Vec<&str> = names.fields().iter().map(|f| f.name().as_str()).collect();
            EngineError::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{name}\" of PARTITION_BY does not exist"),
            )
            .with_hint(format!("columns: {}", all.join(", ")))
        })?;
        if folders.contains(&at) {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("PARTITION_BY names \"{name}\" twice"),
            ));
        }
        let ty = names.field(at).data_type();
        if ty.is_nested()
            || matches!(
                ty,
                DataType::Binary | DataType::BinaryView | DataType::LargeBinary
            )
        {
            return Err(EngineError::unsupported(format!(
                "PARTITION_BY column \"{name}\" of type {}",
                sql_type_name(ty)
            )));
        }
        folders.push(at);
    }
    let own: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| Expr::Column(Column::from((qualifier, field))))
        .collect();
    let mut exprs = vec![];
    for (at, field) in names.fields().iter().enumerate() {
        if folders.contains(&at) && !options.keep_partition_columns {
            continue;
        }
        let form = form(field, options.format)?;
        exprs.push(in_form(own[at].clone(), form).alias(field.name()));
    }
    if exprs.is_empty() {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            "every column is in PARTITION_BY, so that files would have none",
        )
        .with_hint("WRITE_PARTITION_COLUMNS true keeps them in the files"));
    }
    let columns = exprs.len();
    for (at, folder) in folders.iter().enumerate() {
        let ty = names.field(*folder).data_type();
        let form = (*ty != DataType::Utf8).then_some(DataType::Utf8);
        exprs.push(in_form(own[*folder].clone(), form).alias(format!("__folder_{at}")));
    }
    let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
    Ok(Shaped { plan, columns })
}

fn in_form(expr: Expr, form: Option<DataType>) -> Expr {
    match form {
        Some(ty) => Expr::Cast(Cast::new(Box::new(expr), ty)),
        None => expr,
    }
}

/// The type in which a column goes into a file, if it is another one.
fn form(field: &Field, format: Format) -> Result<Option<DataType>, EngineError> {
    let ty = field.data_type();
    let text = Some(DataType::Utf8);
    Ok(match format {
        Format::Csv if matches!(ty, DataType::Map(..)) => {
            return Err(EngineError::unsupported(format!(
                "column \"{}\": a map in CSV",
                field.name()
            ))
            .with_hint("write parquet, json or arrow"));
        }
        // Arrays and rows are printed as they are written.
        Format::Csv if *ty == DataType::Utf8 || ty.is_nested() => None,
        Format::Csv => text,
        Format::Json => match ty {
            DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Binary
            | DataType::BinaryView
            | DataType::LargeBinary
            | DataType::FixedSizeBinary(_) => text,
            _ => None,
        },
        Format::Parquet | Format::Arrow => match ty {
            DataType::Interval(_) | DataType::Duration(_) if format == Format::Parquet => {
                return Err(EngineError::unsupported(format!(
                    "column \"{}\": {} in a Parquet file",
                    field.name(),
                    sql_type_name(ty)
                ))
                .with_hint(format!(
                    "cast it, as in \"{}\"::text, or write csv, json or arrow",
                    field.name()
                )));
            }
            DataType::Null => text,
            _ => None,
        },
    })
}

/// What the files say of their columns: nothing of ours, and only types that every reader knows.
pub(super) fn file_schema(rows: &Schema, columns: usize) -> SchemaRef {
    let fields: Vec<Field> = rows
        .fields()
        .iter()
        .take(columns)
        .map(|field| {
            let mut metadata = field.metadata().clone();
            metadata.retain(|key, _| key.starts_with(EXTENSION_PREFIX));
            let ty = known(field.data_type());
            field
                .as_ref()
                .clone()
                .with_data_type(ty)
                .with_metadata(metadata)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The columns of a batch in the types of files.
///
/// # Errors
/// If a text is too long for one of them.
pub(super) fn known_columns(batch: &RecordBatch) -> Result<Vec<ArrayRef>, EngineError> {
    batch
        .columns()
        .iter()
        .map(|column| {
            let ty = known(column.data_type());
            if ty == *column.data_type() {
                Ok(Arc::clone(column))
            } else {
                Ok(cast(column, &ty)?)
            }
        })
        .collect()
}

/// Texts and bytes of one kind.
fn known(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    }
}
