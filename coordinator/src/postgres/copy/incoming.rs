//! COPY FROM STDIN: the client's bytes to batches, and the batches into one commit.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use tarn_engine::{CopyFormat, CopyOptions, EngineError, ErrorKind, Header, Ingest, Quoted};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::binary::Next;
use super::csv::Search;
use super::{binary, csv, is_binary, text};
use crate::postgres::connection::{Connection, refused_write};
use crate::postgres::decode::{Bad, from_binary, from_text};
use crate::postgres::fault::Fault;
use crate::postgres::message::{self, Message};
use crate::statements::{Door, StatementRequest};

/// Rows of a batch at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of a batch's texts, roughly.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait for the writers.
const WAITING_BATCHES: usize = 2;

impl Connection {
    /// Takes rows from the client into a table.
    pub(super) async fn copy_in(
        &mut self,
        table: Vec<String>,
        columns: Option<Vec<String>>,
        options: CopyOptions,
        sql: &str,
    ) -> Result<(), Fault> {
        if self.block.is_read_only(&self.session) {
            return Err(refused_write(sql));
        }
        let service = self.shared.service.clone();
        let schema = service
            .engine
            .ingest_schema(&self.session, &table, columns.as_deref());
        let schema = self.wire.beside(schema.boxed()).await??;
        let zone = self.session.settings.get("time_zone").to_owned();
        let name = table.last().cloned().unwrap_or_default();
        let record_bytes_max = self.shared.options.message_bytes_max;
        let mut reader = Reader::new(name, Arc::clone(&schema), options, zone, record_bytes_max)?;
        let binary = is_binary(reader.options.format);
        let out = &mut self.wire.output;
        message::copy_response(out, b'G', binary, schema.fields().len());
        self.wire.flush().await?;

        let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
        let query_id = Uuid::now_v7().to_string();
        self.cancels(&query_id);
        let request = StatementRequest {
            query_id,
            sql: sql.to_owned(),
            parameters: vec![],
            door: Door::Postgres,
            plan: None,
        };
        let ingest = Ingest {
            table,
            columns,
            schema,
            rows: ReceiverStream::new(receiver).boxed(),
        };
        let session = self.session.clone();
        let insert = service
            .statements
            .ingest(&service.engine, &session, request, ingest);
        let mut insert = insert.boxed();
        let taken = {
            let feed = Box::pin(self.feed(&mut reader, &sender));
            tokio::select! {
                biased;
                early = &mut insert => {
                    // Before its rows have ended, a write can only fail.
                    return Err(early.err().map_or_else(
                        || Fault::error("XX000", "the write ended before its rows"),
                        Fault::from,
                    ));
                }
                taken = feed => taken,
            }
        };
        if let Err(fault) = taken {
            let reason = match &fault {
                Fault::Error(notice) => EngineError::new(ErrorKind::InvalidText, &notice.message),
                _ => EngineError::new(ErrorKind::Canceled, "the client left"),
            };
            // The write hears of it and removes its files; nothing is committed.
            let failed = async {
                let _ = sender.send(Err(reason)).await;
                drop(sender);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = &mut insert => {}
                () = failed => {}
            }
            return Err(fault);
        }
        drop(sender);
        let mut ended = self.wire.beside(insert).await??;
        self.block.wrote();
        let rows = ended.affected.unwrap_or(0);
        // An empty stream: this ends it in the registry as finished.
        while let Some(batch) = ended.next().await {
            batch?;
        }
        message::complete(&mut self.wire.output, &format!("COPY {rows}"));
        Ok(())
    }

    /// Reads the client's data to its end and hands it on in batches.
    async fn feed(
        &mut self,
        reader: &mut Reader,
        sender: &mpsc::Sender<Result<RecordBatch, EngineError>>,
    ) -> Result<(), Fault> {
        loop {
            let frame = self.wire.next().await?;
            let done = match message::read(frame.tag, frame.body)? {
                Message::CopyData(bytes) => {
                    reader.push(&bytes);
                    false
                }
                Message::CopyDone => {
                    reader.finish();
                    true
                }
                Message::CopyFail(reason) => {
                    return Err(
                        Fault::error("57014", format!("COPY from stdin failed: {reason}"))
                            .with_context(reader.context()),
                    );
                }
                // As the protocol has it, these mean nothing here.
                Message::Flush | Message::Sync => continue,
                Message::Terminate => return Err(Fault::Gone),
                _ => {
                    return Err(Fault::error(
                        "08P01",
                        "unexpected message type during COPY from stdin",
                    ));
                }
            };
            while let Some(batch) = reader.next_batch()? {
                if sender.send(Ok(batch)).await.is_err() {
                    // The write has ended; its own error is on the way.
                    std::future::pending::<()>().await;
                }
            }
            if done {
                return Ok(());
            }
        }
    }
}

/// Columns that an option names must be there.
pub(super) fn check_quoted(schema: &Schema, quoted: &Quoted) -> Result<(), Fault> {
    let Quoted::Columns(columns) = quoted else {
        return Ok(());
    };
    match columns
        .iter()
        .find(|column| schema.column_with_name(column).is_none())
    {
        None => Ok(()),
        Some(column) => Err(Fault::error(
            "42703",
            format!("column \"{column}\" of COPY's options is not copied"),
        )),
    }
}

/// The fields of rows in text, column by column.
pub(super) struct Fields {
    columns: Vec<Texts>,
    names: Vec<String>,
    not_null: Vec<bool>,
    null_if_quoted: Vec<bool>,
    /// The column that comes next in the row.
    at: usize,
    /// The line of each whole row.
    lines: Vec<u64>,
    bytes: usize,
}

#[derive(Default)]
struct Texts {
    data: String,
    ends: Vec<Option<(usize, usize)>>,
}

impl Fields {
    fn new(schema: &Schema, options: &CopyOptions) -> Self {
        let flags = |quoted: &Quoted| {
            schema
                .fields()
                .iter()
                .map(|field| quoted.has(field.name()))
                .collect()
        };
        Self {
            columns: schema.fields().iter().map(|_| Texts::default()).collect(),
            names: schema.fields().iter().map(|f| f.name().clone()).collect(),
            not_null: flags(&options.force_not_null),
            null_if_quoted: flags(&options.force_null),
            at: 0,
            lines: vec![],
            bytes: 0,
        }
    }

    pub(super) fn forces_not_null(&self) -> bool {
        self.not_null.get(self.at).copied().unwrap_or(false)
    }

    pub(super) fn forces_null(&self) -> bool {
        self.null_if_quoted.get(self.at).copied().unwrap_or(false)
    }

    /// A NULL. A field too many is noticed at the row's end.
    pub(super) fn null(&mut self) {
        if let Some(column) = self.columns.get_mut(self.at) {
            column.ends.push(None);
        }
        self.at += 1;
    }

    pub(super) fn push(&mut self, field: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(field)
            .ok()
            .filter(|text| !text.contains('\0'))
            .ok_or_else(|| Fault::error("22021", "invalid byte sequence for encoding \"UTF8\""))?;
        if let Some(column) = self.columns.get_mut(self.at) {
            let from = column.data.len();
            column.data.push_str(text);
            column.ends.push(Some((from, column.data.len())));
        }
        self.bytes += text.len();
        self.at += 1;
        Ok(())
    }

    fn end_row(&mut self, line: u64) -> Result<(), Fault> {
        let count = std::mem::take(&mut self.at);
        if count > self.columns.len() {
            return Err(Fault::error(
                "22P04",
                "extra data after last expected column",
            ));
        }
        if let Some(name) = self.names.get(count) {
            return Err(Fault::error(
                "22P04",
                format!("missing data for column \"{name}\""),
            ));
        }
        self.lines.push(line);
        Ok(())
    }

    fn clear(&mut self) {
        for column in &mut self.columns {
            column.data.clear();
            column.ends.clear();
        }
        self.lines.clear();
        self.bytes = 0;
    }
}

/// Bytes to batches, across the borders of messages.
pub(crate) struct Reader {
    table: String,
    schema: SchemaRef,
    options: CopyOptions,
    zone: String,
    record_bytes_max: usize,
    input: BytesMut,
    /// Where the search for the next line's end goes on.
    from: usize,
    search: Search,
    /// Lines, or rows in binary, taken so far.
    line: u64,
    header: bool,
    /// No more input comes.
    finished: bool,
    /// The data has ended, whatever else comes.
    ended: bool,
    fields: Fields,
    binary: Vec<Vec<Option<Bytes>>>,
}

impl Reader {
    pub(crate) fn new(
        table: String,
        schema: SchemaRef,
        options: CopyOptions,
        zone: String,
        record_bytes_max: usize,
    ) -> Result<Self, Fault> {
        check_quoted(&schema, &options.force_not_null)?;
        check_quoted(&schema, &options.force_null)?;
        Ok(Self {
            table,
            header: options.header != Header::None || options.format == CopyFormat::Binary,
            fields: Fields::new(&schema, &options),
            schema,
            options,
            zone,
            record_bytes_max,
            input: BytesMut::new(),
            from: 0,
            search: Search::default(),
            line: 0,
            finished: false,
            ended: false,
            binary: vec![],
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.input.extend_from_slice(bytes);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Where the reader is, for messages.
    fn context(&self) -> String {
        format!("COPY {}, line {}", self.table, self.line)
    }

    /// The next batch: a full one, or the last of the input. `None` = more input is needed.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.options.format == CopyFormat::Binary {
            return self.next_binary();
        }
        while self.fields.lines.len() < BATCH_ROWS && self.fields.bytes < BATCH_BYTES {
            let Some((end, next)) = self.next_line()? else {
                if !(self.finished || self.ended) || self.fields.lines.is_empty() {
                    return Ok(None);
                }
                break;
            };
            let line = self.input.split_to(next);
            self.take_line(&line[..end])?;
        }
        self.text_batch().map(Some)
    }

    /// The end of the next line, and the bytes up to the one after it.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let found = match self.options.format {
            CopyFormat::Csv => csv::line(&self.input, &mut self.search, &self.options),
            _ => text::line(&self.input, &mut self.from),
        };
        let found = match found {
            None if self.finished && !self.input.is_empty() => {
                Some((self.input.len(), self.input.len()))
            }
            other => other,
        };
        if found.is_some() {
            self.from = 0;
            self.search = Search::default();
        } else if self.input.len() > self.record_bytes_max {
            return Err(self.too_long());
        }
        Ok(found)
    }

    fn too_long(&self) -> Fault {
        Fault::error(
            "54000",
            format!(
                "a row of COPY's input is longer than {} bytes",
                self.record_bytes_max
            ),
        )
        .with_context(format!("COPY {}, line {}", self.table, self.line + 1))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.line += 1;
        if std::mem::take(&mut self.header) {
            return self.check_header(line);
        }
        if line == b"\\." {
            self.ended = true;
            self.input.clear();
            return Ok(());
        }
        let split = match self.options.format {
            CopyFormat::Csv => csv::split(line, &self.options, &mut self.fields),
            _ => text::split(line, &self.options, &mut self.fields),
        };
        split
            .and_then(|()| self.fields.end_row(self.line))
            .map_err(|fault| {
                let shown: String = String::from_utf8_lossy(line).chars().take(100).collect();
                fault.with_context(format!("{}: \"{shown}\"", self.context()))
            })
    }

    /// The first line: names of columns, which may have to be right.
    fn check_header(&self, line: &[u8]) -> Result<(), Fault> {
        if self.options.header != Header::Match {
            return Ok(());
        }
        let all = Schema::new(self.schema.fields().clone());
        let mut names = Fields::new(&all, &self.options);
        match self.options.format {
            CopyFormat::Csv => csv::split(line, &self.options, &mut names),
            _ => text::split(line, &self.options, &mut names),
        }
        .and_then(|()| names.end_row(1))
        .map_err(|_| {
            Fault::error("22P04", "wrong number of fields in header line")
                .with_context(self.context())
        })?;
        for (field, texts) in self.schema.fields().iter().zip(&names.columns) {
            if texts.data != *field.name() {
                return Err(Fault::error(
                    "22P04",
                    format!(
                        "column name mismatch in header line: got \"{}\", expected \"{}\"",
                        texts.data,
                        field.name()
                    ),
                )
                .with_context(self.context()));
            }
        }
        Ok(())
    }

    fn text_batch(&mut self) -> Result<RecordBatch, Fault> {
        let mut arrays: Vec<ArrayRef> = vec![];
        for (texts, field) in self.fields.columns.iter().zip(self.schema.fields()) {
            let values: Vec<Option<&str>> = texts
                .ends
                .iter()
                .map(|end| end.and_then(|(from, to)| texts.data.get(from..to)))
                .collect();
            let read = from_text(&values, field.data_type(), &self.zone);
            arrays.push(read.map_err(|bad| {
                let value = values.get(bad.row).copied().flatten();
                self.misread(bad, field.name(), value)
            })?);
        }
        let batch = RecordBatch::try_new(nullable(&self.schema), arrays);
        self.fields.clear();
        batch.map_err(|error| Fault::error("XX000", error.to_string()))
    }

    fn misread(&self, bad: Bad, column: &str, value: Option<&str>) -> Fault {
        let line = self.fields.lines.get(bad.row).copied().unwrap_or(self.line);
        let mut context = format!("COPY {}, line {line}, column {column}", self.table);
        if let Some(value) = value {
            let shown: String = value.chars().take(100).collect();
            context = format!("{context}: \"{shown}\"");
        }
        Fault::from(bad).with_context(context)
    }

    fn next_binary(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.header {
            if !binary::take_header(&mut self.input)? {
                return self.short();
            }
            self.header = false;
        }
        let columns = self.schema.fields().len();
        let mut bytes = 0;
        while !self.ended && self.binary.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let before = self.input.len();
            let next = binary::take_row(&mut self.input, columns)
                .map_err(|fault| fault.with_context(self.context()))?;
            match next {
                Next::Short => {
                    if self.input.len() > self.record_bytes_max {
                        return Err(self.too_long());
                    }
                    return self.short();
                }
                Next::End => {
                    self.ended = true;
                    self.input.clear();
                }
                Next::Row(row) => {
                    self.line += 1;
                    bytes += before - self.input.len();
                    self.binary.push(row);
                }
            }
        }
        if self.binary.is_empty() {
            return Ok(None);
        }
        self.binary_batch().map(Some)
    }

    /// More input is needed; that there is none is an error.
    fn short(&self) -> Result<Option<RecordBatch>, Fault> {
        if self.finished {
            return Err(
                Fault::error("22P04", "unexpected EOF in COPY data").with_context(self.context())
            );
        }
        Ok(None)
    }

    fn binary_batch(&mut self) -> Result<RecordBatch, Fault> {
        let rows = std::mem::take(&mut self.binary);
        let first = self.line - u64::try_from(rows.len()).unwrap_or(0) + 1;
        let mut arrays = vec![];
        for (at, field) in self.schema.fields().iter().enumerate() {
            let values: Vec<Option<&[u8]>> = rows.iter().map(|row| row[at].as_deref()).collect();
            let read = from_binary(&values, field.data_type());
            arrays.push(read.map_err(|bad| {
                let line = first + u64::try_from(bad.row).unwrap_or(0);
                let context = format!("COPY {}, line {line}, column {}", self.table, field.name());
                Fault::from(bad).with_context(context)
            })?);
        }
        RecordBatch::try_new(nullable(&self.schema), arrays)
            .map_err(|error| Fault::error("XX000", error.to_string()))
    }
}

/// The schema with columns that may be NULL: that they may not, the write itself says.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};
    use tarn_engine::{ConnectionCommand, connection_command};

    fn options(sql: &str) -> CopyOptions {
        match connection_command(sql) {
            Ok(Some(ConnectionCommand::Copy(copy))) => copy.options,
            other => panic!("{other:?}"),
        }
    }

    fn reader(options_sql: &str) -> Reader {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8View, true),
        ]));
        let options = options(&format!("COPY t FROM STDIN {options_sql}"));
        Reader::new("t".to_owned(), schema, options, "UTC".to_owned(), 1000).unwrap()
    }

    /// Every way of cutting the input must give the same rows.
    fn check(options_sql: &str, input: &[u8], wanted: &[(Option<&str>, Option<&str>)]) {
        for piece in [1, 2, 3, 7, input.len().max(1)] {
            let mut reader = reader(options_sql);
            let mut batches = vec![];
            for chunk in input.chunks(piece) {
                reader.push(chunk);
                while let Some(batch) = reader.next_batch().unwrap() {
                    batches.push(batch);
                }
            }
            reader.finish();
            while let Some(batch) = reader.next_batch().unwrap() {
                batches.push(batch);
            }
            let mut got = vec![];
            for batch in &batches {
                for row in 0..batch.num_rows() {
                    let value = |column: usize| {
                        let array = batch.column(column);
                        (!array.is_null(row)).then(|| {
                            arrow::util::display::array_value_to_string(array, row).unwrap()
                        })
                    };
                    got.push((value(0), value(1)));
                }
            }
            let got: Vec<_> = got
                .iter()
                .map(|(a, b)| (a.as_deref(), b.as_deref()))
                .collect();
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn text_is_read_however_it_is_cut() {
        check(
            "",
            b"1\ta\\tb\\\\\n\\N\t\\N\n3\tx\\\ny\r\n4\t\n\\.\nignored",
            &[
                (Some("1"), Some("a\tb\\")),
                (None, None),
                (Some("3"), Some("x\ny")),
                (Some("4"), Some("")),
            ],
        );
        check(
            "(DELIMITER ',', NULL 'nil', HEADER)",
            b"a,b\n1,nil\n2,z",
            &[(Some("1"), None), (Some("2"), Some("z"))],
        );
        check("", b"", &[]);
    }

    #[test]
    fn csv_is_read_however_it_is_cut() {
        check(
            "CSV HEADER",
            b"a,b\n1,\"x,\"\"y\"\"\nz\"\r\n,\"\"\n3,\n4,q\"uo\"te",
            &[
                (Some("1"), Some("x,\"y\"\nz")),
                (None, Some("")),
                (Some("3"), None),
                (Some("4"), Some("quote")),
            ],
        );
        check(
            "(FORMAT csv, FORCE_NOT_NULL (b), QUOTE '''', ESCAPE E'\\\\')",
            b"1,\n2,'it\\'s'\n",
            &[(Some("1"), Some("")), (Some("2"), Some("it's"))],
        );
        check(
            "(FORMAT csv, FORCE_NULL (b))",
            b"1,\"\"\n",
            &[(Some("1"), None)],
        );
    }

    #[test]
    fn binary_is_read_however_it_is_cut() {
        let mut input = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        input
            .extend(b"\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
        input.extend(b"\xff\xff");
        check("BINARY", &input, &[(Some("7"), Some("x")), (None, None)]);
    }

    fn check_error(options_sql: &str, input: &[u8], code: &str, context: &str) {
        let mut reader = reader(options_sql);
        reader.push(input);
        reader.finish();
        let error = loop {
            match reader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(Fault::Error(notice)) => break notice,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(error.code, code, "{error:?}");
        assert!(
            error.context.as_deref().unwrap_or("").starts_with(context),
            "{error:?}"
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        check_error(
            "",
            b"1\ta\nx\tb\n",
            "22P02",
            "COPY t, line 2, column a: \"x\"",
        );
        check_error("", b"1\n", "22P04", "COPY t, line 1: \"1\"");
        check_error("", b"1\t2\t3\n", "22P04", "COPY t, line 1");
        check_error("CSV", b"1,\"open\n", "22P04", "COPY t, line 1");
        check_error("", b"1\t\xff\n", "22021", "COPY t, line 1");
        check_error(
            "(FORMAT csv, HEADER match)",
            b"a,c\n",
            "22P04",
            "COPY t, line 1",
        );
        check_error("", &[b'x'; 2000], "22P04", "COPY t, line 1");
        check_error("BINARY", b"nonsense, not a signature", "22P04", "");
        check_error(
            "BINARY",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01",
            "22P04",
            "COPY t, line 0",
        );
    }

    #[test]
    fn a_row_without_an_end_is_bounded() {
        let mut reader = reader("");
        reader.push(&[b'x'; 2000]);
        assert!(matches!(
            reader.next_batch(),
            Err(Fault::Error(notice)) if notice.code == "54000"
        ));
    }
}
