//! Rust source with comments and literals blanked out, so that a rule about code
//! does not stumble over a sentence.
//!
//! Not a parser: it knows where code ends and text begins, and nothing else.

/// Replaces the inside of comments, strings and character literals by spaces.
///
/// The result has the same number of lines as `source`, so line numbers hold.
pub(crate) fn without_text(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut output = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let end = text_end(&characters, at);
        if end > at {
            output.extend(
                characters[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            output.push(characters[at]);
            at += 1;
        }
    }
    output
}

/// Where the comment or literal that starts at `at` ends; `at` if none starts there.
fn text_end(characters: &[char], at: usize) -> usize {
    let next = characters.get(at + 1).copied();
    match characters[at] {
        '/' if next == Some('/') => line_end(characters, at),
        '/' if next == Some('*') => block_comment_end(characters, at),
        '"' => string_end(characters, at + 1),
        'r' if !continues_word(characters, at) => raw_string_end(characters, at + 1).unwrap_or(at),
        '\'' => character_end(characters, at),
        _ => at,
    }
}

fn line_end(characters: &[char], from: usize) -> usize {
    (from..characters.len())
        .find(|index| characters[*index] == '\n')
        .unwrap_or(characters.len())
}

fn block_comment_end(characters: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = at;
    while index < characters.len() {
        match (characters[index], characters.get(index + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                index += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    characters.len()
}

fn string_end(characters: &[char], from: usize) -> usize {
    let mut index = from;
    while index < characters.len() {
        match characters[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    characters.len()
}

/// End of `r"…"` or `r#"…"#` whose first character after the `r` is at `from`.
fn raw_string_end(characters: &[char], from: usize) -> Option<usize> {
    let hashes = characters[from..].iter().take_while(|c| **c == '#').count();
    if characters.get(from + hashes) != Some(&'"') {
        return None;
    }
    let mut index = from + hashes + 1;
    while index < characters.len() {
        let closes = characters[index] == '"'
            && characters[index + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        if closes {
            return Some(index + 1 + hashes);
        }
        index += 1;
    }
    Some(characters.len())
}

/// End of a character literal; a lifetime such as `'a` is code.
fn character_end(characters: &[char], at: usize) -> usize {
    match (characters.get(at + 1), characters.get(at + 2)) {
        (Some('\\'), _) => (at + 3..characters.len())
            .find(|index| characters[*index] == '\'')
            .map_or(characters.len(), |end| end + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn continues_word(characters: &[char], at: usize) -> bool {
    at > 0 && is_word(characters[at - 1]) && !is_byte_prefix(characters, at - 1)
}

/// Whether the `b` or `c` at `at` is the prefix of a literal rather than the end of a name.
fn is_byte_prefix(characters: &[char], at: usize) -> bool {
    matches!(characters[at], 'b' | 'c') && (at == 0 || !is_word(characters[at - 1]))
}

/// Whether `character` can be part of an identifier.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_blanked(source: &str, gone: &str, kept: &str) {
        let code = without_text(source);
        assert!(!code.contains(gone), "{gone:?} is still in {code:?}");
        assert!(code.contains(kept), "{kept:?} is no longer in {code:?}");
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check_blanked("let a = 1; // secret\nlet b;", "secret", "let b");
        check_blanked("a /* secret /* nested */ secret */ b", "secret", " b");
        check_blanked("f(\"secret \\\" secret\", b)", "secret", ", b)");
        check_blanked("f(r#\"secret \" \nsecret\"#, b)", "secret", ", b)");
        check_blanked("f(br\"secret\\\", b)", "secret", ", b)");
        check_blanked("f('\\'', \"secret\", '\"', b)", "secret", ", b)");
    }

    #[test]
    fn lifetimes_and_names_ending_in_r_are_code() {
        check_blanked(
            "fn f<'a>(x: &'a str) { g(\"secret\") }",
            "secret",
            "x: &'a str",
        );
        check_blanked("let r = for_each(\"secret\")", "secret", "for_each");
    }
}
