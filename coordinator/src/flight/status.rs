//! Errors as gRPC statuses: the one place where the Flight door says what went wrong.
//!
//! The message carries hint, position and SQLSTATE in words, because JDBC and ADBC show nothing else; programs
//! read the metadata `tarn-sqlstate`, `tarn-position` and `tarn-retryable`.

use std::fmt::Write as _;

use arrow::error::ArrowError;
use tarn_engine::{EngineError, ErrorKind};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Bytes of a message at most. Source: grpc-java refuses more than 8 KiB of metadata, and bytes
/// outside ASCII take three.
const MESSAGE_BYTES_MAX: usize = 1800;

/// The answer to a call that met `error`.
pub(crate) fn status(error: &EngineError) -> Status {
    let sqlstate = error.kind.sqlstate();
    let mut message = error.message.clone();
    if let Some(hint) = &error.hint {
        let _ = write!(message, "\nHINT: {hint}");
    }
    let mut told = format!("SQLSTATE {sqlstate}");
    let mut metadata = MetadataMap::new();
    metadata.insert("tarn-sqlstate", MetadataValue::from_static(sqlstate));
    if let Some(position) = error.position {
        let _ = write!(told, ", position {position}");
        metadata.insert("tarn-position", MetadataValue::from(position));
    }
    if error.kind.retryable() {
        metadata.insert("tarn-retryable", MetadataValue::from_static("true"));
    }
    cut(&mut message);
    let _ = write!(message, "\n[{told}]");
    Status::with_metadata(code(error.kind), message, metadata)
}

fn cut(message: &mut String) {
    if message.len() <= MESSAGE_BYTES_MAX {
        return;
    }
    let mut end = MESSAGE_BYTES_MAX;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message.push('…');
}

/// The gRPC code of a class of errors, by its HTTP status where gRPC has nothing finer.
fn code(kind: ErrorKind) -> Code {
    match (kind.sqlstate(), kind.http_status()) {
        ("0A000", _) => Code::Unimplemented,
        ("40001", _) => Code::Aborted,
        ("2BP01", _) => Code::FailedPrecondition,
        ("53100" | "53200" | "53300" | "53400", _) | (_, 429) => Code::ResourceExhausted,
        (_, 400 | 422) => Code::InvalidArgument,
        (_, 401) => Code::Unauthenticated,
        (_, 403) => Code::PermissionDenied,
        (_, 404) => Code::NotFound,
        (_, 409) => Code::AlreadyExists,
        (_, 499) => Code::Cancelled,
        (_, 504) => Code::DeadlineExceeded,
        (_, 502 | 503) => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// What is understood but not done, by its name.
pub(crate) fn unsupported(what: impl std::fmt::Display) -> Status {
    status(&EngineError::unsupported(what))
}

/// A message that is not what the protocol says.
pub(crate) fn malformed(what: impl std::fmt::Display) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("tarn-sqlstate", MetadataValue::from_static("08P01"));
    let mut message = what.to_string();
    cut(&mut message);
    message.push_str("\n[SQLSTATE 08P01]");
    Status::with_metadata(Code::InvalidArgument, message, metadata)
}

/// Rows that cannot be turned into what goes over the wire.
pub(crate) fn unconvertible(error: &ArrowError) -> Status {
    status(&EngineError::internal(format!(
        "the result cannot be sent: {error}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_sqlstate_position_and_hint() {
        let error = EngineError::new(ErrorKind::UndefinedTable, "table \"x\" not found")
            .with_hint("tables: y")
            .at(15);
        let status = status(&error);
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.message(),
            "table \"x\" not found\nHINT: tables: y\n[SQLSTATE 42P01, position 15]"
        );
        assert_eq!(status.metadata().get("tarn-sqlstate").unwrap(), "42P01");
        assert_eq!(status.metadata().get("tarn-position").unwrap(), "15");
    }

    #[test]
    fn what_is_not_done_is_unimplemented() {
        let status = unsupported("Substrait");
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("0A000"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let error = EngineError::new(ErrorKind::Internal, "ü".repeat(5000));
        assert!(status(&error).message().len() < MESSAGE_BYTES_MAX + 40);
    }
}
