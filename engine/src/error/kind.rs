//! The classes of errors: what each is on every door. Knows no error itself.

/// The class of an error; decides SQLSTATE, HTTP status and whether a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not SQL.
    Syntax,
    /// The text nests or chains more than can be planned.
    TooComplex,
    /// No such catalog.
    UndefinedCatalog,
    /// No such schema.
    UndefinedSchema,
    /// No such table.
    UndefinedTable,
    /// No such column.
    UndefinedColumn,
    /// No such function.
    UndefinedFunction,
    /// Text that is no name.
    InvalidName,
    /// A name that fits several things.
    Ambiguous,
    /// The table exists already.
    DuplicateTable,
    /// The column exists already.
    DuplicateColumn,
    /// The schema exists already.
    DuplicateSchema,
    /// No such user, token, query or session.
    UndefinedObject,
    /// The user or token exists already.
    DuplicateObject,
    /// What is to be changed is needed as it is.
    ObjectInUse,
    /// There is no room for one more.
    LimitReached,
    /// No room for one more session.
    TooManySessions,
    /// As many statements run, and wait, as may.
    TooManyStatements,
    /// The session was ended by an administrator.
    SessionEnded,
    /// The session was ended because it did nothing.
    IdleSession,
    /// A schema with tables in it cannot be dropped.
    NotEmpty,
    /// A view where a table is wanted, or a table where a view is.
    WrongObjectType,
    /// A definition that contradicts itself.
    InvalidDefinition,
    /// ORDER BY, GROUP BY or DISTINCT names what is not in the select list.
    InvalidColumnReference,
    /// A negative LIMIT.
    InvalidLimit,
    /// A negative OFFSET.
    InvalidOffset,
    /// Types do not fit.
    TypeMismatch,
    /// A column that is neither grouped nor in an aggregate, or an aggregate where none may be.
    Grouping,
    /// A value that cannot be read as the wanted type.
    InvalidText,
    /// Text that is no date, time or interval.
    DatetimeFormat,
    /// Text that is a date or time such as there is none.
    DatetimeOverflow,
    /// Text that is no regular expression.
    InvalidRegex,
    /// An interval too large.
    IntervalOverflow,
    /// A value outside the range of its type.
    OutOfRange,
    /// Division by zero.
    DivisionByZero,
    /// Several rows where one may be.
    Cardinality,
    /// NULL for a required column.
    NotNull,
    /// A parameter, option or setting with an unusable value.
    InvalidParameter,
    /// A setting that does not exist.
    UndefinedSetting,
    /// The statement is understood, but Tarn does not do it.
    Unsupported,
    /// The principal may not do this.
    Denied,
    /// Cancelled by the user or because the client left.
    Canceled,
    /// `statement_timeout` ran out.
    Timeout,
    /// Another writer was faster, more often than we retry.
    Conflict,
    /// Whether the commit took place is unknown.
    CommitStateUnknown,
    /// Memory or spill space ran out.
    ResourcesExhausted,
    /// The disk of a spill folder is full.
    DiskFull,
    /// A worker was lost while it ran a part of the statement.
    WorkerLost,
    /// The server is stopping.
    ShuttingDown,
    /// Object storage or the metadata database cannot be reached.
    StorageUnavailable,
    /// Object storage refused our credentials.
    StorageDenied,
    /// A file is missing.
    FileNotFound,
    /// A file or its metadata cannot be read as what it claims to be.
    Corrupt,
    /// A defect of Tarn.
    Internal,
}

impl ErrorKind {
    /// The SQLSTATE that every door reports. Source: PostgreSQL 15, appendix A.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::TooComplex => "54001",
            Self::UndefinedCatalog => "3D000",
            Self::UndefinedSchema => "3F000",
            Self::UndefinedTable => "42P01",
            Self::UndefinedColumn => "42703",
            Self::UndefinedFunction => "42883",
            Self::InvalidName => "42602",
            Self::Ambiguous => "42702",
            Self::DuplicateTable => "42P07",
            Self::DuplicateColumn => "42701",
            Self::DuplicateSchema => "42P06",
            Self::NotEmpty => "2BP01",
            Self::WrongObjectType => "42809",
            Self::InvalidDefinition => "42P17",
            Self::InvalidColumnReference => "42P10",
            Self::InvalidLimit => "2201W",
            Self::InvalidOffset => "2201X",
            Self::TypeMismatch => "42804",
            Self::Grouping => "42803",
            Self::DatetimeFormat => "22007",
            Self::DatetimeOverflow => "22008",
            Self::InvalidRegex => "2201B",
            Self::IntervalOverflow => "22015",
            Self::InvalidText => "22P02",
            Self::OutOfRange => "22003",
            Self::DivisionByZero => "22012",
            Self::Cardinality => "21000",
            Self::NotNull => "23502",
            Self::InvalidParameter => "22023",
            Self::UndefinedSetting | Self::UndefinedObject => "42704",
            Self::DuplicateObject => "42710",
            Self::ObjectInUse => "55006",
            Self::LimitReached => "54000",
            Self::TooManySessions | Self::TooManyStatements => "53300",
            Self::IdleSession => "57P05",
            Self::Unsupported => "0A000",
            Self::Denied => "42501",
            Self::Canceled | Self::Timeout => "57014",
            Self::Conflict => "40001",
            Self::CommitStateUnknown => "40003",
            Self::ResourcesExhausted => "53200",
            Self::DiskFull => "53100",
            Self::WorkerLost => "57P02",
            Self::ShuttingDown | Self::SessionEnded => "57P01",
            Self::StorageUnavailable => "58030",
            Self::StorageDenied => "58000",
            Self::FileNotFound => "58P01",
            Self::Corrupt => "XX001",
            Self::Internal => "XX000",
        }
    }

    /// The HTTP status of the same error.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Syntax
            | Self::TooComplex
            | Self::InvalidName
            | Self::Ambiguous
            | Self::WrongObjectType
            | Self::InvalidDefinition
            | Self::InvalidColumnReference
            | Self::InvalidLimit
            | Self::InvalidOffset
            | Self::TypeMismatch
            | Self::Grouping
            | Self::InvalidText
            | Self::DatetimeFormat
            | Self::DatetimeOverflow
            | Self::InvalidRegex
            | Self::IntervalOverflow
            | Self::OutOfRange
            | Self::DivisionByZero
            | Self::Cardinality
            | Self::NotNull
            | Self::InvalidParameter
            | Self::UndefinedSetting
            | Self::UndefinedFunction
            | Self::UndefinedColumn
            | Self::LimitReached
            | Self::Unsupported => 400,
            Self::Denied => 403,
            Self::UndefinedCatalog
            | Self::UndefinedSchema
            | Self::UndefinedTable
            | Self::UndefinedObject => 404,
            Self::DuplicateTable
            | Self::DuplicateColumn
            | Self::DuplicateSchema
            | Self::DuplicateObject
            | Self::ObjectInUse
            | Self::NotEmpty
            | Self::Conflict => 409,
            Self::TooManySessions | Self::TooManyStatements => 429,
            Self::Canceled => 499,
            Self::Timeout => 504,
            Self::ResourcesExhausted
            | Self::DiskFull
            | Self::WorkerLost
            | Self::ShuttingDown
            | Self::SessionEnded
            | Self::IdleSession => 503,
            Self::StorageUnavailable | Self::StorageDenied | Self::FileNotFound => 502,
            Self::CommitStateUnknown | Self::Corrupt | Self::Internal => 500,
        }
    }

    /// Whether running the same statement again is safe and may help.
    pub fn retryable(self) -> bool {
        match self {
            Self::Conflict
            | Self::WorkerLost
            | Self::StorageUnavailable
            | Self::ResourcesExhausted
            | Self::DiskFull
            | Self::TooManySessions
            | Self::TooManyStatements
            | Self::ShuttingDown => true,
            Self::Syntax
            | Self::TooComplex
            | Self::UndefinedCatalog
            | Self::UndefinedSchema
            | Self::UndefinedTable
            | Self::UndefinedColumn
            | Self::UndefinedFunction
            | Self::InvalidName
            | Self::Ambiguous
            | Self::DuplicateTable
            | Self::DuplicateColumn
            | Self::DuplicateSchema
            | Self::UndefinedObject
            | Self::DuplicateObject
            | Self::ObjectInUse
            | Self::LimitReached
            | Self::SessionEnded
            | Self::IdleSession
            | Self::NotEmpty
            | Self::WrongObjectType
            | Self::InvalidDefinition
            | Self::InvalidColumnReference
            | Self::InvalidLimit
            | Self::InvalidOffset
            | Self::TypeMismatch
            | Self::Grouping
            | Self::InvalidText
            | Self::DatetimeFormat
            | Self::DatetimeOverflow
            | Self::InvalidRegex
            | Self::IntervalOverflow
            | Self::OutOfRange
            | Self::DivisionByZero
            | Self::Cardinality
            | Self::NotNull
            | Self::InvalidParameter
            | Self::UndefinedSetting
            | Self::Unsupported
            | Self::Denied
            | Self::Canceled
            | Self::Timeout
            | Self::CommitStateUnknown
            | Self::StorageDenied
            | Self::FileNotFound
            | Self::Corrupt
            | Self::Internal => false,
        }
    }
}
