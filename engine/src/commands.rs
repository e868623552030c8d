//! Statements that are neither queries nor writes: schemas, tables by name, SHOW, USE, SET.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use tarn_catalog::{
    Catalog, DOC_META_KEY, Namespace, Table, TableIdent, Transform, iceberg_type_name,
};

use crate::engine::{Engine, Outcome};
use crate::error::{EngineError, ErrorKind};
use crate::functions;
use crate::names;
use crate::parser::{Name, Statement};
use crate::resolve::{FullName, INFORMATION_SCHEMA, SYSTEM_SCHEMA, namespace_of};
use crate::session::Session;
use crate::settings::{self, SETTINGS};
use crate::types::sql_type_name;
use crate::writes::{already_exists, refuse_views};

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
            } => {
                for name in &names {
                    self.drop_schema(session, name, if_exists, cascade).await?;
                }
                Ok(Outcome::done("DROP SCHEMA", None))
            }
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
            Statement::RenameTable {
                from,
                to,
                if_exists,
            } => self.rename_table(session, &from, &to, if_exists).await,
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
                let (_, table) = self.find_table(session, &name).await?;
                let full = FullName::complete(&name, &session.catalog, &session.schema)?;
                one_column("create_table", vec![create_statement(&full, &table)?])
            }
            Statement::ShowFunctions { like } => one_column(
                "function",
                filtered(functions::names(self.base()), like.as_deref()),
            ),
            Statement::ShowSetting(name) => show_setting(session, name.as_deref()),
            Statement::Use(name) => self.use_schema(session, &name).await,
            Statement::Set { name, value } => {
                set(session, &name, value.as_deref())?;
                Ok(Outcome::done("SET", None))
            }
            Statement::Reset(name) => {
                if let Some(name) = name {
                    set(session, &name, None)?;
                } else {
                    session.settings.reset_all();
                    set(session, "search_path", None)?;
                }
                Ok(Outcome::done("RESET", None))
            }
            Statement::Admin(admin) => Box::pin(self.admin(session, *admin)).await,
            Statement::Query(_)
            | Statement::Insert { .. }
            | Statement::CreateTable(_)
            | Statement::Explain(_) => Err(EngineError::internal("not a command")),
        }
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

    async fn find_schema(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Arc<dyn Catalog>, Namespace), EngineError> {
        let (catalog, schema) = self.schema_target(session, name)?;
        let namespace = self
            .config
            .catalogs
            .namespace(catalog.as_ref(), &schema)
            .await?;
        Ok((catalog, namespace))
    }

    async fn drop_schema(
        &self,
        session: &Session,
        name: &Name,
        if_exists: bool,
        cascade: bool,
    ) -> Result<(), EngineError> {
        let (catalog, namespace) = match self.find_schema(session, name).await {
            Err(error) if error.kind == ErrorKind::UndefinedSchema && if_exists => return Ok(()),
            other => other?,
        };
        let tables = catalog.list_tables(&namespace).await?;
        if !tables.is_empty() && !cascade {
            return Err(EngineError::new(
                ErrorKind::NotEmpty,
                format!(
                    "schema \"{namespace}\" is not empty; tables: {}",
                    names::listing(&tables, 10)
                ),
            )
            .with_hint("drop its tables first, or use DROP SCHEMA … CASCADE"));
        }
        for table in tables {
            let ident = TableIdent::new(namespace.clone(), table);
            catalog.drop_table(&ident, false).await?;
        }
        Ok(catalog.drop_namespace(&namespace).await?)
    }

    /// The catalog and current version of a table.
    async fn find_table(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Arc<dyn Catalog>, Table), EngineError> {
        let full = FullName::complete(name, &session.catalog, &session.schema)?;
        let catalog = Arc::clone(self.config.catalogs.get(&full.catalog)?);
        let table = self
            .config
            .catalogs
            .table(catalog.as_ref(), &full.schema, &full.table)
            .await?;
        Ok((catalog, table))
    }

    /// A table's identity in its catalog, without reading its metadata: a table whose metadata is
    /// damaged can still be dropped or renamed.
    async fn find_ident(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Arc<dyn Catalog>, TableIdent), EngineError> {
        let full = FullName::complete(name, &session.catalog, &session.schema)?;
        refuse_views(&full)?;
        let catalog = Arc::clone(self.config.catalogs.get(&full.catalog)?);
        let ident = self
            .config
            .catalogs
            .ident(catalog.as_ref(), &full.schema, &full.table)
            .await?;
        Ok((catalog, ident))
    }

    async fn drop_table(
        &self,
        session: &Session,
        name: &Name,
        if_exists: bool,
        purge: bool,
    ) -> Result<(), EngineError> {
        let found = self.find_ident(session, name).await;
        let (catalog, ident) = match found {
            Err(error)
                if if_exists
                    && matches!(
                        error.kind,
                        ErrorKind::UndefinedTable | ErrorKind::UndefinedSchema
                    ) =>
            {
                return Ok(());
            }
            other => other?,
        };
        match catalog
            .drop_table(&ident, purge)
            .await
            .map_err(EngineError::from)
        {
            Err(error) if if_exists && error.kind == ErrorKind::UndefinedTable => Ok(()),
            other => other,
        }
    }

    async fn rename_table(
        &self,
        session: &Session,
        from: &Name,
        to: &Name,
        if_exists: bool,
    ) -> Result<Outcome, EngineError> {
        let done = Outcome::done("ALTER TABLE", None);
        let (catalog, ident) = match self.find_ident(session, from).await {
            Err(error) if if_exists && error.kind == ErrorKind::UndefinedTable => return Ok(done),
            other => other?,
        };
        let to_full = FullName::complete(to, catalog.name(), &ident.namespace.to_string())?;
        refuse_views(&to_full)?;
        if to_full.catalog != catalog.name() {
            return Err(EngineError::unsupported(format!(
                "renaming a table from catalog \"{}\" to \"{}\"",
                catalog.name(),
                to_full.catalog
            ))
            .with_hint("use CREATE TABLE … AS SELECT in the other catalog"));
        }
        let namespace = self
            .config
            .catalogs
            .namespace(catalog.as_ref(), &to_full.schema)
            .await?;
        let target = TableIdent::new(namespace, to_full.table.clone());
        match catalog
            .rename_table(&ident, &target)
            .await
            .map_err(EngineError::from)
        {
            Err(error) if error.kind == ErrorKind::DuplicateTable => Err(already_exists(&to_full)),
            Err(error) => Err(error),
            Ok(()) => Ok(done),
        }
    }

    async fn show_columns(&self, session: &Session, name: &Name) -> Result<Outcome, EngineError> {
        let full = FullName::complete(name, &session.catalog, &session.schema)?;
        if full.schema.eq_ignore_ascii_case(SYSTEM_SCHEMA)
            && let Some(batch) = self.config.system.read(&full.table)?
        {
            return describe(&batch.schema(), |_| None);
        }
        let (_, table) = self.find_table(session, name).await?;
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
        let tables = catalog.list_tables(&namespace).await?;
        one_column("table", filtered(tables, like))
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
        Ok(Outcome::done("USE", None))
    }
}

/// Schema of a session that has chosen none.
const DEFAULT_SCHEMA: &str = "main";

/// `SET` and `RESET` (no value) of one setting; the search path is the session's schema.
fn set(session: &mut Session, name: &str, value: Option<&str>) -> Result<(), EngineError> {
    let setting = settings::find(name)?;
    if setting.name == "search_path" {
        let path = value.unwrap_or(setting.default);
        let first = path
            .split(',')
            .map(|part| part.trim().trim_matches('"'))
            .find(|part| !part.is_empty() && *part != "$user" && *part != "pg_catalog")
            .unwrap_or(setting.default);
        first.clone_into(&mut session.schema);
        return Ok(());
    }
    match value {
        Some(value) => session.settings.set(name, value),
        None => session.settings.reset(name),
    }
}

fn setting_value<'a>(session: &'a Session, name: &str) -> &'a str {
    if name == "search_path" {
        &session.schema
    } else {
        session.settings.get(name)
    }
}

fn show_setting(session: &Session, name: Option<&str>) -> Result<Outcome, EngineError> {
    if let Some(name) = name {
        let setting = settings::find(name)?;
        return one_column(
            setting.name,
            vec![setting_value(session, setting.name).to_owned()],
        );
    }
    let column = |f: fn(&settings::Setting) -> &str| -> ArrayRef {
        Arc::new(SETTINGS.iter().map(|s| Some(f(s))).collect::<StringArray>())
    };
    let values: StringArray = SETTINGS
        .iter()
        .map(|s| Some(setting_value(session, s.name)))
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

/// Quotes a name unless it is a plain lower-case word.
fn quoted(name: &str) -> String {
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
    fn the_search_path_is_the_sessions_schema() {
        let mut session = Session::new("u", "lake", "main");
        set(
            &mut session,
            "search_path",
            Some("\"$user\", sales, public"),
        )
        .unwrap();
        assert_eq!(session.schema, "sales");
        set(&mut session, "search_path", None).unwrap();
        assert_eq!(session.schema, "main");
    }

    #[test]
    fn names_are_quoted_only_when_they_must_be() {
        assert_eq!(quoted("abc_1"), "abc_1");
        assert_eq!(quoted("Abc"), "\"Abc\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("1a"), "\"1a\"");
    }
}
