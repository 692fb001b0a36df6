//! All agents that are remembered: sharded, and bounded.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::agent::Agent;
use crate::call::{Caller, Digest};

const SHARDS: usize = 16;

/// Odd, and with bits all over: the golden ratio's.
const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// Which agent. Made of keyed digests, so nobody can aim at another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Who(u128);

impl Who {
    pub(super) fn of(caller: &Caller) -> Self {
        let named = |name: &str| Digest::of(name.as_bytes()).bits();
        let (kind, name) = match (caller.agent_name(), caller.principal_name(), caller.authorisation()) {
            (Some(agent), _, _) => (1, named(agent)),
            (None, Some(principal), _) => (2, named(principal)),
            (None, None, Some(token)) => (3, token.bits()),
            (None, None, None) => (0, 0),
        };
        // Multiplied, so that a name which repeats the tenant's does not cancel it out.
        Self(caller.tenant_digest().bits() ^ name.wrapping_add(kind).wrapping_mul(SPREAD))
    }
}

#[derive(Debug)]
pub(super) struct Agents {
    shards: [Mutex<HashMap<Who, Agent>>; SHARDS],
    per_shard: usize,
}

impl Agents {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        let per_shard = capacity.get().div_ceil(SHARDS);
        Self { shards: std::array::from_fn(|_| Mutex::default()), per_shard }
    }

    /// Works on an agent, if it is remembered.
    pub(super) fn with<T>(&self, who: Who, work: impl FnOnce(&mut Agent) -> T) -> Option<T> {
        self.shard(who).get_mut(&who).map(work)
    }

    /// Works on an agent, which is remembered from now on; if there is no room, in place of the one that was heard of least lately.
    pub(super) fn with_new<T>(&self, who: Who, work: impl FnOnce(&mut Agent) -> T) -> T {
        let mut shard = self.shard(who);
        if shard.len() >= self.per_shard
            && !shard.contains_key(&who)
            && let Some(oldest) = shard.iter().min_by_key(|(_, agent)| agent.seen()).map(|(oldest, _)| *oldest)
        {
            shard.remove(&oldest);
        }
        work(shard.entry(who).or_default())
    }

    /// Forgets an agent if `idle` says that there is nothing to remember.
    pub(super) fn forget_if(&self, who: Who, idle: impl FnOnce(&Agent) -> bool) -> bool {
        let mut shard = self.shard(who);
        let forget = shard.get(&who).is_some_and(idle);
        if forget {
            shard.remove(&who);
        }
        forget
    }

    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, who: Who) -> MutexGuard<'_, HashMap<Who, Agent>> {
        // The remainder is below SHARDS.
        let place = usize::try_from(who.0 % SHARDS as u128).unwrap_or_default();
        lock(&self.shards[place])
    }
}

fn lock(shard: &Mutex<HashMap<Who, Agent>>) -> MutexGuard<'_, HashMap<Who, Agent>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::loop_guard::policy::Policy;

    #[test]
    fn agents_are_told_apart_by_the_best_name_they_have() {
        let acme = || Caller::of_tenant("acme");
        let callers = [
            acme(),
            Caller::of_tenant("other"),
            acme().agent("x"),
            acme().agent("y"),
            acme().principal("x"),
            acme().access_token(b"x"),
            Caller::of_tenant("x").agent("x"),
            Caller::of_tenant("y").agent("y"),
            Caller::of_tenant("x").agent("tenant x"),
            Caller::of_tenant("y").agent("tenant y"),
        ];
        for (n, one) in callers.iter().enumerate() {
            for (m, other) in callers.iter().enumerate() {
                assert_eq!(Who::of(one) == Who::of(other), n == m, "{one:?} {other:?}");
            }
        }
        // A new token, or a new principal, is no new agent.
        assert_eq!(Who::of(&acme().agent("x").access_token(b"1")), Who::of(&acme().agent("x").principal("p")));
    }

    /// Agents of one tenant too: else some shards would forget while others are empty.
    #[test]
    fn agents_spread_over_all_shards() {
        for tenant in ["acme", "other", "third"] {
            let agents = Agents::new(NonZeroUsize::MIN.saturating_add(1_599));
            (0..1_600).for_each(|n| agents.with_new(Who::of(&Caller::of_tenant(tenant).agent(n.to_string())), |_| ()));
            assert!((1_400..=1_600).contains(&agents.len()), "{}", agents.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many_and_the_oldest_goes_first() {
        let agents = Agents::new(NonZeroUsize::MIN.saturating_add(15));
        let who = |n: u128| Who(n * SHARDS as u128);
        for n in 0..10 {
            agents.with_new(who(n), |agent| agent.admit(None, &Policy::default(), Instant::now()));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(agents.len(), 1);
        assert!(agents.with(who(9), |_| ()).is_some());

        let agents = Agents::new(NonZeroUsize::MIN.saturating_add(3 * SHARDS - 1));
        // The last of them has been heard of before, and finds itself.
        for n in [0, 1, 2, 0, 3, 4, 0] {
            agents.with_new(who(n), |agent| agent.admit(None, &Policy::default(), Instant::now()));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!([0, 1, 2, 3, 4].map(|n| agents.with(who(n), |_| ()).is_some()), [true, false, false, true, true]);
    }
}
