//! An Iceberg table, at one snapshot, as a DataFusion table.
//!
//! Plans: reads manifests, prunes, attaches statistics and deletes. Never opens a data file. Refuses to know names,
//! permissions and sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{ColumnStatistics, DFSchema, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion_datasource::PartitionedFile;
use object_store::ObjectMeta;
use object_store::path::Path;
use tarn_catalog::{
    CatalogError, DataFile, DeleteFile, DeleteIndex, DeleteKind, FileFormat, ManifestCache,
    ManifestInfo, Snapshot, SnapshotFiles, Stores, Table, snapshot_files,
};

use super::conform::{Evolution, FileConstants, field_id, split_nested_ids};
use super::deletes::{DeleteCache, DeleteSource, FileDeletes};
use super::equality::{EVERYWHERE, EqualityDeleteExec, EqualityDeletes};
use super::equality_plan::EqualityPlan;
use super::error::ScanError;
use super::layout::{Constant, Hidden, Layout, Wanted, hidden_columns};
use super::leaf::{IcebergScan, ScanFacts};
use super::placement::{SplitOffsets, balance};
use super::pruning::{FileStats, ManifestStats, Pruner, Source};
use super::reads::Reads;
use super::source::IcebergSource;
use super::stats::{add_distinct, column_bytes, file_statistics, sources, table_statistics};
use super::whole::{self, WholeFiles};

/// Unit in which Parquet's INT96 is read.
const INT96_UNIT: &str = "us";

/// A table at a snapshot.
#[derive(Debug, Clone)]
pub struct IcebergTableProvider {
    table: Table,
    snapshot: Option<Snapshot>,
    cache: ManifestCache,
    /// With field ids at every depth.
    schema: SchemaRef,
    /// As plans see it, without the ids of nested fields.
    planned: SchemaRef,
    nested_ids: Vec<(i32, Vec<i32>)>,
    /// Columns after the schema's that are there to be named, if they are.
    hidden: Vec<(Hidden, FieldRef)>,
    /// As plans see it, with the hidden columns.
    shown: SchemaRef,
    /// Deletes besides the snapshot's.
    #[cfg(test)]
    pub(crate) more_deletes: Vec<Arc<DeleteFile>>,
}

impl IcebergTableProvider {
    /// The table as it is now.
    pub fn new(table: Table, cache: ManifestCache) -> Self {
        let (snapshot, schema) = (table.current_snapshot(), table.arrow_schema());
        Self::of(table, snapshot, schema, cache)
    }

    /// The table at `snapshot`, with the schema that the snapshot was written with or with the table's own.
    pub fn at(table: Table, snapshot: Snapshot, own_schema: bool, cache: ManifestCache) -> Self {
        let schema = if own_schema {
            table.schema_of(&snapshot)
        } else {
            table.arrow_schema()
        };
        Self::of(table, Some(snapshot), schema, cache)
    }

    fn of(
        table: Table,
        snapshot: Option<Snapshot>,
        schema: SchemaRef,
        cache: ManifestCache,
    ) -> Self {
        let (planned, nested_ids) = split_nested_ids(&schema);
        let planned = Arc::new(planned);
        Self {
            table,
            snapshot,
            cache,
            schema,
            shown: Arc::clone(&planned),
            planned,
            nested_ids,
            hidden: Vec::new(),
            #[cfg(test)]
            more_deletes: Vec::new(),
        }
    }

    /// Where the table's metadata is, and the snapshot that is read: two with the same have the same rows.
    pub(crate) fn version(&self) -> (String, Option<i64>) {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.id);
        (self.table.metadata_location().to_owned(), snapshot)
    }

    /// The same table with the columns `_file`, `_pos`, `_partition`, `_spec_id` and, in format version 3, `_row_id` and
    /// `_last_updated_sequence_number` after its own. A column of its own by such a name takes its place.
    #[must_use]
    pub fn with_hidden_columns(self) -> Self {
        let hidden = hidden_columns(&self.table, &self.schema);
        let shown = with_hidden(&self.planned, &hidden);
        Self {
            hidden,
            shown,
            ..self
        }
    }

    /// The same table whose columns with time zone show `time_zone`, so that dates, hours and the like are those of that
    /// zone. The instants stay as they are.
    #[must_use]
    pub fn with_time_zone(self, time_zone: &str) -> Self {
        let fields = self.schema.fields().iter();
        let fields: Fields = fields.map(|field| in_zone(field, time_zone)).collect();
        let metadata = self.schema.metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let (planned, nested_ids) = split_nested_ids(&schema);
        let planned = Arc::new(planned);
        Self {
            schema,
            shown: with_hidden(&planned, &self.hidden),
            planned,
            nested_ids,
            ..self
        }
    }

    /// The table that is read.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The snapshot that is read. `None` for a table without one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    fn metadata(&self, source: CatalogError) -> ScanError {
        ScanError::Metadata {
            table: self.table.ident().to_string(),
            source,
        }
    }

    async fn live_files(
        &self,
        pruner: Option<&Pruner>,
    ) -> Result<Option<SnapshotFiles>, ScanError> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(None);
        };
        let keep = |manifest: &ManifestInfo| {
            let (Some(pruner), Some(spec)) =
                (pruner, self.table.spec_by_id(manifest.partition_spec_id))
            else {
                return true;
            };
            pruner.keep(&[ManifestStats { manifest, spec }]) != [false]
        };
        let files = snapshot_files(&self.table, snapshot, &self.cache, &keep).await;
        #[cfg(test)]
        let files = files.map(|mut files| {
            files.deletes.extend(self.more_deletes.iter().cloned());
            files
        });
        files.map(Some).map_err(|source| self.metadata(source))
    }

    fn evolution(&self) -> Result<Evolution, ScanError> {
        let mapping = self
            .table
            .name_mapping()
            .map_err(|source| self.metadata(source))?;
        Ok(Evolution {
            defaults: self.table.initial_defaults().into_iter().collect(),
            names: mapping.map(|mapping| mapping.paths()),
            nested: self.nested_ids.clone(),
            constants: FileConstants::default(),
        })
    }

    fn resolved(&self, path: &str) -> Result<Path, ScanError> {
        let resolved = self.table.stores().resolve(path);
        let (_, key) = resolved.map_err(|source| self.metadata(source))?;
        Ok(key)
    }

    /// The deletes of a data file, or why they cannot be applied.
    fn deletes(&self, file: &DataFile, found: Vec<Arc<DeleteFile>>) -> Result<Found, ScanError> {
        let mut deletes = Found::default();
        if found.is_empty() {
            return Ok(deletes);
        }
        let refuse = |what: &str| ScanError::Deletes {
            table: self.table.ident().to_string(),
            path: file.path.clone(),
            what: what.to_owned(),
        };
        let root = Stores::root_url(&file.path).map_err(|source| self.metadata(source))?;
        let mut files = Vec::with_capacity(found.len());
        for delete in found {
            let path = &delete.path;
            if Stores::root_url(path).map_err(|source| self.metadata(source))? != root {
                return Err(refuse(&format!("deletes in another store (\"{path}\")")));
            }
            let key = self.resolved(path)?.to_string();
            files.push(match (delete.kind, delete.format) {
                (DeleteKind::Position, FileFormat::Parquet) => DeleteSource::Positions {
                    key,
                    size: delete.size_bytes,
                    added_by: delete.snapshot_id,
                },
                (DeleteKind::DeletionVector, _) => {
                    let (Some(offset), Some(size)) = (
                        unsigned(delete.content_offset),
                        unsigned(delete.content_size),
                    ) else {
                        return Err(refuse("a deletion vector without offset and size"));
                    };
                    DeleteSource::Vector {
                        key,
                        offset,
                        size,
                        added_by: delete.snapshot_id,
                    }
                }
                (DeleteKind::Equality, _) => {
                    deletes.equality.push((delete, key));
                    continue;
                }
                (DeleteKind::Position, format) => {
                    return Err(refuse(&format!(
                        "position deletes in a {format:?} file (\"{path}\")"
                    )));
                }
            });
        }
        deletes.positions = (!files.is_empty()).then(|| FileDeletes {
            data_file: file.path.clone(),
            record_count: file.record_count,
            files,
        });
        Ok(deletes)
    }

    /// A data file as the reader wants it, and its equality deletes.
    fn partitioned(
        &self,
        stats: &FileStats<'_>,
        index: &DeleteIndex,
        sources: &[Option<Source>],
    ) -> Result<(PartitionedFile, KeyedDeletes), ScanError> {
        let file = stats.file;
        if file.format != FileFormat::Parquet {
            return Err(ScanError::NotParquet {
                table: self.table.ident().to_string(),
                path: file.path.clone(),
                format: format!("{:?}", file.format),
            });
        }
        let location = self.resolved(&file.path)?;
        let deletes = self.deletes(file, index.for_file(file))?;
        let some = deletes.positions.is_some() || !deletes.equality.is_empty();
        let statistics = file_statistics(stats, sources, some);
        let mut partitioned = PartitionedFile::new_from_meta(ObjectMeta {
            location,
            // Files never change, but another may be made at the same place once the table is gone: the snapshot that
            // added it tells caches which one it is. It travels to workers, and nobody takes it for a time.
            last_modified: DateTime::from_timestamp_nanos(file.snapshot_id),
            size: file.size_bytes,
            e_tag: None,
            version: None,
        })
        .with_statistics(Arc::new(statistics));
        if let Some(positions) = deletes.positions {
            partitioned = partitioned.with_extension(positions);
        }
        if let Some(constants) = stats.constants() {
            partitioned = partitioned.with_extension(constants);
        }
        if let Some(offsets) = SplitOffsets::new(&file.split_offsets, file.size_bytes) {
            partitioned = partitioned.with_extension(offsets);
        }
        Ok((partitioned, deletes.equality))
    }

    /// The files that are read, by root of their store. `limit`: rows that are enough, if any rows will do.
    fn choose(
        &self,
        live: &SnapshotFiles,
        pruner: Option<&Pruner>,
        whole: Option<&WholeFiles>,
        sources: &[Option<Source>],
        limit: Option<usize>,
    ) -> Result<Chosen> {
        let all: Vec<FileStats<'_>> = live
            .data
            .iter()
            .map(|file| FileStats {
                file,
                spec: self.table.spec_by_id(file.spec_id),
            })
            .collect();
        let mut keep = pruner.map_or_else(|| vec![true; all.len()], |pruner| pruner.keep(&all));
        if let Some(whole) = whole {
            let passed = whole.keep(&all)?;
            keep = keep.iter().zip(passed).map(|(a, b)| *a && b).collect();
        }
        let index = DeleteIndex::new(&live.deletes);
        let limit = limit
            .filter(|_| live.deletes.is_empty())
            .map(|limit| limit as u64);
        let mut chosen = Chosen::default();
        let mut rows = 0u64;
        for ((stats, keep), file) in all.iter().zip(keep).zip(&live.data) {
            if !keep || file.record_count == 0 || limit.is_some_and(|limit| rows >= limit) {
                continue;
            }
            rows = rows.saturating_add(file.record_count);
            let root = Stores::root_url(&file.path).map_err(|source| self.metadata(source))?;
            let (partitioned, equality) = self.partitioned(stats, &index, sources)?;
            let place = chosen.entry(root.to_string()).or_default();
            let (files, scope) = if equality.is_empty() {
                (&mut place.clean, EVERYWHERE)
            } else {
                let scope = place.equality.add(&self.table, file, &equality)?;
                (&mut place.dirty, scope)
            };
            files.data.push(Arc::clone(file));
            files.parts.push(partitioned);
            files.scopes.push(scope);
        }
        Ok(chosen)
    }

    /// The store's data, and what is left of it after equality deletes.
    fn read(
        &self,
        state: &dyn Session,
        request: &mut Request<'_>,
        root: &str,
        place: Place,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let wanted = self.wanted(request.projection);
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let dirty = !place.dirty.parts.is_empty();
        if !place.clean.parts.is_empty() || !dirty {
            let layout = Layout::new(&self.planned, &self.table, wanted.clone());
            plans.push(
                self.leaf(state, request, root, place.clean, &layout)?
                    .into_plan(),
            );
            request.told();
        }
        if dirty {
            let evolution = &request.evolution;
            let compared = place
                .equality
                .columns(&self.table, &self.planned, evolution)?;
            let kept = wanted.len();
            let mut columns = wanted;
            columns.extend(
                compared
                    .columns
                    .iter()
                    .map(|column| Wanted::Column(column.at)),
            );
            columns.push(Wanted::Constant(Constant::Sequence));
            columns.push(Wanted::Constant(Constant::Scope));
            let last = columns.len() - 1;
            let layout = Layout::new(&compared.schema, &self.table, columns);
            let mut evolution = Evolution::clone(&request.evolution);
            evolution.defaults.extend(compared.defaults.iter().cloned());
            let own = Request {
                // Some of the first rows may be deleted.
                limit: None,
                evolution: Arc::new(evolution.clone()),
                ..request.clone()
            };
            let leaf = self.leaf(state, &own, root, place.dirty, &layout)?;
            request.told();
            let deletes = EqualityDeletes {
                table: self.table.ident().to_string(),
                root: root.to_owned(),
                kept,
                sequence: last - 1,
                scope: last,
                sets: place.equality.sets(&compared, kept),
                evolution,
            };
            let node = EqualityDeleteExec::try_new(leaf.into_plan(), Arc::new(deletes))?;
            plans.push(Arc::new(node));
        }
        Ok(plans)
    }

    /// The columns of a projection over the schema that plans see.
    fn wanted(&self, projection: Option<&Vec<usize>>) -> Vec<Wanted> {
        let own = self.planned.fields().len();
        let column = |at: usize| match at.checked_sub(own) {
            Some(hidden) => self
                .hidden
                .get(hidden)
                .map(|(hidden, _)| Wanted::Hidden(*hidden)),
            None => Some(Wanted::Column(at)),
        };
        match projection {
            Some(projection) => projection.iter().filter_map(|at| column(*at)).collect(),
            None => (0..self.shown.fields().len()).filter_map(column).collect(),
        }
    }

    /// A scan of `files`, which are in one store.
    fn leaf(
        &self,
        state: &dyn Session,
        request: &Request<'_>,
        root: &str,
        mut files: Files,
        layout: &Layout,
    ) -> Result<IcebergScan> {
        let url = ObjectStoreUrl::parse(root)?;
        let runtime = state.runtime_env();
        let store = if let Ok(store) = runtime.object_store(&url) {
            store
        } else {
            let root = url.as_ref();
            let store = self.table.stores().store_for_root(root);
            let store = store.map_err(|source| self.metadata(source))?;
            runtime.register_object_store(root, Arc::clone(&store));
            store
        };
        let reads = Reads::new(state.config(), &url);
        let factory = reads.factory(store, runtime.cache_manager.get_file_metadata_cache());
        let mut global = state.config_options().execution.parquet.clone();
        // Old timestamps of Spark and Hive: in nanoseconds they would not reach the year 1 or 9999.
        let unit = || INT96_UNIT.to_owned();
        global.coerce_int96.get_or_insert_with(unit);
        let hint = global.metadata_size_hint;
        let options = TableParquetOptions {
            global,
            ..TableParquetOptions::default()
        };
        let schema = layout.table_schema()?;
        let columns = schema.table_schema().fields().len();
        let mut parquet = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(factory);
        if let Some(hint) = hint {
            parquet = parquet.with_metadata_size_hint(hint);
        }
        let parquet: Arc<dyn FileSource> = Arc::new(parquet);
        let projected = parquet.try_pushdown_projection(&layout.projection()?)?;
        let each = files.parts.iter_mut().zip(&files.data).zip(&files.scopes);
        for ((partitioned, file), scope) in each {
            let spec = self.table.spec_by_id(file.spec_id);
            partitioned.partition_values = layout.constants_of(file, spec, *scope, &self.table)?;
            if let Some(statistics) = &mut partitioned.statistics {
                pad(Arc::make_mut(statistics), columns);
            }
        }
        let source = IcebergSource::new(
            projected.unwrap_or(parquet),
            nan_columns(&files.data, &self.schema),
            Arc::clone(&request.evolution),
            DeleteCache::for_files(files.parts.iter(), reads),
        );
        let facts = ScanFacts {
            column_bytes: column_bytes(files.data.iter().map(Arc::as_ref), &self.schema),
            ..request.facts.clone()
        };
        let groups = balance(files.parts, state.config().target_partitions());
        let known = |groups: &[Vec<PartitionedFile>]| {
            let files = groups.iter().flatten();
            let each: Vec<&Statistics> = files
                .filter_map(|file| file.statistics.as_deref())
                .collect();
            table_statistics(&each, columns)
        };
        let mut statistics = known(&groups);
        if let Some(snapshot) = &self.snapshot {
            let counts = self.table.distinct_counts(snapshot.id);
            add_distinct(&mut statistics, &self.schema, &counts);
        }
        let groups = groups.into_iter().map(|files| {
            let statistics = known(std::slice::from_ref(&files));
            FileGroup::new(files).with_statistics(Arc::new(statistics))
        });
        let groups = groups.collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_limit(request.limit)
            .build();
        Ok(IcebergScan::new(
            config,
            Arc::new(facts),
            Arc::clone(&request.evolution),
        ))
    }
}

/// The deletes of one data file.
#[derive(Default)]
struct Found {
    positions: Option<FileDeletes>,
    equality: KeyedDeletes,
}

/// The files of one store.
#[derive(Debug, Default)]
struct Place {
    /// Those without equality deletes.
    clean: Files,
    dirty: Files,
    equality: EqualityPlan,
}

/// Equality delete files with their keys in the store.
type KeyedDeletes = Vec<(Arc<DeleteFile>, String)>;

/// Files of one leaf.
#[derive(Debug, Default)]
struct Files {
    data: Vec<Arc<DataFile>>,
    parts: Vec<PartitionedFile>,
    /// Numbers of the files' partitions.
    scopes: Vec<i32>,
}

type Chosen = BTreeMap<String, Place>;

/// What the leaves of one scan share.
#[derive(Clone)]
struct Request<'a> {
    projection: Option<&'a Vec<usize>>,
    limit: Option<usize>,
    facts: ScanFacts,
    evolution: Arc<Evolution>,
}

impl Request<'_> {
    /// What was pruned is told once, by the first leaf.
    fn told(&mut self) {
        let facts = &mut self.facts;
        (facts.files_total, facts.files_pruned) = (0, 0);
        (facts.manifests_total, facts.manifests_pruned) = (0, 0);
    }
}

#[async_trait]
impl TableProvider for IcebergTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.shown)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let decided = whole::decided(&self.table, &self.planned, filters);
        let decided = decided.into_iter().map(|decided| {
            if decided {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        });
        Ok(decided.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = conjunction(filters.iter().cloned());
        let pruner = match &filter {
            Some(filter) => {
                let schema = DFSchema::try_from(Arc::clone(&self.shown))?;
                let filter = state.create_physical_expr(filter.clone(), &schema)?;
                Pruner::new(filter, &self.shown)
            }
            None => None,
        };
        let filtered = filter
            .as_ref()
            .map(|filter| filter.column_refs())
            .unwrap_or_default();
        let wanted = |position: usize| {
            projection.is_none_or(|projection| projection.contains(&position))
                || filtered
                    .iter()
                    .any(|column| column.name() == self.schema.field(position).name())
        };
        let sources = sources(&self.schema, wanted);
        let enough = limit.filter(|_| filters.is_empty());
        let live = self.live_files(pruner.as_ref()).await?;
        let mut facts = ScanFacts {
            table: self.table.ident().to_string(),
            snapshot_id: self.snapshot.as_ref().map(|snapshot| snapshot.id),
            ..ScanFacts::default()
        };
        let mut chosen = Chosen::default();
        if let Some(live) = &live {
            let whole = WholeFiles::new(&self.table, &self.planned, filters, state)?;
            chosen = self.choose(live, pruner.as_ref(), whole.as_ref(), &sources, enough)?;
            let kept = |place: &Place| place.clean.parts.len() + place.dirty.parts.len();
            let kept = chosen.values().map(kept).sum::<usize>() as u64;
            facts.files_total = live.data.len() as u64;
            facts.files_pruned = facts.files_total - kept;
            facts.manifests_total = live.manifests_total as u64;
            facts.manifests_pruned = live.manifests_pruned as u64;
        }
        if chosen.is_empty() {
            let root =
                Stores::root_url(self.table.location()).map_err(|source| self.metadata(source))?;
            chosen.insert(root.to_string(), Place::default());
        }
        let evolution = Arc::new(self.evolution()?);
        let mut request = Request {
            projection,
            limit: enough,
            facts,
            evolution,
        };
        let mut leaves = Vec::with_capacity(chosen.len());
        for (root, place) in chosen {
            leaves.extend(self.read(state, &mut request, &root, place)?);
        }
        match <[_; 1]>::try_from(leaves) {
            Ok([leaf]) => Ok(leaf),
            Err(leaves) => UnionExec::try_new(leaves),
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        None
    }
}

fn with_hidden(planned: &SchemaRef, hidden: &[(Hidden, FieldRef)]) -> SchemaRef {
    let fields = planned.fields().iter();
    let fields = fields.chain(hidden.iter().map(|(_, field)| field));
    let fields: Fields = fields.cloned().collect();
    Arc::new(Schema::new_with_metadata(
        fields,
        planned.metadata().clone(),
    ))
}

/// Adds columns of which nothing is known.
fn pad(statistics: &mut Statistics, columns: usize) {
    let known = &mut statistics.column_statistics;
    known.resize_with(columns, ColumnStatistics::new_unknown);
}

/// The field with the zone of its timestamps changed, at every depth.
fn in_zone(field: &FieldRef, time_zone: &str) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some(time_zone.into())),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|child| in_zone(child, time_zone))
                .collect(),
        ),
        DataType::List(element) => DataType::List(in_zone(element, time_zone)),
        DataType::Map(entries, ordered) => DataType::Map(in_zone(entries, time_zone), *ordered),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(ty))
}

/// Floating-point columns in which some file is not known to be free of NaN.
fn nan_columns(files: &[Arc<DataFile>], schema: &SchemaRef) -> Vec<String> {
    let floating = schema
        .fields()
        .iter()
        .filter(|field| field.data_type().is_floating());
    floating
        .filter(|field| {
            let id = field_id(field);
            files
                .iter()
                .any(|file| id.and_then(|id| file.nan_counts.get(id)) != Some(&0))
        })
        .map(|field| field.name().clone())
        .collect()
}

fn unsigned(value: Option<i64>) -> Option<u64> {
    u64::try_from(value?).ok()
}
