//! Correlated subqueries and LATERAL that DataFusion cannot turn into joins, turned into joins.
//!
//! The values of the outer columns that a subquery reads are collected once, without doubles (the *domain*); the
//! subquery is computed for all of them together and joined back. Only where DataFusion's own rules
//! give up: those make better plans. Source: Neumann and Kemper, "Unnesting Arbitrary Queries" (2015).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::{bool_or, count};
use datafusion::logical_expr::expr::{AggregateFunction, Exists, InSubquery};
use datafusion::logical_expr::logical_plan::check_subquery_expr;
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias, col,
    lit, when,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

mod membership;
mod push;

use crate::single;
use membership::as_exists;
use push::push;

/// Rewrites what DataFusion leaves.
#[derive(Debug)]
pub(crate) struct Decorrelate;

impl AnalyzerRule for Decorrelate {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_down_with_subqueries(node)
            .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "decorrelate"
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Join(join) => return lateral(join),
        other => other,
    };
    let plan = as_exists(plan)?;
    if plan.data.inputs().len() != 1 || !has_hard(&plan.data)? {
        return Ok(plan);
    }
    values(plan.data)
}

/// A name that no statement has.
fn fresh(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("__tarn_{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether DataFusion turns this subquery of `plan` into a join.
fn is_easy(plan: &LogicalPlan, expr: &Expr, subquery: &Subquery) -> bool {
    let inner = subquery.subquery.as_ref();
    if check_subquery_expr(plan, inner, expr).is_err() {
        return false;
    }
    let scalar = matches!(expr, Expr::ScalarSubquery(_));
    let mut pull_up = PullUpCorrelatedExpr::new().with_need_handle_count_bug(scalar);
    if !scalar {
        pull_up = pull_up.with_exists_sub_query(matches!(expr, Expr::Exists(_)));
    }
    let pulled = inner.clone().rewrite(&mut pull_up);
    pull_up.can_pull_up && pulled.is_ok_and(|done| free(&done.data).is_empty())
}

/// Whether an expression must be turned into a join here.
fn is_hard(plan: &LogicalPlan, expr: &Expr) -> bool {
    let in_filter = matches!(plan, LogicalPlan::Filter(_));
    match expr {
        Expr::ScalarSubquery(subquery) => {
            !subquery.outer_ref_columns.is_empty() && !is_easy(plan, expr, subquery)
        }
        Expr::Exists(Exists { subquery, .. }) | Expr::InSubquery(InSubquery { subquery, .. }) => {
            !in_filter || (!subquery.outer_ref_columns.is_empty() && !is_easy(plan, expr, subquery))
        }
        _ => false,
    }
}

fn has_hard(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        expr.apply(|part| {
            found |= is_hard(plan, part);
            Ok(if found {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
    })?;
    Ok(found)
}

/// Joins the hard subqueries of one node to its input and leaves their values in its expressions.
fn values(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let Some(input) = plan.inputs().first().map(|input| (*input).clone()) else {
        return Ok(Transformed::no(plan));
    };
    let columns = input.schema().columns();
    let mut joined = input;
    let names = datafusion::logical_expr::expr_rewriter::NamePreserver::new(&plan);
    let mut exprs = Vec::new();
    for expr in plan.expressions() {
        let name = names.save(&expr);
        let done = expr.transform_down(|part| {
            if !is_hard(&plan, &part) {
                return Ok(Transformed::no(part));
            }
            let (input, value) = value(joined.clone(), part)?;
            joined = input;
            Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
        })?;
        exprs.push(name.restore(done.data));
    }
    let new = match &plan {
        LogicalPlan::Filter(_) => {
            let Some(predicate) = exprs.into_iter().next() else {
                return Ok(Transformed::no(plan));
            };
            let filtered = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(joined))?);
            LogicalPlanBuilder::from(filtered)
                .project(columns.into_iter().map(Expr::Column))?
                .build()?
        }
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => {
            plan.with_new_exprs(exprs, vec![joined])?
        }
        other => {
            // Columns that join from the side must not be seen above.
            let kept = other.schema().columns();
            let new = other.with_new_exprs(exprs, vec![joined])?;
            LogicalPlanBuilder::from(new)
                .project(kept.into_iter().map(Expr::Column))?
                .build()?
        }
    };
    Ok(Transformed::yes(new))
}

/// `input` with the value of a subquery beside its columns, and where the value is.
fn value(input: LogicalPlan, expr: Expr) -> Result<(LogicalPlan, Expr)> {
    match expr {
        Expr::ScalarSubquery(subquery) => scalar(input, subquery.subquery.as_ref(), true),
        Expr::Exists(Exists { subquery, negated }) => {
            let counted = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
                .aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64)).alias("n")])?
                .project(vec![col("n").gt(lit(0_i64)).alias("there")])?
                .build()?;
            let (input, value) = scalar(input, &counted, false)?;
            let value = value.is_true();
            Ok((input, if negated { !value } else { value }))
        }
        Expr::InSubquery(InSubquery {
            expr,
            subquery,
            negated,
        }) => {
            let (input, needle) = with_column(input, *expr)?;
            let (field, column) = {
                let (_, field) = input.schema().qualified_field_from_column(&needle)?;
                (Arc::clone(field), needle)
            };
            let plan = subquery.subquery.as_ref().clone();
            let (qualifier, first) = plan.schema().qualified_field(0);
            let item = Expr::Column(Column::new(qualifier.cloned(), first.name()));
            let equal = item.eq(Expr::OuterReferenceColumn(field, column));
            let found = LogicalPlanBuilder::from(plan)
                .project(vec![equal.alias("equal")])?
                .aggregate(
                    Vec::<Expr>::new(),
                    vec![
                        count(lit(1_i64)).alias("n"),
                        count(col("equal")).alias("known"),
                        bool_or(col("equal")).alias("found"),
                    ],
                )?
                .project(vec![
                    when(col("found"), lit(true))
                        .when(col("known").lt(col("n")), lit(ScalarValue::Boolean(None)))
                        .otherwise(lit(false))?
                        .alias("there"),
                ])?
                .build()?;
            let (input, value) = scalar(input, &found, false)?;
            Ok((input, if negated { !value } else { value }))
        }
        other => Ok((input, other)),
    }
}

/// `input` with the value of an expression as a column.
fn with_column(input: LogicalPlan, expr: Expr) -> Result<(LogicalPlan, Column)> {
    if let Expr::Column(column) = expr {
        return Ok((input, column));
    }
    let name = fresh("needle");
    let mut all: Vec<Expr> = input
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    all.push(expr.alias(&name));
    let input = LogicalPlanBuilder::from(input).project(all)?.build()?;
    Ok((input, Column::new_unqualified(name)))
}

/// The columns of `input` that `plan` reads from outside.
fn outer_columns(plan: &LogicalPlan, input: &LogicalPlan) -> Vec<Column> {
    let mut columns = free(plan);
    columns.retain(|column| input.schema().has_column(column));
    columns
}

/// The columns that `plan` reads from outside. What a subquery inside of it reads from `plan` itself is not among
/// them.
fn free(plan: &LogicalPlan) -> Vec<Column> {
    let mut found: Vec<Column> = Vec::new();
    let mut add = |columns: Vec<Column>| {
        for column in columns {
            if !found.contains(&column) {
                found.push(column);
            }
        }
    };
    let inputs = plan.inputs();
    let bound = |column: &Column| inputs.iter().any(|input| input.schema().has_column(column));
    let _ = plan.apply_expressions(|expr| {
        expr.apply(|part| {
            match part {
                Expr::OuterReferenceColumn(_, column) => add(vec![column.clone()]),
                Expr::ScalarSubquery(subquery)
                | Expr::Exists(Exists { subquery, .. })
                | Expr::InSubquery(InSubquery { subquery, .. }) => {
                    let mut inner = free(&subquery.subquery);
                    inner.retain(|column| !bound(column));
                    add(inner);
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    for (at, input) in inputs.iter().enumerate() {
        let mut inner = free(input);
        if let (LogicalPlan::Join(join), 1) = (plan, at) {
            // LATERAL reads what is left of it.
            inner.retain(|column| !join.left.schema().has_column(column));
        }
        add(inner);
    }
    found
}

/// The distinct values of `columns` in `input`, under names of their own.
fn domain(input: &LogicalPlan, columns: &[Column]) -> Result<Domain> {
    let names: Vec<String> = columns.iter().map(|_| fresh("d")).collect();
    let exprs = columns.iter().zip(&names);
    let exprs: Vec<Expr> = exprs
        .map(|(column, name)| Expr::Column(column.clone()).alias(name))
        .collect();
    let plan = LogicalPlanBuilder::from(input.clone())
        .project(exprs)?
        .distinct()?
        .build()?;
    Ok(Domain {
        plan,
        outer: columns.to_vec(),
        names,
        working: RefCell::default(),
    })
}

/// Outer columns and their values.
struct Domain {
    plan: LogicalPlan,
    /// The columns as the subquery names them.
    outer: Vec<Column>,
    /// The columns of `plan`.
    names: Vec<String>,
    /// Working tables of recursive queries around, with the names that the columns have in each.
    working: RefCell<HashMap<String, Vec<String>>>,
}

impl Domain {
    /// The values once more, under fresh names.
    fn copy(&self) -> Result<(LogicalPlan, Vec<Column>)> {
        let names: Vec<String> = self.names.iter().map(|_| fresh("d")).collect();
        let exprs: Vec<Expr> = self
            .names
            .iter()
            .zip(&names)
            .map(|(from, to)| Expr::Column(Column::new_unqualified(from)).alias(to))
            .collect();
        let plan = LogicalPlanBuilder::from(self.plan.clone())
            .project(exprs)?
            .build()?;
        Ok((
            plan,
            names.into_iter().map(Column::new_unqualified).collect(),
        ))
    }

    /// What each outer column is, given where the values are.
    fn at(&self, places: &[Column]) -> HashMap<Column, Column> {
        self.outer
            .iter()
            .cloned()
            .zip(places.iter().cloned())
            .collect()
    }
}

/// Joins the only value of each outer row to `input`; `checked` refuses several.
fn scalar(input: LogicalPlan, plan: &LogicalPlan, checked: bool) -> Result<(LogicalPlan, Expr)> {
    let columns = outer_columns(plan, &input);
    if columns.is_empty() {
        // Nothing of this level is read from outside: one value for all rows.
        let subquery = Subquery {
            outer_ref_columns: plan.all_out_ref_exprs(),
            subquery: Arc::new(plan.clone()),
            spans: datafusion::common::Spans::new(),
        };
        return Ok((input, Expr::ScalarSubquery(subquery)));
    }
    let domain = domain(&input, &columns)?;
    let (pushed, places) = push(plan, &domain)?;
    let (qualifier, first) = pushed.schema().qualified_field(0);
    let item = Expr::Column(Column::new(qualifier.cloned(), first.name()));
    let keys: Vec<Expr> = places.iter().cloned().map(Expr::Column).collect();
    let (value, alias) = (fresh("value"), fresh("sq"));
    let names: Vec<String> = places.iter().map(|_| fresh("k")).collect();
    let out = keys.iter().zip(&names);
    let mut out: Vec<Expr> = out.map(|(key, name)| key.clone().alias(name)).collect();
    let single = checked && plan.max_rows() != Some(1);
    let values = if single {
        let only = single::function().call(vec![item]);
        let label = Column::new_unqualified(only.schema_name().to_string());
        out.push(Expr::Column(label).alias(&value));
        LogicalPlanBuilder::from(pushed).aggregate(keys, vec![only])?
    } else {
        out.push(item.alias(&value));
        LogicalPlanBuilder::from(pushed)
    };
    let values = values.project(out)?.alias(alias.as_str())?.build()?;
    let right: Vec<Column> = names
        .into_iter()
        .map(|name| Column::new(Some(alias.as_str()), name))
        .collect();
    let joined = LogicalPlanBuilder::from(input)
        .join_detailed(
            values,
            JoinType::Left,
            (columns, right),
            None,
            NullEquality::NullEqualsNull,
        )?
        .build()?;
    Ok((
        joined,
        Expr::Column(Column::new(Some(alias.as_str()), value)),
    ))
}

/// What is on the right of LATERAL, with the subquery's own plan in its place; it may be below an alias and a list of
/// columns.
fn inlined(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Subquery(subquery) => Ok(Some(subquery.subquery.as_ref().clone())),
        LogicalPlan::SubqueryAlias(alias) => match inlined(&alias.input)? {
            Some(input) => Ok(Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(
                Arc::new(input),
                alias.alias.clone(),
            )?))),
            None => Ok(None),
        },
        LogicalPlan::Projection(projection) => match inlined(&projection.input)? {
            Some(input) => Ok(Some(
                plan.with_new_exprs(projection.expr.clone(), vec![input])?,
            )),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// A lateral join as a join over the domain of its left side.
fn lateral(join: Join) -> Result<Transformed<LogicalPlan>> {
    let unchanged = |join| Ok(Transformed::no(LogicalPlan::Join(join)));
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return unchanged(join);
    }
    let Some(right) = inlined(&join.right)? else {
        return unchanged(join);
    };
    let columns = outer_columns(&right, &join.left);
    if columns.is_empty() {
        if right.all_out_ref_exprs().is_empty() {
            let inputs = vec![join.left.as_ref().clone(), right];
            let plan = LogicalPlan::Join(join);
            return Ok(Transformed::yes(
                plan.with_new_exprs(plan.expressions(), inputs)?,
            ));
        }
        return unchanged(join);
    }
    let kept = join.schema.columns();
    let domain = domain(&join.left, &columns)?;
    let (pushed, places) = push(&right, &domain)?;
    // Keys of the domain are equal when both are NULL; those of the statement are not.
    let on = join
        .on
        .iter()
        .map(|(left, right)| left.clone().eq(right.clone()));
    let filter = join.filter.clone().into_iter().chain(on).reduce(Expr::and);
    let plan = LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_detailed(
            pushed,
            join.join_type,
            (columns, places),
            filter,
            NullEquality::NullEqualsNull,
        )?
        .project(kept.into_iter().map(Expr::Column))?
        .build()?;
    Ok(Transformed::yes(plan))
}

/// `aggregate` over the rows of `marker` only.
fn only_where(aggregate: AggregateFunction, marker: &Expr) -> Expr {
    let mut aggregate = aggregate;
    let marker = marker.clone().is_true();
    aggregate.params.filter = Some(Box::new(match aggregate.params.filter.take() {
        Some(filter) => filter.and(marker),
        None => marker,
    }));
    Expr::AggregateFunction(aggregate)
}
