//! How many rows an operator gives, and how many different values its columns have.
//!
//! Estimates only: they choose between plans that all give the same rows. Where a table's statistics say nothing, bounds
//! and counts of rows stand in. Refuses to know join orders.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, JoinType, Result, ScalarValue, Statistics};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::union::UnionExec;

use super::selectivity::selectivity;

/// Rows of an input of which nothing is known.
const ROWS_UNKNOWN: f64 = 100_000.0;
/// Bytes that a value of variable width is taken to have.
const VARIABLE_BYTES: f64 = 24.0;
/// Different values of a text column of which nothing is known, where it is compared with a constant.
const TEXTS_UNKNOWN: f64 = 20.0;
/// Share of the groups that an average grouping makes of its rows where nothing is known.
const GROUPS_UNKNOWN: f64 = 0.1;
/// Share of the rows of a product that an unknown condition keeps.
const CONDITION_UNKNOWN: f64 = 0.2;

/// What is known of a column. The numbers are of the whole column, before conditions on other columns.
#[derive(Clone, Debug, Default)]
pub(super) struct ColumnEstimate {
    /// How many different values it has at most.
    pub(super) distinct: Option<f64>,
    /// Whether `distinct` was counted, not guessed from bounds.
    pub(super) counted: bool,
    /// Least and greatest value, as numbers.
    pub(super) range: Option<(f64, f64)>,
    /// Share of NULLs.
    pub(super) nulls: f64,
    /// Whether its values are whole numbers or days, so that a range bounds their count.
    pub(super) is_text: bool,
}

/// What is known of an operator's rows.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    /// Rows that it gives.
    pub(super) rows: f64,
    /// Rows before conditions took some away.
    pub(super) base_rows: f64,
    /// By position.
    pub(super) columns: Vec<ColumnEstimate>,
    /// Bytes of one row.
    pub(super) row_bytes: f64,
}

/// How many different values a join column has, and whether that was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Domain {
    pub(super) distinct: f64,
    pub(super) counted: bool,
}

impl ColumnEstimate {
    /// Different values, for a comparison with a constant.
    pub(super) fn distinct_or_guess(&self, rows: f64) -> f64 {
        let guess = if self.is_text {
            TEXTS_UNKNOWN
        } else {
            rows.max(1.0)
        };
        self.distinct.unwrap_or(guess).min(rows.max(1.0)).max(1.0)
    }
}

impl Estimate {
    /// Different values of the column at `position`, for a join.
    pub(super) fn domain(&self, position: usize) -> Domain {
        let column = self.columns.get(position).cloned().unwrap_or_default();
        let base = self.base_rows.max(1.0);
        let distinct = column.distinct.unwrap_or(base).min(base).max(1.0);
        Domain {
            distinct,
            counted: column.counted,
        }
    }

    fn unknown(schema: &Schema, rows: f64) -> Self {
        Self {
            rows,
            base_rows: rows,
            columns: vec![ColumnEstimate::default(); schema.fields().len()],
            row_bytes: row_bytes(schema),
        }
    }

    fn projected(self, positions: Option<&[usize]>, schema: &Schema) -> Self {
        let Some(positions) = positions else {
            return self;
        };
        let columns = positions.iter();
        let columns = columns.map(|position| self.columns.get(*position).cloned());
        Self {
            columns: columns.map(Option::unwrap_or_default).collect(),
            row_bytes: row_bytes(schema),
            ..self
        }
    }
}

/// Of how many pairs of values one matches, for columns of these domains.
fn pair_domain(a: Domain, b: Domain) -> f64 {
    match (a.counted, b.counted) {
        (true, true) => a.distinct.max(b.distinct),
        (true, false) => a.distinct.max(b.distinct.min(a.distinct)),
        (false, true) => b.distinct.max(a.distinct.min(b.distinct)),
        // Both are upper bounds; the key of the smaller table is what the other refers to.
        (false, false) => a.distinct.min(b.distinct),
    }
}

/// Of how many pairs of rows one matches, for keys of these columns. Columns that are equal together are one key: it has no
/// more values than its table has rows.
pub(super) fn key_domain(columns: &[(Domain, Domain)], base_rows: (f64, f64)) -> f64 {
    if let [(a, b)] = columns {
        return pair_domain(*a, *b);
    }
    let side = |of: fn(&(Domain, Domain)) -> Domain, rows: f64| {
        let all: f64 = columns.iter().map(|pair| of(pair).distinct).product();
        all.min(rows)
    };
    side(|pair| pair.0, base_rows.0)
        .min(side(|pair| pair.1, base_rows.1))
        .max(1.0)
}

/// Of how many pairs of rows of a hash join one matches.
pub(super) fn join_domain(join: &HashJoinExec, left: &Estimate, right: &Estimate) -> f64 {
    let columns = join.on().iter();
    let columns: Vec<_> = columns
        .filter_map(|(a, b)| Some((left.domain(column_of(a)?), right.domain(column_of(b)?))))
        .collect();
    if columns.is_empty() {
        return left.base_rows.max(right.base_rows).max(1.0);
    }
    key_domain(&columns, (left.base_rows, right.base_rows))
}

/// Estimates the rows of `plan`.
pub(super) fn estimate(plan: &Arc<dyn ExecutionPlan>) -> Result<Estimate> {
    let schema = plan.schema();
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let mut input = estimate(filter.input())?;
        input.rows = (input.rows * selectivity(filter.predicate(), &input)).max(1.0);
        let projection = filter.projection().as_ref();
        return Ok(input.projected(projection.map(AsRef::as_ref), &schema));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let input = estimate(projection.input())?;
        let columns = projection.expr().iter();
        return Ok(Estimate {
            columns: columns
                .map(|projected| of_expr(&projected.expr, &input))
                .collect(),
            row_bytes: row_bytes(&schema),
            ..input
        });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return of_aggregate(aggregate, &schema);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return of_hash_join(join, &schema);
    }
    if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
        let (left, right) = (estimate(join.left())?, estimate(join.right())?);
        let rows = left.rows * right.rows;
        return Ok(beside(left, right, rows));
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let (left, right) = (estimate(join.left())?, estimate(join.right())?);
        let kept = if join.filter().is_some() {
            CONDITION_UNKNOWN
        } else {
            1.0
        };
        let rows = of_type(
            *join.join_type(),
            &left,
            &right,
            left.rows * right.rows * kept,
        );
        return Ok(Estimate {
            rows,
            ..Estimate::unknown(&schema, rows)
        });
    }
    if plan.is::<UnionExec>() {
        let inputs = plan.children().into_iter().map(estimate);
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        return Ok(Estimate::unknown(
            &schema,
            inputs.iter().map(|input| input.rows).sum(),
        ));
    }
    if let [input] = plan.children().as_slice()
        && input.schema().fields() == schema.fields()
    {
        let mut input = estimate(input)?;
        if let Some(fetch) = plan.fetch() {
            input.rows = input.rows.min(count(fetch));
        }
        return Ok(input);
    }
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(of_statistics(&statistics, &schema))
}

fn of_statistics(statistics: &Statistics, schema: &Schema) -> Estimate {
    let row_bytes = row_bytes(schema);
    let known = statistics.num_rows.get_value().map(|rows| count(*rows));
    let by_bytes = statistics.total_byte_size.get_value();
    let by_bytes = by_bytes.map(|bytes| count(*bytes) / row_bytes.max(1.0));
    let rows = known.or(by_bytes).unwrap_or(ROWS_UNKNOWN).max(1.0);
    let columns = statistics.column_statistics.iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| of_column(column, field.data_type(), rows));
    Estimate {
        rows,
        base_rows: rows,
        columns: columns.collect(),
        row_bytes,
    }
}

fn of_column(column: &ColumnStatistics, ty: &DataType, rows: f64) -> ColumnEstimate {
    let bound = |value: &Precision<ScalarValue>| value.get_value().and_then(number);
    let range = bound(&column.min_value).zip(bound(&column.max_value));
    let counted = column.distinct_count.get_value().map(|n| count(*n));
    let spanned = range.filter(|_| counts_by_range(ty));
    let spanned = spanned.map(|(low, high)| (high - low + 1.0).clamp(1.0, rows));
    let nulls = column.null_count.get_value();
    let is_boolean = matches!(ty, DataType::Boolean);
    ColumnEstimate {
        distinct: counted.or(is_boolean.then_some(2.0)).or(spanned),
        counted: counted.is_some(),
        range,
        nulls: nulls.map_or(0.0, |nulls| (count(*nulls) / rows).min(1.0)),
        is_text: ty.is_string() || ty.is_binary(),
    }
}

/// Whether a column of this type has no more different values than its range has whole numbers.
fn counts_by_range(ty: &DataType) -> bool {
    ty.is_integer() || matches!(ty, DataType::Date32)
}

/// What an expression over `input` gives.
fn of_expr(expr: &Arc<dyn PhysicalExpr>, input: &Estimate) -> ColumnEstimate {
    column_of(expr)
        .and_then(|column| input.columns.get(column).cloned())
        .unwrap_or_default()
}

/// The column that an expression is, behind casts.
pub(super) fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return column_of(cast.expr());
    }
    expr.downcast_ref::<Column>().map(Column::index)
}

fn of_aggregate(aggregate: &AggregateExec, schema: &Schema) -> Result<Estimate> {
    let input = estimate(aggregate.input())?;
    let keys = aggregate.group_expr().expr();
    let mut groups = 1.0;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (key, _) in keys {
        let column = of_expr(key, &input);
        let guess = (input.rows * GROUPS_UNKNOWN).max(1.0);
        groups *= column.distinct.unwrap_or(guess).max(1.0);
        columns.push(column);
    }
    let rows = groups.min(input.rows).max(1.0);
    // One key makes a row each.
    if let ([_], [column]) = (keys, columns.as_mut_slice()) {
        column.distinct = Some(column.distinct.unwrap_or(rows).min(rows));
    }
    columns.resize(schema.fields().len(), ColumnEstimate::default());
    Ok(Estimate {
        rows,
        base_rows: rows,
        columns,
        row_bytes: row_bytes(schema),
    })
}

fn of_hash_join(join: &HashJoinExec, schema: &Schema) -> Result<Estimate> {
    let (left, right) = (estimate(join.left())?, estimate(join.right())?);
    let domain = join_domain(join, &left, &right);
    let kept = if join.filter().is_some() { 0.5 } else { 1.0 };
    let matched = left.rows * right.rows / domain * kept;
    let join_type = *join.join_type();
    let rows = of_type(join_type, &left, &right, matched);
    let joined = match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => Estimate { rows, ..left },
        JoinType::RightSemi | JoinType::RightAnti => Estimate { rows, ..right },
        JoinType::LeftMark => beside(left, Estimate::unknown(&Schema::empty(), 1.0), rows),
        _ => beside(left, right, rows),
    };
    let mut joined = joined;
    joined
        .columns
        .resize(join.join_schema().fields().len(), ColumnEstimate::default());
    Ok(joined.projected(join.projection.as_deref(), schema))
}

/// Rows of a join of which `matched` pairs match.
fn of_type(join_type: JoinType, left: &Estimate, right: &Estimate, matched: f64) -> f64 {
    let semi = |side: &Estimate| matched.min(side.rows);
    let rows = match join_type {
        JoinType::Inner => matched,
        JoinType::Left => matched.max(left.rows),
        JoinType::Right => matched.max(right.rows),
        JoinType::Full => matched.max(left.rows + right.rows),
        JoinType::LeftSemi => semi(left),
        JoinType::RightSemi => semi(right),
        JoinType::LeftAnti => left.rows - semi(left),
        JoinType::RightAnti => right.rows - semi(right),
        JoinType::LeftMark => left.rows,
        JoinType::RightMark => right.rows,
    };
    rows.max(1.0)
}

fn beside(left: Estimate, right: Estimate, rows: f64) -> Estimate {
    let mut columns = left.columns;
    columns.extend(right.columns);
    Estimate {
        rows: rows.max(1.0),
        base_rows: rows.max(left.base_rows).max(right.base_rows),
        columns,
        row_bytes: left.row_bytes + right.row_bytes,
    }
}

/// Bytes that a row of `schema` takes in memory.
pub(super) fn row_bytes(schema: &Schema) -> f64 {
    let widths = schema.fields().iter().map(|field| {
        field
            .data_type()
            .primitive_width()
            .map_or(VARIABLE_BYTES, count)
    });
    widths.sum::<f64>().max(1.0)
}

/// A value on the number line, for ranges.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    match value {
        ScalarValue::Int8(value) => value.map(f64::from),
        ScalarValue::Int16(value) => value.map(f64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(f64::from),
        ScalarValue::UInt8(value) => value.map(f64::from),
        ScalarValue::UInt16(value) => value.map(f64::from),
        ScalarValue::UInt32(value) => value.map(f64::from),
        ScalarValue::UInt64(value) => value.map(|value| value as f64),
        ScalarValue::Int64(value)
        | ScalarValue::TimestampMicrosecond(value, _)
        | ScalarValue::Time64Microsecond(value) => value.map(|value| value as f64),
        ScalarValue::TimestampNanosecond(value, _) => value.map(|value| value as f64 / 1e3),
        ScalarValue::Float32(value) => value.map(f64::from),
        ScalarValue::Float64(value) => *value,
        ScalarValue::Decimal128(value, _, scale) => {
            value.map(|value| value as f64 / 10f64.powi(i32::from(*scale)))
        }
        _ => None,
    }
    .filter(|value| value.is_finite())
}

#[allow(clippy::cast_precision_loss, reason = "estimates")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}
