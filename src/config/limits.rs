//! `[limits]`: how many sessions there may be, and how long they may do nothing.
//!
//! Knows values, not what becomes of a session beyond them.

use serde::Deserialize;
use tarn_coordinator::SessionLimits;
use tarn_engine::parse_duration;

use super::ConfigError;

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions of one user at once.
    pub sessions_per_user: usize,
    /// How long a connection may do nothing.
    pub idle_timeout: String,
}

impl Limits {
    /// The limits in the form that the registry of sessions takes.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a limit that would keep everybody out.
    pub fn sessions(&self) -> Result<SessionLimits, ConfigError> {
        let value = |key: &str, problem: &str| ConfigError::Value {
            key: key.to_owned(),
            problem: problem.to_owned(),
        };
        if self.sessions == 0 {
            return Err(value("limits.sessions", "must be 1 or more"));
        }
        if self.sessions_per_user == 0 {
            return Err(value("limits.sessions_per_user", "must be 1 or more"));
        }
        let idle_timeout = parse_duration(&self.idle_timeout).ok_or_else(|| {
            value(
                "limits.idle_timeout",
                "must be a time such as \"30min\" or \"12h\", or 0 for none",
            )
        })?;
        Ok(SessionLimits {
            per_user: self.sessions_per_user,
            total: self.sessions,
            idle_timeout: Some(idle_timeout).filter(|timeout| !timeout.is_zero()),
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 5_000,
            sessions_per_user: 2_000,
            idle_timeout: "12h".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_that_keep_everybody_out_are_refused() {
        let default = Limits::default();
        let read = default.sessions().unwrap();
        assert_eq!(read.idle_timeout, Some(Duration::from_hours(12)));
        let never = Limits {
            idle_timeout: "0".to_owned(),
            ..default.clone()
        };
        assert_eq!(never.sessions().unwrap().idle_timeout, None);
        let wrong = [
            Limits {
                sessions: 0,
                ..default.clone()
            },
            Limits {
                sessions_per_user: 0,
                ..default.clone()
            },
            Limits {
                idle_timeout: "soon".to_owned(),
                ..default
            },
        ];
        for limits in wrong {
            let error = limits.sessions().unwrap_err();
            assert!(error.to_string().contains("limits."), "{error}");
        }
    }
}
