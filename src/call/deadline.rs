//! When a call has to end.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Clock;

/// When a call has to end: at `min(hard, max(soft, last progress + idle))`. Absent means no such end.
///
/// Progress keeps a call alive past its soft end, as long as it keeps coming; nothing moves the hard end
/// (specification, Cancellation, "Timeouts").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deadline {
    /// The end where nothing is heard of the call.
    pub soft: Option<Instant>,
    /// How long after its last progress a call may still go on.
    pub idle: Option<Duration>,
    /// The end in any case.
    pub hard: Option<Instant>,
}

impl Deadline {
    /// When the call ends, and which clock says so, given the time of its last progress.
    #[inline]
    pub fn end(&self, last_progress: Option<Instant>) -> Option<(Instant, Clock)> {
        let soft = self.soft.map(|soft| (soft, Clock::Soft));
        let idle = last_progress.zip(self.idle).and_then(|(last, idle)| Some((last.checked_add(idle)?, Clock::Idle)));
        let movable = match (soft, idle) {
            (Some(soft), Some(idle)) if idle.0 > soft.0 => Some(idle),
            (soft, _) => soft,
        };
        let hard = self.hard.map(|hard| (hard, Clock::Hard));
        match (movable, hard) {
            (Some(movable), Some(hard)) if hard.0 < movable.0 => Some(hard),
            (Some(movable), _) => Some(movable),
            (None, hard) => hard,
        }
    }

    /// The stricter of both in each part: a caller's own deadline can only shorten.
    #[must_use]
    #[inline]
    pub fn tightened(self, other: Self) -> Self {
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        Self { soft: least(self.soft, other.soft), idle: least(self.idle, other.idle), hard: least(self.hard, other.hard) }
    }
}

/// Each hop of a chain hands on a little less time than it has: such a part of a fair time may be missing.
const LOST_ON_THE_WAY: u32 = 10;

/// Whether who had so much time had less than a fair one.
pub(crate) fn falls_short(had: Duration, fair: Duration) -> bool {
    had < fair - fair / LOST_ON_THE_WAY
}

/// Whether an attempt may wait for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// It may, until its deadline.
    #[default]
    Wait,
    /// It may not: who has no slot free now refuses it. A repeated attempt never waits behind fresh calls.
    NoWait,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_moves_the_soft_end_and_never_the_hard_one() {
        let now = Instant::now();
        let s = |n| now + Duration::from_secs(n);
        let deadline = Deadline { soft: Some(s(55)), idle: Some(Duration::from_secs(30)), hard: Some(s(600)) };
        assert_eq!(deadline.end(None), Some((s(55), Clock::Soft)));
        assert_eq!(deadline.end(Some(s(10))), Some((s(55), Clock::Soft)));
        assert_eq!(deadline.end(Some(s(40))), Some((s(70), Clock::Idle)));
        assert_eq!(deadline.end(Some(s(590))), Some((s(600), Clock::Hard)));
        // Of two that end at once, the one that would hold without the other.
        assert_eq!(deadline.end(Some(s(25))), Some((s(55), Clock::Soft)));
        assert_eq!(deadline.end(Some(s(570))), Some((s(600), Clock::Idle)));
        assert_eq!(Deadline { idle: None, ..deadline }.end(Some(s(590))), Some((s(55), Clock::Soft)));
        assert_eq!(Deadline::default().end(Some(s(1))), None);
        let hard_only = Deadline { hard: Some(s(9)), ..Deadline::default() };
        assert_eq!(hard_only.end(None), Some((s(9), Clock::Hard)));
        assert_eq!(deadline.tightened(hard_only), Deadline { hard: Some(s(9)), ..deadline });
        assert_eq!(deadline.tightened(Deadline::default()), deadline);
    }

    #[test]
    fn a_tenth_of_a_fair_time_may_be_missing() {
        let short = |had| falls_short(Duration::from_secs(had), Duration::from_secs(60));
        assert_eq!([0, 53, 54, 60, 61].map(short), [true, true, false, false, false]);
    }
}
