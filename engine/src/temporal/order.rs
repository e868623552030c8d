//! How intervals and moments of different types compare.
//!
//! Arrow compares intervals field by field; PostgreSQL says that 1 day = 24 hours and 1 month = 30 days. Comparisons,
//! sort keys and groups of intervals are planned over the number that PostgreSQL compares. A date beside a timestamp is
//! a timestamp of microseconds, because nanoseconds do not reach the year 1. Knows logical plans only.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, TableReference};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, cast,
};
use datafusion::optimizer::AnalyzerRule;

use super::function::TIMESTAMP;
use crate::expressions;

/// Functions that give one of their arguments.
const ALTERNATIVES: [&str; 4] = ["coalesce", "greatest", "least", "nullif"];

/// Plans comparisons of intervals. Runs after types are settled.
#[derive(Debug)]
pub(crate) struct IntervalOrder;

/// Settles what a date is beside a timestamp. Runs before types are settled.
#[derive(Debug)]
pub(crate) struct DatesBesideTimestamps;

impl AnalyzerRule for DatesBesideTimestamps {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref().unwrap_or("UTC");
        expressions::rewrite(plan, |expr, schema| {
            let counted = counted(expr, schema, zone);
            if counted.transformed {
                return Ok(counted);
            }
            let settled = settled(counted.data, schema);
            let mut done = windowed(settled.data, schema);
            done.transformed |= settled.transformed;
            Ok(done)
        })
    }

    fn name(&self) -> &'static str {
        "dates_beside_timestamps"
    }
}

impl AnalyzerRule for IntervalOrder {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = expressions::rewrite(plan, |expr, schema| Ok(compared(expr, schema)))?;
        plan.transform_up_with_subqueries(ordered)
            .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "interval_order"
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// What a comparison compares, or the values that `expr` may have; nothing if it is neither.
fn parts(expr: &Expr, alternatives: bool) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => vec![left, right],
        Expr::Between(b) => vec![&b.expr, &b.low, &b.high],
        Expr::InList(l) => std::iter::once(l.expr.as_ref()).chain(&l.list).collect(),
        Expr::Case(case) if alternatives => case
            .when_then_expr
            .iter()
            .map(|(_, then)| then.as_ref())
            .chain(case.else_expr.as_deref())
            .collect(),
        Expr::ScalarFunction(call) if alternatives && ALTERNATIVES.contains(&call.func.name()) => {
            call.args.iter().collect()
        }
        _ => vec![],
    }
}

/// The types of [`parts`].
fn types(expr: &Expr, schema: &DFSchema, alternatives: bool) -> Vec<DataType> {
    // What has no type here, such as a column of an outer query, is left to DataFusion.
    parts(expr, alternatives)
        .into_iter()
        .map(|part| part.get_type(schema))
        .collect::<Result<_>>()
        .unwrap_or_default()
}

/// A comparison of moments some of which count nanoseconds: a text beside them is one of them, and all are numbers if
/// one counts otherwise, because nanoseconds reach neither the year 1677 nor 2262.
fn counted(expr: Expr, schema: &DFSchema, session: &str) -> Transformed<Expr> {
    let types = types(&expr, schema, false);
    let fine = types
        .iter()
        .find(|ty| matches!(ty, DataType::Timestamp(TimeUnit::Nanosecond, _)));
    let zone = types.iter().find_map(|ty| match ty {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    });
    let Some(fine) = fine.cloned() else {
        return Transformed::no(expr);
    };
    let coarse = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    // A text as one of the moments, in nanoseconds if they reach it.
    let read = |part: &Expr| {
        let text = match part {
            Expr::Literal(value, _) => value.try_as_str().flatten()?,
            _ => return None,
        };
        let fits = super::literal(text, &fine, session, false).is_ok();
        Some(if fits { fine.clone() } else { coarse.clone() })
    };
    let (mut known, mut same) = (true, true);
    for (part, ty) in parts(&expr, false).into_iter().zip(&types) {
        match read(part).as_ref().unwrap_or(ty) {
            DataType::Null => {}
            ty @ (DataType::Timestamp(..) | DataType::Date32) => same &= *ty == fine,
            _ => known = false,
        }
    }
    if !known || types.iter().all(|ty| *ty == fine) {
        return Transformed::no(expr);
    }
    Transformed::yes(expressions::operands(expr, |part| {
        let ty = part.get_type(schema).unwrap_or(DataType::Null);
        let as_read = read(&part);
        let moment = match (&ty, as_read) {
            (_, Some(read)) => cast(part, read),
            (DataType::Date32, _) => cast(part, coarse.clone()),
            (DataType::Timestamp(unit, None), _) if zone.is_some() => {
                cast(part, DataType::Timestamp(*unit, zone.clone()))
            }
            _ => part,
        };
        if same || ty == DataType::Null {
            moment
        } else {
            super::units::nanoseconds(moment)
        }
    }))
}

fn settled(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let types = types(&expr, schema, true);
    let has = |wanted: fn(&DataType) -> bool| types.iter().find(|ty| wanted(ty)).cloned();
    let moment = has(|ty| matches!(ty, DataType::Timestamp(_, Some(_))))
        .or_else(|| has(|ty| matches!(ty, DataType::Timestamp(_, None))));
    let wanted = match moment {
        Some(DataType::Timestamp(_, Some(zone))) => super::function::zoned_type(&zone),
        Some(_) => TIMESTAMP,
        None => match has(|ty| *ty == DataType::Date32 || is_interval(ty)) {
            Some(ty) => super::function::common(&ty),
            None => return Transformed::no(expr),
        },
    };
    let changes = |part: &Expr| match part.get_type(schema) {
        Ok(DataType::Date32) => wanted != DataType::Date32,
        Ok(DataType::Utf8 | DataType::Utf8View) => matches!(part, Expr::Literal(..)),
        _ => false,
    };
    if types.iter().all(|ty| *ty == wanted) {
        return Transformed::no(expr);
    }
    Transformed::yes(expressions::operands(expr, |part| {
        if changes(&part) {
            cast(part, wanted.clone())
        } else {
            part
        }
    }))
}

fn is_interval(ty: &DataType) -> bool {
    matches!(ty, DataType::Interval(_))
}

fn key(expr: Expr) -> Expr {
    match super::named("tarn_interval_key") {
        Some(key) => key.call(vec![expr]),
        None => expr,
    }
}

/// `expr` as it compares, if it is an interval.
fn keyed(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.get_type(schema) {
        Ok(ty) if is_interval(&ty) => key(expr),
        _ => expr,
    }
}

/// Windows over intervals, which have no range of values.
fn windowed(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::WindowFunction(mut window) = expr else {
        return Transformed::no(expr);
    };
    let params = &mut window.params;
    let keys = std::mem::take(&mut params.partition_by);
    params.partition_by = keys.into_iter().map(|key| keyed(key, schema)).collect();
    let keys = std::mem::take(&mut params.order_by);
    params.order_by = keys
        .into_iter()
        .map(|sort| SortExpr {
            expr: keyed(sort.expr, schema),
            ..sort
        })
        .collect();
    Transformed::yes(Expr::WindowFunction(window))
}

fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let types = types(&expr, schema, false);
    if !types.is_empty() && types.iter().all(is_interval) {
        return Transformed::yes(expressions::operands(expr, key));
    }
    match expr {
        Expr::AggregateFunction(mut call)
            if call.params.distinct && call.func.name() == "count" =>
        {
            let args = std::mem::take(&mut call.params.args);
            call.params.args = args.into_iter().map(|arg| keyed(arg, schema)).collect();
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    }
}

/// Sorts, groups and distinct rows over intervals.
fn ordered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            let schema = Arc::clone(sort.input.schema());
            let mut changed = false;
            for key in &mut sort.expr {
                if key.expr.get_type(&schema).is_ok_and(|ty| is_interval(&ty)) {
                    key.expr = keyed(key.expr.clone(), &schema);
                    changed = true;
                }
            }
            Ok(Transformed::new_transformed(
                LogicalPlan::Sort(sort),
                changed,
            ))
        }
        LogicalPlan::Aggregate(aggregate) => grouped(aggregate),
        LogicalPlan::Distinct(Distinct::All(input))
            if input
                .schema()
                .fields()
                .iter()
                .any(|field| is_interval(field.data_type())) =>
        {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let aggregate = Aggregate::try_new(Arc::clone(&input), columns.collect(), vec![])?;
            grouped(aggregate)
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Groups by what intervals compare by; shows the first of those that are equal.
fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let input = Arc::clone(&aggregate.input);
    let is_key = |expr: &Expr| {
        expr.get_type(input.schema())
            .is_ok_and(|ty| is_interval(&ty))
    };
    if !aggregate.group_expr.iter().any(is_key)
        || matches!(aggregate.group_expr[..], [Expr::GroupingSet(_)])
    {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let groups = aggregate.group_expr.len();
    let mut by = Vec::with_capacity(groups);
    let mut shown = aggregate.aggr_expr.clone();
    let mut places = Vec::with_capacity(groups);
    for (at, expr) in aggregate.group_expr.iter().enumerate() {
        if is_key(expr) {
            let bare = expr.clone().unalias();
            by.push(key(bare.clone()).alias(format!("tarn_interval_{at}")));
            let first = AggregateFunction::new_udf(
                first_value_udaf(),
                vec![bare],
                false,
                None,
                vec![],
                None,
            );
            let name = format!("tarn_first_{at}");
            shown.push(Expr::AggregateFunction(first).alias(name.clone()));
            places.push(Some(name));
        } else {
            by.push(expr.clone());
            places.push(None);
        }
    }
    let inner = Aggregate::try_new(input, by, shown)?;
    let columns = inner.schema.columns();
    let out = aggregate
        .schema
        .iter()
        .enumerate()
        .map(|(at, (qualifier, field))| {
            let column = match places.get(at) {
                Some(Some(name)) => Column::from_name(name.clone()),
                _ => columns[at].clone(),
            };
            renamed(Expr::Column(column), qualifier, field.name())
        })
        .collect();
    let inner = Arc::new(LogicalPlan::Aggregate(inner));
    Ok(Transformed::yes(LogicalPlan::Projection(
        Projection::try_new(out, inner)?,
    )))
}

fn renamed(expr: Expr, qualifier: Option<&TableReference>, name: &str) -> Expr {
    match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == name => {
            expr
        }
        _ => expr.alias_qualified(qualifier.cloned(), name),
    }
}
