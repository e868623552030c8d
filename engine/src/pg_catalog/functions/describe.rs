//! Objects in words: types, definitions, comments, owners.

use datafusion::common::Result;
use tarn_catalog::DOC_META_KEY;

use super::Take::{Bool, Int, Named, Oid, Text};
use super::{Arg, Definition, lenient, names, strict};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::relations::{Function, all_functions, type_row};
use crate::pg_catalog::rows::Val::{self, Null, Owned};
use crate::pg_catalog::{CLASS_OID, NAMESPACE_OID};

pub(super) const DEFINITIONS: &[Definition] = &[
    lenient("format_type", &[&[Oid, Int]], "text", format_type),
    strict("pg_get_userbyid", &[&[Oid]], "name", user_by_id),
    strict(
        "obj_description",
        &[&[Oid, Text], &[Oid]],
        "text",
        obj_description,
    ),
    strict("shobj_description", &[&[Oid, Text]], "text", nothing),
    strict("col_description", &[&[Oid, Int]], "text", col_description),
    strict(
        "pg_get_expr",
        &[&[Text, Oid], &[Text, Oid, Bool]],
        "text",
        first,
    ),
    strict(
        "pg_get_constraintdef",
        &[&[Oid], &[Oid, Bool]],
        "text",
        nothing,
    ),
    strict(
        "pg_get_indexdef",
        &[&[Oid], &[Oid, Int, Bool]],
        "text",
        nothing,
    ),
    strict(
        "pg_get_viewdef",
        &[&[Named], &[Named, Bool], &[Named, Int]],
        "text",
        view_definition,
    ),
    strict("pg_get_ruledef", &[&[Oid], &[Oid, Bool]], "text", nothing),
    strict(
        "pg_get_triggerdef",
        &[&[Oid], &[Oid, Bool]],
        "text",
        nothing,
    ),
    strict("pg_get_partkeydef", &[&[Oid]], "text", nothing),
    strict("pg_get_partition_constraintdef", &[&[Oid]], "text", nothing),
    strict(
        "pg_get_statisticsobjdef_columns",
        &[&[Oid]],
        "text",
        nothing,
    ),
    strict("pg_get_serial_sequence", &[&[Text, Text]], "text", nothing),
    strict("pg_get_functiondef", &[&[Oid]], "text", function_definition),
    strict(
        "pg_get_function_arguments",
        &[&[Oid]],
        "text",
        function_arguments,
    ),
    strict(
        "pg_get_function_identity_arguments",
        &[&[Oid]],
        "text",
        function_arguments,
    ),
    strict("pg_get_function_result", &[&[Oid]], "text", function_result),
    strict("pg_get_function_sqlbody", &[&[Oid]], "text", nothing),
    strict(
        "pg_describe_object",
        &[&[Oid, Oid, Int]],
        "text",
        describe_object,
    ),
];

/// What is asked for never exists here.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn nothing(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Null)
}

/// An expression is kept as its text.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn first(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(owned(args[0].text().map(str::to_owned)))
}

fn owned(text: Option<String>) -> Val<'static> {
    text.map_or(Null, Owned)
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn format_type(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let Arg::Oid(oid) = args[0] else {
        return Ok(Null);
    };
    let typmod = args[1].int().and_then(|typmod| i32::try_from(typmod).ok());
    Ok(Owned(type_text(oid, typmod)))
}

/// A type as SQL writes it; `typmod` adds its digits.
pub(in crate::pg_catalog) fn type_text(oid: u32, typmod: Option<i32>) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(row) = type_row(oid) else {
        return "???".to_owned();
    };
    if row.category == "A" && row.element != 0 && row.len == -1 && row.name.starts_with('_') {
        return format!("{}[]", type_text(row.element, typmod));
    }
    let digits = typmod.filter(|typmod| *typmod >= 0);
    match row.name {
        "bool" => "boolean".to_owned(),
        "int2" => "smallint".to_owned(),
        "int4" => "integer".to_owned(),
        "int8" => "bigint".to_owned(),
        "float4" => "real".to_owned(),
        "float8" => "double precision".to_owned(),
        "bpchar" => "character".to_owned(),
        "char" => "\"char\"".to_owned(),
        "any" => "\"any\"".to_owned(),
        "time" => "time without time zone".to_owned(),
        "timestamp" => "timestamp without time zone".to_owned(),
        "timestamptz" => "timestamp with time zone".to_owned(),
        "varchar" => match digits {
            Some(typmod) if typmod >= 4 => format!("character varying({})", typmod - 4),
            _ => "character varying".to_owned(),
        },
        "numeric" => match digits {
            Some(typmod) if typmod >= 4 => {
                let packed = typmod - 4;
                format!("numeric({},{})", (packed >> 16) & 0xffff, packed & 0x7ff)
            }
            _ => "numeric".to_owned(),
        },
        other => other.to_owned(),
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn user_by_id(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let oid = args[0].oid();
    let name = context.role_by_oid(oid).map(|role| role.name.clone());
    Ok(Owned(
        name.unwrap_or_else(|| format!("unknown (OID={oid})")),
    ))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn obj_description(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let oid = args[0].oid();
    let of = |class: &str| args.get(1).is_none_or(|given| given.text() == Some(class));
    let relation = || {
        context
            .directory
            .by_oid(oid)
            .and_then(|(_, relation)| relation.comment.clone())
    };
    let schema = || {
        let mut schemas = context.directory.schemas.iter();
        schemas
            .find(|schema| schema.oid == oid)
            .and_then(|schema| schema.comment.clone())
    };
    let found = of("pg_class").then(relation).flatten();
    Ok(owned(
        found.or_else(|| of("pg_namespace").then(schema).flatten()),
    ))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn col_description(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let Some((_, relation)) = context.directory.by_oid(args[0].oid()) else {
        return Ok(Null);
    };
    let at = args[1]
        .int()
        .and_then(|number| usize::try_from(number - 1).ok());
    let field = at.and_then(|at| relation.columns.fields().get(at));
    Ok(owned(field.and_then(|field| {
        field.metadata().get(DOC_META_KEY).cloned()
    })))
}

fn view_definition(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let Some((_, relation)) = names::relation(context, &args[0])? else {
        return Ok(Null);
    };
    Ok(owned(relation.definition.clone()))
}

fn function(context: &CatalogContext, oid: u32) -> Option<&Function> {
    all_functions(context)
        .iter()
        .find(|function| function.oid == oid)
}

fn arguments(function: &Function) -> String {
    let count = function.arguments.len();
    let named = function.arguments.iter().zip(1..).map(|(oid, number)| {
        let variadic = if function.variadic != 0 && number == count {
            "VARIADIC "
        } else {
            ""
        };
        format!("{variadic}{}", type_text(*oid, None))
    });
    named.collect::<Vec<_>>().join(", ")
}

fn result(function: &Function) -> String {
    let set = if function.returns_set { "SETOF " } else { "" };
    format!("{set}{}", type_text(function.returns, None))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn function_arguments(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(owned(function(context, args[0].oid()).map(arguments)))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn function_result(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(owned(function(context, args[0].oid()).map(result)))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn function_definition(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(owned(function(context, args[0].oid()).map(|f| {
        format!(
            "CREATE OR REPLACE FUNCTION pg_catalog.{0}({1})\n RETURNS {2}\n LANGUAGE internal\nAS $function${0}$function$\n",
            f.name,
            arguments(f),
            result(f)
        )
    })))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn describe_object(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let oid = args[1].oid();
    Ok(match args[0].oid() {
        CLASS_OID => owned(context.directory.by_oid(oid).map(|(schema, relation)| {
            let kind = match relation.kind {
                crate::directory::RelationKind::Table => "table",
                _ => "view",
            };
            format!(
                "{kind} {}.{}",
                names::quoted(&schema.name),
                names::quoted(&relation.name)
            )
        })),
        NAMESPACE_OID => {
            let mut schemas = context.directory.schemas.iter();
            owned(
                schemas
                    .find(|s| s.oid == oid)
                    .map(|s| format!("schema {}", names::quoted(&s.name))),
            )
        }
        _ => Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_in_sql() {
        assert_eq!(type_text(1700, Some(786_438)), "numeric(12,2)");
        assert_eq!(type_text(1231, Some(786_438)), "numeric(12,2)[]");
        assert_eq!(type_text(1043, Some(24)), "character varying(20)");
        assert_eq!(type_text(1184, Some(-1)), "timestamp with time zone");
        assert_eq!(type_text(18, None), "\"char\"");
        assert_eq!(type_text(30, None), "oidvector");
        assert_eq!(type_text(0, None), "-");
        assert_eq!(type_text(99, None), "???");
    }
}
