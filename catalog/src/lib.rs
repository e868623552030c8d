//! Iceberg tables for Tarn: load them, plan over their metadata, commit to them.
//!
//! This crate knows Iceberg, object storage and Arrow schemas. It never knows SQL, query plans or
//! sockets. The crate `iceberg` and its older Arrow are named here only and never leave.
//!
//! A read: [`Catalog::load_table`], then [`snapshot_files`]. A write: data files are written by the
//! engine, then [`append`] or, for a new table, [`Catalog::stage_table`] and [`create_with_files`].

mod avro;
mod by_field;
mod cache;
mod catalog;
pub mod commit;
mod confined;
mod creation;
mod deletes;
mod error;
mod evolution;
mod foreign;
mod ident;
mod layout;
mod literal;
pub mod manifest;
mod manifest_read;
mod metadata_file;
mod name_mapping;
mod orphans;
mod properties;
mod purge;
mod ranges;
mod schema;
mod sorting;
mod sql_catalog;
mod storage;
mod summary;
mod table;
mod transform;
mod view;

pub use by_field::ByField;
pub use cache::{CacheStats, ManifestCache};
pub use catalog::{Catalog, CatalogEntry, EntryKind, StagedTable, TableCommit};
pub use commit::{
    NewDataFile, append, append_unchanged, check_append, create_with_files, delete_files, truncate,
    update_properties,
};
pub use creation::{FORMAT_VERSION_PROPERTY, TableCreation};
pub use deletes::{DeleteIndex, deletes_for};
pub use error::{CatalogError, Cause, ErrorCode, Result};
pub use evolution::{ColumnPath, SchemaChange, change_schema};
pub use foreign::{TYPE_META_KEY, TableColumn};
pub use ident::{NAME_BYTES_MAX, Namespace, TableIdent};
pub use layout::ObjectLayout;
pub use literal::{Literal, literal_at, literals_to_array};
pub use manifest::{
    ContentFile, DataFile, DeleteFile, DeleteKind, EntryStatus, FileFormat, ManifestContent,
    ManifestEntry, ManifestInfo, PartitionSummary, SnapshotFiles, manifest_entries, manifests,
    snapshot_files,
};
pub use name_mapping::{MappedField, NAME_MAPPING_PROPERTY, NameMapping};
pub use orphans::{Removed, remove_orphan_files};
pub use properties::check_properties;
pub use ranges::{
    CachedObject, ImmutableObject, RangeCache, RangeCacheConfig, RangeCacheStats, ReadFrom,
    ReadObserver,
};
pub use schema::{DOC_META_KEY, check_nanoseconds, field_id, iceberg_type_name};
pub use sorting::{SortField, SortFieldDef, SortOrder, replace_sort_order};
pub use sql_catalog::{SqlCatalog, SqlCatalogConfig};
pub use storage::{S3Config, Secret, StorageConfig, Stores};
pub use table::{
    COMMENT_PROPERTY, LogEntry, MAIN_BRANCH, PartitionField, PartitionSpec, Snapshot, Table,
    TableRef,
};
pub use transform::{PartitionFieldDef, Transform};
pub use view::{VIEW_DIALECT, View, ViewChange, ViewCreation, ViewDefinition};
