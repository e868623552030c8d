//! The engine's questions about users and tokens, answered by `control`.
//!
//! Translates types and errors, and ends the sessions of who is no longer welcome. Decides nothing
//! about who may do what.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tarn_control::{Control, ControlError, ErrorCode, NewUser, Token, User, UserChange, UserKind};
use tarn_engine::{
    EngineError, ErrorKind, Identities, NewRole, NewToken, Role, RoleChange, RoleKind, TokenInfo,
};

use crate::sessions::Sessions;

/// Answers from the metadata database.
#[derive(Clone, Debug)]
pub struct ControlIdentities {
    control: Control,
    sessions: Sessions,
}

impl ControlIdentities {
    /// Identities of `control`; a user that is dropped or disabled loses its `sessions`.
    pub fn new(control: Control, sessions: Sessions) -> Self {
        Self { control, sessions }
    }

    /// Ends sessions of users that may not stay, now rather than at the next look.
    async fn sweep(&self) {
        if let Err(error) = self.sessions.check_users(&self.control).await {
            tracing::warn!(%error, "sessions cannot be compared with the users");
        }
    }
}

#[async_trait]
impl Identities for ControlIdentities {
    async fn roles(&self) -> Result<Vec<Role>, EngineError> {
        let users = self.control.users().await.map_err(|e| engine_error(&e))?;
        Ok(users.into_iter().map(role).collect())
    }

    async fn visible_roles(&self, by: &str) -> Result<Vec<Role>, EngineError> {
        let users = self.control.visible_users(by).await;
        let users = users.map_err(|e| engine_error(&e))?;
        Ok(users.into_iter().map(role).collect())
    }

    async fn create_user(&self, by: &str, new: NewRole) -> Result<(), EngineError> {
        let new = NewUser {
            name: new.name,
            kind: match new.kind {
                RoleKind::User => UserKind::User,
                RoleKind::Service => UserKind::Service,
            },
            password: new.password,
            is_admin: new.is_admin,
            disabled: new.disabled,
            valid_until_ms: new.valid_until.map(millis),
            comment: new.comment,
        };
        let created = self.control.create_user(by, new).await;
        created.map(drop).map_err(|e| engine_error(&e))
    }

    async fn alter_user(
        &self,
        by: &str,
        name: &str,
        change: RoleChange,
    ) -> Result<(), EngineError> {
        let change = UserChange {
            password: change.password,
            name: change.name,
            is_admin: change.is_admin,
            disabled: change.disabled,
            valid_until_ms: change.valid_until.map(|until| until.map(millis)),
            comment: change.comment,
        };
        let altered = self.control.alter_user(by, name, change).await;
        altered.map_err(|e| engine_error(&e))?;
        self.sweep().await;
        Ok(())
    }

    async fn drop_user(&self, by: &str, name: &str) -> Result<(), EngineError> {
        let dropped = self.control.drop_user(by, name).await;
        dropped.map_err(|e| engine_error(&e))?;
        self.sweep().await;
        Ok(())
    }

    async fn create_token(&self, by: &str, new: NewToken) -> Result<SecretString, EngineError> {
        let new = tarn_control::NewToken {
            user: new.user,
            name: new.name,
            expires_at_ms: new.expires_at.map(millis),
            comment: new.comment,
        };
        let created = self.control.create_token(by, new).await;
        Ok(created.map_err(|e| engine_error(&e))?.secret)
    }

    async fn tokens(&self, by: &str, of: Option<&str>) -> Result<Vec<TokenInfo>, EngineError> {
        let tokens = self.control.tokens(by, of).await;
        let tokens = tokens.map_err(|e| engine_error(&e))?;
        Ok(tokens.into_iter().map(token).collect())
    }

    async fn revoke_token(&self, by: &str, of: &str, name: &str) -> Result<(), EngineError> {
        let revoked = self.control.revoke_token(by, of, name).await;
        revoked.map_err(|e| engine_error(&e))?;
        self.sweep().await;
        Ok(())
    }
}

fn role(user: User) -> Role {
    Role {
        name: user.name,
        kind: match user.kind {
            UserKind::User => RoleKind::User,
            UserKind::Service => RoleKind::Service,
        },
        is_admin: user.is_admin,
        disabled: user.disabled,
        has_password: user.has_password,
        valid_until: user.valid_until_ms.map(moment),
        comment: user.comment,
        created_at: moment(user.created_at_ms),
        updated_at: moment(user.updated_at_ms),
    }
}

fn token(token: Token) -> TokenInfo {
    TokenInfo {
        user: token.user,
        name: token.name,
        comment: token.comment,
        created_at: moment(token.created_at_ms),
        expires_at: token.expires_at_ms.map(moment),
        last_used_at: token.last_used_at_ms.map(moment),
    }
}

fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

/// A moment beyond what can be shown is the last that can.
fn moment(at_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What a failure of `control` is to a client. Who handles it here logs what the client is not told.
fn engine_error(error: &ControlError) -> EngineError {
    let kind = match error.code() {
        ErrorCode::Invalid | ErrorCode::Protocol => ErrorKind::InvalidParameter,
        ErrorCode::NotFound => ErrorKind::UndefinedObject,
        ErrorCode::Exists => ErrorKind::DuplicateObject,
        ErrorCode::InUse => ErrorKind::ObjectInUse,
        ErrorCode::NotAllowed | ErrorCode::Unauthenticated => ErrorKind::Denied,
        ErrorCode::LimitReached => ErrorKind::LimitReached,
        ErrorCode::Unavailable | ErrorCode::TooManyFailures => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the metadata database failed");
            ErrorKind::StorageUnavailable
        }
        ErrorCode::Configuration | ErrorCode::Internal => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "identities failed");
            ErrorKind::Internal
        }
    };
    EngineError::new(kind, error.to_string())
}
