//! The append operation: new data files in new manifests, everything else kept.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use iceberg::spec as ice;

use super::manifest_write::{self, ENTRIES_MAX};
use super::merge;
use super::truncate::has_live_files;
use super::{NewDataFile, NewManifests, Session, SnapshotOperation};
use crate::error::{CatalogError, Result};
use crate::manifest::{ContentFile, EntryStatus, entries_of, read_manifest_list};
use crate::summary::Changes;
use crate::table::Table;

#[derive(Debug)]
pub(super) struct Append {
    files_by_spec: BTreeMap<i32, Vec<NewDataFile>>,
    /// Whether no other snapshot may have come in between: somebody else may have added the same files.
    unchanged: bool,
}

impl Append {
    /// Checks that `files` fit `base`.
    pub(super) fn new(base: &Table, files: Vec<NewDataFile>) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut files_by_spec = BTreeMap::<i32, Vec<NewDataFile>>::new();
        for file in files {
            let spec = base.spec_by_id(file.spec_id).ok_or_else(|| {
                CatalogError::invalid(format!(
                    "file \"{}\" has partition spec {}, which table \"{}\" does not have",
                    file.path,
                    file.spec_id,
                    base.ident()
                ))
            })?;
            if spec.fields.len() != file.partition.len() {
                return Err(CatalogError::invalid(format!(
                    "file \"{}\" has {} partition values; spec {} has {} fields",
                    file.path,
                    file.partition.len(),
                    spec.id,
                    spec.fields.len()
                )));
            }
            if !seen.insert(file.path.clone()) {
                return Err(CatalogError::invalid(format!(
                    "file \"{}\" is added twice",
                    file.path
                )));
            }
            files_by_spec.entry(file.spec_id).or_default().push(file);
        }
        Ok(Self {
            files_by_spec,
            unchanged: false,
        })
    }

    /// The same, refused if the table has another snapshot by then.
    pub(super) fn unchanged(self) -> Self {
        Self {
            unchanged: true,
            ..self
        }
    }
}

#[async_trait]
impl SnapshotOperation for Append {
    fn kind(&self) -> ice::Operation {
        ice::Operation::Append
    }

    /// Rows that were right under the old schema are right under the new one, unless it demands a
    /// column they do not have.
    async fn validate(&self, base: &Table, head: &Table) -> Result<()> {
        let snapshot = |table: &Table| table.metadata().current_snapshot_id();
        if self.unchanged && snapshot(base) != snapshot(head) {
            return Err(CatalogError::Conflict {
                table: base.ident().to_string(),
                reason: "other files came in between, perhaps the same; try again".to_owned(),
            });
        }
        let planned = base.metadata().current_schema();
        for field in head.metadata().current_schema().as_struct().fields() {
            let demanded = field.required && field.initial_default.is_none();
            let satisfied = planned
                .field_by_id(field.id)
                .is_some_and(|old| old.required);
            if demanded && !satisfied {
                return Err(CatalogError::Conflict {
                    table: base.ident().to_string(),
                    reason: format!("column \"{}\" is now required", field.name),
                });
            }
        }
        Ok(())
    }

    async fn manifests(&self, head: &Table, session: &mut Session) -> Result<NewManifests> {
        let mut changes = Changes::default();
        for file in self.files_by_spec.values().flatten() {
            changes.add_data_file(file);
        }
        // What an earlier try merged are manifests of another head.
        let stale = std::mem::take(&mut session.merged);
        session.discard(head.stores(), &stale).await;
        let version = head.metadata().format_version();
        let added = match &session.manifests {
            Some((of, written)) if *of == version => written.clone(),
            _ => self.write(head, session).await?,
        };
        let mut manifests = added;
        if let Some(parent) = head.current_snapshot() {
            // What only lists deleted files belongs to the snapshot that deleted them.
            let kept = read_manifest_list(head, &parent).await?;
            for manifest in kept.into_iter().filter(has_live_files) {
                manifests.push(with_counts(head, manifest).await?);
            }
        }
        let manifests = merge::merged(head, manifests, session).await?;
        Ok(NewManifests { manifests, changes })
    }
}

impl Append {
    async fn write(&self, head: &Table, session: &mut Session) -> Result<Vec<ice::ManifestFile>> {
        let mut written = Vec::new();
        for (spec_id, files) in &self.files_by_spec {
            for chunk in files.chunks(ENTRIES_MAX) {
                written.push(manifest_write::write_data(head, *spec_id, chunk, session).await?);
            }
        }
        let version = head.metadata().format_version();
        session.manifests = Some((version, written.clone()));
        Ok(written)
    }
}

/// Format versions 2 and 3 demand counts that a manifest list of version 1 may lack.
async fn with_counts(head: &Table, mut manifest: ice::ManifestFile) -> Result<ice::ManifestFile> {
    let counted = manifest.added_files_count.is_some()
        && manifest.existing_files_count.is_some()
        && manifest.deleted_files_count.is_some()
        && manifest.added_rows_count.is_some()
        && manifest.existing_rows_count.is_some()
        && manifest.deleted_rows_count.is_some();
    if counted || head.metadata().format_version() == ice::FormatVersion::V1 {
        return Ok(manifest);
    }
    let (mut files, mut rows) = ([0_u32; 3], [0_u64; 3]);
    for entry in entries_of(head, &manifest).await? {
        let status = match entry.status {
            EntryStatus::Existing => 0,
            EntryStatus::Added => 1,
            EntryStatus::Deleted => 2,
        };
        files[status] += 1;
        rows[status] += match &entry.file {
            ContentFile::Data(file) => file.record_count,
            ContentFile::Delete(file) => file.record_count,
        };
    }
    [
        manifest.existing_files_count,
        manifest.added_files_count,
        manifest.deleted_files_count,
    ] = files.map(Some);
    [
        manifest.existing_rows_count,
        manifest.added_rows_count,
        manifest.deleted_rows_count,
    ] = rows.map(Some);
    Ok(manifest)
}
