//! What a statement takes and gives, found out without running it.
//!
//! Doors that describe a statement before they run it ask here. Types of parameters come from where
//! they stand: beside a column, under a cast, in LIMIT, in the rows of an INSERT.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::logical_expr::{DmlStatement, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;

use crate::engine::{Engine, Observer, RunningPlan, StatementContext};
use crate::error::EngineError;
use crate::headings::Headings;
use crate::inference::parameter_types;
use crate::parser::{self, Statement};
use crate::query::explained;
use crate::session::Session;
use crate::zone::zoned;

/// What a statement takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its command tag.
    pub command: &'static str,
    /// Type of `$1`, `$2`, …; `None` where the text does not tell it. Metadata tells what Arrow does not:
    /// [`pg_type_of_parameter`](crate::pg_type_of_parameter) reads it.
    pub parameters: Vec<Option<FieldRef>>,
    /// Columns of its result set; `None` if it has none.
    pub schema: Option<SchemaRef>,
    /// Whether it changes something instead of answering.
    pub is_update: bool,
    /// Whether the order of its rows means nothing and they may be many, so that several readers help.
    pub unordered: bool,
}

/// Nobody watches a statement that does not run.
struct Unobserved;

#[async_trait]
impl Observer for Unobserved {
    fn running(&self, _plan: RunningPlan) {}

    async fn turn(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

impl Engine {
    /// Parses and plans a statement without running it.
    ///
    /// `parameter_types` are the types that the client has said, by position; what it left open is
    /// inferred. Tables are resolved, so a wrong name is an error here already.
    ///
    /// # Errors
    /// As [`Engine::run`], as far as planning goes.
    pub async fn prepare(
        &self,
        session: &Session,
        sql: &str,
        parameter_types: &[Option<DataType>],
    ) -> Result<Prepared, EngineError> {
        let context = StatementContext {
            query_id: String::new(),
            parameters: vec![],
            observer: Arc::new(Unobserved),
            plan: None,
        };
        let statement = parser::parse(sql)?;
        let prepared = match statement {
            Statement::Query(query) => {
                Box::pin(self.prepare_query(session, *query, parameter_types, &context)).await
            }
            Statement::Insert { statement, .. } => {
                Box::pin(self.prepare_insert(session, *statement, parameter_types, &context)).await
            }
            Statement::Explain(explain) => Ok(Prepared {
                command: "EXPLAIN",
                parameters: vec![],
                schema: Some(explained("", explain.format)?.schema()),
                is_update: false,
                unordered: false,
            }),
            Statement::Admin(admin) if !admin.only_reads() => Ok(Prepared {
                schema: admin.columns(session)?,
                ..no_rows(admin.tag())
            }),
            Statement::Call(call) => Ok(Prepared {
                schema: Some(Arc::new(Self::columns_of_call(&call)?)),
                ..no_rows("CALL")
            }),
            other if other.only_reads() => {
                // Answered from what is at hand: its rows tell its columns.
                let outcome = self.command(&mut session.clone(), other).await?;
                Ok(Prepared {
                    command: outcome.command,
                    parameters: vec![],
                    schema: Some(outcome.rows.schema()),
                    is_update: false,
                    unordered: false,
                })
            }
            other => Ok(no_rows(other.tag())),
        };
        prepared.map_err(|error| crate::engine::locate(error, sql))
    }

    async fn prepare_query(
        &self,
        session: &Session,
        query: ast::Statement,
        given: &[Option<DataType>],
        context: &StatementContext,
    ) -> Result<Prepared, EngineError> {
        let headings = Headings::of(&query);
        let planned = Box::pin(self.plan_open(session, query, context, None)).await?;
        let headings = headings.with_digits(&planned.logical);
        let parameters = parameter_types(&planned.logical, given)?;
        let unordered = is_unordered(&planned.logical);
        let state = &planned.statement.state;
        let filled = fill(planned.logical, &parameters)?;
        let analyzed =
            state
                .analyzer()
                .execute_and_check(filled, state.config_options(), |_, _| {})?;
        let schema = headings.rename(analyzed.schema().as_arrow());
        Ok(Prepared {
            command: "SELECT",
            parameters,
            schema: Some(zoned(&schema, session.settings.get("time_zone"))),
            is_update: false,
            unordered,
        })
    }

    async fn prepare_insert(
        &self,
        session: &Session,
        insert: ast::Statement,
        given: &[Option<DataType>],
        context: &StatementContext,
    ) -> Result<Prepared, EngineError> {
        let planned = Box::pin(self.plan_open(session, insert, context, None)).await?;
        let LogicalPlan::Dml(DmlStatement { input, .. }) = &planned.logical else {
            return Err(EngineError::internal("INSERT was not planned as a write"));
        };
        Ok(Prepared {
            parameters: parameter_types(input, given)?,
            ..no_rows("INSERT")
        })
    }
}

fn no_rows(command: &'static str) -> Prepared {
    Prepared {
        command,
        parameters: vec![],
        schema: None,
        is_update: true,
        unordered: false,
    }
}

/// Whether the rows of `plan` come in no order and there may be many of them.
fn is_unordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().all(is_unordered)
        }
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.is_empty(),
        LogicalPlan::TableScan(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Window(_) => true,
        _ => false,
    }
}

/// `plan` with NULLs of the parameters' types, which gives it its final types.
fn fill(plan: LogicalPlan, parameters: &[Option<FieldRef>]) -> Result<LogicalPlan, EngineError> {
    if parameters.is_empty() {
        return Ok(plan);
    }
    let nulls = parameters
        .iter()
        .map(|field| {
            let ty = field.as_ref().map(|field| field.data_type());
            ScalarValue::try_from(ty.unwrap_or(&DataType::Utf8View))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(plan.with_param_values(ParamValues::from(nulls))?)
}
