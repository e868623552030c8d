//! What a client browses: catalogs, schemas, tables with their columns, keys, types and abilities.
//!
//! Answered from the engine's directory. Foreign and primary keys are none, because Iceberg has none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetDbSchemasBuilder};
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTables};
use bytes::Bytes;
use tarn_engine::{CatalogDirectory, Relation, RelationKind};
use tonic::Status;

use super::columns;
use super::info;
use super::listing::{Pattern, TablesBuilder, tables_schema};
use super::results::{Shape, schema_bytes};
use super::session::FlightSession;
use super::status::{status, unconvertible, unsupported};
use super::types;
use crate::service::Service;

/// Table types, as clients filter by them.
const TABLE_TYPES: [(RelationKind, &str); 3] = [
    (RelationKind::SystemView, "SYSTEM VIEW"),
    (RelationKind::Table, "TABLE"),
    (RelationKind::View, "VIEW"),
];

/// Encoded column lists that are kept at most.
const ENCODED_MAX: usize = 50_000;

/// Column lists in IPC form, as long as the directory holds what they were made of.
type Encoded = HashMap<usize, (Weak<Relation>, Bytes)>;

/// Answers the metadata commands. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    service: Service,
    encoded: Arc<Mutex<Encoded>>,
}

fn failed(error: FlightError) -> Status {
    match error {
        FlightError::Arrow(error) => unconvertible(&error),
        other => unconvertible(&ArrowError::ExternalError(Box::new(other))),
    }
}

fn type_name(kind: RelationKind) -> &'static str {
    TABLE_TYPES
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("TABLE", |(_, name)| *name)
}

impl Metadata {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            encoded: Arc::default(),
        }
    }

    /// Columns of the answer to `command`.
    ///
    /// # Errors
    /// `UNIMPLEMENTED`, naming the command, if it is none of these.
    pub(crate) fn schema(command: &Command) -> Result<SchemaRef, Status> {
        Ok(match command {
            Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
            Command::CommandGetDbSchemas(_) => {
                GetDbSchemasBuilder::new(None::<String>, None::<String>).schema()
            }
            Command::CommandGetTables(command) => tables_schema(command.include_schema),
            Command::CommandGetTableTypes(_) => table_types()?.schema(),
            Command::CommandGetPrimaryKeys(_) => primary_keys(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => foreign_keys(),
            Command::CommandGetSqlInfo(_) => info::schema()?,
            Command::CommandGetXdbcTypeInfo(_) => types::schema()?,
            other => return Err(unsupported(super::command::name(other))),
        })
    }

    /// The answer to `command`.
    pub(crate) async fn answer(
        &self,
        session: &FlightSession,
        command: &Command,
    ) -> Result<RecordBatch, Status> {
        match command {
            Command::CommandGetCatalogs(_) => self.catalogs(),
            Command::CommandGetDbSchemas(command) => self.schemas(session, command).await,
            Command::CommandGetTables(command) => self.tables(session, command).await,
            Command::CommandGetTableTypes(_) => table_types(),
            Command::CommandGetSqlInfo(command) => info::answer(&command.info),
            Command::CommandGetXdbcTypeInfo(command) => types::answer(command.data_type),
            other => Ok(RecordBatch::new_empty(Self::schema(other)?)),
        }
    }

    fn catalogs(&self) -> Result<RecordBatch, Status> {
        let mut builder = GetCatalogsBuilder::new();
        for name in self.service.engine.catalog_names() {
            builder.append(name);
        }
        builder.build().map_err(failed)
    }

    /// The directories of the catalogs that a client asks about; none if it asks for what is in no catalog.
    async fn directories(
        &self,
        session: &FlightSession,
        catalog: Option<&str>,
    ) -> Result<Vec<Arc<CatalogDirectory>>, Status> {
        let session = session.session();
        let mut found = vec![];
        for name in self.service.engine.catalog_names() {
            if catalog.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let directory = self.service.engine.directory(&session, &name).await;
            found.push(directory.map_err(|error| status(&error))?);
        }
        Ok(found)
    }

    async fn schemas(
        &self,
        session: &FlightSession,
        command: &CommandGetDbSchemas,
    ) -> Result<RecordBatch, Status> {
        let pattern = Pattern::new(command.db_schema_filter_pattern.as_deref());
        let mut builder = GetDbSchemasBuilder::new(None::<String>, None::<String>);
        for directory in self
            .directories(session, command.catalog.as_deref())
            .await?
        {
            let schemas = directory.schemas.iter();
            for schema in schemas.filter(|schema| pattern.matches(&schema.name)) {
                builder.append(&directory.catalog, &schema.name);
            }
        }
        builder.build().map_err(failed)
    }

    async fn tables(
        &self,
        session: &FlightSession,
        command: &CommandGetTables,
    ) -> Result<RecordBatch, Status> {
        let schema_pattern = Pattern::new(command.db_schema_filter_pattern.as_deref());
        let table_pattern = Pattern::new(command.table_name_filter_pattern.as_deref());
        let mut tables = TablesBuilder::new(command.include_schema);
        for directory in self
            .directories(session, command.catalog.as_deref())
            .await?
        {
            for schema in &directory.schemas {
                if !schema_pattern.matches(&schema.name) {
                    continue;
                }
                for relation in &schema.relations {
                    let kind = type_name(relation.kind);
                    if !table_pattern.matches(&relation.name)
                        || !(command.table_types.is_empty()
                            || command.table_types.iter().any(|t| t == kind))
                    {
                        continue;
                    }
                    let columns = if command.include_schema {
                        Some(self.columns(relation)?)
                    } else {
                        None
                    };
                    tables.append(
                        &directory.catalog,
                        &schema.name,
                        &relation.name,
                        kind,
                        columns.as_deref(),
                    );
                }
            }
        }
        tables.build().map_err(|error| unconvertible(&error))
    }

    /// The columns of a relation in IPC form, kept for the next time.
    fn columns(&self, relation: &Arc<Relation>) -> Result<Bytes, Status> {
        let key = Arc::as_ptr(relation) as usize;
        let lock = || self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, bytes)) = lock().get(&key)
            && std::ptr::eq(made_of.as_ptr(), Arc::as_ptr(relation))
            && made_of.strong_count() > 0
        {
            return Ok(bytes.clone());
        }
        let sent = Shape::Plain.types(&relation.columns);
        let bytes = schema_bytes(&columns::of_table(&sent))?;
        let mut encoded = lock();
        if encoded.len() >= ENCODED_MAX {
            encoded.retain(|_, (made_of, _)| made_of.strong_count() > 0);
        }
        if encoded.len() < ENCODED_MAX {
            encoded.insert(key, (Arc::downgrade(relation), bytes.clone()));
        }
        Ok(bytes)
    }
}

fn table_types() -> Result<RecordBatch, Status> {
    let mut builder = arrow_flight::sql::CommandGetTableTypes {}.into_builder();
    for (_, name) in TABLE_TYPES {
        builder.append(name);
    }
    builder.build().map_err(failed)
}

fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}
