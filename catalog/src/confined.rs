//! Which folders of this machine tables may lie in: metadata made elsewhere can name any file.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Folders whose files are known to be inside, at most.
const KNOWN_MAX: usize = 100_000;

/// The folders that local locations must be in, with symbolic links followed.
#[derive(Debug)]
pub(crate) struct Confined {
    folders: Vec<PathBuf>,
    /// Folders that were found to be inside.
    known: Mutex<HashSet<PathBuf>>,
}

impl Confined {
    pub(crate) fn new(folders: &[String]) -> Self {
        Self {
            folders: folders
                .iter()
                .map(|folder| real(Path::new(folder)))
                .collect(),
            known: Mutex::default(),
        }
    }

    /// Whether `path` is in one of the folders. It need not exist yet.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let path = Path::new(path);
        let Some(parent) = path.parent() else {
            // The root of the store, which names no file.
            return true;
        };
        if path.components().any(|part| part == Component::ParentDir) {
            return false;
        }
        let is_link = path.symlink_metadata().is_ok_and(|file| file.is_symlink());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_link && known().contains(parent) {
            return true;
        }
        let found = real(path);
        let inside = self.folders.iter().any(|folder| found.starts_with(folder));
        if inside && !is_link {
            let mut known = known();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(parent.to_owned());
        }
        inside
    }
}

/// `path` with the links in what exists of it followed.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() {
                found
            } else {
                found.join(rest)
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::create_dir_all(inside.join("t/data")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("x"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("x"), inside.join("t/data/x")).unwrap();
        let confined = Confined::new(&[inside.display().to_string()]);
        let holds = |rest: &str| confined.holds(&format!("{}/{rest}", inside.display()));
        for _ in 0..2 {
            assert!(holds("t/data/new.parquet"));
            assert!(holds("new/folder/file"));
            assert!(!holds("t/data/x"));
            assert!(!holds("link/x"));
            assert!(!holds("link/new/y"));
            assert!(!holds("../out/x"));
        }
        assert!(!confined.holds("/etc/passwd"));
        assert!(confined.holds("/"));
    }
}
