//! How many statements run at once, and who is next.
//!
//! Users take turns: whoever has many statements waiting does not keep others waiting. Knows users and places in a
//! queue, not what a statement is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tarn_engine::{EngineError, ErrorKind};
use tokio::sync::oneshot;

/// Bounds of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Statements that run at once.
    pub running: usize,
    /// Statements that wait.
    pub queued: usize,
    /// How long a statement waits; `None` for as long as it takes.
    pub timeout: Option<Duration>,
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: AdmissionLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    queued: usize,
    next_ticket: u64,
    /// Users with statements that wait; the first one's turn is next.
    lines: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    user: String,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    call: oneshot::Sender<()>,
}

/// A statement's leave to run; others follow when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Admission,
}

/// A place in the queue; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    ticket: u64,
    called: oneshot::Receiver<()>,
}

/// What a statement gets that asks for leave.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// It may run.
    Open(Permit),
    /// It must wait.
    Queued(Place),
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            state: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for leave to run a statement of `user`.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyStatements`] if too many wait.
    pub(crate) fn enter(&self, user: &str) -> Result<Entrance, EngineError> {
        let mut state = self.lock();
        if state.running < self.limits.running && state.queued == 0 {
            state.running += 1;
            return Ok(Entrance::Open(Permit {
                admission: self.clone(),
            }));
        }
        if state.queued >= self.limits.queued {
            return Err(EngineError::new(
                ErrorKind::TooManyStatements,
                format!(
                    "{} statements run and {} wait, which is as many as may",
                    state.running, state.queued
                ),
            )
            .with_hint("run it again later; [admission] queue sets how many may wait, running how many run"));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (call, called) = oneshot::channel();
        let waiter = Waiter { ticket, call };
        match state.lines.iter_mut().find(|line| line.user == user) {
            Some(line) => line.waiting.push_back(waiter),
            None => state.lines.push_back(Line {
                user: user.to_owned(),
                waiting: VecDeque::from([waiter]),
            }),
        }
        state.queued += 1;
        gauge!("tarn_statements_queued").increment(1.0);
        Ok(Entrance::Queued(Place {
            admission: self.clone(),
            ticket,
            called,
        }))
    }

    /// How many statements begin before the one with `ticket`, it included; `None` if it does not wait.
    pub(crate) fn position(&self, ticket: u64) -> Option<usize> {
        let state = self.lock();
        let (line, depth) = state.lines.iter().enumerate().find_map(|(at, line)| {
            let depth = line.waiting.iter().position(|w| w.ticket == ticket)?;
            Some((at, depth))
        })?;
        let before = state.lines.iter().enumerate().map(|(at, other)| {
            let turns = if at < line { depth + 1 } else { depth };
            other.waiting.len().min(turns)
        });
        Some(before.sum::<usize>() + 1)
    }

    /// Gives the leave of a statement that has ended to the next one.
    fn release(&self) {
        let mut state = self.lock();
        while let Some(mut line) = state.lines.pop_front() {
            let Some(waiter) = line.waiting.pop_front() else {
                continue;
            };
            state.queued -= 1;
            gauge!("tarn_statements_queued").decrement(1.0);
            if !line.waiting.is_empty() {
                state.lines.push_back(line);
            }
            // One that has just given up does not listen.
            if waiter.call.send(()).is_ok() {
                return;
            }
        }
        state.running -= 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.release();
    }
}

impl Place {
    /// Tells the place from others.
    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyStatements`] if it does not come in time.
    pub(crate) async fn turn(mut self) -> Result<Permit, EngineError> {
        let limit = self.admission.limits.timeout;
        let called = match limit {
            Some(limit) => tokio::time::timeout(limit, &mut self.called).await,
            None => Ok((&mut self.called).await),
        };
        match called {
            // Leave is made here, so a call is not given back when the place is dropped.
            Ok(Ok(())) => Ok(Permit {
                admission: self.admission.clone(),
            }),
            Ok(Err(_)) => Err(EngineError::internal("a place in the queue was lost")),
            Err(_) => Err(EngineError::new(
                ErrorKind::TooManyStatements,
                format!(
                    "the statement waited {} s for others to end, and {} of them still run",
                    limit.unwrap_or_default().as_secs_f64(),
                    self.admission.limits.running
                ),
            )
            .with_hint(
                "run it again later; [admission] queue_timeout sets how long statements wait, running how many run at once",
            )),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.called.close();
        // Called, but gone before it could answer; a call that was answered is not here any more.
        if self.called.try_recv().is_ok() {
            self.admission.release();
            return;
        }
        let mut state = self.admission.lock();
        let mut found = false;
        for line in &mut state.lines {
            let before = line.waiting.len();
            line.waiting.retain(|waiter| waiter.ticket != self.ticket);
            found |= line.waiting.len() < before;
        }
        if found {
            state.queued -= 1;
            state.lines.retain(|line| !line.waiting.is_empty());
            gauge!("tarn_statements_queued").decrement(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(running: usize, queued: usize, timeout: Option<Duration>) -> Admission {
        Admission::new(AdmissionLimits {
            running,
            queued,
            timeout,
        })
    }

    fn open(admission: &Admission, user: &str) -> Permit {
        match admission.enter(user).unwrap() {
            Entrance::Open(permit) => permit,
            Entrance::Queued(_) => panic!("{user} must wait"),
        }
    }

    fn wait(admission: &Admission, user: &str) -> Place {
        match admission.enter(user).unwrap() {
            Entrance::Open(_) => panic!("{user} need not wait"),
            Entrance::Queued(place) => place,
        }
    }

    fn positions(admission: &Admission, places: &[&Place]) -> Vec<Option<usize>> {
        let tickets = places.iter().map(|place| place.ticket());
        tickets.map(|ticket| admission.position(ticket)).collect()
    }

    #[tokio::test]
    async fn users_take_turns_and_see_their_places() {
        let admission = admission(1, 10, None);
        let first = open(&admission, "ann");
        let ann = [(); 3].map(|()| wait(&admission, "ann"));
        let bob = wait(&admission, "bob");
        let [a, b, c] = &ann;
        assert_eq!(
            positions(&admission, &[a, &bob, b, c]),
            [Some(1), Some(2), Some(3), Some(4)]
        );
        drop(first);
        let [a, b, c] = ann;
        let running = a.turn().await.unwrap();
        assert_eq!(
            positions(&admission, &[&bob, &b, &c]),
            [Some(1), Some(2), Some(3)]
        );
        drop(running);
        let running = bob.turn().await.unwrap();
        drop(running);
        let running = b.turn().await.unwrap();
        assert_eq!(admission.position(c.ticket()), Some(1));
        drop(running);
        drop(c.turn().await.unwrap());
        let state = admission.lock();
        assert_eq!((state.running, state.queued), (0, 0));
    }

    #[tokio::test]
    async fn who_gives_up_holds_nobody_up() {
        let admission = admission(1, 10, None);
        let first = open(&admission, "ann");
        let (gone, called, last) = (
            wait(&admission, "ann"),
            wait(&admission, "ann"),
            wait(&admission, "ann"),
        );
        drop(gone);
        assert_eq!(admission.position(called.ticket()), Some(1));
        drop(first);
        // It has been called and does not answer.
        drop(called);
        drop(last.turn().await.unwrap());
        let state = admission.lock();
        assert_eq!((state.running, state.queued), (0, 0));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_length_and_time() {
        let admission = admission(1, 1, Some(Duration::from_millis(50)));
        let first = open(&admission, "ann");
        let waits = wait(&admission, "bob");
        let error = admission.enter("ann").unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooManyStatements);
        let error = waits.turn().await.unwrap_err();
        assert_eq!(error.kind.sqlstate(), "53300");
        assert!(error.message.contains("0.05 s"), "{error}");
        drop(first);
        drop(open(&admission, "ann"));
    }
}
