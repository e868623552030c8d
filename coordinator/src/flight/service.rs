//! The calls of the Flight protocol, each handed to the part that knows it.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Command;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Access, Caller, of_handshake, session_cookie};
use super::actions::Actions;
use super::command;
use super::metadata::Metadata;
use super::put::Puts;
use super::query::{Messages, Queries};
use super::results::{encode, schema_bytes};
use super::session::FlightSession;
use super::status::{malformed, unsupported};
use super::wire::Peer;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FlightSql {
    pub(crate) access: Access,
    pub(crate) queries: Queries,
    pub(crate) metadata: Metadata,
    pub(crate) puts: Puts,
    pub(crate) actions: Actions,
}

fn session<T>(request: &Request<T>) -> Result<Arc<FlightSession>, Status> {
    request
        .extensions()
        .get::<Caller>()
        .map(|caller| Arc::clone(&caller.session))
        .ok_or_else(|| Status::internal("the caller is unknown"))
}

impl FlightSql {
    /// Where the answer of `command` is.
    async fn info(
        &self,
        session: &Arc<FlightSession>,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        match command::of_descriptor(&descriptor)? {
            Command::CommandStatementQuery(query) => {
                no_transaction(query.transaction_id.as_ref())?;
                self.queries.info(session, query.query, descriptor).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = prepared(session, &query.prepared_statement_handle)?;
                self.queries
                    .prepared_info(session, &statement, descriptor)
                    .await
            }
            command => {
                let schema: arrow::datatypes::SchemaRef = Metadata::schema(&command)?;
                // The command itself is the ticket: it is answered for whoever brings it.
                let ticket = Ticket::new(descriptor.cmd.clone());
                let mut info = FlightInfo::new()
                    .with_endpoint(self.queries.endpoint(ticket))
                    .with_ordered(true)
                    .with_descriptor(descriptor);
                info.schema = schema_bytes(&schema)?;
                Ok(info)
            }
        }
    }

    async fn schema(
        &self,
        session: &FlightSession,
        descriptor: &FlightDescriptor,
    ) -> Result<Bytes, Status> {
        let found = match command::of_descriptor(descriptor)? {
            Command::CommandStatementQuery(query) => {
                let prepared = self.queries.prepare(session, &query.query, &[]).await?;
                prepared.schema
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = prepared(session, &query.prepared_statement_handle)?;
                statement.prepared.schema.clone()
            }
            command => {
                let schema = Metadata::schema(&command)?;
                return schema_bytes(&schema);
            }
        };
        let schema = found.unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
        schema_bytes(&session.shape().schema(&schema))
    }
}

/// A prepared statement of `session`.
pub(crate) fn prepared(
    session: &FlightSession,
    handle: &[u8],
) -> Result<Arc<super::prepared::PreparedStatement>, Status> {
    session.prepared.get(handle).ok_or_else(|| {
        Status::not_found("the prepared statement is unknown or closed\n[SQLSTATE 26000]")
    })
}

/// Refuses what should happen in a transaction, which nobody can have begun.
pub(crate) fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        Some(id) if !id.is_empty() => Err(unsupported("a transaction of several statements")),
        _ => Ok(()),
    }
}

#[async_trait]
impl FlightService for FlightSql {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Messages;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let Some(Peer(connection)) = request.extensions().get::<Peer>().cloned() else {
            return Err(Status::internal("the connection is unknown"));
        };
        let (metadata, _, mut messages) = request.into_parts();
        let headers = metadata.into_headers();
        // Clients that authenticate by header may send no message at all.
        let first = if headers.contains_key(http::header::AUTHORIZATION) {
            HandshakeRequest::default()
        } else {
            messages.message().await?.unwrap_or_default()
        };
        let credentials = of_handshake(&headers, &first.payload)
            .ok_or_else(|| Status::unauthenticated("send user and password, or a token"))?;
        let token = self.access.shake(credentials, &connection).await?;
        let answer = HandshakeResponse {
            protocol_version: first.protocol_version,
            payload: Bytes::from(token.clone()),
        };
        let stream = futures::stream::iter([Ok(answer)]).boxed();
        let mut response = Response::new(stream);
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Status::internal("the session's token is no header"))?;
        response.metadata_mut().insert("authorization", bearer);
        if let Ok(cookie) = session_cookie(Some(&token)).to_str()
            && let Ok(cookie) = MetadataValue::try_from(cookie)
        {
            response.metadata_mut().insert("set-cookie", cookie);
        }
        Ok(response)
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unsupported("ListFlights"))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let session = session(&request)?;
        let info = self.info(&session, request.into_inner()).await?;
        Ok(Response::new(info))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let session = session(&request)?;
        let info = self.info(&session, request.into_inner()).await?;
        // Every endpoint is known at once: there is nothing to poll for.
        Ok(Response::new(PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: None,
            expiration_time: None,
        }))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let session = session(&request)?;
        let schema = self.schema(&session, request.get_ref()).await?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let session = session(&request)?;
        let messages = match command::decode(&request.get_ref().ticket)? {
            Command::TicketStatementQuery(ticket) => self.queries.fetch(&session, &ticket)?,
            command => {
                let batch = self.metadata.answer(&session, &command).await?;
                let schema = batch.schema();
                let shape = super::results::Shape::Plain;
                encode(shape, &schema, futures::stream::iter([Ok(batch)])).boxed()
            }
        };
        Ok(Response::new(messages))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let session = session(&request)?;
        let result = self.puts.put(&session, request.into_inner()).await?;
        Ok(Response::new(futures::stream::iter([Ok(result)]).boxed()))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(unsupported("DoExchange"))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let session = session(&request)?;
        self.actions.act(&session, &request.into_inner()).await
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(
            futures::stream::iter(Actions::list().into_iter().map(Ok)).boxed(),
        ))
    }
}

/// The first message of a `DoPut` must say what it is for.
pub(crate) fn missing_descriptor() -> Status {
    malformed("the first message of DoPut has no flight descriptor")
}
