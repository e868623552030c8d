//! Statements about a client's connection: transactions, cursors, prepared statements, COPY.
//!
//! Only their grammar lives here; a door whose protocol has such things gives them their meaning. A
//! text that is none of them is left to [`crate::Engine`]. Resolves no name.

use crate::dialect::PostgreSqlDialect;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::connection_copy;
use crate::connection_tokens::Tokens;
use crate::error::{EngineError, ErrorKind};
use crate::parser;
use crate::types::SqlTypes;

pub use crate::connection_copy::{Copy, CopyFormat, CopyOptions, CopySource, Header, Quoted};

/// A statement about the connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionCommand {
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// Whether it was spelt `START TRANSACTION`.
        start: bool,
        /// What it asks for.
        modes: TransactionModes,
    },
    /// `COMMIT`, `END`.
    Commit {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `RELEASE [SAVEPOINT] name`.
    Release(String),
    /// `ROLLBACK TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `SET TRANSACTION modes`.
    SetTransaction(TransactionModes),
    /// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`.
    SetCharacteristics(TransactionModes),
    /// `SET LOCAL name = value`: the engine runs its text, the door undoes it at the block's end.
    SetLocal,
    /// `SET CONSTRAINTS`: there are none that could be deferred.
    SetConstraints,
    /// `SET ROLE NONE`, `RESET ROLE`, `SET SESSION AUTHORIZATION DEFAULT`: nothing to go back from.
    OwnRole {
        /// Whether it was spelt `RESET`.
        reset: bool,
    },
    /// `DISCARD`.
    Discard(Discard),
    /// `DEALLOCATE [PREPARE] name | ALL`.
    Deallocate(Option<String>),
    /// `PREPARE name [(types)] AS statement`.
    Prepare {
        /// Its name.
        name: String,
        /// Types of the parameters, as far as said.
        types: Vec<Option<FieldRef>>,
        /// The statement's text.
        sql: String,
    },
    /// `EXECUTE name [(values)]`.
    Execute {
        /// Its name.
        name: String,
        /// The values' expressions.
        values: Vec<String>,
    },
    /// `DECLARE name … CURSOR … FOR query`.
    Declare {
        /// Its name.
        name: String,
        /// Rows go out in binary.
        binary: bool,
        /// Whether the cursor goes backwards, too.
        scroll: bool,
        /// Whether it outlives its transaction.
        hold: bool,
        /// The query's text.
        sql: String,
    },
    /// `FETCH`, `MOVE`.
    Fetch {
        /// The cursor.
        name: String,
        /// How far.
        steps: Steps,
        /// Whether the rows are only skipped.
        is_move: bool,
    },
    /// `CLOSE name | ALL`.
    Close(Option<String>),
    /// `LISTEN channel`.
    Listen,
    /// `UNLISTEN channel | *`.
    Unlisten,
    /// `COPY`.
    Copy(Box<Copy>),
}

/// What a transaction is to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// `ISOLATION LEVEL …`, in small letters.
    pub isolation: Option<String>,
    /// `READ ONLY` or `READ WRITE`.
    pub read_only: Option<bool>,
    /// `[NOT] DEFERRABLE`.
    pub deferrable: Option<bool>,
}

/// What `DISCARD` throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Everything.
    All,
    /// Cached plans.
    Plans,
    /// Sequence state.
    Sequences,
    /// Temporary tables.
    Temp,
}

/// How far `FETCH` and `MOVE` go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// So many rows onwards; none is the row that the cursor is on.
    Forward(u64),
    /// So many rows back.
    Backward(u64),
    /// The row of this number, from 1; below zero, counted from the end.
    Absolute(i64),
    /// The row that many further, or back; not 0.
    Relative(i64),
}

impl Steps {
    /// Rows of `FORWARD ALL` and `BACKWARD ALL`.
    pub const ALL: u64 = u64::MAX;

    fn forward(rows: i64) -> Self {
        if rows < 0 {
            Self::Backward(rows.unsigned_abs())
        } else {
            Self::Forward(rows.unsigned_abs())
        }
    }

    fn backward(rows: i64) -> Self {
        Self::forward(rows.saturating_neg())
    }
}

/// The statement about the connection that `sql` is, if it is one.
///
/// # Errors
/// [`ErrorKind::Syntax`] if it begins as one and goes on wrong; [`ErrorKind::Unsupported`] for one
/// that Tarn does not have.
pub fn connection_command(sql: &str) -> Result<Option<ConnectionCommand>, EngineError> {
    let first = first_word(sql);
    if !FIRST_WORDS.contains(&first.as_str()) {
        return Ok(None);
    }
    let mut tokens = Tokens::of(sql)?;
    let command = match first.as_str() {
        "BEGIN" | "START" => begin(&mut tokens),
        "COMMIT" | "END" | "ROLLBACK" | "ABORT" => end(&mut tokens),
        "SAVEPOINT" => {
            tokens.skip();
            Ok(Some(ConnectionCommand::Savepoint(tokens.name()?)))
        }
        "RELEASE" => {
            tokens.skip();
            tokens.word("SAVEPOINT");
            Ok(Some(ConnectionCommand::Release(tokens.name()?)))
        }
        "SET" | "RESET" => return set(&mut tokens),
        "DISCARD" => discard(&mut tokens),
        "DEALLOCATE" => deallocate(&mut tokens),
        "PREPARE" => prepare(&mut tokens),
        "EXECUTE" => execute(&mut tokens),
        "DECLARE" => declare(&mut tokens),
        "FETCH" | "MOVE" => fetch(&mut tokens),
        "CLOSE" => close(&mut tokens),
        "LISTEN" => {
            tokens.skip();
            tokens.name()?;
            Ok(Some(ConnectionCommand::Listen))
        }
        "UNLISTEN" => {
            tokens.skip();
            if !tokens.take(&Token::Mul) {
                tokens.name()?;
            }
            Ok(Some(ConnectionCommand::Unlisten))
        }
        "NOTIFY" => Err(EngineError::unsupported("NOTIFY")),
        "LOCK" => Err(EngineError::unsupported("LOCK TABLE").with_hint(
            "readers see one snapshot and writers commit at once; no table can be locked",
        )),
        "COPY" => connection_copy::copy(&mut tokens),
        _ => return Ok(None),
    }?;
    if command.is_some() {
        tokens.end()?;
    }
    Ok(command)
}

/// Whether a statement only reads: what a read-only transaction lets through.
pub fn only_reads(sql: &str) -> bool {
    match parser::parse(sql) {
        Ok(statement) => statement.is_read(),
        // Its error comes when it is run.
        Err(_) => true,
    }
}

const FIRST_WORDS: [&str; 23] = [
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "RESET",
    "DISCARD",
    "DEALLOCATE",
    "PREPARE",
    "EXECUTE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "LOCK",
    "COPY",
];

/// The first word of a text in capitals, after spaces and comments.
pub fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else {
            break;
        }
    }
    rest.chars()
        .take_while(|c| c.is_ascii_alphabetic() || *c == '_')
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn after_comment(text: &str) -> &str {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return &text[at..];
                }
            }
            _ => at += 1,
        }
    }
    ""
}

type Command = Result<Option<ConnectionCommand>, EngineError>;

fn begin(tokens: &mut Tokens<'_>) -> Command {
    let start = tokens.word("START");
    if !start {
        tokens.skip();
    }
    let word = tokens.word("TRANSACTION");
    if start && !word {
        return tokens.expected("TRANSACTION");
    }
    if !word {
        tokens.word("WORK");
    }
    let modes = modes(tokens, true)?;
    Ok(Some(ConnectionCommand::Begin { start, modes }))
}

fn modes(tokens: &mut Tokens<'_>, may_be_empty: bool) -> Result<TransactionModes, EngineError> {
    let mut modes = TransactionModes::default();
    let mut first = true;
    loop {
        if tokens.words(&["ISOLATION", "LEVEL"]) {
            let levels = [
                "READ UNCOMMITTED",
                "READ COMMITTED",
                "REPEATABLE READ",
                "SERIALIZABLE",
            ];
            let level = levels
                .iter()
                .find(|level| tokens.words(&level.split(' ').collect::<Vec<_>>()));
            match level {
                Some(level) => modes.isolation = Some(level.to_lowercase()),
                None => return tokens.expected("an isolation level"),
            }
        } else if tokens.words(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if tokens.words(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else if tokens.words(&["NOT", "DEFERRABLE"]) {
            modes.deferrable = Some(false);
        } else if tokens.word("DEFERRABLE") {
            modes.deferrable = Some(true);
        } else if first && may_be_empty {
            return Ok(modes);
        } else {
            return tokens.expected("ISOLATION LEVEL, READ ONLY or READ WRITE");
        }
        first = false;
        let comma = tokens.take(&Token::Comma);
        if !comma && matches!(tokens.peek(), None | Some(Token::SemiColon)) {
            return Ok(modes);
        }
    }
}

fn end(tokens: &mut Tokens<'_>) -> Command {
    let commit = tokens.word("COMMIT") || tokens.word("END");
    if !commit {
        tokens.skip();
    }
    if tokens.is_word("PREPARED") {
        return Err(EngineError::unsupported("two-phase commit"));
    }
    if !tokens.word("TRANSACTION") {
        tokens.word("WORK");
    }
    if !commit && tokens.word("TO") {
        tokens.word("SAVEPOINT");
        return Ok(Some(ConnectionCommand::RollbackTo(tokens.name()?)));
    }
    let mut chain = false;
    if tokens.word("AND") {
        chain = !tokens.word("NO");
        if !tokens.word("CHAIN") {
            return tokens.expected("CHAIN");
        }
    }
    Ok(Some(if commit {
        ConnectionCommand::Commit { chain }
    } else {
        ConnectionCommand::Rollback { chain }
    }))
}

/// The kinds of SET that are about transactions and roles; the others are the engine's.
fn set(tokens: &mut Tokens<'_>) -> Command {
    let reset = tokens.word("RESET");
    if !reset {
        tokens.skip();
    }
    let refused = || {
        Err(EngineError::unsupported("acting as another user")
            .with_hint("connect as the user whose rights are wanted"))
    };
    if tokens.words(&["SESSION", "AUTHORIZATION"]) {
        if reset || tokens.word("DEFAULT") {
            return Ok(Some(ConnectionCommand::OwnRole { reset }));
        }
        return refused();
    }
    if !reset && tokens.words(&["SESSION", "CHARACTERISTICS"]) {
        if !tokens.words(&["AS", "TRANSACTION"]) {
            return tokens.expected("AS TRANSACTION");
        }
        let modes = modes(tokens, false)?;
        return Ok(Some(ConnectionCommand::SetCharacteristics(modes)));
    }
    let local = !reset && tokens.word("LOCAL");
    if !reset && !local {
        tokens.word("SESSION");
    }
    if tokens.word("ROLE") {
        let _ = tokens.take(&Token::Eq) || tokens.word("TO");
        if reset || tokens.word("NONE") || tokens.word("DEFAULT") {
            return Ok(Some(ConnectionCommand::OwnRole { reset }));
        }
        return refused();
    }
    if local {
        return Ok(Some(ConnectionCommand::SetLocal));
    }
    if reset {
        return Ok(None);
    }
    if tokens.word("TRANSACTION") {
        if tokens.is_word("SNAPSHOT") {
            return Err(EngineError::unsupported("SET TRANSACTION SNAPSHOT"));
        }
        let modes = modes(tokens, false)?;
        return Ok(Some(ConnectionCommand::SetTransaction(modes)));
    }
    if tokens.word("CONSTRAINTS") {
        return Ok(Some(ConnectionCommand::SetConstraints));
    }
    Ok(None)
}

fn discard(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    let what = if tokens.word("ALL") {
        Discard::All
    } else if tokens.word("PLANS") {
        Discard::Plans
    } else if tokens.word("SEQUENCES") {
        Discard::Sequences
    } else if tokens.word("TEMP") || tokens.word("TEMPORARY") {
        Discard::Temp
    } else {
        return tokens.expected("ALL, PLANS, SEQUENCES or TEMP");
    };
    Ok(Some(ConnectionCommand::Discard(what)))
}

fn deallocate(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    tokens.word("PREPARE");
    let name = if tokens.word("ALL") {
        None
    } else {
        Some(tokens.name()?)
    };
    Ok(Some(ConnectionCommand::Deallocate(name)))
}

fn prepare(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    if tokens.is_word("TRANSACTION") {
        return Err(EngineError::unsupported("two-phase commit"));
    }
    let name = tokens.name()?;
    let types = if tokens.take(&Token::LParen) {
        let parts = tokens.parts()?;
        parts
            .iter()
            .map(|part| data_type(part))
            .collect::<Result<_, _>>()?
    } else {
        vec![]
    };
    if !tokens.word("AS") {
        return tokens.expected("AS");
    }
    let sql = tokens.rest()?;
    Ok(Some(ConnectionCommand::Prepare { name, types, sql }))
}

fn data_type(text: &str) -> Result<Option<FieldRef>, EngineError> {
    if text.eq_ignore_ascii_case("unknown") {
        return Ok(None);
    }
    let dialect = PostgreSqlDialect::default();
    let sql = Parser::new(&dialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_data_type())
        .map_err(|error| {
            let mut error = EngineError::from_parser(&error, text);
            error.position = None;
            error
        })?;
    match SqlTypes::new("UTC").plan_type_field(&sql)? {
        Some(field) => Ok(Some(field)),
        None => Err(EngineError::new(
            ErrorKind::UndefinedSetting,
            format!("type \"{text}\" does not exist"),
        )),
    }
}

fn execute(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    let name = tokens.name()?;
    let values = if tokens.take(&Token::LParen) {
        tokens.parts()?
    } else {
        vec![]
    };
    Ok(Some(ConnectionCommand::Execute { name, values }))
}

fn declare(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    let name = tokens.name()?;
    let (mut binary, mut scroll, mut hold) = (false, false, false);
    loop {
        if tokens.word("BINARY") {
            binary = true;
        } else if tokens.words(&["NO", "SCROLL"]) {
            scroll = false;
        } else if tokens.word("SCROLL") {
            scroll = true;
        } else if !(tokens.word("INSENSITIVE") || tokens.word("ASENSITIVE")) {
            break;
        }
    }
    if !tokens.word("CURSOR") {
        return tokens.expected("CURSOR");
    }
    if tokens.words(&["WITH", "HOLD"]) {
        hold = true;
    } else {
        tokens.words(&["WITHOUT", "HOLD"]);
    }
    if !tokens.word("FOR") {
        return tokens.expected("FOR");
    }
    let sql = tokens.rest()?;
    Ok(Some(ConnectionCommand::Declare {
        name,
        binary,
        scroll,
        hold,
        sql,
    }))
}

fn fetch(tokens: &mut Tokens<'_>) -> Command {
    let is_move = tokens.word("MOVE");
    if !is_move {
        tokens.skip();
    }
    // A cursor may be called like a direction; then nothing follows it.
    let alone = matches!(tokens.peek_second(), None | Some(Token::SemiColon));
    let steps = if alone {
        Steps::Forward(1)
    } else {
        steps(tokens)?
    };
    if !alone {
        let _ = tokens.word("FROM") || tokens.word("IN");
    }
    let name = tokens.name()?;
    Ok(Some(ConnectionCommand::Fetch {
        name,
        steps,
        is_move,
    }))
}

fn steps(tokens: &mut Tokens<'_>) -> Result<Steps, EngineError> {
    if tokens.word("NEXT") {
        return Ok(Steps::Forward(1));
    }
    if tokens.word("PRIOR") {
        return Ok(Steps::Backward(1));
    }
    if tokens.word("FIRST") {
        return Ok(Steps::Absolute(1));
    }
    if tokens.word("LAST") {
        return Ok(Steps::Absolute(-1));
    }
    if tokens.word("ALL") {
        return Ok(Steps::Forward(Steps::ALL));
    }
    if tokens.word("ABSOLUTE") || tokens.is_word("RELATIVE") {
        let relative = tokens.word("RELATIVE");
        return match tokens.number()? {
            // The row that it is on.
            Some(0) if relative => Ok(Steps::Forward(0)),
            Some(count) if relative => Ok(Steps::Relative(count)),
            Some(count) => Ok(Steps::Absolute(count)),
            None => tokens.expected("a whole number"),
        };
    }
    let backward = tokens.word("BACKWARD");
    if !backward {
        tokens.word("FORWARD");
    }
    Ok(match (backward, tokens.word("ALL")) {
        (true, true) => Steps::Backward(Steps::ALL),
        (false, true) => Steps::Forward(Steps::ALL),
        (true, false) => Steps::backward(tokens.number()?.unwrap_or(1)),
        (false, false) => Steps::forward(tokens.number()?.unwrap_or(1)),
    })
}

fn close(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip();
    let name = if tokens.word("ALL") {
        None
    } else {
        Some(tokens.name()?)
    };
    Ok(Some(ConnectionCommand::Close(name)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    fn check(sql: &str) -> ConnectionCommand {
        match connection_command(sql) {
            Ok(Some(command)) => command,
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn check_error(sql: &str, kind: ErrorKind) {
        match connection_command(sql) {
            Err(error) => assert_eq!(error.kind, kind, "{sql}: {error}"),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn transactions_begin_and_end_in_every_spelling() {
        for sql in [
            "BEGIN",
            "begin work;",
            "BEGIN TRANSACTION",
            "/* x */ begin -- y\n",
        ] {
            assert_eq!(
                check(sql),
                ConnectionCommand::Begin {
                    start: false,
                    modes: TransactionModes::default()
                }
            );
        }
        let ConnectionCommand::Begin { start, modes } =
            check("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY DEFERRABLE")
        else {
            panic!()
        };
        assert!(start);
        assert_eq!(modes.isolation.as_deref(), Some("repeatable read"));
        assert_eq!(
            (modes.read_only, modes.deferrable),
            (Some(true), Some(true))
        );
        assert_eq!(check("END"), ConnectionCommand::Commit { chain: false });
        assert_eq!(
            check("ROLLBACK WORK AND CHAIN"),
            ConnectionCommand::Rollback { chain: true }
        );
        assert_eq!(
            check("rollback to savepoint \"A b\""),
            ConnectionCommand::RollbackTo("A b".to_owned())
        );
        check_error("BEGIN TRANSACTION READ", ErrorKind::Syntax);
        check_error("COMMIT PREPARED 'x'", ErrorKind::Unsupported);
    }

    #[test]
    fn settings_are_left_to_the_engine() {
        for sql in [
            "SET search_path = a",
            "SELECT 1",
            "RESET ALL",
            "SET SESSION statement_timeout = 1",
            "",
            "-- nothing",
        ] {
            assert_eq!(connection_command(sql).unwrap(), None, "{sql}");
        }
        assert_eq!(check("SET LOCAL x = 1"), ConnectionCommand::SetLocal);
        assert!(matches!(
            check("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            ConnectionCommand::SetCharacteristics(TransactionModes {
                read_only: Some(true),
                ..
            })
        ));
        check_error("SET ROLE bob", ErrorKind::Unsupported);
        check_error("SET SESSION AUTHORIZATION 'bob'", ErrorKind::Unsupported);
        assert_eq!(
            check("SET ROLE NONE"),
            ConnectionCommand::OwnRole { reset: false }
        );
    }

    #[test]
    fn a_cursor_keeps_its_query_as_it_stands() {
        assert_eq!(
            check(
                "declare \"SQL_CUR0x1\" binary insensitive no scroll cursor with hold for select 'ä;' as x;"
            ),
            ConnectionCommand::Declare {
                name: "SQL_CUR0x1".to_owned(),
                binary: true,
                scroll: false,
                hold: true,
                sql: "select 'ä;' as x".to_owned(),
            }
        );
    }

    fn check_steps(sql: &str, wanted: Steps) {
        match check(sql) {
            ConnectionCommand::Fetch { name, steps, .. } => {
                assert_eq!((name.as_str(), steps), ("c", wanted), "{sql}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fetch_counts_as_postgresql_does() {
        check_steps("FETCH c", Steps::Forward(1));
        check_steps("FETCH 100 IN c", Steps::Forward(100));
        check_steps("FETCH FORWARD 5 FROM c", Steps::Forward(5));
        check_steps("FETCH FORWARD ALL c", Steps::Forward(Steps::ALL));
        check_steps("FETCH NEXT FROM c", Steps::Forward(1));
        check_steps("FETCH ABSOLUTE 7 c", Steps::Absolute(7));
        check_steps("FETCH ABSOLUTE -2 c", Steps::Absolute(-2));
        check_steps("FETCH 0 c", Steps::Forward(0));
        check_steps("FETCH -1 FROM c", Steps::Backward(1));
        check_steps("FETCH FORWARD -3 FROM c", Steps::Backward(3));
        check_steps("FETCH BACKWARD -3 FROM c", Steps::Forward(3));
        check_steps("FETCH BACKWARD FROM c", Steps::Backward(1));
        check_steps("FETCH BACKWARD ALL FROM c", Steps::Backward(Steps::ALL));
        check_steps("FETCH FIRST FROM c", Steps::Absolute(1));
        check_steps("FETCH LAST FROM c", Steps::Absolute(-1));
        check_steps("MOVE RELATIVE 0 IN c", Steps::Forward(0));
        check_steps("MOVE RELATIVE -2 IN c", Steps::Relative(-2));
        check_steps("MOVE RELATIVE 2 IN c", Steps::Relative(2));
        check_steps("FETCH PRIOR c", Steps::Backward(1));
    }

    #[test]
    fn prepared_statements_have_types_and_values() {
        let field = |ty| Some(Arc::new(Field::new("", ty, true)));
        assert_eq!(
            check("PREPARE p (int, numeric(10, 2)) AS SELECT $1, $2;"),
            ConnectionCommand::Prepare {
                name: "p".to_owned(),
                types: vec![field(DataType::Int32), field(DataType::Decimal128(10, 2))],
                sql: "SELECT $1, $2".to_owned(),
            }
        );
        assert_eq!(
            check("EXECUTE p (f(1, 2), 'a,b')"),
            ConnectionCommand::Execute {
                name: "p".to_owned(),
                values: vec!["f(1, 2)".to_owned(), "'a,b'".to_owned()],
            }
        );
        check_error("PREPARE p AS", ErrorKind::Syntax);
        assert_eq!(check("DEALLOCATE ALL"), ConnectionCommand::Deallocate(None));
    }

    #[test]
    fn what_is_not_had_is_named() {
        check_error("NOTIFY x", ErrorKind::Unsupported);
        check_error("DISCARD SOMETHING", ErrorKind::Syntax);
        assert_eq!(
            check("DISCARD ALL"),
            ConnectionCommand::Discard(Discard::All)
        );
        assert_eq!(check("UNLISTEN *"), ConnectionCommand::Unlisten);
    }
}
