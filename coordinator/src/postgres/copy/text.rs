//! The text format: fields between tabs, backslashes before what would be misread.
//!
//! Source: PostgreSQL 15, "COPY", "Text Format".

use tarn_engine::CopyOptions;

use super::incoming::Fields;
use crate::postgres::encode::Cell;
use crate::postgres::fault::Fault;

/// Appends a row and its line end.
pub(super) fn put_row(
    out: &mut Vec<u8>,
    cells: &[Cell],
    row: usize,
    options: &CopyOptions,
) -> Result<(), Fault> {
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
        let special = |b: &u8| is_special(*b, options.delimiter);
        if out[start..].iter().any(special) {
            let field = out.split_off(start);
            put_escaped(out, &field, options.delimiter);
        }
    }
    out.push(b'\n');
    Ok(())
}

fn is_special(byte: u8, delimiter: u8) -> bool {
    byte == b'\\' || byte == delimiter || (8..=13).contains(&byte)
}

/// Appends a field with its backslashes.
pub(super) fn put_escaped(out: &mut Vec<u8>, field: &[u8], delimiter: u8) {
    for byte in field {
        if !is_special(*byte, delimiter) {
            out.push(*byte);
            continue;
        }
        out.push(b'\\');
        out.push(match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            other => *other,
        });
    }
}

/// Where the first line of `input` ends, going on at `from`, which moves: bytes of the line, bytes
/// with its end. A line end behind a backslash is data.
pub(super) fn line(input: &[u8], from: &mut usize) -> Option<(usize, usize)> {
    while let Some(byte) = input.get(*from) {
        match byte {
            b'\\' if *from + 1 >= input.len() => return None,
            b'\\' => *from += 2,
            b'\n' => {
                let at = *from;
                let cr = at > 0 && input[at - 1] == b'\r' && !escaped(input, at - 1);
                return Some((if cr { at - 1 } else { at }, at + 1));
            }
            _ => *from += 1,
        }
    }
    None
}

/// Whether an odd number of backslashes stands before `at`.
fn escaped(input: &[u8], at: usize) -> bool {
    input[..at]
        .iter()
        .rev()
        .take_while(|b| **b == b'\\')
        .count()
        % 2
        == 1
}

/// Takes a line apart.
pub(super) fn split(line: &[u8], options: &CopyOptions, fields: &mut Fields) -> Result<(), Fault> {
    let mut rest = line;
    loop {
        let end = field_end(rest, options.delimiter);
        let raw = &rest[..end];
        if raw == options.null.as_bytes() {
            fields.null();
        } else if raw.contains(&b'\\') {
            fields.push(&unescape(raw))?;
        } else {
            fields.push(raw)?;
        }
        if end == rest.len() {
            return Ok(());
        }
        rest = &rest[end + 1..];
    }
}

fn field_end(rest: &[u8], delimiter: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == delimiter => return at,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Works backslashes in.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let Some((kind, after)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        rest = after;
        match kind {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = u32::from(kind - b'0');
                for _ in 0..2 {
                    match rest.split_first() {
                        Some((digit @ b'0'..=b'7', after)) => {
                            value = value * 8 + u32::from(digit - b'0');
                            rest = after;
                        }
                        _ => break,
                    }
                }
                out.push(u8::try_from(value & 0xff).unwrap_or(0));
            }
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                let mut value = 0;
                for _ in 0..2 {
                    match rest.split_first() {
                        Some((digit, after)) if digit.is_ascii_hexdigit() => {
                            value = value * 16 + char::from(*digit).to_digit(16).unwrap_or(0);
                            rest = after;
                        }
                        _ => break,
                    }
                }
                out.push(u8::try_from(value).unwrap_or(0));
            }
            other => out.push(*other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_read_back() {
        let all: Vec<u8> = (1..=127).collect();
        let mut out = vec![];
        put_escaped(&mut out, &all, b'\t');
        assert_eq!(unescape(&out), all);
        assert!(!out.contains(&b'\n') && !out.contains(&b'\t'));
        assert_eq!(unescape(b"\\x41\\102\\q\\\\"), b"ABq\\");
    }

    #[test]
    fn a_line_end_behind_a_backslash_is_data() {
        assert_eq!(line(b"a\\\nb\nc", &mut 0), Some((4, 5)));
        assert_eq!(line(b"a\r\nb", &mut 0), Some((1, 3)));
        assert_eq!(line(b"abc\\", &mut 0), None);
    }
}
