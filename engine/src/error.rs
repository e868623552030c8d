//! What can go wrong while a statement is planned or run, and what each door says of it.
//!
//! One type for all of the engine: whoever meets a library's error classifies it here, once.
//! Knows SQLSTATE and whether a retry is safe; never writes to a log and never prints.

mod kind;
mod signatures;
mod text;

pub use kind::ErrorKind;

use std::error::Error;
use std::fmt;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{SchemaError, TableReference};
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use tarn_catalog::{CatalogError, ErrorCode};

use crate::scan::ScanError;
use crate::write::WriteError;

/// An error as every door reports it.
#[derive(Debug)]
pub struct EngineError {
    /// The class.
    pub kind: ErrorKind,
    /// What happened, naming the thing; no full stop.
    pub message: String,
    /// What to do next, where the message does not say it.
    pub hint: Option<String>,
    /// Where in the statement, in characters, from 1.
    pub position: Option<usize>,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for EngineError {}

impl EngineError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            position: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the position (characters, from 1) in the statement.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// What is understood but not done.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{what} is not supported"))
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Classifies a parser's error; `sql` turns its line and column into a position.
    pub fn from_parser(error: &ParserError, sql: &str) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                "the statement is nested too deeply; split it with WITH or a view".to_owned()
            }
        };
        let (message, place) = split_place(&text);
        let mut out = Self::new(
            ErrorKind::Syntax,
            format!("syntax error: {}", lower_first(message)),
        );
        out.position = match place {
            Some((line, column)) => position_of(sql, line, column),
            None if message.ends_with("found: EOF") => Some(sql.chars().count() + 1),
            None => None,
        };
        out
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// Splits `… at Line: 3, Column: 7` off the end of sqlparser's messages.
fn split_place(text: &str) -> (&str, Option<(u64, u64)>) {
    let Some(at) = text.rfind(" at Line: ") else {
        return (text, None);
    };
    let numbers: Vec<u64> = text[at..]
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    match numbers[..] {
        [line, column, ..] => (&text[..at], Some((line, column))),
        _ => (text, None),
    }
}

/// Characters from 1, of a line and column from 1. `None` past the end of nothing.
pub(crate) fn position_of(sql: &str, line: u64, column: u64) -> Option<usize> {
    if line == 0 {
        return Some(sql.chars().count() + 1);
    }
    let line = usize::try_from(line).ok()?;
    let column = usize::try_from(column).ok()?;
    let before: usize = sql
        .split('\n')
        .take(line - 1)
        .map(|l| l.chars().count() + 1)
        .sum();
    Some(before + column)
}

impl From<CatalogError> for EngineError {
    fn from(error: CatalogError) -> Self {
        Self::new(Self::kind_of(&error), chain(&error))
    }
}

/// The messages of an error and its causes, joined, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = next.source();
    }
    text
}

impl From<EngineError> for DataFusionError {
    fn from(error: EngineError) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<ArrowError> for EngineError {
    fn from(error: ArrowError) -> Self {
        from_arrow(&error)
    }
}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => from_any(inner.as_ref()),
            },
            other => from_datafusion(&other),
        }
    }
}

impl EngineError {
    pub(crate) fn copy(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            hint: self.hint.clone(),
            position: self.position,
        }
    }
}

/// Looks through wrappers for the error that started it.
fn from_datafusion(error: &DataFusionError) -> EngineError {
    if let Some(known) = signatures::known(error) {
        return known;
    }
    match error {
        DataFusionError::External(inner) => from_any(inner.as_ref()),
        DataFusionError::Context(text, inner) => {
            within(text, classed(text, from_datafusion(inner)))
        }
        DataFusionError::Diagnostic(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => errors
            .first()
            .map_or_else(|| EngineError::internal("unknown error"), from_datafusion),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::ObjectStore(inner) => from_object_store(inner),
        DataFusionError::IoError(inner) => from_io(&inner.to_string(), inner),
        DataFusionError::SQL(inner, _) => EngineError::from_parser(inner, ""),
        DataFusionError::NotImplemented(text) => text::unsupported(text),
        DataFusionError::ResourcesExhausted(text) if text.contains(DISK_BOUND) => {
            spilled_too_much("spill files reached [spill] limit_bytes")
        }
        DataFusionError::ResourcesExhausted(text) => EngineError::new(
            ErrorKind::ResourcesExhausted,
            format!("resources exhausted: {text}"),
        )
        .with_hint(
            "raise [memory] query_limit_bytes or limit_bytes, run fewer statements at once ([admission] running), or let the statement touch fewer rows or groups",
        ),
        DataFusionError::SchemaError(inner, _) => from_schema_error(inner),
        DataFusionError::Plan(text) => text::planning(text),
        DataFusionError::Execution(text) => text::execution(text),
        DataFusionError::Configuration(text) => {
            EngineError::new(ErrorKind::InvalidParameter, text.clone())
        }
        other => EngineError::internal(other.to_string()),
    }
}

/// What Linux says of a full disk.
const DISK_FULL: &str = "No space left on device";
/// In what DataFusion says when spill files reach their bound.
const DISK_BOUND: &str = "max_temp_directory_size";

/// An error of a disk. Those of spill files come this way too, from workers as texts.
fn from_io(text: &str, error: &std::io::Error) -> EngineError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    if text.contains(DISK_BOUND) {
        spilled_too_much("spill files reached [spill] limit_bytes")
    } else if matches!(error.kind(), StorageFull | QuotaExceeded) || text.contains(DISK_FULL) {
        EngineError::new(
            ErrorKind::DiskFull,
            format!("disk full: no room for what does not fit into memory: {text}"),
        )
        .with_hint(SPILL_HINT)
    } else {
        EngineError::new(ErrorKind::StorageUnavailable, text)
    }
}

fn spilled_too_much(why: &str) -> EngineError {
    EngineError::new(
        ErrorKind::ResourcesExhausted,
        format!("resources exhausted: no room for what does not fit into memory: {why}"),
    )
    .with_hint(SPILL_HINT)
}

const SPILL_HINT: &str = "make room on the disk of the spill folder, raise [spill] limit_bytes or [memory] query_limit_bytes, or let the statement touch fewer rows";

/// Marks a context that says the class of the error inside it.
const CLASS_MARK: &str = "sqlstate ";

/// Puts `kind` on an error so that it survives the way from a worker, which keeps only texts.
pub(crate) fn with_class(error: DataFusionError, kind: ErrorKind) -> DataFusionError {
    error.context(format!("{CLASS_MARK}{}", kind.sqlstate()))
}

/// The class that a worker put on an error of a type that is not known here.
fn classed(context: &str, error: EngineError) -> EngineError {
    const SENT: [ErrorKind; 12] = [
        ErrorKind::NotNull,
        ErrorKind::InvalidText,
        ErrorKind::DatetimeFormat,
        ErrorKind::DatetimeOverflow,
        ErrorKind::IntervalOverflow,
        ErrorKind::TypeMismatch,
        ErrorKind::InvalidParameter,
        ErrorKind::Unsupported,
        ErrorKind::Corrupt,
        ErrorKind::FileNotFound,
        ErrorKind::StorageUnavailable,
        ErrorKind::StorageDenied,
    ];
    let Some(code) = context.strip_prefix(CLASS_MARK) else {
        return error;
    };
    match SENT.into_iter().find(|kind| kind.sqlstate() == code) {
        Some(kind) if error.kind == ErrorKind::Internal => EngineError { kind, ..error },
        // Storage speaks of connections too.
        Some(kind) if error.kind == ErrorKind::WorkerLost => {
            let text = error.message.strip_prefix(WORKER_LOST).map(str::to_owned);
            EngineError::new(kind, text.unwrap_or(error.message))
        }
        _ => error,
    }
}

/// Says which table and file an error is about, where the context knows it and the error does not, and what to do.
/// Errors of values, memory and workers are not about the file that was open.
fn within(context: &str, error: EngineError) -> EngineError {
    let about_files = matches!(
        error.kind,
        ErrorKind::Corrupt
            | ErrorKind::FileNotFound
            | ErrorKind::StorageUnavailable
            | ErrorKind::StorageDenied
            | ErrorKind::Unsupported
            | ErrorKind::Internal
    );
    if !context.starts_with(FILE_MARK) || !about_files || error.message.contains(context) {
        return error;
    }
    let hint = match error.kind {
        ErrorKind::Corrupt | ErrorKind::FileNotFound if context.starts_with(READ_MARK) => {
            Some("restore the file from a backup, or DROP the table and load it again".to_owned())
        }
        ErrorKind::StorageUnavailable if error.hint.is_none() => Some(
            "run the statement again; if it fails again, check that the storage can be reached"
                .to_owned(),
        ),
        _ => error.hint,
    };
    EngineError {
        message: format!("{context}: {}", error.message),
        hint,
        ..error
    }
}

/// Begins the contexts of reading a file or table.
const READ_MARK: &str = "cannot read ";

/// Begins the contexts that name a file of a table.
const FILE_MARK: &str = "cannot ";

fn from_any(error: &(dyn Error + 'static)) -> EngineError {
    from_any_or(error, ErrorKind::Internal)
}

/// Walks an unknown error's causes to one that we know; else `fallback` with the whole chain.
fn from_any_or(error: &(dyn Error + 'static), fallback: ErrorKind) -> EngineError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(ours) = e.downcast_ref::<EngineError>() {
            return ours.copy();
        }
        if let Some(inner) = e.downcast_ref::<DataFusionError>() {
            return from_datafusion(inner);
        }
        if let Some(inner) = e.downcast_ref::<ArrowError>() {
            return from_arrow(inner);
        }
        if let Some(inner) = e.downcast_ref::<object_store::Error>() {
            return from_object_store(inner);
        }
        if let Some(inner) = e.downcast_ref::<CatalogError>() {
            return EngineError::new(EngineError::kind_of(inner), chain(inner));
        }
        // The source of an I/O error is its content's source: the content itself would be skipped.
        if let Some(inner) = e
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
        {
            return from_any_or(inner, fallback);
        }
        if let Some(inner) = e.downcast_ref::<WriteError>() {
            return EngineError::new(inner.kind(), chain(inner));
        }
        if let Some(inner) = e.downcast_ref::<ScanError>() {
            return EngineError::new(inner.kind(), chain(inner));
        }
        if let Some(status) = e.downcast_ref::<tonic::Status>() {
            return from_status(status);
        }
        if e.downcast_ref::<tonic::transport::Error>().is_some() {
            return worker_lost(&chain(e));
        }
        cause = e.source();
    }
    let text = chain(error);
    // From one worker to the next and to here, an error of a connection is nothing but a text.
    if fallback == ErrorKind::Internal && text::tells_of_lost_worker(&text) {
        return worker_lost(&text);
    }
    EngineError::new(fallback, text)
}

/// Begins what is said of a worker that is gone.
const WORKER_LOST: &str = "a worker was lost while it ran a part of this statement: ";

fn worker_lost(text: &str) -> EngineError {
    EngineError::new(ErrorKind::WorkerLost, format!("{WORKER_LOST}{text}"))
        .with_hint("run the statement again; system.workers lists the workers that are left")
}

fn from_status(status: &tonic::Status) -> EngineError {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Aborted | tonic::Code::Unknown => {
            worker_lost(status.message())
        }
        tonic::Code::Cancelled => {
            EngineError::new(ErrorKind::Canceled, "the statement was cancelled")
        }
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => EngineError::new(
            ErrorKind::Denied,
            format!("a worker refused the fragment: {}", status.message()),
        )
        .with_hint("give coordinator and workers the same [cluster] secret"),
        tonic::Code::ResourceExhausted => {
            EngineError::new(ErrorKind::ResourcesExhausted, status.message())
        }
        tonic::Code::Ok
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::FailedPrecondition
        | tonic::Code::OutOfRange
        | tonic::Code::Unimplemented
        | tonic::Code::Internal
        | tonic::Code::DataLoss => {
            let text = status.message();
            if text::tells_of_lost_worker(text) {
                worker_lost(text)
            } else {
                EngineError::internal(text)
            }
        }
    }
}

fn from_arrow(error: &ArrowError) -> EngineError {
    match error {
        ArrowError::DivideByZero => EngineError::new(ErrorKind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => {
            EngineError::new(ErrorKind::OutOfRange, text.clone())
        }
        ArrowError::InvalidArgumentError(text) if text.contains("declared as non-nullable") => {
            EngineError::new(ErrorKind::NotNull, text.clone())
        }
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            text::value(text).unwrap_or_else(|| EngineError::new(ErrorKind::InvalidText, text))
        }
        ArrowError::ComputeError(text) => EngineError::new(ErrorKind::OutOfRange, text.clone()),
        ArrowError::InvalidArgumentError(text) if text.contains("is too large to store") => {
            EngineError::new(ErrorKind::OutOfRange, text.clone())
        }
        ArrowError::ExternalError(inner) => from_any(inner.as_ref()),
        ArrowError::NotYetImplemented(text) => {
            EngineError::new(ErrorKind::Unsupported, text.clone())
        }
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParquetError(text) => EngineError::new(ErrorKind::Corrupt, text.clone()),
        ArrowError::IoError(text, inner) => from_io(text, inner),
        other => EngineError::internal(other.to_string()),
    }
}

/// An error of the Parquet reader, which hands on those of the store as text.
fn from_parquet(error: &ParquetError) -> EngineError {
    let out = from_any_or(error, ErrorKind::Corrupt);
    let Some((_, store)) = out.message.split_once("Object Store error: ") else {
        return out;
    };
    let store = store.to_ascii_lowercase();
    let kind = if store.contains("out of range") || store.contains("range not satisfiable") {
        // The file is shorter than the table's metadata says.
        return out;
    } else if store.contains("not found") {
        ErrorKind::FileNotFound
    } else if store.contains("necessary privileges") || store.contains("valid authentication") {
        ErrorKind::StorageDenied
    } else {
        ErrorKind::StorageUnavailable
    };
    EngineError { kind, ..out }
}

fn from_object_store(error: &object_store::Error) -> EngineError {
    match error {
        object_store::Error::NotFound { path, .. } => EngineError::new(
            ErrorKind::FileNotFound,
            format!("file \"{path}\" not found in object storage"),
        )
        .with_hint("was it removed by another program, or is the bucket or prefix wrong?"),
        object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => EngineError::new(
            ErrorKind::StorageDenied,
            format!("object storage refused access to \"{path}\""),
        )
        .with_hint("check [storage.s3] access_key_id and secret_access_key"),
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. } => {
            EngineError::new(ErrorKind::Unsupported, chain(error))
        }
        other => from_generic_store(other),
    }
}

fn from_generic_store(error: &object_store::Error) -> EngineError {
    let text = chain(error);
    EngineError::new(
        ErrorKind::StorageUnavailable,
        format!("object storage failed: {text}"),
    )
    .with_hint("check [storage.s3] endpoint and that the bucket exists")
}

fn from_schema_error(error: &SchemaError) -> EngineError {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let name = field.name();
            let names: Vec<&str> = valid_fields
                .iter()
                .map(datafusion::common::Column::name)
                .collect();
            let table = field.relation.as_ref().map(TableReference::table);
            if let Some(table) = table
                && !valid_fields.iter().any(|valid| {
                    let of = valid.relation.as_ref().map(TableReference::table);
                    of == Some(table)
                })
            {
                let message = format!("missing FROM-clause entry for table \"{table}\"");
                return EngineError::new(ErrorKind::UndefinedTable, message);
            }
            let mut out = EngineError::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{}\" does not exist", field.flat_name()),
            );
            out.hint = crate::names::nearest(name, names.iter().copied())
                .map(|near| format!("did you mean \"{near}\"?"))
                .or_else(|| {
                    (!names.is_empty() && names.len() <= 40)
                        .then(|| format!("columns: {}", names.join(", ")))
                });
            out
        }
        SchemaError::AmbiguousReference { field } => EngineError::new(
            ErrorKind::Ambiguous,
            format!("column reference \"{}\" is ambiguous", field.name()),
        )
        .with_hint("qualify it with the table's name or alias"),
        SchemaError::DuplicateQualifiedField { .. }
        | SchemaError::DuplicateUnqualifiedField { .. } => {
            EngineError::new(ErrorKind::Ambiguous, error.to_string())
        }
    }
}

impl EngineError {
    /// The class of a catalog's error: more exact than its code where SQL is.
    pub(crate) fn kind_of(error: &CatalogError) -> ErrorKind {
        match error {
            CatalogError::FileNotFound { .. } | CatalogError::BucketNotFound { .. } => {
                ErrorKind::FileNotFound
            }
            CatalogError::NamespaceNotFound { .. } => ErrorKind::UndefinedSchema,
            CatalogError::NamespaceExists { .. } => ErrorKind::DuplicateSchema,
            CatalogError::ColumnExists { .. } => ErrorKind::DuplicateColumn,
            CatalogError::NamespaceNotEmpty { .. } => ErrorKind::NotEmpty,
            CatalogError::Shared(inner) => Self::kind_of(inner),
            other => Self::catalog_kind(other.code()),
        }
    }

    pub(crate) fn catalog_kind(code: ErrorCode) -> ErrorKind {
        match code {
            ErrorCode::NotFound => ErrorKind::UndefinedTable,
            ErrorCode::AlreadyExists => ErrorKind::DuplicateTable,
            ErrorCode::Conflict => ErrorKind::Conflict,
            ErrorCode::CommitStateUnknown => ErrorKind::CommitStateUnknown,
            ErrorCode::Invalid => ErrorKind::InvalidParameter,
            ErrorCode::Unsupported => ErrorKind::Unsupported,
            ErrorCode::StorageUnavailable => ErrorKind::StorageUnavailable,
            ErrorCode::StorageDenied => ErrorKind::StorageDenied,
            ErrorCode::Corrupt => ErrorKind::Corrupt,
            ErrorCode::Internal => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_parser_error_becomes_a_position_in_characters() {
        let sql = "SELECT é\n  FROM FROM t";
        let error = ParserError::ParserError(
            "Expected: identifier, found: FROM at Line: 2, Column: 8".to_owned(),
        );
        let out = EngineError::from_parser(&error, sql);
        assert_eq!(out.kind, ErrorKind::Syntax);
        assert_eq!(out.position, Some(9 + 8));
        assert_eq!(
            out.message,
            "syntax error: expected: identifier, found: FROM"
        );
    }

    #[test]
    fn a_lost_worker_is_known_by_its_words_behind_another_worker() {
        for text in [
            "code: 'Unknown error', message: \"h2 protocol error: error reading a body from connection\"",
            "worker http://127.0.0.1:7073/ cannot be reached: transport error",
            "code: 'The service is currently unavailable', message: \"http2 error\", source: tonic::transport::Error(Transport, hyper::Error(Http2, KeepAliveTimedOut))",
            "a worker was lost while it ran a part of this statement: x",
        ] {
            let sent = DataFusionError::External(text.into());
            let shared = DataFusionError::Shared(Arc::new(sent));
            assert_eq!(
                EngineError::from(shared).kind,
                ErrorKind::WorkerLost,
                "{text}"
            );
        }
        // What the worker said of the class stands above the words.
        let storage = DataFusionError::External("bucket: transport error".into());
        let storage = with_class(storage, ErrorKind::StorageUnavailable);
        let out = EngineError::from(storage);
        assert_eq!(out.kind, ErrorKind::StorageUnavailable);
        assert_eq!(out.message, "bucket: transport error");
    }

    #[test]
    fn a_full_disk_is_no_defect_of_storage() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let out = EngineError::from(DataFusionError::IoError(full));
        assert_eq!(out.kind, ErrorKind::DiskFull);
        let other = std::io::Error::other("x");
        let out = EngineError::from(ArrowError::IoError(DISK_FULL.to_owned(), other));
        assert_eq!(out.kind, ErrorKind::DiskFull);
        let bound = "exceeded the limit; try `datafusion.runtime.max_temp_directory_size`";
        let out = EngineError::from(DataFusionError::ResourcesExhausted(bound.to_owned()));
        assert_eq!(out.kind, ErrorKind::ResourcesExhausted);
        assert!(out.message.contains("[spill] limit_bytes"), "{out}");
    }

    #[test]
    fn our_error_survives_datafusion_wrappers() {
        let inner: DataFusionError = EngineError::new(ErrorKind::UndefinedTable, "no t").into();
        let wrapped = DataFusionError::Context("planning".into(), Box::new(inner));
        assert_eq!(EngineError::from(wrapped).kind, ErrorKind::UndefinedTable);
    }

    #[test]
    fn a_context_names_the_file_of_a_storage_error_and_of_no_other() {
        let read = |inner: DataFusionError| {
            let context = "cannot read data file \"f\"".to_owned();
            let inner = DataFusionError::Context(context, Box::new(inner));
            let context = "cannot read table \"main.t\"".to_owned();
            EngineError::from(DataFusionError::Context(context, Box::new(inner)))
        };
        let out = read(ParquetError::General("bad magic".to_owned()).into());
        assert_eq!(out.kind, ErrorKind::Corrupt);
        let start = "cannot read table \"main.t\": cannot read data file \"f\": ";
        assert!(out.message.starts_with(start), "{out}");
        assert!(out.hint.is_some_and(|hint| hint.contains("restore")));
        let out = read(ArrowError::DivideByZero.into());
        assert_eq!(out.message, "division by zero");
    }

    #[test]
    fn a_lost_connection_to_a_worker_is_retryable() {
        let error = DataFusionError::External(Box::new(tonic::Status::unavailable("gone")));
        let out = EngineError::from(error);
        assert_eq!(out.kind, ErrorKind::WorkerLost);
        assert!(out.kind.retryable());
    }
}
