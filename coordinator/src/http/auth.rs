//! Who sends a request: HTTP Basic with a password or token, or a token as Bearer.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tarn_control::{AuthError, Control, Origin, Principal};

use super::problem::Problem;

/// Checks the request's credentials.
///
/// # Errors
/// 401 without or with wrong credentials (the same answer for an unknown user and a wrong
/// password), 429 after too many failures, 503 if the metadata database does not answer.
pub(crate) async fn principal(
    headers: &HeaderMap,
    control: &Control,
    address: IpAddr,
) -> Result<Principal, Problem> {
    let origin = Origin {
        address,
        door: "http",
    };
    let answer = if let Some(token) = bearer(headers) {
        control.authenticate_token(&token, origin).await
    } else {
        let (user, password) = basic(headers).ok_or_else(|| {
            Problem::plain(
                StatusCode::UNAUTHORIZED,
                "authentication is required",
                "send user and password with HTTP Basic",
            )
        })?;
        control.authenticate(&user, &password, origin).await
    };
    answer.map_err(|error| refused(&error))
}

fn refused(error: &AuthError) -> Problem {
    match error {
        AuthError::Denied => Problem::plain(
            StatusCode::UNAUTHORIZED,
            "password authentication failed",
            "check user and password; the first user is admin",
        ),
        AuthError::TooMany { .. } => Problem::plain(
            StatusCode::TOO_MANY_REQUESTS,
            error.to_string(),
            "check user and password, then wait",
        ),
        error => {
            tracing::error!(%error, "authentication cannot be decided");
            Problem::plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "authentication cannot be decided now",
                "try again; the server's log says why",
            )
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| SecretString::from(token.trim()))
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
