//! Column types and transforms that the iceberg crate does not know, taken out of metadata before it is parsed.
//!
//! A column of such a type gets a stand-in that the crate knows, and keeps its own type here, by field id. The
//! metadata of such a table is never written again: what was replaced would be lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use serde_json::Value;

use crate::error::{CatalogError, Result};
use crate::literal::Literal;
use crate::schema::{self, field_id};
use crate::table::Table;

/// Arrow field metadata that names an Iceberg type which the Arrow type alone does not tell.
pub const TYPE_META_KEY: &str = "iceberg.type";
/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 64;

/// What was taken out of a table's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// Type by field id.
    types: BTreeMap<i32, ForeignType>,
    /// Names of transforms.
    transforms: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ForeignType {
    column: String,
    /// As metadata has it, such as `geometry(srid:4326)`.
    name: String,
}

impl ForeignType {
    fn base(&self) -> &str {
        self.name
            .split(['(', '[', '<'])
            .next()
            .unwrap_or_default()
            .trim()
    }

    /// The type as a reader gives it.
    fn shown(&self) -> DataType {
        match self.base() {
            "geometry" | "geography" => DataType::BinaryView,
            _ => DataType::Utf8View,
        }
    }

    /// A type that the crate knows, in its place.
    fn stand_in(&self) -> &'static str {
        match self.base() {
            "unknown" => "string",
            _ => "binary",
        }
    }
}

impl Foreign {
    /// Replaces what the crate does not know.
    ///
    /// `None` if there is nothing of the kind, so that the metadata is as it was.
    pub(crate) fn take_out(metadata: &mut Value) -> Option<Self> {
        let mut found = Self::default();
        if let Some(schemas) = metadata.get_mut("schemas").and_then(Value::as_array_mut) {
            for schema in schemas {
                found.fields(schema, 0);
            }
        }
        if let Some(schema) = metadata.get_mut("schema") {
            found.fields(schema, 0);
        }
        for key in ["partition-specs", "sort-orders"] {
            if let Some(all) = metadata.get_mut(key).and_then(Value::as_array_mut) {
                for one in all {
                    found.transforms(one.get_mut("fields"));
                }
            }
        }
        found.transforms(metadata.get_mut("partition-spec"));
        (found != Self::default()).then_some(found)
    }

    fn fields(&mut self, schema: &mut Value, depth: usize) {
        let fields = schema.get_mut("fields").and_then(Value::as_array_mut);
        for field in fields.into_iter().flatten() {
            let name = field
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            if self.part(field, "id", "type", &name, depth)
                && let Some(field) = field.as_object_mut()
            {
                field.remove("initial-default");
                field.remove("write-default");
            }
        }
    }

    /// Looks at one type inside of `holder`; whether it was replaced.
    fn part(
        &mut self,
        holder: &mut Value,
        id_key: &str,
        type_key: &str,
        column: &str,
        depth: usize,
    ) -> bool {
        let id = holder.get(id_key).and_then(Value::as_i64);
        let id = id.and_then(|id| i32::try_from(id).ok());
        let (Some(id), Some(ty)) = (id, holder.get_mut(type_key)) else {
            return false;
        };
        if depth > DEPTH_MAX {
            return false;
        }
        match ty {
            Value::String(name) if !is_known_type(name) => {
                let foreign = ForeignType {
                    column: column.to_owned(),
                    name: name.clone(),
                };
                foreign.stand_in().clone_into(name);
                self.types.insert(id, foreign);
                return true;
            }
            Value::Object(_) => match ty.get("type").and_then(Value::as_str) {
                Some("struct") => self.fields(ty, depth + 1),
                Some("list") => {
                    self.part(ty, "element-id", "element", column, depth + 1);
                }
                Some("map") => {
                    self.part(ty, "key-id", "key", column, depth + 1);
                    self.part(ty, "value-id", "value", column, depth + 1);
                }
                _ => {}
            },
            _ => {}
        }
        false
    }

    fn transforms(&mut self, fields: Option<&mut Value>) {
        for field in fields.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(field) = field.as_object_mut() else {
                continue;
            };
            let name = field
                .get("transform")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            // Format version 3 has transforms of several columns.
            let sources = field.get("source-ids").and_then(Value::as_array).cloned();
            let several = sources.as_ref().is_some_and(|sources| sources.len() > 1);
            if let (None, Some(first)) = (field.get("source-id"), sources.iter().flatten().next()) {
                field.insert("source-id".to_owned(), first.clone());
            }
            if several || !is_known_transform(&name) {
                field.insert("transform".to_owned(), "unknown".into());
                self.transforms.push(name);
            } else if sources.is_some() && field.remove("source-ids").is_some() {
                self.transforms.push(name);
            }
        }
    }

    /// Whether the column's type was replaced, so that its bounds are not of the type that metadata now says.
    pub(crate) fn has(&self, id: i32) -> bool {
        self.types.contains_key(&id)
    }

    /// Why nothing may be written, if there is a reason.
    fn reason(&self) -> Option<String> {
        if let Some(ty) = self.types.values().next() {
            return Some(format!("column \"{}\" has type {}", ty.column, ty.name));
        }
        let transform = self.transforms.first()?;
        Some(format!("it has partition transform {transform}"))
    }

    /// The schema with the types as readers see them, each marked with its own.
    pub(crate) fn shown(&self, schema: &SchemaRef) -> SchemaRef {
        if self.types.is_empty() {
            return Arc::clone(schema);
        }
        let fields: Fields = schema
            .fields()
            .iter()
            .map(|field| self.shown_field(field))
            .collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    pub(crate) fn shown_field(&self, field: &FieldRef) -> FieldRef {
        let changed = |ty: DataType| Arc::new(field.as_ref().clone().with_data_type(ty));
        if let Some(foreign) = field_id(field).and_then(|id| self.types.get(&id)) {
            let mut metadata = field.metadata().clone();
            metadata.insert(TYPE_META_KEY.to_owned(), foreign.name.clone());
            let shown = Field::new(field.name(), foreign.shown(), field.is_nullable());
            return Arc::new(shown.with_metadata(metadata));
        }
        match field.data_type() {
            DataType::Struct(fields) => changed(DataType::Struct(
                fields.iter().map(|field| self.shown_field(field)).collect(),
            )),
            DataType::List(element) => changed(DataType::List(self.shown_field(element))),
            DataType::Map(entries, ordered) => {
                changed(DataType::Map(self.shown_field(entries), *ordered))
            }
            _ => Arc::clone(field),
        }
    }
}

/// A top-level column that a table has or had.
#[derive(Clone, Debug)]
pub struct TableColumn {
    /// Its last name and type, with its id in the metadata.
    pub field: FieldRef,
    /// What rows hold that are older than the column (format version 3).
    pub initial_default: Option<Literal>,
}

impl Table {
    /// A top-level column that the table has or had, by field id.
    pub fn column_by_id(&self, id: i32) -> Option<TableColumn> {
        let metadata = self.metadata();
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let current = std::iter::once(metadata.current_schema());
        current.chain(schemas).find_map(|schema| {
            let fields = schema.as_struct().fields();
            let field = fields.iter().find(|field| field.id == id)?;
            let shown = Arc::new(schema::field_to_arrow(field, &field.name));
            Some(TableColumn {
                field: match self.foreign() {
                    Some(foreign) => foreign.shown_field(&shown),
                    None => shown,
                },
                initial_default: schema::initial_defaults(schema).remove(&id),
            })
        })
    }

    /// Refuses a table whose metadata cannot be written again as it was.
    ///
    /// # Errors
    /// [`CatalogError::Unsupported`] names the table and the column.
    pub fn check_writable(&self) -> Result<()> {
        match self.foreign().and_then(Foreign::reason) {
            None => Ok(()),
            Some(reason) => Err(CatalogError::unsupported(format!(
                "table \"{}\" is read-only here: {reason}; change it with the engine that made it",
                self.ident()
            ))),
        }
    }
}

fn is_known_type(name: &str) -> bool {
    matches!(
        name,
        "boolean"
            | "int"
            | "long"
            | "float"
            | "double"
            | "date"
            | "time"
            | "timestamp"
            | "timestamptz"
            | "timestamp_ns"
            | "timestamptz_ns"
            | "string"
            | "uuid"
            | "binary"
    ) || name.starts_with("decimal(")
        || name.starts_with("fixed[")
}

fn is_known_transform(name: &str) -> bool {
    let sized = |kind: &str| {
        let size = name
            .strip_prefix(kind)?
            .strip_prefix('[')?
            .strip_suffix(']')?;
        size.parse::<u32>().ok()
    };
    matches!(
        name,
        "identity" | "year" | "month" | "day" | "hour" | "void" | "unknown"
    ) || sized("bucket").is_some()
        || sized("truncate").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_types_and_transforms_are_replaced_at_every_depth_and_kept_by_id() {
        let mut metadata = json!({
            "schemas": [{"fields": [
                {"id": 1, "name": "v", "type": "variant", "initial-default": null},
                {"id": 2, "name": "l", "type": {"type": "list", "element-id": 3, "element": "geometry(srid:4326)"}},
                {"id": 4, "name": "n", "type": "decimal(9, 2)"}
            ]}],
            "partition-specs": [{"fields": [
                {"source-id": 4, "transform": "zorder[2]"},
                {"source-ids": [4], "transform": "bucket[4]"}
            ]}]
        });
        let foreign = Foreign::take_out(&mut metadata).unwrap();
        let fields = &metadata["schemas"][0]["fields"];
        assert_eq!(fields[0], json!({"id": 1, "name": "v", "type": "binary"}));
        assert_eq!(fields[1]["type"]["element"], "binary");
        let spec = &metadata["partition-specs"][0]["fields"];
        assert_eq!(spec[0]["transform"], "unknown");
        assert_eq!(spec[1], json!({"transform": "bucket[4]", "source-id": 4}));
        assert_eq!(foreign.types[&3].shown(), DataType::BinaryView);
        assert_eq!(foreign.reason().unwrap(), "column \"v\" has type variant");
    }

    #[test]
    fn metadata_without_foreign_parts_stays_as_it_is() {
        let mut metadata =
            json!({"schemas": [{"fields": [{"id": 1, "name": "a", "type": "fixed[3]"}]}]});
        let before = metadata.clone();
        assert_eq!(Foreign::take_out(&mut metadata), None);
        assert_eq!(metadata, before);
    }
}
