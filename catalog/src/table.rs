//! One version of one table, as its metadata file describes it. Immutable.
//!
//! Everything a planner asks without opening another file: schema, specs, snapshots, properties.
//! Reading manifests is in [`manifest`](crate::manifest), writing in [`commit`](crate::commit).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use iceberg::spec as ice;
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};
use crate::foreign::Foreign;
use crate::ident::TableIdent;
use crate::literal::Literal;
use crate::schema;
use crate::sorting::{self, SortOrder};
use crate::storage::Stores;
use crate::transform::{Transform, hash_bytes};

/// Table property that holds the comment.
pub const COMMENT_PROPERTY: &str = "comment";
/// Puffin blob that holds how many different values a column has.
const THETA_SKETCH: &str = "apache-datasketches-theta-v1";
/// Snapshots back that statistics are looked for: older ones tell little.
const STATISTICS_AGE_MAX: u32 = 100;
/// The branch that reads and writes use unless told otherwise.
pub const MAIN_BRANCH: &str = ice::MAIN_BRANCH;

/// One version of a table. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    ident: TableIdent,
    metadata_location: String,
    loaded: Arc<LoadedMetadata>,
    stores: Stores,
}

/// A parsed metadata file with what is derived from it, shared through the cache.
pub(crate) struct LoadedMetadata {
    pub(crate) metadata: ice::TableMetadataRef,
    arrow_schema: SchemaRef,
    specs: HashMap<i32, BoundSpec>,
    /// Types of all primitive columns that the table has or had, by field id.
    types: HashMap<i32, ice::PrimitiveType>,
    refs: OnceLock<HashMap<String, ice::SnapshotReference>>,
    /// What the iceberg crate does not know of it.
    foreign: Option<Foreign>,
}

/// A partition spec with the Iceberg types of its fields, where they are known.
pub(crate) struct BoundSpec {
    pub(crate) spec: PartitionSpec,
    pub(crate) types: Vec<Option<ice::PrimitiveType>>,
}

/// How the files of a table are partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Id of this spec in the table.
    pub id: i32,
    /// Its fields in order; none for an unpartitioned table.
    pub fields: Vec<PartitionField>,
}

/// One field of a partition spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionField {
    /// Field id of the source column.
    pub source_id: i32,
    /// Id of the partition field itself, 1000 and up.
    pub field_id: i32,
    /// Its name.
    pub name: String,
    /// How it is made from the source column.
    pub transform: Transform,
    /// The source column's name in the current schema; `None` if it was dropped.
    pub source_column: Option<String>,
    /// Arrow type of the partition value.
    pub result_type: DataType,
}

/// One snapshot of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: i64,
    /// The snapshot it was made from.
    pub parent_id: Option<i64>,
    /// Its place in the order of changes; 0 in format version 1.
    pub sequence_number: i64,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Location of its manifest list.
    pub manifest_list: String,
    /// `append`, `overwrite`, `delete` or `replace`.
    pub operation: String,
    /// Counts and whatever the writer noted.
    pub summary: HashMap<String, String>,
    /// Schema that was current when it was made.
    pub schema_id: Option<i32>,
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRef {
    /// Its name.
    pub name: String,
    /// The snapshot it points to.
    pub snapshot_id: i64,
    /// Whether writes can move it.
    pub is_branch: bool,
    /// How long the reference is kept, in milliseconds, if it says so itself.
    pub max_ref_age_ms: Option<i64>,
    /// How many snapshots of a branch are kept at least, if it says so itself.
    pub min_snapshots_to_keep: Option<i32>,
    /// How long snapshots of a branch are kept, in milliseconds, if it says so itself.
    pub max_snapshot_age_ms: Option<i64>,
}

/// When something became current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<T> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What became current: the id of a snapshot, or the location of a metadata file.
    pub what: T,
}

impl PartitionField {
    /// Whether both tell the same thing in the partition of a table: by id, or by name, which a later spec may use again.
    fn is_same(&self, other: &Self) -> bool {
        self.field_id == other.field_id || self.name == other.name
    }
}

impl PartitionSpec {
    /// What `values`, in the order of [`Self::fields`], say of one of [`Table::partition_fields`].
    pub fn value_of<'a>(
        &self,
        field: &PartitionField,
        values: &'a [Option<Literal>],
    ) -> Option<&'a Literal> {
        let mut own = self.fields.iter().zip(values);
        own.find(|(known, _)| known.is_same(field))
            .and_then(|(_, value)| value.as_ref())
    }

    /// Whether the table has no partitions under this spec. Fields that are always NULL do not count.
    pub fn is_unpartitioned(&self) -> bool {
        self.fields
            .iter()
            .all(|field| field.transform == Transform::Void)
    }

    /// The directory of a partition, such as `day=2024-05-01/region=eu%2Fwest`; empty if unpartitioned.
    ///
    /// `values` are in the order of [`Self::fields`]. A segment too long for file systems ends in a hash of the whole:
    /// readers take the value from the manifest.
    pub fn path(&self, values: &[Option<Literal>]) -> String {
        self.fields
            .iter()
            .zip(values)
            .map(|(field, value)| {
                let value = field.transform.human(value.as_ref());
                let segment = format!("{}={}", url_encoded(&field.name), url_encoded(&value));
                shortened(segment)
            })
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// Most bytes of one segment of a partition path. File systems take 255, and some add a suffix.
const SEGMENT_BYTES_MAX: usize = 200;

/// A URL-encoded segment that is too long, cut between two characters, with a hash of all of it.
fn shortened(mut segment: String) -> String {
    if segment.len() <= SEGMENT_BYTES_MAX {
        return segment;
    }
    let hash = format!("-{:08x}", hash_bytes(segment.as_bytes()));
    let mut end = SEGMENT_BYTES_MAX - hash.len();
    // Never inside of `%HH`.
    if let Some(back) = segment.as_bytes()[end - 2..end]
        .iter()
        .rposition(|byte| *byte == b'%')
    {
        end = end - 2 + back;
    }
    segment.truncate(end);
    segment.push_str(&hash);
    segment
}

/// `name` as Avro allows it: letters, digits and `_`, not a digit first; anything else as `_xHH`.
///
/// Source: Java's `AvroSchemaUtil.sanitize`.
pub(crate) fn avro_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '_' => out.push(c),
            '0'..='9' => {
                if out.is_empty() {
                    out.push('_');
                }
                out.push(c);
            }
            other => {
                let mut units = [0; 2];
                let units = other.encode_utf16(&mut units).iter();
                out.extend(units.map(|unit| format!("_x{unit:X}")));
            }
        }
    }
    if out.is_empty() { "_".to_owned() } else { out }
}

/// Form encoding, as Java writes partition paths, with `%20` for a space.
fn url_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

impl LoadedMetadata {
    pub(crate) fn new(metadata: ice::TableMetadata) -> Self {
        Self::with_foreign(metadata, None)
    }

    pub(crate) fn with_foreign(metadata: ice::TableMetadata, foreign: Option<Foreign>) -> Self {
        let arrow_schema = schema::to_arrow(metadata.current_schema());
        let arrow_schema = foreign
            .as_ref()
            .map_or(Arc::clone(&arrow_schema), |foreign| {
                foreign.shown(&arrow_schema)
            });
        let specs = metadata
            .partition_specs_iter()
            .map(|spec| (spec.spec_id(), bind_spec(&metadata, spec)))
            .collect();
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| schema.schema_id());
        schemas.push(metadata.current_schema());
        let mut types = HashMap::new();
        let stands_in = |id: &i32| foreign.as_ref().is_some_and(|foreign| foreign.has(*id));
        for (id, field) in schemas
            .iter()
            .flat_map(|schema| schema.field_id_to_fields())
        {
            if let Some(ty) = field.field_type.as_primitive_type()
                && !stands_in(id)
            {
                types.insert(*id, ty.clone());
            }
        }
        Self {
            metadata: Arc::new(metadata),
            arrow_schema,
            specs,
            types,
            refs: OnceLock::new(),
            foreign,
        }
    }

    /// Memory this takes, roughly, for cache accounting.
    pub(crate) fn approximate_bytes(&self) -> usize {
        const BASE: usize = 4096;
        const PER_SNAPSHOT: usize = 1024;
        const PER_COLUMN: usize = 400;
        const PER_LOG_ENTRY: usize = 200;
        let columns: usize = self
            .metadata
            .schemas_iter()
            .map(|schema| schema.field_id_to_fields().len())
            .sum();
        BASE + columns * PER_COLUMN
            + self.metadata.snapshots().len() * PER_SNAPSHOT
            + (self.metadata.metadata_log().len() + self.metadata.history().len()) * PER_LOG_ENTRY
    }
}

fn bind_spec(metadata: &ice::TableMetadata, spec: &ice::PartitionSpec) -> BoundSpec {
    let mut types = Vec::new();
    let fields = spec
        .fields()
        .iter()
        .map(|field| {
            let transform = Transform::from_ice(field.transform);
            let result = source_type(metadata, field.source_id)
                .and_then(|source| field.transform.result_type(&source).ok());
            // Nobody knows what an unknown transform gives: the manifest tells.
            let known = result.as_ref().filter(|_| transform != Transform::Unknown);
            types.push(known.and_then(|ty| ty.as_primitive_type().cloned()));
            let result_type = match &result {
                Some(ty) => schema::type_to_arrow(ty),
                None => result_without_source(transform),
            };
            PartitionField {
                source_id: field.source_id,
                field_id: field.field_id,
                name: field.name.clone(),
                transform,
                source_column: metadata
                    .current_schema()
                    .name_by_field_id(field.source_id)
                    .map(str::to_owned),
                result_type,
            }
        })
        .collect();
    BoundSpec {
        spec: PartitionSpec {
            id: spec.spec_id(),
            fields,
        },
        types,
    }
}

/// Type of a column, now or, if it was dropped, in the newest schema that had it.
fn source_type(metadata: &ice::TableMetadata, id: i32) -> Option<ice::Type> {
    let of = |schema: &ice::SchemaRef| {
        schema
            .field_by_id(id)
            .map(|field| field.field_type.as_ref().clone())
    };
    of(metadata.current_schema()).or_else(|| {
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        schemas.into_iter().find_map(of)
    })
}

fn result_without_source(transform: Transform) -> DataType {
    match transform {
        Transform::Bucket(_) | Transform::Year | Transform::Month | Transform::Hour => {
            DataType::Int32
        }
        Transform::Day => DataType::Date32,
        Transform::Identity | Transform::Truncate(_) | Transform::Void | Transform::Unknown => {
            DataType::Utf8View
        }
    }
}

impl Table {
    pub(crate) fn new(
        ident: TableIdent,
        metadata_location: String,
        loaded: Arc<LoadedMetadata>,
        stores: Stores,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                ident,
                metadata_location,
                loaded,
                stores,
            }),
        }
    }

    pub(crate) fn metadata(&self) -> &ice::TableMetadataRef {
        &self.inner.loaded.metadata
    }

    pub(crate) fn bound_spec(&self, id: i32) -> Option<&BoundSpec> {
        self.inner.loaded.specs.get(&id)
    }

    /// Type of a primitive column at any depth: its current one, or its last one if it was dropped.
    pub(crate) fn primitive_type(&self, id: i32) -> Option<&ice::PrimitiveType> {
        self.inner.loaded.types.get(&id)
    }

    pub(crate) fn foreign(&self) -> Option<&Foreign> {
        self.inner.loaded.foreign.as_ref()
    }

    /// Name of the table.
    pub fn ident(&self) -> &TableIdent {
        &self.inner.ident
    }

    /// Where the metadata file of this version is; empty for a staged table.
    pub fn metadata_location(&self) -> &str {
        &self.inner.metadata_location
    }

    /// Root of the table's files, without a trailing slash.
    pub fn location(&self) -> &str {
        self.metadata().location()
    }

    /// The table's identity, which survives renaming.
    pub fn uuid(&self) -> uuid::Uuid {
        self.metadata().uuid()
    }

    /// 1, 2 or 3.
    pub fn format_version(&self) -> u8 {
        match self.metadata().format_version() {
            ice::FormatVersion::V1 => 1,
            ice::FormatVersion::V2 => 2,
            ice::FormatVersion::V3 => 3,
        }
    }

    /// Table properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.metadata().properties()
    }

    /// The table's comment.
    pub fn comment(&self) -> Option<&str> {
        self.properties().get(COMMENT_PROPERTY).map(String::as_str)
    }

    /// When this version was written, in milliseconds since 1970.
    pub fn last_updated_ms(&self) -> i64 {
        self.metadata().last_updated_ms()
    }

    /// The current schema. Fields carry their ids and comments in metadata, at every depth.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.loaded.arrow_schema)
    }

    /// Names of the columns that tell rows apart (primary key), in the order of the schema. Nobody checks
    /// that they do.
    pub fn identifier_columns(&self) -> Vec<String> {
        let schema = self.metadata().current_schema();
        let ids: Vec<i32> = schema.identifier_field_ids().collect();
        schema
            .as_struct()
            .fields()
            .iter()
            .filter(|field| ids.contains(&field.id))
            .map(|field| field.name.clone())
            .collect()
    }

    /// Id of the current schema.
    pub fn schema_id(&self) -> i32 {
        self.metadata().current_schema_id()
    }

    /// The schema that a snapshot was written with, or the current one if it does not say.
    pub fn schema_of(&self, snapshot: &Snapshot) -> SchemaRef {
        let written = snapshot.schema_id;
        let schema = written.and_then(|id| self.arrow_schema_by_id(id));
        schema.unwrap_or_else(|| self.arrow_schema())
    }

    /// An earlier schema, for reading an old snapshot.
    pub fn arrow_schema_by_id(&self, id: i32) -> Option<SchemaRef> {
        if id == self.schema_id() {
            return Some(self.arrow_schema());
        }
        let schema = schema::to_arrow(self.metadata().schema_by_id(id)?);
        Some(match self.foreign() {
            Some(foreign) => foreign.shown(&schema),
            None => schema,
        })
    }

    /// Initial defaults (format version 3) of the current schema's primitive columns, by field id:
    /// what a file written before the column existed holds.
    pub fn initial_defaults(&self) -> HashMap<i32, Literal> {
        schema::initial_defaults(self.metadata().current_schema())
    }

    /// The spec that new files are written with.
    pub fn partition_spec(&self) -> &PartitionSpec {
        static UNPARTITIONED: PartitionSpec = PartitionSpec {
            id: 0,
            fields: Vec::new(),
        };
        self.spec_by_id(self.metadata().default_partition_spec_id())
            .unwrap_or(&UNPARTITIONED)
    }

    /// The order that new files are sorted in; `None` for none.
    pub fn sort_order(&self) -> Option<SortOrder> {
        sorting::default_order(self.metadata())
    }

    /// The spec that some file was written with.
    pub fn spec_by_id(&self, id: i32) -> Option<&PartitionSpec> {
        self.bound_spec(id).map(|bound| &bound.spec)
    }

    /// All specs that files of the table may have been written with.
    pub fn specs(&self) -> impl Iterator<Item = &PartitionSpec> {
        self.inner.loaded.specs.values().map(|bound| &bound.spec)
    }

    /// About how many different values a column has, by field id, as the newest statistics file of `snapshot_id` or an
    /// earlier snapshot says.
    ///
    /// Source: Iceberg spec, "Table Statistics", and Puffin, `apache-datasketches-theta-v1`.
    pub fn distinct_counts(&self, snapshot_id: i64) -> HashMap<i32, u64> {
        let metadata = self.metadata();
        let mut next = Some(snapshot_id);
        for _ in 0..STATISTICS_AGE_MAX {
            let Some(id) = next else { break };
            let files = metadata.statistics_for_snapshot(id);
            let counts: HashMap<i32, u64> = files
                .iter()
                .flat_map(|file| &file.blob_metadata)
                .filter(|blob| blob.r#type == THETA_SKETCH)
                .filter_map(|blob| match &blob.fields[..] {
                    [field] => Some((*field, blob.properties.get("ndv")?.parse().ok()?)),
                    _ => None,
                })
                .collect();
            if !counts.is_empty() {
                return counts;
            }
            next = metadata
                .snapshot_by_id(id)
                .and_then(|snapshot| snapshot.parent_snapshot_id());
        }
        HashMap::new()
    }

    /// The snapshot that an unpinned read sees; `None` for a table never written.
    pub fn current_snapshot(&self) -> Option<Snapshot> {
        self.metadata().current_snapshot().map(|s| snapshot(s))
    }

    /// Whether the fields of a spec can be in a manifest's Avro schema as the iceberg crate makes it.
    ///
    /// # Errors
    /// [`CatalogError::Unsupported`] names the table and the field.
    pub(crate) fn check_partition_names(&self, spec_id: i32) -> Result<()> {
        let Some(spec) = self.spec_by_id(spec_id) else {
            return Ok(());
        };
        match spec.fields.iter().find(|f| avro_name(&f.name) != f.name) {
            None => Ok(()),
            Some(field) => Err(CatalogError::unsupported(format!(
                "table \"{}\": partition field \"{}\" has a name that is not supported (only letters, \
                 digits and \"_\" are, and no digit first); rename the field with another engine and \
                 rewrite the manifests, or copy the rows into a new table",
                self.ident(),
                field.name
            ))),
        }
    }

    /// A snapshot by id.
    pub fn snapshot_by_id(&self, id: i64) -> Option<Snapshot> {
        self.metadata().snapshot_by_id(id).map(|s| snapshot(s))
    }

    /// The snapshot that was current at a time, in milliseconds since 1970; `None` before the first.
    pub fn snapshot_as_of(&self, timestamp_ms: i64) -> Option<Snapshot> {
        self.metadata()
            .history()
            .iter()
            .rev()
            .find(|entry| entry.timestamp_ms() <= timestamp_ms)
            .and_then(|entry| self.snapshot_by_id(entry.snapshot_id))
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = self.metadata().snapshots().map(|s| snapshot(s)).collect();
        all.sort_by_key(|s| (s.sequence_number, s.timestamp_ms, s.id));
        all
    }

    /// The snapshots that were current, oldest first. A rolled back one stays in it.
    pub fn history(&self) -> Vec<LogEntry<i64>> {
        let log = self.metadata().history().iter();
        log.map(|entry| LogEntry {
            timestamp_ms: entry.timestamp_ms(),
            what: entry.snapshot_id,
        })
        .collect()
    }

    /// The metadata files that were current, oldest first; this one is the last.
    pub fn metadata_log(&self) -> Vec<LogEntry<String>> {
        let log = self.metadata().metadata_log().iter();
        let own = LogEntry {
            timestamp_ms: self.last_updated_ms(),
            what: self.metadata_location().to_owned(),
        };
        log.map(|entry| LogEntry {
            timestamp_ms: entry.timestamp_ms,
            what: entry.metadata_file.clone(),
        })
        .chain([own])
        .collect()
    }

    /// The current snapshot and those that it was made from, newest first, as far as they are kept.
    pub fn current_ancestors(&self) -> Vec<i64> {
        let mut ancestors = Vec::new();
        let mut next = self.metadata().current_snapshot_id();
        while let Some(id) = next {
            if ancestors.contains(&id) {
                break;
            }
            ancestors.push(id);
            let snapshot = self.metadata().snapshot_by_id(id);
            next = snapshot.and_then(|snapshot| snapshot.parent_snapshot_id());
        }
        ancestors
    }

    /// The fields of all partition specs, each once, by field id: what the partition of any file is told in.
    ///
    /// A field that was dropped in format version 1 is void in later specs; it is told as it was.
    ///
    /// Source: Java's `Partitioning.partitionType`.
    pub fn partition_fields(&self) -> Vec<&PartitionField> {
        let mut specs: Vec<_> = self.inner.loaded.specs.values().map(|s| &s.spec).collect();
        specs.sort_by_key(|spec| std::cmp::Reverse(spec.id));
        let mut fields: Vec<&PartitionField> = Vec::new();
        for field in specs.iter().flat_map(|spec| &spec.fields) {
            match fields.iter_mut().find(|known| known.is_same(field)) {
                None => fields.push(field),
                Some(known) if known.transform == Transform::Void => *known = field,
                Some(_) => {}
            }
        }
        fields.sort_by_key(|field| field.field_id);
        fields
    }

    /// All branches and tags, by name.
    pub fn refs(&self) -> Vec<TableRef> {
        let mut refs: Vec<_> = self
            .ice_refs()
            .iter()
            .map(|(name, reference)| {
                let (max_ref_age_ms, min_snapshots_to_keep, max_snapshot_age_ms) = match &reference
                    .retention
                {
                    ice::SnapshotRetention::Branch {
                        min_snapshots_to_keep,
                        max_snapshot_age_ms,
                        max_ref_age_ms,
                    } => (
                        *max_ref_age_ms,
                        *min_snapshots_to_keep,
                        *max_snapshot_age_ms,
                    ),
                    ice::SnapshotRetention::Tag { max_ref_age_ms } => (*max_ref_age_ms, None, None),
                };
                TableRef {
                    name: name.clone(),
                    snapshot_id: reference.snapshot_id,
                    is_branch: reference.is_branch(),
                    max_ref_age_ms,
                    min_snapshots_to_keep,
                    max_snapshot_age_ms,
                }
            })
            .collect();
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        refs
    }

    /// References with their retention. The iceberg crate only shows them in its JSON form.
    pub(crate) fn ice_refs(&self) -> &HashMap<String, ice::SnapshotReference> {
        self.inner.loaded.refs.get_or_init(|| {
            let mut refs: HashMap<_, _> = serde_json::to_value(self.metadata().as_ref())
                .ok()
                .and_then(|json| serde_json::from_value(json.get("refs")?.clone()).ok())
                .unwrap_or_default();
            // Format version 1 has no refs, only a current snapshot.
            if let Some(id) = self.metadata().current_snapshot_id() {
                refs.entry(MAIN_BRANCH.to_owned())
                    .or_insert_with(|| ice::SnapshotReference::new(id, default_retention()));
            }
            refs
        })
    }

    /// The stores this table's files are in.
    pub fn stores(&self) -> &Stores {
        &self.inner.stores
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("ident", &self.inner.ident)
            .field("metadata_location", &self.inner.metadata_location)
            .finish_non_exhaustive()
    }
}

/// A branch that keeps what the table's properties say.
pub(crate) fn default_retention() -> ice::SnapshotRetention {
    ice::SnapshotRetention::Branch {
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
        max_ref_age_ms: None,
    }
}

fn snapshot(snapshot: &ice::Snapshot) -> Snapshot {
    let summary = snapshot.summary();
    Snapshot {
        id: snapshot.snapshot_id(),
        parent_id: snapshot.parent_snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        timestamp_ms: snapshot.timestamp_ms(),
        manifest_list: snapshot.manifest_list().to_owned(),
        operation: summary.operation.as_str().to_owned(),
        summary: summary.additional_properties.clone(),
        schema_id: snapshot.schema_id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_path_is_encoded_as_java_does() {
        let field = |name: &str, transform, result_type| PartitionField {
            source_id: 1,
            field_id: 1000,
            name: name.to_owned(),
            transform,
            source_column: None,
            result_type,
        };
        let spec = PartitionSpec {
            id: 1,
            fields: vec![
                field("ts_month", Transform::Month, DataType::Int32),
                field("region", Transform::Identity, DataType::Utf8View),
                field("gone", Transform::Identity, DataType::Utf8View),
            ],
        };
        let values = [
            Some(Literal::Int(652)),
            Some(Literal::String("eu/we st=1".into())),
            None,
        ];
        assert_eq!(
            spec.path(&values),
            "ts_month=2024-05/region=eu%2Fwe%20st%3D1/gone=null"
        );
    }

    #[test]
    fn a_long_partition_value_makes_a_segment_that_file_systems_take() {
        let spec = PartitionSpec {
            id: 0,
            fields: vec![PartitionField {
                source_id: 1,
                field_id: 1000,
                name: "k".to_owned(),
                transform: Transform::Identity,
                source_column: None,
                result_type: DataType::Utf8View,
            }],
        };
        let path = |text: String| spec.path(&[Some(Literal::String(text))]);
        assert_eq!(path("x".repeat(198)), format!("k={}", "x".repeat(198)));
        for pad in 0..4 {
            let text = |end: &str| format!("{}{}{end}", "x".repeat(pad), "é".repeat(300));
            let long = path(text("a"));
            assert!(long.len() <= SEGMENT_BYTES_MAX, "{long}");
            assert_ne!(long, path(text("b")));
            let (kept, _) = long.rsplit_once('-').unwrap();
            let cut = kept.len() - kept.rfind('%').unwrap();
            assert_eq!(cut, 3, "{kept}");
        }
    }
}
