//! Casts that mean something else in PostgreSQL than in Arrow: text as uuid and bytea and back, numbers
//! with a fraction as integers.
//!
//! Such casts are planned as functions before types are settled; so are comparisons of a uuid with text.
//! Knows logical plans only.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, StringViewArray};
use datafusion::arrow::array::{FixedSizeBinaryBuilder, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::expr::{Cast, InList, TryCast};
use datafusion::logical_expr::{
    Between, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::addresses::Address;
use crate::error::{EngineError, ErrorKind};
use crate::expressions;
use crate::pg_catalog::pg_type_of;
use crate::reals;
use crate::temporal;
use crate::text_forms;
use crate::values::jsonb::normalized;

/// Bytes of a uuid.
const UUID_BYTES: i32 = 16;
/// Metadata that tells a uuid from sixteen bytes. Source: Arrow, "Canonical Extension Types".
pub(crate) const UUID_METADATA: (&str, &str) = ("ARROW:extension:name", "arrow.uuid");

/// The type of uuids.
pub(crate) fn uuid_type() -> DataType {
    DataType::FixedSizeBinary(UUID_BYTES)
}

/// Plans casts and comparisons as PostgreSQL means them. Runs before types are settled.
#[derive(Debug)]
pub(crate) struct SqlCasts;

/// Plans what the settling of types cast: literals compared with bytes, moments in other units.
#[derive(Debug)]
pub(crate) struct LiteralBytes;

impl AnalyzerRule for SqlCasts {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| {
            let done = compared(expr, schema);
            done.transform_data(|expr| Ok(planned(expr, schema)))
        })
    }

    fn name(&self) -> &'static str {
        "sql_casts"
    }
}

impl AnalyzerRule for LiteralBytes {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        expressions::rewrite(plan, |expr, schema| {
            let escaped = matches!(&expr, Expr::Cast(Cast { expr, field })
                if is_bytes(field.data_type())
                    && matches!(expr.as_ref(), Expr::Literal(value, _)
                        if value.try_as_str().flatten().is_some_and(|text| text.contains('\\'))));
            let printed =
                matches!(&expr, Expr::Cast(Cast { field, .. }) if is_text(field.data_type()));
            let moved = matches!(&expr, Expr::Cast(Cast { expr, field })
                if expr.get_type(schema).is_ok_and(|from| temporal::moves(&from, field.data_type())));
            Ok(if escaped || printed || moved {
                planned(expr, schema)
            } else {
                Transformed::no(expr)
            })
        })
    }

    fn name(&self) -> &'static str {
        "literal_bytes"
    }
}

fn is_text(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_bytes(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// A cast as the function that PostgreSQL's cast is.
fn planned(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (Expr::Cast(Cast { expr: inner, field }) | Expr::TryCast(TryCast { expr: inner, field })) =
        &expr
    else {
        return Transformed::no(expr);
    };
    // What has no type here, such as a column of an outer query, is left to DataFusion.
    let Ok(from) = inner.get_type(schema) else {
        return Transformed::no(expr);
    };
    let to = field.data_type();
    let lenient = matches!(expr, Expr::TryCast(_));
    if is_text(to)
        && temporal::prints(&from)
        && let Some(call) = temporal::printed(inner.as_ref().clone())
    {
        return Transformed::yes(if *to == DataType::Utf8View {
            call
        } else {
            Expr::Cast(Cast::new(Box::new(call), to.clone()))
        });
    }
    if matches!(from, DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
        && matches!(to, DataType::Timestamp(TimeUnit::Microsecond, None))
        && let Some(call) = temporal::local(inner.as_ref().clone())
    {
        return Transformed::yes(call);
    }
    if temporal::moves(&from, to)
        && let Ok(call) = temporal::moved(inner.as_ref().clone(), to)
    {
        return Transformed::yes(call);
    }
    if is_text(&from)
        && text_forms::reads(to)
        && let Ok(call) = text_forms::call(inner.as_ref().clone(), to, lenient)
    {
        return Transformed::yes(call);
    }
    let conversion = if is_text(&from) && *to == uuid_type() {
        Conversion::TextToUuid { lenient }
    } else if from == uuid_type() && is_text(to) {
        Conversion::UuidToText
    } else if is_text(&from) && is_bytes(to) {
        Conversion::TextToBytes { lenient }
    } else if (is_bytes(&from) || matches!(from, DataType::FixedSizeBinary(_))) && is_text(to) {
        Conversion::BytesToText
    } else if is_text(&from)
        && is_text(to)
        && let Some(form) = Form::of(field)
        && !inner
            .to_field(schema)
            .is_ok_and(|(_, from)| Form::of(&from) == Some(form))
        && !matches!(inner.as_ref(), Expr::ScalarFunction(call) if call.name() == form.name(lenient))
    {
        Conversion::TextToForm { form, lenient }
    } else if is_text(&from)
        && is_text(to)
        && Form::of(field).is_none()
        && inner
            .to_field(schema)
            .is_ok_and(|(_, from)| Form::of(&from).is_some())
    {
        Conversion::FormToText
    } else if let Some(conversion) = of_floats(&from, to, lenient) {
        conversion
    } else if let DataType::Decimal128(precision, scale) = from
        && scale > 0
        && to.is_integer()
    {
        // Rounding may carry into one more digit.
        let whole = (precision - scale.unsigned_abs() + 1).min(38);
        let inner = inner.as_ref().clone();
        let rounded = Expr::Cast(Cast::new(Box::new(inner), DataType::Decimal128(whole, 0)));
        return Transformed::yes(match expr {
            Expr::TryCast(cast) => Expr::TryCast(TryCast {
                expr: Box::new(rounded),
                ..cast
            }),
            _ => Expr::Cast(Cast {
                expr: Box::new(rounded),
                field: Arc::clone(field),
            }),
        });
    } else {
        return Transformed::no(expr);
    };
    let inner = inner.as_ref().clone();
    let call = conversion.call(inner);
    Transformed::yes(match expr {
        Expr::Cast(Cast { field, .. }) if conversion.is_inner() => Expr::Cast(Cast {
            expr: Box::new(call),
            field,
        }),
        Expr::TryCast(TryCast { field, .. }) if conversion.is_inner() => Expr::TryCast(TryCast {
            expr: Box::new(call),
            field,
        }),
        _ => call,
    })
}

/// What becomes a float, and a float that becomes something else.
fn of_floats(from: &DataType, to: &DataType, lenient: bool) -> Option<Conversion> {
    if is_text(from) && matches!(to, DataType::Float32 | DataType::Float64) {
        let double = *to == DataType::Float64;
        return Some(Conversion::TextToFloat { double, lenient });
    }
    let wide = *from == DataType::Float64 || matches!(from, DataType::Decimal256(..));
    if wide && *to == DataType::Float32 {
        return Some(Conversion::NarrowFloat { lenient });
    }
    (from.is_floating() && to.is_integer()).then_some(Conversion::WholeFloat)
}

/// A comparison of uuids with text as one of uuids.
fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let ty = |expr: &Expr| expr.get_type(schema).ok();
    let is_uuid = |expr: &Expr| ty(expr) == Some(uuid_type());
    let text = |expr: &Expr| ty(expr).is_some_and(|ty| is_text(&ty));
    let as_uuid = |expr: Expr| {
        if text(&expr) {
            Conversion::TextToUuid { lenient: false }.call(expr)
        } else {
            expr
        }
    };
    let boxed = |expr: Box<Expr>| Box::new(as_uuid(*expr));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares(op)
                && ((is_uuid(&left) && text(&right)) || (text(&left) && is_uuid(&right))) =>
        {
            let compared = BinaryExpr::new(boxed(left), op, boxed(right));
            Transformed::yes(Expr::BinaryExpr(compared))
        }
        Expr::InList(list)
            if is_uuid(&list.expr) && list.list.iter().any(text)
                || text(&list.expr) && list.list.iter().any(is_uuid) =>
        {
            Transformed::yes(Expr::InList(InList::new(
                boxed(list.expr),
                list.list.into_iter().map(as_uuid).collect(),
                list.negated,
            )))
        }
        Expr::Between(between)
            if is_uuid(&between.expr) && (text(&between.low) || text(&between.high)) =>
        {
            Transformed::yes(Expr::Between(Between::new(
                between.expr,
                between.negated,
                boxed(between.low),
                boxed(between.high),
            )))
        }
        other => Transformed::no(other),
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// Every conversion, for the processes that may meet them in a plan.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [
        Conversion::TextToUuid { lenient: false },
        Conversion::TextToUuid { lenient: true },
        Conversion::UuidToText,
        Conversion::TextToBytes { lenient: false },
        Conversion::TextToBytes { lenient: true },
        Conversion::BytesToText,
        Conversion::WholeFloat,
        Conversion::FormToText,
        Conversion::NarrowFloat { lenient: false },
        Conversion::NarrowFloat { lenient: true },
    ]
    .into_iter()
    .chain(
        Form::ALL
            .into_iter()
            .flat_map(|form| [false, true].map(|lenient| Conversion::TextToForm { form, lenient })),
    )
    .chain([false, true].into_iter().flat_map(|double| {
        [false, true].map(|lenient| Conversion::TextToFloat { double, lenient })
    }))
    .map(|conversion| Arc::new(ScalarUDF::from(Converted::new(conversion))))
    .chain(text_forms::functions())
    .collect()
}

/// What a cast does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Conversion {
    /// Text to uuid; leniently, NULL for what is none.
    TextToUuid { lenient: bool },
    /// A uuid as it is written.
    UuidToText,
    /// PostgreSQL's hex and escape formats to bytes; leniently, NULL for what is neither.
    TextToBytes { lenient: bool },
    /// Bytes in PostgreSQL's hex format.
    BytesToText,
    /// A float rounded to a whole number, halves to even.
    WholeFloat,
    /// Text to a float that holds it; leniently, NULL for what is none.
    TextToFloat { double: bool, lenient: bool },
    /// A number to a `real` that holds it; leniently, NULL for what none does.
    NarrowFloat { lenient: bool },
    /// Text to a type whose values are texts of a form; leniently, NULL for what has not the form.
    TextToForm { form: Form, lenient: bool },
    /// A value of such a type as plain text.
    FormToText,
}

/// A type that Arrow does not have, whose values are texts of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Json,
    Jsonb,
    Inet,
    Cidr,
}

impl Form {
    const ALL: [Self; 4] = [Self::Json, Self::Jsonb, Self::Inet, Self::Cidr];

    /// The form of the values of a field.
    fn of(field: &Field) -> Option<Self> {
        let name = pg_type_of(field).name;
        Self::ALL.into_iter().find(|form| form.type_name() == name)
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Inet => "inet",
            Self::Cidr => "cidr",
        }
    }

    /// The name of the function that reads it.
    fn name(self, lenient: bool) -> &'static str {
        match (self, lenient) {
            (Self::Json, false) => "tarn_json",
            (Self::Json, true) => "tarn_try_json",
            (Self::Jsonb, false) => "tarn_jsonb",
            (Self::Jsonb, true) => "tarn_try_jsonb",
            (Self::Inet, false) => "tarn_inet",
            (Self::Inet, true) => "tarn_try_inet",
            (Self::Cidr, false) => "tarn_cidr",
            (Self::Cidr, true) => "tarn_try_cidr",
        }
    }

    /// A text as PostgreSQL would print it; `None` if it has not the form.
    fn read(self, text: &str) -> Option<Cow<'_, str>> {
        let address = |network| Address::read(text, network).map(|a| Cow::Owned(a.to_string()));
        match self {
            Self::Json => serde_json::from_str::<IgnoredAny>(text)
                .is_ok()
                .then_some(Cow::Borrowed(text)),
            Self::Jsonb => normalized(text).map(Cow::Owned),
            Self::Inet => address(false),
            Self::Cidr => address(true),
        }
    }
}

impl Conversion {
    fn name(self) -> &'static str {
        match self {
            Self::TextToUuid { lenient: false } => "tarn_uuid",
            Self::TextToUuid { lenient: true } => "tarn_try_uuid",
            Self::UuidToText => "tarn_uuid_text",
            Self::TextToBytes { lenient: false } => "tarn_bytea",
            Self::TextToBytes { lenient: true } => "tarn_try_bytea",
            Self::BytesToText => "tarn_bytea_text",
            Self::WholeFloat => "tarn_whole_float",
            Self::TextToForm { form, lenient } => form.name(lenient),
            Self::FormToText => "tarn_form_text",
            Self::TextToFloat { double, lenient } => match (double, lenient) {
                (false, false) => "tarn_real",
                (false, true) => "tarn_try_real",
                (true, false) => "tarn_double",
                (true, true) => "tarn_try_double",
            },
            Self::NarrowFloat { lenient: false } => "tarn_narrow",
            Self::NarrowFloat { lenient: true } => "tarn_try_narrow",
        }
    }

    fn result(self) -> DataType {
        match self {
            Self::TextToUuid { .. } => uuid_type(),
            Self::UuidToText | Self::BytesToText | Self::TextToForm { .. } | Self::FormToText => {
                DataType::Utf8View
            }
            Self::TextToBytes { .. } => DataType::BinaryView,
            Self::WholeFloat | Self::TextToFloat { double: true, .. } => DataType::Float64,
            Self::TextToFloat { .. } | Self::NarrowFloat { .. } => DataType::Float32,
        }
    }

    /// Whether the cast stays around the function.
    fn is_inner(self) -> bool {
        matches!(self, Self::WholeFloat | Self::TextToForm { .. })
    }

    fn call(self, argument: Expr) -> Expr {
        ScalarUDF::from(Converted::new(self)).call(vec![argument])
    }

    fn convert(self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::TextToUuid { lenient } => {
                let texts = cast(array, &DataType::Utf8View)?;
                uuids_of(texts.as_string_view(), lenient)?
            }
            Self::UuidToText => {
                let uuids = array.as_fixed_size_binary();
                let text = |bytes: Option<&[u8]>| {
                    let uuid = Uuid::from_slice(bytes?).ok()?;
                    Some(uuid.hyphenated().to_string())
                };
                Arc::new(uuids.iter().map(text).collect::<StringViewArray>())
            }
            Self::TextToBytes { lenient } => {
                let texts = cast(array, &DataType::Utf8View)?;
                bytes_of(texts.as_string_view(), lenient)?
            }
            Self::BytesToText => {
                let bytes = cast(array, &DataType::BinaryView)?;
                let text = |bytes: Option<&[u8]>| bytes.map(hex);
                let bytes = bytes.as_binary_view();
                Arc::new(bytes.iter().map(text).collect::<StringViewArray>())
            }
            Self::WholeFloat => {
                let floats = cast(array, &DataType::Float64)?;
                let floats = floats.as_primitive::<Float64Type>();
                let whole: Float64Array = floats.unary(f64::round_ties_even);
                Arc::new(whole)
            }
            Self::FormToText => cast(array, &DataType::Utf8View)?,
            Self::TextToFloat { lenient, .. } => {
                let texts = cast(array, &DataType::Utf8View)?;
                reals::read(texts.as_string_view(), &self.result(), lenient)?
            }
            Self::NarrowFloat { lenient } => reals::narrowed(array, lenient)?,
            Self::TextToForm { form, lenient } => {
                let texts = cast(array, &DataType::Utf8View)?;
                let texts = texts.as_string_view().iter().map(|text| {
                    let Some(text) = text else { return Ok(None) };
                    match form.read(text) {
                        None if !lenient => Err(invalid(form.type_name(), text)),
                        read => Ok(read),
                    }
                });
                Arc::new(texts.collect::<Result<StringViewArray>>()?)
            }
        })
    }
}

/// Texts as uuids; leniently, NULL for what is none.
pub(crate) fn uuids_of(texts: &StringViewArray, lenient: bool) -> Result<ArrayRef> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(texts.len(), UUID_BYTES);
    for text in texts {
        match text.map(|text| (text, parse_uuid(text))) {
            None => out.append_null(),
            Some((_, Some(uuid))) => out.append_value(uuid.as_bytes())?,
            Some((_, None)) if lenient => out.append_null(),
            Some((text, None)) => return Err(invalid("uuid", text)),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Texts as bytes; leniently, NULL for what is none.
pub(crate) fn bytes_of(texts: &StringViewArray, lenient: bool) -> Result<ArrayRef> {
    let mut out: Vec<Option<Vec<u8>>> = Vec::with_capacity(texts.len());
    for text in texts {
        out.push(match text.map(|text| (text, parse_bytes(text))) {
            None => None,
            Some((text, None)) if !lenient => return Err(invalid("bytea", text)),
            Some((_, bytes)) => bytes,
        });
    }
    Ok(Arc::new(out.into_iter().collect::<BinaryViewArray>()))
}

/// PostgreSQL takes hyphens after any group of four digits, and braces around it all.
fn parse_uuid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let text = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or(text);
    let mut digits = String::with_capacity(32);
    for (at, part) in text.split('-').enumerate() {
        if part.len() % 4 != 0 || (at > 0 && part.is_empty()) {
            return None;
        }
        digits.push_str(part);
    }
    if digits.len() != 32 {
        return None;
    }
    Uuid::try_parse(&digits).ok()
}

/// `\x` and hex digits, or characters with `\\` and `\ooo`. Source: PostgreSQL, "Binary Data Types".
fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits
            .bytes()
            .filter(|digit| !digit.is_ascii_whitespace())
            .collect();
        let (pairs, rest) = digits.as_chunks::<2>();
        let value = |digit: u8| char::from(digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| u8::try_from(value(*high)? * 16 + value(*low)?).ok();
        return rest
            .is_empty()
            .then(|| pairs.iter().map(byte).collect())
            .flatten();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    loop {
        match bytes {
            [] => return Some(out),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                bytes = rest;
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                bytes = rest;
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                bytes = rest;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("\\x");
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

pub(crate) fn invalid(ty: &str, text: &str) -> datafusion::error::DataFusionError {
    let shown: String = text.chars().take(40).collect();
    let kind = if ty == "interval" {
        ErrorKind::DatetimeFormat
    } else {
        ErrorKind::InvalidText
    };
    let error = EngineError::new(
        kind,
        format!("invalid input syntax for type {ty}: \"{shown}\""),
    );
    crate::error::with_class(error.into(), kind)
}

/// The function of one conversion.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Converted {
    conversion: Conversion,
    signature: Signature,
}

impl Converted {
    fn new(conversion: Conversion) -> Self {
        Self {
            conversion,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Converted {
    fn name(&self) -> &str {
        self.conversion.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.conversion.result())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let lenient = matches!(
            self.conversion,
            Conversion::TextToUuid { lenient: true }
                | Conversion::TextToBytes { lenient: true }
                | Conversion::TextToForm { lenient: true, .. }
        );
        let field = Field::new(self.name(), self.conversion.result(), nullable || lenient);
        Ok(Arc::new(match self.conversion {
            Conversion::TextToUuid { .. } => with_uuid(field),
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[..] {
            [ColumnarValue::Array(array)] => {
                Ok(ColumnarValue::Array(self.conversion.convert(array)?))
            }
            [ColumnarValue::Scalar(value)] => {
                let array = self.conversion.convert(&value.to_array()?)?;
                let value = ScalarValue::try_from_array(&array, 0)?;
                Ok(ColumnarValue::Scalar(value))
            }
            _ => exec_err!("{} takes one argument", self.name()),
        }
    }
}

/// `field` marked as a uuid.
pub(crate) fn with_uuid(field: Field) -> Field {
    let (key, value) = UUID_METADATA;
    field.with_metadata([(key.to_owned(), value.to_owned())].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgresql_reads_them() {
        let wanted = Uuid::from_u128(0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11);
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(parse_uuid(text), Some(wanted), "{text}");
        }
        for text in ["", "x", "a0eebc99", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"] {
            assert_eq!(parse_uuid(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_read_in_both_formats() {
        assert_eq!(parse_bytes("\\x00fF"), Some(vec![0, 255]));
        assert_eq!(parse_bytes("\\x00 ff"), Some(vec![0, 255]));
        assert_eq!(parse_bytes("\\x"), Some(vec![]));
        assert_eq!(parse_bytes("\\x0"), None);
        assert_eq!(parse_bytes("\\xzz"), None);
        assert_eq!(parse_bytes("abc"), Some(b"abc".to_vec()));
        assert_eq!(parse_bytes("a\\\\b\\001"), Some(b"a\\b\x01".to_vec()));
        assert_eq!(parse_bytes("a\\b"), None);
        assert_eq!(hex(&[0, 255]), "\\x00ff");
    }
}
