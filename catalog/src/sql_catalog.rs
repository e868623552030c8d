//! The SQL catalog: names and current metadata locations in `SQLite` or `PostgreSQL`.
//!
//! The two tables are those of the JDBC catalog, so that `PyIceberg`, Spark and others open the same
//! database. A commit writes a metadata file, then moves one row by compare-and-swap. Every value is
//! bound, never put into the SQL text.

mod database;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::{ErrorKind, TableUpdate};

use crate::cache::ManifestCache;
use crate::catalog::{Catalog, CatalogEntry, EntryKind, StagedTable, TableCommit};
use crate::commit::delete_files;
use crate::creation::{TableCreation, fresh_location, new_table};
use crate::error::{CatalogError, Result};
use crate::ident::{Namespace, TableIdent};
use crate::metadata_file;
use crate::properties::{self, DELETE_OLD_METADATA};
use crate::purge;
use crate::storage::Stores;
use crate::table::{LoadedMetadata, Table};
use crate::view::{self, View, ViewChange, ViewCreation};

use database::{Database, Swap, Written};

/// Times a commit or drop is repeated because the row moved but its requirements still hold.
const SWAPS_MAX: u32 = 10;
/// Namespace property that gives its tables another place than the warehouse.
const LOCATION_PROPERTY: &str = "location";
/// Names listed in "not empty" and "not found" messages.
const NAMES_SHOWN_MAX: usize = 10;

/// How to open a [`SqlCatalog`].
#[derive(Clone, Debug)]
pub struct SqlCatalogConfig {
    /// Name of the catalog, also in the database: several catalogs may share one.
    pub name: String,
    /// `sqlite:///absolute/path.db` or `postgres://user:password@host/database`.
    pub metadata_url: String,
    /// Location under which tables are made: `s3://bucket/prefix`, `file:///path` or `/path`.
    pub warehouse: String,
}

/// A catalog in a SQL database.
#[derive(Debug)]
pub struct SqlCatalog {
    name: String,
    warehouse: String,
    database: Database,
    stores: Stores,
    cache: ManifestCache,
}

impl SqlCatalog {
    /// Opens the catalog, making its two tables if they are not there.
    ///
    /// # Errors
    /// `Invalid` for a malformed URL or warehouse; `StorageUnavailable` if the database does not
    /// answer within ten seconds.
    pub async fn open(
        config: SqlCatalogConfig,
        stores: Stores,
        cache: ManifestCache,
    ) -> Result<Self> {
        let warehouse = config.warehouse.trim_end_matches('/').to_owned();
        stores.resolve(&warehouse)?;
        let database = Database::open(&config.name, &config.metadata_url).await?;
        Ok(Self {
            name: config.name,
            warehouse,
            database,
            stores,
            cache,
        })
    }

    async fn need_namespace(&self, namespace: &Namespace) -> Result<()> {
        if self.namespace_exists(namespace).await? {
            return Ok(());
        }
        let existing = self.list_namespaces().await?;
        Err(CatalogError::NamespaceNotFound {
            catalog: self.name.clone(),
            namespace: namespace.to_string(),
            existing: existing.iter().map(ToString::to_string).collect(),
        })
    }

    fn not_found(&self, ident: &TableIdent) -> CatalogError {
        CatalogError::TableNotFound {
            catalog: self.name.clone(),
            table: ident.to_string(),
        }
    }

    fn view_not_found(&self, ident: &TableIdent) -> CatalogError {
        CatalogError::ViewNotFound {
            catalog: self.name.clone(),
            view: ident.to_string(),
        }
    }

    /// The error for a name that is taken, as far as can be told by a table or by a view.
    async fn taken(&self, ident: &TableIdent) -> CatalogError {
        match self.database.find(ident).await {
            Ok(Some((EntryKind::View, _))) => CatalogError::ViewExists {
                catalog: self.name.clone(),
                view: ident.to_string(),
            },
            _ => CatalogError::TableExists {
                catalog: self.name.clone(),
                table: ident.to_string(),
            },
        }
    }

    async fn new_location(&self, ident: &TableIdent) -> Result<String> {
        let properties = self.namespace_properties(&ident.namespace).await?;
        Ok(match properties.get(LOCATION_PROPERTY) {
            Some(base) => fresh_location(base, None, &ident.name),
            None => fresh_location(&self.warehouse, Some(&ident.namespace), &ident.name),
        })
    }

    async fn insert(&self, kind: EntryKind, ident: &TableIdent, location: &str) -> Result<()> {
        match self.database.insert(kind, ident, location).await? {
            Written::Yes => Ok(()),
            Written::Exists => Err(self.taken(ident).await),
            Written::Unknown(source) => match self.database.find(ident).await {
                Ok(Some((_, found))) if found == location => Ok(()),
                Ok(Some(_)) => Err(self.taken(ident).await),
                Ok(None) | Err(_) => Err(CatalogError::CommitStateUnknown {
                    table: ident.to_string(),
                    snapshot_id: None,
                    source,
                }),
            },
        }
    }

    /// The metadata that `commit` makes of `head`; `None` if it changes nothing.
    fn apply(head: &Table, commit: &TableCommit) -> Result<Option<NewVersion>> {
        let conflict = |reason: &str| CatalogError::Conflict {
            table: head.ident().to_string(),
            reason: reason.to_owned(),
        };
        for requirement in &commit.requirements {
            requirement
                .check(Some(head.metadata()))
                .map_err(|error| conflict(error.message()))?;
        }
        let adds_snapshot = commit
            .updates
            .iter()
            .any(|update| matches!(update, TableUpdate::AddSnapshot { .. }));
        let refuse = |error: iceberg::Error| {
            // A snapshot that no longer fits was made for an older head (such as another branch's).
            if adds_snapshot && error.kind() == ErrorKind::DataInvalid {
                return conflict(error.message());
            }
            CatalogError::invalid(format!(
                "table \"{}\" cannot be changed: {}",
                head.ident(),
                error.message()
            ))
        };
        let mut builder = head
            .metadata()
            .as_ref()
            .clone()
            .into_builder(Some(head.metadata_location().to_owned()));
        for update in commit.updates.iter().cloned() {
            builder = update.apply(builder).map_err(refuse)?;
        }
        let built = builder.build().map_err(refuse)?;
        if built.changes.is_empty() {
            return Ok(None);
        }
        let old_files = built.expired_metadata_logs.into_iter();
        Ok(Some(NewVersion {
            loaded: LoadedMetadata::new(built.metadata),
            old_files: old_files.map(|log| log.metadata_file).collect(),
        }))
    }

    /// One try to move the table from `head` to `new`; `None` if another writer was faster.
    async fn swap(&self, head: &Table, new: NewVersion) -> Result<Option<Table>> {
        let version = metadata_file::next_version(head);
        let table = self
            .write_metadata(head.ident(), new.loaded, version)
            .await?;
        let swap = Swap {
            kind: EntryKind::Table,
            ident: head.ident(),
            from: head.metadata_location(),
            to: table.metadata_location(),
        };
        let moved = match self.database.swap(&swap).await {
            Ok(Written::Yes) => true,
            Ok(Written::Exists) => false,
            Ok(Written::Unknown(source)) => self.find_swap(&swap, source).await?,
            Err(error) => {
                self.discard(&table).await;
                return Err(error);
            }
        };
        if !moved {
            self.discard(&table).await;
            return Ok(None);
        }
        if properties::boolean(table.properties(), DELETE_OLD_METADATA, false) {
            delete_files(&self.stores, &new.old_files).await;
        }
        Ok(Some(table))
    }

    /// Whether a swap of unknown outcome happened.
    ///
    /// While the row still holds the old location, the statement may yet arrive: that stays unknown.
    async fn find_swap(&self, swap: &Swap<'_>, source: crate::Cause) -> Result<bool> {
        let found = self.database.location(swap.kind, swap.ident).await;
        let found = found.ok().flatten();
        if found.as_deref() == Some(swap.to) {
            return Ok(true);
        }
        if let Some(location) = found.filter(|location| location != swap.from)
            && let Ok(head) = self.load_at(swap.ident, &location).await
        {
            // The row moved on: either past our version, which its log remembers, or without us.
            let log = head.metadata().metadata_log();
            if log.iter().any(|entry| entry.metadata_file == swap.to) {
                return Ok(true);
            }
            if log.iter().any(|entry| entry.metadata_file == swap.from) {
                return Ok(false);
            }
        }
        Err(CatalogError::CommitStateUnknown {
            table: swap.ident.to_string(),
            snapshot_id: None,
            source,
        })
    }

    async fn write_metadata(
        &self,
        ident: &TableIdent,
        loaded: LoadedMetadata,
        version: u64,
    ) -> Result<Table> {
        let loaded = Arc::new(loaded);
        let staged = Table::new(
            ident.clone(),
            String::new(),
            Arc::clone(&loaded),
            self.stores.clone(),
        );
        let directory = staged.metadata_directory();
        let location =
            metadata_file::write(&self.stores, &loaded.metadata, &directory, version).await?;
        Ok(Table::new(
            ident.clone(),
            location,
            loaded,
            self.stores.clone(),
        ))
    }

    async fn discard(&self, table: &Table) {
        delete_files(&self.stores, &[table.metadata_location().to_owned()]).await;
    }

    async fn load_at(&self, ident: &TableIdent, location: &str) -> Result<Table> {
        metadata_file::load(ident, location, &self.stores, &self.cache).await
    }

    async fn list(&self, kind: EntryKind, namespace: &Namespace) -> Result<Vec<String>> {
        let names = self.database.names(kind, namespace).await?;
        if names.is_empty() {
            self.need_namespace(namespace).await?;
        }
        Ok(names)
    }

    /// Whether there was a table or view `from`, which has the name `to` now.
    async fn rename(&self, kind: EntryKind, from: &TableIdent, to: &TableIdent) -> Result<bool> {
        to.check()?;
        self.need_namespace(&to.namespace).await?;
        if from == to {
            let found = self.database.location(kind, from).await?;
            return Ok(found.is_some());
        }
        match self.database.rename(kind, from, to).await? {
            None => Ok(false),
            Some(Written::Yes) => Ok(true),
            Some(Written::Exists) => Err(self.taken(to).await),
            Some(Written::Unknown(source)) => Err(self.database.error("rename a table", source)),
        }
    }

    /// One try to make the next version of `head`; `None` if another writer was faster.
    async fn swap_view(&self, head: &View, change: &ViewChange) -> Result<Option<View>> {
        let ident = head.ident();
        let version = metadata_file::next_after(head.metadata_location()).unwrap_or(1);
        let metadata = view::next_metadata(head, change)?;
        let view = view::write(ident, metadata, version, &self.stores).await?;
        let swap = Swap {
            kind: EntryKind::View,
            ident,
            from: head.metadata_location(),
            to: view.metadata_location(),
        };
        match self.database.swap(&swap).await {
            Ok(Written::Yes) => Ok(Some(view)),
            Ok(Written::Exists) => {
                self.discard_view(&view).await;
                Ok(None)
            }
            Ok(Written::Unknown(source)) => {
                let found = self.database.location(EntryKind::View, ident).await;
                if found.is_ok_and(|found| found.as_deref() == Some(swap.to)) {
                    return Ok(Some(view));
                }
                Err(CatalogError::CommitStateUnknown {
                    table: ident.to_string(),
                    snapshot_id: None,
                    source,
                })
            }
            Err(error) => {
                self.discard_view(&view).await;
                Err(error)
            }
        }
    }

    async fn discard_view(&self, view: &View) {
        delete_files(&self.stores, &[view.metadata_location().to_owned()]).await;
    }

    async fn purge(&self, ident: &TableIdent) -> Result<()> {
        for _ in 0..SWAPS_MAX {
            let table = self.load_table(ident).await?;
            purge::check(&table, "drop it without PURGE")?;
            let at = Some(table.metadata_location());
            if self.database.delete(EntryKind::Table, ident, at).await? {
                purge::purge(&table).await;
                return Ok(());
            }
        }
        Err(CatalogError::Conflict {
            table: ident.to_string(),
            reason: "it is being written to while it is dropped".to_owned(),
        })
    }
}

/// New metadata that is not written yet.
struct NewVersion {
    loaded: LoadedMetadata,
    /// Metadata files that fell out of the log.
    old_files: Vec<String>,
}

fn entry(row: database::EntryRow) -> Option<CatalogEntry> {
    Some(CatalogEntry {
        ident: TableIdent::new(row.namespace.parse().ok()?, row.name),
        is_view: row.is_view,
        is_immutable: metadata_file::has_unique_name(&row.metadata_location),
        metadata_location: row.metadata_location,
    })
}

#[async_trait]
impl Catalog for SqlCatalog {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "sql"
    }

    fn warehouse(&self) -> &str {
        &self.warehouse
    }

    async fn list_namespaces(&self) -> Result<Vec<Namespace>> {
        let mut all = BTreeSet::new();
        for name in self.database.namespaces().await? {
            // Rows of other tools may hold names that we would not make; those stay hidden.
            let mut next = name.parse::<Namespace>().ok();
            while let Some(namespace) = next {
                next = namespace.parent();
                all.insert(namespace);
            }
        }
        Ok(all.into_iter().collect())
    }

    async fn namespace_exists(&self, namespace: &Namespace) -> Result<bool> {
        self.database.namespace_exists(namespace).await
    }

    async fn namespace_properties(&self, namespace: &Namespace) -> Result<HashMap<String, String>> {
        self.need_namespace(namespace).await?;
        let mut properties = self.database.namespace_properties(namespace).await?;
        properties.remove(database::EXISTS_PROPERTY);
        Ok(properties)
    }

    async fn create_namespace(
        &self,
        namespace: &Namespace,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        namespace.check()?;
        let exists = || CatalogError::NamespaceExists {
            catalog: self.name.clone(),
            namespace: namespace.to_string(),
        };
        if self.namespace_exists(namespace).await? {
            return Err(exists());
        }
        match self
            .database
            .insert_namespace(namespace, &properties)
            .await?
        {
            Written::Yes => Ok(()),
            Written::Exists => Err(exists()),
            Written::Unknown(source) => Err(self.database.error("create a schema", source)),
        }
    }

    async fn update_namespace(
        &self,
        namespace: &Namespace,
        mut set: HashMap<String, String>,
        mut remove: Vec<String>,
    ) -> Result<()> {
        self.need_namespace(namespace).await?;
        set.remove(database::EXISTS_PROPERTY);
        remove.retain(|key| key != database::EXISTS_PROPERTY);
        remove.extend(set.keys().cloned());
        self.database
            .update_properties(namespace, &set, &remove)
            .await
    }

    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        self.need_namespace(namespace).await?;
        if self.database.delete_namespace(namespace).await? {
            return Ok(());
        }
        let inside = format!("{namespace}.");
        let mut contents = self.list_tables(namespace).await?;
        contents.extend(self.list_views(namespace).await?);
        contents.extend(
            self.list_namespaces()
                .await?
                .iter()
                .map(ToString::to_string)
                .filter(|name| name.starts_with(&inside)),
        );
        if contents.is_empty() {
            return Ok(()); // dropped by somebody else meanwhile
        }
        contents.truncate(NAMES_SHOWN_MAX + 1);
        Err(CatalogError::NamespaceNotEmpty {
            namespace: namespace.to_string(),
            contents,
        })
    }

    async fn find(&self, ident: &TableIdent) -> Result<Option<EntryKind>> {
        Ok(self.database.find(ident).await?.map(|(kind, _)| kind))
    }

    async fn list_entries(&self) -> Result<Vec<CatalogEntry>> {
        let rows = self.database.entries().await?;
        // Names that we would not make stay hidden, as in `list_namespaces`.
        Ok(rows.into_iter().filter_map(entry).collect())
    }

    fn stamp(&self) -> Option<String> {
        self.database.stamp()
    }

    async fn revision(&self) -> Result<Option<String>> {
        self.database.revision().await
    }

    async fn all_namespace_properties(&self) -> Result<Vec<(Namespace, HashMap<String, String>)>> {
        let mut all: HashMap<String, HashMap<String, String>> = HashMap::new();
        for (namespace, key, value) in self.database.all_namespace_properties().await? {
            all.entry(namespace).or_default().insert(key, value);
        }
        Ok(all
            .into_iter()
            .filter_map(|(name, properties)| Some((name.parse().ok()?, properties)))
            .collect())
    }

    async fn load_table_at(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        self.load_at(ident, metadata_location).await
    }

    async fn list_tables(&self, namespace: &Namespace) -> Result<Vec<String>> {
        self.list(EntryKind::Table, namespace).await
    }

    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        let location = self.database.location(EntryKind::Table, ident).await?;
        let location = location.ok_or_else(|| self.not_found(ident))?;
        self.load_at(ident, &location).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        let found = self.database.location(EntryKind::Table, ident).await?;
        Ok(found.is_some())
    }

    async fn stage_table(&self, creation: TableCreation) -> Result<StagedTable> {
        creation.ident.check()?;
        self.need_namespace(&creation.ident.namespace).await?;
        if self.database.find(&creation.ident).await?.is_some() {
            return Err(self.taken(&creation.ident).await);
        }
        let location = match &creation.location {
            Some(location) => location.clone(),
            None => self.new_location(&creation.ident).await?,
        };
        Ok(StagedTable::new(new_table(
            creation,
            location,
            &self.stores,
        )?))
    }

    async fn create_staged(&self, staged: StagedTable) -> Result<Table> {
        let staged = staged.table();
        let metadata = staged.metadata().as_ref().clone();
        let table = self
            .write_metadata(staged.ident(), LoadedMetadata::new(metadata), 0)
            .await?;
        let location = table.metadata_location();
        match self
            .insert(EntryKind::Table, staged.ident(), location)
            .await
        {
            Ok(()) => Ok(table),
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error),
            Err(error) => {
                self.discard(&table).await;
                Err(error)
            }
        }
    }

    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        if purge {
            return self.purge(ident).await;
        }
        let gone = self.database.delete(EntryKind::Table, ident, None).await?;
        if gone {
            return Ok(());
        }
        Err(self.not_found(ident))
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        if self.rename(EntryKind::Table, from, to).await? {
            return Ok(());
        }
        Err(self.not_found(from))
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        ident.check()?;
        self.need_namespace(&ident.namespace).await?;
        let table = self.load_at(ident, metadata_location).await?;
        self.insert(EntryKind::Table, ident, metadata_location)
            .await?;
        Ok(table)
    }

    async fn commit(&self, ident: &TableIdent, commit: TableCommit) -> Result<Table> {
        for _ in 0..SWAPS_MAX {
            let head = self.load_table(ident).await?;
            head.check_writable()?;
            let Some(new) = Self::apply(&head, &commit)? else {
                return Ok(head);
            };
            if let Some(table) = self.swap(&head, new).await? {
                return Ok(table);
            }
        }
        Err(CatalogError::Conflict {
            table: ident.to_string(),
            reason: format!("it changed {SWAPS_MAX} times while this change was tried"),
        })
    }

    async fn list_views(&self, namespace: &Namespace) -> Result<Vec<String>> {
        self.list(EntryKind::View, namespace).await
    }

    async fn load_view(&self, ident: &TableIdent) -> Result<View> {
        let location = self.database.location(EntryKind::View, ident).await?;
        let location = location.ok_or_else(|| self.view_not_found(ident))?;
        view::load(ident, &location, &self.stores, &self.cache).await
    }

    async fn load_view_at(&self, ident: &TableIdent, metadata_location: &str) -> Result<View> {
        view::load(ident, metadata_location, &self.stores, &self.cache).await
    }

    async fn create_view(&self, creation: ViewCreation) -> Result<View> {
        let ident = &creation.ident;
        ident.check()?;
        self.need_namespace(&ident.namespace).await?;
        if self.database.find(ident).await?.is_some() {
            return Err(self.taken(ident).await);
        }
        let location = self.new_location(ident).await?;
        let metadata = view::first_metadata(&creation, location)?;
        let view = view::write(ident, metadata, 0, &self.stores).await?;
        let entered = self.insert(EntryKind::View, ident, view.metadata_location());
        match entered.await {
            Ok(()) => Ok(view),
            Err(error @ CatalogError::CommitStateUnknown { .. }) => Err(error),
            Err(error) => {
                self.discard_view(&view).await;
                Err(error)
            }
        }
    }

    async fn change_view(&self, ident: &TableIdent, change: ViewChange) -> Result<View> {
        for _ in 0..SWAPS_MAX {
            let head = self.load_view(ident).await?;
            if let Some(view) = self.swap_view(&head, &change).await? {
                return Ok(view);
            }
        }
        Err(CatalogError::Conflict {
            table: ident.to_string(),
            reason: format!("it changed {SWAPS_MAX} times while this change was tried"),
        })
    }

    async fn drop_view(&self, ident: &TableIdent) -> Result<()> {
        let location = self.database.location(EntryKind::View, ident).await?;
        let gone = self.database.delete(EntryKind::View, ident, None).await?;
        if !gone {
            return Err(self.view_not_found(ident));
        }
        if let Some(location) = location {
            view::remove_files(&location, &self.stores).await;
        }
        Ok(())
    }

    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        if self.rename(EntryKind::View, from, to).await? {
            return Ok(());
        }
        Err(self.view_not_found(from))
    }
}

#[cfg(test)]
mod tests;
