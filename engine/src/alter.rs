//! ALTER, COMMENT and TRUNCATE: commits of metadata, no data file is read or written.
//!
//! The one exception is SET NOT NULL, which looks for a NULL first.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use tarn_catalog::{
    COMMENT_PROPERTY, ColumnPath, DOC_META_KEY, EntryKind, SchemaChange, Table, TableIdent,
    ViewChange, change_schema, replace_sort_order, truncate, update_properties,
};

use crate::commands::quoted;
use crate::distribute::PlacementWish;
use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::lookup::{self, Found, Lookup, is_undefined};
use crate::names;
use crate::parser::{self, Name, Statement};
use crate::query::run;
use crate::resolve::FullName;
use crate::session::Session;
use crate::statement::{Alter, AlterAction, ColumnChange, Commented};
use crate::writes::{already_exists, check_properties, column_field, refuse_views, summary};

impl Engine {
    pub(crate) async fn alter(
        &self,
        session: &Session,
        alter: Alter,
    ) -> Result<Outcome, EngineError> {
        let done = Outcome::done(
            if alter.view {
                "ALTER VIEW"
            } else {
                "ALTER TABLE"
            },
            None,
        );
        let found = match self.find(session, &alter.name).await {
            Err(error) if alter.if_exists && is_undefined(&error) => {
                crate::notices::missing("relation", &alter.name);
                return Ok(done);
            }
            other => other?,
        };
        if alter.view && found.kind == EntryKind::Table {
            return Err(found.wrong_kind("use ALTER TABLE"));
        }
        match alter.action {
            AlterAction::Owner => {}
            AlterAction::Rename(to) => {
                let schema = found.ident.namespace.to_string();
                let to = FullName::complete(&to, found.catalog.name(), &schema)?;
                self.rename(session, &found, to).await?;
            }
            AlterAction::SetSchema(schema) => {
                let (catalog, namespace) = self.find_schema(session, &schema).await?;
                let to = FullName {
                    catalog: catalog.name().to_owned(),
                    schema: namespace.to_string(),
                    table: found.ident.name.clone(),
                };
                self.rename(session, &found, to).await?;
            }
            AlterAction::SetProperties(set) => self.set_properties(&found, set, vec![]).await?,
            AlterAction::ResetProperties(remove) => {
                self.set_properties(&found, HashMap::new(), remove).await?;
            }
            AlterAction::SortOrder(fields) => {
                if found.kind == EntryKind::View {
                    return Err(found.wrong_kind("rows are in the tables that the view reads"));
                }
                let catalog = found.catalog.as_ref();
                let table = catalog.load_table(&found.ident).await?;
                replace_sort_order(catalog, &table, &fields).await?;
            }
            AlterAction::Columns(changes) => {
                if found.kind == EntryKind::View {
                    return Err(found.wrong_kind("CREATE OR REPLACE VIEW changes its columns"));
                }
                self.change_columns(session, &found, changes).await?;
            }
        }
        Ok(done)
    }

    async fn rename(
        &self,
        session: &Session,
        found: &Found,
        to: FullName,
    ) -> Result<(), EngineError> {
        refuse_views(&to)?;
        let catalog = &found.catalog;
        if to.catalog != catalog.name() {
            return Err(EngineError::unsupported(format!(
                "moving a {} from catalog \"{}\" to \"{}\"",
                found.noun(),
                catalog.name(),
                to.catalog
            ))
            .with_hint("use CREATE TABLE … AS SELECT in the other catalog"));
        }
        let schema = Lookup::of(session).schema(&to.schema)?;
        let namespace = self
            .config
            .catalogs
            .namespace(catalog.as_ref(), &schema)
            .await?;
        if lookup::is_temporary(&schema) && namespace != found.ident.namespace {
            return Err(EngineError::new(
                ErrorKind::InvalidDefinition,
                "nothing can be moved into the temporary schema",
            ));
        }
        let target = TableIdent::new(namespace, to.table.clone());
        let renamed = match found.kind {
            EntryKind::Table => catalog.rename_table(&found.ident, &target).await,
            EntryKind::View => catalog.rename_view(&found.ident, &target).await,
        };
        match renamed.map_err(EngineError::from) {
            Err(error) if error.kind == ErrorKind::DuplicateTable => {
                let kind = catalog.find(&target).await?.unwrap_or(EntryKind::Table);
                Err(already_exists(&to, kind))
            }
            other => other,
        }
    }

    async fn set_properties(
        &self,
        found: &Found,
        set: HashMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), EngineError> {
        let catalog = found.catalog.as_ref();
        if found.kind == EntryKind::View {
            let definition = None;
            let change = ViewChange {
                definition,
                set,
                remove,
            };
            catalog.change_view(&found.ident, change).await?;
            return Ok(());
        }
        check_properties(&set, &self.config.roots, catalog.warehouse())?;
        if set.contains_key("location") {
            return Err(EngineError::unsupported("changing the location of a table")
                .with_hint("write.data.path tells where new data files go"));
        }
        let table = catalog.load_table(&found.ident).await?;
        update_properties(catalog, &table, set, remove).await?;
        Ok(())
    }

    async fn change_columns(
        &self,
        session: &Session,
        found: &Found,
        changes: Vec<ColumnChange>,
    ) -> Result<(), EngineError> {
        let catalog = found.catalog.as_ref();
        let table = catalog.load_table(&found.ident).await?;
        let name = found.full_name();
        let mut wanted = vec![];
        let mut required = vec![];
        let schema = table.arrow_schema();
        let mut columns = Columns::of(&name, &schema);
        for change in changes {
            if let Some(change) = schema_change(session, change, &mut columns)? {
                if let SchemaChange::Required {
                    column,
                    required: true,
                } = &change
                {
                    let [column] = &column[..] else {
                        return Err(EngineError::unsupported(format!(
                            "SET NOT NULL of \"{}\", which is inside of a column",
                            column.join(".")
                        )));
                    };
                    required.push(column.clone());
                }
                wanted.push(change);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if !required.is_empty() {
            self.refuse_nulls(session, &name, &table, &required).await?;
        }
        // What was looked at must be what is there when the change is made.
        change_schema(catalog, &table, &wanted, !required.is_empty()).await?;
        Ok(())
    }

    /// Looks for a NULL in columns that may not have any from now on.
    async fn refuse_nulls(
        &self,
        session: &Session,
        name: &FullName,
        table: &Table,
        columns: &[String],
    ) -> Result<(), EngineError> {
        let schema = table.arrow_schema();
        for column in columns {
            // A column that this statement adds fits only a table without rows.
            if schema.field_with_name(column).is_err() {
                continue;
            }
            let rows = self
                .count(
                    session,
                    &format!(
                        "SELECT 1 FROM {}.{}.{} WHERE {} IS NULL LIMIT 1",
                        quoted(&name.catalog),
                        quoted(&name.schema),
                        quoted(&name.table),
                        quoted(column)
                    ),
                )
                .await?;
            if rows > 0 {
                return Err(EngineError::new(
                    ErrorKind::NotNull,
                    format!("column \"{column}\" of table \"{name}\" contains NULL values"),
                ));
            }
        }
        Ok(())
    }

    /// How many rows a query of ours gives, in this process.
    async fn count(&self, session: &Session, sql: &str) -> Result<usize, EngineError> {
        let Statement::Query(query) = parser::parse(sql)? else {
            return Err(EngineError::internal("not a query"));
        };
        let context = StatementContext::unobserved();
        let wish = Some(PlacementWish::Never);
        let planned = self.plan(session, *query, &context, wish).await?;
        let state = &planned.statement.state;
        let physical = state.create_physical_plan(&planned.logical).await?;
        let mut rows = run(&planned.statement, &physical, &context).await?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows();
        }
        Ok(count)
    }

    pub(crate) async fn comment(
        &self,
        session: &Session,
        on: Commented,
        name: &Name,
        text: Option<String>,
    ) -> Result<Outcome, EngineError> {
        match on {
            Commented::Schema => {
                let (catalog, namespace) = self.find_schema(session, name).await?;
                let (set, remove) = comment_property(text);
                catalog.update_namespace(&namespace, set, remove).await?;
            }
            Commented::Table | Commented::View => {
                let found = self.find(session, name).await?;
                if (on == Commented::View) != (found.kind == EntryKind::View) {
                    return Err(found.wrong_kind("COMMENT ON the other kind"));
                }
                let (set, remove) = comment_property(text);
                self.set_properties(&found, set, remove).await?;
            }
            Commented::Column => self.comment_column(session, name, text).await?,
        }
        Ok(Outcome::done("COMMENT", None))
    }

    async fn comment_column(
        &self,
        session: &Session,
        name: &Name,
        text: Option<String>,
    ) -> Result<(), EngineError> {
        let Some((column, table @ [_, ..])) = name.split_last() else {
            return Err(EngineError::new(
                ErrorKind::Syntax,
                "COMMENT ON COLUMN wants table.column",
            ));
        };
        let found = self.find(session, &table.to_vec()).await?;
        let catalog = found.catalog.as_ref();
        if found.kind == EntryKind::Table {
            let table = catalog.load_table(&found.ident).await?;
            let columns = column_names(&table.arrow_schema());
            let column = vec![existing(&found.full_name(), column, &columns)?];
            let change = SchemaChange::Comment { column, text };
            change_schema(catalog, &table, &[change], false).await?;
            return Ok(());
        }
        let view = catalog.load_view(&found.ident).await?;
        let schema = view.arrow_schema();
        let column = existing(&found.full_name(), column, &column_names(&schema))?;
        let Some(mut definition) = view.definition() else {
            return Err(EngineError::unsupported(
                "a comment on a column of another engine's view",
            ));
        };
        definition.schema = Arc::new(with_comment(&schema, &column, text.as_deref()));
        let change = ViewChange {
            definition: Some(definition),
            ..ViewChange::default()
        };
        catalog.change_view(&found.ident, change).await?;
        Ok(())
    }

    pub(crate) async fn truncate(
        &self,
        session: &Session,
        names: &[Name],
        delete: bool,
    ) -> Result<Outcome, EngineError> {
        // All of them are found before the first is emptied.
        let mut tables = vec![];
        for name in names {
            let found = self.find(session, name).await;
            let found = if delete {
                found.map_err(lookup::no_relation)?
            } else {
                found?
            };
            if found.kind == EntryKind::View {
                return Err(found.wrong_kind("rows are in the tables that the view reads"));
            }
            tables.push((found.catalog.load_table(&found.ident).await?, found));
        }
        let mut rows = 0_u64;
        for (table, found) in tables {
            if delete {
                rows += self.rows_of(session, &table, &found.full_name()).await?;
            }
            let notes = summary(&StatementContext::unobserved());
            truncate(found.catalog.as_ref(), &table, notes).await?;
        }
        Ok(if delete {
            Outcome::done("DELETE", Some(rows))
        } else {
            Outcome::done("TRUNCATE TABLE", None)
        })
    }

    /// How many rows a table has: from its metadata if that is exact, else by reading it.
    async fn rows_of(
        &self,
        session: &Session,
        table: &Table,
        name: &FullName,
    ) -> Result<u64, EngineError> {
        let Some(snapshot) = table.current_snapshot() else {
            return Ok(0);
        };
        let number = |key: &str| snapshot.summary.get(key)?.parse::<u64>().ok();
        if let (Some(rows), Some(0)) = (number("total-records"), number("total-delete-files")) {
            return Ok(rows);
        }
        let sql = format!(
            "SELECT 1 FROM {}.{}.{}",
            quoted(&name.catalog),
            quoted(&name.schema),
            quoted(&name.table)
        );
        Ok(self.count(session, &sql).await? as u64)
    }
}

fn comment_property(text: Option<String>) -> (HashMap<String, String>, Vec<String>) {
    match text {
        Some(text) => ([(COMMENT_PROPERTY.to_owned(), text)].into(), vec![]),
        None => (HashMap::new(), vec![COMMENT_PROPERTY.to_owned()]),
    }
}

fn with_comment(schema: &Schema, column: &str, text: Option<&str>) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut metadata = field.metadata().clone();
            if field.name() == column {
                metadata.remove(DOC_META_KEY);
                if let Some(text) = text {
                    metadata.insert(DOC_META_KEY.to_owned(), text.to_owned());
                }
            }
            field.as_ref().clone().with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

fn column_names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// The column that `wanted` means: exactly, else case-insensitively if only one fits.
fn existing(table: &FullName, wanted: &str, columns: &[String]) -> Result<String, EngineError> {
    if let Some(found) = names::find(wanted, columns) {
        return Ok(found.to_owned());
    }
    let error = EngineError::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{wanted}\" of table \"{table}\" does not exist"),
    );
    Err(
        match names::nearest(wanted, columns.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
            None => error.with_hint(format!("columns: {}", names::listing(columns, 20))),
        },
    )
}

/// The columns of a table while a statement changes them.
struct Columns<'a> {
    table: &'a FullName,
    names: Vec<String>,
    schema: &'a Schema,
}

impl<'a> Columns<'a> {
    fn of(table: &'a FullName, schema: &'a Schema) -> Self {
        Self {
            table,
            names: column_names(schema),
            schema,
        }
    }

    /// The column that `path` means. Of what is inside, names that are not there stay as they are typed.
    fn path(&self, path: &[String]) -> Result<ColumnPath, EngineError> {
        let Some((head, inside)) = path.split_first() else {
            return Err(EngineError::new(ErrorKind::Syntax, "a column has no name"));
        };
        let head = existing(self.table, head, &self.names)?;
        let mut parts = self
            .schema
            .field_with_name(&head)
            .map(parts)
            .unwrap_or_default();
        let mut out = vec![head];
        for name in inside {
            let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
            let name = names::find(name, &names).unwrap_or(name).to_owned();
            let next = parts.iter().find(|(known, _)| *known == name);
            parts = next
                .map(|(_, field)| self::parts(field))
                .unwrap_or_default();
            out.push(name);
        }
        Ok(out)
    }

    /// Whether there is what `path` means.
    fn has(&self, path: &[String]) -> bool {
        match path {
            [] => true,
            [column] => names::find(column, &self.names).is_some(),
            [column, inside @ ..] => {
                let mut field = names::find(column, &self.names)
                    .and_then(|column| self.schema.field_with_name(column).ok().cloned());
                for name in inside {
                    let parts = field.as_ref().map(parts).unwrap_or_default();
                    let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
                    let found = names::find(name, &names).map(str::to_owned);
                    let part = parts
                        .into_iter()
                        .find(|(name, _)| Some(name) == found.as_ref());
                    field = part.map(|(_, field)| field.as_ref().clone());
                }
                field.is_some()
            }
        }
    }
}

/// What is inside of a column, by the names that statements have for it.
fn parts(field: &Field) -> Vec<(String, FieldRef)> {
    match field.data_type() {
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| (field.name().clone(), Arc::clone(field)))
            .collect(),
        DataType::List(element) => vec![("element".to_owned(), Arc::clone(element))],
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => ["key", "value"]
                .into_iter()
                .zip(pair)
                .map(|(name, field)| (name.to_owned(), Arc::clone(field)))
                .collect(),
            _ => vec![],
        },
        _ => vec![],
    }
}

/// What the catalog has to do for a change of a column; `None` if there is nothing to do. `columns` are
/// the columns there are by then.
fn schema_change(
    session: &Session,
    change: ColumnChange,
    columns: &mut Columns<'_>,
) -> Result<Option<SchemaChange>, EngineError> {
    Ok(Some(match change {
        ColumnChange::Add {
            parent,
            column,
            if_not_exists,
        } => {
            let field = column_field(session, &column)?;
            let mut path = parent.clone();
            path.push(field.name().clone());
            if columns.has(&path) {
                if if_not_exists {
                    return Ok(None);
                }
                return Err(EngineError::new(
                    ErrorKind::DuplicateColumn,
                    format!(
                        "column \"{}\" of table \"{}\" already exists",
                        path.join("."),
                        columns.table
                    ),
                ));
            }
            let parent = if parent.is_empty() {
                columns.names.push(field.name().clone());
                parent
            } else {
                columns.path(&parent)?
            };
            SchemaChange::Add { parent, field }
        }
        ColumnChange::Drop { column, if_exists } => {
            if if_exists && !columns.has(&column) {
                return Ok(None);
            }
            let column = columns.path(&column)?;
            if let [column] = &column[..] {
                columns.names.retain(|other| other != column);
            }
            SchemaChange::Drop(column)
        }
        ColumnChange::Rename { column, to } => {
            let column = columns.path(&column)?;
            if let [column] = &column[..] {
                columns.names.retain(|other| other != column);
                columns.names.push(to.clone());
            }
            SchemaChange::Rename { column, to }
        }
        ColumnChange::Type { column, to } => {
            let column = columns.path(&column)?;
            let definition = ast::ColumnDef {
                name: ast::Ident::with_quote('"', column.join(".")),
                data_type: to,
                options: vec![],
            };
            let to = column_field(session, &definition)?;
            SchemaChange::Type { column, to }
        }
        ColumnChange::NotNull { column, required } => SchemaChange::Required {
            column: columns.path(&column)?,
            required,
        },
    }))
}
