//! Functions of DataFusion that answer otherwise than PostgreSQL for some arguments, mended around DataFusion's own.
//!
//! `length` of bytes, `round` of halves, `floor` below the smallest decimal, logarithms of nothing, a NUL character,
//! lengths of empty arrays, the greatest of a float and a decimal. Registered under the functions' own names.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The functions, for every process of the cluster.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    use datafusion::functions::{core, math, string, unicode};
    use datafusion::functions_nested as nested;
    [
        (unicode::character_length(), Mend::Length),
        (math::round(), Mend::Round),
        (math::floor(), Mend::Whole),
        (math::ceil(), Mend::Whole),
        (math::ln(), Mend::Logarithm),
        (math::log10(), Mend::Logarithm),
        (string::chr(), Mend::Character),
        (nested::length::array_length_udf(), Mend::Size),
        (nested::cardinality::cardinality_udf(), Mend::Count),
        (nested::dimension::array_dims_udf(), Mend::Dimensions),
        (core::greatest(), Mend::Beside),
        (core::least(), Mend::Beside),
    ]
    .into_iter()
    .map(|(inner, mend)| Arc::new(ScalarUDF::from(Mended::new(inner, mend))))
    .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mend {
    /// Counts bytes of bytes, and takes no numbers.
    Length,
    /// Halves of floats go to the even neighbour.
    Round,
    /// A decimal has one more digit before the point, and none after it.
    Whole,
    /// Takes no zero and nothing below it.
    Logarithm,
    /// There is no character 0.
    Character,
    /// None of an empty array, and an integer.
    Size,
    /// An integer.
    Count,
    /// `[1:2][1:3]`.
    Dimensions,
    /// Decimals beside floats are floats.
    Beside,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mended {
    inner: Arc<ScalarUDF>,
    mend: Mend,
    signature: Signature,
}

impl Mended {
    fn new(inner: Arc<ScalarUDF>, mend: Mend) -> Self {
        let own = matches!(
            mend,
            Mend::Length | Mend::Round | Mend::Whole | Mend::Dimensions
        );
        let signature = if own {
            Signature::user_defined(Volatility::Immutable)
        } else {
            inner.signature().clone()
        };
        Self {
            inner,
            mend,
            signature,
        }
    }

    /// The result in another type than DataFusion's.
    fn result(&self, types: &[DataType], theirs: DataType) -> DataType {
        match self.mend {
            Mend::Size | Mend::Count | Mend::Length => DataType::Int32,
            Mend::Dimensions => DataType::Utf8,
            Mend::Round if types.len() == 1 && types[0].is_floating() => DataType::Float64,
            Mend::Whole => match theirs {
                DataType::Decimal128(precision, scale) if scale > 0 => {
                    DataType::Decimal128(precision.saturating_sub(scale.unsigned_abs()).max(1), 0)
                }
                other => other,
            },
            _ => theirs,
        }
    }

    /// The types of arguments as DataFusion's own function takes them.
    fn inner_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let fields: Vec<FieldRef> = types
            .iter()
            .map(|ty| Arc::new(Field::new("", ty.clone(), true)))
            .collect();
        let fields = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(fields.iter().map(|f| f.data_type().clone()).collect())
    }
}

fn is_bytes(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

impl ScalarUDFImpl for Mended {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.mend, types) {
            (Mend::Length, [ty]) if is_bytes(ty) => Ok(vec![ty.clone()]),
            (Mend::Length, [ty]) if ty.is_numeric() || *ty == DataType::Boolean => plan_err!(
                "No function matches the given name and argument types 'length({ty})'. You might need to add explicit type casts."
            ),
            (Mend::Whole, [DataType::Decimal128(precision, scale)]) => {
                let precision = precision.saturating_add(1).min(38);
                Ok(vec![DataType::Decimal128(precision, *scale)])
            }
            (Mend::Dimensions, [ty]) => Ok(vec![ty.clone()]),
            // The type of the result hangs on a literal, which must stay one.
            (Mend::Round, [number, digits]) if digits.is_integer() => {
                let mut types = self.inner_types(&[number.clone(), DataType::Int32])?;
                types[1] = digits.clone();
                Ok(types)
            }
            (Mend::Beside, types)
                if types.iter().any(DataType::is_floating)
                    && types.iter().any(DataType::is_decimal) =>
            {
                Ok(vec![DataType::Float64; types.len()])
            }
            (Mend::Beside, types) => self.inner.coerce_types(types),
            _ => self.inner_types(types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let theirs = match self.mend {
            Mend::Length | Mend::Dimensions => DataType::Int32,
            _ => self.inner.return_type(types)?,
        };
        Ok(self.result(types, theirs))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let ty = match self.mend {
            Mend::Length | Mend::Dimensions => self.return_type(&types)?,
            Mend::Round if types.len() == 2 => {
                let digits = match args.scalar_arguments.get(1).copied().flatten() {
                    Some(value) => Some(value.cast_to(&DataType::Int32)?),
                    None => None,
                };
                let count: FieldRef = Arc::new(Field::new("", DataType::Int32, true));
                let field = self.inner.return_field_from_args(ReturnFieldArgs {
                    arg_fields: &[Arc::clone(&args.arg_fields[0]), count],
                    scalar_arguments: &[args.scalar_arguments[0], digits.as_ref()],
                })?;
                field.data_type().clone()
            }
            _ => {
                let field = self.inner.return_field_from_args(args)?;
                self.result(&types, field.data_type().clone())
            }
        };
        Ok(Arc::new(Field::new(self.name(), ty, true)))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.mend {
            // DataFusion's rules do not know of zero.
            Mend::Logarithm => Ok(ExprSimplifyResult::Original(args)),
            _ => self.inner.simplify(args, info),
        }
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(input)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        match self.mend {
            Mend::Whole | Mend::Logarithm => self.inner.output_ordering(inputs),
            _ => Ok(SortProperties::Unordered),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.mend {
            Mend::Length if args.args.first().is_some_and(|a| is_bytes(&a.data_type())) => {
                each(&args, |values| {
                    Ok(cast(&length(values.as_ref())?, &DataType::Int32)?)
                })
            }
            Mend::Round if args.args.len() == 1 && args.args[0].data_type().is_floating() => {
                each(&args, |values| {
                    let floats = cast(values, &DataType::Float64)?;
                    let even: Float64Array = floats
                        .as_primitive::<Float64Type>()
                        .unary(f64::round_ties_even);
                    Ok(Arc::new(even))
                })
            }
            Mend::Logarithm => {
                for value in &args.args {
                    refuse_below_one(&value.to_array(args.number_rows)?)?;
                }
                self.inner.invoke_with_args(args)
            }
            Mend::Character => {
                for value in &args.args {
                    refuse_nul(&value.to_array(args.number_rows)?)?;
                }
                self.inner.invoke_with_args(args)
            }
            Mend::Dimensions => each(&args, |values| Ok(dimensions(values))),
            Mend::Size | Mend::Count | Mend::Length => {
                let zero = self.mend != Mend::Size;
                let theirs = self.theirs(args)?;
                converted(theirs, |values| {
                    let counts = cast(values, &DataType::Int32)?;
                    let counts = counts.as_primitive::<Int32Type>();
                    let some = |count: Option<i32>| count.filter(|count| zero || *count != 0);
                    Ok(Arc::new(counts.iter().map(some).collect::<Int32Array>()))
                })
            }
            Mend::Whole => {
                let ty = args.return_field.data_type().clone();
                converted(self.theirs(args)?, |values| Ok(cast(values, &ty)?))
            }
            Mend::Round => self.inner.invoke_with_args(with_digits(args)?),
            Mend::Beside => self.inner.invoke_with_args(args),
        }
    }
}

impl Mended {
    /// What DataFusion's function answers in its own type.
    fn theirs(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let ty = self.inner.return_type(&types)?;
        args.return_field = Arc::new(Field::new(self.name(), ty, true));
        self.inner.invoke_with_args(args)
    }
}

/// With the number of digits in the type that DataFusion's `round` wants.
fn with_digits(mut args: ScalarFunctionArgs) -> Result<ScalarFunctionArgs> {
    if let [_, digits] = args.args.as_mut_slice()
        && digits.data_type().is_integer()
    {
        *digits = digits.cast_to(&DataType::Int32, None)?;
        if let Some(field) = args.arg_fields.get_mut(1) {
            *field = Arc::new(field.as_ref().clone().with_data_type(DataType::Int32));
        }
    }
    Ok(args)
}

/// A function of one argument.
fn each(
    args: &ScalarFunctionArgs,
    change: impl FnOnce(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let [value] = &args.args[..] else {
        return exec_err!("one argument is expected");
    };
    converted(value.clone(), change)
}

fn converted(
    value: ColumnarValue,
    change: impl FnOnce(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(change(&array)?),
        ColumnarValue::Scalar(value) => {
            let array = change(&value.to_array()?)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        }
    })
}

fn refuse_below_one(values: &ArrayRef) -> Result<()> {
    let floats = cast(values, &DataType::Float64)?;
    for value in floats.as_primitive::<Float64Type>().iter().flatten() {
        if value == 0.0 {
            return exec_err!("cannot take logarithm of zero");
        }
        if value < 0.0 {
            return exec_err!("cannot take logarithm of a negative number");
        }
    }
    Ok(())
}

fn refuse_nul(codes: &ArrayRef) -> Result<()> {
    let codes = cast(codes, &DataType::Int64)?;
    if codes
        .as_primitive::<Int64Type>()
        .iter()
        .any(|code| code == Some(0))
    {
        return exec_err!("null character not permitted");
    }
    Ok(())
}

/// The bounds of each dimension of arrays; none of an empty one.
fn dimensions(values: &ArrayRef) -> ArrayRef {
    use std::fmt::Write as _;
    let mut out: Vec<Option<String>> = Vec::with_capacity(values.len());
    for row in 0..values.len() {
        let mut text = String::new();
        let mut inner = values.slice(row, 1);
        while let Some(list) = inner.as_list_opt::<i32>().filter(|list| !list.is_empty()) {
            let items = if list.is_null(0) {
                break;
            } else {
                list.value(0)
            };
            if items.is_empty() {
                break;
            }
            // Writing to a String does not fail.
            let _ = write!(text, "[1:{}]", items.len());
            inner = items.slice(0, 1);
        }
        out.push((!text.is_empty()).then_some(text));
    }
    Arc::new(StringArray::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::ListArray;

    #[test]
    fn an_array_has_bounds_and_an_empty_one_has_none() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![]),
            None,
        ]));
        let texts = dimensions(&lists);
        let texts: Vec<_> = texts.as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("[1:2]"), None, None]);
    }

    #[test]
    fn there_is_no_logarithm_of_nothing() {
        let check = |value: f64| {
            let values: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            refuse_below_one(&values).is_err()
        };
        assert!(check(0.0) && check(-1.0) && !check(0.5) && !check(f64::NAN));
    }
}
