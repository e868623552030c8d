//! `CALL system.procedure(…)`: what is done to tables besides statements of their own.
//!
//! One list of procedures says what each takes and gives; arguments are literals, by position or by name.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};
use tarn_catalog::{EntryKind, Table, remove_orphan_files};

use crate::engine::{Engine, Outcome};
use crate::error::{EngineError, ErrorKind};
use crate::names;
use crate::parser::{Name, fold_name};
use crate::resolve::SYSTEM_SCHEMA;
use crate::session::Session;
use crate::settings::parse_duration;
use crate::statement::Call;
use crate::writes::check_path_properties;

const COMMAND: &str = "CALL";

/// How old a file must be that nobody names, if nobody says.
const ORPHAN_AGE: Duration = Duration::from_hours(72);
/// Writes that run longer may lose files that they have not committed yet.
const ORPHAN_AGE_MIN: Duration = Duration::from_hours(1);

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Name of a table, as a text in which dots and double quotes mean what they do in SQL.
    Table,
    /// A text.
    Text,
}

impl Kind {
    fn wanted(self) -> &'static str {
        match self {
            Self::Table => "the name of a table as a text, such as 'main.orders'",
            Self::Text => "a text",
        }
    }
}

/// One parameter of a procedure.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What is known of a procedure before it is called.
#[derive(Debug)]
pub(crate) struct Procedure {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Columns of its answer: all are `bigint`.
    columns: &'static [&'static str],
    pub(crate) about: &'static str,
}

const fn required(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        name,
        kind,
        required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        required: false,
        ..required(name, kind)
    }
}

/// What procedures that take files answer.
const ADDED: &[&str] = &["added_files_count", "added_rows_count"];

/// All procedures, by name.
pub(crate) const PROCEDURES: &[Procedure] = &[
    Procedure {
        name: "add_files",
        parameters: &[required("table", Kind::Table), required("path", Kind::Text)],
        columns: ADDED,
        about: "Enters Parquet files (a path, folder or glob under the allowed roots) in a table. Nothing is copied; the files stay when the table goes.",
    },
    Procedure {
        name: "attach_parquet",
        parameters: &[required("table", Kind::Table), required("path", Kind::Text)],
        columns: ADDED,
        about: "Makes a table of Parquet files as they lie, partitioned by folders `key=value`. Nothing is copied; the files stay when the table goes.",
    },
    Procedure {
        name: "register_table",
        parameters: &[
            required("table", Kind::Table),
            required("metadata_file", Kind::Text),
        ],
        columns: &[
            "current_snapshot_id",
            "total_records_count",
            "total_data_files_count",
        ],
        about: "Enters a table that another catalog or engine wrote, by its metadata file. Nothing is copied.",
    },
    Procedure {
        name: "remove_orphan_files",
        parameters: &[
            required("table", Kind::Table),
            optional("older_than", Kind::Text),
        ],
        columns: &["orphan_files_count", "orphan_bytes_count"],
        about: "Removes files below the table's `data` and `metadata` folders that nothing of the table names, such as those of a server that was killed in a write. Only files that were written longer ago than `older_than`, such as '12h' (default '3d', at least '1h'): younger ones may belong to a write that still runs.",
    },
];

/// How each procedure is called and what it does, for the reference.
pub fn procedures() -> impl Iterator<Item = (String, &'static str)> {
    PROCEDURES.iter().map(|known| (known.usage(), known.about))
}

impl Procedure {
    fn schema(&self) -> Schema {
        let columns = self.columns.iter();
        Schema::new(
            columns
                .map(|name| Field::new(*name, DataType::Int64, true))
                .collect::<Vec<_>>(),
        )
    }

    /// How it is called.
    pub(crate) fn usage(&self) -> String {
        let parameters = self.parameters.iter().map(|parameter| {
            if parameter.required {
                parameter.name.to_owned()
            } else {
                format!("[{}]", parameter.name)
            }
        });
        let parameters: Vec<String> = parameters.collect();
        format!("{SYSTEM_SCHEMA}.{}({})", self.name, parameters.join(", "))
    }

    fn answer(&self, values: Vec<Option<i64>>) -> Result<Outcome, EngineError> {
        let columns = values
            .into_iter()
            .map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        let batch = RecordBatch::try_new(Arc::new(self.schema()), columns.collect())?;
        Ok(Outcome::rows(COMMAND, batch))
    }
}

/// The procedure that a statement calls.
fn find(call: &Call) -> Result<&'static Procedure, EngineError> {
    let ([schema, name] | [_, schema, name]) = call.name.as_slice() else {
        return Err(unknown(call));
    };
    if schema != SYSTEM_SCHEMA {
        return Err(unknown(call));
    }
    PROCEDURES
        .iter()
        .find(|procedure| procedure.name == name)
        .ok_or_else(|| unknown(call))
}

fn unknown(call: &Call) -> EngineError {
    let name = call.name.join(".");
    let all = PROCEDURES.iter().map(|procedure| procedure.name);
    let last = call.name.last().map_or("", String::as_str);
    let hint = if let Some(near) = names::nearest(last, all) {
        format!("did you mean {SYSTEM_SCHEMA}.{near}?")
    } else {
        let all: Vec<String> = PROCEDURES.iter().map(Procedure::usage).collect();
        format!("procedures: {}", all.join(", "))
    };
    EngineError::new(
        ErrorKind::UndefinedFunction,
        format!("procedure {name} does not exist"),
    )
    .with_hint(hint)
}

/// Arguments in the order of the parameters.
#[derive(Debug)]
struct Arguments {
    values: Vec<Option<Expr>>,
    procedure: &'static Procedure,
}

impl Arguments {
    fn bind(procedure: &'static Procedure, call: Call) -> Result<Self, EngineError> {
        let mut values = vec![None; procedure.parameters.len()];
        let mut named = false;
        for (position, (name, value)) in call.arguments.into_iter().enumerate() {
            let at = match &name {
                Some(name) => {
                    named = true;
                    procedure
                        .parameters
                        .iter()
                        .position(|parameter| parameter.name == name)
                        .ok_or_else(|| wrong(procedure, &format!("has no parameter {name}")))?
                }
                None if named => {
                    return Err(wrong(
                        procedure,
                        "takes arguments without a name before those with one only",
                    ));
                }
                None if position < values.len() => position,
                None => return Err(wrong(procedure, "was given too many arguments")),
            };
            if values[at].replace(value).is_some() {
                let name = procedure.parameters[at].name;
                return Err(wrong(procedure, &format!("was given {name} twice")));
            }
        }
        for (parameter, value) in procedure.parameters.iter().zip(&values) {
            if parameter.required && value.is_none() {
                return Err(wrong(procedure, &format!("needs {}", parameter.name)));
            }
        }
        Ok(Self { values, procedure })
    }

    fn text(&self, at: usize) -> Result<&str, EngineError> {
        match self.values.get(at).and_then(Option::as_ref) {
            Some(Expr::Value(value)) => match &value.value {
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(text),
                _ => Err(self.mistyped(at)),
            },
            _ => Err(self.mistyped(at)),
        }
    }

    fn table(&self, at: usize) -> Result<Name, EngineError> {
        let text = self.text(at)?;
        let parsed = crate::parser::object_name(text);
        parsed.map(|name| fold_name(&name)).ok_or_else(|| {
            EngineError::new(
                ErrorKind::InvalidName,
                format!("\"{text}\" is no name of a table"),
            )
            .with_hint("write it as in SQL: main.orders, or main.\"Orders\"")
        })
    }

    fn mistyped(&self, at: usize) -> EngineError {
        let parameter = &self.procedure.parameters[at];
        let what = format!("takes {} for {}", parameter.kind.wanted(), parameter.name);
        wrong(self.procedure, &what)
    }
}

fn wrong(procedure: &Procedure, what: &str) -> EngineError {
    EngineError::new(
        ErrorKind::InvalidParameter,
        format!("procedure {} {what}", procedure.name),
    )
    .with_hint(format!("CALL {}", procedure.usage()))
}

/// Whether an expression can be an argument.
pub(crate) fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => is_literal(expr),
        Expr::Array(array) => array.elem.iter().all(is_literal),
        _ => false,
    }
}

impl Engine {
    /// Columns of what a call answers.
    ///
    /// # Errors
    /// As [`Self::call`], as far as the name goes.
    pub(crate) fn columns_of_call(call: &Call) -> Result<Schema, EngineError> {
        Ok(find(call)?.schema())
    }

    /// `CALL`.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedFunction`], [`ErrorKind::InvalidParameter`], or what the procedure meets.
    pub(crate) async fn call(
        &self,
        session: &Session,
        mut call: Call,
    ) -> Result<Outcome, EngineError> {
        let procedure = find(&call)?;
        // `CALL lake.system.…`: names without a catalog are looked up in that one.
        let mut session = session.clone();
        if let [catalog, _, _] = call.name.as_slice() {
            session.catalog = self.config.catalogs.get(catalog)?.name().to_owned();
        }
        call.name.clear();
        let arguments = Arguments::bind(procedure, call)?;
        match procedure.name {
            "add_files" => {
                let (table, path) = (arguments.table(0)?, arguments.text(1)?);
                let added = Box::pin(self.add_files(&session, &table, path)).await?;
                procedure.answer(added.counts())
            }
            "attach_parquet" => {
                let (table, path) = (arguments.table(0)?, arguments.text(1)?);
                let added = Box::pin(self.attach_parquet(&session, &table, path)).await?;
                procedure.answer(added.counts())
            }
            "remove_orphan_files" => self.remove_orphans(&session, procedure, &arguments).await,
            "register_table" => self.register_table(&session, procedure, &arguments).await,
            other => Err(EngineError::internal(format!("{other} is not called"))),
        }
    }

    async fn remove_orphans(
        &self,
        session: &Session,
        procedure: &'static Procedure,
        arguments: &Arguments,
    ) -> Result<Outcome, EngineError> {
        let older_than = match &arguments.values[1] {
            None => ORPHAN_AGE,
            Some(_) => parse_duration(arguments.text(1)?)
                .filter(|age| *age >= ORPHAN_AGE_MIN)
                .ok_or_else(|| {
                    wrong(
                        procedure,
                        "takes a time of at least '1h' for older_than, such as '12h' or '3d'",
                    )
                })?,
        };
        let name = arguments.table(0)?;
        let found = self.find(session, &name).await?;
        if found.kind != EntryKind::Table {
            return Err(found.wrong_kind("files belong to the tables that the view reads"));
        }
        let removed = remove_orphan_files(found.catalog.as_ref(), &found.ident, older_than).await?;
        let counts = [removed.files, removed.bytes];
        let counts = counts.map(|count| i64::try_from(count).ok());
        procedure.answer(counts.to_vec())
    }

    async fn register_table(
        &self,
        session: &Session,
        procedure: &'static Procedure,
        arguments: &Arguments,
    ) -> Result<Outcome, EngineError> {
        let (catalog, ident) = self.new_name(session, &arguments.table(0)?, false).await?;
        let location = arguments.text(1)?;
        let (roots, warehouse) = (&self.config.roots, catalog.warehouse());
        roots.check_location(location, warehouse)?;
        let table = catalog.load_table_at(&ident, location).await?;
        roots.check_location(table.location(), warehouse)?;
        check_path_properties(table.properties(), roots, warehouse)?;
        let table = catalog
            .register_table(&ident, table.metadata_location())
            .await?;
        procedure.answer(totals(&table))
    }
}

/// Snapshot, rows and data files of a table, as far as its summary counts them.
fn totals(table: &Table) -> Vec<Option<i64>> {
    let Some(snapshot) = table.current_snapshot() else {
        return vec![None, Some(0), Some(0)];
    };
    let count = |key: &str| snapshot.summary.get(key).and_then(|text| text.parse().ok());
    vec![
        Some(snapshot.id),
        count("total-records"),
        count("total-data-files"),
    ]
}
