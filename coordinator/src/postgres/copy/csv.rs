//! The CSV format. Source: PostgreSQL 15, "COPY", "CSV Format".

use tarn_engine::CopyOptions;

use super::incoming::Fields;
use crate::postgres::encode::Cell;
use crate::postgres::fault::Fault;

/// Appends a row and its line end; `forced` says which columns are always quoted.
pub(super) fn put_row(
    out: &mut Vec<u8>,
    cells: &[Cell],
    row: usize,
    options: &CopyOptions,
    forced: &[bool],
) -> Result<(), Fault> {
    let single = cells.len() == 1;
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(options.delimiter);
        }
        if cell.is_null(row) {
            out.extend_from_slice(options.null.as_bytes());
            continue;
        }
        let start = out.len();
        cell.put(row, out)?;
        let force = forced.get(at).copied().unwrap_or(false);
        if force || must_quote(&out[start..], options, single) {
            let field = out.split_off(start);
            put_field(out, &field, options, true, single);
        }
    }
    out.push(b'\n');
    Ok(())
}

fn must_quote(field: &[u8], options: &CopyOptions, single: bool) -> bool {
    field == options.null.as_bytes()
        // Alone on a line it would end the data.
        || (single && field == b"\\.")
        || field.iter().any(|b| {
            *b == options.delimiter || *b == options.quote || matches!(b, b'\n' | b'\r')
        })
}

/// Appends a field, quoted if it must be or `force` says so.
pub(super) fn put_field(
    out: &mut Vec<u8>,
    field: &[u8],
    options: &CopyOptions,
    force: bool,
    single: bool,
) {
    if !force && !must_quote(field, options, single) {
        out.extend_from_slice(field);
        return;
    }
    out.push(options.quote);
    for byte in field {
        if *byte == options.quote || *byte == options.escape {
            out.push(options.escape);
        }
        out.push(*byte);
    }
    out.push(options.quote);
}

/// How far the search for a line's end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    at: usize,
    quoted: bool,
}

/// Where the first line of `input` ends, going on where `search` stopped: bytes of the line, bytes
/// with its end. A line end within quotes is data.
pub(super) fn line(
    input: &[u8],
    search: &mut Search,
    options: &CopyOptions,
) -> Option<(usize, usize)> {
    while let Some(byte) = input.get(search.at) {
        if search.quoted && *byte == options.escape && options.escape != options.quote {
            // The next byte may be an escaped quote; it has to be here to tell.
            if search.at + 1 >= input.len() {
                return None;
            }
            search.at += 2;
            continue;
        }
        if *byte == options.quote {
            search.quoted = !search.quoted;
        } else if *byte == b'\n' && !search.quoted {
            let at = search.at;
            let end = if at > 0 && input[at - 1] == b'\r' {
                at - 1
            } else {
                at
            };
            return Some((end, at + 1));
        }
        search.at += 1;
    }
    None
}

/// Takes a line apart.
pub(super) fn split(line: &[u8], options: &CopyOptions, fields: &mut Fields) -> Result<(), Fault> {
    let mut rest = line;
    loop {
        let mut field = vec![];
        let mut quoted = false;
        let mut was_quoted = false;
        let mut at = 0;
        while let Some(byte) = rest.get(at) {
            at += 1;
            if quoted {
                let next = rest.get(at);
                if *byte == options.escape
                    && next.is_some_and(|n| *n == options.quote || *n == options.escape)
                {
                    field.extend(next);
                    at += 1;
                } else if *byte == options.quote {
                    quoted = false;
                } else {
                    field.push(*byte);
                }
            } else if *byte == options.quote {
                quoted = true;
                was_quoted = true;
            } else if *byte == options.delimiter {
                at -= 1;
                break;
            } else {
                field.push(*byte);
            }
        }
        if quoted {
            return Err(Fault::error("22P04", "unterminated CSV quoted field"));
        }
        let is_null = field == options.null.as_bytes()
            && if was_quoted {
                fields.forces_null()
            } else {
                !fields.forces_not_null()
            };
        if is_null {
            fields.null();
        } else {
            fields.push(&field)?;
        }
        if at >= rest.len() {
            return Ok(());
        }
        rest = &rest[at + 1..];
        if rest.is_empty() {
            // A delimiter at the end: one more, empty field.
            if options.null.is_empty() && !fields.forces_not_null() {
                fields.null();
            } else {
                fields.push(b"")?;
            }
            return Ok(());
        }
    }
}
