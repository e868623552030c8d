//! Session options: the messages of `SetSessionOptions` and its kin, and what each option means in SQL.
//!
//! arrow-flight does not have these messages. Source: Flight.proto of Arrow 18, "Session". An option is set by the
//! statement that sets it in SQL, so that a name or value is checked in one place.

use std::collections::HashMap;

use tarn_engine::{SETTINGS, Session};

/// The option that asks for view types in results.
pub(crate) const ARROW_VIEWS: &str = "arrow_views";
/// The catalog of names that have none.
const CATALOG: &str = "catalog";
/// The schema of names that have none.
const SCHEMA: &str = "schema";
/// Options set at once at most.
pub(crate) const OPTIONS_MAX: usize = 100;

/// A value of an option.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(sfixed64, tag = "3")]
    Whole(i64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(message, tag = "5")]
    Texts(Texts),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub(crate) values: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) errors: HashMap<String, OptionError>,
}

/// Why an option was not set.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OptionError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    pub(crate) value: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

impl From<ErrorValue> for OptionError {
    fn from(value: ErrorValue) -> Self {
        Self {
            value: value.into(),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    pub(crate) status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// What an option changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// This statement, run in the session.
    Run(String),
    /// Whether results keep view types.
    Views(bool),
}

/// Options in the order in which they are set: the catalog before the schema in it.
pub(crate) fn ordered(options: HashMap<String, OptionValue>) -> Vec<(String, OptionValue)> {
    let mut options: Vec<_> = options.into_iter().collect();
    options.sort_by_key(|(name, _)| {
        let rank = match name.as_str() {
            CATALOG => 0,
            SCHEMA => 1,
            _ => 2,
        };
        (rank, name.clone())
    });
    options
}

/// What setting `name` to `value` means in `session`.
///
/// # Errors
/// [`ErrorValue::InvalidName`] or [`ErrorValue::InvalidValue`].
pub(crate) fn change(
    session: &Session,
    name: &str,
    value: &OptionValue,
) -> Result<Change, ErrorValue> {
    let text = text(value)?;
    match name {
        CATALOG => {
            let catalog = text.ok_or(ErrorValue::InvalidValue)?;
            Ok(Change::Run(format!("USE CATALOG {}", identifier(&catalog))))
        }
        SCHEMA => {
            let schema = text.ok_or(ErrorValue::InvalidValue)?;
            let catalog = identifier(&session.catalog);
            Ok(Change::Run(format!(
                "USE SCHEMA {catalog}.{}",
                identifier(&schema)
            )))
        }
        ARROW_VIEWS => match text.as_deref() {
            Some("true") => Ok(Change::Views(true)),
            Some("false") | None => Ok(Change::Views(false)),
            Some(_) => Err(ErrorValue::InvalidValue),
        },
        setting => {
            let known = SETTINGS
                .iter()
                .find(|s| s.name == setting || s.alias == Some(setting))
                .ok_or(ErrorValue::InvalidName)?;
            Ok(Change::Run(match text {
                Some(text) => format!("SET {} = '{}'", known.name, text.replace('\'', "''")),
                None => format!("RESET {}", known.name),
            }))
        }
    }
}

/// Every option and its value in `session`.
pub(crate) fn all(session: &Session, views: bool) -> HashMap<String, OptionValue> {
    let text = |value: &str| OptionValue {
        value: Some(Value::Text(value.to_owned())),
    };
    let mut all: HashMap<String, OptionValue> = SETTINGS
        .iter()
        .filter(|s| s.name != "search_path")
        .map(|s| (s.name.to_owned(), text(session.settings.get(s.name))))
        .collect();
    all.insert(CATALOG.to_owned(), text(&session.catalog));
    all.insert(SCHEMA.to_owned(), text(&session.schema));
    let views = OptionValue {
        value: Some(Value::Flag(views)),
    };
    all.insert(ARROW_VIEWS.to_owned(), views);
    all
}

/// A value as SQL writes it; `None` takes the option back.
fn text(value: &OptionValue) -> Result<Option<String>, ErrorValue> {
    Ok(match &value.value {
        None => None,
        Some(Value::Text(text)) => Some(text.clone()),
        Some(Value::Flag(flag)) => Some(flag.to_string()),
        Some(Value::Whole(number)) => Some(number.to_string()),
        Some(Value::Float(_) | Value::Texts(_)) => return Err(ErrorValue::InvalidValue),
    })
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(
        clippy::needless_pass_by_value,
        reason = "what is expected is written in place"
    )]
    fn check(name: &str, value: Option<Value>, expected: Result<Change, ErrorValue>) {
        let session = Session::new("ann", "lake", "main");
        let value = OptionValue { value };
        assert_eq!(change(&session, name, &value), expected, "{name}");
    }

    #[allow(clippy::unnecessary_wraps, reason = "what `check` expects")]
    fn run(sql: &str) -> Result<Change, ErrorValue> {
        Ok(Change::Run(sql.to_owned()))
    }

    #[test]
    fn an_option_is_the_statement_that_sets_it() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        check("catalog", text("a\"b"), run("USE CATALOG \"a\"\"b\""));
        check("schema", text("s"), run("USE SCHEMA \"lake\".\"s\""));
        check(
            "application_name",
            text("it's; DROP"),
            run("SET application_name = 'it''s; DROP'"),
        );
        check("timezone", text("UTC"), run("SET time_zone = 'UTC'"));
        check(
            "statement_timeout",
            Some(Value::Whole(500)),
            run("SET statement_timeout = '500'"),
        );
        check("statement_timeout", None, run("RESET statement_timeout"));
        check(
            "arrow_views",
            Some(Value::Flag(true)),
            Ok(Change::Views(true)),
        );
        check("nonsense", text("x"), Err(ErrorValue::InvalidName));
        check("catalog", None, Err(ErrorValue::InvalidValue));
        check(
            "batch_size",
            Some(Value::Float(1.5)),
            Err(ErrorValue::InvalidValue),
        );
    }

    #[test]
    fn the_catalog_is_set_before_the_schema() {
        let options = ["time_zone", "schema", "catalog"]
            .map(|name| (name.to_owned(), OptionValue { value: None }));
        let names: Vec<_> = ordered(options.into()).into_iter().map(|o| o.0).collect();
        assert_eq!(names, ["catalog", "schema", "time_zone"]);
    }
}
