//! The order that the rows of a table's files are in: what metadata says of it, and changing it.
//!
//! Knows sort orders as the Iceberg spec has them. Rows are sorted by the writer.

use iceberg::spec as ice;
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, ErrorCode, Result};
use crate::schema;
use crate::table::Table;
use crate::transform::Transform;

/// Times a change is made again because others changed the table meanwhile.
const TRIES_MAX: u32 = 5;

/// The order that new files of a table have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortOrder {
    /// Its id in the table; above 0.
    pub id: i32,
    /// What rows are sorted by, the first counts most.
    pub fields: Vec<SortField>,
}

/// One field of a [`SortOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortField {
    /// Field id of the source column.
    pub source_id: i32,
    /// The source column's name in the current schema; `None` if it was dropped.
    pub source_column: Option<String>,
    /// What is made of the column's value before it is compared.
    pub transform: Transform,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all values, whatever the direction.
    pub nulls_first: bool,
}

/// One entry of `ORDER BY` in a CREATE TABLE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortFieldDef {
    /// Source column; a field of a struct is written `parent.child`.
    pub column: String,
    /// What is made of its value before it is compared.
    pub transform: Transform,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all values, whatever the direction.
    pub nulls_first: bool,
}

/// The default order of a table; `None` if its rows are in none.
pub(crate) fn default_order(metadata: &ice::TableMetadata) -> Option<SortOrder> {
    let order = metadata.default_sort_order();
    let id = i32::try_from(order.order_id).ok()?;
    if order.is_unsorted() || id == 0 {
        return None;
    }
    let schema = metadata.current_schema();
    let fields = order.fields.iter().map(|field| SortField {
        source_id: field.source_id,
        source_column: schema.name_by_field_id(field.source_id).map(str::to_owned),
        transform: Transform::from_ice(field.transform),
        descending: field.direction == ice::SortDirection::Descending,
        nulls_first: field.null_order == ice::NullOrder::First,
    });
    Some(SortOrder {
        id,
        fields: fields.collect(),
    })
}

/// The order that `fields` describe, over the ids of `schema`. None at all is no order.
///
/// # Errors
/// [`CatalogError::Invalid`] names the column that is not there, cannot be sorted by, or does not take the transform.
pub(crate) fn order_of(schema: &ice::Schema, fields: &[SortFieldDef]) -> Result<ice::SortOrder> {
    if fields.is_empty() {
        return Ok(ice::SortOrder::unsorted_order());
    }
    let mut builder = ice::SortOrder::builder();
    for def in fields {
        let source = schema::source_of(schema, &def.column, "sort")?;
        if !source.field_type.is_primitive() {
            return Err(CatalogError::invalid(format!(
                "rows cannot be sorted by column \"{}\" of type {}",
                def.column, source.field_type
            )));
        }
        if matches!(def.transform, Transform::Unknown | Transform::Void) {
            return Err(CatalogError::invalid(format!(
                "rows cannot be sorted by transform {} of column \"{}\"",
                def.transform, def.column
            )));
        }
        def.transform
            .result_type(&schema::type_to_arrow(&source.field_type))
            .map_err(|_| {
                CatalogError::invalid(format!(
                    "transform {} does not apply to sort column \"{}\" of type {}",
                    def.transform, def.column, source.field_type
                ))
            })?;
        builder.with_sort_field(
            ice::SortField::builder()
                .source_id(source.id)
                .transform(def.transform.to_ice())
                .direction(if def.descending {
                    ice::SortDirection::Descending
                } else {
                    ice::SortDirection::Ascending
                })
                .null_order(if def.nulls_first {
                    ice::NullOrder::First
                } else {
                    ice::NullOrder::Last
                })
                .build(),
        );
    }
    builder.build(schema).map_err(|error| {
        CatalogError::invalid(format!("the sort order is not valid: {}", error.message()))
    })
}

/// Gives new files of `table` another order; none with no fields. Files that are there stay as they are.
///
/// # Errors
/// `Invalid` names the column that rows cannot be sorted by; `Conflict` if the table was replaced, or others change it
/// all the time.
pub async fn replace_sort_order(
    catalog: &dyn Catalog,
    table: &Table,
    fields: &[SortFieldDef],
) -> Result<Table> {
    let mut tried = 0;
    loop {
        let head = catalog.load_table(table.ident()).await?;
        let metadata = head.metadata();
        let sort_order = order_of(metadata.current_schema(), fields)?;
        let commit = TableCommit {
            requirements: vec![
                TableRequirement::UuidMatch { uuid: table.uuid() },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: metadata.current_schema_id(),
                },
                TableRequirement::DefaultSortOrderIdMatch {
                    default_sort_order_id: metadata.default_sort_order_id(),
                },
            ],
            updates: vec![
                TableUpdate::AddSortOrder { sort_order },
                TableUpdate::SetDefaultSortOrder {
                    sort_order_id: i64::from(ice::TableMetadataBuilder::LAST_ADDED),
                },
            ],
        };
        match catalog.commit(head.ident(), commit).await {
            Err(error) if error.code() == ErrorCode::Conflict && tried < TRIES_MAX => tried += 1,
            other => return other,
        }
    }
}
