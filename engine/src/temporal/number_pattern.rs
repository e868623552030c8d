//! Template patterns of numbers, printed and read.
//!
//! Source: PostgreSQL 15, "Template Patterns for Numeric Formatting"; signs and currency are those of the locale C.

use datafusion::common::Result;

use super::errors;
use super::template::suffix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `9` and `0`; zeros are shown from the first `0` on.
    Digit {
        zero: bool,
    },
    Point,
    Group,
    Text(char),
    Minus,
    Plus,
    Sign,
    SignBefore,
    SignAfter,
    Currency,
    Ordinal {
        upper: bool,
    },
    Shift,
}

/// A pattern taken apart.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "flags of a pattern, each set by a word of its own"
)]
struct Pattern {
    parts: Vec<Part>,
    fill: bool,
    angle: bool,
    roman: bool,
    exponent: bool,
    /// Digits before and after the point, and after `V`.
    before: usize,
    after: usize,
    shifted: usize,
    /// The first place from the left that is `0`, before the point.
    zero_from: Option<usize>,
    /// Places after the point up to the last `0`.
    kept: usize,
}

/// Digits after the point that a pattern has.
pub(super) fn digits_after(pattern: &str) -> usize {
    parse(pattern).map_or(0, |pattern| pattern.after + pattern.shifted)
}

fn parse(text: &str) -> Result<Pattern> {
    let mut out = Pattern::default();
    let (mut point, mut shift) = (false, false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let upper = rest
            .get(..4.min(rest.len()))
            .unwrap_or("")
            .to_ascii_uppercase();
        let (length, part) = match upper.as_str() {
            s if s.starts_with("EEEE") => {
                out.exponent = true;
                (4, None)
            }
            s if s.starts_with("FM") => {
                out.fill = true;
                (2, None)
            }
            s if s.starts_with("MI") => (2, Some(Part::Minus)),
            s if s.starts_with("PL") => (2, Some(Part::Plus)),
            s if s.starts_with("PR") => {
                out.angle = true;
                (2, None)
            }
            s if s.starts_with("RN") => {
                out.roman = true;
                (2, None)
            }
            s if s.starts_with("SG") => (2, Some(Part::Sign)),
            s if s.starts_with("TH") => (
                2,
                Some(Part::Ordinal {
                    upper: rest.starts_with('T'),
                }),
            ),
            s if s.starts_with('S') => {
                let leading = out.before == 0 && out.after == 0;
                let part = if leading {
                    Part::SignBefore
                } else {
                    Part::SignAfter
                };
                (1, Some(part))
            }
            s if s.starts_with('L') => (1, Some(Part::Currency)),
            s if s.starts_with(['D', '.']) => {
                if point {
                    return Err(errors::argument("multiple decimal points"));
                }
                point = true;
                (1, Some(Part::Point))
            }
            s if s.starts_with(['G', ',']) => (1, Some(Part::Group)),
            s if s.starts_with('V') => {
                shift = true;
                (1, Some(Part::Shift))
            }
            s if s.starts_with(['9', '0']) => {
                let zero = first == '0';
                if point {
                    out.after += 1;
                    if zero {
                        out.kept = out.after;
                    }
                } else {
                    if zero && out.zero_from.is_none() {
                        out.zero_from = Some(out.before);
                    }
                    out.before += 1;
                    out.shifted += usize::from(shift);
                }
                (1, Some(Part::Digit { zero }))
            }
            _ => (0, None),
        };
        if length > 0 {
            out.parts.extend(part);
            rest = &rest[length..];
            continue;
        }
        if first == '"' {
            let body = &rest[1..];
            let end = body.find('"').unwrap_or(body.len());
            out.parts.extend(body[..end].chars().map(Part::Text));
            rest = body.get(end + 1..).unwrap_or("");
        } else {
            out.parts.push(Part::Text(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

/// The digits of a number with `after` places, halves away from zero: sign, whole, fraction.
fn rounded(number: &str, after: usize, shifted: usize) -> (bool, String, String) {
    let (negative, plain) = match number.strip_prefix('-') {
        Some(plain) => (true, plain),
        None => (false, number),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let places = after + shifted;
    let mut digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(places))
        .collect();
    let up = fraction
        .as_bytes()
        .get(places)
        .is_some_and(|next| *next >= b'5');
    if up {
        let mut at = digits.len();
        loop {
            if at == 0 {
                digits.insert(0, b'1');
                break;
            }
            at -= 1;
            if digits[at] == b'9' {
                digits[at] = b'0';
            } else {
                digits[at] += 1;
                break;
            }
        }
    }
    let text = String::from_utf8(digits).unwrap_or_default();
    let split = text.len() - after;
    let whole = text[..split].trim_start_matches('0').to_owned();
    let fraction = text[split..].to_owned();
    let negative = negative && (!whole.is_empty() || fraction.bytes().any(|digit| digit != b'0'));
    (negative, whole, fraction)
}

/// `number`, plain digits, as `pattern` shows it.
pub(super) fn print(number: &str, pattern: &str) -> Result<String> {
    let pattern = parse(pattern)?;
    if pattern.exponent {
        return Ok(scientific(number, &pattern));
    }
    if !number
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    {
        // NaN and infinity fill their places.
        return Ok(filled(&pattern, false, None, ""));
    }
    let (negative, whole, fraction) = rounded(number, pattern.after, pattern.shifted);
    if pattern.roman {
        let roman = roman(&whole).filter(|_| !negative);
        let roman = roman.unwrap_or_else(|| "###############".to_owned());
        return Ok(if pattern.fill {
            roman
        } else {
            format!("{roman:>15}")
        });
    }
    let fits = whole.len() <= pattern.before;
    Ok(filled(
        &pattern,
        negative,
        fits.then_some(whole.as_str()),
        &fraction,
    ))
}

/// The places of the pattern with digits in them, `#` if there is no `whole`.
#[allow(
    clippy::too_many_lines,
    clippy::match_same_arms,
    reason = "one arm for each part, in the order of the manual's table"
)]
fn filled(pattern: &Pattern, negative: bool, whole: Option<&str>, fraction: &str) -> String {
    let explicit = pattern.parts.iter().any(|part| {
        matches!(
            part,
            Part::Minus | Part::Sign | Part::SignBefore | Part::SignAfter
        )
    });
    let leading_sign = pattern.parts.contains(&Part::SignBefore);
    let plus = pattern.parts.contains(&Part::Plus);
    // What stands right before the first digit.
    let sign = if pattern.angle {
        if negative { "<" } else { " " }
    } else if leading_sign {
        if negative { "-" } else { "+" }
    } else if explicit || (plus && !negative) {
        ""
    } else if negative {
        "-"
    } else {
        " "
    };
    let sign = if pattern.fill && sign == " " {
        ""
    } else {
        sign
    };
    let digits = whole.unwrap_or("");
    let first = pattern.before - digits.len().min(pattern.before);
    let zero_from = pattern.zero_from.unwrap_or(pattern.before);
    // A zero alone is shown where there is no fraction.
    let lone = digits.is_empty() && pattern.after == 0 && pattern.before > 0;
    let begins = first.min(zero_from).min(if lone {
        pattern.before - 1
    } else {
        pattern.before
    });
    let begins = if whole.is_none() { 0 } else { begins };
    let shown_fraction = if pattern.fill {
        fraction.trim_end_matches('0').len().max(pattern.kept)
    } else {
        pattern.after
    };
    let mut out = String::new();
    let (mut place, mut after, mut signed, mut in_fraction) = (0, 0, false, false);
    let put_sign = |out: &mut String, signed: &mut bool| {
        if !*signed {
            out.push_str(sign);
            *signed = true;
        }
    };
    for part in &pattern.parts {
        match part {
            Part::Digit { .. } if in_fraction => {
                if after < shown_fraction {
                    out.push(match whole {
                        None => '#',
                        Some(_) => fraction[after..].chars().next().unwrap_or('0'),
                    });
                }
                after += 1;
            }
            Part::Digit { .. } => {
                if place >= begins {
                    put_sign(&mut out, &mut signed);
                    out.push(match whole {
                        None => '#',
                        Some(_) if place >= first => char::from(digits.as_bytes()[place - first]),
                        Some(_) => '0',
                    });
                } else if !pattern.fill {
                    out.push(' ');
                }
                place += 1;
            }
            Part::Point => {
                put_sign(&mut out, &mut signed);
                if pattern.fill
                    && whole.is_some()
                    && digits.is_empty()
                    && shown_fraction == 0
                    && begins >= place
                {
                    out.push('0');
                }
                out.push('.');
                in_fraction = true;
            }
            Part::Group if place > begins => out.push(','),
            Part::Group if pattern.fill => {}
            Part::Group | Part::Currency => out.push(' '),
            Part::Text(character) => out.push(*character),
            Part::Minus if negative => out.push('-'),
            Part::Minus if !pattern.fill => out.push(' '),
            Part::Plus if !negative => out.push('+'),
            Part::Plus if !pattern.fill => out.push(' '),
            Part::Sign | Part::SignAfter => out.push(if negative { '-' } else { '+' }),
            Part::Ordinal { upper } if !negative && pattern.after == 0 => {
                let text = suffix(if digits.is_empty() { "0" } else { digits });
                out.push_str(&if *upper {
                    text.to_ascii_uppercase()
                } else {
                    text.to_owned()
                });
            }
            Part::Minus | Part::Plus | Part::SignBefore | Part::Ordinal { .. } | Part::Shift => {}
        }
    }
    if pattern.angle {
        if negative {
            out.push('>');
        } else if !pattern.fill {
            out.push(' ');
        }
    }
    out
}

fn scientific(number: &str, pattern: &Pattern) -> String {
    let value: f64 = number.parse().unwrap_or(0.0);
    let text = format!("{value:.*e}", pattern.after);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    let blank = if value < 0.0 || pattern.fill { "" } else { " " };
    format!("{blank}{digits}e{sign}{size:0>2}")
}

fn roman(whole: &str) -> Option<String> {
    const VALUES: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut number: u32 = whole
        .parse()
        .ok()
        .filter(|number| (1..4000).contains(number))?;
    let mut out = String::new();
    for (value, digits) in VALUES {
        while number >= value {
            out.push_str(digits);
            number -= value;
        }
    }
    Some(out)
}

/// The plain digits of a number written by `pattern`.
pub(super) fn read(text: &str, pattern: &str) -> Result<String> {
    let pattern = parse(pattern)?;
    let invalid = || crate::casts::invalid("numeric", text);
    if pattern.exponent || pattern.roman {
        return Err(errors::argument("this pattern cannot be read by to_number"));
    }
    let negative = text.contains('-') || (pattern.angle && text.contains('<'));
    let mut out = String::new();
    let mut fraction = false;
    let mut count = (0, 0);
    for character in text.chars() {
        match character {
            '0'..='9' if !fraction && count.0 < pattern.before => {
                out.push(character);
                count.0 += 1;
            }
            '0'..='9' if fraction && count.1 < pattern.after => {
                out.push(character);
                count.1 += 1;
            }
            '.' if !fraction && pattern.parts.contains(&Part::Point) => {
                out.push('.');
                fraction = true;
            }
            _ => {}
        }
    }
    if count == (0, 0) {
        return Err(invalid());
    }
    let mut out = out.trim_end_matches('.').to_owned();
    if out.starts_with('.') {
        out.insert(0, '0');
    }
    if pattern.shifted > 0 && out.len() >= pattern.shifted {
        out.insert(out.len() - pattern.shifted, '.');
    }
    if negative {
        out.insert(0, '-');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: &str, pattern: &str, wanted: &str) {
        assert_eq!(
            print(number, pattern).unwrap(),
            wanted,
            "{number} {pattern}"
        );
    }

    #[test]
    fn numbers_are_printed_as_in_postgresqls_table_of_examples() {
        check("-0.1", "99.99", "  -.10");
        check("-0.1", "FM9.99", "-.1");
        check("0.1", "0.9", " 0.1");
        check("12", "9990999.9", "    0012.0");
        check("12", "FM9990999.9", "0012.");
        check("485", "999", " 485");
        check("-485", "999", "-485");
        check("485", "9 9 9", " 4 8 5");
        check("1485", "9,999", " 1,485");
        check("148.5", "999.999", " 148.500");
        check("148.5", "FM999.999", "148.5");
        check("148.5", "FM999.990", "148.500");
        check("3148.5", "9G999D999", " 3,148.500");
        check("-485", "999S", "485-");
        check("-485", "999MI", "485-");
        check("485", "999MI", "485 ");
        check("485", "FM999MI", "485");
        check("485", "PL999", "+485");
        check("485", "SG999", "+485");
        check("-485", "9SG99", "4-85");
        check("-485", "999PR", "<485>");
        check("485", "RN", "        CDLXXXV");
        check("5.2", "FMRN", "V");
        check("482", "999th", " 482nd");
        check("485", "\"Good number:\"999", "Good number: 485");
        check("12.4", "99V999", " 12400");
        check("12.45", "99V9", " 125");
        check("0.0004859", "9.99EEEE", " 4.86e-04");
        check("1234567", "9,999", " #,###");
        check("0", "999", "   0");
        check("12", "99,999", "     12");
    }

    #[test]
    fn numbers_are_read() {
        let check = |text, pattern, wanted: &str| {
            assert_eq!(read(text, pattern).unwrap(), wanted);
        };
        check("12,454.8-", "99G999D9S", "-12454.8");
        check("1,234", "9,999", "1234");
        check("$ 12.50", "L99.99", "12.50");
        assert!(read("x", "99").is_err());
    }
}
