use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::Layer;

use super::{DeadlineHandle, DeadlineService};
use crate::call::{AtomicDuration, Deadline};

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

    /// What they are.
    pub const fn settings(self) -> Settings {
        self.0
    }
}

/// The limits in force: each changes by itself.
#[derive(Debug)]
pub(super) struct InForce {
    soft: AtomicDuration,
    idle: AtomicDuration,
    hard: AtomicDuration,
}

impl InForce {
    fn new(Limits(Settings { soft, idle, hard }): Limits) -> Self {
        Self { soft: AtomicDuration::new(soft), idle: AtomicDuration::new(idle), hard: AtomicDuration::new(hard) }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits(Settings { soft: self.soft.get(), idle: self.idle.get(), hard: self.hard.get() })
    }

    pub(super) fn set(&self, Limits(Settings { soft, idle, hard }): Limits) {
        self.soft.set(soft);
        self.idle.set(idle);
        self.hard.set(hard);
    }

    /// The deadline of a call that arrived at `arrived`.
    #[inline]
    pub(super) fn from(&self, arrived: Instant) -> Deadline {
        Deadline {
            soft: self.soft.get().and_then(|soft| arrived.checked_add(soft)),
            idle: self.idle.get(),
            hard: self.hard.get().and_then(|hard| arrived.checked_add(hard)),
        }
    }
}

/// Stamps each call with its deadline. See the [module](super).
#[derive(Debug, Clone)]
pub struct DeadlineLayer {
    in_force: Arc<InForce>,
}

impl Default for DeadlineLayer {
    /// Deadlines by the default [`Limits`].
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl DeadlineLayer {
    /// Deadlines by these limits.
    pub fn new(limits: Limits) -> Self {
        Self { in_force: Arc::new(InForce::new(limits)) }
    }

    /// To read the limits, and to change them while calls are made.
    pub fn handle(&self) -> DeadlineHandle {
        DeadlineHandle::new(self.in_force.clone())
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.in_force.clone())
    }
}
