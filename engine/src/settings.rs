//! The session settings that `SET`, `RESET` and `SHOW` reach: an allow-list.
//!
//! One table says everything of a setting: name, default, what it does, how it is checked.
//! `system.settings` and the SQL reference are made from it. Nothing else can be set.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use datafusion::arrow::array::timezone::Tz;

use crate::error::{EngineError, ErrorKind};

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// An IANA name or offset.
    TimeZone,
    /// `250ms`, `30s`, `5min`, or a number of milliseconds; 0 = none.
    Duration,
    /// `on` or `off`.
    Boolean,
    /// A whole number within bounds.
    Integer(u64, u64),
    /// One of some words.
    Word(&'static [&'static str]),
    /// A schema name.
    Schema,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Another name for it, as PostgreSQL spells it.
    pub alias: Option<&'static str>,
    /// What it takes.
    pub kind: SettingKind,
    /// Its value until it is set.
    pub default: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
}

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "application_name",
        alias: None,
        kind: SettingKind::Text,
        default: "",
        description: "Name of the client program, shown in system.queries.",
    },
    Setting {
        name: "ansi_mode",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "Stricter functions and casts, where DataFusion offers them.",
    },
    Setting {
        name: "batch_size",
        alias: None,
        kind: SettingKind::Integer(128, 1_048_576),
        default: "8192",
        description: "Rows in one batch inside the engine.",
    },
    Setting {
        name: "distribution",
        alias: None,
        kind: SettingKind::Word(&["auto", "always", "never"]),
        default: "auto",
        description: "Whether a statement runs on the workers: auto decides by the bytes to read.",
    },
    Setting {
        name: "distribution_bytes_min",
        alias: None,
        kind: SettingKind::Integer(0, 1 << 50),
        default: "33554432",
        description: "With distribution = auto, a statement that reads fewer bytes stays in the coordinator.",
    },
    Setting {
        name: "parquet_pushdown_filters",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "Evaluate filters while decoding Parquet (late materialisation).",
    },
    Setting {
        name: "search_path",
        alias: Some("schema"),
        kind: SettingKind::Schema,
        default: "main",
        description: "Schema in which unqualified table names are looked up.",
    },
    Setting {
        name: "statement_timeout",
        alias: None,
        kind: SettingKind::Duration,
        default: "0",
        description: "A statement that runs longer is cancelled; milliseconds, or with a unit; 0 = none.",
    },
    Setting {
        name: "target_partitions",
        alias: None,
        kind: SettingKind::Integer(0, 1024),
        default: "0",
        description: "Parallel streams within one process; 0 = one per core.",
    },
    Setting {
        name: "time_zone",
        alias: Some("timezone"),
        kind: SettingKind::TimeZone,
        default: "UTC",
        description: "Time zone of the session: how timestamps with time zone are read and shown.",
    },
];

/// Finds a setting by name or alias.
///
/// # Errors
/// [`ErrorKind::UndefinedSetting`], offering the nearest name.
pub(crate) fn find(name: &str) -> Result<&'static Setting, EngineError> {
    let folded = name.to_lowercase();
    SETTINGS
        .iter()
        .find(|s| s.name == folded || s.alias == Some(folded.as_str()))
        .ok_or_else(|| {
            let error = EngineError::new(
                ErrorKind::UndefinedSetting,
                format!("unrecognized setting \"{name}\""),
            );
            match crate::names::nearest(&folded, SETTINGS.iter().map(|s| s.name)) {
                Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
                None => error.with_hint("SHOW ALL lists the settings"),
            }
        })
}

/// The settings of one session; what is not set has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// The value in force.
    pub fn get(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => SETTINGS
                .iter()
                .find(|s| s.name == name)
                .map_or("", |s| s.default),
        }
    }

    /// Sets `name` to `value` after checking it.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSetting`] or [`ErrorKind::InvalidParameter`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EngineError> {
        let setting = find(name)?;
        let value = normalise(setting, value)?;
        self.values.insert(setting.name, value);
        Ok(())
    }

    /// Back to the default.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSetting`].
    pub fn reset(&mut self, name: &str) -> Result<(), EngineError> {
        self.values.remove(find(name)?.name);
        Ok(())
    }

    /// Everything back to the default.
    pub fn reset_all(&mut self) {
        self.values.clear();
    }

    /// A numeric setting; 0 if it has none.
    pub fn integer(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// A boolean setting.
    pub fn boolean(&self, name: &str) -> bool {
        self.get(name) == "on"
    }

    /// `statement_timeout`, if there is one.
    pub fn statement_timeout(&self) -> Option<Duration> {
        parse_duration(self.get("statement_timeout")).filter(|d| !d.is_zero())
    }
}

fn normalise(setting: &Setting, value: &str) -> Result<String, EngineError> {
    let bad = |why: String| {
        Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!(
                "invalid value for setting \"{}\": \"{value}\"",
                setting.name
            ),
        )
        .with_hint(why))
    };
    match setting.kind {
        SettingKind::Text | SettingKind::Schema => Ok(value.to_owned()),
        SettingKind::TimeZone => match Tz::from_str(value) {
            Ok(_) => Ok(value.to_owned()),
            Err(_) => bad(
                "use an IANA name such as Europe/Berlin, UTC, or an offset such as +02:00"
                    .to_owned(),
            ),
        },
        SettingKind::Duration => match parse_duration(value) {
            Some(_) => Ok(value.to_owned()),
            None => bad("use milliseconds, or a number with ms, s, min or h".to_owned()),
        },
        SettingKind::Boolean => match value.to_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok("on".to_owned()),
            "off" | "false" | "no" | "0" => Ok("off".to_owned()),
            _ => bad("use on or off".to_owned()),
        },
        SettingKind::Integer(min, max) => match value.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
            _ => bad(format!("use a whole number from {min} to {max}")),
        },
        SettingKind::Word(words) => {
            let folded = value.to_lowercase();
            if words.contains(&folded.as_str()) {
                Ok(folded)
            } else {
                bad(format!("use one of: {}", words.join(", ")))
            }
        }
    }
}

/// Reads `1500`, `1500ms`, `30s`, `5min`, `2h`. Source: PostgreSQL, "Parameter Names and Values".
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let factor_ms: u64 = match text[split..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_outside_the_list_is_refused_with_the_nearest() {
        let error = Settings::default()
            .set("statement_timeot", "1s")
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::UndefinedSetting);
        assert!(error.hint.unwrap().contains("statement_timeout"));
        assert!(
            Settings::default()
                .set("datafusion.execution.batch_size", "1")
                .is_err()
        );
    }

    #[test]
    fn values_are_checked_and_durations_have_units() {
        let mut settings = Settings::default();
        assert!(settings.set("time_zone", "Mars/Olympus").is_err());
        assert!(settings.set("batch_size", "1").is_err());
        settings.set("timezone", "Europe/Berlin").unwrap();
        assert_eq!(settings.get("time_zone"), "Europe/Berlin");
        settings.set("statement_timeout", "5min").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_mins(5)));
        settings.reset_all();
        assert_eq!(settings.statement_timeout(), None);
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for setting in SETTINGS {
            if setting.default.is_empty() {
                continue;
            }
            assert_eq!(
                normalise(setting, setting.default).unwrap(),
                setting.default,
                "{}",
                setting.name
            );
        }
    }
}
