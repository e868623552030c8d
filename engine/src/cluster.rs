//! The cluster's credential: what proves that a fragment comes from our own cluster, and what
//! keeps storage keys unreadable between coordinator and worker.
//!
//! The secret itself is never sent. A call carries a short-lived token (HMAC-SHA256 over time and
//! nonce); storage configuration is sealed with AES-256-GCM under a key derived from the secret.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// Purpose under which storage configuration is sealed.
pub const SEAL_STORAGE: &str = "storage";
/// Name of the gRPC header that carries the token.
pub const TOKEN_HEADER: &str = "tarn-cluster-token";
/// A token older, or younger, than this is refused.
const TOKEN_AGE_SECONDS_MAX: u64 = 300;
/// Bytes of AES-GCM's nonce.
const NONCE_BYTES: usize = 12;
/// Shortest secret accepted, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// Why a credential was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CredentialError {
    /// The configured secret is too short.
    #[error(
        "the cluster secret must have at least {SECRET_BYTES_MIN} characters; set [cluster] secret or TARN__CLUSTER__SECRET"
    )]
    TooShort,
    /// No token, or not one of ours.
    #[error(
        "the cluster credential is missing or wrong; give every process of the cluster the same [cluster] secret"
    )]
    Refused,
    /// The token is too old or too young.
    #[error(
        "the cluster credential has expired; are the clocks of the machines apart by more than {TOKEN_AGE_SECONDS_MAX} s?"
    )]
    Expired,
    /// A sealed message that this secret does not open.
    #[error("the sealed configuration cannot be opened with this cluster secret")]
    Unsealed,
}

/// The secret shared by the processes of one cluster.
#[derive(Clone)]
pub struct ClusterSecret {
    token_key: Zeroizing<Vec<u8>>,
    seal_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(***)")
    }
}

impl ClusterSecret {
    /// Takes the secret as configured.
    ///
    /// # Errors
    /// [`CredentialError::TooShort`] below 16 bytes.
    pub fn new(secret: &str) -> Result<Self, CredentialError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(CredentialError::TooShort);
        }
        Ok(Self {
            token_key: derive(secret, "tarn cluster token v1")?,
            seal_key: derive(secret, "tarn cluster seal v1")?,
        })
    }

    /// A new random secret, as text.
    pub fn generate() -> String {
        let mut bytes = [0u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        hex(&bytes)
    }

    /// A token valid from now for five minutes.
    pub fn token(&self) -> String {
        let mut nonce = [0u8; 8];
        rand::rng().fill_bytes(&mut nonce);
        let body = format!("v1.{}.{}", unix_seconds(), hex(&nonce));
        let tag = hex(&self.tag(&body));
        format!("{body}.{tag}")
    }

    /// Checks a token that a caller sent.
    ///
    /// # Errors
    /// [`CredentialError::Refused`] or [`CredentialError::Expired`].
    pub fn verify(&self, token: &str) -> Result<(), CredentialError> {
        let (body, tag) = token.rsplit_once('.').ok_or(CredentialError::Refused)?;
        let tag = unhex(tag).ok_or(CredentialError::Refused)?;
        let mut mac = self.mac().ok_or(CredentialError::Refused)?;
        mac.update(body.as_bytes());
        mac.verify_slice(&tag)
            .map_err(|_| CredentialError::Refused)?;
        let sent: u64 = body
            .split('.')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or(CredentialError::Refused)?;
        if unix_seconds().abs_diff(sent) > TOKEN_AGE_SECONDS_MAX {
            return Err(CredentialError::Expired);
        }
        Ok(())
    }

    /// Encrypts `clear` for another process of the cluster; `purpose` is authenticated with it.
    ///
    /// # Errors
    /// [`CredentialError::Unsealed`] if the cipher fails (it does not, for messages under 64 GiB).
    pub fn seal(&self, purpose: &str, clear: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let mut nonce = [0u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: clear,
            aad: purpose.as_bytes(),
        };
        let mut out = nonce.to_vec();
        out.extend(
            self.cipher()?
                .encrypt(Nonce::from_slice(&nonce), payload)
                .map_err(|_| CredentialError::Unsealed)?,
        );
        Ok(out)
    }

    /// Decrypts what [`Self::seal`] made for the same purpose.
    ///
    /// # Errors
    /// [`CredentialError::Unsealed`] if it was made with another secret or was changed.
    pub fn open(
        &self,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        if sealed.len() < NONCE_BYTES {
            return Err(CredentialError::Unsealed);
        }
        let (nonce, cipher) = sealed.split_at(NONCE_BYTES);
        let payload = Payload {
            msg: cipher,
            aad: purpose.as_bytes(),
        };
        self.cipher()?
            .decrypt(Nonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| CredentialError::Unsealed)
    }

    fn cipher(&self) -> Result<Aes256Gcm, CredentialError> {
        Aes256Gcm::new_from_slice(&self.seal_key).map_err(|_| CredentialError::Unsealed)
    }

    fn mac(&self) -> Option<Hmac<Sha256>> {
        <Hmac<Sha256> as Mac>::new_from_slice(&self.token_key).ok()
    }

    fn tag(&self, body: &str) -> Vec<u8> {
        self.mac().map_or_else(Vec::new, |mut mac| {
            mac.update(body.as_bytes());
            mac.finalize().into_bytes().to_vec()
        })
    }
}

/// A key for one purpose from the secret. Source: HKDF's expand step (RFC 5869) with one block.
fn derive(secret: &str, purpose: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes())
        .map_err(|_| CredentialError::TooShort)?;
    mac.update(purpose.as_bytes());
    Ok(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> ClusterSecret {
        ClusterSecret::new(text).unwrap()
    }

    #[test]
    fn a_token_of_another_secret_is_refused() {
        let ours = secret("0123456789abcdef");
        let theirs = secret("fedcba9876543210");
        assert_eq!(ours.verify(&ours.token()), Ok(()));
        assert_eq!(ours.verify(&theirs.token()), Err(CredentialError::Refused));
        assert_eq!(ours.verify(""), Err(CredentialError::Refused));
        let mut token = ours.token();
        token.replace_range(3..4, "9");
        assert_eq!(ours.verify(&token), Err(CredentialError::Refused));
    }

    #[test]
    fn an_old_token_is_refused() {
        let ours = secret("0123456789abcdef");
        let body = format!("v1.{}.00", unix_seconds() - 301);
        let token = format!("{body}.{}", hex(&ours.tag(&body)));
        assert_eq!(ours.verify(&token), Err(CredentialError::Expired));
    }

    #[test]
    fn a_sealed_message_opens_only_for_its_purpose_and_secret() {
        let ours = secret("0123456789abcdef");
        let sealed = ours.seal("storage", b"key").unwrap();
        assert!(!sealed.windows(3).any(|w| w == b"key"));
        assert_eq!(ours.open("storage", &sealed).unwrap().as_slice(), b"key");
        assert!(ours.open("other", &sealed).is_err());
        assert!(secret("fedcba9876543210").open("storage", &sealed).is_err());
    }

    #[test]
    fn the_secret_does_not_show_in_debug() {
        assert_eq!(
            format!("{:?}", secret("0123456789abcdef")),
            "ClusterSecret(***)"
        );
    }
}
