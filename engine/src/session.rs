//! What lasts from one statement of a client to the next.

use tarn_catalog::Namespace;
use uuid::Uuid;

use crate::settings::Settings;
use crate::temporary::TemporarySpace;

/// A client's session. Cheap to clone; the door that owns it keeps the changed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Tells it from other sessions of the same user.
    pub id: Uuid,
    /// Who runs the statements.
    pub user: String,
    /// Whether the user may manage the server.
    pub is_admin: bool,
    /// Catalog of names that have none.
    pub catalog: String,
    /// Schema of names that have none: the first of the search path.
    pub schema: String,
    /// Schemas after it in which names are looked up.
    pub path: Vec<String>,
    /// The session's temporary tables; clones of a session have the same ones.
    pub(crate) temporary: TemporarySpace,
    /// What `SET` changed.
    pub settings: Settings,
}

impl Session {
    /// A fresh session of `user` in `catalog`.`schema`.
    pub fn new(user: &str, catalog: &str, schema: &str) -> Self {
        Self {
            id: Uuid::now_v7(),
            is_admin: false,
            user: user.to_owned(),
            catalog: catalog.to_owned(),
            schema: schema.to_owned(),
            path: vec![],
            temporary: TemporarySpace::default(),
            settings: Settings::default(),
        }
    }

    /// Schemas in which unqualified names are looked up, in order; the session's temporary one, which
    /// comes before them, is not among them.
    pub fn search_path(&self) -> Vec<String> {
        let mut path = vec![self.schema.clone()];
        for schema in &self.path {
            if !path.contains(schema) {
                path.push(schema.clone());
            }
        }
        path
    }

    /// The schema that holds the session's temporary tables, if it has made some.
    pub(crate) fn temporary_namespace(&self) -> Option<Namespace> {
        self.temporary.existing()
    }
}
