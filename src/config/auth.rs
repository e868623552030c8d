//! `[auth]`: how many logins may fail before whoever fails must wait.
//!
//! Knows values, not who logs in.

use std::num::NonZeroU32;

use serde::Deserialize;
use tarn_control::{Allowance, LoginLimits};
use tarn_engine::parse_duration;

use super::ConfigError;

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Failures of one account from one address at once.
    pub pair_failures: u32,
    /// When one more may fail.
    pub pair_refill: String,
    /// Failures from one address at once.
    pub address_failures: u32,
    /// When one more may fail.
    pub address_refill: String,
    /// Failures of one account at once.
    pub account_failures: u32,
    /// When one more may fail.
    pub account_refill: String,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let refill = |text: &str| text.to_owned();
        Self {
            pair_failures: 10,
            pair_refill: refill("30s"),
            address_failures: 50,
            address_refill: refill("6s"),
            account_failures: 100,
            account_refill: refill("10s"),
        }
    }
}

impl AuthConfig {
    /// The limits in the form that `control` takes.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for one that keeps everybody out, or lets one address lock an account for all.
    pub fn limits(&self) -> Result<LoginLimits, ConfigError> {
        let limits = LoginLimits {
            pair: allowance("pair", self.pair_failures, &self.pair_refill)?,
            address: allowance("address", self.address_failures, &self.address_refill)?,
            account: allowance("account", self.account_failures, &self.account_refill)?,
        };
        if limits.locks_others_out() {
            return Err(bad(
                "account_failures",
                "one address could lock an account for all; auth.account_failures must be more than auth.pair_failures, and auth.account_refill not longer than auth.pair_refill",
            ));
        }
        Ok(limits)
    }
}

fn allowance(whose: &str, failures: u32, refill: &str) -> Result<Allowance, ConfigError> {
    let burst = NonZeroU32::new(failures)
        .ok_or_else(|| bad(&format!("{whose}_failures"), "must be 1 or more"))?;
    let one_per = parse_duration(refill)
        .filter(|time| (REFILL_MS_MIN..=REFILL_MS_MAX).contains(&time.as_millis()))
        .ok_or_else(|| {
            let problem = format!("\"{refill}\" is not a duration from 1ms to 24h");
            bad(&format!("{whose}_refill"), &problem)
        })?;
    Ok(Allowance { burst, one_per })
}

fn bad(key: &str, problem: &str) -> ConfigError {
    ConfigError::Value {
        key: format!("auth.{key}"),
        problem: problem.to_owned(),
    }
}

/// Bounds of the times after which one more login may fail, in milliseconds.
const REFILL_MS_MIN: u128 = 1;
const REFILL_MS_MAX: u128 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_control() {
        let limits = AuthConfig::default().limits().unwrap();
        assert_eq!(limits, LoginLimits::default());
    }

    #[test]
    fn limits_that_lock_people_out_are_refused() {
        let check = |change: fn(&mut AuthConfig), key: &str| {
            let mut config = AuthConfig::default();
            change(&mut config);
            let error = config.limits().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        check(|auth| auth.pair_failures = 0, "auth.pair_failures");
        check(
            |auth| auth.address_refill = "0".to_owned(),
            "auth.address_refill",
        );
        check(
            |auth| auth.account_refill = "soon".to_owned(),
            "auth.account_refill",
        );
        check(|auth| auth.account_failures = 10, "auth.account_failures");
        check(
            |auth| auth.pair_refill = "5s".to_owned(),
            "auth.account_failures",
        );
    }
}
