//! Rate limits of failed logins: by address, by account, and by both together.
//!
//! Only failures count. Three counts with different reach, so that nobody is locked out by others:
//!
//! - an account **from one address**: stops one guesser. Holds for every caller there;
//! - an **address** with any account: stops one that tries many names;
//! - an **account** from any address: stops many addresses that guess one account together.
//!
//! The two wide counts do not hold for an account at an address where it has logged in lately: neither
//! a stranger elsewhere nor a broken client behind the same gateway locks out who is known. And one
//! address alone cannot fill the account's count, because its own fills first and refills slower.
//! Knows neither passwords nor whether an account exists.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::error::AuthError;

/// Accounts, addresses and pairs that are counted by themselves; 16 bytes of key and count each.
const KEYS_MAX: usize = 50_000;

/// What is beyond [`KEYS_MAX`] shares this many counts.
const SHARED_KEYS: u64 = 1024;

/// How long an account is known at an address after it has logged in there.
const KNOWN_FOR: Duration = Duration::from_hours(24);

/// Pairs of account and address that are known at once.
const KNOWN_MAX: usize = 50_000;

/// How many logins may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// This many at once.
    pub burst: NonZeroU32,
    /// Then one in each such time.
    pub one_per: Duration,
}

/// How many logins may fail before whoever fails must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// Failures of one account from one address.
    pub pair: Allowance,
    /// Failures from one address, whatever the account.
    pub address: Allowance,
    /// Failures of one account, whatever the address.
    pub account: Allowance,
}

impl Default for LoginLimits {
    /// An account refills three times as fast as one address may fail.
    fn default() -> Self {
        Self {
            pair: Allowance::new(10, Duration::from_secs(30)),
            address: Allowance::new(50, Duration::from_secs(6)),
            account: Allowance::new(100, Duration::from_secs(10)),
        }
    }
}

impl LoginLimits {
    /// Whether one address alone could lock an account for all the others.
    pub fn locks_others_out(&self) -> bool {
        self.pair.burst >= self.account.burst || self.pair.one_per < self.account.one_per
    }
}

impl Allowance {
    /// `burst` failures at once (1 at least), then one in each `one_per`.
    pub const fn new(burst: u32, one_per: Duration) -> Self {
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Self { burst, one_per }
    }

    fn quota(self) -> Quota {
        Quota::with_period(self.one_per)
            .unwrap_or_else(|| Quota::per_second(self.burst))
            .allow_burst(self.burst)
    }
}

/// Who tries to log in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The account's name as the client wrote it; `None` if the client names none.
    pub(crate) account: Option<&'a str>,
    pub(crate) address: IpAddr,
}

/// Counts the failures of this process.
pub(crate) struct Limits<C: Clock = DefaultClock> {
    pairs: Failures<C>,
    addresses: Failures<C>,
    accounts: Failures<C>,
    known: Mutex<HashMap<u64, C::Instant>>,
    hasher: RandomState,
    clock: C,
}

impl<C: Clock> fmt::Debug for Limits<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl<C: Clock + Clone> Limits<C> {
    pub(crate) fn new(limits: &LoginLimits, clock: C) -> Self {
        Self {
            pairs: Failures::new(limits.pair, clock.clone()),
            addresses: Failures::new(limits.address, clock.clone()),
            accounts: Failures::new(limits.account, clock.clone()),
            known: Mutex::new(HashMap::new()),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// Whether the attempt may go on.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] with the time to wait. That counts as nothing.
    pub(crate) fn check(&self, attempt: Attempt<'_>) -> Result<(), AuthError> {
        let keys = self.keys(attempt);
        let mut wait = keys.pair.map_or(Duration::ZERO, |key| self.pairs.wait(key));
        if !self.is_known(keys.pair) {
            wait = wait.max(self.addresses.wait(keys.address));
            if let Some(key) = keys.account {
                wait = wait.max(self.accounts.wait(key));
            }
        }
        if wait.is_zero() {
            return Ok(());
        }
        Err(AuthError::TooMany { retry_after: wait })
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, attempt: Attempt<'_>) {
        let keys = self.keys(attempt);
        self.addresses.count(keys.address);
        if let Some(key) = keys.pair {
            self.pairs.count(key);
        }
        if let Some(key) = keys.account {
            self.accounts.count(key);
        }
    }

    /// Remembers that the account is at home at the address.
    pub(crate) fn succeeded(&self, attempt: Attempt<'_>) {
        let Some(key) = self.keys(attempt).pair else {
            return;
        };
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX && !known.contains_key(&key) {
            known.retain(|_, since| age(now, *since) < KNOWN_FOR);
            if known.len() >= KNOWN_MAX {
                return;
            }
        }
        known.insert(key, now);
    }

    fn is_known(&self, pair: Option<u64>) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        pair.and_then(|key| known.get(&key).copied())
            .is_some_and(|since| age(self.clock.now(), since) < KNOWN_FOR)
    }

    fn keys(&self, attempt: Attempt<'_>) -> Keys {
        let network = network(attempt.address);
        Keys {
            address: self.hasher.hash_one(network),
            account: attempt.account.map(|name| self.hasher.hash_one(name)),
            pair: attempt
                .account
                .map(|name| self.hasher.hash_one((name, network))),
        }
    }
}

/// Keyed hashes: of bounded size whatever a client sends, and equal by chance only.
struct Keys {
    address: u64,
    account: Option<u64>,
    pair: Option<u64>,
}

/// What counts as one address: whoever has one IPv6 address has the 2^64 of its network.
fn network(address: IpAddr) -> impl Hash + Copy {
    match address.to_canonical() {
        IpAddr::V4(address) => (4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6, address.to_bits() >> 64),
    }
}

fn age<I: governor::clock::Reference>(now: I, since: I) -> Duration {
    now.duration_since(since).into()
}

/// Failures by key, within one allowance.
struct Failures<C: Clock> {
    limiter: RateLimiter<u64, HashMapStateStore<u64>, C, StateInformationMiddleware>,
    /// Since when a key has used up its allowance.
    exhausted: Mutex<HashMap<u64, C::Instant>>,
    one_per: Duration,
    clock: C,
}

impl<C: Clock + Clone> Failures<C> {
    fn new(allowance: Allowance, clock: C) -> Self {
        let store = HashMapStateStore::default();
        Self {
            limiter: RateLimiter::new(allowance.quota(), store, clock.clone()),
            exhausted: Mutex::new(HashMap::new()),
            one_per: allowance.one_per,
            clock,
        }
    }

    /// How long the key must wait; zero if not at all.
    fn wait(&self, key: u64) -> Duration {
        let now = self.clock.now();
        let exhausted = self
            .exhausted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wait = |key: u64| {
            let since = exhausted.get(&key)?;
            Some(self.one_per.saturating_sub(age(now, *since)))
        };
        wait(key)
            .or_else(|| wait(key % SHARED_KEYS))
            .unwrap_or_default()
    }

    fn count(&self, key: u64) {
        let now = self.clock.now();
        let mut exhausted = self
            .exhausted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.limiter.len() >= KEYS_MAX {
            self.limiter.retain_recent();
            exhausted.retain(|_, since| age(now, *since) < self.one_per);
        }
        let key = if self.limiter.len() >= KEYS_MAX {
            key % SHARED_KEYS
        } else {
            key
        };
        let left = self
            .limiter
            .check_key(&key)
            .map_or(0, |state| state.remaining_burst_capacity());
        if left == 0 {
            exhausted.insert(key, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits() -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limits = Limits::new(&LoginLimits::default(), clock.clone());
        (limits, clock)
    }

    fn from<'a>(account: &'a str, address: &str) -> Attempt<'a> {
        Attempt {
            account: Some(account),
            address: address.parse().unwrap(),
        }
    }

    fn wait(limits: &Limits<FakeRelativeClock>, attempt: Attempt<'_>) -> Option<Duration> {
        match limits.check(attempt) {
            Ok(()) => None,
            Err(AuthError::TooMany { retry_after }) => Some(retry_after),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Tries until refused, and says how many failures that took.
    fn guess(limits: &Limits<FakeRelativeClock>, attempt: Attempt<'_>, most: u32) -> u32 {
        (0..most)
            .find(|_| {
                let refused = limits.check(attempt).is_err();
                if !refused {
                    limits.failed(attempt);
                }
                refused
            })
            .unwrap_or(most)
    }

    #[test]
    fn a_guesser_waits_after_ten_failures_and_then_gets_one_each_half_minute() {
        let (limits, clock) = limits();
        let guesser = from("ann", "192.0.2.1");
        assert_eq!(guess(&limits, guesser, 1000), 10);
        assert_eq!(wait(&limits, guesser), Some(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(20));
        assert_eq!(wait(&limits, guesser), Some(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(10));
        assert_eq!(guess(&limits, guesser, 1000), 1);
        clock.advance(Duration::from_mins(6));
        assert_eq!(guess(&limits, guesser, 1000), 10, "the allowance refills");
    }

    #[test]
    fn the_allowances_are_those_that_are_given() {
        let clock = FakeRelativeClock::default();
        let given = LoginLimits {
            pair: Allowance::new(2, Duration::from_secs(5)),
            address: Allowance::new(3, Duration::from_secs(4)),
            account: Allowance::new(4, Duration::from_secs(1)),
        };
        let limits = Limits::new(&given, clock.clone());
        assert_eq!(guess(&limits, from("ann", "192.0.2.1"), 1000), 2);
        assert_eq!(
            wait(&limits, from("ann", "192.0.2.1")),
            Some(Duration::from_secs(5))
        );
        assert_eq!(guess(&limits, from("bob", "192.0.2.1"), 1000), 1);
        assert_eq!(guess(&limits, from("ann", "192.0.2.2"), 1000), 2);
        assert!(wait(&limits, from("ann", "192.0.2.3")).is_some());
        clock.advance(Duration::from_secs(1));
        assert_eq!(wait(&limits, from("ann", "192.0.2.3")), None);
        assert!(!given.locks_others_out() && !LoginLimits::default().locks_others_out());
        let pair = Allowance::new(4, Duration::from_secs(5));
        assert!(LoginLimits { pair, ..given }.locks_others_out());
    }

    #[test]
    fn successes_are_not_counted() {
        let (limits, _) = limits();
        let ann = from("ann", "192.0.2.1");
        for _ in 0..10_000 {
            assert_eq!(wait(&limits, ann), None);
            limits.succeeded(ann);
        }
    }

    #[test]
    fn one_address_cannot_lock_an_account_for_the_others() {
        let (limits, clock) = limits();
        for _ in 0..10_000 {
            guess(&limits, from("ann", "192.0.2.1"), 1000);
            clock.advance(Duration::from_secs(1));
            assert_eq!(wait(&limits, from("ann", "192.0.2.2")), None);
        }
    }

    #[test]
    fn one_address_that_tries_many_names_waits() {
        let (limits, _) = limits();
        let names: Vec<String> = (0..1000).map(|n| format!("user{n}")).collect();
        let tried = names
            .iter()
            .take_while(|name| guess(&limits, from(name, "192.0.2.1"), 1) == 1)
            .count();
        assert_eq!(tried, 50);
        assert!(wait(&limits, from("ann", "192.0.2.1")).is_some());
        assert_eq!(wait(&limits, from("ann", "192.0.2.2")), None);
    }

    #[test]
    fn many_addresses_lock_an_account_but_not_where_it_is_known() {
        let (limits, clock) = limits();
        let home = from("ann", "198.51.100.7");
        limits.succeeded(home);
        for n in 0..200 {
            guess(&limits, from("ann", &format!("192.0.2.{n}")), 10);
        }
        assert!(wait(&limits, from("ann", "203.0.113.1")).is_some());
        assert_eq!(wait(&limits, from("bob", "203.0.113.1")), None);
        assert_eq!(wait(&limits, home), None);
        clock.advance(KNOWN_FOR);
        for n in 0..200 {
            guess(&limits, from("ann", &format!("192.0.2.{n}")), 10);
        }
        assert!(wait(&limits, home).is_some(), "no longer known");
    }

    #[test]
    fn a_broken_client_behind_a_gateway_does_not_lock_out_the_known_ones() {
        let (limits, _) = limits();
        let gateway = "198.51.100.7";
        limits.succeeded(from("ann", gateway));
        for n in 0..100 {
            guess(&limits, from(&format!("job{n}"), gateway), 10);
        }
        assert!(wait(&limits, from("new", gateway)).is_some());
        assert_eq!(wait(&limits, from("ann", gateway)), None);
        assert_eq!(
            guess(&limits, from("ann", gateway), 1000),
            10,
            "known is not trusted"
        );
    }

    #[test]
    fn a_token_without_an_account_is_counted_by_address() {
        let (limits, _) = limits();
        let nobody = Attempt {
            account: None,
            address: "192.0.2.1".parse().unwrap(),
        };
        assert_eq!(guess(&limits, nobody, 1000), 50);
        limits.succeeded(nobody);
        assert!(wait(&limits, nobody).is_some());
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        let (limits, _) = limits();
        assert_eq!(guess(&limits, from("ann", "2001:db8::1"), 1000), 10);
        assert!(wait(&limits, from("ann", "2001:db8::ffff:1")).is_some());
        assert_eq!(wait(&limits, from("ann", "2001:db8:0:1::1")), None);
        assert_eq!(guess(&limits, from("ann", "192.0.2.1"), 1000), 10);
        assert!(wait(&limits, from("ann", "::ffff:192.0.2.1")).is_some());
    }

    #[test]
    fn what_is_counted_is_bounded_whatever_names_are_tried() {
        let (limits, clock) = limits();
        for n in 0..KEYS_MAX + 5000 {
            let network = u128::try_from(n).unwrap() << 64;
            limits.failed(Attempt {
                account: Some(&n.to_string()),
                address: IpAddr::V6(network.into()),
            });
        }
        let most = KEYS_MAX + usize::try_from(SHARED_KEYS).unwrap();
        for failures in [&limits.pairs, &limits.addresses, &limits.accounts] {
            assert!(failures.limiter.len() <= most, "{}", failures.limiter.len());
            assert!(failures.exhausted.lock().unwrap().len() <= most);
        }
        // Beyond the bound there are still limits.
        assert!(guess(&limits, from("late", "192.0.2.1"), 1000) <= 10);
        clock.advance(Duration::from_hours(1));
        limits.failed(from("ann", "192.0.2.1"));
        assert_eq!(limits.pairs.limiter.len(), 1);
    }
}
