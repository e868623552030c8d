//! Where and how a write stores its rows: all that a task needs, and no secret.
//!
//! Knows table metadata. Refuses to know plans and storage clients.

use arrow::datatypes::{DataType, Fields, SchemaRef};
use object_store::path::Path;
use tarn_catalog::{CatalogError, PartitionSpec, Stores, Table, Transform};

use super::error::WriteError;
use super::options::WriteOptions;
use crate::scan::field_id;

/// The table as a writer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteTarget {
    /// `namespace.table`.
    pub table: String,
    /// Part of the name of every file of this write.
    pub write_id: String,
    /// Root of the store, such as `s3://bucket`.
    pub(crate) root: String,
    /// Where data files go, as their locations are stated in manifests.
    pub(crate) location: String,
    /// The key of `location` in its store.
    pub(crate) prefix: String,
    /// Schema with field ids.
    pub(crate) schema: SchemaRef,
    pub(crate) spec: PartitionSpec,
    pub(crate) options: WriteOptions,
}

/// One partition field, bound to the schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) transform: Transform,
    /// Positions from the top to the source column, through structs.
    pub(crate) path: Vec<usize>,
}

impl WriteTarget {
    /// The current schema, default partition spec and properties of `table`.
    ///
    /// # Errors
    /// [`WriteError::Property`] for a property without a meaning, [`WriteError::PartitionSource`] if a partition field
    /// has lost its column, [`WriteError::Catalog`] for a location that no store can hold.
    pub fn of(table: &Table, write_id: &str) -> Result<Self, WriteError> {
        let name = table.ident().to_string();
        let refused = |source: CatalogError| WriteError::Catalog {
            table: name.clone(),
            source,
        };
        let location = table.data_location().trim_end_matches('/').to_owned();
        let (_, prefix) = table.stores().resolve(&location).map_err(refused)?;
        let target = Self {
            root: Stores::root_url(&location).map_err(refused)?.to_string(),
            prefix: prefix.to_string(),
            location,
            schema: table.arrow_schema(),
            spec: table.partition_spec().clone(),
            options: WriteOptions::of(table.properties())?,
            table: name.clone(),
            write_id: write_id.to_owned(),
        };
        target.routes()?;
        Ok(target)
    }

    /// The partition fields bound to the schema, in the order of the spec. A void field has an empty path.
    pub(crate) fn routes(&self) -> Result<Vec<Route>, WriteError> {
        let fields = self.spec.fields.iter();
        fields
            .map(|field| {
                let path = match field.transform {
                    Transform::Void => Some(Vec::new()),
                    _ => find(self.schema.fields(), field.source_id),
                };
                let path = path.ok_or_else(|| WriteError::PartitionSource {
                    table: self.table.clone(),
                    field: field.name.clone(),
                })?;
                Ok(Route {
                    transform: field.transform,
                    path,
                })
            })
            .collect()
    }

    /// Location and key of a file below the data directory.
    pub(crate) fn place(&self, below: &str) -> Result<(String, Path), WriteError> {
        let location = format!("{}/{below}", self.location);
        let key = if self.prefix.is_empty() {
            below.to_owned()
        } else {
            format!("{}/{below}", self.prefix)
        };
        let path = Path::parse(&key).map_err(|error| WriteError::Catalog {
            table: self.table.clone(),
            source: CatalogError::invalid(format!(
                "location \"{location}\" is not a valid path: {error}"
            )),
        })?;
        Ok((location, path))
    }
}

fn find(fields: &Fields, id: i32) -> Option<Vec<usize>> {
    fields.iter().enumerate().find_map(|(position, field)| {
        if field_id(field) == Some(id) {
            return Some(vec![position]);
        }
        let DataType::Struct(children) = field.data_type() else {
            return None;
        };
        let mut path = find(children, id)?;
        path.insert(0, position);
        Some(path)
    })
}
