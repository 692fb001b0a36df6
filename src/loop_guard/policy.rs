//! What the operator may set about the guard, and which settings make sense.

use std::time::Duration;

use governor::Quota;

use super::{outcome::Outcome, streak::Streak};

/// The settings of a loop guard, not yet checked; [`Policy::try_new`] checks them.
///
/// More may come: write them as changes of others, `Settings { .., ..Settings::default() }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in the same way may follow each other as fast as the agent likes.
    pub free_failures: u32,
    /// How long after the last free failure the next call has to come. Doubles with each further failure.
    pub first_gap: Duration,
    /// After this many failures in the same way the call is blocked.
    pub failures_to_block: u32,
    /// After this many failures in a row, however they differ, the call is blocked as well: a request id in an error's text is no
    /// sign that something moves. 0: never, for agents who ask in vain, with the same arguments, until something is ready.
    pub any_failures_to_block: u32,
    /// How long it is blocked. Each failed trial blocks it for as long again.
    pub block_for: Duration,
    /// A count ends when nothing is added to it for this long.
    pub remember_for: Duration,
    /// After this many successes with the same result the call has to come `success_gap` after the one before. 0, the default:
    /// never. Right only where no two agents are taken for one, or they pay for each other.
    pub identical_successes: u32,
    /// See `identical_successes`.
    pub success_gap: Duration,
    /// How many attempts that a client makes of its own accord, and marks (`_meta` with an
    /// [`ATTEMPT_KEY`](crate::call::ATTEMPT_KEY) above 1), go with a count: they neither have to wait nor make it longer. Those
    /// beyond are calls like any other, as a mark is easily forged. 0: no mark is believed.
    pub client_retries: u32,
    /// Whether an agent that goes to and fro between two failing calls is counted as if they were one.
    pub ping_pong: bool,
    /// How many calls of any kind an agent may make. `None`, the default: as many as it likes.
    pub budget: Option<Quota>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            free_failures: 2,
            first_gap: Duration::from_secs(1),
            failures_to_block: 5,
            any_failures_to_block: 10,
            block_for: Duration::from_secs(5 * 60),
            remember_for: Duration::from_secs(10 * 60),
            identical_successes: 0,
            success_gap: Duration::from_secs(1),
            client_retries: 8,
            ping_pong: true,
            budget: None,
        }
    }
}

/// Settings that make sense together: the only kind a guard runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy(Settings);

impl Policy {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that contradicts its range or another setting, with the values of both.
    pub fn try_new(settings: Settings) -> Result<Self, PolicyError> {
        let s = &settings;
        if s.failures_to_block == 0 || s.free_failures > s.failures_to_block {
            return Err(PolicyError::Failures { free: s.free_failures, to_block: s.failures_to_block });
        }
        let policy = Self(settings);
        let longest = policy.gap_after(s.failures_to_block - 1);
        if (s.free_failures < s.failures_to_block && s.first_gap.is_zero()) || longest > s.block_for || s.block_for.is_zero() {
            return Err(PolicyError::Gaps { first: s.first_gap, longest, block: s.block_for });
        }
        if s.any_failures_to_block > 0 && s.any_failures_to_block < s.failures_to_block {
            return Err(PolicyError::AnyFailures { any: s.any_failures_to_block, to_block: s.failures_to_block });
        }
        if s.remember_for <= s.block_for {
            return Err(PolicyError::Remember { remember: s.remember_for, block: s.block_for });
        }
        if s.identical_successes > 0 && (s.success_gap.is_zero() || s.success_gap > s.remember_for) {
            return Err(PolicyError::SuccessGap { gap: s.success_gap, remember: s.remember_for });
        }
        Ok(policy)
    }

    /// The settings, as checked.
    pub const fn settings(&self) -> &Settings {
        &self.0
    }

    /// How long after the last of these outcomes the next call has to come.
    pub(super) fn gap(&self, streak: Streak) -> Duration {
        let Settings { identical_successes, success_gap, block_for, .. } = self.0;
        match streak.outcome {
            Outcome::Failure(_) if self.blocks(streak) => block_for,
            Outcome::Failure(_) => self.gap_after(streak.same),
            Outcome::Success(_) if identical_successes > 0 && streak.same >= identical_successes => success_gap,
            Outcome::Success(_) => Duration::ZERO,
        }
    }

    /// After so many failures in the same way, fewer than block.
    fn gap_after(&self, failures: u32) -> Duration {
        let Settings { free_failures, first_gap, .. } = self.0;
        match failures.checked_sub(free_failures) {
            None => Duration::ZERO,
            // Nothing to space where there is no failure yet.
            Some(_) if failures == 0 => Duration::ZERO,
            Some(doublings) => first_gap.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)),
        }
    }

    /// Whether these outcomes block the call.
    pub(super) const fn blocks(&self, streak: Streak) -> bool {
        let Settings { failures_to_block, any_failures_to_block, .. } = self.0;
        matches!(streak.outcome, Outcome::Failure(_))
            && (streak.same >= failures_to_block || (any_failures_to_block > 0 && streak.failures >= any_failures_to_block))
    }
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;

    fn try_from(settings: Settings) -> Result<Self, Self::Error> {
        Self::try_new(settings)
    }
}

/// Why a set of settings is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing could fail before it is blocked, or it is blocked while failures are still free.
    #[error("failures_to_block is {to_block}, but must be at least 1 and no less than free_failures, which is {free}")]
    Failures {
        /// The `free_failures` given.
        free: u32,
        /// The `failures_to_block` given.
        to_block: u32,
    },
    /// There are no gaps, or a gap is longer than a block.
    #[error(
        "first_gap is {first:?} and grows to {longest:?}, but must be above 0 and grow to no more than block_for, which is {block:?}"
    )]
    Gaps {
        /// The `first_gap` given.
        first: Duration,
        /// What it grows to before the call is blocked.
        longest: Duration,
        /// The `block_for` given.
        block: Duration,
    },
    /// Failures that are the same would never be what blocks.
    #[error("any_failures_to_block is {any}, but must be 0, for never, or no less than failures_to_block, which is {to_block}")]
    AnyFailures {
        /// The `any_failures_to_block` given.
        any: u32,
        /// The `failures_to_block` given.
        to_block: u32,
    },
    /// A block would be forgotten before it ends.
    #[error("remember_for is {remember:?}, but must be longer than block_for, which is {block:?}")]
    Remember {
        /// The `remember_for` given.
        remember: Duration,
        /// The `block_for` given.
        block: Duration,
    },
    /// There is no gap, or it outlasts the memory.
    #[error("success_gap is {gap:?}, but must be above 0 and no longer than remember_for, which is {remember:?}")]
    SuccessGap {
        /// The `success_gap` given.
        gap: Duration,
        /// The `remember_for` given.
        remember: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Digest;

    #[test]
    fn two_are_free_then_one_two_four_and_a_block() {
        let policy = Policy::try_new(Settings::default()).unwrap();
        let failed = Outcome::Failure(Digest::of(b""));
        let gaps: Vec<u64> = (1..8).map(|same| policy.gap(Streak { same, ..Streak::of(failed) }).as_secs()).collect();
        // After the first failure the second call is free; the third has to wait.
        assert_eq!(gaps, [0, 1, 2, 4, 300, 300, 300]);
        let succeeded = Outcome::Success(Digest::of(b""));
        assert_eq!(policy.gap(Streak { same: u32::MAX, ..Streak::of(succeeded) }), Duration::ZERO);
        assert_eq!(Policy::default(), policy);
    }

    #[test]
    fn so_many_failures_block_however_they_differ() {
        let gap = |any_failures_to_block, failures| {
            let settings = Settings { any_failures_to_block, ..Settings::default() };
            Policy::try_new(settings).unwrap().gap(Streak { failures, ..Streak::of(Outcome::Failure(Digest::of(b""))) }).as_secs()
        };
        assert_eq!([gap(10, 9), gap(10, 10), gap(10, 11)], [0, 300, 300]);
        assert_eq!([gap(0, 9), gap(0, u32::MAX)], [0, 0]);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_their_values() {
        let told = |settings| Policy::try_new(settings).unwrap_err().to_string();
        let sane = Settings::default();
        assert_eq!(
            told(Settings { free_failures: 6, ..sane }),
            "failures_to_block is 5, but must be at least 1 and no less than free_failures, which is 6"
        );
        assert!(told(Settings { failures_to_block: 0, free_failures: 0, ..sane }).contains("is 0, but"));
        assert_eq!(
            told(Settings { first_gap: Duration::from_secs(100), ..sane }),
            "first_gap is 100s and grows to 400s, but must be above 0 and grow to no more than block_for, which is 300s"
        );
        assert!(told(Settings { first_gap: Duration::ZERO, ..sane }).contains("is 0ns and"));
        assert!(told(Settings { failures_to_block: 100, ..sane }).contains("block_for, which is 300s"));
        assert_eq!(
            told(Settings { any_failures_to_block: 4, ..sane }),
            "any_failures_to_block is 4, but must be 0, for never, or no less than failures_to_block, which is 5"
        );
        for enough in [0, 5] {
            assert!(Policy::try_new(Settings { any_failures_to_block: enough, ..sane }).is_ok());
        }
        assert_eq!(
            told(Settings { remember_for: Duration::from_secs(60), ..sane }),
            "remember_for is 60s, but must be longer than block_for, which is 300s"
        );
        let spaced = Settings { identical_successes: 20, ..sane };
        assert!(Policy::try_new(spaced).is_ok());
        assert_eq!(
            told(Settings { success_gap: Duration::ZERO, ..spaced }),
            "success_gap is 0ns, but must be above 0 and no longer than remember_for, which is 600s"
        );
        assert!(
            told(Settings { success_gap: sane.remember_for + Duration::from_nanos(1), ..spaced })
                .contains("remember_for, which is 600s")
        );
        assert!(Policy::try_new(Settings { success_gap: sane.remember_for, ..spaced }).is_ok());
        // What is off needs no gap.
        assert!(Policy::try_new(Settings { success_gap: Duration::ZERO, ..sane }).is_ok());
        // Grows to just as long as a block.
        assert!(Policy::try_new(Settings { first_gap: Duration::from_secs(75), ..sane }).is_ok());
        // The first failure blocks, so that there is no gap that could be too long.
        let strict = Settings { free_failures: 0, failures_to_block: 1, first_gap: Duration::from_secs(301), ..sane };
        assert!(Policy::try_from(strict).is_ok_and(|policy| *policy.settings() == strict));
        assert!(Policy::try_from(Settings { failures_to_block: 0, ..sane }).is_err());
        // No gaps at all: a block after the second failure.
        assert!(Policy::try_new(Settings { failures_to_block: 2, first_gap: Duration::ZERO, ..sane }).is_ok());
    }
}
