//! Expressions over the table's columns, rewritten for one data file by field id.
//!
//! DataFusion calls the factory when a file is opened, for the projection and for the predicate, before row groups are
//! pruned: pruning, bloom filters, page index and row filters therefore all see the file's own columns.
//! Knows schemas. Refuses to know which file it is.

use std::fmt::{Display, Formatter};
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::conform::{self, Evolution, Matching, Shape};

/// Makes adapters that find columns by Iceberg field id.
#[derive(Debug, Clone)]
pub(crate) struct FieldIdAdapterFactory {
    evolution: Arc<Evolution>,
}

impl FieldIdAdapterFactory {
    pub(crate) fn new(evolution: Arc<Evolution>) -> Self {
        Self { evolution }
    }
}

impl PhysicalExprAdapterFactory for FieldIdAdapterFactory {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let matching = Matching::of(physical.fields(), &self.evolution);
        Ok(Arc::new(FieldIdAdapter {
            logical,
            physical,
            matching,
            evolution: Arc::clone(&self.evolution),
        }))
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    logical: SchemaRef,
    physical: SchemaRef,
    matching: Matching,
    evolution: Arc<Evolution>,
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform(|expr| match expr.downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(self.column(column)?)),
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}

impl FieldIdAdapter {
    fn column(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let wanted = self.logical.field_with_name(column.name())?;
        let Some(at) = self.matching.find(wanted, self.physical.fields(), &[]) else {
            let value = conform::missing(wanted, &self.evolution)?;
            return Ok(Arc::new(Literal::new(value)));
        };
        let found = self.physical.field(at);
        let path = [found.name().clone()];
        let with_ids = conform::with_nested_ids(wanted, &self.evolution);
        let shape = conform::shape(&with_ids, found, &self.matching, &self.evolution, &path)?;
        let source: Arc<dyn PhysicalExpr> = Arc::new(Column::new(found.name(), at));
        Ok(match shape {
            Shape::Same => source,
            Shape::Cast => Arc::new(CastExpr::new(source, wanted.data_type().clone(), None)),
            shape => Arc::new(ConformExpr {
                source,
                shape,
                field: Arc::new(wanted.clone()),
            }),
        })
    }
}

/// A nested column of the file as the table's nested type.
#[derive(Debug, Clone)]
struct ConformExpr {
    source: Arc<dyn PhysicalExpr>,
    shape: Shape,
    field: FieldRef,
}

impl PartialEq for ConformExpr {
    fn eq(&self, other: &Self) -> bool {
        self.source.eq(&other.source) && self.shape == other.shape && self.field == other.field
    }
}

impl Eq for ConformExpr {}

impl Hash for ConformExpr {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.shape.hash(state);
        self.field.hash(state);
    }
}

impl Display for ConformExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "conform({} as {})", self.source, self.field.name())
    }
}

impl PhysicalExpr for ConformExpr {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        Ok(self.field.is_nullable() || self.source.nullable(input)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.source.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(conform::apply(
            &self.shape,
            &array,
            self.field.data_type(),
        )?))
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        let nullable = self.nullable(input)?;
        let field = Field::new(self.field.name(), self.field.data_type().clone(), nullable);
        Ok(Arc::new(field.with_metadata(self.field.metadata().clone())))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.source]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [source] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("conform takes one column".to_owned()))?;
        Ok(Arc::new(Self {
            source,
            ..Arc::unwrap_or_clone(self)
        }))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}
