use std::{sync::Arc, time::Duration};

use metrics::Counter;
use tower::Layer;

use super::{Timeout, TimeoutHandle};
use crate::{
    call::{AtomicDuration, Slot, Target},
    error::Clock,
    metrics::{TIMEOUTS, labels_of},
};

/// Ends attempts that take too long. See the [module](super).
#[derive(Debug, Clone)]
pub struct TimeoutLayer {
    limit: Arc<AtomicDuration>,
    holds_for: HoldsFor,
    slot: Slot<Counters>,
}

/// Which attempts the layer's limit holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldsFor {
    /// All.
    All,
    /// Those after which another attempt may follow even if the outcome is unknown: giving up on any other gains nothing.
    Repeatable,
}

impl TimeoutLayer {
    /// Every attempt ends after `limit`, or at the call's deadline if that is earlier. Zero is no limit.
    pub fn new(limit: Duration) -> Self {
        Self::with(HoldsFor::All, Some(limit))
    }

    /// An attempt after which another may follow ends after `limit`; any other goes on to the call's deadline. Once a call is
    /// committed it cannot be repeated, and the limit no longer holds. Zero is no limit.
    pub fn repeatable(limit: Duration) -> Self {
        Self::with(HoldsFor::Repeatable, Some(limit))
    }

    /// Only the call's deadline holds. A limit that the [handle](Self::handle) sets is one as [`repeatable`](Self::repeatable) has it.
    pub fn deadline_only() -> Self {
        Self::with(HoldsFor::Repeatable, None)
    }

    /// To read the limit, and to change it while attempts are made.
    pub fn handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(self.limit.clone())
    }

    fn with(holds_for: HoldsFor, limit: Option<Duration>) -> Self {
        Self { limit: Arc::new(AtomicDuration::new(limit)), holds_for, slot: Slot::new() }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.limit.clone(), self.holds_for, self.slot)
    }
}

/// One counter per clock.
#[derive(Debug)]
pub(super) struct Counters([Counter; Clock::ALL.len()]);

impl Counters {
    pub(super) fn new(target: &Target) -> Self {
        let counter = |clock: Clock| TIMEOUTS.counter(labels_of(target).into_iter().chain([clock.as_str().into()]));
        Self(std::array::from_fn(|place| counter(Clock::ALL[place])))
    }

    pub(super) fn count(&self, clock: Clock) {
        self.0[clock as usize].increment(1);
    }
}
