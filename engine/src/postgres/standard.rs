//! What standard SQL and PostgreSQL spell otherwise than DataFusion: `FETCH FIRST`, `CURRENT_SCHEMA`, `every`, `&&`, `^@`,
//! `count(t)`, casts to `varchar(n)`, which cut.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CharacterLength, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, LimitClause, Query, Select, Statement, Subscript,
    TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::expression;
use crate::parser::{fold, fold_name};

/// Functions that DataFusion has under other names.
const RENAMED: [(&str, &str); 5] = [
    ("variance", "var_samp"),
    ("every", "bool_and"),
    ("array_to_json", "to_json"),
    ("array_remove", "array_remove_all"),
    ("array_replace", "array_replace_all"),
];

/// Rewrites every such spelling.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        fetch_first(query);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let [from] = select.from.as_slice()
            && from.joins.is_empty()
            && let Some(table) = name_of(&from.relation)
        {
            let _ = VisitMut::visit(&mut select.projection, &mut CountRows { table });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let new = match expr {
            Expr::Function(function) => {
                rename(function);
                json_agg(function)
            }
            Expr::Identifier(name)
                if name.quote_style.is_none() && fold(name) == "current_schema" =>
            {
                expression("current_schema()")
            }
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::PGOverlap => expression(&format!("array_has_any({left}, {right})")),
                BinaryOperator::PGStartsWith => {
                    expression(&format!("starts_with({left}, {right})"))
                }
                _ => None,
            },
            Expr::Cast {
                expr: inner,
                data_type,
                ..
            } => {
                if let Some(length) = cut(data_type)
                    && let Some(cut) = expression(&format!("left(CAST({inner} AS TEXT), {length})"))
                {
                    **inner = cut;
                }
                None
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter_mut().for_each(nothing_before_the_first);
                None
            }
            _ => None,
        };
        if let Some(new) = new {
            *expr = new;
        }
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST n ROWS ONLY` is a limit; WITH TIES and PERCENT stay, and are refused.
fn fetch_first(query: &mut Query) {
    let Some(fetch) = &query.fetch else { return };
    if fetch.with_ties || fetch.percent {
        return;
    }
    let count = fetch.quantity.clone();
    let count = count.unwrap_or_else(|| Expr::value(Value::Number("1".to_owned(), false)));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset: None,
                limit_by: vec![],
            });
        }
        Some(LimitClause::LimitOffset {
            limit: limit @ None,
            ..
        }) => *limit = Some(count),
        Some(_) => return,
    }
    query.fetch = None;
}

fn rename(function: &mut Function) {
    let name = fold_name(&function.name);
    let [name] = name.as_slice() else { return };
    if let Some((_, known)) = RENAMED.iter().find(|(ours, _)| ours == name) {
        function.name = Ident::new(*known).into();
    }
}

/// `json_agg(x)` as texts in brackets.
fn json_agg(function: &Function) -> Option<Expr> {
    let name = fold_name(&function.name);
    let made = match name.as_slice() {
        [name] if name == "json_agg" => "json",
        [name] if name == "jsonb_agg" => "jsonb",
        _ => return None,
    };
    if function.over.is_some() {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = list.args.as_slice() else {
        return None;
    };
    let mut texts = Expr::Function(function.clone());
    if let Expr::Function(texts) = &mut texts
        && let FunctionArguments::List(list) = &mut texts.args
    {
        texts.name = Ident::new("string_agg").into();
        let text = expression(&format!("coalesce(to_json({value})::text, 'null')"))?;
        // Rows stand in lines.
        let is_row =
            matches!(&value, Expr::Function(row) if row.name.to_string() == "named_struct");
        let comma = if is_row && made == "json" {
            ", \n "
        } else {
            ", "
        };
        let comma = Expr::value(Value::SingleQuotedString(comma.to_owned()));
        list.args = [text, comma]
            .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
            .to_vec();
    }
    expression(&format!("('[' || {texts} || ']')::{made}"))
}

/// Characters that a type leaves of a text. Source: PostgreSQL, "Character Types": an explicit cast cuts.
fn cut(ty: &DataType) -> Option<u64> {
    match ty {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Character(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Char(Some(CharacterLength::IntegerLength { length, .. })) => Some(*length),
        DataType::Character(None) | DataType::Char(None) => Some(1),
        _ => None,
    }
}

/// `(array)[-1]` is NULL: DataFusion would count from the end.
fn nothing_before_the_first(access: &mut AccessExpr) {
    if let AccessExpr::Subscript(Subscript::Index { index }) = access
        && matches!(index, Expr::UnaryOp { op: UnaryOperator::Minus, expr }
            if matches!(expr.as_ref(), Expr::Value(_)))
    {
        *index = Expr::value(Value::Number("0".to_owned(), false));
    }
}

fn name_of(table: &TableFactor) -> Option<String> {
    match table {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(fold(&alias.name)),
        TableFactor::Table { name, .. } => fold_name(name).pop(),
        _ => None,
    }
}

/// `count(t)` of the only table counts its rows.
struct CountRows {
    table: String,
}

impl VisitorMut for CountRows {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("count")
            && let FunctionArguments::List(list) = &mut function.args
            && list.duplicate_treatment.is_none()
            && let [FunctionArg::Unnamed(arg)] = list.args.as_mut_slice()
            && matches!(arg, FunctionArgExpr::Expr(Expr::Identifier(name)) if fold(name) == self.table)
        {
            *arg = FunctionArgExpr::Wildcard;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn fetch_is_a_limit() {
        check(
            "SELECT a FROM t ORDER BY a OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY",
            "SELECT a FROM t ORDER BY a LIMIT 3 OFFSET 2 ROWS",
        );
        check(
            "SELECT a FROM t FETCH FIRST ROW ONLY",
            "SELECT a FROM t LIMIT 1",
        );
        check(
            "SELECT a FROM t FETCH FIRST 2 ROWS WITH TIES",
            "SELECT a FROM t FETCH FIRST 2 ROWS WITH TIES",
        );
    }

    #[test]
    fn a_cast_to_a_length_cuts() {
        check(
            "SELECT a::varchar(2), 'abc'::char, b::text",
            "SELECT left(CAST(a AS TEXT), 2)::VARCHAR(2), left(CAST('abc' AS TEXT), 1)::CHAR, b::TEXT",
        );
    }

    #[test]
    fn other_names_and_operators_are_known() {
        check(
            "SELECT variance(a), every(b), array_remove(c, 1)",
            "SELECT var_samp(a), bool_and(b), array_remove_all(c, 1)",
        );
        check(
            "SELECT a && b, c ^@ 'x', current_schema",
            "SELECT array_has_any(a, b), starts_with(c, 'x'), current_schema()",
        );
        check(
            "SELECT json_agg(a ORDER BY b) FROM t",
            "SELECT ('[' || string_agg(coalesce(to_json(a)::TEXT, 'null'), ', ' ORDER BY b) || ']')::JSON FROM t",
        );
        check("SELECT count(u) FROM u", "SELECT count(*) FROM u");
        check(
            "SELECT count(u) FROM t LEFT JOIN u ON true",
            "SELECT count(u) FROM t LEFT JOIN u ON true",
        );
        check("SELECT (a)[-1], a[2]", "SELECT (a)[0], a[2]");
    }
}
