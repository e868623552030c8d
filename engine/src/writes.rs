//! INSERT and CREATE TABLE AS: a distributed write, then one commit here.
//!
//! Writers report the files they wrote; nothing is visible until the commit. A write that fails or
//! is dropped before its commit leaves the table as it was and its files are removed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{DmlStatement, LogicalPlan};
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use tarn_catalog::{
    Catalog, DOC_META_KEY, EntryKind, NewDataFile, StagedTable, Stores, Table, TableCreation,
    TableIdent, append, check_append, check_nanoseconds, create_with_files,
};
use uuid::Uuid;

use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::files::AllowedRoots;
use crate::headings::{self, Headings};
use crate::lookup;
use crate::notices;
use crate::parser::{CreateTable, Name, fold};
use crate::planner::WriteNode;
use crate::query::{Attempt, Planned, run};
use crate::resolve::{FullName, INFORMATION_SCHEMA, SYSTEM_SCHEMA};
use crate::session::Session;
use crate::types::SqlTypes;
use crate::write;

/// Where a planned write goes.
pub(crate) struct Target {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) table: Table,
    pub(crate) write_id: String,
}

impl Engine {
    pub(crate) async fn insert(
        &self,
        session: &Session,
        table: &Name,
        statement: ast::Statement,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let mut attempt = Attempt::first();
        loop {
            let (planned, target) = self
                .plan_insert(session, table, statement.clone(), context, attempt)
                .await?;
            match self.append_planned(&planned, &target, context).await {
                Ok(rows) => return Ok(Outcome::done("INSERT", Some(rows))),
                // Nothing was committed, and the files of the next attempt have other names.
                Err(error) => attempt = attempt.after(error, context)?,
            }
        }
    }

    /// Runs a planned write and commits its files; returns the rows written.
    pub(crate) async fn append_planned(
        &self,
        planned: &Planned,
        target: &Target,
        context: &StatementContext,
    ) -> Result<u64, EngineError> {
        let mut guard = WriteGuard::new(&self.config.stores, &target.table, &target.write_id);
        let files = self.write(planned, context).await?;
        let rows = files.iter().map(|f| f.record_count).sum();
        if !files.is_empty() {
            let done = append(
                target.catalog.as_ref(),
                &target.table,
                files,
                summary(context),
            )
            .await;
            guard.settle(&done);
            done?;
        }
        guard.disarm();
        Ok(rows)
    }

    /// The current version of a table that is to be written to.
    pub(crate) async fn target(
        &self,
        session: &Session,
        table: &Name,
        write_id: String,
    ) -> Result<Target, EngineError> {
        let found = self.find(session, table).await?;
        if found.kind != EntryKind::Table {
            return Err(found.wrong_kind("rows go into the tables that the view reads"));
        }
        let catalog = found.catalog;
        let table = catalog.load_table(&found.ident).await?;
        check_append(&table)?;
        Ok(Target {
            catalog,
            table,
            write_id,
        })
    }

    /// Plans `INSERT`: the query's columns aligned with the table's, a write on top.
    pub(crate) async fn plan_insert(
        &self,
        session: &Session,
        table: &Name,
        statement: ast::Statement,
        context: &StatementContext,
        attempt: Attempt,
    ) -> Result<(Planned, Target), EngineError> {
        let target = self
            .target(session, table, Uuid::now_v7().to_string())
            .await
            .map_err(lookup::no_relation)?;
        let mut planned = self
            .plan(session, statement, context, attempt.placement())
            .await?;
        attempt.prepare(&mut planned.statement);
        let LogicalPlan::Dml(DmlStatement { input, .. }) = planned.logical else {
            return Err(EngineError::internal("INSERT was not planned as a write"));
        };
        let logical = WriteNode::plan(
            Arc::unwrap_or_clone(input),
            target.table.clone(),
            target.write_id.clone(),
        )?;
        Ok((
            Planned {
                statement: planned.statement,
                logical,
            },
            target,
        ))
    }

    /// Runs a planned write and gathers what the writers report.
    async fn write(
        &self,
        planned: &Planned,
        context: &StatementContext,
    ) -> Result<Vec<NewDataFile>, EngineError> {
        let physical = planned
            .statement
            .state
            .create_physical_plan(&planned.logical)
            .await?;
        let mut rows = run(&planned.statement, &physical, context).await?;
        let mut files = vec![];
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let column = batch.column(0).as_string::<i32>();
            for row in 0..column.len() {
                files.push(write::parse_report(column.value(row))?);
            }
        }
        Ok(files)
    }

    pub(crate) async fn create_table(
        &self,
        session: &Session,
        create: CreateTable,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        if create.or_replace {
            return Err(EngineError::unsupported("CREATE OR REPLACE TABLE")
                .with_hint("DROP TABLE IF EXISTS, then CREATE TABLE"));
        }
        let (catalog, ident) = self
            .new_name(session, &create.name, create.temporary)
            .await?;
        let name = FullName {
            catalog: catalog.name().to_owned(),
            schema: ident.namespace.to_string(),
            table: ident.name.clone(),
        };
        let command = if create.query.is_some() {
            "CREATE TABLE AS"
        } else {
            "CREATE TABLE"
        };
        if let Some(kind) = catalog.find(&ident).await? {
            if create.if_not_exists {
                notices::present("42P07", "relation", &name.table);
                return Ok(Outcome::done(command, create.query.is_some().then_some(0)));
            }
            return Err(already_exists(&name, kind));
        }
        let made = if create.query.is_some() {
            self.create_as(session, &create, context).await.map(Some)
        } else {
            let like = match &create.like {
                Some(name) => Some(self.columns_of(session, name).await?),
                None => None,
            };
            let creation = creation(session, &create, ident, like.map(Source::Like))?;
            check_places(&creation, &self.config.roots, catalog.warehouse())?;
            catalog
                .create_table(creation)
                .await
                .map(|_| None)
                .map_err(EngineError::from)
        };
        match made {
            Ok(rows) => Ok(Outcome::done(command, rows)),
            Err(error) if error.kind == ErrorKind::DuplicateTable && create.if_not_exists => {
                Ok(Outcome::done(command, create.query.is_some().then_some(0)))
            }
            Err(error) => Err(error),
        }
    }

    /// The columns of a table or view.
    async fn columns_of(&self, session: &Session, name: &Name) -> Result<SchemaRef, EngineError> {
        let found = self.find(session, name).await?;
        Ok(match found.kind {
            EntryKind::Table => found.catalog.load_table(&found.ident).await?.arrow_schema(),
            EntryKind::View => found.catalog.load_view(&found.ident).await?.arrow_schema(),
        })
    }

    /// CREATE TABLE AS: the table appears with its rows, or not at all.
    async fn create_as(
        &self,
        session: &Session,
        create: &CreateTable,
        context: &StatementContext,
    ) -> Result<u64, EngineError> {
        let mut attempt = Attempt::first();
        let (mut guard, target, staged, files) = loop {
            let (planned, target, staged) = self
                .plan_create_as(session, create, context, attempt)
                .await?;
            let guard = WriteGuard::new(&self.config.stores, &target.table, &target.write_id);
            if !create.with_data {
                break (guard, target, staged, vec![]);
            }
            match self.write(&planned, context).await {
                Ok(files) => break (guard, target, staged, files),
                // Nothing was committed, and the files of the next attempt have other names.
                Err(error) => attempt = attempt.after(error, context)?,
            }
        };
        let rows = files.iter().map(|f| f.record_count).sum();
        let done = create_with_files(target.catalog.as_ref(), staged, files).await;
        guard.settle(&done);
        done?;
        guard.disarm();
        Ok(rows)
    }

    pub(crate) async fn plan_create_as(
        &self,
        session: &Session,
        create: &CreateTable,
        context: &StatementContext,
        attempt: Attempt,
    ) -> Result<(Planned, Target, StagedTable), EngineError> {
        let Some(query) = &create.query else {
            return Err(EngineError::internal("CREATE TABLE without a query"));
        };
        let (catalog, ident) = self
            .new_name(session, &create.name, create.temporary)
            .await?;
        if create.columns.is_empty() {
            headings::refuse_twice(query)?;
        }
        let headings = Headings::of(query);
        let mut planned = self
            .plan(
                session,
                query.as_ref().clone(),
                context,
                attempt.placement(),
            )
            .await?;
        attempt.prepare(&mut planned.statement);
        let named = headings.rename_unique(planned.logical.schema().as_arrow());
        let creation = creation(session, create, ident, Some(Source::Query(named)))?;
        check_places(&creation, &self.config.roots, catalog.warehouse())?;
        let staged = catalog.stage_table(creation).await?;
        let table = staged.table().clone();
        let write_id = Uuid::now_v7().to_string();
        let logical = WriteNode::plan(planned.logical, table.clone(), write_id.clone())?;
        Ok((
            Planned {
                statement: planned.statement,
                logical,
            },
            Target {
                catalog,
                table,
                write_id,
            },
            staged,
        ))
    }
}

/// Properties that name places where a table's files go.
const PATH_PROPERTIES: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.folder-storage.path",
    "write.object-storage.path",
];

/// Refuses to put a table, or parts of it, outside of warehouse and allowed roots.
fn check_places(
    creation: &TableCreation,
    roots: &AllowedRoots,
    warehouse: &str,
) -> Result<(), EngineError> {
    if let Some(place) = &creation.location {
        roots.check_location(place, warehouse)?;
    }
    check_properties(&creation.properties, roots, warehouse)
}

/// Refuses properties that have no meaning, or that put parts of a table outside of warehouse and allowed roots.
pub(crate) fn check_properties(
    properties: &HashMap<String, String>,
    roots: &AllowedRoots,
    warehouse: &str,
) -> Result<(), EngineError> {
    check_path_properties(properties, roots, warehouse)?;
    write::WriteOptions::of(properties).map_err(DataFusionError::from)?;
    Ok(())
}

/// Refuses properties that put parts of a table outside of warehouse and allowed roots.
pub(crate) fn check_path_properties(
    properties: &HashMap<String, String>,
    roots: &AllowedRoots,
    warehouse: &str,
) -> Result<(), EngineError> {
    let places = PATH_PROPERTIES.iter();
    for place in places.filter_map(|key| properties.get(*key)) {
        roots.check_location(place, warehouse)?;
    }
    Ok(())
}

/// Where the columns of a new table come from, if not from its own list.
enum Source {
    /// Its query.
    Query(SchemaRef),
    /// Another table.
    Like(SchemaRef),
}

/// What CREATE TABLE asks of the catalog.
fn creation(
    session: &Session,
    create: &CreateTable,
    ident: TableIdent,
    source: Option<Source>,
) -> Result<TableCreation, EngineError> {
    let schema = match source {
        None => columns(session, &create.columns)?,
        Some(Source::Like(schema)) => alike(&schema),
        Some(Source::Query(query)) if create.columns.is_empty() => nullable(&query),
        Some(Source::Query(query)) => {
            let listed = columns(session, &create.columns)?;
            if listed.fields().len() != query.fields().len() {
                return Err(EngineError::new(
                    ErrorKind::Syntax,
                    format!(
                        "CREATE TABLE lists {} columns, its query has {}",
                        listed.fields().len(),
                        query.fields().len()
                    ),
                ));
            }
            listed
        }
    };
    unique_columns(&schema)?;
    let mut properties = create.properties.clone();
    let version = properties.get("format-version");
    // What is no version is refused by the catalog.
    let version = version.map_or(Some(2), |version| version.trim().parse().ok());
    match check_nanoseconds(schema.fields(), version.unwrap_or(3)) {
        // A query may have them of files, where nobody asked for them.
        Err(error) if create.columns.is_empty() => notices::cut(&error.to_string()),
        checked => checked?,
    }
    if let Some(comment) = &create.comment {
        properties.insert("comment".to_owned(), comment.clone());
    }
    Ok(TableCreation {
        ident,
        schema: Arc::new(schema),
        partition: create.partition.clone(),
        sort: create.sort.clone(),
        location: create
            .location
            .clone()
            .or_else(|| properties.remove("location")),
        properties,
        primary_key: primary_key(create),
    })
}

/// The columns that CREATE TABLE calls PRIMARY KEY, in its list or beside a column.
fn primary_key(create: &CreateTable) -> Vec<String> {
    let beside = create.columns.iter().filter(|column| {
        column
            .options
            .iter()
            .any(|option| matches!(option.option, ast::ColumnOption::PrimaryKey(_)))
    });
    let mut key = create.primary_key.clone();
    key.extend(beside.map(|column| fold(&column.name)));
    key
}

fn columns(session: &Session, columns: &[ast::ColumnDef]) -> Result<Schema, EngineError> {
    let fields = columns
        .iter()
        .map(|column| column_field(session, column))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Schema::new(fields))
}

/// A column as CREATE TABLE or ADD COLUMN defines it.
pub(crate) fn column_field(
    session: &Session,
    column: &ast::ColumnDef,
) -> Result<Field, EngineError> {
    let types = SqlTypes::new(session.settings.get("time_zone"));
    let mut field = types.column_type(&fold(&column.name), &column.data_type)?;
    for option in &column.options {
        field = match &option.option {
            ast::ColumnOption::NotNull | ast::ColumnOption::PrimaryKey(_) => {
                field.with_nullable(false)
            }
            ast::ColumnOption::Null => field,
            ast::ColumnOption::Comment(text) => with_doc(field, text),
            ast::ColumnOption::Default(ast::Expr::Value(value))
                if value.value == ast::Value::Null =>
            {
                field
            }
            other => {
                return Err(
                    EngineError::unsupported(format!("column option \"{other}\""))
                        .with_hint("Iceberg columns take NOT NULL, PRIMARY KEY and COMMENT"),
                );
            }
        };
    }
    Ok(field)
}

fn with_doc(field: Field, text: &str) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(DOC_META_KEY.to_owned(), text.to_owned());
    field.with_metadata(metadata)
}

/// Metadata of a column that is part of its type.
const TYPE_METADATA: &str = "ARROW:extension:name";

/// The columns of a table as another table like it has them.
fn alike(schema: &Schema) -> Schema {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| {
            let mut metadata = f.metadata().clone();
            metadata.retain(|key, _| key == TYPE_METADATA || key == DOC_META_KEY);
            f.as_ref().clone().with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

/// A query's columns as a new table has them: all may be NULL, none keeps foreign metadata.
fn nullable(schema: &Schema) -> Schema {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| {
            let mut metadata = f.metadata().clone();
            metadata.retain(|key, _| key == TYPE_METADATA);
            f.as_ref()
                .clone()
                .with_nullable(true)
                .with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

fn unique_columns(schema: &Schema) -> Result<(), EngineError> {
    let mut seen = std::collections::HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            return Err(EngineError::new(
                ErrorKind::Ambiguous,
                format!("column \"{}\" is there twice", field.name()),
            )
            .with_hint("give one of them another name with AS"));
        }
    }
    Ok(())
}

pub(crate) fn already_exists(name: &FullName, kind: EntryKind) -> EngineError {
    let noun = match kind {
        EntryKind::Table => "table",
        EntryKind::View => "view",
    };
    EngineError::new(
        ErrorKind::DuplicateTable,
        format!("{noun} \"{name}\" already exists"),
    )
    .with_hint("use CREATE TABLE IF NOT EXISTS, or another name")
}

/// System views cannot be written or made.
pub(crate) fn refuse_views(name: &FullName) -> Result<(), EngineError> {
    let folded = name.schema.to_lowercase();
    if folded == SYSTEM_SCHEMA || folded == INFORMATION_SCHEMA {
        return Err(EngineError::new(
            ErrorKind::Denied,
            format!("schema \"{folded}\" is read-only"),
        ));
    }
    Ok(())
}

/// What the snapshot's summary says of the statement that made it.
pub(crate) fn summary(context: &StatementContext) -> HashMap<String, String> {
    HashMap::from([
        ("engine-name".to_owned(), "tarn".to_owned()),
        (
            "engine-version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("tarn.query-id".to_owned(), context.query_id.clone()),
    ])
}

/// After these pauses the files of a failed write are looked for once more.
const LATE_FILES_WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];

/// Removes the files of a write that did not end in a commit.
struct WriteGuard {
    stores: Stores,
    location: String,
    write_id: String,
    armed: bool,
}

impl WriteGuard {
    fn new(stores: &Stores, table: &Table, write_id: &str) -> Self {
        Self {
            stores: stores.clone(),
            location: write::data_location(table),
            write_id: write_id.to_owned(),
            armed: true,
        }
    }

    /// After a commit whose outcome is unknown the files may be part of the table: they stay.
    fn settle<T>(&mut self, done: &Result<T, tarn_catalog::CatalogError>) {
        match done {
            Ok(_) => self.armed = false,
            Err(error) if error.code() == tarn_catalog::ErrorCode::CommitStateUnknown => {
                self.armed = false;
            }
            Err(_) => {}
        }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (stores, location, write_id) = (
            self.stores.clone(),
            self.location.clone(),
            self.write_id.clone(),
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                write::remove_files(&stores, &location, &write_id).await;
                // A task that was cancelled in the middle of an upload may see it end later.
                for wait in LATE_FILES_WAITS {
                    tokio::time::sleep(wait).await;
                    write::remove_files(&stores, &location, &write_id).await;
                }
            });
        }
    }
}
