//! JSON as PostgreSQL takes it apart and makes it: `->`, `->>`, `#>`, `#>>`, `to_json`.
//!
//! JSON is text; a part of it keeps its spelling.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use serde::de::IgnoredAny;

use super::jsonb::normalized;
use crate::casts::invalid;
use crate::pg_catalog::{PG_TYPE_KEY, pg_type_of};
use crate::printing;
use crate::text_forms;

/// Plans the operators on text.
#[derive(Debug)]
pub(super) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let part = match expr.op {
            BinaryOperator::Arrow | BinaryOperator::HashArrow => Part::Json,
            BinaryOperator::LongArrow | BinaryOperator::HashLongArrow => Part::Text,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        match expr.left.get_type(schema) {
            Ok(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) => {}
            _ => return Ok(PlannerResult::Original(expr)),
        }
        let is_path = matches!(
            expr.op,
            BinaryOperator::HashArrow | BinaryOperator::HashLongArrow
        );
        let key = match expr.right.get_type(schema) {
            // A path written as text: `'{a,b}'`.
            Ok(DataType::Utf8 | DataType::Utf8View) if is_path => {
                let item = Field::new_list_field(DataType::Utf8, true);
                text_forms::call(expr.right, &DataType::List(Arc::new(item)), false)?
            }
            _ => expr.right,
        };
        let call = ScalarUDF::from(Json::new(part)).call(vec![expr.left, key]);
        Ok(PlannerResult::Planned(call))
    }
}

/// The functions, which workers meet in plans.
pub(super) fn functions() -> [Arc<ScalarUDF>; 5] {
    [
        Part::Json,
        Part::Text,
        Part::Made,
        Part::MadeBinary,
        Part::Row,
    ]
    .map(|part| Arc::new(ScalarUDF::from(Json::new(part))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// A part as JSON.
    Json,
    /// A part as text.
    Text,
    /// A value as JSON.
    Made,
    /// A value as what PostgreSQL calls binary JSON.
    MadeBinary,
    /// A row as JSON, maybe with a line for each field.
    Row,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    part: Part,
    signature: Signature,
}

impl Json {
    fn new(part: Part) -> Self {
        let counts = match part {
            Part::Json | Part::Text => vec![2],
            Part::Made | Part::MadeBinary => vec![1],
            Part::Row => vec![1, 2],
        };
        let counts = counts.into_iter().map(TypeSignature::Any).collect();
        Self {
            part,
            signature: Signature::one_of(counts, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &'static str {
        match self.part {
            Part::Json => "tarn_json_part",
            Part::Text => "tarn_json_text",
            Part::Made => "to_json",
            Part::MadeBinary => "to_jsonb",
            Part::Row => "row_to_json",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), DataType::Utf8, true);
        let document = args.arg_fields.first();
        let noted = match self.part {
            Part::Text => return Ok(Arc::new(field)),
            Part::MadeBinary => "jsonb",
            Part::Json if document.is_some_and(|d| pg_type_of(d).name == "jsonb") => "jsonb",
            Part::Json | Part::Made | Part::Row => "json",
        };
        let metadata = [(PG_TYPE_KEY.to_owned(), noted.to_owned())];
        Ok(Arc::new(field.with_metadata(metadata.into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let fields = &args.arg_fields;
        let each = |arrays: &[ArrayRef]| {
            let values = match arrays {
                [values] => (0..values.len())
                    .map(|row| {
                        if values.is_null(row) || values.data_type().is_null() {
                            return Ok(None);
                        }
                        let document = made(values, &fields[0], row)?;
                        Ok(match self.part {
                            Part::MadeBinary => normalized(&document),
                            _ => Some(document),
                        })
                    })
                    .collect::<Result<StringArray>>()?,
                [rows, lines] if self.part == Part::Row => {
                    let lines = cast(lines, &DataType::Boolean)?;
                    let lines = lines.as_boolean();
                    (0..rows.len())
                        .map(|row| {
                            if rows.is_null(row) || lines.is_null(row) {
                                return Ok(None);
                            }
                            let document = made(rows, &fields[0], row)?;
                            Ok(Some(if lines.value(row) {
                                in_lines(&document)
                            } else {
                                document
                            }))
                        })
                        .collect::<Result<StringArray>>()?
                }
                [documents, keys] => {
                    let documents = cast(documents, &DataType::Utf8)?;
                    parts(documents.as_string::<i32>(), keys, self.part)?
                }
                _ => return exec_err!("{} takes one or two arguments", self.name()),
            };
            let values: ArrayRef = Arc::new(values);
            Ok(values)
        };
        make_scalar_function(each, vec![])(&args.args)
    }
}

/// A step into a document.
enum Step {
    Name(String),
    Index(i64),
}

fn parts(documents: &StringArray, keys: &ArrayRef, part: Part) -> Result<StringArray> {
    let steps = |row: usize| -> Result<Option<Vec<Step>>> {
        if keys.data_type().is_null() || keys.is_null(row) {
            return Ok(None);
        }
        if keys.data_type().is_integer() {
            let index = cast(&keys.slice(row, 1), &DataType::Int64)?;
            let index = index.as_primitive::<Int64Type>().value(0);
            return Ok(Some(vec![Step::Index(index)]));
        }
        if let Some(lists) = keys.as_list_opt::<i32>() {
            return Ok(path(&cast(&lists.value(row), &DataType::Utf8)?));
        }
        let name = cast(&keys.slice(row, 1), &DataType::Utf8)?;
        let name = name.as_string::<i32>().value(0).to_owned();
        Ok(Some(vec![Step::Name(name)]))
    };
    (0..documents.len())
        .map(|row| {
            if documents.is_null(row) {
                return Ok(None);
            }
            let Some(steps) = steps(row)? else {
                return Ok(None);
            };
            let document = documents.value(row);
            if serde_json::from_str::<IgnoredAny>(document).is_err() {
                return Err(invalid("json", document));
            }
            let found = steps
                .iter()
                .try_fold(document.trim(), |document, step| inside(document, step));
            Ok(match part {
                Part::Text => found.and_then(text_of),
                _ => found.map(str::to_owned),
            })
        })
        .collect()
}

/// A path of texts; a number may be an index, too.
fn path(items: &ArrayRef) -> Option<Vec<Step>> {
    let items = items.as_string::<i32>();
    let steps = items.iter().map(|item| {
        let item = item?;
        Some(
            item.parse()
                .map_or_else(|_| Step::Name(item.to_owned()), Step::Index),
        )
    });
    steps.collect()
}

/// A JSON value as text: a string without its quotes, NULL for null.
fn text_of(document: &str) -> Option<String> {
    match document {
        "null" => None,
        quoted if quoted.starts_with('"') => serde_json::from_str(quoted).ok(),
        other => Some(other.to_owned()),
    }
}

/// The items of a valid object or array, those of an object with their names as they are written.
pub(super) fn items_of(document: &str) -> Option<Vec<(Option<&str>, &str)>> {
    let is_object = document.starts_with('{');
    let inner = document.strip_prefix(['{', '['])?;
    let mut items: Vec<(Option<&str>, &str)> = vec![];
    let mut rest = inner.trim_start();
    while !rest.starts_with(['}', ']']) {
        let mut name = None;
        if is_object {
            let end = value_end(rest);
            name = Some(&rest[..end]);
            rest = rest[end..].trim_start().strip_prefix(':')?.trim_start();
        }
        let end = value_end(rest);
        items.push((name, rest[..end].trim_end()));
        rest = rest[end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(items)
}

/// What a step finds in a valid document. Of two fields of one name the last counts.
fn inside<'a>(document: &'a str, step: &Step) -> Option<&'a str> {
    let is_object = document.starts_with('{');
    let items = items_of(document)?;
    match step {
        Step::Index(index) if !is_object => {
            let length = i64::try_from(items.len()).ok()?;
            let at = if *index < 0 { length + index } else { *index };
            Some(items.get(usize::try_from(at).ok()?)?.1)
        }
        Step::Index(index) => named(&items, &index.to_string()),
        Step::Name(name) => named(&items, name),
    }
}

fn named<'a>(items: &[(Option<&str>, &'a str)], wanted: &str) -> Option<&'a str> {
    let found = items.iter().rev().find(|(name, _)| {
        name.and_then(|name| serde_json::from_str::<String>(name).ok())
            .is_some_and(|name| name == wanted)
    });
    found.map(|(_, value)| *value)
}

/// Where the value at the start of `text` ends.
fn value_end(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                if !quoted && depth == 0 {
                    return at + 1;
                }
            }
            _ if quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            '}' | ']' | ',' | ':' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// An object with a line for each of its fields. Source: PostgreSQL, `row_to_json`.
fn in_lines(document: &str) -> String {
    let fields = items_of(document).unwrap_or_default();
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("{}:{value}", name.unwrap_or_default()))
        .collect();
    format!("{{{}}}", fields.join(",\n "))
}

/// A value that is not NULL as JSON. Source: PostgreSQL, `to_json`.
pub(crate) fn made(array: &ArrayRef, field: &Field, row: usize) -> Result<String> {
    if array.is_null(row) || array.data_type().is_null() {
        return Ok("null".to_owned());
    }
    if matches!(pg_type_of(field).name, "json" | "jsonb")
        && let Some(document) = array.as_string_opt::<i32>()
    {
        return Ok(document.value(row).to_owned());
    }
    if matches!(pg_type_of(field).name, "json" | "jsonb")
        && let Some(document) = array.as_string_view_opt()
    {
        return Ok(document.value(row).to_owned());
    }
    let plain = || -> Result<String> {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(array, &options)?;
        Ok(formatter.value(row).try_to_string()?)
    };
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    Ok(match array.data_type() {
        DataType::Boolean => plain()?,
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|at| made(&items, item, at));
            format!("[{}]", items.collect::<Result<Vec<_>>>()?.join(","))
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields.iter().zip(columns).map(|(field, column)| {
                let name = quoted(field.name().clone());
                Ok(format!("{name}:{}", made(column, field, row)?))
            });
            format!("{{{}}}", pairs.collect::<Result<Vec<_>>>()?.join(","))
        }
        ty if ty.is_floating() => {
            let text = plain()?;
            let text = text.strip_suffix(".0").unwrap_or(&text).to_owned();
            match text.as_str() {
                "NaN" => quoted(text),
                "inf" => quoted("Infinity".to_owned()),
                "-inf" => quoted("-Infinity".to_owned()),
                _ => text,
            }
        }
        ty if ty.is_numeric() => plain()?,
        DataType::Timestamp(_, zone) => {
            let text = plain()?;
            quoted(match (text.strip_suffix('Z'), zone) {
                (Some(utc), Some(_)) => format!("{}+00:00", without_zeros(utc)),
                (_, Some(_)) => match text.rfind(['+', '-']) {
                    Some(at) => format!("{}{}", without_zeros(&text[..at]), &text[at..]),
                    None => text,
                },
                (_, None) => without_zeros(&text).to_owned(),
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let mut text = vec![];
            printing::put_interval(&mut text, value.into());
            quoted(String::from_utf8_lossy(&text).into_owned())
        }
        DataType::FixedSizeBinary(16) => {
            let mut text = vec![];
            printing::put_uuid(&mut text, array.as_fixed_size_binary().value(row));
            quoted(String::from_utf8_lossy(&text).into_owned())
        }
        _ => quoted(plain()?),
    })
}

/// A time without the zeros at the end of its second.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Array;

    #[test]
    fn a_part_keeps_its_spelling() {
        let document = r#"{"a": {"b" : [1, "x,]" , null]}, "a\"": -1.50, "c":""}"#;
        let name = |name: &str| Step::Name(name.to_owned());
        let a = inside(document, &name("a"));
        assert_eq!(a, Some(r#"{"b" : [1, "x,]" , null]}"#));
        let b = a.and_then(|a| inside(a, &name("b"))).unwrap();
        assert_eq!(b, r#"[1, "x,]" , null]"#);
        assert_eq!(inside(b, &Step::Index(1)), Some(r#""x,]""#));
        assert_eq!(inside(b, &Step::Index(-1)), Some("null"));
        assert_eq!(inside(b, &Step::Index(3)), None);
        assert_eq!(inside(document, &name("a\"")), Some("-1.50"));
        assert_eq!(
            inside(document, &name("c")).and_then(text_of),
            Some(String::new())
        );
        assert_eq!(inside("{}", &name("c")), None);
        assert_eq!(inside("[ ]", &Step::Index(0)), None);
        assert_eq!(inside("7", &name("c")), None);
        assert_eq!(text_of("null"), None);
    }

    #[test]
    fn values_are_written_as_json() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["a\"b"]));
        let field = Field::new("", DataType::Utf8, true);
        assert_eq!(made(&array, &field, 0).unwrap(), "\"a\\\"b\"");
        let array: ArrayRef = Arc::new(Float64Array::from(vec![2.0]));
        let field = Field::new("", DataType::Float64, true);
        assert_eq!(made(&array, &field, 0).unwrap(), "2");
    }
}
