//! Casts to arrays as PostgreSQL means them: `int[]` is the type of arrays of any number of dimensions, and
//! `numeric[]` takes the digits of its items as they are.
//!
//! Our types tell both, so that the type of a cast is mended by what is cast, where that is known: a literal, an
//! array that is written out, a parameter. Knows syntax only.

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, Expr, Value};

use crate::rewrite::{DIGITS_MAX, text_scale};

/// Most dimensions of an array. Source: PostgreSQL, `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// What is known of an array before it is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    dimensions: usize,
    /// Digits after the point of the item that has most of them.
    scale: Option<i64>,
}

/// Mends the type of `expr` if it is a cast to an array.
pub(crate) fn mend(expr: &mut Expr, parameters: &[ScalarValue]) {
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    if !matches!(data_type, DataType::Array(_)) {
        return;
    }
    let Some(known) = of_expr(inner, parameters) else {
        return;
    };
    let mut leaf = leaf(data_type).clone();
    if let DataType::Numeric(info @ ExactNumberInfo::None)
    | DataType::Decimal(info @ ExactNumberInfo::None)
    | DataType::Dec(info @ ExactNumberInfo::None) = &mut leaf
        && let Some(scale) = known.scale
    {
        *info = ExactNumberInfo::PrecisionAndScale(DIGITS_MAX as u64, scale);
    }
    for _ in 0..known.dimensions.clamp(1, DIMENSIONS_MAX) {
        leaf = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(leaf), None));
    }
    *data_type = leaf;
}

/// The type of the items of all dimensions.
fn leaf(ty: &DataType) -> &DataType {
    match ty {
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => leaf(item),
        other => other,
    }
}

fn of_expr(expr: &Expr, parameters: &[ScalarValue]) -> Option<Known> {
    match expr {
        Expr::Nested(inner) => of_expr(inner, parameters),
        Expr::Array(array) => {
            let first = array.elem.first()?;
            let below = match first {
                Expr::Array(_) | Expr::Nested(_) => of_expr(first, parameters),
                _ => None,
            };
            Some(Known {
                dimensions: 1 + below.unwrap_or_default().dimensions,
                scale: None,
            })
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => of_text(text),
            Value::Placeholder(name) => {
                let number: usize = name.trim_start_matches('$').parse().ok()?;
                of_value(parameters.get(number.checked_sub(1)?)?)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a literal such as `{{1.5,2},{3,4}}` tells.
fn of_text(text: &str) -> Option<Known> {
    let trimmed = text.trim();
    let braces = match trimmed.strip_prefix('[') {
        Some(bounds) => bounds.split_once('=')?.1.trim_start(),
        None => trimmed,
    };
    let opening = braces
        .chars()
        .take_while(|c| *c == '{' || c.is_whitespace())
        .filter(|c| *c == '{')
        .count();
    let scales = braces
        .split(['{', '}', ',', '"'])
        .map(str::trim)
        .filter(|item| !item.is_empty() && !item.eq_ignore_ascii_case("null"))
        .map(text_scale);
    let scales: Option<Vec<i64>> = scales.collect();
    (opening > 0).then(|| Known {
        dimensions: opening,
        scale: scales.and_then(|scales| scales.into_iter().max()),
    })
}

fn of_value(value: &ScalarValue) -> Option<Known> {
    if let Some(Some(text)) = value.try_as_str() {
        return of_text(text);
    }
    let mut ty = value.data_type();
    let mut dimensions = 0;
    while let ArrowType::List(item) = ty {
        dimensions += 1;
        ty = item.data_type().clone();
    }
    let scale = match ty {
        ArrowType::Decimal128(_, scale) => Some(i64::from(scale)),
        _ => None,
    };
    (dimensions > 0).then_some(Known { dimensions, scale })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::dialect::PostgreSqlDialect;

    fn check(sql: &str, wanted: &str) {
        let dialect = PostgreSqlDialect::default();
        let mut parser = Parser::new(&dialect).try_with_sql(sql).unwrap();
        let mut expr = parser.parse_expr().unwrap();
        let list = ScalarValue::new_list(
            &[ScalarValue::Decimal128(Some(15), 38, 1)],
            &ArrowType::Decimal128(38, 1),
            true,
        );
        mend(&mut expr, &[ScalarValue::List(list)]);
        let Expr::Cast { data_type, .. } = expr else {
            panic!("{sql} is no cast")
        };
        assert_eq!(data_type.to_string(), wanted, "{sql}");
    }

    #[test]
    fn a_type_of_arrays_has_the_dimensions_of_what_is_cast() {
        check("'{{1,2},{3,4}}'::int[]", "INT[][]");
        check("'{1,2}'::int[][]", "INT[]");
        check("'{}'::int[]", "INT[]");
        check("'[0:1][1:1]={{1},{2}}'::text[]", "TEXT[][]");
        check("ARRAY[[1,2],[3,4]]::int[]", "INT[][]");
        check("ARRAY[1]::int[]", "INT[]");
        check("x::int[]", "INT[]");
        check("'{a}'::text", "TEXT");
    }

    #[test]
    fn numerics_of_an_array_have_room_for_their_digits() {
        check("'{1.5,NULL,-2.25}'::numeric[]", "NUMERIC(38,2)[]");
        check("'{{1},{2}}'::numeric[]", "NUMERIC(38,0)[][]");
        check("'{1.5}'::numeric(9,3)[]", "NUMERIC(9,3)[]");
        check("'{x}'::numeric[]", "NUMERIC[]");
        check("$1::numeric[]", "NUMERIC(38,1)[]");
        check("$2::numeric[]", "NUMERIC[]");
    }
}
