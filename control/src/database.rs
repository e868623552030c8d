//! The metadata database: connections, and tables brought up to date.
//!
//! One code path for SQLite and PostgreSQL: statements use only what both
//! understand. Refuses to know what the rows mean.

use std::fs::OpenOptions;
use std::str::FromStr as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Row as _, Transaction};

use crate::error::ControlError;

/// Connections per process; identities are read once per request and briefly.
const CONNECTIONS_MAX: u32 = 4;

/// How long a request waits for a free connection, or for the first one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serialises migrations of several processes on PostgreSQL: "tarn" in ASCII.
const MIGRATION_LOCK: i64 = 0x7461_726e;

/// Serialises changes of users and tokens on PostgreSQL.
const IDENTITIES_LOCK: i64 = MIGRATION_LOCK + 1;

/// Every version of the schema, oldest first. Append only: a released entry never changes.
const MIGRATIONS: &[&[&str]] = &[
    &["CREATE TABLE tarn_users (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        password_hash TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL
    )"],
    // An empty password_hash means that there is none. A user of version 1 has no verifier
    // until its password is seen the next time.
    &[
        "ALTER TABLE tarn_users ADD COLUMN scram_verifier TEXT",
        "ALTER TABLE tarn_users ADD COLUMN scram_salt TEXT",
        "ALTER TABLE tarn_users ADD COLUMN kind TEXT NOT NULL DEFAULT 'USER'",
        "ALTER TABLE tarn_users ADD COLUMN is_admin BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE tarn_users ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE tarn_users ADD COLUMN valid_until_ms BIGINT",
        "ALTER TABLE tarn_users ADD COLUMN comment TEXT",
        "UPDATE tarn_users SET is_admin = 1 WHERE name = 'admin'",
        "CREATE TABLE tarn_tokens (
            id TEXT NOT NULL PRIMARY KEY,
            user_id TEXT NOT NULL,
            name TEXT NOT NULL,
            token_hash TEXT NOT NULL UNIQUE,
            scram_verifier TEXT NOT NULL,
            comment TEXT,
            created_at_ms BIGINT NOT NULL,
            expires_at_ms BIGINT,
            last_used_at_ms BIGINT,
            UNIQUE (user_id, name)
        )",
        "CREATE TABLE tarn_secrets (
            name TEXT NOT NULL PRIMARY KEY,
            value TEXT NOT NULL
        )",
    ],
];

/// A pool of connections to an up-to-date metadata database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: AnyPool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Database {
    /// Connects and migrates.
    pub(crate) async fn open(url: &str) -> Result<Self, ControlError> {
        let kind = kind_of(url)?;
        sqlx::any::install_default_drivers();
        if kind == Kind::Sqlite {
            create_file(url)?;
        }
        let opening = |source| ControlError::Open {
            name: display_name(url),
            source,
        };
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect(url)
            .await
            .map_err(opening)?;
        migrate(&pool, kind).await?;
        Ok(Self { pool, kind })
    }

    /// Begins a change that no other process makes at the same time, so that what it has read
    /// still holds when it commits.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, ControlError> {
        let begin = match self.kind {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN",
        };
        let mut transaction = self
            .pool
            .begin_with(begin)
            .await
            .map_err(query("begin a change"))?;
        if self.kind == Kind::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(IDENTITIES_LOCK)
                .execute(&mut *transaction)
                .await
                .map_err(query("wait for other changes"))?;
        }
        Ok(transaction)
    }

    /// The secret of this installation called `name`; made at the first call, the same for every process.
    pub(crate) async fn secret(&self, name: &str) -> Result<[u8; 32], ControlError> {
        let fresh: [u8; 32] = rand::rng().random();
        sqlx::query(
            "INSERT INTO tarn_secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(STANDARD.encode(fresh))
        .execute(&self.pool)
        .await
        .map_err(query("keep a secret"))?;
        let row = sqlx::query("SELECT value FROM tarn_secrets WHERE name = $1")
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(query("read a secret"))?;
        let value: String = row.try_get("value").map_err(query("read a secret"))?;
        // Whatever stands there, it must be the same for all: an edited one is hashed into shape.
        let bytes = STANDARD.decode(&value).ok().and_then(|b| b.try_into().ok());
        Ok(bytes.unwrap_or_else(|| Sha256::digest(value.as_bytes()).into()))
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    pub(crate) async fn ping(&self) -> Result<(), ControlError> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .map_err(query("answer"))?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Turns a driver's error into ours, saying what was being done.
pub(crate) fn query(what: &'static str) -> impl FnOnce(sqlx::Error) -> ControlError {
    move |source| ControlError::Query { what, source }
}

fn kind_of(url: &str) -> Result<Kind, ControlError> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "sqlite" => Ok(Kind::Sqlite),
        "postgres" | "postgresql" => Ok(Kind::Postgres),
        _ => Err(ControlError::UnknownKind {
            scheme: scheme.to_owned(),
        }),
    }
}

/// Creates the file readable by its owner only: it will hold password hashes.
fn create_file(url: &str) -> Result<(), ControlError> {
    let opened = SqliteConnectOptions::from_str(url);
    let options = opened.map_err(|source| ControlError::Open {
        name: display_name(url),
        source,
    })?;
    let path = options.get_filename();
    let mut file = OpenOptions::new();
    file.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    let created = file.open(path);
    created.map_err(|source| ControlError::CreateFile {
        path: path.display().to_string(),
        source,
    })?;
    Ok(())
}

/// The url as it may be shown: no user, no password, no parameters.
fn display_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    rest.rsplit_once('@')
        .map_or(rest, |(_, rest)| rest)
        .to_owned()
}

/// Turns on SQLite's write-ahead log. While another process does the same SQLite does not wait, it refuses.
async fn write_ahead(connection: &mut AnyConnection) -> Result<(), ControlError> {
    let mut left = 100;
    loop {
        let set = sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut *connection)
            .await;
        match set {
            Ok(_) => return Ok(()),
            Err(error) if left > 0 && error.to_string().contains("locked") => {
                left -= 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(query("set WAL mode")(error)),
        }
    }
}

async fn migrate(pool: &AnyPool, kind: Kind) -> Result<(), ControlError> {
    let mut connection = pool.acquire().await.map_err(query("connect"))?;
    if kind == Kind::Sqlite {
        // Readers do not wait for writers; the mode stays with the file.
        write_ahead(&mut connection).await?;
    }
    // An immediate transaction on SQLite and an advisory lock on PostgreSQL let
    // one process migrate while the others wait.
    let begin = match kind {
        Kind::Sqlite => "BEGIN IMMEDIATE",
        Kind::Postgres => "BEGIN",
    };
    let mut transaction = connection
        .begin_with(begin)
        .await
        .map_err(query("begin a migration"))?;
    if kind == Kind::Postgres {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(query("wait for other migrations"))?;
    }
    apply_migrations(&mut transaction).await?;
    transaction
        .commit()
        .await
        .map_err(query("commit a migration"))
}

async fn apply_migrations(connection: &mut AnyConnection) -> Result<(), ControlError> {
    sqlx::query("CREATE TABLE IF NOT EXISTS tarn_migrations (version BIGINT NOT NULL PRIMARY KEY)")
        .execute(&mut *connection)
        .await
        .map_err(query("create the version table"))?;
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM tarn_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(query("read the schema version"))?;
    let found: i64 = row
        .try_get("version")
        .map_err(query("read the schema version"))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(ControlError::TooNew { found, known });
    }
    for (version, statements) in (1_i64..).zip(MIGRATIONS) {
        if version <= found {
            continue;
        }
        for statement in *statements {
            sqlx::query(*statement)
                .execute(&mut *connection)
                .await
                .map_err(query("create tables"))?;
        }
        sqlx::query("INSERT INTO tarn_migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *connection)
            .await
            .map_err(query("record the schema version"))?;
        tracing::info!(version, "migrated the metadata database");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(folder: &tempfile::TempDir) -> String {
        format!("sqlite://{}", folder.path().join("control.db").display())
    }

    #[tokio::test]
    async fn opening_twice_migrates_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = url(&folder);
        let (first, second) = tokio::join!(Database::open(&url), Database::open(&url));
        let (first, second) = (first.unwrap(), second.unwrap());
        second.ping().await.unwrap();
        let row = sqlx::query("SELECT COUNT(*) AS n FROM tarn_migrations")
            .fetch_one(first.pool())
            .await
            .unwrap();
        assert_eq!(
            row.get::<i64, _>("n"),
            i64::try_from(MIGRATIONS.len()).unwrap()
        );
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&url(&folder)).await.unwrap();
        sqlx::query("INSERT INTO tarn_migrations (version) VALUES (99)")
            .execute(database.pool())
            .await
            .unwrap();
        database.close().await;
        let error = Database::open(&url(&folder)).await.unwrap_err();
        assert!(
            matches!(error, ControlError::TooNew { found: 99, .. }),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Database::open(&url(&folder)).await.unwrap();
        let mode = std::fs::metadata(folder.path().join("control.db"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let error = Database::open("sqlite:///no/such/folder/control.db")
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("/no/such/folder/control.db"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn another_kind_of_url_is_refused_without_its_password() {
        let error = Database::open("mysql://root:hunter2@localhost/x")
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::UnknownKind { .. }), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_shown_name_has_no_credentials() {
        assert_eq!(
            display_name("postgres://u:p@h:5432/d?sslmode=require"),
            "h:5432/d"
        );
        assert_eq!(display_name("sqlite:///a/b.db"), "/a/b.db");
    }
}
