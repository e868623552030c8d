//! PostgreSQL's functions of plain values that DataFusion does not have: `format`, `array_lower`, `array_upper`, `json_build_object`.
//!
//! They know nothing but their arguments and so run anywhere.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::names::{literal, quoted};
use crate::pg_catalog::types::PG_TYPE_KEY;
use crate::values::json::made;
use crate::values::jsonb::normalized;

/// The names of the functions that a statement may call.
pub(crate) const NAMES: [&str; 7] = [
    "array_lower",
    "array_upper",
    "format",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
];

/// Every function of this module.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .into_iter()
        .chain(["tarn_like"])
        .map(|name| {
            Arc::new(ScalarUDF::from(Plain {
                name,
                signature: Signature::one_of(
                    vec![
                        datafusion::logical_expr::TypeSignature::VariadicAny,
                        datafusion::logical_expr::TypeSignature::Nullary,
                    ],
                    Volatility::Immutable,
                ),
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Plain {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Plain {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.name {
            "array_lower" | "array_upper" => DataType::Int32,
            _ => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name, self.return_type(&[])?, true);
        let noted = match self.name {
            name if name.starts_with("jsonb") => "jsonb",
            name if name.starts_with("json") => "json",
            _ => return Ok(Arc::new(field)),
        };
        let metadata = [(PG_TYPE_KEY.to_owned(), noted.to_owned())];
        Ok(Arc::new(field.with_metadata(metadata.into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if scalar { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(count))
            .collect::<Result<Vec<_>>>()?;
        let fields = &args.arg_fields[..];
        let out: ArrayRef = match self.name {
            "array_lower" => bounds(&arrays, |_| 1)?,
            "array_upper" => bounds(&arrays, |length| length)?,
            "format" => texts(count, |row| format(&arrays, row))?,
            "json_build_array" => texts(count, |row| Ok(Some(json_array(&arrays, fields, row)?)))?,
            "jsonb_build_array" => texts(count, |row| {
                Ok(normalized(&json_array(&arrays, fields, row)?))
            })?,
            "tarn_like" => texts(count, |row| Ok(translated(&arrays, row)))?,
            "jsonb_build_object" => texts(count, |row| {
                Ok(normalized(&json_object(&arrays, fields, row)?))
            })?,
            _ => texts(count, |row| Ok(Some(json_object(&arrays, fields, row)?)))?,
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(out))
    }
}

fn texts(count: usize, row: impl FnMut(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    let values = (0..count).map(row).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StringArray::from(values)))
}

/// A bound of the only dimension of each array; none of an empty one, nor in other dimensions.
fn bounds(arrays: &[ArrayRef], bound: impl Fn(i32) -> i32) -> Result<ArrayRef> {
    let [array, dimension] = arrays else {
        return exec_err!("an array and a dimension are expected");
    };
    let dimension = cast(dimension, &DataType::Int32)?;
    let dimension = dimension.as_primitive::<arrow::datatypes::Int32Type>();
    let Some(lists) = array.as_list_opt::<i32>() else {
        return Ok(Arc::new(Int32Array::new_null(array.len())));
    };
    let values = (0..lists.len()).map(|row| {
        let known = lists.is_valid(row) && dimension.is_valid(row) && dimension.value(row) == 1;
        let length = if known { lists.value(row).len() } else { 0 };
        i32::try_from(length)
            .ok()
            .filter(|length| *length > 0)
            .map(&bound)
    });
    Ok(Arc::new(values.collect::<Int32Array>()))
}

/// The text of a value; none for NULL.
fn text(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) || array.data_type().is_null() {
        return Ok(None);
    }
    if *array.data_type() == DataType::Boolean {
        let word = if array.as_boolean().value(row) {
            "t"
        } else {
            "f"
        };
        return Ok(Some(word.to_owned()));
    }
    let options = FormatOptions::default();
    Ok(Some(
        ArrayFormatter::try_new(array, &options)?
            .value(row)
            .try_to_string()?,
    ))
}

/// `format(template, …)`. Source: PostgreSQL, "String Functions": `%s`, `%I`, `%L`, `%%`, `%1$s` and widths.
fn format(arrays: &[ArrayRef], row: usize) -> Result<Option<String>> {
    let Some((template, values)) = arrays.split_first() else {
        return exec_err!("format wants a template");
    };
    let Some(template) = text(template, row)? else {
        return Ok(None);
    };
    let mut out = String::new();
    let mut next = 0;
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut spec = String::new();
        let kind = loop {
            match chars.next() {
                Some(kind @ ('s' | 'I' | 'L')) => break kind,
                Some(c) if c.is_ascii_digit() || c == '$' || c == '-' => spec.push(c),
                _ => return exec_err!("unrecognized format() type specifier"),
            }
        };
        let (place, width) = match spec.split_once('$') {
            Some((place, width)) => (place.parse::<usize>().ok(), width),
            None => (None, spec.as_str()),
        };
        let at = place.map_or(next, |place| place.saturating_sub(1));
        next = at + 1;
        let Some(value) = values.get(at) else {
            return exec_err!("too few arguments for format()");
        };
        let value = match (kind, text(value, row)?) {
            ('I', None) => {
                return exec_err!("null values cannot be formatted as an SQL identifier");
            }
            ('I', Some(name)) => quoted(&name),
            ('L', None) => "NULL".to_owned(),
            ('L', Some(value)) => literal(&value),
            (_, value) => value.unwrap_or_default(),
        };
        let length = width.trim_start_matches('-').parse::<usize>().unwrap_or(0);
        // Writing to a String does not fail.
        let _ = if width.starts_with('-') {
            write!(out, "{value:<length$}")
        } else {
            write!(out, "{value:>length$}")
        };
    }
    Ok(Some(out))
}

/// A pattern whose escape character is the backslash.
fn translated(arrays: &[ArrayRef], row: usize) -> Option<String> {
    let [pattern, escape] = arrays else {
        return None;
    };
    let pattern = text(pattern, row).ok()??;
    let escape = text(escape, row).ok()??.chars().next();
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            if let Some(next) = chars.next() {
                out.push('\\');
                out.push(next);
            }
        } else {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
    }
    Some(out)
}

fn json_array(arrays: &[ArrayRef], fields: &[FieldRef], row: usize) -> Result<String> {
    let items = arrays.iter().zip(fields);
    let items = items.map(|(array, field)| made(array, field, row));
    Ok(format!(
        "[{}]",
        items.collect::<Result<Vec<_>>>()?.join(", ")
    ))
}

fn json_object(arrays: &[ArrayRef], fields: &[FieldRef], row: usize) -> Result<String> {
    if !arrays.len().is_multiple_of(2) {
        return exec_err!("argument list must have even number of elements");
    }
    let mut pairs = Vec::new();
    for (pair, fields) in arrays.chunks(2).zip(fields.chunks(2)) {
        let ([name, value], [_, field]) = (pair, fields) else {
            continue;
        };
        let Some(name) = text(name, row)? else {
            return exec_err!("null value not allowed for object key");
        };
        let name = serde_json::Value::String(name);
        pairs.push(format!("{name} : {}", made(value, field, row)?));
    }
    Ok(format!("{{{}}}", pairs.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(text: Option<&str>) -> ArrayRef {
        Arc::new(StringArray::from(vec![text]))
    }

    #[test]
    fn formats_are_filled_in_as_in_postgresql() {
        let check = |template: &str, values: &[Option<&str>], wanted: &str| {
            let mut arrays = vec![array(Some(template))];
            arrays.extend(values.iter().map(|value| array(*value)));
            assert_eq!(
                format(&arrays, 0).unwrap().as_deref(),
                Some(wanted),
                "{template}"
            );
        };
        check("%I.%I", &[Some("Main"), Some("t")], "\"Main\".t");
        check("%2$s %1$L %%", &[None, Some("x")], "x NULL %");
        check("[%5s|%-5s]", &[Some("a"), Some("b")], "[    a|b    ]");
    }

    #[test]
    fn escapes_become_backslashes() {
        let translate = |pattern: &str| translated(&[array(Some(pattern)), array(Some("/"))], 0);
        assert_eq!(translate("pg/_%").as_deref(), Some("pg\\_%"));
        assert_eq!(translate("a//\\").as_deref(), Some("a\\/\\\\"));
    }

    #[test]
    fn objects_are_written_as_postgresql_writes_them() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        let arrays = [array(Some("a")), numbers, array(Some("b")), array(None)];
        let fields: Vec<FieldRef> = arrays
            .iter()
            .map(|array| Arc::new(Field::new("", array.data_type().clone(), true)))
            .collect();
        assert_eq!(
            json_object(&arrays, &fields, 0).unwrap(),
            "{\"a\" : 7, \"b\" : null}"
        );
    }
}
