//! The binary format: a signature, then rows of sized fields, then -1.
//!
//! Source: PostgreSQL 15, "COPY", "Binary Format".

use bytes::{Buf, Bytes, BytesMut};

use crate::postgres::encode::Cell;
use crate::postgres::fault::Fault;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Appends signature, flags and the length of no extension.
pub(super) fn put_header(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
}

/// Appends what ends the rows.
pub(super) fn put_trailer(out: &mut Vec<u8>) {
    out.extend((-1_i16).to_be_bytes());
}

/// Appends a row.
pub(super) fn put_row(out: &mut Vec<u8>, cells: &[Cell], row: usize) -> Result<(), Fault> {
    out.extend(u16::try_from(cells.len()).unwrap_or(u16::MAX).to_be_bytes());
    cells.iter().try_for_each(|cell| cell.put_sized(row, out))
}

fn bad(what: &str) -> Fault {
    Fault::error("22P04", what)
}

/// Takes the header off, if it is there whole.
pub(super) fn take_header(input: &mut BytesMut) -> Result<bool, Fault> {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] != SIGNATURE[..known] {
        return Err(bad("COPY file signature not recognized"));
    }
    if input.len() < SIGNATURE.len() + 8 {
        return Ok(false);
    }
    let mut head = &input[SIGNATURE.len()..];
    let flags = head.get_u32();
    let extension = head.get_u32();
    if flags & (1 << 16) != 0 {
        return Err(bad("invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(bad("unrecognized critical flags in COPY file header"));
    }
    if extension > EXTENSION_BYTES_MAX {
        return Err(bad("invalid COPY file header (wrong length)"));
    }
    let all = SIGNATURE.len() + 8 + usize::try_from(extension).unwrap_or(0);
    if input.len() < all {
        return Ok(false);
    }
    input.advance(all);
    Ok(true)
}

/// Bytes of a header's extension that are skipped at most.
const EXTENSION_BYTES_MAX: u32 = 10_000;

/// What comes next.
pub(super) enum Next {
    /// More bytes are needed.
    Short,
    /// The end of the rows.
    End,
    /// The fields of a row.
    Row(Vec<Option<Bytes>>),
}

/// Takes the next row off.
pub(super) fn take_row(input: &mut BytesMut, columns: usize) -> Result<Next, Fault> {
    let mut rest = &input[..];
    if rest.len() < 2 {
        return Ok(Next::Short);
    }
    let count = rest.get_i16();
    if count == -1 {
        input.advance(2);
        return Ok(Next::End);
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(bad(&format!(
            "row field count is {count}, expected {columns}"
        )));
    }
    let mut ends = Vec::with_capacity(columns);
    let mut at = 2;
    for _ in 0..columns {
        if rest.len() < 4 {
            return Ok(Next::Short);
        }
        let length = rest.get_i32();
        at += 4;
        if length == -1 {
            ends.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| bad("invalid field size"))?;
        if rest.len() < length {
            return Ok(Next::Short);
        }
        rest.advance(length);
        ends.push(Some((at, at + length)));
        at += length;
    }
    let row = input.split_to(at).freeze();
    let fields = ends
        .into_iter()
        .map(|end| end.map(|(from, to)| row.slice(from..to)))
        .collect();
    Ok(Next::Row(fields))
}
