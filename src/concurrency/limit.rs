//! What sets the limit of a target: a number, or something that learns from what becomes of attempts.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::adaptive::{Adaptive, Crowd, Outcome};
use crate::call::{Target, Verdict};

/// A limit that follows what becomes of attempts. One is made per target; all of it is called under the target's lock, so it
/// should be quick, and must not block.
pub trait AdaptiveLimit: Send + fmt::Debug {
    /// How many attempts may run at once, as things stand.
    fn limit(&self) -> NonZeroU32;

    /// A call has come, whatever becomes of it.
    fn arrived(&mut self, crowd: Crowd, now: Instant) {
        let _ = (crowd, now);
    }

    /// An attempt has got its slot.
    fn started(&mut self, crowd: Crowd, now: Instant) {
        let _ = (crowd, now);
    }

    /// When one of those who wait may have a slot that is free: `now` or before means at once. Asked whenever a call comes or an
    /// attempt ends, and again at the time that it says; not asked, so that nobody waits for ever, where no slot is held.
    fn may_start(&self, now: Instant) -> Instant {
        now
    }

    /// An attempt has ended, and its slot is about to be free.
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
    /// The crowd that it leaves behind, without it.
    pub crowd: Crowd,
    /// What became of it. [`Cancelled`](Verdict::Cancelled) or [`Hurried`](Verdict::Hurried): its time is only the least that it
    /// would have taken. Whatever a layer of this stack refused is not told.
    pub verdict: Verdict,
}

impl AdaptiveLimit for Adaptive {
    fn limit(&self) -> NonZeroU32 {
        self.limit()
    }

    fn arrived(&mut self, crowd: Crowd, now: Instant) {
        self.arrived(crowd, now);
    }

    fn started(&mut self, crowd: Crowd, now: Instant) {
        self.started(crowd, now);
    }

    fn may_start(&self, now: Instant) -> Instant {
        self.may_start(now)
    }

    fn sample(&mut self, sample: &Sample) {
        self.ended(sample.started, Outcome::of(sample.verdict), sample.crowd, sample.ended);
    }
}

impl Outcome {
    const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok | Verdict::ToolError => Self::Answered,
            Verdict::Throttled { .. } | Verdict::NotSent | Verdict::Ambiguous { overload: true, .. } => Self::Overload,
            Verdict::Cancelled | Verdict::Hurried => Self::Cut,
            _ => Self::Nothing,
        }
    }
}

/// How many calls may be under way at once that [wait](crate::call::Method::waits) for work done elsewhere, where the layer's own
/// limit is not higher: they take the target next to nothing, and minutes each.
const WAITS: NonZeroU32 = NonZeroU32::new(1024).unwrap();

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

impl Limit {
    /// The limit of a target of which the operator says this, and what it goes by from then on if it adapts.
    pub(super) fn of(&self, said: Option<NonZeroU32>, target: &Target) -> (NonZeroU32, Option<Box<dyn AdaptiveLimit>>) {
        match (said, self) {
            (Some(limit), _) => (limit, None),
            (None, Self::Static(limit)) => (own(*limit, target.method().waits()), None),
            (None, Self::Adaptive(_)) if target.method().waits() => (WAITS, None),
            (None, Self::Adaptive(make)) => {
                let adaptive = make(target);
                (adaptive.limit(), Some(adaptive))
            }
            (None, Self::Off) => (NonZeroU32::MAX, None),
        }
    }
}

/// The layer's own number, as it holds for a target whose calls wait for work done elsewhere, or do not.
pub(super) fn own(limit: NonZeroU32, waits: bool) -> NonZeroU32 {
    if waits { limit.max(WAITS) } else { limit }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_verdict_says_of_the_limit() {
        let doubt = |overload| Verdict::Ambiguous { retry_after: None, overload };
        for (verdict, outcome) in [
            (Verdict::Ok, Outcome::Answered),
            (Verdict::ToolError, Outcome::Answered),
            (Verdict::Throttled { retry_after: None }, Outcome::Overload),
            (Verdict::NotSent, Outcome::Overload),
            (doubt(true), Outcome::Overload),
            (doubt(false), Outcome::Nothing),
            (Verdict::Cancelled, Outcome::Cut),
            (Verdict::Hurried, Outcome::Cut),
            (Verdict::ClientFault, Outcome::Nothing),
            (Verdict::Denied, Outcome::Nothing),
        ] {
            assert_eq!(Outcome::of(verdict), outcome, "{verdict:?}");
        }
    }
}
