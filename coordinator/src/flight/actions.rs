//! `DoAction`: prepared statements, sessions, cancellation, and what is refused by its name.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus,
    FlightEndpoint, FlightInfo, RenewFlightEndpointRequest, Ticket,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tarn_engine::ErrorKind;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::access::session_cookie;
use super::command::{self, plain, unpack};
use super::options::{
    self, Change, CloseSessionResult, CloseStatus, ErrorValue, GetSessionOptionsResult,
    SetSessionOptionsRequest, SetSessionOptionsResult,
};
use super::placeholders::numbered;
use super::query::Queries;
use super::results::{Shape, schema_bytes};
use super::service::no_transaction;
use super::session::FlightSession;
use super::status::{malformed, unsupported};
use super::tickets::Handle;

type Answer = Response<BoxStream<'static, Result<arrow_flight::Result, Status>>>;

/// The result of `CreatePreparedStatement`, with `is_update`, which arrow-flight does not have yet.
///
/// Source: FlightSql.proto of Arrow 22, "`ActionCreatePreparedStatementResult`".
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CreatePreparedStatementResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) prepared_statement_handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    pub(crate) is_update: Option<bool>,
}

/// Every action: its type, what it does, what it takes and gives.
const ACTIONS: &[(&str, &str)] = &[
    (
        "CreatePreparedStatement",
        "Prepares a statement. ActionCreatePreparedStatementRequest -> ActionCreatePreparedStatementResult",
    ),
    (
        "ClosePreparedStatement",
        "Forgets a prepared statement. ActionClosePreparedStatementRequest -> nothing",
    ),
    (
        "CancelQuery",
        "Cancels a query. ActionCancelQueryRequest -> ActionCancelQueryResult",
    ),
    (
        "CancelFlightInfo",
        "Cancels a query. CancelFlightInfoRequest -> CancelFlightInfoResult",
    ),
    (
        "RenewFlightEndpoint",
        "Keeps a ticket from expiring. RenewFlightEndpointRequest -> FlightEndpoint",
    ),
    (
        "SetSessionOptions",
        "Sets options of the session. SetSessionOptionsRequest -> SetSessionOptionsResult",
    ),
    (
        "GetSessionOptions",
        "Tells the options of the session. GetSessionOptionsRequest -> GetSessionOptionsResult",
    ),
    (
        "CloseSession",
        "Ends the session. CloseSessionRequest -> CloseSessionResult",
    ),
];

/// Carries out actions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    queries: Queries,
}

impl Actions {
    pub(crate) fn new(queries: Queries) -> Self {
        Self { queries }
    }

    /// The actions there are.
    pub(crate) fn list() -> Vec<ActionType> {
        let describe = |(name, description): &(&str, &str)| ActionType {
            r#type: (*name).to_owned(),
            description: (*description).to_owned(),
        };
        ACTIONS.iter().map(describe).collect()
    }

    pub(crate) async fn act(
        &self,
        session: &Arc<FlightSession>,
        action: &Action,
    ) -> Result<Answer, Status> {
        let body = &action.body;
        match action.r#type.as_str() {
            "CreatePreparedStatement" => self.prepare(session, unpack(body)?).await,
            "ClosePreparedStatement" => {
                let request: ActionClosePreparedStatementRequest = unpack(body)?;
                session.prepared.close(&request.prepared_statement_handle);
                Ok(Response::new(futures::stream::empty().boxed()))
            }
            "CancelQuery" => {
                let request: ActionCancelQueryRequest = unpack(body)?;
                let info = FlightInfo::decode(request.info)
                    .map_err(|_| malformed("the flight info to cancel is malformed"))?;
                let result = ActionCancelQueryResult {
                    result: self.cancel(session, &info)? as i32,
                };
                Ok(one(result.as_any().encode_to_vec()))
            }
            "CancelFlightInfo" => {
                let request: CancelFlightInfoRequest = plain(body)?;
                let info = request.info.unwrap_or_default();
                let result = CancelFlightInfoResult {
                    status: self.cancel(session, &info)? as i32,
                };
                Ok(one(result.encode_to_vec()))
            }
            "RenewFlightEndpoint" => {
                let request: RenewFlightEndpointRequest = plain(body)?;
                self.renew(session, request.endpoint.unwrap_or_default())
            }
            "SetSessionOptions" => self.set_options(session, plain(body)?).await,
            "GetSessionOptions" => {
                let views = session.shape() == Shape::Views;
                let result = GetSessionOptionsResult {
                    session_options: options::all(&session.session(), views),
                };
                Ok(one(result.encode_to_vec()))
            }
            "CloseSession" => Ok(self.close_session(session)),
            "BeginTransaction"
            | "EndTransaction"
            | "BeginSavepoint"
            | "EndSavepoint"
            | "CreatePreparedSubstraitPlan" => Err(unsupported(&action.r#type)),
            other => Err(unsupported(format!("the action {other}"))),
        }
    }

    async fn prepare(
        &self,
        session: &FlightSession,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<Answer, Status> {
        no_transaction(request.transaction_id.as_ref())?;
        let sql = numbered(&request.query);
        let prepared = self.queries.prepare(session, &sql, &[]).await?;
        let dataset_schema = match &prepared.schema {
            Some(schema) => schema_bytes(&session.shape().schema(schema))?,
            None => Bytes::new(),
        };
        // What answers with rows is fetched like a query, whatever it changes.
        let is_update = Some(prepared.is_update && prepared.schema.is_none());
        let (handle, statement) = session
            .prepared
            .add(sql, prepared)
            .map_err(|error| super::status::status(&error))?;
        let parameters = statement.parameter_schema();
        let parameter_schema = if parameters.fields().is_empty() {
            Bytes::new()
        } else {
            schema_bytes(&parameters)?
        };
        let result = CreatePreparedStatementResult {
            prepared_statement_handle: Bytes::copy_from_slice(&handle),
            dataset_schema,
            parameter_schema,
            is_update,
        };
        let any = arrow_flight::sql::Any {
            type_url: arrow_flight::sql::ActionCreatePreparedStatementResult::type_url().to_owned(),
            value: result.encode_to_vec().into(),
        };
        Ok(one(any.encode_to_vec()))
    }

    /// Cancels what the tickets of `info` stand for.
    fn cancel(
        &self,
        session: &Arc<FlightSession>,
        info: &FlightInfo,
    ) -> Result<CancelStatus, Status> {
        let mut found = false;
        for ticket in info.endpoint.iter().filter_map(|e| e.ticket.as_ref()) {
            let Some(handle) = handle_of(ticket) else {
                continue;
            };
            if let Some((holder, flight)) = self.queries.holder(session, &handle) {
                found = true;
                flight.cancel();
                self.queries.service.statements.cancel(&flight.query_id);
                holder.tickets.forget(&handle);
            }
        }
        if found {
            Ok(CancelStatus::Cancelled)
        } else {
            Err(Status::not_found(
                "nothing that these tickets stand for is running or waiting\n[SQLSTATE 34000]",
            ))
        }
    }

    fn renew(
        &self,
        session: &Arc<FlightSession>,
        mut endpoint: FlightEndpoint,
    ) -> Result<Answer, Status> {
        let life = self.queries.options.ticket_life;
        let renewed = endpoint.ticket.as_ref().and_then(handle_of).and_then(|h| {
            let (holder, _) = self.queries.holder(session, &h)?;
            holder.tickets.renew(&h, life).then_some(())
        });
        if renewed.is_none() {
            return Err(Status::not_found(
                "the ticket is unknown, was fetched already, or has expired\n[SQLSTATE 34000]",
            ));
        }
        let until = std::time::SystemTime::now() + life;
        endpoint.expiration_time = Some(until.into());
        Ok(one(endpoint.encode_to_vec()))
    }

    async fn set_options(
        &self,
        session: &FlightSession,
        request: SetSessionOptionsRequest,
    ) -> Result<Answer, Status> {
        if request.session_options.len() > options::OPTIONS_MAX {
            return Err(malformed("too many session options at once"));
        }
        let mut errors = HashMap::new();
        for (name, value) in options::ordered(request.session_options) {
            let set = match options::change(&session.session(), &name, &value) {
                Ok(Change::Views(views)) => {
                    session.set_shape(if views { Shape::Views } else { Shape::Plain });
                    Ok(())
                }
                Ok(Change::Run(sql)) => self
                    .queries
                    .execute(session, &sql, vec![])
                    .await
                    .map(|_| ())
                    .map_err(|status| blame(&status)),
                Err(error) => Err(error),
            };
            if let Err(error) = set {
                errors.insert(name, error.into());
            }
        }
        let result = SetSessionOptionsResult { errors };
        Ok(one(result.encode_to_vec()))
    }

    fn close_session(&self, session: &FlightSession) -> Answer {
        self.queries.sessions.close(session);
        let result = CloseSessionResult {
            status: CloseStatus::Closed.into(),
        };
        let mut answer = one(result.encode_to_vec());
        if let Ok(text) = session_cookie(None).to_str()
            && let Ok(cookie) = MetadataValue::try_from(text)
        {
            answer.metadata_mut().insert("set-cookie", cookie);
        }
        answer
    }
}

/// What an option's statement failing says of the option.
fn blame(status: &Status) -> ErrorValue {
    let sqlstate = status.metadata().get("tarn-sqlstate");
    let unknown = ErrorKind::UndefinedSetting.sqlstate();
    match sqlstate.and_then(|s| s.to_str().ok()) {
        Some(state) if state == unknown => ErrorValue::InvalidName,
        Some(state) if state.starts_with("22") || state.starts_with('3') => {
            ErrorValue::InvalidValue
        }
        _ => ErrorValue::Error,
    }
}

fn one(body: Vec<u8>) -> Answer {
    let result = arrow_flight::Result { body: body.into() };
    Response::new(futures::stream::iter([Ok(result)]).boxed())
}

fn handle_of(ticket: &Ticket) -> Option<Handle> {
    match command::decode(&ticket.ticket).ok()? {
        arrow_flight::sql::Command::TicketStatementQuery(ticket) => {
            command::handle(&ticket.statement_handle)
        }
        _ => None,
    }
}
