//! Dates, times, intervals and floats as PostgreSQL prints them.
//!
//! Source: PostgreSQL 15, `EncodeDateOnly`, `EncodeDateTime`, `EncodeInterval`, `float8out`. Knows values only.

use std::fmt::Write as _;

use datafusion::arrow::datatypes::IntervalMonthDayNano;

use super::civil::{HOUR, MINUTE, Moment, SECOND};
use super::zones::Zone;

/// `2024-01-31`, `0001-01-01 BC`.
pub(super) fn date(out: &mut String, days: i64) {
    let moment = Moment::of(days.saturating_mul(super::civil::DAY));
    calendar(out, moment);
    era(out, moment);
}

/// `10:11:12.5`
pub(super) fn time(out: &mut String, micros: i64) {
    let (hour, minute) = (micros / HOUR, micros / MINUTE % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{:02}", micros / SECOND % 60);
    fraction(out, micros % SECOND);
}

/// `2024-01-31 10:11:12.5`
pub(super) fn timestamp(out: &mut String, micros: i64) {
    let moment = Moment::of(micros);
    calendar(out, moment);
    out.push(' ');
    time(out, moment.time);
    era(out, moment);
}

/// `2024-01-31 10:11:12.5+02`
pub(super) fn zoned(out: &mut String, micros: i64, zone: Zone) {
    let seconds = zone.offset_at(micros);
    let moment = Moment::of(micros.saturating_add(seconds * SECOND));
    calendar(out, moment);
    out.push(' ');
    time(out, moment.time);
    let size = seconds.abs();
    out.push(if seconds < 0 { '-' } else { '+' });
    let _ = write!(out, "{:02}", size / 3600);
    if size % 3600 != 0 {
        let _ = write!(out, ":{:02}", size / 60 % 60);
    }
    if size % 60 != 0 {
        let _ = write!(out, ":{:02}", size % 60);
    }
    era(out, moment);
}

fn calendar(out: &mut String, moment: Moment) {
    let year = if moment.year < 1 {
        1 - moment.year
    } else {
        moment.year
    };
    let _ = write!(out, "{year:04}-{:02}-{:02}", moment.month, moment.day);
}

fn era(out: &mut String, moment: Moment) {
    if moment.year < 1 {
        out.push_str(" BC");
    }
}

/// The part of a second, without zeros at its end.
pub(super) fn fraction(out: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `1 year 2 mons -3 days +04:05:06.7`
pub(super) fn interval(out: &mut String, value: IntervalMonthDayNano) {
    let micros = value.nanoseconds / 1000;
    let mut before = false;
    let mut empty = true;
    for (number, unit) in [
        (value.months / 12, "year"),
        (value.months % 12, "mon"),
        (value.days, "day"),
    ] {
        if number == 0 {
            continue;
        }
        if !empty {
            out.push(' ');
        }
        let sign = if before && number > 0 { "+" } else { "" };
        let plural = if number == 1 { "" } else { "s" };
        let _ = write!(out, "{sign}{number} {unit}{plural}");
        before = number < 0;
        empty = false;
    }
    if micros == 0 && !empty {
        return;
    }
    if !empty {
        out.push(' ');
    }
    if micros < 0 {
        out.push('-');
    } else if before {
        out.push('+');
    }
    let micros = micros.unsigned_abs();
    let (hours, minutes, seconds) = (
        micros / 3_600_000_000,
        micros / 60_000_000 % 60,
        micros / 1_000_000 % 60,
    );
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}");
    fraction(out, i64::try_from(micros % 1_000_000).unwrap_or(0));
}

/// A `double precision`.
pub(super) fn double(out: &mut String, value: f64) {
    float(out, value, (1e-4..1e15).contains(&value.abs()), &value);
}

/// A `real`.
pub(super) fn real(out: &mut String, value: f32) {
    float(
        out,
        f64::from(value),
        (1e-4..1e6).contains(&value.abs()),
        &value,
    );
}

fn float<F: std::fmt::Display + std::fmt::LowerExp>(
    out: &mut String,
    value: f64,
    plain: bool,
    exact: &F,
) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value < 0.0 { "-Infinity" } else { "Infinity" });
    } else if value == 0.0 || plain {
        let _ = write!(out, "{exact}");
    } else {
        let text = format!("{exact:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, size) = match exponent.strip_prefix('-') {
            Some(size) => ('-', size),
            None => ('+', exponent),
        };
        let _ = write!(out, "{digits}e{sign}{size:0>2}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(put: impl Fn(&mut String), wanted: &str) {
        let mut out = String::new();
        put(&mut out);
        assert_eq!(out, wanted);
    }

    #[test]
    fn values_are_printed_as_postgresql_prints_them() {
        check(|out| date(out, -719_163), "0001-12-31 BC");
        check(
            |out| timestamp(out, 1_706_695_872_123_000),
            "2024-01-31 10:11:12.123",
        );
        check(
            |out| zoned(out, 0, Zone::Fixed(19_800)),
            "1970-01-01 05:30:00+05:30",
        );
        let value = |m, d, n| IntervalMonthDayNano::new(m, d, n);
        check(
            |out| interval(out, value(14, -3, 14_706_700_000_000)),
            "1 year 2 mons -3 days +04:05:06.7",
        );
        check(|out| interval(out, value(0, 0, 0)), "00:00:00");
        check(
            |out| interval(out, value(0, -1, -7_200_000_000_000)),
            "-1 days -02:00:00",
        );
        check(|out| double(out, 0.0), "0");
        check(|out| double(out, 1e300), "1e+300");
        check(|out| double(out, 1.5e-7), "1.5e-07");
        check(|out| real(out, 1e6), "1e+06");
    }
}
