//! Where COPY writes: under the allowed roots, never over a table, and nothing is left of a COPY that fails.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tarn_catalog::Stores;

use super::options::Existing;
use crate::error::{EngineError, ErrorKind};
use crate::files::{AllowedRoots, Place, is_below, plain};

/// Objects that OVERWRITE removes.
const REPLACED_MAX: usize = 1_000_000;

/// A place that may be written to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As users name it, without a slash at its end.
    pub(super) name: String,
    pub(super) store: Arc<dyn ObjectStore>,
    /// Of the file, or of the folder.
    pub(super) key: Path,
    /// Whether files that are there are replaced.
    pub(super) replaces: bool,
    /// What is replaced when all is written.
    old: Vec<Path>,
    /// The folder if it is a local one.
    local: Option<PathBuf>,
}

fn denied(name: &str, why: &str) -> EngineError {
    EngineError::new(ErrorKind::Denied, format!("COPY to \"{name}\": {why}"))
}

/// Checks that COPY may write to `path` and finds what is there already.
///
/// # Errors
/// [`ErrorKind::Denied`] outside of the roots or in a table, [`ErrorKind::DuplicateObject`] if something is there
/// and `existing` does not say what becomes of it.
pub(super) async fn checked(
    path: &str,
    one_file: bool,
    existing: Existing,
    roots: &AllowedRoots,
    stores: &Stores,
    warehouses: &[String],
) -> Result<Target, EngineError> {
    let place = roots.place(path)?;
    let (name, local) = match &place {
        Place::Remote(text) => (text.trim_end_matches('/').to_owned(), None),
        Place::Local(text) => {
            let real = writable(text, roots)?;
            (real.display().to_string(), Some(real))
        }
    };
    for warehouse in warehouses {
        let warehouse = real_warehouse(warehouse);
        if name == warehouse || is_below(&name, &warehouse) || is_below(&warehouse, &name) {
            return Err(denied(path, "this is where tables are kept").with_hint(
                "INSERT writes into tables; COPY needs a folder outside of warehouses",
            ));
        }
    }
    let (store, key) = stores.resolve(&name)?;
    let mut target = Target {
        name,
        store,
        key,
        replaces: false,
        old: vec![],
        local,
    };
    target.refuse_tables(path, one_file, roots, stores).await?;
    target
        .settle_existing(path, one_file, existing, stores)
        .await?;
    Ok(target)
}

/// A warehouse as targets are named: without scheme, links followed.
fn real_warehouse(warehouse: &str) -> String {
    let text = plain(warehouse);
    if text.starts_with("s3://") {
        return text;
    }
    FilePath::new(&text)
        .canonicalize()
        .map_or(text, |real| real.display().to_string())
}

/// The path with links followed as far as it exists, if all of it is in a root.
fn writable(text: &str, roots: &AllowedRoots) -> Result<PathBuf, EngineError> {
    let path = PathBuf::from(text.trim_end_matches('/'));
    let dotted = text.split('/').any(|part| part == ".." || part == ".");
    if dotted {
        return Err(roots.refused(text));
    }
    let mut existing = path.clone();
    let mut rest = vec![];
    let real = loop {
        // A link that leads nowhere would be followed by a later write.
        if existing.is_symlink() || existing.exists() {
            match existing.canonicalize() {
                Ok(real) => break real,
                Err(_) => return Err(roots.refused(text)),
            }
        }
        match (existing.file_name(), existing.parent()) {
            (Some(name), Some(parent)) => {
                rest.push(name.to_owned());
                existing = parent.to_owned();
            }
            _ => return Err(roots.refused(text)),
        }
    };
    if !roots.holds(&real) {
        return Err(roots.refused(text));
    }
    Ok(rest
        .into_iter()
        .rev()
        .fold(real, |path, part| path.join(part)))
}

impl Target {
    /// A key below the folder.
    pub(super) fn below(&self, parts: &str) -> Result<Path, EngineError> {
        let text = format!("{}/{parts}", self.key);
        Path::parse(text.trim_start_matches('/')).map_err(|error| {
            EngineError::new(ErrorKind::InvalidParameter, format!("\"{parts}\": {error}"))
        })
    }

    /// Refuses a folder of a table, whichever its location, and everything in one.
    async fn refuse_tables(
        &self,
        path: &str,
        one_file: bool,
        roots: &AllowedRoots,
        stores: &Stores,
    ) -> Result<(), EngineError> {
        let above = |folder: &Path| {
            let mut parts: Vec<_> = folder.parts().collect();
            parts.pop();
            parts.into_iter().collect::<Path>()
        };
        let is_file = one_file || self.local.as_ref().is_some_and(|local| local.is_file());
        let mut folder = if is_file {
            above(&self.key)
        } else {
            self.key.clone()
        };
        // Above the roots nothing is looked at.
        while !folder.as_ref().is_empty() && roots.covers(&self.named(&folder)) {
            let metadata = folder.clone().join("metadata");
            let mut listed = self.store.list(Some(&metadata));
            // Metadata files come among others; a look at the first ones is enough for a folder of a table.
            for _ in 0..100 {
                match listed.next().await {
                    Some(Ok(found)) if found.location.as_ref().ends_with(".metadata.json") => {
                        return Err(denied(path, "this is the folder of a table")
                            .with_hint("INSERT writes into tables"));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(object_store::Error::NotFound { .. })) | None => break,
                    Some(Err(error)) => return Err(stores.explain(&self.name, error).into()),
                }
            }
            folder = above(&folder);
        }
        Ok(())
    }

    /// The name of a folder above the target.
    fn named(&self, folder: &Path) -> String {
        let root = self.name.strip_suffix(self.key.as_ref()).unwrap_or("/");
        format!("{root}{folder}")
    }

    async fn settle_existing(
        &mut self,
        path: &str,
        one_file: bool,
        existing: Existing,
        stores: &Stores,
    ) -> Result<(), EngineError> {
        let taken = |what: &str| {
            EngineError::new(
                ErrorKind::DuplicateObject,
                format!("COPY to \"{path}\": {what}"),
            )
        };
        let explain = |error| EngineError::from(stores.explain(&self.name, error));
        let is_file = match self.store.head(&self.key).await {
            Ok(_) => self.local.as_ref().is_none_or(|local| local.is_file()),
            Err(object_store::Error::NotFound { .. }) => false,
            // A local folder is no object.
            Err(_) if self.local.as_ref().is_some_and(|local| local.is_dir()) => false,
            Err(error) => return Err(explain(error)),
        };
        let mut old = vec![];
        let mut listed = self.store.list(Some(&self.key));
        while let Some(found) = listed.next().await {
            match found {
                Ok(found) if found.location == self.key => {}
                Ok(found) => old.push(found.location),
                Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(explain(error)),
            }
            if existing != Existing::Replace || one_file {
                break;
            }
            if old.len() > REPLACED_MAX {
                return Err(taken(&format!("it holds more than {REPLACED_MAX} files")));
            }
        }
        drop(listed);
        match (one_file, is_file, old.is_empty()) {
            (true, _, false) => {
                Err(taken("this is a folder")
                    .with_hint("end the path with / to write files into it"))
            }
            (false, true, _) => Err(taken("this is a file")),
            (true, true, _) if existing == Existing::Refuse => {
                Err(taken("the file exists").with_hint("OVERWRITE true replaces it"))
            }
            (false, _, false) if existing == Existing::Refuse => {
                Err(taken("the folder is not empty").with_hint(
                    "OVERWRITE true replaces what is in it, OVERWRITE_OR_IGNORE true adds files",
                ))
            }
            _ => {
                if existing == Existing::Replace && !one_file {
                    if let Some(table) = old
                        .iter()
                        .find(|key| key.as_ref().ends_with(".metadata.json"))
                    {
                        return Err(denied(
                            path,
                            &format!("\"{table}\" in it belongs to a table"),
                        ));
                    }
                    self.old = old;
                }
                self.replaces = is_file || !self.old.is_empty();
                Ok(())
            }
        }
    }

    /// Removes what OVERWRITE replaces.
    pub(super) async fn remove_old(&self, stores: &Stores) -> Result<(), EngineError> {
        for key in &self.old {
            match self.store.delete(key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(stores.explain(&self.name, error).into()),
            }
        }
        Ok(())
    }

    /// Folders of a local target that are not there yet, the innermost first.
    fn missing_folders(&self, one_file: bool) -> Vec<PathBuf> {
        let Some(local) = &self.local else {
            return vec![];
        };
        let first = if one_file {
            local.parent()
        } else {
            Some(local.as_path())
        };
        let mut out = vec![];
        let mut next = first;
        while let Some(folder) = next
            && !folder.exists()
        {
            out.push(folder.to_owned());
            next = folder.parent();
        }
        out
    }
}

/// Removes finished files unless it is told that all went well.
pub(super) struct Leftovers {
    store: Arc<dyn ObjectStore>,
    finished: Vec<Path>,
    /// The target if it is a local folder, and folders that were missing.
    local: Option<PathBuf>,
    missing: Vec<PathBuf>,
    armed: bool,
}

impl Leftovers {
    pub(super) fn of(target: &Target, one_file: bool) -> Self {
        Self {
            store: Arc::clone(&target.store),
            finished: vec![],
            local: target.local.clone().filter(|_| !one_file),
            missing: target.missing_folders(one_file),
            armed: true,
        }
    }

    /// One more file is there.
    pub(super) fn add(&mut self, file: Path) {
        self.finished.push(file);
    }

    /// All went well.
    pub(super) fn keep(&mut self) {
        self.armed = false;
    }

    /// Removes the files now.
    pub(super) async fn remove(mut self) {
        self.armed = false;
        let finished = std::mem::take(&mut self.finished);
        remove(
            &self.store,
            finished,
            self.local.take(),
            std::mem::take(&mut self.missing),
        )
        .await;
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let store = Arc::clone(&self.store);
        let finished = std::mem::take(&mut self.finished);
        let (local, missing) = (self.local.take(), std::mem::take(&mut self.missing));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&store, finished, local, missing).await });
        }
    }
}

async fn remove(
    store: &Arc<dyn ObjectStore>,
    finished: Vec<Path>,
    local: Option<PathBuf>,
    missing: Vec<PathBuf>,
) {
    for file in finished {
        if let Err(error) = store.delete(&file).await {
            tracing::warn!(path = %file, %error, "file of a failed COPY not deleted");
        }
    }
    let folders = tokio::task::spawn_blocking(move || {
        if let Some(local) = local {
            remove_empty(&local);
        }
        // What is not empty by now belongs to somebody else.
        for folder in missing {
            let _ = std::fs::remove_dir(folder);
        }
    });
    let _ = folders.await;
}

/// Removes folders in `folder` in which there is nothing.
fn remove_empty(folder: &FilePath) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            remove_empty(&path);
            let _ = std::fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_in_roots_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().canonicalize().unwrap().join("in");
        std::fs::create_dir(&inside).unwrap();
        let roots = AllowedRoots::new(&[inside.display().to_string()]).unwrap();
        let check = |text: &str| writable(text, &roots);
        let text = inside.join("a/b.csv").display().to_string();
        assert_eq!(check(&text).unwrap().display().to_string(), text);
        std::os::unix::fs::symlink(dir.path(), inside.join("out")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), inside.join("dangling")).unwrap();
        for bad in [
            "out/x.csv",
            "dangling",
            "dangling/x.csv",
            "../x.csv",
            "a/../../x",
        ] {
            let text = format!("{}/{bad}", inside.display());
            assert_eq!(check(&text).unwrap_err().kind, ErrorKind::Denied, "{bad}");
        }
        assert_eq!(check("/etc/x").unwrap_err().kind, ErrorKind::Denied);
    }
}
