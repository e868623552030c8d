//! From names in a statement to tables, once per statement.
//!
//! [`StatementCatalogs`] is what DataFusion's SQL planner sees: a catalog list that loads exactly the
//! tables a statement names, pins their snapshot, and answers a wrong name with the nearest right one.
//! Knows nothing of execution; every lookup is a metadata read through [`tarn_catalog::Catalog`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider,
};
use datafusion::error::Result as DfResult;
use tarn_catalog::{Catalog, EntryKind, ManifestCache, Namespace};

use crate::error::{EngineError, ErrorKind};
use crate::files::FILES_CATALOG;
use crate::hidden;
use crate::lookup;
use crate::metadata_tables::MetadataTable;
use crate::names;
use crate::parser::Name;
use crate::pg_catalog::{self, CatalogContext, CatalogSeed};
use crate::system::SystemTables;
use crate::versions::{self, Wanted};
use crate::views::Scope;

/// Schema name of the views about the server itself.
pub const SYSTEM_SCHEMA: &str = "system";
/// Schema name of the SQL standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";
/// Stands for the schema of names that have none: they are looked up along the search path.
pub(crate) const SEARCH_PATH: &str = "$search_path";
/// Names shown at most in a hint.
const LISTED_MAX: usize = 20;

/// The catalogs that this server knows, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogs {
    by_name: Arc<BTreeMap<String, Arc<dyn Catalog>>>,
}

impl Catalogs {
    /// Catalogs under their own names.
    pub fn new(catalogs: impl IntoIterator<Item = Arc<dyn Catalog>>) -> Self {
        Self {
            by_name: Arc::new(
                catalogs
                    .into_iter()
                    .map(|c| (c.name().to_owned(), c))
                    .collect(),
            ),
        }
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The catalog called `name`: exactly, else case-insensitively if unique.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedCatalog`], offering the nearest.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Catalog>, EngineError> {
        let all = self.names();
        names::find(name, &all)
            .and_then(|found| self.by_name.get(found))
            .ok_or_else(|| {
                let error = EngineError::new(
                    ErrorKind::UndefinedCatalog,
                    format!(
                        "catalog \"{name}\" does not exist; catalogs: {}",
                        names::listing(&all, LISTED_MAX)
                    ),
                );
                offering(error, name, &all)
            })
    }

    /// Finds a schema by name: exactly, else case-insensitively if unique.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSchema`], offering the nearest.
    pub(crate) async fn namespace(
        &self,
        catalog: &dyn Catalog,
        schema: &str,
    ) -> Result<Namespace, EngineError> {
        let wanted = namespace_of(schema);
        if catalog.namespace_exists(&wanted).await? {
            return Ok(wanted);
        }
        let all: Vec<String> = catalog
            .list_namespaces()
            .await?
            .iter()
            .map(ToString::to_string)
            .collect();
        if let Some(found) = names::find(schema, &all) {
            return Ok(namespace_of(found));
        }
        let error = EngineError::new(
            ErrorKind::UndefinedSchema,
            format!(
                "schema \"{schema}\" not found in catalog \"{}\"; schemas: {}",
                catalog.name(),
                names::listing(&all, LISTED_MAX)
            ),
        );
        Err(offering(error, schema, &all))
    }
}

/// `error` with the nearest of the names there are, if one is near.
fn offering(error: EngineError, wanted: &str, all: &[String]) -> EngineError {
    match names::nearest(wanted, all.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
        None => error,
    }
}

/// The error for a table that is not there, or that the principal may not see.
pub(crate) fn undefined_table(
    catalog: &str,
    namespace: &Namespace,
    table: &str,
    all: &[String],
) -> EngineError {
    let error = EngineError::new(
        ErrorKind::UndefinedTable,
        format!("table \"{table}\" not found in schema \"{catalog}.{namespace}\""),
    );
    match names::nearest(table, all.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
        None if all.is_empty() => error.with_hint("the schema has no tables yet"),
        None => error.with_hint(format!("tables: {}", names::listing(all, LISTED_MAX))),
    }
}

/// A schema name with dots in it is a nested Iceberg namespace.
pub(crate) fn namespace_of(schema: &str) -> Namespace {
    let parts = schema.split('.').map(str::to_owned).collect();
    Namespace::from_parts(parts).unwrap_or_else(|_| Namespace::new(schema))
}

/// A table's full name: catalog, schema, table.
#[derive(Clone, Debug)]
pub(crate) struct FullName {
    /// Catalog as typed.
    pub catalog: String,
    /// Schema as typed.
    pub schema: String,
    /// Table as typed.
    pub table: String,
}

impl FullName {
    /// Completes `name` with the session's catalog and schema.
    ///
    /// More than three parts are a nested namespace: `catalog.a.b.table`.
    ///
    /// # Errors
    /// [`ErrorKind::Syntax`] for an empty name.
    pub(crate) fn complete(name: &Name, catalog: &str, schema: &str) -> Result<Self, EngineError> {
        let (catalog, schema, table) = match name.as_slice() {
            [table] => (catalog.to_owned(), schema.to_owned(), table),
            [schema, table] => (catalog.to_owned(), schema.clone(), table),
            [catalog, middle @ .., table] => (catalog.clone(), middle.join("."), table),
            [] => return Err(EngineError::new(ErrorKind::Syntax, "empty table name")),
        };
        Ok(Self {
            catalog,
            schema,
            table: table.clone(),
        })
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.schema, self.table)
    }
}

/// What one statement may see.
#[derive(Clone, Debug)]
pub(crate) struct StatementCatalogs {
    catalogs: Catalogs,
    pub(crate) cache: ManifestCache,
    pub(crate) system: Arc<dyn SystemTables>,
    files: Arc<HashMap<String, Arc<dyn TableProvider>>>,
    time_zone: Arc<str>,
    scope: Scope,
    missing: Missing,
    seed: CatalogSeed,
    about: AboutCatalogs,
}

/// What there is in the session's catalog, if the statement asks: read once, before it is planned.
pub(crate) type AboutCatalogs = Arc<OnceLock<Arc<CatalogContext>>>;

/// What was looked up in vain. The planner also asks for the names of table functions, so a name
/// that is not there becomes an error only if planning fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    first: Arc<OnceLock<EngineError>>,
}

impl Missing {
    fn keep(&self, error: EngineError) {
        // The first name is the one to talk about.
        let _ = self.first.set(error);
    }

    /// The better error for a failure to plan, if a name was looked up in vain.
    pub(crate) fn explain(&self, error: EngineError) -> EngineError {
        match self.first.get() {
            Some(missing) if error.kind == ErrorKind::UndefinedTable => missing.copy(),
            _ => error,
        }
    }
}

impl StatementCatalogs {
    /// The view of one statement; `files` are the tables of its file functions, `time_zone` is that of tables' columns
    /// with time zone, and names are looked up in `scope`.
    pub(crate) fn new(
        catalogs: Catalogs,
        cache: ManifestCache,
        system: Arc<dyn SystemTables>,
        files: HashMap<String, Arc<dyn TableProvider>>,
        time_zone: &str,
        scope: Scope,
        seed: CatalogSeed,
    ) -> Self {
        Self {
            catalogs,
            cache,
            system,
            files: Arc::new(files),
            time_zone: time_zone.into(),
            scope,
            missing: Missing::default(),
            seed,
            about: Arc::default(),
        }
    }
}

impl StatementCatalogs {
    /// What was looked up in vain so far.
    pub(crate) fn missing(&self) -> Missing {
        self.missing.clone()
    }

    /// Where what there is in the session's catalog is put.
    pub(crate) fn about(&self) -> AboutCatalogs {
        Arc::clone(&self.about)
    }

    /// What there is in `catalog`.
    async fn context(&self, catalog: &str) -> Result<Arc<CatalogContext>, EngineError> {
        match self.about.get() {
            Some(context) if context.directory.catalog == catalog => Ok(Arc::clone(context)),
            _ => self.seed.context(catalog).await,
        }
    }
}

impl CatalogProviderList for StatementCatalogs {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        self.catalogs.names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        Some(Arc::new(StatementCatalog {
            view: self.clone(),
            catalog: name.to_owned(),
        }))
    }
}

/// One catalog of a statement; whether it exists shows when a table is asked for.
#[derive(Debug)]
struct StatementCatalog {
    view: StatementCatalogs,
    catalog: String,
}

impl CatalogProvider for StatementCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(StatementSchema {
            view: self.view.clone(),
            catalog: self.catalog.clone(),
            schema: name.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct StatementSchema {
    view: StatementCatalogs,
    catalog: String,
    schema: String,
}

#[async_trait]
impl SchemaProvider for StatementSchema {
    fn table_names(&self) -> Vec<String> {
        vec![]
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let (name, with_hidden) = hidden::unmarked(name);
        match self
            .find(name, with_hidden)
            .await
            .map_err(EngineError::from)
        {
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::UndefinedTable
                        | ErrorKind::UndefinedSchema
                        | ErrorKind::UndefinedCatalog
                ) =>
            {
                self.view.missing.keep(lookup::no_relation(error));
                Ok(None)
            }
            other => Ok(other?),
        }
    }

    fn table_exist(&self, _name: &str) -> bool {
        true
    }
}

impl StatementSchema {
    async fn find(
        &self,
        name: &str,
        with_hidden: bool,
    ) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if self.catalog == FILES_CATALOG {
            return Ok(self.view.files.get(name).cloned());
        }
        let name_of = |schema: &str| vec![self.catalog.clone(), schema.to_owned(), name.to_owned()];
        let (plain, version) = versions::split(name);
        let unversioned = |schema: &str| match version {
            None => Ok(()),
            Some(_) => Err(EngineError::new(
                ErrorKind::WrongObjectType,
                format!("\"{schema}.{plain}\" has no versions"),
            )
            .with_hint("it shows what there is now; leave out FOR … AS OF")),
        };
        if self.schema != SEARCH_PATH {
            if let Some(view) = self.builtin(&self.schema, plain).await? {
                unversioned(&self.schema)?;
                return Ok(Some(view));
            }
            let name = name_of(&self.schema);
            return self.relation(&name, with_hidden).await.map(Some);
        }
        // Built-in schemas may be in the search path.
        for schema in &self.view.scope.lookup.path {
            if let Ok(Some(view)) = self.builtin(schema, plain).await {
                unversioned(schema)?;
                return Ok(Some(view));
            }
        }
        if version.is_some() && self.builtin(pg_catalog::PG_CATALOG, plain).await.is_ok() {
            unversioned(pg_catalog::PG_CATALOG)?;
        }
        let name = vec![name.to_owned()];
        self.relation(&name, with_hidden).await.map(Some)
    }

    /// A view of the server itself; `None` if `schema` is not one of its schemas.
    async fn builtin(&self, schema: &str, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let folded = schema.to_lowercase();
        if folded == SYSTEM_SCHEMA {
            return Ok(Some(self.system_table(name).await?));
        }
        if let Some(schema) = pg_catalog::schema_named(&folded) {
            let catalog = self.view.catalogs.get(&self.catalog)?;
            let context = self.view.context(catalog.name()).await?;
            return Ok(Some(pg_catalog::table(schema, name, &context)?));
        }
        Ok(None)
    }

    /// A table, pinned, one of its metadata tables, or what stands for a view.
    async fn relation(&self, name: &Name, with_hidden: bool) -> DfResult<Arc<dyn TableProvider>> {
        let scope = &self.view.scope;
        let Wanted {
            found,
            version,
            metadata,
        } = versions::wanted(&self.view.catalogs, &scope.lookup, name).await?;
        if found.kind == EntryKind::View {
            if version.is_some() || metadata.is_some() {
                let hint = "a view has no versions and no metadata tables; ask of the tables that it reads";
                return Err(found.wrong_kind(hint).into());
            }
            return Ok(scope.view(name, &found).await?);
        }
        let table = scope.table(&found).await?;
        scope.note(name, &found, table.metadata_location());
        let (cache, zone) = (self.view.cache.clone(), &self.view.time_zone);
        if let Some(kind) = metadata {
            let snapshot = match &version {
                Some(version) => Some(versions::snapshot_of(&table, version)?.0),
                None => table.current_snapshot(),
            };
            let table = MetadataTable::new(kind, table, snapshot, cache, zone);
            return Ok(Arc::new(table));
        }
        let mut provider = versions::provider(table, version.as_ref(), cache)?;
        if with_hidden {
            provider = provider.with_hidden_columns();
        }
        Ok(Arc::new(provider.with_time_zone(zone)))
    }

    async fn system_table(&self, name: &str) -> Result<Arc<dyn TableProvider>, EngineError> {
        let batch = self.view.system.load(name).await?.ok_or_else(|| {
            let all: Vec<String> = self
                .view
                .system
                .names()
                .iter()
                .map(|n| (*n).to_owned())
                .collect();
            undefined_table(&self.catalog, &namespace_of(SYSTEM_SCHEMA), name, &all)
        })?;
        Ok(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?))
    }
}
