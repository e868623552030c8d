//! Exact counts and bounds of the rows that go into one data file.
//!
//! Computed from the rows, not from Parquet statistics, which may be truncated or missing for some row groups. Columns
//! inside lists and maps have no bounds. Knows arrays and metrics modes. Refuses to know files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use parquet::file::metadata::ParquetMetaData;
use tarn_catalog::{Literal, literal_at};

use super::options::{MetricsMode, WriteOptions};
use crate::scan::{bytes_above, field_id, text_above};

/// A primitive column, reached from the top through structs only.
#[derive(Debug)]
struct Leaf {
    id: i32,
    path: Vec<usize>,
    mode: MetricsMode,
    values: u64,
    nulls: u64,
    nans: u64,
    floating: bool,
    bounds: Option<(MinAccumulator, MaxAccumulator)>,
}

/// Metrics of one data file, as rows come.
#[derive(Debug)]
pub(crate) struct FileMetrics {
    leaves: Vec<Leaf>,
}

/// Metrics by field id, as a manifest wants them.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) value_counts: HashMap<i32, u64>,
    pub(crate) null_counts: HashMap<i32, u64>,
    pub(crate) nan_counts: HashMap<i32, u64>,
    pub(crate) lower_bounds: HashMap<i32, Literal>,
    pub(crate) upper_bounds: HashMap<i32, Literal>,
}

impl FileMetrics {
    /// Metrics for a file of the table's schema.
    pub(crate) fn new(schema: &Schema, options: &WriteOptions) -> Result<Self> {
        let mut leaves = Vec::new();
        for (position, field) in schema.fields().iter().enumerate() {
            add_leaves(field, field.name(), &[position], options, &mut leaves)?;
        }
        Ok(Self { leaves })
    }

    /// Counts the rows of `batch`, which has the table's schema.
    pub(crate) fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for leaf in &mut self.leaves {
            let array = at(batch, &leaf.path);
            leaf.values += array.len() as u64;
            leaf.nulls += array.null_count() as u64;
            let mut array = array;
            if leaf.floating {
                let nans = nans(&array);
                let count = nans.true_count();
                if count > 0 {
                    leaf.nans += count as u64;
                    array = filter(&array, &arrow::compute::not(&nans)?)?;
                }
            }
            if let Some((min, max)) = &mut leaf.bounds {
                let array = [array];
                min.update_batch(&array)?;
                max.update_batch(&array)?;
            }
        }
        Ok(())
    }

    /// The metrics of all rows so far.
    pub(crate) fn collect(&mut self) -> Result<Collected> {
        let mut collected = Collected::default();
        for leaf in &mut self.leaves {
            collected.value_counts.insert(leaf.id, leaf.values);
            collected.null_counts.insert(leaf.id, leaf.nulls);
            if leaf.floating {
                collected.nan_counts.insert(leaf.id, leaf.nans);
            }
            let Some((min, max)) = &mut leaf.bounds else {
                continue;
            };
            if let Some(lower) = literal(&min.evaluate()?)? {
                collected
                    .lower_bounds
                    .insert(leaf.id, cut_lower(lower, leaf.mode));
            }
            if let Some(upper) =
                literal(&max.evaluate()?)?.and_then(|upper| cut_upper(upper, leaf.mode))
            {
                collected.upper_bounds.insert(leaf.id, upper);
            }
        }
        Ok(collected)
    }
}

fn add_leaves(
    field: &Field,
    name: &str,
    path: &[usize],
    options: &WriteOptions,
    leaves: &mut Vec<Leaf>,
) -> Result<()> {
    if let DataType::Struct(children) = field.data_type() {
        for (position, child) in children.iter().enumerate() {
            let path: Vec<usize> = path.iter().copied().chain([position]).collect();
            add_leaves(
                child,
                &format!("{name}.{}", child.name()),
                &path,
                options,
                leaves,
            )?;
        }
        return Ok(());
    }
    let mode = options.metrics_mode(name);
    let Some(id) =
        field_id(field).filter(|_| !field.data_type().is_nested() && mode != MetricsMode::None)
    else {
        return Ok(());
    };
    let ty = field.data_type();
    let bounds = match mode {
        MetricsMode::None | MetricsMode::Counts => None,
        MetricsMode::Truncate(_) | MetricsMode::Full => {
            Some((MinAccumulator::try_new(ty)?, MaxAccumulator::try_new(ty)?))
        }
    };
    let floating = ty.is_floating();
    leaves.push(Leaf {
        id,
        path: path.to_vec(),
        mode,
        values: 0,
        nulls: 0,
        nans: 0,
        floating,
        bounds,
    });
    Ok(())
}

/// The column at `path` of a batch; NULL where a struct around it is NULL.
pub(crate) fn at(batch: &RecordBatch, path: &[usize]) -> ArrayRef {
    let Some((first, rest)) = path.split_first() else {
        return arrow::array::new_null_array(&DataType::Null, batch.num_rows());
    };
    let mut array = Arc::clone(batch.column(*first));
    for position in rest {
        let parent = array.as_struct();
        let child = Arc::clone(parent.column(*position));
        array = match parent.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => masked(&child, nulls),
            None => child,
        };
    }
    array
}

fn masked(array: &ArrayRef, parent: &NullBuffer) -> ArrayRef {
    let nulls = NullBuffer::union(Some(parent), array.nulls());
    match array.to_data().into_builder().nulls(nulls).build() {
        Ok(data) => make_array(data),
        Err(_) => Arc::clone(array),
    }
}

fn nans(array: &ArrayRef) -> BooleanArray {
    match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            values
                .iter()
                .map(|value| Some(value.is_some_and(f32::is_nan)))
                .collect()
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            values
                .iter()
                .map(|value| Some(value.is_some_and(f64::is_nan)))
                .collect()
        }
        _ => BooleanArray::from(vec![false; array.len()]),
    }
}

fn literal(value: &ScalarValue) -> Result<Option<Literal>> {
    if value.is_null() {
        return Ok(None);
    }
    let array = value.to_array()?;
    literal_at(&array, 0)
        .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
}

fn cut_lower(value: Literal, mode: MetricsMode) -> Literal {
    match (value, mode) {
        (Literal::String(text), MetricsMode::Truncate(width)) => {
            Literal::String(text.chars().take(width).collect())
        }
        (Literal::Binary(mut bytes), MetricsMode::Truncate(width)) => {
            bytes.truncate(width);
            Literal::Binary(bytes)
        }
        (value, _) => value,
    }
}

/// A bound not below `value`; `None` if a truncated one cannot be made.
fn cut_upper(value: Literal, mode: MetricsMode) -> Option<Literal> {
    match (value, mode) {
        (Literal::String(text), MetricsMode::Truncate(width)) => {
            match text.char_indices().nth(width) {
                Some((end, _)) => text_above(&text[..end]).map(Literal::String),
                None => Some(Literal::String(text)),
            }
        }
        (Literal::Binary(bytes), MetricsMode::Truncate(width)) if bytes.len() > width => {
            bytes_above(&bytes[..width]).map(Literal::Binary)
        }
        (value, _) => Some(value),
    }
}

/// Stored bytes by field id, and where row groups begin, from the footer of the file.
pub(crate) fn stored(footer: &ParquetMetaData) -> (HashMap<i32, u64>, Vec<i64>) {
    let mut sizes: HashMap<i32, u64> = HashMap::new();
    let mut offsets = Vec::with_capacity(footer.num_row_groups());
    for group in footer.row_groups() {
        let mut first = i64::MAX;
        for column in group.columns() {
            let info = column.column_descr().self_type().get_basic_info();
            if info.has_id() {
                *sizes.entry(info.id()).or_default() +=
                    u64::try_from(column.compressed_size()).unwrap_or(0);
            }
            first = first.min(
                column
                    .dictionary_page_offset()
                    .unwrap_or_else(|| column.data_page_offset()),
            );
        }
        if first != i64::MAX {
            offsets.push(first);
        }
    }
    (sizes, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringViewArray, StructArray};
    use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

    fn field(name: &str, ty: DataType, id: i32) -> Field {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, ty, true).with_metadata(metadata)
    }

    fn collected(schema: &Schema, columns: Vec<ArrayRef>) -> Collected {
        let options = WriteOptions::of(&HashMap::new()).expect("defaults are valid");
        let mut metrics =
            FileMetrics::new(schema, &options).expect("primitive columns have metrics");
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns)
            .expect("columns fit the schema");
        metrics.update(&batch).expect("metrics of a valid batch");
        metrics.collect().expect("metrics of a valid batch")
    }

    #[test]
    fn nan_is_counted_and_left_out_of_bounds() {
        let schema = Schema::new(vec![field("x", DataType::Float64, 1)]);
        let values = Float64Array::from(vec![Some(2.0), Some(f64::NAN), None, Some(-1.0)]);
        let found = collected(&schema, vec![Arc::new(values)]);
        assert_eq!(
            (
                found.value_counts[&1],
                found.null_counts[&1],
                found.nan_counts[&1]
            ),
            (4, 1, 1)
        );
        assert_eq!(found.lower_bounds[&1], Literal::Double(-1.0));
        assert_eq!(found.upper_bounds[&1], Literal::Double(2.0));
    }

    #[test]
    fn a_long_upper_bound_is_cut_upwards() {
        let schema = Schema::new(vec![field("s", DataType::Utf8View, 1)]);
        let values = StringViewArray::from(vec!["abcdefghijklmnopqrstuvwxyz", "b"]);
        let found = collected(&schema, vec![Arc::new(values)]);
        assert_eq!(
            found.lower_bounds[&1],
            Literal::String("abcdefghijklmnop".to_owned())
        );
        assert_eq!(found.upper_bounds[&1], Literal::String("b".to_owned()));
        let cut = cut_upper(Literal::String("aaaa".to_owned()), MetricsMode::Truncate(2));
        assert_eq!(cut, Some(Literal::String("ab".to_owned())));
        let top = "\u{10FFFF}\u{10FFFF}\u{10FFFF}".to_owned();
        assert_eq!(
            cut_upper(Literal::String(top), MetricsMode::Truncate(2)),
            None
        );
    }

    #[test]
    fn a_value_below_a_null_struct_is_null() {
        let child = field("c", DataType::Utf8View, 2);
        let values: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), Some("z")]));
        let nulls = NullBuffer::from(vec![true, false]);
        let parent = StructArray::new(vec![child.clone()].into(), vec![values], Some(nulls));
        let schema = Schema::new(vec![field("s", DataType::Struct(vec![child].into()), 1)]);
        let found = collected(&schema, vec![Arc::new(parent)]);
        assert_eq!((found.value_counts[&2], found.null_counts[&2]), (2, 1));
        assert_eq!(found.upper_bounds[&2], Literal::String("a".to_owned()));
        assert!(!found.value_counts.contains_key(&1));
    }
}
