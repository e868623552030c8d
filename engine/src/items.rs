//! What the items of arrays in a result are, where Arrow does not tell: json, jsonb, inet and their like are texts, and
//! the functions that make arrays of them forget it. Knows logical plans only.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, Cast, TryCast};
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, JoinType, LogicalPlan};

use crate::pg_catalog::{pg_type_by_oid, pg_type_of};

/// For each column of `plan`, the name of its array type if only the plan tells it.
pub(crate) fn noted(plan: &LogicalPlan) -> Vec<Option<&'static str>> {
    let fields = plan.schema().fields().iter().enumerate();
    fields
        .map(|(at, field)| {
            let is_list = matches!(field.data_type(), DataType::List(_));
            let told = told(field);
            if !is_list || told.is_some() {
                return None;
            }
            of_column(plan, at)
        })
        .collect()
}

/// The array type of a list field, if the field tells more than its Arrow type.
fn told(field: &Field) -> Option<&'static str> {
    let found = pg_type_of(field);
    (found.array_oid == 0 && found.name.starts_with('_') && found.name != plain(field).name)
        .then_some(found.name)
}

/// The type that the Arrow type alone tells.
fn plain(field: &Field) -> crate::pg_catalog::PgType {
    let mut ty = field.data_type();
    let mut dimensions = 0;
    while let DataType::List(item) = ty {
        ty = item.data_type();
        dimensions += 1;
    }
    let leaf = (0..dimensions).fold(ty.clone(), |ty, _| DataType::new_list(ty, true));
    pg_type_of(&Field::new("", leaf, true))
}

fn of_column(plan: &LogicalPlan, at: usize) -> Option<&'static str> {
    let field = plan.schema().fields().get(at)?;
    if let Some(told) = told(field) {
        return Some(told);
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            of_array(projection.expr.get(at)?, &projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let groups = plan.schema().fields().len() - aggregate.aggr_expr.len();
            let expr = match at.checked_sub(groups) {
                Some(at) => aggregate.aggr_expr.get(at)?,
                None => aggregate.group_expr.get(at)?,
            };
            of_array(expr, &aggregate.input)
        }
        LogicalPlan::Window(window) => {
            let own = window.input.schema().fields().len();
            (at < own).then(|| of_column(&window.input, at)).flatten()
        }
        LogicalPlan::Filter(filter) => of_column(&filter.input, at),
        LogicalPlan::Sort(sort) => of_column(&sort.input, at),
        LogicalPlan::Limit(limit) => of_column(&limit.input, at),
        LogicalPlan::SubqueryAlias(alias) => of_column(&alias.input, at),
        LogicalPlan::Subquery(subquery) => of_column(&subquery.subquery, at),
        LogicalPlan::Distinct(Distinct::All(input)) => of_column(input, at),
        LogicalPlan::Union(union) => of_column(union.inputs.first()?, at),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => of_column(&join.right, at),
                _ if at < left => of_column(&join.left, at),
                _ => of_column(&join.right, at - left),
            }
        }
        _ => None,
    }
}

/// The type of the array that `expr` is.
fn of_array(expr: &Expr, input: &LogicalPlan) -> Option<&'static str> {
    match expr {
        Expr::Alias(Alias { expr, .. }) => of_array(expr, input),
        Expr::Column(column) => {
            let at = input.schema().maybe_index_of_column(column)?;
            of_column(input, at)
        }
        Expr::ScalarFunction(call) if call.name() == "make_array" => {
            call.args.iter().find_map(|item| of_item(item, input))
        }
        Expr::ScalarFunction(call) if call.name() == "tarn_or_empty" => {
            of_array(call.args.first()?, input)
        }
        Expr::AggregateFunction(AggregateFunction { func, params })
            if func.name() == "array_agg" =>
        {
            of_item(params.args.first()?, input)
        }
        Expr::ScalarSubquery(subquery) => of_column(&subquery.subquery, 0),
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => told(field),
        _ => None,
    }
}

/// The type of an array of the value of `expr`.
fn of_item(expr: &Expr, input: &LogicalPlan) -> Option<&'static str> {
    let (_, field) = expr.to_field(input.schema()).ok()?;
    if matches!(field.data_type(), DataType::List(_)) {
        return told(&field).or_else(|| of_array(expr, input));
    }
    let found = pg_type_of(&field);
    if found.name == plain(&field).name {
        return None;
    }
    pg_type_by_oid(found.array_oid).map(|array| array.name)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::functions_aggregate::expr_fn::array_agg;
    use datafusion::functions_nested::expr_fn::make_array;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, table_scan};

    use super::*;
    use crate::pg_catalog::PG_TYPE_KEY;

    #[test]
    fn arrays_are_of_what_they_are_made_of() {
        let noted_as = |name: &str, ty: &str| {
            let metadata = [(PG_TYPE_KEY.to_owned(), ty.to_owned())];
            Field::new(name, DataType::Utf8, true).with_metadata(metadata.into())
        };
        let schema = Schema::new(vec![
            noted_as("doc", "jsonb"),
            noted_as("host", "inet"),
            Field::new("word", DataType::Utf8, true),
        ]);
        let table = || table_scan(Some("t"), &schema, None).unwrap();
        let plan = table()
            .project(vec![
                make_array(vec![col("doc")]).alias("docs"),
                make_array(vec![make_array(vec![col("host")])]),
                make_array(vec![col("word")]),
                col("doc"),
            ])
            .and_then(|plan| plan.alias("s"))
            .and_then(LogicalPlanBuilder::build)
            .unwrap();
        assert_eq!(noted(&plan), [Some("_jsonb"), Some("_inet"), None, None]);
        let plan = table()
            .aggregate(vec![col("word")], vec![array_agg(col("host"))])
            .and_then(LogicalPlanBuilder::build)
            .unwrap();
        assert_eq!(noted(&plan), [None, Some("_inet")]);
    }
}
