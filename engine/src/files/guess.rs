//! Which type the texts of a column are: the narrowest that reads all of them.
//!
//! A type is guessed only if the reader of files reads the text as that type. Knows texts, no files.

use chrono::{NaiveDate, NaiveDateTime, Utc};
use datafusion::arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimeUnit,
};

/// Most digits of an integer that is a decimal because it does not fit a bigint.
const DIGITS_MAX: usize = 38;

/// What a column may still be. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    seen: bool,
    /// Bits of [`CANDIDATES`].
    open: u16,
}

/// Narrowest first.
const CANDIDATES: [Candidate; 8] = [
    Candidate::Boolean,
    Candidate::Bigint,
    Candidate::Numeric,
    Candidate::Double,
    Candidate::Date,
    Candidate::Time,
    Candidate::Timestamp,
    Candidate::Timestamptz,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Boolean,
    Bigint,
    /// Whole numbers past bigint.
    Numeric,
    Double,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

/// Patterns of dates and timestamps that a call gives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patterns<'a> {
    pub(crate) date: Option<&'a str>,
    pub(crate) timestamp: Option<&'a str>,
}

impl Guess {
    /// A column of which nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            seen: false,
            open: (1 << CANDIDATES.len()) - 1,
        }
    }

    /// A column that folders give: whole numbers, dates, timestamps or text.
    pub(crate) fn of_folders() -> Self {
        let wanted = [Candidate::Bigint, Candidate::Date, Candidate::Timestamp];
        let mut out = Self {
            seen: false,
            open: 0,
        };
        for (bit, candidate) in CANDIDATES.iter().enumerate() {
            if wanted.contains(candidate) {
                out.open |= 1 << bit;
            }
        }
        out
    }

    /// Takes one more text.
    pub(crate) fn see(&mut self, text: &str) {
        self.see_with(text, Patterns::default());
    }

    /// Takes one more text, where dates and timestamps look as `patterns` say.
    pub(crate) fn see_with(&mut self, text: &str, patterns: Patterns<'_>) {
        self.seen = true;
        for (bit, candidate) in CANDIDATES.iter().enumerate() {
            if self.open & (1 << bit) != 0 && !candidate.reads(text, patterns) {
                self.open &= !(1 << bit);
            }
        }
    }

    /// What a column of both may be.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            seen: self.seen || other.seen,
            open: self.open & other.open,
        }
    }

    /// The type; text if nothing was seen.
    pub(crate) fn data_type(self) -> DataType {
        let found = CANDIDATES
            .iter()
            .enumerate()
            .find(|(bit, _)| self.open & (1 << bit) != 0);
        match found {
            Some((_, candidate)) if self.seen => candidate.data_type(),
            _ => DataType::Utf8,
        }
    }
}

impl Candidate {
    fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Bigint => DataType::Int64,
            Self::Numeric => DataType::Decimal128(38, 0),
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    fn reads(self, text: &str, patterns: Patterns<'_>) -> bool {
        match self {
            Self::Boolean => {
                text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
            }
            Self::Bigint => is_whole(text) && Int64Type::parse(text).is_some(),
            Self::Numeric => {
                is_whole(text) && text.trim_start_matches(['+', '-']).len() <= DIGITS_MAX
            }
            Self::Double => is_number(text) && Float64Type::parse(text).is_some(),
            Self::Date => match patterns.date {
                Some(pattern) => NaiveDate::parse_from_str(text, pattern).is_ok(),
                None => is_date(text) && Date32Type::parse(text).is_some(),
            },
            Self::Time => {
                text.as_bytes().first().is_some_and(u8::is_ascii_digit)
                    && text.matches(':').count() >= 1
                    && text.len() <= 15
                    && !text.contains('-')
                    && Time64MicrosecondType::parse(text).is_some()
            }
            Self::Timestamp => match patterns.timestamp {
                Some(pattern) => NaiveDateTime::parse_from_str(text, pattern).is_ok(),
                None => {
                    (is_date(text) || offset_of(text) == Some(false))
                        && string_to_datetime(&Utc, text).is_ok()
                }
            },
            Self::Timestamptz => {
                patterns.timestamp.is_none()
                    && offset_of(text) == Some(true)
                    && string_to_datetime(&Utc, text).is_ok()
            }
        }
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !is_padded(digits)
}

/// Whether digits begin with a zero that says nothing of the number: it is a code, as `01` and `00123` are.
fn is_padded(digits: &str) -> bool {
    matches!(digits.as_bytes(), [b'0', next, ..] if next.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let first = digits.as_bytes().first();
    first.is_some_and(|b| b.is_ascii_digit() || *b == b'.')
        && !is_padded(digits)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// `2024-05-01`
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10 && is_day(bytes)
}

fn is_day(bytes: &[u8]) -> bool {
    bytes.iter().take(10).enumerate().all(|(at, b)| match at {
        4 | 7 => *b == b'-',
        _ => b.is_ascii_digit(),
    })
}

/// Whether a text that looks like a timestamp has an offset; none if it does not look like one.
fn offset_of(text: &str) -> Option<bool> {
    let bytes = text.as_bytes();
    if bytes.len() < 16 || !is_day(bytes) || !matches!(bytes[10], b' ' | b'T') {
        return None;
    }
    let time = &bytes[11..];
    let end = time
        .iter()
        .position(|b| !(b.is_ascii_digit() || matches!(b, b':' | b'.')));
    Some(end.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str], wanted: &DataType) {
        let mut guess = Guess::new();
        for text in texts {
            guess.see(text);
        }
        assert_eq!(&guess.data_type(), wanted, "{texts:?}");
    }

    #[test]
    fn the_narrowest_type_that_reads_all_texts_is_taken() {
        let micros = TimeUnit::Microsecond;
        check(&[], &DataType::Utf8);
        check(&["true", "FALSE"], &DataType::Boolean);
        check(&["1", "-20", "+3"], &DataType::Int64);
        check(&["1", "12345678901234567890"], &DataType::Decimal128(38, 0));
        check(&["1", "2.5", "1e9"], &DataType::Float64);
        check(&["1", "x"], &DataType::Utf8);
        check(&["nan", "inf"], &DataType::Utf8);
        check(&["0", "0.5"], &DataType::Float64);
        // Codes are no numbers: their zeros would be lost.
        check(&["007", "10"], &DataType::Utf8);
        check(&["2024-01-31"], &DataType::Date32);
        check(&["2024-02-31"], &DataType::Utf8);
        check(&["12:30:00", "01:02:03.5"], &DataType::Time64(micros));
        check(
            &["2024-01-31", "2024-01-31 10:00:00"],
            &DataType::Timestamp(micros, None),
        );
        check(
            &["2024-01-31T10:00:00Z", "2024-01-31 10:00:00.5+02:00"],
            &DataType::Timestamp(micros, Some("UTC".into())),
        );
        // With and without an offset: neither is right for both.
        check(
            &["2024-01-31T10:00:00Z", "2024-01-31 10:00:00"],
            &DataType::Utf8,
        );
    }

    #[test]
    fn patterns_say_how_dates_look() {
        let patterns = Patterns {
            date: Some("%d.%m.%Y"),
            timestamp: None,
        };
        let mut guess = Guess::new();
        guess.see_with("31.01.2024", patterns);
        assert_eq!(guess.data_type(), DataType::Date32);
    }
}
