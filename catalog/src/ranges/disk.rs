//! Blocks on local disk: one file for each, with a checksum, below a folder that one process holds.
//!
//! A file that is cut off, altered or not what its name says is a miss and is removed. The first failure of the disk
//! turns this tier off until the process starts again; no query ever sees it. Not `foyer`, because its failures cannot
//! turn it off, and because it brings a C library and other features of crates that everything here is built on.

use std::fs::{self, File, TryLockError};
use std::hash::Hasher;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use moka::notification::RemovalCause;
use tokio::sync::Semaphore;
use twox_hash::XxHash64;

use super::Key;

/// First bytes of a file. Changes with its layout.
const MAGIC: [u8; 8] = *b"tarnblk1";
/// Bytes in front of the block: magic, object, block, checksum.
const HEADER_BYTES: usize = 8 + 16 + 4 + 8;
/// Blocks that wait to be written or are being written, at most; more are not written.
const WRITES_MAX: usize = 32;
/// Processes that may have a folder below the same one.
const FOLDERS_MAX: usize = 64;
/// Where files are while they are being written.
const UNFINISHED: &str = "new";

/// The disk tier of a range cache.
pub(super) struct Disk {
    folder: PathBuf,
    index: moka::sync::Cache<Key, u32>,
    on: AtomicBool,
    /// The folder has been read: what is not in the index is not there.
    known: AtomicBool,
    writes: Arc<Semaphore>,
    counters: Arc<DiskCounters>,
    /// Number of the next file that is written.
    serial: AtomicU64,
    /// Held as long as the folder is ours.
    _lock: File,
}

#[derive(Debug, Default)]
pub(super) struct DiskCounters {
    pub(super) evicted: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) skipped: AtomicU64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// A tier of at most `bytes_max` bytes in a folder of its own below `folder`, with what an earlier process left there.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> std::io::Result<Arc<Self>> {
        let (folder, lock) = own_folder(folder)?;
        let counters = Arc::new(DiskCounters::default());
        let (files, told) = (folder.clone(), Arc::clone(&counters));
        let index = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &Key, bytes: &u32| *bytes)
            .eviction_listener(move |key: Arc<Key>, _, cause: RemovalCause| {
                if cause.was_evicted() {
                    told.evicted.fetch_add(1, Ordering::Relaxed);
                }
                if cause != RemovalCause::Replaced {
                    // It may be gone already.
                    let _ = fs::remove_file(file_of(&files, &key));
                }
            })
            .build();
        let disk = Arc::new(Self {
            folder,
            index,
            on: AtomicBool::new(true),
            known: AtomicBool::new(false),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            counters,
            serial: AtomicU64::new(0),
            _lock: lock,
        });
        // As a write, it is waited for by who wants the folder back.
        let permit = Arc::clone(&disk.writes).try_acquire_owned();
        let found = Arc::clone(&disk);
        std::thread::Builder::new()
            .name("range-cache".to_owned())
            .spawn(move || {
                found.recover();
                drop(found);
                drop(permit);
            })?;
        Ok(disk)
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(super) fn counters(&self) -> &DiskCounters {
        &self.counters
    }

    /// Bytes of the files.
    pub(super) fn bytes(&self) -> u64 {
        // What is put in is counted, and what is too much goes, a little later.
        self.index.run_pending_tasks();
        self.index.weighted_size()
    }

    /// Whether it is worth the while to [`Self::read`] a block.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        self.is_on() && (!self.known.load(Ordering::Relaxed) || self.index.contains_key(key))
    }

    /// A block, if it is there in one piece. Blocks the thread.
    pub(super) fn read(&self, key: &Key) -> Option<Bytes> {
        // Reading through the index keeps what is used.
        let known = self.index.get(key).is_some();
        let content = match fs::read(file_of(&self.folder, key)) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if known {
                    self.index.invalidate(key);
                }
                return None;
            }
            Err(error) => {
                self.fail("read", &error);
                return None;
            }
        };
        if let Some(header) = content.get(..HEADER_BYTES)
            && header == header_of(key, &content[HEADER_BYTES..])
        {
            if !known {
                self.enter(*key, content.len());
            }
            return Some(Bytes::from(content).slice(HEADER_BYTES..));
        }
        self.counters.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(folder = %self.folder.display(), "a cached block is damaged and is read from the store again");
        let _ = fs::remove_file(file_of(&self.folder, key));
        self.index.invalidate(key);
        None
    }

    /// Writes a block in the background, unless too many are waiting.
    pub(super) fn keep(self: &Arc<Self>, key: Key, block: Bytes) {
        if !self.is_on() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            self.counters.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let disk = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = disk.write(&key, &block) {
                disk.fail("write", &error);
            }
            drop(disk);
            drop(permit);
        });
    }

    /// Waits for the writes under way, and until the folder has been read.
    pub(super) async fn written(&self) {
        let all = u32::try_from(WRITES_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.writes.acquire_many(all).await;
    }

    fn write(&self, key: &Key, block: &Bytes) -> std::io::Result<()> {
        let path = file_of(&self.folder, key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(UNFINISHED).join(serial.to_string());
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(&header_of(key, block))?;
            file.write_all(block)?;
            // No fsync: after a crash the checksum tells.
            fs::rename(&unfinished, &path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        self.enter(*key, HEADER_BYTES + block.len());
        Ok(())
    }

    fn enter(&self, key: Key, bytes: usize) {
        self.index
            .insert(key, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Turns this tier off. The first failure is told.
    fn fail(&self, what: &'static str, error: &std::io::Error) {
        if self.on.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                folder = %self.folder.display(),
                what,
                %error,
                "the disk cache fails and is off until the next start"
            );
        }
    }

    /// Enters what an earlier process left, the oldest first, so that it goes first.
    fn recover(&self) {
        let mut found = Vec::new();
        for entry in walk(&self.folder) {
            let name = entry.file_name();
            if let (Some(key), Ok(metadata)) = (key_of(&name.to_string_lossy()), entry.metadata()) {
                found.push((metadata.modified().ok(), key, metadata.len()));
            }
        }
        found.sort_unstable();
        for (_, key, bytes) in found {
            if !self.index.contains_key(&key) {
                self.enter(key, usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        }
        self.known.store(true, Ordering::Relaxed);
    }
}

/// The first folder below `folder` that no other process holds.
fn own_folder(folder: &Path) -> std::io::Result<(PathBuf, File)> {
    for number in 1..=FOLDERS_MAX {
        let own = folder.join(format!("ranges-{number}"));
        // Blocks are parts of tables: nobody else on this machine may read them.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&own)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(own.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {
                let unfinished = own.join(UNFINISHED);
                if unfinished.exists() {
                    fs::remove_dir_all(&unfinished)?;
                }
                fs::create_dir(&unfinished)?;
                return Ok((own, lock));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(std::io::Error::other(format!(
        "{FOLDERS_MAX} other processes have their caches there"
    )))
}

fn walk(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    entries(folder)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(move |folder| entries(&folder.path()))
}

/// `ab/abcdef…-block`: the object's digest and the block's number.
fn file_of(folder: &Path, key: &Key) -> PathBuf {
    let object = format!("{:032x}", key.object);
    let name = format!("{object}-{:08x}", key.block);
    folder.join(&object[..2]).join(name)
}

fn key_of(name: &str) -> Option<Key> {
    let (object, block) = name.split_once('-')?;
    let key = Key {
        object: u128::from_str_radix(object, 16).ok()?,
        block: u32::from_str_radix(block, 16).ok()?,
    };
    (object.len() == 32 && block.len() == 8).then_some(key)
}

fn header_of(key: &Key, block: &[u8]) -> [u8; HEADER_BYTES] {
    let (object, number) = (key.object.to_le_bytes(), key.block.to_le_bytes());
    let mut hash = XxHash64::with_seed(0);
    for part in [&object[..], &number[..], block] {
        Hasher::write(&mut hash, part);
    }
    let checksum = hash.finish().to_le_bytes();
    let mut header = [0; HEADER_BYTES];
    let parts = [&MAGIC[..], &object[..], &number[..], &checksum[..]];
    for (place, byte) in header.iter_mut().zip(parts.concat()) {
        *place = byte;
    }
    header
}
