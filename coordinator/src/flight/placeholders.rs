//! JDBC's `?` as PostgreSQL's `$1`, `$2`, …
//!
//! Only tells text, names and comments from the rest; never parses a statement. `??` is a `?` that is meant as
//! one. Source: PostgreSQL, "Lexical Structure"; pgjdbc does the same.

/// `sql` with its question marks numbered; unchanged if it has none.
pub(crate) fn numbered(sql: &str) -> String {
    if !sql.contains('?') {
        return sql.to_owned();
    }
    let mut out = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    let mut count = 0_usize;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' => quoted(rest, '\'', ends_with_escape_prefix(&out)),
            '"' => quoted(rest, '"', false),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '$' if !out.ends_with(is_name) => dollar_quoted(rest).unwrap_or(1),
            '?' if rest.starts_with("??") => {
                out.push('?');
                rest = &rest[2..];
                continue;
            }
            '?' => {
                count += 1;
                out.push('$');
                out.push_str(&count.to_string());
                rest = &rest[1..];
                // `?` may touch a digit or name only in an error, which should stay one.
                if rest.starts_with(is_name) {
                    out.push(' ');
                }
                continue;
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether a quote after `before` begins `E'…'`.
fn ends_with_escape_prefix(before: &str) -> bool {
    let mut back = before.chars().rev();
    matches!(back.next(), Some('e' | 'E')) && !back.next().is_some_and(is_name)
}

/// Length of a quoted text or name at the start of `text`.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + c.len_utf8();
            }
        }
    }
    text.len()
}

/// Length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (2, 1);
    while at < bytes.len() && depth > 0 {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

/// Length of `$tag$ … $tag$` at the start of `text`, if one begins there.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = 1 + text[1..].find('$')?;
    let tag = &text[1..end];
    let named = tag.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !tag.starts_with(|c: char| c.is_ascii_digit());
    if !named {
        return None;
    }
    let delimiter = &text[..=end];
    let body = &text[end + 1..];
    Some(
        body.find(delimiter)
            .map_or(text.len(), |at| end + 1 + at + delimiter.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(sql: &str, expected: &str) {
        assert_eq!(numbered(sql), expected, "{sql}");
    }

    #[test]
    fn question_marks_are_numbered_in_order() {
        check(
            "SELECT * FROM t WHERE a = ? AND b IN (?,?)",
            "SELECT * FROM t WHERE a = $1 AND b IN ($2,$3)",
        );
        check("SELECT ?::int", "SELECT $1::int");
        check("SELECT $1", "SELECT $1");
    }

    #[test]
    fn texts_names_and_comments_keep_theirs() {
        check("SELECT '?', 'it''s ?', ?", "SELECT '?', 'it''s ?', $1");
        check("SELECT E'\\'?', ?", "SELECT E'\\'?', $1");
        check("SELECT '\\', ?", "SELECT '\\', $1");
        check("SELECT \"a?\"\"?\", ?", "SELECT \"a?\"\"?\", $1");
        check("SELECT ? -- ?\n, ?", "SELECT $1 -- ?\n, $2");
        check("SELECT /* ? /* ? */ ? */ ?", "SELECT /* ? /* ? */ ? */ $1");
        check("SELECT $$ ? $$, ?", "SELECT $$ ? $$, $1");
        check("SELECT $a$ ? $$ ? $a$, ?", "SELECT $a$ ? $$ ? $a$, $1");
        check("SELECT 1 ?? 2", "SELECT 1 ? 2");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(sql in any::<String>()) {
            let _ = numbered(&sql);
        }

        #[test]
        fn any_mix_of_marks_is_read_without_a_panic(sql in "[?'\"$/*\\-E\\\\a1\n ü]{0,40}") {
            let out = numbered(&sql);
            prop_assert!(out.len() >= sql.len() / 2);
        }
    }
}
