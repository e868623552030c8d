//! Talks to a Tarn server's HTTP door: `POST /api/v1/sql`, answers as Arrow.
//!
//! The shell, the demo and the tests go through it. Decodes batches as they
//! arrive and holds none of them; knows no SQL beyond the look-up of why an
//! answer was cut short.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// How long to wait for a TCP or TLS connection. Statements have no limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that end every Arrow stream; an answer without them was cut short.
const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

/// Longest part of a foreign error page that a message quotes, in characters.
const FOREIGN_BODY_MAX: usize = 200;

const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// Why a statement did not give its whole answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no HTTP URL, or carries a password.
    #[error("\"{url}\" is not a usable server URL: {reason}")]
    InvalidUrl {
        /// What was given, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authorities of `--ca-file` cannot be used.
    #[error("the authorities in \"{}\" cannot be used: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's certificate is not trusted, or it speaks no TLS.
    #[error("no secure connection to {url}; {hint}")]
    Insecure {
        /// The server's URL.
        url: String,
        /// What to do.
        hint: &'static str,
        /// What TLS said.
        source: reqwest::Error,
    },
    /// Nothing answers there.
    #[error("no Tarn server at {url}; start one with `tarn server` or give --url")]
    Unreachable {
        /// The server's URL.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// The connection broke before the answer began.
    #[error("lost the connection to {url}")]
    Transport {
        /// The server's URL.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// Something answers, but not as Tarn does.
    #[error("{url} does not answer like a Tarn server (HTTP {status}): {body}")]
    Foreign {
        /// The server's URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// The start of what it said.
        body: String,
    },
    /// The server refused or failed the statement.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The answer ended early and the server does not say why.
    #[error(
        "the answer of query {query_id} was cut short; look into system.queries or the server's log"
    )]
    CutShort {
        /// The query.
        query_id: Uuid,
    },
    /// The answer is not a valid Arrow stream.
    #[error("the answer of query {query_id} is damaged")]
    Decode {
        /// The query.
        query_id: Uuid,
        /// What the decoder said.
        source: ArrowError,
    },
}

impl ClientError {
    /// The SQLSTATE a user sees; class 08 is the connection's.
    pub fn code(&self) -> &str {
        match self {
            Self::InvalidUrl { .. }
            | Self::Authorities { .. }
            | Self::Insecure { .. }
            | Self::Unreachable { .. } => "08001",
            Self::Transport { .. } | Self::CutShort { .. } => "08006",
            Self::Foreign { .. } | Self::Decode { .. } => "08P01",
            Self::Server(error) => &error.code,
        }
    }

    /// Whether no statement can succeed: nobody answers, or not to this user.
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::InvalidUrl { .. }
            | Self::Authorities { .. }
            | Self::Insecure { .. }
            | Self::Unreachable { .. }
            | Self::Foreign { .. } => true,
            Self::Server(error) => error.status == 401,
            Self::Transport { .. } | Self::CutShort { .. } | Self::Decode { .. } => false,
        }
    }
}

/// An error as the server told it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// HTTP status; 200 when the error came after the answer began.
    pub status: u16,
    /// SQLSTATE, five characters.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
    /// The query in `system.queries`, when it got that far.
    pub query_id: Option<Uuid>,
}

/// `application/problem+json` as the server writes it.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    detail: Option<String>,
    code: String,
    hint: Option<String>,
    position: Option<usize>,
    query_id: Option<Uuid>,
}

/// Where statements run, and how long; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Properties {
    /// Catalog of unqualified names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Schema of unqualified names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// IANA time zone of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Limit, such as `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    statement: &'a str,
    properties: &'a Properties,
}

/// Where a session looks up unqualified names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Catalog.
    pub catalog: String,
    /// Schema in it.
    pub schema: String,
}

/// How a client shows who it is.
#[derive(Debug, Clone)]
pub enum Login {
    /// User and password, or user and personal access token.
    Password {
        /// The user.
        user: String,
        /// Its password.
        password: SecretString,
    },
    /// A personal access token alone: it knows its user.
    Token(SecretString),
}

/// Which servers a client talks to over https.
#[derive(Debug, Clone, Default)]
pub enum ServerTrust {
    /// Those with a certificate of the system's authorities.
    #[default]
    System,
    /// Those with a certificate of the authorities in a file (PEM), or of the system's.
    File(PathBuf),
    /// Any: encrypted, but nobody knows with whom.
    Anyone,
}

/// A user at a server. Cheap to clone; clones share connections and session.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    login: Login,
    session: Option<Uuid>,
    /// What the last answer told of the session.
    place: Arc<Mutex<Option<Place>>>,
    properties: Properties,
}

impl Client {
    /// Prepares to talk to `url` as `user`; connects with the first statement.
    ///
    /// `url` may lack its scheme (`http://` then). No session: each statement
    /// stands alone until [`Client::with_session`].
    ///
    /// # Errors
    /// [`ClientError::InvalidUrl`].
    pub fn new(url: &str, user: &str, password: SecretString) -> Result<Self, ClientError> {
        let login = Login::Password {
            user: user.to_owned(),
            password,
        };
        Self::with_trust(url, login, &ServerTrust::System)
    }

    /// [`Client::new`] with another kind of login, and for servers with TLS.
    ///
    /// # Errors
    /// [`ClientError::InvalidUrl`], [`ClientError::Authorities`].
    pub fn with_trust(url: &str, login: Login, trust: &ServerTrust) -> Result<Self, ClientError> {
        let url = parse_url(url)?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(concat!("tarn/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        http = match trust {
            ServerTrust::System => http,
            ServerTrust::Anyone => http.danger_accept_invalid_certs(true),
            ServerTrust::File(path) => authorities(path)?
                .into_iter()
                .fold(http, reqwest::ClientBuilder::add_root_certificate),
        };
        let http = http.build().map_err(|error| ClientError::InvalidUrl {
            url: url.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            http,
            url,
            login,
            session: None,
            place: Arc::default(),
            properties: Properties::default(),
        })
    }

    /// The server's URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The server's URL as people write it, without the closing slash.
    pub fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A client whose statements share one new session: `USE` and `SET` last.
    #[must_use]
    pub fn with_session(&self) -> Self {
        Self {
            session: Some(Uuid::new_v4()),
            place: Arc::default(),
            ..self.clone()
        }
    }

    /// A client whose statements stand alone: they see no `USE` or `SET` and
    /// never wait for a statement of the session.
    #[must_use]
    pub fn without_session(&self) -> Self {
        Self {
            session: None,
            place: Arc::default(),
            ..self.clone()
        }
    }

    /// Where the server said last, with an answer or an error, that the session is. `None` before
    /// that, without a session, and if a name cannot stand in a header.
    pub fn place(&self) -> Option<Place> {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A client that sends these properties with every statement.
    #[must_use]
    pub fn with_properties(&self, properties: Properties) -> Self {
        Self {
            properties,
            ..self.clone()
        }
    }

    /// Runs one statement and returns when its answer begins.
    ///
    /// Dropping the future or the answer cancels the statement on the server.
    ///
    /// # Errors
    /// Any [`ClientError`]; the statement then has had no effect unless
    /// the error is [`ClientError::Transport`].
    pub async fn execute(&self, statement: &str) -> Result<Answer, ClientError> {
        self.execute_as(statement, Uuid::now_v7()).await
    }

    /// [`Client::execute`] under a query id of the caller's choice, by which
    /// `system.queries` shows the statement while it runs.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn execute_as(&self, statement: &str, query_id: Uuid) -> Result<Answer, ClientError> {
        let mut request = self
            .http
            .post(self.endpoint())
            .header(reqwest::header::ACCEPT, ARROW_STREAM)
            .header("tarn-query-id", query_id.to_string())
            .json(&Request {
                statement,
                properties: &self.properties,
            });
        request = match &self.login {
            Login::Password { user, password } => {
                request.basic_auth(user, Some(password.expose_secret()))
            }
            Login::Token(token) => request.bearer_auth(token.expose_secret()),
        };
        if let Some(session) = self.session {
            request = request.header("tarn-session", session.to_string());
        }
        let response = request.send().await.map_err(|error| self.network(error))?;
        if self.session.is_some() {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) =
                place_told(response.headers());
        }
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        if header(response.headers(), "content-type").is_none_or(|ty| !ty.starts_with(ARROW_STREAM))
        {
            return Err(self.foreign(response).await);
        }
        let headers = response.headers();
        let affected = header(headers, "tarn-affected").and_then(|count| count.parse().ok());
        let command = header(headers, "tarn-command")
            .unwrap_or_default()
            .to_owned();
        let query_id = header(headers, "tarn-query-id")
            .and_then(|id| id.parse().ok())
            .unwrap_or(query_id);
        Ok(Answer {
            client: self.clone(),
            response,
            decoder: StreamDecoder::new(),
            pending: Buffer::from(&[] as &[u8]),
            tail: [0; 8],
            ended: false,
            query_id,
            command,
            affected,
        })
    }

    /// Runs one statement and collects its whole answer. For small answers.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn query(&self, statement: &str) -> Result<Collected, ClientError> {
        self.execute(statement).await?.collect().await
    }

    fn endpoint(&self) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v1/sql", url.path().trim_end_matches('/')));
        url
    }

    fn network(&self, source: reqwest::Error) -> ClientError {
        let url = self.address().to_owned();
        if source.is_connect() && self.url.scheme() == "https" && !is_refused(&source) {
            let hint = "if it has a certificate of its own, give its authority with --ca-file (tls/ca.pem in the server's data folder)";
            ClientError::Insecure { url, hint, source }
        } else if source.is_connect() {
            ClientError::Unreachable { url, source }
        } else {
            ClientError::Transport { url, source }
        }
    }

    async fn refused(&self, response: reqwest::Response) -> ClientError {
        let status = response.status().as_u16();
        let problem = header(response.headers(), "content-type")
            .is_some_and(|ty| ty.starts_with("application/problem+json"));
        if !problem {
            return self.foreign(response).await;
        }
        match response.json::<Problem>().await {
            Ok(problem) => ClientError::Server(Box::new(ServerError {
                status,
                code: problem.code,
                message: problem.detail.unwrap_or(problem.title),
                hint: problem.hint,
                position: problem.position,
                query_id: problem.query_id,
            })),
            Err(source) => ClientError::Transport {
                url: self.address().to_owned(),
                source,
            },
        }
    }

    async fn foreign(&self, response: reqwest::Response) -> ClientError {
        let status = response.status().as_u16();
        let body = response.text().await.unwrap_or_default();
        let body = body
            .trim()
            .chars()
            .take(FOREIGN_BODY_MAX)
            .collect::<String>();
        ClientError::Foreign {
            url: self.address().to_owned(),
            status,
            body: if body.is_empty() {
                "no text".to_owned()
            } else {
                body
            },
        }
    }

    /// Asks the server why an answer ended early.
    async fn why_cut_short(&self, query_id: Uuid) -> ClientError {
        let statement = format!(
            "SELECT error_code, error FROM system.queries WHERE query_id = '{query_id}' AND error IS NOT NULL"
        );
        let told = match self.without_session().execute(&statement).await {
            Ok(answer) => answer.collect_told().await,
            Err(_) => None,
        };
        match told {
            Some(row) if row.len() == 2 => ClientError::Server(Box::new(ServerError {
                status: 200,
                code: row[0].clone(),
                message: row[1].clone(),
                hint: None,
                position: None,
                query_id: Some(query_id),
            })),
            _ => ClientError::CutShort { query_id },
        }
    }
}

/// The answer to one statement, decoded while it arrives.
#[derive(Debug)]
pub struct Answer {
    client: Client,
    response: reqwest::Response,
    decoder: StreamDecoder,
    /// Bytes that arrived and are not decoded yet.
    pending: Buffer,
    /// The last bytes that arrived.
    tail: [u8; 8],
    ended: bool,
    query_id: Uuid,
    command: String,
    affected: Option<u64>,
}

impl Answer {
    /// The query's id in `system.queries`.
    pub fn query_id(&self) -> Uuid {
        self.query_id
    }

    /// What was done, such as `SELECT` or `CREATE TABLE`; empty if untold.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Rows written, of a statement without a result set.
    pub fn affected(&self) -> Option<u64> {
        self.affected
    }

    /// The columns, once the first bytes of the answer are decoded.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    /// The next rows, or `None` after the last. Never an empty batch.
    ///
    /// May be dropped while it waits and called again; nothing is lost.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the statement failed midway,
    /// [`ClientError::CutShort`] or [`ClientError::Decode`] otherwise.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        while !self.ended {
            while !self.pending.is_empty() {
                let decoded = self.decoder.decode(&mut self.pending);
                let query_id = self.query_id;
                match decoded.map_err(|source| ClientError::Decode { query_id, source })? {
                    Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                    _ => {}
                }
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => {
                    for byte in bytes.iter().rev().take(8).rev() {
                        self.tail.rotate_left(1);
                        self.tail[7] = *byte;
                    }
                    self.pending = Buffer::from(bytes);
                }
                Ok(None) if self.tail == END_OF_STREAM => self.ended = true,
                Ok(None) | Err(_) => {
                    self.ended = true;
                    return Err(self.client.why_cut_short(self.query_id).await);
                }
            }
        }
        Ok(None)
    }

    /// Waits for the rest and keeps it in memory.
    ///
    /// # Errors
    /// As [`Answer::next_batch`].
    pub async fn collect(mut self) -> Result<Collected, ClientError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next_batch().await? {
            batches.push(batch);
        }
        Ok(Collected {
            query_id: self.query_id,
            schema: self.schema().unwrap_or_else(|| Schema::empty().into()),
            command: self.command,
            affected: self.affected,
            batches,
        })
    }

    /// The first row of a complete answer; failures are not looked into.
    async fn collect_told(mut self) -> Option<Vec<String>> {
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.response.chunk().await {
            bytes.extend_from_slice(&chunk);
        }
        let mut buffer = Buffer::from(bytes);
        while let Ok(batch) = self.decoder.decode(&mut buffer) {
            let batch = batch?;
            if batch.num_rows() > 0 {
                return first_row(&batch);
            }
        }
        None
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Collected {
    /// The query's id in `system.queries`.
    pub query_id: Uuid,
    /// The columns; none for a statement without a result set.
    pub schema: SchemaRef,
    /// What was done, such as `SELECT` or `CREATE TABLE`.
    pub command: String,
    /// Rows written, of a statement without a result set.
    pub affected: Option<u64>,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl Collected {
    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Every row as text, NULL as `None`.
    pub fn rows(&self) -> Vec<Vec<Option<String>>> {
        self.batches.iter().flat_map(text_rows).collect()
    }

    /// The text of the first column of the first row, unless NULL or missing.
    pub fn scalar(&self) -> Option<String> {
        self.rows().into_iter().next()?.into_iter().next()?
    }
}

fn text_rows(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let options = FormatOptions::new();
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|array| {
            (
                array.logical_nulls(),
                ArrayFormatter::try_new(array, &options).ok(),
            )
        })
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|(nulls, format)| {
                    let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                    let format = format.as_ref().filter(|_| valid)?;
                    Some(format.value(row).to_string())
                })
                .collect()
        })
        .collect()
}

fn first_row(batch: &RecordBatch) -> Option<Vec<String>> {
    let row = text_rows(batch).into_iter().next()?;
    Some(row.into_iter().map(Option::unwrap_or_default).collect())
}

fn place_told(headers: &HeaderMap) -> Option<Place> {
    Some(Place {
        catalog: header(headers, "tarn-catalog")?.to_owned(),
        schema: header(headers, "tarn-schema")?.to_owned(),
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether nobody was there to shake hands with.
fn is_refused(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(io) = next.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::HostUnreachable
                    | std::io::ErrorKind::NetworkUnreachable
                    | std::io::ErrorKind::TimedOut
            )
        {
            return true;
        }
        cause = next.source();
    }
    false
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let unusable = |reason: String| ClientError::Authorities {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&text)
        .map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(found)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn parse_url(text: &str) -> Result<Url, ClientError> {
    let invalid = |reason: &str| ClientError::InvalidUrl {
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&full).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the scheme must be http or https"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "user and password do not belong into it; use --user and TARN_PASSWORD",
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::ipc::writer::StreamWriter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request after another with the given raw responses.
    async fn server(responses: Vec<Vec<u8>>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for response in responses {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while !request.ends_with(b"}") {
                    let count = socket.read(&mut part).await.unwrap();
                    request.extend_from_slice(&part[..count]);
                }
                socket.write_all(&response).await.unwrap();
                socket.shutdown().await.unwrap();
            }
        });
        Client::new(&url, "admin", "secret".to_owned().into()).unwrap()
    }

    fn arrow_stream(names: &[&str], rows: i64) -> Vec<u8> {
        let values = Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
        let batch =
            RecordBatch::try_from_iter(names.iter().map(|name| (*name, values.clone()))).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn ok(body: &[u8], length: usize) -> Vec<u8> {
        let mut response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {ARROW_STREAM}\r\ntarn-command: SELECT\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
        .into_bytes();
        response.extend_from_slice(body);
        response
    }

    #[tokio::test]
    async fn batches_arrive_decoded() {
        let body = arrow_stream(&["a"], 3);
        let client = server(vec![ok(&body, body.len())]).await;
        let answer = client.query("SELECT a").await.unwrap();
        assert_eq!((answer.row_count(), answer.command.as_str()), (6, "SELECT"));
        assert_eq!(answer.scalar().as_deref(), Some("0"));
    }

    #[tokio::test]
    async fn a_cut_answer_is_an_error_with_the_servers_reason() {
        let body = arrow_stream(&["a"], 3);
        let cut = &body[..body.len() - 8];
        let reason = arrow_stream(&["error_code", "error"], 1);
        let client = server(vec![ok(cut, body.len()), ok(&reason, reason.len())]).await;
        let error = client.query("SELECT a").await.unwrap_err();
        assert!(matches!(&error, ClientError::Server(_)), "{error:?}");
        assert_eq!(error.code(), "0");
    }

    #[tokio::test]
    async fn a_cut_answer_without_a_reason_is_still_an_error() {
        let body = arrow_stream(&["a"], 3);
        let cut = &body[..body.len() - 8];
        let client = server(vec![ok(cut, cut.len())]).await;
        let error = client.query("SELECT a").await.unwrap_err();
        assert!(matches!(error, ClientError::CutShort { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_problem_becomes_a_typed_error() {
        let body = r#"{"type":"about:blank","title":"t","status":400,"detail":"no table","code":"42P01","hint":"try b","position":15}"#;
        let response = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let client = server(vec![response.into_bytes()]).await;
        match client.query("SELECT * FROM a").await.unwrap_err() {
            ClientError::Server(error) => {
                assert_eq!((error.status, error.code.as_str()), (400, "42P01"));
                assert_eq!(error.message, "no table");
                assert_eq!(error.hint.as_deref(), Some("try b"));
                assert_eq!(error.position, Some(15));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn another_kind_of_server_is_named() {
        let response =
            b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nnginx";
        let client = server(vec![response.to_vec()]).await;
        let error = client.query("SELECT 1").await.unwrap_err().to_string();
        assert!(
            error.contains("does not answer like a Tarn server (HTTP 404): nginx"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_closed_port_says_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        drop(listener);
        let client = Client::new(&url, "admin", String::new().into()).unwrap();
        let error = client.query("SELECT 1").await.unwrap_err();
        assert_eq!(error.code(), "08001");
        assert!(
            error.to_string().contains("start one with `tarn server`"),
            "{error}"
        );
    }

    #[test]
    fn urls_need_no_scheme_and_take_no_password() {
        assert_eq!(
            parse_url("localhost:7070").unwrap().as_str(),
            "http://localhost:7070/"
        );
        assert_eq!(
            parse_url("https://h/tarn/").unwrap().as_str(),
            "https://h/tarn/"
        );
        let error = parse_url("http://admin:hunter2@h").unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && error.contains("TARN_PASSWORD"),
            "{error}"
        );
        assert!(parse_url("ftp://h").is_err());
        assert!(parse_url("").is_err());
    }
}
