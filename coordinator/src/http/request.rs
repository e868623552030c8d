//! What a client sends: strict JSON bodies, strict query strings, headers. Wrong input is refused
//! with the name of the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tarn_engine::{EngineError, Session};
use utoipa::ToSchema;
use uuid::Uuid;

use super::problem::RequestError;

/// Bytes of a request's body at most.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A body comes within this time.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// One statement and how to run it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlRequest {
    /// One SQL statement.
    #[schema(example = "SELECT $1 + 1 AS next")]
    pub(super) statement: String,
    /// Values of `$1`, `$2`, …: null, booleans, numbers, strings, and arrays of these.
    #[serde(default)]
    #[schema(example = json!([41]))]
    pub(super) parameters: Vec<Value>,
    /// Where and how the statement runs.
    #[serde(default)]
    pub(super) properties: Properties,
}

/// Settings of one request.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Properties {
    /// Catalog of unqualified names.
    #[schema(example = "lake")]
    pub(super) catalog: Option<String>,
    /// Schema of unqualified names.
    #[schema(example = "main")]
    pub(super) schema: Option<String>,
    /// Time zone: an IANA name or an offset.
    #[schema(example = "Europe/Zurich")]
    pub(super) time_zone: Option<String>,
    /// The statement is cancelled when it runs longer; milliseconds, or with a unit.
    #[schema(example = "30s")]
    pub(super) statement_timeout: Option<String>,
}

impl Properties {
    /// Makes a session as the request wants it.
    pub(super) fn apply(&self, session: &mut Session) -> Result<(), EngineError> {
        if let Some(catalog) = &self.catalog {
            session.catalog.clone_from(catalog);
        }
        if let Some(schema) = &self.schema {
            session.schema.clone_from(schema);
        }
        if let Some(zone) = &self.time_zone {
            session.settings.set("time_zone", zone)?;
        }
        if let Some(timeout) = &self.statement_timeout {
            session.settings.set("statement_timeout", timeout)?;
        }
        Ok(())
    }
}

/// The bytes of a JSON body.
///
/// # Errors
/// [`RequestError`] if it is of another type, too large or too slow.
pub(super) async fn json_body(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, RequestError> {
    if !is_json(headers) {
        return Err(RequestError::NotJson);
    }
    let reading = read(body);
    tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .unwrap_or(Err(RequestError::BodyTooSlow {
            limit: BODY_TIMEOUT,
        }))
}

async fn read(body: Body) -> Result<Vec<u8>, RequestError> {
    match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if is_too_large(&error) => Err(RequestError::BodyTooLarge {
            bytes_max: BODY_BYTES_MAX,
        }),
        Err(_) => Err(RequestError::BodyBroken),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads JSON of exactly this shape.
///
/// # Errors
/// [`RequestError::Body`], naming the field, for an unknown, missing, double or wrong one, and for
/// what is no JSON or has something behind it.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    // serde would take the fields from a list by their places as well.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(RequestError::Body {
            field: None,
            problem: "expected an object, found an array".to_owned(),
        });
    }
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut decoder).map_err(|error| {
        let path = error.path().to_string();
        RequestError::Body {
            field: (path != "." && !path.is_empty()).then_some(path),
            problem: error.into_inner().to_string(),
        }
    })?;
    decoder.end().map_err(|error| RequestError::Body {
        field: None,
        problem: error.to_string(),
    })?;
    Ok(value)
}

/// Reads the parameters behind the `?`.
///
/// # Errors
/// [`RequestError::QueryString`] for unknown, double or wrong ones.
pub(super) fn query_string<T: DeserializeOwned>(uri: &Uri) -> Result<T, RequestError> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(value)| value)
        .map_err(|rejection| {
            let text = rejection.body_text();
            let problem = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            RequestError::QueryString {
                problem: problem.to_owned(),
            }
        })
}

/// The id in a path.
///
/// # Errors
/// [`RequestError::UnknownPath`] if it is no text.
pub(super) fn path_id(
    id: Result<Path<String>, PathRejection>,
    uri: &Uri,
) -> Result<String, RequestError> {
    id.map(|Path(id)| id)
        .map_err(|_| RequestError::UnknownPath {
            path: uri.path().to_owned(),
        })
}

/// A header that holds a UUID.
///
/// # Errors
/// [`RequestError::Header`] if it holds something else.
pub(super) fn uuid_header(
    headers: &HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<Uuid>, RequestError> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| Uuid::parse_str(text).ok())
                .ok_or(RequestError::Header {
                    name: shown,
                    problem: "must be a UUID; leave it out to have one made",
                })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_body(text: &str, field: Option<&str>, problem: &str) {
        match parse::<SqlRequest>(text.as_bytes()) {
            Err(RequestError::Body {
                field: found,
                problem: said,
            }) => {
                assert_eq!(found.as_deref(), field, "{text}: {said}");
                assert!(said.contains(problem), "{text}: {said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_body_is_refused_with_the_name_of_the_field() {
        check_body(
            r#"{"statement": 1}"#,
            Some("statement"),
            "expected a string",
        );
        check_body(
            r#"{"statement": "x", "foo": 1}"#,
            Some("foo"),
            "unknown field `foo`",
        );
        check_body(
            r#"{"statement": "x", "properties": {"schema": []}}"#,
            Some("properties.schema"),
            "expected a string",
        );
        check_body(
            r#"{"statement": "x", "statement": "y"}"#,
            None,
            "duplicate field `statement`",
        );
        check_body("{}", None, "missing field `statement`");
        check_body(r#"{"statement": "x"} true"#, None, "trailing characters");
        check_body("[1]", None, "expected an object");
        check_body(r#"["SELECT 1", [], {}]"#, None, "expected an object");
        check_body("", None, "EOF");
        assert!(parse::<SqlRequest>(br#" {"statement": "x"} "#).is_ok());
    }

    #[test]
    fn nested_too_deep_is_refused_and_does_not_overflow() {
        let text = format!(
            "{{\"statement\": \"x\", \"parameters\": {}",
            "[".repeat(100_000)
        );
        assert!(parse::<SqlRequest>(text.as_bytes()).is_err());
    }

    #[test]
    fn unknown_and_double_parameters_of_a_query_string_are_refused() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wanted {
            limit: Option<u64>,
        }
        let read = |text: &str| query_string::<Wanted>(&text.parse().unwrap());
        assert_eq!(read("/x?limit=5").unwrap().limit, Some(5));
        assert_eq!(read("/x").unwrap().limit, None);
        for bad in [
            "/x?limit=-1",
            "/x?limit=a",
            "/x?limt=1",
            "/x?limit=1&limit=2",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
