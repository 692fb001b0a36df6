//! A length of time that is changed while others read it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A length of time, or none. Zero is none. It is kept in nanoseconds: what is longer than 584 years is that long.
#[derive(Debug)]
pub(crate) struct AtomicDuration(AtomicU64);

impl AtomicDuration {
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
    u64::try_from(duration.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_as_long_as_can_be_and_not_none() {
        let time = AtomicDuration::new(Some(Duration::MAX));
        assert_eq!(time.get(), Some(Duration::from_nanos(u64::MAX)));
        time.set(Some(Duration::from_nanos(1)));
        assert_eq!(time.get(), Some(Duration::from_nanos(1)));
        time.set(Some(Duration::ZERO));
        assert_eq!(time.get(), None);
        time.set(None);
        assert_eq!(time.get(), None);
    }
}
