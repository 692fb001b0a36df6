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
        let mut held = self.hold(checks);
        let mut refused: Option<Refused> = None;
        for held in held.iter_mut().flatten() {
            let now = held.shard.tidy(now, self.cells_per_shard);
            for (index, check) in checks.iter().enumerate() {
                let Some(check) = check.as_ref().filter(|c| shard_of(c.key) == held.number) else {
                    continue;
                };
                let cell = held.cell(check, self.cells_per_shard);
                if cell.is_err() {
                    self.overflows.fetch_add(1, Relaxed);
                }
                let (Ok((key, tat)) | Err((key, tat))) = cell;
                let retry_after = match check.gcra.decide(tat, now, check.cost) {
                    Decision::Admit { tat } => {
                        held.plan[index] = Some((key, tat));
                        continue;
                    }
                    Decision::Wait { retry_after } => Some(retry_after),
                    Decision::Never => None,
                };
                // Shards come in their own order, which is not that of the checks.
                if refused.is_none_or(|first| index < first.index) {
                    refused = Some(Refused { index, retry_after });
                }
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None => {
                held.into_iter().flatten().for_each(Held::commit);
                Ok(())
            }
        }
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
    fn hold<const N: usize>(&self, checks: &[Option<Check>; N]) -> [Option<Held<'_, N>>; N] {
        let mut lowest = 0;
        array::from_fn(|_| {
            let shards = checks.iter().flatten().map(|check| shard_of(check.key));
            let number = shards.filter(|&number| number >= lowest).min()?;
            lowest = number + 1;
            Some(Held { number, shard: lock(&self.shards[number]), plan: [None; N] })
        })
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

/// A locked shard and what an admitted call will write to it: key and TAT, at the check's index.
struct Held<'a, const N: usize> {
    number: usize,
    shard: MutexGuard<'a, Shard>,
    plan: [Option<(Key, u64)>; N],
}

impl<const N: usize> Held<'_, N> {
    /// The cell that decides `check`, with its TAT: its own, or `Err` with the one it has to share.
    fn cell(&self, check: &Check, capacity: usize) -> Result<(Key, u64), (Key, u64)> {
        let own = Key::new(check.key);
        if let Some(tat) = self.tat(own) {
            return Ok((own, tat));
        }
        // A key without a cell may have spent from the shared one: it must not start afresh.
        let shared = Key::shared(check.gcra);
        let tat = self.tat(shared).unwrap_or(0);
        // What is planned may be an old cell; to count it as new errs by a few, on the safe side.
        let planned = self.plan.iter().flatten().count();
        if self.shard.len() + planned < capacity { Ok((own, tat)) } else { Err((shared, tat)) }
    }

    /// The TAT of a cell, as this call would leave it so far.
    fn tat(&self, key: Key) -> Option<u64> {
        let mut planned = self.plan.iter().rev().flatten();
        match planned.find(|(planned, _)| *planned == key) {
            Some(&(_, tat)) => Some(tat),
            None => self.shard.get(key),
        }
    }

    /// Writes the plan in the order of the checks: the second for a cell builds on the first.
    fn commit(mut self) {
        for (key, tat) in self.plan.into_iter().flatten() {
            self.shard.set(key, tat);
        }
    }
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
