//! Batches of Arrow to the rows of the protocol, column by column prepared, row by row written.
//!
//! A column is looked at once for each batch and becomes a [`Cell`] that writes a row's value; rows go
//! straight into the connection's output. Knows PostgreSQL's formats; refuses to know sockets.

mod binary;
mod cell;
mod json;
mod list;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tarn_engine::{Settings, pg_type_of, recast};

use super::fault::Fault;
use super::message::{Column, close_length};
pub(crate) use binary::{EPOCH_DAYS, EPOCH_MICROS};
pub(crate) use cell::Cell;

/// What the bytes of a `jsonb` begin with. Source: PostgreSQL, `jsonb_recv`.
pub(crate) const JSONB_VERSION: u8 = 1;
/// Most columns of a result. Source: the protocol counts them in 16 bits.
const COLUMNS_MAX: usize = 32_767;

/// How values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    pub(crate) fn of(code: i16) -> Self {
        if code == 1 { Self::Binary } else { Self::Text }
    }

    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// What the session's settings say about texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) interval_iso: bool,
    pub(crate) bytea_escape: bool,
}

impl Style {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            interval_iso: settings.get("intervalstyle") == "iso_8601",
            bytea_escape: settings.get("bytea_output") == "escape",
        }
    }
}

/// The columns of a result as `RowDescription` tells them.
pub(crate) fn describe(schema: &Schema, formats: &[i16]) -> Result<Vec<Column>, Fault> {
    let count = schema.fields().len();
    if count > COLUMNS_MAX {
        return Err(Fault::error(
            "54011",
            format!("the result has {count} columns; at most {COLUMNS_MAX} can be sent"),
        ));
    }
    if formats.len() > 1 && formats.len() != count {
        return Err(Fault::error(
            "08P01",
            format!("{} result formats for {count} columns", formats.len()),
        ));
    }
    Ok(schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let ty = pg_type_of(field);
            Column {
                name: field.name().clone(),
                oid: ty.oid,
                size: ty.len,
                modifier: ty.declared(),
                format: format_of(formats, at).code(),
            }
        })
        .collect())
}

/// The format of one column: none given = text, one = for all.
fn format_of(formats: &[i16], at: usize) -> Format {
    match formats {
        [] => Format::Text,
        [one] => Format::of(*one),
        many => Format::of(many.get(at).copied().unwrap_or(0)),
    }
}

/// Makes cells of batches.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    schema: SchemaRef,
    formats: Vec<i16>,
    style: Style,
}

impl RowEncoder {
    /// For rows of `schema`; batches of other types are cast to it.
    pub(crate) fn new(schema: SchemaRef, formats: &[i16], style: Style) -> Self {
        Self {
            schema,
            formats: formats.to_vec(),
            style,
        }
    }

    pub(crate) fn formats(&self) -> &[i16] {
        &self.formats
    }

    /// The columns of `batch`, ready to write any of its rows.
    pub(crate) fn cells(&self, batch: &RecordBatch) -> Result<Vec<Cell>, Fault> {
        let differs = batch
            .schema_ref()
            .fields()
            .iter()
            .zip(self.schema.fields())
            .any(|(is, told)| pg_type_of(is).oid != pg_type_of(told).oid);
        let cast;
        let (batch, schema) = if differs {
            cast = recast(batch, &self.schema).map_err(|_| {
                Fault::error("0A000", "cached plan must not change result type")
                    .with_hint("a table or setting has changed since; prepare the statement again")
            })?;
            (&cast, &self.schema)
        } else {
            (batch, batch.schema_ref())
        };
        batch
            .columns()
            .iter()
            .zip(schema.fields())
            .enumerate()
            .map(|(at, (array, field))| {
                Cell::of(array, field, format_of(&self.formats, at), self.style)
            })
            .collect()
    }
}

/// Appends a `DataRow`.
pub(crate) fn put_row(out: &mut Vec<u8>, cells: &[Cell], row: usize) -> Result<(), Fault> {
    out.push(b'D');
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend(u16::try_from(cells.len()).unwrap_or(u16::MAX).to_be_bytes());
    let done = cells.iter().try_for_each(|cell| cell.put_sized(row, out));
    if let Err(fault) = done {
        // A half row would break the protocol.
        out.truncate(start - 1);
        return Err(fault);
    }
    close_length(out, start);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn a_row_has_postgresqls_bytes_in_both_formats() {
        let batch = RecordBatch::try_from_iter_with_nullable(vec![
            (
                "a",
                Arc::new(Int32Array::from(vec![Some(7)])) as ArrayRef,
                true,
            ),
            (
                "b",
                Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef,
                true,
            ),
        ])
        .unwrap();
        let mut out = vec![];
        let encoder = RowEncoder::new(batch.schema(), &[1, 0], Style::default());
        put_row(&mut out, &encoder.cells(&batch).unwrap(), 0).unwrap();
        assert_eq!(
            out,
            b"D\0\0\0\x12\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff"
        );
        out.clear();
        let encoder = RowEncoder::new(batch.schema(), &[], Style::default());
        put_row(&mut out, &encoder.cells(&batch).unwrap(), 0).unwrap();
        assert_eq!(out, b"D\0\0\0\x0f\0\x02\0\0\0\x017\xff\xff\xff\xff");
    }

    #[test]
    fn formats_are_none_one_or_as_many_as_columns() {
        let schema = Schema::new(vec![
            arrow::datatypes::Field::new("a", arrow::datatypes::DataType::Int64, true),
            arrow::datatypes::Field::new("b", arrow::datatypes::DataType::Utf8, true),
        ]);
        assert!(describe(&schema, &[1, 0, 1]).is_err());
        let columns = describe(&schema, &[1]).unwrap();
        assert_eq!(
            (columns[0].oid, columns[0].size, columns[1].format),
            (20, 8, 1)
        );
    }
}
