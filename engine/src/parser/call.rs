//! The grammar of CALL.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Grammar, Parsed, fold};
use crate::error::EngineError;
use crate::procedures;
use crate::statement::{Call, Statement};

impl Grammar<'_> {
    pub(super) fn call(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        let name = self.name()?;
        self.parser.expect_token(&Token::LParen)?;
        let mut arguments = vec![];
        while !self.parser.consume_token(&Token::RParen) {
            if !arguments.is_empty() {
                self.parser.expect_token(&Token::Comma)?;
            }
            let arrow = &self.parser.peek_nth_token(1).token;
            let name = if matches!(arrow, Token::RArrow | Token::Assignment) {
                let name = fold(&self.parser.parse_identifier()?);
                self.parser.next_token();
                Some(name)
            } else {
                None
            };
            let value = self.parser.parse_expr()?;
            if !procedures::is_literal(&value) {
                return Err(EngineError::unsupported(format!(
                    "CALL with an argument that is no literal ({value})"
                ))
                .into());
            }
            arguments.push((name, value));
        }
        Ok(Statement::Call(Call { name, arguments }))
    }
}
