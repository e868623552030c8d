//! What needs the columns of the items of FROM before a statement is planned: NATURAL joins, which become `USING`, and
//! names of FROM items in the place of values (`SELECT count(t), row_to_json(t) FROM t`), which become rows.
//!
//! The catalog tells the columns of tables and views, the text those of subqueries. What neither tells is left as it is.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, OrderBy, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};
use tarn_catalog::EntryKind;

use crate::error::EngineError;
use crate::parser::{Name, fold, fold_name};
use crate::postgres::call;
use crate::resolve::Catalogs;
use crate::versions;
use crate::views::Scope;

/// Columns of a name; `None` where nobody tells them.
type Columns = Option<Vec<String>>;

/// Writes out the NATURAL joins and the rows of `statement`.
///
/// # Errors
/// If the catalog does not answer.
pub(crate) async fn write_out(
    statement: &mut ast::Statement,
    catalogs: &Catalogs,
    scope: &Scope,
) -> Result<(), EngineError> {
    let mut asked = Asked::default();
    let _ = Visit::visit(&*statement, &mut asked);
    if !asked.natural && asked.labels.is_disjoint(&asked.values) {
        return Ok(());
    }
    let mut known = HashMap::new();
    for name in asked.tables {
        if known.contains_key(&name) {
            continue;
        }
        let columns = columns(catalogs, scope, &name).await?;
        known.insert(name, columns);
    }
    let mut writer = Writer {
        tables: known,
        queries: HashMap::new(),
    };
    // Nothing breaks off the visit.
    let _ = VisitMut::visit(statement, &mut writer);
    Ok(())
}

/// The columns of what `name` stands for. A name that is not there is told of by the planner.
async fn columns(catalogs: &Catalogs, scope: &Scope, name: &Name) -> Result<Columns, EngineError> {
    let Ok(wanted) = versions::wanted(catalogs, &scope.lookup, name).await else {
        return Ok(None);
    };
    if wanted.metadata.is_some() || wanted.version.is_some() {
        return Ok(None);
    }
    let schema = match wanted.found.kind {
        EntryKind::Table => scope.table(&wanted.found).await?.arrow_schema(),
        EntryKind::View => {
            let view = wanted.found.catalog.load_view(&wanted.found.ident).await?;
            view.arrow_schema()
        }
    };
    let fields = schema.fields().iter();
    Ok(Some(fields.map(|field| field.name().clone()).collect()))
}

/// Whether a statement asks for anything of this, as far as a glance tells.
#[derive(Default)]
struct Asked {
    natural: bool,
    tables: Vec<Name>,
    /// Names of FROM items.
    labels: HashSet<String>,
    /// Names that stand alone as values.
    values: HashSet<String>,
}

impl Visitor for Asked {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|from| &from.joins);
        self.natural |=
            { joins }.any(|join| constraint(&join.join_operator) == Some(&JoinConstraint::Natural));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
        {
            self.tables.push(fold_name(name));
        }
        self.labels.extend(label(factor).map(|label| fold(&label)));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.values.insert(fold(name));
            }
            Expr::Function(function) => {
                let rows = arguments(function).iter().filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => {
                        fold_name(name).pop()
                    }
                    _ => None,
                });
                self.values.extend(rows);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn arguments(function: &Function) -> &[FunctionArg] {
    match &function.args {
        FunctionArguments::List(list) => &list.args,
        _ => &[],
    }
}

fn constraint(join: &JoinOperator) -> Option<&JoinConstraint> {
    match join {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c) => Some(c),
        _ => None,
    }
}

fn constraint_mut(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match join {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c) => Some(c),
        _ => None,
    }
}

/// The name by which columns of `factor` are qualified.
fn label(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
            match name.0.last() {
                Some(ObjectNamePart::Identifier(name)) => Some(name.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

struct Writer {
    tables: HashMap<Name, Columns>,
    /// Those of WITH.
    queries: HashMap<String, Columns>,
}

impl VisitorMut for Writer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let columns = renamed(self.of_query(&cte.query), Some(&cte.alias));
                let name = fold(&cte.alias.name);
                // One name for two queries tells nothing.
                let twice = self.queries.contains_key(&name);
                self.queries.insert(name, columns.filter(|_| !twice));
            }
        }
        self.body(&mut query.body, query.order_by.as_mut());
        ControlFlow::Continue(())
    }
}

/// An item of FROM.
struct Item {
    label: Ident,
    columns: Vec<String>,
    /// Whether it may be missing in a row: it is on the outer side of a join.
    optional: bool,
}

impl Writer {
    fn body(&self, body: &mut SetExpr, order_by: Option<&mut OrderBy>) {
        match body {
            SetExpr::Select(select) => self.select(select, order_by),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, None);
                self.body(right, None);
            }
            // A query in parentheses is visited by itself.
            _ => {}
        }
    }

    fn select(&self, select: &mut Select, order_by: Option<&mut OrderBy>) {
        for from in &mut select.from {
            self.natural(from);
        }
        let Some(items) = self.items(select) else {
            return;
        };
        let columns: HashSet<&String> = items.iter().flat_map(|item| &item.columns).collect();
        let rows: HashMap<String, Expr> = items
            .iter()
            .filter(|item| !columns.contains(&fold(&item.label)))
            .map(|item| (fold(&item.label), row(item)))
            .collect();
        if rows.is_empty() {
            return;
        }
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
                && rows.contains_key(&fold(name))
            {
                *item = SelectItem::ExprWithAlias {
                    expr: Expr::Identifier(name.clone()),
                    alias: name.clone(),
                };
            }
        }
        let mut put = Put { rows, depth: 0 };
        let _ = VisitMut::visit(&mut select.projection, &mut put);
        for condition in [&mut select.selection, &mut select.having]
            .into_iter()
            .flatten()
        {
            let _ = VisitMut::visit(condition, &mut put);
        }
        let _ = VisitMut::visit(&mut select.group_by, &mut put);
        if let Some(order_by) = order_by {
            // The name of a result comes first.
            for item in &select.projection {
                if let SelectItem::ExprWithAlias { alias, .. } = item {
                    put.rows.remove(&fold(alias));
                }
            }
            let _ = VisitMut::visit(order_by, &mut put);
        }
    }

    /// The items of FROM, if the columns of all are known.
    fn items(&self, select: &Select) -> Option<Vec<Item>> {
        let mut items = vec![];
        for from in &select.from {
            let first = items.len();
            items.push(self.item(&from.relation, false)?);
            for join in &from.joins {
                let (before, after) = match &join.join_operator {
                    JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
                    JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
                    JoinOperator::FullOuter(_) => (true, true),
                    _ => (false, false),
                };
                for item in items.iter_mut().skip(first) {
                    item.optional |= before;
                }
                items.push(self.item(&join.relation, after)?);
            }
        }
        Some(items)
    }

    fn item(&self, factor: &TableFactor, optional: bool) -> Option<Item> {
        let (label, columns) = (label(factor)?, self.of_factor(factor)?);
        Some(Item {
            label,
            columns,
            optional,
        })
    }

    /// `NATURAL` as `USING` with the columns that both sides have.
    fn natural(&self, from: &mut TableWithJoins) {
        let mut left = self.of_factor(&from.relation);
        for join in &mut from.joins {
            let right = self.of_factor(&join.relation);
            left = match (left, right) {
                (Some(left), Some(right)) => Some(merged(left, right, join)),
                _ => None,
            };
        }
    }

    fn of_factor(&self, factor: &TableFactor) -> Columns {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let name = fold_name(name);
                let local = match name.as_slice() {
                    [only] => self.queries.get(only),
                    _ => None,
                };
                let known = local.or_else(|| self.tables.get(&name))?;
                renamed(known.clone(), alias.as_ref())
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => renamed(self.of_query(subquery), alias.as_ref()),
            // The columns of a function may be called as it, and hide it.
            TableFactor::Table { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => {
                let mut columns = vec![fold(&label(factor)?)];
                let alias = alias.iter().flat_map(|alias| &alias.columns);
                columns.extend(alias.map(|column| fold(&column.name)));
                Some(columns)
            }
            _ => None,
        }
    }

    fn of_query(&self, query: &Query) -> Columns {
        let mut body = query.body.as_ref();
        loop {
            body = match body {
                SetExpr::SetOperation { left, .. } => left.as_ref(),
                SetExpr::Query(query) => query.body.as_ref(),
                SetExpr::Select(select) => return self.of_select(select),
                SetExpr::Values(values) => {
                    let width = values.rows.first()?.content.len();
                    return Some((1..=width).map(|at| format!("column{at}")).collect());
                }
                _ => return None,
            };
        }
    }

    fn of_select(&self, select: &Select) -> Columns {
        let mut columns = vec![];
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(fold(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    columns.push(fold(parts.last()?));
                }
                SelectItem::ExprWithAlias { alias, .. } => columns.push(fold(alias)),
                SelectItem::Wildcard(options) if options.opt_exclude.is_none() => {
                    for from in &select.from {
                        columns.extend(self.all(from)?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if options.opt_exclude.is_none() => {
                    let wanted = fold_name(name).pop()?;
                    let items = self.items(select)?;
                    let item = items.into_iter().find(|item| fold(&item.label) == wanted)?;
                    columns.extend(item.columns);
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    /// What `*` gives of one item of FROM with its joins.
    fn all(&self, from: &TableWithJoins) -> Columns {
        let mut columns = self.of_factor(&from.relation)?;
        for join in &from.joins {
            let right = self.of_factor(&join.relation)?;
            // On a copy: the subquery itself is written when it is visited.
            columns = merged(columns, right, &mut join.clone());
        }
        Some(columns)
    }
}

/// `columns` under the names that an alias gives to the first of them.
fn renamed(columns: Columns, alias: Option<&TableAlias>) -> Columns {
    let mut columns = columns?;
    let names = alias.iter().flat_map(|alias| &alias.columns);
    for (column, name) in columns.iter_mut().zip(names) {
        *column = fold(&name.name);
    }
    Some(columns)
}

/// The columns of a join, those that it merges first; a NATURAL one is written out.
fn merged(left: Vec<String>, right: Vec<String>, join: &mut Join) -> Vec<String> {
    let shared: Vec<String> = match constraint_mut(&mut join.join_operator) {
        Some(natural @ JoinConstraint::Natural) => {
            let shared: Vec<String> = left.iter().filter(|c| right.contains(c)).cloned().collect();
            *natural = if shared.is_empty() {
                JoinConstraint::On(Expr::value(Value::Boolean(true)))
            } else {
                let name = |name: &String| {
                    ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote(
                        '"', name,
                    ))])
                };
                JoinConstraint::Using(shared.iter().map(name).collect())
            };
            shared
        }
        Some(JoinConstraint::Using(names)) => names
            .iter()
            .filter_map(|name| fold_name(name).pop())
            .collect(),
        _ => vec![],
    };
    let rest = left
        .into_iter()
        .chain(right)
        .filter(|column| !shared.contains(column));
    let rest: Vec<String> = rest.collect();
    shared.iter().cloned().chain(rest).collect()
}

/// An item's row as a value. One that may be missing is NULL where all its columns are.
fn row(item: &Item) -> Expr {
    let column = |name: &String| {
        Expr::CompoundIdentifier(vec![item.label.clone(), Ident::with_quote('"', name)])
    };
    let fields = item.columns.iter().flat_map(|name| {
        let text = Expr::value(Value::SingleQuotedString(name.clone()));
        [text, column(name)]
    });
    let all = call("named_struct", fields.collect());
    let missing = item
        .columns
        .iter()
        .map(|name| Expr::IsNull(Box::new(column(name))))
        .reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: ast::BinaryOperator::And,
            right: Box::new(right),
        });
    match missing {
        Some(missing) if item.optional => Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![ast::CaseWhen {
                condition: missing,
                result: Expr::value(Value::Null),
            }],
            else_result: Some(Box::new(all)),
        },
        _ => all,
    }
}

/// Puts rows in the place of names in one query, not in the queries inside it.
struct Put {
    rows: HashMap<String, Expr>,
    depth: usize,
}

impl VisitorMut for Put {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        // `(t).column` is a column.
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && let Expr::Nested(inner) = root.as_ref()
            && let Expr::Identifier(label) = inner.as_ref()
            && self.rows.contains_key(&fold(label))
            && let [AccessExpr::Dot(Expr::Identifier(column))] = access_chain.as_slice()
        {
            *expr = Expr::CompoundIdentifier(vec![label.clone(), column.clone()]);
        }
        if let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &mut function.args
        {
            for arg in &mut list.args {
                if let FunctionArg::Unnamed(arg) = arg
                    && let FunctionArgExpr::QualifiedWildcard(name) = arg
                    && let Some(row) = fold_name(name).pop().and_then(|name| self.rows.get(&name))
                {
                    *arg = FunctionArgExpr::Expr(row.clone());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = expr
            && let Some(row) = self.rows.get(&fold(name))
        {
            *expr = row.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, wanted: &str) {
        let crate::parser::Statement::Query(mut statement) = crate::parser::parse(sql).unwrap()
        else {
            panic!("not a query")
        };
        let columns = |columns: &[&str]| Some(columns.iter().map(|c| (*c).to_owned()).collect());
        let tables = [("a", columns(&["x", "id"])), ("b", columns(&["y", "id"]))];
        let mut writer = Writer {
            tables: tables.map(|(name, c)| (vec![name.to_owned()], c)).into(),
            queries: HashMap::new(),
        };
        let _ = VisitMut::visit(statement.as_mut(), &mut writer);
        assert_eq!(statement.to_string(), wanted, "{sql}");
    }

    #[test]
    fn a_natural_join_is_one_of_the_columns_that_both_have() {
        check(
            "SELECT * FROM a NATURAL JOIN b",
            "SELECT * FROM a JOIN b USING(\"id\")",
        );
        check(
            "SELECT * FROM a NATURAL FULL JOIN (SELECT y, id AS z FROM b) c",
            "SELECT * FROM a FULL JOIN (SELECT y, id AS z FROM b) c ON true",
        );
        check(
            "WITH c(x) AS (SELECT 1 AS y) SELECT * FROM a NATURAL JOIN b NATURAL JOIN c",
            "WITH c (x) AS (SELECT 1 AS y) SELECT * FROM a JOIN b USING(\"id\") JOIN c USING(\"x\")",
        );
        check(
            "SELECT * FROM a NATURAL JOIN unknown",
            "SELECT * FROM a NATURAL JOIN unknown",
        );
    }

    #[test]
    fn the_name_of_a_table_is_its_row() {
        check(
            "SELECT a, x FROM a WHERE f(a) ORDER BY a.id",
            "SELECT named_struct('x', a.\"x\", 'id', a.\"id\") AS a, x FROM a WHERE f(named_struct('x', a.\"x\", 'id', a.\"id\")) ORDER BY a.id",
        );
        check(
            "SELECT (q).x, f(q.*) FROM (SELECT x FROM a) q",
            "SELECT q.x, f(named_struct('x', q.\"x\")) FROM (SELECT x FROM a) q",
        );
        check("SELECT x FROM a AS x", "SELECT x FROM a AS x");
        check(
            "SELECT g FROM generate_series(1, 3) g",
            "SELECT g FROM generate_series(1, 3) g",
        );
        check(
            "SELECT count(b) FROM a LEFT JOIN b ON true",
            "SELECT count(CASE WHEN b.\"y\" IS NULL AND b.\"id\" IS NULL THEN NULL ELSE named_struct('y', b.\"y\", 'id', b.\"id\") END) FROM a LEFT JOIN b ON true",
        );
    }
}
