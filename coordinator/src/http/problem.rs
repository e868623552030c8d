//! Errors as `application/problem+json` (RFC 9457), with the SQLSTATE that every door reports.
//!
//! Statuses of statements come from [`tarn_engine::ErrorKind::http_status`]; those of requests that
//! never became a statement stand here, in [`RequestError`], and nowhere else.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tarn_engine::EngineError;
use utoipa::ToSchema;

/// An error on its way to an HTTP client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` says what kind of error it is.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "about:blank")]
    kind: Kind,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong.
    #[schema(example = "table \"lake.main.trips\" does not exist")]
    detail: String,
    /// `SQLSTATE`, the same on every door.
    #[schema(example = "42P01", min_length = 5, max_length = 5)]
    code: &'static str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<String>,
    /// Where in the statement, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<u32>,
    /// The statement, if it got that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    query_id: Option<Box<str>>,
    /// Whether the same request may succeed later.
    retryable: bool,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after: Option<u32>,
}

/// The `type` of all problems: the SQLSTATE says what kind of error it is.
#[derive(Clone, Debug, Default)]
struct Kind;

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("about:blank")
    }
}

/// Why a request is refused before it is a statement, or beside one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// No credentials, or none that can be read.
    #[error("authentication is required")]
    NoCredentials,
    /// Credentials that nobody has.
    #[error("authentication failed")]
    BadCredentials,
    /// Somebody, or somebody's address, tries too often.
    #[error("too many failed logins; try again in {} s", seconds(*retry_after))]
    TooManyLogins {
        /// When it may work.
        retry_after: Duration,
    },
    /// Authentication cannot be decided.
    #[error("authentication cannot be decided now")]
    AuthenticationDown,
    /// A body of another type than JSON.
    #[error("the body must be application/json")]
    NotJson,
    /// A body that is no JSON, or none of the right shape.
    #[error("{}{problem}", field.as_ref().map_or_else(String::new, |f| format!("field \"{f}\": ")))]
    Body {
        /// The field, if it is about one.
        field: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// Too many bytes.
    #[error("the body has more than {bytes_max} bytes")]
    BodyTooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// A body that does not come.
    #[error("the body did not come within {} s", limit.as_secs())]
    BodyTooSlow {
        /// The bound.
        limit: Duration,
    },
    /// A connection that breaks within a body.
    #[error("the body cannot be read")]
    BodyBroken,
    /// A wrong parameter behind the `?`.
    #[error("query string: {problem}")]
    QueryString {
        /// What is wrong.
        problem: String,
    },
    /// A header that is not what it must be.
    #[error("header {name} {problem}")]
    Header {
        /// The header.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Nothing that the client accepts can be sent.
    #[error("none of the types in Accept can be sent")]
    NotAcceptable,
    /// A path without a resource.
    #[error("there is nothing at {path}")]
    UnknownPath {
        /// The path.
        path: String,
    },
    /// A resource without this method.
    #[error("{path} does not take this method")]
    WrongMethod {
        /// The path.
        path: String,
    },
    /// A query that does not exist, or is not the caller's.
    #[error("query {id} does not exist")]
    UnknownQuery {
        /// The id asked for.
        id: String,
    },
    /// Results before there are any.
    #[error("query {id} has not ended; its state is {state}")]
    NotEnded {
        /// The query.
        id: String,
        /// Its state.
        state: &'static str,
    },
    /// Results that were never kept, or are no more.
    #[error("query {id} has no results here")]
    NoResults {
        /// The query.
        id: String,
        /// Why, and what to do.
        hint: &'static str,
    },
    /// A result that belongs to somebody else; its query may be seen.
    #[error("the results of query {id} are its user's only")]
    NotOwner {
        /// The query.
        id: String,
    },
    /// Something for administrators.
    #[error("only administrators may list the queries of all users")]
    AdminOnly,
    /// One key for two different requests.
    #[error("Idempotency-Key was used with another request")]
    KeyReused,
    /// A client that submits more than it fetches.
    #[error("{what}")]
    TooManyQueries {
        /// Which bound is reached.
        what: String,
    },
}

/// Seconds, rounded up: a client that waits that long waits long enough.
fn seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

impl RequestError {
    /// HTTP status and SQLSTATE.
    fn code(&self) -> (StatusCode, &'static str) {
        const PROTOCOL_VIOLATION: &str = "08P01";
        const INVALID_PASSWORD: &str = "28P01";
        match self {
            Self::NoCredentials | Self::BadCredentials => {
                (StatusCode::UNAUTHORIZED, INVALID_PASSWORD)
            }
            Self::TooManyLogins { .. } => (StatusCode::TOO_MANY_REQUESTS, "53300"),
            Self::TooManyQueries { .. } => (StatusCode::TOO_MANY_REQUESTS, "53400"),
            Self::AuthenticationDown => (StatusCode::SERVICE_UNAVAILABLE, "58000"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, PROTOCOL_VIOLATION),
            Self::Body { .. }
            | Self::BodyBroken
            | Self::QueryString { .. }
            | Self::Header { .. } => (StatusCode::BAD_REQUEST, PROTOCOL_VIOLATION),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "54000"),
            Self::BodyTooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, PROTOCOL_VIOLATION),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, PROTOCOL_VIOLATION),
            Self::UnknownPath { .. } => (StatusCode::NOT_FOUND, PROTOCOL_VIOLATION),
            Self::WrongMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, PROTOCOL_VIOLATION),
            Self::UnknownQuery { .. } => (StatusCode::NOT_FOUND, "42704"),
            Self::NotEnded { .. } => (StatusCode::CONFLICT, "55000"),
            Self::NoResults { .. } => (StatusCode::GONE, "55000"),
            Self::NotOwner { .. } | Self::AdminOnly => (StatusCode::FORBIDDEN, "42501"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "22023"),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NoCredentials => {
                Some("send user and password with HTTP Basic, or a personal access token as Bearer")
            }
            Self::BadCredentials => {
                Some("check user and password, or the token; the first user is admin")
            }
            Self::AuthenticationDown => Some("try again; the server's log says why"),
            Self::NotJson | Self::Body { .. } => {
                Some("send {\"statement\": \"SELECT 1\"} as application/json")
            }
            Self::QueryString { .. } => Some("GET /api/v1/openapi.json says what it may be"),
            Self::NotAcceptable => Some(
                "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream",
            ),
            Self::UnknownPath { .. } | Self::WrongMethod { .. } => {
                Some("POST /api/v1/sql runs statements; GET /api/docs shows everything")
            }
            Self::UnknownQuery { .. } => Some("GET /api/v1/queries lists yours"),
            Self::NotEnded { .. } => {
                Some("ask again later; wait_ms lets the server wait for the end")
            }
            Self::NoResults { hint, .. } => Some(hint),
            Self::KeyReused => Some("use a new key for a new request"),
            Self::TooManyQueries { .. } => {
                Some("wait for some to end, or DELETE those that are not needed any more")
            }
            Self::TooManyLogins { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTooSlow { .. }
            | Self::BodyBroken
            | Self::Header { .. }
            | Self::NotOwner { .. }
            | Self::AdminOnly => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyLogins { retry_after } => Some(*retry_after),
            Self::TooManyQueries { .. } => Some(Duration::from_secs(5)),
            Self::AuthenticationDown | Self::NotEnded { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let (status, code) = error.code();
        let retry_after = error.retry_after().map(seconds);
        Self {
            kind: Kind,
            title: title(status.as_u16()),
            status: status.as_u16(),
            detail: error.to_string(),
            code,
            hint: error.hint().map(str::to_owned),
            position: None,
            query_id: None,
            retryable: retry_after.is_some(),
            retry_after,
        }
    }
}

impl Problem {
    /// A statement's error.
    pub(crate) fn of(error: EngineError, query_id: Option<String>) -> Self {
        let status = error.kind.http_status();
        Self {
            kind: Kind,
            title: title(status),
            status,
            detail: error.message,
            code: error.kind.sqlstate(),
            hint: error.hint,
            position: error.position.and_then(|p| u32::try_from(p).ok()),
            query_id: query_id.map(String::into_boxed_str),
            retryable: error.kind.retryable(),
            retry_after: (error.kind.retryable() && matches!(status, 429 | 503)).then_some(1),
        }
    }
}

fn title(status: u16) -> &'static str {
    match status {
        499 => "Client Closed Request",
        other => StatusCode::from_u16(other)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or("Error"),
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(retry_after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"tarn\", charset=\"UTF-8\""),
            );
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tarn\""),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_must_wait_is_told_how_long() {
        let response = RequestError::TooManyLogins {
            retry_after: Duration::from_millis(1500),
        }
        .into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let problem = Problem::from(RequestError::Body {
            field: Some("properties.schema".to_owned()),
            problem: "expected a string".to_owned(),
        });
        assert_eq!(
            problem.detail,
            "field \"properties.schema\": expected a string"
        );
        assert_eq!((problem.status, problem.code), (400, "08P01"));
    }
}
