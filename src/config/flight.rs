//! `[flight]`: what the Flight SQL door promises its clients, and its bounds.

use serde::Deserialize;
use tarn_coordinator::FlightOptions;
use tarn_engine::parse_duration;

use super::ConfigError;

/// `[flight]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlightConfig {
    /// Where clients fetch results, if not on the connection that they have.
    pub advertise_url: Option<String>,
    /// How long a result may wait to be fetched.
    pub ticket_life: String,
    /// How long a session outlives its last connection.
    pub session_linger: String,
    /// Endpoints of a result whose order does not matter.
    pub endpoints: usize,
    /// Bytes of one message of a client.
    pub message_bytes_max: usize,
}

impl FlightConfig {
    /// What the door is opened with.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a value that makes no sense.
    pub fn options(&self) -> Result<FlightOptions, ConfigError> {
        let value = |key: &str, problem: String| ConfigError::Value {
            key: format!("flight.{key}"),
            problem,
        };
        let bad = |key: &str, problem: String| Err(value(key, problem));
        let duration = |key: &str, text: &str| match parse_duration(text) {
            Some(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(value(
                key,
                format!("\"{text}\" is not a duration such as 30s, 10min or 1h"),
            )),
        };
        if let Some(url) = &self.advertise_url
            && !ADVERTISED.iter().any(|scheme| url.starts_with(scheme))
        {
            return bad(
                "advertise_url",
                format!(
                    "\"{url}\" is not a Flight location such as grpc+tls://flight.example.com:443 or arrow-flight-reuse-connection://?"
                ),
            );
        }
        if !(1..=ENDPOINTS_MAX).contains(&self.endpoints) {
            return bad("endpoints", format!("must be 1 to {ENDPOINTS_MAX}"));
        }
        if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            return bad(
                "message_bytes_max",
                format!("must be {MESSAGE_BYTES_MIN} to {MESSAGE_BYTES_MAX}"),
            );
        }
        Ok(FlightOptions {
            advertise_url: self.advertise_url.clone(),
            ticket_life: duration("ticket_life", &self.ticket_life)?,
            session_linger: duration("session_linger", &self.session_linger)?,
            endpoints: self.endpoints,
            message_bytes_max: self.message_bytes_max,
        })
    }
}

/// What a Flight location begins with. Source: Arrow, "Flight RPC", "Location URIs".
const ADVERTISED: [&str; 4] = [
    "grpc://",
    "grpc+tcp://",
    "grpc+tls://",
    "arrow-flight-reuse-connection://",
];
/// Most endpoints of one result.
const ENDPOINTS_MAX: usize = 64;
/// Bounds of a message: gRPC's default, and what its length field holds.
const MESSAGE_BYTES_MIN: usize = 4 << 20;
const MESSAGE_BYTES_MAX: usize = (2 << 30) - 1;

impl Default for FlightConfig {
    fn default() -> Self {
        Self {
            advertise_url: None,
            ticket_life: "10min".to_owned(),
            session_linger: "5min".to_owned(),
            endpoints: 2,
            message_bytes_max: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut FlightConfig), wanted: Option<&str>) {
        let mut config = FlightConfig::default();
        change(&mut config);
        let error = config.options().err().map(|error| error.to_string());
        match (wanted, error) {
            (None, error) => assert_eq!(error, None),
            (Some(key), Some(error)) => assert!(error.contains(key), "{error}"),
            (Some(key), None) => panic!("{key} was taken"),
        }
    }

    #[test]
    fn options_of_the_flight_door_are_checked() {
        check(|_| {}, None);
        check(|c| c.endpoints = 0, Some("flight.endpoints"));
        check(
            |c| c.ticket_life = "soon".to_owned(),
            Some("flight.ticket_life"),
        );
        check(
            |c| c.session_linger = "0".to_owned(),
            Some("flight.session_linger"),
        );
        check(
            |c| c.message_bytes_max = 1,
            Some("flight.message_bytes_max"),
        );
        check(
            |c| c.advertise_url = Some("http://x".to_owned()),
            Some("flight.advertise_url"),
        );
        check(
            |c| c.advertise_url = Some("arrow-flight-reuse-connection://?".to_owned()),
            None,
        );
    }
}
