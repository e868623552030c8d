//! Making a new snapshot of a table: optimistic, re-checked against every new head, never lossy.
//!
//! An operation implements [`SnapshotOperation`]; [`run`] does the rest: load the head, validate,
//! produce manifests, write the manifest list, compare-and-swap, and on conflict do it again against
//! the new head. Data manifests are written once and reused; only the list is written per try.
//!
//! When a commit's outcome is unknown no file is deleted: the head is loaded and searched for our
//! snapshot id. After a definite failure the metadata files that were written are removed; the data
//! files belong to the caller ([`delete_files`]).

mod append;
mod manifest_write;
mod merge;
mod retry;
mod truncate;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::StreamExt;
use iceberg::spec as ice;
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, StagedTable, TableCommit};
use crate::creation::{FORMAT_VERSION_PROPERTY, format_version};
use crate::error::{CatalogError, ErrorCode, Result};
use crate::literal::Literal;
use crate::manifest::read_manifest_list;
use crate::properties::{self, SUMMARY_PARTITIONS_MAX, check_properties};
use crate::storage::Stores;
use crate::summary::Changes;
use crate::table::{LoadedMetadata, MAIN_BRANCH, Table, default_retention};

use append::Append;
use retry::RetryPolicy;
use truncate::Truncate;

/// Files that are deleted at the same time when a write is cleaned up.
const DELETES_IN_FLIGHT_MAX: usize = 16;
/// Times an unknown outcome is looked up before it is reported as unknown.
const LOOKUPS_MAX: u32 = 3;

/// A data file that a writer finished and that no table knows yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDataFile {
    /// Location.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Rows.
    pub record_count: u64,
    /// Partition spec it was written with.
    pub spec_id: i32,
    /// Partition values in the order of the spec's fields.
    pub partition: Vec<Option<Literal>>,
    /// Bytes on disk by field id.
    pub column_sizes: HashMap<i32, u64>,
    /// Values by field id, NULL and NaN included.
    pub value_counts: HashMap<i32, u64>,
    /// NULLs by field id.
    pub null_counts: HashMap<i32, u64>,
    /// NaNs by field id.
    pub nan_counts: HashMap<i32, u64>,
    /// Lower bounds by field id; must be correct for every row, or missing.
    pub lower_bounds: HashMap<i32, Literal>,
    /// Upper bounds by field id; must be correct for every row, or missing.
    pub upper_bounds: HashMap<i32, Literal>,
    /// Offsets of row groups, ascending.
    pub split_offsets: Vec<i64>,
    /// Sort order the rows are in.
    pub sort_order_id: Option<i32>,
}

/// One kind of change to a table's files.
///
/// [`run`] calls [`validate`](Self::validate) and [`manifests`](Self::manifests) once per try, each
/// time with the newest head. An implementation keeps what it wrote in `session`, so that a later
/// try does not write it again.
#[async_trait]
pub(crate) trait SnapshotOperation: Send + Sync {
    /// What the snapshot calls itself.
    fn kind(&self) -> ice::Operation;

    /// Whether the operation, planned against `base`, is still right on top of `head`.
    ///
    /// # Errors
    /// `Conflict` if concurrent commits contradict it; it is not tried again.
    async fn validate(&self, base: &Table, head: &Table) -> Result<()>;

    /// All manifests of the new snapshot (kept, rewritten and new) and what changed.
    async fn manifests(&self, head: &Table, session: &mut Session) -> Result<NewManifests>;
}

/// What an operation hands to [`run`] for one try.
pub(crate) struct NewManifests {
    /// Manifests of the new snapshot, newest first, as Java orders them.
    pub(crate) manifests: Vec<ice::ManifestFile>,
    /// Counts for the summary.
    pub(crate) changes: Changes,
}

/// What one commit keeps from try to try.
pub(crate) struct Session {
    /// Id of the snapshot that is being made, the same in every try.
    pub(crate) snapshot_id: i64,
    /// Extra entries of the summary.
    pub(crate) properties: HashMap<String, String>,
    /// Manifests of new files written so far, and the format version they are of; reused by later tries.
    pub(crate) manifests: Option<(ice::FormatVersion, Vec<ice::ManifestFile>)>,
    /// Manifests that the last try merged of others.
    pub(crate) merged: Vec<String>,
    /// What the manifest list of the last try lists.
    listed: HashSet<String>,
    /// Every metadata file written so far, to be removed after a definite failure.
    written: Vec<String>,
}

impl Session {
    fn new(properties: HashMap<String, String>) -> Self {
        Self {
            snapshot_id: new_snapshot_id(),
            properties,
            manifests: None,
            merged: Vec::new(),
            listed: HashSet::new(),
            written: Vec::new(),
        }
    }

    /// Deletes metadata files that no try will need.
    pub(crate) async fn discard(&mut self, stores: &Stores, files: &[String]) {
        if !files.is_empty() {
            delete_files(stores, files).await;
            self.written.retain(|written| !files.contains(written));
        }
    }

    /// Deletes what was written and is not in the snapshot that was committed with the manifest list `list`.
    async fn discard_unlisted(&mut self, stores: &Stores, list: &str) {
        let unlisted: Vec<String> = self
            .written
            .iter()
            .filter(|written| *written != list && !self.listed.contains(*written))
            .cloned()
            .collect();
        self.discard(stores, &unlisted).await;
    }

    pub(crate) fn record_written(&mut self, location: impl Into<String>) {
        self.written.push(location.into());
    }
}

/// A random positive id, as Java makes them.
fn new_snapshot_id() -> i64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    ((high ^ low) & i64::MAX.cast_unsigned())
        .cast_signed()
        .max(1)
}

/// Refuses a table to which [`append`] could not add files, before any is written.
///
/// # Errors
/// As [`Table::check_writable`]; and if manifests of the current partition spec cannot be written.
pub fn check_append(table: &Table) -> Result<()> {
    table.check_writable()?;
    manifest_write::check(table, table.metadata().default_partition_spec_id())
}

/// Appends finished data files to `table`, which was the head when the write was planned.
///
/// Returns the new head. With no files nothing is committed and the current head is returned. Any
/// number of appends may run at the same time, from any process: each acknowledged one is in the
/// table exactly once.
///
/// # Errors
/// `Conflict` (retryable, but the files must be written again) if the table was replaced, changed
/// its schema so that the files no longer fit, or stayed contended beyond the `commit.retry.*`
/// limits; `CommitStateUnknown` if nobody can tell whether the snapshot is in the table — the files
/// must then be kept; `Invalid` if a file does not fit the table.
#[allow(clippy::implicit_hasher)] // one concrete type through the `Catalog` trait
pub async fn append(
    catalog: &dyn Catalog,
    table: &Table,
    files: Vec<NewDataFile>,
    properties: HashMap<String, String>,
) -> Result<Table> {
    if files.is_empty() {
        return catalog.load_table(table.ident()).await;
    }
    let operation = Append::new(table, files)?;
    run(catalog, table, &operation, properties).await
}

/// As [`append`], but not if the table has another snapshot by then: for files that others may add as well.
///
/// # Errors
/// As [`append`]; `Conflict` if the snapshot changed.
#[allow(clippy::implicit_hasher)] // one concrete type through the `Catalog` trait
pub async fn append_unchanged(
    catalog: &dyn Catalog,
    table: &Table,
    files: Vec<NewDataFile>,
    properties: HashMap<String, String>,
) -> Result<Table> {
    let operation = Append::new(table, files)?.unchanged();
    run(catalog, table, &operation, properties).await
}

/// Deletes all rows of `table`, whatever is in it by then. No data file is opened.
///
/// Returns the new head; a table without files stays as it is.
///
/// # Errors
/// `Conflict` if the table was replaced or stayed contended beyond the `commit.retry.*` limits;
/// `CommitStateUnknown` if nobody can tell whether the snapshot is in the table.
#[allow(clippy::implicit_hasher)] // one concrete type through the `Catalog` trait
pub async fn truncate(
    catalog: &dyn Catalog,
    table: &Table,
    properties: HashMap<String, String>,
) -> Result<Table> {
    let head = catalog.load_table(table.ident()).await?;
    let Some(snapshot) = head.current_snapshot() else {
        return Ok(head);
    };
    let manifests = read_manifest_list(&head, &snapshot).await?;
    if !manifests.iter().any(truncate::has_live_files) {
        return Ok(head);
    }
    run(catalog, table, &Truncate, properties).await
}

/// Enters a staged table in the catalog, with `files` as its first snapshot: both or neither.
///
/// Without files the table has no snapshot.
///
/// # Errors
/// As [`Catalog::create_staged`] and [`append`]. The data files are the caller's to delete unless
/// the error is `CommitStateUnknown`.
pub async fn create_with_files(
    catalog: &dyn Catalog,
    staged: StagedTable,
    files: Vec<NewDataFile>,
) -> Result<Table> {
    if files.is_empty() {
        return catalog.create_staged(staged).await;
    }
    let table = staged.table().clone();
    let mut session = Session::new(HashMap::new());
    let operation = Append::new(&table, files)?;
    let result = match first_snapshot(&table, &operation, &mut session).await {
        Ok(staged) => catalog.create_staged(staged).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &result
        && error.code() != ErrorCode::CommitStateUnknown
    {
        delete_files(table.stores(), &session.written).await;
    }
    result
}

/// Sets and removes table properties. `format-version` upgrades the table and is not stored.
///
/// # Errors
/// As [`Catalog::commit`]; `Invalid` for a reserved property, for one whose value has no meaning, and for an earlier
/// format version.
#[allow(clippy::implicit_hasher)] // one concrete type through the `Catalog` trait
pub async fn update_properties(
    catalog: &dyn Catalog,
    table: &Table,
    mut set: HashMap<String, String>,
    remove: Vec<String>,
) -> Result<Table> {
    let mut updates = Vec::new();
    check_properties(&set)?;
    if let Some(version) = set.remove(FORMAT_VERSION_PROPERTY) {
        let format_version = format_version(Some(&version))?;
        if format_version < table.metadata().format_version() {
            return Err(CatalogError::invalid(format!(
                "table \"{}\" has format version {} and cannot go back to {version}",
                table.ident(),
                table.format_version()
            )));
        }
        updates.push(TableUpdate::UpgradeFormatVersion { format_version });
    }
    if !set.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: set });
    }
    if !remove.is_empty() {
        updates.push(TableUpdate::RemoveProperties { removals: remove });
    }
    let commit = TableCommit {
        requirements: vec![TableRequirement::UuidMatch { uuid: table.uuid() }],
        updates,
    };
    catalog.commit(table.ident(), commit).await
}

/// Deletes files of a write that failed, as far as possible. What cannot be deleted is logged.
pub async fn delete_files(stores: &Stores, paths: &[String]) {
    let deletes: Vec<_> = paths.iter().map(|path| delete_one(stores, path)).collect();
    futures::stream::iter(deletes)
        .buffer_unordered(DELETES_IN_FLIGHT_MAX)
        .collect::<()>()
        .await;
}

async fn delete_one(stores: &Stores, path: &str) {
    if let Err(error) = stores.delete(path).await {
        tracing::warn!(path, error = %error.chain(), "could not delete an orphan file");
    }
}

async fn first_snapshot(
    table: &Table,
    operation: &dyn SnapshotOperation,
    session: &mut Session,
) -> Result<StagedTable> {
    let (snapshot, _) = new_snapshot(table, operation, session).await?;
    let refuse = |error: iceberg::Error| {
        CatalogError::invalid(format!(
            "table \"{}\" cannot be created: {}",
            table.ident(),
            error.message()
        ))
    };
    let built = table
        .metadata()
        .as_ref()
        .clone()
        .into_builder(None)
        .set_branch_snapshot(snapshot, MAIN_BRANCH)
        .and_then(ice::TableMetadataBuilder::build)
        .map_err(refuse)?;
    let loaded = Arc::new(LoadedMetadata::new(built.metadata));
    Ok(StagedTable::new(Table::new(
        table.ident().clone(),
        String::new(),
        loaded,
        table.stores().clone(),
    )))
}

/// Commits `operation`, planned against `base`, retrying against new heads.
async fn run(
    catalog: &dyn Catalog,
    base: &Table,
    operation: &dyn SnapshotOperation,
    properties: HashMap<String, String>,
) -> Result<Table> {
    let mut session = Session::new(properties);
    let result = run_session(catalog, base, operation, &mut session).await;
    if let Err(error) = &result
        && error.code() != ErrorCode::CommitStateUnknown
    {
        delete_files(base.stores(), &session.written).await;
    }
    result
}

async fn run_session(
    catalog: &dyn Catalog,
    base: &Table,
    operation: &dyn SnapshotOperation,
    session: &mut Session,
) -> Result<Table> {
    let mut policy = RetryPolicy::of(base.properties());
    // Writers of this process take turns: a try that must lose is not worth its manifest list.
    let turn = retry::turn(base.uuid());
    let _turn = turn.lock().await;
    loop {
        let head = catalog.load_table(base.ident()).await?;
        if head.uuid() != base.uuid() {
            return Err(CatalogError::Conflict {
                table: base.ident().to_string(),
                reason: "it was dropped and made again".to_owned(),
            });
        }
        head.check_writable()?;
        operation.validate(base, &head).await?;
        let (snapshot, list) = new_snapshot(&head, operation, session).await?;
        let commit = snapshot_commit(&head, snapshot);
        match catalog.commit(base.ident(), commit).await {
            Ok(table) => {
                session.discard_unlisted(base.stores(), &list).await;
                return Ok(table);
            }
            Err(CatalogError::CommitStateUnknown { table, source, .. }) => {
                if let Some(table) = find_snapshot(catalog, base, session.snapshot_id).await {
                    return Ok(table);
                }
                return Err(CatalogError::CommitStateUnknown {
                    table,
                    snapshot_id: Some(session.snapshot_id),
                    source,
                });
            }
            Err(error) if error.code() == ErrorCode::Conflict => {
                session
                    .discard(base.stores(), std::slice::from_ref(&list))
                    .await;
                if !policy.wait().await {
                    return Err(error);
                }
                tracing::debug!(table = %base.ident(), "commit conflict, trying again");
            }
            Err(error) => return Err(error),
        }
    }
}

/// The table with our snapshot in it, if the commit did happen.
async fn find_snapshot(catalog: &dyn Catalog, base: &Table, snapshot_id: i64) -> Option<Table> {
    for lookup in 0..LOOKUPS_MAX {
        if let Ok(head) = catalog.load_table(base.ident()).await
            && head.uuid() == base.uuid()
            && head.metadata().snapshot_by_id(snapshot_id).is_some()
        {
            return Some(head);
        }
        tokio::time::sleep(retry::lookup_pause(lookup)).await;
    }
    None
}

fn snapshot_commit(head: &Table, snapshot: ice::Snapshot) -> TableCommit {
    let main = head.ice_refs().get(MAIN_BRANCH);
    let retention = main.map_or_else(default_retention, |main| main.retention.clone());
    let reference = ice::SnapshotReference::new(snapshot.snapshot_id(), retention);
    TableCommit {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: head.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: head.metadata().current_snapshot_id(),
            },
            // What was validated must be what is there: a column may have become required meanwhile.
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: head.metadata().current_schema_id(),
            },
        ],
        updates: vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_owned(),
                reference,
            },
        ],
    }
}

/// Writes the manifests that are still missing and the manifest list of one try. Returns the
/// snapshot and the location of the list.
async fn new_snapshot(
    head: &Table,
    operation: &dyn SnapshotOperation,
    session: &mut Session,
) -> Result<(ice::Snapshot, String)> {
    let new = operation.manifests(head, session).await?;
    session.listed = new
        .manifests
        .iter()
        .map(|manifest| manifest.manifest_path.clone())
        .collect();
    let metadata = head.metadata();
    let parent = metadata.current_snapshot();
    let list = manifest_write::ManifestListInput {
        location: format!(
            "{}/snap-{}-{}.avro",
            head.metadata_directory(),
            session.snapshot_id,
            uuid::Uuid::new_v4()
        ),
        snapshot_id: session.snapshot_id,
        parent_id: parent.map(|snapshot| snapshot.snapshot_id()),
        manifests: new.manifests,
    };
    session.record_written(list.location.clone());
    let location = list.location.clone();
    let row_range = manifest_write::write_list(head, list).await?;
    let mut summary = new.changes.summary(
        parent.map(|snapshot| &snapshot.summary().additional_properties),
        &session.properties,
    );
    let limit = properties::number(head.properties(), SUMMARY_PARTITIONS_MAX);
    summary.extend(new.changes.partition_summaries(head, limit.unwrap_or(0)));
    let builder = ice::Snapshot::builder()
        .with_snapshot_id(session.snapshot_id)
        .with_parent_snapshot_id(parent.map(|snapshot| snapshot.snapshot_id()))
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(now_ms().max(metadata.last_updated_ms()))
        .with_manifest_list(location.clone())
        .with_summary(ice::Summary {
            operation: operation.kind(),
            additional_properties: summary,
        })
        .with_schema_id(metadata.current_schema_id());
    let snapshot = match row_range {
        Some((first_row_id, added_rows)) => {
            builder.with_row_range(first_row_id, added_rows).build()
        }
        None => builder.build(),
    };
    Ok((snapshot, location))
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
