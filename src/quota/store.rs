//! Where the cells live: a sharded map from key to theoretical arrival time (TAT) that forgets what
//! no longer matters.
//!
//! A cell whose TAT has passed decides like one never used, so it can go. A shard sees to its own
//! as it grows; a round visits one shard after the other, so that memory returns with any traffic.

use std::array;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::gcra::{Decision, Gcra, nanos};
use super::shard::{Key, Shard};

/// Enough that two cores seldom meet, few enough that the round gets about.
const SHARDS: usize = 64;
/// From one shard of the round to the next, in nanoseconds: each has its turn once a minute.
const ROUND_STEP_NS: u64 = 60_000_000_000 / SHARDS as u64;

/// One limit that a call must pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// Names the cell: a keyed hash, so evenly spread and beyond an attacker's choosing.
    pub(crate) key: u128,
    /// The quota of that cell.
    pub(crate) gcra: Gcra,
    /// What the call weighs, in units of the quota.
    pub(crate) cost: NonZeroU32,
}

/// The first check that said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its place among the checks given.
    pub(crate) index: usize,
    /// How long until this one check would pass; `None`: never (see [`Decision::Never`]).
    pub(crate) retry_after: Option<Duration>,
}

/// All cells of a rate limiter, behind one lock per shard.
pub(crate) struct Store {
    epoch: Instant,
    cells_per_shard: usize,
    shards: Box<[Mutex<Shard>; SHARDS]>,
    /// When the round goes on, in nanoseconds since the epoch.
    round_due: AtomicU64,
    /// How many visits the round has made.
    round_visits: AtomicUsize,
    overflows: AtomicU64,
}

impl Store {
    /// An empty store for `capacity` cells, rounded up to a multiple of 64; allocates as they come.
    ///
    /// Each shard holds its 64th. New keys that find theirs full (it looks for room once a second)
    /// share one extra cell per quota there: they are limited together, never unlimited, and a key
    /// that gets a cell of its own later starts where the shared one stands. So the bound is the
    /// capacity and 64 cells more for each distinct quota; quotas come from the operator, few.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            epoch: Instant::now(),
            cells_per_shard: capacity.div_ceil(SHARDS).max(1),
            shards: Box::new(array::from_fn(|_| Mutex::default())),
            round_due: AtomicU64::new(0),
            round_visits: AtomicUsize::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    /// Counts a call in every cell named, if every check admits it; `None` is a limit that is off.
    ///
    /// All or nothing, and atomic to other callers. Checks are decided in order, and a cell named
    /// twice counts both costs. A `now` before the store was made means that moment. Allocates only
    /// where a new cell makes a shard's map grow.
    ///
    /// # Errors
    ///
    /// [`Refused`] by the first check that does not admit: nothing is then counted or inserted.
    pub(crate) fn admit<const N: usize>(&self, now: Instant, checks: &[Option<Check>; N]) -> Result<(), Refused> {
        let now = nanos(now.saturating_duration_since(self.epoch));
        self.advance_round(now);
        let mut held = [const { None }; N];
        self.hold(now, checks, &mut held);
        let mut plan = [const { None }; N];
        for (index, check) in checks.iter().enumerate() {
            let Some(check) = check else { continue };
            let number = shard_of(check.key);
            let Some(shard) = held.iter().flatten().find(|held| held.number == number) else { continue };
            let (key, tat) = self.cell(shard, &plan, check);
            let retry_after = match check.gcra.decide(tat, shard.now, check.cost) {
                Decision::Admit { tat } => {
                    plan[index] = Some(Planned { number, key, tat });
                    continue;
                }
                Decision::Wait { retry_after } => Some(retry_after),
                Decision::Never => None,
            };
            return Err(Refused { index, retry_after });
        }
        // In the order of the checks: the second for a cell builds on the first.
        for planned in plan.iter().flatten() {
            if let Some(held) = held.iter_mut().flatten().find(|held| held.number == planned.number) {
                held.shard.set(planned.key, planned.tat);
            }
        }
        Ok(())
    }

    /// How many cells there is room for.
    pub(crate) const fn capacity(&self) -> usize {
        self.cells_per_shard * SHARDS
    }

    /// Cells stored, fresh ones that no sweep has met yet included. Takes every lock in turn.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Decisions made on a shared cell since the start, because the key's shard was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Locks each shard that `checks` touch, once and in ascending order: no two callers deadlock.
    fn hold<'a, const N: usize>(&'a self, now: u64, checks: &[Option<Check>; N], held: &mut [Option<Held<'a>>; N]) {
        let mut lowest = 0;
        for held in held {
            let shards = checks.iter().flatten().map(|check| shard_of(check.key));
            let Some(number) = shards.filter(|&number| number >= lowest).min() else { return };
            lowest = number + 1;
            let mut shard = lock(&self.shards[number]);
            *held = Some(Held { number, now: shard.tidy(now, self.cells_per_shard), shard });
        }
    }

    /// The cell that decides `check`, with its TAT as this call would leave it so far: its own, or one that it has to share.
    fn cell(&self, held: &Held<'_>, plan: &[Option<Planned>], check: &Check) -> (Key, u64) {
        let here = || plan.iter().flatten().filter(|planned| planned.number == held.number);
        let tat = |key| match here().rfind(|planned| planned.key == key) {
            Some(planned) => Some(planned.tat),
            None => held.shard.get(key),
        };
        let own = Key::new(check.key);
        if let Some(tat) = tat(own) {
            return (own, tat);
        }
        // A key without a cell may have spent from the shared one: it must not start afresh.
        let shared = Key::shared(check.gcra);
        let tat = tat(shared).unwrap_or(0);
        // What is planned may be an old cell; to count it as new errs by a few, on the safe side.
        if held.shard.len() + here().count() < self.cells_per_shard {
            return (own, tat);
        }
        self.overflows.fetch_add(1, Relaxed);
        (shared, tat)
    }

    /// Sweeps the next shard of the round, if its time has come; holds no other lock meanwhile.
    fn advance_round(&self, now: u64) {
        let due = self.round_due.load(Relaxed);
        if now < due {
            return;
        }
        let next = now.saturating_add(ROUND_STEP_NS);
        let claim = self.round_due.compare_exchange(due, next, Relaxed, Relaxed);
        if claim.is_ok() {
            let turn = self.round_visits.fetch_add(1, Relaxed) % SHARDS;
            lock(&self.shards[turn]).sweep(now);
        }
    }
}

/// A locked shard, and the instant that it decides at.
struct Held<'a> {
    number: usize,
    now: u64,
    shard: MutexGuard<'a, Shard>,
}

/// What an admitted call will write.
struct Planned {
    number: usize,
    key: Key,
    tat: u64,
}

/// One half of a key picks the shard, the other the place in its map: else each map would use few
/// of its buckets.
const fn shard_of(key: u128) -> usize {
    Key::new(key).high() as usize % SHARDS
}

/// A panic elsewhere leaves plain integers behind, each valid: a poisoned shard is used on.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
