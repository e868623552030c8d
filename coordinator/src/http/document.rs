//! The documents that the API answers with, as they stand in its `OpenAPI` description too.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::problem::Problem;

/// Rows as one JSON document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowsDocument {
    /// The columns, in order.
    columns: Vec<ColumnDocument>,
    /// The rows: a value for each column. Numbers keep their digits; NaN and infinities are strings.
    rows: Vec<Vec<serde_json::Value>>,
    /// Rows changed, of a statement without a result set.
    affected: Option<u64>,
    /// Where the next page is, if this is one and there is one.
    #[schema(nullable = false)]
    next: Option<String>,
}

/// One column of a result.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ColumnDocument {
    /// Its name.
    #[schema(example = "city")]
    pub(super) name: String,
    /// Its SQL type.
    #[serde(rename = "type")]
    #[schema(example = "text")]
    pub(super) ty: String,
}

/// Where a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum QueryState {
    /// Waits for its turn.
    Queued,
    /// Is parsed and planned; a write also runs in this state until its plan stands.
    Planning,
    /// Runs.
    Running,
    /// Has ended well.
    Finished,
    /// Has ended with an error.
    Failed,
    /// Was cancelled.
    Canceled,
}

impl QueryState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Planning => "PLANNING",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    pub(super) fn has_ended(self) -> bool {
        match self {
            Self::Queued | Self::Planning | Self::Running => false,
            Self::Finished | Self::Failed | Self::Canceled => true,
        }
    }
}

/// A query and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct QueryDocument {
    /// Its id.
    #[schema(example = "019ab3c2-7d1e-7a51-a7a5-0b8b7f6e3c11")]
    pub(super) id: String,
    /// Where it stands.
    pub(super) state: QueryState,
    /// Whose it is.
    #[schema(example = "admin")]
    pub(super) user: String,
    /// The door it came through.
    #[schema(example = "http")]
    pub(super) door: String,
    /// Its text; of a very long one, the start.
    #[schema(example = "SELECT city, count(*) FROM trips GROUP BY city")]
    pub(super) statement: String,
    /// Catalog of its unqualified names.
    #[schema(example = "lake")]
    pub(super) catalog: String,
    /// Schema of its unqualified names.
    #[schema(example = "main")]
    pub(super) schema: String,
    /// What is done, such as `SELECT`; from when it is known.
    #[schema(example = "SELECT")]
    pub(super) command: Option<String>,
    /// Rows changed, of a statement without a result set.
    pub(super) affected: Option<u64>,
    /// Columns of the result; from when they are known.
    pub(super) columns: Option<Vec<ColumnDocument>>,
    /// How far it is.
    pub(super) progress: ProgressDocument,
    /// Since when.
    pub(super) timings: TimingsDocument,
    /// The results kept for its user.
    pub(super) results: Option<ResultsDocument>,
    /// Why it failed.
    pub(super) error: Option<Problem>,
    /// Where to go on.
    pub(super) links: LinksDocument,
}

/// How far a query is.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct ProgressDocument {
    /// Whether it runs on workers.
    pub(super) distributed: bool,
    /// Its stages on workers, last one first.
    pub(super) stages: Vec<StageDocument>,
    /// Tasks of all stages.
    pub(super) tasks_total: u32,
    /// Tasks that have ended.
    pub(super) tasks_done: u32,
    /// Rows that left its scans.
    pub(super) rows_scanned: u64,
    /// Bytes read from storage.
    pub(super) bytes_scanned: u64,
    /// Rows of the result so far.
    pub(super) rows_out: u64,
    /// How many queries begin before it, it included, while it waits for its turn.
    pub(super) queue_position: Option<usize>,
}

/// One stage of a query on workers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct StageDocument {
    /// Its number.
    pub(super) number: u32,
    /// Its tasks.
    pub(super) tasks: u32,
}

/// When what happened to a query.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TimingsDocument {
    /// When it came.
    #[schema(format = DateTime)]
    pub(super) submitted_at: String,
    /// When it began.
    #[schema(format = DateTime)]
    pub(super) started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub(super) ended_at: Option<String>,
    /// How long it has run.
    pub(super) elapsed_ms: u64,
}

/// Results kept for later.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ResultsDocument {
    /// Rows.
    pub(super) rows: u64,
    /// Bytes on the server's disk.
    pub(super) bytes: u64,
    /// Until when they are kept.
    #[schema(format = DateTime)]
    pub(super) expires_at: String,
}

/// Where to go on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LinksDocument {
    /// This document.
    #[serde(rename = "self")]
    pub(super) this: String,
    /// The results; absent for queries whose rows went out as they came.
    pub(super) results: Option<String>,
}

/// Some queries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueryListDocument {
    /// The queries.
    pub(super) queries: Vec<QueryDocument>,
    /// `cursor` of the next page, if there is one.
    pub(super) next_cursor: Option<String>,
}

/// The refusals that every operation may answer with.
#[derive(Debug)]
pub(super) struct ProblemResponses;

impl IntoResponses for ProblemResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        const REFUSALS: &[(&str, &str)] = &[
            ("400", "The request, or the statement, is wrong"),
            ("401", "No credentials, or wrong ones"),
            ("403", "The user may not do this"),
            ("404", "Something that is named does not exist"),
            (
                "429",
                "Too many requests; Retry-After says when to come back",
            ),
            ("503", "Out of resources, or stopping; try again"),
            ("default", "Any other error"),
        ];
        REFUSALS
            .iter()
            .map(|(status, description)| {
                let schema = Ref::from_schema_name("Problem");
                let content = ContentBuilder::new().schema(Some(schema)).build();
                let mut response = ResponseBuilder::new()
                    .description(*description)
                    .content("application/problem+json", content);
                if matches!(*status, "429" | "503") {
                    let seconds = HeaderBuilder::new()
                        .description(Some("Seconds to wait"))
                        .build();
                    response = response.header("retry-after", seconds);
                }
                ((*status).to_owned(), RefOr::T(response.build()))
            })
            .collect()
    }
}
