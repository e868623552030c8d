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

/// A longer password is refused: each check reads all of it.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// Hashes computed at once. Each takes 19 MiB and about 20 ms of one core.
const HASHES_MAX: usize = 2;

/// Checks waiting or running at once; beyond that callers are told to come back.
const CHECKS_MAX: usize = 256;

/// How long a right password is remembered.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// Right passwords remembered at once.
const REMEMBERED_MAX: usize = 1024;

/// Letters and digits of a generated password; 24 of 62 kinds are 142 bits.
const GENERATED_CHARACTERS: usize = 24;

/// Makes and checks password hashes within bounds.
pub(crate) struct Passwords {
    /// Checked when the user does not exist, so that this costs the same.
    dummy_hash: String,
    /// Keys the digests of remembered passwords; lives and dies with the process.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    hashing: Semaphore,
    checking: Semaphore,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    pub(crate) async fn new() -> Result<Self, ControlError> {
        let dummy_hash = hash_on_a_thread(generate()).await?;
        Ok(Self {
            dummy_hash,
            key: rand::rng().random(),
            remembered: Mutex::new(HashMap::new()),
            hashing: Semaphore::new(HASHES_MAX),
            checking: Semaphore::new(CHECKS_MAX),
        })
    }

    /// The hash of `password` in PHC form, with a salt of its own.
    pub(crate) async fn hash(&self, password: &SecretString) -> Result<String, ControlError> {
        check_length(password)?;
        let _permit = self
            .hashing
            .acquire()
            .await
            .map_err(|_| hash_error("shutting down"))?;
        hash_on_a_thread(password.clone()).await
    }

    /// Whether `password` is the one of `stored_hash`; `None` stands for a user that
    /// does not exist and is never right, but costs the same.
    pub(crate) async fn check(
        &self,
        password: &SecretString,
        stored_hash: Option<&str>,
    ) -> Result<bool, AuthError> {
        let digest = stored_hash.map(|hash| self.digest(password, hash));
        if digest.is_some_and(|digest| self.is_remembered(&digest)) {
            return Ok(true);
        }
        let Ok(_place) = self.checking.try_acquire() else {
            return Err(AuthError::Busy);
        };
        let _permit = self.hashing.acquire().await.map_err(|_| AuthError::Busy)?;
        let matches = verify_on_a_thread(password, stored_hash.unwrap_or(&self.dummy_hash))
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

    /// Keyed digest of a password for one stored hash. A new password has a new
    /// salt, so what was remembered for the old one matches no longer.
    fn digest(&self, password: &SecretString, stored_hash: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update((stored_hash.len() as u64).to_le_bytes());
        hasher.update(stored_hash.as_bytes());
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

async fn hash_on_a_thread(password: SecretString) -> Result<String, ControlError> {
    let salt: [u8; 16] = rand::rng().random();
    let hashing = move || -> Result<String, argon2::password_hash::Error> {
        let salt = SaltString::encode_b64(&salt)?;
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes(), &salt)?;
        Ok(hash.to_string())
    };
    let hashed = tokio::task::spawn_blocking(hashing)
        .await
        .map_err(hash_error)?;
    hashed.map_err(hash_error)
}

async fn verify_on_a_thread(
    password: &SecretString,
    stored_hash: &str,
) -> Result<bool, ControlError> {
    // A password that no user can have costs no more than one that some user has.
    let usable = check_length(password).is_ok();
    let password = if usable {
        password.clone()
    } else {
        SecretString::from("x")
    };
    let stored_hash = stored_hash.to_owned();
    let verifying = move || -> Result<bool, argon2::password_hash::Error> {
        let hash = PasswordHash::new(&stored_hash)?;
        match Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash) {
            Ok(()) => Ok(usable),
            Err(argon2::password_hash::Error::Password) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let verified = tokio::task::spawn_blocking(verifying)
        .await
        .map_err(hash_error)?;
    verified.map_err(hash_error)
}

fn hash_error(reason: impl fmt::Display) -> ControlError {
    ControlError::Hash {
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::new().await.unwrap();
        let hash = passwords.hash(&"right".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.check(&"right".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.check(&"wrong".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.check(&"".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.check(&"right".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let passwords = Passwords::new().await.unwrap();
        let first = passwords.hash(&"same".into()).await.unwrap();
        assert_ne!(first, passwords.hash(&"same".into()).await.unwrap());
    }

    #[tokio::test]
    async fn unusable_passwords_are_refused() {
        let passwords = Passwords::new().await.unwrap();
        let long = SecretString::from("x".repeat(PASSWORD_BYTES_MAX + 1));
        assert!(matches!(
            passwords.hash(&"".into()).await,
            Err(ControlError::EmptyPassword)
        ));
        assert!(matches!(
            passwords.hash(&long).await,
            Err(ControlError::PasswordTooLong { .. })
        ));
        let hash = passwords.hash(&"x".into()).await.unwrap();
        assert!(!passwords.check(&long, Some(&hash)).await.unwrap());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_for_its_hash_only() {
        let passwords = Passwords::new().await.unwrap();
        let hash = passwords.hash(&"right".into()).await.unwrap();
        let other = passwords.hash(&"right".into()).await.unwrap();
        assert!(passwords.check(&"right".into(), Some(&hash)).await.unwrap());
        // With no place left to hash, only what is remembered can be answered.
        let _all = passwords
            .checking
            .acquire_many(u32::try_from(CHECKS_MAX).unwrap())
            .await
            .unwrap();
        assert!(passwords.check(&"right".into(), Some(&hash)).await.unwrap());
        for (password, hash) in [
            ("right", Some(&other)),
            ("wrong", Some(&hash)),
            ("right", None),
        ] {
            let answer = passwords
                .check(&password.into(), hash.map(String::as_str))
                .await;
            assert!(matches!(answer, Err(AuthError::Busy)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_expires() {
        let passwords = Passwords::new().await.unwrap();
        for index in 0..2 * REMEMBERED_MAX {
            passwords.remember(passwords.digest(&index.to_string().into(), "hash"));
        }
        assert_eq!(passwords.remembered.lock().unwrap().len(), REMEMBERED_MAX);
        for until in passwords.remembered.lock().unwrap().values_mut() {
            *until = Instant::now();
        }
        let digest = passwords.digest(&"1".into(), "hash");
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
    }
}
