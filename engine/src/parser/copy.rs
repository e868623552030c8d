//! The grammar of `COPY … TO 'file'`: what is copied, where to, and options as they stand.

use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Grammar, Parsed, PostgreSqlDialect, fold};
use crate::error::EngineError;
use crate::statement::{CopyTo, Statement};

impl Grammar<'_> {
    /// `COPY {table [(columns)] | (query)} TO 'path' [WITH] (option [value], …)`
    pub(super) fn copy(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        let query = if self.parser.consume_token(&Token::LParen) {
            let query = self.parser.parse_query()?;
            self.parser.expect_token(&Token::RParen)?;
            ast::Statement::Query(query)
        } else {
            let name = self.parser.parse_object_name(false)?;
            let mut columns = vec![];
            if self.parser.consume_token(&Token::LParen) {
                columns = self
                    .parser
                    .parse_comma_separated(Parser::parse_identifier)?;
                self.parser.expect_token(&Token::RParen)?;
            }
            whole_table(&name, &columns)?
        };
        if self.word("FROM") {
            return Err(EngineError::unsupported("COPY FROM")
                .with_hint(
                    "INSERT INTO table SELECT * FROM read_csv('path') reads files of allowed roots; \\copy of psql and COPY FROM STDIN those of a client of the PostgreSQL door",
                )
                .into());
        }
        if !self.word("TO") {
            return self.expected("TO");
        }
        if self.peek_word("STDOUT") {
            return Err(EngineError::unsupported("COPY TO STDOUT at this door")
                .with_hint("SELECT the rows, or use the PostgreSQL door")
                .into());
        }
        if self.peek_word("PROGRAM") {
            return Err(EngineError::unsupported("COPY TO PROGRAM").into());
        }
        let target = self.parser.parse_literal_string()?;
        let mut options = vec![];
        self.word("WITH");
        if self.parser.consume_token(&Token::LParen) {
            while !self.parser.consume_token(&Token::RParen) {
                if !options.is_empty() {
                    self.parser.expect_token(&Token::Comma)?;
                }
                options.push(self.copy_option()?);
            }
        } else if !self.at_end() && self.parser.peek_token().token != Token::SemiColon {
            return self.expected("(option value, …)");
        }
        Ok(Statement::CopyTo(Box::new(CopyTo {
            query,
            target,
            options,
        })))
    }

    /// A name in small letters with what follows it.
    fn copy_option(&mut self) -> Parsed<(String, Vec<String>)> {
        let name = self.parser.parse_identifier()?.value.to_lowercase();
        let _ = self.parser.consume_token(&Token::Eq);
        let mut values = vec![];
        if self.parser.consume_token(&Token::LParen) {
            loop {
                match self.copy_value() {
                    Some(value) => values.push(value),
                    None => return self.expected("a value"),
                }
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
        } else if let Some(value) = self.copy_value() {
            values.push(value);
        }
        Ok((name, values))
    }

    fn copy_value(&mut self) -> Option<String> {
        let value = match self.parser.peek_token().token {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::Number(text, _) => text,
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            Token::Word(word) => word.value,
            Token::Mul => "*".to_owned(),
            _ => return None,
        };
        self.parser.next_token();
        Some(value)
    }
}

/// The query that reads all of a table.
fn whole_table(name: &ObjectName, columns: &[Ident]) -> Parsed<ast::Statement> {
    let list = if columns.is_empty() {
        "*".to_owned()
    } else {
        columns
            .iter()
            .map(|column| Ident::with_quote('"', fold(column)).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let text = format!("SELECT {list} FROM {name}");
    let dialect = PostgreSqlDialect::default();
    let mut parser = Parser::new(&dialect).try_with_sql(&text)?;
    Ok(ast::Statement::Query(parser.parse_query()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::parser::parse;

    fn check(sql: &str) -> CopyTo {
        match parse(sql) {
            Ok(Statement::CopyTo(copy)) => *copy,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn a_query_and_a_table_are_copied() {
        let copy = check(
            "COPY (SELECT 1 AS a) TO '/d/x' (FORMAT parquet, PARTITION_BY (a, \"B\"), HEADER, DELIMITER ';', OVERWRITE true);",
        );
        assert_eq!(copy.target, "/d/x");
        let option = |name: &str, values: &[&str]| {
            (
                name.to_owned(),
                values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            copy.options,
            [
                option("format", &["parquet"]),
                option("partition_by", &["a", "B"]),
                option("header", &[]),
                option("delimiter", &[";"]),
                option("overwrite", &["true"]),
            ]
        );
        let copy = check("copy lake.main.\"T\" (a, \"b\"\"c\") to '/d/x.csv'");
        assert_eq!(
            copy.query.to_string(),
            "SELECT \"a\", \"b\"\"c\" FROM lake.main.\"T\""
        );
    }

    #[test]
    fn what_is_not_done_says_what_is() {
        let check = |sql: &str, kind: ErrorKind| assert_eq!(parse(sql).unwrap_err().kind, kind);
        check("COPY t FROM '/etc/passwd'", ErrorKind::Unsupported);
        check("COPY t TO STDOUT", ErrorKind::Unsupported);
        check("COPY t TO PROGRAM 'ls'", ErrorKind::Unsupported);
        check("COPY t TO '/x' FORMAT csv", ErrorKind::Syntax);
        check("COPY (DROP TABLE t) TO '/x'", ErrorKind::Syntax);
    }
}
