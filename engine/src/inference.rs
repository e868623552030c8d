//! The types of parameters that a client has not told, from where they stand.
//!
//! What stands beside a parameter tells its type: a column, a literal, a cast, the other results of a CASE. What needs
//! no types of others is already in the syntax (`postgres/placeholders.rs`). Knows logical plans only.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{
    Between, Case, Cast, InList, Like, Placeholder, ScalarFunction,
};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::UUID_METADATA;
use crate::error::{EngineError, ErrorKind};
use crate::pg_catalog::PG_TYPE_KEY;

/// Parameters of one statement at most. Source: the PostgreSQL protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// The type of each parameter of `plan`: as given, else as the first place tells that it stands in.
pub(crate) fn parameter_types(
    plan: &LogicalPlan,
    given: &[Option<DataType>],
) -> std::result::Result<Vec<Option<FieldRef>>, EngineError> {
    let mut found: Found = BTreeMap::new();
    for name in plan.get_parameter_names()? {
        found.insert(number(&name)?, None);
    }
    plan.apply_with_subqueries(|node| {
        of_node(&mut found, node);
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                of_expr(&mut found, part, &schema);
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

/// Types parameters beside a value of which the operator takes another type than the value's own: a moment plus an
/// interval, something with text behind it. Source: PostgreSQL, "Operator Type Resolution".
#[derive(Debug)]
pub(crate) struct OpenOperands;

impl ExprPlanner for OpenOperands {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = match (is_open(&left), is_open(&right)) {
            (true, false) => (beside(&op, left, &right, schema), right),
            (false, true) => {
                let right = beside(&op, right, &left, schema);
                (left, right)
            }
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// Whether `expr` is a parameter whose type nothing has told yet.
fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(Placeholder { field: None, .. }))
}

/// The parameter `open` with the type that `op` takes beside `other`, if that is not the other's type.
fn beside(op: &BinaryOperator, open: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    let ty = match (op, other.get_type(schema)) {
        (BinaryOperator::Plus, Ok(DataType::Timestamp(..) | DataType::Time64(_))) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        (BinaryOperator::StringConcat, Ok(ty @ DataType::List(_))) => ty,
        (BinaryOperator::StringConcat, Ok(ty)) if !ty.is_nested() => {
            // Of two documents one is made.
            let is_document = other
                .to_field(schema)
                .is_ok_and(|(_, field)| field.metadata().contains_key(PG_TYPE_KEY));
            if is_document {
                return open;
            }
            DataType::Utf8View
        }
        _ => return open,
    };
    Expr::Cast(Cast::new(Box::new(open), ty))
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

/// What a node tells of the parameters in its expressions.
fn of_node(found: &mut Found, node: &LogicalPlan) {
    match node {
        LogicalPlan::Limit(limit) => {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                note(found, expr, &whole());
            }
        }
        LogicalPlan::Values(values) => {
            let empty = DFSchema::empty();
            for at in 0..values.schema.fields().len() {
                let column: Vec<&Expr> =
                    values.values.iter().filter_map(|row| row.get(at)).collect();
                alike(found, &column, &empty);
            }
        }
        LogicalPlan::Projection(projection) => {
            // INSERT casts what a query gives.
            let LogicalPlan::Projection(below) = projection.input.as_ref() else {
                return;
            };
            for expr in &projection.expr {
                if let Expr::Cast(Cast { expr, field }) = unaliased(expr)
                    && let Expr::Column(column) = expr.as_ref()
                    && let Some(at) = below.schema.maybe_index_of_column(column)
                    && let Some(given) = below.expr.get(at)
                {
                    note(found, unaliased(given), field);
                }
            }
        }
        LogicalPlan::Union(union) => {
            for input in &union.inputs {
                let LogicalPlan::Projection(projection) = input.as_ref() else {
                    continue;
                };
                for (at, expr) in projection.expr.iter().enumerate() {
                    let others = union
                        .inputs
                        .iter()
                        .filter(|other| !Arc::ptr_eq(other, input));
                    for other in others {
                        if let Some(field) = other.schema().fields().get(at) {
                            note(found, unaliased(expr), field);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// A whole number, such as LIMIT takes.
fn whole() -> Field {
    Field::new("", DataType::Int64, true)
}

/// What an expression tells of the parameters that it takes.
fn of_expr(found: &mut Found, expr: &Expr, schema: &DFSchema) {
    match expr {
        Expr::Placeholder(Placeholder {
            field: Some(field), ..
        }) => note(found, expr, field),
        Expr::Cast(Cast { expr, field }) => match named(expr, field) {
            Some((inner, field)) => note(found, inner, &field),
            None => note(found, expr, field),
        },
        Expr::InList(InList { expr, list, .. }) => {
            let all: Vec<&Expr> = std::iter::once(expr.as_ref()).chain(list).collect();
            alike(found, &all, schema);
        }
        Expr::Between(Between {
            expr, low, high, ..
        }) => alike(found, &[expr.as_ref(), low.as_ref(), high.as_ref()], schema),
        Expr::Like(Like { expr, pattern, .. }) | Expr::SimilarTo(Like { expr, pattern, .. }) => {
            alike(found, &[expr.as_ref(), pattern.as_ref()], schema);
        }
        Expr::Case(Case {
            expr,
            when_then_expr,
            else_expr,
        }) => {
            if let Some(base) = expr {
                let whens = when_then_expr.iter().map(|(when, _)| when.as_ref());
                let all: Vec<&Expr> = std::iter::once(base.as_ref()).chain(whens).collect();
                alike(found, &all, schema);
            }
            let results = when_then_expr.iter().map(|(_, result)| result.as_ref());
            let all: Vec<&Expr> = results.chain(else_expr.as_deref()).collect();
            alike(found, &all, schema);
        }
        Expr::ScalarFunction(call) => of_call(found, call, schema),
        _ => {}
    }
}

/// What a function tells of its arguments.
fn of_call(found: &mut Found, call: &ScalarFunction, schema: &DFSchema) {
    let arguments: Vec<&Expr> = call.args.iter().collect();
    match call.name() {
        "generate_series" | "range" => {
            let mut types = arguments
                .iter()
                .filter_map(|bound| bound.get_type(schema).ok());
            match types.find(DataType::is_temporal) {
                Some(ty) => {
                    let step = DataType::Interval(IntervalUnit::MonthDayNano);
                    let types = [ty.clone(), ty, step];
                    for (bound, ty) in arguments.iter().zip(types) {
                        note(found, bound, &Field::new("", ty, true));
                    }
                }
                None => arguments
                    .iter()
                    .for_each(|bound| note(found, bound, &whole())),
            }
        }
        "age" | "coalesce" | "nullif" | "greatest" | "least" | "make_array" => {
            alike(found, &arguments, schema);
        }
        "array_has" | "array_append" | "array_position" | "array_remove" => {
            let [array, item] = arguments[..] else { return };
            if let Ok((_, field)) = item.to_field(schema) {
                let field = plain(&field).with_name(Field::LIST_FIELD_DEFAULT_NAME);
                if *field.data_type() != DataType::Null {
                    note(found, array, &Field::new_list("", field, true));
                }
            }
            if let Ok((_, field)) = array.to_field(schema)
                && let DataType::List(field) = field.data_type()
            {
                note(found, item, field);
            }
        }
        _ => {}
    }
}

/// Parameters among expressions that have one type get the type of the others.
fn alike(found: &mut Found, all: &[&Expr], schema: &DFSchema) {
    let is_open = |expr: &Expr| matches!(expr, Expr::Placeholder(_));
    if !all.iter().any(|expr| is_open(expr)) {
        return;
    }
    let known: Vec<FieldRef> = all
        .iter()
        .filter(|expr| !is_open(expr))
        .filter_map(|expr| expr.to_field(schema).ok())
        .map(|(_, field)| field)
        .filter(|field| *field.data_type() != DataType::Null)
        .collect();
    let Some(first) = known.first() else { return };
    let types: Vec<DataType> = known
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let common = type_union_resolution(&types)
        .filter(|common| common != first.data_type())
        .map_or_else(|| plain(first), |common| Field::new("", common, true));
    for expr in all {
        note(found, expr, &common);
    }
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

fn number(name: &str) -> std::result::Result<usize, EngineError> {
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
