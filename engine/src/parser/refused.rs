//! Statements that PostgreSQL has and Tarn does not: refused by their names, whatever comes after these.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Grammar;

/// Commands, by their first words.
const COMMANDS: [&str; 13] = [
    "CHECKPOINT",
    "CLUSTER",
    "DO",
    "GRANT",
    "IMPORT FOREIGN SCHEMA",
    "LISTEN",
    "LOAD",
    "NOTIFY",
    "REASSIGN OWNED",
    "REFRESH MATERIALIZED VIEW",
    "REINDEX",
    "REVOKE",
    "SECURITY LABEL",
];

/// What CREATE, ALTER and DROP are about.
const KINDS: [&str; 36] = [
    "ACCESS METHOD",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DATABASE",
    "DEFAULT PRIVILEGES",
    "DOMAIN",
    "EVENT TRIGGER",
    "EXTENSION",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "GROUP",
    "INDEX",
    "LANGUAGE",
    "LARGE OBJECT",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "OWNED",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROUTINE",
    "RULE",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "SYSTEM",
    "TABLESPACE",
    "TEXT SEARCH",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
];

/// Words between CREATE and what it is about.
const BETWEEN: [&str; 11] = [
    "OR",
    "REPLACE",
    "UNIQUE",
    "TRUSTED",
    "PROCEDURAL",
    "CONSTRAINT",
    "DEFAULT",
    "TEMP",
    "TEMPORARY",
    "LOCAL",
    "GLOBAL",
];

/// The row lock that a query asks for, if it is one that the parser does not know.
pub(super) fn row_lock(tokens: &[TokenWithSpan]) -> Option<&'static str> {
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .map(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        })
        .collect();
    let locks = ["FOR NO KEY UPDATE", "FOR KEY SHARE"];
    locks.into_iter().find(|lock| {
        let lock: Vec<&str> = lock.split(' ').collect();
        words.windows(lock.len()).any(|window| window == lock)
    })
}

impl Grammar<'_> {
    /// The name of the statement ahead, if it is one of those.
    pub(super) fn refused(&self) -> Option<String> {
        let stands = |at: usize, words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            self.ahead(at, &words)
        };
        if let Some(command) = COMMANDS.iter().find(|words| stands(0, words)) {
            return Some((*command).to_owned());
        }
        let verb = ["CREATE", "ALTER", "DROP"]
            .into_iter()
            .find(|verb| stands(0, verb))?;
        let about = |at: usize| KINDS.iter().find(|words| stands(at, words));
        let mut at = 1;
        loop {
            if let Some(kind) = about(at) {
                return Some(format!("{verb} {kind}"));
            }
            if verb != "CREATE" || !BETWEEN.iter().any(|word| stands(at, word)) {
                return None;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;
    use crate::parser::parse;

    fn check_refused(sql: &str, name: &str) {
        let error = parse(sql).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.message.starts_with(name), "{sql}: {error}");
    }

    #[test]
    fn what_postgresql_has_and_we_have_not_is_refused_by_name() {
        check_refused("DO $$ BEGIN END $$", "DO is");
        check_refused("LISTEN x", "LISTEN is");
        check_refused("create unique index on t (a)", "CREATE INDEX is");
        check_refused(
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN END $$",
            "CREATE FUNCTION is",
        );
        check_refused("GRANT a, b TO c WITH ADMIN OPTION", "GRANT is");
        check_refused("ALTER SYSTEM SET x = 1", "ALTER SYSTEM is");
        check_refused("CREATE DATABASE d", "CREATE DATABASE is");
        check_refused("alter database d rename to e", "ALTER DATABASE is");
        check_refused("DROP DATABASE IF EXISTS d", "DROP DATABASE is");
        check_refused(
            "SELECT 1 FROM t FOR NO KEY UPDATE",
            "SELECT … FOR NO KEY UPDATE is",
        );
        check_refused(
            "(select 1 from t for key share)",
            "SELECT … FOR KEY SHARE is",
        );
        check_refused("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH");
        assert_eq!(parse("CREATE TRAP x").unwrap_err().kind, ErrorKind::Syntax);
    }
}
