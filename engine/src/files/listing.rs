//! From paths, folders and globs to files, under the allowed roots only.
//!
//! Everything outside the roots is refused before any I/O on it; symbolic links are followed before the check.
//! Reads names and sizes, no file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use glob::{MatchOptions, Pattern};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tarn_catalog::Stores;
use url::Url;

use super::roots::{AllowedRoots, Place};
use crate::error::{EngineError, ErrorKind};

/// Files that one call may stand for.
const FILES_MAX: usize = 100_000;
/// Names looked at for one path; a glob that looks at more is refused.
const NAMES_MAX: usize = 1_000_000;
/// Patterns that the braces of one path may stand for.
const PATTERNS_MAX: usize = 1_000;

/// `*` and `?` stay within a folder and do not find hidden names.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As users name it: an absolute path or `s3://bucket/key`.
    pub(crate) name: String,
    /// As its store knows it.
    pub(crate) meta: ObjectMeta,
}

/// Files in one store.
#[derive(Debug)]
pub(crate) struct Listing {
    /// In the order of the paths; those of one path by name.
    pub(crate) files: Vec<Found>,
    /// Where they are.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Under which the store is known.
    pub(crate) root: Url,
}

/// Finds what `paths` stand for. In folders, files with one of `endings` are taken, or all if none has any.
///
/// # Errors
/// [`ErrorKind::Denied`] outside the roots, [`ErrorKind::FileNotFound`] if nothing matches,
/// [`ErrorKind::InvalidParameter`] for a bad pattern, too many files, or files in two stores.
pub(crate) async fn list(
    paths: &[String],
    endings: &[&str],
    roots: &AllowedRoots,
    stores: &Stores,
) -> Result<Listing, EngineError> {
    let mut out: Option<Listing> = None;
    for path in paths {
        let (location, mut names) = match roots.place(path)? {
            Place::Local(local) => {
                let (roots, wanted) = (roots.clone(), endings_of(endings));
                let task =
                    tokio::task::spawn_blocking(move || local_files(&local, &wanted, &roots));
                let found = task
                    .await
                    .map_err(|error| EngineError::internal(error.to_string()))??;
                ("file:///".to_owned(), found)
            }
            Place::Remote(remote) => {
                let found = remote_files(&remote, &endings_of(endings), stores).await?;
                (remote, found)
            }
        };
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let root = Stores::root_url(&location)?;
        let listing = match &mut out {
            Some(listing) if listing.root == root => listing,
            Some(listing) => {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "\"{path}\" is in another store than the files before it ({})",
                        listing.root
                    ),
                )
                .with_hint(
                    "read each store with a call of its own and put UNION ALL between them",
                ));
            }
            none => none.insert(Listing {
                files: vec![],
                store: stores.store_for_root(&root)?,
                root,
            }),
        };
        listing.files.append(&mut names);
        if listing.files.len() > FILES_MAX {
            return Err(too_many(path));
        }
    }
    out.ok_or_else(|| EngineError::internal("no path to list"))
}

fn endings_of(endings: &[&str]) -> Vec<String> {
    endings.iter().map(|ending| (*ending).to_owned()).collect()
}

fn too_many(path: &str) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("\"{path}\" stands for more than {FILES_MAX} files"),
    )
    .with_hint("name a narrower path")
}

fn nothing(path: &str) -> EngineError {
    EngineError::new(
        ErrorKind::FileNotFound,
        format!("no file matches \"{path}\""),
    )
}

/// Whether a path has characters that stand for others.
pub(crate) fn has_glob(path: &str) -> bool {
    path.contains(['*', '?', '[', '{'])
}

/// `a{b,c}` as `ab` and `ac`.
fn alternatives(path: &str) -> Result<Vec<String>, EngineError> {
    let bad =
        |why: &str| EngineError::new(ErrorKind::InvalidParameter, format!("\"{path}\": {why}"));
    let mut done = vec![];
    let mut open = vec![path.to_owned()];
    while let Some(next) = open.pop() {
        let Some(start) = next.find('{') else {
            done.push(next);
            continue;
        };
        let mut depth = 0usize;
        let mut commas = vec![];
        let mut end = None;
        for (at, c) in next[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        end = Some(start + at);
                        break;
                    }
                }
                ',' if depth == 1 => commas.push(start + at),
                _ => {}
            }
        }
        let Some(end) = end else {
            return Err(bad("a brace is not closed"));
        };
        let mut from = start + 1;
        for comma in commas.into_iter().chain([end]) {
            open.push(format!(
                "{}{}{}",
                &next[..start],
                &next[from..comma],
                &next[end + 1..]
            ));
            from = comma + 1;
        }
        if open.len() + done.len() > PATTERNS_MAX {
            return Err(bad("its braces stand for too many patterns"));
        }
    }
    done.sort();
    done.dedup();
    Ok(done)
}

fn pattern(text: &str, path: &str) -> Result<Pattern, EngineError> {
    Pattern::new(text)
        .map_err(|e| EngineError::new(ErrorKind::InvalidParameter, format!("\"{path}\": {e}")))
}

/// Whether a name in a folder is one that writers keep for themselves (`_SUCCESS`, `.part.crc`).
fn is_hidden(below: &str) -> bool {
    below
        .split('/')
        .any(|part| part.starts_with(['.', '_']) && !part.contains('='))
}

/// Of the files of a folder, those with a fitting ending; all if none has one.
fn fitting(files: Vec<Found>, endings: &[String]) -> Vec<Found> {
    let fits = |file: &Found| {
        let name = file.name.to_lowercase();
        let name = super::options::without_compression(&name);
        endings.iter().any(|ending| name.ends_with(ending.as_str()))
    };
    if files.iter().any(fits) {
        files.into_iter().filter(fits).collect()
    } else {
        files
    }
}

/// Follows links, then checks every file that a local path, folder or glob stands for.
fn local_files(
    path: &str,
    endings: &[String],
    roots: &AllowedRoots,
) -> Result<Vec<Found>, EngineError> {
    let mut out = vec![];
    for text in alternatives(path)? {
        // What is before the first glob character decides before anything is listed.
        let fixed: PathBuf = Path::new(&text)
            .components()
            .take_while(|c| !has_glob(&c.as_os_str().to_string_lossy()))
            .collect();
        let canonical = match fixed.canonicalize() {
            Ok(canonical) => canonical,
            // One alternative of several may be missing.
            Err(_)
                if has_glob(path)
                    && roots.missing(path, &fixed).kind == ErrorKind::FileNotFound =>
            {
                continue;
            }
            Err(_) => return Err(roots.missing(path, &fixed)),
        };
        if !roots.holds(&canonical) {
            return Err(roots.refused(path));
        }
        if has_glob(&text) {
            let (mut files, mut folders) = (vec![], vec![]);
            let found = glob::glob_with(&text, MATCHING).map_err(|e| {
                EngineError::new(ErrorKind::InvalidParameter, format!("\"{path}\": {e}"))
            })?;
            for (count, entry) in found.enumerate() {
                if count >= NAMES_MAX {
                    return Err(too_many(path));
                }
                let entry = entry.map_err(|e| unreadable(path, &e))?;
                let (name, is_folder) = checked(&entry, roots)?;
                if is_folder {
                    folders.push(name);
                } else {
                    files.push(found_local(&name)?);
                }
            }
            if files.is_empty() {
                for folder in folders {
                    files.extend(fitting(local_folder(&folder, roots)?, endings));
                }
            }
            out.append(&mut files);
        } else if canonical.is_dir() {
            out.extend(fitting(
                local_folder(text.trim_end_matches('/'), roots)?,
                endings,
            ));
        } else {
            out.push(found_local(&text)?);
        }
        if out.len() > FILES_MAX {
            return Err(too_many(path));
        }
    }
    if out.is_empty() {
        return Err(nothing(path));
    }
    Ok(out)
}

/// The name of an entry whose end is in the roots, and whether it is a folder.
fn checked(entry: &Path, roots: &AllowedRoots) -> Result<(String, bool), EngineError> {
    let name = entry.display().to_string();
    let real = entry
        .canonicalize()
        .map_err(|_| roots.missing(&name, entry))?;
    if !roots.holds(&real) {
        return Err(roots.refused(&name));
    }
    if entry.to_str().is_none() {
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("\"{name}\": the file's name is not UTF-8"),
        ));
    }
    Ok((name, real.is_dir()))
}

fn unreadable(path: &str, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::new(ErrorKind::StorageDenied, format!("\"{path}\": {error}"))
}

/// All files in a folder and the folders in it, without hidden ones.
fn local_folder(folder: &str, roots: &AllowedRoots) -> Result<Vec<Found>, EngineError> {
    let mut out = vec![];
    let mut open = vec![PathBuf::from(folder)];
    let mut seen = 0usize;
    while let Some(next) = open.pop() {
        let entries = std::fs::read_dir(&next).map_err(|e| unreadable(folder, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| unreadable(folder, &e))?.path();
            seen += 1;
            if seen > NAMES_MAX || out.len() > FILES_MAX {
                return Err(too_many(folder));
            }
            let below = entry.strip_prefix(folder).unwrap_or(&entry);
            if is_hidden(&below.to_string_lossy()) {
                continue;
            }
            let (name, is_folder) = checked(&entry, roots)?;
            if is_folder && entry.is_symlink() {
                // A link to a folder may lead back here.
                return Err(EngineError::unsupported(format!(
                    "\"{name}\": a link to a folder within a folder"
                )));
            }
            if is_folder {
                open.push(entry);
            } else {
                out.push(found_local(&name)?);
            }
        }
    }
    Ok(out)
}

fn found_local(name: &str) -> Result<Found, EngineError> {
    let data = std::fs::metadata(name).map_err(|e| unreadable(name, &e))?;
    if !data.is_file() {
        // To open a pipe may take for ever, and a device has no end.
        return Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("\"{name}\" is no regular file"),
        )
        .with_hint("pipes, sockets and devices are not read; write what they give to a file"));
    }
    let key = name.trim_start_matches('/');
    let location = object_store::path::Path::parse(key)
        .map_err(|e| EngineError::new(ErrorKind::InvalidParameter, format!("\"{name}\": {e}")))?;
    Ok(Found {
        name: name.to_owned(),
        meta: ObjectMeta {
            location,
            last_modified: data
                .modified()
                .map_or(chrono::DateTime::UNIX_EPOCH, Into::into),
            size: data.len(),
            e_tag: None,
            version: None,
        },
    })
}

/// What a path in a bucket stands for: a key, all below a key, or what a pattern finds.
async fn remote_files(
    path: &str,
    endings: &[String],
    stores: &Stores,
) -> Result<Vec<Found>, EngineError> {
    let mut out = vec![];
    for text in alternatives(path)? {
        out.append(&mut one_remote(path, &text, endings, stores).await?);
        if out.len() > FILES_MAX {
            return Err(too_many(path));
        }
    }
    if out.is_empty() {
        return Err(nothing(path));
    }
    Ok(out)
}

async fn one_remote(
    path: &str,
    text: &str,
    endings: &[String],
    stores: &Stores,
) -> Result<Vec<Found>, EngineError> {
    let bucket = Stores::root_url(text)?.to_string();
    let bucket = bucket.trim_end_matches('/').to_owned();
    let found = |meta: ObjectMeta| Found {
        name: format!("{bucket}/{}", meta.location),
        meta,
    };
    let explain = |error| EngineError::from(stores.explain(path, error));
    if !has_glob(text) {
        let (store, key) = stores.resolve(text.trim_end_matches('/'))?;
        if !text.ends_with('/') && !key.as_ref().is_empty() {
            match store.head(&key).await {
                Ok(meta) => return Ok(vec![found(meta)]),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(explain(error)),
            }
        }
        let prefix = key.as_ref().to_owned();
        let all = below(path, &key, store.as_ref(), stores, |key| {
            !is_hidden(
                key.strip_prefix(&prefix)
                    .unwrap_or(key)
                    .trim_start_matches('/'),
            )
        })
        .await?;
        return Ok(fitting(all.into_iter().map(found).collect(), endings));
    }
    let fixed = text
        .split('/')
        .take_while(|part| !has_glob(part))
        .collect::<Vec<_>>()
        .join("/");
    let (store, prefix) = stores.resolve(&fixed)?;
    let key = text
        .strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'))
        .map_or("", |(_, key)| key);
    let pattern = pattern(key, path)?;
    let all = below(path, &prefix, store.as_ref(), stores, |key| {
        pattern.matches_with(key, MATCHING)
    })
    .await?;
    Ok(all.into_iter().map(found).collect())
}

/// The objects below `prefix` that `takes` takes.
async fn below(
    path: &str,
    prefix: &object_store::path::Path,
    store: &dyn ObjectStore,
    stores: &Stores,
    takes: impl Fn(&str) -> bool,
) -> Result<Vec<ObjectMeta>, EngineError> {
    let mut out = vec![];
    let mut listed = store.list(Some(prefix).filter(|prefix| !prefix.as_ref().is_empty()));
    let mut seen = 0usize;
    while let Some(meta) = listed.next().await {
        let meta = match meta {
            Ok(meta) => meta,
            Err(object_store::Error::NotFound { .. }) => break,
            Err(error) => return Err(stores.explain(path, error).into()),
        };
        seen += 1;
        if seen > NAMES_MAX || out.len() > FILES_MAX {
            return Err(too_many(path));
        }
        if takes(meta.location.as_ref()) {
            out.push(meta);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, roots: &AllowedRoots) -> Vec<String> {
        let mut found: Vec<String> = local_files(path, &[".csv".to_owned()], roots)
            .unwrap()
            .into_iter()
            .map(|file| file.name.rsplit('/').next().unwrap().to_owned())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn braces_are_alternatives() {
        let check = |path: &str, wanted: &[&str]| {
            assert_eq!(alternatives(path).unwrap(), wanted, "{path}");
        };
        check("/a/b", &["/a/b"]);
        check("/a/{b,c}.csv", &["/a/b.csv", "/a/c.csv"]);
        check("/{a,b{1,2}}/x", &["/a/x", "/b1/x", "/b2/x"]);
        assert!(alternatives("/a/{b").is_err());
        assert!(alternatives(&"{a,b,c,d,e,f,g,h}".repeat(9)).is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let roots = AllowedRoots::new(std::slice::from_ref(&root)).unwrap();
        let socket = format!("{root}/socket.csv");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [socket.clone(), root.clone(), format!("{root}/*.csv")] {
            let error = local_files(&path, &[], &roots).unwrap_err();
            assert!(
                error.message.contains("socket.csv\" is no regular file"),
                "{error}"
            );
        }
    }

    #[test]
    fn globs_stay_within_a_folder_unless_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let roots = AllowedRoots::new(std::slice::from_ref(&root)).unwrap();
        for file in [
            "a.csv",
            "b.csv",
            "c.txt",
            "x/d.csv",
            "x/y/e.csv",
            "x/_f.csv",
            ".g.csv",
            "_SUCCESS",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "a\n1\n").unwrap();
        }
        let check = |path: &str, wanted: &[&str]| {
            assert_eq!(names(&format!("{root}/{path}"), &roots), wanted, "{path}");
        };
        check("*.csv", &["a.csv", "b.csv"]);
        check("**/[de].csv", &["d.csv", "e.csv"]);
        check("{a,zz}.csv", &["a.csv"]);
        check("{b,x/d}.csv", &["b.csv", "d.csv"]);
        check("?.csv", &["a.csv", "b.csv"]);
        // A folder: what readers are meant to see, with the ending that fits.
        check("", &["a.csv", "b.csv", "d.csv", "e.csv"]);
        check("x", &["d.csv", "e.csv"]);
        // Folders that a glob finds are read if it finds no file.
        check("x/y*", &["e.csv"]);
    }

    fn check_refused(path: &str, roots: &AllowedRoots) {
        let error = local_files(path, &[], roots).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{path}: {error}");
    }

    #[test]
    fn nothing_outside_the_roots_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("secret.csv"), "a\n1\n").unwrap();
        std::fs::write(inside.join("ok.csv"), "a\n1\n").unwrap();
        let root = inside.display().to_string();
        let roots = AllowedRoots::new(std::slice::from_ref(&root)).unwrap();
        assert!(local_files(&format!("{root}/ok.csv"), &[], &roots).is_ok());
        check_refused("/etc/hostname", &roots);
        check_refused("/nonexistent/file", &roots);
        check_refused(&format!("{root}/../secret.csv"), &roots);
        check_refused(&format!("{}/*.csv", dir.path().display()), &roots);
        check_refused(&format!("{{{root}/ok.csv,/etc/hostname}}"), &roots);
        std::os::unix::fs::symlink(dir.path().join("secret.csv"), inside.join("link.csv")).unwrap();
        check_refused(&format!("{root}/link.csv"), &roots);
        check_refused(&format!("{root}/*.csv"), &roots);
        check_refused(&root, &roots);
    }
}
