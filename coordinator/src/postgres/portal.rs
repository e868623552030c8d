//! Portals and cursors: statements under way, whose rows go out as they are asked for.
//!
//! A portal keeps the statement's stream and the batch that it has begun to send, nothing more: memory
//! does not grow with the rows that are left.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use tarn_engine::ScalarValue;

use super::connection::Connection;
use super::encode::{Cell, RowEncoder, Style, describe, put_row};
use super::extended::Statement;
use super::fault::Fault;
use super::message;
use crate::statements::Running;

/// A statement bound to values, or a cursor.
pub(crate) struct Portal {
    pub(crate) statement: Arc<Statement>,
    pub(crate) values: Vec<ScalarValue>,
    /// Formats of the result's columns.
    pub(crate) formats: Vec<i16>,
    pub(crate) progress: Progress,
    /// Outlives its transaction.
    hold: bool,
    /// `DECLARE` has made it.
    cursor: bool,
}

/// How far a portal is.
pub(crate) enum Progress {
    /// It has not begun.
    Ready,
    /// Rows are left.
    Open(Box<Open>),
    /// It has ended with this tag.
    Done(String),
}

/// A result whose rows are being sent.
pub(crate) struct Open {
    running: Running,
    schema: SchemaRef,
    encoder: RowEncoder,
    batch: Option<Begun>,
    /// Rows passed so far.
    passed: u64,
}

/// A batch of which some rows have been sent.
struct Begun {
    batch: RecordBatch,
    cells: Vec<Cell>,
    next: usize,
}

/// What to do with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Send,
    Skip,
}

/// How a round of sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Rows of this round.
    pub(crate) rows: u64,
    /// Whether the result has ended.
    pub(crate) is_end: bool,
}

impl Portal {
    pub(crate) fn new(
        statement: Arc<Statement>,
        values: Vec<ScalarValue>,
        formats: Vec<i16>,
    ) -> Self {
        Self {
            statement,
            values,
            formats,
            progress: Progress::Ready,
            hold: false,
            cursor: false,
        }
    }

    /// A cursor over a result that has begun.
    pub(crate) fn cursor(
        statement: Arc<Statement>,
        open: Open,
        formats: Vec<i16>,
        hold: bool,
    ) -> Self {
        Self {
            statement,
            values: vec![],
            formats,
            progress: Progress::Open(Box::new(open)),
            hold,
            cursor: true,
        }
    }

    pub(crate) fn is_cursor(&self) -> bool {
        self.cursor
    }

    pub(crate) fn is_held(&self) -> bool {
        self.hold
    }
}

impl Open {
    /// A result whose rows go out as `told` has been described to the client, if it has.
    pub(crate) fn new(
        running: Running,
        told: Option<SchemaRef>,
        formats: &[i16],
        style: Style,
    ) -> Result<Self, Fault> {
        let schema = running.schema();
        let shown = told
            .filter(|told| told.fields().len() == schema.fields().len())
            .unwrap_or(schema);
        describe(&shown, formats)?;
        Ok(Self {
            encoder: RowEncoder::new(Arc::clone(&shown), formats, style),
            schema: shown,
            running,
            batch: None,
            passed: 0,
        })
    }

    /// From now on rows go out in these formats.
    pub(crate) fn set_formats(&mut self, formats: &[i16], style: Style) -> Result<(), Fault> {
        if self.encoder.formats() == formats {
            return Ok(());
        }
        describe(&self.schema, formats)?;
        self.encoder = RowEncoder::new(Arc::clone(&self.schema), formats, style);
        if let Some(begun) = &mut self.batch {
            begun.cells = self.encoder.cells(&begun.batch)?;
        }
        Ok(())
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn command(&self) -> &'static str {
        self.running.command
    }

    pub(crate) fn affected(&self) -> Option<u64> {
        self.running.affected
    }

    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    pub(crate) fn query_id(&self) -> &str {
        &self.running.query_id
    }
}

impl Connection {
    /// Sends, or skips, up to `rows_max` rows of a result; 0 = all.
    pub(crate) async fn pass(
        &mut self,
        open: &mut Open,
        rows_max: u64,
        pass: Pass,
    ) -> Result<Sent, Fault> {
        let sent = self.pass_rows(open, rows_max, pass).await;
        self.warn();
        sent
    }

    async fn pass_rows(
        &mut self,
        open: &mut Open,
        rows_max: u64,
        pass: Pass,
    ) -> Result<Sent, Fault> {
        self.cancels(open.query_id());
        let mut rows = 0;
        loop {
            if rows_max > 0 && rows >= rows_max {
                open.passed += rows;
                return Ok(Sent {
                    rows,
                    is_end: false,
                });
            }
            let Some(begun) = &mut open.batch else {
                match self.wire.beside(open.running.next()).await? {
                    None => {
                        open.passed += rows;
                        return Ok(Sent { rows, is_end: true });
                    }
                    Some(batch) => {
                        let batch = batch?;
                        open.batch = Some(Begun {
                            cells: open.encoder.cells(&batch)?,
                            batch,
                            next: 0,
                        });
                    }
                }
                continue;
            };
            while begun.next < begun.batch.num_rows() && (rows_max == 0 || rows < rows_max) {
                if pass == Pass::Send {
                    put_row(&mut self.wire.output, &begun.cells, begun.next)?;
                    if self.wire.output.len() >= super::wire::FLUSH_BYTES {
                        begun.next += 1;
                        rows += 1;
                        self.wire.flush().await?;
                        continue;
                    }
                }
                begun.next += 1;
                rows += 1;
            }
            if begun.next >= begun.batch.num_rows() {
                open.batch = None;
            }
        }
    }

    /// Sends a whole result, with its columns first if the client has not been told them.
    pub(crate) async fn send_all(
        &mut self,
        running: Running,
        formats: &[i16],
        describes: bool,
    ) -> Result<(), Fault> {
        let style = Style::of(&self.session.settings);
        let mut open = Box::new(Open::new(running, None, formats, style)?);
        let has_rows = has_rows(open.command(), open.schema());
        if has_rows && describes {
            let columns = describe(open.schema(), formats)?;
            message::row_description(&mut self.wire.output, &columns);
        }
        let sent = self.pass(&mut open, 0, Pass::Send).await?;
        let tag = tag(open.command(), open.affected(), sent.rows);
        message::complete(&mut self.wire.output, &tag);
        Ok(())
    }
}

/// Whether a statement answers with rows, maybe none.
pub(crate) fn has_rows(command: &str, schema: &SchemaRef) -> bool {
    command == "SELECT" || !schema.fields().is_empty()
}

/// The tag of `CommandComplete`.
pub(crate) fn tag(command: &str, affected: Option<u64>, rows: u64) -> String {
    match (command, affected) {
        ("SELECT", None) => format!("SELECT {rows}"),
        ("INSERT", Some(rows)) => format!("INSERT 0 {rows}"),
        // As PostgreSQL says it.
        ("CREATE TABLE AS", Some(rows)) => format!("SELECT {rows}"),
        (command, Some(rows)) => format!("{command} {rows}"),
        (command, None) => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_postgresql() {
        assert_eq!(tag("SELECT", None, 3), "SELECT 3");
        assert_eq!(tag("INSERT", Some(2), 0), "INSERT 0 2");
        assert_eq!(tag("CREATE TABLE AS", Some(2), 0), "SELECT 2");
        assert_eq!(tag("UPDATE", Some(2), 0), "UPDATE 2");
        assert_eq!(tag("CREATE TABLE", None, 0), "CREATE TABLE");
    }
}
