//! Personal access tokens: made, shown once, listed, revoked, and found again by their hash.
//!
//! A token is 256 random bits, so a plain hash of it is as safe as the token itself, and nobody can
//! guess one however often they try. Beside the hash stands a SCRAM verifier with the salt of its
//! user, so that a client that only speaks SCRAM can use it as a password, too.

use std::fmt::Write as _;

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use uuid::Uuid;

use crate::database::{Database, query};
use crate::error::ControlError;
use crate::scram::{self, Verifier};
use crate::user::{self, Account, check_name, now_ms, without_nul};

/// What every token begins with, so that people and scanners recognise one.
pub const TOKEN_PREFIX: &str = "tarn_pat_";

/// Letters and digits after the prefix: 43 of 62 kinds are 256 bits.
const TOKEN_CHARACTERS: usize = 43;

/// Tokens of one user; each costs a comparison at a SCRAM login of the user.
const TOKENS_MAX: i64 = 100;

/// `last used` may be late by this much; it is not written at every use.
const LAST_USED_COARSE_MS: i64 = 5 * 60 * 1000;

/// How long an expired token stays in the list of its user.
const EXPIRED_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// A token as its owner sees it; the token itself is not kept. Times are milliseconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Identifies it for ever.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What its owner calls it; unique for the owner.
    pub name: String,
    /// What it is for.
    pub comment: Option<String>,
    /// When it was made.
    pub created_at_ms: i64,
    /// From when on it lets nobody in; never if missing.
    pub expires_at_ms: Option<i64>,
    /// When it was used last, give or take five minutes; never if missing.
    pub last_used_at_ms: Option<i64>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose it will be.
    pub user: String,
    /// What its owner calls it.
    pub name: String,
    /// From when on it lets nobody in, in milliseconds since 1970 (UTC).
    pub expires_at_ms: Option<i64>,
    /// What it is for.
    pub comment: Option<String>,
}

/// A token just made.
#[derive(Clone, Debug)]
pub struct CreatedToken {
    /// The token: show it once, then forget it.
    pub secret: SecretString,
    /// What is kept of it.
    pub token: Token,
}

/// A token that somebody came with.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) user_id: String,
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) last_used_at_ms: Option<i64>,
    /// Missing if it cannot be read.
    pub(crate) verifier: Option<Verifier>,
}

impl Found {
    pub(crate) fn is_valid(&self) -> bool {
        self.expires_at_ms.is_none_or(|at_ms| now_ms() < at_ms)
    }
}

/// Whether a password can only be a token.
pub(crate) fn is_token(password: &SecretString) -> bool {
    password.expose_secret().starts_with(TOKEN_PREFIX)
}

const CREATE_DENIED: &str = "only administrators may create tokens of other users";
const LIST_DENIED: &str = "only administrators may see the tokens of other users";
const REVOKE_DENIED: &str = "only administrators may revoke tokens of other users";

pub(crate) async fn create(
    database: &Database,
    by: &str,
    new: NewToken,
) -> Result<CreatedToken, ControlError> {
    check_name("token", &new.name)?;
    let now_ms = now_ms();
    if new.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        return Err(ControlError::ExpiresInThePast);
    }
    let random = Alphanumeric.sample_string(&mut rand::rng(), TOKEN_CHARACTERS);
    let secret = SecretString::from(format!("{TOKEN_PREFIX}{random}"));
    let mut change = database.begin().await?;
    let owner = owner(&mut change, by, &new.user, CREATE_DENIED).await?;
    make_room(&mut change, &owner, &new.name, now_ms).await?;
    let salt = salt(&mut change, &owner).await?;
    let verifier = Verifier::derive(secret.expose_secret(), &salt, owner.iterations());
    let token = Token {
        id: Uuid::now_v7().to_string(),
        user: owner.user.name.clone(),
        name: new.name,
        comment: new.comment.as_deref().map(without_nul),
        created_at_ms: now_ms,
        expires_at_ms: new.expires_at_ms,
        last_used_at_ms: None,
    };
    sqlx::query(
        "INSERT INTO tarn_tokens (id, user_id, name, token_hash, scram_verifier, comment,
                                  created_at_ms, expires_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&token.id)
    .bind(owner.user.id.as_str())
    .bind(&token.name)
    .bind(hash(&secret))
    .bind(verifier.to_text())
    .bind(&token.comment)
    .bind(token.created_at_ms)
    .bind(token.expires_at_ms)
    .execute(&mut *change)
    .await
    .map_err(query("create a token"))?;
    change.commit().await.map_err(query("create a token"))?;
    tracing::info!(user = token.user, token = token.name, by, "token created");
    Ok(CreatedToken { secret, token })
}

/// Refuses a second token of the name and one too many; forgets those that expired long ago.
async fn make_room(
    change: &mut AnyConnection,
    owner: &Account,
    name: &str,
    now_ms: i64,
) -> Result<(), ControlError> {
    let id = owner.user.id.as_str();
    sqlx::query("DELETE FROM tarn_tokens WHERE user_id = $1 AND expires_at_ms < $2")
        .bind(id)
        .bind(now_ms - EXPIRED_KEPT_MS)
        .execute(&mut *change)
        .await
        .map_err(query("forget expired tokens"))?;
    let row = sqlx::query(
        "SELECT COUNT(*) AS n, COUNT(CASE WHEN name = $2 THEN 1 END) AS same
         FROM tarn_tokens WHERE user_id = $1",
    )
    .bind(id)
    .bind(name)
    .fetch_one(&mut *change)
    .await
    .map_err(query("count tokens"))?;
    let count = |column: &str| row.try_get::<i64, _>(column).map_err(query("count tokens"));
    if count("same")? > 0 {
        return Err(ControlError::TokenExists {
            user: owner.user.name.clone(),
            name: name.to_owned(),
        });
    }
    if count("n")? >= TOKENS_MAX {
        return Err(ControlError::TooManyTokens {
            user: owner.user.name.clone(),
            tokens_max: TOKENS_MAX,
        });
    }
    Ok(())
}

/// The salt that a SCRAM login of the owner gets; a user of version 1 has none yet.
async fn salt(change: &mut AnyConnection, owner: &Account) -> Result<Vec<u8>, ControlError> {
    use base64::Engine as _;
    if let Some(salt) = &owner.scram_salt {
        return Ok(salt.clone());
    }
    let salt = scram::fresh_salt();
    sqlx::query("UPDATE tarn_users SET scram_salt = $1 WHERE id = $2")
        .bind(base64::engine::general_purpose::STANDARD.encode(&salt))
        .bind(owner.user.id.as_str())
        .execute(change)
        .await
        .map_err(query("change a user"))?;
    Ok(salt)
}

/// The tokens of user `of`, or all that `by` may see: administrators all, others their own.
pub(crate) async fn list(
    database: &Database,
    by: &str,
    of: Option<&str>,
) -> Result<Vec<Token>, ControlError> {
    let mut connection = user::acquire(database).await?;
    let owner = match of {
        Some(of) => Some(owner(&mut connection, by, of, LIST_DENIED).await?),
        None => match user::find(&mut *connection, by).await? {
            Some(actor) if user::is_active_admin(&actor) => None,
            Some(actor) => Some(actor),
            None => return Ok(vec![]),
        },
    };
    let rows = sqlx::query(
        "SELECT t.id, u.name AS user_name, t.name, t.comment, t.created_at_ms, t.expires_at_ms,
                t.last_used_at_ms
         FROM tarn_tokens t JOIN tarn_users u ON u.id = t.user_id
         WHERE $1 = '' OR t.user_id = $1 ORDER BY u.name, t.name",
    )
    .bind(
        owner
            .map(|owner| owner.user.id.to_string())
            .unwrap_or_default(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(query("read tokens"))?;
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<Token, ControlError> {
    const WHAT: &str = "read tokens";
    Ok(Token {
        id: row.try_get("id").map_err(query(WHAT))?,
        user: row.try_get("user_name").map_err(query(WHAT))?,
        name: row.try_get("name").map_err(query(WHAT))?,
        comment: row.try_get("comment").map_err(query(WHAT))?,
        created_at_ms: row.try_get("created_at_ms").map_err(query(WHAT))?,
        expires_at_ms: row.try_get("expires_at_ms").map_err(query(WHAT))?,
        last_used_at_ms: row.try_get("last_used_at_ms").map_err(query(WHAT))?,
    })
}

pub(crate) async fn revoke(
    database: &Database,
    by: &str,
    of: &str,
    name: &str,
) -> Result<(), ControlError> {
    let mut change = database.begin().await?;
    let owner = owner(&mut change, by, of, REVOKE_DENIED).await?;
    let gone = sqlx::query("DELETE FROM tarn_tokens WHERE user_id = $1 AND name = $2")
        .bind(owner.user.id.as_str())
        .bind(name)
        .execute(&mut *change)
        .await
        .map_err(query("revoke a token"))?;
    change.commit().await.map_err(query("revoke a token"))?;
    if gone.rows_affected() == 0 {
        return Err(ControlError::TokenNotFound {
            user: of.to_owned(),
            name: name.to_owned(),
        });
    }
    tracing::info!(user = of, token = name, by, "token revoked");
    Ok(())
}

/// The user `of`, if `by` may handle its tokens. Somebody who may not does not learn whether there
/// is such a user.
async fn owner(
    connection: &mut AnyConnection,
    by: &str,
    of: &str,
    denied: &'static str,
) -> Result<Account, ControlError> {
    let not_allowed = || ControlError::NotAllowed { what: denied };
    let actor = user::find(&mut *connection, by)
        .await?
        .filter(|actor| actor.user.is_usable(now_ms()))
        .ok_or_else(not_allowed)?;
    if actor.user.name == of {
        return Ok(actor);
    }
    if !actor.user.is_admin {
        return Err(not_allowed());
    }
    let owner = user::find(connection, of).await?;
    owner.ok_or_else(|| ControlError::UserNotFound {
        name: of.to_owned(),
    })
}

/// The token that `secret` is, expired or not.
pub(crate) async fn find(
    database: &Database,
    secret: &SecretString,
) -> Result<Option<Found>, ControlError> {
    let row = sqlx::query(
        "SELECT id, user_id, expires_at_ms, last_used_at_ms, scram_verifier
         FROM tarn_tokens WHERE token_hash = $1",
    )
    .bind(hash(secret))
    .fetch_optional(database.pool())
    .await
    .map_err(query("read a token"))?;
    row.as_ref().map(found).transpose()
}

/// The tokens of a user, expired or not.
pub(crate) async fn of_user(
    database: &Database,
    user_id: &str,
) -> Result<Vec<Found>, ControlError> {
    let rows = sqlx::query(
        "SELECT id, user_id, expires_at_ms, last_used_at_ms, scram_verifier
         FROM tarn_tokens WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_all(database.pool())
    .await
    .map_err(query("read tokens"))?;
    rows.iter().map(found).collect()
}

fn found(row: &AnyRow) -> Result<Found, ControlError> {
    const WHAT: &str = "read a token";
    let verifier: String = row.try_get("scram_verifier").map_err(query(WHAT))?;
    Ok(Found {
        id: row.try_get("id").map_err(query(WHAT))?,
        user_id: row.try_get("user_id").map_err(query(WHAT))?,
        expires_at_ms: row.try_get("expires_at_ms").map_err(query(WHAT))?,
        last_used_at_ms: row.try_get("last_used_at_ms").map_err(query(WHAT))?,
        verifier: Verifier::parse(&verifier).ok(),
    })
}

/// Writes down that the token was used, beside the login, and not more often than need be.
pub(crate) fn touch(database: &Database, token: Found) {
    let now_ms = now_ms();
    let stale_ms = now_ms - LAST_USED_COARSE_MS;
    if token.last_used_at_ms.is_some_and(|at_ms| at_ms > stale_ms) {
        return;
    }
    let database = database.clone();
    tokio::spawn(async move {
        let written = sqlx::query(
            "UPDATE tarn_tokens SET last_used_at_ms = $1
             WHERE id = $2 AND (last_used_at_ms IS NULL OR last_used_at_ms <= $3)",
        )
        .bind(now_ms)
        .bind(&token.id)
        .bind(stale_ms)
        .execute(database.pool())
        .await;
        if let Err(error) = written {
            tracing::warn!(%error, token_id = token.id, "cannot write when a token was used");
        }
    });
}

fn hash(secret: &SecretString) -> String {
    let digest = Sha256::digest(secret.expose_secret().as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
