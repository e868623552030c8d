//! Tickets: what a client may fetch, until when, and who.
//!
//! A ticket is 256 random bits that mean something only in the session that got it, to the user who got it, once,
//! and for a time. It stands for a statement that has not run yet: nothing is held for a
//! client that never comes back except the text.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tarn_engine::{PlanSlot, ScalarValue, Session};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::parallel::Shared;

/// Tickets of one session at most; beyond it the oldest goes that nobody fetches.
const TICKETS_MAX: usize = 1000;
/// Bytes that the tickets of one session may keep at most.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a ticket.
pub(crate) const TICKET_BYTES: usize = 32;

/// The random part of a ticket.
pub(crate) type Handle = [u8; TICKET_BYTES];

/// A new handle that nobody can guess.
pub(crate) fn handle() -> Handle {
    rand::random()
}

/// A statement whose rows may be fetched.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Its id in the registry of statements.
    pub(crate) query_id: String,
    /// Its text.
    pub(crate) sql: String,
    /// Where a prepared statement keeps its plan.
    pub(crate) plan: Option<Arc<PlanSlot>>,
    /// A row of parameters for each run; one without parameters has one empty row.
    pub(crate) rows: Vec<Vec<ScalarValue>>,
    /// Columns of the result, as the engine makes them.
    pub(crate) schema: SchemaRef,
    /// The session as it was when the client asked.
    pub(crate) session: Session,
    /// Cancels it, running or not.
    pub(crate) cancelled: CancellationToken,
    /// The run that several endpoints read from.
    pub(crate) shared: Shared,
}

impl Flight {
    /// Stops it, running or not.
    pub(crate) fn cancel(&self) {
        self.cancelled.cancel();
        self.shared.abandon();
    }

    fn bytes(&self) -> usize {
        let values = self.rows.iter().flatten();
        self.sql.len() + values.map(ScalarValue::size).sum::<usize>()
    }
}

#[derive(Debug)]
struct Entry {
    flight: Arc<Flight>,
    expires: Instant,
    bytes: usize,
    taken: AtomicBool,
    order: u64,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Handle, Entry>,
    bytes: usize,
    issued: u64,
}

impl Inner {
    fn remove(&mut self, handle: &Handle) -> Option<Entry> {
        let entry = self.entries.remove(handle)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    fn make_room(&mut self, bytes: usize) {
        while self.entries.len() >= TICKETS_MAX || self.bytes + bytes > BYTES_MAX {
            let oldest = self
                .entries
                .iter()
                .filter(|(_, entry)| !entry.taken.load(Ordering::Relaxed))
                .min_by_key(|(_, entry)| entry.order)
                .map(|(handle, _)| *handle);
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }
}

/// The tickets of one session.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Inner>);

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `count` tickets for `flight`, good for `life`.
    pub(crate) fn issue(&self, flight: &Arc<Flight>, count: usize, life: Duration) -> Vec<Handle> {
        let mut inner = self.lock();
        let expires = Instant::now() + life;
        (0..count)
            .map(|n| {
                let handle = handle();
                let bytes = if n == 0 { flight.bytes() } else { 0 };
                inner.make_room(bytes);
                inner.bytes += bytes;
                inner.issued += 1;
                let order = inner.issued;
                let entry = Entry {
                    flight: Arc::clone(flight),
                    expires,
                    bytes,
                    taken: AtomicBool::new(false),
                    order,
                };
                inner.entries.insert(handle, entry);
                handle
            })
            .collect()
    }

    /// The flight of a ticket, which can be taken once.
    pub(crate) fn take(&self, handle: &Handle) -> Option<Arc<Flight>> {
        let mut inner = self.lock();
        let entry = inner.entries.get(handle)?;
        if entry.expires <= Instant::now() {
            inner.remove(handle);
            return None;
        }
        let first = !entry.taken.swap(true, Ordering::Relaxed);
        first.then(|| Arc::clone(&entry.flight))
    }

    /// The flight of a ticket that is running or may still be taken.
    pub(crate) fn find(&self, handle: &Handle) -> Option<Arc<Flight>> {
        let inner = self.lock();
        let entry = inner.entries.get(handle)?;
        (entry.expires > Instant::now() || entry.taken.load(Ordering::Relaxed))
            .then(|| Arc::clone(&entry.flight))
    }

    /// Makes a ticket good for `life` from now; `false` if it is not good any more.
    pub(crate) fn renew(&self, handle: &Handle, life: Duration) -> bool {
        let mut inner = self.lock();
        let now = Instant::now();
        match inner.entries.get_mut(handle) {
            Some(entry) if entry.expires > now && !entry.taken.load(Ordering::Relaxed) => {
                entry.expires = now + life;
                true
            }
            _ => false,
        }
    }

    /// Forgets a ticket.
    pub(crate) fn forget(&self, handle: &Handle) {
        self.lock().remove(handle);
    }

    /// Forgets the tickets that expired before they were taken.
    pub(crate) fn forget_expired(&self) {
        let mut inner = self.lock();
        let now = Instant::now();
        let expired: Vec<_> = inner
            .entries
            .iter()
            .filter(|(_, e)| e.expires <= now && !e.taken.load(Ordering::Relaxed))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in expired {
            inner.remove(&handle);
        }
    }

    /// Forgets all, and cancels what runs.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        for entry in inner.entries.values() {
            entry.flight.cancel();
        }
        *inner = Inner::default();
    }

    /// Whether rows are being fetched.
    pub(crate) fn in_use(&self) -> bool {
        let inner = self.lock();
        inner
            .entries
            .values()
            .any(|entry| entry.taken.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Schema;

    const LIFE: Duration = Duration::from_mins(10);

    fn flight(sql: &str) -> Arc<Flight> {
        Arc::new(Flight {
            query_id: "q".to_owned(),
            plan: None,
            sql: sql.to_owned(),
            rows: vec![vec![]],
            schema: Arc::new(Schema::empty()),
            session: Session::new("ann", "lake", "main"),
            cancelled: CancellationToken::new(),
            shared: Shared::default(),
        })
    }

    fn issue(tickets: &Tickets, sql: &str) -> Handle {
        tickets.issue(&flight(sql), 1, LIFE)[0]
    }

    fn issue_for(tickets: &Tickets, life: Duration) -> Handle {
        tickets.issue(&flight("SELECT 2"), 1, life)[0]
    }

    #[tokio::test]
    async fn a_ticket_is_good_once_and_for_a_time() {
        let tickets = Tickets::default();
        let first = issue(&tickets, "SELECT 1");
        assert!(tickets.take(&first).is_some());
        assert!(tickets.take(&first).is_none(), "it was taken");
        assert!(tickets.find(&first).is_some(), "but it can be cancelled");
        let life = Duration::from_millis(5);
        let second = issue_for(&tickets, life);
        tokio::time::sleep(life).await;
        assert!(tickets.take(&second).is_none(), "it expired");
        tickets.forget(&first);
        assert_eq!(tickets.count(), 0);
    }

    #[tokio::test]
    async fn a_ticket_is_renewed_while_it_is_good() {
        let tickets = Tickets::default();
        let life = Duration::from_millis(50);
        let ticket = issue_for(&tickets, life);
        assert!(tickets.renew(&ticket, LIFE));
        tokio::time::sleep(life * 2).await;
        tickets.forget_expired();
        assert!(tickets.take(&ticket).is_some());
        assert!(!tickets.renew(&ticket, LIFE), "it was taken");
        assert!(!tickets.renew(&handle(), LIFE));
    }

    #[test]
    fn tickets_are_bounded_in_number_and_bytes_and_the_oldest_goes() {
        let tickets = Tickets::default();
        let first = issue(&tickets, "SELECT 1");
        for _ in 0..TICKETS_MAX {
            issue(&tickets, "SELECT 1");
        }
        assert_eq!(tickets.count(), TICKETS_MAX);
        assert!(tickets.take(&first).is_none());
        let large = "x".repeat(BYTES_MAX / 2);
        for _ in 0..3 {
            issue(&tickets, &large);
        }
        assert!(tickets.lock().bytes <= BYTES_MAX);
    }

    #[test]
    fn clearing_cancels_what_was_taken() {
        let tickets = Tickets::default();
        let flight = flight("SELECT 1");
        let handle = tickets.issue(&flight, 2, LIFE)[1];
        tickets.take(&handle);
        assert!(tickets.in_use());
        tickets.clear();
        assert!(flight.cancelled.is_cancelled());
        assert!(!tickets.in_use());
    }
}
