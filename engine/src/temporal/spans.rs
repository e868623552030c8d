//! Text as intervals, read as PostgreSQL reads it: units, `HH:MM:SS`, `1-2`, ISO 8601, `ago`.
//!
//! Source: PostgreSQL 15, "Interval Input" and `DecodeInterval`. Knows text only.

use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::Result;

use super::errors;

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Billionths in which amounts are counted.
const NANO: i128 = 1_000_000_000;

const MICROS: i128 = 1_000_000;

/// Parts of an interval, as they are added up.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds an amount, in billionths of a unit, as PostgreSQL spills fractions downwards.
    fn add(&mut self, nano: i128, unit: &str) -> Option<()> {
        let micros_per = |unit_micros: i128| rounded(nano * unit_micros);
        match unit {
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => {
                self.micros += micros_per(1);
            }
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
            "y" | "yr" | "yrs" | "year" | "years" => self.months += rounded(nano * 12),
            "dec" | "decs" | "decade" | "decades" => self.months += rounded(nano * 120),
            "c" | "cent" | "century" | "centuries" => self.months += rounded(nano * 1200),
            "mil" | "mils" | "millennium" | "millennia" => self.months += rounded(nano * 12_000),
            _ => return None,
        }
        Some(())
    }

    fn add_days(&mut self, nano: i128) {
        self.days += nano / NANO;
        self.micros += rounded(nano % NANO * (86_400 * MICROS));
    }

    fn done(self, text: &str) -> Result<IntervalMonthDayNano> {
        let range = || errors::interval_field(text);
        let nanos = i64::try_from(self.micros)
            .ok()
            .and_then(|micros| micros.checked_mul(1000));
        Ok(IntervalMonthDayNano::new(
            i32::try_from(self.months).map_err(|_| range())?,
            i32::try_from(self.days).map_err(|_| range())?,
            nanos.ok_or_else(range)?,
        ))
    }
}

/// Whole units of as many billionths, rounded.
fn rounded(nano: i128) -> i128 {
    (nano + nano.signum() * NANO / 2) / NANO
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
pub(crate) fn interval(text: &str) -> Result<IntervalMonthDayNano> {
    let bad = || errors::syntax("interval", text);
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
    if minutes > 59 || seconds > 60 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Option<(i32, i32, i64)>) {
        let got = interval(text).ok();
        let got = got.map(|i| (i.months, i.days, i.nanoseconds / 1000));
        assert_eq!(got, wanted, "{text}");
    }

    #[test]
    fn intervals_are_read_in_every_form() {
        check("1 day 02:03:04.5", Some((0, 1, 7_384_500_000)));
        check("-1 day -02:03", Some((0, -1, -7_380_000_000)));
        check(
            "1 year 2 mons -3 days +04:05:06.7",
            Some((14, -3, 14_706_700_000)),
        );
        check("P1Y2M3DT4H5M6.7S", Some((14, 3, 14_706_700_000)));
        check("PT36H", Some((0, 0, 129_600_000_000)));
        check("1-2", Some((14, 0, 0)));
        check("3 4:05", Some((0, 3, 14_700_000_000)));
        check("3 4:05:06", Some((0, 3, 14_706_000_000)));
        check("@ 1 day 2 hours ago", Some((0, -1, -7_200_000_000)));
        check("@ 1 minute ago", Some((0, 0, -60_000_000)));
        check("90", Some((0, 0, 90_000_000)));
        check("0.000001 s", Some((0, 0, 1)));
        check("1.5 days", Some((0, 1, 43_200_000_000)));
        check("1.5 months", Some((1, 15, 0)));
        check("2h30m", Some((0, 0, 9_000_000_000)));
        check("1 millennium", Some((12_000, 0, 0)));
        check(
            "0 years 0 mons 3 days 0 hours 0 mins 0.00 secs",
            Some((0, 3, 0)),
        );
        for bad in ["", "@", "P", "1 parsec", "x", "1:99", "P1H"] {
            check(bad, None);
        }
    }

    #[test]
    fn what_no_interval_holds_is_told_from_what_is_none() {
        let code = |text| {
            let error = interval(text).unwrap_err();
            crate::error::EngineError::from(error).kind.sqlstate()
        };
        assert_eq!(code("99999999999 years"), "22015");
        assert_eq!(code("1 parsec"), "22007");
    }
}
