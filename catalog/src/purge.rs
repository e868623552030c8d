//! Deleting every file of a dropped table.

use std::collections::HashSet;

use futures::StreamExt;

use crate::commit::delete_files;
use crate::error::{CatalogError, Result};
use crate::manifest::{ContentFile, entries_of, read_manifest_list};
use crate::table::{Snapshot, Table};

/// Table property that says "these files are not mine to delete".
const GC_PROPERTY: &str = "gc.enabled";
/// Manifests that are read at the same time.
const READS_IN_FLIGHT_MAX: usize = 16;

/// Whether the table's files may be deleted with it.
///
/// `next` is what then becomes of them, or what to do.
///
/// # Errors
/// [`CatalogError::Invalid`] if the table says no.
pub(crate) fn check(table: &Table, next: &str) -> Result<()> {
    match table.properties().get(GC_PROPERTY) {
        Some(value) if value.trim().eq_ignore_ascii_case("false") => {
            Err(CatalogError::invalid(format!(
                "table \"{}\" has {GC_PROPERTY}=false: its files may belong to another table; {next}",
                table.ident()
            )))
        }
        _ => Ok(()),
    }
}

/// Deletes data, delete, manifest and metadata files of all snapshots, in this order: if it is
/// interrupted, what is left can still be found. What cannot be read or deleted is logged.
pub(crate) async fn purge(table: &Table) {
    let mut data = HashSet::new();
    let mut metadata = Vec::new();
    let mut seen = HashSet::new();
    for snapshot in table.snapshots() {
        collect(table, &snapshot, &mut seen, &mut data).await;
        metadata.push(snapshot.manifest_list);
    }
    let ice = table.metadata();
    metadata.extend(seen);
    metadata.extend(ice.statistics_iter().map(|s| s.statistics_path.clone()));
    metadata.extend(
        ice.partition_statistics_iter()
            .map(|s| s.statistics_path.clone()),
    );
    metadata.extend(
        ice.metadata_log()
            .iter()
            .map(|log| log.metadata_file.clone()),
    );
    let data: Vec<String> = data.into_iter().collect();
    delete_files(table.stores(), &data).await;
    delete_files(table.stores(), &metadata).await;
    delete_files(table.stores(), &[table.metadata_location().to_owned()]).await;
}

/// Adds the manifests of `snapshot` to `seen`, and the files they list to `data`.
async fn collect(
    table: &Table,
    snapshot: &Snapshot,
    seen: &mut HashSet<String>,
    data: &mut HashSet<String>,
) {
    let manifests = match read_manifest_list(table, snapshot).await {
        Ok(manifests) => manifests,
        Err(error) => return warn(table, &error),
    };
    let new: Vec<_> = manifests
        .into_iter()
        .filter(|manifest| seen.insert(manifest.manifest_path.clone()))
        .collect();
    let reads: Vec<_> = new
        .iter()
        .map(|manifest| Box::pin(entries_of(table, manifest)))
        .collect();
    let mut reads = futures::stream::iter(reads).buffer_unordered(READS_IN_FLIGHT_MAX);
    while let Some(read) = reads.next().await {
        match read {
            Ok(entries) => data.extend(entries.into_iter().map(|entry| match entry.file {
                ContentFile::Data(file) => file.path.clone(),
                ContentFile::Delete(file) => file.path.clone(),
            })),
            Err(error) => warn(table, &error),
        }
    }
}

fn warn(table: &Table, error: &CatalogError) {
    tracing::warn!(table = %table.ident(), error = %error.chain(), "some files of a dropped table stay");
}
