//! Columns of files that are one table: what fits together, and which file differs.
//!
//! Knows Arrow types; opens no file.

use std::sync::Arc;

use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit,
};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, ErrorKind};
use crate::types::sql_type_name;

/// Columns named in an error.
const NAMED_MAX: usize = 10;

/// What every file of a table must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Whether files may lack columns, have others, or have them in types that fit.
    pub(crate) union_by_name: bool,
    /// Whether the call says the columns; else they are those of `first`.
    pub(crate) given: bool,
    /// The file whose columns the table has.
    pub(crate) first: String,
    /// Columns that folders give; a file may have them as well.
    pub(crate) folders: Vec<String>,
}

impl Rules {
    /// Checks that `file`, with columns called `found`, is one of the table's.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], naming the file and what differs.
    pub(crate) fn check_names<'a>(
        &self,
        file: &str,
        table: &Schema,
        found: &[&'a str],
    ) -> Result<(), EngineError> {
        if self.union_by_name {
            return Ok(());
        }
        let missing: Vec<&str> = table
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| !found.contains(name))
            .collect();
        let is_known = |name: &&&'a str| {
            table.field_with_name(name).is_err() && !self.folders.iter().any(|f| f == *name)
        };
        let more: Vec<&str> = found.iter().filter(is_known).copied().collect();
        if missing.is_empty() && (more.is_empty() || self.given) {
            return Ok(());
        }
        let mut differs = vec![];
        if !missing.is_empty() {
            differs.push(format!("it lacks {}", named(&missing)));
        }
        if !more.is_empty() && !self.given {
            differs.push(format!("it has {} besides", named(&more)));
        }
        Err(self.differs(file, &differs.join(" and ")))
    }

    /// Checks names and types of a file that says them.
    ///
    /// # Errors
    /// As [`Self::check_names`].
    pub(crate) fn check(
        &self,
        file: &str,
        table: &Schema,
        found: &Schema,
    ) -> Result<(), EngineError> {
        let names: Vec<&str> = found.fields().iter().map(|f| f.name().as_str()).collect();
        self.check_names(file, table, &names)?;
        if self.union_by_name || self.given {
            return Ok(());
        }
        for field in table.fields() {
            if let Ok(other) = found.field_with_name(field.name())
                && !field.data_type().equals_datatype(other.data_type())
            {
                let what = format!(
                    "its column \"{}\" is {} and not {}",
                    field.name(),
                    sql_type_name(other.data_type()),
                    sql_type_name(field.data_type())
                );
                return Err(self.differs(file, &what));
            }
        }
        Ok(())
    }

    fn differs(&self, file: &str, what: &str) -> EngineError {
        if self.given {
            return EngineError::new(
                ErrorKind::Corrupt,
                format!("\"{file}\" does not have the columns that are given: {what}"),
            )
            .with_hint("union_by_name => true gives NULL for columns that a file lacks");
        }
        EngineError::new(
            ErrorKind::Corrupt,
            format!("\"{file}\" differs from \"{}\": {what}", self.first),
        )
        .with_hint("union_by_name => true reads files with different columns together")
    }
}

fn named(names: &[&str]) -> String {
    let mut out: Vec<String> = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("\"{name}\""))
        .collect();
    if names.len() > NAMED_MAX {
        out.push("…".to_owned());
    }
    out.join(", ")
}

/// The columns of all `files` together, in the order in which they first appear.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the file whose type of a column does not fit those before.
pub(crate) fn united<'a>(
    files: impl Iterator<Item = (&'a str, SchemaRef)>,
    or_text: bool,
) -> Result<SchemaRef, EngineError> {
    let mut fields: Vec<(FieldRef, &str)> = vec![];
    for (file, schema) in files {
        for field in schema.fields() {
            let Some((known, first)) = fields.iter_mut().find(|(f, _)| f.name() == field.name())
            else {
                fields.push((Arc::clone(field), file));
                continue;
            };
            let ty =
                unified(known.data_type(), field.data_type()).or(or_text.then_some(DataType::Utf8));
            let Some(ty) = ty else {
                return Err(EngineError::new(
                    ErrorKind::Corrupt,
                    format!(
                        "column \"{}\" is {} in \"{file}\" and {} in \"{first}\", and no type holds both",
                        field.name(),
                        sql_type_name(field.data_type()),
                        sql_type_name(known.data_type())
                    ),
                )
                .with_hint("read the files in two calls, cast the column in each, and put UNION ALL between them"));
            };
            if &ty != known.data_type() {
                *known = Arc::new(known.as_ref().clone().with_data_type(ty));
            }
        }
    }
    let fields: Vec<FieldRef> = fields.into_iter().map(|(field, _)| field).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The type that holds all values of both, without losing any.
pub(crate) fn unified(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, FixedSizeList, Float32, Float64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Struct, Timestamp, Utf8, Utf8View,
    };
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => Some(Utf8View),
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => Some(BinaryView),
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        // Every integer of 32 bits is a double.
        (Float32 | Float64, other) | (other, Float32 | Float64) if integer(other).is_some() => {
            Some(Float64)
        }
        (Float32 | Float64, Decimal128(..)) | (Decimal128(..), Float32 | Float64) => Some(Float64),
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => {
            Some(Timestamp(*unit, None))
        }
        (Timestamp(x, zone), Timestamp(y, other)) if zone.is_some() == other.is_some() => {
            Some(Timestamp(finer(*x, *y), zone.clone()))
        }
        (
            List(x) | LargeList(x) | FixedSizeList(x, _),
            List(y) | LargeList(y) | FixedSizeList(y, _),
        ) => {
            let ty = unified(x.data_type(), y.data_type())?;
            let item = Field::new(x.name(), ty, x.is_nullable() || y.is_nullable());
            Some(List(Arc::new(item)))
        }
        (Struct(x), Struct(y)) => structs(x, y),
        _ => match (integer(a), integer(b)) {
            (Some((x, true)), Some((y, true))) => signed(x.max(y)),
            (Some((x, false)), Some((y, false))) => Some(if x > y { a } else { b }.clone()),
            (Some((x, true)), Some((y, false))) | (Some((y, false)), Some((x, true))) => {
                signed(x.max(y.saturating_mul(2))).or(Some(Decimal128(20, 0)))
            }
            _ => {
                let ((before, after), (other_before, other_after)) = (digits(a)?, digits(b)?);
                let after = after.max(other_after);
                let precision = before.max(other_before) + after;
                (precision <= 38).then(|| Decimal128(precision, after.cast_signed()))
            }
        },
    }
}

/// Bits of an integer, and whether it has a sign.
fn integer(ty: &DataType) -> Option<(u8, bool)> {
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    Some(match ty {
        Int8 => (8, true),
        Int16 => (16, true),
        Int32 => (32, true),
        Int64 => (64, true),
        UInt8 => (8, false),
        UInt16 => (16, false),
        UInt32 => (32, false),
        UInt64 => (64, false),
        _ => return None,
    })
}

/// The integer with a sign of so many bits.
fn signed(bits: u8) -> Option<DataType> {
    use DataType::{Int8, Int16, Int32, Int64};
    Some(match bits {
        8 => Int8,
        16 => Int16,
        32 => Int32,
        64 => Int64,
        _ => return None,
    })
}

/// Digits before and after the point of a type that is exact.
fn digits(ty: &DataType) -> Option<(u8, u8)> {
    use DataType::{Decimal128, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    Some(match ty {
        Int8 | UInt8 => (3, 0),
        Int16 | UInt16 => (5, 0),
        Int32 | UInt32 => (10, 0),
        Int64 => (19, 0),
        UInt64 => (20, 0),
        Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).ok()?;
            (precision.checked_sub(scale)?, scale)
        }
        _ => return None,
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit: TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) > rank(b) { a } else { b }
}

fn structs(a: &Fields, b: &Fields) -> Option<DataType> {
    let mut fields: Vec<FieldRef> = vec![];
    for field in a {
        let other = b.iter().find(|other| other.name() == field.name());
        let (ty, nullable) = match other {
            Some(other) => (
                unified(field.data_type(), other.data_type())?,
                field.is_nullable() || other.is_nullable(),
            ),
            None => (field.data_type().clone(), true),
        };
        fields.push(Arc::new(Field::new(field.name(), ty, nullable)));
    }
    for field in b {
        if !a.iter().any(|known| known.name() == field.name()) {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
    }
    Some(DataType::Struct(fields.into()))
}

/// As a table has it: every column may be NULL, nothing is said of the file as a whole.
pub(crate) fn loosened(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
        .collect();
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        let field = |(name, ty): &(&str, DataType)| Field::new(*name, ty.clone(), true);
        Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
    }

    #[test]
    fn types_that_hold_both_are_found() {
        use DataType::{
            Date32, Decimal128, Float32, Float64, Int32, Int64, Timestamp, UInt32, UInt64, Utf8,
        };
        let micros = Timestamp(TimeUnit::Microsecond, None);
        for (a, b, wanted) in [
            (Int32, Int64, Some(Int64)),
            (Int64, Float32, Some(Float64)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int64, Some(Decimal128(20, 0))),
            (Decimal128(5, 2), Decimal128(7, 4), Some(Decimal128(7, 4))),
            (Decimal128(5, 2), Int32, Some(Decimal128(12, 2))),
            (Date32, micros.clone(), Some(micros.clone())),
            (Utf8, Int32, None),
            (Date32, Int32, None),
        ] {
            assert_eq!(unified(&a, &b), wanted, "{a} and {b}");
            assert_eq!(unified(&b, &a), wanted, "{b} and {a}");
        }
    }

    #[test]
    fn structs_are_united_by_name() {
        let a = DataType::Struct(vec![Field::new("x", DataType::Int32, false)].into());
        let b = DataType::Struct(
            vec![
                Field::new("y", DataType::Utf8, false),
                Field::new("x", DataType::Int64, false),
            ]
            .into(),
        );
        let DataType::Struct(fields) = unified(&a, &b).unwrap() else {
            panic!("no struct")
        };
        assert_eq!(fields[0].data_type(), &DataType::Int64);
        assert!(fields[1].name() == "y" && fields[1].is_nullable());
    }

    #[test]
    fn the_file_that_differs_is_named() {
        let first = schema(&[("a", DataType::Int32), ("b", DataType::Utf8)]);
        let rules = Rules {
            first: "one".to_owned(),
            ..Rules::default()
        };
        let check = |fields: &[(&str, DataType)]| rules.check("two", &first, &schema(fields));
        assert!(check(&[("b", DataType::Utf8), ("a", DataType::Int32)]).is_ok());
        let error = check(&[("a", DataType::Int32), ("c", DataType::Int32)]).unwrap_err();
        assert!(error.message.contains("\"two\" differs from \"one\""));
        assert!(
            error
                .message
                .contains("lacks \"b\" and it has \"c\" besides")
        );
        let error = check(&[("a", DataType::Int64), ("b", DataType::Utf8)]).unwrap_err();
        assert!(
            error.message.contains("\"a\" is bigint and not integer"),
            "{error}"
        );
    }

    #[test]
    fn columns_that_no_type_holds_are_refused_by_name() {
        let files = [
            ("one", schema(&[("a", DataType::Int32)])),
            (
                "two",
                schema(&[("b", DataType::Int32), ("a", DataType::Utf8)]),
            ),
        ];
        let error = united(files.clone().into_iter(), false).unwrap_err();
        assert!(error.message.contains("\"two\""), "{error}");
        let text = united(files.into_iter(), true).unwrap();
        assert_eq!(text.field(0).data_type(), &DataType::Utf8);
        assert_eq!(text.field(1).name(), "b");
    }
}
