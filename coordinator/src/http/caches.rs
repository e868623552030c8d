//! What the caches did, for `/metrics`: what was read is the coordinator's and the workers', the rest the coordinator's
//! own. Sums only: nothing tells which table is cached.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::service::Service;

pub(super) fn describe() {
    describe_gauge!("tarn_manifest_cache_bytes", "Bytes of manifests in memory.");
    describe_gauge!(
        "tarn_manifest_cache_entries",
        "Manifests, lists and table metadata in memory."
    );
    describe_counter!(
        "tarn_manifest_cache_requests_total",
        "Manifests, lists and table metadata asked for."
    );
    describe_counter!(
        "tarn_manifest_cache_misses_total",
        "Of those, the ones that were read from storage."
    );
    describe_gauge!(
        "tarn_footer_cache_entries",
        "Parquet footers parsed in memory."
    );
    describe_counter!(
        "tarn_range_cache_blocks_total",
        "Blocks of data files that were asked for here and on workers, by where they were found: memory, disk or store."
    );
    describe_counter!(
        "tarn_range_cache_read_bytes_total",
        "Bytes of blocks of data files that were read here and on workers, by where they were found."
    );
    describe_counter!(
        "tarn_range_cache_store_requests_total",
        "Requests for blocks of data files to object stores, from here and from workers."
    );
    describe_counter!(
        "tarn_range_cache_evictions_total",
        "Blocks of data files that went to make room, by tier."
    );
    describe_counter!(
        "tarn_range_cache_disk_damaged_total",
        "Blocks on disk that were damaged and read from the store again."
    );
    describe_counter!(
        "tarn_range_cache_disk_skipped_total",
        "Blocks that were not written to disk because too many were waiting."
    );
    describe_gauge!(
        "tarn_range_cache_bytes",
        "Bytes of blocks of data files, by tier."
    );
    describe_gauge!(
        "tarn_range_cache_disk_on",
        "1 while blocks are kept on disk, 0 if that is configured off or the disk has failed."
    );
}

#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) fn expose(service: &Service) {
    let manifests = service.cache.stats();
    gauge!("tarn_manifest_cache_bytes").set(manifests.bytes as f64);
    gauge!("tarn_manifest_cache_entries").set(manifests.entries as f64);
    counter!("tarn_manifest_cache_requests_total").absolute(manifests.requests);
    counter!("tarn_manifest_cache_misses_total").absolute(manifests.misses);
    gauge!("tarn_footer_cache_entries").set(service.engine.footers_kept() as f64);
    let mut ranges = service.engine.ranges().stats();
    service.statements.workers().reads(|theirs| {
        ranges.memory_hits += theirs.memory_blocks;
        ranges.memory_read_bytes += theirs.memory_bytes;
        ranges.disk_hits += theirs.disk_blocks;
        ranges.disk_read_bytes += theirs.disk_bytes;
        ranges.misses += theirs.store_blocks;
        ranges.store_read_bytes += theirs.store_bytes;
        ranges.store_requests += theirs.store_requests;
    });
    for (from, blocks, bytes) in [
        ("memory", ranges.memory_hits, ranges.memory_read_bytes),
        ("disk", ranges.disk_hits, ranges.disk_read_bytes),
        ("store", ranges.misses, ranges.store_read_bytes),
    ] {
        counter!("tarn_range_cache_blocks_total", "from" => from).absolute(blocks);
        counter!("tarn_range_cache_read_bytes_total", "from" => from).absolute(bytes);
    }
    counter!("tarn_range_cache_store_requests_total").absolute(ranges.store_requests);
    for (tier, evictions, bytes) in [
        ("memory", ranges.memory_evictions, ranges.memory_bytes),
        ("disk", ranges.disk_evictions, ranges.disk_bytes),
    ] {
        counter!("tarn_range_cache_evictions_total", "tier" => tier).absolute(evictions);
        gauge!("tarn_range_cache_bytes", "tier" => tier).set(bytes as f64);
    }
    counter!("tarn_range_cache_disk_damaged_total").absolute(ranges.disk_damaged);
    counter!("tarn_range_cache_disk_skipped_total").absolute(ranges.disk_skipped);
    gauge!("tarn_range_cache_disk_on").set(f64::from(u8::from(ranges.disk_on)));
}
