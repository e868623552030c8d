//! Files in a table's folders that nothing of the table names: what writers left that were killed, or lost a commit.
//!
//! Looks in `data` and `metadata` below the table's location only: other folders that properties name may be shared. A
//! young file may belong to a write that has not been committed yet; how old is old enough is the caller's to say.

use std::collections::HashSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::ident::TableIdent;
use crate::manifest::{ContentFile, entries_of, read_manifest_list};
use crate::purge;
use crate::table::Table;

/// Manifests that are read, and files that are deleted, at the same time.
const REQUESTS_IN_FLIGHT_MAX: usize = 16;
/// What tables of Hadoop catalogs keep beside their metadata, without naming it.
const VERSION_HINT: &str = "version-hint.text";

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A file in one of the folders.
struct Found {
    place: Place,
    bytes: u64,
}

enum Place {
    Object(Arc<dyn ObjectStore>, Path),
    /// The begun file of an upload to a local folder, which object stores of other kinds do not show.
    Begun(PathBuf),
}

/// Removes the files of the table `ident` that no snapshot, metadata file or log entry of it names and that were
/// written more than `older_than` ago. What cannot be deleted is logged and not counted.
///
/// # Errors
/// `Invalid` if the table says that its files are not its own (`gc.enabled=false`), or another table is in its folders;
/// and whatever stands in the way of reading all that the table names: then nothing is removed.
pub async fn remove_orphan_files(
    catalog: &dyn Catalog,
    ident: &TableIdent,
    older_than: Duration,
) -> Result<Removed> {
    let table = catalog.load_table(ident).await?;
    purge::check(&table, "nothing of it is removed")?;
    let folders = folders(&table);
    for entry in catalog.list_entries().await? {
        let inside = |folder: &String| entry.metadata_location.starts_with(&format!("{folder}/"));
        let own = entry.ident == *ident || entry.metadata_location == table.metadata_location();
        if !own && folders.iter().any(inside) {
            return Err(CatalogError::invalid(format!(
                "the folders of table \"{ident}\" hold table \"{}\" too",
                entry.ident
            )));
        }
    }
    // Before 1970 nothing was written.
    let before = SystemTime::now()
        .checked_sub(older_than)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let mut found = Vec::new();
    for folder in &folders {
        listed(&table, folder, before, &mut found).await?;
    }
    // What was committed meanwhile is named by the newest version only.
    let table = catalog.load_table(ident).await?;
    let named = named(&table).await?;
    let orphans = found.into_iter().filter(|found| {
        let name = match &found.place {
            Place::Object(_, path) => path.filename().unwrap_or_default(),
            Place::Begun(_) => return true,
        };
        // Names are unique; a whole location can be written in more than one way.
        name != VERSION_HINT && !named.contains(name)
    });
    let deletes: Vec<_> = orphans.map(delete).collect();
    let removed = futures::stream::iter(deletes)
        .buffer_unordered(REQUESTS_IN_FLIGHT_MAX)
        .fold(Removed::default(), |sum, bytes| async move {
            match bytes {
                Some(bytes) => Removed {
                    files: sum.files + 1,
                    bytes: sum.bytes + bytes,
                },
                None => sum,
            }
        });
    Ok(removed.await)
}

/// Where files of the table and of no other are, if all tables have locations of their own.
fn folders(table: &Table) -> Vec<String> {
    let location = table.location().trim_end_matches('/');
    let own = |folder: &String| folder.starts_with(&format!("{location}/"));
    [table.data_location(), table.metadata_directory()]
        .into_iter()
        .filter(own)
        .collect()
}

/// Adds the files below `folder` that were written before `before`.
async fn listed(
    table: &Table,
    folder: &str,
    before: SystemTime,
    found: &mut Vec<Found>,
) -> Result<()> {
    let (store, prefix) = table.stores().resolve(folder)?;
    let mut objects = store.list(Some(&prefix));
    loop {
        let object = objects.try_next().await;
        let Some(object) = object.map_err(|error| table.stores().explain(folder, error))? else {
            break;
        };
        if SystemTime::from(object.last_modified) < before {
            found.push(Found {
                place: Place::Object(Arc::clone(&store), object.location),
                bytes: object.size,
            });
        }
    }
    let local = folder.strip_prefix("file://").unwrap_or(folder);
    if local.starts_with('/') {
        begun(FilePath::new(local), before, found);
    }
    Ok(())
}

/// Adds the begun files of uploads below `folder`: `name#number`, as `object_store` names them.
fn begun(folder: &FilePath, before: SystemTime, found: &mut Vec<Found>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if about.is_dir() {
            begun(&entry.path(), before, found);
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.rsplit_once('#').map(|(_, number)| number);
        let is_begun =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if is_begun && about.modified().is_ok_and(|modified| modified < before) {
            found.push(Found {
                place: Place::Begun(entry.path()),
                bytes: about.len(),
            });
        }
    }
}

/// The names, without folders, of all files that the table names.
async fn named(table: &Table) -> Result<HashSet<String>> {
    let metadata = table.metadata();
    let mut named = HashSet::new();
    let mut name = |location: &str| {
        let name = location.rsplit('/').next().unwrap_or(location);
        named.insert(name.to_owned());
    };
    name(table.metadata_location());
    for log in metadata.metadata_log() {
        name(&log.metadata_file);
    }
    for statistics in metadata.statistics_iter() {
        name(&statistics.statistics_path);
    }
    for statistics in metadata.partition_statistics_iter() {
        name(&statistics.statistics_path);
    }
    let mut seen = HashSet::new();
    let mut manifests = Vec::new();
    for snapshot in table.snapshots() {
        name(&snapshot.manifest_list);
        for manifest in read_manifest_list(table, &snapshot).await? {
            if seen.insert(manifest.manifest_path.clone()) {
                name(&manifest.manifest_path);
                manifests.push(manifest);
            }
        }
    }
    let reads = manifests.iter();
    let reads: Vec<_> = reads
        .map(|manifest| Box::pin(entries_of(table, manifest)))
        .collect();
    let mut reads = futures::stream::iter(reads).buffer_unordered(REQUESTS_IN_FLIGHT_MAX);
    while let Some(entries) = reads.try_next().await? {
        for entry in entries {
            match entry.file {
                ContentFile::Data(file) => name(&file.path),
                ContentFile::Delete(file) => name(&file.path),
            }
        }
    }
    Ok(named)
}

/// Deletes a file; gives its bytes if it is gone.
async fn delete(found: Found) -> Option<u64> {
    let (path, deleted) = match &found.place {
        Place::Object(store, path) => {
            let deleted = store.delete(path).await.map_err(|error| error.to_string());
            (path.to_string(), deleted)
        }
        Place::Begun(path) => {
            let deleted = std::fs::remove_file(path).map_err(|error| error.to_string());
            (path.display().to_string(), deleted)
        }
    };
    match deleted {
        Ok(()) => Some(found.bytes),
        Err(error) => {
            tracing::warn!(path, error, "could not delete an orphan file");
            None
        }
    }
}
