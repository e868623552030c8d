//! `DoPut`: updates, parameters, and rows for a table.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{Command, DoPutPreparedStatementResult, DoPutUpdateResult};
use arrow_flight::{FlightData, PutResult};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tarn_engine::{EngineError, ErrorKind, ScalarValue};
use tonic::{Status, Streaming};

use super::bulk::plain_insert;
use super::command;
use super::prepared::{BOUND_ROWS_MAX, PreparedStatement, parameter_rows};
use super::query::Queries;
use super::service::{missing_descriptor, no_transaction, prepared};
use super::session::FlightSession;
use super::status::{malformed, status, unsupported};

/// Rows of parameters of one update at most: each is a run of the statement.
const UPDATE_ROWS_MAX: usize = 100_000;

/// Takes what clients put.
#[derive(Clone, Debug)]
pub(crate) struct Puts {
    queries: Queries,
}

/// The batches that a client sends.
pub(crate) type Sent = BoxStream<'static, Result<RecordBatch, Status>>;

impl Puts {
    pub(crate) fn new(queries: Queries) -> Self {
        Self { queries }
    }

    pub(crate) async fn put(
        &self,
        session: &Arc<FlightSession>,
        mut messages: Streaming<FlightData>,
    ) -> Result<PutResult, Status> {
        let first = messages.message().await?.ok_or_else(missing_descriptor)?;
        let descriptor = first
            .flight_descriptor
            .as_ref()
            .ok_or_else(missing_descriptor)?;
        let command = command::of_descriptor(descriptor)?;
        match command {
            Command::CommandStatementUpdate(update) => {
                no_transaction(update.transaction_id.as_ref())?;
                let affected = self.queries.execute(session, &update.query, vec![]).await?;
                Ok(updated(affected))
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let statement = prepared(session, &update.prepared_statement_handle)?;
                let affected = self.update(session, &statement, first, messages).await?;
                Ok(updated(affected))
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = prepared(session, &query.prepared_statement_handle)?;
                let rows = bound_rows(&statement, first, messages, BOUND_ROWS_MAX).await?;
                statement.bind(rows.unwrap_or_default());
                let result = DoPutPreparedStatementResult {
                    prepared_statement_handle: Some(query.prepared_statement_handle),
                };
                Ok(PutResult {
                    app_metadata: result.encode_to_vec().into(),
                })
            }
            Command::CommandStatementIngest(ingest) => {
                let (schema, rows) = batches(first, messages).await?;
                let run = self.queries.ingest(session, &ingest, schema, rows);
                Ok(updated(Box::pin(run).await?))
            }
            other => Err(unsupported(command::name(&other))),
        }
    }

    /// Runs a prepared update, once for each row of parameters that comes with it; rows for a plain
    /// INSERT go into the table together.
    async fn update(
        &self,
        session: &Arc<FlightSession>,
        statement: &PreparedStatement,
        first: FlightData,
        messages: Streaming<FlightData>,
    ) -> Result<Option<u64>, Status> {
        let (schema, mut rows) = batches(first, messages).await?;
        let Some(schema) = schema.filter(|schema| !schema.fields().is_empty()) else {
            let bound = statement.bound().map_err(|error| status(&error))?;
            return self.run_each(session, statement, bound).await;
        };
        let head = rows.try_next().await?;
        let parameters = statement.prepared.parameters.len();
        if let Some(head) = &head
            && head.num_rows() > 1
            && head.num_columns() == parameters
            && let Some(insert) = plain_insert(&statement.sql, parameters)
        {
            let all = futures::stream::iter([Ok(head.clone())])
                .chain(rows)
                .boxed();
            return Box::pin(self.queries.insert_rows(session, insert, schema, all)).await;
        }
        let all = futures::stream::iter(head.map(Ok)).chain(rows).boxed();
        let bound = parameters_of(statement, all, UPDATE_ROWS_MAX).await?;
        self.run_each(session, statement, bound).await
    }

    async fn run_each(
        &self,
        session: &Arc<FlightSession>,
        statement: &PreparedStatement,
        rows: Vec<Vec<ScalarValue>>,
    ) -> Result<Option<u64>, Status> {
        let mut total = None;
        for parameters in rows {
            let run = self.queries.execute(session, &statement.sql, parameters);
            if let Some(affected) = run.await? {
                total = Some(total.unwrap_or(0) + affected);
            }
        }
        Ok(total)
    }
}

fn updated(affected: Option<u64>) -> PutResult {
    let result = DoPutUpdateResult {
        record_count: i64::try_from(affected.unwrap_or(0)).unwrap_or(i64::MAX),
    };
    PutResult {
        app_metadata: result.encode_to_vec().into(),
    }
}

/// The rows of parameters in a `DoPut`; `None` if it brings no columns.
async fn bound_rows(
    statement: &PreparedStatement,
    first: FlightData,
    messages: Streaming<FlightData>,
    rows_max: usize,
) -> Result<Option<Vec<Vec<ScalarValue>>>, Status> {
    let (schema, batches) = batches(first, messages).await?;
    if schema.is_none_or(|schema| schema.fields().is_empty()) {
        return Ok(None);
    }
    parameters_of(statement, batches, rows_max).await.map(Some)
}

async fn parameters_of(
    statement: &PreparedStatement,
    mut batches: Sent,
    rows_max: usize,
) -> Result<Vec<Vec<ScalarValue>>, Status> {
    let expected = statement.prepared.parameters.len();
    let mut rows = vec![];
    while let Some(batch) = batches.try_next().await? {
        if rows.len() + batch.num_rows() > rows_max {
            let error = EngineError::new(
                ErrorKind::ResourcesExhausted,
                format!("more than {rows_max} rows of parameters"),
            )
            .with_hint("bind fewer rows at once, or ingest them into a table");
            return Err(status(&error));
        }
        rows.extend(parameter_rows(&batch, expected).map_err(|error| status(&error))?);
    }
    Ok(rows)
}

/// The schema that a client sends, and the batches after it.
pub(crate) async fn batches(
    first: FlightData,
    messages: Streaming<FlightData>,
) -> Result<(Option<SchemaRef>, Sent), Status> {
    if first.data_header.is_empty() {
        return Ok((None, futures::stream::empty().boxed()));
    }
    let messages = futures::stream::iter([Ok(first)])
        .chain(messages.map_err(|status| FlightError::Tonic(Box::new(status))));
    // Arrow's reader panics at some of the messages that nobody honest sends.
    let guarded = AssertUnwindSafe(FlightDataDecoder::new(messages)).catch_unwind();
    let mut decoder = guarded
        .map(|message| match message {
            Ok(message) => message.map_err(undecodable),
            Err(_) => Err(malformed("the rows cannot be read")),
        })
        .boxed();
    let mut schema = None;
    if let Some(message) = decoder.try_next().await? {
        match message.payload {
            DecodedPayload::Schema(found) => schema = Some(found),
            DecodedPayload::None => {}
            DecodedPayload::RecordBatch(_) => {
                return Err(malformed("rows came before their schema"));
            }
        }
    }
    let rows = decoder.try_filter_map(|message| async move {
        match message.payload {
            DecodedPayload::RecordBatch(batch) => Ok(Some(batch)),
            DecodedPayload::None => Ok(None),
            DecodedPayload::Schema(_) => Err(malformed("a second schema in one DoPut")),
        }
    });
    Ok((schema, rows.boxed()))
}

fn undecodable(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => malformed(format!("the rows cannot be read: {other}")),
    }
}
