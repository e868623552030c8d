//! Names and oids: looking up, quoting, visibility.

use datafusion::common::Result;

use super::Take::{Bool, Oid, Text};
use super::{Arg, Definition, lenient, strict};
use crate::directory::{Relation, SchemaDirectory};
use crate::error::{EngineError, ErrorKind};
use crate::pg_catalog::context::CatalogContext;
use crate::pg_catalog::relations::{all_functions, type_row};
use crate::pg_catalog::rows::Val::{self, Null, Owned};

pub(super) const DEFINITIONS: &[Definition] = &[
    strict("pg_table_is_visible", &[&[Oid]], "bool", table_is_visible),
    strict("pg_type_is_visible", &[&[Oid]], "bool", type_is_visible),
    strict(
        "pg_function_is_visible",
        &[&[Oid]],
        "bool",
        function_is_visible,
    ),
    strict("pg_operator_is_visible", &[&[Oid]], "bool", always),
    strict("pg_collation_is_visible", &[&[Oid]], "bool", always),
    strict("pg_conversion_is_visible", &[&[Oid]], "bool", never_there),
    strict("pg_opclass_is_visible", &[&[Oid]], "bool", never_there),
    strict("pg_opfamily_is_visible", &[&[Oid]], "bool", never_there),
    strict(
        "pg_statistics_obj_is_visible",
        &[&[Oid]],
        "bool",
        never_there,
    ),
    strict("pg_ts_config_is_visible", &[&[Oid]], "bool", never_there),
    strict("pg_ts_dict_is_visible", &[&[Oid]], "bool", never_there),
    strict("pg_ts_parser_is_visible", &[&[Oid]], "bool", never_there),
    strict("pg_ts_template_is_visible", &[&[Oid]], "bool", never_there),
    strict(
        "pg_relation_is_publishable",
        &[&[super::Take::Named]],
        "bool",
        is_publishable,
    ),
    strict("quote_ident", &[&[Text]], "text", quote_ident),
    strict("quote_literal", &[&[Text]], "text", quote_literal),
    lenient("quote_nullable", &[&[Text]], "text", quote_nullable),
    strict(
        "parse_ident",
        &[&[Text], &[Text, Bool]],
        "_text",
        parse_ident,
    ),
];

/// The parts of a possibly qualified and quoted name; unquoted ones are folded.
pub(super) fn parts(text: &str) -> Result<Vec<String>> {
    let bad = || {
        let message = format!("invalid name syntax: \"{text}\"");
        Err(EngineError::new(ErrorKind::InvalidName, message).into())
    };
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    None => return bad(),
                    Some((at, '"')) => {
                        if chars.next_if(|(_, c)| *c == '"').is_some() {
                            name.push('"');
                        } else {
                            break at + 1;
                        }
                    }
                    Some((_, c)) => name.push(c),
                }
            };
            parts.push(name);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() {
                return bad();
            }
            parts.push(name.to_lowercase());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return bad(),
        }
    }
}

/// The relation that an argument means; none for an oid that is nobody's.
///
/// # Errors
/// If there is no relation of that name.
pub(super) fn relation<'a>(
    context: &'a CatalogContext,
    arg: &Arg<'_>,
) -> Result<Option<(&'a SchemaDirectory, &'a Relation)>> {
    match arg {
        Arg::Oid(oid) => Ok(context.directory.by_oid(*oid).map(|(s, r)| (s, r.as_ref()))),
        Arg::Text(text) => {
            if let Ok(oid) = text.parse() {
                return Ok(context.directory.by_oid(oid).map(|(s, r)| (s, r.as_ref())));
            }
            if let Some((schema, relation)) = context.resolve(&parts(text)?) {
                Ok(Some((schema, relation.as_ref())))
            } else {
                Err(no_such_relation(context, text)?.into())
            }
        }
        _ => Ok(None),
    }
}

/// The error for a relation, or for its schema, that is not there.
fn no_such_relation(context: &CatalogContext, text: &str) -> Result<EngineError> {
    let parts = parts(text)?;
    if let [.., schema, _] = parts.as_slice()
        && context.directory.schema(schema).is_none()
    {
        let message = format!("schema \"{schema}\" does not exist");
        return Ok(EngineError::new(ErrorKind::UndefinedSchema, message));
    }
    let message = format!("relation \"{text}\" does not exist");
    Ok(EngineError::new(ErrorKind::UndefinedTable, message))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn table_is_visible(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let found = context.directory.by_oid(args[0].oid());
    Ok(found.map_or(Null, |(schema, relation)| {
        Val::Bool(context.is_visible(&schema.name, &relation.name))
    }))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn type_is_visible(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(type_row(args[0].oid()).map_or(Null, |_| Val::Bool(true)))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn function_is_visible(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let oid = args[0].oid();
    let there = all_functions(context)
        .iter()
        .any(|function| function.oid == oid);
    Ok(if there { Val::Bool(true) } else { Null })
}

/// Nothing can be published: there is no replication.
fn is_publishable(context: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(relation(context, &args[0])?.map_or(Null, |_| Val::Bool(false)))
}

/// Everything of the kind is in `pg_catalog`.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn always(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Val::Bool(true))
}

/// There is nothing of the kind.
#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn never_there(_: &CatalogContext, _: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Null)
}

/// A name as SQL writes it: quoted if it must be. Source: PostgreSQL, `quote_identifier`.
pub(crate) fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let reserved = || {
        crate::pg_catalog::relations::KEYWORDS
            .iter()
            .any(|word| word[0] == name && word[1] != "U")
    };
    if plain && !reserved() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn quote_ident(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(args[0].text().map_or(Null, |name| Owned(quoted(name))))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn quote_literal(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(args[0].text().map_or(Null, |text| Owned(literal(text))))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "called through the table of functions"
)]
fn quote_nullable(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    Ok(Owned(
        args[0].text().map_or_else(|| "NULL".to_owned(), literal),
    ))
}

fn parse_ident(_: &CatalogContext, args: &[Arg<'_>]) -> Result<Val<'static>> {
    let text = args[0].text().unwrap_or_default();
    Ok(Val::Texts(parts(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_folded_as_in_sql() {
        assert_eq!(parts("Main.\"Or\"\"ders\"").unwrap(), ["main", "Or\"ders"]);
        assert_eq!(parts(" a . b ").unwrap(), ["a", "b"]);
        assert!(parts("a.").is_err() && parts("\"a").is_err() && parts("").is_err());
    }

    #[test]
    fn names_are_quoted_only_if_they_must_be() {
        assert_eq!(quoted("orders"), "orders");
        assert_eq!(quoted("Orders"), "\"Orders\"");
        assert_eq!(quoted("select"), "\"select\"");
        assert_eq!(quoted("1a"), "\"1a\"");
        assert_eq!(literal("it's a \\"), "E'it''s a \\\\'");
    }
}
