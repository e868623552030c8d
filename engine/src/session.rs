//! What lasts from one statement of a client to the next.

use uuid::Uuid;

use crate::settings::Settings;

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
    /// Schema of names that have none.
    pub schema: String,
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
            settings: Settings::default(),
        }
    }
}
