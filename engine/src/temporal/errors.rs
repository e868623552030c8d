//! What goes wrong with dates and times, in PostgreSQL's words and classes.

use datafusion::error::DataFusionError;

use crate::error::{EngineError, ErrorKind, with_class};

/// How much of a value an error shows.
const SHOWN_MAX: usize = 40;

fn error(kind: ErrorKind, message: String) -> DataFusionError {
    with_class(EngineError::new(kind, message).into(), kind)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// `text` is no value of the type `ty`.
pub(super) fn syntax(ty: &str, text: &str) -> DataFusionError {
    let text = shown(text);
    error(
        ErrorKind::DatetimeFormat,
        format!("invalid input syntax for type {ty}: \"{text}\""),
    )
}

/// A part of `text` is too large or too small.
pub(super) fn field(text: &str) -> DataFusionError {
    let text = shown(text);
    error(
        ErrorKind::DatetimeOverflow,
        format!("date/time field value out of range: \"{text}\""),
    )
}

/// A part of an interval is too large.
pub(super) fn interval_field(text: &str) -> DataFusionError {
    let text = shown(text);
    error(
        ErrorKind::IntervalOverflow,
        format!("interval field value out of range: \"{text}\""),
    )
}

/// A value that `ty` does not hold.
pub(super) fn range(ty: &str) -> DataFusionError {
    error(ErrorKind::DatetimeOverflow, format!("{ty} out of range"))
}

/// The midnight that ends a day: neither Arrow's times nor Iceberg's have it.
pub(super) fn midnight(text: &str) -> DataFusionError {
    let text = shown(text);
    error(
        ErrorKind::DatetimeOverflow,
        format!(
            "time \"{text}\" is the end of a day, which type time does not hold here; use 23:59:59.999999 or 00:00:00"
        ),
    )
}

/// A moment that no number of nanoseconds reaches.
pub(super) fn nanos() -> DataFusionError {
    error(
        ErrorKind::DatetimeOverflow,
        "timestamp(9) out of range: it holds 1677-09-21 to 2262-04-11; use timestamp(6)".to_owned(),
    )
}

/// Infinity, which Arrow's types do not have.
pub(super) fn infinite(ty: &str) -> DataFusionError {
    error(
        ErrorKind::DatetimeOverflow,
        format!("infinity is not supported in type {ty}"),
    )
}

/// A zone that is not known.
pub(super) fn zone(name: &str) -> DataFusionError {
    let name = shown(name);
    error(
        ErrorKind::InvalidParameter,
        format!("time zone \"{name}\" not recognized"),
    )
}

/// A field that `extract` or `date_trunc` does not know, or not for the type.
pub(super) fn unit(name: &str, ty: &str, known: bool) -> DataFusionError {
    let name = shown(name);
    if known {
        return error(
            ErrorKind::Unsupported,
            format!("unit \"{name}\" not supported for type {ty}"),
        );
    }
    error(
        ErrorKind::InvalidParameter,
        format!("unit \"{name}\" not recognized for type {ty}"),
    )
}

/// Text that does not follow its pattern.
pub(super) fn pattern(message: impl Into<String>) -> DataFusionError {
    error(ErrorKind::DatetimeFormat, message.into())
}

/// An argument that makes no sense.
pub(super) fn argument(message: impl Into<String>) -> DataFusionError {
    error(ErrorKind::InvalidParameter, message.into())
}
