//! What retries may cost.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use crate::{
    call::{Caller, Digest},
    logs::Spell,
    metrics::Level,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A bucket of tokens that pays for retries; at most half of it is at one tenant's disposal.
///
/// Why a budget and not just a maximum of attempts: with three attempts a call, an outage triples the load on a backend
/// that is already down. A budget lets every retry through while failures are few, and next to none in an outage.
///
/// A retry costs 5 tokens where nothing has happened (throttled, not sent) and 14 where the outcome was in doubt. What the last
/// retry of a call cost is given back if it succeeds; a call that succeeds at once, here and further in, earns 1. Time earns
/// nothing: a refill by time would pay for every retry of a tool that is called once in a while (constants: AWS standard retry
/// mode, 2026).
///
/// What a tenant has used up is remembered until it has earned it back, or the bucket is full again: then nobody is the worse off
/// for it any more.
pub struct Budget {
    state: Mutex<State>,
    /// Whether nothing is missing, so that a success need not lock to find that out.
    full: AtomicBool,
    /// Whether it has been told that it is spent.
    pub(super) spent: Spell,
}

struct State {
    capacity: u32,
    /// Not what is left: a bucket that is made small and large again would have forgotten some of it.
    missing: u32,
    /// What each tenant has used up of its half. Tenants that have all of it are not in here, and nobody is while the bucket is
    /// full: else who never comes back would be in here for good.
    used: HashMap<Digest, u32>,
    /// The gauges that show the tokens, by the upstreams whose retries they pay for. Set under the lock: of two changes the later
    /// is shown.
    shown: Vec<(String, Weak<Level>)>,
}

impl State {
    const fn tokens(&self) -> u32 {
        self.capacity.saturating_sub(self.missing)
    }

    fn show(&self) {
        let tokens = self.tokens();
        self.shown.iter().filter_map(|(_, gauge)| gauge.upgrade()).for_each(|gauge| gauge.set(tokens.into()));
    }
}

/// What a retry costs where nothing has happened.
pub(super) const UNEXECUTED: u32 = 5;

/// How many tenants' shares are told apart; further ones draw on one share together.
pub(super) const TENANTS: usize = 4096;

/// A retry that has been paid for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Withdrawal {
    share: Digest,
    cost: u32,
}

impl Default for Budget {
    /// 500 tokens.
    fn default() -> Self {
        Self::of(500)
    }
}

/// A budget that could pay for no retry at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a budget has {capacity} tokens, but must have at least {least}: half of it has to pay for one retry")]
pub struct BudgetError {
    /// The tokens given.
    pub capacity: u32,
    /// The fewest that there may be.
    pub least: u32,
}

impl Budget {
    /// The fewest tokens that a budget may have.
    pub const LEAST: u32 = 2 * UNEXECUTED;

    /// A full bucket of `capacity` tokens. With fewer than 28, no retry of a failure that is in doubt can be paid for.
    ///
    /// # Errors
    ///
    /// Fewer than [`LEAST`](Self::LEAST), with both values: they would pay for no retry. Who wants none makes
    /// [one attempt](super::RetryLayer::off) a call.
    pub fn try_new(capacity: u32) -> Result<Self, BudgetError> {
        Self::check(capacity).map(|()| Self::of(capacity))
    }

    pub(super) const fn check(capacity: u32) -> Result<(), BudgetError> {
        if capacity < Self::LEAST { Err(BudgetError { capacity, least: Self::LEAST }) } else { Ok(()) }
    }

    pub(super) fn of(capacity: u32) -> Self {
        let state = State { capacity, missing: 0, used: HashMap::new(), shown: Vec::new() };
        Self { state: Mutex::new(state), full: AtomicBool::new(true), spent: Spell::default() }
    }

    /// The tokens that are left.
    pub fn tokens(&self) -> u32 {
        self.lock().tokens()
    }

    /// The tokens of a full bucket.
    pub fn capacity(&self) -> u32 {
        self.lock().capacity
    }

    /// Makes the bucket larger or smaller. What is missing from it, as a whole and of each tenant's half, stays missing, also what
    /// is more than a smaller bucket holds: all of it is earned back before there are tokens again.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new): then it is left as it was.
    pub fn set_capacity(&self, capacity: u32) -> Result<(), BudgetError> {
        Self::check(capacity)?;
        let mut state = self.lock();
        state.capacity = capacity;
        state.show();
        Ok(())
    }

    /// The gauge that shows the tokens to this upstream's operator, for as long as somebody holds it: one, however many layers
    /// the bucket pays for.
    pub(super) fn shown(&self, upstream: &str, make: impl FnOnce() -> Level) -> Arc<Level> {
        let mut state = self.lock();
        let there = state.shown.iter().find(|(name, _)| name == upstream).and_then(|(_, gauge)| gauge.upgrade());
        there.unwrap_or_else(|| {
            let gauge = Arc::new(make());
            gauge.set(state.tokens().into());
            state.shown.retain(|(_, gauge)| gauge.strong_count() > 0);
            state.shown.push((upstream.to_owned(), Arc::downgrade(&gauge)));
            gauge
        })
    }

    /// Pays for a retry of this caller's, if there is enough in the bucket and in its tenant's half.
    pub(super) fn withdraw(&self, caller: &Caller, cost: u32) -> Option<Withdrawal> {
        let mut state = self.lock();
        let tenant = caller.tenant_digest();
        let share = if state.used.contains_key(&tenant) || state.used.len() < TENANTS { tenant } else { Caller::nobody() };
        let used = state.used.get(&share).copied().unwrap_or(0);
        if state.tokens() < cost || used + cost > state.capacity / 2 {
            return None;
        }
        state.missing += cost;
        state.show();
        state.used.insert(share, used + cost);
        self.full.store(false, Ordering::Relaxed);
        Some(Withdrawal { share, cost })
    }

    /// Gives back what a retry cost.
    pub(super) fn refund(&self, withdrawal: Withdrawal) {
        self.put(withdrawal.share, withdrawal.cost);
    }

    /// What a call earns that succeeded at once. Says whether there was room for it.
    pub(super) fn earn(&self, tenant: Digest) -> bool {
        let room = !self.full.load(Ordering::Relaxed);
        if room {
            self.put(tenant, 1);
        }
        room
    }

    fn put(&self, share: Digest, tokens: u32) {
        let mut state = self.lock();
        state.missing = state.missing.saturating_sub(tokens);
        state.show();
        // Who has no share of its own may have drawn on the common one.
        let share = if state.used.contains_key(&share) { share } else { Caller::nobody() };
        if let Some(used) = state.used.get_mut(&share) {
            *used = used.saturating_sub(tokens);
            if *used == 0 {
                state.used.remove(&share);
            }
        }
        let full = state.missing == 0;
        if full {
            state.used.clear();
        }
        self.full.store(full, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Budget").field("capacity", &state.capacity).field("tokens", &state.tokens()).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Budget {
    /// How many gauges it minds.
    pub(super) fn shown_by(&self) -> usize {
        self.lock().shown.len()
    }
}
