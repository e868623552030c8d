//! Who may do what: the truth of the moment, which is that every user may read and add to every table.
//!
//! A name that does not exist is an error and an oid that does not exist gives NULL, as in PostgreSQL.

use datafusion::common::{Result, plan_err};

use super::Take::{Int, Named, Text};
use super::{Arg, Definition, names, strict};
use crate::directory::RelationKind;
use crate::pg_catalog::PG_CATALOG;
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::relations::{all_functions, type_row};
use crate::pg_catalog::rows::Val::{self, Bool, Null};
use crate::resolve::{INFORMATION_SCHEMA, SYSTEM_SCHEMA};

/// An object and privileges, with or without a user before them.
const ON_OBJECT: &[&[super::Take]] = &[&[Named, Text], &[Named, Named, Text]];

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("has_table_privilege", ON_OBJECT, "bool", on_table),
    strict("has_any_column_privilege", ON_OBJECT, "bool", on_table),
    strict(
        "has_column_privilege",
        &[
            &[Named, Text, Text],
            &[Named, Int, Text],
            &[Named, Named, Text, Text],
            &[Named, Named, Int, Text],
        ],
        "bool",
        on_column,
    ),
    strict("has_sequence_privilege", ON_OBJECT, "bool", on_table),
    strict("has_schema_privilege", ON_OBJECT, "bool", on_schema),
    strict("has_database_privilege", ON_OBJECT, "bool", on_database),
    strict("has_function_privilege", ON_OBJECT, "bool", on_function),
    strict("has_type_privilege", ON_OBJECT, "bool", on_type),
    strict("has_language_privilege", ON_OBJECT, "bool", usage),
    strict("has_tablespace_privilege", ON_OBJECT, "bool", usage),
    strict(
        "has_foreign_data_wrapper_privilege",
        ON_OBJECT,
        "bool",
        nothing,
    ),
    strict("has_server_privilege", ON_OBJECT, "bool", nothing),
    strict("pg_has_role", ON_OBJECT, "bool", has_role),
];

/// The arguments without the user; the user must exist.
fn without_user<'a, 'b>(
    context: &CatalogContext,
    args: &'b [Arg<'a>],
    count: usize,
) -> Result<&'b [Arg<'a>]> {
    if args.len() <= count {
        return Ok(args);
    }
    if let Some(name) = args[0].text()
        && name != "public"
        && name != context.session.user
        && context.role(name).is_none()
    {
        return plan_err!("role \"{name}\" does not exist");
    }
    Ok(&args[1..])
}

/// Whether one of the privileges in `asked` is among `held`, all of which are words in upper case.
fn any(context: &CatalogContext, asked: &Arg<'_>, held: &[&str]) -> Result<Val<'static>> {
    const KNOWN: [&str; 14] = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "REFERENCES",
        "TRIGGER",
        "CREATE",
        "CONNECT",
        "TEMPORARY",
        "TEMP",
        "EXECUTE",
        "USAGE",
        "MEMBER",
    ];
    let text = asked.text().unwrap_or_default();
    let mut has = false;
    for one in text.split(',') {
        let one = one.trim().to_uppercase();
        let (privilege, grant) = match one.strip_suffix(" WITH GRANT OPTION") {
            Some(privilege) => (privilege.trim(), true),
            None => (one.as_str(), false),
        };
        if !KNOWN.contains(&privilege) {
            return plan_err!("unrecognized privilege type: \"{text}\"");
        }
        has |= held.contains(&privilege) && (!grant || context.session.is_admin);
    }
    Ok(Bool(has))
}

fn on_table(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    match names::relation(context, &args[0])? {
        None => Ok(Null),
        Some((_, relation)) if relation.kind == RelationKind::Table => {
            any(context, &args[1], &["SELECT", "INSERT"])
        }
        Some(_) => any(context, &args[1], &["SELECT"]),
    }
}

fn on_column(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 3)?;
    let Some((_, relation)) = names::relation(context, &args[0])? else {
        return Ok(Null);
    };
    if let Some(column) = args[1].text()
        && relation.columns.index_of(column).is_err()
    {
        return plan_err!(
            "column \"{column}\" of relation \"{}\" does not exist",
            relation.name
        );
    }
    on_table(context, &[args[0].clone(), args[2].clone()])
}

fn on_schema(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    let schemas = &context.directory.schemas;
    let found = match &args[0] {
        Arg::Text(name) => match schemas.iter().find(|schema| schema.name == *name) {
            None => return plan_err!("schema \"{name}\" does not exist"),
            found => found,
        },
        other => schemas.iter().find(|schema| schema.oid == other.oid()),
    };
    let Some(schema) = found else {
        return Ok(Null);
    };
    if [PG_CATALOG, INFORMATION_SCHEMA, SYSTEM_SCHEMA].contains(&schema.name.as_str()) {
        return any(context, &args[1], &["USAGE"]);
    }
    any(context, &args[1], &["USAGE", "CREATE"])
}

fn on_database(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    let found = match &args[0] {
        Arg::Text(name) => {
            if !context.catalogs.iter().any(|(_, catalog)| catalog == name) {
                return plan_err!("database \"{name}\" does not exist");
            }
            true
        }
        other => context.catalogs.iter().any(|(oid, _)| *oid == other.oid()),
    };
    if !found {
        return Ok(Null);
    }
    any(
        context,
        &args[1],
        &["CONNECT", "CREATE", "TEMPORARY", "TEMP"],
    )
}

fn on_function(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    let functions = all_functions(context);
    let found = match &args[0] {
        Arg::Text(name) => {
            let bare = name.split('(').next().unwrap_or_default();
            let parts = names::parts(bare)?;
            let last = parts.last().cloned().unwrap_or_default();
            if !functions.iter().any(|function| function.name == last) {
                return plan_err!("function \"{name}\" does not exist");
            }
            true
        }
        other => functions.iter().any(|function| function.oid == other.oid()),
    };
    if !found {
        return Ok(Null);
    }
    any(context, &args[1], &["EXECUTE"])
}

fn on_type(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    if let Arg::Oid(oid) = args[0]
        && type_row(oid).is_none()
    {
        return Ok(Null);
    }
    any(context, &args[1], &["USAGE"])
}

fn usage(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let args = without_user(context, args, 2)?;
    any(context, &args[1], &["USAGE", "CREATE"])
}

/// There are no foreign servers, so no oid is one.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn nothing(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Null)
}

/// A user is a member of itself; an administrator of everybody.
fn has_role(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let user = if args.len() == 3 {
        role_name(context, &args[0])?
    } else {
        Some(context.session.user.clone())
    };
    let role = role_name(context, &args[args.len() - 2])?;
    let (Some(user), Some(role)) = (user, role) else {
        return Ok(Null);
    };
    let admin = user == context.session.user && context.session.is_admin
        || context.role(&user).is_some_and(|role| role.is_admin);
    Ok(Bool(admin || user == role))
}

fn role_name(context: &CatalogContext, arg: &Arg<'_>) -> Result<Option<String>> {
    match arg {
        Arg::Text(name) if context.role(name).is_none() => {
            plan_err!("role \"{name}\" does not exist")
        }
        Arg::Text(name) => Ok(Some((*name).to_owned())),
        other => Ok(context
            .role_by_oid(other.oid())
            .map(|role| role.name.clone())),
    }
}
