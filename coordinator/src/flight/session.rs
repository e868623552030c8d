//! The sessions of this door: what a client set, prepared and has tickets for, and when all that ends.
//!
//! A session is named by a random token that is kept nowhere else. It is found again by the token as
//! bearer or as cookie, or by the connection that it was opened on. It ends when the client closes it, when
//! the server's rules say so (idle, killed), or a while after the last connection that used it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tarn_engine::Session;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::prepared::PreparedStatements;
use super::results::Shape;
use super::tickets::Tickets;
use super::wire::Connection;
use crate::sessions::SessionGuard;

/// What a session's token begins with; access tokens begin otherwise.
const TOKEN_PREFIX: &str = "tarn_flight_";
/// Random bytes of a session's token.
const TOKEN_BYTES: usize = 32;
/// How often abandoned sessions are looked for.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Tells credentials apart. Whose they are is checked besides.
pub(crate) type Fingerprint = [u64; 2];

/// Sessions that a connection holds, by the credentials that opened them, which are not kept.
#[derive(Debug, Default)]
pub(crate) struct Held {
    keys: [RandomState; 2],
    sessions: Mutex<HashMap<Fingerprint, Weak<FlightSession>>>,
}

/// Kinds of credentials on one connection at most; a gateway may carry several users.
const HELD_MAX: usize = 1000;

impl Held {
    /// The fingerprint of credentials, good on this connection only.
    pub(crate) fn fingerprint(&self, secret: &str) -> Fingerprint {
        [self.keys[0].hash_one(secret), self.keys[1].hash_one(secret)]
    }

    pub(crate) fn get(&self, credentials: &Fingerprint) -> Option<Arc<FlightSession>> {
        let held = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = held.get(credentials)?.upgrade()?;
        (!session.ended.is_cancelled()).then_some(session)
    }

    pub(crate) fn put(&self, credentials: Fingerprint, session: &Arc<FlightSession>) {
        let mut held = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD_MAX {
            held.retain(|_, session| session.strong_count() > 0);
        }
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(credentials, Arc::downgrade(session));
    }
}

/// One client's session.
pub(crate) struct FlightSession {
    /// Id of the user whose it is.
    pub(crate) owner: String,
    /// Statements that it prepared.
    pub(crate) prepared: PreparedStatements,
    /// Results that it may fetch.
    pub(crate) tickets: Tickets,
    /// Cancelled when it ends; whatever runs in it stops then.
    pub(crate) ended: CancellationToken,
    token: String,
    /// Its place in the registry of sessions; given back when it ends.
    guard: Mutex<Option<SessionGuard>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    session: Session,
    shape: Shape,
    used: Instant,
    connections: Vec<Weak<Connection>>,
    /// Whether the client has shown that it can name the session itself.
    named: bool,
}

impl fmt::Debug for FlightSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSession")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl FlightSession {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `USE` and `SET` have made of it so far.
    pub(crate) fn session(&self) -> Session {
        self.lock().session.clone()
    }

    /// Keeps what a statement made of `before`.
    pub(crate) fn changed(&self, before: &Session, after: Session) {
        if *before != after {
            self.lock().session = after;
        }
    }

    /// What types its client understands.
    pub(crate) fn shape(&self) -> Shape {
        self.lock().shape
    }

    pub(crate) fn set_shape(&self, shape: Shape) {
        self.lock().shape = shape;
    }

    /// Notes a call on `connection`; `named` if the client named the session by its token.
    pub(crate) fn touch(&self, connection: &Arc<Connection>, named: bool) {
        if let Some(guard) = &*self.guard.lock().unwrap_or_else(PoisonError::into_inner) {
            guard.touch();
        }
        let mut state = self.lock();
        state.used = Instant::now();
        state.named |= named;
        let known = state
            .connections
            .iter()
            .any(|c| std::ptr::eq(c.as_ptr(), Arc::as_ptr(connection)));
        if !known {
            state.connections.retain(|c| c.strong_count() > 0);
            state.connections.push(Arc::downgrade(connection));
        }
    }

    /// Whether nobody can come back to it, or has not for `linger` after its last connection.
    fn is_abandoned(&self, linger: Duration) -> bool {
        let state = self.lock();
        if state.connections.iter().any(|c| c.strong_count() > 0) || self.tickets.in_use() {
            return false;
        }
        !state.named || state.used.elapsed() >= linger
    }
}

/// All sessions of the door. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlightSessions {
    sessions: Arc<Mutex<Sessions>>,
}

/// Sessions by their tokens.
#[derive(Default)]
struct Sessions(HashMap<String, Arc<FlightSession>>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are secret.
        f.debug_list().entries(self.0.values()).finish()
    }
}

impl FlightSessions {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session, and gives it with its token.
    pub(crate) fn open(
        &self,
        owner: String,
        session: Session,
        guard: Option<SessionGuard>,
    ) -> (Arc<FlightSession>, String) {
        let secret: [u8; TOKEN_BYTES] = rand::random();
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let opened = Arc::new(FlightSession {
            owner,
            prepared: PreparedStatements::default(),
            tickets: Tickets::default(),
            ended: CancellationToken::new(),
            token: token.clone(),
            guard: Mutex::new(guard),
            state: Mutex::new(State {
                session,
                shape: Shape::default(),
                used: Instant::now(),
                connections: vec![],
                named: false,
            }),
        });
        self.lock().0.insert(token.clone(), Arc::clone(&opened));
        (opened, token)
    }

    /// The session with this token.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<FlightSession>> {
        let found = self.lock().0.get(token).cloned()?;
        (!found.ended.is_cancelled()).then_some(found)
    }

    /// Whether `token` looks like one of ours.
    pub(crate) fn is_token(token: &str) -> bool {
        token.starts_with(TOKEN_PREFIX)
    }

    /// Ends `session`: its statements stop, its tickets and prepared statements are gone.
    pub(crate) fn close(&self, session: &FlightSession) {
        self.lock().0.remove(&session.token);
        session.ended.cancel();
        session
            .guard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        session.tickets.clear();
        session.prepared.clear();
    }

    /// The sessions of a user.
    pub(crate) fn of_owner(&self, owner: &str) -> Vec<Arc<FlightSession>> {
        let sessions = self.lock();
        let own = sessions.0.values().filter(|s| s.owner == owner);
        own.cloned().collect()
    }

    /// Sessions there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().0.len()
    }

    /// Ends the sessions that nobody will come back to; old tickets of the others go, too.
    pub(crate) fn sweep(&self, linger: Duration) {
        let all: Vec<_> = self.lock().0.values().cloned().collect();
        for session in all {
            if session.ended.is_cancelled() || session.is_abandoned(linger) {
                self.close(&session);
            } else {
                session.tickets.forget_expired();
            }
        }
    }

    /// Ends the longest unused session of `owner` that has no connection; `false` if there is none.
    pub(crate) fn make_room(&self, owner: &str) -> bool {
        let all: Vec<_> = self.lock().0.values().cloned().collect();
        let oldest = all
            .into_iter()
            .filter(|s| s.owner == owner && s.is_abandoned(Duration::ZERO))
            .min_by_key(|s| s.lock().used);
        oldest.inspect(|session| self.close(session)).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn connection() -> Arc<Connection> {
        Arc::new(Connection::new(([127, 0, 0, 1], 1).into()))
    }

    fn opened(sessions: &FlightSessions) -> (Arc<FlightSession>, String) {
        sessions.open("ann".to_owned(), Session::new("ann", "lake", "main"), None)
    }

    #[test]
    fn a_session_is_found_by_its_token_until_it_is_closed() {
        let sessions = FlightSessions::default();
        let (session, token) = opened(&sessions);
        assert!(FlightSessions::is_token(&token));
        assert!(Arc::ptr_eq(&sessions.find(&token).unwrap(), &session));
        assert!(sessions.find("tarn_flight_other").is_none());
        sessions.close(&session);
        assert!(sessions.find(&token).is_none());
        assert!(session.ended.is_cancelled());
    }

    #[tokio::test]
    async fn a_named_session_outlives_its_connection_for_a_while() {
        let sessions = FlightSessions::default();
        let linger = Duration::from_millis(20);
        let (session, _) = opened(&sessions);
        let wire = connection();
        session.touch(&wire, true);
        tokio::time::sleep(linger * 2).await;
        sessions.sweep(linger);
        assert_eq!(sessions.count(), 1, "its connection is open");
        session.touch(&wire, true);
        drop(wire);
        sessions.sweep(linger);
        assert_eq!(sessions.count(), 1, "its client may come back");
        tokio::time::sleep(linger).await;
        sessions.sweep(linger);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_session_without_a_name_ends_with_its_connection() {
        let sessions = FlightSessions::default();
        let (session, _) = opened(&sessions);
        let wire = connection();
        session.touch(&wire, false);
        drop(wire);
        sessions.sweep(Duration::from_mins(1));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn room_is_made_among_ones_own_sessions_without_a_connection() {
        let sessions = FlightSessions::default();
        let (session, _) = opened(&sessions);
        let wire = connection();
        session.touch(&wire, true);
        assert!(!sessions.make_room("ann"));
        drop(wire);
        assert!(!sessions.make_room("bob"));
        assert!(sessions.make_room("ann"));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_statement_keeps_only_what_it_changed() {
        let sessions = FlightSessions::default();
        let (session, _) = opened(&sessions);
        let before = session.session();
        let mut other = before.clone();
        other.schema = "sales".to_owned();
        session.changed(&before, other);
        session.changed(&before, before.clone());
        assert_eq!(session.session().schema, "sales");
    }
}
