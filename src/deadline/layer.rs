use std::time::Duration;

use tokio::time::Instant;
use tower::Layer;

use super::DeadlineService;
use crate::call::Deadline;

/// How long a call may take, from its arrival; not yet checked: [`Limits::try_new`] checks it. `None`, or zero, is no such
/// limit.
///
/// More may come: write them as changes of others, `Settings { .., ..Settings::default() }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The end of a call of which nothing is heard.
    pub soft: Option<Duration>,
    /// How long after its last progress a call may go on past the soft end.
    pub idle: Option<Duration>,
    /// The end in any case.
    pub hard: Option<Duration>,
}

impl Default for Settings {
    /// 55 s where nothing is heard of the call (the TypeScript SDK gives up at 60), 30 s from one sign of progress to the
    /// next, 10 min in any case.
    fn default() -> Self {
        Self { soft: Some(Duration::from_secs(55)), idle: Some(Duration::from_secs(30)), hard: Some(Duration::from_secs(600)) }
    }
}

/// How long a call may take: [`Settings`] that make sense together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits(Settings);

impl Default for Limits {
    /// The default [`Settings`].
    fn default() -> Self {
        Self(Settings::default())
    }
}

/// Why a set of limits cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The soft end would come after the end in any case.
    #[error("soft is {soft:?}, but must be no longer than hard, which is {hard:?}")]
    SoftAboveHard {
        /// The `soft` given.
        soft: Duration,
        /// The `hard` given.
        hard: Duration,
    },
    /// The time between two signs of progress would be longer than the call.
    #[error("idle is {idle:?}, but must be no longer than hard, which is {hard:?}")]
    IdleAboveHard {
        /// The `idle` given.
        idle: Duration,
        /// The `hard` given.
        hard: Duration,
    },
}

impl Limits {
    /// No limit at all: only the caller's own deadline holds.
    pub const NONE: Self = Self(Settings { soft: None, idle: None, hard: None });

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A limit that is longer than the hard one, with the values of both.
    pub fn try_new(settings: Settings) -> Result<Self, LimitsError> {
        let on = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
        let Settings { soft, idle, hard } = settings;
        let (soft, idle, hard) = (on(soft), on(idle), on(hard));
        match (soft, idle, hard) {
            (Some(soft), _, Some(hard)) if soft > hard => Err(LimitsError::SoftAboveHard { soft, hard }),
            (_, Some(idle), Some(hard)) if idle > hard => Err(LimitsError::IdleAboveHard { idle, hard }),
            _ => Ok(Self(Settings { soft, idle, hard })),
        }
    }

    /// One end for every call, whatever is heard of it; zero is none.
    pub fn at_most(hard: Duration) -> Self {
        let hard = Some(hard).filter(|hard| !hard.is_zero());
        Self(Settings { soft: hard, idle: None, hard })
    }

    /// The deadline of a call that arrived at `arrived`.
    #[inline]
    pub(super) fn from(self, arrived: Instant) -> Deadline {
        let Settings { soft, idle, hard } = self.0;
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
