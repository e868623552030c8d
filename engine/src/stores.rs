//! DataFusion's view of the one object store registry.
//!
//! Unlike DataFusion's default it registers nothing by itself: a URL that [`Stores`] does not
//! serve is an error.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use tarn_catalog::Stores;
use url::Url;

use crate::error::EngineError;

/// Serves DataFusion from [`Stores`].
#[derive(Debug)]
pub(crate) struct StoreRegistry {
    stores: Stores,
}

impl StoreRegistry {
    pub(crate) fn new(stores: Stores) -> Self {
        Self { stores }
    }
}

impl ObjectStoreRegistry for StoreRegistry {
    fn register_store(
        &self,
        _url: &Url,
        _store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.stores
            .store_for_root(url)
            .map_err(|e| DataFusionError::from(EngineError::from(e)))
    }
}
