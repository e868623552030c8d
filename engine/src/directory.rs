//! The directory: everything there is in a catalog, with columns and comments, without reading what did
//! not change.
//!
//! One read of the catalog tells every name and where its metadata is; what a metadata file says is kept by
//! its location, which never changes. Only what clients browse is kept, not the metadata. Doors and
//! `pg_catalog` read it; it knows neither.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use futures::{StreamExt, stream};
use tarn_catalog::{Catalog, CatalogEntry, CatalogError, ErrorCode, Table};
use twox_hash::XxHash64;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::files::{is_below, plain};
use crate::lookup::is_temporary;
use crate::pg_catalog;
use crate::resolve::{INFORMATION_SCHEMA, SYSTEM_SCHEMA};
use crate::session::Session;
use crate::system::SystemTables;

/// Metadata files read at once when they are met for the first time.
const LOAD_CONCURRENCY_MAX: usize = 16;
/// First oid of what users make. Source: PostgreSQL, `FirstNormalObjectId`.
pub(crate) const FIRST_OID: u32 = 16_384;
/// Oids end here, so that they are positive in clients that read them signed.
const LAST_OID: u32 = i32::MAX as u32;
/// Namespace property that holds a comment.
pub(crate) const COMMENT: &str = "comment";

/// Everything there is in one catalog at one moment.
#[derive(Debug)]
pub struct CatalogDirectory {
    /// The catalog.
    pub catalog: String,
    /// Its schemas by name, those of the server included.
    pub schemas: Vec<SchemaDirectory>,
    by_oid: HashMap<u32, (usize, usize)>,
}

/// One schema.
#[derive(Clone, Debug)]
pub struct SchemaDirectory {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// What somebody wrote about it.
    pub comment: Option<String>,
    /// What is in it, by name.
    pub relations: Vec<Arc<Relation>>,
}

/// What kind of relation one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A table of rows.
    Table,
    /// A view that somebody made.
    View,
    /// A view of the server itself.
    SystemView,
}

/// One table or view.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its oid, the same on every server of the catalog as long as it has its name.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns; a column's comment is in the field's metadata.
    pub columns: SchemaRef,
    /// What somebody wrote about it.
    pub comment: Option<String>,
    /// The query of a view.
    pub definition: Option<String>,
    /// Where its files are.
    pub location: Option<String>,
    /// Whether it may have files elsewhere: those that were attached, and those of a folder of their own.
    pub(crate) is_scattered: bool,
    /// Rows in the current snapshot, if the snapshot says so.
    pub rows: Option<u64>,
    /// Bytes of data files in the current snapshot, if the snapshot says so.
    pub bytes: Option<u64>,
}

/// What a metadata file says, as far as clients browse it.
#[derive(Clone, Debug)]
struct Details {
    columns: SchemaRef,
    comment: Option<String>,
    definition: Option<String>,
    location: Option<String>,
    is_scattered: bool,
    rows: Option<u64>,
    bytes: Option<u64>,
}

impl CatalogDirectory {
    /// What a session sees of it: temporary tables are its own. Nothing else is hidden until there are grants.
    pub(crate) fn seen_by(self: Arc<Self>, session: &Session) -> Arc<Self> {
        let own = session.temporary_namespace().map(|own| own.to_string());
        let hidden = |schema: &SchemaDirectory| {
            is_temporary(&schema.name) && own.as_deref() != Some(schema.name.as_str())
        };
        if !self.schemas.iter().any(hidden) {
            return self;
        }
        let seen = self
            .schemas
            .iter()
            .filter(|schema| !hidden(schema))
            .cloned();
        Arc::new(Self::new(&self.catalog, seen.collect()))
    }

    fn new(catalog: &str, schemas: Vec<SchemaDirectory>) -> Self {
        let by_oid = schemas
            .iter()
            .enumerate()
            .flat_map(|(i, schema)| {
                let relations = schema.relations.iter().enumerate();
                relations.map(move |(j, relation)| (relation.oid, (i, j)))
            })
            .collect();
        Self {
            catalog: catalog.to_owned(),
            schemas,
            by_oid,
        }
    }

    /// The schema called `name`.
    pub fn schema(&self, name: &str) -> Option<&SchemaDirectory> {
        let at = self
            .schemas
            .binary_search_by(|schema| schema.name.as_str().cmp(name));
        at.ok().and_then(|at| self.schemas.get(at))
    }

    /// The relation `schema`.`name`.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        self.schema(schema)?.relation(name)
    }

    /// The relation with this oid, and its schema.
    pub fn by_oid(&self, oid: u32) -> Option<(&SchemaDirectory, &Arc<Relation>)> {
        let (schema, relation) = *self.by_oid.get(&oid)?;
        let schema = self.schemas.get(schema)?;
        Some((schema, schema.relations.get(relation)?))
    }
}

impl SchemaDirectory {
    /// The relation called `name` in it.
    pub fn relation(&self, name: &str) -> Option<&Arc<Relation>> {
        let at = self
            .relations
            .binary_search_by(|relation| relation.name.as_str().cmp(name));
        at.ok().and_then(|at| self.relations.get(at))
    }
}

impl Relation {
    /// A view of the server itself.
    pub(crate) fn of_server(oid: u32, name: &str, columns: SchemaRef) -> Self {
        Self {
            oid,
            name: name.to_owned(),
            kind: RelationKind::SystemView,
            columns,
            comment: None,
            definition: None,
            location: None,
            is_scattered: false,
            rows: None,
            bytes: None,
        }
    }

    fn new(oid: u32, entry: &CatalogEntry, details: Option<&Details>) -> Self {
        let kind = if entry.is_view {
            RelationKind::View
        } else {
            RelationKind::Table
        };
        let details = details.cloned().unwrap_or_else(|| Details {
            columns: Arc::new(Schema::empty()),
            comment: None,
            definition: None,
            location: None,
            is_scattered: false,
            rows: None,
            bytes: None,
        });
        Self {
            oid,
            name: entry.ident.name.clone(),
            kind,
            columns: details.columns,
            comment: details.comment,
            definition: details.definition,
            location: details.location,
            is_scattered: details.is_scattered,
            rows: details.rows,
            bytes: details.bytes,
        }
    }
}

/// What a metadata location told, if it could be read.
type Kept = Option<Arc<Details>>;

/// The directories of every catalog, as last seen. Shared by all statements of a server.
pub(crate) struct Directories {
    kept: Mutex<HashMap<String, Snapshot>>,
    /// Names of the functions that statements may call.
    pub(crate) functions: Arc<Vec<String>>,
}

/// One catalog as last seen.
#[derive(Default)]
struct Snapshot {
    /// What the catalog said of itself before it was read.
    revision: Option<String>,
    entries: Vec<CatalogEntry>,
    schemas: BTreeMap<String, Option<String>>,
    details: HashMap<String, Kept>,
    directory: Option<Arc<CatalogDirectory>>,
}

impl fmt::Debug for Directories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directories").finish_non_exhaustive()
    }
}

impl Directories {
    /// No catalog seen yet, in a server with these functions.
    pub(crate) fn new(functions: Vec<String>) -> Self {
        Self {
            kept: Mutex::default(),
            functions: Arc::new(functions),
        }
    }

    /// What is in `catalog` now.
    pub(crate) async fn read(
        &self,
        catalog: &dyn Catalog,
        system: &dyn SystemTables,
    ) -> Result<Arc<CatalogDirectory>, EngineError> {
        // Before what it stands for is read: a change in between is seen by the next reader.
        let revision = catalog.revision().await?;
        if revision.is_some()
            && let Some(snapshot) = self.lock().get(catalog.name())
            && snapshot.revision == revision
            && let Some(directory) = &snapshot.directory
        {
            return Ok(Arc::clone(directory));
        }
        let (mut entries, schemas) = (catalog.list_entries().await?, schemas(catalog).await?);
        entries.sort_unstable_by(|a, b| a.ident.cmp(&b.ident));
        let known = {
            let mut kept = self.lock();
            let snapshot = kept.get_mut(catalog.name());
            match snapshot {
                Some(snapshot) if snapshot.entries == entries && snapshot.schemas == schemas => {
                    snapshot.revision.clone_from(&revision);
                    if let Some(directory) = &snapshot.directory {
                        return Ok(Arc::clone(directory));
                    }
                    snapshot.details.clone()
                }
                Some(snapshot) => snapshot.details.clone(),
                None => HashMap::new(),
            }
        };
        let details = load(catalog, &entries, known).await?;
        let directory = Arc::new(assemble(
            catalog.name(),
            &entries,
            &schemas,
            &details,
            system,
        )?);
        let all_fixed =
            entries.iter().all(|entry| entry.is_immutable) && details.values().all(Option::is_some);
        let snapshot = Snapshot {
            revision,
            details: details
                .into_iter()
                .filter(|(_, kept)| kept.is_some())
                .collect(),
            directory: all_fixed.then(|| Arc::clone(&directory)),
            entries,
            schemas,
        };
        self.lock().insert(catalog.name().to_owned(), snapshot);
        Ok(directory)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Snapshot>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Everything there is in `catalog` that `session` may see.
    ///
    /// # Errors
    /// [`crate::ErrorKind::UndefinedCatalog`]; or what reading the catalog met.
    pub async fn directory(
        &self,
        session: &Session,
        catalog: &str,
    ) -> Result<Arc<CatalogDirectory>, EngineError> {
        let catalog = self.config.catalogs.get(catalog)?;
        let whole = self
            .directories
            .read(catalog.as_ref(), self.config.system.as_ref())
            .await?;
        Ok(whole.seen_by(session))
    }

    /// The catalogs there are, by name.
    pub fn catalog_names(&self) -> Vec<String> {
        self.config.catalogs.names()
    }
}

/// Every schema with its comment.
async fn schemas(catalog: &dyn Catalog) -> Result<BTreeMap<String, Option<String>>, EngineError> {
    let mut schemas: BTreeMap<String, Option<String>> = catalog
        .list_namespaces()
        .await?
        .iter()
        .map(|namespace| (namespace.to_string(), None))
        .collect();
    for (namespace, mut properties) in catalog.all_namespace_properties().await? {
        if let Some(comment) = schemas.get_mut(&namespace.to_string()) {
            *comment = properties.remove(COMMENT);
        }
    }
    Ok(schemas)
}

/// What is known of every entry, reading what is not in `known`.
///
/// A relation whose metadata is broken has no columns here, so that it does not hide the others; reading it by
/// name says what is wrong. If the storage does not answer, nothing is told.
async fn load(
    catalog: &dyn Catalog,
    entries: &[CatalogEntry],
    mut known: HashMap<String, Kept>,
) -> Result<HashMap<String, Kept>, EngineError> {
    let mut all = HashMap::with_capacity(entries.len());
    let mut missing = Vec::new();
    for entry in entries {
        match known.remove(&entry.metadata_location) {
            Some(kept) if entry.is_immutable => {
                all.insert(entry.metadata_location.clone(), kept);
            }
            _ => missing.push(entry.clone()),
        }
    }
    drop(known);
    let mut read = stream::iter(missing)
        .map(|entry: CatalogEntry| async move {
            let found = details(catalog, &entry).await;
            (entry, found)
        })
        .buffer_unordered(LOAD_CONCURRENCY_MAX);
    while let Some((entry, found)) = read.next().await {
        let kept = match found {
            Ok(details) => Some(Arc::new(details)),
            Err(error) if error.code() == ErrorCode::StorageUnavailable => return Err(error.into()),
            Err(error) => {
                tracing::warn!(relation = %entry.ident, %error, "relation without columns in the directory");
                None
            }
        };
        all.insert(entry.metadata_location.clone(), kept);
    }
    Ok(all)
}

async fn details(catalog: &dyn Catalog, entry: &CatalogEntry) -> Result<Details, CatalogError> {
    if entry.is_view {
        let view = catalog
            .load_view_at(&entry.ident, &entry.metadata_location)
            .await?;
        return Ok(Details {
            columns: view.arrow_schema(),
            comment: view.comment().map(str::to_owned),
            definition: view
                .sql()
                .map(|sql| format!("{};", sql.trim_end_matches(';'))),
            location: None,
            is_scattered: false,
            rows: None,
            bytes: Some(0),
        });
    }
    let table = catalog
        .load_table_at(&entry.ident, &entry.metadata_location)
        .await?;
    let snapshot = table.current_snapshot();
    let counted = |key: &str| {
        let Some(snapshot) = &snapshot else {
            return Some(0);
        };
        snapshot.summary.get(key)?.parse().ok()
    };
    Ok(Details {
        columns: table.arrow_schema(),
        comment: table.comment().map(str::to_owned),
        definition: None,
        location: Some(table.location().to_owned()),
        is_scattered: is_scattered(&table),
        rows: counted("total-records"),
        bytes: counted("total-files-size"),
    })
}

/// Whether a table may have files that are not in its folder.
fn is_scattered(table: &Table) -> bool {
    let keeps = |value: &String| value.trim().eq_ignore_ascii_case("false");
    table.properties().get("gc.enabled").is_some_and(keeps)
        || !is_below(&plain(&table.data_location()), &plain(table.location()))
}

fn assemble(
    catalog: &str,
    entries: &[CatalogEntry],
    schemas: &BTreeMap<String, Option<String>>,
    details: &HashMap<String, Kept>,
    system: &dyn SystemTables,
) -> Result<CatalogDirectory, EngineError> {
    let mut oids = Oids::default();
    let mut out: BTreeMap<String, SchemaDirectory> = BTreeMap::new();
    for (name, comment) in schemas {
        out.insert(
            name.clone(),
            SchemaDirectory {
                oid: oids.take(&[catalog, name]),
                name: name.clone(),
                comment: comment.clone(),
                relations: vec![],
            },
        );
    }
    for entry in entries {
        let schema = entry.ident.namespace.to_string();
        let found = details
            .get(&entry.metadata_location)
            .and_then(Option::as_deref);
        let oid = oids.take(&[catalog, &schema, &entry.ident.name]);
        if let Some(schema) = out.get_mut(&schema) {
            schema
                .relations
                .push(Arc::new(Relation::new(oid, entry, found)));
        }
    }
    let server = server_schemas(system, &mut oids)?;
    out.extend(
        server
            .into_iter()
            .map(|schema| (schema.name.clone(), schema)),
    );
    let schemas: Vec<SchemaDirectory> = out
        .into_values()
        .map(|mut schema| {
            schema
                .relations
                .sort_unstable_by(|a, b| a.name.cmp(&b.name));
            schema
        })
        .collect();
    Ok(CatalogDirectory::new(catalog, schemas))
}

/// The schemas that every catalog has from the server.
fn server_schemas(
    system: &dyn SystemTables,
    oids: &mut Oids,
) -> Result<Vec<SchemaDirectory>, EngineError> {
    let mut relations = Vec::new();
    for name in system.names() {
        if let Some(batch) = system.read(name)? {
            let oid = oids.take(&["", SYSTEM_SCHEMA, name]);
            relations.push(Arc::new(Relation::of_server(oid, name, batch.schema())));
        }
    }
    Ok(vec![
        SchemaDirectory {
            oid: oids.take(&["", SYSTEM_SCHEMA]),
            name: SYSTEM_SCHEMA.to_owned(),
            comment: Some("What this server is doing".to_owned()),
            relations,
        },
        SchemaDirectory {
            oid: pg_catalog::PG_CATALOG_OID,
            name: pg_catalog::PG_CATALOG.to_owned(),
            comment: Some("system catalog schema".to_owned()),
            relations: pg_catalog::relations(pg_catalog::PG_CATALOG),
        },
        SchemaDirectory {
            oid: pg_catalog::INFORMATION_SCHEMA_OID,
            name: INFORMATION_SCHEMA.to_owned(),
            comment: None,
            relations: pg_catalog::relations(INFORMATION_SCHEMA),
        },
    ])
}

/// Gives out oids that depend on names only.
#[derive(Default)]
pub(crate) struct Oids {
    taken: HashSet<u32>,
}

impl Oids {
    /// The oid of a name of several parts. Another name with the same hash gets the next free one; names that
    /// come in one order get the same oids everywhere.
    pub(crate) fn take(&mut self, parts: &[&str]) -> u32 {
        let range = u64::from(LAST_OID - FIRST_OID);
        let mut at = XxHash64::oneshot(0, parts.join("\0").as_bytes()) % range;
        loop {
            let oid = u32::try_from(at).unwrap_or_default() + FIRST_OID;
            if self.taken.insert(oid) {
                return oid;
            }
            at = (at + 1) % range;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oid_depends_on_the_name_only_and_is_never_given_twice() {
        let mut first = Oids::default();
        let mut second = Oids::default();
        let orders = first.take(&["lake", "main", "orders"]);
        second.take(&["lake", "main", "lineitem"]);
        assert_eq!(orders, second.take(&["lake", "main", "orders"]));
        assert_ne!(orders, first.take(&["lake", "main", "orders"]));
        assert!((FIRST_OID..LAST_OID).contains(&orders));
    }
}
