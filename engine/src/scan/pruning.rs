//! Which manifests and data files can hold a row that the filters keep.
//!
//! One [`PruningPredicate`] of DataFusion's, fed with what partition values and column bounds prove. Anything unknown
//! is NULL to it, and a NULL keeps the file. Refuses to know plans and storage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use tarn_catalog::{
    ByField, DataFile, Literal, ManifestInfo, PartitionField, PartitionSpec, Transform, literal_at,
};

use super::conform::{FileConstants, field_id};
use super::projection::{Range, highest, lowest, source_range};
use super::value::scalar;

/// What is known about one column in one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) range: Range,
    /// Rows whose value is NULL.
    pub(crate) nulls: Option<u64>,
    /// Every value is the same: what partitioning by identity says.
    pub(crate) constant: bool,
}

/// A column as metadata knows it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) id: i32,
    pub(crate) ty: DataType,
}

/// A set of rows with statistics: a data file, or all files of a manifest.
pub(crate) trait Container {
    /// What is known about a column.
    fn known(&self, source: &Source) -> Known;
    /// Rows in the container, if known.
    fn rows(&self) -> Option<u64>;
    /// Partition fields over the column whose values are hashes, with the least and greatest partition value.
    fn buckets(&self, source: &Source) -> Vec<(Transform, Literal, Literal)>;
}

/// A data file and the spec it was written with.
pub(crate) struct FileStats<'a> {
    pub(crate) file: &'a DataFile,
    pub(crate) spec: Option<&'a PartitionSpec>,
}

impl FileStats<'_> {
    /// Partition values of columns that the file does not seem to have: nothing is counted of them.
    pub(crate) fn constants(&self) -> Option<FileConstants> {
        let file = self.file;
        let fields = self.spec.map_or(&[][..], |spec| &spec.fields[..]);
        let absent = fields.iter().zip(&file.partition).filter(|(field, _)| {
            let id = field.source_id;
            field.transform == Transform::Identity
                && file.value_counts.get(id).is_none()
                && file.column_sizes.get(id).is_none()
                && file.null_counts.get(id).is_none()
        });
        let values: Vec<_> = absent
            .map(|(field, value)| (field.source_id, value.clone()))
            .collect();
        (!values.is_empty()).then_some(FileConstants { values })
    }

    fn partition(&self, id: i32) -> impl Iterator<Item = (&PartitionField, Option<&Literal>)> {
        let fields = self.spec.map_or(&[][..], |spec| &spec.fields[..]);
        let values = self.file.partition.iter().map(Option::as_ref);
        fields
            .iter()
            .zip(values)
            .filter(move |(field, _)| field.source_id == id)
    }
}

impl Container for FileStats<'_> {
    fn known(&self, source: &Source) -> Known {
        let (id, ty) = (source.id, &source.ty);
        let bound =
            |bounds: &ByField<Literal>| bounds.get(id).and_then(|literal| scalar(literal, ty));
        let mut known = Known {
            nulls: self.file.null_counts.get(id).copied(),
            ..Known::default()
        };
        // Bounds leave NaN out, but Arrow sorts NaN above (and negative NaN below) every number.
        if !ty.is_floating() || self.file.nan_counts.get(id) == Some(&0) {
            known.range.lower = bound(&self.file.lower_bounds).and_then(lowest);
            known.range.upper = bound(&self.file.upper_bounds).and_then(highest);
        }
        for (field, value) in self.partition(id) {
            match (field.transform, value) {
                (Transform::Void | Transform::Unknown, _) => {}
                (_, None) => {
                    known.nulls = Some(self.file.record_count);
                    known.constant |= field.transform == Transform::Identity;
                }
                (transform, Some(value)) => {
                    known.nulls = Some(0);
                    let range = source_range(transform, Some(value), Some(value), ty);
                    known.constant |= transform == Transform::Identity && range.lower.is_some();
                    known.range = tighter(known.range, range);
                }
            }
        }
        known
    }

    fn rows(&self) -> Option<u64> {
        Some(self.file.record_count)
    }

    fn buckets(&self, source: &Source) -> Vec<(Transform, Literal, Literal)> {
        self.partition(source.id)
            .filter(|(field, _)| matches!(field.transform, Transform::Bucket(_)))
            .filter_map(|(field, value)| Some((field.transform, value?.clone(), value?.clone())))
            .collect()
    }
}

/// A manifest's partition summaries and the spec of its files.
pub(crate) struct ManifestStats<'a> {
    pub(crate) manifest: &'a ManifestInfo,
    pub(crate) spec: &'a PartitionSpec,
}

impl Container for ManifestStats<'_> {
    fn known(&self, source: &Source) -> Known {
        let mut known = Known::default();
        let fields = self.spec.fields.iter().zip(&self.manifest.partitions);
        for (field, summary) in fields.filter(|(field, _)| field.source_id == source.id) {
            if matches!(field.transform, Transform::Void | Transform::Unknown) {
                continue;
            }
            if !summary.contains_null {
                known.nulls = Some(0);
            }
            // Summaries leave NaN out as bounds do.
            if source.ty.is_floating() && summary.contains_nan != Some(false) {
                continue;
            }
            let range = source_range(
                field.transform,
                summary.lower.as_ref(),
                summary.upper.as_ref(),
                &source.ty,
            );
            known.range = tighter(known.range, range);
        }
        known
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn buckets(&self, source: &Source) -> Vec<(Transform, Literal, Literal)> {
        let fields = self.spec.fields.iter().zip(&self.manifest.partitions);
        fields
            .filter(|(field, _)| {
                field.source_id == source.id && matches!(field.transform, Transform::Bucket(_))
            })
            .filter_map(|(field, summary)| {
                Some((
                    field.transform,
                    summary.lower.clone()?,
                    summary.upper.clone()?,
                ))
            })
            .collect()
    }
}

fn tighter(a: Range, b: Range) -> Range {
    let pick =
        |a: Option<ScalarValue>, b: Option<ScalarValue>, wanted: std::cmp::Ordering| match (a, b) {
            (Some(a), Some(b)) => match b.partial_cmp(&a) {
                Some(order) if order == wanted => Some(b),
                _ => Some(a),
            },
            (a, b) => a.or(b),
        };
    Range {
        lower: pick(a.lower, b.lower, std::cmp::Ordering::Greater),
        upper: pick(a.upper, b.upper, std::cmp::Ordering::Less),
    }
}

/// A conjunction of filters, ready to judge containers.
#[derive(Debug)]
pub(crate) struct Pruner {
    predicate: Arc<PruningPredicate>,
    columns: HashMap<String, Source>,
}

impl Pruner {
    /// `None` if the filter can prune nothing.
    pub(crate) fn new(filter: Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Option<Self> {
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(schema))
            .build(filter)?;
        if predicate.always_true() {
            return None;
        }
        let columns = schema.fields().iter().filter_map(|field| {
            let source = Source {
                id: field_id(field)?,
                ty: field.data_type().clone(),
            };
            (!source.ty.is_nested()).then(|| (field.name().clone(), source))
        });
        Some(Self {
            predicate,
            columns: columns.collect(),
        })
    }

    /// Which containers to keep. An error of evaluation keeps all.
    pub(crate) fn keep<C: Container>(&self, containers: &[C]) -> Vec<bool> {
        let statistics = Statistics {
            containers,
            columns: &self.columns,
        };
        self.predicate
            .prune(&statistics)
            .unwrap_or_else(|_| vec![true; containers.len()])
    }
}

struct Statistics<'a, C> {
    containers: &'a [C],
    columns: &'a HashMap<String, Source>,
}

impl<C: Container> Statistics<'_, C> {
    fn values(
        &self,
        column: &Column,
        pick: impl Fn(Known) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let source = self.columns.get(column.name())?;
        let null = ScalarValue::try_new_null(&source.ty).ok()?;
        let values = self
            .containers
            .iter()
            .map(|container| pick(container.known(source)).unwrap_or_else(|| null.clone()));
        ScalarValue::iter_to_array(values).ok()
    }

    fn counts(&self, count: impl Fn(&C) -> Option<u64>) -> Option<ArrayRef> {
        let counts: UInt64Array = self.containers.iter().map(count).collect();
        (counts.null_count() < counts.len()).then(|| Arc::new(counts) as ArrayRef)
    }
}

impl<C: Container> PruningStatistics for Statistics<'_, C> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |known| known.range.lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |known| known.range.upper)
    }

    fn num_containers(&self) -> usize {
        self.containers.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let source = self.columns.get(column.name())?;
        self.counts(|container| container.known(source).nulls)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        self.counts(Container::rows)
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let source = self.columns.get(column.name())?;
        let mut hashes: HashMap<Transform, Option<Vec<Literal>>> = HashMap::new();
        let answers: BooleanArray = self
            .containers
            .iter()
            .map(|container| {
                let absent =
                    container
                        .buckets(source)
                        .into_iter()
                        .any(|(transform, lower, upper)| {
                            let buckets = hashes
                                .entry(transform)
                                .or_insert_with(|| transformed(transform, values, &source.ty));
                            let outside = |bucket: &Literal| match (bucket, &lower, &upper) {
                                (
                                    Literal::Int(bucket),
                                    Literal::Int(lower),
                                    Literal::Int(upper),
                                ) => bucket < lower || bucket > upper,
                                _ => false,
                            };
                            buckets
                                .as_ref()
                                .is_some_and(|buckets| buckets.iter().all(outside))
                        });
                absent.then_some(false)
            })
            .collect();
        (answers.null_count() < answers.len()).then_some(answers)
    }
}

fn transformed(
    transform: Transform,
    values: &HashSet<ScalarValue>,
    ty: &DataType,
) -> Option<Vec<Literal>> {
    let typed = values
        .iter()
        .map(|value| value.cast_to(ty))
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    let source = ScalarValue::iter_to_array(typed).ok()?;
    let buckets = transform.apply(&source).ok()?;
    (0..buckets.len())
        .map(|row| literal_at(&buckets, row).ok().flatten())
        .collect()
}
