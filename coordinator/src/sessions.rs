//! The registry of sessions of all doors: who is there, how many may be, and who must leave.
//!
//! A session is either a **connection**, which lives as long as the [`SessionGuard`] that its door
//! holds, or **kept** for an HTTP client that comes back and names it by an id of its own (the id
//! counts only together with the user). Connections are refused beyond a limit; of the kept ones,
//! which nobody says goodbye to, the one idle longest makes room.

mod backends;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::gauge;
use tarn_control::{Control, ControlError, Principal};
use tarn_engine::{EngineError, ErrorKind, Session, backend_pid};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::statements::{Door, Statements};

use backends::Activity;
pub(crate) use backends::{Admitted, Holdings};

/// A kept session unused for longer is forgotten, unless the idle timeout is shorter.
const KEPT_IDLE_MAX: Duration = Duration::from_hours(1);

/// Connections that only administrators may have beyond the limit of all, so that they can look.
const ADMIN_RESERVE: usize = 3;

/// Sessions are compared with the users this often: who is disabled elsewhere leaves within it.
const USERS_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// Idle sessions are looked for this often, unless the idle timeout is shorter.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How many sessions there may be, and how long they may do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions of one user at once.
    pub per_user: usize,
    /// Sessions at once.
    pub total: usize,
    /// A connection without a statement for longer is ended; `None` is never.
    pub idle_timeout: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            per_user: 2_000,
            total: 5_000,
            idle_timeout: None,
        }
    }
}

/// Why a session ends without the client asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// `KILL SESSION`.
    Killed,
    /// `pg_terminate_backend`.
    Terminated,
    /// Nothing happened for the idle timeout.
    Idle,
    /// The user or its token was dropped, disabled, renamed or demoted, or has expired.
    UserChanged,
}

impl SessionEnd {
    /// What a door tells its client before it closes the connection. Source: PostgreSQL,
    /// `admin_shutdown` and `idle_session_timeout`.
    pub fn error(self) -> EngineError {
        match self {
            Self::Killed => EngineError::new(
                ErrorKind::SessionEnded,
                "the session was ended by KILL SESSION",
            ),
            Self::Terminated => EngineError::new(
                ErrorKind::SessionEnded,
                "terminating connection due to administrator command",
            ),
            Self::Idle => EngineError::new(
                ErrorKind::IdleSession,
                "the session was ended because it was idle for too long",
            ),
            Self::UserChanged => EngineError::new(
                ErrorKind::SessionEnded,
                "the session was ended because its user or token has changed",
            ),
        }
    }
}

/// One session as `system.sessions` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    pub(crate) user: String,
    pub(crate) door: &'static str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) idle: Duration,
}

#[derive(Debug)]
struct Connection {
    id: Uuid,
    /// What its client knows it as.
    pid: i32,
    principal: Principal,
    door: &'static str,
    address: IpAddr,
    started_at: DateTime<Utc>,
    used: Mutex<Instant>,
    end: OnceLock<SessionEnd>,
    ended: CancellationToken,
    activity: Mutex<Activity>,
    /// Set by a door that tells what its sessions do.
    admitted: OnceLock<Admitted>,
}

impl Connection {
    fn end(&self, why: SessionEnd) {
        // The first reason counts.
        let _ = self.end.set(why);
        self.ended.cancel();
    }

    fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    fn idle(&self) -> Duration {
        lock(&self.used).elapsed()
    }
}

#[derive(Debug)]
struct Kept {
    session: Session,
    started_at: DateTime<Utc>,
    used: Instant,
}

#[derive(Debug, Default)]
struct Registry {
    connections: HashMap<Uuid, Arc<Connection>>,
    pids: HashSet<i32>,
    per_user: HashMap<String, usize>,
    kept: HashMap<(String, Uuid), Kept>,
}

/// The registry. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Mutex<Registry>,
    limits: SessionLimits,
    statements: OnceLock<Statements>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// An empty registry.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                ..Inner::default()
            }),
        }
    }

    /// Adds the statements: a session that runs one is not idle, and takes it along when it ends.
    pub fn attach(&self, statements: Statements) {
        // A second call changes nothing: there is one registry in a server.
        let _ = self.inner.statements.set(statements);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        lock(&self.inner.registry)
    }

    /// Opens a session of a connection; it lives as long as the guard.
    ///
    /// # Errors
    /// [`ErrorKind::TooManySessions`] if the user, or all together, have as many as they may.
    pub fn open(
        &self,
        principal: &Principal,
        door: Door,
        address: IpAddr,
    ) -> Result<SessionGuard, EngineError> {
        let limits = self.inner.limits;
        let mut registry = self.lock();
        let reserve = if principal.is_admin { ADMIN_RESERVE } else { 0 };
        let own = registry.per_user.get(&principal.name).copied();
        if own.unwrap_or(0) >= limits.per_user.saturating_add(reserve) {
            let text = format!(
                "user \"{}\" has {} sessions, which is the limit",
                principal.name, limits.per_user
            );
            return Err(EngineError::new(ErrorKind::TooManySessions, text)
                .with_hint("close some, or raise [limits] sessions_per_user"));
        }
        if registry.connections.len() >= limits.total.saturating_add(reserve) {
            let text = format!(
                "the server has {} sessions, which is the limit",
                limits.total
            );
            return Err(EngineError::new(ErrorKind::TooManySessions, text)
                .with_hint("try again later, or raise [limits] sessions"));
        }
        let id = Uuid::now_v7();
        let mut pid = backend_pid(&id.to_string());
        while !registry.pids.insert(pid) {
            pid = pid.checked_add(1).unwrap_or(1);
        }
        let connection = Arc::new(Connection {
            id,
            pid,
            principal: principal.clone(),
            door: door.name(),
            address,
            started_at: Utc::now(),
            used: Mutex::new(Instant::now()),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
            activity: Mutex::new(Activity::new()),
            admitted: OnceLock::new(),
        });
        *registry.per_user.entry(principal.name.clone()).or_default() += 1;
        registry
            .connections
            .insert(connection.id, Arc::clone(&connection));
        drop(registry);
        gauge!("tarn_sessions", "door" => connection.door).increment(1.0);
        Ok(SessionGuard {
            sessions: self.clone(),
            connection,
        })
    }

    fn closed(&self, connection: &Connection) {
        let mut registry = self.lock();
        registry.connections.remove(&connection.id);
        registry.pids.remove(&connection.pid);
        let name = &connection.principal.name;
        if let Some(count) = registry.per_user.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                registry.per_user.remove(name);
            }
        }
        drop(registry);
        gauge!("tarn_sessions", "door" => connection.door).decrement(1.0);
    }

    /// The kept session `id` of `user`, if it is still known.
    pub fn get(&self, user: &str, id: Uuid) -> Option<Session> {
        let mut registry = self.lock();
        let key = (user.to_owned(), id);
        let limit = self.kept_idle_max();
        if registry.kept.get(&key)?.used.elapsed() >= limit {
            registry.kept.remove(&key);
            return None;
        }
        let found = registry.kept.get_mut(&key)?;
        found.used = Instant::now();
        Some(found.session.clone())
    }

    /// Keeps what the session has become.
    pub fn put(&self, id: Uuid, session: Session) {
        let mut registry = self.lock();
        let limit = self.kept_idle_max();
        let key = (session.user.clone(), id);
        let started_at = registry.kept.get(&key).map(|kept| kept.started_at);
        if started_at.is_none() {
            let limits = self.inner.limits;
            let own = |(user, _): &(String, Uuid)| *user == session.user;
            if registry.kept.len() >= limits.total
                || registry.kept.keys().filter(|key| own(key)).count() >= limits.per_user
            {
                registry.kept.retain(|_, kept| kept.used.elapsed() < limit);
            }
            if registry.kept.keys().filter(|key| own(key)).count() >= limits.per_user {
                registry.forget_oldest(own);
            }
            if registry.kept.len() >= limits.total {
                registry.forget_oldest(|_| true);
            }
        }
        registry.kept.insert(
            key,
            Kept {
                session,
                started_at: started_at.unwrap_or_else(Utc::now),
                used: Instant::now(),
            },
        );
    }

    fn kept_idle_max(&self) -> Duration {
        let timeout = self.inner.limits.idle_timeout;
        timeout.map_or(KEPT_IDLE_MAX, |timeout| timeout.min(KEPT_IDLE_MAX))
    }

    /// All sessions, those that began first first.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let registry = self.lock();
        let limit = self.kept_idle_max();
        let connections = registry.connections.values().map(|connection| Listed {
            id: connection.id,
            user: connection.principal.name.clone(),
            door: connection.door,
            address: Some(connection.address),
            started_at: connection.started_at,
            idle: connection.idle(),
        });
        let kept = registry.kept.iter().map(|((user, id), kept)| Listed {
            id: *id,
            user: user.clone(),
            door: Door::Http.name(),
            address: None,
            started_at: kept.started_at,
            idle: kept.used.elapsed(),
        });
        let kept = kept.filter(|kept| kept.idle < limit);
        let mut all: Vec<Listed> = connections.chain(kept).collect();
        drop(registry);
        all.sort_by_key(|session| (session.started_at, session.id));
        all
    }

    /// Sessions of connections that are open.
    pub fn count(&self) -> usize {
        self.lock().connections.len()
    }

    /// Ends the session `id`, if `user` is given only one of that user; `false` if there is none.
    pub(crate) fn kill(&self, id: Uuid, user: Option<&str>) -> bool {
        let mut registry = self.lock();
        let may = |name: &str| user.is_none_or(|user| user == name);
        let connection = registry.connections.get(&id).map(Arc::clone);
        if let Some(connection) = connection.filter(|c| may(&c.principal.name)) {
            drop(registry);
            self.end(&connection, SessionEnd::Killed);
            return true;
        }
        let before = registry.kept.len();
        let mut ids = vec![];
        registry.kept.retain(|(name, key), kept| {
            let gone = *key == id && may(name);
            if gone {
                ids.push(kept.session.id);
            }
            !gone
        });
        let found = registry.kept.len() < before;
        drop(registry);
        for id in ids {
            self.cancel_statements(id);
        }
        found
    }

    fn end(&self, connection: &Connection, why: SessionEnd) {
        connection.end(why);
        self.cancel_statements(connection.id);
    }

    fn cancel_statements(&self, session: Uuid) {
        if let Some(statements) = self.inner.statements.get() {
            statements.cancel_session(session);
        }
    }

    /// Ends the connections that have been idle for the timeout.
    fn end_idle(&self) {
        let Some(timeout) = self.inner.limits.idle_timeout else {
            return;
        };
        let statements = self.inner.statements.get();
        let busy = statements
            .map(Statements::busy_sessions)
            .unwrap_or_default();
        let registry = self.lock();
        let connections: Vec<_> = registry.connections.values().map(Arc::clone).collect();
        drop(registry);
        for connection in connections {
            if busy.contains(&connection.id) {
                connection.touch();
            } else if connection.idle() >= timeout {
                self.end(&connection, SessionEnd::Idle);
            }
        }
    }

    /// Ends the sessions of users and tokens that may no longer be here.
    ///
    /// # Errors
    /// If the users cannot be read; then nothing is ended.
    pub async fn check_users(&self, control: &Control) -> Result<(), ControlError> {
        let welcome = control.welcome().await?;
        let mut registry = self.lock();
        let connections: Vec<_> = registry.connections.values().map(Arc::clone).collect();
        registry
            .kept
            .retain(|(user, _), _| welcome.is_name_in_use(user));
        drop(registry);
        for connection in connections {
            if !welcome.includes(&connection.principal) {
                self.end(&connection, SessionEnd::UserChanged);
            }
        }
        Ok(())
    }

    /// Watches idle times and users until the server's last [`Sessions`] is gone.
    pub fn watch(&self, control: Control) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(watch(inner, control));
    }
}

async fn watch(inner: Weak<Inner>, control: Control) {
    let mut checked = Instant::now();
    loop {
        let Some(sessions) = inner.upgrade().map(|inner| Sessions { inner }) else {
            return;
        };
        sessions.end_idle();
        if checked.elapsed() >= USERS_CHECK_INTERVAL && sessions.count() > 0 {
            checked = Instant::now();
            if let Err(error) = sessions.check_users(&control).await {
                tracing::warn!(%error, "sessions cannot be compared with the users");
            }
        }
        let timeout = sessions.inner.limits.idle_timeout;
        drop(sessions);
        let pause = timeout.map_or(IDLE_CHECK_INTERVAL, |timeout| {
            (timeout / 4).clamp(Duration::from_millis(100), IDLE_CHECK_INTERVAL)
        });
        tokio::time::sleep(pause).await;
    }
}

impl Registry {
    /// Forgets the kept session idle longest of those that `of` names.
    fn forget_oldest(&mut self, of: impl Fn(&(String, Uuid)) -> bool) {
        let candidates = self.kept.iter().filter(|(key, _)| of(key));
        let oldest = candidates.min_by_key(|(_, kept)| kept.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.kept.remove(&key);
        }
    }
}

/// A connection's place in the registry; dropping it closes the session.
pub struct SessionGuard {
    sessions: Sessions,
    connection: Arc<Connection>,
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("SessionGuard");
        debug
            .field("id", &self.connection.id)
            .finish_non_exhaustive()
    }
}

impl SessionGuard {
    /// The session's id: give it to the engine's [`Session`], so that its statements are known to
    /// belong to it.
    pub fn id(&self) -> Uuid {
        self.connection.id
    }

    /// Says that the client has asked for something: it is not idle. A running statement counts by
    /// itself.
    pub fn touch(&self) {
        self.connection.touch();
    }

    /// Resolves when the session must end, with the reason. Its statements are cancelled already.
    pub fn closed(&self) -> impl Future<Output = SessionEnd> + Send + 'static {
        let connection = Arc::clone(&self.connection);
        async move {
            connection.ended.cancelled().await;
            connection.end.get().copied().unwrap_or(SessionEnd::Killed)
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.closed(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    /// Users of a metadata database of their own, and their registry.
    struct Place {
        control: Control,
        sessions: Sessions,
        _folder: tempfile::TempDir,
    }

    async fn place(limits: SessionLimits) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("control.db").display());
        let control = Control::open(&url, tarn_control::LoginLimits::default())
            .await
            .unwrap();
        control.ensure_admin(Some("pw".into())).await.unwrap();
        Place {
            control,
            sessions: Sessions::new(limits),
            _folder: folder,
        }
    }

    fn home() -> IpAddr {
        [127, 0, 0, 1].into()
    }

    impl Place {
        async fn login(&self, name: &str) -> Principal {
            let origin = tarn_control::Origin {
                address: home(),
                door: "test",
            };
            let password = "pw".into();
            let login = self.control.authenticate(name, &password, origin);
            login.await.unwrap()
        }

        async fn user(&self, name: &str) -> Principal {
            let new = tarn_control::NewUser {
                name: name.to_owned(),
                kind: tarn_control::UserKind::User,
                password: Some("pw".into()),
                is_admin: false,
                disabled: false,
                valid_until_ms: None,
                comment: None,
            };
            self.control.create_user("admin", new).await.unwrap();
            self.login(name).await
        }

        fn open(&self, principal: &Principal) -> Result<SessionGuard, EngineError> {
            self.sessions.open(principal, Door::Postgres, home())
        }
    }

    fn limits(per_user: usize, total: usize) -> SessionLimits {
        SessionLimits {
            per_user,
            total,
            idle_timeout: None,
        }
    }

    #[test]
    fn a_kept_session_belongs_to_its_user() {
        let sessions = Sessions::default();
        let id = Uuid::from_u128(7);
        sessions.put(id, Session::new("ann", "lake", "sales"));
        assert_eq!(sessions.get("ann", id).unwrap().schema, "sales");
        assert!(sessions.get("bob", id).is_none());
    }

    #[test]
    fn the_number_of_kept_sessions_is_bounded_and_the_oldest_goes() {
        let sessions = Sessions::new(limits(10, 15));
        sessions.put(Uuid::nil(), Session::new("bob", "lake", "main"));
        for n in 1..=30 {
            sessions.put(Uuid::from_u128(n), Session::new("ann", "lake", "main"));
        }
        assert_eq!(sessions.list().len(), 11);
        assert!(sessions.get("ann", Uuid::from_u128(20)).is_none());
        assert!(sessions.get("ann", Uuid::from_u128(21)).is_some());
        assert!(sessions.get("bob", Uuid::nil()).is_some(), "ann made room");
        // What is kept already is never too many.
        for _ in 0..30 {
            sessions.put(Uuid::from_u128(30), Session::new("ann", "lake", "other"));
        }
        assert_eq!(sessions.list().len(), 11);
    }

    #[tokio::test]
    async fn connections_beyond_a_limit_are_refused_until_one_closes() {
        let place = place(limits(2, 3)).await;
        let (ann, bob) = (place.user("ann").await, place.user("bob").await);
        let first = place.open(&ann).unwrap();
        let _second = place.open(&ann).unwrap();
        let error = place.open(&ann).unwrap_err();
        assert_eq!(error.kind.sqlstate(), "53300");
        let _third = place.open(&bob).unwrap();
        let error = place.open(&bob).unwrap_err();
        assert!(error.message.contains("the server"), "{error}");
        // An administrator still gets in to look.
        let fourth = place.open(&place.login("admin").await).unwrap();
        drop(first);
        assert!(place.open(&ann).is_err(), "the server is still full");
        drop(fourth);
        place.open(&ann).unwrap();
        assert_eq!(place.sessions.count(), 2);
    }

    #[tokio::test]
    async fn a_killed_session_learns_why_and_only_its_user_or_an_administrator_kills_it() {
        let place = place(SessionLimits::default()).await;
        let ann = place.open(&place.user("ann").await).unwrap();
        let mut closed = pin!(ann.closed());
        assert!(closed.as_mut().now_or_never().is_none());
        assert!(!place.sessions.kill(ann.id(), Some("bob")));
        assert!(!place.sessions.kill(Uuid::nil(), None));
        assert!(closed.as_mut().now_or_never().is_none());
        assert!(place.sessions.kill(ann.id(), Some("ann")));
        assert_eq!(closed.await, SessionEnd::Killed);
        let id = Uuid::from_u128(7);
        place.sessions.put(id, Session::new("bob", "lake", "main"));
        assert!(!place.sessions.kill(id, Some("ann")));
        assert!(place.sessions.kill(id, None));
        assert!(place.sessions.get("bob", id).is_none());
    }

    #[tokio::test]
    async fn an_idle_connection_is_ended_and_a_used_one_is_not() {
        let timeout = Duration::from_millis(400);
        let place = place(SessionLimits {
            idle_timeout: Some(timeout),
            ..SessionLimits::default()
        })
        .await;
        place.sessions.watch(place.control.clone());
        let admin = place.login("admin").await;
        let (idle, used) = (place.open(&admin).unwrap(), place.open(&admin).unwrap());
        let began = Instant::now();
        let mut closed = pin!(idle.closed());
        let why = loop {
            used.touch();
            let pause = tokio::time::timeout(Duration::from_millis(20), closed.as_mut());
            if let Ok(why) = pause.await {
                break why;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "still open");
        };
        assert_eq!(why, SessionEnd::Idle);
        assert!(began.elapsed() >= timeout);
        assert!(used.closed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn sessions_of_users_that_changed_are_ended() {
        let place = place(SessionLimits::default()).await;
        let (ann, bob) = (place.user("ann").await, place.user("bob").await);
        let (ann, bob) = (place.open(&ann).unwrap(), place.open(&bob).unwrap());
        let kept = Uuid::from_u128(7);
        place
            .sessions
            .put(kept, Session::new("ann", "lake", "main"));
        place.sessions.check_users(&place.control).await.unwrap();
        assert!(ann.closed().now_or_never().is_none());
        let disabled = tarn_control::UserChange {
            disabled: Some(true),
            ..tarn_control::UserChange::default()
        };
        let altered = place.control.alter_user("admin", "ann", disabled);
        altered.await.unwrap();
        place.sessions.check_users(&place.control).await.unwrap();
        assert_eq!(ann.closed().await, SessionEnd::UserChanged);
        assert!(bob.closed().now_or_never().is_none());
        assert!(place.sessions.get("ann", kept).is_none());
    }
}
