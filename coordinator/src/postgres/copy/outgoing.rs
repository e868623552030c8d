//! COPY TO STDOUT: one `CopyData` for each row.

use arrow::datatypes::Schema;
use futures::StreamExt;
use tarn_engine::{CopyFormat, CopyOptions, Header};

use super::{binary, csv, is_binary, text};
use crate::postgres::connection::Connection;
use crate::postgres::encode::{Cell, RowEncoder, Style, describe};
use crate::postgres::fault::Fault;
use crate::postgres::message::{self, close_length};

impl Connection {
    /// Runs a query and sends its rows as COPY's.
    pub(super) async fn copy_out(
        &mut self,
        query: &str,
        options: &CopyOptions,
    ) -> Result<(), Fault> {
        if !tarn_engine::only_reads(query) {
            return Err(Fault::unsupported("COPY of a statement that is no query"));
        }
        let mut running = self.start(query, vec![]).await?;
        let schema = running.schema();
        check_columns(&schema, options)?;
        let formats = [i16::from(is_binary(options.format))];
        let columns = describe(&schema, &formats)?.len();
        let out = &mut self.wire.output;
        message::copy_response(out, b'H', is_binary(options.format), columns);
        let style = Style::of(&self.session.settings);
        let encoder = RowEncoder::new(schema.clone(), &formats, style);
        if options.header != Header::None {
            data(&mut self.wire.output, |out| header(out, &schema, options));
        }
        let forced: Vec<bool> = schema
            .fields()
            .iter()
            .map(|field| options.force_quote.has(field.name()))
            .collect();
        let mut rows = 0_u64;
        self.cancels(&running.query_id);
        while let Some(batch) = self.wire.beside(running.next()).await? {
            let batch = batch?;
            let cells = encoder.cells(&batch)?;
            for row in 0..batch.num_rows() {
                let first = rows == 0;
                put(&mut self.wire.output, &cells, row, options, &forced, first)?;
                rows += 1;
                if self.wire.output.len() >= crate::postgres::wire::FLUSH_BYTES {
                    self.wire.flush().await?;
                }
            }
        }
        let out = &mut self.wire.output;
        if is_binary(options.format) {
            data(out, |out| {
                if rows == 0 {
                    binary::put_header(out);
                }
                binary::put_trailer(out);
            });
        }
        message::bare(out, b'c');
        message::complete(out, &format!("COPY {rows}"));
        Ok(())
    }
}

/// Appends a `CopyData`.
fn data(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    message::message(out, b'd', put);
}

/// Appends the `CopyData` of one row.
fn put(
    out: &mut Vec<u8>,
    cells: &[Cell],
    row: usize,
    options: &CopyOptions,
    forced: &[bool],
    first: bool,
) -> Result<(), Fault> {
    let begin = out.len();
    out.push(b'd');
    out.extend_from_slice(&[0; 4]);
    let done = match options.format {
        CopyFormat::Text => text::put_row(out, cells, row, options),
        CopyFormat::Csv => csv::put_row(out, cells, row, options, forced),
        CopyFormat::Binary => {
            if first {
                binary::put_header(out);
            }
            binary::put_row(out, cells, row)
        }
    };
    if let Err(fault) = done {
        out.truncate(begin);
        return Err(fault);
    }
    close_length(out, begin + 1);
    Ok(())
}

fn header(out: &mut Vec<u8>, schema: &Schema, options: &CopyOptions) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(options.delimiter);
        }
        let name = field.name().as_bytes();
        match options.format {
            CopyFormat::Csv => {
                csv::put_field(out, name, options, false, schema.fields().len() == 1);
            }
            _ => text::put_escaped(out, name, options.delimiter),
        }
    }
    out.push(b'\n');
}

/// Columns that options name must be there.
fn check_columns(schema: &Schema, options: &CopyOptions) -> Result<(), Fault> {
    super::incoming::check_quoted(schema, &options.force_quote)
}
