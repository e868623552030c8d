//! Patterns of PostgreSQL as regular expressions of the engine: `SIMILAR TO` and the words `\m`, `\M`, `\y`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function, which workers meet in plans.
pub(super) fn functions() -> [Arc<ScalarUDF>; 1] {
    [Arc::new(ScalarUDF::from(Similar::new()))]
}

/// `tarn_similar(pattern, escape)`: a pattern of SIMILAR TO as a regular expression.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Similar {
    signature: Signature,
}

impl Similar {
    fn new() -> Self {
        let texts = vec![DataType::Utf8; 2];
        Self {
            signature: Signature::exact(texts, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Similar {
    fn name(&self) -> &'static str {
        "tarn_similar"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let each = |arrays: &[ArrayRef]| {
            let [patterns, escapes] = arrays else {
                return exec_err!("tarn_similar takes two arguments");
            };
            let patterns = cast(patterns, &DataType::Utf8)?;
            let escapes = cast(escapes, &DataType::Utf8)?;
            let (patterns, escapes) = (patterns.as_string::<i32>(), escapes.as_string::<i32>());
            let values = (0..patterns.len())
                .map(|row| {
                    if patterns.is_null(row) || escapes.is_null(row) {
                        return Ok(None);
                    }
                    similar(patterns.value(row), escapes.value(row)).map(Some)
                })
                .collect::<Result<Vec<_>>>()?;
            let values: ArrayRef = Arc::new(StringArray::from(values));
            Ok(values)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

/// The regular expression of a pattern. Source: PostgreSQL, "SIMILAR TO Regular Expressions".
fn similar(pattern: &str, escape: &str) -> Result<String> {
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        return exec_err!("invalid escape string: it must be empty or one character");
    }
    let mut out = String::from("^(?s:");
    let mut brackets = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let Some(next) = chars.next() else {
                return exec_err!("invalid escape sequence: nothing follows the escape character");
            };
            if !next.is_alphanumeric() {
                out.push('\\');
            }
            out.push(next);
        } else if brackets {
            brackets = c != ']';
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        } else {
            match c {
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '[' => {
                    brackets = true;
                    out.push('[');
                }
                '.' | '^' | '$' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                other => out.push(other),
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, wanted: &str) {
        assert_eq!(similar(pattern, "\\").unwrap(), wanted, "{pattern}");
    }

    #[test]
    fn a_pattern_is_a_whole_regular_expression() {
        check("(a|b)%", "^(?s:(?:a|b).*)$");
        check("a_c", "^(?s:a.c)$");
        check("a.c^$", "^(?s:a\\.c\\^\\$)$");
        check("[a-c%_]+", "^(?s:[a-c%_]+)$");
        check("100\\%", "^(?s:100\\%)$");
        assert!(similar("a\\", "\\").is_err());
        assert_eq!(similar("a#_b\\", "#").unwrap(), "^(?s:a\\_b\\\\)$");
    }
}
