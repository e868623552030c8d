//! `regclass`, `regtype` and the like: oids that are written as names.
//!
//! A value of such a type is an oid whose field says which. [`RegCasts`] makes casts from and to text look names up;
//! [`shown`] does so for the columns of a result.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::Take::{Named, Oid, Text};
use super::describe::type_text;
use super::names::{parts, quoted, relation};
use super::{Arg, CatalogFunction, Definition, array_text, definitions, lenient, strict};
use crate::error::{EngineError, ErrorKind};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::relations::{TYPES, all_functions};
use crate::pg_catalog::rows::Val::{self, Null, Owned};
use crate::pg_catalog::types::PG_TYPE_KEY;

/// Prefix of the functions that read names.
const REG_IN: &str = "tarn_in_";
/// The function that writes names.
pub(crate) const REG_OUT: &str = "tarn_reg_out";
/// Types whose values are written as names.
const KINDS: [&str; 8] = [
    "regclass",
    "regtype",
    "regproc",
    "regprocedure",
    "regnamespace",
    "regrole",
    "regoper",
    "regoperator",
];

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("tarn_in_regclass", &[&[Named]], "regclass", class_in),
    strict("tarn_in_regtype", &[&[Named]], "regtype", type_in),
    strict("tarn_in_regproc", &[&[Named]], "regproc", proc_in),
    strict("tarn_in_regprocedure", &[&[Named]], "regprocedure", proc_in),
    strict(
        "tarn_in_regnamespace",
        &[&[Named]],
        "regnamespace",
        namespace_in,
    ),
    strict("tarn_in_regrole", &[&[Named]], "regrole", role_in),
    strict("tarn_in_regoper", &[&[Named]], "regoper", operator_in),
    strict(
        "tarn_in_regoperator",
        &[&[Named]],
        "regoperator",
        operator_in,
    ),
    strict(REG_OUT, &[&[Text, Oid]], "text", out),
    strict("to_regclass", &[&[Text]], "regclass", to_class),
    strict("to_regtype", &[&[Text]], "regtype", to_type),
    strict("to_regproc", &[&[Text]], "regproc", to_proc),
    strict("to_regprocedure", &[&[Text]], "regprocedure", to_proc),
    strict("to_regnamespace", &[&[Text]], "regnamespace", to_namespace),
    strict("to_regrole", &[&[Text]], "regrole", to_role),
    lenient("pg_typeof", &[&[super::Take::Type]], "regtype", type_of),
];

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn type_of(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Val::Oid(args[0].oid()))
}

/// An oid that is written as a number, or `-`.
fn number(arg: &Arg<'_>) -> Option<u32> {
    match arg {
        Arg::Oid(oid) => Some(*oid),
        Arg::Text("-") => Some(0),
        Arg::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The oid of an argument: a number as it is, a name as `find` finds it.
fn read(
    kind: &str,
    args: &[Arg<'_>],
    find: impl FnOnce(&str) -> Result<Option<u32>>,
) -> Result<Val<'static>> {
    if let Some(oid) = number(&args[0]) {
        return Ok(Val::Oid(oid));
    }
    let name = args[0].text().unwrap_or_default();
    if let Some(oid) = find(name)? {
        Ok(Val::Oid(oid))
    } else {
        let class = match kind {
            "schema" => ErrorKind::UndefinedSchema,
            "function" | "operator" => ErrorKind::UndefinedFunction,
            _ => ErrorKind::UndefinedObject,
        };
        let message = format!("{kind} \"{name}\" does not exist");
        Err(EngineError::new(class, message).into())
    }
}

fn class(context: &CatalogContext, name: &str) -> Result<Option<u32>> {
    Ok(context
        .resolve(&parts(name)?)
        .map(|(_, relation)| relation.oid))
}

fn class_in(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    if let Some(oid) = number(&args[0]) {
        return Ok(Val::Oid(oid));
    }
    let found = relation(context, &args[0])?;
    Ok(found.map_or(Null, |(_, relation)| Val::Oid(relation.oid)))
}

/// The type that a name in SQL means.
fn named_type(name: &str) -> Option<u32> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    if let Some(item) = name.strip_suffix("[]") {
        let item = named_type(item)?;
        return TYPES
            .iter()
            .find(|row| row.oid == item)
            .map(|row| row.array);
    }
    let bare = name.split('(').next().unwrap_or_default().trim();
    let bare = match bare {
        "int" => "int4",
        "decimal" | "dec" => "numeric",
        "float" => "float8",
        "string" => "text",
        "varbit" => "bit varying",
        "\"char\"" => "char",
        "char" => "bpchar",
        other => other.trim_matches('"'),
    };
    TYPES
        .iter()
        .find(|row| row.name == bare || type_text(row.oid, None) == bare)
        .map(|row| row.oid)
}

fn type_in(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    read("type", args, |name| Ok(named_type(name)))
}

fn function(context: &CatalogContext, name: &str) -> Result<Option<u32>> {
    let name = name.split('(').next().unwrap_or_default();
    let parts = parts(name)?;
    let Some(name) = parts.last() else {
        return Ok(None);
    };
    Ok(all_functions(context)
        .iter()
        .find(|function| function.name == *name)
        .map(|function| function.oid))
}

fn proc_in(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    read("function", args, |name| function(context, name))
}

fn namespace(context: &CatalogContext, name: &str) -> Result<Option<u32>> {
    let parts = parts(name)?;
    Ok(context
        .directory
        .schema(&parts.join("."))
        .map(|schema| schema.oid))
}

fn namespace_in(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    read("schema", args, |name| namespace(context, name))
}

fn role(context: &CatalogContext, name: &str) -> Result<Option<u32>> {
    let parts = parts(name)?;
    Ok(context.role(&parts.join(".")).map(|role| role.oid))
}

fn role_in(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    read("role", args, |name| role(context, name))
}

fn operator_in(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    read("operator", args, |_| Ok(None))
}

/// The oid of a name that may be nobody's.
fn to(found: Result<Option<u32>>) -> Val<'static> {
    found.ok().flatten().map_or(Null, Val::Oid)
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn to_class(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(to(class(context, args[0].text().unwrap_or_default())))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn to_type(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(to(Ok(named_type(args[0].text().unwrap_or_default()))))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn to_proc(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(to(function(context, args[0].text().unwrap_or_default())))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn to_namespace(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(to(namespace(context, args[0].text().unwrap_or_default())))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn to_role(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(to(role(context, args[0].text().unwrap_or_default())))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn out(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let oid = args[1].oid();
    if oid == 0 {
        return Ok(Owned("-".to_owned()));
    }
    let name = match args[0].text().unwrap_or_default() {
        "regclass" => context.directory.by_oid(oid).map(|(schema, relation)| {
            let name = quoted(&relation.name);
            if context.is_visible(&schema.name, &relation.name) {
                name
            } else {
                format!("{}.{name}", quoted(&schema.name))
            }
        }),
        "regtype" => Some(type_text(oid, None)).filter(|name| name != "???"),
        "regproc" => named_function(context, oid).map(|function| function.name.clone()),
        "regprocedure" => named_function(context, oid).map(|function| {
            let arguments = function.arguments.iter().map(|oid| type_text(*oid, None));
            format!(
                "{}({})",
                function.name,
                arguments.collect::<Vec<_>>().join(",")
            )
        }),
        "regnamespace" => {
            let mut schemas = context.directory.schemas.iter();
            schemas
                .find(|schema| schema.oid == oid)
                .map(|schema| quoted(&schema.name))
        }
        "regrole" => context.role_by_oid(oid).map(|role| quoted(&role.name)),
        _ => None,
    };
    Ok(Owned(name.unwrap_or_else(|| oid.to_string())))
}

fn named_function(
    context: &CatalogContext,
    oid: u32,
) -> Option<&crate::pg_catalog::relations::Function> {
    all_functions(context)
        .iter()
        .find(|function| function.oid == oid)
}

/// Which of [`KINDS`] a field is of.
fn kind(field: &Field) -> Option<&'static str> {
    let noted = field.metadata().get(PG_TYPE_KEY)?;
    KINDS
        .into_iter()
        .find(|kind| kind == noted)
        .filter(|_| *field.data_type() == DataType::UInt32)
}

fn is_text(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Casts between names and oids, looked up.
#[derive(Debug)]
pub(crate) struct RegCasts {
    context: Arc<CatalogContext>,
}

impl RegCasts {
    pub(crate) fn new(context: Arc<CatalogContext>) -> Self {
        Self { context }
    }

    fn function(&self, name: &str) -> Option<ScalarUDF> {
        let definition = definitions().find(|definition| definition.name == name)?;
        Some(ScalarUDF::from(CatalogFunction::new(
            definition,
            &self.context,
        )))
    }

    fn cast(&self, expr: Expr, plan: &LogicalPlan) -> Result<Transformed<Expr>> {
        let Expr::Cast(Cast { expr: inner, field }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let inputs = plan.inputs();
        let from = match (inputs.as_slice(), inner.as_ref()) {
            ([], _) => inner.to_field(plan.schema().as_ref())?.1,
            ([input], _) => inner.to_field(input.schema().as_ref())?.1,
            (several, _) => {
                let mut schema = several[0].schema().as_ref().clone();
                for input in &several[1..] {
                    schema.merge(input.schema());
                }
                inner.to_field(&schema)?.1
            }
        };
        if let Some(kind) = kind(field)
            && (is_text(from.data_type()) || from.data_type().is_null())
            && let Some(function) = self.function(&format!("{REG_IN}{kind}"))
        {
            return Ok(Transformed::yes(
                function.call(vec![inner.as_ref().clone()]),
            ));
        }
        if is_text(field.data_type()) && array_text::writes(from.data_type()) {
            let text = array_text::call(inner.as_ref().clone());
            let whole = Expr::Cast(Cast::new(Box::new(text), field.data_type().clone()));
            return Ok(Transformed::yes(whole));
        }
        if is_text(field.data_type())
            && let Some(kind) = kind(&from)
            && let Some(function) = self.function(REG_OUT)
        {
            let text = function.call(vec![lit(kind), inner.as_ref().clone()]);
            let whole = Expr::Cast(Cast::new(Box::new(text), field.data_type().clone()));
            return Ok(Transformed::yes(whole));
        }
        Ok(Transformed::no(expr))
    }

    /// `plan` with the names of what its columns mean, as clients see them.
    pub(crate) fn shown(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if plan
            .schema()
            .fields()
            .iter()
            .all(|field| kind(field).is_none())
        {
            return Ok(plan);
        }
        let Some(function) = self.function(REG_OUT) else {
            return Ok(plan);
        };
        let columns: Vec<Expr> = plan
            .schema()
            .iter()
            .map(|(qualifier, field)| {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                match kind(field) {
                    Some(kind) => function
                        .call(vec![lit(kind), column])
                        .alias_qualified(qualifier.cloned(), field.name()),
                    None => column,
                }
            })
            .collect();
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }
}

impl AnalyzerRule for RegCasts {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            let inputs = node.clone();
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let done = expr.transform_up(|expr| self.cast(expr, &inputs))?;
                Ok(done.update_data(|expr| name.restore(expr)))
            })
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "reg_casts"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_every_name() {
        assert_eq!(named_type("integer"), Some(23));
        assert_eq!(named_type("pg_catalog.int4"), Some(23));
        assert_eq!(named_type("timestamp with time zone"), Some(1184));
        assert_eq!(named_type("VARCHAR(20)"), Some(1043));
        assert_eq!(named_type("text[]"), Some(1009));
        assert_eq!(named_type("\"char\""), Some(18));
        assert_eq!(named_type("hstore"), None);
    }
}
