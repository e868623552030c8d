//! The statements of the SQL catalog, the same text for `SQLite` and `PostgreSQL`.
//!
//! Each change is one statement, or one transaction that begins with a write, so that no read is
//! turned into a write under somebody else's change.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor, Row};

use crate::catalog::EntryKind;
use crate::error::{CatalogError, Cause, Result};
use crate::ident::{Namespace, TableIdent};

/// The property that makes an empty namespace exist, as `PyIceberg` writes it.
pub(super) const EXISTS_PROPERTY: &str = "exists";
/// Connections of one catalog.
const CONNECTIONS_MAX: u32 = 8;
/// Files that changed more recently may change again without a newer time: clocks of file systems tick.
const FILE_TIME_SETTLED: Duration = Duration::from_millis(100);
/// Longest wait for a connection: a dead database must be reported soon.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

const CREATE_TABLES: &str = "CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";
const CREATE_NAMESPACES: &str = "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";
/// The column is missing in databases that older tools made.
const PROBE_TYPE: &str = "SELECT iceberg_type FROM iceberg_tables LIMIT 0";
const ADD_TYPE: &str = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)";
/// Older tools leave `iceberg_type` out, and mean a table.
const FIND: &str = "SELECT metadata_location, COALESCE(iceberg_type, 'TABLE')
    FROM iceberg_tables
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
const NAMES: &str = "SELECT table_name FROM iceberg_tables
    WHERE catalog_name = $1 AND table_namespace = $2
    AND COALESCE(iceberg_type, 'TABLE') = $3 ORDER BY table_name";
const ENTRIES: &str = "SELECT table_namespace, table_name, metadata_location, iceberg_type
    FROM iceberg_tables WHERE catalog_name = $1 AND metadata_location IS NOT NULL
    AND COALESCE(iceberg_type, 'TABLE') IN ('TABLE', 'VIEW')";
const ALL_PROPERTIES: &str = "SELECT namespace, property_key, property_value
    FROM iceberg_namespace_properties WHERE catalog_name = $1";
/// What is in the catalog as one text that differs when anything differs. PostgreSQL only.
const REVISION: &str = "SELECT
    (SELECT COUNT(*) || ':' || COALESCE(SUM(hashtextextended(CAST(t AS TEXT), 0)), 0)
        FROM iceberg_tables AS t WHERE catalog_name = $1) || ':' ||
    (SELECT COUNT(*) || ':' || COALESCE(SUM(hashtextextended(CAST(p AS TEXT), 0)), 0)
        FROM iceberg_namespace_properties AS p WHERE catalog_name = $1)";
const INSERT: &str = "INSERT INTO iceberg_tables
    (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
    VALUES ($1, $2, $3, $4, $5)";
const SWAP: &str = "UPDATE iceberg_tables
    SET metadata_location = $1, previous_metadata_location = $2
    WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5
    AND metadata_location = $2 AND COALESCE(iceberg_type, 'TABLE') = $6";
const RENAME: &str = "UPDATE iceberg_tables SET table_namespace = $1, table_name = $2
    WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5
    AND COALESCE(iceberg_type, 'TABLE') = $6";
const DELETE: &str = "DELETE FROM iceberg_tables
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
    AND COALESCE(iceberg_type, 'TABLE') = $4";
const DELETE_AT: &str = "DELETE FROM iceberg_tables
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
    AND COALESCE(iceberg_type, 'TABLE') = $4 AND metadata_location = $5";
const NAMESPACES: &str = "SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1
    UNION SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1";
/// `$3` is the name with a dot: what is inside starts with it. LIKE would fold case on `SQLite`.
const NAMESPACE_EXISTS: &str = "SELECT 1 FROM iceberg_tables WHERE catalog_name = $1
    AND (table_namespace = $2 OR SUBSTR(table_namespace, 1, LENGTH($3)) = $3)
    UNION SELECT 1 FROM iceberg_namespace_properties WHERE catalog_name = $1
    AND (namespace = $2 OR SUBSTR(namespace, 1, LENGTH($3)) = $3) LIMIT 1";
const NAMESPACE_PROPERTIES: &str = "SELECT property_key, property_value
    FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2";
const INSERT_PROPERTY: &str = "INSERT INTO iceberg_namespace_properties
    (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, $3, $4)";
const DELETE_PROPERTY: &str = "DELETE FROM iceberg_namespace_properties
    WHERE catalog_name = $1 AND namespace = $2 AND property_key = $3";
const DELETE_NAMESPACE: &str = "DELETE FROM iceberg_namespace_properties
    WHERE catalog_name = $1 AND namespace = $2
    AND NOT EXISTS (SELECT 1 FROM iceberg_tables WHERE catalog_name = $1
        AND (table_namespace = $2 OR SUBSTR(table_namespace, 1, LENGTH($3)) = $3))
    AND NOT EXISTS (SELECT 1 FROM iceberg_namespace_properties AS inside
        WHERE inside.catalog_name = $1 AND SUBSTR(inside.namespace, 1, LENGTH($3)) = $3)";

/// What became of a write.
pub(super) enum Written {
    /// It is in the database.
    Yes,
    /// The key was taken, or, for a swap, the row had moved.
    Exists,
    /// No answer came.
    Unknown(Cause),
}

impl EntryKind {
    /// As `iceberg_type` has it.
    fn stored(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
        }
    }

    /// `None` for a kind that we do not know: such rows stay hidden.
    fn from_stored(stored: &str) -> Option<Self> {
        [Self::Table, Self::View]
            .into_iter()
            .find(|kind| kind.stored() == stored)
    }
}

/// One compare-and-swap of the metadata location of a table or view.
pub(super) struct Swap<'a> {
    pub(super) kind: EntryKind,
    pub(super) ident: &'a TableIdent,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// One row of `iceberg_tables`.
pub(super) struct EntryRow {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) metadata_location: String,
    pub(super) is_view: bool,
}

/// The file that a `SQLite` URL names.
fn file_of(url: &str) -> PathBuf {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    PathBuf::from(path.split_once('?').map_or(path, |(path, _)| path))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

/// Size and time of a file; `None` if a change could leave both as they are, or if it cannot be told.
fn stamp(file: &Path) -> Option<String> {
    // Two calls to the system that wait for nothing: cheaper here than on a thread for such.
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some("-".to_owned()),
        Err(_) => return None,
    };
    let modified = metadata.modified().ok()?;
    // A time in the future has not settled either.
    let age = SystemTime::now().duration_since(modified).ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    (age >= FILE_TIME_SETTLED).then(|| format!("{}@{}", metadata.len(), since.as_nanos()))
}

#[derive(Debug)]
pub(super) struct Database {
    catalog: String,
    pool: AnyPool,
    /// The file of `SQLite`; PostgreSQL has none.
    file: Option<PathBuf>,
}

impl Database {
    pub(super) async fn open(catalog: &str, url: &str) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let sqlite = url.starts_with("sqlite:");
        if !sqlite && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(CatalogError::invalid(format!(
                "the metadata database of catalog \"{catalog}\" must be a sqlite:// or postgres:// URL"
            )));
        }
        let mut url = url.to_owned();
        if sqlite && !url.contains("mode=") {
            url.push_str(if url.contains('?') { "&" } else { "?" });
            url.push_str("mode=rwc");
        }
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if sqlite {
                        connection.execute("PRAGMA busy_timeout = 10000").await?;
                        connection.execute("PRAGMA journal_mode = WAL").await?;
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await;
        let this = Self {
            catalog: catalog.to_owned(),
            file: sqlite.then(|| file_of(&url)),
            pool: pool.map_err(|error| CatalogError::Database {
                catalog: catalog.to_owned(),
                action: "open",
                source: error.into(),
            })?,
        };
        this.create_tables().await?;
        Ok(this)
    }

    /// See [`crate::Catalog::stamp`]. `SQLite`'s files tell it by their sizes and times: each commit
    /// writes to one of them.
    pub(super) fn stamp(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let log = with_suffix(file, "-wal");
        Some(format!("{} {}", stamp(file)?, stamp(&log)?))
    }

    /// See [`crate::Catalog::revision`].
    pub(super) async fn revision(&self) -> Result<Option<String>> {
        if self.file.is_some() {
            return Ok(self.stamp());
        }
        let row = sqlx::query(REVISION)
            .bind(&self.catalog)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.error("read its revision", error.into()))?;
        let revision: String = row
            .try_get(0)
            .map_err(|error| self.error("read its revision", error.into()))?;
        Ok(Some(revision))
    }

    /// Two servers may start at once: PostgreSQL's IF NOT EXISTS can lose such a race, once.
    async fn create_tables(&self) -> Result<()> {
        for statement in [CREATE_TABLES, CREATE_NAMESPACES] {
            if self.pool.execute(statement).await.is_err() {
                let again = self.pool.execute(statement).await;
                again.map_err(|error| self.error("create its tables", error.into()))?;
            }
        }
        if self.pool.execute(PROBE_TYPE).await.is_err() {
            let added = self.pool.execute(ADD_TYPE).await;
            if added.is_err() {
                let probe = self.pool.execute(PROBE_TYPE).await;
                probe.map_err(|error| self.error("upgrade its tables", error.into()))?;
            }
        }
        Ok(())
    }

    pub(super) fn error(&self, action: &'static str, source: Cause) -> CatalogError {
        CatalogError::Database {
            catalog: self.catalog.clone(),
            action,
            source,
        }
    }

    /// What is called `ident`, and where its metadata is.
    pub(super) async fn find(&self, ident: &TableIdent) -> Result<Option<(EntryKind, String)>> {
        let failed = |error: sqlx::Error| self.error("read a table", error.into());
        let row = sqlx::query(FIND)
            .bind(&self.catalog)
            .bind(ident.namespace.to_string())
            .bind(&ident.name)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let location: Option<String> = row.try_get(0).map_err(failed)?;
        let kind: String = row.try_get(1).map_err(failed)?;
        Ok(EntryKind::from_stored(&kind).zip(location))
    }

    /// Where the metadata of the table or view `ident` is.
    pub(super) async fn location(
        &self,
        kind: EntryKind,
        ident: &TableIdent,
    ) -> Result<Option<String>> {
        let found = self.find(ident).await?;
        Ok(found.and_then(|(found, location)| (found == kind).then_some(location)))
    }

    pub(super) async fn entries(&self) -> Result<Vec<EntryRow>> {
        let rows = sqlx::query(ENTRIES)
            .bind(&self.catalog)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error("list everything", error.into()))?;
        rows.iter()
            .map(|row| {
                Ok(EntryRow {
                    namespace: row.try_get(0)?,
                    name: row.try_get(1)?,
                    metadata_location: row.try_get(2)?,
                    is_view: row.try_get::<Option<String>, _>(3)?.as_deref() == Some("VIEW"),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| self.error("list everything", error.into()))
    }

    /// Namespace, key and value of every property of a namespace.
    pub(super) async fn all_namespace_properties(&self) -> Result<Vec<(String, String, String)>> {
        let rows = sqlx::query(ALL_PROPERTIES)
            .bind(&self.catalog)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error("read the schemas", error.into()))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| self.error("read the schemas", error.into()))
    }

    pub(super) async fn names(
        &self,
        kind: EntryKind,
        namespace: &Namespace,
    ) -> Result<Vec<String>> {
        let rows = sqlx::query(NAMES)
            .bind(&self.catalog)
            .bind(namespace.to_string())
            .bind(kind.stored())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error("list tables", error.into()))?;
        self.first_column(&rows)
    }

    pub(super) async fn namespaces(&self) -> Result<Vec<String>> {
        let rows = sqlx::query(NAMESPACES)
            .bind(&self.catalog)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error("list schemas", error.into()))?;
        self.first_column(&rows)
    }

    fn first_column(&self, rows: &[sqlx::any::AnyRow]) -> Result<Vec<String>> {
        rows.iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<_, _>>()
            .map_err(|error| self.error("list names", error.into()))
    }

    pub(super) async fn namespace_exists(&self, namespace: &Namespace) -> Result<bool> {
        let row = sqlx::query(NAMESPACE_EXISTS)
            .bind(&self.catalog)
            .bind(namespace.to_string())
            .bind(format!("{namespace}."))
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.error("look up a schema", error.into()))?;
        Ok(row.is_some())
    }

    pub(super) async fn namespace_properties(
        &self,
        namespace: &Namespace,
    ) -> Result<HashMap<String, String>> {
        let rows = sqlx::query(NAMESPACE_PROPERTIES)
            .bind(&self.catalog)
            .bind(namespace.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error("read a schema", error.into()))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| self.error("read a schema", error.into()))
    }

    pub(super) async fn insert_namespace(
        &self,
        namespace: &Namespace,
        properties: &HashMap<String, String>,
    ) -> Result<Written> {
        let insert = async {
            let mut transaction = self.pool.begin().await?;
            let exists = [(EXISTS_PROPERTY, "true")];
            let given = properties
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .filter(|(key, _)| *key != EXISTS_PROPERTY);
            for (key, value) in exists.into_iter().chain(given) {
                sqlx::query(INSERT_PROPERTY)
                    .bind(&self.catalog)
                    .bind(namespace.to_string())
                    .bind(key.to_owned())
                    .bind(value.to_owned())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        self.written("create a schema", insert.await)
    }

    /// Removes the properties `remove`, then adds those of `set`, in one transaction.
    pub(super) async fn update_properties(
        &self,
        namespace: &Namespace,
        set: &HashMap<String, String>,
        remove: &[String],
    ) -> Result<()> {
        let update = async {
            let mut transaction = self.pool.begin().await?;
            for key in remove {
                sqlx::query(DELETE_PROPERTY)
                    .bind(&self.catalog)
                    .bind(namespace.to_string())
                    .bind(key.to_owned())
                    .execute(&mut *transaction)
                    .await?;
            }
            for (key, value) in set {
                sqlx::query(INSERT_PROPERTY)
                    .bind(&self.catalog)
                    .bind(namespace.to_string())
                    .bind(key.to_owned())
                    .bind(value.to_owned())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        update
            .await
            .map_err(|error: sqlx::Error| self.error("change a schema", error.into()))
    }

    /// Whether the namespace was there and empty, and is gone now.
    pub(super) async fn delete_namespace(&self, namespace: &Namespace) -> Result<bool> {
        let result = sqlx::query(DELETE_NAMESPACE)
            .bind(&self.catalog)
            .bind(namespace.to_string())
            .bind(format!("{namespace}."))
            .execute(&self.pool)
            .await
            .map_err(|error| self.error("drop a schema", error.into()))?;
        Ok(result.rows_affected() > 0)
    }

    pub(super) async fn insert(
        &self,
        kind: EntryKind,
        ident: &TableIdent,
        location: &str,
    ) -> Result<Written> {
        let result = sqlx::query(INSERT)
            .bind(&self.catalog)
            .bind(ident.namespace.to_string())
            .bind(&ident.name)
            .bind(location.to_owned())
            .bind(kind.stored())
            .execute(&self.pool)
            .await;
        self.written("create a table", result.map(drop))
    }

    pub(super) async fn swap(&self, swap: &Swap<'_>) -> Result<Written> {
        let result = sqlx::query(SWAP)
            .bind(swap.to.to_owned())
            .bind(swap.from.to_owned())
            .bind(&self.catalog)
            .bind(swap.ident.namespace.to_string())
            .bind(&swap.ident.name)
            .bind(swap.kind.stored())
            .execute(&self.pool)
            .await;
        match result {
            Ok(result) if result.rows_affected() == 0 => Ok(Written::Exists),
            other => self.written("commit a table", other.map(drop)),
        }
    }

    /// `None` if there is no table or view of the old name.
    pub(super) async fn rename(
        &self,
        kind: EntryKind,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<Option<Written>> {
        let result = sqlx::query(RENAME)
            .bind(to.namespace.to_string())
            .bind(&to.name)
            .bind(&self.catalog)
            .bind(from.namespace.to_string())
            .bind(&from.name)
            .bind(kind.stored())
            .execute(&self.pool)
            .await;
        match result {
            Ok(result) if result.rows_affected() == 0 => Ok(None),
            other => self.written("rename a table", other.map(drop)).map(Some),
        }
    }

    /// Whether the table or view was there, at the metadata location `at` if one is given, and is
    /// gone now.
    pub(super) async fn delete(
        &self,
        kind: EntryKind,
        ident: &TableIdent,
        at: Option<&str>,
    ) -> Result<bool> {
        let query = match at {
            None => sqlx::query(DELETE),
            Some(_) => sqlx::query(DELETE_AT),
        };
        let mut query = query
            .bind(&self.catalog)
            .bind(ident.namespace.to_string())
            .bind(&ident.name)
            .bind(kind.stored());
        if let Some(at) = at {
            query = query.bind(at.to_owned());
        }
        let result = query
            .execute(&self.pool)
            .await
            .map_err(|error| self.error("drop a table", error.into()))?;
        Ok(result.rows_affected() > 0)
    }

    fn written(&self, action: &'static str, result: Result<(), sqlx::Error>) -> Result<Written> {
        match result {
            Ok(()) => Ok(Written::Yes),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Written::Exists),
            Err(error) if was_refused(&error) => Err(self.error(action, error.into())),
            Err(error) => Ok(Written::Unknown(error.into())),
        }
    }
}

/// Whether the database surely did not do what it was asked.
///
/// An answer from the database is a refusal, unless it says that the connection or the server went
/// away (SQLSTATE classes 08 and 57P). Without an answer nobody knows, unless nothing was sent.
fn was_refused(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => !error
            .code()
            .is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Configuration(_)
        | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
