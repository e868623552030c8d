//! Which PostgreSQL type an Arrow field is, for every door and for `pg_type`.
//!
//! One table. Knows neither catalogs nor the wire. A type that Arrow alone does not tell (an oid, a name, a
//! `regclass`) is noted in the field's metadata under [`PG_TYPE_KEY`].

use datafusion::arrow::datatypes::{DataType, Field};

use crate::types::NUMERIC_DEFAULT;

/// Field metadata that names the PostgreSQL type of a catalog column, such as `oid` or `int2vector`.
pub const PG_TYPE_KEY: &str = "tarn.pg_type";
/// Field metadata that Arrow gives to extension types.
const EXTENSION_KEY: &str = "ARROW:extension:name";
/// What `typmod` says when it says nothing.
const NO_TYPMOD: i32 = -1;
/// `typmod` of numeric is this much more than its digits. Source: PostgreSQL, `VARHDRSZ`.
const TYPMOD_BASE: i32 = 4;

/// A PostgreSQL type as clients meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typname`.
    pub name: &'static str,
    /// Oid of the array of it; 0 if there is none.
    pub array_oid: u32,
    /// `pg_type.typlen`: bytes, or -1 for a variable length.
    pub len: i16,
    /// Digits of a numeric as PostgreSQL packs them; else -1.
    pub typmod: i32,
}

impl PgType {
    const fn new(oid: u32, name: &'static str, array_oid: u32, len: i16) -> Self {
        Self {
            oid,
            name,
            array_oid,
            len,
            typmod: NO_TYPMOD,
        }
    }

    /// `typmod` as the description of a result tells it: digits that nobody asked for are none.
    pub fn declared(self) -> i32 {
        let (digits, scale) = NUMERIC_DEFAULT;
        if self.typmod == numeric(digits, scale).typmod {
            NO_TYPMOD
        } else {
            self.typmod
        }
    }

    /// The type of arrays of this one.
    fn array(self) -> Self {
        ARRAYS
            .iter()
            .find(|array| array.oid == self.array_oid)
            .map_or(TEXT_ARRAY, |array| Self {
                typmod: self.typmod,
                ..*array
            })
    }
}

const BOOL: PgType = PgType::new(16, "bool", 1000, 1);
const BYTEA: PgType = PgType::new(17, "bytea", 1001, -1);
const INT8: PgType = PgType::new(20, "int8", 1016, 8);
const INT2: PgType = PgType::new(21, "int2", 1005, 2);
const INT4: PgType = PgType::new(23, "int4", 1007, 4);
const TEXT: PgType = PgType::new(25, "text", 1009, -1);
const JSON: PgType = PgType::new(114, "json", 199, -1);
const FLOAT4: PgType = PgType::new(700, "float4", 1021, 4);
const FLOAT8: PgType = PgType::new(701, "float8", 1022, 8);
const DATE: PgType = PgType::new(1082, "date", 1182, 4);
const TIME: PgType = PgType::new(1083, "time", 1183, 8);
const TIMESTAMP: PgType = PgType::new(1114, "timestamp", 1115, 8);
const TIMESTAMPTZ: PgType = PgType::new(1184, "timestamptz", 1185, 8);
const INTERVAL: PgType = PgType::new(1186, "interval", 1187, 16);
const NUMERIC: PgType = PgType::new(1700, "numeric", 1231, -1);
const UUID: PgType = PgType::new(2950, "uuid", 2951, 16);
const JSONB: PgType = PgType::new(3802, "jsonb", 3807, -1);
const TEXT_ARRAY: PgType = PgType::new(1009, "_text", 0, -1);
const OID_ARRAY: PgType = PgType::new(1028, "_oid", 0, -1);

/// Every scalar type that a result may have, ordered by oid.
pub const SCALARS: &[PgType] = &[
    BOOL,
    BYTEA,
    PgType::new(18, "char", 1002, 1),
    PgType::new(19, "name", 1003, 64),
    INT8,
    INT2,
    PgType::new(22, "int2vector", 1006, -1),
    INT4,
    PgType::new(24, "regproc", 1008, 4),
    TEXT,
    PgType::new(26, "oid", 1028, 4),
    PgType::new(28, "xid", 1011, 4),
    PgType::new(30, "oidvector", 1013, -1),
    JSON,
    PgType::new(194, "pg_node_tree", 0, -1),
    PgType::new(650, "cidr", 651, -1),
    FLOAT4,
    FLOAT8,
    PgType::new(869, "inet", 1041, -1),
    PgType::new(1033, "aclitem", 1034, 12),
    PgType::new(1042, "bpchar", 1014, -1),
    PgType::new(1043, "varchar", 1015, -1),
    DATE,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    INTERVAL,
    NUMERIC,
    PgType::new(2202, "regprocedure", 2207, 4),
    PgType::new(2203, "regoper", 2208, 4),
    PgType::new(2204, "regoperator", 2209, 4),
    PgType::new(2205, "regclass", 2210, 4),
    PgType::new(2206, "regtype", 2211, 4),
    UUID,
    JSONB,
    PgType::new(4089, "regnamespace", 4090, 4),
    PgType::new(4096, "regrole", 4097, 4),
];

/// The array types of [`SCALARS`], ordered as those.
pub const ARRAYS: &[PgType] = &[
    PgType::new(1000, "_bool", 0, -1),
    PgType::new(1001, "_bytea", 0, -1),
    PgType::new(1002, "_char", 0, -1),
    PgType::new(1003, "_name", 0, -1),
    PgType::new(1016, "_int8", 0, -1),
    PgType::new(1005, "_int2", 0, -1),
    PgType::new(1006, "_int2vector", 0, -1),
    PgType::new(1007, "_int4", 0, -1),
    PgType::new(1008, "_regproc", 0, -1),
    TEXT_ARRAY,
    OID_ARRAY,
    PgType::new(1011, "_xid", 0, -1),
    PgType::new(1013, "_oidvector", 0, -1),
    PgType::new(199, "_json", 0, -1),
    PgType::new(651, "_cidr", 0, -1),
    PgType::new(1021, "_float4", 0, -1),
    PgType::new(1022, "_float8", 0, -1),
    PgType::new(1041, "_inet", 0, -1),
    PgType::new(1034, "_aclitem", 0, -1),
    PgType::new(1014, "_bpchar", 0, -1),
    PgType::new(1015, "_varchar", 0, -1),
    PgType::new(1182, "_date", 0, -1),
    PgType::new(1183, "_time", 0, -1),
    PgType::new(1115, "_timestamp", 0, -1),
    PgType::new(1185, "_timestamptz", 0, -1),
    PgType::new(1187, "_interval", 0, -1),
    PgType::new(1231, "_numeric", 0, -1),
    PgType::new(2207, "_regprocedure", 0, -1),
    PgType::new(2208, "_regoper", 0, -1),
    PgType::new(2209, "_regoperator", 0, -1),
    PgType::new(2210, "_regclass", 0, -1),
    PgType::new(2211, "_regtype", 0, -1),
    PgType::new(2951, "_uuid", 0, -1),
    PgType::new(3807, "_jsonb", 0, -1),
    PgType::new(4090, "_regnamespace", 0, -1),
    PgType::new(4097, "_regrole", 0, -1),
];

/// The PostgreSQL type of a column or result field.
///
/// Every Arrow type has one: what PostgreSQL cannot say (maps, structs) is `json`, and a column
/// of nothing but NULL is `text`.
pub fn pg_type_of(field: &Field) -> PgType {
    match noted(field) {
        Some(noted) => noted,
        None => of_data_type(field.data_type(), field.metadata().get(EXTENSION_KEY)),
    }
}

/// The PostgreSQL type of a parameter of a prepared statement.
///
/// One of the types whose values are oids that are written as names is taken as text: the client sends the name.
pub fn pg_type_of_parameter(field: &Field) -> PgType {
    let is_text = *field.data_type() == DataType::Utf8View;
    field
        .metadata()
        .get(PG_TYPE_KEY)
        .filter(|name| is_text && name.starts_with("reg"))
        .and_then(|name| pg_type_named(name))
        .unwrap_or_else(|| pg_type_of(field))
}

/// The type called `name` in `pg_type`, arrays included.
pub fn pg_type_named(name: &str) -> Option<PgType> {
    SCALARS
        .iter()
        .chain(ARRAYS)
        .find(|known| known.name == name)
        .copied()
}

/// The type whose oid this is, arrays included.
pub fn pg_type_by_oid(oid: u32) -> Option<PgType> {
    SCALARS
        .iter()
        .chain(ARRAYS)
        .find(|known| known.oid == oid)
        .copied()
}

/// The type that the metadata notes, if the values can be of it: metadata outlives casts.
fn noted(field: &Field) -> Option<PgType> {
    let name = field.metadata().get(PG_TYPE_KEY)?;
    let noted = pg_type_named(name)?;
    let fits = match field.data_type() {
        DataType::UInt32 => matches!(
            noted.name,
            "oid"
                | "xid"
                | "regproc"
                | "regprocedure"
                | "regoper"
                | "regoperator"
                | "regclass"
                | "regtype"
                | "regnamespace"
                | "regrole"
        ),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => matches!(
            noted.name,
            "char"
                | "name"
                | "varchar"
                | "bpchar"
                | "inet"
                | "cidr"
                | "json"
                | "jsonb"
                | "pg_node_tree"
                | "aclitem"
        ),
        DataType::List(_) => {
            matches!(noted.name, "int2vector" | "oidvector") || noted.array_oid == 0
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => noted.name == "numeric",
        _ => false,
    };
    fits.then_some(noted)
}

fn of_data_type(ty: &DataType, extension: Option<&String>) -> PgType {
    match ty {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => INT2,
        DataType::Int32 | DataType::UInt16 => INT4,
        DataType::Int64 | DataType::UInt32 => INT8,
        DataType::UInt64 => numeric(20, 0),
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => numeric(*digits, *scale),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            if extension.is_some_and(|name| name == "arrow.json") {
                JSON
            } else {
                TEXT
            }
        }
        DataType::FixedSizeBinary(16) => UUID,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            if is_list(item.data_type()) {
                // An array of PostgreSQL has one type, whatever its dimensions.
                pg_type_of(item)
            } else if *item.data_type() == DataType::UInt32 {
                // Aggregates forget what their items are; tables have no such column.
                OID_ARRAY
            } else {
                pg_type_of(item).array()
            }
        }
        DataType::Struct(_) | DataType::Map(..) => JSON,
        DataType::Dictionary(_, value) => of_data_type(value, extension),
        DataType::RunEndEncoded(_, values) => pg_type_of(values),
        DataType::Union(..) => TEXT,
    }
}

fn is_list(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}

fn numeric(digits: u8, scale: i8) -> PgType {
    PgType {
        typmod: ((i32::from(digits) << 16) | (i32::from(scale) & 0x7ff)) + TYPMOD_BASE,
        ..NUMERIC
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Fields, TimeUnit};

    use super::*;

    fn check_type(ty: &DataType, name: &str, oid: u32) {
        let found = pg_type_of(&Field::new("c", ty.clone(), true));
        assert_eq!((found.name, found.oid), (name, oid), "{ty}");
    }

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    #[test]
    fn every_array_type_has_its_scalar() {
        let with_array = SCALARS.iter().filter(|scalar| scalar.array_oid != 0);
        assert_eq!(with_array.clone().count(), ARRAYS.len());
        for scalar in with_array {
            assert_eq!(scalar.array().name, format!("_{}", scalar.name));
        }
    }

    #[test]
    fn arrow_types_are_those_of_postgresql() {
        check_type(&DataType::Boolean, "bool", 16);
        check_type(&DataType::Int64, "int8", 20);
        check_type(&DataType::Null, "text", 25);
        check_type(&DataType::FixedSizeBinary(16), "uuid", 2950);
        check_type(&DataType::FixedSizeBinary(5), "bytea", 17);
        check_type(
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "timestamptz",
            1184,
        );
        check_type(&list(DataType::Int32), "_int4", 1007);
        check_type(&list(list(DataType::Int32)), "_int4", 1007);
        let entry = DataType::Struct(Fields::from(vec![Field::new("a", DataType::Utf8, true)]));
        check_type(&entry.clone(), "json", 114);
        check_type(&list(entry.clone()), "_json", 199);
        check_type(&list(list(entry)), "_json", 199);
    }

    #[test]
    fn digits_of_a_numeric_are_packed() {
        let field = Field::new("c", DataType::Decimal128(12, 2), true);
        assert_eq!(pg_type_of(&field).typmod, 786_438);
        let array = Field::new("c", list(DataType::Decimal128(12, 2)), true);
        assert_eq!(pg_type_of(&array).typmod, 786_438);
        assert_eq!(pg_type_of(&array).declared(), 786_438);
        let (digits, scale) = NUMERIC_DEFAULT;
        let plain = Field::new("c", DataType::Decimal128(digits, scale), true);
        assert_eq!(pg_type_of(&plain).declared(), -1);
    }

    #[test]
    fn metadata_tells_what_arrow_does_not() {
        let noted = |ty: DataType, name: &str| {
            let metadata = [(PG_TYPE_KEY.to_owned(), name.to_owned())];
            pg_type_of(&Field::new("c", ty, true).with_metadata(metadata.into())).name
        };
        assert_eq!(noted(DataType::UInt32, "oid"), "oid");
        assert_eq!(noted(DataType::Utf8, "name"), "name");
        assert_eq!(noted(list(DataType::Int16), "int2vector"), "int2vector");
        assert_eq!(
            noted(DataType::Int64, "oid"),
            "int8",
            "a cast keeps metadata"
        );
        assert_eq!(noted(DataType::Utf8, "regclass"), "text");
        let metadata = [(PG_TYPE_KEY.to_owned(), "numeric".to_owned())];
        let estimated = Field::new("c", DataType::Decimal128(12, 2), true);
        let estimated = estimated.with_metadata(metadata.into());
        assert_eq!(pg_type_of(&estimated).typmod, -1);
    }

    #[test]
    fn a_parameter_that_is_a_name_keeps_the_type_that_it_names() {
        let check = |ty: DataType, name: &str, expected: &str| {
            let metadata = [(PG_TYPE_KEY.to_owned(), name.to_owned())];
            let field = Field::new("", ty, true).with_metadata(metadata.into());
            assert_eq!(pg_type_of_parameter(&field).name, expected);
        };
        check(DataType::Utf8View, "regclass", "regclass");
        check(DataType::UInt32, "regtype", "regtype");
        check(DataType::Utf8View, "name", "name");
        check(DataType::Utf8View, "oid", "text");
    }
}
