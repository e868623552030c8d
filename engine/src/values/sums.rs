//! `sum` that never wraps around: it adds in 128 bits and fails where the result has no room for the sum.
//!
//! The order of the rows does not matter: only the total is checked. Works in parts on workers, for groups, in windows
//! and DISTINCT. Sums of floats and intervals are DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

use super::decimals::{self, Adding, DIGITS_MAX, Different};

/// The function, for every process of the cluster.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(CheckedSum { inner: Sum::new() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match (Kind::of(args.return_field.data_type()), args.is_distinct) {
            (Some(kind), true) => Ok(Box::new(DistinctTotal {
                kind,
                values: Different::default(),
            })),
            (Some(kind), false) => Ok(Box::new(Total::new(kind))),
            (None, _) => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(kind) = Kind::of(args.return_field.data_type()) else {
            return self.inner.state_fields(args);
        };
        let name = format!("{}[sum]", args.name);
        Ok(vec![Arc::new(if args.is_distinct {
            Field::new(name, DataType::List(decimals::item(kind.state())), false)
        } else {
            Field::new(name, kind.state(), true)
        })])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match Kind::of(args.return_field.data_type()) {
            Some(kind) => Ok(Box::new(GroupTotals::new(kind))),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if Kind::of(args.return_field.data_type()).is_some() {
            self.accumulator(args)
        } else {
            self.inner.create_sliding_accumulator(args)
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, ty: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(ty)
    }
}

/// What is added up.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Integer,
    Decimal { precision: u8, scale: i8 },
}

impl Kind {
    /// The kind whose result is `ty`; none if DataFusion adds it up.
    fn of(ty: &DataType) -> Option<Self> {
        match ty {
            DataType::Int64 => Some(Self::Integer),
            DataType::Decimal128(precision, scale) => Some(Self::Decimal {
                precision: *precision,
                scale: *scale,
            }),
            _ => None,
        }
    }

    /// The type of a part of the sum, on its way to the whole.
    fn state(self) -> DataType {
        match self {
            Self::Integer => DataType::Decimal128(DIGITS_MAX, 0),
            Self::Decimal { scale, .. } => DataType::Decimal128(DIGITS_MAX, scale),
        }
    }

    /// Whether `total` has room in the result.
    fn check(self, total: i128) -> Result<()> {
        let fits = match self {
            Self::Integer => i64::try_from(total).is_ok(),
            Self::Decimal { precision, .. } => {
                total.unsigned_abs() < 10u128.pow(u32::from(precision.min(DIGITS_MAX)))
            }
        };
        match self {
            _ if fits => Ok(()),
            Self::Integer => exec_err!(
                "bigint out of range: overflow of sum(); add up numeric values: sum(x::numeric(38, 0))"
            ),
            Self::Decimal { .. } => {
                exec_err!("numeric out of range: overflow of sum() beyond {DIGITS_MAX} digits")
            }
        }
    }

    fn value(self, total: Option<i128>) -> Result<ScalarValue> {
        if let Some(total) = total {
            self.check(total)?;
        }
        Ok(match self {
            Self::Integer => ScalarValue::Int64(total.and_then(|total| i64::try_from(total).ok())),
            Self::Decimal { precision, scale } => ScalarValue::Decimal128(total, precision, scale),
        })
    }

    /// Values as they come, or parts of sums.
    #[inline]
    fn each(
        array: &ArrayRef,
        filter: Option<&BooleanArray>,
        take: impl FnMut(usize, i128),
    ) -> Result<()> {
        if let Some(values) = array.as_primitive_opt::<Int64Type>() {
            decimals::each(values, filter, take);
        } else if let Some(values) = array.as_primitive_opt::<Decimal128Type>() {
            decimals::each(values, filter, take);
        } else if !array.data_type().is_null() {
            return exec_err!("sum() does not take {}", array.data_type());
        }
        Ok(())
    }
}

fn single(values: &[ArrayRef]) -> Result<&ArrayRef> {
    let [values] = values else {
        return exec_err!("sum() takes one argument");
    };
    Ok(values)
}

/// One sum.
#[derive(Debug)]
struct Total {
    kind: Kind,
    sum: i128,
    rows: u64,
}

impl Total {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            sum: 0,
            rows: 0,
        }
    }

    fn known(&self) -> Option<i128> {
        (self.rows > 0).then_some(self.sum)
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (mut adding, mut total, mut rows) = (Adding::new("sum"), self.sum, self.rows);
        Kind::each(single(values)?, None, |_, value| {
            adding.add(&mut total, value);
            rows += 1;
        })?;
        (self.sum, self.rows) = (total, rows);
        adding.done()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (mut adding, mut total, mut rows) = (Adding::new("sum"), self.sum, self.rows);
        Kind::each(single(values)?, None, |_, value| {
            adding.add(&mut total, value.wrapping_neg());
            rows = rows.saturating_sub(1);
        })?;
        (self.sum, self.rows) = (total, rows);
        adding.done()
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kind.value(self.known())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let scale = match self.kind {
            Kind::Integer => 0,
            Kind::Decimal { scale, .. } => scale,
        };
        Ok(vec![ScalarValue::Decimal128(
            self.known(),
            DIGITS_MAX,
            scale,
        )])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// One sum of different values.
#[derive(Debug)]
struct DistinctTotal {
    kind: Kind,
    values: Different,
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Kind::each(single(values)?, None, |_, value| self.values.take(value))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Kind::each(single(values)?, None, |_, value| self.values.retract(value))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.values.total("sum")?;
        self.kind.value((self.values.count() > 0).then_some(total))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state(self.kind.state())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in single(states)?.as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.size()
    }
}

/// One sum for each group.
#[derive(Debug)]
struct GroupTotals {
    kind: Kind,
    totals: Vec<i128>,
    /// Whether the group has a value.
    known: Vec<bool>,
}

impl GroupTotals {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            totals: vec![],
            known: vec![],
        }
    }

    fn add(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.totals.resize(count, 0);
        self.known.resize(count, false);
        let (totals, known) = (&mut self.totals, &mut self.known);
        let mut adding = Adding::new("sum");
        Kind::each(values, filter, |row, value| {
            let group = groups[row];
            adding.add(&mut totals[group], value);
            known[group] = true;
        })?;
        adding.done()
    }
}

impl GroupsAccumulator for GroupTotals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.add(single(values)?, groups, filter, count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.add(single(states)?, groups, None, count)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let totals = emit.take_needed(&mut self.totals);
        let known = NullBuffer::from(emit.take_needed(&mut self.known));
        // A group without values has the total 0, which fits.
        totals
            .iter()
            .try_for_each(|total| self.kind.check(*total))?;
        Ok(match self.kind {
            Kind::Integer => {
                let totals = totals
                    .into_iter()
                    .map(|total| i64::try_from(total).unwrap_or(0));
                Arc::new(Int64Array::new(totals.collect(), Some(known)))
            }
            Kind::Decimal { precision, scale } => Arc::new(
                Decimal128Array::new(totals.into(), Some(known))
                    .with_data_type(DataType::Decimal128(precision, scale)),
            ),
        })
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = emit.take_needed(&mut self.totals);
        let known = NullBuffer::from(emit.take_needed(&mut self.known));
        let state = Decimal128Array::new(totals.into(), Some(known));
        Ok(vec![Arc::new(state.with_data_type(self.kind.state()))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = single(values)?;
        let mut parts = vec![None; values.len()];
        Kind::each(values, filter, |row, value| parts[row] = Some(value))?;
        let parts: Decimal128Array = parts.into_iter().collect();
        Ok(vec![Arc::new(parts.with_data_type(self.kind.state()))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.known.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn only_the_total_must_fit() {
        let mut total = Total::new(Kind::Integer);
        total.update_batch(&[integers(&[i64::MAX, 1])]).unwrap();
        assert!(total.evaluate().is_err());
        total.update_batch(&[integers(&[-1])]).unwrap();
        assert_eq!(
            total.evaluate().unwrap(),
            ScalarValue::Int64(Some(i64::MAX))
        );
        total.retract_batch(&[integers(&[i64::MAX])]).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(0)));
    }

    #[test]
    fn parts_of_groups_add_up_and_do_not_wrap() {
        let mut part = GroupTotals::new(Kind::Integer);
        let values = integers(&[i64::MAX, i64::MAX, 7]);
        part.update_batch(&[values], &[0, 0, 1], None, 3).unwrap();
        let state = part.state(EmitTo::All).unwrap();
        let mut whole = GroupTotals::new(Kind::Integer);
        whole.merge_batch(&state, &[0, 1, 2], 3).unwrap();
        let minus = integers(&[-i64::MAX]);
        whole.update_batch(&[minus], &[0], None, 3).unwrap();
        let sums = whole.evaluate(EmitTo::All).unwrap();
        let sums: Vec<_> = sums.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(sums, [Some(i64::MAX), Some(7), None]);
        let state = whole.convert_to_state(&[integers(&[5])], None).unwrap();
        whole.merge_batch(&state, &[0], 1).unwrap();
        let big = integers(&[i64::MAX]);
        whole.update_batch(&[big], &[0], None, 1).unwrap();
        assert!(whole.evaluate(EmitTo::All).is_err());
    }

    #[test]
    fn a_decimal_has_no_more_than_its_digits() {
        let kind = Kind::Decimal {
            precision: 38,
            scale: 2,
        };
        let mut total = Total::new(kind);
        let big = 9 * 10i128.pow(37);
        let values = Decimal128Array::from(vec![big, big])
            .with_precision_and_scale(38, 2)
            .unwrap();
        let values: ArrayRef = Arc::new(values);
        let added = total.update_batch(&[values]);
        assert!(added.is_err() || total.evaluate().is_err());
    }
}
