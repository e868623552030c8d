//! Statements too long for a stack. Knows tokens only.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{EngineError, ErrorKind};

/// Operators in one expression at most, and set operations in one statement. Plans are trees that
/// are walked recursively; a longer chain would need more stack than a thread has.
const CHAIN_MAX: usize = 2500;
const SET_OPERATIONS_MAX: usize = 500;

/// Refuses chains of operators and set operations that are too long to be planned.
pub(crate) fn refuse(sql: &str) -> Result<(), EngineError> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize()
        .map_err(|e| EngineError::from_parser(&e.into(), sql))?;
    let mut chains = vec![0usize];
    let mut set_operations = 0usize;
    for token in &tokens {
        match token {
            Token::LParen | Token::LBracket => chains.push(0),
            Token::RParen | Token::RBracket if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma | Token::SemiColon => {
                if let Some(last) = chains.last_mut() {
                    *last = 0;
                }
            }
            Token::Word(w) => match w.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => set_operations += 1,
                Keyword::AND | Keyword::OR | Keyword::NOT => {
                    if let Some(last) = chains.last_mut() {
                        *last += 1;
                    }
                }
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::DoubleColon => {
                if let Some(last) = chains.last_mut() {
                    *last += 1;
                }
            }
            _ => {}
        }
        if chains.last().is_some_and(|n| *n > CHAIN_MAX) {
            return Err(EngineError::new(
                ErrorKind::TooComplex,
                format!("an expression chains more than {CHAIN_MAX} operators"),
            )
            .with_hint("use IN (…), VALUES or a table instead of a long chain"));
        }
        if set_operations > SET_OPERATIONS_MAX {
            return Err(EngineError::new(
                ErrorKind::TooComplex,
                format!("the statement has more than {SET_OPERATIONS_MAX} set operations"),
            )
            .with_hint("use VALUES or a table instead of a long UNION"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, wanted: Option<ErrorKind>) {
        assert_eq!(
            refuse(sql).err().map(|e| e.kind),
            wanted,
            "{} characters",
            sql.len()
        );
    }

    #[test]
    fn long_chains_are_refused_and_long_lists_are_not() {
        let chain = |part: &str, n: usize| format!("SELECT 1{}", part.repeat(n));
        check(&chain(" OR 1=1", 3000), Some(ErrorKind::TooComplex));
        check(&chain("::int", 3000), Some(ErrorKind::TooComplex));
        check(
            &chain(" UNION ALL SELECT 1", 600),
            Some(ErrorKind::TooComplex),
        );
        check(&chain(" OR 1=1", 2000), None);
        check(&chain(", -1 + 2", 50_000), None);
        check(&format!("VALUES (1{})", "), (-1".repeat(50_000)), None);
    }
}
