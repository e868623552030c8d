//! Changing the columns of a table: one commit of a new schema, no data file is touched.
//!
//! A column keeps its id whatever it is called; what readers make of old files follows from that.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::Field;
use iceberg::spec as ice;
use iceberg::{TableRequirement, TableUpdate};

use crate::catalog::{Catalog, TableCommit};
use crate::error::{CatalogError, ErrorCode, Result};
use crate::name_mapping::{NAME_MAPPING_PROPERTY, NameMapping, mapped};
use crate::schema;
use crate::table::{MAIN_BRANCH, Table};

/// Times a change is made again because the columns changed meanwhile.
const TRIES_MAX: u32 = 5;
/// Most digits of a decimal.
const DECIMAL_DIGITS_MAX: u32 = 38;

/// One change of a table's top-level columns. Columns are named exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// A new column, the last one. One that must have a value fits only a table without rows.
    Add(Field),
    /// A column goes.
    Drop(String),
    /// A column gets another name.
    Rename {
        /// Its name.
        column: String,
        /// Its new name.
        to: String,
    },
    /// A column gets a wider type.
    Type {
        /// Its name.
        column: String,
        /// A field of the new type.
        to: Field,
    },
    /// A column must have a value, or need not. The caller has made sure that it has.
    Required {
        /// Its name.
        column: String,
        /// Whether it must.
        required: bool,
    },
    /// A column gets a comment, or loses it.
    Comment {
        /// Its name.
        column: String,
        /// The comment.
        text: Option<String>,
    },
}

/// Makes `changes`, all or none, on top of what the table is by then.
///
/// With `same_rows` the change holds only while the current snapshot is that of `table`.
///
/// # Errors
/// `Invalid` or `Unsupported` for a change that the columns do not allow, naming the column; `Conflict` if
/// the table has other rows than it must have, or others change it all the time.
pub async fn change_schema(
    catalog: &dyn Catalog,
    table: &Table,
    changes: &[SchemaChange],
    same_rows: bool,
) -> Result<Table> {
    let rows = same_rows.then(|| Rows(table.metadata().current_snapshot_id()));
    let mut tried = 0;
    loop {
        let head = catalog.load_table(table.ident()).await?;
        if head.uuid() != table.uuid() {
            return Err(CatalogError::Conflict {
                table: table.ident().to_string(),
                reason: "it was dropped and made again".to_owned(),
            });
        }
        let commit = commit(&head, changes, rows)?;
        match catalog.commit(head.ident(), commit).await {
            Err(error) if error.code() == ErrorCode::Conflict && tried < TRIES_MAX => {
                let now = catalog.load_table(table.ident()).await?;
                let moved = Rows(now.metadata().current_snapshot_id());
                if rows.is_some_and(|wanted| wanted != moved) {
                    return Err(error);
                }
                tried += 1;
            }
            other => return other,
        }
    }
}

/// The snapshot that a change is made for; none if the table has none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rows(Option<i64>);

fn commit(head: &Table, changes: &[SchemaChange], rows: Option<Rows>) -> Result<TableCommit> {
    let metadata = head.metadata();
    let mut edit = Edit::new(head)?;
    for change in changes {
        edit.apply(change)?;
    }
    let mut requirements = vec![
        TableRequirement::UuidMatch { uuid: head.uuid() },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: metadata.last_column_id(),
        },
    ];
    let own = || Rows(metadata.current_snapshot_id());
    if let Some(Rows(snapshot_id)) = rows.or_else(|| edit.only_at_this_snapshot.then(own)) {
        requirements.push(TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_owned(),
            snapshot_id,
        });
    }
    Ok(TableCommit {
        requirements,
        updates: edit.updates()?,
    })
}

/// The columns of a table while they are changed.
struct Edit<'a> {
    head: &'a Table,
    fields: Vec<ice::NestedField>,
    keys: HashSet<i32>,
    next_id: i32,
    mapping: Option<NameMapping>,
    only_at_this_snapshot: bool,
}

impl<'a> Edit<'a> {
    fn new(head: &'a Table) -> Result<Self> {
        let schema = head.metadata().current_schema();
        Ok(Self {
            head,
            fields: schema
                .as_struct()
                .fields()
                .iter()
                .map(|field| field.as_ref().clone())
                .collect(),
            keys: schema.identifier_field_ids().collect(),
            next_id: head.metadata().last_column_id() + 1,
            mapping: head.name_mapping()?,
            only_at_this_snapshot: false,
        })
    }

    fn position(&self, column: &str) -> Result<usize> {
        self.fields
            .iter()
            .position(|field| field.name == column)
            .ok_or_else(|| {
                CatalogError::invalid(format!(
                    "column \"{column}\" of table \"{}\" does not exist",
                    self.head.ident()
                ))
            })
    }

    fn apply(&mut self, change: &SchemaChange) -> Result<()> {
        match change {
            SchemaChange::Add(field) => self.add(field),
            SchemaChange::Drop(column) => self.drop(column),
            SchemaChange::Rename { column, to } => self.rename(column, to),
            SchemaChange::Type { column, to } => self.widen(column, to),
            SchemaChange::Required { column, required } => {
                let at = self.position(column)?;
                if !required && self.keys.contains(&self.fields[at].id) {
                    return Err(CatalogError::invalid(format!(
                        "column \"{column}\" is in the primary key"
                    )));
                }
                self.fields[at].required = *required;
                Ok(())
            }
            SchemaChange::Comment { column, text } => {
                let at = self.position(column)?;
                self.fields[at].doc.clone_from(text);
                Ok(())
            }
        }
    }

    fn free(&self, name: &str) -> Result<()> {
        if self.fields.iter().any(|field| field.name == name) {
            return Err(CatalogError::ColumnExists {
                table: self.head.ident().to_string(),
                column: name.to_owned(),
            });
        }
        Ok(())
    }

    fn add(&mut self, field: &Field) -> Result<()> {
        self.free(field.name())?;
        if !field.is_nullable() {
            if has_rows(self.head) {
                return Err(CatalogError::invalid(format!(
                    "column \"{}\" cannot be NOT NULL: the rows of table \"{}\" have no value for it",
                    field.name(),
                    self.head.ident()
                )));
            }
            self.only_at_this_snapshot = true;
        }
        let version = self.head.format_version();
        let new = schema::new_column(field, self.next_id, version)?;
        if let Some(mapping) = &mut self.mapping {
            // A name that files have for another column stays that column's.
            let mut new = mapped(&new);
            let known = |name: &String| mapping.fields.iter().any(|f| f.names.contains(name));
            new.names.retain(|name| !known(name));
            mapping.fields.push(new);
        }
        self.next_id = self.next_id.max(highest_id(&new) + 1);
        self.fields.push(new);
        Ok(())
    }

    fn drop(&mut self, column: &str) -> Result<()> {
        let at = self.position(column)?;
        let id = self.fields[at].id;
        let metadata = self.head.metadata();
        let spec = metadata.default_partition_spec();
        if spec.fields().iter().any(|field| field.source_id == id) {
            return Err(CatalogError::invalid(format!(
                "column \"{column}\" cannot be dropped: table \"{}\" is partitioned by it",
                self.head.ident()
            )));
        }
        let order = metadata.default_sort_order();
        if order.fields.iter().any(|field| field.source_id == id) {
            return Err(CatalogError::invalid(format!(
                "column \"{column}\" cannot be dropped: table \"{}\" is sorted by it",
                self.head.ident()
            )));
        }
        if self.fields.len() == 1 {
            return Err(CatalogError::invalid(format!(
                "column \"{column}\" cannot be dropped: it is the only one of table \"{}\"",
                self.head.ident()
            )));
        }
        self.fields.remove(at);
        self.keys.remove(&id);
        Ok(())
    }

    fn rename(&mut self, column: &str, to: &str) -> Result<()> {
        let at = self.position(column)?;
        if column == to {
            return Ok(());
        }
        if to.is_empty() {
            return Err(CatalogError::invalid("a column name must not be empty"));
        }
        self.free(to)?;
        let id = self.fields[at].id;
        to.clone_into(&mut self.fields[at].name);
        let is_mapped = self.mapping.as_ref().is_some_and(|mapping| {
            let mut fields = mapping.fields.iter();
            fields.any(|field| field.names.iter().any(|name| name == to))
        });
        let mapped = self.mapping.as_mut().and_then(|mapping| {
            let mut fields = mapping.fields.iter_mut();
            fields.find(|field| field.field_id == Some(id))
        });
        if let Some(mapped) = mapped
            && !is_mapped
        {
            mapped.names.push(to.to_owned());
        }
        Ok(())
    }

    fn widen(&mut self, column: &str, to: &Field) -> Result<()> {
        let at = self.position(column)?;
        let version = self.head.format_version();
        let wanted = schema::new_column(to, self.next_id, version)?.field_type;
        let from = &self.fields[at].field_type;
        if *from == wanted {
            return Ok(());
        }
        if !is_promotion(from, &wanted, version) {
            return Err(CatalogError::unsupported(format!(
                "changing column \"{column}\" from {from} to {wanted} is not supported: int widens to \
                 bigint, real to double precision, numeric to more digits of the same scale"
            )));
        }
        self.fields[at].field_type = wanted;
        Ok(())
    }

    fn updates(self) -> Result<Vec<TableUpdate>> {
        let new = ice::Schema::builder()
            .with_fields(self.fields.into_iter().map(Arc::new))
            .with_identifier_field_ids(self.keys)
            .build()
            .map_err(|error| {
                CatalogError::invalid(format!("the columns are not valid: {}", error.message()))
            })?;
        let mut updates = vec![
            TableUpdate::AddSchema { schema: new },
            TableUpdate::SetCurrentSchema {
                schema_id: ice::TableMetadataBuilder::LAST_ADDED,
            },
        ];
        if let Some(mapping) = self.mapping
            && self.head.name_mapping()?.as_ref() != Some(&mapping)
        {
            let text = serde_json::to_string(&mapping)
                .map_err(|error| CatalogError::internal(format!("a name mapping: {error}")))?;
            updates.push(TableUpdate::SetProperties {
                updates: [(NAME_MAPPING_PROPERTY.to_owned(), text)].into(),
            });
        }
        Ok(updates)
    }
}

/// Whether the current snapshot may have rows.
fn has_rows(table: &Table) -> bool {
    table.current_snapshot().is_some_and(|snapshot| {
        snapshot.summary.get("total-records").map(String::as_str) != Some("0")
    })
}

fn highest_id(field: &ice::NestedField) -> i32 {
    let inner = match field.field_type.as_ref() {
        ice::Type::Primitive(_) => None,
        ice::Type::Struct(fields) => fields.fields().iter().map(|f| highest_id(f)).max(),
        ice::Type::List(list) => Some(highest_id(&list.element_field)),
        ice::Type::Map(map) => Some(highest_id(&map.key_field).max(highest_id(&map.value_field))),
    };
    inner.unwrap_or(0).max(field.id)
}

/// Source: Iceberg spec, "Schema Evolution".
fn is_promotion(from: &ice::Type, to: &ice::Type, format_version: u8) -> bool {
    use ice::PrimitiveType as P;
    let (ice::Type::Primitive(from), ice::Type::Primitive(to)) = (from, to) else {
        return false;
    };
    match (from, to) {
        (P::Int, P::Long) | (P::Float, P::Double) => true,
        (P::Date, P::Timestamp | P::TimestampNs) => format_version >= 3,
        (
            P::Decimal { precision, scale },
            P::Decimal {
                precision: wider,
                scale: same,
            },
        ) => scale == same && wider > precision && *wider <= DECIMAL_DIGITS_MAX,
        _ => false,
    }
}
