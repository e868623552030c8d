//! Rows on their way to an HTTP client: which format, and the body that encodes them as they come.
//!
//! Knows no statement; rows come from one that runs or from a file.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures::{FutureExt, Stream, StreamExt};
use tarn_engine::{EngineError, recast};
use tokio::time::Sleep;

use super::problem::{Problem, RequestError};
use super::{csv, json};

/// How the rows go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    NdJson,
    Csv,
    Arrow,
}

impl Format {
    /// The first type in `Accept` that we have; JSON if anything will do.
    ///
    /// # Errors
    /// [`RequestError::NotAcceptable`] if we have none of them.
    pub(super) fn negotiate(headers: &HeaderMap) -> Result<Self, RequestError> {
        Self::of(headers).ok_or(RequestError::NotAcceptable)
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
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

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
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
    fn new(format: Format, schema: SchemaRef, tail: json::Tail) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Json => Self::Json(json::JsonEncoder::new(schema, tail)),
            Format::NdJson => Self::NdJson(json::JsonEncoder::new(schema, tail)),
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
            Self::Csv(_) => csv::CsvEncoder::rows(batch),
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

/// How long a failed body waits before it is cut short, so that what was written before has left: without it
/// the client may see a broken connection in place of an answer that began.
const FLUSH_TIME: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum BodyState {
    Head,
    Rows,
    Failing(io::Error, Pin<Box<Sleep>>),
    Done,
}

impl BodyState {
    fn failing(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failing(
            io::Error::other(error),
            Box::pin(tokio::time::sleep(FLUSH_TIME)),
        )
    }
}

/// An answer whose body encodes one batch at a time, when the client has taken the one before.
///
/// # Errors
/// If a column cannot be written in this format.
pub(super) fn respond<S>(
    rows: S,
    schema: SchemaRef,
    format: Format,
    tail: json::Tail,
) -> Result<Response, Problem>
where
    S: Stream<Item = Result<RecordBatch, EngineError>> + Send + Unpin + 'static,
{
    let encoder = Encoder::new(format, schema, tail)
        .map_err(|error| Problem::of(EngineError::from(error), None))?;
    let mut response = Response::new(Body::from_stream(Encoded {
        rows,
        encoder,
        state: BodyState::Head,
    }));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    Ok(response)
}

/// The body.
struct Encoded<S> {
    rows: S,
    encoder: Encoder,
    state: BodyState,
}

impl<S> Stream for Encoded<S>
where
    S: Stream<Item = Result<RecordBatch, EngineError>> + Unpin,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.as_mut().get_mut();
        loop {
            let bytes = match &mut this.state {
                BodyState::Done => return Poll::Ready(None),
                BodyState::Failing(_, flushed) => {
                    if flushed.poll_unpin(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let failed = std::mem::replace(&mut this.state, BodyState::Done);
                    let BodyState::Failing(error, _) = failed else {
                        return Poll::Ready(None);
                    };
                    return Poll::Ready(Some(Err(error)));
                }
                BodyState::Head => {
                    this.state = BodyState::Rows;
                    this.encoder.head()
                }
                BodyState::Rows => match this.rows.poll_next_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(batch))) => this.encoder.batch(&batch),
                    Poll::Ready(Some(Err(error))) => {
                        // The status line is gone: cutting the body short is what is left. The
                        // text of the error stands in system.queries.
                        this.state = BodyState::failing(error);
                        continue;
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
                Err(error) => this.state = BodyState::failing(error),
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

pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
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
        assert_eq!(Format::of(&headers), wanted, "{accept}");
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
        assert_eq!(Format::of(&HeaderMap::new()), Some(Format::Json));
    }
}
