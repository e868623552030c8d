//! Views: made, changed and listed; and put in place of their names when a statement is planned.
//!
//! A view is its text, read under the catalog and search path that it was made with, by the rights of
//! whoever asks. Its names are looked up anew by every statement: a view follows its tables when they are
//! replaced, and says what is missing when they no longer fit.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use tarn_catalog::{
    Catalog, DOC_META_KEY, EntryKind, Table, TableIdent, View, ViewChange, ViewCreation,
    ViewDefinition,
};

use crate::engine::{Engine, Outcome, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::headings::{self, Headings};
use crate::kept::Named;
use crate::lookup::{Found, Lookup};
use crate::parser::{self, Name, Statement};
use crate::query::Planned;
use crate::resolve::FullName;
use crate::session::Session;
use crate::statement::CreateView;

/// Views inside views that a statement may pass through.
const DEPTH_MAX: usize = 32;
/// Places where a statement may meet a view, counting those inside of views each time.
const EXPANSIONS_MAX: usize = 256;
/// Scans that one view may come to, with those of the views inside it.
const SCANS_MAX: usize = 1024;
/// Note of a view: names of its query's own columns, as a JSON list, where they are not the view's.
const QUERY_COLUMNS: &str = "tarn.query-column-names";
/// Note of a view: the search path behind its default schema, as a JSON list.
const SEARCH_PATH: &str = "tarn.search-path";

/// What planning one statement shares: the tables that it pinned, the views it passed through.
#[derive(Debug, Default)]
struct Shared {
    pins: Mutex<HashMap<(String, TableIdent), Table>>,
    /// What was looked up, for plans that are kept.
    names: Mutex<Vec<Named>>,
    /// Whether the plan is good for this run only.
    once: AtomicBool,
    expansions: AtomicUsize,
}

/// Where in a statement planning is: in its own text, or in that of a view.
#[derive(Clone)]
pub(crate) struct Scope {
    /// Where names are looked up.
    pub lookup: Lookup,
    /// The views around this text, outermost first.
    within: Vec<(String, TableIdent)>,
    shared: Arc<Shared>,
    engine: Engine,
    session: Session,
    context: StatementContext,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("lookup", &self.lookup)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

impl Scope {
    /// The scope of a statement's own text.
    pub(crate) fn of(engine: &Engine, session: &Session, context: &StatementContext) -> Self {
        Self {
            lookup: Lookup::of(session),
            within: vec![],
            shared: Arc::default(),
            engine: engine.clone(),
            session: session.clone(),
            context: context.clone(),
        }
    }

    /// The version of a table that this statement reads: the one that it met first.
    pub(crate) async fn table(&self, found: &Found) -> Result<Table, EngineError> {
        let key = (found.catalog.name().to_owned(), found.ident.clone());
        let lock = || {
            self.shared
                .pins
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(pinned) = lock().get(&key) {
            return Ok(pinned.clone());
        }
        let table = found.catalog.load_table(&found.ident).await?;
        Ok(lock().entry(key).or_insert(table).clone())
    }

    /// Remembers what `name` stood for; its metadata is at `location`.
    pub(crate) fn note(&self, name: &Name, found: &Found, location: &str) {
        let named = Named {
            lookup: self.lookup.clone(),
            name: name.clone(),
            catalog: found.catalog.name().to_owned(),
            ident: found.ident.clone(),
            kind: found.kind,
            location: location.to_owned(),
        };
        let all = &self.shared.names;
        all.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(named);
    }

    /// Says that the plan is good for this run only.
    pub(crate) fn only_once(&self) {
        self.shared.once.store(true, Ordering::Relaxed);
    }

    /// What was looked up; none if the plan is good for this run only.
    pub(crate) fn names(&self) -> Option<Vec<Named>> {
        if self.shared.once.load(Ordering::Relaxed) {
            return None;
        }
        let names = self.shared.names.lock();
        Some(names.unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// What stands for a view in a plan: the plan of its query under the view's column names.
    pub(crate) async fn view(
        &self,
        name: &Name,
        found: &Found,
    ) -> Result<Arc<dyn TableProvider>, EngineError> {
        let view = found.catalog.load_view(&found.ident).await?;
        self.note(name, found, view.metadata_location());
        let name = found.full_name();
        let inner = self.enter(found, &view)?;
        let text = text_of(&view, &name)?;
        let plan = Box::pin(inner.plan_view(&view, text))
            .await
            .map_err(|error| in_view(error, &name))?;
        Ok(Arc::new(ViewTable::new(plan, Some(text.to_owned()))))
    }

    /// The scope of a view's text.
    fn enter(&self, found: &Found, view: &View) -> Result<Self, EngineError> {
        let name = found.full_name();
        let key = (found.catalog.name().to_owned(), found.ident.clone());
        if self.within.contains(&key) {
            return Err(EngineError::new(
                ErrorKind::InvalidDefinition,
                format!("view \"{name}\" reads itself"),
            )
            .with_hint("replace one of the views in the circle"));
        }
        let expansions = self.shared.expansions.fetch_add(1, Ordering::Relaxed);
        if self.within.len() >= DEPTH_MAX || expansions >= EXPANSIONS_MAX {
            return Err(EngineError::new(
                ErrorKind::TooComplex,
                format!(
                    "view \"{name}\": views are nested too deeply; {DEPTH_MAX} levels and {EXPANSIONS_MAX} views in one statement are allowed"
                ),
            )
            .with_hint("make a table of one of the inner views"));
        }
        let mut within = self.within.clone();
        within.push(key);
        let mut path = vec![view.default_namespace().to_string()];
        path.extend(listed(view, SEARCH_PATH).unwrap_or_default());
        // What is permanent does not follow the temporary tables of whoever asks.
        let temporary = self
            .lookup
            .temporary
            .clone()
            .filter(|own| *own == found.ident.namespace);
        Ok(Self {
            lookup: Lookup {
                catalog: view
                    .default_catalog()
                    .unwrap_or_else(|| found.catalog.name())
                    .to_owned(),
                path,
                temporary,
            },
            within,
            ..self.clone()
        })
    }

    /// Plans the text of a view in its own scope.
    async fn plan_view(&self, view: &View, text: &str) -> Result<LogicalPlan, EngineError> {
        let query = parse_query(text)?;
        let headings = Headings::of(&query);
        let planned = self
            .engine
            .plan_within(&self.session, query, &self.context, None, self.clone())
            .await?;
        let own = headings.rename_unique(planned.logical.schema().as_arrow());
        let wanted =
            listed(view, QUERY_COLUMNS).unwrap_or_else(|| column_names(&view.arrow_schema()));
        let plan = chosen(
            planned.logical,
            &own,
            &wanted,
            &column_names(&view.arrow_schema()),
        )?;
        bounded(&plan)?;
        Ok(plan)
    }
}

/// The columns `wanted` of `plan`, whose columns are called as in `own`, under the names `shown`.
fn chosen(
    plan: LogicalPlan,
    own: &Schema,
    wanted: &[String],
    shown: &[String],
) -> Result<LogicalPlan, EngineError> {
    let mut columns = vec![];
    for (name, shown) in wanted.iter().zip(shown) {
        let at = own.fields().iter().position(|field| field.name() == name);
        let at = at.ok_or_else(|| {
            EngineError::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{name}\" is no longer there"),
            )
        })?;
        let column = Column::from(plan.schema().qualified_field(at));
        columns.push(Expr::Column(column).alias(shown));
    }
    Ok(LogicalPlanBuilder::new(plan).project(columns)?.build()?)
}

/// Refuses a plan of more scans than a statement can carry.
fn bounded(plan: &LogicalPlan) -> Result<(), EngineError> {
    let mut scans = 0_usize;
    plan.apply_with_subqueries(|node| {
        if node.inputs().is_empty() {
            scans += 1;
        }
        Ok(if scans > SCANS_MAX {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    if scans > SCANS_MAX {
        return Err(EngineError::new(
            ErrorKind::TooComplex,
            format!("it comes to more than {SCANS_MAX} scans"),
        )
        .with_hint("make a table of one of the inner views"));
    }
    Ok(())
}

fn parse_query(text: &str) -> Result<ast::Statement, EngineError> {
    match parser::parse(text)? {
        Statement::Query(query) => Ok(*query),
        _ => Err(EngineError::new(
            ErrorKind::Corrupt,
            "its text is not a query",
        )),
    }
}

fn text_of<'a>(view: &'a View, name: &FullName) -> Result<&'a str, EngineError> {
    view.sql().ok_or_else(|| {
        EngineError::unsupported(format!(
            "view \"{name}\" in the SQL of another engine ({})",
            view.dialects().join(", ")
        ))
        .with_hint("CREATE OR REPLACE VIEW writes it in Tarn's SQL")
    })
}

/// A note of a view that is a list of names.
fn listed(view: &View, note: &str) -> Option<Vec<String>> {
    serde_json::from_str(view.note(note)?).ok()
}

fn column_names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// An error inside of a view, said so that the view is named.
fn in_view(error: EngineError, name: &FullName) -> EngineError {
    let advice = "CREATE OR REPLACE VIEW makes it fit what it reads again";
    let changed = matches!(
        error.kind,
        ErrorKind::UndefinedTable | ErrorKind::UndefinedColumn
    );
    let hint = match error.hint {
        None if changed => Some(advice.to_owned()),
        Some(hint) if changed && !hint.contains(advice) => Some(format!("{hint}; {advice}")),
        other => other,
    };
    EngineError {
        kind: error.kind,
        message: format!("view \"{name}\": {}", error.message),
        hint,
        // A place in the view's text is none in the statement's.
        position: None,
    }
}

impl Engine {
    /// `CREATE VIEW`: planned, so that what cannot be read is refused, then stored as text.
    pub(crate) async fn create_view(
        &self,
        session: &Session,
        create: CreateView,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let done = Outcome::done(
            if create.alter {
                "ALTER VIEW"
            } else {
                "CREATE VIEW"
            },
            None,
        );
        let (catalog, ident) = if create.alter {
            let (found, _) = self.find_view(session, &create.name).await?;
            (found.catalog, found.ident)
        } else {
            let (name, temporary) = (&create.name, create.temporary);
            self.new_name(session, name, temporary).await?
        };
        let name = FullName {
            catalog: catalog.name().to_owned(),
            schema: ident.namespace.to_string(),
            table: ident.name.clone(),
        };
        let existing = catalog.find(&ident).await?;
        match existing {
            Some(EntryKind::Table) if create.or_replace => {
                let found = Found {
                    catalog,
                    ident,
                    kind: EntryKind::Table,
                };
                return Err(found.wrong_kind("DROP TABLE it first, or use another name"));
            }
            Some(_) if create.if_not_exists => {
                crate::notices::present("42P07", "relation", &ident.name);
                return Ok(done);
            }
            Some(_) if !create.or_replace => return Err(view_exists(&name, existing)),
            _ => {}
        }
        let definition = self
            .define(session, &create, &catalog, &ident, context)
            .await?;
        let mut properties = create.properties;
        if let Some(comment) = create.comment {
            properties.insert(tarn_catalog::COMMENT_PROPERTY.to_owned(), comment);
        }
        if existing == Some(EntryKind::View) {
            let change = ViewChange {
                definition: Some(definition),
                set: properties,
                remove: vec![],
            };
            catalog.change_view(&ident, change).await?;
            return Ok(done);
        }
        let creation = ViewCreation {
            ident: ident.clone(),
            definition: definition.clone(),
            properties: properties.clone(),
        };
        match catalog
            .create_view(creation)
            .await
            .map_err(EngineError::from)
        {
            Err(error) if error.kind == ErrorKind::DuplicateTable => {
                let existing = catalog.find(&ident).await?;
                if create.if_not_exists {
                    return Ok(done);
                }
                if create.or_replace && existing == Some(EntryKind::View) {
                    let change = ViewChange {
                        definition: Some(definition),
                        set: properties,
                        remove: vec![],
                    };
                    catalog.change_view(&ident, change).await?;
                    return Ok(done);
                }
                Err(view_exists(&name, existing))
            }
            other => other.map(|_| done),
        }
    }

    /// Plans the query of a new view and says what is to be stored of it.
    async fn define(
        &self,
        session: &Session,
        create: &CreateView,
        catalog: &Arc<dyn Catalog>,
        ident: &TableIdent,
        context: &StatementContext,
    ) -> Result<ViewDefinition, EngineError> {
        let mut scope = Scope::of(self, session, context);
        scope
            .within
            .push((catalog.name().to_owned(), ident.clone()));
        let own_tables = scope.lookup.temporary.is_some();
        if !create.temporary {
            scope.lookup.temporary = None;
        }
        if create.columns.is_empty() {
            headings::refuse_twice(&create.query)?;
        }
        let headings = Headings::of(&create.query);
        let query = create.query.as_ref().clone();
        let planned = self
            .plan_within(session, query, context, None, scope)
            .await
            .map_err(|error| match error.kind {
                ErrorKind::UndefinedTable if own_tables && !create.temporary => error.with_hint(
                    "a view cannot read temporary tables, unless it is a TEMPORARY VIEW",
                ),
                _ => error,
            })?;
        if !planned.logical.get_parameter_names()?.is_empty() {
            return Err(EngineError::new(
                ErrorKind::InvalidDefinition,
                "a view cannot have parameters",
            ));
        }
        let own = headings.rename_unique(analyzed(&planned)?.as_ref());
        let schema = view_schema(&own, create)?;
        let path = session.search_path();
        let default = path.first().cloned().unwrap_or_default();
        let mut notes = HashMap::new();
        if column_names(&schema) != column_names(&own) {
            notes.insert(QUERY_COLUMNS.to_owned(), json_list(&column_names(&own)));
        }
        if path.len() > 1 {
            notes.insert(SEARCH_PATH.to_owned(), json_list(&path[1..]));
        }
        Ok(ViewDefinition {
            schema: Arc::new(schema),
            sql: create.text.clone(),
            default_catalog: session.catalog.clone(),
            default_namespace: crate::resolve::namespace_of(&default),
            notes,
        })
    }

    /// `DROP VIEW`.
    pub(crate) async fn drop_view(
        &self,
        session: &Session,
        name: &Name,
        if_exists: bool,
    ) -> Result<(), EngineError> {
        let found = match self.find(session, name).await {
            Err(error) if if_exists && crate::lookup::is_undefined(&error) => {
                crate::notices::missing("view", name);
                return Ok(());
            }
            other => other?,
        };
        if found.kind != EntryKind::View {
            return Err(found.wrong_kind("use DROP TABLE"));
        }
        match found
            .catalog
            .drop_view(&found.ident)
            .await
            .map_err(EngineError::from)
        {
            Err(error) if if_exists && error.kind == ErrorKind::UndefinedTable => Ok(()),
            other => other,
        }
    }

    /// The view that `name` stands for.
    pub(crate) async fn find_view(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<(Found, View), EngineError> {
        let found = self.find(session, name).await?;
        if found.kind != EntryKind::View {
            return Err(found.wrong_kind("use the statement for tables"));
        }
        let view = found.catalog.load_view(&found.ident).await?;
        Ok((found, view))
    }
}

/// The columns of a view, which its list may rename: the first ones, as in PostgreSQL.
fn view_schema(own: &SchemaRef, create: &CreateView) -> Result<Schema, EngineError> {
    let count = own.fields().len();
    if create.columns.len() > count {
        return Err(EngineError::new(
            ErrorKind::Syntax,
            format!(
                "the view lists {} columns, its query has {count}",
                create.columns.len()
            ),
        ));
    }
    let mut seen = HashSet::new();
    let mut fields = vec![];
    for (at, field) in own.fields().iter().enumerate() {
        let listed = create.columns.get(at);
        let name = listed.map_or_else(|| field.name().clone(), |column| column.name.clone());
        if !seen.insert(name.clone()) {
            return Err(EngineError::new(
                ErrorKind::Ambiguous,
                format!("column \"{name}\" is there twice"),
            )
            .with_hint("give one of them another name with AS"));
        }
        let mut metadata = HashMap::new();
        for key in ["ARROW:extension:name"] {
            if let Some(value) = field.metadata().get(key) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        if let Some(comment) = listed.and_then(|column| column.comment.clone()) {
            metadata.insert(DOC_META_KEY.to_owned(), comment);
        }
        fields.push(Field::new(name, stored_type(field.data_type()), true).with_metadata(metadata));
    }
    Ok(Schema::new(fields))
}

/// The nearest type that Iceberg has; what a view gives back is the query's own.
fn stored_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Null | DataType::Interval(_) | DataType::Duration(_) => DataType::Utf8View,
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, (*scale).clamp(0, 38)),
        other => other.clone(),
    }
}

fn json_list(names: &[String]) -> String {
    serde_json::json!(names).to_string()
}

/// A plan's columns with the types that it will have.
fn analyzed(planned: &Planned) -> Result<SchemaRef, EngineError> {
    let state = &planned.statement.state;
    let plan = state.analyzer().execute_and_check(
        planned.logical.clone(),
        state.config_options(),
        |_, _| {},
    )?;
    Ok(Arc::clone(plan.schema().inner()))
}

fn view_exists(name: &FullName, existing: Option<EntryKind>) -> EngineError {
    let noun = match existing {
        Some(EntryKind::Table) => "table",
        _ => "view",
    };
    EngineError::new(
        ErrorKind::DuplicateTable,
        format!("{noun} \"{name}\" already exists"),
    )
    .with_hint("use CREATE OR REPLACE VIEW, or another name")
}
