//! What the server can do, in the ids of `GetSqlInfo`.
//!
//! Tools write their SQL by these values: a missing id is 0, false or "" for them, so every id of the protocol
//! that has a true value is here. Source: FlightSql.proto, "`SqlInfo`".

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, MapArray, RecordBatch, StructArray, UnionArray,
};
use arrow::compute::{can_cast_types, filter_record_batch};
use arrow::datatypes::{
    DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit, UInt32Type,
};
use arrow::error::ArrowError;
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedGroupBy, SqlSupportedResultSetConcurrency, SqlSupportedResultSetType,
    SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions, SqlSupportsConvert,
    SqlTransactionIsolationLevel, SupportedSqlGrammar,
};
use tarn_engine::function_names;
use tonic::Status;

use super::status::unconvertible;

/// Longest user name. Source: `tarn_control`.
const USER_NAME_LENGTH_MAX: i64 = 256;
/// Prepared statements of one session. Source: `prepared.rs`.
const STATEMENTS_MAX: i64 = 1000;
/// `ANSI92_ENTRY_SQL`, which arrow-flight does not export.
const ANSI92_ENTRY: i32 = 0;

/// Words that mean something here and are not reserved in SQL:2003.
const KEYWORDS: &[&str] = &[
    "ANALYZE",
    "ANTI",
    "ASOF",
    "BUCKET",
    "CATALOG",
    "COMMENT",
    "COPY",
    "DATABASE",
    "DESCRIBE",
    "EXCLUDE",
    "EXPLAIN",
    "FORMAT",
    "FUNCTIONS",
    "ILIKE",
    "LIMIT",
    "LOCATION",
    "OFFSET",
    "PARTITIONED",
    "PURGE",
    "QUALIFY",
    "RENAME",
    "REPLACE",
    "RESET",
    "SCHEMAS",
    "SEMI",
    "SHOW",
    "TABLES",
    "TEMPORARY",
    "TRUNCATE",
    "USE",
    "VIEW",
    "ZONE",
];

const NUMERIC: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "pow",
    "power",
    "radians",
    "random",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
];

const TEXT: &[&str] = &[
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "find_in_set",
    "initcap",
    "instr",
    "left",
    "length",
    "levenshtein",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "overlay",
    "position",
    "regexp_count",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "substring",
    "to_hex",
    "translate",
    "trim",
    "upper",
    "uuid",
];

const SYSTEM: &[&str] = &[
    "arrow_cast",
    "arrow_typeof",
    "coalesce",
    "current_catalog",
    "current_database",
    "current_schema",
    "current_user",
    "greatest",
    "ifnull",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    "session_user",
    "user",
    "version",
];

const TIME: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "date_bin",
    "date_format",
    "date_part",
    "date_trunc",
    "datepart",
    "datetrunc",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_date",
    "to_local_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "today",
];

static INFO: LazyLock<Result<RecordBatch, String>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info);
    names(&mut info);
    syntax(&mut info);
    limits(&mut info);
    transactions(&mut info);
    let data = info.build().map_err(|error| error.to_string())?;
    let all = data.record_batch([]).map_err(|error| error.to_string())?;
    with_map_names(&all).map_err(|error| error.to_string())
});

/// arrow-flight calls the parts of the map `keys` and `values`; Java finds them as `key` and `value` only.
fn with_map_names(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let values = batch.column(1).as_union();
    let DataType::Union(fields, _) = values.data_type() else {
        return Err(ArrowError::SchemaError("not a union".to_owned()));
    };
    let mut renamed = vec![];
    let mut children = vec![];
    for (id, field) in fields.iter() {
        let child = values.child(id);
        let Some(map) = child.as_map_opt() else {
            renamed.push((id, Arc::clone(field)));
            children.push(Arc::clone(child));
            continue;
        };
        let parts = map.entries().fields();
        let parts = Fields::from(vec![
            parts[0].as_ref().clone().with_name("key"),
            parts[1].as_ref().clone().with_name("value"),
        ]);
        let columns = map.entries().columns().to_vec();
        let entries = StructArray::try_new(parts.clone(), columns, None)?;
        let entry = Arc::new(Field::new("entries", DataType::Struct(parts), false));
        let map = MapArray::try_new(
            Arc::clone(&entry),
            map.offsets().clone(),
            entries,
            map.nulls().cloned(),
            false,
        )?;
        renamed.push((
            id,
            Arc::new(
                field
                    .as_ref()
                    .clone()
                    .with_data_type(map.data_type().clone()),
            ),
        ));
        children.push(Arc::new(map));
    }
    let union = UnionArray::try_new(
        renamed.into_iter().collect(),
        values.type_ids().clone(),
        values.offsets().cloned(),
        children,
    )?;
    let schema = Schema::new(vec![
        batch.schema().field(0).clone(),
        Field::new("value", union.data_type().clone(), false),
    ]);
    let columns = vec![Arc::clone(batch.column(0)), Arc::new(union) as ArrayRef];
    RecordBatch::try_new(Arc::new(schema), columns)
}

fn info() -> Result<&'static RecordBatch, Status> {
    INFO.as_ref()
        .map_err(|error| unconvertible(&ArrowError::ComputeError(error.clone())))
}

/// Columns of the answer.
pub(crate) fn schema() -> Result<SchemaRef, Status> {
    Ok(info()?.schema())
}

/// The values of `ids`, or all.
pub(crate) fn answer(ids: &[u32]) -> Result<RecordBatch, Status> {
    let all = info()?;
    if ids.is_empty() {
        return Ok(all.clone());
    }
    let names = all.column(0).as_primitive::<UInt32Type>();
    let wanted: BooleanArray = names
        .values()
        .iter()
        .map(|n| Some(ids.contains(n)))
        .collect();
    filter_record_batch(all, &wanted).map_err(|error| unconvertible(&error))
}

fn bits<const N: usize>(places: [i32; N]) -> i32 {
    places.iter().fold(0, |mask, place| mask | (1 << place))
}

fn server(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::FlightSqlServerName, "Tarn");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, "");
    info.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, "");
    let transaction = SqlSupportedTransaction::None as i32;
    info.append(SqlInfo::FlightSqlServerTransaction, transaction);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
}

fn names(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    let folded = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
    info.append(SqlInfo::SqlIdentifierCase, folded);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // A quoted name keeps its case; it is found in another case, too, if only one table has it.
    let quoted = SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32;
    info.append(SqlInfo::SqlQuotedIdentifierCase, quoted);
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlKeywords, KEYWORDS);
    let known = function_names();
    let list = |names: &[&str]| -> Vec<String> {
        let known = names.iter().filter(|n| known.iter().any(|k| k == *n));
        known.map(|name| (*name).to_owned()).collect()
    };
    info.append(SqlInfo::SqlNumericFunctions, list(NUMERIC));
    info.append(SqlInfo::SqlStringFunctions, list(TEXT));
    info.append(SqlInfo::SqlSystemFunctions, list(SYSTEM));
    info.append(SqlInfo::SqlDatetimeFunctions, list(TIME));
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    // There are no procedures or indexes, and no grants on one statement's own terms.
    info.append(SqlInfo::SqlSchemasSupportedActions, 0);
    info.append(SqlInfo::SqlCatalogsSupportedActions, 0);
}

fn syntax(info: &mut SqlInfoDataBuilder) {
    let nulls = SqlNullOrdering::SqlNullsSortedHigh as i32;
    info.append(SqlInfo::SqlNullOrdering, nulls);
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsConvert, conversions());
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    let group_by = [
        SqlSupportedGroupBy::SqlGroupByUnrelated as i32,
        SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32,
    ];
    info.append(SqlInfo::SqlSupportedGroupBy, bits(group_by));
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    let grammar = [
        SupportedSqlGrammar::SqlMinimumGrammar as i32,
        SupportedSqlGrammar::SqlCoreGrammar as i32,
    ];
    info.append(SqlInfo::SqlSupportedGrammar, bits(grammar));
    info.append(SqlInfo::SqlAnsi92SupportedLevel, bits([ANSI92_ENTRY]));
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    let joins = [
        SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins as i32,
        SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
    ];
    info.append(SqlInfo::SqlOuterJoinsSupportLevel, bits(joins));
    info.append(SqlInfo::SqlSupportedPositionedCommands, 0);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
        SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
        SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
        SqlSupportedSubqueries::SqlSubqueriesInQuantifieds as i32,
    ];
    info.append(SqlInfo::SqlSupportedSubqueries, bits(subqueries));
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = [
        SqlSupportedUnions::SqlUnion as i32,
        SqlSupportedUnions::SqlUnionAll as i32,
    ];
    info.append(SqlInfo::SqlSupportedUnions, bits(unions));
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

/// Zero means no limit.
fn limits(info: &mut SqlInfoDataBuilder) {
    for unlimited in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
    ] {
        info.append(unlimited, 0_i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
    info.append(SqlInfo::SqlMaxStatements, STATEMENTS_MAX);
    info.append(SqlInfo::SqlMaxUsernameLength, USER_NAME_LENGTH_MAX);
}

fn transactions(info: &mut SqlInfoDataBuilder) {
    let none = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    info.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(none));
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.append(
        SqlInfo::SqlSupportedTransactionsIsolationLevels,
        bits([none]),
    );
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    info.append(SqlInfo::SqlSupportedResultSetTypes, bits([forward]));
    let read_only = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    info.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly,
        bits([read_only]),
    );
    for none in [
        SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
    ] {
        info.append(none, 0);
    }
    info.append(SqlInfo::SqlBatchUpdatesSupported, true);
    info.append(SqlInfo::SqlSavepointsSupported, false);
}

/// Which types CAST turns into which, as the kernels do it.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as To;
    let types = [
        (To::SqlConvertBigint, DataType::Int64),
        (To::SqlConvertBinary, DataType::Binary),
        (To::SqlConvertBit, DataType::Boolean),
        (To::SqlConvertChar, DataType::Utf8),
        (To::SqlConvertDate, DataType::Date32),
        (To::SqlConvertDecimal, DataType::Decimal128(38, 10)),
        (To::SqlConvertFloat, DataType::Float64),
        (To::SqlConvertInteger, DataType::Int32),
        (
            To::SqlConvertIntervalDayTime,
            DataType::Interval(IntervalUnit::MonthDayNano),
        ),
        (
            To::SqlConvertIntervalYearMonth,
            DataType::Interval(IntervalUnit::MonthDayNano),
        ),
        (To::SqlConvertLongvarbinary, DataType::Binary),
        (To::SqlConvertLongvarchar, DataType::Utf8),
        (To::SqlConvertNumeric, DataType::Decimal128(38, 10)),
        (To::SqlConvertReal, DataType::Float32),
        (To::SqlConvertSmallint, DataType::Int16),
        (To::SqlConvertTime, DataType::Time64(TimeUnit::Microsecond)),
        (
            To::SqlConvertTimestamp,
            DataType::Timestamp(TimeUnit::Microsecond, None),
        ),
        (To::SqlConvertTinyint, DataType::Int16),
        (To::SqlConvertVarbinary, DataType::Binary),
        (To::SqlConvertVarchar, DataType::Utf8),
    ];
    let of = |from: &DataType| {
        let to = types.iter().filter(|(_, to)| can_cast_types(from, to));
        to.map(|(code, _)| *code as i32).collect()
    };
    types
        .iter()
        .map(|(code, from)| (*code as i32, of(from)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int32Type;

    /// Every id of the protocol.
    fn ids() -> Vec<u32> {
        [0..=11, 100..=101, 500..=576]
            .into_iter()
            .flatten()
            .collect()
    }

    #[test]
    fn every_id_of_the_protocol_has_a_value() {
        let batch = answer(&[]).unwrap();
        let got = batch
            .column(0)
            .as_primitive::<UInt32Type>()
            .values()
            .to_vec();
        assert_eq!(got, ids());
    }

    #[test]
    fn only_what_is_asked_for_is_answered() {
        let batch = answer(&[SqlInfo::SqlIdentifierQuoteChar as u32]).unwrap();
        let values: &UnionArray = batch.column(1).as_any().downcast_ref().unwrap();
        assert_eq!(values.value(0).as_string::<i32>().value(0), "\"");
        assert_eq!(answer(&[9999]).unwrap().num_rows(), 0);
    }

    #[test]
    fn the_map_has_the_names_that_java_reads() {
        let batch = answer(&[SqlInfo::SqlSupportsConvert as u32]).unwrap();
        let values: &UnionArray = batch.column(1).as_any().downcast_ref().unwrap();
        let value = values.value(0);
        let names = value.as_map().entries().fields().iter();
        let names: Vec<_> = names.map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["key", "value"]);
    }

    #[test]
    fn bitmasks_are_those_that_drivers_test() {
        let batch = answer(&[SqlInfo::SqlSupportedUnions as u32]).unwrap();
        let values: &UnionArray = batch.column(1).as_any().downcast_ref().unwrap();
        let value = values.value(0);
        assert_eq!(value.as_primitive::<Int32Type>().value(0), 0b11);
    }

    #[test]
    fn a_function_in_a_list_exists() {
        let known = function_names();
        let listed = [NUMERIC, TEXT, TIME].into_iter().flatten();
        let missing: Vec<_> = listed.filter(|n| !known.iter().any(|k| k == *n)).collect();
        // Lists are filtered; but a list of what is not there would be no list.
        assert!(missing.len() < 15, "{missing:?}");
    }

    #[test]
    fn a_text_can_become_a_number_and_a_date_cannot() {
        let all = conversions();
        let text = &all[&(SqlSupportsConvert::SqlConvertVarchar as i32)];
        assert!(text.contains(&(SqlSupportsConvert::SqlConvertBigint as i32)));
        let bit = &all[&(SqlSupportsConvert::SqlConvertBit as i32)];
        assert!(!bit.contains(&(SqlSupportsConvert::SqlConvertDate as i32)));
    }
}
