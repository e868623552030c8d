//! Parameter values as a JSON client sends them.

use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use serde_json::Value;

use crate::error::{EngineError, ErrorKind};

/// The value of a parameter; its type is coerced where it is used.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for an object.
pub fn parameter(value: &Value) -> Result<ScalarValue, EngineError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ScalarValue::Int64(Some(whole)),
            (None, Some(float)) => ScalarValue::Float64(Some(float)),
            (None, None) => {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    format!("parameter {number} is out of range"),
                ));
            }
        },
        Value::String(text) => ScalarValue::Utf8View(Some(text.clone())),
        Value::Array(items) => {
            let items = items.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
            let ty = items
                .iter()
                .find(|i| !i.is_null())
                .map_or(DataType::Null, ScalarValue::data_type);
            if items.iter().any(|i| !i.is_null() && i.data_type() != ty) {
                return Err(EngineError::new(
                    ErrorKind::InvalidParameter,
                    "the items of an array parameter must have one type",
                ));
            }
            let typed_null = ScalarValue::try_from(&ty)?;
            let items: Vec<_> = items
                .into_iter()
                .map(|i| if i.is_null() { typed_null.clone() } else { i })
                .collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&items, &ty))
        }
        Value::Object(_) => {
            return Err(EngineError::new(
                ErrorKind::InvalidParameter,
                "a parameter must be null, a boolean, a number, a string or an array",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_array_may_hold_nulls_and_only_one_type() {
        assert!(matches!(
            parameter(&json!([1, null, 3])),
            Ok(ScalarValue::List(list)) if list.value(0).len() == 3
        ));
        assert!(parameter(&json!([null])).is_ok());
        assert!(parameter(&json!([1, "a"])).is_err());
        assert!(parameter(&json!({"a": 1})).is_err());
    }
}
