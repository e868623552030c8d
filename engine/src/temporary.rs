//! Temporary tables and views: those of one session, gone when it ends.
//!
//! They are tables like all others, so that workers can read and write them, in a schema of the session's
//! own, which nobody else sees. When the last copy of a session is dropped its schema goes with all its
//! files; what a server that died left over goes when it starts again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tarn_catalog::{Catalog, ErrorCode, Namespace, TableIdent};
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::lookup::{is_temporary, temporary_namespace};
use crate::session::Session;

/// Namespace property that says which server made a temporary schema.
const SERVER_PROPERTY: &str = "tarn.server";

/// The temporary tables of a session, shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct TemporarySpace {
    made: Arc<Made>,
}

/// The catalogs in which the session made its schema.
#[derive(Default)]
struct Made {
    schemas: Mutex<BTreeMap<String, Schema>>,
}

struct Schema {
    catalog: Arc<dyn Catalog>,
    namespace: Namespace,
}

impl fmt::Debug for TemporarySpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TemporarySpace")
            .field(&self.existing())
            .finish()
    }
}

/// Equal if they are the same one, or both are empty.
impl PartialEq for TemporarySpace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.made, &other.made) || self.existing() == other.existing()
    }
}

impl Eq for TemporarySpace {}

impl TemporarySpace {
    /// The schema, if there is one. It has the same name in every catalog.
    pub(crate) fn existing(&self) -> Option<Namespace> {
        let schemas = self.made.lock();
        schemas
            .values()
            .next()
            .map(|schema| schema.namespace.clone())
    }

    /// The schema in `catalog`, made if it is not there yet.
    pub(crate) async fn namespace(
        &self,
        catalog: &Arc<dyn Catalog>,
        session: Uuid,
        server: &str,
    ) -> Result<Namespace, EngineError> {
        let name = catalog.name().to_owned();
        if let Some(schema) = self.made.lock().get(&name) {
            return Ok(schema.namespace.clone());
        }
        let namespace = temporary_namespace(session);
        let properties = [(SERVER_PROPERTY.to_owned(), server.to_owned())];
        match catalog
            .create_namespace(&namespace, properties.into())
            .await
        {
            Err(error) if error.code() != ErrorCode::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let schema = Schema {
            catalog: Arc::clone(catalog),
            namespace: namespace.clone(),
        };
        self.made.lock().insert(name, schema);
        Ok(namespace)
    }
}

impl Made {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Schema>> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let schemas = std::mem::take(&mut *self.lock());
        if schemas.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for schema in schemas.into_values() {
                    remove(&schema.catalog, &schema.namespace).await;
                }
            });
        }
    }
}

/// Removes a temporary schema with all that is in it. What cannot be removed is logged; it goes when the
/// server starts again.
async fn remove(catalog: &Arc<dyn Catalog>, namespace: &Namespace) {
    if let Err(error) = try_remove(catalog, namespace).await {
        tracing::warn!(catalog = catalog.name(), %namespace, %error, "temporary tables not removed");
    }
}

async fn try_remove(catalog: &Arc<dyn Catalog>, namespace: &Namespace) -> tarn_catalog::Result<()> {
    for view in catalog.list_views(namespace).await? {
        let ident = TableIdent::new(namespace.clone(), view);
        catalog.drop_view(&ident).await?;
    }
    for table in catalog.list_tables(namespace).await? {
        let ident = TableIdent::new(namespace.clone(), table);
        match catalog.drop_table(&ident, true).await {
            // Without readable metadata its files cannot be found; the name must go all the same.
            Err(error) if error.code() != ErrorCode::StorageUnavailable => {
                catalog.drop_table(&ident, false).await?;
            }
            other => other?,
        }
    }
    catalog.drop_namespace(namespace).await
}

impl Engine {
    /// Drops the temporary tables and views of a session: at its end, or for `DISCARD TEMP`.
    ///
    /// A session that is only dropped ends the same way, a little later.
    pub async fn end_session(&self, session: &Session) {
        let schemas = std::mem::take(&mut *session.temporary.made.lock());
        for schema in schemas.into_values() {
            remove(&schema.catalog, &schema.namespace).await;
        }
    }

    /// Removes the temporary tables that this server left over when it did not end as it should.
    ///
    /// To be called once at the start, before there are sessions. Those of other servers on the same
    /// catalogs stay.
    pub async fn remove_leftovers(&self) {
        for name in self.config.catalogs.names() {
            if let Ok(catalog) = self.config.catalogs.get(&name)
                && let Err(error) = self.remove_leftovers_of(catalog).await
            {
                tracing::warn!(catalog = name, %error, "temporary tables of dead sessions not removed");
            }
        }
    }

    async fn remove_leftovers_of(&self, catalog: &Arc<dyn Catalog>) -> tarn_catalog::Result<()> {
        for namespace in catalog.list_namespaces().await? {
            if !is_temporary(&namespace.to_string()) {
                continue;
            }
            let properties = catalog.namespace_properties(&namespace).await?;
            if properties.get(SERVER_PROPERTY) == Some(&self.config.server) {
                remove(catalog, &namespace).await;
            }
        }
        Ok(())
    }
}
