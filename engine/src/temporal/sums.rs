//! `sum`, `avg`, `min` and `max` of intervals, which DataFusion has not or compares otherwise.
//!
//! The functions of these names are wrapped: what is no interval goes on to the one below.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature, StatisticsArgs, Volatility,
};

use super::arithmetic::key;
use super::errors;
use super::function::{INTERVAL, common};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

/// `functions` with those of intervals in front.
pub(crate) fn wrap(functions: &mut [Arc<AggregateUDF>]) {
    for function in functions {
        if let Some(kind) = Kind::of(function.name()) {
            *function = Arc::new(AggregateUDF::from(OfIntervals {
                kind,
                signature: Signature::user_defined(Volatility::Immutable),
                below: Arc::clone(function),
            }));
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfIntervals {
    kind: Kind,
    signature: Signature,
    below: Arc<AggregateUDF>,
}

fn takes(types: &[DataType]) -> bool {
    matches!(types, [DataType::Interval(_) | DataType::Duration(_)])
}

fn takes_field(fields: &[FieldRef]) -> bool {
    matches!(fields, [field] if takes(&[field.data_type().clone()]))
}

impl AggregateUDFImpl for OfIntervals {
    fn name(&self) -> &str {
        self.below.name()
    }

    fn aliases(&self) -> &[String] {
        self.below.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if takes(types) {
            return Ok(types.iter().map(common).collect());
        }
        let fields: Vec<FieldRef> = types
            .iter()
            .map(|ty| Arc::new(Field::new("x", ty.clone(), true)))
            .collect();
        let fields = datafusion::logical_expr::type_coercion::functions::fields_with_udf(
            &fields,
            self.below.as_ref(),
        )?;
        Ok(fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if takes(types) {
            return Ok(INTERVAL);
        }
        self.below.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        if takes_field(fields) {
            return Ok(Arc::new(Field::new(self.name(), INTERVAL, true)));
        }
        self.below.return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.below.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if takes_field(args.expr_fields) {
            if args.is_distinct && matches!(self.kind, Kind::Sum | Kind::Avg) {
                return exec_err!("{} of distinct intervals is not supported", self.name());
            }
            return Ok(Box::new(Gathered::new(self.kind)));
        }
        self.below.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if takes_field(args.input_fields) {
            let field = |part: &str, ty| {
                let name = format!("{}[{part}]", args.name);
                Arc::new(Field::new(name, ty, true))
            };
            return Ok(vec![
                field("value", INTERVAL),
                field("count", DataType::Int64),
            ]);
        }
        self.below.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !takes_field(args.expr_fields) && self.below.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.below.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if takes_field(args.expr_fields) {
            return Ok(Box::new(Gathered::new(self.kind)));
        }
        self.below.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.below.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.below.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.below.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.below.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        if takes(std::slice::from_ref(args.return_type)) {
            return None;
        }
        self.below.value_from_stats(args)
    }

    fn default_value(&self, ty: &DataType) -> Result<ScalarValue> {
        self.below.default_value(ty)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.below.supports_null_handling_clause()
    }

    fn set_monotonicity(&self, ty: &DataType) -> SetMonotonicity {
        if takes(std::slice::from_ref(ty)) {
            return SetMonotonicity::NotMonotonic;
        }
        self.below.inner().set_monotonicity(ty)
    }
}

/// What has been seen of the rows.
#[derive(Debug)]
struct Gathered {
    kind: Kind,
    months: i64,
    days: i64,
    nanos: i128,
    count: i64,
}

impl Gathered {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            months: 0,
            days: 0,
            nanos: 0,
            count: 0,
        }
    }

    fn value(&self) -> Result<IntervalMonthDayNano> {
        let range = || errors::range("interval");
        Ok(IntervalMonthDayNano::new(
            i32::try_from(self.months).map_err(|_| range())?,
            i32::try_from(self.days).map_err(|_| range())?,
            i64::try_from(self.nanos).map_err(|_| range())?,
        ))
    }

    fn add(&mut self, value: IntervalMonthDayNano, count: i64) -> Result<()> {
        let first = self.count == 0;
        match self.kind {
            Kind::Sum | Kind::Avg => {
                self.months += i64::from(value.months) * count.signum();
                self.days += i64::from(value.days) * count.signum();
                self.nanos += i128::from(value.nanoseconds) * i128::from(count.signum());
            }
            Kind::Min | Kind::Max => {
                let before = self.value()?;
                let better = if self.kind == Kind::Min {
                    key(value) <= key(before)
                } else {
                    key(value) >= key(before)
                };
                if first || better {
                    self.months = value.months.into();
                    self.days = value.days.into();
                    self.nanos = value.nanoseconds.into();
                }
            }
        }
        self.count += count;
        Ok(())
    }
}

impl Gathered {
    fn add_all(&mut self, values: &[ArrayRef], count: i64) -> Result<()> {
        let [values] = values else {
            return exec_err!("one argument is wanted");
        };
        for value in values
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .flatten()
        {
            self.add(value, count)?;
        }
        Ok(())
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        matches!(self.kind, Kind::Sum | Kind::Avg)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let value = self.value()?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "a count of rows; PostgreSQL divides in double"
        )]
        let value = match self.kind {
            Kind::Avg => crate::intervals::divided(value, self.count as f64)?,
            Kind::Sum | Kind::Min | Kind::Max => value,
        };
        Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = (self.count != 0).then(|| self.value()).transpose()?;
        Ok(vec![
            ScalarValue::IntervalMonthDayNano(value),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, counts] = states else {
            return exec_err!("two states are wanted");
        };
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        let counts = counts.as_primitive::<Int64Type>();
        for (value, count) in values.iter().zip(counts) {
            if let (Some(value), Some(count)) = (value, count) {
                self.add(value, count)?;
            }
        }
        Ok(())
    }
}
