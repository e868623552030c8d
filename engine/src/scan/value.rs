//! Iceberg single values as DataFusion scalars of a table column's type.
//!
//! Knows literals and Arrow types. Refuses to know files and predicates.

use arrow::datatypes::{DataType, TimeUnit, i256};
use datafusion::common::ScalarValue;
use tarn_catalog::Literal;

/// `literal` as a scalar of type `to`, with Iceberg's promotions (int to long, float to double, a wider decimal,
/// date to timestamp) applied. `None` if the literal is not a value of that type.
pub(crate) fn scalar(literal: &Literal, to: &DataType) -> Option<ScalarValue> {
    let value = match literal {
        Literal::Boolean(v) => ScalarValue::Boolean(Some(*v)),
        Literal::Int(v) => ScalarValue::Int32(Some(*v)),
        Literal::Long(v) => ScalarValue::Int64(Some(*v)),
        Literal::Float(v) => ScalarValue::Float32(Some(*v)),
        Literal::Double(v) => ScalarValue::Float64(Some(*v)),
        Literal::Date(v) => ScalarValue::Date32(Some(*v)),
        Literal::Time(v) => ScalarValue::Time64Microsecond(Some(*v)),
        Literal::Timestamp(v) => ScalarValue::TimestampMicrosecond(Some(*v), None),
        Literal::TimestampTz(v) => ScalarValue::TimestampMicrosecond(Some(*v), Some("UTC".into())),
        Literal::TimestampNs(v) => ScalarValue::TimestampNanosecond(Some(*v), None),
        Literal::TimestampTzNs(v) => ScalarValue::TimestampNanosecond(Some(*v), Some("UTC".into())),
        Literal::Decimal {
            unscaled, scale, ..
        } => return decimal(*unscaled, *scale, to),
        Literal::String(v) => ScalarValue::Utf8View(Some(v.clone())),
        Literal::Uuid(v) => ScalarValue::FixedSizeBinary(16, Some(v.to_vec())),
        Literal::Fixed(v) => {
            ScalarValue::FixedSizeBinary(i32::try_from(v.len()).ok()?, Some(v.clone()))
        }
        Literal::Binary(v) => ScalarValue::BinaryView(Some(v.clone())),
    };
    let from = value.data_type();
    if from == *to {
        return Some(value);
    }
    promotes(&from, to)
        .then(|| value.cast_to(to).ok())
        .flatten()
}

fn decimal(unscaled: i128, scale: i8, to: &DataType) -> Option<ScalarValue> {
    match to {
        DataType::Decimal128(precision, s) if *s == scale => {
            Some(ScalarValue::Decimal128(Some(unscaled), *precision, *s))
        }
        DataType::Decimal256(precision, s) if *s == scale => Some(ScalarValue::Decimal256(
            Some(i256::from_i128(unscaled)),
            *precision,
            *s,
        )),
        _ => None,
    }
}

/// Whether a file's primitive column of type `from` may be read as a table column of type `to`.
///
/// Source: Iceberg spec, "Schema Evolution" (type promotions), and the ways in which writers store one Iceberg type
/// in Arrow (views, dictionaries, small integers, timestamps of another unit).
pub(crate) fn promotes(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (D::Dictionary(_, value), _) => **value == *to || promotes(value, to),
        (D::Int8 | D::Int16 | D::UInt8 | D::UInt16, D::Int32 | D::Int64)
        | (D::Int32 | D::UInt32, D::Int64)
        | (D::Float16, D::Float32 | D::Float64)
        | (D::Float32, D::Float64)
        | (D::Date32, D::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None))
        | (D::Date64, D::Date32)
        | (D::Time32(_) | D::Time64(_), D::Time64(_))
        | (
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView,
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView,
        )
        | (D::FixedSizeBinary(_), D::Binary | D::LargeBinary | D::BinaryView)
        | (D::Timestamp(..), D::Timestamp(..))
        | (D::Null, _) => true,
        (
            D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s),
            D::Decimal128(q, t) | D::Decimal256(q, t),
        ) => s == t && p <= q,
        _ => from == to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_int_bound_of_a_widened_column_is_a_long() {
        assert_eq!(
            scalar(&Literal::Int(7), &DataType::Int64),
            Some(ScalarValue::Int64(Some(7)))
        );
        assert_eq!(scalar(&Literal::Long(7), &DataType::Int32), None);
    }

    #[test]
    fn a_decimal_widens_but_keeps_its_scale() {
        let literal = Literal::Decimal {
            unscaled: 123,
            precision: 5,
            scale: 2,
        };
        assert_eq!(
            scalar(&literal, &DataType::Decimal128(9, 2)),
            Some(ScalarValue::Decimal128(Some(123), 9, 2))
        );
        assert_eq!(scalar(&literal, &DataType::Decimal128(9, 3)), None);
    }

    #[test]
    fn narrowing_is_never_a_promotion() {
        assert!(!promotes(&DataType::Int64, &DataType::Int32));
        assert!(!promotes(&DataType::Float64, &DataType::Float32));
        assert!(!promotes(
            &DataType::Decimal128(10, 2),
            &DataType::Decimal128(9, 2)
        ));
        assert!(promotes(&DataType::Utf8, &DataType::Utf8View));
    }
}
