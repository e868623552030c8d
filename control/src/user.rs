//! Users: the first one, and who a caller is.
//!
//! Reads and writes `tarn_users`. A user is a name and a password hash; what it
//! may do is decided elsewhere.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use sqlx::Row as _;
use uuid::Uuid;

use crate::ADMIN_NAME;
use crate::database::{Database, query};
use crate::error::{AuthError, ControlError};
use crate::password::{self, Passwords};

/// Identifies a user for ever, also when it is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The user's id.
    pub id: UserId,
    /// The name that was logged in with, as stored.
    pub name: String,
}

/// What [`crate::Control::ensure_admin`] found or did.
#[derive(Debug)]
pub struct AdminBootstrap {
    /// Whether the user was created just now.
    pub created: bool,
    /// The generated password of a user created just now: print it once, then forget it.
    pub generated_password: Option<SecretString>,
}

struct User {
    id: UserId,
    name: String,
    password_hash: String,
}

pub(crate) async fn ensure_admin(
    database: &Database,
    passwords: &Passwords,
    password: Option<SecretString>,
) -> Result<AdminBootstrap, ControlError> {
    let Some(password) = password else {
        return create_generated_admin(database, passwords).await;
    };
    let existing = find(database, ADMIN_NAME).await?;
    if let Some(user) = &existing {
        let same = passwords.check(&password, Some(&user.password_hash)).await;
        if matches!(same, Ok(true)) {
            return Ok(AdminBootstrap {
                created: false,
                generated_password: None,
            });
        }
    }
    let hash = passwords.hash(&password).await?;
    let created = existing.is_none() && insert(database, ADMIN_NAME, &hash).await?;
    if !created {
        update_hash(database, ADMIN_NAME, &hash).await?;
        tracing::info!(user = ADMIN_NAME, "password changed by configuration");
    }
    Ok(AdminBootstrap {
        created,
        generated_password: None,
    })
}

async fn create_generated_admin(
    database: &Database,
    passwords: &Passwords,
) -> Result<AdminBootstrap, ControlError> {
    if find(database, ADMIN_NAME).await?.is_some() {
        return Ok(AdminBootstrap {
            created: false,
            generated_password: None,
        });
    }
    let generated = password::generate();
    let hash = passwords.hash(&generated).await?;
    // Another process on the same database may have been quicker.
    let created = insert(database, ADMIN_NAME, &hash).await?;
    Ok(AdminBootstrap {
        created,
        generated_password: created.then_some(generated),
    })
}

pub(crate) async fn authenticate(
    database: &Database,
    passwords: &Passwords,
    name: &str,
    password: &SecretString,
) -> Result<Principal, AuthError> {
    let user = find(database, name).await.map_err(AuthError::Control)?;
    let stored_hash = user.as_ref().map(|user| user.password_hash.as_str());
    let matches = passwords.check(password, stored_hash).await?;
    match user {
        Some(user) if matches => Ok(Principal {
            id: user.id,
            name: user.name,
        }),
        _ => Err(AuthError::Denied),
    }
}

pub(crate) async fn set_password(
    database: &Database,
    passwords: &Passwords,
    name: &str,
    password: &SecretString,
) -> Result<(), ControlError> {
    let hash = passwords.hash(password).await?;
    if update_hash(database, name, &hash).await? {
        Ok(())
    } else {
        Err(ControlError::UserNotFound {
            name: name.to_owned(),
        })
    }
}

async fn find(database: &Database, name: &str) -> Result<Option<User>, ControlError> {
    let row = sqlx::query("SELECT id, name, password_hash FROM tarn_users WHERE name = $1")
        .bind(name)
        .fetch_optional(database.pool())
        .await
        .map_err(query("read a user"))?;
    let Some(row) = row else { return Ok(None) };
    let column = |name: &str| row.try_get::<String, _>(name).map_err(query("read a user"));
    Ok(Some(User {
        id: UserId(column("id")?),
        name: column("name")?,
        password_hash: column("password_hash")?,
    }))
}

/// Whether the user was inserted; `false` if the name is taken.
async fn insert(
    database: &Database,
    name: &str,
    password_hash: &str,
) -> Result<bool, ControlError> {
    let now_ms = now_ms();
    let inserted = sqlx::query(
        "INSERT INTO tarn_users (id, name, password_hash, created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(name)
    .bind(password_hash)
    .bind(now_ms)
    .bind(now_ms)
    .execute(database.pool())
    .await
    .map_err(query("create a user"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Whether there was a user of that name.
async fn update_hash(
    database: &Database,
    name: &str,
    password_hash: &str,
) -> Result<bool, ControlError> {
    let updated =
        sqlx::query("UPDATE tarn_users SET password_hash = $1, updated_at_ms = $2 WHERE name = $3")
            .bind(password_hash)
            .bind(now_ms())
            .bind(name)
            .execute(database.pool())
            .await
            .map_err(query("change a password"))?;
    Ok(updated.rows_affected() == 1)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::Control;

    async fn open(folder: &tempfile::TempDir) -> Control {
        let url = format!("sqlite://{}", folder.path().join("control.db").display());
        Control::open(&url).await.unwrap()
    }

    async fn check_login(control: &Control, name: &str, password: &str, allowed: bool) {
        let answer = control.authenticate(name, &password.into()).await;
        match answer {
            Ok(principal) => assert!(allowed && principal.name == name, "{principal:?}"),
            Err(AuthError::Denied) => assert!(!allowed, "{name} was denied"),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn the_admin_password_is_generated_once() {
        let folder = tempfile::tempdir().unwrap();
        let control = open(&folder).await;
        let first = control.ensure_admin(None).await.unwrap();
        assert!(first.created);
        let password = first.generated_password.unwrap();
        let second = control.ensure_admin(None).await.unwrap();
        assert!(!second.created && second.generated_password.is_none());
        check_login(&control, ADMIN_NAME, password.expose_secret(), true).await;
        // Also after a restart.
        check_login(
            &open(&folder).await,
            ADMIN_NAME,
            password.expose_secret(),
            true,
        )
        .await;
    }

    #[tokio::test]
    async fn a_given_admin_password_wins() {
        let folder = tempfile::tempdir().unwrap();
        let control = open(&folder).await;
        let generated = control
            .ensure_admin(None)
            .await
            .unwrap()
            .generated_password
            .unwrap();
        check_login(&control, ADMIN_NAME, generated.expose_secret(), true).await;
        let given = control.ensure_admin(Some("given".into())).await.unwrap();
        assert!(!given.created && given.generated_password.is_none());
        check_login(&control, ADMIN_NAME, "given", true).await;
        check_login(&control, ADMIN_NAME, generated.expose_secret(), false).await;
        control.ensure_admin(Some("given".into())).await.unwrap();
        check_login(&control, ADMIN_NAME, "given", true).await;
    }

    #[tokio::test]
    async fn two_processes_create_one_admin() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (open(&folder).await, open(&folder).await);
        let (left, right) = tokio::join!(first.ensure_admin(None), second.ensure_admin(None));
        let answers = [left.unwrap(), right.unwrap()];
        assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
        let generated = answers
            .into_iter()
            .find_map(|answer| answer.generated_password)
            .unwrap();
        check_login(&first, ADMIN_NAME, generated.expose_secret(), true).await;
    }

    #[tokio::test]
    async fn unknown_user_and_wrong_password_answer_alike() {
        let folder = tempfile::tempdir().unwrap();
        let control = open(&folder).await;
        control.ensure_admin(Some("right".into())).await.unwrap();
        let unknown = control
            .authenticate("nobody", &"right".into())
            .await
            .unwrap_err();
        let wrong = control
            .authenticate(ADMIN_NAME, &"wrong".into())
            .await
            .unwrap_err();
        assert_eq!(unknown.to_string(), wrong.to_string());
        assert_eq!(unknown.code(), wrong.code());
        check_login(&control, "' OR 1=1 --", "right", false).await;
        check_login(&control, "Admin", "right", false).await;
    }

    #[tokio::test]
    async fn a_changed_password_is_noticed_at_once_by_every_process() {
        let folder = tempfile::tempdir().unwrap();
        let (control, other) = (open(&folder).await, open(&folder).await);
        control.ensure_admin(Some("old".into())).await.unwrap();
        check_login(&other, ADMIN_NAME, "old", true).await;
        control
            .set_password(ADMIN_NAME, &"new".into())
            .await
            .unwrap();
        check_login(&other, ADMIN_NAME, "old", false).await;
        check_login(&other, ADMIN_NAME, "new", true).await;
    }

    #[tokio::test]
    async fn the_password_of_nobody_cannot_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(&folder)
            .await
            .set_password("nobody", &"x".into())
            .await
            .unwrap_err();
        assert!(
            matches!(error, ControlError::UserNotFound { .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_id_outlives_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let control = open(&folder).await;
        control.ensure_admin(Some("old".into())).await.unwrap();
        let before = control
            .authenticate(ADMIN_NAME, &"old".into())
            .await
            .unwrap();
        control.ensure_admin(Some("new".into())).await.unwrap();
        assert_eq!(
            before,
            control
                .authenticate(ADMIN_NAME, &"new".into())
                .await
                .unwrap()
        );
    }
}
