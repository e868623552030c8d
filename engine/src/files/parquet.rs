//! What Parquet files say of themselves: columns and statistics, or why one is no Parquet file.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session as PlanSession;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use futures::FutureExt;
use object_store::{ObjectStore, ObjectStoreExt};

use super::listing::Found;
use crate::error::{EngineError, ErrorKind};

/// A Parquet file begins with 4 bytes and ends with 8. Source: Parquet format, "File Format".
const PARQUET_BYTES_MIN: u64 = 12;
/// Length of the footer and `PAR1`.
const PARQUET_END_BYTES: u64 = 8;

/// The format with the session's options.
pub(crate) fn format(state: &dyn PlanSession) -> ParquetFormat {
    ParquetFormat::default().with_options(TableParquetOptions {
        global: state.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    })
}

/// The columns of a file.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the file; or what the store says.
pub(crate) async fn schema(
    file: &Found,
    store: &Arc<dyn ObjectStore>,
    state: &dyn PlanSession,
) -> Result<SchemaRef, EngineError> {
    // The Parquet reader panics in debug builds on some files that are not Parquet.
    let metas = [file.meta.clone()];
    let format = format(state);
    let inferred = AssertUnwindSafe(format.infer_schema(state, store, &metas))
        .catch_unwind()
        .await;
    match inferred {
        Ok(Ok(schema)) => Ok(schema),
        Ok(Err(error)) => Err(explained(file, store, Some(error.into())).await),
        Err(_) => Err(explained(file, store, None).await),
    }
}

/// Statistics of a file for a table with the columns `table`; nothing is said of columns in which the file differs.
///
/// # Errors
/// As [`schema`].
pub(crate) async fn statistics(
    file: &Found,
    columns: &SchemaRef,
    table: &SchemaRef,
    store: &Arc<dyn ObjectStore>,
    state: &dyn PlanSession,
) -> Result<Statistics, EngineError> {
    let format = format(state);
    let mut found = format
        .infer_stats(state, store, Arc::clone(table), &file.meta)
        .await?;
    for (field, statistics) in table.fields().iter().zip(&mut found.column_statistics) {
        let same = columns
            .field_with_name(field.name())
            .is_ok_and(|own| own.data_type() == field.data_type());
        if !same {
            *statistics = ColumnStatistics::new_unknown();
        }
    }
    Ok(found)
}

/// Says what is wrong with a file that cannot be read as Parquet.
async fn explained(
    file: &Found,
    store: &Arc<dyn ObjectStore>,
    error: Option<EngineError>,
) -> EngineError {
    let corrupt = |why: &str| {
        EngineError::new(
            ErrorKind::Corrupt,
            format!("\"{}\" is not a Parquet file: {why}", file.name),
        )
        .with_hint("was it cut short, or is it of another format?")
    };
    if let Some(error) = &error
        && !matches!(
            error.kind,
            ErrorKind::Internal
                | ErrorKind::InvalidParameter
                | ErrorKind::TypeMismatch
                | ErrorKind::Corrupt
        )
    {
        return EngineError {
            message: format!("\"{}\": {}", file.name, error.message),
            ..error.copy()
        };
    }
    if file.meta.size < PARQUET_BYTES_MIN {
        return corrupt(&format!("it has {} bytes", file.meta.size));
    }
    let end = file.meta.size - PARQUET_END_BYTES..file.meta.size;
    if let Ok(end) = store.get_range(&file.meta.location, end).await
        && let Some((length, magic)) = end.split_first_chunk::<4>()
    {
        if magic == b"PARE" {
            return EngineError::unsupported(format!(
                "\"{}\": an encrypted Parquet file",
                file.name
            ));
        }
        if magic != b"PAR1" {
            return corrupt("it does not end with PAR1");
        }
        if u64::from(u32::from_le_bytes(*length)) + PARQUET_BYTES_MIN > file.meta.size {
            return corrupt("its footer is larger than the file");
        }
    }
    corrupt(&error.map_or_else(
        || "its footer cannot be read".to_owned(),
        |error| error.message,
    ))
}
