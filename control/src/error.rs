//! What can go wrong with identities, and whether trying again helps.

use std::time::Duration;

/// A failure of the metadata database or of a change to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The url names no kind of database that Tarn knows.
    #[error(
        "metadata url must begin with \"sqlite://\" or \"postgres://\", not {scheme:?}; see [metadata] url"
    )]
    UnknownKind {
        /// What the url begins with; the rest may hold a password.
        scheme: String,
    },
    /// The database did not accept a connection.
    #[error(
        "cannot open the metadata database {name:?}; check [metadata] url and that it is reachable"
    )]
    Open {
        /// The file, or host and database, without credentials.
        name: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The file of an embedded database cannot be created.
    #[error(
        "cannot create the metadata database file {path:?}; check that its folder exists and is writable"
    )]
    CreateFile {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database was migrated by a newer version.
    #[error(
        "the metadata database has schema version {found}, but this version of tarn knows {known}; use a newer tarn"
    )]
    TooNew {
        /// The version in the database.
        found: i64,
        /// The newest version this binary knows.
        known: i64,
    },
    /// A statement failed.
    #[error("cannot {what} in the metadata database")]
    Query {
        /// What was being done, e.g. `read user`.
        what: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// No such user.
    #[error("user {name:?} does not exist")]
    UserNotFound {
        /// The name asked for.
        name: String,
    },
    /// The name of a new user, or a user's new name, is in use.
    #[error("user {name:?} already exists")]
    UserExists {
        /// The name.
        name: String,
    },
    /// A name that no user or token can have.
    #[error("{name:?} cannot be the name of a {what}: {reason}")]
    UnusableName {
        /// `user` or `token`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The caller is no administrator, or no longer there.
    #[error("{what}")]
    NotAllowed {
        /// What only others may do, e.g. `only administrators may create users`.
        what: &'static str,
    },
    /// The change would leave nobody who can administer the installation.
    #[error(
        "\"{name}\" is the last administrator that has a password, is enabled and never expires; make another one first"
    )]
    LastAdmin {
        /// The user.
        name: String,
    },
    /// A user cannot drop itself.
    #[error("the current user cannot be dropped")]
    CurrentUser,
    /// The user has no token of this name.
    #[error("user {user:?} has no token {name:?}")]
    TokenNotFound {
        /// Whose token.
        user: String,
        /// The token's name.
        name: String,
    },
    /// The user has a token of this name already.
    #[error("user {user:?} has a token {name:?} already; revoke it or choose another name")]
    TokenExists {
        /// Whose token.
        user: String,
        /// The token's name.
        name: String,
    },
    /// The user has as many tokens as it may have.
    #[error("user {user:?} has {tokens_max} tokens, which is the limit; revoke one first")]
    TooManyTokens {
        /// Whose tokens.
        user: String,
        /// The bound.
        tokens_max: i64,
    },
    /// A token that would never be valid.
    #[error("the expiry of a token must lie in the future")]
    ExpiresInThePast,
    /// A password that would be taken for a token.
    #[error("a password cannot begin like a token")]
    PasswordLikeToken,
    /// A password that looks like a SCRAM verifier, but is not one that can be used.
    #[error("the SCRAM-SHA-256 verifier cannot be used: {reason}")]
    Verifier {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A password without characters.
    #[error("a password cannot be empty")]
    EmptyPassword,
    /// A password that costs too much to check.
    #[error("a password has at most {bytes_max} bytes")]
    PasswordTooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// The hash function failed, or a stored hash is no hash.
    #[error("cannot hash a password: {reason}")]
    Hash {
        /// What the hash function said; never the password.
        reason: String,
    },
}

impl ControlError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Open { .. } | Self::Query { .. } => ErrorCode::Unavailable,
            Self::UnknownKind { .. }
            | Self::EmptyPassword
            | Self::PasswordTooLong { .. }
            | Self::PasswordLikeToken
            | Self::Verifier { .. }
            | Self::UnusableName { .. }
            | Self::ExpiresInThePast => ErrorCode::Invalid,
            Self::CreateFile { .. } | Self::TooNew { .. } => ErrorCode::Configuration,
            Self::UserNotFound { .. } | Self::TokenNotFound { .. } => ErrorCode::NotFound,
            Self::UserExists { .. } | Self::TokenExists { .. } => ErrorCode::Exists,
            Self::NotAllowed { .. } => ErrorCode::NotAllowed,
            Self::LastAdmin { .. } | Self::CurrentUser => ErrorCode::InUse,
            Self::TooManyTokens { .. } => ErrorCode::LimitReached,
            Self::Hash { .. } => ErrorCode::Internal,
        }
    }
}

/// Why a caller is not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Unknown user or wrong password; which of the two is not said.
    #[error("user name or password is wrong")]
    Denied,
    /// Too many passwords are being checked at this moment.
    #[error("too many logins at once; try again")]
    Busy,
    /// Too many failed logins of this account or from this address. Also said to a caller whose
    /// password is right: nothing is checked until then.
    #[error(
        "too many failed logins; try again in {} s",
        retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)
    )]
    TooMany {
        /// How long to wait; not zero.
        retry_after: Duration,
    },
    /// The client breaks the rules of SCRAM.
    #[error("malformed SCRAM message: {reason}")]
    Malformed {
        /// Which rule.
        reason: &'static str,
    },
    /// The identities cannot be read.
    #[error("cannot check the password")]
    Control(#[source] ControlError),
}

impl AuthError {
    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Denied => ErrorCode::Unauthenticated,
            Self::Busy => ErrorCode::Unavailable,
            Self::TooMany { .. } => ErrorCode::TooManyFailures,
            Self::Malformed { .. } => ErrorCode::Protocol,
            Self::Control(error) => error.code(),
        }
    }
}

/// The kinds of failure that doors tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The caller is not who it says. SQLSTATE 28P01, HTTP 401.
    Unauthenticated,
    /// The caller must wait. SQLSTATE 28000, HTTP 429.
    TooManyFailures,
    /// The caller's messages break the protocol. SQLSTATE 08P01, HTTP 400.
    Protocol,
    /// The request cannot be carried out as it is. SQLSTATE 22023, HTTP 400.
    Invalid,
    /// What is named does not exist. SQLSTATE 42704, HTTP 404.
    NotFound,
    /// What is named exists already. SQLSTATE 42710, HTTP 409.
    Exists,
    /// It is needed as it is. SQLSTATE 55006, HTTP 409.
    InUse,
    /// The caller may not do this. SQLSTATE 42501, HTTP 403.
    NotAllowed,
    /// There is no room for one more. SQLSTATE 54000, HTTP 400.
    LimitReached,
    /// The installation must be changed first.
    Configuration,
    /// The same may succeed later.
    Unavailable,
    /// A defect.
    Internal,
}

impl ErrorCode {
    /// Whether the same call may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unavailable | Self::TooManyFailures => true,
            Self::Unauthenticated
            | Self::Protocol
            | Self::Invalid
            | Self::NotFound
            | Self::Exists
            | Self::InUse
            | Self::NotAllowed
            | Self::LimitReached
            | Self::Configuration
            | Self::Internal => false,
        }
    }
}
