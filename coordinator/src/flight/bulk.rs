//! Many rows at once: `CommandStatementIngest`, and batches of an INSERT's parameters.
//!
//! Both become one commit. Knows the SQL that makes a table for given columns and the form of an INSERT that only
//! names its parameters; the writing is the engine's.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use futures::{StreamExt, TryStreamExt};
use tarn_engine::{EngineError, ErrorKind, Ingest, sql_type_name};
use tonic::Status;

use super::put::Sent;
use super::query::{Queries, query_id};
use super::results::Shape;
use super::service::no_transaction;
use super::session::FlightSession;
use super::status::{malformed, status, unsupported};
use crate::statements::{Door, StatementRequest};

/// An INSERT whose values are its parameters in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlainInsert {
    /// The table, in one to three parts.
    pub(crate) table: Vec<String>,
    /// The columns, if they are named.
    pub(crate) columns: Option<Vec<String>>,
}

impl Queries {
    /// Puts rows into a table that is made, replaced or there, as the command says; gives their number.
    pub(crate) async fn ingest(
        &self,
        session: &FlightSession,
        command: &CommandStatementIngest,
        schema: Option<SchemaRef>,
        rows: Sent,
    ) -> Result<Option<u64>, Status> {
        no_transaction(command.transaction_id.as_ref())?;
        let schema = schema.ok_or_else(|| malformed("rows to ingest need a schema"))?;
        let table = place(session, command)?;
        let exists = self.exists(session, &table).await?;
        let definition = command.table_definition_options.unwrap_or_default();
        if exists {
            return match definition.if_exists() {
                TableExistsOption::Append => self.load(session, table, None, schema, rows).await,
                TableExistsOption::Replace => {
                    self.replace(session, table, command.temporary, schema, rows)
                        .await
                }
                TableExistsOption::Fail | TableExistsOption::Unspecified => {
                    Err(status(&EngineError::new(
                        ErrorKind::DuplicateTable,
                        format!("table \"{}\" already exists", command.table),
                    )))
                }
            };
        }
        match definition.if_not_exist() {
            TableNotExistOption::Create => {
                self.make(session, table, command.temporary, schema, rows)
                    .await
            }
            TableNotExistOption::Fail | TableNotExistOption::Unspecified => {
                Err(status(&EngineError::new(
                    ErrorKind::UndefinedTable,
                    format!("table \"{}\" does not exist", command.table),
                )))
            }
        }
    }

    async fn exists(&self, session: &FlightSession, table: &[String]) -> Result<bool, Status> {
        let engine = &self.service.engine;
        match engine.ingest_schema(&session.session(), table, None).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::UndefinedTable => Ok(false),
            Err(error) => Err(status(&error)),
        }
    }

    /// Makes a table and fills it; it is gone again if its rows do not come.
    async fn make(
        &self,
        session: &FlightSession,
        table: Vec<String>,
        temporary: bool,
        schema: SchemaRef,
        rows: Sent,
    ) -> Result<Option<u64>, Status> {
        let name = quoted(&table);
        let create = create_statement(&name, temporary, &schema)?;
        self.execute(session, &create, vec![]).await?;
        let loaded = self.load(session, table, None, schema, rows).await;
        if loaded.is_err() {
            let dropped = self
                .execute(session, &format!("DROP TABLE {name}"), vec![])
                .await;
            if let Err(error) = dropped {
                tracing::warn!(%error, "a table whose rows did not come is left behind");
            }
        }
        loaded
    }

    /// Fills a new table and puts it in the place of the old one, which stays if the rows do not come.
    async fn replace(
        &self,
        session: &FlightSession,
        table: Vec<String>,
        temporary: bool,
        schema: SchemaRef,
        rows: Sent,
    ) -> Result<Option<u64>, Status> {
        let name = quoted(&table);
        if temporary {
            self.execute(session, &format!("DROP TABLE {name}"), vec![])
                .await?;
            return self.make(session, table, temporary, schema, rows).await;
        }
        let mut beside = table.clone();
        if let Some(last) = beside.last_mut() {
            *last = format!("{last}_{}", uuid::Uuid::now_v7().simple());
        }
        let new_name = quoted(&beside);
        let loaded = self.make(session, beside, false, schema, rows).await?;
        for statement in [
            format!("DROP TABLE {name}"),
            format!("ALTER TABLE {new_name} RENAME TO {name}"),
        ] {
            self.execute(session, &statement, vec![]).await?;
        }
        Ok(loaded)
    }

    /// Appends rows to a table in one commit; columns are found by name if they are not given.
    pub(crate) async fn load(
        &self,
        session: &FlightSession,
        table: Vec<String>,
        columns: Option<Vec<String>>,
        schema: SchemaRef,
        rows: Sent,
    ) -> Result<Option<u64>, Status> {
        let plain = Shape::Plain.types(&schema);
        let by_name = || plain.fields().iter().map(|f| f.name().clone()).collect();
        let sql = format!("COPY {} FROM STDIN", quoted(&table));
        let sent = plain.clone();
        let ingest = Ingest {
            table,
            columns: Some(columns.unwrap_or_else(by_name)),
            schema: plain,
            rows: rows
                .map_err(|status| {
                    EngineError::new(ErrorKind::InvalidParameter, status.message().to_owned())
                })
                .and_then(move |batch: RecordBatch| {
                    let converted = Shape::batch(&batch, &sent).map_err(|error| {
                        EngineError::new(
                            ErrorKind::InvalidParameter,
                            format!("the rows cannot be read: {error}"),
                        )
                    });
                    std::future::ready(converted)
                })
                .boxed(),
        };
        let request = StatementRequest {
            query_id: query_id(),
            sql,
            parameters: vec![],
            door: Door::Flight,
            plan: None,
        };
        let engine = &self.service.engine;
        let own = session.session();
        let run = self
            .service
            .statements
            .ingest(engine, &own, request, ingest);
        let mut running = tokio::select! {
            biased;
            () = session.ended.cancelled() => {
                return Err(Status::cancelled("the session has ended\n[SQLSTATE 57P01]"));
            }
            done = Box::pin(run) => done.map_err(|error| status(&error))?,
        };
        while let Some(batch) = running.next().await {
            batch.map_err(|error| status(&error))?;
        }
        Ok(running.affected)
    }

    /// Puts rows of parameters into the table of a plain INSERT; `columns_given` is what they have.
    pub(crate) async fn insert_rows(
        &self,
        session: &FlightSession,
        insert: PlainInsert,
        schema: SchemaRef,
        rows: Sent,
    ) -> Result<Option<u64>, Status> {
        let columns = if let Some(columns) = insert.columns {
            columns
        } else {
            let engine = &self.service.engine;
            let own = session.session();
            let target = engine.ingest_schema(&own, &insert.table, None).await;
            let target = target.map_err(|error| status(&error))?;
            target.fields().iter().map(|f| f.name().clone()).collect()
        };
        self.load(session, insert.table, Some(columns), schema, rows)
            .await
    }
}

/// Where the rows go, in parts.
fn place(session: &FlightSession, command: &CommandStatementIngest) -> Result<Vec<String>, Status> {
    let part = |part: &Option<String>| part.clone().filter(|name| !name.is_empty());
    if command.table.is_empty() {
        return Err(malformed("rows to ingest need a table"));
    }
    let own = session.session();
    let (catalog, schema) = (part(&command.catalog), part(&command.schema));
    if command.temporary {
        if schema.is_some() || catalog.is_some() {
            return Err(unsupported("a temporary table in a schema"));
        }
        return Ok(vec![command.table.clone()]);
    }
    Ok(match (catalog, schema) {
        (None, None) => vec![command.table.clone()],
        (None, Some(schema)) => vec![schema, command.table.clone()],
        (Some(catalog), schema) => {
            vec![catalog, schema.unwrap_or(own.schema), command.table.clone()]
        }
    })
}

fn quoted(table: &[String]) -> String {
    let part = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    table.iter().map(part).collect::<Vec<_>>().join(".")
}

/// The statement that makes a table for rows of `schema`.
fn create_statement(name: &str, temporary: bool, schema: &Schema) -> Result<String, Status> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let ty = column_type(field.data_type()).ok_or_else(|| {
                unsupported(format!(
                    "a new column of type {} (column \"{}\")",
                    sql_type_name(field.data_type()),
                    field.name()
                ))
            })?;
            let required = if field.is_nullable() { "" } else { " NOT NULL" };
            let name = quoted(std::slice::from_ref(field.name()));
            Ok(format!("{name} {ty}{required}"))
        })
        .collect::<Result<Vec<_>, Status>>()?;
    let kind = if temporary { "TEMPORARY " } else { "" };
    Ok(format!(
        "CREATE {kind}TABLE {name} ({})",
        columns.join(", ")
    ))
}

/// The SQL type of a new column for an Arrow type; `None` if CREATE TABLE has none.
fn column_type(ty: &DataType) -> Option<String> {
    Some(match Shape::Plain.data_type(ty) {
        DataType::Null => "text".to_owned(),
        // Iceberg's timestamps are microseconds in tables of format version 2.
        DataType::Timestamp(_, zone) => if zone.is_some() {
            "timestamptz"
        } else {
            "timestamp"
        }
        .to_owned(),
        DataType::FixedSizeBinary(_) => "bytea".to_owned(),
        DataType::List(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", column_type(item.data_type())?)
        }
        DataType::Decimal256(precision, _) if precision > 38 => return None,
        DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Struct(_)
        | DataType::Map(..)
        | DataType::Union(..) => return None,
        other => sql_type_name(&other),
    })
}

/// `INSERT INTO t [(a, b)] VALUES ($1, $2)`: a table, columns and all parameters in order, and nothing else.
pub(crate) fn plain_insert(sql: &str, parameters: usize) -> Option<PlainInsert> {
    let mut text = Text(sql);
    text.word("INSERT")?;
    text.word("INTO")?;
    let mut table = vec![text.name()?];
    while text.symbol('.').is_some() {
        table.push(text.name()?);
    }
    let mut columns = None;
    if text.symbol('(').is_some() {
        let mut names = vec![text.name()?];
        while text.symbol(',').is_some() {
            names.push(text.name()?);
        }
        text.symbol(')')?;
        columns = Some(names);
    }
    text.word("VALUES")?;
    text.symbol('(')?;
    for number in 1..=parameters {
        if number > 1 {
            text.symbol(',')?;
        }
        text.parameter(number)?;
    }
    text.symbol(')')?;
    let _ = text.symbol(';');
    let ended = text.0.trim().is_empty() && parameters > 0 && table.len() <= 3;
    ended.then_some(PlainInsert { table, columns })
}

/// What is left of a statement.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.0.trim_start();
        let head = rest.get(..word.len())?;
        let after = &rest[word.len()..];
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        (head.eq_ignore_ascii_case(word) && ends).then(|| self.0 = after)
    }

    fn symbol(&mut self, symbol: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(symbol)?;
        Some(())
    }

    /// A name, folded as PostgreSQL folds it.
    fn name(&mut self) -> Option<String> {
        let rest = self.0.trim_start();
        if let Some(inside) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = inside.char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                if c != '"' {
                    name.push(c);
                } else if chars.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    self.0 = &inside[at + 1..];
                    return (!name.is_empty()).then_some(name);
                }
            }
            return None;
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.0 = &rest[end..];
        Some(name.to_lowercase())
    }

    fn parameter(&mut self, number: usize) -> Option<()> {
        let rest = self.0.trim_start().strip_prefix('$')?;
        let rest = rest.strip_prefix(&number.to_string())?;
        (!rest.starts_with(|c: char| c.is_ascii_digit())).then(|| self.0 = rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, TimeUnit};
    use proptest::prelude::*;

    fn check(sql: &str, parameters: usize, expected: Option<(&[&str], Option<&[&str]>)>) {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let expected = expected.map(|(table, columns)| PlainInsert {
            table: owned(table),
            columns: columns.map(owned),
        });
        assert_eq!(plain_insert(sql, parameters), expected, "{sql}");
    }

    #[test]
    fn an_insert_of_its_parameters_is_told_from_others() {
        check("INSERT INTO t VALUES ($1)", 1, Some((&["t"], None)));
        check(
            "insert into Lake.\"S\".t (A, \"b\"\"c\") values ( $1 , $2 ) ;",
            2,
            Some((&["lake", "S", "t"], Some(&["a", "b\"c"]))),
        );
        for other in [
            "INSERT INTO t VALUES ($2, $1)",
            "INSERT INTO t VALUES ($1, $2 + 1)",
            "INSERT INTO t VALUES ($1, $2), ($1, $2)",
            "INSERT INTO t SELECT $1, $2",
            "INSERT INTO t VALUES ($1, $2) RETURNING a",
            "INSERT INTO t VALUES ($1, $20)",
            "UPDATE t SET a = $1 WHERE b = $2",
            "INSERT INTO t AS x VALUES ($1, $2)",
        ] {
            check(other, 2, None);
        }
    }

    #[test]
    fn a_new_table_has_the_types_of_the_rows() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("a\"b", DataType::LargeUtf8, true),
            Field::new(
                "at",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                true,
            ),
            Field::new_list("l", Field::new_list_field(DataType::Utf8View, true), true),
        ]);
        assert_eq!(
            create_statement("\"t\"", true, &schema).unwrap(),
            "CREATE TEMPORARY TABLE \"t\" (\"id\" bigint NOT NULL, \"a\"\"b\" text, \"at\" timestamptz, \"l\" text[])"
        );
        let odd = Schema::new(vec![Field::new(
            "d",
            DataType::Duration(TimeUnit::Second),
            true,
        )]);
        let error = create_statement("t", false, &odd).unwrap_err();
        assert!(error.message().contains("column \"d\""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(sql in "[INSERTOVALU($1,);.\"a ü]{0,60}", n in 0usize..4) {
            let _ = plain_insert(&sql, n);
        }
    }
}
