//! Where file functions may read and COPY may write. Knows configured roots and paths; opens nothing.

use std::path::{Path, PathBuf};

use crate::error::{EngineError, ErrorKind};

/// Where file functions may read and COPY may write.
#[derive(Clone, Debug, Default)]
pub struct AllowedRoots {
    local: Vec<PathBuf>,
    remote: Vec<String>,
}

impl AllowedRoots {
    /// Takes the configured roots: absolute directories or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// If a local root does not exist or a root is neither form.
    pub fn new(roots: &[String]) -> Result<Self, EngineError> {
        let mut out = Self::default();
        for root in roots {
            if let Some(rest) = root.strip_prefix("s3a://") {
                out.remote
                    .push(format!("s3://{}", rest.trim_end_matches('/')));
            } else if root.starts_with("s3://") {
                out.remote.push(root.trim_end_matches('/').to_owned());
            } else {
                let path = root.strip_prefix("file://").unwrap_or(root);
                let canonical = Path::new(path).canonicalize().map_err(|e| {
                    EngineError::new(
                        ErrorKind::InvalidParameter,
                        format!("[storage] allowed_roots: \"{root}\": {e}"),
                    )
                })?;
                out.local.push(canonical);
            }
        }
        Ok(out)
    }

    /// Checks that tables may be put at `location`: in `warehouse` or in an allowed root.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] elsewhere.
    pub(crate) fn check_location(
        &self,
        location: &str,
        warehouse: &str,
    ) -> Result<(), EngineError> {
        let wanted = plain(location);
        let clean = !wanted.split('/').any(|part| part == ".." || part == ".");
        let local = self.local.iter().map(|p| p.display().to_string());
        let roots = local.chain(self.remote.iter().cloned());
        if clean
            && (is_below(&wanted, &plain(warehouse))
                || roots.into_iter().any(|root| is_below(&wanted, &root)))
        {
            return Ok(());
        }
        Err(EngineError::new(
            ErrorKind::Denied,
            format!("tables may not be put at \"{location}\""),
        )
        .with_hint(format!(
            "use a location in the warehouse ({warehouse}) or in one of [storage] allowed_roots, or leave it out"
        )))
    }

    /// What a path outside of the roots is answered, whether it exists or not.
    pub(crate) fn refused(&self, path: &str) -> EngineError {
        let mut roots: Vec<String> = self
            .local
            .iter()
            .map(|p| p.display().to_string())
            .chain(self.remote.iter().cloned())
            .collect();
        roots.sort();
        let roots = if roots.is_empty() {
            "none are configured".to_owned()
        } else {
            roots.join(", ")
        };
        EngineError::new(
            ErrorKind::Denied,
            format!("\"{path}\" is outside the allowed roots"),
        )
        .with_hint(format!(
            "[storage] allowed_roots says what file functions may read and COPY may write: {roots}"
        ))
    }

    /// Whether a path without links is in a local root.
    pub(crate) fn holds(&self, canonical: &Path) -> bool {
        self.local.iter().any(|root| canonical.starts_with(root))
    }

    /// Whether a name, links followed, is a root or in one.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let remote = self
            .remote
            .iter()
            .any(|root| name == root || is_below(name, root));
        remote || (name.starts_with('/') && self.holds(Path::new(name)))
    }

    /// What to say of a path that cannot be found: a path outside the roots must not tell whether it exists.
    pub(crate) fn missing(&self, path: &str, sought: &Path) -> EngineError {
        let clean = !sought.components().any(|c| c.as_os_str() == "..");
        if clean && self.holds(sought) {
            EngineError::new(
                ErrorKind::FileNotFound,
                format!("file \"{path}\" does not exist"),
            )
        } else {
            self.refused(path)
        }
    }

    /// Takes a path as a user writes it: in a bucket, or absolute. Opens nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for a bucket's path outside of the roots and for one that is not absolute;
    /// [`ErrorKind::InvalidParameter`] for another scheme.
    pub(crate) fn place(&self, path: &str) -> Result<Place, EngineError> {
        for scheme in ["s3://", "s3a://"] {
            if let Some(rest) = path.strip_prefix(scheme) {
                let path = format!("s3://{rest}");
                let clean = !path.split('/').any(|part| part == ".." || part == ".");
                let inside = self
                    .remote
                    .iter()
                    .any(|root| path == *root || is_below(&path, root));
                if !(clean && inside) {
                    return Err(self.refused(&path));
                }
                return Ok(Place::Remote(path));
            }
        }
        let local = path.strip_prefix("file://").unwrap_or(path);
        if path.contains("://") && !path.starts_with("file://") {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("\"{path}\": this scheme is not supported; use s3:// or an absolute path"),
            ));
        }
        if !local.starts_with('/') {
            return Err(
                EngineError::new(ErrorKind::Denied, format!("\"{path}\" is not absolute"))
                    .with_hint(
                    "the server's working directory is not yours; give an absolute path or s3://",
                ),
            );
        }
        Ok(Place::Local(local.to_owned()))
    }
}

/// A path whose form is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Absolute; whether it is in a root shows when links are followed.
    Local(String),
    /// `s3://bucket/key`, in a root.
    Remote(String),
}

/// Without scheme and last slash, S3's three schemes as one.
pub(crate) fn plain(text: &str) -> String {
    let text = text
        .replacen("s3a://", "s3://", 1)
        .replacen("s3n://", "s3://", 1);
    let text = text.strip_prefix("file://").unwrap_or(&text);
    text.trim_end_matches('/').to_owned()
}

/// Whether `path` is something in the folder `root`; both plain.
pub(crate) fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_put_into_the_warehouse_or_the_roots_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let roots = AllowedRoots::new(&[root.clone(), "s3://bucket/data".to_owned()]).unwrap();
        let check = |location: &str| roots.check_location(location, "file:///wh").is_ok();
        assert!(check("file:///wh/main/t"));
        assert!(check("/wh/t"));
        assert!(check(&format!("{root}/t")));
        assert!(check("s3a://bucket/data/t"));
        assert!(!check("/etc/x"));
        assert!(!check("/wh"));
        assert!(!check("/wh/../etc"));
        assert!(!check("/whx/t"));
        assert!(!check("s3://bucket/database/t"));
    }

    #[test]
    fn a_bucket_is_read_below_its_root_only() {
        let roots = AllowedRoots::new(&["s3://bucket/data".to_owned()]).unwrap();
        let check = |path: &str| roots.place(path).map_err(|error| error.kind);
        assert_eq!(
            check("s3a://bucket/data/x.parquet"),
            Ok(Place::Remote("s3://bucket/data/x.parquet".to_owned()))
        );
        for path in [
            "s3://bucket/database/x",
            "s3://bucket/data/../x",
            "s3://other/data/x",
            "data.csv",
        ] {
            assert_eq!(check(path), Err(ErrorKind::Denied), "{path}");
        }
        assert_eq!(check("https://a/b.csv"), Err(ErrorKind::InvalidParameter));
    }
}
