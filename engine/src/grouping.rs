//! Keeps ROLLUP, CUBE and GROUPING SETS from losing their ORDER BY.
//!
//! A filter `k = 'a'` makes `k` a constant for DataFusion, above `GROUP BY ROLLUP (k)` too, where it is
//! NULL in some rows; a sort by `k` is then dropped. The columns of grouping sets therefore pass
//! through a function that nobody can see through. Knows logical plans only.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Hides the columns of grouping sets from what is known about the aggregate's input.
#[derive(Debug)]
pub(crate) struct HideGroupingColumns;

impl AnalyzerRule for HideGroupingColumns {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate)
                if matches!(aggregate.group_expr[..], [Expr::GroupingSet(_)]) =>
            {
                hide(aggregate)
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "hide_grouping_columns"
    }
}

fn hide(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut grouped: HashSet<Column> = HashSet::new();
    for expr in &aggregate.group_expr {
        grouped.extend(expr.column_refs().into_iter().cloned());
    }
    let hidden = ScalarUDF::from(Hidden::new());
    let columns = aggregate.input.schema().iter().map(|(qualifier, field)| {
        let column = Column::new(qualifier.cloned(), field.name());
        if !grouped.contains(&column) {
            return Expr::Column(column);
        }
        let unknown = ScalarUDF::from(Unknown::new()).call(vec![]);
        hidden
            .call(vec![Expr::Column(column), unknown])
            .alias_qualified(qualifier.cloned(), field.name())
    });
    let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    let aggregate = Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// `input` with columns of which nothing is known, such as that they are constant.
pub(crate) fn opaque(input: LogicalPlan) -> Result<LogicalPlan> {
    let hidden = ScalarUDF::from(Hidden::new());
    let columns = input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let unknown = ScalarUDF::from(Unknown::new()).call(vec![]);
        hidden
            .call(vec![column, unknown])
            .alias_qualified(qualifier.cloned(), field.name())
    });
    let columns = columns.collect::<Vec<_>>();
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

/// The functions of [`HideGroupingColumns`], which workers meet in plans.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [
        Arc::new(ScalarUDF::from(Hidden::new())),
        Arc::new(ScalarUDF::from(Unknown::new())),
    ]
}

/// Answers its first argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Hidden {
    signature: Signature,
}

impl Hidden {
    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Hidden {
    fn name(&self) -> &'static str {
        "tarn_hidden"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [first, _] = types else {
            return exec_err!("tarn_hidden takes two arguments");
        };
        Ok(first.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(first) = args.args.into_iter().next() else {
            return exec_err!("tarn_hidden takes two arguments");
        };
        Ok(first)
    }
}

/// Answers NULL; an argument of which DataFusion knows nothing.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unknown {
    signature: Signature,
}

impl Unknown {
    fn new() -> Self {
        Self {
            signature: Signature::nullary(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &'static str {
        "tarn_unknown"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)))
    }
}
