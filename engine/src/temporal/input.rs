//! Text as dates, times and timestamps, read as PostgreSQL reads it.
//!
//! Source: PostgreSQL 15, "Date/Time Input", `ParseDateTime` and `DecodeDateTime`; dates with three numbers
//! are month, day, year unless the year comes first. Knows text only.

use datafusion::common::Result;

use super::civil::{DAY, HOUR, JULIAN_1970, MINUTE, SECOND, days_of, days_of_month};
use super::errors;
use super::zones::{self, Zone};

/// Text longer than this is no date. Source: PostgreSQL, `MAXDATELEN`.
const LENGTH_MAX: usize = 128;

/// January and its like.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Sunday and its like.
pub(super) const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Which type the text is to become; decides words of errors and what may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Date,
    Timestamp,
    Zoned,
    Time,
}

impl Wanted {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Zoned => "timestamp with time zone",
            Self::Time => "time",
        }
    }
}

/// What `now` and its like mean: an instant and the session's zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Microseconds since 1970, UTC.
    pub(super) now: i64,
    pub(super) zone: Zone,
}

/// Days since 1970.
pub(super) fn date(text: &str, clock: Clock) -> Result<i32> {
    let read = read(text, Wanted::Date, clock)?;
    i32::try_from(read.micros.div_euclid(DAY)).map_err(|_| errors::range("date"))
}

/// Microseconds since 1970 as clocks show them; a zone in the text means nothing.
pub(super) fn timestamp(text: &str, clock: Clock) -> Result<i64> {
    Ok(read(text, Wanted::Timestamp, clock)?.micros)
}

/// Microseconds since 1970, UTC; text without a zone is in the session's.
pub(super) fn zoned(text: &str, clock: Clock) -> Result<i64> {
    let read = read(text, Wanted::Zoned, clock)?;
    read.zone
        .unwrap_or(clock.zone)
        .utc(read.micros)
        .ok_or_else(|| errors::range("timestamp"))
}

/// Nanoseconds since 1970 as clocks show them.
pub(super) fn timestamp_nanos(text: &str, clock: Clock) -> Result<i64> {
    nanos(text, clock, timestamp)
}

/// Nanoseconds since 1970, UTC; text without a zone is in the session's.
pub(super) fn zoned_nanos(text: &str, clock: Clock) -> Result<i64> {
    nanos(text, clock, zoned)
}

/// What `read` reads, and the digits of a second after the sixth.
fn nanos(text: &str, clock: Clock, read: fn(&str, Clock) -> Result<i64>) -> Result<i64> {
    let (micros, rest) = match fine_digits(text) {
        Some((from, to)) => {
            let coarse = format!("{}{}", &text[..from], &text[to..]);
            // As many digits as a number of nanoseconds and the one that rounds it.
            let digits: String = text[from..to]
                .chars()
                .chain("000".chars())
                .take(4)
                .collect();
            let rest = digits.parse::<i64>().map_or(0, |tenths| (tenths + 5) / 10);
            (read(&coarse, clock)?, rest)
        }
        None => (read(text, clock)?, 0),
    };
    micros
        .checked_mul(1_000)
        .and_then(|nanos| nanos.checked_add(rest))
        .ok_or_else(errors::nanos)
}

/// Where the digits of a second after the sixth stand in a text.
fn fine_digits(text: &str) -> Option<(usize, usize)> {
    let point = text
        .find(':')
        .and_then(|at| Some(at + text[at..].find('.')?))?;
    let digits = text[point + 1..]
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len() - point - 1);
    (digits > 6).then_some((point + 7, point + 1 + digits))
}

/// Microseconds since midnight; the midnight that ends the day, which PostgreSQL has too, is refused.
pub(super) fn time(text: &str, clock: Clock) -> Result<i64> {
    let micros = read(text, Wanted::Time, clock)?.micros;
    if micros >= DAY {
        return Err(errors::midnight(text));
    }
    Ok(micros)
}

/// A moment as the text shows it, and the zone that it names.
struct Read {
    micros: i64,
    zone: Option<Zone>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number<'a> {
    Digits(&'a str),
    Month(i64),
}

#[derive(Default)]
struct Parts<'a> {
    numbers: Vec<Number<'a>>,
    time: Option<i64>,
    zone: Option<Zone>,
    /// Hours that PM adds or AM takes; `None` if neither is there.
    pm: Option<bool>,
    bc: bool,
    /// Days since 1970 and a time, of `today` and its like.
    special: Option<(i64, i64)>,
    julian: Option<i64>,
}

fn read(text: &str, wanted: Wanted, clock: Clock) -> Result<Read> {
    let syntax = || errors::syntax(wanted.name(), text);
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > LENGTH_MAX || !trimmed.is_ascii() {
        return Err(syntax());
    }
    let mut parts = Parts::default();
    let mut rest = trimmed;
    while !rest.is_empty() {
        rest = part(rest, &mut parts, text, wanted, clock)?;
        rest = rest.trim_start_matches([' ', '\t', '\n', ',']);
    }
    let time = match (parts.time, parts.pm) {
        (Some(time), Some(pm)) => {
            if !(1..=12).contains(&(time / HOUR)) {
                return Err(errors::field(text));
            }
            time % (12 * HOUR) + if pm { 12 * HOUR } else { 0 }
        }
        (None, Some(_)) => return Err(syntax()),
        (Some(time), None) => time,
        (None, None) => 0,
    };
    let found = match (parts.special, parts.julian) {
        (Some((days, clock)), _) if parts.numbers.is_empty() => {
            Some((days, parts.time.map_or(clock, |_| time)))
        }
        (None, Some(days)) if parts.numbers.is_empty() => Some((days, time)),
        (None, None) if parts.numbers.is_empty() => None,
        (None, None) => Some((calendar(&parts, text, wanted)?, time)),
        _ => return Err(syntax()),
    };
    let micros = match (found, wanted) {
        (None, Wanted::Time) if parts.time.is_some() => time,
        (Some((_, time)), Wanted::Time) if parts.time.is_some() || parts.special.is_some() => time,
        (Some((days, time)), Wanted::Date | Wanted::Timestamp | Wanted::Zoned) => days
            .checked_mul(DAY)
            .and_then(|micros| micros.checked_add(time))
            .ok_or_else(|| errors::range(wanted.name()))?,
        _ => return Err(syntax()),
    };
    Ok(Read {
        micros,
        zone: parts.zone,
    })
}

/// Takes one part of the text; gives what is left.
fn part<'a>(
    rest: &'a str,
    parts: &mut Parts<'a>,
    text: &str,
    wanted: Wanted,
    clock: Clock,
) -> Result<&'a str> {
    let syntax = || errors::syntax(wanted.name(), text);
    let first = rest.as_bytes().first().copied().unwrap_or(0);
    if first.is_ascii_alphabetic() {
        return word(rest, parts, text, wanted, clock);
    }
    if matches!(first, b'+' | b'-') {
        // A sign after a time is a zone.
        let end = rest[1..]
            .find(|c: char| !(c.is_ascii_digit() || c == ':'))
            .map_or(rest.len(), |at| at + 1);
        if parts.time.is_none() || parts.zone.is_some() {
            return Err(syntax());
        }
        let seconds = zones::offset(&rest[..end]).ok_or_else(|| errors::field(text))?;
        parts.zone = Some(Zone::Fixed(seconds));
        return Ok(&rest[end..]);
    }
    if !first.is_ascii_digit() {
        return Err(syntax());
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let next = rest.as_bytes().get(end).copied().unwrap_or(b' ');
    if next == b':' {
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
            .unwrap_or(rest.len());
        if parts.time.is_some() {
            return Err(syntax());
        }
        parts.time = Some(clock_time(&rest[..end], text).ok_or_else(syntax)??);
        return Ok(&rest[end..]);
    }
    let digits = &rest[..end];
    let dated = !parts.numbers.is_empty();
    if matches!(next, b'-' | b'/' | b'.') && !dated {
        return dashed(rest, parts, text, wanted);
    }
    if digits.len() == 8 && !dated {
        parts.numbers = [&digits[..4], &digits[4..6], &digits[6..]]
            .map(Number::Digits)
            .to_vec();
    } else if digits.len() == 6 && (dated || wanted == Wanted::Time) && parts.time.is_none() {
        // 101112
        let spaced = format!("{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..]);
        parts.time = Some(clock_time(&spaced, text).ok_or_else(syntax)??);
        if next == b'.' {
            let end = rest[end + 1..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(rest.len(), |at| at + end + 1);
            let part = micros_of(&rest[digits.len()..end]).ok_or_else(syntax)?;
            parts.time = parts.time.map(|time| time + part);
            return Ok(&rest[end..]);
        }
    } else if digits.len() == 6 && !dated {
        parts.numbers = [&digits[..2], &digits[2..4], &digits[4..]]
            .map(Number::Digits)
            .to_vec();
    } else {
        parts.numbers.push(Number::Digits(digits));
    }
    Ok(&rest[end..])
}

/// `2024-01-31`, `1/31/2024`, `31-Jan-2024`, `2024.031`.
fn dashed<'a>(rest: &'a str, parts: &mut Parts<'a>, text: &str, wanted: Wanted) -> Result<&'a str> {
    let syntax = || errors::syntax(wanted.name(), text);
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.')))
        .unwrap_or(rest.len());
    let whole = &rest[..end];
    let separator = whole
        .find(['-', '/', '.'])
        .map_or('-', |at| char::from(whole.as_bytes()[at]));
    let mut at = 0;
    for _ in 0..3 {
        let next = &rest[at..];
        let stop = next
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(next.len());
        let mut item = &next[..stop];
        let digits = item
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(item.len());
        if digits > 0 && digits < item.len() {
            // `2024-01-31T10:00`: what begins with a letter is another part.
            item = &item[..digits];
        }
        parts.numbers.push(if digits == 0 {
            Number::Month(month(item).ok_or_else(syntax)?)
        } else {
            Number::Digits(item)
        });
        at += item.len();
        if !rest[at..].starts_with(separator) {
            break;
        }
        if parts.numbers.len() < 3 {
            at += 1;
        }
    }
    if let ([Number::Digits(year), Number::Digits(day)], true) =
        (&parts.numbers[..], parts.numbers.len() == 2)
    {
        // The day of the year.
        if separator == '.' && year.len() >= 4 && day.len() == 3 {
            let number = |text: &str| text.parse::<i64>().map_err(|_| syntax());
            let (year, day) = (number(year)?, number(day)?);
            parts.numbers.clear();
            parts.julian = Some(days_of(year, 1, 1) + day - 1);
            return Ok(&rest[at..]);
        }
        return Err(syntax());
    }
    Ok(&rest[at..])
}

/// A month, a day of the week, a zone, `today`, `AM`, `BC`, `T`.
fn word<'a>(
    rest: &'a str,
    parts: &mut Parts<'a>,
    text: &str,
    wanted: Wanted,
    clock: Clock,
) -> Result<&'a str> {
    let syntax = || errors::syntax(wanted.name(), text);
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let lower = rest[..end].to_ascii_lowercase();
    let after = rest[end..].trim_start_matches('.');
    let local = || {
        clock
            .zone
            .local(clock.now)
            .ok_or_else(|| errors::range(wanted.name()))
    };
    let day = |offset: i64| {
        Ok::<_, datafusion::error::DataFusionError>(local()?.div_euclid(DAY) + offset)
    };
    match lower.as_str() {
        "t" if !parts.numbers.is_empty() || wanted == Wanted::Time => return Ok(after),
        "j" if parts.numbers.is_empty() && parts.julian.is_none() => {
            let end = after
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(after.len());
            let julian: i64 = after[..end].parse().map_err(|_| syntax())?;
            parts.julian = Some(julian - JULIAN_1970);
            return Ok(&after[end..]);
        }
        "now" => {
            let local = local()?;
            parts.special = Some((local.div_euclid(DAY), local.rem_euclid(DAY)));
        }
        "today" => parts.special = Some((day(0)?, 0)),
        "yesterday" => parts.special = Some((day(-1)?, 0)),
        "tomorrow" => parts.special = Some((day(1)?, 0)),
        "epoch" => {
            parts.special = Some((0, 0));
            parts.zone = Some(Zone::Fixed(0));
        }
        "allballs" => parts.time = Some(0),
        "infinity" => return Err(errors::infinite(wanted.name())),
        "am" => parts.pm = Some(false),
        "pm" => parts.pm = Some(true),
        "bc" => parts.bc = true,
        "ad" | "at" | "on" => {}
        _ => {
            if let Some(month) = month(&lower) {
                parts.numbers.push(Number::Month(month));
                return Ok(after.trim_start_matches('-'));
            }
            if is_weekday(&lower) {
                return Ok(after);
            }
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+')))
                .unwrap_or(rest.len());
            let zone = Zone::named(&rest[..end]);
            if zone.is_none() && rest[..end].contains('/') {
                return Err(errors::zone(&rest[..end]));
            }
            parts.zone = Some(zone.filter(|_| parts.zone.is_none()).ok_or_else(syntax)?);
            return Ok(&rest[end..]);
        }
    }
    Ok(after)
}

/// The number of a month, by its name or the first three letters of it.
pub(super) fn month(word: &str) -> Option<i64> {
    let lower = word.to_ascii_lowercase();
    (1..).zip(MONTHS).find_map(|(number, name)| {
        let name = name.to_ascii_lowercase();
        (name == lower || name[..3] == lower || (lower == "sept" && number == 9)).then_some(number)
    })
}

fn is_weekday(word: &str) -> bool {
    let short = ["tues", "wednes", "weds", "thur", "thurs"];
    short.contains(&word)
        || DAYS
            .iter()
            .any(|name| name.eq_ignore_ascii_case(word) || name[..3].eq_ignore_ascii_case(word))
}

/// The day of the numbers that were found.
fn calendar(parts: &Parts<'_>, text: &str, wanted: Wanted) -> Result<i64> {
    use Number::{Digits, Month};
    let syntax = || errors::syntax(wanted.name(), text);
    let number = |digits: &str| digits.parse::<i64>().map_err(|_| errors::field(text));
    let is_year = |digits: &str| digits.len() > 2;
    let (year, month, day) = match parts.numbers[..] {
        [Digits(year), Digits(month), Digits(day)] if is_year(year) => (year, number(month)?, day),
        [Digits(month), Digits(day), Digits(year)] => (year, number(month)?, day),
        [Digits(year), Month(month), Digits(day)] if is_year(year) => (year, month, day),
        [Digits(day), Month(month), Digits(year)] | [Month(month), Digits(day), Digits(year)] => {
            if is_year(day) {
                (day, month, year)
            } else {
                (year, month, day)
            }
        }
        [Digits(day), Digits(year), Month(month)] if is_year(year) => (year, month, day),
        _ => return Err(syntax()),
    };
    let mut value = number(year)?;
    if year.len() <= 2 {
        value += if value < 70 { 2000 } else { 1900 };
    }
    let day = number(day)?;
    if parts.bc {
        if value < 1 {
            return Err(errors::field(text));
        }
        value = 1 - value;
    } else if value == 0 {
        return Err(errors::field(text));
    }
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(value, month) {
        return Err(errors::field(text));
    }
    if !(-4712..=5_874_897).contains(&value) {
        return Err(errors::range(wanted.name()));
    }
    Ok(days_of(value, month, day))
}

/// `H:MM[:SS[.ffffff]]` as microseconds, halves away from zero; the inner error is a field out of range.
fn clock_time(clock: &str, text: &str) -> Option<Result<i64>> {
    let mut items = clock.split(':');
    let (hour, minute) = (items.next()?, items.next()?);
    let second = items.next().unwrap_or("0");
    if items.next().is_some() || minute.contains('.') {
        return None;
    }
    let (whole, fraction) = match second.find('.') {
        Some(at) => (&second[..at], &second[at..]),
        None => (second, ""),
    };
    let number = |digits: &str| digits.parse::<i64>().ok();
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(whole)?);
    let part = micros_of(fraction)?;
    let micros = hour
        .checked_mul(HOUR)?
        .checked_add(minute.checked_mul(MINUTE)?)?
        .checked_add(second.checked_mul(SECOND)?)?
        + part;
    let fits = minute < 60 && second <= 60 && micros <= DAY && hour <= 24;
    Some(if fits {
        Ok(micros)
    } else {
        Err(errors::field(text))
    })
}

/// Microseconds of `.123456`.
pub(super) fn micros_of(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = fraction.strip_prefix('.')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seven: String = digits.chars().chain("0000000".chars()).take(7).collect();
    Some((seven.parse::<i64>().ok()? + 5) / 10)
}

/// `now` for a process that has no session: this moment, UTC.
pub(super) fn clock(zone: Zone) -> Clock {
    Clock {
        now: chrono::Utc::now().timestamp_micros(),
        zone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal::text::timestamp_text;

    const UTC: Clock = Clock {
        now: 1_706_695_872_123_456,
        zone: Zone::Fixed(0),
    };

    #[test]
    fn nine_digits_of_a_second_are_read() {
        let nanos = |text| timestamp_nanos(text, UTC).ok();
        assert_eq!(nanos("1969-12-31 23:59:59.999999999"), Some(-1));
        assert_eq!(nanos("1970-01-01 00:00:00.0000000015+05"), Some(2));
        assert_eq!(nanos("1970-01-01 00:00:01"), Some(1_000_000_000));
        assert_eq!(nanos("2500-01-01"), None);
        let ahead = Clock {
            zone: Zone::Fixed(3600),
            ..UTC
        };
        assert_eq!(
            zoned_nanos("1970-01-01 01:00:00.123456789", ahead).ok(),
            Some(123_456_789)
        );
    }

    fn check_timestamp(text: &str, wanted: &str) {
        let out = match timestamp(text, UTC) {
            Ok(micros) => timestamp_text(micros),
            Err(error) => crate::error::EngineError::from(error)
                .kind
                .sqlstate()
                .to_owned(),
        };
        assert_eq!(out, wanted, "{text}");
    }

    #[test]
    fn what_people_write_is_read() {
        check_timestamp("2024-01-01 10:00", "2024-01-01 10:00:00");
        check_timestamp("2024-1-1 9:05:01.5", "2024-01-01 09:05:01.5");
        check_timestamp("2024-01-01T10:00Z", "2024-01-01 10:00:00");
        check_timestamp("2024-01-01 10:00:00+02", "2024-01-01 10:00:00");
        check_timestamp("2024-01-01 10:00:00 Europe/Paris", "2024-01-01 10:00:00");
        check_timestamp("Jan 5, 2024", "2024-01-05 00:00:00");
        check_timestamp("5 January 2024 3:04 PM", "2024-01-05 15:04:00");
        check_timestamp("05-Jan-2024", "2024-01-05 00:00:00");
        check_timestamp("1/31/2024", "2024-01-31 00:00:00");
        check_timestamp("20240131", "2024-01-31 00:00:00");
        check_timestamp("20240131T101112", "2024-01-31 10:11:12");
        check_timestamp("Wed Jan 31 10:11:12 2024", "2024-01-31 10:11:12");
        check_timestamp("2024-01-01 24:00", "2024-01-02 00:00:00");
        check_timestamp("10:11:12.1234567 2024-01-01", "2024-01-01 10:11:12.123457");
        check_timestamp("0044-03-15 BC", "0044-03-15 00:00:00 BC");
        check_timestamp("0001-01-01", "0001-01-01 00:00:00");
        check_timestamp("2024.031", "2024-01-31 00:00:00");
        check_timestamp("J2451187", "1999-01-08 00:00:00");
        check_timestamp("today", "2024-01-31 00:00:00");
        check_timestamp("yesterday 10:00", "2024-01-30 10:00:00");
        check_timestamp("epoch", "1970-01-01 00:00:00");
    }

    #[test]
    fn what_is_no_moment_is_refused_as_postgresql_refuses_it() {
        check_timestamp("noon", "22007");
        check_timestamp("", "22007");
        check_timestamp("2024-01", "22007");
        check_timestamp("2024-02-30", "22008");
        check_timestamp("2024-13-01", "22008");
        check_timestamp("2024-01-01 25:00", "22008");
        check_timestamp("infinity", "22008");
        check_timestamp("2024-01-01 10:00 Mars/Olympus", "22023");
        check_timestamp("10:00", "22007");
    }

    #[test]
    fn an_instant_is_in_the_zone_of_the_text_or_of_the_session() {
        let at = |text| zoned(text, UTC).unwrap();
        assert_eq!(at("1970-01-01 01:00+01"), 0);
        assert_eq!(at("1970-01-01 01:00:00 Europe/Paris"), 0);
        assert_eq!(at("1970-01-01 00:00"), 0);
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(time("10:11:12.1234567", UTC).unwrap(), 36_672_123_457);
    }
}
