//! `[memory]`, `[spill]` and `[admission]`: what statements may take of the machine, and how many may at once.
//!
//! Knows values and how they follow from each other, not what becomes of a statement beyond them.

use serde::Deserialize;
use tarn_coordinator::AdmissionLimits;
use tarn_engine::{MemoryLimits, parse_duration};

use super::ConfigError;

/// Less memory than this runs nothing.
const MEMORY_BYTES_MIN: usize = 16 << 20;
/// One statement gets at most this part of the memory unless the configuration says otherwise, as a divisor.
const QUERY_PART: usize = 2;
/// Memory that a running statement should find, in bytes: as many run at once as find it.
const STATEMENT_BYTES: usize = 128 << 20;
/// Statements that run at once unless the configuration says otherwise.
const RUNNING_MIN: usize = 4;
const RUNNING_MAX: usize = 64;

/// `[memory]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Bytes for the operators of one process.
    pub limit_bytes: Option<usize>,
    /// Bytes for the operators of one statement in one process.
    pub query_limit_bytes: Option<usize>,
}

impl Memory {
    /// The limits of a process that gets `default_bytes` if it is not configured.
    pub fn limits(&self, default_bytes: usize) -> MemoryLimits {
        let process_bytes = self
            .limit_bytes
            .unwrap_or_else(|| default_bytes.max(MEMORY_BYTES_MIN));
        let query_bytes = self
            .query_limit_bytes
            .unwrap_or(process_bytes / QUERY_PART)
            .min(process_bytes);
        MemoryLimits {
            process_bytes,
            query_bytes,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let keys = [
            ("memory.limit_bytes", self.limit_bytes),
            ("memory.query_limit_bytes", self.query_limit_bytes),
        ];
        for (key, bytes) in keys {
            if bytes.is_some_and(|bytes| bytes < MEMORY_BYTES_MIN) {
                return Err(ConfigError::Value {
                    key: key.to_owned(),
                    problem: format!("at least {MEMORY_BYTES_MIN} bytes"),
                });
            }
        }
        Ok(())
    }
}

/// `[spill]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spill {
    /// Bytes of spill files of one process.
    pub limit_bytes: u64,
}

impl Default for Spill {
    fn default() -> Self {
        Self {
            limit_bytes: 100 << 30,
        }
    }
}

/// `[admission]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Statements that run at once.
    pub running: Option<usize>,
    /// Statements that wait.
    pub queue: usize,
    /// How long a statement waits.
    pub queue_timeout: String,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            running: None,
            queue: 1000,
            queue_timeout: "5min".to_owned(),
        }
    }
}

impl Admission {
    /// The limits of a server whose statements have `memory_bytes`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a limit that makes no sense.
    pub fn limits(&self, memory_bytes: usize) -> Result<AdmissionLimits, ConfigError> {
        let value = |key: &str, problem: &str| ConfigError::Value {
            key: key.to_owned(),
            problem: problem.to_owned(),
        };
        if self.running == Some(0) {
            return Err(value("admission.running", "must be 1 or more"));
        }
        let timeout = parse_duration(&self.queue_timeout).ok_or_else(|| {
            value(
                "admission.queue_timeout",
                "must be a time such as \"30s\" or \"5min\", or 0 for none",
            )
        })?;
        let by_memory = (memory_bytes / STATEMENT_BYTES).clamp(RUNNING_MIN, RUNNING_MAX);
        Ok(AdmissionLimits {
            running: self.running.unwrap_or(by_memory),
            queued: self.queue,
            timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_gets_half_of_the_memory() {
        let memory = Memory::default();
        assert_eq!(memory.limits(1 << 30).query_bytes, 1 << 29);
        assert_eq!(memory.limits(0).process_bytes, MEMORY_BYTES_MIN);
        let memory = Memory {
            limit_bytes: Some(1 << 30),
            query_limit_bytes: Some(1 << 40),
        };
        assert_eq!(memory.limits(0).query_bytes, 1 << 30);
        let memory = Memory {
            query_limit_bytes: Some(1),
            ..Memory::default()
        };
        let error = memory.check().unwrap_err().to_string();
        assert!(error.contains("memory.query_limit_bytes"), "{error}");
    }

    #[test]
    fn more_memory_lets_more_statements_run() {
        let admission = Admission::default();
        let running = |bytes| admission.limits(bytes).unwrap().running;
        assert_eq!(running(64 << 20), RUNNING_MIN);
        assert_eq!(running(2 << 30), 16);
        assert_eq!(running(1 << 40), RUNNING_MAX);
        let wrong = Admission {
            queue_timeout: "soon".to_owned(),
            ..Admission::default()
        };
        let error = wrong.limits(0).unwrap_err().to_string();
        assert!(error.contains("admission.queue_timeout"), "{error}");
        let wrong = Admission {
            running: Some(0),
            ..Admission::default()
        };
        assert!(wrong.limits(0).is_err());
    }
}
