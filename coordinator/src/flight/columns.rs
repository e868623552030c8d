//! What Flight SQL says of a column in its field's metadata.
//!
//! Source: FlightSql.proto, "`CommandGetTables`", and Arrow's `FlightSqlColumnMetadata`.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tarn_catalog::DOC_META_KEY;
use tarn_engine::sql_type_name;

const TYPE_NAME: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";
const PRECISION: &str = "ARROW:FLIGHT:SQL:PRECISION";
const SCALE: &str = "ARROW:FLIGHT:SQL:SCALE";
const IS_AUTO_INCREMENT: &str = "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT";
const REMARKS: &str = "ARROW:FLIGHT:SQL:REMARKS";

/// Longest text or bytes that a driver is told; there is no limit.
const LENGTH_TOLD: i32 = i32::MAX;

/// The columns of a table as `GetTables` tells them; `schema` has the types that the client gets.
///
/// Says what drivers cannot tell from the types, and no more: with 10,000 tables every key counts.
pub(crate) fn of_table(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut metadata = field.metadata().clone();
            let comment = metadata.remove(DOC_META_KEY);
            // Field ids and the like are the table's own business.
            metadata.retain(|key, _| key.starts_with("ARROW:"));
            describe(&mut metadata, field);
            metadata.insert(IS_AUTO_INCREMENT.to_owned(), "0".to_owned());
            if let Some(comment) = comment {
                metadata.insert(REMARKS.to_owned(), comment);
            }
            field.as_ref().clone().with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

/// Adds type name, precision and scale, which drivers cannot tell from the Arrow type alone.
pub(crate) fn describe(metadata: &mut HashMap<String, String>, field: &Field) {
    metadata.insert(TYPE_NAME.to_owned(), sql_type_name(field.data_type()));
    let (precision, scale) = digits(field.data_type());
    if let Some(precision) = precision {
        metadata.insert(PRECISION.to_owned(), precision.to_string());
    }
    if let Some(scale) = scale {
        metadata.insert(SCALE.to_owned(), scale.to_string());
    }
}

/// Precision and scale of a type, as JDBC counts them: digits, characters, or digits after the point of seconds.
pub(crate) fn digits(ty: &DataType) -> (Option<i32>, Option<i32>) {
    let fraction = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    // A point comes with a fraction.
    let width = |base: i32, unit: &TimeUnit| base + fraction(unit) + i32::from(fraction(unit) > 0);
    match ty {
        DataType::Boolean => (Some(1), None),
        DataType::Int8 | DataType::UInt8 => (Some(3), Some(0)),
        DataType::Int16 | DataType::UInt16 => (Some(5), Some(0)),
        DataType::Int32 | DataType::UInt32 => (Some(10), Some(0)),
        DataType::Int64 => (Some(19), Some(0)),
        DataType::UInt64 => (Some(20), Some(0)),
        DataType::Float16 | DataType::Float32 => (Some(8), Some(8)),
        DataType::Float64 => (Some(17), Some(17)),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (Some(i32::from(*p)), Some(i32::from(*s))),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => (Some(LENGTH_TOLD), None),
        DataType::FixedSizeBinary(n) => (Some(*n), None),
        DataType::Date32 | DataType::Date64 => (Some(10), None),
        DataType::Time32(unit) | DataType::Time64(unit) => {
            (Some(width(8, unit)), Some(fraction(unit)))
        }
        DataType::Timestamp(unit, _) => (Some(width(19, unit)), Some(fraction(unit))),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_column_says_what_it_is() {
        let field = Field::new("price", DataType::Decimal128(12, 2), true)
            .with_metadata([(DOC_META_KEY.to_owned(), "in euros".to_owned())].into());
        let schema = of_table(&Schema::new(vec![field]));
        let metadata = schema.field(0).metadata();
        let get = |key: &str| metadata[key].as_str();
        assert_eq!(get(TYPE_NAME), "numeric(12,2)");
        assert_eq!((get(PRECISION), get(SCALE)), ("12", "2"));
        assert_eq!(get(REMARKS), "in euros");
        assert_eq!(get(IS_AUTO_INCREMENT), "0");
    }

    #[test]
    fn seconds_have_as_many_digits_as_their_unit() {
        let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(digits(&micro), (Some(26), Some(6)));
        assert_eq!(
            digits(&DataType::Time32(TimeUnit::Second)),
            (Some(8), Some(0))
        );
    }
}
