//! What sums and averages of decimals share: additions that do not wrap, and different values.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, Decimal128Array, ListArray, PrimitiveArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::error::DataFusionError;

/// Most digits of a decimal.
pub(super) const DIGITS_MAX: u8 = 38;

/// A total that remembers whether an addition had no room, so that loops need not stop at each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adding<'a> {
    function: &'a str,
    wrapped: bool,
}

impl<'a> Adding<'a> {
    /// For `function`.
    pub(super) fn new(function: &'a str) -> Self {
        Self {
            function,
            wrapped: false,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, total: &mut i128, value: i128) {
        let (sum, wrapped) = total.overflowing_add(value);
        *total = sum;
        self.wrapped |= wrapped;
    }

    /// Fails if an addition had no room.
    pub(super) fn done(self) -> Result<()> {
        if self.wrapped {
            return Err(too_large(self.function));
        }
        Ok(())
    }
}

fn too_large(function: &str) -> DataFusionError {
    exec_datafusion_err!(
        "numeric out of range: overflow of {function}() beyond {DIGITS_MAX} digits"
    )
}

/// The values of the rows that `filter` lets through, each with its row.
#[inline]
pub(super) fn each<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    filter: Option<&BooleanArray>,
    mut take: impl FnMut(usize, i128),
) where
    T::Native: Into<i128>,
{
    match (filter, values.null_count()) {
        (None, 0) => {
            for (row, value) in values.values().iter().enumerate() {
                take(row, (*value).into());
            }
        }
        _ => {
            for (row, value) in values.iter().enumerate() {
                let wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                if let Some(value) = value.filter(|_| wanted) {
                    take(row, value.into());
                }
            }
        }
    }
}

/// The items of a list of different values of type `ty`.
pub(super) fn item(ty: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(ty, true))
}

/// Different values, each with the number of rows that have it.
#[derive(Debug, Default)]
pub(super) struct Different {
    rows: HashMap<i128, u64>,
}

impl Different {
    pub(super) fn take(&mut self, value: i128) {
        *self.rows.entry(value).or_default() += 1;
    }

    /// Takes a row out again.
    pub(super) fn retract(&mut self, value: i128) {
        if let Some(rows) = self.rows.get_mut(&value) {
            *rows -= 1;
            if *rows == 0 {
                self.rows.remove(&value);
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The sum of the values, for `function`.
    pub(super) fn total(&self, function: &str) -> Result<i128> {
        let (mut adding, mut total) = (Adding::new(function), 0);
        for value in self.rows.keys() {
            adding.add(&mut total, *value);
        }
        adding.done()?;
        Ok(total)
    }

    /// The values as a list of type `ty`, on their way to the whole.
    pub(super) fn state(&self, ty: DataType) -> Result<Vec<ScalarValue>> {
        let values: Decimal128Array = self.rows.keys().copied().map(Some).collect();
        let values = values.with_data_type(ty.clone());
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        let list = ListArray::try_new(item(ty), offsets, Arc::new(values), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    pub(super) fn size(&self) -> usize {
        self.rows.capacity() * size_of::<(i128, u64)>()
    }
}
