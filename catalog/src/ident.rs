//! Names of namespaces and tables as the catalog stores them.
//!
//! Nothing here knows SQL: folding, quoting and nearest-name search happen
//! before a name arrives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};

/// Longest name that the JDBC-compatible catalog tables hold, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A namespace (SQL: schema): one or more names, outermost first. Displays as `a.b`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace(Vec<String>);

impl Namespace {
    /// A namespace of one level.
    pub fn new(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    /// A namespace of several levels, outermost first.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] if there is no level, or a level is empty, too long or holds a dot
    /// (the SQL catalog joins levels with dots).
    pub fn from_parts(parts: Vec<String>) -> Result<Self> {
        let namespace = Self(parts);
        namespace.check()?;
        Ok(namespace)
    }

    /// The levels, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The enclosing namespace, if there is one.
    pub fn parent(&self) -> Option<Self> {
        match self.0.split_last() {
            Some((_, rest)) if !rest.is_empty() => Some(Self(rest.to_vec())),
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.0.is_empty() {
            return Err(CatalogError::invalid("a schema needs a name"));
        }
        for part in &self.0 {
            if part.is_empty() {
                return Err(CatalogError::invalid("a schema name must not be empty"));
            }
            if part.contains('.') || part.chars().any(char::is_control) {
                return Err(CatalogError::invalid(format!(
                    "schema name \"{part}\" must not contain a dot or a control character"
                )));
            }
        }
        let bytes = self.to_string().len();
        if bytes > NAME_BYTES_MAX {
            return Err(CatalogError::invalid(format!(
                "schema name \"{self}\" has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed"
            )));
        }
        Ok(())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl FromStr for Namespace {
    type Err = CatalogError;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_parts(text.split('.').map(str::to_owned).collect())
    }
}

/// A table: namespace and name. Displays as `namespace.table`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableIdent {
    /// Where the table lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
}

impl TableIdent {
    /// A table in a namespace.
    pub fn new(namespace: Namespace, name: impl Into<String>) -> Self {
        Self {
            namespace,
            name: name.into(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.namespace.check()?;
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(CatalogError::invalid(
                "a table name must not be empty or contain control characters",
            ));
        }
        if self.name.len() > NAME_BYTES_MAX {
            return Err(CatalogError::invalid(format!(
                "table name \"{}\" has {} bytes; at most {NAME_BYTES_MAX} are allowed",
                self.name,
                self.name.len()
            )));
        }
        Ok(())
    }
}

impl fmt::Display for TableIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_displays_with_dots_and_parses_back() {
        let namespace: Namespace = "a.b".parse().unwrap();
        assert_eq!(namespace.parts(), ["a", "b"]);
        assert_eq!(namespace.to_string(), "a.b");
        assert_eq!(namespace.parent(), Some(Namespace::new("a")));
    }

    #[test]
    fn names_that_the_catalog_cannot_hold_are_refused() {
        assert!("a..b".parse::<Namespace>().is_err());
        assert!(Namespace::from_parts(vec![]).is_err());
        assert!(Namespace::from_parts(vec!["a.b".into()]).is_err());
        assert!(Namespace::new("x".repeat(256)).check().is_err());
        assert!(TableIdent::new(Namespace::new("a"), "").check().is_err());
    }
}
