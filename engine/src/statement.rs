//! What a statement is once it is parsed. No names are resolved here.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast;
use tarn_catalog::PartitionFieldDef;

/// A possibly qualified name, outermost part first, already folded.
pub(crate) type Name = Vec<String>;

/// One parsed statement.
#[derive(Debug)]
pub(crate) enum Statement {
    /// `SELECT`, `VALUES`, `WITH`, `TABLE t`.
    Query(Box<ast::Statement>),
    /// `INSERT INTO t [(columns)] query`.
    Insert {
        /// The table written to.
        table: Name,
        /// The whole statement, planned by DataFusion's SQL planner.
        statement: Box<ast::Statement>,
    },
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// `[catalog.]schema`.
        name: Name,
        /// Do nothing if it exists.
        if_not_exists: bool,
        /// `WITH (…)`.
        properties: HashMap<String, String>,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// The schemas.
        names: Vec<Name>,
        /// Do nothing if it is missing.
        if_exists: bool,
        /// Drop the tables in it as well.
        cascade: bool,
    },
    /// `CREATE TABLE`, with or without `AS`.
    CreateTable(Box<CreateTable>),
    /// `DROP TABLE`.
    DropTable {
        /// The tables.
        names: Vec<Name>,
        /// Do nothing if it is missing.
        if_exists: bool,
        /// Delete the files too.
        purge: bool,
    },
    /// `ALTER TABLE a RENAME TO b`.
    RenameTable {
        /// The table.
        from: Name,
        /// Its new name; unqualified = same schema.
        to: Name,
        /// Do nothing if it is missing.
        if_exists: bool,
    },
    /// `EXPLAIN`.
    Explain(Explain),
    /// `DESCRIBE t`, `SHOW COLUMNS FROM t`.
    ShowColumns(Name),
    /// `SHOW CATALOGS [LIKE …]`.
    ShowCatalogs {
        /// Pattern on the name.
        like: Option<String>,
    },
    /// `SHOW SCHEMAS [FROM catalog] [LIKE …]`.
    ShowSchemas {
        /// The catalog; the session's if absent.
        catalog: Option<Name>,
        /// Pattern on the name.
        like: Option<String>,
    },
    /// `SHOW TABLES [FROM schema] [LIKE …]`.
    ShowTables {
        /// `[catalog.]schema`; the session's if absent.
        schema: Option<Name>,
        /// Pattern on the name.
        like: Option<String>,
    },
    /// `SHOW CREATE TABLE t`.
    ShowCreateTable(Name),
    /// `SHOW FUNCTIONS [LIKE …]`.
    ShowFunctions {
        /// Pattern on the name.
        like: Option<String>,
    },
    /// `SHOW setting`; `None` = `SHOW ALL`.
    ShowSetting(Option<String>),
    /// `USE [catalog.]schema`.
    Use(Name),
    /// `SET setting = value`; `None` = `DEFAULT`.
    Set {
        /// The setting, folded.
        name: String,
        /// Its value as text.
        value: Option<String>,
    },
    /// `RESET setting`; `None` = `RESET ALL`.
    Reset(Option<String>),
}

impl Statement {
    /// Whether it is a command that only answers, from what is at hand.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::ShowColumns(_)
            | Self::ShowCatalogs { .. }
            | Self::ShowSchemas { .. }
            | Self::ShowTables { .. }
            | Self::ShowCreateTable(_)
            | Self::ShowFunctions { .. }
            | Self::ShowSetting(_) => true,
            Self::Query(_)
            | Self::Insert { .. }
            | Self::CreateSchema { .. }
            | Self::DropSchema { .. }
            | Self::CreateTable(_)
            | Self::DropTable { .. }
            | Self::RenameTable { .. }
            | Self::Explain(_)
            | Self::Use(_)
            | Self::Set { .. }
            | Self::Reset(_) => false,
        }
    }

    /// Its command tag.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Query(_) => "SELECT",
            Self::Insert { .. } => "INSERT",
            Self::CreateSchema { .. } => "CREATE SCHEMA",
            Self::DropSchema { .. } => "DROP SCHEMA",
            Self::CreateTable(create) if create.query.is_some() => "CREATE TABLE AS",
            Self::CreateTable(_) => "CREATE TABLE",
            Self::DropTable { .. } => "DROP TABLE",
            Self::RenameTable { .. } => "ALTER TABLE",
            Self::Explain(_) => "EXPLAIN",
            Self::ShowColumns(_)
            | Self::ShowCatalogs { .. }
            | Self::ShowSchemas { .. }
            | Self::ShowTables { .. }
            | Self::ShowCreateTable(_)
            | Self::ShowFunctions { .. }
            | Self::ShowSetting(_) => "SHOW",
            Self::Use(_) => "USE",
            Self::Set { .. } => "SET",
            Self::Reset(_) => "RESET",
        }
    }
}

/// `CREATE TABLE`.
#[derive(Debug)]
pub(crate) struct CreateTable {
    /// The table.
    pub name: Name,
    /// Replace the table if it exists.
    pub or_replace: bool,
    /// Do nothing if it exists.
    pub if_not_exists: bool,
    /// Column definitions; empty for most `AS` forms.
    pub columns: Vec<ast::ColumnDef>,
    /// `PARTITIONED BY (…)`.
    pub partition: Vec<PartitionFieldDef>,
    /// `WITH (…)`.
    pub properties: HashMap<String, String>,
    /// `LOCATION '…'`.
    pub location: Option<String>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `AS query`.
    pub query: Option<Box<ast::Statement>>,
    /// `AS query WITH NO DATA`: columns only.
    pub with_data: bool,
}

/// How EXPLAIN prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExplainFormat {
    /// Indented lines with every detail.
    Text,
    /// The distributed stages as boxes; the default.
    Tree,
    /// One JSON document.
    Json,
}

/// `EXPLAIN [ANALYZE] [VERBOSE] [(options)] statement`.
#[derive(Debug)]
pub(crate) struct Explain {
    /// Run it and show what happened.
    pub analyze: bool,
    /// Show the logical plan too.
    pub verbose: bool,
    /// How to print.
    pub format: ExplainFormat,
    /// What to explain.
    pub statement: Box<Statement>,
}
