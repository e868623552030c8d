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
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion_datasource::PartitionedFile;
use object_store::ObjectMeta;
use tarn_catalog::{
    CatalogError, DataFile, DeleteFile, DeleteIndex, DeleteKind, FileFormat, ManifestCache,
    ManifestInfo, MappedField, Snapshot, SnapshotFiles, Stores, Table, snapshot_files,
};

use super::conform::{Evolution, field_id, split_nested_ids};
use super::deletes::{DeleteSource, FileDeletes};
use super::error::ScanError;
use super::leaf::{IcebergScan, ScanFacts};
use super::placement::balance;
use super::pruning::{FileStats, ManifestStats, Pruner, Source};
use super::source::IcebergSource;
use super::stats::{column_bytes, file_statistics, sources, table_statistics};

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
}

impl IcebergTableProvider {
    /// The table as it is now.
    pub fn new(table: Table, cache: ManifestCache) -> Self {
        let (snapshot, schema) = (table.current_snapshot(), table.arrow_schema());
        Self::of(table, snapshot, schema, cache)
    }

    /// The table at `snapshot`, with the schema that the snapshot was written with or with the table's own.
    pub fn at(table: Table, snapshot: Snapshot, own_schema: bool, cache: ManifestCache) -> Self {
        let written = snapshot.schema_id.filter(|_| own_schema);
        let schema = written.and_then(|id| table.arrow_schema_by_id(id));
        let schema = schema.unwrap_or_else(|| table.arrow_schema());
        Self::of(table, Some(snapshot), schema, cache)
    }

    fn of(
        table: Table,
        snapshot: Option<Snapshot>,
        schema: SchemaRef,
        cache: ManifestCache,
    ) -> Self {
        let (planned, nested_ids) = split_nested_ids(&schema);
        Self {
            table,
            snapshot,
            cache,
            schema,
            planned: Arc::new(planned),
            nested_ids,
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
        Self {
            schema,
            planned: Arc::new(planned),
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
        files.map(Some).map_err(|source| self.metadata(source))
    }

    fn evolution(&self) -> Result<Evolution, ScanError> {
        let mapping = self
            .table
            .name_mapping()
            .map_err(|source| self.metadata(source))?;
        Ok(Evolution {
            defaults: self.table.initial_defaults().into_iter().collect(),
            names: mapping.map(|mapping| {
                let mut names = Vec::new();
                flatten(&mapping.fields, &[], &mut names);
                names
            }),
            nested: self.nested_ids.clone(),
        })
    }

    /// The deletes of a data file, or why they cannot be applied.
    fn deletes(
        &self,
        file: &DataFile,
        found: &[Arc<DeleteFile>],
    ) -> Result<Option<FileDeletes>, ScanError> {
        if found.is_empty() {
            return Ok(None);
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
            let (_, key) = self
                .table
                .stores()
                .resolve(path)
                .map_err(|source| self.metadata(source))?;
            let key = key.to_string();
            files.push(match (delete.kind, delete.format) {
                (DeleteKind::Position, FileFormat::Parquet) => DeleteSource::Positions { key },
                (DeleteKind::DeletionVector, _) => {
                    let (Some(offset), Some(size)) = (
                        unsigned(delete.content_offset),
                        unsigned(delete.content_size),
                    ) else {
                        return Err(refuse("a deletion vector without offset and size"));
                    };
                    DeleteSource::Vector { key, offset, size }
                }
                (DeleteKind::Equality, _) => return Err(refuse("equality deletes")),
                (DeleteKind::Position, format) => {
                    return Err(refuse(&format!("position deletes in {format:?} files")));
                }
            });
        }
        let data_file = file.path.clone();
        Ok(Some(FileDeletes {
            data_file,
            record_count: file.record_count,
            files,
        }))
    }

    /// A data file as the reader wants it, with the root of its store.
    fn partitioned(
        &self,
        stats: &FileStats<'_>,
        index: &DeleteIndex,
        sources: &[Option<Source>],
    ) -> Result<(String, PartitionedFile), ScanError> {
        let file = stats.file;
        if file.format != FileFormat::Parquet {
            return Err(ScanError::NotParquet {
                table: self.table.ident().to_string(),
                path: file.path.clone(),
                format: format!("{:?}", file.format),
            });
        }
        let root = Stores::root_url(&file.path).map_err(|source| self.metadata(source))?;
        let (_, location) = self
            .table
            .stores()
            .resolve(&file.path)
            .map_err(|source| self.metadata(source))?;
        let deletes = self.deletes(file, &index.for_file(file))?;
        let statistics = file_statistics(stats, sources, deletes.is_some());
        let mut partitioned = PartitionedFile::new_from_meta(ObjectMeta {
            location,
            // Files never change; a constant lets footers be cached by path and size.
            last_modified: DateTime::UNIX_EPOCH,
            size: file.size_bytes,
            e_tag: None,
            version: None,
        })
        .with_statistics(Arc::new(statistics));
        if let Some(deletes) = deletes {
            partitioned = partitioned.with_extension(deletes);
        }
        Ok((root.to_string(), partitioned))
    }

    /// The files that are read, by root of their store. `limit`: rows that are enough, if any rows will do.
    fn choose(
        &self,
        live: &SnapshotFiles,
        pruner: Option<&Pruner>,
        sources: &[Option<Source>],
        limit: Option<usize>,
    ) -> Result<Chosen, ScanError> {
        let all: Vec<FileStats<'_>> = live
            .data
            .iter()
            .map(|file| FileStats {
                file,
                spec: self.table.spec_by_id(file.spec_id),
            })
            .collect();
        let keep = pruner.map_or_else(|| vec![true; all.len()], |pruner| pruner.keep(&all));
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
            let (root, partitioned) = self.partitioned(stats, &index, sources)?;
            let place = chosen.entry(root).or_default();
            place.data.push(Arc::clone(file));
            place.files.push(partitioned);
        }
        Ok(chosen)
    }

    /// One leaf per store. Nearly always there is one store.
    fn leaf(
        &self,
        state: &dyn Session,
        request: &Request<'_>,
        root: &str,
        place: Place,
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
        let factory = CachedParquetFileReaderFactory::new(
            store,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let global = state.config_options().execution.parquet.clone();
        let hint = global.metadata_size_hint;
        let options = TableParquetOptions {
            global,
            ..TableParquetOptions::default()
        };
        let mut parquet = ParquetSource::new(Arc::clone(&self.planned))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(factory));
        if let Some(hint) = hint {
            parquet = parquet.with_metadata_size_hint(hint);
        }
        let source = IcebergSource::new(Arc::new(parquet), nan_columns(&place.data, &self.schema));
        let facts = ScanFacts {
            column_bytes: column_bytes(place.data.iter().map(Arc::as_ref), &self.schema),
            ..request.facts.clone()
        };
        let columns = self.schema.fields().len();
        let groups = balance(place.files, state.config().target_partitions());
        let known = |groups: &[Vec<PartitionedFile>]| {
            let files = groups.iter().flatten();
            let each: Vec<&Statistics> = files
                .filter_map(|file| file.statistics.as_deref())
                .collect();
            table_statistics(&each, columns)
        };
        let statistics = known(&groups);
        let groups = groups.into_iter().map(|files| {
            let statistics = known(std::slice::from_ref(&files));
            FileGroup::new(files).with_statistics(Arc::new(statistics))
        });
        let groups = groups.collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_limit(request.limit)
            .with_projection_indices(request.projection.cloned())?
            .build();
        Ok(IcebergScan::new(
            config,
            Arc::new(facts),
            Arc::clone(&request.evolution),
        ))
    }
}

/// The files of one store.
#[derive(Debug, Default)]
struct Place {
    data: Vec<Arc<DataFile>>,
    files: Vec<PartitionedFile>,
}

type Chosen = BTreeMap<String, Place>;

/// What the leaves of one scan share.
struct Request<'a> {
    projection: Option<&'a Vec<usize>>,
    limit: Option<usize>,
    facts: ScanFacts,
    evolution: Arc<Evolution>,
}

#[async_trait]
impl TableProvider for IcebergTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.planned)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
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
                let schema = DFSchema::try_from(Arc::clone(&self.planned))?;
                let filter = state.create_physical_expr(filter.clone(), &schema)?;
                Pruner::new(filter, &self.planned)
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
            chosen = self.choose(live, pruner.as_ref(), &sources, enough)?;
            let kept: u64 = chosen.values().map(|place| place.files.len() as u64).sum();
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
            leaves.push(self.leaf(state, &request, &root, place)?.into_plan());
            // What was pruned is told once.
            (request.facts.files_total, request.facts.files_pruned) = (0, 0);
            (
                request.facts.manifests_total,
                request.facts.manifests_pruned,
            ) = (0, 0);
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

fn flatten(fields: &[MappedField], path: &[String], names: &mut Vec<(Vec<String>, i32)>) {
    for field in fields {
        for name in &field.names {
            let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
            if let Some(children) = &field.fields {
                flatten(children, &path, names);
            }
            if let Some(id) = field.field_id {
                names.push((path, id));
            }
        }
    }
}

fn unsigned(value: Option<i64>) -> Option<u64> {
    u64::try_from(value?).ok()
}
