//! This moment: `now()` and its like, in microseconds.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use super::civil::SECOND;
use super::function::{Function, TIMESTAMP, zoned_type};
use super::trunc::cast_zone;
use super::zones::Zone;

/// The functions that are a constant in a statement, and whether it has a time zone.
pub(super) const NAMES: [(&str, bool); 5] = [
    ("now", true),
    ("current_timestamp", true),
    ("transaction_timestamp", true),
    ("statement_timestamp", true),
    ("localtimestamp", false),
];

/// `now`, which all rows of a statement agree on, and `localtimestamp`.
pub(super) fn moments() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .into_iter()
        .map(|(name, zoned)| {
            Arc::new(ScalarUDF::from(Now {
                name,
                zoned,
                zone: "UTC".into(),
                signature: Signature::one_of(
                    vec![
                        TypeSignature::Nullary,
                        TypeSignature::Exact(vec![DataType::Int64]),
                    ],
                    Volatility::Stable,
                ),
            }))
        })
        .collect()
}

/// `clock_timestamp`, which goes on.
pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new(
            "clock_timestamp",
            |types, _| types.is_empty().then(Vec::new),
            |types| Ok(zoned_type(types.zone)),
            |call| {
                let now = chrono::Utc::now().timestamp_micros();
                let all: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![now; call.rows]));
                cast_zone(&all, call.result)
            },
        )
        .volatile(),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    name: &'static str,
    zoned: bool,
    zone: Arc<str>,
    signature: Signature,
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.zoned {
            zoned_type(&self.zone)
        } else {
            TIMESTAMP
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(
            self.name,
            self.return_type(&[])?,
            false,
        )))
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let zone = config.execution.time_zone.as_deref().unwrap_or("UTC");
        Some(ScalarUDF::from(Self {
            name: self.name,
            zoned: self.zoned,
            zone: zone.into(),
            signature: self.signature.clone(),
        }))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is a constant by the time a plan runs", self.name)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(start) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let mut micros = start.timestamp_micros();
        if let Some(Expr::Literal(ScalarValue::Int64(Some(digits)), _)) = args.first() {
            let lost = u32::try_from(6 - (*digits).clamp(0, 6)).unwrap_or(0);
            let unit = 10_i64.pow(lost);
            micros = (micros + unit / 2).div_euclid(unit) * unit;
        }
        let value = if self.zoned {
            ScalarValue::TimestampMicrosecond(Some(micros), Some(Arc::clone(&self.zone)))
        } else {
            let seconds = Zone::of_type(&self.zone)?.offset_at(micros);
            ScalarValue::TimestampMicrosecond(Some(micros + seconds * SECOND), None)
        };
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }
}
