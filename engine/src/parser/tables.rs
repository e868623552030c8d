//! `TABLE t`, which is `SELECT * FROM t` where a query may begin. Knows tokens only.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Words that a query may come after, besides the beginning of a statement and an opening parenthesis.
const BEFORE: [Keyword; 6] = [
    Keyword::UNION,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
    Keyword::ALL,
    Keyword::DISTINCT,
    Keyword::EXPLAIN,
];

/// Writes every such query out.
pub(super) fn complete(tokens: &mut Vec<TokenWithSpan>) {
    let mut begins = true;
    let mut at = 0;
    while at < tokens.len() {
        let next = match &tokens[at].token {
            Token::Whitespace(_) => {
                at += 1;
                continue;
            }
            Token::LParen | Token::SemiColon => true,
            Token::Word(word) if word.quote_style.is_none() => {
                if begins && word.keyword == Keyword::TABLE && names_follow(&tokens[at + 1..]) {
                    let span = tokens[at].span;
                    let written = [
                        keyword("SELECT", Keyword::SELECT),
                        Token::Mul,
                        keyword("FROM", Keyword::FROM),
                    ];
                    let written = written.map(|token| TokenWithSpan { token, span });
                    tokens.splice(at..=at, written);
                    at += 2;
                }
                BEFORE.contains(&word_at(tokens, at))
            }
            _ => false,
        };
        begins = next;
        at += 1;
    }
}

fn word_at(tokens: &[TokenWithSpan], at: usize) -> Keyword {
    match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Whether a name comes next.
fn names_follow(tokens: &[TokenWithSpan]) -> bool {
    let spoken = tokens
        .iter()
        .find(|token| !matches!(token.token, Token::Whitespace(_)));
    matches!(spoken.map(|token| &token.token), Some(Token::Word(_)))
}

fn keyword(text: &str, keyword: Keyword) -> Token {
    Token::Word(Word {
        value: text.to_owned(),
        quote_style: None,
        keyword,
    })
}

#[cfg(test)]
mod tests {
    use crate::parser::{Statement, parse};

    fn check(sql: &str, wanted: &str) {
        match parse(sql) {
            Ok(Statement::Query(query)) => assert_eq!(query.to_string(), wanted),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn a_table_is_a_query_where_one_may_begin() {
        check("TABLE s.t ORDER BY 1", "SELECT * FROM s.t ORDER BY 1");
        check(
            "SELECT 1 UNION ALL TABLE t",
            "SELECT 1 UNION ALL SELECT * FROM t",
        );
        check(
            "SELECT x IN (table t) FROM u",
            "SELECT x IN (SELECT * FROM t) FROM u",
        );
        assert!(matches!(
            parse("DROP TABLE t"),
            Ok(Statement::DropTable { .. })
        ));
        assert!(matches!(
            parse("EXPLAIN TABLE t"),
            Ok(Statement::Explain(_))
        ));
        assert!(parse("TABLE").is_err());
    }
}
