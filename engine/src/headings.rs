//! Names of result columns that the statement itself leaves unnamed, as PostgreSQL gives them.
//!
//! `SELECT 1.5 * 2, count(*), x::bigint` has the columns `?column?`, `count` and `x`. Knows syntax
//! and the plan's own names only. Source: `FigureColname` in PostgreSQL's `parse_target.c`.

mod inner;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType as SqlType, Expr, SelectItem, SetExpr, Statement, Value,
};
use futures::StreamExt;

use crate::declared;
use crate::error::{EngineError, ErrorKind};
use crate::items;
use crate::parser::fold;
use crate::pg_catalog::PG_TYPE_KEY;

pub(crate) use inner::name as name_inner;

/// A field of the PostgreSQL type `name`.
fn noted(field: &Field, name: &str) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.insert(PG_TYPE_KEY.to_owned(), name.to_owned());
    Arc::new(field.clone().with_metadata(metadata))
}

/// A numeric of which clients are not told the digits.
fn without_digits(field: &Field) -> FieldRef {
    let name = if matches!(field.data_type(), DataType::List(_)) {
        "_numeric"
    } else {
        "numeric"
    };
    noted(field, name)
}

/// What a column without any better name is called.
const UNNAMED: &str = "?column?";

/// One item of the select list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// The planner's own name is right.
    Kept,
    /// An expression without a name of its own.
    Named(String),
    /// `*` or `t.*`.
    Wildcard,
}

/// The names of a query's result columns, as far as its text tells them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headings {
    items: Vec<Item>,
    /// Columns whose digits nobody declared.
    estimated: Vec<bool>,
    /// Names of array types that only the plan tells.
    arrays: Vec<Option<&'static str>>,
}

impl Headings {
    /// Reads the select list of `statement`; of a set operation that of its first query.
    pub(crate) fn of(statement: &Statement) -> Self {
        let Statement::Query(query) = statement else {
            return Self::default();
        };
        let mut body = query.body.as_ref();
        loop {
            body = match body {
                SetExpr::SetOperation { left, .. } => left.as_ref(),
                SetExpr::Query(query) => query.body.as_ref(),
                SetExpr::Select(select) => {
                    return Self::of_list(&select.projection);
                }
                _ => return Self::default(),
            };
        }
    }

    /// Beside a wildcard, and for a second column of one name, the planner is given another name.
    fn of_list(list: &[SelectItem]) -> Self {
        let mut items: Vec<Item> = list.iter().map(item).collect();
        for (found, item) in items.iter_mut().zip(list) {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => *found = Item::Named(fold(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    if let Some(name) = parts.last() {
                        *found = Item::Named(fold(name));
                    }
                }
                SelectItem::ExprWithAlias { alias, .. } => *found = Item::Named(fold(alias)),
                _ => {}
            }
        }
        Self::named(items)
    }

    fn named(items: Vec<Item>) -> Self {
        Self {
            items,
            estimated: vec![],
            arrays: vec![],
        }
    }

    /// With what `plan`, the statement's, tells of the digits of numerics and of the items of arrays.
    pub(crate) fn with_digits(self, plan: &LogicalPlan) -> Self {
        Self {
            estimated: declared::estimated(plan),
            arrays: items::noted(plan),
            ..self
        }
    }

    /// The name of each of `count` columns, `None` where the planner's is right.
    ///
    /// A single wildcard stands for the columns that are left over; between several nothing is
    /// named.
    fn names(&self, count: usize) -> Vec<Option<String>> {
        let name = |item: &Item| match item {
            Item::Named(name) => Some(name.clone()),
            Item::Kept | Item::Wildcard => None,
        };
        let wildcard = |item: &Item| *item == Item::Wildcard;
        let first = self.items.iter().position(wildcard);
        let last = self.items.iter().rposition(wildcard);
        let mut out = vec![None; count];
        let (head, tail) = match (first, last) {
            (Some(first), Some(last)) => (&self.items[..first], &self.items[last + 1..]),
            _ if self.items.len() == count => (self.items.as_slice(), &[][..]),
            _ => return out,
        };
        if head.len() + tail.len() > count {
            return out;
        }
        for (slot, item) in out.iter_mut().zip(head) {
            *slot = name(item);
        }
        for (slot, item) in out.iter_mut().rev().zip(tail.iter().rev()) {
            *slot = name(item);
        }
        out
    }

    /// `schema` with the names that a client sees. Two columns may have one name.
    pub(crate) fn rename(&self, schema: &Schema) -> SchemaRef {
        let names = self.names(schema.fields().len());
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .zip(names)
            .enumerate()
            .map(|(at, (field, name))| {
                let field = match name {
                    Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
                    None => Arc::clone(field),
                };
                if self.estimated.get(at) == Some(&true) {
                    without_digits(&field)
                } else if let Some(Some(array)) = self.arrays.get(at)
                    && matches!(field.data_type(), DataType::List(_))
                {
                    noted(&field, array)
                } else {
                    field
                }
            })
            .collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// `schema` with the names that a new table has: a made name that is taken gets a number.
    pub(crate) fn rename_unique(&self, schema: &Schema) -> SchemaRef {
        let names = self.names(schema.fields().len());
        let mut taken: HashSet<String> = schema
            .fields()
            .iter()
            .zip(&names)
            .filter(|(_, name)| name.is_none())
            .map(|(field, _)| field.name().clone())
            .collect();
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .zip(names)
            .map(|(field, name)| {
                let Some(base) = name else {
                    return Arc::clone(field);
                };
                let mut free = base.clone();
                let mut number = 1;
                while !taken.insert(free.clone()) {
                    free = format!("{base}_{number}");
                    number += 1;
                }
                Arc::new(field.as_ref().clone().with_name(free))
            })
            .collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// The rows of `stream` under the names that a client sees.
    pub(crate) fn apply(&self, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = stream.schema();
        let renamed = self.rename(&schema);
        if renamed == schema {
            return stream;
        }
        let shown = Arc::clone(&renamed);
        let rows = stream.map(move |batch| {
            let batch = batch?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&shown),
                batch.columns().to_vec(),
                &options,
            )?)
        });
        Box::pin(RecordBatchStreamAdapter::new(renamed, rows))
    }
}

fn item(item: &SelectItem) -> Item {
    match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Item::Wildcard,
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        | SelectItem::ExprWithAlias { .. }
        | SelectItem::ExprWithAliases { .. } => Item::Kept,
        SelectItem::UnnamedExpr(expr) => {
            Item::Named(figure(expr).map_or_else(|| UNNAMED.to_owned(), |found| found.name))
        }
    }
}

/// A name and whether it is a good one; that of a type is used only if nothing else is there.
struct Figured {
    name: String,
    good: bool,
}

#[allow(clippy::unnecessary_wraps, reason = "an arm of `figure`")]
fn good(name: impl Into<String>) -> Option<Figured> {
    Some(Figured {
        name: name.into(),
        good: true,
    })
}

#[allow(clippy::unnecessary_wraps, reason = "an arm of `figure`")]
fn weak(name: impl Into<String>) -> Option<Figured> {
    Some(Figured {
        name: name.into(),
        good: false,
    })
}

fn figure(expr: &Expr) -> Option<Figured> {
    match expr {
        Expr::Identifier(ident) => good(fold(ident)),
        Expr::CompoundIdentifier(parts) => good(fold(parts.last()?)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some(fold(ident)),
                _ => None,
            });
            field.map_or_else(|| figure(root), good)
        }
        Expr::Function(function) => {
            let name = crate::parser::fold_name(&function.name);
            good(name.last()?.clone())
        }
        Expr::Cast {
            kind,
            expr,
            data_type,
            ..
        } => match figure(expr) {
            Some(found) if found.good => Some(found),
            _ if *kind == CastKind::TryCast => good("try_cast"),
            _ => weak(type_name(data_type)),
        },
        Expr::TypedString(typed) => weak(type_name(&typed.data_type)),
        Expr::Interval(_) => weak("interval"),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => weak("bool"),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some(found) if found.good => Some(found),
            _ => weak("case"),
        },
        Expr::Exists { .. } => good("exists"),
        Expr::Subquery(query) => match Headings::of(&Statement::Query(query.clone())).items.first()
        {
            Some(Item::Named(name)) => good(name.clone()),
            Some(Item::Kept) => match first_item(&query.body)? {
                SelectItem::ExprWithAlias { alias, .. } => good(fold(alias)),
                SelectItem::UnnamedExpr(expr) => figure(expr),
                _ => None,
            },
            _ => None,
        },
        Expr::Array(_) => good("array"),
        Expr::Tuple(_) => good("row"),
        Expr::Extract { .. } => good("extract"),
        Expr::Ceil { .. } => good("ceil"),
        Expr::Floor { .. } => good("floor"),
        Expr::Position { .. } => good("position"),
        Expr::Substring { .. } => good("substring"),
        Expr::Overlay { .. } => good("overlay"),
        Expr::AtTimeZone { .. } => good("timezone"),
        Expr::Trim { trim_where, .. } => good(match trim_where {
            Some(datafusion::sql::sqlparser::ast::TrimWhereField::Leading) => "ltrim",
            Some(datafusion::sql::sqlparser::ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

/// Refuses a select list that gives one name to two columns: a result may have them, a table or view
/// may not. Names that the list does not say are the planner's business.
///
/// # Errors
/// [`ErrorKind::DuplicateColumn`].
pub(crate) fn refuse_twice(statement: &Statement) -> Result<(), EngineError> {
    let Statement::Query(query) = statement else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    for item in select_list(&query.body) {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(fold(name)),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(fold),
            _ => None,
        };
        if let Some(name) = name
            && !seen.insert(name.clone())
        {
            return Err(EngineError::new(
                ErrorKind::DuplicateColumn,
                format!("column \"{name}\" is there twice"),
            )
            .with_hint("give one of them another name with AS"));
        }
    }
    Ok(())
}

/// The select list of a query; of a set operation that of its first query.
fn select_list(body: &SetExpr) -> &[SelectItem] {
    match body {
        SetExpr::Select(select) => &select.projection,
        SetExpr::Query(query) => select_list(&query.body),
        SetExpr::SetOperation { left, .. } => select_list(left),
        _ => &[],
    }
}

fn first_item(body: &SetExpr) -> Option<&SelectItem> {
    match body {
        SetExpr::Select(select) => select.projection.first(),
        SetExpr::Query(query) => first_item(&query.body),
        SetExpr::SetOperation { left, .. } => first_item(left),
        _ => None,
    }
}

/// PostgreSQL's internal name of a type, which is what it calls a cast constant.
fn type_name(ty: &SqlType) -> String {
    match ty {
        SqlType::SmallInt(_) | SqlType::Int2(_) => "int2".to_owned(),
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => "int4".to_owned(),
        SqlType::BigInt(_) | SqlType::Int8(_) => "int8".to_owned(),
        SqlType::Real | SqlType::Float4 => "float4".to_owned(),
        SqlType::Float(_) | SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 => {
            "float8".to_owned()
        }
        SqlType::Numeric(_) | SqlType::Decimal(_) | SqlType::Dec(_) => "numeric".to_owned(),
        SqlType::Boolean | SqlType::Bool => "bool".to_owned(),
        SqlType::Varchar(_) | SqlType::CharacterVarying(_) => "varchar".to_owned(),
        SqlType::Char(_) | SqlType::Character(_) => "bpchar".to_owned(),
        SqlType::Timestamp(_, zone) => {
            use datafusion::sql::sqlparser::ast::TimezoneInfo;
            match zone {
                TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => "timestamptz".to_owned(),
                _ => "timestamp".to_owned(),
            }
        }
        SqlType::Time(..) => "time".to_owned(),
        SqlType::Array(_) => "array".to_owned(),
        other => {
            let text = other.to_string().to_lowercase();
            text.split('(').next().unwrap_or_default().trim().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    fn headings(sql: &str) -> Headings {
        let crate::parser::Statement::Query(statement) = crate::parser::parse(sql).unwrap() else {
            panic!("not a query")
        };
        Headings::of(&statement)
    }

    fn schema(count: usize) -> Schema {
        let field = |i| Field::new(format!("p{i}"), DataType::Int64, true);
        Schema::new((0..count).map(field).collect::<Vec<_>>())
    }

    fn check_names(sql: &str, wanted: &[&str]) {
        let renamed = headings(sql).rename(&schema(wanted.len()));
        let names: Vec<&str> = renamed.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, wanted, "{sql}");
    }

    #[test]
    fn columns_are_named_as_postgresql_names_them() {
        check_names(
            "SELECT 1.5 * 2, count(*), a, b AS x",
            &["?column?", "count", "a", "x"],
        );
        check_names("SELECT a::bigint, '7'::bigint, (a.b)", &["a", "int8", "b"]);
        check_names(
            "SELECT CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END",
            &["case", "b"],
        );
        check_names(
            "SELECT EXISTS (SELECT 1), (SELECT max(n) FROM t), -a",
            &["exists", "max", "?column?"],
        );
        check_names(
            "SELECT DATE '2024-01-01', true, row_number() OVER ()",
            &["date", "bool", "row_number"],
        );
    }

    #[test]
    fn a_wildcard_stands_for_what_is_left() {
        check_names("SELECT 1, *, upper(x)", &["?column?", "p1", "p2", "upper"]);
        check_names(
            "SELECT 1, a.*, 2, b.*, 3",
            &["?column?", "p1", "p2", "p3", "?column?"],
        );
        check_names("SELECT 1 UNION SELECT 2", &["?column?"]);
    }

    #[test]
    fn a_new_table_has_no_name_twice() {
        let renamed = headings("SELECT 1, 2, count(*), a").rename_unique(&schema(4));
        let names: Vec<&str> = renamed.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["?column?", "?column?_1", "count", "a"]);
    }
}
