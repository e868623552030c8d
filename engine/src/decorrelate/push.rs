//! Computes a plan for every row of a domain at once: each operator carries the domain's columns along.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, NullEquality, Result, not_impl_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::{Alias, Exists, InSubquery, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprFunctionExt, Join, JoinType, Limit, LogicalPlan,
    LogicalPlanBuilder, RecursiveQuery, Sort, SortExpr, Subquery, TableScan, Union, Unnest, Window,
    lit,
};
use datafusion::scalar::ScalarValue;

use super::{Domain, free, fresh, only_where};

/// A plan with the domain's columns after its own, and which those are.
type Pushed = (LogicalPlan, Vec<Column>);

/// `plan` for every row of `domain`.
pub(super) fn push(plan: &LogicalPlan, domain: &Domain) -> Result<Pushed> {
    if !reads(plan, domain) {
        let (values, places) = domain.copy()?;
        let plan = LogicalPlanBuilder::from(plan.clone())
            .cross_join(values)?
            .build()?;
        return Ok((plan, places));
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let (input, places) = push(&projection.input, domain)?;
            let mut exprs = replaced(
                &projection.expr,
                &Places::new(domain, &places, &[&projection.input]),
                true,
            )?;
            exprs.extend(places.iter().cloned().map(Expr::Column));
            Ok((
                LogicalPlanBuilder::from(input).project(exprs)?.build()?,
                places,
            ))
        }
        LogicalPlan::Filter(filter) => {
            let (input, places) = push(&filter.input, domain)?;
            let predicate = replace(
                filter.predicate.clone(),
                &Places::new(domain, &places, &[&filter.input]),
            )?;
            Ok((
                LogicalPlanBuilder::from(input).filter(predicate)?.build()?,
                places,
            ))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (input, places) = push(&alias.input, domain)?;
            let plan = LogicalPlanBuilder::from(input)
                .alias(alias.alias.clone())?
                .build()?;
            let requalified = places.into_iter().map(|place| Column {
                relation: Some(alias.alias.clone()),
                ..place
            });
            Ok((plan, requalified.collect()))
        }
        LogicalPlan::Subquery(subquery) => push(&subquery.subquery, domain),
        LogicalPlan::Aggregate(aggregate) => push_aggregate(aggregate, domain),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let (input, places) = push(input, domain)?;
            Ok((LogicalPlanBuilder::from(input).distinct()?.build()?, places))
        }
        LogicalPlan::Sort(sort) => {
            let (input, places) = push(&sort.input, domain)?;
            let expr = sorts(&sort.expr, &Places::new(domain, &places, &[&sort.input]))?;
            let plan = LogicalPlan::Sort(Sort {
                expr,
                input: Arc::new(input),
                fetch: None,
            });
            Ok((plan, places))
        }
        LogicalPlan::Limit(limit) => push_limit(limit, domain),
        LogicalPlan::Window(window) => push_window(window, domain),
        LogicalPlan::Join(join) => push_join(join, domain),
        LogicalPlan::Union(union) => push_union(union, domain),
        LogicalPlan::Unnest(unnest) => push_unnest(unnest, domain),
        LogicalPlan::RecursiveQuery(query) => push_recursive(query, domain),
        LogicalPlan::TableScan(scan) => push_working(scan, domain),
        other => not_impl_err!(
            "a correlated subquery with {} is not supported",
            other.display()
        ),
    }
}

/// Whether `plan` reads a column of the domain from outside.
fn reads(plan: &LogicalPlan, domain: &Domain) -> bool {
    let working = domain.working.borrow();
    let recursive = !working.is_empty()
        && plan
            .exists(|node| {
                Ok(matches!(node, LogicalPlan::TableScan(scan)
                    if working.contains_key(scan.table_name.table())))
            })
            .unwrap_or(false);
    recursive
        || free(plan)
            .iter()
            .any(|column| domain.outer.contains(column))
}

/// A recursive query for every row of the domain: its working table carries the domain's columns, too.
fn push_recursive(query: &RecursiveQuery, domain: &Domain) -> Result<Pushed> {
    let (first, places) = push(&query.static_term, domain)?;
    let count = places.len();
    let names = places.into_iter().map(|place| place.name).collect();
    domain
        .working
        .borrow_mut()
        .insert(query.name.clone(), names);
    let again = push(&query.recursive_term, domain);
    domain.working.borrow_mut().remove(&query.name);
    let (again, _) = again?;
    let plan = LogicalPlanBuilder::from(first)
        .to_recursive_query(query.name.clone(), again, query.is_distinct)?
        .build()?;
    let columns = plan.schema().columns();
    let places = columns[columns.len() - count..].to_vec();
    Ok((plan, places))
}

/// The working table of a recursive query, with the domain's columns.
fn push_working(scan: &TableScan, domain: &Domain) -> Result<Pushed> {
    let working = domain.working.borrow();
    let name = scan.table_name.table();
    let Some(names) = working.get(name) else {
        return not_impl_err!("a table does not read from outside");
    };
    let mut fields: Vec<FieldRef> = scan.source.schema().fields().iter().cloned().collect();
    for (name, of) in names.iter().zip(&domain.names) {
        let (_, field) = domain
            .plan
            .schema()
            .qualified_field_with_unqualified_name(of)?;
        fields.push(Arc::new(field.as_ref().clone().with_name(name)));
    }
    let table = CteWorkTable::new(name, Arc::new(Schema::new(fields)));
    let plan = LogicalPlanBuilder::scan(
        scan.table_name.clone(),
        provider_as_source(Arc::new(table)),
        None,
    )?
    .build()?;
    let places = names
        .iter()
        .map(|name| Column::new(Some(scan.table_name.clone()), name));
    Ok((plan, places.collect()))
}

/// Where the outer columns are.
struct Places {
    /// For the expressions of an operator.
    at: HashMap<Column, Column>,
    /// For subqueries in them, where a column of the operator's own input may have the name.
    inside: HashMap<Column, Column>,
}

impl Places {
    fn new(domain: &Domain, places: &[Column], inputs: &[&LogicalPlan]) -> Self {
        let at = domain.at(places);
        let mut inside = at.clone();
        inside.retain(|column, _| !inputs.iter().any(|input| input.schema().has_column(column)));
        Self { at, inside }
    }
}

/// `expr` with the domain's columns in place of outer ones.
fn replace(expr: Expr, to: &Places) -> Result<Expr> {
    let (at, inside) = (&to.at, &to.inside);
    expr.transform_up(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(field, column) => match at.get(&column) {
                Some(place) => Transformed::yes(Expr::Column(place.clone())),
                None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
            },
            Expr::ScalarSubquery(subquery) => {
                Transformed::yes(Expr::ScalarSubquery(moved(subquery, inside)?))
            }
            Expr::Exists(Exists { subquery, negated }) => Transformed::yes(Expr::Exists(Exists {
                subquery: moved(subquery, inside)?,
                negated,
            })),
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => Transformed::yes(Expr::InSubquery(InSubquery {
                expr,
                subquery: moved(subquery, inside)?,
                negated,
            })),
            other => Transformed::no(other),
        })
    })
    .map(|done| done.data)
}

/// A subquery inside the subquery: what it read from two levels up, it reads from one level up.
fn moved(subquery: Subquery, at: &HashMap<Column, Column>) -> Result<Subquery> {
    let plan = subquery.subquery.as_ref().clone();
    let plan = moved_plan(plan, at)?;
    Ok(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: subquery.spans,
    })
}

fn moved_plan(plan: LogicalPlan, at: &HashMap<Column, Column>) -> Result<LogicalPlan> {
    // A column of the same name further in is another one.
    let inputs = plan.inputs();
    let mut inside = at.clone();
    inside.retain(|column, _| !inputs.iter().any(|input| input.schema().has_column(column)));
    let names = NamePreserver::new(&plan);
    let plan = plan
        .map_expressions(|expr| {
            let name = names.save(&expr);
            let done = expr.transform_up(|part| {
                Ok(match part {
                    Expr::OuterReferenceColumn(field, column) => match at.get(&column) {
                        Some(place) => {
                            Transformed::yes(Expr::OuterReferenceColumn(field, place.clone()))
                        }
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    },
                    Expr::ScalarSubquery(subquery) => {
                        Transformed::yes(Expr::ScalarSubquery(moved(subquery, &inside)?))
                    }
                    Expr::Exists(Exists { subquery, negated }) => {
                        Transformed::yes(Expr::Exists(Exists {
                            subquery: moved(subquery, &inside)?,
                            negated,
                        }))
                    }
                    Expr::InSubquery(InSubquery {
                        expr,
                        subquery,
                        negated,
                    }) => Transformed::yes(Expr::InSubquery(InSubquery {
                        expr,
                        subquery: moved(subquery, &inside)?,
                        negated,
                    })),
                    other => Transformed::no(other),
                })
            })?;
            Ok(done.update_data(|expr| name.restore(expr)))
        })?
        .data;
    plan.map_children(|child| Ok(Transformed::yes(moved_plan(child, at)?)))
        .map(|done| done.data)
}

/// Expressions with the domain's columns; with `named` each keeps the name that it had.
fn replaced(exprs: &[Expr], to: &Places, named: bool) -> Result<Vec<Expr>> {
    exprs
        .iter()
        .map(|expr| {
            let (relation, name) = expr.qualified_name();
            let new = replace(expr.clone(), to)?;
            Ok(
                if named && new.qualified_name() != (relation.clone(), name.clone()) {
                    let bare = match new {
                        Expr::Alias(Alias { expr, .. }) => *expr,
                        other => other,
                    };
                    bare.alias_qualified(relation, name)
                } else {
                    new
                },
            )
        })
        .collect()
}

fn sorts(exprs: &[SortExpr], to: &Places) -> Result<Vec<SortExpr>> {
    exprs
        .iter()
        .map(|sort| {
            Ok(SortExpr {
                expr: replace(sort.expr.clone(), to)?,
                ..sort.clone()
            })
        })
        .collect()
}

/// An aggregate in each group of the domain. One without groups has a row for every row of the domain.
fn push_aggregate(aggregate: &Aggregate, domain: &Domain) -> Result<Pushed> {
    let (input, places) = push(&aggregate.input, domain)?;
    let at = Places::new(domain, &places, &[&aggregate.input]);
    if aggregate
        .group_expr
        .iter()
        .any(|expr| matches!(expr, Expr::GroupingSet(_)))
    {
        return not_impl_err!("a correlated subquery with GROUPING SETS is not supported");
    }
    let names: Vec<_> = aggregate
        .group_expr
        .iter()
        .chain(&aggregate.aggr_expr)
        .map(Expr::qualified_name)
        .collect();
    let global = aggregate.group_expr.is_empty();
    let (input, keys, marker) = if global {
        let marker = fresh("m");
        let mut all: Vec<Expr> = input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        all.push(lit(true).alias(&marker));
        let flagged = LogicalPlanBuilder::from(input).project(all)?.build()?;
        let (values, keys) = domain.copy()?;
        let plan = LogicalPlanBuilder::from(values)
            .join_detailed(
                flagged,
                JoinType::Left,
                (keys.clone(), places.clone()),
                None,
                NullEquality::NullEqualsNull,
            )?
            .build()?;
        (
            plan,
            keys,
            Some(Expr::Column(Column::new_unqualified(marker))),
        )
    } else {
        (input, places, None)
    };
    let mut groups = replaced(&aggregate.group_expr, &at, false)?;
    groups.extend(keys.iter().cloned().map(Expr::Column));
    let mut calls = replaced(&aggregate.aggr_expr, &at, false)?;
    if let Some(marker) = &marker {
        for call in &mut calls {
            let done = call.clone().transform_up(|part| {
                Ok(match part {
                    Expr::AggregateFunction(function) => {
                        Transformed::yes(only_where(function, marker))
                    }
                    other => Transformed::no(other),
                })
            })?;
            *call = done.data;
        }
    }
    let made: Vec<_> = aggregate
        .group_expr
        .iter()
        .zip(&groups)
        .map(|(_, new)| new.qualified_name())
        .chain(calls.iter().map(Expr::qualified_name))
        .collect();
    let plan = LogicalPlanBuilder::from(input)
        .aggregate(groups, calls)?
        .build()?;
    let mut out: Vec<Expr> = made
        .into_iter()
        .zip(names)
        .map(|((from_relation, from), (relation, name))| {
            let column = Expr::Column(Column::new(from_relation.clone(), &from));
            if from == name && from_relation == relation {
                column
            } else {
                column.alias_qualified(relation, name)
            }
        })
        .collect();
    out.extend(keys.iter().cloned().map(Expr::Column));
    Ok((LogicalPlanBuilder::from(plan).project(out)?.build()?, keys))
}

fn constant(expr: Option<&Expr>, otherwise: i64) -> Result<i64> {
    match expr {
        None | Some(Expr::Literal(ScalarValue::Null, _)) => Ok(otherwise),
        Some(Expr::Literal(ScalarValue::Int64(value), _)) => Ok(value.unwrap_or(otherwise)),
        Some(other) => not_impl_err!("LIMIT {other} in a correlated subquery is not supported"),
    }
}

/// The first rows for every row of the domain.
fn push_limit(limit: &Limit, domain: &Domain) -> Result<Pushed> {
    // What is selected after sorting is selected after limiting just as well.
    if let LogicalPlan::Projection(projection) = limit.input.as_ref()
        && matches!(projection.input.as_ref(), LogicalPlan::Sort(_))
    {
        let below = LogicalPlan::Limit(Limit {
            input: Arc::clone(&projection.input),
            ..limit.clone()
        });
        let above = limit
            .input
            .with_new_exprs(projection.expr.clone(), vec![below])?;
        return push(&above, domain);
    }
    let skip = constant(limit.skip.as_deref(), 0)?;
    let fetch = constant(limit.fetch.as_deref(), i64::MAX)?;
    let (input, places) = push(&limit.input, domain)?;
    let order = match &input {
        LogicalPlan::Sort(sort) => sort.expr.clone(),
        _ => vec![],
    };
    let kept = input.schema().columns();
    let number = fresh("n");
    let partition = places.iter().cloned().map(Expr::Column).collect();
    let mut numbered = crate::values::row_number().partition_by(partition);
    if !order.is_empty() {
        numbered = numbered.order_by(order);
    }
    let numbered = numbered.build()?;
    let label = Expr::Column(Column::new_unqualified(numbered.schema_name().to_string()));
    let mut with_number: Vec<Expr> = kept.iter().cloned().map(Expr::Column).collect();
    with_number.push(label.alias(&number));
    let at = Expr::Cast(datafusion::logical_expr::Cast::new(
        Box::new(Expr::Column(Column::new_unqualified(&number))),
        arrow::datatypes::DataType::Int64,
    ));
    let mut condition = at.clone().gt(lit(skip));
    if fetch != i64::MAX {
        condition = condition.and(at.lt_eq(lit(skip.saturating_add(fetch))));
    }
    let plan = LogicalPlanBuilder::from(input)
        .window(vec![numbered])?
        .project(with_number)?
        .filter(condition)?
        .project(kept.into_iter().map(Expr::Column))?
        .build()?;
    Ok((plan, places))
}

/// Windows within each row of the domain.
fn push_window(window: &Window, domain: &Domain) -> Result<Pushed> {
    let (input, places) = push(&window.input, domain)?;
    let at = Places::new(domain, &places, &[&window.input]);
    let own = window.input.schema().columns();
    let mut calls = Vec::new();
    let mut out: Vec<Expr> = own.into_iter().map(Expr::Column).collect();
    for expr in &window.window_expr {
        let (relation, name) = expr.qualified_name();
        let new = replace(expr.clone(), &at)?;
        let new = new
            .transform_up(|part| {
                Ok(match part {
                    Expr::WindowFunction(function) => {
                        let mut function: WindowFunction = *function;
                        let keys = places.iter().cloned().map(Expr::Column);
                        function.params.partition_by.extend(keys);
                        Transformed::yes(Expr::WindowFunction(Box::new(function)))
                    }
                    other => Transformed::no(other),
                })
            })?
            .data;
        let made = Column::new_unqualified(new.schema_name().to_string());
        out.push(Expr::Column(made).alias_qualified(relation, name));
        calls.push(new);
    }
    out.extend(places.iter().cloned().map(Expr::Column));
    let plan = LogicalPlanBuilder::from(input)
        .window(calls)?
        .project(out)?
        .build()?;
    Ok((plan, places))
}

/// A join within each row of the domain.
fn push_join(join: &Join, domain: &Domain) -> Result<Pushed> {
    let right_reads = reads(&join.right, domain);
    let (one_side, needs_left) = match join.join_type {
        JoinType::Inner => (true, false),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (false, true)
        }
        other => {
            return not_impl_err!("a correlated subquery with a {other} join is not supported");
        }
    };
    let left_reads = reads(&join.left, domain);
    let lateral = is_lateral(&join.right);
    let left_is_pushed = needs_left || left_reads || lateral || !right_reads || !one_side;
    let kept = join.schema.columns();
    let (left, left_places) = if left_is_pushed {
        let (plan, places) = push(&join.left, domain)?;
        (plan, Some(places))
    } else {
        (join.left.as_ref().clone(), None)
    };
    let (right, right_places) = match &left_places {
        Some(places) if lateral && right_reads => (
            moved_plan(join.right.as_ref().clone(), &domain.at(places))?,
            None,
        ),
        _ if right_reads => {
            let (plan, places) = push(&join.right, domain)?;
            (plan, Some(places))
        }
        _ => (join.right.as_ref().clone(), None),
    };
    let Some(places) = left_places.clone().or_else(|| right_places.clone()) else {
        return not_impl_err!("a join that reads nothing of the domain");
    };
    let at = Places::new(domain, &places, &[&join.left, &join.right]);
    let on = join.on.iter().map(|(l, r)| {
        let (l, r) = (replace(l.clone(), &at)?, replace(r.clone(), &at)?);
        Ok(match join.null_equality {
            NullEquality::NullEqualsNull => {
                Expr::BinaryExpr(datafusion::logical_expr::BinaryExpr::new(
                    Box::new(l),
                    datafusion::logical_expr::Operator::IsNotDistinctFrom,
                    Box::new(r),
                ))
            }
            NullEquality::NullEqualsNothing => l.eq(r),
        })
    });
    let mut conditions = on.collect::<Result<Vec<_>>>()?;
    if let Some(filter) = &join.filter {
        conditions.push(replace(filter.clone(), &at)?);
    }
    let builder = LogicalPlanBuilder::from(left);
    let condition = conditions.into_iter().reduce(Expr::and);
    let plan = match (&left_places, &right_places) {
        (Some(l), Some(r)) => builder.join_detailed(
            right,
            join.join_type,
            (l.clone(), r.clone()),
            condition,
            NullEquality::NullEqualsNull,
        )?,
        _ => match condition {
            None if join.join_type == JoinType::Inner => builder.cross_join(right)?,
            condition => builder.join_on(right, join.join_type, condition)?,
        },
    };
    let out = kept
        .into_iter()
        .chain(places.iter().cloned())
        .map(Expr::Column);
    Ok((plan.project(out)?.build()?, places))
}

fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        LogicalPlan::Projection(projection) => is_lateral(&projection.input),
        _ => false,
    }
}

fn push_union(union: &Union, domain: &Domain) -> Result<Pushed> {
    let mut inputs = Vec::new();
    let mut count = 0;
    for input in &union.inputs {
        let (plan, places) = push(input, domain)?;
        count = places.len();
        inputs.push(plan);
    }
    let mut inputs = inputs.into_iter();
    let Some(first) = inputs.next() else {
        return not_impl_err!("a union of nothing");
    };
    let plan = inputs
        .try_fold(LogicalPlanBuilder::from(first), LogicalPlanBuilder::union)?
        .build()?;
    let columns = plan.schema().columns();
    let places = columns[columns.len() - count..].to_vec();
    Ok((plan, places))
}

fn push_unnest(unnest: &Unnest, domain: &Domain) -> Result<Pushed> {
    let (input, places) = push(&unnest.input, domain)?;
    let plan = LogicalPlanBuilder::from(input)
        .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?
        .build()?;
    Ok((plan, places))
}
