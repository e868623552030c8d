//! Statements that are neither queries nor writes: schemas, tables by name, SHOW, USE, SET.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use tarn_catalog::{
    Catalog, DOC_META_KEY, EntryKind, Namespace, SortOrder, Table, TableIdent, Transform, View,
    iceberg_type_name,
};

use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::functions;
use crate::lookup::{Found, Lookup, is_temporary};
use crate::names;
use crate::notices;
use crate::parser::{self, Name, Statement};
use crate::resolve::{FullName, INFORMATION_SCHEMA, SYSTEM_SCHEMA, namespace_of};
use crate::session::Session;
use crate::settings::{self, SETTINGS};
use crate::types::sql_type_name;

impl Engine {
    pub(crate) async fn command(
        &self,
        session: &mut Session,
        statement: Statement,
    ) -> Result<Outcome, EngineError> {
        match statement {
            Statement::CreateSchema {
                name,
                if_not_exists,
                properties,
            } => {
                self.create_schema(session, &name, if_not_exists, properties)
                    .await
            }
            Statement::DropSchema {
                names,
                if_exists,
                cascade,
            } => self.drop_schemas(session, &names, if_exists, cascade).await,
            Statement::DropTable {
                names,
                if_exists,
                purge,
            } => {
                for name in &names {
                    self.drop_table(session, name, if_exists, purge).await?;
                }
                Ok(Outcome::done("DROP TABLE", None))
            }
            Statement::DropView { names, if_exists } => {
                for name in &names {
                    self.drop_view(session, name, if_exists).await?;
                }
                Ok(Outcome::done("DROP VIEW", None))
            }
            Statement::Alter(alter) => self.alter(session, *alter).await,
            Statement::Comment { on, name, text } => self.comment(session, on, &name, text).await,
            Statement::Truncate { names, delete } => self.truncate(session, &names, delete).await,
            Statement::Maintain { command, names } => {
                for name in &names {
                    self.find(session, name).await?;
                }
                notices::idle(command, "statistics are exact with every commit");
                Ok(Outcome::done(command, None))
            }
            Statement::ShowColumns(name) => self.show_columns(session, &name).await,
            Statement::ShowCatalogs { like } => {
                let names = self.config.catalogs.names();
                one_column("catalog", filtered(names, like.as_deref()))
            }
            Statement::ShowSchemas { catalog, like } => {
                let catalog = catalog.map_or_else(|| session.catalog.clone(), |n| n.join("."));
                let catalog = self.config.catalogs.get(&catalog)?;
                let names = schema_names(catalog.as_ref()).await?;
                one_column("schema", filtered(names, like.as_deref()))
            }
            Statement::ShowTables { schema, like } => {
                self.show_tables(session, schema.as_ref(), like.as_deref())
                    .await
            }
            Statement::ShowCreateTable(name) => {
                let (found, table) = self.find_table(session, &name).await?;
                let text = create_statement(&found.full_name(), &table)?;
                one_column("create_table", vec![text])
            }
            Statement::ShowViews { schema, like } => {
                self.show_views(session, schema.as_ref(), like.as_deref())
                    .await
            }
            Statement::ShowCreateView(name) => {
                let (found, view) = self.find_view(session, &name).await?;
                let text = view_statement(&found.full_name(), &view)?;
                one_column("create_view", vec![text])
            }
            Statement::ShowFunctions { like } => one_column(
                "function",
                filtered(functions::names(self.base()), like.as_deref()),
            ),
            Statement::ShowSetting(name) => show_setting(session, name.as_deref()),
            Statement::Use(name) => self.use_schema(session, &name).await,
            Statement::Set { name, value } => {
                self.set(session, &name, value.as_deref()).await?;
                Ok(Outcome::done("SET", None))
            }
            Statement::Reset(name) => self.reset(session, name.as_deref()).await,
            Statement::Admin(admin) => Box::pin(self.admin(session, *admin)).await,
            Statement::Call(call) => self.call(session, call).await,
            Statement::Query(_)
            | Statement::Insert { .. }
            | Statement::CreateTable(_)
            | Statement::CreateView(_)
            | Statement::CopyTo(_)
            | Statement::Explain(_) => Err(EngineError::internal("not a command")),
        }
    }

    async fn reset(
        &self,
        session: &mut Session,
        name: Option<&str>,
    ) -> Result<Outcome, EngineError> {
        if let Some(name) = name {
            self.set(session, name, None).await?;
        } else {
            session.settings.reset_all();
            self.set(session, "search_path", None).await?;
        }
        Ok(Outcome::done("RESET", None))
    }

    async fn create_schema(
        &self,
        session: &Session,
        name: &Name,
        if_not_exists: bool,
        properties: HashMap<String, String>,
    ) -> Result<Outcome, EngineError> {
        let (catalog, schema) = self.schema_target(session, name)?;
        if [SYSTEM_SCHEMA, INFORMATION_SCHEMA].contains(&schema.to_lowercase().as_str()) {
            return Err(EngineError::new(
                ErrorKind::DuplicateSchema,
                format!("schema \"{schema}\" is built in"),
            ));
        }
        if let Some(location) = properties.get("location") {
            self.config
                .roots
                .check_location(location, catalog.warehouse())?;
        }
        let made = catalog
            .create_namespace(&namespace_of(&schema), properties)
            .await
            .map_err(EngineError::from);
        match made {
            Err(error) if error.kind == ErrorKind::DuplicateSchema => {
                if if_not_exists {
                    notices::present("42P06", "schema", &schema);
                    return Ok(Outcome::done("CREATE SCHEMA", None));
                }
                Err(EngineError::new(
                    ErrorKind::DuplicateSchema,
                    format!(
                        "schema \"{schema}\" already exists in catalog \"{}\"",
                        catalog.name()
                    ),
                )
                .with_hint("use CREATE SCHEMA IF NOT EXISTS"))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Outcome::done("CREATE SCHEMA", None)),
        }
    }

    /// Catalog and schema of `[catalog.]schema`; a first part that is no catalog begins a nested one.
    fn schema_target(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Arc<dyn Catalog>, String), EngineError> {
        match name.as_slice() {
            [schema] => Ok((
                Arc::clone(self.config.catalogs.get(&session.catalog)?),
                schema.clone(),
            )),
            [catalog, rest @ ..] => Ok((
                Arc::clone(self.config.catalogs.get(catalog)?),
                rest.join("."),
            )),
            [] => Err(EngineError::new(ErrorKind::Syntax, "empty schema name")),
        }
    }

    pub(crate) async fn find_schema(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Arc<dyn Catalog>, Namespace), EngineError> {
        let (catalog, schema) = self.schema_target(session, name)?;
        let schema = Lookup::of(session).schema(&schema)?;
        let namespace = self
            .config
            .catalogs
            .namespace(catalog.as_ref(), &schema)
            .await?;
        Ok((catalog, namespace))
    }

    async fn drop_schemas(
        &self,
        session: &Session,
        names: &[Name],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome, EngineError> {
        for name in names {
            self.drop_schema(session, name, if_exists, cascade).await?;
        }
        Ok(Outcome::done("DROP SCHEMA", None))
    }

    async fn drop_schema(
        &self,
        session: &Session,
        name: &Name,
        if_exists: bool,
        cascade: bool,
    ) -> Result<(), EngineError> {
        let (catalog, namespace) = match self.find_schema(session, name).await {
            Err(error) if error.kind == ErrorKind::UndefinedSchema && if_exists => {
                notices::missing("schema", name);
                return Ok(());
            }
            other => other?,
        };
        let tables = catalog.list_tables(&namespace).await?;
        let views = catalog.list_views(&namespace).await?;
        let empty = tables.is_empty() && views.is_empty();
        if !cascade && !empty {
            let held = |what: &str, names: &[String]| {
                (!names.is_empty()).then(|| format!("{what}: {}", names::listing(names, 10)))
            };
            let contents: Vec<_> = [held("tables", &tables), held("views", &views)]
                .into_iter()
                .flatten()
                .collect();
            return Err(EngineError::new(
                ErrorKind::NotEmpty,
                format!(
                    "schema \"{namespace}\" is not empty; {}",
                    contents.join("; ")
                ),
            )
            .with_hint("drop what is in it first, or use DROP SCHEMA … CASCADE"));
        }
        for view in views {
            let ident = TableIdent::new(namespace.clone(), view);
            catalog.drop_view(&ident).await?;
        }
        for table in tables {
            let ident = TableIdent::new(namespace.clone(), table);
            catalog.drop_table(&ident, false).await?;
        }
        Ok(catalog.drop_namespace(&namespace).await?)
    }

    /// The current version of a table.
    pub(crate) async fn find_table(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Found, Table), EngineError> {
        let found = self.find(session, name).await?;
        if found.kind != EntryKind::Table {
            return Err(found.wrong_kind("SHOW CREATE VIEW shows what it reads"));
        }
        let table = found.catalog.load_table(&found.ident).await?;
        Ok((found, table))
    }

    /// Drops a table. Its metadata is not read: a damaged table can be dropped.
    async fn drop_table(
        &self,
        session: &Session,
        name: &Name,
        if_exists: bool,
        purge: bool,
    ) -> Result<(), EngineError> {
        let found = match self.find(session, name).await {
            Err(error)
                if if_exists
                    && matches!(
                        error.kind,
                        ErrorKind::UndefinedTable | ErrorKind::UndefinedSchema
                    ) =>
            {
                notices::missing("table", name);
                return Ok(());
            }
            other => other?,
        };
        if found.kind != EntryKind::Table {
            return Err(found.wrong_kind("use DROP VIEW"));
        }
        // Nobody else can have a use for the files of a temporary table.
        let purge = purge || is_temporary(&found.ident.namespace.to_string());
        match found
            .catalog
            .drop_table(&found.ident, purge)
            .await
            .map_err(EngineError::from)
        {
            Err(error) if if_exists && error.kind == ErrorKind::UndefinedTable => Ok(()),
            other => other,
        }
    }

    async fn show_columns(&self, session: &Session, name: &Name) -> Result<Outcome, EngineError> {
        let full = FullName::complete(name, &session.catalog, &session.schema)?;
        if full.schema.eq_ignore_ascii_case(SYSTEM_SCHEMA)
            && let Some(batch) = self.config.system.read(&full.table)?
        {
            return describe(&batch.schema(), |_| None);
        }
        let found = match self.find(session, name).await {
            // A version of a table, or one of its metadata tables.
            Err(error) if error.kind == ErrorKind::Unsupported => {
                let query = format!(
                    "SELECT * FROM {}",
                    name.iter()
                        .map(|part| quoted(part))
                        .collect::<Vec<_>>()
                        .join(".")
                );
                return match parser::parse(&query)? {
                    Statement::Query(query) => {
                        let context = StatementContext::unobserved();
                        let planned = Box::pin(self.plan(session, *query, &context, None)).await?;
                        describe(planned.logical.schema().as_arrow(), |_| None)
                    }
                    _ => Err(error),
                };
            }
            found => found?,
        };
        if found.kind == EntryKind::View {
            let view = found.catalog.load_view(&found.ident).await?;
            return describe(&view.arrow_schema(), |_| None);
        }
        let table = found.catalog.load_table(&found.ident).await?;
        let partition = table.partition_spec().clone();
        describe(&table.arrow_schema(), |field| {
            partition
                .fields
                .iter()
                .find(|p| p.source_column.as_deref() == Some(field.name()))
                .map(|p| transform_sql(p.transform, field.name()))
        })
    }

    async fn show_tables(
        &self,
        session: &Session,
        schema: Option<&Name>,
        like: Option<&str>,
    ) -> Result<Outcome, EngineError> {
        let own = vec![session.schema.clone()];
        let name = schema.unwrap_or(&own);
        if let [.., last] = name.as_slice()
            && last.eq_ignore_ascii_case(SYSTEM_SCHEMA)
        {
            let names = self.config.system.names();
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            return one_column("table", filtered(names, like));
        }
        let (catalog, namespace) = self.find_schema(session, name).await?;
        let mut tables = catalog.list_tables(&namespace).await?;
        tables.extend(catalog.list_views(&namespace).await?);
        tables.sort();
        one_column("table", filtered(tables, like))
    }

    async fn show_views(
        &self,
        session: &Session,
        schema: Option<&Name>,
        like: Option<&str>,
    ) -> Result<Outcome, EngineError> {
        let own = vec![session.schema.clone()];
        let (catalog, namespace) = self.find_schema(session, schema.unwrap_or(&own)).await?;
        let views = catalog.list_views(&namespace).await?;
        one_column("view", filtered(views, like))
    }

    async fn use_schema(&self, session: &mut Session, name: &Name) -> Result<Outcome, EngineError> {
        let (catalog, schema) = match name.as_slice() {
            // `USE CATALOG c` comes as [c, ""].
            [catalog, schema] if schema.is_empty() => (catalog.clone(), None),
            [one] => {
                let catalogs = self.config.catalogs.names();
                let schema = self.find_schema(session, name).await;
                match (schema, names::find(one, &catalogs)) {
                    (Ok(_), _) => (session.catalog.clone(), Some(one.clone())),
                    (Err(_), Some(catalog)) => (catalog.to_owned(), None),
                    (Err(error), None) => return Err(error),
                }
            }
            [catalog, rest @ ..] => (catalog.clone(), Some(rest.join("."))),
            [] => return Err(EngineError::new(ErrorKind::Syntax, "empty name")),
        };
        let found = self.config.catalogs.get(&catalog)?;
        let wanted = schema.unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
        let namespace = self
            .config
            .catalogs
            .namespace(found.as_ref(), &wanted)
            .await?;
        found.name().clone_into(&mut session.catalog);
        session.schema = namespace.to_string();
        session.path.clear();
        Ok(Outcome::done("USE", None))
    }
}

/// Schema of a session that has chosen none.
const DEFAULT_SCHEMA: &str = "main";

impl Engine {
    /// `SET` and `RESET` (no value) of one setting; the search path is the session's schemas.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSetting`] or [`ErrorKind::InvalidParameter`].
    pub async fn set(
        &self,
        session: &mut Session,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), EngineError> {
        let setting = settings::find(name)?;
        if setting.name != "search_path" {
            return match value {
                Some(value) => session.settings.set(name, value),
                None => session.settings.reset(name),
            };
        }
        let path = schemas_of(value.unwrap_or(setting.default));
        // As in PostgreSQL, schemas that are not there are passed over. What tools call `public` is
        // the default schema where nobody made one of that name.
        let mut first = None;
        for schema in &path {
            let name = vec![schema.clone()];
            if first.is_none() && self.find_schema(session, &name).await.is_ok() {
                first = Some(schema.clone());
            }
        }
        let first = match first {
            Some(first) => first,
            None if path.iter().any(|schema| schema == "public") => DEFAULT_SCHEMA.to_owned(),
            None => path
                .first()
                .cloned()
                .unwrap_or_else(|| setting.default.to_owned()),
        };
        session.path = path.into_iter().filter(|other| *other != first).collect();
        session.schema = first;
        Ok(())
    }
}

/// The schemas of a search path; those that are always searched, and the user's own, are left out.
fn schemas_of(path: &str) -> Vec<String> {
    const IMPLIED: [&str; 3] = ["$user", "pg_catalog", "pg_temp"];
    path.split(',')
        .map(|part| part.trim().trim_matches('"'))
        .filter(|part| !part.is_empty() && !IMPLIED.contains(part))
        .map(str::to_owned)
        .collect()
}

impl Session {
    /// A setting as `SHOW` shows it.
    pub fn shown(&self, name: &str) -> String {
        if name == "search_path" {
            let path = self.search_path();
            let shown: Vec<String> = path.iter().map(|schema| quoted(schema)).collect();
            return shown.join(", ");
        }
        self.settings.get(name).to_owned()
    }
}

fn show_setting(session: &Session, name: Option<&str>) -> Result<Outcome, EngineError> {
    if let Some(name) = name {
        let setting = settings::find(name)?;
        return one_column(setting.name, vec![session.shown(setting.name)]);
    }
    let column = |f: fn(&settings::Setting) -> &str| -> ArrayRef {
        Arc::new(SETTINGS.iter().map(|s| Some(f(s))).collect::<StringArray>())
    };
    let values: StringArray = SETTINGS
        .iter()
        .map(|s| Some(session.shown(s.name)))
        .collect();
    let batch = RecordBatch::try_from_iter(vec![
        ("name", column(|s| s.name)),
        ("setting", Arc::new(values) as ArrayRef),
        ("description", column(|s| s.description)),
    ])?;
    Ok(Outcome::rows("SHOW", batch))
}

async fn schema_names(catalog: &dyn Catalog) -> Result<Vec<String>, EngineError> {
    let mut names: Vec<String> = catalog
        .list_namespaces()
        .await?
        .iter()
        .map(ToString::to_string)
        .filter(|name| !is_temporary(name))
        .collect();
    names.push(INFORMATION_SCHEMA.to_owned());
    names.push(SYSTEM_SCHEMA.to_owned());
    names.sort();
    Ok(names)
}

fn one_column(name: &str, values: Vec<String>) -> Result<Outcome, EngineError> {
    let schema = Schema::new(vec![Field::new(name, DataType::Utf8, false)]);
    let array = StringArray::from(values);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(array)])?;
    Ok(Outcome::rows("SHOW", batch))
}

/// Keeps the names that a SQL pattern (`%`, `_`, `\` escapes) matches.
fn filtered(names: Vec<String>, like: Option<&str>) -> Vec<String> {
    match like {
        None => names,
        Some(pattern) => {
            let pattern: Vec<char> = pattern.chars().collect();
            names
                .into_iter()
                .filter(|name| matches(&pattern, &name.chars().collect::<Vec<_>>()))
                .collect()
        }
    }
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ['_', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        ['\\', c, rest @ ..] | [c, rest @ ..] => {
            text.first() == Some(c) && matches(rest, &text[1..])
        }
    }
}

fn describe(
    schema: &Schema,
    partition: impl Fn(&Field) -> Option<String>,
) -> Result<Outcome, EngineError> {
    let fields = schema.fields();
    let text = |f: &dyn Fn(&Field) -> Option<String>| -> ArrayRef {
        Arc::new(fields.iter().map(|field| f(field)).collect::<StringArray>())
    };
    let nullable: BooleanArray = fields.iter().map(|f| Some(f.is_nullable())).collect();
    let batch = RecordBatch::try_from_iter_with_nullable(vec![
        ("column_name", text(&|f| Some(f.name().clone())), false),
        (
            "data_type",
            text(&|f| Some(sql_type_name(f.data_type()))),
            false,
        ),
        ("is_nullable", Arc::new(nullable) as ArrayRef, false),
        ("partitioning", text(&|f| partition(f)), true),
        (
            "comment",
            text(&|f| f.metadata().get(DOC_META_KEY).cloned()),
            true,
        ),
    ])?;
    Ok(Outcome::rows("DESCRIBE", batch))
}

/// A transform as CREATE TABLE spells it.
fn transform_sql(transform: Transform, column: &str) -> String {
    let column = quoted(column);
    match transform {
        Transform::Identity => column,
        Transform::Bucket(n) => format!("bucket({n}, {column})"),
        Transform::Truncate(n) => format!("truncate({n}, {column})"),
        other => format!("{other}({column})"),
    }
}

/// A sort order as CREATE TABLE spells it.
fn order_sql(order: &SortOrder) -> String {
    let fields = order.fields.iter().filter_map(|field| {
        let column = transform_sql(field.transform, field.source_column.as_ref()?);
        let direction = if field.descending { "DESC" } else { "ASC" };
        let nulls = if field.nulls_first { "FIRST" } else { "LAST" };
        Some(format!("{column} {direction} NULLS {nulls}"))
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// Quotes a name unless it is a plain lower-case word.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .enumerate()
        .all(|(i, c)| c == '_' || c.is_ascii_lowercase() || (i > 0 && c.is_ascii_digit()));
    if plain && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The statement that makes such a table, for SHOW CREATE TABLE.
fn create_statement(name: &FullName, table: &Table) -> Result<String, EngineError> {
    use std::fmt::Write as _;
    let mut out = String::new();
    let fail = |_| EngineError::internal("formatting failed");
    writeln!(
        out,
        "CREATE TABLE {}.{}.{} (",
        quoted(&name.catalog),
        quoted(&name.schema),
        quoted(&name.table)
    )
    .map_err(fail)?;
    let schema = table.arrow_schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut line = format!("  {} {}", quoted(field.name()), column_sql(field));
            if !field.is_nullable() {
                line.push_str(" NOT NULL");
            }
            if let Some(doc) = field.metadata().get(DOC_META_KEY) {
                line.push_str(" COMMENT ");
                line.push_str(&literal(doc));
            }
            line
        })
        .collect();
    write!(out, "{}\n)", columns.join(",\n")).map_err(fail)?;
    let partition: Vec<String> = table
        .partition_spec()
        .fields
        .iter()
        .filter_map(|p| {
            p.source_column
                .as_ref()
                .map(|column| transform_sql(p.transform, column))
        })
        .collect();
    if !partition.is_empty() {
        write!(out, "\nPARTITIONED BY ({})", partition.join(", ")).map_err(fail)?;
    }
    if let Some(order) = table.sort_order() {
        write!(out, "\nORDER BY ({})", order_sql(&order)).map_err(fail)?;
    }
    if let Some(comment) = table.comment() {
        write!(out, "\nCOMMENT {}", literal(comment)).map_err(fail)?;
    }
    write!(out, "\nLOCATION {}", literal(table.location())).map_err(fail)?;
    let mut properties: Vec<String> = table
        .properties()
        .iter()
        .filter(|(key, _)| key.as_str() != "comment")
        .map(|(key, value)| format!("  {} = {}", literal(key), literal(value)))
        .collect();
    properties.push(format!("  'format-version' = '{}'", table.format_version()));
    properties.sort();
    write!(out, "\nWITH (\n{}\n)", properties.join(",\n")).map_err(fail)?;
    Ok(out)
}

/// The statement that makes such a view, for SHOW CREATE VIEW.
fn view_statement(name: &FullName, view: &View) -> Result<String, EngineError> {
    let text = view.sql().ok_or_else(|| {
        EngineError::unsupported(format!("view \"{name}\" in the SQL of another engine"))
    })?;
    let schema = view.arrow_schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let comment = field.metadata().get(DOC_META_KEY);
            let comment = comment.map(|doc| format!(" COMMENT {}", literal(doc)));
            format!("  {}{}", quoted(field.name()), comment.unwrap_or_default())
        })
        .collect();
    let comment = view
        .comment()
        .map(|comment| format!("\nCOMMENT {}", literal(comment)));
    Ok(format!(
        "CREATE VIEW {}.{}.{} (\n{}\n){} AS\n{text}",
        quoted(&name.catalog),
        quoted(&name.schema),
        quoted(&name.table),
        columns.join(",\n"),
        comment.unwrap_or_default()
    ))
}

/// A column's type so that CREATE TABLE reads it back; Iceberg's own name where SQL has none.
fn column_sql(field: &Field) -> String {
    match field.data_type() {
        DataType::FixedSizeBinary(n) if *n != 16 => iceberg_type_name(field),
        other => sql_type_name(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns_match_as_in_sql() {
        let names = || {
            vec![
                "orders".to_owned(),
                "order_items".to_owned(),
                "x".to_owned(),
            ]
        };
        assert_eq!(filtered(names(), Some("order%")).len(), 2);
        assert_eq!(filtered(names(), Some("order\\_%")), ["order_items"]);
        assert_eq!(filtered(names(), Some("_")), ["x"]);
        assert_eq!(filtered(names(), None).len(), 3);
    }

    #[test]
    fn the_search_path_leaves_out_what_is_implied() {
        assert_eq!(
            schemas_of("\"$user\", Sales, \"public\", pg_catalog"),
            ["Sales", "public"]
        );
        assert!(schemas_of("\"$user\"").is_empty());
    }

    #[test]
    fn names_are_quoted_only_when_they_must_be() {
        assert_eq!(quoted("abc_1"), "abc_1");
        assert_eq!(quoted("Abc"), "\"Abc\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("1a"), "\"1a\"");
    }
}
