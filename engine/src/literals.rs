//! Text as dates and times, read as leniently as PostgreSQL reads it.
//!
//! Arrow wants `2024-01-01 10:00:00`; people write `2024-01-01 10:00`, `Jan 1, 2024` or `today`. Literals that
//! the planner casts are read here; what the user casts is in `casts.rs`.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::{expressions, temporal};

/// Completes literals that are cast to dates and times.
#[derive(Debug)]
pub(crate) struct CompleteLiterals;

impl AnalyzerRule for CompleteLiterals {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone = config.execution.time_zone.as_deref().unwrap_or("UTC");
        // The text of a literal may be the name of its column, which stays.
        expressions::rewrite(plan, |expr, _| completed(expr, zone))
    }

    fn name(&self) -> &'static str {
        "complete_literals"
    }
}

fn completed(expr: Expr, zone: &str) -> Result<Transformed<Expr>> {
    let (inner, field, lenient) = match &expr {
        Expr::Cast(Cast { expr, field }) => (expr, field, false),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
        _ => return Ok(Transformed::no(expr)),
    };
    let Expr::Literal(value, _) = inner.as_ref() else {
        return Ok(Transformed::no(expr));
    };
    let ty = field.data_type();
    // Coarser units are made of microseconds.
    let common = match ty {
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        other => other.clone(),
    };
    let (true, Some(Some(text))) = (temporal::reads(&common), value.try_as_str()) else {
        return Ok(Transformed::no(expr));
    };
    let read = temporal::literal(text, &common, zone, lenient)?.cast_to(ty)?;
    Ok(Transformed::yes(Expr::Literal(read, None)))
}
