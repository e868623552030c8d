//! Columns that `JOIN … USING` merges, written out as the SQL standard means them.
//!
//! In an inner or left join the merged column is the left table's, in a right join the right
//! table's, in a full join `coalesce` of both. DataFusion takes the left one always, which is NULL
//! for rows of the right table only, and finds it ambiguous in WHERE. Knows syntax only, so that a
//! NATURAL right or full join is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::error::EngineError;
use crate::parser::fold;

/// Writes out the merged columns of every query in `statement`.
///
/// # Errors
/// `Unsupported` for a right or full join whose merged columns the text alone does not tell.
pub(crate) fn merge(statement: &mut ast::Statement) -> Result<(), EngineError> {
    match VisitMut::visit(statement, &mut Queries) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Queries;

impl VisitorMut for Queries {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<EngineError> {
        match body(&mut query.body, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn body(expr: &mut SetExpr, order_by: Option<&mut OrderBy>) -> Result<(), EngineError> {
    match expr {
        SetExpr::Select(query) => select(query, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            body(left, None)?;
            body(right, None)
        }
        // A query in parentheses is visited by itself.
        _ => Ok(()),
    }
}

/// A column that several tables share.
struct Merged {
    name: Ident,
    value: Expr,
}

/// What one FROM item merges.
#[derive(Default)]
struct Merging {
    columns: Vec<Merged>,
    /// Tables in order, each with the merged columns that it has.
    tables: Vec<(Ident, Vec<Ident>)>,
    /// Whether a right or full join is among them.
    outer: bool,
    /// Whether the text does not tell what `*` stands for: a table has no name of its own, or a join is NATURAL.
    untold: bool,
}

impl Merging {
    /// Whether the merged columns can be written out in front of the others.
    fn is_told(&self) -> bool {
        let mut names: Vec<String> = self.tables.iter().map(|(name, _)| fold(name)).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        !self.untold && names.len() == count
    }
}

fn select(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<(), EngineError> {
    let mut all = vec![];
    for from in &select.from {
        all.push(merging(from)?);
    }
    if all.iter().all(|merging| merging.columns.is_empty()) {
        return Ok(());
    }
    let mut columns = Replace {
        columns: vec![],
        depth: 0,
    };
    let outer = all.iter().any(|merging| merging.outer);
    let told = all.iter().all(Merging::is_told) && has_plain_wildcard(select);
    if select.from.len() == 1 && (outer || told) {
        expand_wildcard(select, &all)?;
    } else if outer && has_wildcard(select) {
        return Err(EngineError::unsupported(
            "* over several FROM items of which one is a RIGHT or FULL JOIN … USING",
        )
        .with_hint("name the columns, or write the join with ON"));
    }
    for merging in all {
        columns.columns.extend(merging.columns);
    }
    if let Some(condition) = &mut select.selection {
        columns.replace(condition);
    }
    if !outer {
        return Ok(());
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
            && columns.value(name).is_some()
        {
            *item = SelectItem::ExprWithAlias {
                expr: Expr::Identifier(name.clone()),
                alias: name.clone(),
            };
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            columns.replace(expr);
        }
    }
    if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
        for expression in expressions {
            columns.replace(expression);
        }
    }
    if let Some(condition) = &mut select.having {
        columns.replace(condition);
    }
    if let Some(condition) = &mut select.qualify {
        columns.replace(condition);
    }
    if let Some(order_by) = order_by
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        for key in keys {
            if !is_output(&key.expr, &select.projection) {
                columns.replace(&mut key.expr);
            }
        }
    }
    Ok(())
}

/// Whether `expr` is the name of a result column, which ORDER BY prefers.
fn is_output(expr: &Expr, projection: &[SelectItem]) -> bool {
    let Expr::Identifier(name) = expr else {
        return false;
    };
    projection.iter().any(
        |item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if fold(alias) == fold(name)),
    )
}

/// Whether `*` stands there by itself.
fn has_plain_wildcard(select: &Select) -> bool {
    select.projection.iter().any(|item| {
        matches!(item, SelectItem::Wildcard(options)
        if *options == WildcardAdditionalOptions {
            wildcard_token: options.wildcard_token.clone(),
            ..WildcardAdditionalOptions::default()
        })
    })
}

fn has_wildcard(select: &Select) -> bool {
    let wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    select.projection.iter().any(wildcard)
}

/// Replaces `*` by the merged columns and what else each table has.
fn expand_wildcard(select: &mut Select, all: &[Merging]) -> Result<(), EngineError> {
    let mut out = vec![];
    for item in std::mem::take(&mut select.projection) {
        let SelectItem::Wildcard(options) = &item else {
            out.push(item);
            continue;
        };
        let plain = WildcardAdditionalOptions {
            wildcard_token: options.wildcard_token.clone(),
            ..WildcardAdditionalOptions::default()
        };
        if *options != plain {
            return Err(EngineError::unsupported(
                "* with EXCLUDE or its like over a RIGHT or FULL JOIN … USING",
            )
            .with_hint("name the columns, or write the join with ON"));
        }
        for merging in all {
            out.extend(
                merging
                    .columns
                    .iter()
                    .map(|merged| SelectItem::ExprWithAlias {
                        expr: merged.value.clone(),
                        alias: merged.name.clone(),
                    }),
            );
            for (table, shared) in &merging.tables {
                let shared: Vec<_> = shared.iter().map(|name| object(name.clone())).collect();
                let opt_exclude =
                    (!shared.is_empty()).then_some(ExcludeSelectItem::Multiple(shared));
                out.push(SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(object(table.clone())),
                    WildcardAdditionalOptions {
                        opt_exclude,
                        ..plain.clone()
                    },
                ));
            }
        }
    }
    select.projection = out;
    Ok(())
}

fn object(name: Ident) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(name)])
}

/// Follows the joins of one FROM item from left to right.
fn merging(from: &TableWithJoins) -> Result<Merging, EngineError> {
    let mut out = Merging::default();
    let mut unnamed = false;
    match name_of(&from.relation) {
        Some(name) => out.tables.push((name, vec![])),
        None => unnamed = true,
    }
    for join in &from.joins {
        let (constraint, side) = side(join);
        let outer = side != Side::Left;
        let name = name_of(&join.relation);
        match constraint {
            Some(JoinConstraint::Using(names)) => {
                let lone = out.tables.len() == 1 && !unnamed;
                for column in names.iter().filter_map(single) {
                    let known = out
                        .columns
                        .iter()
                        .position(|m| fold(&m.name) == fold(&column));
                    let left = match known {
                        Some(at) => Some(out.columns[at].value.clone()),
                        None if lone => Some(qualified(&out.tables[0].0, &column)),
                        None => None,
                    };
                    let (Some(left), Some(right)) = (left, &name) else {
                        if outer {
                            return Err(refused("RIGHT or FULL JOIN … USING after several tables"));
                        }
                        out.untold = true;
                        continue;
                    };
                    if known.is_none() {
                        out.tables[0].1.push(column.clone());
                    }
                    let right = qualified(right, &column);
                    let value = match side {
                        Side::Left => left,
                        Side::Right => right,
                        Side::Both => coalesce(&left, &right)?,
                    };
                    match known {
                        Some(at) => out.columns[at].value = value,
                        None => out.columns.push(Merged {
                            name: column,
                            value,
                        }),
                    }
                }
                let shared: Vec<Ident> = names.iter().filter_map(single).collect();
                if let Some(name) = name {
                    out.tables.push((name, shared));
                } else {
                    unnamed = true;
                }
                out.outer |= outer;
            }
            Some(JoinConstraint::Natural) if outer => {
                return Err(refused("NATURAL RIGHT or FULL JOIN"));
            }
            natural => {
                out.untold |= matches!(natural, Some(JoinConstraint::Natural));
                match name {
                    Some(name) => out.tables.push((name, vec![])),
                    None => unnamed = true,
                }
            }
        }
    }
    out.untold |= unnamed;
    if out.outer && unnamed {
        return Err(refused(
            "RIGHT or FULL JOIN … USING of a table without a name",
        ));
    }
    Ok(out)
}

fn refused(what: &str) -> EngineError {
    EngineError::unsupported(what).with_hint("write the join with ON")
}

/// Whose columns the merged ones are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

fn side(join: &Join) -> (Option<&JoinConstraint>, Side) {
    match &join.join_operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c) => (Some(c), Side::Left),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (Some(c), Side::Right),
        JoinOperator::FullOuter(c) => (Some(c), Side::Both),
        _ => (None, Side::Left),
    }
}

/// The name by which columns of `table` are qualified.
fn name_of(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => match name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn single(name: &ObjectName) -> Option<Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name.clone()),
        _ => None,
    }
}

fn qualified(table: &Ident, column: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![table.clone(), column.clone()])
}

fn coalesce(left: &Expr, right: &Expr) -> Result<Expr, EngineError> {
    use crate::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    let text = format!("coalesce({left}, {right})");
    Parser::new(&PostgreSqlDialect::default())
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| EngineError::internal(format!("{text}: {error}")))
}

/// Replaces merged columns in one query, not in the queries inside it.
struct Replace {
    columns: Vec<Merged>,
    depth: usize,
}

impl Replace {
    fn value(&self, name: &Ident) -> Option<&Expr> {
        let name = fold(name);
        self.columns
            .iter()
            .find(|merged| fold(&merged.name) == name)
            .map(|merged| &merged.value)
    }

    fn replace(&mut self, expr: &mut Expr) {
        // Nothing breaks off the visit.
        let _ = VisitMut::visit(expr, self);
    }
}

impl VisitorMut for Replace {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(value) = self.value(name)
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(sql: &str) -> Result<String, EngineError> {
        let crate::parser::Statement::Query(mut statement) = crate::parser::parse(sql)? else {
            panic!("not a query")
        };
        merge(&mut statement)?;
        Ok(statement.to_string())
    }

    fn check_merged(sql: &str, wanted: &str) {
        assert_eq!(merged(sql).unwrap(), wanted);
    }

    #[test]
    fn a_merged_column_is_the_one_of_the_kept_side() {
        check_merged(
            "SELECT id, x FROM a JOIN b USING (id) WHERE id = 2",
            "SELECT id, x FROM a JOIN b USING(id) WHERE a.id = 2",
        );
        check_merged(
            "SELECT id, x FROM a RIGHT JOIN s.b USING (id) WHERE id IN (SELECT id FROM c) ORDER BY id",
            "SELECT b.id AS id, x FROM a RIGHT JOIN s.b USING(id) WHERE b.id IN (SELECT id FROM c) ORDER BY id",
        );
        check_merged(
            "SELECT count(id) FROM a AS p FULL JOIN b USING (id) GROUP BY id",
            "SELECT count(coalesce(p.id, b.id)) FROM a AS p FULL JOIN b USING(id) GROUP BY coalesce(p.id, b.id)",
        );
    }

    #[test]
    fn a_star_begins_with_the_merged_columns() {
        check_merged(
            "SELECT * FROM a FULL JOIN b USING (id)",
            "SELECT coalesce(a.id, b.id) AS id, a.* EXCLUDE (id), b.* EXCLUDE (id) FROM a FULL JOIN b USING(id)",
        );
        check_merged(
            "SELECT * FROM a JOIN b USING (id)",
            "SELECT a.id AS id, a.* EXCLUDE (id), b.* EXCLUDE (id) FROM a JOIN b USING(id)",
        );
        check_merged(
            "SELECT * FROM a JOIN b USING (id) NATURAL JOIN c",
            "SELECT * FROM a JOIN b USING(id) NATURAL JOIN c",
        );
    }

    #[test]
    fn what_the_text_does_not_tell_is_refused() {
        assert!(merged("SELECT * FROM a NATURAL FULL JOIN b").is_err());
        assert!(merged("SELECT * FROM a JOIN b ON a.x = b.x FULL JOIN c USING (id)").is_err());
        assert!(merged("SELECT * FROM a NATURAL JOIN b").is_ok());
    }
}
