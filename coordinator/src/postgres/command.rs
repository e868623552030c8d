//! Statements about the connection: transactions, cursors, prepared statements, DISCARD.
//!
//! Their grammar is [`tarn_engine::connection_command`]'s; what they mean to a connection is here.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use futures::StreamExt;
use tarn_engine::{
    ConnectionCommand, Discard, ScalarValue, Steps, TransactionModes, pg_type_of, split,
};

use super::connection::Connection;
use super::encode::{Style, describe};
use super::extended::{Given, Kind, Statement};
use super::fault::{Fault, Notice};
use super::message;
use super::portal::{Open, Pass, Portal, Progress, Walk};

/// How a command is called.
pub(crate) struct Call<'a> {
    /// Formats of the columns of rows.
    pub(crate) formats: &'a [i16],
    /// Values of the parameters of a cursor's query.
    pub(crate) values: Vec<ScalarValue>,
    /// Rows are described before they are sent.
    pub(crate) describes: bool,
    /// Other statements stand in the same text, which then is a transaction.
    pub(crate) several: bool,
}

/// What `DECLARE` says.
struct Cursor<'a> {
    name: String,
    binary: bool,
    scroll: bool,
    hold: bool,
    query: &'a str,
    /// All of the `DECLARE`.
    text: &'a str,
}

impl Connection {
    /// Does what a command says and completes it.
    pub(crate) async fn command(
        &mut self,
        command: ConnectionCommand,
        sql: &str,
        call: Call<'_>,
    ) -> Result<(), Fault> {
        let tag = match command {
            ConnectionCommand::Commit { chain } => self.commit(chain).to_owned(),
            ConnectionCommand::Rollback { chain } => self.rollback(chain).to_owned(),
            ConnectionCommand::RollbackTo(name) => self.rollback_to(&name)?.to_owned(),
            other => {
                self.block.check()?;
                match other {
                    ConnectionCommand::Copy(copy) => {
                        return Box::pin(self.copy(*copy, sql)).await;
                    }
                    ConnectionCommand::Execute { name, values } => {
                        return Box::pin(self.execute_prepared(&name, &values, &call)).await;
                    }
                    ConnectionCommand::Fetch {
                        name,
                        steps,
                        is_move,
                    } => self.fetch(&name, steps, is_move, &call).await?,
                    other => Box::pin(self.plain(other, sql, call)).await?.to_owned(),
                }
            }
        };
        self.report();
        message::complete(&mut self.wire.output, &tag);
        Ok(())
    }

    /// Commands that answer with their tag alone.
    async fn plain(
        &mut self,
        command: ConnectionCommand,
        sql: &str,
        call: Call<'_>,
    ) -> Result<&'static str, Fault> {
        Ok(match command {
            ConnectionCommand::Begin { start, modes } => self.begin(start, &modes),
            ConnectionCommand::Savepoint(name) => {
                self.in_block("SAVEPOINT")?;
                self.block.savepoint(name, &self.session)?;
                "SAVEPOINT"
            }
            ConnectionCommand::Release(name) => {
                self.in_block("RELEASE SAVEPOINT")?;
                self.block.release(&name)?;
                "RELEASE"
            }
            ConnectionCommand::SetTransaction(modes) => {
                if self.block.is_idle() {
                    self.notice(&outside("SET TRANSACTION"));
                } else {
                    self.set_modes("transaction", &modes);
                }
                "SET"
            }
            ConnectionCommand::SetCharacteristics(modes) => {
                let before = self.session.clone();
                self.set_modes("default_transaction", &modes);
                self.block.set_lasting(&before, &self.session);
                "SET"
            }
            ConnectionCommand::SetLocal => {
                self.set_local(sql).await?;
                "SET"
            }
            ConnectionCommand::SetConstraints => "SET CONSTRAINTS",
            ConnectionCommand::OwnRole { reset: true } => "RESET",
            ConnectionCommand::OwnRole { reset: false } => "SET",
            ConnectionCommand::Discard(what) => self.discard(what, call.several).await?,
            ConnectionCommand::Deallocate(name) => self.deallocate(name)?,
            ConnectionCommand::Prepare {
                name,
                types,
                sql: query,
            } => {
                self.prepare_named(name, types, &query, sql).await?;
                "PREPARE"
            }
            ConnectionCommand::Declare {
                name,
                binary,
                scroll,
                hold,
                sql: query,
            } => {
                if !hold && self.block.is_idle() && !call.several {
                    return Err(Fault::error(
                        "25P01",
                        "DECLARE CURSOR can only be used in transaction blocks",
                    )
                    .with_hint("BEGIN first, or declare it WITH HOLD"));
                }
                let cursor = Cursor {
                    name,
                    binary,
                    scroll,
                    hold,
                    query: &query,
                    text: sql,
                };
                self.declare(cursor, call.values).await?;
                "DECLARE CURSOR"
            }
            ConnectionCommand::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            ConnectionCommand::Close(Some(name)) => {
                if self.portals.remove(&name).is_none() {
                    return Err(no_cursor(&name));
                }
                "CLOSE CURSOR"
            }
            ConnectionCommand::Listen => return Err(Fault::unsupported("LISTEN")),
            ConnectionCommand::Unlisten => "UNLISTEN",
            ConnectionCommand::Commit { .. }
            | ConnectionCommand::Rollback { .. }
            | ConnectionCommand::RollbackTo(_)
            | ConnectionCommand::Copy(_)
            | ConnectionCommand::Execute { .. }
            | ConnectionCommand::Fetch { .. } => {
                return Err(Fault::error("XX000", "the command is handled elsewhere"));
            }
        })
    }

    fn in_block(&self, what: &str) -> Result<(), Fault> {
        if self.block.is_idle() {
            return Err(Fault::error(
                "25P01",
                format!("{what} can only be used in transaction blocks"),
            ));
        }
        Ok(())
    }

    fn begin(&mut self, start: bool, modes: &TransactionModes) -> &'static str {
        if self.block.is_idle() {
            self.enter(modes);
        } else {
            self.notice(&Notice::warning(
                "25001",
                "there is already a transaction in progress",
            ));
            self.set_modes("transaction", modes);
        }
        if start { "START TRANSACTION" } else { "BEGIN" }
    }

    /// Opens a block with the session's default modes, then those given.
    fn enter(&mut self, modes: &TransactionModes) {
        self.block.begin(&self.session);
        let defaults = TransactionModes {
            isolation: Some(
                self.session
                    .settings
                    .get("default_transaction_isolation")
                    .to_owned(),
            )
            .filter(|level| level != "read committed"),
            read_only: Some(
                self.session
                    .settings
                    .boolean("default_transaction_read_only"),
            ),
            deferrable: None,
        };
        let modes = TransactionModes {
            isolation: modes.isolation.clone().or(defaults.isolation),
            read_only: modes.read_only.or(defaults.read_only),
            deferrable: modes.deferrable,
        };
        self.set_modes("transaction", &modes);
    }

    /// Sets what modes say; warns of an isolation that is more than there is.
    fn set_modes(&mut self, prefix: &str, modes: &TransactionModes) {
        let switch = |on: bool| if on { "on" } else { "off" };
        let mut set = |name: &str, value: &str| {
            // Names and values are known ones.
            let _ = self
                .session
                .settings
                .set(&format!("{prefix}_{name}"), value);
        };
        if let Some(read_only) = modes.read_only {
            set("read_only", switch(read_only));
        }
        if let Some(deferrable) = modes.deferrable {
            set("deferrable", switch(deferrable));
        }
        if let Some(level) = &modes.isolation {
            let stronger = matches!(level.as_str(), "repeatable read" | "serializable");
            set("isolation", level);
            if stronger && prefix == "transaction" {
                self.notice(
                    &Notice::new(
                        "NOTICE",
                        "00000",
                        format!("isolation level {level} is not supported; each statement sees what was committed before it"),
                    ),
                );
            }
        }
    }

    fn commit(&mut self, chain: bool) -> &'static str {
        if self.block.is_idle() {
            self.notice(&Notice::warning(
                "25P01",
                "there is no transaction in progress",
            ));
            return "COMMIT";
        }
        let modes = self.modes_now();
        let failed = self.block.commit(&mut self.session);
        self.end_implicit();
        if chain {
            self.enter(&modes);
        }
        if failed { "ROLLBACK" } else { "COMMIT" }
    }

    fn rollback(&mut self, chain: bool) -> &'static str {
        if self.block.is_idle() {
            self.notice(&Notice::warning(
                "25P01",
                "there is no transaction in progress",
            ));
            return "ROLLBACK";
        }
        let modes = self.modes_now();
        let warning = self.block.rollback(&mut self.session);
        if let Some(warning) = warning {
            self.notice(&warning);
        }
        self.portals.clear();
        if chain {
            self.enter(&modes);
        }
        "ROLLBACK"
    }

    fn modes_now(&self) -> TransactionModes {
        TransactionModes {
            isolation: None,
            read_only: Some(self.session.settings.boolean("transaction_read_only")),
            deferrable: None,
        }
    }

    fn rollback_to(&mut self, name: &str) -> Result<&'static str, Fault> {
        self.in_block("ROLLBACK TO SAVEPOINT")?;
        if let Some(warning) = self.block.rollback_to(name, &mut self.session)? {
            self.notice(&warning);
        }
        Ok("ROLLBACK")
    }

    async fn set_local(&mut self, sql: &str) -> Result<(), Fault> {
        let before = self.session.clone();
        if self.block.is_idle() {
            self.start(sql, vec![]).await?;
            self.session = before;
            self.notice(&outside("SET LOCAL"));
            return Ok(());
        }
        // The engine sets it; that it is local is the block's business.
        self.block.set_local(before);
        self.run(sql, vec![], None).await.map(|_| ())
    }

    async fn discard(&mut self, what: Discard, several: bool) -> Result<&'static str, Fault> {
        match what {
            Discard::Plans => return Ok("DISCARD PLANS"),
            Discard::Sequences => return Ok("DISCARD SEQUENCES"),
            Discard::Temp => {
                self.end_temporary().await;
                return Ok("DISCARD TEMP");
            }
            Discard::All => {}
        }
        if !self.block.is_idle() || several {
            return Err(Fault::error(
                "25001",
                "DISCARD ALL cannot run inside a transaction block",
            ));
        }
        self.portals.clear();
        self.statements.clear();
        self.start("RESET ALL", vec![]).await?;
        self.end_temporary().await;
        Ok("DISCARD ALL")
    }

    fn deallocate(&mut self, name: Option<String>) -> Result<&'static str, Fault> {
        match name {
            None => {
                self.statements.clear();
                Ok("DEALLOCATE ALL")
            }
            Some(name) if self.statements.remove(&name).is_some() => Ok("DEALLOCATE"),
            Some(name) => Err(no_statement(&name)),
        }
    }

    async fn prepare_named(
        &mut self,
        name: String,
        types: Vec<Option<FieldRef>>,
        sql: &str,
        text: &str,
    ) -> Result<(), Fault> {
        if self.statements.contains_key(&name) {
            return Err(Fault::error(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let given = types
            .into_iter()
            .map(|field| match field {
                None => Given::default(),
                Some(field) => Given {
                    oid: pg_type_of(&field).oid,
                    ty: Some(field.data_type().clone()),
                },
            })
            .collect();
        let statement = Statement::parse(sql, given)?.made_by(text);
        if !statement.is_engine() {
            return Err(Fault::error(
                "42601",
                "syntax error: this statement cannot be prepared",
            ));
        }
        self.analyse(&statement).await?;
        self.statements.insert(name, Arc::new(statement));
        Ok(())
    }

    /// `EXECUTE name (values)`
    async fn execute_prepared(
        &mut self,
        name: &str,
        values: &[String],
        call: &Call<'_>,
    ) -> Result<(), Fault> {
        let Some(statement) = self.statements.get(name).cloned() else {
            return Err(no_statement(name));
        };
        if !matches!(statement.kind, Kind::Engine) {
            return Err(Fault::unsupported("EXECUTE of such a statement"));
        }
        self.analyse(&statement).await?;
        let types = statement
            .prepared()
            .map(|prepared| prepared.parameters.clone())
            .unwrap_or_default();
        if types.len() != values.len() {
            return Err(Fault::error(
                "42601",
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_hint(format!(
                "expected {} parameters but got {}",
                types.len(),
                values.len()
            )));
        }
        let values = self.evaluate(values, &types).await?;
        statement.count_run();
        let plan = Arc::clone(&statement.plan);
        let running = self
            .start_prepared(&statement.sql, values, Some(plan))
            .await?;
        self.send_all(running, call.formats, call.describes).await
    }

    /// The values of expressions, cast to the types that are wanted.
    async fn evaluate(
        &mut self,
        expressions: &[String],
        types: &[Option<FieldRef>],
    ) -> Result<Vec<ScalarValue>, Fault> {
        if expressions.is_empty() {
            return Ok(vec![]);
        }
        let list: Vec<String> = expressions.iter().map(|e| format!("({e}\n)")).collect();
        let mut running = self
            .start(&format!("SELECT {}", list.join(", ")), vec![])
            .await?;
        let batch = self.wire.beside(running.next()).await?;
        let Some(batch) = batch.transpose()? else {
            return Err(Fault::error("XX000", "values of EXECUTE gave no row"));
        };
        let values = batch.columns().iter().zip(types).map(|(column, ty)| {
            let value = ScalarValue::try_from_array(column, 0)?;
            match ty {
                Some(field) => value.cast_to(field.data_type()),
                None => Ok(value),
            }
        });
        values
            .collect::<Result<_, _>>()
            .map_err(|error| Fault::from(tarn_engine::EngineError::from(error)))
    }

    async fn declare(&mut self, cursor: Cursor<'_>, values: Vec<ScalarValue>) -> Result<(), Fault> {
        let Cursor {
            name,
            binary,
            scroll,
            hold,
            query: sql,
            text,
        } = cursor;
        if self.portals.contains_key(&name) {
            return Err(Fault::error(
                "42P03",
                format!("cursor \"{name}\" already exists"),
            ));
        }
        self.check_portals()?;
        if split(sql).len() != 1 || !tarn_engine::only_reads(sql) {
            return Err(Fault::error(
                "42601",
                "syntax error: a cursor needs a query",
            ));
        }
        let statement = Arc::new(Statement::parse(sql, vec![])?.made_by(text));
        if !statement.is_engine() {
            return Err(Fault::error(
                "42601",
                "syntax error: a cursor needs a query",
            ));
        }
        let running = self.start(sql, values).await?;
        let formats = vec![i16::from(binary)];
        let mut open = Open::new(running, None, &formats, Style::of(&self.session.settings))?;
        if scroll {
            let engine = &self.shared.service.engine;
            open = open.scrolling(engine.reservation("rows of a SCROLL cursor"));
        }
        self.portals
            .insert(name, Portal::cursor(statement, open, formats, hold));
        Ok(())
    }

    /// `FETCH` and `MOVE`; returns the tag.
    async fn fetch(
        &mut self,
        name: &str,
        steps: Steps,
        is_move: bool,
        call: &Call<'_>,
    ) -> Result<String, Fault> {
        let style = Style::of(&self.session.settings);
        let Some(portal) = self.portals.get_mut(name) else {
            return Err(no_cursor(name));
        };
        let progress = std::mem::replace(&mut portal.progress, Progress::Done(String::new()));
        // In the extended protocol the portal of the FETCH itself says how its rows look.
        let formats = if call.describes {
            portal.formats.clone()
        } else {
            call.formats.to_vec()
        };
        let word = if is_move { "MOVE" } else { "FETCH" };
        let mut open = match progress {
            Progress::Open(open) => open,
            other => {
                portal.progress = other;
                return Err(Fault::error(
                    "55000",
                    format!("portal \"{name}\" cannot be run"),
                ));
            }
        };
        open.set_formats(&formats, style)?;
        let moved = self
            .step(&mut open, &formats, steps, is_move, call.describes)
            .await;
        if let (Ok(_), Some(portal)) = (&moved, self.portals.get_mut(name)) {
            portal.progress = Progress::Open(open);
        }
        moved.map(|rows| format!("{word} {rows}"))
    }

    /// Goes as PostgreSQL's `DoPortalRunFetch` does.
    async fn step(
        &mut self,
        open: &mut Open,
        formats: &[i16],
        steps: Steps,
        is_move: bool,
        describes: bool,
    ) -> Result<u64, Fault> {
        if describes && !is_move {
            let columns = describe(open.schema(), formats)?;
            message::row_description(&mut self.wire.output, &columns);
        }
        let pass = if is_move { Pass::Skip } else { Pass::Send };
        let (skips, last) = match steps {
            Steps::Forward(0) | Steps::Backward(0) if !open.is_on_row() => return Ok(0),
            Steps::Forward(0) | Steps::Backward(0) if is_move => return Ok(1),
            Steps::Forward(0) | Steps::Backward(0) => (vec![Walk::Back(1)], Walk::On(1)),
            Steps::Forward(rows) => (vec![], Walk::On(rows)),
            Steps::Backward(rows) => (vec![], Walk::Back(rows)),
            Steps::Relative(rows) if rows > 0 => {
                (vec![Walk::On(rows.unsigned_abs() - 1)], Walk::On(1))
            }
            Steps::Relative(rows) => (vec![Walk::Back(rows.unsigned_abs() - 1)], Walk::Back(1)),
            Steps::Absolute(0) => (vec![Walk::Back(open.at())], Walk::On(0)),
            Steps::Absolute(row) if row > 0 => {
                let (row, at) = (row.unsigned_abs(), open.at());
                let skip = if row <= at {
                    Walk::Back(at - row + 1)
                } else {
                    Walk::On(row - at - 1)
                };
                (vec![skip], Walk::On(1))
            }
            Steps::Absolute(row) => {
                let back = Walk::Back(row.unsigned_abs() - 1);
                (vec![Walk::On(Steps::ALL), back], Walk::Back(1))
            }
        };
        for skip in skips {
            Box::pin(self.walk(open, skip, Pass::Skip)).await?;
        }
        Box::pin(self.walk(open, last, pass)).await
    }
}

fn outside(what: &str) -> Notice {
    Notice::warning(
        "25P01",
        format!("{what} can only be used in transaction blocks"),
    )
}

fn no_cursor(name: &str) -> Fault {
    Fault::error("34000", format!("cursor \"{name}\" does not exist"))
}

fn no_statement(name: &str) -> Fault {
    Fault::error(
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}
