//! Whether a statement asks about catalogs at all: only then is the directory read.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, ObjectName, Statement, TableFactor, Visit, Visitor,
};

use super::{functions, is_relation, schema_named};
use crate::parser::fold_name;

/// Whether `statement` names a catalog relation, one of the catalog functions, or a type such as `regclass`.
pub(crate) fn mentions(statement: &Statement) -> bool {
    Visit::visit(statement, &mut Finder).is_break()
}

struct Finder;

fn found(yes: bool) -> ControlFlow<()> {
    if yes {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Whether a cast to `ty` looks a name up.
fn looks_up(ty: &DataType) -> bool {
    match ty {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            let name = fold_name(name);
            name.last().is_some_and(|name| name.starts_with("reg"))
        }
        _ => false,
    }
}

fn is_function(name: &ObjectName) -> bool {
    let name = fold_name(name);
    name.last().is_some_and(|name| functions::is_ours(name))
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = fold_name(relation);
        found(match parts.as_slice() {
            [name] => is_relation(name) || functions::is_ours(name),
            [.., schema, _] => schema_named(schema).is_some(),
            [] => false,
        })
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => found(is_function(name)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => found(is_function(&function.name)),
            Expr::Cast { data_type, .. } => found(looks_up(data_type)),
            Expr::TypedString(typed) => found(looks_up(&typed.data_type)),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, wanted: bool) {
        let crate::parser::Statement::Query(statement) = crate::parser::parse(sql).unwrap() else {
            panic!("not a query")
        };
        assert_eq!(mentions(&statement), wanted, "{sql}");
    }

    #[test]
    fn only_statements_about_catalogs_read_the_directory() {
        check("SELECT * FROM pg_class", true);
        check("SELECT * FROM information_schema.tables", true);
        check(
            "SELECT 1 WHERE EXISTS (SELECT pg_catalog.format_type(23, NULL))",
            true,
        );
        check("SELECT 'orders'::regclass", true);
        check("SELECT version()", true);
        check("SELECT count(*) FROM orders", false);
        check("SELECT current_schema()", false);
    }
}
