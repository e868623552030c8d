//! A certificate for development: an authority of our own and a leaf that it signs, kept in a folder.
//!
//! Clients trust the authority once; the leaf is renewed under it when it ends soon or must name
//! something new.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::{self, TlsError};

/// How long the authority is good for.
const AUTHORITY_DAYS: i64 = 3650;
/// How long a leaf is good for. Browsers refuse more than 398 days.
const LEAF_DAYS: i64 = 365;

/// Certificate chain and key.
pub(super) fn files(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("cert.pem"), dir.join("key.pem"))
}

/// What clients must trust.
pub(super) fn authority_file(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// The names every leaf has, and `more`.
pub(super) fn all_names(more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for name in std::iter::once(host.trim()).chain(more.iter().map(String::as_str)) {
        let usable = name.parse::<IpAddr>().is_ok() || is_host_name(name);
        if usable && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// Makes what is missing in `dir`, and a new leaf if the one there ends within `days` or was made
/// for other names.
pub(super) fn ensure(dir: &Path, names: &[String], days: i64) -> Result<(), TlsError> {
    std::fs::create_dir_all(dir).map_err(|source| TlsError::Write {
        path: dir.to_owned(),
        source,
    })?;
    let issuer = authority(dir, days)?;
    let (cert_file, key_file) = files(dir);
    let names_file = dir.join("names");
    let wanted = names.join("\n");
    let known = std::fs::read_to_string(&names_file).unwrap_or_default();
    if known.trim_end() == wanted && key_file.exists() && is_good(&cert_file, days) {
        return Ok(());
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(make)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Tarn development server");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid_for(&mut params, LEAF_DAYS);
    let key = KeyPair::generate().map_err(make)?;
    let leaf = params.signed_by(&key, &issuer).map_err(make)?;
    let authority_pem = read_text(&authority_file(dir))?;
    write(&key_file, &key.serialize_pem(), 0o600)?;
    write(&cert_file, &format!("{}{authority_pem}", leaf.pem()), 0o644)?;
    write(&names_file, &format!("{wanted}\n"), 0o644)
}

/// The authority in `dir`, made if it is missing or ends within `days`.
fn authority(dir: &Path, days: i64) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let (cert_file, key_file) = (authority_file(dir), dir.join("ca-key.pem"));
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Tarn");
    params
        .distinguished_name
        .push(DnType::CommonName, "Tarn development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, AUTHORITY_DAYS);
    if key_file.exists() && is_good(&cert_file, days) {
        let key = KeyPair::from_pem(&read_text(&key_file)?).map_err(make)?;
        // Name and key identifier are those of the certificate that is kept.
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().map_err(make)?;
    let cert = params.self_signed(&key).map_err(make)?;
    write(&key_file, &key.serialize_pem(), 0o600)?;
    write(&cert_file, &cert.pem(), 0o644)?;
    // A leaf of another authority is of no use.
    let _ = std::fs::remove_file(files(dir).0);
    Ok(Issuer::new(params, key))
}

fn is_good(cert: &Path, days: i64) -> bool {
    CertificateDer::from_pem_file(cert)
        .ok()
        .and_then(|der| certificate::validity(&der))
        .is_some_and(|(_, end)| !certificate::ends_within(end, days))
}

/// From yesterday, for clocks that differ, for so many days.
fn valid_for(params: &mut CertificateParams, days: i64) {
    let midnight = |offset: i64| {
        let date: DateTime<Utc> = Utc::now() + TimeDelta::days(offset);
        let month = u8::try_from(date.month()).unwrap_or(1);
        let day = u8::try_from(date.day()).unwrap_or(1);
        rcgen::date_time_ymd(date.year(), month, day)
    };
    params.not_before = midnight(-1);
    params.not_after = midnight(days);
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn make(error: rcgen::Error) -> TlsError {
    TlsError::Make {
        reason: error.to_string(),
    }
}

fn read_text(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a whole file at once, so that a reader never sees a part of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::Write {
        path: path.to_owned(),
        source,
    };
    let new = path.with_extension("new");
    // What a crash left behind may have another mode.
    let _ = std::fs::remove_file(&new);
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&new)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), &all_names(&[]), 21).unwrap();
        for name in ["key.pem", "ca-key.pem"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_leaf_that_ends_soon_is_renewed_and_the_authority_stays() {
        let dir = tempfile::tempdir().unwrap();
        let names = all_names(&[]);
        let both = || {
            [files(dir.path()).0, authority_file(dir.path())]
                .map(|path| std::fs::read_to_string(path).unwrap())
        };
        ensure(dir.path(), &names, 21).unwrap();
        let first = both();
        ensure(dir.path(), &names, 21).unwrap();
        assert_eq!(both(), first);
        ensure(dir.path(), &names, LEAF_DAYS + 5).unwrap();
        let renewed = both();
        assert_ne!(renewed[0], first[0]);
        assert_eq!(renewed[1], first[1]);
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let names = all_names(&[
            "a b".to_owned(),
            "ok.example".to_owned(),
            "10.0.0.1".to_owned(),
        ]);
        assert!(names.contains(&"ok.example".to_owned()) && names.contains(&"10.0.0.1".to_owned()));
        assert!(!names.contains(&"a b".to_owned()));
    }
}
