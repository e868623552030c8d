//! The server's TLS, from its configuration.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use tarn_coordinator::Tls;

use crate::config::{Config, address};

/// Opens what `[tls]` asks for, and tells once how to trust a certificate of our own.
///
/// # Errors
/// What is wrong with the certificate or its key; nothing listens yet.
pub(crate) fn open(config: &Config, data_dir: &Path) -> anyhow::Result<Option<Tls>> {
    let required = config.tls.required.unwrap_or(true);
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        let tls = Tls::load(cert, key, required).context("configuration: tls")?;
        return Ok(Some(tls));
    }
    if !config.tls.self_signed {
        return Ok(None);
    }
    let dir = data_dir.join("tls");
    let known = dir.join("ca.pem").exists();
    let tls = Tls::self_signed(&dir, &names(config), required)
        .context("configuration: tls.self_signed")?;
    if !known && let Some(authority) = tls.authority_file() {
        let mut err = std::io::stderr().lock();
        writeln!(
            err,
            "\nMade a certificate for development. Clients trust it with  {}\nFingerprint (SHA-256)  {}\n",
            authority.display(),
            tls.fingerprint()
        )?;
    }
    Ok(Some(tls))
}

/// Addresses that clients may use beside those of the loopback interface.
fn names(config: &Config) -> Vec<String> {
    let listen = &config.listen;
    let mut names = vec![];
    for text in [&listen.http, &listen.flight, &listen.postgres] {
        if let Some((host, _)) = text.rsplit_once(':') {
            names.push(host.trim_matches(['[', ']']).to_owned());
        }
        if let Ok(bound) = address("listen", text)
            && !bound.ip().is_unspecified()
        {
            names.push(bound.ip().to_string());
        }
    }
    names.retain(|name| {
        name.parse::<std::net::IpAddr>()
            .is_ok_and(|ip| !ip.is_unspecified())
            || name.parse::<std::net::IpAddr>().is_err()
    });
    names
}
