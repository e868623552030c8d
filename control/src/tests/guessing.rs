//! What guessing of passwords costs the guesser, and nobody else.

use super::*;

#[tokio::test]
async fn a_guesser_must_wait_and_nobody_else() {
    let (control, _folder) = opened().await;
    let guesser = origin("192.0.2.1");
    let own = control
        .create_token(ADMIN_NAME, token(ADMIN_NAME, "t"))
        .await
        .unwrap()
        .secret;
    let mut denied = 0;
    let retry_after = loop {
        let by_scram = scram_login(&control, ADMIN_NAME, "guess", guesser).await;
        match by_scram.unwrap_err() {
            AuthError::Denied => denied += 1,
            AuthError::TooMany { retry_after } => break retry_after,
            error => panic!("{error:?}"),
        }
    };
    assert_eq!(denied, 10);
    assert!(retry_after > Duration::from_secs(20), "{retry_after:?}");
    // Also with the right password, and on the other doors; but not with a token or elsewhere.
    let answer = control
        .authenticate(ADMIN_NAME, &"admin".into(), guesser)
        .await;
    let error = answer.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooManyFailures);
    assert!(error.code().is_retryable());
    control
        .authenticate(ADMIN_NAME, &own, guesser)
        .await
        .unwrap();
    control.authenticate_token(&own, guesser).await.unwrap();
    check_login(&control, ADMIN_NAME, "admin", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_guesses_at_once_are_no_more_guesses() {
    let (control, _folder) = opened().await;
    let guesses = (0..100).map(|n| {
        let control = control.clone();
        tokio::spawn(async move {
            let password = SecretString::from(format!("guess{n}"));
            control
                .authenticate(ADMIN_NAME, &password, origin("192.0.2.1"))
                .await
        })
    });
    let mut denied = 0;
    for guess in guesses.collect::<Vec<_>>() {
        if let Err(AuthError::Denied) = guess.await.unwrap() {
            denied += 1;
        }
    }
    assert!((10..=13).contains(&denied), "{denied} guesses were checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_logins_at_once_with_the_right_password_all_succeed() {
    let (control, _folder) = opened().await;
    let logins = (0..250).map(|_| {
        let control = control.clone();
        tokio::spawn(async move { login(&control, ADMIN_NAME, "admin").await })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap().unwrap();
    }
}
