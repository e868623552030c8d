//! The engine as the doors see it: a session and a text in, a command tag and a stream out.
//!
//! Entry point of every statement: [`Engine::run`]. Queries go on in [`crate::query`], writes in
//! [`crate::writes`], everything else in [`crate::commands`].

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{
    SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionConfig;
use datafusion::scalar::ScalarValue;
use futures::{Stream, StreamExt};
use tarn_catalog::{ManifestCache, RangeCache, Stores};

use crate::casts::{LiteralBytes, SqlCasts};
use crate::checked::CheckOperators;
use crate::decorrelate::Decorrelate;
use crate::directory::Directories;
use crate::distribute::{
    self, ClusterChannels, ClusterView, PlacementSlot, PlacementWish, PlanShape, ScanTotals,
    StatementOptions, StatementWorkers,
};
use crate::error::{EngineError, ErrorKind};
use crate::files::AllowedRoots;
use crate::floats::DecimalsBesideFloats;
use crate::functions;
use crate::grouping::HideGroupingColumns;
use crate::identities::Identities;
use crate::kept::PlanSlot;
use crate::literals::CompleteLiterals;
use crate::notices::{self, Notice};
use crate::optimizer;
use crate::parser::{self, Statement};
use crate::pg_catalog;
use crate::planner::StatementPlanner;
use crate::processors::Processors;
use crate::resolve::{AboutCatalogs, Catalogs, Missing, SEARCH_PATH, StatementCatalogs};
use crate::rules;
use crate::runtime::EngineRuntime;
use crate::session::Session;
use crate::single::CheckSingleRow;
use crate::system::SystemTables;
use crate::temporal::{CompareDays, DatesBesideTimestamps, IntervalOrder};
use crate::types::SqlTypes;
use crate::values;
use crate::views::Scope;
use crate::wanted::Wanted;

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The catalogs.
    pub catalogs: Catalogs,
    /// Object stores.
    pub stores: Stores,
    /// Manifests read so far.
    pub cache: ManifestCache,
    /// What was read of data files.
    pub ranges: RangeCache,
    /// Memory, spill space and processors.
    pub runtime: EngineRuntime,
    /// Where file functions may read.
    pub roots: AllowedRoots,
    /// Parallel streams of one process unless the session says otherwise.
    pub target_partitions: usize,
    /// Connections to workers.
    pub channels: ClusterChannels,
    /// The workers there are.
    pub cluster: Arc<dyn ClusterView>,
    /// Rows of `system.*`.
    pub system: Arc<dyn SystemTables>,
    /// Users and tokens.
    pub identities: Arc<dyn Identities>,
    /// Tells this server from others on the same catalogs; the same after a restart.
    pub server: String,
}

/// Plans and runs statements. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) directories: Arc<Directories>,
    base: Arc<SessionState>,
    /// The same without functions, for plans that have theirs.
    bare: Arc<SessionState>,
}

impl Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("catalogs", &self.config.catalogs.names())
            .finish_non_exhaustive()
    }
}

/// Is told how a statement goes on.
#[async_trait]
pub trait Observer: Send + Sync {
    /// The statement has a physical plan and begins to run. Called again if it is planned again.
    fn running(&self, plan: RunningPlan);

    /// Waits for the turn of a statement with work to do. Once it has had it, it goes on at once.
    ///
    /// # Errors
    /// If its turn does not come in time, or too many wait.
    async fn turn(&self) -> Result<(), EngineError>;
}

/// A plan that runs, or ran; can be asked how far it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunningPlan {
    plan: Arc<dyn ExecutionPlan>,
}

impl RunningPlan {
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan }
    }

    /// Whether stages of it run on workers.
    pub fn is_distributed(&self) -> bool {
        distribute::is_distributed(&self.plan)
    }

    /// Its stages and tasks on workers.
    pub fn shape(&self) -> PlanShape {
        distribute::shape_of(&self.plan)
    }

    /// Number and tasks of each stage on workers, last one first.
    pub fn stages(&self) -> Vec<(u32, u32)> {
        distribute::stages_of(&self.plan)
    }

    /// What its scans in this process have read so far.
    pub fn totals(&self) -> ScanTotals {
        distribute::metrics_of(&self.plan)
    }

    /// What its scans have read everywhere; waits some seconds for the workers' last reports.
    /// Zeros if the plan never ran.
    pub async fn final_totals(&self) -> ScanTotals {
        match distribute::with_metrics(Arc::clone(&self.plan)).await {
            Ok(plan) => distribute::metrics_of(&plan),
            Err(_) => ScanTotals::default(),
        }
    }
}

/// The rows of a statement as they come. Dropping it cancels the statement.
pub struct Rows {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
}

impl Rows {
    /// Columns of the result.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream
            .poll_next_unpin(cx)
            .map(|next| next.map(|batch| batch.map_err(EngineError::from)))
    }
}

/// What a statement brings with it besides its text.
#[derive(Clone)]
pub struct StatementContext {
    /// Its id, chosen by the door.
    pub query_id: String,
    /// Values of `$1`, `$2`, …
    pub parameters: Vec<ScalarValue>,
    /// Is told how it goes on.
    pub observer: Arc<dyn Observer>,
    /// Where a prepared statement keeps its plan.
    pub plan: Option<Arc<PlanSlot>>,
}

impl StatementContext {
    /// For what the engine asks itself: nobody watches, there are no parameters.
    pub(crate) fn unobserved() -> Self {
        struct Nobody;
        #[async_trait]
        impl Observer for Nobody {
            fn running(&self, _plan: RunningPlan) {}

            async fn turn(&self) -> Result<(), EngineError> {
                Ok(())
            }
        }
        Self {
            query_id: String::new(),
            parameters: vec![],
            observer: Arc::new(Nobody),
            plan: None,
        }
    }
}

/// What a statement gives back.
pub struct Outcome {
    /// The command tag, e.g. `SELECT` or `CREATE TABLE`.
    pub command: &'static str,
    /// Rows changed, for statements without a result set.
    pub affected: Option<u64>,
    /// The result set; without columns if there is none.
    pub rows: Rows,
    /// What there is to say besides.
    pub notices: Vec<Notice>,
}

impl Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("command", &self.command)
            .field("affected", &self.affected)
            .finish_non_exhaustive()
    }
}

impl Outcome {
    /// A command that has no result set.
    pub(crate) fn done(command: &'static str, affected: Option<u64>) -> Self {
        let schema = Arc::new(Schema::empty());
        let none = RecordBatchStreamAdapter::new(schema, futures::stream::empty());
        Self::streaming(command, affected, Box::pin(none))
    }

    pub(crate) fn streaming(
        command: &'static str,
        affected: Option<u64>,
        stream: SendableRecordBatchStream,
    ) -> Self {
        Self {
            command,
            affected,
            rows: Rows {
                schema: stream.schema(),
                stream,
            },
            notices: vec![],
        }
    }

    /// A result set that is already here.
    pub(crate) fn rows(command: &'static str, batch: RecordBatch) -> Self {
        let one = RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]));
        Self::streaming(command, None, Box::pin(one))
    }
}

/// A statement's own DataFusion state, with what planning settled about placement.
pub(crate) struct StatementState {
    pub(crate) state: SessionState,
    pub(crate) placement: PlacementSlot,
    pub(crate) missing: Missing,
    pub(crate) about: AboutCatalogs,
    pub(crate) scope: Scope,
    /// Its own memory; everything else is shared.
    pub(crate) resources: Arc<RuntimeEnv>,
    pub(crate) processors: Processors,
}

impl StatementState {
    /// What its plans run with, for as long as their rows are `wanted`.
    pub(crate) fn task(&self, wanted: &Wanted) -> Arc<TaskContext> {
        let task = TaskContext::from(&self.state);
        let mut config = task.session_config().clone();
        wanted.tell(&mut config);
        let task = task.with_session_config(config);
        Arc::new(task.with_runtime(Arc::clone(&self.resources)))
    }
}

impl Engine {
    /// Builds the state that all statements start from.
    pub fn new(config: EngineConfig) -> Self {
        let mut session = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false)
            .with_extension(Arc::new(config.ranges.clone()));
        let options = session.options_mut();
        options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        "nulls_max".clone_into(&mut options.sql_parser.default_null_ordering);
        options.catalog.information_schema = false;
        options.execution.parquet.coerce_int96 = Some("us".to_owned());
        options.execution.collect_statistics = true;
        // In DataFusion 55.2 a partition whose first batch is all NULL makes MIN forget its bound, and files that only
        // MIN needs are pruned: min(x) and max(x) of one statement then come out wrong.
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        // Subqueries that became outer joins say too little about NULL; types are checked all the same.
        options.execution.skip_physical_aggregate_schema_check = true;
        let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
            Arc::new(DatesBesideTimestamps),
            Arc::new(SqlCasts),
            Arc::new(DecimalsBesideFloats),
        ];
        rules.extend(values::early_rules());
        rules.extend(Analyzer::new().rules);
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_analyzer_rules(rules)
            .with_optimizer_rules(rules::optimizer_rules())
            .with_config(session)
            .with_runtime_env(Arc::clone(config.runtime.env()))
            .with_query_planner(Arc::new(StatementPlanner))
            .with_physical_optimizer_rules(optimizer::physical_rules());
        let builder = functions::register(builder)
            .with_analyzer_rule(Arc::new(CompleteLiterals))
            .with_analyzer_rule(Arc::new(LiteralBytes))
            .with_analyzer_rule(Arc::new(IntervalOrder))
            .with_optimizer_rule(Arc::new(CompareDays))
            .with_optimizer_rule(Arc::new(values::NarrowDecimals))
            .with_analyzer_rule(Arc::new(CheckOperators))
            .with_analyzer_rule(Arc::new(HideGroupingColumns))
            .with_analyzer_rule(Arc::new(Decorrelate))
            .with_analyzer_rule(Arc::new(CheckSingleRow));
        let base = distribute::configure(builder, &config.channels).build();
        let nameless = SessionStateBuilder::new_from_existing(base.clone())
            .with_scalar_functions(vec![])
            .with_aggregate_functions(vec![])
            .with_window_functions(vec![])
            .build();
        pg_catalog::note_start();
        Self {
            config: Arc::new(config),
            directories: Arc::new(Directories::new(functions::names(&base))),
            base: Arc::new(base),
            bare: Arc::new(nameless),
        }
    }

    /// What this process read of data files.
    pub fn ranges(&self) -> &RangeCache {
        &self.config.ranges
    }

    /// Parquet footers that are in memory now.
    pub fn footers_kept(&self) -> usize {
        let caches = &self.config.runtime.env().cache_manager;
        caches.get_file_metadata_cache().len()
    }

    /// Runs one statement for `session`, which `USE` and `SET` change.
    ///
    /// A write has been committed when this returns. A query has been planned and its first rows
    /// are there; dropping the stream cancels the rest. Dropping this future cancels the
    /// statement; a write then leaves its table untouched.
    ///
    /// # Errors
    /// Whatever is wrong with the statement, or what it met.
    pub async fn run(
        &self,
        session: &mut Session,
        sql: &str,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let run = Box::pin(async {
            match Box::pin(self.query_kept(session, context)).await {
                // It is planned again on the workers that are left.
                Err(error) if error.kind == ErrorKind::WorkerLost => {}
                Ok(None) => {}
                Ok(Some(outcome)) => return Ok(outcome),
                Err(error) => return Err(error),
            }
            let statement = parser::parse(sql)?;
            Box::pin(self.dispatch(session, statement, context)).await
        });
        let (outcome, notices) = notices::gathered(run).await;
        match outcome {
            Ok(outcome) => Ok(Outcome { notices, ..outcome }),
            Err(error) => Err(locate(error, sql)),
        }
    }

    async fn dispatch(
        &self,
        session: &mut Session,
        statement: Statement,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        match statement {
            Statement::Query(query) => {
                self.apply_set_config(session, &query).await?;
                Box::pin(self.query(session, *query, context)).await
            }
            Statement::Insert { table, statement } => {
                Box::pin(self.insert(session, &table, *statement, context)).await
            }
            Statement::CreateTable(create) => {
                Box::pin(self.create_table(session, *create, context)).await
            }
            Statement::CreateView(create) => {
                Box::pin(self.create_view(session, *create, context)).await
            }
            Statement::CopyTo(copy) => Box::pin(self.copy_to(session, *copy, context)).await,
            Statement::Explain(explain) => Box::pin(self.explain(session, explain, context)).await,
            other => self.command(session, other).await,
        }
    }

    /// Memory of the pool of what belongs to no statement, for rows that a door keeps; nothing yet.
    pub fn reservation(&self, what: &str) -> MemoryReservation {
        MemoryConsumer::new(what).register(&self.config.runtime.env().memory_pool)
    }

    /// What all statements share.
    pub fn runtime(&self) -> &EngineRuntime {
        &self.config.runtime
    }

    /// The state that all statements start from.
    pub(crate) fn base(&self) -> &SessionState {
        &self.base
    }

    /// The settings of one statement: the session's, and this moment's workers.
    fn statement_config(
        &self,
        session: &Session,
        context: &StatementContext,
        placement: Option<PlacementWish>,
        catalog: &str,
    ) -> Result<(SessionConfig, PlacementSlot), EngineError> {
        let settings = &session.settings;
        let target_partitions = match settings.integer("target_partitions") {
            0 => self.config.target_partitions,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        let wish =
            placement.unwrap_or_else(|| PlacementWish::from_setting(settings.get("distribution")));
        let workers = StatementWorkers::of(&self.config.cluster);
        let count = workers.urls.len();
        let options = StatementOptions {
            query_id: context.query_id.clone(),
            time_zone: settings.get("time_zone").to_owned(),
            batch_size: usize::try_from(settings.integer("batch_size")).unwrap_or(8192),
            target_partitions,
            workers: if wish == PlacementWish::Never {
                0
            } else {
                count
            },
            ansi_mode: settings.boolean("ansi_mode"),
            parquet_pushdown_filters: settings.get("parquet_pushdown_filters") == "on",
            row_filters_auto: settings.get("parquet_pushdown_filters") == "auto",
            spilling_joins: false,
        };
        let slot = PlacementSlot::new(wish, settings.integer("distribution_bytes_min"), count);
        let mut config = self
            .base
            .config()
            .clone()
            .with_default_catalog_and_schema(catalog, SEARCH_PATH);
        options.apply(&mut config);
        self.config.runtime.fit(&mut config);
        distribute::for_statement(&mut config, workers, options, slot.clone())?;
        Ok((config, slot))
    }

    /// A state that plans and runs what has been resolved already: it knows no names and no functions.
    pub(crate) fn bare_state(
        &self,
        session: &Session,
        context: &StatementContext,
    ) -> Result<StatementState, EngineError> {
        let catalog = &session.catalog;
        let (config, slot) = self.statement_config(session, context, None, catalog)?;
        let mut state = self.bare.as_ref().clone();
        *state.config_mut() = config;
        state.mark_start_execution();
        Ok(StatementState {
            state,
            placement: slot,
            missing: Missing::default(),
            about: AboutCatalogs::default(),
            scope: Scope::of(self, session, context),
            resources: self.config.runtime.of_query(&context.query_id)?,
            processors: self.config.runtime.processors().clone(),
        })
    }

    /// A state for one statement: the session's names and settings, this moment's workers.
    pub(crate) fn statement_state(
        &self,
        session: &Session,
        context: &StatementContext,
        placement: Option<PlacementWish>,
        files: HashMap<String, Arc<dyn datafusion::catalog::TableProvider>>,
        scope: Scope,
    ) -> Result<StatementState, EngineError> {
        let settings = &session.settings;
        let catalog = &scope.lookup.catalog;
        let (config, slot) = self.statement_config(session, context, placement, catalog)?;
        let catalogs = StatementCatalogs::new(
            self.config.catalogs.clone(),
            self.config.cache.clone(),
            self.seen_by(session),
            files,
            settings.get("time_zone"),
            scope.clone(),
            self.catalog_seed(session),
        );
        let missing = catalogs.missing();
        let about = catalogs.about();
        let resources = self.config.runtime.of_query(&context.query_id)?;
        let mut builder = SessionStateBuilder::new_from_existing(self.base.as_ref().clone());
        builder
            .scalar_functions()
            .get_or_insert_default()
            .extend(functions::of_session(session));
        let mut state = builder
            .with_session_id(context.query_id.clone())
            .with_runtime_env(Arc::clone(&resources))
            .with_config(config)
            .with_catalog_list(Arc::new(catalogs))
            .with_type_planner(Arc::new(SqlTypes::new(settings.get("time_zone"))))
            .build();
        // now() and its like mean this moment.
        state.mark_start_execution();
        Ok(StatementState {
            state,
            placement: slot,
            missing,
            about,
            scope,
            resources,
            processors: self.config.runtime.processors().clone(),
        })
    }
}

/// Gives an error about a name the place where the name first stands in the statement.
pub(crate) fn locate(mut error: EngineError, sql: &str) -> EngineError {
    if error.position.is_some() {
        return error;
    }
    let named = matches!(
        error.kind,
        ErrorKind::UndefinedColumn
            | ErrorKind::UndefinedTable
            | ErrorKind::UndefinedSchema
            | ErrorKind::UndefinedCatalog
            | ErrorKind::UndefinedFunction
            | ErrorKind::Ambiguous
            | ErrorKind::Grouping
    );
    if !named {
        return error;
    }
    let Some(name) = error.message.split('"').nth(1) else {
        return error;
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    error.position = word_position(sql, name).or_else(|| word_position(sql, last));
    error
}

/// Where `word` first stands as a whole word, in characters from 1, ignoring case.
fn word_position(sql: &str, word: &str) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let text: Vec<char> = sql.chars().flat_map(char::to_lowercase).collect();
    let wanted: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    if text.len() != sql.chars().count() {
        return None;
    }
    (0..=text.len().checked_sub(wanted.len())?)
        .find(|&at| {
            text[at..].starts_with(&wanted)
                && (at == 0 || !is_name(text[at - 1]))
                && text.get(at + wanted.len()).is_none_or(|c| !is_name(*c))
        })
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_located_as_a_whole_word() {
        assert_eq!(word_position("SELECT ab, a FROM t", "a"), Some(12));
        assert_eq!(word_position("SELECT é, X FROM t", "x"), Some(11));
        assert_eq!(word_position("SELECT 1", "x"), None);
    }
}
