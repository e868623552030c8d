//! `IN (SELECT …)` as EXISTS, where the joins that DataFusion makes of it take no account of NULL.
//!
//! DataFusion's joins know whether an item is there or not. That `x IN (…)` may be NULL they know only of `NOT IN` that
//! stands alone, reads nothing of the outer row in its subquery, and compares an outer column.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, col, lit,
    when,
};

/// Rewrites the expressions of one node, if it is one in which DataFusion plans a subquery that gives one value.
pub(super) fn as_exists(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Projection(_)) {
        return Ok(Transformed::no(plan));
    }
    let [input] = plan.inputs()[..] else {
        return Ok(Transformed::no(plan));
    };
    let schema = Arc::clone(input.schema());
    let names = NamePreserver::new(&plan);
    let filters = matches!(plan, LogicalPlan::Filter(_));
    plan.map_expressions(|expr| {
        if !has_membership(&expr) {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let done = if filters {
            of_filter(expr, &schema)?
        } else {
            within(expr, &schema, false)?
        };
        Ok(done.update_data(|expr| name.restore(expr)))
    })
}

fn has_membership(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::InSubquery(_))))
        .unwrap_or(false)
}

/// A predicate that lets through what is true, and nothing that is NULL.
fn of_filter(predicate: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    let mut parts = Vec::new();
    for part in split_conjunction_owned(predicate) {
        let absent = excluded(&part).map(|membership| not_in(membership, schema));
        let done = match absent.transpose()? {
            Some(Some(absent)) => Transformed::yes(absent),
            Some(None) => Transformed::no(part),
            None => within(part, schema, true)?,
        };
        changed |= done.transformed;
        parts.push(done.data);
    }
    let all = conjunction(parts).unwrap_or_else(|| lit(true));
    Ok(Transformed::new_transformed(all, changed))
}

/// What must not be there.
fn excluded(part: &Expr) -> Option<&InSubquery> {
    match part {
        Expr::InSubquery(membership) if membership.negated => Some(membership),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(membership) if !membership.negated => Some(membership),
            _ => None,
        },
        _ => None,
    }
}

/// Rewrites each `IN` in `expr`. Where `or_null`, FALSE in place of NULL makes no difference.
fn within(expr: Expr, schema: &DFSchema, or_null: bool) -> Result<Transformed<Expr>> {
    if let (
        true,
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }),
    ) = (or_null, &expr)
    {
        let left = within(left.as_ref().clone(), schema, true)?;
        let right = within(right.as_ref().clone(), schema, true)?;
        let changed = left.transformed || right.transformed;
        let both = BinaryExpr::new(Box::new(left.data), *op, Box::new(right.data));
        return Ok(Transformed::new_transformed(
            Expr::BinaryExpr(both),
            changed,
        ));
    }
    // A join that knows what is there lets nothing through that is NULL.
    if or_null && matches!(&expr, Expr::InSubquery(membership) if !membership.negated) {
        return Ok(Transformed::no(expr));
    }
    expr.transform_down(|part| {
        let Expr::InSubquery(membership) = part else {
            return Ok(Transformed::no(part));
        };
        let value = Membership::of(&membership, schema)?.map(|parts| parts.value());
        let Some(value) = value.transpose()? else {
            return Ok(Transformed::no(Expr::InSubquery(membership)));
        };
        let value = if membership.negated { !value } else { value };
        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
    })
}

/// `NOT IN` as a part of a filter. `None` where DataFusion's anti-join is right.
fn not_in(membership: &InSubquery, schema: &DFSchema) -> Result<Option<Expr>> {
    let correlated = !membership.subquery.outer_ref_columns.is_empty();
    if !correlated && !membership.expr.column_refs().is_empty() {
        return Ok(None);
    }
    let Some(parts) = Membership::of(membership, schema)? else {
        return Ok(None);
    };
    if !correlated {
        return Ok(Some(!parts.value()?));
    }
    let equal = parts.item().eq(parts.needle.clone());
    let equal = if parts.can_be_null() {
        equal.is_not_false()
    } else {
        equal
    };
    Ok(Some(!exists(parts.rows(equal)?)?))
}

/// `x IN (SELECT …)` in parts.
struct Membership<'a> {
    /// What is looked for, in terms of the outer row.
    outer: &'a Expr,
    /// The same as the subquery sees it.
    needle: Expr,
    subquery: &'a LogicalPlan,
    item: Column,
    outer_nullable: bool,
    item_nullable: bool,
}

impl<'a> Membership<'a> {
    /// `None` of what cannot be asked several times.
    fn of(membership: &'a InSubquery, schema: &DFSchema) -> Result<Option<Self>> {
        let outer = membership.expr.as_ref();
        let nested = outer.exists(|part| {
            Ok(matches!(
                part,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::OuterReferenceColumn(..)
            ))
        })?;
        let subquery = membership.subquery.subquery.as_ref();
        if nested || outer.is_volatile() || is_volatile(subquery)? {
            return Ok(None);
        }
        let needle = outer.clone().transform(|part| {
            Ok(match part {
                Expr::Column(column) => {
                    let field = Arc::clone(schema.field_from_column(&column)?);
                    Transformed::yes(Expr::OuterReferenceColumn(field, column))
                }
                other => Transformed::no(other),
            })
        })?;
        let (qualifier, first) = subquery.schema().qualified_field(0);
        Ok(Some(Self {
            outer,
            needle: needle.data,
            subquery,
            item: Column::new(qualifier.cloned(), first.name()),
            outer_nullable: outer.nullable(schema)?,
            item_nullable: first.is_nullable(),
        }))
    }

    fn item(&self) -> Expr {
        Expr::Column(self.item.clone())
    }

    fn can_be_null(&self) -> bool {
        self.outer_nullable || self.item_nullable
    }

    /// The rows of the subquery of which `wanted` is true.
    fn rows(&self, wanted: Expr) -> Result<LogicalPlan> {
        LogicalPlanBuilder::from(self.subquery.clone())
            .filter(wanted)?
            .build()
    }

    /// True, false or NULL.
    fn value(&self) -> Result<Expr> {
        let equal = self.item().eq(self.needle.clone());
        let found = exists(self.rows(equal)?)?;
        let mut unknown = Vec::new();
        if self.item_nullable {
            let null = self.rows(self.item().is_null())?;
            unknown.push(exists(null)?);
        }
        if self.outer_nullable {
            let any = exists(self.subquery.clone())?;
            unknown.push(self.outer.clone().is_null().and(any));
        }
        let Some(unknown) = unknown.into_iter().reduce(Expr::or) else {
            return Ok(found);
        };
        when(found, lit(true))
            .when(unknown, lit(ScalarValue::Boolean(None)))
            .otherwise(lit(false))
    }
}

/// Whether there are rows; asked once if it is the same for all outer rows.
fn exists(rows: LogicalPlan) -> Result<Expr> {
    let outer_ref_columns = rows.all_out_ref_exprs();
    if !outer_ref_columns.is_empty() {
        let subquery = Subquery {
            subquery: Arc::new(rows),
            outer_ref_columns,
            spans: Spans::new(),
        };
        return Ok(Expr::Exists(Exists {
            subquery,
            negated: false,
        }));
    }
    let there = col("n").gt(lit(0_i64));
    let counted = LogicalPlanBuilder::from(rows)
        .limit(0, Some(1))?
        .aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64)).alias("n")])?
        .project(vec![there.alias("there")])?
        .build()?;
    Ok(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(counted),
        outer_ref_columns,
        spans: Spans::new(),
    }))
}

fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut volatile = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            volatile |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if volatile {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(volatile)
}
