//! DataFusion's words for arguments that no function takes, and for its own defects, in ours. Knows words only.

use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;

use super::{EngineError, ErrorKind};
use crate::types::sql_type_name;

/// Ends what DataFusion says of its own defects.
const ADVICE: &str = "This issue was likely caused by a bug";

/// What is said of the character that no text may hold.
const NO_NUL: &str = "null character not permitted";

/// The error, if it is one of these.
pub(super) fn known(error: &DataFusionError) -> Option<EngineError> {
    match error {
        DataFusionError::Execution(text) if text.starts_with(NO_NUL) => {
            Some(EngineError::new(ErrorKind::LimitReached, text.clone()))
        }
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => arguments(text),
        DataFusionError::Internal(text) if super::text::tells_of_lost_worker(text) => {
            Some(super::worker_lost(plain(text)))
        }
        DataFusionError::Internal(text) => Some(arguments(text).unwrap_or_else(|| {
            EngineError::internal(plain(text))
                .with_hint("this is a defect of Tarn: please report the statement")
        })),
        _ => None,
    }
}

/// Without the advice to report a bug to somebody else.
fn plain(text: &str) -> &str {
    let text = text.split(ADVICE).next().unwrap_or(text);
    text.trim_end().trim_end_matches('.')
}

/// A function that does not take its arguments.
fn arguments(text: &str) -> Option<EngineError> {
    let (name, types) = if let Some((_, rest)) = text.split_once("argument types '") {
        let call = rest.split("'.").next()?;
        let (name, types) = call.split_once('(')?;
        (name, Some(types.strip_suffix(')')?))
    } else if let Some((_, rest)) = text.split_once("to satisfy a call to '") {
        let (name, rest) = rest.split_once('\'')?;
        let types = rest.split_once("coercion from ").map(|(_, rest)| rest);
        (
            name,
            types.and_then(|rest| rest.split(" to the signature").next()),
        )
    } else {
        let (start, _) = text.split_once("' failed to match any signature")?;
        (start.rsplit_once('\'')?.1, None)
    };
    let name = shown(name);
    let message = match types {
        Some(types) => format!("function {name}({}) does not exist", sql_types(types)),
        None => format!("function {name} does not take these arguments"),
    };
    Some(
        EngineError::new(ErrorKind::UndefinedFunction, message).with_hint(
            "no function of this name takes arguments of these types; explicit casts may help",
        ),
    )
}

/// The name that people write.
fn shown(name: &str) -> &str {
    match name {
        "character_length" => "length",
        other => other,
    }
}

/// Arrow's types as SQL's.
fn sql_types(list: &str) -> String {
    let mut types = vec![];
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                types.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    types.push(&list[start..]);
    let name = |text: &str| {
        let text = text.trim();
        match text.parse::<DataType>() {
            Ok(ty) => sql_type_name(&ty),
            Err(_) => text.to_owned(),
        }
    };
    types.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &str) {
        let error = arguments(text).unwrap();
        assert_eq!(error.message, wanted, "{text}");
        assert_eq!(error.kind, ErrorKind::UndefinedFunction);
    }

    #[test]
    fn functions_and_types_are_named_in_sql() {
        check(
            "Internal error: Function 'substr' failed to match any signature, errors: … No function matches the given name and argument types 'substr(Utf8, Decimal128(10, 2))'. You might need to add explicit type casts.",
            "function substr(text, numeric(10,2)) does not exist",
        );
        check(
            "Failed to coerce arguments to satisfy a call to 'sum' function: coercion from Utf8 to the signature OneOf(…) failed",
            "function sum(text) does not exist",
        );
        check(
            "Function 'avg' failed to match any signature, errors: x",
            "function avg does not take these arguments",
        );
        assert!(arguments("column x").is_none());
    }

    #[test]
    fn nobody_is_sent_to_report_elsewhere() {
        let text = format!("x is odd.\n{ADVICE} in DataFusion's code. Please help us");
        let error = known(&DataFusionError::Internal(text)).unwrap();
        assert_eq!(error.message, "x is odd");
    }
}
