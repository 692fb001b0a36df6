use std::{num::NonZeroUsize, sync::Arc};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tower::Layer;

use super::{
    LoopGuard, LoopGuardHandle, Policy,
    agent::{Admit, Found},
    agents::{Agents, Who},
    future::Watch,
};
use crate::{
    Mode,
    call::{CallParams, Head, Slot, Target},
    error::{Reason, Rejected},
    gate::Observed,
    logs::Sparingly,
    metrics::{Counters as Series, LOOPS, Subject},
};

/// How many agents a layer remembers unless told otherwise.
const AGENTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Stops agents that go in circles. See the [module](super).
#[derive(Debug, Clone)]
pub struct LoopGuardLayer {
    shared: Arc<Shared>,
}

impl Default for LoopGuardLayer {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl LoopGuardLayer {
    /// Guards by this policy, and remembers up to 4,096 agents whose last calls failed, with up to 64 calls of each.
    pub fn new(policy: Policy) -> Self {
        Self::with(Rules { policy, mode: Mode::Enforce }, AGENTS)
    }

    /// The same in this mode, with counts of its own.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        let Shared { rules, capacity, .. } = &*self.shared;
        Self::with(Rules { mode, ..**rules.load() }, *capacity)
    }

    /// The same, remembering up to so many agents, with counts of its own. An agent takes about 100 bytes for each of its calls
    /// that failed.
    #[must_use]
    pub fn agents(self, capacity: NonZeroUsize) -> Self {
        Self::with(**self.shared.rules.load(), capacity)
    }

    fn with(rules: Rules, capacity: NonZeroUsize) -> Self {
        let (rules, agents) = (ArcSwap::from_pointee(rules), Agents::new(capacity));
        Self { shared: Arc::new(Shared { rules, capacity, agents, slot: Slot::new() }) }
    }

    /// What reads and steers this layer.
    pub fn handle(&self) -> LoopGuardHandle {
        LoopGuardHandle::new(self.shared.clone())
    }
}

impl<S> Layer<S> for LoopGuardLayer {
    type Service = LoopGuard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LoopGuard::new(inner, self.shared.clone())
    }
}

/// What may change while services run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) mode: Mode,
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rules: ArcSwap<Rules>,
    capacity: NonZeroUsize,
    pub(super) agents: Agents,
    slot: Slot<Counters>,
}

impl Shared {
    pub(super) fn change(&self, change: impl Fn(&mut Rules)) {
        self.rules.rcu(|rules| {
            let mut rules = **rules;
            change(&mut rules);
            rules
        });
    }

    /// Lets a call through under a watch, or refuses it.
    pub(super) fn admit<P: CallParams>(self: &Arc<Self>, head: &Head, params: &P) -> Result<Watch<P>, Rejected> {
        let (rules, who) = (self.rules.load(), Who::of(head));
        let mut watch = Watch::new(self.clone(), who, head, params.clone());
        let now = head.arrived;
        let retry = head.meta.as_ref().and_then(|meta| meta.attempt).is_some_and(|attempt| attempt > 1);
        let admit = match rules.policy.settings().budget {
            Some(_) => {
                let key = watch.key();
                self.agents.with_new(who, |agent| agent.admit(key, retry, &rules.policy, now))
            }
            // An agent without failures is not remembered, and its call need not be looked at.
            None if self.agents.with(who, |_| ()).is_none() => Admit::Pass,
            None => {
                let key = watch.key();
                self.agents.with(who, |agent| agent.admit(key, retry, &rules.policy, now)).unwrap_or(Admit::Pass)
            }
        };
        let (reason, wait) = match admit {
            Admit::Pass => return Ok(watch),
            Admit::Retry => {
                watch.retries();
                return Ok(watch);
            }
            Admit::Trial(ticket) => {
                watch.holds(ticket);
                return Ok(watch);
            }
            Admit::Loop(wait) => (Reason::Loop, wait),
            Admit::Budget(wait) => (Reason::Quota, wait),
        };
        match rules.mode {
            Mode::Enforce => Err(Rejected::new("loop_guard", reason).retry_after(Some(wait))),
            Mode::Observe => {
                self.counters(&head.target).observed.count(&head.target, reason);
                Ok(watch)
            }
        }
    }

    pub(super) fn tell(&self, found: Found, target: &Target) {
        let counters = self.counters(target);
        counters.loops.count(found as usize);
        if let Some(unsaid) = counters.told.happens(Instant::now()) {
            let (upstream, tool) = (target.upstream(), target.label());
            tracing::warn!(upstream, tool, kind = found.as_str(), unsaid, "an agent goes in circles");
        }
    }

    fn counters<'t>(&self, target: &'t Target) -> &'t Counters {
        target.cell(&self.slot, || Counters::new(target))
    }
}

/// The handles of one target, made when the guard first has something to say of it.
#[derive(Debug)]
struct Counters {
    loops: Series<1, { Found::ALL.len() }>,
    observed: Observed,
    told: Sparingly,
}

impl Counters {
    fn new(target: &Target) -> Self {
        let loops = Series::new(LOOPS, &Subject::of(target), Found::ALL.map(|found| [found.as_str()]));
        Self { loops, observed: Observed::new("loop_guard"), told: Sparingly::new() }
    }
}
