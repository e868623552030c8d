//! What a catalog is: names of tables, and the one place where a new version of a table wins.

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use iceberg::{TableRequirement, TableUpdate};

use crate::creation::TableCreation;
use crate::error::Result;
use crate::ident::{Namespace, TableIdent};
use crate::table::Table;
use crate::view::{View, ViewChange, ViewCreation};

/// What a name in a namespace stands for. Tables and views share their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A table.
    Table,
    /// A view.
    View,
}

/// A catalog of namespaces, tables and views.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// Name that statements use, such as `lake`.
    fn name(&self) -> &str;

    /// `sql` or `rest`.
    fn kind(&self) -> &'static str;

    /// Location under which new tables go, without a trailing slash.
    fn warehouse(&self) -> &str;

    /// All namespaces, parents included, by name.
    async fn list_namespaces(&self) -> Result<Vec<Namespace>>;

    /// Whether the namespace, or one inside it, exists.
    async fn namespace_exists(&self, namespace: &Namespace) -> Result<bool>;

    /// Properties of a namespace.
    ///
    /// # Errors
    /// `NotFound` if there is no such namespace.
    async fn namespace_properties(&self, namespace: &Namespace) -> Result<HashMap<String, String>>;

    /// Makes a namespace.
    ///
    /// # Errors
    /// `AlreadyExists`, also when another process makes it at the same time.
    async fn create_namespace(
        &self,
        namespace: &Namespace,
        properties: HashMap<String, String>,
    ) -> Result<()>;

    /// Sets and removes properties of a namespace, all or none.
    ///
    /// # Errors
    /// `NotFound` if there is no such namespace.
    async fn update_namespace(
        &self,
        namespace: &Namespace,
        set: HashMap<String, String>,
        remove: Vec<String>,
    ) -> Result<()>;

    /// Drops an empty namespace.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if a table or namespace is inside.
    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()>;

    /// What `ident` stands for, if anything. No metadata is read.
    async fn find(&self, ident: &TableIdent) -> Result<Option<EntryKind>>;

    /// Names of the tables in a namespace, sorted.
    ///
    /// # Errors
    /// `NotFound` if there is no such namespace.
    async fn list_tables(&self, namespace: &Namespace) -> Result<Vec<String>>;

    /// Everything there is with where its metadata is, in any order.
    ///
    /// # Errors
    /// `StorageUnavailable` if the catalog does not answer.
    async fn list_entries(&self) -> Result<Vec<CatalogEntry>>;

    /// A mark that stays the same only as long as nothing that [`Self::list_entries`] and
    /// [`Self::all_namespace_properties`] tell has changed, whoever changes it; `None` if that cannot be
    /// known more cheaply than by reading all.
    ///
    /// # Errors
    /// `StorageUnavailable` if the catalog does not answer.
    async fn revision(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// As [`Self::revision`], if it can be told at once; `None` if that needs to be asked.
    fn stamp(&self) -> Option<String> {
        None
    }

    /// Properties of every namespace that has some.
    ///
    /// # Errors
    /// `StorageUnavailable` if the catalog does not answer.
    async fn all_namespace_properties(&self) -> Result<Vec<(Namespace, HashMap<String, String>)>> {
        let mut all = Vec::new();
        for namespace in self.list_namespaces().await? {
            let properties = self.namespace_properties(&namespace).await?;
            all.push((namespace, properties));
        }
        Ok(all)
    }

    /// The version of a table that [`Self::list_entries`] told of.
    ///
    /// # Errors
    /// As [`Self::load_table`].
    async fn load_table_at(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        // A catalog that cannot load an old version has the current one.
        let _ = metadata_location;
        self.load_table(ident).await
    }

    /// The current version of a table.
    ///
    /// # Errors
    /// `NotFound` for the table or its metadata file, `Corrupt` for metadata that cannot be read.
    async fn load_table(&self, ident: &TableIdent) -> Result<Table>;

    /// Whether a table of that name exists. Its metadata is not read.
    async fn table_exists(&self, ident: &TableIdent) -> Result<bool>;

    /// Prepares a table for [`create_with_files`](crate::create_with_files); nothing is written yet.
    ///
    /// # Errors
    /// `NotFound` for the namespace, `AlreadyExists`, and `Invalid` or `Unsupported` columns.
    async fn stage_table(&self, creation: TableCreation) -> Result<StagedTable>;

    /// Makes an empty table.
    ///
    /// # Errors
    /// As [`Self::stage_table`]; a race with another creator gives `AlreadyExists`.
    async fn create_table(&self, creation: TableCreation) -> Result<Table> {
        let staged = self.stage_table(creation).await?;
        self.create_staged(staged).await
    }

    /// Writes the metadata of a staged table and enters it in the catalog, in this order.
    ///
    /// # Errors
    /// `AlreadyExists` if another creator was faster; `CommitStateUnknown` if nobody can tell. After
    /// every other error the table does not exist.
    async fn create_staged(&self, staged: StagedTable) -> Result<Table>;

    /// Drops a table; with `purge` its files, too, as far as they can be deleted.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if purging is asked of a table that shares its files (`gc.enabled=false`).
    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()>;

    /// Gives a table another name. Its files stay where they are.
    ///
    /// # Errors
    /// `NotFound` for the table or the target namespace, `AlreadyExists` for the target.
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()>;

    /// Enters an existing table by its metadata file.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` for the file; `AlreadyExists` for the name.
    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table>;

    /// Makes a new version of the table, if what `commit` requires still holds.
    ///
    /// # Errors
    /// `Conflict` if a requirement no longer holds; `CommitStateUnknown` if nobody can tell whether
    /// the new version won. After every other error the table is unchanged.
    async fn commit(&self, ident: &TableIdent, commit: TableCommit) -> Result<Table>;

    /// Names of the views in a namespace, sorted.
    ///
    /// # Errors
    /// `NotFound` if there is no such namespace.
    async fn list_views(&self, namespace: &Namespace) -> Result<Vec<String>>;

    /// The current version of a view.
    ///
    /// # Errors
    /// `NotFound` for the view or its metadata file, `Corrupt` for metadata that cannot be read.
    async fn load_view(&self, ident: &TableIdent) -> Result<View>;

    /// The version of a view that [`Self::list_entries`] told of.
    ///
    /// # Errors
    /// As [`Self::load_view`].
    async fn load_view_at(&self, ident: &TableIdent, metadata_location: &str) -> Result<View>;

    /// Makes a view.
    ///
    /// # Errors
    /// `NotFound` for the namespace; `AlreadyExists` if a table or view has the name; `Invalid` or
    /// `Unsupported` columns.
    async fn create_view(&self, creation: ViewCreation) -> Result<View>;

    /// Changes a view: the last writer wins.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if others change it all the time; `CommitStateUnknown` if nobody can tell
    /// whether it was changed.
    async fn change_view(&self, ident: &TableIdent, change: ViewChange) -> Result<View>;

    /// Drops a view with its metadata files.
    ///
    /// # Errors
    /// `NotFound`.
    async fn drop_view(&self, ident: &TableIdent) -> Result<()>;

    /// Gives a view another name.
    ///
    /// # Errors
    /// `NotFound` for the view or the target namespace, `AlreadyExists` for the target.
    async fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()>;
}

/// What one row of a catalog says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its name.
    pub ident: TableIdent,
    /// Whether it is a view.
    pub is_view: bool,
    /// Where its current metadata is.
    pub metadata_location: String,
    /// Whether what is there never changes.
    pub is_immutable: bool,
}

/// A change of a table's metadata with the conditions under which it is right. Opaque outside.
#[derive(Clone, Debug)]
pub struct TableCommit {
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
}

/// A table that is prepared but not in the catalog: its location, ids and spec are final.
#[derive(Clone, Debug)]
pub struct StagedTable {
    table: Table,
}

impl StagedTable {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// The table to write files for.
    pub fn table(&self) -> &Table {
        &self.table
    }
}
