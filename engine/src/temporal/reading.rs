//! Text read by a template, for `to_date` and `to_timestamp`.
//!
//! Source: PostgreSQL 15, `DCH_from_char`, `do_to_timestamp`. Knows text only.

use datafusion::common::Result;

use super::civil::{DAY, HOUR, JULIAN_1970, MINUTE, SECOND, days_of, days_of_month};
use super::errors;
use super::input::{DAYS, MONTHS, micros_of};
use super::template::Node;
use super::zones::{self, Zone};

/// A moment as clocks show it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Microseconds since 1970.
    pub(super) local: i64,
    /// Seconds ahead of UTC, if the text tells it.
    pub(super) offset: Option<i64>,
}

#[derive(Default)]
struct Parts {
    year: Option<i64>,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    seconds_of_day: Option<i64>,
    pm: Option<bool>,
    half: bool,
    bc: bool,
    sign: i64,
    zone: Option<i64>,
}

/// The moment that `text` says in the form of `nodes`.
pub(super) fn read(nodes: &[Node], text: &str) -> Result<Read> {
    let mut parts = Parts {
        sign: 1,
        ..Parts::default()
    };
    let mut rest = text;
    for (at, node) in nodes.iter().enumerate() {
        match node {
            Node::Text(character) => rest = skipped(rest, *character),
            Node::Field { name, fill, .. } => {
                if *name == "FX" {
                    continue;
                }
                rest = rest.trim_start();
                if rest.is_empty() {
                    break;
                }
                let next_is_digits = matches!(
                    nodes.get(at + 1),
                    Some(Node::Field { name, .. }) if is_number(name)
                );
                let width = if *fill || !next_is_digits {
                    None
                } else {
                    Some(width(name))
                };
                rest = field(rest, name, width, &mut parts)?;
            }
        }
    }
    finish(&parts, text)
}

fn skipped(rest: &str, character: char) -> &str {
    let separator = |c: char| !c.is_alphanumeric();
    if separator(character) {
        let trimmed = rest.trim_start();
        return match trimmed.chars().next() {
            Some(c)
                if separator(c) && !matches!(c, '+' | '-') || trimmed.starts_with(character) =>
            {
                &trimmed[trimmed.chars().next().map_or(0, char::len_utf8)..]
            }
            _ => trimmed,
        };
    }
    let mut characters = rest.chars();
    characters.next();
    characters.as_str()
}

fn is_number(name: &str) -> bool {
    !matches!(
        name,
        "MONTH"
            | "MON"
            | "DAY"
            | "DY"
            | "AM"
            | "PM"
            | "A.M."
            | "P.M."
            | "BC"
            | "AD"
            | "B.C."
            | "A.D."
            | "RM"
            | "TZ"
            | "FX"
            | "OF"
    )
}

fn width(name: &str) -> usize {
    match name {
        "YYYY" | "IYYY" => 4,
        "YYY" | "IYY" | "DDD" | "IDDD" | "MS" => 3,
        "D" | "ID" | "Q" | "W" | "Y" | "I" => 1,
        "US" => 6,
        "SSSS" | "SSSSS" => 5,
        "J" => 7,
        other => other
            .strip_prefix("FF")
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(2),
    }
}

/// Takes a number off the text: all its digits, or `width` of them at most.
fn number<'a>(rest: &'a str, name: &str, width: Option<usize>) -> Result<(i64, &'a str)> {
    let (sign, body) = match rest.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, rest.strip_prefix('+').unwrap_or(rest)),
    };
    let end = body
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(body.len());
    let end = end.min(width.unwrap_or(usize::MAX));
    let value = body[..end].parse::<i64>().map_err(|_| {
        let shown: String = rest.chars().take(width.unwrap_or(8)).collect();
        errors::pattern(format!("invalid value \"{shown}\" for \"{name}\""))
    })?;
    Ok((sign * value, &body[end..]))
}

/// Takes one of `names` off the text, or the first three letters of one.
fn name_of<'a>(
    rest: &'a str,
    names: &[&str],
    short: bool,
    pattern: &str,
) -> Result<(i64, &'a str)> {
    let lower = rest.to_ascii_lowercase();
    (0..)
        .zip(names)
        .find_map(|(at, name)| {
            let name = name.to_ascii_lowercase();
            let name = if short {
                &name[..3.min(name.len())]
            } else {
                &name
            };
            lower.starts_with(name).then(|| (at, &rest[name.len()..]))
        })
        .ok_or_else(|| {
            let shown: String = rest.chars().take(9).collect();
            errors::pattern(format!("invalid value \"{shown}\" for \"{pattern}\""))
        })
}

fn field<'a>(
    rest: &'a str,
    name: &str,
    width: Option<usize>,
    parts: &mut Parts,
) -> Result<&'a str> {
    let whole = || number(rest, name, width);
    match name {
        "YYYY" | "YYY" | "YY" | "Y" => {
            let (year, after) = whole()?;
            let digits = rest.len() - after.len();
            parts.year = Some(if name == "YYYY" || digits >= 4 {
                year
            } else {
                near_2020(year)
            });
            return Ok(after);
        }
        "Y,YYY" => {
            let (thousands, after) = number(rest, name, None)?;
            let (year, after) = number(after.strip_prefix(',').unwrap_or(after), name, Some(3))?;
            parts.year = Some(thousands * 1000 + year);
            return Ok(after);
        }
        "IYYY" | "IYY" | "IY" | "I" => {
            let (year, after) = whole()?;
            parts.iso_year = Some(if name == "IYYY" {
                year
            } else {
                near_2020(year)
            });
            return Ok(after);
        }
        "MONTH" | "MON" => {
            let (at, after) = name_of(rest, &MONTHS, name == "MON", name)?;
            parts.month = Some(at + 1);
            return Ok(after);
        }
        "DAY" | "DY" => return Ok(name_of(rest, &DAYS, name == "DY", name)?.1),
        "RM" => {
            const ROMAN: [&str; 12] = [
                "viii", "iii", "vii", "xii", "iv", "vi", "ii", "ix", "xi", "v", "x", "i",
            ];
            const MONTH_OF: [i64; 12] = [8, 3, 7, 12, 4, 6, 2, 9, 11, 5, 10, 1];
            let (at, after) = name_of(rest, &ROMAN, false, name)?;
            parts.month = usize::try_from(at).ok().map(|at| MONTH_OF[at]);
            return Ok(after);
        }
        "AM" | "PM" | "A.M." | "P.M." => {
            let (at, after) = name_of(rest, &["a.m.", "p.m.", "am", "pm"], false, name)?;
            parts.pm = Some(at % 2 == 1);
            parts.half = true;
            return Ok(after);
        }
        "BC" | "AD" | "B.C." | "A.D." => {
            let (at, after) = name_of(rest, &["b.c.", "a.d.", "bc", "ad"], false, name)?;
            parts.bc = at % 2 == 0;
            return Ok(after);
        }
        "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            let (_, after) = number(rest, name, width.or(Some(9)))?;
            let digits = &rest[..rest.len() - after.len()];
            parts.micros = micros_of(&format!(".{digits}")).unwrap_or(0);
            return Ok(after);
        }
        "TZ" | "OF" | "TZH" | "TZM" => return zone(rest, name, parts),
        _ => {}
    }
    let (value, after) = whole()?;
    match name {
        "MM" => parts.month = Some(value),
        "DD" => parts.day = Some(value),
        "DDD" | "IDDD" => parts.day_of_year = Some(value),
        "HH24" => parts.hour = value,
        "HH" | "HH12" => {
            parts.hour = value;
            parts.half = true;
        }
        "MI" => parts.minute = value,
        "SS" => parts.second = value,
        "SSSS" | "SSSSS" => parts.seconds_of_day = Some(value),
        "CC" => parts.century = Some(value),
        "WW" => parts.week = Some(value),
        "W" => parts.week_of_month = Some(value),
        "IW" => parts.iso_week = Some(value),
        "ID" => parts.iso_day = Some(value),
        "J" => parts.julian = Some(value),
        // A quarter tells nothing that a month does not.
        _ => {}
    }
    Ok(after)
}

fn zone<'a>(rest: &'a str, name: &str, parts: &mut Parts) -> Result<&'a str> {
    if name == "TZM" {
        let (minutes, after) = number(rest, name, Some(2))?;
        parts.zone = Some(parts.zone.unwrap_or(0) + parts.sign * minutes * 60);
        return Ok(after);
    }
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ':' | '/' | '_')))
        .unwrap_or(rest.len());
    if name == "TZH" {
        let (hours, after) = number(rest, name, Some(2))?;
        parts.sign = if rest.starts_with('-') { -1 } else { 1 };
        parts.zone = Some(hours * 3600);
        return Ok(after);
    }
    let said = &rest[..end];
    let found = match Zone::named(said) {
        Some(zone) => Some(zone.offset_at(0)),
        None => zones::offset(said),
    };
    let Some(seconds) = found else {
        return Err(errors::pattern(format!(
            "invalid value \"{said}\" for \"{name}\""
        )));
    };
    parts.zone = Some(seconds);
    Ok(&rest[end..])
}

/// A year of fewer than four digits is the one nearest to 2020. Source: PostgreSQL, "Usage notes".
fn near_2020(year: i64) -> i64 {
    match year {
        0..70 | 100..520 => year + 2000,
        70..100 => year + 1900,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn finish(parts: &Parts, text: &str) -> Result<Read> {
    let range = || errors::field(text);
    let mut year = match (parts.year, parts.century) {
        (Some(year), Some(century)) if year < 100 => (century - 1) * 100 + year,
        (Some(year), _) => year,
        (None, Some(century)) => (century - 1) * 100 + 1,
        // Without any year it is 1 BC.
        (None, None) => 0,
    };
    if parts.bc && year > 0 {
        year = 1 - year;
    } else if year < 0 {
        year += 1;
    }
    let month = parts.month.unwrap_or(1);
    let day = parts.day.unwrap_or(1);
    let days = if let Some(julian) = parts.julian {
        julian - JULIAN_1970
    } else if let Some(iso_year) = parts.iso_year {
        let fourth = days_of(iso_year, 1, 4);
        let monday = fourth - (fourth + 3).rem_euclid(7);
        match (parts.iso_week, parts.day_of_year) {
            (None, Some(day)) => monday + day - 1,
            (week, _) => monday + (week.unwrap_or(1) - 1) * 7 + parts.iso_day.unwrap_or(1) - 1,
        }
    } else if let Some(day) = parts.day_of_year {
        if !(1..=366).contains(&day) {
            return Err(range());
        }
        days_of(year, 1, 1) + day - 1
    } else if let Some(week) = parts.week {
        days_of(year, 1, 1) + (week - 1) * 7
    } else {
        let day = match (parts.day, parts.week_of_month) {
            (None, Some(week)) => (week - 1) * 7 + 1,
            _ => day,
        };
        if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
            return Err(range());
        }
        days_of(year, month, day)
    };
    let mut hour = parts.hour;
    if parts.half {
        if !(1..=12).contains(&hour) && parts.pm.is_some() {
            return Err(errors::pattern(format!(
                "hour \"{hour}\" is invalid for the 12-hour clock"
            )));
        }
        match parts.pm {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
    }
    let fits = (0..=24).contains(&hour)
        && (0..60).contains(&parts.minute)
        && (0..60).contains(&parts.second);
    if !fits || days.abs() > 100_000_000 {
        return Err(range());
    }
    let time = match parts.seconds_of_day {
        Some(seconds) if (0..86_400).contains(&seconds) => seconds * SECOND,
        Some(_) => return Err(range()),
        None => hour * HOUR + parts.minute * MINUTE + parts.second * SECOND,
    };
    Ok(Read {
        local: days * DAY + time + parts.micros,
        offset: parts.zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal::{template, text::timestamp_text};

    fn check(text: &str, pattern: &str, wanted: &str) {
        let out = match read(&template::parse(pattern), text) {
            Ok(read) => timestamp_text(read.local),
            Err(error) => crate::error::EngineError::from(error)
                .kind
                .sqlstate()
                .to_owned(),
        };
        assert_eq!(out, wanted, "{text} {pattern}");
    }

    #[test]
    fn text_is_read_by_its_template() {
        check("05 Dec 2000", "DD Mon YYYY", "2000-12-05 00:00:00");
        check("20240131", "YYYYMMDD", "2024-01-31 00:00:00");
        check(
            "2024-01-31 02:03:04 PM",
            "YYYY-MM-DD HH12:MI:SS AM",
            "2024-01-31 14:03:04",
        );
        check("31.01.24", "DD.MM.YY", "2024-01-31 00:00:00");
        check(
            "2024-01-31T10:11:12.125",
            "YYYY-MM-DD\"T\"HH24:MI:SS.MS",
            "2024-01-31 10:11:12.125",
        );
        check("2024 031", "YYYY DDD", "2024-01-31 00:00:00");
        check("2024-05-3", "IYYY-IW-ID", "2024-01-31 00:00:00");
        check("January 5, 2024", "Month DD, YYYY", "2024-01-05 00:00:00");
        check("2024-02-30", "YYYY-MM-DD", "22008");
        check("x", "YYYY", "22007");
        check("2024-01-31 25", "YYYY-MM-DD HH24", "22008");
    }
}
