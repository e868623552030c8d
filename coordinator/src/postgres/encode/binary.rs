//! Values as PostgreSQL sends them in binary.
//!
//! Source: PostgreSQL 15, send functions of the types (`numeric_send`, `timestamp_send`,
//! `interval_send`). Knows single values, not arrays of Arrow.

use tarn_engine::printing::Interval;

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's first day.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;

const NEGATIVE: u16 = 0x4000;

/// Appends a `numeric`: `value` by ten to the power of `-scale`.
pub(crate) fn put_numeric(out: &mut Vec<u8>, value: i128, scale: i8) {
    let negative = value < 0;
    let mut digits = value.unsigned_abs();
    // Groups of four digits, the lowest first, beginning with those after the point.
    let mut groups = [0_u16; 24];
    let mut count = 0;
    let mut push = |group: u128| {
        if let (Some(slot), Ok(group)) = (groups.get_mut(count), u16::try_from(group)) {
            *slot = group;
        }
        count += 1;
    };
    let mut below = 0_i16;
    if let Ok(scale) = u8::try_from(scale) {
        let odd = u32::from(scale % 4);
        if odd != 0 {
            let unit = 10_u128.pow(odd);
            push(digits % unit * 10_u128.pow(4 - odd));
            digits /= unit;
            below += 1;
        }
        for _ in 0..scale / 4 {
            push(digits % 10_000);
            digits /= 10_000;
            below += 1;
        }
    } else {
        let zeros = u32::from(scale.unsigned_abs());
        for _ in 0..zeros / 4 {
            push(0);
        }
        let odd = zeros % 4;
        if odd != 0 {
            let unit = 10_u128.pow(4 - odd);
            push(digits % unit * 10_u128.pow(odd));
            digits /= unit;
        }
    }
    while digits > 0 {
        push(digits % 10_000);
        digits /= 10_000;
    }
    let count = count.min(groups.len());
    put_groups(out, &groups[..count], below, negative, scale);
}

/// Writes groups of four digits, lowest first, of which `below` stand after the point.
fn put_groups(out: &mut Vec<u8>, groups: &[u16], below: i16, negative: bool, scale: i8) {
    let first = groups.iter().position(|g| *g != 0).unwrap_or(groups.len());
    let last = groups
        .iter()
        .rposition(|g| *g != 0)
        .map_or(first, |at| at + 1);
    let kept = &groups[first..last];
    let weight = i16::try_from(last).unwrap_or(0) - below - 1;
    let weight = if kept.is_empty() { 0 } else { weight };
    let sign = if negative { NEGATIVE } else { 0 };
    out.extend(u16::try_from(kept.len()).unwrap_or(0).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend(u16::from(u8::try_from(scale).unwrap_or(0)).to_be_bytes());
    for group in kept.iter().rev() {
        out.extend(group.to_be_bytes());
    }
}

/// Appends a `numeric` of any size, from its digits as text.
pub(crate) fn put_numeric_text(out: &mut Vec<u8>, text: &str) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = vec![];
    let mut below = 0_i16;
    for chunk in fraction.as_bytes().chunks(4) {
        let mut group = chunk.iter().fold(0, |sum, digit| sum * 10 + value(*digit));
        group *= 10_u16.pow(4 - u32::try_from(chunk.len()).unwrap_or(4));
        groups.push(group);
        below += 1;
    }
    groups.reverse();
    for chunk in whole.as_bytes().rchunks(4) {
        groups.push(chunk.iter().fold(0, |sum, digit| sum * 10 + value(*digit)));
    }
    let scale = i8::try_from(fraction.len()).unwrap_or(i8::MAX);
    put_groups(out, &groups, below, negative, scale);
}

fn value(digit: u8) -> u16 {
    u16::from(digit.wrapping_sub(b'0') % 10)
}

/// Appends a `date`, in days since 1970.
pub(crate) fn put_date(out: &mut Vec<u8>, days: i32) {
    out.extend(days.saturating_sub(EPOCH_DAYS).to_be_bytes());
}

/// Appends a `timestamp` or `timestamptz`, in microseconds since 1970.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, micros: i64) {
    out.extend(micros.saturating_sub(EPOCH_MICROS).to_be_bytes());
}

/// Appends an `interval`.
pub(crate) fn put_interval(out: &mut Vec<u8>, interval: Interval) {
    out.extend(interval.micros.to_be_bytes());
    out.extend(interval.days.to_be_bytes());
    out.extend(interval.months.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: i128, scale: i8, wanted: &[u16]) {
        let mut out = vec![];
        put_numeric(&mut out, value, scale);
        let got: Vec<u16> = out
            .chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(got, wanted, "{value} {scale}");
        if scale >= 0 {
            let mut text = vec![];
            tarn_engine::printing::put_decimal(&mut text, value, scale);
            let mut again = vec![];
            put_numeric_text(&mut again, std::str::from_utf8(&text).unwrap());
            assert_eq!(out, again, "{value} {scale}");
        }
    }

    // What PostgreSQL 15 sends: count, weight, sign, scale, groups.
    #[test]
    fn numerics_have_postgresqls_groups() {
        check(0, 0, &[0, 0, 0, 0]);
        check(0, 2, &[0, 0, 0, 2]);
        check(1, 0, &[1, 0, 0, 0, 1]);
        check(10_000, 0, &[1, 1, 0, 0, 1]);
        check(-12_345_678, 4, &[2, 0, 0x4000, 4, 1234, 5678]);
        check(12_345, 2, &[2, 0, 0, 2, 123, 4500]);
        check(1, 4, &[1, 0xffff, 0, 4, 1]);
        check(1, 5, &[1, 0xfffe, 0, 5, 1000]);
        check(7, -3, &[1, 0, 0, 0, 7000]);
        check(12, -5, &[1, 1, 0, 0, 120]);
        check(
            99_999_999_999_999_999_999_999_999_999_999_999_999,
            37,
            &[
                11, 0, 0, 37, 9, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9000,
            ],
        );
    }

    #[test]
    fn moments_count_from_the_year_2000() {
        let mut out = vec![];
        put_date(&mut out, EPOCH_DAYS + 1);
        put_timestamp(&mut out, EPOCH_MICROS - 1);
        assert_eq!(out, [0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
