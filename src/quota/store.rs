//! Where the cells live: a sharded map from key to theoretical arrival time (TAT) that forgets what
//! no longer matters.
//!
//! A cell whose TAT has passed decides like one never used, so it can go. A shard sees to its own
//! as it grows; a round visits one shard after the other, so that memory returns with any traffic.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::gcra::{Decision, Gcra, nanos};
use super::shard::{Key, Shard};
use super::ticket::{Counted, MAX_LIMITS, Ticket};

/// The fewest shards: enough that two cores seldom meet. There are more where there is room for more cells than these hold.
const SHARDS: usize = 64;
/// How many cells a shard is made for: few, since a call that finds it full looks at all of them.
const SHARD_CELLS: usize = 1 << 8;
/// Each shard has its turn in the round once a minute.
const ROUND_NS: u64 = 60_000_000_000;
/// How many shards one call may visit where there were too few calls for the round.
const VISITS: u64 = 128;

/// One limit that a call must pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    /// Names the cell: a keyed hash, so evenly spread and beyond an attacker's choosing.
    pub(crate) key: u128,
    /// The quota of that cell.
    pub(crate) gcra: Gcra,
    /// What the call weighs, in units of the quota.
    pub(crate) cost: NonZeroU32,
    /// The quotas that this one took the place of, the last one first, while their cells may still mean something.
    pub(crate) formers: &'a [Former],
}

/// A quota that was changed while its cells were in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Former {
    /// How the keys of its cells differ from those of today, in the half that does not pick the shard.
    pub(crate) flip: u64,
    /// The quota.
    pub(crate) gcra: Gcra,
    /// When it ended, in nanoseconds since the store's epoch.
    pub(crate) until: u64,
    /// From when on none of its cells means anything.
    pub(crate) forgotten: u64,
}

/// A place in the line for one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The limit's place among the checks given.
    pub(crate) index: usize,
    /// When the call may go on, in nanoseconds since the epoch.
    pub(crate) at: u64,
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
    /// A power of two of them.
    shards: Box<[Mutex<Shard>]>,
    /// When the round goes on, in nanoseconds since the epoch.
    round_due: AtomicU64,
    /// How many visits the round has made.
    round_visits: AtomicUsize,
    overflows: AtomicU64,
}

impl Store {
    /// An empty store for `capacity` cells, rounded up to a multiple of its shards; allocates as they come.
    ///
    /// Each shard holds its equal part. New keys that find theirs full (it looks for room once a second)
    /// share one extra cell per quota there: they are limited together, never unlimited, and a key
    /// that gets a cell of its own later starts where the shared one stands. So the bound is the
    /// capacity and a cell per shard more for each distinct quota; quotas come from the operator, few.
    pub(crate) fn new(capacity: usize) -> Self {
        let shards = capacity.div_ceil(SHARD_CELLS).next_power_of_two().clamp(SHARDS, 1 << u16::BITS);
        Self {
            epoch: Instant::now(),
            cells_per_shard: capacity.div_ceil(shards).max(1),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            round_due: AtomicU64::new(0),
            round_visits: AtomicUsize::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    /// Counts a call in every cell named, if every check admits it; `None` is a limit that is off. `now` is in nanoseconds
    /// [since the epoch](Self::since_epoch).
    ///
    /// All or nothing, and atomic to other callers. Checks are decided in order, and a cell named
    /// twice counts both costs. Allocates only where a new cell makes a shard's map grow. Takes [`MAX_LIMITS`] checks, and
    /// reads no further ones. Where the call is counted is noted in `ticket`, which holds nothing else afterwards.
    ///
    /// With `patience`, a call that is too early takes its place in the line of the first limit that says so, if its turn
    /// comes within that many nanoseconds and no other limit is known to refuse it then: the cell moves as if the call were
    /// made at its turn, so nobody overtakes. It is counted nowhere else yet, since a place ahead of time in a cell that others
    /// share would hold up all of them; the other limits are asked when the turn has come, which is what this returns then.
    ///
    /// # Errors
    ///
    /// [`Refused`] by the first check that does not admit: nothing is then counted or inserted.
    pub(crate) fn admit(
        &self,
        now: u64,
        checks: &[Option<Check<'_>>],
        patience: Option<u64>,
        ticket: &mut Ticket,
    ) -> Result<Option<Turn>, Refused> {
        self.advance_round(now);
        let checks = checks.get(..MAX_LIMITS).unwrap_or(checks);
        let mut held = [const { None }; MAX_LIMITS];
        let held = self.hold(now, checks, &mut held);
        ticket.clear();
        let waits = self.count(now, checks, patience, held, ticket);
        if !matches!(waits, Ok(None)) {
            // The last one first: a cell that was counted twice goes back in two steps.
            for counted in ticket.cells().iter().rev() {
                if let Some(held) = self.locked(held, counted.key) {
                    held.map.restore(counted.key, counted.after, counted.before);
                }
            }
            ticket.clear();
        }
        let Some((turn, key, after)) = waits? else { return Ok(None) };
        if let Some(held) = self.locked(held, key) {
            ticket.push(Counted { key, before: held.map.get(key).unwrap_or(0), after });
            held.map.set(key, after);
        }
        Ok(Some(turn))
    }

    /// Counts a call in the cell of each check and notes it in `ticket`, up to the first check that refuses. If it has to wait
    /// for one of them, gives its turn there, and what the cell is then to hold.
    ///
    /// Cells that are there are written as it goes, so a second check of one builds on the first. Others are made once no check
    /// has refused: keys that are refused must not make a map grow.
    fn count(
        &self,
        now: u64,
        checks: &[Option<Check<'_>>],
        patience: Option<u64>,
        held: &mut [Option<Held<'_>>],
        ticket: &mut Ticket,
    ) -> Result<Option<(Turn, Key, u64)>, Refused> {
        let (mut waits, mut lacking) = (None::<(Turn, Key, u64)>, false);
        for (index, check) in checks.iter().enumerate() {
            let Some(check) = check else { continue };
            let own = Key::new(check.key);
            let Some(held) = self.locked(held, own) else { continue };
            held.carry_over(check);
            let decide = |tat| check.gcra.decide(tat, held.now, check.cost);
            let (key, decision) = match held.map.get_mut(own) {
                Some(cell) => {
                    let decision = decide(*cell);
                    if let Decision::Admit { tat } = decision {
                        ticket.push(Counted { key: own, before: *cell, after: tat });
                        *cell = tat;
                    }
                    (own, decision)
                }
                None => {
                    let (key, before, tat) = self.cell_to_be(held, ticket, check);
                    let decision = decide(tat);
                    if let Decision::Admit { tat } = decision {
                        ticket.push(Counted { key, before, after: tat });
                        lacking = true;
                    }
                    (key, decision)
                }
            };
            match decision {
                Decision::Admit { .. } => {}
                Decision::Wait { tat, retry_after } => {
                    let at = held.now.saturating_add(nanos(retry_after));
                    let hopeless = match (&waits, patience) {
                        (_, None) => true,
                        // It would still refuse when the turn comes.
                        (Some((turn, ..)), _) => at > turn.at,
                        (None, Some(patience)) => at > now.saturating_add(patience),
                    };
                    if hopeless {
                        return Err(Refused { index, retry_after: Some(retry_after) });
                    }
                    waits.get_or_insert((Turn { index, at }, key, tat));
                }
                Decision::Never => return Err(Refused { index, retry_after: None }),
            }
        }
        if lacking && waits.is_none() {
            for counted in ticket.cells() {
                if let Some(held) = self.locked(held, counted.key) {
                    held.map.set(counted.key, counted.after);
                }
            }
        }
        Ok(waits)
    }

    /// Takes an admission back wherever nobody was admitted since; elsewhere the call stays counted.
    ///
    /// To subtract the cost regardless would be wrong: the others were decided on what the cell said, and time that has
    /// passed since would be given out twice.
    pub(crate) fn refund(&self, ticket: &Ticket) {
        // The last one first: a cell that was counted twice goes back in two steps.
        for counted in ticket.cells().iter().rev() {
            self.shard(counted.key).restore(counted.key, counted.after, counted.before);
        }
    }

    /// The TAT that `check` would be decided on now, in nanoseconds since the epoch; changes nothing.
    pub(crate) fn look(&self, check: &Check<'_>) -> u64 {
        let own = Key::new(check.key);
        let shard = self.shard(own);
        let former = || check.carried(|flip| shard.get(own.flipped(flip)));
        shard.get(own).or_else(former).or_else(|| shard.get(Key::shared(check.gcra, own.shard(self.shards.len())))).unwrap_or(0)
    }

    /// `instant` in nanoseconds since the store was made; zero if it is earlier.
    #[inline]
    pub(crate) fn since_epoch(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.epoch))
    }

    /// The instant so many nanoseconds after the store was made. `None`: the clock does not go so far.
    pub(crate) fn instant(&self, since_epoch: u64) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(since_epoch))
    }

    /// How many cells there is room for.
    pub(crate) const fn capacity(&self) -> usize {
        self.cells_per_shard * self.shards.len()
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
    fn hold<'a, 'h>(
        &'a self,
        now: u64,
        checks: &[Option<Check<'_>>],
        held: &'h mut [Option<Held<'a>>; MAX_LIMITS],
    ) -> &'h mut [Option<Held<'a>>] {
        let (mut shards, mut len) = ([0; MAX_LIMITS], 0);
        for (place, check) in shards.iter_mut().zip(checks.iter().flatten()) {
            *place = Key::new(check.key).shard(self.shards.len());
            len += 1;
        }
        let shards = &mut shards[..len];
        shards.sort_unstable();
        let (mut places, mut last) = (held.iter_mut(), None);
        for &mut shard in shards {
            if last == Some(shard) {
                continue;
            }
            last = Some(shard);
            let mut map = lock(&self.shards[usize::from(shard)]);
            if let Some(place) = places.next() {
                *place = Some(Held { shard, now: map.tidy(now, self.cells_per_shard), map });
            }
        }
        held
    }

    /// The one of the locked shards that `key` belongs to.
    fn locked<'h, 'a>(&self, held: &'h mut [Option<Held<'a>>], key: Key) -> Option<&'h mut Held<'a>> {
        let shard = key.shard(self.shards.len());
        held.iter_mut().flatten().find(|held| held.shard == shard)
    }

    /// The cell that is to decide a check whose key has none: one of its own, or the one that it has to share; with what it holds
    /// so far, and the TAT to decide on.
    #[cold]
    fn cell_to_be(&self, held: &Held<'_>, noted: &Ticket, check: &Check<'_>) -> (Key, u64, u64) {
        let noted_tat = |key| noted.cells().iter().rfind(|noted| noted.key == key).map(|noted| noted.after);
        let own = Key::new(check.key);
        if let Some(tat) = noted_tat(own) {
            return (own, tat, tat);
        }
        // A key without a cell may have spent from the shared one: it must not start afresh.
        let shared = Key::shared(check.gcra, held.shard);
        let tat = noted_tat(shared).or_else(|| held.map.get(shared)).unwrap_or(0);
        let is_new = |noted: &&Counted| noted.before == 0 && noted.key.shard(self.shards.len()) == held.shard;
        if held.map.len() + noted.cells().iter().filter(is_new).count() < self.cells_per_shard {
            return (own, 0, tat);
        }
        self.overflows.fetch_add(1, Relaxed);
        (shared, tat, tat)
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(key.shard(self.shards.len()))])
    }

    /// Sweeps the next shard of the round, if its time has come, or some where calls were too few for it; holds no other lock
    /// meanwhile.
    fn advance_round(&self, now: u64) {
        let due = self.round_due.load(Relaxed);
        if now < due {
            return;
        }
        let step = ROUND_NS / self.shards.len() as u64;
        let claim = self.round_due.compare_exchange(due, now.saturating_add(step), Relaxed, Relaxed);
        if claim.is_ok() {
            for _ in 0..((now - due) / step + 1).min(VISITS) {
                let turn = self.round_visits.fetch_add(1, Relaxed) % self.shards.len();
                lock(&self.shards[turn]).sweep(now);
            }
        }
    }
}

/// A locked shard, and the instant that it decides at.
struct Held<'a> {
    shard: u16,
    now: u64,
    map: MutexGuard<'a, Shard>,
}

impl Held<'_> {
    /// Moves what a key owes under a former quota into its cell of today, where there is none yet.
    fn carry_over(&mut self, check: &Check<'_>) {
        let own = Key::new(check.key);
        if !check.formers.is_empty()
            && self.map.get(own).is_none()
            && let Some(tat) = check.carried(|flip| self.map.take(own.flipped(flip)))
        {
            self.map.set(own, tat);
        }
    }
}

impl Check<'_> {
    /// What the key owes since it called under a former quota, whose cell `cell` finds: it went from quota to quota.
    fn carried(&self, mut cell: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        let (last, tat) = self.formers.iter().enumerate().find_map(|(n, former)| Some((n, cell(former.flip)?)))?;
        let mut passed = self.formers.iter().take(last + 1).rev().peekable();
        let mut tat = tat;
        while let Some(former) = passed.next() {
            let next = passed.peek().map_or(&self.gcra, |next| &next.gcra);
            tat = next.carry(&former.gcra, tat, former.until);
        }
        Some(tat)
    }
}

/// A panic elsewhere leaves plain integers behind, each valid: a poisoned shard is used on.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
