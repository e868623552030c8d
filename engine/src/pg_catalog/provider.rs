//! Catalog relations as tables of a statement: rows are made when they are read, and only those that the
//! filters can let pass.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::context::CatalogContext;
use super::relations;
use super::rows::Rows;
use super::shape::Shape;
use super::wanted::Wanted;

/// One relation of `pg_catalog` or `information_schema`.
#[derive(Debug)]
pub(super) struct CatalogRelation {
    shape: &'static Shape,
    context: Arc<CatalogContext>,
}

impl CatalogRelation {
    pub(super) fn new(shape: &'static Shape, context: Arc<CatalogContext>) -> Self {
        Self { shape, context }
    }
}

#[async_trait]
impl TableProvider for CatalogRelation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shape.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut rows = Rows::new(&self.shape.columns, projection)?;
        let wanted = Wanted::of(filters);
        relations::fill(self.shape, &self.context, &wanted, &mut rows)?;
        let batch = rows.finish()?;
        let plan: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], batch.schema(), None)?;
        Ok(plan)
    }
}
