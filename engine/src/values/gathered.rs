//! `array_agg` with all the memory that it holds counted.
//!
//! DataFusion's own counts the values of a text column in Parquet's form at 16 bytes each, whatever their length, so a
//! statement could take any amount of memory beside its bound. Changes no answer.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, Signature,
};

/// The function, for every process of the cluster.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Gathered {
        inner: Arc::unwrap_or_clone(array_agg_udaf()),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathered {
    inner: AggregateUDF,
}

impl AggregateUDFImpl for Gathered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.inner().return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner.inner().is_nullable()
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.inner().state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        // These copy what they keep, and count it well.
        let copies = args.is_distinct || !args.order_bys.is_empty();
        let inner = self.inner.inner().accumulator(args)?;
        if copies {
            return Ok(inner);
        }
        Ok(Box::new(Counted {
            inner,
            held: Held::default(),
        }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let copies = args.is_distinct || !args.order_bys.is_empty();
        let inner = self.inner.inner().create_groups_accumulator(args)?;
        if copies {
            return Ok(inner);
        }
        Ok(Box::new(Counted {
            inner,
            held: Held::default(),
        }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.inner().create_sliding_accumulator(args)
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        // The values of an ordered one are counted well by DataFusion.
        Arc::clone(self.inner.inner()).with_beneficial_ordering(beneficial_ordering)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.inner().order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.inner().reverse_expr()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.inner().supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The buffers of texts that an accumulator may hold on to, each counted once.
#[derive(Debug, Default)]
struct Held {
    known: HashSet<usize>,
    bytes: usize,
}

impl Held {
    fn note(&mut self, array: &dyn Array) {
        if array.is_empty() {
            return;
        }
        match array.data_type() {
            DataType::Utf8View => self.buffers(array.as_string_view().data_buffers()),
            DataType::BinaryView => self.buffers(array.as_binary_view().data_buffers()),
            DataType::List(_) => self.note(array.as_list::<i32>().values()),
            DataType::LargeList(_) => self.note(array.as_list::<i64>().values()),
            DataType::Struct(_) => {
                for column in array.as_struct().columns() {
                    self.note(column);
                }
            }
            _ => {}
        }
    }

    fn buffers(&mut self, buffers: &[Buffer]) {
        for buffer in buffers {
            if self.known.insert(buffer.data_ptr().as_ptr() as usize) {
                self.bytes += buffer.capacity();
            }
        }
    }

    fn size(&self) -> usize {
        self.bytes + self.known.capacity() * size_of::<usize>()
    }
}

/// An accumulator of DataFusion's and what it holds besides.
#[derive(Debug)]
struct Counted<T: ?Sized> {
    held: Held,
    inner: Box<T>,
}

impl Accumulator for Counted<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for array in values {
            self.held.note(array);
        }
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for array in states {
            self.held.note(array);
        }
        self.inner.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        self.inner.size() + self.held.size()
    }
}

impl GroupsAccumulator for Counted<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        for array in values {
            self.held.note(array);
        }
        self.inner
            .update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        for array in values {
            self.held.note(array);
        }
        self.inner
            .merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        if matches!(emit_to, EmitTo::All) {
            self.held = Held::default();
        }
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        if matches!(emit_to, EmitTo::All) {
            self.held = Held::default();
        }
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.held.size()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ListArray, StringViewArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn the_buffers_of_texts_count_once() {
        let text = "x".repeat(1000);
        let texts = StringViewArray::from_iter_values(vec![text.as_str(); 100]);
        let mut held = Held::default();
        held.note(&texts.slice(0, 50));
        held.note(&texts.slice(50, 50));
        assert!((1000..1_000_000).contains(&held.bytes), "{}", held.bytes);
        let before = held.bytes;
        held.note(&texts);
        let numbers = vec![Some(vec![Some(1), None]), None];
        held.note(&ListArray::from_iter_primitive::<Int32Type, _, _>(numbers));
        assert_eq!(held.bytes, before);
    }
}
