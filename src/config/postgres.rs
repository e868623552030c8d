//! `[postgres]`: who may come in at the PostgreSQL door, and its bounds.

use serde::Deserialize;
use tarn_coordinator::{Authentication, PostgresOptions};
use tarn_engine::parse_duration;

use super::ConfigError;

/// `[postgres]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `auto`, `scram` or `password`.
    pub authentication: String,
    /// How long a client may take to authenticate.
    pub authentication_timeout: String,
    /// Connections without authentication at once.
    pub unauthenticated_max: usize,
    /// Bytes of one message.
    pub message_bytes_max: usize,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            authentication: "auto".to_owned(),
            authentication_timeout: "10s".to_owned(),
            unauthenticated_max: 1000,
            message_bytes_max: 64 << 20,
        }
    }
}

impl PostgresConfig {
    /// The options of the door.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for one that makes no sense.
    pub fn options(&self) -> Result<PostgresOptions, ConfigError> {
        let bad = |key: &str, problem: String| {
            Err(ConfigError::Value {
                key: format!("postgres.{key}"),
                problem,
            })
        };
        let authentication = match self.authentication.as_str() {
            "auto" => Authentication::Auto,
            "scram" => Authentication::Scram,
            "password" => Authentication::Password,
            other => {
                return bad(
                    "authentication",
                    format!("\"{other}\" is not auto, scram or password"),
                );
            }
        };
        let authentication_timeout = parse_duration(&self.authentication_timeout)
            .filter(|limit| (MINUTE_MS_MIN..=MINUTE_MS_MAX).contains(&limit.as_millis()));
        let Some(authentication_timeout) = authentication_timeout else {
            return bad(
                "authentication_timeout",
                format!(
                    "\"{}\" is not a duration from 1s to 10min",
                    self.authentication_timeout
                ),
            );
        };
        if self.unauthenticated_max == 0 {
            return bad("unauthenticated_max", "at least 1".to_owned());
        }
        if !MESSAGE_BYTES.contains(&self.message_bytes_max) {
            return bad(
                "message_bytes_max",
                format!("from {} to {}", MESSAGE_BYTES.start(), MESSAGE_BYTES.end()),
            );
        }
        Ok(PostgresOptions {
            authentication,
            authentication_timeout,
            unauthenticated_max: self.unauthenticated_max,
            message_bytes_max: self.message_bytes_max,
            tls_required: false,
        })
    }
}

/// Bounds of `postgres.authentication_timeout`, in milliseconds.
const MINUTE_MS_MIN: u128 = 1000;
const MINUTE_MS_MAX: u128 = 600_000;
/// Bounds of `postgres.message_bytes_max`.
const MESSAGE_BYTES: std::ops::RangeInclusive<usize> = (1 << 20)..=(1 << 30);
