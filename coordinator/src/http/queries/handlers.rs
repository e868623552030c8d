//! `/api/v1/queries`: submit, look, fetch, cancel, list.

#![allow(unused_qualifications, reason = "what the macros of utoipa write")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tarn_control::Principal;
use tarn_engine::{EngineError, parameter, sql_type_name};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Idempotency, Queries, Submitted, run};
use crate::history::{Entry, State as EntryState};
use crate::http::answer::{self, Format};
use crate::http::document::{
    ColumnDocument, LinksDocument, ProblemResponses, ProgressDocument, QueryDocument,
    QueryListDocument, QueryState, ResultsDocument, RowsDocument, StageDocument, TimingsDocument,
};
use crate::http::json::Tail;
use crate::http::problem::{Problem, RequestError};
use crate::http::request::{self, SqlRequest};
use crate::http::sql::{AFFECTED_HEADER, COMMAND_HEADER, QUERY_ID_HEADER};
use crate::http::{Door, auth};
use crate::statements::{Door as ClientDoor, StatementRequest, Statements};
use crate::system::Shown;

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");
const ROWS_HEADER: HeaderName = HeaderName::from_static("tarn-rows-total");
/// Characters of an idempotency key at most.
const KEY_MAX: usize = 255;
/// Longest wait for the end of a query, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;
/// Queries on a page of the list, unless the client says otherwise, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

/// Submit a query and come back for its results.
///
/// The query runs in the background; its results are kept on the server's disk for a while. With an
/// `Idempotency-Key`, the same request of the same user gives the same query.
#[utoipa::path(
    post,
    path = "/api/v1/queries",
    tag = "queries",
    request_body = SqlRequest,
    params(
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "Makes it safe to send the request again"),
    ),
    responses(
        (status = 202, description = "The query, new or of before", body = QueryDocument,
            headers(
                ("location" = String, description = "Where the query is"),
                ("idempotency-replayed" = bool, description = "Present if the query was there already"),
            )),
        (status = 422, description = "The key was used with another request", body = Problem, content_type = "application/problem+json"),
        ProblemResponses,
    ),
)]
pub(in crate::http) async fn submit(
    State(door): State<Door>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let principal = auth::principal(&parts, &door.state.control).await?;
    let key = idempotency_key(&parts.headers)?;
    let body: SqlRequest = request::parse(&request::json_body(&parts.headers, body).await?)?;
    let mut session = door.state.session(&principal);
    let problem = |error| Problem::of(error, None);
    body.properties.apply(&mut session).map_err(problem)?;
    let parameters = body.parameters.iter().map(parameter);
    let parameters = parameters.collect::<Result<Vec<_>, _>>().map_err(problem)?;
    let idempotency = key.map(|key| Idempotency {
        key,
        request: fingerprint(&body),
    });
    let (query, is_new) = door
        .queries
        .enter(&principal, &session, &body.statement, idempotency)?;
    if is_new {
        let request = StatementRequest {
            query_id: query.id.to_string(),
            sql: body.statement,
            parameters,
            door: ClientDoor::Http,
            plan: None,
        };
        let service = door.state.clone();
        run::start(&door.queries, Arc::clone(&query), service, session, request);
    }
    let document = of_submitted(&query, &door);
    let location = HeaderValue::from_str(&document.links.this);
    let mut response = (StatusCode::ACCEPTED, Json(document)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if !is_new {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED_HEADER, replayed);
    }
    Ok(response)
}

/// How long to wait for the end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StatusParameters {
    /// Wait so many milliseconds for the query to end, up to a minute.
    #[param(minimum = 0, maximum = 60000, nullable = false)]
    wait_ms: Option<u64>,
}

/// How far a query is.
///
/// Sees the queries of every door, also those that were not submitted here.
#[utoipa::path(
    get,
    path = "/api/v1/queries/{id}",
    tag = "queries",
    params(("id" = String, Path, description = "The query"), StatusParameters),
    responses(
        (status = 200, description = "The query", body = QueryDocument),
        ProblemResponses,
    ),
)]
pub(in crate::http) async fn status(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<QueryDocument>, Problem> {
    let (parts, _) = request.into_parts();
    let principal = auth::principal(&parts, &door.state.control).await?;
    let id = request::path_id(id, &parts.uri)?;
    let parameters: StatusParameters = request::query_string(&parts.uri)?;
    let wait = wait(parameters.wait_ms)?;
    let found = find(&door, &principal, &id)?;
    if let (Found::Submitted(query), Some(wait)) = (&found, wait) {
        query.wait(wait).await;
    }
    Ok(Json(found.document(&door)))
}

/// Cancel a query, or drop the results of one that has ended.
///
/// May be repeated: a query that has ended stays as it ended.
#[utoipa::path(
    delete,
    path = "/api/v1/queries/{id}",
    tag = "queries",
    params(("id" = String, Path, description = "The query")),
    responses(
        (status = 204, description = "It is, or will be at once, cancelled; its results are gone"),
        ProblemResponses,
    ),
)]
pub(in crate::http) async fn cancel(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, _) = request.into_parts();
    let principal = auth::principal(&parts, &door.state.control).await?;
    let id = request::path_id(id, &parts.uri)?;
    let found = find(&door, &principal, &id)?;
    door.state.statements.cancel(&id);
    if let Found::Submitted(query) = found {
        query.cancel.cancel();
        Queries::drop_results(&query);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ResultsParameters {
    /// Rows to leave out at the start.
    #[param(minimum = 0, nullable = false)]
    offset: Option<u64>,
    /// Rows of this page; all, as a stream, without it.
    #[param(minimum = 1, nullable = false)]
    limit: Option<u64>,
    /// Wait so many milliseconds for the query to end, up to a minute.
    #[param(minimum = 0, maximum = 60000, nullable = false)]
    wait_ms: Option<u64>,
}

/// Fetch the results of a query that has ended.
///
/// As a stream of all rows, or in pages with `limit`: the header `Link`, and `next` in JSON, lead to
/// the next page. Results may be fetched again until they expire.
#[utoipa::path(
    get,
    path = "/api/v1/queries/{id}/results",
    tag = "queries",
    params(("id" = String, Path, description = "The query"), ResultsParameters),
    responses(
        (status = 200, description = "The rows, in the first format of Accept that the server has",
            content(
                (RowsDocument = "application/json"),
                (String = "application/x-ndjson"),
                (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"),
            ),
            headers(
                ("tarn-rows-total" = i64, description = "Rows of the whole result"),
                ("link" = String, description = "The next page, with rel=\"next\""),
            )),
        (status = 409, description = "The query has not ended", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The results were not kept, or are no more", body = Problem, content_type = "application/problem+json"),
        ProblemResponses,
    ),
)]
pub(in crate::http) async fn results(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let principal = auth::principal(&parts, &door.state.control).await?;
    let id = request::path_id(id, &parts.uri)?;
    let format = Format::negotiate(&parts.headers)?;
    let parameters: ResultsParameters = request::query_string(&parts.uri)?;
    if parameters.limit == Some(0) {
        return Err(RequestError::QueryString {
            problem: "limit: must be 1 or more".to_owned(),
        }
        .into());
    }
    let wait = wait(parameters.wait_ms)?;
    let query = match find(&door, &principal, &id)? {
        Found::Submitted(query) if query.user_id == principal.id.to_string() => query,
        Found::Submitted(_) => return Err(RequestError::NotOwner { id }.into()),
        Found::Other(_) => {
            return Err(RequestError::NoResults {
                id,
                hint: "its rows went out as they came; POST /api/v1/queries keeps results",
            }
            .into());
        }
    };
    if let Some(wait) = wait {
        query.wait(wait).await;
    }
    rows(&query, &parameters, format)
}

fn rows(
    query: &Submitted,
    parameters: &ResultsParameters,
    format: Format,
) -> Result<Response, Problem> {
    let id = query.id.to_string();
    let (results, command, affected) = {
        let life = query.life();
        let Some(outcome) = &life.outcome else {
            let state = if life.begun {
                QueryState::Running
            } else {
                QueryState::Queued
            };
            let state = state.name();
            return Err(RequestError::NotEnded { id, state }.into());
        };
        if let Some(problem) = &outcome.error {
            return Err(problem.clone());
        }
        let has_rows = life
            .columns
            .as_ref()
            .is_some_and(|c| !c.fields().is_empty());
        if has_rows && outcome.results.is_none() {
            return Err(RequestError::NoResults {
                id,
                hint: "they have expired or were deleted; submit the query again",
            }
            .into());
        }
        (outcome.results.clone(), life.command, life.affected)
    };
    let offset = parameters.offset.unwrap_or(0);
    let limit = parameters.limit.unwrap_or(u64::MAX);
    let total = results.as_ref().map_or(0, super::Results::rows);
    let after = offset.saturating_add(limit);
    let next =
        (after < total).then(|| format!("{}?offset={after}&limit={limit}", results_link(&id)));
    let link = next.as_ref().map(|next| format!("<{next}>; rel=\"next\""));
    let tail = Tail { affected, next };
    let mut response = if let Some(results) = results {
        answer::respond(results.read(offset, limit), results.schema(), format, tail)?
    } else {
        let nothing: SchemaRef = Arc::new(Schema::empty());
        answer::respond(futures::stream::empty(), nothing, format, tail)?
    };
    let headers = response.headers_mut();
    headers.insert(ROWS_HEADER, HeaderValue::from(total));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(QUERY_ID_HEADER, id);
    }
    if let Some(command) = command {
        headers.insert(COMMAND_HEADER, HeaderValue::from_static(command));
    }
    if let Some(affected) = affected {
        headers.insert(AFFECTED_HEADER, HeaderValue::from(affected));
    }
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

/// Which queries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListParameters {
    /// Only those in this state.
    #[param(inline, nullable = false)]
    state: Option<QueryState>,
    /// Queries on this page.
    #[param(minimum = 1, maximum = 500, nullable = false)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// Those of all users, for an administrator.
    #[param(nullable = false)]
    all: Option<bool>,
}

/// List your queries, of every door, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/queries",
    tag = "queries",
    params(ListParameters),
    responses(
        (status = 200, description = "The queries that the server still knows", body = QueryListDocument),
        ProblemResponses,
    ),
)]
pub(in crate::http) async fn list(
    State(door): State<Door>,
    request: Request,
) -> Result<Json<QueryListDocument>, Problem> {
    let (parts, _) = request.into_parts();
    let principal = auth::principal(&parts, &door.state.control).await?;
    let parameters: ListParameters = request::query_string(&parts.uri)?;
    let wrong = |problem: &str| RequestError::QueryString {
        problem: problem.to_owned(),
    };
    let limit = parameters.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong("limit: must be from 1 to 500").into());
    }
    let after = parameters
        .cursor
        .as_deref()
        .map(|text| read_cursor(text).ok_or_else(|| wrong("cursor: is none of ours")))
        .transpose()?;
    let all = parameters.all.unwrap_or(false);
    if all && !is_admin(&door, &principal) {
        return Err(RequestError::AdminOnly.into());
    }
    let mut found = newest_first(&door, (!all).then_some(&principal));
    found.retain(|key, found| {
        after.as_ref().is_none_or(|after| key > after)
            && parameters
                .state
                .is_none_or(|state| found.state(&door) == state)
    });
    let mut page: Vec<_> = found.into_iter().take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    Ok(Json(QueryListDocument {
        next_cursor: page.last().filter(|_| more).map(|(key, _)| cursor(key)),
        queries: page
            .iter()
            .map(|(_, found)| found.document(&door))
            .collect(),
    }))
}

/// Time, latest first, and id.
pub(in crate::http) type Key = (std::cmp::Reverse<i64>, String);

fn newest_first(door: &Door, principal: Option<&Principal>) -> BTreeMap<Key, Found> {
    let mut found = BTreeMap::new();
    let mut submitted = std::collections::HashSet::new();
    let user_id = principal.map(|p| p.id.to_string());
    for query in door.queries.of_user(user_id.as_deref()) {
        let id = query.id.to_string();
        submitted.insert(id.clone());
        let key = (std::cmp::Reverse(query.came_at.timestamp_micros()), id);
        found.insert(key, Found::Submitted(query));
    }
    for entry in door.state.statements.entries() {
        let mine = principal.is_none_or(|p| p.name == entry.user);
        if mine && !submitted.contains(&entry.query_id) {
            let key = (
                std::cmp::Reverse(entry.started_at.timestamp_micros()),
                entry.query_id.clone(),
            );
            found.insert(key, Found::Other(entry));
        }
    }
    found
}

/// Takes a query string apart as each handler would and forgets it, for fuzzers.
pub(in crate::http) fn try_read(uri: &Uri) {
    let _ = request::query_string::<StatusParameters>(uri);
    let _ = request::query_string::<ResultsParameters>(uri);
    let _ = request::query_string::<ListParameters>(uri);
}

fn cursor(key: &Key) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", key.0.0, key.1))
}

pub(in crate::http) fn read_cursor(text: &str) -> Option<Key> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, id) = text.split_once(':')?;
    Some((std::cmp::Reverse(micros.parse().ok()?), id.to_owned()))
}

/// A query that the caller may see.
enum Found {
    Submitted(Arc<Submitted>),
    Other(Arc<Entry>),
}

/// # Errors
/// [`RequestError::UnknownQuery`], for those of others too.
fn find(door: &Door, principal: &Principal, id: &str) -> Result<Found, RequestError> {
    let unknown = || RequestError::UnknownQuery { id: id.to_owned() };
    let admin = is_admin(door, principal);
    if let Some(query) = Uuid::parse_str(id).ok().and_then(|id| door.queries.get(id)) {
        let mine = query.user_id == principal.id.to_string();
        return (mine || admin)
            .then_some(Found::Submitted(query))
            .ok_or_else(unknown);
    }
    door.state
        .statements
        .find(id)
        .filter(|entry| entry.user == principal.name || admin)
        .map(Found::Other)
        .ok_or_else(unknown)
}

fn is_admin(door: &Door, principal: &Principal) -> bool {
    door.state.session(principal).is_admin
}

impl Found {
    fn document(&self, door: &Door) -> QueryDocument {
        match self {
            Self::Submitted(query) => of_submitted(query, door),
            Self::Other(entry) => of_entry(entry, &door.state.statements),
        }
    }

    fn state(&self, door: &Door) -> QueryState {
        match self {
            Self::Submitted(query) => {
                let entry = door.state.statements.find(&query.id.to_string());
                state_of(query, entry.as_deref())
            }
            Self::Other(entry) => entry_state(entry.live().state),
        }
    }
}

fn entry_state(state: EntryState) -> QueryState {
    match state {
        EntryState::Planning => QueryState::Planning,
        EntryState::Queued => QueryState::Queued,
        EntryState::Running => QueryState::Running,
        EntryState::Finished => QueryState::Finished,
        EntryState::Failed => QueryState::Failed,
        EntryState::Canceled => QueryState::Canceled,
    }
}

/// A query has ended when its results are complete, not when its last row has come.
fn state_of(query: &Submitted, entry: Option<&Entry>) -> QueryState {
    let life = query.life();
    if let Some(outcome) = &life.outcome {
        return outcome.state;
    }
    let running = entry.map(|entry| entry_state(entry.live().state));
    match running {
        Some(state) if !state.has_ended() => state,
        Some(_) => QueryState::Running,
        None if life.begun => QueryState::Planning,
        None => QueryState::Queued,
    }
}

fn results_link(id: &str) -> String {
    format!("/api/v1/queries/{id}/results")
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn of_entry(entry: &Entry, statements: &Statements) -> QueryDocument {
    let shown = Shown::new(entry, statements);
    let live = entry.live().clone();
    let ended = live.ended.and_then(|after| TimeDelta::from_std(after).ok());
    let stages = live
        .stages
        .iter()
        .map(|(number, tasks)| StageDocument {
            number: *number,
            tasks: *tasks,
        })
        .collect();
    QueryDocument {
        id: entry.query_id.clone(),
        state: entry_state(shown.state),
        user: entry.user.clone(),
        door: entry.door.to_owned(),
        statement: entry.statement.clone(),
        catalog: entry.catalog.clone(),
        schema: entry.schema.clone(),
        command: None,
        affected: None,
        columns: None,
        progress: ProgressDocument {
            distributed: shown.distributed,
            stages,
            tasks_total: shown.tasks_total,
            tasks_done: shown.tasks_done,
            rows_scanned: shown.rows_scanned,
            bytes_scanned: shown.bytes_scanned,
            rows_out: shown.rows_out,
            queue_position: shown.queue_position,
        },
        timings: TimingsDocument {
            submitted_at: time(entry.started_at),
            started_at: Some(time(entry.started_at)),
            ended_at: ended.map(|after| time(entry.started_at + after)),
            elapsed_ms: shown.elapsed_ms,
        },
        results: None,
        error: live.error_kind.zip(live.error.clone()).map(|(kind, text)| {
            Problem::of(EngineError::new(kind, text), Some(entry.query_id.clone()))
        }),
        links: LinksDocument {
            this: format!("/api/v1/queries/{}", entry.query_id),
            results: None,
        },
    }
}

fn of_submitted(query: &Submitted, door: &Door) -> QueryDocument {
    let id = query.id.to_string();
    let statements = &door.state.statements;
    let kept = query.life().outcome.as_ref().and_then(|o| o.entry.clone());
    let entry = kept.or_else(|| statements.find(&id));
    let state = state_of(query, entry.as_deref());
    let base = entry.as_deref().map(|entry| of_entry(entry, statements));
    let life = query.life();
    let outcome = life.outcome.as_ref();
    let started_at = base.as_ref().and_then(|b| b.timings.started_at.clone());
    QueryDocument {
        state,
        user: query.user.clone(),
        door: ClientDoor::Http.name().to_owned(),
        statement: query.statement.clone(),
        catalog: query.catalog.clone(),
        schema: query.schema.clone(),
        command: life.command.map(str::to_owned),
        affected: life.affected,
        columns: life.columns.as_ref().map(|schema| columns(schema)),
        timings: TimingsDocument {
            submitted_at: time(query.came_at),
            started_at,
            ended_at: outcome.map(|o| time(o.at)),
            elapsed_ms: base.as_ref().map_or(0, |b| b.timings.elapsed_ms),
        },
        progress: base.map(|b| b.progress).unwrap_or_default(),
        results: outcome.and_then(|o| {
            let results = o.results.as_ref()?;
            Some(ResultsDocument {
                rows: results.rows(),
                bytes: results.bytes(),
                expires_at: time(o.at.checked_add_signed(door.queries.ttl)?),
            })
        }),
        error: outcome.and_then(|o| o.error.clone()),
        links: LinksDocument {
            this: format!("/api/v1/queries/{id}"),
            results: Some(results_link(&id)),
        },
        id,
    }
}

fn columns(schema: &Schema) -> Vec<ColumnDocument> {
    schema
        .fields()
        .iter()
        .map(|field| ColumnDocument {
            name: field.name().clone(),
            ty: sql_type_name(field.data_type()),
        })
        .collect()
}

fn wait(wait_ms: Option<u64>) -> Result<Option<Duration>, RequestError> {
    match wait_ms {
        Some(ms) if ms > WAIT_MS_MAX => Err(RequestError::QueryString {
            problem: format!("wait_ms: must be at most {WAIT_MS_MAX}"),
        }),
        other => Ok(other.map(Duration::from_millis)),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, RequestError> {
    let Some(value) = headers.get(&KEY_HEADER) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .filter(|key| {
            (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        })
        .map(|key| Some(key.to_owned()))
        .ok_or(RequestError::Header {
            name: "idempotency-key",
            problem: "must be 1 to 255 visible ASCII characters, without spaces",
        })
}

/// What makes two requests the same: what they run, with which values, and how.
fn fingerprint(request: &SqlRequest) -> [u8; 32] {
    let p = &request.properties;
    let whole = serde_json::json!([
        request.statement,
        request.parameters,
        p.catalog,
        p.schema,
        p.time_zone,
        p.statement_timeout
    ]);
    Sha256::digest(whole.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_do_not() {
        let key = (std::cmp::Reverse(17), "a:b".to_owned());
        assert_eq!(read_cursor(&cursor(&key)), Some(key));
        for bad in ["", "!", "AAAA"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_however_it_is_written() {
        let of = |text: &str| fingerprint(&request::parse(text.as_bytes()).unwrap());
        let one = of(r#"{"statement": "SELECT 1", "parameters": [1]}"#);
        assert_eq!(one, of(r#"{ "parameters":[1], "statement":"SELECT 1" }"#));
        assert_ne!(one, of(r#"{"statement": "SELECT 1", "parameters": [2]}"#));
        assert_ne!(
            one,
            of(r#"{"statement": "SELECT 1", "parameters": [1], "properties": {"schema": "x"}}"#)
        );
    }
}
