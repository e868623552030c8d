//! Partition values of files that somebody else wrote: from the names of folders, or from bounds that leave one value.

use datafusion::arrow::datatypes::FieldRef;
use tarn_catalog::{Literal, PartitionField, Table, Transform, literal_at};

use super::footer::FooterMetrics;
use crate::error::{EngineError, ErrorKind};
use crate::files::hive::{self, Partitions};
use crate::files::listing::{Found, Listing};

/// The columns that folders give.
pub(super) fn columns(listing: &Listing) -> Result<Vec<FieldRef>, EngineError> {
    let Partitions { fields, .. } = hive::found(&listing.files, "attach_parquet")?;
    Ok(fields)
}

/// The values of the table's partition fields in one file.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`], naming the file, if neither folders nor bounds tell them, or they contradict
/// each other.
pub(super) fn values(
    file: &Found,
    table: &Table,
    keys: &[(String, Option<String>)],
    metrics: &FooterMetrics,
) -> Result<Vec<Option<Literal>>, EngineError> {
    let spec = table.partition_spec();
    if let Some((key, _)) = keys.iter().find(|(key, _)| {
        let is_column = table.arrow_schema().field_with_name(key).is_ok();
        let is_partition = spec.fields.iter().any(|field| {
            field.transform == Transform::Identity
                && field.source_column.as_deref() == Some(key.as_str())
        });
        is_column && !is_partition
    }) {
        return Err(refused(
            file,
            &format!("its folder names column \"{key}\", by which the table is not partitioned"),
        )
        .with_hint("system.attach_parquet makes a table that is; or name the folders one by one"));
    }
    spec.fields
        .iter()
        .map(|field| match field.transform {
            Transform::Void => Ok(None),
            Transform::Identity => identity(file, table, field, keys, metrics),
            _ => Err(refused(
                file,
                &format!("nothing tells its partition \"{}\"", field.name),
            )
            .with_hint("only tables partitioned by columns themselves take files as they are; INSERT INTO table SELECT * FROM read_parquet('…') writes them anew")),
        })
        .collect()
}

fn refused(file: &Found, why: &str) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("\"{}\" does not fit the table: {why}", file.name),
    )
}

fn identity(
    file: &Found,
    table: &Table,
    field: &PartitionField,
    keys: &[(String, Option<String>)],
    metrics: &FooterMetrics,
) -> Result<Option<Literal>, EngineError> {
    let schema = table.arrow_schema();
    let Some(column) = field
        .source_column
        .as_deref()
        .and_then(|name| schema.field_with_name(name).ok())
    else {
        return Err(refused(
            file,
            &format!("the column of partition \"{}\" is gone", field.name),
        ));
    };
    let id = field.source_id;
    let in_file = metrics.value_counts.contains_key(&id);
    let told = one_value(id, metrics);
    let Some((_, text)) = keys.iter().find(|(key, _)| key == column.name()) else {
        return told.ok_or_else(|| {
            refused(
                file,
                &format!(
                    "no folder {}=… tells its value, and its footer does not say that there is only one",
                    column.name()
                ),
            )
        });
    };
    let shown = text.as_deref().unwrap_or(hive::NULL_FOLDER);
    let value = hive::value(text.as_deref(), column.data_type()).ok_or_else(|| {
        refused(
            file,
            &format!(
                "its folder {}={shown} is no {}",
                column.name(),
                crate::types::sql_type_name(column.data_type())
            ),
        )
    })?;
    let array = value.to_array()?;
    let value = if value.is_null() {
        None
    } else {
        literal_at(array.as_ref(), 0)?
    };
    if in_file && told.as_ref() != Some(&value) {
        return Err(refused(
            file,
            &format!(
                "its folder says {}={shown}, and the column in the file is not known to hold only that",
                column.name()
            ),
        ));
    }
    Ok(value)
}

/// The value that all rows have in a column, if the footer tells that there is one.
#[allow(
    clippy::option_option,
    reason = "nothing is known, all are NULL, and a value are three things"
)]
fn one_value(id: i32, metrics: &FooterMetrics) -> Option<Option<Literal>> {
    let nulls = *metrics.null_counts.get(&id)?;
    if nulls == metrics.rows {
        return Some(None);
    }
    let (lower, upper) = (
        metrics.lower_bounds.get(&id)?,
        metrics.upper_bounds.get(&id)?,
    );
    (nulls == 0 && lower == upper && metrics.exact.contains(&id)).then(|| Some(lower.clone()))
}
