//! The process-wide cache of metadata objects: table metadata, manifest lists and manifests.
//!
//! All of them are immutable, so nothing is ever invalidated. The bound is in bytes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iceberg::spec as ice;

use crate::by_field::ByField;
use crate::error::{CatalogError, Result};
use crate::literal::Literal;
use crate::manifest::{DataFile, DeleteFile, ManifestFiles};
use crate::metadata_file::corrupt;
use crate::table::LoadedMetadata;
use crate::view::LoadedView;

/// The process-wide cache of metadata objects, by location. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ManifestCache {
    objects: moka::future::Cache<String, Cached>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
enum Cached {
    Metadata(Arc<LoadedMetadata>),
    View(Arc<LoadedView>),
    List(Arc<Vec<ice::ManifestFile>>),
    Manifest(Arc<ManifestFiles>),
}

/// What the cache did since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Objects asked for.
    pub requests: u64,
    /// Objects that had to be read from storage.
    pub misses: u64,
    /// Objects held now.
    pub entries: u64,
    /// Memory they take, in bytes, roughly.
    pub bytes: u64,
}

impl ManifestCache {
    /// A cache that holds at most about `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        let objects = moka::future::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|key: &String, value: &Cached| {
                u32::try_from(key.len() + value.approximate_bytes()).unwrap_or(u32::MAX)
            })
            .build();
        Self {
            objects,
            counters: Arc::default(),
        }
    }

    /// What the cache did so far.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            requests: self.counters.requests.load(Ordering::Relaxed),
            misses: self.counters.misses.load(Ordering::Relaxed),
            entries: self.objects.entry_count(),
            bytes: self.objects.weighted_size(),
        }
    }

    /// Reads each object once, also when several readers ask for it at the same time.
    async fn get(&self, key: &str, read: impl Future<Output = Result<Cached>>) -> Result<Cached> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let counted = async {
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
            read.await
        };
        self.objects
            .try_get_with_by_ref(key, counted)
            .await
            .map_err(CatalogError::from_shared)
    }

    pub(crate) async fn metadata(
        &self,
        location: &str,
        read: impl Future<Output = Result<LoadedMetadata>>,
    ) -> Result<Arc<LoadedMetadata>> {
        let read = async { Ok(Cached::Metadata(Arc::new(read.await?))) };
        match self.get(location, Box::pin(read)).await? {
            Cached::Metadata(loaded) => Ok(loaded),
            _ => Err(mixed_up(location, "table metadata")),
        }
    }

    pub(crate) async fn view(
        &self,
        location: &str,
        read: impl Future<Output = Result<LoadedView>>,
    ) -> Result<Arc<LoadedView>> {
        let read = async { Ok(Cached::View(Arc::new(read.await?))) };
        match self.get(location, Box::pin(read)).await? {
            Cached::View(loaded) => Ok(loaded),
            _ => Err(mixed_up(location, "view metadata")),
        }
    }

    pub(crate) async fn list(
        &self,
        location: &str,
        read: impl Future<Output = Result<Vec<ice::ManifestFile>>>,
    ) -> Result<Arc<Vec<ice::ManifestFile>>> {
        let read = async { Ok(Cached::List(Arc::new(read.await?))) };
        match self.get(location, Box::pin(read)).await? {
            Cached::List(list) => Ok(list),
            _ => Err(mixed_up(location, "manifest list")),
        }
    }

    pub(crate) async fn manifest(
        &self,
        key: &str,
        read: impl Future<Output = Result<ManifestFiles>>,
    ) -> Result<Arc<ManifestFiles>> {
        let read = async { Ok(Cached::Manifest(Arc::new(read.await?))) };
        match self.get(key, Box::pin(read)).await? {
            Cached::Manifest(files) => Ok(files),
            _ => Err(mixed_up(key, "manifest")),
        }
    }
}

fn mixed_up(location: &str, what: &'static str) -> CatalogError {
    corrupt(
        what,
        location,
        "the table uses the same file as another kind of metadata",
    )
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Metadata(_) => "Metadata",
            Self::View(_) => "View",
            Self::List(_) => "List",
            Self::Manifest(_) => "Manifest",
        })
    }
}

impl Cached {
    fn approximate_bytes(&self) -> usize {
        match self {
            Self::Metadata(loaded) => loaded.approximate_bytes(),
            Self::View(loaded) => loaded.approximate_bytes(),
            Self::List(list) => list
                .iter()
                .map(|m| {
                    let partitions = m.partitions.as_ref().map_or(0, Vec::len);
                    size_of::<ice::ManifestFile>() + m.manifest_path.len() + partitions * 128
                })
                .sum(),
            Self::Manifest(files) => {
                let data = files.data.iter().map(|file| file.approximate_bytes());
                let deletes = files.deletes.iter().map(|file| file.approximate_bytes());
                data.chain(deletes).sum()
            }
        }
    }
}

fn bounds_bytes(bounds: &ByField<Literal>) -> usize {
    let values = bounds.iter().map(|(_, value)| value.heap_bytes());
    bounds.heap_bytes() + values.sum::<usize>()
}

fn partition_bytes(partition: &[Option<Literal>]) -> usize {
    size_of_val(partition)
        + partition
            .iter()
            .flatten()
            .map(Literal::heap_bytes)
            .sum::<usize>()
}

impl DataFile {
    fn approximate_bytes(&self) -> usize {
        size_of::<Self>()
            + self.path.len()
            + partition_bytes(&self.partition)
            + bounds_bytes(&self.lower_bounds)
            + bounds_bytes(&self.upper_bounds)
            + self.null_counts.heap_bytes()
            + self.nan_counts.heap_bytes()
            + self.value_counts.heap_bytes()
            + self.column_sizes.heap_bytes()
            + self.split_offsets.len() * size_of::<i64>()
    }
}

impl DeleteFile {
    fn approximate_bytes(&self) -> usize {
        size_of::<Self>()
            + self.path.len()
            + partition_bytes(&self.partition)
            + bounds_bytes(&self.lower_bounds)
            + bounds_bytes(&self.upper_bounds)
            + self.equality_ids.len() * size_of::<i32>()
            + self.referenced_data_file.as_ref().map_or(0, String::len)
    }
}
