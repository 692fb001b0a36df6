use std::time::Duration;

use tower::Layer;

use super::Timeout;
use crate::{
    call::{Slot, Target},
    error::Clock,
    metrics::{Counters as Series, Subject, TIMEOUTS},
};

/// Ends attempts that take too long. See the [module](super).
#[derive(Debug, Clone)]
pub struct TimeoutLayer {
    limit: Limit,
    slot: Slot<Counters>,
}

/// Which attempts have a limit of their own, besides the call's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// None of them.
    Deadline,
    /// All.
    All(Duration),
    /// Those after which another attempt may follow even if the outcome is unknown: giving up on any other gains nothing.
    Repeatable(Duration),
}

impl TimeoutLayer {
    /// Every attempt ends after `limit`, or at the call's deadline if that is earlier. Zero is no limit.
    pub fn new(limit: Duration) -> Self {
        Self::with(if limit.is_zero() { Limit::Deadline } else { Limit::All(limit) })
    }

    /// An attempt after which another may follow ends after `limit`; any other goes on to the call's deadline. Once a call is
    /// committed it cannot be repeated, and the limit no longer holds. Zero is no limit.
    pub fn repeatable(limit: Duration) -> Self {
        Self::with(if limit.is_zero() { Limit::Deadline } else { Limit::Repeatable(limit) })
    }

    /// Only the call's deadline holds.
    pub fn deadline_only() -> Self {
        Self::with(Limit::Deadline)
    }

    fn with(limit: Limit) -> Self {
        Self { limit, slot: Slot::new() }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.limit, self.slot)
    }
}

/// One counter per clock.
#[derive(Debug)]
pub(super) struct Counters(Series<1, { Clock::ALL.len() }>);

impl Counters {
    pub(super) fn new(target: &Target) -> Self {
        let labels = std::array::from_fn(|place| [Clock::ALL[place].as_str()]);
        Self(Series::new(TIMEOUTS, &Subject::of(target), labels))
    }

    pub(super) fn count(&self, clock: Clock) {
        self.0.count(clock as usize);
    }
}
