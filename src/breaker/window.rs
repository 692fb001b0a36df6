//! How well the latest calls went.
//!
//! Two views of one history: the last `calls` calls, kept one by one, and the calls of the last
//! `span`, counted in slices of time so that their number costs no memory. Both end at the latest
//! call, so the one that holds more contains the other, and it is the one that speaks: a busy tool
//! is judged by time, a quiet one by its last few calls.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The slices `span` is cut into. The view by time reaches back over the slice under way and those
/// before it, so over a time between `span` less one slice and `span`.
const SLICES: u64 = 30;

/// How far back a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// The view by count holds this many calls, and the window says nothing about fewer.
    pub(super) calls: usize,
    /// The view by time holds the calls of this long.
    pub(super) span: Duration,
    /// Neither holds anything older; at least `span`.
    pub(super) max_age: Duration,
}

/// The successes and failures that count, at most `calls` + 30 entries.
#[derive(Debug)]
pub(super) struct Window {
    reach: Reach,
    /// How long a slice is, in nanoseconds: worked out once, since every call asks for the number of its own.
    slice: u64,
    /// Where time is counted from.
    epoch: Instant,
    /// The view by count, oldest first: when each call ended, in nanoseconds since the epoch, and whether it succeeded.
    recent: VecDeque<(u64, bool)>,
    /// The view by time, oldest first; a slice in which no call ended has no entry.
    slices: VecDeque<Slice>,
}

#[derive(Debug)]
struct Slice {
    /// Which slice since the epoch.
    number: u64,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    successes: u64,
    total: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.successes += other.successes;
        self.total += other.total;
    }
}

impl Window {
    /// An empty window.
    pub(super) fn new(reach: Reach, now: Instant) -> Self {
        Self { reach, slice: reach.slice(), epoch: now, recent: VecDeque::new(), slices: VecDeque::new() }
    }

    /// Counts a call that ended at `now`, and forgets those that are out of reach from there.
    pub(super) fn record(&mut self, success: bool, now: Instant) {
        let (calls, max_age) = (self.reach.calls, nanos(self.reach.max_age));
        let at = nanos(now.saturating_duration_since(self.epoch));
        self.recent.push_back((at, success));
        while let Some(&(ended, _)) = self.recent.front()
            && (self.recent.len() > calls || at.saturating_sub(ended) > max_age)
        {
            self.recent.pop_front();
        }

        let number = at / self.slice;
        let tally = Tally { successes: success.into(), total: 1 };
        match self.slices.back_mut() {
            // Not `==`: a call that comes out of order must not cost an entry.
            Some(slice) if slice.number >= number => slice.tally.add(tally),
            _ => self.slices.push_back(Slice { number, tally }),
        }
        while let Some(oldest) = self.slices.front()
            && oldest.number + SLICES <= number
        {
            self.slices.pop_front();
        }
    }

    /// The share of successes as of the last recorded call, or `None` while there are too few calls
    /// to tell.
    pub(super) fn success_rate(&self) -> Option<f64> {
        let mut by_count = Tally::default();
        for &(_, success) in &self.recent {
            by_count.add(Tally { successes: success.into(), total: 1 });
        }
        let mut by_time = Tally::default();
        for slice in &self.slices {
            by_time.add(slice.tally);
        }
        let fuller = if by_time.total > by_count.total { by_time } else { by_count };
        // Divided, not multiplied out: 14 of 20 is then exactly what a threshold of 0.7 is.
        (fuller.total >= self.reach.calls as u64).then(|| fuller.successes as f64 / fuller.total as f64)
    }

    /// Forgets every call.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.slices.clear();
    }

    /// Reaches back differently from the next call on. Slices of another length cannot be read on: they are forgotten.
    pub(super) fn set_reach(&mut self, reach: Reach) {
        if reach.span != self.reach.span {
            self.slices.clear();
        }
        (self.reach, self.slice) = (reach, reach.slice());
    }
}

impl Reach {
    /// How long a slice is, in nanoseconds.
    fn slice(&self) -> u64 {
        (nanos(self.span) / SLICES).max(1)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
