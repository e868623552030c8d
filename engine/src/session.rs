//! What lasts from one statement of a client to the next.

use crate::settings::Settings;

/// A client's session. Cheap to clone; the door that owns it keeps the changed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who runs the statements.
    pub user: String,
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
            user: user.to_owned(),
            catalog: catalog.to_owned(),
            schema: schema.to_owned(),
            settings: Settings::default(),
        }
    }
}
