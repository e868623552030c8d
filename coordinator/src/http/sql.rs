//! `POST /api/v1/sql`: one statement in, rows out as they come.
//!
//! A client that closes the connection drops the handler, or the body, and with it the statement.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use tarn_engine::{Session, parameter};
use uuid::Uuid;

use super::answer::{self, Format};
use super::document::{ProblemResponses, RowsDocument};
use super::json::Tail;
use super::problem::Problem;
use super::request::{self, SqlRequest};
use super::{Door, auth};
use crate::statements::{Door as ClientDoor, Running, StatementRequest};

const SESSION_HEADER: HeaderName = HeaderName::from_static("tarn-session");
pub(super) const QUERY_ID_HEADER: HeaderName = HeaderName::from_static("tarn-query-id");
pub(super) const COMMAND_HEADER: HeaderName = HeaderName::from_static("tarn-command");
pub(super) const AFFECTED_HEADER: HeaderName = HeaderName::from_static("tarn-affected");
const CATALOG_HEADER: HeaderName = HeaderName::from_static("tarn-catalog");
const SCHEMA_HEADER: HeaderName = HeaderName::from_static("tarn-schema");

/// Run one statement and stream its rows.
///
/// The answer begins with the first rows. Closing the connection cancels the statement. An error
/// after the answer has begun cuts it short; the query's document then says why.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    tag = "statements",
    request_body = SqlRequest,
    params(
        ("tarn-session" = Option<String>, Header, description = "A random UUID of the client's: requests with the same one share what USE and SET change"),
        ("tarn-query-id" = Option<String>, Header, description = "Id of the query, chosen by the client"),
    ),
    responses(
        (status = 200, description = "The rows, in the first format of Accept that the server has",
            content(
                (RowsDocument = "application/json"),
                (String = "application/x-ndjson"),
                (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"),
            ),
            headers(
                ("tarn-query-id" = String, description = "Id of the query"),
                ("tarn-command" = String, description = "What was done, such as SELECT"),
                ("tarn-affected" = i64, description = "Rows changed, of a statement without a result set"),
            )),
        ProblemResponses,
    ),
)]
pub(super) async fn run(State(door): State<Door>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let principal = auth::principal(&parts, &door.state.control).await?;
    let format = Format::negotiate(headers)?;
    let session_id = request::uuid_header(headers, &SESSION_HEADER, "tarn-session")?;
    let query_id = request::uuid_header(headers, &QUERY_ID_HEADER, "tarn-query-id")?
        .unwrap_or_else(Uuid::now_v7);
    let body: SqlRequest = request::parse(&request::json_body(headers, body).await?)?;
    let mut session = door.state.resume(&principal, session_id);
    let mut kept = session.clone();
    let answer = answer(&door, &mut session, &mut kept, query_id, body).await;
    let mut response = match answer {
        Ok(running) => {
            if let Some(id) = session_id {
                door.state.sessions.put(id, kept.clone());
            }
            respond(running, format)?
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
    request.properties.apply(session).map_err(problem)?;
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
                plan: None,
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

fn respond(running: Running, format: Format) -> Result<Response, Problem> {
    let (id, command, affected) = (
        HeaderValue::from_str(&running.query_id),
        HeaderValue::from_static(running.command),
        running.affected,
    );
    let tail = Tail {
        affected,
        next: None,
    };
    let schema = running.schema();
    let mut response = answer::respond(running, schema, format, tail)?;
    let headers = response.headers_mut();
    headers.insert(COMMAND_HEADER, command);
    if let Ok(id) = id {
        headers.insert(QUERY_ID_HEADER, id);
    }
    if let Some(affected) = affected {
        headers.insert(AFFECTED_HEADER, HeaderValue::from(affected));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_header_text_is_left_out() {
        let mut headers = HeaderMap::new();
        tell_place(&mut headers, &Session::new("admin", "lake", "größe\n"));
        assert_eq!(headers[CATALOG_HEADER], "lake");
        assert!(!headers.contains_key(SCHEMA_HEADER));
    }
}
