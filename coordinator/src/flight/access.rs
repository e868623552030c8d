//! Who calls: credentials of a call, the handshake, and the session that the call belongs to.
//!
//! A gate in front of the service: a call without good credentials is refused before its body is read. Basic
//! and access tokens come with the handshake or with every call; the handshake answers with the token
//! of a session. Unknown user and wrong password get the same answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::FlightServiceServer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SET_COOKIE};
use secrecy::SecretString;
use tarn_control::{AuthError, Origin, Principal};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::service::FlightSql;
use super::session::{Fingerprint, FlightSession, FlightSessions};
use super::status::status;
use super::wire::{Connection, Peer};
use crate::service::Service;
use crate::sessions::SessionEnd;
use crate::statements::Door;

/// Name of the session's cookie. Source: Flight.proto, "`SetSessionOptionsRequest`".
const SESSION_COOKIE: &str = "arrow_flight_session_id";
/// Where clients of the first handshake put their token. Source: Arrow's `ClientBasicAuthHandler`.
const OLD_TOKEN_HEADER: &str = "auth-token-bin";
/// The call that needs no credentials in its headers.
const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

/// Who makes a call, and in which session.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The session.
    pub(crate) session: Arc<FlightSession>,
}

/// What a client says of itself.
pub(crate) enum Credentials {
    Password {
        user: String,
        password: SecretString,
    },
    /// Of a session or an access token.
    Token(String),
}

/// The credentials in a call's headers.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        return if scheme.eq_ignore_ascii_case("bearer") {
            Some(Credentials::Token(rest.trim().to_owned()))
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic(rest.trim())
        } else {
            None
        };
    }
    let old = headers.get(OLD_TOKEN_HEADER)?;
    let token = String::from_utf8(unpadded(old.as_bytes())?).ok()?;
    Some(Credentials::Token(token))
}

/// Base64 with or without padding: gRPC's binary headers and Arrow's Go client have none.
fn unpadded(encoded: &[u8]) -> Option<Vec<u8>> {
    let end = encoded
        .iter()
        .rposition(|b| *b != b'=')
        .map_or(0, |at| at + 1);
    STANDARD_NO_PAD.decode(&encoded[..end]).ok()
}

fn basic(encoded: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(unpadded(encoded.as_bytes())?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials::Password {
        user: user.to_owned(),
        password: SecretString::from(password.to_owned()),
    })
}

/// The session token in a call's cookies.
fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, token)| token.trim_matches('"').to_owned())
}

/// The header that gives a client its session as a cookie; without a token, takes it back.
pub(crate) fn session_cookie(token: Option<&str>) -> HeaderValue {
    let text = match token {
        Some(token) => format!("{SESSION_COOKIE}={token}; HttpOnly"),
        None => format!("{SESSION_COOKIE}=; Max-Age=0"),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn unauthenticated(what: &str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(
        "tarn-sqlstate",
        tonic::metadata::MetadataValue::from_static("28P01"),
    );
    Status::with_metadata(
        Code::Unauthenticated,
        format!("{what}\n[SQLSTATE 28P01]"),
        metadata,
    )
}

fn refused(error: &AuthError) -> Status {
    match error {
        AuthError::Denied => unauthenticated("authentication failed: user or password is wrong"),
        AuthError::Busy => Status::unavailable(error.to_string()),
        AuthError::TooMany { .. } => Status::resource_exhausted(error.to_string()),
        other => {
            tracing::error!(error = %other, "authentication cannot be decided");
            Status::unavailable("authentication cannot be decided now; try again")
        }
    }
}

/// Decides who may come in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    service: Service,
    sessions: FlightSessions,
}

impl Access {
    pub(crate) fn new(service: Service, sessions: FlightSessions) -> Self {
        Self { service, sessions }
    }

    /// Checks `credentials` that are not a session's token.
    async fn principal(
        &self,
        credentials: &Credentials,
        connection: &Connection,
    ) -> Result<Principal, Status> {
        let origin = Origin {
            address: connection.address.ip(),
            door: Door::Flight.name(),
        };
        let control = &self.service.control;
        let checked = match credentials {
            Credentials::Password { user, password } => {
                control.authenticate(user, password, origin).await
            }
            Credentials::Token(token) => {
                let token = SecretString::from(token.clone());
                control.authenticate_token(&token, origin).await
            }
        };
        checked.map_err(|error| refused(&error))
    }

    /// Opens a session for `principal` and gives it with its token.
    fn open(
        &self,
        principal: &Principal,
        connection: &Arc<Connection>,
    ) -> Result<(Arc<FlightSession>, String), Status> {
        let owner = principal.id.to_string();
        let address = connection.address.ip();
        let open = || self.service.open(principal, Door::Flight, address);
        let opened = open().or_else(|error| {
            // Connections that a pool dropped without a word should not lock their user out.
            if self.sessions.make_room(&owner) {
                open()
            } else {
                Err(error)
            }
        });
        let (session, guard) = opened.map_err(|error| status(&error))?;
        let closed = guard.closed();
        let (session, token) = self.sessions.open(owner, session, Some(guard));
        self.end_with(&session, closed);
        session.touch(connection, false);
        connection.authenticated();
        Ok((session, token))
    }

    /// Ends `session` when the registry says so.
    fn end_with(
        &self,
        session: &Arc<FlightSession>,
        closed: impl Future<Output = SessionEnd> + Send + 'static,
    ) {
        let sessions = self.sessions.clone();
        let ended = session.ended.clone();
        let session = Arc::downgrade(session);
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                _ = closed => {
                    if let Some(session) = session.upgrade() {
                        sessions.close(&session);
                    }
                }
            }
        });
    }

    /// A new session for a client that shakes hands.
    pub(crate) async fn shake(
        &self,
        credentials: Credentials,
        connection: &Arc<Connection>,
    ) -> Result<String, Status> {
        if let Credentials::Token(token) = &credentials
            && FlightSessions::is_token(token)
        {
            self.of_token(token, connection)?;
            return Ok(token.clone());
        }
        let principal = self.principal(&credentials, connection).await?;
        let (session, token) = self.open(&principal, connection)?;
        // So that credentials on later calls of this connection mean this session.
        let fingerprint = fingerprint(&credentials, connection);
        connection.held.put(fingerprint, &session);
        Ok(token)
    }

    fn of_token(
        &self,
        token: &str,
        connection: &Arc<Connection>,
    ) -> Result<Arc<FlightSession>, Status> {
        let session = self
            .sessions
            .find(token)
            .ok_or_else(|| unauthenticated("the session has ended; connect again"))?;
        session.touch(connection, true);
        connection.authenticated();
        Ok(session)
    }

    /// Who calls; with the token of the session if it was opened just now.
    async fn caller(
        &self,
        headers: &HeaderMap,
        connection: &Arc<Connection>,
    ) -> Result<(Caller, Option<String>), Status> {
        let credentials = credentials(headers).ok_or_else(|| {
            unauthenticated("authentication is required: send user and password, or a token")
        })?;
        if let Credentials::Token(token) = &credentials
            && FlightSessions::is_token(token)
        {
            let session = self.of_token(token, connection)?;
            return Ok((Caller { session }, None));
        }
        let principal = self.principal(&credentials, connection).await?;
        let owner = principal.id.to_string();
        let named = cookie(headers)
            .and_then(|token| self.sessions.find(&token))
            .filter(|session| session.owner == owner);
        let fingerprint = fingerprint(&credentials, connection);
        let by_cookie = named.is_some();
        let known = named.or_else(|| {
            let held = connection.held.get(&fingerprint)?;
            (held.owner == owner).then_some(held)
        });
        if let Some(session) = known {
            session.touch(connection, by_cookie);
            connection.authenticated();
            return Ok((Caller { session }, None));
        }
        let (session, token) = self.open(&principal, connection)?;
        connection.held.put(fingerprint, &session);
        Ok((Caller { session }, Some(token)))
    }
}

/// Tells the credentials on a connection apart without keeping them.
fn fingerprint(credentials: &Credentials, connection: &Connection) -> Fingerprint {
    use secrecy::ExposeSecret as _;
    match credentials {
        Credentials::Password { user, password } => {
            let both = SecretString::from(format!("{user}\0{}", password.expose_secret()));
            connection.held.fingerprint(both.expose_secret())
        }
        Credentials::Token(token) => connection.held.fingerprint(token),
    }
}

/// The credentials of a handshake: in its headers, or in its first message as older clients send it.
pub(crate) fn of_handshake(headers: &HeaderMap, payload: &[u8]) -> Option<Credentials> {
    use arrow_flight::BasicAuth;
    use prost::Message as _;
    if let Some(credentials) = credentials(headers) {
        return Some(credentials);
    }
    let BasicAuth { username, password } = BasicAuth::decode(payload).ok()?;
    (!username.is_empty()).then(|| Credentials::Password {
        user: username,
        password: SecretString::from(password),
    })
}

/// The service behind its gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    access: Access,
    /// Takes small messages only: whoever calls it is not known yet.
    handshake: FlightServiceServer<FlightSql>,
    rest: FlightServiceServer<FlightSql>,
}

impl Gate {
    pub(crate) fn new(
        access: Access,
        handshake: FlightServiceServer<FlightSql>,
        rest: FlightServiceServer<FlightSql>,
    ) -> Self {
        Self {
            access,
            handshake,
            rest,
        }
    }
}

impl NamedService for Gate {
    const NAME: &'static str = <FlightServiceServer<FlightSql> as NamedService>::NAME;
}

type Answer = http::Response<Body>;

impl tower::Service<http::Request<Body>> for Gate {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == HANDSHAKE {
            return Box::pin(self.handshake.call(request));
        }
        let access = self.access.clone();
        let mut rest = self.rest.clone();
        Box::pin(async move {
            let Some(Peer(connection)) = request.extensions().get::<Peer>().cloned() else {
                return Ok(Status::internal("the connection is unknown").into_http());
            };
            match access.caller(request.headers(), &connection).await {
                Ok((caller, opened)) => {
                    request.extensions_mut().insert(caller);
                    let mut response = rest.call(request).await?;
                    if let Some(token) = opened {
                        let cookie = session_cookie(Some(&token));
                        response.headers_mut().append(SET_COOKIE, cookie);
                    }
                    Ok(response)
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn basic_bearer_and_the_old_token_are_read() {
        let basic = credentials(&headers(&[("authorization", "Basic YWRtaW46YTpi")]));
        let Some(Credentials::Password { user, password }) = basic else {
            panic!("not a password")
        };
        assert_eq!((user.as_str(), password.expose_secret()), ("admin", "a:b"));
        for header in [
            ("authorization", "bearer abc"),
            ("auth-token-bin", "YWJj"),
            ("authorization", "Bearer  abc"),
        ] {
            let Some(Credentials::Token(token)) = credentials(&headers(&[header])) else {
                panic!("not a token")
            };
            assert_eq!(token, "abc");
        }
        let go = credentials(&headers(&[("authorization", "Basic YWRtaW46cA")]));
        assert!(
            matches!(go, Some(Credentials::Password { .. })),
            "without padding"
        );
        for bad in ["Basic", "Basic !", "Digest x", ""] {
            assert!(credentials(&headers(&[("authorization", bad)])).is_none());
        }
        assert!(credentials(&HeaderMap::new()).is_none());
    }

    #[test]
    fn the_session_is_found_among_the_cookies() {
        let headers = headers(&[("cookie", "a=b; arrow_flight_session_id=tok ;c=d")]);
        assert_eq!(cookie(&headers).as_deref(), Some("tok"));
        assert_eq!(cookie(&HeaderMap::new()), None);
    }

    #[test]
    fn an_old_handshake_says_it_in_its_message() {
        use prost::Message as _;
        let auth = arrow_flight::BasicAuth {
            username: "ann".to_owned(),
            password: "pw".to_owned(),
        };
        let payload = auth.encode_to_vec();
        assert!(matches!(
            of_handshake(&HeaderMap::new(), &payload),
            Some(Credentials::Password { user, .. }) if user == "ann"
        ));
        assert!(of_handshake(&HeaderMap::new(), b"").is_none());
    }
}
