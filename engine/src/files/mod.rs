//! Files as tables under the allowed roots: `read_parquet`, `read_csv`, `read_json`, `read_avro`, `read_orc`,
//! `read_text`, `read_binary_file`.
//!
//! The calls are found in a parsed statement and replaced by names of tables that are made here,
//! before planning, because finding a file's columns takes I/O. Everything outside the roots is
//! refused before any I/O; symbolic links are followed before the check.

mod call;
mod guess;
pub(crate) mod hive;
pub(crate) mod listing;
mod options;
pub(crate) mod parquet;
mod read;
mod roots;
pub(crate) mod schema;
mod table;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session as PlanSession, TableProvider};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt, stream};
use tarn_catalog::Stores;

use crate::error::{EngineError, ErrorKind};
use listing::{Found, Listing};
use options::ReadOptions;
use read::{OneFile, Reader, Reading};
use schema::{Rules, loosened, united};
use table::{FOOTERS_AT_ONCE, FilesTable};

pub(crate) use call::{FileCall, extract};
pub(crate) use options::{function_named, function_names};
pub(crate) use read::{try_decode, try_encode};
pub use roots::AllowedRoots;
pub(crate) use roots::{Place, is_below, plain};

/// Catalog name under which the tables of file functions are known to the planner.
pub(crate) const FILES_CATALOG: &str = "tarn_files";

/// Makes the table of one call: checks the paths, finds the columns.
///
/// # Errors
/// [`ErrorKind::Denied`] outside the roots, [`ErrorKind::FileNotFound`] if nothing matches,
/// [`ErrorKind::Corrupt`] for a file that is not what the function reads,
/// [`ErrorKind::InvalidParameter`] for an option that is none.
pub(crate) async fn open(
    call: &FileCall,
    roots: &AllowedRoots,
    stores: &Stores,
    state: &dyn PlanSession,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let zone = state.config_options().execution.time_zone.clone();
    let options = ReadOptions::of(call, zone.as_deref().unwrap_or("UTC"))?;
    let listing = listing::list(&call.paths, options.reader.endings(), roots, stores).await?;
    let partitions = hive::partitions(&listing.files, &options, call.function)?;
    let rules = Rules {
        union_by_name: options.union_by_name,
        given: options.columns.is_some(),
        first: listing.files[0].name.clone(),
        folders: partitions.fields.iter().map(|f| f.name().clone()).collect(),
    };
    let found = columns(&options, &listing, &rules, state).await?;
    // A column that folders give has the folders' values.
    let of_files: Vec<FieldRef> = found
        .fields()
        .iter()
        .filter(|field| !rules.folders.contains(field.name()))
        .cloned()
        .collect();
    if of_files.is_empty() && found.fields().is_empty() {
        return Err(EngineError::new(
            ErrorKind::FileNotFound,
            format!(
                "{}('{}'): the files are empty",
                call.function,
                call.paths.join("', '")
            ),
        )
        .with_hint("columns => {'name': 'type'} says the columns of files that hold none"));
    }
    let mut constants = vec![];
    let mut values = partitions.values;
    if let Some(name) = &options.filename {
        constants.push(Arc::new(Field::new(name, DataType::Utf8, false)));
        for (file, values) in listing.files.iter().zip(&mut values) {
            values.insert(0, ScalarValue::from(file.name.as_str()));
        }
    }
    constants.extend(partitions.fields);
    let all: Vec<FieldRef> = of_files.iter().chain(&constants).cloned().collect();
    table::check_distinct(&all, call.function)?;
    let reading = Reading::new(options.reader, rules, options.compression);
    Ok(Arc::new(FilesTable::new(
        listing,
        Arc::new(Schema::new(of_files)),
        constants,
        values,
        reading,
    )))
}

/// The columns that the files have.
async fn columns(
    options: &ReadOptions,
    listing: &Listing,
    rules: &Rules,
    state: &dyn PlanSession,
) -> Result<SchemaRef, EngineError> {
    let found = match &options.columns {
        Some(given) => Arc::new(Schema::new(given.clone())),
        None if options.reader.is_text() => {
            let files: Vec<OneFile> = listing
                .files
                .iter()
                .map(|file| {
                    OneFile::new(&listing.store, &file.meta, &file.name, options.compression)
                })
                .collect();
            read::sampled(options, &files, rules).await?
        }
        None => {
            // Without union_by_name, the first file speaks for all.
            let count = if options.union_by_name {
                listing.files.len()
            } else {
                1
            };
            let reads: Vec<_> = listing
                .files
                .iter()
                .take(count)
                .map(|file| Box::pin(own_columns(&options.reader, listing, file, state)))
                .collect();
            let reads = stream::iter(reads).buffered(FOOTERS_AT_ONCE);
            let each: Vec<SchemaRef> = reads.try_collect().await?;
            let names = listing.files.iter().map(|file| file.name.as_str());
            united(names.zip(each), false)?
        }
    };
    typed(options, &loosened(&found))
}

/// The columns of a file that says them itself.
async fn own_columns(
    reader: &Reader,
    listing: &Listing,
    file: &Found,
    state: &dyn PlanSession,
) -> Result<SchemaRef, EngineError> {
    if *reader == Reader::Parquet {
        return parquet::schema(file, &listing.store, state).await;
    }
    let none = Some(CompressionTypeVariant::UNCOMPRESSED);
    let one = OneFile::new(&listing.store, &file.meta, &file.name, none);
    Ok(read::schema_of(reader, &one).await?)
}

/// `found` with the types that the call says.
fn typed(options: &ReadOptions, found: &Schema) -> Result<SchemaRef, EngineError> {
    let mut fields: Vec<FieldRef> = found.fields().to_vec();
    for (name, ty) in &options.types {
        let Some(field) = fields.iter_mut().find(|field| field.name() == name) else {
            let names: Vec<&str> = found.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(EngineError::new(
                ErrorKind::UndefinedColumn,
                format!(
                    "types names \"{name}\", and the files have ({})",
                    names.join(", ")
                ),
            ));
        };
        *field = Arc::new(Field::new(name, ty.clone(), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}
