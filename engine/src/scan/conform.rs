//! How a column of a data file becomes a column of the table: decided once per file, applied per batch.
//!
//! Knows field ids, name mappings, promotions and defaults, at every depth. Refuses to know expressions and files.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet_variant_compute::{VariantArray, unshred_variant, variant_to_json};
use tarn_catalog::{DOC_META_KEY, Literal, TYPE_META_KEY};

use super::error::ScanError;
use super::value::{promotes, scalar};
use crate::temporal;

/// A cast that fails on a value that does not fit, rather than making it NULL.
const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Names of the extension types of columns that the Parquet reader makes start so.
const VIRTUAL: &str = "parquet.virtual.";

/// In place of the id of a field that has none, such as a map's entries.
const NO_ID: i32 = -1;

/// The Iceberg field id that an Arrow field carries, if it does.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// What a scan knows about columns that a file may lack or name otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Evolution {
    /// Initial default by field id (format v3).
    pub defaults: Vec<(i32, Literal)>,
    /// Field id by path of names, from `schema.name-mapping.default`. `None` if the table has no mapping.
    pub names: Option<Vec<(Vec<String>, i32)>>,
    /// Ids of the fields below a nested column, parents first, by the column's id. Types in plans do without them,
    /// because a `bigint[]` of a table and one of an expression are to be one type.
    pub nested: Vec<(i32, Vec<i32>)>,
    /// What one file holds in columns that it lacks, by field id. Known file by file, so it does not travel here.
    #[serde(skip)]
    pub constants: FileConstants,
}

/// Values that every row of one data file has in columns that the file may lack: those of its partition by identity.
///
/// Travels as an extension of its `PartitionedFile`, and beside the plan on the wire. Files that were written for Hive
/// and taken over leave such columns out.
///
/// Source: Iceberg spec, "Column Projection".
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileConstants {
    /// Value by field id; `None` is NULL.
    pub values: Vec<(i32, Option<Literal>)>,
}

/// The schema as plans see it, without the ids of nested fields, and those ids for [`Evolution::nested`].
pub(crate) fn split_nested_ids(schema: &Schema) -> (Schema, Vec<(i32, Vec<i32>)>) {
    let mut nested = Vec::new();
    let fields = schema.fields().iter().map(|field| {
        let mut ids = Vec::new();
        let ty = with_metadata_below(field.data_type(), &mut |metadata| {
            metadata.remove(DOC_META_KEY);
            let id = metadata.remove(PARQUET_FIELD_ID_META_KEY);
            ids.push(id.and_then(|id| id.parse().ok()).unwrap_or(NO_ID));
        });
        if let Some(id) = field_id(field).filter(|_| !ids.is_empty()) {
            nested.push((id, ids));
        }
        field.as_ref().clone().with_data_type(ty)
    });
    let plain = Schema::new(fields.collect::<Vec<_>>()).with_metadata(schema.metadata().clone());
    (plain, nested)
}

/// A field of [`split_nested_ids`]'s schema with the ids of nested fields again.
pub(crate) fn with_nested_ids(field: &Field, evolution: &Evolution) -> Field {
    let id = field_id(field);
    let Some((_, ids)) = evolution.nested.iter().find(|(of, _)| Some(*of) == id) else {
        return field.clone();
    };
    let mut ids = ids.iter();
    let ty = with_metadata_below(field.data_type(), &mut |metadata| {
        if let Some(id) = ids.next().filter(|id| **id != NO_ID) {
            metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
        }
    });
    field.clone().with_data_type(ty)
}

/// `ty` with the metadata of every field below it changed, parents first.
fn with_metadata_below(
    ty: &DataType,
    change: &mut dyn FnMut(&mut HashMap<String, String>),
) -> DataType {
    let mut inner = |field: &FieldRef| {
        let mut metadata = field.metadata().clone();
        change(&mut metadata);
        let ty = with_metadata_below(field.data_type(), change);
        let field = field.as_ref().clone();
        Arc::new(field.with_data_type(ty).with_metadata(metadata))
    };
    match ty {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(element) => DataType::List(inner(element)),
        DataType::Map(entries, ordered) => DataType::Map(inner(entries), *ordered),
        other => other.clone(),
    }
}

/// How the fields of one file are found.
#[derive(Debug)]
pub(crate) enum Matching {
    /// The file carries field ids.
    Ids,
    /// The file carries none, and the table maps names to ids.
    Mapping(HashMap<Vec<String>, i32>),
    /// The file carries none and the table has no mapping: columns have ids by their places, from 1, as in the
    /// reference implementation; what is inside of them is found by name.
    Places,
}

impl Matching {
    /// Decides by the file's own schema: one field id anywhere makes it a file with ids.
    pub(crate) fn of(file: &Fields, evolution: &Evolution) -> Self {
        if file.iter().any(has_id) {
            return Self::Ids;
        }
        match &evolution.names {
            Some(names) => Self::Mapping(names.iter().cloned().collect()),
            None => Self::Places,
        }
    }

    /// Position of the file's field that holds `wanted`. `path` is that of the parent in the file.
    pub(crate) fn find(&self, wanted: &Field, file: &Fields, path: &[String]) -> Option<usize> {
        let id = field_id(wanted);
        if matches!(self, Self::Places) && path.is_empty() && id.is_some_and(|id| id > 0) {
            let place = usize::try_from(id?).ok()?.checked_sub(1)?;
            // What the reader adds comes after the columns of the file.
            let stored = |field: &FieldRef| {
                field
                    .extension_type_name()
                    .is_none_or(|name| !name.starts_with(VIRTUAL))
            };
            return file.get(place).filter(|field| stored(field)).map(|_| place);
        }
        file.iter().position(|candidate| match self {
            _ if id.is_none() => candidate.name() == wanted.name(),
            Self::Ids => field_id(candidate) == id,
            Self::Places => candidate.name() == wanted.name(),
            Self::Mapping(names) => {
                let mut path = path.to_vec();
                path.push(candidate.name().clone());
                names.get(&path).copied() == id
            }
        })
    }
}

fn has_id(field: &FieldRef) -> bool {
    field_id(field).is_some()
        || match field.data_type() {
            DataType::Struct(children) => children.iter().any(has_id),
            DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
                has_id(child)
            }
            _ => false,
        }
}

/// How an array of the file becomes an array of the table's type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Already of the type.
    Same,
    /// One Arrow cast.
    Cast,
    /// A struct built anew, child by child. Nested types always are: the file's carry ids, the table's do not.
    Struct(Vec<Child>),
    /// A list whose elements change.
    List(Box<Shape>),
    /// A map whose keys or values change.
    Map(Box<Shape>, Box<Shape>),
    /// A variant, shredded or not, as JSON.
    Variant,
    /// Timestamps of a column with time zone that the file stores without one: they are UTC, as in Hive's files.
    Instant,
}

/// Where a struct's child comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Child {
    /// From the file's child at this position.
    Field(usize, Shape),
    /// Not in the file.
    Constant(ScalarValue),
}

impl Hash for Child {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Field(position, shape) => {
                position.hash(state);
                shape.hash(state);
            }
            Self::Constant(value) => value.hash(state),
        }
    }
}

/// Finds how the file's field `found` becomes the table's field `wanted`.
///
/// # Errors
/// [`ScanError::Promotion`] for a change Iceberg does not allow, [`ScanError::RequiredMissing`] for a required nested
/// field that is neither in the file nor has a default.
pub(crate) fn shape(
    wanted: &Field,
    found: &Field,
    matching: &Matching,
    evolution: &Evolution,
    path: &[String],
) -> Result<Shape, ScanError> {
    use DataType as D;
    let refused = || ScanError::Promotion {
        column: wanted.name().clone(),
        found: found.data_type().to_string(),
        wanted: wanted.data_type().to_string(),
    };
    let below = |name: &str| {
        path.iter()
            .cloned()
            .chain([name.to_owned()])
            .collect::<Vec<_>>()
    };
    if let Some(foreign) = wanted.metadata().get(TYPE_META_KEY) {
        let base = foreign.split('(').next().unwrap_or_default();
        return match (base, found.data_type()) {
            ("variant", D::Struct(_)) => Ok(Shape::Variant),
            ("geometry" | "geography" | "unknown", from) if from == wanted.data_type() => {
                Ok(Shape::Same)
            }
            ("geometry" | "geography" | "unknown", from) if promotes(from, wanted.data_type()) => {
                Ok(Shape::Cast)
            }
            _ => Err(ScanError::Foreign {
                column: wanted.name().clone(),
                ty: foreign.clone(),
                found: found.data_type().to_string(),
            }),
        };
    }
    match (wanted.data_type(), found.data_type()) {
        (D::Struct(wanted_children), D::Struct(found_children)) => {
            let mut children = Vec::with_capacity(wanted_children.len());
            for child in wanted_children {
                let Some(at) = matching.find(child, found_children, path) else {
                    children.push(Child::Constant(missing(child, evolution)?));
                    continue;
                };
                let path = below(found_children[at].name());
                let inner = shape(child, &found_children[at], matching, evolution, &path)?;
                children.push(Child::Field(at, inner));
            }
            Ok(Shape::Struct(children))
        }
        (D::List(element), D::List(found_element) | D::LargeList(found_element)) => {
            let inner = shape(
                element,
                found_element,
                matching,
                evolution,
                &below("element"),
            )?;
            Ok(Shape::List(Box::new(inner)))
        }
        (D::Map(entries, _), D::Map(found_entries, _)) => {
            let (D::Struct(kv), D::Struct(found_kv)) =
                (entries.data_type(), found_entries.data_type())
            else {
                return Err(refused());
            };
            let ([key, value], [found_key, found_value]) = (kv.as_ref(), found_kv.as_ref()) else {
                return Err(refused());
            };
            let key = shape(key, found_key, matching, evolution, &below("key"))?;
            let value = shape(value, found_value, matching, evolution, &below("value"))?;
            Ok(Shape::Map(Box::new(key), Box::new(value)))
        }
        (D::Timestamp(_, Some(_)), D::Timestamp(_, None)) => Ok(Shape::Instant),
        (to, from) if to == from => Ok(Shape::Same),
        (to, from) if promotes(from, to) && !to.is_nested() => Ok(Shape::Cast),
        _ => Err(refused()),
    }
}

/// The value of a field that the file does not have: that of the file's partition, else its initial default, else
/// NULL.
///
/// # Errors
/// [`ScanError::RequiredMissing`] if it is required and has no default.
pub(crate) fn missing(wanted: &Field, evolution: &Evolution) -> Result<ScalarValue, ScanError> {
    let id = field_id(wanted).unwrap_or(NO_ID);
    let constants = &evolution.constants.values;
    let constant = constants.iter().find(|(field, _)| *field == id);
    let default = evolution.defaults.iter().find(|(field, _)| *field == id);
    let known = match (constant, default) {
        (Some((_, constant)), _) => constant.as_ref(),
        (None, Some((_, default))) => Some(default),
        (None, None) => None,
    };
    if let Some(value) = known {
        return scalar(value, wanted.data_type()).ok_or_else(|| ScanError::Value {
            column: wanted.name().clone(),
            wanted: wanted.data_type().to_string(),
        });
    }
    if !wanted.is_nullable() {
        return Err(ScanError::RequiredMissing {
            column: wanted.name().clone(),
            id,
        });
    }
    ScalarValue::try_new_null(wanted.data_type()).map_err(|_| ScanError::Value {
        column: wanted.name().clone(),
        wanted: wanted.data_type().to_string(),
    })
}

/// Makes `array` an array of type `to`.
///
/// # Errors
/// If a value does not fit, or the array is not what the shape was made for.
pub(crate) fn apply(shape: &Shape, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match (shape, to) {
        (Shape::Same, _) => Ok(Arc::clone(array)),
        (Shape::Cast, _) => Ok(temporal::cast_down(array, to, &STRICT)?),
        (Shape::Variant, _) => json_of(array, to),
        (Shape::Instant, DataType::Timestamp(unit, _)) => {
            let utc = DataType::Timestamp(*unit, Some("UTC".into()));
            let instants = cast_with_options(array, &utc, &STRICT)?;
            Ok(temporal::cast_down(&instants, to, &STRICT)?)
        }
        (Shape::Struct(children), DataType::Struct(fields)) => {
            let source = array.as_struct_opt().ok_or_else(|| unexpected(array, to))?;
            struct_of(children, source, fields)
        }
        (Shape::List(inner), DataType::List(element)) => {
            let list = match array.data_type() {
                DataType::LargeList(field) => {
                    cast_with_options(array, &DataType::List(Arc::clone(field)), &STRICT)?
                }
                _ => Arc::clone(array),
            };
            let list = list
                .as_list_opt::<i32>()
                .ok_or_else(|| unexpected(array, to))?;
            let values = apply(inner, list.values(), element.data_type())?;
            let list = ListArray::try_new(
                Arc::clone(element),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )?;
            Ok(Arc::new(list))
        }
        (Shape::Map(key, value), DataType::Map(entries, ordered)) => {
            let map = array.as_map_opt().ok_or_else(|| unexpected(array, to))?;
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(unexpected(array, to));
            };
            let [key_field, value_field] = fields.as_ref() else {
                return Err(unexpected(array, to));
            };
            let keys = apply(key, map.keys(), key_field.data_type())?;
            let values = apply(value, map.values(), value_field.data_type())?;
            let pairs = StructArray::try_new(
                fields.clone(),
                vec![keys, values],
                map.entries().nulls().cloned(),
            )?;
            let nulls = map.nulls().cloned();
            let map = MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                pairs,
                nulls,
                *ordered,
            )?;
            Ok(Arc::new(map))
        }
        _ => Err(unexpected(array, to)),
    }
}

/// Variants as JSON, whatever part of them is shredded into columns.
fn json_of(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let variants = unshred_variant(&VariantArray::try_new(array)?)?;
    let binary = |column: &ArrayRef| cast_with_options(column, &DataType::Binary, &STRICT);
    let parts = vec![
        binary(variants.metadata_column())?,
        binary(variants.value_column())?,
    ];
    let fields = ["metadata", "value"].map(|name| Field::new(name, DataType::Binary, true));
    let nulls = variants.nulls().cloned();
    let plain: ArrayRef = Arc::new(StructArray::try_new(
        Fields::from(fields.to_vec()),
        parts,
        nulls,
    )?);
    let json: ArrayRef = Arc::new(variant_to_json(&plain)?);
    Ok(cast_with_options(&json, to, &STRICT)?)
}

fn struct_of(children: &[Child], source: &StructArray, fields: &Fields) -> Result<ArrayRef> {
    let rows = source.len();
    let mut arrays = Vec::with_capacity(fields.len());
    for (child, field) in children.iter().zip(fields) {
        arrays.push(match child {
            Child::Field(at, inner) => apply(inner, source.column(*at), field.data_type())?,
            Child::Constant(value) if value.is_null() => new_null_array(field.data_type(), rows),
            Child::Constant(value) => value.to_array_of_size(rows)?,
        });
    }
    let nulls = source.nulls().cloned();
    let built = if fields.is_empty() {
        StructArray::new_empty_fields(rows, nulls)
    } else {
        StructArray::try_new(fields.clone(), arrays, nulls)?
    };
    Ok(Arc::new(built))
}

fn unexpected(array: &ArrayRef, to: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("cannot make {} of {}", to, array.data_type()))
}
