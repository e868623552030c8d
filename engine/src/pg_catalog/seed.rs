//! What a statement needs to look at catalogs, before it is known whether it does.

use std::sync::Arc;

use crate::directory::Directories;
use crate::error::EngineError;
use crate::identities::Identities;
use crate::resolve::Catalogs;
use crate::session::Session;
use crate::system::SystemTables;

use super::context::{CatalogContext, roles};

/// Makes contexts of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CatalogSeed {
    pub(crate) directories: Arc<Directories>,
    pub(crate) catalogs: Catalogs,
    pub(crate) system: Arc<dyn SystemTables>,
    pub(crate) session: Session,
    pub(crate) identities: Arc<dyn Identities>,
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
        let users = self.identities.visible_roles(&self.session.user).await?;
        let own = (self.session.user.as_str(), self.session.is_admin, true);
        let roles = roles(
            users
                .iter()
                .map(|role| (role.name.as_str(), role.is_admin, !role.disabled))
                .chain([own]),
        );
        Ok(Arc::new(CatalogContext::new(directory, self, roles)))
    }
}
