//! Iceberg schemas as Arrow 59 schemas, and back.
//!
//! Columns are known by field id: every Arrow field we hand out carries its id, at every depth, in
//! the metadata that `parquet` reads and writes. Values are not touched here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use iceberg::spec as ice;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::{CatalogError, Result};
use crate::foreign::TYPE_META_KEY;
use crate::literal::Literal;

/// Arrow field metadata that holds a column's comment.
pub const DOC_META_KEY: &str = "iceberg.doc";
/// Arrow field metadata that names an extension type.
const EXTENSION_NAME_KEY: &str = "ARROW:extension:name";
/// The canonical Arrow extension type of a UUID.
const EXTENSION_UUID: &str = "arrow.uuid";
/// The zone of `timestamptz` columns. Values are always UTC.
const ZONE: &str = "UTC";
/// Most digits of a decimal.
const DECIMAL_PRECISION_MAX: u8 = 38;

/// The field id that [`Table::arrow_schema`](crate::Table::arrow_schema) put on an Arrow field.
pub fn field_id(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)
        .and_then(|id| id.parse().ok())
}

/// The Iceberg name of a column's type, such as `decimal(15, 2)` or `map<string, int>`.
///
/// An Arrow type without an Iceberg counterpart is named as Arrow names it.
pub fn iceberg_type_name(field: &Field) -> String {
    if is_uuid(field) {
        return "uuid".to_owned();
    }
    if let Some(name) = field.metadata().get(TYPE_META_KEY) {
        return name.clone();
    }
    match field.data_type() {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Time64(TimeUnit::Microsecond) => "time".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "timestamp_ns".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => "timestamptz_ns".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::FixedSizeBinary(width) => format!("fixed({width})"),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => format!("list<{}>", iceberg_type_name(element)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "map<{}, {}>",
                iceberg_type_name(&fields[0]),
                iceberg_type_name(&fields[1])
            ),
            other => format!("map<{other}>"),
        },
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), iceberg_type_name(field)))
                .collect::<Vec<_>>();
            format!("struct<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn is_uuid(field: &Field) -> bool {
    field.data_type() == &DataType::FixedSizeBinary(16)
        && field.metadata().get(EXTENSION_NAME_KEY).map(String::as_str) == Some(EXTENSION_UUID)
}

/// The Arrow 59 form of an Iceberg schema.
pub(crate) fn to_arrow(schema: &ice::Schema) -> SchemaRef {
    Arc::new(Schema::new(struct_to_arrow(schema.as_struct())))
}

fn struct_to_arrow(ty: &ice::StructType) -> Fields {
    ty.fields()
        .iter()
        .map(|field| field_to_arrow(field, &field.name))
        .collect()
}

pub(crate) fn field_to_arrow(field: &ice::NestedField, name: &str) -> Field {
    let mut metadata =
        HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    if let Some(doc) = &field.doc {
        metadata.insert(DOC_META_KEY.to_owned(), doc.clone());
    }
    if matches!(
        *field.field_type,
        ice::Type::Primitive(ice::PrimitiveType::Uuid)
    ) {
        metadata.insert(EXTENSION_NAME_KEY.to_owned(), EXTENSION_UUID.to_owned());
    }
    Field::new(name, type_to_arrow(&field.field_type), !field.required).with_metadata(metadata)
}

pub(crate) fn type_to_arrow(ty: &ice::Type) -> DataType {
    match ty {
        ice::Type::Primitive(primitive) => primitive_to_arrow(primitive),
        ice::Type::Struct(fields) => DataType::Struct(struct_to_arrow(fields)),
        ice::Type::List(list) => {
            DataType::List(Arc::new(field_to_arrow(&list.element_field, "element")))
        }
        ice::Type::Map(map) => {
            let entries = Fields::from(vec![
                field_to_arrow(&map.key_field, "key"),
                field_to_arrow(&map.value_field, "value"),
            ]);
            let entries = Field::new("key_value", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
    }
}

pub(crate) fn primitive_to_arrow(ty: &ice::PrimitiveType) -> DataType {
    use ice::PrimitiveType as P;
    match ty {
        P::Boolean => DataType::Boolean,
        P::Int => DataType::Int32,
        P::Long => DataType::Int64,
        P::Float => DataType::Float32,
        P::Double => DataType::Float64,
        // The metadata parser refuses decimals that do not fit.
        P::Decimal { precision, scale } => DataType::Decimal128(
            u8::try_from(*precision).unwrap_or(DECIMAL_PRECISION_MAX),
            i8::try_from(*scale).unwrap_or(0),
        ),
        P::Date => DataType::Date32,
        P::Time => DataType::Time64(TimeUnit::Microsecond),
        P::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        P::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
        P::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        P::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some(ZONE.into())),
        P::String => DataType::Utf8View,
        P::Uuid => DataType::FixedSizeBinary(16),
        P::Fixed(width) => DataType::FixedSizeBinary(i32::try_from(*width).unwrap_or(i32::MAX)),
        P::Binary => DataType::BinaryView,
    }
}

/// The column that a partition or sort field is made of: exactly, else case-insensitively. `role` says what it is for.
///
/// # Errors
/// [`CatalogError::Invalid`] if it is not there.
pub(crate) fn source_of<'a>(
    schema: &'a ice::Schema,
    column: &str,
    role: &str,
) -> Result<&'a ice::NestedFieldRef> {
    schema
        .field_by_name(column)
        .or_else(|| schema.field_by_name_case_insensitive(column))
        .ok_or_else(|| {
            CatalogError::invalid(format!(
                "{role} column \"{column}\" is not a column of the table"
            ))
        })
}

/// The initial defaults (format version 3) of primitive columns, at any depth, by field id.
pub(crate) fn initial_defaults(schema: &ice::Schema) -> HashMap<i32, Literal> {
    schema
        .field_id_to_fields()
        .iter()
        .filter_map(|(id, field)| {
            let ty = field.field_type.as_primitive_type()?;
            let value = field.initial_default.as_ref()?.as_primitive_literal()?;
            Some((*id, Literal::from_primitive(ty, &value)?))
        })
        .collect()
}

/// The Iceberg schema of a new table whose columns look like `schema`.
///
/// Ids are provisional (1, 2, … in depth-first order); the metadata builder assigns the final ones.
/// Types that Iceberg lacks widen to the next one that holds every value: `int8` to `int`, `uint32`
/// to `long`, `uint64` to `decimal(20, 0)`, nanoseconds to microseconds before format version 3.
///
/// # Errors
/// [`CatalogError::Invalid`] for no columns or two of one name; [`CatalogError::Unsupported`] for a
/// type that Iceberg cannot hold. Both name the column.
pub(crate) fn from_arrow(schema: &Schema, format_version: u8) -> Result<ice::Schema> {
    if schema.fields().is_empty() {
        return Err(CatalogError::invalid("a table needs at least one column"));
    }
    let mut reader = ArrowReader {
        next_id: 1,
        nanoseconds: format_version >= 3,
    };
    let fields = reader.fields(schema.fields(), "")?;
    ice::Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| CatalogError::invalid(format!("the columns are not valid: {error}")))
}

/// Refuses columns in nanoseconds that were asked for and that tables of this format version do not have.
///
/// # Errors
/// [`CatalogError::Unsupported`] names the first of them.
pub fn check_nanoseconds<'a>(
    fields: impl IntoIterator<Item = &'a FieldRef>,
    format_version: u8,
) -> Result<()> {
    let mut fields = fields.into_iter();
    match fields.find_map(|field| nanoseconds_in(field, field.name().clone())) {
        Some((path, ty)) if format_version < 3 => Err(CatalogError::unsupported(format!(
            "column \"{path}\" is {ty}, which tables of format version {format_version} do not have; \
             set the table property 'format-version' = '3', or use {} with 6 digits",
            ty.trim_end_matches("(9)")
        ))),
        _ => Ok(()),
    }
}

/// The path of the first column in `field` that counts nanoseconds, and its type.
fn nanoseconds_in(field: &Field, path: String) -> Option<(String, &'static str)> {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => Some((path, "timestamp(9)")),
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => Some((path, "timestamptz(9)")),
        DataType::Struct(fields) => fields
            .iter()
            .find_map(|field| nanoseconds_in(field, format!("{path}.{}", field.name()))),
        DataType::List(item) => nanoseconds_in(item, format!("{path}.element")),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => pair
                .iter()
                .zip(["key", "value"])
                .find_map(|(field, part)| nanoseconds_in(field, format!("{path}.{part}"))),
            _ => None,
        },
        _ => None,
    }
}

/// The Iceberg form of one new column, with ids from `first_id` in depth-first order.
///
/// # Errors
/// As [`from_arrow`] and [`check_nanoseconds`].
pub(crate) fn new_column(
    field: &Field,
    first_id: i32,
    format_version: u8,
) -> Result<ice::NestedField> {
    if field.name().is_empty() {
        return Err(CatalogError::invalid("a column name must not be empty"));
    }
    check_nanoseconds([&Arc::new(field.clone())], format_version)?;
    let mut reader = ArrowReader {
        next_id: first_id,
        nanoseconds: format_version >= 3,
    };
    reader.field(field, field.name(), field.name())
}

struct ArrowReader {
    next_id: i32,
    nanoseconds: bool,
}

impl ArrowReader {
    fn fields(&mut self, fields: &Fields, parent: &str) -> Result<Vec<ice::NestedFieldRef>> {
        let mut seen = HashSet::new();
        let mut out = Vec::with_capacity(fields.len());
        for field in fields {
            let path = format!("{parent}{}", field.name());
            if field.name().is_empty() {
                return Err(CatalogError::invalid("a column name must not be empty"));
            }
            if !seen.insert(field.name().as_str()) {
                return Err(CatalogError::invalid(format!(
                    "column \"{path}\" is defined twice; give each column its own name"
                )));
            }
            out.push(Arc::new(self.field(field, field.name(), &path)?));
        }
        Ok(out)
    }

    fn field(&mut self, field: &Field, name: &str, path: &str) -> Result<ice::NestedField> {
        let id = self.take_id();
        let ty = self.field_type(field, path)?;
        let nested = ice::NestedField::new(id, name, ty, !field.is_nullable());
        Ok(match field.metadata().get(DOC_META_KEY) {
            Some(doc) => nested.with_doc(doc),
            None => nested,
        })
    }

    fn take_id(&mut self) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn field_type(&mut self, field: &Field, path: &str) -> Result<ice::Type> {
        if is_uuid(field) {
            return Ok(ice::Type::Primitive(ice::PrimitiveType::Uuid));
        }
        self.data_type(field.data_type(), path)
    }

    fn data_type(&mut self, ty: &DataType, path: &str) -> Result<ice::Type> {
        match ty {
            DataType::Dictionary(_, value) => self.data_type(value, path),
            DataType::RunEndEncoded(_, values) => self.field_type(values, path),
            DataType::Struct(fields) => {
                if fields.is_empty() {
                    return Err(CatalogError::unsupported(format!(
                        "column \"{path}\" is a struct without fields; give it one"
                    )));
                }
                let fields = self.fields(fields, &format!("{path}."))?;
                Ok(ice::Type::Struct(ice::StructType::new(fields)))
            }
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element)
            | DataType::FixedSizeList(element, _) => {
                let element = self.field(element, "element", &format!("{path}.element"))?;
                Ok(ice::Type::List(ice::ListType::new(Arc::new(element))))
            }
            DataType::Map(entries, _) => self.map(entries, path),
            primitive => self.primitive(primitive, path).map(ice::Type::Primitive),
        }
    }

    fn map(&mut self, entries: &Field, path: &str) -> Result<ice::Type> {
        let fields = match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => fields,
            other => {
                return Err(CatalogError::unsupported(format!(
                    "column \"{path}\" is a map with entries of type {other}"
                )));
            }
        };
        let mut key = self.field(&fields[0], "key", &format!("{path}.key"))?;
        key.required = true;
        let value = self.field(&fields[1], "value", &format!("{path}.value"))?;
        let map = ice::MapType::new(Arc::new(key), Arc::new(value));
        Ok(ice::Type::Map(map))
    }

    fn primitive(&self, ty: &DataType, path: &str) -> Result<ice::PrimitiveType> {
        use ice::PrimitiveType as P;
        Ok(match ty {
            DataType::Boolean => P::Boolean,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::UInt8
            | DataType::UInt16 => P::Int,
            DataType::Int64 | DataType::UInt32 => P::Long,
            DataType::UInt64 => P::Decimal {
                precision: 20,
                scale: 0,
            },
            DataType::Float16 | DataType::Float32 => P::Float,
            DataType::Float64 => P::Double,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => decimal(*precision, *scale, path)?,
            DataType::Date32 | DataType::Date64 => P::Date,
            DataType::Time32(_) | DataType::Time64(_) => P::Time,
            DataType::Timestamp(TimeUnit::Nanosecond, zone) if self.nanoseconds => match zone {
                Some(_) => P::TimestamptzNs,
                None => P::TimestampNs,
            },
            DataType::Timestamp(_, Some(_)) => P::Timestamptz,
            DataType::Timestamp(_, None) => P::Timestamp,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => P::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => P::Binary,
            DataType::FixedSizeBinary(width) => match u64::try_from(*width) {
                Ok(width) if width > 0 => P::Fixed(width),
                _ => return Err(unsupported(path, ty)),
            },
            DataType::Null => {
                return Err(CatalogError::unsupported(format!(
                    "column \"{path}\" has no type (it is only NULL); cast it, for example to varchar"
                )));
            }
            other => return Err(unsupported(path, other)),
        })
    }
}

fn decimal(precision: u8, scale: i8, path: &str) -> Result<ice::PrimitiveType> {
    match u32::try_from(scale) {
        Ok(scale) if precision <= DECIMAL_PRECISION_MAX && scale <= u32::from(precision) => {
            Ok(ice::PrimitiveType::Decimal {
                precision: u32::from(precision),
                scale,
            })
        }
        _ => Err(CatalogError::unsupported(format!(
            "column \"{path}\" is decimal({precision}, {scale}); Iceberg holds at most \
             {DECIMAL_PRECISION_MAX} digits and a scale from 0 to the precision; cast it"
        ))),
    }
}

fn unsupported(path: &str, ty: &DataType) -> CatalogError {
    CatalogError::unsupported(format!(
        "column \"{path}\" has type {ty}, which an Iceberg table cannot hold; cast it to another type"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_type(arrow: DataType, version: u8, expected: &str) {
        let schema = Schema::new(vec![Field::new("c", arrow, true)]);
        let ours = to_arrow(&from_arrow(&schema, version).unwrap());
        assert_eq!(iceberg_type_name(ours.field(0)), expected);
    }

    #[test]
    fn every_arrow_type_widens_to_one_that_holds_it() {
        check_type(DataType::Int8, 2, "int");
        check_type(DataType::UInt16, 2, "int");
        check_type(DataType::UInt32, 2, "long");
        check_type(DataType::UInt64, 2, "decimal(20, 0)");
        check_type(DataType::Float16, 2, "float");
        check_type(DataType::Decimal256(15, 2), 2, "decimal(15, 2)");
        check_type(DataType::Utf8, 2, "string");
        check_type(
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            2,
            "string",
        );
        let ns = DataType::Timestamp(TimeUnit::Nanosecond, None);
        check_type(ns.clone(), 2, "timestamp");
        check_type(ns, 3, "timestamp_ns");
        check_type(
            DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into())),
            2,
            "timestamptz",
        );
    }

    #[test]
    fn ids_and_comments_are_on_every_field_at_every_depth() {
        let inner = Field::new("x", DataType::Int32, false).with_metadata(HashMap::from([(
            DOC_META_KEY.to_owned(),
            "deep".to_owned(),
        )]));
        let entries = Fields::from(vec![
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", DataType::Struct(vec![inner].into()), true),
        ]);
        let map = DataType::Map(
            Arc::new(Field::new("entries", DataType::Struct(entries), false)),
            false,
        );
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, false),
            Field::new("m", map, true),
        ]);
        let ours = to_arrow(&from_arrow(&schema, 2).unwrap());
        assert_eq!(field_id(ours.field(0)), Some(1));
        assert!(!ours.field(0).is_nullable());
        let DataType::Map(entries, _) = ours.field(1).data_type() else {
            panic!("not a map");
        };
        let DataType::Struct(entries) = entries.data_type() else {
            panic!("not entries");
        };
        assert_eq!(field_id(&entries[0]), Some(3));
        let DataType::Struct(fields) = entries[1].data_type() else {
            panic!("not a struct");
        };
        assert_eq!(field_id(&fields[0]), Some(5));
        assert_eq!(fields[0].metadata()[DOC_META_KEY], "deep");
        assert_eq!(
            iceberg_type_name(ours.field(1)),
            "map<string, struct<x: int>>"
        );
    }

    #[test]
    fn a_uuid_is_told_from_a_fixed_by_its_extension() {
        let uuid = Field::new("u", DataType::FixedSizeBinary(16), true).with_metadata(
            HashMap::from([(EXTENSION_NAME_KEY.to_owned(), EXTENSION_UUID.to_owned())]),
        );
        let fixed = Field::new("f", DataType::FixedSizeBinary(16), true);
        let ours = to_arrow(&from_arrow(&Schema::new(vec![uuid, fixed]), 2).unwrap());
        assert_eq!(iceberg_type_name(ours.field(0)), "uuid");
        assert_eq!(iceberg_type_name(ours.field(1)), "fixed(16)");
    }

    #[test]
    fn what_iceberg_cannot_hold_is_refused_by_column_name() {
        for ty in [
            DataType::Null,
            DataType::Interval(arrow::datatypes::IntervalUnit::DayTime),
            DataType::Decimal256(50, 2),
            DataType::Decimal128(5, -2),
        ] {
            let schema = Schema::new(vec![Field::new("odd", ty, true)]);
            let error = from_arrow(&schema, 2).unwrap_err();
            assert!(error.to_string().contains("\"odd\""), "{error}");
        }
        let twice = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("a", DataType::Int32, true),
        ]);
        assert!(from_arrow(&twice, 2).is_err());
        assert!(from_arrow(&Schema::empty(), 2).is_err());
    }
}
