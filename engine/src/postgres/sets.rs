//! Functions that give several rows, in FROM and among the results, as `unnest` of lists; and functions of one
//! value in FROM, as queries of one row.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Select, SelectItem, Statement, Subscript, TableAlias,
    TableAliasColumnDef, TableFactor, Value, VisitMut, VisitorMut,
};

use super::query;
use crate::files;
use crate::parser::{fold, fold_name};
use crate::pg_catalog::{PG_CATALOG, is_ours, is_relation, sets};

/// Rewrites every call of such a function.
pub(super) fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewriter);
}

/// Functions that are tables already, besides those that read files.
const TABLES: [&str; 3] = ["generate_series", "range", "unnest"];

/// Whether a function gives one value for its arguments.
fn gives_value(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> =
        LazyLock::new(|| crate::functions::function_names().into_iter().collect());
    !TABLES.contains(&name)
        && files::function_named(name).is_none()
        && (is_ours(name) || NAMES.contains(name))
}

struct Rewriter;

/// The columns of a row of the set-returning function `name`; none for a function of single values.
fn columns(name: &str) -> Option<&'static [&'static str]> {
    let known = sets::SETS.iter().find(|(known, _)| *known == name);
    known.map(|(_, columns)| *columns)
}

/// Whether the function gives a list whose items are rows.
fn gives_rows(name: &str) -> bool {
    name == "generate_series" || columns(name).is_some()
}

fn is_literal(arg: &FunctionArg) -> bool {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match expr {
            Expr::Value(value) => !matches!(value.value, Value::Placeholder(_)),
            Expr::Interval(_) => true,
            Expr::UnaryOp { expr, .. } => matches!(expr.as_ref(), Expr::Value(_)),
            _ => false,
        },
        _ => false,
    }
}

/// A table function as a query; none if DataFusion knows it as a table function.
fn as_query(
    name: &ObjectName,
    args: &[FunctionArg],
    alias: Option<&TableAlias>,
    ordinality: bool,
) -> Option<TableFactor> {
    let folded = fold_name(name);
    let [function] = folded.as_slice() else {
        return None;
    };
    let list = args
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let call = format!("{function}({list})");
    if function == "generate_series" && !ordinality && args.iter().all(is_literal) {
        return None;
    }
    let label = alias.map_or_else(|| Ident::new(function.clone()), |alias| alias.name.clone());
    let sql = if function == "unnest" && args.len() == 1 {
        rows(&list, &[], &label, ordinality)
    } else if gives_rows(function) {
        rows(
            &call,
            columns(function).unwrap_or_default(),
            &label,
            ordinality,
        )
    } else if gives_value(function) {
        format!("SELECT {call} AS {label}")
    } else {
        return None;
    };
    derived(&sql, alias, &label)
}

/// A list as text; the planner takes columns from outside in a call only.
fn list_text(list: &Expr) -> String {
    match list {
        Expr::Array(array) if !array.elem.is_empty() => {
            let items: Vec<String> = array.elem.iter().map(ToString::to_string).collect();
            format!("make_array({})", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// The relation that a function without arguments is, such as `pg_show_all_settings()`.
fn relation(name: &ObjectName) -> Option<String> {
    let folded = fold_name(name);
    match folded.as_slice() {
        [name] if name == "pg_show_all_settings" => Some("pg_settings".to_owned()),
        [name] if is_relation(name) => Some(name.clone()),
        _ => None,
    }
}

/// The query of the items of a list, each item as columns if it has some.
fn rows(list: &str, columns: &[&str], label: &Ident, ordinality: bool) -> String {
    if ordinality {
        let items = match columns {
            [] => format!("tarn_row['x'] AS {label}"),
            columns => fields("tarn_row['x']", columns),
        };
        return format!(
            "SELECT {items}, tarn_row['n'] AS ordinality FROM (SELECT unnest(_pg_expandarray({list})) AS tarn_row) AS tarn_rows"
        );
    }
    match columns {
        [] => format!("SELECT unnest({list}) AS {label}"),
        columns => format!(
            "SELECT {} FROM (SELECT unnest({list}) AS tarn_row) AS tarn_rows",
            fields("tarn_row", columns)
        ),
    }
}

fn fields(row: &str, columns: &[&str]) -> String {
    let fields = columns
        .iter()
        .map(|column| format!("{row}['{column}'] AS {column}"));
    fields.collect::<Vec<_>>().join(", ")
}

fn derived(sql: &str, alias: Option<&TableAlias>, label: &Ident) -> Option<TableFactor> {
    let alias = alias.cloned().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: label.clone(),
        columns: vec![],
        at: None,
    });
    Some(TableFactor::Derived {
        lateral: true,
        subquery: query(sql)?,
        alias: Some(alias),
        sample: None,
    })
}

/// A call of a function that gives a list, as the rows of the list.
fn unnested(function: &Function) -> Expr {
    let mut inner = function.clone();
    // Its name is taken by the rows.
    inner.name = function.name.clone();
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(
            inner,
        )))],
        clauses: vec![],
    };
    Expr::Function(Function {
        name: Ident::new("unnest").into(),
        args: FunctionArguments::List(list),
        ..function.clone()
    })
}

/// Makes rows of the calls in an item of the results, but not of those in its subqueries.
struct Unnest {
    depth: usize,
    inside: usize,
}

impl VisitorMut for Unnest {
    type Break = ();

    fn pre_visit_query(
        &mut self,
        _: &mut datafusion::sql::sqlparser::ast::Query,
    ) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(
        &mut self,
        _: &mut datafusion::sql::sqlparser::ast::Query,
    ) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_unnest(expr) {
            self.inside += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_unnest(expr) {
            self.inside -= 1;
            return ControlFlow::Continue(());
        }
        if self.depth == 0
            && self.inside == 0
            && let Expr::Function(function) = expr
            && function.over.is_none()
            && let [name] = fold_name(&function.name).as_slice()
            && gives_rows(name)
        {
            *expr = unnested(function);
        }
        ControlFlow::Continue(())
    }
}

fn is_unnest(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if function.name.to_string().eq_ignore_ascii_case("unnest"))
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let new = match factor {
            TableFactor::Table {
                name,
                args: Some(args),
                alias,
                ..
            } if args.args.is_empty() && relation(name).is_some() => {
                let folded = fold_name(name).pop().unwrap_or_default();
                let label = alias
                    .as_ref()
                    .map_or_else(|| Ident::new(folded), |alias| alias.name.clone());
                let relation = relation(name).unwrap_or_default();
                derived(
                    &format!("SELECT * FROM {PG_CATALOG}.{relation}"),
                    alias.as_ref(),
                    &label,
                )
            }
            TableFactor::Table {
                name,
                args: Some(args),
                alias,
                with_ordinality,
                ..
            } => {
                let new = as_query(name, &args.args, alias.as_ref(), *with_ordinality);
                if let (None, Some(alias)) = (&new, alias)
                    && alias.columns.is_empty()
                    && fold_name(name).last().is_some_and(|name| gives_rows(name))
                {
                    // The only column of a function has the name of its alias.
                    alias.columns.push(TableAliasColumnDef {
                        name: alias.name.clone(),
                        data_type: None,
                    });
                }
                new
            }
            TableFactor::Function {
                name,
                args,
                alias,
                with_ordinality,
                ..
            } => as_query(name, args, alias.as_ref(), *with_ordinality),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_ordinality,
                ..
            } => match array_exprs.as_slice() {
                [list] => {
                    let label = alias
                        .as_ref()
                        .map_or_else(|| Ident::new("unnest"), |alias| alias.name.clone());
                    let sql = rows(&list_text(list), &[], &label, *with_ordinality);
                    derived(&sql, alias.as_ref(), &label)
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(new) = new {
            *factor = new;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let named = match item {
                SelectItem::UnnamedExpr(Expr::Function(function)) => {
                    let name = fold_name(&function.name);
                    name.last().filter(|name| gives_rows(name)).cloned()
                }
                _ => None,
            };
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item
            else {
                continue;
            };
            let _ = VisitMut::visit(
                expr,
                &mut Unnest {
                    depth: 0,
                    inside: 0,
                },
            );
            if let Some(name) = named {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::new(name),
                };
            }
        }
        ControlFlow::Continue(())
    }

    /// `(row).field`.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && !matches!(
                root.as_ref(),
                Expr::Identifier(_) | Expr::CompoundIdentifier(_)
            )
        {
            for access in access_chain {
                if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                    let name = Value::SingleQuotedString(fold(name));
                    *access = AccessExpr::Subscript(Subscript::Index {
                        index: Expr::value(name),
                    });
                }
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;

    #[test]
    fn functions_in_from_are_queries() {
        check(
            "SELECT s FROM unnest(current_schemas(true)) AS s",
            "SELECT s FROM LATERAL (SELECT unnest(current_schemas(true)) AS s) AS s",
        );
        check(
            "SELECT * FROM generate_series(1, 3)",
            "SELECT * FROM generate_series(1, 3)",
        );
        check(
            "SELECT x FROM generate_series(1, 3) x",
            "SELECT x FROM generate_series(1, 3) x (x)",
        );
        check(
            "SELECT * FROM t, unnest(t.keys) WITH ORDINALITY AS k(key, n)",
            "SELECT * FROM t, LATERAL (SELECT tarn_row['x'] AS k, tarn_row['n'] AS ordinality FROM (SELECT unnest(_pg_expandarray(t.keys)) AS tarn_row) AS tarn_rows) AS k (key, n)",
        );
        check(
            "SELECT word FROM pg_get_keywords()",
            "SELECT word FROM LATERAL (SELECT tarn_row['word'] AS word, tarn_row['catcode'] AS catcode, tarn_row['barelabel'] AS barelabel, tarn_row['catdesc'] AS catdesc, tarn_row['baredesc'] AS baredesc FROM (SELECT unnest(pg_get_keywords()) AS tarn_row) AS tarn_rows) AS pg_get_keywords",
        );
    }

    #[test]
    fn functions_among_the_results_give_rows() {
        check(
            "SELECT generate_series(1, 3), (information_schema._pg_expandarray(k)).n FROM t",
            "SELECT unnest(generate_series(1, 3)) AS generate_series, (unnest(_pg_expandarray(k)))['n'] FROM t",
        );
    }
}
