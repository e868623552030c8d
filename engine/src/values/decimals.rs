//! What sums and averages of decimals share: additions that do not wrap, and different values.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Decimal128Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};

/// Most digits of a decimal.
pub(super) const DIGITS_MAX: u8 = 38;

/// The sum of two parts of what `function` adds up.
pub(super) fn add(left: i128, right: i128, function: &str) -> Result<i128> {
    let Some(total) = left.checked_add(right) else {
        return exec_err!(
            "numeric out of range: overflow of {function}() beyond {DIGITS_MAX} digits"
        );
    };
    Ok(total)
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
        self.rows
            .keys()
            .try_fold(0, |total, value| add(total, *value, function))
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
