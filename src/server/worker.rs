//! The worker process: joins, serves fragments, comes back when the coordinator was away, drains.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use secrecy::ExposeSecret;
use tarn_catalog::Stores;
use tarn_engine::cluster::ClusterSecret;
use tarn_engine::{EngineRuntime, ResourceLimits};
use tarn_worker::{
    CacheReport, FragmentServer, Membership, ProgressBoard, Reading, Trust, WorkerIdentity, join,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;
use uuid::Uuid;

use super::caches::CacheBounds;
use super::{VERSION, machine, print_ready, signals, spill};
use crate::config::{Config, address};

/// First port of workers, and how many are tried.
const PORT_FIRST: u16 = 7073;
const PORTS_TRIED: u16 = 200;
/// Pause before the coordinator is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Fragments under way may take this long when a worker drains.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// Waiting for a coordinator is logged every so many tries.
const RETRIES_LOGGED: u32 = 20;

/// Flags of `tarn worker`.
#[derive(Args, Clone, Debug)]
pub struct WorkerArgs {
    /// URL of the coordinator's HTTP door, e.g. <http://10.0.0.1:7070>; with TLS it begins with `https`
    #[arg(long)]
    pub coordinator: Url,
    /// Authority (PEM) of the coordinator's certificate [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Name of the cluster [default: default]
    #[arg(long)]
    pub cluster: Option<String>,
    /// TOML file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Leave when standard input ends: the parent process is gone
    #[arg(long, hide = true)]
    pub parent_pipe: bool,
}

/// Runs a worker until SIGTERM or Ctrl-C.
///
/// # Errors
/// What keeps it from starting or joining.
pub async fn run(args: WorkerArgs, config: Config) -> anyhow::Result<()> {
    machine::allow_files();
    let Some(secret) = &config.cluster.secret else {
        bail!(
            "a worker needs the cluster's secret: set TARN__CLUSTER__SECRET to the text in the file \"cluster-secret\" of the coordinator's data folder"
        );
    };
    let secret = ClusterSecret::new(secret.expose_secret())?;
    let ca_file = args
        .ca_file
        .as_deref()
        .or(config.cluster.ca_file.as_deref());
    let trust = Trust::new(ca_file)?;
    let listener = listen(&config).await?;
    let bound = listener.local_addr()?;
    let identity = WorkerIdentity {
        worker_id: Uuid::now_v7().to_string(),
        url: advertised(&config, bound, &args.coordinator)?,
        cluster: args.cluster.unwrap_or_else(|| config.cluster.name.clone()),
        version: VERSION.to_owned(),
        cores: u32::try_from(machine::cores()).unwrap_or(u32::MAX),
        memory_bytes: machine::memory_bytes(),
    };
    let stop = stop_signal(args.parent_pipe);
    tokio::pin!(stop);
    let joined = tokio::select! {
        joined = join_patiently(&args.coordinator, &identity, &secret, &trust) => joined?,
        _ = &mut stop => return Ok(()),
    };
    let stores = Stores::new(joined.storage);
    let caches = CacheBounds::new(&config.cache, &config.data_dir, 1);
    let ranges = caches.ranges(&config.data_dir);
    let spill = spill::Folder::open(&config, &identity.worker_id, args.parent_pipe)?;
    let runtime = EngineRuntime::start(
        &ResourceLimits {
            memory: config
                .memory
                .limits(machine::operator_bytes(1, caches.bytes())),
            spill_dir: spill.path().to_owned(),
            spill_bytes: config.spill.limit_bytes,
            footer_bytes: caches.footer_bytes,
            threads: machine::cores(),
        },
        &stores,
    )?;
    let board = ProgressBoard::new(runtime.budget().clone());
    let reading = Reading {
        runtime,
        ranges: ranges.clone(),
    };
    let server = FragmentServer::new(VERSION, secret.clone(), reading, board.clone());
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async move {
        let _ = server_stopped.await;
    }));
    print_ready(&serde_json::json!({ "worker": bound.to_string() }))?;
    tracing::info!(url = %identity.url, coordinator = %args.coordinator, "worker is in");

    let report = CacheReport::new(ranges.clone());
    let mut membership = joined.membership;
    let orderly = loop {
        tokio::select! {
            orderly = &mut stop => break orderly,
            () = membership.hold(&board, &report) => {}
        }
        tracing::warn!(coordinator = %args.coordinator, "coordinator is gone; trying again");
        membership = tokio::select! {
            joined = join_patiently(&args.coordinator, &identity, &secret, &trust) => joined?.membership,
            orderly = &mut stop => {
                let _ = stop_server.send(());
                tracing::info!(orderly, "worker leaves");
                return Ok(());
            }
        };
    };
    if orderly {
        drain(&mut membership, (&board, &report), stop_server, serving).await;
        ranges.written().await;
    }
    tracing::info!("worker left");
    Ok(())
}

/// Takes no new fragments, finishes the running ones, leaves.
async fn drain(
    membership: &mut Membership,
    (board, report): (&ProgressBoard, &CacheReport),
    stop_server: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
) {
    membership.drain().await;
    let deadline = tokio::time::Instant::now() + DRAIN_PATIENCE;
    let held = membership.hold(board, report);
    tokio::pin!(held);
    while tokio::time::Instant::now() < deadline {
        let busy = board
            .report()
            .iter()
            .any(|(_, p)| p.tasks_done < p.tasks_started);
        if !busy {
            break;
        }
        tokio::select! {
            () = &mut held => break,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
    let _ = stop_server.send(());
    // Idle connections of other processes do not hold a worker that has nothing to do.
    if tokio::time::timeout(RETRY_PAUSE, serving).await.is_err() {
        tracing::debug!("connections were still open");
    }
}

/// Resolves to `true` at a signal (drain first), to `false` when the parent is gone (leave now).
async fn stop_signal(parent_pipe: bool) -> bool {
    if !parent_pipe {
        signals::stop().await;
        return true;
    }
    let parent = async {
        let mut pipe = tokio::io::stdin();
        let mut buffer = [0u8; 64];
        while matches!(pipe.read(&mut buffer).await, Ok(n) if n > 0) {}
    };
    // Ctrl-C reaches the whole group; the parent decides when its workers leave.
    let term = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let interrupts = async {
        if let Ok(mut signal) =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        {
            while signal.recv().await.is_some() {}
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = parent => false,
        () = term => true,
        () = interrupts => false,
    }
}

async fn join_patiently(
    coordinator: &Url,
    identity: &WorkerIdentity,
    secret: &ClusterSecret,
    trust: &Trust,
) -> anyhow::Result<tarn_worker::Joined> {
    let mut tries = 0u32;
    loop {
        match join(coordinator, identity, secret, trust).await {
            Ok(joined) => return Ok(joined),
            Err(error) if error.retryable() => {
                if tries.is_multiple_of(RETRIES_LOGGED) {
                    tracing::warn!(%error, "waiting for the coordinator");
                }
                tries += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Binds the configured address, or the first free port from 7073.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    if let Some(text) = &config.listen.worker {
        let wanted = address("listen.worker", text)?;
        return TcpListener::bind(wanted).await.with_context(|| {
            format!("cannot listen on {wanted} (worker); [listen] worker sets the address")
        });
    }
    for port in PORT_FIRST..PORT_FIRST + PORTS_TRIED {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener);
        }
    }
    bail!("no free port for a worker from {PORT_FIRST} on; [listen] worker sets an address")
}

/// Where others reach this worker.
fn advertised(config: &Config, bound: SocketAddr, coordinator: &Url) -> anyhow::Result<Url> {
    if let Some(url) = &config.cluster.advertise_url {
        return Url::parse(url)
            .with_context(|| format!("configuration: cluster.advertise_url: {url}"));
    }
    let ip = if bound.ip().is_unspecified() {
        route_to(coordinator)
            .context("the address of this machine is unknown; set [cluster] advertise_url")?
    } else {
        bound.ip()
    };
    let reachable = SocketAddr::new(ip, bound.port());
    Url::parse(&format!("http://{reachable}")).context("worker URL")
}

/// This machine's address on the way to the coordinator. No packet is sent.
fn route_to(coordinator: &Url) -> Option<IpAddr> {
    let peer = coordinator.socket_addrs(|| None).ok()?.into_iter().next()?;
    let any: SocketAddr = if peer.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|a| a.ip())
}
