//! What retries may cost.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::call::{Caller, Digest};

/// A bucket of tokens that pays for retries; at most half of it is at one tenant's disposal.
///
/// Why a budget and not just a maximum of attempts: with three attempts a call, an outage triples the load on a backend
/// that is already down. A budget lets every retry through while failures are few, and next to none in an outage.
///
/// A retry costs 5 tokens where nothing has happened (throttled, not sent) and 14 where the outcome was in doubt. What the
/// last retry of a call cost is given back if it succeeds; a call that succeeds at once, here and further in, earns 1. Time earns nothing: a refill
/// by time would pay for every retry of a tool that is called once in a while (constants: AWS standard retry mode, 2026).
pub struct Budget {
    state: Mutex<State>,
    /// Whether nothing is missing anywhere, so that a success need not lock to find that out.
    full: AtomicBool,
}

struct State {
    capacity: u32,
    tokens: u32,
    /// What each tenant has used up of its half. Tenants that have all of it are not in here.
    used: HashMap<Digest, u32>,
}

/// How many tenants' shares are told apart; further ones draw on one share together.
const TENANTS: usize = 4096;

/// A retry that has been paid for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Withdrawal {
    share: Digest,
    cost: u32,
}

impl Default for Budget {
    /// 500 tokens.
    fn default() -> Self {
        Self::new(500)
    }
}

impl Budget {
    /// A full bucket of `capacity` tokens. With fewer than 10 (28), no retry of a failure that had no effect (that is in
    /// doubt) can be paid for.
    pub fn new(capacity: u32) -> Self {
        Self { state: Mutex::new(State { capacity, tokens: capacity, used: HashMap::new() }), full: AtomicBool::new(true) }
    }

    /// The tokens that are left.
    pub fn tokens(&self) -> u32 {
        self.lock().tokens
    }

    /// The tokens of a full bucket.
    pub fn capacity(&self) -> u32 {
        self.lock().capacity
    }

    /// Makes the bucket larger or smaller. What is missing from it, as a whole and of each tenant's half, stays missing.
    pub fn set_capacity(&self, capacity: u32) {
        let mut state = self.lock();
        let missing = state.capacity - state.tokens;
        (state.capacity, state.tokens) = (capacity, capacity.saturating_sub(missing));
    }

    /// Pays for a retry of this caller's, if there is enough in the bucket and in its tenant's half.
    pub(super) fn withdraw(&self, caller: &Caller, cost: u32) -> Option<Withdrawal> {
        let mut state = self.lock();
        let tenant = caller.tenant_digest();
        let share = if state.used.contains_key(&tenant) || state.used.len() < TENANTS { tenant } else { Caller::nobody() };
        let used = state.used.get(&share).copied().unwrap_or(0);
        if state.tokens < cost || used + cost > state.capacity / 2 {
            return None;
        }
        state.tokens -= cost;
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
        state.tokens = state.tokens.saturating_add(tokens).min(state.capacity);
        // Who has no share of its own may have drawn on the common one.
        let share = if state.used.contains_key(&share) { share } else { Caller::nobody() };
        if let Some(used) = state.used.get_mut(&share) {
            *used = used.saturating_sub(tokens);
            if *used == 0 {
                state.used.remove(&share);
            }
        }
        self.full.store(state.tokens == state.capacity && state.used.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Budget").field("capacity", &state.capacity).field("tokens", &state.tokens).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_tenant_has_at_most_half() {
        let budget = Budget::new(100);
        let (greedy, other) = (Caller::of_tenant("greedy"), Caller::of_tenant("other"));
        let taken = std::iter::from_fn(|| budget.withdraw(&greedy, 5)).count();
        assert_eq!((taken, budget.tokens()), (10, 50));
        assert!(budget.withdraw(&other, 14).is_some());
    }

    #[test]
    fn a_success_earns_for_the_bucket_and_for_its_own_tenant() {
        let budget = Budget::new(20);
        let (a, b) = (Caller::of_tenant("a"), Caller::of_tenant("b"));
        budget.withdraw(&a, 5).unwrap();
        budget.withdraw(&a, 5).unwrap();
        for _ in 0..100 {
            budget.earn(b.tenant_digest());
        }
        assert_eq!(budget.tokens(), 20);
        assert!(budget.withdraw(&a, 5).is_none(), "b's successes do not restore a's half");
        for _ in 0..5 {
            budget.earn(a.tenant_digest());
        }
        assert!(budget.withdraw(&a, 5).is_some());
    }

    #[test]
    fn a_success_earns_where_something_is_missing() {
        let (budget, caller) = (Budget::new(20), Caller::of_tenant("a"));
        let earn = || budget.earn(caller.tenant_digest());
        assert!(!earn());
        let paid = budget.withdraw(&caller, 5).unwrap();
        assert!(earn());
        budget.refund(paid);
        assert_eq!((budget.tokens(), earn()), (20, false));
    }

    #[test]
    fn tenants_beyond_the_bound_share_one_half() {
        let budget = Budget::new(100_000);
        let caller = |n: usize| Caller::of_tenant(n.to_string());
        assert!((0..TENANTS + 2).all(|n| budget.withdraw(&caller(n), 5).is_some()));
        assert_eq!(budget.lock().used.len(), TENANTS + 1);
        assert_eq!(budget.lock().used[&Caller::nobody()], 10);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Withdraw(usize, u32),
        Refund,
        Earn(usize),
        Resize(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3_usize, prop_oneof![Just(5_u32), Just(14)]).prop_map(|(tenant, cost)| Step::Withdraw(tenant, cost)),
            Just(Step::Refund),
            (0..3_usize).prop_map(Step::Earn),
            (0..120_u32).prop_map(Step::Resize),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against plain arithmetic: failed retries never cost more than was there and was earned, and what is refunded or
        /// earned comes back.
        #[test]
        fn follows_the_plain_reference(steps in steps()) {
            let budget = Budget::new(60);
            let callers: Vec<Caller> = ["a", "b", "c"].into_iter().map(Caller::of_tenant).collect();
            let (mut capacity, mut tokens, mut used) = (60_u32, 60_u32, [0_u32; 3]);
            let mut paid = Vec::new();
            for step in steps {
                match step {
                    Step::Withdraw(tenant, cost) => {
                        let affordable = tokens >= cost && used[tenant] + cost <= capacity / 2;
                        let withdrawal = budget.withdraw(&callers[tenant], cost);
                        prop_assert_eq!(withdrawal.is_some(), affordable);
                        if let Some(withdrawal) = withdrawal {
                            tokens -= cost;
                            used[tenant] += cost;
                            paid.push((tenant, withdrawal));
                        }
                    }
                    Step::Refund => {
                        if let Some((tenant, withdrawal)) = paid.pop() {
                            budget.refund(withdrawal);
                            tokens = (tokens + withdrawal.cost).min(capacity);
                            used[tenant] = used[tenant].saturating_sub(withdrawal.cost);
                        }
                    }
                    Step::Earn(tenant) => {
                        budget.earn(callers[tenant].tenant_digest());
                        tokens = (tokens + 1).min(capacity);
                        used[tenant] = used[tenant].saturating_sub(1);
                    }
                    Step::Resize(to) => {
                        budget.set_capacity(to);
                        let missing = capacity - tokens;
                        (capacity, tokens) = (to, to.saturating_sub(missing));
                        prop_assert_eq!(budget.capacity(), capacity);
                    }
                }
                prop_assert_eq!(budget.tokens(), tokens);
            }
        }
    }
}
