//! What a Parquet footer says: columns, counts, sizes, and bounds as far as they are right for every row.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::CastOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;
use tarn_catalog::{Literal, literal_at};

use crate::error::{EngineError, ErrorKind};
use crate::files::listing::Found;
use crate::scan::{Evolution, Matching, field_id, missing, shape};
use crate::temporal;

/// The footer of one file.
#[derive(Debug)]
pub(super) struct Footer {
    metadata: Arc<ParquetMetaData>,
    /// As the file itself says it, without what Arrow wrote beside.
    pub(super) schema: SchemaRef,
    /// Whether columns carry field ids.
    pub(super) has_ids: bool,
}

/// Counts and bounds of one file, by field id.
#[derive(Debug, Default)]
pub(super) struct FooterMetrics {
    pub(super) rows: u64,
    pub(super) column_sizes: HashMap<i32, u64>,
    pub(super) value_counts: HashMap<i32, u64>,
    pub(super) null_counts: HashMap<i32, u64>,
    pub(super) lower_bounds: HashMap<i32, Literal>,
    pub(super) upper_bounds: HashMap<i32, Literal>,
    pub(super) split_offsets: Vec<i64>,
    /// Columns whose bounds are values of theirs, and not only around them.
    pub(super) exact: HashSet<i32>,
}

/// A column of the table that the file has.
#[derive(Debug)]
pub(super) struct Fitted {
    wanted: FieldRef,
    /// Its name in the file.
    name: String,
}

/// Parts of a file in its store.
struct Ranges<'a> {
    store: &'a Arc<dyn ObjectStore>,
    file: &'a Found,
}

impl MetadataFetch for Ranges<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let read = self.store.get_range(&self.file.meta.location, range);
        read.map(|read| read.map_err(|error| ParquetError::External(Box::new(error))))
            .boxed()
    }
}

/// Reads the footer of `file`.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the file.
pub(super) async fn read(
    file: &Found,
    store: &Arc<dyn ObjectStore>,
) -> Result<Footer, EngineError> {
    let ranges = Ranges { store, file };
    let load = ParquetMetaDataReader::new().load_and_finish(ranges, file.meta.size);
    let corrupt = |why: &str| {
        EngineError::new(
            ErrorKind::Corrupt,
            format!("\"{}\" is not a Parquet file: {why}", file.name),
        )
    };
    let loaded = match AssertUnwindSafe(load).catch_unwind().await {
        Ok(Ok(loaded)) => Arc::new(loaded),
        Ok(Err(error)) => return Err(corrupt(&error.to_string())),
        Err(_) => return Err(corrupt("its footer cannot be read")),
    };
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let columns = ArrowReaderMetadata::try_new(Arc::clone(&loaded), options)
        .map_err(|error| corrupt(&error.to_string()))?;
    let schema = Arc::clone(columns.schema());
    Ok(Footer {
        metadata: loaded,
        has_ids: schema
            .fields()
            .iter()
            .any(|field| field_id(field).is_some()),
        schema,
    })
}

impl Footer {
    /// The columns of `table` that the file has, by ids or by `names`; those of `folders` may be missing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`], naming the file: for a type that cannot be read as the table's, a required
    /// column that it lacks, a column that the table does not have, field ids of another table.
    pub(super) fn fitted(
        &self,
        file: &Found,
        table: &Schema,
        names: &[(Vec<String>, i32)],
        folders: &HashSet<&str>,
    ) -> Result<Vec<Fitted>, EngineError> {
        let refused = |why: String| {
            EngineError::new(
                ErrorKind::InvalidParameter,
                format!("\"{}\" does not fit the table: {why}", file.name),
            )
        };
        let evolution = Evolution {
            names: Some(names.to_vec()),
            ..Evolution::default()
        };
        let matching = Matching::of(self.schema.fields(), &evolution);
        let mut out = vec![];
        for wanted in table.fields() {
            let Some(at) = matching.find(wanted, self.schema.fields(), &[]) else {
                if !folders.contains(wanted.name().as_str()) {
                    missing(wanted, &evolution).map_err(|error| refused(error.to_string()))?;
                }
                continue;
            };
            let found = self.schema.field(at);
            if self.has_ids && found.name() != wanted.name() {
                return Err(refused(format!(
                    "its column \"{}\" has the field id of \"{}\"; it was written for another table",
                    found.name(),
                    wanted.name()
                )));
            }
            shape(&viewless(wanted), found, &matching, &evolution, &[]).map_err(|error| {
                refused(error.to_string()).with_hint(
                    "files are attached as they are; copy their rows with CREATE TABLE … AS SELECT or INSERT INTO … SELECT * FROM read_parquet('…')",
                )
            })?;
            out.push(Fitted {
                wanted: Arc::clone(wanted),
                name: found.name().clone(),
            });
        }
        let more = self
            .schema
            .fields()
            .iter()
            .find(|field| !out.iter().any(|fitted| fitted.name == *field.name()));
        if let Some(field) = more {
            return Err(
                refused(format!("the table has no column \"{}\"", field.name()))
                    .with_hint("ALTER TABLE … ADD COLUMN first; its rows would lose the column"),
            );
        }
        Ok(out)
    }

    /// Counts and bounds of the columns that have them.
    ///
    /// # Errors
    /// If a bound cannot be read as the type of its column.
    pub(super) fn metrics(&self, columns: &[Fitted]) -> Result<FooterMetrics, EngineError> {
        let groups = self.metadata.row_groups();
        let mut out = FooterMetrics {
            rows: groups.iter().map(|group| count(group.num_rows())).sum(),
            ..FooterMetrics::default()
        };
        for group in groups {
            let first = group.columns().first();
            let offset = first.map(|column| {
                let data = column.data_page_offset();
                column
                    .dictionary_page_offset()
                    .map_or(data, |d| d.min(data))
            });
            out.split_offsets.extend(offset);
        }
        let ascending = out.split_offsets.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending {
            out.split_offsets.clear();
        }
        for column in columns {
            let (Some(id), false) = (
                field_id(&column.wanted),
                column.wanted.data_type().is_nested(),
            ) else {
                continue;
            };
            self.column(id, column, &mut out)?;
        }
        Ok(out)
    }

    fn column(&self, id: i32, column: &Fitted, out: &mut FooterMetrics) -> Result<(), EngineError> {
        let descriptor = self.metadata.file_metadata().schema_descr();
        let Ok(converter) = StatisticsConverter::try_new(&column.name, &self.schema, descriptor)
        else {
            return Ok(());
        };
        let Some(leaf) = converter.parquet_column_index() else {
            return Ok(());
        };
        let groups = self.metadata.row_groups();
        let sizes = groups
            .iter()
            .map(|group| count(group.column(leaf).compressed_size()));
        out.column_sizes.insert(id, sizes.sum());
        out.value_counts.insert(id, out.rows);
        let nulls: Option<u64> = groups
            .iter()
            .map(|group| group.column(leaf).statistics()?.null_count_opt())
            .sum();
        if let Some(nulls) = nulls {
            out.null_counts.insert(id, nulls);
        }
        let physical = descriptor.column(leaf).physical_type();
        // Writers have compared these in orders of their own.
        let trusted = physical != PhysicalType::INT96
            && groups.iter().all(|group| {
                group.column(leaf).statistics().is_none_or(|statistics| {
                    !statistics.is_min_max_deprecated()
                        || matches!(
                            physical,
                            PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::BOOLEAN
                        )
                })
            });
        if !trusted {
            return Ok(());
        }
        let ty = column.wanted.data_type();
        let mut exact = true;
        let (mut lower, mut upper): (Option<ScalarValue>, Option<ScalarValue>) = (None, None);
        let mins = converter.row_group_mins(groups);
        let maxes = converter.row_group_maxes(groups);
        let (Ok(mins), Ok(maxes)) = (mins, maxes) else {
            return Ok(());
        };
        // As the values are read: moments go down to the unit that the table has.
        let read = |array| temporal::cast_down(array, ty, &CastOptions::default());
        let (Ok(mins), Ok(maxes)) = (read(&mins), read(&maxes)) else {
            return Ok(());
        };
        for (at, group) in groups.iter().enumerate() {
            let statistics = group.column(leaf).statistics();
            let nulls = statistics.and_then(Statistics::null_count_opt);
            if group.num_rows() == 0 || nulls == Some(count(group.num_rows())) {
                continue;
            }
            if mins.is_null(at) || maxes.is_null(at) {
                return Ok(());
            }
            exact &= statistics.is_some_and(|s| s.min_is_exact() && s.max_is_exact());
            let (min, max) = (
                ScalarValue::try_from_array(&mins, at)?,
                ScalarValue::try_from_array(&maxes, at)?,
            );
            if is_nan(&min) || is_nan(&max) {
                return Ok(());
            }
            lower = Some(lesser(lower, min));
            upper = Some(greater(upper, max));
        }
        let (Some(lower), Some(upper)) = (lower, upper) else {
            return Ok(());
        };
        let as_literal = |value: &ScalarValue| -> Result<Option<Literal>, EngineError> {
            let array: ArrayRef = value.to_array()?;
            Ok(literal_at(array.as_ref(), 0)?)
        };
        let (lower, upper) = (as_literal(&lower)?, as_literal(&upper)?);
        let (Some(lower), Some(upper)) = (lower, upper) else {
            return Ok(());
        };
        if exact {
            out.exact.insert(id);
        }
        out.lower_bounds.insert(id, signed_zero(lower, true));
        out.upper_bounds.insert(id, signed_zero(upper, false));
        Ok(())
    }
}

/// A count of the footer; a negative one is none.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        _ => false,
    }
}

fn lesser(known: Option<ScalarValue>, value: ScalarValue) -> ScalarValue {
    match known {
        Some(known) if known <= value => known,
        _ => value,
    }
}

fn greater(known: Option<ScalarValue>, value: ScalarValue) -> ScalarValue {
    match known {
        Some(known) if known >= value => known,
        _ => value,
    }
}

/// Footers may say either zero for both. Source: Parquet format, `ColumnOrder`.
fn signed_zero(value: Literal, lower: bool) -> Literal {
    match value {
        Literal::Float(0.0) => Literal::Float(if lower { -0.0 } else { 0.0 }),
        Literal::Double(0.0) => Literal::Double(if lower { -0.0 } else { 0.0 }),
        other => other,
    }
}

/// A field as files have it: no views.
fn viewless(field: &Field) -> Field {
    fn ty(of: &DataType) -> DataType {
        let inner = |field: &FieldRef| -> FieldRef { Arc::new(viewless(field)) };
        match of {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
            DataType::List(item) => DataType::List(inner(item)),
            DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
            other => other.clone(),
        }
    }
    field.clone().with_data_type(ty(field.data_type()))
}
