//! What a statement takes and gives, found out without running it.
//!
//! Doors that describe a statement before they run it ask here. Types of parameters come from where
//! they stand: beside a column, under a cast, in LIMIT, in the rows of an INSERT.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::{DmlStatement, Expr, ExprSchemable, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;

use crate::casts::UUID_METADATA;
use crate::engine::{Engine, Observer, RunningPlan, StatementContext};
use crate::error::{EngineError, ErrorKind};
use crate::headings::Headings;
use crate::parser::{self, Statement};
use crate::pg_catalog::PG_TYPE_KEY;
use crate::query::lines;
use crate::session::Session;
use crate::zone::zoned;

/// Parameters of one statement at most. Source: the PostgreSQL protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

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

impl Observer for Unobserved {
    fn running(&self, _plan: RunningPlan) {}
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
        };
        let statement = parser::parse(sql)?;
        let prepared = match statement {
            Statement::Query(query) => {
                Box::pin(self.prepare_query(session, *query, parameter_types, &context)).await
            }
            Statement::Insert { statement, .. } => {
                Box::pin(self.prepare_insert(session, *statement, parameter_types, &context)).await
            }
            Statement::Explain(_) => Ok(Prepared {
                command: "EXPLAIN",
                parameters: vec![],
                schema: Some(lines("")?.schema()),
                is_update: false,
                unordered: false,
            }),
            Statement::Admin(admin) if !admin.only_reads() => Ok(Prepared {
                schema: admin.columns(session)?,
                ..no_rows(admin.tag())
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

/// The type of each parameter of `plan`: as given, else as the first place tells that it stands in.
fn parameter_types(
    plan: &LogicalPlan,
    given: &[Option<DataType>],
) -> Result<Vec<Option<FieldRef>>, EngineError> {
    let mut found: Found = BTreeMap::new();
    let whole = Field::new("", DataType::Int64, true);
    for name in plan.get_parameter_names()? {
        found.insert(number(&name)?, None);
    }
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                note(&mut found, expr, &whole);
            }
        }
        let inputs = node.inputs();
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                match part {
                    Expr::Placeholder(Placeholder {
                        field: Some(field), ..
                    }) => note(&mut found, part, field),
                    Expr::Cast(Cast { expr, field }) => match named(expr, field) {
                        Some((inner, field)) => note(&mut found, inner, &field),
                        None => note(&mut found, expr, field),
                    },
                    Expr::ScalarFunction(call)
                        if ["generate_series", "range"].contains(&call.name()) =>
                    {
                        for bound in &call.args {
                            note(&mut found, bound, &whole);
                        }
                    }
                    Expr::ScalarFunction(call) if call.name() == "array_has" => {
                        if let [array, item] = &call.args[..]
                            && let Some(input) = inputs.first()
                            && let Ok((_, item)) = item.to_field(input.schema())
                        {
                            let item = plain(&item).with_name(Field::LIST_FIELD_DEFAULT_NAME);
                            let list = Field::new_list("", item, true);
                            note(&mut found, array, &list);
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let count = found
        .keys()
        .next_back()
        .copied()
        .unwrap_or(0)
        .max(given.len());
    Ok((1..=count)
        .map(|n| {
            let said = given.get(n - 1).cloned().flatten();
            let said = said.map(|ty| Arc::new(Field::new("", ty, true)));
            said.or_else(|| found.get(&n).cloned().flatten())
        })
        .collect())
}

/// Parameters by number, with their types where these are known.
type Found = BTreeMap<usize, Option<FieldRef>>;

/// What is left of a field if it is to tell no more than a type.
fn plain(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| [PG_TYPE_KEY, UUID_METADATA.0].contains(&key.as_str()));
    Field::new("", field.data_type().clone(), true).with_metadata(metadata)
}

/// The parameter in `$1::text::regclass`, which is what `$1::regclass` was made, and what the client is to
/// know of it: that its text is the name of such a thing.
fn named<'a>(expr: &'a Expr, field: &Field) -> Option<(&'a Expr, Field)> {
    let Expr::Cast(Cast {
        expr: inner,
        field: text,
    }) = expr
    else {
        return None;
    };
    let name = field.metadata().get(PG_TYPE_KEY)?;
    let is_parameter = matches!(inner.as_ref(), Expr::Placeholder(_));
    (is_parameter && *text.data_type() == DataType::Utf8View && name.starts_with("reg")).then(
        || {
            let metadata = [(PG_TYPE_KEY.to_owned(), name.clone())];
            let field = Field::new("", DataType::Utf8View, true).with_metadata(metadata.into());
            (inner.as_ref(), field)
        },
    )
}

/// Remembers the type of a parameter that has none yet.
fn note(found: &mut Found, expr: &Expr, field: &Field) {
    if let Expr::Placeholder(placeholder) = expr
        && *field.data_type() != DataType::Null
        && let Ok(number) = number(&placeholder.id)
        && let Some(slot @ None) = found.get_mut(&number)
    {
        *slot = Some(Arc::new(plain(field)));
    }
}

fn number(name: &str) -> Result<usize, EngineError> {
    name.trim_start_matches('$')
        .parse()
        .ok()
        .filter(|n| (1..=PARAMETERS_MAX).contains(n))
        .ok_or_else(|| {
            EngineError::new(
                ErrorKind::Syntax,
                format!("there is no parameter {name}; parameters are $1, $2, …"),
            )
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check_number(name: &str, expected: Option<usize>) {
        assert_eq!(number(name).ok(), expected, "{name}");
    }

    #[test]
    fn parameters_are_numbered_from_one() {
        check_number("$1", Some(1));
        check_number("$65535", Some(65_535));
        check_number("$0", None);
        check_number("$65536", None);
        check_number("$name", None);
    }
}
