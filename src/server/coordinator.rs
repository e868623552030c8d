//! The coordinator process: opens the data folder, the metadata database and the doors, and ends
//! them in the reverse order.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tarn_catalog::{
    Catalog, ErrorCode, ManifestCache, Namespace, SqlCatalog, SqlCatalogConfig, StorageConfig,
    Stores,
};
use tarn_control::Control;
use tarn_coordinator::{ControlIdentities, Service, Sessions, Statements, System, Workers};
use tarn_engine::cluster::ClusterSecret;
use tarn_engine::distribute::ClusterChannels;
use tarn_engine::{
    AllowedRoots, Catalogs, Engine, EngineConfig, EngineRuntime, MemoryLimits, ResourceLimits,
};

use super::caches::CacheBounds;
use super::children::{ChildPlan, Children};
use super::{VERSION, flight, http, machine, postgres, print_ready, signals, tls};
use crate::config::{Config, ConfigError, address};

/// The catalog that always exists, and its first schema.
const DEFAULT_CATALOG: &str = "lake";
const DEFAULT_SCHEMA: &str = "main";
/// How long running statements may take when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long open connections may take after that.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// How long local workers may take to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// Runs a server until SIGTERM or Ctrl-C.
///
/// # Errors
/// What keeps it from starting, with what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    machine::allow_files();
    let folder = DataFolder::open(&config.data_dir)?;
    let tls = tls::open(&config, &folder.path)?;
    let secret_text = cluster_secret(&config, &folder)?;
    let secret = ClusterSecret::new(secret_text.expose_secret())?;
    let stores = Stores::new(StorageConfig {
        s3: config.storage.s3.clone(),
    });
    let cache = ManifestCache::new(config.cache.manifest_bytes);
    let metadata_url = metadata_url(&config, &folder);
    let control = open_control(&config, &metadata_url).await?;
    let catalogs = open_catalogs(&config, &folder, &metadata_url, &stores, &cache).await?;
    stores.confine(&places(&config, &catalogs)?);

    let caches = CacheBounds::new(&config.cache, &folder.path, config.workers + 1);
    let ranges = caches.ranges(&folder.path);
    let limits = limits(&config, &folder, &caches);
    let memory = limits.memory;
    let runtime = EngineRuntime::start(&limits, &stores)?;
    let channels = ClusterChannels::new(secret.clone());
    let workers = Workers::new(
        VERSION,
        &config.cluster.name,
        secret,
        stores.clone(),
        channels.clone(),
    );
    let sessions = Sessions::new(config.limits.sessions()?);
    let identities = Arc::new(ControlIdentities::new(control.clone(), sessions.clone()));
    let system = System::new(workers.clone(), sessions.clone(), identities.clone());
    let engine = Engine::new(EngineConfig {
        catalogs,
        stores,
        cache: cache.clone(),
        ranges: ranges.clone(),
        runtime,
        roots: AllowedRoots::new(&config.storage.allowed_roots)?,
        target_partitions: machine::cores(),
        channels,
        cluster: Arc::new(workers.clone()),
        system: Arc::new(system.clone()),
        identities,
        server: server_id(&folder.path)?,
    });
    engine.remove_leftovers().await;
    let admission = config.admission.limits(memory.process_bytes)?;
    let statements = Statements::new(workers.clone(), admission);
    system.attach(statements.clone());
    sessions.attach(statements.clone());
    sessions.watch(control.clone());
    let service = Service {
        engine,
        statements: statements.clone(),
        sessions,
        control: control.clone(),
        cache,
        default_catalog: DEFAULT_CATALOG.to_owned(),
        default_schema: DEFAULT_SCHEMA.to_owned(),
    };
    let postgres = postgres::open(&config, service.clone(), tls.as_ref()).await?;
    let flight = flight::open(&config, service.clone(), tls.as_ref()).await?;
    let (http, registration) = http::open(&config, &folder.path, service, tls).await?;
    let plan = child_plan(
        &config,
        &folder,
        registration,
        secret_text,
        (memory, caches),
    )?;
    let children = Children::start(config.workers, &plan)?;
    let stop = signals::stop();
    tokio::pin!(stop);
    tokio::select! {
        joined = all_joined(&workers, config.workers, &folder.path) => joined?,
        () = &mut stop => {
            children.end().await;
            return Ok(());
        }
    }
    print_ready(&serde_json::json!({
        "http": http.bound.to_string(),
        "flight": flight.bound.to_string(),
        "postgres": postgres.bound.to_string(),
        "workers": config.workers,
    }))?;
    tracing::info!(http = %http.bound, version = VERSION, data_dir = %folder.path.display(), "server is ready");

    stop.await;
    tracing::info!(running = statements.running_count(), "server stops");
    postgres.stop();
    flight.stop();
    statements.drain(STOP_PATIENCE).await;
    children.end().await;
    http.ended(CLOSE_PATIENCE).await;
    postgres.ended(CLOSE_PATIENCE).await;
    flight.ended(CLOSE_PATIENCE).await;
    control.close().await;
    ranges.written().await;
    tracing::info!("server stopped");
    Ok(())
}

/// What all statements share.
fn limits(config: &Config, folder: &DataFolder, caches: &CacheBounds) -> ResourceLimits {
    let kept = caches.bytes() + config.cache.manifest_bytes;
    let memory_bytes = machine::operator_bytes(config.workers + 1, kept);
    ResourceLimits {
        memory: config.memory.limits(memory_bytes),
        spill_dir: folder.path.join("spill"),
        spill_bytes: config.spill.limit_bytes,
        footer_bytes: caches.footer_bytes,
        threads: machine::cores(),
    }
}

/// How local workers are started: by `coordinator`'s address and secret, within bounds of memory and caches.
fn child_plan(
    config: &Config,
    folder: &DataFolder,
    coordinator: String,
    secret: SecretString,
    (memory, caches): (MemoryLimits, CacheBounds),
) -> Result<ChildPlan, ConfigError> {
    Ok(ChildPlan {
        coordinator,
        cluster: config.cluster.name.clone(),
        secret,
        listen: worker_address(config)?,
        memory,
        data_dir: folder.path.clone(),
        spill_bytes: config.spill.limit_bytes,
        caches,
        log_level: config.log.level.clone(),
    })
}

fn worker_address(config: &Config) -> Result<Option<SocketAddr>, ConfigError> {
    let listen = config.listen.worker.as_deref();
    listen
        .map(|text| address("listen.worker", text))
        .transpose()
}

async fn all_joined(workers: &Workers, count: usize, data_dir: &Path) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + JOIN_PATIENCE;
    while workers.list().len() < count {
        if tokio::time::Instant::now() > deadline {
            bail!(
                "only {} of {count} local workers joined within {} s; see {}",
                workers.list().len(),
                JOIN_PATIENCE.as_secs(),
                data_dir.join("logs").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The data folder, held by this process alone.
struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        for part in ["", "warehouse", "cache", "logs"] {
            std::fs::create_dir_all(path.join(part)).with_context(|| {
                format!("data folder {shown} cannot be made; give another with --data-dir")
            })?;
        }
        let path = path
            .canonicalize()
            .with_context(|| format!("data folder {shown}"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| {
                format!("data folder {shown} is not writable; give another with --data-dir")
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "data folder {} is in use by another Tarn server; stop it, or give another folder with --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("data folder {shown} cannot be locked"))
            }
        }
    }
}

fn metadata_url(config: &Config, folder: &DataFolder) -> SecretString {
    config
        .metadata
        .url
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", folder.path.join("control.db").display()).into())
}

async fn open_control(config: &Config, url: &SecretString) -> anyhow::Result<Control> {
    let control = Control::open(url.expose_secret(), config.auth.limits()?)
        .await
        .context("the metadata database cannot be opened; [metadata] url names it")?;
    let admin = control.ensure_admin(config.admin_password.clone()).await?;
    if let Some(password) = admin.generated_password {
        let mut err = std::io::stderr().lock();
        writeln!(
            err,
            "\nFirst start: user \"admin\" has the password  {}\nIt is not shown again. TARN__ADMIN_PASSWORD sets another one.\n",
            password.expose_secret()
        )?;
    }
    Ok(control)
}

/// The secret of the cluster: configured, or generated once and kept in the data folder.
fn cluster_secret(config: &Config, folder: &DataFolder) -> anyhow::Result<SecretString> {
    if let Some(secret) = &config.cluster.secret {
        return Ok(secret.clone());
    }
    let path = folder.path.join("cluster-secret");
    if path.exists() {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        return Ok(text.trim().to_owned().into());
    }
    let secret = ClusterSecret::generate();
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    writeln!(file, "{secret}")?;
    Ok(secret.into())
}

/// What tells this server from others on the same catalogs: made once, kept in the data folder.
fn server_id(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("server-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let id = uuid::Uuid::new_v4().to_string();
    std::fs::write(&path, &id).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(id)
}

/// Where tables may lie: the warehouses and the allowed roots.
fn places(config: &Config, catalogs: &Catalogs) -> anyhow::Result<Vec<String>> {
    let mut places = config.storage.allowed_roots.clone();
    for name in catalogs.names() {
        places.push(catalogs.get(&name)?.warehouse().to_owned());
    }
    Ok(places)
}

async fn open_catalogs(
    config: &Config,
    folder: &DataFolder,
    metadata_url: &SecretString,
    stores: &Stores,
    cache: &ManifestCache,
) -> anyhow::Result<Catalogs> {
    let mut configured = config.catalog.clone();
    configured.entry(DEFAULT_CATALOG.to_owned()).or_default();
    let mut opened: Vec<Arc<dyn Catalog>> = vec![];
    for (name, catalog) in configured {
        let warehouse = catalog.warehouse.unwrap_or_else(|| {
            let folder = folder.path.join("warehouse");
            let own = if name == DEFAULT_CATALOG {
                folder
            } else {
                folder.join(&name)
            };
            format!("file://{}", own.display())
        });
        let url = catalog.uri.as_ref().unwrap_or(metadata_url);
        let made = SqlCatalog::open(
            SqlCatalogConfig {
                name: name.clone(),
                metadata_url: url.expose_secret().to_owned(),
                warehouse,
            },
            stores.clone(),
            cache.clone(),
        )
        .await
        .with_context(|| format!("catalog \"{name}\" cannot be opened"))?;
        ensure_default_schema(&made).await?;
        opened.push(Arc::new(made));
    }
    Ok(Catalogs::new(opened))
}

async fn ensure_default_schema(catalog: &dyn Catalog) -> anyhow::Result<()> {
    let schema = Namespace::new(DEFAULT_SCHEMA);
    if catalog.namespace_exists(&schema).await? {
        return Ok(());
    }
    match catalog
        .create_namespace(&schema, std::collections::HashMap::new())
        .await
    {
        Err(error) if error.code() != ErrorCode::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}
