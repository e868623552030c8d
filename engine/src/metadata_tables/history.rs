//! What a table was and is, from its metadata file alone.

use futures::FutureExt;
use futures::future;

use super::About;
use super::columns::Columns;
use tarn_catalog::{LogEntry, Snapshot, TableRef};

/// Columns over rows that are here already.
fn of<R: Clone + Send + Sync + 'static>(rows: Vec<R>) -> Columns<R> {
    Columns::new(move || future::ready(Ok(rows.clone())).boxed())
}

pub(super) fn snapshots(about: &About) -> Columns<Snapshot> {
    of(about.table.snapshots())
        .moment(about, "committed_at", |s| Some(s.timestamp_ms))
        .long("snapshot_id", |s| Some(s.id))
        .long("parent_id", |s| s.parent_id)
        .text("operation", |s| Some(s.operation.clone()))
        .text("manifest_list", |s| Some(s.manifest_list.clone()))
        .texts("summary", |s| Some(&s.summary))
        .long("sequence_number", |s| Some(s.sequence_number))
        .int("schema_id", |s| s.schema_id)
}

pub(super) fn history(about: &About) -> Columns<(LogEntry<i64>, Option<i64>, bool)> {
    let ancestors = about.table.current_ancestors();
    let rows = about.table.history().into_iter().map(|entry| {
        let snapshot = about.table.snapshot_by_id(entry.what);
        let is_ancestor = ancestors.contains(&entry.what);
        (entry, snapshot.and_then(|s| s.parent_id), is_ancestor)
    });
    of(rows.collect())
        .moment(about, "made_current_at", |(entry, _, _)| {
            Some(entry.timestamp_ms)
        })
        .long("snapshot_id", |(entry, _, _)| Some(entry.what))
        .long("parent_id", |(_, parent, _)| *parent)
        .boolean("is_current_ancestor", |(_, _, is_ancestor)| {
            Some(*is_ancestor)
        })
}

pub(super) fn refs(about: &About) -> Columns<TableRef> {
    of(about.table.refs())
        .text("name", |r| Some(r.name.clone()))
        .text("type", |r| {
            Some(if r.is_branch { "BRANCH" } else { "TAG" }.to_owned())
        })
        .long("snapshot_id", |r| Some(r.snapshot_id))
        .long("max_reference_age_in_ms", |r| r.max_ref_age_ms)
        .int("min_snapshots_to_keep", |r| r.min_snapshots_to_keep)
        .long("max_snapshot_age_in_ms", |r| r.max_snapshot_age_ms)
}

pub(super) fn metadata_log(about: &About) -> Columns<(LogEntry<String>, Option<Snapshot>)> {
    let rows = about.table.metadata_log().into_iter().map(|entry| {
        let snapshot = about.table.snapshot_as_of(entry.timestamp_ms);
        (entry, snapshot)
    });
    of(rows.collect())
        .moment(about, "timestamp", |(entry, _)| Some(entry.timestamp_ms))
        .text("file", |(entry, _)| Some(entry.what.clone()))
        .long("latest_snapshot_id", |(_, s)| s.as_ref().map(|s| s.id))
        .int("latest_schema_id", |(_, s)| {
            s.as_ref().and_then(|s| s.schema_id)
        })
        .long("latest_sequence_number", |(_, s)| {
            s.as_ref().map(|s| s.sequence_number)
        })
}

pub(super) fn properties(about: &About) -> Columns<(String, String)> {
    let properties = about.table.properties().iter();
    let mut rows: Vec<_> = properties.map(|(k, v)| (k.clone(), v.clone())).collect();
    rows.sort();
    of(rows)
        .text("key", |(key, _)| Some(key.clone()))
        .text("value", |(_, value)| Some(value.clone()))
}
