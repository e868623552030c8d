//! The grammar of columns whose types have types inside, which PostgreSQL's does not have.
//!
//! `struct<a: int, b text>`, `map<text, int>` and `array<int>`, as `DESCRIBE` and Spark write them, and with parentheses
//! as Trino does (`row(a int)`). Every other type is sqlparser's.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Grammar, Parsed};

/// A type, and brackets `>` of the types around it that its last token closed as well (`>>` is one token).
struct Nested {
    ty: ast::DataType,
    closed: usize,
}

/// What closes the list inside a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Angle,
    Round,
}

impl Grammar<'_> {
    /// `name type [options]`.
    pub(super) fn column_definition(&mut self) -> Parsed<ast::ColumnDef> {
        if !self.nested_ahead(1) {
            return Ok(self.parser.parse_column_def()?);
        }
        let name = self.parser.parse_identifier()?;
        let data_type = self.data_type()?;
        let mut options = vec![];
        while let Some(option) = self.parser.parse_optional_column_option()? {
            options.push(ast::ColumnOptionDef { name: None, option });
        }
        Ok(ast::ColumnDef {
            name,
            data_type,
            options,
        })
    }

    /// `(column, …, constraint, …)`.
    pub(super) fn column_list(
        &mut self,
    ) -> Parsed<(Vec<ast::ColumnDef>, Vec<ast::TableConstraint>)> {
        let (mut columns, mut constraints) = (vec![], vec![]);
        self.parser.expect_token(&Token::LParen)?;
        if self.parser.consume_token(&Token::RParen) {
            return Ok((columns, constraints));
        }
        loop {
            if let Some(constraint) = self.parser.parse_optional_table_constraint()? {
                constraints.push(constraint);
            } else if matches!(self.parser.peek_token().token, Token::Word(_)) {
                columns.push(self.column_definition()?);
            } else {
                return self.expected("column name or constraint definition");
            }
            if self.parser.consume_token(&Token::RParen) {
                return Ok((columns, constraints));
            }
            if !self.parser.consume_token(&Token::Comma) {
                return self.expected("',' or ')' after column definition");
            }
        }
    }

    /// A type, with types inside or not.
    pub(super) fn data_type(&mut self) -> Parsed<ast::DataType> {
        let nested = self.nested()?;
        if nested.closed > 0 {
            return self.expected("no further >");
        }
        Ok(nested.ty)
    }

    /// Whether a type with types inside begins `at` tokens ahead.
    fn nested_ahead(&self, at: usize) -> bool {
        let opens = matches!(
            self.parser.peek_nth_token(at + 1).token,
            Token::Lt | Token::LParen
        );
        opens
            && ["STRUCT", "ROW", "MAP", "ARRAY"]
                .iter()
                .any(|word| self.ahead(at, &[word]))
    }

    fn nested(&mut self) -> Parsed<Nested> {
        if !self.nested_ahead(0) {
            let ty = self.parser.parse_data_type()?;
            return Ok(Nested { ty, closed: 0 });
        }
        let is_map = self.ahead(0, &["MAP"]);
        let is_list = self.ahead(0, &["ARRAY"]);
        self.parser.next_token();
        let bracket = if self.parser.consume_token(&Token::Lt) {
            Bracket::Angle
        } else {
            self.parser.expect_token(&Token::LParen)?;
            Bracket::Round
        };
        let (ty, mut closed) = if is_map {
            let key = self.nested()?;
            if key.closed > 0 || !self.parser.consume_token(&Token::Comma) {
                return self.expected("a comma and the type of the map's values");
            }
            let value = self.nested()?;
            let ty = ast::DataType::Map(Box::new(key.ty), Box::new(value.ty));
            (ty, value.closed)
        } else if is_list {
            let element = self.nested()?;
            let element_type = ast::ArrayElemTypeDef::AngleBracket(Box::new(element.ty));
            (ast::DataType::Array(element_type), element.closed)
        } else {
            let (fields, closed) = self.struct_fields()?;
            let ty = ast::DataType::Struct(fields, ast::StructBracketKind::AngleBrackets);
            (ty, closed)
        };
        closed = self.close(bracket, closed)?;
        let mut ty = ty;
        while closed == 0 && self.parser.consume_token(&Token::LBracket) {
            self.parser.expect_token(&Token::RBracket)?;
            ty = ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(ty), None));
        }
        Ok(Nested { ty, closed })
    }

    /// `a: int, b text`; the brackets that the last type closed besides its own.
    fn struct_fields(&mut self) -> Parsed<(Vec<ast::StructField>, usize)> {
        let mut fields = vec![];
        loop {
            let name = self.parser.parse_identifier()?;
            let _ = self.parser.consume_token(&Token::Colon);
            let field = self.nested()?;
            fields.push(ast::StructField {
                field_name: Some(name),
                field_type: field.ty,
                options: None,
            });
            if field.closed > 0 || !self.parser.consume_token(&Token::Comma) {
                return Ok((fields, field.closed));
            }
        }
    }

    /// Closes one bracket; how many more are closed by the token that did.
    fn close(&mut self, bracket: Bracket, closed: usize) -> Parsed<usize> {
        match (bracket, closed) {
            (Bracket::Angle, 1..) => Ok(closed - 1),
            (Bracket::Round, 0) => {
                self.parser.expect_token(&Token::RParen)?;
                Ok(0)
            }
            (Bracket::Angle, 0) => {
                let text = self.parser.peek_token().token.to_string();
                if text.is_empty() || text.chars().any(|c| c != '>') {
                    return self.expected(">");
                }
                self.parser.next_token();
                Ok(text.len() - 1)
            }
            (Bracket::Round, _) => self.expected(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parser::{Statement, parse};

    fn types(list: &str) -> Vec<String> {
        let Ok(Statement::CreateTable(create)) = parse(&format!("CREATE TABLE t ({list})")) else {
            panic!("{list} is no list of columns")
        };
        let columns = create.columns.iter();
        columns.map(|column| column.data_type.to_string()).collect()
    }

    #[test]
    fn types_have_types_inside() {
        let columns = "a struct<x: int, y map<text, array<bigint>>> NOT NULL, b int, \
                       c row(x int, y row(z text)), d map(text, int[]), e array<array<int>>, \
                       f struct<u uuid>[], g map<text, struct<x: struct<y: int>>>";
        assert_eq!(types(columns).len(), 7);
        assert_eq!(types("e array<array<int>>"), ["ARRAY<ARRAY<INT>>"]);
        assert_eq!(types("map int, row text"), ["INT", "TEXT"]);
    }

    #[test]
    fn brackets_that_do_not_match_are_refused() {
        for wrong in [
            "a struct<x int",
            "a struct<x int)",
            "a array<int>>",
            "a row(x array<int>>)",
            "a map<int>",
            "a struct<int>",
        ] {
            assert!(
                parse(&format!("CREATE TABLE t ({wrong})")).is_err(),
                "{wrong}"
            );
        }
    }
}
