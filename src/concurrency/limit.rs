//! What sets the limit of a target: a number, or something that learns from what becomes of attempts.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::call::{Target, Verdict};

/// A limit that follows what becomes of attempts. One is made per target; it is asked under the target's lock, so it should be
/// quick, and it cannot block.
pub trait AdaptiveLimit: Send + fmt::Debug {
    /// How many attempts may run at once, as things stand.
    fn limit(&self) -> NonZeroU32;

    /// An attempt has ended.
    fn sample(&mut self, sample: &Sample);
}

/// What a limit learns of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// When it got its slot.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How long it had waited for its slot.
    pub waited: Duration,
    /// How many slots were held when it had got its own, that one included.
    pub in_flight: u32,
    /// How many attempts wait for a slot now that it has ended.
    pub waiting: u32,
    /// What became of it. [`Cancelled`](Verdict::Cancelled): its time is only the least that it would have taken. Whatever a
    /// layer of this stack refused is not told.
    pub verdict: Verdict,
}

/// Makes a target's limit.
pub(super) type MakeLimit = Arc<dyn Fn(&Target) -> Box<dyn AdaptiveLimit> + Send + Sync>;

/// What sets the limits of a layer.
#[derive(Clone)]
pub(super) enum Limit {
    /// Every attempt passes.
    Off,
    Static(NonZeroU32),
    Adaptive(MakeLimit),
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Static(limit) => f.debug_tuple("Static").field(limit).finish(),
            Self::Adaptive(_) => f.debug_tuple("Adaptive").finish_non_exhaustive(),
        }
    }
}
