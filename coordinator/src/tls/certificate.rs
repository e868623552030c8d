//! Certificates and keys in PEM files: reading them, and what of them an operator must know.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use rustls::Error as RustlsError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file \"{}\" cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no PEM.
    #[error("TLS file \"{}\" is not valid PEM: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a part of a key.
        reason: &'static str,
    },
    /// A file without a certificate.
    #[error("TLS file \"{}\" holds no certificate (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file without a key.
    #[error("TLS file \"{}\" holds no private key that can be used; encrypted keys must be decrypted first", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are of different pairs.
    #[error("the private key in \"{}\" does not belong to the first certificate in \"{}\"", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key, or the certificate, is of a kind that cannot be used.
    #[error("TLS certificate \"{}\" and its key cannot be used", cert.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// What the TLS library said.
        source: RustlsError,
    },
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up")]
    Setup {
        /// What it said.
        source: RustlsError,
    },
    /// A self-signed certificate cannot be made.
    #[error("a self-signed certificate cannot be made: {reason}")]
    Make {
        /// What the certificate library said.
        reason: String,
    },
    /// A self-signed certificate cannot be kept.
    #[error("TLS file \"{}\" cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn read(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(cert, error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: cert.to_owned(),
        });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        RustlsError::InconsistentKeys(_) => TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        source => TlsError::Unusable {
            cert: cert.to_owned(),
            source,
        },
    })
}

fn unreadable(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    let reason = match error {
        pem::Error::Io(source) => return TlsError::Read { path, source },
        pem::Error::NoItemsFound => return TlsError::NoKey { path },
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not Base64",
        _ => "a section cannot be read",
    };
    TlsError::Pem { path, reason }
}

/// `AB:CD:…` of a certificate in DER.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(der) {
        if !out.is_empty() {
            out.push(':');
        }
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02X}");
    }
    out
}

/// Whether `end` is past or nearer than so many days.
pub(super) fn ends_within(end: DateTime<Utc>, days: i64) -> bool {
    end < Utc::now() + TimeDelta::days(days)
}

/// From when to when a certificate in DER is valid.
///
/// Source: RFC 5280, section 4.1.
pub(super) fn validity(der: &[u8]) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (from_tag, from, rest) = element(validity)?;
    let (to_tag, to, _) = element(rest)?;
    Some((time(from_tag, from)?, time(to_tag, to)?))
}

/// Tag of the optional version in front of a certificate's fields.
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Tag and content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        let length = bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn time(tag: u8, text: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME if text >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let naive = NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ").ok()?;
    Some(naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_read_and_others_are_not() {
        let wanted = |text: &str| text.parse::<DateTime<Utc>>().ok();
        assert_eq!(
            time(UTC_TIME, b"261125020000Z"),
            wanted("2026-11-25T02:00:00Z")
        );
        assert_eq!(
            time(UTC_TIME, b"991231235959Z"),
            wanted("1999-12-31T23:59:59Z")
        );
        assert_eq!(
            time(GENERALIZED_TIME, b"20510101000000Z"),
            wanted("2051-01-01T00:00:00Z")
        );
        assert_eq!(time(UTC_TIME, b"nonsense"), None);
        assert_eq!(time(0x02, b"261125020000Z"), None);
    }

    #[test]
    fn cut_or_absurd_der_gives_nothing() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x80, 0, 0],
        ] {
            assert_eq!(validity(bytes), None);
        }
    }

    fn check_error(cert: &str, key: &str, wanted: &str) {
        let dir = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        std::fs::write(&cert_file, cert).unwrap();
        std::fs::write(&key_file, key).unwrap();
        let error = read(&cert_file, &key_file, &super::super::provider()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        check_error("", &key, "holds no certificate");
        check_error(&cert, "", "k.pem\" holds no private key");
        check_error(
            &cert,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "encrypted keys must be decrypted",
        );
        check_error(
            &cert,
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n",
            "no END line",
        );
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        check_error(&cert, &other, "does not belong to");
        let gone = read(
            Path::new("/nowhere/c.pem"),
            Path::new("/nowhere/k.pem"),
            &super::super::provider(),
        );
        assert!(gone.unwrap_err().to_string().contains("/nowhere/c.pem"));
    }
}
