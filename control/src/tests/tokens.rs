//! Personal access tokens: made, used, listed, bounded, ended.

use super::*;

#[tokio::test]
async fn a_token_is_a_password_on_every_door_until_it_is_revoked() {
    let (control, folder) = opened().await;
    let other = open(&folder).await;
    let mut robot = user("robot", None);
    robot.kind = UserKind::Service;
    control.create_user(ADMIN_NAME, robot).await.unwrap();
    let created = control
        .create_token(ADMIN_NAME, token("robot", "ci"))
        .await
        .unwrap();
    let secret = created.secret.expose_secret().to_owned();
    assert!(secret.starts_with(TOKEN_PREFIX) && secret.len() == TOKEN_PREFIX.len() + 43);
    assert!(!format!("{created:?}").contains(&secret));
    let bearer = |control: &Control, secret: &str| {
        let (control, secret) = (control.clone(), SecretString::from(secret));
        async move { control.authenticate_token(&secret, home()).await }
    };
    check_login(&other, "robot", &secret, true).await;
    let principal = bearer(&other, &secret).await.unwrap();
    assert_eq!(
        (principal.name.as_str(), principal.kind),
        ("robot", UserKind::Service)
    );
    check_login(&other, ADMIN_NAME, &secret, false).await;
    check_login(&other, "robot", &secret[..secret.len() - 1], false).await;
    let not_a_token = bearer(&other, "admin").await;
    assert!(matches!(not_a_token, Err(AuthError::Denied)));
    // Its hash is stored, it is not.
    let pool = AnyPool::connect(&url(&folder)).await.unwrap();
    let row = sqlx::query("SELECT token_hash FROM tarn_tokens")
        .fetch_one(&pool)
        .await
        .unwrap();
    let hash: String = sqlx::Row::get(&row, "token_hash");
    assert_eq!(hash.len(), 64);
    assert!(!hash.contains(&secret));

    control.revoke_token("robot", "robot", "ci").await.unwrap();
    check_login(&other, "robot", &secret, false).await;
    assert!(matches!(
        bearer(&other, &secret).await,
        Err(AuthError::Denied)
    ));
    let error = control
        .revoke_token("robot", "robot", "ci")
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn tokens_expire_and_fall_with_their_user() {
    let (control, _folder) = opened().await;
    control
        .create_user(ADMIN_NAME, user("ann", Some("pw")))
        .await
        .unwrap();
    let mut short = token("ann", "short");
    short.expires_at_ms = Some(now_ms() + 700);
    let short = control.create_token("ann", short).await.unwrap();
    let long = control
        .create_token("ann", token("ann", "long"))
        .await
        .unwrap();
    check_login(&control, "ann", short.secret.expose_secret(), true).await;
    while now_ms() < short.token.expires_at_ms.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check_login(&control, "ann", short.secret.expose_secret(), false).await;
    check_login(&control, "ann", long.secret.expose_secret(), true).await;
    let mut past = token("ann", "past");
    past.expires_at_ms = Some(now_ms() - 1);
    let error = control.create_token("ann", past).await.unwrap_err();
    assert!(matches!(error, ControlError::ExpiresInThePast));
    // A new password does not touch tokens; disabling does.
    let password = UserChange {
        password: Some(Some("new".into())),
        ..UserChange::default()
    };
    control.alter_user("ann", "ann", password).await.unwrap();
    check_login(&control, "ann", long.secret.expose_secret(), true).await;
    let disabled = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    control
        .alter_user(ADMIN_NAME, "ann", disabled)
        .await
        .unwrap();
    check_login(&control, "ann", long.secret.expose_secret(), false).await;
    control.drop_user(ADMIN_NAME, "ann").await.unwrap();
    control
        .create_user(ADMIN_NAME, user("ann", Some("pw")))
        .await
        .unwrap();
    check_login(&control, "ann", long.secret.expose_secret(), false).await;
    assert!(control.tokens(ADMIN_NAME, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn tokens_are_listed_with_their_last_use() {
    let (control, _folder) = opened().await;
    control
        .create_user(ADMIN_NAME, user("ann", None))
        .await
        .unwrap();
    let mut first = token("ann", "first");
    first.comment = Some("for the laptop".to_owned());
    let first = control.create_token("ann", first).await.unwrap();
    control
        .create_token(ADMIN_NAME, token(ADMIN_NAME, "own"))
        .await
        .unwrap();
    let listed = control.tokens("ann", None).await.unwrap();
    assert_eq!(listed, [first.token]);
    assert_eq!(control.tokens(ADMIN_NAME, None).await.unwrap().len(), 2);
    assert_eq!(
        control.tokens(ADMIN_NAME, Some("ann")).await.unwrap(),
        listed
    );
    let again = control
        .create_token("ann", token("ann", "first"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), ErrorCode::Exists);
    let before_ms = now_ms();
    login(&control, "ann", first.secret.expose_secret())
        .await
        .unwrap();
    let deadline = before_ms + 10_000;
    let used_ms = loop {
        let listed = control.tokens("ann", None).await.unwrap();
        if let Some(used_ms) = listed[0].last_used_at_ms {
            break used_ms;
        }
        assert!(now_ms() < deadline, "the use was not written down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!((before_ms..=now_ms()).contains(&used_ms));
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_tokens() {
    let (control, _folder) = opened().await;
    for n in 0..100 {
        let name = n.to_string();
        control
            .create_token(ADMIN_NAME, token(ADMIN_NAME, &name))
            .await
            .unwrap();
    }
    let error = control
        .create_token(ADMIN_NAME, token(ADMIN_NAME, "more"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::LimitReached);
}
