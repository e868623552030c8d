//! `map['key']` where the key is written in another type than the map's keys have: text is of several Arrow types.
//!
//! Knows expressions only.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};

/// Plans the access to a map's value by a constant key, as the type of the map's keys.
#[derive(Debug)]
pub(crate) struct MapAccess;

impl ExprPlanner for MapAccess {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let key = match &access.field_access {
            GetFieldAccess::NamedStructField { name } => name,
            GetFieldAccess::ListIndex { key } => match key.as_ref() {
                Expr::Literal(key, _) => key,
                _ => return Ok(PlannerResult::Original(access)),
            },
            GetFieldAccess::ListRange { .. } => return Ok(PlannerResult::Original(access)),
        };
        let DataType::Map(entries, _) = access.expr.get_type(schema)? else {
            return Ok(PlannerResult::Original(access));
        };
        let wanted = match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => fields[0].data_type(),
            _ => return Ok(PlannerResult::Original(access)),
        };
        let key = key.cast_to(wanted)?;
        Ok(PlannerResult::Planned(
            get_field().call(vec![access.expr, lit(key)]),
        ))
    }
}
