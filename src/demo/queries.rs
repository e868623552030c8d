//! Runs the 22 queries, checks their answers, prints the table.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{DemoError, Plan, say};
use crate::client::{Client, ClientError, Collected, Properties};
use crate::shell::report::chain;
use crate::shell::table::{Column, Layout, Row, Style};
use crate::tpch::{QUERY_COUNT, check, has_answers, query};

/// What came out of all queries.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Queries that failed or gave a wrong answer.
    pub(super) wrong: usize,
    unchecked: usize,
    in_coordinator: usize,
    total: Duration,
}

/// One query's outcome.
struct Run {
    elapsed: Duration,
    answer: Result<Collected, ClientError>,
    /// Whether it ran on workers; `None` if the server does not tell.
    distributed: Option<bool>,
}

/// Runs and checks every query once; wrong answers are counted, not errors.
pub(super) async fn run_all(plan: &Plan, client: &Client) -> Result<Summary, DemoError> {
    let session = client.with_session().with_properties(Properties {
        catalog: Some("lake".to_owned()),
        schema: Some("tpch".to_owned()),
        ..Properties::default()
    });
    if plan.workers > 0 {
        // The demo shows workers at work, also where a query is so small
        // that it would stay in the coordinator.
        let statement = "SET distribution = 'always'";
        session
            .query(statement)
            .await
            .map_err(|source| DemoError::Statement {
                what: format!("`{statement}` failed"),
                source: Box::new(source),
            })?;
    }
    let scale_factor = plan.scale_factor.to_string();
    say(&format!(
        "The 22 queries of TPC-H at scale factor {scale_factor}:"
    ))?;
    let layout = layout();
    if let Some(layout) = &layout {
        layout.write_head(&mut io::stdout().lock())?;
    }
    let mut summary = Summary::default();
    let mut wrongs = Vec::new();
    for number in 1..=QUERY_COUNT {
        let run = run_query(&session, client, number).await;
        let checked = judge(number, &scale_factor, &run);
        summary.total += run.elapsed;
        summary.unchecked += usize::from(checked == Ok(false));
        summary.in_coordinator += usize::from(run.distributed == Some(false));
        if let Err(why) = &checked {
            summary.wrong += 1;
            wrongs.push(format!("  query {number}: {why}"));
        }
        if let Some(layout) = &layout {
            let mut out = io::stdout().lock();
            layout.write_row(&mut out, &row(number, &run, &checked))?;
            out.flush()?;
        }
    }
    if let Some(layout) = &layout {
        layout.write_end(&mut io::stdout().lock())?;
    }
    for wrong in &wrongs {
        say(wrong)?;
    }
    say(&conclusion(&summary, plan, &scale_factor))?;
    Ok(summary)
}

async fn run_query(session: &Client, client: &Client, number: u8) -> Run {
    let query_id = uuid::Uuid::now_v7();
    let started = Instant::now();
    let answer = async {
        let answer = session
            .execute_as(query(number).unwrap_or_default(), query_id)
            .await?;
        answer.collect().await
    };
    let answer = answer.await;
    let elapsed = started.elapsed();
    let statement = format!("SELECT distributed FROM system.queries WHERE query_id = '{query_id}'");
    let told = client
        .query(&statement)
        .await
        .ok()
        .and_then(|told| told.scalar());
    Run {
        elapsed,
        answer,
        distributed: told.and_then(|told| told.parse().ok()),
    }
}

/// Whether the answer was checked, or why it is wrong.
fn judge(number: u8, scale_factor: &str, run: &Run) -> Result<bool, String> {
    let answer = run.answer.as_ref().map_err(|error| chain(error))?;
    if !has_answers(scale_factor) {
        return Ok(false);
    }
    check(number, scale_factor, &answer.batches).map(|()| true)
}

fn row(number: u8, run: &Run, checked: &Result<bool, String>) -> Row {
    let rows = run
        .answer
        .as_ref()
        .map_or(String::new(), |answer| answer.row_count().to_string());
    let checked = match (checked, &run.answer) {
        (Ok(true), _) => "right",
        (Ok(false), _) => "not checked",
        (Err(_), Ok(_)) => "WRONG",
        (Err(_), Err(_)) => "FAILED",
    };
    let place = match run.distributed {
        Some(true) => "workers",
        Some(false) => "coordinator",
        None => "unknown",
    };
    let time = format!("{:.2} s", run.elapsed.as_secs_f64());
    [
        format!("Q{number}"),
        rows,
        time,
        checked.to_owned(),
        place.to_owned(),
    ]
    .map(Some)
    .to_vec()
}

/// The frame of the table, wide enough for what comes.
fn layout() -> Option<Layout> {
    let columns = [
        ("query", false),
        ("rows", true),
        ("time", true),
        ("checked", false),
        ("ran on", false),
    ];
    let columns = columns.map(|(name, numeric)| Column {
        name: name.to_owned(),
        numeric,
    });
    let widest = ["Q22", "18314000", "1000.00 s", "not checked", "coordinator"]
        .map(|text| Some(text.to_owned()));
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Layout::fit(&columns, &[widest.to_vec()], Style { width: None, color })
}

fn conclusion(summary: &Summary, plan: &Plan, scale_factor: &str) -> String {
    let right = usize::from(QUERY_COUNT) - summary.wrong - summary.unchecked;
    let text = if summary.wrong > 0 {
        format!(
            "{} of {QUERY_COUNT} queries FAILED or gave a wrong answer",
            summary.wrong
        )
    } else if summary.unchecked > 0 {
        format!(
            "All {QUERY_COUNT} queries ran; their answers are not checked: none are known at scale factor {scale_factor}"
        )
    } else {
        format!("All {right} answers are right")
    };
    let place = match summary.in_coordinator {
        ran if ran > 0 && plan.workers > 0 => format!(" {ran} ran in the coordinator."),
        _ => String::new(),
    };
    format!(
        "{text}; {:.1} s in all.{place}",
        summary.total.as_secs_f64()
    )
}
