//! Password hashes: made, checked, and remembered for a moment.
//!
//! Bounds the work that callers can cause. Knows no users and no database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use rand::Rng as _;
use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::error::{AuthError, ControlError};
use crate::scram::{self, VERIFIER_PREFIX, Verifier};
use crate::token::TOKEN_PREFIX;

/// A longer password is refused: each check reads all of it.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// Hashes computed at once. Each takes 19 MiB and about 20 ms of one core, a verifier 1 ms more.
const HASHES_MAX: usize = 2;

/// Checks waiting or running at once; beyond that callers are told to come back.
const CHECKS_MAX: usize = 256;

/// How long a right password is remembered.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// Right passwords remembered at once.
const REMEMBERED_MAX: usize = 1024;

/// Letters and digits of a generated password; 24 of 62 kinds are 142 bits.
const GENERATED_CHARACTERS: usize = 24;

/// What is stored of one password; nothing, if the user has none.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    /// Argon2 in PHC form. Missing if only a verifier was given.
    pub(crate) hash: Option<String>,
    /// Missing until a password of version 1 is seen again.
    pub(crate) verifier: Option<Verifier>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stored").finish_non_exhaustive()
    }
}

/// Makes and checks password hashes within bounds.
pub(crate) struct Passwords {
    /// Checked when there is nothing to check, so that this costs the same.
    dummy: Work,
    /// Keys the digests of remembered passwords; lives and dies with the process.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    hashing: Semaphore,
    checking: Semaphore,
}

/// What every check computes, whoever the user is.
#[derive(Clone)]
struct Work {
    hash: String,
    verifier: Verifier,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    pub(crate) async fn new() -> Result<Self, ControlError> {
        let dummy = on_a_thread(|| make_both(generate().expose_secret(), &scram::fresh_salt()));
        Ok(Self {
            dummy: dummy.await?,
            key: rand::rng().random(),
            remembered: Mutex::new(HashMap::new()),
            hashing: Semaphore::new(HASHES_MAX),
            checking: Semaphore::new(CHECKS_MAX),
        })
    }

    /// A verifier that no password fits, for exchanges that must fail at their end only.
    pub(crate) fn dummy_verifier(&self) -> Verifier {
        self.dummy.verifier.clone()
    }

    /// Hash and verifier of `password`, made together; the hash has a salt of its own, the verifier
    /// gets `salt`. A password that is a SCRAM verifier itself, as psql's `\password` sends it,
    /// becomes the verifier.
    pub(crate) async fn make(
        &self,
        password: &SecretString,
        salt: &[u8],
    ) -> Result<Stored, ControlError> {
        check_length(password)?;
        let text = password.expose_secret();
        if text.starts_with(VERIFIER_PREFIX) {
            let parsed = Verifier::parse(text);
            let verifier = parsed.map_err(|reason| ControlError::Verifier { reason })?;
            return Ok(Stored {
                hash: None,
                verifier: Some(verifier),
            });
        }
        if text.starts_with(TOKEN_PREFIX) {
            return Err(ControlError::PasswordLikeToken);
        }
        let _permit = self
            .hashing
            .acquire()
            .await
            .map_err(|_| hash_error("shutting down"))?;
        let (password, salt) = (password.clone(), salt.to_vec());
        let made = on_a_thread(move || make_both(password.expose_secret(), &salt)).await?;
        Ok(Stored {
            hash: Some(made.hash),
            verifier: Some(made.verifier),
        })
    }

    /// Whether `password` is the one of `stored`; `None` stands for a user that does not exist and
    /// is never right, but costs the same. `gate` is asked last before the work begins: callers
    /// that have waited for a place may have become too many.
    pub(crate) async fn check(
        &self,
        password: &SecretString,
        stored: Option<&Stored>,
        gate: impl Fn() -> Result<(), AuthError>,
    ) -> Result<bool, AuthError> {
        let digest = stored.map(|stored| self.digest(password, stored));
        if digest.is_some_and(|digest| self.is_remembered(&digest)) {
            return Ok(true);
        }
        let Ok(_place) = self.checking.try_acquire() else {
            return Err(AuthError::Busy);
        };
        let _permit = self.hashing.acquire().await.map_err(|_| AuthError::Busy)?;
        // Of many logins at once with one password the first does the work.
        if digest.is_some_and(|digest| self.is_remembered(&digest)) {
            return Ok(true);
        }
        gate()?;
        let matches = self
            .verify(password, stored)
            .await
            .map_err(AuthError::Control)?;
        match digest {
            Some(digest) if matches => {
                self.remember(digest);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn verify(
        &self,
        password: &SecretString,
        stored: Option<&Stored>,
    ) -> Result<bool, ControlError> {
        let (hash, verifier) = stored.map_or((None, None), |stored| {
            (stored.hash.clone(), stored.verifier.clone())
        });
        // A password that no user can have costs no more than one that some user has.
        let usable = check_length(password).is_ok();
        let password = if usable {
            password.clone()
        } else {
            SecretString::from("x")
        };
        let (by_hash, by_verifier) = (hash.is_some(), verifier.is_some());
        let work = Work {
            hash: hash.unwrap_or_else(|| self.dummy.hash.clone()),
            verifier: verifier.unwrap_or_else(|| self.dummy.verifier.clone()),
        };
        on_a_thread(move || {
            let text = password.expose_secret();
            // A hash of version 1, which has no verifier yet, was made of the text as it was typed.
            let hashed = if by_verifier {
                scram::prepare(text)
            } else {
                text.into()
            };
            let hash_fits = verify_hash(&hashed, &work.hash)?;
            let verifier_fits = work.verifier.fits(text);
            let fits = if by_hash {
                hash_fits
            } else {
                by_verifier && verifier_fits
            };
            Ok(usable && fits)
        })
        .await
    }

    /// Keyed digest of a password for what is stored. A new password has a new
    /// salt, so what was remembered for the old one matches no longer.
    fn digest(&self, password: &SecretString, stored: &Stored) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        let verifier = stored.verifier.as_ref().map(Verifier::to_text);
        for part in [stored.hash.as_deref(), verifier.as_deref()] {
            let part = part.unwrap_or_default();
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(password.expose_secret().as_bytes());
        hasher.finalize().into()
    }

    fn is_remembered(&self, digest: &[u8; 32]) -> bool {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(digest)
            .is_some_and(|until| Instant::now() < *until)
    }

    fn remember(&self, digest: [u8; 32]) {
        let now = Instant::now();
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, until| now < *until);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(digest, now + REMEMBERED_FOR);
        }
    }
}

/// A password nobody guesses.
pub(crate) fn generate() -> SecretString {
    Alphanumeric
        .sample_string(&mut rand::rng(), GENERATED_CHARACTERS)
        .into()
}

fn check_length(password: &SecretString) -> Result<(), ControlError> {
    match password.expose_secret().len() {
        0 => Err(ControlError::EmptyPassword),
        1..=PASSWORD_BYTES_MAX => Ok(()),
        _ => Err(ControlError::PasswordTooLong {
            bytes_max: PASSWORD_BYTES_MAX,
        }),
    }
}

fn make_both(password: &str, scram_salt: &[u8]) -> Result<Work, ControlError> {
    let salt: [u8; 16] = rand::rng().random();
    let salt = SaltString::encode_b64(&salt).map_err(hash_error)?;
    let prepared = scram::prepare(password);
    let hash = Argon2::default()
        .hash_password(prepared.as_bytes(), &salt)
        .map_err(hash_error)?;
    Ok(Work {
        hash: hash.to_string(),
        verifier: Verifier::derive(password, scram_salt, scram::ITERATIONS),
    })
}

fn verify_hash(password: &str, stored_hash: &str) -> Result<bool, ControlError> {
    let hash = PasswordHash::new(stored_hash).map_err(hash_error)?;
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(hash_error(error)),
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(hash_error)?
}

fn hash_error(reason: impl fmt::Display) -> ControlError {
    ControlError::Hash {
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "a gate can be closed")]
    fn open() -> Result<(), AuthError> {
        Ok(())
    }

    async fn check(passwords: &Passwords, password: &str, stored: Option<&Stored>) -> bool {
        let answer = passwords.check(&password.into(), stored, open).await;
        answer.unwrap()
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::new().await.unwrap();
        let stored = passwords.make(&"right".into(), b"salt").await.unwrap();
        let hash = stored.hash.as_deref().unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(check(&passwords, "right", Some(&stored)).await);
        assert!(!check(&passwords, "wrong", Some(&stored)).await);
        assert!(!check(&passwords, "", Some(&stored)).await);
        assert!(!check(&passwords, "right", None).await);
        assert!(!check(&passwords, "right", Some(&Stored::default())).await);
    }

    #[tokio::test]
    async fn hash_and_verifier_are_of_one_password_however_it_is_typed() {
        let passwords = Passwords::new().await.unwrap();
        let stored = passwords.make(&"gr\u{fc}n".into(), b"salt").await.unwrap();
        assert!(stored.verifier.as_ref().unwrap().fits("gr\u{fc}n"));
        assert!(check(&passwords, "gru\u{308}n", Some(&stored)).await);
        // A hash of version 1 is of the text as it was.
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let hash = Argon2::default()
            .hash_password("gru\u{308}n".as_bytes(), &salt)
            .unwrap()
            .to_string();
        let old = Stored {
            hash: Some(hash),
            verifier: None,
        };
        assert!(check(&passwords, "gru\u{308}n", Some(&old)).await);
    }

    #[tokio::test]
    async fn a_verifier_alone_is_enough_to_check_a_password() {
        let passwords = Passwords::new().await.unwrap();
        let verifier = Verifier::derive("right", b"salt", scram::ITERATIONS);
        let stored = passwords
            .make(&verifier.to_text().into(), b"other")
            .await
            .unwrap();
        assert!(stored.hash.is_none());
        assert!(check(&passwords, "right", Some(&stored)).await);
        assert!(!check(&passwords, "wrong", Some(&stored)).await);
        assert!(!check(&passwords, &verifier.to_text(), Some(&stored)).await);
        let broken = passwords.make(&"SCRAM-SHA-256$1:x".into(), b"salt").await;
        assert!(matches!(broken, Err(ControlError::Verifier { .. })));
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let passwords = Passwords::new().await.unwrap();
        let first = passwords.make(&"same".into(), b"salt").await.unwrap();
        let second = passwords.make(&"same".into(), b"salt").await.unwrap();
        assert_ne!(first.hash, second.hash);
    }

    #[tokio::test]
    async fn unusable_passwords_are_refused() {
        let passwords = Passwords::new().await.unwrap();
        let long = SecretString::from("x".repeat(PASSWORD_BYTES_MAX + 1));
        assert!(matches!(
            passwords.make(&"".into(), b"salt").await,
            Err(ControlError::EmptyPassword)
        ));
        assert!(matches!(
            passwords.make(&long, b"salt").await,
            Err(ControlError::PasswordTooLong { .. })
        ));
        assert!(matches!(
            passwords
                .make(&format!("{TOKEN_PREFIX}x").into(), b"salt")
                .await,
            Err(ControlError::PasswordLikeToken)
        ));
        let stored = passwords.make(&"x".into(), b"salt").await.unwrap();
        assert!(!passwords.check(&long, Some(&stored), open).await.unwrap());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_for_what_is_stored_only() {
        let passwords = Passwords::new().await.unwrap();
        let stored = passwords.make(&"right".into(), b"salt").await.unwrap();
        let other = passwords.make(&"right".into(), b"salt").await.unwrap();
        assert!(check(&passwords, "right", Some(&stored)).await);
        // With no place left to hash, only what is remembered can be answered.
        let _all = passwords
            .checking
            .acquire_many(u32::try_from(CHECKS_MAX).unwrap())
            .await
            .unwrap();
        assert!(check(&passwords, "right", Some(&stored)).await);
        for (password, stored) in [
            ("right", Some(&other)),
            ("wrong", Some(&stored)),
            ("right", None),
        ] {
            let answer = passwords.check(&password.into(), stored, open).await;
            assert!(matches!(answer, Err(AuthError::Busy)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn the_gate_is_asked_before_the_work() {
        let passwords = Passwords::new().await.unwrap();
        let stored = passwords.make(&"right".into(), b"salt").await.unwrap();
        let closed = || Err(AuthError::Busy);
        let answer = passwords
            .check(&"right".into(), Some(&stored), closed)
            .await;
        assert!(matches!(answer, Err(AuthError::Busy)));
        assert!(check(&passwords, "right", Some(&stored)).await);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_expires() {
        let passwords = Passwords::new().await.unwrap();
        let stored = Stored::default();
        for index in 0..2 * REMEMBERED_MAX {
            passwords.remember(passwords.digest(&index.to_string().into(), &stored));
        }
        assert_eq!(passwords.remembered.lock().unwrap().len(), REMEMBERED_MAX);
        for until in passwords.remembered.lock().unwrap().values_mut() {
            *until = Instant::now();
        }
        let digest = passwords.digest(&"1".into(), &stored);
        assert!(!passwords.is_remembered(&digest));
        passwords.remember(digest);
        assert_eq!(passwords.remembered.lock().unwrap().len(), 1);
    }

    #[test]
    fn generated_passwords_are_long_and_differ() {
        let (first, second) = (generate(), generate());
        assert_eq!(first.expose_secret().len(), GENERATED_CHARACTERS);
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    #[tokio::test]
    async fn debug_output_holds_no_secret() {
        let passwords = Passwords::new().await.unwrap();
        assert_eq!(format!("{passwords:?}"), "Passwords { .. }");
        let stored = passwords.make(&"right".into(), b"salt").await.unwrap();
        assert_eq!(format!("{stored:?}"), "Stored { .. }");
    }
}
