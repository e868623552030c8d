//! Dates, times and intervals in text.
//!
//! Source: PostgreSQL 15, "Date/Time Input" (ISO forms) and `DecodeInterval`.

use std::str::FromStr;

use arrow::array::timezone::Tz;
use chrono::{DateTime, Offset, TimeZone, Utc};

use super::Bad;
use crate::postgres::encode::{DAY_MICROS, Interval};

/// Days since 1970 of a calendar day. Source: H. Hinnant, as in the encoder.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year.rem_euclid(4) == 0
            && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) =>
        {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn syntax(ty: &str, text: &str) -> Bad {
    Bad::new(
        "22007",
        format!(
            "invalid input syntax for type {ty}: \"{}\"",
            super::short(text)
        ),
    )
}

fn overflow(text: &str) -> Bad {
    Bad::new(
        "22008",
        format!(
            "date/time field value out of range: \"{}\"",
            super::short(text)
        ),
    )
}

/// Years that a date may have. Source: PostgreSQL's `date` ends in 5874897; Arrow's chrono earlier.
const YEAR_MAX: i64 = 262_000;

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `YYYY-MM-DD` or `YYYYMMDD`.
fn day(text: &str, before_christ: bool, ty: &str, whole: &str) -> Result<i64, Bad> {
    let parts: Vec<&str> = if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        vec![&text[..4], &text[4..6], &text[6..]]
    } else {
        text.split(['-', '/']).collect()
    };
    let [year, month, day] = parts[..] else {
        return Err(syntax(ty, whole));
    };
    if year.len() < 4 {
        return Err(syntax(ty, whole));
    }
    let (Some(year), Some(month), Some(day)) = (number(year), number(month), number(day)) else {
        return Err(syntax(ty, whole));
    };
    let valid = (1..=YEAR_MAX).contains(&year)
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_of_month(if before_christ { 1 - year } else { year }, month);
    if !valid {
        return Err(overflow(whole));
    }
    let year = if before_christ { 1 - year } else { year };
    Ok(days_from_civil(year, month, day))
}

/// Cuts ` BC` or ` AD` off the end.
fn era(text: &str) -> (&str, bool) {
    let bytes = text.as_bytes();
    if bytes.len() > 2 && text.is_char_boundary(text.len() - 2) {
        let (front, era) = text.split_at(text.len() - 2);
        if era.eq_ignore_ascii_case("bc") {
            return (front.trim_end(), true);
        }
        if era.eq_ignore_ascii_case("ad") {
            return (front.trim_end(), false);
        }
    }
    (text, false)
}

/// A day; a time behind it is dropped, as by a cast from timestamp.
pub(super) fn date(text: &str) -> Result<i32, Bad> {
    let (front, before_christ) = era(text.trim());
    if let Some(special) = special(front) {
        return Err(infinite("date", special));
    }
    let only = front.split([' ', 'T', 't']).next().unwrap_or(front);
    let days = day(only, before_christ, "date", text)?;
    if only.len() < front.len() {
        timestamp(text)?;
    }
    i32::try_from(days).map_err(|_| overflow(text))
}

fn special(text: &str) -> Option<&'static str> {
    ["infinity", "-infinity"]
        .into_iter()
        .find(|word| text.eq_ignore_ascii_case(word))
}

fn infinite(ty: &str, word: &str) -> Bad {
    Bad::new(
        "0A000",
        format!("{ty} \"{word}\" is not supported: tables hold no infinite moments"),
    )
}

/// `HH:MM[:SS[.ffffff]]`, `HHMMSS`, with AM or PM.
fn clock(text: &str, ty: &str, whole: &str) -> Result<i64, Bad> {
    let upper = text.trim().to_ascii_uppercase();
    let (digits, half) = match upper.strip_suffix("PM") {
        Some(front) => (front.trim_end(), Some(12)),
        None => match upper.strip_suffix("AM") {
            Some(front) => (front.trim_end(), Some(0)),
            None => (upper.as_str(), None),
        },
    };
    let (front, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let parts: Vec<&str> = if front.contains(':') {
        front.split(':').collect()
    } else if front.len() == 6 && front.is_ascii() {
        vec![&front[..2], &front[2..4], &front[4..]]
    } else {
        return Err(syntax(ty, whole));
    };
    let (hour, minute, second) = match parts[..] {
        [h, m] => (h, m, "0"),
        [h, m, s] => (h, m, s),
        _ => return Err(syntax(ty, whole)),
    };
    let (Some(mut hour), Some(minute), Some(second)) =
        (number(hour), number(minute), number(second))
    else {
        return Err(syntax(ty, whole));
    };
    if let Some(half) = half {
        if !(1..=12).contains(&hour) {
            return Err(overflow(whole));
        }
        hour = hour % 12 + half;
    }
    let micros = fraction_micros(fraction).ok_or_else(|| syntax(ty, whole))?;
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    if minute > 59 || second > 60 || total > DAY_MICROS {
        return Err(overflow(whole));
    }
    Ok(total)
}

/// Microseconds of the digits after a point, rounded.
fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value = 0;
    for at in 0..6 {
        value = value * 10 + i64::from(digits.as_bytes().get(at).map_or(0, |b| b - b'0'));
    }
    let up = digits.as_bytes().get(6).is_some_and(|b| *b >= b'5');
    Some(value + i64::from(up))
}

/// A time of day in microseconds; a zone behind it is dropped.
pub(super) fn time(text: &str) -> Result<i64, Bad> {
    let trimmed = text.trim();
    let (front, _) = split_zone(trimmed);
    clock(front, "time", text)
}

/// Cuts a zone off the end of a time: `Z`, `+02`, `-05:30`, ` Europe/Berlin`.
fn split_zone(text: &str) -> (&str, &str) {
    if let Some(at) = text.rfind(['+', '-']) {
        let letters = text[..at].rfind(|c: char| c.is_ascii_alphabetic());
        // `Etc/GMT+2` is a name as a whole.
        if letters.is_none() {
            return (text[..at].trim_end(), &text[at..]);
        }
    }
    let Some(at) = text.find(|c: char| c.is_ascii_alphabetic()) else {
        return (text, "");
    };
    let word = text[at..].split(' ').next().unwrap_or("");
    if word.eq_ignore_ascii_case("am") || word.eq_ignore_ascii_case("pm") {
        let end = at + 2;
        return (&text[..end], text[end..].trim_start());
    }
    (text[..at].trim_end(), &text[at..])
}

/// A day, a time of it in microseconds, and what stands behind the time.
fn moment<'a>(text: &'a str, ty: &str) -> Result<(i64, &'a str), Bad> {
    let (front, before_christ) = era(text.trim());
    if let Some(special) = special(front) {
        return Err(infinite(ty, special));
    }
    if front.eq_ignore_ascii_case("epoch") {
        return Ok((0, ""));
    }
    let (first, rest) = match front.find([' ', 'T', 't']) {
        Some(at) => (&front[..at], front[at + 1..].trim_start()),
        None => (front, ""),
    };
    let days = day(first, before_christ, ty, text)?;
    let (micros, zone) = if rest.is_empty() {
        (0, "")
    } else {
        let (time, zone) = split_zone(rest);
        (clock(time, ty, text)?, zone)
    };
    let local = days
        .checked_mul(DAY_MICROS)
        .and_then(|day| day.checked_add(micros));
    Ok((local.ok_or_else(|| overflow(text))?, zone))
}

/// A `timestamp` in microseconds; a zone in the text is ignored, as by PostgreSQL.
pub(super) fn timestamp(text: &str) -> Result<i64, Bad> {
    moment(text, "timestamp").map(|(local, _)| local)
}

/// A `timestamptz` in microseconds; without a zone of its own it is in `zone`.
pub(super) fn timestamptz(text: &str, zone: &str) -> Result<i64, Bad> {
    let ty = "timestamp with time zone";
    let (local, own) = moment(text, ty)?;
    let own = own.trim();
    let name = if own.is_empty() { zone } else { own };
    let shift = if own.is_empty() && text.trim().eq_ignore_ascii_case("epoch") {
        0
    } else {
        offset(name, local)
            .ok_or_else(|| Bad::new("22023", format!("time zone \"{name}\" not recognized")))?
    };
    local
        .checked_sub(i64::from(shift) * 1_000_000)
        .ok_or_else(|| overflow(text))
}

/// Seconds that `zone` is ahead of UTC at the local time `local`.
fn offset(zone: &str, local: i64) -> Option<i32> {
    if ["z", "utc", "gmt", "zulu", "ut"].contains(&zone.to_ascii_lowercase().as_str()) {
        return Some(0);
    }
    if let Some(fixed) = fixed_offset(zone) {
        return Some(fixed);
    }
    let zone = Tz::from_str(zone).ok()?;
    let naive = DateTime::<Utc>::from_timestamp_micros(local)?.naive_utc();
    let found = zone.offset_from_local_datetime(&naive);
    let before = || zone.offset_from_utc_datetime(&(naive - chrono::Duration::hours(12)));
    // Twice in autumn: the first is meant; never in spring: as if the clock had not moved.
    Some(
        found
            .earliest()
            .unwrap_or_else(before)
            .fix()
            .local_minus_utc(),
    )
}

/// `+02`, `-0530`, `+05:30:15`
fn fixed_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let parts: Vec<&str> = if rest.contains(':') {
        rest.split(':').collect()
    } else if rest.len() == 4 && rest.is_ascii() {
        vec![&rest[..2], &rest[2..]]
    } else {
        vec![rest]
    };
    let mut seconds = 0;
    for (part, unit) in parts.iter().zip([3600, 60, 1]) {
        let value = number(part).filter(|value| *value < 60)?;
        seconds += i32::try_from(value).ok()? * unit;
    }
    (parts.len() <= 3 && seconds <= 16 * 3600).then_some(sign * seconds)
}

/// Parts of an interval, as they are added up.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

const MICROS: i128 = 1_000_000;

impl Sum {
    /// Adds an amount, in billionths of a unit, as PostgreSQL spills fractions downwards.
    fn add(&mut self, nano: i128, unit: &str) -> Option<()> {
        const NANO: i128 = 1_000_000_000;
        let micros_per = |unit_micros: i128| nano * unit_micros / NANO;
        match unit {
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => self.micros += nano / NANO,
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => {
                self.micros += micros_per(1000);
            }
            "s" | "sec" | "secs" | "second" | "seconds" => self.micros += micros_per(MICROS),
            "m" | "min" | "mins" | "minute" | "minutes" => self.micros += micros_per(60 * MICROS),
            "h" | "hr" | "hrs" | "hour" | "hours" => self.micros += micros_per(3600 * MICROS),
            "d" | "day" | "days" => self.add_days(nano),
            "w" | "week" | "weeks" => self.add_days(nano * 7),
            "mon" | "mons" | "month" | "months" => {
                self.months += nano / NANO;
                self.add_days(nano % NANO * 30);
            }
            "y" | "yr" | "yrs" | "year" | "years" => self.months += nano * 12 / NANO,
            "decade" | "decades" => self.months += nano * 120 / NANO,
            "century" | "centuries" => self.months += nano * 1200 / NANO,
            _ => return None,
        }
        Some(())
    }

    fn add_days(&mut self, nano: i128) {
        const NANO: i128 = 1_000_000_000;
        self.days += nano / NANO;
        self.micros += nano % NANO * (86_400 * MICROS) / NANO;
    }

    fn done(self, text: &str) -> Result<Interval, Bad> {
        let range = || {
            Bad::new(
                "22015",
                format!(
                    "interval field value out of range: \"{}\"",
                    super::short(text)
                ),
            )
        };
        Ok(Interval {
            months: i32::try_from(self.months).map_err(|_| range())?,
            days: i32::try_from(self.days).map_err(|_| range())?,
            micros: i64::try_from(self.micros).map_err(|_| range())?,
        })
    }
}

/// An amount in billionths: `-1.5`.
fn amount(text: &str) -> Option<i128> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > 18
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let mut nano: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    for at in 0..9 {
        nano = nano * 10 + i128::from(fraction.as_bytes().get(at).map_or(0, |b| b - b'0'));
    }
    Some(if negative { -nano } else { nano })
}

/// `1 year 2 mons 3 days 04:05:06`, `1-2`, `3 4:05`, `@ 1 day ago`, or ISO 8601.
pub(super) fn interval(text: &str) -> Result<Interval, Bad> {
    let bad = || syntax("interval", text);
    let trimmed = text.trim().trim_start_matches('@').trim();
    if trimmed.is_empty() {
        return Err(bad());
    }
    let mut sum = Sum::default();
    if let Some(iso) = trimmed.strip_prefix(['P', 'p']) {
        iso_parts(iso, &mut sum).ok_or_else(bad)?;
        return sum.done(text);
    }
    let lower = trimmed.to_ascii_lowercase();
    let (words, ago) = match lower.strip_suffix("ago") {
        Some(front) => (front, true),
        None => (lower.as_str(), false),
    };
    let parts = words_of(words);
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        at += 1;
        if part.contains(':') {
            sum.micros += clock_micros(part).ok_or_else(bad)?;
        } else if let Some((years, months)) = year_month(part) {
            sum.months += years * 12 + months;
        } else {
            let nano = amount(part).ok_or_else(bad)?;
            match parts.get(at) {
                // `3 4:05` means days; a lone number means seconds.
                Some(next) if next.contains(':') => sum.add(nano, "day").ok_or_else(bad)?,
                Some(unit) => {
                    sum.add(nano, unit).ok_or_else(bad)?;
                    at += 1;
                }
                None => sum.add(nano, "second").ok_or_else(bad)?,
            }
        }
    }
    if ago {
        sum = Sum {
            months: -sum.months,
            days: -sum.days,
            micros: -sum.micros,
        };
    }
    sum.done(text)
}

/// Words, with numbers parted from the units that stick to them: `2h30m` is four.
fn words_of(text: &str) -> Vec<&str> {
    let mut words = vec![];
    for word in text.split_ascii_whitespace() {
        let mut from = 0;
        let mut was_letter = None;
        for (at, c) in word.char_indices() {
            let is_letter = c.is_ascii_alphabetic();
            if was_letter.is_some_and(|was| was != is_letter) {
                words.push(&word[from..at]);
                from = at;
            }
            was_letter = Some(is_letter);
        }
        words.push(&word[from..]);
    }
    words
}

/// `1-2`, years and months.
fn year_month(text: &str) -> Option<(i128, i128)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (years, months) = rest.split_once('-')?;
    let (years, months) = (number(years)?, number(months)?);
    (months < 12).then_some((sign * i128::from(years), sign * i128::from(months)))
}

/// `-04:05:06.7`, in microseconds; hours may be many.
fn clock_micros(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (front, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let parts: Vec<i64> = front.split(':').map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match parts[..] {
        [h, m] => (h, m, 0),
        [h, m, s] => (h, m, s),
        _ => return None,
    };
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = (i128::from(hours) * 3600 + i128::from(minutes) * 60 + i128::from(seconds))
        * MICROS
        + i128::from(fraction_micros(fraction)?);
    Some(sign * micros)
}

/// What stands behind the `P`.
fn iso_parts(text: &str, sum: &mut Sum) -> Option<()> {
    let mut in_time = false;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while let Some(first) = rest.chars().next() {
        if first.eq_ignore_ascii_case(&'t') {
            in_time = true;
            rest = &rest[1..];
            continue;
        }
        let at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let nano = amount(&rest[..at])?;
        let unit = match (rest.as_bytes()[at].to_ascii_uppercase(), in_time) {
            (b'Y', false) => "year",
            (b'M', false) => "month",
            (b'W', false) => "week",
            (b'D', false) => "day",
            (b'H', true) => "hour",
            (b'M', true) => "minute",
            (b'S', true) => "second",
            _ => return None,
        };
        sum.add(nano, unit)?;
        rest = &rest[at + 1..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_interval(text: &str, months: i32, days: i32, micros: i64) {
        let wanted = Interval {
            months,
            days,
            micros,
        };
        assert_eq!(interval(text).unwrap(), wanted, "{text}");
    }

    #[test]
    fn intervals_are_read_in_every_form() {
        check_interval("1 year 2 mons -3 days +04:05:06.7", 14, -3, 14_706_700_000);
        check_interval("P1Y2M3DT4H5M6.7S", 14, 3, 14_706_700_000);
        check_interval("1-2", 14, 0, 0);
        check_interval("3 4:05", 0, 3, 14_700_000_000);
        check_interval("@ 1 day 2 hours ago", 0, -1, -7_200_000_000);
        check_interval("90", 0, 0, 90_000_000);
        check_interval("1.5 days", 0, 1, 43_200_000_000);
        check_interval("1.5 months", 1, 15, 0);
        check_interval("2h30m", 0, 0, 9_000_000_000);
        check_interval("0 years 0 mons 3 days 0 hours 0 mins 0.00 secs", 0, 3, 0);
        for bad in ["", "@", "P", "1 parsec", "x", "1:99", "P1H"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_without_a_zone_is_in_that_of_the_session() {
        let noon = timestamp("2024-07-01 12:00:00").unwrap();
        let hour = 3_600_000_000;
        for (text, ahead) in [
            ("2024-07-01 12:00:00", 2),
            ("2024-07-01T12:00:00Z", 0),
            ("2024-07-01 12:00:00+05", 5),
            ("2024-07-01 12:00:00 -0300", -3),
            ("2024-07-01 12:00:00 America/New_York", -4),
            ("2024-07-01 12:00 PM UTC", 0),
        ] {
            let got = timestamptz(text, "Europe/Berlin").unwrap();
            assert_eq!(got, noon - ahead * hour, "{text}");
        }
        assert!(timestamptz("2024-07-01 12:00 Mars/Olympus", "UTC").is_err());
        // The hour that does not exist in spring.
        assert_eq!(
            timestamptz("2024-03-31 02:30", "Europe/Berlin").unwrap(),
            timestamp("2024-03-31 01:30").unwrap()
        );
    }

    #[test]
    fn days_know_the_calendar() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("20240229"), Ok(19_782));
        assert_eq!(date("0001-12-31 BC"), Ok(-719_163));
        assert_eq!(date("2024-02-29 23:00:00+02"), Ok(19_782));
        assert!(date("2023-02-29").is_err());
        assert!(date("infinity").is_err());
        assert_eq!(time("24:00:00"), Ok(DAY_MICROS));
        assert_eq!(time("01:02:03.4567891+02"), Ok(3_723_456_789));
    }
}
