//! What catalog relations and functions answer from: one session's view of the server at one moment.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::directory::{CatalogDirectory, Oids, Relation, RelationKind, SchemaDirectory};
use crate::session::Session;
use crate::system::SystemTables;

use super::PG_CATALOG;
use super::relations::Function;
use super::seed::CatalogSeed;
use super::shape;

/// Oid of the role that owns everything. Source: PostgreSQL, `BOOTSTRAP_SUPERUSERID`.
pub(crate) const OWNER_OID: u32 = 10;
/// Name of the first user.
pub(crate) const OWNER: &str = "admin";

/// A role that a client may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) is_admin: bool,
    pub(crate) can_login: bool,
}

/// One session's view of everything.
#[derive(Debug)]
pub(crate) struct CatalogContext {
    pub(crate) directory: Arc<CatalogDirectory>,
    /// Every catalog with its oid.
    pub(crate) catalogs: Vec<(u32, String)>,
    pub(crate) session: Session,
    pub(crate) roles: Vec<Role>,
    pub(crate) system: Arc<dyn SystemTables>,
    /// Names of the functions that a statement may call.
    pub(crate) functions: Arc<Vec<String>>,
    /// The rows of `pg_proc`, made when they are asked for.
    pub(super) function_rows: OnceLock<Vec<Function>>,
}

impl CatalogContext {
    /// What a session sees of `directory`.
    pub(super) fn new(
        directory: Arc<CatalogDirectory>,
        seed: &CatalogSeed,
        roles: Vec<Role>,
    ) -> Self {
        let mut oids = Oids::default();
        let catalogs = seed.catalogs.names().into_iter();
        Self {
            directory,
            catalogs: catalogs
                .map(|name| (oids.take(&["catalog", &name]), name))
                .collect(),
            session: seed.session.clone(),
            roles,
            system: Arc::clone(&seed.system),
            functions: Arc::clone(&seed.directories.functions),
            function_rows: OnceLock::new(),
        }
    }

    /// The schemas in which an unqualified name is looked up, in order.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let temporary = self.session.temporary_namespace();
        let mut path: Vec<String> = temporary.iter().map(ToString::to_string).collect();
        let own = self.session.search_path();
        if !own.iter().any(|schema| schema == PG_CATALOG) {
            path.push(PG_CATALOG.to_owned());
        }
        path.extend(own);
        path
    }

    /// The relation that `name` or `schema.name` means.
    pub(crate) fn resolve(&self, parts: &[String]) -> Option<(&SchemaDirectory, &Arc<Relation>)> {
        let in_schema = |schema: &str, name: &str| {
            let schema = self.directory.schema(schema)?;
            Some((schema, schema.relation(name)?))
        };
        match parts {
            [name] => self
                .search_path()
                .iter()
                .find_map(|schema| in_schema(schema, name)),
            [schema, name] => in_schema(schema, name),
            [catalog, schema, name] if *catalog == self.directory.catalog => {
                in_schema(schema, name)
            }
            _ => None,
        }
    }

    /// Whether the name alone of a relation of `schema` finds it.
    pub(crate) fn is_visible(&self, schema: &str, name: &str) -> bool {
        let first = self
            .search_path()
            .into_iter()
            .find(|schema| self.directory.relation(schema, name).is_some());
        first.as_deref() == Some(schema)
    }

    /// The role called `name`.
    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// The role with this oid.
    pub(crate) fn role_by_oid(&self, oid: u32) -> Option<&Role> {
        self.roles.iter().find(|role| role.oid == oid)
    }

    /// The name of who owns everything.
    pub(crate) fn owner(&self) -> &str {
        self.role_by_oid(OWNER_OID).map_or(OWNER, |role| &role.name)
    }
}

/// Roles of these users (name, whether an administrator, whether it may log in), with oids that depend on their
/// names.
pub(super) fn roles<'a>(users: impl IntoIterator<Item = (&'a str, bool, bool)>) -> Vec<Role> {
    let mut roles: BTreeMap<&str, Role> = BTreeMap::new();
    for (name, is_admin, can_login) in users {
        roles.entry(name).or_insert_with(|| Role {
            oid: 0,
            name: name.to_owned(),
            is_admin,
            can_login,
        });
    }
    let mut oids = Oids::default();
    let mut roles: Vec<Role> = roles.into_values().collect();
    for role in &mut roles {
        role.oid = if role.name == OWNER {
            OWNER_OID
        } else {
            oids.take(&["role", &role.name])
        };
    }
    roles
}

/// `pg_class.relkind` of a relation in `schema`.
pub(crate) fn relkind(schema: &str, relation: &Relation) -> &'static str {
    match relation.kind {
        RelationKind::Table => "r",
        RelationKind::View => "v",
        RelationKind::SystemView => match shape::find(schema, &relation.name) {
            Some(shape) if !shape.is_view => "r",
            _ => "v",
        },
    }
}
