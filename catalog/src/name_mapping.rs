//! Name mappings: how columns are found in files without field ids.

use iceberg::spec as ice;
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};
use crate::table::Table;

/// Table property that holds the name mapping for files without field ids.
pub const NAME_MAPPING_PROPERTY: &str = "schema.name-mapping.default";

/// Maps column names to field ids for files that carry none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameMapping {
    /// The top-level columns.
    pub fields: Vec<MappedField>,
}

impl NameMapping {
    /// Every path of names with the id that it means, outer columns after what is in them.
    pub fn paths(&self) -> Vec<(Vec<String>, i32)> {
        let mut paths = Vec::new();
        flatten(&self.fields, &[], &mut paths);
        paths
    }
}

fn flatten(fields: &[MappedField], above: &[String], paths: &mut Vec<(Vec<String>, i32)>) {
    for field in fields {
        for name in &field.names {
            let path: Vec<String> = above.iter().chain([name]).cloned().collect();
            flatten(field.fields.as_deref().unwrap_or_default(), &path, paths);
            paths.extend(field.field_id.map(|id| (path, id)));
        }
    }
}

/// One column of a [`NameMapping`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MappedField {
    /// Id of the column; `None` for a level that is only structure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_id: Option<i32>,
    /// Names the column has or had.
    pub names: Vec<String>,
    /// Columns inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<MappedField>>,
}

impl Table {
    /// The name mapping that finds columns by the names that they have now.
    pub fn mapping_by_names(&self) -> NameMapping {
        let fields = self.metadata().current_schema().as_struct().fields().iter();
        NameMapping {
            fields: fields.map(|field| mapped(field)).collect(),
        }
    }

    /// The name mapping for files without field ids, if the table has one.
    ///
    /// # Errors
    /// [`CatalogError::Corrupt`] if the property is not a name mapping.
    pub fn name_mapping(&self) -> Result<Option<NameMapping>> {
        let Some(text) = self.properties().get(NAME_MAPPING_PROPERTY) else {
            return Ok(None);
        };
        serde_json::from_str(text)
            .map(Some)
            .map_err(|error| CatalogError::Corrupt {
                what: "name mapping of table",
                location: self.ident().to_string(),
                reason: error.to_string(),
                next: format!("correct or remove the table property {NAME_MAPPING_PROPERTY}"),
            })
    }
}

/// A column under its own name, with what is in it.
pub(crate) fn mapped(field: &ice::NestedField) -> MappedField {
    let below = match field.field_type.as_ref() {
        ice::Type::Primitive(_) => None,
        ice::Type::Struct(fields) => Some(fields.fields().iter().map(|f| mapped(f)).collect()),
        ice::Type::List(list) => Some(vec![mapped(&list.element_field)]),
        ice::Type::Map(map) => Some(vec![mapped(&map.key_field), mapped(&map.value_field)]),
    };
    MappedField {
        field_id: Some(field.id),
        names: vec![field.name.clone()],
        fields: below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_mapping_is_read_as_the_spec_writes_it() {
        let text = r#"[{"field-id": 1, "names": ["id", "record_id"]},
                       {"names": ["location"], "fields": [{"field-id": 3, "names": ["lat"]}]}]"#;
        let mapping: NameMapping = serde_json::from_str(text).unwrap();
        assert_eq!(mapping.fields[0].field_id, Some(1));
        assert_eq!(mapping.fields[1].fields.as_ref().unwrap()[0].names, ["lat"]);
    }
}
