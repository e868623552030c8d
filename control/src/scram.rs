//! SCRAM-SHA-256: verifiers, and the server's side of the exchange.
//!
//! Pure: no users, no database, no clock. Without channel binding, as clients without TLS speak it.
//! Source: RFC 5802, RFC 7677; the text form of a verifier is PostgreSQL's.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The name of the mechanism, for doors that list what they offer.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

/// Rounds of PBKDF2 of the verifiers made here; PostgreSQL's default, which every client accepts.
pub(crate) const ITERATIONS: u32 = 4096;

/// Most rounds of a verifier made elsewhere: each check of a password pays for them.
const ITERATIONS_MAX: u32 = 100_000;

/// Bytes of a salt made here.
const SALT_BYTES: usize = 16;

/// Longest salt of a verifier made elsewhere.
const SALT_BYTES_MAX: usize = 64;

/// Longest message of a client that is read.
const MESSAGE_BYTES_MAX: usize = 2048;

/// Random bytes of the server's part of the nonce.
const NONCE_BYTES: usize = 18;

/// What a verifier in text form begins with.
pub(crate) const VERIFIER_PREFIX: &str = "SCRAM-SHA-256$";

type Bytes32 = [u8; 32];

/// What proves a password without holding it. Says nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    stored_key: Bytes32,
    server_key: Bytes32,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// The verifier of `password`. Takes about a millisecond for 4096 iterations.
    pub(crate) fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted: Bytes32 = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(prepare(password).as_bytes(), salt, iterations, &mut salted);
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(hmac(&salted, &[b"Client Key"])).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "it must read SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey";
        let rest = text.strip_prefix(VERIFIER_PREFIX).ok_or(SHAPE)?;
        let (parameters, keys) = rest.split_once('$').ok_or(SHAPE)?;
        let (iterations, salt) = parameters.split_once(':').ok_or(SHAPE)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(SHAPE)?;
        let iterations = iterations.parse().map_err(|_| SHAPE)?;
        if !(ITERATIONS..=ITERATIONS_MAX).contains(&iterations) {
            return Err("it must have between 4096 and 100000 iterations");
        }
        let salt = STANDARD.decode(salt).map_err(|_| SHAPE)?;
        if !(1..=SALT_BYTES_MAX).contains(&salt.len()) {
            return Err("its salt must have between 1 and 64 bytes");
        }
        let key = |text: &str| {
            let bytes = STANDARD.decode(text).map_err(|_| SHAPE)?;
            Bytes32::try_from(bytes).map_err(|_| SHAPE)
        };
        Ok(Self {
            salt,
            iterations,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// The form that [`Verifier::parse`] reads.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "{VERIFIER_PREFIX}{}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }

    /// Whether it was made from `password`.
    pub(crate) fn fits(&self, password: &str) -> bool {
        let other = Self::derive(password, &self.salt, self.iterations);
        other.stored_key.ct_eq(&self.stored_key).into()
    }
}

/// A salt that no other user has.
pub(crate) fn fresh_salt() -> Vec<u8> {
    rand::rng().random::<[u8; SALT_BYTES]>().to_vec()
}

/// The salt of a user that does not exist: the same whenever it is asked for, guessed by nobody.
pub(crate) fn mock_salt(secret: &Bytes32, name: &str) -> Vec<u8> {
    hmac(secret, &[b"mock salt\0", name.as_bytes()])[..SALT_BYTES].to_vec()
}

/// The form of a password that is hashed, so that it does not matter how a keyboard composes an
/// umlaut. A password that `SASLprep` refuses is taken as it is, as PostgreSQL and its clients do.
pub(crate) fn prepare(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

fn hmac(key: &Bytes32, parts: &[&[u8]]) -> Bytes32 {
    // A key shorter than the block is padded with zeros, by HMAC's definition.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A fresh server's part of the nonce.
pub(crate) fn fresh_nonce() -> String {
    STANDARD.encode(rand::rng().random::<[u8; NONCE_BYTES]>())
}

/// The exchange after the first messages.
#[derive(Debug)]
pub(crate) struct Offer {
    /// What the client said about channel binding, to be repeated.
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl Offer {
    /// Answers the client's first message.
    ///
    /// The name in it is ignored: the door knows it already (and PostgreSQL's clients leave it out).
    ///
    /// # Errors
    /// Which rule the message breaks.
    pub(crate) fn new(
        client_first: &[u8],
        server_nonce: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, &'static str> {
        let message = text(client_first)?;
        let mut parts = message.splitn(3, ',');
        let (Some(binding), Some(identity), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("the first message has no GS2 header");
        };
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err("channel binding is not offered"),
            _ => return Err("the GS2 header must begin with n, y or p="),
        }
        if !identity.is_empty() {
            return Err("an authorization identity is not supported");
        }
        let mut attributes = bare.split(',');
        match attributes.next() {
            Some(name) if name.starts_with("n=") => {}
            Some(name) if name.starts_with("m=") => {
                return Err("mandatory extensions are not supported");
            }
            _ => return Err("the first message has no user name"),
        }
        let client_nonce = attributes
            .next()
            .and_then(|part| part.strip_prefix("r="))
            .filter(|nonce| is_printable(nonce))
            .ok_or("the first message has no nonce")?;
        let nonce = format!("{client_nonce}{server_nonce}");
        Ok(Self {
            gs2_header: format!("{binding},,"),
            client_first_bare: bare.to_owned(),
            server_first: format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt)),
            nonce,
        })
    }

    /// The server's first message.
    pub(crate) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Reads the client's last message.
    ///
    /// # Errors
    /// Which rule the message breaks.
    pub(crate) fn proof(&self, client_final: &[u8]) -> Result<Proof, &'static str> {
        let message = text(client_final)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or("the last message has no proof")?;
        let proof = STANDARD
            .decode(proof)
            .ok()
            .and_then(|bytes| Bytes32::try_from(bytes).ok())
            .ok_or("the proof is not 32 bytes in base64")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|part| part.strip_prefix("c="))
            .ok_or("the last message has no channel binding")?;
        if binding != STANDARD.encode(&self.gs2_header) {
            return Err("the channel binding differs from the first message");
        }
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        if nonce != Some(&self.nonce) {
            return Err("the nonce differs from the first message");
        }
        Ok(Proof {
            message: format!(
                "{},{},{without_proof}",
                self.client_first_bare, self.server_first
            ),
            proof,
        })
    }
}

/// What a client says to prove that it knows a password.
pub(crate) struct Proof {
    /// RFC 5802's `AuthMessage`.
    message: String,
    proof: Bytes32,
}

impl Proof {
    /// The server's last message if the proof is one of `verifier`'s password.
    pub(crate) fn accept(&self, verifier: &Verifier) -> Option<String> {
        let message: [&[u8]; 1] = [self.message.as_bytes()];
        let signature = hmac(&verifier.stored_key, &message);
        let mut client_key = self.proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let stored_key: Bytes32 = Sha256::digest(client_key).into();
        let right: bool = stored_key.ct_eq(&verifier.stored_key).into();
        let server = hmac(&verifier.server_key, &message);
        right.then(|| format!("v={}", STANDARD.encode(server)))
    }
}

fn text(message: &[u8]) -> Result<&str, &'static str> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err("the message is too long");
    }
    std::str::from_utf8(message).map_err(|_| "the message is not UTF-8")
}

/// RFC 5802: printable ASCII without the comma.
fn is_printable(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn vector() -> (Verifier, Offer) {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        (
            Verifier::derive("pencil", &salt, 4096),
            Offer::new(first, NONCE, &salt, 4096).unwrap(),
        )
    }

    #[test]
    fn the_vector_of_rfc_7677_is_answered_to_the_letter() {
        let (verifier, offer) = vector();
        assert_eq!(
            offer.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = offer.proof(last).unwrap().accept(&verifier);
        assert_eq!(
            answer.as_deref(),
            Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn a_changed_proof_nonce_or_binding_is_not_accepted() {
        let (verifier, offer) = vector();
        let other = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVE=";
        assert!(offer.proof(other).unwrap().accept(&verifier).is_none());
        for last in [
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzb",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "",
            ",p=",
        ] {
            assert!(offer.proof(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn first_messages_that_break_a_rule_are_refused() {
        for first in [
            "",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=user,r=a\u{fc}",
            "n,a=root,n=user,r=abc",
            "p=tls-server-end-point,,n=user,r=abc",
            "x,,n=user,r=abc",
            "n,,m=1,n=user,r=abc",
        ] {
            let offer = Offer::new(first.as_bytes(), NONCE, b"salt", 4096);
            assert!(offer.is_err(), "{first}");
        }
        assert!(Offer::new(&[b'n', b',', 0xff], NONCE, b"salt", 4096).is_err());
        let long = format!("n,,n=user,r={}", "a".repeat(MESSAGE_BYTES_MAX));
        assert!(Offer::new(long.as_bytes(), NONCE, b"salt", 4096).is_err());
        // libpq leaves the name out; a client that could bind channels says y.
        assert!(Offer::new(b"y,,n=,r=abc", NONCE, b"salt", 4096).is_ok());
    }

    #[test]
    fn a_verifier_is_read_as_it_is_written() {
        let (verifier, _) = vector();
        let text = verifier.to_text();
        assert_eq!(Verifier::parse(&text).unwrap(), verifier);
        // The keys are what Python's hashlib and hmac make of "pencil" and this salt.
        assert_eq!(
            text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
             WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        for (wrong, by) in [
            ("4096", "4095"),
            ("4096", "900000000"),
            ("$W", "W"),
            ("=", ""),
        ] {
            assert!(Verifier::parse(&text.replace(wrong, by)).is_err(), "{by}");
        }
        assert!(!format!("{verifier:?}").contains("WG5d"));
    }

    #[test]
    fn the_same_password_typed_differently_is_the_same() {
        let composed = Verifier::derive("gr\u{fc}n", b"salt", 4096);
        assert!(composed.fits("gru\u{308}n"));
        assert!(!composed.fits("grun"));
        // A tab is forbidden by SASLprep, but not as a password.
        assert!(Verifier::derive("a\tb", b"salt", 4096).fits("a\tb"));
    }

    #[test]
    fn a_mock_salt_stays_and_differs_by_name_and_installation() {
        let salt = mock_salt(&[1; 32], "nobody");
        assert_eq!(salt.len(), SALT_BYTES);
        assert_eq!(salt, mock_salt(&[1; 32], "nobody"));
        assert_ne!(salt, mock_salt(&[1; 32], "noone"));
        assert_ne!(salt, mock_salt(&[2; 32], "nobody"));
    }
}
