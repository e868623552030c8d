//! The identities as doors see them: logins of every kind, and changes by several processes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::AnyPool;

mod guessing;
mod tokens;

use crate::*;

fn url(folder: &tempfile::TempDir) -> String {
    format!("sqlite://{}", folder.path().join("control.db").display())
}

async fn open(folder: &tempfile::TempDir) -> Control {
    Control::open(&url(folder), LoginLimits::default())
        .await
        .unwrap()
}

/// A database with the user `admin`, password `admin`.
async fn opened() -> (Control, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let control = open(&folder).await;
    control.ensure_admin(Some("admin".into())).await.unwrap();
    (control, folder)
}

fn origin(address: &str) -> Origin {
    Origin {
        address: address.parse().unwrap(),
        door: "test",
    }
}

fn home() -> Origin {
    origin("127.0.0.1")
}

async fn login(control: &Control, name: &str, password: &str) -> Result<Principal, AuthError> {
    control.authenticate(name, &password.into(), home()).await
}

/// Checks that every way to log in with a password agrees.
async fn check_login(control: &Control, name: &str, password: &str, allowed: bool) {
    let by_password = login(control, name, password).await;
    let by_scram = scram_login(control, name, password, home()).await;
    for answer in [by_password, by_scram] {
        match answer {
            Ok(principal) => assert!(allowed && principal.name == name, "{principal:?}"),
            Err(AuthError::Denied) => assert!(!allowed, "{name} was denied"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn user(name: &str, password: Option<&str>) -> NewUser {
    NewUser {
        name: name.to_owned(),
        kind: UserKind::User,
        password: password.map(SecretString::from),
        is_admin: false,
        disabled: false,
        valid_until_ms: None,
        comment: None,
    }
}

fn token(user: &str, name: &str) -> NewToken {
    NewToken {
        user: user.to_owned(),
        name: name.to_owned(),
        expires_at_ms: None,
        comment: None,
    }
}

fn now_ms() -> i64 {
    user::now_ms()
}

/// A SCRAM client of its own: shares nothing with the server's side but the hash functions.
struct Client {
    password: String,
    first_bare: String,
    nonce: String,
    server_signature: Vec<u8>,
}

impl Client {
    fn new(name: &str, password: &str) -> Self {
        let nonce = "fyko+d2lbbFgONRv9qkxdawL".to_owned();
        Self {
            password: password.to_owned(),
            first_bare: format!(
                "n={},r={nonce}",
                name.replace('=', "=3D").replace(',', "=2C")
            ),
            nonce,
            server_signature: vec![],
        }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    fn last(&mut self, server_first: &str) -> String {
        let attribute = |name: &str| {
            let found = server_first.split(',').find_map(|a| a.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{server_first} has no {name}"))
        };
        let (nonce, salt) = (attribute("r="), STANDARD.decode(attribute("s=")).unwrap());
        assert!(nonce.starts_with(&self.nonce) && nonce.len() >= self.nonce.len() + 18);
        let iterations: u32 = attribute("i=").parse().unwrap();
        assert!(iterations >= 4096);
        // Hi() of RFC 5802, written out.
        let password = stringprep::saslprep(&self.password).unwrap();
        let mut round = mac(
            password.as_bytes(),
            &[&salt[..], &1_u32.to_be_bytes()].concat(),
        );
        let mut salted = round.clone();
        for _ in 1..iterations {
            round = mac(password.as_bytes(), &round);
            salted.iter_mut().zip(&round).for_each(|(a, b)| *a ^= b);
        }
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = mac(&salted, b"Client Key");
        let signature = mac(&Sha256::digest(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(a, b)| a ^ b)
            .collect();
        self.server_signature = mac(&mac(&salted, b"Server Key"), message.as_bytes());
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    fn check_server(&self, server_last: &str) {
        let wanted = format!("v={}", STANDARD.encode(&self.server_signature));
        assert_eq!(server_last, wanted, "the server does not know the password");
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

async fn scram_login(
    control: &Control,
    name: &str,
    password: &str,
    origin: Origin,
) -> Result<Principal, AuthError> {
    let mut client = Client::new(name, password);
    let mut exchange = control.scram(name, origin);
    assert_eq!(exchange.mechanism(), "SCRAM-SHA-256");
    let first = exchange.first(client.first().as_bytes()).await?;
    let last = client.last(&String::from_utf8(first).unwrap());
    let (answer, principal) = exchange.last(last.as_bytes()).await?;
    client.check_server(&String::from_utf8(answer).unwrap());
    Ok(principal)
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
    let again = open(&folder).await;
    check_login(&again, ADMIN_NAME, password.expose_secret(), true).await;
    assert!(
        login(&again, ADMIN_NAME, password.expose_secret())
            .await
            .unwrap()
            .is_admin
    );
}

#[tokio::test]
async fn a_given_admin_password_wins() {
    let folder = tempfile::tempdir().unwrap();
    let control = open(&folder).await;
    let generated = control.ensure_admin(None).await.unwrap();
    let generated = generated.generated_password.unwrap();
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
async fn a_renamed_admin_is_not_replaced_by_a_generated_one() {
    let (control, _folder) = opened().await;
    let rename = UserChange {
        name: Some("root".to_owned()),
        ..UserChange::default()
    };
    control
        .alter_user(ADMIN_NAME, ADMIN_NAME, rename)
        .await
        .unwrap();
    let found = control.ensure_admin(None).await.unwrap();
    assert!(!found.created && found.generated_password.is_none());
    check_login(&control, "root", "admin", true).await;
    check_login(&control, ADMIN_NAME, "admin", false).await;
}

#[tokio::test]
async fn unknown_user_and_wrong_password_answer_alike() {
    let (control, _folder) = opened().await;
    let unknown = login(&control, "nobody", "admin").await.unwrap_err();
    let wrong = login(&control, ADMIN_NAME, "wrong").await.unwrap_err();
    assert_eq!(unknown.to_string(), wrong.to_string());
    assert_eq!(unknown.code(), wrong.code());
    check_login(&control, "' OR 1=1 --", "admin", false).await;
    check_login(&control, "Admin", "admin", false).await;
    check_login(&control, "a\0b", "admin", false).await;
}

#[tokio::test]
async fn an_unknown_user_gets_the_same_salt_each_time_and_after_a_restart() {
    let (control, folder) = opened().await;
    let other = open(&folder).await;
    let mut offers = vec![];
    for (control, name) in [
        (&control, "nobody"),
        (&control, "nobody"),
        (&other, "nobody"),
        (&control, "noone"),
        (&control, ADMIN_NAME),
    ] {
        let mut exchange = control.scram(name, home());
        let first = exchange.first(b"n,,n=,r=abc").await.unwrap();
        let first = String::from_utf8(first).unwrap();
        let (_, offer) = first.split_once(',').unwrap();
        offers.push(offer.to_owned());
    }
    assert_eq!(offers[0], offers[1]);
    assert_eq!(offers[0], offers[2]);
    assert_ne!(offers[0], offers[3]);
    let lengths: Vec<usize> = offers.iter().map(String::len).collect();
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{offers:?}"
    );
}

#[tokio::test]
async fn scram_messages_out_of_order_are_malformed() {
    let (control, _folder) = opened().await;
    let mut exchange = control.scram(ADMIN_NAME, home());
    let early = exchange.last(b"c=biws,r=abc,p=AA==").await;
    assert!(matches!(early, Err(AuthError::Malformed { .. })));
    let broken = exchange.first(b"hello").await.unwrap_err();
    assert_eq!(broken.code(), ErrorCode::Protocol);
    // An exchange proves one password once.
    let mut client = Client::new(ADMIN_NAME, "admin");
    let first = exchange.first(client.first().as_bytes()).await.unwrap();
    let last = client.last(&String::from_utf8(first).unwrap());
    exchange.last(last.as_bytes()).await.unwrap();
    let again = exchange.last(last.as_bytes()).await;
    assert!(matches!(again, Err(AuthError::Malformed { .. })));
}

#[tokio::test]
async fn a_user_of_version_1_gets_a_verifier_at_the_next_login() {
    let folder = tempfile::tempdir().unwrap();
    let hash = {
        use argon2::password_hash::{PasswordHasher as _, SaltString};
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let hasher = argon2::Argon2::default();
        hasher.hash_password(b"old", &salt).unwrap().to_string()
    };
    let path = folder.path().join("control.db");
    std::fs::write(&path, b"").unwrap();
    sqlx::any::install_default_drivers();
    let pool = AnyPool::connect(&url(&folder)).await.unwrap();
    for statement in [
        "CREATE TABLE tarn_migrations (version BIGINT NOT NULL PRIMARY KEY)",
        "INSERT INTO tarn_migrations (version) VALUES (1)",
        "CREATE TABLE tarn_users (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE,
            password_hash TEXT NOT NULL, created_at_ms BIGINT NOT NULL, updated_at_ms BIGINT NOT NULL)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    for name in ["admin", "ann"] {
        sqlx::query("INSERT INTO tarn_users VALUES ($1, $1, $2, 1, 1)")
            .bind(name)
            .bind(&hash)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;

    let control = open(&folder).await;
    let without = scram_login(&control, "ann", "old", home()).await;
    assert!(matches!(without, Err(AuthError::Denied)), "{without:?}");
    assert!(matches!(
        login(&control, "ann", "wrong").await,
        Err(AuthError::Denied)
    ));
    assert!(!login(&control, "ann", "old").await.unwrap().is_admin);
    check_login(&control, "ann", "old", true).await;
    check_login(&control, "ann", "wrong", false).await;
    // The first user stays the administrator; a configured password completes it, too.
    control.ensure_admin(Some("old".into())).await.unwrap();
    check_login(&control, ADMIN_NAME, "old", true).await;
    assert!(login(&control, ADMIN_NAME, "old").await.unwrap().is_admin);
}

#[tokio::test]
async fn whatever_changes_of_a_user_is_noticed_at_once_by_every_process() {
    let (control, folder) = opened().await;
    let other = open(&folder).await;
    control
        .create_user(ADMIN_NAME, user("ann", Some("old")))
        .await
        .unwrap();
    check_login(&other, "ann", "old", true).await;
    let change = |change| control.alter_user(ADMIN_NAME, "ann", change);

    let password = Some(Some(SecretString::from("new")));
    change(UserChange {
        password,
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "old", false).await;
    check_login(&other, "ann", "new", true).await;

    change(UserChange {
        disabled: Some(true),
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "new", false).await;
    change(UserChange {
        disabled: Some(false),
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "new", true).await;

    let valid_until_ms = Some(Some(now_ms() - 1));
    change(UserChange {
        valid_until_ms,
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "new", false).await;
    change(UserChange {
        valid_until_ms: Some(None),
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "new", true).await;

    change(UserChange {
        is_admin: Some(true),
        ..UserChange::default()
    })
    .await
    .unwrap();
    assert!(login(&other, "ann", "new").await.unwrap().is_admin);

    change(UserChange {
        password: Some(None),
        ..UserChange::default()
    })
    .await
    .unwrap();
    check_login(&other, "ann", "new", false).await;

    control.drop_user(ADMIN_NAME, "ann").await.unwrap();
    check_login(&other, "ann", "new", false).await;
}

#[tokio::test]
async fn a_password_given_as_a_verifier_works_everywhere() {
    let (control, _folder) = opened().await;
    let verifier = scram::Verifier::derive("pencil", b"some salt", 5000).to_text();
    control
        .create_user(ADMIN_NAME, user("ann", Some(&verifier)))
        .await
        .unwrap();
    check_login(&control, "ann", "pencil", true).await;
    check_login(&control, "ann", "pen", false).await;
    // The login has added a hash; the salt stays.
    check_login(&control, "ann", "pencil", true).await;
}

#[tokio::test]
async fn an_id_outlives_name_and_password() {
    let (control, _folder) = opened().await;
    let ann = control
        .create_user(ADMIN_NAME, user("ann", Some("old")))
        .await
        .unwrap();
    let change = UserChange {
        password: Some(Some("new".into())),
        name: Some("anna".to_owned()),
        ..UserChange::default()
    };
    control.alter_user(ADMIN_NAME, "ann", change).await.unwrap();
    assert_eq!(login(&control, "anna", "new").await.unwrap().id, ann.id);
    check_login(&control, "ann", "new", false).await;
}

#[tokio::test]
async fn only_administrators_manage_others() {
    let (control, _folder) = opened().await;
    for name in ["ann", "bob"] {
        control
            .create_user(ADMIN_NAME, user(name, Some("pw")))
            .await
            .unwrap();
    }
    let denied = |result: Result<(), ControlError>| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotAllowed, "{error}");
    };
    denied(
        control
            .create_user("ann", user("eve", None))
            .await
            .map(drop),
    );
    denied(control.drop_user("ann", "bob").await.map(drop));
    denied(control.drop_user("nobody", "bob").await.map(drop));
    denied(
        control
            .create_token("ann", token("bob", "t"))
            .await
            .map(drop),
    );
    denied(control.tokens("ann", Some("bob")).await.map(drop));
    denied(control.revoke_token("ann", "bob", "t").await);
    let admin = |name: &str| {
        let (control, name) = (control.clone(), name.to_owned());
        let change = UserChange {
            is_admin: Some(true),
            ..UserChange::default()
        };
        async move { control.alter_user("ann", &name, change).await.map(drop) }
    };
    denied(admin("ann").await);
    denied(admin("bob").await);
    let password = UserChange {
        password: Some(Some("x".into())),
        ..UserChange::default()
    };
    denied(
        control
            .alter_user("ann", "bob", password.clone())
            .await
            .map(drop),
    );
    control.alter_user("ann", "ann", password).await.unwrap();
    check_login(&control, "ann", "x", true).await;
    let seen = control.visible_users("ann").await.unwrap();
    assert_eq!(
        seen.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(),
        ["ann"]
    );
    assert_eq!(control.visible_users(ADMIN_NAME).await.unwrap().len(), 3);
}

#[tokio::test]
async fn somebody_can_always_administer_the_installation() {
    let (control, _folder) = opened().await;
    let last = |result: Result<User, ControlError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, ControlError::LastAdmin { .. }), "{error}");
    };
    let default = UserChange::default;
    let changes = [
        UserChange {
            disabled: Some(true),
            ..default()
        },
        UserChange {
            is_admin: Some(false),
            ..default()
        },
        UserChange {
            valid_until_ms: Some(Some(now_ms() + 1_000_000)),
            ..default()
        },
        UserChange {
            password: Some(None),
            ..default()
        },
    ];
    for change in changes.clone() {
        last(control.alter_user(ADMIN_NAME, ADMIN_NAME, change).await);
    }
    let error = control.drop_user(ADMIN_NAME, ADMIN_NAME).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InUse);
    check_login(&control, ADMIN_NAME, "admin", true).await;
    // Of two that disable each other at the same time one remains.
    let mut second = user("root", Some("pw"));
    second.is_admin = true;
    control.create_user(ADMIN_NAME, second).await.unwrap();
    let (left, right) = tokio::join!(
        control.alter_user(ADMIN_NAME, "root", changes[0].clone()),
        control.alter_user("root", ADMIN_NAME, changes[0].clone()),
    );
    assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
}

#[tokio::test]
async fn names_that_cannot_be_used_are_refused() {
    let (control, _folder) = opened().await;
    let long = "x".repeat(257);
    for name in ["", " a", "a:b", "a\nb", "public", "pg_monitor", &long] {
        let error = control
            .create_user(ADMIN_NAME, user(name, None))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ControlError::UnusableName { .. }),
            "{error}"
        );
    }
    let error = control
        .create_user(ADMIN_NAME, user(ADMIN_NAME, None))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Exists);
    for name in ["Ann", "ann@example.com", "größe", "o'neil"] {
        control
            .create_user(ADMIN_NAME, user(name, Some("pw")))
            .await
            .unwrap();
        check_login(&control, name, "pw", true).await;
    }
}

#[tokio::test]
async fn who_is_logged_in_stays_welcome_until_something_is_taken_away() {
    let (control, _folder) = opened().await;
    let create = async |name: &str| {
        let created = control
            .create_user(ADMIN_NAME, user(name, Some("pw")))
            .await;
        created.unwrap();
    };
    create("ann").await;
    let made = control
        .create_token("ann", token("ann", "t"))
        .await
        .unwrap();
    let ann = login(&control, "ann", "pw").await.unwrap();
    let by_token = login(&control, "ann", made.secret.expose_secret())
        .await
        .unwrap();
    assert_eq!((&ann.id, &ann.token), (&by_token.id, &None));
    assert_eq!(by_token.token.as_ref(), Some(&made.token.id));
    let welcome =
        async |principal: &Principal| control.welcome().await.unwrap().includes(principal);
    assert!(welcome(&ann).await && welcome(&by_token).await);
    let change = |change| control.alter_user(ADMIN_NAME, "ann", change);
    let default = UserChange::default;

    // More rights end nothing; fewer do.
    change(UserChange {
        is_admin: Some(true),
        ..default()
    })
    .await
    .unwrap();
    let root = login(&control, "ann", "pw").await.unwrap();
    assert!(welcome(&ann).await && welcome(&root).await);
    change(UserChange {
        is_admin: Some(false),
        ..default()
    })
    .await
    .unwrap();
    assert!(welcome(&ann).await && !welcome(&root).await);

    control.revoke_token("ann", "ann", "t").await.unwrap();
    assert!(welcome(&ann).await && !welcome(&by_token).await);
    change(UserChange {
        disabled: Some(true),
        ..default()
    })
    .await
    .unwrap();
    assert!(!welcome(&ann).await);
    change(UserChange {
        disabled: Some(false),
        ..default()
    })
    .await
    .unwrap();
    assert!(welcome(&ann).await);
    // Somebody else may have the name now.
    change(UserChange {
        name: Some("anna".to_owned()),
        ..default()
    })
    .await
    .unwrap();
    create("ann").await;
    assert!(!welcome(&ann).await);
}
