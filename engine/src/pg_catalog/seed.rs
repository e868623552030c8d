//! What a statement needs to look at catalogs, before it is known whether it does.

use std::sync::Arc;

use crate::directory::Directories;
use crate::error::EngineError;
use crate::resolve::Catalogs;
use crate::session::Session;
use crate::system::SystemTables;

use super::context::{CatalogContext, Role};

/// Makes contexts of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CatalogSeed {
    pub(crate) directories: Arc<Directories>,
    pub(crate) catalogs: Catalogs,
    pub(crate) system: Arc<dyn SystemTables>,
    pub(crate) session: Session,
    pub(crate) roles: Vec<Role>,
}

impl CatalogSeed {
    /// What there is in `catalog` at this moment.
    ///
    /// # Errors
    /// [`crate::ErrorKind::UndefinedCatalog`]; or what reading the catalog met.
    pub(crate) async fn context(&self, catalog: &str) -> Result<Arc<CatalogContext>, EngineError> {
        let catalog = self.catalogs.get(catalog)?;
        let directory = self
            .directories
            .read(catalog.as_ref(), self.system.as_ref())
            .await?
            .seen_by(&self.session);
        Ok(Arc::new(CatalogContext::new(directory, self)))
    }
}
