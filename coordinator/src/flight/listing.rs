//! Names by pattern, and the rows of `GetTables`.
//!
//! arrow-flight's builder encodes every table's columns again for every call and filters afterwards; with 10,000
//! tables that is too late.

use std::sync::{Arc, LazyLock};

use arrow::array::{BinaryBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

/// A pattern in which `%` is any text, `_` any character and `\` takes their meaning away.
#[derive(Debug)]
pub(crate) struct Pattern(Option<Vec<Part>>);

#[derive(Debug, PartialEq)]
enum Part {
    Text,
    One,
    Exactly(char),
}

impl Pattern {
    /// No pattern fits everything.
    pub(crate) fn new(pattern: Option<&str>) -> Self {
        Self(pattern.map(|pattern| {
            let mut parts = vec![];
            let mut chars = pattern.chars();
            while let Some(c) = chars.next() {
                parts.push(match c {
                    '%' => Part::Text,
                    '_' => Part::One,
                    '\\' => Part::Exactly(chars.next().unwrap_or('\\')),
                    other => Part::Exactly(other),
                });
            }
            parts.dedup_by(|a, b| *a == Part::Text && *b == Part::Text);
            parts
        }))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some(parts) = &self.0 else { return true };
        let name: Vec<char> = name.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on if the text after the last `%` does not fit.
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() {
            match parts.get(part) {
                Some(Part::Text) => {
                    retry = Some((part + 1, at));
                    part += 1;
                }
                Some(Part::One) => {
                    part += 1;
                    at += 1;
                }
                Some(Part::Exactly(c)) if *c == name[at] => {
                    part += 1;
                    at += 1;
                }
                _ => match retry {
                    Some((after, from)) => {
                        retry = Some((after, from + 1));
                        part = after;
                        at = from + 1;
                    }
                    None => return false,
                },
            }
        }
        parts[part..].iter().all(|part| *part == Part::Text)
    }
}

fn table_fields() -> Vec<Field> {
    vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("table_type", DataType::Utf8, false),
    ]
}

/// Columns of `GetTables`.
pub(crate) fn tables_schema(with_columns: bool) -> SchemaRef {
    static NAMES: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(table_fields())));
    static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut fields = table_fields();
        fields.push(Field::new("table_schema", DataType::Binary, false));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(if with_columns { &COLUMNS } else { &NAMES })
}

/// The rows of `GetTables`; they are appended in order.
pub(crate) struct TablesBuilder {
    names: [StringBuilder; 4],
    columns: Option<BinaryBuilder>,
}

impl TablesBuilder {
    pub(crate) fn new(with_columns: bool) -> Self {
        Self {
            names: std::array::from_fn(|_| StringBuilder::new()),
            columns: with_columns.then(BinaryBuilder::new),
        }
    }

    pub(crate) fn append(
        &mut self,
        catalog: &str,
        schema: &str,
        table: &str,
        kind: &str,
        columns: Option<&[u8]>,
    ) {
        for (builder, name) in self.names.iter_mut().zip([catalog, schema, table, kind]) {
            builder.append_value(name);
        }
        if let Some(builder) = &mut self.columns {
            builder.append_value(columns.unwrap_or_default());
        }
    }

    pub(crate) fn build(self) -> Result<RecordBatch, ArrowError> {
        let schema = tables_schema(self.columns.is_some());
        let mut arrays: Vec<arrow::array::ArrayRef> = vec![];
        for mut builder in self.names {
            arrays.push(Arc::new(builder.finish()));
        }
        if let Some(mut builder) = self.columns {
            arrays.push(Arc::new(builder.finish()));
        }
        RecordBatch::try_new(schema, arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: Option<&str>, name: &str, expected: bool) {
        assert_eq!(
            Pattern::new(pattern).matches(name),
            expected,
            "{pattern:?} on {name:?}"
        );
    }

    #[test]
    fn patterns_fit_as_in_like() {
        check(None, "anything", true);
        check(Some("%"), "", true);
        check(Some(""), "", true);
        check(Some(""), "a", false);
        check(Some("ord%"), "orders", true);
        check(Some("%der%"), "orders", true);
        check(Some("%ders"), "orders", true);
        check(Some("%der"), "orders", false);
        check(Some("o_ders"), "orders", true);
        check(Some("o_ders"), "oders", false);
        check(Some("a\\_b"), "a_b", true);
        check(Some("a\\_b"), "axb", false);
        check(Some("%a%b%c"), "xaxxbbxc", true);
        check(Some("ü_"), "üb", true);
        check(Some("ORDERS"), "orders", false);
    }

    #[test]
    fn tables_come_with_or_without_their_columns() {
        for with_columns in [false, true] {
            let mut builder = TablesBuilder::new(with_columns);
            builder.append("lake", "main", "t", "TABLE", with_columns.then_some(b"x"));
            let batch = builder.build().unwrap();
            assert_eq!(batch.num_columns(), if with_columns { 5 } else { 4 });
        }
    }
}
