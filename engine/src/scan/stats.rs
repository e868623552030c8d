//! What manifests say about files, as DataFusion statistics.
//!
//! Knows data files and columns. Refuses to know plans.
//!
//! A file's own minima and maxima are marked exact, because DataFusion prunes files (by dynamic filters and `TopK`) only
//! with exact ones. Where they and the count of NULLs leave one value, DataFusion would not read the column at all: that
//! is right for partition values only, so elsewhere the count of NULLs is inexact, and bounds that contradict the data
//! can prune rows but never make some up. For the table all are inexact: a bound may have been truncated or belong to a
//! deleted row, so MIN and MAX are never answered from them.

use std::cmp::Ordering;
use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use tarn_catalog::DataFile;

use super::conform::field_id;
use super::pruning::{Container, FileStats, Source};

/// Columns whose statistics are worth having, by position. Nested columns have none.
pub(crate) fn sources(schema: &SchemaRef, wanted: impl Fn(usize) -> bool) -> Vec<Option<Source>> {
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(position, field)| {
            let id = field_id(field)?;
            let flat = !field.data_type().is_nested();
            (flat && wanted(position)).then(|| Source {
                id,
                ty: field.data_type().clone(),
            })
        })
        .collect()
}

/// Statistics of one file. `has_deletes`: some of its rows are not in the table any more.
pub(crate) fn file_statistics(
    stats: &FileStats<'_>,
    sources: &[Option<Source>],
    has_deletes: bool,
) -> Statistics {
    let rows = usize::try_from(stats.file.record_count).unwrap_or(usize::MAX);
    let columns = sources.iter().map(|source| {
        let Some(source) = source else {
            return ColumnStatistics::new_unknown();
        };
        let known = stats.known(source);
        let exact = |value: Option<ScalarValue>| value.map_or(Precision::Absent, Precision::Exact);
        let nulls = known.nulls.and_then(|nulls| usize::try_from(nulls).ok());
        let one_value = known.range.lower.is_some() && known.range.lower == known.range.upper;
        ColumnStatistics {
            null_count: match nulls {
                None => Precision::Absent,
                Some(nulls) if has_deletes || !known.constant && (one_value || nulls == rows) => {
                    Precision::Inexact(nulls)
                }
                Some(nulls) => Precision::Exact(nulls),
            },
            min_value: exact(known.range.lower),
            max_value: exact(known.range.upper),
            ..ColumnStatistics::new_unknown()
        }
    });
    Statistics {
        num_rows: if has_deletes {
            Precision::Inexact(rows)
        } else {
            Precision::Exact(rows)
        },
        total_byte_size: Precision::Inexact(
            usize::try_from(stats.file.size_bytes).unwrap_or(usize::MAX),
        ),
        column_statistics: columns.collect(),
    }
}

/// Statistics of all files together. Rows and NULLs are exact if they are in every file; all else is inexact.
pub(crate) fn table_statistics(files: &[&Statistics], columns: usize) -> Statistics {
    let sum = |a: Precision<usize>, b: &Precision<usize>| a.add(b);
    let num_rows = files
        .iter()
        .fold(Precision::Exact(0), |rows, file| sum(rows, &file.num_rows));
    let total_byte_size = files.iter().fold(Precision::Exact(0), |bytes, file| {
        sum(bytes, &file.total_byte_size)
    });
    let column_statistics = (0..columns).map(|column| {
        let each = files
            .iter()
            .map(|file| (&file.column_statistics[column], &file.num_rows));
        let nulls = each
            .clone()
            .fold(Precision::Exact(0), |nulls, (column, rows)| {
                sum(nulls, &nulls_of(column, rows))
            });
        // A file without a value in the column has no bounds, and needs none.
        let valued =
            each.filter(|(column, rows)| column.null_count.get_value() != rows.get_value());
        ColumnStatistics {
            null_count: nulls,
            min_value: extreme(
                valued.clone().map(|(column, _)| &column.min_value),
                Ordering::Less,
            ),
            max_value: extreme(
                valued.map(|(column, _)| &column.max_value),
                Ordering::Greater,
            ),
            ..ColumnStatistics::new_unknown()
        }
    });
    let column_statistics = column_statistics.collect();
    Statistics {
        num_rows,
        total_byte_size: total_byte_size.to_inexact(),
        column_statistics,
    }
}

/// The NULLs of one file. Where all its rows are there they are counted; a file may call the count inexact all the same, so
/// that nobody takes one bound for all its values.
fn nulls_of(column: &ColumnStatistics, rows: &Precision<usize>) -> Precision<usize> {
    match (rows, column.null_count.get_value()) {
        (Precision::Exact(_), Some(nulls)) => Precision::Exact(*nulls),
        _ => column.null_count.to_inexact(),
    }
}

/// Adds how many different values columns have, by field id. Never exact: they are estimates, of another snapshot too.
pub(crate) fn add_distinct(
    statistics: &mut Statistics,
    schema: &SchemaRef,
    counts: &HashMap<i32, u64>,
) {
    if counts.is_empty() {
        return;
    }
    let rows = statistics.num_rows.get_value().copied();
    let columns = statistics.column_statistics.iter_mut();
    for (column, field) in columns.zip(schema.fields()) {
        let count = field_id(field).and_then(|id| counts.get(&id));
        let count = count.and_then(|count| usize::try_from(*count).ok());
        if let Some(count) = count {
            let count = rows.map_or(count, |rows| count.min(rows));
            column.distinct_count = Precision::Inexact(count);
        }
    }
}

fn extreme<'a>(
    values: impl Iterator<Item = &'a Precision<ScalarValue>>,
    wanted: Ordering,
) -> Precision<ScalarValue> {
    let mut found: Option<&ScalarValue> = None;
    for value in values {
        let Some(value) = value.get_value() else {
            return Precision::Absent;
        };
        if found.is_none_or(|found| value.partial_cmp(found) == Some(wanted)) {
            found = Some(value);
        }
    }
    found.map_or(Precision::Absent, |value| Precision::Inexact(value.clone()))
}

/// Stored bytes of each top-level column over all files, nested leaves added to their column.
pub(crate) fn column_bytes<'a>(
    files: impl Iterator<Item = &'a DataFile>,
    schema: &SchemaRef,
) -> Vec<(String, u64)> {
    let mut owner = HashMap::new();
    for (position, field) in schema.fields().iter().enumerate() {
        own(field, position, &mut owner);
    }
    let mut bytes = vec![0u64; schema.fields().len()];
    for file in files {
        for (id, size) in &file.column_sizes {
            if let Some(position) = owner.get(id) {
                bytes[*position] += size;
            }
        }
    }
    let named = schema.fields().iter().zip(bytes);
    named
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(field, bytes)| (field.name().clone(), bytes))
        .collect()
}

fn own(field: &Field, position: usize, owner: &mut HashMap<i32, usize>) {
    use DataType as D;
    if let Some(id) = field_id(field) {
        owner.insert(id, position);
    }
    match field.data_type() {
        D::Struct(children) => children
            .iter()
            .for_each(|child| own(child, position, owner)),
        D::List(child) | D::LargeList(child) | D::Map(child, _) => own(child, position, owner),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::scan::lake::field;

    fn file(rows: usize, nulls: Precision<usize>, exact: bool) -> Statistics {
        Statistics {
            num_rows: if exact {
                Precision::Exact(rows)
            } else {
                Precision::Inexact(rows)
            },
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics {
                null_count: nulls,
                min_value: Precision::Exact(ScalarValue::from(1_i64)),
                max_value: Precision::Exact(ScalarValue::from(9_i64)),
                ..ColumnStatistics::new_unknown()
            }],
        }
    }

    #[test]
    fn counts_are_exact_where_all_files_are_and_bounds_never() {
        let (a, b) = (
            file(5, Precision::Exact(1), true),
            file(7, Precision::Exact(0), true),
        );
        let all = table_statistics(&[&a, &b], 1);
        assert_eq!(all.num_rows, Precision::Exact(12));
        assert_eq!(all.column_statistics[0].null_count, Precision::Exact(1));
        assert!(
            !all.column_statistics[0]
                .min_value
                .is_exact()
                .unwrap_or(true)
        );
        let deleted = file(7, Precision::Inexact(2), false);
        let all = table_statistics(&[&a, &deleted], 1);
        assert_eq!(all.num_rows, Precision::Inexact(12));
        assert_eq!(all.column_statistics[0].null_count, Precision::Inexact(3));
        let unknown = file(7, Precision::Absent, true);
        let all = table_statistics(&[&a, &unknown], 1);
        assert_eq!(all.column_statistics[0].null_count, Precision::Absent);
    }

    #[test]
    fn distinct_counts_are_estimates_of_at_most_as_many_as_there_are_rows() {
        let columns = vec![
            field("a", DataType::Int64, true, 1),
            field("b", DataType::Int64, true, 2),
        ];
        let schema: SchemaRef = Arc::new(Schema::new(columns));
        let mut all = table_statistics(&[], 2);
        all.num_rows = Precision::Exact(10);
        add_distinct(&mut all, &schema, &HashMap::from([(1, 4), (2, 1000)]));
        let counts = all
            .column_statistics
            .iter()
            .map(|column| &column.distinct_count);
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [&Precision::Inexact(4), &Precision::Inexact(10)]
        );
    }
}
