//! Memory of one process: a budget for all statements, and a pool for each statement inside of it.
//!
//! Counts what operators say that they hold, and says no before it is too much; allocates nothing. What all
//! statements hold together never exceeds the budget, but for what operators take without asking.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::distribute::human_bytes;

/// Statements that have a part of the budget to themselves, however much others want.
const GUARANTEED_MAX: usize = 32;
/// The part of the budget that these share, as a divisor.
const GUARANTEED_PART: usize = 4;
/// Operators that can spill leave this part of what their statement may hold, as a divisor, to those that cannot.
const UNSPILLABLE_PART: usize = 4;
/// Queues between operators, which spill what does not fit, take this part of what their statement may hold at most, as
/// a divisor: what waits in them must not keep those from working that wait for it.
const QUEUES_PART: usize = 8;
/// Begins the names of the queues.
const QUEUE: &str = "RepartitionExec";
/// Memory is scarce when less than this part is left of what is not guaranteed, as a divisor.
const SCARCE_PART: usize = 8;
/// Operators named in a "resources exhausted" error.
const CONSUMERS_NAMED: usize = 3;

/// Bounds of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// What the operators of all statements may hold together, in bytes.
    pub process_bytes: usize,
    /// What the operators of one statement may hold, in bytes.
    pub query_bytes: usize,
}

/// What one statement holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMemory {
    /// Its id.
    pub query_id: String,
    /// Bytes that it holds.
    pub reserved_bytes: usize,
}

/// The budget of a process. Cheap to clone.
#[derive(Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

struct Shared {
    limits: MemoryLimits,
    books: Mutex<Books>,
}

/// Who holds what.
#[derive(Default)]
struct Books {
    accounts: HashMap<u64, Account>,
    pools: HashMap<String, Weak<QueryPool>>,
    next: u64,
    guaranteed: usize,
    /// Bytes that all hold.
    used: usize,
    /// Bytes that all hold beyond their guarantees.
    drawn: usize,
}

/// What one statement holds.
struct Account {
    guarantee: usize,
    spillable: usize,
    unspillable: usize,
    spillers: usize,
    /// Part of `spillable` that waits in queues.
    queued: usize,
    consumers: HashMap<usize, Consumer>,
}

struct Consumer {
    name: String,
    bytes: usize,
    /// Its last request was refused, and it has spilled since if it could.
    refused: bool,
}

/// Whether a consumer is a queue that can spill.
fn is_queue(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && consumer.name().starts_with(QUEUE)
}

impl Account {
    fn used(&self) -> usize {
        self.spillable + self.unspillable
    }

    fn drawn(&self, used: usize) -> usize {
        used.saturating_sub(self.guarantee)
    }

    /// The largest holders, by name.
    fn holders(&self) -> String {
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for consumer in self.consumers.values() {
            let name = consumer.name.split('[').next().unwrap_or_default();
            *by_name.entry(name).or_default() += consumer.bytes;
        }
        let mut all: Vec<_> = by_name
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        all.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
        let named = all.iter().take(CONSUMERS_NAMED);
        named
            .map(|(name, bytes)| format!("{name} {}", human_bytes(*bytes as u64)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl MemoryBudget {
    /// A budget of which nothing is taken.
    pub fn new(limits: MemoryLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                books: Mutex::default(),
            }),
        }
    }

    /// Its bounds.
    pub fn limits(&self) -> MemoryLimits {
        self.shared.limits
    }

    /// Bytes that all statements hold.
    pub fn reserved(&self) -> usize {
        self.shared.books().used
    }

    /// What each statement holds that has a pool, largest first.
    pub fn queries(&self) -> Vec<QueryMemory> {
        let pools: Vec<_> = {
            let books = self.shared.books();
            books.pools.values().filter_map(Weak::upgrade).collect()
        };
        let mut all: Vec<QueryMemory> = pools
            .iter()
            .map(|pool| QueryMemory {
                query_id: pool.query_id.clone(),
                reserved_bytes: pool.reserved(),
            })
            .collect();
        all.sort_by_key(|query| std::cmp::Reverse(query.reserved_bytes));
        all
    }

    /// The pool of the statement `query_id`: the same one for as long as somebody holds it.
    pub(crate) fn pool_of(&self, query_id: &str) -> Arc<dyn MemoryPool> {
        let mut books = self.shared.books();
        if let Some(pool) = books.pools.get(query_id).and_then(Weak::upgrade) {
            return pool;
        }
        let guarantee = if books.guaranteed < GUARANTEED_MAX {
            books.guaranteed += 1;
            self.shared.guarantee()
        } else {
            0
        };
        let account = books.next;
        books.next += 1;
        books.accounts.insert(
            account,
            Account {
                guarantee,
                spillable: 0,
                unspillable: 0,
                spillers: 0,
                queued: 0,
                consumers: HashMap::new(),
            },
        );
        let pool = Arc::new(QueryPool {
            query_id: query_id.to_owned(),
            account,
            shared: Arc::clone(&self.shared),
        });
        books
            .pools
            .insert(query_id.to_owned(), Arc::downgrade(&pool));
        pool
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each of the first statements has to itself.
    fn guarantee(&self) -> usize {
        self.limits.process_bytes / GUARANTEED_PART / GUARANTEED_MAX
    }

    /// What all share beyond the guarantees.
    fn common(&self) -> usize {
        self.limits.process_bytes - self.guarantee() * GUARANTEED_MAX
    }
}

/// The memory of one statement. Goes with the last of its operators.
struct QueryPool {
    query_id: String,
    account: u64,
    shared: Arc<Shared>,
}

impl fmt::Debug for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryPool")
            .field("query_id", &self.query_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of query {}", self.name(), self.query_id)
    }
}

/// Which bound stands in the way.
enum Bound {
    Query(usize),
    Process,
}

impl QueryPool {
    /// Changes what the statement and one of its operators hold.
    fn change(
        &self,
        books: &mut Books,
        consumer: &MemoryConsumer,
        change: impl Fn(usize) -> usize,
    ) {
        let Some(account) = books.accounts.get_mut(&self.account) else {
            return;
        };
        let before = account.used();
        if consumer.can_spill() {
            account.spillable = change(account.spillable);
            if is_queue(consumer) {
                account.queued = change(account.queued);
            }
        } else {
            account.unspillable = change(account.unspillable);
        }
        if let Some(holder) = account.consumers.get_mut(&consumer.id()) {
            holder.bytes = change(holder.bytes);
        }
        let (drawn_before, used) = (account.drawn(before), account.used());
        let drawn = account.drawn(used);
        books.used = books.used + used - before;
        books.drawn = books.drawn + drawn - drawn_before;
    }

    /// Whether an operator that holds `size` may hold `additional` more.
    fn check(
        &self,
        books: &Books,
        consumer: &MemoryConsumer,
        size: usize,
        additional: usize,
    ) -> Result<(), Bound> {
        let Some(account) = books.accounts.get(&self.account) else {
            return Ok(());
        };
        let used = account.used().saturating_add(additional);
        if used <= account.guarantee {
            return Ok(());
        }
        let common = self.shared.common();
        let hard = self
            .shared
            .limits
            .query_bytes
            .min(common.saturating_add(account.guarantee));
        if used > hard {
            return Err(Bound::Query(hard));
        }
        let own = account.drawn(account.used());
        let all = books.drawn.saturating_sub(own) + account.drawn(used);
        if all > common {
            return Err(Bound::Process);
        }
        if !consumer.can_spill() {
            return Ok(());
        }
        // Who has nothing to spill, or has just spilled, would fail.
        let refused = account.consumers.get(&consumer.id());
        let refused = refused.is_some_and(|consumer| consumer.refused);
        if (size == 0 || refused) && !is_queue(consumer) {
            return Ok(());
        }
        // Who can spill shares with the others when little is left, and leaves room to operators that cannot.
        let share = if all > common - common / SCARCE_PART {
            let others = books
                .accounts
                .iter()
                .filter(|(id, account)| **id != self.account && account.drawn(account.used()) > 0);
            account.guarantee + common / (others.count() + 1)
        } else {
            usize::MAX
        };
        let limit = hard.min(share);
        if is_queue(consumer) && account.queued.saturating_add(additional) > limit / QUEUES_PART {
            return Err(Bound::Query(limit / QUEUES_PART));
        }
        let room = limit / UNSPILLABLE_PART;
        let left = limit.saturating_sub(account.unspillable);
        let fair = left.min(room) / account.spillers.max(1);
        if used <= limit - room || (used <= limit && size.saturating_add(additional) <= fair) {
            return Ok(());
        }
        Err(if share < hard {
            Bound::Process
        } else {
            Bound::Query(hard)
        })
    }

    fn exhausted(
        &self,
        books: &Books,
        consumer: &MemoryConsumer,
        additional: usize,
        bound: &Bound,
    ) -> DataFusionError {
        let (used, holders) = books
            .accounts
            .get(&self.account)
            .map(|account| (account.used(), account.holders()))
            .unwrap_or_default();
        let bytes = |n: usize| human_bytes(n as u64);
        let most = if holders.is_empty() {
            String::new()
        } else {
            format!(" (most of it: {holders})")
        };
        let mine = format!("query {} holds {}{most}", self.query_id, bytes(used));
        let why = match bound {
            Bound::Query(limit) => format!("{mine} of {} that one query may", bytes(*limit)),
            Bound::Process => format!(
                "{mine}, and all queries of this process hold {} of {}",
                bytes(books.used),
                bytes(self.shared.limits.process_bytes)
            ),
        };
        DataFusionError::ResourcesExhausted(format!(
            "{} needs {} more memory, but {why}",
            consumer.name(),
            bytes(additional)
        ))
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let mut books = self.shared.books();
        if let Some(account) = books.accounts.get_mut(&self.account) {
            account.spillers += usize::from(consumer.can_spill());
            account.consumers.insert(
                consumer.id(),
                Consumer {
                    name: consumer.name().to_owned(),
                    bytes: 0,
                    refused: false,
                },
            );
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut books = self.shared.books();
        if let Some(account) = books.accounts.get_mut(&self.account) {
            account.spillers = account
                .spillers
                .saturating_sub(usize::from(consumer.can_spill()));
            account.consumers.remove(&consumer.id());
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut books = self.shared.books();
        self.change(&mut books, reservation.consumer(), |bytes| {
            bytes.saturating_add(additional)
        });
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut books = self.shared.books();
        self.change(&mut books, reservation.consumer(), |bytes| {
            bytes.saturating_sub(shrink)
        });
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let mut books = self.shared.books();
        let checked = self.check(&books, consumer, reservation.size(), additional);
        let account = books.accounts.get_mut(&self.account);
        if let Some(holder) = account.and_then(|a| a.consumers.get_mut(&consumer.id())) {
            holder.refused = checked.is_err();
        }
        match checked {
            Ok(()) => {
                self.change(&mut books, consumer, |bytes| {
                    bytes.saturating_add(additional)
                });
                Ok(())
            }
            Err(bound) => Err(self.exhausted(&books, consumer, additional, &bound)),
        }
    }

    fn reserved(&self) -> usize {
        let books = self.shared.books();
        books.accounts.get(&self.account).map_or(0, Account::used)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.shared.limits.query_bytes)
    }
}

impl Drop for QueryPool {
    fn drop(&mut self) {
        let mut books = self.shared.books();
        if let Some(account) = books.accounts.remove(&self.account) {
            let used = account.used();
            books.used = books.used.saturating_sub(used);
            books.drawn = books.drawn.saturating_sub(account.drawn(used));
            books.guaranteed = books
                .guaranteed
                .saturating_sub(usize::from(account.guarantee > 0));
        }
        // Another pool of the same statement may have been made since.
        if books
            .pools
            .get(&self.query_id)
            .is_some_and(|pool| pool.strong_count() == 0)
        {
            books.pools.remove(&self.query_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(MemoryLimits {
            process_bytes: 128 * MIB,
            query_bytes: 64 * MIB,
        })
    }

    fn operator(pool: &Arc<dyn MemoryPool>, name: &str, spills: bool) -> MemoryReservation {
        MemoryConsumer::new(name)
            .with_can_spill(spills)
            .register(pool)
    }

    #[test]
    fn one_query_gets_its_share_and_no_more() {
        let budget = budget();
        let pool = budget.pool_of("big");
        let build = operator(&pool, "HashJoinInput[0]", false);
        build.try_grow(60 * MIB).unwrap();
        let error = build.try_grow(5 * MIB).unwrap_err().to_string();
        for part in [
            "HashJoinInput[0]",
            "query big",
            "60.0 MiB",
            "64.0 MiB",
            "5.0 MiB",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        drop(build);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn all_together_never_exceed_the_budget_and_each_has_its_guarantee() {
        let budget = budget();
        let big: Vec<_> = ["a", "b", "c"]
            .map(|id| {
                let build = operator(&budget.pool_of(id), "HashJoinInput", false);
                while build.try_grow(MIB / 4).is_ok() {}
                build
            })
            .into_iter()
            .collect();
        // Each of the first 32 has 1 MiB to itself; the rest, 96 MiB, is taken by who came first.
        assert_eq!(budget.reserved(), 96 * MIB + 3 * MIB);
        let small: Vec<_> = (0..29)
            .map(|i| {
                let sort = operator(&budget.pool_of(&format!("small {i}")), "Sort", true);
                sort.try_grow(MIB).unwrap();
                let error = sort.try_grow(MIB).unwrap_err().to_string();
                assert!(error.contains("128.0 MiB"), "{error}");
                sort
            })
            .collect();
        assert_eq!(budget.reserved(), 128 * MIB);
        let beyond = operator(&budget.pool_of("beyond"), "Sort", true);
        assert!(beyond.try_grow(1).is_err());
        drop((big, small));
        assert_eq!(budget.reserved(), 0);
        beyond.try_grow(MIB).unwrap();
    }

    #[test]
    fn who_can_spill_gives_way_when_memory_is_scarce() {
        let budget = MemoryBudget::new(MemoryLimits {
            process_bytes: 128 * MIB,
            query_bytes: 128 * MIB,
        });
        let first = operator(&budget.pool_of("first"), "ExternalSorter[0]", true);
        while first.try_grow(MIB).is_ok() {}
        assert_eq!(first.size() / MIB, 72, "three quarters of 97 MiB");
        let second = operator(&budget.pool_of("second"), "ExternalSorter[0]", true);
        while second.try_grow(MIB).is_ok() {}
        assert!(second.size() >= 12 * MIB, "{}", second.size() / MIB);
        // Memory of all is gone, whoever asks again.
        assert!(first.try_grow(MIB).is_err());
        // Spilled.
        first.free();
        while first.try_grow(MIB).is_ok() {}
        while second.try_grow(MIB).is_ok() {}
        let (a, b) = (first.size() / MIB, second.size() / MIB);
        assert!(a + b <= 98 && a.abs_diff(b) <= 48 && b > 12, "{a} {b}");
    }

    #[test]
    fn who_has_spilled_may_take_what_is_left() {
        let pool = budget().pool_of("q");
        let table = operator(&pool, "FinalHashAggregateStream[0]", true);
        while table.try_grow(MIB).is_ok() {}
        assert_eq!(table.size(), 48 * MIB, "three quarters");
        table.try_grow(8 * MIB).unwrap();
        assert!(table.try_grow(MIB).is_err(), "once");
        let other = operator(&pool, "FinalHashAggregateStream[1]", true);
        other.try_grow(4 * MIB).unwrap();
        let more = other.try_grow(5 * MIB);
        assert!(more.is_err(), "more than the query may hold");
    }

    #[test]
    fn what_waits_in_queues_leaves_room_for_who_works() {
        let budget = budget();
        let pool = budget.pool_of("q");
        let queue = operator(&pool, "RepartitionExec[0]", true);
        while queue.try_grow(MIB).is_ok() {}
        assert_eq!(queue.size(), 8 * MIB, "an eighth of 64 MiB");
        let sort = operator(&pool, "ExternalSorter[0]", true);
        while sort.try_grow(MIB).is_ok() {}
        assert_eq!(sort.size(), 40 * MIB, "three quarters less the queue");
    }

    #[test]
    fn one_statement_has_one_pool_which_goes_with_its_last_operator() {
        let budget = budget();
        let (one, two) = (budget.pool_of("q"), budget.pool_of("q"));
        assert!(Arc::ptr_eq(&one, &two));
        let sort = operator(&one, "Sort", true);
        sort.try_grow(MIB).unwrap();
        drop((one, two));
        assert_eq!(
            budget.queries(),
            [QueryMemory {
                query_id: "q".to_owned(),
                reserved_bytes: MIB
            }]
        );
        drop(sort);
        assert!(budget.queries().is_empty());
        assert_eq!(budget.shared.books().guaranteed, 0);
    }

    #[test]
    fn what_is_taken_without_asking_is_counted() {
        let budget = budget();
        let network = operator(&budget.pool_of("q"), "NetworkBoundary", false);
        network.grow(100 * MIB);
        assert!(network.try_grow(1).is_err());
        network.shrink(90 * MIB);
        network.try_grow(MIB).unwrap();
        assert_eq!(budget.reserved(), 11 * MIB);
    }
}
