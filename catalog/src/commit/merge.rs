//! Merging small manifests while files are appended, so that a table of many commits stays quick to plan.
//!
//! Which ones are merged follows Java's `ManifestMergeManager`: manifests of one partition spec are packed from the
//! oldest on; the bin with the newest one is merged only once it holds enough of them.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec as ice;

use super::{Session, manifest_write};
use crate::error::Result;
use crate::manifest::read_rewritable;
use crate::properties::{self, MERGE_COUNT_MIN, MERGE_ENABLED, MERGE_TARGET_BYTES};
use crate::table::Table;

/// Default of `commit.manifest.target-size-bytes`.
const TARGET_BYTES: u64 = 8 << 20;
/// Default of `commit.manifest.min-count-to-merge`.
const COUNT_MIN: u64 = 100;

/// What the properties of a table say about merging.
#[derive(Debug, Clone, Copy)]
struct Policy {
    enabled: bool,
    target_bytes: u64,
    count_min: usize,
}

impl Policy {
    fn of(properties: &HashMap<String, String>) -> Self {
        let number = |name, default| {
            properties::number(properties, name)
                .filter(|number| *number > 0)
                .unwrap_or(default)
        };
        Self {
            enabled: properties::boolean(properties, MERGE_ENABLED, true),
            target_bytes: number(MERGE_TARGET_BYTES, TARGET_BYTES),
            count_min: usize::try_from(number(MERGE_COUNT_MIN, COUNT_MIN)).unwrap_or(usize::MAX),
        }
    }
}

/// The manifests of a new snapshot, newest first, with small data manifests merged where they are many.
///
/// Delete manifests stay as they are, and so do those that the crate cannot write again. What is merged is kept in `session`, to be removed by the next try.
pub(super) async fn merged(
    head: &Table,
    manifests: Vec<ice::ManifestFile>,
    session: &mut Session,
) -> Result<Vec<ice::ManifestFile>> {
    let policy = Policy::of(head.properties());
    if !policy.enabled {
        return Ok(manifests);
    }
    let bins = bins(&manifests, policy);
    if bins.is_empty() {
        return Ok(manifests);
    }
    // Where the first manifest of a bin was, the merged one stands.
    let mut merged: HashMap<usize, Option<ice::ManifestFile>> = HashMap::new();
    for bin in bins {
        let Some((bin, written)) = merge(head, &manifests, bin, session).await? else {
            continue;
        };
        let mut places = bin.into_iter();
        if let Some(first) = places.next() {
            merged.insert(first, Some(written));
        }
        merged.extend(places.map(|place| (place, None)));
    }
    let mut out = Vec::with_capacity(manifests.len());
    for (place, manifest) in manifests.into_iter().enumerate() {
        match merged.remove(&place) {
            None => out.push(manifest),
            Some(Some(written)) => out.push(written),
            Some(None) => {}
        }
    }
    Ok(out)
}

/// Places of the manifests that are to be merged, a list for each new one, newest first.
fn bins(manifests: &[ice::ManifestFile], policy: Policy) -> Vec<Vec<usize>> {
    let mut by_spec: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (place, manifest) in manifests.iter().enumerate() {
        if manifest.content == ice::ManifestContentType::Data {
            by_spec
                .entry(manifest.partition_spec_id)
                .or_default()
                .push(place);
        }
    }
    let mut out = Vec::new();
    for places in by_spec.into_values() {
        let newest = places.first().copied();
        // From the oldest on: the bin that is left under-full is the newest, which merges next time.
        let mut bin: Vec<usize> = Vec::new();
        let mut bytes = 0_u64;
        let mut full = Vec::new();
        for place in places.into_iter().rev() {
            let size = u64::try_from(manifests[place].manifest_length).unwrap_or(0);
            if !bin.is_empty() && bytes.saturating_add(size) > policy.target_bytes {
                full.push(std::mem::take(&mut bin));
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            bin.push(place);
        }
        full.push(bin);
        for mut bin in full {
            bin.reverse();
            let waits =
                newest.is_some_and(|newest| bin.contains(&newest)) && bin.len() < policy.count_min;
            if bin.len() > 1 && !waits {
                out.push(bin);
            }
        }
    }
    out
}

/// Merges the manifests of a bin that can be written again; gives their places, and nothing if there are not two of them.
async fn merge(
    head: &Table,
    manifests: &[ice::ManifestFile],
    bin: Vec<usize>,
    session: &mut Session,
) -> Result<Option<(Vec<usize>, ice::ManifestFile)>> {
    let spec = bin.first().map(|place| manifests[*place].partition_spec_id);
    if spec.is_none_or(|spec| manifest_write::check(head, spec).is_err()) {
        return Ok(None);
    }
    let mut places = Vec::with_capacity(bin.len());
    let mut sources = Vec::with_capacity(bin.len());
    for place in bin {
        let manifest = &manifests[place];
        if let Some(content) = read_rewritable(head, manifest).await? {
            places.push(place);
            sources.push((manifest, content));
        }
    }
    if sources.len() < 2 {
        return Ok(None);
    }
    let written = manifest_write::write_merged(head, &sources, session).await?;
    session.merged.push(written.manifest_path.clone());
    Ok(Some((places, written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(spec: i32, bytes: i64, content: ice::ManifestContentType) -> ice::ManifestFile {
        ice::ManifestFile {
            manifest_path: String::new(),
            manifest_length: bytes,
            partition_spec_id: spec,
            content,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            added_files_count: Some(1),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(1),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    fn check(manifests: &[ice::ManifestFile], count_min: usize, expected: &[&[usize]]) {
        let policy = Policy {
            enabled: true,
            target_bytes: 100,
            count_min,
        };
        assert_eq!(bins(manifests, policy), expected);
    }

    #[test]
    fn few_new_manifests_wait_and_old_ones_are_merged() {
        let data = |spec, bytes| manifest(spec, bytes, ice::ManifestContentType::Data);
        check(&[data(0, 40), data(0, 40)], 3, &[]);
        check(&[data(0, 30), data(0, 30), data(0, 30)], 3, &[&[0, 1, 2]]);
        // The oldest two are full together; the newest waits.
        check(&[data(0, 40), data(0, 50), data(0, 50)], 2, &[&[1, 2]]);
        check(&[data(0, 200), data(0, 200)], 1, &[]);
    }

    #[test]
    fn specs_and_deletes_are_kept_apart() {
        let data = |spec| manifest(spec, 10, ice::ManifestContentType::Data);
        let deletes = manifest(0, 10, ice::ManifestContentType::Deletes);
        check(&[data(0), data(1), deletes.clone(), deletes], 1, &[]);
        check(
            &[data(1), data(0), data(1), data(0)],
            2,
            &[&[1, 3], &[0, 2]],
        );
    }
}
