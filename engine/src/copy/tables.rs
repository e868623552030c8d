//! Files that tables have outside of their folders: attached ones, for the most part. COPY may not replace them.
//!
//! Looks at tables that say they have such, or lie outside of the catalog's warehouse.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tarn_catalog::{Table, TableIdent, snapshot_files};

use super::target::Target;
use crate::directory::RelationKind;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::files::{is_below, plain};
use crate::resolve::namespace_of;

impl Engine {
    /// Refuses a target of which files that are to be replaced are in a table of any catalog, by its current snapshot or
    /// one of its branches and tags.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] names the table and a file; or what kept its metadata from being read.
    pub(super) async fn refuse_tables_files(
        &self,
        path: &str,
        target: &Target,
    ) -> Result<(), EngineError> {
        if !target.replaces {
            return Ok(());
        }
        for name in self.config.catalogs.names() {
            let catalog = self.config.catalogs.get(&name)?;
            let system = self.config.system.as_ref();
            let directory = self.directories.read(catalog.as_ref(), system).await?;
            let warehouse = plain(catalog.warehouse());
            for schema in &directory.schemas {
                for relation in &schema.relations {
                    let outside = relation
                        .location
                        .as_ref()
                        .is_some_and(|at| !is_below(&plain(at), &warehouse));
                    if relation.kind != RelationKind::Table || !(relation.is_scattered || outside) {
                        continue;
                    }
                    let ident = TableIdent::new(namespace_of(&schema.name), relation.name.clone());
                    let table = catalog.load_table(&ident).await?;
                    if let Some(file) = self.file_below(&table, target).await? {
                        return Err(EngineError::new(
                            ErrorKind::Denied,
                            format!(
                                "COPY to \"{path}\": \"{file}\" belongs to table \"{name}.{ident}\""
                            ),
                        )
                        .with_hint("write to another folder, or drop the table first"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A file of the table that is the target, or in it.
    async fn file_below(
        &self,
        table: &Table,
        target: &Target,
    ) -> Result<Option<String>, EngineError> {
        let mut snapshots: Vec<_> = table.current_snapshot().into_iter().collect();
        for reference in table.refs() {
            if snapshots.iter().all(|s| s.id != reference.snapshot_id) {
                snapshots.extend(table.snapshot_by_id(reference.snapshot_id));
            }
        }
        let mut folders = HashMap::new();
        for snapshot in snapshots {
            let live = snapshot_files(table, &snapshot, &self.config.cache, &|_| true).await?;
            let data = live.data.iter().map(|file| &file.path);
            let deletes = live.deletes.iter().map(|file| &file.path);
            for file in data.chain(deletes) {
                let name = real(&plain(file), &mut folders);
                if name == target.name || is_below(&name, &target.name) {
                    return Ok(Some(plain(file)));
                }
            }
        }
        Ok(None)
    }
}

/// A file as targets are named: links to its folder followed.
fn real(name: &str, folders: &mut HashMap<PathBuf, PathBuf>) -> String {
    let path = Path::new(name);
    let (Some(folder), Some(file), true) = (path.parent(), path.file_name(), path.is_absolute())
    else {
        return name.to_owned();
    };
    let found = folders
        .entry(folder.to_owned())
        .or_insert_with(|| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
    found.join(file).display().to_string()
}
