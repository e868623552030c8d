//! The extended protocol: Parse, Bind, Describe, Execute, Close.
//!
//! An unnamed statement is planned when somebody needs to know its types, at the latest when it is
//! run; a named one when it is parsed, because it is meant to be used again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use tarn_engine::{
    ConnectionCommand, Piece, PlanSlot, Prepared, connection_command, only_reads, pg_type_of,
    pg_type_of_parameter, redacted, split,
};

use super::command::Call;
use super::connection::Connection;
use super::decode;
use super::encode::{Format, Style, describe};
use super::fault::Fault;
use super::message::{self, Bind, Message, Target};
use super::portal::{Open, Pass, Portal, Progress, has_rows, tag};

/// Prepared statements of one session at most.
const STATEMENTS_MAX: usize = 10_000;
/// Portals of one session at most.
const PORTALS_MAX: usize = 1000;
/// Oid of `text`, the type of parameters that nothing tells.
const TEXT_OID: u32 = 25;

/// A parsed statement.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) kind: Kind,
    /// Characters before it in the text of the client.
    offset: usize,
    /// Types that the client has said, by position.
    given: Vec<Given>,
    prepared: OnceLock<Prepared>,
    /// Where its plan is kept from run to run.
    pub(crate) plan: Arc<PlanSlot>,
    /// The text of the `PREPARE` or `DECLARE` that has made it.
    source: Option<String>,
    /// What others may see of its text.
    shown: Arc<str>,
    pub(crate) prepared_at: DateTime<Utc>,
    runs: AtomicI64,
}

/// Characters of a text that `pg_stat_activity` shows. Source: PostgreSQL, `track_activity_query_size`.
const SHOWN_MAX: usize = 1023;

/// What others may see of a text: its beginning, without secrets.
pub(crate) fn shown(sql: &str) -> Arc<str> {
    let text = redacted(sql);
    let end = text.char_indices().nth(SHOWN_MAX);
    Arc::from(end.map_or(&*text, |(end, _)| &text[..end]))
}

/// A parameter's type as far as the client has said it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) oid: u32,
    pub(crate) ty: Option<DataType>,
}

/// What a statement is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Empty,
    Command(ConnectionCommand),
    Engine,
}

impl Statement {
    /// Parses a text that holds one statement at most.
    pub(crate) fn parse(text: &str, given: Vec<Given>) -> Result<Self, Fault> {
        let mut pieces = split(text);
        if pieces.len() > 1 {
            return Err(Fault::error(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let Some(Piece { sql, offset, .. }) = pieces.pop() else {
            return Ok(Self::of(String::new(), Kind::Empty, 0, given));
        };
        let command =
            connection_command(&sql).map_err(|error| Fault::from(error).shifted(offset))?;
        let kind = command.map_or(Kind::Engine, Kind::Command);
        Ok(Self::of(sql, kind, offset, given))
    }

    fn of(sql: String, kind: Kind, offset: usize, given: Vec<Given>) -> Self {
        Self {
            shown: shown(&sql),
            sql,
            kind,
            offset,
            given,
            prepared: OnceLock::new(),
            plan: Arc::default(),
            source: None,
            prepared_at: Utc::now(),
            runs: AtomicI64::new(0),
        }
    }

    /// The same, made by SQL's `PREPARE` or `DECLARE` of this text.
    #[must_use]
    pub(crate) fn made_by(mut self, text: &str) -> Self {
        self.source = Some(text.to_owned());
        self
    }

    pub(crate) fn is_from_sql(&self) -> bool {
        self.source.is_some()
    }

    /// The text that its client has sent.
    pub(crate) fn written(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.sql)
    }

    /// How often it was run.
    pub(crate) fn runs(&self) -> i64 {
        self.runs.load(Ordering::Relaxed)
    }

    pub(crate) fn count_run(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_engine(&self) -> bool {
        matches!(self.kind, Kind::Engine)
    }

    /// What the engine plans of it: all of it, or the query of a cursor, which may have parameters.
    fn planned(&self) -> Option<&str> {
        match &self.kind {
            Kind::Engine => Some(&self.sql),
            Kind::Command(ConnectionCommand::Declare { sql, .. }) => Some(sql),
            Kind::Command(_) | Kind::Empty => None,
        }
    }

    /// Whether the block of a transaction takes it after an error.
    fn ends_block(&self) -> bool {
        matches!(
            self.kind,
            Kind::Command(
                ConnectionCommand::Commit { .. }
                    | ConnectionCommand::Rollback { .. }
                    | ConnectionCommand::RollbackTo(_)
            ) | Kind::Empty
        )
    }

    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.get()
    }

    /// The oid and type of parameter `at`.
    fn parameter(&self, at: usize) -> (u32, DataType) {
        if let Some(given) = self.given.get(at)
            && given.oid != 0
        {
            return (given.oid, given.ty.clone().unwrap_or(DataType::Utf8View));
        }
        let inferred = self
            .prepared()
            .and_then(|prepared| prepared.parameters.get(at).cloned().flatten());
        match inferred {
            Some(field) if *field.data_type() != DataType::Null => {
                (pg_type_of_parameter(&field).oid, field.data_type().clone())
            }
            _ => (TEXT_OID, DataType::Utf8View),
        }
    }

    /// The oids of the types of its parameters.
    pub(crate) fn parameter_oids(&self) -> Vec<u32> {
        (0..self.parameters())
            .map(|at| self.parameter(at).0)
            .collect()
    }

    fn parameters(&self) -> usize {
        let inferred = self
            .prepared()
            .map_or(0, |prepared| prepared.parameters.len());
        inferred.max(self.given.len())
    }
}

impl Connection {
    /// Handles one message of the extended protocol.
    pub(crate) async fn extended(&mut self, message: Message) -> Result<(), Fault> {
        match message {
            Message::Parse { name, sql, types } => self.parse(name, &sql, &types).await,
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(Target::Statement(name)) => self.describe_statement(&name).await,
            Message::Describe(Target::Portal(name)) => self.describe_portal(&name).await,
            Message::Execute { portal, rows_max } => {
                self.execute(&portal, u64::from(rows_max)).await
            }
            Message::Close(target) => {
                match target {
                    Target::Statement(name) => {
                        self.statements.remove(&name);
                    }
                    Target::Portal(name) => {
                        self.portals.remove(&name);
                    }
                }
                message::bare(&mut self.wire.output, b'3');
                Ok(())
            }
            Message::Flush => Ok(self.wire.flush().await?),
            _ => Err(Fault::fatal("08P01", "unexpected message")),
        }
    }

    async fn parse(&mut self, name: String, text: &str, types: &[u32]) -> Result<(), Fault> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Fault::error(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Fault::error(
                "53400",
                format!("a session has at most {STATEMENTS_MAX} prepared statements"),
            )
            .with_hint("DEALLOCATE what is not used any more"));
        }
        let given = types
            .iter()
            .map(|oid| Given {
                oid: *oid,
                ty: decode::arrow_type(*oid),
            })
            .collect();
        let statement = Statement::parse(text, given)?;
        self.asks(&statement.shown);
        if !statement.ends_block() {
            self.block.check()?;
        }
        let statement = Arc::new(statement);
        // A client that waits after Parse waits for errors, too.
        let waits = matches!(self.wire.peek(), None | Some(b'S' | b'H'));
        if !name.is_empty() || waits {
            self.analyse(&statement).await?;
        }
        self.statements.insert(name, statement);
        message::bare(&mut self.wire.output, b'1');
        Ok(())
    }

    /// Plans a statement for its types, once.
    pub(crate) async fn analyse(&mut self, statement: &Statement) -> Result<(), Fault> {
        let Some(sql) = statement.planned() else {
            return Ok(());
        };
        if statement.prepared().is_some() {
            return Ok(());
        }
        self.block.check()?;
        let given: Vec<Option<DataType>> = statement
            .given
            .iter()
            .map(|given| given.ty.clone())
            .collect();
        let service = &self.shared.service;
        let prepare = service
            .statements
            .prepare(&service.engine, &self.session, sql, &given);
        let prepared = self
            .wire
            .beside(prepare.boxed())
            .await?
            .map_err(|error| Fault::from(error).shifted(statement.offset))?;
        // Only this task fills it.
        let _ = statement.prepared.set(prepared);
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Statement>, Fault> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let what = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Fault::error("26000", what)
        })
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Fault> {
        let statement = self.statement(&bind.statement)?;
        self.asks(&statement.shown);
        if !statement.ends_block() {
            self.block.check()?;
        }
        let count = bind.values.len();
        let known =
            statement.given.len() >= count && statement.given.iter().all(|given| given.oid != 0);
        if count > 0 && !known {
            self.analyse(&statement).await?;
        }
        let wanted = statement.parameters();
        // Without a plan the count is checked when the statement is run.
        if (statement.prepared().is_some() || statement.planned().is_none()) && count != wanted {
            return Err(Fault::error(
                "08P01",
                format!(
                    "bind message supplies {count} parameters, but prepared statement \"{}\" requires {wanted}",
                    bind.statement
                ),
            ));
        }
        if bind.value_formats.len() > 1 && bind.value_formats.len() != count {
            return Err(Fault::error(
                "08P01",
                format!(
                    "bind message has {} parameter formats but {count} parameters",
                    bind.value_formats.len()
                ),
            ));
        }
        let zone = self.session.settings.get("time_zone").to_owned();
        let mut values = Vec::with_capacity(count);
        for (at, value) in bind.values.iter().enumerate() {
            let format = match &bind.value_formats[..] {
                [] => Format::Text,
                [one] => Format::of(*one),
                many => Format::of(many[at]),
            };
            let (oid, ty) = statement.parameter(at);
            if format == Format::Binary && decode::arrow_type(oid).is_none() && oid != 0 {
                return Err(Fault::unsupported(format!(
                    "a binary parameter of type oid {oid}"
                )));
            }
            let ty = decode::sent_type(oid, format, ty);
            let read = decode::parameter(value.as_deref(), oid, format, &ty, &zone);
            values.push(read.map_err(|fault| {
                fault.with_context(format!("unnamed portal parameter ${}", at + 1))
            })?);
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Fault::error(
                "42P03",
                format!("cursor \"{}\" already exists", bind.portal),
            ));
        }
        self.check_portals()?;
        self.portals.insert(
            bind.portal,
            Portal::new(statement, values, bind.result_formats),
        );
        message::bare(&mut self.wire.output, b'2');
        Ok(())
    }

    pub(crate) fn check_portals(&self) -> Result<(), Fault> {
        if self.portals.len() >= PORTALS_MAX {
            return Err(Fault::error(
                "53400",
                format!("a session has at most {PORTALS_MAX} open portals"),
            )
            .with_hint("close cursors that are not read any more"));
        }
        Ok(())
    }

    async fn describe_statement(&mut self, name: &str) -> Result<(), Fault> {
        let statement = self.statement(name)?;
        if !statement.ends_block() {
            self.block.check()?;
        }
        self.analyse(&statement).await?;
        message::parameter_description(&mut self.wire.output, &statement.parameter_oids());
        let schema = self.schema_of(&statement).await?;
        self.describe_rows(schema, &[])
    }

    /// The columns that a statement answers with; `None` = no rows.
    async fn schema_of(&mut self, statement: &Statement) -> Result<Option<SchemaRef>, Fault> {
        match &statement.kind {
            Kind::Empty => Ok(None),
            Kind::Engine => {
                self.analyse(statement).await?;
                Ok(statement
                    .prepared()
                    .and_then(|prepared| prepared.schema.clone()))
            }
            Kind::Command(command) => match command {
                ConnectionCommand::Fetch {
                    name,
                    is_move: false,
                    ..
                } => Ok(self
                    .portals
                    .get(name)
                    .and_then(|portal| match &portal.progress {
                        Progress::Open(open) => Some(Arc::clone(open.schema())),
                        _ => None,
                    })),
                ConnectionCommand::Execute { name, .. } => {
                    let inner = self.statement(name)?;
                    Box::pin(self.schema_of(&inner)).await
                }
                _ => Ok(None),
            },
        }
    }

    fn describe_rows(&mut self, schema: Option<SchemaRef>, formats: &[i16]) -> Result<(), Fault> {
        match schema {
            None => message::bare(&mut self.wire.output, b'n'),
            Some(schema) => {
                let columns = describe(&schema, formats)?;
                message::row_description(&mut self.wire.output, &columns);
            }
        }
        Ok(())
    }

    async fn describe_portal(&mut self, name: &str) -> Result<(), Fault> {
        let Some(portal) = self.portals.get(name) else {
            return Err(no_portal(name));
        };
        let statement = Arc::clone(&portal.statement);
        if !statement.ends_block() {
            self.block.check()?;
        }
        let formats = portal.formats.clone();
        // A query is begun instead of planned twice: Execute comes next, or nothing happens.
        let begins = matches!(portal.progress, Progress::Ready)
            && statement.is_engine()
            && statement.prepared().is_none()
            && only_reads(&statement.sql);
        if begins {
            self.begin_portal(name).await?;
        }
        let schema = match self.portals.get(name).map(|portal| &portal.progress) {
            Some(Progress::Open(open)) if has_rows(open.command(), open.schema()) => {
                Some(Arc::clone(open.schema()))
            }
            Some(Progress::Ready) => self.schema_of(&statement).await?,
            _ => None,
        };
        self.describe_rows(schema, &formats)
    }

    /// Starts the statement of a portal.
    async fn begin_portal(&mut self, name: &str) -> Result<(), Fault> {
        let Some(portal) = self.portals.get_mut(name) else {
            return Err(no_portal(name));
        };
        let values = std::mem::take(&mut portal.values);
        let statement = Arc::clone(&portal.statement);
        let formats = portal.formats.clone();
        statement.count_run();
        let running = self
            .start_prepared(&statement.sql, values, Some(Arc::clone(&statement.plan)))
            .await
            .map_err(|fault| fault.shifted(statement.offset))?;
        let told = statement
            .prepared()
            .and_then(|prepared| prepared.schema.clone());
        if let Some(told) = &told
            && !same_types(told, &running.schema())
        {
            self.check_plan(&statement, told).await?;
        }
        let style = Style::of(&self.session.settings);
        let open = Open::new(running, told, &formats, style)?;
        if let Some(portal) = self.portals.get_mut(name) {
            portal.progress = Progress::Open(Box::new(open));
        }
        Ok(())
    }

    /// Refuses rows of other types than the client was told, if a new plan gives those, too.
    async fn check_plan(&mut self, statement: &Statement, told: &SchemaRef) -> Result<(), Fault> {
        let now = Statement::of(
            statement.sql.clone(),
            Kind::Engine,
            statement.offset,
            statement.given.clone(),
        );
        self.analyse(&now).await?;
        let schema = now.prepared().and_then(|prepared| prepared.schema.as_ref());
        if schema.is_some_and(|schema| same_types(told, schema)) {
            // Only the values' types differ; they are cast.
            return Ok(());
        }
        Err(
            Fault::error("0A000", "cached plan must not change result type")
                .with_hint("a table has changed since; prepare the statement again"),
        )
    }

    async fn execute(&mut self, name: &str, rows_max: u64) -> Result<(), Fault> {
        let Some(portal) = self.portals.get(name) else {
            return Err(no_portal(name));
        };
        let statement = Arc::clone(&portal.statement);
        self.asks(&statement.shown);
        match &statement.kind {
            Kind::Empty => {
                message::bare(&mut self.wire.output, b'I');
                return Ok(());
            }
            Kind::Command(command) => {
                let call = Call {
                    formats: &portal.formats.clone(),
                    values: portal.values.clone(),
                    describes: false,
                    several: false,
                };
                let command = command.clone();
                return Box::pin(self.command(command, &statement.sql, call)).await;
            }
            Kind::Engine => self.block.check()?,
        }
        if matches!(portal.progress, Progress::Ready) {
            self.begin_portal(name).await?;
        }
        let Some(portal) = self.portals.get_mut(name) else {
            return Err(no_portal(name));
        };
        let progress = std::mem::replace(&mut portal.progress, Progress::Done(String::new()));
        let mut open = match progress {
            Progress::Open(open) => open,
            Progress::Done(tag) => {
                // Nothing is left of it; a client may ask again.
                message::complete(&mut self.wire.output, &tag);
                portal.progress = Progress::Done(tag);
                return Ok(());
            }
            Progress::Ready => return Err(Fault::error("XX000", "a portal did not begin")),
        };
        let sent = Box::pin(self.pass(&mut open, rows_max, Pass::Send)).await?;
        let progress = if sent.is_end {
            let ended = tag(open.command(), open.affected(), sent.rows);
            message::complete(&mut self.wire.output, &ended);
            Progress::Done(tag(open.command(), open.affected(), 0))
        } else {
            message::bare(&mut self.wire.output, b's');
            Progress::Open(open)
        };
        if let Some(portal) = self.portals.get_mut(name) {
            portal.progress = progress;
        }
        self.report();
        Ok(())
    }
}

/// Whether two results look the same to a client.
fn same_types(told: &SchemaRef, is: &SchemaRef) -> bool {
    told.fields().len() == is.fields().len()
        && told
            .fields()
            .iter()
            .zip(is.fields())
            .all(|(told, is)| pg_type_of(told).oid == pg_type_of(is).oid)
}

fn no_portal(name: &str) -> Fault {
    Fault::error("34000", format!("portal \"{name}\" does not exist"))
}
