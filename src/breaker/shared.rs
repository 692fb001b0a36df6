//! What all services of one layer share: where its breakers are, and what they go by.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::{
    cell::Cell,
    history::History,
    policy::Policy,
    upstream::{Upstream, adopt},
};
use crate::{
    Mode,
    call::{Slot, Target},
};

/// The breakers of one layer.
#[derive(Debug)]
pub(super) struct Shared {
    targets: Slot<Arc<Cell>>,
    upstreams: Slot<Arc<Upstream>>,
    on: bool,
    seed: Option<u64>,
    observes: AtomicBool,
    history: Arc<History>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    policy: Policy,
    upstreams: Vec<Weak<Upstream>>,
}

impl Shared {
    pub(super) fn new(on: bool, policy: Policy, seed: Option<u64>, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            targets: Slot::new(),
            upstreams: Slot::new(),
            on,
            seed,
            observes: (mode == Mode::Observe).into(),
            history: Arc::default(),
            known: Mutex::new(Known { policy, upstreams: Vec::new() }),
        })
    }

    /// The breaker of a target, made on first use.
    #[inline]
    pub(super) fn cell<'a>(&self, target: &'a Target, now: Instant) -> &'a Arc<Cell> {
        target.cell(&self.targets, || {
            // Held until the new breaker is known, so that no change of policy or mode passes it by.
            let mut known = self.known();
            let upstream = self.upstream_of(&mut known, target, now);
            let cell = Arc::new(Cell::new(upstream.clone(), known.policy, self.seed, self.mode(), target, now));
            upstream.adopt(&cell);
            cell
        })
    }

    /// The breaker of a target's upstream, made on first use.
    pub(super) fn upstream<'a>(&self, target: &'a Target, now: Instant) -> &'a Arc<Upstream> {
        self.upstream_of(&mut self.known(), target, now)
    }

    fn upstream_of<'a>(&self, known: &mut Known, target: &'a Target, now: Instant) -> &'a Arc<Upstream> {
        target.upstream_cell(&self.upstreams, || {
            let history = self.history.clone();
            let upstream = Arc::new(Upstream::new(target.upstream(), known.policy, self.seed, history, self.mode(), now));
            adopt(&mut known.upstreams, &upstream);
            upstream
        })
    }

    /// The breaker of a target, where there is one.
    pub(super) fn known_cell<'a>(&self, target: &'a Target) -> Option<&'a Arc<Cell>> {
        target.get_cell(&self.targets)
    }

    /// The breaker of a target's upstream, where there is one.
    pub(super) fn known_upstream<'a>(&self, target: &'a Target) -> Option<&'a Arc<Upstream>> {
        target.get_upstream_cell(&self.upstreams)
    }

    /// Whether calls are looked at at all.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn policy(&self) -> Policy {
        self.known().policy
    }

    pub(super) const fn seed(&self) -> Option<u64> {
        self.seed
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        let mut known = self.known();
        known.policy = policy;
        known.upstreams.iter().filter_map(Weak::upgrade).for_each(|upstream| upstream.set_policy(policy));
    }

    pub(super) fn mode(&self) -> Mode {
        if self.observes.load(Ordering::Relaxed) { Mode::Observe } else { Mode::Enforce }
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        let known = self.known();
        self.observes.store(mode == Mode::Observe, Ordering::Relaxed);
        known.upstreams.iter().filter_map(Weak::upgrade).for_each(|upstream| upstream.set_mode(mode));
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The upstreams that calls have come for.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.known().upstreams.iter().filter_map(Weak::upgrade).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
