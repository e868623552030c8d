//! Values that PostgreSQL reads from text and Arrow does not: arrays (`{1,NULL}`) and intervals
//! (`1 day 02:03:04.5`, `P1DT2H`).
//!
//! Casts of text to such types are planned as the functions here. Knows values, no plans' shapes.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, ListArray, StringViewArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use datafusion::scalar::ScalarValue;

use crate::casts::{bytes_of, invalid, uuid_type, uuids_of};
use crate::temporal;

/// Deepest nesting of an array's braces. Source: PostgreSQL, `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// Whether text becomes `ty` here.
pub(crate) fn reads(ty: &DataType) -> bool {
    temporal::reads(ty)
        || matches!(
            ty,
            DataType::List(_) | DataType::Interval(IntervalUnit::MonthDayNano)
        )
}

/// `text` as a value of `ty`; leniently, NULL for what is none.
pub(crate) fn call(text: Expr, ty: &DataType, lenient: bool) -> Result<Expr> {
    let target = lit(ScalarValue::try_from(ty)?);
    Ok(ScalarUDF::from(FromText::new(lenient)).call(vec![text, target]))
}

/// The functions, for the processes that may meet them in a plan.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|lenient| Arc::new(ScalarUDF::from(FromText::new(lenient))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FromText {
    lenient: bool,
    signature: Signature,
}

impl FromText {
    fn new(lenient: bool) -> Self {
        Self {
            lenient,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for FromText {
    fn name(&self) -> &str {
        if self.lenient {
            "tarn_try_from_text"
        } else {
            "tarn_from_text"
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if let [_, ty] = arguments {
            Ok(ty.clone())
        } else {
            exec_err!("{} takes a text and a typed NULL", self.name())
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let ty = args
            .arg_fields
            .get(1)
            .map(|field| field.data_type().clone());
        Ok(Arc::new(Field::new(
            self.name(),
            ty.unwrap_or(DataType::Null),
            true,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, _] = &args.args[..] else {
            return exec_err!("{} takes a text and a typed NULL", self.name());
        };
        let target = args.return_field.data_type();
        let (array, scalar) = match text {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        let texts = cast(&array, &DataType::Utf8View)?;
        let zone = args.config_options.execution.time_zone.as_deref();
        let how = How {
            lenient: self.lenient,
            zone: zone.unwrap_or("UTC"),
        };
        let values = convert(texts.as_string_view(), target, how)?;
        Ok(
            if let (true, Some(list)) = (scalar, values.as_list_opt::<i32>()) {
                // Keeps what the field of the items says of them.
                ColumnarValue::Scalar(ScalarValue::List(Arc::new(list.clone())))
            } else if scalar {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
            } else {
                ColumnarValue::Array(values)
            },
        )
    }
}

/// How texts are read.
#[derive(Clone, Copy)]
struct How<'a> {
    /// What is no value is NULL.
    lenient: bool,
    /// The session's time zone.
    zone: &'a str,
}

/// Texts as values of `ty`.
fn convert(texts: &StringViewArray, ty: &DataType, how: How<'_>) -> Result<ArrayRef> {
    let lenient = how.lenient;
    match ty {
        DataType::List(item) => lists(texts, item, how),
        ty if temporal::reads(ty) => temporal::read(texts, ty, how.zone, lenient),
        DataType::Interval(IntervalUnit::MonthDayNano) => intervals(texts, lenient),
        ty if *ty == uuid_type() => uuids_of(texts, lenient),
        DataType::BinaryView | DataType::Binary => Ok(cast(&bytes_of(texts, lenient)?, ty)?),
        _ => {
            let options = CastOptions {
                safe: lenient,
                ..CastOptions::default()
            };
            let texts: ArrayRef = Arc::new(texts.clone());
            Ok(cast_with_options(&texts, ty, &options)?)
        }
    }
}

fn intervals(texts: &StringViewArray, lenient: bool) -> Result<ArrayRef> {
    let mut out = Vec::with_capacity(texts.len());
    for text in texts {
        out.push(match text.map(temporal::interval) {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(_)) if lenient => None,
            Some(Err(error)) => return Err(error),
        });
    }
    Ok(Arc::new(IntervalMonthDayNanoArray::from(out)))
}

fn lists(texts: &StringViewArray, item: &FieldRef, how: How<'_>) -> Result<ArrayRef> {
    let mut items: Vec<Option<String>> = vec![];
    let mut lengths = Vec::with_capacity(texts.len());
    let mut valid = Vec::with_capacity(texts.len());
    for text in texts {
        let before = items.len();
        match text.map(|text| (text, parse_items(text))) {
            None => valid.push(false),
            Some((_, Some(found))) => {
                items.extend(found);
                valid.push(true);
            }
            Some((_, None)) if how.lenient => valid.push(false),
            Some((text, None)) => return Err(malformed(text)),
        }
        lengths.push(items.len() - before);
    }
    let items: StringViewArray = items.into_iter().collect();
    let values = convert(&items, item.data_type(), how)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}

fn malformed(text: &str) -> DataFusionError {
    let error = invalid("array", text);
    error.context("malformed array literal")
}

/// The items of `{…}`; those that are arrays themselves stay text.
/// Source: PostgreSQL, "Array Input and Output Syntax".
fn parse_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = vec![];
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut rest = inner;
    loop {
        rest = rest.trim_start();
        let (item, after) = match rest.chars().next()? {
            '"' => quoted(&rest[1..])?,
            '{' => nested(rest)?,
            _ => bare(rest)?,
        };
        items.push(item);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(items),
            None => return None,
        }
    }
}

/// What stands between quotes, and what comes after them.
fn quoted(text: &str) -> Option<(Option<String>, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((Some(out), &text[at + 1..])),
            (_, '\\') => out.push(characters.next()?.1),
            (_, character) => out.push(character),
        }
    }
}

/// A whole inner array as text, and what comes after it.
fn nested(text: &str) -> Option<(Option<String>, &str)> {
    let (mut depth, mut in_quotes, mut escaped) = (0usize, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_quotes = !in_quotes,
            '{' if !in_quotes => depth += 1,
            '}' if !in_quotes => depth -= 1,
            _ => {}
        }
        if depth > DIMENSIONS_MAX {
            return None;
        }
        if depth == 0 {
            let end = at + character.len_utf8();
            return Some((Some(text[..end].to_owned()), &text[end..]));
        }
    }
    None
}

/// An item without quotes, and what comes after it.
fn bare(text: &str) -> Option<(Option<String>, &str)> {
    let end = text.find(',').unwrap_or(text.len());
    let item = text[..end].trim_end();
    if item.is_empty() || item.contains(['{', '}', '"']) {
        return None;
    }
    let value = (!item.eq_ignore_ascii_case("null")).then(|| item.replace('\\', ""));
    Some((value, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_items(text: &str, expected: Option<&[Option<&str>]>) {
        let got = parse_items(text);
        let got: Option<Vec<Option<&str>>> = got
            .as_ref()
            .map(|items| items.iter().map(Option::as_deref).collect());
        assert_eq!(got.as_deref(), expected, "{text}");
    }

    #[test]
    fn arrays_are_read_as_postgresql_writes_them() {
        check_items("{}", Some(&[]));
        check_items(" { 1 , NULL,3 } ", Some(&[Some("1"), None, Some("3")]));
        check_items(
            r#"{"a,b","NULL","q\"\\",x y}"#,
            Some(&[Some("a,b"), Some("NULL"), Some("q\"\\"), Some("x y")]),
        );
        check_items("{{1,2},{3}}", Some(&[Some("{1,2}"), Some("{3}")]));
        check_items("1,2", None);
        check_items("{1,}", None);
        check_items("{1", None);
        check_items("{\"a}", None);
        check_items("{{1}", None);
    }
}
