//! Against a store that is watched, in folders that are damaged.
#![allow(clippy::single_range_in_vec_init, reason = "one range is one range")]

use std::path::Path as FsPath;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;

const BLOCK: u64 = blocks::BLOCK_BYTES;

/// A store that counts its requests, can be switched off and can hold them back.
#[derive(Debug, Default)]
struct Watched {
    objects: InMemory,
    requests: AtomicU64,
    off: AtomicBool,
    held: AtomicBool,
    let_go: Notify,
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("watched")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.objects.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.held.load(Ordering::SeqCst) {
            self.let_go.notified().await;
        }
        if self.off.load(Ordering::SeqCst) {
            return Err(generic("switched off".into()));
        }
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[derive(Debug, Default)]
struct Seen {
    memory: AtomicU64,
    disk: AtomicU64,
    store: AtomicU64,
}

impl ReadObserver for Seen {
    fn read(&self, from: ReadFrom, bytes: u64) {
        let counter = match from {
            ReadFrom::Memory => &self.memory,
            ReadFrom::Disk => &self.disk,
            ReadFrom::Store => &self.store,
        };
        counter.fetch_add(bytes, Ordering::SeqCst);
    }
}

/// A store with one object, and a folder for caches.
struct World {
    folder: TempDir,
    store: Arc<Watched>,
    seen: Arc<Seen>,
    content: Vec<u8>,
}

fn content(bytes: u64, salt: u64) -> Vec<u8> {
    (0..bytes)
        .map(|at| u8::try_from((at / 7 + at / BLOCK + salt) % 251).unwrap())
        .collect()
}

fn path() -> Path {
    Path::from("warehouse/t/data/a.parquet")
}

impl World {
    async fn new(bytes: u64) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            store: Arc::default(),
            seen: Arc::default(),
            content: content(bytes, 0),
        };
        world.put(&world.content).await;
        world
    }

    async fn put(&self, content: &[u8]) {
        let payload = PutPayload::from(content.to_vec());
        self.store.put(&path(), payload).await.unwrap();
    }

    fn cache(&self, memory_blocks: u64, disk_blocks: u64) -> RangeCache {
        RangeCache::new(&RangeCacheConfig {
            memory_bytes: memory_blocks * BLOCK,
            disk_folder: self.folder.path().to_owned(),
            // With room for what stands in front of each block.
            disk_bytes: disk_blocks * (BLOCK + 64),
        })
    }

    fn over(&self, cache: &RangeCache, added_by: i64) -> Arc<dyn ObjectStore> {
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let object = ImmutableObject {
            root: "s3://bucket".to_owned(),
            path: path(),
            size: self.content.len() as u64,
            added_by,
        };
        cache.over(
            store,
            object,
            Arc::clone(&self.seen) as Arc<dyn ReadObserver>,
        )
    }

    /// Reads `ranges` and compares.
    async fn check(&self, cache: &RangeCache, ranges: &[Range<u64>]) {
        let found = self.over(cache, 1).get_ranges(&path(), ranges).await;
        for (found, range) in found.unwrap().iter().zip(ranges) {
            let at = |offset: u64| usize::try_from(offset).unwrap();
            assert!(
                found[..] == self.content[at(range.start)..at(range.end)],
                "{range:?}"
            );
        }
    }

    /// Another cache on the same folder, once the first one has left it.
    async fn again(&self, cache: RangeCache, memory_blocks: u64, disk_blocks: u64) -> RangeCache {
        cache.written().await;
        drop(cache);
        let lock = self.folder.path().join("ranges-1/lock");
        let lock = std::fs::File::open(lock).unwrap();
        wait_for(|| lock.try_lock().is_ok()).await;
        drop(lock);
        self.cache(memory_blocks, disk_blocks)
    }

    fn requests(&self) -> u64 {
        self.store.requests.load(Ordering::SeqCst)
    }

    fn files(&self) -> Vec<PathBuf> {
        files_below(&self.folder.path().join("ranges-1"))
            .into_iter()
            .filter(|path| !path.ends_with("lock"))
            .collect()
    }
}

async fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(condition(), "waited in vain");
}

fn files_below(folder: &FsPath) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn what_was_read_is_in_memory_and_neighbours_share_requests() {
    let world = World::new(20 * BLOCK + 17).await;
    let cache = world.cache(64, 0);
    let ranges = [10..20, BLOCK - 5..3 * BLOCK + 5, 12 * BLOCK..12 * BLOCK + 1];
    world.check(&cache, &ranges).await;
    assert_eq!(world.requests(), 2);
    world.check(&cache, &ranges).await;
    // The last block is short.
    let end = 20 * BLOCK + 17;
    world.check(&cache, &[end - 3..end, 0..0]).await;
    world.check(&cache, &[0..5, end - 17..end]).await;
    assert_eq!(world.requests(), 3);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.memory_hits), (6, 7));
    assert_eq!(stats.store_read_bytes, 5 * BLOCK + 17);
    assert_eq!(world.seen.store.load(Ordering::SeqCst), 5 * BLOCK + 17);
    assert_eq!(world.seen.memory.load(Ordering::SeqCst), 6 * BLOCK + 17);
    assert!(!stats.disk_on);
}

#[tokio::test]
async fn a_whole_object_and_its_tail_are_cached_too() {
    let world = World::new(2 * BLOCK + 3).await;
    let cache = world.cache(8, 0);
    let store = world.over(&cache, 1);
    let whole = store.get(&path()).await.unwrap().bytes().await.unwrap();
    assert!(whole == world.content);
    let options = GetOptions {
        range: Some(GetRange::Suffix(10)),
        ..GetOptions::default()
    };
    let tail = store.get_opts(&path(), options).await.unwrap();
    assert_eq!(
        tail.bytes().await.unwrap(),
        world.content[world.content.len() - 10..]
    );
    assert_eq!(world.requests(), 1);
    // What is not the object's bytes comes from the store.
    store.head(&path()).await.unwrap();
    assert_eq!(world.requests(), 2);
    let other = Path::from("warehouse/t/data/b.parquet");
    assert!(store.get(&other).await.is_err());
}

#[tokio::test]
async fn a_restart_finds_what_is_on_disk() {
    let world = World::new(3 * BLOCK + 9).await;
    let cache = world.cache(8, 8);
    world.check(&cache, &[0..3 * BLOCK + 9]).await;
    world.store.off.store(true, Ordering::SeqCst);
    let cache = world.again(cache, 8, 8).await;
    world
        .check(&cache, &[5..2 * BLOCK, 3 * BLOCK..3 * BLOCK + 9])
        .await;
    let stats = cache.stats();
    assert_eq!((stats.disk_hits, stats.misses), (3, 0));
    assert_eq!(world.seen.disk.load(Ordering::SeqCst), 2 * BLOCK + 9);
    world.check(&cache, &[5..2 * BLOCK]).await;
    assert_eq!(cache.stats().disk_hits, 3);
}

#[tokio::test]
async fn two_processes_share_no_folder() {
    let world = World::new(BLOCK).await;
    let (one, two) = (world.cache(0, 8), world.cache(0, 8));
    world.check(&one, &[0..9]).await;
    world.check(&two, &[0..9]).await;
    one.written().await;
    two.written().await;
    assert_eq!(files_below(&world.folder.path().join("ranges-1")).len(), 2);
    assert_eq!(files_below(&world.folder.path().join("ranges-2")).len(), 2);
}

#[tokio::test]
async fn damaged_blocks_are_read_from_the_store_again() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [Damage; 5] = [
        |mut file| {
            let last = file.len() - 1;
            file[last] ^= 1;
            file
        },
        |mut file| {
            file[9] ^= 1;
            file
        },
        |file| file[..file.len() / 2].to_vec(),
        |file| file[..10].to_vec(),
        |_| Vec::new(),
    ];
    for damage in damages {
        let world = World::new(2 * BLOCK).await;
        let cache = world.cache(0, 8);
        world.check(&cache, &[0..2 * BLOCK]).await;
        cache.written().await;
        for file in world.files() {
            let content = std::fs::read(&file).unwrap();
            std::fs::write(&file, damage(content)).unwrap();
        }
        let cache = world.again(cache, 8, 8).await;
        world.check(&cache, &[0..2 * BLOCK]).await;
        let stats = cache.stats();
        assert_eq!((stats.disk_damaged, stats.misses), (2, 2));
        assert!(stats.disk_on);
        cache.written().await;
        assert_eq!(world.files().len(), 2);
    }
}

#[tokio::test]
async fn a_block_under_the_name_of_another_is_a_miss() {
    let world = World::new(2 * BLOCK).await;
    let cache = world.cache(0, 8);
    world.check(&cache, &[0..2 * BLOCK]).await;
    cache.written().await;
    let files = world.files();
    std::fs::copy(&files[0], &files[1]).unwrap();
    let cache = world.again(cache, 8, 8).await;
    world.check(&cache, &[0..2 * BLOCK]).await;
    assert_eq!(cache.stats().disk_damaged, 1);
}

#[tokio::test]
async fn a_failing_disk_is_turned_off_and_no_read_fails() {
    let world = World::new(4 * BLOCK).await;
    let cache = world.cache(0, 8);
    // Files cannot be made where no folder is.
    let unfinished = world.folder.path().join("ranges-1/new");
    std::fs::remove_dir(&unfinished).unwrap();
    std::fs::write(&unfinished, "").unwrap();
    world.check(&cache, &[0..BLOCK]).await;
    cache.written().await;
    assert!(!cache.stats().disk_on);
    world.check(&cache, &[0..4 * BLOCK]).await;
    // A folder that cannot be made.
    let file = world.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let cache = RangeCache::new(&RangeCacheConfig {
        memory_bytes: 8 * BLOCK,
        disk_folder: file,
        disk_bytes: BLOCK,
    });
    assert!(!cache.stats().disk_on);
    world.check(&cache, &[0..4 * BLOCK]).await;
}

#[tokio::test]
async fn both_tiers_keep_their_bounds() {
    let world = World::new(24 * BLOCK).await;
    let cache = world.cache(4, 8);
    for _ in 0..3 {
        for block in 0..24 {
            world
                .check(&cache, &[block * BLOCK..(block + 1) * BLOCK])
                .await;
        }
    }
    cache.written().await;
    let stats = cache.stats();
    assert!(stats.memory_bytes <= 4 * BLOCK, "{stats:?}");
    assert!(stats.memory_evictions > 0 && stats.disk_evictions > 0);
    let files = world.files();
    let bytes: u64 = files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(bytes <= 8 * (BLOCK + 64), "{bytes}");
    assert_eq!(stats.disk_bytes, bytes);
    assert!(!files.is_empty());
    // A smaller bound holds from the start.
    let cache = world.again(cache, 4, 2).await;
    world.check(&cache, &[0..BLOCK]).await;
    cache.written().await;
    let held = || {
        // Counting makes room.
        cache.stats().disk_bytes <= 2 * (BLOCK + 64) && world.files().len() <= 2
    };
    wait_for(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_the_same_bytes_make_one_request() {
    let world = Arc::new(World::new(3 * BLOCK).await);
    let cache = world.cache(8, 0);
    world.store.held.store(true, Ordering::SeqCst);
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (world, cache) = (Arc::clone(&world), cache.clone());
            tokio::spawn(async move { world.check(&cache, &[7..3 * BLOCK - 7]).await })
        })
        .collect();
    // A reader that goes away takes nothing with it.
    let gone = {
        let (world, cache) = (Arc::clone(&world), cache.clone());
        tokio::spawn(async move { world.check(&cache, &[7..3 * BLOCK - 7]).await })
    };
    wait_for(|| world.requests() > 0).await;
    gone.abort();
    world.store.held.store(false, Ordering::SeqCst);
    let done = || {
        world.store.let_go.notify_waiters();
        readers.iter().all(tokio::task::JoinHandle::is_finished)
    };
    wait_for(done).await;
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(world.requests(), 1);
    assert_eq!(cache.stats().misses, 3);
    wait_for(|| cache.inner.flights().is_empty()).await;
}

#[tokio::test]
async fn a_file_made_again_at_the_same_place_is_another_one() {
    let world = World::new(BLOCK + 5).await;
    let cache = world.cache(8, 8);
    world.check(&cache, &[0..BLOCK + 5]).await;
    let again = content(BLOCK + 5, 3);
    world.put(&again).await;
    let whole = |cache: &RangeCache, added_by| {
        let store = world.over(cache, added_by);
        async move { store.get(&path()).await.unwrap().bytes().await.unwrap() }
    };
    assert!(whole(&cache, 2).await == again);
    assert!(whole(&cache, 1).await == world.content);
    let cache = world.again(cache, 8, 8).await;
    assert!(whole(&cache, 2).await == again);
    assert!(whole(&cache, 1).await == world.content);
    assert_eq!(cache.stats().misses, 0);
}

#[tokio::test]
async fn errors_keep_their_kind_and_are_not_kept() {
    let world = World::new(BLOCK).await;
    let cache = world.cache(8, 0);
    let store = world.over(&cache, 1);
    world.store.off.store(true, Ordering::SeqCst);
    let error = store.get_range(&path(), 0..5).await.unwrap_err();
    assert!(
        error.to_string().ends_with("error: switched off"),
        "{error}"
    );
    world.store.off.store(false, Ordering::SeqCst);
    world.check(&cache, &[0..5]).await;
    world.store.delete(&path()).await.unwrap();
    let error = world.over(&cache, 2).get_range(&path(), 0..5).await;
    assert!(matches!(error, Err(Error::NotFound { .. })), "{error:?}");
    // Shorter than metadata says.
    world.put(b"short").await;
    let error = world.over(&cache, 3).get_range(&path(), 0..7).await;
    assert!(error.unwrap_err().to_string().contains("a.parquet"));
}

#[tokio::test]
async fn local_files_and_a_cache_that_is_off_are_read_directly() {
    let world = World::new(5).await;
    let cache = world.cache(8, 8);
    assert!(cache.caches("s3://bucket/") && !cache.caches("file:///"));
    assert!(!RangeCache::off().caches("s3://bucket/"));
}

#[tokio::test]
async fn what_was_read_ahead_is_there_or_on_its_way() {
    let world = World::new(4 * BLOCK).await;
    let cache = world.cache(8, 0);
    let store: Arc<dyn ObjectStore> = Arc::clone(&world.store) as Arc<dyn ObjectStore>;
    let object = ImmutableObject {
        root: "s3://bucket".to_owned(),
        path: path(),
        size: 4 * BLOCK,
        added_by: 1,
    };
    let reader = cache.over(
        store,
        object,
        Arc::clone(&world.seen) as Arc<dyn ReadObserver>,
    );
    reader.read_ahead(&[BLOCK..3 * BLOCK, 3 * BLOCK..9 * BLOCK]);
    wait_for(|| cache.stats().misses == 2).await;
    world.check(&cache, &[BLOCK + 1..2 * BLOCK + 1]).await;
    assert_eq!(world.requests(), 1);
    assert_eq!(world.seen.store.load(Ordering::SeqCst), 2 * BLOCK);
    // What failed ahead is read again.
    world.store.off.store(true, Ordering::SeqCst);
    reader.read_ahead(&[0..1]);
    wait_for(|| cache.inner.flights().is_empty()).await;
    world.store.off.store(false, Ordering::SeqCst);
    world.check(&cache, &[0..BLOCK]).await;
}
