//! The PostgreSQL door of a coordinator, from its configuration.

use tarn_coordinator::{PostgresDoor, Service, Tls};

use super::door::{Bound, Serving};
use crate::config::Config;

/// Opens the door and serves.
///
/// # Errors
/// If its address cannot be listened on.
pub(super) async fn open(
    config: &Config,
    service: Service,
    tls: Option<&Tls>,
) -> anyhow::Result<Serving> {
    let mut options = config.postgres.options()?;
    options.tls_required = tls.is_some_and(Tls::required);
    let bound = Bound::listen("PostgreSQL", "postgres", &config.listen.postgres).await?;
    let door = PostgresDoor::new(service, options, tls.map(Tls::postgres_acceptor));
    Ok(bound.serve(|listener, stop| door.serve(listener, stop)))
}
