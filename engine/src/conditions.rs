//! Filters of several conditions, asked in the order that costs least.
//!
//! What compares columns with constants and with each other is asked of whole batches: a processor does that for many rows
//! at once. What costs more, or may fail, is asked only of the rows that are left. DataFusion asks from left to right, and
//! picks and puts back rows for each condition that is to be asked of few. Never changes which rows are let through.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringViewArray};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer};
use datafusion::arrow::compute::FilterBuilder;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::util::bit_util::set_bit;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

/// Texts up to this many bytes are in their view.
const INLINE_MAX: usize = 12;
/// Longer lists are looked up.
const TEXTS_MAX: usize = 8;

/// `node` with its conditions in a better order, if it is a filter that gains by it.
///
/// # Errors
/// None of its own.
pub(crate) fn ordered(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else {
        return Ok(node);
    };
    let Some(conditions) = Conditions::of(filter.predicate(), &filter.input().schema())? else {
        return Ok(node);
    };
    let ordered = FilterExecBuilder::from(filter)
        .with_predicate(Arc::new(conditions))
        .build()?;
    Ok(Arc::new(ordered))
}

/// All of several conditions.
#[derive(Debug)]
struct Conditions {
    /// As the statement has them.
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// Asked of all rows.
    first: Vec<First>,
    /// Asked one after the other of the rows that are left.
    then: Vec<Then>,
}

#[derive(Debug)]
enum First {
    Texts(Texts),
    Expr(Arc<dyn PhysicalExpr>),
}

/// Whether a column is one of some short texts, or none of them.
#[derive(Debug, PartialEq, Eq)]
struct Texts {
    column: usize,
    views: Vec<u128>,
    negated: bool,
}

/// A condition over some columns.
#[derive(Debug)]
struct Then {
    columns: Vec<usize>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
}

impl Conditions {
    /// `None` if nothing is gained.
    fn of(predicate: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<Option<Self>> {
        let (mut first, mut then) = (vec![], vec![]);
        for part in split_conjunction(predicate) {
            if let Some(texts) = texts(part, schema) {
                first.push(First::Texts(texts));
            } else if is_quick(part, schema) {
                first.push(First::Expr(Arc::clone(part)));
            } else {
                then.push(Then::of(part, schema)?);
            }
        }
        let alone = first.len() + then.len() < 2;
        if alone && !first.iter().any(|one| matches!(one, First::Texts(_))) {
            return Ok(None);
        }
        Ok(Some(Self {
            predicate: Arc::clone(predicate),
            schema: Arc::clone(schema),
            first,
            then,
        }))
    }

    /// The rows for which all conditions are true.
    fn kept(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let rows = batch.num_rows();
        let mut kept: Option<BooleanBuffer> = None;
        for condition in &self.first {
            let one = match condition {
                First::Texts(texts) => texts.kept(batch)?,
                First::Expr(expr) => truths(expr.evaluate(batch)?, rows)?,
            };
            kept = Some(match kept {
                Some(before) => &before & &one,
                None => one,
            });
        }
        let mut kept = kept.unwrap_or_else(|| BooleanBuffer::new_set(rows));
        let mut left = kept.count_set_bits();
        for condition in &self.then {
            if left == 0 {
                break;
            }
            let among = condition.among(batch, &kept, left)?;
            let now = among.count_set_bits();
            if now < left {
                kept = if left == rows {
                    among
                } else {
                    put_back(&kept, &among)
                };
                left = now;
            }
        }
        Ok(kept)
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// Whether to ask `part` of all rows costs little, and cannot fail.
fn is_quick(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let plain = |expr: &Arc<dyn PhysicalExpr>| {
        (expr.is::<Column>() || expr.is::<Literal>())
            && expr.data_type(schema).is_ok_and(|ty| ty.is_primitive())
    };
    if let Some(binary) = part.downcast_ref::<BinaryExpr>() {
        return compares(*binary.op()) && plain(binary.left()) && plain(binary.right());
    }
    if let Some(null) = part.downcast_ref::<IsNullExpr>() {
        return null.arg().is::<Column>();
    }
    if let Some(there) = part.downcast_ref::<IsNotNullExpr>() {
        return there.arg().is::<Column>();
    }
    // What changes while it is asked keeps the columns that it knows.
    part.exists(|expr| Ok(expr.is::<DynamicFilterPhysicalExpr>()))
        .unwrap_or(false)
}

/// A short text that is not NULL.
fn short(expr: &Arc<dyn PhysicalExpr>) -> Option<u128> {
    let literal = expr.downcast_ref::<Literal>()?;
    let text = literal.value().try_as_str()??;
    if text.len() > INLINE_MAX {
        return None;
    }
    StringViewArray::from(vec![text]).views().first().copied()
}

/// `part` as a comparison of a column with short texts.
fn texts(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Texts> {
    let column = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>()?;
        let field = schema.fields().get(column.index())?;
        (field.data_type() == &DataType::Utf8View).then(|| column.index())
    };
    if let Some(list) = part.downcast_ref::<InListExpr>() {
        let views: Option<Vec<u128>> = list.list().iter().map(short).collect();
        return Some(Texts {
            column: column(list.expr())?,
            views: views.filter(|views| views.len() <= TEXTS_MAX)?,
            negated: list.negated(),
        });
    }
    let binary = part.downcast_ref::<BinaryExpr>()?;
    match binary.op() {
        Operator::Eq | Operator::NotEq => {
            let (at, text) = match column(binary.left()) {
                Some(at) => (at, short(binary.right())?),
                None => (column(binary.right())?, short(binary.left())?),
            };
            Some(Texts {
                column: at,
                views: vec![text],
                negated: *binary.op() == Operator::NotEq,
            })
        }
        Operator::Or => {
            let left = texts(binary.left(), schema)?;
            let right = texts(binary.right(), schema)?;
            let one = left.column == right.column && !left.negated && !right.negated;
            let few = left.views.len() + right.views.len() <= TEXTS_MAX;
            (one && few).then(|| Texts {
                column: left.column,
                views: [left.views, right.views].concat(),
                negated: false,
            })
        }
        _ => None,
    }
}

impl Texts {
    #[allow(
        clippy::needless_bitwise_bool,
        reason = "without a branch for each row"
    )]
    fn kept(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let Some(array) = batch.column(self.column).as_string_view_opt() else {
            return internal_err!("a column of texts has another type");
        };
        let found = match self.views[..] {
            [one] => bits(array.views(), |view| view == one),
            [one, two] => bits(array.views(), |view| (view == one) | (view == two)),
            _ => bits(array.views(), |view| self.views.contains(&view)),
        };
        let found = if self.negated { !&found } else { found };
        Ok(match array.nulls() {
            Some(nulls) => &found & nulls.inner(),
            None => found,
        })
    }
}

/// What `ask` says of each.
fn bits(views: &[u128], ask: impl Fn(u128) -> bool) -> BooleanBuffer {
    let words: Vec<u64> = views
        .chunks(64)
        .map(|chunk| {
            let word = chunk
                .iter()
                .enumerate()
                .fold(0, |word, (at, view)| word | (u64::from(ask(*view)) << at));
            word.to_le()
        })
        .collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, views.len())
}

impl Then {
    fn of(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self> {
        let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        columns.sort_unstable();
        columns.dedup();
        let expr = Arc::clone(expr)
            .transform_down(|part| {
                let moved = part.downcast_ref::<Column>().and_then(|column| {
                    let at = columns.binary_search(&column.index()).ok()?;
                    Some(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>)
                });
                Ok(moved.map_or_else(|| Transformed::no(part), Transformed::yes))
            })
            .data()?;
        Ok(Self {
            schema: Arc::new(schema.project(&columns)?),
            columns,
            expr,
        })
    }

    /// The answers for those rows of `batch` that are in `kept`, of which there are `left`.
    fn among(
        &self,
        batch: &RecordBatch,
        kept: &BooleanBuffer,
        left: usize,
    ) -> Result<BooleanBuffer> {
        let columns = self.columns.iter().map(|at| batch.column(*at));
        let columns: Vec<ArrayRef> = if left == batch.num_rows() {
            columns.map(Arc::clone).collect()
        } else {
            let filter = FilterBuilder::new(&BooleanArray::new(kept.clone(), None));
            let filter = if self.columns.len() > 1 {
                filter.optimize().build()
            } else {
                filter.build()
            };
            columns
                .map(|column| filter.filter(column))
                .collect::<Result<_, _>>()?
        };
        let options = RecordBatchOptions::new().with_row_count(Some(left));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        truths(self.expr.evaluate(&rows)?, left)
    }
}

/// Which answers are true.
fn truths(answer: ColumnarValue, rows: usize) -> Result<BooleanBuffer> {
    let array = match answer {
        ColumnarValue::Array(array) => array,
        ColumnarValue::Scalar(ScalarValue::Boolean(value)) => {
            return Ok(if value == Some(true) {
                BooleanBuffer::new_set(rows)
            } else {
                BooleanBuffer::new_unset(rows)
            });
        }
        ColumnarValue::Scalar(other) => other.to_array_of_size(rows)?,
    };
    let Some(answers) = array.as_boolean_opt() else {
        return internal_err!("a condition is {}", array.data_type());
    };
    Ok(match answers.nulls() {
        Some(nulls) => answers.values() & nulls.inner(),
        None => answers.values().clone(),
    })
}

/// Those of the rows in `kept` whose answer in `among` is true.
fn put_back(kept: &BooleanBuffer, among: &BooleanBuffer) -> BooleanBuffer {
    let mut bits = MutableBuffer::from_len_zeroed(kept.len().div_ceil(8));
    for (row, answer) in kept.set_indices().zip(among) {
        if answer {
            set_bit(&mut bits, row);
        }
    }
    BooleanBuffer::new(bits.into(), 0, kept.len())
}

impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        self.predicate.eq(&other.predicate)
    }
}

impl Eq for Conditions {}

impl Hash for Conditions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.predicate.hash(state);
    }
}

impl Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.predicate, f)
    }
}

impl PhysicalExpr for Conditions {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        let name = self.predicate.to_string();
        Ok(Arc::new(Field::new(name, DataType::Boolean, false)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let kept = BooleanArray::new(self.kept(batch)?, None);
        Ok(ColumnarValue::Array(Arc::new(kept)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.predicate]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let (Some(predicate), None) = (children.pop(), children.pop()) else {
            return internal_err!("one condition is expected");
        };
        Ok(match Self::of(&predicate, &self.schema)? {
            Some(conditions) => Arc::new(conditions),
            None => predicate,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.predicate.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::compute::concat_batches;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::common::DFSchema;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// 200 rows with NULLs, texts below and above twelve bytes, and zeros.
    async fn batch(context: &SessionContext) -> RecordBatch {
        let rows = context
            .sql(
                "SELECT CASE WHEN v % 7 = 0 THEN NULL ELSE v END AS i, v % 5 AS z, \
                 arrow_cast(CASE v % 6 WHEN 0 THEN 'MAIL' WHEN 1 THEN 'SHIP' WHEN 2 THEN 'a text of many bytes' \
                 WHEN 3 THEN NULL WHEN 4 THEN '' ELSE 'twelve bytes' END, 'Utf8View') AS s FROM generate_series(1, 200) AS g(v)",
            )
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        concat_batches(&rows[0].schema(), &rows).unwrap()
    }

    fn rows(batches: &[RecordBatch]) -> String {
        pretty_format_batches(batches).unwrap().to_string()
    }

    #[tokio::test]
    async fn the_same_rows_are_let_through() {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        context.register_batch("t", batch(&context).await).unwrap();
        for text in [
            "i > 20 AND i < 90",
            "s = 'MAIL'",
            "s <> 'SHIP' AND i <> 30",
            "s = 'MAIL' OR s = 'SHIP'",
            "s IN ('MAIL', 'SHIP', '') AND i >= 100",
            "s NOT IN ('MAIL', 'twelve bytes') AND i % 2 = 0",
            "s = 'a text of many bytes' AND i > 3",
            "s = '' AND s IS NOT NULL",
            "i IS NULL AND z = 2",
            "s LIKE '%A%' AND i > 10 AND i % 3 = 1",
            "i % 3 = 1 AND i % 5 = 2",
            "i > 500 AND i % 3 = 1",
            "i > 0 AND (i % 3 = 1 OR s = 'SHIP')",
        ] {
            let statement = format!("SELECT i, s FROM t WHERE {text}");
            let plan = context.sql(&statement).await.unwrap();
            let plan = plan.create_physical_plan().await.unwrap();
            let fitted = crate::planner::fit(Arc::clone(&plan)).unwrap();
            let is_ordered = |node: &Arc<dyn ExecutionPlan>| {
                let filter = node.downcast_ref::<FilterExec>();
                filter.is_some_and(|filter| filter.predicate().is::<Conditions>())
            };
            assert!(
                fitted.exists(|node| Ok(is_ordered(node))).unwrap(),
                "{text}"
            );
            let wanted = collect(plan, context.task_ctx()).await.unwrap();
            let ordered = collect(fitted, context.task_ctx()).await.unwrap();
            assert_eq!(rows(&ordered), rows(&wanted), "{text}");
        }
    }

    #[tokio::test]
    async fn what_may_fail_is_asked_of_rows_that_are_left() {
        let context = SessionContext::new();
        let batch = batch(&context).await;
        let schema = DFSchema::try_from(batch.schema()).unwrap();
        let text = "100 / z > 20 AND z <> 0";
        let expr = context.state().create_logical_expr(text, &schema).unwrap();
        let expr = context.create_physical_expr(expr, &schema).unwrap();
        assert!(expr.evaluate(&batch).is_err());
        let conditions = Conditions::of(&expr, &batch.schema()).unwrap().unwrap();
        let rows = conditions
            .evaluate(&batch)
            .unwrap()
            .into_array(200)
            .unwrap();
        assert_eq!(rows.as_boolean().true_count(), 160);
    }
}
