//! Errors of which a library gives nothing but a text: the class that the text tells. Knows words only.

use super::{EngineError, ErrorKind, worker_lost};

/// DataFusion's words for a function that is not there, with our own nearest.
fn undefined_function(text: &str) -> Option<EngineError> {
    let name = text
        .strip_prefix("Invalid function '")
        .or_else(|| text.strip_prefix("Table function '"))?
        .split('\'')
        .next()?;
    let mut out = EngineError::new(
        ErrorKind::UndefinedFunction,
        format!("function \"{name}\" does not exist"),
    );
    let names = crate::functions::function_names();
    out.hint = crate::names::nearest(name, names.iter().map(String::as_str))
        .map(|near| format!("did you mean \"{near}\"?"))
        .or_else(|| Some("SHOW FUNCTIONS lists what there is".to_owned()));
    Some(out)
}

/// DataFusion's words for a column that is neither grouped nor in an aggregate.
fn ungrouped(text: &str) -> Option<EngineError> {
    let name = if let Some(having) = text.strip_prefix("HAVING clause references: ") {
        having.split(" must appear in the GROUP BY").next()
    } else if text.starts_with("Column in ") && text.contains("must be in GROUP BY") {
        text.split('"').nth(1)
    } else {
        None
    }?;
    Some(EngineError::new(
        ErrorKind::Grouping,
        format!(
            "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
        ),
    ))
}

/// DataFusion's words for an aggregate where none may be.
fn misplaced(text: &str) -> Option<EngineError> {
    let message = if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        "aggregate functions are not allowed in WHERE"
    } else if text.starts_with("Aggregate function calls cannot be nested") {
        "aggregate function calls cannot be nested"
    } else if text
        .starts_with("Physical plan does not support logical expression AggregateFunction")
    {
        "aggregate functions are not allowed here"
    } else {
        return None;
    };
    Some(EngineError::new(ErrorKind::Grouping, message))
}

/// Types that PostgreSQL has and we have not.
const FOREIGN_TYPES: [&str; 22] = [
    "bit",
    "box",
    "cidr",
    "circle",
    "daterange",
    "int4range",
    "int8range",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "numrange",
    "path",
    "point",
    "polygon",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "xml",
];

/// What is understood, but not done.
pub(super) fn unsupported(text: &str) -> EngineError {
    if let Some(misplaced) = misplaced(text) {
        return misplaced;
    }
    let Some(ty) = text.strip_prefix("Unsupported SQL type ") else {
        return EngineError::new(ErrorKind::Unsupported, text);
    };
    let name = ty.to_ascii_lowercase();
    let base = name.trim_end_matches("[]");
    let base = base.split('(').next().unwrap_or(base);
    if FOREIGN_TYPES.contains(&base)
        || !base.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        EngineError::unsupported(format!("type {ty}"))
    } else {
        let message = format!("type \"{ty}\" does not exist");
        EngineError::new(ErrorKind::UndefinedObject, message)
    }
}

/// An error of planning.
pub(super) fn planning(text: &str) -> EngineError {
    let known = undefined_function(text)
        .or_else(|| ungrouped(text))
        .or_else(|| misplaced(text));
    if let Some(known) = known {
        return known;
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("inconsistent data length across values list") {
        return EngineError::new(
            ErrorKind::Syntax,
            "VALUES lists must all be the same length",
        );
    }
    let kind = if lower.contains("is declared as non-nullable") {
        ErrorKind::NotNull
    } else if lower.starts_with("limit must be >= 0") {
        ErrorKind::InvalidLimit
    } else if lower.starts_with("offset must be >=0") || lower.starts_with("offset must be >= 0") {
        ErrorKind::InvalidOffset
    } else if lower.starts_with("order by column out of bounds")
        || lower.starts_with("cannot find column with position")
        || lower.starts_with("for select distinct, order by expressions")
    {
        ErrorKind::InvalidColumnReference
    } else if lower.contains("invalid function") || lower.contains("no function matches") {
        ErrorKind::UndefinedFunction
    } else if lower.starts_with("table") && lower.contains("not found") {
        ErrorKind::UndefinedTable
    } else if lower.contains("column count doesn't match insert query")
        || lower.contains("refers to a non existent column")
        || lower.contains("have different number of columns")
    {
        ErrorKind::Syntax
    } else if lower.contains("not supported") || lower.contains("unsupported") {
        ErrorKind::Unsupported
    } else {
        ErrorKind::TypeMismatch
    };
    EngineError::new(kind, text.to_owned())
}

/// An error of execution.
pub(super) fn execution(text: &str) -> EngineError {
    let lower = text.to_ascii_lowercase();
    let kind = if lower.contains(crate::single::TOO_MANY_ROWS) {
        ErrorKind::Cardinality
    } else if lower.contains("divide by zero") {
        ErrorKind::DivisionByZero
    } else if lower.contains("overflow") {
        ErrorKind::OutOfRange
    } else if lower.contains("null value in column") {
        ErrorKind::NotNull
    } else if lower.contains("connecting to distributed")
        || lower.contains("distributed datafusion channel")
        || lower.contains("timed out waiting for")
    {
        return worker_lost(text);
    } else if let Some(known) = value(text) {
        return known;
    } else if lower.contains("cast") || lower.contains("parse") {
        ErrorKind::InvalidText
    } else {
        ErrorKind::InvalidParameter
    };
    EngineError::new(kind, text.to_owned())
}

/// What connections between workers say when the other end is gone.
const LOST: [&str; 8] = [
    "a worker was lost",
    "broken pipe",
    "connection error",
    "error reading a body from connection",
    "h2 protocol error",
    "keep-alive timed out",
    "tonic::transport::error",
    "transport error",
];

/// Whether `text` is of a connection to a worker that is gone.
pub(super) fn tells_of_lost_worker(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let unreachable = lower.contains("worker http") && lower.contains("cannot be reached");
    unreachable || LOST.iter().any(|words| lower.contains(words))
}

/// Arrow's words for a value that is none of its type: text that says something else, or too much.
pub(super) fn value(text: &str) -> Option<EngineError> {
    if let Some(zone) = text.strip_prefix("Invalid timezone \"") {
        let zone = zone.split('"').next().unwrap_or(zone);
        let message = format!("time zone \"{zone}\" not recognized");
        return Some(EngineError::new(ErrorKind::InvalidParameter, message));
    }
    if let Some((value, arrow)) = text
        .split_once("Can't cast value ")
        .and_then(|(_, rest)| rest.split_once(" to type "))
    {
        let ty = sql_name(arrow)?;
        let message = format!("value \"{value}\" is out of range for type {ty}");
        return Some(EngineError::new(ErrorKind::OutOfRange, message));
    }
    let (value, ty) = if let Some((_, rest)) = text.split_once("Error parsing timestamp from '") {
        (rest.rsplit_once("': ")?.0, "timestamp")
    } else {
        let (_, rest) = text
            .split_once("Cannot cast string '")
            .or_else(|| text.split_once("Cannot cast value '"))?;
        let (value, arrow) = rest.rsplit_once("' to value of ")?;
        (value, sql_name(arrow)?)
    };
    let kind = match ty {
        "date" | "time" | "timestamp" if has_fields(value) => {
            let message = format!("date/time field value out of range: \"{value}\"");
            return Some(EngineError::new(ErrorKind::DatetimeOverflow, message));
        }
        "date" | "time" | "timestamp" => ErrorKind::DatetimeFormat,
        "smallint" | "integer" | "bigint" if is_whole(value) => {
            let message = format!("value \"{value}\" is out of range for type {ty}");
            return Some(EngineError::new(ErrorKind::OutOfRange, message));
        }
        _ => ErrorKind::InvalidText,
    };
    let message = format!("invalid input syntax for type {ty}: \"{value}\"");
    Some(EngineError::new(kind, message))
}

/// What SQL calls an Arrow type whose name a text begins with; only types that are read from text as PostgreSQL
/// reads them.
fn sql_name(arrow: &str) -> Option<&'static str> {
    let name = arrow
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or(arrow);
    Some(match name {
        "Boolean" => "boolean",
        "Int8" | "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Date32" | "Date64" => "date",
        "Time32" | "Time64" => "time",
        "Timestamp" => "timestamp",
        _ => return None,
    })
}

fn is_whole(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['-', '+']);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text has the numbers of a date or time, whatever they are.
fn has_fields(text: &str) -> bool {
    let Some(first) = text.split_ascii_whitespace().next() else {
        return false;
    };
    let fields: Vec<&str> = first.split(['-', '/', ':', '.']).collect();
    let number = |field: &&str| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    fields.len() >= 2
        && fields
            .iter()
            .all(|field| number(field) || field.contains('T'))
        && number(&fields[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_value(text: &str, expected: Option<(ErrorKind, &str)>) {
        let found = value(text);
        let found = found.as_ref().map(|e| (e.kind, e.message.as_str()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_date_such_as_there_is_none_differs_from_no_date() {
        check_value(
            "Cannot cast string '2024-13-01' to value of Date32 type",
            Some((
                ErrorKind::DatetimeOverflow,
                "date/time field value out of range: \"2024-13-01\"",
            )),
        );
        check_value(
            "Error parsing timestamp from '2024-01-01 25:00:00': error parsing time",
            Some((
                ErrorKind::DatetimeOverflow,
                "date/time field value out of range: \"2024-01-01 25:00:00\"",
            )),
        );
        check_value(
            "Cannot cast string 'it's' to value of Date32 type",
            Some((
                ErrorKind::DatetimeFormat,
                "invalid input syntax for type date: \"it's\"",
            )),
        );
        check_value("Cannot cast string 'x' to value of Utf8 type", None);
    }

    #[test]
    fn a_number_that_is_too_large_differs_from_no_number() {
        check_value(
            "Cannot cast string '99999999999' to value of Int32 type",
            Some((
                ErrorKind::OutOfRange,
                "value \"99999999999\" is out of range for type integer",
            )),
        );
        check_value(
            "Cannot cast string 'x' to value of Int32 type",
            Some((
                ErrorKind::InvalidText,
                "invalid input syntax for type integer: \"x\"",
            )),
        );
        check_value(
            "Can't cast value 99999999999 to type Int16",
            Some((
                ErrorKind::OutOfRange,
                "value \"99999999999\" is out of range for type smallint",
            )),
        );
    }

    #[test]
    fn a_type_that_is_nowhere_differs_from_one_that_we_have_not() {
        let kind = |text| unsupported(text).kind;
        assert_eq!(
            kind("Unsupported SQL type nope"),
            ErrorKind::UndefinedObject
        );
        assert_eq!(kind("Unsupported SQL type XML"), ErrorKind::Unsupported);
        assert_eq!(kind("Unsupported SQL type BIT(3)"), ErrorKind::Unsupported);
        assert_eq!(kind("anything else"), ErrorKind::Unsupported);
    }

    #[test]
    fn an_ungrouped_column_is_named() {
        let error = planning(
            "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"t.id\" must appear in the GROUP BY clause or must be part of an aggregate function, currently only \"t.c\" appears in the SELECT clause satisfies this requirement",
        );
        assert_eq!(error.kind, ErrorKind::Grouping);
        assert!(error.message.starts_with("column \"t.id\" must"), "{error}");
    }
}
