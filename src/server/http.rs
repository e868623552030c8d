//! The HTTP door of a coordinator, from its configuration.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use tarn_coordinator::{HttpDoor, ResultsConfig, Service, Tls};
use tokio::net::TcpListener;

use super::door::{Bound, Serving};
use crate::config::Config;

/// Opens the door and serves; tells also the URL at which the workers of this machine register.
///
/// # Errors
/// If its address cannot be listened on, or results cannot be kept in the data folder.
pub(super) async fn open(
    config: &Config,
    data_dir: &Path,
    service: Service,
    tls: Option<Tls>,
) -> anyhow::Result<(Serving, String)> {
    let results = ResultsConfig {
        dir: data_dir.join("spill").join("results"),
        ttl: config.http.ttl()?,
        bytes_max: config.http.results_bytes_max,
        query_bytes_max: config.http.results_query_bytes_max,
    };
    let door = HttpDoor::new(service, results)?;
    let bound = Bound::listen("HTTP", "http", &config.listen.http).await?;
    let registration = local_registration(&door, tls.as_ref(), bound.at).await?;
    if let Some(watched) = tls.clone() {
        tokio::spawn(async move { watched.watch().await });
    }
    let serving = bound.serve(|listener, stop| door.serve(listener, tls, stop));
    Ok((serving, registration))
}

/// The URL at which local workers register: the HTTP door, or one of their own beside a door with TLS.
async fn local_registration(
    door: &HttpDoor,
    tls: Option<&Tls>,
    bound: SocketAddr,
) -> anyhow::Result<String> {
    if tls.is_none() {
        return Ok(format!("http://{}", reachable(bound)));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("no free port for the registration of local workers")?;
    let local = listener.local_addr()?;
    // It ends with the process, as the workers do.
    tokio::spawn(door.workers().serve(listener, std::future::pending()));
    Ok(format!("http://{local}"))
}

/// The address under which a process on this machine reaches a listener.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        let loopback = if bound.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        SocketAddr::new(loopback, bound.port())
    } else {
        bound
    }
}
