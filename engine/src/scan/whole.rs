//! Filters that whole files pass or fail, because tables are partitioned by the columns they ask about.
//!
//! Such a filter needs no look at rows, so what metadata knows of the files that pass stays exact: their rows are
//! counted without reading them. Knows partition values. Refuses to know plans.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::PhysicalExpr;
use tarn_catalog::{Table, Transform};

use super::conform::field_id;
use super::pruning::{FileStats, Source};
use super::value::scalar;

/// The part of a scan's filters that partition values decide.
#[derive(Debug)]
pub(crate) struct WholeFiles {
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    sources: Vec<Source>,
}

/// Columns that have one known value in every file of `table`: all its specs partition by the column itself.
///
/// Floating-point columns are left out: NaN and zero have several forms, of which a partition value shows one. So are
/// timestamps with time zone, whose type is the session's here.
fn constant_columns<'a>(table: &Table, schema: &'a Schema) -> HashSet<&'a str> {
    let fields = schema.fields().iter().filter(|field| {
        let ty = field.data_type();
        let id = field_id(field);
        let mut specs = table.specs().peekable();
        !ty.is_floating()
            && !ty.is_nested()
            && !matches!(ty, DataType::Timestamp(_, Some(_)))
            && specs.peek().is_some()
            && specs.all(|spec| {
                spec.fields
                    .iter()
                    .any(|part| Some(part.source_id) == id && part.transform == Transform::Identity)
            })
    });
    fields.map(|field| field.name().as_str()).collect()
}

/// Which of `filters` partition values decide, for tables of `schema`.
pub(crate) fn decided(table: &Table, schema: &Schema, filters: &[&Expr]) -> Vec<bool> {
    let columns = constant_columns(table, schema);
    let decides = |filter: &&Expr| {
        let used = filter.column_refs();
        !used.is_empty()
            && used
                .iter()
                .all(|column| columns.contains(column.name.as_str()))
            && !filter.is_volatile()
            && !filter.contains_outer()
            && !is_open(filter)
    };
    filters.iter().map(decides).collect()
}

/// Whether an expression has a part that is not known before rows are read.
fn is_open(filter: &Expr) -> bool {
    let open = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Placeholder(_) | Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        ))
    });
    open.unwrap_or(true)
}

/// The one value that a column has in a file.
fn value(stats: &FileStats<'_>, source: &Source) -> Result<ScalarValue> {
    let fields = stats.spec.map_or(&[][..], |spec| &spec.fields[..]);
    let found = fields
        .iter()
        .zip(&stats.file.partition)
        .find(|(field, _)| field.source_id == source.id && field.transform == Transform::Identity);
    let known = match found {
        Some((_, None)) => Some(ScalarValue::try_from(&source.ty)?),
        Some((_, Some(literal))) => scalar(literal, &source.ty),
        None => None,
    };
    known.ok_or_else(|| {
        DataFusionError::Execution(format!(
            "data file \"{}\" has no partition value of type {} for the column with id {}",
            stats.file.path, source.ty, source.id
        ))
    })
}

impl WholeFiles {
    /// The filters of `filters` that [`decided`] says yes to, together; `None` if there are none.
    pub(crate) fn new(
        table: &Table,
        schema: &SchemaRef,
        filters: &[Expr],
        state: &dyn Session,
    ) -> Result<Option<Self>> {
        let all: Vec<&Expr> = filters.iter().collect();
        let decided = decided(table, schema, &all);
        let wanted = filters.iter().zip(decided).filter(|(_, decided)| *decided);
        let Some(filter) = conjunction(wanted.map(|(filter, _)| filter.clone())) else {
            return Ok(None);
        };
        let used = filter.column_refs();
        let fields = schema
            .fields()
            .iter()
            .filter(|field| used.iter().any(|column| column.name == *field.name()));
        let fields: Vec<Arc<Field>> = fields.cloned().collect();
        let sources = fields.iter().filter_map(|field| {
            Some(Source {
                id: field_id(field)?,
                ty: field.data_type().clone(),
            })
        });
        let sources = sources.collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let predicate =
            state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(&schema))?)?;
        Ok(Some(Self {
            predicate,
            schema,
            sources,
        }))
    }

    /// Which files pass.
    ///
    /// # Errors
    /// Those of the filter itself, as reading the rows would have them.
    pub(crate) fn keep(&self, files: &[FileStats<'_>]) -> Result<Vec<bool>> {
        if files.is_empty() {
            return Ok(vec![]);
        }
        let columns = self.sources.iter().map(|source| {
            let values = files.iter().map(|stats| value(stats, source));
            ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
        let fields = self.schema.fields().iter();
        let fields: Vec<_> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let kept = self.predicate.evaluate(&batch)?.into_array(files.len())?;
        let kept = kept.as_boolean();
        Ok((0..files.len())
            .map(|file| kept.is_valid(file) && kept.value(file))
            .collect())
    }
}
