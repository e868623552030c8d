//! Portals and cursors: statements under way, whose rows go out as they are asked for.
//!
//! A portal keeps the statement's stream and the batch that it has begun to send, nothing more: memory
//! does not grow with the rows that are left. Only a cursor that goes backwards, too, keeps the rows that it
//! has read, within bounds.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use tarn_engine::{EngineError, MemoryReservation, ScalarValue, Steps};

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
    /// Rows up to the one that it is on.
    passed: u64,
    /// Whether it is behind the last row.
    ended: bool,
    /// The rows read so far, if it goes backwards, too.
    kept: Option<Kept>,
}

/// Bytes of the rows that one SCROLL cursor keeps at most.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// The rows that a SCROLL cursor has read.
struct Kept {
    /// Each with the number of rows before it.
    batches: Vec<(u64, RecordBatch)>,
    rows: u64,
    memory: MemoryReservation,
}

impl Kept {
    fn push(&mut self, batch: RecordBatch) -> Result<(), Fault> {
        let bytes = batch.get_array_memory_size();
        if self.memory.size().saturating_add(bytes) > KEPT_BYTES_MAX {
            return Err(Fault::error(
                "54000",
                format!(
                    "the rows of a SCROLL cursor are larger than {} MiB",
                    KEPT_BYTES_MAX >> 20
                ),
            )
            .with_hint("declare it NO SCROLL, or ask for fewer rows"));
        }
        self.memory.try_grow(bytes).map_err(EngineError::from)?;
        let rows = batch.num_rows() as u64;
        self.batches.push((self.rows, batch));
        self.rows += rows;
        Ok(())
    }

    /// The part of a batch that holds the row at `at` and up to `rows` more: onwards, or before it.
    fn part(&self, at: u64, rows: u64, walk: Walk) -> Option<RecordBatch> {
        let found = self.batches.partition_point(|(first, _)| *first <= at);
        let (first, batch) = self.batches.get(found.checked_sub(1)?)?;
        let at = usize::try_from(at - first).ok()?;
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        Some(match walk {
            Walk::On(_) => batch.slice(at, rows.min(batch.num_rows() - at)),
            Walk::Back(_) => {
                let rows = rows.min(at + 1);
                batch.slice(at + 1 - rows, rows)
            }
        })
    }
}

/// A way through the rows of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// So many rows onwards.
    On(u64),
    /// So many rows back.
    Back(u64),
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

    /// Whether it goes backwards, too.
    pub(crate) fn is_scrollable(&self) -> bool {
        matches!(&self.progress, Progress::Open(open) if open.kept.is_some())
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
            ended: false,
            kept: None,
        })
    }

    /// The same, going backwards, too; the rows that it keeps are counted by `memory`.
    pub(crate) fn scrolling(self, memory: MemoryReservation) -> Self {
        let kept = Kept {
            batches: vec![],
            rows: 0,
            memory,
        };
        Self {
            kept: Some(kept),
            ..self
        }
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

    /// The number of the row that it is on: 0 before the first, one more than there are behind the last.
    pub(crate) fn at(&self) -> u64 {
        self.passed + u64::from(self.ended)
    }

    /// Whether it is on a row.
    pub(crate) fn is_on_row(&self) -> bool {
        self.passed > 0 && !self.ended
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
                        open.ended = true;
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

    /// Sends, or skips, the rows of a way through a cursor; returns how many.
    pub(crate) async fn walk(
        &mut self,
        open: &mut Open,
        walk: Walk,
        pass: Pass,
    ) -> Result<u64, Fault> {
        match walk {
            Walk::On(0) | Walk::Back(0) => Ok(0),
            Walk::Back(_) if open.kept.is_none() => {
                Err(Fault::error("55000", "cursor can only scan forward")
                    .with_hint("Declare it with SCROLL option to enable backward scan."))
            }
            Walk::On(rows) if open.kept.is_none() => {
                // No limit is written 0 there.
                let rows_max = if rows == Steps::ALL { 0 } else { rows };
                Ok(self.pass(open, rows_max, pass).await?.rows)
            }
            walk => {
                let walked = self.walk_kept(open, walk, pass).await;
                self.warn();
                walked
            }
        }
    }

    async fn walk_kept(&mut self, open: &mut Open, walk: Walk, pass: Pass) -> Result<u64, Fault> {
        let (start, rows) = match walk {
            Walk::On(rows) => {
                let known = self.keep(open, open.passed.saturating_add(rows)).await?;
                let left = known.saturating_sub(open.passed);
                (open.passed, if open.ended { 0 } else { left.min(rows) })
            }
            Walk::Back(rows) => {
                let before = if open.ended {
                    open.passed
                } else {
                    open.passed.saturating_sub(1)
                };
                (before, before.min(rows))
            }
        };
        let mut done = 0;
        while done < rows && pass == Pass::Send {
            let at = match walk {
                Walk::On(_) => start + done,
                Walk::Back(_) => start - done - 1,
            };
            let kept = open.kept.as_ref();
            let Some(part) = kept.and_then(|kept| kept.part(at, rows - done, walk)) else {
                return Err(Fault::error("XX000", "a row of a cursor is not there"));
            };
            let cells = open.encoder.cells(&part)?;
            for n in 0..part.num_rows() {
                let row = match walk {
                    Walk::On(_) => n,
                    Walk::Back(_) => part.num_rows() - 1 - n,
                };
                put_row(&mut self.wire.output, &cells, row)?;
                if self.wire.output.len() >= super::wire::FLUSH_BYTES {
                    self.wire.flush().await?;
                }
            }
            done += part.num_rows() as u64;
        }
        match walk {
            Walk::On(wanted) => {
                open.passed += rows;
                open.ended = rows < wanted;
            }
            Walk::Back(wanted) => {
                open.passed = if rows < wanted { 0 } else { start - rows + 1 };
                open.ended = false;
            }
        }
        Ok(rows)
    }

    /// Reads rows of a SCROLL cursor until it has `wanted`, or all; returns how many it has.
    async fn keep(&mut self, open: &mut Open, wanted: u64) -> Result<u64, Fault> {
        self.cancels(open.query_id());
        let Some(kept) = &mut open.kept else {
            return Ok(0);
        };
        while kept.rows < wanted {
            let Some(batch) = self.wire.beside(open.running.next()).await? else {
                break;
            };
            kept.push(batch?)?;
        }
        Ok(kept.rows)
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
