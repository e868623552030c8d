//! Plans, distributes and runs SQL over Iceberg tables.
//!
//! **Invariant: the engine serves no socket.** It is asked through [`Engine`], reaches workers through
//! channels, and asks the doors' questions (who is there, what runs) through the traits
//! [`SystemTables`] and [`ClusterView`]. It never knows a protocol of a client.

mod about;
mod addresses;
mod admin;
mod alter;
mod attach;
mod backends;
mod casts;
mod chains;
mod checked;
pub mod cluster;
mod commands;
mod conditions;
mod connection;
mod connection_copy;
mod connection_tokens;
mod copy;
mod declared;
mod decorrelate;
mod dialect;
mod dimensions;
mod directory;
pub mod distribute;
mod engine;
mod error;
mod expressions;
mod files;
mod floats;
mod functions;
mod grouping;
mod headings;
mod hidden;
mod identities;
mod inference;
mod ingest;
mod inserts;
mod instants;
mod integers;
mod intervals;
mod items;
mod kept;
mod literals;
mod lookup;
mod maps;
mod memory;
mod metadata_tables;
mod names;
mod notices;
mod once;
mod optimizer;
mod pairs;
mod parameters;
mod parser;
mod partial;
mod partitioned;
mod pg_catalog;
mod planner;
mod postgres;
mod prepare;
pub mod printing;
mod procedures;
mod processors;
mod query;
mod reals;
mod redact;
mod resolve;
mod rewrite;
mod rules;
mod runtime;
pub mod scan;
mod session;
mod settings;
mod shapes;
mod shared;
mod single;
mod split;
mod statement;
mod stores;
mod system;
#[allow(
    clippy::unnecessary_wraps,
    reason = "functions stand in tables, which have one type"
)]
mod temporal;
mod temporary;
mod text_forms;
mod types;
mod unknowns;
mod using;
mod values;
mod versions;
mod views;
mod wanted;
mod weight;
pub mod write;
mod writes;
mod zone;

pub use addresses::Address;
pub use backends::{
    Backend, BackendState, BackendTls, Backends, ListedCursor, ListedStatement, Signal,
};
pub use connection::{
    ConnectionCommand, Copy, CopyFormat, CopyOptions, CopySource, Discard, Header, Quoted, Steps,
    TransactionModes, connection_command, first_word, only_reads,
};
pub use datafusion::execution::memory_pool::MemoryReservation;
pub use datafusion::scalar::ScalarValue;
pub use directory::{CatalogDirectory, Relation, RelationKind, SchemaDirectory};
pub use distribute::{ClusterView, PlanShape, ScanTotals, WorkerRef};
pub use engine::{Engine, EngineConfig, Observer, Outcome, Rows, RunningPlan, StatementContext};
pub use error::{EngineError, ErrorKind};
pub use files::AllowedRoots;
pub use functions::function_names;
pub use identities::{
    Identities, NewRole, NewToken, Role, RoleChange, RoleKind, TokenInfo, tokens_view, users_view,
};
pub use ingest::Ingest;
pub use instants::{Instants, odd_offsets};
pub use kept::PlanSlot;
pub use lookup::is_temporary;
pub use memory::{MemoryBudget, MemoryLimits, QueryMemory};
pub use metadata_tables::kind_names as metadata_table_names;
pub use notices::Notice;
pub use parameters::parameter;
pub use pg_catalog::{
    ARRAYS, PG_CATALOG, PG_TYPE_KEY, PgType, SCALARS, backend_pid, pg_type_by_oid, pg_type_named,
    pg_type_of, pg_type_of_parameter,
};
pub use prepare::Prepared;
pub use procedures::procedures;
pub use processors::Processors;
pub use redact::redacted;
pub use resolve::{Catalogs, INFORMATION_SCHEMA, SYSTEM_SCHEMA};
pub use runtime::{EngineRuntime, ResourceLimits, storage_from_sealed};
pub use session::Session;
pub use settings::{SETTINGS, Setting, SettingKind, Settings, parse_duration};
pub use split::{Piece, Splitter, split};
pub use system::{SystemTables, Viewer};
pub use tarn_catalog::{RangeCache, StorageConfig, Stores};
pub use temporal::Moments;
pub use types::sql_type_name;
pub use wanted::Wanted;
pub use zone::recast;
