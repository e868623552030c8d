//! Values of the client, in text or binary, to arrays of Arrow.
//!
//! Parameters are columns of one row; COPY brings columns of thousands. No bytes make these functions
//! panic, and none makes them allocate more than a multiple of what the client sent.

mod array;
mod binary;
mod text;

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use tarn_engine::{Address, EngineError, PgType, ScalarValue, pg_type_by_oid};

use super::encode::{Format, JSONB_VERSION};
use super::fault::Fault;
pub(crate) use binary::from_binary;
pub(crate) use text::from_text;

/// A value that cannot be read as its type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Which of the values.
    pub(crate) row: usize,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Bad {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            row: 0,
            code,
            message: message.into(),
        }
    }

    /// Text that is none of the type.
    pub(crate) fn syntax(ty: &str, text: &str) -> Self {
        Self::new(
            "22P02",
            format!("invalid input syntax for type {ty}: \"{}\"", short(text)),
        )
    }

    pub(crate) fn range(ty: &str, text: &str) -> Self {
        Self::new(
            "22003",
            format!("value \"{}\" is out of range for type {ty}", short(text)),
        )
    }

    /// Bytes that are none of the type.
    pub(crate) fn bytes(ty: &str) -> Self {
        Self::new(
            "22P03",
            format!("incorrect binary data format for type {ty}"),
        )
    }

    pub(crate) fn at(mut self, row: usize) -> Self {
        self.row = row;
        self
    }
}

impl From<EngineError> for Bad {
    fn from(error: EngineError) -> Self {
        Self::new(error.kind.sqlstate(), error.message)
    }
}

impl From<Bad> for Fault {
    fn from(bad: Bad) -> Self {
        Self::error(bad.code, bad.message)
    }
}

/// Characters of a bad value that a message repeats.
const SHOWN_MAX: usize = 100;

fn short(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// The Arrow type of a parameter whose oid the client has said; `None` = unknown to us.
pub(crate) fn arrow_type(oid: u32) -> Option<DataType> {
    let ty = pg_type_by_oid(oid)?;
    if let Some(item) = ty.name.strip_prefix('_') {
        let item = tarn_engine::pg_type_named(item)?;
        return Some(DataType::new_list(scalar_type(item)?, true));
    }
    scalar_type(ty)
}

fn scalar_type(ty: PgType) -> Option<DataType> {
    Some(match ty.name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "oid" | "xid" => DataType::UInt32,
        name if name.starts_with("reg") => DataType::UInt32,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(38, 10),
        "text" | "varchar" | "bpchar" | "char" | "name" | "json" | "jsonb" | "inet" | "cidr" => {
            DataType::Utf8View
        }
        "bytea" => DataType::BinaryView,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "uuid" => DataType::FixedSizeBinary(16),
        _ => return None,
    })
}

/// The type in which the value of a parameter comes. What is an oid in binary (`regclass` and its like) is a name in
/// text, which the engine looks up.
pub(crate) fn sent_type(oid: u32, format: Format, ty: DataType) -> DataType {
    let is_name = pg_type_by_oid(oid).is_some_and(|ty| ty.name.starts_with("reg"));
    match (is_name, format) {
        (false, _) => ty,
        (true, Format::Text) => DataType::Utf8View,
        (true, Format::Binary) => DataType::UInt32,
    }
}

/// The binary value of a type that is text to us, as that text.
///
/// # Errors
/// [`Bad`] if the bytes are none of the type.
pub(super) fn text_of(oid: u32, bytes: &[u8]) -> Result<Cow<'_, [u8]>, Bad> {
    let name = pg_type_by_oid(oid).map_or("", |ty| ty.name);
    match name {
        "jsonb" => match bytes {
            [JSONB_VERSION, text @ ..] => Ok(Cow::Borrowed(text)),
            [version, ..] => Err(Bad::new(
                "22P03",
                format!("unsupported jsonb version number {version}"),
            )),
            [] => Err(Bad::bytes(name)),
        },
        "inet" | "cidr" => {
            let address = Address::from_binary(bytes).ok_or_else(|| Bad::bytes(name))?;
            Ok(Cow::Owned(address.to_string().into_bytes()))
        }
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

/// One parameter, of the type `oid` to the client.
pub(crate) fn parameter(
    bytes: Option<&[u8]>,
    oid: u32,
    format: Format,
    ty: &DataType,
    zone: &str,
) -> Result<ScalarValue, Fault> {
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(ty).map_err(|error| Fault::error("0A000", error.to_string()));
    };
    let array: ArrayRef = match format {
        Format::Text => {
            let text = std::str::from_utf8(bytes)
                .ok()
                .filter(|text| !text.contains('\0'))
                .ok_or_else(|| {
                    Fault::error("22021", "invalid byte sequence for encoding \"UTF8\"")
                })?;
            let ty = text::exact_decimal(&array::fitting_text(ty, text), text);
            from_text(&[Some(text)], &ty, zone)?
        }
        Format::Binary => {
            let bytes = &*text_of(oid, bytes)?;
            if let Some(decimal) = binary::exact_decimal(ty, bytes) {
                let ty = text::exact_decimal(ty, &decimal);
                from_text(&[Some(&decimal)], &ty, zone)?
            } else {
                from_binary(&[Some(bytes)], &binary::fitting_array(ty, bytes)?)?
            }
        }
    };
    ScalarValue::try_from_array(&array, 0).map_err(|error| Fault::error("XX000", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::encode::{Cell, Style};
    use arrow::datatypes::Field;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn types() -> Vec<DataType> {
        let mut types = vec![
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::UInt32,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(20, 4),
            DataType::Decimal256(50, 4),
            DataType::Utf8View,
            DataType::Utf8,
            DataType::BinaryView,
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::FixedSizeBinary(16),
        ];
        let lists: Vec<_> = types
            .iter()
            .map(|ty| DataType::List(Arc::new(Field::new_list_field(ty.clone(), true))))
            .collect();
        types.extend(lists);
        types
    }

    fn write(array: &ArrayRef, format: Format) -> Vec<u8> {
        let field = Field::new("c", array.data_type().clone(), true);
        let mut out = vec![];
        let cell = Cell::of(array, &field, format, Style::default()).unwrap();
        cell.put(0, &mut out).unwrap();
        out
    }

    fn check(text: &str, ty: &DataType) {
        let array = from_text(&[Some(text)], ty, "Europe/Berlin").unwrap();
        assert_eq!(array.data_type(), ty, "{text}");
        assert_eq!(
            String::from_utf8(write(&array, Format::Text)).unwrap(),
            text
        );
        let sent = write(&array, Format::Binary);
        let back = from_binary(&[Some(&sent)], ty).unwrap();
        assert_eq!(&back, &array, "{text} in binary");
    }

    #[test]
    fn every_type_goes_round_in_both_formats() {
        let samples = [
            "t",
            "-7",
            "2147483647",
            "-9223372036854775808",
            "4294967295",
            "1.5",
            "-1e+20",
            "1234567890123456.7891",
            "-9999999999999999999999999999999999999999999999.0001",
            "häß",
            "",
            "\\x00ff",
            "2024-02-29",
            "23:59:59.5",
            "0044-03-15 01:02:03 BC",
            "2024-07-01 12:00:00+02",
            "1 year 2 mons -3 days +04:05:06.7",
            "01234567-89ab-cdef-0123-456789abcdef",
        ];
        let types = types();
        for (text, ty) in samples.iter().zip(&types) {
            check(text, ty);
        }
        check("{1,NULL,3}", &types[18 + 2]);
        check("{}", &types[18 + 2]);
        check(r#"{"a,b",NULL,"NULL","","\"\\"}"#, &types[18 + 9]);
        check("{\"2024-01-01 00:00:00\"}", &types[18 + 14]);
    }

    fn check_bad(text: &str, ty: &DataType, code: &str) {
        let bad = from_text(&[None, Some(text)], ty, "UTC").unwrap_err();
        assert_eq!((bad.code, bad.row), (code, 1), "{text}: {}", bad.message);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_row() {
        check_bad("x", &DataType::Int32, "22P02");
        check_bad("2147483648", &DataType::Int32, "22003");
        check_bad("", &DataType::Int64, "22P02");
        check_bad("maybe", &DataType::Boolean, "22P02");
        check_bad("1e400", &DataType::Float64, "22003");
        check_bad("12345678901234567.1", &DataType::Decimal128(20, 4), "22003");
        check_bad("NaN", &DataType::Decimal128(20, 4), "22003");
        check_bad("2024-02-30", &DataType::Date32, "22008");
        check_bad("yesterday-ish", &DataType::Date32, "22007");
        check_bad("25:00", &DataType::Time64(TimeUnit::Microsecond), "22008");
        check_bad("\\xabc", &DataType::BinaryView, "22P02");
        check_bad("0123", &DataType::FixedSizeBinary(16), "22P02");
        check_bad(
            "1 parsec",
            &DataType::Interval(IntervalUnit::MonthDayNano),
            "22007",
        );
        check_bad("{1", &types()[20], "22P02");
        assert!(from_binary(&[Some(b"abc")], &DataType::Int32).is_err());
    }

    #[test]
    fn what_is_an_oid_in_binary_is_a_name_in_text() {
        let regclass = 2205;
        assert_eq!(arrow_type(regclass), Some(DataType::UInt32));
        let sent = |format| sent_type(regclass, format, DataType::Utf8View);
        assert_eq!(sent(Format::Text), DataType::Utf8View);
        assert_eq!(sent(Format::Binary), DataType::UInt32);
        assert_eq!(
            sent_type(25, Format::Binary, DataType::Utf8View),
            DataType::Utf8View
        );
    }

    #[test]
    fn jsonb_and_addresses_are_read_as_text() {
        let read = |oid, bytes: &[u8]| {
            let ty = DataType::Utf8View;
            parameter(Some(bytes), oid, Format::Binary, &ty, "UTC")
                .map_err(|fault| format!("{fault:?}"))
        };
        let text = |text: &str| Ok(ScalarValue::Utf8View(Some(text.to_owned())));
        assert_eq!(read(3802, b"\x01[1]"), text("[1]"));
        assert!(read(3802, b"\x02[1]").is_err());
        assert!(read(3802, b"").is_err());
        assert_eq!(read(869, b"\x02\x20\0\x04\x0a\0\0\x01"), text("10.0.0.1"));
        assert!(read(650, b"\x02\x08\x01\x04\x0a\0\0\x01").is_err());
        assert_eq!(read(25, b"\x01x"), text("\x01x"));
    }

    #[test]
    fn a_numeric_parameter_keeps_its_own_digits() {
        let ty = DataType::Decimal128(12, 2);
        let value = parameter(Some(b"1.23456"), 1700, Format::Text, &ty, "UTC").unwrap();
        assert_eq!(value, ScalarValue::Decimal128(Some(123_456), 38, 5));
        let sent = [0, 2, 0, 0, 0, 0, 0, 5, 0, 1, 0x09, 0x29, 0x17, 0x70];
        let value = parameter(Some(&sent[..12]), 1700, Format::Binary, &ty, "UTC");
        assert!(
            matches!(value, Ok(ScalarValue::Decimal128(Some(_), 38, 5))),
            "{value:?}"
        );
        let long = "1234567890123456789012345678901234567890";
        let value = parameter(Some(long.as_bytes()), 1700, Format::Text, &ty, "UTC").unwrap();
        assert!(matches!(value, ScalarValue::Decimal256(Some(_), _, 0)));
    }

    proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in ".{0,40}", at in 0_usize..36) {
            let _ = from_text(&[Some(&text)], &types()[at], "Europe/Berlin");
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0_usize..36) {
            let _ = from_binary(&[Some(&bytes)], &types()[at]);
            let _ = parameter(Some(&bytes), 0, Format::Binary, &types()[at], "UTC");
        }

        #[test]
        fn digits_and_signs_never_panic(text in "[-+0-9.:eE TZ{},\"\\\\xP/]{0,30}", at in 0_usize..36) {
            let _ = from_text(&[Some(&text)], &types()[at], "America/New_York");
        }

        #[test]
        fn moments_go_round(micros in -200_000_000_000_000_000_i64..200_000_000_000_000_000) {
            let ty = DataType::Timestamp(TimeUnit::Microsecond, None);
            let array: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![micros]));
            let text = String::from_utf8(write(&array, Format::Text)).unwrap();
            prop_assert_eq!(&from_text(&[Some(&text)], &ty, "UTC").unwrap(), &array);
        }

        #[test]
        fn numerics_go_round(value in any::<i64>(), scale in 0_i8..10) {
            let ty = DataType::Decimal128(38, scale);
            let array: ArrayRef = Arc::new(
                arrow::array::Decimal128Array::from(vec![i128::from(value)])
                    .with_precision_and_scale(38, scale).unwrap());
            let sent = write(&array, Format::Binary);
            prop_assert_eq!(&from_binary(&[Some(&sent)], &ty).unwrap(), &array);
        }
    }
}
