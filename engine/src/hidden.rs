//! Columns that every table has and that show only where they are named: `_file`, `_pos`, `_row_id` and the like.
//!
//! A query that names one reads the tables of its FROM under names that ask for these columns too, and its `*` is
//! written out, so that nothing else sees them. A query that names none is left as it is. Knows syntax and tables'
//! columns; what the columns hold is the scan's business.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};
use tarn_catalog::EntryKind;

use crate::error::EngineError;
use crate::parser::{Name, fold, fold_name};
use crate::resolve::Catalogs;
use crate::scan;
use crate::versions;
use crate::views::Scope;

/// Ends the name of a table that is asked for with its hidden columns. No statement can have it in a name.
const MARK: char = '\u{2}';

/// The name of a table, and whether its hidden columns are asked for.
pub(crate) fn unmarked(name: &str) -> (&str, bool) {
    match name.strip_suffix(MARK) {
        Some(name) => (name, true),
        None => (name, false),
    }
}

/// Lets every query in `statement` that names hidden columns have those of its tables.
///
/// # Errors
/// If a query names one beside a NATURAL join, or beside a `*` that cannot be written out.
pub(crate) async fn show(
    statement: &mut ast::Statement,
    catalogs: &Catalogs,
    scope: &Scope,
) -> Result<(), EngineError> {
    if !names_hidden(&*statement) {
        return Ok(());
    }
    let mut found = Tables::default();
    let _ = Visit::visit(&*statement, &mut found);
    let mut columns = HashMap::new();
    for name in found.names {
        let local = matches!(name.as_slice(), [name] if found.local.contains(name));
        if local || columns.contains_key(&name) {
            continue;
        }
        // A name that is not there is told of by the planner.
        if let Ok(Some(shown)) = visible(catalogs, scope, &name).await {
            columns.insert(name, shown);
        }
    }
    match VisitMut::visit(statement, &mut Marker { columns }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The columns of the table that `name` stands for, at the version that it asks for; `None` for anything but a table.
async fn visible(
    catalogs: &Catalogs,
    scope: &Scope,
    name: &Name,
) -> Result<Option<Vec<String>>, EngineError> {
    let wanted = versions::wanted(catalogs, &scope.lookup, name).await?;
    if wanted.found.kind != EntryKind::Table || wanted.metadata.is_some() {
        return Ok(None);
    }
    let table = scope.table(&wanted.found).await?;
    let schema = match &wanted.version {
        Some(version) => match versions::snapshot_of(&table, version)? {
            (snapshot, true) => table.schema_of(&snapshot),
            (_, false) => table.arrow_schema(),
        },
        None => table.arrow_schema(),
    };
    let fields = schema.fields().iter();
    Ok(Some(fields.map(|field| field.name().clone()).collect()))
}

/// Whether a hidden column is named in `part`.
fn names_hidden(part: &impl Visit) -> bool {
    Visit::visit(part, &mut Names).is_break()
}

struct Names;

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let name = match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        let hidden = name.is_some_and(|name| {
            let name = fold(name);
            scan::hidden_names().any(|hidden| hidden == name)
        });
        if hidden {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// The tables in FROM, and the names of WITH.
#[derive(Default)]
struct Tables {
    names: Vec<Name>,
    local: HashSet<String>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.local.extend(with.map(|cte| fold(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
        {
            self.names.push(fold_name(name));
        }
        ControlFlow::Continue(())
    }
}

/// Marks tables, whose visible columns are known by their names.
struct Marker {
    columns: HashMap<Name, Vec<String>>,
}

impl VisitorMut for Marker {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<EngineError> {
        let ordered = names_hidden(&query.order_by);
        match self.body(&mut query.body, ordered) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Marker {
    fn body(&self, body: &mut SetExpr, ordered: bool) -> Result<(), EngineError> {
        match body {
            SetExpr::Select(select) => self.select(select, ordered),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, false)?;
                self.body(right, false)
            }
            // A query in parentheses is visited by itself.
            _ => Ok(()),
        }
    }

    fn select(&self, select: &mut Select, ordered: bool) -> Result<(), EngineError> {
        let joins = || select.from.iter().flat_map(|from| &from.joins);
        let named = ordered
            || names_hidden(&select.projection)
            || names_hidden(&select.selection)
            || names_hidden(&select.group_by)
            || names_hidden(&select.having)
            || names_hidden(&select.qualify)
            || names_hidden(&select.distinct)
            || joins().any(|join| names_hidden(&join.join_operator));
        if !named {
            return Ok(());
        }
        let constraint = |join: &Join| constraint(&join.join_operator).cloned();
        let merged: Vec<JoinConstraint> = joins().filter_map(constraint).collect();
        if merged.contains(&JoinConstraint::Natural) {
            return Err(
                EngineError::unsupported("a column such as _file beside a NATURAL join")
                    .with_hint("write the join with ON or USING"),
            );
        }
        let mut shown = Vec::new();
        for from in &mut select.from {
            self.from(from, &mut shown);
        }
        let using = merged
            .iter()
            .any(|join| matches!(join, JoinConstraint::Using(_)));
        write_out(&mut select.projection, &shown, using)
    }

    fn from(&self, from: &mut TableWithJoins, shown: &mut Vec<Shown>) {
        self.factor(&mut from.relation, shown);
        for join in &mut from.joins {
            self.factor(&mut join.relation, shown);
        }
    }

    fn factor(&self, factor: &mut TableFactor, shown: &mut Vec<Shown>) {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let known = self.columns.get(&fold_name(name));
                let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else {
                    return;
                };
                let named = fold(last);
                let own = Ident::with_quote('"', versions::split(&named).0);
                // Names for some columns are names for the visible ones.
                let renamed = alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty());
                let known = known.filter(|_| !renamed);
                let label = alias
                    .as_ref()
                    .map_or_else(|| own.clone(), |alias| alias.name.clone());
                if known.is_some() {
                    *last = Ident::with_quote('"', format!("{named}{MARK}"));
                    alias.get_or_insert_with(|| TableAlias {
                        explicit: true,
                        name: own,
                        columns: vec![],
                        at: None,
                    });
                }
                shown.push(Shown {
                    label: Some(label),
                    columns: known.cloned(),
                });
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.from(table_with_joins, shown),
            TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => {
                shown.push(Shown {
                    label: alias.as_ref().map(|alias| alias.name.clone()),
                    columns: None,
                });
            }
            _ => shown.push(Shown {
                label: None,
                columns: None,
            }),
        }
    }
}

/// What one item of FROM shows to `*`.
struct Shown {
    /// By what name its columns are qualified.
    label: Option<Ident>,
    /// Its columns, if it has hidden ones besides.
    columns: Option<Vec<String>>,
}

impl Shown {
    fn items(&self) -> Option<Vec<SelectItem>> {
        let label = self.label.clone()?;
        let Some(columns) = &self.columns else {
            let name = ObjectName(vec![ObjectNamePart::Identifier(label)]);
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            let options = WildcardAdditionalOptions::default();
            return Some(vec![SelectItem::QualifiedWildcard(kind, options)]);
        };
        let column = |name: &String| {
            let names = vec![label.clone(), Ident::with_quote('"', name)];
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names))
        };
        Some(columns.iter().map(column).collect())
    }
}

/// Writes out each `*` of a projection over FROM items of which some have hidden columns.
fn write_out(
    projection: &mut Vec<SelectItem>,
    shown: &[Shown],
    using: bool,
) -> Result<(), EngineError> {
    if shown.iter().all(|item| item.columns.is_none()) {
        return Ok(());
    }
    let refused = || {
        EngineError::unsupported("* of this kind beside a column such as _file")
            .with_hint("name the columns")
    };
    let plain = |options: &WildcardAdditionalOptions| {
        *options
            == WildcardAdditionalOptions {
                wildcard_token: options.wildcard_token.clone(),
                ..WildcardAdditionalOptions::default()
            }
    };
    let mut out = Vec::with_capacity(projection.len());
    for item in std::mem::take(projection) {
        match &item {
            SelectItem::Wildcard(options) => {
                if using || !plain(options) {
                    return Err(refused());
                }
                for item in shown {
                    out.extend(item.items().ok_or_else(refused)?);
                }
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => {
                let label = fold_name(name).pop();
                let of = |shown: &&Shown| {
                    shown.columns.is_some() && shown.label.as_ref().map(fold) == label
                };
                match shown.iter().find(of) {
                    Some(_) if !plain(options) => return Err(refused()),
                    Some(table) => out.extend(table.items().ok_or_else(refused)?),
                    None => out.push(item),
                }
            }
            _ => out.push(item),
        }
    }
    *projection = out;
    Ok(())
}

fn constraint(join: &JoinOperator) -> Option<&JoinConstraint> {
    match join {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::CrossJoin(c)
        | JoinOperator::Semi(c)
        | JoinOperator::LeftSemi(c)
        | JoinOperator::RightSemi(c)
        | JoinOperator::Anti(c)
        | JoinOperator::LeftAnti(c)
        | JoinOperator::RightAnti(c) => Some(c),
        _ => None,
    }
}
