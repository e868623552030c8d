//! Table properties that commits and metadata files heed: their names, and which values make sense.
//!
//! Tables of other writers may hold nonsense; where a property is used its default stands in then. Nobody can set
//! nonsense here: [`check_properties`] names the property.

use std::collections::HashMap;

use crate::error::{CatalogError, Result};
use crate::layout::{OBJECT_STORAGE_PROPERTY, PARTITIONED_PATHS_PROPERTY};

pub(crate) const RETRIES: &str = "commit.retry.num-retries";
pub(crate) const RETRY_WAIT_MIN: &str = "commit.retry.min-wait-ms";
pub(crate) const RETRY_WAIT_MAX: &str = "commit.retry.max-wait-ms";
pub(crate) const RETRY_TOTAL: &str = "commit.retry.total-timeout-ms";
pub(crate) const MERGE_ENABLED: &str = "commit.manifest-merge.enabled";
pub(crate) const MERGE_TARGET_BYTES: &str = "commit.manifest.target-size-bytes";
pub(crate) const MERGE_COUNT_MIN: &str = "commit.manifest.min-count-to-merge";
pub(crate) const SUMMARY_PARTITIONS_MAX: &str = "write.summary.partition-limit";
pub(crate) const METADATA_CODEC: &str = "write.metadata.compression-codec";
const METADATA_VERSIONS_MAX: &str = "write.metadata.previous-versions-max";
/// Removes old metadata files.
pub(crate) const DELETE_OLD_METADATA: &str = "write.metadata.delete-after-commit.enabled";
const FORMAT_DEFAULT: &str = "write.format.default";

/// What a property can be.
enum Kind {
    /// A whole number, at least so much.
    Number(u64),
    Boolean,
    OneOf(&'static [&'static str]),
}

const KNOWN: [(&str, Kind); 14] = [
    (RETRIES, Kind::Number(0)),
    (RETRY_WAIT_MIN, Kind::Number(0)),
    (RETRY_WAIT_MAX, Kind::Number(0)),
    (RETRY_TOTAL, Kind::Number(0)),
    (MERGE_ENABLED, Kind::Boolean),
    (MERGE_TARGET_BYTES, Kind::Number(1)),
    (MERGE_COUNT_MIN, Kind::Number(1)),
    (SUMMARY_PARTITIONS_MAX, Kind::Number(0)),
    (METADATA_CODEC, Kind::OneOf(&["none", "gzip"])),
    (METADATA_VERSIONS_MAX, Kind::Number(1)),
    (DELETE_OLD_METADATA, Kind::Boolean),
    (OBJECT_STORAGE_PROPERTY, Kind::Boolean),
    (PARTITIONED_PATHS_PROPERTY, Kind::Boolean),
    (FORMAT_DEFAULT, Kind::OneOf(&["parquet"])),
];

/// Refuses values without a meaning of the properties that this crate heeds; others pass.
///
/// # Errors
/// [`CatalogError::Invalid`] names the property, its value and what it could be.
#[allow(clippy::implicit_hasher)] // as the other functions of the crate
pub fn check_properties(properties: &HashMap<String, String>) -> Result<()> {
    for (name, kind) in &KNOWN {
        let Some(value) = properties.get(*name) else {
            continue;
        };
        let text = value.trim();
        let refuse = |expected: &str| {
            Err(CatalogError::invalid(format!(
                "table property \"{name}\" is \"{value}\"; {expected}"
            )))
        };
        match kind {
            Kind::Number(least) if text.parse::<u64>().is_ok_and(|number| number >= *least) => {}
            Kind::Number(least) => return refuse(&format!("use a whole number from {least} on")),
            Kind::Boolean if ["true", "false"].contains(&text.to_ascii_lowercase().as_str()) => {}
            Kind::Boolean => return refuse("use true or false"),
            Kind::OneOf(words) if words.iter().any(|word| word.eq_ignore_ascii_case(text)) => {}
            Kind::OneOf([one]) => return refuse(&format!("only {one} is written")),
            Kind::OneOf(words) => return refuse(&format!("use {}", words.join(" or "))),
        }
    }
    Ok(())
}

/// A number that a property says; `None` if it is not set or has no meaning.
pub(crate) fn number(properties: &HashMap<String, String>, name: &str) -> Option<u64> {
    properties.get(name)?.trim().parse().ok()
}

/// Whether a property says `true`; `default` if it is not set or has no meaning.
pub(crate) fn boolean(properties: &HashMap<String, String>, name: &str, default: bool) -> bool {
    match properties
        .get(name)
        .map(|text| text.trim().to_ascii_lowercase())
    {
        Some(text) if text == "true" => true,
        Some(text) if text == "false" => false,
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<()> {
        check_properties(&HashMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_the_property() {
        for (name, value) in [
            (RETRIES, "many"),
            (MERGE_COUNT_MIN, "0"),
            (MERGE_ENABLED, "yes"),
            (METADATA_CODEC, "zstd"),
            (FORMAT_DEFAULT, "orc"),
            (METADATA_VERSIONS_MAX, "-1"),
        ] {
            let text = check(name, value).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(value), "{text}");
        }
    }

    #[test]
    fn what_makes_sense_and_what_is_not_ours_passes() {
        for (name, value) in [
            (RETRIES, "0"),
            (MERGE_ENABLED, "FALSE"),
            (FORMAT_DEFAULT, "Parquet"),
            ("read.split.target-size", "whatever"),
        ] {
            check(name, value).unwrap();
        }
    }
}
