use std::time::Duration;

use tokio::time::Instant;
use tower::Layer;

use super::DeadlineService;
use crate::call::Deadline;

/// How long a call may take, from its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    soft: Option<Duration>,
    idle: Option<Duration>,
    hard: Option<Duration>,
}

impl Default for Limits {
    /// 55 s where nothing is heard of the call (the TypeScript SDK gives up at 60), 30 s from one sign of progress to the
    /// next, 10 min in any case.
    fn default() -> Self {
        Self { soft: Some(Duration::from_secs(55)), idle: Some(Duration::from_secs(30)), hard: Some(Duration::from_secs(600)) }
    }
}

impl Limits {
    /// No limit at all: only the caller's own deadline holds.
    pub const NONE: Self = Self { soft: None, idle: None, hard: None };

    /// The end of a call of which nothing is heard. `None` is no such end.
    #[must_use]
    pub fn soft(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.soft = limit.into();
        self
    }

    /// How long after its last progress a call may go on past the soft end.
    #[must_use]
    pub fn idle(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle = limit.into();
        self
    }

    /// The end in any case; also caps the soft one.
    #[must_use]
    pub fn hard(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.hard = limit.into();
        self
    }

    /// The deadline of a call that arrived at `arrived`.
    pub(super) fn from(self, arrived: Instant) -> Deadline {
        let Self { soft, idle, hard } = self;
        Deadline {
            soft: soft.and_then(|soft| arrived.checked_add(soft)),
            idle,
            hard: hard.and_then(|hard| arrived.checked_add(hard)),
        }
    }
}

/// Stamps each call with its deadline. See the [module](super).
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadlineLayer {
    limits: Limits,
}

impl DeadlineLayer {
    /// Deadlines by these limits.
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.limits)
    }
}
