//! Who sends a request: HTTP Basic.

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tarn_control::{AuthError, Control, ErrorCode, Principal};

use super::problem::Problem;

/// Checks the request's credentials.
///
/// # Errors
/// 401 without or with wrong credentials (the same answer for an unknown user and a wrong
/// password), 503 if the metadata database does not answer.
pub(crate) async fn principal(
    headers: &HeaderMap,
    control: &Control,
) -> Result<Principal, Problem> {
    let (user, password) = basic(headers).ok_or_else(|| {
        Problem::plain(
            StatusCode::UNAUTHORIZED,
            "authentication is required",
            "send user and password with HTTP Basic",
        )
    })?;
    control
        .authenticate(&user, &password)
        .await
        .map_err(|error| refused(&error))
}

fn refused(error: &AuthError) -> Problem {
    if error.code() == ErrorCode::Unauthenticated {
        return Problem::plain(
            StatusCode::UNAUTHORIZED,
            "password authentication failed",
            "check user and password; the first user is admin",
        );
    }
    tracing::error!(%error, "authentication cannot be decided");
    Problem::plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "authentication cannot be decided now",
        "try again; the server's log says why",
    )
}

fn basic(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), SecretString::from(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    #[test]
    fn basic_credentials_are_read_and_others_are_not() {
        let mut headers = HeaderMap::new();
        assert!(basic(&headers).is_none());
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static("Basic YWRtaW46YTpi"),
        );
        let (user, password) = basic(&headers).unwrap();
        assert_eq!(user, "admin");
        assert_eq!(password.expose_secret(), "a:b");
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static("Bearer YWRtaW46YTpi"),
        );
        assert!(basic(&headers).is_none());
    }
}
