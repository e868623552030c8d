//! The grammar of COPY, in the syntax with parentheses and in the one before it.
//!
//! Source: PostgreSQL 15, "COPY". Knows options, not rows.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::connection::ConnectionCommand;
use crate::connection_tokens::Tokens;
use crate::error::{EngineError, ErrorKind};

/// `COPY`.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// What is copied.
    pub source: CopySource,
    /// Whether rows come from the client.
    pub from: bool,
    /// How they look.
    pub options: CopyOptions,
}

/// What COPY reads or fills.
#[derive(Clone, Debug, PartialEq)]
pub enum CopySource {
    /// A table.
    Table {
        /// Its name, one to three parts.
        name: Vec<String>,
        /// The columns named, if any are.
        columns: Option<Vec<String>>,
    },
    /// A query.
    Query(String),
}

/// How rows look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Tab-separated with backslashes.
    Text,
    /// CSV.
    Csv,
    /// PostgreSQL's own.
    Binary,
}

/// What the first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A row like the others.
    None,
    /// The names of the columns.
    Names,
    /// The names of the columns; other names are an error.
    Match,
}

/// Columns that an option is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// Every one.
    All,
    /// These.
    Columns(Vec<String>),
}

impl Quoted {
    /// Whether `column` is among them.
    pub fn has(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Columns(columns) => columns.iter().any(|c| c == column),
        }
    }
}

/// The options of COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// How rows look.
    pub format: CopyFormat,
    /// Between two fields.
    pub delimiter: u8,
    /// What NULL looks like.
    pub null: String,
    /// What the first line is.
    pub header: Header,
    /// Around a field, in CSV.
    pub quote: u8,
    /// Before a quote in a quoted field, in CSV.
    pub escape: u8,
    /// Fields that are always quoted when written.
    pub force_quote: Quoted,
    /// Fields that are never NULL when read.
    pub force_not_null: Quoted,
    /// Fields that may be NULL when read even if quoted.
    pub force_null: Quoted,
}

/// Options as they are read, before the format fills in its defaults.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<String>,
    header: Option<Header>,
    quote: Option<u8>,
    escape: Option<u8>,
    force_quote: Option<Quoted>,
    force_not_null: Option<Quoted>,
    force_null: Option<Quoted>,
}

/// Reads `COPY …` up to its end.
pub(crate) fn copy(tokens: &mut Tokens<'_>) -> Result<Option<ConnectionCommand>, EngineError> {
    tokens.skip();
    let mut given = Given::default();
    if tokens.word("BINARY") {
        given.format = Some(CopyFormat::Binary);
    }
    let source = source(tokens)?;
    let from = tokens.word("FROM");
    if !from && !tokens.word("TO") {
        return tokens.expected("FROM or TO");
    }
    if from && matches!(source, CopySource::Query(_)) {
        return tokens.expected("TO");
    }
    let is_file = matches!(
        tokens.peek(),
        Some(Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_))
    );
    if !from && is_file {
        // The engine writes files of the server, for every door.
        return Ok(None);
    }
    if tokens.is_word("PROGRAM") || is_file {
        return Err(EngineError::unsupported("COPY from a file of the server").with_hint(
            "COPY FROM STDIN through the client, e.g. \\copy of psql; INSERT INTO table SELECT * FROM read_csv('path') reads allowed roots",
        ));
    }
    if !(tokens.word("STDIN") || tokens.word("STDOUT")) {
        return tokens.expected(if from { "STDIN" } else { "STDOUT" });
    }
    read_options(tokens, &mut given)?;
    if tokens.is_word("WHERE") {
        return Err(EngineError::unsupported("COPY FROM … WHERE"));
    }
    let options = given.complete(from)?;
    Ok(Some(ConnectionCommand::Copy(Box::new(Copy {
        source,
        from,
        options,
    }))))
}

fn source(tokens: &mut Tokens<'_>) -> Result<CopySource, EngineError> {
    if tokens.take(&Token::LParen) {
        let start = tokens.place();
        tokens.parts()?;
        let query = tokens.slice(start, tokens.place() - 1);
        return Ok(CopySource::Query(query.to_owned()));
    }
    let mut name = vec![tokens.name()?];
    while tokens.take(&Token::Period) {
        name.push(tokens.name()?);
    }
    let columns = if tokens.peek() == Some(&Token::LParen) {
        Some(names(tokens)?)
    } else {
        None
    };
    Ok(CopySource::Table { name, columns })
}

/// `(a, b, c)`
fn names(tokens: &mut Tokens<'_>) -> Result<Vec<String>, EngineError> {
    if !tokens.take(&Token::LParen) {
        return tokens.expected("(");
    }
    let mut names = vec![tokens.name()?];
    while tokens.take(&Token::Comma) {
        names.push(tokens.name()?);
    }
    if !tokens.take(&Token::RParen) {
        return tokens.expected(")");
    }
    Ok(names)
}

fn read_options(tokens: &mut Tokens<'_>, given: &mut Given) -> Result<(), EngineError> {
    if tokens.word("USING") || tokens.is_word("DELIMITERS") {
        if !tokens.word("DELIMITERS") {
            return tokens.expected("DELIMITERS");
        }
        given.delimiter = Some(one_byte("DELIMITERS", &tokens.text()?)?);
    }
    tokens.word("WITH");
    if tokens.take(&Token::LParen) {
        loop {
            let name = tokens.name()?;
            option(tokens, given, &name)?;
            if !tokens.take(&Token::Comma) {
                break;
            }
        }
        if !tokens.take(&Token::RParen) {
            return tokens.expected(") or ,");
        }
        return Ok(());
    }
    while !matches!(tokens.peek(), None | Some(Token::SemiColon)) && !tokens.is_word("WHERE") {
        old_option(tokens, given)?;
    }
    Ok(())
}

fn option(tokens: &mut Tokens<'_>, given: &mut Given, name: &str) -> Result<(), EngineError> {
    match name {
        "format" => {
            let format = match tokens.text() {
                Ok(text) => text.to_lowercase(),
                Err(_) => tokens.name()?,
            };
            given.format = Some(match format.as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                other => {
                    return Err(EngineError::new(
                        ErrorKind::InvalidParameter,
                        format!("COPY format \"{other}\" not recognized"),
                    )
                    .with_hint("formats: text, csv, binary"));
                }
            });
        }
        "freeze" => {
            switch(tokens)?;
        }
        "delimiter" => given.delimiter = Some(one_byte(name, &tokens.text()?)?),
        "null" => given.null = Some(tokens.text()?),
        "header" => {
            given.header = Some(if tokens.word("MATCH") {
                Header::Match
            } else if switch(tokens)? {
                Header::Names
            } else {
                Header::None
            });
        }
        "quote" => given.quote = Some(one_byte(name, &tokens.text()?)?),
        "escape" => given.escape = Some(one_byte(name, &tokens.text()?)?),
        "force_quote" => given.force_quote = Some(columns(tokens)?),
        "force_not_null" => given.force_not_null = Some(columns(tokens)?),
        "force_null" => given.force_null = Some(columns(tokens)?),
        "encoding" => encoding(&tokens.text()?)?,
        other => return Err(EngineError::unsupported(format!("COPY option \"{other}\""))),
    }
    Ok(())
}

fn old_option(tokens: &mut Tokens<'_>, given: &mut Given) -> Result<(), EngineError> {
    if tokens.word("BINARY") {
        given.format = Some(CopyFormat::Binary);
    } else if tokens.word("CSV") {
        given.format = Some(CopyFormat::Csv);
    } else if tokens.word("FREEZE") {
    } else if tokens.word("HEADER") {
        given.header = Some(Header::Names);
    } else if tokens.words(&["FORCE", "QUOTE"]) {
        given.force_quote = Some(bare_columns(tokens)?);
    } else if tokens.words(&["FORCE", "NOT", "NULL"]) {
        given.force_not_null = Some(bare_columns(tokens)?);
    } else if tokens.words(&["FORCE", "NULL"]) {
        given.force_null = Some(bare_columns(tokens)?);
    } else {
        let name = tokens.name()?;
        if !["delimiter", "null", "quote", "escape", "encoding"].contains(&name.as_str()) {
            return tokens.expected("an option of COPY");
        }
        tokens.word("AS");
        option(tokens, given, &name)?;
    }
    Ok(())
}

fn bare_columns(tokens: &mut Tokens<'_>) -> Result<Quoted, EngineError> {
    if tokens.take(&Token::Mul) {
        return Ok(Quoted::All);
    }
    let mut names = vec![tokens.name()?];
    while tokens.take(&Token::Comma) {
        names.push(tokens.name()?);
    }
    Ok(Quoted::Columns(names))
}

fn columns(tokens: &mut Tokens<'_>) -> Result<Quoted, EngineError> {
    if tokens.take(&Token::Mul) {
        return Ok(Quoted::All);
    }
    Ok(Quoted::Columns(names(tokens)?))
}

/// `TRUE`, `ON`, `1` or nothing; `FALSE`, `OFF`, `0`.
fn switch(tokens: &mut Tokens<'_>) -> Result<bool, EngineError> {
    let word = match tokens.peek() {
        Some(Token::Comma | Token::RParen) => return Ok(true),
        Some(Token::Number(digits, _)) => digits.clone(),
        Some(Token::SingleQuotedString(text)) => text.to_lowercase(),
        Some(Token::Word(word)) => word.value.to_lowercase(),
        _ => return tokens.expected("true or false"),
    };
    let on = match word.as_str() {
        "true" | "on" | "1" => true,
        "false" | "off" | "0" => false,
        _ => return tokens.expected("true or false"),
    };
    tokens.skip();
    Ok(on)
}

fn one_byte(option: &str, text: &str) -> Result<u8, EngineError> {
    match text.as_bytes() {
        [byte] if !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        _ => Err(EngineError::new(
            ErrorKind::Unsupported,
            format!("COPY {option} must be a single one-byte character"),
        )),
    }
}

fn encoding(text: &str) -> Result<(), EngineError> {
    match text.to_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(EngineError::unsupported(format!("encoding \"{text}\"")).with_hint("use UTF8")),
    }
}

impl Given {
    fn complete(self, from: bool) -> Result<CopyOptions, EngineError> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let bad = |text: &str| Err(EngineError::new(ErrorKind::Syntax, text));
        let csv = format == CopyFormat::Csv;
        if format == CopyFormat::Binary
            && (self.delimiter.is_some() || self.null.is_some() || self.header.is_some())
        {
            return bad("COPY in binary has no DELIMITER, NULL or HEADER");
        }
        if !csv && (self.quote.is_some() || self.escape.is_some()) {
            return bad("COPY QUOTE and ESCAPE need the format csv");
        }
        if !csv
            && (self.force_quote.is_some()
                || self.force_not_null.is_some()
                || self.force_null.is_some())
        {
            return bad("COPY FORCE_QUOTE, FORCE_NOT_NULL and FORCE_NULL need the format csv");
        }
        if from && self.force_quote.is_some() {
            return bad("COPY FORCE_QUOTE is for TO only");
        }
        if !from && (self.force_not_null.is_some() || self.force_null.is_some()) {
            return bad("COPY FORCE_NOT_NULL and FORCE_NULL are for FROM only");
        }
        if !from && self.header == Some(Header::Match) {
            return bad("COPY HEADER MATCH is for FROM only");
        }
        let quote = self.quote.unwrap_or(b'"');
        let delimiter = self.delimiter.unwrap_or(if csv { b',' } else { b'\t' });
        let null = self
            .null
            .unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
        if null.contains(['\n', '\r']) {
            return bad("COPY NULL cannot hold a line end");
        }
        if csv && delimiter == quote {
            return bad("COPY DELIMITER and QUOTE must differ");
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            return bad("COPY DELIMITER cannot be a backslash, a dot, a small letter or a digit");
        }
        if null.as_bytes().contains(&delimiter) {
            return bad("COPY NULL cannot hold the delimiter");
        }
        if csv && null.as_bytes().contains(&quote) {
            return bad("COPY NULL cannot hold the quote");
        }
        let none = || Quoted::Columns(vec![]);
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header: self.header.unwrap_or(Header::None),
            quote,
            escape: self.escape.unwrap_or(quote),
            force_quote: self.force_quote.unwrap_or_else(none),
            force_not_null: self.force_not_null.unwrap_or_else(none),
            force_null: self.force_null.unwrap_or_else(none),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::connection_command;

    fn check(sql: &str) -> Copy {
        match connection_command(sql) {
            Ok(Some(ConnectionCommand::Copy(copy))) => *copy,
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn check_refused(sql: &str, kind: ErrorKind) {
        assert_eq!(connection_command(sql).unwrap_err().kind, kind, "{sql}");
    }

    #[test]
    fn both_syntaxes_say_the_same() {
        let new = check(
            "COPY lake.s.\"T\" (a, B) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL 'x', QUOTE '''', ESCAPE E'\\\\', FORCE_NOT_NULL (a))",
        );
        let old = check(
            "copy lake.s.\"T\" (a, b) from stdin with csv header delimiter as ';' null 'x' quote '''' escape as E'\\\\' force not null a",
        );
        assert_eq!(new, old);
        assert_eq!(new.options.delimiter, b';');
        assert_eq!((new.options.quote, new.options.escape), (b'\'', b'\\'));
        assert_eq!(new.options.header, Header::Names);
        assert!(new.options.force_not_null.has("a") && !new.options.force_not_null.has("b"));
        assert_eq!(
            new.source,
            CopySource::Table {
                name: vec!["lake".to_owned(), "s".to_owned(), "T".to_owned()],
                columns: Some(vec!["a".to_owned(), "b".to_owned()]),
            }
        );
    }

    #[test]
    fn a_query_is_copied_as_it_stands() {
        let copy = check("COPY (SELECT (1), 'x)' FROM t) TO STDOUT (FORMAT binary)");
        assert_eq!(
            copy.source,
            CopySource::Query("SELECT (1), 'x)' FROM t".to_owned())
        );
        assert_eq!(copy.options.format, CopyFormat::Binary);
        let copy = check("COPY t TO STDOUT BINARY");
        assert_eq!(copy.options.format, CopyFormat::Binary);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_refused("COPY t FROM '/etc/passwd'", ErrorKind::Unsupported);
        check_refused("COPY t FROM PROGRAM 'ls'", ErrorKind::Unsupported);
        check_refused(
            "COPY t TO STDOUT (FORMAT binary, HEADER)",
            ErrorKind::Syntax,
        );
        check_refused("COPY t TO STDOUT (QUOTE 'x')", ErrorKind::Syntax);
        check_refused("COPY t TO STDOUT (FORMAT xml)", ErrorKind::InvalidParameter);
        check_refused("COPY t FROM STDIN (DELIMITER 'ab')", ErrorKind::Unsupported);
        check_refused(
            "COPY t FROM STDIN (ENCODING 'latin1')",
            ErrorKind::Unsupported,
        );
        check_refused("COPY (SELECT 1) FROM STDIN", ErrorKind::Syntax);
    }
}
