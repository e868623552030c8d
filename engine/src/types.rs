//! SQL type names to Arrow types and back, PostgreSQL's names first.
//!
//! The same table serves casts, column definitions and the type names that clients see.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};
use std::sync::Arc;

use crate::casts::with_uuid;
use crate::error::{EngineError, ErrorKind};
use crate::notices;
use crate::pg_catalog;

/// Digits of `numeric` without precision, and its scale. Source: DataFusion's default.
pub(crate) const NUMERIC_DEFAULT: (u8, i8) = (38, 10);
/// Most digits of a decimal. Source: Iceberg spec, "Primitive Types".
const DECIMAL_DIGITS_MAX: u64 = 38;
/// `float(p)` up to this many bits is `real`. Source: PostgreSQL, "Floating-Point Types".
const REAL_BITS_MAX: u64 = 24;

/// Makes DataFusion plan type names as PostgreSQL and Iceberg mean them, in one session time zone.
#[derive(Debug)]
pub(crate) struct SqlTypes {
    time_zone: Arc<str>,
}

impl SqlTypes {
    pub(crate) fn new(time_zone: &str) -> Self {
        Self {
            time_zone: time_zone.into(),
        }
    }

    /// The Arrow type of a SQL type; `None` if it is not one of ours.
    pub(crate) fn arrow_type(&self, sql: &SqlType) -> Result<Option<DataType>, EngineError> {
        Ok(Some(match sql {
            SqlType::Boolean | SqlType::Bool => DataType::Boolean,
            SqlType::TinyInt(_) | SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::Int16 => {
                DataType::Int16
            }
            SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) | SqlType::MediumInt(_) => {
                DataType::Int32
            }
            SqlType::BigInt(_) | SqlType::Int8(_) | SqlType::Int64 => DataType::Int64,
            SqlType::Real | SqlType::Float4 | SqlType::Float32 => DataType::Float32,
            SqlType::Float(info) => match info {
                ExactNumberInfo::Precision(bits) if *bits <= REAL_BITS_MAX => DataType::Float32,
                _ => DataType::Float64,
            },
            SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 | SqlType::Float64 => {
                DataType::Float64
            }
            SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => decimal(*info)?,
            SqlType::Varchar(_)
            | SqlType::Nvarchar(_)
            | SqlType::CharacterVarying(_)
            | SqlType::CharVarying(_)
            | SqlType::Character(_)
            | SqlType::Char(_)
            | SqlType::Text
            | SqlType::String(_)
            | SqlType::Clob(_)
            | SqlType::JSON
            | SqlType::JSONB => DataType::Utf8View,
            SqlType::Bytea
            | SqlType::Blob(_)
            | SqlType::Binary(_)
            | SqlType::Varbinary(_)
            | SqlType::Bytes(_) => DataType::BinaryView,
            SqlType::Uuid => DataType::FixedSizeBinary(16),
            SqlType::Date | SqlType::Date32 => DataType::Date32,
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlType::Timestamp(precision, zone) => self.timestamp(*precision, *zone),
            SqlType::Datetime(precision) | SqlType::TimestampNtz(precision) => {
                self.timestamp(*precision, TimezoneInfo::None)
            }
            SqlType::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Array(
                ArrayElemTypeDef::AngleBracket(inner)
                | ArrayElemTypeDef::SquareBracket(inner, _)
                | ArrayElemTypeDef::Parenthesis(inner),
            ) => match self.arrow_type(inner)? {
                Some(ty) => {
                    let item = Field::new_list_field(ty, true);
                    DataType::List(Arc::new(noted(item, inner)))
                }
                None => return Ok(None),
            },
            SqlType::Map(key, value) => match (self.arrow_type(key)?, self.arrow_type(value)?) {
                (Some(key_type), Some(value_type)) => map_of(
                    noted(Field::new("key", key_type, false), key),
                    noted(Field::new("value", value_type, true), value),
                ),
                _ => return Ok(None),
            },
            SqlType::Struct(fields, _) => {
                let mut out = vec![];
                for (i, field) in fields.iter().enumerate() {
                    let Some(ty) = self.arrow_type(&field.field_type)? else {
                        return Ok(None);
                    };
                    let name = field
                        .field_name
                        .as_ref()
                        .map_or_else(|| format!("c{i}"), crate::parser::fold);
                    out.push(noted(Field::new(name, ty, true), &field.field_type));
                }
                DataType::Struct(Fields::from(out))
            }
            other if catalog_type(other).is_some() => match catalog_type(other) {
                Some(field) => field.data_type().clone(),
                None => return Ok(None),
            },
            SqlType::Custom(name, arguments) => match name.to_string().to_lowercase().as_str() {
                "fixed" => match arguments.first().map(|width| width.parse::<i32>()) {
                    Some(Ok(width @ 1..)) => DataType::FixedSizeBinary(width),
                    _ => return Ok(None),
                },
                "long" => DataType::Int64,
                "byte" | "short" => DataType::Int16,
                "string" => DataType::Utf8View,
                "timestamp_ntz" => self.timestamp(None, TimezoneInfo::None),
                "timestamp_ltz" => self.timestamp(None, TimezoneInfo::Tz),
                "timestamp_ns" => DataType::Timestamp(TimeUnit::Nanosecond, None),
                "timestamptz_ns" => self.timestamp(Some(9), TimezoneInfo::Tz),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn timestamp(&self, precision: Option<u64>, zone: TimezoneInfo) -> DataType {
        let unit = match precision {
            Some(7..) => TimeUnit::Nanosecond,
            _ => TimeUnit::Microsecond,
        };
        let zone = match zone {
            TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some(Arc::clone(&self.time_zone)),
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        };
        DataType::Timestamp(unit, zone)
    }

    /// The column type in CREATE TABLE.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a type that Iceberg does not have.
    pub(crate) fn column_type(&self, column: &str, sql: &SqlType) -> Result<Field, EngineError> {
        match self.arrow_type(sql)? {
            None if is_serial(sql) => Err(EngineError::unsupported(format!(
                "column \"{column}\": type {sql}"
            ))
            .with_hint("use bigint and give the values, or row_number() OVER () in an INSERT … SELECT")),
            Some(DataType::Interval(_)) | None => Err(EngineError::new(
                ErrorKind::Unsupported,
                format!("column \"{column}\": type {sql} is not supported in a table"),
            )
            .with_hint(
                "types: boolean, int, bigint, real, double precision, numeric(p, s), text, bytea, fixed(n), uuid, date, time, timestamp, timestamptz, type[], struct<name: type, …>, map<type, type>",
            )),
            Some(ty) => {
                if let Some(kept) = widened(sql) {
                    notices::widened(column, &sql.to_string().to_lowercase(), kept);
                }
                let field = Field::new(column, ty, true);
                Ok(match sql {
                    SqlType::Uuid => with_uuid(field),
                    _ => field,
                })
            }
        }
    }
}

/// What Iceberg has for a type whose bound it does not have.
fn widened(sql: &SqlType) -> Option<&'static str> {
    match sql {
        SqlType::Varchar(Some(_))
        | SqlType::Nvarchar(Some(_))
        | SqlType::CharacterVarying(Some(_))
        | SqlType::CharVarying(Some(_))
        | SqlType::Character(_)
        | SqlType::Char(_) => Some("text"),
        SqlType::TinyInt(_) | SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::Int16 => {
            Some("integer")
        }
        SqlType::Numeric(ExactNumberInfo::None)
        | SqlType::Decimal(ExactNumberInfo::None)
        | SqlType::Dec(ExactNumberInfo::None) => Some("numeric(38, 10)"),
        _ => None,
    }
}

/// Whether a type is PostgreSQL's integer with a sequence behind it.
fn is_serial(sql: &SqlType) -> bool {
    const SERIAL: [&str; 6] = [
        "serial",
        "bigserial",
        "smallserial",
        "serial2",
        "serial4",
        "serial8",
    ];
    matches!(sql, SqlType::Custom(name, _) if SERIAL.contains(&name.to_string().to_lowercase().as_str()))
}

impl TypePlanner for SqlTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        Ok(self.arrow_type(sql_type)?.map(|ty| {
            let field = Field::new("", ty, true);
            Arc::new(if matches!(sql_type, SqlType::Uuid) {
                with_uuid(field)
            } else {
                noted(field, sql_type)
            })
        }))
    }
}

/// The field of a type of PostgreSQL's catalogs, such as `oid` or `regclass`.
fn catalog_type(sql: &SqlType) -> Option<Field> {
    const KNOWN: [&str; 18] = [
        "oid",
        "xid",
        "name",
        "regproc",
        "regprocedure",
        "regoper",
        "regoperator",
        "regtype",
        "regnamespace",
        "regrole",
        "int2vector",
        "oidvector",
        "aclitem",
        "pg_node_tree",
        "inet",
        "cidr",
        "cstring",
        "unknown",
    ];
    let name = match sql {
        SqlType::Regclass => "regclass".to_owned(),
        SqlType::Custom(name, _) => name.to_string(),
        _ => return None,
    };
    let name = match name.as_str() {
        "\"char\"" => "char".to_owned(),
        other => other.to_lowercase(),
    };
    let known = name == "char" || name == "regclass" || KNOWN.contains(&name.as_str());
    known.then(|| pg_catalog::column("", &name, true))
}

/// `field` with what its Arrow type does not tell of the SQL type.
fn noted(field: Field, sql: &SqlType) -> Field {
    if matches!(sql, SqlType::Uuid) {
        return with_uuid(field);
    }
    let json = match sql {
        SqlType::JSON => Some("json"),
        SqlType::JSONB => Some("jsonb"),
        _ => None,
    };
    if let Some(name) = json {
        let mut metadata = field.metadata().clone();
        metadata.insert(pg_catalog::PG_TYPE_KEY.to_owned(), name.to_owned());
        return field.with_metadata(metadata);
    }
    match catalog_type(sql) {
        Some(known) => field.with_metadata(known.metadata().clone()),
        None => field,
    }
}

fn decimal(info: ExactNumberInfo) -> Result<DataType, EngineError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => {
            return Ok(DataType::Decimal128(NUMERIC_DEFAULT.0, NUMERIC_DEFAULT.1));
        }
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let valid = (1..=DECIMAL_DIGITS_MAX).contains(&precision)
        && u64::try_from(scale).is_ok_and(|s| s <= precision);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if valid => Ok(DataType::Decimal128(precision, scale)),
        _ => Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("numeric({precision}, {scale}) is out of range"),
        )
        .with_hint("precision is 1 to 38, scale 0 to the precision")),
    }
}

fn map_of(key: Field, value: Field) -> DataType {
    let entries = DataType::Struct(Fields::from(vec![key, value]));
    DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
}

/// The SQL name of an Arrow type, as result columns and DESCRIBE show it.
pub fn sql_type_name(ty: &DataType) -> String {
    match ty {
        DataType::Null => "unknown".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("numeric({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        DataType::FixedSizeBinary(16) => "uuid".to_owned(),
        DataType::FixedSizeBinary(n) => format!("fixed({n})"),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let precision = if *unit == TimeUnit::Nanosecond {
                "(9)"
            } else {
                ""
            };
            let zone = if zone.is_some() { "with" } else { "without" };
            format!("timestamp{precision} {zone} time zone")
        }
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("{}[]", sql_type_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "map<{}, {}>",
                sql_type_name(fields[0].data_type()),
                sql_type_name(fields[1].data_type())
            ),
            other => format!("map<{}>", sql_type_name(other)),
        },
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|f| format!("{}: {}", f.name(), sql_type_name(f.data_type())))
                .collect();
            format!("struct<{}>", fields.join(", "))
        }
        DataType::Dictionary(_, value) => sql_type_name(value),
        DataType::RunEndEncoded(_, values) => sql_type_name(values.data_type()),
        DataType::Union(..) => "union".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_type(sql: &str, wanted: &str) {
        let crate::parser::Statement::CreateTable(create) =
            crate::parser::parse(&format!("CREATE TABLE t (c {sql})")).unwrap()
        else {
            panic!("not CREATE TABLE")
        };
        let field = SqlTypes::new("UTC")
            .column_type("c", &create.columns[0].data_type)
            .unwrap();
        assert_eq!(sql_type_name(field.data_type()), wanted, "{sql}");
    }

    #[test]
    fn sql_names_mean_what_postgresql_means() {
        check_type("varchar(20)", "text");
        check_type("character varying(20)", "text");
        check_type("float", "double precision");
        check_type("float(24)", "real");
        check_type("numeric(12, 2)", "numeric(12,2)");
        check_type("timestamp", "timestamp without time zone");
        check_type("timestamptz", "timestamp with time zone");
        check_type("timestamp(3) with time zone", "timestamp with time zone");
        check_type("int[]", "integer[]");
        check_type("uuid", "uuid");
        check_type("bytea", "bytea");
        check_type("time", "time without time zone");
    }

    #[test]
    fn impossible_decimals_are_refused() {
        let types = SqlTypes::new("UTC");
        let bad = SqlType::Numeric(ExactNumberInfo::PrecisionAndScale(39, 2));
        assert!(types.column_type("c", &bad).is_err());
    }
}
