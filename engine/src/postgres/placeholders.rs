//! Parameters whose types the syntax tells: `NOT $1` takes a boolean, `left($1, $2)` a text and an integer.
//!
//! They become casts, of which the type of a parameter is read when a statement is described. What needs the types of
//! others is in `inference.rs`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, JoinConstraint, JoinOperator, Select, Statement, Subscript, UnaryOperator,
    Value, VisitMut, VisitorMut,
};

use crate::parser::fold_name;

/// Functions whose arguments have one type, whatever they are called with: `t`ext, `i`nteger, `f`loat, `b`oolean, b`y`tes;
/// `.` may be of several.
const FUNCTIONS: [(&str, &str); 49] = [
    ("acos", "f"),
    ("array_length", ".i"),
    ("array_lower", ".i"),
    ("array_upper", ".i"),
    ("asin", "f"),
    ("atan", "f"),
    ("bool_and", "b"),
    ("bool_or", "b"),
    ("cbrt", "f"),
    ("chr", "i"),
    ("cos", "f"),
    ("degrees", "f"),
    ("encode", "yt"),
    ("every", "b"),
    ("exp", "f"),
    ("generate_subscripts", ".i"),
    ("initcap", "t"),
    ("lag", ".i"),
    ("lead", ".i"),
    ("left", "ti"),
    ("lower", "t"),
    ("lpad", "tit"),
    ("make_date", "iii"),
    ("make_time", "iif"),
    ("make_timestamp", "iiiiif"),
    ("make_timestamptz", "iiiiift"),
    ("nth_value", ".i"),
    ("ntile", "i"),
    ("percentile_cont", "f"),
    ("percentile_disc", "f"),
    ("pg_sleep", "f"),
    ("radians", "f"),
    ("regexp_count", "tti"),
    ("regexp_instr", "ttiii"),
    ("regexp_substr", "ttii"),
    ("repeat", "ti"),
    ("replace", "ttt"),
    ("reverse", "t"),
    ("right", "ti"),
    ("rpad", "tit"),
    ("setseed", "f"),
    ("sin", "f"),
    ("split_part", "tti"),
    ("starts_with", "tt"),
    ("strpos", "tt"),
    ("substr", ".ii"),
    ("translate", "ttt"),
    ("upper", "t"),
    ("width_bucket", "fffi"),
];

/// Functions of numbers whose argument is a float if nothing tells its type.
const FLOATS: [&str; 10] = [
    "abs", "ceil", "ceiling", "floor", "ln", "power", "round", "sign", "sqrt", "trunc",
];

/// Casts every such parameter.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let conditions = [&mut select.selection, &mut select.having];
        for condition in conditions.into_iter().flatten() {
            typed(condition, DataType::Boolean);
        }
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            if let JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) = &mut join.join_operator
                && let JoinConstraint::On(condition) = constraint
            {
                typed(condition, DataType::Boolean);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            }
            | Expr::IsTrue(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsFalse(expr)
            | Expr::IsNotFalse(expr) => typed(expr, DataType::Boolean),
            Expr::BinaryOp { left, op, right } => operands(left, op, right),
            Expr::Case {
                operand: None,
                conditions,
                ..
            } => {
                for case in conditions {
                    typed(&mut case.condition, DataType::Boolean);
                }
            }
            Expr::Substring {
                substring_from: Some(from),
                substring_for,
                special,
                ..
            } => {
                // What follows FROM alone may be a pattern.
                if *special || substring_for.is_some() {
                    typed(from, DataType::Int4(None));
                }
                if let Some(length) = substring_for {
                    typed(length, DataType::Int4(None));
                }
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                typed(expr, DataType::Text);
                typed(overlay_what, DataType::Text);
                typed(overlay_from, DataType::Int4(None));
                if let Some(length) = overlay_for {
                    typed(length, DataType::Int4(None));
                }
            }
            Expr::Floor { expr, .. } | Expr::Ceil { expr, .. } => {
                typed(expr, DataType::DoublePrecision);
            }
            Expr::Position { expr, r#in } => {
                typed(expr, DataType::Text);
                typed(r#in, DataType::Text);
            }
            Expr::Trim {
                trim_what, expr, ..
            } => {
                typed(expr, DataType::Text);
                if let Some(what) = trim_what {
                    typed(what, DataType::Text);
                }
            }
            Expr::Function(function) => arguments(function),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                        typed(index, DataType::Int4(None));
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether `expr` is a parameter.
fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// Casts `expr` if it is a parameter.
fn typed(expr: &mut Expr, ty: DataType) {
    if is_open(expr) {
        let inner = std::mem::replace(expr, Expr::value(Value::Null));
        *expr = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(inner),
            data_type: ty,
            array: false,
            format: None,
        };
    }
}

fn operands(left: &mut Expr, op: &BinaryOperator, right: &mut Expr) {
    match op {
        BinaryOperator::And | BinaryOperator::Or => {
            typed(left, DataType::Boolean);
            typed(right, DataType::Boolean);
        }
        BinaryOperator::Multiply | BinaryOperator::Divide => {
            if is_interval(left) {
                typed(right, DataType::DoublePrecision);
            } else if is_interval(right) && *op == BinaryOperator::Multiply {
                typed(left, DataType::DoublePrecision);
            }
        }
        BinaryOperator::StringConcat => {
            if is_open(left) && is_open(right) {
                typed(left, DataType::Text);
                typed(right, DataType::Text);
            } else if let Some(ty) = array_type(left) {
                typed(right, ty);
            } else if let Some(ty) = array_type(right) {
                typed(left, ty);
            }
        }
        _ => {}
    }
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_interval(inner),
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        Expr::TypedString(text) => matches!(text.data_type, DataType::Interval { .. }),
        _ => false,
    }
}

/// The type that an expression is cast to, if it is an array's.
fn array_type(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Nested(inner) => array_type(inner),
        Expr::Cast { data_type, .. } if matches!(data_type, DataType::Array(_)) => {
            Some(data_type.clone())
        }
        _ => None,
    }
}

fn arguments(function: &mut Function) {
    let name = fold_name(&function.name).pop().unwrap_or_default();
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let count = list.args.len();
    let arguments = list.args.iter_mut().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    if let Ok(at) = FUNCTIONS.binary_search_by(|(known, _)| (*known).cmp(&name)) {
        for (argument, kind) in arguments.zip(FUNCTIONS[at].1.bytes()) {
            let ty = match kind {
                b't' => DataType::Text,
                b'i' => DataType::Int4(None),
                b'f' => DataType::DoublePrecision,
                b'b' => DataType::Boolean,
                b'y' => DataType::Bytea,
                _ => continue,
            };
            typed(argument, ty);
        }
    } else if name == "to_timestamp" && count == 1 {
        arguments.for_each(|seconds| typed(seconds, DataType::DoublePrecision));
    } else if FLOATS.contains(&name.as_str()) {
        let mut arguments: Vec<&mut Expr> = arguments.collect();
        let all_open = arguments.iter().all(|argument| is_open(argument));
        for (at, argument) in arguments.iter_mut().enumerate() {
            match name.as_str() {
                // Digits after the point.
                "round" | "trunc" if at == 1 => typed(argument, DataType::Int4(None)),
                "power" if at == 1 => typed(argument, DataType::DoublePrecision),
                _ if all_open => typed(argument, DataType::DoublePrecision),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn functions_are_sorted_by_name() {
        assert!(FUNCTIONS.is_sorted());
    }

    #[test]
    fn parameters_get_the_types_of_their_places() {
        check("SELECT NOT $1", "SELECT NOT $1::BOOLEAN");
        check(
            "SELECT CASE WHEN $1 THEN $2 END WHERE $3 AND $4",
            "SELECT CASE WHEN $1::BOOLEAN THEN $2 END WHERE $3::BOOLEAN AND $4::BOOLEAN",
        );
        check(
            "SELECT left($1, $2), pg_catalog.upper('a')",
            "SELECT left($1::TEXT, $2::INT4), upper('a')",
        );
        check(
            "SELECT interval '1 day' * $1",
            "SELECT INTERVAL '1 day' * $1::DOUBLE PRECISION",
        );
        check("SELECT $1::int[] || $2", "SELECT $1::INT[] || $2::INT[]");
        check(
            "SELECT round($1), round(1.5, $2), round($3, 1)",
            "SELECT round($1::DOUBLE PRECISION), round(1.5, $2::INT4), round($3, 1)",
        );
        check(
            "SELECT substr($1, $2), floor($3)",
            "SELECT SUBSTR($1, $2::INT4), FLOOR($3::DOUBLE PRECISION)",
        );
        check("SELECT $1 || $2", "SELECT $1::TEXT || $2::TEXT");
        check(
            "SELECT to_timestamp($1), to_timestamp($2, $3), a[$4]",
            "SELECT to_timestamp($1::DOUBLE PRECISION), to_timestamp($2, $3), a[$4::INT4]",
        );
        check("SELECT 1 = $1", "SELECT 1 = $1");
    }
}
