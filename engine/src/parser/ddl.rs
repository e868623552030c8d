//! The grammar of views, of ALTER, COMMENT and TRUNCATE, and of what CREATE TABLE lists: columns, keys, partitions.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Token;
use tarn_catalog::{ColumnPath, PartitionFieldDef, SortFieldDef, Transform};

use super::{Grammar, Parsed, fold, fold_name};
use crate::error::{EngineError, ErrorKind};
use crate::parser::Name;
use crate::statement::{
    Alter, AlterAction, ColumnChange, Commented, CreateTable, CreateView, Statement, ViewColumn,
};

impl Grammar<'_> {
    /// `[OR REPLACE] [TEMPORARY] [RECURSIVE] {TABLE|VIEW} …` behind CREATE; `None` if it is neither, with
    /// nothing consumed.
    pub(super) fn create_relation(&mut self) -> Parsed<Option<Statement>> {
        let mut words = 1;
        let or_replace = self.ahead(words, &["OR", "REPLACE"]);
        words += 2 * usize::from(or_replace);
        let mut temporary = false;
        for word in ["LOCAL", "GLOBAL", "TEMP", "TEMPORARY", "UNLOGGED"] {
            if self.ahead(words, &[word]) {
                temporary |= word.starts_with("TEMP");
                words += 1;
            }
        }
        let recursive = self.ahead(words, &["RECURSIVE"]);
        let kind = words + usize::from(recursive);
        let view = self.ahead(kind, &["VIEW"]);
        if !view && !self.ahead(kind, &["TABLE"]) {
            return Ok(None);
        }
        for _ in 0..=kind {
            self.parser.next_token();
        }
        if recursive {
            return Err(EngineError::unsupported("CREATE RECURSIVE VIEW")
                .with_hint("use CREATE VIEW … AS WITH RECURSIVE …")
                .into());
        }
        if view {
            return self.create_view(or_replace, temporary).map(Some);
        }
        self.create_table(or_replace, temporary).map(Some)
    }

    /// Whether the words stand `at` tokens ahead.
    pub(super) fn ahead(&self, at: usize, words: &[&str]) -> bool {
        words.iter().zip(at..).all(|(word, at)| {
            matches!(&self.parser.peek_nth_token(at).token,
                Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
        })
    }

    fn create_view(&mut self, or_replace: bool, temporary: bool) -> Parsed<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let columns = self.view_columns()?;
        let mut comment = None;
        let mut properties = HashMap::new();
        loop {
            if self.word("COMMENT") {
                comment = Some(self.parser.parse_literal_string()?);
            } else if self.word("WITH") || self.word("TBLPROPERTIES") {
                properties.extend(self.properties()?);
            } else {
                break;
            }
        }
        // What PostgreSQL's planner takes to heart is no property of an Iceberg view.
        properties.retain(|key, _| !key.starts_with("security_") && key != "check_option");
        if !self.word("AS") {
            return self.expected("AS query");
        }
        let (query, text) = self.view_query()?;
        if self.parser.peek_keyword(Keyword::WITH) {
            self.parser.next_token();
            if self.words(&["NO", "SCHEMA", "BINDING"]) {
            } else if self.ahead(0, &["CHECK", "OPTION"]) || self.ahead(1, &["CHECK", "OPTION"]) {
                return Err(EngineError::unsupported("CREATE VIEW … WITH CHECK OPTION").into());
            } else {
                return self.expected("NO SCHEMA BINDING");
            }
        }
        Ok(Statement::CreateView(Box::new(CreateView {
            name,
            or_replace,
            alter: false,
            if_not_exists,
            temporary,
            columns,
            comment,
            properties,
            query,
            text,
        })))
    }

    /// The query of a view, with its text.
    fn view_query(&mut self) -> Parsed<(Box<ast::Statement>, String)> {
        let start = self.place();
        let query = self.parser.parse_query()?;
        let text = self.text_from(start);
        Ok((Box::new(ast::Statement::Query(query)), text))
    }

    fn view_columns(&mut self) -> Parsed<Vec<ViewColumn>> {
        let mut columns = vec![];
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(columns);
        }
        loop {
            let name = fold(&self.parser.parse_identifier()?);
            let comment = if self.word("COMMENT") {
                Some(self.parser.parse_literal_string()?)
            } else {
                None
            };
            columns.push(ViewColumn { name, comment });
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(columns)
    }

    /// Where the next token begins, in characters from 0.
    fn place(&self) -> usize {
        let start = self.parser.peek_token().span.start;
        crate::error::position_of(self.sql, start.line, start.column)
            .map_or(0, |position| position.saturating_sub(1))
    }

    /// The text from `start` to the next token.
    fn text_from(&self, start: usize) -> String {
        let end = match self.parser.peek_token().token {
            Token::EOF => usize::MAX,
            _ => self.place(),
        };
        let text: String = self
            .sql
            .chars()
            .skip(start)
            .take(end.saturating_sub(start))
            .collect();
        text.trim().to_owned()
    }

    pub(super) fn drop_view(&mut self) -> Parsed<Statement> {
        let if_exists = self.words(&["IF", "EXISTS"]);
        let names = self.names()?;
        // Names in views are looked up when they are read: nothing hangs on a view.
        let _ = self.word("CASCADE") || self.word("RESTRICT");
        Ok(Statement::DropView { names, if_exists })
    }

    pub(super) fn alter(&mut self) -> Parsed<Statement> {
        let view = self.words(&["ALTER", "VIEW"]);
        if !view && !self.words(&["ALTER", "TABLE"]) {
            return self.sql_statement();
        }
        let if_exists = self.words(&["IF", "EXISTS"]);
        let _ = self.word("ONLY");
        let name = self.name()?;
        if view && !if_exists && self.word("AS") {
            let (query, text) = self.view_query()?;
            return Ok(Statement::CreateView(Box::new(CreateView {
                name,
                or_replace: true,
                alter: true,
                if_not_exists: false,
                temporary: false,
                columns: vec![],
                comment: None,
                properties: HashMap::new(),
                query,
                text,
            })));
        }
        let action = self.alter_action()?;
        Ok(Statement::Alter(Box::new(Alter {
            view,
            name,
            if_exists,
            action,
        })))
    }

    fn alter_action(&mut self) -> Parsed<AlterAction> {
        if self.words(&["RENAME", "TO"]) {
            return Ok(AlterAction::Rename(self.name()?));
        }
        if self.word("RENAME") {
            let _ = self.word("COLUMN");
            let column = self.column_path()?;
            if !self.word("TO") {
                return self.expected("TO new_name");
            }
            let to = fold(&self.parser.parse_identifier()?);
            return Ok(AlterAction::Columns(vec![ColumnChange::Rename {
                column,
                to,
            }]));
        }
        if self.words(&["SET", "SCHEMA"]) {
            return Ok(AlterAction::SetSchema(self.name()?));
        }
        if self.words(&["OWNER", "TO"]) {
            self.parser.parse_identifier()?;
            return Ok(AlterAction::Owner);
        }
        if self.words(&["SET", "TBLPROPERTIES"]) || self.words(&["SET", "PROPERTIES"]) {
            return Ok(AlterAction::SetProperties(self.properties()?));
        }
        if self.ahead(0, &["SET"]) && self.parser.peek_nth_token(1).token == Token::LParen {
            self.parser.next_token();
            return Ok(AlterAction::SetProperties(self.properties()?));
        }
        if self.words(&["UNSET", "TBLPROPERTIES"])
            || (self.ahead(0, &["RESET"])
                && self.parser.peek_nth_token(1).token == Token::LParen
                && self.word("RESET"))
        {
            let _ = self.words(&["IF", "EXISTS"]);
            return Ok(AlterAction::ResetProperties(self.property_keys()?));
        }
        if self.words(&["WRITE", "UNORDERED"]) {
            return Ok(AlterAction::SortOrder(vec![]));
        }
        if self.words(&["WRITE", "ORDERED", "BY"])
            || self.words(&["WRITE", "LOCALLY", "ORDERED", "BY"])
        {
            return Ok(AlterAction::SortOrder(self.sort_fields()?));
        }
        let mut changes = vec![];
        loop {
            self.column_change(&mut changes)?;
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(AlterAction::Columns(changes));
            }
        }
    }

    fn property_keys(&mut self) -> Parsed<Vec<String>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut keys = vec![self.property_key()?];
        while self.parser.consume_token(&Token::Comma) {
            keys.push(self.property_key()?);
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(keys)
    }

    fn column_change(&mut self, changes: &mut Vec<ColumnChange>) -> Parsed<()> {
        if self.word("ADD") {
            if self.ahead(0, &["CONSTRAINT"])
                || self.ahead(0, &["PRIMARY", "KEY"])
                || self.ahead(0, &["UNIQUE"])
                || self.ahead(0, &["FOREIGN", "KEY"])
                || self.ahead(0, &["CHECK"])
            {
                return Err(EngineError::unsupported("ALTER TABLE … ADD CONSTRAINT").into());
            }
            let several = self.word("COLUMNS");
            let _ = self.word("COLUMN");
            let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
            let list = several && self.parser.consume_token(&Token::LParen);
            loop {
                let mut parent = vec![];
                while self.parser.peek_nth_token(1).token == Token::Period {
                    parent.push(fold(&self.parser.parse_identifier()?));
                    self.parser.expect_token(&Token::Period)?;
                }
                let column = self.column_definition()?;
                changes.push(ColumnChange::Add {
                    parent,
                    column,
                    if_not_exists,
                });
                if !list || !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            if list {
                self.parser.expect_token(&Token::RParen)?;
            }
            return Ok(());
        }
        if self.word("DROP") {
            if self.word("CONSTRAINT") {
                return Err(EngineError::unsupported("ALTER TABLE … DROP CONSTRAINT").into());
            }
            let _ = self.word("COLUMN");
            let if_exists = self.words(&["IF", "EXISTS"]);
            let column = self.column_path()?;
            let _ = self.word("CASCADE") || self.word("RESTRICT");
            changes.push(ColumnChange::Drop { column, if_exists });
            return Ok(());
        }
        if self.word("ALTER") {
            let _ = self.word("COLUMN");
            let column = self.column_path()?;
            changes.push(self.column_alteration(column)?);
            return Ok(());
        }
        let found = self.parser.peek_token();
        Err(EngineError::unsupported(format!("ALTER TABLE … {found}"))
            .with_hint(
                "ALTER TABLE takes RENAME TO, RENAME COLUMN, ADD COLUMN, DROP COLUMN, ALTER COLUMN, SET SCHEMA, SET (…), RESET (…), WRITE ORDERED BY and WRITE UNORDERED",
            )
            .into())
    }

    fn column_alteration(&mut self, column: ColumnPath) -> Parsed<ColumnChange> {
        if self.words(&["SET", "NOT", "NULL"]) {
            let required = true;
            return Ok(ColumnChange::NotNull { column, required });
        }
        if self.words(&["DROP", "NOT", "NULL"]) {
            let required = false;
            return Ok(ColumnChange::NotNull { column, required });
        }
        if self.words(&["SET", "DEFAULT"]) || self.words(&["DROP", "DEFAULT"]) {
            return Err(EngineError::unsupported("a default value of a column").into());
        }
        if self.words(&["SET", "DATA", "TYPE"]) || self.word("TYPE") {
            let to = self.data_type()?;
            if self.word("USING") {
                return Err(EngineError::unsupported("ALTER COLUMN … TYPE … USING")
                    .with_hint(
                        "types are widened in place; use CREATE TABLE … AS SELECT for others",
                    )
                    .into());
            }
            return Ok(ColumnChange::Type { column, to });
        }
        self.expected("TYPE, SET NOT NULL or DROP NOT NULL")
    }

    /// A text as PostgreSQL takes it: quoted, with escapes (`E'…'`), or between dollars.
    fn text(&mut self) -> Parsed<String> {
        let token = self.parser.peek_token().token;
        let text = match token {
            Token::EscapedStringLiteral(text) => text,
            Token::DollarQuotedString(quoted) => quoted.value,
            _ => return Ok(self.parser.parse_literal_string()?),
        };
        self.parser.next_token();
        Ok(text)
    }

    pub(super) fn comment(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        if !self.word("ON") {
            return self.expected("ON");
        }
        let on = if self.word("TABLE") {
            Commented::Table
        } else if self.word("VIEW") {
            Commented::View
        } else if self.word("COLUMN") {
            Commented::Column
        } else if self.word("SCHEMA") {
            Commented::Schema
        } else {
            let found = self.parser.peek_token();
            return Err(EngineError::unsupported(format!("COMMENT ON {found}"))
                .with_hint("comments are on TABLE, VIEW, COLUMN and SCHEMA")
                .into());
        };
        let name = self.name()?;
        if !self.word("IS") {
            return self.expected("IS");
        }
        let text = if self.word("NULL") {
            None
        } else {
            // PostgreSQL: an empty comment is none.
            Some(self.text()?).filter(|text| !text.is_empty())
        };
        Ok(Statement::Comment { on, name, text })
    }

    pub(super) fn truncate(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        let _ = self.word("TABLE");
        let _ = self.word("ONLY");
        let names = self.names()?;
        let _ = self.words(&["RESTART", "IDENTITY"]) || self.words(&["CONTINUE", "IDENTITY"]);
        let _ = self.word("CASCADE") || self.word("RESTRICT");
        Ok(Statement::Truncate {
            names,
            delete: false,
        })
    }

    /// `VACUUM` and `ANALYZE`, with their options.
    pub(super) fn maintain(&mut self, command: &'static str) -> Parsed<Statement> {
        self.parser.next_token();
        if self.parser.consume_token(&Token::LParen) {
            while !self.parser.consume_token(&Token::RParen) {
                if self.at_end() {
                    return self.expected(")");
                }
                self.parser.next_token();
            }
        }
        for word in ["FULL", "FREEZE", "VERBOSE", "ANALYZE", "TABLE"] {
            let _ = self.word(word);
        }
        let mut names = vec![];
        while !self.at_end() && self.parser.peek_token().token != Token::SemiColon {
            names.push(self.name()?);
            if self.parser.peek_token().token == Token::LParen {
                self.parser.parse_parenthesized_column_list(
                    datafusion::sql::sqlparser::parser::IsOptional::Mandatory,
                    false,
                )?;
            }
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        Ok(Statement::Maintain { command, names })
    }

    /// `(LIKE other [INCLUDING …])` or the list of columns and constraints.
    pub(super) fn table_elements(&mut self, out: &mut CreateTable) -> Parsed<()> {
        if self.ahead(1, &["LIKE"]) {
            self.parser.expect_token(&Token::LParen)?;
            self.word("LIKE");
            out.like = Some(self.name()?);
            while self.word("INCLUDING") || self.word("EXCLUDING") {
                self.parser.parse_identifier()?;
            }
            self.parser.expect_token(&Token::RParen)?;
            return Ok(());
        }
        let (columns, constraints) = self.column_list()?;
        out.columns = columns;
        for constraint in constraints {
            match constraint {
                ast::TableConstraint::PrimaryKey(key) => {
                    for column in &key.columns {
                        let ast::Expr::Identifier(name) = &column.column.expr else {
                            return Err(
                                EngineError::unsupported("a PRIMARY KEY of an expression").into()
                            );
                        };
                        out.primary_key.push(fold(name));
                    }
                }
                other => {
                    return Err(EngineError::unsupported(format!("constraint \"{other}\""))
                        .with_hint("Iceberg tables have NOT NULL columns and a PRIMARY KEY that is not checked")
                        .into());
                }
            }
        }
        Ok(())
    }

    pub(super) fn partition_fields(&mut self) -> Parsed<Vec<PartitionFieldDef>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut fields = vec![];
        loop {
            fields.push(self.partition_field()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(fields)
    }

    /// What rows are sorted by, in parentheses or not. NULLs are where PostgreSQL has them: last, or first of what
    /// descends.
    pub(super) fn sort_fields(&mut self) -> Parsed<Vec<SortFieldDef>> {
        let list = self.parser.consume_token(&Token::LParen);
        let mut fields = vec![];
        loop {
            let (column, transform) = self.transformed_column()?;
            let descending = self.word("DESC");
            if !descending {
                let _ = self.word("ASC");
            }
            let nulls_first = if self.words(&["NULLS", "FIRST"]) {
                true
            } else if self.words(&["NULLS", "LAST"]) {
                false
            } else {
                descending
            };
            fields.push(SortFieldDef {
                column,
                transform,
                descending,
                nulls_first,
            });
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        if list {
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(fields)
    }

    /// A transformed column, with `AS name`.
    fn partition_field(&mut self) -> Parsed<PartitionFieldDef> {
        let (column, transform) = self.transformed_column()?;
        let name = if self.word("AS") {
            Some(fold(&self.parser.parse_identifier()?))
        } else {
            None
        };
        Ok(PartitionFieldDef {
            column,
            transform,
            name,
        })
    }

    /// `column`, `day(column)`, `bucket(16, column)`, `bucket(column, 16)`; a field of a struct as `column.field`.
    fn transformed_column(&mut self) -> Parsed<(String, Transform)> {
        let place = self.parser.peek_token().span.start;
        let head = self.parser.parse_identifier()?;
        if self.parser.consume_token(&Token::LParen) {
            let mut column = None;
            let mut width = None;
            loop {
                if matches!(self.parser.peek_token().token, Token::Number(..)) {
                    width = Some(self.parser.parse_literal_uint()?);
                } else {
                    let head = self.parser.parse_identifier()?;
                    column = Some(self.field_path(&head)?);
                }
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
            let Some(column) = column else {
                return self.expected("a column name in the partition transform");
            };
            return Ok((column, transform(&head.value, width, place)?));
        }
        Ok((self.field_path(&head)?, Transform::Identity))
    }

    /// The rest of a column's dotted path behind its first name.
    fn field_path(&mut self, head: &ast::Ident) -> Parsed<String> {
        let mut path = vec![fold(head)];
        self.path_behind(&mut path)?;
        Ok(path.join("."))
    }

    /// A column, or what is inside of one: `c`, `s.a`, `l.element`.
    fn column_path(&mut self) -> Parsed<ColumnPath> {
        let mut path = vec![fold(&self.parser.parse_identifier()?)];
        self.path_behind(&mut path)?;
        Ok(path)
    }

    fn path_behind(&mut self, path: &mut ColumnPath) -> Parsed<()> {
        while self.parser.consume_token(&Token::Period) {
            path.push(fold(&self.parser.parse_identifier()?));
        }
        Ok(())
    }

    pub(super) fn on_commit(&mut self) -> Parsed<()> {
        if self.words(&["PRESERVE", "ROWS"]) {
            return Ok(());
        }
        for words in [&["DELETE", "ROWS"][..], &["DROP"]] {
            if self.words(words) {
                return Err(
                    EngineError::unsupported(format!("ON COMMIT {}", words.join(" ")))
                        .with_hint("a temporary table lasts as long as its session")
                        .into(),
                );
            }
        }
        self.expected("PRESERVE ROWS")
    }
}

fn transform(word: &str, width: Option<u64>, place: impl std::fmt::Display) -> Parsed<Transform> {
    let text = match (word.to_ascii_lowercase().as_str(), width) {
        ("years", None) => "year".to_owned(),
        ("months", None) => "month".to_owned(),
        ("days" | "date", None) => "day".to_owned(),
        ("hours" | "date_hour", None) => "hour".to_owned(),
        (name @ ("bucket" | "truncate"), Some(0)) => {
            return Err(ParserError::ParserError(format!(
                "{name} needs a width of 1 or more, as in {name}(16, column){place}"
            ))
            .into());
        }
        (name @ ("bucket" | "truncate"), Some(width)) => format!("{name}[{width}]"),
        (name @ ("bucket" | "truncate"), None) => {
            return Err(ParserError::ParserError(format!(
                "{name} needs a width, as in {name}(16, column){place}"
            ))
            .into());
        }
        (name, _) => name.to_owned(),
    };
    text.parse().map_err(|_| {
        ParserError::ParserError(format!(
            "unknown partition transform \"{word}\"; transforms: identity, bucket(n, c), truncate(n, c), year, month, day, hour, void{place}"
        ))
        .into()
    })
}

/// `SELECT … INTO t` as CREATE TABLE AS.
pub(super) fn select_into(query: &mut ast::Query) -> Option<CreateTable> {
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    let into = select.into.take()?;
    Some(CreateTable {
        temporary: into.temporary,
        query: Some(Box::new(ast::Statement::Query(Box::new(query.clone())))),
        ..CreateTable::named(fold_name(&into.name))
    })
}

/// The table of a DELETE that deletes every row.
pub(super) fn delete_all(delete: &ast::Delete) -> Result<Name, EngineError> {
    let every = match &delete.selection {
        None => true,
        Some(ast::Expr::Value(value)) => matches!(value.value, ast::Value::Boolean(true)),
        Some(_) => false,
    };
    let plain = delete.using.is_none()
        && delete.output.is_none()
        && delete.order_by.is_empty()
        && delete.limit.is_none()
        && delete.tables.is_empty();
    if delete.returning.is_some() {
        return Err(EngineError::unsupported("DELETE … RETURNING"));
    }
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) =
        &delete.from;
    match &from[..] {
        [one] if every && plain && one.joins.is_empty() => match &one.relation {
            ast::TableFactor::Table { name, .. } => Ok(fold_name(name)),
            other => Err(EngineError::new(
                ErrorKind::Syntax,
                format!("DELETE FROM {other} is not possible"),
            )),
        },
        _ => Err(EngineError::unsupported("DELETE with a condition")
            .with_hint("this version has DELETE FROM table of all rows, and TRUNCATE")),
    }
}
