//! Text to statement: PostgreSQL's dialect plus what lakehouse users type.
//!
//! Queries and INSERT go to sqlparser as they are; the commands around them (`CREATE TABLE …
//! PARTITIONED BY`, `SHOW`, `USE`, `SET`, `DESCRIBE`, `EXPLAIN`) have their own small grammar here.
//! Knows no catalog: names are only folded (unquoted ones to lower case), never resolved.

use std::collections::HashMap;

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

mod admin;
mod ddl;
mod refused;
mod tables;
mod trims;
mod types;

use crate::chains;
use crate::error::{EngineError, ErrorKind};
pub(crate) use crate::statement::{CreateTable, Explain, ExplainFormat, Name, Statement};

/// Parses exactly one statement; an empty text or a second statement is an error.
///
/// # Errors
/// [`ErrorKind::Syntax`] with position, or `Unsupported` for a statement that
/// is SQL but not ours.
pub(crate) fn parse(sql: &str) -> Result<Statement, EngineError> {
    let dialect = PostgreSqlDialect {};
    let syntax = |e: &ParserError| EngineError::from_parser(e, sql);
    let mut tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|e| syntax(&e.into()))?;
    if let Some(lock) = refused::row_lock(&tokens) {
        return Err(EngineError::unsupported(format!("SELECT … {lock}")));
    }
    trims::complete(&mut tokens);
    tables::complete(&mut tokens);
    let parser = Parser::new(&dialect)
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(tokens);
    chains::refuse(sql)?;
    let mut grammar = Grammar { parser, sql };
    while grammar.parser.consume_token(&Token::SemiColon) {}
    if grammar.at_end() {
        return Err(EngineError::new(
            ErrorKind::Syntax,
            "the statement is empty",
        ));
    }
    let statement = grammar.statement().map_err(|e| match e {
        Problem::Syntax(e) => {
            let error = syntax(&e);
            lonely_operator(sql)
                .filter(|found| found.position < error.position)
                .unwrap_or(error)
        }
        Problem::Engine(e) => e,
    })?;
    if let Statement::Query(_) | Statement::Insert { .. } = &statement
        && let Some(error) = lonely_operator(sql)
    {
        return Err(error);
    }
    let mut ended = false;
    while grammar.parser.consume_token(&Token::SemiColon) {
        ended = true;
    }
    if grammar.at_end() {
        return Ok(statement);
    }
    let next = grammar.parser.peek_token();
    let place = crate::error::position_of(sql, next.span.start.line, next.span.start.column);
    let mut error = if ended {
        EngineError::new(
            ErrorKind::Syntax,
            "one statement at a time: a second one begins here",
        )
        .with_hint("send the statements one by one; `tarn sql -f` splits a script")
    } else {
        EngineError::new(
            ErrorKind::Syntax,
            format!("syntax error: expected end of statement, found: {next}"),
        )
    };
    error.position = place;
    Err(error)
}

/// A keyword that stands where an operator or a comma wants an expression.
///
/// sqlparser takes such a keyword for a column and complains about what follows it.
fn lonely_operator(sql: &str) -> Option<EngineError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .ok()?;
    let spoken: Vec<_> = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    let (_, keyword) = spoken
        .iter()
        .zip(spoken.iter().skip(1))
        .find(|(before, next)| awaits_more(&before.token) && begins_clause(&next.token))?;
    let place = keyword.span.start;
    let mut error = EngineError::new(
        ErrorKind::Syntax,
        format!(
            "syntax error: expected: an expression, found: {}",
            keyword.token
        ),
    );
    error.position = crate::error::position_of(sql, place.line, place.column);
    Some(error)
}

/// Whether an expression or a table must come after `token`.
fn awaits_more(token: &Token) -> bool {
    match token {
        Token::Plus
        | Token::Minus
        | Token::Div
        | Token::Mod
        | Token::Eq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Neq
        | Token::StringConcat
        | Token::Comma => true,
        Token::Word(word) => word.quote_style.is_none() && word.keyword == Keyword::FROM,
        _ => false,
    }
}

fn begins_clause(token: &Token) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && CLAUSES.contains(&word.keyword))
}

/// Words that begin a clause and cannot be a column's name. Source: PostgreSQL, "SQL Key Words".
const CLAUSES: [Keyword; 9] = [
    Keyword::FROM,
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::UNION,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
];

/// Deepest nesting of expressions and subqueries that the parser follows.
const RECURSION_MAX: usize = 128;

enum Problem {
    Syntax(ParserError),
    Engine(EngineError),
}

impl From<ParserError> for Problem {
    fn from(error: ParserError) -> Self {
        Self::Syntax(error)
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

type Parsed<T> = Result<T, Problem>;

struct Grammar<'a> {
    parser: Parser<'a>,
    sql: &'a str,
}

impl Grammar<'_> {
    fn at_end(&self) -> bool {
        self.parser.peek_token().token == Token::EOF
    }

    /// Whether the next token is the bare word `word`; consumes it if so.
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(&self.parser.peek_token().token,
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        if found {
            self.parser.next_token();
        }
        found
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(&self.parser.peek_token().token,
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    fn words(&mut self, words: &[&str]) -> bool {
        for (taken, word) in words.iter().enumerate() {
            if !self.word(word) {
                for _ in 0..taken {
                    self.parser.prev_token();
                }
                return false;
            }
        }
        true
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        let found = self.parser.peek_token();
        Err(ParserError::ParserError(format!(
            "Expected: {what}, found: {found}{}",
            found.span.start
        ))
        .into())
    }

    fn name(&mut self) -> Parsed<Name> {
        let name = self.parser.parse_object_name(false)?;
        Ok(fold_name(&name))
    }

    fn names(&mut self) -> Parsed<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if let Some(admin) = self.admin()? {
            return Ok(Statement::Admin(Box::new(admin)));
        }
        let first = self.parser.peek_token();
        let Token::Word(word) = &first.token else {
            return self.sql_statement();
        };
        match word.value.to_ascii_uppercase().as_str() {
            "EXPLAIN" => self.explain(),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "COMMENT" => self.comment(),
            "TRUNCATE" => self.truncate(),
            "VACUUM" => self.maintain("VACUUM"),
            "ANALYZE" | "ANALYSE" => self.maintain("ANALYZE"),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => {
                self.parser.next_token();
                let _ = self.word("TABLE") || self.word("EXTENDED") || self.word("FORMATTED");
                Ok(Statement::ShowColumns(self.name()?))
            }
            "USE" => self.use_schema(),
            "SET" => self.set(),
            "RESET" => {
                self.parser.next_token();
                if self.word("ALL") {
                    return Ok(Statement::Reset(None));
                }
                if self.words(&["TIME", "ZONE"]) {
                    return Ok(Statement::Reset(Some("time_zone".to_owned())));
                }
                Ok(Statement::Reset(Some(self.name()?.join("."))))
            }
            _ => self.sql_statement(),
        }
    }

    /// A statement that sqlparser parses as a whole.
    fn sql_statement(&mut self) -> Parsed<Statement> {
        if let Some(name) = self.refused() {
            return Err(EngineError::unsupported(name).into());
        }
        let mut statement = self.parser.parse_statement()?;
        match &mut statement {
            ast::Statement::Query(query) => Ok(match ddl::select_into(query) {
                Some(create) => Statement::CreateTable(Box::new(create)),
                None => Statement::Query(Box::new(statement)),
            }),
            ast::Statement::Delete(delete) => Ok(Statement::Truncate {
                names: vec![ddl::delete_all(delete)?],
                delete: true,
            }),
            ast::Statement::Update { .. } => Err(EngineError::unsupported("UPDATE").into()),
            ast::Statement::Merge { .. } => Err(EngineError::unsupported("MERGE").into()),
            ast::Statement::Insert(insert) => {
                let ast::TableObject::TableName(name) = &insert.table else {
                    return Err(EngineError::unsupported("INSERT INTO a table function").into());
                };
                refuse_insert_clauses(insert)?;
                let table = fold_name(name);
                Ok(Statement::Insert {
                    table,
                    statement: Box::new(statement),
                })
            }
            other => Err(EngineError::unsupported(first_words(other)).into()),
        }
    }

    fn explain(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        let mut out = Explain {
            analyze: false,
            verbose: false,
            format: ExplainFormat::Tree,
            statement: Box::new(Statement::ShowSetting(None)),
        };
        if self.parser.peek_token().token == Token::LParen && !self.paren_starts_query() {
            self.parser.next_token();
            loop {
                if self.word("ANALYZE") {
                    out.analyze = self.boolean_option();
                } else if self.word("VERBOSE") {
                    out.verbose = self.boolean_option();
                } else if self.word("FORMAT") {
                    out.format = self.explain_format()?;
                } else if self.word("COSTS")
                    || self.word("TIMING")
                    || self.word("SUMMARY")
                    || self.word("BUFFERS")
                {
                    // PostgreSQL's options without a counterpart; what they ask for is always shown.
                    self.boolean_option();
                } else {
                    return self.expected("ANALYZE, VERBOSE or FORMAT");
                }
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
        } else {
            out.analyze = self.word("ANALYZE") || self.word("ANALYSE");
            out.verbose = self.word("VERBOSE");
            if self.word("FORMAT") {
                out.format = self.explain_format()?;
            }
        }
        let inner = self.statement()?;
        match &inner {
            Statement::Query(_) | Statement::Insert { .. } => {}
            Statement::CreateTable(create) if create.query.is_some() => {}
            _ => {
                return Err(EngineError::unsupported(
                    "EXPLAIN of a statement other than SELECT, INSERT and CREATE TABLE AS",
                )
                .into());
            }
        }
        out.statement = Box::new(inner);
        Ok(Statement::Explain(out))
    }

    fn paren_starts_query(&self) -> bool {
        matches!(&self.parser.peek_nth_token(1).token,
            Token::Word(w) if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES))
            || self.parser.peek_nth_token(1).token == Token::LParen
    }

    fn boolean_option(&mut self) -> bool {
        if self.word("FALSE") || self.word("OFF") {
            return false;
        }
        let _ = self.word("TRUE") || self.word("ON");
        true
    }

    fn explain_format(&mut self) -> Parsed<ExplainFormat> {
        let _ = self.parser.consume_token(&Token::Eq);
        if self.word("TEXT") || self.word("INDENT") {
            Ok(ExplainFormat::Text)
        } else if self.word("TREE") {
            Ok(ExplainFormat::Tree)
        } else if self.word("JSON") {
            Ok(ExplainFormat::Json)
        } else {
            self.expected("TREE, TEXT or JSON")
        }
    }

    fn create(&mut self) -> Parsed<Statement> {
        if self.words(&["CREATE", "SCHEMA"]) {
            let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
            let name = self.name()?;
            let properties = if self.word("WITH") {
                self.properties()?
            } else {
                HashMap::new()
            };
            return Ok(Statement::CreateSchema {
                name,
                if_not_exists,
                properties,
            });
        }
        if let Some(statement) = self.create_relation()? {
            return Ok(statement);
        }
        self.sql_statement()
    }

    fn create_table(&mut self, or_replace: bool, temporary: bool) -> Parsed<Statement> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let mut out = CreateTable {
            temporary,
            or_replace,
            if_not_exists,
            ..CreateTable::named(self.name()?)
        };
        if self.parser.peek_token().token == Token::LParen {
            self.table_elements(&mut out)?;
        } else if self.word("LIKE") {
            out.like = Some(self.name()?);
        }
        loop {
            if self.words(&["USING", "ICEBERG"]) {
            } else if self.words(&["PARTITIONED", "BY"]) || self.words(&["PARTITION", "BY"]) {
                out.partition = self.partition_fields()?;
            } else if self.words(&["ORDER", "BY"]) || self.words(&["SORTED", "BY"]) {
                out.sort = self.sort_fields()?;
            } else if self.word("WITH") || self.word("TBLPROPERTIES") {
                out.properties.extend(self.properties()?);
            } else if self.word("LOCATION") {
                out.location = Some(self.parser.parse_literal_string()?);
            } else if self.word("COMMENT") {
                out.comment = Some(self.parser.parse_literal_string()?);
            } else if self.words(&["ON", "COMMIT"]) {
                self.on_commit()?;
            } else {
                break;
            }
        }
        if self.word("AS") {
            let query = self.parser.parse_query()?;
            out.query = Some(Box::new(ast::Statement::Query(query)));
            if self.words(&["WITH", "NO", "DATA"]) {
                out.with_data = false;
            } else {
                self.words(&["WITH", "DATA"]);
            }
        } else if out.columns.is_empty() && out.like.is_none() {
            return self.expected("a column list or AS query");
        }
        Ok(Statement::CreateTable(Box::new(out)))
    }

    /// `(key = value, …)`; keys are words, dotted words or strings.
    fn properties(&mut self) -> Parsed<HashMap<String, String>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut out = HashMap::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(out);
        }
        loop {
            let key = self.property_key()?;
            self.parser.expect_token(&Token::Eq)?;
            let value = self.property_value()?;
            if out.insert(key.clone(), value).is_some() {
                return Err(EngineError::new(
                    ErrorKind::Syntax,
                    format!("property \"{key}\" is given twice"),
                )
                .into());
            }
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(out)
    }

    fn property_key(&mut self) -> Parsed<String> {
        let mut key = String::new();
        loop {
            match self.parser.peek_token().token {
                Token::SingleQuotedString(text) | Token::Number(text, _) => key.push_str(&text),
                Token::Word(word) => key.push_str(&word.value),
                Token::Period => key.push('.'),
                Token::Minus => key.push('-'),
                _ => break,
            }
            self.parser.next_token();
        }
        if key.is_empty() {
            return self.expected("a property name");
        }
        // `format_version` is what Trino's users type.
        Ok(if key == "format_version" {
            "format-version".to_owned()
        } else {
            key
        })
    }

    fn property_value(&mut self) -> Parsed<String> {
        let negative = self.parser.consume_token(&Token::Minus);
        let value = match self.parser.peek_token().token {
            Token::SingleQuotedString(text) | Token::Number(text, _) => text,
            Token::Word(word) => word.value,
            _ => return self.expected("a property value"),
        };
        self.parser.next_token();
        Ok(if negative { format!("-{value}") } else { value })
    }

    fn drop(&mut self) -> Parsed<Statement> {
        if self.words(&["DROP", "SCHEMA"]) {
            let if_exists = self.words(&["IF", "EXISTS"]);
            let names = self.names()?;
            let cascade = self.word("CASCADE");
            if !cascade {
                self.word("RESTRICT");
            }
            return Ok(Statement::DropSchema {
                names,
                if_exists,
                cascade,
            });
        }
        if self.words(&["DROP", "VIEW"]) {
            return self.drop_view();
        }
        if self.words(&["DROP", "TABLE"]) {
            let if_exists = self.words(&["IF", "EXISTS"]);
            let names = self.names()?;
            let mut purge = false;
            loop {
                if self.word("PURGE") {
                    purge = true;
                } else if !(self.word("CASCADE") || self.word("RESTRICT")) {
                    break;
                }
            }
            return Ok(Statement::DropTable {
                names,
                if_exists,
                purge,
            });
        }
        self.sql_statement()
    }

    fn like(&mut self) -> Parsed<Option<String>> {
        if self.word("LIKE") {
            return Ok(Some(self.parser.parse_literal_string()?));
        }
        Ok(None)
    }

    fn in_name(&mut self) -> Parsed<Option<Name>> {
        if self.word("FROM") || self.word("IN") {
            return Ok(Some(self.name()?));
        }
        Ok(None)
    }

    fn show(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        if self.word("CATALOGS") {
            return Ok(Statement::ShowCatalogs { like: self.like()? });
        }
        if self.word("SCHEMAS") || self.word("DATABASES") {
            let catalog = self.in_name()?;
            let like = self.like()?;
            return Ok(Statement::ShowSchemas { catalog, like });
        }
        if self.word("TABLES") {
            let schema = self.in_name()?;
            let like = self.like()?;
            return Ok(Statement::ShowTables { schema, like });
        }
        if self.word("VIEWS") {
            let schema = self.in_name()?;
            let like = self.like()?;
            return Ok(Statement::ShowViews { schema, like });
        }
        if self.words(&["CREATE", "VIEW"]) {
            return Ok(Statement::ShowCreateView(self.name()?));
        }
        if self.word("COLUMNS") {
            return match self.in_name()? {
                Some(name) => Ok(Statement::ShowColumns(name)),
                None => self.expected("FROM table"),
            };
        }
        if self.words(&["CREATE", "TABLE"]) {
            return Ok(Statement::ShowCreateTable(self.name()?));
        }
        if self.word("FUNCTIONS") {
            return Ok(Statement::ShowFunctions { like: self.like()? });
        }
        if self.word("ALL") {
            return Ok(Statement::ShowSetting(None));
        }
        if self.words(&["TIME", "ZONE"]) {
            return Ok(Statement::ShowSetting(Some("time_zone".to_owned())));
        }
        if self.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            return Ok(Statement::ShowSetting(Some(
                "transaction_isolation".to_owned(),
            )));
        }
        if self.words(&["SESSION", "AUTHORIZATION"]) {
            return Ok(Statement::ShowSetting(Some(
                "session_authorization".to_owned(),
            )));
        }
        if self.at_end() {
            return self.expected(
                "CATALOGS, SCHEMAS, TABLES, VIEWS, COLUMNS, CREATE TABLE, CREATE VIEW, FUNCTIONS or a setting",
            );
        }
        Ok(Statement::ShowSetting(Some(self.name()?.join("."))))
    }

    fn use_schema(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        if self.word("CATALOG") {
            let mut name = self.name()?;
            name.push(String::new());
            return Ok(Statement::Use(name));
        }
        let _ = self.word("SCHEMA") || self.word("DATABASE");
        Ok(Statement::Use(self.name()?))
    }

    fn set(&mut self) -> Parsed<Statement> {
        self.parser.next_token();
        if self.peek_word("SESSION") || self.peek_word("LOCAL") {
            self.parser.next_token();
        }
        if self.words(&["TIME", "ZONE"]) {
            return Ok(Statement::Set {
                name: "time_zone".to_owned(),
                value: self.time_zone()?,
            });
        }
        let shorthand = if self.word("NAMES") {
            Some("client_encoding")
        } else if self.peek_word("SCHEMA")
            && matches!(
                self.parser.peek_nth_token(1).token,
                Token::SingleQuotedString(_)
            )
        {
            self.parser.next_token();
            Some("search_path")
        } else {
            None
        };
        let name = if let Some(name) = shorthand {
            name.to_owned()
        } else {
            let name = self.name()?.join(".");
            if !(self.parser.consume_token(&Token::Eq) || self.word("TO")) {
                return self.expected("= or TO");
            }
            name
        };
        let value = self.setting_value()?;
        Ok(Statement::Set { name, value })
    }

    /// What stands behind `SET TIME ZONE`: a name, hours, or an interval. `LOCAL` is the default.
    fn time_zone(&mut self) -> Parsed<Option<String>> {
        if self.word("LOCAL") || self.word("DEFAULT") {
            return Ok(None);
        }
        let interval = self.word("INTERVAL");
        let value = self.property_value()?;
        if interval {
            self.words(&["HOUR", "TO", "MINUTE"]);
        }
        Ok(Some(offset_name(&value)))
    }

    fn setting_value(&mut self) -> Parsed<Option<String>> {
        if self.word("DEFAULT") {
            return Ok(None);
        }
        let mut parts = vec![];
        loop {
            parts.push(self.property_value()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        Ok(Some(parts.join(", ")))
    }
}

/// A zone's offset as a name: hours ahead of UTC, `-5` or `5.5`, or `-05:30`; other names as they are.
fn offset_name(value: &str) -> String {
    let minutes = match (value.parse::<f64>(), value.split_once(':')) {
        (Ok(hours), _) if hours.abs() < 24.0 => hours * 60.0,
        (_, Some((hours, minutes))) => match (hours.parse::<f64>(), minutes.parse::<f64>()) {
            (Ok(h), Ok(m)) if h.abs() < 24.0 && (0.0..60.0).contains(&m) => {
                let sign = if hours.starts_with('-') { -1.0 } else { 1.0 };
                sign * (h.abs() * 60.0 + m)
            }
            _ => return value.to_owned(),
        },
        _ => return value.to_owned(),
    };
    let sign = if minutes < 0.0 { '-' } else { '+' };
    let minutes = minutes.abs();
    format!(
        "{sign}{:02.0}:{:02.0}",
        (minutes / 60.0).floor(),
        minutes % 60.0
    )
}

/// Folds an unquoted identifier to lower case. Source: PostgreSQL, "Lexical Structure".
pub(crate) fn fold(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

pub(crate) fn fold_name(name: &ast::ObjectName) -> Name {
    name.0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => fold(ident),
            ast::ObjectNamePart::Function(function) => fold(&function.name),
        })
        .collect()
}

/// Clauses of INSERT that other systems know and Tarn would otherwise silently drop.
fn refuse_insert_clauses(insert: &ast::Insert) -> Parsed<()> {
    let clause = if insert.overwrite {
        "INSERT OVERWRITE"
    } else if insert.on.is_some() {
        "INSERT … ON CONFLICT"
    } else if insert.returning.is_some() {
        "INSERT … RETURNING"
    } else if insert.partitioned.is_some() {
        "INSERT … PARTITION"
    } else if insert.or.is_some() || insert.replace_into || insert.ignore {
        "INSERT OR …"
    } else {
        return Ok(());
    };
    Err(EngineError::unsupported(clause).into())
}

fn first_words(statement: &ast::Statement) -> String {
    let text = statement.to_string();
    text.split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use tarn_catalog::Transform;

    use super::*;

    fn check_create(sql: &str) -> CreateTable {
        match parse(sql) {
            Ok(Statement::CreateTable(create)) => *create,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn create_table_takes_transforms_properties_and_a_query() {
        let out = check_create(
            "CREATE TABLE IF NOT EXISTS Lake.\"S\".t (a INT NOT NULL, ts TIMESTAMP) \
             PARTITIONED BY (day(ts), bucket(16, a) AS ab, truncate(a, 10)) \
             WITH (format_version = 3, 'write.parquet.compression-codec' = 'zstd') AS SELECT 1",
        );
        assert_eq!(out.name, ["lake", "S", "t"]);
        assert!(out.if_not_exists && out.query.is_some());
        assert_eq!(out.partition.len(), 3);
        assert_eq!(out.partition[1].transform, Transform::Bucket(16));
        assert_eq!(out.partition[1].name.as_deref(), Some("ab"));
        assert_eq!(out.partition[2].transform, Transform::Truncate(10));
        assert_eq!(out.properties["format-version"], "3");
        assert_eq!(out.properties["write.parquet.compression-codec"], "zstd");
    }

    #[test]
    fn broken_sql_says_where_and_what_was_expected() {
        let error = parse("SELECT 1 FROM\n WHERE x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Syntax);
        assert_eq!(error.position, Some(16));
        let error = parse("CREATE TABLE t (a int) PARTITIONED BY (week(a))").unwrap_err();
        assert!(error.message.contains("week"), "{error}");
        assert!(error.position.is_some());
    }

    #[test]
    fn a_second_statement_is_refused_where_it_begins() {
        let error = parse("SELECT 1; SELECT 2").unwrap_err();
        assert_eq!(error.position, Some(11));
        assert!(parse("SELECT 1;;").is_ok());
    }

    #[test]
    fn commands_parse() {
        assert!(matches!(
            parse("EXPLAIN (ANALYZE, FORMAT JSON) SELECT 1"),
            Ok(Statement::Explain(Explain {
                analyze: true,
                format: ExplainFormat::Json,
                ..
            }))
        ));
        assert!(matches!(
            parse("explain (select 1)"),
            Ok(Statement::Explain(_))
        ));
        assert!(matches!(
            parse("SET TIME ZONE 'Europe/Berlin'"),
            Ok(Statement::Set { name, value: Some(v) }) if name == "time_zone" && v == "Europe/Berlin"
        ));
        for (sql, wanted) in [
            ("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE", "+02:00"),
            ("SET TIME ZONE -5", "-05:00"),
            ("SET SESSION TIME ZONE '5.5'", "+05:30"),
            ("SET NAMES 'UTF8'", "UTF8"),
            ("SET SCHEMA 'sales'", "sales"),
        ] {
            assert!(
                matches!(parse(sql), Ok(Statement::Set { value: Some(v), .. }) if v == wanted),
                "{sql}"
            );
        }
        assert!(matches!(
            parse("SET TIME ZONE LOCAL"),
            Ok(Statement::Set { value: None, .. })
        ));
        assert!(matches!(
            parse("ALTER TABLE a RENAME TO b"),
            Ok(Statement::Alter(_))
        ));
        assert!(matches!(
            parse("SHOW TABLES FROM x LIKE 'a%'"),
            Ok(Statement::ShowTables { .. })
        ));
        assert_eq!(
            parse("UPDATE t SET a = 1").unwrap_err().kind,
            ErrorKind::Unsupported
        );
    }
}
