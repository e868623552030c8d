//! The cache of byte ranges of immutable objects: in memory, then on local disk, then the store.
//!
//! Objects are kept in blocks of one size. Blocks that are missing are fetched in few requests, each block by one
//! reader at a time, in tasks of their own: a reader that goes away or stands still holds nobody up. Knows objects by
//! a digest of where they are and which snapshot added them, so that a file made again at the same place is another
//! one. Refuses to know who may read what: it is asked below the scan, and lists nothing.

mod blocks;
mod disk;
mod object;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, Result};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use disk::Disk;
pub use object::CachedObject;

/// Requests of all readers to stores at the same time.
const REQUESTS_MAX: usize = 32;
/// Blocks that one task reads from disk, one after the other.
const DISK_READS_IN_ROW_MAX: usize = 4;

/// Where a range cache keeps its blocks, and how many.
#[derive(Clone, Debug, Default)]
pub struct RangeCacheConfig {
    /// Bytes of memory; 0 for none.
    pub memory_bytes: u64,
    /// Folder of the disk tier.
    pub disk_folder: PathBuf,
    /// Bytes on disk; 0 for none.
    pub disk_bytes: u64,
}

/// An object that never changes: a data file or a delete file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImmutableObject {
    /// Root of its store, as [`crate::Stores::root_url`] makes it.
    pub root: String,
    /// Its key there.
    pub path: Path,
    /// Bytes.
    pub size: u64,
    /// The snapshot that added it. A file that is removed and made again at the same place is added by another.
    pub added_by: i64,
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The memory of this process.
    Memory,
    /// Its disk.
    Disk,
    /// The object store.
    Store,
}

/// Is told of each read of an object, e.g. to count for a scan.
pub trait ReadObserver: std::fmt::Debug + Send + Sync {
    /// `bytes` came from there.
    fn read(&self, from: ReadFrom, bytes: u64);
}

/// What a range cache did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeCacheStats {
    /// Blocks found in memory, or being fetched by another reader.
    pub memory_hits: u64,
    /// Blocks found on disk.
    pub disk_hits: u64,
    /// Blocks that had to be fetched from a store.
    pub misses: u64,
    /// Bytes of the blocks found in memory.
    pub memory_read_bytes: u64,
    /// Bytes of the blocks found on disk.
    pub disk_read_bytes: u64,
    /// Bytes fetched from stores.
    pub store_read_bytes: u64,
    /// Requests to stores.
    pub store_requests: u64,
    /// Blocks that left memory for others.
    pub memory_evictions: u64,
    /// Blocks that left the disk for others.
    pub disk_evictions: u64,
    /// Blocks on disk that were damaged.
    pub disk_damaged: u64,
    /// Blocks that were not written to disk because too many were waiting.
    pub disk_skipped: u64,
    /// Memory that blocks take now.
    pub memory_bytes: u64,
    /// Disk that blocks take now.
    pub disk_bytes: u64,
    /// Whether the disk is used: configured, and has not failed.
    pub disk_on: bool,
}

/// The process-wide cache of byte ranges. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RangeCache {
    inner: Arc<Inner>,
}

struct Inner {
    memory_bytes_max: u64,
    memory: moka::sync::Cache<Key, Bytes>,
    disk: Option<Arc<Disk>>,
    flights: Mutex<HashMap<Key, Landing>>,
    requests: Semaphore,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    memory_hits: AtomicU64,
    memory_read_bytes: AtomicU64,
    memory_evictions: AtomicU64,
    disk_hits: AtomicU64,
    disk_read_bytes: AtomicU64,
    misses: AtomicU64,
    store_read_bytes: AtomicU64,
    store_requests: AtomicU64,
}

/// A block: digest of its object, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    object: u128,
    block: u32,
}

/// What becomes of a block that is being fetched: nothing yet, the block, or why not.
type Landed = Option<std::result::Result<Bytes, Arc<Error>>>;
type Landing = watch::Receiver<Landed>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangeCache")
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

impl RangeCache {
    /// A cache with what an earlier process left on disk. A disk that cannot be used is told in the log and not used.
    pub fn new(config: &RangeCacheConfig) -> Self {
        let counters = Arc::new(Counters::default());
        let told = Arc::clone(&counters);
        let memory = moka::sync::Cache::builder()
            .max_capacity(config.memory_bytes)
            .weigher(|_: &Key, block: &Bytes| u32::try_from(block.len()).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    told.memory_evictions.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let disk = (config.disk_bytes > 0)
            .then(|| Disk::open(&config.disk_folder, config.disk_bytes))
            .and_then(|opened| match opened {
                Ok(disk) => Some(disk),
                Err(error) => {
                    let folder = config.disk_folder.display();
                    tracing::warn!(%folder, %error, "the disk cache cannot be used");
                    None
                }
            });
        Self {
            inner: Arc::new(Inner {
                memory_bytes_max: config.memory_bytes,
                memory,
                disk,
                flights: Mutex::default(),
                requests: Semaphore::new(REQUESTS_MAX),
                counters,
            }),
        }
    }

    /// A cache that keeps nothing.
    pub fn off() -> Self {
        Self::new(&RangeCacheConfig::default())
    }

    /// Whether objects of the store with this root are cached. Files of this machine are not: the system does that.
    pub fn caches(&self, root: &str) -> bool {
        let off = self.inner.memory_bytes_max == 0 && self.inner.disk.is_none();
        !off && !root.starts_with("file:")
    }

    /// The store that reads `object` through this cache. Other objects, and everything but reading, go to `store`.
    pub fn over(
        &self,
        store: Arc<dyn ObjectStore>,
        object: ImmutableObject,
        observer: Arc<dyn ReadObserver>,
    ) -> Arc<CachedObject> {
        Arc::new(CachedObject::new(self.clone(), store, object, observer))
    }

    /// What the cache did so far.
    pub fn stats(&self) -> RangeCacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.inner.counters;
        let disk = self.inner.disk.as_ref();
        // What is put in is counted, and what is too much goes, a little later.
        self.inner.memory.run_pending_tasks();
        let disk_bytes = disk.map_or(0, |disk| disk.bytes());
        let of_disk = |counter: fn(&disk::DiskCounters) -> &AtomicU64| {
            disk.map_or(0, |disk| read(counter(disk.counters())))
        };
        RangeCacheStats {
            memory_hits: read(&counters.memory_hits),
            disk_hits: read(&counters.disk_hits),
            misses: read(&counters.misses),
            memory_read_bytes: read(&counters.memory_read_bytes),
            disk_read_bytes: read(&counters.disk_read_bytes),
            store_read_bytes: read(&counters.store_read_bytes),
            store_requests: read(&counters.store_requests),
            memory_evictions: read(&counters.memory_evictions),
            disk_evictions: of_disk(|disk| &disk.evicted),
            disk_damaged: of_disk(|disk| &disk.damaged),
            disk_skipped: of_disk(|disk| &disk.skipped),
            memory_bytes: self.inner.memory.weighted_size(),
            disk_bytes,
            disk_on: disk.is_some_and(|disk| disk.is_on()),
        }
    }

    /// Waits until what was read is on disk, e.g. before the process ends.
    pub async fn written(&self) {
        if let Some(disk) = &self.inner.disk {
            disk.written().await;
        }
    }

    /// Reads `ranges` of an object, which must end where it ends at the latest.
    async fn read(&self, source: &Source, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut found = BTreeMap::new();
        let mut waiting = Vec::new();
        let mut own = Vec::new();
        for number in blocks::covering(ranges) {
            match self.block(source.key(number)) {
                Found::Here(block) => {
                    self.inner.hit(&block);
                    source.saw(ReadFrom::Memory, &block);
                    found.insert(number, block);
                }
                Found::Coming(landing) => waiting.push((number, landing, false)),
                Found::Missing(flight, landing) => {
                    own.push(flight);
                    waiting.push((number, landing, true));
                }
            }
        }
        self.launch(source, own);
        for (number, landing, own) in waiting {
            let block = landed(landing).await?;
            if !own {
                // Another reader fetches it: this one finds it in memory.
                self.inner.hit(&block);
                source.saw(ReadFrom::Memory, &block);
            }
            found.insert(number, block);
        }
        ranges
            .iter()
            .map(|range| {
                blocks::assemble(range, |number| found.get(&number))
                    .ok_or_else(|| lost(&source.object))
            })
            .collect()
    }

    /// Fetches what is missing of `ranges` into memory, without waiting for it.
    fn read_ahead(&self, source: &Source, ranges: &[Range<u64>]) {
        if self.inner.memory_bytes_max == 0 {
            return;
        }
        let missing = blocks::covering(ranges).into_iter().filter_map(|number| {
            match self.block(source.key(number)) {
                Found::Missing(flight, _) => Some(flight),
                Found::Here(_) | Found::Coming(_) => None,
            }
        });
        self.launch(source, missing.collect());
    }

    /// A block, where it stands. Who is told that it is missing must fetch it.
    fn block(&self, key: Key) -> Found {
        let inner = &self.inner;
        if let Some(block) = inner.memory.get(&key) {
            return Found::Here(block);
        }
        let mut flights = inner.flights();
        if let Some(landing) = flights.get(&key) {
            return Found::Coming(landing.clone());
        }
        // It may have landed meanwhile: a block is in memory before its flight ends.
        if let Some(block) = inner.memory.get(&key) {
            return Found::Here(block);
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(key, landing.clone());
        let flight = Flight {
            cache: Arc::clone(inner),
            key,
            sender,
        };
        Found::Missing(flight, landing)
    }

    /// Fetches blocks, from disk or from the store, in tasks of their own.
    fn launch(&self, source: &Source, flights: Vec<Flight>) {
        let on_disk = |flight: &Flight| {
            let disk = self.inner.disk.as_ref();
            disk.is_some_and(|disk| disk.may_hold(&flight.key))
        };
        let (stored, missing): (Vec<Flight>, Vec<Flight>) = flights.into_iter().partition(on_disk);
        self.request(source, missing);
        let mut stored = stored.into_iter().peekable();
        while stored.peek().is_some() {
            let some: Vec<Flight> = stored.by_ref().take(DISK_READS_IN_ROW_MAX).collect();
            let (cache, source) = (self.clone(), source.clone());
            tokio::spawn(async move {
                let inner = Arc::clone(&cache.inner);
                let reader = source.clone();
                let read = tokio::task::spawn_blocking(move || inner.take_from_disk(&reader, some));
                if let Ok(missing) = read.await {
                    cache.request(&source, missing);
                }
            });
        }
    }

    /// Fetches blocks from the store, neighbours together.
    fn request(&self, source: &Source, flights: Vec<Flight>) {
        let numbers: Vec<u32> = flights.iter().map(|flight| flight.key.block).collect();
        let mut flights = flights.into_iter().peekable();
        for span in blocks::requests(&numbers) {
            let mut own = Vec::new();
            while let Some(flight) = flights.next_if(|flight| span.contains(&flight.key.block)) {
                own.push(flight);
            }
            let (cache, source) = (Arc::clone(&self.inner), source.clone());
            tokio::spawn(async move { cache.take_from_store(&source, span, own).await });
        }
    }
}

impl Inner {
    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Landing>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hit(&self, block: &Bytes) {
        let counters = &self.counters;
        counters.memory_hits.fetch_add(1, Ordering::Relaxed);
        let bytes = block.len() as u64;
        counters
            .memory_read_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lands the blocks that are on disk; gives the others back. Blocks the thread.
    fn take_from_disk(&self, source: &Source, flights: Vec<Flight>) -> Vec<Flight> {
        let mut missing = Vec::new();
        for flight in flights {
            let found = self.disk.as_ref().and_then(|disk| disk.read(&flight.key));
            let Some(block) = found else {
                missing.push(flight);
                continue;
            };
            let counters = &self.counters;
            counters.disk_hits.fetch_add(1, Ordering::Relaxed);
            let bytes = block.len() as u64;
            counters.disk_read_bytes.fetch_add(bytes, Ordering::Relaxed);
            source.saw(ReadFrom::Disk, &block);
            flight.land(block);
        }
        missing
    }

    /// Lands the blocks of one request to the store. Blocks between them are kept too.
    async fn take_from_store(&self, source: &Source, span: Range<u32>, flights: Vec<Flight>) {
        // The semaphore is never closed.
        let _permit = self.requests.acquire().await;
        let counters = &self.counters;
        counters.store_requests.fetch_add(1, Ordering::Relaxed);
        let fetched = match fetch(source, &span).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let error = Arc::new(error);
                for flight in flights {
                    flight.fail(&error);
                }
                return;
            }
        };
        let bytes: usize = fetched.iter().map(Bytes::len).sum();
        counters
            .store_read_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let mut flights = flights.into_iter().peekable();
        for (number, block) in span.zip(fetched) {
            let key = source.key(number);
            source.saw(ReadFrom::Store, &block);
            if let Some(disk) = &self.disk {
                disk.keep(key, block.clone());
            }
            match flights.next_if(|flight| flight.key == key) {
                Some(flight) => {
                    counters.misses.fetch_add(1, Ordering::Relaxed);
                    flight.land(block);
                }
                None => self.memory.insert(key, block),
            }
        }
    }
}

/// Where a block stands.
enum Found {
    Here(Bytes),
    Coming(Landing),
    Missing(Flight, Landing),
}

/// The promise to fetch a block. Broken if it is dropped.
struct Flight {
    cache: Arc<Inner>,
    key: Key,
    sender: watch::Sender<Landed>,
}

impl Flight {
    fn land(self, block: Bytes) {
        self.cache.memory.insert(self.key, block.clone());
        // Nobody may be waiting any more.
        let _ = self.sender.send(Some(Ok(block)));
    }

    fn fail(self, error: &Arc<Error>) {
        let _ = self.sender.send(Some(Err(Arc::clone(error))));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.cache.flights().remove(&self.key);
    }
}

/// The object that a reader reads, with its store.
#[derive(Clone, Debug)]
struct Source {
    store: Arc<dyn ObjectStore>,
    object: Arc<ImmutableObject>,
    digest: u128,
    observer: Arc<dyn ReadObserver>,
}

impl Source {
    fn new(
        store: Arc<dyn ObjectStore>,
        object: ImmutableObject,
        observer: Arc<dyn ReadObserver>,
    ) -> Self {
        // A digest that nobody can make collide: paths come from metadata that others wrote.
        let mut digest = Sha256::new();
        for text in [object.root.as_str(), object.path.as_ref()] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(object.size.to_le_bytes());
        digest.update(object.added_by.to_le_bytes());
        let digest = digest.finalize();
        let halves = digest.iter().take(16);
        Self {
            store,
            object: Arc::new(object),
            digest: halves.fold(0, |digest, byte| (digest << 8) | u128::from(*byte)),
            observer,
        }
    }

    fn key(&self, block: u32) -> Key {
        Key {
            object: self.digest,
            block,
        }
    }

    fn saw(&self, from: ReadFrom, block: &Bytes) {
        self.observer.read(from, block.len() as u64);
    }
}

async fn landed(mut landing: Landing) -> Result<Bytes> {
    let outcome = match landing.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => None,
    };
    match outcome {
        Some(Ok(block)) => Ok(block),
        Some(Err(error)) => Err(again(&error)),
        None => Err(generic("the process stops".into())),
    }
}

/// The blocks of one request, filled while bytes come in.
async fn fetch(source: &Source, span: &Range<u32>) -> Result<Vec<Bytes>> {
    let object = &source.object;
    let wanted = blocks::bytes_of(span, object.size);
    let options = GetOptions {
        range: Some(GetRange::Bounded(wanted.clone())),
        ..GetOptions::default()
    };
    let answer = source.store.get_opts(&object.path, options).await?;
    let mut bodies = answer.into_stream();
    let block_bytes = usize::try_from(blocks::BLOCK_BYTES).unwrap_or(usize::MAX);
    let mut left = usize::try_from(wanted.end - wanted.start).unwrap_or(usize::MAX);
    let mut blocks = Vec::with_capacity(span.len());
    let mut block = BytesMut::with_capacity(block_bytes.min(left));
    while let Some(body) = bodies.next().await {
        let mut body = body?;
        while !body.is_empty() {
            let part = body.split_to(body.len().min(block_bytes - block.len()));
            block.extend_from_slice(&part);
            if block.len() == block_bytes {
                left = left.saturating_sub(block_bytes);
                let next = BytesMut::with_capacity(block_bytes.min(left));
                blocks.push(std::mem::replace(&mut block, next).freeze());
            }
        }
    }
    if !block.is_empty() {
        blocks.push(block.freeze());
    }
    let bytes: u64 = blocks.iter().map(|block| block.len() as u64).sum();
    if bytes != wanted.end - wanted.start {
        return Err(generic(
            format!(
                "\"{}\" gave {bytes} bytes for the range {}..{}; metadata says that it has {} bytes",
                object.path, wanted.start, wanted.end, object.size
            )
            .into(),
        ));
    }
    Ok(blocks)
}

fn lost(object: &ImmutableObject) -> Error {
    generic(format!("\"{}\" is shorter than it was", object.path).into())
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic {
        store: "range cache",
        source,
    }
}

/// The same error for another reader.
fn again(error: &Arc<Error>) -> Error {
    let source = || Box::new(Shared(Arc::clone(error)));
    match error.as_ref() {
        Error::NotFound { path, .. } => Error::NotFound {
            path: path.clone(),
            source: source(),
        },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied {
            path: path.clone(),
            source: source(),
        },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated {
            path: path.clone(),
            source: source(),
        },
        Error::Generic { store, .. } => Error::Generic {
            store,
            source: source(),
        },
        _ => generic(Box::new(Arc::clone(error))),
    }
}

/// The cause of an error that several readers have.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::error::Error::source(self.0.as_ref()) {
            Some(cause) => std::fmt::Display::fmt(cause, f),
            None => std::fmt::Display::fmt(&self.0, f),
        }
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.0.as_ref())?.source()
    }
}

#[cfg(test)]
mod tests;
