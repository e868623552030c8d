//! Prepared statements and portals by name, and what SQL may see of them while they are in use.
//!
//! The connection's task owns them; rows of `pg_prepared_statements` and `pg_cursors` are read by
//! whatever task runs the statement that asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tarn_engine::{ListedCursor, ListedStatement, redacted};

use super::extended::Statement;
use super::portal::Portal;
use crate::sessions::Holdings;

/// Something with a name, of which a part is shown.
pub(crate) trait Shown {
    /// What is shown.
    type Row;

    /// What is shown under this name, if anything.
    fn row(&self, name: &str) -> Option<Self::Row>;
}

type Rows<R> = Arc<Mutex<BTreeMap<String, R>>>;

/// Values by name.
pub(crate) struct Named<V: Shown> {
    values: HashMap<String, V>,
    rows: Rows<V::Row>,
}

impl<V: Shown> Named<V> {
    pub(crate) fn new() -> Self {
        Self {
            values: HashMap::new(),
            rows: Arc::default(),
        }
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, V::Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.values.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.values.get_mut(name)
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn insert(&mut self, name: String, value: V) {
        match value.row(&name) {
            Some(row) => self.rows().insert(name.clone(), row),
            None => self.rows().remove(&name),
        };
        self.values.insert(name, value);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        let removed = self.values.remove(name)?;
        self.rows().remove(name);
        Some(removed)
    }

    pub(crate) fn clear(&mut self) {
        self.rows().clear();
        self.values.clear();
    }

    /// Keeps those that `keep` names.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.values.retain(|_, value| keep(value));
        let values = &self.values;
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|name, _| values.contains_key(name));
    }
}

impl Shown for Arc<Statement> {
    type Row = Self;

    /// The unnamed statement is nobody's to see, as in PostgreSQL.
    fn row(&self, name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Arc::clone(self))
    }
}

/// What is shown of a portal.
pub(crate) struct CursorRow {
    statement: Arc<Statement>,
    is_holdable: bool,
    is_binary: bool,
    is_scrollable: bool,
    created_at: DateTime<Utc>,
}

impl Shown for Portal {
    type Row = CursorRow;

    fn row(&self, _: &str) -> Option<CursorRow> {
        Some(CursorRow {
            statement: Arc::clone(&self.statement),
            is_holdable: self.is_held(),
            // Formats that Bind asks for do not make a portal binary.
            is_binary: self.is_cursor() && self.formats.contains(&1),
            is_scrollable: self.is_scrollable(),
            created_at: Utc::now(),
        })
    }
}

/// The rows of one connection.
pub(crate) struct Held {
    statements: Rows<Arc<Statement>>,
    portals: Rows<CursorRow>,
}

impl Held {
    pub(crate) fn of(statements: &Named<Arc<Statement>>, portals: &Named<Portal>) -> Self {
        Self {
            statements: Arc::clone(&statements.rows),
            portals: Arc::clone(&portals.rows),
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Holdings for Held {
    fn prepared_statements(&self) -> Vec<ListedStatement> {
        let rows = self.statements.lock();
        let rows = rows.unwrap_or_else(PoisonError::into_inner);
        let rows = rows.iter().map(|(name, statement)| ListedStatement {
            name: name.clone(),
            statement: redacted(statement.written()).into_owned(),
            prepared_at: statement.prepared_at,
            parameter_types: statement.parameter_oids(),
            from_sql: statement.is_from_sql(),
            runs: statement.runs(),
            reused: i64::try_from(statement.plan.reused()).unwrap_or(i64::MAX),
        });
        rows.collect()
    }

    fn cursors(&self) -> Vec<ListedCursor> {
        let rows = self.portals.lock();
        let rows = rows.unwrap_or_else(PoisonError::into_inner);
        let rows = rows.iter().map(|(name, cursor)| ListedCursor {
            name: name.clone(),
            statement: redacted(cursor.statement.written()).into_owned(),
            is_holdable: cursor.is_holdable,
            is_binary: cursor.is_binary,
            is_scrollable: cursor.is_scrollable,
            created_at: cursor.created_at,
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_is_held() {
        let mut statements: Named<Arc<Statement>> = Named::new();
        let portals = Named::new();
        let held = Held::of(&statements, &portals);
        let parse = |sql: &str| Arc::new(Statement::parse(sql, vec![]).unwrap());
        statements.insert(String::new(), parse("SELECT 1"));
        statements.insert("b".to_owned(), parse("SELECT $1"));
        let a = Statement::parse("SELECT 2", vec![]).unwrap();
        statements.insert("a".to_owned(), Arc::new(a.made_by("PREPARE a AS SELECT 2")));
        let shown = |held: &Held| -> Vec<_> {
            let all = held.prepared_statements().into_iter();
            all.map(|s| (s.name, s.statement, s.from_sql)).collect()
        };
        let row = |name: &str, text: &str, sql| (name.to_owned(), text.to_owned(), sql);
        let a = row("a", "PREPARE a AS SELECT 2", true);
        assert_eq!(shown(&held), [a.clone(), row("b", "SELECT $1", false)]);
        assert!(statements.remove("b").is_some());
        assert!(statements.remove("b").is_none());
        assert_eq!(shown(&held), [a]);
        statements.clear();
        assert!(shown(&held).is_empty());
        assert!(held.cursors().is_empty());
    }
}
