//! Which equality deletes a scan has to apply, gathered file by file.
//!
//! Knows delete files and their scopes. Refuses to read them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tarn_catalog::{DataFile, DeleteFile, FileFormat, Literal, Table};

use super::conform::{self, Evolution, field_id};
use super::equality::{ComparedColumn, EVERYWHERE, EqualityFile, EqualitySet};
use super::error::ScanError;
use super::layout::with_id;

/// The equality deletes that apply to the files of one scan.
#[derive(Debug, Default)]
pub(crate) struct EqualityPlan {
    /// Delete files by the ids of the columns that they compare, in ascending order.
    sets: BTreeMap<Vec<i32>, Vec<EqualityFile>>,
    /// Numbers of partitions, from 1 up.
    scopes: HashMap<(i32, Vec<Option<Literal>>), i32>,
    known: HashSet<String>,
}

impl EqualityPlan {
    /// Adds `deletes`, which apply to `file`, with their keys in the file's store; gives the number of the file's
    /// partition.
    ///
    /// # Errors
    /// [`ScanError::Deletes`] for a delete file in another format than Parquet or without columns to compare.
    pub(crate) fn add(
        &mut self,
        table: &Table,
        file: &DataFile,
        deletes: &[(Arc<DeleteFile>, String)],
    ) -> Result<i32, ScanError> {
        let next = i32::try_from(self.scopes.len() + 1).unwrap_or(i32::MAX);
        let own = *self
            .scopes
            .entry((file.spec_id, file.partition.clone()))
            .or_insert(next);
        for (delete, key) in deletes {
            if self.known.contains(&delete.path) {
                continue;
            }
            let refuse = |what: String| ScanError::Deletes {
                table: table.ident().to_string(),
                path: file.path.clone(),
                what,
            };
            if delete.format != FileFormat::Parquet {
                let (format, path) = (delete.format, &delete.path);
                return Err(refuse(format!(
                    "equality deletes in a {format:?} file (\"{path}\")"
                )));
            }
            if delete.equality_ids.is_empty() {
                let path = &delete.path;
                return Err(refuse(format!(
                    "equality deletes that compare no column (\"{path}\")"
                )));
            }
            let mut ids = delete.equality_ids.clone();
            ids.sort_unstable();
            ids.dedup();
            self.known.insert(delete.path.clone());
            self.sets.entry(ids).or_default().push(EqualityFile {
                key: key.clone(),
                size: delete.size_bytes,
                added_by: delete.snapshot_id,
                sequence: delete.sequence_number,
                scope: if delete.partition.is_empty() {
                    EVERYWHERE
                } else {
                    own
                },
            });
        }
        Ok(own)
    }

    /// The columns that deletes compare, each once.
    ///
    /// A column that was dropped since is added to `schema` under a name that nobody uses.
    ///
    /// # Errors
    /// [`ScanError::EqualityColumn`] for one that the table does not have outside of lists and maps.
    pub(crate) fn columns(
        &self,
        table: &Table,
        schema: &SchemaRef,
        evolution: &Evolution,
    ) -> Result<Compared, ScanError> {
        let mut fields = schema.fields().to_vec();
        let mut compared = Compared {
            schema: Arc::clone(schema),
            columns: Vec::new(),
            ids: Vec::new(),
            defaults: Vec::new(),
        };
        for id in self.sets.keys().flatten() {
            if compared.ids.contains(id) {
                continue;
            }
            let found = fields.iter().enumerate().find_map(|(at, field)| {
                let field = conform::with_nested_ids(field, evolution);
                Some(ComparedColumn {
                    at,
                    path: path_to(&field, *id)?,
                })
            });
            let column = if let Some(found) = found {
                found
            } else {
                let dropped = table
                    .column_by_id(*id)
                    .ok_or_else(|| ScanError::EqualityColumn {
                        table: table.ident().to_string(),
                        id: *id,
                    })?;
                let name = format!("$tarn.column_{id}");
                let field = with_id(&name, dropped.field.data_type().clone(), *id);
                fields.push(Arc::new(field));
                let default = dropped.initial_default;
                compared.defaults.extend(default.map(|value| (*id, value)));
                ComparedColumn {
                    at: fields.len() - 1,
                    path: Vec::new(),
                }
            };
            compared.columns.push(column);
            compared.ids.push(*id);
        }
        let metadata = schema.metadata().clone();
        compared.schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(compared)
    }

    /// The sets, if the compared columns of `compared` stand in its order from place `first` on.
    pub(crate) fn sets(self, compared: &Compared, first: usize) -> Vec<EqualitySet> {
        let column = |id: &i32| {
            let place = compared.ids.iter().position(|other| other == id);
            let place = place.unwrap_or(0);
            ComparedColumn {
                at: first + place,
                path: compared.columns[place].path.clone(),
            }
        };
        let sets = self.sets.into_iter().map(|(ids, files)| EqualitySet {
            columns: ids.iter().map(column).collect(),
            files,
        });
        sets.collect()
    }
}

/// The way through structs from `field` to the one with `id`.
fn path_to(field: &Field, id: i32) -> Option<Vec<usize>> {
    if field_id(field) == Some(id) {
        return Some(Vec::new());
    }
    let DataType::Struct(fields) = field.data_type() else {
        return None;
    };
    fields.iter().enumerate().find_map(|(at, field)| {
        let mut path = path_to(field, id)?;
        path.insert(0, at);
        Some(path)
    })
}

/// Columns that deletes compare, as files are read.
pub(crate) struct Compared {
    /// The schema with columns that are read for the deletes only.
    pub(crate) schema: SchemaRef,
    /// The compared columns in it.
    pub(crate) columns: Vec<ComparedColumn>,
    /// Their ids.
    pub(crate) ids: Vec<i32>,
    /// Initial defaults of dropped columns.
    pub(crate) defaults: Vec<(i32, Literal)>,
}
