//! Completes keywords and the names of schemas, tables and columns.
//!
//! Names are learned in the background; a keystroke never waits for the
//! server. Guesses from the words around the cursor, parses no SQL.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::meta;
use crate::client::Client;
use tarn_engine::Splitter;

/// Columns that are learned; a lake may have millions.
const COLUMNS_MAX: usize = 20_000;

/// Suggestions offered at once.
const SUGGESTIONS_MAX: usize = 200;

/// Schemas whose columns are offered only where they are mentioned.
const SYSTEM_SCHEMAS: [&str; 2] = ["information_schema", "system"];

const KEYWORDS: &[&str] = &[
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COALESCE",
    "COLUMNS",
    "COUNT",
    "CREATE",
    "CROSS",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FETCH",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LAST",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "RENAME",
    "RESET",
    "RIGHT",
    "ROWS",
    "SCHEMA",
    "SCHEMAS",
    "SELECT",
    "SET",
    "SHOW",
    "SUM",
    "TABLE",
    "TABLES",
    "THEN",
    "TO",
    "TRUE",
    "UNION",
    "UNNEST",
    "USE",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "read_avro",
    "read_binary_file",
    "read_csv",
    "read_json",
    "read_orc",
    "read_parquet",
    "read_text",
];

/// One table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TableNames {
    schema: String,
    table: String,
    columns: Vec<String>,
}

/// What the server has, as far as it is known. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    known: Arc<RwLock<Vec<TableNames>>>,
    /// Counts refreshes, so that a slow one does not overwrite a newer one.
    generation: Arc<AtomicU64>,
}

impl Names {
    /// Learns the names of the client's catalog, in the background.
    pub(crate) fn refresh(&self, client: Client) {
        let names = self.clone();
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::spawn(async move {
            let statement = format!(
                "SELECT table_schema, table_name, column_name FROM information_schema.columns \
                 ORDER BY table_schema, table_name, ordinal_position LIMIT {COLUMNS_MAX}"
            );
            // Without names there is no completion, and nothing worse.
            let Ok(answer) = client.query(&statement).await else {
                return;
            };
            let mut tables: Vec<TableNames> = Vec::new();
            for row in answer.rows() {
                let [Some(schema), Some(table), Some(column)] = row.as_slice() else {
                    continue;
                };
                match tables.last_mut() {
                    Some(last) if last.schema == *schema && last.table == *table => {
                        last.columns.push(column.clone());
                    }
                    _ => tables.push(TableNames {
                        schema: schema.clone(),
                        table: table.clone(),
                        columns: vec![column.clone()],
                    }),
                }
            }
            if names.generation.load(Ordering::Relaxed) == generation {
                *names.known.write().unwrap_or_else(PoisonError::into_inner) = tables;
            }
        });
    }

    /// What could stand at the end of `before`, and where its last word starts.
    fn suggest(&self, before: &str, whole: &str) -> (usize, Vec<String>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let start = before
            .rfind(|character: char| {
                !(character.is_alphanumeric() || matches!(character, '_' | '"' | '$'))
            })
            .map_or(0, |index| {
                index + before[index..].chars().next().map_or(1, char::len_utf8)
            });
        let word = &before[start..];
        let mut found = BTreeSet::new();
        let mut offer = |name: &str| {
            let quoted = quote(name);
            if starts_with(name, word.trim_start_matches('"')) || starts_with(&quoted, word) {
                found.insert(quoted);
            }
        };
        if let Some(qualifier) = qualifier(&before[..start]) {
            let aliases = aliases(whole);
            let table = aliases
                .iter()
                .find(|(alias, _)| alias.eq_ignore_ascii_case(qualifier))
                .map_or(qualifier, |(_, table)| table.as_str());
            for entry in known.iter() {
                if entry.table.eq_ignore_ascii_case(table) {
                    entry.columns.iter().for_each(|column| offer(column));
                }
                if entry.schema.eq_ignore_ascii_case(qualifier) {
                    offer(&entry.table);
                }
            }
        } else if !word.is_empty() {
            let mentioned = aliases(whole);
            for entry in known.iter() {
                offer(&entry.schema);
                offer(&entry.table);
                // Before FROM is typed, any column may be meant.
                let meant = if mentioned.is_empty() {
                    !SYSTEM_SCHEMAS.contains(&entry.schema.as_str())
                } else {
                    mentioned
                        .iter()
                        .any(|(_, table)| table.eq_ignore_ascii_case(&entry.table))
                };
                if meant {
                    entry.columns.iter().for_each(|column| offer(column));
                }
            }
            let lower = word.chars().any(char::is_lowercase);
            for keyword in KEYWORDS.iter().filter(|keyword| starts_with(keyword, word)) {
                found.insert(if lower {
                    keyword.to_lowercase()
                } else {
                    (*keyword).to_owned()
                });
            }
        }
        (start, found.into_iter().take(SUGGESTIONS_MAX).collect())
    }
}

/// The name before the dot that `text` ends with.
fn qualifier(text: &str) -> Option<&str> {
    let text = text.strip_suffix('.')?;
    let start = text
        .rfind(|character: char| {
            !(character.is_alphanumeric() || matches!(character, '_' | '"' | '$'))
        })
        .map_or(0, |index| {
            index + text[index..].chars().next().map_or(1, char::len_utf8)
        });
    let name = text[start..].trim_matches('"');
    (!name.is_empty()).then_some(name)
}

/// Tables that a statement mentions, with the names they go by there.
fn aliases(statement: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = statement
        .split(|character: char| character.is_whitespace() || matches!(character, '(' | ')' | ';'))
        .flat_map(|word| word.split_inclusive(','))
        .filter(|word| !word.is_empty())
        .collect();
    let mut found = Vec::new();
    let mut in_from = false;
    let mut index = 0;
    while index < words.len() {
        let word = words[index];
        index += 1;
        let upper = word.to_ascii_uppercase();
        if matches!(
            upper.as_str(),
            "FROM" | "JOIN" | "INTO" | "UPDATE" | "TABLE" | "DESCRIBE"
        ) {
            in_from = true;
            continue;
        }
        if !std::mem::take(&mut in_from) {
            continue;
        }
        let table = last_name(word.trim_end_matches(','));
        found.push((table.clone(), table.clone()));
        if word.ends_with(',') {
            in_from = true;
            continue;
        }
        if words
            .get(index)
            .is_some_and(|word| word.eq_ignore_ascii_case("AS"))
        {
            index += 1;
        }
        if let Some(alias) = words.get(index)
            && !KEYWORDS.contains(&alias.trim_end_matches(',').to_ascii_uppercase().as_str())
        {
            found.push((last_name(alias.trim_end_matches(',')), table));
            in_from = alias.ends_with(',');
            index += 1;
        }
    }
    found
}

fn last_name(name: &str) -> String {
    name.rsplit('.')
        .next()
        .unwrap_or_default()
        .trim_matches('"')
        .to_owned()
}

fn starts_with(name: &str, prefix: &str) -> bool {
    let mut characters = name.chars();
    prefix.chars().all(|wanted| {
        characters
            .next()
            .is_some_and(|got| got.to_lowercase().eq(wanted.to_lowercase()))
    })
}

/// A name as SQL needs it written.
pub(crate) fn quote(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        });
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// What the line editor asks: is it complete, what could follow.
pub(crate) struct EditorHelper {
    names: Names,
    color: bool,
}

impl EditorHelper {
    pub(crate) fn new(names: Names, color: bool) -> Self {
        Self { names, color }
    }
}

impl Completer for EditorHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let (start, found) = if before.starts_with('\\') && !before.contains(char::is_whitespace) {
            let found = meta::COMMANDS.iter().map(|command| command.name);
            (
                0,
                found
                    .filter(|name| name.starts_with(before))
                    .map(str::to_owned)
                    .collect(),
            )
        } else {
            self.names.suggest(before, line)
        };
        let pairs = found.into_iter().map(|text| Pair {
            display: text.clone(),
            replacement: text,
        });
        Ok((start, pairs.collect()))
    }
}

impl Validator for EditorHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Highlighter for EditorHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _: bool,
    ) -> std::borrow::Cow<'b, str> {
        if self.color {
            format!("\x1b[1m{prompt}\x1b[0m").into()
        } else {
            prompt.into()
        }
    }
}

impl Hinter for EditorHelper {
    type Hint = String;
}

impl Helper for EditorHelper {}

/// Whether Enter should run the input, rather than start another line.
fn is_complete(input: &str) -> bool {
    let trimmed = input.trim();
    if trimmed.is_empty() || trimmed.starts_with('\\') || meta::is_word_command(trimmed) {
        return true;
    }
    let mut splitter = Splitter::new();
    splitter.push(input);
    !splitter.is_pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let table = |schema: &str, table: &str, columns: &[&str]| TableNames {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        };
        let names = Names::default();
        *names.known.write().unwrap() = vec![
            table("main", "orders", &["o_orderkey", "o_custkey", "Mixed Case"]),
            table("tpch", "customer", &["c_custkey", "c_name"]),
        ];
        names
    }

    fn check_suggest(line: &str, expected: &[&str]) {
        let (before, after) = line.split_once('|').unwrap();
        let (_, found) = names().suggest(before, &format!("{before}{after}"));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn keywords_keep_the_case_of_the_typist() {
        check_suggest("SEL|", &["SELECT"]);
        check_suggest("sel|", &["select"]);
    }

    #[test]
    fn columns_come_from_the_tables_mentioned() {
        check_suggest("SELECT o_| FROM orders", &["o_custkey", "o_orderkey"]);
        check_suggest("SELECT c_n| FROM orders, tpch.customer", &["c_name"]);
        check_suggest("SELECT c_n| FROM orders", &[]);
        check_suggest("SELECT c_n|", &["c_name"]);
    }

    #[test]
    fn a_qualifier_is_a_schema_a_table_or_an_alias() {
        check_suggest("SELECT * FROM tpch.|", &["customer"]);
        check_suggest("SELECT orders.o_c| FROM orders", &["o_custkey"]);
        check_suggest(
            "SELECT c.| FROM orders o JOIN tpch.customer AS c ON true",
            &["c_custkey", "c_name"],
        );
        check_suggest(
            "SELECT o.m| FROM orders o, tpch.customer c",
            &["\"Mixed Case\""],
        );
    }

    #[test]
    fn tables_and_schemas_complete() {
        check_suggest("SELECT * FROM orde|", &["order", "orders"]);
        check_suggest("SELECT * FROM tp|", &["tpch"]);
    }

    #[test]
    fn enter_runs_what_is_complete() {
        for (input, complete) in [
            ("", true),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT ';", false),
            ("SELECT 1; -- yes", true),
            ("SELECT 1; SELECT", false),
            ("\\d orders", true),
            ("quit", true),
        ] {
            assert_eq!(is_complete(input), complete, "{input:?}");
        }
    }

    #[test]
    fn names_are_quoted_only_when_they_must_be() {
        assert_eq!(quote("a_1"), "a_1");
        assert_eq!(quote("A"), "\"A\"");
        assert_eq!(quote("1a"), "\"1a\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
