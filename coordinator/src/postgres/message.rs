//! Messages of the client, taken apart; messages of the server, put together.
//!
//! Source: PostgreSQL 15, "Frontend/Backend Protocol", "Message Formats". Knows layouts, not what a
//! message makes happen. Nothing here trusts a length that the client sent.

use bytes::{Buf, Bytes};

use super::fault::Notice;

/// A message that does not have the layout of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

type Read<T> = Result<T, Malformed>;

/// A message after start-up.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        /// Type oids; 0 = not said.
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        /// 0 = all.
        rows_max: u32,
    },
    Close(Target),
    Flush,
    Sync,
    Terminate,
    FunctionCall,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    Password(Bytes),
}

/// `Bind`.
#[derive(Debug, PartialEq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) value_formats: Vec<i16>,
    pub(crate) values: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<i16>,
}

/// What `Describe` and `Close` are about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

/// Reads a message of a known tag.
pub(crate) fn read(tag: u8, body: Bytes) -> Read<Message> {
    let mut body = body;
    let message = match tag {
        b'Q' => Message::Query(text(&mut body)?),
        b'P' => {
            let name = text(&mut body)?;
            let sql = text(&mut body)?;
            let count = count(&mut body)?;
            let types = (0..count).map(|_| u32(&mut body)).collect::<Read<_>>()?;
            Message::Parse { name, sql, types }
        }
        b'B' => Message::Bind(bind(&mut body)?),
        b'D' => Message::Describe(target(&mut body)?),
        b'C' => Message::Close(target(&mut body)?),
        b'E' => Message::Execute {
            portal: text(&mut body)?,
            rows_max: u32(&mut body)?,
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'F' => return Ok(Message::FunctionCall),
        b'd' => return Ok(Message::CopyData(body)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(text(&mut body)?),
        b'p' => return Ok(Message::Password(body)),
        _ => return Err(Malformed("unknown message")),
    };
    if body.has_remaining() {
        return Err(Malformed("a message is longer than its parts"));
    }
    Ok(message)
}

fn bind(body: &mut Bytes) -> Read<Bind> {
    let portal = text(body)?;
    let statement = text(body)?;
    let formats = count(body)?;
    let value_formats = (0..formats).map(|_| format(body)).collect::<Read<_>>()?;
    let given = count(body)?;
    let values = (0..given).map(|_| value(body)).collect::<Read<_>>()?;
    let formats = count(body)?;
    let result_formats = (0..formats).map(|_| format(body)).collect::<Read<_>>()?;
    Ok(Bind {
        portal,
        statement,
        value_formats,
        values,
        result_formats,
    })
}

fn target(body: &mut Bytes) -> Read<Target> {
    if !body.has_remaining() {
        return Err(Malformed("a message ends too early"));
    }
    match body.get_u8() {
        b'S' => Ok(Target::Statement(text(body)?)),
        b'P' => Ok(Target::Portal(text(body)?)),
        _ => Err(Malformed("neither a statement nor a portal")),
    }
}

/// A text up to its NUL.
pub(crate) fn text(body: &mut Bytes) -> Read<String> {
    let Some(end) = body.iter().position(|byte| *byte == 0) else {
        return Err(Malformed("a text has no end"));
    };
    let bytes = body.split_to(end);
    body.advance(1);
    String::from_utf8(bytes.into()).map_err(|_| Malformed(NOT_UTF8))
}

/// What a text that is not UTF-8 is called; the caller gives it a class of its own.
pub(crate) const NOT_UTF8: &str = "invalid byte sequence for encoding \"UTF8\"";

fn u32(body: &mut Bytes) -> Read<u32> {
    if body.remaining() < 4 {
        return Err(Malformed("a message ends too early"));
    }
    Ok(body.get_u32())
}

fn count(body: &mut Bytes) -> Read<u16> {
    if body.remaining() < 2 {
        return Err(Malformed("a message ends too early"));
    }
    Ok(body.get_u16())
}

fn format(body: &mut Bytes) -> Read<i16> {
    match count(body)? {
        0 => Ok(0),
        1 => Ok(1),
        _ => Err(Malformed("a format is neither text nor binary")),
    }
}

fn value(body: &mut Bytes) -> Read<Option<Bytes>> {
    let length = u32(body)?;
    if length == u32::MAX {
        return Ok(None);
    }
    match usize::try_from(length) {
        Ok(length) if length <= body.remaining() => Ok(Some(body.split_to(length))),
        _ => Err(Malformed("a value is longer than its message")),
    }
}

/// Appends a message: its tag, its length, and what `body` writes.
pub(crate) fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    close_length(out, at);
}

/// Writes the length of what stands after `at`, itself included, to `at`.
pub(crate) fn close_length(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // A NUL would end the text for the client.
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

/// A column as `RowDescription` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) oid: u32,
    /// Bytes of a value; -1 if they vary.
    pub(crate) size: i16,
    /// E.g. precision and scale; -1 if there is none.
    pub(crate) modifier: i32,
    pub(crate) format: i16,
}

/// `RowDescription`.
pub(crate) fn row_description(out: &mut Vec<u8>, columns: &[Column]) {
    message(out, b'T', |out| {
        out.extend(short(columns.len()).to_be_bytes());
        for column in columns {
            put_text(out, &column.name);
            out.extend(0_u32.to_be_bytes());
            out.extend(0_i16.to_be_bytes());
            out.extend(column.oid.to_be_bytes());
            out.extend(column.size.to_be_bytes());
            out.extend(column.modifier.to_be_bytes());
            out.extend(column.format.to_be_bytes());
        }
    });
}

fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// `ParameterDescription`.
pub(crate) fn parameter_description(out: &mut Vec<u8>, oids: &[u32]) {
    message(out, b't', |out| {
        out.extend(short(oids.len()).to_be_bytes());
        for oid in oids {
            out.extend(oid.to_be_bytes());
        }
    });
}

/// `CommandComplete`.
pub(crate) fn complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| put_text(out, tag));
}

/// `ParameterStatus`.
pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        put_text(out, name);
        put_text(out, value);
    });
}

/// `ReadyForQuery` with the state `I`, `T` or `E`.
pub(crate) fn ready(out: &mut Vec<u8>, state: u8) {
    message(out, b'Z', |out| out.push(state));
}

/// A message without a body.
pub(crate) fn bare(out: &mut Vec<u8>, tag: u8) {
    message(out, tag, |_| {});
}

/// `CopyInResponse` (`G`) or `CopyOutResponse` (`H`).
pub(crate) fn copy_response(out: &mut Vec<u8>, tag: u8, binary: bool, columns: usize) {
    message(out, tag, |out| {
        out.push(u8::from(binary));
        out.extend(short(columns).to_be_bytes());
        for _ in 0..columns {
            out.extend(i16::from(binary).to_be_bytes());
        }
    });
}

/// `AuthenticationXxx` with its code.
pub(crate) fn authentication(out: &mut Vec<u8>, code: u32, rest: &[u8]) {
    message(out, b'R', |out| {
        out.extend(code.to_be_bytes());
        out.extend_from_slice(rest);
    });
}

/// `ErrorResponse` (`E`) or `NoticeResponse` (`N`).
pub(crate) fn notice(out: &mut Vec<u8>, tag: u8, notice: &Notice) {
    message(out, tag, |out| {
        let mut field = |kind: u8, text: &str| {
            out.push(kind);
            put_text(out, text);
        };
        field(b'S', notice.severity);
        field(b'V', notice.severity);
        field(b'C', notice.code);
        field(b'M', &notice.message);
        if let Some(detail) = &notice.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &notice.hint {
            field(b'H', hint);
        }
        if let Some(position) = notice.position {
            field(b'P', &position.to_string());
        }
        if let Some(context) = &notice.context {
            field(b'W', context);
        }
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_and_bind_are_read_as_the_protocol_lays_them_out() {
        let body = Bytes::from_static(b"s\0SELECT $1\0\0\x01\0\0\0\x17");
        assert_eq!(
            read(b'P', body),
            Ok(Message::Parse {
                name: "s".to_owned(),
                sql: "SELECT $1".to_owned(),
                types: vec![23],
            })
        );
        let body =
            Bytes::from_static(b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\x01\0\x00");
        let Ok(Message::Bind(bind)) = read(b'B', body) else {
            panic!()
        };
        assert_eq!(bind.values, [Some(Bytes::from_static(b"a")), None]);
        assert_eq!(
            (bind.value_formats, bind.result_formats),
            (vec![1], vec![0])
        );
    }

    #[test]
    fn a_layout_that_lies_is_refused() {
        for (tag, body) in [
            (b'Q', &b"no end"[..]),
            (b'Q', b"a\0b"),
            (b'Q', b"\xff\0"),
            (b'P', b"\0\0\xff\xff\0\0"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            (b'B', b"\0\0\0\x01\0\x07\0\0\0\0"),
            (b'D', b"X\0"),
            (b'D', b""),
            (b'E', b"\0\0\0"),
            (b'S', b"x"),
        ] {
            assert!(
                read(tag, Bytes::copy_from_slice(body)).is_err(),
                "{tag} {body:?}"
            );
        }
    }

    #[test]
    fn a_row_description_has_postgresqls_bytes() {
        let mut out = vec![];
        let column = Column {
            name: "a".to_owned(),
            oid: 23,
            size: 4,
            modifier: -1,
            format: 0,
        };
        row_description(&mut out, &[column]);
        assert_eq!(
            out,
            b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"
        );
        out.clear();
        ready(&mut out, b'I');
        assert_eq!(out, b"Z\0\0\0\x05I");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(tag, Bytes::from(body));
        }
    }
}
