//! COPY: rows as text, CSV or PostgreSQL's binary, out of a query or into a table.
//!
//! Rows into a table are read in batches and written as they come, in one commit at the end; what the
//! writers have not taken holds the client back.

mod binary;
mod csv;
mod incoming;
mod outgoing;
mod text;

use tarn_engine::{Copy, CopyFormat, CopySource};

use super::connection::Connection;
use super::fault::Fault;
pub(super) use incoming::Reader;

impl Connection {
    /// `COPY`, in either direction.
    pub(crate) async fn copy(&mut self, copy: Copy, sql: &str) -> Result<(), Fault> {
        match (copy.source, copy.from) {
            (CopySource::Table { name, columns }, true) => {
                self.copy_in(name, columns, copy.options, sql).await
            }
            (CopySource::Table { name, columns }, false) => {
                let query = select(&name, columns.as_deref());
                self.copy_out(&query, &copy.options).await
            }
            (CopySource::Query(query), _) => self.copy_out(&query, &copy.options).await,
        }
    }
}

/// The query that reads a table.
fn select(name: &[String], columns: Option<&[String]>) -> String {
    let quote = |part: &String| format!("\"{}\"", part.replace('"', "\"\""));
    let list = columns.map_or_else(
        || "*".to_owned(),
        |columns| columns.iter().map(quote).collect::<Vec<_>>().join(", "),
    );
    let name: Vec<String> = name.iter().map(quote).collect();
    format!("SELECT {list} FROM {}", name.join("."))
}

fn is_binary(format: CopyFormat) -> bool {
    format == CopyFormat::Binary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_the_query_of_a_table() {
        let name = ["lake".to_owned(), "a\"b".to_owned()];
        assert_eq!(select(&name, None), "SELECT * FROM \"lake\".\"a\"\"b\"");
        assert_eq!(
            select(&name[..1], Some(&["x".to_owned(), "Y".to_owned()])),
            "SELECT \"x\", \"Y\" FROM \"lake\""
        );
    }
}
