//! Time travel: `t FOR VERSION AS OF …`, `t FOR TIMESTAMP AS OF …`, `t@branch`, and which snapshot they mean.
//!
//! The wanted version travels from the statement to the lookup of the name as a mark on the name. A snapshot or tag
//! is read with the schema that it was written with, a branch with the table's.

use std::fmt;
use std::ops::ControlFlow;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::physical_plan::common::collect;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, TableAlias,
    TableFactor, TableVersion, Value, VisitMut, VisitorMut, visit_expressions,
};
use tarn_catalog::{ManifestCache, Snapshot, Table};

use crate::distribute::PlacementWish;
use crate::engine::{Engine, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::lookup::{Found, Lookup, is_undefined};
use crate::metadata_tables;
use crate::parser::{self, Name, Statement, VERSION_FUNCTION, fold};
use crate::query::run;
use crate::resolve::Catalogs;
use crate::scan::IcebergTableProvider;
use crate::session::Session;

/// Stands between a table's name and the version of it that is wanted. No name has it: it is no printable character.
const MARK: char = '\u{1}';
const MICROS_PER_MILLI: i64 = 1_000;

/// The version of a table that a statement wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A snapshot, by its id.
    Snapshot(i64),
    /// A branch or tag.
    Reference(String),
    /// What was current at a time, in microseconds since 1970.
    Time(i64),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(id) => write!(f, "s{id}"),
            Self::Reference(name) => write!(f, "r{name}"),
            Self::Time(micros) => write!(f, "t{micros}"),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        match kind {
            "s" => rest.parse().ok().map(Self::Snapshot),
            "r" => Some(Self::Reference(rest.to_owned())),
            "t" => rest.parse().ok().map(Self::Time),
            _ => None,
        }
    }
}

/// A name as the statement had it, and the version that was marked on it.
pub(crate) fn split(name: &str) -> (&str, Option<Version>) {
    match name.split_once(MARK) {
        Some((name, version)) => (name, Version::parse(version)),
        None => (name, None),
    }
}

/// The table that a name such as `t@branch` or `t$files` is about; none if it is a plain name.
pub(crate) fn table_of(name: &str) -> Option<&str> {
    let (table, _, _) = parts(name);
    (table != name && !table.is_empty()).then_some(table)
}

/// Table, metadata table, and branch or tag of a name such as `t$files@branch`.
pub(crate) fn parts(name: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, reference) = match name.rsplit_once('@') {
        Some((rest, reference)) => (rest, Some(reference)),
        None => (name, None),
    };
    match rest.rsplit_once(metadata_tables::SEPARATOR) {
        Some((table, metadata)) => (table, Some(metadata), reference),
        None => (rest, None, reference),
    }
}

/// What a name stands for.
pub(crate) struct Wanted {
    pub(crate) found: Found,
    pub(crate) version: Option<Version>,
    pub(crate) metadata: Option<metadata_tables::Kind>,
}

/// What a name stands for: a relation of exactly that name, else `table$metadata`, `table@branch`, or both.
pub(crate) async fn wanted(
    catalogs: &Catalogs,
    lookup: &Lookup,
    name: &Name,
) -> Result<Wanted, EngineError> {
    let (mut name, mut version) = (name.clone(), None);
    let Some(last) = name.pop() else {
        return Err(EngineError::new(ErrorKind::Syntax, "empty table name"));
    };
    let (whole, marked) = split(&last);
    name.push(whole.to_owned());
    let missing = match catalogs.find(lookup, &name).await {
        Ok(found) => {
            return Ok(Wanted {
                found,
                version: marked,
                metadata: None,
            });
        }
        Err(error) if is_undefined(&error) => error,
        Err(error) => return Err(error),
    };
    let (table, metadata, reference) = parts(whole);
    if table == whole || table.is_empty() {
        return Err(missing);
    }
    name.pop();
    name.push(table.to_owned());
    let found = catalogs.find(lookup, &name).await?;
    if let Some(reference) = reference {
        if marked.is_some() {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!("\"{whole}\" is asked for at two versions"),
            )
            .with_hint("leave out the branch or FOR … AS OF"));
        }
        version = Some(Version::Reference(reference.to_owned()));
    }
    let metadata = match metadata {
        Some(metadata) => Some(metadata_tables::Kind::named(metadata, table)?),
        None => None,
    };
    Ok(Wanted {
        found,
        version: version.or(marked),
        metadata,
    })
}

/// Marks the names of tables with the versions that are wanted of them.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for a version or time that is none.
pub(crate) async fn mark(
    engine: &Engine,
    session: &Session,
    context: &StatementContext,
    statement: &mut ast::Statement,
) -> Result<(), EngineError> {
    let mut gather = Gather { wanted: vec![] };
    let _ = VisitMut::visit(statement, &mut gather);
    if gather.wanted.is_empty() {
        return Ok(());
    }
    let mut versions = Vec::with_capacity(gather.wanted.len());
    for wanted in gather.wanted {
        versions.push(version_of(engine, session, context, wanted).await?);
    }
    let mut put = Put {
        versions: versions.into_iter(),
    };
    let _ = VisitMut::visit(statement, &mut put);
    Ok(())
}

/// Takes the wanted versions out of a statement, in order.
struct Gather {
    wanted: Vec<TableVersion>,
}

impl VisitorMut for Gather {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            version: Some(version),
            ..
        } = factor
        {
            self.wanted.push(version.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Puts the versions on the names, in the same order.
struct Put {
    versions: std::vec::IntoIter<Version>,
}

impl VisitorMut for Put {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            version,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if version.take().is_some()
            && let Some(wanted) = self.versions.next()
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut()
        {
            let table = fold(last);
            *last = Ident::with_quote('"', format!("{table}{MARK}{wanted}"));
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::with_quote('"', table),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

async fn version_of(
    engine: &Engine,
    session: &Session,
    context: &StatementContext,
    wanted: TableVersion,
) -> Result<Version, EngineError> {
    let TableVersion::ForSystemTimeAsOf(expr) = wanted else {
        return Err(EngineError::unsupported("this form of time travel")
            .with_hint("use FOR VERSION AS OF or FOR TIMESTAMP AS OF behind the table's name"));
    };
    if let Some(argument) = version_argument(&expr) {
        return literal_version(argument, context);
    }
    let asks = visit_expressions(&expr, |expr: &Expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if asks.is_break() {
        return Err(EngineError::unsupported(
            "a subquery in FOR TIMESTAMP AS OF",
        ));
    }
    let sql = format!("SELECT CAST(({expr}) AS timestamp with time zone)");
    let Statement::Query(query) = parser::parse(&sql)? else {
        return Err(EngineError::internal("a time is no query"));
    };
    let planned =
        Box::pin(engine.plan(session, *query, context, Some(PlacementWish::Never))).await?;
    let physical = planned
        .statement
        .state
        .create_physical_plan(&planned.logical)
        .await?;
    let quiet = StatementContext::unobserved();
    let rows = collect(run(&planned.statement, &physical, &quiet).await?).await?;
    let time = rows.first().and_then(|batch| {
        let column = batch.column(0);
        let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        (!batch.column(0).is_null(0)).then(|| times.value(0))
    });
    time.map(Version::Time).ok_or_else(|| {
        EngineError::new(
            ErrorKind::InvalidParameter,
            format!("FOR TIMESTAMP AS OF {expr} is no time"),
        )
        .with_hint("as in FOR TIMESTAMP AS OF TIMESTAMP '2026-01-31 12:00:00'")
    })
}

/// What `FOR VERSION AS OF` was given.
fn version_argument(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    if function.name.to_string() != VERSION_FUNCTION {
        return None;
    }
    match &function.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
            _ => None,
        },
        _ => None,
    }
}

fn literal_version(argument: &Expr, context: &StatementContext) -> Result<Version, EngineError> {
    let wrong = || {
        EngineError::new(
            ErrorKind::InvalidParameter,
            format!("FOR VERSION AS OF {argument} is no version"),
        )
        .with_hint("give the id of a snapshot, or the name of a branch or tag as a text")
    };
    let named = |text: &str| match text.parse::<i64>() {
        Ok(id) => Version::Snapshot(id),
        Err(_) => Version::Reference(text.to_owned()),
    };
    let Expr::Value(value) = argument else {
        return Err(wrong());
    };
    match &value.value {
        Value::Number(text, _) => text.parse().map(Version::Snapshot).map_err(|_| wrong()),
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            Ok(Version::Reference(text.clone()))
        }
        Value::Placeholder(place) => {
            let position = place.trim_start_matches('$').parse::<usize>().ok();
            let given = position.and_then(|n| context.parameters.get(n.checked_sub(1)?));
            match given {
                Some(ScalarValue::Int64(Some(id))) => Ok(Version::Snapshot(*id)),
                Some(ScalarValue::Int32(Some(id))) => Ok(Version::Snapshot(i64::from(*id))),
                Some(
                    ScalarValue::Utf8(Some(text))
                    | ScalarValue::LargeUtf8(Some(text))
                    | ScalarValue::Utf8View(Some(text)),
                ) => Ok(named(text)),
                _ => Err(EngineError::unsupported(
                    "a parameter in FOR VERSION AS OF of a prepared statement",
                )
                .with_hint("write the version into the statement")),
            }
        }
        _ => Err(wrong()),
    }
}

/// The snapshot of `table` that `version` means, and whether it is read with the schema that it was written with.
///
/// # Errors
/// [`ErrorKind::UndefinedObject`] if there is none.
pub(crate) fn snapshot_of(
    table: &Table,
    version: &Version,
) -> Result<(Snapshot, bool), EngineError> {
    let missing = |what: String, hint: String| {
        EngineError::new(
            ErrorKind::UndefinedObject,
            format!("table \"{}\" has no {what}", table.ident()),
        )
        .with_hint(hint)
    };
    let listed = |metadata: &str| {
        format!(
            "SELECT * FROM \"{}${metadata}\" lists them",
            table.ident().name
        )
    };
    match version {
        Version::Snapshot(id) => table
            .snapshot_by_id(*id)
            .map(|snapshot| (snapshot, true))
            .ok_or_else(|| missing(format!("snapshot {id}"), listed("snapshots"))),
        Version::Reference(name) => {
            let refs = table.refs();
            let found = refs.iter().find(|reference| reference.name == *name);
            // A text may be a snapshot's id, as clients send them.
            if found.is_none()
                && let Some(snapshot) = name.parse().ok().and_then(|id| table.snapshot_by_id(id))
            {
                return Ok((snapshot, true));
            }
            let reference = found.ok_or_else(|| {
                let names: Vec<&str> = refs.iter().map(|r| r.name.as_str()).collect();
                let hint = match names.as_slice() {
                    [] => "the table has no snapshot yet".to_owned(),
                    names => format!("branches and tags: {}", names.join(", ")),
                };
                missing(format!("branch or tag \"{name}\""), hint)
            })?;
            table
                .snapshot_by_id(reference.snapshot_id)
                .map(|snapshot| (snapshot, !reference.is_branch))
                .ok_or_else(|| {
                    let gone = format!("snapshot {} any more", reference.snapshot_id);
                    missing(gone, listed("snapshots"))
                })
        }
        Version::Time(micros) => table
            .snapshot_as_of(micros.div_euclid(MICROS_PER_MILLI))
            .map(|snapshot| (snapshot, true))
            .ok_or_else(|| {
                let time = chrono::DateTime::from_timestamp_micros(*micros)
                    .map_or_else(|| micros.to_string(), |time| time.to_rfc3339());
                missing(format!("version as old as {time}"), listed("history"))
            }),
    }
}

/// What reads `table`, at `version` if one is wanted.
///
/// # Errors
/// As [`snapshot_of`].
pub(crate) fn provider(
    table: Table,
    version: Option<&Version>,
    cache: ManifestCache,
) -> Result<IcebergTableProvider, EngineError> {
    let Some(version) = version else {
        return Ok(IcebergTableProvider::new(table, cache));
    };
    let (snapshot, own_schema) = snapshot_of(&table, version)?;
    Ok(IcebergTableProvider::at(table, snapshot, own_schema, cache))
}
