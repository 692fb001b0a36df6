use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tower::Layer;

use super::{Backoff, Budget, BudgetError, FullJitter, MakeBackoff, Retry, RetryHandle, policy::Skip};
use crate::{
    call::{Slot, Target},
    metrics::{Counters, Level, RETRIES, RETRIES_SKIPPED, RETRY_BUDGET, Subject},
};

/// Repeats calls that failed. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct RetryLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
pub(super) struct Shared {
    /// Never 0.
    attempts: AtomicU32,
    backoff: ArcSwap<Box<dyn MakeBackoff>>,
    /// What pays for the retries of all upstreams, where the operator says so.
    given: Option<Arc<Budget>>,
    /// Else what pays for those of each.
    budgets: Slot<Arc<Budget>>,
    known: Mutex<Known>,
    slot: Slot<Handles>,
}

/// The budgets that there are, and how large those to come will be.
struct Known {
    capacity: u32,
    budgets: Vec<Weak<Budget>>,
}

impl Shared {
    fn new(attempts: u32, backoff: Arc<Box<dyn MakeBackoff>>, given: Option<Arc<Budget>>) -> Self {
        let known = Known { capacity: Budget::default().capacity(), budgets: Vec::new() };
        Self {
            attempts: AtomicU32::new(attempts),
            backoff: ArcSwap::new(backoff),
            given,
            budgets: Slot::new(),
            known: Mutex::new(known),
            slot: Slot::new(),
        }
    }
}

fn full_jitter() -> Arc<Box<dyn MakeBackoff>> {
    Arc::new(Box::new(FullJitter::default()))
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(3, full_jitter(), None)
    }
}

/// Another layer, with cells of its own.
impl Clone for Shared {
    fn clone(&self) -> Self {
        let clone = Self::new(self.attempts(), self.backoff.load_full(), self.given.clone());
        clone.known().capacity = self.known().capacity;
        clone
    }
}

impl Shared {
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn set_attempts(&self, attempts: NonZeroU32) {
        self.attempts.store(attempts.get(), Ordering::Relaxed);
    }

    /// The delays of a call that has failed for the first time.
    pub(super) fn make_backoff(&self) -> Box<dyn Backoff> {
        self.backoff.load().make_backoff()
    }

    pub(super) fn set_backoff(&self, backoff: impl MakeBackoff + 'static) {
        self.backoff.store(Arc::new(Box::new(backoff)));
    }

    /// What pays for the retries of a target's upstream, made on first use.
    pub(super) fn budget<'a>(&'a self, target: &'a Target) -> &'a Arc<Budget> {
        let own = || {
            let mut known = self.known();
            let budget = Arc::new(Budget::of(known.capacity));
            known.budgets.retain(|budget| budget.strong_count() > 0);
            known.budgets.push(Arc::downgrade(&budget));
            budget
        };
        self.given.as_ref().unwrap_or_else(|| target.upstream_cell(&self.budgets, own))
    }

    pub(super) fn capacity(&self) -> u32 {
        self.given.as_ref().map_or_else(|| self.known().capacity, |given| given.capacity())
    }

    /// Makes all budgets so large, those that there are and those to come.
    pub(super) fn set_capacity(&self, capacity: u32) -> Result<(), BudgetError> {
        Budget::check(capacity)?;
        let mut known = self.known();
        known.capacity = capacity;
        let own = known.budgets.iter().filter_map(Weak::upgrade);
        self.given.iter().cloned().chain(own).try_for_each(|budget| budget.set_capacity(capacity))
    }

    /// The handles of a target, made on first use.
    pub(super) fn handles<'a>(&self, target: &'a Target) -> &'a Handles {
        target.cell(&self.slot, || Handles::new(target, self.budget(target).clone()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RetryLayer {
    /// At most `attempts` attempts a call, the first included; otherwise the defaults: [`FullJitter`], and a [`Budget`] for each
    /// upstream.
    pub fn new(attempts: NonZeroU32) -> Self {
        Self { shared: Arc::new(Shared::new(attempts.get(), full_jitter(), None)) }
    }

    /// One attempt a call: readiness is still cut here, but nothing is repeated.
    pub fn off() -> Self {
        Self::new(NonZeroU32::MIN)
    }

    /// Waits as `backoff` says between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: impl MakeBackoff + 'static) -> Self {
        Arc::make_mut(&mut self.shared).set_backoff(backoff);
        self
    }

    /// Pays for all retries from `budget`, whichever upstream they go to; other layers in front of the same upstream may share
    /// it. Without it, each upstream has a budget of its own, so that a sick one cannot use up what others need.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        Arc::make_mut(&mut self.shared).given = Some(budget);
        self
    }

    /// Reads and steers this layer while its services run. Take it when the layer is set up: a layer that is set up further
    /// is another one.
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(self.shared.clone())
    }
}

impl<S: Clone> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, self.shared.clone())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("attempts", &self.attempts()).field("budget", &self.given).finish_non_exhaustive()
    }
}

/// How a repeated attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    Success,
    Failure,
    /// A layer further in had no room for it.
    Refused,
}

impl Repeated {
    const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Refused => "refused",
        }
    }
}

/// The handles of one target.
pub(super) struct Handles {
    repeated: Counters<1, { Repeated::ALL.len() }>,
    skipped: Counters<1, { Skip::ALL.len() }>,
    /// Kept, so that the budget shows itself.
    _tokens: Arc<Level>,
    /// What pays for its retries.
    pub(super) budget: Arc<Budget>,
}

impl Handles {
    fn new(target: &Target, budget: Arc<Budget>) -> Self {
        let subject = Subject::of(target);
        let upstream = target.upstream();
        Self {
            repeated: Counters::new(RETRIES, &subject, Repeated::ALL.map(|outcome| [outcome.as_str()])),
            skipped: Counters::new(RETRIES_SKIPPED, &subject, Skip::ALL.map(|reason| [reason.as_str()])),
            _tokens: budget.shown(upstream, || Level::new(RETRY_BUDGET, &Subject::whole(upstream), [])),
            budget,
        }
    }

    pub(super) fn repeated(&self, outcome: Repeated) {
        self.repeated.count(outcome as usize);
    }

    pub(super) fn skipped(&self, reason: Skip) {
        self.skipped.count(reason as usize);
    }

    /// Tells of a budget that was spent, and of which nothing is missing any more.
    pub(super) fn tell_if_whole(&self, target: &Target) {
        if !self.budget.spent.is_on() {
            return;
        }
        let tokens = self.budget.tokens();
        if tokens == self.budget.capacity() && self.budget.spent.ends(Instant::now()) {
            tracing::info!(upstream = target.upstream(), tokens, "the retry budget is whole again");
        }
    }

    /// A repetition could not be paid for.
    pub(super) fn cannot_pay(&self, target: &Target) {
        if self.budget.spent.begins(Instant::now()) {
            let (upstream, tokens) = (target.upstream(), self.budget.tokens());
            tracing::warn!(upstream, tokens, "the retry budget is spent: calls that fail are not repeated");
        }
    }
}
