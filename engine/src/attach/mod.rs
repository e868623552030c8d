//! Parquet files that lie where they are, as rows of an Iceberg table: `system.add_files`, `system.attach_parquet`.
//!
//! Only footers are read. Files without field ids are read by name, so the table gets a name mapping; because the files
//! are not the table's to delete, it gets `gc.enabled=false`. Everything of one call is in one snapshot.

mod footer;
mod partition;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use tarn_catalog::{
    ManifestCache, NAME_MAPPING_PROPERTY, NewDataFile, PartitionFieldDef, Table, TableCreation,
    Transform, append_unchanged, create_with_files, snapshot_files, update_properties,
};

use crate::engine::{Engine, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::files::hive::keys_of;
use crate::files::listing::{self, Found, Listing};
use crate::files::plain;
use crate::files::schema::{Rules, loosened};
use crate::parser::Name;
use crate::resolve::FullName;
use crate::scan::field_id;
use crate::session::Session;
use crate::writes::{already_exists, summary};
use footer::Footer;

/// Footers read at once.
const FOOTERS_AT_ONCE: usize = 32;
/// Table property that says that files are not the table's to delete.
const GC_PROPERTY: &str = "gc.enabled";

impl Engine {
    /// `CALL system.add_files('table', 'path')`: the Parquet files at `path` become files of the table.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] outside of the allowed roots; [`ErrorKind::InvalidParameter`], naming the file, if one does
    /// not fit the table or is in it already; nothing is added then.
    pub(crate) async fn add_files(
        &self,
        session: &Session,
        name: &Name,
        path: &str,
    ) -> Result<Added, EngineError> {
        let target = self.target(session, name, String::new()).await?;
        let listing = self.parquet_files(path).await?;
        refuse_own(&target.table, &listing)?;
        let footers = footers(&listing).await?;
        let known = known_files(&target.table, &self.config.cache).await?;
        let files = data_files(&target.table, &listing, &footers, &known)?;
        let added = Added::of(&files);
        let properties = missing_properties(&target.table, &footers)?;
        let mut table = target.table;
        if !properties.is_empty() {
            let catalog = target.catalog.as_ref();
            let before = table.current_snapshot();
            table = update_properties(catalog, &table, properties, vec![]).await?;
            if table.current_snapshot() != before {
                return Err(EngineError::new(
                    ErrorKind::Conflict,
                    format!("table \"{}\" was changed at the same time", table.ident()),
                )
                .with_hint("call it again"));
            }
        }
        let summary = summary(&StatementContext::unobserved());
        append_unchanged(target.catalog.as_ref(), &table, files, summary).await?;
        Ok(added)
    }

    /// `CALL system.attach_parquet('table', 'path')`: makes a table of the Parquet files at `path`.
    ///
    /// # Errors
    /// As [`Self::add_files`]; [`ErrorKind::DuplicateTable`] if the name is taken.
    pub(crate) async fn attach_parquet(
        &self,
        session: &Session,
        name: &Name,
        path: &str,
    ) -> Result<Added, EngineError> {
        let (catalog, ident) = self.new_name(session, name, false).await?;
        if let Some(kind) = catalog.find(&ident).await? {
            let name = FullName {
                catalog: catalog.name().to_owned(),
                schema: ident.namespace.to_string(),
                table: ident.name.clone(),
            };
            return Err(already_exists(&name, kind));
        }
        let listing = self.parquet_files(path).await?;
        let footers = footers(&listing).await?;
        let partitions = partition::columns(&listing)?;
        let schema = table_schema(&listing, &footers, &partitions)?;
        let mut creation = TableCreation {
            ident,
            schema: Arc::new(schema),
            partition: partitions.iter().map(|field| identity(field)).collect(),
            location: None,
            properties: HashMap::from([(GC_PROPERTY.to_owned(), "false".to_owned())]),
            primary_key: vec![],
            sort: vec![],
        };
        // Only the staged table tells the ids that the mapping maps to.
        let first = catalog.stage_table(creation.clone()).await?;
        let mapping = mapping_text(first.table())?;
        creation
            .properties
            .insert(NAME_MAPPING_PROPERTY.to_owned(), mapping);
        let staged = catalog.stage_table(creation).await?;
        let files = data_files(staged.table(), &listing, &footers, &HashSet::new())?;
        let added = Added::of(&files);
        create_with_files(catalog.as_ref(), staged, files).await?;
        Ok(added)
    }

    async fn parquet_files(&self, path: &str) -> Result<Listing, EngineError> {
        let endings = [".parquet", ".parq", ".pq"];
        let paths = [path.to_owned()];
        let config = &self.config;
        listing::list(&paths, &endings, &config.roots, &config.stores).await
    }
}

fn identity(field: &Field) -> PartitionFieldDef {
    PartitionFieldDef {
        column: field.name().clone(),
        transform: Transform::Identity,
        name: None,
    }
}

/// Files that the table wrote itself are in it already, or were deleted from it.
fn refuse_own(table: &Table, listing: &Listing) -> Result<(), EngineError> {
    let own = plain(&table.data_location());
    match listing
        .files
        .iter()
        .find(|file| crate::files::is_below(&file.name, &own))
    {
        Some(file) => Err(EngineError::new(
            ErrorKind::InvalidParameter,
            format!("\"{}\" is in the table's own folder", file.name),
        )
        .with_hint("name a folder that no table writes to")),
        None => Ok(()),
    }
}

async fn footers(listing: &Listing) -> Result<Vec<Footer>, EngineError> {
    let store: &Arc<dyn ObjectStore> = &listing.store;
    let reads: Vec<_> = listing
        .files
        .iter()
        .map(|file| Box::pin(footer::read(file, store)))
        .collect();
    let reads = stream::iter(reads).buffered(FOOTERS_AT_ONCE);
    reads.try_collect().await
}

/// Locations of the files in the table, without their schemes.
async fn known_files(table: &Table, cache: &ManifestCache) -> Result<HashSet<String>, EngineError> {
    let Some(snapshot) = table.current_snapshot() else {
        return Ok(HashSet::new());
    };
    let live = snapshot_files(table, &snapshot, cache, &|_| true).await?;
    Ok(live.data.iter().map(|file| plain(&file.path)).collect())
}

fn data_files(
    table: &Table,
    listing: &Listing,
    footers: &[Footer],
    known: &HashSet<String>,
) -> Result<Vec<NewDataFile>, EngineError> {
    let schema = table.arrow_schema();
    let mapping = match table.name_mapping()? {
        Some(mapping) => mapping,
        None => table.mapping_by_names(),
    };
    let names = mapping.paths();
    let mut seen = HashSet::new();
    let mut files = vec![];
    for (found, footer) in listing.files.iter().zip(footers) {
        if known.contains(&found.name) || !seen.insert(found.name.as_str()) {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!(
                    "\"{}\" is in table \"{}\" already",
                    found.name,
                    table.ident()
                ),
            )
            .with_hint("its rows would be there twice; name only files that are new"));
        }
        let keys = keys_of(&found.name);
        let partitioned = table.partition_spec();
        let from_folders: HashSet<&str> = partitioned
            .fields
            .iter()
            .filter(|field| field.transform == Transform::Identity)
            .filter_map(|field| field.source_column.as_deref())
            .filter(|name| keys.iter().any(|(key, _)| key == name))
            .collect();
        let columns = footer.fitted(found, &schema, &names, &from_folders)?;
        let metrics = footer.metrics(&columns)?;
        refuse_nulls(found, &schema, &metrics.null_counts)?;
        let partition = partition::values(found, table, &keys, &metrics)?;
        files.push(NewDataFile {
            path: location(found),
            size_bytes: found.meta.size,
            record_count: metrics.rows,
            spec_id: partitioned.id,
            partition,
            column_sizes: metrics.column_sizes,
            value_counts: metrics.value_counts,
            null_counts: metrics.null_counts,
            nan_counts: HashMap::new(),
            lower_bounds: metrics.lower_bounds,
            upper_bounds: metrics.upper_bounds,
            split_offsets: metrics.split_offsets,
            sort_order_id: None,
        });
    }
    Ok(files)
}

/// Refuses a file that has NULLs in a required column.
fn refuse_nulls(
    found: &Found,
    schema: &Schema,
    nulls: &HashMap<i32, u64>,
) -> Result<(), EngineError> {
    let broken = schema.fields().iter().find(|field| {
        let counted = field_id(field).and_then(|id| nulls.get(&id));
        !field.is_nullable() && counted.is_some_and(|count| *count > 0)
    });
    match broken {
        None => Ok(()),
        Some(field) => Err(EngineError::new(
            ErrorKind::NotNull,
            format!(
                "\"{}\" does not fit the table: its column \"{}\" has NULLs, which the table's may not have",
                found.name,
                field.name()
            ),
        )),
    }
}

/// A file's location as metadata has it.
fn location(found: &Found) -> String {
    if found.name.starts_with('/') {
        format!("file://{}", found.name)
    } else {
        found.name.clone()
    }
}

/// The columns of a table of these files: theirs, then those of folders.
fn table_schema(
    listing: &Listing,
    footers: &[Footer],
    partitions: &[FieldRef],
) -> Result<Schema, EngineError> {
    let rules = Rules {
        first: listing.files[0].name.clone(),
        folders: partitions.iter().map(|f| f.name().clone()).collect(),
        ..Rules::default()
    };
    let first = loosened(&footers[0].schema);
    let own: Vec<FieldRef> = first
        .fields()
        .iter()
        .filter(|field| !rules.folders.contains(field.name()))
        .cloned()
        .collect();
    let wanted = Schema::new(own.clone());
    for (found, footer) in listing.files.iter().zip(footers) {
        // What the rules hint at is for file functions.
        rules.check(&found.name, &wanted, &footer.schema).map_err(|error| {
            error.with_hint(
                "attach files of the same columns; add others with ALTER TABLE … ADD COLUMN and CALL system.add_files, or copy all rows with CREATE TABLE … AS SELECT * FROM read_parquet('…', union_by_name => true)",
            )
        })?;
    }
    let fields: Vec<Field> = own
        .iter()
        .chain(partitions)
        .map(|field| Field::new(field.name(), plain_type(field.data_type()), true))
        .collect();
    Ok(Schema::new(fields))
}

/// A type without what the file says of fields within it.
fn plain_type(ty: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        let ty = plain_type(field.data_type());
        Arc::new(Field::new(field.name(), ty, field.is_nullable()))
    };
    match ty {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

/// The properties that a table with such files needs and does not have.
fn missing_properties(
    table: &Table,
    footers: &[Footer],
) -> Result<HashMap<String, String>, EngineError> {
    let mut out = HashMap::new();
    let set = |name: &str| table.properties().get(name);
    if set(GC_PROPERTY).is_none_or(|value| !value.trim().eq_ignore_ascii_case("false")) {
        out.insert(GC_PROPERTY.to_owned(), "false".to_owned());
    }
    let by_name = footers.iter().any(|footer| !footer.has_ids);
    if by_name && set(NAME_MAPPING_PROPERTY).is_none() {
        out.insert(NAME_MAPPING_PROPERTY.to_owned(), mapping_text(table)?);
    }
    Ok(out)
}

fn mapping_text(table: &Table) -> Result<String, EngineError> {
    serde_json::to_string(&table.mapping_by_names())
        .map_err(|error| EngineError::internal(error.to_string()))
}

/// What was added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    files: usize,
    rows: u64,
}

impl Added {
    fn of(files: &[NewDataFile]) -> Self {
        Self {
            files: files.len(),
            rows: files.iter().map(|file| file.record_count).sum(),
        }
    }

    /// Files and rows, as a call answers.
    pub(crate) fn counts(self) -> Vec<Option<i64>> {
        vec![
            i64::try_from(self.files).ok(),
            i64::try_from(self.rows).ok(),
        ]
    }
}
