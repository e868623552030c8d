//! JSON in the form in which PostgreSQL keeps and prints `jsonb`.
//!
//! Names in the order of their lengths, then of their bytes; of two fields of one name the last; no blanks but
//! those that PostgreSQL prints; numbers without exponents. Source: PostgreSQL, "jsonb Output".

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::json::items_of;

/// Zeros that an exponent may stand for; a number with a larger one stays as it is written.
const ZEROS_MAX: i64 = 1000;

/// `document` as `jsonb` prints it; `None` if it is no JSON.
pub(crate) fn normalized(document: &str) -> Option<String> {
    // It bounds the depth, too.
    serde_json::from_str::<IgnoredAny>(document).ok()?;
    let mut out = String::with_capacity(document.len());
    write(document.trim(), &mut out);
    Some(out)
}

/// Appends a value of a valid document.
fn write(value: &str, out: &mut String) {
    match value.as_bytes().first() {
        Some(b'{') => {
            let mut fields: Vec<(String, &str)> = vec![];
            for (name, value) in items_of(value).unwrap_or_default() {
                let name = name.map(text).unwrap_or_default();
                match fields.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = value,
                    None => fields.push((name, value)),
                }
            }
            fields.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quoted(name));
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (at, (_, value)) in items_of(value).unwrap_or_default().iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write(value, out);
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&quoted(&text(value))),
        Some(b'-' | b'0'..=b'9') => out.push_str(&number(value)),
        _ => out.push_str(value),
    }
}

fn text(quoted: &str) -> String {
    serde_json::from_str(quoted).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// A number without its exponent.
fn number(written: &str) -> Cow<'_, str> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (digits, Some(0)),
    };
    let Some(exponent) = exponent.filter(|e| (-ZEROS_MAX..=ZEROS_MAX).contains(e)) else {
        return Cow::Borrowed(written);
    };
    let sign = if mantissa.bytes().all(|b| matches!(b, b'0' | b'.')) {
        ""
    } else {
        sign
    };
    if exponent == 0 {
        return Cow::Owned(format!("{sign}{mantissa}"));
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = format!("{whole}{fraction}");
    // Where the point stands in the digits; it may be before or after all of them.
    let point = i64::try_from(whole.len()).unwrap_or(0) + exponent;
    let point = if point <= 0 {
        let zeros = usize::try_from(1 - point).unwrap_or(0);
        all.insert_str(0, &"0".repeat(zeros));
        1
    } else {
        usize::try_from(point).unwrap_or(1)
    };
    while all.len() < point {
        all.push('0');
    }
    let (whole, fraction) = all.split_at(point);
    let kept = whole.trim_start_matches('0');
    let whole = if kept.is_empty() { "0" } else { kept };
    Cow::Owned(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15 prints of a document.
    fn check(document: &str, printed: Option<&str>) {
        assert_eq!(normalized(document).as_deref(), printed, "{document}");
    }

    #[test]
    fn documents_are_printed_as_postgresql_prints_them() {
        check(
            r#" {"bb":1, "a" : [1,{"y":null,"x":true}], "bb":2,"":"\u00e9\n"} "#,
            Some(r#"{"": "é\n", "a": [1, {"x": true, "y": null}], "bb": 2}"#),
        );
        check("[]", Some("[]"));
        check("{}", Some("{}"));
        check("\"a\\u0041\"", Some("\"aA\""));
        check("{", None);
        check("", None);
        check("1 2", None);
    }

    #[test]
    fn numbers_lose_their_exponents() {
        for (written, printed) in [
            ("1.50", "1.50"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("1e2", "100"),
            ("1.5E1", "15"),
            ("1.25e1", "12.5"),
            ("-1.5e-3", "-0.0015"),
            ("12e-1", "1.2"),
            ("0e5", "0"),
            (
                "12345678901234567890123456789",
                "12345678901234567890123456789",
            ),
        ] {
            check(written, Some(printed));
        }
    }
}
