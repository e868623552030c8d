//! Statements as they may be shown and logged: without passwords and tokens.
//!
//! Knows how the statements about users are written; refuses to guess at others.

use std::borrow::Cow;

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::position_of;

/// What stands in place of a secret.
const HIDDEN: &str = "'***'";

/// What a personal access token begins with. Source: `tarn_control::TOKEN_PREFIX`.
const TOKEN_PREFIX: &str = "tarn_pat_";

/// Words without which a statement holds no secret that is known here.
const SUSPICIOUS: [&str; 6] = [
    "password",
    "identified",
    "user",
    "role",
    "service",
    TOKEN_PREFIX,
];

/// `sql` with `'***'` in place of every string that is, or may be, a password or a token.
pub fn redacted(sql: &str) -> Cow<'_, str> {
    let lower = sql.to_ascii_lowercase();
    if !SUSPICIOUS.iter().any(|word| lower.contains(word)) {
        return Cow::Borrowed(sql);
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect::default(), sql).tokenize_with_location();
    let Ok(tokens) = tokens else {
        // Where strings begin and end is unknown: nothing from the first one on is shown.
        let first = lower.find(['\'', '"', '$']).unwrap_or(sql.len());
        return Cow::Owned(format!("{}{HIDDEN}", &sql[..first]));
    };
    let secrets = secrets(&tokens, sql);
    if secrets.is_empty() {
        return Cow::Borrowed(sql);
    }
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for (start, end) in secrets {
        out.push_str(&sql[copied..start]);
        out.push_str(HIDDEN);
        copied = end;
    }
    out.push_str(&sql[copied..]);
    Cow::Owned(out)
}

/// Where the secrets stand, in bytes, in order.
fn secrets(tokens: &[TokenWithSpan], sql: &str) -> Vec<(usize, usize)> {
    let starts: Vec<usize> = sql.char_indices().map(|(at, _)| at).collect();
    let byte = |line: u64, column: u64| {
        let character = position_of(sql, line, column).unwrap_or(1) - 1;
        starts.get(character).copied().unwrap_or(sql.len())
    };
    let spoken: Vec<_> = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::Eq))
        .collect();
    let mut out = vec![];
    let mut begin = 0;
    for (at, token) in spoken.iter().enumerate() {
        if token.token == Token::SemiColon {
            begin = at + 1;
        }
        let Some(text) = string(&token.token) else {
            continue;
        };
        let before = |word: &str| at > begin && word_is(&spoken[at - 1].token, word);
        let is_word = matches!(token.token, Token::Word(_));
        let named = before("password") || before("identified") || before("by");
        // In a statement about a user a string in a wrong place may be a password, too.
        let known = before("comment") || before("until") || is_word;
        let stray = about_user(&spoken[begin..]) && !known;
        if named || stray || text.contains(TOKEN_PREFIX) {
            let span = token.span;
            out.push((
                byte(span.start.line, span.start.column),
                byte(span.end.line, span.end.column),
            ));
        }
    }
    out
}

/// Whether a statement creates or changes a user.
fn about_user(statement: &[&TokenWithSpan]) -> bool {
    let word = |at: usize, words: &[&str]| {
        let token = statement.get(at);
        token.is_some_and(|token| words.iter().any(|word| word_is(&token.token, word)))
    };
    word(0, &["create", "alter"]) && word(1, &["user", "role", "service"])
}

fn word_is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))
}

/// The text of a string in any of its forms. Double quotes are for those who mix them up.
fn string(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::DoubleQuotedString(text) => Some(text),
        Token::DollarQuotedString(text) => Some(&text.value),
        Token::Word(word) if word.quote_style.is_some() => Some(&word.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        assert_eq!(redacted(sql), expected);
    }

    #[test]
    fn passwords_and_tokens_are_hidden() {
        check(
            "CREATE USER ann PASSWORD 'hunter2' ADMIN",
            "CREATE USER ann PASSWORD '***' ADMIN",
        );
        check(
            "alter user \"größe\"\n  with encrypted password = E'hun\\'ter2' comment 'y'",
            "alter user \"größe\"\n  with encrypted password = '***' comment 'y'",
        );
        check(
            "ALTER USER a PASSWORD $$hunter2$$; ALTER USER b PASSWORD \"hunter2\"",
            "ALTER USER a PASSWORD '***'; ALTER USER b PASSWORD '***'",
        );
        check(
            "CREATE USER ann IDENTIFIED BY 'hunter2'",
            "CREATE USER ann IDENTIFIED BY '***'",
        );
        check("SELECT 'tarn_pat_abc', 'x'", "SELECT '***', 'x'");
        check(
            "CREATE USER ann PASSWORD 'hunter2",
            "CREATE USER ann PASSWORD '***'",
        );
        check(
            "SELECT 'x'; CREATE ROLE ann 'hunter2' VALID UNTIL 'x' 'hunter2'; SELECT 'y'",
            "SELECT 'x'; CREATE ROLE ann '***' VALID UNTIL 'x' '***'; SELECT 'y'",
        );
    }

    #[test]
    fn other_statements_stay_as_they_are() {
        for sql in [
            "SELECT 1",
            "SELECT password, 'x' FROM accounts",
            "SELECT 'the password is lost'",
            "SELECT * FROM users WHERE role = 'x'",
            "ALTER USER ann PASSWORD NULL",
            "SELECT 'unterminated",
        ] {
            check(sql, sql);
        }
    }
}
