//! How the files of a scan are read: through this process's cache of byte ranges, and counted for the scan.
//!
//! Footers are kept parsed in DataFusion's cache. When a reader went from one row group to the next, the one after is
//! fetched while the next is decoded. Knows files. Refuses to know tables and who reads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::parquet::metadata::{
    CachedParquetMetaData, DFParquetMetadata,
};
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricCategory, MetricType,
};
use datafusion_datasource::{FileRange, PartitionedFile};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use tarn_catalog::{CachedObject, ImmutableObject, RangeCache, ReadFrom, ReadObserver};

/// How the files of one store are read. The default reads them directly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    root: Arc<str>,
    ranges: Option<Arc<RangeCache>>,
}

/// Counts what a partition of a scan reads.
pub(crate) type Counted = Arc<dyn ReadObserver>;

impl Reads {
    /// Through the cache of the process that `config` belongs to, if that store is cached.
    pub(crate) fn new(config: &SessionConfig, url: &ObjectStoreUrl) -> Self {
        let ranges = config.get_extension::<RangeCache>();
        Self {
            root: Arc::from(url.as_str()),
            ranges: ranges.filter(|ranges| ranges.caches(url.as_str())),
        }
    }

    /// The metrics of a partition, if there is something to count.
    pub(crate) fn counted(
        &self,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Option<Counted> {
        self.ranges.is_some().then(|| {
            let counter = |name: &'static str| {
                MetricBuilder::new(metrics)
                    .with_type(MetricType::Summary)
                    .with_category(MetricCategory::Bytes)
                    .counter(name, partition)
            };
            Arc::new(Counters {
                memory: counter("cache_bytes_memory"),
                disk: counter("cache_bytes_disk"),
                store: counter("bytes_from_store"),
            }) as Counted
        })
    }

    fn cached(
        &self,
        store: &Arc<dyn ObjectStore>,
        file: ScanFile<'_>,
        counted: Option<&Counted>,
    ) -> Option<Arc<CachedObject>> {
        let (ranges, counted) = (self.ranges.as_ref()?, Arc::clone(counted?));
        let object = ImmutableObject {
            root: self.root.to_string(),
            path: file.path.clone(),
            size: file.size,
            added_by: file.added_by,
        };
        Some(ranges.over(Arc::clone(store), object, counted))
    }

    /// The store to read `file` from.
    pub(crate) fn over(
        &self,
        store: &Arc<dyn ObjectStore>,
        file: ScanFile<'_>,
        counted: Option<&Counted>,
    ) -> Arc<dyn ObjectStore> {
        match self.cached(store, file, counted) {
            Some(cached) => cached,
            None => Arc::clone(store),
        }
    }

    /// Makes readers of data files in `store`, whose footers are kept in `footers`.
    pub(crate) fn factory(
        &self,
        store: Arc<dyn ObjectStore>,
        footers: Arc<FileMetadataCache>,
    ) -> Arc<dyn ParquetFileReaderFactory> {
        Arc::new(CachedReaders {
            reads: self.clone(),
            store,
            footers,
        })
    }
}

/// A file of a scan: a data file or a delete file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanFile<'a> {
    /// Key in its store.
    pub(crate) path: &'a Path,
    /// Bytes.
    pub(crate) size: u64,
    /// The snapshot that added it.
    pub(crate) added_by: i64,
}

#[derive(Debug)]
struct Counters {
    memory: Count,
    disk: Count,
    store: Count,
}

impl ReadObserver for Counters {
    fn read(&self, from: ReadFrom, bytes: u64) {
        let counter = match from {
            ReadFrom::Memory => &self.memory,
            ReadFrom::Disk => &self.disk,
            ReadFrom::Store => &self.store,
        };
        counter.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

#[derive(Debug)]
struct CachedReaders {
    reads: Reads,
    store: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
}

impl ParquetFileReaderFactory for CachedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let counted = self.reads.counted(metrics, partition);
        let meta = &file.object_meta;
        let read = ScanFile {
            path: &meta.location,
            size: meta.size,
            // As planning has put it there.
            added_by: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
        };
        let cached = self.reads.cached(&self.store, read, counted.as_ref());
        let store: Arc<dyn ObjectStore> = match &cached {
            Some(cached) => Arc::clone(cached) as Arc<dyn ObjectStore>,
            None => Arc::clone(&self.store),
        };
        let part = |range: FileRange| range.start.unsigned_abs()..range.end.unsigned_abs();
        let (meta, range) = (meta.clone(), file.range.clone().map(part));
        let footers = Arc::clone(&self.footers);
        let plain = CachedParquetFileReaderFactory::new(Arc::clone(&store), Arc::clone(&footers));
        Ok(Box::new(ScanReader {
            inner: plain.create_reader(partition, file, hint, metrics)?,
            store,
            cached,
            meta,
            range,
            footers,
            previous: None,
        }))
    }
}

/// Reads a file, the next row group ahead, and a page index once.
struct ScanReader {
    inner: Box<dyn AsyncFileReader + Send>,
    store: Arc<dyn ObjectStore>,
    /// The store again, if it is read through the cache.
    cached: Option<Arc<CachedObject>>,
    meta: ObjectMeta,
    /// The part of the file whose row groups are read, if not all.
    range: Option<Range<u64>>,
    footers: Arc<FileMetadataCache>,
    /// The row group that was read last.
    previous: Option<usize>,
}

impl ScanReader {
    fn footer(&self) -> Option<Arc<ParquetMetaData>> {
        let known = self.footers.get(&self.meta.location)?;
        let known = known.is_valid_for(&self.meta).then_some(known)?;
        let parsed = known.file_metadata.as_any().downcast_ref();
        parsed.map(|parsed: &CachedParquetMetaData| Arc::clone(parsed.parquet_metadata()))
    }

    /// Begins to fetch the row group after the one that `ranges` are of, if the one before was read too.
    fn look_ahead(&mut self, ranges: &[Range<u64>]) {
        let (Some(cached), Some(first)) = (self.cached.clone(), ranges.first()) else {
            return;
        };
        let Some(footer) = self.footer() else {
            return;
        };
        let groups = footer.row_groups();
        let holds = |group: &RowGroupMetaData| {
            (0..group.num_columns()).any(|at| chunk(group, at).contains(&first.start))
        };
        let Some(current) = groups.iter().position(holds) else {
            return;
        };
        let before = self.previous.replace(current);
        if before.is_none_or(|before| before + 1 != current) {
            return;
        }
        let Some(next) = groups.get(current + 1).filter(|next| self.reads(next)) else {
            return;
        };
        // Of columns that are read in part it is not known which part will be next.
        let whole = |at: &usize| ranges.contains(&chunk(&groups[current], *at));
        let ahead: Vec<Range<u64>> = (0..next.num_columns())
            .filter(whole)
            .map(|at| chunk(next, at))
            .collect();
        cached.read_ahead(&ahead);
    }

    /// Whether `range` is the page index, and the footer that is kept is without it.
    fn is_page_index(&self, range: &Range<u64>) -> bool {
        let Some(footer) = self.footer() else {
            return false;
        };
        let within = |offset: Option<i64>| {
            offset.is_some_and(|offset| range.contains(&offset.unsigned_abs()))
        };
        let columns = || {
            footer
                .row_groups()
                .iter()
                .flat_map(RowGroupMetaData::columns)
        };
        footer.offset_index().is_none() && columns().any(|at| within(at.offset_index_offset()))
    }

    /// Whether a row group is in the part of the file that is read: its first byte decides.
    fn reads(&self, group: &RowGroupMetaData) -> bool {
        let range = self.range.as_ref();
        range.is_none_or(|range| range.contains(&chunk(group, 0).start))
    }
}

/// Puts the page index beside the footer once somebody found it useful: the next reader finds it there parsed.
async fn keep_page_index(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    footers: Arc<FileMetadataCache>,
) {
    let parsing = DFParquetMetadata::new(store.as_ref(), meta)
        .with_file_metadata_cache(Some(footers))
        .with_page_index_policy(Some(PageIndexPolicy::Optional));
    if let Err(error) = parsing.fetch_metadata().await {
        // The reader who asked for it meets the same error, and tells it.
        tracing::debug!(%error, "page index is not kept");
    }
}

/// The bytes of a column in a row group.
fn chunk(group: &RowGroupMetaData, column: usize) -> Range<u64> {
    let (start, length) = group.column(column).byte_range();
    start..start + length
}

impl AsyncFileReader for ScanReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let index = self.is_page_index(&range);
            let found = self.inner.get_bytes(range).await?;
            if index {
                let (store, meta) = (Arc::clone(&self.store), self.meta.clone());
                keep_page_index(&store, &meta, Arc::clone(&self.footers)).await;
            }
            Ok(found)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let found = self.inner.get_byte_ranges(ranges.clone()).await?;
            self.look_ahead(&ranges);
            Ok(found)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        self.inner.get_metadata(options)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::runtime_env::RuntimeEnv;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use tarn_catalog::RangeCacheConfig;

    use super::*;

    /// Rows of a row group: 3.2 MB, so that each has blocks of its own.
    const GROUP_ROWS: i64 = 400_000;

    async fn store_with_groups(groups: i64) -> (Arc<dyn ObjectStore>, PartitionedFile) {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        let rows = (0..groups * GROUP_ROWS).map(|n| n.wrapping_mul(0x1E37_79B9_7F4A_7C15));
        let column = Arc::new(Int64Array::from_iter_values(rows));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("it fits");
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(usize::try_from(GROUP_ROWS).ok())
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, schema, Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows are written");
        writer.close().expect("the file ends");
        let size = bytes.len() as u64;
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t/a.parquet");
        store.put(&path, bytes.into()).await.expect("it is put");
        (store, PartitionedFile::new(path.to_string(), size))
    }

    #[tokio::test]
    async fn who_goes_from_group_to_group_finds_the_next_one_fetched() {
        let (store, file) = store_with_groups(3).await;
        let all = file.object_meta.size.div_ceil(1 << 20);
        let ranges = RangeCache::new(&RangeCacheConfig {
            memory_bytes: 64 << 20,
            ..RangeCacheConfig::default()
        });
        let config = SessionConfig::new().with_extension(Arc::new(ranges.clone()));
        let url = ObjectStoreUrl::parse("s3://bucket").expect("a URL");
        let runtime = RuntimeEnv::default();
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let factory = Reads::new(&config, &url).factory(store, footers);
        let metrics = ExecutionPlanMetricsSet::new();
        let mut reader = factory
            .create_reader(0, file, None, &metrics)
            .expect("a reader");
        let footer = reader.get_metadata(None).await.expect("a footer");
        let groups: Vec<Range<u64>> = footer.row_groups().iter().map(|g| chunk(g, 0)).collect();
        assert_eq!(groups.len(), 3);
        for group in &groups[..2] {
            assert!(ranges.stats().misses < all);
            reader
                .get_byte_ranges(vec![group.clone()])
                .await
                .expect("bytes");
        }
        for _ in 0..5_000 {
            if ranges.stats().misses == all {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(ranges.stats().misses, all);
        let last = vec![groups[2].clone()];
        reader.get_byte_ranges(last).await.expect("bytes");
        assert_eq!(ranges.stats().misses, all);
        let read = metrics.clone_inner().sum_by_name("bytes_from_store");
        assert!(read.is_some_and(|bytes| bytes.as_usize() > 0));
    }
}
