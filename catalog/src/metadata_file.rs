//! Table metadata files: reading any that follow the spec, writing and naming our own.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use iceberg::spec as ice;

use crate::cache::ManifestCache;
use crate::error::{CatalogError, Result};
use crate::foreign::Foreign;
use crate::ident::TableIdent;
use crate::properties::METADATA_CODEC;
use crate::storage::Stores;
use crate::table::{LoadedMetadata, Table};

/// Largest table metadata we decompress, in bytes.
const METADATA_BYTES_MAX: u64 = 1 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Newest format version we read.
const FORMAT_VERSION_MAX: u64 = 3;

/// Loads the table whose metadata is at `location`, through the cache.
pub(crate) async fn load(
    ident: &TableIdent,
    location: &str,
    stores: &Stores,
    cache: &ManifestCache,
) -> Result<Table> {
    let loaded = if has_unique_name(location) {
        cache.metadata(location, read(location, stores)).await?
    } else {
        // A name such as v3.metadata.json may be written again after a drop.
        Arc::new(read(location, stores).await?)
    };
    Ok(Table::new(
        ident.clone(),
        location.to_owned(),
        loaded,
        stores.clone(),
    ))
}

async fn read(location: &str, stores: &Stores) -> Result<LoadedMetadata> {
    let bytes = stores.read(location).await.map_err(|error| match error {
        CatalogError::FileNotFound {
            location, source, ..
        } => CatalogError::FileNotFound {
            location,
            next: "it is the table's metadata; restore it, or drop the table and register an \
                   earlier metadata file"
                .to_owned(),
            source,
        },
        other => other,
    })?;
    let location = location.to_owned();
    off_thread("table metadata", location.clone(), move || {
        let (metadata, foreign) = parse(&location, &bytes)?;
        Ok(LoadedMetadata::with_foreign(metadata, foreign))
    })
    .await
}

/// Runs CPU-bound parsing off the async threads. A panic in the parser means a damaged file.
pub(crate) async fn off_thread<T: Send + 'static>(
    what: &'static str,
    location: String,
    parse: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(parse).await {
        Ok(result) => result,
        Err(join) if join.is_panic() => Err(corrupt(what, &location, "it is malformed")),
        Err(_) => Err(CatalogError::internal("the server is shutting down")),
    }
}

pub(crate) fn corrupt(
    what: &'static str,
    location: &str,
    reason: impl Into<String>,
) -> CatalogError {
    CatalogError::Corrupt {
        what,
        location: location.to_owned(),
        reason: reason.into(),
        next: "restore the file from a backup, or return the table to an earlier version"
            .to_owned(),
    }
}

/// The JSON in a metadata file, which may be compressed.
pub(crate) fn unpacked<'a>(
    what: &'static str,
    location: &str,
    bytes: &'a Bytes,
) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes.as_ref())
        .take(METADATA_BYTES_MAX)
        .read_to_end(&mut out)
        .map_err(|error| corrupt(what, location, format!("gzip: {error}")))?;
    Ok(Cow::Owned(out))
}

fn parse(location: &str, bytes: &Bytes) -> Result<(ice::TableMetadata, Option<Foreign>)> {
    let json = unpacked("table metadata", location, bytes)?;
    let json = json.as_ref();
    let error = match serde_json::from_slice(json) {
        Ok(metadata) => return Ok((metadata, None)),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(json) else {
        return Err(refusal(location, json, &error));
    };
    number_old_snapshots(&mut value);
    let foreign = Foreign::take_out(&mut value);
    let metadata = serde_json::from_value(value);
    let metadata = metadata.map_err(|error| refusal(location, json, &error))?;
    Ok((metadata, foreign))
}

/// Snapshots of format version 1 have no sequence number, also after an upgrade: that is 0, which Java leaves out.
fn number_old_snapshots(metadata: &mut serde_json::Value) {
    let snapshots = metadata.get_mut("snapshots");
    let snapshots = snapshots.and_then(serde_json::Value::as_array_mut);
    for snapshot in snapshots.into_iter().flatten() {
        if let Some(snapshot) = snapshot.as_object_mut() {
            snapshot
                .entry("sequence-number")
                .or_insert_with(|| 0.into());
        }
    }
}

/// What is wrong with metadata that does not parse.
fn refusal(location: &str, json: &[u8], error: &serde_json::Error) -> CatalogError {
    {
        let reason = match serde_json::from_slice::<serde_json::Value>(json) {
            Err(syntax) => format!("it is not JSON ({syntax})"),
            Ok(value) => match value.get("format-version").map(|v| (v, v.as_u64())) {
                None => "it has no format-version".to_owned(),
                Some((_, Some(1..=FORMAT_VERSION_MAX))) => error.to_string(),
                Some((_, Some(version))) => {
                    return CatalogError::unsupported(format!(
                        "table metadata \"{location}\": format version {version} is unknown (1 to {FORMAT_VERSION_MAX} are read); use a newer release of Tarn"
                    ));
                }
                Some((version, None)) => {
                    return CatalogError::Corrupt {
                        what: "table metadata",
                        location: location.to_owned(),
                        reason: format!(
                            "format version {version} is unknown (1 to {FORMAT_VERSION_MAX} are read)"
                        ),
                        next: "use a newer release of Tarn".to_owned(),
                    };
                }
            },
        };
        corrupt("table metadata", location, reason)
    }
}

/// Writes `metadata` under a fresh name in `directory`; returns its location.
pub(crate) async fn write(
    stores: &Stores,
    metadata: &ice::TableMetadata,
    directory: &str,
    version: u64,
) -> Result<String> {
    let json = to_json(metadata)
        .map_err(|error| CatalogError::internal(format!("metadata does not serialise: {error}")))?;
    let gzip = metadata
        .properties()
        .get(METADATA_CODEC)
        .is_some_and(|codec| codec.trim().eq_ignore_ascii_case("gzip"));
    let (bytes, suffix) = if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let packed = encoder
            .write_all(&json)
            .and_then(|()| encoder.finish())
            .map_err(|error| CatalogError::internal(format!("gzip: {error}")))?;
        (packed, ".gz")
    } else {
        (json, "")
    };
    let id = uuid::Uuid::new_v4();
    let location = format!("{directory}/{version:05}-{id}{suffix}.metadata.json");
    stores.write(&location, bytes.into()).await?;
    Ok(location)
}

/// The metadata as JSON, snapshots in the order in which they were made: other readers show them as they come.
fn to_json(metadata: &ice::TableMetadata) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_value(metadata)?;
    if let Some(snapshots) = json
        .get_mut("snapshots")
        .and_then(serde_json::Value::as_array_mut)
    {
        let number = |snapshot: &serde_json::Value, key: &str| snapshot.get(key)?.as_i64();
        snapshots.sort_by_key(|snapshot| {
            let sequence = number(snapshot, "sequence-number");
            (sequence, number(snapshot, "timestamp-ms"))
        });
    }
    serde_json::to_vec(&json)
}

/// The version number to put into the name of the file that follows `table`'s current one.
///
/// Ours are called `00003-<uuid>.metadata.json`, Hadoop's `v3.metadata.json`; for any other name the
/// count of previous versions is close enough, since the UUID makes names unique.
pub(crate) fn next_version(table: &Table) -> u64 {
    next_after(table.metadata_location())
        .unwrap_or_else(|| table.metadata().metadata_log().len() as u64 + 1)
}

/// The version number after that in the name of a metadata file.
pub(crate) fn next_after(location: &str) -> Option<u64> {
    let name = file_name(location);
    let digits = name.strip_prefix('v').unwrap_or(name);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    match digits[..end].parse::<u64>() {
        Ok(version) if version < u64::from(u32::MAX) => Some(version + 1),
        _ => None,
    }
}

fn file_name(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or(location)
}

/// Whether the file name holds a UUID, so that nobody will ever write it again.
pub(crate) fn has_unique_name(location: &str) -> bool {
    file_name(location)
        .split_once('-')
        .and_then(|(_, rest)| rest.get(..36))
        .is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    fn check_corrupt(bytes: &'static [u8], expected: &str) {
        let error = parse("s3://b/x.json", &Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt);
        let text = error.to_string();
        assert!(
            text.contains("s3://b/x.json") && text.contains(expected),
            "{text}"
        );
    }

    #[test]
    fn damaged_metadata_says_what_is_wrong() {
        check_corrupt(b"", "not JSON");
        check_corrupt(b"{\"format-version\": 2", "not JSON");
        check_corrupt(b"{}", "no format-version");
        check_corrupt(b"{\"format-version\": \"x\"}", "is unknown");
        check_corrupt(b"{\"format-version\": 2}", "cannot be read");
        check_corrupt(b"\x1f\x8b\x00", "gzip");
    }

    #[test]
    fn a_newer_format_is_unsupported_rather_than_damaged() {
        let bytes = Bytes::from_static(b"{\"format-version\": 7}");
        let error = parse("s3://b/x.json", &bytes).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported);
        let text = error.to_string();
        assert!(text.contains("s3://b/x.json") && text.contains("version 7 is unknown"));
    }

    #[test]
    fn only_names_with_a_uuid_are_cached() {
        assert!(has_unique_name(
            "s3://b/metadata/00001-2cd22b57-5127-4198-92ba-e4e67c79821b.gz.metadata.json"
        ));
        assert!(!has_unique_name("s3://b/metadata/v3.metadata.json"));
        assert!(!has_unique_name(
            "s3://b/metadata/00001-short.metadata.json"
        ));
    }
}
