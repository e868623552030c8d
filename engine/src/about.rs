//! Statements about catalogs: what the engine does for them before they are planned.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::sql::sqlparser::ast;

use crate::engine::{Engine, StatementState};
use crate::error::EngineError;
use crate::parser::Statement;
use crate::pg_catalog::{self, CatalogSeed, RegCasts};
use crate::session::Session;
use crate::settings::{self, SettingKind};

impl Engine {
    /// What a statement of `session` needs to look at catalogs.
    pub(crate) fn catalog_seed(&self, session: &Session) -> CatalogSeed {
        CatalogSeed {
            directories: Arc::clone(&self.directories),
            catalogs: self.config.catalogs.clone(),
            system: Arc::clone(&self.config.system),
            session: session.clone(),
            identities: Arc::clone(&self.config.identities),
        }
    }

    /// Reads the directory for a statement that asks about it, and gives it the functions that answer from it.
    pub(crate) async fn tell_of_catalogs(
        &self,
        session: &Session,
        state: &mut StatementState,
    ) -> Result<Arc<RegCasts>, EngineError> {
        let context = self.catalog_seed(session).context(&session.catalog).await?;
        let casts = Arc::new(RegCasts::new(Arc::clone(&context)));
        let mut builder = SessionStateBuilder::new_from_existing(state.state.clone());
        builder
            .scalar_functions()
            .get_or_insert_default()
            .extend(pg_catalog::of_context(&context));
        state.state = builder.with_analyzer_rule(Arc::clone(&casts) as _).build();
        // now() and its like mean this moment.
        state.state.mark_start_execution();
        // Nobody else puts it there.
        let _ = state.about.set(context);
        Ok(casts)
    }

    /// Does what `set_config` in a query asks for.
    pub(crate) async fn apply_set_config(
        &self,
        session: &mut Session,
        query: &ast::Statement,
    ) -> Result<(), EngineError> {
        for (name, value) in pg_catalog::changes(query) {
            // What always has this value need not be set.
            let fixed = settings::find(&name).is_ok_and(|known| known.kind == SettingKind::Fixed);
            let value_now = pg_catalog::setting_value(session, &name);
            if fixed && value_now.as_deref() == Some(value.as_str()) {
                continue;
            }
            let set = Statement::Set {
                name: name.to_lowercase(),
                value: Some(value),
            };
            self.command(session, set).await?;
        }
        Ok(())
    }
}
