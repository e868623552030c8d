//! Users and service accounts: what is stored of them, and who may change it.
//!
//! Reads and writes `tarn_users`. Whoever changes something is named, and looked up in the same
//! transaction: a permission taken away a moment ago no longer counts. What a user may do with a
//! table is decided elsewhere.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Executor, Row as _};
use uuid::Uuid;

use crate::ADMIN_NAME;
use crate::database::{Database, query};
use crate::error::ControlError;
use crate::password::{self, Passwords, Stored};
use crate::scram::{self, Verifier};

/// Longest name of a user or token. Source: an identity provider's longest login names.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// Identifies a user for ever, also when it is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl UserId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a user stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserKind {
    /// A person.
    User,
    /// A program; usually without a password, with tokens only.
    Service,
}

impl UserKind {
    /// As it is stored and shown: `USER` or `SERVICE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Service => "SERVICE",
        }
    }
}

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The user's id.
    pub id: UserId,
    /// The user's name as stored.
    pub name: String,
    /// Whether it may administer users, queries and sessions of others, at this moment.
    pub is_admin: bool,
    /// A person or a program.
    pub kind: UserKind,
    /// Id of the token it logged in with; `None` for a password.
    pub token: Option<String>,
}

/// A user as administrators see it. Times are milliseconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Stays when the user is renamed.
    pub id: UserId,
    /// The name to log in with; case matters.
    pub name: String,
    /// A person or a program.
    pub kind: UserKind,
    /// Whether it may administer others.
    pub is_admin: bool,
    /// Whether it is kept from logging in.
    pub disabled: bool,
    /// From when on it cannot log in.
    pub valid_until_ms: Option<i64>,
    /// What administrators wrote about it.
    pub comment: Option<String>,
    /// Whether it can log in with a password; tokens are counted elsewhere.
    pub has_password: bool,
    /// When it was created.
    pub created_at_ms: i64,
    /// When it was changed last.
    pub updated_at_ms: i64,
}

impl User {
    /// Whether the user may log in, and stay, at `now_ms`.
    pub fn is_usable(&self, now_ms: i64) -> bool {
        !self.disabled && self.valid_until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }

    pub(crate) fn principal(&self) -> Principal {
        Principal {
            id: self.id.clone(),
            name: self.name.clone(),
            is_admin: self.is_admin,
            kind: self.kind,
            token: None,
        }
    }
}

/// A user to be created.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name to log in with.
    pub name: String,
    /// A person or a program.
    pub kind: UserKind,
    /// The password, or a SCRAM verifier in PostgreSQL's form. Without one only tokens let it in.
    pub password: Option<SecretString>,
    /// Whether it may administer others.
    pub is_admin: bool,
    /// Whether it is kept from logging in.
    pub disabled: bool,
    /// From when on it cannot log in, in milliseconds since 1970 (UTC).
    pub valid_until_ms: Option<i64>,
    /// What it is for.
    pub comment: Option<String>,
}

/// What to change of a user; `None` leaves as it is.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::option_option,
    reason = "as it is, none, and a value are three things"
)]
pub struct UserChange {
    /// The new password; `Some(None)` takes it away.
    pub password: Option<Option<SecretString>>,
    /// The new name.
    pub name: Option<String>,
    /// Whether it may administer others.
    pub is_admin: Option<bool>,
    /// Whether it is kept from logging in.
    pub disabled: Option<bool>,
    /// From when on it cannot log in; `Some(None)` is never.
    pub valid_until_ms: Option<Option<i64>>,
    /// What it is for; `Some(None)` takes it away.
    pub comment: Option<Option<String>>,
}

impl UserChange {
    /// Whether it changes nothing but the password: what users may do themselves.
    fn is_password_only(&self) -> bool {
        let Self {
            password: _,
            name,
            is_admin,
            disabled,
            valid_until_ms,
            comment,
        } = self;
        name.is_none()
            && is_admin.is_none()
            && disabled.is_none()
            && valid_until_ms.is_none()
            && comment.is_none()
    }
}

/// What [`crate::Control::ensure_admin`] found or did.
#[derive(Debug)]
pub struct AdminBootstrap {
    /// Whether the user was created just now.
    pub created: bool,
    /// The generated password of a user created just now: print it once, then forget it.
    pub generated_password: Option<SecretString>,
}

/// A user with what proves its password.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) stored: Stored,
    /// Salt of the verifiers of its password and its tokens.
    pub(crate) scram_salt: Option<Vec<u8>>,
}

impl Account {
    /// What a password is checked against; `None` if it has none.
    pub(crate) fn password(&self) -> Option<&Stored> {
        self.user.has_password.then_some(&self.stored)
    }

    /// Rounds of its verifiers.
    pub(crate) fn iterations(&self) -> u32 {
        let verifier = self.stored.verifier.as_ref();
        verifier.map_or(scram::ITERATIONS, |verifier| verifier.iterations)
    }
}

/// `SELECT` of whole accounts; the rest of the statement follows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, password_hash, scram_verifier, scram_salt, kind, is_admin, disabled,
                    valid_until_ms, comment, created_at_ms, updated_at_ms
             FROM tarn_users ",
            $rest
        )
    };
}

pub(crate) async fn ensure_admin(
    database: &Database,
    passwords: &Passwords,
    password: Option<SecretString>,
) -> Result<AdminBootstrap, ControlError> {
    let Some(password) = password else {
        return create_generated_admin(database, passwords).await;
    };
    let mut found = AdminBootstrap {
        created: false,
        generated_password: None,
    };
    let existing = find(database.pool(), ADMIN_NAME).await?;
    if let Some(account) = &existing {
        let open = || Ok(());
        let same = passwords.check(&password, account.password(), open).await;
        let whole = account.stored.verifier.is_some() && account.user.is_admin;
        if matches!(same, Ok(true)) && whole && account.user.is_usable(now_ms()) {
            return Ok(found);
        }
    }
    let salt = existing.as_ref().and_then(|a| a.scram_salt.clone());
    let salt = salt.unwrap_or_else(scram::fresh_salt);
    let stored = passwords.make(&password, &salt).await?;
    if existing.is_none() {
        found.created = insert(database, &admin(), &stored, &salt).await?;
    }
    if !found.created {
        let mut change = database.begin().await?;
        update_password(&mut change, ADMIN_NAME, &stored, &salt).await?;
        sqlx::query(
            "UPDATE tarn_users SET is_admin = 1, disabled = 0, valid_until_ms = NULL WHERE name = $1",
        )
        .bind(ADMIN_NAME)
        .execute(&mut *change)
        .await
        .map_err(query("change a user"))?;
        change.commit().await.map_err(query("change a user"))?;
        tracing::info!(user = ADMIN_NAME, "password changed by configuration");
    }
    Ok(found)
}

async fn create_generated_admin(
    database: &Database,
    passwords: &Passwords,
) -> Result<AdminBootstrap, ControlError> {
    // The first user may have been renamed or replaced since.
    let row = sqlx::query("SELECT COUNT(*) AS n FROM tarn_users WHERE is_admin = 1 OR name = $1")
        .bind(ADMIN_NAME)
        .fetch_one(database.pool())
        .await
        .map_err(query("read users"))?;
    let admins: i64 = row.try_get("n").map_err(query("read users"))?;
    if admins > 0 {
        return Ok(AdminBootstrap {
            created: false,
            generated_password: None,
        });
    }
    let generated = password::generate();
    let salt = scram::fresh_salt();
    let stored = passwords.make(&generated, &salt).await?;
    // Another process on the same database may have been quicker.
    let created = insert(database, &admin(), &stored, &salt).await?;
    Ok(AdminBootstrap {
        created,
        generated_password: created.then_some(generated),
    })
}

fn admin() -> NewUser {
    NewUser {
        name: ADMIN_NAME.to_owned(),
        kind: UserKind::User,
        password: None,
        is_admin: true,
        disabled: false,
        valid_until_ms: None,
        comment: None,
    }
}

pub(crate) async fn all(database: &Database) -> Result<Vec<User>, ControlError> {
    let rows = sqlx::query(select!("ORDER BY name"))
        .fetch_all(database.pool())
        .await
        .map_err(query("read users"))?;
    rows.iter().map(|row| Ok(account(row)?.user)).collect()
}

/// Users that `by` may see: administrators all, others themselves.
pub(crate) async fn visible(database: &Database, by: &str) -> Result<Vec<User>, ControlError> {
    let actor = find(database.pool(), by).await?;
    match actor {
        Some(actor) if is_active_admin(&actor) => all(database).await,
        Some(actor) => Ok(vec![actor.user]),
        None => Ok(vec![]),
    }
}

pub(crate) async fn create(
    database: &Database,
    passwords: &Passwords,
    by: &str,
    new: NewUser,
) -> Result<User, ControlError> {
    // Before the hash, which costs something; and again before it is written.
    require_admin(&mut *acquire(database).await?, by, CREATE_DENIED).await?;
    check_name("user", &new.name)?;
    let salt = scram::fresh_salt();
    let stored = match &new.password {
        Some(password) => passwords.make(password, &salt).await?,
        None => Stored::default(),
    };
    let exists = || ControlError::UserExists {
        name: new.name.clone(),
    };
    let mut change = database.begin().await?;
    require_admin(&mut change, by, CREATE_DENIED).await?;
    if !insert_into(&mut change, &new, &stored, &salt).await? {
        return Err(exists());
    }
    let created = find(&mut *change, &new.name).await?.ok_or_else(exists)?;
    change.commit().await.map_err(query("create a user"))?;
    tracing::info!(user = new.name, by, "user created");
    Ok(created.user)
}

const CREATE_DENIED: &str = "only administrators may create users";
const ALTER_DENIED: &str =
    "only administrators may change users; others may change their own password only";
const DROP_DENIED: &str = "only administrators may drop users";

pub(crate) async fn alter(
    database: &Database,
    passwords: &Passwords,
    by: &str,
    name: &str,
    alteration: UserChange,
) -> Result<User, ControlError> {
    let before = may_alter(&mut *acquire(database).await?, by, name, &alteration).await?;
    let salt = before.scram_salt.unwrap_or_else(scram::fresh_salt);
    let stored = match &alteration.password {
        Some(Some(password)) => Some(passwords.make(password, &salt).await?),
        Some(None) => Some(Stored::default()),
        None => None,
    };
    let mut change = database.begin().await?;
    let mut user = may_alter(&mut change, by, name, &alteration).await?.user;
    let had_admin = has_lasting_admin(&mut change).await?;
    if let Some(stored) = &stored {
        update_password(&mut change, name, stored, &salt).await?;
    }
    user.is_admin = alteration.is_admin.unwrap_or(user.is_admin);
    user.disabled = alteration.disabled.unwrap_or(user.disabled);
    user.valid_until_ms = alteration.valid_until_ms.unwrap_or(user.valid_until_ms);
    user.comment = alteration.comment.unwrap_or(user.comment);
    if let Some(new_name) = alteration.name {
        if new_name != name && find(&mut *change, &new_name).await?.is_some() {
            return Err(ControlError::UserExists { name: new_name });
        }
        user.name = new_name;
    }
    write(&mut change, &user).await?;
    if had_admin && !has_lasting_admin(&mut change).await? {
        return Err(ControlError::LastAdmin {
            name: name.to_owned(),
        });
    }
    let after = find(&mut *change, &user.name).await?;
    change.commit().await.map_err(query("change a user"))?;
    tracing::info!(user = name, by, "user changed");
    after.map(|after| after.user).ok_or_else(|| not_found(name))
}

/// The user `name`, if `by` may make this change of it.
async fn may_alter(
    connection: &mut AnyConnection,
    by: &str,
    name: &str,
    alteration: &UserChange,
) -> Result<Account, ControlError> {
    if by != name || !alteration.is_password_only() {
        require_admin(connection, by, ALTER_DENIED).await?;
    }
    if let Some(new_name) = &alteration.name {
        check_name("user", new_name)?;
    }
    let account = find(connection, name).await?;
    let account = account.ok_or_else(|| not_found(name))?;
    if by == name && !account.user.is_usable(now_ms()) {
        return Err(ControlError::NotAllowed { what: ALTER_DENIED });
    }
    Ok(account)
}

pub(crate) async fn drop(
    database: &Database,
    by: &str,
    name: &str,
) -> Result<UserId, ControlError> {
    let mut change = database.begin().await?;
    require_admin(&mut change, by, DROP_DENIED).await?;
    let dropped = find(&mut *change, name)
        .await?
        .ok_or_else(|| not_found(name))?;
    if by == name {
        return Err(ControlError::CurrentUser);
    }
    let had_admin = has_lasting_admin(&mut change).await?;
    let id = dropped.user.id;
    for statement in [
        "DELETE FROM tarn_tokens WHERE user_id = $1",
        "DELETE FROM tarn_users WHERE id = $1",
    ] {
        sqlx::query(statement)
            .bind(id.as_str())
            .execute(&mut *change)
            .await
            .map_err(query("drop a user"))?;
    }
    if had_admin && !has_lasting_admin(&mut change).await? {
        return Err(ControlError::LastAdmin {
            name: name.to_owned(),
        });
    }
    change.commit().await.map_err(query("drop a user"))?;
    tracing::info!(user = name, by, "user dropped");
    Ok(id)
}

/// Gives a user a password without asking who wants it.
pub(crate) async fn set_password(
    database: &Database,
    passwords: &Passwords,
    name: &str,
    password: &SecretString,
) -> Result<(), ControlError> {
    let account = find(database.pool(), name).await?;
    let account = account.ok_or_else(|| not_found(name))?;
    let salt = account.scram_salt.unwrap_or_else(scram::fresh_salt);
    let stored = passwords.make(password, &salt).await?;
    let mut change = database.begin().await?;
    let found = update_password(&mut change, name, &stored, &salt).await?;
    change.commit().await.map_err(query("change a password"))?;
    if found { Ok(()) } else { Err(not_found(name)) }
}

/// Completes an account of version 1, or one with a foreign verifier, whose password was just seen.
/// Does nothing if it has got another password in the meantime.
pub(crate) async fn complete(
    database: &Database,
    passwords: &Passwords,
    account: &Account,
    password: &SecretString,
) -> Result<(), ControlError> {
    let salt = account.scram_salt.clone();
    let salt = salt.unwrap_or_else(scram::fresh_salt);
    let stored = passwords.make(password, &salt).await?;
    let mut change = database.begin().await?;
    let now = find(&mut *change, &account.user.name).await?;
    let same = now.is_some_and(|now| {
        now.stored.hash == account.stored.hash
            && now.stored.verifier == account.stored.verifier
            && now.scram_salt == account.scram_salt
    });
    if same {
        update_password(&mut change, &account.user.name, &stored, &salt).await?;
    }
    change.commit().await.map_err(query("change a password"))
}

/// The account called `name`.
pub(crate) async fn find<'e>(
    executor: impl Executor<'e, Database = Any>,
    name: &str,
) -> Result<Option<Account>, ControlError> {
    // PostgreSQL has no text with NUL; nobody is called so.
    if name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Ok(None);
    }
    let row = sqlx::query(select!("WHERE name = $1"))
        .bind(name)
        .fetch_optional(executor)
        .await
        .map_err(query("read a user"))?;
    row.as_ref().map(account).transpose()
}

/// The account with this id.
pub(crate) async fn find_by_id(
    database: &Database,
    id: &str,
) -> Result<Option<Account>, ControlError> {
    let row = sqlx::query(select!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(database.pool())
        .await
        .map_err(query("read a user"))?;
    row.as_ref().map(account).transpose()
}

fn account(row: &AnyRow) -> Result<Account, ControlError> {
    const WHAT: &str = "read a user";
    let text = |name: &str| row.try_get::<String, _>(name).map_err(query(WHAT));
    let maybe = |name: &str| row.try_get::<Option<String>, _>(name).map_err(query(WHAT));
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(query(WHAT));
    let hash = Some(text("password_hash")?).filter(|hash| !hash.is_empty());
    let verifier = maybe("scram_verifier")?.and_then(|text| Verifier::parse(&text).ok());
    let salt = maybe("scram_salt")?.and_then(|text| STANDARD.decode(text).ok());
    Ok(Account {
        user: User {
            id: UserId(text("id")?),
            name: text("name")?,
            kind: if text("kind")? == UserKind::Service.name() {
                UserKind::Service
            } else {
                UserKind::User
            },
            is_admin: number("is_admin")? != 0,
            disabled: number("disabled")? != 0,
            valid_until_ms: row.try_get("valid_until_ms").map_err(query(WHAT))?,
            comment: maybe("comment")?,
            has_password: hash.is_some() || verifier.is_some(),
            created_at_ms: number("created_at_ms")?,
            updated_at_ms: number("updated_at_ms")?,
        },
        stored: Stored { hash, verifier },
        scram_salt: salt,
    })
}

async fn insert(
    database: &Database,
    new: &NewUser,
    stored: &Stored,
    salt: &[u8],
) -> Result<bool, ControlError> {
    insert_into(&mut *acquire(database).await?, new, stored, salt).await
}

/// Whether the user was inserted; `false` if the name is taken.
async fn insert_into(
    connection: &mut AnyConnection,
    new: &NewUser,
    stored: &Stored,
    salt: &[u8],
) -> Result<bool, ControlError> {
    let now_ms = now_ms();
    let inserted = sqlx::query(
        "INSERT INTO tarn_users (id, name, password_hash, scram_verifier, scram_salt, kind, is_admin,
                                 disabled, valid_until_ms, comment, created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (name) DO NOTHING",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(&new.name)
    .bind(stored.hash.clone().unwrap_or_default())
    .bind(stored.verifier.as_ref().map(Verifier::to_text))
    .bind(STANDARD.encode(salt_of(stored, salt)))
    .bind(new.kind.name())
    .bind(i64::from(new.is_admin))
    .bind(i64::from(new.disabled))
    .bind(new.valid_until_ms)
    .bind(new.comment.as_deref().map(without_nul))
    .bind(now_ms)
    .bind(now_ms)
    .execute(connection)
    .await
    .map_err(query("create a user"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Whether there was a user of that name.
async fn update_password(
    connection: &mut AnyConnection,
    name: &str,
    stored: &Stored,
    salt: &[u8],
) -> Result<bool, ControlError> {
    let updated = sqlx::query(
        "UPDATE tarn_users SET password_hash = $1, scram_verifier = $2, scram_salt = $3,
                               updated_at_ms = $4
         WHERE name = $5",
    )
    .bind(stored.hash.clone().unwrap_or_default())
    .bind(stored.verifier.as_ref().map(Verifier::to_text))
    .bind(STANDARD.encode(salt_of(stored, salt)))
    .bind(now_ms())
    .bind(name)
    .execute(connection)
    .await
    .map_err(query("change a password"))?;
    Ok(updated.rows_affected() == 1)
}

/// Writes everything of a user but its password.
async fn write(connection: &mut AnyConnection, user: &User) -> Result<(), ControlError> {
    sqlx::query(
        "UPDATE tarn_users SET name = $1, is_admin = $2, disabled = $3, valid_until_ms = $4,
                               comment = $5, updated_at_ms = $6
         WHERE id = $7",
    )
    .bind(&user.name)
    .bind(i64::from(user.is_admin))
    .bind(i64::from(user.disabled))
    .bind(user.valid_until_ms)
    .bind(user.comment.as_deref().map(without_nul))
    .bind(now_ms())
    .bind(user.id.as_str())
    .execute(connection)
    .await
    .map_err(query("change a user"))?;
    Ok(())
}

/// A verifier made elsewhere brings its salt.
fn salt_of<'a>(stored: &'a Stored, salt: &'a [u8]) -> &'a [u8] {
    stored.verifier.as_ref().map_or(salt, |v| &v.salt)
}

/// Whether somebody can always administer the installation.
async fn has_lasting_admin(connection: &mut AnyConnection) -> Result<bool, ControlError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM tarn_users
         WHERE is_admin = 1 AND disabled = 0 AND valid_until_ms IS NULL
               AND (password_hash <> '' OR scram_verifier IS NOT NULL)",
    )
    .fetch_one(connection)
    .await
    .map_err(query("count administrators"))?;
    let admins: i64 = row.try_get("n").map_err(query("count administrators"))?;
    Ok(admins > 0)
}

/// Whether the account may administer others now.
pub(crate) fn is_active_admin(account: &Account) -> bool {
    account.user.is_admin && account.user.is_usable(now_ms())
}

async fn require_admin(
    connection: &mut AnyConnection,
    by: &str,
    what: &'static str,
) -> Result<(), ControlError> {
    match find(connection, by).await? {
        Some(actor) if is_active_admin(&actor) => Ok(()),
        _ => Err(ControlError::NotAllowed { what }),
    }
}

pub(crate) async fn acquire(
    database: &Database,
) -> Result<sqlx::pool::PoolConnection<Any>, ControlError> {
    database.pool().acquire().await.map_err(query("connect"))
}

/// Names that every door can carry and nobody mistakes for something else.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ControlError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else if name.trim() != name {
        "it begins or ends with a space"
    } else if what == "user" && name.contains(':') {
        "HTTP separates name and password by a colon"
    } else if what == "user" && RESERVED.contains(&name) {
        "SQL means something else by it"
    } else if what == "user" && name.starts_with("pg_") {
        "names that begin with pg_ are PostgreSQL's own"
    } else {
        return Ok(());
    };
    Err(ControlError::UnusableName {
        what,
        name: name.to_owned(),
        reason,
    })
}

/// Names that SQL uses for something else. Source: PostgreSQL, `CREATE ROLE`.
const RESERVED: [&str; 5] = [
    "public",
    "none",
    "current_user",
    "current_role",
    "session_user",
];

fn not_found(name: &str) -> ControlError {
    ControlError::UserNotFound {
        name: name.to_owned(),
    }
}

/// PostgreSQL cannot store NUL in a text.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// Milliseconds since 1970 (UTC).
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
