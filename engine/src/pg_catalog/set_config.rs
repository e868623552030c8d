//! `set_config(name, value, false)`, which changes the session: it is done before the query is planned.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value, Visit,
    Visitor,
};

use crate::parser::fold_name;

/// The settings that a query changes with constants, in order: name and value.
pub(crate) fn changes(statement: &Statement) -> Vec<(String, String)> {
    let mut finder = Finder::default();
    let _ = Visit::visit(statement, &mut finder);
    finder.found
}

#[derive(Default)]
struct Finder {
    found: Vec<(String, String)>,
}

fn text(arg: &FunctionArg) -> Option<String> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
        return None;
    };
    let expr = match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => expr,
        other => other,
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn change(function: &Function) -> Option<(String, String)> {
    let name = fold_name(&function.name);
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [setting, value, _] = list.args.as_slice() else {
        return None;
    };
    if name.last().map(String::as_str) != Some("set_config") {
        return None;
    }
    Some((text(setting)?, text(value)?))
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.found.extend(change(function));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_where_they_are_constant() {
        let sql =
            "SELECT pg_catalog.set_config('search_path', 'main', false), set_config(a, 'b', false)";
        let crate::parser::Statement::Query(statement) = crate::parser::parse(sql).unwrap() else {
            panic!("not a query")
        };
        assert_eq!(
            changes(&statement),
            [("search_path".to_owned(), "main".to_owned())]
        );
    }
}
