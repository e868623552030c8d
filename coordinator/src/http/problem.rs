//! Errors as `application/problem+json` (RFC 9457), with the SQLSTATE that every door reports.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tarn_engine::EngineError;

/// An error on its way to an HTTP client.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: Kind,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
    retryable: bool,
}

/// The `type` of all problems: the SQLSTATE says what kind of error it is.
#[derive(Debug, Default)]
struct Kind;

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("about:blank")
    }
}

/// SQLSTATE of a request that is not even a statement. Source: PostgreSQL, "protocol violation".
const PROTOCOL_VIOLATION: &str = "08P01";
/// SQLSTATE of a failed login.
const INVALID_PASSWORD: &str = "28P01";

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
            query_id,
            retryable: error.kind.retryable(),
        }
    }

    /// A request that is wrong as HTTP.
    pub(crate) fn plain(status: StatusCode, detail: impl Into<String>, hint: &str) -> Self {
        Self {
            kind: Kind,
            title: title(status.as_u16()),
            status: status.as_u16(),
            detail: detail.into(),
            code: if status == StatusCode::UNAUTHORIZED {
                INVALID_PASSWORD
            } else {
                PROTOCOL_VIOLATION
            },
            hint: Some(hint.to_owned()),
            position: None,
            query_id: None,
            retryable: false,
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
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"tarn\", charset=\"UTF-8\""),
            );
        }
        response
    }
}
