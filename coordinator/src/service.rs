//! What every door works with, in one value that is cheap to clone.
//!
//! Knows no protocol.

use std::net::IpAddr;

use tarn_catalog::ManifestCache;
use tarn_control::{Control, Principal};
use tarn_engine::{Engine, EngineError, Session};
use uuid::Uuid;

use crate::sessions::{SessionGuard, Sessions};
use crate::statements::{Door, Statements};

/// The parts of a server that its doors share.
#[derive(Clone, Debug)]
pub struct Service {
    /// Runs statements.
    pub engine: Engine,
    /// The registry they go through.
    pub statements: Statements,
    /// Sessions of clients that come back.
    pub sessions: Sessions,
    /// Who may come in.
    pub control: Control,
    /// For `/metrics`.
    pub cache: ManifestCache,
    /// Catalog of a new session.
    pub default_catalog: String,
    /// Schema of a new session.
    pub default_schema: String,
}

impl Service {
    /// A fresh session of `principal` in the default catalog and schema.
    pub fn session(&self, principal: &Principal) -> Session {
        let mut session =
            Session::new(&principal.name, &self.default_catalog, &self.default_schema);
        session.is_admin = principal.is_admin;
        session
    }

    /// The kept session `id` of `principal`, or a fresh one.
    pub fn resume(&self, principal: &Principal, id: Option<Uuid>) -> Session {
        let kept = id.and_then(|id| self.sessions.get(&principal.name, id));
        let mut session = kept.unwrap_or_else(|| self.session(principal));
        // What the user may do is what it may do now.
        session.is_admin = principal.is_admin;
        session
    }

    /// Opens a session of a connection, which ends when the guard is dropped.
    ///
    /// # Errors
    /// [`tarn_engine::ErrorKind::TooManySessions`].
    pub fn open(
        &self,
        principal: &Principal,
        door: Door,
        address: IpAddr,
    ) -> Result<(Session, SessionGuard), EngineError> {
        let guard = self.sessions.open(principal, door, address)?;
        let mut session = self.session(principal);
        session.id = guard.id();
        Ok((session, guard))
    }
}
