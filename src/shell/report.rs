//! Writes what is said beside the results: errors with their place, notes.
//!
//! Pure text; the caller says where it goes and whether it may be coloured.

use std::error::Error;
use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::table::truncate;
use crate::client::{ClientError, ServerError};
use tarn_engine::Piece;

/// Widest excerpt of a statement under an error, in terminal cells.
const EXCERPT_WIDTH_MAX: usize = 100;

/// Where a statement was read, to name it in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Typed or given by `-c`: nothing to name.
    Direct,
    /// A script, by its file name.
    Script(String),
}

/// The error of a statement as lines to show, ending in a line end.
pub(crate) fn describe(error: &ClientError, statement: &Piece, origin: &Origin) -> String {
    let mut text = String::new();
    if let Origin::Script(name) = origin {
        let line =
            place(error, statement).map_or(statement.line, |place| statement.line + place.line);
        let _ = write!(text, "{name}:{line}: ");
    }
    let _ = writeln!(text, "ERROR {}: {}", error.code(), chain(error));
    if let Some(place) = place(error, statement) {
        text.push_str(&excerpt(&place, statement.line));
    }
    if let ClientError::Server(error) = error
        && let Some(hint) = &error.hint
    {
        let _ = writeln!(text, "HINT: {hint}");
    }
    text
}

/// An error with its causes, in one line. Of the many layers of a network
/// error only the innermost says something.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some errors repeat their cause already.
        if !parts.iter().any(|earlier| earlier.contains(&part)) {
            if error.is::<reqwest::Error>() {
                parts.push(innermost(error));
                break;
            }
            parts.push(part);
        }
        cause = error.source();
    }
    parts.join(": ")
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

/// A place in a statement.
struct Place<'a> {
    /// Lines before it.
    line: usize,
    /// The whole line.
    text: &'a str,
    /// Bytes before it on that line.
    offset: usize,
}

fn place<'a>(error: &ClientError, statement: &'a Piece) -> Option<Place<'a>> {
    let ClientError::Server(error) = error else {
        return None;
    };
    let ServerError { position, .. } = error.as_ref();
    let before = (*position)?.checked_sub(1)?;
    let text = statement.sql.as_str();
    let offset = match text.char_indices().nth(before) {
        Some((offset, _)) => offset,
        None if before == text.chars().count() => text.len(),
        None => return None,
    };
    let start = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    Some(Place {
        line: text[..offset].matches('\n').count(),
        text: text[start..].lines().next().unwrap_or_default(),
        offset: offset - start,
    })
}

/// `LINE 3: …` with a caret below the place.
fn excerpt(place: &Place<'_>, first_line: usize) -> String {
    let heading = format!("LINE {}: ", first_line + place.line);
    let flat = |text: &str| {
        text.chars()
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect::<String>()
    };
    let mut before = flat(&place.text[..place.offset.min(place.text.len())]);
    let after = flat(&place.text[place.offset.min(place.text.len())..]);
    let half = EXCERPT_WIDTH_MAX / 2;
    if width(&before) > half {
        let mut kept: Vec<char> = Vec::new();
        let mut used = 1;
        for character in before.chars().rev() {
            used += character.width().unwrap_or(0);
            if used > half {
                break;
            }
            kept.push(character);
        }
        before = std::iter::once('…').chain(kept.into_iter().rev()).collect();
    }
    let caret = " ".repeat(heading.len() + width(&before));
    format!("{heading}{before}{}\n{caret}^\n", truncate(&after, half))
}

fn width(text: &str) -> usize {
    text.chars()
        .map(|character| character.width().unwrap_or(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_describe(text: &str, position: Option<usize>, origin: &Origin, expected: &str) {
        let error = ClientError::Server(Box::new(ServerError {
            status: 400,
            code: "42P01".to_owned(),
            message: "table \"foo\" not found".to_owned(),
            hint: Some("did you mean \"food\"?".to_owned()),
            position,
            query_id: None,
        }));
        let statement = Piece {
            sql: text.to_owned(),
            line: 10,
            offset: 0,
        };
        assert_eq!(describe(&error, &statement, origin), expected);
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        check_describe(
            "SELECT 'ä'\n\tFROM foo",
            Some(18),
            &Origin::Direct,
            "ERROR 42P01: table \"foo\" not found\nLINE 11:  FROM foo\n               ^\nHINT: did you mean \"food\"?\n",
        );
    }

    #[test]
    fn a_script_is_named_with_its_line() {
        check_describe(
            "SELECT 1\nFROM foo",
            Some(15),
            &Origin::Script("a.sql".to_owned()),
            "a.sql:11: ERROR 42P01: table \"foo\" not found\nLINE 11: FROM foo\n              ^\nHINT: did you mean \"food\"?\n",
        );
    }

    #[test]
    fn places_outside_the_statement_are_left_out() {
        for position in [None, Some(0), Some(100)] {
            check_describe(
                "SELECT 1",
                position,
                &Origin::Direct,
                "ERROR 42P01: table \"foo\" not found\nHINT: did you mean \"food\"?\n",
            );
        }
    }

    #[test]
    fn the_end_of_the_statement_is_a_place() {
        check_describe(
            "SELECT",
            Some(7),
            &Origin::Direct,
            "ERROR 42P01: table \"foo\" not found\nLINE 10: SELECT\n               ^\nHINT: did you mean \"food\"?\n",
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("SELECT {} foo {}", "a, ".repeat(200), "b, ".repeat(200));
        let position = text.find("foo").unwrap() + 1;
        let error = ClientError::Server(Box::new(ServerError {
            status: 400,
            code: "42703".to_owned(),
            message: "m".to_owned(),
            hint: None,
            position: Some(position),
            query_id: None,
        }));
        let shown = describe(
            &error,
            &Piece {
                sql: text,
                line: 1,
                offset: 0,
            },
            &Origin::Direct,
        );
        let lines: Vec<&str> = shown.lines().collect();
        assert!(width(lines[1]) <= EXCERPT_WIDTH_MAX + 10, "{shown}");
        let caret = lines[2].find('^').unwrap();
        assert!(
            lines[1]
                .chars()
                .skip(caret)
                .collect::<String>()
                .starts_with("foo"),
            "{shown}"
        );
    }
}
