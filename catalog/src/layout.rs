//! Where the data files of a table go: below one directory, or spread over many prefixes of an object store.
//!
//! Pure functions of table properties and names. Spreading follows Java's `ObjectStoreLocationProvider`, so that files
//! of all writers of a table are spread alike.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::properties::boolean;
use crate::table::Table;
use crate::transform::hash_bytes;

/// Table property that spreads data files.
pub(crate) const OBJECT_STORAGE_PROPERTY: &str = "write.object-storage.enabled";
/// Whether spread files still have their partition in their path; `true` unless it says `false`.
pub(crate) const PARTITIONED_PATHS_PROPERTY: &str = "write.object-storage.partitioned-paths";

/// Bits of the hash that become directories, four to each.
const ENTROPY_BITS: usize = 20;
/// Directories made of the hash before what is left of it.
const ENTROPY_DIRECTORIES: usize = 3;
/// Bits in the name of such a directory.
const ENTROPY_DIRECTORY_BITS: usize = 4;

/// How data files are spread below the data location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLayout {
    /// Schema and table, for a data location that several tables may share.
    context: Option<String>,
    partitioned: bool,
}

impl ObjectLayout {
    /// What `properties` say for a table at `location` whose data is at `data`; `None` if files are not spread.
    pub(crate) fn of(
        properties: &HashMap<String, String>,
        location: &str,
        data: &str,
    ) -> Option<Self> {
        let is = |key: &str, default: bool| {
            properties
                .get(key)
                .map_or(default, |text| text.trim().eq_ignore_ascii_case("true"))
        };
        if !is(OBJECT_STORAGE_PROPERTY, false) {
            return None;
        }
        let own = data.starts_with(location);
        let mut parts = location.trim_end_matches('/').rsplit('/');
        let context = match (parts.next(), parts.next()) {
            _ if own => None,
            (Some(table), Some(parent)) => Some(format!("{parent}/{table}")),
            _ => None,
        };
        Some(Self {
            context,
            partitioned: is(PARTITIONED_PATHS_PROPERTY, true),
        })
    }

    /// The path of a file below the data location. `partition` is its partition's directory; empty for none.
    pub fn path(&self, partition: &str, file: &str) -> String {
        let name = if self.partitioned && !partition.is_empty() {
            format!("{partition}/{file}")
        } else {
            file.to_owned()
        };
        let entropy = entropy(&name);
        match &self.context {
            Some(context) => format!("{entropy}/{context}/{name}"),
            None if self.partitioned => format!("{entropy}/{name}"),
            None => format!("{entropy}-{name}"),
        }
    }
}

impl Table {
    /// Where new data files go: `write.data.path`, else `<location>/data`.
    ///
    /// The older names of the property, `write.folder-storage.path` and for files that are spread
    /// `write.object-storage.path`, are heeded as Java heeds them.
    pub fn data_location(&self) -> String {
        let properties = self.properties();
        let spread = boolean(properties, OBJECT_STORAGE_PROPERTY, false);
        let names = if spread {
            &[
                "write.data.path",
                "write.object-storage.path",
                "write.folder-storage.path",
            ][..]
        } else {
            &["write.data.path", "write.folder-storage.path"]
        };
        self.location_or(names, "data")
    }

    /// Where new metadata files go: `write.metadata.path`, else `<location>/metadata`.
    pub fn metadata_directory(&self) -> String {
        self.location_or(&["write.metadata.path"], "metadata")
    }

    fn location_or(&self, properties: &[&str], folder: &str) -> String {
        let mut named = properties
            .iter()
            .filter_map(|name| self.properties().get(*name));
        match named.next() {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{}/{folder}", self.location()),
        }
    }

    /// How data files are spread below [`Self::data_location`]; `None` if they are not.
    pub fn object_layout(&self) -> Option<ObjectLayout> {
        ObjectLayout::of(self.properties(), self.location(), &self.data_location())
    }
}

/// Directories from a hash of the name, such as `0101/0110/1001/10110010`.
fn entropy(name: &str) -> String {
    let bits = format!("{:032b}", hash_bytes(name.as_bytes()));
    let bits = &bits[bits.len() - ENTROPY_BITS..];
    let (directories, rest) = bits.split_at(ENTROPY_DIRECTORIES * ENTROPY_DIRECTORY_BITS);
    let mut out = String::with_capacity(ENTROPY_BITS + ENTROPY_DIRECTORIES);
    for (place, bit) in directories.chars().enumerate() {
        if place > 0 && place % ENTROPY_DIRECTORY_BITS == 0 {
            out.push('/');
        }
        out.push(bit);
    }
    out.push('/');
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(extra: &[(&str, &str)], data: &str) -> Option<ObjectLayout> {
        let properties = [(OBJECT_STORAGE_PROPERTY, "true")]
            .iter()
            .chain(extra)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ObjectLayout::of(&properties, "s3://lake/main/t", data)
    }

    /// Names and hashes of Java's `TestLocationProvider`.
    #[test]
    fn names_are_spread_as_java_spreads_them() {
        let layout = layout(&[], "s3://lake/main/t/data").unwrap();
        for (name, path) in [
            ("a", "0101/0110/1001/10110010/a"),
            ("b", "1110/0111/1110/00000011/b"),
            ("c", "0010/1101/0110/01011111/c"),
            ("d", "1001/0001/0100/01110011/d"),
        ] {
            assert_eq!(layout.path("", name), path);
        }
    }

    #[test]
    fn partitions_and_tables_are_in_the_path_where_they_are_wanted() {
        let own = layout(&[], "s3://lake/main/t/data").unwrap();
        assert!(own.path("k=1", "f").ends_with("/k=1/f"));
        let shared = layout(&[], "s3://other/data").unwrap();
        assert!(shared.path("k=1", "f").ends_with("/main/t/k=1/f"));
        let flat = layout(
            &[(PARTITIONED_PATHS_PROPERTY, "false")],
            "s3://lake/main/t/data",
        );
        assert_eq!(flat.unwrap().path("k=1", "a"), "0101/0110/1001/10110010-a");
        let off = HashMap::from([(OBJECT_STORAGE_PROPERTY.to_owned(), "false".to_owned())]);
        assert_eq!(ObjectLayout::of(&off, "/t", "/t/data"), None);
    }
}
