//! The types of the server for ODBC and its kin: `GetXdbcTypeInfo`.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, IntervalUnit, SchemaRef, TimeUnit};
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};
use tonic::Status;

use super::columns::digits;
use super::status::unconvertible;

/// One type: its SQL name, how ODBC calls it, and the Arrow type that it has.
struct Named {
    name: &'static str,
    code: XdbcDataType,
    ty: DataType,
    /// What stands around a literal.
    quotes: Option<(&'static str, &'static str)>,
    /// What stands in parentheses after the name.
    parameters: &'static [&'static str],
    subcode: Option<XdbcDatetimeSubcode>,
}

fn plain(name: &'static str, code: XdbcDataType, ty: DataType) -> Named {
    Named {
        name,
        code,
        ty,
        quotes: None,
        parameters: &[],
        subcode: None,
    }
}

fn quoted(name: &'static str, code: XdbcDataType, ty: DataType, prefix: &'static str) -> Named {
    Named {
        quotes: Some((prefix, "'")),
        ..plain(name, code, ty)
    }
}

fn all() -> Vec<Named> {
    use XdbcDataType as X;
    let timestamp =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    vec![
        plain("boolean", X::XdbcBit, DataType::Boolean),
        plain("smallint", X::XdbcSmallint, DataType::Int16),
        plain("integer", X::XdbcInteger, DataType::Int32),
        plain("bigint", X::XdbcBigint, DataType::Int64),
        plain("real", X::XdbcReal, DataType::Float32),
        plain("double precision", X::XdbcDouble, DataType::Float64),
        Named {
            parameters: &["precision", "scale"],
            ..plain("numeric", X::XdbcNumeric, DataType::Decimal128(38, 38))
        },
        Named {
            parameters: &["length"],
            ..quoted("varchar", X::XdbcVarchar, DataType::Utf8, "'")
        },
        quoted("text", X::XdbcLongvarchar, DataType::Utf8, "'"),
        quoted("bytea", X::XdbcVarbinary, DataType::Binary, "X'"),
        quoted("uuid", X::XdbcBinary, DataType::FixedSizeBinary(16), "'"),
        quoted("date", X::XdbcDate, DataType::Date32, "DATE '"),
        Named {
            subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTime),
            ..quoted(
                "time",
                X::XdbcTime,
                DataType::Time64(TimeUnit::Microsecond),
                "TIME '",
            )
        },
        Named {
            subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            ..quoted(
                "timestamp",
                X::XdbcTimestamp,
                timestamp(None),
                "TIMESTAMP '",
            )
        },
        Named {
            subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone),
            ..quoted(
                "timestamp with time zone",
                X::XdbcTimestamp,
                timestamp(Some("UTC")),
                "TIMESTAMPTZ '",
            )
        },
        quoted(
            "interval",
            X::XdbcInterval,
            DataType::Interval(IntervalUnit::MonthDayNano),
            "INTERVAL '",
        ),
    ]
}

fn row(named: &Named) -> XdbcTypeInfo {
    let (precision, scale) = digits(&named.ty);
    let exact = matches!(named.ty, DataType::Decimal128(..)) || named.ty.is_integer();
    let number = exact || named.ty.is_floating();
    let text = named.ty == DataType::Utf8;
    let verbose = match named.code {
        XdbcDataType::XdbcDate | XdbcDataType::XdbcTime | XdbcDataType::XdbcTimestamp => {
            XdbcDataType::XdbcDatetime
        }
        other => other,
    };
    XdbcTypeInfo {
        type_name: named.name.to_owned(),
        data_type: named.code,
        column_size: precision,
        literal_prefix: named.quotes.map(|(prefix, _)| prefix.to_owned()),
        literal_suffix: named.quotes.map(|(_, suffix)| suffix.to_owned()),
        create_params: (!named.parameters.is_empty())
            .then(|| named.parameters.iter().map(|p| (*p).to_owned()).collect()),
        nullable: Nullable::NullabilityNullable,
        case_sensitive: text,
        // LIKE works on text, comparison on everything.
        searchable: if text {
            Searchable::Full
        } else {
            Searchable::Basic
        },
        unsigned_attribute: number.then_some(false),
        fixed_prec_scale: false,
        auto_increment: number.then_some(false),
        local_type_name: Some(named.name.to_owned()),
        minimum_scale: scale.map(|_| 0),
        maximum_scale: scale,
        sql_data_type: verbose,
        datetime_subcode: named.subcode,
        num_prec_radix: number.then_some(10),
        interval_precision: None,
    }
}

static TYPES: LazyLock<Result<XdbcTypeInfoData, String>> = LazyLock::new(|| {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for named in all() {
        builder.append(row(&named));
    }
    builder.build().map_err(|error| error.to_string())
});

fn types() -> Result<&'static XdbcTypeInfoData, Status> {
    TYPES
        .as_ref()
        .map_err(|error| unconvertible(&arrow::error::ArrowError::ComputeError(error.clone())))
}

/// Columns of the answer.
pub(crate) fn schema() -> Result<SchemaRef, Status> {
    Ok(types()?.schema())
}

/// All types, or those with the ODBC code `data_type`.
pub(crate) fn answer(data_type: Option<i32>) -> Result<RecordBatch, Status> {
    types()?
        .record_batch(data_type)
        .map_err(|e| unconvertible(&arrow::error::ArrowError::ExternalError(Box::new(e))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    #[test]
    fn types_are_found_by_their_code() {
        let all_types = answer(None).unwrap();
        assert_eq!(all_types.num_rows(), all().len());
        let timestamps = answer(Some(XdbcDataType::XdbcTimestamp as i32)).unwrap();
        let names = timestamps.column(0).as_string::<i32>();
        let names: Vec<_> = names.iter().flatten().collect();
        assert_eq!(names, ["timestamp", "timestamp with time zone"]);
        assert_eq!(answer(Some(12345)).unwrap().num_rows(), 0);
    }
}
