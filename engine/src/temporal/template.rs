//! Template patterns of dates and times: taken apart and printed.
//!
//! Source: PostgreSQL 15, `DCH_keywords`, `DCH_to_char`.

use std::fmt::Write as _;

use datafusion::common::Result;

use super::civil::{JULIAN_1970, Moment, SECOND, days_of};
use super::errors;
use super::input::{DAYS, MONTHS};

/// Patterns, a longer one before those that it begins with.
const PATTERNS: [&str; 47] = [
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "D", "FF1", "FF2",
    "FF3", "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY",
    "IY", "I", "J", "MI", "MM", "MONTH", "MON", "MS", "OF", "P.M.", "PM", "Q", "RM", "SSSSS",
    "SSSS", "SS", "TZH", "TZM", "TZ", "US",
];
/// Those after the above, by the alphabet.
const YEARS: [&str; 7] = ["WW", "W", "Y,YYY", "YYYY", "YYY", "YY", "Y"];

const ROMAN: [&str; 12] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII",
];

/// How letters of a name are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Upper,
    Lower,
    First,
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(char),
    Field {
        /// In capitals.
        name: &'static str,
        letters: Letters,
        /// Without padding.
        fill: bool,
        /// `st`, `nd` in this case.
        ordinal: Option<Letters>,
    },
}

/// What is printed.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) at: Moment,
    /// Seconds ahead of UTC.
    pub(super) offset: Option<i64>,
    /// Hours; of a span, perhaps more than a day has.
    pub(super) hours: i64,
    /// An interval has no names of days and no zone.
    pub(super) span: bool,
}

/// Takes a template apart.
pub(super) fn parse(template: &str) -> Vec<Node> {
    let mut nodes = vec![];
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let mut fill = false;
        loop {
            if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
                fill = true;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("TM").or_else(|| rest.strip_prefix("tm"))
            {
                rest = after;
            } else {
                break;
            }
        }
        if let Some((name, letters)) = keyword(rest) {
            rest = &rest[name.len()..];
            let ordinal = if let Some(after) = rest.strip_prefix("TH") {
                rest = after;
                Some(Letters::Upper)
            } else if let Some(after) = rest.strip_prefix("th") {
                rest = after;
                Some(Letters::Lower)
            } else {
                None
            };
            nodes.push(Node::Field {
                name,
                letters,
                fill,
                ordinal,
            });
            continue;
        }
        let first = rest.chars().next().unwrap_or(first);
        if rest.is_empty() {
            break;
        }
        if first == '"' {
            rest = quoted(&rest[1..], &mut nodes);
            continue;
        }
        if first == '\\' && rest[1..].starts_with('"') {
            rest = &rest[1..];
        }
        let shown = rest.chars().next().unwrap_or(first);
        nodes.push(Node::Text(shown));
        rest = &rest[shown.len_utf8()..];
    }
    nodes
}

/// Text between quotes; gives what comes after them.
fn quoted<'a>(text: &'a str, nodes: &mut Vec<Node>) -> &'a str {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return &text[at + 1..],
            '\\' => nodes.extend(characters.next().map(|(_, escaped)| Node::Text(escaped))),
            other => nodes.push(Node::Text(other)),
        }
    }
    ""
}

fn keyword(rest: &str) -> Option<(&'static str, Letters)> {
    PATTERNS.iter().chain(&YEARS).find_map(|name| {
        let given = rest.get(..name.len())?;
        let lower = name.to_ascii_lowercase();
        if given == *name {
            return Some((*name, Letters::Upper));
        }
        if given == lower {
            return Some((*name, Letters::Lower));
        }
        let first = matches!(*name, "DAY" | "DY" | "MONTH" | "MON")
            && given.starts_with(|c: char| c.is_ascii_uppercase())
            && given[1..] == lower[1..];
        first.then_some((*name, Letters::First))
    })
}

/// The template filled with a value.
pub(super) fn print(nodes: &[Node], value: &Value) -> Result<String> {
    let mut out = String::new();
    for node in nodes {
        match node {
            Node::Text(character) => out.push(*character),
            Node::Field {
                name,
                letters,
                fill,
                ordinal,
            } => {
                let before = out.len();
                field(&mut out, name, *letters, *fill, value)?;
                if let Some(case) = ordinal {
                    let suffix = suffix(&out[before..]);
                    out.push_str(&cased(suffix, *case));
                }
            }
        }
    }
    Ok(out)
}

/// `st`, `nd`, `rd`, `th` after a number.
pub(super) fn suffix(number: &str) -> &'static str {
    let digits = number.as_bytes();
    let last = digits.last().copied().unwrap_or(b'0');
    if digits.len() > 1 && digits[digits.len() - 2] == b'1' {
        return "th";
    }
    match last {
        b'1' => "st",
        b'2' => "nd",
        b'3' => "rd",
        _ => "th",
    }
}

fn cased(text: &str, letters: Letters) -> String {
    match letters {
        Letters::Upper => text.to_ascii_uppercase(),
        Letters::Lower => text.to_ascii_lowercase(),
        Letters::First => text.to_owned(),
    }
}

fn field(out: &mut String, name: &str, letters: Letters, fill: bool, value: &Value) -> Result<()> {
    let at = &value.at;
    if value.span && is_of_calendar(name) {
        return Err(errors::pattern(
            "invalid format specification for an interval value",
        ));
    }
    let mut number = |number: i64, width: usize| {
        let width = if fill {
            0
        } else {
            width + usize::from(number < 0)
        };
        let _ = write!(out, "{number:0width$}");
    };
    let year = if !value.span && at.year < 1 {
        1 - at.year
    } else {
        at.year
    };
    let half = |hours: i64| {
        if hours % 12 == 0 { 12 } else { hours % 12 }
    };
    match name {
        "HH24" => number(value.hours, 2),
        "HH" | "HH12" => number(half(value.hours), 2),
        "MI" => number(at.minute(), 2),
        "SS" => number(at.second(), 2),
        "MS" => number_fixed(out, at.micros() / 1000, 3),
        "US" => number_fixed(out, at.micros(), 6),
        "SSSS" | "SSSSS" => number(at.time / SECOND, 0),
        "MM" => number(at.month, 2),
        "DD" => number(at.day, 2),
        "DDD" if value.span => number(at.year * 360 + at.month * 30 + at.day, 3),
        "DDD" => number(at.day_of_year(), 3),
        "D" => number(at.weekday() + 1, 0),
        "ID" => number((at.weekday() + 6) % 7 + 1, 0),
        "WW" => number((at.day_of_year() - 1) / 7 + 1, 2),
        "W" => number((at.day - 1) / 7 + 1, 0),
        "IW" => number(at.iso_week().1, 2),
        "IDDD" => {
            let (week_year, _) = at.iso_week();
            let fourth = days_of(week_year, 1, 4);
            let monday = fourth - (fourth + 3).rem_euclid(7);
            number(at.days - monday + 1, 3);
        }
        "Q" => number((at.month - 1) / 3 + 1, 0),
        "CC" if value.span => number(year / 100, 2),
        "CC" => number((year + 99) / 100, 2),
        "J" => number(at.days + JULIAN_1970, 0),
        "YYYY" => number(year, 4),
        "YYY" => number(year % 1000, 3),
        "YY" => number(year % 100, 2),
        "Y" => number(year % 10, 1),
        "Y,YYY" => {
            let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
        }
        "IYYY" => number(at.iso_week().0, 4),
        "IYY" => number(at.iso_week().0 % 1000, 3),
        "IY" => number(at.iso_week().0 % 100, 2),
        "I" => number(at.iso_week().0 % 10, 1),
        _ => named(out, name, letters, fill, value),
    }
    Ok(())
}

fn number_fixed(out: &mut String, number: i64, width: usize) {
    let _ = write!(out, "{number:0width$}");
}

/// Whether a pattern means a day or a zone, which an interval has not.
fn is_of_calendar(name: &str) -> bool {
    matches!(
        name,
        "DAY"
            | "DY"
            | "D"
            | "ID"
            | "IDDD"
            | "WW"
            | "W"
            | "IW"
            | "IYYY"
            | "IYY"
            | "IY"
            | "I"
            | "J"
            | "BC"
            | "AD"
            | "B.C."
            | "A.D."
            | "TZ"
            | "TZH"
            | "TZM"
            | "OF"
            | "Q"
    )
}

/// What is no number.
fn named(out: &mut String, name: &str, letters: Letters, fill: bool, value: &Value) {
    let at = &value.at;
    let mut padded = |text: String, width: usize| {
        let width = if fill { 0 } else { width };
        let _ = write!(out, "{text:<width$}");
    };
    let month = usize::try_from(at.month - 1).ok();
    let month_name = month.and_then(|at| MONTHS.get(at)).copied().unwrap_or("");
    let day_name = usize::try_from(at.weekday())
        .ok()
        .and_then(|at| DAYS.get(at))
        .copied()
        .unwrap_or("");
    let seconds = value.offset.unwrap_or(0);
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match name {
        "MONTH" => padded(cased(month_name, letters), 9),
        "MON" => padded(cased(month_name.get(..3).unwrap_or(""), letters), 0),
        "DAY" => padded(cased(day_name, letters), 9),
        "DY" => padded(cased(&day_name[..3.min(day_name.len())], letters), 0),
        "RM" => {
            let roman = month.and_then(|at| ROMAN.get(at)).copied().unwrap_or("");
            padded(cased(roman, letters), 4);
        }
        "AM" | "PM" | "A.M." | "P.M." => {
            let dots = name.contains('.');
            let text = match (value.hours.rem_euclid(24) >= 12, dots) {
                (true, true) => "P.M.",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (false, false) => "AM",
            };
            out.push_str(&cased(text, letters));
        }
        "BC" | "AD" | "B.C." | "A.D." => {
            let dots = name.contains('.');
            let text = match (at.year < 1, dots) {
                (true, true) => "B.C.",
                (true, false) => "BC",
                (false, true) => "A.D.",
                (false, false) => "AD",
            };
            out.push_str(&cased(text, letters));
        }
        "TZ" => match value.offset {
            None => {}
            Some(0) => out.push_str(&cased("UTC", letters)),
            Some(_) if minutes == 0 => {
                let _ = write!(out, "{sign}{hours:02}");
            }
            Some(_) => {
                let _ = write!(out, "{sign}{hours:02}:{minutes:02}");
            }
        },
        "TZH" => {
            let _ = write!(out, "{sign}{hours:02}");
        }
        "TZM" => number_fixed(out, minutes, 2),
        "OF" => {
            let _ = write!(out, "{sign}{hours:02}");
            if minutes != 0 {
                let _ = write!(out, ":{minutes:02}");
            }
        }
        _ => {
            if let Some(digits) = name.strip_prefix("FF").and_then(|d| d.parse::<u32>().ok()) {
                let lost = 10_i64.pow(6 - digits.min(6));
                number_fixed(out, at.micros() / lost, digits as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal::civil::{DAY, HOUR, MINUTE};

    fn check(template: &str, wanted: &str) {
        let micros = days_of(2024, 1, 5) * DAY + 14 * HOUR + 3 * MINUTE + 9 * SECOND + 120_000;
        let value = Value {
            at: Moment::of(micros),
            offset: None,
            hours: 14,
            span: false,
        };
        assert_eq!(print(&parse(template), &value).unwrap(), wanted);
    }

    #[test]
    fn patterns_are_filled_and_other_text_stays() {
        check(
            "FMDay FMDD FMMonth YY Q IYYY-IW D ID DDD",
            "Friday 5 January 24 1 2024-01 6 5 005",
        );
        check("YYYY-MM-DD HH24:MI:SS.US", "2024-01-05 14:03:09.120000");
        check("Day|Month|MON|dy", "Friday   |January  |JAN|fri");
        check("HH:MI AM, FF3", "02:03 PM, 120");
        check("\"YYYY is\" YYYY \\\"x\\\"", "YYYY is 2024 \"x\"");
        check(
            "DDth, FMDDth, Y,YYY, CC, J, WW, W, RM",
            "05th, 5th, 2,024, 21, 2460315, 01, 1, I   ",
        );
        check("%z #", "%z #");
    }
}
