//! Views: SQL text and columns, versioned in metadata files as the Iceberg view spec has them.
//!
//! A view's text is stored in the dialect `tarn`; other engines may add theirs to the same view. Nothing
//! here reads the text: what it means is the engine's business.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::NamespaceIdent;
use iceberg::spec as ice;

use crate::cache::ManifestCache;
use crate::commit::delete_files;
use crate::error::{CatalogError, Result};
use crate::ident::{Namespace, TableIdent};
use crate::metadata_file::{self, corrupt, off_thread};
use crate::schema;
use crate::storage::Stores;
use crate::table::COMMENT_PROPERTY;

/// The dialect of SQL that Tarn stores and reads.
pub const VIEW_DIALECT: &str = "tarn";
/// Schemas of views may hold every type that we know.
const SCHEMA_FORMAT_VERSION: u8 = 3;
/// What a damaged file is called in messages.
const WHAT: &str = "view metadata";

/// One version of one view, as its metadata file describes it. Cheap to clone.
#[derive(Clone)]
pub struct View {
    ident: TableIdent,
    metadata_location: String,
    loaded: Arc<LoadedView>,
}

/// A parsed metadata file of a view, shared through the cache.
pub(crate) struct LoadedView {
    metadata: ice::ViewMetadata,
    arrow_schema: SchemaRef,
}

/// What a version of a view says.
#[derive(Clone, Debug)]
pub struct ViewDefinition {
    /// Its columns, without field ids; comments in the metadata key `iceberg.doc`.
    pub schema: SchemaRef,
    /// The query, in the dialect `tarn`.
    pub sql: String,
    /// Catalog of names in the query that have none.
    pub default_catalog: String,
    /// Namespace of names in the query that have none.
    pub default_namespace: Namespace,
    /// What the engine wants to know of this version besides, by keys of its own.
    pub notes: HashMap<String, String>,
}

/// What a new view looks like.
#[derive(Clone, Debug)]
pub struct ViewCreation {
    /// Its name.
    pub ident: TableIdent,
    /// Its first version.
    pub definition: ViewDefinition,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

/// A change of a view.
#[derive(Clone, Debug, Default)]
pub struct ViewChange {
    /// A new version, which becomes the current one.
    pub definition: Option<ViewDefinition>,
    /// Properties to set.
    pub set: HashMap<String, String>,
    /// Properties to remove.
    pub remove: Vec<String>,
}

impl LoadedView {
    fn new(metadata: ice::ViewMetadata) -> Self {
        let arrow_schema = schema::to_arrow(metadata.current_schema());
        Self {
            metadata,
            arrow_schema,
        }
    }

    /// Memory this takes, roughly, for cache accounting.
    pub(crate) fn approximate_bytes(&self) -> usize {
        const BASE: usize = 2048;
        const PER_COLUMN: usize = 400;
        let columns: usize = self
            .metadata
            .schemas_iter()
            .map(|schema| schema.field_id_to_fields().len())
            .sum();
        let text: usize = self
            .metadata
            .versions()
            .flat_map(|version| version.representations().iter())
            .map(|ice::ViewRepresentation::Sql(sql)| sql.sql.len())
            .sum();
        BASE + columns * PER_COLUMN + text
    }
}

impl View {
    fn new(ident: TableIdent, metadata_location: String, loaded: Arc<LoadedView>) -> Self {
        Self {
            ident,
            metadata_location,
            loaded,
        }
    }

    /// Name of the view.
    pub fn ident(&self) -> &TableIdent {
        &self.ident
    }

    /// Where the metadata file of this version is.
    pub fn metadata_location(&self) -> &str {
        &self.metadata_location
    }

    /// The view's identity, which survives renaming and replacing.
    pub fn uuid(&self) -> uuid::Uuid {
        self.loaded.metadata.uuid()
    }

    /// The view's properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.loaded.metadata.properties()
    }

    /// The view's comment.
    pub fn comment(&self) -> Option<&str> {
        self.properties().get(COMMENT_PROPERTY).map(String::as_str)
    }

    /// Its columns when it was made. Fields carry their comments in metadata.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.loaded.arrow_schema)
    }

    /// Number of the current version, from 1.
    pub fn version_id(&self) -> i32 {
        self.version().version_id()
    }

    /// The query in our dialect; `None` if only other engines' are there.
    pub fn sql(&self) -> Option<&str> {
        self.texts()
            .find(|text| text.dialect.eq_ignore_ascii_case(VIEW_DIALECT))
            .map(|text| text.sql.as_str())
    }

    /// The dialects in which the current version is there.
    pub fn dialects(&self) -> Vec<&str> {
        self.texts().map(|text| text.dialect.as_str()).collect()
    }

    /// Catalog of names in the query that have none; that of the view if `None`.
    pub fn default_catalog(&self) -> Option<&str> {
        self.version().default_catalog().map(String::as_str)
    }

    /// Namespace of names in the query that have none.
    pub fn default_namespace(&self) -> Namespace {
        let parts = self.version().default_namespace().as_ref().clone();
        Namespace::from_parts(parts).unwrap_or_else(|_| self.ident.namespace.clone())
    }

    /// What the engine noted about the current version under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.version().summary().get(key).map(String::as_str)
    }

    /// What the current version says, to make the next one of it.
    pub fn definition(&self) -> Option<ViewDefinition> {
        Some(ViewDefinition {
            notes: self.version().summary().clone(),
            schema: self.arrow_schema(),
            sql: self.sql()?.to_owned(),
            default_catalog: self.default_catalog()?.to_owned(),
            default_namespace: self.default_namespace(),
        })
    }

    fn version(&self) -> &ice::ViewVersionRef {
        self.loaded.metadata.current_version()
    }

    fn texts(&self) -> impl Iterator<Item = &ice::SqlViewRepresentation> {
        self.version()
            .representations()
            .iter()
            .map(|ice::ViewRepresentation::Sql(text)| text)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("ident", &self.ident)
            .field("metadata_location", &self.metadata_location)
            .finish_non_exhaustive()
    }
}

/// The metadata of a new view, rooted at `location`.
pub(crate) fn first_metadata(
    creation: &ViewCreation,
    location: String,
) -> Result<ice::ViewMetadata> {
    let refuse = |error: iceberg::Error| refused(&creation.ident, "created", &error);
    let (version, schema) = version(&creation.ident, &creation.definition, "create")?;
    ice::ViewMetadataBuilder::new(
        location,
        schema,
        version,
        ice::ViewFormatVersion::V1,
        creation.properties.clone(),
    )
    .and_then(ice::ViewMetadataBuilder::build)
    .map(|built| built.metadata)
    .map_err(refuse)
}

/// The metadata that `change` makes of `head`.
pub(crate) fn next_metadata(head: &View, change: &ViewChange) -> Result<ice::ViewMetadata> {
    let refuse = |error: iceberg::Error| refused(&head.ident, "changed", &error);
    let mut builder = head.loaded.metadata.clone().into_builder();
    if let Some(definition) = &change.definition {
        let (version, schema) = version(&head.ident, definition, "replace")?;
        builder = builder
            .set_current_version(version, schema)
            .map_err(refuse)?;
    }
    let built = builder
        .set_properties(change.set.clone())
        .map_err(refuse)?
        .remove_properties(&change.remove)
        .build()
        .map_err(refuse)?;
    Ok(built.metadata)
}

fn refused(ident: &TableIdent, what: &str, error: &iceberg::Error) -> CatalogError {
    CatalogError::invalid(format!(
        "view \"{ident}\" cannot be {what}: {}",
        error.message()
    ))
}

fn version(
    ident: &TableIdent,
    definition: &ViewDefinition,
    operation: &str,
) -> Result<(ice::ViewVersion, ice::Schema)> {
    let schema = schema::from_arrow(&definition.schema, SCHEMA_FORMAT_VERSION)?;
    let namespace = NamespaceIdent::from_vec(definition.default_namespace.parts().to_vec())
        .map_err(|error| refused(ident, "created", &error))?;
    // The crate makes a list of texts only from its JSON form.
    let text = serde_json::json!([{
        "type": "sql",
        "sql": definition.sql,
        "dialect": VIEW_DIALECT,
    }]);
    let representations = serde_json::from_value(text)
        .map_err(|error| CatalogError::internal(format!("a view's text: {error}")))?;
    let mut summary = definition.notes.clone();
    for (key, value) in [
        ("engine-name", VIEW_DIALECT),
        ("engine-version", env!("CARGO_PKG_VERSION")),
        ("operation", operation),
    ] {
        summary.insert(key.to_owned(), value.to_owned());
    }
    let version = ice::ViewVersion::builder()
        .with_schema_id(schema.schema_id())
        .with_timestamp_ms(now_ms())
        .with_summary(summary)
        .with_representations(representations)
        .with_default_catalog(Some(definition.default_catalog.clone()))
        .with_default_namespace(namespace)
        .build();
    Ok((version, schema))
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// Loads the view whose metadata is at `location`, through the cache.
pub(crate) async fn load(
    ident: &TableIdent,
    location: &str,
    stores: &Stores,
    cache: &ManifestCache,
) -> Result<View> {
    let loaded = if metadata_file::has_unique_name(location) {
        cache.view(location, read(location, stores)).await?
    } else {
        Arc::new(read(location, stores).await?)
    };
    Ok(View::new(ident.clone(), location.to_owned(), loaded))
}

async fn read(location: &str, stores: &Stores) -> Result<LoadedView> {
    let bytes = stores.read(location).await.map_err(|error| match error {
        CatalogError::FileNotFound {
            location, source, ..
        } => CatalogError::FileNotFound {
            location,
            next: "it is the view's metadata; restore it, or drop the view and make it again"
                .to_owned(),
            source,
        },
        other => other,
    })?;
    let location = location.to_owned();
    off_thread(WHAT, location.clone(), move || {
        parse(&location, &bytes).map(LoadedView::new)
    })
    .await
}

fn parse(location: &str, bytes: &Bytes) -> Result<ice::ViewMetadata> {
    let json = metadata_file::unpacked(WHAT, location, bytes)?;
    let metadata: ice::ViewMetadata = serde_json::from_slice(&json)
        .map_err(|error| corrupt(WHAT, location, error.to_string()))?;
    Ok(metadata)
}

/// Writes `metadata` under a fresh name below its location; returns the view.
pub(crate) async fn write(
    ident: &TableIdent,
    metadata: ice::ViewMetadata,
    version: u64,
    stores: &Stores,
) -> Result<View> {
    let json = serde_json::to_vec(&metadata)
        .map_err(|error| CatalogError::internal(format!("metadata does not serialise: {error}")))?;
    let id = uuid::Uuid::new_v4();
    let location = format!(
        "{}/metadata/{version:05}-{id}.metadata.json",
        metadata.location()
    );
    stores.write(&location, json.into()).await?;
    Ok(View::new(
        ident.clone(),
        location,
        Arc::new(LoadedView::new(metadata)),
    ))
}

/// Deletes the metadata files of a dropped view, as far as possible: all of them where the folder is
/// surely the view's own, else the current one.
pub(crate) async fn remove_files(metadata_location: &str, stores: &Stores) {
    let own = metadata_location
        .rsplit_once("/metadata/")
        .filter(|(root, _)| has_fresh_location(root))
        .map(|(root, _)| format!("{root}/metadata"));
    let mut files = vec![metadata_location.to_owned()];
    if let Some(folder) = own {
        match listed(&folder, stores).await {
            Ok(found) => files = found,
            Err(error) => {
                tracing::warn!(folder, error = %error.chain(), "some files of a dropped view stay");
            }
        }
    }
    delete_files(stores, &files).await;
}

/// Whether a location was made for one view: its name ends in a UUID.
fn has_fresh_location(root: &str) -> bool {
    root.rsplit_once('-')
        .is_some_and(|(_, id)| id.len() == 32 && uuid::Uuid::try_parse(id).is_ok())
}

async fn listed(folder: &str, stores: &Stores) -> Result<Vec<String>> {
    let (store, prefix) = stores.resolve(folder)?;
    let objects: Vec<_> = store
        .list(Some(&prefix))
        .try_collect()
        .await
        .map_err(|error| stores.explain(folder, error))?;
    let name = |object: object_store::ObjectMeta| {
        let name = object.location.filename()?;
        Some(format!("{folder}/{name}"))
    };
    Ok(objects.into_iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::ErrorCode;

    fn definition(sql: &str, columns: &[&str]) -> ViewDefinition {
        let fields: Vec<_> = columns
            .iter()
            .map(|name| Field::new(*name, DataType::Int64, true))
            .collect();
        ViewDefinition {
            schema: Arc::new(Schema::new(fields)),
            sql: sql.to_owned(),
            default_catalog: "lake".to_owned(),
            default_namespace: Namespace::new("main"),
            notes: HashMap::from([("tarn.note".to_owned(), "n".to_owned())]),
        }
    }

    fn view(sql: &str, columns: &[&str]) -> View {
        let creation = ViewCreation {
            ident: TableIdent::new(Namespace::new("main"), "v"),
            definition: definition(sql, columns),
            properties: HashMap::from([("comment".to_owned(), "c".to_owned())]),
        };
        let metadata = first_metadata(&creation, "s3://b/main/v-1/".to_owned()).unwrap();
        View::new(
            creation.ident,
            String::new(),
            Arc::new(LoadedView::new(metadata)),
        )
    }

    #[test]
    fn a_view_is_written_as_the_spec_has_it() {
        let view = view("SELECT a FROM t", &["a"]);
        let json = serde_json::to_value(&view.loaded.metadata).unwrap();
        assert_eq!(json["format-version"], 1);
        assert_eq!(json["location"], "s3://b/main/v-1");
        assert_eq!(json["current-version-id"], 1);
        assert_eq!(json["properties"]["comment"], "c");
        let version = &json["versions"][0];
        assert_eq!(version["default-catalog"], "lake");
        assert_eq!(version["default-namespace"][0], "main");
        assert_eq!(version["summary"]["engine-name"], "tarn");
        let text = &version["representations"][0];
        assert_eq!(text["type"], "sql");
        assert_eq!(text["dialect"], "tarn");
        assert_eq!(text["sql"], "SELECT a FROM t");
        assert_eq!(json["schemas"][0]["fields"][0]["name"], "a");
        assert_eq!(json["version-log"][0]["version-id"], 1);
    }

    #[test]
    fn a_replaced_view_keeps_its_identity_and_its_earlier_versions() {
        let old = view("SELECT 1 AS a", &["a"]);
        let change = ViewChange {
            definition: Some(definition("SELECT 1 AS b", &["b"])),
            remove: vec!["comment".to_owned()],
            ..ViewChange::default()
        };
        let metadata = next_metadata(&old, &change).unwrap();
        let new = View::new(
            old.ident.clone(),
            String::new(),
            Arc::new(LoadedView::new(metadata)),
        );
        assert_eq!(new.uuid(), old.uuid());
        assert_eq!(new.version_id(), 2);
        assert_eq!(new.sql(), Some("SELECT 1 AS b"));
        assert_eq!(new.arrow_schema().field(0).name(), "b");
        assert_eq!(new.comment(), None);
        assert_eq!(new.note("tarn.note"), Some("n"));
        assert_eq!(new.loaded.metadata.versions().len(), 2);
    }

    #[test]
    fn a_view_of_another_engine_has_no_text_of_ours() {
        let mut json =
            serde_json::to_value(&view("SELECT 1 AS a", &["a"]).loaded.metadata).unwrap();
        json["versions"][0]["representations"][0]["dialect"] = "spark".into();
        let bytes = Bytes::from(serde_json::to_vec(&json).unwrap());
        let metadata = parse("s3://b/v.json", &bytes).unwrap();
        let ident = TableIdent::new(Namespace::new("main"), "v");
        let view = View::new(ident, String::new(), Arc::new(LoadedView::new(metadata)));
        assert_eq!(view.sql(), None);
        assert_eq!(view.dialects(), ["spark"]);
    }

    #[test]
    fn damaged_metadata_names_the_file() {
        for bytes in [&b"{"[..], b"{\"format-version\": 1}", b"\x1f\x8b\x00"] {
            let error = parse("s3://b/v.json", &Bytes::copy_from_slice(bytes)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Corrupt);
            assert!(error.to_string().contains("s3://b/v.json"), "{error}");
        }
    }
}
