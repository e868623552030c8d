//! The sessions of clients that come back: what `USE` and `SET` changed, until they are idle too long.
//!
//! A client names its session by a random id of its own; the id counts only together with the user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tarn_engine::Session;
use uuid::Uuid;

/// A session unused for longer is forgotten.
const IDLE_MAX: Duration = Duration::from_hours(1);
/// Sessions kept; beyond it the one idle longest goes.
const SESSIONS_MAX: usize = 10_000;

#[derive(Debug)]
struct Kept {
    session: Session,
    used: Instant,
}

/// The sessions kept. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    kept: Arc<Mutex<HashMap<(String, Uuid), Kept>>>,
}

impl Sessions {
    /// The session `id` of `user`, if it is still known.
    pub fn get(&self, user: &str, id: Uuid) -> Option<Session> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get_mut(&(user.to_owned(), id))?;
        found.used = Instant::now();
        Some(found.session.clone())
    }

    /// Keeps what the session has become.
    pub fn put(&self, id: Uuid, session: Session) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SESSIONS_MAX {
            kept.retain(|_, k| k.used.elapsed() < IDLE_MAX);
        }
        if kept.len() >= SESSIONS_MAX
            && let Some(oldest) = kept
                .iter()
                .min_by_key(|(_, k)| k.used)
                .map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        let key = (session.user.clone(), id);
        kept.insert(
            key,
            Kept {
                session,
                used: Instant::now(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_belongs_to_its_user() {
        let sessions = Sessions::default();
        let id = Uuid::from_u128(7);
        sessions.put(id, Session::new("ann", "lake", "sales"));
        assert_eq!(sessions.get("ann", id).unwrap().schema, "sales");
        assert!(sessions.get("bob", id).is_none());
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        for n in 0..SESSIONS_MAX + 5 {
            sessions.put(
                Uuid::from_u128(n as u128),
                Session::new("ann", "lake", "main"),
            );
        }
        assert!(sessions.kept.lock().unwrap().len() <= SESSIONS_MAX);
    }
}
