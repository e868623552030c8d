//! `avg` of decimals with the digits that PostgreSQL gives, rounded: DataFusion's has four more than its values, cut off.
//!
//! Works in parts on workers, for groups, in windows and DISTINCT. Averages of other types are DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::decimals::{self, Adding, DIGITS_MAX, Different};
use super::division::quotient;

/// Digits after the point of an average at least.
const SCALE_MIN: i8 = 16;

/// The function, for every process of the cluster.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(DecimalAverage { inner: Avg::new() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DecimalAverage {
    inner: Avg,
}

impl AggregateUDFImpl for DecimalAverage {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Decimal128(precision, scale)] if *scale >= 0 => {
                let result = (*scale).max(SCALE_MIN);
                let whole = precision.saturating_sub(scale.unsigned_abs());
                let digits = (whole + 1).saturating_add(result.unsigned_abs());
                Ok(DataType::Decimal128(digits.min(DIGITS_MAX), result))
            }
            types => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match (Shape::of(&args), args.is_distinct) {
            (Some(shape), true) => Ok(Box::new(DistinctAverage {
                shape,
                values: Different::default(),
            })),
            (Some(shape), false) => Ok(Box::new(Average {
                shape,
                total: 0,
                rows: 0,
            })),
            (None, _) => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(DataType::Decimal128(_, scale)) =
            args.input_fields.first().map(|field| field.data_type())
        else {
            return self.inner.state_fields(args);
        };
        let ty = DataType::Decimal128(DIGITS_MAX, *scale);
        let field =
            |part: &str, ty| Arc::new(Field::new(format!("{}[{part}]", args.name), ty, true));
        Ok(if args.is_distinct {
            vec![field("values", DataType::List(decimals::item(ty)))]
        } else {
            vec![field("count", DataType::UInt64), field("sum", ty)]
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match Shape::of(&args) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match Shape::of(&args) {
            Some(shape) => Ok(Box::new(GroupAverages {
                shape,
                totals: vec![],
                rows: vec![],
            })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Shape::of(&args) {
            Some(_) => self.accumulator(args),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Digits of the values and of the result.
#[derive(Clone, Copy, Debug)]
struct Shape {
    scale: i8,
    result: (u8, i8),
}

impl Shape {
    fn of(args: &AccumulatorArgs) -> Option<Self> {
        let input = args.expr_fields.first()?.data_type();
        match (input, args.return_field.data_type()) {
            (DataType::Decimal128(_, scale), DataType::Decimal128(digits, result))
                if *scale >= 0 =>
            {
                Some(Self {
                    scale: *scale,
                    result: (*digits, *result),
                })
            }
            _ => None,
        }
    }

    fn state(self) -> DataType {
        DataType::Decimal128(DIGITS_MAX, self.scale)
    }

    fn average(self, total: i128, rows: u64) -> Result<Option<i128>> {
        if rows == 0 {
            return Ok(None);
        }
        let limit = 10u128.pow(u32::from(DIGITS_MAX));
        match quotient(total, i128::from(rows), self.result.1 - self.scale, true) {
            Some(value) if value.unsigned_abs() < limit => Ok(Some(value)),
            _ => exec_err!("numeric out of range: overflow of avg() beyond {DIGITS_MAX} digits"),
        }
    }

    fn value(self, total: i128, rows: u64) -> Result<ScalarValue> {
        let value = self.average(total, rows)?;
        Ok(ScalarValue::Decimal128(value, self.result.0, self.result.1))
    }
}

fn decimals(array: &ArrayRef) -> Result<&Decimal128Array> {
    let Some(values) = array.as_primitive_opt::<Decimal128Type>() else {
        return exec_err!("avg() does not take {}", array.data_type());
    };
    Ok(values)
}

fn first(values: &[ArrayRef]) -> Result<&Decimal128Array> {
    let [values] = values else {
        return exec_err!("avg() takes one argument");
    };
    decimals(values)
}

/// Counts and sums.
fn parts(states: &[ArrayRef]) -> Result<(&UInt64Array, &Decimal128Array)> {
    let [counts, sums] = states else {
        return exec_err!("avg() has two states");
    };
    Ok((counts.as_primitive::<UInt64Type>(), decimals(sums)?))
}

#[derive(Debug)]
struct Average {
    shape: Shape,
    total: i128,
    rows: u64,
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (mut adding, mut total, mut rows) = (Adding::new("avg"), self.total, self.rows);
        decimals::each(first(values)?, None, |_, value| {
            adding.add(&mut total, value);
            rows += 1;
        });
        (self.total, self.rows) = (total, rows);
        adding.done()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut adding = Adding::new("avg");
        for value in first(values)?.iter().flatten() {
            adding.add(&mut self.total, value.wrapping_neg());
            self.rows = self.rows.saturating_sub(1);
        }
        adding.done()
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.shape.value(self.total, self.rows)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::UInt64(Some(self.rows)),
            ScalarValue::Decimal128(Some(self.total), DIGITS_MAX, self.shape.scale),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (counts, sums) = parts(states)?;
        let mut adding = Adding::new("avg");
        for (count, sum) in counts.iter().zip(sums) {
            adding.add(&mut self.total, sum.unwrap_or(0));
            self.rows += count.unwrap_or(0);
        }
        adding.done()
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

#[derive(Debug)]
struct DistinctAverage {
    shape: Shape,
    values: Different,
}

impl Accumulator for DistinctAverage {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in first(values)?.iter().flatten() {
            self.values.take(value);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in first(values)?.iter().flatten() {
            self.values.retract(value);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.shape
            .value(self.values.total("avg")?, self.values.count())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state(self.shape.state())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states
            .iter()
            .flat_map(|state| state.as_list::<i32>().iter());
        for list in lists.flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.size()
    }
}

#[derive(Debug)]
struct GroupAverages {
    shape: Shape,
    totals: Vec<i128>,
    rows: Vec<u64>,
}

impl GroupsAccumulator for GroupAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.totals.resize(count, 0);
        self.rows.resize(count, 0);
        let mut adding = Adding::new("avg");
        let (totals, rows) = (&mut self.totals, &mut self.rows);
        decimals::each(first(values)?, filter, |row, value| {
            let group = groups[row];
            adding.add(&mut totals[group], value);
            rows[group] += 1;
        });
        adding.done()
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.totals.resize(count, 0);
        self.rows.resize(count, 0);
        let (counts, sums) = parts(states)?;
        let mut adding = Adding::new("avg");
        for ((rows, total), group) in counts.iter().zip(sums).zip(groups) {
            adding.add(&mut self.totals[*group], total.unwrap_or(0));
            self.rows[*group] += rows.unwrap_or(0);
        }
        adding.done()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let totals = emit.take_needed(&mut self.totals);
        let rows = emit.take_needed(&mut self.rows);
        let pairs = totals.into_iter().zip(rows);
        let averages = pairs
            .map(|(total, rows)| self.shape.average(total, rows))
            .collect::<Result<Decimal128Array>>()?;
        let (digits, scale) = self.shape.result;
        Ok(Arc::new(
            averages.with_data_type(DataType::Decimal128(digits, scale)),
        ))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = emit.take_needed(&mut self.totals);
        let rows = emit.take_needed(&mut self.rows);
        let totals = Decimal128Array::new(totals.into(), None);
        Ok(vec![
            Arc::new(UInt64Array::from(rows)),
            Arc::new(totals.with_data_type(self.shape.state())),
        ])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = first(values)?;
        let mut parts = vec![None; values.len()];
        decimals::each(values, filter, |row, value| parts[row] = Some(value));
        let counts = parts.iter().map(|part| u64::from(part.is_some()));
        let totals: Decimal128Array = parts.iter().map(|part| part.or(Some(0))).collect();
        Ok(vec![
            Arc::new(UInt64Array::from_iter_values(counts)),
            Arc::new(totals.with_data_type(self.shape.state())),
        ])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.rows.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_of_parts_are_rounded() {
        let shape = Shape {
            scale: 2,
            result: (27, 16),
        };
        let new = || GroupAverages {
            shape,
            totals: vec![],
            rows: vec![],
        };
        let values = Decimal128Array::from(vec![100, 200, 200])
            .with_precision_and_scale(12, 2)
            .unwrap();
        let values: ArrayRef = Arc::new(values);
        let mut part = new();
        let groups = [0, 0, 1];
        part.update_batch(&[Arc::clone(&values)], &groups, None, 3)
            .unwrap();
        let state = part.state(EmitTo::All).unwrap();
        let mut whole = new();
        whole.merge_batch(&state, &[0, 0, 1], 2).unwrap();
        let direct = whole.convert_to_state(&[values], None).unwrap();
        whole.merge_batch(&direct, &[1, 1, 1], 2).unwrap();
        let averages = whole.evaluate(EmitTo::All).unwrap();
        let averages: Vec<_> = averages.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(
            averages,
            [Some(16_666_666_666_666_667), Some(16_666_666_666_666_667)]
        );
    }
}
