use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower::Layer;

use super::{Timeout, TimeoutHandle};
use crate::{
    call::{AtomicDuration, Slot, Target},
    error::Clock,
    metrics::{Counters as Series, Subject, TIMEOUTS},
};

/// Ends attempts that take too long. See the [module](super).
#[derive(Debug, Clone)]
pub struct TimeoutLayer {
    limit: Arc<AtomicDuration>,
    holds_for: HoldsFor,
    slot: Slot<Cell>,
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

    /// A call's first attempt ends after `limit`, if another may follow and the target is not known to be
    /// [slow](super#slow-targets); any other goes on to the call's deadline. Once a call is committed it cannot be repeated, and
    /// the limit no longer holds. Zero is no limit.
    pub fn repeatable(limit: Duration) -> Self {
        Self::with(HoldsFor::Repeatable, Some(limit))
    }

    /// Only the call's deadline holds. A limit that the [handle](Self::handle) sets is one as [`repeatable`](Self::repeatable)
    /// has it.
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

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Cell {
    timeouts: Series<1, { Clock::ALL.len() }>,
    /// Whether an attempt was given up at the limit, and none has been answered within it since.
    slow: AtomicBool,
}

impl Cell {
    pub(super) fn new(target: &Target) -> Self {
        let labels = std::array::from_fn(|place| [Clock::ALL[place].as_str()]);
        Self { timeouts: Series::new(TIMEOUTS, &Subject::of(target), labels), slow: AtomicBool::new(false) }
    }

    pub(super) fn count(&self, clock: Clock) {
        self.timeouts.count(clock as usize);
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    pub(super) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }
}
