//! `t FOR VERSION AS OF 7`, `t FOR TIMESTAMP AS OF x` and `t@branch` in the words that sqlparser knows.
//!
//! All become `FOR SYSTEM_TIME AS OF expression`; a version is marked by a function call around it. `t@branch` becomes
//! one quoted name. Knows tokens only.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::trims::spoken;

/// The function that marks a snapshot's id, or the name of a branch or tag.
pub(crate) const VERSION_FUNCTION: &str = "tarn_version";

/// Rewrites every such place; whether there was one with FOR.
pub(super) fn mark(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let mut found = false;
    let mut at = 0;
    while at < tokens.len() {
        if let Some(joined) = at_branch(tokens, at) {
            tokens[at].token = joined;
            tokens.drain(at + 1..at + 3);
        } else if is_word(tokens, at, &["FOR"]) {
            let kind = spoken(tokens, at + 1);
            let a = spoken(tokens, kind + 1);
            let of = spoken(tokens, a + 1);
            let of_what = spoken(tokens, of + 1);
            let version = is_word(tokens, kind, &["VERSION", "SYSTEM_VERSION"]);
            let time = is_word(tokens, kind, &["TIMESTAMP", "SYSTEM_TIME"]);
            if (version || time) && is_word(tokens, a, &["AS"]) && is_word(tokens, of, &["OF"]) {
                found = true;
                tokens[kind].token = Token::make_keyword("SYSTEM_TIME");
                if version && of_what < tokens.len() {
                    wrap(tokens, of_what);
                }
            }
        }
        at += 1;
    }
    found
}

/// A literal, `-5` also, as the argument of the marking function.
fn wrap(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let mut end = at;
    if tokens[at].token == Token::Minus {
        end = spoken(tokens, at + 1);
    }
    let span = tokens[at].span;
    let put = |tokens: &mut Vec<TokenWithSpan>, at: usize, token| {
        let at = at.min(tokens.len());
        tokens.insert(at, TokenWithSpan { token, span });
    };
    put(tokens, end + 1, Token::RParen);
    put(tokens, at, Token::LParen);
    put(tokens, at, Token::make_word(VERSION_FUNCTION, None));
}

/// The name `t@branch` whose table is at `at`, if it is one: nothing stands between its parts.
fn at_branch(tokens: &[TokenWithSpan], at: usize) -> Option<Token> {
    let [
        TokenWithSpan {
            token: Token::Word(table),
            ..
        },
        TokenWithSpan {
            token: Token::AtSign,
            ..
        },
        TokenWithSpan {
            token: Token::Word(branch),
            ..
        },
    ] = tokens.get(at..at + 3)?
    else {
        return None;
    };
    let name = format!("{}@{}", folded(table), folded(branch));
    Some(Token::make_word(&name, Some('"')))
}

fn folded(word: &Word) -> String {
    match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_lowercase(),
    }
}

fn is_word(tokens: &[TokenWithSpan], at: usize, words: &[&str]) -> bool {
    matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word))
        if word.quote_style.is_none()
            && words.iter().any(|wanted| word.value.eq_ignore_ascii_case(wanted)))
}

#[cfg(test)]
mod tests {
    use crate::parser::{Statement, parse};

    fn check(sql: &str, expected: &str) {
        match parse(sql) {
            Ok(Statement::Query(query)) => assert_eq!(query.to_string(), expected, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn versions_stand_behind_names() {
        check(
            "SELECT * FROM a.t FOR VERSION AS OF -7 AS x JOIN u FOR TIMESTAMP AS OF now() y ON true",
            "SELECT * FROM a.t AS x FOR SYSTEM_TIME AS OF tarn_version(-7) JOIN u y FOR SYSTEM_TIME AS OF now() ON true",
        );
        check(
            "select 1 from t for version as of 'v 1'",
            "SELECT 1 FROM t FOR SYSTEM_TIME AS OF tarn_version('v 1')",
        );
    }

    #[test]
    fn a_branch_is_part_of_the_name() {
        check(
            "SELECT * FROM T@Dev, t@\"Dev\"",
            "SELECT * FROM \"t@dev\", \"t@Dev\"",
        );
    }

    #[test]
    fn other_words_stay_what_they_are() {
        check("SELECT at.x FROM t at", "SELECT at.x FROM t at");
        check("SELECT version FROM t", "SELECT version FROM t");
        check("SELECT @ -5, a @> b", "SELECT @-5, a @> b");
    }
}
