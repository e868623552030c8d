//! `POST /api/v1/sql`: one statement in, rows out as they come.
//!
//! A client that closes the connection drops the handler, or the body, and with it the statement.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use std::sync::Arc;
use tarn_engine::{Session, parameter, recast};
use uuid::Uuid;

use super::problem::Problem;
use super::{Door, auth, csv, json};
use crate::statements::{Door as ClientDoor, Running, StatementRequest};

const SESSION_HEADER: HeaderName = HeaderName::from_static("tarn-session");
const QUERY_ID_HEADER: HeaderName = HeaderName::from_static("tarn-query-id");
const COMMAND_HEADER: HeaderName = HeaderName::from_static("tarn-command");
const AFFECTED_HEADER: HeaderName = HeaderName::from_static("tarn-affected");
const CATALOG_HEADER: HeaderName = HeaderName::from_static("tarn-catalog");
const SCHEMA_HEADER: HeaderName = HeaderName::from_static("tarn-schema");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    statement: String,
    #[serde(default)]
    parameters: Vec<serde_json::Value>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Properties {
    catalog: Option<String>,
    schema: Option<String>,
    time_zone: Option<String>,
    statement_timeout: Option<String>,
}

/// How the rows go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    NdJson,
    Csv,
    Arrow,
}

impl Format {
    /// The first type in `Accept` that we have; JSON if anything will do.
    fn negotiate(headers: &HeaderMap) -> Option<Self> {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("*/*");
        accept.split(',').find_map(|item| {
            let kind = item.split(';').next().unwrap_or("").trim();
            match kind.to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" | "" => Some(Self::Json),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                    Some(Self::NdJson)
                }
                "text/csv" | "text/*" => Some(Self::Csv),
                "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
                _ => None,
            }
        })
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Runs one statement.
pub(crate) async fn run(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Json<SqlRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let principal = auth::principal(&headers, &door.state.control, peer.ip()).await?;
    let Json(request) = body.map_err(|rejection| {
        // A body of the wrong shape is as bad a request as one that is no JSON.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Problem::plain(
            status,
            rejection.body_text(),
            "send {\"statement\": \"SELECT 1\"} as application/json",
        )
    })?;
    let Some(format) = Format::negotiate(&headers) else {
        return Err(Problem::plain(
            StatusCode::NOT_ACCEPTABLE,
            "none of the types in Accept can be sent",
            "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream",
        ));
    };
    let session_id = id_header(&headers, &SESSION_HEADER)?;
    let query_id = id_header(&headers, &QUERY_ID_HEADER)?.unwrap_or_else(Uuid::now_v7);
    let mut session = session_id
        .and_then(|id| door.state.sessions.get(&principal.name, id))
        .unwrap_or_else(|| door.state.session(&principal));
    let mut kept = session.clone();
    let answer = answer(&door, &mut session, &mut kept, query_id, request).await;
    let mut response = match answer {
        Ok(running) => {
            if let Some(id) = session_id {
                door.state.sessions.put(id, kept.clone());
            }
            respond(running, format)
        }
        Err(problem) => problem.into_response(),
    };
    if session_id.is_some() {
        tell_place(response.headers_mut(), &kept);
    }
    Ok(response)
}

/// Starts the statement; `kept` becomes what the session is after it.
async fn answer(
    door: &Door,
    session: &mut Session,
    kept: &mut Session,
    query_id: Uuid,
    request: SqlRequest,
) -> Result<Running, Problem> {
    let problem = |error| Problem::of(error, Some(query_id.to_string()));
    apply(session, &request.properties).map_err(problem)?;
    let before = session.clone();
    let parameters = request.parameters.iter().map(parameter);
    let parameters = parameters.collect::<Result<_, _>>().map_err(problem)?;
    let running = door
        .state
        .statements
        .run(
            &door.state.engine,
            session,
            StatementRequest {
                query_id: query_id.to_string(),
                sql: request.statement,
                parameters,
                door: ClientDoor::Http,
            },
        )
        .await
        .map_err(problem)?;
    // Properties hold for one request; what the statement itself changed holds on.
    if *session != before {
        kept.clone_from(session);
    }
    Ok(running)
}

/// Tells where the session's next unqualified name is looked up, so that a client notices when the
/// server has forgotten its session. A name that is no header text is left out.
fn tell_place(headers: &mut HeaderMap, session: &Session) {
    for (header, name) in [
        (CATALOG_HEADER, &session.catalog),
        (SCHEMA_HEADER, &session.schema),
    ] {
        if let Ok(value) = HeaderValue::from_str(name) {
            headers.insert(header, value);
        }
    }
}

fn apply(session: &mut Session, properties: &Properties) -> Result<(), tarn_engine::EngineError> {
    if let Some(catalog) = &properties.catalog {
        session.catalog.clone_from(catalog);
    }
    if let Some(schema) = &properties.schema {
        session.schema.clone_from(schema);
    }
    if let Some(zone) = &properties.time_zone {
        session.settings.set("time_zone", zone)?;
    }
    if let Some(timeout) = &properties.statement_timeout {
        session.settings.set("statement_timeout", timeout)?;
    }
    Ok(())
}

fn id_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Uuid>, Problem> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| Uuid::parse_str(text).ok())
                .ok_or_else(|| {
                    Problem::plain(
                        StatusCode::BAD_REQUEST,
                        format!("header {name} must be a UUID"),
                        "leave it out to have one made",
                    )
                })
        })
        .transpose()
}

fn respond(running: Running, format: Format) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(COMMAND_HEADER, HeaderValue::from_static(running.command));
    if let Ok(id) = HeaderValue::from_str(&running.query_id) {
        headers.insert(QUERY_ID_HEADER, id);
    }
    if let Some(affected) = running.affected {
        headers.insert(AFFECTED_HEADER, HeaderValue::from(affected));
    }
    let encoder = match Encoder::new(format, &running) {
        Ok(encoder) => encoder,
        Err(error) => {
            let error = tarn_engine::EngineError::from(error);
            return Problem::of(error, Some(running.query_id.clone())).into_response();
        }
    };
    *response.body_mut() = Body::from_stream(Encoded {
        running,
        encoder,
        state: BodyState::Head,
    });
    response
}

/// Turns batches into bytes of one format.
enum Encoder {
    Json(json::JsonEncoder),
    NdJson(json::JsonEncoder),
    Csv(csv::CsvEncoder),
    Arrow {
        schema: SchemaRef,
        writer: StreamWriter<Vec<u8>>,
    },
}

impl Encoder {
    fn new(format: Format, running: &Running) -> Result<Self, ArrowError> {
        let schema = running.schema();
        Ok(match format {
            Format::Json => Self::Json(json::JsonEncoder::new(schema, running.affected)),
            Format::NdJson => Self::NdJson(json::JsonEncoder::new(schema, running.affected)),
            Format::Csv => Self::Csv(csv::CsvEncoder::new(schema)),
            Format::Arrow => {
                let schema = plain_schema(&schema);
                Self::Arrow {
                    writer: StreamWriter::try_new(vec![], &schema)?,
                    schema,
                }
            }
        })
    }

    fn head(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(json) => json.document_head(),
            Self::NdJson(_) => Ok(vec![]),
            Self::Csv(csv) => Ok(csv.head()),
            Self::Arrow { writer, .. } => Ok(std::mem::take(writer.get_mut())),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(json) => json.document_rows(batch),
            Self::NdJson(json) => json.lines(batch),
            Self::Csv(csv) => csv.rows(batch),
            Self::Arrow { schema, writer } => {
                writer.write(&recast(batch, schema)?)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    fn tail(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(json) => Ok(json.document_tail()),
            Self::NdJson(_) | Self::Csv(_) => Ok(vec![]),
            Self::Arrow { writer, .. } => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Head,
    Rows,
    Done,
}

/// The body: encodes one batch at a time, when the client has taken the one before.
struct Encoded {
    running: Running,
    encoder: Encoder,
    state: BodyState,
}

impl Stream for Encoded {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let bytes = match this.state {
                BodyState::Done => return Poll::Ready(None),
                BodyState::Head => {
                    this.state = BodyState::Rows;
                    this.encoder.head()
                }
                BodyState::Rows => match this.running.poll_next_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(batch))) => this.encoder.batch(&batch),
                    Poll::Ready(Some(Err(error))) => {
                        // The status line is gone: cutting the body short is what is left. The
                        // text of the error stands in system.queries.
                        this.state = BodyState::Done;
                        return Poll::Ready(Some(Err(io::Error::other(error))));
                    }
                    Poll::Ready(None) => {
                        this.state = BodyState::Done;
                        this.encoder.tail()
                    }
                },
            };
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Bytes::from(bytes)))),
                Err(error) => {
                    this.state = BodyState::Done;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
            }
        }
    }
}

/// Types that every Arrow implementation reads: no views.
fn plain_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(plain_field(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        DataType::Dictionary(_, value) => plain_type(value),
        other => other.clone(),
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(
        Field::new(
            field.name(),
            plain_type(field.data_type()),
            field.is_nullable(),
        )
        .with_metadata(field.metadata().clone()),
    )
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(plain_field).collect::<Vec<_>>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_accept(accept: &'static str, wanted: Option<Format>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(Format::negotiate(&headers), wanted, "{accept}");
    }

    #[test]
    fn the_first_known_type_in_accept_wins() {
        check_accept("text/csv", Some(Format::Csv));
        check_accept(
            "image/png, application/x-ndjson;q=0.5",
            Some(Format::NdJson),
        );
        check_accept("*/*", Some(Format::Json));
        check_accept("image/png", None);
        assert_eq!(Format::negotiate(&HeaderMap::new()), Some(Format::Json));
    }

    #[test]
    fn a_name_that_is_no_header_text_is_left_out() {
        let mut headers = HeaderMap::new();
        tell_place(&mut headers, &Session::new("admin", "lake", "größe\n"));
        assert_eq!(headers[CATALOG_HEADER], "lake");
        assert!(!headers.contains_key(SCHEMA_HEADER));
    }

    #[test]
    fn unknown_fields_of_a_request_are_refused() {
        assert!(serde_json::from_str::<SqlRequest>(r#"{"statement":"x","foo":1}"#).is_err());
        assert!(serde_json::from_str::<SqlRequest>(r#"{"statement":"x"}"#).is_ok());
    }
}
