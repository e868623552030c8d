//! `CancelRequest`: a second connection ends what a first one runs.
//!
//! The keys are random and known only to the client that got them. Knows query ids, no statements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;

/// The sessions that can be cancelled, by process id. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Cancels {
    keys: Arc<Mutex<HashMap<i32, Arc<Slot>>>>,
}

struct Slot {
    secret: i32,
    query_id: Mutex<Option<String>>,
}

/// A session's key. Dropping it forgets the session.
pub(crate) struct CancelKey {
    cancels: Cancels,
    pub(crate) process: i32,
    slot: Arc<Slot>,
}

impl Cancels {
    /// A new key, for the process id `wanted` if that is free.
    pub(crate) fn register(&self, wanted: i32) -> CancelKey {
        let mut rng = rand::rng();
        let slot = Arc::new(Slot {
            secret: rng.random(),
            query_id: Mutex::default(),
        });
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process = wanted;
        while keys.contains_key(&process) {
            process = rng.random_range(1..=i32::MAX);
        }
        keys.insert(process, Arc::clone(&slot));
        drop(keys);
        CancelKey {
            cancels: self.clone(),
            process,
            slot,
        }
    }

    /// The query that a session runs, if the key is right and it runs one.
    pub(crate) fn query_of(&self, process: i32, secret: i32) -> Option<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(keys.get(&process)?);
        drop(keys);
        if slot.secret != secret {
            return None;
        }
        let query_id = slot.query_id.lock().unwrap_or_else(PoisonError::into_inner);
        query_id.clone()
    }
}

impl CancelKey {
    pub(crate) fn secret(&self) -> i32 {
        self.slot.secret
    }

    /// From now on the key cancels this query; `None` = none.
    pub(crate) fn points_at(&self, query_id: Option<String>) {
        let mut slot = self
            .slot
            .query_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = query_id;
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        let mut keys = self
            .cancels
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_finds_a_query_and_only_while_it_runs() {
        let cancels = Cancels::default();
        let key = cancels.register(7);
        let secret = key.secret();
        assert_eq!(cancels.query_of(key.process, secret), None);
        key.points_at(Some("q".to_owned()));
        assert_eq!(cancels.query_of(key.process, secret).as_deref(), Some("q"));
        assert_eq!(cancels.query_of(key.process, secret.wrapping_add(1)), None);
        let process = key.process;
        drop(key);
        assert_eq!(cancels.query_of(process, secret), None);
        assert!(cancels.keys.lock().unwrap().is_empty());
    }
}
