//! What a statement is once it is parsed. No names are resolved here.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast;
use tarn_catalog::{ColumnPath, PartitionFieldDef, SortFieldDef};

use crate::admin::Admin;

/// A possibly qualified name, outermost part first, already folded.
pub(crate) type Name = Vec<String>;

/// One parsed statement.
#[derive(Debug)]
pub(crate) enum Statement {
    /// About users, tokens, queries and sessions.
    Admin(Box<Admin>),
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
    /// `CREATE VIEW`.
    CreateView(Box<CreateView>),
    /// `COPY … TO 'path'`.
    CopyTo(Box<CopyTo>),
    /// `DROP VIEW`.
    DropView {
        /// The views.
        names: Vec<Name>,
        /// Do nothing if it is missing.
        if_exists: bool,
    },
    /// `TRUNCATE`, and `DELETE` without a condition.
    Truncate {
        /// The tables.
        names: Vec<Name>,
        /// Whether it was written as DELETE, which counts rows.
        delete: bool,
    },
    /// `COMMENT ON … IS …`.
    Comment {
        /// What it is about.
        on: Commented,
        /// Its name; of a column with the column's name last.
        name: Name,
        /// The text; none removes it.
        text: Option<String>,
    },
    /// `ANALYZE` and `VACUUM`: nothing needs to be done.
    Maintain {
        /// The command.
        command: &'static str,
        /// Tables that it names.
        names: Vec<Name>,
    },
    /// `DROP TABLE`.
    DropTable {
        /// The tables.
        names: Vec<Name>,
        /// Do nothing if it is missing.
        if_exists: bool,
        /// Delete the files too.
        purge: bool,
    },
    /// `ALTER TABLE`, `ALTER VIEW`.
    Alter(Box<Alter>),
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
    /// `SHOW VIEWS [FROM schema] [LIKE …]`.
    ShowViews {
        /// `[catalog.]schema`; the session's if absent.
        schema: Option<Name>,
        /// Pattern on the name.
        like: Option<String>,
    },
    /// `SHOW CREATE TABLE t`.
    ShowCreateTable(Name),
    /// `SHOW CREATE VIEW v`.
    ShowCreateView(Name),
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
    /// `CALL procedure(…)`.
    Call(Call),
}

impl Statement {
    /// Whether it is a command that only answers, from what is at hand.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Admin(admin) => admin.only_reads(),
            Self::ShowColumns(_)
            | Self::ShowCatalogs { .. }
            | Self::ShowSchemas { .. }
            | Self::ShowTables { .. }
            | Self::ShowViews { .. }
            | Self::ShowCreateTable(_)
            | Self::ShowCreateView(_)
            | Self::ShowFunctions { .. }
            | Self::ShowSetting(_) => true,
            Self::Query(_)
            | Self::Insert { .. }
            | Self::CreateSchema { .. }
            | Self::DropSchema { .. }
            | Self::CreateTable(_)
            | Self::DropTable { .. }
            | Self::CreateView(_)
            | Self::CopyTo(_)
            | Self::DropView { .. }
            | Self::Truncate { .. }
            | Self::Comment { .. }
            | Self::Maintain { .. }
            | Self::Alter(_)
            | Self::Explain(_)
            | Self::Use(_)
            | Self::Set { .. }
            | Self::Reset(_)
            | Self::Call(_) => false,
        }
    }

    /// Whether it leaves catalogs and tables as they are.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            Self::Query(_) | Self::Use(_) | Self::Set { .. } | Self::Reset(_) => true,
            Self::Explain(explain) => !explain.analyze || explain.statement.is_read(),
            other => other.only_reads(),
        }
    }

    /// Its command tag.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Admin(admin) => admin.tag(),
            Self::Query(_) => "SELECT",
            Self::Insert { .. } => "INSERT",
            Self::CreateSchema { .. } => "CREATE SCHEMA",
            Self::DropSchema { .. } => "DROP SCHEMA",
            Self::CreateTable(create) if create.query.is_some() => "CREATE TABLE AS",
            Self::CreateTable(_) => "CREATE TABLE",
            Self::DropTable { .. } => "DROP TABLE",
            Self::CreateView(create) if create.alter => "ALTER VIEW",
            Self::CreateView(_) => "CREATE VIEW",
            Self::CopyTo(_) => "COPY",
            Self::DropView { .. } => "DROP VIEW",
            Self::Truncate { delete: false, .. } => "TRUNCATE TABLE",
            Self::Truncate { delete: true, .. } => "DELETE",
            Self::Comment { .. } => "COMMENT",
            Self::Maintain { command, .. } => command,
            Self::Alter(alter) if alter.view => "ALTER VIEW",
            Self::Alter(_) => "ALTER TABLE",
            Self::Explain(_) => "EXPLAIN",
            Self::ShowColumns(_)
            | Self::ShowCatalogs { .. }
            | Self::ShowSchemas { .. }
            | Self::ShowTables { .. }
            | Self::ShowViews { .. }
            | Self::ShowCreateTable(_)
            | Self::ShowCreateView(_)
            | Self::ShowFunctions { .. }
            | Self::ShowSetting(_) => "SHOW",
            Self::Use(_) => "USE",
            Self::Set { .. } => "SET",
            Self::Reset(_) => "RESET",
            Self::Call(_) => "CALL",
        }
    }
}

/// `COPY … TO 'path'`.
#[derive(Debug)]
pub(crate) struct CopyTo {
    /// Gives the rows.
    pub query: ast::Statement,
    /// Where they go.
    pub target: String,
    /// Names in small letters, with what follows each.
    pub options: Vec<(String, Vec<String>)>,
}

/// `CALL procedure(argument, name => argument, …)`.
#[derive(Debug)]
pub(crate) struct Call {
    /// `[catalog.]system.procedure`.
    pub name: Name,
    /// Literals, each with its name if it was given by name.
    pub arguments: Vec<(Option<String>, ast::Expr)>,
}

/// What COMMENT ON is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commented {
    /// A table.
    Table,
    /// A view.
    View,
    /// A column of a table or view.
    Column,
    /// A schema.
    Schema,
}

/// `ALTER TABLE`, `ALTER VIEW`.
#[derive(Debug)]
pub(crate) struct Alter {
    /// Whether it was written as ALTER VIEW.
    pub view: bool,
    /// The table or view.
    pub name: Name,
    /// Do nothing if it is missing.
    pub if_exists: bool,
    /// What to change.
    pub action: AlterAction,
}

/// What ALTER changes.
#[derive(Debug)]
pub(crate) enum AlterAction {
    /// `RENAME TO name`; an unqualified name stays in its schema.
    Rename(Name),
    /// `SET SCHEMA name`.
    SetSchema(Name),
    /// Changes of columns, all of them at once.
    Columns(Vec<ColumnChange>),
    /// `SET (key = value, …)`, `SET TBLPROPERTIES (…)`.
    SetProperties(HashMap<String, String>),
    /// `RESET (key, …)`, `UNSET TBLPROPERTIES (…)`.
    ResetProperties(Vec<String>),
    /// `WRITE ORDERED BY …`; none for `WRITE UNORDERED`.
    SortOrder(Vec<SortFieldDef>),
    /// `OWNER TO`: everything belongs to its catalog.
    Owner,
}

/// One change of a column.
#[derive(Debug)]
pub(crate) enum ColumnChange {
    /// `ADD COLUMN`.
    Add {
        /// The struct that it is in; none for a column of the table.
        parent: ColumnPath,
        /// The column.
        column: ast::ColumnDef,
        /// Do nothing if there is one of the name.
        if_not_exists: bool,
    },
    /// `DROP COLUMN`.
    Drop {
        /// The column.
        column: ColumnPath,
        /// Do nothing if it is missing.
        if_exists: bool,
    },
    /// `RENAME COLUMN`.
    Rename {
        /// The column.
        column: ColumnPath,
        /// Its new name.
        to: String,
    },
    /// `ALTER COLUMN … TYPE`.
    Type {
        /// The column.
        column: ColumnPath,
        /// Its new type.
        to: ast::DataType,
    },
    /// `ALTER COLUMN … SET NOT NULL`, `DROP NOT NULL`.
    NotNull {
        /// The column.
        column: ColumnPath,
        /// Whether it must have a value from now on.
        required: bool,
    },
}

/// `CREATE VIEW`.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent words of the statement"
)]
pub(crate) struct CreateView {
    /// The view.
    pub name: Name,
    /// Replace the view if it exists.
    pub or_replace: bool,
    /// `ALTER VIEW … AS`: it must be there already.
    pub alter: bool,
    /// Do nothing if it exists.
    pub if_not_exists: bool,
    /// Whether it is the session's own.
    pub temporary: bool,
    /// Names of its first columns.
    pub columns: Vec<ViewColumn>,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `WITH (…)`.
    pub properties: HashMap<String, String>,
    /// Its query.
    pub query: Box<ast::Statement>,
    /// The query as it was written.
    pub text: String,
}

/// A column in the list of CREATE VIEW.
#[derive(Debug)]
pub(crate) struct ViewColumn {
    /// Its name.
    pub name: String,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
}

/// `CREATE TABLE`.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent words of the statement"
)]
pub(crate) struct CreateTable {
    /// Whether it is the session's own.
    pub temporary: bool,
    /// `LIKE other`.
    pub like: Option<Name>,
    /// `PRIMARY KEY (…)`.
    pub primary_key: Vec<String>,
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
    /// `ORDER BY (…)`.
    pub sort: Vec<SortFieldDef>,
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

impl CreateTable {
    /// A table of which only the name is said.
    pub(crate) fn named(name: Name) -> Self {
        Self {
            name,
            temporary: false,
            or_replace: false,
            if_not_exists: false,
            columns: vec![],
            like: None,
            primary_key: vec![],
            partition: vec![],
            sort: vec![],
            properties: HashMap::new(),
            location: None,
            comment: None,
            query: None,
            with_data: true,
        }
    }
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
