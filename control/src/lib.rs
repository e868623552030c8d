//! Identities: who a caller is, and the metadata database that says so.
//!
//! Knows users and passwords. Knows nothing of plans, Arrow or Iceberg: what a
//! principal may do with a table is asked in names, never in table types.

mod database;
mod error;
mod limits;
mod login;
mod password;
mod scram;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod welcome;

pub use error::{AuthError, ControlError, ErrorCode};
pub use limits::{Allowance, LoginLimits};
pub use login::{Origin, ScramExchange};
pub use token::{CreatedToken, NewToken, TOKEN_PREFIX, Token};
pub use user::{AdminBootstrap, NewUser, Principal, User, UserChange, UserId, UserKind};
pub use welcome::Welcome;

use std::sync::Arc;

use governor::clock::DefaultClock;
use secrecy::SecretString;

use database::Database;
use limits::Limits;
use password::Passwords;

/// Name of the user that exists from the first start on.
pub const ADMIN_NAME: &str = "admin";

/// The identities of one installation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    database: Database,
    passwords: Passwords,
    limits: Limits,
    scram_secret: [u8; 32],
}

impl Control {
    /// Opens the metadata database at `url` and brings its tables up to date.
    ///
    /// `url` is `sqlite:///absolute/path/control.db` (created if missing, readable
    /// by its owner only) or `postgres://user:password@host:port/database`. Several
    /// processes may open one database at once; its tables are prefixed `tarn_`. `limits` say how many
    /// logins may fail in this process.
    ///
    /// # Errors
    /// [`ControlError::Open`] if the database cannot be reached,
    /// [`ControlError::TooNew`] if a newer Tarn has migrated it.
    pub async fn open(url: &str, limits: LoginLimits) -> Result<Self, ControlError> {
        let database = Database::open(url).await?;
        let passwords = Passwords::new().await?;
        let scram_secret = database.secret("scram mock salt").await?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                passwords,
                limits: Limits::new(&limits, DefaultClock::default()),
                scram_secret,
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

    /// The principal with this name, if the password is right or is one of its tokens.
    ///
    /// An unknown user, a wrong password, a disabled or expired user give the same answer after the
    /// same work. A right password is remembered for a minute, so that a client that sends it with
    /// every request does not pay for a hash each time; that a user was changed, disabled or dropped
    /// is noticed at once, by every process on the database.
    ///
    /// Only failures count against the limits, in this process: by account and address, by address,
    /// and by account. One address cannot lock an account for the others.
    ///
    /// # Errors
    /// [`AuthError::Denied`] if they do not match; [`AuthError::TooMany`] after too many failures,
    /// with the time to wait; [`AuthError::Busy`] (retryable) if too many passwords are being
    /// checked; [`AuthError::Control`] if the database fails.
    pub async fn authenticate(
        &self,
        name: &str,
        password: &SecretString,
        origin: Origin,
    ) -> Result<Principal, AuthError> {
        login::by_password(&self.inner, name, password, origin).await
    }

    /// The principal whose personal access token this is.
    ///
    /// # Errors
    /// As for [`Control::authenticate`].
    pub async fn authenticate_token(
        &self,
        token: &SecretString,
        origin: Origin,
    ) -> Result<Principal, AuthError> {
        login::by_token(&self.inner, None, token, origin).await
    }

    /// Begins a SCRAM-SHA-256 login of user `name`, with its password or one of its tokens.
    ///
    /// A token proves itself over SCRAM only while the user's salt is the one of its making: a
    /// password given as a verifier (psql's `\password`) brings another salt, after which older
    /// tokens need a door that gets them in clear text (over TLS) or as Bearer.
    pub fn scram(&self, name: &str, origin: Origin) -> ScramExchange {
        ScramExchange::new(self, name, origin)
    }

    /// All users, for listings that everybody may see, ordered by name.
    ///
    /// # Errors
    /// [`ControlError::Query`] if the database fails.
    pub async fn users(&self) -> Result<Vec<User>, ControlError> {
        user::all(&self.inner.database).await
    }

    /// The users that `by` may see in detail: all for an administrator, otherwise itself.
    ///
    /// # Errors
    /// [`ControlError::Query`] if the database fails.
    pub async fn visible_users(&self, by: &str) -> Result<Vec<User>, ControlError> {
        user::visible(&self.inner.database, by).await
    }

    /// Who may stay of those that have logged in before.
    ///
    /// # Errors
    /// [`ControlError::Query`] if the database fails.
    pub async fn welcome(&self) -> Result<Welcome, ControlError> {
        welcome::read(&self.inner.database).await
    }

    /// Creates a user for the administrator `by`.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`], [`ControlError::UserExists`], [`ControlError::UnusableName`],
    /// or an unusable password; [`ControlError::Query`] if the database fails.
    pub async fn create_user(&self, by: &str, new: NewUser) -> Result<User, ControlError> {
        user::create(&self.inner.database, &self.inner.passwords, by, new).await
    }

    /// Changes the user `name` for `by`, an administrator, or itself if only the password changes.
    /// Gives the user after it.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`]; [`ControlError::UserNotFound`]; [`ControlError::LastAdmin`] if
    /// nobody could administer the installation afterwards; otherwise as for
    /// [`Control::create_user`].
    pub async fn alter_user(
        &self,
        by: &str,
        name: &str,
        change: UserChange,
    ) -> Result<User, ControlError> {
        user::alter(
            &self.inner.database,
            &self.inner.passwords,
            by,
            name,
            change,
        )
        .await
    }

    /// Drops the user `name` and its tokens for the administrator `by`, who cannot be the user.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`], [`ControlError::UserNotFound`], [`ControlError::CurrentUser`],
    /// [`ControlError::LastAdmin`]; [`ControlError::Query`] if the database fails.
    pub async fn drop_user(&self, by: &str, name: &str) -> Result<UserId, ControlError> {
        user::drop(&self.inner.database, by, name).await
    }

    /// Gives the user `name` a new password, asking nobody.
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

    /// Makes a token for `by`: its own, or an administrator somebody else's.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`], [`ControlError::UserNotFound`], [`ControlError::TokenExists`],
    /// [`ControlError::TooManyTokens`], [`ControlError::ExpiresInThePast`];
    /// [`ControlError::Query`] if the database fails.
    pub async fn create_token(
        &self,
        by: &str,
        new: NewToken,
    ) -> Result<CreatedToken, ControlError> {
        token::create(&self.inner.database, by, new).await
    }

    /// The tokens of user `of`, or all that `by` may see: an administrator all, others their own.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`], [`ControlError::UserNotFound`]; [`ControlError::Query`] if the
    /// database fails.
    pub async fn tokens(&self, by: &str, of: Option<&str>) -> Result<Vec<Token>, ControlError> {
        token::list(&self.inner.database, by, of).await
    }

    /// Revokes the token `name` of user `of` at once, for its owner or an administrator.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`], [`ControlError::UserNotFound`],
    /// [`ControlError::TokenNotFound`]; [`ControlError::Query`] if the database fails.
    pub async fn revoke_token(&self, by: &str, of: &str, name: &str) -> Result<(), ControlError> {
        token::revoke(&self.inner.database, by, of, name).await
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
