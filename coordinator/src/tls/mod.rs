//! TLS of all doors: the certificate, how it is renewed while the server runs, and handshakes.
//!
//! Knows certificates and sockets, no protocol above them. A reload changes what new handshakes
//! get; connections that are open keep what they have.

mod certificate;
mod self_signed;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use certificate::TlsError;

/// A handshake that takes longer is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once, over all doors.
const HANDSHAKES_MAX: usize = 256;
/// How often the files are looked at for a change.
const RELOAD_POLL: Duration = Duration::from_secs(5);
/// A certificate that ends sooner is warned about; a self-signed one is renewed.
const EXPIRY_WARNING_DAYS: i64 = 21;
/// TLS sessions that clients may resume.
const SESSIONS_MAX: usize = 4096;

/// What a client may speak inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProtocol {
    /// HTTP/2 and HTTP/1.1, by ALPN: the HTTP and the Flight door.
    Http,
    /// PostgreSQL's protocol: ALPN `postgresql` or none.
    Postgres,
}

/// The server's certificate with its key, and handshakes with it. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    current: Arc<Current>,
    http: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
    required: bool,
    handshakes: Semaphore,
    stamp: Mutex<Stamp>,
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Source {
    Files { cert: PathBuf, key: PathBuf },
    SelfSigned { dir: PathBuf, names: Vec<String> },
}

/// How the files looked when they were read last.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Source {
    fn files(&self) -> (PathBuf, PathBuf) {
        match self {
            Self::Files { cert, key } => (cert.clone(), key.clone()),
            Self::SelfSigned { dir, .. } => self_signed::files(dir),
        }
    }

    fn stamp(&self) -> Stamp {
        let (cert, key) = self.files();
        [&cert, &key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }

    fn read(&self) -> Result<CertifiedKey, TlsError> {
        if let Self::SelfSigned { dir, names } = self {
            self_signed::ensure(dir, names, EXPIRY_WARNING_DAYS)?;
        }
        let (cert, key) = self.files();
        certificate::read(&cert, &key, &provider())
    }
}

/// The certificate that the next handshake gets.
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Tls {
    /// The certificate chain and the key of two PEM files, leaf first.
    ///
    /// With `required`, doors refuse clients that do not speak TLS. An expired certificate is taken
    /// with a warning in the log: clients will say the same.
    ///
    /// # Errors
    /// [`TlsError`], naming the file, if one is missing or wrong, or the two do not belong together.
    pub fn load(cert: &Path, key: &Path, required: bool) -> Result<Self, TlsError> {
        Self::new(
            Source::Files {
                cert: cert.to_owned(),
                key: key.to_owned(),
            },
            required,
        )
    }

    /// A certificate of our own for `localhost`, `127.0.0.1`, `::1`, this machine's name and
    /// `names`, signed by an authority of our own. Both are kept in `dir`, so that clients trust
    /// them once; see [`Self::authority_file`].
    ///
    /// # Errors
    /// [`TlsError`] if `dir` cannot be written or holds something else.
    pub fn self_signed(dir: &Path, names: &[String], required: bool) -> Result<Self, TlsError> {
        let source = Source::SelfSigned {
            dir: dir.to_owned(),
            names: self_signed::all_names(names),
        };
        Self::new(source, required)
    }

    fn new(source: Source, required: bool) -> Result<Self, TlsError> {
        let stamp = source.stamp();
        let current = Arc::new(Current(RwLock::new(Arc::new(source.read()?))));
        let config = |alpn: &[&[u8]]| -> Result<Arc<ServerConfig>, TlsError> {
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(|source| TlsError::Setup { source })?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS_MAX);
            Ok(Arc::new(config))
        };
        let stamp = match &source {
            Source::Files { .. } => stamp,
            // Reading may have written them.
            Source::SelfSigned { .. } => source.stamp(),
        };
        let tls = Self {
            inner: Arc::new(Inner {
                http: config(&[b"h2", b"http/1.1"])?,
                postgres: config(&[b"postgresql"])?,
                current,
                source,
                required,
                handshakes: Semaphore::new(HANDSHAKES_MAX),
                stamp: Mutex::new(stamp),
            }),
        };
        tls.warn_of_expiry();
        Ok(tls)
    }

    /// Whether doors refuse clients that do not speak TLS.
    pub fn required(&self) -> bool {
        self.inner.required
    }

    /// An acceptor of HTTP clients. It stays right over reloads.
    pub fn http_acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.inner.http))
    }

    /// An acceptor of PostgreSQL clients. It stays right over reloads.
    pub fn postgres_acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.inner.postgres))
    }

    /// Shakes hands with a client, within [`HANDSHAKE_TIMEOUT`]; waits, within the same time, while
    /// too many handshakes are under way.
    ///
    /// # Errors
    /// If the client does not speak TLS as it should, or takes too long.
    pub async fn handshake(
        &self,
        socket: TcpStream,
        protocol: TlsProtocol,
    ) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = match protocol {
            TlsProtocol::Http => self.http_acceptor(),
            TlsProtocol::Postgres => self.postgres_acceptor(),
        };
        let shake = async {
            let permit = self.inner.handshakes.acquire().await;
            let stream = acceptor.accept(socket).await;
            drop(permit);
            stream
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, shake)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The leaf certificate that the next handshake gets; for channel binding.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.inner.current.get().cert.first().cloned()
    }

    /// The SHA-256 fingerprint of that certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub fn fingerprint(&self) -> String {
        let leaf = self.leaf();
        certificate::fingerprint(leaf.as_deref().unwrap_or_default())
    }

    /// When that certificate ends.
    pub fn not_after(&self) -> Option<DateTime<Utc>> {
        Some(certificate::validity(&self.leaf()?)?.1)
    }

    /// The file with the authority that clients of a self-signed certificate must trust.
    pub fn authority_file(&self) -> Option<PathBuf> {
        match &self.inner.source {
            Source::Files { .. } => None,
            Source::SelfSigned { dir, .. } => Some(self_signed::authority_file(dir)),
        }
    }

    /// Reads the files again, for handshakes from now on.
    ///
    /// # Errors
    /// As [`Self::load`]; the certificate of before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let inner = &self.inner;
        let key = inner.source.read();
        *inner.stamp.lock().unwrap_or_else(PoisonError::into_inner) = inner.source.stamp();
        inner.current.set(key?);
        tracing::info!(fingerprint = %self.fingerprint(), "TLS certificate loaded");
        self.warn_of_expiry();
        Ok(())
    }

    /// Reloads at SIGHUP, when the files change, and a self-signed certificate before it ends.
    /// Runs until it is dropped.
    pub async fn watch(&self) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut tick = tokio::time::interval(RELOAD_POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let hangup = async {
                match &mut hangups {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                _ = hangup => true,
                _ = tick.tick() => false,
            };
            if (asked || self.is_stale())
                && let Err(error) = self.reload()
            {
                tracing::error!(error = %chain(&error), "TLS certificate is not reloaded; the one of before stays");
            }
        }
    }

    fn is_stale(&self) -> bool {
        let inner = &self.inner;
        let seen = *inner.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let renewal_due = matches!(inner.source, Source::SelfSigned { .. })
            && self
                .not_after()
                .is_some_and(|end| certificate::ends_within(end, EXPIRY_WARNING_DAYS));
        renewal_due || inner.source.stamp() != seen
    }

    fn warn_of_expiry(&self) {
        let Some(end) = self.not_after() else { return };
        let (cert, _) = self.inner.source.files();
        let file = cert.display();
        if end < Utc::now() {
            tracing::warn!(%file, ended = %end, "TLS certificate has expired; clients will refuse it");
        } else if certificate::ends_within(end, EXPIRY_WARNING_DAYS) {
            tracing::warn!(%file, ends = %end, "TLS certificate ends soon");
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("source", &self.inner.source)
            .field("required", &self.inner.required)
            .finish_non_exhaustive()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ClientConfig;
    use rustls::RootCertStore;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    fn client(authority: &Path) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(authority).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Shakes hands and gives the leaf that the client saw.
    async fn shake(tls: &Tls, config: Arc<ClientConfig>, name: &str) -> io::Result<Vec<u8>> {
        let (client, server) = pair().await;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let (client, server) = tokio::join!(
            connector.connect(name, client),
            tls.handshake(server, TlsProtocol::Http)
        );
        let mut client = client?;
        let mut server = server?;
        server.write_all(b"x").await?;
        server.flush().await?;
        assert_eq!(client.read_u8().await?, b'x');
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Ok(client.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    }

    #[tokio::test]
    async fn a_client_that_trusts_our_authority_is_served_under_every_local_name() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::self_signed(dir.path(), &["lake.example".to_owned()], true).unwrap();
        let config = client(&tls.authority_file().unwrap());
        for name in ["localhost", "127.0.0.1", "::1", "lake.example"] {
            shake(&tls, Arc::clone(&config), name).await.unwrap();
        }
        assert!(shake(&tls, config, "other.example").await.is_err());
    }

    #[tokio::test]
    async fn a_restart_keeps_the_certificate_and_a_new_name_renews_it_under_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        let first = Tls::self_signed(dir.path(), &[], true).unwrap();
        let again = Tls::self_signed(dir.path(), &[], true).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let config = client(&first.authority_file().unwrap());
        let other = Tls::self_signed(dir.path(), &["new.example".to_owned()], true).unwrap();
        assert_ne!(first.fingerprint(), other.fingerprint());
        shake(&other, config, "new.example").await.unwrap();
    }

    #[tokio::test]
    async fn a_reload_changes_new_handshakes_and_leaves_open_connections() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        Tls::self_signed(&one, &[], true).unwrap();
        Tls::self_signed(&two, &[], true).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let install = |from: &Path| {
            std::fs::copy(self_signed::files(from).0, &cert).unwrap();
            std::fs::copy(self_signed::files(from).1, &key).unwrap();
        };
        install(&one);
        let tls = Tls::load(&cert, &key, true).unwrap();
        let (client_socket, server_socket) = pair().await;
        let connector =
            tokio_rustls::TlsConnector::from(client(&self_signed::authority_file(&one)));
        let name = ServerName::try_from("localhost").unwrap();
        let (open, served) = tokio::join!(
            connector.connect(name, client_socket),
            tls.handshake(server_socket, TlsProtocol::Http)
        );
        let (mut open, mut served) = (open.unwrap(), served.unwrap());
        assert!(!tls.is_stale());
        install(&two);
        assert!(tls.is_stale());
        tls.reload().unwrap();
        shake(
            &tls,
            client(&self_signed::authority_file(&two)),
            "localhost",
        )
        .await
        .unwrap();
        served.write_all(b"y").await.unwrap();
        served.flush().await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'y');
        // A wrong pair is refused and the last good one stays.
        std::fs::copy(self_signed::files(&one).1, &key).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Mismatch { .. })));
        shake(
            &tls,
            client(&self_signed::authority_file(&two)),
            "localhost",
        )
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_client_without_tls_fails_its_handshake() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::self_signed(dir.path(), &[], true).unwrap();
        let (mut client, server) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(tls.handshake(server, TlsProtocol::Http).await.is_err());
    }
}
