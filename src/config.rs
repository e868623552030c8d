//! Configuration: defaults < TOML file < `TARN__SECTION__KEY` variables < flags.
//!
//! One tree of structs is the truth; unknown keys are errors, and everything is checked before any
//! socket opens. The configuration reference in `docs/` is made from [`REFERENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format, Serialized, Toml};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tarn_catalog::S3Config;
use thiserror::Error;

mod auth;
mod cache;
mod flight;
mod limits;
mod postgres;
mod reference;
mod resources;

pub use auth::AuthConfig;
pub use cache::Cache;
pub use flight::FlightConfig;
pub use limits::Limits;
pub use postgres::PostgresConfig;
pub use reference::{Key, REFERENCE};
pub use resources::{Admission, Memory, Spill};

/// What is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file \"{path}\" cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key or value is not understood.
    #[error("configuration: {0}")]
    Parse(String),
    /// A value does not make sense.
    #[error("configuration: {key}: {problem}")]
    Value {
        /// The key, as in TOML.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of everything that this server keeps.
    pub data_dir: PathBuf,
    /// Password of `admin`; generated if absent.
    pub admin_password: Option<SecretString>,
    /// Worker processes on this machine.
    pub workers: usize,
    /// Addresses.
    pub listen: Listen,
    /// The metadata database.
    pub metadata: Metadata,
    /// Catalogs by name.
    pub catalog: BTreeMap<String, CatalogConfig>,
    /// Encryption of the doors.
    pub tls: TlsConfig,
    /// The HTTP door.
    pub http: HttpConfig,
    /// The Flight SQL door.
    pub flight: FlightConfig,
    /// The PostgreSQL door.
    pub postgres: PostgresConfig,
    /// Object storage and file functions.
    pub storage: Storage,
    /// The cluster of workers.
    pub cluster: Cluster,
    /// Memory for operators.
    pub memory: Memory,
    /// Disk for operators.
    pub spill: Spill,
    /// How many statements run at once.
    pub admission: Admission,
    /// Sessions.
    pub limits: Limits,
    /// Failed logins.
    pub auth: AuthConfig,
    /// Caches.
    pub cache: Cache,
    /// Logs.
    pub log: Log,
}

/// `[listen]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// HTTP, and the workers' registration.
    pub http: String,
    /// Flight SQL.
    pub flight: String,
    /// PostgreSQL.
    pub postgres: String,
    /// Fragments, on a worker.
    pub worker: Option<String>,
}

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Make a certificate for development.
    pub self_signed: bool,
    /// Refuse clients without TLS.
    pub required: Option<bool>,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// How long results of submitted queries are kept.
    pub results_ttl: String,
    /// Bytes of all kept results.
    pub results_bytes_max: u64,
    /// Bytes of one kept result.
    pub results_query_bytes_max: u64,
}

impl HttpConfig {
    /// How long results of submitted queries are kept.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if it is no duration.
    pub fn ttl(&self) -> Result<Duration, ConfigError> {
        duration(&self.results_ttl).ok_or_else(|| ConfigError::Value {
            key: "http.results_ttl".to_owned(),
            problem: format!(
                "\"{}\" is not a duration such as 30s, 15min, 1h or 1d",
                self.results_ttl
            ),
        })
    }
}

/// A whole number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?)).filter(|d| !d.is_zero())
}

impl TlsConfig {
    /// Whether the doors speak TLS.
    pub fn is_on(&self) -> bool {
        self.self_signed || self.cert.is_some()
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Err((
                "tls.key",
                "missing; tls.cert needs the key that belongs to it",
            )),
            (None, Some(_)) => Err((
                "tls.cert",
                "missing; tls.key needs the certificate that it belongs to",
            )),
            (Some(_), Some(_)) if self.self_signed => Err((
                "tls.self_signed",
                "a certificate is given with tls.cert and tls.key; leave out one or the other",
            )),
            (None, None) if !self.self_signed && self.required == Some(true) => Err((
                "tls.required",
                "nothing to speak TLS with; give tls.cert and tls.key, or tls.self_signed = true",
            )),
            _ => Ok(()),
        }
    }
}

/// `[metadata]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// SQLite or PostgreSQL URL.
    pub url: Option<SecretString>,
}

/// `[catalog.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogConfig {
    /// `sql`.
    pub kind: String,
    /// Where new tables go.
    pub warehouse: Option<String>,
    /// Database of the catalog, if it is not the metadata database.
    pub uri: Option<SecretString>,
    /// Reserved for REST catalogs.
    pub token: Option<SecretString>,
}

/// `[storage]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Where file functions may read.
    pub allowed_roots: Vec<String>,
    /// S3.
    pub s3: S3Config,
}

/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Name of the cluster.
    pub name: String,
    /// What all its processes share.
    pub secret: Option<SecretString>,
    /// URL under which others reach this worker.
    pub advertise_url: Option<String>,
    /// Authority of the coordinator's certificate, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `auto`, `text` or `json`.
    pub format: String,
    /// A level, or directives such as `info,tarn_engine=debug`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./tarn-data"),
            admin_password: None,
            workers: 0,
            listen: Listen::default(),
            metadata: Metadata::default(),
            catalog: BTreeMap::new(),
            tls: TlsConfig::default(),
            http: HttpConfig::default(),
            flight: FlightConfig::default(),
            postgres: PostgresConfig::default(),
            storage: Storage::default(),
            cluster: Cluster::default(),
            memory: Memory::default(),
            spill: Spill::default(),
            admission: Admission::default(),
            limits: Limits::default(),
            auth: AuthConfig::default(),
            cache: Cache::default(),
            log: Log::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: "127.0.0.1:7070".to_owned(),
            flight: "127.0.0.1:7071".to_owned(),
            postgres: "127.0.0.1:7072".to_owned(),
            worker: None,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            results_ttl: "1h".to_owned(),
            results_bytes_max: 20 << 30,
            results_query_bytes_max: 4 << 30,
        }
    }
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            kind: "sql".to_owned(),
            warehouse: None,
            uri: None,
            token: None,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            secret: None,
            advertise_url: None,
            ca_file: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: "auto".to_owned(),
            level: "info".to_owned(),
        }
    }
}

/// Flags that stand above file and environment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// `--data-dir`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// `--workers`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// [`ConfigError`], naming the key.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Config, ConfigError> {
    let mut figment = Figment::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.display().to_string(),
            source,
        })?;
        if let Err(error) = text.parse::<toml::Table>() {
            return Err(ConfigError::Parse(not_toml(&text, &error)));
        }
        figment = figment.merge(Toml::string(&text));
    }
    for (name, value) in environment {
        let Some(key) = name.strip_prefix("TARN__") else {
            continue;
        };
        let key = key.to_lowercase().replace("__", ".");
        figment = if is_typed(&key) {
            let value: toml::Value = format!("v = {value}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut t| t.remove("v"))
                .ok_or_else(|| ConfigError::Value {
                    key: key.clone(),
                    problem: format!("\"{value}\" (from {name}) is no number, boolean or array"),
                })?;
            figment.merge(Serialized::default(&key, value))
        } else {
            figment.merge(Serialized::default(&key, value))
        };
    }
    figment = figment.merge(Serialized::defaults(flags));
    let config: Config = figment.extract().map_err(|error| explain(&error))?;
    config.check()?;
    Ok(config)
}

/// Where a file is no TOML. The line itself is not quoted: it may hold a secret.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line} of the file: {}", error.message())
}

/// The first problem, with its key. Values are not quoted: they may be secrets.
fn explain(error: &figment::Error) -> ConfigError {
    let Some(first) = error.clone().into_iter().last() else {
        return ConfigError::Parse(error.kind.to_string());
    };
    let mut key = first.path.join(".");
    let problem = match &first.kind {
        Kind::UnknownField(name, _) => {
            if first.path.last() != Some(name) {
                key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
            }
            match nearest_key(&key) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => "unknown key".to_owned(),
            }
        }
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            format!("expected {}, found {}", wanted_text(wanted), kind_of(found))
        }
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "the number is too big".to_owned(),
        other => other.to_string(),
    };
    if key.is_empty() {
        return ConfigError::Parse(problem);
    }
    ConfigError::Value { key, problem }
}

/// What serde expects, without names of Rust types.
fn wanted_text(wanted: &str) -> &str {
    match wanted.split_whitespace().next() {
        Some("struct" | "map") => "a table",
        Some("a" | "an") if wanted.contains("map") => "a table",
        Some("path" | "a") if wanted.contains("path") => "a path",
        Some("usize" | "u64" | "u32" | "u16") => "a whole number",
        Some("a") if wanted == "a sequence" => "an array",
        _ => wanted,
    }
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a boolean",
        Actual::Signed(number) if *number < 0 => "a negative number",
        Actual::Unsigned(_) | Actual::Signed(_) => "a number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a string",
        Actual::Seq => "an array",
        Actual::Map => "a table",
        _ => "something else",
    }
}

/// The known key, or section, that an unknown one is nearest to, if near enough to be a slip.
fn nearest_key(unknown: &str) -> Option<String> {
    let catalog = unknown
        .strip_prefix("catalog.")
        .and_then(|rest| rest.split('.').next())
        .unwrap_or("NAME");
    let mut known = BTreeSet::new();
    for key in REFERENCE {
        let key = key.name.replace("NAME", catalog);
        for (dot, _) in key.match_indices('.') {
            known.insert(key[..dot].to_owned());
        }
        known.insert(key);
    }
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, &key), key))
        .filter(|(distance, key)| *distance <= (unknown.len().max(key.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

fn is_typed(key: &str) -> bool {
    REFERENCE.iter().any(|k| k.typed && k.name == key)
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, problem: String| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                problem,
            })
        };
        self.limits.sessions()?;
        self.auth.limits()?;
        address("listen.http", &self.listen.http)?;
        address("listen.flight", &self.listen.flight)?;
        address("listen.postgres", &self.listen.postgres)?;
        if let Some(worker) = &self.listen.worker {
            address("listen.worker", worker)?;
        }
        self.flight.options()?;
        self.postgres.options()?;
        for (name, catalog) in &self.catalog {
            let key = format!("catalog.{name}");
            if catalog.kind == "rest" {
                return bad(
                    &key,
                    "kind = \"rest\" is not in this version; use \"sql\"".to_owned(),
                );
            }
            if catalog.kind != "sql" {
                return bad(
                    &key,
                    format!("unknown kind \"{}\"; kinds: sql", catalog.kind),
                );
            }
            if ["system", "information_schema", "tarn_files"].contains(&name.as_str()) {
                return bad(&key, "the name is reserved".to_owned());
            }
        }
        self.http.ttl()?;
        if let Err((key, problem)) = self.tls.check() {
            return bad(key, problem.to_owned());
        }
        if let Some(endpoint) = &self.storage.s3.endpoint {
            check_endpoint(endpoint).map_err(|problem| ConfigError::Value {
                key: "storage.s3.endpoint".to_owned(),
                problem: problem.to_owned(),
            })?;
        }
        if !["auto", "text", "json"].contains(&self.log.format.as_str()) {
            return bad(
                "log.format",
                format!("\"{}\" is not auto, text or json", self.log.format),
            );
        }
        if self.workers > WORKERS_MAX {
            return bad("workers", format!("at most {WORKERS_MAX} local workers"));
        }
        self.memory.check()?;
        self.admission.limits(0)?;
        Ok(())
    }
}

/// What is wrong with an S3 endpoint. Does not quote it: it may hold credentials.
fn check_endpoint(text: &str) -> Result<(), &'static str> {
    let not_a_url = "not a URL such as https://s3.example.com or http://127.0.0.1:9000";
    let url = url::Url::parse(text).map_err(|_| not_a_url)?;
    if !matches!(url.scheme(), "http" | "https")
        || !url.has_host()
        || text.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(not_a_url);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL with credentials; give them as storage.s3.access_key_id and storage.s3.secret_access_key",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL of an endpoint has no \"?\" and no \"#\"");
    }
    Ok(())
}

/// Local worker processes at most.
const WORKERS_MAX: usize = 256;

/// Resolves `host:port`.
///
/// # Errors
/// [`ConfigError::Value`] if it is none.
pub fn address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| ConfigError::Value {
            key: key.to_owned(),
            problem: format!("\"{text}\" is not an address with a port, such as 127.0.0.1:7070"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(vars: &[(&str, &str)], toml: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(file.path()), vars, &Flags::default())
    }

    #[test]
    fn variables_stand_above_the_file_and_keep_their_text() {
        let config = check(
            &[
                ("TARN__LISTEN__HTTP", "127.0.0.1:0"),
                ("TARN__STORAGE__S3__ACCESS_KEY_ID", "12345"),
                ("TARN__STORAGE__ALLOWED_ROOTS", "[\"/tmp\", \"s3://b/p\"]"),
                ("TARN__CATALOG__LAKE__WAREHOUSE", "s3://b/w"),
                ("TARN__WORKERS", "3"),
            ],
            "workers = 1\n[listen]\nhttp = \"127.0.0.1:1\"\n",
        )
        .unwrap();
        assert_eq!(config.listen.http, "127.0.0.1:0");
        assert_eq!(config.workers, 3);
        assert_eq!(config.storage.allowed_roots.len(), 2);
        assert_eq!(
            config.catalog["lake"].warehouse.as_deref(),
            Some("s3://b/w")
        );
    }

    #[test]
    fn unknown_keys_and_bad_values_name_the_key() {
        let error = check(&[("TARN__LISTEN__HTPP", "x")], "").unwrap_err();
        assert!(error.to_string().contains("htpp"), "{error}");
        let error = check(&[], "[listen]\nhttp = \"nonsense\"\n").unwrap_err();
        assert!(error.to_string().contains("listen.http"), "{error}");
        let error = check(&[("TARN__WORKERS", "many")], "").unwrap_err();
        assert!(error.to_string().contains("workers"), "{error}");
    }

    fn check_message(vars: &[(&str, &str)], toml: &str, wanted: &str) {
        assert_eq!(check(vars, toml).unwrap_err().to_string(), wanted);
    }

    #[test]
    fn errors_say_key_and_problem_and_nothing_of_rust() {
        check_message(
            &[("TARN__LISTEN__HTPP", "x")],
            "",
            "configuration: listen.htpp: unknown key; did you mean listen.http?",
        );
        check_message(
            &[],
            "[lissten]\nhttp = \"127.0.0.1:1\"\n",
            "configuration: lissten: unknown key; did you mean listen?",
        );
        check_message(
            &[],
            "[catalog.lake]\nwarehose = \"/tmp\"\n",
            "configuration: catalog.lake.warehose: unknown key; did you mean catalog.lake.warehouse?",
        );
        check_message(&[], "zzzzzz = 1\n", "configuration: zzzzzz: unknown key");
        check_message(
            &[],
            "admin_password = 12345678\n",
            "configuration: admin_password: expected a string, found a number",
        );
        check_message(
            &[],
            "workers = \"3\"\n",
            "configuration: workers: expected a whole number, found a string",
        );
        let error = check(&[], "\nadmin_password = hunter2\n").unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("line 2") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused_without_being_quoted() {
        for bad in [
            "http://u:hunter2@x y",
            "http://u:hunter2@host",
            "minio:9000",
            "127.0.0.1:9000",
            "ftp://host",
            "http://host?hunter2",
            " http://host",
            "",
        ] {
            let error = check(&[("TARN__STORAGE__S3__ENDPOINT", bad)], "").unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("storage.s3.endpoint") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(
            check(
                &[("TARN__STORAGE__S3__ENDPOINT", "http://127.0.0.1:9000/")],
                ""
            )
            .is_ok()
        );
    }

    #[test]
    fn options_of_the_postgres_door_are_checked() {
        for (key, value) in [
            ("authentication", "\"md5\""),
            ("authentication_timeout", "\"1ms\""),
            ("unauthenticated_max", "0"),
            ("message_bytes_max", "10"),
        ] {
            let error = check(&[], &format!("[postgres]\n{key} = {value}\n")).unwrap_err();
            let wanted = format!("postgres.{key}");
            assert!(error.to_string().contains(&wanted), "{error}");
        }
        let config = check(&[("TARN__POSTGRES__MESSAGE_BYTES_MAX", "1048576")], "").unwrap();
        assert_eq!(
            config.postgres.options().unwrap().message_bytes_max,
            1 << 20
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90min"), Some(Duration::from_mins(90)));
        assert_eq!(duration("2 d"), Some(Duration::from_hours(48)));
        for bad in ["", "5", "h", "0s", "1y", "-1h", "99999999999999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        let error = check(&[("TARN__HTTP__RESULTS_TTL", "soon")], "").unwrap_err();
        assert!(error.to_string().contains("http.results_ttl"), "{error}");
    }

    #[test]
    fn half_a_tls_configuration_says_what_is_missing() {
        check_message(
            &[("TARN__TLS__CERT", "c.pem")],
            "",
            "configuration: tls.key: missing; tls.cert needs the key that belongs to it",
        );
        for (key, toml) in [
            ("tls.cert", "[tls]\nkey = \"k.pem\"\n"),
            (
                "tls.self_signed",
                "[tls]\ncert = \"c\"\nkey = \"k\"\nself_signed = true\n",
            ),
            ("tls.required", "[tls]\nrequired = true\n"),
        ] {
            let error = check(&[], toml).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("configuration: {key}: ")),
                "{error}"
            );
        }
        let two_lines = "[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
        assert!(check(&[], two_lines).unwrap().tls.is_on());
        assert!(!check(&[], "").unwrap().tls.is_on());
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let config = check(
            &[
                ("TARN__ADMIN_PASSWORD", "hunter2hunter2"),
                ("TARN__STORAGE__S3__SECRET_ACCESS_KEY", "hunter3hunter3"),
                ("TARN__CLUSTER__SECRET", "hunter4hunter4xx"),
                ("TARN__METADATA__URL", "postgres://u:hunter5@h/d"),
            ],
            "",
        )
        .unwrap();
        let text = format!("{config:?}");
        for n in 2..6 {
            assert!(!text.contains(&format!("hunter{n}")), "{text}");
        }
    }
}
