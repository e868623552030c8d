//! SELECT and EXPLAIN: from a parsed query to a stream of rows.
//!
//! A query whose worker is lost before its first row is planned again on the workers that are
//! left, the last time in this process: nothing of it has been seen yet. So is one that found a full disk on the way, in this
//! process at once. One whose hash joins or sorts do not fit into memory is planned again with joins that spill, and then
//! in one stream.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::ParamValues;
use datafusion::config::ConfigNonZeroUsize;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::sqlparser::ast;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tarn_catalog::EntryKind;

use crate::distribute::{self, Placement, PlacementWish, StatementOptions, Traffic};
use crate::engine::{Engine, Outcome, RunningPlan, StatementContext, StatementState};
use crate::error::{EngineError, ErrorKind};
use crate::files;
use crate::functions;
use crate::headings::{self, Headings};
use crate::hidden;
use crate::inserts;
use crate::integers;
use crate::kept;
use crate::parser::{Explain, ExplainFormat, Statement, fold_name};
use crate::pg_catalog;
use crate::postgres;
use crate::rewrite;
use crate::session::Session;
use crate::shapes;
use crate::temporal;
use crate::using;
use crate::versions;
use crate::views::Scope;
use crate::wanted::Wanted;
use crate::weight::{Weight, weigh};
use crate::zone::in_zone;

/// Times a query is planned because workers are lost; the last time it stays in the coordinator.
const ATTEMPTS_MAX: usize = 3;

/// Rows in a batch when joins spill.
const SPILLING_ROWS: usize = 1024;

/// How a statement goes about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thrift {
    /// It has enough.
    None,
    /// Joins spill, and batches are small.
    Spilling,
    /// The same in one stream: operators that work side by side keep each other from the memory that each needs at least.
    Alone,
}

/// How a statement is planned this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    number: usize,
    thrift: Thrift,
    /// In the coordinator, because a disk is full where it ran.
    here: bool,
}

impl Attempt {
    /// As the session wants it.
    pub(crate) fn first() -> Self {
        Self {
            number: 1,
            thrift: Thrift::None,
            here: false,
        }
    }

    /// Where it must run this time, if not where it is best.
    pub(crate) fn placement(self) -> Option<PlacementWish> {
        (self.here || self.number == ATTEMPTS_MAX).then_some(PlacementWish::Never)
    }

    /// Whether it is as the session wants it.
    pub(crate) fn is_first(self) -> bool {
        self.number == 1 && self.thrift == Thrift::None && !self.here
    }

    /// Sets the options of this attempt before the physical plan is made.
    pub(crate) fn prepare(self, statement: &mut StatementState) {
        if self.thrift == Thrift::None {
            return;
        }
        let config = statement.state.config_mut();
        let rows = config.batch_size().min(SPILLING_ROWS);
        let options = config.options_mut();
        // Each sort holds some batches at least; small ones of wide rows fit where others do not.
        if let Ok(rows) = ConfigNonZeroUsize::try_new(rows) {
            options.execution.batch_size = rows;
        }
        if let Some(sent) = options.extensions.get_mut::<StatementOptions>() {
            sent.batch_size = rows;
            sent.spilling_joins = true;
        }
        if self.thrift == Thrift::Alone {
            options.execution.target_partitions = 1;
        }
        options.optimizer.repartition_joins = true;
        // Streams that are sorted apart take what their merge would need.
        options.optimizer.repartition_sorts = false;
        distribute::spare_copies(options);
    }

    /// The next attempt of a statement that failed with `error` before anybody saw a part of its answer.
    ///
    /// # Errors
    /// `error`, if another attempt would not help.
    pub(crate) fn after(
        self,
        error: EngineError,
        context: &StatementContext,
    ) -> Result<Self, EngineError> {
        let next = match error.kind {
            ErrorKind::WorkerLost if self.number < ATTEMPTS_MAX => Self {
                number: self.number + 1,
                ..self
            },
            ErrorKind::ResourcesExhausted
                if CAREFUL.iter().any(|name| error.message.contains(name)) =>
            {
                let thrift = match self.thrift {
                    Thrift::None => Thrift::Spilling,
                    Thrift::Spilling => Thrift::Alone,
                    Thrift::Alone => return Err(error),
                };
                Self { thrift, ..self }
            }
            ErrorKind::DiskFull if !self.here && error.message.starts_with(ON_WORKERS) => {
                Self { here: true, ..self }
            }
            _ => return Err(error),
        };
        tracing::warn!(
            query_id = context.query_id,
            %error,
            attempt = next.number,
            thrift = ?next.thrift,
            here = next.here,
            "statement planned again"
        );
        Ok(next)
    }
}

/// What the build sides of joins, and sorts, are called in an error about memory: with joins that spill, and in smaller
/// batches, they may fit.
const CAREFUL: [&str; 3] = ["HashJoinInput", "ExternalSorter", "NestedLoopJoinLoad"];

/// Begins what is said of a full disk that a plan met which ran on workers.
const ON_WORKERS: &str = "while this statement ran on workers: ";

/// Says of a full disk that workers had a part in it.
fn on_workers(error: DataFusionError) -> DataFusionError {
    let error = EngineError::from(error);
    if error.kind != ErrorKind::DiskFull {
        return error.into();
    }
    EngineError {
        message: format!("{ON_WORKERS}{}", error.message),
        ..error
    }
    .into()
}

/// A query ready to run.
pub(crate) struct Planned {
    pub(crate) statement: StatementState,
    pub(crate) logical: LogicalPlan,
}

impl Engine {
    /// Resolves the names and types of a query or INSERT and puts in the parameters' values.
    pub(crate) async fn plan(
        &self,
        session: &Session,
        statement: ast::Statement,
        context: &StatementContext,
        placement: Option<PlacementWish>,
    ) -> Result<Planned, EngineError> {
        let open = self.plan_open(session, statement, context, placement);
        let planned = Box::pin(open).await?;
        Ok(Planned {
            logical: bind(planned.logical, context)?,
            ..planned
        })
    }

    /// Resolves the names and types of a query or INSERT; its parameters stay open.
    pub(crate) async fn plan_open(
        &self,
        session: &Session,
        statement: ast::Statement,
        context: &StatementContext,
        placement: Option<PlacementWish>,
    ) -> Result<Planned, EngineError> {
        let scope = Scope::of(self, session, context);
        self.plan_within(session, statement, context, placement, scope)
            .await
    }

    /// As [`Self::plan_open`], with names looked up in `scope`.
    pub(crate) async fn plan_within(
        &self,
        session: &Session,
        mut statement: ast::Statement,
        context: &StatementContext,
        placement: Option<PlacementWish>,
        scope: Scope,
    ) -> Result<Planned, EngineError> {
        Box::pin(versions::mark(self, session, context, &mut statement)).await?;
        hidden::show(&mut statement, &self.config.catalogs, &scope).await?;
        if kept::depends_on_values(&statement) {
            scope.only_once();
        }
        headings::name_inner(&mut statement);
        shapes::write_out(&mut statement, &self.config.catalogs, &scope).await?;
        postgres::rewrite(&mut statement);
        temporal::rewrite(&mut statement);
        rewrite::rewrite(&mut statement, &context.parameters);
        using::merge(&mut statement)?;
        if let ast::Statement::Insert(insert) = &mut statement
            && let ast::TableObject::TableName(name) = &insert.table
            && let Ok(found) = self
                .config
                .catalogs
                .find(&scope.lookup, &fold_name(name))
                .await
            && found.kind == EntryKind::Table
        {
            let table = scope.table(&found).await?;
            let columns = table.arrow_schema();
            inserts::fit(insert, &columns)?;
            inserts::cast_uuids(insert, &columns);
            inserts::type_nulls(insert, &columns);
        }
        let calls = files::extract(&mut statement)?;
        let about = pg_catalog::mentions(&statement);
        if about || !calls.is_empty() {
            scope.only_once();
        }
        // What is told of catalogs is here already, and only here.
        let placement = if about {
            Some(PlacementWish::Never)
        } else {
            placement
        };
        let mut tables: HashMap<String, Arc<dyn TableProvider>> = HashMap::new();
        if !calls.is_empty() {
            let none = HashMap::new();
            let bare = self.statement_state(session, context, placement, none, scope.clone())?;
            for call in &calls {
                let table =
                    files::open(call, &self.config.roots, &self.config.stores, &bare.state).await?;
                tables.insert(call.table.clone(), table);
            }
        }
        let mut state = self.statement_state(session, context, placement, tables, scope)?;
        let casts = if about {
            Some(self.tell_of_catalogs(session, &mut state).await?)
        } else {
            None
        };
        functions::by_own_names(&mut statement, &state.state);
        integers::mark(&mut statement);
        let mut logical = state
            .state
            .statement_to_plan(PlannerStatement::Statement(Box::new(statement)))
            .await
            .map_err(|error| state.missing.explain(error.into()))?;
        if let Some(casts) = casts {
            logical = casts.shown(logical)?;
        }
        Ok(Planned {
            statement: state,
            logical,
        })
    }

    pub(crate) async fn query(
        &self,
        session: &Session,
        query: ast::Statement,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let mut attempt = Attempt::first();
        loop {
            match Box::pin(self.start(session, query.clone(), context, attempt)).await {
                Err(error) => attempt = attempt.after(error, context)?,
                Ok(stream) => {
                    let zone = session.settings.get("time_zone");
                    return Ok(Outcome::streaming("SELECT", None, in_zone(stream, zone)));
                }
            }
        }
    }

    /// Runs the plan that is kept of a prepared query; none if there is none that still holds.
    pub(crate) async fn query_kept(
        &self,
        session: &Session,
        context: &StatementContext,
    ) -> Result<Option<Outcome>, EngineError> {
        let Some(ready) = self.kept(session, context).await? else {
            return Ok(None);
        };
        let headings = &ready.kept.headings;
        let stream = begin(&ready.statement, &ready.physical, headings, context).await?;
        let zone = session.settings.get("time_zone");
        Ok(Some(Outcome::streaming(
            "SELECT",
            None,
            in_zone(stream, zone),
        )))
    }

    /// Plans and starts a query and waits for its first rows.
    async fn start(
        &self,
        session: &Session,
        query: ast::Statement,
        context: &StatementContext,
        attempt: Attempt,
    ) -> Result<SendableRecordBatchStream, EngineError> {
        let headings = Headings::of(&query);
        let mut open =
            Box::pin(self.plan_open(session, query, context, attempt.placement())).await?;
        attempt.prepare(&mut open.statement);
        let logical = bind(open.logical.clone(), context)?;
        let headings = headings.with_digits(&logical);
        let statement = &open.statement;
        let physical = statement.state.create_physical_plan(&logical).await?;
        if attempt.is_first() && !distribute::is_distributed(&physical) {
            Self::keep(session, context, &headings, &open);
        }
        begin(statement, &physical, &headings, context).await
    }

    pub(crate) async fn explain(
        &self,
        session: &Session,
        explain: Explain,
        context: &StatementContext,
    ) -> Result<Outcome, EngineError> {
        let Explain {
            analyze,
            verbose,
            format,
            statement,
        } = explain;
        let planned = match *statement {
            Statement::Query(query) => self.plan(session, *query, context, None).await?,
            Statement::Insert { table, statement } => {
                self.plan_insert(session, &table, *statement, context, Attempt::first())
                    .await?
                    .0
            }
            Statement::CreateTable(create) if !analyze => {
                self.plan_create_as(session, &create, context, Attempt::first())
                    .await?
                    .0
            }
            _ => {
                return Err(
                    EngineError::unsupported("EXPLAIN ANALYZE of CREATE TABLE AS")
                        .with_hint("EXPLAIN ANALYZE its SELECT"),
                );
            }
        };
        let writes = matches!(planned.logical, LogicalPlan::Extension(_));
        if analyze && writes {
            return Err(EngineError::unsupported("EXPLAIN ANALYZE of a write")
                .with_hint("EXPLAIN ANALYZE its SELECT; system.queries shows what a write did"));
        }
        let optimized = planned.statement.state.optimize(&planned.logical)?;
        let mut physical = planned
            .statement
            .state
            .create_physical_plan(&planned.logical)
            .await?;
        let started = std::time::Instant::now();
        if analyze {
            let mut rows = run(&planned.statement, &physical, context).await?;
            while let Some(batch) = rows.next().await {
                batch?;
            }
            drop(rows);
        }
        let elapsed = analyze.then(|| started.elapsed());
        let mut traffic = None;
        if analyze {
            let ran = Arc::clone(&physical);
            physical = distribute::with_metrics(physical).await?;
            traffic = Some(distribute::traffic_of(&ran).await?);
        }
        let placement = planned.statement.placement.decide(&physical).clone();
        let text = page(
            &physical,
            &placement,
            &ExplainPage {
                format,
                logical: verbose.then(|| optimized.display_indent().to_string()),
                elapsed,
                traffic,
                workers: self.config.cluster.workers().len(),
            },
        );
        Ok(Outcome::rows("EXPLAIN", explained(&text, format)?))
    }
}

/// Puts parameter values into a plan.
pub(crate) fn bind(
    logical: LogicalPlan,
    context: &StatementContext,
) -> Result<LogicalPlan, EngineError> {
    let wanted = logical.get_parameter_names()?;
    for name in &wanted {
        let given = name
            .trim_start_matches('$')
            .parse::<usize>()
            .is_ok_and(|n| (1..=context.parameters.len()).contains(&n));
        if !given {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                format!(
                    "parameter {name} has no value; {} given",
                    context.parameters.len()
                ),
            ));
        }
    }
    if wanted.is_empty() {
        return Ok(logical);
    }
    let values: Vec<_> = context.parameters.clone();
    Ok(logical.with_param_values(ParamValues::from(values))?)
}

/// Starts a query and waits for its first rows.
async fn begin(
    statement: &StatementState,
    physical: &Arc<dyn ExecutionPlan>,
    headings: &Headings,
    context: &StatementContext,
) -> Result<SendableRecordBatchStream, EngineError> {
    let mut rows = run(statement, physical, context).await?;
    let schema = rows.schema();
    let first = match rows.next().await {
        None => vec![],
        Some(Ok(batch)) => vec![Ok(batch)],
        Some(Err(error)) => return Err(error.into()),
    };
    let all = RecordBatchStreamAdapter::new(schema, stream::iter(first).chain(rows));
    Ok(headings.apply(Box::pin(all)))
}

/// Starts a physical plan when its turn has come, on the threads for queries, and tells the observer. What asks for
/// next to nothing begins at once and here.
pub(crate) async fn run(
    statement: &StatementState,
    physical: &Arc<dyn ExecutionPlan>,
    context: &StatementContext,
) -> Result<SendableRecordBatchStream, EngineError> {
    let weight = weigh(physical, statement.about.get().is_some());
    if weight == Weight::Heavy {
        context.observer.turn().await?;
    }
    context
        .observer
        .running(RunningPlan::new(Arc::clone(physical)));
    let wanted = Wanted::default();
    let task = statement.task(&wanted);
    if weight == Weight::Light {
        return Ok(execute_stream(Arc::clone(physical), task)?);
    }
    let rows = statement.processors.run(Arc::clone(physical), task);
    let rows = wanted.until_dropped(rows);
    if !distribute::is_distributed(physical) {
        return Ok(rows);
    }
    let schema = rows.schema();
    let (config, plan) = (statement.state.config().clone(), Arc::clone(physical));
    let lost = async move { distribute::worker_lost(&config, &plan).await };
    let rows = unless(lost, rows).map_err(on_workers);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The rows, or `lost` if it comes before the first of them.
fn unless(
    lost: impl Future<Output = EngineError> + Send + 'static,
    mut rows: SendableRecordBatchStream,
) -> impl Stream<Item = datafusion::common::Result<RecordBatch>> + Send {
    let begun = async move {
        let first = tokio::select! {
            biased;
            first = rows.next() => first,
            error = lost => return stream::iter([Err(error.into())]).boxed(),
        };
        stream::iter(first).chain(rows).boxed()
    };
    stream::once(begun).flatten()
}

struct ExplainPage {
    format: ExplainFormat,
    logical: Option<String>,
    elapsed: Option<std::time::Duration>,
    traffic: Option<Traffic>,
    workers: usize,
}

fn page(plan: &Arc<dyn ExecutionPlan>, placement: &Placement, page: &ExplainPage) -> String {
    let distributed = distribute::is_distributed(plan);
    let shape = distribute::shape_of(plan);
    let body = distribute::render(plan, page.format, page.elapsed.is_some());
    let totals = distribute::metrics_of(plan);
    if page.format == ExplainFormat::Json {
        let mut document = serde_json::json!({
            "Plan": serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default(),
            "Placement": if distributed { "workers" } else { "coordinator" },
            "Reason": placement.reason,
            "Workers": page.workers,
            "Stages": shape.stages,
            "Tasks": shape.tasks,
        });
        if let Some(map) = document.as_object_mut() {
            if let Some(elapsed) = page.elapsed {
                map.insert(
                    "Execution Time".to_owned(),
                    serde_json::json!(elapsed.as_secs_f64() * 1000.0),
                );
                map.insert("Rows Scanned".to_owned(), serde_json::json!(totals.rows));
                map.insert("Bytes Scanned".to_owned(), serde_json::json!(totals.bytes));
            }
            for (name, value) in page.traffic.iter().flat_map(Traffic::json) {
                map.insert(name.to_owned(), value);
            }
            if let Some(logical) = &page.logical {
                map.insert("Logical Plan".to_owned(), serde_json::json!(logical));
            }
        }
        // An array of one, as PostgreSQL has it.
        return serde_json::to_string_pretty(&[document]).unwrap_or_default();
    }
    let mut out = if distributed {
        format!(
            "Runs on {} worker{}: {} (stages: {}, tasks: {})\n",
            page.workers,
            if page.workers == 1 { "" } else { "s" },
            placement.reason,
            shape.stages,
            shape.tasks
        )
    } else if placement.distributed {
        format!(
            "Runs in the coordinator: {}; but no stage can be split\n",
            placement.reason
        )
    } else {
        format!("Runs in the coordinator: {}\n", placement.reason)
    };
    if let Some(elapsed) = page.elapsed {
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "Elapsed {:.1} ms; scanned {} rows, {}",
            elapsed.as_secs_f64() * 1000.0,
            totals.rows,
            distribute::human_bytes(totals.bytes)
        );
    }
    if let Some(traffic) = &page.traffic {
        out.push_str(&traffic.text());
    }
    if let Some(logical) = &page.logical {
        out.push_str("Logical plan:\n");
        out.push_str(logical);
        out.push_str("\nPhysical plan:\n");
    }
    out.push_str(&body);
    out
}

/// What EXPLAIN answers: a JSON document is one value, other texts are lines.
pub(crate) fn explained(text: &str, format: ExplainFormat) -> Result<RecordBatch, EngineError> {
    if format != ExplainFormat::Json {
        return lines(text);
    }
    let metadata = [(pg_catalog::PG_TYPE_KEY.to_owned(), "json".to_owned())];
    // The name by which clients of PostgreSQL look for it.
    let field = Field::new("QUERY PLAN", DataType::Utf8, false).with_metadata(metadata.into());
    let document: StringArray = std::iter::once(Some(text)).collect();
    let schema = Arc::new(Schema::new(vec![field]));
    Ok(RecordBatch::try_new(schema, vec![Arc::new(document)])?)
}

/// A text as rows of one column, `plan`, as PostgreSQL's EXPLAIN has it.
pub(crate) fn lines(text: &str) -> Result<RecordBatch, EngineError> {
    let schema = Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]));
    let lines: StringArray = text.lines().map(Some).collect();
    Ok(RecordBatch::try_new(schema, vec![Arc::new(lines)])?)
}
