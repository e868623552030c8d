//! The way in: encryption, the protocol's version, parameters, the password.
//!
//! Everything here is bounded in bytes and time, because whoever speaks is still unknown.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use secrecy::SecretString;
use tarn_control::{AuthError, Origin, Principal};
use tarn_engine::Session;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::fault::{Fault, Notice};
use super::message::{self, Message};
use super::wire::{Socket, Wire};
use super::{Authentication, Shared};
use crate::sessions::SessionGuard;
use crate::statements::Door;

const PROTOCOL_3: u32 = 3;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What a start-up packet asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Ssl,
    Gss,
    Cancel { process: i32, secret: i32 },
    Start(Parameters),
}

/// A start-up packet's parameters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    minor: u16,
    values: Vec<(String, String)>,
    /// Options of a later protocol, which are not understood.
    unknown: Vec<String>,
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Takes a start-up packet apart and forgets it, for fuzzers.
pub(super) fn try_read(body: Bytes) {
    if body.len() >= 4
        && let Ok(Request::Start(parameters)) = read(body)
        && let Some(options) = parameters.get("options")
    {
        let _ = command_line(options);
    }
}

fn read(mut body: Bytes) -> Result<Request, Fault> {
    let code = body.get_u32();
    match code {
        SSL => Ok(Request::Ssl),
        GSS => Ok(Request::Gss),
        CANCEL if body.remaining() == 8 => Ok(Request::Cancel {
            process: body.get_i32(),
            secret: body.get_i32(),
        }),
        CANCEL => Err(Fault::fatal("08P01", "invalid length of cancel request")),
        _ if code >> 16 == PROTOCOL_3 => {
            let minor = u16::try_from(code & 0xffff).unwrap_or(0);
            parameters(minor, body).map(Request::Start)
        }
        _ => Err(Fault::fatal(
            "0A000",
            format!(
                "unsupported frontend protocol {}.{}: server supports 3.0",
                code >> 16,
                code & 0xffff
            ),
        )),
    }
}

fn parameters(minor: u16, mut body: Bytes) -> Result<Parameters, Fault> {
    let bad = || {
        Fault::fatal(
            "08P01",
            "invalid startup packet layout: expected terminator as last byte",
        )
    };
    let mut out = Parameters {
        minor,
        ..Parameters::default()
    };
    loop {
        let name = message::text(&mut body).map_err(|_| bad())?;
        if name.is_empty() {
            break;
        }
        let value = message::text(&mut body).map_err(|_| bad())?;
        if name.starts_with("_pq_.") {
            out.unknown.push(name);
        } else {
            out.values.push((name, value));
        }
    }
    if body.has_remaining() {
        return Err(bad());
    }
    Ok(out)
}

/// Serves a connection from its first byte to its last.
pub(crate) async fn serve(socket: TcpStream, peer: IpAddr, shared: Arc<Shared>) {
    let Ok(place) = Arc::clone(&shared.waiting).try_acquire_owned() else {
        let mut wire = Wire::new(Socket::Plain(socket));
        let fault = Fault::fatal("53300", "too many connections that have not authenticated");
        refuse(&mut wire, fault).await;
        return;
    };
    let entered = Box::pin(tokio::time::timeout(
        shared.options.authentication_timeout,
        enter(socket, peer, &shared),
    ));
    let connection = match entered.await {
        Ok(Some(connection)) => connection,
        Ok(None) => return,
        Err(_) => {
            tracing::debug!(%peer, "a PostgreSQL client did not authenticate in time");
            return;
        }
    };
    drop(place);
    connection.serve().await;
}

/// Says why a connection ends, in vain if the client is gone.
async fn refuse(wire: &mut Wire, fault: Fault) {
    let notice = match fault {
        Fault::Error(notice) | Fault::Fatal(notice) => notice,
        Fault::Gone => return,
    };
    let notice = Notice {
        severity: "FATAL",
        ..*notice
    };
    message::notice(&mut wire.output, b'E', &notice);
    let _ = wire.flush().await;
    wire.close().await;
}

/// Start-up and authentication; `None` if the connection is over.
async fn enter(socket: TcpStream, peer: IpAddr, shared: &Arc<Shared>) -> Option<Box<Connection>> {
    let mut wire = first_wire(socket, shared).await?;
    let mut asked_gss = false;
    let parameters = loop {
        let request = match wire.startup().await {
            Ok(body) => read(body),
            Err(error) => Err(error.into()),
        };
        match request {
            Ok(Request::Start(parameters)) => break parameters,
            Ok(Request::Ssl) if !wire.is_encrypted() => {
                wire = encrypt(wire, shared).await?;
            }
            Ok(Request::Gss) if !wire.is_encrypted() && !asked_gss => {
                asked_gss = true;
                wire.output.push(b'N');
                wire.flush().await.ok()?;
            }
            Ok(Request::Cancel { process, secret }) => {
                if let Some(query_id) = shared.cancels.query_of(process, secret) {
                    shared.service.statements.cancel(&query_id);
                }
                wire.close().await;
                return None;
            }
            Ok(Request::Ssl | Request::Gss) => {
                refuse(
                    &mut wire,
                    Fault::fatal("08P01", "encryption is asked for twice"),
                )
                .await;
                return None;
            }
            Err(fault) => {
                refuse(&mut wire, fault).await;
                return None;
            }
        }
    };
    match admit(&mut wire, &parameters, peer, shared).await {
        Ok((session, guard)) => {
            wire.admit(shared.options.message_bytes_max);
            let opened = Connection::open(wire, session, guard, shared).await;
            Some(Box::new(opened?))
        }
        Err(fault) => {
            refuse(&mut wire, fault).await;
            None
        }
    }
}

/// First byte of a TLS handshake, with which clients with `sslnegotiation=direct` begin.
const HANDSHAKE: u8 = 0x16;

/// The connection as the client begins it: in the clear, or at once with TLS.
async fn first_wire(socket: TcpStream, shared: &Shared) -> Option<Wire> {
    if shared.tls.is_none() {
        return Some(Wire::new(Socket::Plain(socket)));
    }
    let mut first = [0];
    if socket.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != HANDSHAKE {
        return Some(Wire::new(Socket::Plain(socket)));
    }
    let wire = handshake(socket, shared).await?;
    // Who does not say that it means PostgreSQL may be a browser that was sent here.
    (wire.protocol() == Some(b"postgresql")).then_some(wire)
}

async fn handshake(socket: TcpStream, shared: &Shared) -> Option<Wire> {
    match shared.tls.as_ref()?.accept(socket).await {
        Ok(socket) => Some(Wire::new(Socket::Tls(Box::new(socket)))),
        Err(error) => {
            tracing::debug!(%error, "a PostgreSQL client failed to begin TLS");
            None
        }
    }
}

/// Answers `SSLRequest`: TLS from here on, or `N`.
async fn encrypt(wire: Wire, shared: &Shared) -> Option<Wire> {
    // Bytes in the clear behind the request would be taken for encrypted ones.
    let Some(Socket::Plain(mut socket)) = wire.into_socket() else {
        return None;
    };
    if shared.tls.is_none() {
        socket.write_all(b"N").await.ok()?;
        return Some(Wire::new(Socket::Plain(socket)));
    }
    socket.write_all(b"S").await.ok()?;
    handshake(socket, shared).await
}

/// Checks version, password and parameters; the session is what they make.
async fn admit(
    wire: &mut Wire,
    parameters: &Parameters,
    peer: IpAddr,
    shared: &Shared,
) -> Result<(Session, SessionGuard), Fault> {
    if parameters.minor > 0 || !parameters.unknown.is_empty() {
        message::message(&mut wire.output, b'v', |out| {
            out.extend(0_u32.to_be_bytes());
            let count = u32::try_from(parameters.unknown.len()).unwrap_or(0);
            out.extend(count.to_be_bytes());
            for name in &parameters.unknown {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
            }
        });
    }
    if shared.options.tls_required && !wire.is_encrypted() {
        return Err(
            Fault::fatal("28000", "this server takes encrypted connections only")
                .with_hint("connect with sslmode=require"),
        );
    }
    let user = parameters
        .get("user")
        .filter(|user| !user.is_empty())
        .ok_or_else(|| {
            Fault::fatal(
                "28000",
                "no PostgreSQL user name specified in startup packet",
            )
        })?;
    if parameters
        .get("replication")
        .is_some_and(|value| !["false", "off", "no", "0"].contains(&value))
    {
        return Err(Fault::fatal("0A000", "replication is not supported"));
    }
    let principal = authenticate(wire, user, peer, shared).await?;
    let (session, guard) = shared.service.open(&principal, Door::Postgres, peer)?;
    let session = session_of(session, parameters, shared).await?;
    message::authentication(&mut wire.output, 0, &[]);
    Ok((session, guard))
}

async fn authenticate(
    wire: &mut Wire,
    user: &str,
    peer: IpAddr,
    shared: &Shared,
) -> Result<Principal, Fault> {
    let clear = match shared.options.authentication {
        Authentication::Auto => wire.is_encrypted(),
        Authentication::Scram => false,
        Authentication::Password => true,
    };
    if clear && !wire.is_encrypted() && !peer.is_loopback() {
        return Err(Fault::fatal("28000", "a password is taken over TLS only")
            .with_hint("connect with sslmode=require"));
    }
    let origin = Origin {
        address: peer,
        door: Door::Postgres.name(),
    };
    if !clear {
        return scram(wire, user, origin, shared).await;
    }
    message::authentication(&mut wire.output, CLEARTEXT, &[]);
    wire.flush().await?;
    let mut body = password(wire).await?;
    let secret = SecretString::from(message::text(&mut body)?);
    let checked = shared.service.control.authenticate(user, &secret, origin);
    let checked = wire.beside(Box::pin(checked)).await?;
    checked.map_err(|error| refusal(&error, user))
}

// Codes of `Authentication…` messages.
const CLEARTEXT: u32 = 3;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// SCRAM-SHA-256 without channel binding. Source: PostgreSQL 15, "SASL Authentication".
async fn scram(
    wire: &mut Wire,
    user: &str,
    origin: Origin,
    shared: &Shared,
) -> Result<Principal, Fault> {
    let mut exchange = shared.service.control.scram(user, origin);
    let mechanism = exchange.mechanism();
    let mut list = mechanism.as_bytes().to_vec();
    list.extend_from_slice(b"\0\0");
    message::authentication(&mut wire.output, SASL, &list);
    wire.flush().await?;
    let mut body = password(wire).await?;
    let chosen = message::text(&mut body)?;
    if chosen != mechanism {
        return Err(Fault::fatal(
            "08P01",
            "client selected an invalid SASL authentication mechanism",
        ));
    }
    if body.remaining() < 4 || usize::try_from(body.get_i32()).ok() != Some(body.remaining()) {
        return Err(Fault::fatal("08P01", "malformed SASL message"));
    }
    let challenge = wire.beside(Box::pin(exchange.first(&body))).await?;
    let challenge = challenge.map_err(|error| refusal(&error, user))?;
    message::authentication(&mut wire.output, SASL_CONTINUE, &challenge);
    wire.flush().await?;
    let body = password(wire).await?;
    let ended = wire.beside(Box::pin(exchange.last(&body))).await?;
    let (outcome, principal) = ended.map_err(|error| refusal(&error, user))?;
    message::authentication(&mut wire.output, SASL_FINAL, &outcome);
    Ok(principal)
}

/// The body of the client's next `PasswordMessage` or SASL message.
async fn password(wire: &mut Wire) -> Result<Bytes, Fault> {
    let frame = wire.next().await?;
    match message::read(frame.tag, frame.body)? {
        Message::Password(body) => Ok(body),
        Message::Terminate => Err(Fault::Gone),
        _ => Err(Fault::fatal("08P01", "expected a password")),
    }
}

fn denied(user: &str) -> Fault {
    Fault::fatal(
        "28P01",
        format!("password authentication failed for user \"{user}\""),
    )
}

fn refusal(error: &AuthError, user: &str) -> Fault {
    match error {
        AuthError::Denied => denied(user),
        AuthError::Malformed { .. } => Fault::fatal("08P01", error.to_string()),
        AuthError::TooMany { .. } => Fault::fatal("28000", error.to_string()),
        AuthError::Busy => Fault::fatal("53300", error.to_string()),
        // The database fails, or a kind that is not known here.
        _ => {
            tracing::error!(%error, "authentication cannot be decided");
            Fault::fatal("57P03", "authentication cannot be decided now")
                .with_hint("try again; the server's log says why")
        }
    }
}

/// The session that the parameters ask for.
async fn session_of(
    mut session: Session,
    parameters: &Parameters,
    shared: &Shared,
) -> Result<Session, Fault> {
    let service = &shared.service;
    let wanted = parameters
        .get("database")
        .filter(|name| !name.is_empty())
        .unwrap_or(&session.user)
        .to_owned();
    let catalogs = service.engine.catalog_names();
    if catalogs.contains(&wanted) {
        session.catalog = wanted;
    } else if wanted != session.user && wanted != "postgres" {
        // Clients that name no database send the user's name, and some try "postgres".
        return Err(
            Fault::fatal("3D000", format!("database \"{wanted}\" does not exist"))
                .with_hint(format!("databases are catalogs: {}", catalogs.join(", "))),
        );
    }
    let admin = if session.is_admin { "on" } else { "off" };
    session.settings.fix("is_superuser", admin);
    session.settings.fix("session_authorization", &session.user);
    let mut asked: HashMap<String, String> = HashMap::new();
    if let Some(options) = parameters.get("options") {
        asked.extend(command_line(options)?);
    }
    for (name, value) in &parameters.values {
        if !["user", "database", "options", "replication"].contains(&name.as_str()) {
            asked.insert(name.to_lowercase(), value.clone());
        }
    }
    for (name, value) in asked {
        service
            .engine
            .set(&mut session, &name, Some(&value))
            .boxed()
            .await?;
    }
    Ok(session)
}

/// `-c name=value --other=value`; a backslash keeps the next character.
fn command_line(options: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let mut settings = vec![];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next()
        } else {
            let rest = word.strip_prefix("--").or_else(|| word.strip_prefix("-c"));
            rest.map(ToOwned::to_owned)
        };
        let pair = setting.as_deref().and_then(|text| text.split_once('='));
        let Some((name, value)) = pair else {
            return Err(Fault::fatal(
                "42601",
                format!("invalid command-line argument \"{word}\" in options"),
            )
            .with_hint("options are -c name=value"));
        };
        settings.push((name.replace('-', "_").to_lowercase(), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Bytes {
        let mut out = code.to_be_bytes().to_vec();
        out.extend_from_slice(rest);
        Bytes::from(out)
    }

    #[test]
    fn start_up_packets_are_told_apart() {
        assert!(matches!(read(packet(SSL, b"")), Ok(Request::Ssl)));
        assert!(matches!(
            read(packet(CANCEL, b"\0\0\0\x07\xff\xff\xff\xff")),
            Ok(Request::Cancel {
                process: 7,
                secret: -1
            })
        ));
        assert!(read(packet(CANCEL, b"\0")).is_err());
        let Ok(Request::Start(parameters)) =
            read(packet(0x0003_0002, b"user\0ann\0_pq_.x\0y\0options\0\0\0"))
        else {
            panic!()
        };
        assert_eq!(parameters.minor, 2);
        assert_eq!(parameters.get("user"), Some("ann"));
        assert_eq!(parameters.unknown, ["_pq_.x"]);
        for bad in [&b"user\0ann\0"[..], b"user\0", b"", b"user\0ann\0\0x"] {
            assert!(read(packet(0x0003_0000, bad)).is_err(), "{bad:?}");
        }
        assert!(read(packet(0x0002_0000, b"\0")).is_err());
    }

    #[test]
    fn options_are_settings_of_a_command_line() {
        let got =
            command_line("-c search_path=a\\ b --statement-timeout=5s  -cDateStyle=ISO").unwrap();
        let wanted = [
            ("search_path", "a b"),
            ("statement_timeout", "5s"),
            ("datestyle", "ISO"),
        ];
        let got: Vec<_> = got.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(got, wanted);
        assert!(command_line("-c").is_err());
        assert!(command_line("-x 1").is_err());
        assert!(command_line("").unwrap().is_empty());
    }
}
