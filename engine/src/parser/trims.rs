//! `trim(trailing FROM x)` and `trim(FROM x)`: what is trimmed is left out, which sqlparser does not take.
//!
//! A space is put in its place, as PostgreSQL means it. Knows tokens only.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Completes every such call.
pub(super) fn complete(tokens: &mut Vec<TokenWithSpan>) {
    let is = |at: usize, keywords: &[Keyword], tokens: &[TokenWithSpan]| {
        matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word))
            if word.quote_style.is_none() && keywords.contains(&word.keyword))
    };
    let mut at = 0;
    while at < tokens.len() {
        if is(at, &[Keyword::TRIM], tokens) {
            let paren = spoken(tokens, at + 1);
            if tokens.get(paren).is_some_and(|t| t.token == Token::LParen) {
                let mut from = spoken(tokens, paren + 1);
                let sides = [Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING];
                if is(from, &sides, tokens) {
                    from = spoken(tokens, from + 1);
                }
                if is(from, &[Keyword::FROM], tokens) {
                    let space = TokenWithSpan {
                        token: Token::SingleQuotedString(" ".to_owned()),
                        span: tokens[from].span,
                    };
                    tokens.insert(from, space);
                }
            }
        }
        at += 1;
    }
}

/// The next token from `at` that is no space or comment.
pub(super) fn spoken(tokens: &[TokenWithSpan], at: usize) -> usize {
    tokens
        .iter()
        .skip(at)
        .take_while(|token| matches!(token.token, Token::Whitespace(_)))
        .count()
        + at
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
    fn what_is_trimmed_may_be_left_out() {
        check(
            "SELECT length(trim(trailing from 'abc'))",
            "SELECT length(TRIM(TRAILING ' ' FROM 'abc'))",
        );
        check("SELECT trim( FROM x)", "SELECT TRIM(' ' FROM x)");
        check(
            "SELECT trim(BOTH 'y' FROM x), trim(x), \"trim\" FROM t",
            "SELECT TRIM(BOTH 'y' FROM x), TRIM(x), \"trim\" FROM t",
        );
    }
}
