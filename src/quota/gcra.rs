//! The generic cell rate algorithm (GCRA), as a pure function of two instants.
//!
//! A cell remembers one number, its *theoretical arrival time* (TAT): the instant at which all that
//! was admitted is paid for at the steady rate. A call may run ahead of that schedule by the delay
//! variation tolerance and no further: that is the burst. Times are `u64` nanoseconds since an
//! epoch of the caller's choice, good for 584 years.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;

/// One quota, ready to decide: plain numbers, no clock and no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Emission interval: what a cost of one adds to the TAT, in nanoseconds; never zero.
    emission_ns: u64,
    /// Delay variation tolerance: how far ahead of the clock an admission may leave the TAT, in
    /// nanoseconds.
    ///
    /// That is `burst * emission`: one emission more than in texts that compare the TAT *before*
    /// the call is added to it.
    tolerance_ns: u64,
}

/// What a quota says to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Decision {
    /// The call conforms; it counts only once the caller has stored the new TAT.
    Admit {
        /// The cell's new TAT, in nanoseconds since the epoch.
        tat: u64,
    },
    /// Too early.
    Wait {
        /// What the cell's TAT becomes, if the call takes its place now and is made after the wait.
        tat: u64,
        /// The exact wait: with no other call in between, this much is admitted and one nanosecond
        /// less is not.
        retry_after: Duration,
    },
    /// No wait will help: the cost is above the burst, or the new TAT would lie past the 584 years.
    Never,
}

impl Gcra {
    /// Reads the replenish interval and the burst size of `quota`.
    ///
    /// governor rounds the interval of a high rate down, above 1e9 a second to zero; one call a
    /// nanosecond is the most that this clock can tell. A tolerance above 584 years is cut to that.
    pub(crate) fn new(quota: Quota) -> Self {
        let emission_ns = nanos(quota.replenish_interval()).max(1);
        Self { emission_ns, tolerance_ns: emission_ns.saturating_mul(quota.burst_size().get().into()) }
    }

    /// Decides a call of weight `cost` at `now` against a cell at `tat`; an unused cell is at 0.
    ///
    /// However the calls arrive, the cost admitted in any window of length `d` is at most
    /// `burst + d / emission`.
    pub(crate) fn decide(&self, tat: u64, now: u64, cost: NonZeroU32) -> Decision {
        // An overflow refuses. Saturating would pin the TAT to the end of time, and a pinned TAT
        // counts nothing any more.
        let Some(tat) = (self.emission_ns.checked_mul(cost.get().into()))
            .filter(|&increment| increment <= self.tolerance_ns)
            .and_then(|increment| tat.max(now).checked_add(increment))
        else {
            return Decision::Never;
        };
        match tat.saturating_sub(now).saturating_sub(self.tolerance_ns) {
            0 => Decision::Admit { tat },
            early_ns => Decision::Wait { tat, retry_after: Duration::from_nanos(early_ns) },
        }
    }

    /// How much a cell at `tat` would still admit at `now`, at once.
    pub(crate) fn remaining(&self, tat: u64, now: u64) -> u32 {
        let left = self.tolerance_ns.saturating_sub(tat.saturating_sub(now)) / self.emission_ns;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// The TAT under `self` of a cell that was at `tat` under `old`, when `old` gave way to `self` at the instant `at`.
    ///
    /// It owes as many calls as before, and no more than the whole of its new burst: so who had used up the old limit
    /// waits for one new interval, and not until the old time is over.
    pub(crate) fn carry(&self, old: &Self, tat: u64, at: u64) -> u64 {
        let owed = u128::from(tat.saturating_sub(at)) * u128::from(self.emission_ns);
        let owed = u64::try_from(owed.div_ceil(old.emission_ns.into())).unwrap_or(u64::MAX);
        at.saturating_add(owed.min(self.tolerance_ns))
    }

    /// How long this quota remembers what it admitted, in nanoseconds, for calls that do not wait.
    pub(crate) const fn memory_ns(&self) -> u64 {
        self.tolerance_ns
    }

    /// The emission interval in nanoseconds, and how many of them the burst is: what tells one quota from another.
    pub(crate) const fn parameters(&self) -> (u64, u64) {
        (self.emission_ns, self.tolerance_ns / self.emission_ns)
    }
}

/// Whether a cell at `tat` decides like one never used, at `now` and after: it may be forgotten.
pub(crate) const fn is_fresh(tat: u64, now: u64) -> bool {
    tat <= now
}

/// `duration` in nanoseconds, cut to the 584 years that fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "gcra_tests.rs"]
mod tests;
