//! Plans of prepared statements, kept from one run to the next.
//!
//! A plan is used again only while everything that it was made from is the same: the session with its settings, the
//! types of the values, what each name stands for, and the version of each table and view. What is cheap to ask is asked
//! first: the catalog's stamp, which changes with every commit; else each name is looked up again. Nothing is kept of
//! statements whose plan says something of this moment, of files, or of the server. Knows plans; the doors own the slots.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::{Cast, Placeholder, TryCast};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use tarn_catalog::{EntryKind, Namespace, TableIdent};

use crate::distribute;
use crate::engine::{Engine, StatementContext, StatementState};
use crate::error::EngineError;
use crate::headings::Headings;
use crate::lookup::{Found, Lookup, is_undefined};
use crate::parser::Name;
use crate::query::Planned;
use crate::resolve::Catalogs;
use crate::scan::IcebergTableProvider;
use crate::session::Session;
use crate::temporal::CompareDays;
use crate::versions::{self, Wanted};

/// Plans that a process keeps at most; each takes some tens of kilobytes.
const KEPT_MAX: usize = 4096;

/// Plans that are kept now.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Functions that are not immutable only because they ask the session's time zone.
const ZONED: [&str; 6] = [
    "date_trunc",
    "generate_series",
    "make_timestamptz",
    "tarn_text",
    "timezone",
    "to_char",
];

/// Words that mean this moment in the text of a date or time. Source: PostgreSQL, "Special Date/Time Inputs".
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Where a prepared statement keeps its plan. The door that prepared it owns it.
#[derive(Debug, Default)]
pub struct PlanSlot {
    state: Mutex<SlotState>,
    reused: AtomicU64,
}

#[derive(Debug, Default)]
enum SlotState {
    /// It has not run yet; one run pays for no plan.
    #[default]
    New,
    /// It has run: the next plan is worth keeping.
    Used,
    Kept(Arc<KeptPlan>),
}

impl PlanSlot {
    /// Runs that a kept plan has served.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    fn set(&self, state: SlotState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn kept(&self) -> Option<Arc<KeptPlan>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            SlotState::Kept(kept) => Some(Arc::clone(kept)),
            SlotState::New | SlotState::Used => None,
        }
    }

    /// Whether the plan that is made now is worth keeping.
    fn wants(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            SlotState::New => {
                *state = SlotState::Used;
                false
            }
            SlotState::Used | SlotState::Kept(_) => true,
        }
    }
}

/// A name that was looked up for a plan, and what it stood for.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) lookup: Lookup,
    pub(crate) name: Name,
    pub(crate) catalog: String,
    pub(crate) ident: TableIdent,
    pub(crate) kind: EntryKind,
    /// Where the metadata of its version is.
    pub(crate) location: String,
}

impl Named {
    /// Whether the name still stands for the same version of the same relation.
    async fn is_same(&self, catalogs: &Catalogs) -> Result<bool, EngineError> {
        let wanted = versions::wanted(catalogs, &self.lookup, &self.name).await;
        let found = match wanted {
            Ok(Wanted { found, .. }) => found,
            Err(error) if is_undefined(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let same = found.catalog.name() == self.catalog
            && found.ident == self.ident
            && found.kind == self.kind;
        Ok(same && location_of(&found).await? == self.location)
    }
}

async fn location_of(found: &Found) -> Result<String, EngineError> {
    Ok(match found.kind {
        EntryKind::Table => {
            let table = found.catalog.load_table(&found.ident).await?;
            table.metadata_location().to_owned()
        }
        EntryKind::View => {
            let view = found.catalog.load_view(&found.ident).await?;
            view.metadata_location().to_owned()
        }
    })
}

/// An optimized plan whose parameters are open, and what it was made from.
#[derive(Debug)]
pub(crate) struct KeptPlan {
    session: Session,
    /// The session's temporary schema as it was then: clones of a session share the one that is.
    temporary: Option<Namespace>,
    types: Vec<DataType>,
    names: Vec<Named>,
    /// Of each catalog that is named, when the names were asked.
    stamps: Mutex<Vec<Option<String>>>,
    pub(crate) headings: Headings,
    logical: LogicalPlan,
}

impl Drop for KeptPlan {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl KeptPlan {
    fn fits(&self, session: &Session, values: &[ScalarValue]) -> bool {
        self.types.len() == values.len()
            && self
                .types
                .iter()
                .zip(values)
                .all(|(ty, value)| *ty == value.data_type())
            && self.session == *session
            && self.temporary == session.temporary_namespace()
    }

    /// Whether all names stand for what they stood for.
    async fn is_fresh(&self, catalogs: &Catalogs) -> Result<bool, EngineError> {
        // Asked before the names: what changes in between is noticed by the next run.
        let now = stamps(&self.names, catalogs)?;
        let known = {
            let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
            *stamps == now && now.iter().all(Option::is_some)
        };
        if known {
            return Ok(true);
        }
        for named in &self.names {
            if !named.is_same(catalogs).await? {
                return Ok(false);
            }
        }
        *self.stamps.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(true)
    }

    /// The plan with values in the place of its parameters.
    fn bound(
        &self,
        values: &[ScalarValue],
        statement: &StatementState,
    ) -> Result<LogicalPlan, EngineError> {
        if values.is_empty() {
            return Ok(self.logical.clone());
        }
        let bound = self
            .logical
            .clone()
            .with_param_values(ParamValues::from(values.to_vec()))?;
        // What constants make of a plan: fewer expressions, limits, bounds of days.
        let rules = Optimizer::with_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            Arc::new(CompareDays),
            Arc::new(PushDownLimit::new()),
        ]);
        Ok(rules.optimize(bound, &statement.state, |_, _| {})?)
    }
}

/// The stamps of the catalogs of `names`.
fn stamps(names: &[Named], catalogs: &Catalogs) -> Result<Vec<Option<String>>, EngineError> {
    let mut seen: Vec<&str> = vec![];
    for named in names {
        if !seen.contains(&named.catalog.as_str()) {
            seen.push(&named.catalog);
        }
    }
    let stamps = seen.into_iter().map(|name| Ok(catalogs.get(name)?.stamp()));
    stamps.collect()
}

/// A kept plan that is ready to run.
pub(crate) struct Ready {
    pub(crate) kept: Arc<KeptPlan>,
    pub(crate) statement: StatementState,
    pub(crate) physical: Arc<dyn ExecutionPlan>,
}

impl Engine {
    /// The kept plan of the statement that `context` brings, ready to run; none if it must be planned anew.
    pub(crate) async fn kept(
        &self,
        session: &Session,
        context: &StatementContext,
    ) -> Result<Option<Ready>, EngineError> {
        let Some(slot) = &context.plan else {
            return Ok(None);
        };
        let Some(kept) = slot.kept() else {
            return Ok(None);
        };
        let values = &context.parameters;
        if !kept.fits(session, values) || !kept.is_fresh(&self.config.catalogs).await? {
            slot.set(SlotState::Used);
            return Ok(None);
        }
        let statement = self.bare_state(session, context)?;
        let logical = kept.bound(values, &statement)?;
        let planner = statement.state.query_planner();
        let physical = planner
            .create_physical_plan(&logical, &statement.state)
            .await?;
        if distribute::is_distributed(&physical) {
            // Planning is little of what such a statement takes, and workers need all functions.
            slot.set(SlotState::New);
            return Ok(None);
        }
        slot.reused.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Ready {
            kept,
            statement,
            physical,
        }))
    }

    /// Keeps the plan of a statement, if it is one to be kept; `open` has its parameters still.
    ///
    /// # Errors
    /// None: a plan that cannot be optimized with open parameters is not kept.
    pub(crate) fn keep(
        session: &Session,
        context: &StatementContext,
        headings: &Headings,
        open: &Planned,
    ) {
        let Some(slot) = context.plan.as_ref().filter(|slot| slot.wants()) else {
            return;
        };
        if let Some(kept) = Self::kept_of(session, context, headings, open) {
            slot.set(SlotState::Kept(Arc::new(kept)));
        }
    }

    fn kept_of(
        session: &Session,
        context: &StatementContext,
        headings: &Headings,
        open: &Planned,
    ) -> Option<KeptPlan> {
        let values = &context.parameters;
        let types: Vec<DataType> = values.iter().map(ScalarValue::data_type).collect();
        let is_typed = types.iter().all(|ty| *ty != DataType::Null);
        let names = open.statement.scope.names()?;
        if !is_typed || !lasts(&open.logical) {
            return None;
        }
        let told = typed(open.logical.clone(), &types).ok()?;
        let logical = open.statement.state.optimize(&told).ok()?;
        if !reads_tables_only(&logical) || reads_texts(&logical) {
            return None;
        }
        if KEPT.fetch_add(1, Ordering::Relaxed) >= KEPT_MAX {
            KEPT.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(KeptPlan {
            session: session.clone(),
            temporary: session.temporary_namespace(),
            types,
            names,
            // A stamp of now may tell of later versions: the first run asks each name again.
            stamps: Mutex::default(),
            headings: headings.clone(),
            logical,
        })
    }
}

/// Whether a plan says nothing of this moment. Asked before constants are computed.
fn lasts(plan: &LogicalPlan) -> bool {
    let is_moment = |text: &str| {
        let text = text.to_lowercase();
        MOMENTS.iter().any(|word| text.contains(word))
    };
    !finds(plan, |expr| match expr {
        Expr::ScalarFunction(call) => {
            call.func.signature().volatility != Volatility::Immutable
                && !ZONED.contains(&call.name())
        }
        Expr::Literal(value, _) => value.try_as_str().flatten().is_some_and(is_moment),
        _ => false,
    }) && !has_values(plan)
}

/// Whether rows are written out in a plan: parameters in them have their types by the rows.
fn has_values(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Values(_));
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

/// Whether a text that is a parameter is read as something else: constants are read by rules that run before.
fn reads_texts(plan: &LogicalPlan) -> bool {
    finds(plan, |expr| {
        let (Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. })) = expr else {
            return false;
        };
        matches!(expr.as_ref(), Expr::Placeholder(Placeholder { field: Some(field), .. })
            if matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
    })
}

fn finds(plan: &LogicalPlan, wanted: impl Fn(&Expr) -> bool) -> bool {
    let mut found = false;
    // The closures never fail, so neither does the walk.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found |= wanted(part);
                Ok(if found {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })
        })
    });
    found
}

/// Whether the leaves of a plan are tables at a version, or nothing.
fn reads_tables_only(plan: &LogicalPlan) -> bool {
    let mut only = true;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply_with_subqueries(|node| {
        only &= match node {
            LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)
                .is_ok_and(|provider| provider.is::<IcebergTableProvider>()),
            LogicalPlan::EmptyRelation(_) => true,
            other => !other.inputs().is_empty(),
        };
        Ok(if only {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    only
}

/// `plan` with the types of its parameters.
fn typed(plan: LogicalPlan, types: &[DataType]) -> Result<LogicalPlan, EngineError> {
    let field = |id: &str| {
        let at: usize = id.trim_start_matches('$').parse().ok()?;
        let ty = types.get(at.checked_sub(1)?)?;
        Some(Arc::new(Field::new("", ty.clone(), true)))
    };
    let done = plan.transform_up_with_subqueries(|node| {
        let told = node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::Placeholder(open) => {
                        let field = field(&open.id);
                        Transformed::yes(Expr::Placeholder(Placeholder { field, ..open }))
                    }
                    other => Transformed::no(other),
                })
            })
        })?;
        told.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(done.data)
}

/// Whether what a statement becomes depends on the values of its parameters, not on their types alone: digits and
/// dimensions of casts are those of what is cast.
pub(crate) fn depends_on_values(statement: &ast::Statement) -> bool {
    use ast::{DataType as SqlType, ExactNumberInfo};
    let found = ast::visit_expressions(statement, |expr: &ast::Expr| {
        let ast::Expr::Cast {
            expr: inner,
            data_type,
            ..
        } = expr
        else {
            return std::ops::ControlFlow::Continue(());
        };
        let is_open = matches!(inner.as_ref(), ast::Expr::Value(value)
            if matches!(value.value, ast::Value::Placeholder(_)));
        let takes_digits = matches!(
            data_type,
            SqlType::Numeric(ExactNumberInfo::None)
                | SqlType::Decimal(ExactNumberInfo::None)
                | SqlType::Dec(ExactNumberInfo::None)
                | SqlType::Array(_)
        );
        if is_open && takes_digits {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    });
    found.is_break()
}
