//! When a commit that lost is tried again, and whose turn it is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rand::Rng;
use uuid::Uuid;

use crate::properties::{self, RETRIES, RETRY_TOTAL, RETRY_WAIT_MAX, RETRY_WAIT_MIN};

/// Tries after the first. Java's default is 4, which ten busy writers exhaust.
const RETRIES_DEFAULT: u32 = 20;
/// No property may ask for more.
const RETRIES_MAX: u32 = 1000;
const WAIT_MIN_DEFAULT: Duration = Duration::from_millis(50);
const WAIT_MAX_DEFAULT: Duration = Duration::from_secs(5);
/// Java's default: half an hour.
const TOTAL_DEFAULT: Duration = Duration::from_mins(30);
/// Pause before the first look for a commit of unknown outcome; doubles.
const LOOKUP_PAUSE: Duration = Duration::from_millis(200);

/// The `commit.retry.*` properties of a table, and what is left of them.
#[derive(Debug)]
pub(crate) struct RetryPolicy {
    retries_left: u32,
    wait: Duration,
    wait_max: Duration,
    deadline: Instant,
}

impl RetryPolicy {
    pub(crate) fn of(properties: &HashMap<String, String>) -> Self {
        let number = |key: &str| properties::number(properties, key);
        let millis = |key: &str, default| number(key).map_or(default, Duration::from_millis);
        let retries =
            number(RETRIES).map_or(RETRIES_DEFAULT, |n| u32::try_from(n).unwrap_or(RETRIES_MAX));
        let total = millis(RETRY_TOTAL, TOTAL_DEFAULT);
        Self {
            retries_left: retries.min(RETRIES_MAX),
            wait: millis(RETRY_WAIT_MIN, WAIT_MIN_DEFAULT),
            wait_max: millis(RETRY_WAIT_MAX, WAIT_MAX_DEFAULT),
            deadline: Instant::now() + total.min(TOTAL_DEFAULT),
        }
    }

    /// Waits before the next try; `false` if there is none. Waits double, each with full jitter.
    pub(crate) async fn wait(&mut self) -> bool {
        if self.retries_left == 0 || Instant::now() >= self.deadline {
            return false;
        }
        self.retries_left -= 1;
        let wait = self.wait.min(self.wait_max);
        self.wait = wait * 2;
        let jitter = rand::rng().random_range(0.1..=1.0);
        tokio::time::sleep(wait.mul_f64(jitter)).await;
        true
    }
}

pub(crate) fn lookup_pause(lookup: u32) -> Duration {
    LOOKUP_PAUSE * 2_u32.pow(lookup.min(4))
}

type Turn = tokio::sync::Mutex<()>;

/// The lock of one table in this process. Tables that nobody commits to take no memory.
pub(crate) fn turn(table: Uuid) -> Arc<Turn> {
    static TURNS: LazyLock<Mutex<HashMap<Uuid, Weak<Turn>>>> = LazyLock::new(Mutex::default);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(turn) = turns.get(&table).and_then(Weak::upgrade) {
        return turn;
    }
    turns.retain(|_, turn| turn.strong_count() > 0);
    let turn = Arc::new(Turn::default());
    turns.insert(table, Arc::downgrade(&turn));
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_number_of_retries_is_a_table_property() {
        let properties = [
            ("commit.retry.num-retries", "2"),
            ("commit.retry.min-wait-ms", "1"),
        ];
        let properties = properties.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut policy = RetryPolicy::of(&HashMap::from(properties));
        assert!(policy.wait().await);
        assert!(policy.wait().await);
        assert!(!policy.wait().await);
    }

    #[test]
    fn writers_of_one_table_share_a_turn_and_others_do_not() {
        let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
        let first = turn(a);
        assert!(Arc::ptr_eq(&first, &turn(a)));
        assert!(!Arc::ptr_eq(&first, &turn(b)));
    }
}
