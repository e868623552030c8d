//! x
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use tarn_engine::*;
#[derive(Debug)]
pub struct CatalogDirectory {
    pub catalog: String,
    pub schemas: Vec<SchemaDirectory>,
}
#[derive(Debug)]
pub struct SchemaDirectory {
    pub name: String,
    pub relations: Vec<Arc<Relation>>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    SystemView,
}
#[derive(Debug)]
pub struct Relation {
    pub name: String,
    pub kind: RelationKind,
    pub columns: SchemaRef,
}
pub trait Ext {
    async fn directory(&self, s: &Session, c: &str) -> Result<Arc<CatalogDirectory>, EngineError>;
}
impl Ext for Engine {
    async fn directory(&self, _: &Session, _: &str) -> Result<Arc<CatalogDirectory>, EngineError> {
        Err(EngineError::internal("shim"))
    }
}
