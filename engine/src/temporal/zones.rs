//! Time zones: what a name means, and how far from UTC its clocks are.
//!
//! Knows zones and instants, no SQL.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::common::Result;

use super::civil::{DAY, SECOND};
use super::errors;

/// Abbreviations with the hours east of UTC that they always mean. Source: PostgreSQL, `Default` of `tznames`.
const ABBREVIATIONS: [(&str, f64); 38] = [
    ("utc", 0.0),
    ("z", 0.0),
    ("zulu", 0.0),
    ("gmt", 0.0),
    ("ut", 0.0),
    ("uct", 0.0),
    ("wet", 0.0),
    ("west", 1.0),
    ("bst", 1.0),
    ("cet", 1.0),
    ("met", 1.0),
    ("mez", 1.0),
    ("cest", 2.0),
    ("mest", 2.0),
    ("mesz", 2.0),
    ("eet", 2.0),
    ("eest", 3.0),
    ("msk", 3.0),
    ("msd", 4.0),
    ("pkt", 5.0),
    ("ist", 2.0),
    ("hkt", 8.0),
    ("cct", 8.0),
    ("jst", 9.0),
    ("kst", 9.0),
    ("nzst", 12.0),
    ("nzdt", 13.0),
    ("nst", -3.5),
    ("ndt", -2.5),
    ("ast", -4.0),
    ("adt", -3.0),
    ("est", -5.0),
    ("edt", -4.0),
    ("cst", -6.0),
    ("cdt", -5.0),
    ("mst", -7.0),
    ("mdt", -6.0),
    ("pst", -8.0),
];

/// Seconds that clocks of a zone of an Arrow type are ahead of UTC, `second` seconds after 1970; 0 of an unknown zone.
pub(crate) fn seconds_ahead(zone: &str, second: i64) -> i64 {
    Zone::of_type(zone).map_or(0, |zone| zone.offset_at(second.saturating_mul(SECOND)))
}

/// A zone: a fixed distance from UTC or a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Zone {
    /// Seconds east of UTC.
    Fixed(i64),
    Place(Tz),
}

impl Zone {
    /// The zone of an Arrow type or of the setting `time_zone`: `+02:00` is east of UTC.
    pub(super) fn of_type(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::Fixed(0));
        }
        Tz::from_str(name)
            .map(Self::Place)
            .map_err(|_| errors::zone(name))
    }

    /// The zone that SQL names: an abbreviation, a place, or hours, which POSIX counts to the west.
    pub(super) fn of_sql(name: &str) -> Result<Self> {
        let trimmed = name.trim();
        if let Some(zone) = Self::named(trimmed) {
            return Ok(zone);
        }
        let digits = trimmed.trim_start_matches(['+', '-']);
        if digits.starts_with(|c: char| c.is_ascii_digit())
            && let Some(seconds) = offset(trimmed)
        {
            return Ok(Self::Fixed(-seconds));
        }
        Err(errors::zone(name))
    }

    /// The zone of an abbreviation or a place, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let fixed = ABBREVIATIONS
            .iter()
            .find(|(known, _)| *known == lower)
            .map(|(_, hours)| *hours)
            .or((lower == "pdt").then_some(-7.0));
        #[allow(clippy::cast_possible_truncation, reason = "hours of a day")]
        if let Some(hours) = fixed {
            return Some(Self::Fixed((hours * 3600.0) as i64));
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        Tz::from_str(name)
            .or_else(|_| Tz::from_str(&capitalized(name)))
            .ok()
            .map(Self::Place)
    }

    /// Seconds that clocks are ahead of UTC at an instant.
    pub(super) fn offset_at(self, utc: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Place(zone) => DateTime::from_timestamp_micros(utc).map_or(0, |at| {
                let offset = zone.offset_from_utc_datetime(&at.naive_utc());
                i64::from(offset.fix().local_minus_utc())
            }),
        }
    }

    /// What clocks show at an instant; `None` if no timestamp holds it.
    pub(super) fn local(self, utc: i64) -> Option<i64> {
        utc.checked_add(self.offset_at(utc) * SECOND)
    }

    /// When clocks show `local`. What they show twice is the later, what they skip is counted with the
    /// clocks of before. Source: PostgreSQL, `DetermineTimeZoneOffset`.
    pub(super) fn utc(self, local: i64) -> Option<i64> {
        let before = self.offset_at(local.checked_sub(DAY)?);
        let after = self.offset_at(local.checked_add(DAY)?);
        if before == after {
            // There may be two changes within two days, but no zone has had them.
            return local.checked_sub(before * SECOND);
        }
        let by_after = local.checked_sub(after * SECOND)?;
        if self.offset_at(by_after) == after {
            return Some(by_after);
        }
        local.checked_sub(before * SECOND)
    }
}

/// `europe/paris` as `Europe/Paris`.
fn capitalized(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let out = if start {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            };
            start = matches!(c, '/' | '_' | '-');
            out
        })
        .collect()
}

/// Seconds of `+2`, `-02:30`, `+0230`, `+02:30:15`.
pub(super) fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let number = |part: &str| {
        (!part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())
            .flatten()
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [short] if matches!(short.len(), 3 | 4) && short.is_ascii() => {
            let (hours, minutes) = short.split_at(short.len() - 2);
            (number(hours)?, number(minutes)?, 0)
        }
        [hours] => (number(hours)?, 0, 0),
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return None,
    };
    (hours < 16 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal::civil::{HOUR, days_of};

    #[test]
    fn clocks_that_change_are_read_as_postgresql_reads_them() {
        let zone = Zone::of_sql("America/New_York").unwrap();
        let day = |m, d| days_of(2024, m, d) * DAY;
        assert_eq!(zone.local(day(1, 1)), Some(day(1, 1) - 5 * HOUR));
        // Skipped on 10 March: 02:30 is 07:30 UTC, counted with the clocks of before.
        let skipped = day(3, 10) + 2 * HOUR + HOUR / 2;
        assert_eq!(zone.utc(skipped), Some(skipped + 5 * HOUR));
        // Shown twice on 3 November: the later.
        let twice = day(11, 3) + HOUR + HOUR / 2;
        assert_eq!(zone.utc(twice), Some(twice + 5 * HOUR));
        assert_eq!(zone.utc(day(7, 1)), Some(day(7, 1) + 4 * HOUR));
    }

    #[test]
    fn hours_are_counted_to_the_west() {
        assert_eq!(Zone::of_sql("+02").unwrap().offset_at(0), -7200);
        assert_eq!(Zone::of_sql("europe/paris").unwrap().offset_at(0), 3600);
        assert_eq!(Zone::of_sql("EST").unwrap().offset_at(0), -18000);
        assert!(Zone::of_sql("Mars/Olympus").is_err());
        assert_eq!(offset("+0530"), Some(19800));
    }
}
