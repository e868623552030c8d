//! One run of a statement, read by as many endpoints as the client likes.
//!
//! Whoever asks gets the next batch, so that rows come as fast as all readers together take them, and a reader
//! that comes alone gets all. Nothing is read ahead: a batch is made when somebody asks.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Mutex;
use tonic::Status;

/// Batches of a run, or the error that ends them.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch, Status>>;

/// A run that has begun, or not.
#[derive(Default)]
pub(crate) struct Shared {
    run: Mutex<Run>,
    abandoned: AtomicBool,
}

#[derive(Default)]
enum Run {
    #[default]
    Waiting,
    Running(Batches),
    Ended,
    Failed(Status),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn abandoned() -> Status {
    Status::cancelled("the statement was cancelled\n[SQLSTATE 57014]")
}

impl Shared {
    /// The next batch of the run that `start` begins if nobody has; `None` after the last.
    pub(crate) async fn next(
        &self,
        start: impl FnOnce() -> Batches,
    ) -> Option<Result<RecordBatch, Status>> {
        let mut run = self.run.lock().await;
        if self.abandoned.load(Ordering::SeqCst) && !matches!(*run, Run::Ended | Run::Failed(_)) {
            *run = Run::Failed(abandoned());
        }
        if matches!(*run, Run::Waiting) {
            *run = Run::Running(start());
        }
        let next = match &mut *run {
            Run::Running(batches) => batches.next().await,
            Run::Failed(status) => return Some(Err(status.clone())),
            Run::Waiting | Run::Ended => return None,
        };
        match &next {
            Some(Ok(_)) => {}
            Some(Err(status)) => *run = Run::Failed(status.clone()),
            None => *run = Run::Ended,
        }
        next
    }

    /// Ends the run for all readers, and frees what it holds.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        // A reader that holds the lock sees the cancellation of the run itself.
        if let Ok(mut run) = self.run.try_lock()
            && !matches!(*run, Run::Ended | Run::Failed(_))
        {
            *run = Run::Failed(abandoned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;
    use std::sync::Arc;

    fn batch(n: i32) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![n])) as _)]).unwrap()
    }

    fn three() -> Batches {
        futures::stream::iter([Ok(batch(1)), Ok(batch(2)), Ok(batch(3))]).boxed()
    }

    #[tokio::test]
    async fn readers_share_the_batches_of_one_run() {
        let shared = Shared::default();
        let first = shared.next(three).await.unwrap().unwrap();
        let never = || unreachable!("the run has begun");
        let second = shared.next(never).await.unwrap().unwrap();
        assert_ne!(first, second);
        assert!(shared.next(never).await.unwrap().is_ok());
        assert!(shared.next(never).await.is_none());
        assert!(shared.next(never).await.is_none());
    }

    #[tokio::test]
    async fn an_error_reaches_every_reader() {
        let failing = || futures::stream::iter([Err(Status::internal("broken"))]).boxed();
        let shared = Shared::default();
        for _ in 0..2 {
            let error = shared.next(failing).await.unwrap().unwrap_err();
            assert_eq!(error.message(), "broken");
        }
    }

    #[tokio::test]
    async fn an_abandoned_run_frees_its_stream_and_never_ends_quietly() {
        let shared = Shared::default();
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let started = shared
            .next(|| {
                futures::stream::iter([Ok(batch(1)), Ok(batch(2))])
                    .map(move |b| {
                        let _ = &held;
                        b
                    })
                    .boxed()
            })
            .await;
        assert!(started.is_some());
        shared.abandon();
        assert!(weak.upgrade().is_none());
        let error = shared.next(three).await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::Cancelled);
    }
}
