//! Names of what is built in: `pg_catalog.` before functions, types and operators is left out, and a
//! relation of `pg_catalog` is found without it.
//!
//! `COLLATE` with a collation that orders by bytes is left out, too: that is how text is ordered anyway.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use crate::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, Statement, TableFactor, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;

use super::{call, expression};
use crate::parser::{fold, fold_name};
use crate::pg_catalog::{self, PG_CATALOG};
use crate::resolve::INFORMATION_SCHEMA;

/// Collations that order text by its bytes.
const BYTE_COLLATIONS: [&str; 4] = ["default", "c", "posix", "ucs_basic"];

/// Rewrites every name of something built in.
pub(super) fn rewrite(statement: &mut Statement) {
    let mut seen = Seen::default();
    let _ = Visit::visit(statement, &mut seen);
    let _ = VisitMut::visit(statement, &mut Rewriter { seen });
}

/// Names that a statement gives itself.
#[derive(Default)]
struct Seen {
    /// Common table expressions.
    queries: HashSet<String>,
    /// Aliases of catalog relations, with the relations.
    catalogs: HashMap<String, String>,
    /// Whether there are other relations.
    others: bool,
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            let names = with.cte_tables.iter().map(|table| fold(&table.alias.name));
            self.queries.extend(names);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let parts = fold_name(name);
                let ours = match parts.as_slice() {
                    [name] => pg_catalog::is_relation(name),
                    [.., schema, name] => schema == PG_CATALOG && pg_catalog::is_relation(name),
                    [] => false,
                };
                if let (true, Some(name)) = (ours, parts.last()) {
                    let alias = alias.as_ref().map(|alias| fold(&alias.name));
                    self.catalogs
                        .insert(alias.unwrap_or_else(|| name.clone()), name.clone());
                } else {
                    self.others = true;
                }
            }
            TableFactor::NestedJoin { .. } => {}
            _ => self.others = true,
        }
        ControlFlow::Continue(())
    }
}

struct Rewriter {
    seen: Seen,
}

/// Leaves out the schema of something built in.
fn unqualify(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && [PG_CATALOG, INFORMATION_SCHEMA].contains(&fold(schema).as_str())
    {
        name.0.remove(0);
    }
}

/// The type that a name means, without its schema.
fn built_in(ty: &DataType) -> Option<DataType> {
    let name = match ty {
        DataType::Custom(name, modifiers) if name.0.len() == 2 => {
            let parts = fold_name(name);
            let [schema, name] = parts.as_slice() else {
                return None;
            };
            let name = match (schema.as_str(), name.as_str()) {
                (PG_CATALOG, "char") => "\"char\"",
                (PG_CATALOG, name) => name,
                (INFORMATION_SCHEMA, "sql_identifier") => "name",
                (INFORMATION_SCHEMA, "character_data" | "yes_or_no") => "varchar",
                (INFORMATION_SCHEMA, "cardinal_number") => "int4",
                (INFORMATION_SCHEMA, "time_stamp") => "timestamptz",
                _ => return None,
            };
            if modifiers.is_empty() {
                name.to_owned()
            } else {
                format!("{name}({})", modifiers.join(", "))
            }
        }
        _ => return None,
    };
    let dialect = PostgreSqlDialect::default();
    let mut parser = Parser::new(&dialect).try_with_sql(&name).ok()?;
    parser.parse_data_type().ok()
}

fn mend_type(ty: &mut DataType) {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef::{
        AngleBracket, Parenthesis, SquareBracket,
    };
    match ty {
        DataType::Array(AngleBracket(item) | SquareBracket(item, _) | Parenthesis(item)) => {
            mend_type(item);
        }
        other => {
            if let Some(known) = built_in(other) {
                *other = known;
            }
        }
    }
}

/// The operator that `OPERATOR(pg_catalog.~)` is.
fn operator(parts: &[String]) -> Option<BinaryOperator> {
    Some(match parts.last()?.as_str() {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        "||" => BinaryOperator::StringConcat,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "@>" => BinaryOperator::AtArrow,
        "<@" => BinaryOperator::ArrowAt,
        "&&" => BinaryOperator::PGOverlap,
        _ => return None,
    })
}

/// `_pg_truetypid(a.*, t.*)` and its like: there are no domains, so the column's own type is the true one.
fn of_row(function: &Function) -> Option<Expr> {
    let column = match function.name.to_string().to_lowercase().as_str() {
        "_pg_truetypid" => "atttypid",
        "_pg_truetypmod" => "atttypmod",
        _ => return None,
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table)),
            _,
        ] => expression(&format!("{table}.{column}")),
        _ => None,
    }
}

impl Rewriter {
    /// The transaction of a catalog's row, a column that is not among `*`.
    fn is_xmin(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Identifier(name) => {
                fold(name) == "xmin" && !self.seen.others && !self.seen.catalogs.is_empty()
            }
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] => {
                    fold(name) == "xmin" && self.seen.catalogs.contains_key(&fold(table))
                }
                _ => false,
            },
            _ => false,
        }
    }
}

impl Rewriter {
    /// `t.tableoid`, the oid of the relation that a catalog's row is in.
    fn tableoid(&self, expr: &Expr) -> Option<Expr> {
        let Expr::CompoundIdentifier(parts) = expr else {
            return None;
        };
        let [table, column] = parts.as_slice() else {
            return None;
        };
        if fold(column) != "tableoid" {
            return None;
        }
        let relation = self.seen.catalogs.get(&fold(table))?;
        expression(&format!("'pg_catalog.{relation}'::regclass::oid"))
    }
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => {
                if let [ObjectNamePart::Identifier(only)] = name.0.as_slice() {
                    let folded = fold(only);
                    if pg_catalog::is_relation(&folded) && !self.seen.queries.contains(&folded) {
                        let schema = ObjectNamePart::Identifier(Ident::new(PG_CATALOG));
                        name.0.insert(0, schema);
                    }
                }
            }
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                unqualify(name);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(oid) = self.tableoid(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: oid,
                    alias: Ident::new("tableoid"),
                };
            }
            if let SelectItem::UnnamedExpr(expr) = item
                && self.is_xmin(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: call("tarn_xmin", vec![]),
                    alias: Ident::new("xmin"),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.is_xmin(expr) {
            *expr = call("tarn_xmin", vec![]);
        }
        if let Some(oid) = self.tableoid(expr) {
            *expr = oid;
        }
        match expr {
            Expr::Function(function) => {
                unqualify(&mut function.name);
                if let Some(column) = of_row(function) {
                    *expr = column;
                }
            }
            Expr::Cast {
                data_type,
                expr: inner,
                ..
            } => {
                mend_type(data_type);
                // A client sends the name: the parameter is text.
                if matches!(inner.as_ref(), Expr::Value(value)
                    if matches!(value.value, Value::Placeholder(_)))
                    && data_type.to_string().to_lowercase().starts_with("reg")
                    && let Some(text) = expression(&format!("{inner}::text"))
                {
                    **inner = text;
                }
            }
            Expr::TypedString(typed) => mend_type(&mut typed.data_type),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(known) = operator(parts)
                {
                    *op = known;
                }
            }
            Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = compare_op
                    && let Some(known) = operator(parts)
                {
                    *compare_op = known;
                }
            }
            _ => {}
        }
        if let Expr::Collate {
            expr: inner,
            collation,
        } = expr
            && fold_name(collation)
                .last()
                .is_some_and(|name| BYTE_COLLATIONS.contains(&name.to_lowercase().as_str()))
        {
            *expr = std::mem::replace(inner.as_mut(), Expr::Identifier(Ident::new("")));
            return self.pre_visit_expr(expr);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn what_is_built_in_needs_no_schema() {
        check(
            "SELECT pg_catalog.format_type(1, NULL), x::pg_catalog.text, y::pg_catalog.regclass[] FROM t",
            "SELECT format_type(1, NULL), x::TEXT, y::REGCLASS[] FROM t",
        );
        check(
            "SELECT 1 FROM t WHERE n OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default",
            "SELECT 1 FROM t WHERE n ~ '^(t)$'",
        );
        check(
            "SELECT x::information_schema.sql_identifier FROM t",
            "SELECT x::name FROM t",
        );
    }

    #[test]
    fn a_parameter_that_is_a_name_is_text() {
        check("SELECT $1::regclass", "SELECT $1::TEXT::REGCLASS");
        check("SELECT $1::oid", "SELECT $1::oid");
    }

    #[test]
    fn catalog_relations_come_before_those_of_the_session() {
        check(
            "SELECT * FROM pg_class c, t",
            "SELECT * FROM pg_catalog.pg_class c, t",
        );
        check(
            "WITH pg_class AS (SELECT 1) SELECT * FROM pg_class",
            "WITH pg_class AS (SELECT 1) SELECT * FROM pg_class",
        );
        check("SELECT * FROM main.pg_class", "SELECT * FROM main.pg_class");
    }

    #[test]
    fn rows_of_catalogs_have_a_transaction() {
        check(
            "SELECT c.xmin, age(c.xmin) FROM pg_class c",
            "SELECT tarn_xmin() AS xmin, age(tarn_xmin()) FROM pg_catalog.pg_class c",
        );
        check("SELECT t.xmin FROM t", "SELECT t.xmin FROM t");
    }
}
