//! Regular expressions as PostgreSQL writes them: `SIMILAR TO`, the words `\m`, `\M`, `\y`, and `substring(s FROM 'regex')`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value,
};

use super::{expression, replace_expressions};
use crate::parser::fold_name;

/// Escapes of PostgreSQL's that the engine spells otherwise. Source: PostgreSQL, "Regular Expression Constraint Escapes".
const ESCAPES: [(char, &str); 5] = [
    ('m', "\\b{start}"),
    ('M', "\\b{end}"),
    ('y', "\\b"),
    ('Y', "\\B"),
    ('Z', "\\z"),
];
/// Functions whose second argument is a regular expression.
const FUNCTIONS: [&str; 9] = [
    "regexp_replace",
    "regexp_match",
    "regexp_matches",
    "regexp_like",
    "regexp_count",
    "regexp_instr",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
];

/// Rewrites every such expression.
pub(super) fn rewrite(statement: &mut Statement) {
    replace_expressions(statement, replacement);
}

fn replacement(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => {
            let escape = match escape_char.as_ref().map(|escape| &escape.value) {
                None => Some("\\".to_owned()),
                Some(Value::SingleQuotedString(escape)) => Some(escape.replace('\'', "''")),
                Some(_) => None,
            };
            let op = if *negated { "!~" } else { "~" };
            escape.and_then(|escape| {
                expression(&format!(
                    "(({expr}) {op} tarn_similar({pattern}, '{escape}'))"
                ))
            })
        }
        Expr::BinaryOp { op, right, .. } if is_match(op) => {
            translate(right);
            None
        }
        Expr::Function(function) => {
            let name = fold_name(&function.name).pop().unwrap_or_default();
            if FUNCTIONS.contains(&name.as_str())
                && let FunctionArguments::List(list) = &mut function.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) =
                    list.args.get_mut(1)
            {
                translate(pattern);
            }
            None
        }
        Expr::Substring {
            expr,
            substring_from: Some(pattern),
            substring_for: None,
            ..
        } if is_literal(pattern) => {
            translate(pattern);
            expression(&format!("(regexp_match({expr}, {pattern}))[1]"))
        }
        _ => None,
    }
}

fn is_match(op: &BinaryOperator) -> bool {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    matches!(
        op,
        PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch
    )
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::SingleQuotedString(_)),
        Expr::Nested(inner) => is_literal(inner),
        _ => false,
    }
}

fn literal(expr: &mut Expr) -> Option<&mut String> {
    match expr {
        Expr::Value(value) => match &mut value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

/// A literal pattern in the engine's spelling.
fn translate(pattern: &mut Expr) {
    let Some(text) = literal(pattern) else { return };
    if !text.contains('\\') {
        return;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(next) = chars.next() else {
            out.push(c);
            break;
        };
        match ESCAPES.iter().find(|(escape, _)| *escape == next) {
            Some((_, known)) => out.push_str(known),
            None => out.extend([c, next]),
        }
    }
    *text = out;
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn words_begin_and_end() {
        check(
            "SELECT a ~ '\\mbar\\M', a !~* '\\\\m\\d', regexp_replace(a, '\\y', 'x')",
            "SELECT a ~ '\\b{start}bar\\b{end}', a !~* '\\\\m\\d', regexp_replace(a, '\\b', 'x')",
        );
    }

    #[test]
    fn similar_to_is_a_regular_expression() {
        check(
            "SELECT a SIMILAR TO '(a|b)%', a NOT SIMILAR TO 'x#_' ESCAPE '#'",
            "SELECT ((a) ~ tarn_similar('(a|b)%', '\\')), ((a) !~ tarn_similar('x#_', '#'))",
        );
    }

    #[test]
    fn a_part_may_be_found_by_a_pattern() {
        check(
            "SELECT substring(a FROM 'l+'), substring(a FROM 2)",
            "SELECT (regexp_match(a, 'l+'))[1], SUBSTRING(a FROM 2)",
        );
    }
}
