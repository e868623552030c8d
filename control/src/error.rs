//! What can go wrong with identities, and whether trying again helps.

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
            Self::UnknownKind { .. } | Self::EmptyPassword | Self::PasswordTooLong { .. } => {
                ErrorCode::Invalid
            }
            Self::CreateFile { .. } | Self::TooNew { .. } => ErrorCode::Configuration,
            Self::UserNotFound { .. } => ErrorCode::NotFound,
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
            Self::Control(error) => error.code(),
        }
    }
}

/// The kinds of failure that doors tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The caller is not who it says. SQLSTATE 28P01, HTTP 401.
    Unauthenticated,
    /// The request cannot be carried out as it is.
    Invalid,
    /// What is named does not exist.
    NotFound,
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
            Self::Unavailable => true,
            Self::Unauthenticated
            | Self::Invalid
            | Self::NotFound
            | Self::Configuration
            | Self::Internal => false,
        }
    }
}
