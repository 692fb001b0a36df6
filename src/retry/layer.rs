use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use metrics::{Counter, Gauge};
use tokio::time::Instant;
use tower::Layer;

use super::{Budget, FullJitter, MakeBackoff, Retry, RetryHandle, policy::Skip};
use crate::{
    call::{Slot, Target},
    logs::Spell,
    metrics::{RETRIES, RETRIES_SKIPPED, RETRY_BUDGET, labels_of, upstream},
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
    pub(super) backoff: Arc<dyn MakeBackoff>,
    pub(super) budget: Arc<Budget>,
    pub(super) slot: Slot<Handles>,
    /// Whether it has been told that the budget is spent.
    spent: Spell,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            attempts: AtomicU32::new(3),
            backoff: Arc::new(FullJitter::default()),
            budget: Arc::default(),
            slot: Slot::new(),
            spent: Spell::default(),
        }
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self {
            attempts: AtomicU32::new(self.attempts()),
            backoff: self.backoff.clone(),
            budget: self.budget.clone(),
            slot: self.slot,
            spent: Spell::default(),
        }
    }
}

impl Shared {
    /// Shows what is left in the budget.
    pub(super) fn show_budget(&self, target: &Target, handles: &Handles) {
        let tokens = self.budget.tokens();
        handles.budget.set(f64::from(tokens));
        if self.spent.is_on() && tokens == self.budget.capacity() && self.spent.ends(Instant::now()) {
            tracing::info!(upstream = target.upstream(), tokens, "the retry budget is whole again");
        }
    }

    /// A repetition could not be paid for.
    pub(super) fn cannot_pay(&self, target: &Target) {
        if self.spent.begins(Instant::now()) {
            let (upstream, tokens) = (target.upstream(), self.budget.tokens());
            tracing::warn!(upstream, tokens, "the retry budget is spent: calls that fail are not repeated");
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn set_attempts(&self, attempts: NonZeroU32) {
        self.attempts.store(attempts.get(), Ordering::Relaxed);
    }
}

impl RetryLayer {
    /// At most `attempts` attempts a call, the first included; otherwise the defaults: [`FullJitter`], [`Budget`].
    pub fn new(attempts: NonZeroU32) -> Self {
        Self { shared: Arc::new(Shared { attempts: AtomicU32::new(attempts.get()), ..Shared::default() }) }
    }

    /// One attempt a call: readiness is still cut here, but nothing is repeated.
    pub fn off() -> Self {
        Self::new(NonZeroU32::MIN)
    }

    /// Waits as `backoff` says between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: impl MakeBackoff + 'static) -> Self {
        Arc::make_mut(&mut self.shared).backoff = Arc::new(backoff);
        self
    }

    /// Pays for retries from `budget`, which other layers in front of the same upstream may share.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        Arc::make_mut(&mut self.shared).budget = budget;
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
        f.debug_struct("Shared").field("attempts", &self.attempts()).field("budget", &self.budget).finish_non_exhaustive()
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
    repeated: [Counter; Repeated::ALL.len()],
    skipped: [Counter; Skip::ALL.len()],
    budget: Gauge,
}

impl Handles {
    pub(super) fn new(target: &Target, budget: &Budget) -> Self {
        let counter = |metric: crate::metrics::Metric, label: &'static str| {
            metric.counter(labels_of(target).into_iter().chain([label.into()]))
        };
        let budget_gauge = RETRY_BUDGET.gauge([upstream(target)]);
        budget_gauge.set(f64::from(budget.tokens()));
        Self {
            repeated: Repeated::ALL.map(|outcome| counter(RETRIES, outcome.as_str())),
            skipped: Skip::ALL.map(|reason| counter(RETRIES_SKIPPED, reason.as_str())),
            budget: budget_gauge,
        }
    }

    pub(super) fn repeated(&self, outcome: Repeated) {
        self.repeated[outcome as usize].increment(1);
    }

    pub(super) fn skipped(&self, reason: Skip) {
        self.skipped[reason as usize].increment(1);
    }
}
