//! Sessions as PostgreSQL's clients see them: what the engine asks of whoever keeps them.
//!
//! The coordinator answers from its one registry. Says all there is; who may see or end what is decided by
//! the relations and functions of `pg_catalog`. Knows no socket.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What a session does. Source: PostgreSQL 15, `pg_stat_activity.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// It runs a statement.
    Active,
    /// It waits for its client.
    Idle,
    /// It waits for its client in a transaction block.
    IdleInTransaction,
    /// The same, in a block in which a statement has failed.
    IdleInFailedTransaction,
}

impl BackendState {
    /// As `pg_stat_activity` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// How a connection is encrypted, in OpenSSL's words, which are PostgreSQL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// e.g. `TLSv1.3`.
    pub version: &'static str,
    /// e.g. `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Bits of its key.
    pub bits: u16,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Backend {
    /// What its client knows it as.
    pub pid: i32,
    /// Its id in `system.sessions`.
    pub session: Uuid,
    /// Whose it is.
    pub user: String,
    /// Whether that is an administrator.
    pub is_admin: bool,
    /// Its catalog, where that is known.
    pub catalog: Option<String>,
    /// What its client calls itself; for doors whose clients do not say, the door.
    pub application_name: String,
    /// The client's address.
    pub address: Option<String>,
    /// The client's port.
    pub port: Option<u16>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its transaction began, if it is in one.
    pub transaction_at: Option<DateTime<Utc>>,
    /// When its last statement began.
    pub query_at: Option<DateTime<Utc>>,
    /// When its state changed.
    pub changed_at: Option<DateTime<Utc>>,
    /// What it does.
    pub state: BackendState,
    /// Whether its statement waits for its turn.
    pub is_queued: bool,
    /// Its last statement, without secrets.
    pub query: String,
    /// Whether it came through the PostgreSQL door.
    pub is_wire: bool,
    /// How it is encrypted; only told of the PostgreSQL door.
    pub tls: Option<BackendTls>,
}

/// One prepared statement of a session.
#[derive(Clone, Debug)]
pub struct ListedStatement {
    /// Its name.
    pub name: String,
    /// Its text, of SQL's `PREPARE` with that.
    pub statement: String,
    /// When it was prepared.
    pub prepared_at: DateTime<Utc>,
    /// Oids of the types of its parameters.
    pub parameter_types: Vec<u32>,
    /// Whether SQL's `PREPARE` made it.
    pub from_sql: bool,
    /// How often it was run.
    pub runs: i64,
    /// How many of the runs had the plan of an earlier one.
    pub reused: i64,
}

/// One cursor or portal of a session.
#[derive(Clone, Debug)]
pub struct ListedCursor {
    /// Its name.
    pub name: String,
    /// Its text, of SQL's `DECLARE` with that.
    pub statement: String,
    /// Whether it outlives its transaction.
    pub is_holdable: bool,
    /// Whether its rows go out in binary.
    pub is_binary: bool,
    /// Whether it goes backwards, too.
    pub is_scrollable: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What is asked of another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End the statement that runs.
    Cancel,
    /// End the session.
    Terminate,
}

/// The sessions of all doors at this moment.
pub trait Backends: Debug + Send + Sync {
    /// Every session, and every statement without one, those that began first first.
    fn backends(&self) -> Vec<Backend>;

    /// The process id that the client of `session` was told, if it was told one.
    fn pid_of(&self, session: Uuid) -> Option<i32>;

    /// The prepared statements of `session`.
    fn prepared_statements(&self, session: Uuid) -> Vec<ListedStatement>;

    /// The cursors and portals of `session`.
    fn cursors(&self, session: Uuid) -> Vec<ListedCursor>;

    /// Asks it of `session`; `false` if that is gone.
    fn signal(&self, session: Uuid, signal: Signal) -> bool;

    /// Tells the client of `session` a warning, if its door can.
    fn warn(&self, session: Uuid, message: String);
}
