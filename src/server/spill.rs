//! Where a worker spills: a folder of its own, which the next one removes if nobody holds it any more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::Config;

/// Begins the names of the folders of workers that share a machine.
const PREFIX: &str = "tarn-worker-";
/// Is locked as long as a folder's worker lives.
const LOCK: &str = "lock";

/// A folder to spill into. What is in it goes with the worker, or when another one starts.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The folder to remove at the end, and the lock that says that it is in use.
    own: Option<(PathBuf, File)>,
}

impl Folder {
    /// The folder of the worker `worker_id`. A local worker has a data folder of its own; others may share a machine.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn open(config: &Config, worker_id: &str, local: bool) -> anyhow::Result<Self> {
        if local {
            return Ok(Self {
                path: config.data_dir.join("spill"),
                own: None,
            });
        }
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        Self::open_in(&parent, worker_id)
    }

    fn open_in(parent: &Path, worker_id: &str) -> anyhow::Result<Self> {
        let folder = parent.join(format!("{PREFIX}{worker_id}"));
        // It gets its name when it is locked: nobody takes it for abandoned.
        let begun = parent.join(format!(".{PREFIX}{worker_id}"));
        let failed = || format!("spill folder {} cannot be made", folder.display());
        fs::create_dir(&begun).with_context(failed)?;
        let lock = File::create(begun.join(LOCK)).with_context(failed)?;
        lock.lock().with_context(failed)?;
        fs::rename(&begun, &folder).with_context(failed)?;
        Ok(Self {
            path: folder.join("spill"),
            own: Some((folder, lock)),
        })
    }

    /// Where to spill.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some((folder, _lock)) = &self.own {
            // Who starts next removes what is left.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Removes the folders of workers that were killed.
fn remove_abandoned(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(folder = %entry.path().display(), %error, "spill folder of a dead worker cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_workers_are_removed_and_those_of_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = Folder::open_in(parent.path(), "living").unwrap();
        let dead = Folder::open_in(parent.path(), "dead").unwrap();
        let (dead_folder, lock) = dead.own.as_ref().unwrap();
        fs::create_dir(dead.path()).unwrap();
        lock.unlock().unwrap();
        remove_abandoned(parent.path());
        assert!(!dead_folder.exists());
        let (living_folder, _) = living.own.as_ref().unwrap();
        assert!(living_folder.join(LOCK).exists());
        let living_folder = living_folder.clone();
        drop(living);
        assert!(!living_folder.exists());
    }
}
