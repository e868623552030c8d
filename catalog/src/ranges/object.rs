//! One immutable object, read through the cache, as an object store.

use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use super::{ImmutableObject, RangeCache, ReadObserver, Source};

/// A store that reads one object through a range cache, and does everything else as the store below.
#[derive(Debug)]
pub struct CachedObject {
    cache: RangeCache,
    source: Source,
}

impl CachedObject {
    pub(super) fn new(
        cache: RangeCache,
        store: Arc<dyn ObjectStore>,
        object: ImmutableObject,
        observer: Arc<dyn ReadObserver>,
    ) -> Self {
        Self {
            cache,
            source: Source::new(store, object, observer),
        }
    }

    /// Begins to fetch `ranges`, which will be read soon, into memory. What fails is read again then.
    ///
    /// Must be called within a runtime.
    pub fn read_ahead(&self, ranges: &[Range<u64>]) {
        let within = |range: &&Range<u64>| range.end <= self.source.object.size;
        let ranges: Vec<Range<u64>> = ranges.iter().filter(within).cloned().collect();
        self.cache.read_ahead(&self.source, &ranges);
    }

    /// The bytes that are asked for, if they are the object's and nothing but its bytes is asked for.
    fn cached(&self, location: &Path, options: &GetOptions) -> Option<Range<u64>> {
        let size = self.source.object.size;
        let plain = options.if_match.is_none()
            && options.if_none_match.is_none()
            && options.if_modified_since.is_none()
            && options.if_unmodified_since.is_none()
            && options.version.is_none()
            && !options.head;
        if !plain {
            return None;
        }
        let range = match &options.range {
            None => 0..size,
            Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
            Some(GetRange::Offset(start)) => *start..size,
            Some(GetRange::Suffix(bytes)) => size.saturating_sub(*bytes)..size,
        };
        (!range.is_empty() && self.holds(location, &range)).then_some(range)
    }

    fn holds(&self, location: &Path, range: &Range<u64>) -> bool {
        let object = &self.source.object;
        *location == object.path && range.start <= range.end && range.end <= object.size
    }
}

impl Display for CachedObject {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.source.store)
    }
}

#[async_trait]
impl ObjectStore for CachedObject {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.source.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.source.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(range) = self.cached(location, &options) else {
            return self.source.store.get_opts(location, options).await;
        };
        let found = self
            .cache
            .read(&self.source, std::slice::from_ref(&range))
            .await?;
        let object = &self.source.object;
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(found.into_iter().map(Ok)).boxed()),
            meta: ObjectMeta {
                location: object.path.clone(),
                last_modified: DateTime::UNIX_EPOCH,
                size: object.size,
                e_tag: None,
                version: None,
            },
            range,
            attributes: Attributes::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.iter().all(|range| self.holds(location, range)) {
            return self.cache.read(&self.source, ranges).await;
        }
        self.source.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.source.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.source.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.source.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.source.store.copy_opts(from, to, options).await
    }
}
