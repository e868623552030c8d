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
use crate::name_mapping::{MappedField, NAME_MAPPING_PROPERTY, NameMapping, mapped};
use crate::schema;
use crate::table::{MAIN_BRANCH, Table};

/// Times a change is made again because the columns changed meanwhile.
const TRIES_MAX: u32 = 5;
/// Most digits of a decimal.
const DECIMAL_DIGITS_MAX: u32 = 38;

/// The names that lead to a column, from the outermost in: `s`, `s.a`; `element` is what an array holds, `key` and `value`
/// what a map does.
pub type ColumnPath = Vec<String>;

/// One change of a table's columns, at any depth. Columns are named exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// A new column, the last one. One that must have a value fits only a table without rows.
    Add {
        /// The struct that it is in; none for a column of the table.
        parent: ColumnPath,
        /// The column.
        field: Field,
    },
    /// A column goes.
    Drop(ColumnPath),
    /// A column gets another name.
    Rename {
        /// Its name.
        column: ColumnPath,
        /// Its new name.
        to: String,
    },
    /// A column gets a wider type.
    Type {
        /// Its name.
        column: ColumnPath,
        /// A field of the new type.
        to: Field,
    },
    /// A column must have a value, or need not. The caller has made sure that it has.
    Required {
        /// Its name.
        column: ColumnPath,
        /// Whether it must.
        required: bool,
    },
    /// A column gets a comment, or loses it.
    Comment {
        /// Its name.
        column: ColumnPath,
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

/// Columns that are in one another's place: those of a table or struct, or what an array or a map holds.
struct Level {
    of: LevelOf,
    /// Field id of the column that holds them; none of the table's.
    parent: Option<i32>,
    fields: Vec<ice::NestedField>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LevelOf {
    Struct,
    List,
    Map,
}

impl Level {
    /// What is in a column; nothing if it is no struct, array or map.
    fn inside(field: &ice::NestedField) -> Option<Self> {
        let (of, fields) = match field.field_type.as_ref() {
            ice::Type::Primitive(_) => return None,
            ice::Type::Struct(fields) => (LevelOf::Struct, fields.fields().to_vec()),
            ice::Type::List(list) => (LevelOf::List, vec![Arc::clone(&list.element_field)]),
            ice::Type::Map(map) => {
                let pair = vec![Arc::clone(&map.key_field), Arc::clone(&map.value_field)];
                (LevelOf::Map, pair)
            }
        };
        Some(Self {
            of,
            parent: Some(field.id),
            fields: fields.iter().map(|field| field.as_ref().clone()).collect(),
        })
    }

    fn into_type(self) -> Option<ice::Type> {
        let mut fields = self.fields.into_iter().map(Arc::new);
        Some(match self.of {
            LevelOf::Struct => ice::Type::Struct(ice::StructType::new(fields.collect())),
            LevelOf::List => ice::Type::List(ice::ListType::new(fields.next()?)),
            LevelOf::Map => ice::Type::Map(ice::MapType::new(fields.next()?, fields.next()?)),
        })
    }
}

/// A path as statements write it.
fn shown(path: &[String]) -> String {
    path.join(".")
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

    fn missing(&self, column: &str) -> CatalogError {
        CatalogError::invalid(format!(
            "column \"{column}\" of table \"{}\" does not exist",
            self.head.ident()
        ))
    }

    /// Changes what is inside the column at `path`: the table's columns if it is empty.
    fn within(
        &mut self,
        path: &[String],
        change: impl FnOnce(&mut Self, &mut Level) -> Result<()>,
    ) -> Result<()> {
        let mut top = Level {
            of: LevelOf::Struct,
            parent: None,
            fields: std::mem::take(&mut self.fields),
        };
        self.enter(&mut top, path, 0, change)?;
        self.fields = top.fields;
        Ok(())
    }

    fn enter(
        &mut self,
        level: &mut Level,
        path: &[String],
        depth: usize,
        change: impl FnOnce(&mut Self, &mut Level) -> Result<()>,
    ) -> Result<()> {
        let Some(name) = path.get(depth) else {
            return change(self, level);
        };
        let column = || shown(&path[..=depth]);
        let field = level.fields.iter_mut().find(|field| field.name == *name);
        let field = field.ok_or_else(|| self.missing(&column()))?;
        if level.of == LevelOf::Map && name == "key" {
            return Err(keys_stay(&column()));
        }
        let inside = Level::inside(field).ok_or_else(|| {
            CatalogError::invalid(format!(
                "column \"{}\" has nothing inside: it is {}",
                column(),
                field.field_type
            ))
        });
        let mut inside = inside?;
        self.enter(&mut inside, path, depth + 1, change)?;
        let ty = inside.into_type();
        *field.field_type = ty.ok_or_else(|| CatalogError::internal("a type lost its parts"))?;
        Ok(())
    }

    /// Changes one column.
    fn at(
        &mut self,
        path: &[String],
        change: impl FnOnce(&mut Self, &mut Level, usize) -> Result<()>,
    ) -> Result<()> {
        let Some((name, parent)) = path.split_last() else {
            return Err(CatalogError::invalid("a column name must not be empty"));
        };
        self.within(parent, |edit, level| {
            let at = level.fields.iter().position(|field| field.name == *name);
            let at = at.ok_or_else(|| edit.missing(&shown(path)))?;
            if level.of == LevelOf::Map && name == "key" {
                return Err(keys_stay(&shown(path)));
            }
            change(edit, level, at)
        })
    }

    fn apply(&mut self, change: &SchemaChange) -> Result<()> {
        match change {
            SchemaChange::Add { parent, field } => self.add(parent, field),
            SchemaChange::Drop(column) => self.drop(column),
            SchemaChange::Rename { column, to } => self.rename(column, to),
            SchemaChange::Type { column, to } => self.widen(column, to),
            SchemaChange::Required { column, required } => self.at(column, |edit, level, at| {
                if !required && edit.keys.contains(&level.fields[at].id) {
                    return Err(CatalogError::invalid(format!(
                        "column \"{}\" is in the primary key",
                        shown(column)
                    )));
                }
                level.fields[at].required = *required;
                Ok(())
            }),
            SchemaChange::Comment { column, text } => self.at(column, |_, level, at| {
                level.fields[at].doc.clone_from(text);
                Ok(())
            }),
        }
    }

    /// Refuses a name that `level` has already, and any of an array's element or a map's value.
    fn free(&self, level: &Level, path: &[String], name: &str) -> Result<()> {
        if level.of != LevelOf::Struct {
            return Err(CatalogError::invalid(format!(
                "column \"{}\" is an array or a map, which has no other parts; name a struct inside, as in \"{}.{}.{name}\"",
                shown(path),
                shown(path),
                if level.of == LevelOf::List {
                    "element"
                } else {
                    "value"
                }
            )));
        }
        if level.fields.iter().any(|field| field.name == name) {
            let mut column = path.to_vec();
            column.push(name.to_owned());
            return Err(CatalogError::ColumnExists {
                table: self.head.ident().to_string(),
                column: shown(&column),
            });
        }
        Ok(())
    }

    /// The names that files have for what is in the column `parent`; nothing if the table has no name mapping.
    fn names_in(&mut self, parent: Option<i32>) -> Option<&mut Vec<MappedField>> {
        let mapping = self.mapping.as_mut()?;
        match parent {
            None => Some(&mut mapping.fields),
            Some(id) => mapped_by_id(&mut mapping.fields, id)
                .map(|field| field.fields.get_or_insert_default()),
        }
    }

    fn add(&mut self, parent: &[String], field: &Field) -> Result<()> {
        self.within(parent, |edit, level| {
            edit.free(level, parent, field.name())?;
            if !field.is_nullable() {
                if has_rows(edit.head) {
                    return Err(CatalogError::invalid(format!(
                        "column \"{}\" cannot be NOT NULL: the rows of table \"{}\" have no value for it",
                        field.name(),
                        edit.head.ident()
                    )));
                }
                edit.only_at_this_snapshot = true;
            }
            let version = edit.head.format_version();
            let new = schema::new_column(field, edit.next_id, version)?;
            edit.next_id = edit.next_id.max(highest_id(&new) + 1);
            if let Some(names) = edit.names_in(level.parent) {
                // A name that files have for another column stays that column's.
                let mut new = mapped(&new);
                let known = |name: &String| names.iter().any(|f| f.names.contains(name));
                new.names.retain(|name| !known(name));
                names.push(new);
            }
            level.fields.push(new);
            Ok(())
        })
    }

    fn drop(&mut self, column: &[String]) -> Result<()> {
        self.at(column, |edit, level, at| {
            let (table, name) = (edit.head.ident(), shown(column));
            let refused = |why: &str| {
                CatalogError::invalid(format!("column \"{name}\" cannot be dropped: {why}"))
            };
            if level.of != LevelOf::Struct {
                return Err(refused("an array or a map needs all its parts"));
            }
            let mut ids = HashSet::new();
            gather_ids(&level.fields[at], &mut ids);
            let metadata = edit.head.metadata();
            let spec = metadata.default_partition_spec();
            if spec
                .fields()
                .iter()
                .any(|field| ids.contains(&field.source_id))
            {
                return Err(refused(&format!("table \"{table}\" is partitioned by it")));
            }
            let order = metadata.default_sort_order();
            if order
                .fields
                .iter()
                .any(|field| ids.contains(&field.source_id))
            {
                return Err(refused(&format!("table \"{table}\" is sorted by it")));
            }
            if level.fields.len() == 1 {
                return Err(refused(&match column {
                    [_] => format!("it is the only one of table \"{table}\""),
                    _ => "it is the only one of its struct; drop that".to_owned(),
                }));
            }
            level.fields.remove(at);
            edit.keys.retain(|key| !ids.contains(key));
            Ok(())
        })
    }

    fn rename(&mut self, column: &[String], to: &str) -> Result<()> {
        self.at(column, |edit, level, at| {
            if level.fields[at].name == to {
                return Ok(());
            }
            if to.is_empty() {
                return Err(CatalogError::invalid("a column name must not be empty"));
            }
            edit.free(level, &column[..column.len() - 1], to)?;
            let id = level.fields[at].id;
            to.clone_into(&mut level.fields[at].name);
            if let Some(names) = edit.names_in(level.parent)
                && !names.iter().any(|f| f.names.iter().any(|name| name == to))
                && let Some(mapped) = names.iter_mut().find(|field| field.field_id == Some(id))
            {
                mapped.names.push(to.to_owned());
            }
            Ok(())
        })
    }

    fn widen(&mut self, column: &[String], to: &Field) -> Result<()> {
        self.at(column, |edit, level, at| {
            let version = edit.head.format_version();
            let wanted = schema::new_column(to, edit.next_id, version)?.field_type;
            let from = &level.fields[at].field_type;
            if *from == wanted {
                return Ok(());
            }
            if !is_promotion(from, &wanted, version) {
                let hint = if from.is_primitive() {
                    ""
                } else {
                    "; name the part that is to change, as in \"s.a\", \"l.element\" or \"m.value\""
                };
                return Err(CatalogError::unsupported(format!(
                    "changing column \"{}\" from {from} to {wanted} is not supported: int widens to \
                     bigint, real to double precision, numeric to more digits of the same scale{hint}",
                    shown(column)
                )));
            }
            level.fields[at].field_type = wanted;
            Ok(())
        })
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

fn keys_stay(column: &str) -> CatalogError {
    CatalogError::unsupported(format!(
        "column \"{column}\" cannot be changed: the keys of a map stay as they are"
    ))
}

/// The mapping of a column at any depth.
fn mapped_by_id(fields: &mut [MappedField], id: i32) -> Option<&mut MappedField> {
    for field in fields {
        if field.field_id == Some(id) {
            return Some(field);
        }
        let below = field.fields.as_deref_mut().unwrap_or_default();
        if let Some(found) = mapped_by_id(below, id) {
            return Some(found);
        }
    }
    None
}

/// The ids of a column and of all that is in it.
fn gather_ids(field: &ice::NestedField, ids: &mut HashSet<i32>) {
    ids.insert(field.id);
    if let Some(inside) = Level::inside(field) {
        for field in &inside.fields {
            gather_ids(field, ids);
        }
    }
}

/// Whether the current snapshot may have rows.
fn has_rows(table: &Table) -> bool {
    table.current_snapshot().is_some_and(|snapshot| {
        snapshot.summary.get("total-records").map(String::as_str) != Some("0")
    })
}

fn highest_id(field: &ice::NestedField) -> i32 {
    let mut ids = HashSet::new();
    gather_ids(field, &mut ids);
    ids.into_iter().max().unwrap_or(field.id)
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
