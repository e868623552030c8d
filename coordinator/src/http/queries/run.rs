//! Runs a submitted query to its end and keeps its rows on disk, one batch in memory at a time.

use std::sync::Arc;

use futures::StreamExt;
use tarn_engine::{EngineError, ErrorKind, Session};

use super::spool::{Results, Spool};
use super::{Queries, Submitted};
use crate::service::Service;
use crate::statements::{Running, StatementRequest};

/// Starts a submitted query in the background; it waits there for its turn.
pub(super) fn start(
    queries: &Queries,
    query: Arc<Submitted>,
    service: Service,
    session: Session,
    request: StatementRequest,
) {
    let queries = queries.clone();
    tokio::spawn(async move {
        let cancelled = query.cancel.clone().cancelled_owned();
        let done = tokio::select! {
            biased;
            () = cancelled => Err(EngineError::new(
                ErrorKind::Canceled,
                "the statement was cancelled",
            )),
            done = Box::pin(turn(&queries, &query, &service, session, request)) => done,
        };
        let entry = service.statements.find(&query.id.to_string());
        query.end(done, entry);
    });
}

async fn turn(
    queries: &Queries,
    query: &Submitted,
    service: &Service,
    mut session: Session,
    request: StatementRequest,
) -> Result<Option<Results>, EngineError> {
    let _slot = queries
        .slots
        .acquire()
        .await
        .map_err(|_| EngineError::internal("the queue of submitted queries is closed"))?;
    query.life().begun = true;
    let running = service
        .statements
        .run(&service.engine, &mut session, request)
        .await?;
    let schema = running.schema();
    {
        let mut life = query.life();
        life.command = Some(running.command);
        life.affected = running.affected;
        life.columns = Some(Arc::clone(&schema));
    }
    if schema.fields().is_empty() {
        exhaust(running).await?;
        return Ok(None);
    }
    let spool = Spool::create(&queries.budget, &query.id.to_string(), &schema)?;
    keep(running, spool).await.map(Some)
}

/// A statement without a result set ends when its stream does.
async fn exhaust(mut running: Running) -> Result<(), EngineError> {
    while let Some(batch) = running.next().await {
        batch?;
    }
    Ok(())
}

async fn keep(mut running: Running, mut spool: Spool) -> Result<Results, EngineError> {
    while let Some(batch) = running.next().await {
        match spool.write(batch?).await {
            Ok(next) => spool = next,
            Err(error) => {
                running.fail(&error);
                return Err(error);
            }
        }
    }
    spool.finish().await
}
