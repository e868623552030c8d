//! The truncate operation: every file of the table is deleted in one snapshot of metadata.
//!
//! No data file is opened. Earlier snapshots keep their files until they expire; the manifests of the new
//! snapshot list what it deleted, so that expiring finds the files.

use async_trait::async_trait;
use iceberg::spec as ice;

use super::{NewManifests, Session, SnapshotOperation, manifest_write};
use crate::error::{CatalogError, Result};
use crate::manifest::{read_manifest_list, read_rewritable};
use crate::summary::Changes;
use crate::table::Table;

#[derive(Debug)]
pub(super) struct Truncate;

#[async_trait]
impl SnapshotOperation for Truncate {
    fn kind(&self) -> ice::Operation {
        ice::Operation::Delete
    }

    /// Whatever is in the table when the commit happens is deleted.
    async fn validate(&self, _base: &Table, _head: &Table) -> Result<()> {
        Ok(())
    }

    async fn manifests(&self, head: &Table, session: &mut Session) -> Result<NewManifests> {
        // What an earlier try wrote lists the files of another head.
        let stale = session.written.clone();
        session.discard(head.stores(), &stale).await;
        let mut changes = Changes::default();
        let mut manifests = Vec::new();
        let Some(parent) = head.current_snapshot() else {
            return Ok(NewManifests { manifests, changes });
        };
        for manifest in read_manifest_list(head, &parent).await? {
            if !has_live_files(&manifest) {
                continue;
            }
            let Some(entries) = read_rewritable(head, &manifest).await? else {
                return Err(CatalogError::unsupported(format!(
                    "the files of table \"{}\" cannot be deleted: manifest \"{}\" cannot be written again here; delete \
                     them with the engine that wrote it, or drop the table",
                    head.ident(),
                    manifest.manifest_path
                )));
            };
            let live: Vec<_> = entries
                .entries()
                .iter()
                .filter(|entry| entry.is_alive())
                .collect();
            for entry in &live {
                changes.remove_file(entry.data_file(), manifest.partition_spec_id);
            }
            if !live.is_empty() {
                let written = manifest_write::write_deleted(head, &manifest, &live, session);
                manifests.push(written.await?);
            }
        }
        Ok(NewManifests { manifests, changes })
    }
}

/// Whether a manifest may list files that are still in the table; unknown counts may.
pub(super) fn has_live_files(manifest: &ice::ManifestFile) -> bool {
    manifest.added_files_count != Some(0) || manifest.existing_files_count != Some(0)
}
