//! Statements too long for a stack. Knows tokens only.

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{EngineError, ErrorKind};

/// Operators of one expression, and set operations of one statement, at most. Plans are trees that
/// are walked recursively; a longer chain would need more stack than a thread has.
const CHAIN_MAX: usize = 2500;
const SET_OPERATIONS_MAX: usize = 500;
/// Sums and products cost more to plan: the time grows faster than with the square of the chain.
const ARITHMETIC_MAX: usize = 250;

/// Lists within lists, and subqueries within expressions of each other, at most: the time to plan them
/// grows with their types and doubles with each subquery.
const LISTS_MAX: usize = 32;
const SUBQUERIES_MAX: usize = 10;

/// Operators of one expression so far.
#[derive(Clone, Copy, Default)]
struct Chain {
    operators: usize,
    arithmetic: usize,
}

/// Refuses chains of operators and set operations that are too long to be planned.
///
/// # Errors
/// [`ErrorKind::TooComplex`], or [`ErrorKind::Syntax`] if the text has no tokens.
pub(crate) fn refuse(sql: &str) -> Result<(), EngineError> {
    let dialect = PostgreSqlDialect::default();
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize()
        .map_err(|e| EngineError::from_parser(&e.into(), sql))?;
    let mut outer: Vec<Chain> = vec![];
    let mut chain = Chain::default();
    let mut set_operations = 0usize;
    let mut nesting = Nesting::default();
    for token in tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
    {
        nesting.take(token)?;
        match token {
            Token::LParen | Token::LBracket => outer.push(std::mem::take(&mut chain)),
            Token::RParen | Token::RBracket => chain = outer.pop().unwrap_or_default(),
            Token::Comma | Token::SemiColon => chain = Chain::default(),
            Token::Word(w) => match w.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => set_operations += 1,
                Keyword::AND | Keyword::OR | Keyword::NOT => {
                    chain.operators += 1;
                    chain.arithmetic = 0;
                }
                _ => {}
            },
            Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod => {
                chain.operators += 1;
                chain.arithmetic += 1;
            }
            Token::StringConcat | Token::DoubleColon => chain.operators += 1,
            _ => {}
        }
        let longest = if chain.arithmetic > ARITHMETIC_MAX {
            Some(ARITHMETIC_MAX)
        } else {
            (chain.operators > CHAIN_MAX).then_some(CHAIN_MAX)
        };
        if let Some(max) = longest {
            return Err(EngineError::new(
                ErrorKind::TooComplex,
                format!("an expression chains more than {max} operators"),
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

/// What is open where a token stands.
#[derive(Default)]
struct Nesting {
    open: Vec<Open>,
    lists: usize,
    subqueries: usize,
    before: Before,
}

/// What stands before a token, as far as it matters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Before {
    Parenthesis,
    /// A word after which a table is expected: subqueries there do not multiply.
    Table,
    #[default]
    Other,
}

impl Before {
    fn of(token: &Token) -> Self {
        match token {
            Token::LParen => Self::Parenthesis,
            Token::Word(word)
                if matches!(
                    word.keyword,
                    Keyword::FROM | Keyword::JOIN | Keyword::LATERAL | Keyword::AS
                ) =>
            {
                Self::Table
            }
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    /// A parenthesis, and whether it can hold a subquery of an expression.
    Parenthesis(bool),
    Subquery,
}

impl Nesting {
    fn take(&mut self, token: &Token) -> Result<(), EngineError> {
        match token {
            Token::LBracket => {
                self.open.push(Open::List);
                self.lists += 1;
            }
            Token::LParen => {
                let expression = self.before != Before::Table;
                self.open.push(Open::Parenthesis(expression));
            }
            Token::RParen | Token::RBracket => match self.open.pop() {
                Some(Open::List) => self.lists -= 1,
                Some(Open::Subquery) => self.subqueries -= 1,
                _ => {}
            },
            Token::Word(word)
                if matches!(word.keyword, Keyword::SELECT | Keyword::WITH)
                    && self.before == Before::Parenthesis =>
            {
                if let Some(open @ Open::Parenthesis(true)) = self.open.last_mut() {
                    *open = Open::Subquery;
                    self.subqueries += 1;
                }
            }
            _ => {}
        }
        self.before = Before::of(token);
        let refused = |what: &str, max: usize| {
            let text = format!("the statement nests more than {max} {what}");
            Err(EngineError::new(ErrorKind::TooComplex, text)
                .with_hint("split it with WITH or a view"))
        };
        if self.lists > LISTS_MAX {
            return refused("lists", LISTS_MAX);
        }
        if self.subqueries > SUBQUERIES_MAX {
            return refused("subqueries in expressions", SUBQUERIES_MAX);
        }
        Ok(())
    }
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
        check(&chain("+1", 300), Some(ErrorKind::TooComplex));
        check(&chain("+1 OR 1=1", 1000), None);
        check(
            &chain(" UNION ALL SELECT 1", 600),
            Some(ErrorKind::TooComplex),
        );
        check(&chain(" OR 1=1", 2000), None);
        check(&chain(", -1 + 2", 50_000), None);
        check(&format!("VALUES (1{})", "), (-1".repeat(50_000)), None);
    }

    #[test]
    fn deep_lists_and_subqueries_are_refused_and_many_beside_each_other_are_not() {
        let nest = |open: &str, n: usize, close: &str| {
            format!("SELECT {}1{}", open.repeat(n), close.repeat(n))
        };
        check(&nest("ARRAY[", 33, "]"), Some(ErrorKind::TooComplex));
        check(&nest("ARRAY[", 32, "]"), None);
        check(&nest("(SELECT ", 11, ")"), Some(ErrorKind::TooComplex));
        check(
            &nest("EXISTS (SELECT ", 11, ")"),
            Some(ErrorKind::TooComplex),
        );
        check(&nest("* FROM (SELECT ", 40, ")"), None);
        check(&format!("SELECT {}1", "(SELECT 1), ".repeat(500)), None);
        check(&format!("SELECT {}1", "ARRAY[1], ".repeat(500)), None);
    }
}
