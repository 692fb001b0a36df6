//! All agents that are remembered: sharded, and bounded.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::agent::Agent;
use crate::call::{Caller, Digest, Head, Session};

const SHARDS: usize = 16;

/// Which agent: who calls, and in which session. Made of keyed digests, so nobody can aim at another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Who {
    caller: Digest,
    session: Option<Session>,
}

impl Who {
    pub(super) fn of(head: &Head) -> Self {
        Self { caller: digest_of(&head.caller), session: head.session_of_revision() }
    }

    fn shard(self) -> usize {
        let bits = self.caller.bits() ^ self.session.map_or(0, |session| session.bits().into());
        // The remainder is below SHARDS.
        usize::try_from(bits % SHARDS as u128).unwrap_or_default()
    }
}

/// A caller, whatever the session. The name alone would not do: it may be that of a program which many people use.
fn digest_of(caller: &Caller) -> Digest {
    let name = caller.agent_name().or_else(|| caller.client_name());
    Digest::of_parts(&(caller.tenant_digest(), name, caller.audience()))
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

    /// Works on an agent, which is remembered from now on; if there is no room, in place of the one that was heard of least
    /// lately.
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

    /// Looks at each session in which this caller is remembered.
    pub(super) fn of_caller(&self, caller: &Caller, mut look: impl FnMut(&Agent)) {
        let caller = digest_of(caller);
        for shard in &self.shards {
            lock(shard).iter().filter(|(who, _)| who.caller == caller).for_each(|(_, agent)| look(agent));
        }
    }

    /// Forgets this caller in all sessions. Says whether there was anything to forget.
    pub(super) fn forget(&self, caller: &Caller) -> bool {
        let caller = digest_of(caller);
        let forgotten = |shard| lock(shard).extract_if(|who, _| who.caller == caller).count();
        self.shards.iter().map(forgotten).sum::<usize>() > 0
    }

    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, who: Who) -> MutexGuard<'_, HashMap<Who, Agent>> {
        lock(&self.shards[who.shard()])
    }
}

fn lock(shard: &Mutex<HashMap<Who, Agent>>) -> MutexGuard<'_, HashMap<Who, Agent>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{call::Revision, loop_guard::policy::Policy, testing::tool};

    fn who(caller: Caller, session: Option<Session>) -> Who {
        let mut head = Head::new(tool("t"));
        (head.caller, head.session) = (caller, session);
        Who::of(&head)
    }

    fn named(tenant: &'static str, agent: impl ToString) -> Who {
        who(Caller::of_tenant(tenant).agent(agent.to_string()), None)
    }

    #[test]
    fn agents_are_told_apart_by_all_that_is_known_of_them() {
        let acme = || Caller::of_tenant("acme");
        let callers = [
            acme(),
            Caller::of_tenant("other"),
            acme().agent("x"),
            acme().agent("y"),
            acme().principal("x"),
            acme().access_token(b"x"),
            acme().agent("x").principal("x"),
            acme().agent("x").principal("y"),
            acme().agent("x").access_token(b"x"),
            acme().agent("x").access_token(b"y"),
            Caller::of_tenant("x").agent("x"),
            Caller::of_tenant("y").agent("y"),
            Caller::of_tenant("x").agent("tenant x"),
            Caller::of_tenant("y").agent("tenant y"),
        ];
        let sessions = [None, Some(Session::of(b"1")), Some(Session::of(b"2"))];
        let agents: Vec<_> =
            callers.iter().flat_map(|caller| sessions.map(|session| (who(caller.clone(), session), (caller, session)))).collect();
        for (n, (one, from)) in agents.iter().enumerate() {
            for (m, (other, and)) in agents.iter().enumerate() {
                assert_eq!(one == other, n == m, "{from:?} {and:?}");
            }
        }
    }

    #[test]
    fn what_changes_while_an_agent_stays_the_same_does_not_count() {
        let ada = || Caller::default().agent("x").principal("ada");
        assert_eq!(who(ada().access_token(b"old"), None), who(ada().access_token(b"renewed"), None));
        assert_eq!(who(ada().client("claude"), None), who(ada().client("another"), None), "the agent's name is the better one");
        assert_eq!(who(Caller::default().client("claude"), None), who(Caller::default().agent("claude"), None));
        let in_session = |id: &[u8]| {
            let mut head = Head::new(tool("t"));
            (head.session, head.revision) = (Some(Session::of(id)), Revision::from_wire("2026-07-28"));
            Who::of(&head)
        };
        assert_eq!(in_session(b"1"), in_session(b"2"), "the revision has no sessions");
    }

    /// Agents of one tenant too, and the sessions of one caller: else some shards would forget while others are empty.
    #[test]
    fn agents_spread_over_all_shards() {
        let room = || Agents::new(NonZeroUsize::MIN.saturating_add(1_599));
        let well_spread = |agents: &Agents| assert!((1_400..=1_600).contains(&agents.len()), "{}", agents.len());
        for tenant in ["acme", "other", "third"] {
            let agents = room();
            (0..1_600).for_each(|n| agents.with_new(named(tenant, n), |_| ()));
            well_spread(&agents);
        }
        let agents = room();
        (0..1_600).for_each(|_| agents.with_new(who(Caller::default(), Some(Session::new())), |_| ()));
        well_spread(&agents);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many_and_the_oldest_goes_first() {
        let of_one_shard = (0..).map(|n| named("acme", n)).filter(|who| who.shard() == 7);
        let who: Vec<Who> = of_one_shard.take(10).collect();
        let agents = Agents::new(NonZeroUsize::MIN.saturating_add(15));
        for who in &who {
            agents.with_new(*who, |agent| agent.admit(None, false, &Policy::default(), Instant::now()));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(agents.len(), 1);
        assert!(agents.with(who[9], |_| ()).is_some());

        let agents = Agents::new(NonZeroUsize::MIN.saturating_add(3 * SHARDS - 1));
        // The last of them has been heard of before, and finds itself.
        for n in [0, 1, 2, 0, 3, 4, 0] {
            agents.with_new(who[n], |agent| agent.admit(None, false, &Policy::default(), Instant::now()));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!([0, 1, 2, 3, 4].map(|n| agents.with(who[n], |_| ()).is_some()), [true, false, false, true, true]);
    }

    #[test]
    fn a_caller_is_found_and_forgotten_in_all_its_sessions() {
        let (agents, ada) = (Agents::new(NonZeroUsize::MIN.saturating_add(1_599)), || Caller::default().principal("ada"));
        for session in [None, Some(Session::new()), Some(Session::new())] {
            agents.with_new(who(ada(), session), |_| ());
            agents.with_new(who(Caller::default(), session), |_| ());
        }
        let found = |caller: &Caller| {
            let mut found = 0;
            agents.of_caller(caller, |_| found += 1);
            found
        };
        assert_eq!(found(&ada()), 3);
        assert!(agents.forget(&ada()) && !agents.forget(&ada()));
        assert_eq!((found(&ada()), found(&Caller::default())), (0, 3));
    }
}
