//! What `= ANY (array)` needs to know of an array: whether an item of it is NULL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function, which workers meet in plans.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(NullIn::new()))
}

/// NULL for an array with a NULL in it, else false: `x = ANY (a) OR tarn_null_in(a)` is what SQL says of `x = ANY (a)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NullIn {
    signature: Signature,
}

impl NullIn {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NullIn {
    fn name(&self) -> &'static str {
        "tarn_null_in"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[..] {
            [ColumnarValue::Array(array)] => ColumnarValue::Array(Arc::new(nulls_in(array))),
            [ColumnarValue::Scalar(value)] => {
                let found = nulls_in(&value.to_array()?);
                ColumnarValue::Scalar(ScalarValue::Boolean(found.iter().next().flatten()))
            }
            _ => return exec_err!("tarn_null_in takes one argument"),
        })
    }
}

fn nulls_in(array: &ArrayRef) -> BooleanArray {
    let without =
        |items: Option<ArrayRef>| items.is_some_and(|items| items.logical_null_count() == 0);
    let answer = |without: bool| without.then_some(false);
    if let Some(lists) = array.as_list_opt::<i32>() {
        lists.iter().map(|items| answer(without(items))).collect()
    } else if let Some(lists) = array.as_list_opt::<i64>() {
        lists.iter().map(|items| answer(without(items))).collect()
    } else if let Some(lists) = array.as_fixed_size_list_opt() {
        lists.iter().map(|items| answer(without(items))).collect()
    } else {
        BooleanArray::new_null(array.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::Int32Type;

    #[test]
    fn an_array_with_a_null_is_not_known() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(1), None]),
            Some(vec![]),
            None,
        ]));
        let known: Vec<_> = nulls_in(&lists).iter().collect();
        assert_eq!(known, [Some(false), None, Some(false), None]);
    }
}
