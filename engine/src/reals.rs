//! Values as `real` and `double precision`, refused where they are too large or too small for it.
//!
//! Source: PostgreSQL 15, `float4in_internal`, `float8in_internal`, `dtof`. Knows values only.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::error::DataFusionError;

use crate::casts::invalid;
use crate::error::{EngineError, ErrorKind, with_class};
use crate::types::sql_type_name;

/// How much of a value an error shows.
const SHOWN_MAX: usize = 40;

/// Texts as floats of type `ty`; leniently, NULL for what is none.
pub(crate) fn read(texts: &StringViewArray, ty: &DataType, lenient: bool) -> Result<ArrayRef> {
    Ok(if *ty == DataType::Float32 {
        let values = texts.iter().map(|text| one::<f32>(text, ty, lenient));
        Arc::new(values.collect::<Result<Float32Array>>()?)
    } else {
        let values = texts.iter().map(|text| one::<f64>(text, ty, lenient));
        Arc::new(values.collect::<Result<Float64Array>>()?)
    })
}

fn one<T: FromStr + Into<f64> + Copy>(
    text: Option<&str>,
    ty: &DataType,
    lenient: bool,
) -> Result<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    let trimmed = text.trim();
    let name = sql_type_name(ty);
    match trimmed.parse::<T>() {
        Ok(value) => {
            let float: f64 = value.into();
            let names_it = trimmed.contains(['i', 'I']);
            let digits = trimmed.split(['e', 'E']).next().unwrap_or_default();
            let is_zero = !digits.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
            let fits =
                (float.is_finite() || float.is_nan() || names_it) && (float != 0.0 || is_zero);
            match (fits, lenient) {
                (true, _) => Ok(Some(value)),
                (false, true) => Ok(None),
                (false, false) => Err(range(&trimmed, &name)),
            }
        }
        Err(_) if lenient => Ok(None),
        Err(_) => Err(invalid(&name, text)),
    }
}

/// Numbers as `real`; leniently, NULL for what does not fit.
pub(crate) fn narrowed(numbers: &ArrayRef, lenient: bool) -> Result<ArrayRef> {
    let doubles = cast(numbers, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    let reals = cast(numbers, &DataType::Float32)?;
    let reals = reals.as_primitive::<Float32Type>();
    let mut out = Vec::with_capacity(reals.len());
    for (double, real) in doubles.iter().zip(reals) {
        let (Some(double), Some(real)) = (double, real) else {
            out.push(None);
            continue;
        };
        let fits = (real.is_infinite() == double.is_infinite()) && (real != 0.0 || double == 0.0);
        out.push(match (fits, lenient) {
            (true, _) => Some(real),
            (false, true) => None,
            (false, false) => return Err(range(&double, "real")),
        });
    }
    Ok(Arc::new(Float32Array::from(out)))
}

fn range(value: &dyn Display, ty: &str) -> DataFusionError {
    let shown: String = value.to_string().chars().take(SHOWN_MAX).collect();
    let kind = ErrorKind::OutOfRange;
    let message = format!("\"{shown}\" is out of range for type {ty}");
    with_class(EngineError::new(kind, message).into(), kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Array;

    fn check(text: &str, ty: &DataType, wanted: Option<&str>) {
        let texts = StringViewArray::from_iter_values([text]);
        let read = read(&texts, ty, false).ok().map(|array| {
            let double = cast(&array, &DataType::Float64).unwrap();
            double.as_primitive::<Float64Type>().value(0).to_string()
        });
        assert_eq!(read.as_deref(), wanted, "{text}");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_infinity_is_a_value() {
        let (real, double) = (DataType::Float32, DataType::Float64);
        check(" 1.5 ", &real, Some("1.5"));
        check("1e300", &real, None);
        check("1e-300", &real, None);
        check("1e300", &double, Some(&1e300_f64.to_string()));
        check("1e400", &double, None);
        check("1e-400", &double, None);
        check("0e-400", &double, Some("0"));
        check("-0.000", &real, Some("-0"));
        check("-Infinity", &real, Some("-inf"));
        check("inf", &double, Some("inf"));
        check("NaN", &double, Some("NaN"));
        check("x", &double, None);
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::INFINITY), None]));
        assert!(narrowed(&numbers, false).is_ok());
        for odd in [1e39, -1e39, 1e-46] {
            let numbers: ArrayRef = Arc::new(Float64Array::from(vec![odd]));
            assert!(narrowed(&numbers, false).is_err(), "{odd}");
            assert!(narrowed(&numbers, true).unwrap().is_null(0), "{odd}");
        }
    }
}
