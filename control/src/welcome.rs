//! Who may stay: what sessions that are open already are compared with from time to time.
//!
//! Knows users and tokens by id; opens and ends no session.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;

use crate::database::{Database, query};
use crate::error::ControlError;
use crate::user::{self, Principal, now_ms};

/// The users and tokens that were valid at one moment.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Name and whether an administrator, by id.
    users: HashMap<String, (String, bool)>,
    tokens: HashSet<String>,
}

impl Welcome {
    /// Whether somebody who has logged in before may go on as who they are: the user is still there
    /// under its name, may still log in, has not lost its administration, and the token that it came
    /// with is valid.
    pub fn includes(&self, principal: &Principal) -> bool {
        let user = self.users.get(principal.id.as_str());
        let same = user.is_some_and(|(name, is_admin)| {
            *name == principal.name && (*is_admin || !principal.is_admin)
        });
        let token = principal.token.as_ref();
        same && token.is_none_or(|token| self.tokens.contains(token))
    }

    /// Whether a user of this name may log in.
    pub fn is_name_in_use(&self, name: &str) -> bool {
        self.users.values().any(|(used, _)| used == name)
    }
}

pub(crate) async fn read(database: &Database) -> Result<Welcome, ControlError> {
    let now_ms = now_ms();
    let users = user::all(database).await?.into_iter();
    let users = users
        .filter(|user| user.is_usable(now_ms))
        .map(|user| (user.id.to_string(), (user.name, user.is_admin)))
        .collect();
    let rows =
        sqlx::query("SELECT id FROM tarn_tokens WHERE expires_at_ms IS NULL OR expires_at_ms > $1")
            .bind(now_ms)
            .fetch_all(database.pool())
            .await
            .map_err(query("read tokens"))?;
    let tokens = rows
        .iter()
        .map(|row| row.try_get("id").map_err(query("read tokens")))
        .collect::<Result<_, _>>()?;
    Ok(Welcome { users, tokens })
}
