//! The Flight SQL door of a coordinator, from its configuration.

use tarn_coordinator::{FlightDoor, Service, Tls};

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
    let options = config.flight.options()?;
    let bound = Bound::listen("Flight SQL", "flight", &config.listen.flight).await?;
    let door = FlightDoor::new(service, options);
    let tls = tls.cloned();
    Ok(bound.serve(|listener, stop| door.serve(listener, tls, stop)))
}
