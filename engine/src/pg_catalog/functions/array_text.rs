//! Arrays of texts, written as PostgreSQL writes them: `{a,"b c",NULL}`.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Whether an array of type `ty` is written here.
pub(super) fn writes(ty: &DataType) -> bool {
    matches!(ty, DataType::List(item) if *item.data_type() == DataType::Utf8)
}

/// `array` as its text.
pub(super) fn call(array: Expr) -> Expr {
    let function = ArrayText {
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::from(function).call(vec![array])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayText {
    signature: Signature,
}

impl ScalarUDFImpl for ArrayText {
    fn name(&self) -> &'static str {
        "tarn_array_out"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(lists) = arrays.first().and_then(|array| array.as_list_opt::<i32>()) else {
            return exec_err!("tarn_array_out takes an array");
        };
        let written: Result<StringArray> = lists
            .iter()
            .map(|list| list.map(|list| text(&list)).transpose())
            .collect();
        Ok(ColumnarValue::Array(Arc::new(written?)))
    }
}

/// Source: PostgreSQL 15, `array_out`.
fn text(list: &ArrayRef) -> Result<String> {
    let Some(items) = list.as_string_opt::<i32>() else {
        return exec_err!("tarn_array_out takes an array of texts");
    };
    let mut out = String::from("{");
    for at in 0..items.len() {
        if at > 0 {
            out.push(',');
        }
        if items.is_null(at) {
            out.push_str("NULL");
            continue;
        }
        let item = items.value(at);
        let plain = |c: char| !c.is_whitespace() && !"{},\"\\".contains(c);
        if !item.is_empty() && !item.eq_ignore_ascii_case("null") && item.chars().all(plain) {
            out.push_str(item);
        } else {
            let escaped = item.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(out, "\"{escaped}\"");
        }
    }
    out.push('}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_postgresql_writes_them() {
        let items = vec![
            Some("bigint"),
            Some("a b"),
            None,
            Some(""),
            Some("q\"\\"),
            Some("null"),
        ];
        let list: ArrayRef = Arc::new(StringArray::from(items));
        let written = text(&list).unwrap();
        assert_eq!(written, r#"{bigint,"a b",NULL,"","q\"\\","null"}"#);
        let none: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        assert_eq!(text(&none).unwrap(), "{}");
    }
}
