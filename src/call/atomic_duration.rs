//! A length of time that is changed while others read it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A length of time, or none. Zero is none, and so is what is longer than 584 years: it is kept in nanoseconds.
#[derive(Debug)]
pub(crate) struct AtomicDuration(AtomicU64);

impl AtomicDuration {
    /// The longest that is one.
    pub(crate) const LONGEST: Duration = Duration::from_nanos(u64::MAX);

    pub(crate) fn new(duration: Option<Duration>) -> Self {
        Self(AtomicU64::new(nanoseconds(duration)))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Duration> {
        let nanoseconds = self.0.load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub(crate) fn set(&self, duration: Option<Duration>) {
        self.0.store(nanoseconds(duration), Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Option<Duration>) -> u64 {
    u64::try_from(duration.unwrap_or_default().as_nanos()).unwrap_or(0)
}
