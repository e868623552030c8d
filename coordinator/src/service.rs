//! What every door works with, in one value that is cheap to clone.
//!
//! Knows no protocol.

use tarn_catalog::ManifestCache;
use tarn_control::{Control, Principal};
use tarn_engine::{Engine, Session};

use crate::sessions::Sessions;
use crate::statements::Statements;

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
        Session::new(&principal.name, &self.default_catalog, &self.default_schema)
    }
}
