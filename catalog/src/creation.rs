//! The first metadata of a new table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use iceberg::spec as ice;

use crate::error::{CatalogError, Result};
use crate::ident::{Namespace, TableIdent};
use crate::properties::check_properties;
use crate::schema;
use crate::sorting::{self, SortFieldDef};
use crate::storage::Stores;
use crate::table::{self, LoadedMetadata, Table};
use crate::transform::{PartitionFieldDef, Transform};

/// Property of a CREATE TABLE that chooses the format version, 1 to 3.
pub const FORMAT_VERSION_PROPERTY: &str = "format-version";
/// Format version of a new table unless its creator chooses another.
const FORMAT_VERSION_DEFAULT: ice::FormatVersion = ice::FormatVersion::V2;

/// What a new table looks like.
#[derive(Clone, Debug)]
pub struct TableCreation {
    /// Its name.
    pub ident: TableIdent,
    /// Its columns, without field ids; comments in the metadata key `iceberg.doc`.
    pub schema: SchemaRef,
    /// Its partitioning; empty for none.
    pub partition: Vec<PartitionFieldDef>,
    /// The order of the rows in its files; empty for none.
    pub sort: Vec<SortFieldDef>,
    /// Root of its files; chosen under the warehouse when `None`.
    pub location: Option<String>,
    /// Its properties; `format-version` is honoured and not stored.
    pub properties: HashMap<String, String>,
    /// Columns that tell its rows apart. Nobody checks that they do; they must have values.
    pub primary_key: Vec<String>,
}

/// A fresh location for a table: `<base>/<namespace>/<table>-<uuid>`.
///
/// The UUID keeps a table made after a DROP, or renamed, from sharing files with another.
pub(crate) fn fresh_location(base: &str, namespace: Option<&Namespace>, table: &str) -> String {
    let mut location = base.trim_end_matches('/').to_owned();
    for part in namespace.map(Namespace::parts).unwrap_or_default() {
        location.push('/');
        location.push_str(&path_safe(part));
    }
    format!(
        "{location}/{}-{}",
        path_safe(table),
        uuid::Uuid::new_v4().simple()
    )
}

/// A name as one path segment: letters, digits, `_` and `-`; everything else becomes `_`.
fn path_safe(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// The table that `creation` describes, rooted at `location`, without a metadata file yet.
pub(crate) fn new_table(
    creation: TableCreation,
    location: String,
    stores: &Stores,
) -> Result<Table> {
    creation.ident.check()?;
    stores.resolve(&location)?;
    let mut properties = creation.properties;
    check_properties(&properties)?;
    let version = format_version(properties.remove(FORMAT_VERSION_PROPERTY).as_deref())?;
    let schema = schema::from_arrow(&creation.schema, version as u8)?;
    let schema = with_primary_key(schema, &creation.primary_key)?;
    let spec = partition_spec(&schema, &creation.partition)?;
    let order = sorting::order_of(&schema, &creation.sort)?;
    let refuse = |error: iceberg::Error| {
        CatalogError::invalid(format!(
            "table \"{}\" cannot be created: {}",
            creation.ident,
            error.message()
        ))
    };
    let built = ice::TableMetadataBuilder::new(schema, spec, order, location, version, properties)
        .and_then(ice::TableMetadataBuilder::build)
        .map_err(refuse)?;
    let loaded = LoadedMetadata::new(built.metadata);
    Ok(Table::new(
        creation.ident,
        String::new(),
        Arc::new(loaded),
        stores.clone(),
    ))
}

fn with_primary_key(schema: ice::Schema, columns: &[String]) -> Result<ice::Schema> {
    if columns.is_empty() {
        return Ok(schema);
    }
    let key = columns
        .iter()
        .map(|column| {
            schema.field_by_name(column).cloned().ok_or_else(|| {
                CatalogError::invalid(format!(
                    "primary key column \"{column}\" is not a column of the table"
                ))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let fields = schema.as_struct().fields().iter().map(|field| {
        let mut field = field.as_ref().clone();
        field.required |= key.iter().any(|other| other.id == field.id);
        Arc::new(field)
    });
    ice::Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(key.iter().map(|field| field.id))
        .build()
        .map_err(|error| {
            CatalogError::invalid(format!("the primary key is not valid: {}", error.message()))
        })
}

pub(crate) fn format_version(value: Option<&str>) -> Result<ice::FormatVersion> {
    match value.map(str::trim) {
        None => Ok(FORMAT_VERSION_DEFAULT),
        Some("1") => Ok(ice::FormatVersion::V1),
        Some("2") => Ok(ice::FormatVersion::V2),
        Some("3") => Ok(ice::FormatVersion::V3),
        Some(other) => Err(CatalogError::invalid(format!(
            "property {FORMAT_VERSION_PROPERTY} is \"{other}\"; it must be 1, 2 or 3"
        ))),
    }
}

fn partition_spec(
    schema: &ice::Schema,
    fields: &[PartitionFieldDef],
) -> Result<ice::UnboundPartitionSpec> {
    let mut builder = ice::UnboundPartitionSpec::builder().with_spec_id(0);
    let mut taken: Vec<String> = Vec::new();
    for def in fields {
        let source = schema::source_of(schema, &def.column, "partition")?;
        if def.transform == Transform::Unknown {
            return Err(CatalogError::invalid("unknown partition transform"));
        }
        // The crate encodes a UUID in a partition tuple as bytes where Avro has text.
        if def.transform == Transform::Identity
            && source.field_type.as_primitive_type() == Some(&ice::PrimitiveType::Uuid)
        {
            return Err(CatalogError::unsupported(format!(
                "partitioning by uuid column \"{0}\" itself; partition by bucket(16, {0}) instead",
                def.column
            )));
        }
        def.transform
            .result_type(&schema::type_to_arrow(&source.field_type))
            .map_err(|_| {
                CatalogError::invalid(format!(
                    "partition transform {} does not apply to column \"{}\" of type {}",
                    def.transform, def.column, source.field_type
                ))
            })?;
        let name = free_name(&table::avro_name(&def.field_name()), |name| {
            taken.iter().any(|other| other == name)
                || schema
                    .field_by_name(name)
                    .is_some_and(|field| field.id != source.id)
        });
        taken.push(name.clone());
        builder = builder
            .add_partition_field(source.id, name, def.transform.to_ice())
            .map_err(|error| {
                CatalogError::invalid(format!(
                    "partition field \"{}\" is not valid: {}",
                    def.field_name(),
                    error.message()
                ))
            })?;
    }
    Ok(builder.build())
}

/// `name`, or `name` with the first number from 2 that makes it free.
fn free_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut number = 2u32;
    while taken(&free) {
        free = format!("{name}_{number}");
        number += 1;
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageConfig;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    fn creation(properties: &[(&str, &str)], partition: Vec<PartitionFieldDef>) -> TableCreation {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ]);
        TableCreation {
            ident: TableIdent::new(Namespace::new("main"), "t"),
            schema: Arc::new(schema),
            partition,
            sort: vec![],
            location: None,
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            primary_key: vec![],
        }
    }

    fn make(creation: TableCreation) -> Result<Table> {
        let stores = Stores::new(StorageConfig::default());
        new_table(creation, "/warehouse/main/t-1/".to_owned(), &stores)
    }

    fn def(column: &str, transform: Transform) -> PartitionFieldDef {
        PartitionFieldDef {
            column: column.to_owned(),
            transform,
            name: None,
        }
    }

    #[test]
    fn the_format_version_is_chosen_by_property_and_not_stored() {
        assert_eq!(make(creation(&[], vec![])).unwrap().format_version(), 2);
        for (text, version) in [("1", 1), ("2", 2), ("3", 3)] {
            let table = make(creation(&[("format-version", text)], vec![])).unwrap();
            assert_eq!(table.format_version(), version);
            assert!(table.properties().is_empty());
        }
        assert!(make(creation(&[("format-version", "4")], vec![])).is_err());
    }

    #[test]
    fn partition_fields_are_named_and_typed_by_their_transform() {
        let partition = vec![def("ts", Transform::Day), def("id", Transform::Bucket(16))];
        let table = make(creation(&[], partition)).unwrap();
        let fields = &table.partition_spec().fields;
        assert_eq!(fields[0].name, "ts_day");
        assert_eq!(fields[0].result_type, DataType::Date32);
        assert_eq!(fields[0].source_column.as_deref(), Some("ts"));
        assert_eq!(fields[1].name, "id_bucket");
        assert_eq!(fields[1].source_id, 1);
        assert_eq!(table.location(), "/warehouse/main/t-1");
    }

    #[test]
    fn a_partition_that_cannot_be_is_refused_by_name() {
        for wrong in [def("nope", Transform::Day), def("id", Transform::Hour)] {
            let column = wrong.column.clone();
            let error = make(creation(&[], vec![wrong])).unwrap_err();
            assert!(error.to_string().contains(&column), "{error}");
        }
    }

    #[test]
    fn a_partition_field_of_a_column_that_is_no_avro_name_gets_one_that_is_free() {
        let names = ["a.b", "a_x2Eb", "2024", "é", "plain"];
        let fields = names.map(|name| Field::new(name, DataType::Int32, true));
        let mut creation = creation(
            &[],
            names.map(|name| def(name, Transform::Identity)).to_vec(),
        );
        creation.schema = Arc::new(Schema::new(fields.to_vec()));
        let table = make(creation).unwrap();
        let spec = table.partition_spec();
        let of = |f: &dyn Fn(&crate::PartitionField) -> String| -> Vec<String> {
            spec.fields.iter().map(f).collect()
        };
        assert_eq!(
            of(&|field| field.name.clone()),
            ["a_x2Eb_2", "a_x2Eb", "_2024", "_xE9", "plain"]
        );
        assert_eq!(of(&|field| field.source_column.clone().unwrap()), names);
        table.check_partition_names(spec.id).unwrap();
    }

    #[test]
    fn a_foreign_partition_field_that_is_no_avro_name_is_unsupported_by_name() {
        let table = make(creation(&[], vec![def("ts", Transform::Day)])).unwrap();
        let mut json = serde_json::to_value(table.metadata().as_ref()).unwrap();
        json["partition-specs"][0]["fields"][0]["name"] = "ts day".into();
        let loaded = LoadedMetadata::new(serde_json::from_value(json).unwrap());
        let ident = table.ident().clone();
        let foreign = Table::new(
            ident,
            String::new(),
            Arc::new(loaded),
            table.stores().clone(),
        );
        let error = foreign.check_partition_names(0).unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::Unsupported);
        let text = error.to_string();
        assert!(
            text.contains("main.t") && text.contains("\"ts day\""),
            "{text}"
        );
    }

    #[test]
    fn a_location_holds_no_character_that_could_leave_the_warehouse() {
        let namespace = Namespace::new("..");
        let location = fresh_location("s3://b/w/", Some(&namespace), "a/../b c");
        assert!(location.starts_with("s3://b/w/__/a____b_c-"), "{location}");
    }
}
