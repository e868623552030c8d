//! Users and tokens: what the engine asks of whoever keeps them.
//!
//! Every change names who asks for it; whether they may is decided there, not here. Knows neither
//! hashes nor the database, only secrets on their way in and one on its way out.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{ArrayRef, BooleanArray, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::record_batch::RecordBatch;
use secrecy::SecretString;

use crate::error::EngineError;

/// What a role stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// A person.
    User,
    /// A program.
    Service,
}

impl RoleKind {
    /// As `system.users` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Service => "SERVICE",
        }
    }
}

/// A user or service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name; case matters.
    pub name: String,
    /// A person or a program.
    pub kind: RoleKind,
    /// Whether it may administer others.
    pub is_admin: bool,
    /// Whether it is kept from logging in.
    pub disabled: bool,
    /// Whether it can log in with a password.
    pub has_password: bool,
    /// From when on it cannot log in.
    pub valid_until: Option<DateTime<Utc>>,
    /// What administrators wrote about it.
    pub comment: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// A role to be created.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// A person or a program.
    pub kind: RoleKind,
    /// Its password.
    pub password: Option<SecretString>,
    /// Whether it may administer others.
    pub is_admin: bool,
    /// Whether it is kept from logging in.
    pub disabled: bool,
    /// From when on it cannot log in.
    pub valid_until: Option<DateTime<Utc>>,
    /// What it is for.
    pub comment: Option<String>,
}

/// What to change of a role; `None` leaves as it is.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::option_option,
    reason = "as it is, none, and a value are three things"
)]
pub struct RoleChange {
    /// The new password; `Some(None)` takes it away.
    pub password: Option<Option<SecretString>>,
    /// The new name.
    pub name: Option<String>,
    /// Whether it may administer others.
    pub is_admin: Option<bool>,
    /// Whether it is kept from logging in.
    pub disabled: Option<bool>,
    /// From when on it cannot log in; `Some(None)` is never.
    pub valid_until: Option<Option<DateTime<Utc>>>,
    /// What it is for; `Some(None)` takes it away.
    pub comment: Option<Option<String>>,
}

/// A personal access token, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Whose it is.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
    /// What it is for.
    pub comment: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it lets nobody in.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was used last, give or take some minutes.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose it will be.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
    /// From when on it lets nobody in.
    pub expires_at: Option<DateTime<Utc>>,
    /// What it is for.
    pub comment: Option<String>,
}

/// Keeps users and tokens. `by` is the name of the user who asks.
#[async_trait]
pub trait Identities: Debug + Send + Sync {
    /// All roles, by name; what everybody may know of them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::StorageUnavailable`] if they cannot be read; so for all others.
    async fn roles(&self) -> Result<Vec<Role>, EngineError>;

    /// The roles that `by` may see in detail.
    ///
    /// # Errors
    /// As [`Identities::roles`].
    async fn visible_roles(&self, by: &str) -> Result<Vec<Role>, EngineError>;

    /// Creates a role.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::DuplicateObject`],
    /// [`crate::ErrorKind::InvalidParameter`].
    async fn create_user(&self, by: &str, new: NewRole) -> Result<(), EngineError>;

    /// Changes a role.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::UndefinedObject`],
    /// [`crate::ErrorKind::DuplicateObject`], [`crate::ErrorKind::InvalidParameter`],
    /// [`crate::ErrorKind::ObjectInUse`] for the last administrator.
    async fn alter_user(&self, by: &str, name: &str, change: RoleChange)
    -> Result<(), EngineError>;

    /// Drops a role, its tokens and its sessions.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::UndefinedObject`],
    /// [`crate::ErrorKind::ObjectInUse`].
    async fn drop_user(&self, by: &str, name: &str) -> Result<(), EngineError>;

    /// Makes a token and gives it out this once.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::UndefinedObject`],
    /// [`crate::ErrorKind::DuplicateObject`], [`crate::ErrorKind::InvalidParameter`],
    /// [`crate::ErrorKind::LimitReached`].
    async fn create_token(&self, by: &str, new: NewToken) -> Result<SecretString, EngineError>;

    /// The tokens of `of`, or all that `by` may see.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::UndefinedObject`].
    async fn tokens(&self, by: &str, of: Option<&str>) -> Result<Vec<TokenInfo>, EngineError>;

    /// Revokes a token of `of`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`], [`crate::ErrorKind::UndefinedObject`].
    async fn revoke_token(&self, by: &str, of: &str, name: &str) -> Result<(), EngineError>;
}

/// The rows of `system.users`.
///
/// # Errors
/// [`crate::ErrorKind::Internal`] if the rows do not fit their schema.
pub fn users_view(roles: &[Role]) -> Result<RecordBatch, EngineError> {
    let text = |f: fn(&Role) -> Option<&str>| -> ArrayRef {
        Arc::new(roles.iter().map(f).collect::<StringArray>())
    };
    let flag = |f: fn(&Role) -> bool| -> ArrayRef {
        Arc::new(
            roles
                .iter()
                .map(|role| Some(f(role)))
                .collect::<BooleanArray>(),
        )
    };
    let time = |f: fn(&Role) -> Option<DateTime<Utc>>| -> ArrayRef { times(roles.iter().map(f)) };
    Ok(RecordBatch::try_from_iter_with_nullable(vec![
        ("user_name", text(|r| Some(&r.name)), false),
        ("kind", text(|r| Some(r.kind.name())), false),
        ("is_admin", flag(|r| r.is_admin), false),
        ("is_disabled", flag(|r| r.disabled), false),
        ("has_password", flag(|r| r.has_password), false),
        ("valid_until", time(|r| r.valid_until), true),
        ("comment", text(|r| r.comment.as_deref()), true),
        ("created_at", time(|r| Some(r.created_at)), false),
        ("updated_at", time(|r| Some(r.updated_at)), false),
    ])?)
}

/// The rows of `system.tokens`.
///
/// # Errors
/// [`crate::ErrorKind::Internal`] if the rows do not fit their schema.
pub fn tokens_view(tokens: &[TokenInfo]) -> Result<RecordBatch, EngineError> {
    let text = |f: fn(&TokenInfo) -> Option<&str>| -> ArrayRef {
        Arc::new(tokens.iter().map(f).collect::<StringArray>())
    };
    let time =
        |f: fn(&TokenInfo) -> Option<DateTime<Utc>>| -> ArrayRef { times(tokens.iter().map(f)) };
    Ok(RecordBatch::try_from_iter_with_nullable(vec![
        ("user_name", text(|t| Some(&t.user)), false),
        ("token_name", text(|t| Some(&t.name)), false),
        ("comment", text(|t| t.comment.as_deref()), true),
        ("created_at", time(|t| Some(t.created_at)), false),
        ("expires_at", time(|t| t.expires_at), true),
        ("last_used_at", time(|t| t.last_used_at), true),
    ])?)
}

/// A column of moments.
pub(crate) fn times(values: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let array: TimestampMicrosecondArray = values
        .map(|value| value.map(|at| at.timestamp_micros()))
        .collect();
    Arc::new(array.with_timezone("UTC"))
}
