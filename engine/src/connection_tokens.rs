//! The words of a statement about the connection.
//!
//! Knows SQL's tokens and where they stand, not what they mean.

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{EngineError, ErrorKind, position_of};

/// The words of a statement, one after the other.
pub(crate) struct Tokens<'a> {
    sql: &'a str,
    all: Vec<TokenWithSpan>,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn of(sql: &'a str) -> Result<Self, EngineError> {
        let tokens = Tokenizer::new(&PostgreSqlDialect::default(), sql)
            .tokenize_with_location()
            .map_err(|error| EngineError::from_parser(&error.into(), sql))?;
        let tokens = tokens
            .into_iter()
            .filter(|t| !matches!(t.token, Token::Whitespace(_)))
            .collect();
        Ok(Self {
            sql,
            all: tokens,
            at: 0,
        })
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.all.get(self.at).map(|t| &t.token)
    }

    pub(crate) fn peek_second(&self) -> Option<&Token> {
        self.all.get(self.at + 1).map(|t| &t.token)
    }

    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    pub(crate) fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.skip();
        }
        found
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w))
            if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    pub(crate) fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.skip();
        }
        found
    }

    pub(crate) fn words(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        for word in words {
            if !self.word(word) {
                self.at = start;
                return false;
            }
        }
        true
    }

    /// A name, folded unless it is quoted.
    pub(crate) fn name(&mut self) -> Result<String, EngineError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let name = if word.quote_style.is_some() {
                    word.value.clone()
                } else {
                    word.value.to_lowercase()
                };
                self.skip();
                Ok(name)
            }
            _ => self.expected("a name"),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, EngineError> {
        match self.peek() {
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => {
                let text = text.clone();
                self.skip();
                Ok(text)
            }
            _ => self.expected("a text in quotes"),
        }
    }

    pub(crate) fn number(&mut self) -> Result<Option<i64>, EngineError> {
        let start = self.at;
        let negative = self.take(&Token::Minus);
        if !negative {
            self.take(&Token::Plus);
        }
        let Some(Token::Number(digits, _)) = self.peek() else {
            self.at = start;
            return Ok(None);
        };
        let Ok(number) = digits.parse::<i64>() else {
            return self.expected("a whole number");
        };
        self.skip();
        Ok(Some(if negative { -number } else { number }))
    }

    /// The text of the tokens from `from` up to (without) `to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        let start = self.byte_of(from);
        let end = self.byte_of(to);
        self.sql.get(start..end).unwrap_or("").trim()
    }

    fn byte_of(&self, token: usize) -> usize {
        let place = self
            .all
            .get(token)
            .and_then(|t| position_of(self.sql, t.span.start.line, t.span.start.column));
        place
            .and_then(|chars| self.sql.char_indices().nth(chars - 1))
            .map_or(self.sql.len(), |(byte, _)| byte)
    }

    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// Everything that is left, without closing semicolons.
    pub(crate) fn rest(&mut self) -> Result<String, EngineError> {
        let from = self.at;
        let mut to = self.all.len();
        while to > from && self.all[to - 1].token == Token::SemiColon {
            to -= 1;
        }
        self.at = self.all.len();
        if from == to {
            self.at = from;
            return self.expected("a statement");
        }
        Ok(self.slice(from, to).to_owned())
    }

    /// Past the parenthesis that closes the one before: the texts between commas.
    pub(crate) fn parts(&mut self) -> Result<Vec<String>, EngineError> {
        let mut parts = vec![];
        let mut depth = 0_usize;
        let mut from = self.at;
        loop {
            match self.peek() {
                None | Some(Token::SemiColon) => return self.expected(")"),
                Some(Token::LParen | Token::LBracket) => depth += 1,
                Some(Token::RParen) if depth == 0 => break,
                Some(Token::RParen | Token::RBracket) => depth = depth.saturating_sub(1),
                Some(Token::Comma) if depth == 0 => {
                    parts.push(self.slice(from, self.at).to_owned());
                    from = self.at + 1;
                }
                Some(_) => {}
            }
            self.skip();
        }
        let last = self.slice(from, self.at);
        if !last.is_empty() || !parts.is_empty() {
            parts.push(last.to_owned());
        }
        self.skip();
        Ok(parts)
    }

    pub(crate) fn end(&mut self) -> Result<(), EngineError> {
        while self.take(&Token::SemiColon) {}
        if self.peek().is_none() {
            return Ok(());
        }
        self.expected("end of statement")
    }

    pub(crate) fn expected<T>(&self, what: &str) -> Result<T, EngineError> {
        let found = self
            .peek()
            .map_or_else(|| "end of statement".to_owned(), ToString::to_string);
        let mut error = EngineError::new(
            ErrorKind::Syntax,
            format!("syntax error: expected: {what}, found: {found}"),
        );
        error.position = match self.all.get(self.at) {
            Some(token) => position_of(self.sql, token.span.start.line, token.span.start.column),
            None => Some(self.sql.chars().count() + 1),
        };
        Err(error)
    }
}
