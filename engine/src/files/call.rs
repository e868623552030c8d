//! Finds calls of file functions in a statement and puts names of tables in their places.
//!
//! Knows syntax: which arguments stand there, not what they mean.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor,
    UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::FILES_CATALOG;
use super::options::function_named;
use crate::error::{EngineError, ErrorKind};
use crate::parser::fold_name;

const FILES_SCHEMA: &str = "files";

/// What an option is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    /// A string or number.
    Text(String),
    /// `true`, `false`.
    Switch(bool),
    /// `['a', 'b']`
    List(Vec<String>),
    /// `{'a': 'int'}`
    Map(Vec<(String, String)>),
}

/// One call found in a statement.
#[derive(Clone, Debug)]
pub(crate) struct FileCall {
    /// Name of the table that stands for it.
    pub(crate) table: String,
    /// Its name, by which users know it.
    pub(crate) function: &'static str,
    pub(crate) paths: Vec<String>,
    /// In the order given, names in small letters.
    pub(crate) options: Vec<(String, Argument)>,
}

/// Replaces every file function in `statement` by a table name and returns the calls.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for arguments that are not a path and named options.
pub(crate) fn extract(statement: &mut ast::Statement) -> Result<Vec<FileCall>, EngineError> {
    let mut finder = Finder { calls: vec![] };
    match VisitMut::visit(statement, &mut finder) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(finder.calls),
    }
}

struct Finder {
    calls: Vec<FileCall>,
}

impl VisitorMut for Finder {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<EngineError> {
        if query.locks.is_empty() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(EngineError::unsupported("SELECT … FOR UPDATE or SHARE"))
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<EngineError> {
        if matches!(
            factor,
            TableFactor::Table {
                sample: Some(_),
                ..
            }
        ) {
            return ControlFlow::Break(EngineError::unsupported("TABLESAMPLE"));
        }
        let TableFactor::Table {
            name,
            alias,
            args: args @ Some(_),
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(function) = function_named(&fold_name(name).join(".")) else {
            return ControlFlow::Continue(());
        };
        let table = format!("{function}_{}", self.calls.len());
        let call = match args.as_ref().map(|a| call(function, &table, &a.args)) {
            Some(Ok(call)) => call,
            Some(Err(error)) => return ControlFlow::Break(error),
            None => return ControlFlow::Continue(()),
        };
        self.calls.push(call);
        let part = |text: &str| ObjectNamePart::Identifier(Ident::with_quote('"', text));
        *name = ObjectName(vec![part(FILES_CATALOG), part(FILES_SCHEMA), part(&table)]);
        *args = None;
        if alias.is_none() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::new(function),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

fn call(
    function: &'static str,
    table: &str,
    args: &[FunctionArg],
) -> Result<FileCall, EngineError> {
    let usage = || {
        EngineError::new(
            ErrorKind::InvalidParameter,
            format!("{function} takes a path, or an array of paths, and named options"),
        )
        .with_hint(format!("as in {function}('s3://bucket/data/*.ext')"))
    };
    let mut out = FileCall {
        table: table.to_owned(),
        function,
        paths: vec![],
        options: vec![],
    };
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if out.paths.is_empty() => {
                out.paths = match argument(expr) {
                    Some(Argument::Text(path)) => vec![path],
                    Some(Argument::List(paths)) if !paths.is_empty() => paths,
                    _ => return Err(usage()),
                };
            }
            FunctionArg::Named { name, arg, .. }
            | FunctionArg::ExprNamed {
                name: ast::Expr::Identifier(name),
                arg,
                ..
            } => {
                let FunctionArgExpr::Expr(expr) = arg else {
                    return Err(usage());
                };
                let name = name.value.to_lowercase();
                let value = argument(expr).ok_or_else(|| {
                    EngineError::new(
                        ErrorKind::InvalidParameter,
                        format!("{function}: option {name} takes a literal, not {expr}"),
                    )
                    .with_hint("options are read before the statement is planned; write the value, e.g. 'text', 10, true, ['a', 'b'] or {'column': 'type'}")
                })?;
                if out.options.iter().any(|(known, _)| *known == name) {
                    return Err(EngineError::new(
                        ErrorKind::InvalidParameter,
                        format!("{function}: option {name} is given twice"),
                    ));
                }
                out.options.push((name, value));
            }
            _ => return Err(usage()),
        }
    }
    if out.paths.is_empty() {
        return Err(usage());
    }
    Ok(out)
}

fn argument(expr: &ast::Expr) -> Option<Argument> {
    match expr {
        ast::Expr::Array(array) => {
            let items = array.elem.iter().map(literal_text).collect::<Option<_>>()?;
            Some(Argument::List(items))
        }
        ast::Expr::Dictionary(fields) => {
            let pair = |field: &ast::DictionaryField| {
                Some((field.key.value.clone(), literal_text(&field.value)?))
            };
            Some(Argument::Map(
                fields.iter().map(pair).collect::<Option<_>>()?,
            ))
        }
        ast::Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some(
            Argument::Switch(matches!(value.value, Value::Boolean(true))),
        ),
        ast::Expr::Nested(inner) => argument(inner),
        other => literal_text(other).map(Argument::Text),
    }
}

fn literal_text(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::Number(text, _) => Some(text.clone()),
            Value::DollarQuotedString(text) => Some(text.value.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        },
        ast::Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            ast::Expr::Value(value) => match &value.value {
                Value::Number(text, _) => Some(format!("-{text}")),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str) -> (Vec<FileCall>, String) {
        let crate::parser::Statement::Query(mut statement) = crate::parser::parse(sql).unwrap()
        else {
            panic!("not a query")
        };
        let calls = extract(&mut statement).unwrap();
        (calls, statement.to_string())
    }

    #[test]
    fn calls_are_found_with_options_and_replaced() {
        let (calls, left) = check(
            "SELECT * FROM read_csv('/a/b.csv.gz', delim => ';', header => false, sample_size => -1) WHERE 1 IN (SELECT 1 FROM read_parquet(['/x', '/y']) p)",
        );
        assert_eq!(calls.len(), 2);
        assert_eq!(
            calls[0].options,
            [
                ("delim".to_owned(), Argument::Text(";".to_owned())),
                ("header".to_owned(), Argument::Switch(false)),
                ("sample_size".to_owned(), Argument::Text("-1".to_owned())),
            ]
        );
        assert_eq!(calls[1].paths, ["/x", "/y"]);
        assert!(!left.contains("read_csv("));
    }

    #[test]
    fn maps_and_lists_are_options_too() {
        let (calls, _) = check(
            "SELECT * FROM read_csv('/a', columns => {'a': 'int', 'b': 'decimal(5,2)'}, nullstr => ['', 'NA'])",
        );
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            calls[0].options,
            [
                (
                    "columns".to_owned(),
                    Argument::Map(vec![pair("a", "int"), pair("b", "decimal(5,2)")])
                ),
                (
                    "nullstr".to_owned(),
                    Argument::List(vec![String::new(), "NA".to_owned()])
                ),
            ]
        );
    }

    #[test]
    fn a_name_of_the_other_product_is_the_same_function() {
        let (calls, _) = check("SELECT * FROM read_blob('/a'), read_ndjson('/b')");
        assert_eq!(calls[0].function, "read_binary_file");
        assert_eq!(calls[1].function, "read_json");
    }
}
