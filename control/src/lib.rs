//! Identities: who a caller is, and the metadata database that says so.
//!
//! Knows users and passwords. Knows nothing of plans, Arrow or Iceberg: what a
//! principal may do with a table is asked in names, never in table types.

mod database;
mod error;
mod password;
mod user;

pub use error::{AuthError, ControlError, ErrorCode};
pub use user::{AdminBootstrap, Principal, UserId};

use std::sync::Arc;

use secrecy::SecretString;

use database::Database;
use password::Passwords;

/// Name of the user that exists from the first start on.
pub const ADMIN_NAME: &str = "admin";

/// The identities of one installation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    passwords: Passwords,
}

impl Control {
    /// Opens the metadata database at `url` and brings its tables up to date.
    ///
    /// `url` is `sqlite:///absolute/path/control.db` (created if missing, readable
    /// by its owner only) or `postgres://user:password@host:port/database`. Several
    /// processes may open one database at once; its tables are prefixed `tarn_`.
    ///
    /// # Errors
    /// [`ControlError::Open`] if the database cannot be reached,
    /// [`ControlError::TooNew`] if a newer Tarn has migrated it.
    pub async fn open(url: &str) -> Result<Self, ControlError> {
        let database = Database::open(url).await?;
        let passwords = Passwords::new().await?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                passwords,
            }),
        })
    }

    /// Makes sure that the user [`ADMIN_NAME`] exists.
    ///
    /// With a `password`, the user has this password afterwards, whether it existed
    /// or not. Without one, a missing user is created with a generated password,
    /// which is returned this once and stored only as a hash; an existing user is
    /// left alone.
    ///
    /// # Errors
    /// [`ControlError::EmptyPassword`] or [`ControlError::PasswordTooLong`] for an
    /// unusable `password`; [`ControlError::Query`] if the database fails.
    pub async fn ensure_admin(
        &self,
        password: Option<SecretString>,
    ) -> Result<AdminBootstrap, ControlError> {
        user::ensure_admin(&self.inner.database, &self.inner.passwords, password).await
    }

    /// The principal with this name, if the password is right.
    ///
    /// An unknown user and a wrong password give the same answer after the same
    /// work. A right password is remembered for a minute, so that a client that
    /// sends it with every request does not pay for a hash each time; a changed
    /// password is noticed at once, by every process on the database.
    ///
    /// # Errors
    /// [`AuthError::Denied`] if they do not match, [`AuthError::Busy`] (retryable) if
    /// too many passwords are being checked, [`AuthError::Control`] if the
    /// database fails.
    pub async fn authenticate(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<Principal, AuthError> {
        user::authenticate(&self.inner.database, &self.inner.passwords, name, password).await
    }

    /// Gives the user `name` a new password.
    ///
    /// # Errors
    /// [`ControlError::UserNotFound`]; [`ControlError::EmptyPassword`] or
    /// [`ControlError::PasswordTooLong`]; [`ControlError::Query`] if the database fails.
    pub async fn set_password(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<(), ControlError> {
        user::set_password(&self.inner.database, &self.inner.passwords, name, password).await
    }

    /// Whether the metadata database answers; for readiness checks.
    ///
    /// # Errors
    /// [`ControlError::Query`] if it does not.
    pub async fn ping(&self) -> Result<(), ControlError> {
        self.inner.database.ping().await
    }

    /// Closes the connections; waits for statements that are running.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}
