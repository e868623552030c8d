//! Values as PostgreSQL prints them.
//!
//! Source: PostgreSQL 15, output functions of the types (`float8out`, `EncodeDateTime`,
//! `EncodeInterval`, `byteaout`). Knows single values, not arrays of Arrow.
//! The PostgreSQL door and casts to text print with it.

use std::io::Write;

use datafusion::arrow::datatypes::IntervalMonthDayNano;

use crate::temporal::date_of;

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Appends a whole number.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0_u8; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = digit(value % 10);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

#[allow(clippy::cast_possible_truncation, reason = "a digit is below ten")]
fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

/// Appends a whole number with its sign.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_u64(out, value.unsigned_abs());
}

/// Appends a number with zeros in front, `width` digits at least.
fn put_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut room = 10_u64.pow(u32::try_from(width).unwrap_or(0).saturating_sub(1));
    while room > 1 && value < room {
        out.push(b'0');
        room /= 10;
    }
    put_u64(out, value);
}

fn put_u128(out: &mut Vec<u8>, value: u128) {
    // Writing to a Vec does not fail.
    match u64::try_from(value) {
        Ok(small) => put_u64(out, small),
        Err(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Appends a decimal: `value` by ten to the power of `-scale`.
pub fn put_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    put_u128(out, value.unsigned_abs());
    match usize::try_from(scale) {
        Ok(0) => {}
        Ok(scale) => {
            let digits = out.len() - start;
            if digits <= scale {
                let zeros = scale + 1 - digits;
                out.splice(start..start, std::iter::repeat_n(b'0', zeros));
            }
            let point = out.len() - scale;
            out.insert(point, b'.');
        }
        Err(_) if value == 0 => {}
        Err(_) => out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs()))),
    }
}

/// Appends a `double precision`.
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    if put_special(out, value.is_nan(), value.is_infinite(), value < 0.0) {
        return;
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e15).contains(&size) {
        let _ = write!(out, "{value}");
    } else {
        let start = out.len();
        let _ = write!(out, "{value:e}");
        pad_exponent(out, start);
    }
}

/// Appends a `real`.
pub fn put_f32(out: &mut Vec<u8>, value: f32) {
    if put_special(out, value.is_nan(), value.is_infinite(), value < 0.0) {
        return;
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        let _ = write!(out, "{value}");
    } else {
        let start = out.len();
        let _ = write!(out, "{value:e}");
        pad_exponent(out, start);
    }
}

fn put_special(out: &mut Vec<u8>, nan: bool, infinite: bool, negative: bool) -> bool {
    let text: &[u8] = match (nan, infinite, negative) {
        (true, ..) => b"NaN",
        (_, true, false) => b"Infinity",
        (_, true, true) => b"-Infinity",
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// `1e7` as `1e+07`.
fn pad_exponent(out: &mut Vec<u8>, start: usize) {
    let Some(e) = out[start..].iter().position(|b| *b == b'e') else {
        return;
    };
    let at = start + e + 1;
    let at = if out.get(at) == Some(&b'-') {
        at + 1
    } else {
        out.insert(at, b'+');
        at + 1
    };
    if out.len() - at < 2 {
        out.insert(at, b'0');
    }
}

/// Appends the day without the `BC`; says whether it is one.
fn put_day(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = date_of(days);
    let before = year <= 0;
    let shown = if before { 1 - year } else { year };
    put_padded(out, shown.unsigned_abs(), 4);
    out.push(b'-');
    put_padded(out, month.unsigned_abs(), 2);
    out.push(b'-');
    put_padded(out, day.unsigned_abs(), 2);
    before
}

/// Appends a `date`, in days since 1970.
pub fn put_date(out: &mut Vec<u8>, days: i32) {
    if put_day(out, i64::from(days)) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a `time`, in microseconds of a day.
pub fn put_time(out: &mut Vec<u8>, micros: i64) {
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    put_padded(out, seconds / 3600, 2);
    out.push(b':');
    put_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    put_padded(out, seconds % 60, 2);
    put_fraction(out, micros % 1_000_000);
}

/// Appends `.123`, without zeros at its end; nothing for 0.
fn put_fraction(out: &mut Vec<u8>, micros: u64) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    put_padded(out, micros, 6);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Appends a `timestamp`, in microseconds since 1970; with the offset of its zone, in seconds, a
/// `timestamptz`. `middle` stands between day and time.
pub fn put_timestamp(out: &mut Vec<u8>, micros: i64, offset: Option<i32>, middle: u8) {
    let local = micros.saturating_add(i64::from(offset.unwrap_or(0)) * 1_000_000);
    let before = put_day(out, local.div_euclid(DAY_MICROS));
    out.push(middle);
    put_time(out, local.rem_euclid(DAY_MICROS));
    if let Some(offset) = offset {
        put_offset(out, offset, middle == b'T');
    }
    if before {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `+02`, `+05:30` or `-00:01:15`.
fn put_offset(out: &mut Vec<u8>, seconds: i32, minutes_always: bool) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let seconds = u64::from(seconds.unsigned_abs());
    put_padded(out, seconds / 3600, 2);
    if seconds % 3600 != 0 || minutes_always {
        out.push(b':');
        put_padded(out, seconds / 60 % 60, 2);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        put_padded(out, seconds % 60, 2);
    }
}

/// An `interval` as PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl From<IntervalMonthDayNano> for Interval {
    fn from(value: IntervalMonthDayNano) -> Self {
        Self {
            months: value.months,
            days: value.days,
            micros: value.nanoseconds / 1000,
        }
    }
}

/// Appends `1 year 2 mons -3 days +04:05:06.7`.
pub fn put_interval(out: &mut Vec<u8>, interval: Interval) {
    let start = out.len();
    let mut before = false;
    let units = [
        (interval.months / 12, "year"),
        (interval.months % 12, "mon"),
        (interval.days, "day"),
    ];
    for (value, unit) in units {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if before && value > 0 {
            out.push(b'+');
        }
        put_i64(out, i64::from(value));
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        before = value < 0;
    }
    if interval.micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if interval.micros < 0 {
        out.push(b'-');
    } else if before {
        out.push(b'+');
    }
    let micros = interval.micros.unsigned_abs();
    put_padded(out, micros / 3_600_000_000, 2);
    out.push(b':');
    put_padded(out, micros / 60_000_000 % 60, 2);
    out.push(b':');
    put_padded(out, micros / 1_000_000 % 60, 2);
    put_fraction(out, micros % 1_000_000);
}

/// Appends `P1Y2M-3DT4H5M6.7S`.
pub fn put_interval_iso(out: &mut Vec<u8>, interval: Interval) {
    out.push(b'P');
    let start = out.len();
    for (value, unit) in [
        (interval.months / 12, b'Y'),
        (interval.months % 12, b'M'),
        (interval.days, b'D'),
    ] {
        if value != 0 {
            put_i64(out, i64::from(value));
            out.push(unit);
        }
    }
    let micros = interval.micros;
    if micros == 0 {
        if out.len() == start {
            out.extend_from_slice(b"T0S");
        }
        return;
    }
    out.push(b'T');
    for (value, unit) in [
        (micros / 3_600_000_000, b'H'),
        (micros / 60_000_000 % 60, b'M'),
    ] {
        if value != 0 {
            put_i64(out, value);
            out.push(unit);
        }
    }
    let rest = micros % 60_000_000;
    if rest != 0 {
        if rest < 0 {
            out.push(b'-');
        }
        put_u64(out, rest.unsigned_abs() / 1_000_000);
        put_fraction(out, rest.unsigned_abs() % 1_000_000);
        out.push(b'S');
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

/// Appends a `bytea` as `\x0aff`.
pub fn put_bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"\\x");
    put_hex(out, bytes);
}

/// Appends a `bytea` in the older format, with octal escapes.
pub fn put_bytea_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.push(*byte),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
}

/// Appends a `uuid`.
pub fn put_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        put_hex(out, std::slice::from_ref(byte));
    }
}

/// Appends a text of JSON with its quotes.
pub fn put_json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    // The expected texts below are what PostgreSQL 15 prints.

    #[test]
    fn floats_are_the_shortest_that_reads_back() {
        for (value, wanted) in [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e-300, "1e-300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| put_f64(out, value)), wanted);
        }
        for (value, wanted) in [(1e6, "1e+06"), (100_000.0, "100000"), (0.1, "0.1")] {
            assert_eq!(text(|out| put_f32(out, value)), wanted);
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        for (value, scale, wanted) in [
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (12345, 2, "123.45"),
            (7, 0, "7"),
            (7, -3, "7000"),
            (0, -3, "0"),
            (
                99_999_999_999_999_999_999_999_999_999_999_999_999,
                38,
                "0.99999999999999999999999999999999999999",
            ),
        ] {
            assert_eq!(text(|out| put_decimal(out, value, scale)), wanted);
        }
    }

    #[test]
    fn days_and_times_are_printed_in_iso() {
        assert_eq!(text(|out| put_date(out, 0)), "1970-01-01");
        assert_eq!(text(|out| put_date(out, 19_782)), "2024-02-29");
        assert_eq!(text(|out| put_date(out, -719_163)), "0001-12-31 BC");
        assert_eq!(text(|out| put_date(out, 2_932_897)), "10000-01-01");
        assert_eq!(text(|out| put_time(out, 3_723_000_400)), "01:02:03.0004");
        assert_eq!(text(|out| put_time(out, DAY_MICROS)), "24:00:00");
        assert_eq!(
            text(|out| put_timestamp(out, -1, None, b' ')),
            "1969-12-31 23:59:59.999999"
        );
        assert_eq!(
            text(|out| put_timestamp(out, 0, Some(19_800), b' ')),
            "1970-01-01 05:30:00+05:30"
        );
        assert_eq!(
            text(|out| put_timestamp(out, 0, Some(-3600), b' ')),
            "1969-12-31 23:00:00-01"
        );
    }

    #[test]
    fn intervals_are_printed_in_both_styles() {
        let interval = |months, days, micros| Interval {
            months,
            days,
            micros,
        };
        for (value, postgres, iso) in [
            (interval(0, 0, 0), "00:00:00", "PT0S"),
            (
                interval(14, 3, 14_706_789_000),
                "1 year 2 mons 3 days 04:05:06.789",
                "P1Y2M3DT4H5M6.789S",
            ),
            (interval(1, 1, 0), "1 mon 1 day", "P1M1D"),
            (
                interval(-14, 3, 1_000_000),
                "-1 years -2 mons +3 days 00:00:01",
                "P-1Y-2M3DT1S",
            ),
            (
                interval(0, -1, 3_600_000_000),
                "-1 days +01:00:00",
                "P-1DT1H",
            ),
            (interval(0, 0, -90_500_000), "-00:01:30.5", "PT-1M-30.5S"),
        ] {
            assert_eq!(text(|out| put_interval(out, value)), postgres);
            assert_eq!(text(|out| put_interval_iso(out, value)), iso);
        }
    }

    #[test]
    fn bytes_are_printed_in_both_formats() {
        assert_eq!(text(|out| put_bytea(out, b"\0\xffa")), "\\x00ff61");
        assert_eq!(
            text(|out| put_bytea_escaped(out, b"\0\xffa\\")),
            "\\000\\377a\\\\"
        );
        let uuid = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes();
        assert_eq!(
            text(|out| put_uuid(out, &uuid)),
            "01234567-89ab-cdef-0123-456789abcdef"
        );
    }
}
