//! Who sends a request: HTTP Basic with a password or a personal access token, or Bearer with a token.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tarn_control::{AuthError, Control, Origin, Principal};

use super::problem::RequestError;
use crate::socket::Peer;

/// What a client shows.
#[derive(Debug)]
enum Credentials {
    Basic {
        user: String,
        password: SecretString,
    },
    Bearer(SecretString),
}

/// Checks the request's credentials.
///
/// # Errors
/// 401 without or with wrong credentials (the same answer for an unknown user and a wrong
/// password), 429 after too many wrong ones, 503 if the metadata database does not answer.
pub(super) async fn principal(parts: &Parts, control: &Control) -> Result<Principal, RequestError> {
    let credentials = credentials(&parts.headers).ok_or(RequestError::NoCredentials)?;
    let origin = Origin {
        // Every connection of the door has one.
        address: parts
            .extensions
            .get::<Peer>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip()),
        door: "http",
    };
    let checked = match credentials {
        Credentials::Basic { user, password } => {
            control.authenticate(&user, &password, origin).await
        }
        Credentials::Bearer(token) => control.authenticate_token(&token, origin).await,
    };
    checked.map_err(|error| refused(&error))
}

fn refused(error: &AuthError) -> RequestError {
    match error {
        AuthError::Denied => RequestError::BadCredentials,
        AuthError::TooMany { retry_after } => RequestError::TooManyLogins {
            retry_after: *retry_after,
        },
        error => {
            tracing::error!(%error, "authentication cannot be decided");
            RequestError::AuthenticationDown
        }
    }
}

/// Reads credentials and forgets them, for fuzzers.
pub(super) fn try_read(headers: &HeaderMap) {
    let _ = credentials(headers);
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = value.split_once(' ')?;
    let text = text.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(SecretString::from(text.to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials::Basic {
        user: user.to_owned(),
        password: SecretString::from(password.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    fn check(value: &'static str, wanted: Option<(&str, &str)>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        let found = credentials(&headers).map(|found| match found {
            Credentials::Basic { user, password } => (user, password.expose_secret().to_owned()),
            Credentials::Bearer(token) => (String::new(), token.expose_secret().to_owned()),
        });
        let wanted = wanted.map(|(user, secret)| (user.to_owned(), secret.to_owned()));
        assert_eq!(found, wanted, "{value}");
    }

    #[test]
    fn basic_and_bearer_credentials_are_read_and_others_are_not() {
        check("Basic YWRtaW46YTpi", Some(("admin", "a:b")));
        check("bearer  tarn_abc ", Some(("", "tarn_abc")));
        check("Digest YWRtaW46YTpi", None);
        check("Basic !!!", None);
        check("Basic", None);
        assert!(credentials(&HeaderMap::new()).is_none());
    }
}
