//! What the operator says of how long answers are good for.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::call::AtomicDuration;

/// How long answers are good for, beyond what the server says of each, and how many are fetched in the background.
///
/// More may come: write them as changes of others, `Terms { .., ..Terms::default() }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The longest time that an answer is fresh, whatever is said of it. Zero: none is.
    pub longest: Duration,
    /// For how long past its time an answer is served while a new one is fetched. Zero: it is not.
    pub stale_while_revalidate: Duration,
    /// For how long past its time an answer is served where a new one cannot be had. Zero: it is not.
    pub stale_if_error: Duration,
    /// How many answers are fetched in the background at once; beyond that they stay stale.
    pub refreshes: usize,
}

impl Default for Terms {
    /// Fresh for an hour at most; served up to five minutes longer where the upstream fails, and not otherwise; 64 fetched at
    /// once.
    fn default() -> Self {
        Self {
            longest: Duration::from_secs(3600),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::from_secs(300),
            refreshes: 64,
        }
    }
}

/// The terms in force: each changes by itself.
#[derive(Debug)]
pub(super) struct InForce {
    longest: AtomicDuration,
    stale_while_revalidate: AtomicDuration,
    stale_if_error: AtomicDuration,
    refreshes: AtomicUsize,
}

impl InForce {
    pub(super) fn new(terms: Terms) -> Self {
        let none = || AtomicDuration::new(None);
        let in_force =
            Self { longest: none(), stale_while_revalidate: none(), stale_if_error: none(), refreshes: AtomicUsize::new(0) };
        in_force.set(terms);
        in_force
    }

    pub(super) fn get(&self) -> Terms {
        let [longest, stale_while_revalidate, stale_if_error] =
            [&self.longest, &self.stale_while_revalidate, &self.stale_if_error].map(|time| time.get().unwrap_or_default());
        Terms { longest, stale_while_revalidate, stale_if_error, refreshes: self.refreshes.load(Ordering::Relaxed) }
    }

    #[inline]
    pub(super) fn longest(&self) -> Duration {
        self.longest.get().unwrap_or_default()
    }

    pub(super) fn set(&self, Terms { longest, stale_while_revalidate, stale_if_error, refreshes }: Terms) {
        // What is too long to be counted is as long as can be.
        let put = |time: &AtomicDuration, to: Duration| time.set(Some(to.min(AtomicDuration::LONGEST)));
        put(&self.longest, longest);
        put(&self.stale_while_revalidate, stale_while_revalidate);
        put(&self.stale_if_error, stale_if_error);
        self.refreshes.store(refreshes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_force_is_in_force() {
        let in_force = InForce::new(Terms::default());
        assert_eq!(in_force.get(), Terms::default());
        let [longest, stale_while_revalidate, stale_if_error] = [1, 2, 0].map(Duration::from_secs);
        let others = Terms { longest, stale_while_revalidate, stale_if_error, refreshes: 4 };
        in_force.set(others);
        assert_eq!(in_force.get(), others);
        in_force.set(Terms { longest: Duration::MAX, ..others });
        assert!(in_force.get().longest > Duration::from_secs(1 << 32), "for ever is not never");
    }
}
