//! The one registry of object stores, for metadata and data alike.
//!
//! A location is a string as Iceberg metadata holds it: `s3://bucket/key`,
//! `s3a://bucket/key`, `file:///a/b` or `/a/b`. Keys are taken literally, never
//! percent-decoded. Nothing here knows Iceberg or decides who may read what.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::client::SpawnedReqwestConnector;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::runtime::Handle;
use url::Url;
use zeroize::Zeroizing;

use crate::confined::Confined;
use crate::error::{CatalogError, Cause, Result};

/// Longest time to open one connection to a store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time of one request, body included. A row group of 128 MiB takes 10 s at 100 Mbit/s.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Retries after the first try of a request.
const REQUEST_RETRIES_MAX: usize = 3;
/// No retry starts later than this after the first try.
const RETRY_WINDOW: Duration = Duration::from_secs(6);
/// Longest time that one metadata object may take, retries included. Metadata files are small.
const METADATA_TIMEOUT: Duration = Duration::from_secs(20);
/// Region sent when none is configured; S3-compatible servers accept it.
const REGION_DEFAULT: &str = "us-east-1";

/// Where the endpoint comes from when the configuration names none, first one first.
const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A secret that never shows in logs or in serialised configuration.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The secret itself. Every call is a place to review.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// How to reach storage: the `[storage]` section of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// S3 and S3-compatible stores.
    pub s3: S3Config,
}

/// The `[storage.s3]` section. What is not set comes from the `AWS_*` variables of the process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Endpoint such as `http://127.0.0.1:9000`; Amazon's own when not set. `http://` allows plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region; `us-east-1` when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// Secret access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Session token of temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`; true by default when `endpoint` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
}

impl S3Config {
    fn path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    fn endpoint_text(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("Amazon S3")
    }
}

impl StorageConfig {
    /// This configuration with its secrets in clear, to be encrypted at once and shipped to workers.
    pub fn to_sealed_json(&self) -> Zeroizing<String> {
        let clear = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        let value = serde_json::json!({ "s3": {
            "endpoint": self.s3.endpoint,
            "region": self.s3.region,
            "access_key_id": clear(&self.s3.access_key_id),
            "secret_access_key": clear(&self.s3.secret_access_key),
            "session_token": clear(&self.s3.session_token),
            "path_style": self.s3.path_style,
        }});
        Zeroizing::new(value.to_string())
    }

    /// Reads what [`Self::to_sealed_json`] wrote.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] if the text is not such a configuration. The message never quotes it.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            CatalogError::invalid(format!(
                "storage configuration is malformed at line {} column {}",
                error.line(),
                error.column()
            ))
        })
    }
}

/// Where a location points: which store, which key in it.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    File { path: &'a str },
    S3 { bucket: &'a str, key: &'a str },
}

impl<'a> Place<'a> {
    fn parse(location: &'a str) -> Result<Self> {
        for scheme in ["s3://", "s3a://", "s3n://"] {
            if let Some(rest) = location.strip_prefix(scheme) {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(CatalogError::invalid(format!(
                        "location \"{location}\" names no bucket; write s3://bucket/path"
                    )));
                }
                return Ok(Self::S3 { bucket, key });
            }
        }
        if let Some(rest) = location.strip_prefix("file:") {
            // file:/a, file:///a and file://localhost/a name the same file.
            let path = match rest.strip_prefix("//") {
                Some(host) => host.strip_prefix("localhost").unwrap_or(host),
                None => rest,
            };
            if path.starts_with('/') {
                return Ok(Self::File { path });
            }
        } else if location.starts_with('/') {
            return Ok(Self::File { path: location });
        }
        Err(CatalogError::unsupported(format!(
            "location \"{location}\" is not supported; use s3://bucket/path, file:///path or an absolute path"
        )))
    }

    fn key(&self, location: &str) -> Result<Path> {
        let raw = match self {
            Self::File { path } => path.trim_start_matches('/'),
            Self::S3 { key, .. } => key,
        };
        Path::parse(raw).map_err(|error| {
            CatalogError::invalid(format!(
                "location \"{location}\" is not a valid path: {error}"
            ))
        })
    }
}

/// Every object store of this process, made once per bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stores {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: StorageConfig,
    /// Where requests run: queries that keep their threads busy must not keep a socket waiting.
    sockets: Option<Handle>,
    by_root: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    confined: OnceLock<Confined>,
}

impl Stores {
    /// A registry that makes stores on first use. Their requests run in the runtime that this is called in.
    pub fn new(mut config: StorageConfig) -> Self {
        if config.s3.endpoint.is_none() {
            config.s3.endpoint = ENDPOINT_VARIABLES
                .iter()
                .find_map(|name| std::env::var(name).ok())
                .filter(|endpoint| !endpoint.is_empty());
        }
        Self {
            inner: Arc::new(Inner {
                config,
                sockets: Handle::try_current().ok(),
                by_root: Mutex::default(),
                confined: OnceLock::new(),
            }),
        }
    }

    /// The configuration this registry was made with, its endpoint filled in from the environment.
    pub fn config(&self) -> &StorageConfig {
        &self.inner.config
    }

    /// From here on, locations on this machine must be in one of `folders`, with links followed: metadata that others
    /// made can name any file. The first call counts.
    pub fn confine(&self, folders: &[String]) {
        let plain = |folder: &String| match Place::parse(folder) {
            Ok(Place::File { path }) => Some(path.to_owned()),
            _ => None,
        };
        let folders: Vec<String> = folders.iter().filter_map(plain).collect();
        // A second call changes nothing, as promised.
        let _ = self.inner.confined.set(Confined::new(&folders));
    }

    /// The store and the key in it that `location` names.
    ///
    /// # Errors
    /// [`CatalogError::StorageDenied`] outside of the folders of [`Self::confine`], [`CatalogError::Unsupported`] for an unknown scheme, [`CatalogError::Invalid`] for a malformed
    /// path or configuration.
    pub fn resolve(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let place = Place::parse(location)?;
        let key = place.key(location)?;
        if let (Place::File { path }, Some(confined)) = (&place, self.inner.confined.get())
            && !confined.holds(path)
        {
            return Err(CatalogError::StorageDenied {
                location: location.to_owned(),
                next: "it is outside of the warehouse and of [storage] allowed_roots".to_owned(),
                source: "a table may not name files elsewhere on this machine".into(),
            });
        }
        let store = match place {
            Place::File { .. } => self.store("file:", || Ok(Arc::new(file_system())))?,
            Place::S3 { bucket, .. } => self.s3(bucket)?,
        };
        Ok((store, key))
    }

    /// The root under which an engine keys the store of `location`: `file:///` or `s3://bucket`.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn root_url(location: &str) -> Result<Url> {
        let text = match Place::parse(location)? {
            Place::File { .. } => "file:///".to_owned(),
            Place::S3 { bucket, .. } => format!("s3://{bucket}"),
        };
        Url::parse(&text).map_err(|error| {
            CatalogError::invalid(format!(
                "location \"{location}\" has no valid root: {error}"
            ))
        })
    }

    /// The store of a root that [`Self::root_url`] made.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn store_for_root(&self, root: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.resolve(root.as_str()).map(|(store, _)| store)
    }

    /// Reads a whole metadata object.
    ///
    /// # Errors
    /// [`CatalogError::FileNotFound`], [`CatalogError::BucketNotFound`], [`CatalogError::StorageDenied`]
    /// or, after bounded retries, [`CatalogError::StorageUnavailable`].
    pub async fn read(&self, location: &str) -> Result<Bytes> {
        let (store, path) = self.resolve(location)?;
        let read = async { store.get(&path).await?.bytes().await };
        self.bounded(location, read).await
    }

    /// Writes a whole metadata object. Its name must be fresh: an existing object is replaced.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn write(&self, location: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = self.resolve(location)?;
        let put = async { store.put(&path, PutPayload::from_bytes(bytes)).await };
        match self.bounded(location, put).await {
            Ok(_) => Ok(()),
            // A key need not exist to be written: if something is missing, it is the bucket.
            Err(CatalogError::FileNotFound { source, .. }) if location.starts_with("s3") => {
                Err(self.bucket_not_found(location, source))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes an object. One that is already gone counts as deleted.
    ///
    /// # Errors
    /// As [`Self::read`], but never "not found".
    pub async fn delete(&self, location: &str) -> Result<()> {
        let (store, path) = self.resolve(location)?;
        match self.bounded(location, store.delete(&path)).await {
            Ok(()) | Err(CatalogError::FileNotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says what an error of a store at `location` means to a user.
    pub fn explain(&self, location: &str, error: object_store::Error) -> CatalogError {
        use object_store::Error as Store;
        let location = location.to_owned();
        match error {
            Store::NotFound { path, source } => {
                let error = Store::NotFound { path, source };
                self.not_found(location, error)
            }
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
                CatalogError::StorageDenied {
                    next: self.denied_advice(&location),
                    location,
                    source: error.into(),
                }
            }
            Store::InvalidPath { .. } => CatalogError::invalid(format!(
                "location \"{location}\" is not a valid path: {error}"
            )),
            Store::NotSupported { .. } | Store::NotImplemented { .. } => {
                CatalogError::unsupported(format!("\"{location}\": {error}"))
            }
            Store::AlreadyExists { .. }
            | Store::Precondition { .. }
            | Store::NotModified { .. } => {
                CatalogError::invalid(format!("\"{location}\": {error}"))
            }
            other => self.generic(location, other),
        }
    }

    fn generic(&self, location: String, error: object_store::Error) -> CatalogError {
        let text = chain_text(&error);
        if text.contains("Permission denied") || text.contains("AccessDenied") {
            return CatalogError::StorageDenied {
                next: self.denied_advice(&location),
                location,
                source: error.into(),
            };
        }
        if text.contains("NoSuchBucket") {
            return self.not_found(location, error);
        }
        self.unavailable(location, error.into())
    }

    fn unavailable(&self, location: String, source: Cause) -> CatalogError {
        let next = match Place::parse(&location) {
            Ok(Place::S3 { bucket, .. }) => format!(
                "check that endpoint {} is reachable, that bucket \"{bucket}\" exists in region {} \
                 and [storage.s3] in the configuration",
                self.config().s3.endpoint_text(),
                self.config().s3.region.as_deref().unwrap_or(REGION_DEFAULT),
            ),
            _ => "check that the disk is mounted and has space".to_owned(),
        };
        CatalogError::StorageUnavailable {
            location,
            next,
            source,
        }
    }

    fn not_found(&self, location: String, error: object_store::Error) -> CatalogError {
        if chain_text(&error).contains("NoSuchBucket") {
            return self.bucket_not_found(&location, error.into());
        }
        CatalogError::FileNotFound {
            location,
            next: "it may have been removed by another tool; check the location".to_owned(),
            source: error.into(),
        }
    }

    fn bucket_not_found(&self, location: &str, source: Cause) -> CatalogError {
        let bucket = match Place::parse(location) {
            Ok(Place::S3 { bucket, .. }) => bucket,
            _ => location,
        };
        CatalogError::BucketNotFound {
            bucket: bucket.to_owned(),
            endpoint: self.config().s3.endpoint_text().to_owned(),
            source,
        }
    }

    fn denied_advice(&self, location: &str) -> String {
        match Place::parse(location) {
            Ok(Place::S3 { bucket, .. }) => format!(
                "check access_key_id and secret_access_key in [storage.s3] and the policy of bucket \
                 \"{bucket}\" at {}",
                self.config().s3.endpoint_text()
            ),
            _ => "check the permissions of the directory for the user that runs the server"
                .to_owned(),
        }
    }

    async fn bounded<T>(
        &self,
        location: &str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(METADATA_TIMEOUT, work).await {
            Ok(result) => result.map_err(|error| self.explain(location, error)),
            Err(elapsed) => Err(self.unavailable(location.to_owned(), elapsed.into())),
        }
    }

    fn s3(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        self.store(bucket, || {
            let s3 = &self.config().s3;
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retries())
                .with_client_options(client_options(s3));
            if let Some(sockets) = &self.inner.sockets {
                builder =
                    builder.with_http_connector(SpawnedReqwestConnector::new(sockets.clone()));
            }
            if let Some(region) = &s3.region {
                builder = builder.with_region(region);
            } else if std::env::var_os("AWS_REGION").is_none()
                && std::env::var_os("AWS_DEFAULT_REGION").is_none()
            {
                builder = builder.with_region(REGION_DEFAULT);
            }
            if let Some(endpoint) = &s3.endpoint {
                builder = builder.with_endpoint(s3_endpoint(endpoint, bucket, s3.path_style()));
            }
            if s3.endpoint.is_some() || s3.path_style.is_some() {
                builder = builder.with_virtual_hosted_style_request(!s3.path_style());
            }
            if let Some(key) = &s3.access_key_id {
                builder = builder.with_access_key_id(key.expose());
            }
            if let Some(key) = &s3.secret_access_key {
                builder = builder.with_secret_access_key(key.expose());
            }
            if let Some(token) = &s3.session_token {
                builder = builder.with_token(token.expose());
            }
            let store = builder.build().map_err(|error| {
                CatalogError::invalid(format!(
                    "[storage.s3] does not describe a store for bucket \"{bucket}\": {error}"
                ))
            })?;
            Ok(Arc::new(store))
        })
    }

    fn store(
        &self,
        root: &str,
        make: impl FnOnce() -> Result<Arc<dyn ObjectStore>>,
    ) -> Result<Arc<dyn ObjectStore>> {
        let mut by_root = self
            .inner
            .by_root
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = by_root.get(root) {
            return Ok(Arc::clone(store));
        }
        let store = make()?;
        by_root.insert(root.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn file_system() -> LocalFileSystem {
    LocalFileSystem::new()
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: REQUEST_RETRIES_MAX,
        retry_timeout: RETRY_WINDOW,
    }
}

fn client_options(s3: &S3Config) -> ClientOptions {
    let plain_http = s3
        .endpoint
        .as_deref()
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new()
        .with_allow_http(plain_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
}

/// `object_store` wants the bucket inside the endpoint when requests are virtual-hosted.
fn s3_endpoint(endpoint: &str, bucket: &str, path_style: bool) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.to_owned(),
    }
}

fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_config() -> StorageConfig {
        StorageConfig {
            s3: S3Config {
                endpoint: Some("http://127.0.0.1:9000".into()),
                access_key_id: Some(Secret::new("key")),
                secret_access_key: Some(Secret::new("swordfish")),
                ..S3Config::default()
            },
        }
    }

    #[test]
    fn secrets_never_show_unless_sealed() {
        let config = secret_config();
        assert!(!format!("{config:?}").contains("swordfish"));
        assert!(
            !serde_json::to_string(&config)
                .unwrap()
                .contains("swordfish")
        );
        let back = StorageConfig::from_json(&config.to_sealed_json()).unwrap();
        assert_eq!(back.s3.secret_access_key.unwrap().expose(), "swordfish");
    }

    #[test]
    fn unknown_storage_keys_are_refused() {
        assert!(StorageConfig::from_json(r#"{"s3": {"pathstyle": true}}"#).is_err());
    }

    #[test]
    fn every_spelling_of_a_file_names_one_key() {
        let stores = Stores::new(StorageConfig::default());
        for location in ["/a/b c%20", "file:///a/b c%20", "file:/a/b c%20"] {
            let (_, path) = stores.resolve(location).unwrap();
            assert_eq!(path.as_ref(), "a/b c%20", "{location}");
        }
    }

    #[test]
    fn s3_locations_share_one_store_per_bucket() {
        let stores = Stores::new(secret_config());
        let (a, key) = stores.resolve("s3://bucket/x/y.parquet").unwrap();
        let (b, _) = stores.resolve("s3a://bucket/z").unwrap();
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(key.as_ref(), "x/y.parquet");
        assert_eq!(
            Stores::root_url("s3a://bucket/x").unwrap().as_str(),
            "s3://bucket"
        );
    }

    #[test]
    fn foreign_schemes_and_escapes_are_refused() {
        let stores = Stores::new(StorageConfig::default());
        for location in ["gs://b/k", "relative/path", "s3:///k", "file:///a/../b"] {
            assert!(stores.resolve(location).is_err(), "{location}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let stores = Stores::new(StorageConfig::default());
        let error = stores.read("/nonexistent/tarn/x").await.unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::NotFound);
        assert!(error.to_string().contains("/nonexistent/tarn/x"));
    }

    #[tokio::test]
    async fn a_dead_endpoint_answers_soon_and_names_itself() {
        let stores = Stores::new(StorageConfig {
            s3: S3Config {
                endpoint: Some("http://127.0.0.1:1".into()),
                access_key_id: Some(Secret::new("k")),
                secret_access_key: Some(Secret::new("s")),
                ..S3Config::default()
            },
        });
        let start = std::time::Instant::now();
        let error = stores.read("s3://bucket/key").await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(error.code(), crate::ErrorCode::StorageUnavailable);
        let text = error.to_string();
        assert!(
            text.contains("http://127.0.0.1:1") && text.contains("\"bucket\""),
            "{text}"
        );
    }
}
