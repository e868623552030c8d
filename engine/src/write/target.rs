//! Where and how a write stores its rows: all that a task needs, and no secret.
//!
//! Knows table metadata. Refuses to know plans and storage clients.

use arrow::datatypes::{DataType, Fields, SchemaRef};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tarn_catalog::{
    CatalogError, ObjectLayout, PartitionSpec, SortOrder, Stores, Table, Transform,
};

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
    /// The order that rows of a file are in.
    pub(crate) order: Option<Order>,
    /// How files are spread below `location`.
    pub(crate) layout: Option<ObjectLayout>,
    pub(crate) options: WriteOptions,
}

/// A sort order, bound to the schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: i32,
    pub(crate) fields: Vec<OrderField>,
}

/// One field of a sort order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderField {
    /// Dotted path of the column, for EXPLAIN and metrics.
    pub(crate) column: String,
    pub(crate) route: Route,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A transform of one column, bound to the schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        let schema = table.arrow_schema();
        let order = table.sort_order().and_then(|order| bind(&schema, order));
        let mut options = WriteOptions::of(table.properties())?;
        let sorted: Vec<String> = order
            .iter()
            .flat_map(|order| &order.fields)
            .map(|field| field.column.clone())
            .collect();
        options.settle_metrics(&leaves(schema.fields(), ""), &sorted);
        let target = Self {
            root: Stores::root_url(&location).map_err(refused)?.to_string(),
            prefix: prefix.to_string(),
            location,
            schema,
            spec: table.partition_spec().clone(),
            order,
            layout: table.object_layout(),
            options,
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

    /// The path below the data directory of a file of the partition in `directory`; empty for none.
    pub(crate) fn below(&self, directory: &str, file: &str) -> String {
        match &self.layout {
            Some(layout) => layout.path(directory, file),
            None if directory.is_empty() => file.to_owned(),
            None => format!("{directory}/{file}"),
        }
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

/// The sort order over the columns of `schema`; `None` if rows cannot be sorted so. A sort order is a wish: rows of a
/// table whose order we do not know are written in none, and files say so.
fn bind(schema: &SchemaRef, order: SortOrder) -> Option<Order> {
    let fields = order.fields.into_iter().map(|field| {
        let path = find(schema.fields(), field.source_id)?;
        field
            .transform
            .result_type(type_at(schema.fields(), &path)?)
            .ok()?;
        (field.transform != Transform::Unknown).then_some(OrderField {
            column: field.source_column?,
            route: Route {
                transform: field.transform,
                path,
            },
            descending: field.descending,
            nulls_first: field.nulls_first,
        })
    });
    Some(Order {
        id: order.id,
        fields: fields.collect::<Option<_>>()?,
    })
}

/// The type of the column at `path`.
pub(crate) fn type_at<'a>(fields: &'a Fields, path: &[usize]) -> Option<&'a DataType> {
    let (first, rest) = path.split_first()?;
    let ty = fields.get(*first)?.data_type();
    match ty {
        _ if rest.is_empty() => Some(ty),
        DataType::Struct(children) => type_at(children, rest),
        _ => None,
    }
}

/// Dotted paths of the leaves that have metrics, in the order of the schema.
fn leaves(fields: &Fields, parent: &str) -> Vec<String> {
    let mut out = Vec::new();
    for field in fields {
        let path = format!("{parent}{}", field.name());
        match field.data_type() {
            DataType::Struct(children) => out.extend(leaves(children, &format!("{path}."))),
            _ => out.push(path),
        }
    }
    out
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
