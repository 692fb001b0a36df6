//! How a call has ended, again and again.

use super::outcome::Outcome;

/// Outcomes of one call in a row: plain counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streak {
    /// The last of them.
    pub(super) outcome: Outcome,
    /// How many were the same as the last.
    pub(super) same: u32,
    /// How many were failures, the same or not. 0 where the last is none.
    pub(super) failures: u32,
}

impl Streak {
    /// The first.
    pub(super) const fn of(outcome: Outcome) -> Self {
        Self { outcome, same: 1, failures: matches!(outcome, Outcome::Failure(_)) as u32 }
    }

    /// These, and then another.
    pub(super) fn and(self, outcome: Outcome) -> Self {
        let first = Self::of(outcome);
        Self {
            same: if outcome == self.outcome { self.same.saturating_add(1) } else { first.same },
            failures: if first.failures > 0 { self.failures.saturating_add(1) } else { 0 },
            ..first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Digest;

    #[test]
    fn failures_are_counted_the_same_or_not_and_successes_only_the_same() {
        let (failed, done) = (|text: &str| Outcome::Failure(Digest::of(text.as_bytes())), Outcome::Success(Digest::of(b"done")));
        let mut streak = Streak::of(failed("a"));
        let counts = |streak: Streak| (streak.same, streak.failures);
        assert_eq!(counts(streak), (1, 1));
        let ends = [failed("a"), failed("b"), failed("b"), done, done, failed("b")];
        let counted = ends.map(|outcome| {
            streak = streak.and(outcome);
            assert_eq!(streak.outcome, outcome);
            counts(streak)
        });
        assert_eq!(counted, [(2, 2), (1, 3), (2, 4), (1, 0), (2, 0), (1, 1)]);
        assert_eq!(counts(Streak::of(done)), (1, 0));
    }
}
