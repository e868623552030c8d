//! Which table or view a name stands for: the search path, and the temporary schema in front of it.
//!
//! Knows names and what a catalog holds; reads no metadata of a table.

use std::sync::Arc;

use tarn_catalog::{Catalog, EntryKind, Namespace, TableIdent};

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::names;
use crate::parser::Name;
use crate::resolve::{Catalogs, FullName, namespace_of, undefined_table};
use crate::session::Session;
use crate::versions;
use crate::writes::refuse_views;

/// What a statement calls the schema of its own temporary tables. Source: PostgreSQL, `search_path`.
pub(crate) const TEMPORARY_SCHEMA: &str = "pg_temp";
/// Schemas of that name and a session's id hold temporary tables.
const TEMPORARY_PREFIX: &str = "pg_temp_";

/// Where names are looked up that do not say it themselves.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// Catalog of names that have none.
    pub catalog: String,
    /// Schemas of names that have none, in order.
    pub path: Vec<String>,
    /// The session's own temporary schema, which comes first.
    pub temporary: Option<Namespace>,
}

impl Lookup {
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            catalog: session.catalog.clone(),
            path: session.search_path(),
            temporary: session.temporary_namespace(),
        }
    }

    /// The schema that `name` means: `pg_temp` is the session's own, those of others are not there.
    pub(crate) fn schema(&self, name: &str) -> Result<String, EngineError> {
        let folded = name.to_lowercase();
        if folded == TEMPORARY_SCHEMA || folded.starts_with(TEMPORARY_PREFIX) {
            return match &self.temporary {
                Some(own) if folded == TEMPORARY_SCHEMA || folded == own.to_string() => {
                    Ok(own.to_string())
                }
                _ => Err(EngineError::new(
                    ErrorKind::UndefinedSchema,
                    format!("schema \"{name}\" not found; this session has no temporary tables"),
                )),
            };
        }
        Ok(name.to_owned())
    }
}

/// The name of the schema that holds the temporary tables of the session `id`.
pub(crate) fn temporary_namespace(id: uuid::Uuid) -> Namespace {
    Namespace::new(format!("{TEMPORARY_PREFIX}{}", id.simple()))
}

/// Whether a schema holds temporary tables: nobody but its session sees it.
pub fn is_temporary(schema: &str) -> bool {
    schema.to_lowercase().starts_with(TEMPORARY_PREFIX)
}

/// A table or view that a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where it is.
    pub catalog: Arc<dyn Catalog>,
    /// Its name there.
    pub ident: TableIdent,
    /// What it is.
    pub kind: EntryKind,
}

impl Found {
    /// Its full name.
    pub(crate) fn full_name(&self) -> FullName {
        FullName {
            catalog: self.catalog.name().to_owned(),
            schema: self.ident.namespace.to_string(),
            table: self.ident.name.clone(),
        }
    }

    /// What it is, in a word.
    pub(crate) fn noun(&self) -> &'static str {
        match self.kind {
            EntryKind::Table => "table",
            EntryKind::View => "view",
        }
    }

    /// The error for a statement that wants the other kind.
    pub(crate) fn wrong_kind(&self, hint: &str) -> EngineError {
        let (is, wanted) = match self.kind {
            EntryKind::Table => ("table", "view"),
            EntryKind::View => ("view", "table"),
        };
        EngineError::new(
            ErrorKind::WrongObjectType,
            format!("\"{}\" is a {is}, not a {wanted}", self.full_name()),
        )
        .with_hint(hint)
    }
}

impl Catalogs {
    /// Finds what `name` stands for: exactly, else case-insensitively if only one fits.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedCatalog`], [`ErrorKind::UndefinedSchema`] or
    /// [`ErrorKind::UndefinedTable`], offering the nearest.
    pub(crate) async fn find(&self, lookup: &Lookup, name: &Name) -> Result<Found, EngineError> {
        let schemas = match name.as_slice() {
            [_] => lookup
                .temporary
                .iter()
                .map(ToString::to_string)
                .chain(lookup.path.iter().cloned())
                .collect(),
            _ => vec![],
        };
        let default = lookup.path.first().map_or("", String::as_str);
        let full = FullName::complete(name, &lookup.catalog, default)?;
        let catalog = self.get(&full.catalog)?;
        if schemas.is_empty() {
            let schema = lookup.schema(&full.schema)?;
            return self.find_in(catalog, &schema, &full.table).await;
        }
        if schemas.len() > 1 {
            for schema in &schemas {
                let ident = TableIdent::new(namespace_of(schema), &full.table);
                if let Some(kind) = catalog.find(&ident).await? {
                    let catalog = Arc::clone(catalog);
                    return Ok(Found {
                        catalog,
                        ident,
                        kind,
                    });
                }
            }
        }
        let mut missing = None;
        for schema in &lookup.path {
            match self.find_in(catalog, schema, &full.table).await {
                Err(error) if is_undefined(&error) => missing = missing.or(Some(error)),
                other => return other,
            }
        }
        Err(missing.unwrap_or_else(|| {
            undefined_table(catalog.name(), &namespace_of(default), &full.table, &[])
        }))
    }

    /// Finds a table or view in one schema.
    pub(crate) async fn find_in(
        &self,
        catalog: &Arc<dyn Catalog>,
        schema: &str,
        name: &str,
    ) -> Result<Found, EngineError> {
        let found = |ident, kind| Found {
            catalog: Arc::clone(catalog),
            ident,
            kind,
        };
        let exact = TableIdent::new(namespace_of(schema), name);
        if let Some(kind) = catalog.find(&exact).await? {
            return Ok(found(exact, kind));
        }
        let namespace = self.namespace(catalog.as_ref(), schema).await?;
        let mut all = catalog.list_tables(&namespace).await?;
        all.extend(catalog.list_views(&namespace).await?);
        all.sort();
        if let Some(near) = names::find(name, &all) {
            let ident = TableIdent::new(namespace.clone(), near);
            if let Some(kind) = catalog.find(&ident).await? {
                return Ok(found(ident, kind));
            }
        }
        Err(undefined_table(catalog.name(), &namespace, name, &all))
    }
}

impl Engine {
    /// What `name` stands for in `session`.
    ///
    /// # Errors
    /// As [`Catalogs::find`]; [`ErrorKind::Denied`] for the server's own views.
    pub(crate) async fn find(&self, session: &Session, name: &Name) -> Result<Found, EngineError> {
        let lookup = Lookup::of(session);
        let default = lookup.path.first().map_or("", String::as_str);
        refuse_views(&FullName::complete(name, &lookup.catalog, default)?)?;
        let catalogs = &self.config.catalogs;
        let missing = match catalogs.find(&lookup, name).await {
            Err(error) if is_undefined(&error) => error,
            other => return other,
        };
        let Some((last, rest)) = name.split_last() else {
            return Err(missing);
        };
        let Some(of) = versions::table_of(last) else {
            return Err(missing);
        };
        let mut table = rest.to_vec();
        table.push(of.to_owned());
        match catalogs.find(&lookup, &table).await {
            Ok(_) => Err(EngineError::unsupported(format!(
                "\"{last}\", a version or metadata table of \"{of}\", in this place"
            ))
            .with_hint("it can be read with SELECT; name the table itself to change it")),
            Err(_) => Err(missing),
        }
    }

    /// Catalog and full name of something new: in the first schema of the search path, or, if it is
    /// temporary, in the session's own.
    ///
    /// # Errors
    /// [`ErrorKind::UndefinedCatalog`] or [`ErrorKind::UndefinedSchema`].
    pub(crate) async fn new_name(
        &self,
        session: &Session,
        name: &Name,
        temporary: bool,
    ) -> Result<(Arc<dyn Catalog>, TableIdent), EngineError> {
        let full = FullName::complete(name, &session.catalog, &session.schema)?;
        refuse_views(&full)?;
        let catalog = Arc::clone(self.config.catalogs.get(&full.catalog)?);
        let in_temporary = full.schema.to_lowercase() == TEMPORARY_SCHEMA;
        if temporary && name.len() > 1 && !in_temporary {
            return Err(EngineError::new(
                ErrorKind::InvalidDefinition,
                "a temporary table or view cannot be in a schema that is named",
            )
            .with_hint("leave the schema out"));
        }
        if temporary || in_temporary {
            let namespace = session
                .temporary
                .namespace(&catalog, session.id, &self.config.server)
                .await?;
            return Ok((catalog, TableIdent::new(namespace, full.table)));
        }
        if is_temporary(&full.schema) {
            return Err(EngineError::new(
                ErrorKind::Denied,
                format!(
                    "schema \"{}\" is for temporary tables of one session",
                    full.schema
                ),
            ));
        }
        let namespace = self
            .config
            .catalogs
            .namespace(catalog.as_ref(), &full.schema)
            .await?;
        Ok((catalog, TableIdent::new(namespace, full.table)))
    }
}

/// For a statement that reads or changes rows, a relation in a schema that is not there is not there, and no more.
/// Source: PostgreSQL, `parserOpenTable`.
pub(crate) fn no_relation(error: EngineError) -> EngineError {
    match error.kind {
        ErrorKind::UndefinedSchema => EngineError {
            kind: ErrorKind::UndefinedTable,
            ..error
        },
        _ => error,
    }
}

/// Whether an error says that a name stands for nothing.
pub(crate) fn is_undefined(error: &EngineError) -> bool {
    matches!(
        error.kind,
        ErrorKind::UndefinedTable | ErrorKind::UndefinedSchema | ErrorKind::UndefinedCatalog
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_temporary_schema_is_there() {
        let own = temporary_namespace(uuid::Uuid::from_u128(7));
        let lookup = Lookup {
            catalog: "lake".to_owned(),
            path: vec!["main".to_owned()],
            temporary: Some(own.clone()),
        };
        assert_eq!(lookup.schema("pg_temp").unwrap(), own.to_string());
        assert_eq!(lookup.schema(&own.to_string()).unwrap(), own.to_string());
        assert_eq!(lookup.schema("main").unwrap(), "main");
        let other = temporary_namespace(uuid::Uuid::from_u128(8)).to_string();
        let error = lookup.schema(&other).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UndefinedSchema);
        assert!(is_temporary(&other) && !is_temporary("pg_temporary"));
    }
}
