//! Statements with rows: what `GetFlightInfo` promises and `DoGet` delivers.
//!
//! A statement is planned when a client asks for it and runs when the client comes for its rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use prost::Message;
use tarn_engine::{EngineError, ErrorKind, PlanSlot, Prepared, ScalarValue};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::FlightOptions;
use super::parallel::{Batches, Shared};
use super::prepared::PreparedStatement;
use super::results::{Shape, encode, schema_bytes};
use super::session::{FlightSession, FlightSessions};
use super::status::status;
use super::tickets::{Flight, Handle};
use crate::service::Service;
use crate::statements::{Door, Running, StatementRequest};

/// The messages of a `DoGet`.
pub(crate) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// What statements of this door work with. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queries {
    pub(crate) service: Service,
    pub(crate) options: FlightOptions,
    pub(crate) sessions: FlightSessions,
}

/// A new id of a statement.
pub(crate) fn query_id() -> String {
    Uuid::now_v7().to_string()
}

impl Queries {
    /// Plans a statement without running it.
    pub(crate) async fn prepare(
        &self,
        session: &FlightSession,
        sql: &str,
        types: &[Option<DataType>],
    ) -> Result<Prepared, Status> {
        self.service
            .statements
            .prepare(&self.service.engine, &session.session(), sql, types)
            .await
            .map_err(|error| status(&error))
    }

    /// Where the rows of a statement are.
    pub(crate) async fn info(
        &self,
        session: &FlightSession,
        sql: String,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let prepared = self.prepare(session, &sql, &[]).await?;
        if !prepared.parameters.is_empty() {
            let error = EngineError::new(
                ErrorKind::InvalidParameter,
                format!(
                    "the statement takes {} parameters",
                    prepared.parameters.len()
                ),
            )
            .with_hint("prepare the statement and bind them");
            return Err(status(&error));
        }
        let flight = Self::flight(session, sql, &prepared, vec![vec![]], None);
        self.promise(session, &prepared, flight, descriptor)
    }

    /// Where the rows of a prepared statement are, with what is bound to it now.
    pub(crate) async fn prepared_info(
        &self,
        session: &FlightSession,
        statement: &PreparedStatement,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let rows = statement.bound().map_err(|error| status(&error))?;
        let sql = statement.sql.clone();
        // What is bound may have other types than were expected, and so may the result.
        let types: Vec<Option<DataType>> = rows
            .first()
            .map(|row| row.iter().map(type_of).collect())
            .unwrap_or_default();
        if types.is_empty() {
            let prepared = &statement.prepared;
            let flight = Self::flight(session, sql, prepared, rows, Some(&statement.plan));
            return self.promise(session, prepared, flight, descriptor);
        }
        let prepared = self.prepare(session, &sql, &types).await?;
        let flight = Self::flight(session, sql, &prepared, rows, Some(&statement.plan));
        self.promise(session, &prepared, flight, descriptor)
    }

    fn flight(
        session: &FlightSession,
        sql: String,
        prepared: &Prepared,
        rows: Vec<Vec<ScalarValue>>,
        plan: Option<&Arc<PlanSlot>>,
    ) -> Flight {
        let schema = prepared.schema.clone();
        Flight {
            query_id: query_id(),
            sql,
            rows,
            schema: schema.unwrap_or_else(|| Arc::new(Schema::empty())),
            plan: plan.cloned(),
            session: session.session(),
            cancelled: CancellationToken::new(),
            shared: Shared::default(),
        }
    }

    fn promise(
        &self,
        session: &FlightSession,
        prepared: &Prepared,
        flight: Flight,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let flight = Arc::new(flight);
        let sent = session.shape().schema(&flight.schema);
        // Rows of one parameter row come before those of the next.
        let endpoints = if prepared.unordered && flight.rows.len() == 1 {
            self.options.endpoints
        } else {
            1
        };
        let tickets = session
            .tickets
            .issue(&flight, endpoints, self.options.ticket_life);
        let mut info = FlightInfo::new()
            .with_descriptor(descriptor)
            .with_ordered(!prepared.unordered)
            .with_app_metadata(flight.query_id.clone());
        info.schema = schema_bytes(&sent)?;
        for handle in tickets {
            info = info.with_endpoint(self.endpoint(ticket(&handle)));
        }
        Ok(info)
    }

    /// An endpoint for `ticket`, at the address that clients are told.
    pub(crate) fn endpoint(&self, ticket: Ticket) -> FlightEndpoint {
        let endpoint = FlightEndpoint::new().with_ticket(ticket);
        match &self.options.advertise_url {
            Some(url) => endpoint.with_location(url.clone()),
            None => endpoint,
        }
    }

    /// The session in which a ticket of the caller is good: this one, or another of the same user.
    pub(crate) fn holder(
        &self,
        session: &Arc<FlightSession>,
        handle: &Handle,
    ) -> Option<(Arc<FlightSession>, Arc<Flight>)> {
        if let Some(flight) = session.tickets.find(handle) {
            return Some((Arc::clone(session), flight));
        }
        self.sessions
            .of_owner(&session.owner)
            .into_iter()
            .find_map(|other| {
                let flight = other.tickets.find(handle)?;
                Some((other, flight))
            })
    }

    /// The rows that a ticket stands for.
    pub(crate) fn fetch(
        &self,
        caller: &Arc<FlightSession>,
        ticket: &TicketStatementQuery,
    ) -> Result<Messages, Status> {
        let handle: Option<Handle> = super::command::handle(&ticket.statement_handle);
        let taken = handle.and_then(|handle| {
            let (holder, _) = self.holder(caller, &handle)?;
            let flight = holder.tickets.take(&handle)?;
            Some((handle, holder, flight))
        });
        let Some((handle, holder, flight)) = taken else {
            return Err(Status::not_found(
                "the ticket is unknown, was fetched already, or has expired\n[SQLSTATE 34000]",
            ));
        };
        let reader = Reader {
            holder: Arc::clone(&holder),
            flight: Arc::clone(&flight),
            handle,
            finished: false,
        };
        let rows = read(self.service.clone(), reader);
        Ok(encode(caller.shape(), &flight.schema, rows).boxed())
    }

    /// Runs a statement for each row of parameters, without a result set; gives the rows changed.
    pub(crate) async fn execute(
        &self,
        session: &FlightSession,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Option<u64>, Status> {
        let before = session.session();
        let mut after = before.clone();
        let request = StatementRequest {
            query_id: query_id(),
            sql: sql.to_owned(),
            parameters,
            door: Door::Flight,
            plan: None,
        };
        let run = self
            .service
            .statements
            .run(&self.service.engine, &mut after, request);
        let mut running = tokio::select! {
            biased;
            () = session.ended.cancelled() => return Err(session_ended()),
            done = run => done.map_err(|error| status(&error))?,
        };
        // A query in the place of an update: its rows are not wanted.
        while let Some(batch) = running.next().await {
            batch.map_err(|error| status(&error))?;
        }
        let affected = running.affected;
        drop(running);
        session.changed(&before, after);
        Ok(affected)
    }
}

/// The type of a parameter's value, if it has one.
fn type_of(value: &ScalarValue) -> Option<DataType> {
    Some(value.data_type()).filter(|ty| *ty != DataType::Null)
}

fn session_ended() -> Status {
    Status::cancelled("the session has ended\n[SQLSTATE 57P01]")
}

/// A ticket as it goes over the wire.
pub(crate) fn ticket(handle: &Handle) -> Ticket {
    let message = TicketStatementQuery {
        statement_handle: Bytes::copy_from_slice(handle),
    };
    Ticket::new(message.as_any().encode_to_vec())
}

/// One endpoint's reading; dropped before the end, it cancels the statement for all of them.
struct Reader {
    holder: Arc<FlightSession>,
    flight: Arc<Flight>,
    handle: Handle,
    finished: bool,
}

impl Reader {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.holder.tickets.forget(&self.handle);
        if !self.finished {
            self.flight.cancel();
        }
    }
}

fn read(
    service: Service,
    reader: Reader,
) -> impl Stream<Item = Result<arrow::array::RecordBatch, Status>> + Send {
    async_stream::stream! {
        // Moved here whole, so that it is dropped with the stream.
        let mut reader = reader;
        loop {
            let flight = Arc::clone(&reader.flight);
            let (start_service, holder) = (service.clone(), Arc::clone(&reader.holder));
            let start = || run(start_service, holder, flight);
            match reader.flight.shared.next(start).await {
                Some(Ok(batch)) => yield Ok(batch),
                Some(Err(status)) => {
                    yield Err(status);
                    return;
                }
                None => {
                    reader.finish();
                    return;
                }
            }
        }
    }
}

/// Runs a flight: once for each row of its parameters, one after the other.
fn run(service: Service, session: Arc<FlightSession>, flight: Arc<Flight>) -> Batches {
    async_stream::stream! {
        for (at, parameters) in flight.rows.iter().enumerate() {
            let begun = tokio::select! {
                biased;
                () = flight.cancelled.cancelled() => Err(cancelled()),
                () = session.ended.cancelled() => Err(session_ended()),
                begun = begin(&service, &session, &flight, at, parameters.clone()) => begun,
            };
            let mut running = match begun {
                Ok(running) => running,
                Err(status) => {
                    yield Err(status);
                    return;
                }
            };
            loop {
                let next = tokio::select! {
                    biased;
                    () = flight.cancelled.cancelled() => Some(Err(cancelled())),
                    () = session.ended.cancelled() => Some(Err(session_ended())),
                    next = running.next() => next.map(|batch| batch.map_err(|e| status(&e))),
                };
                match next {
                    Some(Ok(batch)) => yield Ok(batch),
                    Some(Err(status)) => {
                        yield Err(status);
                        return;
                    }
                    None => break,
                }
            }
        }
    }
    .boxed()
}

fn cancelled() -> Status {
    Status::cancelled("the statement was cancelled\n[SQLSTATE 57014]")
}

async fn begin(
    service: &Service,
    session: &FlightSession,
    flight: &Flight,
    at: usize,
    parameters: Vec<ScalarValue>,
) -> Result<Running, Status> {
    let mut after = flight.session.clone();
    let query_id = if at == 0 {
        flight.query_id.clone()
    } else {
        format!("{}-{at}", flight.query_id)
    };
    let request = StatementRequest {
        query_id,
        sql: flight.sql.clone(),
        parameters,
        door: Door::Flight,
        plan: flight.plan.clone(),
    };
    let running = service
        .statements
        .run(&service.engine, &mut after, request)
        .await
        .map_err(|error| status(&error))?;
    session.changed(&flight.session, after);
    same_types(&flight.schema, &running.schema())?;
    Ok(running)
}

/// The client was told `promised`; a table may have changed since.
fn same_types(promised: &SchemaRef, got: &SchemaRef) -> Result<(), Status> {
    let types = |schema: &SchemaRef| {
        let fields = schema.fields().iter();
        let plain = fields.map(|f| Shape::Plain.data_type(f.data_type()));
        plain.collect::<Vec<_>>()
    };
    if types(promised) == types(got) {
        return Ok(());
    }
    let error = EngineError::new(
        ErrorKind::Conflict,
        "the columns of the result have changed since the statement was planned",
    )
    .with_hint("run the statement again");
    Err(status(&error))
}
