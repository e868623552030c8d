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
    /// A whole number within bounds, maybe below zero.
    Signed(i64, i64),
    /// `ISO` with an order of day and month.
    DateStyle,
    /// `UTF8` in one of its spellings.
    Encoding,
    /// What the server says of itself; it cannot be set.
    Fixed,
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
        name: "ansi_mode",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "Stricter functions and casts, where DataFusion offers them.",
    },
    Setting {
        name: "application_name",
        alias: None,
        kind: SettingKind::Text,
        default: "",
        description: "Name of the client program, shown in system.queries.",
    },
    Setting {
        name: "backslash_quote",
        alias: None,
        kind: SettingKind::Word(&["safe_encoding", "on", "off"]),
        default: "safe_encoding",
        description: "For clients of PostgreSQL; backslashes are plain characters in texts.",
    },
    Setting {
        name: "batch_size",
        alias: None,
        kind: SettingKind::Integer(128, 1_048_576),
        default: "8192",
        description: "Rows in one batch inside the engine.",
    },
    Setting {
        name: "bytea_output",
        alias: None,
        kind: SettingKind::Word(&["hex", "escape"]),
        default: "hex",
        description: "How bytea is printed over the PostgreSQL door.",
    },
    Setting {
        name: "check_function_bodies",
        alias: None,
        kind: SettingKind::Boolean,
        default: "on",
        description: "For clients of PostgreSQL; there are no function bodies to check.",
    },
    Setting {
        name: "client_encoding",
        alias: None,
        kind: SettingKind::Encoding,
        default: "UTF8",
        description: "Encoding of texts; always UTF8.",
    },
    Setting {
        name: "client_min_messages",
        alias: None,
        kind: SettingKind::Word(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
        ]),
        default: "notice",
        description: "Least severity of the notices that the PostgreSQL door sends.",
    },
    Setting {
        name: "datestyle",
        alias: None,
        kind: SettingKind::DateStyle,
        default: "ISO, MDY",
        description: "How dates are printed; always ISO.",
    },
    Setting {
        name: "default_transaction_deferrable",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "For clients of PostgreSQL; no transaction waits for a snapshot.",
    },
    Setting {
        name: "default_transaction_isolation",
        alias: None,
        kind: SettingKind::Word(&[
            "read uncommitted",
            "read committed",
            "repeatable read",
            "serializable",
        ]),
        default: "read committed",
        description: "Isolation that new transactions ask for; each statement sees what was committed before it.",
    },
    Setting {
        name: "default_transaction_read_only",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "Whether new transactions refuse writes.",
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
        name: "escape_string_warning",
        alias: None,
        kind: SettingKind::Boolean,
        default: "on",
        description: "For clients of PostgreSQL; backslashes are plain characters in texts.",
    },
    Setting {
        name: "extra_float_digits",
        alias: None,
        kind: SettingKind::Signed(-15, 3),
        default: "1",
        description: "For clients of PostgreSQL; floats are always printed so that they read back exactly.",
    },
    Setting {
        name: "geqo",
        alias: None,
        kind: SettingKind::Boolean,
        default: "on",
        description: "For clients of PostgreSQL; plans are made in one way.",
    },
    Setting {
        name: "idle_in_transaction_session_timeout",
        alias: None,
        kind: SettingKind::Duration,
        default: "0",
        description: "A session that is idle in a transaction for longer is ended; 0 = none. PostgreSQL door.",
    },
    Setting {
        name: "idle_session_timeout",
        alias: None,
        kind: SettingKind::Duration,
        default: "0",
        description: "A session that is idle for longer is ended; 0 = none. PostgreSQL door.",
    },
    Setting {
        name: "in_hot_standby",
        alias: None,
        kind: SettingKind::Fixed,
        default: "off",
        description: "Whether the server only reads.",
    },
    Setting {
        name: "integer_datetimes",
        alias: None,
        kind: SettingKind::Fixed,
        default: "on",
        description: "Moments are counted in whole microseconds.",
    },
    Setting {
        name: "intervalstyle",
        alias: None,
        kind: SettingKind::Word(&["postgres", "iso_8601"]),
        default: "postgres",
        description: "How intervals are printed over the PostgreSQL door.",
    },
    Setting {
        name: "is_superuser",
        alias: None,
        kind: SettingKind::Fixed,
        default: "off",
        description: "Whether the user may manage the server, as clients of PostgreSQL ask.",
    },
    Setting {
        name: "jit",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "For clients of PostgreSQL; expressions are not compiled.",
    },
    Setting {
        name: "lc_collate",
        alias: None,
        kind: SettingKind::Fixed,
        default: "C",
        description: "Texts are ordered by their bytes.",
    },
    Setting {
        name: "lc_ctype",
        alias: None,
        kind: SettingKind::Fixed,
        default: "C.UTF-8",
        description: "Classes of characters are those of Unicode.",
    },
    Setting {
        name: "lock_timeout",
        alias: None,
        kind: SettingKind::Duration,
        default: "0",
        description: "For clients of PostgreSQL; statements wait for no locks.",
    },
    Setting {
        name: "max_identifier_length",
        alias: None,
        kind: SettingKind::Fixed,
        default: "63",
        description: "Bytes of a name that PostgreSQL keeps; Tarn keeps longer ones whole.",
    },
    Setting {
        name: "max_index_keys",
        alias: None,
        kind: SettingKind::Fixed,
        default: "32",
        description: "For clients of PostgreSQL; there are no indexes.",
    },
    Setting {
        name: "parquet_pushdown_filters",
        alias: None,
        kind: SettingKind::Word(&["auto", "on", "off"]),
        default: "auto",
        description: "Evaluate filters while decoding Parquet (late materialisation): in scans where they keep few rows, in all, or in none.",
    },
    Setting {
        name: "password_encryption",
        alias: None,
        kind: SettingKind::Word(&["scram-sha-256"]),
        default: "scram-sha-256",
        description: "How clients such as psql's \\password hash a new password before they send it.",
    },
    Setting {
        name: "row_security",
        alias: None,
        kind: SettingKind::Boolean,
        default: "on",
        description: "For clients of PostgreSQL.",
    },
    Setting {
        name: "search_path",
        alias: Some("schema"),
        kind: SettingKind::Schema,
        default: "main",
        description: "Schema in which unqualified table names are looked up.",
    },
    Setting {
        name: "server_encoding",
        alias: None,
        kind: SettingKind::Fixed,
        default: "UTF8",
        description: "Encoding of texts.",
    },
    Setting {
        name: "server_version",
        alias: None,
        kind: SettingKind::Fixed,
        default: concat!("15.0 (Tarn ", env!("CARGO_PKG_VERSION"), ")"),
        description: "The PostgreSQL version whose clients are served, and this one.",
    },
    Setting {
        name: "server_version_num",
        alias: None,
        kind: SettingKind::Fixed,
        default: "150000",
        description: "The PostgreSQL version whose clients are served, as a number.",
    },
    Setting {
        name: "session_authorization",
        alias: None,
        kind: SettingKind::Fixed,
        default: "",
        description: "The user of the session.",
    },
    Setting {
        name: "standard_conforming_strings",
        alias: None,
        kind: SettingKind::Word(&["on"]),
        default: "on",
        description: "Backslashes are plain characters in texts; always on.",
    },
    Setting {
        name: "statement_timeout",
        alias: None,
        kind: SettingKind::Duration,
        default: "0",
        description: "A statement that runs longer is cancelled; milliseconds, or with a unit; 0 = none.",
    },
    Setting {
        name: "synchronous_commit",
        alias: None,
        kind: SettingKind::Word(&["on", "off", "local", "remote_write", "remote_apply"]),
        default: "on",
        description: "For clients of PostgreSQL; a commit is always durable.",
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
    Setting {
        name: "transaction_deferrable",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "For clients of PostgreSQL.",
    },
    Setting {
        name: "transaction_isolation",
        alias: None,
        kind: SettingKind::Word(&[
            "read uncommitted",
            "read committed",
            "repeatable read",
            "serializable",
        ]),
        default: "read committed",
        description: "Isolation of the transaction; each statement sees what was committed before it.",
    },
    Setting {
        name: "transaction_read_only",
        alias: None,
        kind: SettingKind::Boolean,
        default: "off",
        description: "Whether the transaction refuses writes.",
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

    /// What a setting that the server fixes is in this session.
    pub fn fix(&mut self, name: &'static str, value: &str) {
        self.values.insert(name, value.to_owned());
    }

    /// Back to the default.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedSetting`].
    pub fn reset(&mut self, name: &str) -> Result<(), EngineError> {
        let setting = find(name)?;
        if setting.kind != SettingKind::Fixed {
            self.values.remove(setting.name);
        }
        Ok(())
    }

    /// Everything back to the default.
    pub fn reset_all(&mut self) {
        self.values
            .retain(|name, _| matches!(find(name), Ok(s) if s.kind == SettingKind::Fixed));
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
        SettingKind::Fixed => Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("setting \"{}\" cannot be changed", setting.name),
        )),
        SettingKind::Signed(min, max) => match value.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
            _ => bad(format!("use a whole number from {min} to {max}")),
        },
        SettingKind::DateStyle => match date_style(value) {
            Some(style) => Ok(style),
            None => bad(
                "dates are printed in ISO; ISO, MDY, ISO, DMY and ISO, YMD are taken".to_owned(),
            ),
        },
        SettingKind::Encoding => {
            // PostgreSQL reads letters and digits only; asyncpg sends quotes around the name.
            let letters: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            match letters.to_lowercase().as_str() {
                "utf8" | "unicode" => Ok("UTF8".to_owned()),
                _ => bad("texts are always in UTF8".to_owned()),
            }
        }
        SettingKind::TimeZone => match Tz::from_str(value) {
            Ok(_) => Ok(value.to_owned()),
            Err(_) => bad(
                "use an IANA name such as Europe/Berlin, UTC, or an offset such as +02:00"
                    .to_owned(),
            ),
        },
        SettingKind::Duration => match parse_duration(value) {
            Some(duration) => Ok(shown_duration(duration)),
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

/// A duration in the largest unit that says it exactly, as PostgreSQL shows it.
fn shown_duration(duration: Duration) -> String {
    const UNITS_MS: [(u128, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let ms = duration.as_millis();
    if ms == 0 {
        return "0".to_owned();
    }
    match UNITS_MS.iter().find(|(unit, _)| ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// `ISO, MDY` from what clients send for it. Source: PostgreSQL, `DateStyle`.
fn date_style(value: &str) -> Option<String> {
    let mut order = "MDY";
    for word in value.split([',', ' ']).filter(|word| !word.is_empty()) {
        match word.to_lowercase().as_str() {
            "iso" | "default" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "dmy" | "euro" | "european" => order = "DMY",
            "ymd" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
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
        for (given, shown) in [
            ("12345", "12345ms"),
            ("1000", "1s"),
            ("90s", "90s"),
            ("0", "0"),
        ] {
            settings.set("statement_timeout", given).unwrap();
            assert_eq!(settings.get("statement_timeout"), shown);
        }
        settings.reset_all();
        assert_eq!(settings.statement_timeout(), None);
    }

    #[test]
    fn what_clients_of_postgresql_send_is_taken() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("DateStyle", "ISO"),
            ("client_encoding", "'utf-8'"),
            ("extra_float_digits", "3"),
            ("IntervalStyle", "ISO_8601"),
            ("standard_conforming_strings", "on"),
            ("lock_timeout", "0"),
        ] {
            settings.set(name, value).unwrap();
        }
        assert_eq!(settings.get("datestyle"), "ISO, MDY");
        assert_eq!(settings.get("client_encoding"), "UTF8");
        for (name, value) in [
            ("DateStyle", "German"),
            ("client_encoding", "LATIN1"),
            ("standard_conforming_strings", "off"),
            ("server_version", "16"),
        ] {
            let error = settings.set(name, value).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidParameter, "{name}");
        }
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for setting in SETTINGS {
            if setting.default.is_empty() || setting.kind == SettingKind::Fixed {
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
